"""Hidden folders in which outputs are made, and what a killed process left of them.

Each is held by a lock as long as its process lives.  A folder that nobody holds is a dead one's:
the next process that writes beside it takes it away, and gives back what it had moved aside.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from selion.errors import OutputFailed
from selion.store.lock import LOCKS, held, seized, unborn

PREFIX = ".selion-"
"""How the names of such folders begin."""
LOCK, ASIDE = "lock", "aside"
"""In such a folder: what is locked, and the folder of what a forced output replaces; what is made
lies beside them under its own name."""
MADE = "made"
OURS = re.compile(re.escape(PREFIX) + "[0-9a-f]{8}")
HOLDS = {LOCK: False, unborn(LOCK): False, MADE: True, ASIDE: True}
"""What may lie in such a folder, and whether it is a folder; where anything else does it is not
one, whatever its name."""
BIRTHS = 5
"""Times that a folder is made that another process takes for a dead one's before it is held."""
OFTEN = 60.0
"""Seconds within which a process does not look twice for what others left in the same folder."""
_EXCHANGE, _HERE = 2, -100
"""RENAME_EXCHANGE and AT_FDCWD of Linux."""
_looked: dict[tuple[int, str], float] = {}


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Give an empty hidden folder for what is to become ``beside``.

    It is held until the block ends, and goes with all that is in it.  What dead processes left in
    the same place is taken away first.

    Parameters
    ----------
    beside : Path
        The final name; its folder is made.

    Yields
    ------
    Path
        A folder on the same disk.
    """
    parent = beside.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    with ExitStack() as stack:
        outer = _born(parent, stack)
        (outer / MADE).mkdir()
        yield outer / MADE


def _born(parent: Path, stack: ExitStack) -> Path:
    """Make a folder and hold it; it goes when the stack ends."""
    for last in (*[False] * (BIRTHS - 1), True):
        outer = parent / f"{PREFIX}{secrets.token_hex(4)}"
        outer.mkdir()
        with ExitStack() as one:
            one.callback(_remove, outer)
            try:
                one.enter_context(held(outer / LOCK))
            except FileNotFoundError:  # who sweeps thought it a dead one's
                if last:
                    raise
                continue
            stack.enter_context(one.pop_all())
        return outer
    raise AssertionError


def _remove(outer: Path) -> None:
    """Remove a folder, its lock last: who is killed meanwhile leaves one that can be taken away."""
    for inner in (MADE, ASIDE):
        shutil.rmtree(outer / inner, ignore_errors=True)
    shutil.rmtree(outer, ignore_errors=True)


def sweep(parent: Path) -> list[Path]:
    """Take away what dead processes left in a folder, if it was not looked at just now.

    Returns
    -------
    list of Path
        What was taken away.
    """
    place = (os.getpid(), str(parent))
    now = time.monotonic()
    if not LOCKS or now - _looked.get(place, -OFTEN) < OFTEN:
        return []
    _looked[place] = now
    return [left for left in left_behind(parent) if take_away(left)]


def clear_dead(folder: Path) -> None:
    """Take what dead processes left out of a folder and all folders below it."""
    for left in left_behind(folder, deep=True):
        take_away(left)


def clear_hidden(folder: Path) -> None:
    """Take hidden files and dead processes' folders out of a tree that nobody else writes to."""
    clear_dead(folder)
    for left in folder.rglob(".*"):
        if left.is_file():
            left.unlink()


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; hidden ones, and those in hidden folders, are left out."""
    for inner, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inner, name) for name in names if not name.startswith("."))


def left_behind(parent: Path, *, deep: bool = False) -> list[Path]:
    """Return the hidden folders of outputs in a folder, held or not."""
    try:
        found = parent.rglob(f"{PREFIX}*") if deep else parent.glob(f"{PREFIX}*")
        return sorted(path for path in found if is_scratch(path))
    except OSError:
        return []


def is_scratch(path: Path) -> bool:
    """Say whether something is such a folder, by its name and by all that lies in it.

    One that goes meanwhile, as its process ends, was one.
    """
    if not OURS.fullmatch(path.name) or path.is_symlink():
        return False
    try:
        inside = list(path.iterdir())
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        return True
    return all(map(_is_held, inside))


def _is_held(one: Path) -> bool:
    """Say whether such a folder holds this, or did until just now."""
    if one.is_symlink() or one.name not in HOLDS:
        return False
    return one.is_dir() == HOLDS[one.name] or not one.exists()


def final_name(path: Path) -> Path:
    """Return the name that a file in a scratch folder is to have.

    Examples
    --------
    >>> final_name(Path("maps/.selion-0123abcd/made/run/plots.gpkg")).as_posix()
    'maps/run/plots.gpkg'
    """
    parts = path.parts
    for number, part in enumerate(parts):
        if OURS.fullmatch(part):
            return Path(*parts[:number], *parts[number + 2 :])
    return path


def is_bare(folder: Path) -> bool:
    """Say whether there is nothing in a folder but scratch folders, which a killed run leaves."""
    return all(map(is_scratch, folder.iterdir()))


@contextmanager
def parts_of(note: Path) -> Iterator[None]:
    """Let parts be written within the block into the folder of a note, which says whose it is.

    Where somebody removes that folder meanwhile, what was written since is taken away with the
    error: without its note nobody could go on from it.
    """
    try:
        yield
    except BaseException:
        if not note.exists():
            shutil.rmtree(note.parent, ignore_errors=True)
        raise


def check_parts(note: Path, out: Path) -> None:
    """Refuse to make a result of parts of which somebody took some away: their note went with them.

    Raises
    ------
    OutputFailed
        If the note is not there any more.
    """
    if not note.exists():
        raise OutputFailed(
            f"{out} was not written because {note.parent} was removed meanwhile, with what was "
            "finished of it: give the same command again."
        )


def lock_of(outer: Path) -> Path | None:
    """Return what of a scratch folder is locked as long as its process lives, if it is there."""
    locks = [outer / name for name in (LOCK, unborn(LOCK)) if (outer / name).exists()]
    return locks[0] if locks else None


def take_away(outer: Path) -> bool:
    """Remove a scratch folder if its process is dead; say whether it is gone.

    What had been moved aside in it is given back.  What is empty is held by nobody yet: whoever is
    about to makes another one.
    """
    try:
        return removed(outer)
    except OSError:
        return False


def removed(outer: Path) -> bool:
    """Do what :func:`take_away` does.

    Raises
    ------
    OSError
        If it cannot be looked at or removed.
    """
    lock = lock_of(outer)
    if lock is None:
        outer.rmdir()
        return True
    with seized(lock) as dead:
        if dead and _given_back(outer):
            _remove(outer)
            if outer.exists():
                lock.unlink(missing_ok=True)
                outer.rmdir()
    return not outer.exists()


def _given_back(outer: Path) -> bool:
    """Give back what was moved aside; say whether the folder holds no only copy any more."""
    for old in (outer / ASIDE).glob("*"):
        if not os.path.lexists(outer.parent / old.name):  # it was killed between two renames
            try:
                old.replace(outer.parent / old.name)
            except OSError:
                return False
    return True


def clear_parts(note: Path) -> None:
    """Remove finished parts with the note that says whose they are, in one step.

    Nobody goes on from half of them: who is killed meanwhile leaves a folder that :func:`sweep`
    takes away.
    """
    if put_away(note.parent):
        return
    with suppress(OSError):
        note.write_text('{"key": ""}', "utf-8")  # nobody's, from here on
    shutil.rmtree(note.parent, ignore_errors=True)


def put_away(folder: Path) -> bool:
    """Remove a folder in one step; say whether it is gone.

    It is not where it has a disk of its own, or its parent may not be written to.
    """
    if not folder.is_dir():
        return True
    with suppress(OSError):  # also where somebody else removes it too
        with scratch_folder(folder) as made:
            folder.rename(made / "parts")
        return True
    return not folder.is_dir()


def put_in_place(made: Path, path: Path, aside: Path) -> None:
    """Give a folder the name of another, which is moved to ``aside`` or below it.

    In one step where the file system can; elsewhere in two, and whoever is killed in between leaves
    the old folder in ``aside``, from where :func:`sweep` gives it back.

    Raises
    ------
    OSError
        As it comes.
    """
    if exchange(made, path):
        return
    aside.mkdir(exist_ok=True)
    path.replace(aside / path.name)
    try:
        made.replace(path)
    except BaseException:  # also an interrupt: the old folder is nobody's to lose
        (aside / path.name).replace(path)
        raise


def exchange(one: Path, other: Path) -> bool:
    """Swap two names of one file system in one step; False where that is not known."""
    if sys.platform != "linux":
        return False
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    if swap is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(swap(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)
