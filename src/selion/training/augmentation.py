"""Augmentation of one window and its truth together: any number of bands, all from the seed.

The order is fixed (see :class:`selion.training.recipe.Augment`): scaling, turning, flips, D4,
sharpness, appearance, blur, resized crop, noise, swap of the dates.  It is that of PRUE's code, in
which rotation and resized crop are two resamplings with the sharpness between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from selion.segmenter import Scaling
from selion.training.draws import Draw
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
from selion.training.warp import OUTSIDE, bilinear, blend_smooth, cutting, nearest, turning

BACKGROUND = 0
CENTRED = 0.5
"""How far below 0 a scaling puts a source's 0 from which on its numbers are centred, as those from
-1 to 1 are; the offset of a reflectance puts it at a tenth or less."""


@dataclass(frozen=True, eq=False, slots=True)
class TrainingWindow:
    """A window on its way to the network."""

    pixels: np.ndarray
    """(band, y, x) float32, finite."""
    truth: np.ndarray
    """(plane, y, x) int32: class ids or object ids; -1 is not known."""


def augment(
    window: TrainingWindow, spec: Augment, scaling: Scaling, draw: Draw, bands: tuple[str, ...] = ()
) -> TrainingWindow:
    """Scale a window and change it as a recipe says.

    Parameters
    ----------
    window : TrainingWindow
        In the source's numbers, square.
    spec : Augment
    scaling : Scaling
        The card's; its divisor is replaced where ``spec.divisor`` happens, its clip comes last.
    draw : Draw
        Where in the run this window stands: the same place always gives the same window.
    bands : tuple of str, optional
        Names such as ``window_a:red``: bands with the same name before the colon are of one date.

    Returns
    -------
    TrainingWindow
        Scaled float32 pixels; truth of the same shape as before.
    """
    window = replace(window, pixels=scale(window.pixels, spec.divisor, scaling, draw))
    window = rotate(window, spec.rotate, draw)
    window = flip(window, spec, draw)
    pixels = sharpen(window.pixels, spec.sharpness, draw)
    black = _black(scaling, len(pixels))
    pixels = change_appearance(pixels, spec.appearance, draw, bands, black)
    window = resized_crop(replace(window, pixels=blur(pixels, spec.blur, draw)), spec.crop, draw)
    pixels = swap(add_noise(window.pixels, spec.noise, draw), spec.swap, draw)
    pixels = np.clip(pixels, *scaling.clip) if scaling.clip else pixels
    return TrainingWindow(
        np.ascontiguousarray(pixels, np.float32), np.ascontiguousarray(window.truth)
    )


def scale(pixels: np.ndarray, spec: Divisor, scaling: Scaling, draw: Draw) -> np.ndarray:
    """Scale by the card, or by a divisor drawn from ``spec.range`` in the place of the card's."""
    if draw.happens("divisor", spec.p):
        scaling = Scaling((float(_second(draw, "divisor").uniform(*spec.range)),), scaling.subtract)
    else:
        scaling = replace(scaling, clip=None)
    return scaling(pixels)


def _second(draw: Draw, purpose: str) -> np.random.Generator:
    """Return a purpose's generator after the number that decided whether it happens."""
    rng = draw.rng(purpose)
    rng.random()
    return rng


def rotate(window: TrainingWindow, spec: Rotate, draw: Draw) -> TrainingWindow:
    """Turn about the centre; corners without data have pixels 0 and a truth of ``spec.fill``."""
    if not draw.happens("rotate", spec.p):
        return window
    matrix = turning(
        window.pixels.shape[1:], float(_second(draw, "rotate").uniform(-spec.degrees, spec.degrees))
    )
    outside = BACKGROUND if spec.fill == "background" else OUTSIDE
    return warp(window, matrix, outside)


