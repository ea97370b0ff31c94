"""Tables of polygons out of files: GeoParquet, and whatever GDAL reads."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput, UnreadableFile
from selion.grid import LONLAT
from selion.store.address import Place, RemotePath, locate, open_bytes, place_state
from selion.store.covering import HALF, covering_column, group_box
from selion.store.layers import choose_layer
from selion.store.parquet import (
    SIDES,
    find_parts,
    is_table_folder,
    not_found,
    parquet_file,
    parquet_metadata,
)
from selion.store.table_room import check_rows, read_kept, read_whole
from selion.store.vector_pointers import (
    check_driver,
    check_table,
    check_table_file,
    unread,
    with_its_rows,
)

if TYPE_CHECKING:
    import geopandas
    import pyarrow as pa
    import pyarrow.parquet as pq

KINDS = (
    "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    "GeometryCollection",
)  # fmt: skip
"""What WKB calls 1, 2, 3 ..."""
DEEPEST = 1000
"""Geometries within a geometry that may hold others."""
_POINT, _LINES, _POLYGON = 1, (2, 8), 3
SHALLOW = 9 * DEEPEST
"""Bytes of WKB that cannot be nested more deeply."""
Bbox = tuple[float, float, float, float]
"""West, south, east, north."""
WHOLE_FILES = (".gpkg", ".fgb", ".geojson", ".json", ".gml", ".kml")
"""Endings of files that are fetched whole from an address, because GDAL reads them from memory."""
LARGEST = 300 * 2**20
"""Bytes of such a file at most."""


def read_polygons(path: str | os.PathLike[str], bbox: Bbox | None = None) -> geopandas.GeoDataFrame:
    """Read a table of polygons.

    Parameters
    ----------
    path : path
        Fields as :func:`selion.fields.write_fields` writes them, or any polygons that GDAL reads;
        a hive folder of GeoParquet (``zone=10/utm10.parquet`` ...), read as one table; or the
        address of one of these.
    bbox : (west, south, east, north), optional
        Only polygons whose bounding box touches this one; degrees, or the file's units where it has
        no CRS.

    Returns
    -------
    GeoDataFrame

    Raises
    ------
    UnreadableFile
        If the file is missing or cannot be read.
    FetchFailed
        If a server fails.
    """
    path = locate(path)
    if is_table_folder(path):
        return _read_parts(path, bbox)
    if not (isinstance(path, RemotePath) or path.is_file()):
        raise UnreadableFile(f"There is no file {path}: check the name.")
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, bbox)
    import pyogrio
    from pyproj.exceptions import ProjError
    from shapely.errors import GEOSException

    given: bytes | Path
    if isinstance(path, RemotePath):
        given = _whole(path)
        check_table(given, str(path))
    else:
        given = path
        check_table_file(path, str(path))
    try:
        # GML: else GDAL leaves what it found out about it in a file beside it
        how = {"WRITE_GFS": "NO"} if path.suffix.lower() in (".gml", ".xml") else {}
        layer = choose_layer(path, {} if how else dict(pyogrio.list_layers(given).tolist()))
        about = pyogrio.read_info(given, layer=layer, **how)
        check_driver(about["driver"], str(path))
        check_rows(path, about["features"] if bbox is None else 0)
        crs = about["crs"]
        if about["geometry_type"] is None:
            raise UnreadableFile(
                f"{path} is a table without geometry: give polygons (.gpkg, .geojson, .parquet)."
            )
        return with_its_rows(
            pyogrio.read_dataframe(
                given, layer=layer, bbox=None if bbox is None else _bbox_in(bbox, crs), **how
            ),
            about,
            given,
            str(path),
        )
    except (
        *_gdal_failures(),
        GEOSException,
        ProjError,
        UnicodeDecodeError,
        UnboundLocalError,  # of pyogrio, where a layer has no geometry
        MemoryError,  # a billion rows are announced
    ) as error:
        raise UnreadableFile(unread(str(path), str(error))) from error


def _gdal_failures() -> tuple[type[Exception], ...]:
    """Return what pyogrio raises at files that are not what they say."""
    from pyogrio import errors

    return tuple(
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )


def _whole(address: RemotePath) -> bytes:
    """Fetch a file that GDAL reads.

    Raises
    ------
    UnreadableFile
        If it is none that comes as one file, or too large to be fetched whole.
    """
    if address.is_dir():
        raise UnreadableFile(f"{not_found(address)}.")
    if address.suffix.lower() not in WHOLE_FILES:
        raise UnreadableFile(
            f"{address} ends with {address.suffix or 'nothing'}; from an address are read "
            f".parquet, {', '.join(WHOLE_FILES)}: download it and give the file."
        )
    with open_bytes(address) as file:
        size, _ = place_state(address)
        if size > LARGEST:
            raise UnreadableFile(
                f"{address} has {size:,} bytes, and a {address.suffix} is fetched whole: give it "
                "as GeoParquet, which is read in parts, or download it first."
            )
        return file.read()


def _read_parts(folder: Place, bbox: Bbox | None) -> geopandas.GeoDataFrame:
    """Read a hive folder as one table, in the CRS of its first part."""
    import pandas as pd

    parts = [
        part.place
        for part in find_parts(folder)
        if bbox is None or part.box is None or touching(np.array([part.box]), bbox)[0]
    ]
    frames = [_read_parquet(place, bbox) for place in parts or [find_parts(folder)[0].place]]
    frames = [
        frame if frame.crs == frames[0].crs else frame.to_crs(frames[0].crs) for frame in frames
    ]
    held = [frame for frame in frames if len(frame)] or frames[:1]
    joined = held[0] if len(held) == 1 else pd.concat(held, ignore_index=True)
    joined.attrs = dict(frames[0].attrs)
    return joined


def _read_parquet(path: Place, bbox: Bbox | None) -> geopandas.GeoDataFrame:
    return read_parquet(path, None if bbox is None else _bbox_in(bbox, file_crs(path)))


def _bbox_in(bbox: Bbox, crs: str | None) -> Bbox:
    from pyproj import Transformer

    return (
        bbox
        if crs is None
        else Transformer.from_crs(LONLAT, crs, always_xy=True).transform_bounds(*bbox)
    )


def read_parquet(path: Place, bbox: Bbox | None = None) -> geopandas.GeoDataFrame:
    """Read GeoParquet; ``bbox`` is in the file's CRS and skips row groups where it can.

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet file.
    """
    import geopandas
    import pyarrow as pa

    metadata = read_metadata(path)
    with parquet_file(path) as file:
        boxes = covering_column(metadata["geo"]["columns"]["geometry"], file.schema_arrow)
        table = (
            read_whole(path, file) if bbox is None or not boxes else _near(path, file, bbox, boxes)
        )
    try:
        data = table.to_pandas(types_mapper=pandas_type)
        wkb = data.pop("geometry").to_numpy()
    except (
        pa.ArrowException,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise UnreadableFile(
            f"{path} is not a table as its metadata say ({error!r}): write it again."
        ) from error
    geometry = decoded(wkb, str(path))
    data = data.drop(columns=["bbox", boxes], errors="ignore")
    frame = geopandas.GeoDataFrame(data, geometry=geometry, crs=file_crs(path))
    if bbox is not None and not boxes:
        frame = frame[touching(frame.geometry.bounds.to_numpy(), bbox)].reset_index(drop=True)
    frame.attrs["collection"] = metadata["collection"]
    return frame


def frame_of_rows(
    table: pa.Table, geometry: str, crs: str | None, name: str
) -> geopandas.GeoDataFrame:
    """Return rows of a GeoParquet file as fields; ``geometry`` is the column of WKB.

    Raises
    ------
    UnreadableFile
        If a geometry is damaged; ``name`` is that of the file.
    """
    import geopandas

    data = table.to_pandas(types_mapper=pandas_type)
    shapes = decoded(data.pop(geometry).to_numpy(), name)
    return geopandas.GeoDataFrame(data, geometry=shapes, crs=crs)


def _near(path: Place, file: pq.ParquetFile, bbox: Bbox, boxes: str) -> pa.Table:
    """Read the rows whose box in the column ``boxes`` touches one."""
    import pyarrow.compute as pc

    x0, y0, x1, y1 = bbox
    near = {side: pc.field(boxes, side) for side in SIDES}
    west, east = near["xmin"] <= x1, near["xmax"] >= x0
    across = (near["xmin"] > near["xmax"]) & (west | east)  # as in touching
    touch = ((west & east) | across) & (near["ymin"] <= y1) & (near["ymax"] >= y0)
    return read_kept(path, file, _groups_near(file.metadata, bbox, boxes), touch)


def _groups_near(metadata: pq.FileMetaData, bbox: Bbox, boxes: str) -> list[int]:
    around = np.array(
        [group_box(metadata, group, boxes) for group in range(metadata.num_row_groups)]
    ).reshape(-1, 4)
    return [int(group) for group in np.flatnonzero(touching(around, bbox))]


def file_crs(path: Place) -> str | None:
    """Return the CRS of a GeoParquet file as PROJJSON; None if it says that it has none.

    Raises
    ------
    BadInput
        If PROJ does not know it.
    """
    return crs_text(read_metadata(path)["geo"]["columns"]["geometry"], str(path))


def crs_text(geometry: Mapping[str, Any], name: str) -> str | None:
    """Return the CRS of a column, as GeoParquet's metadata give it; None if they say none.

    Raises
    ------
    BadInput
        If PROJ does not know it; ``name`` is that of the file.
    """
    crs = geometry.get("crs", "OGC:CRS84")
    if crs is None:
        return None
    text = json.dumps(crs) if isinstance(crs, dict) else crs
    if not (isinstance(text, str) and _is_known(text)):
        raise BadInput(
            f"{name} has a CRS that PROJ cannot read ({str(text)[:80]}): write it again with the "
            "right one."
        )
    return text


@lru_cache(64)
def _is_known(crs: str) -> bool:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS(crs)
    except CRSError:
        return False
    return True


def said_box(geometry: Mapping[str, Any]) -> Bbox | None:
    """Return the box that GeoParquet's metadata say of a column; None if they say no usable one.

    One that begins east of its end, as GeoParquet has it over the antimeridian, is none here.
    """
    try:
        sides = [float(side) for side in geometry["bbox"]]
    except (KeyError, TypeError, ValueError):
        return None
    if len(sides) not in (4, 6) or not np.isfinite(sides).all():
        return None
    half = len(sides) // 2  # may hold heights: (x, y, z) below, then (x, y, z) above
    if sides[0] > sides[half]:
        return None
    return sides[0], sides[1], sides[half], sides[half + 1]


def check_depth(wkb: Iterable[Any], name: str) -> None:
    """Refuse geometries in geometries in geometries: GEOS would read them until its stack ends.

    Raises
    ------
    UnreadableFile
        If a geometry of the table ``name`` is nested so.
    """
    if any(map(_is_deep, wkb)):
        raise UnreadableFile(
            f"{name} holds a geometry of more than {DEEPEST:,} nested ones: give polygons."
        )


def readable_shapes(wkb: np.ndarray) -> np.ndarray:
    """Return (n,) geometries of their WKB; None where it is damaged or nested without end."""
    import shapely

    sound = [None if _is_deep(value) else value for value in wkb]
    shapes: np.ndarray = shapely.from_wkb(np.array(sound, object), on_invalid="ignore")
    return shapes


def _is_deep(wkb: Any) -> bool:
    """Whether more than :data:`DEEPEST` geometries lie within each other, by their headers."""
    if not isinstance(wkb, bytes) or len(wkb) <= SHALLOW:
        return False
    at, order, waiting = 0, "<", [1]
    try:
        while 0 < len(waiting) <= DEEPEST:
            if not waiting[-1]:
                waiting.pop()
                continue
            waiting[-1] -= 1
            order = {0: ">", 1: "<"}.get(wkb[at], order)
            at, parts = _after(wkb, at + 1, order)
            if parts is not None:
                waiting.append(parts)
    except (struct.error, IndexError):  # damaged: GEOS says so
        return False
    return bool(waiting)


def _after(wkb: bytes, at: int, order: str) -> tuple[int, int | None]:
    """Return where a geometry ends; of one that holds others where they begin, and their number."""
    code, count = struct.unpack_from(f"{order}II", wkb, at)
    if code & 0x20000000:  # a CRS first
        at += 4
        (count,) = struct.unpack_from(f"{order}I", wkb, at + 4)
    kind, more = code % 0x10000 % 1000, code % 0x10000 // 1000
    height, measure = code >> 31 or more in (1, 3), code >> 30 & 1 or more in (2, 3)
    point = 16 + 8 * bool(height) + 8 * bool(measure)
    at += 8
    if kind == _POINT:
        return at - 4 + point, None
    if kind in _LINES:
        return at + point * count, None
    if kind != _POLYGON:
        return at, count
    for _ in range(count):
        at += 4 + point * struct.unpack_from(f"{order}I", wkb, at)[0]
    return at, None


def decoded(wkb: np.ndarray, name: str) -> np.ndarray:
    """Return (n,) geometries of their WKB.

    Raises
    ------
    UnreadableFile
        If one is damaged; ``name`` is that of the table.
    """
    import shapely

    check_depth(wkb, name)
    try:
        shapes: np.ndarray = shapely.from_wkb(wkb)
    except (shapely.errors.GEOSException, TypeError) as error:
        raise UnreadableFile(
            f"{name} holds a geometry that is damaged ({error}): write it again."
        ) from error
    return shapes


def check_polygons(geometry: pa.ChunkedArray, name: str) -> None:
    """Refuse a column of WKB in which something is no polygon.

    Only the first bytes of each are looked at.

    Raises
    ------
    BadInput
        If a row has none, or one of another kind; ``name`` is that of the table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if geometry.null_count:
        raise BadInput(
            f"{name} has {geometry.null_count:,} rows without geometry: leave them out, and give "
            "a table of fields."
        )
    if not (pa.types.is_binary(geometry.type) or pa.types.is_large_binary(geometry.type)):
        raise BadInput(f"{name} holds {geometry.type} as geometry: wanted is WKB.")
    heads = pc.unique(pc.binary_slice(geometry, 0, 5)).to_pylist()
    others = sorted({_kind(head) for head in heads} - {"Polygon", "MultiPolygon"})
    if others:
        raise BadInput(
            f"{name} holds other things than polygons ({', '.join(others)}): give a table of "
            "fields."
        )


