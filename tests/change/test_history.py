"""Many years: what was drawn is found again, by outcome; one id each; the fused map is quieter."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import geopandas
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from change_scenes import boxes, write_year
from history_scenes import GRID, POOR, YEARS, cell_of, plant, write_years
from selion import store
from selion.change import fusion, sequence, sides, step
from selion.change.fusion import pool
from selion.change.history import join_years
from selion.errors import BadInput, OutputExists


@pytest.fixture(scope="module")
def planted():
    return plant()


@pytest.fixture(scope="module")
def joined(planted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    given = write_years(planted, folder / "maps")
    notes = []
    return given, join_years(given, folder / "out", on_note=notes.append), notes


@pytest.fixture(scope="module")
def table(joined):
    frame = geopandas.read_parquet(joined[1].folder / "history.parquet")
    points = frame.to_crs(GRID.crs.to_wkt()).geometry.representative_point()
    boxes = frame.to_crs(GRID.crs.to_wkt()).geometry.bounds
    middle = zip((boxes.minx + boxes.maxx) / 2, (boxes.miny + boxes.maxy) / 2, strict=True)
    assert len(points) == len(frame)
    return frame.assign(cell=[cell_of(x, y) for x, y in middle])


def events(table):
    """Read (outcome, year, cell) out of the lists."""
    found = Counter()
    for row in table.itertuples():
        for year, outcome, seen in zip(row.years, row.outcome, row.seen, strict=True):
            if outcome in ("split", "merged", "appeared") and seen:
                found[outcome, int(year), row.cell] += 1
            if outcome == "gone":
                found[outcome, int(year), row.cell] += 1
    return found


def test_outcomes_are_those_that_were_planted(planted, table):
    found = events(table)
    scores = {}
    for outcome in ("split", "merged", "appeared", "gone"):
        true, told = (
            Counter({key: n for key, n in one.items() if key[0] == outcome})
            for one in (planted.events, found)
        )
        right = sum((true & told).values())
        scores[outcome] = right / max(sum(told.values()), 1), right / sum(true.values())
    assert scores == dict.fromkeys(scores, (1.0, 1.0)), (found - planted.events, scores)


def test_one_id_through_all_years(planted, table):
    still = table[table["cell"].isin(planted.still)]
    assert len(still) == len(planted.still), "no field that stays has two ids"
    assert (still["first_year"] == 2017).all()
    assert (still["last_year"] == 2025).all()
    missing = {
        (int(year), row.cell)
        for row in still.itertuples()
        for year, seen in zip(row.years, row.seen, strict=True)
        if not seen
    }
    assert missing == planted.hidden
    assert {
        outcome
        for row in still.itertuples()
        for outcome, seen in zip(row.outcome, row.seen, strict=True)
        if not seen
    } == {"not seen"}
    assert (still["stability"] == 1).all()
    assert table["id"].is_unique


def test_the_poor_year_is_named(joined, planted):
    _, result, notes = joined
    years = result.facts["years"]
    assert [int(year) for year in years if years[year]["under_detected"]] == [POOR]
    assert any(f"{POOR} is under-detected as a whole" in note for note in notes)
    assert years["2020"]["counts"]["not_seen"] == 1
    hidden = sum(year == POOR for year, _ in planted.hidden)
    assert years[str(POOR)]["counts"]["not_seen"] == hidden
    assert years[str(POOR)]["counts"]["fields"] == len(np.unique(planted.ids[POOR])) - 1
    flanked = result.facts["years"][str(POOR)]["missed"]
    assert flanked == pytest.approx(hidden / planted.true[POOR].max(), abs=0.02)


@pytest.mark.parametrize("poor", [2017, 2025])
def test_a_poor_year_at_an_end_is_no_birth_and_no_death(tmp_path, poor):
    planted = plant(3, poor=0)
    keep = planted.ids[poor].copy()
    lost = np.flatnonzero(np.arange(keep.max() + 1) % 3 == 1)
    keep[np.isin(keep, lost)] = 0
    planted.ids[poor] = np.unique(keep, return_inverse=True)[1].reshape(keep.shape).astype(np.int32)
    result = join_years(write_years(planted, tmp_path / "maps"), tmp_path / "out")
    assert result.facts["years"][str(poor)]["under_detected"]
    frame = pd.read_csv(tmp_path / "out" / "lineage.csv")
    after, outcome = {2017: (2018, "appeared"), 2025: (2025, "gone")}[poor]
    assert not (frame[frame["to_year"] == after]["outcome"] == outcome).any()
    counts = result.facts["years"][str(poor)]["counts"]
    assert counts["not_seen"] >= len(lost) - 3
    told = geopandas.read_parquet(tmp_path / "out" / "history.parquet")
    assert told["id"].is_unique


def test_long_form_has_the_years_as_they_were(joined, planted):
    _, result, _ = joined
    long = geopandas.read_parquet(result.folder / "history.long.parquet")
    assert long.groupby("year").size().to_dict() == {
        year: len(np.unique(ids)) - 1 for year, ids in planted.ids.items()
    }
    assert not long.duplicated(["id", "year"]).any()
    for year in (2017, POOR):
        own = geopandas.read_parquet(joined[0][YEARS.index(year)] / "fields.parquet")
        mine = long[long["year"] == year].set_index("map_id").loc[own["id"]]
        assert mine.geometry.geom_equals(own.geometry, align=False).all()


def test_other_readers_read_it(joined):
    duckdb = pytest.importorskip("duckdb")
    _, result, _ = joined
    for name in ("history.parquet", "history.long.parquet"):
        path = str(result.folder / name)
        rows = duckdb.sql(f"select count(*) from read_parquet('{path}')").fetchall()
        assert rows == [(len(geopandas.read_parquet(path)),)]
    path = str(result.folder / "history.parquet")
    told = duckdb.sql(
        f"select len(years), len(outcome), outcome[1] from read_parquet('{path}')"
        " where first_year = 2017 limit 1"
    ).fetchall()
    assert told == [(9, 9, "first")]


def test_lineage_and_summary(joined, planted):
    _, result, _ = joined
    lineage = pd.read_csv(result.folder / "lineage.csv")
    over = lineage[(lineage["from_year"] == POOR - 1) & (lineage["to_year"] == POOR + 1)]
    hidden = sum(year == POOR for year, _ in planted.hidden)
    assert (over["outcome"] == "kept").sum() == hidden
    assert (over["from_id"] == over["to_id"]).all()
    assert (lineage["outcome"] == "not seen").sum() == hidden + 1
    summary = pd.read_csv(result.folder / "summary.csv").set_index("year")
    for outcome in ("split", "merged", "appeared", "gone"):
        for year in YEARS:
            true = sum(n for key, n in planted.events.items() if key[:2] == (outcome, year))
            assert summary.loc[year, outcome] == true


def test_maps_of_outcomes(joined, planted):
    _, result, _ = joined
    source = store.open_raster(result.outcomes[YEARS.index(POOR)])
    assert json.loads(source.tags["classes"])["names"][8] == "not seen"
    values = source.read((slice(0, 240), slice(0, 240))).values[0]
    missing = (planted.ids[POOR] == 0) & (planted.true[POOR] > 0)
    assert (values[missing] == 8).all()
    assert (values[planted.true[POOR] == 0] == 0).all()
    assert (values[planted.ids[POOR] > 0] == 1).all()


def test_blocks_decide_nothing(joined, tmp_path, monkeypatch):
    given, result, _ = joined
    for module in (sides, step, fusion, sequence):
        monkeypatch.setattr(module, "BLOCK", 64)
    join_years(given, tmp_path / "out")
    for path in sorted(result.folder.iterdir()):
        if path.name != "history.json":
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_output_is_not_overwritten(joined):
    given, result, _ = joined
    with pytest.raises(OutputExists):
        join_years(given, result.folder)


def test_pools_by_hand():
    one, other = (np.array([[[a]], [[1 - a]]], np.float32) for a in (0.8, 0.5))
    both = [np.ones((1, 1), bool)] * 2
    assert pool([one, other], both, "mean")[0, 0, 0] == pytest.approx(0.65)
    # sqrt(.8 * .5) : sqrt(.2 * .5) = 2 : 1
    assert pool([one, other], both, "logits")[0, 0, 0] == pytest.approx(2 / 3)
    first = [np.ones((1, 1), bool), np.zeros((1, 1), bool)]
    assert pool([one, other], first, "mean")[0, 0, 0] == pytest.approx(0.8)
    with pytest.raises(BadInput, match="logits or mean"):
        pool([one], both[:1], "median")


def divided(*columns):
    """Ids of fields side by side, parted at the given columns."""
    ids = np.zeros((60, 60), np.int32)
    edges = [10, *columns, 50]
    for number, (left, right) in enumerate(pairwise(edges), 1):
        ids[10:40, left : right - 1] = number
    return ids


@pytest.mark.parametrize("other", [(30,), (22, 36), ()], ids=["split", "redrawn", "merged"])
def test_what_one_year_alone_divides_otherwise_is_passing(tmp_path, other):
    """Fields of the years around keep their ids, and nothing is split, merged or redrawn."""
    usual = () if other == (30,) else (28,) if other else (25, 40)
    given = [
        write_year(tmp_path / str(year), divided(*cuts), GRID[:60, :60], year=year)
        for year, cuts in ((2020, usual), (2021, usual), (2022, other), (2023, usual))
    ]
    result = join_years(given, tmp_path / "out")
    frame = geopandas.read_parquet(tmp_path / "out" / "history.parquet")
    lasting = frame[(frame["first_year"] == 2020) & frame["alive"]]
    assert len(lasting) == len(usual) + 1
    told = result.summary.drop(columns=["district", "year", "ha"]).sum()
    assert told[["split", "merged", "redrawn", "appeared", "gone", "moved"]].sum() == 0
    assert told["passing"] == len(other) + 1
    assert result.summary.set_index("year").loc[2023, "kept"] == len(usual) + 1


def test_the_last_change_is_found_by_hand():
    """Six years of one pixel; 1 / 2 + 1 / 4 or so is what the noise of two means comes to."""
    rows = np.array(
        [
            [3, 3, 3, 3, 3, 3],
            [3, 3, -3, -3, -3, -3],
            [3, -3, 3, 3, -3, -3],
            [3, 3, 3, -3, 3, 3],
            [3, 3, 3, 3, 3, 1.5],
        ],
        float,
    )
    found = rows.T[:, :, None]
    every = np.ones(found.shape, bool)
    odd = fusion.odd_years(found, every, 0.1)
    assert np.argwhere(odd[:, :, 0]).tolist() == [[1, 2], [3, 3]]
    since = fusion.last_change(found, every & ~odd, 0.1)[:, 0].tolist()
    # a single odd year between is no change, less than two log-odds is none either
    assert since == [0, 2, 4, 0, 0]
    # means of 2 and 4 years that are 6 apart are 6 / sqrt(1 / 2 + 1 / 4) = 6.9 of what one year is
    assert fusion.last_change(found, every, 1.97)[1, 0] == 2
    assert fusion.last_change(found, every, 1.99)[1, 0] == 0
    every[:2] = False
    assert fusion.last_change(found, every, 0.1)[1, 0] == 0


def test_only_unmoved_years_are_fused(tmp_path):
    """A field that grew in the last year but one is made of the last two years alone."""
    shape = (60, 60)
    given, marks = [], {}
    for year, right in ((2020, 30), (2021, 30), (2022, 45), (2023, 45)):
        ids = np.zeros(shape, np.int32)
        ids[10:40, 10:right] = 1
        ids[45:55, 10:50] = 2
        given.append(write_year(tmp_path / str(year), ids, GRID[:60, :60], year=year))
        marks[year] = ids
    result = join_years(given, tmp_path / "out")
    source = store.open_raster(result.folder / "fused.scores.tif")
    values = source.read((slice(0, 60), slice(0, 60))).values
    last = store.open_raster(given[-1] / "fields.scores.tif")
    own = last.read((slice(0, 60), slice(0, 60))).values
    assert np.array_equal(values[:, 10:40, 10:45], own[:, 10:40, 10:45])
    assert 30 * 14 <= result.facts["fusion"]["pixels_by_years"]["2"] <= 30 * 20
    frame = geopandas.read_parquet(result.folder / "history.parquet").set_index("stable_since")
    assert sorted(frame.index) == [2020, 2022]
    assert frame.loc[2022, "outcome"].tolist() == ["first", "kept", "moved", "kept"]


def test_years_in_the_wrong_order_are_refused(joined, tmp_path):
    later, earlier = joined[0][1], joined[0][0]
    with pytest.raises(BadInput, match=r"^[^\n]*2018, 2017[^\n]*the earliest first[^\n]*$"):
        join_years([later, earlier], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_hectares_of_a_country_are_told_to_the_last_digit(tmp_path):
    """A million of them was 1.23457e+06 in ``summary.csv``."""
    grid = GeoBox((60, 60), Affine(2000, 0, 400_000, 0, -2000, 5_300_000), "EPSG:32633")
    given = [
        write_year(tmp_path / str(year), boxes((1, 5, 5, 55, 55), shape=(60, 60)), grid, year=year)
        for year in (2020, 2021)
    ]
    result = join_years(given, tmp_path / "out")
    told = pd.read_csv(result.folder / "summary.csv", dtype=str)["ha"].tolist()
    frame = geopandas.read_parquet(result.folder / "history.long.parquet").sort_values("year")
    true = frame["metrics:area"].to_numpy(float) / 1e4
    assert true.min() > 900_000
    assert [float(text) for text in told] == pytest.approx(true.tolist(), abs=0.1)
    assert not any("e" in text for text in told)


def test_years_without_any_field_are_a_history_of_none(tmp_path):
    """A lake, or a desert: the counts of no field had no columns, with a traceback."""
    nothing = np.zeros((60, 60), np.int32)
    given = [
        write_year(tmp_path / str(year), nothing, GRID[:60, :60], year=year)
        for year in (2020, 2021)
    ]
    result = join_years(given, tmp_path / "out")
    told = pd.read_csv(result.folder / "summary.csv")
    assert told["year"].tolist() == [2020, 2021]
    assert told["fields"].tolist() == told["ha"].tolist() == [0, 0]
    assert len(geopandas.read_parquet(result.folder / "history.parquet")) == 0
    assert result.facts["years"]["2021"]["counts"]["gone"] == 0


def test_scores_of_published_fields_are_confidences_and_words_are_refused(tmp_path):
    """The fields of the published world say 80 for 0.8, and the history had no score of them."""
    given = []
    for year, score in ((2020, 80), (2021, 60)):
        folder = write_year(tmp_path / str(year), boxes((1, 5, 5, 25, 25)), year=year)
        frame = geopandas.read_parquet(folder / "fields.parquet")[["id", "geometry"]]
        (folder / "fields.parquet").unlink()
        frame.assign(score=np.int16([score])).to_file(folder / "fields.gpkg")
        given.append(folder)
    result = join_years(given, tmp_path / "out")
    history = geopandas.read_parquet(result.folder / "history.parquet")
    assert history["score"].tolist() == pytest.approx([0.7])
    assert history["confidences"][0].tolist() == pytest.approx([0.8, 0.6])
    frame.assign(confidence="high").to_file(given[1] / "fields.gpkg")
    with pytest.raises(BadInput, match=r"^[^\n]*confidence[^\n]*'high'[^\n]*0 to 1[^\n]*$"):
        join_years(given, tmp_path / "words")
    frame.assign(confidence=80.0).to_file(given[1] / "fields.gpkg")
    with pytest.raises(BadInput, match=r"80[^\n]*wanted are 0 to 1"):  # the doubt was below 0
        join_years(given, tmp_path / "percent")
