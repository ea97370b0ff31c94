"""GeoTIFFs: read by window as rasterio reads them, written block by block as COGs."""

import pickle
import random
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from resident import hand_back
from selion.errors import (
    BadInput,
    BandMismatch,
    GridMismatch,
    OutputExists,
    OutputFailed,
    UnreadableFile,
)
from selion.grid import photo_grid, tiles, whole
from selion.store import create_cog, open_raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
SHARED = Path(__file__).resolve().parents[3] / "shared"
UTM = "EPSG:32633"
PLACE = Affine(10, 0, 500000, 0, -10, 5000000)


def grid_of(height, width, crs=UTM, step=10.0):
    return GeoBox((height, width), Affine(step, 0, 500000, 0, -step, 5000000), crs)


def write(path, values, *, transform=PLACE, crs=UTM, **more):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        transform=transform,
        crs=crs,
        **more,
    ) as dataset:
        dataset.write(values)
    return path


def noise(*shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


# reading


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("tiled") / "a.tif",
        noise(3, 300, 260),
        tiled=True,
        blockxsize=64,
        blockysize=64,
        compress="deflate",
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_window_equals_rasterio(tiled, data):
    top, left = data.draw(st.integers(0, 299)), data.draw(st.integers(0, 259))
    bottom, right = data.draw(st.integers(top + 1, 300)), data.draw(st.integers(left + 1, 260))
    source = open_raster(tiled)
    raster = source.read((slice(top, bottom), slice(left, right)))
    with rasterio.open(tiled) as dataset:
        assert np.array_equal(raster.values, dataset.read(window=((top, bottom), (left, right))))
        assert raster.grid.transform == dataset.window_transform(((top, bottom), (left, right)))
    assert raster.valid is None
    assert raster.dtype == source.dtype == np.uint16
    assert source.grid.crs.to_epsg() == 32633


def test_vrt_with_a_hole(tmp_path):
    write(tmp_path / "a.tif", noise(1, 50, 50))
    (tmp_path / "m.vrt").write_text(
        """<VRTDataset rasterXSize="100" rasterYSize="50"><SRS>EPSG:32633</SRS>
        <GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>
        <VRTRasterBand dataType="UInt16" band="1"><NoDataValue>0</NoDataValue><SimpleSource>
        <SourceFilename relativeToVRT="1">a.tif</SourceFilename>
        <SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="50" ySize="50"/>
        <DstRect xOff="50" yOff="0" xSize="50" ySize="50"/></SimpleSource></VRTRasterBand>
        </VRTDataset>"""
    )
    raster = open_raster(tmp_path / "m.vrt").read((slice(10, 20), slice(40, 60)))
    with rasterio.open(tmp_path / "m.vrt") as dataset:
        assert np.array_equal(raster.values, dataset.read(window=((10, 20), (40, 60))))
    assert np.array_equal(raster.valid, np.tile(np.arange(20) >= 10, (10, 1)))


def test_vrt_of_mixed_types(tmp_path):
    write(tmp_path / "a.tif", noise(1, 8, 8, dtype="uint8"))
    write(tmp_path / "b.tif", noise(1, 8, 8, dtype="float32") + np.float32(0.5))
    bands = "".join(
        (
            f'<VRTRasterBand dataType="{kind}" band="{k}"><SimpleSource><SourceFilename '
            f'relativeToVRT="1">{name}.tif</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        )
        for k, (kind, name) in enumerate([("Byte", "a"), ("Float32", "b")], 1)
    )
    (tmp_path / "m.vrt").write_text(
        '<VRTDataset rasterXSize="8" '
        f'rasterYSize="8"><GeoTransform>0,1,0,8,0,-1</GeoTransform>{bands}</VRTDataset>'
    )
    source = open_raster(tmp_path / "m.vrt")
    assert source.dtype == source.read(whole(source.grid)).dtype == np.float32


def test_tile_index_over_two_zones(tmp_path):
    import geopandas
    import shapely

    boxes = []
    for zone, east in ((32, 700000), (33, 260000)):
        write(
            tmp_path / f"{zone}.tif",
            noise(1, 60, 60, seed=zone),
            crs=f"EPSG:326{zone}",
            transform=Affine(10, 0, east, 0, -10, 5000000),
        )
        box = geopandas.GeoSeries(
            [shapely.box(east, 4999400, east + 600, 5000000)], crs=f"EPSG:326{zone}"
        ).to_crs(3857)
        boxes.append({"location": str(tmp_path / f"{zone}.tif"), "geometry": box[0]})
    geopandas.GeoDataFrame(boxes, crs=3857).to_file(tmp_path / "all.gti.gpkg", layer="all")
    source = open_raster(tmp_path / "all.gti.gpkg")
    assert source.grid.crs.to_epsg() == 3857
    assert source.read(whole(source.grid)).values.any()


@pytest.mark.parametrize(
    ("count", "dtype", "options", "wanted"),
    [
        (3, "uint8", {"photometric": "RGB"}, ("red", "green", "blue")),
        (1, "uint8", {}, ("gray",)),
        (8, "uint16", {}, tuple(f"band{k}" for k in range(1, 9))),
        (2, "float32", {}, ("band1", "band2")),
    ],
)
def test_band_names_without_descriptions(tmp_path, count, dtype, options, wanted):
    assert (
        open_raster(write(tmp_path / "a.tif", noise(count, 9, 9, dtype=dtype), **options)).bands
        == wanted
    )


def test_descriptions_and_tags(tmp_path):
    path = write(tmp_path / "a.tif", noise(2, 9, 9))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("planting:red", "harvest:red")
        dataset.update_tags(classes="x")
    source = open_raster(path)
    assert source.bands == source.descriptions == ("planting:red", "harvest:red")
    assert source.tags["classes"] == "x"
    assert source.path == str(path)


def test_valid_from_zero_needs_all_bands_of_a_date(tmp_path):
    values = noise(4, 6, 6)
    values[0, 0, 0] = 0  # one dark band
    values[:2, 1, 1] = 0  # the first date is missing
    values[:, 2, 2] = 0
    path = write(tmp_path / "a.tif", values, nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("planting:red", "planting:nir", "harvest:red", "harvest:nir")
    source = open_raster(path)
    valid = source.read(whole(source.grid)).valid
    assert source.nodata == 0
    assert np.argwhere(~valid).tolist() == [[1, 1], [2, 2]]


def test_valid_from_a_marker_needs_one_band(tmp_path):
    values = noise(2, 6, 6, dtype="int16")
    values[1, 3, 4] = -9999
    source = open_raster(write(tmp_path / "a.tif", values, nodata=-9999))
    assert np.argwhere(~source.read(whole(source.grid)).valid).tolist() == [[3, 4]]


def test_valid_from_nan_and_infinity(tmp_path):
    values = noise(2, 6, 6, dtype="float32")
    values[0, 1, 2], values[1, 3, 4] = np.nan, np.inf
    for number, nodata in enumerate((None, np.nan)):
        source = open_raster(write(tmp_path / f"{number}.tif", values, nodata=nodata))
        assert np.argwhere(~source.read(whole(source.grid)).valid).tolist() == [[1, 2], [3, 4]]


def test_nodata_that_the_type_cannot_hold_is_no_reason_to_fail(tmp_path):
    write(tmp_path / "a.tif", noise(1, 6, 6, dtype="uint8"))
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="6" '
        'rasterYSize="6"><GeoTransform>0,1,0,6,0,-1</GeoTransform><VRTRasterBand dataType="Byte" '
        'band="1">'
        "<NoDataValue>-9999</NoDataValue>"
        "<SimpleSource><SourceFilename "
        'relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    source = open_raster(tmp_path / "a.vrt")
    assert source.read(whole(source.grid)).valid is None


def test_valid_from_mask_band(tmp_path):
    mask = np.full((6, 6), 255, "uint8")
    mask[2:4, 1] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "a.tif", noise(2, 6, 6))
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(mask)
    source = open_raster(path)
    assert np.array_equal(source.read(whole(source.grid)).valid, mask > 0)


def test_alpha_is_valid_and_no_band(tmp_path):
    values = noise(4, 6, 6, dtype="uint8")
    values[3], values[3, 2, 3] = 255, 0
    source = open_raster(write(tmp_path / "a.tif", values, photometric="RGB", alpha="YES"))
    assert source.bands == ("red", "green", "blue")
    raster = source.read((slice(1, 5), slice(2, 6)))
    assert np.array_equal(raster.values, values[:3, 1:5, 2:6])
    assert np.argwhere(~raster.valid).tolist() == [[1, 1]]


def test_infrared_that_gdal_calls_alpha_stays_a_band(tmp_path):
    values = noise(4, 40, 40, dtype="uint8")
    path = write(tmp_path / "a.tif", values)
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    source = open_raster(path)
    assert source.bands == ("red", "green", "blue", "band4")
    raster = source.read(whole(source.grid))
    assert raster.valid is None
    assert np.array_equal(raster.values, values)


def test_rows_that_run_northwards_are_turned(tmp_path):
    values = noise(2, 30, 20)
    values[:, 4, 5] = 0
    up = write(
        tmp_path / "up.tif", values, transform=Affine(10, 0, 500000, 0, 10, 4999700), nodata=0
    )
    down = write(tmp_path / "down.tif", values[:, ::-1], nodata=0)
    one, other = open_raster(up), open_raster(down)
    assert one.grid == other.grid
    roi = slice(3, 29), slice(2, 19)
    assert np.array_equal(one.read(roi).values, other.read(roi).values)
    assert np.array_equal(one.read(roi).valid, other.read(roi).valid)


def test_rotated_mirrored_and_gcp_grids_are_refused(tmp_path):
    for number, transform in enumerate((Affine(10, 3, 0, 3, -10, 0), Affine(-10, 0, 0, 0, -10, 0))):
        with pytest.raises(GridMismatch, match="gdalwarp"):
            open_raster(write(tmp_path / f"{number}.tif", noise(1, 5, 5), transform=transform))
    from rasterio.control import GroundControlPoint

    points = [GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 5), (5, 0))]
    with rasterio.open(
        tmp_path / "g.tif",
        "w",
        driver="GTiff",
        count=1,
        height=5,
        width=5,
        dtype="uint8",
        gcps=points,
        crs="EPSG:4326",
    ) as dataset:
        dataset.write(noise(1, 5, 5, dtype="uint8"))
    with pytest.raises(GridMismatch, match="ground control points"):
        open_raster(tmp_path / "g.tif")


