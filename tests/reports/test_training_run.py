"""selion train from the command line: recipe and folder in, model and report out; sweeps; and what
is refused.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import selion
from selion import data, models, store, training
from selion.classes import CROP
from selion.cli.main import main
from selion.errors import BadInput, UnknownName
from selion.grid import whole
from selion.models.toml import to_toml
from selion.progress import silent
from selion.reports import sweep, training_run
from selion.training.datasets import open_samples
from selion.training.loop import as_mapped
from selion.training.recipe import (
    Augment,
    Crops,
    Data,
    Hardware,
    Inputs,
    Loss,
    Model,
    Schedule,
    Validate,
)
from selion.training.scoring import Scores, chosen, learnt_score, score_samples, score_ways
from train_toys import BANDS, recipe, sample

TINY = {
    "family": "unet",
    "encoder": "tu-test_resnet",
    "encoder_depth": 3,
    "decoder_channels": [8, 8, 8],
}


def made(path, **parts):
    parts = {
        "data": Data(str(path)),
        "model": Model(TINY),
        "crops": Crops("chip"),
        "schedule": Schedule(epochs=2, batch=2, lr=1e-3, per="step"),
        "validate": Validate(every=1),
    } | parts
    return recipe(**parts)


def write_recipe(path, spec):
    path.write_text(to_toml(training.recipe_table(spec)), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("chips"), (10, 11))


def write_chips(root, held_out):
    """Write chips side by side: on one and the same ground they could not judge one another."""
    seeds = [("train", seed) for seed in (0, 1, 2)] + [("val", seed) for seed in held_out]
    for place, (split, seed) in enumerate(seeds):
        one = sample(seed)
        grid = one.image.grid.translate_pix(place * one.image.grid.shape[1], 0)
        for what, values, bands in (
            ("images", one.image.values, BANDS),
            ("instances", one.instances.ids[None], ("id",)),
        ):
            path = root / split / what / f"{split}_{seed}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.create_cog(path, grid, bands, values.dtype) as sink:
                sink.write(whole(grid), values)
    return root


@pytest.fixture(scope="module")
def run(chips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    spec = write_recipe(folder / "tiny.toml", made(chips))
    main_ok("train", spec, "-o", folder / "out", "-q")
    return folder / "out", spec


def main_ok(*arguments):
    main([str(a) for a in arguments])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message.strip().splitlines()[-1]


def test_a_run_leaves_model_checkpoint_recipe_curves_and_report(run):
    folder, _ = run
    names = {p.name for p in folder.iterdir() if not p.name.startswith("events")}
    assert names == {
        "model",
        "recipe.toml",
        "state.safetensors",
        "log.jsonl",
        "report.html",
        "report.json",
    }
    assert {p.name for p in (folder / "model").iterdir()} == {
        "card.toml",
        "model.onnx",
        "model.safetensors",
    }
    card = models.read_card(folder / "model")
    assert card.inputs.bands == BANDS
    assert card.scores["validation"]["pixel_iou"] >= 0
    assert "3 samples, 2 epochs, recipe toy, seed 7" in card.training
    assert training.read_recipe(folder / "recipe.toml") == training.read_recipe(run[1])


def test_the_model_maps_and_its_scores_are_those_of_the_report(run):
    from selion.training.scoring import score_samples

    folder, spec = run
    facts = json.loads((folder / "report.json").read_text())
    plan = training.plan_training(training.read_recipe(spec))
    found = score_samples(
        models.load_model(folder / "model", "torch"), plan.validation, plan.recipe.validate
    )
    # the packaged weights are float16
    assert found.pixel_iou == pytest.approx(facts["scores"]["pixel_iou"], abs=0.01)
    assert facts["share_waited_for_data"] < 1
    assert facts["training_samples"] == 3
    assert len(facts["samples"]) == 2


def test_the_report_stands_alone_and_shows_curves_and_samples(run):
    text = (run[0] / "report.html").read_text()
    assert text.count('<svg class="chart"') == 4
    assert text.count("data:image/jpeg") == 2
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<script" not in text
    for words in (
        "object F1",
        "schedule.lr",
        "waited for data",
        "val/val_10",
        "So few samples say little",
    ):
        assert words in text


def test_a_second_run_needs_resume_or_force(run, capsys):
    folder, spec = run
    assert "holds a run already: continue with --resume, start over with --force" in refused(
        capsys, "train", spec, "-o", folder
    )
    kept = [
        folder / name
        for name in ("model/model.safetensors", "report.html", "report.json", "state.safetensors")
    ]
    before = [path.read_bytes() for path in kept]
    capsys.readouterr()
    main_ok("train", spec, "-o", folder, "--resume")
    said = capsys.readouterr()
    assert f"{folder} is finished: all 2 epochs are done" in said.err
    assert said.out.strip() == str(folder / "report.html")
    assert [path.read_bytes() for path in kept] == before
    training_run.run(training.plan_training(training.read_recipe(spec)), folder, resume=True)
    assert json.loads((folder / "report.json").read_text())["images_per_second"] > 0
    assert "made with another recipe: schedule.lr was 0.001 and is now 0.1" in refused(
        capsys, "train", spec, "-o", folder, "--resume", "--set", "schedule.lr=0.1"
    )
    assert training.read_recipe(folder / "recipe.toml").schedule.lr == 1e-3
    assert "holds no run to resume" in refused(
        capsys, "train", spec, "-o", folder.parent / "none", "--resume"
    )


def test_bad_input_is_one_sentence(chips, tmp_path, capsys):
    spec = write_recipe(tmp_path / "r.toml", made(chips))
    out = ("-o", tmp_path / "x")
    for change, words in (
        ("schedule.ler=1", "did you mean 'schedule.lr'"),
        ("data.dataset=", "names no data"),
        ("data.dataset=nowhere", "nowhere"),
        ("data.train_split=tran", "did you mean 'train'"),
        ("data.image=a.tif", "own polygons want both"),
        ("model.architecture.family=unett", "did you mean 'unet'"),
        ("model.start_from=fields-rgb", "did you mean 'fields-rgb-vhr'"),
        ("loss.kind=dise", "did you mean 'dice'"),
        (
            "input.bands=['red', 'green', 'blue', 'nir']",
            "but the recipe wants red, green, blue, nir",
        ),
    ):
        message = refused(capsys, "train", spec, *out, "--set", change, "-q")
        assert words in message, message
    assert not (tmp_path / "x" / "model").exists()


def test_a_dry_run_writes_nothing_and_estimates(chips, tmp_path, capsys):
    spec = write_recipe(tmp_path / "r.toml", made(chips))
    main_ok("train", spec, "-o", tmp_path / "x", "--dry-run")
    said = capsys.readouterr().err
    assert "3 training and 2 validation samples" in said
    assert "6 windows at" in said
    assert "parameters" in said
    assert not (tmp_path / "x").exists()


def test_json_lines(chips, tmp_path, capsys):
    spec = write_recipe(tmp_path / "r.toml", made(chips, schedule=Schedule(epochs=1, batch=3)))
    main_ok("train", spec, "-o", tmp_path / "x", "--json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "result"
    assert events[-1]["model"].endswith("model")
    assert any(e["event"] == "progress" and e["stage"] == "train" for e in events)


def test_recipes_are_listed(capsys):
    main_ok("train", "--list")
    assert "prue/loss-dice" in capsys.readouterr().out
    assert "Missing argument" in refused(capsys, "train")


def test_a_warm_start_takes_what_fits_and_says_so(run, chips):
    folder, _ = run
    network, said = training.make_network(made(chips, model=Model(TINY, start_from=str(folder))))
    assert "start from" in said
    assert "; not" not in said
    from safetensors.torch import load_file

    theirs = load_file(folder / "model" / "model.safetensors")
    assert (
        network.state_dict()["encoder.model.conv1.0.weight"]
        == theirs["encoder.model.conv1.0.weight"].float()
    ).all()
    wider = {**TINY, "decoder_channels": [16, 8, 8]}
    assert (
        "; not decoder"
        in training.make_network(made(chips, model=Model(wider, start_from=str(folder))))[1]
    )
    other = {
        "family": "unet",
        "encoder": "resnet18",
        "encoder_depth": 3,
        "decoder_channels": [8, 8, 4],
    }
    with pytest.raises(BadInput, match=r"None of the .* fits the network"):
        training.make_network(made(chips, model=Model(other, start_from="fields-rgb-vhr")))


def test_random_starts_follow_the_seed(chips):
    nets = [
        training.make_network(made(chips, seed=seed))[0].state_dict()[
            "encoder.model.conv1.0.weight"
        ]
        for seed in (1, 1, 2)
    ]
    assert (nets[0] == nets[1]).all()
    assert (nets[0] != nets[2]).any()


def test_own_polygons_in_one_command(tmp_path):
    from selion import fields

    one = sample(4, size=128, bands=("red", "green", "blue"))
    image = tmp_path / "farm.tif"
    with store.create_cog(image, one.image.grid, one.image.bands, "uint8") as sink:
        sink.write(whole(one.image.grid), (one.image.values // 16).astype(np.uint8))
    frame = fields.to_fields(one.instances, fields.FieldOptions(simplify=0))
    frame[["geometry"]].to_file(tmp_path / "farm.gpkg", driver="GPKG")
    changes = [
        "schedule.epochs=1",
        "schedule.batch=4",
        "input.window=32",
        "hardware.threads=1",
        "hardware.workers=0",
        "hardware.precision=float32",
        "model.keep_start=0.75",
    ]
    changes += [f"data.image={image}", f"data.polygons={tmp_path / 'farm.gpkg'}"]
    sets = [part for change in changes for part in ("--set", change)]
    main_ok("train", "own-polygons", *sets, "-o", tmp_path / "model", "-q")
    facts = json.loads((tmp_path / "model" / "report.json").read_text())
    assert facts["training_samples"] > facts["validation_samples"] > 0
    assert models.read_card(tmp_path / "model" / "model").architecture["encoder"] == "mobilenet_v2"


def test_imagery_that_shows_nothing_is_refused_before_and_after(tmp_path):
    """NaN everywhere: nothing is learnt from it, and the sentence names the images, not a
    validation split that is there.
    """
    root = tmp_path / "dark"
    for split, seed in (("train", 0), ("val", 1)):
        one = sample(seed)
        for what, values, bands in (
            ("images", np.full_like(one.image.values, np.nan, np.float32), BANDS),
            ("instances", one.instances.ids[None], ("id",)),
        ):
            path = root / split / what / f"{split}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.create_cog(path, one.image.grid, bands, values.dtype) as sink:
                sink.write(whole(one.image.grid), values)
    with pytest.raises(
        BadInput, match=r"no pixel is both seen and known: their images hold nodata or NaN"
    ):
        training.plan_training(made(root))
    validation = open_samples(made(root))[1]
    with pytest.raises(BadInput, match=r"none of the 1 validation samples shows a valid pixel"):
        score_samples(models.load_model("fields-s2-2season"), validation, Validate(method="pixels"))


def test_the_package_trains_in_one_call(chips, tmp_path):
    spec = write_recipe(
        tmp_path / "tiny.toml",
        made(chips, schedule=Schedule(epochs=1, batch=3), validate=Validate(every=0)),
    )
    result = selion.train(spec, tmp_path / "one", ["seed=3"])
    assert (result.plan.recipe.seed, result.card.folder) == (3, tmp_path / "one" / "model")
    report = selion.evaluate(
        {"mine": selion.load_model(result.card.folder)}, result.plan.validation
    )
    assert report.runs[0].name == "mine"
    with pytest.raises(BadInput, match="was read already"):
        selion.train(result.plan.recipe, tmp_path / "two", ["seed=4"])
    with pytest.raises(BadInput, match="trains a language model"):
        selion.train("magseg", tmp_path / "three")
    assert not (tmp_path / "three").exists()


def test_a_run_that_cannot_begin_leaves_the_one_before(chips, tmp_path):
    """--force with a start that is not there: the old checkpoint is still one to go on from."""
    spec = made(chips, schedule=Schedule(epochs=1, batch=3), validate=Validate(every=0))
    training.train_plan(training.plan_training(spec), tmp_path / "run")
    before = {
        path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()
    }
    with pytest.raises(UnknownName):
        training.train_plan(
            training.plan_training(replace(spec, model=Model(TINY, start_from="no-such-model"))),
            tmp_path / "run",
            force=True,
        )
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()
    } == before


def test_sweeps_are_every_combination():
    found = sweep.variants(
        "prue", ["schedule.lr=1e-4,1e-3", "recipe=a,b", "loss.weights=[1,2,3],[4,5,6]"]
    )
    assert len(found) == 8
    assert found[0].name == "schedule.lr=1e-4, recipe=a, loss.weights=[1,2,3]"
    assert (found[0].recipe, found[0].changes) == (
        "a",
        ("schedule.lr=1e-4", "loss.weights=[1,2,3]"),
    )
    assert len({sweep.folder_name(v) for v in found}) == 8
    for text in ("schedule.lr", "schedule.lr=1", "=1,2"):
        with pytest.raises(BadInput, match=r"wanted is key=a,b"):
            sweep.variants("prue", [text])
    with pytest.raises(BadInput, match="twice"):
        sweep.variants("prue", ["seed=1,2", "seed=3,4"])


def test_a_sweep_trains_each_and_compares_with_the_first(chips, tmp_path, capsys):
    spec = write_recipe(
        tmp_path / "r.toml",
        made(chips, schedule=Schedule(epochs=1, batch=3), validate=Validate(every=0)),
    )
    main_ok("train", spec, "-o", tmp_path / "s", "--sweep", "schedule.lr=1e-4,1e-3")
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "s" / "sweep.html")
    assert len([line for line in said.err.splitlines() if line.startswith("schedule.lr=")]) == 2
    assert "p (Holm)" in said.err
    assert (tmp_path / "s" / "schedule.lr=1e-4" / "report.html").exists()
    facts = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [f["run"] for f in facts] == ["schedule.lr=1e-4", "schedule.lr=1e-3"]
    before = (tmp_path / "s" / "schedule.lr=1e-3" / "model" / "model.safetensors").read_bytes()
    main_ok(
        "train", spec, "-o", tmp_path / "s", "--sweep", "schedule.lr=1e-4,1e-3", "--resume", "-q"
    )
    assert (
        tmp_path / "s" / "schedule.lr=1e-3" / "model" / "model.safetensors"
    ).read_bytes() == before


def test_the_table_of_a_sweep_finds_a_difference_and_no_difference(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(20, 40, 50)

    def row(name, recall):
        tp = rng.binomial(truth, recall)
        counts = np.column_stack(
            [tp, truth - tp, truth - tp, 100 * tp, 100 * (truth - tp), np.zeros(50)]
        )
        scores = Scores(tuple(map(str, range(50))), ("",) * 50, counts.astype(float))
        return sweep.SweepRow(sweep.Variant(name, "r", ()), tmp_path, scores, 1.0)

    rows = [row("a", 0.6), row("b", 0.6), row("c", 0.8)]
    body = sweep.table(rows)
    assert body[0][3:6] == ["", "", ""]
    assert abs(body[1][3]) < 0.05
    assert body[1][5] > 0.05
    assert body[2][3] == pytest.approx(0.2, abs=0.05)
    assert body[2][5] < 0.01
    assert "difference" in sweep.text_table([sweep.header(rows), *body]).splitlines()[0]


def test_validation_takes_samples_that_are_evenly_spread():
    assert chosen(range(10), 0) == list(range(10))
    assert chosen(range(10), 3) == [0, 4, 9]
    assert chosen(range(2), 5) == [0, 1]


def test_a_run_without_validation_says_that_nothing_is_known(tmp_path):
    spec = made(
        "unused",
        schedule=Schedule(epochs=1, batch=2),
        hardware=Hardware("cpu", "float32", threads=1, workers=0),
    )
    plan = training.plan_samples(spec, [sample(k) for k in range(2)])
    assert "no validation split" in " ".join(plan.notes)
    result = training_run.run(plan, tmp_path)
    assert result.trained.scores is None
    assert "nothing is known of how good" in (tmp_path / "report.html").read_text()
    assert not models.read_card(tmp_path / "model").scores


def test_prue_scores_touching_fields_as_one_by_its_own_rules(tmp_path):
    from selion.training.scoring import true_objects

    one = sample(1)
    by_parts = true_objects(one, Validate(method="components"))
    assert by_parts.max() == len(np.unique(one.instances.ids)) - 1
    assert (by_parts > 0).sum() == (one.labels.ids == 1).sum()
    assert np.array_equal(true_objects(one, Validate()), one.instances.ids)
    assert true_objects(replace(one, instances=None), Validate()).max() > 0


def photo(path, seed, size=96):
    """Green rows on brown soil, and the mask of the green."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    y = np.indices((size, size))[0]
    crop = np.sin(y / (4 + seed % 3) + rng.uniform(0, 6)) > 0.2
    colour = np.where(crop[..., None], (60, 140, 50), (130, 95, 60)) + rng.normal(
        0, 12, (size, size, 3)
    )
    for what, values in (
        ("images", colour.clip(0, 255).astype(np.uint8)),
        ("masks", crop.astype(np.uint8)),
    ):
        place = path / what / f"photo{seed}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(place)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photographs and masks as anybody has one: no CRS, no objects, no boundary."""
    root = tmp_path_factory.mktemp("photos")
    for split, seeds in (("train", range(4)), ("val", range(10, 12))):
        for seed in seeds:
            photo(root / split, seed)
    return root


