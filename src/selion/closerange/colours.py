"""True colours and even light: a colour card's matrix, and the fall-off towards the corners.

Both in linear light, where a camera's numbers add up: sRGB is decoded, corrected, encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selion.data.photos import Picture, find_photos, read_photo
from selion.errors import BadInput
from selion.raster import Raster

CARD = np.array(
    [
        (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177),
        (103, 189, 170), (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108),
        (157, 188, 64), (224, 163, 46), (56, 61, 150), (70, 148, 73), (175, 54, 60),
        (231, 199, 31), (187, 86, 149), (8, 133, 161), (243, 243, 242), (200, 200, 200),
        (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52),
    ],
    np.uint8,
)  # fmt: skip
"""sRGB of the 24 patches of a ColorChecker Classic, row by row of six, as its maker gives them."""
ROWS, COLUMNS = 4, 6
INNER = np.linspace(0.3, 0.7, 9)
"""Where a patch is looked at: its middle, as shares of its sides."""
CLIPPED = (3, 250)
"""Bytes below and above which a patch tells nothing."""
FEWEST = 12
"""Patches that a matrix wants."""
WRONG = 0.06
"""Error in linear light, 0 to 1, from which on the corners cannot be those of a card."""
POWERS = (2, 4, 6)
"""Of the distance from the middle, in half diagonals."""
LEAST = 0.15
"""Light in the corners that can still be brought back, as a share of that in the middle."""
BURNT = 0.01
"""Share of a photograph of something even that may be clipped."""
ENOUGH = 300
"""Pixels along the longer side of what a fall-off is estimated from."""
FINE = 4096
"""Steps of linear light that are encoded by a table."""


@dataclass(frozen=True, slots=True)
class ColourCorrection:
    """What is done to the colours of photographs; plain numbers, so that runs can be told apart."""

    matrix: tuple[tuple[float, ...], ...] | None = None
    """3 x 3, from linear camera red, green, blue to linear sRGB; None: colours stay."""
    falloff: tuple[float, ...] = ()
    """Light at distance r over that in the middle: 1 + a r^2 + b r^4 + c r^6; none: it is even."""
    notes: tuple[str, ...] = ()
    """What is said of it in the row of each photograph."""


def to_linear(values: np.ndarray) -> np.ndarray:
    """Decode sRGB of 0 to 1 to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_linear(values: np.ndarray) -> np.ndarray:
    """Encode linear light of 0 to 1 as sRGB."""
    safe = np.maximum(values, 0)
    return np.where(safe <= 0.0031308, safe * 12.92, 1.055 * safe ** (1 / 2.4) - 0.055)


_LINEAR = to_linear(np.arange(256) / 255).astype(np.float32)
_BYTES = np.rint(255 * from_linear(np.arange(FINE + 1) / FINE)).astype(np.uint8)


def make_correction(
    card: Path | None = None,
    corners: Sequence[tuple[float, float]] | None = None,
    flat: Path | None = None,
) -> ColourCorrection:
    """Estimate a correction.

    Parameters
    ----------
    card : path, optional
        A photograph with a ColorChecker Classic of 24 patches, in the light of the others.
    corners : sequence of (float, float), optional
        x and y of the card's four corners in it: beside dark skin (brown), bluish green, black and
        white, in this order.
    flat : path, optional
        A photograph of something even (paper, cloudy sky), or a folder of many photographs of one
        size, whose mean is even.

    Raises
    ------
    BadInput, UnreadableFile
        If a photograph cannot be read, what is seen at the corners is no card, or light falls off
        in a way that no lens does.
    """
    found = ColourCorrection() if flat is None else _even(flat)
    if card is None:
        return found
    if corners is None or len(corners) != 4:
        raise BadInput(
            f"{0 if corners is None else len(corners)} corners of the colour card were given "
            "(--card-corners); wanted are four, x,y of each: beside brown, bluish green, black and "
            "white."
        )
    image = correct(read_photo(card).image.values, found) if flat else read_photo(card).image.values
    seen = patches(image, corners)
    matrix, before, after, count = _fit(seen, card)
    said = (
        f"colours corrected by a card ({count} patches, error in linear light {before:.3f} before "
        f"and {after:.3f} after)"
    )
    return replace(found, matrix=matrix, notes=(*found.notes, said))


