"""Plots in an orthomosaic: cover, counts and what is missing, by counting painted pixels."""

import csv
import json
import re
import sqlite3
from types import SimpleNamespace

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from PIL import Image
from shapely.geometry import Point, Polygon, box

from selion import closerange
from selion.classes import CROP
from selion.cli.main import cli
from selion.closerange import PlotOptions, measure_plots
from selion.closerange.calibration import Calibration
from selion.closerange.gate import answer_of
from selion.closerange.measure import _at_size
from selion.closerange.model import PhotoModel
from selion.closerange.plot_answers import Enlarged
from selion.data.plots import list_plots, read_plots
from selion.errors import BadInput, OutputExists
from selion.grid import photo_grid
from selion.prediction import PredictOptions, predict
from selion.raster import Raster
from selion.segmenter import InputSpec
from selion.store import open_raster

GSD = 0.01
ACROSS, DOWN, WIDE, HIGH, PATH = 5, 4, 120, 80, 20
"""Plots, their pixels, and the path between them."""
SOIL, LEAF = (140, 110, 80), (60, 160, 50)
CRS = "EPSG:32632"
WEST, NORTH = 500_000.0, 5_300_000.0


def paint(seed=0):
    """An orthomosaic, its leaves, and the number of discs in each plot."""
    random = np.random.default_rng(seed)
    height, width = DOWN * (HIGH + PATH) + PATH, ACROSS * (WIDE + PATH) + PATH
    leaf = np.zeros((height, width), bool)
    y, x = np.indices(leaf.shape)
    counts = []
    for row in range(DOWN):
        for column in range(ACROSS):
            top, left = PATH + row * (HIGH + PATH), PATH + column * (WIDE + PATH)
            count = int(random.integers(0, 6))
            places = random.permutation(6)[:count]
            for place in places:
                cy, cx = top + 20 + 40 * (place // 3), left + 20 + 40 * (place % 3)
                leaf |= (y - cy) ** 2 + (x - cx) ** 2 <= random.integers(5, 15) ** 2
            counts.append(count)
    image = np.where(leaf, np.array(LEAF)[:, None, None], np.array(SOIL)[:, None, None])
    return image.astype(np.uint8), leaf, counts


def corner(row, column):
    return PATH + row * (HIGH + PATH), PATH + column * (WIDE + PATH)


def outlines():
    shapes = []
    for row in range(DOWN):
        for column in range(ACROSS):
            top, left = corner(row, column)
            shapes.append(
                box(
                    WEST + left * GSD, NORTH - (top + HIGH) * GSD,
                    WEST + (left + WIDE) * GSD, NORTH - top * GSD,
                )
            )  # fmt: skip
    return shapes


def write(path, image, *, crs=CRS, nodata=None, alpha=None, dtype="uint8"):
    bands = image if alpha is None else np.concatenate([image, alpha[None]])
    profile = {
        "driver": "GTiff", "count": len(bands), "height": image.shape[1], "width": image.shape[2],
        "dtype": dtype, "crs": crs, "transform": Affine(GSD, 0, WEST, 0, -GSD, NORTH),
        "nodata": nodata, "tiled": True, "blockxsize": 128, "blockysize": 128,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(bands.astype(dtype))
        if alpha is not None:
            out.colorinterp = [
                rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")
            ]
    return path


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    image, leaf, counts = paint()
    write(folder / "ortho.tif", image)
    names = [f"P{k:02d}" for k in range(len(counts))]
    frame = geopandas.GeoDataFrame(
        {"plot_id": names, "genotype": ["a", "b"] * 10}, geometry=outlines(), crs=CRS
    )
    frame.to_crs(4326).to_file(folder / "plots.geojson", driver="GeoJSON")
    frame.to_file(folder / "plots.gpkg", driver="GPKG")
    return folder, image, leaf, counts


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def result(trial, tmp_path_factory):
    folder, *_ = trial
    out = tmp_path_factory.mktemp("result") / "out"
    told = CliRunner().invoke(
        cli,
        [
            "crops",
            "plots",
            str(folder / "ortho.tif"),
            str(folder / "plots.gpkg"),
            "-o",
            str(out),
            "-m",
            "colour",
        ],
    )
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[-1] == str(out)
    return out


def test_what_plots_bring_is_written_as_it_was(trial, tmp_path):
    """Numbers of six digits moved a plot's easting by a metre."""
    shapes = outlines()
    brought = {"plot": range(len(shapes)), "easting": [500_012.345 + k for k in range(len(shapes))]}
    geopandas.GeoDataFrame(brought, geometry=shapes, crs=CRS).to_file(tmp_path / "p.gpkg")
    run = measure_plots(trial[0] / "ortho.tif", tmp_path / "p.gpkg", tmp_path / "t.csv", "colour")
    assert len(run.rows) == len(shapes)
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        assert [float(row["easting"]) for row in csv.DictReader(file)] == brought["easting"]


@pytest.mark.parametrize("gap", [None, "", "  "])
def test_plots_without_a_name_are_refused(tmp_path, gap):
    """They were called None, or nan, and the others of their column 101.0."""
    grid = photo_grid((10, 10))
    frame = geopandas.GeoDataFrame({"plot": ["a", gap]}, geometry=outlines()[:2], crs=CRS)
    frame.to_file(tmp_path / "p.gpkg")
    with pytest.raises(BadInput, match=r"Plot 2 of 2 in .* has no name in the column plot"):
        read_plots(tmp_path / "p.gpkg", grid)
    numbers = geopandas.GeoDataFrame({"plot": [101.0, np.nan]}, geometry=outlines()[:2], crs=CRS)
    numbers.to_file(tmp_path / "n.geojson")
    with pytest.raises(BadInput, match=r"Plot 2 of 2 in .* has no name in the column plot"):
        list_plots(tmp_path / "n.geojson")


def test_cover_and_counts_are_those_that_were_painted(trial, result):
    _, _, leaf, counts = trial
    rows = rows_of(result / "plots.csv")
    assert [row["plot"] for row in rows] == [f"P{k:02d}" for k in range(20)]
    assert [row["genotype"] for row in rows] == ["a", "b"] * 10
    for k, row in enumerate(rows):
        top, left = corner(*divmod(k, ACROSS))
        truth = leaf[top : top + HIGH, left : left + WIDE]
        assert float(row["cover"]) == pytest.approx(truth.mean(), abs=1e-5)
        assert int(row["components"]) == counts[k]
        assert float(row["nodata"]) == 0
        assert float(row["ground_m2"]) == pytest.approx(HIGH * WIDE * GSD**2, rel=2e-3)
        assert row["trust"] == "yes"
        if truth.any():
            assert float(row["red"]) == LEAF[0]
            assert float(row["ngrdi"]) == pytest.approx((160 - 60) / (160 + 60), rel=1e-4)


def test_mask_layer_page_and_pictures(trial, result):
    _, _, leaf, _ = trial
    with rasterio.open(result / "mask.tif") as mask:
        assert (mask.read(1) == leaf).all()
    layer = geopandas.read_file(result / "plots.gpkg", layer="plots")
    assert layer["cover"].tolist() == pytest.approx(
        [float(row["cover"]) for row in rows_of(result / "plots.csv")], abs=1e-5
    )
    with sqlite3.connect(result / "plots.gpkg") as base:
        ((style,),) = base.execute("SELECT styleQML FROM layer_styles WHERE f_table_name = 'plots'")
    assert 'attr="cover"' in style
    page = (result / "index.html").read_text("utf-8")
    assert page.count("<path d=") == 20
    assert "P07: " in page
    # a name and its cover stand on the plot itself
    (said,) = [f"{float(row['cover']):.0%}" for row in rows_of(result / "plots.csv")
               if row["plot"] == "P07"]  # fmt: skip
    lines = [line for line in re.findall(r">([^<]*)</text>", page) if line]
    assert lines[lines.index("P07") + 1] == said
    with Image.open(result / "plots" / "0008.jpg") as picture:
        assert picture.width > picture.height
        with Image.open(result / "plots" / "0008-photo.jpg") as bare:
            assert bare.size == picture.size
            assert np.abs(np.asarray(bare, float) - np.asarray(picture)).max() > 50
    assert 'id="masks" checked' in page
    assert page.count('class="bare"') == page.count('class="masked"') == 20
    facts = json.loads((result / "run.json").read_text("utf-8"))
    assert facts["plots"] == 20


def test_another_crs_a_table_alone_and_a_buffer(trial, tmp_path):
    folder, _, leaf, _ = trial
    kept = measure_plots(
        folder / "ortho.tif", folder / "plots.geojson", tmp_path / "p.csv", "colour",
        PlotOptions(buffer=0.10),
    ).rows  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "p.csv.manifest.json"}
    for k, row in enumerate(kept):
        top, left = corner(*divmod(k, ACROSS))
        truth = leaf[top + 10 : top + HIGH - 10, left + 10 : left + WIDE - 10]
        # the corners went through degrees and back: a row of pixels may fall on the other side
        assert row["cover"] == pytest.approx(truth.mean(), abs=0.02)
        assert row["pixels"] == pytest.approx(truth.size, rel=0.005)


def test_cover_is_of_the_pixels_there_are(trial, tmp_path):
    folder, image, leaf, _ = trial
    alpha = np.full(leaf.shape, 255, np.uint8)
    alpha[:, : PATH + 30] = 0  # a quarter of the first column of plots
    write(tmp_path / "alpha.tif", image, alpha=alpha)
    black = np.where(alpha > 0, image, 0)
    write(tmp_path / "black.tif", black)
    notes = []
    for name in ("alpha", "black"):
        rows = measure_plots(
            tmp_path / f"{name}.tif", folder / "plots.gpkg", tmp_path / name, "colour",
            on_note=notes.append,
        ).rows  # fmt: skip
        top, left = corner(1, 0)
        seen = leaf[top : top + HIGH, left + 30 : left + WIDE]
        assert rows[5]["nodata"] == pytest.approx(0.25, abs=1e-6)
        assert rows[5]["cover"] == pytest.approx(seen.mean(), abs=1e-6)
        assert rows[5]["trust"] == "no"
        assert rows[6]["trust"] == "yes"
    assert sum("black is taken for no data" in note for note in notes) == 1


def test_plots_beside_the_image_are_rows(trial, tmp_path):
    folder, *_ = trial
    far = box(WEST - 50, NORTH, WEST - 49, NORTH + 1)
    half = box(WEST - 0.6, NORTH - 1, WEST + 0.6, NORTH - 0.2)
    frame = geopandas.GeoDataFrame({"name": ["far", "half"]}, geometry=[far, half], crs=CRS)
    frame.to_file(tmp_path / "p.gpkg", driver="GPKG")
    rows = measure_plots(folder / "ortho.tif", tmp_path / "p.gpkg", tmp_path / "o", "colour").rows
    assert rows[0]["reasons"] == "outside the orthomosaic"
    assert rows[1]["nodata"] == pytest.approx(0.5, abs=0.01)


def test_measures_of_another_flight_are_not_told_of_this_one(trial, tmp_path):
    """The layer of one flight may be the plots of the next, and tell its own measures of them."""
    folder, *_ = trial
    far = box(WEST - 50, NORTH, WEST - 49, NORTH + 1)
    before = {"plot": ["far", "here"], "cover": [0.75, 0.75], "vegetation_m2": [9.0, 9.0]}
    frame = geopandas.GeoDataFrame(before, geometry=[far, outlines()[0]], crs=CRS)
    frame.to_file(tmp_path / "p.gpkg", driver="GPKG")
    out = tmp_path / "o"
    run = measure_plots(folder / "ortho.tif", tmp_path / "p.gpkg", out, "colour")
    assert run.rows[0].get("cover") is None
    for row in (rows_of(out / "plots.csv")[0], layer_of(out / "plots.gpkg")[0]):
        assert row["reasons"] == "outside the orthomosaic"
        assert not row["cover"]
        assert not row["vegetation_m2"]


def test_columns_that_differ_in_case_alone_are_both_written(trial, tmp_path):
    """A GeoPackage takes Cover, as somebody has judged it by eye, and cover for one column."""
    folder, *_ = trial
    given = {"Plot_ID": ["a"], "Cover": [0.5], "Trust": ["mine"], "Site": ["x"], "site": ["y"]}
    frame = geopandas.GeoDataFrame(given, geometry=outlines()[:1], crs=CRS)
    frame.to_file(tmp_path / "p.geojson", driver="GeoJSON")
    out = tmp_path / "o"
    row = measure_plots(folder / "ortho.tif", tmp_path / "p.geojson", out, "colour").rows[0]
    for told in (rows_of(out / "plots.csv")[0], layer_of(out / "plots.gpkg")[0]):
        assert float(told["cover"]) == pytest.approx(row["cover"], rel=1e-5)
        assert {"0.5", "mine", "x", "y", "yes"} <= {str(value) for value in told.values()}


def test_a_column_that_a_geopackage_has_itself_is_no_error_at_the_end(trial, tmp_path):
    """QGIS hands on the fid of joined layers, in which one is there twice."""
    folder, *_ = trial
    given = {"plot_id": ["a", "b"], "fid": [1, 1], "geom": ["x", "y"]}
    frame = geopandas.GeoDataFrame(given, geometry=outlines()[:2], crs=CRS)
    frame.to_file(tmp_path / "p.geojson", driver="GeoJSON")
    out = tmp_path / "o"
    measure_plots(folder / "ortho.tif", tmp_path / "p.geojson", out, "colour")
    for told in (rows_of(out / "plots.csv"), layer_of(out / "plots.gpkg")):
        assert [str(row["fid_given"]) for row in told] == ["1", "1"]
        assert [row["geom_given"] for row in told] == ["x", "y"]


def layer_of(path):
    with sqlite3.connect(path) as book:
        book.row_factory = sqlite3.Row
        return [dict(row) for row in book.execute("select * from plots")]


def test_of_a_file_with_several_layers_it_is_said_which_is_read(trial, tmp_path):
    """A project's GeoPackage holds blocks and plots, and the blocks were measured."""
    folder, *_ = trial
    for name in ("blocks", "plots"):
        frame = geopandas.GeoDataFrame({"name": [name]}, geometry=outlines()[:1], crs=CRS)
        frame.to_file(tmp_path / "p.gpkg", layer=name)
        if name == "blocks":  # the targets that a drone's images were placed by are no plots
            frame.set_geometry(frame.centroid).to_file(tmp_path / "p.gpkg", layer="targets")
            grid = open_raster(folder / "ortho.tif").grid
            assert [plot.name for plot in read_plots(tmp_path / "p.gpkg", grid)] == ["blocks"]
    with pytest.warns(UserWarning, match="2 layers, of which blocks is read and not plots"):
        assert [plot.name for plot in read_plots(tmp_path / "p.gpkg", grid)] == ["blocks"]
    frame.to_file(tmp_path / "p.gpkg", layer="fields")  # as selion calls its own
    assert [plot.name for plot in read_plots(tmp_path / "p.gpkg", grid)] == ["plots"]


def test_plants_on_a_shared_edge_are_counted_once(trial, tmp_path):
    """Plots that touch cut discs in two: those of all plots together are all there are."""
    folder, _, _, counts = trial
    middle = WEST + (PATH + 60) * GSD  # through the middle column of discs
    east = WEST + 10.0
    bottom = NORTH - 10.0
    frame = geopandas.GeoDataFrame(
        {"id": [1, 2]},
        geometry=[box(WEST, bottom, middle, NORTH), box(middle, bottom, east, NORTH)],
        crs=CRS,
    )
    frame.to_file(tmp_path / "p.gpkg", driver="GPKG")
    rows = measure_plots(folder / "ortho.tif", tmp_path / "p.gpkg", tmp_path / "o", "colour").rows
    assert sum(row["components"] for row in rows) == sum(counts)


def test_no_seam_of_blocks_or_strips(trial, tmp_path, monkeypatch):
    folder, _, leaf, _ = trial
    whole = box(WEST, NORTH - leaf.shape[0] * GSD, WEST + leaf.shape[1] * GSD, NORTH)
    frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[whole], crs=CRS)
    frame.to_file(tmp_path / "p.gpkg", driver="GPKG")
    asked = (folder / "ortho.tif", tmp_path / "p.gpkg")
    once = measure_plots(*asked, tmp_path / "a.csv").rows[0]
    monkeypatch.setattr("selion.closerange.plots.STRIP", 7001)
    strips = measure_plots(*asked, tmp_path / "b.csv").rows[0]
    numbers = {name: value for name, value in once.items() if not isinstance(value, str)}
    assert {name: strips[name] for name in numbers} == pytest.approx(numbers, rel=1e-6)
    assert len(numbers) > 15
    monkeypatch.setattr("selion.closerange.plots.COUNTED", 1000)
    large = measure_plots(*asked, tmp_path / "c.csv").rows[0]
    assert large["cover"] == pytest.approx(once["cover"])
    assert "components" not in large
    assert "too large to count" in large["reasons"]


