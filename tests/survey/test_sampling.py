"""A sample of a drawn country: strata by arithmetic, answers from the truth, figures by hand."""

import csv
import html
import json
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from pyproj import Geod

from selion import survey
from selion.cli.survey import estimate_command, sample_command
from selion.country.statistics import Units
from selion.errors import BadInput, OutputExists, UnreadableFile
from selion.fields import read_fields, write_fields
from selion.grid import tiles, whole
from selion.imagery import read_area
from selion.metrics.area_estimation import StratifiedSample, area_adjusted
from selion.pipeline.land_cover import LandCover
from selion.reports.survey import NO_BREAK, to_html
from selion.review import Action, ReviewedMap, ReviewLog
from selion.survey import drawing, population
from selion.survey.drawing import numbers_at
from selion.survey.population import open_population

UTM = "EPSG:32633"
LEFT, TOP = 500_000, 5_400_000
EDGE = 2_000
"""Metres of the country, a square on UTM's central meridian."""


def square(x: float, y: float, width: float, height: float | None = None) -> shapely.Polygon:
    """A box by its upper left corner, metres right and down from the country's."""
    return shapely.box(LEFT + x, TOP - y - (height or width), LEFT + x + width, TOP - y)


def country_of(folder: Path, name: str = "map.parquet") -> Path:
    """The map: a sure field of 800 x 1000 m, a doubtful one of 400 x 500 m, an unsure one."""
    shapes = [square(0, 0, 800, 1000), square(1000, 0, 400, 500), square(1000, 1000, 300, 300)]
    frame = geopandas.GeoDataFrame(
        {
            "id": ["a", "b", "c"],
            "confidence": np.array([0.95, 0.7, 0.3], np.float32),
            "metrics:area": np.array([s.area for s in shapes], np.float32),
        },
        geometry=shapes,
        crs=UTM,
    )
    write_fields(frame, folder / name)
    return folder / name


TRUTH = shapely.union_all(
    [square(0, 0, 900, 1000), square(1000, 0, 200, 500), square(0, 1500, 500)]
)
"""What is field indeed: 900,000 + 100,000 + 250,000 m2 of the country's 4,000,000."""


def area_of(folder: Path) -> Path:
    path = folder / "country.geojson"
    ground = geopandas.GeoSeries([square(0, 0, EDGE)], crs=UTM).to_crs(4326)
    ground.to_file(path)
    return path


def draw(folder: Path, out: str = "sample", **options: object) -> survey.Design:
    made = survey.SampleOptions(**{"size": 300, **options})  # type: ignore[arg-type]
    path = folder / "map.parquet"
    path = path if path.exists() else country_of(folder)
    return survey.draw_sample(path, read_area(area_of(folder)), folder / out, made)


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def answer(folder: Path, name: str = "points.csv") -> dict[str, bool]:
    """Fill the truth in, in the UTM plane."""
    rows = table_of(folder / "points.csv")
    points = geopandas.GeoSeries.from_xy(
        [float(r["longitude"]) for r in rows], [float(r["latitude"]) for r in rows], crs=4326
    ).to_crs(UTM)
    said = shapely.contains(TRUTH, points.to_numpy())
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row, field in zip(rows, said, strict=True):
            writer.writerow([*list(row.values())[:3], "field" if field else "other", ""])
    return {row["id"]: bool(field) for row, field in zip(rows, said, strict=True)}


