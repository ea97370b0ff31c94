"""What the map of an area would take, before it is made: bytes to read, time, core-hours, dollars.

From a short probe.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import imagery, prediction, store
from selion.cores import usable_cores
from selion.grid import Roi, overlap, roi_shape, tiles, whole
from selion.models.refine.segmenter import load_refined
from selion.pipeline import areas, maps
from selion.pipeline.choosing import ChosenModel, chosen_model, composite_bands
from selion.pipeline.consistency import added_cost
from selion.raster import Raster

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BLOCK = 1024
"""Pixels: files are decoded in blocks of this edge."""
COMPOSE_RATE = 25e6
"""Pixels and bands per second and core that the median of ten views makes: bench/composite.py,
kernel."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a map would take."""

    km2: float
    scenes: int
    """Products that are opened, each counted once per tile and season."""
    gigabytes: float
    """To be read from the archive."""
    reading: float
    """Seconds, at the rate of the probe and as many readers as a composite has."""
    composing: float
    """Seconds."""
    predicting: float
    """Seconds."""
    cores: int
    price: float
    """Dollars per core and hour."""
    model: str = ""
    """Whose seconds ``predicting`` are; empty: nothing is predicted."""
    chosen: str = ""
    """Why this model, as :attr:`selion.pipeline.maps.MapJob.chosen`."""

    @property
    def seconds(self) -> float:
        """Time of the whole: reading goes on beside the medians, the network comes after."""
        return max(self.reading, self.composing) + self.predicting

    @property
    def core_hours(self) -> float:
        """Time of the whole on all cores."""
        return self.seconds * self.cores / 3600

    def facts(self) -> dict[str, object]:
        """Return what is printed."""
        dollars = self.core_hours * self.price
        return {
            "area_km2": round(self.km2, 2),
            **({"model": self.model} if self.model else {}),
            **({"chosen": self.chosen} if self.chosen else {}),
            "scenes": self.scenes,
            "gigabytes_to_read": round(self.gigabytes, 3),
            "seconds_reading": round(self.reading, 1),
            "seconds_composing": round(self.composing, 1),
            "seconds_predicting": round(self.predicting, 1),
            "core_hours": round(self.core_hours, 4),
            "dollars": round(dollars, 4),
            "dollars_per_km2": float(f"{dollars / self.km2:.3g}") if self.km2 else None,
        }


def estimate_area(
    survey: areas.Survey,
    model: str | Path | None,
    options: maps.MapOptions | None,
    price: float,
    readers: int = 12,
) -> Cost:
    """Estimate what the map of a survey would take, or its composite alone.

    Parameters
    ----------
    survey : Survey
    model : str or path, optional
    options : MapOptions, optional
        None: nothing is predicted.
    price : float
        Dollars per core and hour.
    readers : int
        Bands that are read at once.

    Returns
    -------
    Cost
        Reading is probed on one block of one scene, the network on a few windows of noise on the
        mosaic's grid.
    """
    sensor = areas.sensor_of(survey.options)
    blocks = {
        name: sum(
            len(plan.scenes) * blocks_under(plan, sensor.coarser(name)) for plan in survey.plans
        )
        for name in sensor.assets
    }
    seconds, sizes = _probe(survey)
    cores = (options and options.threads) or usable_cores()
    pixels = sum(
        len(plan.scenes) * plan.grid.shape[0] * plan.grid.shape[1] for plan in survey.plans
    ) * len(sensor.bands)
    choice, predicting = (
        (ChosenModel(""), 0.0) if options is None else _predicting(survey, model, options)
    )
    return Cost(
        km2=survey.area.km2,
        scenes=sum(len(plan.scenes) for plan in survey.plans),
        gigabytes=sum(count * sizes[name] for name, count in blocks.items()) / 1e9,
        reading=sum(blocks.values())
        * seconds
        / min(readers, max(sum(len(plan.scenes) for plan in survey.plans), 1)),
        composing=pixels / (COMPOSE_RATE * cores),
        predicting=predicting,
        cores=cores,
        price=price,
        model=str(choice.name),
        chosen=choice.why,
    )


def _predicting(
    survey: areas.Survey, model: str | Path | None, options: maps.MapOptions
) -> tuple[ChosenModel, float]:
    """Return the model, and the seconds that its network would take."""
    grid = imagery.target_grid(survey.area, survey.options.crs, survey.options.pixel)
    bands = areas.sensor_of(survey.options).bands
    source = NoiseSource(grid, composite_bands(bands))
    choice = chosen_model(model, source)
    segmenter = load_refined(
        choice.name,
        options.refiner,
        options.engine,
        fast=options.fast,
        threads=options.threads,
        speaking=options.speaking,
    )
    plan = prediction.plan(source, segmenter, options.predict, "estimate")
    seconds = prediction.estimate(source, segmenter, plan).seconds
    if options.consistency is not None:
        seconds += added_cost(source, segmenter, plan).seconds
    return choice, seconds


def blocks_under(plan: imagery.TilePlan, coarser: float = 1.0) -> float:
    """Return how many blocks of a file lie under a plan's part, counted as they lie in the file.

    Its pixels are ``coarser`` times as large as the plan's (SCL of Sentinel-2: 2).
    """
    edge = round(coarser * BLOCK)
    rows, columns = plan.roi
    return (-(-rows.stop // edge) - rows.start // edge) * (
        -(-columns.stop // edge) - columns.start // edge
    )


def _probe(survey: areas.Survey) -> tuple[float, dict[str, float]]:
    """Return seconds per block, read one at a time, and bytes per block of each band.

    Both are from one scene.
    """
    plan = next(plan for plan in survey.plans if plan.scenes)
    scene, provider = plan.scenes[0], imagery.find_provider(survey.options.provider)
    signer = imagery.make_signer(provider)
    sizes, times = {}, []
    for band in areas.sensor_of(survey.options).assets:
        source = imagery.open_band(scene, band, signer)
        height, width = source.grid.shape
        parts = tiles((height, width), BLOCK)
        sizes[band] = store.byte_size(signer(scene.hrefs[band])) / len(parts)
        began = time.perf_counter()
        source.read(overlap(parts[len(parts) // 2], whole(source.grid)) or parts[0])
        times.append(time.perf_counter() - began)
    return float(np.mean(times)), sizes


@dataclass(frozen=True, eq=False)
class NoiseSource:
    """A source on a grid of any size with something on it.

    It is for timing a network before there is an image.
    """

    grid: GeoBox
    bands: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype:
        """uint16."""
        return np.dtype(np.uint16)

    @property
    def tags(self) -> Mapping[str, str]:
        """None."""
        return {}

    def read(self, roi: Roi) -> Raster:
        """Return noise, the same for the same region."""
        generator = np.random.default_rng([roi[0].start, roi[1].start])
        values: Any = generator.integers(
            200, 4000, (len(self.bands), *roi_shape(roi)), dtype=np.uint16
        )
        return Raster(values, self.grid[roi], self.bands)
