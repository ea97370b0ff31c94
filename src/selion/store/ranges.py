"""Remote files read by range, each byte once: over http(s), and from object stores.

A file is what its server said when it was opened (size, ETag, time of change); if a later answer
is of another version, reading ends with a sentence instead of a mixture.
"""

from __future__ import annotations

import hashlib
import http
import io
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from selion.errors import FetchFailed, UnreadableFile
from selion.store.block_cache import BLOCK, find_block, put_block
from selion.store.cache import LruCache
from selion.store.object_store import SCHEMES as OBJECT_SCHEMES
from selion.store.object_store import ObjectFolder
from selion.store.retry import RetryPolicy
from selion.store.urls import SCHEMES, remote_scheme, shown, unsigned

if TYPE_CHECKING:
    import requests

RETRY = RetryPolicy()
"""With a server of plain http; object stores have their own."""
REQUEST = 8 * 2**20
"""Bytes of one request at most, so that one that is cut off is soon made up for."""
AHEAD = 2 * 2**20
"""Bytes that are read ahead at most where a file is read from front to back."""
WHOLE = 64 * 2**20
"""Bytes up to which a file is taken whole from a server that does not serve parts."""
FRESH = 60.0
"""Seconds after which a file that is opened again is asked for its version again."""
GONE = (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE)
REFUSED = (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)
AGENT = "Mozilla/5.0 (compatible; selion)"
"""Some servers of data let nobody in who does not look like a browser."""


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """What tells one version of a remote file from another."""

    size: int
    tag: str = ""
    """ETag; empty if the server gives none."""
    modified: str = ""
    """Time of change; empty if the server does not say."""

    def key(self, url: str) -> str:
        """Return a name for this version of what lies at an address.

        A signature changes every hour and the file does not: it is no part of the name where the
        server gives an ETag.
        """
        where = shown(url) if self.tag else url
        text = "\n".join([where, str(self.size), self.tag, self.modified])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class RangeServer(Protocol):
    """Who answers for an address."""

    def look(self) -> tuple[bytes, RemoteVersion]:
        """Return the version that is there now, and all bytes if they came along."""
        ...

    def fetch(self, start: int, stop: int) -> tuple[bytes, RemoteVersion]:
        """Return the bytes from ``start`` up to ``stop`` and the version they are of.

        It may be all bytes of the file, from a server that does not serve parts.
        """
        ...


@dataclass
class HttpServer:
    """Plain http(s)."""

    url: str
    _sessions: threading.local = field(default_factory=threading.local, repr=False)

    def look(self) -> tuple[bytes, RemoteVersion]:
        """Ask for one byte: signed addresses refuse HEAD."""
        content, version = self.fetch(0, 1)
        return content if len(content) == version.size else b"", version

    def fetch(self, start: int, stop: int) -> tuple[bytes, RemoteVersion]:
        """Return bytes and version; what was cut off on its way is asked for again.

        Raises
        ------
        UnreadableFile
            If there is nothing, or it may not be read.
        FetchFailed
            If the server fails for longer than :data:`RETRY` says.
        """
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        for failed in range(1, RETRY.tries + 1):
            answer = self._asked(start, stop)
            try:
                with answer:
                    return self._taken(answer, start, stop)
            except (RequestException, HTTPError, OSError) as error:
                if failed == RETRY.tries:
                    raise FetchFailed(
                        f"{shown(self.url)} could not be read: its server cut off the answer "
                        f"{RETRY.tries} times ({_said(error)}); try again later."
                    ) from None
            time.sleep(RETRY.pause(failed))
        raise AssertionError("unreachable")

    def _asked(self, start: int, stop: int) -> requests.Response:
        from requests.exceptions import RequestException

        headers = {
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",
            "User-Agent": AGENT,
        }
        try:
            return self._session().get(
                self.url.partition("#")[0], headers=headers, timeout=RETRY.timeouts, stream=True
            )
        except (RequestException, ValueError) as error:
            raise FetchFailed(
                f"{shown(self.url)} does not answer ({_said(error)}): check the address and the "
                "network."
            ) from None

    def _taken(self, answer: requests.Response, start: int, stop: int) -> tuple[bytes, Any]:
        status = answer.status_code
        if status == http.HTTPStatus.PARTIAL_CONTENT:
            found = re.fullmatch(
                r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", "").strip()
            )
            if found is None or int(found[1]) != start:
                raise FetchFailed(
                    f"{shown(self.url)} was asked for a part and its server sent another: download "
                    "the file first."
                )
            content = b"".join(_at_most(answer, stop - start))
            if len(content) != min(stop, int(found[3])) - start:
                raise OSError(f"{len(content):,} of {stop - start:,} bytes")
            return content, _version(answer, int(found[3]))
        if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            size = answer.headers.get("Content-Range", "").rpartition("/")[2]
            return b"", _version(answer, int(size) if size.isdigit() else 0)
        if status == http.HTTPStatus.OK:
            return self._whole(answer)
        raise self._refusal(answer)

    def _whole(self, answer: requests.Response) -> tuple[bytes, RemoteVersion]:
        """Take a whole file from a server that knows no ranges."""
        length = answer.headers.get("Content-Length", "")
        pieces, held = [], 0
        for piece in answer.iter_content(1 << 20) if int(length or 0) <= WHOLE else ():
            pieces.append(piece)
            held += len(piece)
            if held > WHOLE:
                break
        if held > WHOLE or int(length or 0) > WHOLE:
            raise UnreadableFile(
                f"The server of {shown(self.url)} does not serve parts of a file (no range "
                f"requests), and the file has more than {WHOLE // 2**20} MB: download it first and "
                "give the file."
            )
        if length and held != int(length):
            raise OSError(f"{held:,} of {int(length):,} bytes")
        return b"".join(pieces), _version(answer, held)

    def _refusal(self, answer: requests.Response) -> Exception:
        status, name = answer.status_code, shown(self.url)
        if status in GONE:
            return UnreadableFile(
                f"There is nothing at {name} (the server says {status}): check the address."
            )
        if status in REFUSED:
            return UnreadableFile(
                f"{name} may not be read (the server says {status}): it wants credentials or a "
                "signature, or the one in the address is no longer good; ask for a new address."
            )
        return FetchFailed(f"{name} could not be read: the server says {status}; try again later.")

    def _session(self) -> requests.Session:
        """Return this thread's connections; they do not survive a fork."""
        if getattr(self._sessions, "process", None) != os.getpid():
            self._sessions.session, self._sessions.process = RETRY.session(), os.getpid()
        session: requests.Session = self._sessions.session
        return session


