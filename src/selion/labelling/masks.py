"""Masks on disk: a palette PNG for a photograph, a GeoTIFF for whatever has a place.

Ids either way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.data.values import read_mask, to_classes
from selion.errors import BadInput
from selion.grid import photo_grid, whole
from selion.labels import LabelMap

UNKNOWN_COLOUR = (128, 128, 128)
"""What 255 looks like in a viewer."""
ENDINGS = (".png", ".tif", ".tiff")


def ending(labels: LabelMap) -> str:
    """Return the ending of the file that a label map is written to."""
    return ".png" if labels.grid.crs is None else ".tif"


def write_mask(labels: LabelMap, path: Path, *, force: bool = False) -> Path:
    """Write class ids: a PNG with a palette where there is no CRS, a COG with colours otherwise.

    Parameters
    ----------
    labels : LabelMap
    path : path
        Ends in ``.png`` for a photograph, in ``.tif`` otherwise.

    Raises
    ------
    OutputExists, OutputFailed
        As for every output.
    """
    colours = palette(labels.classes)
    if labels.grid.crs is None:
        with store.atomic_write(path, force=force) as temporary:
            _save_palette(labels.ids, colours, temporary)
        return path
    names = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours[: len(labels.classes)]]
    with store.create_cog(
        path, labels.grid, ("class",), "uint8", nodata=IGNORE, colours=names, force=force
    ) as sink:
        sink.write(whole(labels.grid), labels.ids[None])
    return path


def _save_palette(ids: np.ndarray, colours: np.ndarray, path: Path) -> None:
    from PIL import Image

    image = Image.frombytes("P", (ids.shape[1], ids.shape[0]), np.ascontiguousarray(ids).tobytes())
    image.putpalette(colours.astype(np.uint8).tobytes())
    store.write_picture(path, image, "PNG", bits=8)


def palette(classes: ClassScheme) -> np.ndarray:
    """Return (256, 3) uint8 colours: those of the classes, the unknown grey, all others black."""
    colours = classes.palette(0)
    colours[IGNORE] = UNKNOWN_COLOUR
    return colours


def read_labels(path: Path, classes: ClassScheme) -> LabelMap:
    """Read a mask as ids of a class scheme.

    Raises
    ------
    BadInput
        If it holds a value that is neither a class nor 255, or colours.
    UnreadableFile
        If it cannot be read.
    """
    source = store.GeoTiffSource.open(path)
    values = read_mask(path)
    if len(values) > 1:
        raise BadInput(
            f"{path.name} holds colours; wanted is a mask of class ids: "
            f"{', '.join(f'{k} {name}' for k, name in enumerate(classes.names))}, 255 not known."
        )
    height, width = values.shape[1:]
    grid = photo_grid((height, width)) if source.grid.crs is None else source.grid
    if source.grid.crs is None and is_black_and_white(path, values[0], classes):
        values = (values == IGNORE).astype(np.uint8)
    return LabelMap(to_classes(values, {}, classes, path.name), grid, classes)


def is_black_and_white(path: Path, values: np.ndarray, classes: ClassScheme) -> bool:
    """Say whether the (y, x) numbers of a mask of two classes mean black and white: 255 is crop.

    So they do in a gray PNG that holds nothing but 0 and 255, as people see it when they screen;
    in one with a palette, which selion writes, 255 is not known.
    """
    from PIL import Image

    if len(classes) != 2 or path.suffix.lower() != ".png" or not (values == IGNORE).any():
        return False
    if ((values != 0) & (values != IGNORE)).any():
        return False
    with Image.open(path) as image:
        return image.mode != "P"


def read_photo_mask(path: Path, shape: tuple[int, int], classes: ClassScheme) -> np.ndarray:
    """Read the mask of a photograph to be corrected.

    Parameters
    ----------
    path : path
        A PNG; values that are no class are not known, and one of another size is stretched.
    shape : (int, int)
        Height and width of the photograph.
    classes : ClassScheme

    Returns
    -------
    (y, x) uint8 ndarray
        Class ids, 255 not known.

    Raises
    ------
    BadInput
        If it holds colours.
    UnreadableFile
        If it cannot be read.
    """
    found = read_mask(path)
    if len(found) > 1:
        raise BadInput(f"{path.name} holds colours; wanted is a mask of class ids.")
    values = found[0]
    if is_black_and_white(path, values, classes):
        ids = (values == IGNORE).astype(np.uint8)
    else:
        ids = np.where(values < len(classes), values, IGNORE).astype(np.uint8)
    if ids.shape != shape:
        rows, columns = (np.arange(n) * m // n for n, m in zip(shape, ids.shape, strict=True))
        ids = ids[rows[:, None], columns]
    return ids
