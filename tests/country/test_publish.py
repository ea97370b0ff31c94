"""The published layout: what we write there is what the catalogue of the second edition asks for.

Zones are known by hand, values by other readers, and each fault of a file is planted before it is
looked for.
"""

import json
import shutil
import subprocess
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from click.testing import CliRunner

from country_partitions import CRS84, countryside, write_partitions, write_table
from selion.cli.country import merge_command
from selion.country import (
    PublishOptions,
    check_publication,
    merge_maps,
    merging,
    open_maps,
    publish_maps,
    publishing,
)
from selion.errors import BadInput, OutputExists, OutputFailed, UnreadableFile
from selion.fields.projecting import centres
from selion.fields.schema import Origin
from selion.fields.table import geohash
from selion.verification import verify

VALIDATOR = Path(__file__).resolve().parents[3] / "shared" / "tools" / "fiboa" / "fiboa-validate"
WHEN = geopandas.pd.Timestamp("2025-07-03T10:00:00Z")
PLACES = {  # longitude, latitude: zone, as the MGRS draws them
    (11.9990, 50.0): 32,
    (12.0010, 50.0): 33,
    (3.5, 55.9): 31,
    (3.5, 60.0): 32,
    (8.5, 78.0): 31,
    (9.5, 78.0): 33,
    (20.5, 78.0): 33,
    (21.5, 78.0): 35,
    (41.5, 78.0): 37,
    (-179.9, -17.0): 1,
    (179.9, -17.0): 60,
    (30.5, 0.0005): 36,
}
NAMES = [
    *("id", "collection", "geometry", "bbox", "metrics:area", "metrics:perimeter", "score"),
    *("determination:datetime", "determination:method"),
]


