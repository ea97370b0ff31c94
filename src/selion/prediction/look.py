"""A look at an image before it is mapped: what its bands are and what its numbers mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from selion.errors import BadInput, UnreadableFile, plain_text
from selion.grid import Roi, ground_sampling_distance
from selion.prediction.band_meanings import RGB, TAG, named_by_meaning
from selion.prediction.band_names import (
    BandName,
    days_of,
    doubted_days,
    read_names,
    with_dates,
)
from selion.prediction.band_orders import STACKS, best_order
from selion.prediction.bands import STATEMENT
from selion.prediction.look_signs import (
    APART,
    ENLARGED,
    doubted_colours,
    enlargement,
    offset,
)
from selion.prediction.number_kinds import BYTE, NumberKind, is_bytes, kind_of, wanted_numbers
from selion.raster import DOUBT, MASKED, RECOGNISED, STATED, DerivedSource, Raster, Source
from selion.segmenter import InputSpec

PLACES, EDGE = 4, 64
"""Along each axis so many places, of so many pixels, are looked at."""
WORD = 257.0
"""Times that a byte is smaller than the same byte written as 16 bits."""
FILLERS = (-9999.0, -32768.0, -32767.0, -99999.0, 65535.0, float(np.finfo(np.float32).min))
"""Numbers that stand for nothing though the file does not say so, where all bands have them."""
EDGES, AT_EDGES = (0.0, 255.0), 0.05
"""Numbers, the second one of bytes, that stand for nothing where at least such a share of all
pixels has them in all bands of a date: the rest of a mosaic, or the border of a scene."""
SMALLEST = 32
"""Pixels of the model along an edge, below which an image shows no whole field."""
COARSEST = 3.0
"""Times that pixels may be enlarged before it is said."""
FINEST = 1.3
"""The same of an image in colour that was enlarged before: outlines are all that it shows."""
TOO_COARSE = 12.0
"""Times from which a map is refused."""
UNLIKE = 10.0
"""Times that near infrared is brighter than colours where they cannot be the same numbers."""
STRETCHED = (
    "The model was trained on bytes, and these were stretched from other numbers by percentiles: "
    "outlines may be less sure."
)
SATELLITE = 8.0
"""Metres from which on pixels are a satellite's."""
WATER = (
    "Open water is left out by the near infrared, which the model does not look at; --bands "
    "red,green,blue maps it too, as flooded fields may want."
)
DARK_WATER = 1500.0
"""Digital numbers of near infrared below which water lies."""
CLOUDY = 0.05
"""Share of a product that may be missing before it is said."""
MADE_HERE = (STATEMENT, "provenance", "SELION_COMPOSITE")
"""Tags of composites and mosaics that this program made: their numbers are digital."""
REVERSED = 0.2
"""Share of pixels, much brighter in red than in near infrared, that no land has."""


@dataclass(frozen=True)
class Look:
    """What was found in an image before it is mapped."""

    given: tuple[str, ...]
    """Names of its bands, as they are in the file."""
    bands: tuple[str, ...]
    """What they are: as the file says, or as the values show."""
    dates: tuple[str, ...]
    """Dates of the image, in the order of their first band."""
    kinds: tuple[NumberKind, ...]
    """What the numbers of each date are."""
    of_date: tuple[int, ...]
    """For each band which date it is of."""
    gsd: float | None
    """Edge of a pixel in metres; None: a photograph."""
    fillers: tuple[float, ...] = ()
    """Numbers that stand for nothing though the file does not say so."""
    said: tuple[str, ...] = ()
    """Sentences on what was recognised."""
    warnings: tuple[str, ...] = ()
    """Sentences on what may make a map wrong."""
    shape: tuple[int, int] = (0, 0)
    """Its height and width in pixels; (0, 0): not known."""
    of_order: tuple[str, ...] = ()
    """Those of the warnings that go where the user says with --bands which band is which."""
    enlarged: float = 1.0
    """Times that it was enlarged before, as its pixels show."""

    @property
    def shown_gsd(self) -> float | None:
        """Metres of the finest detail: the edge of a pixel, or of one before it was enlarged."""
        if self.gsd is None or self.enlarged < ENLARGED:
            return self.gsd
        return self.gsd * self.enlarged

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self) | {"kinds": [asdict(kind) for kind in self.kinds]}


