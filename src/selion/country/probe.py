"""A probe: the whole pipeline over a few kilometres, each stage timed.

It is done on this machine, with this archive and this model.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import imagery, prediction, store
from selion.cores import usable_cores
from selion.errors import BadInput, FetchFailed, NoScenes, SearchFailed, UnreadableFile, counted
from selion.grid import overlap, tiles, whole
from selion.pipeline import areas, cost, maps, run
from selion.segmenter import on_gpu
from selion.store.former import former, is_ours

if TYPE_CHECKING:
    from selion.imagery import Area
    from selion.pipeline.areas import AreaOptions, Survey
    from selion.pipeline.maps import MapOptions
    from selion.world.imagery_map import MosaicMap

READERS = 12
"""Blocks that are read at once, as a composite does."""
MOST = 48
"""Blocks of one scene that are timed at most."""
ROUNDS = 3
"""How often the network is timed."""
KIND = "selion probe 1"
LARGEST = 1e300
"""Number that anything of a probe may be."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured; all of it on one machine in one place."""

    when: str
    machine: str
    cores: int
    """Cores that the stages had."""
    engine: str
    model: str
    gpu: bool
    provider: str
    place: tuple[float, float]
    """Longitude and latitude of the middle."""
    km2: float
    """Of the window."""
    startup: float
    """Seconds until selion is imported and the model loaded."""
    choosing: float
    """Seconds of searching and choosing scenes for the window."""
    scenes: float
    """Scenes taken per tile and season."""
    bytes_per_block: dict[str, float]
    """Compressed, by band."""
    megabytes_per_second: float
    """Read as a composite reads, twelve blocks at once."""
    composing: float
    """Seconds of composites and mosaic per gigabyte that they read."""
    km2_per_second: float
    """The network on the window's own composite, reading of that included."""
    drawing: float
    """Seconds per km2 of objects, outlines and the table."""
    fields_per_km2: float
    spread: tuple[float, ...] = field(default=(1.0,))
    """Each repeated timing over the mean of its kind."""
    sensor: str = "sentinel-2"
    imagery: str = ""
    """Quarterly mosaics that were read instead of scenes; empty: scenes."""
    gigabytes_per_km2: float = 0.0
    """Of these mosaics."""

    def facts(self) -> dict[str, object]:
        """Return what is printed."""
        return {
            "machine": f"{self.machine}, {counted(self.cores, 'core')}",
            "model": f"{self.model}, {self.engine}",
            "place": f"{self.place[0]:.4f}, {self.place[1]:.4f} ({self.km2:.2f} km2)",
            "startup_s": round(self.startup, 2),
            **self._read(),
            "model_km2_per_s": round(self.km2_per_second, 3),
            "outlines_s_per_km2": round(self.drawing, 4),
            "fields_per_km2": round(self.fields_per_km2, 2),
            "spread": (
                f"{min(self.spread):.2f} to {max(self.spread):.2f} of the mean over "
                f"{counted(len(self.spread), 'timing')}"
            ),
        }

    def _read(self) -> dict[str, object]:
        """Return what is printed of reading and composing."""
        rate = {"read_mb_per_s": round(self.megabytes_per_second, 2)}
        if self.imagery:
            return {
                "imagery": self.imagery,
                "mb_per_km2": round(1e3 * self.gigabytes_per_km2, 3),
                **rate,
            }
        return {
            "scenes_per_tile_and_season": round(self.scenes, 2),
            **rate,
            "compose_s_per_gb": round(self.composing, 1),
        }


def write_probe(probe: Probe, path: Path, *, force: bool = True) -> Path:
    """Write a probe as JSON."""
    store.write_text(
        path,
        json.dumps({"kind": KIND, "selion": selion.__version__, **asdict(probe)}, indent=1) + "\n",
        force=force,
    )
    return path


