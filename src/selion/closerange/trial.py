"""Photographs of a trial become plots and dates: means with their spread, and growth curves."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selion.closerange.codes import CodedPhoto, named_plot, read_codes
from selion.closerange.growth import Growth, fit_growth
from selion.closerange.indices import NAMES
from selion.closerange.journal import RUN
from selion.closerange.naming import Pattern, find_date, read_pattern, to_date
from selion.closerange.run import SOURCE
from selion.closerange.tables import PHOTOS
from selion.data.plots import find_plots, plot_names
from selion.errors import BadInput, UnreadableFile
from selion.progress import OnNote, OnStep, silent, unsaid

TRAITS = ("cover", "cover_expected", "components", "vegetation_cm2", *NAMES)
"""Columns of ``crops.csv`` that are averaged, and the covers and counts of classes."""
TOLD = ("plot", "date")
"""What a table of photographs says of each."""
SHOWN = 3


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """How photographs find their plots; what comes first decides."""

    table: Path | None = None
    """CSV with columns ``file``, ``plot`` and, where they are known better, ``date``."""
    pattern: str | None = None
    """Pattern of names; see :mod:`selion.closerange.naming`."""
    plots: Path | None = None
    """Polygons, for photographs that know where they were taken."""
    names: str | None = None
    """Column of the polygons' names."""
    at: float = 0.5
    """Cover whose date is asked for."""
    untrusted: bool = False
    """Whether photographs count of which ``trust`` is no."""
    codes: str | None = None
    """Pattern of what printed codes in the photographs say, ``{plot}`` for all of it."""

    def __post_init__(self) -> None:
        if not 0 < self.at < 1:
            raise BadInput(f"The date of a cover of {self.at:g} was asked for; wanted is 0 to 1.")
        if {self.table, self.pattern, self.plots, self.codes} == {None}:
            raise BadInput(
                "Nothing says which photograph shows which plot: give a pattern of the names, for "
                "example --pattern 'FPWW022{plot}_RGB1_{date}_*', polygons for photographs with "
                "GPS (--plots), printed codes that they show (--codes), or a CSV of file and "
                "plot (--photo-table)."
            )


@dataclass(frozen=True, slots=True)
class TrialPhoto:
    """A photograph with its place in the trial."""

    row: Mapping[str, str]
    """Of ``crops.csv``."""
    plot: str
    day: date | None
    source: str
    """What told the plot: table, code, name, GPS; empty: nothing."""
    code: str = ""
    """Why no code told it, where codes were asked for."""
    differs: str = ""
    """What else tells another plot: ``name says 0032``."""

    @property
    def why(self) -> str:
        """Why it does not count, if it does not."""
        if not self.plot:
            return self.code or "nothing says which plot"
        return "" if self.day is not None else "nothing says which date"


@dataclass(frozen=True, slots=True)
class PlotGrowth:
    """A plot with its curve."""

    plot: str
    days: tuple[date, ...]
    cover: tuple[float, ...]
    """Mean of each date."""
    spread: tuple[float, ...]
    """Standard deviation between the photographs of each date; 0 for one."""
    growth: Growth
    reached: date | None
    """When the curve reaches the cover that was asked for, if that is between the first date and
    the last."""
    fastest: date | None
    """When it grew fastest, if that is between them too."""
    note: str


@dataclass(frozen=True)
class Trial:
    """What became of a run."""

    run: Path
    photos: list[TrialPhoto]
    means: list[dict[str, Any]]
    """One row per plot and date, with ``n``, ``left_out``, and mean and spread of each trait."""
    long: list[dict[str, Any]]
    """The same, one row per plot, date and trait."""
    curves: list[PlotGrowth]
    options: TrialOptions
    source: Path | None = None
    """Folder of the photographs, where the run says it and it is still there."""
    coded: Mapping[str, CodedPhoto] = field(default_factory=dict)
    """What printed codes say, by file, where they were asked for."""

    @property
    def unseen(self) -> list[str]:
        """Plots without a curve, as none of their photographs is to be trusted."""
        drawn = {one.plot for one in self.curves}
        return sorted({row["plot"] for row in self.means} - drawn)


