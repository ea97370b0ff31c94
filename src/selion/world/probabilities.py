"""Published probabilities of an area on one grid, read by range where they lie.

Tiles of one or several zones are joined without a seam: they overlap, each was predicted on its
own, and in the overlap each fades with the distance to its edge
(:class:`selion.imagery.Mosaic`, which joins composites in the same way).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion.classes import FTW3
from selion.errors import BadInput, GridMismatch, NoScenes, counted
from selion.grid import Roi
from selion.imagery import Area, AreaLike, Mosaic, read_area, target_grid
from selion.imagery.globe import polygons_of, square_kilometres
from selion.imagery.mosaic import METHOD, MosaicLayer
from selion.prediction.scores import (
    PUBLISHED_BANDS,
    is_published,
    published_counts,
    published_scores,
)
from selion.raster import DerivedSource, Raster, Source
from selion.world.editions import Edition, wanted_edition
from selion.world.first import first_layers, path_of_part
from selion.world.tiles import PublishedTile, find_tiles

if TYPE_CHECKING:
    from shapely import MultiPolygon

READERS = 8
"""Tiles that are opened at once."""
SEASON = "published"
MOST_PIXELS = 20_000_000_000
"""Of a grid: 125,000 km2 at 2.5 m; the ids of its fields take 80 GB."""
LEAST_GSD, MOST_GSD = 0.5, 1000.0
SMALL_KM2 = 1e-3
"""Less than this of an area, a thousand square metres, is not worth a sentence."""


@dataclass(frozen=True, eq=False)
class StoredScores(DerivedSource):
    """A tile's bytes so that 0 is free to mean "no tile": field + 1 and boundary + 1, uint16."""

    @property
    def dtype(self) -> np.dtype:
        """Always uint16."""
        return np.dtype(np.uint16)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        values = part.values.astype(np.uint16) + np.uint16(1)
        return Raster(values, part.grid, part.bands)


def open_tile(path: str, gsd: float) -> StoredScores:
    """Open a published tile at its coarsest level that is as fine as asked.

    Parameters
    ----------
    path : str
        File or address.
    gsd : float
        Edge of a pixel in metres.

    Raises
    ------
    BadInput
        If it is not as Fields of The World publishes probabilities.
    UnreadableFile
        If it cannot be read.
    """
    from selion.store import open_raster, shown

    source = open_raster(path, coarse=gsd)
    if not is_published(source):
        raise BadInput(
            f"{shown(path)} has the bands {', '.join(source.bands)} of {source.dtype}; wanted is a "
            f"tile of Fields of The World ({' and '.join(PUBLISHED_BANDS)}, uint8, no value for no "
            "data, tag tile_key): check the edition's address."
        )
    return StoredScores(source)


