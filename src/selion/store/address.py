"""Where something lies: a path on this machine, or an address on a server.

Both have a name, an ending and neighbours, so that who looks for a file need not ask which it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote, unquote

from selion.errors import FetchFailed, UnreadableFile
from selion.store.object_store import SCHEMES as OBJECT_SCHEMES
from selion.store.object_store import ObjectFolder, is_refusal
from selion.store.ranges import RangeFile, open_remote
from selion.store.urls import plain_name, remote_scheme, shown


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A URL with the words of :class:`pathlib.Path`.

    As text it is without signature and password, because text is printed and written down;
    ``os.fspath`` has them, because a server wants them.
    """

    url: str = field(repr=False)

    def __str__(self) -> str:
        return shown(self.url)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __fspath__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        path, tail = self._split()
        return RemotePath(f"{path.rstrip('/')}/{self._quoted(name)}{tail}")

    @property
    def name(self) -> str:
        """What comes after the last slash; a folder's name has none."""
        path = self._split()[0].partition("://")[2].rstrip("/")
        last = path.rpartition("/")[2]
        return unquote(last) if self._of_http else last

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder around it; that of a whole server is itself."""
        path, tail = self._split()
        scheme, _, rest = path.partition("://")
        head, slash, _ = rest.rstrip("/").rpartition("/")
        return RemotePath(f"{scheme}://{head}/{tail}" if slash else self.url)

    @property
    def listable(self) -> bool:
        """Whether its server says what lies in a folder."""
        return remote_scheme(self.url) in OBJECT_SCHEMES

    @property
    def _of_http(self) -> bool:
        return not self.listable

    def with_name(self, name: str) -> RemotePath:
        """Return a neighbour."""
        return self.parent / name

    def expanduser(self) -> RemotePath:
        """Return itself: nobody's home is on a server."""
        return self

    def resolve(self) -> RemotePath:
        """Return itself: an address is absolute."""
        return self

    def is_dir(self) -> bool:
        """Say whether it looks like a folder: it ends with a slash, or has no ending."""
        return self._split()[0].endswith("/") or not self.suffix

    def is_file(self) -> bool:
        """Say whether a file is there that may be read.

        Raises
        ------
        FetchFailed
            If an http server does not answer.
        """
        return not self.is_dir() and self.exists()

    def exists(self) -> bool:
        """Say whether something is there that may be read; of a folder that is not known.

        Raises
        ------
        FetchFailed
            If an http server does not answer.
        """
        if self._split()[0].endswith("/"):
            return True
        try:
            open_remote(self.url)
        except UnreadableFile:
            return False
        except FetchFailed as error:
            # a store that does not let its objects be listed says "forbidden" of what is missing
            if is_refusal(error.__cause__):
                return False
            raise
        return True

    def files(self) -> list[RemotePath]:
        """Return the files below a folder, by name.

        Raises
        ------
        FetchFailed
            If its server does not answer, or cannot list.
        """
        if not self.listable:
            raise FetchFailed(
                f"{self} cannot be looked through: a web server does not say what is in a folder."
            )
        path, _ = self._split()
        return [self / name for name in sorted(ObjectFolder(path.rstrip("/")).names())]

    def _split(self) -> tuple[str, str]:
        """Return what comes before the query, and the query."""
        if not self._of_http:
            return self.url, ""
        plain = self.url.partition("#")[0]
        path, mark, query = plain.partition("?")
        return path, mark + query

    def _quoted(self, name: str) -> str:
        return quote(name, safe="/=:@!$&'()*+,;~") if self._of_http else name


Place = Path | RemotePath
"""Where something lies."""


def locate(given: str | os.PathLike[str]) -> Place:
    """Return where something lies.

    Parameters
    ----------
    given : str or path
        A path, or an address with ``://``.

    Examples
    --------
    >>> locate("https://example.org/a/b.parquet?sig=secret")
    RemotePath('https://example.org/a/b.parquet')
    >>> locate("s3://bucket/vector/2025/") / "zone=10/utm10.parquet"
    RemotePath('s3://bucket/vector/2025/zone=10/utm10.parquet')
    """
    if isinstance(given, Path | RemotePath):
        return given
    text = plain_name(os.fspath(given).strip())
    return RemotePath(text) if remote_scheme(text) else Path(os.fspath(given))


def open_bytes(place: Place) -> IO[bytes] | RangeFile:
    """Open a file to read; of a remote one only what is read travels, and is kept.

    Raises
    ------
    UnreadableFile, FetchFailed
        If an address cannot be read.
    OSError
        If a file cannot.
    """
    return RangeFile(open_remote(place.url)) if isinstance(place, RemotePath) else place.open("rb")


def place_state(place: Place) -> tuple[int, str]:
    """Return the size in bytes of a file, and what changes when the file does.

    Raises
    ------
    UnreadableFile, FetchFailed
        If an address cannot be read.
    OSError
        If a file cannot.
    """
    if isinstance(place, RemotePath):
        found = open_remote(place.url)
        return found.size, found.key
    about = place.stat()
    return about.st_size, str(about.st_mtime_ns)