def crops(path, **parts):
    photos_ = {
        "data": Data(str(path), truth="labels"),
        "classes": CROP,
        "input": Inputs(("red", "green", "blue"), (255.0,), window=64),
        "loss": Loss("ce+dice"),
        "augment": Augment(d4=1.0),
        "schedule": Schedule(epochs=12, batch=2, lr=2e-2, per="step", keep="best"),
        "validate": Validate(every=4),
    }
    return made(path, **photos_ | parts)


def test_photographs_of_crops_are_judged_by_their_pixels(photos, tmp_path, capsys):
    spec = write_recipe(tmp_path / "crop.toml", crops(photos))
    main_ok("train", spec, "-o", tmp_path / "out")
    said = capsys.readouterr().err
    assert "Validation: mIoU 0." in said
    assert "object F1" not in said
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["scores"].keys() == {"miou", "pixel_iou", "iou_soil", "iou_crop"}
    assert facts["scores"]["miou"] == pytest.approx(
        (facts["scores"]["iou_soil"] + facts["scores"]["iou_crop"]) / 2, abs=1e-5
    )
    assert facts["scores"]["pixel_iou"] == facts["scores"]["iou_crop"]
    assert facts["scores"]["miou"] > 0.6
    assert facts["intervals"]["miou"]["low"] <= facts["scores"]["miou"] + 1e-5
    text = (tmp_path / "out" / "report.html").read_text()
    assert "mIoU" in text
    assert "object" not in text.partition("</style>")[2].replace("object_f1", "")
    assert text.count("data:image/jpeg") == 2
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    seen = [line for line in lines if "val/miou" in line]
    assert [line["epoch"] for line in seen] == [4, 8, 12]
    assert seen[-1]["val/loss"] < seen[0]["val/loss"]
    assert facts["scores"]["miou"] >= max(line["val/miou"] for line in seen) - 1e-5


