"""Whole or not at all.

An output appears under its final name only when every byte of it is on the disk.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.errors import OutputExists, OutputFailed
from selion.store.apart import check_apart, check_not_read
from selion.store.replaced import ZARR, FolderKind, check_alike, check_no_link, check_replaced
from selion.store.scratch import ASIDE, put_in_place, scratch_folder, sweep
from selion.store.witness import may_replace, places_read, told

if TYPE_CHECKING:
    from PIL.Image import Image

PART = ".part"
"""Ending of what :func:`replace_bytes` has not finished."""
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.EEXIST,
}
BROKEN = {errno.EIO, errno.EROFS, errno.ENXIO, errno.ESTALE}
"""What a disk says, without the name of a file where the file is open already."""
MANY = {errno.EMFILE, errno.ENFILE}
ARROWS = re.compile(r"local file '(.+?)'")
"""The name of a file in a sentence of Arrow's."""
PANDAS = re.compile(r"non-existent directory: '(.+?)'")
"""The name of a folder that went, in a sentence of pandas's."""
NO_LINKS = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EXDEV,
    errno.EMLINK,
    errno.EINVAL,
}


def check_output(
    path: str | os.PathLike[str], force: bool = False, kind: FolderKind | None = None
) -> Path:
    """Refuse an output that cannot or must not be written, before any work is done.

    By force a file is replaced that the command does not read, and a folder that is empty or an
    older one of the same kind, and holds nothing that the command reads.

    Parameters
    ----------
    path : str or path
        Final name of a file or folder.  Missing parent folders are fine: they are made when it is
        written.
    force : bool
        Whether what is there already may be replaced.
    kind : FolderKind, optional
        Of the folder that is to be written; None: of a file, or of a folder into which files are
        written one by one, unless the name ends in ``.zarr``.

    Returns
    -------
    Path
        The final name with ``~`` expanded.

    Raises
    ------
    OutputExists
        If it is there and ``force`` is false, or a folder that is no older one of its kind.
    BadInput
        If it is read.
    OutputFailed
        If its folder cannot be written to.
    """
    path = _checked(path, force=force)
    if not os.path.lexists(path):
        return path
    if kind is None and path.suffix.lower() != ".zarr":
        if not path.is_dir():
            check_not_read(path)
    else:
        _check_folder(path, ZARR if kind is None else kind)
    return path


def _check_folder(path: Path, kind: FolderKind | None) -> None:
    """Refuse (BadInput, OutputExists, OutputFailed) a folder that force may not replace."""
    if path.is_file():
        raise OutputFailed(f"{path} is a file; wanted is the name of a folder.")
    check_no_link(path)
    check_apart(path, *places_read())
    if kind is not None:
        check_replaced(path, kind)


def _checked(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Do of :func:`check_output` what concerns the place alone."""
    path = Path(path).expanduser()
    if os.path.lexists(path) and not (force and may_replace(path)):
        sweep(path.absolute().parent)  # of a run that was killed when it had its result
        raise _exists(path)
    folder = path.absolute().parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputFailed(
            f"{path} cannot be written because {folder} is not a folder: choose another place."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputFailed(
            f"{path} cannot be written because there is no permission to write in {folder}: choose "
            "another place."
        )
    return path


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a small file of an unfinished run in one step; what was there is replaced.

    A killed process leaves the old file, or the new one, or a ``.part`` that nobody reads.  It is
    not brought to the disk: whoever reads it knows a checksum, or could do without it.

    Raises
    ------
    OSError
        As it comes.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}{PART}")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk it would hold the space of the next try
        raise


@contextmanager
def atomic_write(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Write a file under its own name in a hidden folder beside ``path``.

    It goes to its final place when the block ends well.

    The hidden folder is removed, with whatever a library put into it (``-journal``, ``.aux.xml``),
    when the block ends badly; a killed process may leave it behind, but never anything under
    ``path``, and the next process that writes in the same place takes it away.

    Raises
    ------
    OutputExists
        If ``path`` is there (also when it appears while we write) and ``force`` is false.
    OutputFailed
        If the disk is full or the place cannot be written to.
    """
    path = _checked(path, force=force)
    if path.is_dir():
        raise OutputFailed(f"{path} is a folder; wanted is the name of a file.")
    with explained(path), scratch_folder(path) as folder:
        temporary = folder / path.name
        yield temporary
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(temporary))
        if not temporary.is_file():
            raise OutputFailed(
                f"Nothing was written for {path}: report this as a bug of the writer."
            )
        _sync(temporary)
        _publish(temporary, path, force)