@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_no_crs_keeps_the_transform(tmp_path):
    source = open_raster(write(tmp_path / "a.tif", noise(1, 6, 7), crs=None))
    assert source.grid.crs is None
    assert source.grid.transform == Affine(10, 0, 500000, 0, -10, 5000000)
    with rasterio.Env(), pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        plain = write(tmp_path / "b.tif", noise(1, 6, 7), crs=None, transform=Affine.identity())
    assert open_raster(plain).grid == photo_grid((6, 7))


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:31467", "EPSG:3035", "EPSG:2263", "EPSG:3857"])
def test_crs_survives_writing_and_reading(tmp_path, crs):
    step = 1e-4 if crs == "EPSG:4326" else 10.0
    grid = GeoBox((8, 9), Affine(step, 0, 10, 0, -step, 45), crs)
    with create_cog(tmp_path / "a.tif", grid, ("x",), "uint8") as sink:
        sink.write(whole(grid), noise(1, 8, 9, dtype="uint8"))
    assert open_raster(tmp_path / "a.tif").grid == grid
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.crs.to_epsg() == int(crs[5:])


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(BadInput, match="complex"):
        open_raster(write(tmp_path / "a.tif", np.ones((1, 4, 4), "complex64")))


@pytest.mark.parametrize(
    "roi",
    [
        (slice(0, 301), slice(0, 5)),
        (slice(-1, 5), slice(0, 5)),
        (slice(5, 5), slice(0, 5)),
        (slice(None), slice(0, 5)),
    ],
)
def test_region_outside_is_refused(tiled, roi):
    with pytest.raises(GridMismatch, match="300 rows"):
        open_raster(tiled).read(roi)


