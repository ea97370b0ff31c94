"""Three maps and more of a country by their tables: ids that go on, none that is given twice."""

import json
from itertools import pairwise

import geopandas
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely

from command_line import run_here
from country_partitions import CRS84, write_table
from plan_scenes import grid_of, named, table_of, write_map
from selion import change, country
from selion.country import change_series
from selion.errors import BadInput

STEP = 0.004


def square(x, y=0, width=0.8):
    """A parcel of some 300 by 450 m on a lattice."""
    return shapely.box(12 + x * STEP, 50 + y * STEP, 12 + (x + width) * STEP, 50 + (y + 0.8) * STEP)


HERE, MOVED, MOVED_ON = square(0), square(0.2), square(0.4)
WHOLE, LEFT, RIGHT = square(2), square(2, width=0.5), square(2.5, width=0.3)
ALONE = square(4)
YEARS = {
    "2022": [HERE, WHOLE, ALONE],
    "2023": [MOVED, LEFT, RIGHT],
    "2024": [MOVED_ON, LEFT, RIGHT, ALONE],
    "2025": [MOVED_ON, WHOLE, ALONE],
}
"""One that moves twice, so that its id names a place that it has left; one that is parted and whole
again; one that is gone for a year, and stands then where it was."""


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    for label, shapes in YEARS.items():
        frame = named(shapely.orient_polygons(shapes))
        table = write_table(
            frame.set_geometry(frame.geometry, crs=CRS84), folder / f"{label}.parquet"
        )
        country.merge_maps([table], folder / label)
    return folder


@pytest.fixture(scope="module")
def series(maps):
    return country.compare_series([maps / label for label in YEARS], maps / "change")


def row_of(step, shape):
    table = table_of(step)
    share = shapely.area(shapely.intersection(table.geometry.to_numpy(), shape))
    return table.iloc[share.argmax()]


def test_ids_go_on_through_all_years(series):
    assert [step.years for step in series.steps] == [
        ("2022", "2023"),
        ("2023", "2024"),
        ("2024", "2025"),
    ]
    first = named([HERE, WHOLE, ALONE])["id"].tolist()
    for step, shape in zip(series.steps, (MOVED, MOVED_ON, MOVED_ON), strict=True):
        assert row_of(step, shape)["id"] == first[0]
        assert row_of(step, shape)["change:since"] == "2022"
    assert [row_of(step, LEFT)["id"] for step in series.steps] == [first[1]] * 3
    parts = [row_of(step, RIGHT) for step in series.steps[:2]]
    assert parts[0]["id"] == parts[1]["id"] != first[1]
    assert {part["change:since"] for part in parts} == {"2023"}
    assert [row_of(step, LEFT)["change:outcome"] for step in series.steps] == [
        "split",
        "kept",
        "merged",
    ]
    assert row_of(series.steps[2], LEFT)["change:before"].split() == [first[1], parts[0]["id"]]


def test_an_id_is_never_given_twice(series):
    first = named([ALONE])["id"].tolist()[0]
    gone, back, stays = (row_of(step, ALONE) for step in series.steps)
    assert (gone["id"], gone["change:outcome"]) == (first, "gone")
    assert (back["id"], back["change:outcome"]) == (f"{first}-2", "appeared")
    assert (stays["id"], stays["change:outcome"]) == (f"{first}-2", "kept")


def test_lineage_and_summary_name_the_years(series):
    lines = [pq.read_table(step.folder / "lineage.parquet").to_pandas() for step in series.steps]
    for step, line in zip(series.steps, lines, strict=True):
        years = zip(line["from_year"].dropna(), line["to_year"], strict=False)
        assert set(years) == {step.years}
    # who a step leaves is who the next one begins with
    for line, later in pairwise(lines):
        assert set(line["to_id"].dropna()) == set(later["from_id"].dropna())
    table = pd.read_csv(series.folder / "summary.csv")
    assert table["years"].unique().tolist() == ["2022-2023", "2023-2024", "2024-2025"]


@pytest.mark.slow
def test_it_is_the_raster_rule(maps, series, tmp_path):
    """The same outlines as rasters, compared by the other road: the same outcomes and ids."""
    grid = grid_of((285_000, 5_542_000, 287_500, 5_543_500), "EPSG:32633")
    for label, shapes in YEARS.items():
        write_map(tmp_path / label, shapely.orient_polygons(shapes), grid, int(label))
    found = change.compare_years([tmp_path / label for label in YEARS], tmp_path / "out")
    for step, other in zip(series.steps, found.steps, strict=True):
        one, two = table_of(step), geopandas.read_parquet(other.fields)
        ours, theirs = (
            sorted(zip(each["id"], each["change:outcome"], each["change:since"], strict=True))
            for each in (one, two)
        )
        assert ours == theirs


@pytest.mark.slow
def test_a_stopped_series_goes_on(maps, series, tmp_path, monkeypatch):
    done, compare = [], change_series.compare_sides

    def stops(*given, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        return compare(*given, **options)

    years = [maps / label for label in YEARS]
    with monkeypatch.context() as patch:
        patch.setattr(change_series, "compare_sides", stops)
        with pytest.raises(KeyboardInterrupt):
            country.compare_series(years, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done.pop()
    monkeypatch.setattr(change_series, "compare_sides", stops)
    again = country.compare_series(years, tmp_path / "out")
    for one, other in zip(series.steps, again.steps, strict=True):
        pd.testing.assert_frame_equal(pd.DataFrame(table_of(one)), pd.DataFrame(table_of(other)))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_series_killed_after_it_got_its_name_gives_the_same_ids(
    maps, series, tmp_path, monkeypatch
):
    def killed(_):
        if (tmp_path / "out").exists():
            raise KeyboardInterrupt

    years = [maps / label for label in YEARS]
    with monkeypatch.context() as patch:
        patch.setattr(change_series, "clear_parts", killed)
        with pytest.raises(KeyboardInterrupt):
            country.compare_series(years, tmp_path / "out")
    again = country.compare_series(years, tmp_path / "out", force=True)
    for one, other in zip(series.steps, again.steps, strict=True):
        pd.testing.assert_frame_equal(pd.DataFrame(table_of(one)), pd.DataFrame(table_of(other)))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_the_command_line(maps, series, tmp_path):
    years = [maps / label for label in list(YEARS)[:3]]
    done = run_here("change", *years, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [step["years"] for step in told["steps"]] == [["2022", "2023"], ["2023", "2024"]]
    text = (tmp_path / "out" / "report.html").read_text()
    assert 'href="2022_2023/report.html"' in text
    assert (tmp_path / "out" / "2022_2023" / "report.html").is_file()
    done = run_here("change", *years, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "--force" in done.stderr
    with pytest.raises(BadInput, match="two or more"):
        country.compare_series(years[:1], tmp_path / "one")
    with pytest.raises(BadInput, match="all years in one command"):
        country.compare_maps(series.steps[0].folder / "maps", years[2], tmp_path / "two")