def test_strata_have_the_sizes_of_the_ground(tmp_path: Path) -> None:
    design = draw(tmp_path, near=100.0, unit=2.0)
    units = {s.name: s.units for s in design.strata}
    # UTM's scale on its central meridian is .9996, so the ground is larger by 1 / .9996^2
    scale = 1 / 0.9996**2 / 4
    assert units["field, confidence 0.8 and above"] == pytest.approx(800_000 * scale, rel=6e-3)
    assert units["field, confidence 0.6 to 0.8"] == pytest.approx(200_000 * scale, rel=6e-3)
    assert units["field, confidence below 0.6"] == pytest.approx(90_000 * scale, rel=1e-2)
    # all within 100 m of the three and of the country: strips, and quarters of circles
    near = [
        square(0, 0, 800, 1000).buffer(100, quad_segs=64),
        square(1000, 0, 400, 500).buffer(100, quad_segs=64),
        square(1000, 1000, 300).buffer(100, quad_segs=64),
    ]
    wide = shapely.intersection(shapely.union_all(near), square(0, 0, EDGE)).area - 1_090_000
    assert units["other, within 100 m of a field"] == pytest.approx(wide * scale, rel=1e-2)
    assert design.units == pytest.approx(4_000_000 * scale, rel=2e-3)
    geod = Geod(ellps="WGS84")
    outline = geopandas.read_file(area_of(tmp_path)).geometry[0]
    assert design.area_km2 == pytest.approx(
        abs(geod.geometry_area_perimeter(outline)[0]) / 1e6, rel=1e-6
    )
    assert design.units * design.unit_hectares == pytest.approx(100 * design.area_km2, rel=2e-3)


def test_figures_by_hand(tmp_path: Path) -> None:
    design = draw(tmp_path)
    said = answer(tmp_path / "sample")
    found = survey.estimate_sample(tmp_path / "sample")
    key = {r["id"]: r for r in table_of(tmp_path / "sample" / "key.csv")}
    share = variance = 0.0
    for stratum in design.strata:
        y = np.array([said[n] for n, r in key.items() if r["stratum"] == stratum.name], float)
        assert len(y) == stratum.drawn
        weight = stratum.units / design.units
        share += weight * y.mean()
        variance += weight**2 * (1 - len(y) / stratum.units) * y.var(ddof=1) / len(y)
    field = found.whole.by_class["field"]
    assert field.area.value == pytest.approx(share)
    assert field.area.standard_error == pytest.approx(np.sqrt(variance))
    assert field.mapped == pytest.approx(1_090_000 / 4_000_000, rel=5e-3)
    assert field.users.value == pytest.approx((800_000 + 100_000) / 1_090_000, abs=0.04)
    assert field.producers.value == pytest.approx(900_000 / 1_250_000, abs=0.08)
    assert (
        abs(found.hectares() * field.area.value - 125)
        < 3 * found.hectares() * field.area.standard_error
    )


def test_a_census_is_not_said_to_be_weak(tmp_path: Path) -> None:
    """Units of 100 m: some strata have fewer than 30, and all of them were looked at."""
    design = draw(tmp_path, size=400, least=50, unit=100.0)
    answer(tmp_path / "sample")
    found = survey.estimate_sample(tmp_path / "sample")
    few = [s for s in design.strata if s.units < 30]
    assert few
    assert all(s.drawn == s.units for s in design.strata)
    assert found.whole.overall.standard_error == 0
    text = to_html(found)
    assert "Fewer than 30" not in text
    assert "All answers are the same" not in text


def test_ninety_five_of_a_hundred(tmp_path: Path) -> None:
    """Of a hundred countries with fields of their own the interval holds the true area in 95."""
    rng = np.random.default_rng(5)
    path, area = country_of(tmp_path), read_area(area_of(tmp_path))
    held = 0
    for seed in range(100):
        truth = np.repeat(np.repeat(rng.random((20, 20)) < 0.3, 10, 0), 10, 1)  # of 100 m squares
        truth[:100, :80] |= rng.random((100, 80)) < 0.9
        options = survey.SampleOptions(size=200, seed=seed)
        population = open_population(path, area, options)
        drawn = drawing.draw_units(population)
        rows, columns = np.clip(drawn.place.T - 2, 0, 199)  # the grid is a little wider
        said = truth[rows, columns].astype(int)
        sample = StratifiedSample(drawn.stratum, np.array([s.units for s in drawn.strata]))
        mapped = np.array([s.mapped for s in drawn.strata])[drawn.stratum]
        found = area_adjusted(mapped, said, survey.CLASSES, sample).by_class["field"].area
        every = np.clip(np.indices(tuple(population.grid.shape)) - 2, 0, 199)
        inside = population.codes(whole(population.grid)) >= 0
        true = truth[every[0], every[1]][inside].mean()
        held += abs(found.value - true) <= found.half_width
    assert 90 <= held <= 99  # binomial, .95 of 100: 2.2 is its deviation


