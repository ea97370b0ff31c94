"""``selion tiles``: a merged map as vector tiles, one chunk of the globe in memory at a time.

Far out, where fields are smaller than a pixel, a tile shows how much of each small square is field
(layer ``density``); nearer the fields themselves (layer ``fields``), those that can be seen at that
zoom, the largest first where there are too many.  So no tile grows without limit and none is empty
for being far.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import store
from selion.country.cells import degrees, places_of
from selion.country.lookup import opened, scan
from selion.country.other_tables import opened_maps
from selion.country.partitions import Maps, Partition
from selion.country.sorted_runs import boxes_of
from selion.errors import BadInput, counted
from selion.fields import measure
from selion.fields.mvt import EXTENT, TileLayer, TileRings, encode_layer, flatten, squares
from selion.fields.schema import confidences_of
from selion.grid import LONLAT
from selion.progress import OnStep, silent
from selion.store.address import RemotePath
from selion.store.parquet import parquet_schema
from selion.store.pmtiles import ArchiveWriter, tile_number
from selion.store.table_room import check_held
from selion.store.vectors import check_polygons, decoded

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 9
"""Zoom at which fields begin, and whose tiles are worked on one after the other: 78 km wide at the
equator."""
WIDE = 64
"""Chunks in a partition's box above which those of its fields are looked at, and in a field's those
of its parts; in that of a part they are more than any field has."""
FINEST = 12
"""Zoom of the finest tiles; viewers enlarge them further."""
GRID = 32
"""Squares along a tile of the layer ``density``."""
VISIBLE = 2.0
"""Pixels (of 512 along a tile) that a field must cover to be shown at a zoom below the finest."""
LIMIT = 12_000
"""Fields per tile at most, below the finest zoom."""
COLUMNS = ("class", "confidence", "metrics:area")
SURE = ("confidence", "score")
"""Columns that say how sure a map is of a field."""
EDGE = 85.0511287798
"""Degrees of latitude where Web Mercator ends."""
NEAR = 1e-3 / 360
"""Share of the world around a field's box in which the point that its id names may lie."""
SPHERE = 6_371_007.181
"""Metres: the radius of the sphere that has the area of the Earth."""


def write_tiles(
    maps: Maps | Path | RemotePath | str,
    out: Path | str,
    *,
    finest: int = FINEST,
    force: bool = False,
    on_step: OnStep = silent,
) -> Path:
    """Draw a map as a PMTiles file.

    Parameters
    ----------
    maps : Maps or path
        As for :func:`selion.country.query`.
    out : path
        ``.pmtiles``.
    finest : int
        Zoom of the finest tiles, 9 to 15.
    force : bool
    on_step : callable, optional

    Returns
    -------
    Path

    Raises
    ------
    BadInput
        If the map is empty, or the zoom or the ending is none.
    OutputExists, OutputFailed
    """
    if not isinstance(maps, Maps):
        with opened_maps(maps) as opened_one:
            return write_tiles(opened_one, out, finest=finest, force=force, on_step=on_step)
    out = Path(out).expanduser()
    if out.suffix.lower() != ".pmtiles":
        raise BadInput(
            f"{out} was given; wanted is a name that ends with .pmtiles ('selion query' writes "
            "other formats)."
        )
    if not CHUNK <= finest <= 15:
        raise BadInput(f"Tiles down to zoom {finest} were asked for; wanted is {CHUNK} to 15.")
    if maps.box is None:
        raise BadInput(f"{maps.folder} holds no fields, and PMTiles cannot be empty.")
    with (
        store.atomic_write(out, force) as temporary,
        ArchiveWriter(temporary.parent) as tiles,
    ):
        density = _draw(maps, tiles, finest, on_step)
        _far(density, tiles)
        tiles.write(temporary, _metadata(maps, finest), maps.box, (0, finest))
    return out


