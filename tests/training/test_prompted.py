"""LISA, LISAt and GSVA by recipes of their own: taught, stopped, gone on with, written, loaded."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from language_toys import still  # noqa: E402
from predict_toys import utm_grid  # noqa: E402
from selion import prediction  # noqa: E402
from selion.classes import FTW3  # noqa: E402
from selion.errors import BadInput  # noqa: E402
from selion.labels import LabelMap  # noqa: E402
from selion.models import build_network, load_model, read_card  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.sample import Sample  # noqa: E402
from selion.training import read_recipe, train_plan  # noqa: E402
from selion.training.checkpoint import STATE, load_state  # noqa: E402
from selion.training.run import plan_samples  # noqa: E402

COLOURS = np.array([[150, 120, 90], [210, 190, 120], [20, 70, 30]], np.uint8)
BRIEF = (
    "classes=fields-3",
    'model.architecture.phrases=["field","edge of a field"]',
    "input.window=32",
    "input.multiple=32",
    "crops.per_epoch=32",
    "schedule.epochs=2",
    "schedule.keep=last",
    "schedule.warmup=0.1",
    "validate.every=0",
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sample(seed):
    """Squares of soil, field and edge, each of its own colour."""
    ids = np.random.default_rng(seed).integers(0, 3, (4, 4)).repeat(16, 0).repeat(16, 1)
    grid = utm_grid((64, 64))
    pixels = Raster(COLOURS[ids].transpose(2, 0, 1).copy(), grid, ("red", "green", "blue"))
    return Sample(f"s{seed}", pixels, LabelMap(ids.astype(np.uint8), grid, FTW3))


def planned(name, *changes):
    return plan_samples(read_recipe(f"magseg/{name}", [*BRIEF, *changes]), [sample(0), sample(1)])


class Killed(Exception):
    """Stands for a power cut."""


def kill_at(step):
    def listen(stage, done, _total, _detail):
        if stage == "train" and done == step:
            raise Killed

    return listen


@pytest.mark.parametrize("name", ["lisa-tiny", "lisat-tiny", "gsva-tiny"])
def test_a_comparator_is_trained_by_its_recipe_and_maps(name, tmp_path):
    with still():
        train_plan(planned(name), tmp_path)
        model = load_model(tmp_path / "model", "torch")
        found = prediction.predict(sample(3).image, model)
    card = read_card(tmp_path / "model")
    assert card.format == "embedded"
    assert card.architecture["reject"] is (name == "gsva-tiny")
    assert found.values.shape == (3, 64, 64)
    assert np.allclose(found.values.sum(0), 1, atol=0.02)
    said = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in said if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0], losses


def test_a_comparator_that_was_stopped_ends_as_if_it_had_not_been(tmp_path):
    """And checkpoints hold what learns alone where an adapter does, in bfloat16 too."""
    adapted = (
        "model.architecture.learns=lora",
        "model.architecture.lora=2",
        "hardware.precision=bfloat16",
        "hardware.save_every=0",
        "crops.per_epoch=16",
    )
    with still():
        train_plan(planned("gsva-tiny", *adapted), tmp_path / "whole")
        with pytest.raises(Killed):
            train_plan(planned("gsva-tiny", *adapted), tmp_path / "cut", on_step=kill_at(3))
        train_plan(planned("gsva-tiny", *adapted), tmp_path / "cut", resume=True)
    whole, facts = load_state(tmp_path / "whole" / STATE)
    cut, _ = load_state(tmp_path / "cut" / STATE)
    assert facts["epoch"] == 2
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    kept = [name for name in whole if name.startswith("network.")]
    assert any("lora_" in name for name in kept)
    assert not any("vision_encoder" in name or "vision_tower" in name for name in kept)
    files = [load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "cut")]
    assert files[0].keys() == files[1].keys()
    assert any("vision_encoder" in name for name in files[0])  # what is exported holds all of it
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


def test_what_is_told_wrong_is_one_sentence(tmp_path):
    made = {"family": "embedded", "vlm": "tiny:gemma3", "sam": "tiny", "phrases": ["field"]}
    for changed, classes, said in (
        ({}, 3, "a phrase for each class"),
        ({"vlm": ""}, 2, "name a vision-language model"),
        ({"sam": "facebook/sam-vit-huge"}, 2, "make both tiny"),
        ({"learns": "some"}, 2, "one of lora, all"),
        ({"learns": "all", "lora": 2}, 2, "all weights learn"),
        ({"lora": -1}, 2, "rank"),
    ):
        with pytest.raises(BadInput, match=said):
            build_network({**made, **changed}, 3, classes)
    with pytest.raises(BadInput, match="put together of two models"):
        build_network(made, 3, 2, "imagenet")
    with pytest.raises(BadInput, match="does not compare what the family 'embedded' answers"):
        train_plan(planned("lisa-tiny", "loss.kind=ce+dice"), tmp_path)
