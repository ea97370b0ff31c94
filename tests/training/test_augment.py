"""Augmentations: eight bands, masks and ids together, all from the seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from selion.segmenter import Scaling
from selion.training import augmentation as a
from selion.training.draws import Draw, order
from selion.training.recipe import (
    Appearance,
    Augment,
    Blur,
    Divisor,
    Noise,
    ResizedCrop,
    Rotate,
    Sharpness,
    Swap,
)
from selion.training.warp import bilinear, cutting, nearest, turning

SIZE = 48
PLAIN = Scaling()
EVERYTHING = Augment(
    divisor=Divisor(0.5, (0.5, 2.0)),
    rotate=Rotate(0.5),
    flip_x=0.5,
    flip_y=0.5,
    d4=0.5,
    sharpness=Sharpness(0.5),
    appearance=Appearance(0.5, 0.2, 0.2, 0.1, 0.1, 0.05, 0.3),
    blur=Blur(0.5),
    crop=ResizedCrop(0.5),
    noise=Noise(0.5, (0.01, 0.1)),
    swap=Swap(0.5),
)
BANDS = tuple(f"window_{w}:{b}" for w in "ab" for b in ("red", "green", "blue", "nir"))


def window(seed=0, size=SIZE):
    """Pixels that tell where they came from: band 0 holds the id of the plane, so truth and pixels
    can be compared after any turn.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.random((8, size, size), dtype=np.float32)
    ids = (np.arange(size * size).reshape(size, size) // 7).astype(np.int32)
    pixels[0] = ids
    return a.TrainingWindow(pixels, ids[None])


def draws(spec, n=40, **options):
    return [a.augment(window(), spec, PLAIN, Draw(3, 0, k, **options), BANDS) for k in range(n)]


def test_the_same_place_gives_the_same_window_and_another_place_another():
    one, other = (a.augment(window(), EVERYTHING, PLAIN, Draw(1, 2, 3, 4), BANDS) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.truth, other.truth)
    for place in (Draw(2, 2, 3, 4), Draw(1, 3, 3, 4), Draw(1, 2, 4, 4)):
        assert not np.array_equal(
            a.augment(window(), EVERYTHING, PLAIN, place, BANDS).pixels, one.pixels
        )


def test_one_augmentation_does_not_change_the_draws_of_the_others():
    with_noise = Augment(flip_x=0.5, d4=0.5, rotate=Rotate(0.5), noise=Noise(1.0, (0.01, 0.01)))
    without = replace(with_noise, noise=Noise())
    for one, other in zip(draws(with_noise), draws(without), strict=True):
        assert np.array_equal(one.truth, other.truth)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_types_and_shapes_stay_and_pixels_are_finite(index):
    found = a.augment(
        window(index),
        EVERYTHING,
        Scaling((2.0,), (0.0,), (0.0, 3.0)),
        Draw(5, 1, index, index // 4),
        BANDS,
    )
    assert (found.pixels.dtype, found.truth.dtype) == (np.float32, np.int32)
    assert (found.pixels.shape, found.truth.shape) == ((8, SIZE, SIZE), (1, SIZE, SIZE))
    assert np.isfinite(found.pixels).all()
    assert found.pixels.min() >= 0
    assert found.pixels.max() <= 3


@pytest.mark.parametrize(
    "spec",
    [
        Augment(flip_x=1.0),
        Augment(flip_y=1.0),
        Augment(d4=1.0),
        Augment(flip_x=0.5, flip_y=0.5, d4=0.5),
    ],
)
def test_flips_and_turns_move_truth_with_pixels_exactly(spec):
    for found in draws(spec):
        assert np.array_equal(found.pixels[0], found.truth[0])


def test_d4_reaches_all_eight_positions_evenly():
    seen = [a.eighth(np.arange(4).reshape(2, 2), k).tobytes() for k in range(8)]
    assert len(set(seen)) == 8
    corners = [
        tuple(f.truth[0][[0, 0, -1, -1], [0, -1, 0, -1]]) for f in draws(Augment(d4=1.0), 400)
    ]
    counts = np.unique(corners, axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert counts.min() > 25


def test_rotation_is_scipys_and_its_corners_are_what_the_recipe_says():
    angle = 33.0
    matrix = turning((SIZE, SIZE), angle)
    pixels = window().pixels
    ours = bilinear(pixels, matrix, SIZE, SIZE, False)
    theirs = np.stack(
        [
            ndimage.affine_transform(
                b.astype(float), matrix[:, :2], matrix[:, 2], order=1, mode="grid-constant"
            )
            for b in pixels
        ]
    )
    assert np.abs(ours - theirs).max() < 1e-3
    assert (
        np.abs(
            bilinear(pixels, turning((SIZE, SIZE), 90), SIZE, SIZE, False)
            - np.rot90(pixels, 1, (1, 2))
        ).max()
        < 1e-3
    )
    assert np.array_equal(
        nearest(window().truth, turning((SIZE, SIZE), 90), SIZE, SIZE, -1),
        np.rot90(window().truth, 1, (1, 2)),
    )
    for fill, value in (("background", 0), ("ignore", -1)):
        found = a.rotate(window(), Rotate(1.0, fill=fill), Draw(1, 0, 1))
        outside = (
            bilinear(
                np.ones((1, SIZE, SIZE), np.float32), turning((SIZE, SIZE), 45.0), SIZE, SIZE, False
            )[0]
            == 0
        )
        assert outside.any()
        assert found.truth[0, 0, 0] == value
        assert found.pixels[1, 0, 0] == 0


def test_rotation_angles_span_the_range_and_happen_as_often_as_asked():
    changed = [
        not np.array_equal(f.truth, window().truth) for f in draws(Augment(rotate=Rotate(0.5)), 300)
    ]
    assert 0.4 < np.mean(changed) < 0.6


def test_nearest_gives_only_values_that_were_there_and_marks_the_outside():
    found = nearest(window().truth, turning((SIZE, SIZE), 17.0), SIZE, SIZE, -1)
    assert set(np.unique(found)) <= set(np.unique(window().truth)) | {-1}


def test_the_divisor_replaces_the_scaling():
    spec = Augment(divisor=Divisor(1.0, (1500.0, 4500.0)))
    divisors = []
    for k in range(200):
        found = a.augment(window(), spec, Scaling((3000.0,)), Draw(7, 0, k))
        ratio = window().pixels[1] / found.pixels[1]
        assert np.ptp(ratio) / ratio.mean() < 1e-5
        divisors.append(float(ratio.mean()))
    assert min(divisors) >= 1499
    assert max(divisors) <= 4501
    assert abs(np.mean(divisors) - 3000) < 200
    plain = a.augment(window(), Augment(), Scaling((3000.0,), (10.0,)), Draw(7, 0, 0))
    assert plain.pixels == pytest.approx((window().pixels - 10) / 3000)


def test_sharpness_is_a_blend_with_the_weighted_mean_and_leaves_the_border():
    pixels = window().pixels[1:] * 2
    kernel = np.ones((3, 3))
    kernel[1, 1] = 5
    for clip in (True, False):
        found = a.sharpen(pixels, Sharpness(1.0, (0.25, 0.25), clip), Draw(1, 0, 0))
        smooth = np.stack([ndimage.correlate(band.astype(float), kernel / 13) for band in pixels])
        smooth = smooth.clip(0, 1) if clip else smooth
        expected = pixels.astype(float).copy()
        expected[:, 1:-1, 1:-1] = (smooth + 0.25 * (pixels - smooth))[:, 1:-1, 1:-1]
        assert np.abs(found - expected).max() < 1e-5
    assert (
        np.abs(a.sharpen(pixels, Sharpness(1.0, (1.0, 1.0), False), Draw(1, 0, 0)) - pixels).max()
        < 1e-6
    )


def test_a_resized_crop_enlarges_and_keeps_truth_on_pixels():
    size = 64
    ramp = np.tile(np.arange(size, dtype=np.float32), (8, size, 1))
    plane = np.tile(np.arange(size, dtype=np.int32), (1, size, 1))
    for k in range(30):
        found = a.resized_crop(
            a.TrainingWindow(ramp, plane), ResizedCrop(1.0, (0.3, 0.9)), Draw(2, 0, k)
        )
        width = np.ptp(found.pixels[0, 0]) + 1
        assert 0.3 * 0.75 * size <= width <= size
        assert np.abs(found.pixels[0] - found.truth[0]).max() <= 0.5 + 1e-4
        assert found.truth.min() >= 0


def test_a_crop_of_the_whole_is_the_whole():
    found = a.resized_crop(window(), ResizedCrop(1.0, (1.0, 1.0), (1.0, 1.0)), Draw(2, 0, 0))
    assert np.array_equal(found.truth, window().truth)
    assert np.abs(found.pixels - window().pixels).max() < 1e-4
    assert np.array_equal(cutting(0, 0, SIZE, SIZE, (SIZE, SIZE)), np.eye(2, 3))


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_swap_and_crop_are_drawn_for_a_batch_or_for_a_sample(per):
    for purpose in ("swap", "crop"):
        decided = [
            [Draw(3, 0, 8 * b + k, b).happens(purpose, 0.5, per) for k in range(8)]
            for b in range(60)
        ]
        if per == "batch":
            assert all(len(set(row)) == 1 for row in decided)
        else:
            assert sum(len(set(row)) == 2 for row in decided) > 50
        assert 0.35 < np.mean(decided) < 0.65


def test_swap_exchanges_the_halves_and_twice_is_nothing():
    pixels = window().pixels
    once = a.swap(pixels, Swap(1.0), Draw(1, 0, 0))
    assert np.array_equal(once[:4], pixels[4:])
    assert np.array_equal(a.swap(once, Swap(1.0), Draw(1, 0, 0)), pixels)


def test_blur_is_a_gaussian_and_noise_has_its_standard_deviation():
    pixels = window().pixels[1:]
    found = a.blur(pixels, Blur(1.0, (1.2, 1.2)), Draw(1, 0, 0))
    assert (
        np.abs(
            found - np.stack([ndimage.gaussian_filter(b, 1.2, truncate=3) for b in pixels])
        ).max()
        < 1e-5
    )
    noise = a.add_noise(
        np.zeros((8, 200, 200), np.float32), Noise(1.0, (0.05, 0.05)), Draw(1, 0, 0)
    )
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean()) < 1e-3
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


def test_haze_is_common_to_a_date_and_gain_to_all_bands():
    flat = np.ones((8, 4, 4), np.float32)
    haze = a.change_appearance(flat, Appearance(1.0, offset=0.2), Draw(4, 0, 0), BANDS)[:, 0, 0]
    assert np.ptp(haze[:4]) < 1e-6 > np.ptp(haze[4:])
    assert abs(haze[0] - haze[4]) > 1e-3
    gain = a.change_appearance(flat, Appearance(1.0, gain=0.3), Draw(4, 0, 0), BANDS)
    assert np.ptp(gain) < 1e-6
    assert gain[0, 0, 0] != 1
    assert (
        np.ptp(
            a.change_appearance(flat, Appearance(1.0, band_gain=0.3), Draw(4, 0, 0), BANDS)[:, 0, 0]
        )
        > 0.05
    )


def test_saturation_keeps_the_grey_and_gamma_keeps_black_and_white():
    pixels = window().pixels[1:4]
    found = a.change_appearance(
        pixels, Appearance(1.0, saturation=0.5), Draw(4, 0, 0), ("red", "green", "blue")
    )
    assert np.abs(found.mean(0) - pixels.mean(0)).max() < 1e-5
    assert not np.allclose(found, pixels)
    ends = np.array([0.0, 1.0], np.float32).reshape(1, 1, 2)
    assert a.change_appearance(
        ends, Appearance(1.0, gamma=0.5), Draw(4, 0, 0)
    ).ravel() == pytest.approx([0, 1], abs=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_takes_every_sample_once(count, seed, epoch):
    found = order(seed, epoch, count)
    assert sorted(found) == list(range(count))
    if count > 20:
        assert not np.array_equal(found, order(seed, epoch + 1, count))
        assert not np.array_equal(found, order(seed, epoch, count, 1))


def test_appearance_of_centred_numbers_is_that_of_their_light():
    """The same photograph, fed from 0 to 1 and from -1 to 1: gamma took all below 0 for black."""
    photo = np.random.default_rng(2).integers(0, 256, (3, 8, 8)).astype(np.float32)
    truth = np.zeros((1, 8, 8), np.int32)
    spec = Augment(appearance=Appearance(1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.3))
    names, centred = ("red", "green", "blue"), Scaling((127.5,), (127.5,))
    for k in range(12):
        light = a.augment(
            a.TrainingWindow(photo, truth), spec, Scaling((255.0,)), Draw(3, 0, k), names
        ).pixels
        found = a.augment(
            a.TrainingWindow(photo, truth), spec, centred, Draw(3, 0, k), names
        ).pixels
        assert np.allclose(found, 2 * light - 1, atol=1e-5)


def test_gamma_keeps_black_and_white_of_centred_numbers_where_they_are():
    pixels = np.float32([-1, 0, 1])[None, None].repeat(3, 0)
    found = a.change_appearance(
        pixels, Appearance(1.0, gamma=0.5), Draw(4, 0, 0), (), np.full(3, -1, np.float32)
    )
    assert np.allclose(found[..., 0], -1, atol=1e-2)  # no light is taken for 1e-4 of it
    assert np.allclose(found[..., 2], 1)
    assert not np.allclose(found[..., 1], 0, atol=0.02)


def test_the_offset_of_a_reflectance_does_not_centre_it():
    """Sentinel-2 since 2022: 1,000 is no light, so that a tenth below 0 there are no pixels."""
    numbers = np.float32([[[1000, 2000, 5000]]]).repeat(2, 0)
    spec = Augment(appearance=Appearance(1.0, gamma=0.5, gain=0.2))
    offset = a.augment(
        a.TrainingWindow(numbers, np.zeros((1, 1, 3), np.int32)),
        spec,
        Scaling((10_000.0,), (1_000.0,)),
        Draw(3, 0, 0),
    )
    plain = a.augment(
        a.TrainingWindow(numbers - 1000, np.zeros((1, 1, 3), np.int32)),
        spec,
        Scaling((10_000.0,)),
        Draw(3, 0, 0),
    )
    assert np.array_equal(offset.pixels, plain.pixels)
