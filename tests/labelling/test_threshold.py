"""Depth to mask: each step against a computation of its own, and the whole against the truth of
simulated photographs.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from selion import metrics
from selion.errors import BadInput, GridMismatch
from selion.labelling.postprocess import RefineOptions, drop_low_parts, refine
from selion.labelling.quality import covered, judge
from selion.labelling.threshold import (
    KNEE,
    DepthMask,
    Sigmoid,
    ThresholdOptions,
    contour_curve,
    depth_mask,
    fit_sigmoid,
    gradient_weights,
    histogram_curve,
    normalise,
    sigmoid_threshold,
)
from selion.simulation.landscape import simulate_photo


def plateau(low=0.1, high=0.8, size=40, noise=0.0, seed=0):
    """A square of plants on flat soil."""
    depth = np.full((size, size), low)
    depth[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = high
    return depth + noise * np.random.default_rng(seed).standard_normal(depth.shape)


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def miou(mask, truth):
    return (iou(mask, truth) + iou(~mask, ~truth)) / 2


@pytest.fixture(scope="module")
def photos():
    return [simulate_photo(seed, (180, 240)) for seed in range(100, 112)]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 1e4), st.floats(-1e4, 1e4), st.integers(0, 99))
def test_normalised_depth_does_not_know_scale_and_offset(scale, offset, seed):
    depth = np.random.default_rng(seed).random((9, 11))
    plane = normalise(depth * scale + offset)
    assert plane.min() == 0
    assert plane.max() == 1
    np.testing.assert_allclose(plane, normalise(depth), atol=1e-5)


def test_normalise_clips_outliers_and_finds_constant_maps():
    depth = np.linspace(0, 1, 1000).reshape(20, 50)
    depth[0, 0] = 1e6
    assert np.median(normalise(depth)) < 1e-5
    assert np.median(normalise(depth, (0.5, 99.5))) == pytest.approx(0.5, abs=0.02)
    assert normalise(np.full((4, 4), 7)) is None
    for broken in (np.zeros((3, 4, 4)), np.zeros((0, 4)), np.array([[0.0, np.nan]])):
        with pytest.raises(BadInput):
            normalise(broken)


def test_weights_are_sobels_gradient():
    depth = np.random.default_rng(0).random((7, 8))
    padded = np.pad(depth, 1, mode="symmetric")
    smooth, step = np.array([1, 2, 1]), np.array([-1, 0, 1])
    y, x = (
        np.array([[(padded[i : i + 3, j : j + 3] * k).sum() for j in range(8)] for i in range(7)])
        for k in (np.outer(step, smooth), np.outer(smooth, step))
    )
    slope = np.hypot(y, x)
    np.testing.assert_allclose(gradient_weights(depth), slope / slope.max(), atol=1e-12)
    assert (gradient_weights(np.ones((5, 5))) == 0).all()


def test_the_histogram_counts_each_pixel_as_its_weight():
    rng = np.random.default_rng(1)
    depth, weights = rng.random((30, 30)), rng.random((30, 30))
    depths, curve = histogram_curve(depth, weights, 16)
    np.testing.assert_allclose(depths, np.arange(1, 17) / 16)
    for at in (0, 4, 15):
        assert curve[at] == pytest.approx(weights[depth < depths[at]].sum() / weights.sum())


def test_the_contour_curve_is_the_mean_step_along_each_contour():
    # soil whose every step is 0.02
    depth = plateau(0.1, 0.8) + np.indices((40, 40)).sum(0) % 2 * 0.02
    depths, curve = contour_curve(normalise(depth))
    step = 0.7 / np.ptp(depth)
    assert curve[np.searchsorted(depths, 0.5)] == pytest.approx(1, abs=0.02)
    assert curve[0] < 0.1
    assert (np.diff(curve) >= 0).all()
    assert step > 0.9


@settings(max_examples=60, deadline=None)
@given(st.floats(3, 200), st.floats(0.2, 0.8))
def test_a_sigmoid_is_found_again(k, centre):
    depths = np.arange(1, 257) / 256
    curve = 1 / (1 + np.exp(-k * (depths - centre)))
    found = fit_sigmoid(depths, curve)
    assert found.k == pytest.approx(k, rel=1e-6)
    assert found.centre == pytest.approx(centre, abs=1e-9)
    assert found.residual < 1e-9


def test_readings_are_the_largest_derivatives():
    sigmoid = Sigmoid(12.0, 0.4, 0.0)
    d = np.linspace(0, 1, 200_001)
    first = np.gradient(sigmoid(d), d)
    second = np.gradient(first, d)
    assert sigmoid_threshold(sigmoid, "slope") == pytest.approx(d[first.argmax()], abs=1e-4)
    assert sigmoid_threshold(sigmoid, "knee") == pytest.approx(d[second.argmax()], abs=1e-3)
    assert math.log(2 + math.sqrt(3)) == KNEE


def test_a_step_without_two_points_to_fit_is_a_step():
    depths = np.arange(1, 257) / 256
    found = fit_sigmoid(depths, (depths >= 0.5).astype(float))
    assert found.centre == pytest.approx(0.5)
    assert found.k == 1024


@pytest.mark.parametrize("curve", ["contour", "histogram"])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_plateau_is_found_and_its_level_does_not_matter(curve, noise):
    truth = plateau() > 0.5
    for low, high, kind in ((0.1, 0.8, float), (-40, 3, float), (5000, 60_000, np.uint16)):
        depth = plateau(low, high, noise=noise * (high - low)).round(6).astype(kind)
        found = depth_mask(depth, ThresholdOptions(curve))
        assert iou(found.mask, truth) > (0.95 if noise else 0.999)
        assert 0 < found.threshold < 1


def test_no_mask_where_there_is_no_step():
    constant = depth_mask(np.full((20, 20), 3, np.uint8))
    assert constant.mask is None
    assert "constant" in constant.why
    assert judge(constant).score == 0


def test_options_are_checked():
    names = [{name: "x"} for name in ("curve", "ground", "reading")]
    for wrong in (*names, {"clip": (60.0, 40.0)}, {"bins": 2}):
        with pytest.raises(BadInput):
            ThresholdOptions(**wrong)


def test_on_simulated_photographs_the_gradient_weighs_more_than_otsu(photos):
    truths = [photo.labels.ids == 1 for photo in photos]
    ours = [
        miou(depth_mask(photo.depth).mask, truth)
        for photo, truth in zip(photos, truths, strict=True)
    ]
    otsu = [
        miou(metrics.otsu_depth(photo.depth) > 0, truth)
        for photo, truth in zip(photos, truths, strict=True)
    ]
    assert np.mean(ours) >= 0.95
    assert min(ours) >= 0.85
    assert np.mean(ours) > np.mean(otsu) + 0.1
    histogram = [
        miou(depth_mask(photo.depth, ThresholdOptions("histogram")).mask, truth)
        for photo, truth in zip(photos, truths, strict=True)
    ]
    assert np.mean(histogram) > np.mean(otsu) - 0.1


def test_quality_tells_a_good_mask_from_a_bad_one(photos):
    found = []
    for photo in photos:
        good = depth_mask(photo.depth)
        for threshold in (0.05, good.threshold, 0.6):
            mask = DepthMask(good.depth > threshold, good.depth, threshold, good.sigmoid)
            found.append(
                (judge(mask, photo.image.values).score, miou(mask.mask, photo.labels.ids == 1))
            )
    assert stats.spearmanr(np.array(found)).statistic > 0.7
    good, photo = depth_mask(photos[0].depth), photos[0]
    assert 0 <= judge(good).score <= 1
    assert math.isnan(judge(good).colour)
    with pytest.raises(BadInput, match="bring both to one size"):
        judge(good, photo.image.values[:, :-1])


def canopy(photos, seed=0, layers=60):
    """Plants of many photographs over each other, and the middle of what has no soil left."""
    rng = np.random.default_rng(seed)
    image, soil = np.zeros_like(photos[0].image.values), np.ones(photos[0].depth.shape, bool)
    for layer in range(layers):
        photo = photos[int(rng.integers(len(photos)))]
        shift = rng.integers(0, 180, 2)
        crop = np.roll(photo.labels.ids, shift, (0, 1)) == 1
        image[:, crop] = np.roll(photo.image.values, shift, (1, 2))[:, crop] * (
            0.6 + 0.4 * layer / layers
        )
        soil &= ~crop
    return image, soil


def test_full_coverage_is_never_seen_where_there_is_soil_and_mostly_where_there_is_none(photos):
    assert not any(covered(photo.image.values) for photo in photos)
    made = [canopy(photos, seed) for seed in range(8)]
    assert all(soil.mean() < 0.01 for _, soil in made)
    assert sum(covered(image) for image, _ in made) >= 5
    grey = np.full((3, 40, 40), 120, np.uint8)
    assert not covered(grey)


def test_low_parts_are_dropped_and_edges_follow_depth():
    depth = plateau(0.1, 0.8)
    truth = depth > 0.5
    wrong = truth.copy()
    wrong[2:6, 2:6] = True  # a patch of soil
    assert (drop_low_parts(wrong, depth, 0.4) == truth).all()
    grown = np.zeros_like(truth)
    grown[8:32, 9:29] = True  # the square is 10 to 30
    assert (refine(grown, depth, 0.4, RefineOptions(band=4)) == truth).all()
    assert not refine(np.zeros_like(truth), depth, 0.4).any()
    with pytest.raises(GridMismatch):
        refine(truth[1:], depth, 0.4)
    with pytest.raises(BadInput):
        RefineOptions(band=-1)


def test_refining_helps_soft_depth(photos):
    before, after = [], []
    for photo in photos:
        found = depth_mask(ndimage.gaussian_filter(photo.depth, 1.5))
        truth = photo.labels.ids == 1
        before.append(iou(found.mask, truth))
        after.append(iou(refine(found.mask, found.depth, found.threshold), truth))
    assert np.mean(after) > np.mean(before) + 0.01


def test_colour_rules(photos):
    image = np.zeros((3, 2, 2), np.uint8)
    image[:, 0, 0] = (60, 120, 50)  # green
    image[:, 0, 1] = (130, 110, 90)  # soil
    image[:, 1, 0] = (10, 12, 9)  # dark: its excess green is 5
    assert metrics.canopeo(image).tolist() == [[1, 0], [0, 0]]
    assert metrics.canopeo(image, excess=4).tolist() == [[1, 0], [1, 0]]
    assert (
        np.mean([iou(metrics.canopeo(p.image.values) > 0, p.labels.ids == 1) for p in photos]) > 0.6
    )
    assert not metrics.otsu_depth(np.ones((4, 4))).any()
    assert (metrics.otsu_depth(plateau()) > 0).sum() == 400
    for call in (
        lambda: metrics.canopeo(image[:2]),
        lambda: metrics.otsu_depth(image),
        lambda: metrics.otsu_depth(np.full((2, 2), np.nan)),
    ):
        with pytest.raises(BadInput):
            call()
