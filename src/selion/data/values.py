"""Values of masks as classes: 0 and 255, ranges, colours.

Nothing is guessed, nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.grid import roi_shape, same_grid, whole
from selion.raster import NEGATIVE, Source
from selion.store.npy import HEADS

UNKNOWN = "unknown"
"""What a declaration calls IGNORE."""
MOST_PIXELS = 178_956_970
"""Of a photograph and of a mask, which are held in memory: as many as Pillow decodes (twice its
``MAX_IMAGE_PIXELS``)."""
ROWS = 512
"""Rows of a mask that are turned into classes at a time: what is in between takes 8 bytes a pixel
and more."""
MOST_BANDS = 4
"""Of a mask: red, green, blue and alpha."""
FEW = 1 << 16
"""Numbers from the smallest to the largest of a mask that a table is made of; those of a mask in
which a single one is far away are sorted instead."""
MOST = 1 << 64
"""What no mask's number is above."""
SHOWN = 6
"""Values without a class that are said."""
REFUSED = 254
"""Mark of a value without a class, in a table of 256: no scheme of ours has so many classes with
masks of one byte."""


def read_mask(path: Path, grid: GeoBox | None = None, nodata: int | None = None) -> np.ndarray:
    """Read a mask as its numbers stand in the file.

    Palettes are not turned into colours, one bit is 0 or 1.

    Parameters
    ----------
    path : path
        GeoTIFF, PNG, JPEG, a ``.zarr`` folder or a ``.npy`` of (y, x) or (band, y, x).
    grid : GeoBox, optional
        That of the image, which the mask must share.
    nodata : int, optional
        What stands where the file says that it knows nothing; None: the number that is there.

    Returns
    -------
    (band, y, x) ndarray
        One band, or three of colours.

    Raises
    ------
    GridMismatch
        If image and mask differ in size or place.
    UnreadableFile
        If it cannot be read, or without a ``grid`` has more pixels than :data:`MOST_PIXELS`; sizes
        are looked at before a pixel is decoded.
    """
    return read_marked(path, grid, nodata)[0]


