"""The first edition's Zarr and the polygons of both, beside zarr, geopandas and shapely alone."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from pyproj import Geod, Transformer

from faulty_store import FaultyStore
from published_server import PublishedServer
from selion.errors import BadInput, FetchFailed, NoScenes, UnreadableFile
from selion.grid import whole
from selion.pipeline import LandCover, MapOptions
from selion.pipeline.probabilities import RunReport
from selion.simulation.published import simulate_published
from selion.store import ObjectFolder
from selion.store.stack import StackSource
from selion.world import (
    PublishedScores,
    fields_cost,
    map_published,
    map_published_fields,
    open_probabilities,
    read_published_fields,
)
from world_maps import TILE, area, matched, name


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zones") / "world"
    return simulate_published(folder, "zones", years=(2024, 2025), tile=TILE)


def first(copy, product=""):
    return f"ftw-1e{product}@{copy.first}"


def cube(copy):
    return Path(copy.first) / "predictions" / "zarr" / "alpha" / "global.zarr"


def test_pixels_are_those_of_the_array(copy):
    group = zarr.open_group(cube(copy), mode="r")
    x, y = group["x"][:], group["y"][:]
    values = group["variables"][1]  # 2025
    scores = open_probabilities(first(copy), copy.area, 2025)
    assert scores.gsd == 10
    read = scores.read(whole(scores.grid))
    rng = np.random.default_rng(1)
    height, width = scores.grid.shape
    rows, columns = rng.integers(2, height - 2, 500), rng.integers(2, width - 2, 500)
    at = scores.grid.transform
    back = Transformer.from_crs(scores.grid.crs.to_wkt(), 4326, always_xy=True)
    lon, lat = back.transform(at.c + 10 * (columns + 0.5), at.f - 10 * (rows + 0.5))
    i, j = (np.round((one - axis[0]) / (axis[1] - axis[0])).astype(int) for one, axis in
            ((lat, y), (lon, x)))  # fmt: skip
    near = np.stack([values[1, i + down, j + over] for down in (-1, 0, 1) for over in (-1, 0, 1)])
    ours = read.values[1, rows, columns]
    known = np.isfinite(near).all(0) & read.valid[rows, columns]
    assert known.mean() > 0.9
    assert (ours >= near.min(0) - 0.05)[known].mean() > 0.98
    assert (ours <= near.max(0) + 0.05)[known].mean() > 0.98
    left = 1 - read.values[1] - read.values[2]
    assert np.abs(read.values[0] - np.maximum(left, 0)).max() < 1e-6


def test_an_address_with_a_signature_and_a_folder_with_a_hash(copy, tmp_path):
    wanted = open_probabilities(first(copy), copy.area, 2025)
    pixels = wanted.read(whole(wanted.grid)).values
    (tmp_path / "a#1").symlink_to(copy.first)
    with PublishedServer(copy.folder) as server:
        for address in (f"{server.url}/ftw-1e?sig=key", tmp_path / "a#1"):
            scores = open_probabilities(f"ftw-1e@{address}", copy.area, 2025)
            assert scores.key
            assert np.array_equal(scores.read(whole(scores.grid)).values, pixels)


def test_a_year_is_a_time_of_the_array(copy):
    one, other = (
        open_probabilities(first(copy), copy.area, year).read(whole_of(copy)).values
        for year in (2024, 2025)
    )
    assert np.abs(one - other).mean() > 0.01
    with pytest.raises(BadInput, match=r"ftw-1e has no 2023: it has 2024 to 2025"):
        open_probabilities(first(copy), copy.area, 2023)
    with pytest.raises(BadInput, match=r"has no 2030: it has 2024, 2025\.$"):
        StackSource.open(cube(copy), 2030)


def whole_of(copy):
    return whole(open_probabilities(first(copy), copy.area, 2025).grid)


def test_blocks_equal_the_whole(copy):
    scores = open_probabilities(first(copy), copy.area, 2025)
    stored, valid = scores.stored(whole(scores.grid))
    for roi in ((slice(3, 50), slice(11, 100)), (slice(0, 64), slice(64, 128))):
        part, seen = scores.stored(roi)
        assert (part == stored[:, *roi]).all()
        assert (seen == valid[roi]).all()


def test_its_map_finds_the_planted_fields(copy, tmp_path):
    made = map_published(first(copy), copy.area, 2025, tmp_path / "fields.parquet")
    found = made.frame.reset_index(drop=True)
    truth = gpd.read_parquet(copy.truth[2025]).to_crs(found.crs)
    frame = shapely.box(*made.scores.grid.boundingbox.bbox).buffer(-30)
    best, _ = matched(truth[truth.within(frame)].reset_index(drop=True), found)
    assert (best > 0.5).mean() > 0.85


def test_what_holds_nothing_was_not_looked_at(copy, tmp_path):
    group = zarr.open_group(cube(copy), mode="r")
    x, y = group["x"][:], group["y"][:]
    seen = np.isfinite(group["variables"][1, 1])
    west, south, east, north = copy.area
    wide = (west - 0.01, south - 0.005, east + 0.01, north + 0.005)
    made = map_published(first(copy), wide, 2025, tmp_path / "fields.parquet")
    inside = ((y >= wide[1]) & (y <= wide[3]))[:, None] & ((x >= wide[0]) & (x <= wide[2]))
    geod = Geod(ellps="WGS84")
    _, _, across = geod.inv(x[0], y[0], x[1], y[0])
    _, _, down = geod.inv(x[0], y[0], x[0], y[1])
    looked = (seen & inside).sum() * across * down / 1e6
    missing = made.scores.scores.area.km2 - looked
    told = json.loads(pq.read_metadata(tmp_path / "fields.parquet").metadata[b"collection"])
    assert told["selion:provenance"]["not_looked_at_km2"] == pytest.approx(missing, rel=0.05)
    with pytest.raises(NoScenes, match="it is not known whether there are fields"):
        map_published(first(copy), (0, 0, 0.01, 0.01), 2025, tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


def test_what_could_not_be_read_is_not_called_unpublished(copy, tmp_path, monkeypatch):
    read = PublishedScores.stored

    def stored(self, roi):
        if roi[0].start == 0:
            raise UnreadableFile("The server does not answer.")
        return read(self, roi)

    monkeypatch.setattr(PublishedScores, "stored", stored)
    monkeypatch.setattr("selion.world.gathering.BLOCK", 64)
    notes = []
    report = RunReport(on_note=notes.append)
    made = map_published(first(copy), copy.area, 2025, tmp_path / "fields.parquet", report=report)
    assert report.failed
    assert made.facts() == {}
    assert not [note for note in notes if "not looked at" in note]


def test_only_chunks_of_the_area_travel(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    wanted = open_probabilities(first(copy), copy.area, 2025).stored(whole_of(copy))[0]
    west, south, east, north = copy.area
    corner = (west, south, west + (east - west) / 8, south + (north - south) / 8)
    with PublishedServer(copy.folder) as server:
        far = f"ftw-1e@{server.url}/{Path(copy.first).relative_to(copy.folder).as_posix()}"
        server.fault("global.zarr", "503", times=2)
        scores = open_probabilities(far, copy.area, 2025)
        assert (scores.stored(whole(scores.grid))[0] == wanted).all()
        total = server.total
        server.forget()
        scores = open_probabilities(far, corner, 2025)
        scores.stored(whole(scores.grid))
        assert server.total < 0.5 * total
        assert not [path for path in server.asked if "/variables/c/0/" in path]  # 2024
    with pytest.raises((FetchFailed, UnreadableFile), match=r"^[^\n]*$"):
        open_probabilities(f"ftw-1e@{copy.first}/nothing", copy.area, 2025)


def test_from_s3(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    wanted = open_probabilities(first(copy), copy.area, 2025).stored(whole_of(copy))[0]
    with FaultyStore() as store:
        for variable, value in store.environment.items():
            monkeypatch.setenv(variable, value)
        bucket = ObjectFolder("s3://bucket/first")
        for path in Path(copy.first).rglob("*"):
            if path.is_file():
                bucket.put(path.relative_to(copy.first).as_posix(), path.read_bytes())
        scores = open_probabilities("ftw-1e@s3://bucket/first", copy.area, 2025)
        assert (scores.stored(whole(scores.grid))[0] == wanted).all()
        here = read_published_fields(first(copy, ":fields"), copy.area, 2025)
        there = read_published_fields("ftw-1e:fields@s3://bucket/first", copy.area, 2025)
        assert there.frame["id"].tolist() == here.frame["id"].tolist()
    with (
        PublishedServer(copy.folder) as server,
        pytest.raises(FetchFailed, match="does not say what is in a folder: give an s3"),
    ):
        read_published_fields(f"ftw-1e:fields@{server.url}/ftw-1e", copy.area, 2025)


def parts(copy):
    files = sorted(Path(copy.first).rglob("results-by-admin-conf/*/*.parquet"))
    return pd.concat([gpd.read_parquet(path) for path in files], ignore_index=True)


@pytest.mark.parametrize(("given", "least"), [(None, 69), (40.0, 40)])
def test_confident_polygons_of_the_first_edition(copy, given, least):
    found = read_published_fields(first(copy, ":fields"), copy.area, 2025, least_confidence=given)
    rows = parts(copy)
    rows = rows[rows["determination:datetime"].dt.year == 2025]
    rows = rows[rows.intersects(shapely.box(*copy.area))]
    rows = rows[~rows.geometry.to_wkb().duplicated()]  # those on the border are in two files
    sure = rows[rows["confidence"] >= least]
    assert 0 < len(sure) < len(rows)
    assert len(found.frame) == len(sure)
    assert set(found.frame.geometry.to_wkb()) == set(sure.geometry.to_wkb())
    assert found.frame["id"].is_unique
    assert found.frame["confidence"].between(least / 100, 1).all()
    assert {"ftw:id", "ftw:confidence", "admin:country_code"} <= set(found.frame.columns)
    assert any(f"Confidence {least} of 100 or more" in note for note in found.notes)
    assert found.provenance["least_confidence"] == least


def test_polygons_of_the_second_edition_are_theirs(copy, tmp_path):
    out = tmp_path / "fields.parquet"
    map_published_fields(name(copy, ":fields"), copy.area, 2025, out)
    written = gpd.read_parquet(out)
    files = sorted(Path(copy.address).glob("vector/2025/zone=*/utm*.parquet"))
    assert len(files) == 2
    rows = pd.concat([gpd.read_parquet(path) for path in files], ignore_index=True)
    rows = rows[rows.intersects(shapely.box(*copy.area))].set_index("id")
    assert sorted(written["id"]) == sorted(rows.index)
    theirs = rows.loc[written["id"]]
    assert (written["score"].to_numpy() == theirs["score"].to_numpy()).all()
    assert np.allclose(written["confidence"], theirs["score"] / 100)
    assert np.allclose(written["metrics:area"], theirs["metrics:area"])
    assert (
        written.geometry.normalize().to_wkb().tolist()
        == gpd.GeoSeries(theirs.geometry).normalize().to_wkb().tolist()
    )
    told = json.loads(pq.read_metadata(out).metadata[b"collection"])
    assert told["selion:provenance"]["licence"] == "CC-BY-4.0"
    assert told["determination:details"].startswith("ftw-2e:fields, as published")


def test_only_zones_of_the_area_are_asked(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    west, south, east, north = copy.area
    with PublishedServer(copy.folder) as server:
        far = f"ftw-2e:fields@{server.url}/{Path(copy.address).name}"
        server.fault("utm32", "503", times=2)
        box = (west, south, west + (east - west) / 4, north)
        found = read_published_fields(far, box, 2025)
        assert len(found.frame)
        assert not [path for path in server.asked if "utm33" in path]
        asked = server.requests
        again = read_published_fields(far, box, 2025)
        assert again.frame["id"].tolist() == found.frame["id"].tolist()
        assert server.requests == asked  # nothing twice
        size, count = fields_cost(far, box, 2025)
        assert count == 1
        assert 0 < size <= (Path(copy.address) / "vector/2025/zone=32/utm32.parquet").stat().st_size


def test_sizes_and_land_cover_choose_among_published_polygons(copy, tmp_path):
    out = tmp_path / "fields.parquet"
    _, frame = map_published_fields(
        name(copy, ":fields"), copy.area, 2025, out, MapOptions(min_area=20_000.0)
    )
    assert frame["metrics:area"].min() >= 20_000
    cover = tmp_path / "cover.tif"
    import rasterio

    west, south, east, north = copy.area
    at = rasterio.transform.from_bounds(
        west - 0.1, south - 0.1, east + 0.1, north + 0.1, 2048, 2048
    )
    with rasterio.open(
        cover, "w", driver="GTiff", width=2048, height=2048, count=1, dtype="uint8",
        crs="EPSG:4326", transform=at,
    ) as file:  # fmt: skip
        file.write(np.full((1, 2048, 2048), 10, np.uint8))
    options = MapOptions(land_cover=LandCover((cover,), frozenset({40})))
    _, none = map_published_fields(
        name(copy, ":fields"), copy.area, 2025, tmp_path / "none.parquet", options
    )
    assert none.empty


def test_fields_beside_the_world(copy):
    with pytest.raises(NoScenes, match="it is not known whether there are fields"):
        read_published_fields(name(copy, ":fields"), (0, 0, 0.1, 0.1), 2025)
    with pytest.raises(BadInput, match="has no 2021: it has 2024, 2025"):
        read_published_fields(name(copy, ":fields"), copy.area, 2021)
    with pytest.raises(BadInput, match="scores, not confidences"):
        read_published_fields(name(copy, ":fields"), copy.area, 2025, least_confidence=50)
    assert area(copy)
