import json
from dataclasses import dataclass, field, replace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from scipy import ndimage

from selion import fields, store
from selion.classes import FTW3, IGNORE, ClassScheme
from selion.data import load_dataset
from selion.errors import BadInput, GridMismatch, OutputExists, UnknownName, UnreadableFile
from selion.evaluation import (
    EvaluateOptions,
    deployment_scores,
    evaluate,
    evaluate_files,
    read_folder,
    score_fields,
)
from selion.evaluation.answers import answer, onto, truth_ids
from selion.evaluation.baselines import colours
from selion.grid import whole
from selion.labels import Instances, LabelMap, class_labels
from selion.metrics import ScoreOptions, object_scores, regular_grid
from selion.prediction import PredictOptions
from selion.prediction.look_together import alike
from selion.raster import Raster
from selion.reports.evaluation import case_figures, write_report
from selion.sample import Sample
from selion.segmenter import InputSpec, Scaling, Segmenter

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
GRID = GeoBox((128, 128), Affine(10, 0, 600000, 0, -10, 5300000), "EPSG:32633")
QUICK = EvaluateOptions(score=ScoreOptions(draws=100))


@dataclass(frozen=True)
class Painter:
    """Reads the classes straight from the picture: band 0 holds 100 times the class."""

    wrong: float = 0.0
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(
            ("red", "green", "blue"), Scaling((1.0,)), window=64, multiple=16
        )
    )
    classes: object = FTW3

    def __call__(self, views):
        out = []
        for view in views:
            said = np.round(view.pixels[0] / 100).clip(0, 2).astype(int)
            hot = np.eye(3, dtype=np.float32)[said].transpose(2, 0, 1)
            noise = (
                np.random.default_rng(int(view.pixels.sum()) % 1000).random(said.shape) < self.wrong
            )
            hot[:, noise] = np.array([1, 0, 0], np.float32)[:, None]
            out.append(hot * 0.9 + 0.1 / 3)
        return np.stack(out)


_: Segmenter = Painter()


def sample(key, step=32, group="", grid=GRID, keep=True):
    ids = regular_grid(grid.shape, step)
    ids = np.where(ids % 5 == 0, 0, ids).astype(np.int32)
    instances = Instances(ids, grid)
    labels = class_labels(instances)
    image = Raster(
        np.stack([labels.ids * 100] * 3).astype(np.uint8), grid, ("red", "green", "blue")
    )
    return Sample(key, image, labels, instances if keep else None, group)


def test_a_model_that_knows_is_right_and_beats_every_baseline():
    samples = [sample("one", 32, "x"), sample("two", 16, "y"), sample("three", 24, "y")]
    report = evaluate({"painter": Painter(), "noisy": Painter(0.4)}, samples, QUICK)
    run, noisy = report.runs
    assert run.values["object_f1"] > 0.95
    assert run.values["pixel_iou"] > 0.97
    assert run.calibration.n > 0
    assert report.baselines[0].name == "gradient watershed"
    assert {b.name for b in report.baselines if b.content_free} >= {
        "one object everywhere",
        "nothing anywhere",
        "answers of other images",
    }
    assert "object_f1" not in report.won_by_content_free(run)
    assert noisy.values["pixel_iou"] < run.values["pixel_iou"]
    assert "painter - noisy" in report.comparisons
    assert set(run.groups) == {"x", "y"}


@dataclass(frozen=True)
class Onlooker(Painter):
    """Says field only where its surroundings are as bright as the window itself."""

    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(
            ("red", "green", "blue"), Scaling((1.0,)), window=64, multiple=16, context=96
        )
    )

    def __call__(self, views):
        out = super().__call__(views)
        for k, view in enumerate(views):
            if abs(view.context.values.mean() - view.pixels.mean()) > 40:
                out[k] = np.array([0.9, 0.05, 0.05], np.float32)[:, None, None]
        return out