def test_missing_empty_unknown_and_folders(tmp_path):
    write(tmp_path / "image_2024.tif", noise(1, 4, 4))
    with pytest.raises(UnreadableFile, match=r"does not exist.*image_2024\.tif"):
        open_raster(tmp_path / "image_2042.tif")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(UnreadableFile, match="0 bytes"):
        open_raster(tmp_path / "empty.tif")
    (tmp_path / "text.tif").write_text("this is no image")
    with pytest.raises(UnreadableFile, match="no known format"):
        open_raster(tmp_path / "text.tif")
    with pytest.raises(UnreadableFile, match="is a folder"):
        open_raster(tmp_path)
    (tmp_path / "old.zarr").mkdir()
    (tmp_path / "old.zarr" / ".zarray").write_text("{}")
    with pytest.raises(UnreadableFile, match="version 2"):
        open_raster(tmp_path / "old.zarr")
    with pytest.raises(UnreadableFile, match="ftp://"):
        open_raster("ftp://example.org/a.tif")


def test_truncated_file_names_file_and_region(tmp_path, tiled):
    path = tmp_path / "cut.tif"
    path.write_bytes(tiled.read_bytes()[: tiled.stat().st_size * 2 // 3])
    source = open_raster(path)
    source.read((slice(0, 10), slice(0, 10)))
    with pytest.raises(
        UnreadableFile, match=r"cut\.tif cannot be read at rows 200:300, columns 100:260.*truncated"
    ):
        source.read((slice(200, 300), slice(100, 260)))


def test_head_that_is_cut_off(tmp_path, tiled):
    (tmp_path / "cut.tif").write_bytes(tiled.read_bytes()[:50])
    with pytest.raises(UnreadableFile, match="truncated"):
        open_raster(tmp_path / "cut.tif")


def read_sum(source, roi):
    return int(source.read(roi).values.sum())


def test_threads_processes_and_pickles(tiled):
    source = open_raster(tiled)
    rois = tiles((300, 260), 50)
    wanted = [read_sum(source, roi) for roi in rois]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read_sum, [source] * len(rois), rois)) == wanted
    again = pickle.loads(pickle.dumps(source))
    assert (again.grid, again.bands, again.path) == (source.grid, source.bands, source.path)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(read_sum, [source] * len(rois), rois, chunksize=50)) == wanted


