"""A table of fields in another format than GeoParquet, asked as a map is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from selion import fields, store
from selion.country.partitions import Maps, open_maps
from selion.errors import BadInput, GridMismatch
from selion.fields.fiboa import write_parquet
from selion.fields.schema import Origin
from selion.fields.tidy import remeasured
from selion.grid import LONLAT
from selion.store.address import Place, RemotePath, locate, place_state

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

READ_WHOLE = (".gpkg", ".geojson", ".json", ".fgb", ".shp", ".gml", ".kml")
"""Endings of tables that have no row groups to look things up by."""


def is_read_whole(place: Place) -> bool:
    """Say whether a table is of a format that is read whole, by its name."""
    return place.suffix.lower() in READ_WHOLE


@contextmanager
def opened_maps(path: Maps | Path | RemotePath | str) -> Iterator[Maps]:
    """Open what :func:`selion.country.open_maps` opens, or a GeoPackage, GeoJSON or FlatGeobuf.

    One of the latter is read whole and kept as GeoParquet in longitude and latitude for as long as
    the block runs.

    Parameters
    ----------
    path : Maps, path or address
        A map that is open already is given back.

    Raises
    ------
    UnreadableFile, FetchFailed
        If it cannot be read.
    BadInput
        If its fields have no id, or some no outline.
    GridMismatch
        If they have no place on Earth.
    OutputFailed
        If there is no room for the copy.
    """
    if isinstance(path, Maps):
        yield path
        return
    place = locate(path).expanduser()
    if not is_read_whole(place) or (isinstance(place, Path) and not place.is_file()):
        check_kind(place, "a folder of 'selion merge'")
        yield open_maps(place)
        return
    with TemporaryDirectory(prefix="selion-") as folder:
        made, size = open_maps(copied(place, Path(folder))), place_state(place)[0]
        parts = tuple(replace(one, bytes=size) for one in made.parts)
        yield replace(made, folder=place, parts=parts)  # its sentences and sizes are the table's


def check_kind(place: Place, folder: str) -> None:
    """Refuse a file of a kind that holds no fields, by its ending where it is no Parquet either.

    Parameters
    ----------
    place : path or address
    folder : str
        What might have been given in its place.

    Raises
    ------
    BadInput
        If it is of such a kind.
    """
    if not isinstance(place, Path) or not place.is_file() or place.suffix.lower() == ".parquet":
        return
    with place.open("rb") as file:
        if file.read(4) == b"PAR1":
            return
    raise BadInput(
        f"{place} ends with {place.suffix or 'nothing'} and is no Parquet: wanted is {folder}, "
        f"or a table of fields (.parquet, {', '.join(READ_WHOLE)})."
    )


def copied(place: Place, folder: Path) -> Path:
    """Read a table of :data:`READ_WHOLE` whole and keep it as GeoParquet in a folder.

    Returns
    -------
    path
        Called as the table is, in longitude and latitude.

    Raises
    ------
    UnreadableFile, FetchFailed
        If it cannot be read.
    BadInput
        If its fields have no id, or some no outline.
    GridMismatch
        If they have no place on Earth.
    OutputFailed
        If there is no room for the copy.
    """
    frame = fields.read_fields(place)
    _check(frame, place)
    sizes = [name for name in ("metrics:area", "metrics:perimeter") if name in frame]
    frame = frame.assign(**remeasured(frame)[sizes])
    copy = folder / place.name  # sentences about columns call it so
    with store.atomic_write(copy) as temporary:
        write_parquet(frame, temporary, Origin(), LONLAT)
    return copy


def _check(frame: GeoDataFrame, place: Place) -> None:
    """Refuse a table that cannot be asked for fields."""
    if frame.crs is None:
        raise GridMismatch(
            f"{place} has no CRS (fields of a photograph?), so no area can be cut out of it: give "
            f"a table that has one, which is then brought to {LONLAT}."
        )
    if "id" not in frame:
        raise BadInput(
            f"{place} has no column 'id': write it with 'selion map', or give its fields unique "
            "ids."
        )
    lacking = int((frame.geometry.isna() | frame.geometry.is_empty).sum())
    if lacking:
        raise BadInput(
            f"{place} has {lacking:,} rows without geometry: leave them out, and give a table of "
            "fields."
        )
