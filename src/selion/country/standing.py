"""How a plan stands: which jobs wait, run, failed and are finished, how fast it goes, what it cost.

All of it is read from the plan's folder, which other processes, also of other machines, write to:
``jobs/NAME/job.times`` (:mod:`selion.country.job_times`), ``job.log`` beside it, and the tables
themselves.
"""

from __future__ import annotations

import json
import stat
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from selion.country.job_tables import AREA, plan_jobs
from selion.country.job_times import read_tries
from selion.country.planning import LOG, TIMES
from selion.errors import without_secrets
from selion.pipeline.probabilities import FAILED

STATES = ("finished", "incomplete", "running", "stopped", "failed", "waiting")
"""``incomplete``: its table lacks blocks that could not be done; ``stopped``: it began, and its
process is gone."""
DONE = ("finished", "incomplete")
TAIL, LINES, WIDTH = 8192, 8, 300
"""Bytes of a log that are looked at, lines of it that are shown, and their longest."""
SILENT = 900.0
"""Seconds after which a job of another machine that says nothing is called silent."""


@dataclass(frozen=True, slots=True)
class JobStanding:
    """How one job stands."""

    name: str
    state: str
    """One of :data:`STATES`."""
    km2: float
    planned: float
    """Seconds that the plan expects of it."""
    gigabytes: float
    spans: tuple[tuple[float, float], ...] = ()
    """When it began and ended, seconds of Unix time; of each try."""
    code: int | None = None
    """Exit code of the last try; None: it has not ended, or nobody wrote it down."""
    host: str = ""
    """The machine of the last try."""
    silent: float = 0.0
    """Of a running job, seconds since it last wrote to its log."""
    last: tuple[str, ...] = ()
    """Last lines of its log, where it is not finished."""

    @property
    def seconds(self) -> float:
        """Seconds that all of its tries took."""
        return sum(end - begin for begin, end in self.spans)