def test_tci_chip_with_a_sidecar_has_a_place():
    chip = SHARED / "data/satellite/s2_unlabelled/tci_chips_epsg32633/cnn_0.jpg"
    if not chip.exists():
        pytest.skip("needs ../shared/data")
    source = open_raster(chip)
    assert source.grid.crs.to_epsg() == 32633
    assert source.read(whole(source.grid)).values.shape == (3, 201, 201)


# writing


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    block=st.integers(5, 60),
    tile=st.sampled_from([16, 32, 64]),
    dtype=st.sampled_from(["uint8", "int16", "int32", "float32", "float64", "int8", "uint32"]),
    count=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_in_any_order(shape, block, tile, dtype, count, seed):
    grid, values = grid_of(*shape), noise(count, *shape, dtype="uint8", seed=seed).astype(dtype)
    rois = tiles(shape, block)
    random.Random(seed).shuffle(rois)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.tif")
        with create_cog(path, grid, [f"b{k}" for k in range(count)], dtype, block=tile) as sink:
            for roi in rois:
                sink.write(roi, values[:, *roi])
        source = open_raster(path)
        assert np.array_equal(source.read(whole(grid)).values, values)
        assert source.dtype == np.dtype(dtype)
        assert source.grid == grid
        assert [entry.name for entry in Path(folder).iterdir()] == ["out.tif"]


def test_writing_from_threads(tmp_path):
    grid, values = grid_of(200, 170), noise(2, 200, 170)
    with (
        create_cog(tmp_path / "a.tif", grid, ("a", "b"), "uint16", block=64) as sink,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(lambda roi: sink.write(roi, values[:, *roi]), tiles((200, 170), 27)))
    assert np.array_equal(open_raster(tmp_path / "a.tif").read(whole(grid)).values, values)