@dataclass
class ObjectServer:
    """An object store: s3, gs, az."""

    url: str

    def look(self) -> tuple[bytes, RemoteVersion]:
        """Ask what the store knows of an object.

        Raises
        ------
        UnreadableFile
            If there is no such object.
        FetchFailed
            If the store does not answer, or lets nobody in.
        """
        folder, name = self._parts()
        about = folder.about(name) if name else None
        if about is None:
            raise UnreadableFile(f"There is nothing at {shown(self.url)}: check the address.")
        return b"", _noted(about)

    def fetch(self, start: int, stop: int) -> tuple[bytes, RemoteVersion]:
        """Return bytes and version.

        Raises
        ------
        UnreadableFile
            If there is no such object.
        FetchFailed
            If the store does not answer, or lets nobody in.
        """
        folder, name = self._parts()
        found = folder.get_range(name, start, stop)
        if found is None:
            raise UnreadableFile(f"There is nothing at {shown(self.url)}: check the address.")
        content, about = found
        return content, _noted(about)

    def _parts(self) -> tuple[ObjectFolder, str]:
        folder, _, name = self.url.rpartition("/")
        return ObjectFolder(folder), name


def _noted(about: Mapping[str, Any]) -> RemoteVersion:
    return RemoteVersion(
        int(about["size"]), str(about["e_tag"] or ""), str(about["last_modified"] or "")
    )


def _version(answer: requests.Response, size: int) -> RemoteVersion:
    said = answer.headers
    return RemoteVersion(size, said.get("ETag", ""), said.get("Last-Modified", ""))


def _at_most(answer: requests.Response, size: int) -> Iterator[bytes]:
    """Yield the pieces of an answer until there are more bytes than were asked for."""
    held = 0
    for piece in answer.iter_content(min(1 << 20, size + 1)):
        yield piece
        held += len(piece)
        if held > size:
            answer.close()
            return


def _said(error: Exception) -> str:
    """Return what a library said, in one line and without signatures."""
    said = unsigned(str(error)).rpartition(": ")[2].strip(" )'\"")
    return " ".join(said.split())[:160] or type(error).__name__


