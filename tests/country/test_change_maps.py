"""Change between two merged maps from their tables: drawn cases, an independent count, and the law
that cells, partitions and files are no part of the answer.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import duckdb
import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from click.testing import CliRunner

from country_partitions import CRS84, write_table
from selion import country
from selion.cli.change import change_command
from selion.country import change_maps, neighbourhoods, row_groups
from selion.errors import BadInput, OutputExists, OutputFailed, UnreadableFile
from selion.fields.table import geohash
from selion.reports import change_maps as change_maps_page
from selion.verification import verify

VALIDATOR = Path(__file__).resolve().parents[3] / "shared" / "tools" / "fiboa" / "fiboa-validate"
DEGREE = 111_320.0
"""Metres of a degree on the equator, within 0.7 % both ways."""


def drawn(*boxes):
    """Rectangles (x0, y0, x1, y1) in metres near 20 E on the equator."""
    shapes = shapely.box(*(np.array(boxes, float) / DEGREE).T, ccw=True)
    shapes = shapely.transform(shapes, lambda xy: xy + np.array([20.0, 0.001]))
    return named(shapes)


def named(shapes):
    """Fields with ids that name a place inside them."""
    middle = shapely.get_coordinates(shapely.point_on_surface(shapes))
    columns = {"id": geohash(*middle.T), "class": "field", "confidence": np.float32(0.9)}
    return geopandas.GeoDataFrame(columns, index=range(len(shapes)), geometry=shapes, crs=CRS84)


BEFORE = drawn(
    (0, 0, 200, 200),  # kept
    (300, 0, 500, 200),  # split
    (600, 0, 700, 200),  # merged
    (700, 0, 800, 200),  # merged
    (900, 0, 1100, 200),  # moved by 30 m
    (1200, 0, 1400, 200),  # gone
    (0, 300, 100, 400),  # redrawn, with the next
    (100, 300, 200, 400),
)
AFTER = drawn(
    (0, 0, 200, 200),
    (300, 0, 430, 200),
    (430, 0, 500, 200),
    (600, 0, 800, 200),
    (930, 0, 1130, 200),
    (1500, 0, 1700, 200),  # appeared
    (0, 300, 160, 400),
    (160, 300, 200, 400),
)


def table_of(change):
    frames = [geopandas.read_parquet(part.path) for part in change.maps.parts]
    return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=CRS84)


@pytest.fixture(scope="module")
def drawn_maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for label, frame in (("2023", BEFORE), ("2024", AFTER)):
        country.merge_maps([write_table(frame, folder / f"{label}.parquet")], folder / label)
    return folder


def test_the_official_validator_knows_the_columns_of_change(drawn_maps, tmp_path):
    if not VALIDATOR.is_file():
        pytest.skip("the official fiboa validator is not here (shared/tools/fiboa)")
    change = country.compare_maps(drawn_maps / "2023", drawn_maps / "2024", tmp_path / "change")
    told = subprocess.run(
        [VALIDATOR, change.maps.parts[0].path], capture_output=True, text=True, check=False
    )
    assert told.stdout.startswith("VALID [] [] []"), told.stdout + told.stderr


def test_drawn_fields_get_the_outcomes_that_one_sees(drawn_maps, tmp_path):
    change = country.compare_maps(drawn_maps / "2023", drawn_maps / "2024", tmp_path / "change")
    assert verify(tmp_path / "change").holds  # a call leaves a manifest
    found = table_of(change).set_index("change:map_id")
    told = [found.loc[name] for name in AFTER["id"]]
    assert [row["change:outcome"] for row in told] == [
        "kept",
        "split",
        "split",
        "merged",
        "moved",
        "appeared",
        *["redrawn"] * 2,
    ]
    # one followed by itself, the larger part of a split, one that moved by 30 of 200 m
    before = BEFORE["id"].tolist()
    assert [told[k]["id"] for k in (0, 1, 4)] == [before[0], before[1], before[4]]
    assert [told[k]["change:since"] for k in (0, 1, 4)] == ["2023"] * 3
    assert told[2]["change:since"] == told[5]["change:since"] == "2024"
    assert told[2]["change:before"] == before[1]
    assert told[2]["change:share_before"] == pytest.approx(70 / 200, abs=1e-4)
    assert sorted(told[3]["change:before"].split()) == sorted(before[2:4])
    assert told[3]["change:parents"] == 2
    assert told[4]["change:shift"] == pytest.approx(30, rel=0.01)
    assert told[4]["change:iou"] == pytest.approx(170 / 230, abs=1e-4)
    # 2 x 30 x 200 m2 in one of the two only, over a perimeter of 800 m
    assert told[4]["change:edge"] == pytest.approx(15, rel=0.01)
    gone = found.loc[before[5]]
    assert (gone["change:outcome"], gone["id"]) == ("gone", before[5])
    assert len(found) == len(AFTER) + 1
    counts = change.summary.set_index("outcome")
    assert counts.loc["split"].tolist()[:2] == [1, 2]
    assert counts.loc["merged"].tolist()[:2] == [2, 1]
    assert counts.loc["redrawn"].tolist()[:2] == [2, 2]
    assert counts.loc["gone"].tolist()[:2] == [1, 0]
    assert counts.loc["kept", "ha_after"] == pytest.approx(4, rel=0.01)
    rows = pq.read_table(change.folder / "lineage.parquet").to_pandas()
    assert rows["outcome"].value_counts().to_dict() == {
        "redrawn": 3,
        **dict.fromkeys(("split", "merged"), 2),
        **dict.fromkeys(("kept", "moved", "appeared", "gone"), 1),
    }
    assert rows[rows["outcome"] == "appeared"]["from_id"].isna().all()


@pytest.fixture(scope="module")
def years():
    """Parcels that meet around the corner of four partitions, and what became of them: some gone,
    shifted, halved, joined.
    """
    across = 36
    rng = np.random.default_rng(3)
    nodes = np.stack(np.meshgrid(*[np.arange(across + 1) - across / 2] * 2), axis=-1)
    nodes = nodes + rng.uniform(-0.3, 0.3, nodes.shape)
    nodes = nodes * [0.0018, 0.0012] + [34 * 360 / 1024, 284 * 180 / 1024]
    rings = [nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]]
    parcels = shapely.polygons(np.stack(rings, axis=2).reshape(-1, 4, 2))
    before = named(parcels[rng.random(len(parcels)) < 0.9])
    rng = np.random.default_rng(5)
    fate = rng.choice(["kept", "gone", "shifted", "halved"], len(before), p=[0.6, 0.1, 0.15, 0.15])
    shapes = before.geometry.to_numpy().copy()
    shifted = fate == "shifted"
    shapes[shifted] = shapely.transform(shapes[shifted], lambda xy: xy + np.array([4e-4, 1e-4]))
    halves = []
    for shape in shapes[fate == "halved"]:
        west, south, east, north = shape.bounds
        middle = (west + east) / 2
        boxes = shapely.box([west, middle], south, [middle, east], north)
        halves += [
            max(shapely.get_parts(shape.intersection(box)), key=lambda one: one.area)
            for box in boxes
        ]
    rest = shapes[(fate != "gone") & (fate != "halved")]
    pairs = shapely.union_all(rest[:2])
    corner = shapely.box(*[[11.90, 11.905], [49.90] * 2, [11.902, 11.907], [49.901] * 2], ccw=True)
    new = [*rest[2:], *halves, *corner, *[one for one in shapely.get_parts(pairs) if one.area > 0]]
    new = np.array([one for one in new if one.geom_type == "Polygon"], object)
    return before, named(new)


@pytest.fixture(scope="module")
def both(years, tmp_path_factory):
    """The same maps as partitions and as one file each, under the same names."""
    folder = tmp_path_factory.mktemp("both")
    patch = pytest.MonkeyPatch()
    patch.setattr(row_groups, "ROWS", 128)
    (folder / "one").mkdir()
    for label, frame in zip(("2023", "2024"), years, strict=True):
        table = write_table(frame, folder / f"{label}.parquet")
        options = country.MergeOptions(level=4)
        maps = country.merge_maps([table], folder / label, options)
        assert len(maps.parts) > 1
        tables = [pq.read_table(part.path) for part in maps.parts]
        # the other way round, in other row groups
        about = dict(tables[0].schema.metadata)
        geo = json.loads(about[b"geo"])
        geo["columns"]["geometry"]["bbox"] = list(maps.box)
        about[b"geo"] = json.dumps(geo).encode()
        pq.write_table(
            pa.concat_tables(tables[::-1]).replace_schema_metadata(about),
            folder / "one" / f"{label}.parquet",
            row_group_size=500,
        )
    patch.undo()
    return folder


def whole(change):
    """All rows of a result, and the rest of its folder."""
    tables = [pq.ParquetFile(part.path).read() for part in change.maps.parts]
    rows = pa.concat_tables(tables)
    said = json.loads((change.folder / "change.json").read_text("utf-8"))
    said.pop("maps")
    lineage = pq.read_table(change.folder / "lineage.parquet").to_pandas()
    order = [name for name in lineage if name in ("from_id", "to_id", "outcome")]
    lineage = lineage.sort_values(order, ignore_index=True)
    texts = [(change.folder / name).read_text("utf-8") for name in ("summary.csv",)]
    return rows, lineage, said, texts


def test_merged_maps_equal_one_file_and_cells_do_not_matter(both, tmp_path, monkeypatch):
    first = country.compare_maps(both / "2023", both / "2024", tmp_path / "a")
    rows, lineage, said, texts = whole(first)
    assert rows.num_rows > 1000
    years = both / "one" / "2023.parquet", both / "one" / "2024.parquet"
    for order in (10, 14):
        monkeypatch.setattr(neighbourhoods, "FINE", order)
        other = whole(country.compare_maps(*years, tmp_path / f"one-{order}"))
        assert other[0].equals(rows)
        pd.testing.assert_frame_equal(other[1], lineage)
        assert other[2] == said
        assert other[3] == texts


def test_outcomes_are_those_of_an_independent_count(both, years, tmp_path):
    """Areas by GeoPandas' overlay in an equal-area projection, groups by following links."""
    change = country.compare_maps(both / "2023", both / "2024", tmp_path / "change")
    told = table_of(change)
    one, other = (
        geopandas.read_parquet(both / "one" / f"{label}.parquet").to_crs("EPSG:3035")
        for label in ("2023", "2024")
    )
    size = (
        dict(zip(one["id"], one.area, strict=True)),
        dict(zip(other["id"], other.area, strict=True)),
    )
    halves = one[["id", "geometry"]], other[["id", "geometry"]]
    shared = geopandas.overlay(*halves, keep_geom_type=True)
    shared = shared.assign(shared=shared.area)
    links, covered = {}, {}
    for a, b, area in zip(shared["id_1"], shared["id_2"], shared["shared"], strict=True):
        covered[a, 0], covered[b, 1] = covered.get((a, 0), 0) + area, covered.get((b, 1), 0) + area
        if area > 0.5 * min(size[0][a], size[1][b]):
            links.setdefault((a, 0), set()).add((b, 1))
            links.setdefault((b, 1), set()).add((a, 0))
    wanted = {}
    for key in [*((a, 0) for a in size[0]), *((b, 1) for b in size[1])]:
        group, open_ones = {key}, [key]
        while open_ones:
            fresh = links.get(open_ones.pop(), set()) - group
            group |= fresh
            open_ones += fresh
        n, m = sum(side == 0 for _, side in group), sum(side == 1 for _, side in group)
        if len(group) == 1:
            half = covered.get(key, 0) > 0.5 * size[key[1]][key[0]]
            wanted[key] = "redrawn" if half else ("gone", "appeared")[key[1]]
        else:
            wanted[key] = (
                "one" if n == m == 1 else "split" if n == 1 else "merged" if m == 1 else "redrawn"
            )
    now = told[told["change:outcome"] != "gone"]
    found = {
        name: "one" if outcome in ("kept", "moved") else outcome
        for name, outcome in zip(now["change:map_id"], now["change:outcome"], strict=True)
    }
    assert found == {name: kind for (name, side), kind in wanted.items() if side == 1}
    gone = set(told.loc[told["change:outcome"] == "gone", "change:map_id"])
    assert gone == {name for (name, side), kind in wanted.items() if side == 0 and kind == "gone"}
    kinds = pd.Series(list(found.values())).value_counts()
    assert {"one", "split", "appeared"} <= set(kinds.index)
    assert told["id"].is_unique


