"""Files that point elsewhere, each made with the address of a host that counts what it is asked and
the place of a file of this machine whose bytes must not come out; and who reads them.
"""

from __future__ import annotations

import base64
import contextlib
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine

from selion import fields, store
from selion.errors import SelionError
from selion.grid import whole
from selion.web.view import rasters

SECRET = 0x5A
"""Value of the pixels of the file elsewhere."""
Make = Callable[[Path, str, Path], None]
"""Makes a file that points to an address, and to a file of another folder."""


def image(path: Path, value: int = 7, **options: Any) -> None:
    """An image of one value."""
    kind = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500000, 0, -10, 5000000)}
    with rasterio.open(path, "w", **(kind | place | options)) as made:
        made.write(np.full((1, 64, 64), value, np.uint8))


VRT = (
    '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">'
    "<SimpleSource><SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    "</VRTRasterBand></VRTDataset>"
)
NOTE = (
    '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{}</MDI></Metadata>'
    "</PAMDataset>"
)
# written by h5py: raw bytes of "secret", a link to, and storage put together from "/etc/other.h5"
HDF_RAW = (
    "c-"
    "rgqaB<`1lHy|K;9!7(|1iJ^;Tu53%U7~K@b_>DVq&OZ5<*c31zb!FKrL)M3_yx8aWl+34+g4%l%iBGuoHk5Fsd*x"
    "FflPQ3P9y>(abyyU^Nima4@g}UCGSFt^qUwEXv5RAL>yKbn9T^K;JSm!h8u6WvF2oP|$e%nv;jCV*rS)fad4>jHq"
    "ghQ<IBQOW+=Ys{;T4moyR"
)
HDF_LINK = (
    "c-"
    "rgqaB<`1lHy|K;9!7(|4^_Q$~S=0Q$xeL{XJZQm>4RUgpd`&02dPjBLf4QBm)B@hXZ3GP>p_SNwR)^Nk(dsUWO@y"
    "ej)>dH3KDJs>)so03P!t!~"
)
HDF_VIRTUAL = (
    "c-"
    "rgqaB<`1lHy|K;9!7(|4_gn0pS}!#T`34+5J6Sf|wX8n1qlO!T=W&10w?i8xI4JVocl&GtYy8Y9OU3)eGzdMZX}H"
    "Y-G&9$f&}=z{JGJC;(N9i)Q9w0IOjH^Een-fv#re=HO#sU}0u}h5}e_4a1NE=8va@GK_*zFbYP&C>RCA0C#79A4a"
    "6wkr68H4O0LU&`&K%*3U1=NG;OKFl9(&U`CPy0VYt*3KC;tg6d;r5P;LK=ZT}%rW5!_!+sQuf>AIEM!_f;1*2dTj"
    "Dk@x3P!;wpceoD%4#x&"
)
OGR = (
    '<OGRVRTDataSource><OGRVRTLayer name="fields"><SrcDataSource>{}</SrcDataSource><SrcLayer>a'
    "</SrcLayer></OGRVRTLayer></OGRVRTDataSource>"
)
GEOJSON = (
    '{{"type": "FeatureCollection", {} "features": [{{"type": "Feature", "properties": {{"a": 1}}, '
    '"geometry": {{"type": "Polygon", "coordinates": [[[0,0],[1,0],[1,1],[0,0]]]}}}}]}}'
)
GML = (
    '<?xml version="1.0"?>{0}<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:ogr="http://ogr.maptools.org/" '
    'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:gml="http://www.opengis.net/gml" {1}>'
    '<gml:featureMember><ogr:f gml:id="f.0"><ogr:geom><gml:Polygon srsName="{2}">'
    "<gml:outerBoundaryIs><gml:LinearRing><gml:coordinates>0,0 1,0 1,1 0,0</gml:coordinates>"
    "</gml:LinearRing></gml:outerBoundaryIs></gml:Polygon></ogr:geom><ogr:x {3}>1</ogr:x></ogr:f>"
    "</gml:featureMember></wfs:FeatureCollection>"
)
KML = (
    '<?xml version="1.0"?>{0}<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{1}<Placemark>'
    "<name>a</name><Polygon><outerBoundaryIs><LinearRing><coordinates>0,0 1,0 1,1 0,0</coordinates>"
    "</LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>"
)
ENTITIES = '<!DOCTYPE x [<!ENTITY e SYSTEM "{0}/e"><!ENTITY f SYSTEM "file://{1}">]>'


def text(form: str) -> Make:
    """A text; {0} is the address, {1} the file elsewhere."""
    return lambda path, url, far: path.write_text(form.format(url, far), "utf-8") and None


