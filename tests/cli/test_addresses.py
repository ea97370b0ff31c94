"""Verbs take addresses as they take files: the same answer from a folder, over http and from s3,
and little of a large table fetched.
"""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest

from address_toys import begin_anew, forget, refused, run
from published_server import PublishedServer
from published_tables import squares, write_index, write_zone
from selion.store import object_store, ranges

pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
from faulty_store import FaultyStore

ZONES = {"10": (-120.5, 38.0), "11": (-119.5, 38.0)}
COLUMNS, ROWS = 40, 30
BOX = "-120.255,38.045,-120.145,38.155"
"""In zone 10: touches columns 24 to 35 and rows 4 to 15, so 144 fields."""
FAR = "https://data.example.org/ftw"


def boxes_of(zone):
    return squares(*ZONES[zone], COLUMNS, ROWS)


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """``vector/2024`` and ``vector/2025`` with two zones each, and the index of all four files,
    whose addresses are those of the original."""
    folder = tmp_path_factory.mktemp("edition")
    rows = []
    for year in (2024, 2025):
        for zone in ZONES:
            inside = f"vector/{year}/zone={zone}/utm{zone}.parquet"
            boxes = boxes_of(zone)
            write_zone(folder / inside, boxes, zone, year=year, seed=int(zone))
            size = (folder / inside).stat().st_size
            around = (*boxes[:, :2].min(0), *boxes[:, 2:].max(0))
            rows.append(
                (year, zone, f"{FAR}/{inside}", f"s3://far/{inside}", size, len(boxes), around)
            )
    write_index(folder / "index" / "vector.parquet", rows)
    return folder


@pytest.fixture(scope="module")
def served(edition):
    with PublishedServer(edition) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(edition):
    with FaultyStore() as store:
        patch = pytest.MonkeyPatch()
        for name, value in store.environment.items():
            patch.setenv(name, value)
        folder = object_store.ObjectFolder("s3://bucket/ftw")
        for path in edition.rglob("*.parquet"):
            folder.put(path.relative_to(edition).as_posix(), path.read_bytes())
        yield "s3://bucket/ftw"
        patch.undo()


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    begin_anew(tmp_path, monkeypatch)


def inside(zone, box=BOX):
    """Return the ids of the squares that share area with a box."""
    west, south, east, north = map(float, box.split(","))
    boxes = boxes_of(zone)
    near = (
        (boxes[:, 0] < east) & (boxes[:, 2] > west) & (boxes[:, 1] < north) & (boxes[:, 3] > south)
    )
    return {f"{zone}TEK_0_0-{k}" for k in np.flatnonzero(near)}


ONE = "vector/2025/zone=10/utm10.parquet"


def test_query_of_an_address_is_that_of_the_file(edition, served, bucket, tmp_path):
    files = []
    for name, base in (("file", edition), ("http", served.url), ("s3", bucket)):
        files.append(tmp_path / f"{name}.parquet")
        run("query", BOX, f"{base}/{ONE}", "-o", files[-1])
    frame = geopandas.read_parquet(files[0])
    assert set(frame["id"]) == inside("10")
    assert len(frame) == 144
    assert frame["score"].dtype == np.uint8
    assert files[1].read_bytes() == files[0].read_bytes()
    assert files[2].read_bytes() == files[0].read_bytes()


def test_a_small_box_reads_a_small_share(tmp_path, monkeypatch):
    """Of 80,000 fields in 40 row groups a box in one of them is asked for."""
    monkeypatch.setattr(ranges, "BLOCK", 4096)
    boxes = squares(-120.0, 30.0, 400, 200)
    write_zone(tmp_path / "served" / "big.parquet", boxes, "10", group=2000)
    whole = (tmp_path / "served" / "big.parquet").stat().st_size
    with PublishedServer(tmp_path / "served") as server:
        # a group is five rows of 400 fields along a parallel, and this is within the third
        out = tmp_path / "a.parquet"
        asked = ("query", "-119.5,30.1005,-119.4,30.1195", f"{server.url}/big.parquet")
        run(*asked, "-o", out)
        assert len(geopandas.read_parquet(out)) == 2 * 10
        assert server.total < whole / 10, "the footer among it"
        sent = server.total
        forget()
        run(*asked, "-o", out, "--force")
        assert server.total == sent + 1, "another run asks for the version alone"


def test_a_hive_folder_is_one_table(edition, served, bucket, tmp_path):
    """Zone 11 begins at -119.5: a box over the border has fields of both."""
    box = "-120.155,38.045,-119.455,38.055"
    wanted = inside("10", box) | inside("11", box)
    assert len(wanted) == 2 * 6 + 2 * 5
    found = []
    for name, base in (("file", edition), ("http", served.url), ("s3", bucket)):
        out = tmp_path / f"{name}.parquet"
        run("query", box, f"{base}/vector/2025/", "-o", out)
        assert set(geopandas.read_parquet(out)["id"]) == wanted
        found.append(out.read_bytes())
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_files_that_the_box_is_not_in_are_not_opened(served, tmp_path):
    served.forget()
    run("query", BOX, f"{served.url}/vector/2025", "-o", tmp_path / "a.parquet")
    assert any("utm10" in path for path in served.asked)
    assert not any("utm11" in path for path in served.asked)


