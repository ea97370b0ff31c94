"""``selion plan``: a country in jobs, and what they will take, from a probe and a price sheet."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import selion
from selion import imagery, store
from selion.country.cluster_model import SimulatedRun, Work, sweep
from selion.country.job_tables import TABLE
from selion.country.kept_images import MOSAIC
from selion.country.lattice import EDGE, HALO, Cell, cut_area, to_feature
from selion.country.paper_table import MEXICO, TABLE_3
from selion.country.prices import Prices
from selion.country.probe import Probe, write_probe
from selion.errors import OutputExists, counted
from selion.pipeline.area_options import AreaOptions, check_year_of_dates
from selion.pipeline.cost import BLOCK
from selion.pipeline.mosaic_ready import ready_areas
from selion.pipeline.probabilities import FAILED
from selion.pipeline.tile_mosaic import TileMosaic
from selion.pipeline.tile_seasons import TileSeasons, expected_seasons, grouped, reasons
from selion.prediction.consistency import CORNERS
from selion.store.leftovers import NOTE
from selion.store.replaced import FolderKind

if TYPE_CHECKING:
    from selion.imagery import Area

SEASONS = 2
LOG, TIMES = "job.log", "job.times"
"""In the folder of a job: what its command said, and when it began and ended, see
:mod:`selion.country.standing`."""
PLAN = FolderKind(
    "a plan of 'selion plan'",
    ("plan.json",),
    ("jobs/", "jobs.json", "run.sh", "probe.json", "plan.md", "seasons.svg"),
)


@dataclass(frozen=True, eq=False)
class CountryPlan:
    """The jobs of a country, and what was measured and assumed about them."""

    area: Area
    year: int
    cells: tuple[Cell, ...]
    probe: Probe
    prices: Prices
    tiles: int
    """Squares of the sensor's tiles (of Sentinel-2: MGRS) that the area touches."""
    words: tuple[str, ...] = ()
    """Options that each job's command gets."""
    most: int = 256
    """Workers of the largest simulated cluster."""
    scores: str | None = None
    """Name of the file of class probabilities in each job's folder; None: they are not kept."""
    consistency: str | None = None
    """Name of the file of the map's consistency in each job's folder; None: it is not measured."""
    seasons: tuple[TileSeasons, ...] = ()
    """The seasons of each tile that will be needed."""
    mosaic: Path | str | None = None
    """Edition of the mosaic in which the jobs keep whole tiles, and share them."""
    held: tuple[bool, ...] = ()
    """Whether the mosaic has all composites of a job already; empty: of none."""

    @property
    def shared(self) -> bool:
        """Whether the jobs share whole tiles."""
        return self.mosaic is not None

    @cached_property
    def looked(self) -> np.ndarray:
        """(n,) km2 that each job composes and predicts.

        The box around its part of the area, halo included.
        """
        return np.array(
            [(x1 - x0) * (y1 - y0) / 1e6 for x0, y0, x1, y1 in (cell.bounds for cell in self.cells)]
        )

    @cached_property
    def gigabytes(self) -> np.ndarray:
        """(n,) to be read by each job.

        Whole blocks of all bands of the scenes taken, in both seasons; or what shows it of
        quarterly mosaics.
        """
        if self.probe.imagery:
            return self.looked * self.probe.gigabytes_per_km2
        sensor = imagery.find_sensor(self.probe.sensor)
        if self.shared:
            whole = self.tiles * self._per_scene(
                np.array([sensor.tile_edge * 1000 / sensor.gsd / BLOCK] * 2)
            )
            scenes = self.probe.scenes * SEASONS
            return np.asarray(
                whole * scenes / 1e9 * self.looked / self.looked.sum() * self._to_compose
            )
        across = (
            np.array(
                [[(x1 - x0), (y1 - y0)] for x0, y0, x1, y1 in (cell.bounds for cell in self.cells)]
            )
            / sensor.gsd
            / BLOCK
        )
        per_scene = self._per_scene(across + 1)
        return np.asarray(per_scene * self.probe.scenes * SEASONS * sensor.overlap / 1e9)

    @property
    def _to_compose(self) -> np.ndarray:
        """(n,) 1.0, or 0.0 of a job whose composites are there."""
        return np.ones(len(self.cells)) if not self.held else 1.0 - np.array(self.held)

    def _per_scene(self, blocks: np.ndarray) -> np.ndarray:
        """Return the bytes of all files of a scene under (..., 2) blocks of its bands."""
        sensor = imagery.find_sensor(self.probe.sensor)
        coarse = (blocks - 1) / sensor.coarser(sensor.mask.band) + 1
        each = dict.fromkeys(sensor.bands, blocks.prod(axis=-1))
        each[sensor.mask.band] = coarse.prod(axis=-1)
        return np.asarray(sum(each[band] * self.probe.bytes_per_block[band] for band in each))

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n,) km2 that the network of each job runs over, at the probe's rate."""
        return self.looked * self.passes

    @property
    def passes(self) -> float:
        """How often the network runs over a job, beside once as the probe timed it."""
        own = 8 if "--flips" in self.words else 1
        more = len(CORNERS) - (own == 1)  # without flips the map is a pass itself
        return 1.0 if self.consistency is None else (own + more) / own

    @cached_property
    def work(self) -> Work:
        """The jobs in seconds, on one worker like the probe's machine."""
        probe, share = self.probe, self.prices.cpu.cores / self.probe.cores
        reading = self.gigabytes * 1e3 / probe.megabytes_per_second
        composing = np.maximum(self.gigabytes * probe.composing - reading, 0.0)
        others = composing + self.predicted / probe.km2_per_second + self.looked * probe.drawing
        readers = max(int(self.prices.archive.megabytes_per_second / probe.megabytes_per_second), 1)
        return Work(
            reading,
            probe.choosing * self._to_compose + others / share,
            probe.startup,
            np.array(probe.spread),
            readers,
        )

    @cached_property
    def outcomes(self) -> list[SimulatedRun]:
        """Simulated runs on 1, 2, 4 ... workers."""
        return sweep(self.work, self.prices.faults, self.most)

    def costs(self) -> dict[str, object]:
        """Return what the country takes, without faults: reading, computing, money, emissions."""
        work, prices = self.work, self.prices
        hours = float((work.reading + work.computing + work.startup).sum()) / 3600
        gigabytes = float(self.gigabytes.sum())
        network = (
            float(self.predicted.sum())
            / self.probe.km2_per_second
            / 3600
            / (prices.cpu.cores / self.probe.cores)
        )
        rate = self.probe.km2_per_second if self.probe.gpu else prices.gpu.assumed_km2_per_second
        gpu = float(self.predicted.sum()) / rate / 3600
        dollars = (
            hours * prices.cpu.dollars_per_hour + gigabytes * prices.archive.dollars_per_gigabyte
        )
        km2 = sum(cell.km2 for cell in self.cells)
        left = float((self.looked * self._to_compose).sum() / self.looked.sum())
        return {
            "area_km2": round(km2, 3),
            "jobs": len(self.cells),
            **({"jobs_whose_composites_are_there": sum(self.held)} if any(self.held) else {}),
            "scenes": round(self.tiles * SEASONS * self.probe.scenes * left),
            "gigabytes": round(gigabytes, 2),
            "worker_hours": round(hours, 3),
            "core_hours": round(hours * prices.cpu.cores, 3),
            "of_which_network_core_hours": round(network * prices.cpu.cores, 3),
            "gpu_hours": round(gpu, 4),
            "gpu_rate": "measured by the probe"
            if self.probe.gpu
            else f"ASSUMED {rate:g} km2/s: the probe had no GPU",
            "dollars": round(dollars, 4),
            "dollars_per_km2": float(f"{dollars / km2:.3g}"),
            "dollars_with_gpu": round(
                dollars - network * prices.cpu.dollars_per_hour + gpu * prices.gpu.dollars_per_hour,
                4,
            ),
            "kg_co2": round(self._co2(hours, prices.cpu.watts), 4),
            "kg_co2_with_gpu": round(
                self._co2(hours - network, prices.cpu.watts) + self._co2(gpu, prices.gpu.watts), 4
            ),
        }

    def _co2(self, hours: float, watts: float) -> float:
        return hours * watts / 1000 * self.prices.energy.pue * self.prices.energy.kg_co2_per_kwh


