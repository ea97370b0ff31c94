"""A person clicks on photographs of any kind, and Segment Anything sees their colours."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from selion.data.photos import read_colours

COLOURS = np.array([[[40, 80]], [[120, 200]], [[10, 255]]], np.uint8)


def as_deep_tiff(path, colours=COLOURS):
    with rasterio.open(
        path, "w", driver="GTiff", width=2, height=1, count=3, dtype="uint16", photometric="RGB"
    ) as file:
        file.write(colours.astype(np.uint16) * 257)


def as_palette(path):
    picture = Image.fromarray(np.array([[1, 0]], np.uint8), "P")
    picture.putpalette([80, 200, 255, 40, 120, 10])
    picture.save(path)


def as_gray(path):
    Image.fromarray(COLOURS[0]).save(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("name", "write", "wanted"),
    [
        ("deep.tif", as_deep_tiff, COLOURS),
        ("palette.png", as_palette, COLOURS),
        ("gray.png", as_gray, np.repeat(COLOURS[:1], 3, 0)),
        ("usual.png", lambda path: Image.fromarray(COLOURS.transpose(1, 2, 0)).save(path), COLOURS),
    ],
)
def test_the_network_sees_the_colours_of_any_photograph(tmp_path, monkeypatch, name, write, wanted):
    click = pytest.importorskip("selion.models.sam.click")
    torch = pytest.importorskip("torch")
    shown = []

    class Network:
        def encode(self, image):
            shown.append(image)

        def ask(self, *_, **__):
            return torch.ones(1, 1, 1, 2), torch.ones(1, 1)

        def enlarge(self, _, logits):
            return logits

    monkeypatch.setattr(click, "load_prompted", lambda _: Network())
    write(tmp_path / name)
    clicked = click.ClickedObject(Path("checkpoint"), read_colours)
    found = clicked(tmp_path / name, np.array([[0.5, 0.5]]))
    assert found.shape == (1, 2)
    np.testing.assert_allclose(shown[0], wanted / 255, atol=1 / 510)
