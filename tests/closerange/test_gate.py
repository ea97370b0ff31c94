"""A rule answers where the model is lost and greenness alone parts plants from soil."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from selion.classes import CROP
from selion.closerange.calibration import Calibration
from selion.closerange.gate import rule_instead
from selion.closerange.measure import measure_photo
from selion.closerange.model import PhotoModel
from selion.data.photos import find_photos
from selion.segmenter import InputSpec


def scene(shine):
    """Grey soil with a fifth of plants whose green is brighter by ``shine``."""
    rng = np.random.default_rng(0)
    plants = np.zeros((60, 100), bool)
    plants[10:40, 20:60] = True
    image = np.repeat(rng.normal(80, 6, (1, 60, 100)), 3, 0)
    image[1][plants] += shine
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), plants


def scores(vegetation):
    return np.stack([1 - vegetation, vegetation]).astype(np.float32)


def test_the_rule_answers_where_the_model_is_lost():
    image, plants = scene(120)
    lost = np.where(plants, 0.97, np.tile(np.linspace(0.1, 0.7, 100), (60, 1)))
    found = rule_instead(image, scores(lost))
    assert found is not None
    assert ((found[1] > 0.5) == plants).all()
    assert np.allclose(found.sum(0), 1)


@pytest.mark.parametrize(
    ("shine", "vegetation"),
    [
        (120, lambda plants: np.where(plants, 0.97, 0.03)),  # the model is sure
        (25, lambda plants: np.where(plants, 0.9, 0.4)),  # plants as green as plants are
        (120, lambda plants: np.where(plants, 0.1, 0.4)),  # what shines is no plant to the model
    ],
)
def test_the_model_answers_otherwise(shine, vegetation):
    image, plants = scene(shine)
    assert rule_instead(image, scores(vegetation(plants))) is None


def test_nothing_to_part():
    image, plants = scene(120)
    half = scores(np.full(plants.shape, 0.5))
    assert rule_instead(np.full_like(image, 90), half) is None
    assert rule_instead(image, half, np.zeros(plants.shape, bool)) is None
    three = np.full((3, 60, 100), 1 / 3, np.float32)
    assert rule_instead(image, three) is None, "a rule knows two classes"


class Lost:
    """Sees plants where it is green, and is unsure everywhere else."""

    classes = CROP
    inputs = InputSpec(("red", "green", "blue"), window=32, overlap=0.0, multiple=1)

    def __call__(self, views):
        green = np.stack([view.pixels[1] > 140 for view in views])
        vegetation = np.where(green, 0.97, 0.6).astype(np.float32)
        return np.stack([1 - vegetation, vegetation], 1)


def test_a_photograph_that_a_rule_measured_says_so(tmp_path, monkeypatch):
    image, plants = scene(120)
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "a.png")
    photo = find_photos(tmp_path / "a.png")[0]
    measured = Calibration(1.0, 1.0, ranges={"brightness": (0.0, 255.0)})
    known = PhotoModel("any", "any", {}, lambda _: Lost(), measured)
    row = measure_photo(photo, known).row
    assert row["cover"] == pytest.approx(plants.mean())
    assert "measured by excess green" in row["notes"]
    monkeypatch.setattr("selion.closerange.gate.LEARNT", {"brightness": (60.0, 255.0)})
    pair = PhotoModel("any", "any", {}, lambda _: Lost(), other=known)  # so was the pair
    for light, who in ((1, "measured by excess green"), (0.1, "measured by crops-wide")):
        shown = (image * light).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(shown).save(tmp_path / "light.png")
        row = measure_photo(find_photos(tmp_path / "light.png")[0], pair).row
        assert row["notes"].startswith(who)
    # Nobody measured these beside the rule: without a calibration, or with that of own masks.
    for known in (None, Calibration(1.0, 1.0)):
        plain = measure_photo(photo, PhotoModel("any", "any", {}, lambda _: Lost(), known)).row
        assert plain["cover"] == 1.0
        assert "excess green" not in plain["notes"]


@pytest.mark.parametrize(("metres", "far"), [(0.01, False), (0.1, False), (0.6, True), (1.0, True)])
def test_an_aerial_image_is_no_photograph_of_plants(metres, far, tmp_path):
    image, _ = scene(120)
    place = Affine(metres, 0, 500_000, 0, -metres, 5_000_000)
    shape = {"width": image.shape[2], "height": image.shape[1], "count": 3, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", crs="EPSG:32633", transform=place, **shape
    ) as made:
        made.write(image)
    photo = find_photos(tmp_path / "a.tif")[0]
    row = measure_photo(photo, PhotoModel("any", "any", {}, lambda _: Lost())).row
    said = f"pixels of {metres:g} m show no plant: an aerial image, for 'selion map'"
    assert (said in row["reasons"]) == far
    assert ("aerial" in row["reasons"]) == far
