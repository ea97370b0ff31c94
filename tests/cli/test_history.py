"""``selion history`` on maps of one's own: files, attributes, calibration, page, refusals."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from click.testing import CliRunner

from history_scenes import CELL, GRID, POOR, YEARS, plant, write_years
from selion import store
from selion.cli.history import history_command
from selion.grid import whole


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    planted = plant()
    return planted, write_years(planted, tmp_path_factory.mktemp("maps"))


def run(*arguments):
    return CliRunner().invoke(history_command, [str(one) for one in arguments])


def raster(path, values, kind=np.uint8):
    with store.create_cog(path, GRID, ["value"], kind) as sink:
        sink.write(whole(GRID), values[None].astype(kind))
    return path


@pytest.fixture(scope="module")
def made(maps, tmp_path_factory):
    planted, given = maps
    folder = tmp_path_factory.mktemp("history")
    y, x = np.mgrid[: GRID.shape[0], : GRID.shape[1]]
    cover = np.where(x < 5 * CELL, 40, np.where(y < 5 * CELL, 80, 10))
    halves = [GRID[:, : 5 * CELL].extent.geom, GRID[:, 5 * CELL :].extent.geom]
    districts = geopandas.GeoDataFrame(
        {"name": ["west", "east"]}, geometry=halves, crs=GRID.crs.to_wkt()
    )
    districts.to_file(folder / "districts.gpkg")
    # half of the fields of the last year are right, the others a look-alike
    last = geopandas.read_parquet(given[-1] / "fields.parquet")
    last["right"] = np.where(np.arange(len(last)) % 2 == 0, "yes", "no")
    last[["right", "geometry"]].to_parquet(folder / "reference.parquet")
    result = run(
        *given, "-o", folder / "out",
        "--land-cover", raster(folder / "cover.tif", cover),
        "--land-cover-crops", "40", "--land-cover-water", "80",
        "--elevation", raster(folder / "dem.tif", 100.0 + 10.0 * x, np.float32),
        "--districts", folder / "districts.gpkg", "--district-column", "name",
        "--reference", folder / "reference.parquet", "--reference-column", "right",
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    return planted, folder / "out", result


def test_attributes_are_those_of_the_ground(made):
    _, out, _ = made
    frame = geopandas.read_parquet(out / "history.parquet")
    middle = frame.to_crs(GRID.crs.to_wkt()).geometry.centroid
    column, row = ~GRID.transform * (middle.x.to_numpy(), middle.y.to_numpy())
    west = column < 5 * CELL
    # the cover changes between cells: only merged fields may lie astride
    lone = ~(np.abs(column - 5 * CELL) < CELL)
    assert (frame["frac_crops"] == west)[lone].all()
    assert (frame["frac_water"] == (~west & (row < 5 * CELL)))[lone].all()
    assert np.allclose(frame["elev_mean"], 100 + 10 * (column - 0.5), atol=5.1)
    assert np.allclose(frame["slope_mean"], 45, atol=3)
    assert (frame["district"] == np.where(west, "west", "east"))[lone].all()
    summary = pd.read_csv(out / "summary.csv")
    assert len(summary) == 2 * len(YEARS)
    total = summary.groupby("year")["fields"].sum()
    assert total[2017] == len(np.unique(made[0].ids[2017])) - 1


def test_confidence_is_calibrated_and_said(made):
    _, out, result = made
    facts = json.loads((out / "history.json").read_text())
    frame = geopandas.read_parquet(out / "history.parquet")
    assert facts["score"] == "calibrated"
    assert frame["confidence"].between(0, 1).all()
    # every second field is right, whatever its score
    assert frame["confidence"].mean() == pytest.approx(0.5, abs=0.05)
    assert facts["calibration"]["fields"] == len(np.unique(made[0].ids[2025])) - 1
    assert "confidence is calibrated" in result.stderr
    text = (out / "report.html").read_text()
    assert "Reliability diagram" in text
    assert f"{POOR} is under-detected as a whole" in text
    assert text.count('type="radio"') == len(YEARS)
    assert "http" not in text.replace("http-equiv", "")
    assert "<script" not in text


def test_fused_fields_say_which_they_are(made):
    planted, out, _ = made
    fused = geopandas.read_parquet(out / "fields.parquet")
    history = geopandas.read_parquet(out / "history.parquet")
    alive = history[history["alive"]]
    assert set(fused["history:id"].dropna()) == set(alive["id"])
    assert len(fused) == len(np.unique(planted.true[2025])) - 1


def test_without_a_reference_it_is_a_score(maps, tmp_path):
    _, given = maps
    result = run(*given[:2], "-o", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    frame = geopandas.read_parquet(tmp_path / "out" / "history.parquet")
    assert "confidence" not in frame
    assert "score" in frame
    assert "score, not calibrated" in result.stderr
    assert "score, not calibrated" in (tmp_path / "out" / "report.html").read_text()
    again = run(*given[:2], "-o", tmp_path / "out")
    assert "exist" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "b", "--years", "2017-2018"], "no effect without --from"),
        (["a", "b", "--gsd", "10"], "no effect without --from"),
        (["a", "b", "--from", "ftw-2e", "--years", "2017-2018"], "one area and its years"),
        (["a", "--from", "ftw-2e"], "one area and its years"),
        (["a", "b", "--land-cover-crops", "forty"], "whole numbers"),
    ],
)
def test_what_has_no_effect_is_refused(arguments, words, tmp_path):
    result = run(*arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert words in result.output.replace("\n", " ")


def test_too_few_reviewed_fields_are_refused(maps, tmp_path):
    _, given = maps
    few = geopandas.GeoDataFrame(
        geometry=[shapely.box(600_000, 5_299_000, 600_100, 5_299_100)], crs=GRID.crs.to_wkt()
    )
    few.to_parquet(tmp_path / "few.parquet")
    result = run(*given[:2], "-o", tmp_path / "out", "--reference", tmp_path / "few.parquet")
    assert "wants 20 at least" in str(result.exception)
    assert not (tmp_path / "out" / "history.parquet").exists()