def test_blocks_and_larger_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path, "one", size=200)
    monkeypatch.setattr(drawing, "BLOCK", 37)
    draw(tmp_path, "two", size=200)
    draw(tmp_path, "more", size=400)
    names = ("design.json", "points.csv", "key.csv", "points.geojson")
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    few, many = (
        {row["id"] for row in table_of(tmp_path / name / "points.csv")} for name in ("one", "more")
    )
    assert few < many
    draw(tmp_path, "other", size=200, seed=1)
    others = {r["id"] for r in table_of(tmp_path / "other" / "points.csv")}
    assert len(few & others) < 20


def test_numbers_are_as_good_as_random() -> None:
    every = numbers_at(*np.indices((300, 300)), 7)
    part = numbers_at(np.arange(100, 200)[:, None], np.arange(50, 60), 7)
    assert (every[100:200, 50:60] == part).all()
    assert len(np.unique(every)) == every.size
    shares = np.histogram(every.astype(float) / 2.0**64, 20, (0, 1))[0] / every.size
    assert np.abs(shares - 0.05).max() < 0.004  # five deviations
    again = numbers_at(*np.indices((300, 300)), 8)
    assert abs(np.corrcoef(every.ravel().astype(float), again.ravel().astype(float))[0, 1]) < 0.02
    neighbours = np.corrcoef(
        every[:, :-1].ravel().astype(float), every[:, 1:].ravel().astype(float)
    )
    assert abs(neighbours[0, 1]) < 0.02


def test_districts_and_land_cover(tmp_path: Path) -> None:
    halves = geopandas.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=[square(0, 0, 1000, 2000), square(1000, 0, 800, 2000)],
        crs=UTM,
    )
    halves.to_file(tmp_path / "halves.geojson")
    import rasterio
    from rasterio.transform import from_origin

    cover = np.full((40, 40), 30, np.uint8)
    cover[:10] = 40  # the upper half kilometre is cropland
    with rasterio.open(
        tmp_path / "cover.tif",
        "w",
        driver="GTiff",
        height=40,
        width=40,
        count=1,
        dtype="uint8",
        crs=UTM,
        transform=from_origin(LEFT, TOP, 50, 50),
    ) as file:
        file.write(cover, 1)
    design = draw(
        tmp_path,
        size=400,
        least=10,
        breaks=(),
        districts=tmp_path / "halves.geojson",
        land_cover=LandCover((tmp_path / "cover.tif",), frozenset({40})),
    )
    units = {s.name: s.units for s in design.strata}
    scale = 1 / 0.9996**2 / 100
    assert units["west; field; on cropland"] == pytest.approx(800 * 500 * scale, rel=3e-2)
    assert units["west; field; not on cropland"] == pytest.approx(800 * 500 * scale, rel=3e-2)
    assert units["east; field; on cropland"] == pytest.approx(400 * 500 * scale, rel=4e-2)
    assert units["outside all districts; other; on cropland"] == pytest.approx(
        200 * 500 * scale, rel=8e-2
    )
    answer(tmp_path / "sample")
    found = survey.estimate_sample(tmp_path / "sample")
    assert list(found.districts) == ["east", "outside all districts", "west"] or set(
        found.districts
    ) == {"west", "east", "outside all districts"}
    west = found.districts["west"].by_class["field"].area.scaled(found.hectares("west"))
    # 900 x 1000 m and 500 x 500 m
    assert abs(west.value - 115) < 3 * west.standard_error
    total = sum(
        found.districts[name].by_class["field"].area.value * found.hectares(name)
        for name in found.districts
    )
    assert total == pytest.approx(found.whole.by_class["field"].area.value * found.hectares())


