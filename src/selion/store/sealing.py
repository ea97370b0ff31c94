"""The manifest of what a run has made, whether a command or a call of the library asked for it.

What a run published is known by its witness, what it was asked for by whoever asks, and what it
was made from by whatever of these is there: files, folders and addresses.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selion.errors import UnreadableFile
from selion.store.beside import outlived
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
from selion.store.object_store import ObjectFolder
from selion.store.scene_sums import sum_scenes
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
        *("excluded", "full", "group", "keep", "layout", "licence", "mosaic", "name", "names"),
        "pattern",
        *("reference_column", "split", "style", "vote", "water_codes"),
    )
)
"""Parameters that may name places which are not read, or only asked; and words, though something in
the folder may be called like them."""


@dataclass(frozen=True)
class Request:
    """What a run was asked for."""

    command: tuple[str, ...] = ()
    """Words after ``selion``, without secrets."""
    call: str = ""
    """The call of the library instead, without secrets."""
    secret: bool = False
    """Whether there were any."""
    options: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, Path | str] = field(default_factory=dict)
    """What it names that is there, as it was given: a place here, or an address."""
    values: tuple[InputSum, ...] = ()
    """What it was given that has no name."""


def write_seal(
    out: Path, request: Request, places: Iterable[Path], witness: Witness, *, complete: bool
) -> Path | None:
    """Write the manifest of what a run has made.

    Parameters
    ----------
    out : path
        Its output.
    request : Request
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
    out = out.expanduser().absolute()
    target = manifest_of(out)
    if not os.path.lexists(out) or (os.path.lexists(target) and not is_manifest(target)):
        return None  # somebody else's file
    files = files_of(out, places, set(request.named.values()))
    if not files:  # somebody else removed it just now
        return None
    for picture in outlived(target, files):  # of what had the name before
        picture.unlink(missing_ok=True)
    write_manifest(
        Manifest(
            out.name,
            request.command,
            call=request.call,
            secret=request.secret,
            where=_here(out.parent),
            complete=complete,
            files=dict(zip(files, sum_files(list(files.values())), strict=True)),
            inputs=tuple(_inputs(request, witness, out.parent, (out, *files.values()))),
            models=tuple(
                one
                for one, place in witness.models
                # neither its own, nor one that it made, tried and moved or removed
                if not _is_below(place, out) and (place is None or place.exists())
            ),
            options=request.options,
            versions=deciding_versions(),
        ),
        target,
    )
    return target


def send_seal(address: str, request: Request, witness: Witness, *, complete: bool) -> str | None:
    """Send the manifest of what a run has sent to an object store.

    Parameters
    ----------
    address : str
        Of its output.
    request, witness, complete
        As for :func:`write_seal`.

    Returns
    -------
    str or None
        Address of the manifest; None where the output was not sent.

    Raises
    ------
    OutputFailed
        If the store does not take it.
    """
    folder, _, name = address.rpartition("/")
    files = {
        place.removeprefix(f"{folder}/"): found
        for place, found in sorted(witness.sent.items())
        if place.startswith(f"{folder}/") and "/." not in place.removeprefix(folder)
    }
    if address not in witness.sent:
        return None
    manifest = Manifest(
        name,
        request.command,
        call=request.call,
        secret=request.secret,
        where=_here(None),
        complete=complete,
        files=files,
        inputs=tuple(_inputs(request, witness, None, ())),
        models=tuple(one for one, _ in witness.models),
        options=request.options,
        versions=deciding_versions(),
    )
    target = manifest_of(Path(name)).name
    ObjectFolder(folder).put(target, manifest.to_bytes(), replace=True)
    return f"{folder}/{target}"


def there(text: str) -> Path | str | None:
    """Return what a text names: a file or folder that is there, or an address; None for a word."""
    if remote_scheme(text):
        return text
    try:
        path = Path(text).expanduser()
        # whoever opens a pipe waits
        return path.absolute() if text and (path.is_file() or path.is_dir()) else None
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        return None


def without_keys(words: Iterable[str]) -> tuple[list[str], bool]:
    """Return words without signatures and passwords, and whether there were any."""
    words = list(words)
    said = [unsigned(shown(one)) if "://" in one or "/vsi" in one else one for one in words]
    return said, said != words


def files_of(out: Path, places: Iterable[Path], named: Collection[Path | str]) -> dict[str, Path]:
    """Return the files of a result by their place from its folder.

    Parameters
    ----------
    out : path
    places : iterable of path
        Of what the run published; what lies elsewhere counts where it was asked for by name.
    named : collection of path or str
    """
    found: set[Path] = set()
    for place in (out, *places):
        beside = place.parent == out.parent and not place.name.startswith(".")
        if place == out or (beside and place.name != f"{out.name}{ENDING}") or place in named:
            found |= set(files_below(place))
    return {place_from(one, out.parent): one for one in sorted(found)}


def _here(folder: Path | None) -> str:
    """Return where the working directory lies from a folder; "" if it has been removed."""
    try:
        return place_from(Path.cwd(), folder)
    except FileNotFoundError:
        return ""


def _inputs(
    request: Request, witness: Witness, beside: Path | None, made: Collection[Path]
) -> Iterator[InputSum]:
    """Yield what a run was made from; ``beside`` is None on an object store: places are whole."""
    yield from request.values
    seen: set[Path] = set()
    folders = {str(one): one.absolute() for one in witness.folders}
    for text, found in {**folders, **request.named}.items():
        name = without_keys([text])[0][0]
        if isinstance(found, str):
            yield sum_address(found, name)
        elif found not in seen and not any(_is_below(found, one) for one in made):
            seen.add(found)
            yield _sum_local(found, name, beside, made)
    yield from sum_scenes(witness.scenes, beside)


def _sum_local(path: Path, name: str, beside: Path | None, left_out: Iterable[Path]) -> InputSum:
    """Return what an input is; only where it lies if it cannot be read now that all is done."""
    try:
        return sum_input(path, name, beside, left_out)
    except (OSError, UnreadableFile):
        return InputSum(name, "file", path=place_from(path, beside))


def _is_below(place: Path | None, out: Path) -> bool:
    return place is not None and place.absolute().is_relative_to(out)
