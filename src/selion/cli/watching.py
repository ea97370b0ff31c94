"""What a command reads stays as it is while it reads it, wherever its output goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from selion.errors import (
    BadInput,
    Incomplete,
    InputChanged,
    OutputExists,
    OutputFailed,
    UnreadableFile,
)
from selion.store.inputs import WatchedInputs
from selion.store.witness import Identity, Witness, witnessed

T = TypeVar("T")
MODELS = frozenset(("model", "like", "refiner"))
"""Parameters that name a model, or its folder."""
WRITTEN = frozenset(
    (
        ("map", "scores"),
        ("plan", "scores"),
        ("map", "consistency"),
        ("plan", "consistency"),
        ("plan", "probe_file"),  # of the plan itself; it is written into the new one
        ("composite", "tiles"),
        ("evaluate", "calibration"),
        ("crops photos", "print_marker"),
    )
)
"""Parameters of verbs that name what is written, though something may be there before."""


@dataclass
class SentCommand:
    """A command whose output goes to an object store."""

    asked: str = ""
    """What tells it from others."""
    held: contextlib.ExitStack | None = None
    """What is held until its manifest is sent."""

    @contextlib.contextmanager
    def until_then(self, lease: contextlib.AbstractContextManager[T]) -> Iterator[T]:
        """Hold a lease for longer than the block: until the manifest is sent."""
        if self.held is None:
            with lease as taken:
                yield taken
        else:
            yield self.held.enter_context(lease)


_sent: ContextVar[SentCommand] = ContextVar("sent")


def sent_now() -> SentCommand:
    """Return the command that runs within :func:`sending`."""
    return _sent.get(SentCommand())


def sending(
    act: Callable[..., Any], asked: tuple[str, list[str]], values: dict[str, Any], key: str
) -> Any:
    """Run a command whose output goes to an object store, and send its manifest after it.

    Parameters
    ----------
    act : callable
        What it does.
    asked : (str, list of str)
        The verb, and the words that it was given.
    values : dict
        Of its parameters.
    key : str
        What tells it from others.
    """
    from selion.cli.sealed import send

    context = click.get_current_context(silent=True)
    named = [] if context is None else [place for _, _, place in _named(context)]
    if values.get("force") and values["out"] in named:
        raise BadInput(
            f"{values['out']} is read, and would be replaced by what is written, so that it would "
            "be lost: write to another name."
        )
    places = read_places(asked[0])
    witness = Witness(_nowhere, inputs=watched_inputs(values, places), reads=set(places))
    with contextlib.ExitStack() as held:
        before = _sent.set(SentCommand(key, held))
        try:
            with witnessed(witness), unchanged(witness):
                try:
                    done = act(**values)
                except Incomplete:
                    send(str(values["out"]), asked, witness, complete=False)
                    held.close()
                    raise
        finally:
            _sent.reset(before)
        if values["out"] is not None:
            send(str(values["out"]), asked, witness, complete=True)
    return done


def _nowhere(_found: set[Identity], _place: Path) -> None:
    """Be told of what is published by a command that has no note."""


def read_places(name: str) -> list[Path]:
    """Return the files and folders that the command that is running was given to read.

    Parameters
    ----------
    name : str
        The verb.
    """
    from selion.cli.sealed import OF_TABLES

    context = click.get_current_context(silent=True)
    found = list[Path]()
    for param, text, place in [] if context is None else _named(context):
        if isinstance(place, Path) and (name, param) not in WRITTEN:
            tables = _tables(name, text, place) if name in OF_TABLES and place.is_dir() else []
            found += tables or _pointed(place)
    return found


def _tables(name: str, text: str, place: Path) -> list[Path]:
    """Return the tables of a folder; to a merge a plan stands for its jobs, and no map in it."""
    from selion.cli.sealed import tables_of
    from selion.country.job_tables import JOBS

    tables = [Path(table) for table in tables_of(text, place).values()]
    if name == "merge" and (place / JOBS).is_file():
        return [table for table in tables if "=" not in table.parent.name]
    return tables


def _named(context: click.Context) -> Iterator[tuple[str, str, Path | str]]:
    """Yield what the parameters name; a folder that is only called like a model is none."""
    from selion.cli.sealed import named_inputs

    for param, text, place in named_inputs(context):
        if param not in MODELS or not isinstance(place, Path) or _is_model(text, place):
            yield param, text, place


def _is_model(text: str, place: Path) -> bool:
    from selion.models.registry import aliases, list_models

    if text in aliases() or any(text == card.name for card in list_models()):
        return False  # names come first, as where it is found
    return place.is_file() or (place / "card.toml").is_file()


def watched_inputs(values: Mapping[str, Any], places: Iterable[Path]) -> WatchedInputs:
    """Look at the files and folders that a command was given, before it reads any.

    Parameters
    ----------
    values : mapping
        Of its parameters.
    places : iterable of path
        What it reads.
    """
    written = [values.get("out"), values.get("work")]
    writes = [one.expanduser().absolute() for one in written if isinstance(one, Path)]
    watched = WatchedInputs(tuple(writes))
    for place in places:
        watched.add(place)
    return watched


def _pointed(place: Path) -> list[Path]:
    """Return a file, and the files here that it points to."""
    from selion.store.identity import LISTS, sources

    if place.suffix.lower() not in LISTS:
        return [place]
    try:
        return [Path(name) for name in sources(place) if "://" not in name]
    except UnreadableFile:  # which is said by who reads it
        return [place]


@contextlib.contextmanager
def unchanged(witness: Witness) -> Iterator[None]:
    """Say in a sentence that an input became another one, whatever came of that.

    Raises
    ------
    InputChanged
        Instead of the error of a reader, or of an answer of two inputs.
    """
    try:
        yield
    except (OutputExists, OutputFailed, InputChanged):
        raise
    except Exception:
        witness.check_inputs()
        raise
    witness.check_inputs()