def test_the_best_weights_are_those_of_the_metric(photos, tmp_path):
    """With a rate that ruins what was learnt, the last weights are not the best ones."""
    from selion.training.checkpoint import BEST, load_state

    ruin = crops(
        photos,
        schedule=Schedule(epochs=6, batch=4, lr=0.3, shape="constant", per="step", keep="best"),
        validate=Validate(every=1),
    )
    plan = training.plan_training(ruin)
    result = training_run.run(plan, tmp_path)
    seen = {e["epoch"]: e["val/miou"] for e in result.trained.history if "val/miou" in e}
    _, facts = load_state(tmp_path / BEST)
    best = max((v, -k) for k, v in seen.items() if k < 6)[0]
    assert facts["miou"] == pytest.approx(best, abs=1e-6)
    assert result.trained.scores.miou == pytest.approx(max(seen.values()), abs=1e-6)


def test_metrics_that_a_method_does_not_have_are_refused(photos, tmp_path, capsys):
    spec = write_recipe(tmp_path / "crop.toml", crops(photos))
    assert "'miou' or 'pixel_iou'" in refused(
        capsys, "train", spec, "--set", "validate.metric=object_f1", "-q"
    )
    assert "did you mean 'miou'" in refused(
        capsys, "train", spec, "--set", "validate.metric=mio", "-q"
    )