def test_districts_add_up_and_duckdb_reads_it(both, tmp_path):
    west, south, east, north = country.open_maps(both / "2023").box
    middle = (west + east) / 2
    boxes = shapely.box([west - 1, middle], [south - 1] * 2, [middle, east + 1], [north + 1] * 2)
    names = ["A", "NA"]  # Namibia's code, which readers of tables take for nothing
    districts = geopandas.GeoDataFrame({"name": names}, geometry=boxes, crs=CRS84)
    districts.to_file(tmp_path / "districts.geojson")
    change = country.compare_maps(
        both / "2023", both / "2024", tmp_path / "c", districts=tmp_path / "districts.geojson"
    )
    by = change.districts
    assert by["district"].unique().tolist() == ["A", "NA", "(none)"]
    total = by.groupby("outcome", sort=False)[["fields_before", "fields_after"]].sum()
    whole_map = change.summary.set_index("outcome")[["fields_before", "fields_after"]]
    pd.testing.assert_frame_equal(total, whole_map)
    assert by[by["district"] == "(none)"]["fields_after"].sum() == 0
    assert by[by["district"] == "A"]["fields_after"].sum() > 0
    counted = duckdb.sql(
        f"select \"change:outcome\", count(*) from '{change.folder}/maps/*/*.parquet' group by 1"
    ).fetchall()
    wanted = change.summary.set_index("outcome")["fields_after"].to_dict()
    wanted["gone"] = change.summary.set_index("outcome").loc["gone", "fields_before"]
    assert dict(counted) == {name: count for name, count in wanted.items() if count}
    assert sum(unit.fields for unit in country.count_fields(change.maps)) == change.maps.rows


