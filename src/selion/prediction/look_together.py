"""A look at many chips as at one image, so that all of them are converted alike, as a map's image.

One chip may hold nothing that tells what its numbers are; together they tell what their image does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import SelionError
from selion.prediction.look import EDGE, Look, look_at, understood
from selion.prediction.number_kinds import wanted_numbers
from selion.raster import Raster, Source
from selion.segmenter import InputSpec

MOST = 48
"""Chips that are looked at, spread over all."""


def look_together(sources: Sequence[Source]) -> Look | None:
    """Look at the middles of some images as at one image.

    Parameters
    ----------
    sources : sequence of Source
        Of one kind: images with other bands, or of another type, than the first are not looked at.

    Returns
    -------
    Look or None
        None where none can be read, or they have no place on the globe.
    """
    step = max(1, len(sources) // MOST)
    chosen = [sources[k] for k in range(0, len(sources), step)][:MOST]
    first = next(iter(chosen), None)
    if first is None or first.grid.crs is None:
        return None
    parts = [
        part
        for one in chosen
        if (one.bands, one.dtype) == (first.bands, first.dtype)
        if (part := _middle(one)) is not None
    ]
    if not parts:
        return None
    values = np.concatenate([part[0] for part in parts], axis=1)
    valid = np.concatenate([part[1] for part in parts])
    grid = GeoBox(values.shape[1:], first.grid.transform, first.grid.crs)
    tags = {key: str(value) for key, value in first.tags.items()}
    return look_at(Raster(values, grid, first.bands, valid, tags))


def _middle(source: Source) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (band, y, x) and (y, x) bool of a square in the middle; what it lacks is not valid."""
    spans = []
    for size in source.grid.shape:
        start = max(0, (size - EDGE) // 2)
        spans.append(slice(start, min(start + EDGE, size)))
    try:
        part = source.read((spans[0], spans[1]))
    except SelionError:
        return None
    height, width = part.grid.shape
    values = np.zeros((len(source.bands), EDGE, EDGE), part.values.dtype)
    valid = np.zeros((EDGE, EDGE), bool)
    values[:, :height, :width] = part.values
    valid[:height, :width] = True if part.valid is None else part.valid
    return values, valid


def alike(sources: Sequence[Source], inputs: InputSpec) -> tuple[list[Source], tuple[str, ...]]:
    """Return images as a model wants them, all converted in the same way, and what was done.

    Parameters
    ----------
    sources : sequence of Source
        Chips of one kind.
    inputs : InputSpec
        Of the model; only one of digital numbers has anything converted.

    Returns
    -------
    list of Source
        The same ones where nothing has to be done.
    tuple of str
        Sentences.
    """
    found = look_together(sources) if wanted_numbers(inputs) == "digital" else None
    if found is None or not any((kind.gain, kind.shift) != (1, 0) for kind in found.kinds):
        return list(sources), ()
    made = []
    for one in sources:
        same = one.bands == found.given
        look = replace(found, bands=found.given) if same else None
        made.append(one if look is None else understood(one, look, inputs)[0])
    told = understood(sources[0], replace(found, bands=found.given, warnings=()), inputs)[1]
    return made, (*told.said, *told.warnings)
