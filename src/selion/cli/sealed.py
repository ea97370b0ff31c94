"""The manifest of what a command has made, for every verb that writes: nothing is said per verb.

What a command published is known by its witness, what it was asked for by its words, and what it
was made from by whatever of these is there: files, folders and addresses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from selion.cli.options import PlaceType
from selion.cli.private import ADDRESSES
from selion.store.sealing import (
    NO_INPUTS,
    UNDECIDING,
    Request,
    send_seal,
    there,
    without_keys,
    write_seal,
)
from selion.store.witness import Witness

OF_TABLES = frozenset(("merge", "query", "stats", "tiles"))
"""Verbs that read tables of a folder, and nothing that lies beside these."""


def seal(
    out: Path,
    asked: tuple[str, list[str]],
    places: Iterable[Path],
    witness: Witness,
    *,
    complete: bool,
) -> Path | None:
    """Write the manifest of what the command that is running has made.

    Parameters
    ----------
    out : path
        Its output.
    asked : (str, list of str)
        The verb, and the words that it was given.
    places : iterable of path
        What it, and the one that it went on after, published; absolute.
    witness : Witness
        Who knows what it used.
    complete : bool
        Whether all blocks could be done.

    Returns
    -------
    path or None
        None where nothing was written, or a file that is no manifest has its name.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    request = asked_for(asked)
    return None if request is None else write_seal(out, request, places, witness, complete=complete)


def send(
    address: str, asked: tuple[str, list[str]], witness: Witness, *, complete: bool
) -> str | None:
    """Send the manifest of what the command that is running has sent to an object store.

    Parameters
    ----------
    address : str
        Of its output.
    asked, witness, complete
        As for :func:`seal`.
    """
    request = asked_for(asked)
    return None if request is None else send_seal(address, request, witness, complete=complete)


def asked_for(asked: tuple[str, list[str]]) -> Request | None:
    """Return what the command that is running was asked for; None where none is."""
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    said, secret = without_keys(command_words(context, *asked))
    named: dict[str, Path | str] = {}
    for _, text, place in named_inputs(context):
        named |= tables_of(text, place) if asked[0] in OF_TABLES else {text: place}
    return Request(tuple(said), secret=secret, options=dict(_options(context)), named=named)


def tables_of(text: str, place: Path | str) -> dict[str, Path | str]:
    """Return the files that are read of a folder of tables, by name; of anything else the place.

    What lies beside them, such as what a job printed, is not read.

    Parameters
    ----------
    text : str
        As it was given.
    place : path or str
        What it names.
    """
    from selion.country.job_tables import files_of_tables

    found = files_of_tables(place) if isinstance(place, Path) and place.is_dir() else []
    home = text.rstrip("/")
    return {f"{home}/{one.relative_to(place).as_posix()}": one for one in found} or {text: place}


def command_words(context: click.Context, verb: str, words: list[str]) -> list[str]:
    """Return a command in one way to write it, without what decides nothing.

    Parameters
    ----------
    context : click.Context
    verb : str
    words : list of str
        After the verb.
    """
    command = context.command
    given, _, _ = command.make_parser(context).parse_args(list(words))
    options, arguments = list[str](), list[str]()
    for param in command.params:
        name = str(param.name)
        value = given.get(name)
        if name in UNDECIDING or _unset(value):
            continue
        if isinstance(param, click.Argument):
            arguments += _texts(value)
        else:
            options += _option(param, value)
    return [*verb.split(), *options, *(["--"] if arguments else []), *arguments]


def _unset(value: Any) -> bool:
    return value is None or type(value).__name__ == "Sentinel" or value == []


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return [] if _unset(value) else [str(value).strip()]  # a box may hide its minus


def _option(param: click.Parameter, value: Any) -> list[str]:
    name = next((one for one in param.opts if one.startswith("--")), param.opts[0])
    if getattr(param, "is_flag", False):
        if value is False and param.secondary_opts:
            name = max(param.secondary_opts, key=len)
        return [name]
    each = value if param.multiple else [value]
    return [word for one in each for word in (name, *_texts(one))]


def _options(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield all options that decide something, with their values, given or not."""
    for param in context.command.params:
        value = context.params.get(str(param.name))
        if param.name in UNDECIDING or isinstance(param, click.Argument) or value is None:
            continue
        yield str(param.name), " ".join(without_keys(_texts(value))[0])


def named_inputs(context: click.Context) -> Iterator[tuple[str, str, Path | str]]:
    """Yield what the parameters name that is there, and addresses.

    Parameters
    ----------
    context : click.Context

    Yields
    ------
    (str, str, path or str)
        The parameter, the text as it was given, and the place; an address stays a text.
    """
    for param in context.command.params:
        if isinstance(param.type, click.Choice) or (
            param.name in NO_INPUTS and not isinstance(param.type, PlaceType)
        ):
            continue
        for text in _raw(context.params.get(str(param.name))):
            found = [place for one in (text, *_tails(text)) if (place := there(one)) is not None]
            # an address that is only written down is asked for nothing
            if found and (isinstance(found[0], Path) or param.name in ADDRESSES):
                yield str(param.name), text, found[0]


def _raw(value: Any) -> Iterator[str]:
    """Yield the texts in the value of a parameter, secrets and all."""
    if isinstance(value, str | os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _raw(one)


def _tails(text: str) -> list[str]:
    """Return what may be a path in ``2024=FILE`` and ``NAME@FOLDER``."""
    return [text.partition(mark)[2] for mark in "=@" if mark in text]