@dataclass(frozen=True)
class Water:
    """Where (band, y, x) numbers show open water, by green and near infrared.

    Reference: McFeeters: The use of the Normalized Difference Water Index (NDWI) in the delineation
    of open water features (1996): (green - nir) / (green + nir) is above 0 over water.  Departure:
    near infrared has to be dark too, as roofs and clouds are not.
    """

    green: int
    nir: int
    gain: float
    shift: float
    """Digital number = number * gain + shift."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return (y, x) bool."""
        green, nir = (
            values[k].astype(np.float32) * self.gain + self.shift for k in (self.green, self.nir)
        )
        wet: np.ndarray = (green > nir) & (nir < DARK_WATER)
        return wet


@dataclass(frozen=True)
class Understood(DerivedSource):
    """A source with the names and the numbers that a look found; (band, y, x) float32."""

    names: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()
    shifts: tuple[float, ...] = ()
    fillers: tuple[float, ...] = ()
    top: float | None = None
    """Numbers above are cut off."""
    water: Water | None = None
    """What of it is open water, which is not there; None: all of it is mapped."""
    of_date: tuple[int, ...] = ()
    """For each band which date it is of: fillers are sought in each date; empty: in all bands."""

    @property
    def bands(self) -> tuple[str, ...]:
        """What the bands are."""
        return self.names

    @property
    def dtype(self) -> np.dtype:
        """float32 where numbers are converted."""
        return self.source.dtype if self.is_plain else np.dtype(np.float32)

    @property
    def is_plain(self) -> bool:
        """Whether numbers stay as they are."""
        return not any(self.shifts) and set(self.gains) <= {1.0} and self.top is None

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        valid, values = part.valid, part.values
        for filler in self.fillers:
            empty = _all_are(values, filler, self.of_date)
            if empty.any():
                valid = ~empty if valid is None else valid & ~empty
        if self.water is not None:
            wet = self.water(values)
            valid = ~wet if valid is None else valid & ~wet
        if not self.is_plain:
            gains, shifts = (
                np.asarray(some, np.float32)[:, None, None] for some in (self.gains, self.shifts)
            )
            values = values.astype(np.float32) * gains + shifts
            if self.top is not None:
                values = np.clip(values, 0, self.top)
        return Raster(values, part.grid, self.names, valid, part.tags)


def _all_are(values: np.ndarray, filler: float, of_date: tuple[int, ...]) -> np.ndarray:
    """Return where all (band, ...) values of any date are a number."""
    is_filler = values == filler
    found: np.ndarray = is_filler.all(0)
    for date in set(of_date):
        own = [k for k, one in enumerate(of_date) if one == date]
        if 1 < len(own) < len(of_date):
            found |= is_filler[own].all(0)
    return found


def look_at(source: Source) -> Look:
    """Look at an image: names first, then values at places spread over it.

    Parameters
    ----------
    source : Source
        Of which 16 small places are read.

    Returns
    -------
    Look
        Stacks that say what their bands are by a tag are believed, and that the numbers of images
        which this program made are digital.
    """
    given, gsd = source.bands, ground_sampling_distance(source.grid)
    if STATEMENT in source.tags:
        return Look(given, given, (), (), (0,) * len(given), gsd)
    places, sample, fillers, missing = _sample(source)
    said, warnings = (
        [plain_text(source.tags[name])] if source.tags.get(name) else []
        for name in (RECOGNISED, DOUBT)
    )
    if source.tags.get(MASKED) and missing > CLOUDY:
        warnings.append(
            f"About {missing:.0%} of the {source.tags.get('product', 'product')} of "
            f"{plain_text(source.tags.get('datetime', ''))[:10]} is cloud, shadow or without data: "
            "fields there are missing."
        )
    names = named_by_meaning(given, source.tags.get(TAG, ""))
    if names != given:
        said.append(_renamed(given, names))
    if not any(name.is_known for name in read_names(names)):
        names, told, warned = _by_values(given, sample)
        said += told
        warnings += warned
    supposed = names
    if names == given and len(given) in STACKS and warnings:
        supposed = best_order(sample)[0]  # the numbers of each date are told by it, not its bands
    meant = with_dates(read_names(supposed))
    dates = tuple(dict.fromkeys(name.date for name in meant if name.is_known)) or ("",)
    of_date = tuple(dates.index(name.date) if name.date in dates else 0 for name in meant)
    sample, fillers = _without_edges(sample, fillers, of_date)
    if fillers:
        listed = ", ".join(f"{value:.6g}" for value in fillers)
        where = "all bands" + " of a date" * (len(dates) > 1)
        said.insert(0, f"Pixels of {listed} in {where} are taken as missing.")
    is_byte = source.dtype == np.uint8
    made_here = any(tag in source.tags for tag in MADE_HERE)
    stated = set(given) if made_here else set(source.tags.get(STATED, "").split(","))
    sure = [
        stated.issuperset(b for b, k in zip(given, of_date, strict=True) if k == date)
        for date in range(len(dates))
    ]
    kinds = tuple(
        _kind(sample, meant, date, is_byte=is_byte, stated=known)
        for date, known in zip(dates, sure, strict=True)
    )
    found = Look(given, names, dates, kinds, of_date, gsd, fillers, tuple(said), tuple(warnings))
    height, width = source.grid.shape
    colours = _colour_warnings(sample, meant, dates)
    doubts = _order_warnings(sample, meant, dates, kinds) + colours
    doubts += _apart(places, of_date, dates)
    return replace(
        found,
        warnings=tuple(dict.fromkeys(found.warnings + doubts)),
        shape=(int(height), int(width)),
        of_order=colours,
        enlarged=enlargement(places),
    )


