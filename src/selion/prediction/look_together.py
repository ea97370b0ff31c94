"""A look at many chips as at one image, so that all of them are converted alike, as a map's image.

One chip may hold nothing that tells what its numbers are; together they tell what their image does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import SelionError
from selion.prediction.bands import has_bands
from selion.prediction.look import EDGE, Look, Understood, look_at, understood
from selion.prediction.number_kinds import wanted_numbers
from selion.raster import Raster, Source
from selion.segmenter import InputSpec

MOST = 48
"""Chips that are looked at, spread over all."""
SMALL = 2.5
"""Fractions up to this are reflectances, or colours from 0 to 1; such chips are another kind."""
Kind = tuple[tuple[str, ...], str, bool]
"""Names of bands, number type, and whether fractions are small."""


@dataclass(frozen=True)
class Conversion:
    """What chips of each kind are brought to, so that they are as a map of them would be."""

    kinds: tuple[tuple[Kind, Understood], ...] = ()
    """Of each kind that is converted: what is done, to be done to other chips as well."""
    said: tuple[str, ...] = ()
    """Sentences on what is done."""
    doubts: tuple[str, ...] = ()
    """Sentences on what may be wrong with the numbers."""

    def __call__(self, source: Source) -> Source:
        """Return a chip as it is converted, or itself where nothing has to be done."""
        if not self.kinds:
            return source
        same = next((how for kind, how in self.kinds if kind == _kind(source)), None)
        return source if same is None else replace(same, source=source)


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
    joined = _joined(sources)
    return None if joined is None else look_at(joined)


def _joined(sources: Sequence[Source]) -> Raster | None:
    """Return the middles of some images as one image; None as for :func:`look_together`."""
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
    return Raster(values, grid, first.bands, valid, tags)


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


def _kind(source: Source) -> Kind:
    """Say which kind a chip is: two images in one folder may hold unlike numbers."""
    small = False
    if source.dtype.kind == "f":
        found = _middle(source)
        seen = np.empty(0) if found is None else found[0][:, found[1]]
        seen = seen[np.isfinite(seen)]
        small = seen.size > 0 and float(np.percentile(seen, 99)) <= SMALL
    return source.bands, source.dtype.name, small


def conversion_of(sources: Sequence[Source], inputs: InputSpec) -> Conversion:
    """Return how chips are brought to a model's numbers and names, as a map's image is.

    Parameters
    ----------
    sources : sequence of Source
        Chips, or some of them.  Those of one kind are converted in one way.
    inputs : InputSpec
        Of the model.
    """
    kinds: dict[Kind, list[Source]] = {}
    for one in sources:
        kinds.setdefault(_kind(one), []).append(one)
    found: list[tuple[Kind, Understood]] = []
    said: dict[str, None] = {}
    doubts: dict[str, None] = {}
    for kind, chips in kinds.items():
        joined = _joined(chips)
        if joined is None:
            continue
        look = look_at(joined)
        if has_bands(look.given, inputs) or not has_bands(look.bands, inputs):
            look = replace(look, bands=look.given, said=(), warnings=())
        made, told = understood(joined, look, inputs, water=True)
        doubts |= dict.fromkeys(told.warnings)
        if isinstance(made, Understood):
            found.append((kind, made))
            said |= dict.fromkeys(told.said)
    return Conversion(tuple(found), tuple(said), tuple(doubts))


def alike(sources: Sequence[Source], inputs: InputSpec) -> tuple[list[Source], tuple[str, ...]]:
    """Return images as a model wants them, all of a kind converted in one way, and what was done.

    Parameters
    ----------
    sources : sequence of Source
        Chips.
    inputs : InputSpec
        Of the model; one of neither digital numbers nor bytes has nothing converted.

    Returns
    -------
    list of Source
        The same ones where nothing has to be done.
    tuple of str
        Sentences.
    """
    how = conversion_of(sources, inputs) if wanted_numbers(inputs) else Conversion()
    return [how(one) for one in sources], (*how.said, *how.doubts) if how.kinds else ()