def warp(window: TrainingWindow, matrix: np.ndarray, outside: int) -> TrainingWindow:
    """Resample pixels bilinearly and truth by the nearest neighbour, onto the same size.

    See :mod:`selion.training.warp`.
    """
    height, width = window.pixels.shape[1:]
    pixels = bilinear(np.ascontiguousarray(window.pixels), matrix, height, width, False)
    return TrainingWindow(
        pixels, nearest(np.ascontiguousarray(window.truth), matrix, height, width, outside)
    )


def flip(window: TrainingWindow, spec: Augment, draw: Draw) -> TrainingWindow:
    """Flip left-right, flip up-down, and take one of the eight positions of the square."""
    if draw.happens("flip_x", spec.flip_x):
        window = TrainingWindow(window.pixels[..., ::-1], window.truth[..., ::-1])
    if draw.happens("flip_y", spec.flip_y):
        window = TrainingWindow(window.pixels[..., ::-1, :], window.truth[..., ::-1, :])
    if draw.happens("d4", spec.d4):
        position = int(_second(draw, "d4").integers(8))
        window = TrainingWindow(eighth(window.pixels, position), eighth(window.truth, position))
    return window


def eighth(values: np.ndarray, position: int) -> np.ndarray:
    """Return the (..., y, x) array in one of the eight positions of D4.

    Quarter turns, from 4 on mirrored.
    """
    turned = np.rot90(values, position % 4, (-2, -1))
    return turned[..., ::-1] if position >= 4 else turned


def sharpen(pixels: np.ndarray, spec: Sharpness, draw: Draw) -> np.ndarray:
    """Blend with a smoothed copy.

    ``s + f (x - s)``, f from ``spec.range``, ``s`` the 3 x 3 mean in which the centre counts five
    times; the border is left.

    Notes
    -----
    What kornia calls RandomSharpness(0.5), the setting of PRUE, has f from 0 to 0.5: it smooths,
    and never sharpens.  Its ``s`` is clipped to 0..1, although reflectances divided by 1500 go
    beyond; recent versions clip the result as well, older ones did not.
    """
    if not draw.happens("sharpness", spec.p) or min(pixels.shape[1:]) < 3:
        return pixels
    factor = float(_second(draw, "sharpness").uniform(*spec.range))
    blended: np.ndarray = blend_smooth(np.ascontiguousarray(pixels), factor, spec.clip)
    return blended


def change_appearance(
    pixels: np.ndarray,
    spec: Appearance,
    draw: Draw,
    bands: tuple[str, ...] = (),
    black: np.ndarray | None = None,
) -> np.ndarray:
    """Apply gamma, saturation, gain and offset, in this order, each with its own spread.

    Offsets are common to a date, haze lies on all bands of it.

    Parameters
    ----------
    pixels : (band, y, x) float32 ndarray
    spec : Appearance
    draw : Draw
    bands : tuple of str, optional
        As in :func:`augment`.
    black : (band,) float32 ndarray, optional
        No light, in numbers that are centred: white then lies as far above 0 as black below, and
        what is changed is the light from 0 to 1 between them.  None: the numbers are light.
    """
    if not draw.happens("appearance", spec.p):
        return pixels
    if black is not None:
        span = -2 * black[:, None, None]
        light = (pixels - black[:, None, None]) / span
        changed = change_appearance(light, spec, draw, bands)
        return np.asarray(changed * span + black[:, None, None], np.float32)
    rng = _second(draw, "appearance")
    dates = _dates(bands, len(pixels))
    gamma, gain, saturation = (
        float(np.exp(rng.normal(0, spread))) for spread in (spec.gamma, spec.gain, spec.saturation)
    )
    band_gain = np.exp(rng.normal(0, spec.band_gain, len(pixels)))
    offset = rng.normal(0, spec.offset, dates.max() + 1)[dates] + rng.normal(
        0, spec.band_offset, len(pixels)
    )
    if spec.gamma > 0:
        # below 0 a power is no number
        pixels = np.maximum(pixels, 1e-4) ** np.float32(gamma)
    if spec.saturation > 0:
        pixels = _saturated(pixels, dates, saturation)
    return (pixels * (gain * band_gain)[:, None, None] + offset[:, None, None]).astype(np.float32)