def _renamed(given: tuple[str, ...], names: tuple[str, ...]) -> str:
    return f"The bands {_few(given)} are taken as {_few(names)}."


def _few(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, ..."


def _sample(
    source: Source,
) -> tuple[list[np.ndarray], np.ndarray, tuple[float, ...], float]:
    """Return places, their (band, n) float64 valid numbers, and those that stand for nothing.

    Places are (band, y, x) without a hole.  The last is the share of pixels that are not valid.

    A place that cannot be read is left out, as its block will be: only where none can be read is
    that said here.
    """
    height, width = source.grid.shape
    places, parts, broken, pixels = list[np.ndarray](), list[np.ndarray](), None, 0
    for y in np.unique(np.linspace(0, max(height - EDGE, 0), PLACES).astype(int)).tolist():
        for x in np.unique(np.linspace(0, max(width - EDGE, 0), PLACES).astype(int)).tolist():
            roi = (slice(y, min(y + EDGE, height)), slice(x, min(x + EDGE, width)))
            try:
                part = source.read(roi)
            except UnreadableFile as error:
                broken = error
                continue
            values = part.values.astype(np.float64)
            pixels += values[0].size
            known = np.isfinite(values).all(0)
            known &= True if part.valid is None else part.valid
            parts.append(values[:, known])
            if known.all():
                places.append(values)
    if broken is not None and not parts:
        raise broken
    sample = np.concatenate(parts, axis=1)
    missing = 1 - sample.shape[1] / max(pixels, 1)
    fillers = tuple(v for v in FILLERS if len(sample) > 1 and (sample == v).all(0).any())
    edges = EDGES if source.dtype == np.uint8 else EDGES[:1]
    fillers += tuple(
        v for v in edges if len(sample) > 1 and float(np.mean((sample == v).all(0))) >= AT_EDGES
    )
    for value in fillers:
        sample = sample[:, ~(sample == value).all(0)]
        places = [place for place in places if not (place == value).all(0).any()]
    return places, sample, fillers, missing


def _colour_warnings(
    sample: np.ndarray, meant: tuple[BandName, ...], dates: tuple[str, ...]
) -> tuple[str, ...]:
    """Warn of colours that are none; three bands without a name are taken as red, green, blue."""
    if len(sample) == len(RGB) and not any(name.colour for name in meant):
        return tuple(doubted_colours(dict(zip(RGB, sample, strict=True))))
    found = []
    for date in dates:
        place = {str(n.colour): k for k, n in enumerate(meant) if n.is_known and n.date == date}
        if "nir" not in place:
            found += doubted_colours({colour: sample[k] for colour, k in place.items()})
    return tuple(found)


def _without_edges(
    sample: np.ndarray, fillers: tuple[float, ...], of_date: tuple[int, ...]
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return a sample without pixels that are 0 in one date, and all that stands for nothing."""
    empty = _all_are(sample, 0.0, of_date)
    if len(set(of_date)) > 1 and float(empty.mean() if empty.size else 0) >= AT_EDGES:
        return sample[:, ~empty], tuple(dict.fromkeys((*fillers, 0.0)))
    return sample, fillers


def _apart(
    places: list[np.ndarray], of_date: tuple[int, ...], dates: tuple[str, ...]
) -> tuple[str, ...]:
    """Warn where the edges of one date lie beside those of another."""
    own = [[k for k, one in enumerate(of_date) if one == date] for date in range(len(dates))]
    places = [place for place in places if not _all_are(place, 0.0, of_date).any()]
    for name, bands in zip(dates[1:], own[1:], strict=True):
        rows, columns = offset([(place[own[0]], place[bands]) for place in places])
        if max(abs(rows), abs(columns)) >= APART:
            told = (
                f"The dates {dates[0]} and {name} lie {max(abs(rows), abs(columns))} pixels apart "
                f"({rows:+d} rows, {columns:+d} columns): fields are torn; shift one onto the "
                "other."
            )
            return (told,)
    return ()


def _by_values(
    given: tuple[str, ...], sample: np.ndarray
) -> tuple[tuple[str, ...], list[str], list[str]]:
    order, other = best_order(sample)
    if not other:
        silent = order and len(given) > 3
        return (
            order if len(order) == 4 else given,
            [],
            [
                (
                    "The bands do not say what they are: they are taken in the file's order, as "
                    f"{', '.join(order)}; name them, or give --bands, if that is wrong."
                )
            ]
            if silent
            else [],
        )
    listed = ", ".join(order)
    return (
        order,
        [f"The bands do not say what they are; by their values they are {listed}."],
        [
            (
                f"That the bands are {listed} was concluded from their values: name them, or give "
                "--bands, if that is wrong."
            )
        ],
    )


def _kind(
    sample: np.ndarray, meant: tuple[BandName, ...], date: str, *, is_byte: bool, stated: bool
) -> NumberKind:
    own = [k for k, name in enumerate(meant) if name.is_known and name.date == date]
    if not own:
        return kind_of(sample, None, None, is_byte=is_byte, stated=stated)
    place = {meant[k].colour: k for k in own}
    red, nir = (sample[place[c]] if c in place else None for c in ("red", "nir"))
    if nir is not None and sample.size and not is_byte and not stated:
        colours = sample[[k for k in own if k != place["nir"]]]
        if colours.size and is_bytes(colours) and np.median(nir) > UNLIKE * np.median(colours):
            return NumberKind(
                "unknown",
                sentence="bytes in colour, and a near infrared of other numbers",
                doubt="the colours end at 255 and the near infrared is of other numbers: a model "
                "of all of them wants them on one scale",
            )
    return kind_of(sample[own], red, nir, is_byte=is_byte, stated=stated)


def _order_warnings(
    sample: np.ndarray,
    meant: tuple[BandName, ...],
    dates: tuple[str, ...],
    kinds: tuple[NumberKind, ...],
) -> tuple[str, ...]:
    """Warn where what is called red is far brighter than what is called near infrared."""
    if sample[:1].size == 0:
        return ("There is no data at the places of the image that were looked at.",)
    found = []
    own = [
        [k for k, name in enumerate(meant) if name.is_known and name.date == date] for date in dates
    ]
    if len(own) > 1 and any(np.array_equal(sample[own[0]], sample[rest]) for rest in own[1:]):
        found.append("Two dates of the image are the same numbers: give two dates of the season.")
    for date, kind in zip(dates, kinds, strict=True):
        place = {
            name.colour: k for k, name in enumerate(meant) if name.is_known and name.date == date
        }
        if not {"red", "nir"} <= place.keys() or kind.name == "bytes":
            continue
        red, nir = (sample[place[c]] * kind.gain + kind.shift for c in ("red", "nir"))
        if red.size and float(np.mean((red - nir > 1500) & (red > 1.5 * nir))) > REVERSED:
            found.append(
                f"The band called red{f' of {date}' if date else ''} is much brighter than the one "
                "called near infrared, as no land is: their names seem to be exchanged; give the "
                "right order with --bands."
            )
    return tuple(found)


def understood(
    source: Source,
    look: Look,
    inputs: InputSpec | None,
    *,
    water: bool = False,
    taken: tuple[int | str, ...] | None = None,
) -> tuple[Source, Look]:
    """Return the source as a model wants it, and the look with what was done.

    Parameters
    ----------
    source : Source
    look : Look
        At it.
    inputs : InputSpec, optional
        Of the model; None: only names are changed, numbers stay.
    water : bool
        Whether open water is mapped though the model, without near infrared, may take it for a
        field.
    taken : tuple of int or str, optional
        The bands that the model is shown, by their numbers from 1 or their names: bytes are told
        and stretched by these.  None: the bands of colours, by their names.

    Returns
    -------
    Source, Look
        The same source where nothing has to be changed.
    """
    if inputs is not None and _has_names(source, inputs):
        renamed = _renamed(source.bands, look.bands)
        said = tuple(text for text in look.said if text != renamed)
        look = replace(look, bands=source.bands, said=said)
    kinds = look.kinds or (NumberKind("unknown"),)
    names = {kind.name for kind in kinds}
    notes, warnings = list(look.said), list(look.warnings)
    wanted = "" if inputs is None or not look.kinds else wanted_numbers(inputs)
    byte_gain = None
    if inputs is not None and inputs.byte_divide is not None:
        byte_gain = max(inputs.scaling.divide) / inputs.byte_divide
        wanted = "" if names == {"bytes"} else wanted
    gains, shifts, top = [1.0] * len(look.bands), [0.0] * len(look.bands), None
    if wanted == "digital":
        gains, shifts = _to_digital(look, kinds, byte_gain)
        notes += [_told(look, date, kind) for date, kind in zip(look.dates, kinds, strict=True)]
        warnings += [f"{kind.doubt[:1].upper()}{kind.doubt[1:]}." for kind in kinds if kind.doubt]
    elif wanted == "bytes" and names != {"bytes"}:
        gains, shifts = _to_bytes(source, look, taken)
        top = BYTE
        if set(gains) == {1 / WORD}:
            notes.append(f"The image's numbers ({source.dtype}) are bytes times {WORD:g}.")
        elif set(gains) != {1.0} or any(shifts):
            notes.append(
                f"The image's numbers ({source.dtype}) were stretched to bytes, which the model "
                "was trained on."
            )
            warnings.append(STRETCHED)
    elif wanted == "bytes" and source.dtype != np.uint8:
        top = BYTE
    wet = None if water else _unseen_water(look, inputs)
    if wet is not None:
        notes.append(WATER)
    told = replace(look, said=tuple(filter(None, notes)), warnings=tuple(dict.fromkeys(warnings)))
    made = Understood(
        source, look.bands, tuple(gains), tuple(shifts), look.fillers, top, wet, look.of_date
    )
    if made.is_plain and made.names == source.bands and not look.fillers and wet is None:
        return source, told
    return made, told


def _has_names(source: Source, inputs: InputSpec) -> bool:
    """Say whether an image has a model's own names, which then mean what the model means."""
    own = {name.casefold() for name in source.bands}
    return all(name.casefold() in own for name in inputs.bands)


def _unseen_water(look: Look, inputs: InputSpec | None) -> Water | None:
    """Return what tells water in one date of a satellite's, for a model without near infrared."""
    if inputs is None or len(look.kinds) != 1 or look.gsd is None or look.gsd < SATELLITE:
        return None
    if "nir" in {name.colour for name in read_names(inputs.bands)} or inputs.dates:
        return None
    kind, names = look.kinds[0], [name.colour for name in read_names(look.bands)]
    if kind.name in ("bytes", "stretched", "unknown") or not {"green", "nir"} <= set(names):
        return None
    return Water(names.index("green"), names.index("nir"), kind.gain, kind.shift)


def _to_digital(
    look: Look, kinds: tuple[NumberKind, ...], byte_gain: float | None
) -> tuple[list[float], list[float]]:
    """Return gains and shifts of each band; of bytes the model's own gain, where it has one."""
    of_bands = [kinds[date] for date in look.of_date]
    gains = [
        byte_gain if kind.name == "bytes" and byte_gain is not None else kind.gain
        for kind in of_bands
    ]
    return gains, [kind.shift for kind in of_bands]


def _told(look: Look, date: str, kind: NumberKind) -> str:
    if not kind.sentence or kind.name == "unknown":
        return ""
    where = f" of {date}" if len(look.dates) > 1 else ""
    return (
        f"The numbers{where} are {kind.sentence}: they were brought to digital numbers (10000 is a "
        "reflectance of 1)."
    )


def _to_bytes(
    source: Source, look: Look, taken: tuple[int | str, ...] | None
) -> tuple[list[float], list[float]]:
    _, sample, *_ = _sample(source)
    if sample.size == 0:
        return [1.0] * len(look.bands), [0.0] * len(look.bands)
    known = [
        k for k, name in enumerate(look.given) if taken and (k + 1 in taken or name in taken)
    ] or [k for k, n in enumerate(read_names(look.bands)) if n.colour in {"red", "green", "blue"}]
    colours = sample[known or list(range(len(sample)))]
    if is_bytes(colours):
        return [1.0] * len(look.bands), [0.0] * len(look.bands)
    if is_bytes(colours / WORD):  # each byte twice, as programs write 16 bits of 8
        return [1 / WORD] * len(look.bands), [0.0] * len(look.bands)
    low, high = (float(v) for v in np.percentile(colours, [1, 99]))
    if colours.min() >= 0 and 0.6 < high <= 1.0:
        low, high = 0.0, 1.0
    gain = BYTE / max(high - low, 1e-9)
    return [gain] * len(look.bands), [-low * gain] * len(look.bands)


def judged(look: Look, inputs: InputSpec, *, chosen: bool) -> tuple[str, ...]:
    """Return warnings on an image for a model, where a map may look right and be wrong.

    Parameters
    ----------
    look : Look
        At the image.
    inputs : InputSpec
        Of the model.
    chosen : bool
        Whether the user chose the pixel size (``--gsd``, ``--scale``) himself.

    Raises
    ------
    BadInput
        If pixels are so coarse that no field can be seen in them.
    """
    found = _judged_size(look, inputs, chosen=chosen)
    meant = with_dates(read_names(look.bands))
    have = {name.colour for name in meant if name.is_known}
    wants = {name.colour for name in read_names(inputs.bands)}
    if "nir" in have and "nir" not in wants and wants & have:
        found.append("The image has a near infrared, which the model does not look at.")
    seen = look.shown_gsd
    if seen is not None and seen >= SATELLITE and "nir" not in wants and inputs.gsd:
        water = "" if "nir" in have else ", and water may be taken for a field"
        found.append(
            f"One date in colour at such pixels is little to tell fields by{water}: give two dates "
            "of the season as two files, spring.tif autumn.tif."
        )
    named = {name.date for name in read_names(inputs.bands)}
    if not inputs.dates and len(look.dates) > len(named):
        found.append(
            f"The image has {len(look.dates)} dates, and the model looks at {len(named)}: give the "
            "one of planting and the one of harvest."
        )
    days = days_of(look.dates)
    if len(named) > 1 and days:
        found += doubted_days(days)
    elif len(named) > 1 and len(look.dates) > 1 and not named <= set(look.dates):
        found.append(
            "The image does not say which of its dates is the earlier one, and a map of them "
            "exchanged differs: name the bands planting:red ... harvest:nir."
        )
    return tuple(found)


def _judged_size(look: Look, inputs: InputSpec, *, chosen: bool) -> list[str]:
    """Return warnings on the size of an image and of its pixels; raise BadInput as judged does."""
    found = list[str]()
    seen, working = look.shown_gsd, inputs.working_gsd(look.gsd)
    if inputs.gsd is None or look.gsd is None or seen is None or working is None:
        return found
    if look.gsd / inputs.gsd[1] > TOO_COARSE and not chosen:
        raise BadInput(
            f"The image's pixels are {look.gsd:.3g} m, the model was trained on at most "
            f"{inputs.gsd[1]:g} m: fields cannot be seen. Give a finer image, or add --gsd "
            f"{inputs.gsd[1]:g} to map it nevertheless."
        )
    in_colour = "nir" not in {name.colour for name in read_names(inputs.bands)}
    most = FINEST if in_colour else COARSEST
    if seen > look.gsd and seen / inputs.gsd[1] > most:
        found.append(
            f"The image's pixels are {look.gsd:.3g} m, but it shows no detail finer than about "
            f"{seen:.2g} m, as one that was enlarged: give it as it was."
        )
    if (times := look.gsd / inputs.gsd[1]) > COARSEST:
        found.append(
            f"The image's pixels ({look.gsd:.3g} m) are enlarged {times:.1f} times for the "
            "model: small fields are lost and others joined."
        )
    edge = min(look.shape) * look.gsd
    if 0 < edge < SMALLEST * working:
        found.append(
            f"The image is {edge:.2g} m wide or high, no more than {edge / working:.0f} pixels of "
            "the model: it shows no whole field."
        )
    return found