def make_plan(
    area: Area,
    year: int,
    probe: Probe,
    prices: Prices,
    *,
    edge: float = EDGE,
    halo: float = HALO,
    words: Sequence[str] = (),
    most: int = 256,
    scores: str | None = None,
    consistency: str | None = None,
    options: AreaOptions | None = None,
) -> CountryPlan:
    """Cut an area into jobs and work out what they take.

    Parameters
    ----------
    area : Area
    year : int
    probe : Probe
    prices : Prices
    edge, halo : float
        Metres, see :func:`selion.country.cut_area`.
    words : sequence of str
        More options for each job's ``selion map``.
    most : int
        Workers of the largest simulated cluster.
    scores : str, optional
        Name of a file that each job writes its class probabilities to, in its own folder.
    consistency : str, optional
        The same for the map's consistency.
    options : AreaOptions, optional
        Of the jobs: by them each tile has its seasons, and a mosaic is shared.
    """
    options = options or AreaOptions()
    check_year_of_dates(options.seasons, year)
    cells = tuple(cut_area(area, edge, halo))
    edition = None if options.mosaic is None else TileMosaic.of(year, options, keep=False)
    step = 1000 * imagery.find_sensor(probe.sensor).tile_step
    squares = cut_area(area, step, 100.0)
    seasons = (
        []  # each job takes the quarters of its own ground
        if probe.imagery
        else expected_seasons([_square(one, step) for one in squares], year, options)
    )
    return CountryPlan(
        area,
        year,
        cells,
        probe,
        prices,
        len(squares),
        tuple(words),
        most,
        scores,
        consistency,
        tuple(seasons),
        None if edition is None else _place(edition),
        ()
        if edition is None
        else tuple(ready_areas(edition, [_looked_at(cell) for cell in cells])),
    )


