"""Mosaics as files: Zarr and COG say the same, an interrupted run goes on to the same bytes, and
tile indexes open in GDAL.
"""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from imagery_sheets import four_tiles, grid_at, truth, write_sheet
from selion.errors import BadInput, GridMismatch, OutputExists, UnreadableFile
from selion.grid import whole
from selion.imagery.image_times import last_image_times
from selion.imagery.mosaic import Mosaic
from selion.imagery.mosaic_file import write_mosaic
from selion.imagery.tile_index import write_index
from selion.store import open_raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
MIDDLE = (12.0, 48.0)


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    return [
        *four_tiles(folder, gains=(1, 1.02)),
        *four_tiles(folder, gains=(1, 1.02), season="window_b"),
    ]


@pytest.fixture(scope="module")
def mosaic(sheets):
    """Wider than its composites, so that some shards are empty."""
    return Mosaic(sheets, grid_at("EPSG:3857", *MIDDLE, (700, 1500)), counts=True)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["m.zarr", "m.tif"])
def test_what_is_written_is_the_mosaic(mosaic, tmp_path, name):
    told = []
    path = write_mosaic(
        mosaic,
        tmp_path / name,
        on_step=lambda *step: told.append(step),
        threads=3,
        tags={"more": "said"},
        shard=256,
    )
    source, image = open_raster(path), mosaic.read(whole(mosaic.grid))
    assert (source.bands, source.grid, source.dtype, source.nodata) == (
        mosaic.bands,
        mosaic.grid,
        np.uint16,
        0,
    )
    written = source.read(whole(mosaic.grid))
    assert np.array_equal(written.values, image.values)
    assert np.array_equal(written.valid, image.valid)
    assert 0.1 < image.valid.mean() < 0.6
    assert {key: source.tags[key] for key in (*mosaic.tags, "more")} == {
        **mosaic.tags,
        "more": "said",
    }
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert told[0] == ("mosaic", 0, 18, "")
    assert ("mosaic", 18, 18, "") in told


def test_empty_shards_are_not_written(mosaic, tmp_path):
    path = write_mosaic(mosaic, tmp_path / "m.zarr", shard=256)
    values = mosaic.read(whole(mosaic.grid)).values
    full = {
        (row, column)
        for row in range(3)
        for column in range(6)
        if values[:, row * 256 : row * 256 + 256, column * 256 : column * 256 + 256].any()
    }
    written = {
        tuple(int(part) for part in file.relative_to(path / "c").parts[1:])
        for file in (path / "c").rglob("*")
        if file.is_file()
    }
    assert written == full
    assert 0 < len(full) < 18


class Breaking(Mosaic):
    """Fails at a block, as a broken disk or a killed process would."""

    def read(self, roi):
        if roi[1].start >= 768:
            raise UnreadableFile("the disk is gone")
        return super().read(roi)


@pytest.mark.parametrize("name", ["m.zarr", "m.tif"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(mosaic, sheets, tmp_path, name):
    straight = write_mosaic(mosaic, tmp_path / "straight" / name, shard=256)
    with pytest.raises(UnreadableFile, match="disk is gone"):
        write_mosaic(
            Breaking(sheets, mosaic.grid, counts=True), tmp_path / name, shard=256, threads=1
        )
    assert not (tmp_path / name).exists()
    told = []
    path = write_mosaic(mosaic, tmp_path / name, on_step=lambda *step: told.append(step), shard=256)
    assert told[0][1] > 2
    assert "were there" in told[0][3]
    if path.is_dir():
        assert files_of(path) == files_of(straight)
    else:
        assert path.read_bytes() == straight.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "straight"])


def test_what_another_mosaic_left_is_not_taken(mosaic, sheets, tmp_path):
    with pytest.raises(UnreadableFile):
        write_mosaic(
            Breaking(sheets, mosaic.grid, "cubic", counts=True),
            tmp_path / "m.zarr",
            shard=256,
            threads=1,
        )
    told = []
    path = write_mosaic(
        mosaic, tmp_path / "m.zarr", on_step=lambda *step: told.append(step), shard=256
    )
    assert told[0] == ("mosaic", 0, 18, "")
    assert np.array_equal(
        open_raster(path).read(whole(mosaic.grid)).values, mosaic.read(whole(mosaic.grid)).values
    )


