"""The scale of a photograph from a printed marker.

Concentric circles, black on white, whose true size is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from selion import store
from selion.errors import BadInput

RING, DOT = 0.6, 0.3
"""Diameters of the white disc and of the black dot in it, in units of the black disc."""
PAPER = 1.5
"""Edge of the white square around it, in the same units."""
SMALLEST = 24
"""Diameter in pixels of the smallest marker that is looked for."""
LONGEST = 3000
"""Photographs are looked at in at most so many pixels along the longer side, and in halves,
quarters ... of it."""
NEIGHBOURHOOD, CONTRAST = 80.0, 8.0
"""Black is what is darker, by the second (of 255), than the mean of a square of the first
(pixels)."""
STRONGEST = 1.6
"""Axis ratio of an ellipse, above which the marker is seen too obliquely to say anything of the
ground."""
DPI = 300
"""Of the written marker: it is printed at 100 %, so its file has to say its size."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker that was found."""

    x: float
    """Column of its centre, in pixels from the left edge."""
    y: float
    area: float
    """Of the black disc, all that is inside it included, in pixels."""
    tilt: float
    """Ratio of the longer to the shorter axis of the disc's image: 1 seen from above, 1.06 from 20
    degrees."""

    @property
    def diameter(self) -> float:
        """Of the circle with the same area, in pixels."""
        return 2 * math.sqrt(self.area / math.pi)

    def gsd(self, millimetres: float) -> float:
        """Return millimetres a pixel for a black disc of that true diameter.

        They are right for areas on the ground around the marker.
        """
        return millimetres / self.diameter


def find_markers(image: np.ndarray) -> list[Marker]:
    """Find printed markers in a photograph.

    Parameters
    ----------
    image : (3, y, x) or (y, x) uint8 ndarray
        The photograph.

    Returns
    -------
    list of Marker
        The largest first; empty if there is none that is whole, sharp enough and at least 24 pixels
        across (in a photograph of 20 megapixels about 50).

    Notes
    -----
    Gatrell, Hoff and Sklair, "Robust image features: concentric contrasting circles and their image
    extraction", SPIE 1612, 1992: pieces of the thresholded photograph whose centres coincide are
    rare in nature, and under perspective they stay within a pixel of each other.  Here a black dot
    in a white disc in a black disc: three centres, two ratios of areas and two ellipses must be
    right.  The threshold is the local mean, so light may fall unevenly.  The disc is then measured
    at full resolution at half height between its own black and the white beside it.
    """
    gray = (image if image.ndim == 2 else image.max(0)).astype(np.float32)
    found: list[Marker] = []
    for step in _steps(gray.shape):
        level = _halved(gray, step)
        for rough in _candidates(level):
            marker = _refined(gray, rough, step)
            if marker is not None and not any(
                math.hypot(marker.x - other.x, marker.y - other.y) < other.diameter
                for other in found
            ):
                found.append(marker)
        if found:
            break  # finer levels hold smaller markers, of which there are none beside a large one
    return sorted(found, key=lambda marker: -marker.area)