def write_text(path: str | os.PathLike[str], text: str, force: bool = False) -> None:
    """Write a text (UTF-8), all of it or nothing; parameters and errors of :func:`atomic_write`."""
    with atomic_write(path, force) as temporary:
        temporary.write_text(text, "utf-8")


def write_picture(path: Path, picture: Image, kind: str, **options: Any) -> None:
    """Write a picture to a temporary name of a writer above.

    It is encoded in memory: Pillow does not look how much of what it wrote a full disk has taken.

    Parameters
    ----------
    path : Path
    picture : PIL.Image.Image
    kind : str
        ``PNG``, ``JPEG`` or ``PDF``.
    **options
        Of Pillow's ``save``.

    Raises
    ------
    OSError
        As it comes.
    """
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    path.write_bytes(encoded.getbuffer())


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV (RFC 4180, UTF-8); what was there is replaced.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    with (
        atomic_write(path, force=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], force: bool = False, kind: FolderKind | None = None
) -> Iterator[Path]:
    """Do for a folder (a Zarr) what :func:`atomic_write` does for a file.

    The folder exists and is empty when the block begins.

    A folder that is replaced by force is exchanged in one step where the file system can do that;
    elsewhere it is moved aside first, so a process killed in between leaves the old one under a
    hidden name and nothing, but nothing half, under the final one, until the next process that
    writes in the same place gives it back.

    Parameters
    ----------
    path : str or path
        Final name.
    force : bool
        Whether an older folder of the same kind is replaced.
    kind : FolderKind, optional
        By what that is known; None: by a file that both have at their top, which can only be seen
        in the end.

    Raises
    ------
    OutputExists, OutputFailed
        As for files, and if a folder of another kind is there.
    BadInput
        If it holds what is read.
    """
    path = _checked(path, force=force)
    if os.path.lexists(path):
        _check_folder(path, kind)
    with explained(path), scratch_folder(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        with _unmoved(folder, path):
            yield temporary
        _sync_files(temporary)
        _publish_folder(temporary, path, folder.parent / ASIDE, force=force, kind=kind)


def publish_folder(folder: Path, path: Path, force: bool, kind: FolderKind | None = None) -> None:
    """Give a finished folder its final name; call it within :func:`explained`.

    ``force`` and ``kind`` are those of :func:`atomic_folder`.

    Raises
    ------
    OutputExists
        If something is there and ``force`` is false, or a folder of another kind.
    OutputFailed
        If a file is there.
    """
    if path.is_file():
        raise OutputFailed(f"{path} is a file; wanted is the name of a folder.")
    _sync_files(folder)
    aside = folder.with_name(f"{folder.name}.old")
    _publish_folder(folder, path, aside, force=force, kind=kind)
    for old in (folder, aside):
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _unmoved(folder: Path, path: Path) -> Iterator[None]:
    """Refuse a hidden folder that was removed meanwhile, also if a later write made it anew.

    It is held open, so that no other gets its number.
    """
    if os.name == "nt":  # no folder can be opened there, nor removed while a file in it is open
        yield
        return
    made = os.open(folder, os.O_RDONLY)
    try:
        yield
        try:
            same = os.path.samestat(folder.stat(), os.fstat(made))
        except FileNotFoundError:
            same = False
    finally:
        os.close(made)
    if not same:
        raise OutputFailed(
            f"{path} was removed while it was written, with what was finished of it: nothing was "
            "kept; run the same command again."
        )


def _sync_files(folder: Path) -> None:
    for inner, _, names in os.walk(folder):
        for name in names:
            _sync(Path(inner, name))
        sync_folder(Path(inner))


def _exists(path: Path) -> OutputExists:
    return OutputExists(f"{path} exists already: choose another name, or replace it with --force.")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the operating system that concern the output's folder into one sentence.

    Leave all others alone.
    """
    parent = path.absolute().parent
    try:
        yield
    except OSError as error:
        why = _gone(error, parent) or _said(error, parent)
        if not why:
            raise
        raise OutputFailed(f"{path} was not written {why}.") from error


def _gone(error: OSError, parent: Path) -> str:
    """Return which folder is not there any more; empty if it is not about the output."""
    named = _named(error)
    lost = isinstance(error, FileNotFoundError) or PANDAS.search(str(error))
    if not lost or named is None:
        return ""
    if not (named.is_relative_to(parent) or parent.is_relative_to(named)):
        return ""
    missing = [one for one in (parent, named.parent) if not one.is_dir()]
    return (
        f"because {missing[0]} was removed or renamed meanwhile: give the same command again"
        if missing and _takes_folders(missing[0])
        else ""
    )


def _named(error: OSError) -> Path | None:
    """Return the file that an error is about; Arrow and pandas say it in a sentence alone."""
    if error.filename is not None:
        return Path(os.fsdecode(error.filename)).absolute()
    told = ARROWS.search(str(error))
    if told:
        return Path(told[1]).absolute()
    if folder := PANDAS.search(str(error)):
        return Path(folder[1]).absolute() / "file"
    alone = isinstance(error, FileNotFoundError) and error.errno is None and len(error.args) == 1
    return Path(str(error)).absolute() if alone else None


def _takes_folders(place: Path) -> bool:
    """Say whether a folder could be made where there is none, as there cannot below /proc."""
    above = next(one for one in place.parents if one.is_dir())
    try:
        Path(tempfile.mkdtemp(dir=above)).rmdir()
    except OSError:
        return False
    return True


def _said(error: OSError, parent: Path) -> str:
    """Return why an output was not written, and what to do; empty if it is not about the output."""
    said = _named(error)
    named = said or parent
    concerns_us = named.is_relative_to(parent) or parent.is_relative_to(named)
    if error.errno in FULL:
        return (
            f"because there is no space left ({error.strerror}): free some, or choose another place"
        )
    if error.errno == errno.EXDEV:
        return (
            f"({error.strerror}): its file system moves no files between folders; choose another "
            "place"
        )
    if error.errno in MANY:
        return (
            f"({error.strerror}): close other programs, or raise the limit of open files (ulimit "
            "-n)"
        )
    if error.errno in REFUSED and said is not None and concerns_us:
        return f"({error.strerror}): check the folder's permissions, or choose another place"
    if error.errno in BROKEN and concerns_us:
        return f"({error.strerror}): check the disk, or choose another place"
    return ""


def _publish(temporary: Path, path: Path, force: bool) -> None:
    """Give the final name in one step.

    Without force a file that appeared meanwhile is not overwritten.
    """
    told(temporary, path)
    if force and (not os.path.lexists(path) or may_replace(path)):
        temporary.replace(path)
    else:
        _link(temporary, path)
    sync_folder(path.absolute().parent)


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # a file system without hard links (FAT, some network mounts): the check is not atomic there
        if os.path.lexists(path):
            raise _exists(path) from None
        temporary.replace(path)


def _publish_folder(
    made: Path, path: Path, aside: Path, *, force: bool, kind: FolderKind | None
) -> None:
    told(made, path)
    if not os.path.lexists(path):
        made.replace(path)
    elif not (force and may_replace(path)):
        raise _exists(path)
    else:
        if kind is None:
            check_alike(made, path)
        else:
            check_replaced(path, kind)
        put_in_place(made, path, aside)
    sync_folder(path.absolute().parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's new files to the disk too, where folders can be opened."""
    opened: Callable[..., int] = os.open
    try:
        handle = opened(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