def read_probe(path: Path | str) -> Probe:
    """Read what :func:`write_probe` wrote.

    Raises
    ------
    UnreadableFile
        If it is none.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UnreadableFile(
            f"There is no file {path}: name the probe.json of an earlier plan, or measure with "
            "--probe."
        )
    try:
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        known = is_ours(table.pop("kind"), KIND, path)
        known = table.pop(former("selion"), table.pop("selion", None)) is not None and known
        return _checked(
            Probe(
                **{**table, "place": tuple(table["place"]), "spread": tuple(table["spread"])}
                if known
                else {}
            )
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} is not a probe of selion ({error}): make one with 'selion plan --probe', "
            "which writes probe.json into the plan."
        ) from error


def _checked(probe: Probe) -> Probe:
    """Return a probe all of whose numbers are numbers.

    Raises
    ------
    TypeError, ValueError, KeyError
        If they are not.
    """
    names = ("when", "machine", "engine", "model", "provider", "sensor", "imagery")
    if not all(isinstance(getattr(probe, name), str) for name in names):
        raise TypeError(f"one of {', '.join(names)} is no text")
    rates = (probe.km2, probe.megabytes_per_second, probe.km2_per_second)
    others = (probe.cores, probe.startup, probe.choosing, probe.scenes, probe.composing)
    each = dict(probe.bytes_per_block)
    sensor = imagery.find_sensor(probe.sensor)
    bands = [each[band] for band in {*sensor.bands, sensor.mask.band}]
    more = (probe.drawing, probe.fields_per_km2, probe.gigabytes_per_km2)
    amounts = (*rates, *others, *more, *probe.spread, *bands)
    for value in (*amounts, *probe.place):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{value!r} is no number")
        if not -LARGEST < value < LARGEST:
            raise ValueError("a number is larger than any is")
    if min(amounts) < 0 or min(rates) == 0 or not probe.spread or len(probe.place) != 2:
        raise ValueError("a number is less than it can be, or lacks")
    return probe


def probe_pipeline(
    area: Area,
    year: int,
    area_options: AreaOptions,
    map_options: MapOptions | None = None,
    model: str | Path | None = None,
    *,
    km: float = 5.0,
) -> Probe:
    """Run the pipeline over a window in the middle of an area, and time it.

    Parameters
    ----------
    area : Area
    year : int
    area_options : AreaOptions
    map_options : MapOptions, optional
    model : str or path, optional
    km : float
        Edge of the window.

    Returns
    -------
    Probe

    Raises
    ------
    BadInput
        If the window has no size.
    SelionError
        All that the pipeline raises: where it cannot be run there is nothing to measure.
    """
    map_options = map_options or maps.MapOptions()
    window = probe_window(area, km)
    with tempfile.TemporaryDirectory(prefix="selion-probe-") as name:
        folder = Path(name)
        began = time.perf_counter()
        # what is measured is composing, so nothing is taken from a mosaic
        alone = replace(area_options, mosaic=None, mosaic_zarr=False)
        survey = _searched(window, year, alone, area_options)
        choosing = time.perf_counter() - began
        sizes, reading, rate = _read(survey)
        clock, seen = StageClock(), ProbedWindow()
        map_options = replace(map_options, work=folder / "work")
        run.map_area(
            survey,
            folder / "probe.parquet",
            model,
            map_options,
            on_step=clock,
            use=seen,
        )
        clock("end", 0, 1, "")
        # composites and scores are taken up; the first time has compiled the loops of the outlines,
        # which no job but the first pays
        again = StageClock()
        run.map_area(
            survey,
            folder / "probe.parquet",
            model,
            map_options,
            force=True,
            on_step=again,
        )
        again("end", 0, 1, "")
    gigabytes = (
        sum(len(plan.scenes) * cost.blocks_under(plan) for plan in survey.plans)
        * sum(sizes.values())
        / 1e9
    )
    taken = [len(plan.scenes) for plan in survey.plans if plan.scenes]
    return Probe(
        **mapped_rates(window, seen, again, reading, map_options.threads),
        provider=str(area_options.provider),
        choosing=choosing,
        scenes=float(np.mean(taken)),
        bytes_per_block=sizes,
        megabytes_per_second=rate,
        composing=clock.seconds("compose", "mosaic") / gigabytes,
        sensor=areas.sensor_of(area_options).name,
    )


def mapped_rates(
    window: Area,
    seen: ProbedWindow,
    clock: StageClock,
    reading: list[float],
    threads: int | None,
) -> dict[str, Any]:
    """Return what a probe says of any imagery: the machine, the window, network and outlines.

    Parameters
    ----------
    window : Area
    seen : ProbedWindow
        Of the network's blocks.
    clock : StageClock
        Of a run in which all loops are compiled.
    reading : list of float
        Seconds of reads of one size.
    threads : int or None
        Of the network; None: all cores.

    Returns
    -------
    dict
        Fields of :class:`Probe`; rates in km2 and seconds.
    """
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine_name(),
        "cores": threads or usable_cores(),
        "engine": seen.engine.partition(";")[0],
        "model": seen.model,
        "gpu": on_gpu(seen.engine),
        "place": (round(window.centre[0], 5), round(window.centre[1], 5)),
        "km2": window.km2,
        "startup": startup_seconds(),
        "km2_per_second": seen.km2 / float(np.mean(seen.seconds)),
        "drawing": clock.seconds("objects", "outlines", "land cover") / window.km2,
        "fields_per_km2": seen.fields / window.km2,
        "spread": tuple(
            round(float(value), 4) for value in [*relative(reading), *relative(seen.seconds)]
        ),
    }


def _searched(window: Area, year: int, alone: AreaOptions, given: AreaOptions) -> Survey:
    """Search for the window; an archive that is not there is told to whoever has a mosaic."""
    try:
        return areas.survey_area(window, year, alone)
    except NoScenes:
        raise
    except (SearchFailed, FetchFailed, BadInput) as error:
        if given.mosaic is None:
            raise
        raise BadInput(
            f"A probe times how scenes are read and composed, which the mosaic {given.mosaic} "
            f"cannot tell, and the archive cannot be asked ({str(error).rstrip('.')}): take "
            "--probe-file with the probe.json of an earlier plan, and the jobs read the mosaic; or "
            "probe where the archive answers."
        ) from error


def relative(times: list[float]) -> np.ndarray:
    """Return timings over their mean."""
    return np.array(times) / np.mean(times)


def probe_window(area: Area, km: float) -> Area:
    """Return the part of an area within a square around a point inside it.

    Raises
    ------
    BadInput
        If the window has no size.
    """
    import shapely

    if not 0.5 <= km <= 50:
        raise BadInput(f"A probe of {km:g} km was asked for; wanted are 0.5 to 50.")
    parts = shapely.get_parts(area.geometry)
    point = shapely.point_on_surface(parts[np.argmax(shapely.area(parts))])
    high, wide = km / 222.0, km / 222.0 / max(np.cos(np.radians(point.y)), 0.05)
    box = imagery.read_area(
        [
            max(point.x - wide, -180),
            max(point.y - high, -90),
            min(point.x + wide, 180),
            min(point.y + high, 90),
        ],
        name=f"{area.name} probe",
    )
    return area.within(box) or box


def _read(survey: Survey) -> tuple[dict[str, float], list[float], float]:
    """Read one scene as a composite does.

    Return bytes per block by band, seconds of each block, and megabytes per second of all.
    """
    plan = next((plan for plan in survey.plans if plan.scenes), None)
    if plan is None:
        raise NoScenes(
            f"No scene shows the window of the probe ({survey.area.name}): choose another place "
            "with --probe-at, or another year."
        )
    signer = imagery.make_signer(imagery.find_provider(survey.options.provider))
    scene, sizes, jobs = plan.scenes[0], {}, []
    for band in areas.sensor_of(survey.options).assets:
        source = imagery.open_band(scene, band, signer)
        parts = tiles((int(source.grid.shape[0]), int(source.grid.shape[1])), cost.BLOCK)
        sizes[band] = store.byte_size(signer(scene.hrefs[band])) / len(parts)
        jobs += [(source, overlap(part, whole(source.grid)) or part, sizes[band]) for part in parts]
    chosen = jobs[:: max(len(jobs) // MOST, 1)]

    def one(job: tuple[Any, Any, float]) -> float:
        begin = time.perf_counter()
        job[0].read(job[1])
        return time.perf_counter() - begin

    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as pool:
        seconds = list(pool.map(one, chosen))
    return sizes, seconds, sum(size for *_, size in chosen) / 1e6 / (time.perf_counter() - began)


class StageClock:
    """Adds up how long each stage takes, from its first word to the next stage's."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.stage = "compose"
        self.since = time.perf_counter()

    def __call__(self, stage: str, done: float, total: float, _detail: str = "") -> None:
        """Take the time of a stage."""
        now = time.perf_counter()
        self.total[self.stage] = self.total.get(self.stage, 0.0) + now - self.since
        # what follows is the model being loaded
        self.stage, self.since = (
            f"after {stage}" if stage == "mosaic" and done >= total else stage,
            now,
        )

    def seconds(self, *stages: str) -> float:
        """Return the seconds of some stages together."""
        return sum(self.total.get(stage, 0.0) for stage in stages)


class ProbedWindow:
    """Times the network on the window's composite, while that is there."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.km2 = 0.0
        self.fields = 0
        self.engine = self.model = ""

    def __call__(self, result: run.AreaMap | MosaicMap) -> None:
        """Time the network of a map."""
        job = result.job
        height, width = job.plan.grid.shape
        gsd = job.plan.grid.resolution
        self.km2 = height * width * abs(gsd.x * gsd.y) / 1e6
        self.fields = len(result.frame)
        self.engine, self.model = job.model.engine, job.model.card.name
        self.seconds = [
            prediction.estimate(job.source, job.model, job.plan).seconds for _ in range(ROUNDS)
        ]


def startup_seconds() -> float:
    """Time a fresh process that imports the pipeline and loads the packaged model."""
    code = (
        "from selion import models; from selion.pipeline import run; "
        "cards = models.packaged_models(); cards and models.load_model(cards[0].name)"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)  # noqa: S603  # our own interpreter and our own words
    return time.perf_counter() - began


def machine_name() -> str:
    """Return what the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
