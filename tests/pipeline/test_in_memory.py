"""Images and areas in memory, without an output: the same fields, to the byte and the row."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely
import xarray as xr

import selion
from selion import progress
from selion.cli.main import main
from selion.errors import BadInput, GridMismatch
from selion.grid import whole
from selion.imagery import read_area
from selion.simulation.landscape import simulate
from selion.store import create_cog


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path, scene = tmp_path_factory.mktemp("scene") / "image.tif", simulate(3, (96, 96), 10.0)
    with create_cog(path, scene.image.grid, scene.image.bands, scene.image.values.dtype) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    return path


@pytest.fixture(scope="module")
def by_command(image, tmp_path_factory):
    out = tmp_path_factory.mktemp("command") / "fields.parquet"
    main(["map", str(image), "-o", str(out), "-q", "--no-preview"])
    return out


def test_the_table_is_that_of_the_command_line_to_the_byte(image, by_command, tmp_path):
    steps = []
    selion.map_fields(image, tmp_path / "fields.parquet", on_step=lambda *step: steps.append(step))
    assert (tmp_path / "fields.parquet").read_bytes() == by_command.read_bytes()
    assert {stage for stage, *_ in steps} >= {"predict", "outlines"}


def test_images_in_memory_give_the_same_rows(image, by_command):
    source = selion.open_raster(image)
    raster = source.read(whole(source.grid))
    wanted = geopandas.read_parquet(by_command).sort_values("id")
    array = xr.DataArray.from_dict(selion.to_dict(raster))
    placed = selion.as_raster(
        raster.values, bands=source.bands, crs="EPSG:32633", transform=source.grid.transform
    )
    assert source.grid.crs.to_epsg() == 32633, "the scene lies elsewhere now"
    first = selion.map_fields(source)
    rows = first.to_crs(wanted.crs).sort_values("id")
    assert len(rows) == len(wanted) > 3
    for name in ("id", "metrics:area", "metrics:perimeter", "confidence"):
        np.testing.assert_array_equal(rows[name], wanted[name])
    apart = shapely.hausdorff_distance(rows.geometry.values, wanted.geometry.values)
    assert apart.max() < 1e-12
    for other in (array, placed):
        found = selion.map_fields(other)
        assert found.drop(columns="geometry").equals(first.drop(columns="geometry"))
        assert (found.geometry.to_wkb() == first.geometry.to_wkb()).all()


def test_what_cannot_be_meant_is_refused(image, monkeypatch):
    with pytest.raises(selion.SelionError, match="with an image"):
        selion.map_fields(np.zeros((8, 9, 9)), year=2024)
    with pytest.raises(selion.SelionError, match="give out="):
        selion.map_fields((11.0, 48.0, 11.1, 48.1), year=2024)
    farms = geopandas.GeoDataFrame(geometry=[shapely.box(11, 48, 11.1, 48.1)] * 2, crs=4326)
    with pytest.raises(BadInput, match=r"^a table of 2 polygons is an area, .*year=2024"):
        selion.map_fields(farms)
    monkeypatch.setattr("selion.pipeline.run.MOST_PIXELS", 10)
    with pytest.raises(selion.SelionError, match="give out="):
        selion.map_fields(image)


def test_an_area_may_be_a_table_in_any_crs():
    shape = shapely.box(11.0, 48.0, 11.1, 48.05)
    frame = geopandas.GeoDataFrame({"a": [1]}, geometry=[shape], crs="EPSG:4326")
    for given in (frame, frame.geometry, frame.to_crs("EPSG:32632"), frame.rename_geometry("g")):
        assert read_area(given).km2 == pytest.approx(read_area((11.0, 48.0, 11.1, 48.05)).km2, 1e-3)
    with pytest.raises(selion.SelionError, match="set_crs"):
        read_area(frame.set_crs(None, allow_override=True))


def test_whoever_looks_on_is_told_where_a_call_names_nobody(monkeypatch):
    monkeypatch.setattr(progress, "_watching", [])
    assert progress.usual() is progress.silent
    progress.watch(print)
    assert progress.usual() is print


def test_what_is_no_path_is_sent_to_what_takes_it():
    with pytest.raises(BadInput, match=r"selion\.as_raster"):
        selion.open_raster(np.zeros((3, 8, 8)))
    for what in (np.zeros((8, 64, 64)), "image.tif"):
        with pytest.raises(BadInput, match=r"selion\.as_raster"):
            selion.predict(what, selion.load_model("fields-s2-2season"))
    with pytest.raises(GridMismatch, match=r"selion\.as_raster"):
        selion.map_fields(np.zeros((8, 64, 64), np.uint16), model="fields-s2-2season")


def test_a_map_without_fields_says_so(image, tmp_path, capsys):
    out = str(tmp_path / "none.parquet")
    assert main(["map", str(image), "-o", out, "--min-area", "1e7"]) in (0, None)
    told = capsys.readouterr()
    assert "No field was found" in told.err
    assert told.out.splitlines()[-1] == out
