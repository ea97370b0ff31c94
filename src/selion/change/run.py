"""compare_years: what has changed between two or more maps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

import selion
from selion import store
from selion.change import lineage
from selion.change.outcomes import OutcomeOptions
from selion.change.pixels import CHANGES, PixelRule, find_rule
from selion.change.sides import mean_pixel, open_scores, place, without_file
from selion.change.step import Step, compare, first_state, next_state, write_maps
from selion.change.tables import write_table
from selion.change.years import Year, YearLike, find_years
from selion.errors import BadInput, OutputFailed
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.calls import sealed


@dataclass(frozen=True)
class ChangeOptions:
    """How change is told."""

    rule: str = "fixed"
    """When a pixel has changed, see :data:`selion.change.RULES`."""
    threshold: float | None = None
    """Of the rule; None: its own."""
    outcomes: OutcomeOptions = field(default_factory=OutcomeOptions)
    geoparquet: str = "1.1"
    """Version of the tables: 1.1 or 2.0, see :func:`selion.store.make_native`."""

    def __post_init__(self) -> None:
        store.check_geoparquet(self.geoparquet)


@dataclass(frozen=True)
class StepFiles:
    """What was written of one step."""

    years: tuple[str, str]
    change: Path
    """COG: changed pixels, classes of :data:`selion.change.CHANGES`."""
    outcomes: Path
    """COG: what became of the fields, classes of :data:`selion.change.step.FATES`."""
    fields: Path
    """fiboa GeoParquet."""
    summary: pd.DataFrame
    """Counts and hectares by outcome."""
    pixels: dict[str, float]
    """Hectares (pixels of a photograph) by class of changed pixels."""

    def facts(self) -> dict[str, Any]:
        """Return plain values."""
        table = {
            row["outcome"]: {key: row[key] for key in row if key != "outcome"}
            for row in self.summary.to_dict("records")
        }
        files = {name: getattr(self, name).name for name in ("change", "outcomes", "fields")}
        return {
            "years": list(self.years),
            "files": files,
            "fields": table,
            "pixels_ha": self.pixels,
        }


@dataclass(frozen=True)
class ChangeResult:
    """What a comparison left in its folder."""

    folder: Path
    steps: tuple[StepFiles, ...]
    lineage: pd.DataFrame
    """Columns :data:`selion.change.lineage.COLUMNS`, all steps."""
    notes: tuple[str, ...]
    """Sentences that the user should read."""
    rule: PixelRule
    """When a pixel has changed."""
    years: tuple[Year, ...] = ()
    """What was compared, the earliest first."""


REPORT = "report.html"
"""The page that :func:`selion.reports.change.write_report` adds to the folder."""


@sealed("selion.compare_years")
def compare_years(
    years: Sequence[YearLike],
    out: Path | str,
    options: ChangeOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> ChangeResult:
    """Compare maps of the same place in two or more years.

    Parameters
    ----------
    years : sequence
        The earliest first; see :func:`selion.change.find_years`.
    out : path
        A folder.  For each step from one year to the next it gets ``change_A_B.tif`` and
        ``outcomes_A_B.tif`` (COGs), ``fields_A_B.parquet``; and for all ``lineage.csv``,
        ``summary.csv`` and ``change.json``; :func:`selion.reports.change.write_report` adds a page.
    options : ChangeOptions, optional
        When a pixel has changed, and when two fields are one.
    force : bool
        Whether existing files, a page among them, are replaced.
    on_step, on_note : callable, optional
        Told of progress, and of what the user should know.

    Returns
    -------
    ChangeResult

    Raises
    ------
    BadInput, UnreadableFile
        If it is not clear what to compare, or it cannot be read.
    GridMismatch
        If maps have no place in common.
    OutputExists, OutputFailed
        If something may not, or cannot, be written.

    Notes
    -----
    All is compared on the grid of the first year's probabilities, block by block: memory is one
    table of fields at a time and a few blocks, not the raster.  Disk holds 4 bytes per pixel and
    year while it runs.
    """
    options, out = options or ChangeOptions(), Path(out).expanduser()
    rule, found = find_rule(options.rule, options.threshold), find_years(years)
    for name in _all_names(found):
        store.check_output(out / name, force)
    run = _Comparison(out, rule, options, force, on_step, on_note)
    work = out / ".change"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(
            f"The folder {out} cannot be made ({error.strerror}): give one that can be written."
        ) from error
    try:
        return run.all(found, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _step_names(one: Year, other: Year) -> tuple[str, str, str]:
    ends = f"{one.label}_{other.label}"
    return f"change_{ends}.tif", f"outcomes_{ends}.tif", f"fields_{ends}.parquet"


def _all_names(years: list[Year]) -> list[str]:
    steps = [name for one, other in pairwise(years) for name in _step_names(one, other)]
    return [*steps, "lineage.csv", "summary.csv", "change.json", REPORT]


@dataclass(frozen=True)
class _Comparison:
    out: Path
    rule: PixelRule
    options: ChangeOptions
    force: bool
    on_step: OnStep
    on_note: OnNote

    def all(self, years: list[Year], work: Path) -> ChangeResult:
        notes: list[str] = []
        source, _, pixel = open_scores(years[0])
        grid = source.grid
        if grid.crs is None and self.options.geoparquet == "2.0":
            raise BadInput(
                "GeoParquet 2.0 was asked for, and these are photographs, which have no place in "
                "longitude and latitude: write 1.1."
            )

        def placed(year: Year) -> Any:
            self.on_step("fields", years.index(year), len(years), year.label)
            mapped, said = place(year, grid, years[0], work)
            for note in said:
                notes.append(note)
                self.on_note(note)
            return mapped

        state, steps, tables = first_state(placed(years[0])), [], []
        for one, other in pairwise(years):
            after = placed(other)
            self._check_order(
                state.mapped.origin.determined, after.origin.determined, (one, other), notes
            )
            step = compare(
                state,
                after,
                grid,
                self.rule,
                self.options.outcomes,
                pixel,
                self._listen(f"compare {one.label} {other.label}"),
            )
            names = [self.out / name for name in _step_names(one, other)]
            step = write_maps(
                step,
                grid,
                self.rule,
                (names[0], names[1]),
                force=self.force,
                on_block=self._listen(f"maps {one.label} {other.label}"),
            )
            write_table(step, names[2], self.rule.name, force=self.force)
            if self.options.geoparquet == "2.0":
                store.make_native(names[2])
            steps.append(_files(step, names, grid))
            tables.append(
                lineage.lineage(
                    (state.seen_in, other.label),
                    state.names,
                    step.names,
                    step.judged,
                    step.measures,
                )
            )
            if other is not years[-1]:
                state = next_state(step)
            without_file(step.before.mapped)
        result = ChangeResult(
            self.out,
            tuple(steps),
            pd.concat(tables, ignore_index=True),
            tuple(notes),
            self.rule,
            tuple(years),
        )
        self._conclude(result, years)
        return result

    def _listen(self, stage: str) -> Callable[[float, float], None]:
        return lambda done, total: self.on_step(stage, done, total, "")

    def _check_order(
        self, one: Any, other: Any, years: tuple[Year, Year], notes: list[str]
    ) -> None:
        if one and other:
            with suppress(TypeError):  # one has a time zone, the other none
                if one >= other:
                    notes.append(
                        f"{years[1].label} is not later than {years[0].label} ({other:%Y-%m-%d} "
                        f"and {one:%Y-%m-%d}): give the earliest year first."
                    )
                    self.on_note(notes[-1])

    def _conclude(self, result: ChangeResult, years: list[Year]) -> None:
        """Write what is told of all steps."""
        summary = pd.concat(
            [
                step.summary.assign(years=f"{step.years[0]}-{step.years[1]}")
                for step in result.steps
            ],
            ignore_index=True,
        )
        summary = summary[["years", *(name for name in summary.columns if name != "years")]]
        for name, table in (("lineage.csv", result.lineage), ("summary.csv", summary)):
            with store.atomic_write(self.out / name, self.force) as temporary:
                table.to_csv(
                    temporary,
                    index=False,
                    float_format="%.4g" if name == "lineage.csv" else "%.2f",
                    lineterminator=os.linesep,
                )
        facts = {
            "selion": selion.__version__,
            "rule": {"name": self.rule.name, "threshold": self.rule.threshold},
            "years": {
                year.label: {"fields": str(year.table), "scores": str(year.scores)}
                for year in years
            },
            "steps": [step.facts() for step in result.steps],
            "notes": list(result.notes),
        }
        store.write_text(self.out / "change.json", json.dumps(facts, indent=1), force=self.force)


def _files(step: Step, names: list[Path], grid: Any) -> StepFiles:
    metres = mean_pixel(grid)
    unit = 1.0 if grid.crs is None else metres**2 / 10_000
    scale = 1.0 if grid.crs is None else 1e-4
    summary = lineage.summarise(step.judged, (step.before.area * scale, step.after.area * scale))
    counted = {
        name: round(float(step.pixels[code]) * unit, 2)
        for code, name in (*enumerate(CHANGES.names), (255, "unknown"))
    }
    return StepFiles(
        (step.before.mapped.year.label, step.after.year.label),
        names[0],
        names[1],
        names[2],
        summary,
        counted,
    )
