"""Pictures of one photograph.

The mask as numbers with a palette, and the mask drawn over the photograph for the eye.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.data.photos import read_photo
from selion.errors import UnreadableFile

LONGEST, SHORTEST = 1600, 700
"""Pixels of the longer side of an overlay: larger photographs are made smaller, smaller ones are
enlarged by a whole number."""
THUMB = 360
"""Pixels of the longer side of a thumbnail."""
OUTLINE = (255, 232, 0)
"""Yellow."""
TINTS = ((0, 210, 255), (255, 64, 160), (255, 140, 0), (150, 90, 255), (255, 60, 60), (0, 255, 170))
"""Tint of class 1, 2 ...: colours that neither plants nor soil have."""
TINT, HIDDEN = 0.22, 0.55
"""How much of the tint lies over plants, and of gray over what does not count."""
QUALITY = 88
"""Of the JPEG, 1 to 95."""


def draw_overlay(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Draw class ids over a photograph.

    A light tint, and an outline around each patch of vegetation.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    ids : (y, x) uint8 ndarray
        Class ids; 0 is ground, 255 does not count.

    Returns
    -------
    (y, x, 3) uint8 ndarray
        At most 1,600 pixels along a side; enlarged where the photograph is small.
    """
    picture, labels = _sized(image, ids)
    shown = picture.astype(np.float32)
    for number in range(1, int(labels[labels != IGNORE].max(initial=0)) + 1):
        tint = np.asarray(TINTS[(number - 1) % len(TINTS)], np.float32)
        where = labels == number
        shown[where] += TINT * (tint - shown[where])
    hidden = labels == IGNORE
    shown[hidden] += HIDDEN * (128 - shown[hidden])
    shown[_outline(labels)] = OUTLINE
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def _sized(image: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring a photograph and its ids to the size of an overlay; (y, x, 3) and (y, x) uint8."""
    height, width = ids.shape
    longest = max(height, width)
    if longest <= LONGEST:
        factor = max(1, -(-SHORTEST // longest)) if longest >= 16 else SHORTEST // longest
        picture = np.ascontiguousarray(np.moveaxis(image, 0, -1))
        return picture.repeat(factor, 0).repeat(factor, 1), ids.repeat(factor, 0).repeat(factor, 1)
    size = max(round(width * LONGEST / longest), 1), max(round(height * LONGEST / longest), 1)
    small = [  # band by band: none is interleaved at full size
        np.asarray(Image.fromarray(band).resize(size, Image.Resampling.BOX, reducing_gap=2.0))
        for band in image
    ]
    return np.stack(small, -1), np.asarray(
        Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
    )


def _outline(labels: np.ndarray) -> np.ndarray:
    """Return where the border of vegetation runs, on its inner side; thicker in large pictures."""
    plants = (labels > 0) & (labels != IGNORE)
    width = 2 if max(labels.shape) >= 1000 else 1
    edge: np.ndarray = plants & ~ndimage.binary_erosion(plants, iterations=width, border_value=1)
    return edge


def palette(classes: ClassScheme) -> bytes:
    """Return 768 bytes: the scheme's colours, grays for what has none, white for 255."""
    colours = classes.palette(np.arange(256)[:, None])
    colours[IGNORE] = 255
    return colours.tobytes()


def write_mask(ids: np.ndarray, classes: ClassScheme, path: Path) -> None:
    """Write (y, x) uint8 class ids as a PNG with a palette.

    Its numbers are the ids, 255 is not known.
    """
    picture = Image.fromarray(np.ascontiguousarray(ids))
    picture.putpalette(palette(classes))
    with store.atomic_write(path, force=True) as temporary:
        store.write_picture(temporary, picture, "PNG", compress_level=3)


def bare_of(place: str) -> str:
    """Return where a picture lies that shows the same without the mask."""
    stem, _, ending = place.rpartition(".")
    return f"{stem}-photo.{ending}"


def read_small(photo: Path, longest: int) -> np.ndarray:
    """Read a photograph as (y, x, 3) uint8 with at most so many pixels along its longer side.

    A JPEG is decoded at an eighth of its size where that is enough.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    if photo.suffix.lower() in (".jpg", ".jpeg"):
        try:
            with Image.open(photo, formats=("JPEG",)) as image:
                image.draft("RGB", (longest, longest))
                small = ImageOps.exif_transpose(image).convert("RGB")
                small.thumbnail((longest, longest), Image.Resampling.BOX, reducing_gap=2.0)
                return np.asarray(small)
        except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableFile(f"{photo} cannot be read ({error}).") from error
    whole = np.moveaxis(read_photo(photo, gray=True).image.values, 0, -1)
    shown = Image.fromarray(np.ascontiguousarray(whole))
    shown.thumbnail((longest, longest), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(shown)


def write_picture(picture: np.ndarray, path: Path, longest: int | None = None) -> None:
    """Write a (y, x, 3) uint8 picture as JPEG, made smaller first if ``longest`` says so."""
    image = Image.fromarray(picture)
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.BOX, reducing_gap=2.0)
    with store.atomic_write(path, force=True) as temporary:
        store.write_picture(temporary, image, "JPEG", quality=QUALITY)
