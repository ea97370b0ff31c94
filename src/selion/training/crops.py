"""Samples become windows: whole chips, or pieces of scenes at any place, angle and resolution."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from selion.classes import FTW2, FTW3, IGNORE, ClassScheme
from selion.errors import BadInput, BandMismatch, GridMismatch
from selion.grid import Roi, ground_sampling_distance
from selion.labels import Instances, class_labels
from selion.prediction.band_names import read_names
from selion.prediction.bands import choose_bands
from selion.raster import Raster
from selion.sample import Sample
from selion.training.augmentation import TrainingWindow, augment
from selion.training.class_mapping import is_outlines, placed
from selion.training.date_sets import as_dates, filled_dates, padded, without_absent
from selion.training.draws import Draw
from selion.training.edges import edge_agreement
from selion.training.recipe import Crops, Recipe
from selion.training.warp import OUTSIDE, bilinear, nearest

MARGIN = 0.1
"""Share of a window by which random windows may pass the image's edge, so that its pixels are seen
as often as others."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """What the network gets at once."""

    pixels: np.ndarray
    """(view, band, y, x) float32, scaled."""
    labels: np.ndarray
    """(view, y, x) int64 class ids, 255 not known; (view, 2, y, x) with object ids (0 none, -1 not
    known) where the loss wants them."""


def make_view(sample: Sample, recipe: Recipe, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window out of a sample, augment it and turn its truth into classes.

    Returns
    -------
    pixels : (band, y, x) float32 ndarray
        Scaled.
    labels : (y, x) int64 ndarray
        Class ids of the recipe, 255 not known; (2, y, x) with object ids where the loss wants them.

    Raises
    ------
    BadInput, BandMismatch, GridMismatch
        If the sample does not fit the recipe; the message holds its key.
    """
    by_objects, inputs = takes_objects(sample, recipe), recipe.input.spec()
    sample = as_dates(sample, inputs) if inputs.dates else sample
    window = cut(sample, recipe, draw, by_objects=by_objects)
    if recipe.loss.edge_agreement:
        window = _agreeing(window)
    names = sample.image.bands if inputs.dates else inputs.bands
    scaling = inputs.scaling_of(len(window.pixels))
    window = augment(window, recipe.augment, scaling, draw, names)
    if inputs.dates:
        planes = len(window.truth) - len(window.pixels)
        pixels = without_absent(
            window.pixels, window.truth[planes:], recipe.augment.absent, inputs, draw
        )
        window = TrainingWindow(pixels, window.truth[:planes])
    return window.pixels, _labels(window.truth, recipe, by_objects)


