"""Merging: a countryside cut into jobs of two UTM zones comes back whole, in whatever order the
jobs are given.
"""

import json
import shutil
import subprocess
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from command_line import run_here
from country_partitions import CRS84, countryside, write_partitions, write_table
from selion import fields
from selion.country import MergeOptions, cells, lattice, merge_maps, merging, open_maps
from selion.country.job_tables import open_job_tables
from selion.errors import BadInput, OutputExists, OutputFailed, UnreadableFile
from selion.fields.schema import Origin
from selion.fields.tidy import measure
from selion.imagery import read_area

VALIDATOR = Path(__file__).resolve().parents[3] / "shared" / "tools" / "fiboa" / "fiboa-validate"


@pytest.fixture(scope="module")
def land():
    return countryside(3, 190)


@pytest.fixture(scope="module")
def partitions(land, tmp_path_factory):
    return write_partitions(land, tmp_path_factory.mktemp("plan"), edge=1000.0, halo=150.0)


@pytest.fixture(scope="module")
def merged(partitions, tmp_path_factory):
    return merge_maps(partitions.paths, tmp_path_factory.mktemp("merged") / "maps")


def read(maps):
    return geopandas.GeoDataFrame(
        geopandas.pd.concat(
            [geopandas.read_parquet(part.path) for part in maps.parts], ignore_index=True
        ),
        crs=CRS84,
    )


def bytes_of(maps):
    return {part.name: part.path.read_bytes() for part in maps.parts}


def best_match(truth, found):
    """Return the best intersection over union of each true field, and how many fields of the map
    hold most of it.
    """
    a, b = truth.geometry.to_numpy(), found.geometry.to_numpy()
    i, j = shapely.STRtree(b).query(a, predicate="intersects")
    shared = shapely.area(shapely.intersection(a[i], b[j]))
    ratio = shared / (shapely.area(a)[i] + shapely.area(b)[j] - shared)
    best = np.zeros(len(a))
    np.maximum.at(best, i, ratio)
    return best


def overlap(frame):
    return shapely.area(frame.geometry.to_numpy()).sum() - shapely.area(
        shapely.union_all(frame.geometry.to_numpy())
    )


def test_two_zones_and_many_seams_come_back_as_the_uncut_map(land, partitions, merged):
    found = read(merged)
    assert {cell.crs for cell in partitions.cells} == {"EPSG:32632", "EPSG:32633"}
    assert merged.facts["joined"] > 30
    assert merged.facts["seen_twice"] > 100
    assert merged.facts["cut"] == merged.facts["scraps"] == 0
    assert len(found) == len(land) == merged.rows
    assert best_match(land, found).min() > 0.999
    total = [measure(frame.geometry.to_numpy(), CRS84)[0].sum() for frame in (land, found)]
    assert total[1] == pytest.approx(total[0], rel=1e-6)
    assert found["metrics:area"].sum() == pytest.approx(total[0], rel=1e-5)
    assert overlap(found) < 1e-6 * shapely.area(found.geometry.to_numpy()).sum()
    assert (found.geom_type == "Polygon").all()
    assert found.is_valid.all()


def test_fields_away_from_seams_are_not_touched_and_ids_say_where(land, merged):
    found = read(merged).set_index("id")
    assert found.index.is_unique
    same = land.set_index("id").loc[sorted(set(land["id"]) & set(found.index))]
    assert len(same) > 0.6 * len(land)
    here = found.loc[same.index]
    unchanged = shapely.equals_exact(
        same.geometry.to_numpy(), here.geometry.to_numpy(), normalize=True
    )
    assert unchanged.mean() > 0.95, "a joined field may have the point of the old one inside"
    assert np.array_equal(here["confidence"].to_numpy(), same["confidence"].to_numpy())
    x, y, known = cells.places_of(found.index)
    assert known.all()
    points = shapely.points(*cells.degrees(x, y))
    assert (shapely.distance(points, found.geometry.to_numpy()) < 1e-6).all()