def test_shuffled_context_and_the_colour_rule_stand_beside_the_scores():
    blank = sample("blank")
    dark = replace(
        blank, key="dark", image=Raster(np.zeros((3, 128, 128), np.uint8), GRID, blank.image.bands)
    )
    report = evaluate({"onlooker": Onlooker()}, [sample("one", 32), dark], QUICK)
    values = {b.name: b.values["object_recall"] for b in report.baselines}
    assert report.runs[0].values["object_recall"] > 0.45
    assert values["context of other images"] == 0
    assert "onlooker - context of other images" in report.comparisons
    green = np.zeros((3, 128, 128), np.uint8) + 90
    green[1][sample("x").instances.ids > 0] = 200
    plants = Sample(
        "plants",
        Raster(green, GRID, ("red", "green", "blue")),
        None,
        Instances(ndimage.label(green[1] == 200)[0].astype(np.int32), GRID),
    )
    rule = {b.name: b for b in evaluate({"painter": Painter()}, [plants], QUICK).baselines}
    assert rule["colour rule (excess green)"].values["object_f1"] == 1
    assert not rule["colour rule (excess green)"].content_free
    assert "context of other images" not in rule
    assert colours(("planting:red", "planting:green", "planting:blue", "planting:nir")) == (0, 1, 2)
    assert colours(("band1", "band2", "band3")) is None


def test_classes_are_counted_where_both_name_the_same_ones_and_columns_are_followed():
    one = sample("one")
    crops = pd.DataFrame({"id": np.arange(1, 17), "crop": ["wheat", "maize"] * 8})
    known = replace(one, instances=Instances(one.instances.ids, GRID, crops), split="test")
    report = evaluate(
        {"painter": Painter()},
        [known],
        EvaluateOptions(score=ScoreOptions(draws=0), baselines=False, by=("crop", "split")),
    )
    run = report.runs[0]
    np.testing.assert_array_equal(
        run.classes.counts[:, :3].sum(1), np.bincount(one.labels.ids.ravel(), minlength=3)
    )
    assert np.trace(run.classes.counts[:, :3]) == 128 * 128
    assert set(run.strata["crop"].index) == {"wheat", "maize"}
    assert run.strata["split"].loc["test", "precision"] > 0.9
    assert "Pixels by class" in report.to_markdown()
    assert report.to_dict()["runs"][0]["classes"]["confusion"]["pixels"]["field"]["background"] == 0
    with pytest.raises(UnknownName, match="crop"):
        evaluate({"painter": Painter()}, [known], EvaluateOptions(by=("crops",)))
    two = ClassScheme(("soil", "crop"), ("crop",))
    other = replace(one, labels=LabelMap((one.labels.ids > 0).astype(np.uint8), GRID, two))
    mixed = evaluate(
        {"painter": Painter()},
        [other],
        EvaluateOptions(score=ScoreOptions(draws=0), baselines=False),
    )
    assert mixed.runs[0].classes is None
    assert any("soil, crop" in line for line in mixed.problems)


def test_protocol_prue_is_reported_with_its_differences():
    report = evaluate(
        {"painter": Painter()},
        [sample("one")],
        EvaluateOptions(score=ScoreOptions(draws=0), protocol="prue", baselines=False),
    )
    line = report.settings["painter by PRUE's rules"]
    assert float(line["object_f1"]) > 0.95
    assert float(line["pixel_iou"]) > 0.95
    assert len(line["differences"]) == 6
    with pytest.raises(BadInput, match="prue"):
        EvaluateOptions(protocol="coco")


def test_samples_that_fail_are_listed():
    holes = Raster(
        np.zeros((3, 128, 128), np.uint8),
        GRID,
        ("red", "green", "blue"),
        np.zeros((128, 128), bool),
    )
    bad = Sample("empty", holes, None, sample("x").instances)
    report = evaluate(
        {"painter": Painter()},
        [sample("one"), bad],
        EvaluateOptions(score=ScoreOptions(draws=0), baselines=False),
    )
    assert report.runs[0].images.key.tolist() == ["one"]
    assert any("empty" in line and "nodata" in line for line in report.problems)
    with pytest.raises(BadInput, match="None of 1 samples"):
        evaluate({"painter": Painter()}, [bad], QUICK)


def test_truth_from_labels_alone_and_unknown_pixels():
    labelled = sample("one", keep=False)
    assert truth_ids(labelled).max() > 5
    with pytest.raises(BadInput, match="nothing to compare"):
        truth_ids(Sample("none", labelled.image))
    hidden = labelled.labels.ids.copy()
    hidden[:64] = IGNORE
    known = sample("one")
    part = Sample("part", known.image, LabelMap(hidden, GRID, FTW3), known.instances)
    report = evaluate(
        {"painter": Painter()},
        [part],
        EvaluateOptions(score=ScoreOptions(draws=0), baselines=False),
    )
    assert report.runs[0].images.ignored.iloc[0] == 64 * 128
    assert report.runs[0].values["object_precision"] > 0.95


