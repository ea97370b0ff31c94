"""Values of masks as classes: 0 and 255, ranges, colours.

Nothing is guessed, nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, GridMismatch
from selion.grid import same_grid, whole
from selion.raster import Source

UNKNOWN = "unknown"
"""What a declaration calls IGNORE."""
REFUSED = 254
"""Mark of a value without a class, in a table of 256: no scheme of ours has so many classes with
masks of one byte."""


def read_mask(path: Path, grid: GeoBox | None = None) -> np.ndarray:
    """Read a mask as its numbers stand in the file.

    Palettes are not turned into colours, one bit is 0 or 1.

    Parameters
    ----------
    path : path
        GeoTIFF, PNG, JPEG, a ``.zarr`` folder or a ``.npy`` of (y, x) or (band, y, x).
    grid : GeoBox, optional
        That of the image, which the mask must share.

    Returns
    -------
    (band, y, x) ndarray
        One band, or three of colours.

    Raises
    ------
    GridMismatch
        If image and mask differ in size or place.
    """
    if path.suffix == ".npy":
        values = read_array(path)
        values = values[None] if values.ndim == 2 else values
    else:
        source = _open_mask(path)
        values = source.read(whole(source.grid)).values
        if grid is not None and grid.crs is not None and source.grid.crs is not None:
            same_grid(grid, source.grid, ("the image", f"its mask {path.name}"))
    if grid is not None and values.shape[1:] != tuple(grid.shape):
        raise GridMismatch(
            f"{path.name} has {values.shape[1]} x {values.shape[2]} pixels, its image "
            f"{grid.shape[0]} x {grid.shape[1]}: one of them was cut or resized."
        )
    if len(values) > 1 and (values[1:] == values[0]).all():  # grey that was saved as colours
        values = values[:1]
    return values[:3] if len(values) == 4 else values


def _open_mask(path: Path) -> Source:
    if path.is_file():
        # not open_raster: a photograph's palette would become colours
        return store.GeoTiffSource.open(path)
    return store.open_raster(path)


def read_array(path: Path) -> np.ndarray:
    """Read a ``.npy`` file, never executing what may be pickled in it.

    Raises
    ------
    BadInput
        If it cannot be read so.
    """
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
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
    return array


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
    if len(mask) > 1:
        return _colours(mask, values, classes, name)
    plain = mask[0]
    if plain.dtype.kind == "f":
        plain = _whole_numbers(plain, name)
    table, low = _table(plain, values, classes)
    ids: np.ndarray = table[plain.astype(np.int64) - low]
    if (ids == REFUSED).any():
        _refuse(sorted(np.unique(plain[ids == REFUSED]).tolist()), values, classes, name)
    return ids


def _whole_numbers(mask: np.ndarray, name: str) -> np.ndarray:
    unknown = ~np.isfinite(mask)
    if (mask[~unknown] != np.round(mask[~unknown])).any():
        broken = mask[~unknown][mask[~unknown] % 1 != 0][0]
        raise BadInput(
            f"{name} holds broken numbers such as {broken:.3g}; wanted is a mask of classes: was "
            "it resized with interpolation?"
        )
    return np.where(unknown, IGNORE, mask).astype(np.int64)


def _table(
    mask: np.ndarray, values: Mapping[str, str], classes: ClassScheme
) -> tuple[np.ndarray, int]:
    """Return class ids of the values ``low`` ... of a mask."""
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    table = np.full(high - low + 1, REFUSED, np.uint8)
    for first, last, number in _ranges(values, classes):
        table[max(first - low, 0) : max(last + 1 - low, 0)] = number
    return table, low


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
        found.append((int(match[1]), int(match[2] or match[1]), _number(name, classes)))
    return found


def _number(name: str, classes: ClassScheme) -> int:
    return IGNORE if name == UNKNOWN else classes.index(name)


def _colours(
    mask: np.ndarray, values: Mapping[str, str], classes: ClassScheme, name: str
) -> np.ndarray:
    codes = (
        mask[0].astype(np.int64) << 16 | mask[1].astype(np.int64) << 8 | mask[2].astype(np.int64)
    )
    ids = np.full(codes.shape, REFUSED, np.uint8)
    for key, said in values.items():
        if key.startswith("#"):
            ids[codes == int(key[1:], 16)] = _number(said, classes)
    if (ids == REFUSED).any():
        _refuse(
            [f"#{code:06x}" for code in np.unique(codes[ids == REFUSED])], values, classes, name
        )
    return ids


def _refuse(
    found: list[object], values: Mapping[str, str], classes: ClassScheme, name: str
) -> None:
    known = ", ".join(values) if values else f"0 to {len(classes) - 1} and 255"
    shown = ", ".join(str(value) for value in found[:6]) + (" ..." if len(found) > 6 else "")
    raise BadInput(
        f"{name} holds the value{'s' if len(found) > 1 else ''} {shown}, known are {known} for "
        f"{', '.join(classes.names)}: "
        f'declare in dataset.toml, as values, what they mean (a class, or "{UNKNOWN}").'
    )
