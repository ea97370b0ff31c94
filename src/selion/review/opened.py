"""A map as it lies on disk.

The table of fields, and beside it the image, the probabilities and the log.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion import fields, store
from selion.errors import BadInput, SelionError, UnreadableFile
from selion.review.log import log_of
from selion.store.address import Place, RemotePath

if TYPE_CHECKING:
    import geopandas

ENDINGS = (".parquet", ".gpkg", ".fgb", ".geojson")
"""Tables of fields, the preferred first."""
IMAGES = ("scene/image.tif", "image.tif", "mosaic.tif", "image.zarr", "mosaic.zarr")
"""Where the image of a map may lie beside it, when the map does not say."""
NOT_MAPS = ("truth", "rejected", "tiles", "area")


@dataclass(frozen=True)
class MapFiles:
    """Where a map and what belongs to it lie."""

    table: Place
    image: Place | None = None
    scores: Place | None = None
    """Class probabilities."""

    @property
    def log(self) -> Path:
        """The log of its review."""
        return log_of(self.table)

    def read(self) -> geopandas.GeoDataFrame:
        """Read the fields.

        Raises
        ------
        BadInput, UnreadableFile
            If they cannot be reviewed.
        """
        frame = fields.read_fields(self.table).reset_index(drop=True)
        if frame.empty:
            raise BadInput(f"{self.table} holds no fields: there is nothing to review.")
        kinds = set(frame.geometry.geom_type.dropna())
        if frame.geometry.isna().any() or not kinds <= {"Polygon", "MultiPolygon"}:
            raise BadInput(
                f"{self.table} holds other things than polygons "
                f"({', '.join(sorted(kinds)) or 'nothing'}): give a table of fields."
            )
        return frame


def find_map(given: Place, image: Place | None = None, scores: Place | None = None) -> MapFiles:
    """Find what belongs to a map.

    Parameters
    ----------
    given : path
        The table of fields, or the folder in which it lies; its address, if it is on a server.
    image, scores : path, optional
        Where image and probabilities lie; without them they are looked for: as the map says, and
        beside it.

    Raises
    ------
    UnreadableFile
        If there is no table, or a file that was named is not there.
    """
    table = _table(given.expanduser())
    for named in (image, scores):
        if isinstance(named, Path) and not named.expanduser().exists():
            raise UnreadableFile(f"There is no file {named}: check the name.")
    beside = table.with_name(f"{table.stem}.scores.tif")
    return MapFiles(table, image or _image(table), scores or (beside if beside.is_file() else None))


def _table(given: Place) -> Place:
    if isinstance(given, RemotePath):
        return _remote_table(given)
    if given.is_file():
        return given
    if not given.is_dir():
        raise UnreadableFile(
            f"There is no map {given}: give the table of fields that 'selion map' wrote, or its "
            "folder."
        )
    found = [
        path
        for ending in ENDINGS
        for path in sorted(given.glob(f"*{ending}"))
        if path.stem not in NOT_MAPS
    ]
    named = [path for path in found if path.stem == "fields"]
    if len(found) != 1 and not named:
        what = (
            f"several tables ({', '.join(path.name for path in found[:5])}): name one of them"
            if found
            else "no table of fields"
        )
        raise UnreadableFile(f"The folder {given} holds {what}.")
    return (named or found)[0]


def _remote_table(given: RemotePath) -> RemotePath:
    if not given.is_dir():
        return given
    found = given / "fields.parquet"
    if not found.is_file():
        raise UnreadableFile(
            f"The folder {given} holds no fields.parquet: give the address of the table. (Of a "
            "table of many parts, cut an area out first with 'selion query'.)"
        )
    return found


def _image(table: Place) -> Place | None:
    """Find the image that a map was made of."""
    noted = provenance(table).get("image")
    named: list[Place] = []
    if isinstance(noted, str):
        place = store.locate(noted)
        # what is on a server names nothing on this machine
        named = [] if isinstance(table, RemotePath) and isinstance(place, Path) else [place]
        named.append(table.parent / place.name)
    stems = [table.parent / f"{table.stem}.{ending}" for ending in ("image.tif", "tif")]
    return next(
        (
            path
            for path in (*named, *stems, *(table.parent / name for name in IMAGES))
            if path.exists()
        ),
        None,
    )


def provenance(table: Place) -> dict[str, Any]:
    """Return what a map says of its making; empty where it says nothing."""
    if table.suffix.lower() != ".parquet":
        return {}
    try:
        return dict(fields.read_origin(table).provenance or {})
    except SelionError:
        return {}


def model_of(files: MapFiles) -> str:
    """Return the name of the model that made a map, as far as map or probabilities say.

    Empty if they do not.
    """
    noted = provenance(files.table).get("model")
    if isinstance(noted, dict) and noted.get("name"):
        return str(noted["name"])
    if files.scores is not None:
        card = json.loads(store.open_raster(files.scores).tags.get("model", "{}"))
        if card.get("name"):
            return str(card["name"])
    try:
        return (
            fields.read_origin(files.table).details.partition(",")[0].strip()
            if files.table.suffix.lower() == ".parquet"
            else ""
        )
    except SelionError:
        return ""
