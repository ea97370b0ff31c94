"""What a result is: the sum of each of its files, and what they were made from and by.

A manifest lies beside the result, ``NAME.manifest.json``, and holds its own digest; whatever is
changed afterwards, also in the manifest, is noticed by whoever reads it again.  The same run writes
the same bytes: there is no time in it, nor who did the work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from selion.errors import FetchFailed, UnreadableFile
from selion.store.atomic import atomic_write
from selion.store.file_sum import FileSum, sum_file
from selion.store.manifest_form import misfit
from selion.store.urls import plain_name, remote_scheme

ENDING = ".manifest.json"
"""Of its name."""
SYSTEMS = frozenset(("Thumbs.db", "desktop.ini", "__MACOSX"))
"""Names of what systems leave in folders that somebody looked at, or packed."""
LONGEST = 255
"""Bytes that a name may have."""
KIND = "selion manifest"
VERSION = 1
"""Of what is written; a later one may say more than can be read here."""
WHOLE = 4 * 2**30
"""Bytes up to which an input is read whole; of a larger one, or a larger folder, only samples."""
SAMPLE = 64 * 1024
PLACES = 64
"""Bytes of a sample of a large input, and how many there are, evenly spread from first to last."""
LOOKED_INTO = 4096
"""Files of a large folder of which the first bytes are read; of the others the size."""
NEAR_END = 2**20
"""Bytes at either end of a manifest in which it says what it is."""
AT_ONCE = 4
"""Files that are read at once: hashing lets other threads run."""


class NewerManifest(UnreadableFile):
    """A manifest is sound, but of a later selion than this one."""


@dataclass(frozen=True, slots=True)
class InputSum:
    """Something that a result was made from."""

    name: str
    """As it was given, without signature and password."""
    kind: str
    """``file``, ``folder``, ``address``, ``scene`` on servers, or ``memory``: an array or a table
    without a name."""
    bytes: int | None = None
    sha256: str = ""
    """Of the content; of a folder that of its list of files and their sums, of a scene that of its
    addresses and of what its catalogue said of it."""
    sampled: bool = False
    """Whether the sum is that of samples: it was too large, or parts of it could not be read."""
    etag: str = ""
    """What the server of an address calls this version of it."""
    path: str = ""
    """Where it lies, from the manifest's folder."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a result."""

    result: str
    """Name of the file or folder, beside the manifest."""
    command: tuple[str, ...] = ()
    """Words after ``selion``, without those that decide nothing; empty where none made it."""
    call: str = ""
    """The call of the library that made it instead, without keys."""
    secret: bool = False
    """Whether the command had signatures or passwords, which are not in it."""
    where: str = "."
    """Where the command was given, from the manifest's folder."""
    complete: bool = True
    """False if blocks could not be done."""
    files: Mapping[str, FileSum] = field(default_factory=dict)
    """Of the whole result, by their place from the manifest's folder."""
    inputs: tuple[InputSum, ...] = ()
    models: tuple[Mapping[str, Any], ...] = ()
    """What decides the answers of each model that was used, as it says itself."""
    options: Mapping[str, str] = field(default_factory=dict)
    """All that decides something, also where it was not given."""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return it as it is written."""
        said = {"what": KIND, "version": VERSION, **asdict(self)}
        table = json.loads(json.dumps(said))
        table["digest"] = _digest(table)
        return _text(table)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Manifest:
        """Read one, every byte of which has to be as it was written.

        Parameters
        ----------
        content : bytes
        name : str
            For messages.

        Raises
        ------
        UnreadableFile
            If it is none, or was changed; :class:`NewerManifest` if a later selion wrote it.
        """
        try:
            table = json.loads(content)
            told = table.pop("digest")
            kind, version = table.pop("what"), table.pop("version")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableFile(
                f"{name} is no manifest of selion, or it is damaged: restore it, or make the "
                "result again."
            ) from error
        whole = {"what": kind, "version": version, **table}
        try:
            sound, text = told == _digest(whole), _text({**whole, "digest": told})
        except RecursionError:  # lists in lists, deeper than can be written
            sound, text = False, b""
        if kind != KIND or not sound or content != text:
            if sound and content.replace(b"\r\n", b"\n") == text:
                raise UnreadableFile(
                    f"{name} has the line ends of another system, and so may other texts of the "
                    "result: something that copied it (git, FTP) took it for text; copy it byte "
                    "by byte."
                )
            raise UnreadableFile(
                f"{name} was changed after it was written: its own digest does not hold; restore "
                "it, or make the result again."
            )
        if version != VERSION:
            raise NewerManifest(
                f"{name} was written by a later selion (manifest {version}, known is {VERSION}): "
                "verify with the version that wrote it."
            )
        if entry := misfit(table):
            raise UnreadableFile(
                f"{name} was written by hand: no selion says what stands in its {entry!r}; restore "
                "it, or make the result again."
            )
        try:
            table["files"] = {key: FileSum(**value) for key, value in table["files"].items()}
            table["inputs"] = tuple(InputSum(**value) for value in table["inputs"])
            table["command"], table["models"] = tuple(table["command"]), tuple(table["models"])
            return cls(**table)
        except (TypeError, KeyError, AttributeError) as error:
            raise UnreadableFile(
                f"{name} is a manifest of another version of selion: verify with the version that "
                "wrote it."
            ) from error


def manifest_of(result: Path) -> Path:
    """Return where the manifest of a file or folder lies."""
    return result.with_name(named(result.name, ENDING))


def named(name: str, ending: str) -> str:
    """Return a name with another ending; one too long for a file system is cut, and told apart."""
    whole, most = os.fsencode(name), LONGEST - len(ending)
    if len(whole) > most:
        told = hashlib.sha256(whole).hexdigest()[:8]
        return f"{whole[: most - 9].decode(errors='ignore')}-{told}{ending}"
    return f"{name}{ending}"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises
    ------
    UnreadableFile
        If it cannot be read, is none, or was changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read ({error.strerror}): check the name."
        ) from error
    return Manifest.from_bytes(content, str(path))


def read_digest(path: Path) -> str:
    """Return the sha256 that a sound manifest has of all that it says.

    Who keeps it elsewhere sees whether the manifest was written anew.
    """
    return str(json.loads(path.read_bytes())["digest"])


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest in one step; that of an earlier run is replaced.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    with atomic_write(path, force=True) as temporary:
        temporary.write_bytes(manifest.to_bytes())


def files_below(place: Path) -> Iterator[Path]:
    """Yield a file, or the files below a folder that are not hidden, nor manifests of others."""
    if place.is_file():
        yield place
    for inner, folders, names in os.walk(place):
        folders[:] = [one for one in folders if not (one.startswith(".") or one in SYSTEMS)]
        for name in names:
            path = Path(inner, name)
            theirs = name.startswith(".") or name in SYSTEMS or name.endswith(ENDING)
            if not theirs and path.is_file():
                yield path


def called(manifest: Manifest, result: Path) -> Manifest:
    """Return a manifest of a result that was renamed: its own file, or those in its folder.

    What lay beside it (its preview, its page) is what now has the new name, where there is nothing
    of the old one.
    """
    name, was = result.name, manifest.result

    def now(key: str) -> str:
        if key == was or key.startswith(f"{was}/"):
            return f"{name}{key[len(was) :]}"
        if os.path.lexists(result.parent / key):
            return key
        for old, new in ((was, name), (Path(was).stem, result.stem)):
            moved = f"{new}{key[len(old) :]}"
            if key.startswith(f"{old}.") and os.path.lexists(result.parent / moved):
                return moved
        return key

    files = {now(key): one for key, one in manifest.files.items()}
    return replace(manifest, result=name, files=files)


def is_manifest(path: Path) -> bool:
    """Say whether a file is a manifest, sound or not."""
    if not path.name.endswith(ENDING) or not path.is_file():
        return False
    mark = f'"{KIND}"'.encode()
    with path.open("rb") as file:
        if mark in file.read(NEAR_END):
            return True
        file.seek(max(path.stat().st_size - NEAR_END, 0))  # after the sums of very many files
        return mark in file.read(NEAR_END)


def is_orphan(path: Path) -> bool:
    """Say whether a file is a sound manifest of a result of which no file is there any more."""
    if not is_manifest(path):
        return False
    try:
        manifest = read_manifest(path)
    except UnreadableFile:
        return False
    names = (manifest.result, *manifest.files)
    return not any(os.path.lexists(path.parent / name) for name in names)


def sum_files(paths: Sequence[Path]) -> list[FileSum]:
    """Return the sums of files, read whole.

    Raises
    ------
    OSError
        As it comes.
    """
    if len(paths) == 1:
        return [sum_file(paths[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(sum_file, paths))


def sum_input(
    path: Path,
    name: str,
    beside: Path | None,
    left_out: Iterable[Path] = (),
    *,
    whole: int = WHOLE,
) -> InputSum:
    """Return what a file or folder is, for a manifest.

    Parameters
    ----------
    path : path
        A file or folder that is there.
    name : str
        As it was given.
    beside : path or None
        The manifest's folder; None if it lies on a server.
    left_out : iterable of path
        Files and folders below a folder that do not belong to it; hidden ones never do.
    whole : int
        Bytes up to which a file is read whole.

    Raises
    ------
    OSError
        As it comes, of a file; what cannot be read of several is left out of the sum.
    UnreadableFile
        If it points to other files, and cannot be opened.
    """
    place = place_from(path.absolute(), None if beside is None else beside.absolute())
    top = path.resolve()
    if top.is_dir():
        files = sorted(_visible(top, {one.resolve() for one in left_out}))
        return InputSum(name, "folder", *_sum_together(files, top), path=place)
    named, _ = named_files(path)
    if named:
        files = [path, *named]
        return InputSum(name, "file", *_sum_together(files, path.absolute().parent), path=place)
    size = path.stat().st_size
    one = sum_file(path) if size <= whole else _sampled(path, PLACES)
    return InputSum(name, "file", one.bytes, one.sha256, size > whole, path=place)


def named_files(path: Path) -> tuple[list[Path], list[str]]:
    """Return what a file that only points to others (VRT, GTI) is made of: files, and addresses.

    Raises
    ------
    UnreadableFile
        If it cannot be opened.
    """
    from selion.store.identity import sources

    names = [plain_name(name) for name in sources(path)[1:]]
    files = [Path(name) for name in names if not remote_scheme(name)]
    return files, [name for name in names if remote_scheme(name)]


def place_from(path: Path, folder: Path | None) -> str:
    """Return where a path lies from a folder, both absolute.

    The path itself where there is no folder, or it lies on another drive.
    """
    if folder is None:
        return path.as_posix()
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # Windows
        return path.as_posix()


def sum_address(url: str, name: str) -> InputSum:
    """Return what a server says of an address, for a manifest; nothing where it does not answer."""
    from selion.store.identity import describe_remote

    try:
        size, etag = describe_remote(url)
    except (UnreadableFile, FetchFailed):
        size, etag = None, ""
    return InputSum(name, "address", size, etag=etag)


def _visible(folder: Path, skipped: set[Path]) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, nor manifests, nor left out.

    A pipe, and a link to nowhere, is no file.
    """
    for inner, folders, names in os.walk(folder):
        folders[:] = [
            one
            for one in folders
            if not (one.startswith(".") or one in SYSTEMS or Path(inner, one) in skipped)
        ]
        for name in names:
            path = Path(inner, name)
            hidden = name.startswith(".") or name in SYSTEMS or name.endswith(ENDING)
            if not hidden and path not in skipped and path.is_file():
                yield path


