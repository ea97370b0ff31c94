"""``selion sample``: units drawn by chance from each stratum, and the papers for those who judge.

Each unit has a random number that depends on its place and the seed alone, and a stratum's sample
are its units with the smallest numbers.  So the result does not depend on blocks, and a larger
sample with the same seed holds the smaller one: answers that were given keep their worth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.errors import BadInput, OutputExists
from selion.fields.table import geohash
from selion.grid import LONLAT
from selion.metrics.area_estimation import allocate
from selion.progress import OnStep, silent
from selion.review.verdicts import SAMPLE
from selion.store.apart import check_apart
from selion.survey.answers import has_answers
from selion.survey.design import (
    CLASSES,
    DESIGN,
    KEY,
    PLACES,
    POINTS,
    QUEUE,
    SAMPLED,
    Design,
    SampleOptions,
    Stratum,
)
from selion.survey.population import Population, open_population

if TYPE_CHECKING:
    from selion.grid import Roi
    from selion.imagery import Area
    from selion.store.address import Place

MIDDLE = 2**31
"""Added to rows and columns, which count from the middle of the projection, so that none is
negative."""
BLOCK = 2048
"""Edge in units of the blocks in which a population is read."""


def draw_sample(
    path: Place,
    area: Area,
    out: Path,
    options: SampleOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> Design:
    """Draw a stratified random sample of the ground that a map covers.

    Parameters
    ----------
    path : Place
        Map: a merged one, or a table of fields.
    area : Area
        The population: what is in it and no field is "other".
    out : path
        Folder to write.
    options : SampleOptions, optional
    force : bool
        Whether an existing sample is replaced; never one that has answers.
    on_step : callable, optional

    Returns
    -------
    Design

    Raises
    ------
    OutputExists, BadInput, UnreadableFile, GridMismatch
        If it may not be written, or cannot be drawn.
    """
    options = options or SampleOptions()
    check_apart(out, path, options.districts)
    store.check_output(out, force)
    if has_answers(out):
        raise OutputExists(
            f"{out} holds answers, which would be lost: write to another folder; answers to the "
            "same points count there too ('selion estimate NEW --answers OLD/points.csv')."
        )
    store.check_output(out, force, SAMPLED)
    population = open_population(path, area, options)
    drawn = draw_units(population, on_step)
    design = Design(
        map=store.shown(str(path)),
        crs=population.crs,
        origin=(population.grid.transform.c, population.grid.transform.f),
        shape=(int(population.grid.shape[0]), int(population.grid.shape[1])),
        area_km2=round(area.km2, 6),
        strata=drawn.strata,
        notes=tuple(_notes(population, drawn)),
        options=options.to_dict(),
    )
    _write(design, population, drawn, out, force=force)
    return design


def _notes(population: Population, drawn: DrawnUnits) -> Iterator[str]:
    """Say which districts the population does not reach."""
    names = () if population.units is None else population.units.names
    there = {stratum.district for stratum in drawn.strata}
    if absent := [name for name in names if name not in there]:
        yield (
            f"{len(absent)} of {len(names)} districts have no unit in {population.area.name} "
            f"({', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}) and get no figures."
        )


@dataclass(frozen=True, eq=False)
class DrawnUnits:
    """The units of a sample, in the order in which they are shown."""

    strata: tuple[Stratum, ...]
    place: np.ndarray
    """(n, 2) int64 row and column."""
    stratum: np.ndarray
    """(n,) int64 position in ``strata``."""
    x: np.ndarray
    """(n,) float64, of the centre, in the units' CRS."""
    y: np.ndarray

    ids: list[str]
    """Geohash of the centre: the same ground has the same id in another sample, other ground never
    has."""


def draw_units(population: Population, on_step: OnStep = silent) -> DrawnUnits:
    """Draw by the options of a population.

    Raises
    ------
    BadInput
        If it has no unit, or too many strata for the size of the sample.
    """
    options, grid = population.options, population.grid
    counts, found = _draw(population, options.size, options.seed, on_step)
    if not counts:
        raise BadInput(
            f"{population.area.name} holds no unit of {options.unit:g} m: give a larger area, or "
            "smaller units."
        )
    codes = sorted(counts)
    sizes = allocate([counts[code] for code in codes], options.size, options.least).tolist()
    parts = [found[code] for code in codes]
    place = np.concatenate([part.place[:n] for part, n in zip(parts, sizes, strict=True)])
    number = np.concatenate([part.number[:n] for part, n in zip(parts, sizes, strict=True)])
    order = np.argsort(mixed(number, 1))  # tells nothing of the stratum
    x, y = (np.asarray(v) for v in grid.transform * (place[order, 1] + 0.5, place[order, 0] + 0.5))
    return DrawnUnits(
        tuple(
            population.stratum(code, counts[code], n) for code, n in zip(codes, sizes, strict=True)
        ),
        place[order],
        np.repeat(np.arange(len(codes)), sizes)[order],
        x,
        y,
        geohash(*population.degrees(x, y)),
    )