def test_answers_come_back_on_the_grid_of_the_truth():
    options = EvaluateOptions(predict=PredictOptions(scale=2.0))
    said = answer(Painter(), sample("one"), options)
    assert said.ids.shape == (128, 128)
    assert len(said.confidence) == len(np.unique(said.ids[said.ids > 0]))
    ids = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(
        onto(ids.repeat(2, 0).repeat(2, 1), GeoBox((4, 4), Affine.identity(), None)), ids
    )


def boxes(*bounds, crs="EPSG:32633", **columns):
    return geopandas.GeoDataFrame(columns, geometry=[shapely.box(*b) for b in bounds], crs=crs)


TRUTH = boxes(
    (600000, 5300000, 600100, 5300100),
    (600100, 5300000, 600200, 5300100),
    (600300, 5300000, 600400, 5300100),
)


def test_polygons_against_polygons():
    prediction = boxes(
        (600000, 5300000, 600100, 5300090),
        (600300, 5300000, 600400, 5300100),
        (600500, 5300000, 600600, 5300100),
        confidence=[0.9, 0.8, 0.3],
    )
    found = score_fields(TRUTH, prediction, step=5.0)
    scores = object_scores(found.scores.table)
    assert (scores.tp, scores.fp, scores.fn) == (2, 1, 1)
    # UTM's scale factor is not in these
    assert found.scores.area == pytest.approx((19000, 10000, 11000), rel=2e-3)
    assert found.scores.table.iou.max() == pytest.approx(1, abs=1e-6)
    distance = found.scores.distances.set_index("truth")["distance"]
    assert distance[3] == pytest.approx(0, abs=1e-6)
    assert 1 < distance[1] < 10
    assert found.scores.confidence.tolist() == [0.9, 0.8, 0.3]
    (beyond,) = found.problems
    assert beyond.startswith("prediction: 1 of 3 polygons lie beyond the rectangle")


def test_polygons_that_need_care_are_counted():
    bow = shapely.Polygon(
        [(600000, 5300000), (600100, 5300100), (600100, 5300000), (600000, 5300100)]
    )
    truth = geopandas.GeoDataFrame(
        geometry=[bow, None, shapely.Point(600000, 5300000), TRUTH.geometry[0]], crs="EPSG:32633"
    )
    found = score_fields(truth, TRUTH)
    assert any("1 invalid" in line for line in found.problems)
    assert any("2 rows without an area" in line for line in found.problems)
    assert any("1 pairs of polygons overlap" in line for line in found.problems)
    with pytest.raises(GridMismatch, match="reproject"):
        score_fields(TRUTH, TRUTH.to_crs("EPSG:4326"))
    with pytest.raises(GridMismatch, match="none"):
        score_fields(TRUTH, TRUTH.set_crs(None, allow_override=True))
    again = score_fields(TRUTH, TRUTH.to_crs("EPSG:4326"), reproject=True)
    assert object_scores(again.scores.table, 0.999).f1 == 1
    with pytest.raises(BadInput, match="Neither"):
        score_fields(TRUTH.iloc[:0], TRUTH.iloc[:0])
    none = score_fields(TRUTH, TRUTH.iloc[:0], step=5.0)
    assert object_scores(none.scores.table).recall == 0


def write_ids(path, ids, grid=GRID):
    with store.create_cog(
        path, grid, ("instance",), np.int32, nodata=0, overviews="nearest"
    ) as sink:
        sink.write(whole(grid), ids[None])
    return path


def test_vector_and_raster_in_every_pairing_agree(tmp_path):
    real = sample("x", 16).instances
    shifted = np.roll(real.ids, 2, 0)
    paths = {}
    for name, ids in (("truth", real.ids), ("map", shifted)):
        paths[name, "raster"] = write_ids(tmp_path / f"{name}.tif", ids)
        frame = fields.to_fields(Instances(ids, GRID), fields.FieldOptions(simplify=0))
        paths[name, "vector"] = tmp_path / f"{name}.parquet"
        fields.write_fields(
            frame, paths[name, "vector"], fields.Origin("test", None, "test", "unknown")
        )
    found = {}
    for one in ("raster", "vector"):
        for other in ("raster", "vector"):
            report = evaluate_files(
                [paths["map", one]], paths["truth", other], ScoreOptions(draws=0)
            )
            found[one, other] = report.runs[0].values
    first = found["raster", "raster"]
    assert 0 < first["object_f1"] <= 1
    for values in found.values():
        assert values["object_f1"] == pytest.approx(first["object_f1"], abs=0.02)
        assert values["pixel_iou"] == pytest.approx(first["pixel_iou"], abs=0.01)