@dataclass(frozen=True, eq=False)
class PublishedScores:
    """The probabilities of an edition around an area in a year, as a Source; picklable.

    Bands are ``background``, ``field`` and ``boundary`` (float32; the background is what the others
    leave, 0 at least).  A pixel is valid where a tile was published: all others were *not looked
    at*, and say nothing about fields.
    """

    edition: Edition
    area: Area
    year: int
    tiles: tuple[PublishedTile, ...]
    """Those that touch the area."""
    mosaic: Mosaic
    """Field + 1 and boundary + 1 of 255, 0 where there is no tile."""
    gsd: float
    """Metres of a pixel, as asked for."""
    read_gsd: float
    """Metres of the pixels that are read, before they are brought onto the grid."""
    counted_km2: float | None = None
    """Square kilometres that were not looked at, where only pixels tell and they were counted."""

    @property
    def grid(self) -> GeoBox:
        """That of the area: :func:`selion.imagery.target_grid`."""
        return self.mosaic.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """Class names."""
        return FTW3.names

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return np.dtype(np.float32)

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """``classes``, ``provenance`` and ``image_gsd`` as of other probabilities.

        And ``datetime``: the end of the year, when the last of its four quarters ended.
        """
        return {
            "classes": json.dumps(FTW3.to_dict()),
            "provenance": json.dumps(self.provenance, ensure_ascii=False, sort_keys=True),
            "image_gsd": repr(self.gsd),
            "datetime": f"{self.year}-12-31T23:59:59+00:00",
        }

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What a table made of these probabilities has to say about them; plain values."""
        return {
            **self.edition.about(),
            "product": self.edition.product,
            "year": self.year,
            "area": self.area.name,
            "tiles": [layer.tile for layer in self.mosaic.layers],
            "gsd": self.gsd,
            "read_at": self.read_gsd,
            "not_looked_at_km2": round(self.missing_km2, 3),
            "not_looked_at_share": round(self.missing_km2 / self.area.km2, 6),
            "selion": selion.__version__,
        }

    @cached_property
    def key(self) -> str:
        """Stands for all that decides a pixel: the tiles' contents, the grid, how they are joined.

        Raises UnreadableFile if a tile cannot be read.
        """
        grid = self.grid
        with ThreadPoolExecutor(READERS) as pool:
            contents = list(pool.map(_content, [layer.path for layer in self.mosaic.layers]))
        said = {
            "method": [METHOD, self.mosaic.fade, self.mosaic.resampling],
            "grid": [list(grid.shape), list(grid.transform[:6]), str(grid.crs)],
            "level": self.read_gsd,
            "tiles": list(zip([layer.tile for layer in self.mosaic.layers], contents, strict=True)),
            "year": self.year,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @cached_property
    def seen(self) -> MultiPolygon:
        """The part of the area that was looked at; longitudes and latitudes."""
        import shapely

        parts = [footprint(layer.grid) for layer in self.mosaic.layers]
        found = shapely.intersection(self.area.geometry, shapely.union_all(np.array(parts)))
        return shapely.multipolygons(polygons_of(np.array([found])))

    @cached_property
    def missing_km2(self) -> float:
        """Square kilometres of the area that were not looked at.

        Of an edition that is one array that is at least so much, until its pixels were counted.
        """
        if self.counted_km2 is not None:
            return self.counted_km2
        missing = self.area.km2 - square_kilometres(self.seen)
        return missing if missing > SMALL_KM2 else 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        held = f", {counted(len(self.tiles), 'tile')}" if self.tiles else ""
        made = f"{self.edition.title} ({self.edition.licence}), {self.year}{held}."
        said = [f"{made}  Cite: {self.edition.citation}"]
        if self.missing_km2:
            said.append(self.missing_note)
        weak = self.edition.weak(self.year)
        if weak:
            said.append(weak)
        said += _lost(self)
        return (*self.area.notes, *said)

    @property
    def missing_note(self) -> str:
        """Say how much was not looked at."""
        return (
            f"{self.missing_km2:,.2f} km2 ({self.missing_km2 / self.area.km2:.1%}) of the area "
            "were not looked at: nothing was published there, so it is not known whether there are "
            "fields."
        )

    def read(self, roi: Roi) -> Raster:
        """Read a region of the grid; any region equals the same region of the whole, bit for bit.

        Returns
        -------
        Raster
            (class, y, x) float32; ``valid`` where a tile was published.

        Raises
        ------
        GridMismatch
            If the region is not inside the grid.
        UnreadableFile
            If a tile cannot be read.
        """
        stored, valid = self.stored(roi)
        return Raster(published_scores(stored), self.grid[roi], self.bands, valid, self.tags)

    def read_counts(self, roi: Roi) -> Raster:
        """Read a region as whole numbers, see :class:`selion.raster.CountingSource`."""
        stored, valid = self.stored(roi)
        return Raster(published_counts(stored), self.grid[roi], self.bands, valid, self.tags)

    def stored(self, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
        """Return (2, y, x) uint8 field and boundary, p = v / 255, and (y, x) bool: looked at."""
        values = self.mosaic.read(roi).values
        valid = values[0] > 0
        # cubic resampling may go beyond what a probability can be
        return (np.clip(values, 1, 256) - 1).astype(np.uint8), valid


def open_probabilities(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    *,
    gsd: float | None = None,
    crs: str = "auto",
) -> PublishedScores:
    """Open the published probabilities of an area in a year, on one grid.

    Parameters
    ----------
    edition : Edition or str
        Of probabilities: ``ftw-2e``, ``ftw-1e``, or ``NAME@ADDRESS`` for a copy of its layout.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    year : int
    gsd : float, optional
        Edge of a pixel in metres; None: the edition's, 2.5.  From 10 on the tiles' overviews are
        read (there is none of 5 m), 16 times fewer bytes, and boundaries of one or two pixels fade.
    crs : str
        See :func:`selion.imagery.target_grid`.

    Returns
    -------
    PublishedScores
        Only the heads of the tiles have been read.

    Raises
    ------
    NoScenes
        If nothing of the area was looked at.
    BadInput
        If edition, area, year or pixel cannot be used.
    UnreadableFile, FetchFailed
        If the index or a tile cannot be read.

    Notes
    -----
    Tiles whose pixels are those of the grid are taken as they are; others are resampled (cubic,
    mean over larger pixels).  In overlaps weights grow with the distance to the tile's edge.  Both
    are functions of the grid and the tiles alone.
    """
    edition = wanted_edition(edition, "probabilities")
    area = area if isinstance(area, Area) else read_area(area)
    gsd = edition.resolution if gsd is None else gsd
    if gsd is None or not LEAST_GSD <= gsd <= MOST_GSD:
        raise BadInput(
            f"Pixels of {gsd} m were asked for; wanted are {LEAST_GSD:g} to {MOST_GSD:g} m "
            f"({edition.name} has {edition.resolution:g} m)."
        )
    grid = target_grid(area, crs, gsd)
    _check_size(area, grid, gsd)
    edition.check_year(year)
    if edition.name == "ftw-1e":
        layers = first_layers(edition, area, year)
        if not layers:
            raise NoScenes(nothing_seen(edition, area, year))
        mosaic = Mosaic(layers, grid, "cubic")
        return PublishedScores(edition, area, year, (), mosaic, gsd, edition.resolution or gsd)
    found = find_tiles(edition, area, year)
    with ThreadPoolExecutor(READERS) as pool:
        layers = list(pool.map(partial(_layer, gsd=gsd), found))
    pairs = [
        (tile, layer)
        for tile, layer in zip(found, layers, strict=True)
        if footprint(layer.grid).intersects(area.geometry)
    ]
    if not pairs:
        raise NoScenes(nothing_seen(edition, area, year))
    mosaic = Mosaic([layer for _, layer in pairs], grid, "cubic")
    read = min(abs(layer.grid.transform.a) for _, layer in pairs)
    return PublishedScores(edition, area, year, tuple(tile for tile, _ in pairs), mosaic, gsd, read)


def _check_size(area: Area, grid: GeoBox, gsd: float) -> None:
    """Refuse a grid that no disk holds, before anything is asked for."""
    pixels = int(grid.shape[0]) * int(grid.shape[1])
    if pixels > MOST_PIXELS:
        km2 = pixels * gsd**2 / 1e6
        raise BadInput(
            f"The box around {area.name} ({area.km2:,.0f} km2) has {km2:,.0f} km2, which is "
            f"{pixels:.2g} pixels of {gsd:g} m, and at most {MOST_PIXELS:.0e} are mapped at once: "
            "map parts that lie apart one by one, or take larger pixels (--gsd 10)."
        )


def nothing_seen(edition: Edition, area: Area, year: int) -> str:
    """Say that an area was not looked at, which is not that it has no fields."""
    return (
        f"Nothing of {area.name} ({area.km2:,.1f} km2) was looked at by {edition.name} in {year}: "
        "no tile was published there, so it is not known whether there are fields; map it from "
        f"images with 'selion map AREA --year {year}'."
    )


def _layer(tile: PublishedTile, gsd: float) -> MosaicLayer:
    opener = partial(open_tile, gsd=gsd)
    grid = opener(tile.href).grid
    if grid.crs is None or grid.crs.epsg != tile.epsg:
        from selion.store import shown

        raise GridMismatch(
            f"{shown(tile.href)} lies in {grid.crs}, but the index says EPSG:{tile.epsg}: the copy "
            "is damaged."
        )
    bands = tuple(range(len(PUBLISHED_BANDS)))
    return MosaicLayer(
        tile.href, grid, tile.key, SEASON, bands, names=PUBLISHED_BANDS, opener=opener
    )


def _content(path: str) -> str:
    """Stand for the content of a file; a server is asked once for its version."""
    from selion.store import fingerprint
    from selion.store.address import RemotePath, locate, place_state

    array = path_of_part(path)
    place = locate(path if array is None else array)
    if array is not None and isinstance(place, RemotePath):  # its chunks are too many to ask each
        place = place / "zarr.json"
    return fingerprint(place) if not isinstance(place, RemotePath) else str(place_state(place))


def footprint(grid: GeoBox) -> Any:
    """Return where a tile lies, cut at the antimeridian; longitudes and latitudes."""
    import shapely
    from pyproj import Transformer

    from selion.grid import LONLAT
    from selion.imagery.globe import normalised

    box = grid.boundingbox
    ring = shapely.segmentize(shapely.box(*box.bbox), max(box.span_x, box.span_y) / 256)
    to_lonlat = Transformer.from_crs(grid.crs.to_wkt(), LONLAT, always_xy=True)  # type: ignore[union-attr]
    drawn = shapely.transform(ring, to_lonlat.transform, interleaved=False)
    return shapely.multipolygons(normalised(drawn.__geo_interface__))


def _lost(scores: PublishedScores) -> tuple[str, ...]:
    """Say what is lost at a coarser pixel."""
    finest = scores.edition.resolution
    if finest is None or scores.gsd <= finest * 1.01:
        return ()
    how = "from overviews" if scores.read_gsd > finest * 1.01 else "as means of finer pixels"
    said = (
        f"Read at {scores.gsd:g} m instead of {finest:g} m, {how}: boundaries that are narrower "
        "fade, so neighbours may join, and fields of a few pixels go."
    )
    return (said,)


_: type[Source] = PublishedScores