def test_districts_of_one_name_are_two_rows_of_the_page():
    """The table beside it has two, and the page added them up."""
    outcomes = ("kept", "gone", "appeared", "unknown")
    table = pd.DataFrame(
        {
            "district": ["Neustadt"] * 8,
            "outcome": outcomes * 2,
            "fields_before": [5, 2, 0, 0, 7, 0, 0, 0],
            "fields_after": [5, 0, 3, 0, 7, 0, 1, 0],
        }
    )
    said = change_maps_page._district_section(SimpleNamespace(districts=table))
    rows = re.findall(r"Neustadt.*?</tr>", said, re.DOTALL)
    assert [re.findall(r">(\d+)<", row) for row in rows] == [
        ["5", "2", "3", "0"],
        ["7", "0", "1", "0"],
    ]


def test_exchanged_years_exchange_outcomes(both, tmp_path):
    there = country.compare_maps(both / "2023", both / "2024", tmp_path / "a").summary
    back = country.compare_maps(both / "2024", both / "2023", tmp_path / "b").summary
    swap = {"split": "merged", "merged": "split", "appeared": "gone", "gone": "appeared"}
    back = back.assign(outcome=back["outcome"].replace(swap)).set_index("outcome")
    back = back.loc[there["outcome"]]
    for one, other in (("fields_before", "fields_after"), ("ha_after", "ha_before")):
        assert there[one].tolist() == pytest.approx(back[other].tolist())


