"""A folder on an object store (s3, gs, az).

Small whole objects, put there once, whoever comes first.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from selion.errors import FetchFailed, OutputExists, OutputFailed
from selion.store.retry import RetryPolicy
from selion.store.witness import inputs_unchanged, was_sent

NO_CONDITIONS = re.compile(r"status code:? 501\b|Not ?Implemented")
"""What a store says that knows no conditional writes."""
_warned: set[str] = set()
"""Stores of which that was said."""
T = TypeVar("T")
SCHEMES = ("s3", "gs", "az")
"""Stores that can be written to."""
RETRY = RetryPolicy(backoff=0.2)
PART, WHOLE = 16 * 2**20, 64 * 2**20
"""Bytes of the parts in which a large file is sent, and of the largest that is sent in one
piece."""
AT_ONCE = 4
"""Parts that are sent at once."""
SLOWEST = 64 * 2**10
"""Bytes a second of the slowest line for which a request is given its time: half a megabit."""


def is_object_url(place: str | os.PathLike[str]) -> bool:
    """Say whether a place is on an object store that can be written to.

    Examples
    --------
    >>> is_object_url("s3://bucket/map.parquet"), is_object_url("map.parquet")
    (True, False)
    """
    return os.fspath(place).partition("://")[0] in SCHEMES and "://" in os.fspath(place)


@dataclass
class ObjectFolder:
    """A prefix on an object store; picklable, thread-safe.

    Credentials, regions and other addresses of a store come from the environment, in the words of
    obstore or of GDAL (:mod:`selion.store.clouds`).  A request that fails is made again, with
    pauses; what comes over the network is the caller's to check, who knows its checksum.
    """

    url: str
    _opened: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.url, self._opened = state["url"], None

    def __str__(self) -> str:
        return self.url

    @property
    def _store(self) -> Any:
        if self._opened is None:
            from selion.store.clouds import open_store

            self._opened = open_store(self.url, RETRY, RETRY.answer)
        return self._opened

    def _taking(self, size: int) -> Any:
        """Return the store for requests that carry so many bytes, over a slow line too."""
        from selion.store.clouds import open_store

        needed = size / SLOWEST
        if needed < RETRY.answer / 2:
            return self._store
        return open_store(self.url, RETRY, RETRY.answer + needed)

    @property
    def client(self) -> Any:
        """The store as obstore has it, for libraries that read from one; http(s) too."""
        return self._store

    def get(self, name: str) -> bytes | None:
        """Return what an object holds; None if there is none.

        Raises
        ------
        FetchFailed
            If the store does not answer.
        """
        import obstore

        def fetch() -> bytes | None:
            try:
                found = obstore.get(self._store, name)
                size = int(found.meta["size"])
                patient = self._taking(size)
                if patient is not self._store:  # it would be cut off in the middle
                    found = obstore.get(patient, name)
                return bytes(found.bytes())
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None

        return self._patiently(fetch, f"{name} cannot be read", FetchFailed)

    def get_range(self, name: str, start: int, stop: int) -> tuple[bytes, dict[str, Any]] | None:
        """Return some bytes of an object and what the store says of it; None if there is none.

        Parameters
        ----------
        name : str
        start, stop : int
            Bytes from ``start`` up to ``stop``, or to the object's end.

        Returns
        -------
        (bytes, dict)
            The latter with ``size``, ``e_tag`` and ``last_modified``.

        Raises
        ------
        FetchFailed
            If the store does not answer.
        """
        import obstore

        def fetch() -> tuple[bytes, dict[str, Any]] | None:
            try:
                found = obstore.get(self._store, name, options={"range": (start, stop)})
                content = bytes(found.bytes())
                about: dict[str, Any] = dict(found.meta)
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None
            wanted = min(stop, about["size"]) - start
            if len(content) != wanted:
                raise OSError(f"{len(content):,} of {wanted:,} bytes")
            return content, about

        return self._patiently(fetch, f"{name} cannot be read", FetchFailed)

    def put(self, name: str, content: bytes, *, replace: bool = False) -> bool:
        """Put an object there, whole or not at all; without ``replace`` only if there is none.

        Returns
        -------
        bool
            Whether it is ours: False if one was there before, which stays as it is.

        Raises
        ------
        OutputFailed
            If the store does not take it.
        """
        import obstore

        place = self._taking(len(content))

        def send() -> bool:
            try:
                obstore.put(
                    place,
                    name,
                    content,
                    mode="overwrite" if replace else "create",
                    use_multipart=False,
                )
            except (obstore.exceptions.AlreadyExistsError, FileExistsError):
                return False
            except obstore.exceptions.BaseError as error:
                if replace or not self._knows_no_conditions(error):
                    raise
                return not self.has(name) and self.put(name, content, replace=True)
            return True

        return self._patiently(send, f"{name} cannot be written", OutputFailed)

    def put_over(self, name: str, content: bytes, about: Mapping[str, Any]) -> bool:
        """Replace an object, unless it is another one than ``about`` by now.

        Parameters
        ----------
        name : str
        content : bytes
        about : mapping
            What the store said of it, with ``e_tag`` and ``version``.

        Returns
        -------
        bool
            Whether it is ours.

        Raises
        ------
        OutputFailed
            If the store does not take it.
        """
        import obstore

        known: Any = {key: about[key] for key in ("e_tag", "version") if about.get(key)}

        def send() -> bool:
            try:
                obstore.put(self._store, name, content, mode=known, use_multipart=False)
            except (
                obstore.exceptions.PreconditionError,
                obstore.exceptions.NotFoundError,
                FileNotFoundError,
            ):
                return False
            except obstore.exceptions.BaseError as error:
                if not self._knows_no_conditions(error):
                    raise
                now = self.about(name) or {}
                same = all(now.get(key) == value for key, value in known.items())
                return same and self.put(name, content, replace=True)
            return True

        return self._patiently(send, f"{name} cannot be written", OutputFailed)

    def _knows_no_conditions(self, error: Exception) -> bool:
        """Say whether a store refused to put something only if nothing is there, and warn once.

        Then what is there is looked at first: in the moment between, two may write the same.
        """
        import obstore

        from selion.store.urls import shown

        refused = isinstance(error, obstore.exceptions.NotSupportedError)
        if not (refused or NO_CONDITIONS.search(str(error))):
            return False
        place = "/".join(shown(self.url).split("/")[:3])
        if place not in _warned:
            _warned.add(place)
            warnings.warn(
                f"{place} cannot refuse what two commands write at once (it knows no conditional "
                "writes): see to it that no other one writes the same output.",
                stacklevel=4,
            )
        return True

    def has(self, name: str) -> bool:
        """Say whether there is an object of that name.

        Raises FetchFailed if the store does not answer.
        """
        return self.about(name) is not None

    def about(self, name: str) -> dict[str, Any] | None:
        """Return what the store says of an object, ``size`` and ``e_tag`` among it.

        None if there is none.

        Raises
        ------
        FetchFailed
            If the store does not answer.
        """
        import obstore

        def ask() -> dict[str, Any] | None:
            try:
                return dict(obstore.head(self._store, name))
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None

        return self._patiently(ask, f"{name} cannot be looked up", FetchFailed)

    def names(self) -> dict[str, int]:
        """Return name and size in bytes of all objects, those in folders below by their path.

        Raises
        ------
        FetchFailed
            If the store does not answer.
        """
        import obstore

        def ask() -> dict[str, int]:
            return {
                item["path"]: item["size"] for batch in obstore.list(self._store) for item in batch
            }

        return self._patiently(ask, "what it holds cannot be listed", FetchFailed)

    def copy(self, name: str, to: str) -> None:
        """Copy an object within the folder, over what is there.

        Raises
        ------
        OutputFailed
            If the store does not do it.
        """
        import obstore

        def send() -> None:
            obstore.copy(self._store, name, to)

        self._patiently(send, f"{name} cannot be copied", OutputFailed)

    def delete(self, *names: str) -> None:
        """Delete objects; those that are not there do not matter."""
        import obstore

        def drop(name: str) -> None:
            with contextlib.suppress(obstore.exceptions.NotFoundError, FileNotFoundError):
                obstore.delete(self._store, name)

        for name in names:
            self._patiently(lambda name=name: drop(name), f"{name} cannot be deleted", OutputFailed)  # type: ignore[misc]  # mypy loses the type of the default

    def upload(self, path: Path, name: str, *, force: bool = False) -> str:
        """Send a file; return its address.

        Raises
        ------
        OutputExists
            If an object of that name is there and ``force`` is false; up to 64 MB also if it
            appeared meanwhile: only an object that is sent in one piece can be refused by the
            store.
        OutputFailed
            If the store does not take it.
        """
        import obstore

        address = f"{self.url.rstrip('/')}/{name}"
        inputs_unchanged()
        if not force and self.has(name):
            raise exists(address)
        if path.stat().st_size <= WHOLE:
            content = path.read_bytes()
            # one that appeared meanwhile may be ours, put by a request whose answer was lost
            if not self.put(name, content, replace=force) and self.get(name) != content:
                raise exists(address)
        else:
            large = self._taking(AT_ONCE * PART)
            self._patiently(
                lambda: obstore.put(
                    large,
                    name,
                    path,
                    mode="overwrite",
                    chunk_size=PART,
                    max_concurrency=AT_ONCE,
                ),
                f"{name} cannot be written",
                OutputFailed,
            )
        was_sent(address, path)
        return address

    def _patiently(
        self, request: Callable[[], T], what: str, kind: type[FetchFailed | OutputFailed]
    ) -> T:
        """Make a request again until it works, or patience has an end."""
        from obstore.exceptions import BaseError

        from selion.store.urls import shown

        began = time.monotonic()
        for failed in range(1, RETRY.tries + 1):
            try:
                return request()
            except (BaseError, OSError) as error:
                late = failed > 1 and time.monotonic() - began > RETRY.patience
                if is_refusal(error) or failed == RETRY.tries or late:
                    said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                    raise kind(
                        f"{shown(self.url)}: {what} ({said}): check address, network and "
                        "credentials, then run the same command again."
                    ) from error
            time.sleep(RETRY.pause(failed))
        raise AssertionError("unreachable")


def is_refusal(error: BaseException | None) -> bool:
    """Say whether a store lets somebody not in, whatever is there."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    return isinstance(error, PermissionDeniedError | UnauthenticatedError)


def exists(address: str) -> OutputExists:
    """Return the error of an object that is there already."""
    return OutputExists(
        f"{address} exists already: choose another name, or replace it with --force."
    )
