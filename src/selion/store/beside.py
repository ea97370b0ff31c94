"""What is drawn beside a result: a picture or a page that has its name, with another ending."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path

from selion.errors import UnreadableFile
from selion.store.file_sum import FileSum, sum_file
from selion.store.manifest import ENDING, manifest_of, named, read_manifest

MAKER = "selion"
"""What a picture (PNG's ``Software``) and a page (HTML's ``generator``) say who made them."""
MARKS = (
    b"tEXtSoftware\0" + MAKER.encode(),
    f'<meta name="generator" content="{MAKER}">'.encode(),
)
ENDINGS = (".preview.png", ".report.html")
HEAD = 4096
"""Bytes of a file in which its mark stands."""


def beside(result: Path, ending: str) -> Path:
    """Return the name of a picture or page of a result.

    ``a.preview.png`` of ``a.parquet``; where that is another result's, as of ``a.gpkg`` in the same
    folder, or somebody's own, ``a.parquet.preview.png``, then ``a.parquet.2.preview.png``: what is
    there belongs to it, and stays.
    """
    return next(path for path in _names(result, ending) if _is_free(path, result))


def outlived(manifest: Path, kept: Collection[str]) -> Iterator[Path]:
    """Yield pictures and pages that a manifest calls its result's, and nobody has changed since.

    Parameters
    ----------
    manifest : path
        Of the result that another one has replaced; need not be there.
    kept : collection of str
        Names of the files of the new one.
    """
    try:
        files = read_manifest(manifest).files
    except UnreadableFile:
        return
    for name, told in files.items():
        if name in kept or "/" in name or not name.endswith(ENDINGS):
            continue  # what lies in a folder of results went with it
        path = manifest.with_name(name)
        if _is_marked(path) and told == sum_file(path):
            yield path


def usual_name(name: str, result: str) -> str:
    """Return what a file beside a result is called where nothing else has that name."""
    told = re.match(rf"{re.escape(result)}(\.\d+)?(?=\.)", name)
    return name if told is None else f"{Path(result).stem}{name[told.end() :]}"


def _names(result: Path, ending: str) -> Iterator[Path]:
    yield result.with_name(named(result.stem, ending))
    yield result.with_name(named(result.name, ending))
    for number in count(2):
        yield result.with_name(named(f"{result.name}.{number}", ending))


def _is_free(path: Path, result: Path) -> bool:
    """Say whether a name has nothing, or something of the same result, which is made anew."""
    if not os.path.lexists(path):
        return True
    own = manifest_of(result)
    told = _claim(own, path)
    if told is not None and path.is_file() and told == sum_file(path):
        return True
    others = result.parent.glob(f"{glob.escape(result.stem)}.*{ENDING}")
    # of a run that was killed before it had its manifest, or of one whose manifest was lost
    return _is_marked(path) and not any(_claim(one, path) for one in others if one != own)


def _claim(manifest: Path, path: Path) -> FileSum | None:
    """Return what a manifest says of a file, if it is one of its result."""
    try:
        return read_manifest(manifest).files.get(path.name)
    except UnreadableFile:
        return None


def _is_marked(path: Path) -> bool:
    """Say whether a file is a picture or a page that selion made."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
    return any(mark in head for mark in MARKS)