def _steps(shape: tuple[int, ...]) -> list[int]:
    """Return by how much the photograph is averaged down, the coarsest first.

    The sizes that levels look for overlap.
    """
    finest = max(1, math.ceil(max(shape) / LONGEST))
    coarser = [finest * 2**k for k in range(8) if min(shape) // (finest * 2**k) >= 4 * SMALLEST]
    return coarser[::-1] or [finest]


def _halved(gray: np.ndarray, step: int) -> np.ndarray:
    if step == 1:
        return gray
    height, width = (size // step * step for size in gray.shape)
    averaged: np.ndarray = (
        gray[:height, :width]
        .reshape(height // step, step, width // step, step)
        .mean((1, 3), dtype=np.float32)
    )
    return averaged


@dataclass(frozen=True, slots=True)
class _Blob:
    """A connected piece of one brightness, and the ellipse of its moments."""

    label: int
    area: float
    x: float
    y: float
    tilt: float
    fit: float
    """Its area over that of the ellipse: 1 for a full ellipse, more for a ring."""
    box: tuple[slice, slice]


def _candidates(gray: np.ndarray) -> Iterator[_Blob]:
    """Yield black pieces that hold a white one that holds a black one.

    All have the same centre, and the marker's proportions.
    """
    largest = max(min(gray.shape), SMALLEST)
    black = (
        gray
        < ndimage.uniform_filter(gray, int(min(NEIGHBOURHOOD, largest)) | 1, mode="nearest")
        - CONTRAST
    )
    labels, count = ndimage.label(black)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    least, most = math.pi / 8 * (DOT * SMALLEST) ** 2, math.pi / 4 * (DOT * largest) ** 2
    boxes = ndimage.find_objects(labels)
    for label in np.flatnonzero(
        (sizes >= least) & (sizes <= most) & (np.arange(count + 1) > 0)
    ).tolist():
        dot = _blob(labels[boxes[label - 1]] == label, label, boxes[label - 1])
        ring = (
            _ring_around(labels, dot)
            if 0.8 < dot.fit < 1.15 and dot.tilt < STRONGEST * 1.15
            else None
        )
        if ring is not None:
            yield ring


def _blob(piece: np.ndarray, label: int, box: tuple[slice, slice]) -> _Blob:
    rows, columns = np.nonzero(piece)
    area = float(len(rows))
    xx, yy = columns.var() + 1 / 12, rows.var() + 1 / 12
    xy = float(((columns - columns.mean()) * (rows - rows.mean())).mean())
    middle, reach = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    large, small = middle + reach, max(middle - reach, 1e-6)
    fit = area / (4 * math.pi * math.sqrt(large * small))
    return _Blob(
        label,
        area,
        box[1].start + columns.mean() + 0.5,
        box[0].start + rows.mean() + 0.5,
        math.sqrt(large / small),
        fit,
        box,
    )


def _ring_around(labels: np.ndarray, dot: _Blob) -> _Blob | None:
    """Look along eight rays from a dot: through white into one black piece.

    Check the piece against the marker's proportions.
    """
    radius = math.sqrt(dot.area / math.pi)
    height, width = labels.shape
    steps = np.arange(radius * 1.3, radius * 5)
    hits = set()
    for angle in np.arange(8) * math.pi / 4:
        rows, columns = (
            (dot.y + steps * math.sin(angle)).astype(int),
            (dot.x + steps * math.cos(angle)).astype(int),
        )
        inside = (rows >= 0) & (columns >= 0) & (rows < height) & (columns < width)
        met = labels[rows[inside], columns[inside]]
        met = met[(met > 0) & (met != dot.label)]
        hits.add(int(met[0]) if met.size else 0)
    return (
        _checked_ring(labels, hits.pop(), dot, radius) if len(hits) == 1 and hits != {0} else None
    )


def _checked_ring(labels: np.ndarray, label: int, dot: _Blob, radius: float) -> _Blob | None:
    reach = radius / DOT * 2.2
    rows, columns = (slice(max(int(c - reach), 0), int(c + reach) + 1) for c in (dot.y, dot.x))
    piece = labels[rows, columns] == label
    edge = np.concatenate([piece[0], piece[-1], piece[:, 0], piece[:, -1]])
    if edge.any():
        return None  # it goes on beyond any marker around this dot, or is cut off
    full = ndimage.binary_fill_holes(piece)
    outer = _blob(full, label, (rows, columns))
    ring, dot_share = np.count_nonzero(piece) / outer.area, dot.area / outer.area
    together = math.hypot(outer.x - dot.x, outer.y - dot.y) < 0.06 * math.sqrt(outer.area)
    right = abs(ring - (1 - RING**2)) < 0.16 and 0.6 < dot_share / DOT**2 < 1.5
    return outer if together and right and outer.fit > 0.94 and outer.tilt < STRONGEST else None


def _refined(gray: np.ndarray, rough: _Blob, step: int) -> Marker | None:
    """Measure a marker at full resolution.

    The disc is where it is darker than half way between its black and the paper's white.

    Paper and ring are looked for where the rough ellipse says; their brightness is taken as a plane
    each, so that a gradient of light moves no edge.
    """
    x, y, diameter = rough.x * step, rough.y * step, 2 * math.sqrt(rough.area / math.pi) * step
    reach = diameter * math.sqrt(rough.tilt) * 0.72
    top, left = max(int(y - reach), 0), max(int(x - reach), 0)
    part = gray[top : int(y + reach) + 1, left : int(x + reach) + 1]
    away = _away(part.shape, (x - left, y - top)) / (diameter / 2)
    black, white = (away > 0.68) & (away < 0.90), (away > 1.12) & (away < 1.36)
    if min(np.count_nonzero(black), np.count_nonzero(white)) < 12:
        return None
    half = (_plane(part, black) + _plane(part, white)) / 2
    labels, _ = ndimage.label(ndimage.binary_fill_holes(part < half))
    middle = int(
        labels[min(int(y) - top, part.shape[0] - 1), min(int(x) - left, part.shape[1] - 1)]
    )
    if not middle:
        return None
    disc = _blob(labels == middle, middle, (slice(top, None), slice(left, None)))
    same = 0.7 < disc.area / (rough.area * step**2) < 1.4
    return (
        Marker(disc.x, disc.y, disc.area, disc.tilt)
        if same and disc.fit > 0.95 and disc.tilt < STRONGEST
        else None
    )


def _away(shape: tuple[int, ...], centre: tuple[float, float]) -> np.ndarray:
    """Return the distance in pixels of each pixel of a cut-out from (x, y)."""
    away: np.ndarray = np.hypot(
        np.arange(shape[0])[:, None] + 0.5 - centre[1],
        np.arange(shape[1])[None, :] + 0.5 - centre[0],
    )
    return away


def _plane(part: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the plane of least squares through the brightness of some pixels.

    The plane covers the whole cut-out.
    """
    rows, columns = np.nonzero(where)
    design = np.stack([np.ones(len(rows)), rows, columns], 1)
    offset, down, across = np.linalg.lstsq(design, part[where].astype(np.float64), rcond=None)[0]
    grid: np.ndarray = (
        offset
        + down * np.arange(part.shape[0])[:, None]
        + across * np.arange(part.shape[1])[None, :]
    )
    return grid


def draw_marker(millimetres: float, dpi: int = DPI) -> np.ndarray:
    """Draw a marker with its paper and a line of words below it; (y, x) uint8.

    Parameters
    ----------
    millimetres : float
        True diameter of the black disc.
    dpi : int
        Pixels an inch of the print.

    Raises
    ------
    BadInput
        If it is smaller than 5 or larger than 1000 mm.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not 5 <= millimetres <= 1000:
        raise BadInput(
            f"A marker of {millimetres:g} mm was asked for; wanted are 5 to 1000 mm: a tenth of "
            "what the photograph shows is a good size."
        )
    size = millimetres / 25.4 * dpi
    edge = math.ceil(PAPER * size)
    away = _away((edge, edge), (edge / 2, edge / 2)) / (size / 2)
    paper = np.where((away < DOT) | ((away >= RING) & (away < 1)), 0, 255).astype(np.uint8)
    words = (
        f"selion marker: the black disc is {millimetres:g} mm across. Print at 100 %, and measure "
        "it."
    )
    font = ImageFont.load_default(max(edge // 45, 10))
    canvas = Image.new("L", (edge, edge + edge // 12), 255)
    canvas.paste(Image.fromarray(paper))
    ImageDraw.Draw(canvas).text((edge / 2, edge + edge / 40), words, fill=0, font=font, anchor="ma")
    return np.asarray(canvas)


def write_marker(path: Path, millimetres: float, *, force: bool = False) -> Path:
    """Write a marker to print, as PNG (which says its resolution) or PDF.

    Raises
    ------
    BadInput
        If the ending is another one, or the size cannot be.
    OutputExists, OutputFailed
        See :func:`selion.store.atomic_write`.
    """
    from PIL import Image

    if path.suffix.lower() not in (".png", ".pdf"):
        raise BadInput(
            f"{path} was given for the marker; wanted is a name that ends in .png or .pdf."
        )
    image = Image.fromarray(draw_marker(millimetres))
    with store.atomic_write(path, force) as temporary:
        if path.suffix.lower() == ".pdf":
            store.write_picture(temporary, image, "PDF", resolution=float(DPI))
        else:
            store.write_picture(temporary, image, "PNG", dpi=(DPI, DPI))
    return path
