"""A rule answers where the model is lost and greenness alone parts plants from soil."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from scipy import ndimage

from selion.classes import CROP
from selion.closerange.calibration import Calibration
from selion.closerange.cut import cut_out, find_cut
from selion.closerange.gate import Ruling, alike, answer_of, find_rule, join
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


def rule_instead(image, said, valid=None):
    threshold = find_rule(image, said, valid)
    return None if threshold is None else Ruling(rule=threshold).answer(image, said)


def colour_cut(image, said, valid=None):
    cut = find_cut(image, said, valid)
    return None if cut is None else (cut_out(image, said, cut), cut)


def joint(first, second, valid=None):
    return join(first, second, together=alike(first, second, valid))


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


def leaves(share):
    """Thin green leaves and a plant on soil, all of one colour each, with noise; ``share`` of the
    way from the colour of soil.
    """
    rng = np.random.default_rng(1)
    plants = np.zeros((120, 160), bool)
    plants[20:60, 20:60] = True
    plants[:, 80::8] = True  # leaves of one pixel
    image = np.array([110, 90, 70])[:, None, None] + rng.normal(0, 4, (3, 120, 160))
    image[:, plants] += share * np.array([-20, 60, -10])[:, None]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), plants


def blurred(plants):
    """What a network says that sees the plants and is unsure about thin leaves and edges."""
    return ndimage.gaussian_filter(np.where(plants, 0.99, 0.01), 1.5)


def test_greenness_draws_the_outline_where_it_parts_plants_from_soil():
    image, plants = leaves(1)
    model = scores(blurred(plants))
    wrong = ((model[1] > 0.5) != plants).mean()
    found = colour_cut(image, model)
    assert found is not None
    assert wrong > 0.05
    assert ((found[0][1] > 0.5) != plants).mean() < 0.002
    same = (found[0][1] > 0.5) == (model[1] > 0.5)
    assert (found[0][1][same] == model[1][same]).all(), "the model's own doubt stays"
    answered, note = answer_of(image, model)
    assert (answered == found[0]).all()
    assert "outlined by excess green above 0." in note
    valid = np.zeros(plants.shape, bool)
    valid[:, :70] = True  # what does not count is not looked at, and lies on a side all the same
    part = colour_cut(image, model, valid)
    assert part is not None
    assert ((part[0][1] > 0.5) == plants)[valid].all()
    assert answer_of(image, np.full((3, 120, 160), 1 / 3, np.float32))[1] == ""


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.15, blurred),  # plants hardly greener than soil, as in much of the wheat
        (1, lambda plants: blurred(~plants)),  # what is green is no plant to the model
        (1, lambda plants: np.full(plants.shape, 0.01)),  # it sees none
        (1, lambda plants: blurred(np.roll(plants, 12, 0))),  # it sees others
    ],
)
def test_the_models_outline_stands_otherwise(share, said):
    image, plants = leaves(share)
    assert colour_cut(image, scores(said(plants))) is None
    assert colour_cut(image, scores(said(plants)), np.zeros(plants.shape, bool)) is None


def test_two_models_answer_together_where_greenness_does_not_confirm_the_first():
    """The mean of both; what sees other plants than the first is taken instead of it."""
    image, plants = leaves(0.15)  # hardly greener than soil
    first, second = np.where(plants, 0.9, 0.2), np.where(plants, 0.7, 0.05)
    asked = []

    def other():
        asked.append(1)
        return scores(second)

    answer, note = answer_of(image, scores(first), second=other)
    assert np.allclose(answer[1], (first + second) / 2, atol=1e-6)
    assert "together" in note
    elsewhere = scores(np.roll(second, 40, 1))
    instead, note = answer_of(image, scores(first), second=lambda: elsewhere)
    assert (instead == elsewhere).all()
    assert "crops-rgb takes other things for plants" in note
    bright, plants = leaves(1)
    done, note = answer_of(bright, scores(blurred(plants)), second=other)
    assert ((done[1] > 0.5) == plants).mean() > 0.998
    assert asked == [1], "nobody else is asked where greenness confirms the first"


def test_what_does_not_count_does_not_decide_whether_two_models_agree():
    one, other = np.zeros((4, 8)), np.zeros((4, 8))
    one[:, :2], other[:, :2], other[:, 4:] = 1, 1, 1
    assert (joint(scores(one), scores(other)) == scores(other)).all()
    valid = np.arange(8)[None].repeat(4, 0) < 4
    assert (joint(scores(one), scores(other), valid)[1][:, 4:] == 0.5).all()
    none = scores(np.zeros((4, 8)))
    assert (joint(none, none) == none).all()


def test_what_is_no_greener_than_gray_is_not_cut_out():
    """A model that takes brown soil for plants and bluish plants for soil, surely."""
    image, plants = leaves(1)
    swapped = image[[1, 2, 0]]  # plants shine in another colour: their excess green is below 0
    assert colour_cut(swapped, scores(blurred(~plants))) is None


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
