"""A file that names other data reads nothing that nobody gave: the truth is a host that counts what
it is asked, and a file of this machine whose bytes must not become pixels.
"""

import contextlib

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from counting_host import counting_host
from selion.errors import UnreadableFile
from selion.grid import whole
from selion.imagery import catalogue
from selion.store import GeoTiffSource, create_cog, fingerprint, open_raster
from selion.store.gdal import gdal_settings
from selion.store.vectors import read_polygons
from selion.web.view import rasters

GRID = GeoBox((16, 16), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
VALUES = np.arange(1, 257, dtype=np.uint8).reshape(1, 16, 16)[:, ::-1]
HEAD = (
    '<VRTDataset rasterXSize="16" rasterYSize="16"><SRS>EPSG:32633</SRS>'
    "<GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>"
)


@pytest.fixture
def host(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    write_image(folder / "a.tif")
    with counting_host(folder) as served:
        served.folder = folder
        yield served


def write_image(path):
    with create_cog(path, GRID, ("red",), "uint8", block=128) as sink:
        sink.write(whole(GRID), VALUES)


def vrt(source, relative=0):
    return (
        f'{HEAD}<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename '
        f'relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def raw(path):
    return (
        f'{HEAD}<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="0">{path}</SourceFilename><ImageOffset>0</ImageOffset>'
        "<PixelOffset>1</PixelOffset><LineOffset>16</LineOffset></VRTRasterBand></VRTDataset>"
    )


def tms(url):
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl>'
        "</Service><DataWindow><UpperLeftX>-20037508</UpperLeftX><UpperLeftY>20037508</UpperLeftY>"
        "<LowerRightX>20037508</LowerRightX><LowerRightY>-20037508</LowerRightY><TileLevel>18"
        "</TileLevel><YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection>"
        "<BandsCount>3</BandsCount></GDAL_WMS>"
    )


@pytest.mark.parametrize("name", ["x.vrt", "x.tif", "x.jp2", "x"])
def test_raw_bytes_of_a_file_become_no_pixels(tmp_path, name):
    (tmp_path / "secret").write_bytes(bytes(range(256)))
    (tmp_path / name).write_text(raw(tmp_path / "secret"))
    with pytest.raises(UnreadableFile, match=r"raw bytes|names other data"):
        open_raster(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    ["{tms}", "\ufeff \n{vrt}", '{{"type": "gdal_streamed_alg"}}', "<GDALTileIndexDataset/>"],
)
@pytest.mark.parametrize("name", ["x.tif", "x.xml", "x.jp2"])
def test_what_names_a_server_without_saying_so_asks_nothing(tmp_path, host, text, name):
    said = text.format(tms=tms(host.url), vrt=vrt(f"/vsicurl/{host.url}/a.tif"))
    (tmp_path / name).write_text(said, "utf-8")
    with pytest.raises(UnreadableFile, match="names other data"):
        open_raster(tmp_path / name)
    assert host.asked == []


def test_an_honest_vrt_of_addresses_is_read_and_known(tmp_path, host):
    (tmp_path / "x.vrt").write_text(vrt(f"/vsicurl/{host.url}/a.tif?sig=SECRET"))
    assert (open_raster(tmp_path / "x.vrt").read(whole(GRID)).values == VALUES).all()
    before = fingerprint(tmp_path / "x.vrt")
    assert fingerprint(tmp_path / "x.vrt") == before
    with create_cog(host.folder / "a.tif", GRID, ("red",), "uint8", force=True) as sink:
        sink.write(whole(GRID), VALUES // 2)
    assert fingerprint(tmp_path / "x.vrt") != before
    (host.folder / "a.tif").unlink()
    with pytest.raises(UnreadableFile, match="does not answer") as said:
        fingerprint(tmp_path / "x.vrt")
    assert "SECRET" not in str(said.value)


@pytest.mark.parametrize(
    "source",
    [
        "/vsisubfile/0_,{here}/a.tif",
        "/vsizip/{here}/a.zip/a.tif",
        "/vsicurl?header_file={here}/secret&amp;url={url}/a.tif",
        "WMTS:{url}/wmts",
        "&lt;GDAL_WMS/&gt;",
        "{here}/secret",
        "{here}/service.tif",
        "{here}/deep.vrt",
    ],
)
def test_what_a_vrt_may_not_name(tmp_path, host, source):
    write_image(tmp_path / "a.tif")
    (tmp_path / "secret").write_text("1 2 3\n4 5 6\n")
    (tmp_path / "service.tif").write_text(tms(host.url))
    (tmp_path / "deep.vrt").write_text(raw(tmp_path / "secret"))
    (tmp_path / "x.vrt").write_text(vrt(source.format(here=tmp_path, url=host.url)))
    with pytest.raises(UnreadableFile):
        open_raster(tmp_path / "x.vrt")
    assert host.asked == []


def test_vrts_that_name_each_other_come_to_an_end(tmp_path):
    for one, other in (("x", "y"), ("y", "x")):
        (tmp_path / f"{one}.vrt").write_text(vrt(f"{other}.vrt", 1))
    with pytest.raises(UnreadableFile, match="deep"):
        open_raster(tmp_path / "x.vrt")


def test_a_vrt_of_a_server_names_only_what_lies_there(tmp_path, host):
    write_image(tmp_path / "mine.tif")
    for name, source, relative in (
        ("good", "a.tif", 1),
        ("full", f"{host.url}/a.tif", 0),
        ("mine", tmp_path / "mine.tif", 0),
        ("other", "/vsicurl/http://127.0.0.2:9/a.tif", 0),
        ("sub", f"/vsisubfile/0_,{tmp_path}/mine.tif", 0),
    ):
        (host.folder / f"{name}.vrt").write_text(vrt(source, relative))
    read = open_raster(f"{host.url}/good.vrt").read(whole(GRID))
    assert (read.values == VALUES).all()
    for name in ("mine", "other", "sub"):
        with pytest.raises(UnreadableFile, match="same server"):
            open_raster(f"{host.url}/{name}.vrt")


def test_an_address_that_answers_with_a_vrt_is_no_image(tmp_path, host):
    write_image(tmp_path / "mine.tif")
    (host.folder / "x.tif").write_text(vrt(tmp_path / "mine.tif"))
    with pytest.raises(UnreadableFile):
        open_raster(f"{host.url}/x.tif")


@pytest.mark.parametrize("location", ["/vsisubfile/0_,{here}/a.tif", "{here}/secret", "a.tif"])
def test_what_an_index_of_tiles_may_name(tmp_path, location):
    write_image(tmp_path / "a.tif")
    (tmp_path / "secret").write_text("1 2 3\n")
    frame = geopandas.GeoDataFrame(
        {"location": [location.format(here=tmp_path)]},
        geometry=[shapely.box(*GRID.boundingbox.bbox)],
        crs="EPSG:32633",
    )
    frame.to_file(tmp_path / "i.gti.gpkg", layer="i")
    if location == "a.tif":
        assert (open_raster(tmp_path / "i.gti.gpkg").read(whole(GRID)).values == VALUES).all()
        return
    with pytest.raises(UnreadableFile):
        open_raster(tmp_path / "i.gti.gpkg")


@pytest.mark.parametrize(
    "place", ["/vsisubfile/0_,{here}/a.tif", "/vsizip/{here}/a.zip/a.tif", "/vsistdin/"]
)
def test_gdals_own_places_are_not_read(tmp_path, place):
    write_image(tmp_path / "a.tif")
    with pytest.raises(UnreadableFile, match="is not read"):
        open_raster(place.format(here=tmp_path))


def test_gdals_name_of_an_address_is_that_address(host):
    named = f"/vsicurl/{host.url}/a.tif"
    assert open_raster(named).path == f"{host.url}/a.tif"
    assert fingerprint(named) == fingerprint(f"{host.url}/a.tif")


def test_a_name_and_password_in_an_address_are_sent_as_such(host):
    fingerprint(f"http://me:wo%40rd@{host.host}/a.tif")
    assert host.asked == [("/a.tif", "Basic bWU6d29AcmQ=")]  # me:wo@rd


def test_assets_of_a_server_lie_on_servers(tmp_path):
    write_image(tmp_path / "a.tif")
    hrefs = {
        "near": "tiles/a.tif",
        "bucket": "s3://bucket/a.tif",
        "gdal": "/vsicurl/https://example.org/a.tif",
        "file": f"file://{tmp_path}/a.tif",
        "sub": f"/vsisubfile/0_,{tmp_path}/a.tif",
        "zip": f"/vsizip/{tmp_path}/a.zip",
    }
    item = {"type": "Feature", "id": "x", "assets": {k: {"href": v} for k, v in hrefs.items()}}
    kept = catalogue._elsewhere(item, "https://example.org/stac/item.json")["assets"]
    assert {name: asset["href"] for name, asset in kept.items()} == {
        "near": "https://example.org/stac/tiles/a.tif",
        "bucket": "s3://bucket/a.tif",
        "gdal": "/vsicurl/https://example.org/a.tif",
    }


def test_an_image_reads_what_lies_beside_it_and_nothing_else(tmp_path):
    """An overview may be named by a file beside the image (GDAL's PAM)."""
    write_image(tmp_path / "a.tif")
    (tmp_path / "far").mkdir()
    write_image(tmp_path / "far" / "o.tif")
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
        f"{tmp_path}/far/o.tif</MDI></Metadata></PAMDataset>"
    )
    with pytest.raises(UnreadableFile, match="beside"):
        open_raster(tmp_path / "a.tif")


ELSEWHERE = "/vsicurl/{url}/a.tif"


def overviews_within(path, place):
    """An ordinary TIFF that says in itself where its overviews are."""
    write_image(path)
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as image:
        image.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=place)


def overviews_in_a_note(path, place):
    write_image(path)
    path.with_name(f"{path.name}.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
        f"{place}</MDI></Metadata></PAMDataset>"
    )


def overviews_beside(path, place):
    write_image(path)
    path.with_name(f"{path.name}.ovr").write_text(vrt(place))


def mask_beside(path, place):
    write_image(path)
    path.with_name(f"{path.name}.msk").write_text(vrt(place))


@pytest.mark.parametrize(
    "make", [overviews_within, overviews_in_a_note, overviews_beside, mask_beside]
)
@pytest.mark.parametrize("coarse", [None, 100.0])
def test_an_image_asks_no_server_for_its_overviews(tmp_path, host, make, coarse):
    make(tmp_path / "x.tif", ELSEWHERE.format(url=host.url))
    with pytest.raises(UnreadableFile, match=r"overviews|names other data"):
        open_raster(tmp_path / "x.tif", coarse=coarse)
    with contextlib.suppress(UnreadableFile), rasters.opened(tmp_path / "x.tif") as shown:
        assert shown.overviews(1) == []
    assert host.asked == []


def test_an_image_of_a_server_opens_nothing_else(tmp_path, host):
    write_image(tmp_path / "mine.tif")
    for name, place in (("far", ELSEWHERE.format(url=host.url)), ("near", tmp_path / "mine.tif")):
        overviews_within(host.folder / f"{name}.tif", str(place))
        with pytest.raises(UnreadableFile, match="overviews"):
            open_raster(f"{host.url}/{name}.tif", coarse=100.0)
    assert {path for path, _ in host.asked} == {"/far.tif", "/near.tif"}


def test_only_the_image_itself_may_be_asked_for(host):
    """Whatever a format may think of: GDAL opens no other file of a server in these settings."""
    name = f"/vsicurl/{host.url}/a.tif"
    for reach in ("", f"/vsicurl/{host.url}/b.tif"):
        with (
            gdal_settings(remote=bool(reach), reach=reach),
            pytest.raises(rasterio.errors.RasterioIOError),
        ):
            rasterio.open(name)
    assert host.asked == []
    with gdal_settings(remote=True, reach=name), rasterio.open(name) as image:
        assert image.width == 16


@pytest.mark.parametrize(
    "text",
    [
        lambda here: raw(here / "secret").replace("subClass", "subclass"),
        lambda here: raw(here / "secret").replace("VRTRawRasterBand", "vrtrawrasterband"),
        lambda here: vrt(f"/vsizip/{here}/a.zip/a.tif").replace("SourceFilename", "sourcefilename"),
        lambda here: vrt(f"/vsizip/{here}/a.zip/a.tif").replace(
            "<SourceFilename", '<SourceFilename xmlns="x"'
        ),
    ],
)
def test_names_are_found_however_gdal_finds_them(tmp_path, text):
    """GDAL minds neither capitals nor name spaces."""
    write_image(tmp_path / "a.tif")
    (tmp_path / "secret").write_bytes(b"root:x:0:0" * 100)
    (tmp_path / "x.vrt").write_text(text(tmp_path))
    with pytest.raises(UnreadableFile):
        open_raster(tmp_path / "x.vrt")


@pytest.mark.parametrize("head", [b"BM", b"GIF8 ", b"II*\0"])
def test_a_vrt_behind_the_first_bytes_of_an_image_is_no_image(tmp_path, head):
    (tmp_path / "secret").write_bytes(b"root:x:0:0" * 100)
    (tmp_path / "x.tif").write_bytes(head + raw(tmp_path / "secret").encode())
    (tmp_path / "x.vrt").write_text(vrt(f"{tmp_path}/x.tif"))
    for name in ("x.tif", "x.vrt"):
        with pytest.raises(UnreadableFile):
            open_raster(tmp_path / name)


@pytest.mark.parametrize("outer", ["far", "near"])
def test_an_image_of_a_server_that_is_a_vrt_is_not_gone_into(tmp_path, host, outer):
    (tmp_path / "secret").write_bytes(b"root:x:0:0" * 100)
    (host.folder / "inner.tif").write_text(raw(tmp_path / "secret"))
    text = vrt(f"{host.url}/inner.tif")
    if outer == "far":
        (host.folder / "x.vrt").write_text(text)
        place = f"{host.url}/x.vrt"
    else:
        (tmp_path / "x.vrt").write_text(text)
        place = tmp_path / "x.vrt"
    with pytest.raises(UnreadableFile):
        open_raster(place)


@pytest.mark.parametrize("by", ["options", "metadata"])
def test_a_vrt_of_a_server_names_no_other_server_in_other_ways(host, by):
    text = vrt("/vsicurl?url=http://127.0.0.2:9/a.tif")
    if by == "metadata":
        text = vrt(f"{host.url}/a.tif").replace(
            "<SRS>",
            '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">/vsicurl/http://127.0.0.2:9/x.tif'
            "</MDI></Metadata><SRS>",
        )
    (host.folder / "x.vrt").write_text(text)
    with pytest.raises(UnreadableFile, match="same server"):
        open_raster(f"{host.url}/x.vrt")


@pytest.mark.parametrize(
    ("driver", "name"), [("ENVI", "x.dat"), ("EHdr", "x.bil"), ("AAIGrid", "x.asc")]
)
def test_images_that_happen_to_begin_like_a_text_are_read(tmp_path, driver, name):
    """The first pixel is 60, which is the code of '<'; also from within a VRT."""
    values = np.full((1, 16, 16), 60, np.uint8)
    values[0, 0, 1:] = np.arange(1, 16)
    profile = {"width": 16, "height": 16, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    transform = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(
        tmp_path / "plain.tif", "w", driver="GTiff", transform=transform, **profile
    ) as file:
        file.write(values)
    rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / name, driver=driver)
    for path in (name, "x.vrt"):
        if path == "x.vrt":
            rasterio.shutil.copy(tmp_path / name, tmp_path / path, driver="VRT")
        source = open_raster(tmp_path / path)
        assert source.read(whole(source.grid)).values[0, 0, :3].tolist() == [60, 1, 2]


def test_variables_of_a_netcdf_file_are_read_from_a_vrt_too(tmp_path):
    write_image(tmp_path / "plain.tif")
    rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "x.nc", driver="netCDF")
    for place in (f'NETCDF:"{tmp_path}/x.nc":Band1', f"NETCDF:{tmp_path}/x.nc:Band1"):
        assert GeoTiffSource.open(place).grid.shape == GRID.shape
        (tmp_path / "x.vrt").write_text(vrt(place.replace('"', "&quot;")))
        assert open_raster(tmp_path / "x.vrt").grid.shape == GRID.shape


GML = """<?xml version="1.0"?><c:FeatureCollection xmlns:c="http://ogr.maptools.org/"
xmlns:gml="http://www.opengis.net/gml"><gml:featureMember><c:a fid="a.0"><c:n>1</c:n><c:g>
<gml:Polygon srsName="EPSG:4326"><gml:outerBoundaryIs><gml:LinearRing><gml:coordinates>0,0 1,0 1,1
0,0</gml:coordinates></gml:LinearRing></gml:outerBoundaryIs></gml:Polygon></c:g></c:a>
</gml:featureMember></c:FeatureCollection>"""


@pytest.mark.parametrize("name", ["a.gml", "a.xml"])
def test_nothing_is_written_beside_a_table_that_is_read(name, tmp_path):
    """GDAL leaves a .gfs beside GML."""
    (tmp_path / name).write_text(GML)
    assert len(read_polygons(tmp_path / name)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
