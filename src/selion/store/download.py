"""Downloads that arrive whole and checked, or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selion.errors import BadInput, ChecksumMismatch, FetchFailed
from selion.store.former import FORMER, former
from selion.store.lock import LOCKS, locked
from selion.store.retry import BUSY, RetryPolicy

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes that are wanted, if the server says."""
PIECE = 1 << 20
"""Bytes that are read, written and told at a time."""
RETRY = RetryPolicy(tries=4, backoff=0.4)
"""A download has four tries; pauses begin at 0.4 s."""
_LOST = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def cache_folder() -> Path:
    """Return where downloads are kept.

    The environment's ``SELION_CACHE``, else the platform's cache folder.
    """
    import pooch

    return Path(os.environ.get("SELION_CACHE") or pooch.os_cache("selion")).expanduser()


def former_cache_folder() -> Path:
    """Return where downloads were kept under the project's former name."""
    import pooch

    return Path(os.environ.get(former("SELION_CACHE")) or pooch.os_cache(FORMER)).expanduser()


def fetch(
    url: str,
    sha256: str,
    folder: str | os.PathLike[str] | None = None,
    progress: OnBytes | None = None,
) -> Path:
    """Download a file once, and check it.

    What has arrived of an interrupted download waits in a ``.part`` file, and the next call goes on
    from there if the server can.

    Parameters
    ----------
    url : str
        ``https://`` or ``http://``.
    sha256 : str
        What the file must hash to; 64 hexadecimal digits.  Empty if its publisher gave none: then
        what arrives is taken as it is, and the caller tells the user.
    folder : str or path, optional
        Where to put it; by default the cache folder, under a name that holds the checksum (or that
        of the address).
    progress : callable, optional
        Called with bytes so far and bytes in all.

    Returns
    -------
    Path
        A file that holds what the checksum says.

    Raises
    ------
    FetchFailed
        If there is no network, no such file, or no space.
    ChecksumMismatch
        If it is another file than the one wanted; nothing is kept of it.
    """
    sha256 = sha256.lower().removeprefix("sha256:")
    scheme, name = urllib.parse.urlsplit(url).scheme, _name(url)
    if scheme not in ("http", "https") or not re.fullmatch(r"([0-9a-f]{64})?", sha256) or not name:
        raise BadInput(
            f"{url!r} with the checksum {sha256!r} was to be fetched: wanted are the http(s) "
            "address of a file and 64 hexadecimal digits."
        )
    key = sha256 or hashlib.sha256(url.encode()).hexdigest()
    place = (Path(folder).expanduser() / name) if folder else cache_folder() / f"{key[:12]}-{name}"
    with _explained(url, place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            return _retrieve(url, sha256, place, _Resuming(place, progress))


def _name(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]


def _retrieve(url: str, sha256: str, place: Path, downloader: _Resuming) -> Path:
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it would write to the screen
    try:
        for _ in range(2):
            try:
                return Path(
                    pooch.retrieve(
                        url,
                        f"sha256:{sha256}" if sha256 else None,
                        fname=place.name,
                        path=place.parent,
                        downloader=downloader,
                    )
                )
            except ValueError as error:
                if not downloader.resumed:  # pieces of two versions of a file deserve another try
                    raise ChecksumMismatch(
                        f"{url} arrived, but its sha256 is not {sha256[:12]}...: it was changed or "
                        "damaged on its way; ask its publisher."
                    ) from error
    finally:
        logger.setLevel(level)
    raise ChecksumMismatch(
        f"{url} arrived twice with a sha256 other than {sha256[:12]}...: it was changed or damaged "
        "on its way; ask its publisher."
    )


class _Resuming:
    """A downloader for pooch that goes on where the last one stopped."""

    def __init__(self, place: Path, progress: OnBytes | None) -> None:
        self.part = place.with_name(f".{place.name}.part")
        self.progress = progress
        self.resumed = False

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download to ``output_file``."""
        self.resumed = self.part.exists() and self.part.stat().st_size > 0
        for failed in range(1, RETRY.tries + 1):
            try:
                self._go_on(url)
            except urllib.error.HTTPError as error:
                if (
                    error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                    and self.part.exists()
                ):
                    self.part.unlink()
                elif error.code not in BUSY or failed == RETRY.tries:
                    raise
            except _LOST:
                if failed == RETRY.tries:
                    raise
            else:
                self.part.replace(output_file)
                return
            time.sleep(RETRY.pause(failed))
        raise FetchFailed(f"{url} could not be downloaded in {RETRY.tries} tries: try again later.")

    def _go_on(self, url: str) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - http(s) only, see fetch
        with urllib.request.urlopen(request, timeout=RETRY.answer) as answer:  # noqa: S310
            goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with self.part.open("ab" if goes_on else "wb") as file:
                while piece := answer.read(PIECE):
                    file.write(piece)
                    have += len(piece)
                    if self.progress:
                        self.progress(have, total)
                file.flush()
                os.fsync(file.fileno())
        if total is not None and have < total:
            raise ConnectionError(f"{have} of {total} bytes")


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time fetch a file, where the platform has file locks.

    The others then find it there.
    """
    if not LOCKS:
        # two downloads at once may spoil each other's part, and then the checksum says so
        yield
        return
    lock = place.with_name(f".{place.name}.lock")
    with lock.open("w") as file, locked(file.fileno()):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def _explained(url: str, place: Path) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        raise FetchFailed(
            f"{url} could not be downloaded: the server says {error.code} {error.reason}; check "
            "the address."
        ) from error
    except _LOST as error:
        said = getattr(error, "reason", None) or error
        raise FetchFailed(
            f"{url} could not be downloaded ({said}): check the network and run it again, or put "
            f"the file at {place} yourself."
        ) from error
    except OSError as error:
        why = "no space left" if error.errno == errno.ENOSPC else error.strerror
        raise FetchFailed(
            f"{url} could not be kept in {place.parent} ({why}): set SELION_CACHE to another "
            "folder."
        ) from error
