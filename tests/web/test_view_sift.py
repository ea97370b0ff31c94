"""Fields between bounds: what is counted and saved is what pandas and geopandas find."""

from __future__ import annotations

import json
import sqlite3

import geopandas
import numpy as np
import pytest

from selion import fields
from selion.errors import BadInput, UnknownName
from selion.web.view import sift
from selion.web.view.chunks import open_parquet
from selion.web.view.memory import open_table
from view_scenes import frame_of


@pytest.fixture(scope="module")
def frame():
    made = frame_of(20)
    made.loc[5, "confidence"] = np.nan
    return made


@pytest.fixture(scope="module", params=["parquet", "gpkg"])
def opened(request, frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("sift") / f"fields.{request.param}"
    fields.write_fields(frame, path)
    return open_parquet([path]) if request.param == "parquet" else open_table(path)


def asked(opened, where=None, box=""):
    return sift.read_bounds(opened, {"where": json.dumps(where or {}), "box": box})


def middle_box(frame):
    west, south, east, north = frame.to_crs(4326).total_bounds
    return west, south, (west + east) / 2, north


def test_counts_and_areas_are_pandas(opened, frame):
    seen = sift.count(opened, asked(opened, {"confidence": [0.8, None], "metrics:area": [1, 1e9]}))
    kept = frame[frame["confidence"] >= 0.8]
    # tiles hold three digits, and what is counted is what they show
    assert abs(seen["count"] - len(kept)) <= (frame["confidence"].between(0.7995, 0.8005)).sum()
    assert seen["of"] == len(frame)
    assert seen["area"] == pytest.approx(seen["count"] * kept["metrics:area"].iloc[0], rel=1e-6)


def test_a_field_without_a_value_is_between_no_bounds(opened, frame):
    seen = sift.count(opened, asked(opened, {"confidence": [0, 1]}))
    assert seen["count"] == frame["confidence"].notna().sum() == len(frame) - 1


def test_the_ramp_is_by_quantiles(opened, frame):
    seen = sift.spread(opened, "confidence")
    assert np.allclose(seen["stops"], frame["confidence"].quantile(list(sift.STOPS)), atol=1e-6)
    assert sum(seen["counts"]) == frame["confidence"].notna().sum()


def test_one_value_still_has_a_ramp(opened):
    seen = sift.spread(opened, "metrics:area")
    assert (np.diff(seen["stops"]) > 0).all()


def test_a_geopackage_of_what_is_in_view(opened, frame, tmp_path):
    box = middle_box(frame)
    bounds = asked(opened, {"confidence": [0.7, None]}, ",".join(map(str, box)))
    path = tmp_path / "saved.gpkg"
    path.write_bytes(sift.package(opened, bounds))
    named = "select table_name from gpkg_contents where data_type = 'features'"
    layer = sqlite3.connect(path).execute(named).fetchone()[0]
    saved = geopandas.read_file(path, layer=layer)
    wanted = frame.to_crs(4326).cx[box[0] : box[2], box[1] : box[3]].query("confidence >= 0.7")
    assert set(wanted["id"]) - set(saved["id"]) == set() == set(saved["id"]) - set(wanted["id"])
    assert {"class", "metrics:area", "confidence"} <= set(saved.columns)


@pytest.mark.parametrize(
    "words", [{"where": "["}, {"where": '{"confidence": 3}'}, {"where": "[1]"}, {"box": "1,2,3"},
              {"box": "1,2,3,nan"}, {"where": '{"confidence": ["x", null]}'}],
)  # fmt: skip
def test_bounds_that_are_none(opened, words):
    with pytest.raises(BadInput):
        sift.read_bounds(opened, words)


def test_a_column_that_is_none(opened):
    with pytest.raises(UnknownName, match="confidence"):
        asked(opened, {"nothing": [0, 1]})
    with pytest.raises(UnknownName):
        sift.spread(opened, "class")


def test_nothing_in_view_is_said(opened):
    with pytest.raises(BadInput, match="No field is in view"):
        sift.package(opened, asked(opened, box="100,10,101,11"))