def test_what_was_stopped_goes_on(both, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhoods, "FINE", 14)
    whole_one = country.compare_maps(both / "2023", both / "2024", tmp_path / "whole")
    done, compare = [], change_maps._compare_cell

    def stops(run, cell, box):
        if len(done) == 4:
            raise KeyboardInterrupt
        compare(run, cell, box)
        done.append(cell)

    monkeypatch.setattr(change_maps, "_compare_cell", stops)
    with pytest.raises(KeyboardInterrupt):
        country.compare_maps(both / "2023", both / "2024", tmp_path / "change")
    assert not (tmp_path / "change").exists()

    def counts(run, cell, box):
        assert cell not in done
        compare(run, cell, box)

    monkeypatch.setattr(change_maps, "_compare_cell", counts)
    again = country.compare_maps(both / "2023", both / "2024", tmp_path / "change")
    assert whole(again)[0].equals(whole(whole_one)[0])
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert left == ["change", "whole"]


def test_ids_that_name_no_place_and_ids_that_are_taken(tmp_path):
    """Later ids that an earlier, other field had get a number; foreign ids become geohashes."""
    small = drawn((0, 0, 300, 300), (400, 0, 500, 100))
    later = drawn((140, 140, 160, 160), (400, 0, 500, 100))
    later.loc[0, "id"] = small.loc[0, "id"]
    foreign = small.assign(id=["1", "2"])
    write_table(foreign, tmp_path / "a.parquet")
    write_table(later, tmp_path / "b.parquet")
    change = country.compare_maps(tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c")
    found = table_of(change)
    # the one inside the large one is related to it, and alone: it goes on under its id
    assert set(found["change:before"]) <= set(found["id"])
    assert set(found["id"]) == set(small["id"])
    lone = drawn((0, 0, 300, 300))
    beside = drawn((149, 149, 151, 151), (0, 0, 300, 149), (0, 151, 300, 300))
    beside.loc[0, "id"] = lone.loc[0, "id"]
    write_table(lone, tmp_path / "d.parquet")
    write_table(beside, tmp_path / "e.parquet")
    change = country.compare_maps(tmp_path / "d.parquet", tmp_path / "e.parquet", tmp_path / "f")
    found = table_of(change).set_index("change:map_id")
    assert found["change:outcome"].tolist() == ["split"] * 3
    assert found["id"].is_unique
    assert found.loc[lone.loc[0, "id"], "id"] == f"{lone.loc[0, 'id']}-2"


def test_bad_input_is_said(drawn_maps, tmp_path):
    a, b = drawn_maps / "2023", drawn_maps / "2024"
    with pytest.raises(UnreadableFile, match="not a merged map"):
        country.compare_maps(tmp_path, b, tmp_path / "out")
    change = country.compare_maps(a, b, tmp_path / "out")
    with pytest.raises(OutputExists):
        country.compare_maps(a, b, tmp_path / "out")
    with pytest.raises(BadInput, match="result of a comparison already"):
        country.compare_maps(change.folder / "maps", b, tmp_path / "more")
    with pytest.raises(BadInput, match="pixel of 0"):
        country.MapChangeOptions(pixel=0)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "precious").touch()
    with pytest.raises(OutputFailed, match="not an unfinished comparison"):
        country.compare_maps(a, b, tmp_path / "more", work=tmp_path / "work")
    assert (tmp_path / "work" / "precious").exists()
    with pytest.raises(UnreadableFile, match="compare again"):
        country.open_change(tmp_path / "work")


