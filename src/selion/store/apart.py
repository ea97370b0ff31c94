"""What is written apart from what is read: by force it is replaced with all that it holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput
from selion.store.witness import places_read

if TYPE_CHECKING:
    from selion.store.address import Place


def check_apart(out: Path, *read: Place | None) -> None:
    """Refuse a folder to write that is, or holds, what is read: force replaces all of it.

    Raises
    ------
    BadInput
        Which file or folder would be lost.
    """
    target = out.expanduser().resolve()
    for path in read:
        if not isinstance(path, Path):
            continue
        named = path.absolute().parent.resolve() / path.name  # a link in the folder goes with it
        if any(target in (one, *one.parents) for one in (named, path.resolve())):
            raise BadInput(
                f"{_shown(path)} is read, and is what {out} is or holds, so that it would be lost: "
                "write to another folder (-o)."
            )


def check_not_read(path: Path) -> None:
    """Refuse to replace a file that the command which is running reads.

    Raises
    ------
    BadInput
        Its name.
    """
    for read in places_read():
        if is_same(path, read):
            raise BadInput(
                f"{path} is read, and would be replaced by what is written, so that it would be "
                "lost: write to another name."
            )


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def is_same(path: Path, read: Path) -> bool:
    """Say whether what is read is not there any more when a name has been given to something else.

    A link that leads to it may go.
    """
    try:
        found = path.lstat()
        return any(os.path.samestat(found, one) for one in (read.lstat(), read.stat()))
    except OSError:  # not there
        return False