def test_each_partition_is_valid_fiboa_sorted_along_the_curve(merged):
    for part in merged.parts:
        assert fields.check_fiboa(part.path) == []
        table = pq.read_table(part.path)
        ids = table["id"].to_pylist()
        assert {name[:3] for name in ids} == {part.name}
        x, y, _ = cells.places_of(ids)
        assert (np.diff(cells.hilbert(x, y)) >= 0).all()
        metadata = json.loads(pq.read_schema(part.path).metadata[b"geo"])["columns"]["geometry"]
        assert metadata["bbox"] == pytest.approx(list(part.box))
        assert metadata["geometry_types"] == ["Polygon"]
    assert fields.read_origin(merged.parts[0].path).collection == "maps"


def test_the_official_validator_agrees(merged):
    if not VALIDATOR.is_file():
        pytest.skip("the official fiboa validator is not here (shared/tools/fiboa)")
    done = subprocess.run(
        [str(VALIDATOR), str(merged.parts[0].path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("VALID [] [] []"), done.stdout + done.stderr


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_order_of_jobs_does_not_matter(data, partitions, tmp_path_factory):
    some = data.draw(
        st.lists(st.sampled_from(partitions.paths), min_size=2, max_size=4, unique=True)
    )
    other = data.draw(st.permutations(some))
    work = tmp_path_factory.mktemp("order")
    one, two = (
        merge_maps(paths, work / name / "maps")
        for name, paths in (("a", some), ("b", [*other, other[0]]))
    )
    assert bytes_of(one) == bytes_of(two)
    assert one.facts == two.facts


def test_where_sheets_disagree_nothing_is_lost_doubled_or_laid_over_another(land, tmp_path):
    def moved(cell, geometry):  # each zone draws its outlines a little elsewhere
        return geometry.translate(*((4e-5, 2e-5) if cell.crs == "EPSG:32632" else (0, 0)))

    apart = write_partitions(land, tmp_path, edge=1000.0, halo=150.0, moved=moved)
    maps = merge_maps(apart.paths, tmp_path / "maps", MergeOptions(min_area=0))
    found = read(maps)
    assert best_match(land, found).min() > 0.3, "no field is lost"
    assert len(found) <= len(land) + maps.facts["cut"]
    assert overlap(found) < 1e-6 * shapely.area(found.geometry.to_numpy()).sum()
    assert maps.facts["joined"] > 30
    cores = shapely.union_all([cell.core for cell in apart.cells])
    whole = shapely.area(shapely.intersection(shapely.union_all(land.geometry.to_numpy()), cores))
    assert shapely.area(found.geometry.to_numpy()).sum() == pytest.approx(whole, rel=5e-3)


def test_beyond_all_squares_nothing_is_laid_over_another_either(land, tmp_path):
    eastern = [
        cell
        for cell in lattice.cut_area(read_area(land.total_bounds.tolist()), 1000.0, 150.0)
        if cell.crs == "EPSG:32633"
    ]
    first = max(eastern, key=lambda cell: cell.km2)
    column, row = (int(part[1:]) for part in first.name.split("_")[1:])
    strip = shapely.segmentize(
        shapely.box(1000 * column - 900, 1000 * row + 30, 1000 * column + 900, 1000 * row + 600), 50
    )
    back = Transformer.from_crs(first.crs, CRS84, always_xy=True)
    strip = shapely.transform(
        strip, lambda xy: np.stack(back.transform(xy[:, 0], xy[:, 1]), axis=1)
    )

    def moved(cell, geometry):
        return geometry.translate(9e-4 * (cell.crs == first.crs), 0)

    area = read_area(
        {"type": "Polygon", "coordinates": [[list(point) for point in strip.exterior.coords]]},
        "strip",
    )
    two = write_partitions(land, tmp_path, edge=1000.0, halo=150.0, area=area, moved=moved)
    assert len(two.cells) > 2
    found = read(merge_maps(two.paths, tmp_path / "maps", MergeOptions(min_area=0)))
    assert (shapely.area(shapely.difference(found.geometry.to_numpy(), strip)) > 1e-8).sum() > 10
    assert overlap(found) < 1e-6 * shapely.area(found.geometry.to_numpy()).sum()


def test_a_job_that_is_missing_leaves_its_fields_out_and_nothing_else(land, partitions, tmp_path):
    less = merge_maps(partitions.paths[1:], tmp_path / "maps")
    found = read(less)
    assert overlap(found) < 1e-6 * shapely.area(found.geometry.to_numpy()).sum()
    gone = partitions.cells[0].core
    elsewhere = land[~land.intersects(shapely.buffer(gone, 1e-5))]
    assert best_match(elsewhere, found).min() > 0.999


def test_two_tables_that_nobody_planned_are_kept_once(land, tmp_path):
    west, south, east, north = land.total_bounds
    middle = (west + east) / 2
    halves = [
        land[land.intersects(shapely.box(west, south, middle, north))],
        land[land.intersects(shapely.box(middle, south, east, north))],
    ]
    both = len(halves[0]) + len(halves[1]) - len(land)
    assert both > 5
    paths = [write_table(half, tmp_path / f"{k}.parquet") for k, half in enumerate(halves)]
    maps = merge_maps(paths, tmp_path / "maps")
    found = read(maps)
    assert len(found) == len(land)
    assert best_match(land, found).min() > 0.999
    assert not maps.facts["planned"]
    assert bytes_of(merge_maps(paths[::-1], tmp_path / "again" / "maps")) == bytes_of(maps)


def test_a_merge_that_was_stopped_goes_on(partitions, merged, tmp_path, monkeypatch):
    out = tmp_path / "maps"
    real, seen = merging._spread_table, []

    def stopping(run, number, partition):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(number)
        return real(run, number, partition)

    monkeypatch.setattr(merging, "_spread_table", stopping)
    with pytest.raises(KeyboardInterrupt):
        merge_maps(partitions.paths, out)
    assert not out.exists()
    (tmp_path / ".maps.selion-merge" / "maps" / "cell=u2b").mkdir(parents=True)
    (tmp_path / ".maps.selion-merge" / "maps" / "cell=u2b" / ".0a.part.parquet").write_bytes(
        b"killed here"
    )
    monkeypatch.setattr(
        merging,
        "_spread_table",
        lambda run, number, partition: seen.append(number) or real(run, number, partition),
    )
    again = merge_maps(partitions.paths, out)
    assert sorted(seen) == list(range(len(partitions.paths))), "no partition was done twice"
    assert bytes_of(again) == bytes_of(merged)
    assert {path.name for path in tmp_path.iterdir()} == {"maps", "maps.manifest.json"}
    assert not list(out.rglob(".*"))


def test_other_tables_do_not_meet_the_borders_of_a_merge_that_was_stopped(partitions, tmp_path):
    """Their files have the same names in one session, and were still in its memory."""
    out = tmp_path / "maps"

    def stopping(stage, done, total, _):
        if stage == "seams" and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_maps(partitions.paths, out, on_step=stopping)
    less = merge_maps(partitions.paths[1:], out)
    alone = merge_maps(partitions.paths[1:], tmp_path / "elsewhere" / "maps")
    assert bytes_of(less) == bytes_of(alone)


def test_a_merge_killed_after_its_map_got_its_name_loses_nothing(
    partitions, merged, tmp_path, monkeypatch
):
    """Its notes say that partitions are written, which went with the map."""

    def killed(_):
        if (tmp_path / "maps").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merging, "clear_parts", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_maps(partitions.paths, tmp_path / "maps")
    assert (tmp_path / ".maps.selion-merge").is_dir()
    again = merge_maps(partitions.paths, tmp_path / "maps", force=True)
    assert bytes_of(again) == bytes_of(merged)
    assert {path.name for path in tmp_path.iterdir()} == {"maps", "maps.manifest.json"}


def test_a_merge_that_fails_while_writing_leaves_nothing_and_restarts(
    partitions, merged, tmp_path, monkeypatch
):
    out = tmp_path / "maps"
    real = merging.in_order
    monkeypatch.setattr(
        merging,
        "in_order",
        lambda _table: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OutputFailed, match="no space"):
        merge_maps(partitions.paths[:3], out)
    assert not out.exists()
    monkeypatch.setattr(merging, "in_order", real)
    assert bytes_of(merge_maps(partitions.paths, out)) == bytes_of(merged), (
        "other tables: the finished parts are not taken up"
    )


def test_a_plan_is_merged_by_its_folder_and_says_what_is_missing(partitions, merged, tmp_path):
    plan = tmp_path / "plan"
    shutil.copytree(partitions.paths[0].parents[2], plan)
    names = [path.parent.name for path in partitions.paths]
    (plan / "jobs.json").write_text(json.dumps([{"name": name} for name in names]))
    assert bytes_of(
        merge_maps([plan], tmp_path / "all", MergeOptions(collection="maps"))
    ) == bytes_of(merged)
    for name in names[2:]:
        (plan / "jobs" / name / "fields.parquet").unlink()
    (plan / "jobs" / names[1] / "fields.parquet.aside.json").write_text("{}")
    some = merge_maps([plan], tmp_path / "some").facts
    assert some["unfinished_jobs"] == names[2:]
    assert some["incomplete_tables"] == [f"{names[1]}/fields.parquet"]
    for name in names[:2]:
        (plan / "jobs" / name / "fields.parquet").unlink()
    with pytest.raises(UnreadableFile, match="No job of the plan"):
        merge_maps([plan], tmp_path / "none")


def test_what_is_there_is_replaced_by_force_alone(partitions, tmp_path):
    first = merge_maps(partitions.paths[:1], tmp_path / "maps")
    with pytest.raises(OutputExists):
        merge_maps(partitions.paths[:2], tmp_path / "maps")
    second = merge_maps(partitions.paths[:2], tmp_path / "maps", force=True)
    assert second.rows > first.rows
    assert {path.name for path in tmp_path.iterdir()} == {"maps", "maps.manifest.json"}


def test_partitions_of_other_sizes_hold_the_same_rows(partitions, merged, tmp_path):
    small = merge_maps(partitions.paths, tmp_path / "maps", MergeOptions(level=4))
    assert {len(part.name) for part in small.parts} == {4}
    assert set(read(small)["id"]) == set(read(merged)["id"])


def test_tables_collected_elsewhere_find_their_plan(partitions, merged, tmp_path):
    root = partitions.paths[0].parents[2]
    collected = [
        shutil.copy(path, tmp_path / f"{path.parent.name}.parquet") for path in partitions.paths
    ]
    assert bytes_of(merge_maps(collected, tmp_path / "maps", plan=root)) == bytes_of(merged)
    with pytest.raises(BadInput, match="others to none"):
        merge_maps([collected[0], partitions.paths[1]], tmp_path / "mixed")


def test_other_names_times_and_crs_are_brought_together(land, tmp_path):
    west, _, east, _ = land.total_bounds
    left, right = (
        land[land.geometry.bounds.maxx < (west + east) / 2],
        land[land.geometry.bounds.minx > (west + east) / 2],
    )
    names = [f"parcel {k}" for k in range(len(left))]
    one = write_table(
        left.assign(id=names, crop=["rye"] * len(left)),
        tmp_path / "1.parquet",
        Origin("a", details="by hand", method="manual"),
    )
    when = geopandas.pd.Timestamp("2024-08-17T10:00:00Z").to_pydatetime()
    # nobody has measured them
    utm = right.drop(columns=["metrics:area", "metrics:perimeter"]).to_crs(32633)
    two = fields.write_fields(utm, tmp_path / "2.parquet", Origin("b", when, "model x"), crs="keep")
    maps = merge_maps([one, two], tmp_path / "maps")
    found = read(maps)
    assert fields.check_fiboa(maps.parts[0].path) == []
    assert len(found) == len(left) + len(right)
    assert found["id"].str.len().eq(12).all()
    assert found["crop"].notna().sum() == len(left)
    assert found["determination:datetime"].notna().sum() == len(right)
    assert set(right["id"]) <= set(found["id"])
    assert best_match(right, found).min() > 0.9999
    assert found["metrics:area"].sum() == pytest.approx(
        measure(land.geometry.to_numpy(), CRS84)[0].sum(), rel=0.2
    )
    assert found["metrics:area"].notna().all()


def test_a_table_in_metres_over_the_antimeridian_does_not_go_around_the_globe(tmp_path):
    """A field of 4 ha in UTM 1, of which 180,210 m is 180 degrees here."""
    frame = geopandas.GeoDataFrame(
        {"id": ["a"], "class": ["field"]},
        geometry=[shapely.box(180_110, 8_140_000, 180_310, 8_140_200)],
        crs="EPSG:32701",
    )
    path = fields.write_fields(frame, tmp_path / "metres.parquet", crs="keep")
    (table,) = (batch for job in open_job_tables([path]) for batch in job.batches())
    (shape,) = shapely.from_wkb(table["geometry"].to_numpy())
    west, _, east, _ = shapely.bounds(shapely.get_parts(shape)).T
    assert len(west) == 2
    assert (east - west).max() < 0.0025
    assert measure(np.array([shape]), CRS84)[0] == pytest.approx([40_000], rel=3e-3)


def test_what_cannot_be_merged_is_said(land, tmp_path):
    with pytest.raises(UnreadableFile, match="There is no file"):
        merge_maps([tmp_path / "none.parquet"], tmp_path / "maps")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFile, match=r"holds no fields\.parquet"):
        merge_maps([tmp_path / "empty"], tmp_path / "maps")
    with pytest.raises(BadInput, match="No table"):
        merge_maps([], tmp_path / "maps")
    photo = fields.write_fields(
        land.head(3).set_crs(None, allow_override=True), tmp_path / "photo.parquet"
    )
    with pytest.raises(BadInput, match="no CRS"):
        merge_maps([photo], tmp_path / "maps")
    merged = merge_maps([write_table(land.head(3), tmp_path / "0.parquet")], tmp_path / "merged")
    with pytest.raises(BadInput, match="a merged map already"):
        merge_maps([merged.folder], tmp_path / "maps")
    assert merge_maps(merged.folder.glob("*/*.parquet"), tmp_path / "again").rows == 3
    one = write_table(land.head(3).assign(crop=["a", "b", "c"]), tmp_path / "1.parquet")
    two = write_table(land.tail(3).assign(crop=[1, 2, 3]), tmp_path / "2.parquet")
    with pytest.raises(BadInput, match="Column crop"):
        merge_maps([one, two], tmp_path / "maps")
    (tmp_path / "area.geojson").write_text(
        '{"type": "Feature", "properties": {"core": {"type": "Nothing"}}, "geometry": null}'
    )
    with pytest.raises(UnreadableFile, match="not the area of a job"):
        merge_maps([one], tmp_path / "maps")
    with pytest.raises(BadInput, match="remnant"):
        MergeOptions(min_area=-1)
    assert not (tmp_path / "maps").exists()


def test_a_table_without_fields_is_no_error(land, tmp_path):
    empty = write_table(land.head(0), tmp_path / "0.parquet")
    maps = merge_maps([empty], tmp_path / "none")
    assert maps.rows == 0
    assert maps.box is None
    assert (
        merge_maps(
            [empty, write_table(land.head(5), tmp_path / "1.parquet")], tmp_path / "some"
        ).rows
        == 5
    )


def test_an_id_that_is_there_twice_gets_a_number(land, tmp_path):
    one = land.iloc[[0]]
    far = one.translate(0, 0.5e-7)
    paths = [
        write_table(one, tmp_path / "1.parquet"),
        write_table(one.set_geometry(far, crs=CRS84), tmp_path / "2.parquet"),
    ]
    assert merge_maps(paths, tmp_path / "maps").rows == 1, "they are one field"
    other = one.assign(**{"class": "pond"})
    maps = merge_maps(
        [paths[0], write_table(other, tmp_path / "3.parquet")],
        tmp_path / "both",
        MergeOptions(min_area=0),
    )
    ids = sorted(read(maps)["id"])
    assert len(set(ids)) == len(ids)


def test_the_command_says_what_it_did(partitions, tmp_path):
    command = ["merge", *partitions.paths[:2], "-o", tmp_path / "maps", "--json"]
    done = run_here(*command)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["fields"] == open_maps(facts["path"]).rows > 0
    again = run_here(*command)
    assert again.returncode == 2
    assert "--force" in again.stderr
