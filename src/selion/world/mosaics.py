"""Quarterly cloudless mosaics of Sentinel-2 around an area, as an image for any model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion.errors import BadInput, BandMismatch, NoScenes, UnreadableFile, counted
from selion.grid import Roi, overlap, roi_shape, same_grid, whole
from selion.imagery import (
    Area,
    AreaLike,
    Mosaic,
    find_provider,
    find_seasons,
    make_signer,
    read_area,
    target_grid,
)
from selion.imagery.globe import polygons_of, square_kilometres
from selion.imagery.mosaic import MosaicLayer, Resampling
from selion.pipeline.area_options import check_year_of_dates
from selion.raster import Raster, Source
from selion.segmenter import InputSpec
from selion.store.retry import RetryPolicy
from selion.store.urls import shown
from selion.world.editions import EDITIONS, Edition, wanted_edition
from selion.world.probabilities import SMALL_KM2, footprint
from selion.world.quarters import (
    Quarter,
    QuarterChoice,
    check_published,
    choose_quarters,
    is_quarterly,
)
from selion.world.tiles import find_tiles

if TYPE_CHECKING:
    from shapely import MultiPolygon

    from selion.imagery import Season

OPEN, CATALOGUE = "ftw-mosaics", "cdse-mosaics"
NODATA = -32768
"""What the mosaics hold where a quarter saw nothing."""
READERS = 8
"""Heads of files that are read at once."""
COLLECTION = "sentinel-2-global-mosaics"
ITEM = re.compile(r"Sentinel-2_mosaic_(\d{4})_Q([1-4])_(.+)")
"""How the items are called: year, quarter, tile."""


@dataclass(frozen=True, slots=True)
class MosaicTile:
    """One tile of one quarter: a file a band."""

    key: str
    quarter: Quarter
    hrefs: tuple[str, ...]
    """Of the bands that are wanted, in their order."""
    sizes: tuple[int, ...]
    """Bytes of these files; 0 where nobody says."""


@dataclass(frozen=True, eq=False)
class QuarterStack:
    """The bands of one tile and quarter, so that 0 is free to mean "never seen"; picklable.

    Values are ``number + 32768`` (uint16), of the stored int16 reflectance x 10000.
    """

    layers: tuple[Source, ...]

    @property
    def grid(self) -> GeoBox:
        """That of all bands."""
        return self.layers[0].grid

    @property
    def bands(self) -> tuple[str, ...]:
        """As the files call them."""
        return tuple(layer.bands[0] for layer in self.layers)

    @property
    def dtype(self) -> np.dtype:
        """Always uint16."""
        return np.dtype(np.uint16)

    @property
    def tags(self) -> Mapping[str, str]:
        """None are needed."""
        return {}

    def read(self, roi: Roi) -> Raster:
        """Read a region; a pixel that one band did not see was not seen."""
        parts = np.stack([layer.read(roi).values[0] for layer in self.layers])
        values = (parts.astype(np.int32) - NODATA).astype(np.uint16)
        values[:, (parts == NODATA).any(axis=0)] = 0
        return Raster(values, self.grid[roi], self.bands)


def open_quarter(_path: str, hrefs: tuple[str, ...]) -> QuarterStack:
    """Open the bands of a tile and quarter.

    Raises
    ------
    BadInput
        If a file is not as the mosaics are published: one band of int16.
    GridMismatch
        If the bands lie on different grids.
    UnreadableFile
        If one cannot be read.
    """
    from selion.store import open_raster

    layers = tuple(open_raster(href) for href in hrefs)
    for href, layer in zip(hrefs, layers, strict=True):
        if len(layer.bands) != 1 or layer.dtype != np.int16:
            raise BadInput(
                f"{shown(href)} has {counted(len(layer.bands), 'band')} of {layer.dtype}; wanted "
                "is one band of int16, as the quarterly mosaics have: check the address."
            )
        same_grid(layers[0].grid, layer.grid, (shown(hrefs[0]), shown(href)))
    return QuarterStack(layers)


@dataclass(frozen=True, eq=False)
class QuarterlyMosaics:
    """The quarters that a model wants, on one grid, as a Source; picklable.

    Bands bear the model's own names.  Values are int16 reflectance x 10000 without offset, -32768
    where a quarter saw nothing; a pixel is valid where all its bands saw something.
    """

    edition: Edition
    area: Area
    year: int
    choice: QuarterChoice
    tiles: tuple[MosaicTile, ...]
    """Those that touch the area."""
    mosaic: Mosaic
    """Number + 32768, 0 where never seen."""

    @property
    def grid(self) -> GeoBox:
        """That of the area: :func:`selion.imagery.target_grid`."""
        return self.mosaic.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """As the model calls them."""
        return self.choice.bands

    @property
    def dtype(self) -> np.dtype:
        """Always int16."""
        return np.dtype(np.int16)

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """The number that stands for nothing, one per band."""
        return (float(NODATA),) * len(self.bands)

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """``provenance`` (JSON), and ``datetime``: the end of the last quarter that is shown."""
        return {
            "provenance": json.dumps(self.provenance, ensure_ascii=False, sort_keys=True),
            "datetime": f"{self.choice.quarters[-1].end}T23:59:59+00:00",
        }

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What a table made of these images has to say about them; plain values."""
        missing = max(self.missing.values(), default=0.0)
        return {
            **self.edition.about(),
            "year": self.year,
            "area": self.area.name,
            "bands": {
                band: f"{quarter} {kind}"
                for band, (quarter, kind) in zip(self.bands, self.choice.places, strict=True)
            },
            "tiles": sorted({tile.key for tile in self.tiles}),
            "not_looked_at_km2": round(missing, 3),
            "not_looked_at_share": round(missing / self.area.km2, 6),
            "selion": selion.__version__,
        }

    @cached_property
    def key(self) -> str:
        """Stands for all that decides a pixel: the files' contents, the grid, how it is made.

        Raises UnreadableFile if a file cannot be read.
        """
        from selion.store import fingerprint

        hrefs = sorted({href for tile in self.tiles for href in tile.hrefs})
        with ThreadPoolExecutor(READERS) as pool:
            said = {
                "mosaic": self.mosaic.key,
                "files": list(pool.map(fingerprint, hrefs)),
                "bands": [[str(quarter), kind] for quarter, kind in self.choice.places],
            }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @cached_property
    def missing(self) -> dict[Quarter, float]:
        """Quarter -> square kilometres of the area of which it has no tile, where it lacks some."""
        lacking = {
            quarter: self.area.km2 - square_kilometres(self._seen(quarter))
            for quarter in self.choice.quarters
        }
        return {quarter: km2 for quarter, km2 in lacking.items() if km2 > SMALL_KM2}

    def _seen(self, quarter: Quarter) -> MultiPolygon:
        import shapely

        layers = [one for one in self.mosaic.layers if one.season == str(quarter)]
        parts = np.array([footprint(layer.grid) for layer in layers], dtype=object)
        found = shapely.intersection(self.area.geometry, shapely.union_all(parts))
        return shapely.multipolygons(polygons_of(np.array([found])))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        keys = {tile.key for tile in self.tiles}
        shown_ = ", ".join(str(quarter) for quarter in self.choice.quarters)
        made = (
            f"{self.edition.title}, {shown_}, {counted(len(keys), 'tile')}.  Cite: "
            f"{self.edition.citation}"
        )
        lacking = [
            f"{km2:,.2f} km2 ({km2 / self.area.km2:.1%}) of the area were not looked at: {quarter} "
            "has no tile there, so it is not known whether there are fields."
            for quarter, km2 in self.missing.items()
        ]
        return (*self.area.notes, made, *self.choice.notes, *lacking)

    @cached_property
    def bytes_read(self) -> int:
        """About how many bytes of the files show the grid, as far as their sizes are said."""
        sizes = {(tile.key, str(tile.quarter)): sum(tile.sizes) for tile in self.tiles}
        total = 0.0
        for layer, at in zip(self.mosaic.layers, self.mosaic.placements, strict=True):
            common = None if at.bounds is None else overlap(at.bounds, whole(self.grid))
            if common is not None:
                height, width = roi_shape(common)
                ratio = abs(self.grid.transform.a / layer.grid.transform.a) ** 2
                pixels = layer.grid.shape[0] * layer.grid.shape[1]
                share = min(height * width * ratio / pixels, 1.0)
                total += share * sizes[layer.tile, layer.season]
        return round(total)

    def read(self, roi: Roi) -> Raster:
        """Read a region of the grid; any region equals the same region of the whole, bit for bit.

        Raises
        ------
        GridMismatch
            If the region is not inside the grid.
        UnreadableFile
            If a file cannot be read.
        """
        names = self.mosaic.bands
        stored = self.mosaic.read(roi).values
        values = np.full((len(self.bands), *roi_shape(roi)), NODATA, np.int16)
        for plane, (quarter, kind) in zip(values, self.choice.places, strict=True):
            name = f"{quarter}:{kind}"
            if name in names:
                plane[...] = stored[names.index(name)].astype(np.int32) + NODATA
        valid = np.asarray((values != NODATA).all(axis=0))
        return Raster(values, self.grid[roi], self.bands, valid, self.tags)


