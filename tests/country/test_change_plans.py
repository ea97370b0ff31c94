"""Change between two plans whose jobs ran, four of them over two UTM zones, beside one map of the
whole: the same outcomes, the same pixels, whatever the squares are.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Transformer

from command_line import run_here
from plan_scenes import (
    CRS84,
    DOMAIN,
    PIXEL,
    cells_of,
    grid_of,
    named,
    parcels,
    table_of,
    whole_grid,
    write_map,
    write_plan,
)
from report_pages import pictures
from selion import change, country, store
from selion.change import CHANGES, RULES
from selion.country import change_plans
from selion.country.change_pixels import SeenByBoth, rectangles
from selion.country.plan_scores import covered, moved_to, open_plan_scores
from selion.errors import BadInput, UnreadableFile
from selion.grid import whole
from selion.progress import silent
from selion.reports.change_imagery import find_images, kept_images
from selion.reports.change_maps import write_map_report

CLOUD = shapely.Point(11.985, 50.0).buffer(0.004)
"""West of the border of the zones; the later year did not see the ground below it."""


def outlines():
    """Parcels in two years, and by hand what became of those of the first: kept, gone, halved."""
    every, rng = parcels(), np.random.default_rng(4)
    have = rng.random(len(every)) < 0.85
    before = every[have]
    fate = rng.choice(["kept", "gone", "halved"], len(before), p=[0.6, 0.2, 0.2])
    later = list(before[fate == "kept"]) + list(every[~have][:10])
    for shape in before[fate == "halved"]:
        west, south, east, north = shape.bounds
        middle = (west + east) / 2
        for half in (
            shapely.box(west, south, middle, north),
            shapely.box(middle, south, east, north),
        ):
            later.append(shapely.set_precision(shapely.intersection(shape, half), 1e-8))
    return before, np.array(later, object), fate


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    before, after, fate = outlines()
    cells, grid = cells_of(), whole_grid()
    write_plan(folder / "2023", before, cells, 2023)
    write_plan(folder / "2024", after, cells, 2024, unseen=CLOUD)
    merged = country.merge_maps([folder / "2023"], folder / "maps" / "2023").folder
    write_map(folder / "whole-2023", before, grid, 2023)
    write_map(folder / "whole-2024", after, grid, 2024, unseen=CLOUD)
    return SimpleNamespace(
        folder=folder,
        before=before,
        after=after,
        fate=fate,
        cells=cells,
        first=f"{folder / '2023'},{merged}",
    )


@pytest.fixture(scope="module")
def compared(scene):
    notes = []
    out = scene.folder / "change"
    years = scene.folder / "2023", scene.folder / "2024"
    found = country.compare_plans(*years, out, on_note=notes.append)
    return SimpleNamespace(found=found, notes=notes, table=table_of(found))


def beside(one, other):
    """Match rows of two results by their outlines; each has its partner, or the test fails."""
    a, b = shapely.STRtree(one.geometry).query(other.geometry, predicate="intersects")
    first, second = one.geometry.to_numpy()[b], other.geometry.to_numpy()[a]
    share = shapely.area(shapely.intersection(first, second))
    share /= shapely.area(shapely.union(first, second))
    same = share > 0.98
    assert np.unique(b[same]).size == len(one) == np.unique(a[same]).size == len(other)
    return one.iloc[b[same]].reset_index(drop=True), other.iloc[a[same]].reset_index(drop=True)


def test_the_plans_lie_in_two_zones(scene):
    assert len(scene.cells) == 4
    assert {cell.crs for cell in scene.cells} == {"EPSG:32632", "EPSG:32633"}


def test_outcomes_are_those_of_one_map_of_the_whole(scene, compared):
    years = [scene.folder / "whole-2023", scene.folder / "whole-2024"]
    alone = change.compare_years(years, scene.folder / "whole")
    one = geopandas.read_parquet(alone.steps[0].fields)
    plans, one = beside(compared.table, one)
    assert plans["change:outcome"].tolist() == one["change:outcome"].tolist()
    assert {"kept", "split", "gone", "appeared", "unknown"} == set(plans["change:outcome"])
    # areas on the ellipsoid beside pixels of 10 m: less than 3 % of a field of 200 m differ
    for name in ("iou", "share_before", "share_after", "known"):
        column = f"change:{name}"
        known = plans["change:outcome"] != "unknown"
        plans, one = plans[known], one[known]
        np.testing.assert_allclose(plans[column], one[column], atol=0.03)
    wanted = alone.steps[0].summary
    names = ["outcome", "fields_before", "fields_after"]
    pd.testing.assert_frame_equal(compared.found.summary[names], wanted[names])
    np.testing.assert_allclose(
        compared.found.summary[["ha_before", "ha_after"]],
        wanted[["ha_before", "ha_after"]],
        rtol=1e-3,
    )


def test_outcomes_are_those_that_were_planted(scene, compared):
    table = compared.table.set_index("change:map_id")
    hidden = shapely.area(shapely.intersection(scene.before, CLOUD)) / shapely.area(scene.before)
    seen = named(scene.before)[(hidden < 0.01)]
    fate = scene.fate[hidden < 0.01]
    gone = table[table["change:outcome"] == "gone"]
    index = shapely.STRtree(gone.geometry.to_numpy())
    there = index.query(shapely.centroid(seen.geometry.to_numpy()), predicate="within")[0]
    assert np.unique(there).tolist() == np.flatnonzero(fate == "gone").tolist()


@pytest.mark.parametrize("rule", [pytest.param("fixed", marks=pytest.mark.slow), "paper"])
def test_pixels_are_those_of_one_map_where_the_grid_is_the_same(scene, tmp_path, rule):
    plans = (open_plan_scores(scene.folder / name) for name in ("2023", "2024"))
    seen = SeenByBoth(tmp_path / "seen", *plans, RULES[rule])
    held = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    seen.look(silent)
    if held:  # a country has more jobs than a process may have files
        assert len(list(Path("/proc/self/fd").iterdir())) <= held + 1
    seen.write(tmp_path)
    years = [scene.folder / "whole-2023", scene.folder / "whole-2024"]
    options = change.ChangeOptions(rule)
    alone = store.open_raster(
        change.compare_years(years, tmp_path / "one", options).steps[0].change
    )
    wanted = alone.read(whole(alone.grid)).values[0]
    compared_pixels = 0
    for cell in scene.cells:
        if cell.crs != str(alone.grid.crs):
            continue
        job = store.open_raster(tmp_path / "pixels" / f"{cell.name}.tif")
        values = job.read(whole(job.grid)).values[0]
        x, y = ~alone.grid.transform * (job.grid.transform.c, job.grid.transform.f)
        part = wanted[round(y) :, round(x) :][: values.shape[0], : values.shape[1]]
        mine = covered(moved_to(shapely.intersection(cell.core, DOMAIN), cell.crs), job.grid)
        assert (values[mine] == part[: values.shape[0], : values.shape[1]][mine]).all()
        assert (values[~mine] == 255).all()
        compared_pixels += mine.sum()
    assert compared_pixels > 20_000


def test_hectares_of_pixels_are_those_of_the_land(scene, compared, tmp_path):
    years = [scene.folder / "whole-2023", scene.folder / "whole-2024"]
    alone = change.compare_years(years, tmp_path / "one").steps[0].change
    source = store.open_raster(alone)
    values = source.read(whole(source.grid)).values[0]
    mine = covered(moved_to(DOMAIN, str(source.grid.crs)), source.grid)
    counts = np.bincount(values[mine], minlength=256) / 100
    for code, name in (*enumerate(CHANGES.names), (255, "unknown")):
        assert compared.found.pixels[name] == pytest.approx(counts[code], rel=0.01, abs=0.3)
    km2 = sum(cell.km2 for cell in scene.cells)
    assert sum(compared.found.pixels.values()) == pytest.approx(100 * km2, rel=2e-3)


@pytest.mark.slow
def test_squares_and_the_order_of_jobs_are_no_part_of_the_answer(scene, compared, tmp_path):
    other = tmp_path / "2024"
    write_plan(other, scene.after, cells_of(edge=1600.0, halo=400.0)[::-1], 2024, unseen=CLOUD)
    found = country.compare_plans(scene.first, other, tmp_path / "change")
    one, two = beside(compared.table, table_of(found))
    assert one["change:outcome"].tolist() == two["change:outcome"].tolist()
    np.testing.assert_allclose(one["change:known"], two["change:known"], atol=0.01)
    for name, hectares in compared.found.pixels.items():
        assert found.pixels[name] == pytest.approx(hectares, rel=0.01, abs=0.3)


def test_a_job_that_is_not_finished_is_named_and_its_place_is_unknown(scene, tmp_path):
    later, notes = tmp_path / "2024", []
    left = scene.cells[-1]
    run = [cell.name for cell in scene.cells[:-1]]
    write_plan(later, scene.after, scene.cells, 2024, run=run)
    found = country.compare_plans(scene.first, later, tmp_path / "out", on_note=notes.append)
    assert any(left.name in note and "not finished" in note for note in notes)
    assert list(found.notes) == notes
    table = table_of(found)
    others = shapely.union_all([cell.seen for cell in scene.cells[:-1]])
    deep = shapely.buffer(shapely.difference(left.seen, others), 1e-5)
    there = table[shapely.within(table.geometry.to_numpy(), deep)]
    assert not len(there[there["change:outcome"].isin(["gone", "appeared"])])
    assert found.summary.set_index("outcome").loc["unknown", "fields_before"] > 5


@pytest.mark.slow
def test_by_their_tables_alone_what_nobody_mapped_is_gone(scene, tmp_path):
    later, left = tmp_path / "2024", scene.cells[-1]
    run = [cell.name for cell in scene.cells[:-1]]
    write_plan(later, scene.after, scene.cells, 2024, run=run)
    others = shapely.union_all([cell.seen for cell in scene.cells[:-1]])
    deep = shapely.buffer(shapely.difference(left.seen, others), 1e-5)
    alone = country.compare_plans(scene.first, later, tmp_path / "tables", rule=None)
    lost = table_of(alone)
    lost = lost[shapely.within(lost.geometry.to_numpy(), deep)]
    assert set(lost["change:outcome"]) == {"gone"}
    assert alone.pixels is None
    text = write_map_report(alone).read_text()
    assert "never gone" not in text
    assert text.count("do not say where each map looked") == 1


def test_what_does_not_fit_together_is_one_sentence(scene, tmp_path):
    shutil.copytree(scene.folder / "2024", tmp_path / "part")
    (tmp_path / "part" / "jobs" / scene.cells[0].name / "fields.scores.tif").unlink()
    with pytest.raises(BadInput, match=r"1 finished job of .* kept no probabilities"):
        country.compare_plans(scene.first, tmp_path / "part", tmp_path / "out")
    far = (12.2, 50.0, 12.21, 50.005)
    write_plan(
        tmp_path / "far",
        named(shapely.box([12.2], [50.0], [12.21], [50.004])).geometry.to_numpy(),
        cells_of(area=far),
        2024,
    )
    with pytest.raises(BadInput, match="no place in common"):
        country.compare_plans(scene.first, tmp_path / "far", tmp_path / "out")
    write_plan(tmp_path / "none", scene.after, scene.cells, 2024, run=[])
    with pytest.raises(UnreadableFile, match="No job of the plan"):
        country.compare_plans(scene.first, tmp_path / "none", tmp_path / "out")
    twice = f"{scene.folder / '2023'},{scene.folder / '2024'}"
    with pytest.raises(BadInput, match="two plans for one year"):
        country.compare_plans(twice, scene.first, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_comparison_killed_after_it_got_its_name_loses_nothing(
    scene, compared, tmp_path, monkeypatch
):
    """Its notes say that the maps of pixels are made, which went with the result."""

    def killed(_):
        if (tmp_path / "out").exists():
            raise KeyboardInterrupt

    years = scene.first, scene.folder / "2024"
    with monkeypatch.context() as patch:
        patch.setattr("selion.country.change_maps.clear_parts", killed)
        with pytest.raises(KeyboardInterrupt):
            country.compare_plans(*years, tmp_path / "out")
    assert (tmp_path / "out" / "change.json").is_file()
    monkeypatch.setattr(change_plans, "merge_maps", killed)  # it need not merge again
    found = country.compare_plans(*years, tmp_path / "out", force=True)
    pd.testing.assert_frame_equal(table_of(found), compared.table)
    here, there = (
        {path.name: path.read_bytes() for path in (folder / "pixels").iterdir()}
        for folder in (found.folder, compared.found.folder)
    )
    assert here == there
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_comparison_that_was_stopped_merges_nothing_again(scene, compared, tmp_path, monkeypatch):
    def stops(*_, **__):
        raise KeyboardInterrupt

    years = scene.first, scene.folder / "2024"
    with monkeypatch.context() as patch:
        patch.setattr(change_plans, "compare_sides", stops)
        with pytest.raises(KeyboardInterrupt):
            country.compare_plans(*years, tmp_path / "out")
    monkeypatch.setattr(change_plans, "merge_maps", stops)
    monkeypatch.setattr(change_plans.SeenByBoth, "_look_at", stops)
    found = country.compare_plans(*years, tmp_path / "out")
    pd.testing.assert_frame_equal(table_of(found), compared.table)
    assert found.pixels == compared.found.pixels
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_line(scene, compared, tmp_path):
    merged = country.merge_maps([scene.folder / "2024"], tmp_path / "maps-2024").folder
    units = tmp_path / "districts.geojson"
    halves = shapely.box([11.9, 12.0], [49.9] * 2, [12.0, 12.1], [50.1] * 2)
    geopandas.GeoDataFrame({"name": ["west", "east"]}, geometry=halves, crs=CRS84).to_file(units)
    keep_composites(scene, tmp_path / "2024-latitude-0")
    done = run_here(
        "change", scene.first, f"{merged},{scene.folder / '2024'}", "-o", tmp_path / "out",
        "--districts", units, "--json",
    )  # fmt: skip
    facts = json.loads((tmp_path / "out" / "change.json").read_text())
    assert facts["maps"] == [scene.first, f"{merged},{scene.folder / '2024'}"]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["pixels_ha"] == compared.found.pixels
    table = pd.read_csv(tmp_path / "out" / "districts.csv")
    counts = table.groupby("outcome", sort=False)["fields_after"].sum()
    wanted = compared.found.summary.set_index("outcome")["fields_after"]
    assert counts.to_dict() == wanted.to_dict()
    assert set(table[table["fields_after"] > 0]["district"]) == {"west", "east"}
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Changed pixels" in text
    assert "by more than 0.75" in text
    assert "is unknown, never gone" in text
    # the composites that the jobs kept are found by themselves
    shown = pictures(tmp_path / "out" / "report.html")
    alone = "Imagery of {} with the fields coloured by outcome"
    one, two = (shown[alone.format(year)] for year in ("2023", "maps-2024"))
    half = one.shape[0] // 2
    assert one[:half].mean() > one[half:].mean() + 50
    assert two[:half].mean() < two[half:].mean() - 50
    shutil.rmtree(tmp_path / "2024-latitude-0")  # a year without: none is shown
    assert kept_images([scene.first, scene.folder / "2024"]) == ()
    with pytest.raises(BadInput, match="kept no composites"):
        find_images([scene.folder / "2023", scene.folder / "2024"], ("2023", "2024"))


def keep_composites(scene, kept):
    """Write imagery that is bright in the north and, a year later, in the south: first one of each
    job, then a mosaic that all share.
    """
    kept.mkdir()
    for cell in scene.cells:
        grid = grid_of(cell.bounds, cell.crs)
        middle = Transformer.from_crs(CRS84, cell.crs, always_xy=True).transform(12.0, 50.0)[1]
        y = grid.transform.f - PIXEL * (np.arange(grid.shape[0]) + 0.5)
        north = np.repeat((y > middle)[:, None], grid.shape[1], axis=1)
        own = scene.folder / "2023" / "jobs" / cell.name / "composite.tif"
        for path, bright in ((own, north), (kept / f"{cell.name}.tif", ~north)):
            values = np.stack([np.where(bright, 2000, 300).astype(np.uint16)] * 3)
            with store.create_cog(path, grid, ("red", "green", "blue"), np.uint16) as sink:
                sink.write(whole(grid), values)
    (scene.folder / "2024" / "plan.json").write_text(json.dumps({"mosaic": str(kept)}))


@pytest.mark.slow
def test_three_plans_there_and_back_again(scene, compared, tmp_path):
    """The first year again as the third: what was gained is lost, what was gone has appeared."""
    years = [scene.first, scene.folder / "2024", scene.first]
    one, two = country.compare_series(years, tmp_path / "out").steps
    assert (one.years, two.years) == (("2023-1", "2024-2"), ("2024-2", "2023-3"))
    assert one.pixels == compared.found.pixels
    back = {"gained": "lost", "lost": "gained"}
    swapped = {name: one.pixels[back.get(name, name)] for name in one.pixels}
    assert two.pixels == pytest.approx(swapped, rel=0.01)
    there, again = (step.summary.set_index("outcome") for step in (one, two))
    mirror = {"gone": "appeared", "appeared": "gone", "split": "merged", "merged": "split"}
    for outcome, row in there.iterrows():
        other = again.loc[mirror.get(outcome, outcome)]
        assert (row["fields_before"], row["fields_after"]) == (
            other["fields_after"],
            other["fields_before"],
        )


def test_what_has_no_effect_or_is_not_there_is_said_before_anything_is_merged(scene, tmp_path):
    bare = tmp_path / "bare"
    write_plan(bare, scene.after[:3], scene.cells[:1], 2024, scores=None)
    later, out = scene.folder / "2024", ("-o", tmp_path / "out")
    for words, said in (
        ((scene.first, bare, *out, "--rule", "paper"), "kept their probabilities"),
        ((scene.first, later, *out, "--pixel", "5"), "add --tables"),
        ((scene.first, later, *out, "--tables", "--rule", "paper"), "tables alone"),
        ((scene.first, later, tmp_path / "nothing", *out), "is not a merged map"),
    ):
        done = run_here("change", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]


def test_rectangles_cover_a_mask_once():
    mask = np.random.default_rng(0).random((40, 30)) < 0.4
    mask[10:20, 5:25] = True
    count = np.zeros(mask.shape, int)
    for x0, y0, x1, y1 in rectangles(mask):
        count[y0:y1, x0:x1] += 1
    assert (count == mask).all()
    assert rectangles(np.zeros((3, 3), bool)).shape == (0, 4)
    assert rectangles(np.ones((3, 4), bool)).tolist() == [[0, 0, 4, 3]]
