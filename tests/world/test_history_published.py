"""Nine published years of a planted place: outcomes beside the planted lineage; runs that stop."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from click.testing import CliRunner

from selion.cli.history import history_command
from selion.errors import BadInput, OutputExists
from selion.pipeline.maps import MapOptions
from selion.runners import RunnerOptions
from selion.simulation.published import simulate_published
from selion.world import years as world_years
from selion.world.years import map_years, parse_years

POOR = 2024
OUTCOMES = ("split", "merged", "appeared", "gone")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return simulate_published(tmp_path_factory.mktemp("copy") / "world", "plain", tile=512)


@pytest.fixture(scope="module")
def area(copy):
    """All that the tile owns, in degrees: more events than in the copy's own area."""
    square = geopandas.GeoSeries(
        [shapely.box(*copy.tiles[0].square)], crs=f"EPSG:{copy.tiles[0].epsg}"
    )
    west, south, east, north = square.to_crs("OGC:CRS84").total_bounds
    inset = 2e-4
    return west + inset, south + inset, east - inset, north - inset


@pytest.fixture(scope="module")
def history(copy, area, tmp_path_factory):
    out = tmp_path_factory.mktemp("history") / "out"
    arguments = [
        ",".join(map(str, area)), "--years", "2017-2025",
        "--from", f"ftw-2e@{copy.address}", "-o", str(out),
    ]  # fmt: skip
    result = CliRunner().invoke(history_command, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return out, result


def same(one, other):
    """Pairs of rows (positions) whose outlines have more than half of their union in common."""
    left, right = other.sindex.query(one.geometry, predicate="intersects")
    a, b = (
        frame.geometry.reset_index(drop=True).iloc[rows].reset_index(drop=True)
        for frame, rows in ((one, left), (other, right))
    )
    shared = a.intersection(b).area
    good = (shared / (a.area + b.area - shared) > 0.5).to_numpy()
    return dict(zip(left[good], right[good], strict=True))


def _named(words, year, found, names, inner):
    """(outcome, year, planted field); those that are no planted field count, those outside not."""
    named = [names.iloc[found[k]] if k in found else -k - 1 for k in range(len(words))]
    return {
        (word, year, name)
        for word, name in zip(words, named, strict=True)
        if name in inner or name < 0
    }


def test_lineage_is_as_planted(copy, area, history):
    """Precision and recall of each outcome, told from outlines and the planted table alone."""
    out, _ = history
    crs = f"EPSG:{copy.tiles[0].epsg}"
    planted = pd.read_csv(copy.lineage)
    long = geopandas.read_parquet(out / "history.long.parquet")
    long = long[long.within(shapely.box(*area))].to_crs(crs)  # others are cut off with the map
    table = geopandas.read_parquet(out / "history.parquet")
    told, true = set(), set()
    ground = shapely.box(*area)
    for year in range(2018, 2026):
        truth = {
            when: geopandas.read_parquet(copy.truth[when]).to_crs(crs) for when in (year - 1, year)
        }
        inner = {
            when: set(frame["field"][frame.to_crs("OGC:CRS84").within(ground)])
            for when, frame in truth.items()
        }
        rows = planted[planted["year_to"] == year]
        for row in rows[rows["outcome"].isin(OUTCOMES)].itertuples():
            gone = row.outcome == "gone"
            name, when = (row[3], year - 1) if gone else (row[4], year)
            if name in inner[when]:
                true.add((row.outcome, year, name))
        mine = long[(long["year"] == year) & long["outcome"].isin(OUTCOMES)].reset_index(drop=True)
        found = same(mine, truth[year])
        told |= _named(mine["outcome"], year, found, truth[year]["field"], inner[year])
        at = year - 2017
        left = set(table["id"][[outcomes[at] == "gone" for outcomes in table["outcome"]]])
        last = long[long["id"].isin(left)].sort_values("year").drop_duplicates("id", keep="last")
        found = same(last, truth[year - 1])
        words = pd.Series(["gone"] * len(last))
        told |= _named(words, year, found, truth[year - 1]["field"], inner[year - 1])
    assert len(true) >= 12
    for outcome in OUTCOMES:
        mine = {key for key in true if key[0] == outcome}
        assert len(mine & told) >= 0.9 * len(mine), (outcome, mine - told)
    # a field that noise divides in the very first year has no year before that would tell
    assert len(true & told) >= 0.9 * len(told), told - true


def test_one_id_and_the_poor_year_is_named(copy, area, history):
    out, result = history
    facts = json.loads((out / "history.json").read_text())
    assert [y for y, one in facts["years"].items() if one["under_detected"]] == [str(POOR)]
    assert f"{POOR} is under-detected as a whole" in result.stderr
    assert any("CC-BY-4.0" in note and "2017" in note for note in facts["maps"])
    assert "CC-BY-4.0" in (out / "report.html").read_text()
    assert facts["years"]["2025"]["counts"]["appeared"] == 0
    assert facts["years"][str(POOR)]["counts"]["gone"] == 0
    table = geopandas.read_parquet(out / "history.parquet")
    before = {y: one["counts"]["fields"] for y, one in facts["years"].items()}
    assert before[str(POOR)] < 0.8 * before["2023"]
    kept = np.array([seen[6] and seen[8] for seen in table["seen"]])
    assert kept.sum() == before["2025"], "every field of 2025 is one of 2023"
    fused = geopandas.read_parquet(out / "fields.parquet")
    crs = f"EPSG:{copy.tiles[0].epsg}"
    truth = geopandas.read_parquet(copy.truth[2025]).to_crs(crs)
    whole = truth[truth.to_crs("OGC:CRS84").within(shapely.box(*area))]
    assert len(same(whole, fused.to_crs(crs))) >= 0.97 * len(whole)


def arguments(copy):
    return f"ftw-2e@{copy.address}", copy.area, (2017, 2018, 2019, 2020)


def test_a_run_that_stops_goes_on_and_ends_with_the_same_bytes(copy, tmp_path, monkeypatch):
    edition, area, years = arguments(copy)
    whole = map_years(edition, area, years, tmp_path / "whole")
    done = []
    usual = world_years.map_published

    def stopped(edition, place, year, *rest, **options):
        done.append(year)
        if year == 2019 and done.count(2019) == 1:
            raise KeyboardInterrupt
        return usual(edition, place, year, *rest, **options)

    monkeypatch.setattr(world_years, "map_published", stopped)
    with pytest.raises(KeyboardInterrupt):
        map_years(edition, area, years, tmp_path / "again")
    notes = []
    again = map_years(edition, area, years, tmp_path / "again", on_note=notes.append)
    assert done == [2017, 2018, 2019, 2019, 2020]
    assert sum("kept" in note for note in notes) == 2
    for one, other in zip(whole, again, strict=True):
        for name in ("fields.parquet", "fields.scores.tif", "run.json"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_what_is_there_is_of_the_same_run_or_refused(copy, tmp_path):
    edition, area, years = arguments(copy)
    folders = map_years(edition, area, years[:2], tmp_path / "years")
    other = MapOptions(min_area=5_000)
    with pytest.raises(OutputExists, match="made from something else"):
        map_years(edition, area, years[:2], tmp_path / "years", other)
    before = folders[0].joinpath("fields.parquet").read_bytes()
    processes = MapOptions(runner=RunnerOptions("processes", 2))
    notes = []
    map_years(edition, area, years[:2], tmp_path / "years", processes, on_note=notes.append)
    assert sum("kept" in note for note in notes) == 2, "who does the blocks does not count"
    assert folders[0].joinpath("fields.parquet").read_bytes() == before
    map_years(edition, area, years[:2], tmp_path / "years", other, force=True)
    frame = geopandas.read_parquet(folders[0] / "fields.parquet")
    assert frame["metrics:area"].min() >= 5_000


def test_a_year_whose_source_has_changed_is_not_kept(tmp_path):
    copy = simulate_published(tmp_path / "world", "plain", years=(2018, 2019), tile=512)
    edition, area, years = f"ftw-2e@{copy.address}", copy.area, (2018, 2019)
    first, second = map_years(edition, area, years, tmp_path / "years")
    before = [folder.joinpath("fields.parquet").read_bytes() for folder in (first, second)]
    (old,) = copy.address.glob("raster/2018/**/*.tif")
    (new,) = copy.address.glob("raster/2019/**/*.tif")
    old.write_bytes(new.read_bytes())
    with pytest.raises(OutputExists, match="made from something else"):
        map_years(edition, area, years, tmp_path / "years")
    notes = []
    map_years(edition, area, years, tmp_path / "years", force=True, on_note=notes.append)
    assert [note for note in notes if "kept" in note] == ["2019 was finished before, and is kept."]
    assert first.joinpath("fields.parquet").read_bytes() != before[0]
    assert second.joinpath("fields.parquet").read_bytes() == before[1]


def test_years_are_read_and_refused(copy):
    assert parse_years("2017-2019,2021") == (2017, 2018, 2019, 2021)
    for text in ("2017", "seven", "2019-2017", ""):
        with pytest.raises(BadInput, match="two or more"):
            parse_years(text)
    with pytest.raises(BadInput, match=r"has no 1999"):
        map_years(f"ftw-2e@{copy.address}", copy.area, (1999, 2017), "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--land-cover", "none.tif", "--land-cover-crops", "40"), "does not exist"),
        (("--elevation", "none.tif"), "does not exist"),
        (("--districts", "DISTRICTS", "--district-column", "nome"), "did you mean 'name'"),
        (("--reference", "DISTRICTS", "--reference-year", "2016"), "is said to be of 2016"),
        (("--reference", "DISTRICTS", "--reference-column", "nome"), "did you mean 'name'"),
    ],
)
def test_what_attributes_lack_is_said_before_a_year_is_mapped(copy, area, tmp_path, options, words):
    districts = tmp_path / "districts.geojson"
    geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shapely.box(*area)], crs="OGC:CRS84").to_file(
        districts
    )
    said = [str(districts) if word == "DISTRICTS" else word for word in options]
    out = tmp_path / "out"
    arguments = [",".join(map(str, area)), "--years", "2024-2025", "-o", str(out), *said]
    result = CliRunner().invoke(history_command, [*arguments, "--from", f"ftw-2e@{copy.address}"])
    assert words in str(result.exception)
    assert not out.exists()


def test_fused_probabilities_of_published_ones_are_called_so(history):
    out, _ = history
    with rasterio.open(out / "fused.scores.tif") as fused:
        assert json.loads(fused.tags()["provenance"]) == {"product": "probabilities"}