@dataclass(eq=False)
class RemoteFile:
    """One version of a remote file; safe for several threads."""

    url: str
    version: RemoteVersion
    server: RangeServer
    seen: float = field(default_factory=time.monotonic)
    """When the server last said that this is the version."""
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.key = self.version.key(self.url)
        # what has neither ETag nor time may be another file tomorrow
        self.kept = bool(self.version.tag or self.version.modified)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.version.size

    def read(self, start: int, stop: int, ahead: int = 0) -> bytes:
        """Return the bytes from ``start`` up to ``stop``.

        Parameters
        ----------
        start, stop : int
        ahead : int
            Bytes that are probably wanted next; they come along where bytes are fetched anyway.

        Raises
        ------
        FetchFailed
            If the server fails, or the file has changed there.
        """
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first, last = start // BLOCK, (stop - 1) // BLOCK
        with self._lock:
            found = {k: find_block(self.key, k, kept=self.kept) for k in range(first, last + 1)}
            for begin, end in _runs([k for k, block in found.items() if block is None]):
                beyond = -(-ahead // BLOCK) if end > last else 0
                self._fetch(begin, min(end + beyond, -(-self.size // BLOCK)), found)
        whole = b"".join(found[k] or b"" for k in range(first, last + 1))
        return whole[start - first * BLOCK : stop - first * BLOCK]

    def _fetch(self, begin: int, end: int, found: dict[int, bytes | None]) -> None:
        """Fetch some blocks that follow each other."""
        most = REQUEST // BLOCK
        for part in range(begin, end, most):
            start, stop = part * BLOCK, min(min(part + most, end) * BLOCK, self.size)
            content, version = self.server.fetch(start, stop)
            if version != self.version:
                forget(self.url)
                raise FetchFailed(
                    f"{shown(self.url)} was replaced on its server while it was read: run the same "
                    "command again."
                )
            whole = len(content) == self.size and stop - start < self.size
            self.put(content, 0 if whole else part, found)

    def put(self, content: bytes, first: int, found: dict[int, bytes | None] | None = None) -> None:
        """Keep bytes that begin with a block."""
        for offset in range(0, len(content), BLOCK):
            number, block = first + offset // BLOCK, content[offset : offset + BLOCK]
            put_block(self.key, number, block, kept=self.kept)
            if found is not None and number in found:
                found[number] = block


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Return begin and end of runs of rising numbers that follow each other.

    Examples
    --------
    >>> list(_runs([1, 2, 5]))
    [(1, 3), (5, 6)]
    """
    begin = 0
    for k in range(1, len(numbers) + 1):
        if k == len(numbers) or numbers[k] != numbers[k - 1] + 1:
            yield numbers[begin], numbers[k - 1] + 1
            begin = k


_opened: LruCache[tuple[int, str], RemoteFile] = LruCache(1024)


def open_remote(url: str) -> RemoteFile:
    """Ask a server which version of a file it has.

    One that was asked within :data:`FRESH` seconds is not asked again.

    Raises
    ------
    UnreadableFile
        If there is nothing at the address, it may not be read, or has an unknown scheme.
    FetchFailed
        If the server fails.
    """
    held = _opened.find((os.getpid(), url))
    if held is not None and time.monotonic() - held.seen < FRESH:
        return held
    scheme = remote_scheme(url)
    if scheme not in SCHEMES:
        raise UnreadableFile(
            f"{shown(url)} has the unknown scheme {scheme}://; known: "
            f"{', '.join(f'{known}://' for known in SCHEMES)}."
        )
    server: RangeServer = (
        held.server
        if held is not None
        else ObjectServer(url)
        if scheme in OBJECT_SCHEMES
        else HttpServer(url)
    )
    content, version = server.look()
    if held is not None and held.version == version:
        held.seen = time.monotonic()
        return held
    found = RemoteFile(url, version, server)
    found.put(content, 0)
    _opened.put((os.getpid(), url), found)
    return found


def forget(url: str) -> None:
    """Ask for a file's version again when it is opened the next time."""
    held = _opened.find((os.getpid(), url))
    if held is not None:
        held.seen = -FRESH


class RangeFile(io.RawIOBase):
    """A remote file as an open file, for libraries that read from one.

    What is read from front to back is read ahead, in growing steps.
    """

    def __init__(self, remote: RemoteFile) -> None:
        self.remote = remote
        self._at = self._end = self._ahead = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next byte comes from."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere else."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.remote.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer only at the end."""
        start = self._at
        stop = self.remote.size if size is None or size < 0 else start + size
        goes_on = start == self._end and start > 0
        self._ahead = min(max(2 * self._ahead, BLOCK), AHEAD) if goes_on else 0
        content = self.remote.read(start, stop, self._ahead)
        self._at = self._end = start + len(content)
        return content

    def readall(self) -> bytes:
        """Return the rest."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
