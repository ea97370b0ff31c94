"""Cubes that grow shard by shard: what is finished stays finished, what is damaged is made again,
and the bytes are those of one run.
"""

import errno
import os
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch, OutputExists, OutputFailed
from selion.grid import whole
from selion.store import ResumableCube, create_cube, open_raster, resumable_zarr

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
GRID = GeoBox((70, 100), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
NOISE = np.random.default_rng(1).integers(1, 60000, (2, 70, 100)).astype(np.uint16)
NOISE[:, 32:64, 64:96] = 0  # a shard of nothing


def cube_at(path, key="k", **more):
    return ResumableCube(
        path,
        GRID,
        ("a", "b"),
        "uint16",
        **({"key": key, "nodata": 0, "tags": {"t": "x"}, "chunk": 16, "shard": 32} | more),
    )


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_interrupted_and_in_any_order_it_is_the_cube_of_one_run(tmp_path):
    with create_cube(
        tmp_path / "plain.zarr",
        GRID,
        ("a", "b"),
        "uint16",
        nodata=0,
        tags={"t": "x"},
        chunk=16,
        shard=32,
    ) as sink:
        sink.write(whole(GRID), NOISE)
    path = tmp_path / "grown.zarr"
    first = cube_at(path)
    assert len(first.shards) == 12
    for roi in first.shards[:5]:
        first.write(roi, NOISE[:, *roi])
    assert not path.exists()
    again = cube_at(path)
    assert [again.finished(roi) for roi in again.shards] == [True] * 5 + [False] * 7
    rest = again.shards[5:]
    random.Random(0).shuffle(rest)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda roi: again.write(roi, NOISE[:, *roi]), rest))
    assert again.publish() == path
    assert files_of(path) == files_of(tmp_path / "plain.zarr")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["grown.zarr", "plain.zarr"]
    source = open_raster(path)
    assert (source.tags, source.bands, source.grid) == ({"t": "x"}, ("a", "b"), GRID)


def test_empty_shards_take_no_file_and_count_as_finished(tmp_path):
    cube = cube_at(tmp_path / "a.zarr")
    empty, other = cube.shards[6], cube.shards[7]
    cube.write(empty, NOISE[:, *empty])
    cube.skip(other)
    again = cube_at(tmp_path / "a.zarr")
    assert again.finished(empty)
    assert again.finished(other)
    assert not list((cube.folder / resumable_zarr.CUBE).rglob("c/*"))
    assert not again.source().read(whole(GRID)).values.any()


@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "mark"])
def test_damage_is_noticed(tmp_path, harm):
    cube = cube_at(tmp_path / "a.zarr")
    roi = cube.shards[3]
    cube.write(roi, NOISE[:, *roi])
    file = next(
        path for path in (cube.folder / resumable_zarr.CUBE / "c").rglob("*") if path.is_file()
    )
    content = file.read_bytes()
    if harm == "cut":
        file.write_bytes(content[:-9])
    elif harm == "flip":
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif harm == "gone":
        file.unlink()
    else:
        next((cube.folder / resumable_zarr.MARKS).iterdir()).unlink()
    again = cube_at(tmp_path / "a.zarr")
    assert not again.finished(roi)
    again.write(roi, NOISE[:, *roi])
    assert again.finished(roi)


@pytest.mark.parametrize("other", [{"key": "else"}, {"tags": {}}, {"chunk": 32}, {"nodata": 7}])
def test_what_belongs_to_another_run_is_removed(tmp_path, other):
    cube = cube_at(tmp_path / "a.zarr")
    cube.write(cube.shards[0], NOISE[:, *cube.shards[0]])
    again = cube_at(tmp_path / "a.zarr", **other)
    assert not again.finished(again.shards[0])
    assert cube_at(tmp_path / "a.zarr", **other).folder == cube.folder


def test_a_broken_head_begins_again(tmp_path):
    cube = cube_at(tmp_path / "a.zarr")
    cube.write(cube.shards[0], NOISE[:, *cube.shards[0]])
    (cube.folder / resumable_zarr.CUBE / "zarr.json").write_text("{")
    again = cube_at(tmp_path / "a.zarr")
    assert not again.finished(again.shards[0])
    again.write(again.shards[0], NOISE[:, *again.shards[0]])
    assert again.publish().is_dir()


def test_foreign_files_stay(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.txt").write_text("x")
    cube = cube_at(tmp_path / "deep" / "a.zarr", folder=work)
    cube.publish()
    assert [entry.name for entry in work.iterdir()] == ["mine.txt"]
    assert (tmp_path / "deep" / "a.zarr").is_dir()


def test_another_disk(tmp_path, monkeypatch):
    cube = cube_at(tmp_path / "a.zarr", folder=tmp_path / "work")
    cube.write(cube.shards[0], NOISE[:, *cube.shards[0]])
    moved = os.replace

    def refuse(source, target, **more):
        if str(source).startswith(str(cube.folder)):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        moved(source, target, **more)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(resumable_zarr, "same_disk", lambda one, other: False)
    path = cube.publish()
    assert open_raster(path).read(cube.shards[0]).values.any()
    assert not cube.folder.exists()


def test_refusals(tmp_path):
    cube = cube_at(tmp_path / "a.zarr")
    with pytest.raises(GridMismatch, match="no shard"):
        cube.write((slice(0, 16), slice(0, 32)), NOISE[:, :16, :32])
    with pytest.raises(BadInput, match="holds uint16"):
        cube.write(cube.shards[0], NOISE[:, :32, :32].astype(np.float64))
    with pytest.raises(BadInput, match="multiple of chunks"):
        cube_at(tmp_path / "b.zarr", shard=40)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(OutputExists):
        cube.publish()
    assert cube.folder.is_dir()
    cube.publish(force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, monkeypatch):
    cube = cube_at(tmp_path / "a.zarr")
    cube.write(cube.shards[0], NOISE[:, *cube.shards[0]])

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ResumableCube, "_write", full)
        with pytest.raises(OutputFailed, match="no space left"):
            cube.write(cube.shards[1], NOISE[:, *cube.shards[1]])
    again = cube_at(tmp_path / "a.zarr")
    assert again.finished(again.shards[0])
    assert not again.finished(again.shards[1])
