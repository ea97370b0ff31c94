"""Table 3 of PRUE again: its countries on simulated clusters of 256 workers, at measured rates.

    python bench/table_3.py --measure rates.json             seconds of the processor by stage, here
    python bench/table_3.py --rates rates.json [--json rows.json]
    python bench/table_3.py --rates rates.json --pixels scene.tif    bytes of a real scene's pixels

The first maps simulated countrysides of three sizes (five dates a season under clouds, read from
the disk) with one thread, after a small one, and writes down what each stage took of the processor;
start-up is that of a process of its own.  What a job costs at any size must not be taken for what a
km2 costs: the nearest line through the sizes that is nowhere negative tells them apart.
The second gives each country jobs of a size that is best
for 256 workers, reads of an archive at the speeds of the price sheet and of ``--megabytes`` a
worker (both assumed), and the faults of the price sheet; then it makes each stage twice as fast,
one at a time, and says which of them shortens the run most: the bottleneck, and with that one gone
the next.  Beside it are the paper's dollars (inference alone; ours are of the whole road) and, for
Mexico, its hours.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from selion import imagery, models, store
from selion.country import read_prices, simulate
from selion.country.cluster_model import SimulatedRun, Work
from selion.country.paper_table import MEXICO, TABLE_3, Country
from selion.country.prices import Prices
from selion.grid import whole
from selion.pipeline import AreaOptions, areas, maps, run
from selion.simulation.archive import simulate_archive
from table import Row, save

SECTION = "Country: Table 3"
MODEL = "fields-s2-2season"
STAGES = {
    "choose": ("search", "choose"),
    "compose": ("compose", "mosaic"),
    "network": ("predict",),
    "outlines": ("objects", "outlines"),
}
"""Ours, and the names that the pipeline says."""
EDGES = (51.2, 25.6, 12.8, 6.4)
HALO = 1.0
MEASURED, SEEDS = (3.0, 6.0, 12.0), (5, 6)
"""Kilometres of the edges of what is mapped to measure, and which countrysides."""
WORKERS = 256
BANDS = 4
"""Of 10 m; the scene classification is a hundredth of them."""
START = f"from selion import models; from selion.pipeline import run; models.load_model({MODEL!r})"


def measure(edges: tuple[float, ...] = MEASURED) -> dict[str, object]:
    """Map simulated countrysides; return seconds of the processor by stage, and of what."""
    sizes = []
    with tempfile.TemporaryDirectory() as name:
        mapped(Path(name) / "first", 1.0)  # what a process does but once grows with no area
        before = time.process_time()
        models.load_model(MODEL)
        loading = time.process_time() - before
        for edge, seed in itertools.product(edges, SEEDS):
            taken, facts = mapped(Path(name) / f"{edge:g}-{seed}", edge, seed)
            # the model is loaded after the last composite; a job does so once, as it starts
            taken["compose"] -= loading
            sums = {stage: sum(taken.get(one, 0.0) for one in of) for stage, of in STAGES.items()}
            sizes.append({"seconds": sums, **facts})
            print({"edge": edge, **sizes[-1]}, flush=True)
    before_start = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", START], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    startup = after.ru_utime + after.ru_stime - before_start.ru_utime - before_start.ru_stime
    about = {"machine": platform.processor() or platform.machine(), "model": MODEL}
    return {**about, "startup": startup, "sizes": sizes}


def line_through(km2: list[float], seconds: list[float]) -> tuple[float, float]:
    """Return what a job costs, and what a km2 of it: the nearest line that is nowhere negative."""
    across = np.column_stack([np.ones(len(km2)), km2])
    job, each = nnls(across, np.array(seconds))[0]
    return float(job), float(each)


def mapped(folder: Path, edge: float, seed: int = 5) -> tuple[dict[str, float], dict[str, float]]:
    """Map a square of kilometres; return seconds of the processor by step, km2 and pixels read."""
    taken: dict[str, float] = {}
    now = ("search", 0.0)

    def clock(stage: str, _done: float, _of: float, _note: str = "") -> None:
        nonlocal now
        at = time.process_time()
        taken[now[0]] = taken.get(now[0], 0.0) + at - now[1]
        now = stage, at

    archive = simulate_archive(
        folder / "archive", seed=seed, centre=(10.5, 50.0), size_km=(edge, edge), tile_px=1400,
        n_dates=5, clouds=(0.0, 0.3), orbits=1, style="europe",
    )  # fmt: skip
    wanted = AreaOptions(provider=str(archive.catalogue))
    options = maps.MapOptions(work=folder / "work", threads=1)
    now = ("search", time.process_time())
    survey = areas.survey_area(imagery.read_area(archive.area), 2024, wanted, on_step=clock)
    run.map_area(survey, folder / "fields.parquet", MODEL, options, on_step=clock)
    clock("end", 1, 1)
    pixels = sum(len(plan.scenes) * int(np.prod(plan.grid.shape)) * BANDS for plan in survey.plans)
    return taken, {"km2": survey.area.km2, "pixels_read": pixels}


def bytes_of_pixel(path: Path) -> float:
    """Return the bytes that a pixel of a real scene takes in a COG, a band."""
    source = store.open_raster(path)
    read = source.read(whole(source.grid))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "pixels.tif"
        with store.create_cog(out, source.grid, source.bands, read.values.dtype) as sink:
            sink.write(whole(source.grid), read.values)
        return out.stat().st_size / read.values.size


@dataclass(frozen=True)
class Rates:
    """What a km2 takes."""

    seconds: dict[str, float]
    """Of one core, by stage, a km2."""
    job: dict[str, float]
    """Of one core, by stage, a job of any size."""
    startup: float
    """Of one core, a job."""
    gigabytes: tuple[float, float]
    """Read a job of any size, and a km2."""
    megabytes: float
    """A second that one worker reads."""

    def work(self, country: Country, edge: float, prices: Prices) -> Work:
        """Return the jobs of a country in squares."""
        jobs = max(round(country.true_km2 / edge**2), 1)
        looked = country.true_km2 / jobs * ((edge + 2 * HALO) / edge) ** 2
        cores = prices.cpu.cores
        reading = np.full(jobs, self.read(looked) * 1e3 / self.megabytes)
        each = looked * sum(self.seconds.values()) + sum(self.job.values())
        computing = np.full(jobs, each / cores)
        readers = max(int(prices.archive.megabytes_per_second / self.megabytes), 1)
        return Work(reading, computing, self.startup / cores, np.ones(1), readers)

    def read(self, km2: float) -> float:
        """Return the gigabytes that a job of some km2 reads."""
        return self.gigabytes[0] + self.gigabytes[1] * km2

    def without(self, stage: str, factor: float = 0.5) -> Rates:
        """Return the rates with a stage that takes a part of its time."""
        if stage == "read":
            return replace(self, megabytes=self.megabytes / factor)
        if stage == "start":
            return replace(self, startup=self.startup * factor)
        return replace(
            self,
            seconds=self.seconds | {stage: self.seconds[stage] * factor},
            job=self.job | {stage: self.job[stage] * factor},
        )


def rates_of(told: dict[str, Any], each: float, megabytes: float) -> Rates:
    """Return the rates that were measured, with the bytes of a pixel and band."""
    km2 = [size["km2"] for size in told["sizes"]]
    lines = {
        name: line_through(km2, [size["seconds"][name] for size in told["sizes"]])
        for name in STAGES
    }
    once, more = line_through(km2, [size["pixels_read"] * 1.01 * each for size in told["sizes"]])
    return Rates(
        {name: line[1] for name, line in lines.items()},
        {name: line[0] for name, line in lines.items()},
        told["startup"],
        (once / 1e9, more / 1e9),
        megabytes,
    )


def best(rates: Rates, country: Country, prices: Prices) -> tuple[float, SimulatedRun]:
    """Return the edge of the jobs that is quickest, and the run."""
    runs = [
        (edge, simulate(rates.work(country, edge, prices), WORKERS, prices.faults))
        for edge in EDGES
    ]
    return min(runs, key=lambda one: one[1].seconds)


def shares(rates: Rates, country: Country, edge: float, prices: Prices) -> dict[str, float]:
    """Return the share of each stage of the work of a job."""
    work = rates.work(country, edge, prices)
    whole_job = work.reading[0] + work.computing[0] + work.startup
    looked = country.true_km2 / len(work.reading) * ((edge + 2 * HALO) / edge) ** 2
    found = {
        name: (looked * one + rates.job[name]) / prices.cpu.cores
        for name, one in rates.seconds.items()
    }
    found |= {"read": work.reading[0], "start": work.startup}
    return {name: float(one / whole_job) for name, one in found.items()}


def bottlenecks(rates: Rates, country: Country, prices: Prices) -> list[tuple[str, float]]:
    """Return the stages whose doubled speed shortens the run most: the first, and the one after."""
    found = []
    for _ in range(3):
        _, before = best(rates, country, prices)
        gains = {
            name: 1 - best(rates.without(name), country, prices)[1].seconds / before.seconds
            for name in (*rates.seconds, "read", "start")
        }
        name = max(gains, key=lambda one: gains[one])
        found.append((name, gains[name]))
        rates = rates.without(name, 0.1)
    return found


def main() -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path)
    parser.add_argument("--rates", type=Path)
    parser.add_argument("--pixels", type=Path, help="A scene of uint16 reflectance, for bytes.")
    parser.add_argument("--megabytes", type=float, default=50.0, help="A worker reads a second.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.measure:
        given.measure.write_text(json.dumps(measure(), indent=1) + "\n")
        print(given.measure.read_text())
    if not given.rates:
        return
    told = json.loads(given.rates.read_text())
    each = 2.0 if given.pixels is None else bytes_of_pixel(given.pixels)
    rates = rates_of(told, each, given.megabytes)
    print(
        f"{each:.2f} bytes a pixel and band, {1e3 * rates.gigabytes[1]:.2f} MB a km2, "
        f"{1e3 * rates.gigabytes[0]:.1f} MB a job beside"
    )
    print(
        {name: round(1e3 * value, 2) for name, value in rates.seconds.items()},
        "ms of a core a km2;",
    )
    print({name: round(value, 2) for name, value in rates.job.items()}, "s of a core a job beside;")
    print(f"{rates.startup:.1f} s of a core to start a job")
    prices, rows = read_prices(), []
    heads = ("country", "paper: $", "here: $", "beside", "core-hours", "TB", "jobs of km", "wall")
    print("| " + " | ".join([*heads, "efficiency", "share of the work"]) + " |")
    print(f"|---|{'---:|' * 8}---|")
    for country in TABLE_3:
        edge, found = best(rates, country, prices)
        part = shares(rates, country, edge, prices)
        dollars = found.busy_hours * prices.cpu.dollars_per_hour
        largest = ", ".join(
            f"{name} {share:.0%}" for name, share in sorted(part.items(), key=lambda one: -one[1])
        )
        jobs = max(round(country.true_km2 / edge**2), 1)
        looked = country.true_km2 / jobs * ((edge + 2 * HALO) / edge) ** 2
        cells = (
            country.name,
            f"{country.dollars:.2f}",
            f"{dollars:.2f}",
            f"{dollars / country.dollars:.2f}",
            f"{found.busy_hours * prices.cpu.cores:,.0f}",
            f"{jobs * rates.read(looked) / 1e3:.2f}",
            f"{edge:g}",
            f"{found.seconds / 60:.1f} min",
            f"{found.efficiency:.0%}",
            largest,
        )
        print("| " + " | ".join(cells) + " |")
        note = f"paper {country.dollars:.2f} $ (inference alone); {largest}; jobs of {edge:g} km"
        rows += [
            Row(SECTION, f"{country.name}: dollars, 256 workers", dollars, "$", note=note),
            Row(SECTION, f"{country.name}: wall time", found.seconds / 60, "min"),
        ]
    mexico = TABLE_3[-1]
    print(
        f"Mexico in the paper, two years: {MEXICO['minutes']} min on {MEXICO['gpus']} GPUs, "
        f"{MEXICO['gpu_hours']} GPU-hours and {MEXICO['core_hours']} core-hours, mosaics "
        f"{MEXICO['mosaic_minutes']} min; here one year, both together"
    )
    for number, (name, gain) in enumerate(bottlenecks(rates, mexico, prices), 1):
        print(f"bottleneck {number}: {name}; twice as fast it shortens the run by {gain:.0%}")
        rows.append(Row(SECTION, f"Mexico: bottleneck {number}, {name}: gain of double", gain, ""))
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
