"""Fields in and out of files: the ending says which format."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput, GridMismatch, OutputFailed, UnknownName
from selion.fields.projecting import projected
from selion.fields.schema import Origin
from selion.fields.style import field_styles
from selion.grid import LONLAT
from selion.store.atomic import atomic_write, check_output
from selion.store.scratch import final_name
from selion.store.table_room import check_corners
from selion.store.urls import check_utf8
from selion.store.vectors import Bbox, read_polygons

if TYPE_CHECKING:
    import geopandas


LOST = re.compile(r"[\t\r\n]")
"""What pyogrio takes out of a name, as of any address."""
EPOCH = "1970-01-01T00:00:00Z"
"""When a file was written of which nobody says it."""
Writer = Callable[["geopandas.GeoDataFrame", Path, Origin, str | None], None]
"""(fields, file, where they come from, the CRS to bring them to; None: as they are)."""


def _write_parquet(
    frame: geopandas.GeoDataFrame, path: Path, origin: Origin, crs: str | None
) -> None:
    from selion.fields.fiboa import write_parquet

    write_parquet(frame, path, origin, crs)


def _gdal(driver: str, **options: Any) -> Writer:
    def write(frame: geopandas.GeoDataFrame, path: Path, origin: Origin, crs: str | None) -> None:
        _write_gdal(_projected(frame, crs), path, origin, driver, options)

    return write


def _write_gdal(
    frame: geopandas.GeoDataFrame, path: Path, origin: Origin, driver: str, options: dict[str, Any]
) -> None:
    moment = str(origin.to_dict().get("determination:datetime", EPOCH)).replace("Z", ".000Z")
    _write_at(moment, frame, path, driver, {"layer": "fields", **options})


def _write_at(
    moment: str,
    frame: geopandas.GeoDataFrame,
    path: Path,
    driver: str,
    options: dict[str, Any],
) -> None:
    """Write a file as if at a moment.

    A GeoPackage holds the time of its writing, and the same polygons should give the same file.
    """
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment})
    try:
        pyogrio.write_dataframe(
            frame,
            path,
            driver=driver,
            geometry_type=_geometry_type(frame),
            promote_to_multi=_is_mixed(frame),
            **options,
        )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _is_mixed(frame: geopandas.GeoDataFrame) -> bool:
    return bool((frame.geometry.geom_type == "MultiPolygon").any())


def _geometry_type(frame: geopandas.GeoDataFrame) -> str:
    return "MultiPolygon" if _is_mixed(frame) else "Polygon"


def _write_gpkg(frame: geopandas.GeoDataFrame, path: Path, origin: Origin, crs: str | None) -> None:
    _write_gdal(_projected(frame, crs), path, origin, "GPKG", {})
    embed_styles(path, "fields", field_styles(placed=frame.crs is not None))


def write_layer(
    rows: Sequence[Mapping[str, Any]],
    outlines: Sequence[Any],
    crs: str,
    path: Path,
    layer: str,
    styles: Mapping[str, str],
) -> None:
    """Write polygons with their attributes as a GeoPackage with styles.

    Parameters
    ----------
    rows : sequence of mapping
        One per polygon, all with the same keys.
    outlines : sequence
        Polygons.
    crs, layer : str
    path : path
    styles : mapping
        Name -> QML; QGIS takes the first by itself.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    import geopandas

    frame = geopandas.GeoDataFrame(list(rows), geometry=list(outlines), crs=crs)
    with _explained(final_name(path), path):
        _write_at(EPOCH.replace("Z", ".000Z"), frame, path, "GPKG", {"layer": layer})
        embed_styles(path, layer, styles)


def embed_styles(path: Path, layer: str, styles: Mapping[str, str]) -> None:
    """Put styles (name -> QML) for a layer into a GeoPackage; QGIS takes the first by itself.

    The table is registered as QGIS registers its own: as attributes, in ``gpkg_contents``.  QGIS
    then offers it as no layer; hidden from all others too (``gdal_aspatial``), it would find no
    style.
    """
    columns = (
        "f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML, "
        "useAsDefault"
    )
    with closing(sqlite3.connect(path)) as base, base:
        base.execute(
            "CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT, "
            "f_table_catalog TEXT, f_table_schema TEXT, f_table_name TEXT, f_geometry_column "
            "TEXT, styleName TEXT, styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, "
            "description TEXT, owner TEXT, ui TEXT, update_time TEXT)"
        )
        rows = [(layer, name, qml, int(not k)) for k, (name, qml) in enumerate(styles.items())]
        base.executemany(
            f"INSERT INTO layer_styles ({columns}) VALUES ('', '', ?, 'geom', ?, ?, ?)",  # noqa: S608  # constants
            rows,
        )
        base.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change) SELECT "
            "'layer_styles', 'attributes', 'layer_styles', last_change FROM gpkg_contents "
            "WHERE table_name = ?",
            (layer,),
        )


def _write_pmtiles(
    frame: geopandas.GeoDataFrame, path: Path, origin: Origin, crs: str | None
) -> None:
    if frame.empty:
        raise BadInput(
            "There are no fields, and PMTiles cannot be empty: write .parquet, .gpkg, .fgb or "
            ".geojson."
        )
    _write_gdal(
        _projected(frame, crs),
        path,
        origin,
        "PMTiles",
        {"MINZOOM": 6, "MAXZOOM": 14, "NAME": "fields"},
    )


@dataclass(frozen=True, slots=True)
class Format:
    """How fields are written to one kind of file."""

    write: Writer
    crs: str | None
    """The CRS that files of this kind are in unless another is asked for; None: that of the
    fields."""
    only: bool = False
    """Whether the kind allows no other CRS."""


