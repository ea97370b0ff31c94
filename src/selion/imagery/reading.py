"""One band of one scene, wherever it lies.

Few bytes, patience with servers, signatures that run out.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import BandMismatch, UnreadableFile
from selion.grid import Roi
from selion.imagery.scene import Scene
from selion.imagery.signing import Signer
from selion.raster import Raster, Source
from selion.store.retry import RetryPolicy

READING = RetryPolicy(connect=10.0, answer=20.0, tries=3)
"""Shorter than a catalogue's: one band of many can be left out."""
ROUNDS = {"refused": 2, "busy": 2, "silent": 1, "whole": 1}
"""Further times that a band is opened or a region read, by what the server says of it; each of them
repeats its requests by itself.  ``whole``: the server sends the file, and GDAL could not read it,
because it is damaged or because an answer broke off."""
PAUSE = 1.0
"""Seconds before the second round at a busy server; they double."""


class Unreachable(UnreadableFile):
    """A band cannot be read because its server does not answer, or is too busy.

    The band itself may be fine.
    """


def open_band(
    scene: Scene,
    band: str,
    signer: Signer,
    coarse: float | None = None,
    retry: RetryPolicy | None = None,
) -> BandSource:
    """Open one band of a scene.

    Parameters
    ----------
    scene : Scene
    band : str
        ``red``, ``green``, ``blue``, ``nir`` or ``scl``.
    signer : Signer
        Makes addresses that can be read now.
    coarse : float, optional
        Edge of a pixel in metres that is fine enough: the smallest overview is read whose pixels
        are not larger, and nothing else of the file.
    retry : RetryPolicy, optional
        How long a server is waited for.

    Returns
    -------
    BandSource
        One band, as it is in the file.  Safe to read from many threads at once, and picklable if
        the signer is.

    Raises
    ------
    BandMismatch
        If the scene has no such band.
    UnreadableFile
        If it is missing or truncated; scene and band are named, signatures are not.
    Unreachable
        If it is only that the server does not answer; an UnreadableFile too.
    """
    if band not in scene.hrefs:
        raise BandMismatch(
            f"Scene {scene.id} has no band {band} (it has "
            f"{', '.join(sorted(scene.hrefs)) or 'none'}): leave it out."
        )
    place = _Place(scene.id, band, scene.hrefs[band], signer, coarse, retry or READING)
    file = _File(place)
    source = file.attempt(lambda opened: opened)
    return BandSource(
        store.shown(place.href), scene.id, source.grid, (band,), source.dtype, source.nodata, file
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a band is and how it is to be read."""

    scene: str
    band: str
    href: str
    signer: Signer
    coarse: float | None
    retry: RetryPolicy

    def open(self, address: str) -> Any:
        return store.open_raster(address, coarse=self.coarse, retry=self.retry)

    def failed(self, kind: str, status: int | None) -> UnreadableFile:
        message = (
            f"Band {self.band} of scene {self.scene} cannot be read from {store.shown(self.href)}: "
            f"{_reason(kind, status)}."
        )
        return Unreachable(message) if kind in ("silent", "busy") else UnreadableFile(message)


_MARKS = itertools.count(1)
"""No two openings after a failure share a name in this process."""


class _File:
    """An open file that is opened again, under a fresh address, when that may help.

    Shared by threads.
    """

    def __init__(self, place: _Place) -> None:
        self.place = place
        self._round = 0
        self._mark = ""
        self._address = place.href
        self._source: Any = None
        self._lock = threading.Lock()

    def attempt(self, act: Callable[[Any], Any]) -> Any:
        """Return ``act(source)``; after a failure that may pass, a few rounds more."""
        tried: Counter[str] = Counter()
        while True:
            number, source, error = self._opened()
            if error is None:
                try:
                    return act(source)
                except UnreadableFile as failure:
                    error = failure
            self._mend(number, tried, error)

    def close(self) -> None:
        """Close this thread's file, if it is open."""
        with self._lock:
            if self._source is not None:
                self._source.close()

    def _opened(self) -> tuple[int, Any, UnreadableFile | None]:
        """Return the round, the file as it is open now, or why it cannot be.

        The file is opened if it is not open.
        """
        with self._lock:
            if self._source is None:
                self._address = self.place.signer(self._address)
                try:
                    self._source = self.place.open(self._named())
                except UnreadableFile as error:
                    return self._round, None, error
            return self._round, self._source, None

    def _named(self) -> str:
        """Return the address with a mark behind a #, which is never sent.

        GDAL remembers failures by name as long as the process lives.
        """
        return self._address + (self._mark if _is_http(self._address) else "")

    def _mend(self, number: int, tried: Counter[str], error: UnreadableFile) -> None:
        """Prepare another round, or raise with the reason why there is none."""
        with self._lock:
            if self._round != number:
                return  # another thread has mended it meanwhile
            if not _is_http(self._address):
                raise UnreadableFile(
                    f"Band {self.place.band} of scene {self.place.scene}: {error}"
                ) from None
            status = store.ask_status(self._address, self.place.retry.connect)
            kind = _kind(status)
            tried[kind] += 1
            renewed = kind != "refused" or self._renew()
            if tried[kind] > ROUNDS.get(kind, 0) or not renewed:
                # GDAL's own words may hold the signature
                raise self.place.failed(kind, status) from None
            self._round, self._mark, self._source = self._round + 1, f"#{next(_MARKS)}", None
        if kind == "busy":
            time.sleep(replace(self.place.retry, backoff=PAUSE).pause(tried[kind]))

    def _renew(self) -> bool:
        """Sign again, and say whether that changed anything."""
        fresh = self.place.signer.renew(self._address)
        changed, self._address = fresh != self._address, fresh
        return changed

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["place"])  # type: ignore[misc]


