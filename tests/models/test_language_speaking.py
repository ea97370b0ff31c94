"""How a language model is asked in one run, instead of as its card says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")

from command_line import run_here  # noqa: E402
from language_toys import CLASSES, PROMPT, pair, sample, still  # noqa: E402
from selion import prediction  # noqa: E402
from selion.errors import BadInput, UnknownName  # noqa: E402
from selion.models import ModelCard, load_model, write_card  # noqa: E402
from selion.models.card import sha256_of  # noqa: E402
from selion.models.language.generation import TextGenerator  # noqa: E402
from selion.models.language.network import (  # noqa: E402
    choose_precision,
    generation_options,
    place_seeds,
)
from selion.models.language.rrle import decode  # noqa: E402
from selion.models.language.served import ServedGenerator, served_card  # noqa: E402
from selion.models.language.speaking import speaking_card  # noqa: E402
from selion.models.refine.segmenter import load_exact  # noqa: E402
from selion.segmenter import InputSpec, Scaling, View  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with random weights, as a user has it."""
    path = tmp_path_factory.mktemp("speaking") / "m"
    for part in pair():
        part.save_pretrained(path)
    spec = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, PROMPT.patch, 0.25, 1, 64)
    architecture = {
        "family": "language",
        "prompt": PROMPT.to_dict(),
        "speaking": {"samples": 2, "temperature": 1.5},
    }
    card = ModelCard("toy", spec, CLASSES, architecture=architecture, format="transformers")
    files = {file.name: sha256_of(file) for file in path.iterdir()}
    write_card(replace(card, files=files), path / "card.toml")
    return path


def patches(image, count: int) -> list[View]:
    rois = [(slice(8 * k, 8 * k + 16), slice(16, 32)) for k in range(count)]
    return [View(image.values[:, *roi].astype(np.float32), roi, None) for roi in rois]


def test_samples_are_the_mean_of_answers_that_their_place_draws(folder):
    model = load_model(folder, "torch", threads=1, speaking={"samples": 5})
    views = patches(sample(3).image, 3)
    scores = model(views)
    drawn = model.generator
    for view, found in zip(views, scores, strict=True):  # each alone, its answers read by hand
        texts = drawn.ask(model.questions([view]), place_seeds([view]))[0]
        assert len(texts) == 5
        masks = [decode(text, (4, 4), CLASSES.names)[0] for text in texts]
        mean = np.mean([mask == np.arange(3)[:, None, None] for mask in masks], 0, np.float32)
        assert np.allclose(found[:, ::4, ::4], mean, atol=1e-6)
    other = load_model(folder, "torch", threads=1, speaking={"samples": 5, "grammar": "none"})
    assert model.generator.options.temperature == other.generator.options.temperature == 1.5
    assert [one.generator.options.grammar for one in (model, other)] == ["selion", "none"]
    keys = {
        prediction.plan(sample(3).image, one).key
        for one in (model, other, load_model(folder, "torch", threads=1))
    }
    assert len(keys) == 3  # no run takes up what one that asked otherwise has left


def test_draws_do_not_depend_on_what_else_is_asked(folder, monkeypatch):
    """Token by token too, where the library draws for a batch as a whole."""
    monkeypatch.setattr(TextGenerator, "settles", False)
    model = load_model(folder, "torch", threads=1, speaking={"samples": 2})
    views = patches(sample(3).image, 2)
    assert np.array_equal(model(views), np.concatenate([model([view]) for view in views]))


def test_a_user_asks_otherwise_than_the_card(folder, tmp_path):
    image = sample(5, 40).image
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=40, height=40, count=3, dtype="uint8"
    ) as file:
        file.write(image.values)
    words = ["predict", tmp_path / "a.tif", "--model", folder, "--bands", "1,2,3"]
    words += ["--engine", "torch", "--samples", 3, "--grammar", "selion", "-q"]
    done = run_here(*words, "-o", tmp_path / "a.scores.tif")
    assert done.returncode == 0, done.stderr
    again = run_here(*words, "--block", 64, "--batch", 1, "-o", tmp_path / "b.scores.tif")
    assert again.returncode == 0, again.stderr
    with (
        rasterio.open(tmp_path / "a.scores.tif") as one,
        rasterio.open(tmp_path / "b.scores.tif") as two,
    ):
        assert np.array_equal(one.read(), two.read())
        asked = json.loads(one.tags()["model"])["architecture"]["speaking"]
    assert asked == {"samples": 3, "temperature": 1.5, "grammar": "selion"}
    manifest = json.loads(next(tmp_path.glob("a.scores.tif*manifest*")).read_text("utf-8"))
    assert "samples=3" in manifest["models"][0]["options"]
    refused = run_here("predict", tmp_path / "a.tif", "-o", tmp_path / "c.tif", "--samples", 3)
    assert refused.returncode == 2
    assert "is no language model, and --samples is of the answers" in refused.stderr


def test_a_server_that_cannot_be_asked_so_is_refused(folder):
    served = served_card("openai:http://127.0.0.1:9/v1#eyes")
    assert speaking_card(served, {}) is served
    with pytest.raises(BadInput, match="xgrammar runs beside a model here"):
        speaking_card(served, {"grammar": "xgrammar"})
    delta = {**served.architecture["prompt"], "codec": "rrle-delta"}
    counting = replace(served, architecture={**served.architecture, "prompt": delta})
    with pytest.raises(BadInput, match="counts its rows"):
        speaking_card(counting, {"grammar": "selion"})
    assert speaking_card(counting, {"grammar": "none"}).architecture["insisted"] == ["grammar"]

    class Deaf(ServedGenerator):
        def _said(self, posted):
            if "grammar" in posted:
                raise BadInput("no grammar here")
            return "<seg></seg>", None

    model = load_model("openai:http://127.0.0.1:9/v1#eyes", speaking={"grammar": "selion"})
    model.generator.__class__ = Deaf
    window = (slice(0, 256), slice(0, 256))
    view = View(np.zeros((3, 256, 256), np.float32), window, None)
    with pytest.raises(BadInput, match="--grammar selion cannot be obeyed"):
        model([view])


def test_a_gpu_computes_in_bfloat16_unless_it_is_told_otherwise(folder):
    answers = {
        ("cuda", "auto", False): "bfloat16",
        ("cuda", "float32", False): "float32",
        ("cuda", "float32", True): "bfloat16",
        ("cpu", "auto", False): "float32",
        ("cpu", "auto", True): "bfloat16",
        ("cpu", "bfloat16", False): "bfloat16",
        ("mps", "auto", False): "float32",
    }
    for (device, wanted, fast), precision in answers.items():
        assert choose_precision(device, wanted, fast=fast) == precision
    model = load_model(folder, "torch", fast=True, threads=1, speaking={"samples": 3})
    assert "bfloat16" in model.engine
    exact = load_exact(model)
    assert "float32" in exact.engine
    assert exact.generator.options.samples == 3
    with pytest.raises(UnknownName, match="precision"):
        load_model(folder, speaking={"precision": "float16"})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"samples": 2.5}, r"samples = 2\.5 .*a whole number"),
        ({"batch": 4.0, "draft": 0.5}, r"batch = 4\.0, draft = 0\.5 .*a whole number"),
        ({"share": "no"}, r"share = 'no' .*true or false"),
        ({"temperature": "warm"}, r"temperature = 'warm' .*a number"),
    ],
)
def test_options_of_a_card_that_are_none(option, said):
    """Half an answer was a traceback behind the loaded model, and "no" shared the image."""
    with pytest.raises(BadInput, match=said):
        generation_options(option)