FORMATS: dict[str, Format] = {
    ".parquet": Format(_write_parquet, LONLAT),
    ".gpkg": Format(_write_gpkg, None),
    ".fgb": Format(_gdal("FlatGeobuf", SPATIAL_INDEX="YES"), None),
    ".geojson": Format(_gdal("GeoJSON", RFC7946="YES", WRITE_BBOX="YES"), LONLAT, only=True),
    ".pmtiles": Format(_write_pmtiles, LONLAT, only=True),
}
"""By file ending.  GeoParquet is in longitude and latitude, so that files from different UTM zones
can be put together and every reader, browsers included, understands them; neighbours share their
points, so no gap opens on the way.  GeoPackage and FlatGeobuf keep the raster's CRS: they are
opened beside it."""


def format_of(path: str | os.PathLike[str], *, placed: bool = True) -> Format:
    """Return the format of a file name.

    Parameters
    ----------
    path : path
    placed : bool
        Whether the fields have a CRS; those of a photograph have none.

    Raises
    ------
    UnknownName
        If the ending is not in :data:`FORMATS`.
    GridMismatch
        If the format is one of places on Earth, and the fields have none.
    BadInput
        If the libraries that write it cannot open a file of this name.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise UnknownName.among("format of fields", ending or "(no ending)", FORMATS)
    kind = FORMATS[ending]
    _check_name(path, ending)
    if kind.only and not placed:
        raise GridMismatch(
            f"These fields have no CRS (a photograph?), so {path} cannot be in {kind.crs}: write "
            ".parquet, .gpkg or .fgb."
        )
    return kind


def _check_name(path: str | os.PathLike[str], ending: str) -> None:
    """Refuse names that Arrow and GDAL cannot open, before the work whose result has one."""
    check_utf8(path)
    if ending != ".parquet" and LOST.search(os.fspath(Path(path).expanduser().absolute())):
        raise BadInput(
            f"{os.fspath(path)!r} holds a line break or a tab, which are lost on the way to the "
            f"library that writes {ending}: give a name without."
        )


def write_fields(
    frame: geopandas.GeoDataFrame,
    path: str | os.PathLike[str],
    origin: Origin | None = None,
    *,
    crs: str | None = None,
    force: bool = False,
) -> Path:
    """Write fields; the ending of ``path`` says which format.

    Parameters
    ----------
    frame : GeoDataFrame
        From :func:`selion.fields.to_fields`; may be empty.
    path : path
        ``.parquet`` (fiboa GeoParquet), ``.gpkg``, ``.fgb``, ``.geojson`` or ``.pmtiles``.
    origin : Origin, optional
        Where the fields come from; kept in GeoParquet only.
    crs : str, optional
        "keep" for the frame's own, or anything that pyproj understands; None: see :data:`FORMATS`.
    force : bool
        Whether an existing file is replaced.

    Returns
    -------
    Path
        The file, whole.

    Raises
    ------
    UnknownName
        If the ending is not known.
    GridMismatch
        If the format needs another CRS than the one asked for, or the fields have none.
    OutputExists, OutputFailed
        If it cannot be written.
    """
    kind = format_of(path)
    check_output(path, force)
    wanted = _target(frame, kind, crs, Path(path))
    with atomic_write(path, force) as temporary, _explained(Path(path), temporary):
        kind.write(frame, temporary, origin or Origin(), wanted)
    return Path(path)


@contextmanager
def _explained(path: Path, temporary: Path) -> Iterator[None]:
    """Turn what GDAL and SQLite say of a file that they cannot write into one sentence.

    They do not tell a full disk from the rest.
    """
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        yield
    except (DataLayerError, DataSourceError, sqlite3.Error) as error:
        said = str(error).replace(str(temporary), str(path))
        raise OutputFailed(
            f"{path} was not written (GDAL says: {said}): check that there is space left in "
            f"{path.absolute().parent}, or choose another place."
        ) from error


def _target(frame: geopandas.GeoDataFrame, kind: Format, crs: str | None, path: Path) -> str | None:
    """Return the CRS to bring fields to; None: they stay as they are."""
    wanted = kind.crs if crs is None else (None if crs == "keep" else crs)
    if kind.only and wanted != kind.crs:
        raise GridMismatch(
            f"{path} can only be in longitude and latitude: omit the CRS, or write .parquet, "
            ".gpkg or .fgb."
        )
    if frame.crs is None:
        if kind.only or crs not in (None, "keep"):
            raise GridMismatch(
                f"These fields have no CRS (a photograph?), so {path} cannot be in {wanted}: write "
                ".parquet, .gpkg or .fgb."
            )
        return None
    return wanted


def _projected(frame: geopandas.GeoDataFrame, crs: str | None) -> geopandas.GeoDataFrame:
    """Bring fields to a CRS.

    Exteriors are turned counter-clockwise again where the projection mirrors.
    """
    import shapely

    if crs is None:
        return frame
    moved = projected(frame.geometry, crs)
    return frame.set_geometry(shapely.orient_polygons(moved.to_numpy()), crs=moved.crs)


def read_fields(path: str | os.PathLike[str], bbox: Bbox | None = None) -> geopandas.GeoDataFrame:
    """Read fields: the inverse of :func:`write_fields`, see :func:`selion.store.read_polygons`.

    Raises
    ------
    UnreadableFile
        If the file is missing or cannot be read.
    BadInput
        If an outline has more corners than that of a field may have.
    """
    frame = read_polygons(path, bbox)
    check_corners(frame, str(path))
    return frame