def test_it_is_a_cog(tmp_path):
    grid = grid_of(1200, 1100)
    yy, xx = np.mgrid[:1200, :1100]
    values = np.stack([yy / 1200, xx / 1100]).astype("float32")
    with create_cog(
        tmp_path / "a.tif",
        grid,
        ("field", "boundary"),
        "float32",
        nodata=np.nan,
        tags={"classes": '{"a": "ü"}'},
        overviews="average",
    ) as sink:
        sink.write(whole(grid), values)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert (structure["LAYOUT"], structure["COMPRESSION"], structure["PREDICTOR"]) == (
            "COG",
            "ZSTD",
            "3",
        )
        assert dataset.block_shapes == [(512, 512)] * 2
        assert dataset.overviews(1) == [2, 4]
        assert np.isnan(dataset.nodata)
        assert dataset.tags()["classes"] == '{"a": "ü"}'
        assert dataset.descriptions == ("field", "boundary")
        half = dataset.read(1, out_shape=(600, 550))
        assert half[0, 0] == pytest.approx(values[0, :2, :2].mean())


def test_overviews_at_levels_that_were_asked_for_and_a_scale(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2, 256, 320), np.uint8)
    path = tmp_path / "scores.tif"
    with create_cog(
        path,
        GeoBox((256, 320), PLACE, UTM),
        ("field", "boundary"),
        "uint8",
        overviews="average",
        levels=(4, 8, 16),
        scale=1 / 255,
        block=128,
    ) as sink:
        sink.write(whole(sink.grid), values)
    with rasterio.open(path) as cog:
        assert cog.overviews(1) == cog.overviews(2) == [4, 8, 16]
        assert cog.scales == pytest.approx((1 / 255, 1 / 255))
        assert np.array_equal(cog.read(), values)  # the numbers stay
        for level in (4, 16):
            shape = 2, 256 // level, level, 320 // level, level
            coarse = cog.read(out_shape=(2, shape[1], shape[3]))
            assert np.abs(coarse - values.reshape(shape).mean((2, 4))).max() <= 0.5


def test_overviews_of_ids_are_ids(tmp_path):
    grid = grid_of(1100, 1100)
    ids = np.random.default_rng(0).choice(np.array([0, 7, 1_000_000], "int32"), (1, 1100, 1100))
    with create_cog(tmp_path / "a.tif", grid, ("id",), "int32") as sink:
        sink.write(whole(grid), ids)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert set(np.unique(dataset.read(1, out_shape=(550, 550)))) == {0, 7, 1_000_000}


def test_labels_have_colours_and_unwritten_pixels_are_nodata(tmp_path):
    grid = grid_of(700, 600)
    with create_cog(
        tmp_path / "a.tif",
        grid,
        ("class",),
        "uint8",
        nodata=255,
        colours=("#000000", "#5ac85a", "#ffd500"),
    ) as sink:
        sink.write((slice(0, 30), slice(0, 40)), np.ones((1, 30, 40), "uint8"))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        palette = dataset.colormap(1)
        assert (palette[1], palette[2], palette[255]) == (
            (0x5A, 0xC8, 0x5A, 255),
            (255, 213, 0, 255),
            (0, 0, 0, 0),
        )
        values = dataset.read(1)
        assert (values[:30, :40] == 1).all()
        assert (values == 255).sum() == values.size - 1200
    assert open_raster(tmp_path / "a.tif").read((slice(20, 40), slice(0, 40))).valid.sum() == 400


def test_nothing_written_at_all_is_all_nodata(tmp_path):
    with create_cog(tmp_path / "a.tif", grid_of(100, 90), ("a", "b"), "int16", nodata=-1):
        pass
    source = open_raster(tmp_path / "a.tif")
    assert (source.read(whole(source.grid)).values == -1).all()