@dataclass(frozen=True)
class PlanStanding:
    """How a plan stands at a moment."""

    folder: Path
    title: str
    now: float
    """Seconds of Unix time."""
    jobs: tuple[JobStanding, ...]
    hourly: float
    """Dollars for an hour of a job."""
    per_gigabyte: float
    planned_dollars: float | None

    @cached_property
    def counts(self) -> dict[str, int]:
        """State -> jobs, all states."""
        found = Counter(job.state for job in self.jobs)
        return {state: found[state] for state in STATES}

    @cached_property
    def busy(self) -> float:
        """Seconds in which any job ran."""
        total, until = 0.0, -np.inf
        for begin, end in sorted(span for job in self.jobs for span in job.spans):
            total += max(end - max(begin, until), 0.0)
            until = max(until, end)
        return total

    @property
    def at_once(self) -> float:
        """Jobs that run at once: now, or on average while any ran."""
        running = self.counts["running"]
        return float(running) or (self.spent / self.busy if self.busy else 0.0)

    @property
    def spent(self) -> float:
        """Seconds of all jobs together."""
        return sum(job.seconds for job in self.jobs)

    @property
    def km2_per_hour(self) -> float | None:
        """Ground that was finished for each hour in which any job ran; None before the first."""
        km2 = sum(job.km2 for job in self.jobs if job.state in DONE and job.spans)
        return km2 / self.busy * 3600 if km2 and self.busy else None

    @property
    def pace(self) -> float:
        """Seconds that finished jobs took for each second that was planned; 1 before the first."""
        timed = [job for job in self.jobs if job.state in DONE and job.spans and job.planned > 0]
        took = sum(job.spans[-1][1] - job.spans[-1][0] for job in timed)
        return took / sum(job.planned for job in timed) if took > 0 else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is done, if as many jobs go on running at once; None: none runs."""
        if not self.counts["running"]:
            return None
        left = 0.0
        for job in self.jobs:
            if job.state in DONE:
                continue
            ran = job.spans[-1][1] - job.spans[-1][0] if job.state == "running" else 0.0
            left += max(job.planned * self.pace - ran, 0.0)
        return left / self.at_once

    @property
    def dollars(self) -> float:
        """What was spent, by the plan's prices: each job's time on one worker, and what it read."""
        read = sum(job.gigabytes * len(job.spans) for job in self.jobs)
        return self.spent / 3600 * self.hourly + read * self.per_gigabyte

    def facts(self) -> dict[str, Any]:
        """Return what programs are told, plain values."""
        done = sum(job.km2 for job in self.jobs if job.state in DONE)
        total = sum(job.km2 for job in self.jobs)
        untimed = [job for job in self.jobs if job.state in DONE and not job.spans]
        return {
            "plan": self.folder.name,
            "title": self.title,
            "now": round(self.now, 1),
            "jobs": len(self.jobs),
            **self.counts,
            "km2_done": round(done, 3),
            "km2": round(total, 3),
            "share": round(done / total, 4) if total else 0.0,
            "at_once": round(self.at_once, 2),
            "km2_per_hour": _rounded(self.km2_per_hour),
            "pace": round(self.pace, 3),
            "seconds_left": _rounded(self.seconds_left),
            "job_hours": round(self.spent / 3600, 3),
            "dollars": round(self.dollars, 4),
            "dollars_planned": self.planned_dollars,
            "finished_without_times": len(untimed),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def plan_standing(folder: Path | str, now: float | None = None) -> PlanStanding:
    """Look how a plan stands; nothing is written, and whoever works on it is not disturbed.

    Parameters
    ----------
    folder : path
        Of ``selion plan``, on a disk.
    now : float, optional
        Seconds of Unix time; None: the clock's.

    Raises
    ------
    UnreadableFile
        If the folder holds no plan.
    """
    folder = Path(folder)
    listed = plan_jobs(folder)
    try:
        said = json.loads((folder / "plan.json").read_text("utf-8"))
        said = said if isinstance(said, dict) else {}
    except (OSError, ValueError, RecursionError):
        said = {}
    now = time.time() if now is None else now
    jobs = tuple(_job(folder / "jobs" / str(one["name"]), one, now) for one in listed)
    planned = _number(said.get("costs"), "dollars")
    prices = said.get("prices")
    cpu, archive = (
        prices.get(name) if isinstance(prices, dict) else None for name in ("cpu", "archive")
    )
    hours = sum(job.planned for job in jobs) / 3600
    hourly = _number(cpu, "dollars_per_hour")
    if hourly is None:  # a plan of before: its total, by hour
        hourly = (planned or 0.0) / hours if hours else 0.0
    title = f"{said.get('area', folder.name)}, {said.get('year', '')}".rstrip(", ")
    return PlanStanding(
        folder,
        title,
        now,
        jobs,
        hourly,
        _number(archive, "dollars_per_gigabyte") or 0.0,
        planned,
    )


def _number(table: Any, name: str) -> float | None:
    value = table.get(name) if isinstance(table, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # of four hundred digits
        return None
    return number if np.isfinite(number) else None


def _job(place: Path, listed: dict[str, Any], now: float) -> JobStanding:
    """Look how a job stands."""
    planned = _number(listed, "seconds") or 0.0
    tries = read_tries(_text(place / TIMES, 1 << 16)[0].splitlines(), now, planned)
    spans = [(one.begin, max(now, one.begin) if one.end is None else one.end) for one in tries]
    table = place / "fields.parquet"
    lacking = table.with_name(table.name + FAILED).is_file()
    last, written = _tail(place / LOG)
    open_end = bool(tries) and tries[-1].end is None
    silent = now - max(written, spans[-1][0]) if open_end else 0.0
    if table.is_file() and not (open_end and lacking):
        state = "incomplete" if lacking else "finished"
    elif not spans:
        state = "waiting"
    elif open_end:
        state = "running" if tries[-1].lives() else "stopped"
    else:
        state = "failed"
    if open_end and state != "running":  # it ended when it last said something
        spans[-1] = (spans[-1][0], max(min(written, now), spans[-1][0]))
    return JobStanding(
        str(listed["name"]),
        state,
        _number(listed, "km2") or 0.0,
        planned,
        _number(listed, "gigabytes") or 0.0,
        tuple(spans),
        tries[-1].code if tries else None,
        tries[-1].host if tries else "",
        silent if state == "running" else 0.0,
        () if state == "finished" else last,
    )


def _tail(path: Path) -> tuple[tuple[str, ...], float]:
    """Return the last lines of a log, and when it was last written; nothing if there is none."""
    text, written = _text(path, TAIL)
    lines = [
        "".join(mark if mark.isprintable() else " " for mark in line).strip()[:WIDTH]
        for line in text.replace("\r", "\n").splitlines()
    ]
    return tuple(without_secrets(line) for line in lines if line)[-LINES:], written


def _text(path: Path, most: int) -> tuple[str, float]:
    """Return the end of a plain file and its time; empty and 0 for all that is none."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            return "", 0.0
        with path.open("rb") as file:
            file.seek(max(about.st_size - most, 0))
            return file.read(most).decode("utf-8", "replace"), about.st_mtime
    except OSError:
        return "", 0.0


