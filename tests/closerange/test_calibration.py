"""What is known of a model from photographs that it has not seen: intervals of cover that hold, and
photographs unlike those.  Against arithmetic and against draws whose distribution is known.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from selion.closerange.calibration import (
    FILE,
    Calibration,
    fit_interval,
    fit_over_sources,
    read_calibration,
    score_of,
    write_calibration,
)
from selion.closerange.cover import Cover
from selion.closerange.measure import CropOptions, measure_photo, working_scale
from selion.closerange.model import PhotoModel
from selion.closerange.quality import appearance
from selion.closerange.rule import ColourRule
from selion.data.photos import find_photos
from selion.errors import BadInput, UnreadableFile

PLAIN = Calibration(2.0, 2.0, 0.02, 40, {"brightness": (40.0, 200.0)}, (0.3, 1.1))


def test_interval_is_the_models_own_stretched():
    found = PLAIN.interval(Cover(0.4, 0.41, 0.3, 0.6, 0.1))
    assert (found.low, found.high) == (pytest.approx(0.16), pytest.approx(0.84))
    assert (found.cover, found.expected, found.unsure) == (0.4, 0.41, 0.1)
    edge = PLAIN.interval(Cover(0.01, 0.01, 0.0, 0.02, 0.0))
    assert (edge.low, edge.high) == (0.0, pytest.approx(0.07))
    apart = replace(PLAIN, below=0.5).interval(Cover(0.4, 0.41, 0.3, 0.6, 0.1))
    assert (apart.low, apart.high) == (pytest.approx(0.34), pytest.approx(0.84))
    nothing = PLAIN.interval(Cover(*(float("nan"),) * 5))
    assert np.isnan(nothing.low)


def test_score_is_how_far_the_interval_must_be_stretched():
    cover = Cover(0.4, 0.4, 0.3, 0.6, 0.1)
    for truth in (0.0, 0.2, 0.4, 0.55, 0.9):
        score = score_of(cover, truth, 0.02)
        at = Calibration(abs(score), abs(score), 0.02, 1).interval(cover)
        assert min(abs(at.low - truth), abs(at.high - truth)) < 1e-9
    assert score_of(cover, 0.2, 0.02) < 0 < score_of(cover, 0.5, 0.02)


def made(count, seed, stretch=1.0):
    """Covers whose truth errs by a known multiple of their own spread."""
    rng = np.random.default_rng(seed)
    covers, truths = [], []
    for _ in range(count):
        middle, spread = rng.uniform(0.3, 0.7), rng.uniform(0.01, 0.05)
        covers.append(Cover(middle, middle, middle - spread, middle + spread, 0.0))
        truths.append(middle + stretch * rng.normal() * (spread + 0.02))
    return covers, truths


@pytest.mark.parametrize("stretch", [0.3, 1.0, 2.0])
def test_fitted_interval_holds_nine_of_ten(stretch):
    calibration = fit_interval(*made(400, 1, stretch))
    covers, truths = made(4000, 2, stretch)
    inside = [
        (found := calibration.interval(cover)).low <= truth <= found.high
        for cover, truth in zip(covers, truths, strict=True)
    ]
    assert 0.87 < np.mean(inside) < 0.93


def test_the_hardest_source_decides():
    """Four hundred photographs of an easy source do not outvote eighty of a hard one."""
    easy, hard = made(400, 3, 0.2), made(80, 4, 2.0)
    covers, truths = (a + b for a, b in zip(easy, hard, strict=True))
    apart = fit_interval(covers, truths, ["easy"] * 400 + ["hard"] * 80)
    alone = fit_interval(*hard)
    assert (apart.below, apart.above) == (alone.below, alone.above)
    assert apart.above > 1.5 * fit_interval(covers, truths).above
    assert apart.photographs == 480


def test_each_source_weighs_the_same_where_another_is_to_come():
    """By hand: five photographs of one source weigh 0.1 each, one of another 0.5."""
    cover = Cover(0.5, 0.5, 0.42, 0.58, 0.0)  # with the floor 0.1 on either side
    errors = [0.01, -0.02, 0.03, -0.04, 0.05, 0.035]
    fitted = fit_over_sources([cover] * 6, [0.5 + e for e in errors], [*"aaaaa", "b"])
    # shares by size of the error: 0.1, 0.2, 0.3, then b's 0.035: 0.8, then 0.04: 0.9
    assert fitted.below == fitted.above == pytest.approx(0.4)
    assert fitted.photographs == 6
    found = fitted.interval(cover)
    assert (found.low, found.high) == (pytest.approx(0.46), pytest.approx(0.54))
    many = fit_over_sources(
        [cover] * 24, [0.5 + e for e in errors[:5]] * 4 + [0.535] * 4, [*"aaaaa"] * 4 + [*"bbbb"]
    )
    assert many.below == pytest.approx(fitted.below), "how many photographs a source has is nothing"
    with pytest.raises(BadInput, match="Photographs of 1 source"):
        fit_over_sources([cover] * 30, [0.5] * 30, ["a"] * 30)


def test_a_new_source_is_held_nine_times_in_ten():
    """Sources that err by different and unknown multiples, as they do."""
    rng = np.random.default_rng(7)
    hardness = rng.lognormal(-1.0, 0.6, 600)
    sources = [made(6, k, float(h)) for k, h in enumerate(hardness)]
    known, new = sources[:300], sources[300:]
    covers, truths = ([one for pair in known for one in pair[side]] for side in (0, 1))
    fitted = fit_over_sources(covers, truths, [str(k) for k in range(300) for _ in range(6)])
    held = [
        (found := fitted.interval(cover)).low <= truth <= found.high
        for pair in new
        for cover, truth in zip(*pair, strict=True)
    ]
    assert 0.87 < np.mean(held) < 0.93


def test_few_photographs_only_widen():
    covers, truths = made(5, 5, 3.0)
    with pytest.raises(BadInput, match=r"5 photographs .* wanted are 19"):
        fit_interval(covers, truths)
    few = fit_interval(covers, truths, base=PLAIN)
    scores = [score_of(c, t, PLAIN.floor) for c, t in zip(covers, truths, strict=True)]
    assert few.above == pytest.approx(max(2.0, *scores))
    assert few.below == pytest.approx(max(2.0, *(-s for s in scores)))
    assert few.ranges == PLAIN.ranges


def test_file_beside_a_card(tmp_path):
    write_calibration(PLAIN, tmp_path / FILE)
    assert read_calibration(tmp_path) == PLAIN
    assert read_calibration(tmp_path / "elsewhere") is None
    table = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(table | {"below": "wide"}))
    with pytest.raises(UnreadableFile, match="below"):
        read_calibration(tmp_path)
    (tmp_path / FILE).write_text(json.dumps(table | {"photographs": 10**400}))
    with pytest.raises(UnreadableFile, match="too large"):
        read_calibration(tmp_path)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UnreadableFile, match=r"photographs\.json"):
        read_calibration(tmp_path)


def test_what_a_photograph_looks_like():
    grey = np.full((3, 64, 64), 100, np.uint8)
    grey[0] = 200
    found = appearance(grey)
    assert found["brightness"] == pytest.approx(0.299 * 200 + 0.701 * 100, abs=0.5)
    assert found["red_green"] == pytest.approx(1.0, abs=0.02)  # twice as red as green: one stop
    assert found["blue_green"] == pytest.approx(0.0, abs=0.02)
    assert found["noise"] == pytest.approx(0.0, abs=1e-3)
    rng = np.random.default_rng(0)
    flat = np.full((3, 200, 200), 120.0)
    noisy = np.clip(np.rint(flat + rng.normal(0, 8, flat.shape)), 0, 255).astype(np.uint8)
    luma = 8 * np.sqrt(0.299**2 + 0.587**2 + 0.114**2) / 120
    assert appearance(noisy)["noise"] == pytest.approx(luma, rel=0.1)
    nothing = appearance(grey, np.zeros((64, 64), bool))
    assert all(np.isnan(value) for value in nothing.values())


def test_unlike_what_it_was_measured_on():
    assert PLAIN.unlike({"brightness": 90.0, "noise": 9.0}) == ""
    assert PLAIN.unlike({"brightness": float("nan")}) == ""
    said = PLAIN.unlike({"brightness": 12.3})
    assert said == "unlike the photographs it was measured on (brightness 12; there 40 to 200)"


def test_a_measured_photograph_is_told_what_is_known_of_the_model(tmp_path):
    """The same photograph with and without: intervals stretched by arithmetic, and a reason."""
    half = np.full((60, 60, 3), (90, 70, 50), np.uint8)
    half[:, :30] = (60, 140, 40)
    half[::7, ::5] += 9
    Image.fromarray(half).save(tmp_path / "a.png")
    photo = find_photos(tmp_path / "a.png")[0]
    rule = ColourRule()
    plain = measure_photo(photo, PhotoModel("any", "any", {}, lambda _: rule)).row
    known = replace(PLAIN, ranges={"brightness": (180.0, 200.0)})
    told = measure_photo(photo, PhotoModel("any", "any", {}, lambda _: rule, known)).row
    assert told["cover"] == plain["cover"]
    low = plain["cover"] - 2 * (0.02 + plain["cover"] - plain["cover_low"])
    assert told["cover_low"] == pytest.approx(low)
    assert "unlike the photographs it was measured on (brightness" in told["reasons"]
    assert "unlike" not in plain["reasons"]
    far = measure_photo(
        photo, PhotoModel("any", "any", {}, lambda _: rule, known), CropOptions(gsd=4.0)
    ).row
    assert "out of the model's scale (4 mm a pixel" in far["reasons"]


@pytest.mark.parametrize(
    ("gsd", "factor", "doubt"),
    [
        (None, None, ""),
        (0.5, 1.0, ""),
        (0.1, 1 / 3, ""),
        (2.2, 2.0, "out of the model's scale (2.2 mm a pixel; it was trained on 0.3 to 1.1 mm"),
    ],
)
def test_scale_at_which_a_model_was_measured(gsd, factor, doubt):
    found = working_scale(ColourRule(), CropOptions(), gsd, PLAIN.gsd)
    assert found[0] == (None if factor is None else pytest.approx(factor))
    assert found[1].startswith(doubt)
    assert bool(doubt) == bool(found[1])