def _draw(
    maps: Maps, tiles: ArchiveWriter, finest: int, on_step: OnStep
) -> dict[tuple[int, int], np.ndarray]:
    """Draw all chunks; return the density of each."""
    chunks = _chunks(maps)
    density: dict[tuple[int, int], np.ndarray] = {}
    for number, (x, y) in enumerate(chunks):
        on_step("tiles", number, len(chunks), counted(len(tiles.entries), "tile"))
        tables = list(scan(maps, [_tile_box(CHUNK, x, y)], COLUMNS if _has(maps) else None))
        if tables:
            chunk = _read(tables)
            held = _count(chunk, x, y)
            if held.any():
                density[x, y] = held
            _draw_chunk(chunk, (x, y), tiles, finest)
    on_step("tiles", 1, 1, counted(len(tiles.entries), "tile"))
    return density


def _has(maps: Maps) -> bool:
    with opened(maps.parts[0]) as file:
        return set(COLUMNS) <= set(file.schema_arrow.names)


def _chunks(maps: Maps) -> list[tuple[int, int]]:
    """Return the tiles of the chunk zoom in which partitions may have fields, along the curve.

    Where the box of a partition has many, the boxes of its fields tell: two fields at both ends of
    the world are not looked for in all of it.
    """
    import pyarrow as pa

    found: set[tuple[int, int]] = set()
    for part in maps.parts:
        whole = _squares(np.array([part.box], np.float64))
        if (_many(whole) > WIDE).any():
            with opened(part) as file:
                batches = [
                    _squares(boxes_of(pa.Table.from_batches([batch])))
                    for batch in file.iter_batches(columns=["bbox"])
                ]
            whole = np.unique(np.concatenate([whole[:0], *batches]), axis=0)
        if (wide := _many(whole) > WIDE).any():
            whole = np.concatenate([whole[~wide], _squares_of_parts(part)])
        for left, top, right, bottom in whole.tolist():
            found |= set(product(range(left, right + 1), range(top, bottom + 1)))
    return sorted(found, key=lambda place: tile_number(CHUNK, *place))


def _squares_of_parts(part: Partition) -> np.ndarray:
    """Return the chunks under the parts of fields whose boxes are wide.

    What lies on both sides of the antimeridian has a box around the globe, and two small parts.

    Raises
    ------
    BadInput
        If a part is wider than any field: its tiles would never come to an end.
    """
    import pyarrow as pa
    import shapely

    found = [np.empty((0, 4), np.int64)]
    with opened(part) as file:
        for batch in file.iter_batches(columns=["bbox", "geometry", "id"]):
            table = pa.Table.from_batches([batch])
            boxes = boxes_of(table)
            boxes[~np.isfinite(boxes).all(axis=1)] = 0
            table = table.filter(_many(_sides(boxes)) > WIDE)
            parts, owner = shapely.get_parts(
                decoded(table["geometry"].to_numpy(), "The map"), return_index=True
            )
            sides = _sides(np.nan_to_num(shapely.bounds(parts).reshape(-1, 4)))
            if (wide := _many(sides) > WIDE).any():
                west, south, east, north = parts[int(wide.argmax())].bounds
                raise BadInput(
                    f"Field {table['id'][int(owner[wide.argmax()])]} reaches from {west:.4f}, "
                    f"{south:.4f} to {east:.4f}, {north:.4f} degrees, and is no field: leave it "
                    "out."
                )
            found.append(sides)
    return np.concatenate(found)