def collate(views: list[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Stack views; those of fewer dates get dates that are absent."""
    return Batch(
        np.stack(padded([pixels for pixels, _ in views])), np.stack([labels for _, labels in views])
    )


def takes_objects(sample: Sample, recipe: Recipe) -> bool:
    """Say whether a sample's classes come from its object ids.

    As the recipe wants it, or where there are ids and the classes are field and boundary.

    Raises
    ------
    BadInput
        If what the recipe wants is not there.
    """
    wanted, fields = (
        recipe.data.truth,
        recipe.classes.names in (FTW2.names, FTW3.names) or is_outlines(recipe.classes),
    )
    if wanted == "instances" and (sample.instances is None or not fields):
        reason = (
            "has no instances"
            if sample.instances is None
            else (
                f"has instances, but the classes {', '.join(recipe.classes.names)} are not field "
                "and boundary"
            )
        )
        raise BadInput(
            f"{sample.key} {reason}: take data.truth = 'labels', or give the dataset its instances."
        )
    if wanted == "labels" or not fields or sample.instances is None:
        if sample.labels is None:
            raise BadInput(
                f"{sample.key} has no labels to learn from: give the dataset masks, or instances "
                "with data.truth = 'instances'."
            )
        return False
    return True


def boundary_metres(sample: Sample, recipe: Recipe) -> float | None:
    """Return how wide the boundaries of windows of a sample are drawn; None where none are.

    The middle one, where windows are drawn at several resolutions; None without metres, too.
    """
    if not recipe.classes.boundary or not takes_objects(sample, recipe):
        return None
    drawn = recipe.crops.gsd
    native = ground_sampling_distance(sample.image.grid)
    pixel = math.sqrt(drawn[0] * drawn[1]) if drawn else native
    return None if pixel is None else round(pixel * recipe.data.boundary_pixels, 2)


def cut(sample: Sample, recipe: Recipe, draw: Draw, *, by_objects: bool = False) -> TrainingWindow:
    """Cut a window.

    Pixels in the source's numbers, and its truth in one plane, -1 where it is not known.

    Pixels that are not valid, or not finite, get the mean of the window's valid ones, as in
    prediction; their truth is not known.  Of a set of dates (:func:`as_dates`) a plane for each
    band lies behind the truth: 0 where the band was not there.
    """
    shape = (int(sample.image.grid.shape[0]), int(sample.image.grid.shape[1]))
    native = ground_sampling_distance(sample.image.grid) if recipe.crops.gsd else None
    fold = fineness(sample, by_objects=by_objects)
    if fold > 1:
        return _cut_finer(sample, recipe, draw, fold, native, by_objects=by_objects)
    matrix = place(shape, recipe.crops, recipe.window, native, draw)
    roi = _bounds(matrix, recipe.window, shape)
    pixels, valid, there = _read(sample, recipe, roi)
    truth = _truth(sample, roi, recipe, by_objects=by_objects)[None]
    if recipe.loss.wants_objects and not by_objects:
        truth = np.concatenate([truth, _objects(sample, roi)[None]])
    truth[:, ~valid] = OUTSIDE
    truth = np.concatenate([truth, there])
    return _sampled(pixels, truth, _moved(matrix, roi), recipe.window)


def fineness(sample: Sample, *, by_objects: bool = False) -> int:
    """Return how many pixels of the truth lie along the edge of a pixel of the image.

    1, or more where the truth was drawn on a finer grid.

    Raises
    ------
    GridMismatch
        If it is no whole number.
    """
    truth = sample.instances if by_objects else sample.labels or sample.instances
    have, wanted = (
        (truth.ids.shape if truth is not None else sample.image.grid.shape),
        sample.image.grid.shape,
    )
    fold = max(have[0] // max(wanted[0], 1), 1)
    if have != (wanted[0] * fold, wanted[1] * fold):
        sizes = " and ".join(f"{h} x {w}" for h, w in (wanted, have))
        raise GridMismatch(
            f"{sample.key}: image and truth differ in size ({sizes} pixels), and neither is a "
            "whole multiple of the other: bring both onto one grid."
        )
    return fold


def _cut_finer(
    sample: Sample, recipe: Recipe, draw: Draw, fold: int, native: float | None, *, by_objects: bool
) -> TrainingWindow:
    """Cut a window whose pixels are those of a finer truth.

    Truth by the nearest neighbour, the image resampled.
    """
    shape = (int(sample.image.grid.shape[0]), int(sample.image.grid.shape[1]))
    finer = (shape[0] * fold, shape[1] * fold)
    matrix = place(
        finer, recipe.crops, recipe.window, None if native is None else native / fold, draw
    )
    roi = _bounds(matrix, recipe.window, finer)
    truth = _truth(sample, roi, recipe, by_objects=by_objects)[None]
    if recipe.loss.wants_objects and not by_objects:
        truth = np.concatenate([truth, _objects(sample, roi)[None]])
    coarse = matrix / fold
    coarse[:, 2] += 0.5 / fold - 0.5
    below = _bounds(coarse, recipe.window, shape)
    pixels, valid, there = _read(sample, recipe, below)
    seen = _sampled(
        pixels,
        np.concatenate([np.where(valid, 0, OUTSIDE).astype(np.int32)[None], there]),
        _moved(coarse, below),
        recipe.window,
    )
    found = nearest(
        np.ascontiguousarray(truth), _moved(matrix, roi), recipe.window, recipe.window, OUTSIDE
    )
    found[:, seen.truth[0] < 0] = OUTSIDE
    return TrainingWindow(seen.pixels, np.concatenate([found, seen.truth[1:]]))


def _read(sample: Sample, recipe: Recipe, roi: Roi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels without a hole, where they are real, and of a set of dates what was there."""
    part = sample.image.read(roi)
    if recipe.input.dates:
        return filled_dates(part)
    pixels, valid = filled(part, _bands(sample, recipe))
    return pixels, valid, np.empty((0, *valid.shape), np.int32)


def _moved(matrix: np.ndarray, roi: Roi) -> np.ndarray:
    """Count rows and columns of the source from a region's corner."""
    moved = matrix.copy()
    moved[:, 2] -= (roi[0].start, roi[1].start)
    return moved


def _objects(sample: Sample, roi: Roi) -> np.ndarray:
    """Return (y, x) int32 object ids beside classes, for losses that want both."""
    if sample.instances is None:
        raise BadInput(
            f"{sample.key} has no instances, and loss.options.targets = 'instances' wants them: "
            "take 'classes', or give the dataset instances."
        )
    return sample.instances.ids[roi].astype(np.int32)


def place(
    shape: tuple[int, int], crops: Crops, size: int, native: float | None, draw: Draw
) -> np.ndarray:
    """Draw where a window lies.

    Parameters
    ----------
    shape : (y, x)
        Of the image.
    crops : Crops
    size : int
        Edge of the window in pixels.
    native : float or None
        Ground sampling distance of the image in metres, where the recipe draws others.

    Returns
    -------
    (2, 3) ndarray
        From (row, column, 1) of the window to row and column of the image.

    Raises
    ------
    GridMismatch
        If a resolution was asked for and the image has none.
    """
    rng = draw.rng("window")
    step = _step(crops, native, rng)
    if crops.mode == "chip":
        return _straight(shape, size, step, rng)
    angle = rng.uniform(0, 2 * math.pi) if crops.turn else 0.0
    mirror = -1.0 if crops.turn and rng.random() < 0.5 else 1.0
    stretch = math.exp(rng.uniform(-crops.stretch, crops.stretch) / 2)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = step * np.array(
        [[cos / stretch, mirror * sin * stretch], [-sin / stretch, mirror * cos * stretch]]
    )
    reach = [max(extent / 2 - size * step / 2, 0) + MARGIN * size * step for extent in shape]
    centre = np.array(
        [
            (extent - 1) / 2 + rng.uniform(-way, way)
            for extent, way in zip(shape, reach, strict=True)
        ]
    )
    return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


def _step(crops: Crops, native: float | None, rng: np.random.Generator) -> float:
    """Return how many image pixels a window pixel is long."""
    if crops.zoom is not None:
        return float(math.exp(rng.uniform(*np.log(crops.zoom))))
    if crops.gsd is None:
        return 1.0
    if native is None:
        raise GridMismatch(
            f"crops.gsd = {list(crops.gsd)} asks for metres, but an image has no CRS: take "
            "crops.gsd out, or give the image its place."
        )
    return float(math.exp(rng.uniform(math.log(crops.gsd[0]), math.log(crops.gsd[1])))) / native


def _straight(
    shape: tuple[int, int], size: int, step: float, rng: np.random.Generator
) -> np.ndarray:
    """Lay a window north up, somewhere inside.

    Where the image is smaller, from its upper left corner.
    """
    corners = [rng.uniform(0, max(extent - size * step, 0)) for extent in shape]
    if step == 1.0:
        corners = [float(round(corner)) for corner in corners]
    return np.array(
        [[step, 0, corners[0] + step / 2 - 0.5], [0, step, corners[1] + step / 2 - 0.5]]
    )


def _bounds(matrix: np.ndarray, size: int, shape: tuple[int, int]) -> Roi:
    """Return the part of the image that a window touches; at least one pixel."""
    ends = np.array([[0, 0, size - 1, size - 1], [0, size - 1, 0, size - 1], [1, 1, 1, 1]])
    found = matrix @ ends
    step = max(1.0, float(np.hypot(*matrix[:, 0])))
    slices = []
    for axis, extent in enumerate(shape):
        first = int(np.clip(math.floor(found[axis].min() - step), 0, extent - 1))
        last = int(np.clip(math.ceil(found[axis].max() + step), first, extent - 1))
        slices.append(slice(first, last + 1))
    return slices[0], slices[1]


def _sampled(
    pixels: np.ndarray, truth: np.ndarray, matrix: np.ndarray, size: int
) -> TrainingWindow:
    """Sample a window.

    Where its pixels are larger than the image's, the image is averaged down first.
    """
    exact = np.array_equal(matrix[:, :2], np.eye(2)) and np.array_equal(
        matrix[:, 2], matrix[:, 2].round()
    )
    top, left = (int(v) for v in matrix[:, 2]) if exact else (-1, -1)
    if (
        exact
        and top >= 0 <= left
        and top + size <= pixels.shape[1]
        and left + size <= pixels.shape[2]
    ):
        return TrainingWindow(
            pixels[:, top : top + size, left : left + size],
            truth[:, top : top + size, left : left + size],
        )
    found = nearest(truth, matrix, size, size, OUTSIDE)
    fold = round(math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))))
    if fold > 1:
        pixels = _averaged(pixels, fold)
        matrix = matrix / fold
        matrix[:, 2] += 0.5 / fold - 0.5
    return TrainingWindow(bilinear(np.ascontiguousarray(pixels), matrix, size, size, True), found)