def test_multi_part_plots_with_holes(trial, tmp_path):
    folder, _, leaf, _ = trial
    ring = Polygon(outlines()[0].exterior.coords, [outlines()[0].buffer(-0.2).exterior.coords])
    both = ring.union(outlines()[7])
    frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[both], crs=CRS)
    frame.to_file(tmp_path / "p.gpkg", driver="GPKG")
    row = measure_plots(folder / "ortho.tif", tmp_path / "p.gpkg", tmp_path / "o", "colour").rows[0]
    inside = np.zeros(leaf.shape, bool)
    top, left = corner(0, 0)
    inside[top : top + HIGH, left : left + WIDE] = True
    inside[top + 20 : top + HIGH - 20, left + 20 : left + WIDE - 20] = False
    top, left = corner(1, 2)
    inside[top : top + HIGH, left : left + WIDE] = True
    assert row["cover"] == pytest.approx(leaf[inside].mean(), abs=1e-6)


def test_an_interrupted_run_goes_on_and_leaves_nothing(trial, tmp_path, monkeypatch):
    folder, *_ = trial
    asked = (folder / "ortho.tif", folder / "plots.gpkg", tmp_path / "out", "colour")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("selion.closerange.plots._measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            measure_plots(*asked)
    assert not (tmp_path / "out").exists()
    calls = []
    monkeypatch.setattr(
        closerange.rule.ColourRule, "__call__", lambda *_: calls.append(1), raising=True
    )
    rows = measure_plots(*asked).rows
    assert not calls, "finished blocks are not predicted again"
    assert len(rows) == 20
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.manifest.json"}
    with pytest.raises(OutputExists):
        measure_plots(*asked)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: f.set_crs(None, allow_override=True), "has no CRS"),
        (lambda f: f.iloc[:0], "no plots"),
        (lambda f: f.assign(geometry=[Point(0, 0)] * len(f)), "no polygons"),
        (lambda f: f.assign(plot_id="x"), "Two plots"),
    ],
)
def test_plots_that_are_none(trial, tmp_path, make, said):
    folder, *_ = trial
    frame = make(geopandas.read_file(folder / "plots.gpkg"))
    frame.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(BadInput, match=said):
        read_plots(tmp_path / "p.parquet", open_raster(folder / "ortho.tif").grid)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"crs": None}, "selion crops FOLDER"), ({"dtype": "uint16"}, "gdal_translate")],
)
def test_images_that_are_no_orthomosaic(trial, tmp_path, change, said):
    folder, image, *_ = trial
    write(tmp_path / "o.tif", image, **change)
    with pytest.raises(BadInput, match=said):
        measure_plots(tmp_path / "o.tif", folder / "plots.gpkg", tmp_path / "out", "colour")
    assert [path.name for path in tmp_path.iterdir()] == ["o.tif"]