def test_answers_of_several(tmp_path: Path) -> None:
    draw(tmp_path, size=160, least=30)
    sample = tmp_path / "sample"
    with pytest.raises(BadInput, match="no answers yet"):
        survey.estimate_sample(sample)
    truth = answer(sample, "ada.csv")
    names = list(truth)
    lines = (sample / "ada.csv").read_text().splitlines()
    other = {"field": "other", "other": "field"}
    wrong = [
        *lines[:1],
        *(",".join([*line.split(",")[:3], other[line.split(",")[3]], ""]) for line in lines[1:9]),
        *lines[9:],
    ]
    (sample / "bob.csv").write_text("\ufeff" + "\n".join(wrong).replace(",", ";"), "utf-8")
    two = survey.estimate_sample(sample, (sample / "ada.csv", sample / "bob.csv"))
    assert set(two.answers.unsettled) == set(names[:8])
    assert two.answers.agreement == pytest.approx(1 - 8 / 160)
    points = json.loads((sample / "points.geojson").read_text())
    for feature in points["features"]:
        feature["properties"]["reference"] = "yes" if truth[feature["properties"]["id"]] else "NO"
    (sample / "points.geojson").write_text(json.dumps(points))
    three = survey.read_answers(
        sample, (sample / "ada.csv", sample / "bob.csv", sample / "points.geojson")
    )
    assert not three.unsettled
    assert three.labels == {n: "field" if said else "other" for n, said in truth.items()}
    assert survey.read_answers(sample).labels == three.labels  # points.geojson alone holds any
    (sample / "bad.csv").write_text("id,reference\nu1,maybe not\n")
    with pytest.raises(BadInput, match="'maybe not' of u1"):
        survey.read_answers(sample, (sample / "bad.csv",))
    (sample / "bad.csv").write_text("name,reference\nr1c1,field\n")
    with pytest.raises(UnreadableFile, match="columns id and reference"):
        survey.read_answers(sample, (sample / "bad.csv",))
    with pytest.raises(OutputExists, match="answers, which would be lost"):
        survey.draw_sample(
            tmp_path / "map.parquet", read_area(area_of(tmp_path)), sample, force=True
        )


def test_the_queue_of_a_review(tmp_path: Path) -> None:
    draw(tmp_path, size=60, least=10)
    sample = tmp_path / "sample"
    truth = answer(sample, "truth.csv")
    queue = read_fields(sample / "queue.parquet")
    log = ReviewLog(sample / "queue.review.jsonl", ReviewedMap.of(queue), "queue")
    for number, name in enumerate(queue["id"]):
        log.act(
            Action(
                id=f"act{number:05d}",
                kind="accept" if truth[name] else "reject",
                person="Ada",
                on={name: 0},
                time="2026-01-01T00:00:00Z",
            )
        )
    assert (
        survey.read_answers(sample).labels
        == survey.read_answers(sample, (sample / "truth.csv",)).labels
    )
    metres = queue.to_crs(UTM).geometry.area * (1 / 0.9996**2)
    assert metres.to_numpy() == pytest.approx(100, rel=1e-3)


def test_an_area_across_the_antimeridian(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"id": ["a", "b"]},
        geometry=[shapely.box(179.98, -17.02, 180, -17), shapely.box(-180, -17.02, -179.98, -17)],
        crs=4326,
    )
    write_fields(frame, tmp_path / "map.gpkg")
    area = read_area((179.96, -17.04, -179.96, -16.98))
    options = survey.SampleOptions(size=40, least=10, unit=50)
    design = survey.draw_sample(tmp_path / "map.gpkg", area, tmp_path / "sample", options)
    field = {s.name: s.units for s in design.strata}["field"]
    geod = Geod(ellps="WGS84")
    m2 = sum(abs(geod.geometry_area_perimeter(s)[0]) for s in frame.geometry)
    assert field * 2500 == pytest.approx(m2, rel=1e-2)
    assert design.units * 2500 == pytest.approx(1e6 * area.km2, rel=1e-2)


def design_of(folder: Path) -> list[dict]:
    return json.loads((folder / "design.json").read_text("utf-8"))["strata"]


