"""One image of an area from the composites of many tiles.

On one grid, both seasons side by side, without an edge where tiles or UTM zones meet.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion.errors import BadInput, BandMismatch, GridMismatch, UnknownName
from selion.grid import Roi, check_north_up, overlap, pad_roi, pixel_metres, roi_shape, whole
from selion.imagery.feather import REACH, seen_depth
from selion.imagery.gather import (
    CUBIC,
    KINDS,
    NEAREST,
    CompositeWindow,
    Kernel,
    MosaicBlock,
    NodeGrid,
    add,
    finish,
)
from selion.imagery.placement import Placement, place
from selion.imagery.provenance import TAG
from selion.imagery.scene import BANDS
from selion.imagery.sensors import SENTINEL_2, find_sensor
from selion.raster import Raster, Source
from selion.store.cache import LruCache
from selion.store.former import value_of

COUNT = "count"
FADE = 2000.0
"""Metres from the edge of a composite over which it fades in; tiles of one zone share 9.8 km."""
METHOD = 1
"""Number of the way in which pixels are made: part of :attr:`Mosaic.key`."""
MOSAIC_TAG = "SELION_MOSAIC"
"""Tag that holds a mosaic's provenance as JSON."""
OPEN = 24
"""Composites that a mosaic keeps open."""
OUTLINE_STEP = 16
"""Every so many points of a composite's edge go into the tags."""
Resampling = Literal["nearest", "bilinear", "cubic"]


def open_layer(path: str) -> Source:
    """Open the composite of a layer; the usual :attr:`MosaicLayer.opener`."""
    from selion.store import open_raster

    return open_raster(path)


@dataclass(frozen=True, eq=False, slots=True)
class MosaicLayer:
    """The composite of one tile and season, as a layer of the mosaic."""

    path: str
    grid: GeoBox
    tile: str
    season: str
    """Prefix of the mosaic's bands: ``window_a`` or ``window_b``."""
    bands: tuple[int, ...]
    """Where its bands lie in the file, and the count of views, if it has one."""
    last: datetime | None = None
    """When the last of its scenes was taken, UTC."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What the composite says about itself."""
    names: tuple[str, ...] = BANDS
    """Names of ``bands`` without the count."""
    opener: Callable[[str], Source] = open_layer
    """``opener(path)`` gives its pixels: (band, y, x) uint16 on ``grid``, 0 = never seen.  It is
    picklable."""

    @property
    def order(self) -> tuple[object, ...]:
        """Layers are blended in this order, however they are given."""
        return (
            self.season,
            self.tile,
            str(self.grid.crs),
            tuple(self.grid.transform[:6]),
            tuple(self.grid.shape),
            os.path.basename(self.path),  # noqa: PTH119 - may be a URL
        )


def read_layer(
    path: str | os.PathLike[str],
    *,
    tile: str | None = None,
    season: str | None = None,
    last: datetime | None = None,
) -> MosaicLayer:
    """Read what a composite says about itself.

    Parameters
    ----------
    path : str or path
        Composite with the bands of its sensor (red, green, blue, nir) and, if it has it, count;
        uint16, 0 = never seen.
    tile, season, last : optional
        For a file that does not say it in its tags.

    Raises
    ------
    BandMismatch
        If a band is missing, or the numbers are not uint16.
    BadInput
        If neither the file nor the caller says which season it is.
    GridMismatch
        If it has no CRS.
    """
    from selion.store import open_raster

    source = open_raster(path)
    told = _told(value_of(source.tags, TAG, source.path), source.path)
    season = season or told.get("season", {}).get("name")
    if not season:
        raise BadInput(
            f"{path} does not say of which season it is: give composites of selion (tag {TAG})."
        )
    if source.grid.crs is None:
        raise GridMismatch(f"{path} has no CRS: a mosaic needs to know where it lies.")
    check_north_up(source.grid, source.path)
    wanted = tuple(find_sensor(told.get("sensor", SENTINEL_2)).bands)
    missing = [name for name in wanted if name not in source.bands]
    if missing or source.dtype != np.uint16:
        raise BandMismatch(
            f"{path} has the bands {', '.join(source.bands)} of {source.dtype}; wanted are "
            f"{', '.join(wanted)} of uint16."
        )
    names = [*wanted, *([COUNT] if COUNT in source.bands else [])]
    bands = tuple(source.bands.index(name) for name in names)
    return MosaicLayer(
        source.path,
        source.grid,
        tile or told.get("tile") or _stem(source.path),
        season,
        bands,
        last or _last(told),
        told,
        wanted,
    )