def test_an_index_of_one_year_is_a_table_too(edition, served, tmp_path):
    rows = [
        (2025, zone, f"{served.url}/vector/2025/zone={zone}/utm{zone}.parquet", "", 1, 1, box)
        for zone, box in (("10", (-121, 38, -120, 39)), ("11", (-119.6, 38, -119, 39)))
    ]
    write_index(tmp_path / "index.parquet", rows)
    run("query", BOX, tmp_path / "index.parquet", "-o", tmp_path / "a.parquet")
    assert set(geopandas.read_parquet(tmp_path / "a.parquet")["id"]) == inside("10")
    said = refused("query", BOX, f"{served.url}/index/vector.parquet", "-o", tmp_path / "b.parquet")
    assert "2 years (2024 to 2025)" in said
    assert f"{served.url}/vector/2025/" in said


def test_a_folder_that_cannot_be_listed_is_one_sentence(served, bucket, tmp_path):
    for place, words in (
        (f"{served.url}/nowhere/?sig=secret", "does not say what is in it"),
        (f"{bucket}/nowhere/", "no Parquet files below folders"),
        (f"{served.url}/none.parquet?sig=secret", "There is nothing at"),
    ):
        said = refused("query", BOX, place, "-o", tmp_path / "a.parquet")
        assert words in said
        assert "secret" not in said
    assert not (tmp_path / "a.parquet").exists()


def test_stats_of_an_address_is_that_of_the_file(edition, served, bucket, tmp_path):
    """By two units whose fields are counted on paper: the first 5 columns of zone 10 in one."""
    units = geopandas.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=geopandas.GeoSeries.from_wkt(
            [
                "POLYGON((-120.6 37, -120.451 37, -120.451 39, -120.6 39, -120.6 37))",
                "POLYGON((-120.451 37, -119 37, -119 39, -120.451 39, -120.451 37))",
            ]
        ),
        crs="EPSG:4326",
    )
    units.to_file(edition / "units.geojson")
    tables = []
    for base in (edition, served.url, bucket):
        by = f"{edition if base == bucket else base}/units.geojson"
        done = run("stats", f"{base}/vector/2025/", "--districts", by, "--format", "json")
        tables.append(json.loads(done.output))
    assert tables[1] == tables[0]
    assert tables[2] == tables[0]
    counts = {row["unit"]: row["fields"] for row in tables[0]}
    assert counts == {"west": 5 * ROWS, "east": 2 * COLUMNS * ROWS - 5 * ROWS}
    files = (edition / f"vector/2025/zone={zone}/utm{zone}.parquet" for zone in ZONES)
    areas = [pq.read_table(path)["metrics:area"].to_numpy().astype(float) for path in files]
    total = np.concatenate(areas).sum() / 1e4
    assert sum(row["total_ha"] for row in tables[0]) == pytest.approx(total, abs=0.01)


def test_ids_that_look_like_ours_but_lie_elsewhere_count_where_they_are(tmp_path):
    """An id of letters and digits is a place in our maps; in a stranger's it is not."""
    boxes = squares(-120.0, 30.0, 3, 1)
    write_zone(tmp_path / "a.parquet", boxes, "10")
    table = pq.read_table(tmp_path / "a.parquet")
    ids = ["u281z7j2k3m4", "u281z7j2k3m5", "u281z7j2k3m6"]
    table = table.set_column(0, "id", [ids])
    pq.write_table(table, tmp_path / "b.parquet")
    here = {
        "type": "Polygon",
        "coordinates": [[[-121, 29], [-119, 29], [-119, 31], [-121, 31], [-121, 29]]],
    }
    (tmp_path / "units.geojson").write_text(json.dumps(here))
    done = run(
        "stats",
        tmp_path / "b.parquet",
        "--districts",
        tmp_path / "units.geojson",
        "--format",
        "json",
    )
    assert json.loads(done.output)[0]["fields"] == 3


def test_areas_and_tables_to_merge_come_from_addresses(edition, served, bucket, tmp_path):
    west, south, east, north = map(float, BOX.split(","))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    (edition / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    merged = []
    for name, base in (("file", edition), ("http", served.url), ("s3", bucket)):
        area = f"{served.url if base == bucket else base}/area.geojson"
        run("query", area, f"{base}/{ONE}", "-o", tmp_path / f"{name}.parquet")
        assert set(geopandas.read_parquet(tmp_path / f"{name}.parquet")["id"]) == inside("10")
        out = tmp_path / name / "maps"
        tables = [f"{base}/vector/2025/zone={zone}/utm{zone}.parquet" for zone in ZONES]
        run("merge", *tables, "-o", out, "-q")
        parts = sorted(out.rglob("part.parquet"))
        merged.append([(part.parent.name, part.read_bytes()) for part in parts])
    assert len(merged[0]) >= 1
    assert merged[1] == merged[0]
    assert merged[2] == merged[0]


def test_tiles_of_a_hive_folder(edition, served, tmp_path):
    for name, base in (("file", edition), ("http", served.url)):
        run("tiles", f"{base}/vector/2025/", "-o", tmp_path / f"{name}.pmtiles", "--max-zoom", 9)
    assert (tmp_path / "http.pmtiles").read_bytes() == (tmp_path / "file.pmtiles").read_bytes()


def test_a_merged_map_on_a_web_server(edition, tmp_path):
    """Its own index says what parts it has, so nothing need be listed."""
    run("merge", edition / ONE, "-o", tmp_path / "maps", "-q")
    run("query", BOX, tmp_path / "maps", "-o", tmp_path / "a.parquet")
    with PublishedServer(tmp_path) as server:
        run("query", BOX, f"{server.url}/maps/", "-o", tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    assert len(geopandas.read_parquet(tmp_path / "b.parquet")) == 144