def beside(ending: str, form: str) -> Make:
    """An image, and a text beside it."""

    def make(path: Path, url: str, far: Path) -> None:
        image(path)
        path.with_name(path.name + ending).write_text(form.format(url, far))

    return make


def within(place: str) -> Make:
    """A TIFF that says in itself where its overviews are."""

    def make(path: Path, url: str, far: Path) -> None:
        image(path)
        with rasterio.open(path, "r+") as made:
            made.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=place.format(url, far))

    return make


def packed(body: str) -> Make:
    """A file as another library wrote it."""

    def make(path: Path, _url: str, _far: Path) -> None:
        path.write_bytes(zlib.decompress(base64.b85decode(body)))

    return make


def cube(path: Path, _url: str, far: Path) -> None:
    """A cube whose only chunk is a link to another file."""
    grid = store.open_raster(far).grid[:8, :8]
    with store.create_cube(path, grid, ("a",), np.uint8, chunk=8) as sink:
        sink.write(whole(grid), np.full((1, 8, 8), 1, np.uint8))
    chunk = max(one for one in path.rglob("*") if one.is_file() and one.name != "zarr.json")
    chunk.unlink()
    chunk.symlink_to(far)


def archived(name: str, form: str) -> Make:
    """A text in an archive."""

    def make(path: Path, url: str, far: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, form.format(url, far))

    return make


