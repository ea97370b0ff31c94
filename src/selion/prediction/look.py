"""A look at an image before it is mapped: what its bands are and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from selion.errors import plain_text
from selion.grid import ground_sampling_distance
from selion.prediction.band_meanings import RGB, TAG, named_by_meaning
from selion.prediction.band_names import (
    BandName,
    read_names,
    with_dates,
)
from selion.prediction.band_orders import STACKS, best_order, is_bluer
from selion.prediction.bands import STATEMENT
from selion.prediction.look_sample import all_are, each_to_one, sample_of, without_edges
from selion.prediction.look_signs import (
    APART,
    ENLARGED,
    dim,
    doubted_colours,
    enlargement,
    offset,
)
from selion.prediction.number_kinds import NumberKind, doubted_plants, is_bytes, kind_of
from selion.raster import DOUBT, MASKED, RECOGNISED, STATED, Source

UNLIKE = 10.0
"""Times that near infrared is brighter than colours where they cannot be the same numbers."""
CLOUDY = 0.05
"""Share of a product that may be missing before it is said."""
BY_BAND = (
    "each band reaches from exactly 0 to exactly 1, as numbers that were stretched band by band: "
    "they hold no reflectances; give the image as it was"
)
TORN = 0.08
"""Share of pixels beside a gap from which fields are cut to pieces by the gaps."""
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
    seen = sample_of(source)
    places, sample, fillers = seen.places, seen.values, seen.fillers
    said, warnings = (
        [plain_text(source.tags[name])] if source.tags.get(name) else []
        for name in (RECOGNISED, DOUBT)
    )
    if seen.torn > TORN:
        warnings.append(
            f"Gaps run through the image: {seen.torn:.0%} of its pixels lie beside one, "
            "as between the stripes of Landsat 7 or under small clouds; fields end at each gap. "
            "Give an image without gaps, or a composite of several dates."
        )
    if source.tags.get(MASKED) and seen.missing > CLOUDY:
        warnings.append(
            f"About {seen.missing:.0%} of the {source.tags.get('product', 'product')} of "
            f"{plain_text(source.tags.get('datetime', ''))[:10]} is cloud, shadow or without data: "
            "fields there are missing."
        )
    names = named_by_meaning(given, source.tags.get(TAG, ""))
    if names != given:
        said.append(renamed(given, names))
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
    sample, fillers = without_edges(sample, fillers, of_date)
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
    if any(kind.name == "reflectance" for kind in kinds) and each_to_one(source, sample):
        kinds = tuple(replace(kind, doubt=BY_BAND) for kind in kinds)
    found = Look(given, names, dates, kinds, of_date, gsd, fillers, tuple(said), tuple(warnings))
    height, width = source.grid.shape
    colours = _colour_warnings(sample, meant, dates)
    doubts = _order_warnings(sample, meant, dates, kinds) + colours
    if is_byte and len(sample) >= len(RGB):
        shown = [k for k, name in enumerate(meant) if name.colour in RGB]
        doubts += tuple(dim(sample[shown or range(len(RGB))]))
    doubts += _apart(places, of_date, dates)
    return replace(
        found,
        warnings=tuple(dict.fromkeys(found.warnings + doubts)),
        shape=(int(height), int(width)),
        of_order=colours,
        enlarged=enlargement(places),
    )


def renamed(given: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Return the sentence that bands are taken as others."""
    return f"The bands {_few(given)} are taken as {_few(names)}."


def _few(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, ..."


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


def _apart(
    places: list[np.ndarray], of_date: tuple[int, ...], dates: tuple[str, ...]
) -> tuple[str, ...]:
    """Warn where the edges of one date lie beside those of another."""
    own = [[k for k, one in enumerate(of_date) if one == date] for date in range(len(dates))]
    places = [place for place in places if not all_are(place, 0.0, of_date).any()]
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
    kind = kind_of(sample[own], red, nir, is_byte=is_byte, stated=stated)
    return doubted_plants(kind, {colour: sample[k] for colour, k in place.items()})


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
        if "nir" not in place or kind.name == "bytes":
            continue
        digital = {c: sample[k] * kind.gain + kind.shift for c, k in place.items()}
        found += _exchanged(digital, f" of {date}" if date else "")
    return tuple(found)


def _exchanged(bands: Mapping[str | None, np.ndarray], where: str) -> list[str]:
    """Warn of a colour (n,) that is brighter than near infrared, or bluer than soil is."""
    nir, found = bands["nir"], []
    for colour in RGB:
        seen = bands.get(colour)
        if seen is None or not seen.size:
            continue
        rest = np.max([bands[name] for name in bands if name != colour], axis=0)  # turbid water
        if float(np.mean((seen - nir > 1500) & (seen > 1.5 * rest))) > REVERSED:
            found.append(
                f"The band called {colour}{where} is much brighter than the one called near "
                "infrared, as no land is: their names seem to be exchanged; give the right order "
                "with --bands."
            )
    if not found and set(RGB) < bands.keys() and is_bluer(bands):
        found.append(
            f"Bare soil{where} is bluer than red, as none is: red and blue seem to be exchanged; "
            "give the right order with --bands."
        )
    return found
