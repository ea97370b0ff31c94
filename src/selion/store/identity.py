"""fingerprint: a short text that changes when the content of a file, a folder or a URL changes."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from selion.errors import FetchFailed, UnreadableFile
from selion.store.redirects import open_watched
from selion.store.remote import http_request
from selion.store.retry import BUSY, RetryPolicy

RETRY = RetryPolicy(tries=4, backoff=0.4)
SAMPLE = 64 * 1024
"""Bytes that are read at each of the sampled places."""
PLACES = 16
"""How many places of a large file are sampled."""
ASKED_AT_ONCE = 8
"""Servers' files."""
LISTS = (".vrt", ".gti")
"""Endings of files that only point to others."""


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Say which content a path or URL has, without reading all of it.

    Parameters
    ----------
    path : str or path
        A file (size, time of change and sampled bytes; for a VRT those of its sources too), a
        folder (names, sizes and times of all files), or a URL (ETag, size, time of change and first
        bytes).

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    UnreadableFile
        If it is missing or the server does not answer.
    """
    from selion.store.urls import SCHEMES, plain_name, remote_scheme

    path = plain_name(os.fspath(path))
    scheme = remote_scheme(path)
    if scheme in ("http", "https"):
        parts: Iterable[object] = _of_url(path)
    elif scheme in SCHEMES:
        parts = _of_object(path)
    else:
        local = Path(path).expanduser()
        parts = _of_folder(local) if local.is_dir() else _of_list(local)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        text = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


def byte_size(path: str | os.PathLike[str]) -> int:
    """Return the size in bytes of a file or URL, without reading it.

    Raises
    ------
    UnreadableFile
        If it is missing, or the server does not answer or does not say.
    """
    from selion.store.urls import SCHEMES, remote_scheme, shown

    path = os.fspath(path)
    scheme = remote_scheme(path)
    if scheme in ("http", "https"):
        size = _of_url(path)[1]
    elif scheme in SCHEMES:
        size = _of_object(path)[1]
    else:
        local = Path(path).expanduser()
        if not local.is_file():
            raise UnreadableFile(f"There is no file {path}: check the name.")
        size = local.stat().st_size
    if size is None or not str(size).isdigit():
        raise UnreadableFile(
            f"The server of {shown(path)} does not say how large the file is: it may not be an "
            "object store; download the file first."
        )
    return int(size)


def describe_remote(url: str) -> tuple[int | None, str]:
    """Return what a server calls an address's content: its bytes, and its ETag or time of change.

    Raises
    ------
    UnreadableFile, FetchFailed
        If there is nothing to be read, or the server does not answer.
    """
    from selion.store.ranges import open_remote
    from selion.store.urls import SCHEMES, plain_name, remote_scheme

    url = plain_name(url)
    if remote_scheme(url) not in SCHEMES:
        raise UnreadableFile(f"{url} is no address that is read: give an http or object address.")
    version = open_remote(url).version  # what was read a moment ago is not asked for again
    return version.size, version.tag or version.modified


def _of_list(path: Path) -> Iterable[object]:
    """Look at a file, and at what it points to, here and on servers."""
    from selion.store.urls import plain_name, remote_scheme

    names = [plain_name(name) for name in sources(path)]
    far = [name for name in names if remote_scheme(name)]
    yield from _of_files([Path(name) for name in names if name not in far])
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        yield from pool.map(fingerprint, far)


def sources(path: Path) -> list[str]:
    """Return the file, and what it points to, as GDAL calls it."""
    if path.suffix.lower() not in LISTS and not path.name.lower().endswith(
        (".gti.gpkg", ".gti.fgb")
    ):
        return [str(path)]
    from selion.store.gdal import GDAL_ERRORS, gdal_settings, open_quietly
    from selion.store.pointers import drivers_of

    try:
        with (
            gdal_settings(remote=False, reach=None),
            open_quietly(str(path), driver=drivers_of(str(path))[0]) as dataset,
        ):
            others = sorted(name for name in dataset.files if Path(name) != path)
            return [str(path), *others]
    except GDAL_ERRORS as error:
        raise UnreadableFile(f"{path} cannot be opened: {error}.") from error


def _of_files(paths: list[Path]) -> Iterable[object]:
    for path in paths:
        try:
            about = path.stat()
            with path.open("rb") as file:
                yield from (about.st_size, about.st_mtime_ns)
                for place in range(PLACES):  # the first and the last bytes are among them
                    file.seek(max(about.st_size - SAMPLE, 0) * place // (PLACES - 1))
                    yield file.read(SAMPLE)
        except OSError as error:
            raise UnreadableFile(
                f"{path} cannot be read ({error.strerror}): check the name."
            ) from error


def _of_folder(path: Path) -> Iterable[object]:
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        about = file.stat()
        yield from (file.relative_to(path).as_posix(), about.st_size, about.st_mtime_ns)


def _of_url(url: str) -> list[Any]:
    """Ask for the first bytes: signed addresses refuse HEAD."""
    for failed in range(1, RETRY.tries + 1):
        try:
            return _first_of(url)
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
        ) as error:
            code = None
            if isinstance(error, urllib.error.HTTPError):
                code = error.code
                error.close()
            if failed == RETRY.tries or (code is not None and code not in BUSY):
                raise UnreadableFile(_unreachable(url, error)) from error
        time.sleep(RETRY.pause(failed))
    raise AssertionError


def _first_of(url: str) -> list[Any]:
    request = http_request(url, Range=f"bytes=0-{SAMPLE - 1}")
    with open_watched(request, RETRY.answer) as answer:
        size = (answer.headers.get("Content-Range") or "").partition("/")[2] or answer.headers.get(
            "Content-Length"
        )
        first = answer.read(SAMPLE)
        wanted = min(SAMPLE, int(size)) if size and size.isdigit() else len(first)
        if len(first) != wanted:
            raise ConnectionError(f"{len(first):,} of {wanted:,} bytes")
        return [answer.headers.get("ETag"), size, answer.headers.get("Last-Modified"), first]


def _of_object(url: str) -> list[Any]:
    from selion.store.object_store import ObjectFolder

    folder, _, key = url.rpartition("/")
    place = ObjectFolder(folder)
    try:
        about = place.about(key)
        found = (
            place.get_range(key, 0, min(SAMPLE, about["size"]))
            if about is not None and about["size"]
            else about and (b"", about)
        )
    except (FetchFailed, OSError) as error:
        raise UnreadableFile(_unreachable(url, error)) from error
    if not found:
        raise UnreadableFile(_unreachable(url, FileNotFoundError("there is no such object")))
    first, about = found
    return [about["e_tag"], about["size"], about["last_modified"], first]


def _unreachable(url: str, error: Exception) -> str:
    from selion.store.urls import shown

    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{shown(url)} does not answer ({said}): check the address, the network and your "
        "credentials."
    )
