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
    return LabelMap(to_classes(values, {}, classes, path.name), grid, classes)
