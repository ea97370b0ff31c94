"""A look at many chips as at one image, so that all of them are converted alike, as a map's image.

One chip may hold nothing that tells what its numbers are; together they tell what their image does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import SelionError
from selion.prediction.bands import has_bands
from selion.prediction.chips_apart import ChipNumbers, chip_numbers, told_apart
from selion.prediction.declared_numbers import Declared, LeftAside, as_declared
from selion.prediction.look import Look, look_at
from selion.prediction.look_sample import EDGE
from selion.prediction.look_understood import Understood, understood
from selion.prediction.number_kinds import wanted_numbers
from selion.raster import OFFSETS, SCALES, STATED, Raster, Source
from selion.segmenter import InputSpec

T = TypeVar("T")
Made = Understood | Declared | LeftAside
"""A chip that something is done to."""
MOST = 48
"""Chips that are looked at together, spread over all."""
EACH = 4000
"""Chips that are looked at each by itself, spread over all."""
OWN, STEP = 256, 2
"""Pixels of a chip's middle that are looked at by itself, and of which each so manieth."""
SMALL = 2.5
"""Fractions up to this are reflectances, or colours from 0 to 1; such chips are another kind."""
Kind = tuple[tuple[str, ...], str, bool, str, str]
"""Names of bands, number type, whether fractions are small, which bands' numbers are stated, and
the scale and offset that the file itself says."""
Chip = tuple[str, Callable[[], Source]]
"""Name of a chip, and what opens it."""


@dataclass(frozen=True)
class Conversion:
    """What chips of each kind are brought to, so that they are as a map of them would be."""

    kinds: tuple[tuple[Kind, Made], ...] = ()
    """Of each kind that is converted: what is done, to be done to other chips as well."""
    said: tuple[str, ...] = ()
    """Sentences on what is done."""
    doubts: tuple[str, ...] = ()
    """Sentences on what may be wrong with the numbers."""
    own: tuple[tuple[str, Made | None], ...] = ()
    """Names of chips that hold other numbers than the rest, and what is done to each; None:
    nothing."""

    def of(self, name: str) -> Conversion:
        """Return what is done to one chip."""
        if name not in dict(self.own):
            return replace(self, own=())
        made = dict(self.own)[name]
        return Conversion() if made is None else replace(self, own=(("", made),))

    @property
    def is_needed(self) -> bool:
        """Whether any chip is converted."""
        return bool(self.kinds or self.own)

    def __call__(self, source: Source) -> Source:
        """Return a chip as it is converted, or itself where nothing has to be done.

        One that holds other numbers than the rest is converted by its own :meth:`of`.
        """
        if len(self.own) == 1 and self.own[0][0] == "" and self.own[0][1] is not None:
            return _over(self.own[0][1], source)
        if not self.kinds:
            return source
        same = next((how for kind, how in self.kinds if kind == _kind(source)), None)
        return source if same is None else _over(same, source)