def test_the_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selion.reports.survey.SHOWN", 2)
    path, area = country_of(tmp_path), area_of(tmp_path)
    run = CliRunner()
    words = [str(area), str(path), "-o", str(tmp_path / "s"), "-q"]
    done = run.invoke(
        sample_command, [*words, "--error", "0.03", "--expected", "0.9", "--least-count", "20"]
    )
    assert done.exit_code == 0, done.output
    assert len(table_of(tmp_path / "s" / "points.csv")) == 100  # .09 / .0009
    answer(tmp_path / "s")
    done = run.invoke(estimate_command, [str(tmp_path / "s"), "-o", str(tmp_path / "r"), "-q"])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(tmp_path / "r" / "report.html")
    page = (tmp_path / "r" / "report.html").read_text()
    rows = table_of(tmp_path / "r" / "estimates.csv")
    area_row = next(r for r in rows if r["figure"] == "area (ha)" and r["class"] == "field")
    low, value, high = (float(area_row[k]) for k in ("low", "value", "high"))
    assert low < value < high
    assert f"{value:,.1f}" in page
    assert f"{low:,.1f} to {high:,.1f}".replace(" ", NO_BREAK) in page, "the interval, unbroken"
    assert page.count('class="band"') == 2
    assert "Sampling design" in page
    few = [s for s in design_of(tmp_path / "s") if s["drawn"] < 30]
    assert len(few) == 3
    named = ", ".join(f'"{s["name"]}"' for s in few[:2])
    told = f"Fewer than 30 answers in 3 strata ({named} and 1 more)"
    assert told in html.unescape(page), "names have semicolons and commas themselves"
    facts = json.loads((tmp_path / "r" / "estimates.json").read_text())
    assert sum(s["answered"] for s in facts["strata"]) == 100
    for bad in (
        ["--error", ".1", "--count", "9"],
        ["--expected", ".5"],
        ["--district-column", "x"],
        ["--land-cover", "x.tif"],
        ["--confidence", "a,b"],
        ["--confidence", "0.8,0.6"],
        ["--count", "20"],
    ):
        done = run.invoke(sample_command, [*words[:-1], "-f", "-o", str(tmp_path / "t"), *bad])
        refused = done.exit_code == 2 or isinstance(done.exception, BadInput)
        assert refused, (bad, done.output)
        assert not (tmp_path / "t").exists()


def test_answers_count_where_they_were_given(tmp_path: Path) -> None:
    """Other ground has other ids; the same ground in a larger area keeps its own."""
    draw(tmp_path, "here", size=160, least=30)
    answer(tmp_path / "here")
    path = tmp_path / "map.parquet"
    options = survey.SampleOptions(size=160, least=30)
    wide = geopandas.GeoSeries([square(-300, 0, EDGE + 300, EDGE)], crs=UTM).to_crs(4326)
    wide.to_file(tmp_path / "wide.geojson")
    survey.draw_sample(path, read_area(tmp_path / "wide.geojson"), tmp_path / "wide", options)
    far = read_area((15.5, 48.5, 15.53, 48.52))
    survey.draw_sample(path, far, tmp_path / "far", options)
    coarse = survey.SampleOptions(size=160, least=30, unit=20)
    survey.draw_sample(path, read_area(area_of(tmp_path)), tmp_path / "coarse", coarse)
    here, grown, other, larger = (
        {row["id"]: row for row in table_of(tmp_path / name / "points.csv")}
        for name in ("here", "wide", "far", "coarse")
    )
    assert not set(here) & set(other)
    assert not set(here) & set(larger)
    same = set(here) & set(grown)
    assert len(same) > 80
    for name in same:
        for axis in ("longitude", "latitude"):
            assert float(here[name][axis]) == pytest.approx(float(grown[name][axis]), abs=1e-6)
    with pytest.raises(BadInput, match="fewer than two answers"):
        survey.estimate_sample(tmp_path / "far", (tmp_path / "here" / "points.csv",))