def footed(name: str) -> Make:
    """A Parquet file whose every column says that it lies in another file (``file_path``)."""

    def make(path: Path, url: str, far: Path) -> None:
        import geopandas
        import shapely

        frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.box(12, 50, 13, 51)], crs=4326)
        frame.to_parquet(path)
        body = path.read_bytes()
        start = len(body) - 8 - int.from_bytes(body[-8:-4], "little")
        told = name.format(url, far).encode()
        # Thrift's compact form: field 1, a text, goes before field 2, where the column begins
        footer, count = re.subn(
            rb"\x26([\x80-\xff]*[\x00-\x7f])\x1c\x15",
            lambda found: b"\x18" + bytes([len(told)]) + told + b"\x16" + found[1] + b"\x1c\x15",
            body[start:-8],
        )
        assert count == len(frame.columns)
        path.write_bytes(body[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")

    return make


def tiled_array(path: Path, url: str, far: Path) -> None:
    """A folder as TileDB writes it, with a note that names other data."""
    for name in ("__schema", "__fragments", "__meta"):
        (path / name).mkdir(parents=True)
    (path / "__schema" / "a").write_text(f"{url}/a.tif {far}")
    (path / f"{path.name}.aux.xml").write_text(NOTE.format(f"/vsicurl/{url}/a.tif"))


def queried(*orders: str) -> Make:
    """A GeoPackage or SQLite file with orders in it that are run when it is read."""

    def make(path: Path, url: str, far: Path) -> None:
        driver = "GPKG" if path.suffix == ".gpkg" else "SQLite"
        one = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
        one.to_file(path, layer="fields", driver=driver)
        with contextlib.closing(sqlite3.connect(path)) as base:
            for order in orders:
                base.execute(order.format(url, far))
            base.commit()

    return make


def seen(call: str) -> Make:
    """A view that calls a function."""
    view = f"CREATE VIEW fields AS SELECT *, {call} AS z FROM f2"
    return queried("ALTER TABLE fields RENAME TO f2", view)


VIRTUAL = (
    "PRAGMA writable_schema=1",
    (
        "INSERT INTO sqlite_master(type, name, tbl_name, rootpage, sql) VALUES('table', 'v', 'v', "
        "0, 'CREATE VIRTUAL TABLE v USING VirtualOGR(''/vsicurl/{0}/x.json'')')"
    ),
)
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON fields BEGIN SELECT load_extension('{1}'); END"
GEOCODE = "ogr_geocode('x', 'geometry', 'SERVICE=OSM_NOMINATIM', 'QUERY_TEMPLATE={0}/%s')"
SERVICE = '<GDAL_WMS><Service name="TMS"><ServerUrl>{0}</ServerUrl></Service></GDAL_WMS>'
TILES = (
    "<GDALTileIndexDataset><IndexDataset>/vsicurl/{0}/a.gpkg</IndexDataset></GDALTileIndexDataset>"
)
WMTS = "<GDAL_WMTS><GetCapabilitiesUrl>{0}/w</GetCapabilitiesUrl></GDAL_WMTS>"
LINK = '"{}": {{"type": "{}", "properties": {{"href": "ADDRESS/c", "url": "ADDRESS/c"}}}},'
NAME = '"crs": {"type": "name", "properties": {"name": "/vsicurl/ADDRESS/c"}},'
PAGES = '"exceededTransferLimit": true, "links": [{"rel": "next", "href": "ADDRESS/n"}],'
FG = '"conformsTo": ["[ogc-json-fg-1-0.2:core]"], "coordRefSys": "ADDRESS/c",'
TOPOLOGY = (
    '{{"type": "Topology", "objects": {{}}, "arcs": [], "crs": {{"type": "link", "properties": '
    '{{"href": "{0}"}}}}}}'
)
SCHEMA = (
    'xsi:schemaLocation="http://ogr.maptools.org/ {0}/wfs?service=WFS&amp;version=1.0.0&amp;'
    'request=DescribeFeatureType"'
)
NETWORK_LINK = (
    '<NetworkLink><Link><href>{0}/b.kml</href></Link></NetworkLink><Style id="s"><IconStyle><Icon>'
    "<href>{0}/i.png</href></Icon></IconStyle></Style>"
)
GPX = (
    '<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><wpt lat="1" lon="2"><name>&e;'
    "&f;</name></wpt></gpx>"
)

BAND = (
    '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">{}'
    "</VRTRasterBand></VRTDataset>"
)
AS_ATTRIBUTE = BAND.format(
    '<SimpleSource SourceFilename="{}"><SourceBand>1</SourceBand></SimpleSource>'
)
AS_ELEMENT = BAND.format(
    "<subClass>VRTRawRasterBand</subClass><SourceFilename>{1}</SourceFilename>"
)
ATTRIBUTED = '<GDALTileIndexDataset IndexDataset="/vsicurl/{0}/a.gpkg"></GDALTileIndexDataset>'
OZI = "OziExplorer Map Data File Version 2.2\r\nx\r\n{1}\r\n1 ,Map Code,\r\n"
LABEL = (
    "PDS_VERSION_ID = PDS3\nRECORD_TYPE = FIXED_LENGTH\nRECORD_BYTES = 64\nFILE_RECORDS = 64\n"
    '^IMAGE = ("{1}", 1 <BYTES>)\nOBJECT = IMAGE\nLINES = 64\nLINE_SAMPLES = 64\nSAMPLE_TYPE = '
    "UNSIGNED_INTEGER\nSAMPLE_BITS = 8\nBANDS = 1\nEND_OBJECT = IMAGE\nEND\n"
)
ERMAPPER = (
    'DatasetHeader Begin\nDataType = Raster\nByteOrder = LSBFirst\nDataFile = "{1}"\nRasterInfo '
    "Begin\nCellType = Unsigned8BitInteger\nNrOfLines = 64\nNrOfCellsPerLine = 64\nNrOfBands = 1\n"
    "RasterInfo End\nDatasetHeader End\n"
)
STACTA = (
    '{{"stac_version": "1.0.0", "stac_extensions": ["tiled-assets"], "type": "Feature", '
    '"properties": {{}}, "asset_templates": {{"b": {{"href": "{0}/a.tif"}}}}}}'
)
REFERENCES = '{{"version": 1, "refs": {{"a/.zarray": "{{}}", "a/0.0": ["{0}/c", 0, 9]}}}}'
PLACES = (
    '<PAMDataset><Metadata domain="GEOLOCATION"><MDI key="X_DATASET">/vsicurl/{0}/a.tif</MDI><MDI '
    'key="Y_DATASET">/vsicurl/{0}/a.tif</MDI></Metadata></PAMDataset>'
)
GROUND = (
    "<GroundOverlay><Icon><href>{0}/a.tif</href></Icon></GroundOverlay><NetworkLink><Link><href>"
    "{0}/b.kml</href></Link></NetworkLink>"
)


def tiled(more: str) -> Make:
    """An index of tiles with an honest layer, and more in it."""

    def make(path: Path, url: str, far: Path) -> None:
        place = [shapely.box(500_000, 4_999_360, 500_640, 5_000_000)]
        table = {"location": ["a.tif"], "other": [f"/vsicurl/{url}/a.tif"]}
        image(path.with_name("a.tif"))
        index = path.with_name("i.gpkg")
        geopandas.GeoDataFrame(table, geometry=place, crs=32633).to_file(index, layer="i")
        about = f"<IndexDataset>i.gpkg</IndexDataset>{more.format(url, far)}"
        path.write_text(f"<GDALTileIndexDataset>{about}</GDALTileIndexDataset>")

    return make


def noted(ending: str, head: str) -> Make:
    """Raw pixels, and a header beside them whose system is an address."""

    def make(path: Path, url: str, _far: Path) -> None:
        path.write_bytes(bytes(4096))
        path.with_suffix(ending).write_text(head.replace("ADDRESS", url))

    return make


def geojson(more: str) -> Make:
    """A GeoJSON with more in it; ADDRESS is that of the host."""
    return lambda path, url, _: (
        path.write_text(GEOJSON.format(more.replace("ADDRESS", url)), "utf-8") and None
    )


def zipped_geojson(path: Path, url: str, far: Path) -> None:
    """A GeoJSON in an archive."""
    geojson(LINK.format("crs", "link"))(path, url, far)
    body = path.read_text()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.geojson", body)


RASTERS: Mapping[str, tuple[str, Make]] = {
    "VRT called .tif": ("x.tif", text(VRT.format("/vsicurl/{0}/a.tif"))),
    "VRT of raw bytes": (
        "x.vrt",
        text(VRT.format("{1}").replace('band="1"', 'band="1" subClass="VRTRawRasterBand"')),
    ),
    "VRT of a piece of a file": ("x.vrt", text(VRT.format("/vsisubfile/0_,{1}"))),
    "VRT of an archive": ("x.vrt", text(VRT.format("/vsizip/vsicurl/{0}/a.zip/a.tif"))),
    "VRT of a service": ("x.vrt", text(VRT.format("WMTS:{0}/wmts"))),
    "service": ("x.tif", text(SERVICE)),
    "index of tiles": ("x.gti", text(TILES)),
    "overviews of a TIFF on a server": ("x.tif", within("/vsicurl/{0}/a.tif")),
    "overviews of a TIFF in a file": ("x.tif", within("{1}")),
    "overviews of a TIFF of a service": ("x.tif", within("WMTS:{0}/wmts")),
    "overviews in .aux.xml": ("x.tif", beside(".aux.xml", NOTE.format("/vsicurl/{0}/a.tif"))),
    "VRT as .ovr": ("x.tif", beside(".ovr", VRT.format("/vsicurl/{0}/a.tif"))),
    "VRT as .msk": ("x.tif", beside(".msk", VRT.format("/vsicurl/{0}/a.tif"))),
    "service as .ovr": ("x.tif", beside(".ovr", WMTS)),
    "JPEG with .aux.xml and .ovr": ("x.jpg", beside(".ovr", VRT.format("/vsicurl/{0}/a.tif"))),
    "HDF5 of raw bytes": ("x.h5", packed(HDF_RAW)),
    "netCDF of raw bytes": ("x.nc", packed(HDF_RAW)),
    "netCDF with a link": ("x.nc", packed(HDF_LINK)),
    "netCDF put together": ("x.nc", packed(HDF_VIRTUAL)),
    "Zarr with a link": ("x.zarr", cube),
    "VRT, name as an attribute": ("x.vrt", text(AS_ATTRIBUTE.format("/vsicurl/{0}/a.tif"))),
    "VRT, piece as an attribute": ("x.vrt", text(AS_ATTRIBUTE.format("/vsisubfile/0_,{1}"))),
    "VRT, raw bytes by an element": ("x.vrt", text(AS_ELEMENT)),
    "VRT of a VRT in a name": ("x.vrt", text(VRT.format("vrt:///vsicurl/{0}/a.tif"))),
    "VRT, derived": (
        "x.vrt",
        text(VRT.format("DERIVED_SUBDATASET:AMPLITUDE:/vsicurl/{0}/a.tif")),
    ),
    "index of tiles as an attribute": ("x.gti", text(ATTRIBUTED)),
    "index of tiles, overview": (
        "x.gti",
        tiled("<Overview><Dataset>/vsicurl/{0}/a.tif</Dataset></Overview>"),
    ),
    "index of tiles, another column": ("x.gti", tiled("<LocationField>other</LocationField>")),
    "TileDB": ("x.tiledb", tiled_array),
    "OziExplorer's map": ("x.map", text(OZI)),
    "label of PDS": ("x.lbl", text(LABEL)),
    "header of ER Mapper": ("x.ers", text(ERMAPPER)),
    "tiled assets": ("x.json", text(STACTA)),
    "references of kerchunk": ("x.json", text(REFERENCES)),
    "overlay in .kmz": ("x.kmz", archived("doc.kml", KML.format("", GROUND))),
    "places of pixels in .aux.xml": ("x.tif", beside(".aux.xml", PLACES)),
    "system in .aux.xml": (
        "x.tif",
        beside(".aux.xml", "<PAMDataset><SRS>{0}/srs.xml</SRS></PAMDataset>"),
    ),
    "system in ENVI's header": (
        "x.dat",
        noted(
            ".hdr",
            "ENVI\nsamples=64\nlines=64\nbands=1\ndata type=1\ninterleave=bsq\nbyte order=0\n"
            "coordinate system string={ADDRESS/srs.xml}\nmap info={x,1,1,0,0,1,1}\n",
        ),
    ),
}  # fmt: skip
"""What is called an image."""
TABLES: Mapping[str, tuple[str, Make]] = {
    "virtual table": ("x.geojson", text(OGR.format("/vsicurl/{0}/a.csv"))),
    "virtual table of a file": ("x.gpkg", text(OGR.format("{1}"))),
    "virtual table in .zip": ("x.zip", archived("a.vrt", OGR.format("/vsicurl/{0}/a.csv"))),
    "service": ("x.gml", text("<OGRWFSDataSource><URL>{0}/wfs</URL></OGRWFSDataSource>")),
    "GeoJSON, crs as a link": ("x.geojson", geojson(LINK.format("crs", "link"))),
    "GeoJSON, crs as a url": ("x.geojson", geojson(LINK.format("CRS", "Url"))),
    "GeoJSON, crs in disguise": ("x.json", geojson(LINK.format(r"cr\u0073", "link"))),
    "GeoJSON, crs as a name": ("x.geojson", geojson(NAME)),
    "GeoJSON, pages": ("x.geojson", geojson(PAGES)),
    "Parquet, columns on a server": ("x.parquet", footed("{0}/a.parquet")),
    "Parquet, columns in a file": ("x.parquet", footed("{1}")),
    "GeoJSON in .zip": ("x.zip", zipped_geojson),
    "JSON-FG": ("x.json", geojson(FG)),
    "TopoJSON, crs as a link": ("x.json", text(TOPOLOGY)),
    "GML, schema of a WFS": ("x.gml", text(GML.format("", SCHEMA, "EPSG:4326", ""))),
    "GML, system as an address": ("x.gml", text(GML.format("", "", "{0}/srs.xml", ""))),
    "GML, links": ("x.gml", text(GML.format("", "", "EPSG:4326", 'xlink:href="{0}/x.gml#a"'))),
    "GML, entities": (
        "x.gml",
        text(GML.format(ENTITIES, "", "EPSG:4326", "").replace(">1<", ">&e;&f;<")),
    ),
    "KML, network link": ("x.kml", text(KML.format("", NETWORK_LINK))),
    "KML, entities": ("x.kml", text(KML.format(ENTITIES, "").replace(">a<", ">&e;&f;<"))),
    "GPX, entities": ("x.gpx", text(f'<?xml version="1.0"?>{ENTITIES}{GPX}')),
    **{
        f"{kind}, {name}": (f"x{ending}", make)
        for kind, ending in (("GeoPackage", ".gpkg"), ("SQLite", ".sqlite"))
        for name, make in {
            "asks for a place": seen(GEOCODE),
            "reads a pixel": seen("gdal_get_pixel_value('/vsicurl/{0}/a.tif', 1, 'pixel', 0, 0)"),
            "loads a library": seen("load_extension('{1}')"),
            "reads a file": seen("readfile('{1}')"),
            "virtual table": queried(*VIRTUAL),
            "trigger": queried(TRIGGER),
        }.items()
    },
}  # fmt: skip
"""What is called a table of polygons."""


def _image(path: Path) -> Any:
    source = store.open_raster(path)
    return source.read(whole(source.grid)).values


def _overview(path: Path) -> Any:
    source = store.open_raster(path, coarse=100.0)
    return source.read(whole(source.grid)).values


def _viewed(path: Path) -> Any:
    with rasters.opened(path) as dataset:
        return dataset.overviews(1), dataset.read(masked=True)


RASTER_READERS: Mapping[str, Callable[[Path], Any]] = {
    "image": _image,
    "overview": _overview,
    "view": _viewed,
    "fingerprint": store.fingerprint,
}
TABLE_READERS: Mapping[str, Callable[[Path], Any]] = {
    "polygons": store.read_polygons,
    "fields": fields.read_fields,
}


def outcome(read: Callable[[Path], Any], path: Path) -> tuple[str, Any]:
    """Return "read" and what was, or "refused" and the sentence."""
    try:
        return "read", read(path)
    except SelionError as error:
        return "refused", str(error)


def shows(answer: Any) -> bool:
    """Say whether bytes of the file elsewhere are in an answer."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    return any(isinstance(part, np.ndarray) and bool((part == SECRET).any()) for part in parts)