def read_marked(
    path: Path, grid: GeoBox | None = None, nodata: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a mask as :func:`read_mask` does, and where its file says that it knows nothing.

    Returns
    -------
    mask : (band, y, x) ndarray
    unknown : (y, x) bool ndarray or None
        What a mask of one band marks by a number that is not ``nodata``: a mask whose nodata is 0
        calls its background so.  None for any other mask.
    """
    unknown = None
    if path.suffix == ".npy":
        values = _read_array_of_size(path, grid)
    else:
        source = _open_mask(path)
        _check_size(path, (len(source.bands), *roi_shape(whole(source.grid))), grid)
        if grid is not None and grid.crs is not None and source.grid.crs is not None:
            same_grid(grid, source.grid, ("the image", f"its mask {path.name}"))
        part = source.read(whole(source.grid))
        values = part.values
        if nodata is not None and part.valid is not None:
            unknown = ~part.valid & (values[0] != nodata) if len(values) == 1 else None
            values = np.where(part.valid, values, values.dtype.type(nodata))
    if len(values) > 1 and all((band == values[0]).all() for band in values[1:]):
        values = values[:1]  # grey that was saved as colours
    return (values if len(values) == 1 else _colours_of(path, values)), unknown


def _read_array_of_size(path: Path, grid: GeoBox | None) -> np.ndarray:
    """Read a ``.npy`` as (band, y, x), once its head says that it is a mask."""
    with _said_as_bad_input(path), HEADS:
        head = np.lib.format.open_memmap(path, mode="r")  # mapped, and never looked at
        shape, kind = head.shape, head.dtype
        del head
    if kind.kind not in "biuf":
        raise BadInput(f"{path.name} holds {kind}; wanted is a mask of numbers.")
    if len(shape) not in (2, 3):
        raise BadInput(
            f"{path.name} has {len(shape)} dimensions; wanted are (y, x) or (band, y, x)."
        )
    _check_size(path, (1, *shape)[-3:], grid)
    return read_array(path).reshape((1, *shape)[-3:])


def _colours_of(path: Path, values: np.ndarray) -> np.ndarray:
    """Return the three bands of a mask's colours."""
    colours = values[:3]  # the fourth is alpha
    if len(colours) < 3:
        _refuse_bands(path, len(values))
    if not ((colours >= 0) & (colours <= 255)).all():
        raise BadInput(f"{path.name} holds colours that are not of 0 to 255: save it with 8 bits.")
    return colours


def _refuse_bands(path: Path, bands: int) -> None:
    raise BadInput(
        f"{path.name} has {bands} bands; wanted is a mask of one, or of three that are colours."
    )


def _check_size(path: Path, shape: tuple[int, ...], grid: GeoBox | None) -> None:
    """Refuse a (band, y, x) mask that is not of its image's size, or without an image is a bomb."""
    bands, height, width = shape
    if not 0 < bands <= MOST_BANDS:
        _refuse_bands(path, bands)
    if grid is not None and (height, width) != tuple(grid.shape):
        raise GridMismatch(
            f"{path.name} has {height} x {width} pixels, its image "
            f"{grid.shape[0]} x {grid.shape[1]}: one of them was cut or resized."
        )
    if grid is None and height * width > MOST_PIXELS:
        raise UnreadableFile(
            f"{path} has {width:,} x {height:,} pixels, {height * width / 1e6:,.0f} megapixels; a "
            f"mask has at most {MOST_PIXELS / 1e6:.0f}: cut it into tiles."
        )


def _open_mask(path: Path) -> Source:
    if path.is_file():
        # not open_raster: a photograph's palette would become colours
        source = store.GeoTiffSource.open(path)
        refuse_negative(source, path.name)
        return source
    return store.open_raster(path)


def refuse_negative(mask: Source, name: str) -> None:
    """Refuse (BadInput) a mask whose 0 is white."""
    if NEGATIVE in mask.tags:
        raise BadInput(
            f"{name} is a negative: its 0 is white (min-is-white), so that what is drawn white and "
            "what is drawn black cannot be told by their numbers; save it with 0 as black."
        )


def read_array(path: Path) -> np.ndarray:
    """Read a ``.npy`` file, never executing what may be pickled in it.

    Raises
    ------
    BadInput
        If it cannot be read so.
    """
    with _said_as_bad_input(path):
        with HEADS:
            array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):  # NumPy's archive of several
            array.close()
            raise BadInput(f"{path} cannot be read as an array (it holds several): give one.")
    return array


