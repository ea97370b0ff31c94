"""How many square kilometres a second a model maps: alone, and with reading and drawing around it.

The paper's throughput is the network's alone, on random numbers, in batches of 64, on a V100.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selion.cores import usable_cores
from selion.data.dataset import Dataset
from selion.errors import BadInput
from selion.grid import pixel_metres
from selion.papers import run
from selion.papers.answering import chip_answer
from selion.papers.keeping import KeptScores, keep_key, model_identity
from selion.papers.printed import PaperModel
from selion.papers.results import FoundModel
from selion.progress import OnStep, silent
from selion.segmenter import LoadedModel, Segmenter, View, as_model
from selion.store import write_csv

GSD = 10.0
"""Metres of a pixel where a model's card names no ground sampling distance: Sentinel-2's."""
COLUMNS = (
    *("model", "weights", "stand_in", "engine", "cores", "batch"),
    *("model_only_km2_s", "end_to_end_km2_s", "chips"),
)
"""Of ``throughput.csv``."""


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """How speed is measured."""

    batch: int = 64
    """Views in a call, at most: where one call would take longer than ``seconds``, fewer."""
    seconds: float = 2.0
    """Each of the two measurements lasts at least this long, once what is slow at first is
    over."""
    engine: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.seconds > 0:
            raise BadInput(
                f"A batch of {self.batch} and {self.seconds} s were asked for; wanted is one view "
                "at least, and a time above 0."
            )


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """Speed of one model on this machine."""

    model_only: float
    """km2 per second of the network alone: random numbers, nothing read."""
    end_to_end: float
    """km2 per second from files to objects: opened, read, predicted, blended, parted."""
    batch: int
    chips: int
    """Chips that the second one was measured on, each once or more often."""
    cores: int


def measure_throughput(
    model: LoadedModel[Any], chips: Dataset, options: SpeedOptions | None = None
) -> ModelSpeed:
    """Measure a model alone and on the whole road.

    Parameters
    ----------
    model : LoadedModel
        Of probabilities or of objects.
    chips : Dataset
        Chips for the second measurement, taken round and round until the time is over.
    options : SpeedOptions, optional

    Notes
    -----
    PRUE, section 3.4: km2 per second.  The area is that of the pixels that are answered, at the
    ground sampling distance on the model's card, or 10 m; the chips' own for the second one.
    """
    options = options or SpeedOptions()
    batch, alone = _alone(model, options)
    whole, looked = _on_the_road(model, chips, options)
    return ModelSpeed(alone, whole, batch, looked, options.threads or usable_cores())


def _alone(model: Segmenter, options: SpeedOptions) -> tuple[int, float]:
    spec = model.inputs
    edge = spec.window
    generator = np.random.default_rng(0)
    shape = (len(spec.bands), edge, edge)
    roi = (slice(0, edge), slice(0, edge))
    views = [View(generator.integers(0, 4000, shape, np.uint16), roi) for _ in range(options.batch)]
    model(views[:1])
    began = time.perf_counter()
    model(views[:1])
    one = time.perf_counter() - began
    batch = max(1, min(options.batch, int(options.seconds / max(one, 1e-9))))
    model(views[:batch])
    began, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < options.seconds:
        model(views[:batch])
        calls += 1
    gsd = spec.gsd[0] if spec.gsd else GSD
    return batch, calls * batch * (edge * gsd / 1000) ** 2 / elapsed


def _on_the_road(
    model: LoadedModel[Any], chips: Dataset, options: SpeedOptions
) -> tuple[float, int]:
    chip_answer(model, chips[0], published=False)
    began, done, km2 = time.perf_counter(), 0, 0.0
    for k in itertools.cycle(range(len(chips))):
        if (elapsed := time.perf_counter() - began) >= options.seconds:
            break
        sample = chips[k]
        chip_answer(model, sample, published=False)
        across = pixel_metres(sample.image.grid) or (GSD, GSD)
        height, width = sample.image.grid.shape
        km2 += height * width * float(np.prod(across)) / 1e6
        done += 1
    return km2 / elapsed, min(done, len(chips))


def measure_table(
    models: Mapping[str, PaperModel],
    found: Mapping[str, FoundModel],
    chips: Dataset,
    out: Path,
    options: SpeedOptions | None = None,
    *,
    on_step: OnStep = silent,
) -> dict[str, ModelSpeed]:
    """Measure the models of a table, and write ``throughput.csv``.

    Parameters
    ----------
    models : mapping
        Key -> model, in the table's order.
    found : mapping
        Key -> its weights; a model without is left out.
    chips : Dataset
    out : path
        Gets the table.  What was measured there before is taken, if model, chips, engine, cores and
        options are the same: a time is measured once.
    """
    options = options or SpeedOptions()
    kept, speeds, lines = KeptScores(out), {}, []
    there = [key for key in models if key in found]
    for k, key in enumerate(there):
        on_step("throughput", k, len(there), key)
        model = run.load_model(found[key].path, options.engine, threads=options.threads)
        speeds[key] = _kept(key, model, chips, kept, options)
        lines.append(_line(key, found[key], as_model(model).engine, speeds[key]))
    on_step("throughput", len(there), len(there))
    write_csv(out / "throughput.csv", COLUMNS, lines)
    return speeds


def _kept(
    key: str, model: LoadedModel[Any], chips: Dataset, kept: KeptScores, options: SpeedOptions
) -> ModelSpeed:
    asked = {
        "part": "speed",
        "batch": options.batch,
        "seconds": options.seconds,
        "engine": options.engine,
        "cores": options.threads or usable_cores(),
    }
    digest = keep_key(model_identity(model), chips, **asked)
    there = kept.read(f"{key}-speed", digest)
    if there is not None:
        return ModelSpeed(**{name: there[name] for name in ModelSpeed.__slots__})
    measured = measure_throughput(model, chips, options)
    kept.write(
        f"{key}-speed", digest, {name: getattr(measured, name) for name in ModelSpeed.__slots__}
    )
    return measured


def _line(key: str, found: FoundModel, engine: str, speed: ModelSpeed) -> Sequence[object]:
    return (
        *(key, str(found.path), found.stand_in, engine, speed.cores, speed.batch),
        *(f"{speed.model_only:.4g}", f"{speed.end_to_end:.4g}", speed.chips),
    )
