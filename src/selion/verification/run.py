"""Verify a result: find its manifest, and look at all that it is and was made from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from selion import fields
from selion.errors import BadInput, UnreadableFile
from selion.fields.topology import TOLERANCE
from selion.store.leftovers import NOTE
from selion.store.manifest import (
    ENDING,
    Manifest,
    NewerManifest,
    called,
    files_below,
    is_manifest,
    manifest_of,
    read_digest,
    read_manifest,
    sum_files,
)
from selion.store.object_store import is_object_url
from selion.store.parquet import find_parts
from selion.store.urls import shown
from selion.store.vectors import Bbox, box_around, file_box
from selion.store.versions import deciding_versions
from selion.verification.agreement import TILES, check_tiles
from selion.verification.checks import DIFFERS, HOLDS, UNKNOWN, Check, VerifiedResult
from selion.verification.partitions import INDEX, check_partitions
from selion.verification.remote import brought_here
from selion.verification.repeat import check_again, check_provenance, check_repeatable
from selion.verification.sums import check_sums, inner_manifests
from selion.verification.tables import ENDINGS, check_table

BESIDE = (".scores.tif", ".report.html", ".preview.png")
"""Ends of the names of what an older selion wrote beside a table."""


def verify(
    path: str | os.PathLike[str], *, again: bool = False, tolerance: float = TOLERANCE
) -> VerifiedResult:
    """Verify a result: that nothing was changed, that it is sound, and what it was made from.

    Parameters
    ----------
    path : path
        A file or folder that a verb of selion wrote, or its manifest; also s3://, gs:// or az://.
    again : bool
        Whether the command is run again, into a temporary folder, and its files compared byte by
        byte.
    tolerance : float
        Area that two fields may share, in m2 on the ground (px2 in a photograph).

    Returns
    -------
    VerifiedResult
        Each check holds, differs, or could not be made; results within a folder that have their own
        manifests, such as the jobs of a plan, are verified too.

    Raises
    ------
    BadInput
        If neither the result nor its manifest is there, or the tolerance is negative.
    FetchFailed
        If an object store does not answer.
    """
    if not tolerance >= 0:
        raise BadInput(f"A tolerance of {tolerance} m2 was given; wanted is 0 or more.")
    if is_object_url(path):
        with brought_here(os.fspath(path)) as here:
            found = verify(here, tolerance=tolerance)
            away = Check("again", UNKNOWN, ("A result on a server is not made again.",))
            return VerifiedResult(shown(os.fspath(path)), (*found.checks, *[away] * again))
    path = Path(path).expanduser()
    result, place = _places(path)
    if path.is_symlink() and not place.is_file():  # a link to a result is that result
        result, place = _places(_target(path))
    if not (os.path.lexists(result) or place.is_file()):
        raise UnreadableFile(
            f"There is no result {result}: give the file or folder that a verb wrote."
        )
    return VerifiedResult(result, tuple(_checks(result, place, again, tolerance)))


def _target(link: Path) -> Path:
    """Return where a link leads."""
    try:
        return link.resolve()
    except (OSError, RuntimeError) as error:
        raise UnreadableFile(f"{link} is a link that leads nowhere: give the result.") from error


def _places(path: Path) -> tuple[Path, Path]:
    """Return the places of a result and of its manifest, whichever was given."""
    if not path.name.endswith(ENDING):
        return path, manifest_of(path)
    plain = path.with_name(path.name.removesuffix(ENDING))
    try:
        told = path.with_name(read_manifest(path).result)
    except UnreadableFile:  # said as a check
        return plain, path
    renamed = os.path.lexists(plain) and not os.path.lexists(told)
    return plain if renamed else told, path


def _checks(result: Path, place: Path, again: bool, tolerance: float) -> Iterator[Check]:
    yield from _unfinished(result)
    manifest, check = _read(result, place)
    yield check
    folder = result.absolute().parent
    if manifest is not None:
        yield check_sums(manifest, folder)
    inner = inner_manifests(result) if result.is_dir() else []
    yield from _contents(result, manifest, inner, tolerance)
    if manifest is not None:
        yield check_provenance(manifest)
        yield check_repeatable(manifest, folder, deciding_versions())
        if again:
            yield check_again(manifest, folder)
    elif again:
        yield Check("again", UNKNOWN, ("Without a manifest the command is not known.",))
    for one in _outermost(inner):
        name = one.relative_to(result.parent).as_posix().removesuffix(ENDING)
        for check in verify(one, again=again, tolerance=tolerance).checks:
            yield replace(check, where=f"{name}: {check.where}" if check.where else name)


def _outermost(places: Sequence[Path]) -> Iterator[Path]:
    """Yield the manifests of results that lie in no other one: those in them are looked at there.

    Parameters
    ----------
    places : sequence of path
        All manifests below a folder.
    """
    folders = {_places(one)[0] for one in places}
    yield from (one for one in places if folders.isdisjoint(one.parents))


def _read(result: Path, place: Path) -> tuple[Manifest | None, Check]:
    """Return what the manifest says of the result as it is called now, and whether it is sound."""
    if not place.is_file():
        return None, Check("manifest", UNKNOWN, (_no_manifest(result, place),))
    try:
        manifest = read_manifest(place)
    except NewerManifest as error:
        return None, Check("manifest", UNKNOWN, (str(error),))
    except UnreadableFile as error:
        return None, Check("manifest", DIFFERS, (str(error),))
    said = f"{place.name} is as it was written (its digest: {read_digest(place)})."
    check = Check("manifest", HOLDS, (said, *_renamed(manifest, result)))
    return called(manifest, result), check


def _renamed(manifest: Manifest, result: Path) -> Iterator[str]:
    if manifest.result != result.name:
        yield f"The result was called {manifest.result} when it was written."


def _no_manifest(result: Path, place: Path) -> str:
    """Say why there is no manifest, and of which larger result a part is."""
    if named := _known_as(result):
        return (
            f"There is no {place.name}, but {named} knows these bytes: the result was renamed, or "
            "copied. Rename its manifest too."
        )
    for folder in result.absolute().parents:
        if folder.name and manifest_of(folder).is_file():
            return (
                f"It is a part of {folder}, which has the manifest: 'selion verify {folder}' holds "
                "all of it against that."
            )
    return (
        f"There is no {place.name}: an older selion wrote this, or a function of the library that "
        "leaves none; whether files were changed, and what they were made from, is not known."
    )


def _known_as(result: Path) -> str:
    """Return the name of a manifest in the same folder that has the sum of a file; nothing if none.

    Which it may be is told by the size, so that no file is read for nothing.
    """
    if not result.is_file():
        return ""
    size, wanted = result.stat().st_size, None
    for place in sorted(result.absolute().parent.glob(f"*{ENDING}")):
        try:
            files = read_manifest(place).files.values() if is_manifest(place) else ()
        except UnreadableFile:
            continue
        for one in files:
            if one.bytes == size:
                wanted = wanted or sum_files([result])[0]
                if one == wanted:
                    return place.name
    return ""


def _unfinished(result: Path) -> Iterator[Check]:
    """Say that the command that wrote a result has not come to its end."""
    note = result.with_name(f".{result.name}{NOTE}")
    if note.is_file() and note.stat().st_size:
        text = "The command that writes it was stopped or is running: give the same command again."
        yield Check("finished", DIFFERS, (text,))


def _contents(
    result: Path, manifest: Manifest | None, inner: list[Path], tolerance: float
) -> Iterator[Check]:
    """Look into each file of a result."""
    folder = result.absolute().parent
    if manifest is not None:
        files = [folder / name for name in manifest.files]
    else:
        skipped = {one.parent.absolute() for one in inner}
        files = [one.absolute() for one in sorted(files_below(result))]
        files = [one for one in files if not skipped & set(one.parents)]
    if result.is_dir():
        yield from check_partitions(result, result.name, tolerance)
    own = _beside(result.absolute(), files, known=manifest is not None)
    for path in files:
        if not path.is_file():
            continue  # said with the sums
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        if path.suffix.lower() in ENDINGS:
            yield from check_table(path, name, tolerance, own if path == result.absolute() else {})
        elif path.suffix.lower() == TILES:
            yield check_tiles(path, name, dict(_maps(manifest, folder)))


def _beside(result: Path, files: list[Path], *, known: bool) -> dict[str, Path]:
    """Return what was written beside a table, by name; without a manifest what is called so.

    ``known``: the files are those that a manifest names, and what else is there is somebody's own.
    """
    if known or len(files) > 1 or not result.is_file():
        return {path.name: path for path in files if path != result and path.is_file()}
    names = (f"{result.stem}{end}" for end in BESIDE)
    return {name: result.with_name(name) for name in names if result.with_name(name).is_file()}


def _maps(manifest: Manifest | None, folder: Path) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield the extents of the maps that tiles were drawn from, where all of them is here."""
    tables: dict[str, Path] = {}
    merged = False
    for one in manifest.inputs if manifest is not None else ():
        place = folder / one.path if one.path else None
        merged |= place is not None and place.name == INDEX
        if place is not None and place.suffix == ".parquet":
            tables[one.name] = place
        elif place is not None and place.is_dir():
            parts = [part.place for part in find_parts(place)]
            boxes = [box for box in map(file_box, parts) if box is not None]
            if boxes and (place / INDEX).is_file():  # degrees
                yield one.name, box_around(np.array(boxes))
    if tables and all(path.is_file() for path in tables.values()):
        found = [_degrees(path, merged=merged) for path in tables.values()]
        boxes = [box for box in found if box is not None]
        if boxes:
            yield _common(list(tables)), box_around(np.array(boxes))


def _common(names: Sequence[str]) -> str:
    """Return the folder of some names, or the first where none has all of them."""
    try:
        return (os.path.commonpath(names) if len(names) > 1 else "") or names[0]
    except ValueError:  # some begin at the root, others do not
        return names[0]


def _degrees(table: Path, *, merged: bool) -> Bbox | None:
    """Return the extent of a table; one of a merged map is in degrees, and says it."""
    if merged:
        return file_box(table)
    west, south, east, north = fields.read_fields(table).to_crs("OGC:CRS84").total_bounds.tolist()
    return west, south, east, north