def _kind(head: bytes) -> str:
    """Return what WKB with this head is, with or without heights and such."""
    order = {b"\0": "big", b"\1": "little"}.get(head[:1])
    code = int.from_bytes(head[1:5], order) & 0x1FFFFFFF if order and len(head) == 5 else 0  # type: ignore[arg-type]  # it is one of the two
    known = dict(enumerate(KINDS, 1))
    return known.get(code % 1000, "damaged geometry") if code < 4000 else "damaged geometry"


def pandas_type(kind: pa.DataType) -> Any:
    """Return what pandas makes of an Arrow type; None: as pyarrow has it."""
    import pandas as pd
    import pyarrow as pa

    return pd.StringDtype() if pa.types.is_string(kind) else None


def read_metadata(path: Place) -> dict[str, Any]:
    """Return GeoParquet's metadata ("geo") and fiboa's ("collection", empty where there is none).

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet file.
    BadInput
        If its geometry is not in the column ``geometry``.
    """
    import pyarrow as pa

    try:
        footer = parquet_metadata(path)
        found = footer.metadata or {}
        geo = json.loads(found[b"geo"])
        geo["columns"][geo["primary_column"]].get("crs")
        collection = json.loads(found.get(b"collection", b"{}"))
    except (OSError, pa.ArrowInvalid) as error:
        raise UnreadableFile(
            f"{path} cannot be read as Parquet ({error}): check that the file is there and whole."
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} is a Parquet file without proper GeoParquet metadata: write it with selion, "
            "geopandas or GDAL 3.5 or later."
        ) from error
    if geo["primary_column"] != "geometry":
        raise BadInput(
            f"{path} keeps its geometry in a column called {geo['primary_column']!r}; wanted is "
            "'geometry'."
        )
    names = footer.schema.to_arrow_schema().names
    wrong = [name for name in ("geometry", *names) if names.count(name) != 1]
    if wrong:
        raise BadInput(
            f"{path} has {names.count(wrong[0])} columns called {wrong[0]!r}; wanted is one: write "
            "the table again."
        )
    return {"geo": geo, "collection": collection}