def _many(sides: np.ndarray) -> np.ndarray:
    """Return the number of chunks under each of (n, 4) first and last columns and rows."""
    count: np.ndarray = np.prod(sides[:, 2:] - sides[:, :2] + 1, axis=1)
    return count


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Return the (n, 4) first and last columns and rows of chunks under (n, 4) finite boxes."""
    west, south, east, north = boxes.T
    left, top = _mercator(west, north)
    right, bottom = _mercator(east, south)
    sides = np.stack([left, top, right, bottom], axis=1) * 2**CHUNK
    return np.clip(sides.astype(np.int64), 0, 2**CHUNK - 1)


def _squares(boxes: np.ndarray) -> np.ndarray:
    """Return the (m, 4) first and last columns and rows of chunks under (n, 4) boxes, each once."""
    return np.unique(_sides(boxes[np.isfinite(boxes).all(axis=1)]), axis=0)


def _mercator(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in shares of the map of the world, 0 to 1, y from the north."""
    phi = np.radians(np.clip(lat, -EDGE, EDGE))
    return lon / 360 + 0.5, np.clip(0.5 - np.log(np.tan(np.pi / 4 + phi / 2)) / (2 * np.pi), 0, 1)


def _tile_box(zoom: int, x: int, y: int) -> tuple[float, float, float, float]:
    side = 2**zoom
    north, south = (
        float(np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * row / side))))) for row in (y, y + 1)
    )
    return x / side * 360 - 180, south, (x + 1) / side * 360 - 180, north


@dataclass(frozen=True, eq=False)
class _Chunk:
    """The fields of a chunk."""

    outlines: TileRings
    """Points are float64 shares of the world, 0 to 1, y from the north."""
    boxes: np.ndarray
    """(f, 4) float64 in shares of the world: left, top, right, bottom."""
    size: np.ndarray
    """(f,) share of the world's square that a field covers."""
    place: np.ndarray
    """(f, 2) float64: the point that the id names."""
    columns: dict[str, np.ndarray]


def _read(tables: list[pa.Table]) -> _Chunk:
    import pyarrow as pa
    import shapely

    table = pa.concat_tables(tables)
    if table.schema.get_field_index("geometry") < 0:
        raise BadInput("The map has no column geometry: write it again with 'selion merge'.")
    check_polygons(table["geometry"], "The map")
    check_held(table, "The map")
    geometries = decoded(table["geometry"].to_numpy(), "The map")
    parts, owner = shapely.get_parts(geometries, return_index=True)
    # clockwise in degrees, so that rings turn as a tile wants them once south is down
    outlines = flatten(shapely.orient_polygons(parts, exterior_cw=True), owner, len(geometries))
    if not np.isfinite(outlines.points).all():
        raise BadInput(
            "The map holds corners without a place (NaN): repair its fields, or leave them out."
        )
    world = np.stack(_mercator(*outlines.points.T), axis=1)
    first = outlines.rings[outlines.parts[outlines.features[:-1]]]
    boxes = np.concatenate(
        [np.minimum.reduceat(world, first), np.maximum.reduceat(world, first)], axis=1
    )
    bounds = shapely.bounds(geometries)
    width, height = (
        np.maximum(bounds[:, 2] - bounds[:, 0], 1e-12),
        np.maximum(bounds[:, 3] - bounds[:, 1], 1e-12),
    )
    filled = shapely.area(geometries) / (width * height)
    size = filled * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    x, y, known = places_of(table["id"].to_pylist())
    place = np.stack(_mercator(*degrees(x, y)), axis=1)
    # a table that was never merged may have ids of its own, and some of these look like ours
    known &= ((place >= boxes[:, :2] - NEAR) & (place <= boxes[:, 2:] + NEAR)).all(axis=1)
    place[~known] = (boxes[~known, :2] + boxes[~known, 2:]) / 2
    # the middle of both sides of the antimeridian is half around the world
    across = ~known & (boxes[:, 2] - boxes[:, 0] > 1 / 2)
    points = shapely.get_coordinates(shapely.point_on_surface(geometries[across]))
    place[across] = np.stack(_mercator(*points.T), axis=1)
    return _Chunk(outlines._replace(points=world), boxes, size, place, _columns(table, geometries))


