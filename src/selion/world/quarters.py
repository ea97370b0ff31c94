"""Which quarters of a year, and which bands of them, a model is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from selion.errors import BadInput, BandMismatch
from selion.imagery.scene import Season
from selion.imagery.season import HARVEST, PLANTING
from selion.prediction.band_names import BandName, read_names
from selion.segmenter import InputSpec

KINDS = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}
"""Colour -> the mosaics' name; there are no others."""
QUARTERLY = re.compile(r"Q([1-4])_(B\w+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Quarter:
    """Three months of a year."""

    year: int
    number: int
    """1 to 4."""

    @property
    def name(self) -> str:
        """``Q1`` to ``Q4``."""
        return f"Q{self.number}"

    @property
    def start(self) -> date:
        """Its first day."""
        return date(self.year, 3 * self.number - 2, 1)

    @property
    def end(self) -> date:
        """Its last day."""
        return self.next.start - timedelta(days=1)

    @property
    def next(self) -> Quarter:
        """The quarter after it."""
        return Quarter(self.year + self.number // 4, self.number % 4 + 1)

    def __str__(self) -> str:
        return f"{self.name} {self.year}"


@dataclass(frozen=True, slots=True)
class QuarterChoice:
    """What a model is shown of quarterly mosaics."""

    bands: tuple[str, ...]
    """As the model calls them."""
    places: tuple[tuple[Quarter, str], ...]
    """Quarter and the mosaics' name (``B04``) of each."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should read."""

    @property
    def quarters(self) -> tuple[Quarter, ...]:
        """Quarters that are needed, in time."""
        return tuple(sorted({quarter for quarter, _ in self.places}))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Bands that are needed of any quarter, in the mosaics' order of colours."""
        used = {kind for _, kind in self.places}
        return tuple(kind for kind in KINDS.values() if kind in used)


def is_quarterly(inputs: InputSpec) -> bool:
    """Say whether a model names its bands by quarter: ``Q1_B04``."""
    return all(QUARTERLY.fullmatch(name) for name in inputs.bands)


def quarter_of(season: Season) -> Quarter:
    """Return the quarter in which most days of a season lie; of two with as many, the earlier.

    Examples
    --------
    >>> from datetime import date
    >>> str(quarter_of(Season("window_a", date(2023, 3, 1), date(2023, 5, 1), "")))
    'Q2 2023'
    """
    quarter = Quarter(season.start.year, (season.start.month - 1) // 3 + 1)
    best, most = quarter, 0
    while quarter.start <= season.end:
        days = (min(quarter.end, season.end) - max(quarter.start, season.start)).days + 1
        if days > most:
            best, most = quarter, days
        quarter = quarter.next
    return best


def choose_quarters(
    inputs: InputSpec, name: str, year: int, seasons: Sequence[Season]
) -> QuarterChoice:
    """Choose the quarters that a model wants.

    Parameters
    ----------
    inputs : InputSpec
        The model's.
    name : str
        Of the model, for messages.
    year : int
        Of the harvest.
    seasons : (planting, harvest)
        Of the area; a model that names its bands by quarter does not look at them.

    Returns
    -------
    QuarterChoice
        A model of quarters gets those of the year; one of two dates the quarter that holds most of
        the planting season and that of the harvest season, in whatever year they lie, and so does
        one of any number of dates; one of one date that of the harvest season.

    Raises
    ------
    BandMismatch
        If the model wants a band that the mosaics do not have, or dates that are no seasons.
    """
    if is_quarterly(inputs):
        found = [QUARTERLY.fullmatch(band) for band in inputs.bands]
        places = [(Quarter(year, int(m[1])), m[2].upper()) for m in found if m is not None]
        for band, (_, kind) in zip(inputs.bands, places, strict=True):
            if kind not in KINDS.values():
                raise BandMismatch(_lacks(name, band))
        return QuarterChoice(inputs.bands, tuple(places))
    by_date = {season.name: season for season in seasons}
    bands = inputs.bands
    if inputs.dates:  # whatever it is shown
        bands = tuple(f"{season}:{band}" for season in by_date for band in bands)
    meant = read_names(bands)
    for band, one in zip(bands, meant, strict=True):
        if not one.is_known:
            raise BandMismatch(_lacks(name, band))
    dates = tuple(dict.fromkeys(one.date for one in meant))
    if dates == ("",):
        by_date[""] = by_date[HARVEST]
    strange = [date_ for date_ in dates if date_ not in by_date]
    if strange:
        raise BandMismatch(
            f"{name} wants images of {', '.join(dates)}, but quarterly mosaics are chosen for the "
            "planting and the harvest season: choose a model whose bands are called planting:red "
            "... harvest:nir, or Q1_B04 ... Q4_B08."
        )
    chosen = {date_: quarter_of(by_date[date_]) for date_ in dates}
    return QuarterChoice(
        bands,
        tuple((chosen[one.date], _kind(one)) for one in meant),
        _said(by_date, chosen),
    )


def _kind(name: BandName) -> str:
    return KINDS[name.colour or ""]


def _lacks(name: str, band: str) -> str:
    return (
        f"{name} wants the band {band}; quarterly mosaics have red, green, blue and near infrared "
        f"({', '.join(KINDS.values())}): choose another model, or map from scenes without "
        "--imagery."
    )


def _said(seasons: dict[str, Season], chosen: dict[str, Quarter]) -> tuple[str, ...]:
    """Say which quarter stands for which season, and why."""
    words = {PLANTING: "planting", HARVEST: "harvest", "": "harvest"}
    notes = []
    for name, quarter in chosen.items():
        season = seasons[name]
        one = " (the model looks at one date)" if not name else ""
        notes.append(
            f"The {words[name]} season, {season.start} to {season.end}, lies mostly in {quarter}: "
            f"that quarter's mosaic is taken for it{one}.  Seasons: {season.why}."
        )
    if len(chosen) > len(set(chosen.values())):
        notes.append(
            f"Both seasons lie mostly in {next(iter(chosen.values()))}: the model is shown the "
            "same image twice; other dates (--dates) part them."
        )
    return tuple(notes)


def check_published(choice: QuarterChoice, years: Sequence[int], edition: str) -> None:
    """Refuse (BadInput) quarters of years that an edition does not have."""
    for quarter in choice.quarters:
        if quarter.year not in years:
            raise BadInput(
                f"{quarter} is wanted, but {edition} has {years[0]} to {years[-1]}: map another "
                "year, or give other dates (--dates)."
            )
