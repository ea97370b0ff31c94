"""A piece of an image is mapped while the page is open: cut out, handed to ``selion map``, shown.

One at a time, and only into a folder that the person named at the start.  What is not finished lies
in a hidden folder (:mod:`selion.store.scratch`) and is taken away, however it ends; what a server
that was killed has left, by the next one or by ``selion clean``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from selion.errors import BadInput, OutputFailed, SelionError
from selion.grid import Roi
from selion.review.annotations import PixelFrame
from selion.store.clip import copy_window
from selion.store.gdal import grid_of
from selion.store.scratch import scratch_folder, sweep
from selion.web.view.discovery import Discovery, add_parquet
from selion.web.view.rasters import RasterFile, opened

LEAST, MOST = 32, 64_000_000
"""Pixels along an edge, and in all, of what is mapped from the page."""
GRACE = 10.0
"""Seconds that a run has to stop by itself."""
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
COMMAND = (sys.executable, "-m", "selion")
NUMBERED = re.compile(r"area-(\d{3,})")
IMAGE, FIELDS = "image.tif", "fields.parquet"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
"""What a system says of a name that another folder has."""


@dataclass
class AreaRun:
    """What became of the latest run, for the page."""

    state: str = "idle"
    """idle, running, done, failed or stopped."""
    stage: str = ""
    share: float | None = None
    """Of the stage, 0 to 1."""
    why: str = ""
    """Why it failed, or what was noted last."""
    layer: str = ""
    """Id of the layer that it became."""


@dataclass
class AreaMapper:
    """Runs one map at a time into a folder; safe to be asked by several threads."""

    found: Discovery
    folder: Path
    model: str | None = None
    command: Sequence[str] = COMMAND
    run: AreaRun = field(default_factory=AreaRun)
    _lock: Any = field(default_factory=threading.Lock)
    _process: subprocess.Popen[str] | None = None
    _thread: threading.Thread | None = None
    _stopped: bool = False

    def __post_init__(self) -> None:
        if not mappable(self.found):
            raise BadInput(
                "There is no image with a place to map: give a GeoTIFF with a CRS, or leave "
                "--map-into out."
            )
        if self.model and Path(self.model).exists():  # the run has another working folder
            self.model = str(Path(self.model).resolve())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFailed(
                f"{self.folder} cannot be made ({error.strerror}): give --map-into another folder."
            ) from error
        sweep(self.folder.absolute())

    def start(self, raster: str, box: Sequence[float]) -> dict[str, Any]:
        """Begin to map a piece of an image.

        Parameters
        ----------
        raster : str
            Key of the image.
        box : (4,) float
            West, south, east, north in degrees.

        Raises
        ------
        BadInput
            If there is no such image, the box does not lie on it, or a run is under way.
        """
        if raster not in mappable(self.found):
            raise BadInput(f"There is no image {raster[:40]!r} to map: load the page again.")
        image = self.found.rasters[raster]
        place = window_of(image, box)
        with self._lock:
            if self.run.state == "running":
                raise BadInput("A map is being made already: wait for it, or stop it.")
            self.run, self._stopped = AreaRun("running", "cut"), False
            self._thread = threading.Thread(target=self._go, args=(image, place), daemon=True)
            self._thread.start()
        return self.told()

    def told(self) -> dict[str, Any]:
        """Return how far it is, and which images there are."""
        return {**vars(self.run), "images": mappable(self.found)}

    def stop(self) -> dict[str, Any]:
        """Stop what is under way; returns when it has ended and its pieces are gone."""
        with self._lock:
            self._stopped = True
            process, thread = self._process, self._thread
        if process is not None:
            ended(process)
        if thread is not None:
            thread.join(2 * GRACE)
        return self.told()

    def _go(self, image: RasterFile, place: Roi) -> None:
        try:
            with scratch_folder(self.folder / "area") as begun:
                copy_window(image.path, place, begun / IMAGE)
                self.run.stage = ""
                self._map(begun)
                self.run.layer = self._shown(published(begun, self.folder))
            self.run.state = "done"
        except (SelionError, OSError) as error:
            stopped = self._stopped
            self.run.why = "" if stopped else str(error)
            self.run.state = "stopped" if stopped else "failed"

    def _map(self, begun: Path) -> None:
        """Run ``selion map``; its lines move the bar."""
        model = ["--model", self.model] if self.model else []
        words = [*self.command, "map", IMAGE, "--out", FIELDS, "--json", "--no-preview", *model]
        own: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        with self._lock:
            if self._stopped:
                raise OutputFailed("Stopped.")
            self._process = process = subprocess.Popen(  # noqa: S603  # our own command, no shell
                words, cwd=begun, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", **own,
            )  # fmt: skip
        errors: list[str] = []
        heard = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
        with process:  # closes its pipes
            heard.start()
            try:
                for line in process.stdout or ():
                    self._hear(line)
                heard.join()
                code = process.wait()
            finally:
                ended(process)
                heard.join()
                with self._lock:
                    self._process = None
        if code or self._stopped or not (begun / FIELDS).is_file():
            raise OutputFailed(last_word(errors, code))

    def _hear(self, line: str) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        if event.get("event") == "progress":
            done, total = float(event.get("done") or 0), float(event.get("total") or 1)
            self.run.stage = str(event.get("stage", ""))[:40]
            self.run.share = min(max(done / max(total, 1e-9), 0.0), 1.0)
        elif event.get("event") == "note":
            self.run.why = str(event.get("text", ""))[:400]

    def _shown(self, made: Path) -> str:
        """Take the result up as a layer; tables are replaced whole, as others read them now."""
        one = Discovery()
        add_parquet(one, made / FIELDS)
        (layer,) = one.fields.values()
        key = f"f{len(self.found.fields)}"
        self.found.names = {**self.found.names, key: f"{made.name}/{FIELDS}"}
        self.found.fields = {**self.found.fields, key: layer}
        if layer.overview is not None:
            layer.overview.start()
        return key


def mappable(found: Discovery) -> dict[str, str]:
    """Return the images that can be mapped, and what they are called."""
    return {
        key: found.names[key]
        for key, raster in found.rasters.items()
        if raster.crs is not None and any(one.kind == "colour" for one in raster.renderings)
    }


def window_of(image: RasterFile, box: Sequence[float]) -> Roi:
    """Return the rows and columns of an image that a box in degrees touches.

    Raises
    ------
    BadInput
        If it is no box, lies beside the image, or is too small or too large.
    """
    import shapely

    sound = len(box) == 4 and all(type(side) in (int, float) for side in box)
    west, south, east, north = box if sound else (0, 0, 0, 0)
    if not (-180 <= west < east <= 180 and -90 < south < north < 90):
        raise BadInput("An area is west, south, east, north in degrees: draw it again.")
    with opened(image.path) as dataset:  # rows as they lie in the file, which may run northwards
        grid = grid_of(dataset, image.path.name)
    around = shapely.segmentize(shapely.box(*box), (east - west) / 16)
    x, y = shapely.get_coordinates(PixelFrame(grid, "EPSG:4326").to_pixels([around])).T
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise BadInput("The area does not lie on the image: draw it again.")
    limits = zip((y, x), grid.shape, strict=True)
    rows, columns = (
        slice(max(int(np.floor(v.min())), 0), min(int(np.ceil(v.max())), size))
        for v, size in limits
    )
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if min(height, width) < LEAST:
        raise BadInput(
            f"Of the image {max(width, 0)} x {max(height, 0)} pixels lie in the area: wanted are "
            f"{LEAST} x {LEAST} or more."
        )
    if height * width > MOST:
        raise BadInput(
            f"The area has {width:,} x {height:,} pixels: from here at most {MOST // 1_000_000} "
            "million are mapped; run 'selion map' for more."
        )
    return rows, columns


def published(begun: Path, folder: Path) -> Path:
    """Give a finished folder its name, the next number that is free."""
    numbers = [int(m[1]) for p in folder.iterdir() if (m := NUMBERED.fullmatch(p.name))]
    for number in count(max(numbers, default=0) + 1):
        target = folder / f"area-{number:03}"
        try:
            begun.rename(target)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            continue  # by another server, which maps into the same folder
        return target
    raise AssertionError


def last_word(errors: Sequence[str], code: int) -> str:
    """Return what a run said last, its error before all."""
    said = [line.strip() for line in errors if line.strip()]
    for line in reversed(said):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")[:600]
    return (said[-1] if said else f"selion map ended with code {code} and said nothing.")[:600]


def ended(process: subprocess.Popen[str]) -> None:
    """End a process and its workers: asked first, then killed."""
    if process.poll() is not None:
        return
    _tell(process, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _tell(process, KILL)  # a worker may outlive the one that started it
    process.wait()


def _tell(process: subprocess.Popen[str], what: signal.Signals) -> None:
    try:
        if os.name == "posix":
            os.killpg(process.pid, what)
        else:
            process.terminate()
    except (ProcessLookupError, PermissionError):
        return