def read_trial(
    run: Path, options: TrialOptions, *, on_step: OnStep = silent, on_note: OnNote = unsaid
) -> Trial:
    """Bring the photographs of a run together by plot and date.

    Parameters
    ----------
    run : path
        Folder that :func:`selion.closerange.measure_folder` wrote.
    options : TrialOptions
    on_step, on_note : callable, optional

    Returns
    -------
    Trial

    Raises
    ------
    UnreadableFile, BadInput
        If the run cannot be read, or no photograph finds a plot and a date; BadInput also if codes
        are asked for and the photographs are not where they were measured.
    MissingExtra
        If codes are asked for, and what reads them is not installed.
    """
    rows = _read_csv(run / PHOTOS, "file", f"{run} is no folder that 'selion crops' wrote")
    source = _source(run)
    coded = _coded(rows, options, source, run, on_step)
    photos = _placed(rows, options, coded)
    lost = [photo for photo in photos if photo.why]
    if len(lost) == len(photos):
        raise BadInput(
            f"None of {len(photos)} photographs finds its plot and date (the first, "
            f"{photos[0].row['file']}: {photos[0].why}): change the pattern, or give a "
            "--photo-table."
        )
    if lost:
        first = ", ".join(photo.row["file"] for photo in lost[:SHOWN])
        on_note(f"{len(lost)} of {len(photos)} photographs are in no plot or date: {first} ...")
    torn = [photo for photo in photos if photo.differs]
    if torn:
        one = torn[0]
        on_note(
            f"{len(torn)} of {len(photos)} photographs are told two plots (the first, "
            f"{one.row['file']}: {one.source} says {one.plot}, {one.differs}): what comes "
            "first counts, and photographs.csv has the other."
        )
    means, long = _means(photos, options)
    curves = _curves(means, photos, options.at)
    return Trial(run, photos, means, long, curves, options, source, coded)


def _coded(
    rows: Sequence[Mapping[str, str]],
    options: TrialOptions,
    source: Path | None,
    run: Path,
    on_step: OnStep,
) -> dict[str, CodedPhoto]:
    """Read the codes of the photographs where that was asked for."""
    if options.codes is None:
        return {}
    pattern = read_pattern(options.codes)
    more = [name for name in pattern.rule.groupindex if name != "plot"]
    if more:
        raise BadInput(
            f"--codes {options.codes!r} asks codes for a {more[0]}, which is when a label was "
            "printed and not when the photograph was taken: put * in its place; dates come from "
            "--photo-table, --pattern and the camera."
        )
    if source is None:
        raise BadInput(
            f"The photographs of {run} are not where they were measured, so that their codes "
            "cannot be read: put them back, or leave --codes out."
        )
    known = frozenset() if options.plots is None else plot_names(options.plots, options.names)
    plot_of = partial(named_plot, pattern, known)
    return read_codes(source, [row["file"] for row in rows], plot_of, on_step)


def _source(run: Path) -> Path | None:
    try:
        told = Path(json.loads((run / RUN).read_text("utf-8"))[SOURCE])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return told if told.is_dir() else None


def _read_csv(path: Path, column: str, otherwise: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(f"{otherwise} ({path.name}: {error}).") from error
    if not rows or column not in rows[0]:
        raise UnreadableFile(f"{otherwise}: {path} has no rows with a column {column}.")
    if any(None in row for row in rows):  # what csv calls the columns beyond the last one
        raise UnreadableFile(f"{otherwise}: a row of {path} has more columns than the first line.")
    return rows


def _placed(
    rows: Sequence[dict[str, str]], options: TrialOptions, coded: Mapping[str, CodedPhoto]
) -> list[TrialPhoto]:
    pattern = None if options.pattern is None else read_pattern(options.pattern)
    given = _given(options.table, rows)
    places = [(_number(row.get("longitude")), _number(row.get("latitude"))) for row in rows]
    near: list[str] = [""] * len(rows)
    if options.plots is not None:
        near = find_plots(options.plots, places, options.names)
    return [
        _place(row, given.get(row["file"], {}), pattern, gps, coded.get(row["file"]))
        for row, gps in zip(rows, near, strict=True)
    ]


def _given(table: Path | None, rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, str]]:
    if table is None:
        return {}
    listed = _read_csv(table, "file", f"{table} is no table of file and plot")
    if "plot" not in listed[0]:
        raise BadInput(f"{table} has no column plot; wanted are file, plot and, if need be, date.")
    files = {row["file"] for row in rows}
    if not any(row["file"] in files for row in listed):
        raise BadInput(
            f"No file of {table} (the first: {listed[0]['file']}) is among the photographs (the "
            f"first: {rows[0]['file']}): files are named as in {PHOTOS}."
        )
    return _agreeing(table, listed)


