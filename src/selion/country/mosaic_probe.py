"""A probe where quarterly mosaics are mapped: nothing is searched or composed there."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from selion import imagery
from selion.country.probe import (
    Probe,
    ProbedWindow,
    StageClock,
    mapped_rates,
    probe_window,
)
from selion.grid import tiles
from selion.models import find_card
from selion.pipeline.maps import MapOptions
from selion.world.editions import wanted_edition
from selion.world.imagery_map import map_prepared, prepare_mosaics, usual_model
from selion.world.mosaics import MosaicOptions, QuarterlyMosaics, open_mosaics

if TYPE_CHECKING:
    from selion.imagery import Area
    from selion.world import Edition

BLOCK = 512
"""Edge in pixels of the pieces whose reading is timed."""
BYTES = 2
"""Of a number, where nobody says how large the files are."""


def probe_mosaics(
    area: Area,
    year: int,
    edition: Edition | str,
    map_options: MapOptions | None = None,
    model: str | Path | None = None,
    mosaics: MosaicOptions | None = None,
    *,
    km: float = 5.0,
) -> Probe:
    """Map a window in the middle of an area from quarterly mosaics, and time it.

    Parameters
    ----------
    area : Area
    year : int
    edition : Edition or str
        As :func:`selion.world.map_mosaics`.
    map_options : MapOptions, optional
    model : str or path, optional
    mosaics : MosaicOptions, optional
    km : float
        Edge of the window.

    Returns
    -------
    Probe
        Its ``imagery`` names the edition.

    Raises
    ------
    SelionError
        All that :func:`selion.world.map_mosaics` raises, and if the window has no size.
    """
    edition, mosaics = wanted_edition(edition, "imagery"), mosaics or MosaicOptions()
    given, window = map_options or MapOptions(), probe_window(area, km)
    name = model or usual_model(edition, window, mosaics).name
    began = time.perf_counter()
    card = find_card(name)
    found = open_mosaics(edition, window, year, card.inputs, mosaics, model=card.name)
    choosing = time.perf_counter() - began
    size = found.bytes_read or BYTES * len(found.bands) * prod(found.grid.shape)
    reading = _read(found)
    with tempfile.TemporaryDirectory(prefix="selion-probe-") as folder:
        out = Path(folder, "probe.parquet")
        options = replace(given, work=Path(folder, "work"))
        job, again = prepare_mosaics(edition, window, year, name, options, mosaics)
        clock, seen = StageClock(), ProbedWindow()
        map_prepared(job, again, out, options, use=seen)  # it compiles the loops of the outlines
        map_prepared(job, again, out, options, force=True, on_step=clock)
        clock("end", 0, 1, "")
    gsd = found.grid.resolution
    km2 = prod(found.grid.shape) * abs(gsd.x * gsd.y) / 1e6
    sensor = imagery.find_sensor("sentinel-2")
    return Probe(
        **mapped_rates(window, seen, clock, reading, given.threads),
        provider=edition.name,
        choosing=choosing,
        scenes=0.0,
        bytes_per_block=dict.fromkeys({*sensor.bands, sensor.mask.band}, 0.0),
        megabytes_per_second=size / 1e6 / sum(reading),
        composing=0.0,
        sensor=sensor.name,
        imagery=edition.name,
        gigabytes_per_km2=size / 1e9 / km2,
    )


def _read(found: QuarterlyMosaics) -> list[float]:
    """Read a window piece by piece; return seconds of each."""
    seconds = []
    for roi in tiles((int(found.grid.shape[0]), int(found.grid.shape[1])), BLOCK):
        began = time.perf_counter()
        found.read(roi)
        seconds.append(time.perf_counter() - began)
    return seconds
