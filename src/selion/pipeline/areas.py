"""An area and a year: what the archive has for them, and what of it is taken.

Each stage keeps what it has finished in a folder whose name follows from all that decides the
result, so a run that was stopped goes on, and one with other wishes never meets the parts of
another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import selion
from selion import imagery, store
from selion.errors import OutputFailed, UnreadableFile
from selion.imagery.season import given_crop
from selion.pipeline.area_options import AreaOptions, check_year_of_dates, provider_of, sensor_of
from selion.pipeline.searching import (
    ArchiveAnswer,
    BeyondSearch,
    Pair,
    check_searched,
    search_archive,
    seasons_at,
    spans_of,
    today,
)
from selion.pipeline.tile_mosaic import TileMosaic
from selion.pipeline.tile_records import calendar_facts
from selion.progress import OnStep, silent
from selion.store.former import take_over

if TYPE_CHECKING:
    from selion.imagery import Area, AreaLike, TilePlan

SURVEY = "survey.json"


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
    asked: date = field(default_factory=today)
    """Day of the search."""

    @property
    def key(self) -> str:
        """Name of all that decides the composite."""
        return _key(self.area, self.year, self.options, self.asked)

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row per tile and season.

        What was looked at, what is taken, how much of the area is seen.
        """
        return [_row(plan) for plan in self.plans]


def _key(area: Area, year: int, options: AreaOptions, asked: date) -> str:
    decides = {
        name: value
        for name, value in vars(options).items()
        if name not in ("retry", "crs", "gsd", "resampling", "mosaic", "mosaic_zarr")
    }
    decides["crop"] = given_crop(options.crop)  # only selion's own calendar has a main one
    if options.rule == "calendar" and options.seasons is None:
        decides |= calendar_facts(options.crop, options.calendar)  # what it says, not its name
    if options.mosaic is not None:
        decides["mosaic"] = options.mosaic
    decides["excluded"] = options.masked
    if sensor := sensor_of(options).key:
        decides["sensor"] = sensor
    if not provider_of(options).known and Path(options.provider).exists():
        # a catalogue on disk is the same one from every folder
        decides["provider"] = Path(options.provider)
    if asked <= max(season.end for pair in spans_of(area, year, options) for season in pair):
        decides["season"] = "not over"  # parts of then are not taken for those of the whole season
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
    check_year_of_dates(options.seasons, year)
    area = area if isinstance(area, imagery.Area) else imagery.read_area(area)
    # a grid that cannot be is told before hours of work
    imagery.target_grid(area, options.crs, options.pixel)
    kept = None if work is None else work / f"area-{_key(area, year, options, today())}" / SURVEY
    if kept is not None and kept.is_file():
        return read_survey(kept, area, year, options)
    survey = (
        _survey(area, year, options, on_step)
        if options.mosaic is None
        else _from_mosaic(area, year, options, on_step, keep=kept is not None)
    )
    if kept is not None:
        make_folder(kept.parent)
        write_survey(survey, kept, force=True)
    return survey


def _survey(area: Area, year: int, options: AreaOptions, on_step: OnStep) -> Survey:
    spans = spans_of(area, year, options)
    while True:
        answer = search_archive(area, spans, options, on_step)
        try:
            plans = _planned(area, year, options, answer, spans, on_step)
        except BeyondSearch as beyond:
            spans = [*spans, beyond.seasons]
        else:
            notes = _notes(area, answer.notes, plans)
            return Survey(area, year, options, tuple(plans), answer.refused, notes)


def _planned(
    area: Area,
    year: int,
    options: AreaOptions,
    answer: ArchiveAnswer,
    spans: Sequence[Pair],
    on_step: OnStep,
) -> list[TilePlan]:
    """Choose scenes of what was found; BeyondSearch if a tile has other days than were searched."""

    def seasons(longitude: float, latitude: float) -> Pair:
        found = seasons_at((longitude, latitude), year, options)
        check_searched(found, spans)
        return found

    provider = imagery.find_provider(options.provider)
    return imagery.plan_tiles(
        area,
        seasons,
        answer.scenes.values(),
        {provider.name: imagery.make_signer(provider)},
        options.wishes,
        providers={provider.name: provider},
        on_step=on_step,
    )


def _notes(area: Area, said: Iterable[str], plans: Iterable[TilePlan]) -> tuple[str, ...]:
    notes = (*area.notes, *said, *(note for plan in plans for note in plan.notes))
    return tuple(dict.fromkeys(notes))


def _from_mosaic(
    area: Area, year: int, options: AreaOptions, on_step: OnStep, *, keep: bool
) -> Survey:
    """Return what the tiles of a mosaic are, or will be, made of."""
    needs = TileMosaic.of(year, options, keep=keep).needs(area, on_step)
    return Survey(
        area, year, options, needs.plans, needs.refused, _notes(area, needs.notes, needs.plans)
    )


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} is not a survey of selion ({error}): delete it and search again."
        ) from error
