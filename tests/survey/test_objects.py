"""A sample of fields: the population by hand, answers from a known truth, intervals that hold."""

import csv
import hashlib
import json
from functools import partial

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import Geod

from command_line import run_here
from review_scenes import serving, write_map
from selion import survey
from selion.errors import BadInput, OutputExists
from selion.fields import read_fields, write_fields
from selion.imagery import read_area
from selion.metrics.area_estimation import StratifiedSample, allocate, ratio_over
from selion.survey.answers import OBJECT_CLASSES
from selion.survey.drawing import mixed
from selion.survey.objects import numbers_of

EDGE = 40
"""Fields along an edge of the map."""


def answers_of(frame, seed=0):
    """What each field is: small and doubtful ones are wrong more often."""
    rng = np.random.default_rng(seed)
    wrong = 0.6 - 0.5 * frame["confidence"].to_numpy(float)
    kinds = rng.integers(1, len(OBJECT_CLASSES), len(frame))
    return np.where(rng.random(len(frame)) < wrong, kinds, 0)


@pytest.fixture(scope="module")
def country(tmp_path_factory):
    """A map of 1,600 fields of three sizes, on a lattice of 0.01 degrees."""
    folder = tmp_path_factory.mktemp("country")
    rng = np.random.default_rng(5)
    x, y = (
        v.ravel() for v in np.meshgrid(11 + 0.01 * np.arange(EDGE), 47 + 0.01 * np.arange(EDGE))
    )
    side = rng.choice([0.001, 0.003, 0.006], len(x))
    frame = geopandas.GeoDataFrame(
        {
            "id": [f"f{k:04}" for k in range(len(x))],
            "confidence": rng.uniform(0.3, 1, len(x)).astype(np.float32),
            "metrics:area": (side * 1e5).astype(np.float32) ** 2,
        },
        geometry=shapely.box(x, y, x + side, y + side),
        crs=4326,
    )
    write_fields(frame, folder / "map.parquet")
    return folder, read_fields(folder / "map.parquet")


