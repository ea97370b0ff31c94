"""evaluate, change, review and view of maps on a server: the same as of the files."""

from __future__ import annotations

import importlib
import json
import shutil
from types import SimpleNamespace

import geopandas
import numpy as np
import pytest

from address_toys import begin_anew, refused, run
from change_scenes import boxes, write_year
from published_server import PublishedServer, published_s3
from published_tables import squares, write_index, write_zone
from review_scenes import Hand, write_map
from selion import fields
from selion.review.log import ReviewLog
from selion.review.state import ReviewedMap
from selion.store import locate

pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")

PLACES = ("file", "http", "s3")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two years, a map to review, two zones of a published year; on disk and on two servers."""
    folder = tmp_path_factory.mktemp("world")
    before = boxes((1, 10, 10, 60, 60), (2, 10, 70, 60, 120), (3, 70, 10, 110, 60))
    after = boxes((1, 10, 10, 60, 60), (2, 10, 70, 60, 95), (3, 10, 97, 60, 120))
    write_year(folder / "2023", before)
    write_year(folder / "2024", after, year=2024)
    write_map(folder / "mapped")
    rows = []
    for zone, west in (("10", -120.5), ("11", -119.5)):
        inside = f"vector/2025/zone={zone}/utm{zone}.parquet"
        write_zone(folder / inside, squares(west, 38.0, 12, 10), zone, seed=int(zone))
        size, far = (folder / inside).stat().st_size, f"https://data.example.org/{inside}"
        rows.append((2025, zone, far, far, size, 120, (west, 38.0, west + 0.12, 38.1)))
    write_index(folder / "index/vector.parquet", rows)
    with PublishedServer(folder) as server, published_s3(folder) as store:
        patch = pytest.MonkeyPatch()
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield SimpleNamespace(
            folder=folder,
            server=server,
            bases=dict(zip(PLACES, (folder, server.url, "s3://bucket"), strict=True)),
        )
        patch.undo()


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    begin_anew(tmp_path, monkeypatch)


def report(out):
    """Return what an evaluation wrote, without its clock."""
    return json.loads((out / "report.json").read_text("utf-8"))["runs"]


def test_evaluate_polygons(world, tmp_path):
    """Two years against each other, on paper: 7000 pixels were field and 4900 of them still are;
    of three fields one is equal and one is left half.
    """
    found = {}
    for name, base in world.bases.items():
        run(
            *("evaluate", "--pred", f"{base}/2024/fields.parquet"),
            *("--truth", f"{base}/2023/fields.parquet", "-o", tmp_path / name, "-q"),
        )
        found[name] = report(tmp_path / name)
    assert found["http"] == found["file"]
    assert found["s3"] == found["file"]
    values = found["file"][0]["values"]
    assert values["pixel_iou"] == pytest.approx(0.7, abs=1e-5)
    assert values["object_precision"] == pytest.approx(2 / 3)


def test_evaluate_a_raster_of_ids_and_an_extent(world, tmp_path):
    """Probabilities are no ids; a raster of ids is burnt from the table and put on the servers."""
    from selion import store
    from selion.grid import whole

    ids = boxes((1, 10, 10, 60, 60), (2, 10, 70, 60, 120), (3, 70, 10, 110, 60)).astype(np.int32)
    grid = store.open_raster(world.folder / "2023/fields.scores.tif").grid
    folder = tmp_path / "served"
    folder.mkdir()
    with store.create_cog(folder / "ids.tif", grid, ["id"], np.int32) as sink:
        sink.write(whole(grid), ids[None])
    shutil.copy(world.folder / "2024/fields.parquet", folder / "pred.parquet")
    with PublishedServer(folder) as server:
        for name, base in (("a", folder), ("b", server.url)):
            run(
                *("evaluate", "--pred", f"{base}/pred.parquet", "--truth", f"{base}/ids.tif"),
                *("--extent", f"{base}/ids.tif", "-o", tmp_path / name, "-q"),
            )
    assert report(tmp_path / "b") == report(tmp_path / "a")


def test_evaluate_the_published_table(world, tmp_path):
    """A hive folder against itself is perfect; its score counts as confidence, its CRS is ours."""
    ours = geopandas.read_parquet(world.folder / "vector/2025/zone=10/utm10.parquet")
    ours.to_crs("OGC:CRS84").to_parquet(tmp_path / "truth.parquet")
    values = {}
    for name, base in world.bases.items():
        run(
            *("evaluate", "--pred", f"{base}/vector/2025/", "--truth", tmp_path / "truth.parquet"),
            *("-o", tmp_path / name, "-q"),
        )
        values[name] = report(tmp_path / name)[0]["values"]
    assert values["file"]["object_recall"] == 1
    assert values["file"]["object_precision"] == 0.5, "zone 11 is not in the truth"
    assert values["http"] == values["file"]
    assert values["s3"] == values["file"]


def test_a_shapefile_is_refused(world, tmp_path):
    said = refused(
        *("evaluate", "--pred", f"{world.server.url}/a.shp?sig=secret"),
        *("--truth", world.folder / "2023/fields.parquet", "-o", tmp_path),
    )
    assert "ends with .shp" in said
    assert "secret" not in said


def test_change(world, tmp_path):
    for name, base in world.bases.items():
        run("change", f"{base}/2023/", f"{base}/2024/", "-o", tmp_path / name, "-q")
    files = sorted(path.name for path in (tmp_path / "file").iterdir())
    for name in ("http", "s3"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == files
        for file in ("outcomes_2023_2024.tif", "lineage.csv", "summary.csv"):
            mine, theirs = (tmp_path / k / file for k in (name, "file"))
            assert mine.read_bytes() == theirs.read_bytes(), (name, file)
        mine, theirs = (
            geopandas.read_parquet(tmp_path / k / "fields_2023_2024.parquet")
            for k in (name, "file")
        )
        assert mine.equals(theirs)


def test_change_says_no_signature(world, tmp_path):
    base = world.server.url.replace("http://", "http://me:hushhush@")
    years = [
        f"{base}/{year}/fields.scores.tif?sig=secret,{base}/{year}/fields.parquet?sig=secret"
        for year in (2023, 2024)
    ]
    run("change", *years, "-o", tmp_path / "out", "-q")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert b"secret" not in content, path
        assert b"hushhush" not in content, path
    assert f"{world.server.url}/2023/fields.parquet" in (tmp_path / "out/change.json").read_text()
    said = refused("change", f"{base}/2023/none/", f"{base}/2024/", "-o", tmp_path / "no")
    assert "holds no fields.parquet" in said
    assert "hushhush" not in said


def decide(table, log):
    """Accept the first field and reject the second, as the page would."""
    frame = fields.read_fields(table)
    hand = Hand(ReviewLog(log, ReviewedMap.of(frame), table.name))
    for kind, row in (("accept", 0), ("reject", 1)):
        hand.act(kind, frame["id"][row])


def test_review_of_a_map_on_a_server_is_logged_here(world, tmp_path, monkeypatch):
    """The log goes to this folder; status and export find it there, and the map's image where it
    lies.
    """
    counts = {}
    for name, base in world.bases.items():
        here = tmp_path / name
        here.mkdir()
        monkeypatch.chdir(here)
        if name == "file":
            shutil.copytree(world.folder / "mapped", here / "mapped")
            log = here / "mapped" / "fields.review.jsonl"
        else:
            log = here / "fields.review.jsonl"
        given = here / "mapped" if name == "file" else f"{base}/mapped/"
        decide(world.folder / "mapped" / "fields.parquet", log)
        done = run("review", "status", given, "--json")
        counts[name] = json.loads(done.output)
        assert counts[name].pop("log")
        run("review", "export", given, "-o", here / "out", "--size", 32)
        labels = sorted(p.name for p in (here / "out" / "labels" / "images").iterdir())
        assert labels
        counts[name]["chips"] = len(labels)
        counts[name]["rows"] = len(geopandas.read_parquet(here / "out" / "fields.parquet"))
    assert counts["file"]["accepted"] == counts["file"]["rejected"] == 1
    for name in ("http", "s3"):
        for key in ("accepted", "rejected", "chips", "rows", "total"):
            assert counts[name][key] == counts["file"][key], key
    assert not (world.folder / "mapped" / "fields.review.jsonl").exists()


def test_review_of_a_published_zone_begins_with_the_lowest_score(world, tmp_path, monkeypatch):
    from selion.review import find_map
    from selion.web.review import open_session

    monkeypatch.chdir(tmp_path)
    inside = "vector/2025/zone=10/utm10.parquet"
    files = find_map(locate(f"{world.server.url}/{inside}"))
    session = open_session(files)
    score = geopandas.read_parquet(world.folder / inside)["score"].to_numpy()
    assert score[session.ranking.order[0]] <= 50, "below which there is no other doubt"
    assert any(str(tmp_path / "utm10.review.jsonl") in note for note in session.notes)
    said = refused("review", "status", f"{world.server.url}/vector/2025/")
    assert "'selion query'" in said


def test_view(world, tmp_path, monkeypatch):
    """The layers of files and of addresses have the same tiles and records."""
    pytest.importorskip("rio_tiler", reason="the web extra")
    from selion.web.view.discovery import find
    from selion.web.view.page import ViewSession, fields_tile, find_record, raster_tile, record

    answers = {}
    names = ("mapped/image.tif", "mapped/fields.parquet", "vector/2025/")
    for name, base in world.bases.items():
        found = find([locate(f"{base}/{each}") for each in names])
        assert not found.problems
        session = ViewSession(found)
        raster = found.rasters["r0"]
        layer = {"layer": "r0", "rendering": raster.renderings[0].name}
        west, south, east, north = raster.box
        z, edge = 13, 2 * 20037508.342789244 / 2**13
        x = int(((west + east) / 2 + 20037508.342789244) // edge)
        y = int((20037508.342789244 - (south + north) / 2) // edge)
        at = {"z": str(z), "x": str(x), "y": str(y)}
        answers[name] = [
            found.summary(),
            raster_tile(session, layer | at)[0],
            fields_tile(session, {"layer": "f0", **at})[0],
            record(session, {"layer": "f0", "row": "3"}),
            find_record(session, {"layer": "f1", "id": "11TEK_0_0-7"}),
        ]
        found.close()
    assert answers["file"][4]["row"] == 127, "the 8th of the second zone, after 120 of the first"
    assert len(answers["file"][1]) > 1000
    assert len(answers["file"][2]) > 100
    assert answers["http"][:4] == answers["file"][:4]
    assert answers["s3"] == answers["file"]


@pytest.mark.parametrize("verb", ["view", "review"])
def test_a_page_opens_on_an_address(world, tmp_path, monkeypatch, verb):
    """The server itself is tested elsewhere: here it stops at once."""
    pytest.importorskip("rio_tiler", reason="the web extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    served = []
    module = importlib.import_module(f"selion.cli.{verb}")

    def stop(_app, opened, *_, **__):
        served.append(opened.close())

    monkeypatch.setattr(module, "serve", stop)
    table = f"{world.server.url}/mapped/fields.parquet?sig=secret"
    done = run(verb, table)
    assert served == [None]
    assert "20 fields" in done.output
    assert "secret" not in done.output
    if verb == "review":
        assert f"is only read: what is done is written to {tmp_path}" in done.output
        assert (tmp_path / "fields.review.jsonl").exists()