def test_answers_as_programs_write_them(tmp_path: Path) -> None:
    draw(tmp_path, size=160, least=30)
    sample = tmp_path / "sample"
    truth = answer(sample, "truth.csv")
    wanted = survey.read_answers(sample, (sample / "truth.csv",)).labels
    points = json.loads((sample / "points.geojson").read_text())
    for kind in (int, bool, float):
        for feature in points["features"]:
            feature["properties"]["reference"] = kind(truth[feature["properties"]["id"]])
        (sample / "a.geojson").write_text(json.dumps(points))
        assert survey.read_answers(sample, (sample / "a.geojson",)).labels == wanted, kind
    rows = [f'"a ""b"", c";{name};{float(said)}' for name, said in truth.items()]
    (sample / "b.csv").write_text("sep=;\n" + "\n".join(["comment;id;reference", *rows]) + "\n")
    assert survey.read_answers(sample, (sample / "b.csv",)).labels == wanted
    name = next(iter(truth))
    (sample / "c.csv").write_text(f"id,reference\n{name},field\n{name},other\n")
    with pytest.raises(BadInput, match=f"both field and other of {name}"):
        survey.read_answers(sample, (sample / "c.csv",))
    (sample / "d.csv").write_text("")
    with pytest.raises(BadInput, match="no answers yet"):
        survey.read_answers(sample, (sample / "d.csv",))
    (sample / "e.csv").write_bytes("id,reference,comment\nx,field,\xf6\n".encode("cp1252"))
    with pytest.raises(UnreadableFile, match="UTF-8"):
        survey.read_answers(sample, (sample / "e.csv",))


def test_districts_that_cannot_be_told_apart(tmp_path: Path) -> None:
    def districts(names: list[str | None], second: float) -> Path:
        shapes = [square(0, 0, 1200, 2000), square(second, 0, 1200, 2000)]
        frame = geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs=UTM)
        frame.to_file(tmp_path / "d.geojson")
        return tmp_path / "d.geojson"

    for names, second, match in (
        (["west", "east"], 800.0, "west and east of .* overlap"),
        (["all", "east"], 1200.0, "share a name, or have none"),
        (["east", "east"], 1200.0, "share a name"),
        (["west", None], 1200.0, "have none"),
    ):
        with pytest.raises(BadInput, match=match):
            draw(tmp_path, districts=districts(names, second))
        assert not (tmp_path / "sample").exists()
    design = draw(tmp_path, districts=districts(["west", "far"], 90_000.0), least=10)
    assert design.notes == ("1 of 2 districts have no unit in country (far) and get no figures.",)
    assert survey.read_design(tmp_path / "sample") == design


def test_districts_that_are_there_over_and_over_are_refused_at_the_first_pair() -> None:
    """Each lies on all others: 20 million pairs, of which one is enough."""
    count = 6_400
    shapes = shapely.box(*np.tile([10.0, 50.0, 10.1, 50.1], (count, 1)).T)
    units = Units(tuple(f"d{k}" for k in range(count)), shapes)
    begun = time.process_time()
    with pytest.raises(BadInput, match="d0 and d1 of districts overlap"):
        population.check_districts(units, Path("districts"))
    assert time.process_time() - begun < 5


def two_squares(folder: Path) -> Path:
    """The country, and as much ground 4 degrees east of it and 3 north, in one file."""
    home = geopandas.GeoSeries([square(0, 0, EDGE)], crs=UTM).to_crs(4326)
    far = home.translate(4, 3)
    path = folder / "two.geojson"
    geopandas.GeoSeries([*home, *far], crs=4326).to_file(path)
    return path


