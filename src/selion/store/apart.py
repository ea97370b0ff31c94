"""What is written apart from what is read: by force a folder is replaced with all that it holds."""

from __future__ import annotations

from pathlib import Path

from selion.errors import BadInput
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
        if isinstance(path, Path) and target in (path.resolve(), *path.resolve().parents):
            raise BadInput(
                f"{path} is read, and is what {out} is or holds, so that it would be lost: write "
                "to another folder (-o)."
            )
