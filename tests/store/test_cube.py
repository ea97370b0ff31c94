"""Zarr cubes: written block by block in any order, read by region."""

import json
import pickle
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch, OutputExists, UnreadableFile
from selion.grid import photo_grid, tiles, whole
from selion.store import create_cube, cube, open_raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def grid_of(height, width, crs="EPSG:32633"):
    return GeoBox((height, width), Affine(10, 0, 500000, 0, -10, 5000000), crs)


def noise(*shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    block=st.integers(7, 50),
    dtype=st.sampled_from(["uint8", "int32", "float32"]),
    memory=st.sampled_from([0, 10_000, 1 << 30]),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_in_any_order(shape, block, dtype, memory, seed):
    grid, values = grid_of(*shape), noise(2, *shape, dtype=dtype, seed=seed)
    rois = tiles(shape, block)
    random.Random(seed).shuffle(rois)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cube, "PENDING_BYTES", memory)
        with create_cube(
            Path(folder, "a.zarr"), grid, ("a", "b"), dtype, chunk=16, shard=32
        ) as sink:
            for roi in rois:
                sink.write(roi, values[:, *roi])
        assert np.array_equal(open_raster(Path(folder, "a.zarr")).read(whole(grid)).values, values)


def test_full_shards_do_not_wait(tmp_path):
    grid = grid_of(128, 128)
    with create_cube(tmp_path / "a.zarr", grid, ("a",), "uint8", chunk=16, shard=64) as sink:
        for roi in tiles((128, 128), 64):
            sink.write(roi, noise(1, 64, 64, dtype="uint8"))
            assert not sink._pending
        assert not sink._spilled


def test_what_is_said_about_it(tmp_path):
    grid = grid_of(50, 60)
    with create_cube(
        tmp_path / "a.zarr",
        grid,
        ("field", "boundary"),
        "float32",
        nodata=np.nan,
        tags={"classes": "x"},
        chunk=16,
        shard=32,
    ) as sink:
        sink.write((slice(0, 32), slice(0, 32)), np.ones((2, 32, 32), "float32"))
    source = open_raster(tmp_path / "a.zarr")
    assert (source.bands, source.tags, source.dtype, source.grid) == (
        ("field", "boundary"),
        {"classes": "x"},
        np.float32,
        grid,
    )
    assert np.isnan(source.nodata)
    assert source.read((slice(30, 34), slice(0, 10))).valid.sum(axis=1).tolist() == [10, 10, 0, 0]
    described = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert described["zarr_format"] == 3
    assert described["dimension_names"] == ["band", "y", "x"]
    said = described["attributes"]
    assert said["proj:code"] == "EPSG:32633"
    assert said["spatial:transform"] == [10, 0, 500000, 0, -10, 5000000]
    assert {one["name"] for one in said["zarr_conventions"]} == {"proj:", "spatial:"}
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_without_crs_and_with_a_crs_without_a_number(tmp_path):
    with create_cube(tmp_path / "a.zarr", photo_grid((9, 8)), ("a",), "uint8", chunk=8, shard=8):
        pass
    assert open_raster(tmp_path / "a.zarr").grid == photo_grid((9, 8))
    odd = GeoBox(
        (9, 8),
        Affine(10, 0, 0, 0, -10, 0),
        "+proj=laea +lat_0=12.5 +lon_0=3.25 +datum=WGS84 +units=m",
    )
    with create_cube(tmp_path / "b.zarr", odd, ("a",), "uint8", chunk=8, shard=8):
        pass
    assert open_raster(tmp_path / "b.zarr").grid == odd


def test_threads_and_pickles(tmp_path):
    grid, values = grid_of(100, 90), noise(1, 100, 90)
    with (
        create_cube(tmp_path / "a.zarr", grid, ("a",), "uint16", chunk=16, shard=32) as sink,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(lambda roi: sink.write(roi, values[:, *roi]), tiles((100, 90), 13)))
    source = pickle.loads(pickle.dumps(open_raster(tmp_path / "a.zarr")))
    with ThreadPoolExecutor(4) as pool:
        rois = tiles((100, 90), 17)
        assert all(
            np.array_equal(part.values, values[:, *roi])
            for roi, part in zip(rois, pool.map(source.read, rois), strict=True)
        )


def test_refusals(tmp_path):
    grid = grid_of(20, 20)
    for wrong in ({"chunk": 16, "shard": 40}, {"nodata": 300}, {"bands": ()}):
        with (
            pytest.raises(BadInput),
            create_cube(
                **(
                    {"path": tmp_path / "a.zarr", "grid": grid, "bands": ("a",), "dtype": "uint8"}
                    | wrong
                )
            ),
        ):
            pass
    rotated = GeoBox((5, 5), Affine(1, 1, 0, 1, -1, 0), "EPSG:32633")
    with pytest.raises(GridMismatch), create_cube(tmp_path / "a.zarr", rotated, ("a",), "uint8"):
        pass
    with create_cube(tmp_path / "a.zarr", grid, ("a",), "uint8"):
        pass
    with pytest.raises(OutputExists), create_cube(tmp_path / "a.zarr", grid, ("a",), "uint8"):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


def test_damaged_cube(tmp_path):
    grid = grid_of(40, 40)
    with create_cube(tmp_path / "a.zarr", grid, ("a",), "uint16", chunk=16, shard=32) as sink:
        sink.write(whole(grid), noise(1, 40, 40))
    shard = next(
        entry for entry in sorted((tmp_path / "a.zarr" / "c").rglob("*")) if entry.is_file()
    )
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(UnreadableFile, match=r"a\.zarr cannot be read at rows 0:40"):
        open_raster(tmp_path / "a.zarr").read(whole(grid))
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        open_raster(tmp_path / "a.zarr")


def test_foreign_zarr(tmp_path):
    import zarr

    zarr.create_array(store=tmp_path / "a.zarr", shape=(2, 5, 5), dtype="uint8")
    with pytest.raises(UnreadableFile, match="spatial:transform"):
        open_raster(tmp_path / "a.zarr")
    zarr.create_group(store=tmp_path / "b.zarr")
    with pytest.raises(UnreadableFile, match="not a single array"):
        open_raster(tmp_path / "b.zarr")