def _averaged(pixels: np.ndarray, fold: int) -> np.ndarray:
    """Average (band, y, x) over squares; an edge that is not whole is mirrored."""
    pads = [-extent % fold for extent in pixels.shape[1:]]
    padded = np.pad(pixels, ((0, 0), (0, pads[0]), (0, pads[1])), mode="symmetric")
    bands, height, width = padded.shape
    small: np.ndarray = padded.reshape(bands, height // fold, fold, width // fold, fold).mean(
        (2, 4), dtype=np.float32
    )
    return small


def _bands(sample: Sample, recipe: Recipe) -> list[int]:
    """Return the places of the recipe's bands in the image.

    By name, by what names mean (B04 is red), or one to one where the image has as many bands and
    none of its names says anything.
    """
    have, wanted = sample.image.bands, recipe.input.bands
    if set(wanted) <= set(have):
        return [have.index(name) for name in wanted]
    if all(one.is_known for one in read_names(wanted)) and any(
        one.is_known for one in read_names(have)
    ):
        with suppress(BandMismatch):  # our own sentence tells what to do here
            chosen, doubt = choose_bands(have, wanted)
            if not doubt:  # such as the first of two dates, of which nobody asked for one
                return list(chosen)
    elif len(have) == len(wanted) and not set(wanted) & set(have):
        return list(range(len(wanted)))
    raise BandMismatch(
        f"{sample.key} has the bands {', '.join(have)}, but the recipe wants {', '.join(wanted)}: "
        "set input.bands, or choose another dataset."
    )