def test_four_bands_of_bytes_have_no_alpha(tmp_path):
    grid = grid_of(20, 20)
    values = noise(4, 20, 20, dtype="uint8")
    values[3] = 255
    with create_cog(tmp_path / "a.tif", grid, ("red", "green", "blue", "nir"), "uint8") as sink:
        sink.write(whole(grid), values)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.colorinterp[3] != ColorInterp.alpha
    assert open_raster(tmp_path / "a.tif").bands == ("red", "green", "blue", "nir")


def test_photo_grid_and_south_up_can_be_written(tmp_path):
    values = noise(1, 20, 30, dtype="uint8")
    with create_cog(tmp_path / "a.tif", photo_grid((20, 30)), ("a",), "uint8") as sink:
        sink.write(whole(photo_grid((20, 30))), values)
    source = open_raster(tmp_path / "a.tif")
    assert source.grid == photo_grid((20, 30))
    assert np.array_equal(source.read(whole(source.grid)).values, values)


def test_what_does_not_fit_is_refused(tmp_path):
    grid = grid_of(20, 20)
    for wrong in (
        {"dtype": "bool"},
        {"dtype": "complex64"},
        {"nodata": -1},
        {"nodata": 0.5},
        {"colours": ["red"]},
        {"bands": ()},
    ):
        with (
            pytest.raises(BadInput),
            create_cog(
                **(
                    {"path": tmp_path / "a.tif", "grid": grid, "bands": ("a",), "dtype": "uint8"}
                    | wrong
                )
            ),
        ):
            pass
    with (
        pytest.raises(BadInput, match="float64"),
        create_cog(tmp_path / "a.tif", grid, ("a",), "uint8") as sink,
    ):
        sink.write(whole(grid), np.zeros((1, 20, 20)))
    with pytest.raises(BandMismatch), create_cog(tmp_path / "a.tif", grid, ("a",), "uint8") as sink:
        sink.write(whole(grid), np.zeros((2, 20, 20), "uint8"))
    for roi in ((slice(0, 10), slice(0, 10)), (slice(10, 30), slice(0, 20))):
        with (
            pytest.raises(GridMismatch),
            create_cog(tmp_path / "a.tif", grid, ("a",), "uint8") as sink,
        ):
            sink.write(roi, np.zeros((1, 20, 20), "uint8"))
    assert list(tmp_path.iterdir()) == []


def test_existing_cog_is_refused_and_replaced_whole_by_force(tmp_path):
    path, grid = tmp_path / "a.tif", grid_of(20, 20)
    for value, force in ((1, False), (2, True)):
        with create_cog(path, grid, ("a",), "uint8", force=force) as sink:
            sink.write(whole(grid), np.full((1, 20, 20), value, "uint8"))
            assert not path.exists() or open_raster(path).read(whole(grid)).values.max() == 1
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    with pytest.raises(OutputExists), create_cog(path, grid, ("a",), "uint8"):
        pass
    with create_cog(path, grid, ("a",), "uint8", force=True) as sink:
        sink.write(whole(grid), np.full((1, 20, 20), 3, "uint8"))
    assert open_raster(path).read(whole(grid)).values.min() == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


FULL = """
import resource, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from selion.errors import OutputFailed
from selion.store import create_cog, create_cube, open_raster
folder, limits = sys.argv[1], [int(a) for a in sys.argv[2:]]
grid = GeoBox((700, 700), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
values = np.random.default_rng(0).integers(0, 255, (1, 700, 700)).astype("uint8")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in limits:
    for create, name in ((create_cog, "a.tif"), (create_cube, "a.zarr")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with create(f"{folder}/{name}", grid, ("a",), "uint8", force=True) as sink:
                for top in range(0, 700, 100):
                    sink.write((slice(top, top + 100), slice(0, 700)), values[:, top:top + 100])
            found = open_raster(f"{folder}/{name}").read((slice(0, 700), slice(0, 700)))
            whole = np.array_equal(found.values, values)
            print(limit, name, "whole" if whole else "BROKEN")
        except OutputFailed as error:
            print(limit, name, "refused" if "space" in str(error) else error)
"""