def rows_of(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def fill(folder, truth):
    """Write the truth into the table that people fill in."""
    rows = rows_of(folder / "points.csv")
    lines = [f"{row['id']},{OBJECT_CLASSES[truth[row['id']]]}" for row in rows]
    (folder / "points.csv").write_text("id,reference\n" + "\n".join(lines) + "\n")


def test_strata_are_those_of_the_map(country, tmp_path):
    folder, frame = country
    area = read_area([10.9, 46.9, 11.205, 48])
    options = survey.SampleOptions(size=200, least=10, breaks=(0.6,), seed=3)
    design = survey.draw_objects(folder / "map.parquet", area, tmp_path / "s", options, (2.0,))
    inside = frame[frame.bounds["minx"] < 11.205]
    hectares = inside["metrics:area"] / 1e4
    wanted = {
        f"confidence {sure}; ha {size}": (
            int((low & small).sum()),
            round(float(hectares[low & small].sum()), 4),
        )
        for sure, low in (
            ("below 0.6", inside["confidence"] < 0.6),
            ("0.6 and above", inside["confidence"] >= 0.6),
        )
        for size, small in (("below 2", hectares < 2), ("2 and above", hectares >= 2))
    }
    assert {s.name: (s.fields, s.hectares) for s in design.strata} == wanted
    assert design.drawn == 200
    key = rows_of(tmp_path / "s" / "key.csv")
    assert len({row["id"] for row in key}) == 200
    assert {row["id"] for row in key} <= set(inside["id"])
    assert set(read_fields(tmp_path / "s" / "queue.parquet")["id"]) == {row["id"] for row in key}
    larger = survey.SampleOptions(size=400, least=10, breaks=(0.6,), seed=3)
    survey.draw_objects(folder / "map.parquet", area, tmp_path / "l", larger, (2.0,))
    assert {row["id"] for row in key} <= {row["id"] for row in rows_of(tmp_path / "l" / "key.csv")}


def test_a_judged_census_is_the_truth(country, tmp_path):
    folder, frame = country
    area = read_area([10.9, 46.9, 11.1, 47.1])
    options = survey.SampleOptions(size=5000, least=2, seed=1)
    design = survey.draw_objects(folder / "map.parquet", area, tmp_path / "s", options)
    inside = frame[(frame.bounds["minx"] < 11.095) & (frame.bounds["miny"] < 47.095)]
    assert design.drawn == design.fields == len(inside)
    truth = answers_of(inside)
    fill(tmp_path / "s", dict(zip(inside["id"], truth, strict=True)))
    found = survey.estimate_objects(tmp_path / "s")
    areas = inside["metrics:area"].to_numpy(float)
    for k, name in enumerate(OBJECT_CLASSES):
        one, other = found.by_number["all"][name], found.by_area["all"][name]
        assert one.value == pytest.approx((truth == k).mean())
        assert other.value == pytest.approx(areas[truth == k].sum() / areas.sum(), abs=1e-4)
        assert one.standard_error == other.standard_error == 0, "all were asked"


def test_the_only_field_of_a_stratum_is_enough_of_it(tmp_path):
    """Nine small fields and one large: no second large one can be answered."""
    side = np.array([0.001] * 9 + [0.006])
    x = 11 + 0.01 * np.arange(10)
    frame = geopandas.GeoDataFrame(
        {"id": [f"f{k}" for k in range(10)], "metrics:area": (side * 1e5).astype(np.float32) ** 2},
        geometry=shapely.box(x, 47, x + side, 47 + side),
        crs=4326,
    )
    write_fields(frame, tmp_path / "map.parquet")
    options = survey.SampleOptions(size=10, least=2, breaks=())
    area = read_area([10.9, 46.9, 11.2, 47.1])
    design = survey.draw_objects(tmp_path / "map.parquet", area, tmp_path / "s", options, (2.0,))
    assert [(s.fields, s.drawn) for s in design.strata] == [(1, 1), (9, 9)]
    fill(tmp_path / "s", {f"f{k}": 4 if k < 3 else 0 for k in range(10)})  # three are false
    found = survey.estimate_objects(tmp_path / "s")
    right = found.by_number["all"]["right"]
    assert (right.value, right.standard_error) == (pytest.approx(0.7), 0)
    assert found.by_area["all"]["right"].value == pytest.approx((6 + 36) / (9 + 36))


def test_the_intervals_hold_in_90_to_99_of_100(country):
    """Over the estimator itself: 100 samples of one map, drawn as the command does, and judged."""
    _, frame = country
    truth, areas = answers_of(frame, 9) == 0, frame["metrics:area"].to_numpy(float)
    stratum = np.digitize(frame["confidence"].to_numpy(float), [0.6, 0.8])
    members = [np.flatnonzero(stratum == k) for k in range(3)]
    sizes = np.array([len(one) for one in members])
    share, ids = allocate(sizes, 240, 50), numbers_of(frame["id"].to_numpy())
    wanted = np.array([truth.mean(), areas[truth].sum() / areas.sum()])
    held = np.zeros(2, int)
    for seed in range(100):
        number = mixed(ids, seed)
        chosen = [one[np.argsort(number[one])[:n]] for one, n in zip(members, share, strict=True)]
        rows = np.concatenate(chosen)
        sample = StratifiedSample(stratum[rows], sizes)
        for k, size in enumerate((np.ones(len(rows)), areas[rows])):
            found = ratio_over(truth[rows] * size, size, sample)
            held[k] += abs(found.value - wanted[k]) <= found.half_width
    assert ((held >= 90) & (held <= 99)).all(), held


def test_the_commands_and_districts(country, tmp_path):
    folder, frame = country
    halves = geopandas.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=[shapely.box(10, 46, 11.2, 48), shapely.box(11.2, 46, 12, 48)],
        crs=4326,
    )
    halves.to_file(tmp_path / "halves.geojson")
    words = ["10.9,46.9,11.5,47.5", folder / "map.parquet", "-o", tmp_path / "s", "--objects"]
    more = ["--count", 200, "--sizes", "2", "--least-count", 10]
    done = run_here("sample", *words, *more, "--districts", tmp_path / "halves.geojson", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["of"] == EDGE**2
    few = run_here("estimate", tmp_path / "s", "-o", tmp_path / "e")
    assert (few.returncode, "write right or merged or" in few.stderr) == (2, True)
    fill(tmp_path / "s", dict(zip(frame["id"], answers_of(frame), strict=True)))
    done = run_here("estimate", tmp_path / "s", "-o", tmp_path / "e", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    truth = (answers_of(frame) == 0).mean()
    assert told["answers"] == 200
    assert abs(told["right"] - truth) < 2 * told["half_width"]
    rows = rows_of(tmp_path / "e" / "estimates.csv")
    assert {row["place"] for row in rows} == {"all", "west", "east"}
    page = (tmp_path / "e" / "report.html").read_text("utf-8")
    assert "of the 1,600 fields of the map are right" in page
    again = run_here("sample", *words, *more, "--force")
    assert (again.returncode, "holds answers" in again.stderr) == (2, True)


def test_what_does_not_go_together_is_refused(country, tmp_path):
    folder, _ = country
    words = ["10.9,46.9,11.5,47.5", folder / "map.parquet", "-o", tmp_path / "s"]
    for more, said in (
        (["--objects", "--unit", "20"], "--unit has no effect"),
        (["--sizes", "2"], "--sizes has no effect"),
        (["--objects", "--sizes", "2,x"], "numbers parted by commas"),
        (["--objects", "--sizes", "2,1"], "ascending"),
    ):
        done = run_here("sample", *words, *more)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    nowhere = read_area([1, 1, 2, 2])
    with pytest.raises(BadInput, match="has no field"):
        survey.draw_objects(folder / "map.parquet", nowhere, tmp_path / "n", survey.SampleOptions())
    area = read_area([10.9, 46.9, 11.1, 47.1])
    options = survey.SampleOptions(size=60, least=2)
    survey.draw_objects(folder / "map.parquet", area, tmp_path / "o", options)
    with pytest.raises(OutputExists):
        survey.draw_objects(folder / "map.parquet", area, tmp_path / "o", options)
    (tmp_path / "o" / "points.csv").write_text("id,reference\nf0000,perhaps\n")
    with pytest.raises(BadInput, match="wanted is right or merged or split"):
        survey.estimate_objects(tmp_path / "o")


def test_polygons_of_ones_own_are_sampled_by_their_ids(tmp_path):
    """Which are often numbers; without any the command ended in a traceback."""
    squares = [shapely.box(11 + 0.01 * k, 47, 11.005 + 0.01 * k, 47.005) for k in range(6)]
    own = geopandas.GeoDataFrame({"name": list("abcdef")}, geometry=squares, crs=4326)
    area, options = read_area([10.9, 46.9, 11.2, 47.1]), survey.SampleOptions(size=6, least=2)
    own.to_file(tmp_path / "own.gpkg")
    with pytest.raises(BadInput, match="has no column 'id'"):
        survey.draw_objects(tmp_path / "own.gpkg", area, tmp_path / "s", options)
    own.assign(id=range(100, 106)).to_file(tmp_path / "own.gpkg")
    survey.draw_objects(tmp_path / "own.gpkg", area, tmp_path / "s", options)
    drawn = {row["id"] for row in rows_of(tmp_path / "s" / "points.csv")}
    assert drawn == {str(number) for number in range(100, 106)}
    assert set(read_fields(tmp_path / "s" / "queue.parquet")["id"]) == drawn


@pytest.mark.parametrize("ending", ["gpkg", "parquet"])
def test_a_field_that_nobody_measured_is_in_the_stratum_of_its_size(tmp_path, ending):
    """Drawn by hand it has no area: it was of the largest stratum, and the total was no number."""
    squares = [shapely.box(11 + 0.01 * k, 47, 11.001 + 0.01 * k, 47.001) for k in range(4)]
    own = geopandas.GeoDataFrame(
        {"id": list("abcd"), "metrics:area": np.array([8451, 8451, 8451, np.nan], np.float32)},
        geometry=squares,
        crs=4326,
    )
    (own.to_file if ending == "gpkg" else partial(write_fields, own))(tmp_path / f"own.{ending}")
    area, options = read_area([10.9, 46.9, 11.2, 47.1]), survey.SampleOptions(size=4, least=2)
    design = survey.draw_objects(
        tmp_path / f"own.{ending}", area, tmp_path / "s", options, sizes=(1,)
    )
    (stratum,) = design.strata
    truth = abs(Geod(ellps="WGS84").geometry_area_perimeter(squares[0])[0])
    assert (stratum.fields, stratum.name) == (4, "ha below 1")
    assert stratum.hectares == pytest.approx(4 * truth / 1e4, rel=1e-3)


def test_districts_that_cannot_be_told_apart_are_refused(country, tmp_path):
    """Two of one name had one figure, and one called "all" stood in the place of the whole."""
    folder, _ = country
    area = read_area([10.9, 46.9, 11.5, 47.5])
    west, east = shapely.box(10, 46, 11.2, 48), shapely.box(11.2, 46, 12, 48)
    for names in (["Santa Rosa", "Santa Rosa"], ["all", "east"]):
        frame = geopandas.GeoDataFrame({"name": names}, geometry=[west, east], crs=4326)
        frame.to_file(tmp_path / "d.geojson")
        options = survey.SampleOptions(size=60, least=2, districts=tmp_path / "d.geojson")
        with pytest.raises(BadInput, match="share a name, or have none"):
            survey.draw_objects(folder / "map.parquet", area, tmp_path / "o", options)


@pytest.mark.parametrize("draw", [survey.draw_objects, survey.draw_sample])
def test_what_people_disagree_on_is_said_to_be_so(draw, country, tmp_path):
    """Two disagree on a unit of the sample and on one of another, and answer all others but one."""
    folder, _ = country
    area = read_area([10.9, 46.9, 11.1, 47.1])
    options = survey.SampleOptions(size=60, least=2, breaks=())
    draw(folder / "map.parquet", area, tmp_path / "o", options)
    first, _, *others = [row["id"] for row in rows_of(tmp_path / "o" / "points.csv")]
    files = tmp_path / "ada.csv", tmp_path / "ben.csv"
    for file, word in zip(files, "10", strict=True):
        said = {first: word, "elsewhere": word} | dict.fromkeys(others, "1")
        file.write_text("id,reference\n" + "".join(f"{k},{v}\n" for k, v in said.items()))
    estimate = survey.estimate_objects if draw is survey.draw_objects else survey.estimate_sample
    missed, torn, strange = estimate(tmp_path / "o", files).notes
    assert missed.startswith("1 of 60 ")
    assert torn.startswith("1 ")
    assert "on which people disagree" in torn
    assert "1 answers are of no " in strange


SAID = {"accept": 4, "several": 2, "part": 2, "shifted": 1, "reject": 1}
"""Answers of the page to ten of twenty fields of one size."""
SHARES = {"right": 0.4, "merged": 0.2, "split": 0.2, "shifted": 0.1, "false": 0.1}


def test_the_page_of_a_review_gives_all_five(tmp_path):
    """Ten of twenty: a share p has the standard error sqrt((1 - 10/20) p (1 - p) / 9)."""
    write_map(tmp_path)
    out, plain = tmp_path / "s", tmp_path / "fields.parquet"
    options = survey.SampleOptions(size=10, least=2, breaks=(), seed=1)
    survey.draw_objects(plain, read_area([11.5, 48, 13, 49]), out, options)
    drawn = [row["id"] for row in rows_of(out / "points.csv")]
    with serving(out) as page:
        told = page.ask("api/state").table["verdicts"]
        assert [(one["key"], one["answer"]) for one in told] == list(
            zip("amsdr", OBJECT_CLASSES, strict=True)
        )
        items = page.items(size=16)
        order = [item["id"] for item in items]
        assert order == sorted(drawn, key=lambda one: hashlib.sha256(one.encode()).digest())
        assert order != list(read_fields(out / "queue.parquet")["id"]), "not across the land"
        kinds = [kind for kind, count in SAID.items() for _ in range(count)]
        for k, (item, kind) in enumerate(zip(items, kinds, strict=True)):
            assert page.act(kind, item, f"action-{k}").table["done"]
        assert page.ask("api/act", {**act_of("undo", "taken-back")}).table["done"]
        (last,) = page.items()
        assert page.act("unsure", last, "in-doubt").table["done"]
        (last,) = page.items(show="unsure")
        assert page.act("reject", last, "in-the-end").table["counts"]["decided"] == 10
        refused = page.act("move", items[0], "drawn-on", points=[[0, 0], [1, 1]])
        assert refused.status == 400
        assert "outlines are what is judged" in refused.table["error"]
        assert len(page.ask("api/overview?show=several").table["items"]) == 2
    found = survey.estimate_objects(out).by_number["all"]
    assert {name: found[name].value for name in SHARES} == pytest.approx(SHARES)
    for name, p in SHARES.items():
        assert found[name].standard_error == pytest.approx((0.5 * p * (1 - p) / 9) ** 0.5)
    run_here("review", "export", out, "-o", tmp_path / "e", "--no-labels")
    kept = read_fields(tmp_path / "e" / "fields.parquet")["review:status"].value_counts()
    assert kept.to_dict() == {"right": 4, "merged": 2, "split": 2, "shifted": 1}
    (out / "design.json").unlink()  # whoever judges gets the queue alone
    status = run_here("review", "status", out / "queue.parquet").stdout
    assert "10 of 10 fields decided: 4 right, 1 false, 2 merged, 2 split, 1 shifted." in status
    with serving(plain) as page:
        refused = page.act("several", page.items()[0])
        assert refused.status == 400
        assert "selion sample --objects" in refused.table["error"]


def act_of(kind, name):
    return {"id": name, "kind": kind, "person": "Ada", "on": {}, "points": [], "seconds": 1}


@pytest.mark.parametrize("kind", [int, float])
def test_ids_that_are_numbers_are_known_again_when_another_program_has_saved_them(tmp_path, kind):
    """QGIS saves 7 as a number, a spreadsheet 7.0 as 7: no answer fitted, or a traceback."""
    west = 11 + 0.01 * np.arange(20)
    frame = geopandas.GeoDataFrame(
        {"id": np.arange(1, 21).astype(kind)},
        geometry=shapely.box(west, 47, west + 0.005, 47.005),
        crs=4326,
    )
    frame.to_file(tmp_path / "map.gpkg")
    out = tmp_path / "s"
    options = survey.SampleOptions(size=8, least=2, breaks=())
    survey.draw_objects(tmp_path / "map.gpkg", read_area([10.9, 46.9, 12, 48]), out, options)
    names = [int(float(row["id"])) for row in rows_of(out / "points.csv")]
    said = {name: "right" if k < 6 else "false" for k, name in enumerate(names)}
    table, places = tmp_path / "ada.csv", tmp_path / "ben.geojson"
    table.write_text("id;reference\n" + "\n".join(f"{n};{word}" for n, word in said.items()))
    features = [{"properties": {"id": n, "reference": word}} for n, word in said.items()]
    places.write_text(json.dumps({"features": features}))
    for files in ((table,), (places,), (table, places)):
        found = survey.estimate_objects(out, files)
        assert found.by_number["all"]["right"].value == 0.75
        assert found.answers.agreement in (None, 1)
        assert not any("of no field" in note for note in found.notes)


def test_confidences_of_a_hundred_are_refused_where_they_part_fields(country, tmp_path):
    """Percentages were all above 0.8: one stratum, whatever the breaks."""
    _, frame = country
    told = frame[["id", "geometry"]].assign(confidence=frame["confidence"] * 100)
    told.to_file(tmp_path / "map.gpkg")
    area = read_area([10.9, 46.9, 11.2, 47.2])
    for name, draw in (("objects", survey.draw_objects), ("ground", survey.draw_sample)):
        options = survey.SampleOptions(size=100, least=10, unit=100.0)
        with pytest.raises(BadInput, match=r"^Confidences from 3\d\S* to \d\d.* wanted are 0 to 1"):
            draw(tmp_path / "map.gpkg", area, tmp_path / name, options)
        plain = survey.SampleOptions(size=100, least=10, unit=100.0, breaks=())
        assert draw(tmp_path / "map.gpkg", area, tmp_path / name, plain).drawn == 100
