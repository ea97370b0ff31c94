"""fetch_dataset: archives come checked, and go on where they stopped.

They are unpacked whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from selion import store
from selion.data.catalogue import find_dataset
from selion.data.declare import Declaration, Download
from selion.data.splits import read_table
from selion.errors import BadInput, ChecksumMismatch, OutputFailed, UnknownName, UnreadableFile
from selion.progress import OnNote, OnStep, silent

KEPT = ".downloads"
"""Where archives wait, in the dataset's folder."""


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """One file to fetch."""

    url: str
    md5: str
    sha256: str
    into: str
    name: str
    """For progress: the group, or the file's name."""


def fetch_dataset(
    name: str,
    folder: str | os.PathLike[str],
    groups: Sequence[str] = (),
    *,
    keep_archives: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote | None = None,
) -> list[Path]:
    """Download a dataset of the catalogue, or some groups of it, and unpack it.

    What is there already is left alone, whatever it is: a group whose folder exists is not fetched
    again.  Nothing of the user's is ever removed.

    Parameters
    ----------
    name : str
        Of the catalogue.
    folder : path
        Where the dataset shall lie; it is what ``load_dataset(name, root=folder)`` wants.
    groups : sequence of str
        Countries; all without them.
    keep_archives : bool
        Whether archives stay in ``.downloads`` after they are unpacked.
    on_step, on_note : callable, optional
        Progress, and what a user should know (a publisher without checksums, what was there
        already).

    Returns
    -------
    list of Path
        Folders and files that are there now.

    Raises
    ------
    UnknownName
        If dataset or group is not known.
    BadInput
        If the dataset cannot be downloaded by a program.
    FetchFailed, ChecksumMismatch, UnreadableFile, OutputFailed
        If an archive does not arrive, is another one, cannot be unpacked, or there is no space.
    """
    made = find_dataset(name)
    if not made.download:
        where = made.home or "its owner"
        raise BadInput(
            (
                f"{name} cannot be fetched by a program: get it from {where}, then give its "
                f"folder. {made.notes}"
            ).strip()
        )
    root = Path(folder).expanduser()
    tell = on_note or (lambda _: None)
    paths = [
        _fetch_part(part, root, keep_archives=keep_archives, on_step=on_step, tell=tell)
        for part in parts_of(made, groups)
    ]
    for table, download in zip(paths, made.download, strict=False):
        if download.columns:
            paths += _fetch_listed(
                table, download, root, {group.upper() for group in groups}, on_step
            )
    return paths


def _fetch_listed(
    table: Path, download: Download, root: Path, groups: set[str], on_step: OnStep
) -> list[Path]:
    """Fetch the files that a table lists, one by one; those that are there are passed over."""
    wanted: dict[Path, str] = {}
    for row in read_table(table):
        for column, folder in download.columns.items():
            name = row.get(column, "").rpartition("/")[2]
            group = name.partition("_")[0]
            if "_" in name and (not groups or group.upper() in groups):
                wanted[root / folder.replace("{group}", group) / name] = row[column]
    for k, (path, url) in enumerate(wanted.items()):
        if not path.exists():
            store.fetch(url, "", path.parent)
        on_step("files", k + 1, len(wanted))
    return sorted({path.parent for path in wanted})


def parts_of(made: Declaration, groups: Sequence[str] = ()) -> list[ArchivePart]:
    """Return what is to be fetched of a dataset.

    Raises
    ------
    UnknownName
        If a group is not known.
    BadInput
        If the dataset has no groups of its own to choose from.
    """
    grouped = any("{group}" in download.url or download.columns for download in made.download)
    if groups and not grouped:
        raise BadInput(f"{made.name} comes as a whole: omit the groups.")
    known = {group.lower(): group for group in made.groups}
    for group in groups:
        if group.lower() not in known:
            raise UnknownName.among(f"group of {made.name}", group, made.groups)
    groups = [known[group.lower()] for group in groups]
    return [
        part
        for download in made.download
        for part in _parts(download, tuple(groups) or tuple(made.groups))
    ]


def _parts(download: Download, groups: Sequence[str]) -> list[ArchivePart]:
    if "{group}" not in download.url:
        name = download.url.rpartition("/")[2]
        return [
            ArchivePart(
                download.url, _sum(download.md5, ""), _sum(download.sha256, ""), download.into, name
            )
        ]
    return [
        ArchivePart(
            download.url.replace("{group}", g),
            _sum(download.md5, g),
            _sum(download.sha256, g),
            download.into.replace("{group}", g),
            g,
        )
        for g in dict.fromkeys(groups)
    ]


def _sum(given: object, group: str) -> str:
    return (
        given
        if isinstance(given, str)
        else str(given.get(group, ""))
        if isinstance(given, dict)
        else ""
    )