def test_labels_of_other_classes_cannot_be_compared_by_class():
    from selion.training.scoring import score_samples

    class Soil:
        inputs, classes = recipe().input.spec(), CROP

        def __call__(self, views):
            return np.tile(
                np.array([0.9, 0.1], np.float32)[:, None, None], (len(views), 1, 1, 1)
            ) * np.ones((1, 1, *views[0].pixels.shape[1:]), np.float32)

    with pytest.raises(
        BadInput, match="toy0 has background, field, boundary, and the model answers soil, crop"
    ):
        score_samples(Soil(), [sample(0)], Validate())


def test_the_mean_iou_is_that_of_the_referee_and_absent_classes_are_left_out():
    from selion import metrics
    from selion.training.scoring import miou_from_counts

    rng = np.random.default_rng(3)
    confusions = []
    for k in range(5):
        truth, prediction = rng.integers(0, 3, (2, 40, 40))
        truth[rng.random((40, 40)) < 0.1] = 255
        prediction[rng.random((40, 40)) < 0.1] = 255
        confusions.append(
            metrics.confusion(truth * (truth != 2) if k < 4 else truth, prediction, 4)
        )
    scores = Scores(tuple("abcde"), ("",) * 5, np.zeros((5, 6)), tuple(confusions), "miou")
    assert scores.miou == pytest.approx(metrics.pixel_scores(scores.confusion).mean["iou"])
    assert scores.of_samples() == pytest.approx(
        [metrics.pixel_scores(c).mean["iou"] for c in confusions]
    )
    assert np.isnan(miou_from_counts(np.zeros((1, 6)))).all()
    assert scores.measures == ("miou", "pixel_iou")


