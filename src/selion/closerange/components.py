"""Connected pieces of vegetation and their traits: a plant, a leaf, or several that touch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from selion.classes import ClassScheme

LEAST, SHARE = 30, 2e-4
"""The smallest component that is counted: this many pixels, or this share of the photograph,
whichever is more."""
EIGHT = np.ones((3, 3), np.int8)
LONGEST = 512
"""Skeletons are drawn in boxes of at most so many pixels along a side; larger components are
thinned out first, and lengths are scaled back."""
STRIP = 1 << 18
"""Pixels that are counted at once, roughly."""
STEPS = np.zeros(50)
"""Length of a step of the border by the sum of weights of a border pixel's neighbours, see
:func:`perimeter`."""
STEPS[[5, 7, 15, 17, 25, 27]] = 1
STEPS[[21, 33]] = math.sqrt(2)
STEPS[[13, 23]] = (1 + math.sqrt(2)) / 2
LENGTHS = ("perimeter", "major_axis", "minor_axis", "skeleton_length")
AREAS = ("area", "convex_area")
COLUMNS = (
    "component", "area", "perimeter", "left", "top", "right", "bottom", "x", "y", "convex_area",
    "solidity", "eccentricity", "orientation", "major_axis", "minor_axis", "skeleton_length", "red",
    "green", "blue", "touches_edge",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Component:
    """A component cut out."""

    number: int
    top: int
    left: int
    mask: np.ndarray
    """(y, x) bool, its bounding box."""


def least_area(shape: tuple[int, int], given: int | None = None) -> int:
    """Return the area in pixels below which a component is not counted.

    As given, else by the size of the photograph.
    """
    return given if given is not None else max(LEAST, round(SHARE * shape[0] * shape[1]))


def counted_classes(scheme: ClassScheme) -> list[int]:
    """Return the ids of the classes whose components are counted, each by itself.

    All but the background and what only parts objects.
    """
    return [k for k, name in enumerate(scheme.names) if k > 0 and name != scheme.boundary]


def find_components(mask: np.ndarray, least: int) -> Iterator[Component]:
    """Yield the 8-connected components of a (y, x) bool mask.

    Those of ``least`` pixels or more, from the top down, numbered from 1.
    """
    labels, count = ndimage.label(mask, EIGHT)
    if not count:
        return
    sizes = np.zeros(count + 1, np.int64)
    for rows in np.array_split(labels, max(1, labels.size // STRIP)):  # in a processor's cache
        sizes += np.bincount(rows.ravel(), minlength=count + 1)
    boxes = ndimage.find_objects(labels)
    for number, old in enumerate((k for k in range(1, count + 1) if sizes[k] >= least), start=1):
        rows, columns = boxes[old - 1]
        yield Component(number, rows.start, columns.start, labels[rows, columns] == old)


def measure_components(image: np.ndarray, mask: np.ndarray, least: int) -> list[dict[str, float]]:
    """Measure every component of a mask.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    mask : (y, x) bool ndarray
        The vegetation.
    least : int
        Smallest area in pixels.

    Returns
    -------
    list of dict
        One row per component with the keys of :data:`COLUMNS`, in pixels and degrees.
        ``orientation`` is that of the major axis, -90 to 90 degrees counter-clockwise from the
        horizontal as one sees the photograph.  ``touches_edge``: 1 if the photograph cuts it off.

    Notes
    -----
    ``perimeter`` weighs the steps of the border by 1 and the square root of 2 (Benkrid and Crookes,
    "Design and FPGA implementation of a perimeter estimator", 2000, as in scikit-image).
    ``major_axis`` and ``minor_axis`` are those of the ellipse with the same second moments.
    ``convex_area`` is that of the convex hull of the pixels' corners, so that ``solidity`` is at
    most 1.  ``skeleton_length`` is the length of the thinned component (Zhang and Suen, "A fast
    parallel algorithm for thinning digital patterns", CACM 27, 1984): the sum of leaf lengths where
    leaves are narrow.
    """
    return [_row(piece, image, mask.shape) for piece in find_components(mask, least)]


def _row(piece: Component, image: np.ndarray, shape: tuple[int, ...]) -> dict[str, float]:
    height, width = piece.mask.shape
    right, bottom = piece.left + width, piece.top + height
    area = int(np.count_nonzero(piece.mask))
    hull = hull_area(piece.mask)
    seen = image[:, piece.top : bottom, piece.left : right]
    colour = [int(np.multiply(band, piece.mask).sum(dtype=np.uint64)) / area for band in seen]
    row: dict[str, float] = {
        "component": piece.number,
        "area": area,
        "perimeter": perimeter(piece.mask),
        "left": piece.left,
        "top": piece.top,
        "right": right,
        "bottom": bottom,
        "convex_area": hull,
        "solidity": area / hull,
        "skeleton_length": skeleton_length(piece.mask),
        "touches_edge": int(
            piece.left == 0 or piece.top == 0 or right == shape[1] or bottom == shape[0]
        ),
    }
    row |= ellipse(piece) | dict(zip(("red", "green", "blue"), colour, strict=True))
    return {name: row[name] for name in COLUMNS}


def perimeter(mask: np.ndarray) -> float:
    """Return the length in pixels of the border of a (y, x) bool mask, holes included.

    What :func:`skimage.measure.perimeter` returns, but only pixels of the border are looked at.
    """
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border = np.pad(mask & ~inside, 1).view(np.uint8)
    width = border.shape[1]
    at, flat = np.flatnonzero(border), border.ravel()
    sides = sum(flat[at + step] for step in (-width, width, -1, 1))
    corners = sum(flat[at + step] for step in (-width - 1, 1 - width, width - 1, width + 1))
    return float(np.bincount(1 + 2 * sides + 10 * corners, minlength=len(STEPS)) @ STEPS)


def ellipse(piece: Component) -> dict[str, float]:
    """Return centre, axes (full lengths), orientation and eccentricity of an ellipse.

    It is the one that has the second moments of a component.

    A pixel is a square and not a point: 1/12 is added to its moments, so that a bar of 40 pixels
    has the axis of a bar 40 pixels long.  scikit-image adds nothing; there both axes are shorter by
    a hair: the square of each by 4/3.
    """
    rows, columns = piece.mask.sum(1, dtype=np.int64), piece.mask.sum(0, dtype=np.int64)
    area = float(rows.sum())
    across, down = np.arange(len(columns), dtype=np.float64), np.arange(len(rows), dtype=np.float64)
    x, y = float(columns @ across) / area, float(rows @ down) / area
    xx, yy = (
        float(columns @ (across - x) ** 2) / area + 1 / 12,
        float(rows @ (down - y) ** 2) / area + 1 / 12,
    )
    xy = float((piece.mask @ (across - x)) @ (down - y)) / area
    middle, reach = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    large, small = middle + reach, max(middle - reach, 0.0)
    return {
        "x": piece.left + x + 0.5,
        "y": piece.top + y + 0.5,
        "major_axis": 4 * math.sqrt(large),
        "minor_axis": 4 * math.sqrt(small),
        "eccentricity": math.sqrt(max(1 - small / large, 0.0)),
        "orientation": math.degrees(0.5 * math.atan2(-2 * xy, xx - yy)),
    }


def hull_area(mask: np.ndarray) -> float:
    """Return the area in pixels of the convex hull of a mask's pixels, corners included.

    Only the first and the last pixel of each row can be corners of the hull.
    """
    from scipy.spatial import ConvexHull

    filled = np.flatnonzero(mask.any(1))
    first, last = mask[filled].argmax(1), mask.shape[1] - mask[filled][:, ::-1].argmax(1)
    corners = np.concatenate(
        [np.stack([x, filled + dy], 1) for x in (first, last) for dy in (0, 1)]
    )
    return float(ConvexHull(corners).volume)  # in two dimensions the volume is the area


def skeleton_length(mask: np.ndarray) -> float:
    """Return the length in pixels of the skeleton of a mask.

    1 for each straight step between its pixels, the square root of 2 for each diagonal one.
    """
    from skimage.morphology import skeletonize

    step = -(-max(mask.shape) // LONGEST)
    bones = skeletonize(np.pad(mask if step == 1 else _thinned(mask, step), 1))
    straight = np.count_nonzero(bones[1:] & bones[:-1]) + np.count_nonzero(
        bones[:, 1:] & bones[:, :-1]
    )
    # a diagonal step counts only where no corner pixel makes it two straight ones
    down, up = bones[1:, 1:] & bones[:-1, :-1], bones[1:, :-1] & bones[:-1, 1:]
    diagonal = np.count_nonzero(down & ~bones[1:, :-1] & ~bones[:-1, 1:]) + np.count_nonzero(
        up & ~bones[1:, 1:] & ~bones[:-1, :-1]
    )
    return step * (straight + math.sqrt(2) * diagonal)


def _thinned(mask: np.ndarray, step: int) -> np.ndarray:
    """Average a mask over squares of ``step`` pixels, and call half covered ones covered."""
    height, width = (-(-size // step) * step for size in mask.shape)
    padded = np.pad(mask, ((0, height - mask.shape[0]), (0, width - mask.shape[1])))
    shares = padded.reshape(height // step, step, width // step, step).mean((1, 3))
    return shares >= 0.5


def to_centimetres(row: dict[str, float], gsd: float) -> dict[str, float]:
    """Return areas in cm2 and lengths in cm, for pixels of ``gsd`` millimetres."""
    areas = {f"{name}_cm2": row[name] * gsd**2 / 100 for name in AREAS}
    return areas | {f"{name}_cm": row[name] * gsd / 10 for name in LENGTHS}