def plan_squares(folder: Path, names: Iterable[str]) -> dict[str, list[list[list[float]]]]:
    """Return the outlines of what jobs answer for, for drawing.

    Returns
    -------
    dict
        Name -> rings of (longitude, latitude); jobs whose place cannot be read are left out.
    """
    import shapely
    from shapely.geometry import shape

    found: dict[str, list[list[list[float]]]] = {}
    for name in names:
        try:
            text = (folder / "jobs" / name / AREA).read_text("utf-8")
            core = shape(json.loads(text)["properties"]["core"]).simplify(1e-4)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        except shapely.errors.ShapelyError:
            continue
        parts = shapely.get_parts(core)
        rings = shapely.get_exterior_ring(parts[shapely.get_type_id(parts) == 3])
        found[name] = [np.round(shapely.get_coordinates(ring), 5).tolist() for ring in rings]
    return found


def shown_standing(standing: PlanStanding) -> str:
    """Return how a plan stands as lines for a terminal."""
    facts, counts = standing.facts(), standing.counts
    words = [f"{count:,} {state}" for state, count in counts.items() if count]
    filled = round(30 * facts["share"])
    lines = [
        f"{standing.title}: {len(standing.jobs):,} jobs, {', '.join(words)}",
        f"[{'#' * filled}{'.' * (30 - filled)}] {facts['share']:.1%} of {facts['km2']:,.1f} km2",
    ]
    rate = facts["km2_per_hour"]
    if rate is not None:
        lines.append(f"throughput   {rate:,.1f} km2 an hour, {facts['at_once']:g} at once")
    left = standing.seconds_left
    lines.append(f"time left    {'no job runs now' if left is None else clock(left)}")
    planned = standing.planned_dollars
    lines.append(
        f"cost so far  {_money(standing.dollars)} dollars"
        + ("" if planned is None else f" of {_money(planned)} planned")
        + ", by the plan's prices"
    )
    for state in ("running", "stopped", "failed", "incomplete"):
        lines += _told([job for job in standing.jobs if job.state == state], state)
    return "\n".join(lines)


def _money(dollars: float) -> str:
    return f"{dollars:,.4f}" if 0 < dollars < 1 else f"{dollars:,.2f}"


def _told(jobs: Sequence[JobStanding], state: str, most: int = 10) -> list[str]:
    lines = [f"{state}:"] if jobs else []
    for job in jobs[:most]:
        facts = [clock(job.spans[-1][1] - job.spans[-1][0])] if job.spans else []
        facts += [f"exit code {job.code}"] if job.code else []
        facts += [f"try {len(job.spans)}"] if len(job.spans) > 1 else []
        facts += [f"silent for {clock(job.silent)}"] if job.silent > SILENT else []
        lines.append(f"  {job.name}  {', '.join([*facts, job.host])}".rstrip(", "))
        shown = job.last[-1:] if state == "running" else job.last[-3:]
        lines += [f"      {line}" for line in shown]
    return lines + ([f"  and {len(jobs) - most:,} more"] if len(jobs) > most else [])


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds.

    Examples
    --------
    >>> clock(3725.4)
    '1:02:05'
    """
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