def test_several_maps_side_by_side_and_other_grids_are_refused(tmp_path):
    ids = sample("x").instances.ids
    truth = write_ids(tmp_path / "truth.tif", ids)
    maps = [
        write_ids(tmp_path / "good.tif", ids),
        write_ids(tmp_path / "poor.tif", np.where(ids < 8, 0, ids).astype(np.int32)),
    ]
    report = evaluate_files(maps, truth)
    assert [run.name for run in report.runs] == ["good", "poor"]
    assert report.runs[0].values["object_f1"] == 1 > report.runs[1].values["object_f1"]
    assert any(b.content_free for b in report.baselines)
    far = write_ids(
        tmp_path / "far.tif", ids, GeoBox((128, 128), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
    )
    with pytest.raises(GridMismatch, match="different grids"):
        evaluate_files([far], truth)
    with pytest.raises(BadInput, match="No map"):
        evaluate_files([], truth)


def test_folder_lists_what_has_no_partner(tmp_path):
    for name in ("images", "instances"):
        (tmp_path / name).mkdir()
    for key in ("a", "b", "lonely"):
        made = sample(key)
        with store.create_cog(
            tmp_path / "images" / f"{key}.tif", GRID, made.image.bands, np.uint8
        ) as sink:
            sink.write(whole(GRID), made.image.values)
        if key != "lonely":
            write_ids(tmp_path / "instances" / f"{key}.tif", made.instances.ids)
    write_ids(tmp_path / "instances" / "orphan.tif", sample("x").instances.ids)
    found = read_folder(tmp_path)
    assert [s.key for s in found.samples] == ["a", "b"]
    assert any("lonely" in line for line in found.problems)
    assert any("orphan" in line for line in found.problems)
    report = evaluate({"painter": Painter()}, found.samples, QUICK)
    assert report.runs[0].values["object_f1"] > 0.95
    with pytest.raises(UnreadableFile, match="images/"):
        read_folder(tmp_path / "images")
    ids = sample("a").instances.ids.astype(np.uint16)
    ids[:, -9:] = 65535
    (tmp_path / "instances" / "a.tif").unlink()
    with store.create_cog(
        tmp_path / "instances" / "a.tif", GRID, ("id",), np.uint16, nodata=65535
    ) as sink:
        sink.write(whole(GRID), ids[None])
    assert read_folder(tmp_path).samples[0].instances.ids.max() < 65535


def test_of_two_files_of_one_name_the_one_left_out_is_said(tmp_path):
    """One of a.png and a.tif was scored, and nothing told of the other."""
    for name in ("images", "instances"):
        (tmp_path / name).mkdir()
    made = sample("a")
    write_ids(tmp_path / "instances" / "a.tif", made.instances.ids)
    with store.create_cog(tmp_path / "images" / "a.tif", GRID, made.image.bands, np.uint8) as sink:
        sink.write(whole(GRID), made.image.values)
    Image.fromarray(made.image.values.transpose(1, 2, 0)).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "._a.tif").write_bytes(b"of a Mac")
    found = read_folder(tmp_path)
    assert [s.key for s in found.samples] == ["a"]
    assert len(found.problems) == 1
    assert "have the name of another: a.png" in found.problems[0]
    (tmp_path / "instances").rename(tmp_path / "labels")
    (told,) = load_dataset(tmp_path, classes=FTW3).problems
    assert told.endswith("have the name of another: images/a.png")


