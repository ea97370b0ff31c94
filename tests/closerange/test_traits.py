"""Cover, components, colours, quality: against cases that can be worked out, and against
scikit-image.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label, regionprops
from skimage.measure import perimeter as perimeter_of_skimage

from selion.closerange.components import (
    COLUMNS,
    ellipse,
    find_components,
    least_area,
    measure_components,
    perimeter,
    skeleton_length,
    to_centimetres,
)
from selion.closerange.cover import Cover, measure_cover
from selion.closerange.indices import NAMES, colour_indices, hue_saturation_value
from selion.closerange.quality import (
    Opinion,
    PhotoQuality,
    compare,
    is_unsure,
    measure_quality,
    reasons,
)
from selion.closerange.rule import ColourRule, excess_green, otsu_rule
from selion.grid import photo_grid
from selion.metrics import baselines
from selion.metrics.baselines import canopeo
from selion.raster import Raster
from selion.segmenter import View
from selion.simulation.landscape import simulate_photo

COLOURS = ("red", "green", "blue")


def blobs(seed, shape=(40, 56)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.2)
    return noise > np.quantile(noise, 0.7)


def as_raster(values, valid=None):
    return Raster(values, photo_grid(values.shape[1:]), COLOURS, valid)


# -------------------------------------------------------------------------------------------- cover


@given(st.integers(0, 2**31), st.floats(0.05, 8))
@settings(max_examples=15, deadline=None)
def test_interval_of_cover_holds_mask_and_mean_of_thresholds(seed, power):
    """The distribution that the docstring names: one threshold for all pixels; its mean is the
    expected cover, its 5 % and 95 % points the interval.
    """
    p = (np.random.default_rng(seed).random((30, 40)) ** power).astype(np.float32)
    cover = measure_cover(p, p > 0.5)
    assert 0 <= cover.low <= cover.cover <= cover.high <= 1
    levels = (np.arange(2000) + 0.5) / 2000
    shares = np.array([(p > level).mean() for level in levels])
    assert cover.expected == pytest.approx(shares.mean(), abs=1e-3)
    near = 2e-3  # levels that far apart may have many pixels between them
    assert (p > 0.95 + near).mean() - 1e-6 <= cover.low <= (p > 0.95 - near).mean() + 1e-6
    assert (p > 0.05 + near).mean() - 1e-6 <= cover.high <= (p > 0.05 - near).mean() + 1e-6
    assert cover.cover == (p > 0.5).mean()
    mixed = np.random.default_rng(seed).permutation(p.ravel()).reshape(p.shape)
    assert measure_cover(mixed, mixed > 0.5).cover == cover.cover


def test_cover_counts_valid_pixels_only():
    p = np.zeros((4, 4), np.float32)
    p[:2] = 1
    valid = np.ones((4, 4), bool)
    valid[:1] = False
    cover = measure_cover(p, p > 0.5, valid)
    assert (cover.cover, cover.low, cover.high, cover.expected) == (pytest.approx(1 / 3),) * 4
    assert math.isnan(measure_cover(p, p > 0.5, np.zeros((4, 4), bool)).cover)


def test_sure_model_has_a_thin_interval_and_an_unsure_one_a_wide_one():
    sure = measure_cover(np.full((5, 5), 0.99, np.float32), np.ones((5, 5), bool))
    unsure = measure_cover(np.full((5, 5), 0.6, np.float32), np.ones((5, 5), bool))
    assert (sure.low, sure.high, sure.unsure) == (1, 1, 0)
    assert (unsure.low, unsure.high, unsure.unsure, unsure.width) == (0, 1, 1, 1)


# --------------------------------------------------------------------------------------- components


@given(st.integers(0, 2**31))
@settings(max_examples=12, deadline=None)
def test_components_as_scikit_image_has_them(seed):
    mask = blobs(seed)
    image = np.random.default_rng(seed).integers(0, 256, (3, *mask.shape)).astype(np.uint8)
    ours = measure_components(image, mask, 12)
    theirs = [
        region
        for region in regionprops(label(mask, connectivity=2), np.moveaxis(image, 0, -1))
        if region.area >= 12
    ]
    assert [row["component"] for row in ours] == list(range(1, len(ours) + 1))
    assert len(ours) == len(theirs)
    by_place = {
        (row["top"], row["left"], row["bottom"], row["right"], row["area"]): row for row in ours
    }
    for region in theirs:
        row = by_place[(*region.bbox, region.area)]
        assert row["perimeter"] == pytest.approx(region.perimeter)
        # theirs takes pixels for points
        axes = [
            math.sqrt(axis**2 + 16 / 12)
            for axis in (region.axis_major_length, region.axis_minor_length)
        ]
        assert [row["major_axis"], row["minor_axis"]] == pytest.approx(axes)
        assert row["eccentricity"] == pytest.approx(
            math.sqrt(max(1 - (axes[1] / axes[0]) ** 2, 0)), abs=1e-6
        )
        assert (row["y"] - 0.5, row["x"] - 0.5) == pytest.approx(region.centroid)
        assert [row[c] for c in COLOURS] == pytest.approx(region.intensity_mean)
        assert 0 < row["solidity"] <= 1 + 1e-9
        assert row["convex_area"] == pytest.approx(region.area_convex, rel=0.25, abs=6), (
            "theirs counts pixels, ours is the polygon"
        )
        # theirs is counted from the vertical
        turn = (row["orientation"] - (math.degrees(region.orientation) + 90)) % 180
        assert min(turn, 180 - turn) < 1e-6 or row["eccentricity"] < 1e-3
        assert row["touches_edge"] == int(
            0 in region.bbox[:2]
            or region.bbox[2] == mask.shape[0]
            or region.bbox[3] == mask.shape[1]
        )


def test_orientation_is_seen_counter_clockwise():
    rising = np.zeros((30, 30), bool)
    rising[np.arange(29, -1, -1), np.arange(30)] = True  # from bottom left to top right
    piece = next(find_components(rising, 1))
    assert ellipse(piece)["orientation"] == pytest.approx(45)
    assert ellipse(next(find_components(rising[::-1], 1)))["orientation"] == pytest.approx(-45)
    flat = np.zeros((9, 30), bool)
    flat[4, 3:25] = True
    assert ellipse(next(find_components(flat, 1)))["orientation"] == pytest.approx(0)


def test_shapes_that_can_be_worked_out():
    mask = np.zeros((60, 90), bool)
    mask[10:20, 5:45] = True
    row = measure_components(np.zeros((3, 60, 90), np.uint8), mask, 1)[0]
    assert (row["area"], row["convex_area"], row["solidity"]) == (
        400,
        pytest.approx(400),
        pytest.approx(1),
    )
    assert (row["left"], row["top"], row["right"], row["bottom"], row["x"], row["y"]) == (
        5,
        10,
        45,
        20,
        25,
        15,
    )
    assert row["major_axis"] == pytest.approx(4 * math.sqrt(40**2 / 12))
    size = to_centimetres(row, 0.5)
    assert size["area_cm2"] == pytest.approx(1.0)  # 20 mm x 5 mm
    assert size["perimeter_cm"] == pytest.approx(row["perimeter"] * 0.05)


def test_skeleton_lengths():
    line = np.zeros((7, 50), bool)
    line[3, 4:44] = True
    assert skeleton_length(line) == 39
    assert skeleton_length(np.eye(30, dtype=bool)) == pytest.approx(29 * math.sqrt(2))
    leaf = np.zeros((30, 220), bool)
    leaf[10:19, 10:210] = True
    assert skeleton_length(leaf) == pytest.approx(192, abs=8)
    assert skeleton_length(leaf.repeat(6, 0).repeat(6, 1)) == pytest.approx(
        6 * skeleton_length(leaf), rel=0.05
    ), "also where it is thinned out first"
    assert skeleton_length(np.ones((1, 1), bool)) == 0


def test_small_components_are_not_counted():
    mask = np.zeros((100, 100), bool)
    mask[10:20, 10:20] = mask[50, 50] = True
    image = np.zeros((3, 100, 100), np.uint8)
    assert [row["area"] for row in measure_components(image, mask, least_area(mask.shape))] == [100]
    assert len(measure_components(image, mask, least_area(mask.shape, 1))) == 2
    assert least_area((3648, 5472)) == 3992
    assert measure_components(image, np.zeros((100, 100), bool), 1) == []
    assert set(measure_components(image, mask, 1)[0]) == set(COLUMNS)


def test_plants_that_touch_at_a_corner_are_one():
    mask = np.zeros((6, 6), bool)
    mask[:3, :3] = mask[3:, 3:] = True
    assert len(list(find_components(mask, 1))) == 1


# ------------------------------------------------------------------------------------------ colours


def test_indices_of_one_colour():
    image = np.broadcast_to(np.array([60, 120, 40], np.uint8)[:, None, None], (3, 4, 4))
    found = colour_indices(image, np.ones((4, 4), bool))
    hue, saturation, value = colorsys.rgb_to_hsv(60 / 255, 120 / 255, 40 / 255)
    wanted = {
        "exg": (240 - 60 - 40) / 220,
        "gli": (240 - 100) / (240 + 100),
        "ngrdi": 60 / 180,
        "vari": 60 / 140,
        "dgci": ((360 * hue - 60) / 60 + (1 - saturation) + (1 - value)) / 3,
        "hue": 360 * hue,
        "saturation": saturation,
    }
    assert found == pytest.approx(wanted | {"red": 60, "green": 120, "blue": 40}, rel=1e-4)
    assert tuple(found) == NAMES
    nothing = colour_indices(image, np.zeros((4, 4), bool))
    assert all(math.isnan(value) for value in nothing.values())


@given(st.tuples(*(st.integers(0, 255),) * 3))
def test_hue_saturation_value_as_the_standard_library(colour):
    hue, saturation, value = hue_saturation_value(np.array(colour, np.float32)[:, None])
    wanted = colorsys.rgb_to_hsv(*(c / 255 for c in colour))
    assert (float(hue[0]) / 360, float(saturation[0]), float(value[0])) == pytest.approx(
        wanted, abs=1e-5
    )


def test_indices_look_at_the_plants_only_and_hue_goes_round():
    image = np.zeros((3, 2, 2), np.uint8)
    image[:, 0, 0], image[:, 0, 1] = (255, 0, 11), (255, 11, 0)
    mask = np.array([[True, True], [False, False]])
    assert min(colour_indices(image, mask)["hue"], 360 - colour_indices(image, mask)["hue"]) < 1


# ------------------------------------------------------------------------------------------ quality


def blurred(image, sigma):
    return np.rint(ndimage.gaussian_filter(image.astype(np.float32), (0, sigma, sigma))).astype(
        np.uint8
    )


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_blur_exposure_and_colour_are_flagged(seed):
    image = simulate_photo(seed, (240, 320)).image.values
    sure = measure_cover(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))

    def said(values):
        return " ".join(reasons(measure_quality(values), sure, 0.0, None, values.shape[1:], 0))

    assert said(image) == ""
    assert "blurred" in said(blurred(image, 2.5))
    assert "underexposed" in said((image * 0.1).astype(np.uint8))
    assert "overexposed" in said(np.clip(image.astype(int) + 160, 0, 255).astype(np.uint8))
    assert "no colour" in said(np.repeat(image[1:2], 3, 0))
    assert "nothing to see" in said(np.full_like(image, 120))
    assert "too small" in said(image[:, :5, :5])


def test_sharpness_does_not_depend_on_gain_or_light_noise():
    image = simulate_photo(1, (300, 400)).image.values
    plain = measure_quality(image).sharpness
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 3, image.shape), 0, 255).astype(
        np.uint8
    )
    assert measure_quality((image * 0.6).astype(np.uint8)).sharpness == pytest.approx(
        plain, rel=0.03
    )
    assert measure_quality(noisy).sharpness == pytest.approx(plain, rel=0.05)
    assert measure_quality(blurred(image, 2)).sharpness < 0.3 * plain
    double = image.repeat(2, 1).repeat(2, 2)
    assert measure_quality(double, sigma=2.0).sharpness == pytest.approx(plain, rel=0.15), (
        "at the model's scale it is the same photograph"
    )


def test_reasons_of_the_model():
    fine = PhotoQuality(0.05, 120, 0, 0, colourless=False)
    unsure = measure_cover(np.full((9, 9), 0.6, np.float32), np.ones((9, 9), bool))
    none = measure_cover(np.zeros((9, 9), np.float32), np.zeros((9, 9), bool))
    half = measure_cover(np.eye(2, dtype=np.float32), np.eye(2) > 0)
    assert reasons(fine, none, 0.0, Opinion(0.0, 1.0), (500, 500), 256) == []
    assert "model unsure (cover 0% to 100%)" in reasons(fine, unsure, 0.0, None, (500, 500), 256)
    few = measure_cover(
        np.repeat(np.array([[0.01, 0.2, 0.99]], np.float32), [150, 30, 5], 1),
        np.repeat(np.array([[False, False, True]]), [150, 30, 5], 1),
    )
    assert few.width < 0.3
    assert "model unsure (cover 3% to 19%)" in reasons(fine, few, 0.0, None, (500, 500), 256)
    assert "disagrees with the colour rule (50% against 5%)" in reasons(
        fine, half, 0.0, Opinion(0.05, 0.1), (500, 500), 256
    )
    assert "speckled" in " ".join(reasons(fine, half, 0.6, None, (500, 500), 256))
    assert "smaller than a window" in " ".join(reasons(fine, none, 0.0, None, (70, 500), 512))


@pytest.mark.parametrize(
    ("low", "cover", "high", "unsure", "doubt"),
    [
        (0.36, 0.52, 0.68, 0.09, False),  # wheat, truth 0.46, IoU 0.84: 0.53 is sure
        (0.31, 0.64, 0.86, 0.18, True),  # wheat, IoU 0.66, truth 0.48: 0.36 is sure
        (0.15, 0.25, 0.46, 0.12, True),  # carrots, another camera, IoU 0.3
        (0.50, 0.69, 0.82, 0.15, True),  # wheat, truth 0.48: much is sure, and much in doubt
        (0.01, 0.09, 0.26, 0.08, True),  # wheat, seen coarsely, IoU 0.42: 0.04 is sure
        (0.05, 0.10, 0.21, 0.04, False),  # wheat, IoU 0.70
        (0.00, 0.03, 0.09, 0.02, False),  # nearly bare: the interval is narrow
    ],
)
def test_a_wide_interval_is_no_doubt_where_most_of_it_is_sure(low, cover, high, unsure, doubt):
    assert is_unsure(Cover(cover, cover, low, high, unsure)) is doubt


def test_compare_masks():
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert compare(one, other) == Opinion(0.0, 1.0)
    one[:2], other[1:3] = True, True
    assert compare(one, other) == Opinion(0.5, pytest.approx(1 / 3))
    assert compare(one, other, np.arange(4)[:, None] * np.ones((1, 4)) == 1) == Opinion(1.0, 1.0)


# ------------------------------------------------------------------------------------- colour rules


@given(st.lists(st.tuples(*(st.integers(0, 255),) * 3), min_size=1, max_size=20))
def test_half_is_exactly_the_canopeo_rule(colours):
    pixels = np.array(colours, np.uint8).T[:, None, :]
    scores = ColourRule()(
        [View(pixels.astype(np.float32), (slice(0, 1), slice(0, pixels.shape[2])))]
    )
    assert scores.shape == (1, 2, *pixels.shape[1:])
    assert np.allclose(scores.sum(1), 1)
    assert np.array_equal(scores[0, 1] > 0.5, canopeo(pixels) == 1)
    assert np.array_equal(ColourRule().mask(pixels), canopeo(pixels) == 1)


def test_otsu_rule_is_the_baseline():
    image = simulate_photo(3, (120, 160)).image
    rule = otsu_rule(image)
    agree = (rule.mask(image.values) == (baselines.excess_green(image.values) > 0)).mean()
    assert agree > 0.999
    assert otsu_rule(as_raster(np.full((3, 5, 5), 90, np.uint8))).chromatic == 0
    assert (
        otsu_rule(as_raster(np.zeros((3, 5, 5), np.uint8), np.zeros((5, 5), bool))).chromatic == 0
    )
    assert excess_green(np.zeros((3, 1, 1), np.uint8)) == 0


def test_rule_finds_simulated_plants():
    photo = simulate_photo(2, (240, 320))
    found = ColourRule().mask(photo.image.values)
    truth = photo.labels.ids == 1
    assert (found & truth).sum() / (found | truth).sum() > 0.6


# ----------------------------------------------------------- what is quick answers as what is slow


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_perimeter_is_that_of_scikit_image(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    assert perimeter(mask) == perimeter_of_skimage(mask)


@pytest.mark.parametrize(
    "rule",
    [
        ColourRule(),
        ColourRule(red=1.3, blue=0.7, excess=-12.5),
        ColourRule(excess=20.5),
        ColourRule(chromatic=0.1),
    ],
)
def test_a_rule_says_yes_exactly_where_its_distance_is_above_0(rule):
    """Every pair of red and green, against blues that lie on either side of both thresholds."""
    red, green = np.meshgrid(np.arange(256), np.arange(256))
    for blue in (0, 19, 120, 255):
        pixels = np.stack([red, green, np.full_like(red, blue)]).astype(np.uint8)
        for seen in (pixels, pixels[::-1]):
            assert np.array_equal(rule.mask(seen), rule.distance(seen) > 0)


def test_counting_in_strips_and_means_by_channel_are_those_of_numpy():
    random = np.random.default_rng(7)
    mask = blobs(3, (700, 900))  # more than one strip
    image = random.integers(0, 256, (3, *mask.shape)).astype(np.uint8)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    rows = measure_components(image, mask, 1)
    assert len(rows) == count
    for number, row in enumerate(rows, 1):
        inside = labels == number if number < 8 else None
        if inside is not None:
            assert row["area"] == inside.sum()
            assert [row[c] for c in COLOURS] == image[:, inside].mean(1, dtype=np.float64).tolist()