def test_what_lies_between_far_parts_is_not_gone_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two squares of 2 km, 440 km apart, have 40,000 by 40,000 units around them.

    The parts alone took a minute and more; the sample is that of all blocks.
    """
    area, map_ = read_area(two_squares(tmp_path)), country_of(tmp_path)
    options = survey.SampleOptions(size=300)
    seen = []
    found = drawing.draw_units(
        open_population(map_, area, options), lambda *told: seen.append(told[2])
    )
    assert set(seen) == {seen[0]}
    assert seen[0] <= 8
    # 4 km2 and, as a degree is shorter there, about 3.7 km2 of the other
    assert sum(one.units for one in found.strata) == pytest.approx(40_000 + 37_300, rel=0.02)
    # the same as when every block is gone through, with units that leave few blocks
    coarse = survey.SampleOptions(size=300, unit=200)
    some = drawing.draw_units(open_population(map_, area, coarse))
    whole_grid = open_population(map_, area, coarse)
    monkeypatch.setattr(
        population.Population, "touched", lambda self, block: tiles(tuple(self.grid.shape), block)
    )
    every = drawing.draw_units(whole_grid)
    assert some.strata == every.strata
    np.testing.assert_array_equal(some.place, every.place)
    assert list(some.ids) == list(every.ids)


def test_only_ground_of_the_area_is_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A road of 40 km aslant and 20 m wide lies in blocks of which it has a five-hundredth.

    All of their units were numbered, which was most of the time that such areas took.
    """
    line = shapely.LineString([(11.0, 47.0), (11.3, 47.3)])
    place = tmp_path / "road.geojson"
    geopandas.GeoSeries([line.buffer(0.0001)], crs=4326).to_file(place)
    area, map_ = read_area(place), country_of(tmp_path)
    numbered = []
    usual = drawing.mixed

    def counting(values: np.ndarray, seed: int) -> np.ndarray:
        numbered.append(values.size)
        return usual(values, seed)

    monkeypatch.setattr(drawing, "mixed", counting)
    found = drawing.draw_units(open_population(map_, area, survey.SampleOptions(size=100)))
    units = sum(one.units for one in found.strata)
    assert units == pytest.approx(area.km2 * 1e4, rel=0.02)
    assert sum(numbered) == units + 100  # and the order in which the drawn ones are shown


def test_what_is_read_is_never_replaced_by_what_is_written(tmp_path: Path) -> None:
    """``estimate s -o s --force`` left the report alone: sample and answers were gone."""
    (tmp_path / "maps").mkdir()
    path = country_of(tmp_path / "maps")
    area = read_area(area_of(tmp_path))
    options = survey.SampleOptions(size=100, least=5)
    sample = tmp_path / "given" / "s"
    survey.draw_sample(path, area, sample, options)
    answer(sample)
    answers = tmp_path / "ada" / "points.csv"
    answers.parent.mkdir()
    answers.write_bytes((sample / "points.csv").read_bytes())
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    for out in (sample, sample.parent, sample / ".." / "s", answers.parent):
        for force in ([], ["--force"]):
            words = [str(sample), "-o", str(out), "--answers", str(answers), *force]
            done = CliRunner().invoke(estimate_command, words)
            assert isinstance(done.exception, BadInput), done.output
            assert "would be lost: write to another folder" in str(done.exception)
    for draw_one in (survey.draw_sample, survey.draw_objects):
        with pytest.raises(BadInput, match=r"map\.parquet.* would be lost"):
            draw_one(path, area, path.parent, options, force=True)
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


def test_figures_that_are_not_known_are_null_for_programs(tmp_path: Path) -> None:
    """User's accuracy of a map without fields: NaN, which is no JSON."""
    nothing = geopandas.GeoDataFrame({"id": ["a"]}, geometry=[square(0, 0, EDGE)], crs=UTM)
    nothing.iloc[:0].to_file(tmp_path / "map.gpkg")
    area = read_area(area_of(tmp_path))
    survey.draw_sample(
        tmp_path / "map.gpkg", area, tmp_path / "s", survey.SampleOptions(size=40, least=5)
    )
    answer(tmp_path / "s")
    words = [str(tmp_path / "s"), "-o", str(tmp_path / "r"), "--json"]
    done = CliRunner().invoke(estimate_command, words)
    told = json.loads(done.output.splitlines()[-1], parse_constant=pytest.fail)
    assert told["users_accuracy"] is None
    assert told["producers_accuracy"] == 0
