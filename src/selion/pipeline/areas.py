"""An area and a year: what the archive has for them, and what of it is taken.

Each stage keeps what it has finished in a folder whose name follows from all that decides the
result, so a run that was stopped goes on, and one with other wishes never meets the parts of
another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import selion
from selion import imagery, store
from selion.errors import BadInput, NoScenes, OutputFailed, UnreadableFile
from selion.progress import OnStep, silent
from selion.store.former import take_over

if TYPE_CHECKING:
    from selion.imagery import Area, AreaLike, Provider, SearchResult, Season, Sensor, TilePlan

SURVEY = "survey.json"
FINEST, COARSEST = 1.0, 10_000.0
"""Metres: pixels that a composite may have."""
STEP = 0.5
"""Degrees between the places at which seasons are asked for."""


@dataclass(frozen=True)
class AreaOptions:
    """What a composite may choose; the defaults are PRUE's recipe on the area's own grid."""

    provider: str = "earth-search"
    """Name, or the address of a STAC API or of a static catalogue."""
    seasons: tuple[Season, Season] | None = None
    """Dates given by the user; None: by ``rule``."""
    rule: str = "latitude"
    """"latitude": PRUE's Algorithms 1 and 2; "calendar": the crop calendar rasters in
    ``calendar``."""
    calendar: Path | None = None
    crop: str = "summer"
    """Of the crop calendar: "summer" or "winter"."""
    cloud: float = 75.0
    """Scenes with this much cloud or more, in percent, are not looked at."""
    target: int = 5
    """Clear views wanted per pixel."""
    limit: int = 10
    """Scenes per tile and season at most."""
    excluded: frozenset[int] | None = None
    """Classes of the cloud mask that are masked; None: the sensor's default."""
    balance: bool = True
    """Whether orbits of different brightness are brought together; PRUE's recipe does not."""
    crs: str = "auto"
    """Grid of the mosaic: auto, utm, equal-area, or any CRS."""
    gsd: float | None = None
    """Pixels of the mosaic, in metres; None: the sensor's."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    retry: store.RetryPolicy = field(default_factory=store.RetryPolicy)

    def __post_init__(self) -> None:
        if (self.seasons is not None or self.rule != "calendar") and (
            self.calendar is not None or self.crop != "summer"
        ):
            how = (
                "dates are given" if self.seasons is not None else f"the season rule is {self.rule}"
            )
            raise BadInput(
                f"A --calendar or its --crop was given, but {how}, so it has no effect: "
                "add --season-rule calendar, or leave it out."
            )
        if self.gsd is not None and not FINEST <= self.gsd <= COARSEST:
            sensor = sensor_of(self)
            raise BadInput(
                f"Pixels of {self.gsd} m were asked for; wanted are {FINEST:g} to {COARSEST:g} m "
                f"({sensor.title} has {sensor.gsd:g} m)."
            )

    @property
    def pixel(self) -> float:
        """Pixels of the mosaic, in metres."""
        return sensor_of(self).gsd if self.gsd is None else self.gsd

    @property
    def masked(self) -> frozenset[int]:
        """The classes that are masked."""
        if self.excluded is not None:
            return self.excluded
        return sensor_of(self).mask.excluded


def sensor_of(options: AreaOptions) -> Sensor:
    """Return the sensor whose products the provider has."""
    return imagery.find_sensor(imagery.find_provider(options.provider).sensor)


@dataclass(frozen=True, eq=False)
class Survey:
    """What would be used.

    The area, the scenes chosen per tile and season, and all that was left aside.
    """

    area: Area
    year: int
    options: AreaOptions
    plans: tuple[TilePlan, ...]
    refused: tuple[tuple[str, str], ...] = ()
    """(id, why) of the items that cannot be used."""
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of all that decides the composite."""
        return _key(self.area, self.year, self.options)

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row per tile and season.

        What was looked at, what is taken, how much of the area is seen.
        """
        return [_row(plan) for plan in self.plans]


def _key(area: Area, year: int, options: AreaOptions) -> str:
    decides = {
        name: value
        for name, value in vars(options).items()
        if name not in ("retry", "crs", "gsd", "resampling")
    }
    decides["excluded"] = options.masked
    if sensor := sensor_of(options).key:
        decides["sensor"] = sensor
    if Path(options.provider).exists():  # a catalogue on disk is the same one from every folder
        decides["provider"] = Path(options.provider)
    text = json.dumps([area.geometry.wkb_hex, year, decides], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> object:
    return (
        sorted(value)
        if isinstance(value, frozenset)
        else str(value.resolve() if isinstance(value, Path) else value)
    )


def _row(plan: TilePlan) -> dict[str, Any]:
    return {
        "tile": plan.tile,
        "season": plan.season.name,
        "start": plan.season.start.isoformat(),
        "end": plan.season.end.isoformat(),
        "candidates": len(plan.candidates),
        "taken": len(plan.scenes),
        "seen": 1 - plan.shares[0] if plan.shares else 0.0,
        "deep": plan.shares[-1] if plan.shares else 0.0,
        "dates": [scene.time.date().isoformat() for scene in plan.scenes],
        "scenes": [scene.id for scene in plan.scenes],
        "radiometry": [decision.why for decision in plan.radiometry],
        "why": plan.season.why,
        "notes": list(plan.notes),
    }


def work_folder(out: Path, given: Path | None) -> Path:
    """Return where a run keeps its finished parts: as given, or hidden beside its output."""
    return given or take_over(out.parent / f".{out.name}.selion")


def survey_area(
    area: AreaLike | Area,
    year: int,
    options: AreaOptions | None = None,
    *,
    work: Path | None = None,
    on_step: OnStep = silent,
) -> Survey:
    """Search an archive for an area and a year, and choose scenes per tile and season.

    Parameters
    ----------
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    year : int
        Of the harvest.
    options : AreaOptions, optional
    work : path, optional
        Folder of the run: a choice made there before with the same wishes is taken up, so that a
        run that goes on uses the same scenes.
    on_step : callable, optional

    Returns
    -------
    Survey

    Raises
    ------
    BadInput
        If area, year or options cannot be used.
    SearchFailed, NoScenes
        If the archive does not answer, or has nothing.
    """
    options = options or AreaOptions()
    area = area if isinstance(area, imagery.Area) else imagery.read_area(area)
    # a grid that cannot be is told before hours of work
    imagery.target_grid(area, options.crs, options.pixel)
    kept = None if work is None else work / f"area-{_key(area, year, options)}" / SURVEY
    if kept is not None and kept.is_file():
        return read_survey(kept, area, year, options)
    survey = _survey(area, year, options, on_step)
    if kept is not None:
        make_folder(kept.parent)
        write_survey(survey, kept, force=True)
    return survey


def _survey(area: Area, year: int, options: AreaOptions, on_step: OnStep) -> Survey:
    provider = imagery.find_provider(options.provider)
    spans = (
        [options.seasons]
        if options.seasons
        else [
            _seasons_near(area, place, year, options)
            for place in _places(area, across=options.rule == "calendar")
        ]
    )
    results, empty = _search(area, _hull(spans), provider, options, on_step)
    scenes = {scene.id: scene for result in results for scene in result}
    wishes = imagery.PlanOptions(
        target=options.target,
        limit=options.limit,
        excluded=options.masked,
        retry=options.retry,
        balance=options.balance,
    )
    seasons = options.seasons or (lambda lon, lat: _seasons_near(area, (lon, lat), year, options))
    plans = imagery.plan_tiles(
        area,
        seasons,
        scenes.values(),
        {provider.name: imagery.make_signer(provider)},
        wishes,
        providers={provider.name: provider},
        on_step=on_step,
    )
    refused = tuple((one.id, one.why) for result in results for one in result.refused)
    notes = (*area.notes, *empty, *(note for plan in plans for note in plan.notes))
    return Survey(
        area,
        year,
        options,
        tuple(plans),
        tuple(dict.fromkeys(refused)),
        tuple(dict.fromkeys(notes)),
    )


def _search(
    area: Area,
    seasons: tuple[Season, Season],
    provider: Provider,
    options: AreaOptions,
    on_step: OnStep,
) -> tuple[list[SearchResult], list[str]]:
    """Search both seasons; one that has nothing is told, and both are an error."""
    results, empty = [], []
    for number, season in enumerate(seasons):
        on_step("search", number, 2, season.name)
        try:
            results.append(
                imagery.find_scenes(area, season, provider, options.cloud, retry=options.retry)
            )
        except NoScenes as error:
            empty.append(str(error))
    if not results:
        raise NoScenes(" ".join(empty))
    on_step("search", 2, 2, f"{sum(len(result) for result in results)} scenes")
    return results, empty


def _places(area: Area, *, across: bool) -> list[tuple[float, float]]:
    """Return points, at most half a degree apart, at which seasons are asked for.

    A rule changes with latitude, a calendar from west to east as well.
    """
    places = [area.centre]
    for west, south, east, north in area.boxes:
        rows, columns = (max(int(size / STEP) + 2, 2) for size in (north - south, east - west))
        for longitude in np.linspace(west, east, columns) if across else [(west + east) / 2]:
            places += [
                (float(longitude), float(latitude)) for latitude in np.linspace(south, north, rows)
            ]
    return places


def _seasons_near(
    area: Area, place: tuple[float, float], year: int, options: AreaOptions
) -> tuple[Season, Season]:
    """Return the seasons of the part of an area that lies near a place.

    At its latitude by the rule, within half a degree by the calendar.
    """
    reach = STEP if options.rule == "calendar" else 0.01
    longitude, latitude = place
    box = (
        max(longitude - reach, -180.0),
        max(latitude - reach, -90.0),
        min(longitude + reach, 180.0),
        min(latitude + reach, 90.0),
    )
    near = imagery.read_area(box, name=area.name)
    if options.rule == "calendar":
        near = area.within(near) or near  # where the area is not, what lies around stands for it
    return imagery.find_seasons(
        near, year, options.rule, options.crop, options.calendar, sensor_of(options)
    )


def _hull(spans: Sequence[tuple[Season, Season]]) -> tuple[Season, Season]:
    """Return the shortest seasons that hold all of some seasons."""
    first, second = (
        replace(ones[0], start=min(one.start for one in ones), end=max(one.end for one in ones))
        for ones in zip(*spans, strict=True)
    )
    return first, second


def write_survey(survey: Survey, path: Path, *, force: bool = False) -> Path:
    """Write a survey as JSON."""
    plain = {
        "selion": selion.__version__,
        "key": survey.key,
        "area": survey.area.name,
        "year": survey.year,
        "choice": survey.rows(),
        "refused": survey.refused,
        "notes": survey.notes,
        "plans": imagery.plans_to_json(survey.plans),
    }
    store.write_text(path, json.dumps(plain, indent=1), force=force)
    return path


def make_folder(folder: Path) -> None:
    """Make a folder, or say why it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(
            f"The folder {folder} cannot be made ({error.strerror}): give one that can be written."
        ) from error


def read_survey(path: Path, area: Area, year: int, options: AreaOptions) -> Survey:
    """Read what :func:`write_survey` wrote.

    Raises
    ------
    UnreadableFile
        If it is no survey.
    """
    try:
        plain = json.loads(path.read_text("utf-8"))
        plans = tuple(imagery.plans_from_json(plain["plans"]))
        return Survey(
            area,
            year,
            options,
            plans,
            tuple((name, why) for name, why in plain["refused"]),
            tuple(plain["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"{path} is not a survey of selion ({error}): delete it and search again."
        ) from error
