"""join_years: the fields of many years under one id each, and their probabilities in one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import selion
from selion import fields, store
from selion.change.fusion import JoinedGround, make_ground, write_fused, write_outcomes
from selion.change.history_tables import (
    HistoryTables,
    make_lineage,
    make_summary,
    make_tables,
    write_long,
)
from selion.change.outcomes import OutcomeOptions
from selion.change.record import (
    DetectionOptions,
    Records,
    YearDetection,
    believe,
    judge_detection,
    make_records,
)
from selion.change.sequence import JoinedYears, follow_years
from selion.change.sides import mean_pixel, open_scores
from selion.change.years import Year, YearLike, find_years
from selion.errors import BadInput, OutputFailed, counted
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.atomic import explained
from selion.store.calls import sealed
from selion.store.scratch import check_parts

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

HISTORY, LONG, LINEAGE, SUMMARY = (
    "history.parquet",
    "history.long.parquet",
    "lineage.csv",
    "summary.csv",
)
FUSED, FACTS, PAGE = "fused.scores.tif", "history.json", "report.html"
HELD = "begun"
"""In the folder of what is being made: who removes that removes this too."""
Refine = Callable[["GeoDataFrame", "HistoryParts"], tuple["GeoDataFrame", dict[str, Any]]]
"""What adds columns to the history before it is written, and facts to ``history.json``."""


@dataclass(frozen=True)
class HistoryOptions:
    """How years are joined."""

    outcomes: OutcomeOptions = field(default_factory=OutcomeOptions)
    """When two fields are one."""
    detection: DetectionOptions = field(default_factory=DetectionOptions)
    """When a year found too little."""
    fusion: str = "logits"
    """How probabilities are joined, see :func:`selion.change.fusion.pool`."""


@dataclass(frozen=True, eq=False)
class HistoryParts:
    """What a history is made of, while its files of ids are there."""

    joined: JoinedYears
    records: Records
    numbers: tuple[int, ...]
    """The years."""
    ground: JoinedGround
    detection: YearDetection
    folder: Path
    """Where outputs are made; they are moved when all are whole."""


@dataclass(frozen=True, eq=False)
class FieldHistory:
    """What joining years left in its folder."""

    folder: Path
    labels: tuple[str, ...]
    numbers: tuple[int, ...]
    """The years."""
    outcomes: tuple[Path, ...]
    """For each year a COG of :data:`selion.change.fusion.YEARS`."""
    summary: pd.DataFrame
    """Counts by district and year, see :func:`selion.change.history_tables.make_summary`."""
    facts: dict[str, Any]
    """What ``history.json`` holds."""
    notes: tuple[str, ...]
    """Sentences that the user should read."""


def output_names(years: Sequence[Year]) -> list[str]:
    """Return the names of all files that a history writes."""
    maps = [_map_name(year) for year in years]
    return [HISTORY, LONG, LINEAGE, SUMMARY, FUSED, *maps, FACTS, PAGE]


def _map_name(year: Year) -> str:
    return f"outcomes_{year.label}.tif"


@sealed("selion.change.join_years")
def join_years(
    years: Sequence[YearLike],
    out: Path | str,
    options: HistoryOptions | None = None,
    *,
    refine: Refine | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> FieldHistory:
    """Join maps of the same place into one history of its fields.

    Parameters
    ----------
    years : sequence
        The earliest first; see :func:`selion.change.find_years`.
    out : path
        A folder.  It gets ``history.parquet`` (a row a field, columns
        :data:`selion.change.history_tables.MEANING`), ``history.long.parquet`` (a row a field and
        year), ``lineage.csv``, ``summary.csv``, ``fused.scores.tif``, ``outcomes_YEAR.tif`` (COGs)
        and, last of all, ``history.json``.
    options : HistoryOptions, optional
    refine : callable, optional
        Adds columns to the history before it is written (by ``district`` is counted), facts, and
        files to :attr:`HistoryParts.folder`, where ``fused.scores.tif`` is already.
    force : bool
        Whether existing files are replaced.
    on_step, on_note : callable, optional
        Told of progress, and of what the user should know.

    Returns
    -------
    FieldHistory

    Raises
    ------
    BadInput, UnreadableFile
        If it is not clear what to join, or it cannot be read.
    GridMismatch
        If maps have no place in common.
    OutputExists, OutputFailed
        If something may not, or cannot, be written.

    Notes
    -----
    All is done on the grid of the first year's probabilities, block by block: memory is one year's
    table, some numbers per field and year, and a few blocks.  Disk holds 5 bytes per pixel and year
    while it runs.
    """
    options, out = options or HistoryOptions(), Path(out).expanduser()
    found = find_years(years)
    for name in output_names(found):
        store.check_output(out / name, force)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        on_note(text)

    work = out / ".history"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    try:
        (work / "whole").mkdir(parents=True)
        (work / HELD).touch()
    except OSError as error:
        raise OutputFailed(
            f"The folder {out} cannot be made ({error.strerror}): give one that can be written."
        ) from error
    with explained(out), _only_while(work):
        grid, pixel = open_scores(found[0])[0].grid, open_scores(found[0])[2]
        joined = follow_years(found, grid, pixel, options.outcomes, work, on_step, note)
        records = make_records(joined)
        detection = judge_detection(records, options.detection, mean_pixel(grid))
        records = believe(records, detection)
        parts = HistoryParts(
            joined,
            records,
            _numbers(joined, note),
            make_ground(joined, records, detection.here),
            detection,
            work / "whole",
        )
        for text in _said(parts):
            note(text)
        made = _Writer(work / "whole", options, on_step).all(parts, work, refine, notes)
        check_parts(work / HELD, out)
        _publish(work / "whole", out, force=force)
        return replace(made, folder=out, outcomes=tuple(out / one.name for one in made.outcomes))


@contextmanager
def _only_while(work: Path) -> Iterator[None]:
    """Remove a folder in the end, however that comes."""
    try:
        yield
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(whole: Path, out: Path, *, force: bool) -> None:
    """Give all outputs their final names, the list of facts last."""
    made = sorted(whole.iterdir(), key=lambda path: path.name == FACTS)
    for path in made:
        store.check_output(out / path.name, force)
    for path in made:
        path.replace(out / path.name)


def _numbers(joined: JoinedYears, on_note: OnNote) -> tuple[int, ...]:
    """Return the years as numbers: those in their labels, else of their images, else 1, 2, ...

    Raises
    ------
    BadInput
        If what they say of themselves is that a later year comes first.
    """
    labels = [year.mapped.year.label for year in joined.years]
    named = [re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", label) for label in labels]
    dates = [year.mapped.origin.determined for year in joined.years]
    said = []
    for given in (
        [int(found[0]) if len(found) == 1 else None for found in named],
        [None if date is None else date.year for date in dates],
    ):
        years = [year for year in given if year is not None]
        if len(years) == len(labels):
            said.append(years)
            if all(np.diff(years) > 0):
                return tuple(years)
    if said and all(any(np.diff(years) < 0) for years in said):
        raise BadInput(
            f"The maps {', '.join(labels)} were given, of {', '.join(map(str, said[0]))}; wanted "
            "is the earliest first."
        )
    on_note(
        f"Neither names nor times of the images say which years {', '.join(labels)} are, the "
        "earliest first: they are numbered from 1."
    )
    return tuple(range(1, len(labels) + 1))


def _said(parts: HistoryParts) -> list[str]:
    """Say which years found too little."""
    notes, found = [], parts.detection
    for at, number in enumerate(parts.numbers):
        end = at in (0, len(parts.numbers) - 1)
        if found.whole[at]:
            what = (
                f"{found.missed[at]:.0%} of the fields of the year "
                f"{'after' if at == 0 else 'before'} it are missing, more than come or go in a "
                "year"
                if end
                else f"{found.missed[at]:.0%} of the fields that the years before and after it "
                "have are missing"
            )
            notes.append(
                f"{number} is under-detected as a whole: {what}. They are not seen in it, and not "
                "read as gone or new."
            )
        elif found.part[at] > 0:
            notes.append(
                f"{number} is under-detected in places, where {found.part[at]:.0%} of all fields "
                "lie: what is missing there is not seen, and not read as gone or new."
            )
    return notes


@dataclass(frozen=True)
class _Writer:
    out: Path
    options: HistoryOptions
    on_step: OnStep

    def all(
        self, parts: HistoryParts, work: Path, refine: Refine | None, notes: list[str]
    ) -> FieldHistory:
        """Write everything, the list of facts last."""
        joined, records, numbers = parts.joined, parts.records, parts.numbers
        pixels, noise = write_fused(
            parts.ground,
            self.out / FUSED,
            self.options.fusion,
            force=True,
            on_step=self.on_step,
        )
        maps = []
        for at, year in enumerate(joined.years):
            maps.append(self.out / _map_name(year.mapped.year))
            write_outcomes(parts.ground, at, maps[-1], force=True, on_step=self.on_step)
        self.on_step("tables", 0, 1, "")
        tables = make_tables(joined, records, numbers, work)
        write_long(tables.long, self.out / LONG, force=True)
        frame = tables.history
        more: dict[str, Any] = {}
        if refine is not None:
            frame, more = refine(frame, parts)
        self._write_history(frame, parts)
        told = make_lineage(joined, records, parts.detection)
        districts = frame["district"].to_numpy(object) if "district" in frame else None
        summary = make_summary(records, tables.areas, numbers, parts.detection, districts)
        for name, table, digits in ((LINEAGE, told, 6), (SUMMARY, summary, 15)):
            with store.atomic_write(self.out / name, True) as temporary:
                table.to_csv(
                    temporary,
                    index=False,
                    float_format=f"%.{digits}g",
                    lineterminator=os.linesep,
                )
        self.on_step("tables", 1, 1, f"{len(records.ids):,}")
        facts = self._facts(parts, tables, summary, (pixels, noise), notes)
        facts |= more
        store.write_text(self.out / FACTS, json.dumps(facts, indent=1) + "\n", force=True)
        labels = tuple(year.mapped.year.label for year in joined.years)
        return FieldHistory(self.out, labels, numbers, tuple(maps), summary, facts, tuple(notes))

    def _write_history(self, frame: GeoDataFrame, parts: HistoryParts) -> None:
        last = parts.joined.years[-1].mapped
        origin = fields.Origin(
            "history",
            last.origin.determined,
            f"history of {counted(len(parts.numbers), 'year')}, selion {selion.__version__}",
            last.origin.method,
            {
                "selion": selion.__version__,
                "years": {
                    str(number): year.mapped.origin.to_dict()
                    for number, year in zip(parts.numbers, parts.joined.years, strict=True)
                },
            },
        )
        fields.write_fields(frame, self.out / HISTORY, origin, force=True)

    def _facts(
        self,
        parts: HistoryParts,
        tables: HistoryTables,
        summary: pd.DataFrame,
        fused: tuple[np.ndarray, float],
        notes: list[str],
    ) -> dict[str, Any]:
        frame, found = tables.history, parts.detection
        totals = summary.drop(columns=["district", "too_little"]).groupby("year").sum()
        counts = totals.round(2).to_dict("index")
        years = {
            str(number): {
                "label": year.mapped.year.label,
                "fields": str(year.mapped.year.table),
                "scores": str(year.mapped.year.scores),
                "missed": None if np.isnan(found.missed[at]) else round(float(found.missed[at]), 4),
                "under_detected": bool(found.whole[at]),
                "under_detected_share": round(float(found.part[at]), 4),
                "counts": {
                    str(name): round(float(value), 2) if name == "ha" else int(value)
                    for name, value in counts[number].items()
                },
            }
            for at, (number, year) in enumerate(zip(parts.numbers, parts.joined.years, strict=True))
        }
        return {
            "selion": selion.__version__,
            "fields": len(frame),
            "alive": int(frame["alive"].sum()),
            "stability": _rounded(frame["stability"]),
            "doubt": _rounded(frame["doubt"]),
            "fusion": {
                "method": self.options.fusion,
                "noise": round(fused[1], 4),
                "pixels_by_years": {str(n): int(count) for n, count in enumerate(fused[0])},
            },
            "years": years,
            "score": "not calibrated",
            "notes": list(notes),
        }


def _rounded(values: pd.Series) -> float | None:
    mean = float(values.mean())
    return None if np.isnan(mean) else round(mean, 4)
