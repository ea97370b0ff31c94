"""More than two maps of a country: each compared with the one before, ids going on through all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

import selion
from selion.change.pixels import PixelRule, find_rule
from selion.country.change_maps import (
    CHANGE,
    FACTS,
    LINEAGE,
    MAPS,
    NOTE,
    SUMMARY,
    MapChange,
    MapChangeOptions,
    MapQuestion,
    checked_folder,
    compare_sides,
    open_change,
    take_parts,
)
from selion.country.change_plans import (
    COMPARED,
    YearOfPlan,
    check_maps,
    look,
    merged_map,
    open_scores,
    state_of,
    unfinished,
    year_of,
)
from selion.country.change_sides import UsedIds, followed_side, open_sides
from selion.country.neighbourhoods import MapSide
from selion.country.partitions import open_maps
from selion.country.statistics import Units, read_units
from selion.errors import BadInput, counted
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.address import Place
from selion.store.atomic import explained, publish_folder
from selion.store.scratch import check_parts, clear_parts, parts_of

STEPS, USED = "steps", "used.npy"


@dataclass(frozen=True, eq=False)
class MapSeries:
    """What a comparison of several maps left in its folder."""

    folder: Path
    steps: tuple[MapChange, ...]
    """From each year to the next, in folders ``2022_2023`` and so on."""

    @property
    def summary(self) -> pd.DataFrame:
        """Fields and hectares by outcome of all steps, with the column ``years`` in front."""
        tables = [step.summary.assign(years="-".join(step.years)) for step in self.steps]
        table = pd.concat(tables, ignore_index=True)
        return table[["years", *(name for name in table.columns if name != "years")]]


def compare_series(
    years: Sequence[Place | str],
    out: Path | str,
    options: MapChangeOptions | None = None,
    *,
    rule: PixelRule | str | None = "fixed",
    districts: Units | Place | str | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> MapSeries:
    """Tell what became of each field from year to year, under ids that go on through all of them.

    Parameters
    ----------
    years : sequence of path or address
        Two or more, the earliest first: folders of ``selion plan``, ``"PLAN,MAPS"``, or what
        :func:`selion.country.compare_maps` takes.
    out : path
        A folder.  For each step it gets a folder, as :func:`selion.country.compare_maps` and
        :func:`selion.country.compare_plans` write it, and for all ``summary.csv`` and
        ``change.json``.
    options, rule, districts, work, force, on_step, on_note
        See :func:`selion.country.compare_plans`.

    Returns
    -------
    MapSeries

    Raises
    ------
    UnreadableFile, BadInput
        If the maps cannot be used.
    OutputExists, OutputFailed
        If the result cannot be written.

    Notes
    -----
    A step is told from two years alone: a field that a year did not see, or did not find, gets
    another id when a later one has it again (:func:`selion.change.join_years` of rasters looks
    back).  An id is never given twice; those that were are kept in a file, 24 bytes a field.
    """
    if len(years) < 2:
        raise BadInput(
            f"Maps of {counted(len(years), 'year')} were given; wanted are two or more, the "
            "earliest first."
        )
    options, out = options or MapChangeOptions(), checked_folder(out, *years, force=force)
    units = (
        districts if isinstance(districts, Units) or districts is None else read_units(districts)
    )
    chosen = find_rule(rule) if isinstance(rule, str) else rule
    given = [year_of(year) for year in years]
    check_maps(given)
    series = _Series(given, options, chosen, units, on_step, on_note)
    folder = Path(work) if work else out.absolute().parent / f".{out.name}.selion-change"
    with explained(out):
        take_parts(folder, series.key)
    with explained(out), parts_of(folder / NOTE):
        series.run(folder)
        check_parts(folder / NOTE, out)
        publish_folder(folder / STEPS, out, force, CHANGE)
    clear_parts(folder / NOTE)
    return open_series(out)


def open_series(folder: Path | str) -> MapSeries:
    """Open what :func:`compare_series` wrote.

    Raises
    ------
    UnreadableFile
        If it is none.
    """
    folder = Path(folder)
    names = json.loads((folder / FACTS).read_text("utf-8"))["steps"]
    return MapSeries(folder, tuple(open_change(folder / name) for name in names))


@dataclass(frozen=True, eq=False)
class _Series:
    """A comparison of several maps that is going on."""

    years: list[YearOfPlan]
    options: MapChangeOptions
    rule: PixelRule | None
    units: Units | None
    on_step: OnStep
    on_note: OnNote

    @property
    def key(self) -> str:
        """What differs where finished parts are of no use."""
        import shapely

        units = self.units
        wanted: list[Any] = [
            selion.__version__,
            asdict(self.options),
            None if self.rule is None else [self.rule.name, self.rule.threshold],
            None
            if units is None
            else [units.names, shapely.to_wkb(units.shapes, hex=True).tolist()],
            [state_of(year) for year in self.years],
        ]
        return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()

    def run(self, folder: Path) -> None:
        """Compare each year with the one before."""
        for note in unfinished(self.years):
            self.on_note(note)
        places = [
            merged_map(year, folder / "merged" / str(number), self.on_step)
            for number, year in enumerate(self.years, 1)
        ]
        sides = open_sides(*places)
        before, names = sides[0], []
        (folder / USED).unlink(missing_ok=True)  # of a run that was killed: it may know too many
        for number, after in enumerate(sides[1:]):
            name = f"{before.label}_{after.label}"
            names.append(name)
            target = folder / STEPS / name
            if not (target / FACTS).is_file():
                self._step(number, (before, after), target, folder)
            used = UsedIds(folder / USED).add(target / LINEAGE, folder / USED)
            before = followed_side(open_maps(target / MAPS), after.label, used)
        series = MapSeries(
            folder / STEPS, tuple(open_change(folder / STEPS / one) for one in names)
        )
        told = {
            "selion": selion.__version__,
            "years": [side.label for side in sides],
            "steps": names,
        }
        series.summary.to_csv(folder / STEPS / SUMMARY, index=False, lineterminator="\n")
        (folder / STEPS / FACTS).write_text(json.dumps(told, indent=1), "utf-8")

    def _step(
        self, number: int, sides: tuple[MapSide, MapSide], target: Path, folder: Path
    ) -> None:
        scored, notes = open_scores(self.years[number : number + 2], self.rule)
        for note in notes:
            self.on_note(note)
        options, seen = self.options, None
        if scored is not None and self.rule is not None:
            seen = look(folder, scored, self.rule, self.on_step)
            options = replace(options, pixel=max(plan.pixel for plan in scored))
        sources = tuple(str(year.plan or year.maps) for year in self.years[number : number + 2])
        asked = MapQuestion(sides, options, self.units, seen, tuple(notes), sources)
        target.parent.mkdir(exist_ok=True)
        compare_sides(
            asked,
            target,
            folder / COMPARED,
            force=True,
            on_step=self.on_step,
            on_note=self.on_note,
        )
