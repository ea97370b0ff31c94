"""At which scale models see photographs: of known pixels, and of many.

Truth: simulated photographs, enlarged as a camera nearer to the ground would show them, and counts
of the windows that a model is asked about.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selion.classes import CROP
from selion.closerange import CropOptions, measure_photo, open_model
from selion.closerange.measure import working_scale
from selion.closerange.model import PhotoModel
from selion.closerange.rule import ColourRule
from selion.data.photos import find_photos
from selion.segmenter import InputSpec, Segmenter
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


def test_of_a_large_photograph_the_first_is_spared_where_greenness_confirms_the_second(
    near, tmp_path, monkeypatch
):
    """Bright green discs on soil: the mask is what greenness says, whoever was asked about it."""
    rows, columns = np.indices((200, 320))
    plants = (rows % 80 - 40) ** 2 + (columns % 80 - 40) ** 2 < 20**2
    noise = np.random.default_rng(0).normal(0, 3, (200, 320, 3))
    image = np.where(plants[..., None], (60, 160, 50), (140, 110, 80)) + noise
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    photo = find_photos(tmp_path / "a.png")[0]
    asked = []
    for most in (10_000_000, 1000):
        monkeypatch.setattr("selion.closerange.measure.LARGE", most)
        first, other = Counted(ColourRule()), Counted(ColourRule())
        second = PhotoModel("b", "b", {}, lambda _, other=other: other)
        pair = PhotoModel("a", "a", {}, lambda _, first=first: first, other=second)
        monkeypatch.setattr("selion.closerange.gate.LEARNT", {})
        row = measure_photo(photo, pair, CropOptions(window=64)).row
        assert row["notes"].startswith("outlined by excess green")
        assert row["cover"] == pytest.approx(plants.mean(), abs=1e-3)
        asked.append((first.pixels > 0, other.pixels > 0))
    assert asked == [(True, False), (False, True)]


@pytest.mark.parametrize("most", [10_000_000, 1000])
def test_where_two_models_see_other_plants_the_second_answers_at_any_size(
    tmp_path, monkeypatch, most
):
    """Gray: no colour says anything; one sees the left half, the other the right."""
    gray = np.random.default_rng(1).integers(90, 150, (200, 320, 1)).repeat(3, 2)
    gray[..., 0] += np.uint8(1)  # no photograph without colour
    Image.fromarray(gray.astype(np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr("selion.closerange.measure.LARGE", most)
    monkeypatch.setattr("selion.closerange.gate.LEARNT", {})
    left, right = (
        Half(lambda column, width: column < width / 2),
        Half(lambda column, width: column >= width / 2),
    )
    second = PhotoModel("b", "b", {}, lambda seen: right.of(seen, 0.5 if most == 1000 else 1))
    pair = PhotoModel("a", "a", {}, lambda seen: left.of(seen, 1), other=second)
    (tmp_path / "masks").mkdir()
    found = measure_photo(
        find_photos(tmp_path / "a.png")[0], pair, CropOptions(window=64, overlays=False), tmp_path
    )
    assert "as crops-rgb takes other things for plants" in found.row["notes"]
    mask = np.asarray(Image.open(tmp_path / found.row["mask"]))
    assert mask[:, 170:].all()
    assert not mask[:, :150].any()


class Half:
    """Sees plants on one side of a photograph."""

    classes = CROP
    inputs = InputSpec(("red", "green", "blue"), window=64, overlap=0.25, multiple=1)

    def __init__(self, side):
        self.side, self.width = side, 0.0

    def of(self, seen, times):
        self.width = seen.grid.shape[1] * times
        return self

    def __call__(self, views):
        scores = np.empty((len(views), 2, 64, 64), np.float32)
        for k, view in enumerate(views):
            columns = np.arange(64) + view.roi[1].start
            scores[k, 1] = np.where(self.side(columns, self.width), 0.9, 0.1)[None]
            scores[k, 0] = 1 - scores[k, 1]
        return scores
