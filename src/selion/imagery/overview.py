"""Overviews of scenes, read before scenes are chosen.

Where they are clear, and whether their numbers are what the catalogue says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import UnreadableFile
from selion.imagery.balance import Glance
from selion.imagery.clouds import clear, delivered, parse_excluded
from selion.imagery.cut import (
    TilePart,
    fine_enough,
    overview_grid,
    same_place,
    sampled,
    tile_grid,
    window_of,
)
from selion.imagery.providers import Provider
from selion.imagery.radiometry import check_dark, decide
from selion.imagery.reading import BandSource, open_band
from selion.imagery.reflectance import Radiometry
from selion.imagery.scene import Scene
from selion.imagery.sensors import find_sensor
from selion.imagery.signing import Signer
from selion.store.retry import RetryPolicy

WATER = 6
"""Code of Sentinel-2's scene classification."""
CHECKED = ("red", "nir", "blue")
"""Bands by which radiometry and brightness are checked; of a sensor that has none of them, its
first three."""
WIDEST = 2048
"""Pixels along an edge that are read for a check; of a band without overviews the middle is."""


@dataclass(frozen=True, slots=True)
class OverviewSource:
    """How scenes are reached."""

    signers: Mapping[str, Signer]
    """By the scene's provider."""
    providers: Mapping[str, Provider]
    """What is known of them; a provider that is missing here is judged by its scenes alone."""
    retry: RetryPolicy | None = None

    def open(self, scene: Scene, band: str, coarse: float | None = None) -> BandSource:
        """Open a band, as :func:`~selion.imagery.reading.open_band` does."""
        return open_band(scene, band, self.signers[scene.provider], coarse, self.retry)


def find_grid(scene: Scene, archive: OverviewSource) -> GeoBox:
    """Return the grid of a scene's tile, from the header of one file."""
    sensor = find_sensor(scene.sensor)
    return tile_grid(archive.open(scene, sensor.mask.band).grid, sensor.gsd)


def find_clear(
    scene: Scene,
    part: TilePart,
    archive: OverviewSource,
    excluded: frozenset[int] | None = None,
    margin: float = 0.0,
) -> np.ndarray:
    """Say where a scene is clear.

    Returns
    -------
    (y, x) bool ndarray
        On ``part.overview``; not where nothing was delivered (beyond the swath), also where
        ``excluded`` does not name it.

    Raises
    ------
    UnreadableFile
        If its scene classification cannot be read, or lies elsewhere than its tile.
    """
    mask = find_sensor(scene.sensor).mask
    source = archive.open(scene, mask.band, part.coarse)
    _check_place(scene, source, part.full)
    values = _on(source, part.overview, fill=mask.fill)
    seen = clear(values, parse_excluded(excluded, mask), margin, part.coarse, mask)
    return seen & delivered(values, mask)


def check_scene(
    scene: Scene,
    part: TilePart,
    archive: OverviewSource,
    excluded: frozenset[int] | None = None,
) -> tuple[Radiometry, Glance]:
    """Decide a scene's radiometry, and see that its bands are there.

    It follows from what the catalogue and the scene's darkest pixels say.

    Returns
    -------
    Radiometry
    Glance
        What was seen on the way, for comparing orbits.

    The whole tile is read, a real one in pixels of 320 m: a small area may hold nothing dark.

    Raises
    ------
    BandMismatch, UnreadableFile
        If a band is missing, cannot be opened or lies elsewhere than its tile.
    """
    sensor = find_sensor(scene.sensor)
    coarse = fine_enough(part.full)
    overview = overview_grid(part.full, coarse)
    checked = [name for name in CHECKED if name in sensor.bands] or list(sensor.bands)[:3]
    for band in (name for name in sensor.bands if name not in checked):
        _check_place(scene, archive.open(scene, band), part.full)
    values = {}
    for band in checked:
        source = archive.open(scene, band, coarse)
        _check_place(scene, source, part.full)
        values[band] = _on(source, overview, sample=True)
    source = archive.open(scene, sensor.mask.band, coarse)
    codes = _on(source, overview, sample=True, fill=sensor.mask.fill)
    seen = clear(codes, parse_excluded(excluded, sensor.mask), mask=sensor.mask)
    radiometry = decide(scene, archive.providers.get(scene.provider))
    if sensor.scale is None and {"red", "nir"} <= values.keys():
        radiometry = check_dark(values, radiometry, seen, codes == WATER)
    return radiometry, Glance(scene.orbit, _reflectance(values.values(), radiometry, seen))


def _reflectance(
    values: Iterable[np.ndarray], radiometry: Radiometry, seen: np.ndarray
) -> np.ndarray:
    """Return (band, y, x) float32 reflectance x 10000, NaN where it is not clear or has no data."""
    bands = np.stack([radiometry(numbers) for numbers in values]).astype(np.float32)
    bands[:, ~seen] = np.nan
    bands[bands == 0] = np.nan
    return bands


def _check_place(scene: Scene, source: BandSource, full: GeoBox) -> None:
    if not same_place(source.grid, full, fixed=find_sensor(scene.sensor).fixed_tiles):
        raise UnreadableFile(
            f"Band {source.bands[0]} of scene {scene.id} lies elsewhere than the other scenes of "
            f"tile {scene.tile}: it is left out."
        )


def _on(source: BandSource, target: GeoBox, *, sample: bool = False, fill: int = 0) -> np.ndarray:
    """Read what lies under a coarse grid, and take its pixels.

    As a sample, the middle of it is enough where there are no overviews.
    """
    roi = window_of(source.grid, target)
    if roi is None:
        return np.full(target.shape, fill, source.dtype)
    if sample:
        roi = _middle(roi[0]), _middle(roi[1])
    return sampled(source.read(roi).values[0], source.grid[roi], target, fill)


def _middle(span: slice) -> slice:
    size = span.stop - span.start
    if size <= WIDEST:
        return span
    start = span.start + (size - WIDEST // 2) // 2
    return slice(start, start + WIDEST // 2)