def _black(scaling: Scaling, count: int) -> np.ndarray | None:
    """Return (band,) what a scaling makes of 0 where its numbers are centred; None elsewhere."""
    divide, subtract = (
        np.broadcast_to(np.asarray(v, np.float32), count)
        for v in (scaling.divide, scaling.subtract)
    )
    black: np.ndarray = -subtract / divide
    return black if (black <= -CENTRED).all() else None


def _dates(bands: tuple[str, ...], count: int) -> np.ndarray:
    """Return (band,) which date each band is of; one date where names do not tell."""
    names = [name.rpartition(":")[0] for name in bands] or [""] * count
    return np.unique(names, return_inverse=True)[1]


def _saturated(pixels: np.ndarray, dates: np.ndarray, factor: float) -> np.ndarray:
    changed = np.empty_like(pixels)
    for date in range(dates.max() + 1):
        grey = pixels[dates == date].mean(0, keepdims=True)
        changed[dates == date] = grey + np.float32(factor) * (pixels[dates == date] - grey)
    return changed


def blur(pixels: np.ndarray, spec: Blur, draw: Draw) -> np.ndarray:
    """Smooth with a Gaussian, mirrored at the border."""
    if not draw.happens("blur", spec.p):
        return pixels
    sigma = float(_second(draw, "blur").uniform(*spec.sigma))
    smooth: np.ndarray = ndimage.gaussian_filter(pixels, (0, sigma, sigma), truncate=3)
    return smooth


def resized_crop(window: TrainingWindow, spec: ResizedCrop, draw: Draw) -> TrainingWindow:
    """Cut a rectangle of a random share of the area, shape and place, and enlarge it to the window.

    Notes
    -----
    PRUE's code draws *once per batch* whether to crop (kornia's ``p_batch``), and for each sample
    where: ``per = "batch"``.  Departure: pixels and truth are sampled at the same places here;
    there the image was resized corner to corner and the mask cell by cell, up to half a pixel
    apart.
    """
    if not draw.happens("crop", spec.p, spec.per):
        return window
    height, width = window.pixels.shape[1:]
    rng = _second(draw, "crop")
    tall, wide = _rectangle(rng, spec, (height, width))
    top, left = (
        int(rng.integers(0, all_ - part + 1)) for all_, part in ((height, tall), (width, wide))
    )
    matrix = cutting(top, left, tall, wide, (height, width))
    part = TrainingWindow(
        window.pixels[:, top : top + tall, left : left + wide],
        window.truth[:, top : top + tall, left : left + wide],
    )
    matrix[:, 2] -= (top, left)
    pixels = bilinear(np.ascontiguousarray(part.pixels), matrix, height, width, True)
    return TrainingWindow(
        pixels, nearest(np.ascontiguousarray(part.truth), matrix, height, width, OUTSIDE)
    )


def _rectangle(
    rng: np.random.Generator, spec: ResizedCrop, shape: tuple[int, int]
) -> tuple[int, int]:
    """Draw (y, x) sizes; after ten that do not fit, the whole."""
    for _ in range(10):
        area = rng.uniform(*spec.scale) * shape[0] * shape[1]
        ratio = float(np.exp(rng.uniform(*np.log(spec.ratio))))
        wide, tall = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < wide <= shape[1] and 0 < tall <= shape[0]:
            return tall, wide
    return shape


def add_noise(pixels: np.ndarray, spec: Noise, draw: Draw) -> np.ndarray:
    """Add Gaussian noise to each pixel of each band."""
    if not draw.happens("noise", spec.p):
        return pixels
    rng = _second(draw, "noise")
    std = np.float32(rng.uniform(*spec.std))
    return pixels + std * rng.standard_normal(pixels.shape, np.float32)


def swap(pixels: np.ndarray, spec: Swap, draw: Draw) -> np.ndarray:
    """Exchange the two halves of the bands."""
    if not draw.happens("swap", spec.p, spec.per):
        return pixels
    half = len(pixels) // 2
    return np.concatenate([pixels[half:], pixels[:half]])