def filled(part: Raster, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (band, y, x) float32 pixels without a hole, and (y, x) bool where they are real.

    As on maps, holes get the mean of what is there.
    """
    pixels = part.values[bands].astype(np.float32)
    valid = np.asarray(np.isfinite(pixels).all(0))
    if part.valid is not None:
        valid = valid & part.valid
    if not valid.all():
        for plane in pixels:
            plane[~valid] = plane[valid].mean(dtype=np.float64) if valid.any() else 0
    return pixels, valid


def _truth(sample: Sample, roi: Roi, recipe: Recipe, *, by_objects: bool) -> np.ndarray:
    """Return the truth of a region, (y, x) int32: object ids or class ids of the recipe.

    -1 is not known.
    """
    if by_objects or recipe.loss.wants_objects:
        _check_alike(sample)
    labels = sample.labels.ids[roi] if sample.labels is not None else None
    if by_objects and sample.instances is not None:
        found = sample.instances.ids[roi].astype(np.int32)
        if labels is not None:
            found[labels == IGNORE] = OUTSIDE
        return found
    if labels is None or sample.labels is None:
        raise BadInput(f"{sample.key} has no labels to learn from.")
    table = _class_table(sample.labels.classes, recipe.classes, sample.key)
    ids = table[labels]
    if (ids == UNKNOWN_VALUE).any():
        values = np.unique(labels[ids == UNKNOWN_VALUE])[:5].tolist()
        have = sample.labels.classes.names
        raise BadInput(
            f"{sample.key}: the mask holds {values}, but its classes ({', '.join(have)}) are 0 to "
            f"{len(have) - 1}, and 255 is not known: correct the mask."
        )
    return ids


UNKNOWN_VALUE = -2
"""In a table of class ids: a value that stands for nothing."""


def _class_table(have: ClassScheme, wanted: ClassScheme, key: str) -> np.ndarray:
    """Return (256,) int32 from a mask's values to the recipe's class ids, by the classes' names.

    Raises
    ------
    BadInput
        If the recipe has no class of a name that the dataset has.
    """
    table = np.full(256, UNKNOWN_VALUE, np.int32)
    table[IGNORE] = OUTSIDE
    known_ids = placed(have, wanted)
    missing = [name for k, name in enumerate(have.names) if k not in known_ids]
    if missing:
        known = ", ".join(wanted.names)
        raise BadInput(
            f"{key} has the classes {', '.join(have.names)}, but the recipe knows {known}: set "
            f"classes, so that {missing[0]!r} is one of them."
        )
    table[: len(have)] = [known_ids[k] for k in range(len(have))]
    return table


def _check_alike(sample: Sample) -> None:
    """Refuse labels and objects that do not lie on one grid."""
    if (
        sample.labels is not None
        and sample.instances is not None
        and sample.labels.ids.shape != sample.instances.ids.shape
    ):
        sizes = " and ".join(
            f"{h} x {w}" for h, w in (sample.labels.ids.shape, sample.instances.ids.shape)
        )
        raise GridMismatch(
            f"{sample.key}: labels and instances differ in size ({sizes} pixels): bring both onto "
            "one grid."
        )


def _agreeing(window: TrainingWindow) -> TrainingWindow:
    labels = np.where(window.truth[0] < 0, IGNORE, 0).astype(np.uint8)
    unknown = edge_agreement(window.pixels, labels) == IGNORE
    return TrainingWindow(window.pixels, np.where(unknown, OUTSIDE, window.truth).astype(np.int32))


def _labels(truth: np.ndarray, recipe: Recipe, by_objects: bool) -> np.ndarray:
    """Turn (plane, y, x) truth into (y, x) int64 class ids with 255.

    Where the loss wants object ids, it becomes (2, y, x) with them.
    """
    plane, unknown = truth[0], truth[0] < 0
    if by_objects:
        from selion.grid import photo_grid

        width = recipe.data.boundary_pixels if recipe.classes.boundary else 0
        grid = photo_grid((int(plane.shape[0]), int(plane.shape[1])))
        plane = object_classes(
            Instances(np.where(unknown, 0, plane), grid), width, unknown, recipe.classes
        )
    labels = np.where(unknown, IGNORE, plane).astype(np.int64)
    return np.stack([labels, truth[-1].astype(np.int64)]) if recipe.loss.wants_objects else labels


def object_classes(
    instances: Instances, width: int, ignore: np.ndarray | None, classes: ClassScheme
) -> np.ndarray:
    """Return (y, x) uint8 class ids of the recipe that object ids stand for."""
    ids = class_labels(instances, width, ignore).ids
    if not is_outlines(classes):
        return ids
    table = np.arange(256, dtype=np.uint8)
    for old, new in placed(FTW3, classes).items():
        table[old] = new
    return table[ids]
