"""A table that names other data reads nothing that nobody gave, and asks nobody."""

import geopandas
import pytest
import shapely
from click.testing import CliRunner

from counting_host import counting_host
from selion import fields
from selion.cli.main import cli
from selion.errors import UnreadableFile
from selion.store import read_polygons

SQUARE = shapely.box(12, 50, 12.01, 50.01)
VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="fields"><SrcDataSource>{source}</SrcDataSource>'
    "<SrcLayer>secret</SrcLayer><GeometryType>wkbPolygon</GeometryType><LayerSRS>EPSG:4326"
    '</LayerSRS><GeometryField encoding="WKT" field="shape"/></OGRVRTLayer></OGRVRTDataSource>'
)
HOSTILE = {
    "a file of this machine": VRT.format(source="{here}/secret.csv"),
    "a server": VRT.format(source="/vsicurl/{url}/secret.csv"),
    "a server, behind blanks": "\ufeff \n <!-- x -->" + VRT.format(source="/vsicurl/{url}/x.csv"),
    "a service": "<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>",
    "an algorithm": (
        '{{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read '
        '/vsicurl/{url}/x.json"}}'
    ),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with counting_host(folder) as served:
        served.folder = folder
        yield served


@pytest.mark.parametrize("ending", [".geojson", ".gpkg", ".fgb", ".gml", ".kml", ".json", ".vrt"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_table_that_names_other_data_is_refused(kind, ending, tmp_path, host):
    (tmp_path / "secret.csv").write_text(f'id,shape\n1,"{SQUARE.wkt}"\n')
    path = tmp_path / f"x{ending}"
    path.write_text(HOSTILE[kind].format(here=tmp_path, url=host.url), "utf-8")
    for read in (read_polygons, fields.read_fields):
        with pytest.raises(UnreadableFile, match="names other data"):
            read(path)
    assert host.asked == []


def test_a_table_of_a_server_reads_no_file_of_this_machine(tmp_path, host):
    (tmp_path / "secret.csv").write_text(f'id,shape\n1,"{SQUARE.wkt}"\n')
    (host.folder / "x.geojson").write_text(VRT.format(source=f"{tmp_path}/secret.csv"))
    with pytest.raises(UnreadableFile, match="names other data"):
        read_polygons(f"{host.url}/x.geojson")
    host.asked.clear()


def test_an_index_of_tiles_that_names_other_data_is_refused(tmp_path, host):
    (tmp_path / "x.gti.gpkg").write_text(VRT.format(source=f"/vsicurl/{host.url}/x.csv"))
    done = CliRunner().invoke(cli, ["map", str(tmp_path / "x.gti.gpkg"), "-o", "out.parquet"])
    assert isinstance(done.exception, UnreadableFile)
    assert host.asked == []


@pytest.mark.parametrize(
    "name", ["x.gpkg", "x.fgb", "x.geojson", "x.shp", "x.gml", "x.kml", "x.geojsonl", "x.tab"]
)
def test_tables_of_common_formats_are_read(name, tmp_path):
    drivers = {".gml": "GML", ".kml": "KML", ".geojsonl": "GeoJSONSeq", ".tab": "MapInfo File"}
    frame = geopandas.GeoDataFrame({"name": ["x"]}, geometry=[SQUARE], crs=4326)
    ending = name[1:]
    frame.to_file(tmp_path / name, **({"driver": drivers[ending]} if ending in drivers else {}))
    read = read_polygons(tmp_path / name).geometry.iloc[0]
    assert read.symmetric_difference(SQUARE).area < 1e-12