def _fetch_part(
    part: ArchivePart, root: Path, *, keep_archives: bool, on_step: OnStep, tell: OnNote
) -> Path:
    target = root / part.into if part.into not in ("", ".") else root
    archive = part.url.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))
    final = target if archive else target / part.url.rpartition("/")[2]
    if archive and target == root:
        # the archive's own folders are put beside what is there
        final = root / f".{part.name}.unpacked"
    if final.exists():
        tell(f"{part.name} is there already ({target if archive else final}): it is left as it is.")
        return target if archive else final
    store.check_output(final, force=False)
    if not part.md5 and not part.sha256:
        tell(f"The publisher gives no checksum for {part.name}: it is taken as it arrives.")

    def step(done: int, total: int | None) -> None:
        on_step(part.name, done, total or max(done, 1))

    place = root / KEPT if archive else target
    file = store.fetch(part.url, part.sha256, place, step, md5=part.md5)
    check_md5(file, part.md5, part.url)
    if not archive:
        return file
    unpack(file, target, into_existing=target == root)
    if target == root:
        final.write_text(part.url + "\n", "utf-8")
    if not keep_archives:
        file.unlink()
        with _ignoring_full():
            file.parent.rmdir()
    return target


@contextmanager
def _ignoring_full() -> Iterator[None]:
    """Leave a folder that still holds something."""
    try:
        yield
    except OSError:
        return


def check_md5(path: Path, md5: str, url: str) -> None:
    """Compare a file with its publisher's MD5.

    A file that differs is removed, so that the next call downloads it anew.

    Raises
    ------
    ChecksumMismatch
        If it differs.
    """
    if not md5:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
    if digest.hexdigest() != md5.lower():
        path.unlink()
        raise ChecksumMismatch(
            f"{url} arrived, but its md5 is not {md5[:12]}...: it was changed or damaged on its "
            "way; run it again, or ask its publisher."
        )


def unpack(archive: Path, folder: Path, *, into_existing: bool = False) -> None:
    """Unpack a zip or tar archive.

    Nothing outside the folder, no links, and the folder appears whole or not at all.

    A single folder at the top of the archive that holds all else is taken off.

    Parameters
    ----------
    archive : path
    folder : path
        Made; with ``into_existing`` it may exist, and what the archive holds at its top is put into
        it one by one, never over what is there.
    into_existing : bool

    Raises
    ------
    UnreadableFile
        If it is damaged, or a name in it leads out of the folder.
    OutputFailed
        If there is not enough space.
    OutputExists
        If something of it is there already.
    """
    if not into_existing:
        with store.atomic_folder(folder) as temporary:
            _extract(archive, temporary)
            _lift(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{archive.name}.unpacking"
    if aside.exists():  # ours, left by a process that was killed
        shutil.rmtree(aside)
    with store.atomic_folder(aside) as temporary:
        _extract(archive, temporary)
        _lift(temporary)
    try:
        for entry in sorted(aside.iterdir()):
            store.check_output(folder / entry.name, force=False)
        for entry in sorted(aside.iterdir()):
            entry.rename(folder / entry.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _lift(folder: Path) -> None:
    """Take off the one folder that holds everything."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX"]
    if (
        len(entries) != 1
        or not entries[0].is_dir()
        or entries[0].name in ("images", "train", "data")
    ):
        return
    inner = entries[0].rename(folder / ".lifted")
    for entry in sorted(inner.iterdir()):
        entry.rename(folder / entry.name)
    inner.rmdir()


def _extract(archive: Path, folder: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                infos = file.infolist()
                _check_members(archive, [(info.filename, _is_link(info)) for info in infos])
                _check_space(archive, folder, sum(info.file_size for info in infos))
                for info in infos:
                    file.extract(info, folder)
        else:
            with tarfile.open(archive) as tar:
                members = tar.getmembers()
                _check_members(archive, [(m.name, not (m.isfile() or m.isdir())) for m in members])
                _check_space(archive, folder, sum(m.size for m in members))
                tar.extractall(folder, members, filter="data")
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        # RuntimeError: a password
        raise UnreadableFile(
            f"{archive} cannot be unpacked ({error}): remove it and fetch it again."
        ) from error


def _is_link(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    return bool(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0)


def _check_members(archive: Path, members: Sequence[tuple[str, bool]]) -> None:
    for name, is_link in members:
        parts = PurePosixPath(name.replace("\\", "/"))
        if (
            is_link
            or parts.is_absolute()
            or ".." in parts.parts
            or (parts.parts and ":" in parts.parts[0])
        ):
            what = "is a link" if is_link else "leads out of the folder"
            raise UnreadableFile(
                f"{archive} holds {name!r}, which {what}: nothing of it was unpacked; do not trust "
                "where it came from."
            )


def _check_space(archive: Path, folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OutputFailed(
            f"{archive.name} unpacks to {wanted / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are "
            f"free at {folder.parent}: free some, or choose another place."
        )
