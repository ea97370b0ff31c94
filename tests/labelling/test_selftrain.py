"""Two stages: what is trained on, what may be erased, and that a killed run ends with the same
weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from safetensors.numpy import load_file

from selion import store, training
from selion.classes import CROP, FTW3, IGNORE, ClassScheme
from selion.errors import BadInput, OutputExists, UnreadableFile
from selion.grid import photo_grid, whole
from selion.labelling import (
    ComputedDepths,
    DepthOptions,
    DrawOptions,
    SceneOptions,
    TrimapOptions,
    keep_pseudo,
    label_photos,
    label_scenes,
    plan_selftraining,
    write_mask,
)
from selion.labelling.selftrain import begin, make_trimaps, self_train, stage_plan, trimapped
from selion.labels import LabelMap
from selion.prediction import PredictOptions
from selion.reports.self_training import triptych
from selion.segmenter import InputSpec, Scaling
from selion.simulation.landscape import simulate_photo
from selion.training.recipe import (
    Augment,
    Crops,
    Data,
    Hardware,
    Inputs,
    Loss,
    Model,
    Recipe,
    Schedule,
    Validate,
)

SIZE = (64, 96)
TINY = {
    "family": "unet",
    "encoder": "tu-test_resnet",
    "encoder_depth": 3,
    "decoder_channels": [8, 8, 8],
}


def recipe(dataset="", **parts):
    base = {
        "name": "tiny-crops",
        "classes": CROP,
        "data": Data(str(dataset), truth="labels"),
        "input": Inputs(window=32),
        "model": Model(TINY),
        "loss": Loss("ce"),
        "augment": Augment(d4=1.0),
        "crops": Crops("random", per_epoch=4),
        "schedule": Schedule(epochs=2, batch=2, lr=1e-2, per="step"),
        "validate": Validate(every=0, method="pixels"),
        "hardware": Hardware("cpu", "float32", threads=1, workers=0),
    }
    return Recipe(**base | parts)


def save(photo, root, key, *, mask):
    for folder, values in (
        ("images", np.moveaxis(photo.image.values, 0, -1)),
        ("masks", photo.labels.ids),
    ):
        if folder == "images" or mask:
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{key}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A labelled dataset, and pseudo-labels of four photographs, one of them fully covered."""
    root = tmp_path_factory.mktemp("crops")
    for split, seeds in (("train", (0, 6)), ("val", (9,))):
        for seed in seeds:
            save(simulate_photo(seed, SIZE), root / "labelled" / split, f"{split}{seed}", mask=True)
    photos = {f"p{seed}": simulate_photo(seed, SIZE) for seed in (5, 8, 11, 14)}
    for key, photo in photos.items():
        save(photo, root / "photos", key, mask=False)
    depth = {photo.image.values.tobytes(): photo.depth for photo in photos.values()}
    options = DepthOptions(full=("p14",), find_full=False)
    label_photos(
        root / "photos" / "images",
        root / "pseudo",
        ComputedDepths(lambda image: depth[image.tobytes()], "truth"),
        options,
    )
    return root


def decide(path, words, pseudo):
    from selion.labelling.decisions import Decision, content_hash

    lines = []
    for k, (key, word) in enumerate(words.items()):
        mask = content_hash(pseudo / "masks" / f"{key}.png")
        lines.append(
            Decision(
                f"i{k}", "b", key, word, "Ada", "coarse", 0.2, "2025-06-01T09:30:12Z", "", mask
            ).to_line()
        )
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_without_decisions_quality_decides_and_says_so(made):
    kept = keep_pseudo(made / "pseudo", least=0.0)
    assert {e.key for e in kept.entries} == {"pseudo/p5", "pseudo/p8", "pseudo/p11", "pseudo/p14"}
    assert kept.full == {"pseudo/p14"}
    assert "as no decisions were given" in kept.notes[0]
    assert {e.key for e in keep_pseudo(made / "pseudo", least=1.0).entries} == {"pseudo/p14"}
    with pytest.raises(UnreadableFile, match="no log of decisions"):
        keep_pseudo(made / "pseudo", made / "none.jsonl")
    with pytest.raises(UnreadableFile, match="selion label depth"):
        keep_pseudo(made / "labelled")