@dataclass(frozen=True, slots=True)
class MosaicOptions:
    """How mosaics are chosen and joined."""

    seasons: tuple[Season, Season] | None = None
    """Planting and harvest, as given; None: by :attr:`find`."""
    find: Callable[[Area, int], tuple[Season, Season]] = find_seasons
    """Finds them, of an area and a year."""
    crs: str = "auto"
    """See :func:`selion.imagery.target_grid`."""
    gsd: float | None = None
    """Edge of a pixel in metres; None: the mosaics' 10."""
    resampling: Resampling = "bilinear"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """With a catalogue."""


def open_mosaics(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    inputs: InputSpec,
    options: MosaicOptions | None = None,
    *,
    model: str = "the model",
) -> QuarterlyMosaics:
    """Open the quarterly mosaics that a model wants of an area.

    Parameters
    ----------
    edition : Edition or str
        ``ftw-mosaics`` (open) or ``cdse-mosaics`` (the user's own keys); ``NAME@ADDRESS`` for a
        copy: a folder or address of the mirror's layout, or a STAC catalogue.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    year : int
        Of the harvest.
    inputs : InputSpec
        What the model wants, see :func:`selion.world.quarters.choose_quarters`.
    options : MosaicOptions, optional
    model : str
        Its name, for messages.

    Returns
    -------
    QuarterlyMosaics
        Only the heads of files have been read.

    Raises
    ------
    NoScenes
        If nothing of the area was looked at, or a quarter has nothing there.
    BandMismatch
        If the model wants other bands.
    BadInput
        If edition, area, year or pixel cannot be used, or keys are missing.
    SearchFailed, UnreadableFile, FetchFailed
        If a catalogue, an index or a file cannot be read.

    Notes
    -----
    The open mirror lists what it has and not where: places are those of the index of the second
    edition, whose tiles have the same keys; it is looked for in the copy, beside it, and at its
    public address.  It knows tiles with 1 % cropland or more only.
    """
    edition = wanted_edition(edition, "imagery")
    options = options or MosaicOptions()
    edition.check_year(year)
    check_year_of_dates(options.seasons, year)
    area = area if isinstance(area, Area) else read_area(area)
    seasons: Sequence[Season] = ()
    if not is_quarterly(inputs):
        seasons = options.seasons or options.find(area, year)
    choice = choose_quarters(inputs, model, year, seasons)
    check_published(choice, edition.years, edition.name)
    grid = target_grid(area, options.crs, options.gsd or edition.resolution or 10.0)
    find = _in_mirror if edition.name == OPEN else _in_catalogue
    found = find(edition, area, year, choice, options.retry)
    with ThreadPoolExecutor(READERS) as pool:
        layers = list(pool.map(partial(_layer, kinds=choice.kinds), found))
    pairs = [
        (tile, layer)
        for tile, layer in zip(found, layers, strict=True)
        if footprint(layer.grid).intersects(area.geometry)
    ]
    _check_some([tile for tile, _ in pairs], edition, area, choice, inputs)
    mosaic = Mosaic([layer for _, layer in pairs], grid, options.resampling)
    return QuarterlyMosaics(edition, area, year, choice, tuple(tile for tile, _ in pairs), mosaic)