def test_a_truth_whose_nought_is_white_is_refused(tmp_path):
    """As by train: what was drawn as soil was scored as crop."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    made = sample("a")
    with store.create_cog(tmp_path / "images" / "a.tif", GRID, made.image.bands, np.uint8) as sink:
        sink.write(whole(GRID), made.image.values)
    drawn = np.zeros(tuple(GRID.shape), np.uint8)
    Image.fromarray(drawn).save(tmp_path / "labels" / "a.tif", tiffinfo={262: 0})
    with pytest.raises(BadInput, match="is a negative"):
        read_folder(tmp_path)


def test_report_files_are_whole_and_self_contained(tmp_path):
    samples = [sample("one", 32), sample("two", 16), sample("three", 24)]
    report = evaluate({"painter <1>": Painter(0.3)}, samples, QUICK)
    truths = {s.key: truth_ids(s) for s in samples}
    figures = case_figures(
        report.runs[0], samples, lambda s: (truths[s.key], answer(Painter(0.3), s, QUICK).ids)
    )
    assert [f.caption.split(":")[0] for f in figures] == ["Worst", "Median", "Best"]
    paths = write_report(report, tmp_path / "out", figures=figures)
    html = (tmp_path / "out" / "report.html").read_text()
    assert "painter &lt;1&gt;" in html
    assert html.count("data:image/") == 3
    assert "<svg" in html
    assert "http://" not in html
    assert "https://" not in html
    assert (
        json.loads((tmp_path / "out" / "report.json").read_text())["runs"][0]["name"]
        == "painter <1>"
    )
    assert len(paths) == 3
    with pytest.raises(OutputExists):
        write_report(report, tmp_path / "out")


def test_deployment_scores_of_a_pixelwise_model():
    found = deployment_scores(Painter(), [sample("one"), sample("two", 16)], size=128, centre=64)
    assert found["samples"] == 2
    assert found["consistency"] == 1
    assert found["order"] == "one date: no other order"
    assert found["radiometry"]["sensitivity"] > 0
    assert found["scale"]["reference"] > 0.5
    assert set(found["consistency_sweep"]) == {32, 64, 96}
    assert np.isfinite(found["seams"])
    with pytest.raises(BadInput, match="smaller size"):
        deployment_scores(Painter(), [sample("one")], size=256)


def test_the_verb_on_maps_and_its_bad_input(tmp_path):
    from click.testing import CliRunner

    from selion.cli.evaluate import evaluate_command

    ids = sample("x").instances.ids
    truth, prediction = write_ids(tmp_path / "truth.tif", ids), write_ids(tmp_path / "map.tif", ids)
    arguments = [
        "--pred",
        str(prediction),
        "--truth",
        str(truth),
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(evaluate_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("report.html")
    assert (tmp_path / "out" / "report.md").read_text().startswith("# map against truth.tif")
    assert isinstance(CliRunner().invoke(evaluate_command, arguments).exception, OutputExists)
    for wrong in (
        ["--pred", str(prediction)],
        [],
        ["--pred", str(prediction), "--truth", str(truth), "model", str(tmp_path)],
        [str(tmp_path)],
    ):
        assert CliRunner().invoke(evaluate_command, wrong).exit_code == 2


def test_chips_of_other_numbers_are_converted_together_as_on_a_map():
    """One chip of them is all water, which tells nothing of an offset."""

    @dataclass(frozen=True)
    class Bright:
        inputs: InputSpec = field(
            default_factory=lambda: InputSpec(
                ("red", "green", "blue", "nir"), Scaling((3000.0,)), window=64, multiple=16
            )
        )
        classes: object = FTW3

        def __call__(self, views):
            dense = np.stack([view.pixels[3] > 3350 for view in views])
            return np.stack([~dense, dense, np.zeros_like(dense)], 1).astype(np.float32)

    rng = np.random.default_rng(0)
    kinds = np.array([[300, 600, 250, 4000], [2000, 1500, 1000, 2700], [200, 300, 350, 80]])
    samples = []
    for key, shares in (("land", (0.4, 0.5, 0.1)), ("water", (0.0, 0.0, 1.0))):
        cover = np.kron(rng.choice(3, (8, 8), p=shares), np.ones((16, 16), int))
        values = kinds.T[:, cover] * rng.normal(1, 0.05, cover.shape)
        ids = ndimage.label(cover == 0)[0].astype(np.int32)
        names = ("red", "green", "blue", "nir")
        samples.append(Sample(key, Raster(values, GRID, names), None, Instances(ids, GRID)))
    moved = [
        replace(one, image=replace(one.image, values=(one.image.values + 2000).astype(np.uint16)))
        for one in samples
    ]
    assert not alike([one.image for one in samples], Bright().inputs)[1]
    assert "2000 was added" in alike([one.image for one in moved], Bright().inputs)[1][0]
    tags = {"scales": ",".join(["2e-05"] * 4), "offsets": "0,0,0,0"}
    five = [replace(one.image, values=one.image.values * 5, tags=tags) for one in samples]
    for inputs in (Bright().inputs, replace(Bright().inputs, scaling=Scaling((1.0,)))):
        read, told = alike(five, inputs)
        assert any("The file's own scale of 2e-05" in text for text in told)
        for one, other in zip(read, samples, strict=True):
            seen = one.read(whole(GRID)).values
            np.testing.assert_allclose(seen, other.image.values, rtol=1e-5)
    options = replace(QUICK, baselines=False)
    plain = evaluate({"m": Bright()}, samples, options=options)
    shifted = evaluate({"m": Bright()}, moved, options=options)
    assert plain.runs[0].values["pixel_iou"] > 0.9
    np.testing.assert_equal(shifted.runs[0].values, plain.runs[0].values)
    assert not any("numbers" in name for name in plain.settings)
    assert "2000 was added" in shifted.settings["the images' numbers, for m"]


def folder_of(root, name, truth):
    """Write image and truth of one name, the truth as a PNG."""
    for part in ("images", name):
        (root / part).mkdir(parents=True)
    height, width = truth.size[1], truth.size[0]
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(root / "images" / "a.png")
    truth.save(root / name / "a.png")
    return root


def test_a_mask_with_a_palette_is_read_by_its_numbers(tmp_path):
    """What was read was how red each class is drawn: black, red and green were 0, 255 and 0."""
    codes = np.repeat(np.arange(3, dtype=np.uint8), 8).reshape(4, 6)
    drawn = Image.fromarray(codes, "L")
    drawn.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    (labels,) = read_folder(folder_of(tmp_path / "l", "labels", drawn)).samples
    assert labels.labels.ids.tolist() == codes.tolist()
    (objects,) = read_folder(folder_of(tmp_path / "i", "instances", drawn)).samples
    assert objects.instances.ids.tolist() == codes.tolist()


def test_objects_drawn_in_colours_are_told_apart_and_classes_in_colours_are_refused(tmp_path):
    """A red, a yellow and a blue object: by their red alone they were one, and the blue none."""
    drawn = np.zeros((4, 8, 3), np.uint8)
    drawn[:, 1:3], drawn[:, 3:5], drawn[:, 6:] = (255, 0, 0), (255, 255, 0), (0, 0, 255)
    picture = Image.fromarray(drawn)
    (found,) = read_folder(folder_of(tmp_path / "i", "instances", picture)).samples
    first = found.instances.ids[0]
    assert len(set(first[[1, 3, 6]].tolist())) == 3
    assert (first[[1, 3, 6]] == first[[2, 4, 7]]).all()
    assert first[0] == first[5] == 0
    with pytest.raises(BadInput, match=r"a\.png .*colours"):
        read_folder(folder_of(tmp_path / "l", "labels", picture))


def test_truth_of_numbers_that_32_bits_do_not_hold_and_of_no_number(tmp_path):
    """An id of 3e9 was no object, two of 2^33 + 1 and 1 were one; NaN and nodata were classes."""
    for name in ("images", "instances", "labels"):
        (tmp_path / name).mkdir()
    made = sample("a")
    with store.create_cog(tmp_path / "images" / "a.tif", GRID, made.image.bands, np.uint8) as sink:
        sink.write(whole(GRID), made.image.values)
    labels, instances = tmp_path / "labels" / "a.tif", tmp_path / "instances" / "a.tif"

    def write(path, values, nodata=None):
        path.unlink(missing_ok=True)
        with store.create_cog(path, GRID, ("x",), values.dtype, nodata=nodata) as sink:
            sink.write(whole(GRID), values[None])

    rows = np.repeat(np.arange(128), 128).reshape(128, 128)
    write(labels, np.where(rows < 9, np.nan, rows % 2).astype(np.float32))
    (found,) = read_folder(tmp_path).samples
    assert found.labels.ids.tolist() == np.where(rows < 9, IGNORE, rows % 2).tolist()
    write(labels, (rows % 3).astype(np.uint8), nodata=2)
    (found,) = read_folder(tmp_path).samples
    assert found.labels.ids.tolist() == np.where(rows % 3 == 2, IGNORE, rows % 3).tolist()
    write(labels, (rows % 3).astype(np.uint8), nodata=0)  # its background, as in data sets
    (found,) = read_folder(tmp_path).samples
    assert found.labels.ids.tolist() == (rows % 3).tolist()
    labels.unlink()
    write(instances, np.where(rows < 9, np.nan, rows - 20).astype(np.float32))
    (found,) = read_folder(tmp_path).samples
    assert found.instances.ids.tolist() == np.where(rows < 21, 0, rows - 20).tolist()
    write(instances, np.where(rows < 9, 0, 3_000_000_000).astype(np.uint32))
    with pytest.raises(BadInput, match=r"a\.tif .*up to 2,147,483,647"):
        read_folder(tmp_path)
