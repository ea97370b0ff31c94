"""How a run tells where it is.

A bar on a terminal, plain lines in a log, JSON lines for other programs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import click

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
    """A rich progress bar per stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(
            *columns, TextColumn("{task.fields[detail]}"), console=Console(stderr=True)
        )
        self.tasks: dict[str, int] = {}

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        self.progress.console.print(text, highlight=False, markup=False)

    def step(self, stage: str, done: float, total: float, detail: str = "") -> None:
        """Move the bar of a stage."""
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=total, detail=detail)
        self.progress.update(self.tasks[stage], completed=done, total=total, detail=detail)  # type: ignore[arg-type]


@contextmanager
def reporter(*, quiet: bool, as_json: bool) -> Iterator[Reporter]:
    """Choose how to speak from the options and from where the output goes."""
    if as_json:
        yield JsonLines()
    elif quiet:
        yield Silent()
    elif sys.stderr.isatty():
        bar = Bar()
        with bar.progress:
            yield bar
    else:
        yield Plain()
