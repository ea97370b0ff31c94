"""Kept composites as STAC: an item beside each, which names its scenes, and their collection.

Written here and read by any STAC client; nothing in them depends on when or where they are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selion.imagery.composite import COUNT
from selion.imagery.globe import boxes_of, polygons_of
from selion.imagery.mosaic import MosaicLayer, read_layer
from selion.imagery.provenance import TAG, read_provenance
from selion.imagery.providers import Provider
from selion.imagery.scene import Scene, TilePlan
from selion.imagery.sensors import SENTINEL_2

VERSION = "1.1.0"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
GRID = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR = "application/vnd.zarr; version=3"
COLLECTION = "collection.json"
TOLD = ("scenes", "set_aside", "candidates", "views", "never_seen_share", "excluded_classes")
"""What a composite says of itself that its item repeats, as ``selion:...``."""
EDGE = 8
"""Points along an edge of a footprint, which is straight in the tile's CRS only."""


def item_of(path: Path) -> Path:
    """Return where the item of a composite lies."""
    return path.with_suffix(".json")


def write_item(
    path: Path | str,
    plan: TilePlan,
    provider: Provider,
    collection: str,
    out: Path,
    as_zarr: bool = False,
) -> Path:
    """Write the STAC item of a composite.

    Parameters
    ----------
    path : Path or str
        The composite, a COG, or its address.
    plan : TilePlan
        What it was made of.
    provider : Provider
        Whose scenes they are; where it is a STAC API each is linked (``derived_from``).
    collection : str
        Id of the collection.
    out : Path
        Where the item goes: beside the composite, or what will be sent there.
    as_zarr : bool
        Whether the composite lies beside it as Zarr, too.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    UnreadableFile
        If the composite cannot be read.
    """
    layer = read_layer(path)
    shape = footprint(layer)
    properties: dict[str, Any] = {
        "datetime": None,
        "start_datetime": f"{plan.season.start.isoformat()}T00:00:00Z",
        "end_datetime": f"{plan.season.end.isoformat()}T23:59:59Z",
        "gsd": plan.sensor.gsd,
        "proj:code": _code(layer),
        "proj:shape": list(layer.grid.shape),
        "proj:transform": list(layer.grid.transform[:6]),
        "selion:tile": plan.tile,
        "selion:season": plan.season.name,
        "selion:season_why": plan.season.why,
    }
    properties |= {f"selion:{name}": layer.provenance.get(name) for name in TOLD}
    mgrs = plan.sensor.name == SENTINEL_2
    if mgrs:
        properties["grid:code"] = f"MGRS-{plan.tile}"
    links = [{"rel": "collection", "href": f"./{COLLECTION}", "type": "application/json"}]
    links += [
        {"rel": "derived_from", "href": address, "type": "application/geo+json"}
        for address in (_address(scene, provider) for scene in plan.scenes)
        if address
    ]
    bands = [{"name": name, "description": plan.sensor.bands[name]} for name in layer.names]
    if len(layer.bands) > len(layer.names):
        bands.append({"name": COUNT, "description": "clear views"})
    about = {"roles": ["data"], "title": _title(plan), "data_type": "uint16", "nodata": 0}
    assets = {"composite": {"href": f"./{out.stem}.tif", "type": COG, **about, "bands": bands}}
    if as_zarr:
        assets["zarr"] = {"href": f"./{out.stem}.zarr", "type": ZARR, **about, "bands": bands}
    item = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [PROJECTION, *([GRID] if mgrs else [])],
        "id": f"{plan.tile}_{plan.season.name}_{collection}",
        "collection": collection,
        "geometry": shape,
        "bbox": box_of(shape),
        "properties": properties,
        "links": links,
        "assets": assets,
    }
    return _written(out, item)


def write_zarr(path: Path | str, plan: TilePlan, out: Path) -> Path:
    """Write a composite as a Zarr that xarray opens; see :func:`selion.store.write_labelled`.

    Parameters
    ----------
    path : Path or str
        The composite, a COG, or its address.
    plan : TilePlan
        What it was made of.
    out : Path
        What is there is replaced.

    Returns
    -------
    Path
        ``out``.
    """
    from selion.store import Labels, open_raster, write_labelled

    bands = {**{name: plan.sensor.bands[name] for name in plan.sensor.bands}, COUNT: "clear views"}
    told = {
        "units": "reflectance x 10000, 0 = never seen",
        "season": plan.season.name,
        "tile": plan.tile,
        "bands": bands,
        TAG: read_provenance(path),
    }
    labels = Labels(plan.season.start, plan.season.end, told, _title(plan))
    return write_labelled(open_raster(path), labels, out, force=True)