def _check_some(
    tiles: Iterable[MosaicTile],
    edition: Edition,
    area: Area,
    choice: QuarterChoice,
    inputs: InputSpec,
) -> None:
    """Refuse (NoScenes) an area of which a quarter has nothing.

    A model whose holes are filled from other quarters goes on with those that are there.
    """
    here = {tile.quarter for tile in tiles}
    lacking = [quarter for quarter in choice.quarters if quarter not in here]
    if not lacking or (here and inputs.fill == "quarters"):
        return
    raise NoScenes(
        f"Nothing of {area.name} ({area.km2:,.1f} km2) was looked at by {edition.name} in "
        f"{', '.join(map(str, lacking))}: it has no tile there, so it is not known whether there "
        "are fields; map it from scenes, without --imagery."
    )


def _layer(tile: MosaicTile, kinds: tuple[str, ...]) -> MosaicLayer:
    from selion.store import open_raster

    return MosaicLayer(
        tile.hrefs[0],
        open_raster(tile.hrefs[0]).grid,
        tile.key,
        str(tile.quarter),
        tuple(range(len(kinds))),
        names=kinds,
        opener=partial(open_quarter, hrefs=tile.hrefs),
    )


# the open mirror


def _in_mirror(
    edition: Edition, area: Area, year: int, choice: QuarterChoice, _retry: RetryPolicy
) -> list[MosaicTile]:
    keys = [tile.key for tile in find_tiles(_index_of(edition), area, year)]
    found = []
    for quarter in choice.quarters:
        sizes = _manifest(edition, quarter) if keys else {}
        for key in keys:
            if all((key, kind) in sizes for kind in choice.kinds):
                hrefs = tuple(
                    edition.place(str(quarter.year), quarter.name, key, f"{kind}.tif")
                    for kind in choice.kinds
                )
                said = tuple(sizes[key, kind] for kind in choice.kinds)
                found.append(MosaicTile(key, quarter, hrefs, said))
    return found