def test_wrong_options(trial):
    folder, *_ = trial
    grid = open_raster(folder / "ortho.tif").grid
    with pytest.raises(BadInput, match="no column nobody; it has plot_id, genotype"):
        read_plots(folder / "plots.gpkg", grid, "nobody")
    with pytest.raises(BadInput, match="leaves nothing of 20 plots"):
        read_plots(folder / "plots.gpkg", grid, buffer=0.5)
    for wrong in ({"buffer": -1.0}, {"min_area": 0}, {"scale": 0.0}):
        with pytest.raises(BadInput):
            PlotOptions(**wrong)


class Toy:
    """Plants with a probability that a function of (3, y, x) colours says."""

    classes = CROP
    inputs = InputSpec(("red", "green", "blue"), window=64, overlap=0.25, multiple=1)

    def __init__(self, plants):
        self.plants = plants

    def __call__(self, views):
        said = np.stack([self.plants(view.pixels) for view in views]).astype(np.float32)
        return np.stack([1 - said, said], 1)


def greener(than, sure):
    """Say plants where green exceeds red by more."""
    return Toy(lambda seen: np.where(seen[1].astype(int) - seen[0] > than, sure, 1 - sure))


PALE = (130, 118, 85)
"""A leaf hardly greener than soil."""


@pytest.mark.parametrize(
    ("leaf", "first", "second", "said"),
    [
        (LEAF, greener(80, 0.97), None, "outlined by excess green"),  # green confirms the first
        (PALE, greener(-20, 0.8), greener(-24, 0.9), "by crops-rgb and crops-wide together"),
        (PALE, greener(-24, 0.8), greener(-20, 0.9), "by crops-rgb and crops-wide together"),
        (PALE, greener(90, 0.9), greener(-20, 0.8), "as crops-rgb takes other things for plants"),
    ],
)
def test_an_orthomosaic_is_answered_as_a_photograph_is(
    trial, tmp_path, monkeypatch, leaf, first, second, said
):
    """The same pixels as one photograph by hand: who answers, where, and with which interval."""
    folder, _, painted, _ = trial
    noise = np.random.default_rng(3).normal(0, 2, (3, *painted.shape))
    colours = np.where(painted, np.array(leaf)[:, None, None], np.array(SOIL)[:, None, None])
    image = np.clip(colours + noise, 1, 255).astype(np.uint8)
    write(tmp_path / "ortho.tif", image)
    asked = []

    def other(seen):
        asked.append(seen)
        return second

    known = Calibration(0.5, 0.25, 0.02)
    pair = PhotoModel(
        "auto", "toys", {}, lambda _: first, known, PhotoModel("other", "toy", {}, other)
    )
    monkeypatch.setattr("selion.closerange.plot_answers.open_model", lambda *_, **__: pair)
    monkeypatch.setattr("selion.closerange.gate.LEARNT", {})
    out = tmp_path / "out"
    run = measure_plots(
        tmp_path / "ortho.tif", folder / "plots.gpkg", out, options=PlotOptions(pictures=False)
    )
    assert any(said in note for note in run.notes)
    assert len(asked) == (0 if second is None else 1)
    photo = Raster(image, photo_grid(painted.shape), ("red", "green", "blue"))
    whole = predict(photo, first).values
    answer, note = answer_of(
        image, whole, second=lambda: None if second is None else predict(photo, second).values
    )
    assert said in note
    mask = answer[1] > answer[0]
    with rasterio.open(out / "mask.tif") as written:
        assert (written.read(1) == mask).all()
    for k, row in enumerate(rows_of(out / "plots.csv")):
        top, left = corner(*divmod(k, ACROSS))
        place = slice(top, top + HIGH), slice(left, left + WIDE)
        cover = mask[place].mean()
        low, high = (answer[1][place] > 0.95).mean(), (answer[1][place] > 0.05).mean()
        assert float(row["cover"]) == pytest.approx(cover, abs=1e-5)
        wanted = cover - 0.5 * (0.02 + cover - min(low, cover))
        assert float(row["cover_low"]) == pytest.approx(max(wanted, 0), abs=1e-5)
        wanted = cover + 0.25 * (0.02 + max(high, cover) - cover)
        assert float(row["cover_high"]) == pytest.approx(min(wanted, 1), abs=1e-5)


