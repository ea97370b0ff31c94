"""How a run tells where it is.

A bar on a terminal, plain lines in a log, JSON lines for other programs.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

PLAIN_LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Reporter(Protocol):
    """What a verb needs to speak."""

    def note(self, text: str) -> None:
        """Say one sentence."""
        ...

    def step(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Tell how far a stage is."""
        ...


@dataclass
class Silent:
    """Says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def step(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Say nothing."""


@dataclass
class JsonLines:
    """One JSON object a line, for programs that watch."""

    def note(self, text: str) -> None:
        """Write a note."""
        self._write({"event": "note", "text": text})

    def step(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Write a step."""
        self._write(
            {"event": "progress", "stage": stage, "done": done, "total": total, "detail": detail}
        )

    @staticmethod
    def _write(event: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


@dataclass
class Plain:
    """A line now and then, for logs."""

    last: dict[str, float] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Write a line."""
        click.echo(text, err=True)

    def step(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Write a line every ten seconds and at the end of a stage."""
        now = time.monotonic()
        if done < total and now - self.last.setdefault(stage, now) < PLAIN_LINE_EVERY:
            return
        self.last[stage] = now
        click.echo(f"{stage}: {done / max(total, 1e-9):.0%} {detail}".rstrip(), err=True)


class Bar:
    """A rich progress bar per stage, and text that is written where it stays.

    Bars are drawn over themselves, so whatever else is written while they are there would be drawn
    over as well.  They are therefore put away before each line: those of finished stages stay above
    it, the others come again below it with the next step.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        self.console = Console(file=stream)
        self.progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn(
                "{task.fields[detail]}",
                table_column=Column(no_wrap=True, overflow="ellipsis"),
                markup=False,
            ),
            console=self.console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.drawn = False
        self._lock = threading.RLock()

    def note(self, text: str) -> None:
        """Write a line."""
        self.put_away()
        self.console.print(text, highlight=False, markup=False)

    def step(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Move the bar of a stage."""
        with self._lock:
            if stage not in self.tasks:
                self.tasks[stage] = self.progress.add_task(stage, total=total, detail=detail)
            self.progress.update(self.tasks[stage], completed=done, total=total, detail=detail)
            if not self.drawn:
                self._draw()

    def put_away(self, *, for_good: bool = False) -> None:
        """Leave the bars of finished stages where they are; ``for_good``: the others as well."""
        with self._lock:
            if not self.drawn:
                return
            self.drawn = False
            left = [task for task in self.progress.tasks if for_good or task.finished]
            for task in self.progress.tasks:
                self.progress.update(task.id, visible=task in left)
            self.progress.live.transient = not left
            self.progress.stop()
            for task in left:
                self.progress.remove_task(task.id)
            there = {task.id for task in self.progress.tasks}
            self.tasks = {stage: id_ for stage, id_ in self.tasks.items() if id_ in there}

    def _draw(self) -> None:
        from rich.live import Live

        for task in self.progress.tasks:
            self.progress.update(task.id, visible=True)
        self.progress.live = Live(
            console=self.console,
            get_renderable=self.progress.get_renderable,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.progress.start()
        self.drawn = True


class Beside:
    """A stream of a terminal, written to once the bars have been put away."""

    def __init__(self, stream: TextIO, bar: Bar) -> None:
        self._stream, self._bar = stream, bar

    def write(self, text: str) -> int:
        """Put the bars away, and write."""
        if text:
            self._bar.put_away()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _bars() -> Iterator[Bar]:
    """Show bars on the terminal; what is written to it meanwhile keeps its place."""
    out, err = sys.stdout, sys.stderr
    bar = Bar(err)
    sys.stderr = Beside(err, bar)
    if out.isatty():
        sys.stdout = Beside(out, bar)
    try:
        yield bar
    finally:
        sys.stdout, sys.stderr = out, err
        bar.put_away(for_good=True)


@contextmanager
def reporter(*, quiet: bool, as_json: bool) -> Iterator[Reporter]:
    """Choose how to speak from the options and from where the output goes."""
    if as_json:
        yield JsonLines()
    elif quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bar:
            yield bar
    else:
        yield Plain()