def patches(image: np.ndarray, corners: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return (24, 3) mean linear light of a card's patches; NaN where they are clipped.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
    corners : four (x, y)
        See :func:`make_correction`.
    """
    height, width = image.shape[1:]
    outside = [c for c in corners if not (0 <= c[0] <= width and 0 <= c[1] <= height)]
    if outside:
        raise BadInput(
            f"The corner {outside[0][0]:g},{outside[0][1]:g} of the colour card lies outside of "
            f"the photograph ({width} x {height} pixels)."
        )
    across, down = np.meshgrid(INNER, INNER)
    found = np.full((ROWS * COLUMNS, 3), np.nan)
    to_image = _homography(corners)
    for k in range(ROWS * COLUMNS):
        row, column = divmod(k, COLUMNS)
        on_card = np.stack(
            [(column + across) / COLUMNS, (row + down) / ROWS, np.ones_like(across)]
        ).reshape(3, -1)
        x, y, scale = to_image @ on_card
        at = np.floor(np.stack([y, x]) / scale).astype(int)
        at = np.clip(at, 0, np.array([[height - 1], [width - 1]]))
        seen = image[:, at[0], at[1]]
        middle = np.median(seen, axis=1)
        if CLIPPED[0] < middle.min() and middle.max() < CLIPPED[1]:
            found[k] = _LINEAR[seen].mean(1, dtype=np.float64)
    return found


def _homography(corners: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the (3, 3) matrix from the unit square to four corners, clockwise from its origin."""
    rows, wanted = [], []
    for (u, v), (x, y) in zip(((0, 0), (1, 0), (1, 1), (0, 1)), corners, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        wanted += [x, y]
    try:
        solved = np.linalg.solve(np.array(rows, float), np.array(wanted, float))
    except np.linalg.LinAlgError as error:
        raise BadInput(
            "The four corners of the colour card lie on a line: give them in the order brown, "
            "bluish green, black, white."
        ) from error
    return np.append(solved, 1.0).reshape(3, 3)


def _fit(seen: np.ndarray, card: Path) -> tuple[tuple[tuple[float, ...], ...], float, float, int]:
    """Return the matrix by least squares, root mean square errors, and how many patches told."""
    sound = np.isfinite(seen).all(1)
    count = int(sound.sum())
    if count < FEWEST:
        raise BadInput(
            f"{ROWS * COLUMNS - count} of the {ROWS * COLUMNS} patches of the card in {card} are "
            "too dark or too bright to tell a colour: expose it less or more."
        )
    measured, wanted = seen[sound], to_linear(CARD[sound] / 255)
    solved = np.linalg.lstsq(measured, wanted, rcond=None)[0]
    before, after = (
        float(np.sqrt(np.mean((got - wanted) ** 2))) for got in (measured, measured @ solved)
    )
    if after > WRONG:
        raise BadInput(
            f"What is seen at the corners in {card} is no ColorChecker of 24 patches (error "
            f"{after:.2f} of 1 after the best matrix): give the corners beside brown, bluish "
            "green, black and white, in this order."
        )
    return tuple(tuple(float(v) for v in row) for row in solved.T), before, after, count


def _even(flat: Path) -> ColourCorrection:
    photos = find_photos(flat)
    total: np.ndarray = np.zeros(())
    shape: tuple[int, ...] = ()
    for photo in photos:
        image = read_photo(photo.path, gray=True).image.values
        shape = shape or image.shape
        if image.shape != shape:
            raise BadInput(
                f"{photo.path} has {image.shape[2]} x {image.shape[1]} pixels and the others have "
                f"{shape[2]} x {shape[1]}: the fall-off is estimated from photographs of one size."
            )
        thin = _thin(image)
        if len(photos) == 1 and (thin.max(0) > CLIPPED[1]).mean() > BURNT:
            raise BadInput(
                f"{photo.path} is white where it is brightest, so that it does not tell how light "
                "falls off: expose it less."
            )
        light = _LINEAR[thin].sum(0, dtype=np.float64)
        total = total + light
    radius = _radius((shape[1], shape[2]), _step(shape))
    terms = np.stack([np.ones(total.size), *(radius.ravel() ** power for power in POWERS)], 1)
    middle, *others = np.linalg.lstsq(terms, total.ravel(), rcond=None)[0].tolist()
    if not middle > 0:
        raise BadInput(
            f"{flat} is black in its middle, so that it does not tell how light falls off: give a "
            "photograph of something even and bright, or many photographs."
        )
    falloff = tuple(one / middle for one in others)
    along = _light(np.linspace(0, 1, 50, dtype=np.float32), falloff)
    if along.min() < LEAST or along.max() > 1.5:
        raise BadInput(
            f"The light in {flat} falls to {along.min():.0%} and rises to {along.max():.0%} of "
            "that in the middle, which no lens does: give a photograph of something even, or many "
            "photographs."
        )
    many = "" if len(photos) == 1 else f", from the mean of {len(photos)} photographs"
    said = f"fall-off of light corrected ({along[-1]:.0%} of the middle's in the corners{many})"
    return ColourCorrection(falloff=falloff, notes=(said,))


def _step(shape: Sequence[int]) -> int:
    return max(1, max(shape[1:]) // ENOUGH)


def _thin(image: np.ndarray) -> np.ndarray:
    step = _step(image.shape)
    return image[:, ::step, ::step]


def _radius(shape: tuple[int, int], step: int = 1) -> np.ndarray:
    """Return (y, x) float32 distances of pixels from the middle, in half diagonals."""
    height, width = shape
    y = (np.arange(0, height, step) + 0.5 - height / 2)[:, None]
    x = np.arange(0, width, step) + 0.5 - width / 2
    return np.asarray(np.hypot(x, y) / np.hypot(height / 2, width / 2), np.float32)


def _light(radius: np.ndarray, falloff: Sequence[float]) -> np.ndarray:
    return np.asarray(1 + sum(c * radius**p for c, p in zip(falloff, POWERS, strict=True)))


def correct(image: np.ndarray, how: ColourCorrection) -> np.ndarray:
    """Correct the colours of a photograph.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        sRGB.
    how : ColourCorrection

    Returns
    -------
    (3, y, x) uint8 ndarray
        What gets brighter than white is white.
    """
    out = np.empty_like(image)
    height, width = image.shape[1:]
    matrix = None if how.matrix is None else np.array(how.matrix, np.float32)
    radius = _radius((height, width)) if how.falloff else None
    for top in range(0, height, 64):
        rows = slice(top, top + 64)
        light = _LINEAR[image[:, rows]]
        if radius is not None:
            light /= _light(radius[rows], how.falloff).astype(np.float32)
        if matrix is not None:
            light = np.einsum("ij,jyx->iyx", matrix, light)
        out[:, rows] = _BYTES[np.rint(np.clip(light, 0, 1) * FINE).astype(np.int16)]
    return out


def corrected(picture: Picture, how: ColourCorrection) -> Picture:
    """Return a photograph as it is corrected, and what was done among its notes."""
    image = picture.image
    values = correct(image.values, how)
    return replace(
        picture,
        image=Raster(values, image.grid, image.bands, image.valid, image.tags),
        notes=(*picture.notes, *how.notes),
    )
