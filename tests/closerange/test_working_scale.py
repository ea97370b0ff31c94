"""At which scale models see photographs: of known pixels, and of many.

Truth: simulated photographs, enlarged as a camera nearer to the ground would show them, and counts
of the windows that a model is asked about.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selion.closerange import CropOptions, measure_photo, open_model
from selion.closerange.measure import working_scale
from selion.closerange.model import PhotoModel
from selion.closerange.rule import ColourRule
from selion.data.photos import find_photos
from selion.segmenter import Segmenter
from selion.simulation.landscape import simulate_photo


class Counted:
    """A segmenter that counts what it is shown."""

    def __init__(self, model: Segmenter) -> None:
        self.model, self.inputs, self.classes = model, model.inputs, model.classes
        self.pixels = 0

    def __call__(self, views):
        self.pixels += sum(view.pixels[0].size for view in views)
        return self.model(views)


@pytest.fixture(scope="module")
def near(tmp_path_factory):
    """A photograph four times as large, its file and the (y, x) truth at that size."""
    photo = simulate_photo(31, (160, 160))
    picture = Image.fromarray(photo.image.values.transpose(1, 2, 0))
    path = tmp_path_factory.mktemp("near") / "near.png"
    picture.resize((640, 640), Image.Resampling.BICUBIC).save(path)
    return find_photos(path)[0], (photo.labels.ids == 1).repeat(4, 0).repeat(4, 1)


def measured(near, out, gsd):
    """The mask's IoU with the truth, the pixels that the network saw, and the row."""
    photo, truth = near
    for name in ("masks", "overlays", "thumbs"):
        (out / name).mkdir(parents=True)
    model = open_model("crops-rgb", threads=1)
    counted = Counted(model.fit(simulate_photo(1, (64, 64)).image))
    seen = PhotoModel(model.name, model.about, model.key, lambda _: counted, model.known)
    row = measure_photo(photo, seen, CropOptions(gsd=gsd), out).row
    mask = np.asarray(Image.open(out / row["mask"])) == 1
    return (mask & truth).sum() / (mask | truth).sum(), counted.pixels, row


def test_a_finer_photograph_costs_less_and_keeps_its_size(near, tmp_path):
    _, all_pixels, _ = measured(near, tmp_path / "plain", None)
    known, few, row = measured(near, tmp_path / "known", 0.025)  # half of the finest, 0.05
    assert few < 0.5 * all_pixels
    assert known > 0.8
    assert "scale" not in row["reasons"]
    assert row["width"] == 640, "masks and sizes stay those of the photograph"


def test_a_coarser_photograph_is_said_to_be_out_of_scale():
    model = open_model("crops-rgb", threads=1)
    for enlarge, times in ((True, 3.0 / 1.1), (False, 1.0)):
        segmenter = model.fit(simulate_photo(1, (64, 64)).image)
        factor, doubt = working_scale(
            segmenter, CropOptions(), 3.0, model.known.gsd, enlarge=enlarge
        )
        assert factor == pytest.approx(times)
        assert doubt.startswith(
            "out of the model's scale (3 mm a pixel; it was trained on 0.05 to 1.1 mm"
        )


def test_a_large_photograph_is_shown_to_the_second_model_at_half_its_size(
    near, tmp_path, monkeypatch
):
    """Of what is no larger it sees all pixels."""
    photo, _ = near
    seen = []
    for most in (10_000_000, 1000):
        monkeypatch.setattr("selion.closerange.measure.LARGE", most)
        first, other = Counted(ColourRule()), Counted(ColourRule())
        second = PhotoModel("b", "b", {}, lambda _, other=other: other)
        pair = PhotoModel("a", "a", {}, lambda _, first=first: first, other=second)
        row = measure_photo(photo, pair, CropOptions(window=64)).row
        seen.append((first.pixels, other.pixels))
        assert row["notes"].startswith("answered by")
    assert seen[0] == (640 * 640, 640 * 640)
    assert seen[1] == (640 * 640, 320 * 320)