def _sum_together(files: Sequence[Path], folder: Path) -> tuple[int, str, bool]:
    """Return the bytes of files, the sum of their sums and places, and if that is of samples."""
    from concurrent.futures import ThreadPoolExecutor

    size = sum(map(_size, files))
    each = -(-len(files) // LOOKED_INTO)
    places = [None if size <= WHOLE else int(k % each == 0) for k in range(len(files))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sums = list(pool.map(_sum_if_readable, files, places))
    digest = hashlib.sha256()
    for file, one in zip(files, sums, strict=True):
        line = [place_from(file.absolute(), folder), one.bytes, one.sha256]
        digest.update(json.dumps(line).encode() + b"\n")
    whole = size <= WHOLE and all(one.sha256 for one in sums)
    return size, digest.hexdigest(), not whole


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sum_if_readable(path: Path, places: int | None) -> FileSum:
    try:
        return sum_file(path) if places is None else _sampled(path, places)
    except OSError:  # what was not needed is no reason to fail
        return FileSum(_size(path), "")


def _sampled(path: Path, places: int) -> FileSum:
    """Return the size of a file, and the sum of its size and of samples of its content."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for place in range(places):
            file.seek(max(size - SAMPLE, 0) * place // max(places - 1, 1))
            digest.update(file.read(SAMPLE))
    return FileSum(size, digest.hexdigest())


def _digest(table: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(table)).hexdigest()


def _text(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()