def test_only_what_people_kept_is_used_and_full_is_all_ones(made, tmp_path):
    log = decide(
        tmp_path / "decisions.jsonl",
        {"p5": "keep", "p8": "full", "p11": "unsure", "p14": "reject"},
        made / "pseudo",
    )
    kept = keep_pseudo(made / "pseudo", log)
    assert {e.key for e in kept.entries} == {"pseudo/p5", "pseudo/p8"}
    samples = {e.key: e.open() for e in kept.entries}
    assert (samples["pseudo/p8"].labels.ids == 1).all()
    assert set(np.unique(samples["pseudo/p5"].labels.ids)) == {0, 1}
    assert kept.full == {"pseudo/p8"}
    log.write_text("")
    with pytest.raises(BadInput, match="None of the 4 pseudo-labels"):
        keep_pseudo(made / "pseudo", log)


def test_a_run_is_not_gone_on_with_after_another_word_on_a_mask(made, tmp_path):
    """That a mask is all crop is said of it and not written into it."""
    log, folder = tmp_path / "decisions.jsonl", tmp_path / "run"
    plans = [
        plan_selftraining(
            recipe(), keep_pseudo(made / "pseudo", decide(log, said, made / "pseudo"))
        )
        for said in ({"p5": "keep", "p8": "keep"}, {"p5": "keep", "p8": "full"})
    ]
    begin(plans[0], folder)
    begin(plans[0], folder)
    with pytest.raises(OutputExists, match="another recipe, labels or decisions"):
        begin(plans[1], folder)
    about = json.loads((folder / "selftrain.json").read_text())
    del about["said"]  # as of a run that was begun before it was told
    (folder / "selftrain.json").write_text(json.dumps(about))
    begin(plans[1], folder)


class Half:
    """A model that says soil on the left and crop on the right."""

    classes = CROP
    inputs = InputSpec(
        ("red", "green", "blue"), Scaling((255.0,)), window=32, overlap=0.0, multiple=8
    )

    def __call__(self, views):
        right = np.stack(
            [
                np.broadcast_to(
                    np.arange(v.roi[1].start, v.roi[1].stop) >= SIZE[1] // 2, v.pixels.shape[1:]
                )
                for v in views
            ]
        )
        return np.stack([~right, right], 1).astype(np.float32)