def _place(edition: TileMosaic) -> Path | str:
    folder = edition.folder
    return folder.absolute() if isinstance(folder, Path) else folder


def _looked_at(cell: Cell) -> Area:
    """Return the area of a job, as its command reads it."""
    return imagery.read_area(to_feature(cell), name=cell.name)


def _square(cell: Cell, step: float) -> tuple[str, tuple[float, float], str]:
    """Return name, upper left corner and CRS of a square of a sensor's tiling."""
    column, row = (int(part[1:]) for part in cell.name.split("_")[1:])
    return cell.name, (column * step, (row + 1) * step), cell.crs


def command_of(plan: CountryPlan, cell: Cell) -> list[str]:
    """Return the words of a job, to be run in the plan's folder."""
    folder = f"jobs/{cell.name}"
    words = [
        "selion",
        "map",
        f"{folder}/area.geojson",
        "--year",
        str(plan.year),
        "--crs",
        cell.crs,
        "-o",
        f"{folder}/fields.parquet",
    ]
    for option, name in (("--scores", plan.scores), ("--consistency", plan.consistency)):
        words += [] if name is None else [option, f"{folder}/{name}"]
    return [*words, "--no-preview", *plan.words]


def write_plan(plan: CountryPlan, folder: Path, *, force: bool = False) -> Path:
    """Write a plan.

    ``jobs/NAME/area.geojson`` and ``job.sh``, ``jobs.json``, ``run.sh``, ``probe.json``,
    ``plan.json`` and ``plan.md``.

    Raises
    ------
    OutputExists
        If the folder is there, unless ``force``; and in any case if a job of it is finished
        already.
    """
    finished = list(folder.glob("jobs/*/fields.parquet")) if folder.is_dir() else []
    if finished:
        raise OutputExists(
            f"{folder} holds {counted(len(finished), 'finished job')}: choose another folder, or "
            "move what is there away first."
        )
    with store.atomic_folder(folder, force, PLAN) as temporary:
        for cell in plan.cells:
            place = temporary / "jobs" / cell.name / "area.geojson"
            place.parent.mkdir(parents=True)
            place.write_text(json.dumps(to_feature(cell)), "utf-8")
            place.with_name("job.sh").write_text(_script(plan, cell), "utf-8")
        jobs = [_listed(plan, number) for number in range(len(plan.cells))]
        (temporary / "jobs.json").write_text(json.dumps(jobs, indent=1) + "\n", "utf-8")
        script = temporary / "run.sh"
        script.write_text(_all(plan), "utf-8")
        script.chmod(0o755)
        write_probe(plan.probe, temporary / "probe.json")
        workers = [asdict(one) for one in plan.outcomes]
        whole = {
            "selion": selion.__version__,
            "area": plan.area.name,
            "year": plan.year,
            "costs": plan.costs(),
            "prices": asdict(plan.prices),
            "seasons": [
                {"tile": one.name, "planting": one.days[0], "harvest": one.days[1]}
                for one in plan.seasons
            ],
            "workers": workers,
        }
        whole |= {} if plan.mosaic is None else {MOSAIC: str(plan.mosaic)}
        (temporary / "plan.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
        (temporary / "plan.md").write_text(shown_plan(plan), "utf-8")
    return folder


def _listed(plan: CountryPlan, number: int) -> dict[str, object]:
    """Return a job as ``jobs.json`` has it."""
    cell, work = plan.cells[number], plan.work
    facts = {
        "km2": round(cell.km2, 3),
        "composed_km2": round(float(plan.looked[number]), 3),
        "gigabytes": round(float(plan.gigabytes[number]), 4),
        "seconds": round(float(work.reading[number] + work.computing[number] + work.startup), 1),
    }
    return {"name": cell.name, "crs": cell.crs, **facts, "command": command_of(plan, cell)}


def _script(plan: CountryPlan, cell: Cell) -> str:
    target, note = (f"jobs/{cell.name}/{name}" for name in (TABLE, f".{TABLE}{NOTE}"))
    go = (
        'cd "$(dirname "$0")/../.." || exit 1\n'
        f"[ -e {target} ] && [ ! -e {target}{FAILED} ] && [ ! -e {note} ] && exit 0\n"
    )
    command, folder = shlex.join(command_of(plan, cell)), f"jobs/{cell.name}"
    return (
        f"#!/bin/sh\n{go}{_finding()}"
        f'note() {{ echo "$1 $(date +%s) $(uname -n) $$ $2" >> {folder}/{TIMES}; }}\n'
        f"note begin\n{command} >> {folder}/{LOG} 2>&1\ncode=$?\nnote end $code\n"
        f"[ $code -eq 0 ] && exit 0\necho {cell.name} >> failed.txt\n"
        f"tail -n 3 {folder}/{LOG} >&2\nexit 1\n"
    )


def _finding() -> str:
    """Return the lines of a script that make ``selion`` a command, wherever they run.

    The Python that made the plan is on no path, as a rule, but it has selion; on another machine
    what is on the path there is taken.
    """
    return (
        f"python=${{SELION_PYTHON:-{shlex.quote(sys.executable)}}}\n"
        'if "$python" -m selion --version > /dev/null 2>&1; then\n'
        '  selion() { "$python" -m selion "$@"; }\n'
        "elif ! command -v selion > /dev/null; then\n"
        '  echo "selion was not found, neither in $python nor on the path: install it here, or set '
        'SELION_PYTHON to the Python that has it." >&2\n'
        "  exit 127\nfi\n"
    )


def _all(plan: CountryPlan) -> str:
    """Return a script that does all jobs that are not done."""
    lines = [
        "#!/bin/sh",
        (
            "# Jobs that are finished are left alone, so this may be stopped and started again. "
            "'sh run.sh 4' does four at once. What failed is in failed.txt."
        ),
        'cd "$(dirname "$0")" || exit 1',
        "rm -f failed.txt",
        'xargs -P "${1:-1}" -n 1 sh <<JOBS',
        *(f"jobs/{cell.name}/job.sh" for cell in plan.cells),
        "JOBS",
    ]
    return "\n".join(lines) + "\n"


def shown_plan(plan: CountryPlan) -> str:
    """Return the plan as Markdown.

    Costs, what was measured and assumed, the simulated clusters, and Table 3.
    """
    parts = [f"# {plan.area.name}, {plan.year}", "", "| what | how much |", "|---|---|"]
    parts += [f"| {name.replace('_', ' ')} | {value} |" for name, value in plan.costs().items()]
    parts += [
        "",
        (
            f"Prices, watts and faults: {plan.prices.source} ({plan.prices.cpu.name}; "
            f"{plan.prices.gpu.name}). They are assumptions, not measurements."
        ),
    ]
    parts += [
        "",
        f"Measured by the probe of {plan.probe.when}:",
        "",
        "| what | measured |",
        "|---|---|",
    ]
    parts += [
        f"| {name.replace('_', ' ')} | {value} |" for name, value in plan.probe.facts().items()
    ]
    return "\n".join([*parts, "", *_seasons(plan), _clusters(plan), "", table_3(plan)]) + "\n"


def _seasons(plan: CountryPlan) -> list[str]:
    """Return the seasons of the tiles, one line for those that have the same."""
    if not plan.seasons:
        return []
    lines = ["Seasons, of each tile by its middle (seasons.svg):", ""]
    lines += ["| planting | harvest | tiles | why |", "|---|---|---:|---|"]
    lines += [
        f"| {planting} | {harvest} | {len(ones)} | {reasons(ones)} |"
        for (planting, harvest), ones in grouped(plan.seasons)
    ]
    return [*lines, ""]


def _clusters(plan: CountryPlan) -> str:
    heads = (
        "| workers | wall time | efficiency | worker-hours | dollars | waited for the archive | "
        "tried again | workers lost | given up |"
    )
    lines = [
        "Simulated (discrete events, times of the probe, faults of the price sheet):",
        "",
        heads,
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in plan.outcomes:
        dollars = one.busy_hours * plan.prices.cpu.dollars_per_hour
        lines.append(
            f"| {one.workers} | {_clock(one.seconds)} | {one.efficiency:.0%} | "
            f"{one.busy_hours:.2f} | {dollars:.2f} | {_clock(one.waited)} | {one.retried} | "
            f"{one.lost} | {one.set_aside} |"
        )
    return "\n".join(lines)


def table_3(plan: CountryPlan) -> str:
    """Return the paper's countries at the rates of this plan, areas on the ellipsoid.

    Nothing of those is in any mosaic yet.
    """
    plan = replace(plan, held=())
    costs, km2 = plan.costs(), sum(cell.km2 for cell in plan.cells)
    rates = {
        name: float(str(costs[name])) / km2
        for name in (
            "gigabytes",
            "core_hours",
            "of_which_network_core_hours",
            "dollars",
            "gpu_hours",
        )
    }
    heads = (
        "| country | paper: km2 | true km2 | factor | paper: dollars | per true km2 | here: "
        "dollars | per km2 | network core-hours | all core-hours | TB read |"
    )
    lines = [heads, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for country in TABLE_3:
        true = country.true_km2
        lines.append(
            f"| {country.name} | {country.million_km2 * 1e6:,.0f} | {true:,.0f} | "
            f"{country.factor:.2f} | {country.dollars:.2f} | {country.dollars / true:.2g} | "
            f"{rates['dollars'] * true:,.2f} | {rates['dollars']:.2g} | "
            f"{rates['of_which_network_core_hours'] * true:,.0f} | "
            f"{rates['core_hours'] * true:,.0f} | {rates['gigabytes'] * true / 1e3:,.1f} |"
        )
    steps = "mosaics that are made already" if plan.probe.imagery else "scenes, composites"
    note = (
        "The paper's areas (Table 3) are Web Mercator's, too large by the factor shown: one over "
        "the cosine of the latitude squared (Rwanda's is a rounded number). Its dollars are for "
        f"inference alone, on up to {MEXICO['gpus']} A10G; Mexico's {MEXICO['gpu_hours']} "
        f"GPU-hours and {MEXICO['core_hours']} core-hours are for two years. Here dollars are for "
        f"one year and the whole pipeline ({steps}, network, outlines), as if every country were "
        "like the probe's window."
    )
    return "\n".join(["Table 3 of the paper beside the rates of this plan:", "", *lines, "", note])


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
