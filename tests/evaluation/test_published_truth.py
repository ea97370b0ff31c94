"""Fields of The World's own masks as truth: an answer equal to them scores 1, by every rule.

The masks are drawn here pixel by pixel as the benchmark draws them: a line two pixels wide between
neighbours, which is boundary in one mask and background in the others.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

from selion.classes import FTW2, FTW3
from selion.cli.evaluate import evaluate_command
from selion.data import load_dataset
from selion.data.ftw import BANDS
from selion.errors import BadInput
from selion.evaluation import EvaluateOptions, deployment_scores, evaluate
from selion.grid import photo_grid
from selion.labels import Instances
from selion.metrics import ScoreOptions
from selion.prediction import PredictOptions
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec, Scaling, as_model

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
SIZE = 128
QUICK = EvaluateOptions(score=ScoreOptions(draws=0), protocol="prue", baselines=False)


@dataclass(frozen=True)
class Oracle:
    """Reads the class from the first band, which holds 100 times the published mask."""

    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(BANDS, Scaling((1.0,)), window=64, multiple=16)
    )
    classes: object = FTW3

    def __call__(self, views):
        said = [np.round(view.pixels[0] / 100).clip(0, 2).astype(int) for view in views]
        return np.stack([np.eye(3, dtype=np.float32)[one].transpose(2, 0, 1) for one in said])


def masks(step=16):
    """Return (y, x) three classes, two classes and instances: squares apart by two pixels' line."""
    y, x = np.mgrid[:SIZE, :SIZE]
    inside = (y % step > 0) & (y % step < step - 1) & (x % step > 0) & (x % step < step - 1)
    ids = np.where(inside, (y // step) * 100 + x // step + 1, 0)
    bare = (y // step + x // step) % 3 == 0
    return (
        np.where(bare, 0, np.where(inside, 1, 2)).astype(np.uint8),
        np.where(bare, 0, inside).astype(np.uint8),
        np.where(bare, 0, ids).astype(np.uint32),
    )


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.atleast_3d(values.T).T
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(values),
        height=SIZE,
        width=SIZE,
        dtype=values.dtype,
        crs="EPSG:32633",
        transform=Affine(10, 0, 600000, 0, -10, 5300000),
    ) as dataset:
        dataset.write(values)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Two countries; in Brazil only some fields are labelled, and the rest is not known."""
    root = tmp_path_factory.mktemp("ftw")
    for country, splits in {"austria": ("train", "test", "test"), "brazil": ("test",)}.items():
        chips = []
        for number, split in enumerate(splits):
            three, two, instance = masks(16 if number % 2 else 32)
            image = np.zeros((4, SIZE, SIZE), np.uint16)
            image[0] = three * 100 + 1
            name, home = f"g{number}", root / country
            write(home / "s2_images" / "window_a" / f"{name}.tif", image)
            write(home / "s2_images" / "window_b" / f"{name}.tif", image)
            if country == "brazil":
                three = np.where(three == 0, 3, three)
                hidden = instance > 700
                three, two = np.where(hidden, 3, three), np.where(hidden, 0, two)
                instance = np.where(hidden, 0, instance)
            write(home / "label_masks" / "semantic_3class" / f"{name}.tif", three.astype(np.uint8))
            write(home / "label_masks" / "semantic_2class" / f"{name}.tif", two.astype(np.uint8))
            write(home / "label_masks" / "instance" / f"{name}.tif", instance.astype(np.uint32))
            chips.append((name, split))
        table = pd.DataFrame(chips, columns=["aoi_id", "split"])
        table.to_parquet(root / country / f"chips_{country}.parquet")
    return root


def test_the_published_masks_score_one(benchmark):
    samples = load_dataset(benchmark).select("test", "austria")
    report = evaluate({"oracle": Oracle()}, samples, QUICK)
    line = report.settings["oracle by PRUE's rules"]
    measures = [name for name in line if name.startswith(("pixel", "object"))]
    assert len(measures) == 6
    assert {line[name] for name in measures} == {"1.000"}


def test_countries_with_some_fields_labelled_are_left_out(benchmark):
    samples = load_dataset(benchmark).select("test")
    options = EvaluateOptions(
        score=ScoreOptions(draws=0), protocol="prue", baselines=False, presence_only=("brazil",)
    )
    line = evaluate({"oracle": Oracle()}, samples, options).settings["oracle by PRUE's rules"]
    assert line["object_precision"] == "1.000"  # the fields of brazil that nobody labelled
    assert line["left out"] == "brazil: only some of its fields are labelled"
    with pytest.raises(BadInput, match="only some of their fields are labelled"):
        evaluate({"oracle": Oracle()}, load_dataset(benchmark).select("test", "brazil"), options)


def test_deployment_scores_of_a_perfect_answer_are_one(benchmark):
    samples = load_dataset(benchmark).select(None, "austria")
    found = deployment_scores(Oracle(), samples, size=64, centre=32)
    assert found["samples"] == 3
    for family in ("order", "radiometry", "scale"):
        assert found[family]["reference"] == 1
        assert found[family]["object_f1"]["reference"] == 1
        assert set(found[family]["groups"]) == {"austria"}
    # both dates are alike here, so that another order changes nothing
    assert found["order"]["sensitivity"] == found["order"]["object_f1"]["sensitivity"] == 0
    # three times the divisor makes a boundary of 2 a field of 1 or less
    assert found["radiometry"]["object_f1"]["divisor x 10/3"] < 0.9


def test_every_sample_is_looked_at(benchmark):
    samples = [s for s in load_dataset(benchmark).select("train") for _ in range(53)]
    found = deployment_scores(Oracle(), samples, size=32, centre=16, families=("order",))
    assert found["samples"] == 53


def run(monkeypatch, *arguments):
    from selion import models

    monkeypatch.setattr(models, "load_model", lambda *_, **__: Oracle())
    return CliRunner().invoke(evaluate_command, [str(a) for a in arguments])


def test_the_verb_finds_the_layout_and_scores_the_test_split(monkeypatch, benchmark, tmp_path):
    arguments = ("oracle", benchmark, "--protocol", "prue", "--bootstrap", 0, "-o", tmp_path / "a")
    done = run(monkeypatch, *arguments)
    assert done.exit_code == 0, done.output
    assert "split: test, 3 of 4 samples" in done.output
    assert "images: 3" in done.output
    assert "left out" in done.output
    done = run(monkeypatch, *arguments[:-1], tmp_path / "b", "--split", "train")
    assert "images: 1" in done.output
    done = run(monkeypatch, *arguments[:-1], tmp_path / "c", "--split", "all", "--layout", "ftw")
    assert "images: 4" in done.output
    done = run(monkeypatch, *arguments[:-1], tmp_path / "d", "--split", "tests")
    assert "did you mean 'test'" in str(done.exception)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--classes", "alu"),
        ("--boundary-ratio", "0.01"),
        ("--boundary-px", "2"),
        ("--oracle", "sam.pt"),
    ],
)
def test_options_of_pixels_are_refused_without_it(monkeypatch, benchmark, tmp_path, option, value):
    done = run(monkeypatch, "oracle", benchmark, option, value, "-o", tmp_path / "a")
    assert done.exit_code == 2
    assert f"{option} belongs to --pixels" in done.output
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--protocol", "prue"),
        ("--iou", "0.6"),
        ("--cap", "100"),
        ("--by", "group"),
        ("--deployment",),
        ("--reproject",),
        ("--fit-calibration", "c.toml"),
        ("--method", "watershed"),
        ("--json",),
    ],
)
def test_options_of_objects_are_refused_with_pixels(monkeypatch, benchmark, tmp_path, option):
    done = run(monkeypatch, "--pixels", benchmark, *option, "-o", tmp_path / "a")
    assert done.exit_code == 2
    assert f"{option[0]} has no effect with --pixels" in done.output


@pytest.mark.parametrize("option", [("--layout", "ftw"), ("--split", "test"), ("--deployment",)])
def test_options_of_datasets_are_refused_for_maps(monkeypatch, benchmark, tmp_path, option):
    mask = benchmark / "austria" / "label_masks" / "instance" / "g0.tif"
    done = run(monkeypatch, "--pred", mask, "--truth", mask, *option, "-o", tmp_path / "a")
    assert done.exit_code == 2
    assert f"{option[0]} has no effect with --pred" in done.output


def test_a_window_that_is_asked_for_stays(benchmark):
    """The oracle answers alike whatever its windows are."""
    samples = load_dataset(benchmark).select("test", "austria")
    options = EvaluateOptions(
        score=ScoreOptions(draws=0), baselines=False, predict=PredictOptions(window=32)
    )
    assert evaluate({"oracle": Oracle()}, samples, options).runs[0].values["object_f1"] == 1


@dataclass(frozen=True)
class Finder:
    """Answers with the objects whose ids stand in the last band, and half of one of them less."""

    keep: float = 1.0
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(("a", "b"), Scaling((1.0,)), window=64, multiple=16)
    )
    classes: object = FTW2

    def __call__(self, views):
        found = []
        for view in views:
            ids = view.pixels[1].astype(np.int32)
            numbers = np.unique(ids[ids > 0])
            kept = numbers[: max(1, round(len(numbers) * self.keep))]
            table = pd.DataFrame({"id": kept, "score": 0.5 + kept / (2 * kept.max())})
            grid = photo_grid(ids.shape)
            found.append(Instances(np.where(np.isin(ids, kept), ids, 0), grid, table))
        return found


def touching(seed=0):
    """Return a sample of one date whose squares touch, and no line parts them."""
    y, x = np.mgrid[:SIZE, :SIZE]
    ids = ((y // 32) * 4 + x // 32 + 1).astype(np.int32)
    ids[(y // 32 + x // 32) % 4 == seed] = 0
    grid = GeoBox((SIZE, SIZE), Affine(10, 0, 600000, 0, -10, 5300000), "EPSG:32633")
    image = Raster(np.stack([ids, ids]).astype(np.uint16) + np.uint16([[[1]], [[0]]]), grid, "ab")
    return Sample(f"squares {seed}", replace(image, bands=("a", "b")), None, Instances(ids, grid))


def test_models_of_objects_are_scored_like_any_other():
    samples = [touching(0), touching(1)]
    model = as_model(Finder(), "objects")
    report = evaluate({"finder": model}, samples, QUICK)
    values = report.runs[0].values
    for name in ("object_precision", "object_recall", "object_f1", "ap", "ap50"):
        assert values[name] == 1, name
    line = report.settings["finder by PRUE's rules"]
    # 12 squares of 32 px: the truth loses its outermost pixels (where objects touch), the answer
    # has none to lose; 30 x 30 of 32 x 32 is .879 and still a match
    assert line["object_f1"] == "1.000"
    assert 0.85 < float(line["pixel_iou"]) < 1


def test_half_of_the_objects_are_half_of_the_recall():
    sample = touching(0)
    model = as_model(Finder(keep=0.5), "objects")
    options = EvaluateOptions(score=ScoreOptions(draws=0), predict=PredictOptions(window=SIZE))
    values = evaluate({"finder": model}, [sample], options).runs[0].values
    count = len(np.unique(sample.instances.ids)) - 1
    assert values["object_precision"] == 1
    assert values["object_recall"] == pytest.approx(round(count / 2) / count)


def test_deployment_scores_of_a_model_of_objects():
    found = deployment_scores(
        as_model(Finder(), "objects"), [touching(0)], size=64, centre=32, families=("scale",)
    )
    assert found["consistency"] == 1
    assert found["scale"]["reference"] == 1
