"""What is drawn beside a result: a picture or a page that has its name, with another ending."""

from __future__ import annotations

import glob
from pathlib import Path

from selion.errors import UnreadableFile
from selion.store.manifest import ENDING, manifest_of, named, read_manifest


def beside(result: Path, ending: str) -> Path:
    """Return the name of a picture or page of a result.

    ``a.preview.png`` of ``a.parquet``; where that is another result's, as of ``a.gpkg`` in the same
    folder, ``a.parquet.preview.png``: what is there belongs to it, and stays.
    """
    usual = result.with_name(named(result.stem, ending))
    return result.with_name(named(result.name, ending)) if _is_of_another(usual, result) else usual


def usual_name(name: str, result: str) -> str:
    """Return what a file beside a result is called where there is no other result of its stem."""
    told = name.startswith(f"{result}.")
    return f"{Path(result).stem}{name[len(result) :]}" if told else name


def _is_of_another(path: Path, result: Path) -> bool:
    if not path.exists() or _claims(manifest_of(result), path):
        return False
    others = result.parent.glob(f"{glob.escape(result.stem)}.*{ENDING}")
    return any(_claims(one, path) for one in others)


def _claims(manifest: Path, path: Path) -> bool:
    """Say whether a manifest has a file among those of its result."""
    try:
        return path.name in read_manifest(manifest).files
    except UnreadableFile:
        return False
