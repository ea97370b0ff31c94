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
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from selion.errors import BadInput, ChecksumMismatch, FetchFailed
from selion.store.former import FORMER, former
from selion.store.lock import LOCKS, in_turn
from selion.store.redirects import open_watched
from selion.store.remote import http_request
from selion.store.retry import BUSY, RetryPolicy

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes that are wanted, if the server says."""
PIECE = 1 << 20
"""Bytes that are read, written and told at a time."""
RETRY = RetryPolicy(tries=4, backoff=0.4)
"""A download has four tries; pauses begin at 0.4 s."""
_LOST = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def _pooch() -> ModuleType:
    """Import pooch; in a notebook it would warn of bars that it is not asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import pooch
    return pooch


def cache_folder() -> Path:
    """Return where downloads are kept.

    The environment's ``SELION_CACHE``, else the platform's cache folder.
    """
    pooch = _pooch()
    return Path(os.environ.get("SELION_CACHE") or pooch.os_cache("selion")).expanduser()


def former_cache_folder() -> Path:
    """Return where downloads were kept under the project's former name."""
    pooch = _pooch()
    return Path(os.environ.get(former("SELION_CACHE")) or pooch.os_cache(FORMER)).expanduser()


def fetch(
    url: str,
    sha256: str,
    folder: str | os.PathLike[str] | None = None,
    progress: OnBytes | None = None,
    *,
    again: bool = False,
    md5: str = "",
) -> Path:
    """Download a file once, and check it.

    What has arrived of an interrupted download waits in a ``.part`` file, and the next call goes on
    from there if the server can.  Without a checksum it does so only where the server says that the
    file is still the same (``ETag``, ``Last-Modified``).

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
    again : bool
        Download it even if it is there; the former one stays until the new one is whole.
    md5 : str
        Where its publisher gave this and no SHA-256.

    Returns
    -------
    Path
        A file that holds what the checksum says.

    Raises
    ------
    FetchFailed
        If there is no network, no such file, a web page in its place, or no space.
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
            aside = place.with_name(f".{place.name}.new") if again else place
            if again:
                aside.unlink(missing_ok=True)
            wanted = f"sha256:{sha256}" if sha256 else f"md5:{md5.lower()}" if md5 else ""
            downloader = _Resuming(place, progress, checked=bool(wanted))
            return _retrieve(url, wanted, aside, downloader).replace(place)


def _name(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]


def _retrieve(url: str, wanted: str, place: Path, downloader: _Resuming) -> Path:
    """Download a file whose sum is ``wanted`` (``sha256:...``); empty: whatever comes."""
    pooch = _pooch()
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it would write to the screen
    kind, _, digits = wanted.partition(":")
    said = f"its {kind} is not {digits[:12]}...: it was changed or damaged on its way"
    try:
        for number in range(2):
            try:
                return Path(
                    pooch.retrieve(
                        url,
                        wanted or None,
                        fname=place.name,
                        path=place.parent,
                        downloader=downloader,
                    )
                )
            except ValueError as error:
                # pieces of two versions of a file deserve another try, and so does half of one
                if number or not (downloader.resumed or _is_longer(url, downloader.length)):
                    raise ChecksumMismatch(
                        f"{url} arrived, but {said}; ask its publisher."
                    ) from error
    finally:
        logger.setLevel(level)
    raise AssertionError


def _is_longer(url: str, length: int) -> bool:
    """Say whether a server has more of a file than came, though it said that this was all."""
    try:
        with open_watched(http_request(url, Range="bytes=0-0"), RETRY.answer) as answer:
            ranged = (answer.headers.get("Content-Range") or "").partition("/")[2]
            said = ranged or answer.headers.get("Content-Length") or ""
    except _LOST:
        return False
    return said.isdecimal() and int(said) > length


class _Resuming:
    """A downloader for pooch that goes on where the last one stopped."""

    def __init__(self, place: Path, progress: OnBytes | None, *, checked: bool) -> None:
        self.part = place.with_name(f".{place.name}.part")
        self.version = place.with_name(f".{place.name}.part.version")
        """Holds what the server called the version of the file that the part is of."""
        self.progress = progress
        self.checked = checked
        """Whether a checksum will tell pieces of two versions."""
        self.resumed = False
        self.length = 0
        """Bytes that came."""

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download to ``output_file``."""
        self.resumed = self.part.exists() and self.part.stat().st_size > 0
        for failed in range(1, RETRY.tries + 1):
            pause = RETRY.pause(failed)
            try:
                self._go_on(url)
            except urllib.error.HTTPError as error:
                pause = RETRY.pause(failed, error.headers.get("Retry-After"))
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
                self.version.unlink(missing_ok=True)
                self.length = self.part.stat().st_size
                self.part.replace(output_file)
                return
            time.sleep(pause)
        raise FetchFailed(f"{url} could not be downloaded in {RETRY.tries} tries: try again later.")

    def _go_on(self, url: str) -> None:
        have, headers = self._asked()
        request = http_request(url, **headers)
        with open_watched(request, RETRY.answer) as answer:
            goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            if goes_on and not _starts_at(answer.headers.get("Content-Range", ""), have):
                self.part.unlink(missing_ok=True)
                raise ConnectionError("another piece came than the one asked for")
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            piece = answer.read(PIECE)
            _refuse_page(url, answer.headers.get_content_type(), piece)
            if not goes_on:
                self._note_version(answer.headers)
            with self.part.open("ab" if goes_on else "wb") as file:
                while piece:
                    file.write(piece)
                    have += len(piece)
                    if self.progress:
                        self.progress(have, total)
                    piece = answer.read(PIECE)
                file.flush()
                os.fsync(file.fileno())
        if total is not None and have < total:
            raise ConnectionError(f"{have} of {total} bytes")

    def _asked(self) -> tuple[int, dict[str, str]]:
        """Return how much of the file is here, and the headers that ask for the rest."""
        have = self.part.stat().st_size if self.part.exists() else 0
        version = self.version.read_text("utf-8") if self.version.exists() else ""
        if not have or not (version or self.checked):
            return 0, {}
        return have, {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})

    def _note_version(self, headers: http.client.HTTPMessage) -> None:
        """Keep what tells this version of the file from others, before anything of it is here."""
        tag = headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        self.part.unlink(missing_ok=True)
        self.version.write_text(version, "utf-8")


def _starts_at(said: str, have: int) -> bool:
    """Whether a ``Content-Range`` begins where it should; True where there is none."""
    found = re.match(r"bytes (\d+)-", said)
    return found is None or int(found[1]) == have


def _refuse_page(url: str, kind: str, start: bytes) -> None:
    """Refuse (FetchFailed) a web page in the place of a file, such as one that asks to sign in."""
    wanted = _name(url).lower().endswith((".html", ".htm"))
    if kind == "text/html" and start.lstrip()[:1] == b"<" and not wanted:
        raise FetchFailed(
            f"{url} answered with a web page instead of the file: open it in a browser to see what "
            "stands between (a sign-in, a proxy), or check the address."
        )


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time fetch a file, where the platform has file locks.

    The others then find it there.
    """
    if not LOCKS:
        # two downloads at once may spoil each other's part, and then the checksum says so
        yield
        return
    with in_turn(place.with_name(f".{place.name}.lock")):
        yield


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