def test_masks_of_0_and_255_are_explained_and_then_read(photos, tmp_path, capsys):
    """255 is "not known" here and "crop" to many: nothing is guessed, the sentence says what to
    write, and that works.
    """
    from PIL import Image

    for path in photos.rglob("*.png"):
        place = tmp_path / "p" / path.relative_to(photos)
        place.parent.mkdir(parents=True, exist_ok=True)
        values = np.asarray(Image.open(path))
        Image.fromarray(values * 255 if values.ndim == 2 else values).save(place)
    spec = write_recipe(
        tmp_path / "crop.toml", crops(tmp_path / "p", schedule=Schedule(epochs=1, batch=4))
    )
    message = refused(capsys, "train", spec, "--dry-run")
    assert "the masks hold 255, which is read as not known" in message
    (tmp_path / "p" / "dataset.toml").write_text(
        "classes = 'crop'\nvalues = { '0' = 'soil', '255' = 'crop' }\n"
    )
    plan = training.plan_training(training.read_recipe(spec))
    assert "classes soil" in plan.notes[0]
    assert set(np.unique(plan.samples[0].labels.ids)) == {0, 1}


def test_the_start_stands_beside_the_new_model(run, chips, tmp_path):
    """Both scored on the same chips, the better one named; few chips are said to be few."""
    from safetensors.torch import load_file

    folder, _ = run
    plan = training.plan_training(
        made(
            chips,
            model=Model(TINY, start_from=str(folder), keep_start=1.0),
            schedule=Schedule(epochs=1, batch=3),
            validate=Validate(every=0),
        )
    )
    assert any(note.startswith("That is little to learn from: ") for note in plan.notes)
    result = training.train_plan(plan, tmp_path / "near")
    # all of the start was kept, so weights and scores are the start's
    start = load_file(folder / "model" / "model.safetensors")
    new = load_file(tmp_path / "near" / "model" / "model.safetensors")
    floats = [name for name in start if start[name].is_floating_point()]
    assert all((new[name] == start[name]).all() for name in floats)
    assert result.beside.better == "neither"
    assert result.beside.scores.keys == result.trained.scores.keys
    assert "neither is better" in result.notes[0]
    assert set(result.card.scores) == {"validation", "start_on_validation"}