def _over(how: Made, source: Source) -> Source:
    """Do to a chip what was done to all of its kind, the file's own scale and offset first."""
    return replace(how, source=_as_kind(source, how.source))


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
    first = next(iter(_spread(sources, MOST)), None)
    if first is None or first.grid.crs is None:
        return None
    parts = [
        part
        for one in _spread(sources, MOST)
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


def _spread(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most ``most`` of some items, spread over all."""
    count = min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]


def _middle(source: Source, edge: int = EDGE) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (band, y, x) and (y, x) bool of a square in the middle; what it lacks is not valid."""
    spans = []
    for size in source.grid.shape:
        start = max(0, (size - edge) // 2)
        spans.append(slice(start, min(start + edge, size)))
    try:
        part = source.read((spans[0], spans[1]))
    except SelionError:
        return None
    height, width = part.grid.shape
    values = np.zeros((len(source.bands), edge, edge), part.values.dtype)
    valid = np.zeros((edge, edge), bool)
    values[:, :height, :width] = part.values
    valid[:height, :width] = True if part.valid is None else part.valid
    return values, valid


def _numbers_of(name: str, source: Source, look: Look) -> ChipNumbers | None:
    """Look at one chip by itself, its bands being those that all of them showed."""
    found = _middle(source, OWN)
    if found is None:
        return None
    values, valid = found[0][:, ::STEP, ::STEP], found[1][::STEP, ::STEP]
    grid = GeoBox(values.shape[1:], source.grid.transform, source.grid.crs)
    tags = {key: str(value) for key, value in source.tags.items()}
    return chip_numbers(name, Raster(values, grid, look.bands, valid, tags))


def _kind(source: Source) -> Kind:
    """Say which kind a chip is: two images in one folder may hold unlike numbers."""
    small = False
    if source.dtype.kind == "f":
        found = _middle(source)
        seen = np.empty(0) if found is None else found[0][:, found[1]]
        seen = seen[np.isfinite(seen)]
        small = seen.size > 0 and float(np.percentile(seen, 99)) <= SMALL
    stated, scales, offsets = (str(source.tags.get(tag, "")) for tag in (STATED, SCALES, OFFSETS))
    return source.bands, source.dtype.name, small, stated, f"{scales};{offsets}"


def conversion_of(chips: Sequence[Chip], inputs: InputSpec) -> Conversion:
    """Return how chips are brought to a model's numbers and names, as a map's image is.

    Parameters
    ----------
    chips : sequence of (str, callable)
        Names, and what opens them.  Those of one kind are converted in one way, but for single ones
        whose dense vegetation shows another offset: each of those by itself, which is said.
    inputs : InputSpec
        Of the model.
    """
    kinds: dict[Kind, list[Chip]] = {}
    looked = _spread(chips, EACH if wanted_numbers(inputs) == "digital" else MOST)
    for name, opened in looked:
        kinds.setdefault(_kind(opened()), []).append((name, opened))
    whole = Conversion()
    for kind, some in kinds.items():
        whole = _with_kind(whole, kind, some, inputs)
    if len(looked) < len(chips) and wanted_numbers(inputs) == "digital":
        told = f"Numbers of {len(looked):,} of the {len(chips):,} chips were looked at."
        whole = replace(whole, doubts=(*whole.doubts, told))
    said, doubts = (tuple(dict.fromkeys(texts)) for texts in (whole.said, whole.doubts))
    return replace(whole, said=said, doubts=doubts)


def _with_kind(whole: Conversion, kind: Kind, chips: list[Chip], inputs: InputSpec) -> Conversion:
    """Return a conversion with what is done to chips of one kind as well."""
    joined = _joined([opened() for _, opened in _spread(chips, MOST)])
    if joined is None:
        return whole
    read = as_declared(joined)
    if isinstance(read, Declared):
        whole = replace(whole, said=(*whole.said, read.sentence))
    elif isinstance(read, LeftAside):
        whole = replace(whole, doubts=(*whole.doubts, read.doubt))
    look = look_at(read)
    if has_bands(look.given, inputs) or not has_bands(look.bands, inputs):
        look = replace(look, bands=look.given, said=(), warnings=())
    told_of: tuple[str, ...] = ()
    own: dict[str, Look] = {}
    if wanted_numbers(inputs) == "digital" and len(chips) > 1:
        each = [_numbers_of(name, _as_kind(opened(), read), look) for name, opened in chips]
        look, own, told_of = told_apart(look, [one for one in each if one is not None])
    made, told = understood(read, look, inputs, water=True)
    doubts = (*whole.doubts, *told.warnings, *told_of)
    apart = []
    for name, alone in own.items():
        changed, _ = understood(read, alone, inputs, water=True)
        apart.append((name, changed if isinstance(changed, Made) else None))
    whole = replace(whole, doubts=doubts, own=(*whole.own, *apart))
    if not isinstance(made, Made):
        return whole
    return replace(whole, kinds=(*whole.kinds, (kind, made)), said=(*whole.said, *told.said))


def _as_kind(source: Source, read: Source) -> Source:
    """Return a chip with the scale and offset of its kind, as all of them together are read."""
    return replace(read, source=source) if isinstance(read, Declared | LeftAside) else source


def alike(
    sources: Sequence[Source], inputs: InputSpec, names: Sequence[str] = ()
) -> tuple[list[Source], tuple[str, ...]]:
    """Return images as a model wants them, all of a kind converted in one way, and what was done.

    Parameters
    ----------
    sources : sequence of Source
        Chips.
    inputs : InputSpec
        Of the model; for one of neither digital numbers nor bytes a file's own scale and offset
        are all that is applied.
    names : sequence of str
        Of the chips, for sentences; their numbers from 1 by default.

    Returns
    -------
    list of Source
        The same ones where nothing has to be done.
    tuple of str
        Sentences.
    """
    called = distinct(names) or [f"{k}" for k in range(1, len(sources) + 1)]
    chips = [(name, partial(_same, one)) for name, one in zip(called, sources, strict=True)]
    told = bool(wanted_numbers(inputs)) or any(SCALES in one.tags for one in sources)
    how = conversion_of(chips, inputs) if told else Conversion()
    sentences = (*how.said, *how.doubts) if how.is_needed else ()
    return [how.of(name)(one) for name, one in zip(called, sources, strict=True)], sentences


def distinct(names: Sequence[str]) -> list[str]:
    """Return names of which each stands once: the second ``a`` is called ``a (2)``."""
    counts: Counter[str] = Counter()
    found = []
    for name in names:
        counts[name] += 1
        found.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return found


def _same(source: Source) -> Source:
    return source
