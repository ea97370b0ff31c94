"""What force replaces: a folder that the same command once wrote, and no other.

``--force`` takes the old folder away with all that it holds.  So it has to be empty, or known again
by what a folder of its kind holds: there is its mark, and nothing that it would not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from selion.errors import OutputExists
from selion.store.former import former
from selion.store.scratch import is_scratch

NOBODYS = (
    ".DS_Store",
    "._*",
    ".directory",
    "Thumbs.db",
    "desktop.ini",
    "*.aux.xml",
    "*.gpkg-wal",
    "*.gpkg-shm",
    "__pycache__",
)
"""What file managers, GDAL, SQLite and Python write into any folder by themselves."""
LARGEST = 1 << 20
"""Bytes of a mark that are read."""
CURE = "so --force does not replace it: choose another name, or remove it yourself."


@dataclass(frozen=True, slots=True)
class FolderKind:
    """What a folder of one kind holds, by which it is known again."""

    what: str
    """In words: ``a plan of a country``."""
    marks: tuple[str, ...]
    """Places of files in it, one of which each has; patterns of :meth:`pathlib.Path.glob`."""
    others: tuple[str, ...] = ()
    """All other names at its top, those of folders with a slash; patterns of :mod:`fnmatch`."""
    says: str = ""
    """Words in a mark that people write too."""

    def is_marked(self, folder: Path) -> bool:
        """Say whether a folder has a mark of this kind."""
        found = (one for mark in self.marks for one in folder.glob(mark) if one.is_file())
        return any(not self.says or self._is_said(one) for one in found)

    def _is_said(self, mark: Path) -> bool:
        with mark.open("rb") as file:
            text = file.read(LARGEST)
        return any(words.encode() in text for words in (self.says, former(self.says)))

    def holds(self, one: Path) -> bool:
        """Say whether such a folder may have this at its top."""
        name = f"{one.name}/" if one.is_dir() else one.name
        tops = (mark[: mark.find("/") + 1] or mark for mark in self.marks)
        return any(fnmatchcase(name, pattern) for pattern in (*tops, *self.others))


ZARR = FolderKind(
    "a Zarr of this kind",
    ("zarr.json",),
    ("c/", "composite/", "time/", "time_bnds/", "band/", "x/", "y/", "spatial_ref/"),
)
"""A cube, or a composite with its axes."""


def check_replaced(path: Path, kind: FolderKind) -> None:
    """Refuse a folder that force would take away, and that is no older one of its kind.

    Parameters
    ----------
    path : path
        Its final name; what is no folder, or empty, is fine.
    kind : FolderKind
        What is to be written there.

    Raises
    ------
    OutputExists
        If it is a link, or holds something else; the name of it.
    """
    check_no_link(path)
    inside = put_there(path)
    if not inside:
        return
    if not kind.is_marked(path):
        told = f" that says '{kind.says}'" if kind.says else ""
        raise OutputExists(
            f"{path} is a folder that selion did not make, or not as {kind.what} (it has no "
            f"{' or '.join(kind.marks)}{told}), {CURE}"
        )
    foreign = [one.name for one in inside if not kind.holds(one)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise OutputExists(
            f"{path} holds {foreign[0]}{more}, which is no part of {kind.what} and would be lost, "
            f"{CURE}"
        )


def check_alike(made: Path, path: Path) -> None:
    """Refuse to replace a folder by one that has no file of its files, by their names at the top.

    That is asked where nobody says which kind a folder is of.

    Parameters
    ----------
    made : path
        The new folder.
    path : path
        The old one.

    Raises
    ------
    OutputExists
        If it is a link, or holds other files alone.
    """
    check_no_link(path)
    inside = put_there(path)
    if inside and not any(one.is_file() and (made / one.name).is_file() for one in inside):
        new = ", ".join(one.name for one in put_there(made)[:3])
        raise OutputExists(
            f"{path} is a folder that selion did not make, as it has none of {new or 'its files'}, "
            f"{CURE}"
        )


def check_no_link(path: Path) -> None:
    """Refuse a link in whose place a folder would come.

    Raises
    ------
    OutputExists
        Where it leads.
    """
    if path.is_symlink():
        raise OutputExists(
            f"{path} is a link to {path.readlink()}, and a folder would come in its place: name "
            "that folder itself, or remove the link."
        )


def put_there(folder: Path) -> list[Path]:
    """Return what somebody put into a folder, in order; nothing where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        one
        for one in folder.iterdir()
        if not any(fnmatchcase(one.name, name) for name in NOBODYS) and not is_scratch(one)
    )