def test_finished_blocks_may_lie_elsewhere(mosaic, sheets, tmp_path):
    work = tmp_path / "work"
    with pytest.raises(UnreadableFile):
        write_mosaic(
            Breaking(sheets, mosaic.grid, counts=True),
            tmp_path / "out" / "m.zarr",
            shard=256,
            threads=1,
            folder=work,
        )
    assert work.is_dir()
    path = write_mosaic(mosaic, tmp_path / "out" / "m.zarr", shard=256, folder=work)
    assert not work.exists()
    assert open_raster(path).bands == mosaic.bands


def test_refusals(mosaic, tmp_path):
    for wrong, said in (
        ({"path": "m.png"}, r"\.zarr or \.tif"),
        ({"threads": 0}, "one thread"),
        ({"shard": 300}, "multiple of 256"),
    ):
        with pytest.raises(BadInput, match=said):
            write_mosaic(mosaic, tmp_path / wrong.pop("path", "m.zarr"), **wrong)
    (tmp_path / "m.zarr").mkdir()
    (tmp_path / "m.zarr" / "precious").write_text("x")
    with pytest.raises(OutputExists):
        write_mosaic(mosaic, tmp_path / "m.zarr")
    assert (tmp_path / "m.zarr" / "precious").exists()
    with pytest.raises(OutputExists, match="did not make"):
        write_mosaic(mosaic, tmp_path / "m.zarr", force=True)
    (tmp_path / "m.zarr" / "precious").unlink()
    write_mosaic(mosaic, tmp_path / "m.zarr", force=True)
    (tmp_path / "m.zarr" / "c" / "old").write_text("x")
    write_mosaic(mosaic, tmp_path / "m.zarr", force=True)
    assert not (tmp_path / "m.zarr" / "c" / "old").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.zarr"]


# the tile index


def test_gdal_opens_the_index_as_one_image(sheets, tmp_path):
    grid = grid_at("EPSG:32633", *MIDDLE, (450, 800))
    index = write_index(sheets[:2], tmp_path / "area.gti.gpkg", grid)
    assert index == {"window_a": tmp_path / "area.gti.gpkg"}
    with rasterio.open(index["window_a"]) as file:
        assert (file.driver, file.shape, file.count, file.dtypes[0], file.nodata) == (
            "GTI",
            (450, 800),
            5,
            "uint16",
            0,
        )
        assert file.crs.to_epsg() == 32633
    source = open_raster(index["window_a"])
    assert source.grid == grid
    assert source.bands[:4] == ("red", "green", "blue", "nir")
    theirs, ours = (
        source.read(whole(grid)),
        Mosaic(sheets[:2], grid, "nearest", counts=True).read(whole(grid)),
    )
    alone = [Mosaic([path], grid, "nearest").read(whole(grid)).valid for path in sheets[:2]]
    once = alone[0] ^ alone[1]
    assert 0.2 < once.mean() < 0.9
    # GDAL's positions err by up to an eighth of a pixel
    assert (theirs.values[:, once] == ours.values[:, once]).all(0).mean() > 0.99
    same_zone = alone[1] & ~alone[0]
    assert np.array_equal(theirs.values[:, same_zone], ours.values[:, same_zone])
    assert ((theirs.values[0] > 0) == (ours.values[0] > 0)).mean() > 0.999


def test_the_index_says_what_it_shows(sheets, tmp_path):
    grid = grid_at("EPSG:3857", *MIDDLE, (450, 800))
    index = write_index(sheets, tmp_path / "deep" / "area.gti.gpkg", grid)
    assert {season: path.name for season, path in index.items()} == {
        s: f"area.{s}.gti.gpkg" for s in ("window_a", "window_b")
    }
    frame = gpd.read_file(index["window_b"])
    assert frame.crs.to_epsg() == 3857
    assert list(frame["tile"]) == ["T0", "T1"]
    assert set(frame["season"]) == {"window_b"}
    assert list(frame["last_image"]) == [
        pd.Timestamp("2024-05-10T10:00Z"),
        pd.Timestamp("2024-05-11T10:00Z"),
    ]
    assert all(not place.startswith("/") for place in frame["location"])
    assert all((tmp_path / "deep" / place).resolve().is_file() for place in frame["location"])
    values = open_raster(index["window_b"]).read(whole(grid)).values
    assert values.any()
    # where two overlap, the later image lies on top
    latest = Mosaic(sheets[3:], grid, "nearest", counts=True).read(whole(grid))
    assert (values == latest.values)[:, latest.valid].all(0).mean() > 0.98