def _title(plan: TilePlan) -> str:
    return f"{plan.tile}, {plan.season.name}: reflectance x 10000, 0 = never seen"


def write_collection(
    folder: Path, name: str, items: Sequence[Path], recipe: Mapping[str, Any], title: str
) -> Path:
    """Write the collection of a folder's items.

    Parameters
    ----------
    folder : Path
    name : str
        Its id.
    items : sequence of Path
        Their files, in the folder.
    recipe : mapping
        What all of them have in common.
    title : str

    Returns
    -------
    Path
        ``collection.json``.
    """
    read = [json.loads(path.read_text("utf-8")) for path in items]
    starts = sorted(item["properties"]["start_datetime"] for item in read)
    ends = sorted(item["properties"]["end_datetime"] for item in read)
    whole = box_of(*(item["geometry"] for item in read))
    return _written(
        folder / COLLECTION,
        {
            "type": "Collection",
            "stac_version": VERSION,
            "stac_extensions": [],
            "id": name,
            "title": title,
            "description": (
                f"{title}. A median of clear views per tile and season, made by selion; each item "
                "names its scenes."
            ),
            "license": "other",
            "extent": {
                "spatial": {"bbox": [whole]},
                "temporal": {"interval": [[starts[0], ends[-1]]]},
            },
            "selion:recipe": dict(recipe),
            "links": [
                {"rel": "item", "href": f"./{path.name}", "type": "application/geo+json"}
                for path in items
            ],
        },
    )


def footprint(layer: MosaicLayer) -> dict[str, Any]:
    """Return the outline of a composite as GeoJSON, cut at the antimeridian."""
    from selion.imagery.area import read_area

    return dict(read_area(outline(layer.grid)).geometry.__geo_interface__)


def outline(grid: Any) -> dict[str, Any]:
    """Return the outline of a grid as a GeoJSON polygon whose longitudes may jump at 180."""
    import numpy as np
    from pyproj import Transformer

    height, width = grid.shape
    rows, columns = np.linspace(0, height, EDGE + 1), np.linspace(0, width, EDGE + 1)
    x = np.concatenate([columns, np.full(EDGE, width), columns[-2::-1], np.zeros(EDGE)])
    y = np.concatenate([np.zeros(EDGE + 1), rows[1:], np.full(EDGE, height), rows[-2::-1]])
    east, north = grid.transform * (x, y)
    longitude, latitude = Transformer.from_crs(
        str(grid.crs), "OGC:CRS84", always_xy=True
    ).transform(east, north)
    ring = [[float(lon), float(lat)] for lon, lat in zip(longitude, latitude, strict=True)]
    return {"type": "Polygon", "coordinates": [ring]}


def _address(scene: Scene, provider: Provider) -> str | None:
    """Return where the item of a scene lies; None where the catalogue is no STAC API."""
    collection = scene.properties.get("collection")
    if "://" not in provider.url or provider.url.endswith(".json") or not collection:
        return None
    return f"{provider.url.rstrip('/')}/collections/{collection}/items/{scene.id}"


def _code(layer: MosaicLayer) -> str | None:
    epsg = layer.grid.crs.epsg if layer.grid.crs is not None else None
    return f"EPSG:{epsg}" if epsg else None


def box_of(*geometries: Mapping[str, Any]) -> list[float]:
    """Return west, south, east, north of GeoJSON geometries that are cut at the antimeridian.

    Around what lies on both sides of it west is larger than east, as RFC 7946 has it: else its box
    would be that of the whole world.

    Examples
    --------
    >>> west = [[179, 0], [180, 0], [180, 1], [179, 0]]
    >>> east = [[-180, 0], [-179, 0], [-180, 1], [-180, 0]]
    >>> box_of({"type": "MultiPolygon", "coordinates": [[west], [east]]})
    [179.0, 0.0, -179.0, 1.0]
    """
    import numpy as np
    from shapely.geometry import shape

    boxes = boxes_of(polygons_of(np.array([shape(one) for one in geometries], object)))
    return [boxes[0][0], boxes[0][1], boxes[-1][2], boxes[0][3]]


def _written(path: Path, content: Mapping[str, Any]) -> Path:
    from selion.store import write_text

    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n", force=True)
    return path