def file_box(path: Place) -> Bbox | None:
    """Return the box around a GeoParquet file's geometry, in its CRS; None if it has none.

    What the file says of itself, else the statistics of its row groups, else all its geometry.
    """
    import shapely

    geo = read_metadata(path)["geo"]["columns"]["geometry"]
    if (said := said_box(geo)) is not None:
        return said
    with parquet_file(path) as file:
        covering = covering_column(geo, file.schema_arrow) or None
        groups = range(file.num_row_groups)
        boxes = np.array([group_box(file.metadata, group, covering) for group in groups])
        if not np.isfinite(boxes).all():
            tables = (file.read_row_group(group, ["geometry"]) for group in groups)
            shapes = (decoded(table["geometry"].to_numpy(), str(path)) for table in tables)
            boxes = np.concatenate([shapely.bounds(part) for part in shapes])
            boxes = boxes[np.isfinite(boxes).all(axis=1)]
    return box_around(boxes) if len(boxes) else None


def box_around(boxes: np.ndarray) -> Bbox:
    """Return the box around (n, 4) boxes.

    Around the world where some of them reach over the antimeridian, see :func:`touching`.
    """
    across = boxes[:, 0] > boxes[:, 2]
    if across.any() and not across.all():
        boxes = boxes.copy()
        boxes[across, 0], boxes[across, 2] = -HALF, HALF
    west, south = boxes[:, :2].min(axis=0).tolist()
    east, north = boxes[:, 2:].max(axis=0).tolist()
    return west, south, east, north


def touching(boxes: np.ndarray, box: Bbox) -> np.ndarray:
    """Tell which of (n, 4) boxes touch a box; NaN touches nothing.

    One whose west is greater than its east reaches over the antimeridian, as GeoParquet has it.
    """
    near = np.c_[boxes[:, :2] <= box[2:], boxes[:, 2:] >= box[:2]].T  # west, south, east, north
    return np.asarray(
        np.where(boxes[:, 0] > boxes[:, 2], near[0] | near[2], near[0] & near[2])
        & near[1]
        & near[3]
    )