def test_an_index_can_be_moved_with_its_composites(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    grid = grid_at("EPSG:32633", *MIDDLE, (100, 100))
    write_sheet(folder / "a.tif", grid, truth(grid, MIDDLE))
    write_index([folder / "a.tif"], folder / "i.gti.gpkg", grid)
    folder.rename(tmp_path / "there")
    assert open_raster(tmp_path / "there" / "i.gti.gpkg").read(whole(grid)).values.all()


def test_index_refusals(sheets, tmp_path):
    grid = grid_at("EPSG:3857", *MIDDLE, (45, 80))
    with pytest.raises(BadInput, match=r"ending \.gti\.gpkg"):
        write_index(sheets, tmp_path / "area.gpkg", grid)
    write_index(sheets, tmp_path / "area.gti.gpkg", grid)
    with pytest.raises(OutputExists):
        write_index(sheets, tmp_path / "area.gti.gpkg", grid)
    write_index(sheets, tmp_path / "area.gti.gpkg", grid, force=True)
    assert len(list(tmp_path.iterdir())) == 2


# the time of the last image


def test_times_by_the_composites_that_a_field_touches(sheets, mosaic, tmp_path):
    path = write_mosaic(mosaic, tmp_path / "m.zarr", shard=512)
    west, both, east, away = (
        shapely.Point(12 + shift, 48.0117).buffer(0.0005) for shift in (-0.03, 0, 0.03, 1)
    )
    fields = gpd.GeoDataFrame(
        {"id": list("abcd")}, geometry=[west, both, east, away], crs="OGC:CRS84", index=[4, 3, 2, 1]
    )
    wanted = [
        pd.Timestamp("2024-05-10T10:00Z"),
        pd.Timestamp("2024-05-11T10:00Z"),
        pd.Timestamp("2024-05-11T10:00Z"),
        pd.NaT,
    ]
    for given in (
        last_image_times(mosaic),
        last_image_times(open_raster(path).tags, mosaic.grid.crs),
    ):
        assert list(given.frame["tile"]) == ["T0", "T1"] * 2
        times = given(fields)
        assert list(times.index) == [4, 3, 2, 1]
        assert times.isna().tolist() == [False, False, False, True]
        assert list(times[:3]) == wanted[:3]
        assert list(given(fields.to_crs("EPSG:32633"))[:3]) == wanted[:3]
    assert last_image_times(mosaic)(fields[:0]).empty


def test_times_over_the_antimeridian(tmp_path):
    grids = [
        grid_at(zone, 180.0, 10.0, (200, 200), east=east)
        for zone, east in (("EPSG:32660", -1500), ("EPSG:32601", 1500))
    ]
    sheets = [
        write_sheet(
            tmp_path / f"{k}.tif",
            grid,
            np.full((4, 200, 200), 500),
            tile=str(k),
            time=f"2024-03-0{k + 1}T00:00:00Z",
        )
        for k, grid in enumerate(grids)
    ]
    mosaic = Mosaic(sheets, grid_at("EPSG:3857", 179.9999999, 10.0, (200, 400)))
    fields = gpd.GeoDataFrame(
        geometry=[shapely.Point(x, 10).buffer(0.001) for x in (179.98, -179.98)], crs="OGC:CRS84"
    )
    assert [time.day for time in last_image_times(mosaic)(fields)] == [1, 2]


def test_times_refusals(mosaic):
    with pytest.raises(BadInput, match="SELION_MOSAIC is missing"):
        last_image_times({}, "EPSG:3857")
    with pytest.raises(BadInput, match="without the CRS"):
        last_image_times(mosaic.tags)
    with pytest.raises(GridMismatch, match="no CRS"):
        last_image_times(mosaic)(gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)]))