def answers(address: str, retry: RetryPolicy | None = None) -> bool:
    """Say whether a server gives a file now; it is asked again where it was silent or busy."""
    how = retry or READING
    for number in range(1, how.tries + 1):
        kind = _kind(store.ask_status(address, how.connect))
        if kind not in ("silent", "busy"):
            return kind == "whole"
        if number < how.tries:
            time.sleep(how.pause(number))
    return False


def _is_http(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _kind(status: int | None) -> str:
    if status is None:
        return "silent"
    if status in store.REFUSED:
        return "refused"
    if status in store.BUSY:
        return "busy"
    return "whole" if status in (200, 206) else "gone"


def _reason(kind: str, status: int | None) -> str:
    return {
        "silent": "the server does not answer",
        "refused": (
            f"the server refuses it (HTTP {status}), also with a fresh signature; check your "
            "credentials"
        ),
        "busy": f"the server is too busy (HTTP {status}); try again later",
        "whole": "the server sends it, but it is truncated, damaged or no raster",
        "gone": f"it is not there (HTTP {status})",
    }[kind]


@dataclass(frozen=True, eq=False)
class BandSource:
    """One band of one scene, as a Source."""

    path: str
    """The address, not signed."""
    scene: str
    """Id of the scene."""
    grid: GeoBox
    bands: tuple[str, ...]
    dtype: np.dtype
    nodata: float | None
    _file: _File = field(repr=False)

    @property
    def tags(self) -> Mapping[str, str]:
        """None."""
        return {}

    def read(self, roi: Roi) -> Raster:
        """Read a region.

        Returns
        -------
        Raster
            (1, y, x) digital numbers in the file's type; ``valid`` from the file's nodata.

        Raises
        ------
        UnreadableFile
            If the file ends too early or the server does not answer, after some tries; scene and
            band are named.
        """
        found: Raster = self._file.attempt(lambda source: source.read(roi))
        return Raster(found.values[:1], found.grid, self.bands, found.valid)

    def close(self) -> None:
        """Close this thread's file, if it is open; the next read opens it again."""
        self._file.close()


_: type[Source] = BandSource