@pytest.mark.parametrize(
    ("leaf", "first", "second", "asks", "said"),
    [
        (LEAF, None, greener(80, 0.97), 0, "outlined by excess green"),
        (PALE, greener(-20, 0.8), greener(-24, 0.9), 1, "by crops-rgb and crops-wide together"),
        (PALE, greener(-20, 0.8), greener(90, 0.9), 1, "as crops-rgb takes other things for"),
    ],
)
def test_of_a_large_orthomosaic_the_other_model_is_asked_first_at_half_the_size(
    trial, tmp_path, monkeypatch, leaf, first, second, asks, said
):
    """By hand on the whole image, enlarged by Pillow as large photographs are."""
    folder, _, painted, _ = trial
    noise = np.random.default_rng(3).normal(0, 2, (3, *painted.shape))
    colours = np.where(painted, np.array(leaf)[:, None, None], np.array(SOIL)[:, None, None])
    image = np.clip(colours + noise, 1, 255).astype(np.uint8)
    write(tmp_path / "ortho.tif", image)
    calls = []

    def toy(seen):
        calls.append(seen.shape)
        return greener(-20, 0.8).plants(seen) if first is None else first.plants(seen)

    pair = PhotoModel(
        "auto", "toys", {}, lambda _: Toy(toy), None, PhotoModel("other", "o", {}, lambda _: second)
    )
    monkeypatch.setattr("selion.closerange.plot_answers.open_model", lambda *_, **__: pair)
    monkeypatch.setattr("selion.closerange.plot_answers.LARGE", painted.size - 1)
    monkeypatch.setattr("selion.closerange.gate.LEARNT", {})
    out = tmp_path / "out"
    run = measure_plots(
        tmp_path / "ortho.tif", folder / "plots.gpkg", out, options=PlotOptions(pictures=False)
    )
    assert any(said in note for note in run.notes)
    assert bool(calls) == bool(asks)
    photo = Raster(image, photo_grid(painted.shape), ("red", "green", "blue"))
    half = predict(photo, second, options=PredictOptions(scale=0.5)).values
    answer, note = answer_of(
        image,
        _at_size(half, painted.shape),
        second=lambda: predict(photo, first).values,
        first_stands=True,
    )
    assert said in note
    with rasterio.open(out / "mask.tif") as written:
        seen = written.read(1)
    assert seen.shape == painted.shape
    # scores of blocks are stored as bytes: a pixel at exactly a half may fall to either side
    assert (seen != (answer[1] > answer[0])).mean() < 1e-3


