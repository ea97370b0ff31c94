"""The manifest of what a command has made, for every verb that writes: nothing is said per verb.

What a command published is known by its witness, what it was asked for by its words, and what it
was made from by whatever of these is there: files, folders and addresses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from selion.cli.options import PlaceType
from selion.cli.private import ADDRESSES
from selion.errors import UnreadableFile
from selion.store.manifest import (
    ENDING,
    InputSum,
    Manifest,
    files_below,
    is_manifest,
    manifest_of,
    place_from,
    sum_address,
    sum_files,
    sum_input,
    write_manifest,
)
from selion.store.urls import remote_scheme, shown, unsigned
from selion.store.versions import deciding_versions
from selion.store.witness import Witness

UNDECIDING = frozenset(
    (
        *("force", "resume", "quiet", "as_json", "runner", "workers", "threads", "profile", "out"),
        *("work", "browser", "dry_run", "keep_archives"),
    )
)
"""Options that decide nothing of what is in the files."""
NO_INPUTS = frozenset(
    (
        *("out", "work", "addresses", "basemap", "provider", "runner"),
        *("acquired", "bands", "boundary", "breaks", "by", "classes", "collection", "columns"),
        *("countries", "crop_codes", "crs", "dates", "device", "district_column", "email"),
        *("excluded", "full", "group", "keep", "layout", "licence", "name", "names", "pattern"),
        *("reference_column", "split", "style", "vote", "water_codes"),
    )
)
"""Parameters that may name places which are not read, or only asked; and words, though something in
the folder may be called like them."""


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
    context = click.get_current_context(silent=True)
    out = out.expanduser().absolute()
    target = manifest_of(out)
    if context is None or not os.path.lexists(out):
        return None
    if os.path.lexists(target) and not is_manifest(target):
        return None  # somebody else's file
    named = {text: place for _, text, place in named_inputs(context)}
    files = _files_of(out, places, set(named.values()))
    if not files:  # somebody else removed it just now
        return None
    said, secret = _shown(command_words(context, *asked))
    manifest = Manifest(
        out.name,
        tuple(said),
        secret=secret,
        where=place_from(Path.cwd(), out.parent),
        complete=complete,
        files=dict(zip(files, sum_files(list(files.values())), strict=True)),
        inputs=tuple(_inputs(named, witness, out, set(files.values()))),
        models=tuple(one for one, place in witness.models if not _is_below(place, out)),
        options=dict(_options(context)),
        versions=deciding_versions(),
    )
    write_manifest(manifest, target)
    return target


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


def _shown(words: list[str]) -> tuple[list[str], bool]:
    """Return words without signatures and passwords, and whether there were any."""
    said = [unsigned(shown(one)) if "://" in one or "/vsi" in one else one for one in words]
    return said, said != words


def _options(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield all options that decide something, with their values, given or not."""
    for param in context.command.params:
        value = context.params.get(str(param.name))
        if param.name in UNDECIDING or isinstance(param, click.Argument) or value is None:
            continue
        yield str(param.name), " ".join(_shown(_texts(value))[0])


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
            found = [there for one in (text, *_tails(text)) if (there := _there(one)) is not None]
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


def _there(text: str) -> Path | str | None:
    if remote_scheme(text):
        return text
    try:
        path = Path(text).expanduser()
        # whoever opens a pipe waits
        return path.absolute() if text and (path.is_file() or path.is_dir()) else None
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        return None


def _files_of(out: Path, places: Iterable[Path], named: set[Path | str]) -> dict[str, Path]:
    """Return the files of a result by their place from its folder."""
    found: set[Path] = set()
    for place in (out, *places):
        beside = place.parent == out.parent and not place.name.startswith(".")
        if place == out or (beside and place.name != f"{out.name}{ENDING}") or place in named:
            found |= set(files_below(place))
    return {place_from(one, out.parent): one for one in sorted(found)}


def _inputs(
    named: Mapping[str, Path | str], witness: Witness, out: Path, made: set[Path]
) -> Iterator[InputSum]:
    seen: set[Path] = set()
    folders = {str(one): one.absolute() for one in witness.folders}
    for text, found in {**folders, **named}.items():
        name = _shown([text])[0][0]
        if isinstance(found, str):
            yield sum_address(found, name)
        elif found not in seen and found not in made and not _is_below(found, out):
            seen.add(found)
            yield _sum_local(found, name, out.parent, (out, *made))


def _sum_local(path: Path, name: str, beside: Path, left_out: Iterable[Path]) -> InputSum:
    """Return what an input is; only where it lies if it cannot be read now that all is done."""
    try:
        return sum_input(path, name, beside, left_out)
    except (OSError, UnreadableFile):
        return InputSum(name, "file", path=place_from(path, beside))


def _is_below(place: Path | None, out: Path) -> bool:
    return place is not None and place.absolute().is_relative_to(out)