def _agreeing(table: Path, listed: Sequence[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return the rows of a table by file; what it says must be readable, and said once.

    Nothing else may stand in for a date that somebody gave: the camera's would be taken for it.
    """
    found: dict[str, dict[str, str]] = {}
    for row in listed:
        file, said = row["file"], row.get("date", "").strip()
        if said and to_date(said) is None:
            raise BadInput(
                f"{table} has the date {said!r} of {file}; wanted is year, month, day, for example "
                "2018-01-16 or 20180116."
            )
        before = found.setdefault(file, row)
        if any(before.get(name, "").strip() != row.get(name, "").strip() for name in TOLD):
            raise BadInput(
                f"{table} has {file} twice, with another plot or date: keep one of the rows."
            )
    return found


def _place(
    row: Mapping[str, str],
    given: Mapping[str, str],
    pattern: Pattern | None,
    gps: str,
    coded: CodedPhoto | None,
) -> TrialPhoto:
    named = pattern.read(row["file"]) if pattern is not None else {}
    told, why = ("", "") if coded is None else (coded.plot, coded.why)
    plots = (
        ("table", given.get("plot")), ("code", told), ("name", named.get("plot")), ("GPS", gps),
    )  # fmt: skip
    source, plot = next(((kind, plot) for kind, plot in plots if plot), ("", ""))
    dates = (given.get("date", "").strip(), named.get("date"), row.get("time"))
    known = (to_date(text) for text in dates if text)
    day = next((one for one in known if one is not None), None) or find_date(row["file"])
    others = [f"{kind} says {other}" for kind, other in plots if other and other != plot]
    return TrialPhoto(row, plot or "", day, source, why, ", ".join(others))


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


def _means(
    photos: Iterable[TrialPhoto], options: TrialOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    groups: dict[tuple[str, date], list[TrialPhoto]] = defaultdict(list)
    for photo in photos:
        if photo.day is not None and photo.plot:
            groups[photo.plot, photo.day].append(photo)
    means, long = [], []
    for (plot, day), found in sorted(groups.items()):
        used = [one for one in found if options.untrusted or one.row.get("trust") == "yes"]
        head = {"plot": plot, "date": day.isoformat()}
        mean: dict[str, Any] = head | {"n": len(used), "left_out": len(found) - len(used)}
        for trait in _traits(found[0].row):
            values = [value for one in used if math.isfinite(value := _number(one.row.get(trait)))]
            if not values:
                continue
            spread = statistics.stdev(values) if len(values) > 1 else None
            mean |= {trait: statistics.fmean(values), f"{trait}_sd": spread}
            ends = {"min": min(values), "max": max(values)}
            told = {"trait": trait, "n": len(values), "mean": mean[trait], "sd": spread}
            long.append(head | told | ends)
        means.append(mean)
    return means, long


def _traits(row: Mapping[str, str]) -> list[str]:
    classes = [
        name
        for name in row
        if name.startswith(("cover_", "components_")) and name not in {"cover_low", "cover_high"}
    ]
    return list(dict.fromkeys([*TRAITS, *classes]))


def _curves(
    means: Iterable[dict[str, Any]], photos: Sequence[TrialPhoto], at: float
) -> list[PlotGrowth]:
    plots: dict[str, list[dict[str, Any]]] = defaultdict(list)
    lost: dict[str, list[str]] = defaultdict(list)
    for mean in means:
        if "cover" in mean:
            plots[mean["plot"]].append(mean)
        else:
            lost[mean["plot"]].append(mean["date"])
    return [
        _curve(plot, rows, at, _later(plot, rows[-1]["date"], lost[plot], photos))
        for plot, rows in plots.items()
    ]


def _later(plot: str, last: str, lost: Sequence[str], photos: Sequence[TrialPhoto]) -> str:
    """Say how many dates after the last one that counts were left out as a whole."""
    later = [day for day in lost if day > last]
    found = [
        _number(photo.row.get("cover"))
        for photo in photos
        if photo.plot == plot and photo.day is not None and photo.day.isoformat() in later
    ]
    if not found:
        return ""
    low, high = f"{min(found):.0%}", f"{max(found):.0%}"
    cover = low if low == high else f"{low} to {high}"
    dates, whose = f"{len(later)} later dates were", "their"
    if len(later) == 1:
        dates, whose = "1 later date was", "its"
    return (
        f"{dates} left out, as none of {whose} photographs is to be trusted (cover {cover}): "
        "--untrusted counts them"
    )


def _curve(plot: str, rows: Sequence[Mapping[str, Any]], at: float, later: str) -> PlotGrowth:
    days = tuple(date.fromisoformat(row["date"]) for row in rows)
    cover = tuple(float(row["cover"]) for row in rows)
    since = np.array([(day - days[0]).days for day in days], np.float64)
    growth = fit_growth(since, np.array(cover), np.array([row["n"] for row in rows], np.float64))
    when = growth.day_of(at)
    reached, fastest = (_between(days, day) for day in (when, growth.middle))
    beyond = f"a cover of {at:.0%} lies outside the dates photographed: no date is told"
    notes = (growth.why, beyond if math.isfinite(when) and reached is None else "", later)
    spread = tuple(float(row.get("cover_sd") or 0) for row in rows)
    note = "; ".join(filter(None, notes))
    return PlotGrowth(plot, days, cover, spread, growth, reached, fastest, note)


def _between(days: Sequence[date], since: float) -> date | None:
    """Return the date so many days after the first; None outside first and last."""
    span = (days[-1] - days[0]).days
    inside = math.isfinite(since) and 0 <= round(since) <= span
    return days[0] + timedelta(days=round(since)) if inside else None