def test_full_disk_is_never_silent(tmp_path):
    limits = [300, 4000, 100_000, 262_000, 500_000, 1_049_000, 1_060_000, 10_000_000]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), *map(str, limits)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 2 * len(limits), done.stderr
    assert {line[2] for line in lines} == {"whole", "refused"}, done.stdout
    assert [line[2] for line in lines if line[0] in ("300", "10000000")] == [
        "refused",
        "refused",
        "whole",
        "whole",
    ]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_full_disk_while_the_cog_is_copied(tmp_path, monkeypatch, share):
    import rasterio.shutil

    def cut(_source, target, **_):
        real(_source, target, **_)
        data = Path(target).read_bytes()
        Path(target).write_bytes(data[: int(len(data) * share)])

    real, grid = rasterio.shutil.copy, grid_of(1100, 1100)
    monkeypatch.setattr(rasterio.shutil, "copy", cut)
    with (
        pytest.raises(OutputFailed, match="free some disk space"),
        create_cog(tmp_path / "a.tif", grid, ("a",), "uint8") as sink,
    ):
        sink.write(whole(grid), noise(1, 1100, 1100, dtype="uint8"))
    assert list(tmp_path.iterdir()) == []


def peak_of(body):
    """Return the growth of resident memory, in MiB, while ``body`` runs."""
    process, peak, done = psutil.Process(), [0], threading.Event()

    def watch():
        while not done.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    hand_back()
    start, watcher = process.memory_info().rss, threading.Thread(target=watch)
    watcher.start()
    body()
    done.set()
    watcher.join()
    return (peak[0] - start) / 2**20


def test_memory_of_writing_is_flat(tmp_path):
    grid, block = grid_of(9216, 9216), np.zeros((4, 1024, 1024), "uint8")
    block[:] = np.arange(1024, dtype="uint16").astype("uint8")

    def write_it():
        with create_cog(tmp_path / "a.tif", grid, ("a", "b", "c", "d"), "uint8") as sink:
            for roi in tiles((9216, 9216), 1024):
                sink.write(roi, block)

    assert peak_of(write_it) < 160, "the raster has 324 MiB"
    values = open_raster(tmp_path / "a.tif").read((slice(9000, 9010), slice(1024, 2048))).values
    assert np.array_equal(values, block[:, :10])


def test_one_thread_copies_a_few_tiles_to_the_bytes_of_many(tmp_path, monkeypatch):
    """Beyond them all cores do, which a small file would not repay."""
    from selion.store import cog

    asked, usual = [], cog.gdal_settings

    def settings(**given):
        asked.append(given.get("GDAL_NUM_THREADS"))
        return usual(**given)

    monkeypatch.setattr(cog, "gdal_settings", settings)
    values = np.random.default_rng(0).integers(0, 9000, (1, 64, 64)).astype(np.uint16)
    place = GeoBox((64, 64), Affine(10, 0, 3e5, 0, -10, 5e6), "EPSG:32633")
    for name, few in (("one.tif", 16), ("many.tif", 15)):
        monkeypatch.setattr(cog, "FEW_TILES", few)
        with cog.create_cog(
            tmp_path / name, place, ("b",), "uint16", overviews="average", block=16
        ) as sink:
            sink.write((slice(0, 64), slice(0, 64)), values)
    assert asked == ["1", "ALL_CPUS"]
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "many.tif").read_bytes()


@pytest.mark.parametrize("nodata", [np.int16(-9), np.float32(-9), -9])
def test_what_was_never_written_is_nodata_of_whatever_number_type(tmp_path, nodata):
    """The repr of a number of numpy's is no number to GDAL: such tiles were valid zeros."""
    grid = grid_of(64, 64)
    with create_cog(tmp_path / "a.tif", grid, ("a",), "int16", nodata=nodata, block=32) as sink:
        sink.write((slice(0, 32), slice(0, 32)), np.ones((1, 32, 32), np.int16))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.read(1)[32:].tolist() == [[-9] * 64] * 32
        assert dataset.read_masks(1).sum() == 32 * 32 * 255