def test_coarse_pixels_are_read_between_as_pillow_enlarges_and_unknown_ones_have_no_part():
    random = np.random.default_rng(4)
    values = random.random((2, 21, 35), np.float32)
    values[0] = 1 - values[1]
    fine = photo_grid((41, 70))
    valid = np.ones((21, 35), bool)
    ground = SimpleNamespace(grid=None)

    class Stored:
        grid = photo_grid((21, 35))

        def read(self, roi):
            return Raster(values[:, *roi], self.grid[roi], ("a", "b"), valid[roi])

    source = Enlarged(Stored(), ground, fine)
    whole = np.asarray(Image.fromarray(values[1]).resize((70, 41), Image.Resampling.BILINEAR))
    for roi in (np.s_[0:41, 0:70], np.s_[3:17, 33:70], np.s_[40:41, 0:1]):
        read = source.read(roi)
        assert read.values[1] == pytest.approx(whole[roi], abs=1e-5)
        assert read.values.sum(0) == pytest.approx(1, abs=1e-5)
        assert read.valid.all()
    valid[:, 10:] = False
    values[:, :, 10:] = 77.0
    read = source.read(np.s_[0:41, 0:70])
    assert read.values[:, read.valid].max() <= 1
    assert read.valid[:, :20].all()
    assert not read.valid[:, 22:].any()


