"""An image as a model wants it: its bands called, its numbers converted, its water left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selion.grid import Roi
from selion.prediction.band_names import read_names
from selion.prediction.look import Look, renamed
from selion.prediction.look_sample import all_are, sample_of
from selion.prediction.number_kinds import (
    BRIGHT,
    BYTE,
    PLAUSIBLE,
    NumberKind,
    is_bytes,
    wanted_numbers,
)
from selion.raster import DerivedSource, Raster, Source, converted_nodatas, nodatas_of
from selion.segmenter import InputSpec

WORD = 257.0
"""Times that a byte is smaller than the same byte written as 16 bits."""
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

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """The source's, as they are here; where it says none, what was found to be a filler."""
        found = self.fillers[0] if self.fillers else None
        held = tuple(found if one is None else one for one in nodatas_of(self.source))
        if self.is_plain:
            return held
        numbers = converted_nodatas(held, self.gains, self.shifts)
        if self.top is None:
            return numbers
        top = self.top
        return tuple(None if one is None else min(max(one, 0.0), top) for one in numbers)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        valid, values = part.valid, part.values
        for filler in self.fillers:
            empty = all_are(values, filler, self.of_date)
            if empty.any():
                valid = ~empty if valid is None else valid & ~empty
        if self.water is not None:
            wet = self.water(values)
            valid = ~wet if valid is None else valid & ~wet
        if not self.is_plain:
            gains, shifts = (
                np.asarray(some, np.float32)[:, None, None] for some in (self.gains, self.shifts)
            )
            with np.errstate(all="ignore"):  # what no float32 can hold becomes no number
                values = values.astype(np.float32) * gains + shifts
            if self.top is not None:
                values = np.clip(values, 0, self.top)
        return Raster(values, part.grid, self.names, valid, part.tags)


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
        called = renamed(source.bands, look.bands)
        said = tuple(text for text in look.said if text != called)
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
    through = 1.0
    if wanted == "digital" and byte_gain and _is_a_picture(source, look, taken):
        wanted, through = "bytes", byte_gain
    if wanted == "digital":
        gains, shifts = _to_digital(look, kinds, byte_gain)
        notes += [_told(look, date, kind) for date, kind in zip(look.dates, kinds, strict=True)]
        warnings += [f"{kind.doubt[:1].upper()}{kind.doubt[1:]}." for kind in kinds if kind.doubt]
    elif wanted == "bytes" and names != {"bytes"}:
        gains, shifts = _to_bytes(source, look, taken)
        note, warning = _told_bytes(source, gains, shifts)
        notes, warnings, top = [*notes, note], [*warnings, *warning], BYTE * through
        gains, shifts = ([number * through for number in some] for some in (gains, shifts))
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


def _told_bytes(source: Source, gains: list[float], shifts: list[float]) -> tuple[str, list[str]]:
    """Return what was done to make bytes, empty where it was nothing, and a warning of it."""
    if set(gains) == {1 / WORD}:
        return f"The image's numbers ({source.dtype}) are bytes times {WORD:g}.", []
    if set(gains) == {1.0} and not any(shifts):
        return "", []
    note = f"The image's numbers ({source.dtype}) were stretched to bytes, which the model "
    return f"{note}was trained on.", [STRETCHED]


def _is_a_picture(source: Source, look: Look, taken: tuple[int | str, ...] | None) -> bool:
    """Say whether one date's numbers are a picture of 16 bits: land reflects no such share.

    A model for bytes and digital numbers is shown them as bytes.
    """
    if len(look.kinds) != 1 or look.kinds[0].name != "digital" or not look.kinds[0].doubt:
        return False  # such as land has: nothing more is read
    colours = _colours(source, look, taken)
    if colours.size == 0:
        return False
    middle, high = (float(v) for v in np.percentile(colours, [50, 99]))  # clouds leave land dark
    return is_bytes(colours / WORD) or (middle > BRIGHT and high > PLAUSIBLE[1])


def _told(look: Look, date: str, kind: NumberKind) -> str:
    if not kind.sentence or kind.name == "unknown":
        return ""
    where = f" of {date}" if len(look.dates) > 1 else ""
    return (
        f"The numbers{where} are {kind.sentence}: they were brought to digital numbers (10000 is a "
        "reflectance of 1)."
    )


def _colours(source: Source, look: Look, taken: tuple[int | str, ...] | None) -> np.ndarray:
    """Return (band, n) numbers of the bands that are shown, or else of the colours; a sample."""
    sample = sample_of(source).values
    known = [
        k for k, name in enumerate(look.given) if taken and (k + 1 in taken or name in taken)
    ] or [k for k, n in enumerate(read_names(look.bands)) if n.colour in {"red", "green", "blue"}]
    colours: np.ndarray = sample[known or list(range(len(sample)))]
    return colours


def _to_bytes(
    source: Source, look: Look, taken: tuple[int | str, ...] | None
) -> tuple[list[float], list[float]]:
    colours = _colours(source, look, taken)
    if colours.size == 0 or is_bytes(colours):
        return [1.0] * len(look.bands), [0.0] * len(look.bands)
    if is_bytes(colours / WORD):  # each byte twice, as programs write 16 bits of 8
        return [1 / WORD] * len(look.bands), [0.0] * len(look.bands)
    low, high = (float(v) for v in np.percentile(colours, [1, 99]))
    if colours.min() >= 0 and 0.6 < high <= 1.0:
        low, high = 0.0, 1.0
    gain = BYTE / max(high - low, 1e-9)
    return [gain] * len(look.bands), [-low * gain] * len(look.bands)
