"""The files of a result against its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from selion.errors import UnreadableFile, counted
from selion.store.manifest import (
    ENDING,
    Manifest,
    files_below,
    is_manifest,
    read_manifest,
    sum_files,
)
from selion.verification.checks import Check, judged

BESIDE_RASTERS = " Programs that show rasters write such a file, and read what it says of them."


def check_sums(manifest: Manifest, folder: Path) -> Check:
    """Compare each file with its sum, and look for files that do not belong to the result.

    Parameters
    ----------
    manifest : Manifest
    folder : path
        That of the manifest.
    """
    size = sum(one.bytes for one in manifest.files.values())
    looked = f"{counted(len(manifest.files), 'file')}, {size / 1e6:,.1f} MB, all as written."
    return judged("sums", _faults(manifest, folder), looked)


def _faults(manifest: Manifest, folder: Path) -> Iterator[str]:
    there = {name: folder / name for name in manifest.files if (folder / name).is_file()}
    for name in manifest.files:
        if name not in there:
            yield f"{name} is missing."
    known = {_real(path) for path in there.values()}
    place = folder / manifest.result
    if place.is_file() and _real(place) not in known:
        yield f"{place.name} is none of the manifest's files: whether it was changed is not told."
    elif not (manifest.files or place.is_dir()):
        yield f"{place.name} is missing."
    for path in sorted(_strangers(folder / manifest.result, known)):
        yield (
            f"{path.relative_to(folder).as_posix()} does not belong to this result: it was put "
            f"there later.{BESIDE_RASTERS if path.name.endswith('.aux.xml') else ''}"
        )
    try:
        sums = sum_files(list(there.values()))
    except OSError as error:
        yield f"{error.filename} cannot be read ({error.strerror})."
        return
    for name, found in zip(there, sums, strict=True):
        wanted = manifest.files[name]
        if found.bytes != wanted.bytes:
            yield f"{name} has {found.bytes:,} bytes and had {wanted.bytes:,}: it was changed."
        elif found.sha256 != wanted.sha256:
            yield (
                f"{name} was changed: its sha256 is {found.sha256[:16]}... and was "
                f"{wanted.sha256[:16]}...."
            )


def _strangers(result: Path, known: set[Path]) -> Iterator[Path]:
    """Yield files in the folder of a result that are neither its own nor other results'."""
    if not result.is_dir():
        return
    others = {
        _real(place.parent / name) for place in inner_manifests(result) for name in _files_of(place)
    }
    for path in files_below(result):
        if _real(path) not in known | others:
            yield path


def _real(path: Path) -> Path:
    """Return the one name of a file; a link that goes round has none but its own."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def inner_manifests(folder: Path) -> list[Path]:
    """Return the manifests of results within the folder of a result, such as a plan's jobs."""
    found = folder.rglob(f"*{ENDING}")
    return sorted(path for path in found if is_manifest(path))


def _files_of(place: Path) -> Iterable[str]:
    try:
        return read_manifest(place).files
    except UnreadableFile:  # said where it is verified itself
        return ()