@pytest.fixture(scope="module")
def good_start(chips, tmp_path_factory):
    """A start that has learnt the toys, and one of the same shape that has not."""
    from selion.fields import NodeScore
    from selion.fields.node_score import CUT, CutSettings
    from selion.models.card import sha256_of, write_card

    folder = tmp_path_factory.mktemp("starts")
    schedule = Schedule(epochs=20, batch=3, lr=5e-3, per="step")
    training.train_plan(
        training.plan_training(made(chips, schedule=schedule, validate=Validate(every=0))),
        folder / "good",
    )
    training.train_plan(
        training.plan_training(
            made(chips, schedule=replace(schedule, epochs=1, lr=1e-6), validate=Validate(every=0))
        ),
        folder / "poor",
    )
    score = tmp_path_factory.mktemp("score") / CUT
    NodeScore.untrained(CutSettings()).save(score)
    for name in ("good", "poor"):
        card = models.read_card(folder / name / "model")
        (card.folder / CUT).write_bytes(score.read_bytes())
        write_card(
            replace(card, files={**card.files, CUT: sha256_of(score)}), card.folder / "card.toml"
        )
    return folder


def tuned(chips, start, folder, on_step=silent, **parts):
    """Fine-tune a start: the loss is ruined by default, so that training harms."""
    parts = {
        "schedule": Schedule(epochs=2, batch=3, lr=0.5, per="step", shape="constant"),
        "validate": Validate(every=0),
    } | parts
    rules = parts.pop("validate")
    spec = made(chips, **parts)
    keep = {"keep_start": spec.model.keep_start, "tune_cut": spec.model.tune_cut}
    spec = replace(spec, model=Model(TINY, start_from=str(start), **keep), validate=rules)
    return training.train_plan(training.plan_training(spec), folder, on_step=on_step)


def default_f1(folder, samples):
    """The score of what `selion map` does by itself, found by the public evaluation."""
    report = selion.evaluate({"it": selion.load_model(folder)}, samples)
    return report.runs[0].values["object_f1"]


def test_the_start_is_better_and_the_command_to_keep_it_is_told(chips, good_start, tmp_path):
    """Both are compared as their folders map: the start by its learnt score."""
    result = tuned(chips, good_start / "good", tmp_path / "worse")
    said = result.notes[0]
    assert result.beside.better == "start"
    assert "the start is better" in said
    assert f"selion map IMAGE -m {good_start / 'good' / 'model'} -o fields.parquet" in said
    assert training_run.numbers(result)["start"]["method"] == "cut"
    held = result.plan.validation
    start, new = result.beside.scores, result.trained.scores
    assert start.object_f1 == pytest.approx(default_f1(good_start / "good" / "model", held))
    assert new.object_f1 == pytest.approx(default_f1(tmp_path / "worse" / "model", held))
    assert ("cut.safetensors" in result.card.files) == (result.beside.new.method == "cut")


def test_the_share_is_chosen_on_held_out_chips_and_never_below_the_start(
    chips, good_start, tmp_path
):
    spec, told = Model(TINY, keep_start="auto"), []
    ruined = tuned(
        chips,
        good_start / "good",
        tmp_path / "auto",
        lambda *said: told.append(said),
        model=spec,
    )
    held = ruined.plan.validation
    # the start and each share are looked at chip by chip, and whoever waits is told
    steps = [said[1:] for said in told if said[0] == "compare"]
    wanted = [(done, len(held), "toy itself") for done in range(1, len(held) + 1)]
    assert steps[: len(held)] == wanted
    shares = steps[len(held) :]
    assert [done for done, _, _ in shares] == list(range(1, shares[-1][1] + 1))
    assert list(dict.fromkeys(what for *_, what in shares)) == [
        "0.75 of the start",
        "0.5 of the start",
        "0.25 of the start",
        "0 of the start",
    ]
    before = default_f1(good_start / "good" / "model", held)
    after = default_f1(tmp_path / "auto" / "model", held)
    assert after >= before
    tried = ruined.beside.tried
    assert {one.share for one in tried} == {0, 0.25, 0.5, 0.75, 1}
    assert after == pytest.approx(max(one.scores.object_f1 for one in tried))
    assert ruined.beside.kept
    assert "what was written is toy itself" in ruined.notes[0]
    assert "selion map IMAGE -m " in ruined.notes[0]
    assert "cut.safetensors" in ruined.card.files  # it maps as the start does


def test_a_new_model_that_is_better_is_named(good_start, tmp_path):
    """Here the trained weights alone are the best of what the held-out chips chose from: eight, of
    two no gain is sure when they gain differently.
    """
    result = tuned(
        write_chips(tmp_path / "chips", range(10, 18)),
        good_start / "poor",
        tmp_path / "gain",
        model=Model(TINY, keep_start="auto"),
        schedule=Schedule(epochs=40, batch=3, lr=5e-3, per="step"),
    )
    assert result.beside.better == "new", result.notes
    assert "the new model is better" in result.notes[0]
    assert "chosen on these chips" in result.notes[0]
    assert "What the held-out chips chose from" in training_run.to_html(result)