def _told(text: str | None, path: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"The tag {TAG} of {path} is not JSON: make the composite again.") from error


def _last(told: Mapping[str, Any]) -> datetime | None:
    """Return the time of the last scene that gave a pixel."""
    times = [
        datetime.fromisoformat(scene["time"])
        for scene in told.get("scenes", ())
        if scene.get("clear_share", 1) > 0
    ]
    return max((time if time.tzinfo else time.replace(tzinfo=UTC) for time in times), default=None)


def _stem(path: str) -> str:
    return os.path.basename(path).partition(".")[0]  # noqa: PTH119 - may be a URL


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Composites of many tiles and of one or two seasons as one Source; picklable and thread-safe.

    Parameters
    ----------
    composites : sequence of path or MosaicLayer
        In any order.
    grid : GeoBox
        :func:`selion.imagery.target.target_grid`; with a CRS, north up, of any size.
    resampling : "nearest", "bilinear" or "cubic"
        Where the mosaic's pixels are more than 1.2 times as large as the composites', bilinear and
        cubic average over them.
    counts : bool
        Whether the number of views is a band of each season: the largest of the composites that
        show the pixel.
    fade : float
        Metres from its edge over which a composite fades in.

    Raises
    ------
    UnknownName, BadInput, GridMismatch
        If there is no such resampling, no composite, or the grid has no CRS.

    Notes
    -----
    Bands are those of the composites' sensor (``season:red``, ``season:green``, ``season:blue``,
    ``season:nir``, and ``season:count``) by season; uint16, reflectance x 10000, 0 = never seen.
    A pixel is valid if every season saw it.

    Each composite is resampled with its own pixels only: those that were not seen have no weight,
    and at least half of a kernel must be seen (cubic falls back to bilinear where any is missing,
    and never goes below 1).  Where composites overlap, their mean is weighted with the distance to
    where each of them ends: its edge, fading over ``fade`` metres, times the nearest pixel that it
    never saw, fading over 64 pixels.  A pixel that one composite shows is that composite's.  All of
    this is fixed by the grid and the composites: any region read alone equals the same region of
    the whole, bit for bit, and the order in which composites are given does not matter.
    """

    composites: Sequence[str | os.PathLike[str] | MosaicLayer]
    grid: GeoBox
    resampling: Resampling = "bilinear"
    counts: bool = False
    fade: float = FADE
    _files: _Files = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.resampling not in KINDS:
            raise UnknownName.among("resampling", self.resampling, KINDS)
        if not self.composites or not self.fade > 0:
            raise BadInput(
                f"A mosaic of {len(self.composites)} composites that fade over {self.fade} m was "
                "asked for; wanted are one or more, and more than 0 m."
            )
        if self.grid.crs is None:
            raise GridMismatch("The mosaic's grid has no CRS: take one from target_grid.")
        check_north_up(self.grid, "The mosaic's grid")
        object.__setattr__(self, "_files", _Files())

    @cached_property
    def layers(self) -> tuple[MosaicLayer, ...]:
        """The composites in the order in which they are blended."""
        layers = sorted(
            (
                given if isinstance(given, MosaicLayer) else read_layer(given)
                for given in self.composites
            ),
            key=lambda layer: layer.order,
        )
        for layer in layers:
            if layer.names != layers[0].names:
                raise BandMismatch(
                    f"{layer.path} has the bands {', '.join(layer.names)}, and {layers[0].path} "
                    f"{', '.join(layers[0].names)}: a mosaic is made of one sensor's composites."
                )
            if self.counts and len(layer.bands) == len(layer.names):
                raise BandMismatch(
                    f"{layer.path} has no count of views: leave the counts out, or make the "
                    "composite again."
                )
        return tuple(layers)

    @cached_property
    def placements(self) -> tuple[Placement, ...]:
        """Where the grid lies on each layer."""
        return tuple(place(self.grid, layer.grid) for layer in self.layers)

    @cached_property
    def seasons(self) -> tuple[str, ...]:
        """Seasons in the order of their bands."""
        return tuple(dict.fromkeys(layer.season for layer in self.layers))

    @property
    def names(self) -> tuple[str, ...]:
        """Bands of one season, without the count."""
        return self.layers[0].names

    @property
    def bands(self) -> tuple[str, ...]:
        """``season:band``."""
        names = (*self.names, COUNT) if self.counts else self.names
        return tuple(f"{season}:{name}" for season in self.seasons for name in names)

    @property
    def dtype(self) -> np.dtype:
        """Always uint16."""
        return np.dtype(np.uint16)

    @property
    def nodata(self) -> float:
        """Always 0."""
        return 0.0

    @cached_property
    def key(self) -> str:
        """Stands for all that decides a pixel.

        The composites' contents, the grid, and how they are blended.
        """
        from selion.store import fingerprint

        said = {
            "method": [METHOD, REACH, self.fade, self.resampling, self.counts],
            "grid": [list(self.grid.shape), list(self.grid.transform[:6]), str(self.grid.crs)],
            "sheets": [
                [layer.season, layer.tile, fingerprint(layer.path)] for layer in self.layers
            ],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @cached_property
    def tags(self) -> dict[str, str]:
        """Provenance: ``SELION_MOSAIC`` (JSON), and ``datetime`` of the last image (ISO 8601)."""
        told = {
            "software": f"selion {selion.__version__}",
            "method": (
                f"{self.resampling} resampling of seasonal composites, blended over {self.fade:g} "
                "m; reflectance x 10000, 0 = never seen"
            ),
            "sheets": [
                _about(layer, placement)
                for layer, placement in zip(self.layers, self.placements, strict=True)
            ],
        }
        lasts = [layer.last for layer in self.layers if layer.last is not None]
        latest = {"datetime": max(lasts).isoformat()} if lasts else {}
        return {MOSAIC_TAG: json.dumps(told, ensure_ascii=False, sort_keys=True), **latest}

    def touching(self, roi: Roi, season: str | None = None) -> list[tuple[MosaicLayer, Placement]]:
        """Return the layers that may show something of a region, in their order."""
        pairs = zip(self.layers, self.placements, strict=True)
        return [
            (layer, at)
            for layer, at in pairs
            if season in (None, layer.season)
            and at.bounds is not None
            and overlap(at.bounds, roi) is not None
        ]

    def read(self, roi: Roi) -> Raster:
        """Read a region.

        Only the composites that touch it are opened, and only what lies there is read.

        Returns
        -------
        Raster
            (band, y, x) uint16, 0 where never seen; ``valid`` where every season saw the pixel.

        Raises
        ------
        GridMismatch
            If the region is not inside the grid.
        UnreadableFile
            If a composite cannot be read.
        """
        if overlap(roi, whole(self.grid)) != roi:
            raise GridMismatch(
                f"Region {roi} is not inside the mosaic ({self.grid.shape[0]} rows, "
                f"{self.grid.shape[1]} columns): give explicit bounds inside it."
            )
        share = len(self.bands) // len(self.seasons)
        values = np.zeros((len(self.bands), *roi_shape(roi)), np.uint16)
        valid: np.ndarray | None = None
        for number, season in enumerate(self.seasons):
            part = values[number * share : (number + 1) * share]
            seen = self._season(roi, season, part)
            if seen is not None:
                valid = seen if valid is None else valid & seen
        return Raster(values, self.grid[roi], self.bands, valid)

    def _season(self, roi: Roi, season: str, out: np.ndarray) -> np.ndarray | None:
        """Fill the bands of one season; return what was seen, None if all was."""
        touching = self.touching(roi, season)
        if not touching:
            return np.zeros(out.shape[1:], bool)
        count = len(self.names)
        block = _empty_block(count, out.shape[1:], counts=self.counts)
        for layer, at in touching:
            self._add(layer, at, roi, block, alone=len(touching) == 1)
        complete = finish(block.value, block.weight, out[:count])
        if self.counts:
            out[count] = block.views
        return None if complete else block.weight > 0

    def _add(
        self, layer: MosaicLayer, at: Placement, roi: Roi, block: MosaicBlock, *, alone: bool
    ) -> None:
        """Blend one layer into a block; where it is the only one, it needs no weights."""
        kind = NEAREST if at.shift is not None else KINDS[self.resampling]
        nodes = at.nodes(roi)
        frame = (
            at.needed(nodes, 2 + (2 if kind == CUBIC else 1) * at.reach)
            if at.shift is None
            else at.shifted(roi)
        )
        if frame is None:
            return
        if not alone:
            frame = pad_roi(frame, REACH, (layer.grid.shape[0], layer.grid.shape[1]))
        window = self._files.open(layer).read(frame).values
        wanted = layer.bands[: len(self.names) + self.counts]
        if wanted != tuple(range(len(window))):
            window = (
                window[: len(wanted)]
                if wanted == tuple(range(len(wanted)))
                else window[list(wanted)]
            )
        depth, gaps = seen_depth(window[: len(self.names)], feather=not alone)
        rows, columns = layer.grid.shape
        first = roi[0].start // at.step, roi[1].start // at.step
        origin, start = (frame[0].start, frame[1].start), (roi[0].start, roi[1].start)
        height, width = _pixel(layer.grid)
        add(
            CompositeWindow(window, depth, gaps, origin, (float(rows), float(columns))),
            NodeGrid(np.stack(nodes), first, at.step),
            start,
            Kernel(kind, at.reach),
            (0.0, 0.0) if alone else (height / self.fade, width / self.fade),
            block,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_files"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _files=_Files())


def _empty_block(bands: int, shape: tuple[int, ...], *, counts: bool) -> MosaicBlock:
    return MosaicBlock(
        np.zeros((bands, *shape), np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape if counts else (0, 0), np.uint16),
    )


class _Files:
    """The composites that were read last, open."""

    def __init__(self) -> None:
        self._open: LruCache[str, Source] = LruCache(OPEN)

    def open(self, layer: MosaicLayer) -> Source:
        return self._open.get(layer.path, lambda: layer.opener(layer.path))


def _pixel(grid: GeoBox) -> tuple[float, float]:
    """Return the (y, x) edges of a composite's pixel in metres."""
    if grid.crs is not None and grid.crs.projected:
        return abs(grid.transform.e), abs(grid.transform.a)
    return pixel_metres(grid) or (1.0, 1.0)


def _about(layer: MosaicLayer, at: Placement) -> dict[str, Any]:
    digits = 7 if at.mosaic.crs is not None and at.mosaic.crs.geographic else 1
    outline = [
        [round(float(x), digits), round(float(y), digits)] for x, y in at.outline[::OUTLINE_STEP]
    ]
    last = None if layer.last is None else layer.last.isoformat()
    return {
        "tile": layer.tile,
        "season": layer.season,
        "last": last,
        "outline": outline,
        "composite": dict(layer.provenance),
    }


_: type[Source] = Mosaic
