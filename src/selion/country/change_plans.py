"""What became of the fields of a country between two plans whose jobs ran.

Their jobs are merged, and where they kept their probabilities these say which pixels changed and
what of the ground both years saw.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import selion
from selion.change.grids import laid_over
from selion.change.pixels import PixelRule, find_rule
from selion.country.change_maps import (
    NOTE,
    MapChange,
    MapChangeOptions,
    MapQuestion,
    checked_folder,
    compare_sides,
    take_parts,
)
from selion.country.change_pixels import SeenByBoth
from selion.country.change_sides import label_of, open_sides
from selion.country.job_tables import JOBS, finished_jobs
from selion.country.merging import merge_maps
from selion.country.partitions import INDEX, open_maps
from selion.country.plan_scores import PlanScores, keeps_scores, open_plan_scores, some_names
from selion.country.statistics import Units, read_units
from selion.errors import BadInput, counted
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.address import Place, locate, place_state
from selion.store.atomic import explained
from selion.store.scratch import clear_parts, parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MERGED, SEEN, COMPARED = "merged", "seen", "compared"
"""Folders of finished parts."""


@dataclass(frozen=True)
class YearOfPlan:
    """A year as it is given."""

    plan: Path | None
    """Whose jobs ran; None: only the map is known."""
    maps: Place | None
    """Merged from it already; None: not yet."""

    @property
    def label(self) -> str:
        """What the year is called."""
        place = self.plan if self.maps is None else self.maps
        assert place is not None
        return label_of(place)

    @property
    def scored(self) -> bool:
        """Whether jobs of it kept their probabilities."""
        return self.plan is not None and keeps_scores(self.plan)


def is_plan(place: Place | str) -> bool:
    """Say whether a place is a folder of ``selion plan``, alone or with its map, in any order."""
    return any(map(_holds_plan, str(place).split(",", 1)))


def _holds_plan(text: str) -> bool:
    place = locate(text.strip()).expanduser()
    return isinstance(place, Path) and (place / JOBS).is_file()


def compare_plans(
    before: Place | str,
    after: Place | str,
    out: Path | str,
    options: MapChangeOptions | None = None,
    *,
    rule: PixelRule | str | None = "fixed",
    districts: Units | Place | str | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> MapChange:
    """Tell what became of each field, and which pixels changed, between two plans whose jobs ran.

    Parameters
    ----------
    before, after : path or address
        The earlier one first.  Folders of ``selion plan``; ``"plan-2023,maps-2023"`` where its map
        is merged already; or what :func:`compare_maps` takes, for a year without probabilities.
    out : path
        A folder, as :func:`compare_maps` writes it; with probabilities it also gets ``pixels``, a
        COG of changed pixels for each job of the earlier plan.
    options : MapChangeOptions, optional
        With probabilities ``pixel`` is theirs.
    rule : PixelRule or str or None
        When a pixel has changed, see :data:`selion.change.RULES`; None: the probabilities are left
        alone, and tables are compared as :func:`compare_maps` does.
    districts : Units or path, optional
        Polygons to count by, see :func:`read_units`.
    work : path, optional
        Folder of finished parts; None: hidden beside ``out``.
    force : bool
        Whether an existing result is replaced, once the new one is whole.
    on_step, on_note : callable, optional

    Returns
    -------
    MapChange

    Raises
    ------
    UnreadableFile, BadInput
        If the plans cannot be used, have no place in common, or none of their jobs is finished.
    OutputExists, OutputFailed
        If the result cannot be written.

    Notes
    -----
    A place is told from the job whose core holds it, in either plan, so the squares of a plan and
    the order of its jobs are no part of the answer.  Both are laid on the grid of the earlier job:
    in one UTM zone pixels are as they were, across zones they are resampled (bilinear).  What one
    of the years did not see is unknown; a field of which less than half was seen in both years is,
    too.  The paper's rule scales by the largest difference in the whole country.  Memory is a block
    of pixels, and a cell with its fields.
    """
    options, out = options or MapChangeOptions(), checked_folder(out, before, after, force=force)
    units = (
        districts if isinstance(districts, Units) or districts is None else read_units(districts)
    )
    years = year_of(before), year_of(after)
    check_maps(years)
    notes = unfinished(years)
    scored, found = open_scores(years, rule)
    notes += found
    for note in notes:
        on_note(note)
    folder = Path(work) if work else out.absolute().parent / f".{out.name}.selion-change"
    with explained(out):
        take_parts(folder, _key(years))
    with explained(out), parts_of(folder / NOTE):
        places = [
            merged_map(year, folder / MERGED / str(number), on_step)
            for number, year in enumerate(years, 1)
        ]
        seen = None
        if scored is not None and rule is not None:
            chosen = find_rule(rule) if isinstance(rule, str) else rule
            seen = look(folder, scored, chosen, on_step)
            options = replace(options, pixel=max(plan.pixel for plan in scored))
        one, other = open_sides(*places)
        sources = str(before), str(after)
        given = (tuple(notes), sources, folder / NOTE)
        asked = MapQuestion((one, other), options, units, seen, *given)
        change = compare_sides(
            asked, out, folder / COMPARED, force=force, on_step=on_step, on_note=on_note
        )
    clear_parts(folder / NOTE)
    return change


def year_of(place: Place | str) -> YearOfPlan:
    """Return a year as it is given: a plan, a plan and its map in either order, or a map.

    Raises
    ------
    BadInput
        If two plans are given for one year.
    """
    parts = [part.strip() for part in str(place).split(",", 1)]
    plans = [part for part in parts if _holds_plan(part)]
    if not plans:
        return YearOfPlan(None, locate(place).expanduser())
    if len(plans) > 1:
        raise BadInput(
            f"{place} names two plans for one year; wanted are a plan and the map that was merged "
            f"from it, as PLAN,MAPS. Two years are two words: selion change {plans[0]} {plans[1]} "
            "-o change/"
        )
    rest = [part for part in parts if part not in plans and part]
    maps = locate(rest[0]).expanduser() if rest else None
    return YearOfPlan(Path(plans[0]).expanduser(), maps)


def find_plan(place: Place | str) -> Path | None:
    """Return the folder of the plan that a year names; None: it names none."""
    return year_of(place).plan


def has_scores(place: Place | str) -> bool:
    """Say whether a year is a plan whose jobs kept their probabilities.

    Raises
    ------
    UnreadableFile
        If none of its jobs is finished.
    """
    return year_of(place).scored


def _key(years: Sequence[YearOfPlan]) -> str:
    """Return what differs where finished parts are of no use."""
    wanted = [selion.__version__, *map(state_of, years)]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def state_of(year: YearOfPlan) -> list[object]:
    """Return what changes when a year does: its name, its map, the tables of its jobs."""
    tables = [] if year.plan is None else finished_jobs(year.plan)[0]
    return [year.label, str(year.maps), [[str(one), *place_state(one)] for one in tables]]


def unfinished(years: Sequence[YearOfPlan]) -> list[str]:
    """Name the jobs that are not finished, in a sentence a year."""
    notes = []
    for year in years:
        missing = finished_jobs(year.plan)[1] if year.plan is not None else []
        if missing:
            notes.append(
                f"Not in {year.label}, because not finished: {counted(len(missing), 'job')} of the "
                f"plan ({some_names(missing)})."
            )
    return notes


def check_maps(years: Sequence[YearOfPlan]) -> None:
    """Refuse a map that is none before any work is done.

    Raises
    ------
    UnreadableFile
        If one cannot be opened.
    """
    for year in years:
        if year.maps is not None:
            open_maps(year.maps)


def open_scores(
    years: Sequence[YearOfPlan], rule: PixelRule | str | None
) -> tuple[tuple[PlanScores, PlanScores] | None, list[str]]:
    """Open the probabilities of both years; None where they are not wanted, or not there."""
    if rule is None:
        return None, []
    without = [year.label for year in years if not year.scored]
    if without:
        note = (
            f"{' and '.join(without)} kept no probabilities (selion plan --scores "
            "fields.scores.tif): the years are compared by their tables alone."
        )
        return None, [note]
    plans = [open_plan_scores(year.plan) for year in years if year.plan is not None]
    one, other = plans
    pairs = [(job, beside) for job in one.jobs for beside in other.near(job.place)]
    if not pairs:
        raise BadInput(
            f"{one.folder} and {other.folder} have no place in common: give plans of one country."
        )
    notes = []
    if one.models != other.models:
        told = " and ".join(", ".join(plan.models) or "an unnamed model" for plan in plans)
        notes.append(
            f"The years were mapped with different models ({told}): some of the change is that of "
            "the models."
        )
    elif one.classes != other.classes:
        told = " and ".join(", ".join(plan.classes.names) for plan in plans)
        notes.append(f"The years tell different classes ({told}).")
    bent = {job.name for job, beside in pairs if not laid_over(beside.source, job.source.grid)[1]}
    if bent:
        notes.append(
            f"In {counted(len(bent), 'job')} of {years[0].label} ({some_names(sorted(bent))}) the "
            f"later year lies on another grid at least in part: it was resampled (bilinear), which "
            "blurs lines a little."
        )
    return (one, other), notes


def merged_map(year: YearOfPlan, folder: Path, on_step: OnStep) -> Place:
    """Return the map of a year, merged if it is not yet."""
    if year.maps is not None:
        return year.maps
    assert year.plan is not None
    place = folder / year.label
    if not (place / INDEX).is_file():
        merge_maps([year.plan], place, work=folder / "parts", force=True, on_step=on_step)
    return place


def look(
    folder: Path, scored: tuple[PlanScores, PlanScores], rule: PixelRule, on_step: OnStep
) -> SeenByBoth:
    """Go through the probabilities; what was found by another rule is of no use."""
    seen = SeenByBoth(folder / SEEN / "0", *scored, rule)
    name = hashlib.sha256(json.dumps(seen.key).encode()).hexdigest()[:16]
    seen = replace(seen, folder=folder / SEEN / name)
    seen.look(on_step)
    return seen