@contextmanager
def _said_as_bad_input(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        ValueError,
        EOFError,
        TokenError,
        MemoryError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise BadInput(f"{path} cannot be read as an array ({error}): copy it again.") from error


def to_classes(
    mask: np.ndarray, values: Mapping[str, str], classes: ClassScheme, name: str
) -> np.ndarray:
    """Turn the values of a mask into class ids.

    Parameters
    ----------
    mask : (band, y, x) ndarray
        From :func:`read_mask`.
    values : mapping
        "0", "1-255" or "#00ff00" -> class name or "unknown"; empty: values are the ids of
        ``classes``, and 255 is not known.
    classes : ClassScheme
    name : str
        File name, for messages.

    Returns
    -------
    (y, x) uint8 ndarray
        255 is not known.

    Raises
    ------
    BadInput
        If the mask holds values that nothing is said about.
    """
    ids = np.empty(mask.shape[1:], np.uint8)
    strange: list[Any] = []
    for first in range(0, len(ids), ROWS):
        rows = mask[:, first : first + ROWS]
        turned, without = (
            _colours(rows, values, classes)
            if len(mask) > 1
            else _numbers(rows[0], values, classes, name)
        )
        ids[first : first + ROWS] = turned
        strange = sorted({*strange, *without[: SHOWN + 1]})[: SHOWN + 1]
    if strange:
        _refuse(strange, values, classes, name)
    return ids


def _numbers(
    mask: np.ndarray, values: Mapping[str, str], classes: ClassScheme, name: str
) -> tuple[np.ndarray, list[int]]:
    """Return the class ids of a (y, x) mask, and the values that have none."""
    plain = _whole_numbers(mask, name) if mask.dtype.kind == "f" else mask
    found, which = _distinct(plain)
    kinds = np.full(len(found), REFUSED, np.uint8)
    for first, last, number in _ranges(values, classes):
        kinds[(found >= first) & (found <= last)] = number
    ids: np.ndarray = kinds[which]
    return ids, [int(value) for value in np.unique(plain[ids == REFUSED])[: SHOWN + 1]]


def _distinct(plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted values, among them all of a mask, and the index of each pixel's in them."""
    low, high = (plain.min().item(), plain.max().item()) if plain.size else (0, 0)
    if high - low < FEW and low >= -(2**63) and high < 2**63:
        return np.arange(int(low), int(high) + 1), plain.astype(np.int64) - int(low)
    found, which = np.unique(plain, return_inverse=True)
    return found, which.reshape(plain.shape)


def _whole_numbers(mask: np.ndarray, name: str) -> np.ndarray:
    """Return the (y, x) float64 numbers of a mask, IGNORE where they are not finite."""
    unknown = ~np.isfinite(mask)
    if (mask[~unknown] != np.round(mask[~unknown])).any():
        broken = mask[~unknown][mask[~unknown] % 1 != 0][0]
        raise BadInput(
            f"{name} holds broken numbers such as {broken:.3g}; wanted is a mask of classes: was "
            "it resized with interpolation?"
        )
    return np.where(unknown, IGNORE, mask).astype(np.float64)


def _ranges(values: Mapping[str, str], classes: ClassScheme) -> list[tuple[int, int, int]]:
    if not values:
        return [(IGNORE, IGNORE, IGNORE), *((k, k, k) for k in range(len(classes)))]
    found = []
    for key, name in values.items():
        if key.startswith("#"):
            continue
        match = re.fullmatch(r"(-?\d+)(?:-(\d+))?", key)
        if match is None:
            raise BadInput(
                f"The value {key!r} stands in a declaration; wanted is a number, a range such as "
                "1-255, or a colour such as #00ff00."
            )
        first, last = (max(min(int(end), MOST), -MOST) for end in (match[1], match[2] or match[1]))
        found.append((first, last, _number(name, classes)))
    return found


def _number(name: str, classes: ClassScheme) -> int:
    return IGNORE if name == UNKNOWN else classes.index(name)


def _colours(
    mask: np.ndarray, values: Mapping[str, str], classes: ClassScheme
) -> tuple[np.ndarray, list[str]]:
    """Return the class ids of a mask of three bands, and the colours that have none."""
    codes = colour_codes(mask)
    ids = np.full(codes.shape, REFUSED, np.uint8)
    for key, said in values.items():
        if key.startswith("#"):
            ids[codes == int(key[1:], 16)] = _number(said, classes)
    strange = np.unique(codes[ids == REFUSED])[: SHOWN + 1]
    return ids, [f"#{code:06x}" for code in strange]


def colour_codes(mask: np.ndarray) -> np.ndarray:
    """Return (y, x) int64 numbers of the colours of a (3, y, x) mask: 0xrrggbb."""
    red, green, blue = (band.astype(np.int64) for band in mask)
    return red << 16 | green << 8 | blue


def _refuse(
    found: Sequence[object], values: Mapping[str, str], classes: ClassScheme, name: str
) -> None:
    known = ", ".join(values) if values else f"0 to {len(classes) - 1} and 255"
    shown = ", ".join(str(value) for value in found[:SHOWN]) + (
        " ..." if len(found) > SHOWN else ""
    )
    raise BadInput(
        f"{name} holds the value{'s' if len(found) > 1 else ''} {shown}, known are {known} for "
        f"{', '.join(classes.names)}: "
        f'declare in dataset.toml, as values, what they mean (a class, or "{UNKNOWN}").'
    )