def test_a_map_that_is_compared_is_never_replaced_by_the_result(drawn_maps, tmp_path):
    """With force the folder that is written is replaced as a whole: a year's map was gone."""
    for label in ("2023", "2024"):
        shutil.copytree(drawn_maps / label, tmp_path / "maps" / label)
    years = [tmp_path / "maps" / label for label in ("2023", "2024")]
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    for out in (*years, tmp_path / "maps"):
        for compare in (
            lambda out=out: country.compare_maps(*years, out, force=True),
            lambda out=out: country.compare_maps(*map(str, years), out, force=True),
            lambda out=out: country.compare_series(years, out, force=True),
            lambda out=out: country.compare_plans(*years, out, force=True),
            lambda out=out: country.compare_plans(f"{years[0]},{years[0]}", years[1], out),
        ):
            with pytest.raises(BadInput, match="would be lost: write to another folder"):
                compare()
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


def run(*words):
    return CliRunner().invoke(change_command, [str(word) for word in words])


def test_the_command_writes_a_page(drawn_maps, tmp_path):
    a, b = drawn_maps / "2023", drawn_maps / "2024"
    middle = 20 + 850 / DEGREE
    boxes = shapely.box([19, middle], [-1, -1], [middle, 21], [1, 1])
    geopandas.GeoDataFrame({"code": ["W", "E"]}, geometry=boxes, crs=CRS84).to_file(
        tmp_path / "units.geojson"
    )
    words = ("--districts", tmp_path / "units.geojson", "--district-column", "code")
    done = run(a, b, "-o", tmp_path / "out", "--json", *words)
    assert done.exit_code == 0, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["years"], last["path"]) == (["2023", "2024"], str(tmp_path / "out/report.html"))
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    for said in ("2023 to 2024", "By district", "do not say where each map looked", "data:image"):
        assert said in text
    # the moved, the gone and the appeared field lie in the east
    table = pd.read_csv(tmp_path / "out" / "districts.csv").set_index(["district", "outcome"])
    assert table.loc[("E", "moved")].tolist()[:2] == table.loc[("W", "merged")].tolist()[1:2] * 2
    assert table.loc[("W", "gone"), "fields_before"] == 0
    # boundaries that moved by less than two pixels of ten metres on the mean are kept
    wide = run(a, b, "-o", tmp_path / "wide", "--pixel", "20")
    assert wide.exit_code == 0
    assert "moved" not in wide.stderr
    beside = run(
        drawn_maps / "2023.parquet", drawn_maps / "2024.parquet", "-o", tmp_path / "t", "--tables"
    )
    assert beside.exit_code == 0
    assert pd.read_csv(tmp_path / "t/summary.csv").equals(pd.read_csv(tmp_path / "out/summary.csv"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rule", "paper"), "compared by their tables alone"),
        (("--district-column", "code"), "--districts FILE"),
    ],
)
def test_options_without_effect_are_refused(drawn_maps, tmp_path, words, said):
    done = run(drawn_maps / "2023", drawn_maps / "2024", "-o", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_one_map_is_refused(drawn_maps, tmp_path):
    done = run(drawn_maps / "2023", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "wanted are two" in done.stderr
