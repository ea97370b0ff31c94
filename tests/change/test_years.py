"""Two and three years, from files to files."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import affinity

import selion
from change_scenes import GRID, boxes, write_year
from command_line import run_here
from selion import fields, store
from selion.change import CHANGES, ChangeOptions, OutcomeOptions, sides, step
from selion.change.pixels import EMPTY, RULES, Scale, classify, compare_pixels, find_rule
from selion.classes import FTW3
from selion.errors import BadInput, OutputExists, UnknownName
from selion.grid import photo_grid, whole
from selion.raster import Raster
from selion.reports.change import write_report
from selion.simulation.landscape import simulate

ONE = boxes(
    (1, 10, 10, 40, 40),
    (2, 10, 45, 40, 75),
    (3, 50, 10, 80, 25),
    (4, 50, 25, 80, 40),
    (5, 50, 60, 80, 90),
    (6, 90, 90, 110, 120),
)
TWO = boxes(
    (1, 10, 10, 40, 40),
    (2, 10, 45, 40, 60),
    (3, 10, 60, 40, 75),
    (4, 50, 10, 80, 40),
    (5, 50, 60, 80, 102),
    (6, 90, 10, 110, 40),
)
THREE = boxes(
    (1, 10, 10, 40, 40),
    (2, 10, 45, 40, 60),
    (3, 10, 60, 40, 75),
    (4, 50, 10, 80, 40),
    (5, 50, 60, 80, 102),
    (6, 90, 90, 110, 120),
)


def values(path):
    source = store.open_raster(path)
    return source.read(whole(source.grid)).values[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("years")
    given = [write_year(folder / "2023", ONE), write_year(folder / "2024", TWO, year=2024)]
    return given, selion.compare_years(given, folder / "out")


def test_outcomes_are_in_the_table(pair):
    _, result = pair
    frame = fields.read_fields(result.steps[0].fields)
    counts = frame["change:outcome"].value_counts().to_dict()
    assert counts == {"kept": 1, "split": 2, "merged": 1, "moved": 1, "appeared": 1, "gone": 1}
    assert fields.check_fiboa(result.steps[0].fields) == []
    moved = frame[frame["change:outcome"] == "moved"].iloc[0]
    assert moved["change:iou"] == pytest.approx(30 / 42, abs=0.01)
    assert moved["change:shift"] == pytest.approx(60, abs=1)
    assert moved["change:share_before"] == pytest.approx(1)
    assert moved["change:share_after"] == pytest.approx(30 / 42, abs=0.01)
    assert moved["change:edge"] == pytest.approx(12 * 30 * 10 / (120 + 144) * 2, rel=0.02)
    merged = frame[frame["change:outcome"] == "merged"].iloc[0]
    assert merged["change:parents"] == 2
    assert len(merged["change:before"].split()) == 2
    assert {2023, 2024} == set(frame["determination:datetime"].dt.year)


def test_ids_follow_and_the_lineage_tells_of_the_rest(pair):
    given, result = pair
    before, after = (
        fields.read_fields(given[0] / "fields.parquet"),
        fields.read_fields(result.steps[0].fields),
    )
    stays = after[after["change:outcome"].isin(["kept", "moved", "gone"])]
    assert set(stays["id"]) <= set(before["id"])
    assert (stays["change:since"] == "2023").all()
    parts = after[after["change:outcome"] == "split"]
    line = result.lineage[result.lineage["outcome"] == "split"]
    assert set(line["to_id"]) == set(parts["id"])
    assert line["from_id"].nunique() == 1
    assert line["share_from"].sum() == pytest.approx(1)
    assert after["id"].is_unique
    lone = result.lineage.set_index("outcome")
    assert pd.isna(lone.loc["gone", "to_id"])
    assert pd.isna(lone.loc["appeared", "from_id"])


def test_the_maps_say_where(pair):
    _, result = pair
    change, fate = values(result.steps[0].change), values(result.steps[0].outcomes)
    names = dict(enumerate(CHANGES.names))
    assert {names[k] for k in np.unique(change)} == {"no field", "field", "gained", "lost"}
    assert (change[TWO == 6] == 2).all()
    assert (change[ONE == 6] == 3).all()
    assert (change[(ONE == 0) & (TWO == 0)] == 0).all()
    assert (fate[ONE == 6] == 7).all()
    assert (fate[TWO == 6] == 6).all()
    assert (fate[TWO == 1] == 1).all()
    assert (fate[np.isin(TWO, [2, 3])] == 3).all()
    source = store.open_raster(result.steps[0].outcomes)
    assert json.loads(source.tags["classes"])["names"][3] == "split"
    assert source.nodata == 255


def test_summary_and_page(pair):
    _, result = pair
    table = pd.read_csv(result.folder / "summary.csv").set_index("outcome")
    assert table.loc["split", ["fields_before", "fields_after"]].tolist() == [1, 2]
    assert table.loc["gone", "ha_before"] == pytest.approx(6.0, rel=0.01)
    text = write_report(result, force=True).read_text()
    assert "<h1>Change 2023 to 2024</h1>" in text
    assert 'src="data:image/jpeg' in text
    assert not list(result.folder.glob(".*"))


def test_a_year_against_itself_is_kept(pair, tmp_path):
    given, _ = pair
    result = selion.compare_years([given[0], given[0]], tmp_path / "out")
    assert set(fields.read_fields(result.steps[0].fields)["change:outcome"]) == {"kept"}
    for rule in RULES:
        again = selion.compare_years(
            [given[0], given[0]], tmp_path / "out", ChangeOptions(rule), force=True
        )
        assert set(np.unique(values(again.steps[0].change))) <= {0, 1}


def test_exchanged_years(pair, tmp_path):
    given, forth = pair
    notes = []
    back = selion.compare_years(given[::-1], tmp_path / "out", on_note=notes.append)
    assert "not later" in notes[0]
    there, here = (one.steps[0].summary.set_index("outcome") for one in (forth, back))
    for name, opposite in {
        "gone": "appeared",
        "appeared": "gone",
        "split": "merged",
        "merged": "split",
        "kept": "kept",
        "moved": "moved",
    }.items():
        assert there.loc[name, "fields_before"] == here.loc[opposite, "fields_after"]
        assert there.loc[name, "ha_after"] == here.loc[opposite, "ha_before"]
    swap = np.array([0, 1, 3, 2], np.uint8)
    assert np.array_equal(swap[values(forth.steps[0].change)], values(back.steps[0].change))


def test_blocks_decide_nothing(pair, tmp_path, monkeypatch):
    given, whole_run = pair
    for module in (sides, step):
        monkeypatch.setattr(module, "BLOCK", 64)
    result = selion.compare_years(given, tmp_path / "out")
    for name in ("change", "outcomes", "fields"):
        assert (
            getattr(result.steps[0], name).read_bytes()
            == getattr(whole_run.steps[0], name).read_bytes()
        )
    assert (tmp_path / "out" / "lineage.csv").read_bytes() == (
        whole_run.folder / "lineage.csv"
    ).read_bytes()


def test_a_cloud_is_no_outcome_and_hides_no_field_for_ever(tmp_path):
    cloud = np.zeros(ONE.shape, bool)
    cloud[85:115, 80:130] = True
    cloud[48:84, 5:50] = True
    given = [
        write_year(tmp_path / "a", ONE),
        write_year(tmp_path / "b", TWO, unseen=cloud, year=2024),
        write_year(tmp_path / "c", THREE, year=2025),
    ]
    result = selion.compare_years(given, tmp_path / "out")
    first, second = (one.summary.set_index("outcome") for one in result.steps)
    assert first.loc["gone", "fields_before"] == 0
    assert first.loc["unknown", "fields_before"] == 3
    fate = values(result.steps[0].outcomes)
    assert (fate[cloud] == 255).all()
    assert second.loc["merged", ["fields_before", "fields_after"]].tolist() == [2, 1], (
        "two fields under the cloud have become one since"
    )
    last = fields.read_fields(result.steps[1].fields)
    back = result.lineage[(result.lineage["from_year"] == "a") & (result.lineage["to_year"] == "c")]
    assert set(back["outcome"]) == {"kept", "merged"}
    returned = back[back["outcome"] == "kept"].iloc[0]
    assert returned["from_id"] == returned["to_id"]
    assert last.set_index("id").loc[returned["to_id"], "change:since"] == "a"


def test_what_a_cloud_hid_and_is_gone_by_now_is_in_the_table(tmp_path):
    """The summary, the lineage and the map counted it, and the table had the others alone."""
    one = boxes((1, 10, 10, 40, 40), (2, 10, 45, 40, 75), (3, 50, 60, 80, 90))
    two = np.where(one == 2, 0, one)
    three = np.where(one == 1, 1, 0)
    given = [
        write_year(tmp_path / "a", one),
        write_year(tmp_path / "b", two, unseen=one == 2, year=2024),
        write_year(tmp_path / "c", three, year=2025),
    ]
    result = selion.compare_years(given, tmp_path / "out")
    told = result.steps[1].summary.set_index("outcome").loc["gone"]
    frame = fields.read_fields(result.steps[1].fields)
    gone = frame[frame["change:outcome"] == "gone"].sort_values("determination:datetime")
    assert len(gone) == told["fields_before"] == 2
    assert gone["metrics:area"].sum() / 1e4 == pytest.approx(told["ha_before"], abs=0.01)
    assert gone["determination:datetime"].dt.year.tolist() == [2023, 2024]
    hidden = fields.read_fields(given[0] / "fields.parquet").set_index("id").loc[gone["id"].iloc[0]]
    assert gone.geometry.iloc[0].equals(hidden.geometry)
    assert gone["change:since"].tolist() == ["a", "a"]
    left = result.lineage[result.lineage["outcome"] == "gone"]
    assert set(left["from_id"]) == set(gone["id"])


def test_sizes_are_those_of_outlines_that_were_redrawn(tmp_path):
    """QGIS moves a corner and leaves the columns: summary and table had the size of before."""
    given = [write_year(tmp_path / name, ONE) for name in ("a", "b")]
    for folder in given:
        table = folder / "fields.parquet"
        frame = fields.read_fields(table)
        halves = frame.geometry.map(lambda one: affinity.scale(one, 0.5, 1.0))
        fields.write_fields(frame.set_geometry(halves), table, force=True)
    result = selion.compare_years(given, tmp_path / "out")
    drawn = fields.read_fields(given[0] / "fields.parquet")
    hectares = fields.measure(drawn.geometry.to_numpy(), drawn.crs.to_wkt())[0].sum() / 1e4
    told = result.steps[0].summary.set_index("outcome")
    assert told["ha_before"].sum() == pytest.approx(hectares, rel=1e-3)
    assert told["ha_after"].sum() == pytest.approx(hectares, rel=1e-3)
    after = fields.read_fields(result.steps[0].fields)
    assert after["metrics:area"].sum() / 1e4 == pytest.approx(hectares, rel=1e-3)


def test_columns_that_an_earlier_year_has_not_or_otherwise(tmp_path):
    """Whole numbers and yes or no ended in a traceback, and of what is gone it was said: yes."""
    one = boxes((1, 10, 10, 40, 40), (2, 50, 50, 80, 80))
    given = [
        write_year(tmp_path / "a", one),
        write_year(tmp_path / "b", np.where(one == 1, 1, 0), year=2024),
    ]
    big = 2**53 + 1  # which no float holds
    for place, own in (
        (given[0], {"crop": ["wheat", "maize"], "height": [1.5, 2.5]}),
        (given[1], {"parcel": [big], "watered": [False], "crop": [7], "height": [3]}),
    ):
        table = place / "fields.parquet"
        frame = fields.read_fields(table).assign(**own)
        fields.write_fields(frame, table, fields.read_origin(table), force=True)
    table = selion.compare_years(given, tmp_path / "out").steps[0].fields
    here, gone = pyarrow.parquet.read_table(table).drop_columns("geometry").to_pylist()
    assert (here["parcel"], here["watered"]) == (big, False)
    assert (gone["parcel"], gone["watered"]) == (None, None)
    assert (here["crop"], gone["crop"]) == ("7", "maize")
    assert (here["height"], gone["height"]) == (3, 2.5)


def test_three_years_go_on(tmp_path):
    given = [
        write_year(tmp_path / name, ids, year=year)
        for name, ids, year in (("2023", ONE, 2023), ("2024", TWO, 2024), ("2025", THREE, 2025))
    ]
    result = selion.compare_years(given, tmp_path / "out")
    frames = [fields.read_fields(one.fields).set_index("id") for one in result.steps]
    kept = frames[0].index[frames[0]["change:outcome"] == "kept"]
    assert (frames[1].loc[kept, "change:outcome"] == "kept").all()
    assert (frames[1].loc[kept, "change:since"] == "2023").all()
    split = frames[0].index[frames[0]["change:outcome"] == "split"]
    assert (frames[1].loc[split, "change:outcome"] == "kept").all()
    gone = frames[0].index[frames[0]["change:outcome"] == "gone"]
    assert not set(gone) & set(frames[1].index), (
        "a field that comes back has a new id: nobody knows that it is the same"
    )
    new = frames[1].index[frames[1]["change:outcome"] == "appeared"]
    assert new[0] == f"{gone[0]}-2"
    assert [(step.years, step.change.name) for step in result.steps] == [
        (("2023", "2024"), "change_2023_2024.tif"),
        (("2024", "2025"), "change_2024_2025.tif"),
    ]


def test_of_two_tables_of_one_map_it_is_said_which_was_read(tmp_path):
    folders = [write_year(tmp_path / str(year), ONE, year=year) for year in (2023, 2024)]
    edited = fields.read_fields(folders[1] / "fields.parquet").iloc[1:]
    edited.to_file(folders[1] / "fields.gpkg")
    notes = []
    result = selion.compare_years(folders, tmp_path / "out", on_note=notes.append)
    table = result.steps[0].summary.set_index("outcome")
    assert table.loc["kept", "fields_after"] == 6
    told = f"{folders[1] / 'fields.parquet'} was read and not fields.gpkg beside it"
    assert [note.partition(":")[0] for note in notes] == [told]
    assert any(told in note for note in result.notes)
    notes.clear()
    named = [folders[0], folders[1] / "fields.gpkg"]
    result = selion.compare_years(named, tmp_path / "named", on_note=notes.append)
    table = result.steps[0].summary.set_index("outcome")
    assert table.loc["kept", "fields_after"] == 5
    assert notes == []


def test_another_grid_is_resampled_with_a_sentence(pair, tmp_path):
    given, _ = pair
    shifted = GeoBox(GRID.shape, GRID.transform * Affine.translation(0.5, 0.5), GRID.crs)
    other = write_year(tmp_path / "shifted", ONE, shifted, year=2024)
    notes = []
    result = selion.compare_years([given[0], other], tmp_path / "out", on_note=notes.append)
    assert any("resampled" in note for note in notes)
    assert set(result.steps[0].summary.set_index("outcome")["fields_after"].loc[["kept"]]) == {6}
    aside = write_year(tmp_path / "aside", ONE[:, 50:], GRID[:, 50:], year=2024)
    half = selion.compare_years([given[0], aside], tmp_path / "half")
    table = half.steps[0].summary.set_index("outcome")
    assert table.loc["gone", "fields_before"] == 0
    assert table.loc["unknown", "fields_before"] == 3


def test_degrees(tmp_path):
    grid = GeoBox((120, 160), Affine(1e-4, 0, 15.0, 0, -1e-4, 48.0), "EPSG:4326")
    given = [write_year(tmp_path / name, ids, grid) for name, ids in (("a", ONE), ("b", TWO))]
    frame = fields.read_fields(
        selion.compare_years(given, tmp_path / "out").steps[0].fields
    ).set_index("change:outcome")
    assert frame.loc["moved", "change:shift"] == pytest.approx(6 * 7.45, rel=0.02)
    assert frame.loc["moved", "change:iou"] == pytest.approx(30 / 42, abs=0.01)


def test_output_is_not_overwritten(pair):
    given, result = pair
    with pytest.raises(OutputExists, match="change_2023_2024"):
        selion.compare_years(given, result.folder)


def test_one_outlier_rescales_the_papers_rule_and_not_the_fixed_one():
    rng = np.random.default_rng(5)
    before = np.clip(rng.normal(0.5, 0.02, (40, 40)), 0, 1)
    after = before.copy()
    after[:20] += 0.1
    calm = [_changed(before, after, rule) for rule in RULES.values()]
    after[39, 39] = 0.999
    wild = [_changed(before, after, rule) for rule in RULES.values()]
    assert (calm[0], wild[0]) == (0, 0)
    assert calm[1] >= 800
    assert wild[1] == 1


def _changed(before, after, rule):
    parts = [
        (Raster(np.stack([1 - p, p, 0 * p]).astype(np.float32), GRID[:40, :40], FTW3.names), FTW3)
        for p in (before, after)
    ]
    change = compare_pixels(*parts, rule)
    scale = EMPTY.wider(change) if rule.scaled else Scale()
    return int((classify(change, rule, scale) > 1).sum())


def test_rules_are_named():
    with pytest.raises(UnknownName, match="fixed"):
        find_rule("fix")
    with pytest.raises(BadInput, match="between 0 and 1"):
        find_rule("paper", 1.5)
    assert find_rule("paper").threshold == 0.5


@pytest.mark.parametrize("style", ["europe", "mixed"])
def test_simulated_years_told_from_the_truth(style, tmp_path):
    scene = simulate(21, (320, 320), 10.0, style, years=2)
    grid = scene.instances.grid
    given = [
        write_year(tmp_path / name, one.instances.ids, grid)
        for name, one in (("a", scene), ("b", scene.next_year))
    ]
    result = selion.compare_years(
        given, tmp_path / "out", ChangeOptions(outcomes=OutcomeOptions(tolerance=0.2))
    )
    fate = values(result.steps[0].outcomes)
    table = {
        "same": "kept",
        "moved": "moved",
        "merged": "merged",
        "split": "split",
        "new": "appeared",
    }
    right = total = 0
    for row in scene.changes[scene.changes["after"] > 0].itertuples():
        if row.change in table:
            pixels = fate[scene.next_year.instances.ids == row.after]
            right += step.FATES.names[np.bincount(pixels).argmax()] == table[row.change]
            total += 1
    assert total > 30
    assert right / total > 0.93
    gone = scene.changes[scene.changes["change"] == "gone"]["before"]
    assert np.mean([np.bincount(fate[scene.instances.ids == k]).argmax() == 7 for k in gone]) > 0.8


def test_the_verb(pair, tmp_path):
    given, _ = pair
    call = ["change", *given, "-o", tmp_path / "out"]
    done = run_here(*call)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "report.html")
    assert "split" in done.stderr
    again = run_here(*call)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert "Traceback" not in again.stderr


def test_photographs_and_other_tables(pair, tmp_path):
    grid = photo_grid((120, 160))
    shots = [write_year(tmp_path / name, ids, grid) for name, ids in (("a", ONE), ("b", TWO))]
    result = selion.compare_years(shots, tmp_path / "out")
    assert result.steps[0].summary.set_index("outcome").loc["split", "fields_after"] == 2
    assert result.steps[0].pixels["gained"] == (TWO == 6).sum() + 12 * 30
    given, _ = pair
    frame = fields.read_fields(given[0] / "fields.parquet").drop(columns=["id", "metrics:area"])
    fields.write_fields(frame.assign(id=1.5), tmp_path / "own.gpkg")
    notes = []
    own = selion.compare_years(
        [(given[0] / "fields.scores.tif", tmp_path / "own.gpkg"), given[1]],
        tmp_path / "own",
        on_note=notes.append,
    )
    assert own.steps[0].summary.set_index("outcome").loc["kept", "fields_after"] == 1
    assert own.lineage["from_id"].nunique() == 6, "ids that are not unique are made so"