def watched_fits(monkeypatch):
    """Write down what each run learns from and is judged by, and what comes of it."""
    from selion.training import loop

    seen, usual = [], loop.fit

    def fit(network, samples, *rest, validation=(), **more):
        made = usual(network, samples, *rest, validation=validation, **more)
        learnt, judges = ({one.key for one in part} for part in (samples, validation))
        seen.append((learnt, judges, {k: v.clone() for k, v in made.weights.items()}))
        return made

    monkeypatch.setattr(loop, "fit", fit)
    return seen


def in_folds(chips, start, folder, folds, **parts):
    return tuned(
        chips,
        start,
        folder,
        model=Model(TINY, keep_start="auto"),
        validate=Validate(folds=folds, fold_steps=parts.pop("steps")),
        **parts,
    )


@pytest.mark.long
def test_in_folds_each_chip_is_answered_by_a_network_that_has_not_seen_it(
    good_start, tmp_path, monkeypatch
):
    """The scores are those of four networks, each scored anew on its own chips, put together."""
    chips = write_chips(tmp_path / "chips", range(10, 18))
    seen = watched_fits(monkeypatch)
    rates = Schedule(epochs=60, batch=3, lr=5e-3, per="step")
    result = in_folds(chips, good_start / "poor", tmp_path / "r", 4, schedule=rates, steps=160)
    everything = {one.key for one in data.load_dataset(chips)}
    assert len(everything) == 11
    assert len(seen) == 5
    assert set().union(*(judges for _, judges, _ in seen[:4])) == everything
    for learnt, judges, _ in seen[:4]:
        assert judges
        assert not learnt & judges
        assert learnt | judges == everything
    assert seen[4][:2] == (everything, set())  # what is written learns from all
    alone = next(one for one in result.beside.tried if one.share == 0)
    spec, counts = Validate(method="watershed"), {}
    for _, judges, weights in seen[:4]:
        network, _ = training.make_network(result.plan.recipe)
        network.load_state_dict(weights)
        model = as_mapped(result.plan.card, network, "cpu", fast=False)
        mine = [one for one in data.load_dataset(chips) if one.key in judges]
        score = models.load_model(good_start / "poor" / "model")
        ways = [learnt_score(score, spec)]
        found = score_ways(model, mine, spec, ways)[0]
        counts |= dict(zip(found.keys, found.counts.tolist(), strict=True))
    told = dict(zip(alone.scores.keys, alone.scores.counts.tolist(), strict=True))
    assert told == counts
    assert result.beside.better == "new", result.notes
    assert "11 own chips, each answered after training on the others in 4 folds," in result.notes[0]
    share = result.beside.new.share
    assert share < 1
    from safetensors.torch import load_file

    written = load_file(tmp_path / "r" / "model" / "model.safetensors")
    start = load_file(good_start / "poor" / "model" / "model.safetensors")
    name = next(key for key in start if start[key].is_floating_point())
    wanted = (1 - share) * seen[4][2][name] + share * start[name]
    assert (written[name] - wanted).abs().max() < 1e-6
    assert not (tmp_path / "r" / "folds").exists()
    numbers = training_run.numbers(result)
    assert (numbers["training_samples"], numbers["validation_samples"]) == (11, 0)
    assert numbers["start"]["folds"] == 4
    assert "judged in 4 folds" in training_run.to_html(result)
    assert "11 samples, 40 epochs, recipe toy, seed 7, judged in 4 folds" in result.card.training


def test_in_folds_a_start_that_training_harms_is_written_as_it_is(
    chips, good_start, tmp_path, monkeypatch
):
    from safetensors.torch import load_file

    seen = watched_fits(monkeypatch)
    result = in_folds(chips, good_start / "good", tmp_path / "r", 2, steps=4)
    assert result.beside.kept
    assert len(seen) == 2, "and nothing is trained for nothing"
    assert "what was written is toy itself" in result.notes[0]
    written = load_file(tmp_path / "r" / "model" / "model.safetensors")
    start = load_file(good_start / "good" / "model" / "model.safetensors")
    assert all((written[k] == v).all() for k, v in start.items() if v.is_floating_point())
    assert default_f1(tmp_path / "r" / "model", data.load_dataset(chips)) == pytest.approx(
        result.trained.scores.object_f1
    )


def test_a_run_in_folds_that_was_stopped_goes_on(chips, good_start, tmp_path, monkeypatch):
    """Killed within the second fold: the same weights, and the first is not trained again."""
    from safetensors.torch import load_file

    from selion.training import loop

    parts = {"schedule": Schedule(epochs=9, batch=3, lr=5e-3, per="step"), "steps": 12}
    usual, steps, last = loop._one_step, [], [0]

    def counted(*arguments):
        steps.append(1)
        if len(steps) == last[0]:
            raise KeyboardInterrupt
        return usual(*arguments)

    monkeypatch.setattr(loop, "_one_step", counted)
    in_folds(chips, good_start / "poor", tmp_path / "once", 2, **dict(parts))
    every, last[0] = len(steps), 8
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        in_folds(chips, good_start / "poor", tmp_path / "twice", 2, **dict(parts))
    assert len(steps) == 8
    spec = training.read_recipe(str(tmp_path / "twice" / "recipe.toml"))
    result = training.train_plan(training.plan_training(spec), tmp_path / "twice", resume=True)
    assert result.plan.recipe.schedule.epochs == spec.schedule.epochs
    whole, again = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("once", "twice")
    )
    assert all((again[name] == value).all() for name, value in whole.items())
    done = len(steps) - 8
    assert done <= every - 6, "of two folds and all chips, what was left, and an epoch of one step"