def _columns(table: pa.Table, geometries: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each field says of itself: id, hectares, confidence to a hundredth, class.

    A confidence that is not known is NaN.
    """
    count = len(table)
    columns = {
        "id": np.array(table["id"].to_pylist(), str),
        "hectares": np.round(_areas(table, geometries) / 1e4, 2).astype(np.float32),
    }
    sure = confidences_of(
        table.select([name for name in SURE if name in table.column_names]).to_pandas()
    )
    if sure is not None:
        columns["confidence"] = np.round(sure, 2).astype(np.float32)
    if "class" in table.column_names and table["class"].null_count < count:
        columns["class"] = np.array(
            ["" if name is None else name for name in table["class"].to_pylist()], str
        )
    return columns


def _areas(table: pa.Table, geometries: np.ndarray) -> np.ndarray:
    """Return the (n,) float64 m2 of fields; those that nobody measured, drawn by hand, are now."""
    area = np.full(len(table), np.nan)
    if "metrics:area" in table.column_names:
        area = table["metrics:area"].to_numpy().astype(np.float64)
    missing = ~np.isfinite(area)
    if missing.any():
        area[missing] = measure(geometries[missing], LONLAT)[0]
    return area


def _count(chunk: _Chunk, x: int, y: int) -> np.ndarray:
    """Return (GRID, GRID, 4) float64 of a chunk's tile.

    Number and hectares of the fields in each square, and of those whose confidence is known
    hectares, and hectares times confidence.
    """
    inside = (chunk.place * 2**CHUNK - [x, y]) * GRID
    here = ((inside >= 0) & (inside < GRID)).all(axis=1)
    column, row = inside[here].astype(int).T
    hectares = chunk.columns["hectares"][here].astype(np.float64)
    unknown = np.full(len(here), np.nan, np.float32)
    sure = chunk.columns.get("confidence", unknown)[here].astype(np.float64)
    known = np.where(np.isfinite(sure), hectares, 0)
    flat = row * GRID + column
    sums = [
        np.bincount(flat, weight, GRID * GRID)
        for weight in (np.ones(len(flat)), hectares, known, known * np.nan_to_num(sure))
    ]
    return np.stack(sums, axis=-1).reshape(GRID, GRID, len(sums))


def _draw_chunk(chunk: _Chunk, at: tuple[int, int], tiles: ArchiveWriter, finest: int) -> None:
    """Draw the tiles of a chunk, all zooms."""
    for zoom in range(CHUNK, finest + 1):
        side = 2**zoom
        outlines = chunk.outlines._replace(
            points=np.floor(chunk.outlines.points * (side * EXTENT)).astype(np.int64)
        )
        shown = (
            np.flatnonzero(chunk.size * side**2 * 512**2 >= VISIBLE)
            if zoom < finest
            else np.arange(len(chunk.size))
        )
        scale = 2 ** (zoom - CHUNK)
        low, high = np.array(at) * scale, (np.array(at) + 1) * scale - 1
        first = np.clip((chunk.boxes[shown, :2] * side).astype(np.int64), low, None)
        last = np.clip((chunk.boxes[shown, 2:] * side).astype(np.int64), None, high)
        for x, y, touching in _by_tile(shown, first, last):
            members = touching if zoom == finest else _largest(touching, chunk.size)
            columns = {name: values[members] for name, values in chunk.columns.items()}
            layer = TileLayer(outlines, columns, members)
            if tile := encode_layer("fields", layer, (x * EXTENT, y * EXTENT)):
                tiles.add(zoom, x, y, tile)


def _largest(members: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the members, or :data:`LIMIT` of them where there are more; in their order."""
    if len(members) <= LIMIT:
        return members
    return members[np.sort(np.argsort(-size[members], kind="stable")[:LIMIT])]


def _by_tile(
    members: np.ndarray, first: np.ndarray, last: np.ndarray
) -> list[tuple[int, int, np.ndarray]]:
    """Return (column, row, members) of each tile that the boxes of some fields touch.

    Members in their order.
    """
    wide, high = np.maximum(last - first + 1, 0).T
    count = wide * high
    field = np.repeat(np.arange(len(members)), count)
    step = np.arange(len(field)) - np.repeat(np.cumsum(count) - count, count)
    x, y = (
        first[field, 0] + step % np.maximum(wide[field], 1),
        first[field, 1] + step // np.maximum(wide[field], 1),
    )
    order = np.lexsort((field, x, y))
    x, y, field = x[order], y[order], field[order]
    starts = np.flatnonzero((np.diff(x, prepend=-1) != 0) | (np.diff(y, prepend=-1) != 0))
    # pairs of edges: where no field is shown there are none, and no tile
    return [
        (int(x[a]), int(y[a]), members[field[a:b]]) for a, b in pairwise([*starts.tolist(), len(x)])
    ]


def _far(density: dict[tuple[int, int], np.ndarray], tiles: ArchiveWriter) -> None:
    """Draw the density of all zooms below the one where fields begin.

    Each square holds four of the next finer zoom.
    """
    for zoom in range(CHUNK - 1, -1, -1):
        coarser: dict[tuple[int, int], np.ndarray] = {}
        for (x, y), sums in density.items():
            quarter = sums.reshape(GRID // 2, 2, GRID // 2, 2, -1).sum(axis=(1, 3))
            whole = coarser.setdefault((x // 2, y // 2), np.zeros(sums.shape))
            rows, columns = (slice((v % 2) * GRID // 2, (v % 2 + 1) * GRID // 2) for v in (y, x))
            whole[rows, columns] += quarter
        density = coarser
        for (x, y), sums in sorted(density.items()):
            tiles.add(zoom, x, y, _density_tile(sums, zoom, y))


def _density_tile(sums: np.ndarray, zoom: int, y: int) -> bytes:
    row, column = np.nonzero(sums[..., 0])
    corner = np.stack([column, row], axis=1) * (EXTENT // GRID)
    number, hectares, known, sure = sums[row, column].T
    square = _square_hectares(zoom, y)[row]
    columns: dict[str, Any] = {
        "fields": number.astype(np.int64),
        "share": np.round(np.minimum(hectares / square, 1), 2).astype(np.float32),
        "hectares": np.round(hectares, 1).astype(np.float32),
        "confidence": np.round(sure / np.where(known > 0, known, np.nan), 2).astype(np.float32),
    }
    outlines = squares(np.concatenate([corner, corner + EXTENT // GRID], axis=1))
    return encode_layer("density", TileLayer(outlines, columns))


def _square_hectares(zoom: int, y: int) -> np.ndarray:
    """Return the (GRID,) hectares of ground of a square in each row of a tile, from the north."""
    edges = (y + np.arange(GRID + 1) / GRID) / 2**zoom
    sine = np.tanh(np.pi * (1 - 2 * edges))  # of the latitude
    ground: np.ndarray = -np.diff(sine) * SPHERE**2 * (2 * np.pi / (GRID * 2**zoom)) / 1e4
    return ground


def _metadata(maps: Maps, finest: int) -> dict[str, Any]:
    names = parquet_schema(maps.parts[0].path).names
    kinds = {
        "confidence": ("confidence", "Number"),
        "score": ("confidence", "Number"),
        "class": ("class", "String"),
    }
    columns = {"id": "String", "hectares": "Number"} | {
        kinds[name][0]: kinds[name][1] for name in names if name in kinds
    }
    far = dict.fromkeys(("fields", "share", "hectares", "confidence"), "Number")
    layers = [
        {
            "id": "density",
            "fields": far,
            "minzoom": 0,
            "maxzoom": CHUNK - 1,
            "description": "How much of each square is field",
        },
        {
            "id": "fields",
            "fields": columns,
            "minzoom": CHUNK,
            "maxzoom": finest,
            "description": "Fields",
        },
    ]
    name = str(maps.facts.get("collection", maps.folder.stem))
    return {
        "name": name,
        "format": "pbf",
        "generator": f"selion {selion.__version__}",
        "vector_layers": layers,
    }
