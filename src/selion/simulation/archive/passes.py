"""When the satellites pass, and what they see of the world.

Also what the sky is like, and how each pass is processed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import roi_shape, whole
from selion.simulation.archive.nouns import ArchiveOptions, ArchiveSeason
from selion.simulation.archive.paint import FAR, Sky, cloud_numbers
from selion.simulation.landscape.noise import Textures

ORBITS = (22, 65, 122)
"""Relative orbits, 1 to 143."""
PLATFORMS = ("a", "b", "c")
_SLANT = np.deg2rad(12.0)
"""Between a descending track and the meridian in the mid-latitudes."""
_OVERLAP = 0.08
"""Share of the world's width on each side of its middle that two neighbouring swaths have in
common."""
Days = tuple[int, int, int, int]
"""Month and day of the first and the last day."""
# Northern, then southern; each planting, then harvest.  They lie in PRUE's windows (appendix D,
# Algorithms 1 and 2) for all latitudes above the given one.
_CALENDAR: tuple[tuple[float, tuple[tuple[Days, Days], tuple[Days, Days]]], ...] = (
    (20.0, (((4, 2, 4, 29), (9, 2, 10, 29)), ((10, 2, 11, 28), (3, 2, 4, 29)))),
    (5.0, (((5, 3, 7, 29), (10, 3, 12, 29)), ((11, 3, 12, 29), (4, 3, 6, 28)))),
    (-1.0, (((3, 3, 4, 29), (7, 3, 8, 29)), ((3, 3, 4, 29), (7, 3, 8, 29)))),
)


@dataclass(frozen=True, eq=False, slots=True)
class Pass:
    """One acquisition: all tiles below it share its sky and its processing."""

    season: ArchiveSeason
    moment: datetime
    """UTC, on the day that was asked for."""
    orbit: int
    platform: str
    """``sentinel-2a``, ``b`` or ``c``."""
    baseline: str
    sky: Sky
    sun: tuple[float, float]
    """Azimuth and elevation, degrees."""
    applied: bool | None
    """What the flag says: that the 1000 was subtracted.  None where the provider has no flag."""
    declared: float
    """Offset to reflectance that the assets declare, 0 or -0.1."""

    @property
    def swath(self) -> tuple[float, float, float, float]:
        """Direction across the swath in world pixels, from, to."""
        east, south, low, up = (float(v) for v in self.sky.numbers[:4])
        return east, south, low, up


def default_seasons(latitude: float, year: int) -> tuple[ArchiveSeason, ArchiveSeason]:
    """Return months of planting and harvest that lie within PRUE's windows.

    ``year`` is that of the harvest.
    """
    halves = next(halves for above, halves in _CALENDAR if abs(latitude) > above)
    planting, harvest = halves[0 if latitude > 0 else 1]
    before = year - 1 if planting[:2] > harvest[:2] else year
    return (
        ArchiveSeason("window_a", date(before, *planting[:2]), date(before, *planting[2:])),
        ArchiveSeason("window_b", date(year, *harvest[:2]), date(year, *harvest[2:])),
    )


def draw_days(season: ArchiveSeason, count: int, rng: np.random.Generator) -> tuple[date, ...]:
    """Spread different days over a season, at random.

    Raises
    ------
    BadInput
        If it has fewer days.
    """
    length = (season.end - season.start).days + 1
    if not 1 <= count <= length:
        raise BadInput(
            f"{count} dates were asked for in the {length} days of {season.name}: give at least 1, "
            "at most one per day, or longer seasons."
        )
    parts = np.linspace(0, length, count + 1)
    return tuple(
        season.start + timedelta(days=int(rng.uniform(np.ceil(low), np.ceil(high))))
        for low, high in pairwise(parts)
    )


def plan_passes(
    options: ArchiveOptions,
    seasons: Sequence[ArchiveSeason],
    centre: tuple[float, float],
    world: GeoBox,
    textures: Textures,
    handling: Handling,
) -> tuple[Pass, ...]:
    """Draw all passes, season by season, in time."""
    rng = np.random.default_rng([options.seed, 11])
    days = [(season, day) for season in seasons for day in days_of(options, season, rng)]
    processed = handling.spread(
        options, [options.baselines[k % len(options.baselines)] for k in range(len(days))], rng
    )
    passes = []
    for k, (season, day) in enumerate(days):
        first = k == 0 or days[k - 1][0] is not season
        orbit = k % options.orbits
        sky = draw_sky(
            options,
            world,
            textures,
            np.random.default_rng([options.seed, 12, k]),
            (orbit, centre[1], options.snow * first),
        )
        passes.append(make_pass(season, day, centre, (orbit, k), sky, processed[k]))
    return tuple(passes)


def days_of(
    options: ArchiveOptions, season: ArchiveSeason, rng: np.random.Generator
) -> tuple[date, ...]:
    """Return the days that were asked for, or draw them."""
    given: Mapping[str, tuple[date, ...]] = options.dates or {}
    days = given.get(season.name) or draw_days(season, options.n_dates, rng)
    if len(set(days)) < len(days):
        raise BadInput(
            f"Some of the dates of {season.name} are given twice "
            f"({', '.join(str(day) for day in days)}): give each once."
        )
    return tuple(sorted(days))


@dataclass(frozen=True, slots=True)
class Processed:
    """How one pass was processed and what is said of it."""

    baseline: str
    added: int
    applied: bool | None
    declared: float


@dataclass(frozen=True, slots=True)
class Handling:
    """What a provider does with the 1000 that are added from baseline 04.00 on."""

    flagged: bool
    """It has a flag, and subtracts as a rule (Earth Search's ``sentinel-2-l2a``)."""
    declares: bool
    """Its assets declare an offset."""

    def of(self, baseline: str, *, kept: bool = False, wrong: int | None = None) -> Processed:
        """Process a pass.

        ``wrong`` is None, or the number of the wrong one: they err to either side in turn.
        """
        new = parse_baseline(baseline) >= (4, 0)
        declared = -0.1 if new and self.declares else 0.0
        if not new:
            return Processed(baseline, 0, False if self.flagged else None, declared)
        if self.flagged:
            added = kept if wrong is None else wrong % 2 == 1
            return Processed(
                baseline, 1000 * added, added if wrong is not None else not added, declared
            )
        if wrong is not None:  # declared but gone, or there but not declared
            return Processed(
                baseline, 0 if wrong % 2 == 0 else 1000, None, declared if wrong % 2 == 0 else 0.0
            )
        return Processed(baseline, 1000, None, declared)

    def spread(
        self, options: ArchiveOptions, baselines: Sequence[str], rng: np.random.Generator
    ) -> list[Processed]:
        """Choose which passes keep the 1000 and which are said wrongly.

        They are of those from baseline 04.00 on.

        Raises
        ------
        BadInput
            If a provider is to err that says nothing.
        """
        if options.wrong_flags > 0 and not (self.flagged or self.declares):
            raise BadInput(
                f"Wrong flags were asked for in the layout {options.layout}, which has none: take "
                "earth-search, earth-search-c1 or cdse."
            )
        new = [k for k, baseline in enumerate(baselines) if parse_baseline(baseline) >= (4, 0)]
        drawn = [int(k) for k in rng.permutation(new)]
        wrong = {k: n for n, k in enumerate(drawn[: round(options.wrong_flags * len(new))])}
        kept = set(drawn[len(drawn) - round(options.kept * len(new)) :]) if options.kept else set()
        return [
            self.of(baseline, kept=k in kept, wrong=wrong.get(k))
            for k, baseline in enumerate(baselines)
        ]


def parse_baseline(text: str) -> tuple[int, int]:
    """Return ``05.11`` as (5, 11).

    Raises
    ------
    BadInput
        If it is written otherwise.
    """
    whole, _, rest = text.partition(".")
    if not (whole.isdigit() and rest.isdigit() and len(rest) == 2):
        raise BadInput(
            f"The processing baseline {text!r} was given; wanted is one like 05.11 or 03.01."
        )
    return int(whole), int(rest)


def make_pass(
    season: ArchiveSeason,
    day: date,
    centre: tuple[float, float],
    numbers: tuple[int, int],
    sky: Sky,
    processed: Processed,
) -> Pass:
    """Put a pass together: half past ten in the morning, local time.

    ``numbers`` are the orbit's and the pass's own.
    """
    orbit, k = numbers
    hours = (10.5 - centre[0] / 15) % 24
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(
        seconds=round(hours * 3600)
    )
    if moment.date() != day:  # the last second of the day was rounded up
        moment -= timedelta(seconds=1)
    return Pass(
        season,
        moment,
        ORBITS[orbit],
        f"sentinel-2{PLATFORMS[k % len(PLATFORMS)]}",
        processed.baseline,
        replace(sky, added=processed.added),
        (155.0 if centre[1] >= 0 else 35.0, 48.0),
        processed.applied,
        processed.declared,
    )


def draw_sky(
    options: ArchiveOptions,
    world: GeoBox,
    textures: Textures,
    rng: np.random.Generator,
    what: tuple[int, float, float],
    clouds: tuple[float, float] | None = None,
) -> Sky:
    """Draw the sky of a pass.

    ``what`` is the orbit's number, the latitude (for the sun) and the share of snow.
    """
    orbit, latitude, snow = what
    share = float(rng.uniform(*(clouds or options.clouds)))
    swath, middle = swath_of(orbit, world)
    height = rng.uniform(600, 1500) / np.tan(np.deg2rad(48.0)) / options.gsd
    azimuth = np.deg2rad(155.0 if latitude >= 0 else 35.0)
    # A shadow falls away from the sun: the sun stands at (sin, cos) east and north, and rows run
    # south.
    shadow = float(-np.sin(azimuth) * height), float(np.cos(azimuth) * height)
    texel = float(np.clip(options.tile_px / 150, 1.2, 8.0))
    line = (
        middle + rng.uniform(-0.4, 0.4) * world.shape[1]
        if options.defects and rng.random() < 0.3
        else FAR
    )
    numbers = cloud_numbers(
        swath,
        texel,
        (share, options.cirrus, snow),
        roi_shape(whole(world)),
        textures,
        rng,
        shadow,
        float(line),
    )
    gains = np.exp(options.gain * rng.standard_normal()) * (
        1 + options.orbit_gain * (0.0, 0.5, -0.5)[orbit]
    )
    haze = options.haze * rng.random() * np.array([0.45, 0.65, 1.0, 0.2])
    return Sky(numbers, np.full(4, gains), haze, options.noise, int(rng.integers(1, 2**62)))


def swath_of(orbit: int, world: GeoBox) -> tuple[tuple[float, float, float, float], float]:
    """Return the swath of an orbit in the world, and where its middle lies.

    The first sees all, the second the east, the third the west.
    """
    height, width = world.shape
    east, south = float(np.cos(_SLANT)), float(np.sin(_SLANT))
    middle = width / 2 * east + height / 2 * south
    margin = _OVERLAP * width
    low, up = ((-FAR, FAR), (middle - margin, FAR), (-FAR, middle + margin))[orbit]
    return (east, south, low, up), middle
