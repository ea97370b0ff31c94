"""Fields between bounds: what is counted and saved is what pandas and geopandas find."""

from __future__ import annotations

import json
import sqlite3
import time

import geopandas
import numpy as np
import pytest

from selion import fields
from selion.errors import BadInput, UnknownName
from selion.web.view import cut, page, sift
from selion.web.view.chunks import open_parquet
from selion.web.view.discovery import find
from selion.web.view.memory import open_table
from view_scenes import frame_of, read_tile, tile_at


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


@pytest.fixture(scope="module")
def afar(tmp_path_factory):
    """12,100 fields, which are cells from afar; confidence and size go their own ways."""
    made = frame_of(110)
    chance = np.random.default_rng(4)
    made["metrics:area"] = chance.choice([5000.0, 20000.0, 90000.0], len(made)).astype("float32")
    path = tmp_path_factory.mktemp("afar") / "many.parquet"
    fields.write_fields(made, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELION_CACHE", str(path.parent / "cache"))
        session = page.ViewSession(find([path]))
        yield session, made
        session.found.close()


def told_afar(session, where):
    end = time.monotonic() + 600
    while True:
        told = page.state_between(session, {"layer": "f0", "where": json.dumps(where)})
        if told["ready"] or time.monotonic() > end:
            return told
        time.sleep(0.005)


def tile_of(session, zoom, where):
    tile = tile_at(session.found.fields["f0"].fields.boxes[0], zoom)
    at = {"z": str(tile.z), "x": str(tile.x), "y": str(tile.y)}
    return read_tile(
        page.fields_tile(session, {"layer": "f0", **at, "where": json.dumps(where)})[0]
    )


def test_cells_from_afar_hold_the_fields_between_bounds(afar):
    session, made = afar
    assert session.found.fields["f0"].overview is not None
    where = {"confidence": [0.8, None], "metrics:area": [10000, 50000]}
    sure = sift.rounded(made["confidence"].to_numpy(float))  # as the tiles hold them
    kept = made[(sure >= 0.8) & (made["metrics:area"] == 20000)]
    assert 0 < len(kept) < len(made) / 3
    told = told_afar(session, where)
    assert told["ready"]
    assert told["count"] == len(kept)
    assert told["area"] == pytest.approx(20000 * len(kept), rel=1e-6)
    for zoom in (3, 8):
        features = [f["properties"] for f in tile_of(session, zoom, where)["cells"]]
        assert sum(f["n"] for f in features) == len(kept)
        mean = sum(f["n"] * f["confidence"] for f in features) / len(kept)
        assert mean == pytest.approx(kept["confidence"].mean(), abs=2e-3)
    assert told_afar(session, {})["count"] == len(made)
    whole = tile_of(session, 3, {})["cells"]
    assert sum(f["properties"]["n"] for f in whole) == len(made), "and all without bounds"
    assert told_afar(session, {"confidence": [2, 3]})["count"] == 0
    assert not tile_of(session, 3, {"confidence": [2, 3]}).get("cells")


def test_where_only_the_largest_are_drawn_they_are_the_largest_between_the_bounds(afar):
    """A tile of too many fields held the largest of all, and a filter for small ones nothing."""
    session, _ = afar
    layer = session.found.fields["f0"]
    tile = tile_at(layer.fields.boxes[0], layer.zoom)
    bounds = asked(layer.fields, {"metrics:area": [None, 6000]})
    data = cut.cut_tile(layer.fields, layer.overview, layer.zoom, tile, 200, bounds.hold)
    drawn = read_tile(data)["fields"]
    assert len(drawn) > 100
    assert {f["properties"]["metrics:area"] for f in drawn} == {5000.0}


def test_few_filters_are_kept_and_the_oldest_stops(afar):
    session, _ = afar
    layer = session.found.fields["f0"]
    for low in range(10):
        page.state_between(session, {"layer": "f0", "where": f'{{"confidence": [0.{low}, null]}}'})
    assert len(session.sifted) <= page.SIFTED
    again = page.state_between(session, {"layer": "f0", "where": '{"confidence": [0.9, null]}'})
    assert again["of"] == len(layer.fields.places)
    with pytest.raises(UnknownName):
        page.state_between(session, {"layer": "f0", "where": '{"nothing": [0, 1]}'})
    with pytest.raises(UnknownName):
        page.state_between(session, {"layer": "f7"})