@pytest.mark.parametrize("human", [False, True])
def test_the_trimap_erases_where_label_and_model_differ_and_spares_what_it_must(
    made, tmp_path, human
):
    plan = plan_selftraining(
        recipe(made / "labelled"),
        keep_pseudo(made / "pseudo", least=0.0),
        TrimapOptions(human=human),
    )
    found = make_trimaps(plan, Half(), tmp_path)
    assert set(found) == {
        "train/train0",
        "train/train6",
        "pseudo/p5",
        "pseudo/p8",
        "pseudo/p11",
        "pseudo/p14",
    }
    said = np.zeros(SIZE, np.uint8)
    said[:, SIZE[1] // 2 :] = 1
    before = {e.key: e.open().labels.ids for e in plan.training.entries}
    after = {e.key: e.open().labels.ids for e in trimapped(plan, tmp_path).entries}
    for key, ids in before.items():
        spared = key == "pseudo/p14" or (key.startswith("train") and not human)
        wanted = ids if spared else np.where(ids == said, ids, IGNORE)
        assert (after[key] == wanted).all(), key
        assert found[key].share == pytest.approx((ids == said).mean())
    assert len((tmp_path / "agreement.csv").read_text().splitlines()) == 7


class Graded(Half):
    """The same, in quarters from left to right: sure, doubtful, doubtful, sure."""

    def __call__(self, views):
        sure = np.array([0.95, 0.6, 0.6, 0.95], np.float32)
        right = super().__call__(views)[:, 1] > 0.5
        likely = np.stack(
            [
                np.broadcast_to(
                    sure[np.arange(v.roi[1].start, v.roi[1].stop) * 4 // SIZE[1] % 4],
                    v.pixels.shape[1:],
                )
                for v in views
            ]
        )
        crop = np.where(right, likely, 1 - likely)
        return np.stack([1 - crop, crop], 1)


def test_what_the_first_stage_doubts_is_not_known_where_that_is_asked(made, tmp_path):
    asked = TrimapOptions(sure=0.8)
    plan = plan_selftraining(recipe(), keep_pseudo(made / "pseudo", least=0.0), asked)
    found = make_trimaps(plan, Graded(), tmp_path)
    said = np.zeros(SIZE, np.uint8)
    said[:, SIZE[1] // 2 :] = 1
    doubtful = slice(SIZE[1] // 4, 3 * SIZE[1] // 4)
    before = {e.key: e.open().labels.ids for e in plan.training.entries}
    after = {e.key: e.open().labels.ids for e in trimapped(plan, tmp_path).entries}
    for key in ("pseudo/p5", "pseudo/p8", "pseudo/p11"):
        wanted = np.where(before[key] == said, before[key], IGNORE)
        wanted[:, doubtful] = IGNORE
        assert (after[key] == wanted).all(), key
        # what they agree on is told whatever it is sure of
        assert found[key].share == pytest.approx((before[key] == said).mean())
    with pytest.raises(BadInput, match=r"sure = 1\.5"):
        TrimapOptions(sure=1.5)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_the_second_stage_begins_anew_or_where_the_first_ended(made, tmp_path, fine_tune):
    """With steps of no length in the second stage, what it starts from is what it leaves."""
    short = recipe(schedule=Schedule(epochs=1, batch=2, lr=1e-2, per="step", weight_decay=0.0))
    kept = keep_pseudo(made / "pseudo", least=0.0)

    def run(asked, folder, **how):
        if folder.name == "stage-2":
            still = replace(asked.recipe.schedule, lr=1e-12, floor=0.0)
            asked = replace(asked, recipe=replace(asked.recipe, schedule=still))
        return training.train_plan(asked, folder, **how)

    folder = self_train(plan_selftraining(short, kept, fine_tune=fine_tune), tmp_path, run).parent
    first, second = (
        load_file(folder / f"stage-{stage}" / "model" / "model.safetensors") for stage in (1, 2)
    )
    learnt = [name for name in first if "running" not in name and "tracked" not in name]
    moved = max(float(np.abs(first[name] - second[name]).max()) for name in learnt)
    assert (moved < 1e-6) is fine_tune
    assert json.loads((folder / "selftrain.json").read_text()).get("fine_tune", False) is fine_tune
    if fine_tune:
        with pytest.raises(OutputExists, match="another recipe"):
            self_train(plan_selftraining(short, kept), folder)


def test_what_cannot_be_joined_is_refused(made, tmp_path):
    kept = keep_pseudo(made / "pseudo", least=0.0)
    with pytest.raises(BadInput, match="knows background, field, boundary"):
        plan_selftraining(replace(recipe(), classes=FTW3), kept)
    alone = plan_selftraining(recipe(), kept)
    assert "pseudo-labels alone" in " ".join(alone.notes)
    assert len(alone.validation) == 0
    stray = LabelMap(
        np.full(SIZE, 7, np.uint8),
        photo_grid(SIZE),
        replace(CROP, names=tuple("abcdefgh"), things=(), colours=()),
    )
    mask = made / "pseudo" / "masks" / "p11.png"
    kept_bytes = mask.read_bytes()
    try:
        write_mask(stray, mask, force=True)
        with pytest.raises(BadInput, match="holds the value 7"):
            make_trimaps(alone, Half(), tmp_path)
    finally:
        mask.write_bytes(kept_bytes)


def test_pseudo_labels_get_the_share_of_windows_that_is_wished(made, tmp_path):
    kept = keep_pseudo(made / "pseudo", least=0.0)
    plain = plan_selftraining(recipe(made / "labelled"), kept)
    assert stage_plan(plain, plain.training, 1).samples is plain.training
    plan = plan_selftraining(recipe(made / "labelled"), kept, drawn=DrawOptions(share=0.25))
    samples = stage_plan(plan, plan.training, 1).samples
    assert samples.shares == (0.75, 0.25)
    pseudo = [samples.keys[k].startswith("pseudo-labels/pseudo/") for k in samples.order(0, 0, 40)]
    assert sum(pseudo) == 10
    alone = plan_selftraining(recipe(), kept, drawn=DrawOptions(share=0.25))
    assert stage_plan(alone, alone.training, 1).samples is alone.training
    with pytest.raises(BadInput, match=r"share of pseudo-labels of 1"):
        DrawOptions(share=1)
    with pytest.raises(BadInput, match="the finer one first"):
        DrawOptions(gsd=(6, 4))


@dataclass(frozen=True)
class Columns:
    """A model that works at 5 m and finds a field of 40 m in every 60 m, whatever it sees; or the
    same, ``moved`` by some of its pixels.
    """

    moved: int = 0
    classes: ClassScheme = FTW3
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(
            ("red", "green", "blue"),
            Scaling((255.0,)),
            gsd=(5.0, 5.0),
            window=64,
            overlap=0.0,
            multiple=8,
        )
    )

    def __call__(self, views):
        table = np.array([0, 0, 2, 1, 1, 1, 1, 1, 1, 2, 0, 0])
        said = [
            np.broadcast_to(
                table[(np.arange(v.roi[1].start, v.roi[1].stop) + self.moved) % 12],
                v.pixels.shape[1:],
            )
            for v in views
        ]
        return np.eye(3, dtype=np.float32)[np.stack(said)].transpose(0, 3, 1, 2)


def test_scenes_with_finer_labels_go_through_both_stages(tmp_path):
    grid = GeoBox((60, 90), Affine(10, 0, 4e5, 0, -10, 6e6), "EPSG:32635")
    path = tmp_path / "scenes" / "d.tif"
    path.parent.mkdir()
    with store.create_cog(path, grid, ("R", "G", "B", "N"), "uint8") as sink:
        sink.write(whole(grid), np.random.default_rng(0).integers(0, 255, (4, 60, 90), np.uint8))
    label_scenes(
        path.parent,
        tmp_path / "pseudo",
        Columns(),
        SceneOptions(predict=PredictOptions(bands=(1, 2, 3))),
    )
    kept = keep_pseudo(tmp_path / "pseudo", least=0.0)
    fields = replace(recipe(), classes=FTW3)
    with pytest.raises(
        BadInput, match=r"pixels of 5 m, finer than their images.*input\.gsd=\[5, 5\]"
    ):
        plan_selftraining(fields, kept)
    plan = plan_selftraining(
        replace(fields, input=Inputs(window=32, gsd=(5.0, 5.0))),
        kept,
        drawn=DrawOptions(gsd=(5.0, 5.0)),
    )
    samples = stage_plan(plan, plan.training, 1).samples
    assert [
        (part.crops.gsd, share) for part, share in zip(samples.recipes, samples.shares, strict=True)
    ] == [((5.0, 5.0), 1.0)]
    before = plan.training.entries[0].open()
    found = make_trimaps(plan, Columns(moved=1), tmp_path / "trimap")
    after = trimapped(plan, tmp_path / "trimap").entries[0].open()
    assert after.labels.grid == before.labels.grid == grid.zoom_out(0.5)
    kept_share = (after.labels.ids != IGNORE).mean() / (before.labels.ids != IGNORE).mean()
    assert found["pseudo/d"].share == pytest.approx(kept_share)
    assert 0.5 < kept_share < 0.8  # four columns of twelve differ
    assert set(np.unique(after.labels.ids)) == {0, 1, IGNORE}
    assert triptych(before, after.labels).shape == (60, 3 * 90 + 8, 3)


class Killed(Exception):
    """Stands for a power cut."""


def kill_at(stage, step):
    def listen(now, done, _total, _detail):
        if (now, done) == (stage, step):
            raise Killed

    return listen


@pytest.mark.slow  # three runs of two stages
def test_a_killed_run_ends_with_the_same_weights(made, tmp_path):
    plan = plan_selftraining(recipe(made / "labelled"), keep_pseudo(made / "pseudo", least=0.0))
    self_train(plan, tmp_path / "whole")
    # in the second epoch of stage 1, among the samples, and in the second epoch of stage 2
    for stage in ("train", "second pass", "train"):
        with pytest.raises(Killed):
            self_train(plan, tmp_path / "parts", on_step=kill_at(stage, 3))
    self_train(plan, tmp_path / "parts")
    for name in (
        "stage-1/model/model.safetensors",
        "trimap/agreement.csv",
        "trimap/masks/pseudo/p5.png",
        "model/model.safetensors",
    ):
        assert (tmp_path / "parts" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes(), name
    other = plan_selftraining(recipe(made / "labelled", seed=8), plan.kept)
    with pytest.raises(OutputExists, match="another recipe"):
        self_train(other, tmp_path / "parts")


@pytest.mark.slow
def test_the_command_line_leaves_a_model_and_three_reports(made, tmp_path, capsys):
    from selion import models, training
    from selion.cli.main import main
    from selion.models.toml import to_toml

    (tmp_path / "r.toml").write_text(to_toml(training.recipe_table(recipe())), "utf-8")
    arguments = [
        "label",
        "selftrain",
        str(tmp_path / "r.toml"),
        "--pseudo",
        str(made / "pseudo"),
        "--labelled",
        str(made / "labelled"),
        "--least-quality",
        "0",
    ]
    main([*arguments, "-o", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "run" / "model")
    assert "as no decisions were given" in said.err
    assert models.read_card(tmp_path / "run" / "model").scores["validation"]["miou"] >= 0
    for name in ("report.html", "stage-1/report.html", "stage-2/report.html"):
        text = (tmp_path / "run" / name).read_text()
        assert "<script" not in text
    text = (tmp_path / "run" / "report.html").read_text()
    for words in (
        "stage 2",
        "Kept as they were: labels of people and masks that are all crop",
        "agreed. Image, label",
        "miou",
    ):
        assert words in text
    assert json.loads((tmp_path / "run" / "selftrain.json").read_text())["trimap"] == {
        "human": False,
        "full": False,
    }