@dataclass
class _Smallest:
    """The units of a stratum with the smallest numbers, of those seen so far."""

    most: int
    number: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    place: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))

    def add(self, number: np.ndarray, place: np.ndarray) -> None:
        number = np.concatenate([self.number, number])
        place = np.concatenate([self.place, place])
        order = np.argsort(number)[: self.most]
        self.number, self.place = number[order], place[order]

    @property
    def limit(self) -> np.uint64:
        """Numbers above this one are not wanted any more."""
        full = len(self.number) == self.most
        return self.number[-1] if full else np.uint64(2**64 - 1)


def _draw(
    population: Population, most: int, seed: int, on_step: OnStep
) -> tuple[dict[int, int], dict[int, _Smallest]]:
    """Count the units of each stratum and keep those with the smallest numbers."""
    counts: dict[int, int] = {}
    drawn: dict[int, _Smallest] = {}
    blocks = population.touched(BLOCK)
    for number, roi in enumerate(blocks, 1):
        for code, values, places in _of_block(population, roi, seed, drawn):
            counts[code] = counts.get(code, 0) + places[1]
            drawn.setdefault(code, _Smallest(most)).add(values, places[0])
        on_step("strata", number, len(blocks))
    return counts, drawn


def _of_block(
    population: Population, roi: Roi, seed: int, drawn: dict[int, _Smallest]
) -> Iterator[tuple[int, np.ndarray, tuple[np.ndarray, int]]]:
    """Give, by stratum of a block, numbers and places of candidates, and how many units it has."""
    codes = population.codes(roi)
    rows, columns = np.nonzero(codes >= 0)
    if not len(rows):
        return
    codes = codes[rows, columns]
    rows, columns = rows + roi[0].start, columns + roi[1].start
    numbers = numbers_at(rows, columns, seed, population.corner)
    for code in np.unique(codes).tolist():
        here = codes == code
        count = int(here.sum())
        if code in drawn:
            here &= numbers <= drawn[code].limit
        place = np.column_stack([rows[here], columns[here]])
        yield int(code), numbers[here], (place, count)


def numbers_at(
    rows: np.ndarray, columns: np.ndarray, seed: int, corner: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Return the uint64 random numbers of units, of the common shape of ``rows`` and ``columns``.

    ``corner`` is the row and column of the grid's first unit, counted from the projection's own
    origin, so that the same ground has the same number in a larger area.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014) over row, column and seed: a bijection,
    so that no two units share one.
    """
    down = (rows + (corner[0] + MIDDLE)).astype(np.uint64)
    across = (columns + (corner[1] + MIDDLE)).astype(np.uint64)
    return mixed((down << np.uint64(32)) | across, seed)


def mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """Mix uint64 values: each result is as good as random, and another for another seed."""
    with np.errstate(over="ignore"):
        golden = np.uint64(0x9E3779B97F4A7C15)
        z = values ^ (np.uint64(seed % 2**63 + 1) * golden)
        for _ in range(2):
            z = z + golden
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return z


def _write(
    design: Design, population: Population, drawn: DrawnUnits, out: Path, *, force: bool
) -> None:
    lon, lat = population.degrees(drawn.x, drawn.y)
    rows = list(zip(drawn.ids, lon.round(7).tolist(), lat.round(7).tolist(), strict=True))
    with store.atomic_folder(out, force, SAMPLED) as part:
        store.write_text(part / DESIGN, json.dumps(design.to_dict(), indent=1) + "\n")
        store.write_csv(
            part / POINTS,
            ("id", "longitude", "latitude", "reference", "comment"),
            [(*row, "", "") for row in rows],
        )
        store.write_text(part / PLACES, json.dumps(_collection(rows)) + "\n")
        store.write_csv(
            part / KEY,
            ("id", "stratum", "mapped"),
            [
                (row[0], design.strata[k].name, CLASSES[design.strata[k].mapped])
                for row, k in zip(rows, drawn.stratum.tolist(), strict=True)
            ],
        )
        _write_queue(part / QUEUE, population, drawn)


def _collection(rows: list[tuple[str, float, float]]) -> dict[str, Any]:
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"id": name, "reference": "", "comment": ""},
                "geometry": {"type": "Point", "coordinates": [lon, lat]},
            }
            for name, lon, lat in rows
        ],
    }


def _write_queue(path: Path, population: Population, drawn: DrawnUnits) -> None:
    """Write the units as squares: 'selion review' shows them one by one."""
    import geopandas
    import pandas as pd
    import shapely

    from selion import fields

    half, x, y = population.options.unit / 2, drawn.x, drawn.y
    lon, lat = population.degrees(
        np.stack([x - half, x + half, x + half, x - half], 1),
        np.stack([y - half, y - half, y + half, y + half], 1),
    )
    squares = shapely.polygons(np.stack([lon, lat], 2))
    names = pd.array(drawn.ids, dtype="string")
    frame = geopandas.GeoDataFrame({"id": names}, geometry=squares, crs=LONLAT)
    fields.write_fields(frame, path, fields.Origin(provenance={SAMPLE: "ground"}))