def _index_of(edition: Edition) -> Edition:
    """Return the edition whose index says where the mosaics' tiles lie."""
    from selion.store import locate

    second = EDITIONS["ftw-2e"]
    if edition.address == EDITIONS[edition.name].address:
        return second
    beside = edition.address.rpartition("/")[0]
    for address in (edition.address, f"{beside}/ftw-2e" if beside else "ftw-2e"):
        copied = replace(second, address=address)
        if locate(copied.place("index", "raster-lite.parquet")).is_file():
            return copied
    return second


def _manifest(edition: Edition, quarter: Quarter) -> dict[tuple[str, str], int]:
    """Return (tile, band) -> bytes of what a quarter has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from selion.store import locate
    from selion.store.address import open_bytes

    address = edition.place("manifest", f"manifest_{quarter.year}_{quarter.name}.parquet")
    try:
        with open_bytes(locate(address)) as file:
            table = pq.read_table(file, columns=["item_id", "band", "size_bytes"])
        columns = [column.to_pylist() for column in table.columns]
    except (OSError, pa.ArrowException) as error:
        said = str(error).strip().partition("\n")[0]
        raise UnreadableFile(
            f"{shown(address)} cannot be read ({said}): wanted is the manifest of {quarter} of "
            f"{edition.name}; check the address and the year."
        ) from error
    return {
        (name[3], str(band)): int(size or 0)
        for item, band, size in zip(*columns, strict=True)
        if (name := ITEM.fullmatch(str(item)))
    }


# a catalogue


def _in_catalogue(
    edition: Edition, area: Area, _year: int, choice: QuarterChoice, retry: RetryPolicy
) -> list[MosaicTile]:
    from selion.imagery.catalogue import Query, ask

    root, _, collection = edition.address.partition("/collections/")
    provider = replace(find_provider("cdse"), url=root, collections=(collection or COLLECTION,))
    found: dict[tuple[Quarter, str], MosaicTile] = {}
    for quarter in choice.quarters:
        query = Query(area.outlines, quarter.start, quarter.end, provider.collections)
        for item in ask(provider, query, retry):
            name = ITEM.fullmatch(str(item.get("id")))
            if name and (int(name[1]), int(name[2])) == (quarter.year, quarter.number):
                found.setdefault((quarter, name[3]), _tile(item, quarter, name[3], choice.kinds))
    if any(href.startswith("s3://") for tile in found.values() for href in tile.hrefs):
        make_signer(provider)  # says which keys are missing
    return [found[place] for place in sorted(found)]


def _tile(
    item: Mapping[str, Any], quarter: Quarter, key: str, kinds: tuple[str, ...]
) -> MosaicTile:
    assets = item.get("assets") or {}
    lacking = [kind for kind in kinds if not (assets.get(kind) or {}).get("href")]
    if lacking:
        raise BandMismatch(
            f"The mosaic {item.get('id')} has no {', '.join(lacking)} in its catalogue: it has "
            f"{', '.join(assets) or 'nothing'}."
        )
    return MosaicTile(
        key,
        quarter,
        tuple(str(assets[kind]["href"]) for kind in kinds),
        tuple(int(assets[kind].get("file:size") or 0) for kind in kinds),
    )


_: tuple[type[Source], ...] = (QuarterStack, QuarterlyMosaics)