SURE = greener(20, 0.99)


def flagged(monkeypatch, folder, out, model, known, image=None, **options):
    """The rows of a run by one model of which something is known."""
    one = PhotoModel("toy", "toy", {}, lambda _: model, known)
    monkeypatch.setattr("selion.closerange.plot_answers.open_model", lambda *_, **__: one)
    place = folder / "ortho.tif" if image is None else write(out.with_suffix(".tif"), image)
    measure_plots(place, folder / "plots.gpkg", out, options=PlotOptions(pictures=False, **options))
    return rows_of(out / "plots.csv")


def knows(gsd=None, **ranges):
    return Calibration(1.0, 1.0, photographs=40, ranges=ranges, gsd=gsd)


def test_an_orthomosaic_like_the_photographs_of_the_model_is_trusted(trial, tmp_path, monkeypatch):
    folder, image, *_ = trial
    luma = float(np.tensordot([0.299, 0.587, 0.114], image, 1).mean())
    known = knows((5.0, 15.0), brightness=(luma - 5, luma + 5), noise=(0.0, 0.1))
    rows = flagged(monkeypatch, folder, tmp_path / "out", SURE, known)
    assert {row["trust"] for row in rows} == {"yes"}
    assert {row["reasons"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("change", "known", "said"),
    [
        (lambda seen: seen // 3, {"brightness": (80.0, 160.0)}, "brightness"),
        (lambda seen: seen * np.array([1.5, 1, 0.5])[:, None, None],
         {"red_green": (-0.5, 0.35), "blue_green": (-1.0, 0.2)}, "red against green"),
        (lambda seen: seen + np.random.default_rng(0).normal(0, 30, seen.shape),
         {"noise": (0.0, 0.04)}, "noise"),
    ],
)  # fmt: skip
def test_an_orthomosaic_in_other_light_flags_every_plot(
    trial, tmp_path, monkeypatch, change, known, said
):
    folder, image, *_ = trial
    as_it_is = flagged(monkeypatch, folder, tmp_path / "as_it_is", SURE, knows(**known))
    assert {row["trust"] for row in as_it_is} == {"yes"}
    seen = np.clip(change(image.astype(float)), 0, 255).astype(np.uint8)
    rows = flagged(monkeypatch, folder, tmp_path / "changed", SURE, knows(**known), seen)
    assert {row["trust"] for row in rows} == {"no"}
    for row in rows:
        assert row["reasons"].startswith(f"unlike the photographs it was measured on ({said}")


@pytest.mark.parametrize(("gsd", "trust"), [((1.0, 5.0), "no"), ((5.0, 20.0), "yes")])
def test_an_orthomosaic_out_of_the_models_scale_flags_every_plot(
    trial, tmp_path, monkeypatch, gsd, trust
):
    """Pixels are 10 mm; shown three times larger at most they are finer than 5 mm, but no finer in
    what they show.
    """
    folder, *_ = trial
    rows = flagged(monkeypatch, folder, tmp_path / "out", SURE, knows(gsd))
    assert {row["trust"] for row in rows} == {trust}
    for row in rows:
        assert ("out of the model's scale (10 mm a pixel" in row["reasons"]) == (trust == "no")


def test_only_plots_that_the_model_doubts_are_flagged(trial, tmp_path, monkeypatch):
    """The left half is doubted: of the third column of plots one half."""
    folder, image, *_ = trial
    seen = image.copy()
    middle = corner(0, 2)[1] + WIDE // 2
    seen[2, :, :middle] += 1  # told apart by blue alone
    doubtful = Toy(lambda view: np.where(view[2] % 10 == 1, 0.5 - 1e-3, 0.01))
    rows = flagged(monkeypatch, folder, tmp_path / "out", doubtful, None, seen)
    for k, row in enumerate(rows):
        column = k % ACROSS
        assert float(row["unsure"]) == pytest.approx((1, 1, 0.5, 0, 0)[column], abs=0.02)
        assert row["reasons"] == ("model unsure" if column <= 2 else "")
        assert row["trust"] == ("no" if column <= 2 else "yes")


def test_a_plot_too_large_to_count_in_has_its_cover_all_the_same(trial, tmp_path, monkeypatch):
    folder, _, leaf, _ = trial
    monkeypatch.setattr("selion.closerange.plots.COUNTED", 100)
    rows = flagged(monkeypatch, folder, tmp_path / "out", SURE, None)
    for k, row in enumerate(rows):
        top, left = corner(*divmod(k, ACROSS))
        assert float(row["cover"]) == pytest.approx(
            leaf[top : top + HIGH, left : left + WIDE].mean(), abs=1e-6
        )
        assert (row["trust"], row["reasons"]) == ("no", "too large to count plants")
        assert row["components"] == ""