def write_pieces(root, held_out):
    """Two images of two chips each, and others that are held out."""
    write_chips(root, held_out)
    for seed in (0, 1, 2):
        for what in ("images", "instances"):
            (root / "train" / what / f"train_{seed}.tif").unlink()
    for k, name in enumerate("ab"):
        for seed in (0, 1):
            one = sample(2 * k + seed)
            east = one.image.grid.translate_pix(1000 * k + 64 * seed, 0)
            ids = np.where(one.instances.ids > 0, one.instances.ids + 16 * seed, 0)[None]
            for what, values, bands in (
                ("images", one.image.values, BANDS),
                ("instances", ids.astype(np.int32), ("id",)),
            ):
                path = root / "train" / what / f"{name}_00000_{64 * seed:05d}.tif"
                with store.create_cog(path, east, bands, values.dtype) as sink:
                    sink.write(whole(east), values)
    return root


@pytest.mark.parametrize("pieces", [False, True])
def test_own_polygons_set_how_fields_are_chosen_and_the_new_model_maps_so(
    chips, good_start, tmp_path, monkeypatch, pieces
):
    """A start whose score chooses nothing: 0.5 of every node does not pay a price of 0.9.

    One image is looked at as it is, those of a folder of chips are put together.
    """
    from selion.fields import CutSettings, NodeScore, read_node_score
    from selion.fields.node_score import CUT
    from selion.models.card import sha256_of, write_card

    start = tmp_path / "dear"
    shutil.copytree(good_start / "good", start)
    NodeScore.untrained(CutSettings(price=0.9, land=0.0)).save(start / "model" / CUT)
    card = models.read_card(start / "model")
    files = {**card.files, CUT: sha256_of(start / "model" / CUT)}
    write_card(replace(card, files=files), start / "model" / "card.toml")
    auto = Model(TINY, keep_start="auto", tune_cut=True)
    if pieces:
        chips = write_pieces(tmp_path / "chips", (10, 11))
    else:
        scenes = data.load_dataset(chips)  # each is a whole image
        monkeypatch.setattr("selion.training.run.uncut_image", lambda _: scenes)
    result = tuned(chips, start, tmp_path / "new", model=auto)
    said, found = result.notes[0], result.beside.tuned
    assert found.before.object_f1 == 0.0
    if pieces:
        assert found.after.keys == ("train/a_00000_00000", "train/b_00000_00000")
    assert "own fields, none of which toy has seen" in said
    assert "what was written is toy with these" in said
    written = read_node_score(tmp_path / "new" / "model" / CUT)
    assert written.settings == found.score.settings
    assert f"fields are chosen by {found.said}" in result.card.training
    held = result.plan.validation
    assert default_f1(start / "model", held) == 0.0
    after = default_f1(tmp_path / "new" / "model", held)
    assert after == pytest.approx(result.trained.scores.object_f1)
    assert after > 0.2
    assert training_run.numbers(result)["start"]["tuned"]["settings"]["price"] < 0.5
    assert training.read_recipe("own-polygons").model.tune_cut
    assert not training.read_recipe("review").model.tune_cut


def test_what_finds_more_objects_for_less_of_their_land_does_not_replace_the_start():
    from selion.training.beside import best_kept
    from selion.training.scoring import Scores
    from selion.training.start_beside import KeptShare, StartBeside

    def scored(share, objects, land):
        rows = np.array([[*objects, *land]] * 8, float)
        keys = tuple(map(str, range(8)))
        return KeptShare(share, None, None, Scores(keys, ("",) * 8, rows), "cut")

    start = scored(1.0, (40, 20, 20), (90, 5, 5))
    more, less = scored(0.5, (55, 5, 5), (90, 5, 5)), scored(0.0, (58, 2, 2), (70, 5, 25))
    assert best_kept([start, less]) is start  # pixel IoU 0.70 instead of 0.90
    assert best_kept([start, less, more]) is more
    said = StartBeside("it", "it", start, start, (start, less)).sentence
    assert (
        "finds more objects without losing land: the best has object F1 0.967 for a pixel" in said
    )
    assert "IoU of 0.700, it itself 0.667 for 0.900" in said
    assert "luck" not in said


def test_keep_start_is_a_share_or_auto(chips):
    spec = to_toml(training.recipe_table(made(chips, model=Model(TINY, keep_start="auto"))))
    assert 'keep_start = "auto"' in spec
    assert training.read_recipe("own-polygons").model.keep_start == "auto"
    assert training.read_recipe("review", ["model.keep_start=0.5"]).model.keep_start == 0.5
    with pytest.raises(BadInput, match=r"model.keep_start = 'best'; wanted is a number or 'auto'"):
        training.read_recipe("own-polygons", ["model.keep_start=best"])