def squares(places, size=1e-3):
    """Fields of some 100 m, one at each place."""
    lon, lat = np.array(list(places), float).T
    shapes = shapely.box(lon - size / 2, lat - size / 2, lon + size / 2, lat + size / 2)
    return geopandas.GeoDataFrame(
        {
            "id": geohash(lon, lat),
            "class": "field",
            "confidence": np.linspace(0.3, 0.995, len(lon)).astype(np.float32),
        },
        geometry=shapes,
        crs=CRS84,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_table(
        squares(PLACES),
        tmp_path_factory.mktemp("tables") / "1.parquet",
        Origin("a", WHEN.to_pydatetime(), "model x", provenance={"model": {"name": "x"}}),
    )


@pytest.fixture(scope="module")
def published(source, tmp_path_factory):
    return publish_maps([source], tmp_path_factory.mktemp("world") / "mine")


@pytest.fixture(scope="module")
def land():
    return countryside(3, 190)


@pytest.fixture(scope="module")
def partitions(land, tmp_path_factory):
    return write_partitions(land, tmp_path_factory.mktemp("plan"), edge=1000.0, halo=150.0)


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def zone_path(made, zone):
    return made.folder / "vector" / str(made.year) / f"zone={zone:02}" / f"utm{zone:02}.parquet"


def test_each_field_lies_in_its_zone_and_norways_are_wider(published):
    wanted = {}
    for (lon, lat), zone in PLACES.items():
        wanted.setdefault(zone, set()).update(geohash(np.array([lon]), np.array([lat])))
    assert published.year == 2025
    found = {
        int(path.parent.name.partition("=")[2]): set(pq.read_table(path)["id"].to_pylist())
        for path in (published.folder / "vector" / "2025").glob("zone=*/utm*.parquet")
    }
    assert found == wanted
    assert {zone.zone for zone in published.zones} == set(wanted)


def test_a_field_over_the_antimeridian_lies_in_the_zone_of_its_larger_part(tmp_path):
    """The middle of its two parts, as numbers of degrees, is on the other side of the globe."""
    parts = [
        shapely.box(179.999, -17.0, 180, -16.999),
        shapely.box(-180, -17.0, -179.9995, -16.999),
    ]
    shape = np.array([shapely.multipolygons(parts)], object)
    assert centres(shape) == pytest.approx(np.array([[179.99975, -16.9995]]), abs=1e-9)
    frame = squares({(179.9995, -16.9995): 60}).set_geometry(shape, crs=CRS84)
    table = write_table(frame, tmp_path / "1.parquet", Origin("a", WHEN.to_pydatetime()))
    made = publish_maps([table], tmp_path / "world")
    assert [one.zone for one in made.zones] == [60]
    assert check_publication(made.folder) == []


def test_a_call_leaves_a_manifest_by_which_it_is_verified(published):
    found = verify(published.folder)
    assert found.holds, found.differences
    assert {one.name: one.status for one in found.checks}["sums"] == "holds"


def test_the_nine_columns_have_their_types_and_values(published, source):
    table = pq.read_table(zone_path(published, 33))
    assert table.schema.names == NAMES
    kinds = [str(kind) for kind in table.schema.types]
    assert kinds[:3] == ["string", "string", "binary"]
    assert kinds[3].replace(" not null", "") == (
        "struct<xmin: double, ymin: double, xmax: double, ymax: double>"
    )
    assert kinds[4:] == ["float", "float", "uint8", "timestamp[ms, tz=UTC]", "string"]
    frame = geopandas.read_parquet(zone_path(published, 33)).set_index("id")
    given = geopandas.read_parquet(source).set_index("id").loc[frame.index]
    assert frame.crs.to_epsg() == 4326
    assert (frame["collection"] == "mine-2025").all()
    assert (frame["determination:method"] == "auto-imagery").all()
    assert (frame["determination:datetime"] == WHEN).all()
    confidence = given["confidence"].to_numpy(float)
    assert (np.abs(frame["score"] - 100 * confidence) <= 0.5 + 1e-5).all()
    assert frame["metrics:area"].to_numpy() == pytest.approx(given["metrics:area"].to_numpy())
    assert shapely.equals_exact(
        frame.geometry.to_numpy(), given.geometry.to_numpy(), 1e-9, normalize=True
    ).all()
    assert published.facts["left_out"] == ["class"]


def test_the_files_pass_every_check(published, partitions, tmp_path):
    assert check_publication(published.folder) == []
    made = publish_maps(partitions.paths, tmp_path / "map", PublishOptions(2024))
    assert [zone.zone for zone in made.zones] == [32, 33]
    assert check_publication(made.folder, zones=2) == []
    assert check_publication(made.folder, zones=54) == ["2024 has 2 zone files; wanted are 54."]


def test_the_official_validator_agrees(published):
    if not VALIDATOR.is_file():
        pytest.skip("the official fiboa validator is not here (shared/tools/fiboa)")
    done = subprocess.run(
        [str(VALIDATOR), str(zone_path(published, 32))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("VALID"), done.stdout + done.stderr


def test_both_layouts_hold_the_same_fields(partitions, tmp_path):
    cells = merge_maps(partitions.paths, tmp_path / "cells")
    made = publish_maps(partitions.paths, tmp_path / "map", PublishOptions(2024))
    one = pa.concat_tables([pq.read_table(part.path) for part in cells.parts])
    two = pa.concat_tables([pq.read_table(zone_path(made, zone)) for zone in (32, 33)])
    assert made.rows == cells.rows == len(two)
    one, two = (table.sort_by("id") for table in (one, two))
    for name in ("id", "geometry", "metrics:area"):
        assert one[name].to_pylist() == two[name].to_pylist()
    assert {key: made.facts[key] for key in ("joined", "seen_twice")} == {
        key: cells.facts[key] for key in ("joined", "seen_twice")
    }
    west, east = (pq.read_table(zone_path(made, zone), columns=["bbox"]) for zone in (32, 33))
    assert max(box["xmin"] for box in west["bbox"].to_pylist()) < 12
    assert min(box["xmax"] for box in east["bbox"].to_pylist()) > 12


def test_other_readers_find_years_zones_and_boxes(published):
    duckdb = pytest.importorskip("duckdb")
    glob = f"{published.folder}/vector/2025/zone=*/utm*.parquet"
    rows = duckdb.sql(
        f"SELECT zone, count(*) FROM read_parquet('{glob}', hive_partitioning = true) "
        "WHERE bbox.xmin > 3 AND bbox.xmax < 13 AND bbox.ymax < 61 GROUP BY zone ORDER BY zone"
    ).fetchall()
    assert [(int(zone), count) for zone, count in rows] == [(31, 1), (32, 2), (33, 1)]
    index = geopandas.read_parquet(published.folder / "index" / "vector.parquet")
    assert index.crs.to_epsg() == 4326
    assert index["zone"].tolist() == sorted({*PLACES.values()})
    row = index.set_index("zone").loc[33]
    assert row["href"] == "vector/2025/zone=33/utm33.parquet"
    assert row["size_bytes"] == zone_path(published, 33).stat().st_size
    assert row["n_parcels"] == 3
    frame = geopandas.read_parquet(zone_path(published, 33))
    assert row["area_km2"] == pytest.approx(frame["metrics:area"].sum() / 1e6)
    assert row.geometry.bounds == pytest.approx(tuple(frame.total_bounds))


def test_rows_lie_along_a_curve_in_small_groups(land, tmp_path, monkeypatch):
    monkeypatch.setattr("selion.country.zone_files.GROUP", 100)
    made = publish_maps(
        [write_table(land, tmp_path / "1.parquet")], tmp_path / "map", PublishOptions(2024)
    )
    for zone in (32, 33):
        data = pq.read_metadata(zone_path(made, zone))
        sizes = [data.row_group(k).num_rows for k in range(data.num_row_groups)]
        assert sizes[:-1] == [100] * (len(sizes) - 1)
        assert 0 < sizes[-1] <= 100
        shapes = geopandas.read_parquet(zone_path(made, zone)).geometry.to_numpy()
        points = shapely.get_coordinates(shapely.centroid(shapes))
        steps = np.hypot(*np.diff(points, axis=0).T)
        shuffled = np.random.default_rng(0).permutation(points)
        assert np.median(steps) < 0.2 * np.median(np.hypot(*np.diff(shuffled, axis=0).T))


def test_years_are_added_and_replaced_one_by_one(source, tmp_path):
    out = tmp_path / "mine"
    publish_maps([source], out)
    first = files_of(out)
    old = write_table(squares([(12.001, 50.0)]), tmp_path / "old.parquet")
    made = publish_maps([old], out, PublishOptions(2024))
    assert made.rows == 1
    assert check_publication(out) == []
    both = files_of(out)
    assert {name: both[name] for name in first if "vector/" in name} == {
        name: value for name, value in first.items() if "vector/" in name
    }, "the other year keeps every byte"
    assert pq.read_table(out / "index" / "vector.parquet")["year"].to_pylist()[:2] == [2024, 2025]
    table = pq.read_table(zone_path(made, 33))
    assert table["determination:datetime"].to_pylist()[0].isoformat() == (
        "2024-01-01T00:00:00+00:00"
    ), "where only the year is known"
    with pytest.raises(OutputExists, match="the year 2024 already"):
        publish_maps([source], out, PublishOptions(2024))
    assert files_of(out) == both
    assert publish_maps([source], out, PublishOptions(2024), force=True).rows == len(PLACES)
    assert check_publication(out) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine",
        "mine.manifest.json",
        "old.parquet",
    ]


def test_the_index_says_where_the_folder_will_stand(source, tmp_path):
    addresses = ("https://example.org/mine/", "s3://bucket/mine")
    out = publish_maps([source], tmp_path / "map", PublishOptions(addresses=addresses)).folder
    index = pq.read_table(out / "index" / "vector.parquet").to_pylist()
    place = "vector/2025/zone=01/utm01.parquet"
    assert index[0]["href"] == f"https://example.org/mine/{place}"
    assert index[0]["s3_href"] == f"s3://bucket/mine/{place}"


@pytest.mark.parametrize(
    "address", ["https://me:secret@example.org/mine", "https://example.org/mine?sig=secret"]
)
def test_an_index_holds_no_key(address):
    with pytest.raises(BadInput, match=r"example\.org/mine") as caught:
        PublishOptions(addresses=(address,))
    assert "secret" not in str(caught.value)


def test_scores_come_from_what_the_tables_say(tmp_path):
    frame = squares([(12.1, 50.0), (12.2, 50.0), (12.3, 50.0)])
    bare = frame.drop(columns=["confidence"])
    made = publish_maps(
        [write_table(bare, tmp_path / "1.parquet")], tmp_path / "bare", PublishOptions(2024)
    )
    assert pq.read_table(zone_path(made, 33))["score"].to_pylist() == [None] * 3
    assert not made.facts["scored"]
    theirs = write_table(
        bare.assign(score=np.array([0, 69, 100], np.uint8)), tmp_path / "2.parquet"
    )
    made = publish_maps([theirs], tmp_path / "theirs", PublishOptions(2024))
    assert sorted(pq.read_table(zone_path(made, 33))["score"].to_pylist()) == [0, 69, 100]
    wrong = write_table(bare.assign(score=[0, 69, 101]), tmp_path / "3.parquet")
    with pytest.raises(BadInput, match="0 to 100"):
        publish_maps([wrong], tmp_path / "wrong", PublishOptions(2024))
    assert not (tmp_path / "wrong").exists()
    unsure = frame.assign(confidence=np.array([np.nan, 0.006, 1.0], np.float32))
    made = publish_maps(
        [write_table(unsure, tmp_path / "4.parquet")], tmp_path / "unsure", PublishOptions(2024)
    )
    table = pq.read_table(zone_path(made, 33)).to_pandas().set_index("id")["score"]
    assert table.loc[unsure["id"]].fillna(-1).tolist() == [-1, 1, 100]


def test_a_publication_that_was_stopped_goes_on(partitions, tmp_path, monkeypatch):
    whole = files_of(
        publish_maps(partitions.paths, tmp_path / "a" / "map", PublishOptions(2024)).folder
    )
    out, real, seen = tmp_path / "b" / "map", publishing._write_zone, []
    out.parent.mkdir()

    def stopping(run, runs, zone, *rest):
        if zone == 33:
            raise KeyboardInterrupt
        return real(run, runs, zone, *rest)

    monkeypatch.setattr(publishing, "_write_zone", stopping)
    with pytest.raises(KeyboardInterrupt):
        publish_maps(partitions.paths, out, PublishOptions(2024))
    assert not out.exists()
    monkeypatch.setattr(
        publishing,
        "_write_zone",
        lambda run, runs, zone, *rest: seen.append(zone) or real(run, runs, zone, *rest),
    )
    spread = []
    monkeypatch.setattr(merging, "_spread_table", lambda *_: spread.append(1))
    assert files_of(publish_maps(partitions.paths[::-1], out, PublishOptions(2024)).folder) == whole
    assert seen == [33]
    assert spread == []
    assert sorted(path.name for path in out.parent.iterdir()) == ["map", "map.manifest.json"]


def test_a_year_that_the_index_did_not_get_to_know_is_published_by_the_same_command(
    source, tmp_path, monkeypatch
):
    """Killed between the two, the year was there, no reader found it, and it was refused."""
    out = tmp_path / "mine"
    publish_maps([source], out)
    before = files_of(out)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "write_zone_index", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_maps([source], out, PublishOptions(2024))
    assert (out / "vector" / "2024").is_dir()
    with pytest.raises(OutputExists, match="the year 2024 already"):
        publish_maps([source], out, PublishOptions(2024, min_area=1))  # another one
    assert publish_maps([source], out, PublishOptions(2024)).rows == len(PLACES)
    assert check_publication(out) == []
    index = pq.read_table(out / "index" / "vector.parquet").to_pandas()
    assert index.groupby("year")["n_parcels"].sum().to_dict() == {
        2024: len(PLACES),
        2025: len(PLACES),
    }
    after = files_of(out)
    assert {name: after[name] for name in before if "vector/" in name} == {
        name: value for name, value in before.items() if "vector/" in name
    }


def test_what_cannot_be_published_is_said(source, land, tmp_path):
    timeless = write_table(land.head(3), tmp_path / "timeless.parquet")
    with pytest.raises(BadInput, match="--year"):
        publish_maps([timeless], tmp_path / "map")
    with pytest.raises(BadInput, match="--year"):
        publish_maps([write_table(land.head(0), tmp_path / "0.parquet")], tmp_path / "map")
    times = [WHEN, WHEN - geopandas.pd.Timedelta(days=365)]
    two = write_table(
        land.head(2).assign(**{"determination:datetime": times}), tmp_path / "two.parquet"
    )
    with pytest.raises(BadInput, match="years 2024, 2025"):
        publish_maps([two], tmp_path / "map")
    for options in ({"year": 19}, {"addresses": ("ftp://a",)}, {"addresses": ("s3://a", "s3://b")}):
        with pytest.raises(BadInput, match="wanted"):
            PublishOptions(**options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists, match="not a published map"):
        publish_maps([source], tmp_path / "other", force=True)
    with pytest.raises(OutputFailed, match="is a file"):
        publish_maps([source], tmp_path / "other" / "mine.txt", force=True)
    assert not (tmp_path / "map").exists()


def test_the_command_says_what_it_did_and_refuses_mixed_options(source, tmp_path):
    run = CliRunner()
    out = str(tmp_path / "map")
    done = run.invoke(merge_command, [str(source), "-o", out, "--layout", "ftw-2e", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["path"] == out
    assert (said["year"], said["fields"], said["zones"]) == (2025, len(PLACES), 8)
    assert "class" in done.output, "a column without a place is named"
    for options in (
        ["--year", "2025"],
        ["--address", "s3://a"],
        ["--layout", "ftw-2e", "--cell", "3"],
    ):
        done = run.invoke(merge_command, [str(source), "-o", str(tmp_path / "no"), *options])
        assert done.exit_code == 2
        assert "is for --layout" in done.output
    assert not (tmp_path / "no").exists()


def rewritten(path, change=lambda table: table, **options):
    table = change(pq.read_table(path))
    pq.write_table(table, path, **({"compression": "zstd"} | options))


def put(table, name, values):
    number = table.schema.names.index(name)
    return table.set_column(number, table.schema.field(number), values)


FAULTS = {
    "has the columns": lambda path: rewritten(path, lambda table: table.drop_columns("score")),
    "SNAPPY": lambda path: rewritten(path, compression="snappy"),
    "areas are missing or not positive": lambda path: rewritten(
        path, lambda table: put(table, "metrics:area", pa.array([None, 0, 1], pa.float32()))
    ),
    "scores are greater than 100": lambda path: rewritten(
        path, lambda table: put(table, "score", pa.array([101, 0, None], pa.uint8()))
    ),
    "more than once": lambda path: rewritten(
        path, lambda table: put(table, "id", pa.array(["a", "a", "b"]))
    ),
    "does not name EPSG:4326": lambda path: rewritten(
        path, lambda table: table.replace_schema_metadata({"geo": "{}"})
    ),
    "not valid": lambda path: rewritten(
        path,
        lambda table: put(
            table,
            "geometry",
            pa.array(
                [
                    shapely.Polygon([(12, 50), (13, 51), (13, 50), (12, 51)]).wkb,
                    *table["geometry"].to_pylist()[1:],
                ],
                pa.binary(),
            ),
        ),
    ),
    "do not lie in zone 31": lambda path: (
        path.parent.parent.joinpath("zone=31").mkdir(exist_ok=True),
        shutil.copy(path, path.parent.parent / "zone=31" / "utm31.parquet"),
    ),
    "does not lie where": lambda path: path.rename(path.with_name("utm34.parquet")),
    "cannot be read": lambda path: path.write_bytes(b"not parquet"),
    "is in the index alone": lambda path: path.unlink(),
    "the index says 3 fields": lambda path: rewritten(path, lambda table: table.slice(1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault, published, tmp_path):
    shutil.copytree(published.folder, tmp_path / "map")
    FAULTS[fault](tmp_path / "map" / "vector" / "2025" / "zone=33" / "utm33.parquet")
    found = check_publication(tmp_path / "map")
    assert any(fault in sentence for sentence in found), found


def test_a_row_group_that_is_too_large_is_found(published, tmp_path):
    shutil.copytree(published.folder, tmp_path / "map")
    path = tmp_path / "map" / "vector" / "2025" / "zone=33" / "utm33.parquet"
    rewritten(path, lambda table: pa.concat_tables([table.slice(0, 1)] * 16_385))
    assert any("16384 are the most" in sentence for sentence in check_publication(tmp_path / "map"))
    with pytest.raises(UnreadableFile, match="no published map"):
        check_publication(tmp_path)


def test_a_zone_file_is_a_map_to_ask(published):
    assert open_maps(zone_path(published, 33)).rows == 3
