"""Embedding-as-mask: a tiny language model and a tiny Segment Anything learn two images, reject
what is not there, and come back from their folder.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import language_toys
import tiny_sam
from predict_toys import utm_grid
from selion import prediction
from selion.classes import ClassScheme
from selion.errors import BadInput, ChecksumMismatch
from selion.models import load_model
from selion.models.card import ModelCard
from selion.models.embedded.convert import save_embedded
from selion.models.embedded.network import (
    Asking,
    EmbeddedMasks,
    embedded_loss,
    fit,
)
from selion.models.embedded.segmenter import EmbeddedSegmenter
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling, View

CLASSES = ClassScheme(("others", "field", "tree"), ("field",))
CARD = ModelCard(
    "tiny-lisa",
    InputSpec(("red", "green", "blue"), Scaling((255.0,), clip=(0.0, 1.0)), window=32, multiple=16),
    CLASSES,
)
COLOURS = torch.tensor([[0.8, 0.7, 0.6], [0.3, 0.8, 0.3], [0.1, 0.2, 0.1]])


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(family="gemma3", **asking):
    model, processor = language_toys.pair(family)
    torch.manual_seed(1)
    return EmbeddedMasks(model, processor, tiny_sam.make("sam"), CLASSES, Asking(**asking))


def two_images():
    """A field on the left in one, in the lower half in the other, which also holds trees; a strip
    is not known.
    """
    labels = torch.zeros((2, 32, 32), dtype=torch.int64)
    labels[0, :, :16], labels[1, 16:], labels[1, :12, 20:] = 1, 1, 2
    images = COLOURS[labels].permute(0, 3, 1, 2).contiguous()
    labels[:, 14:16, 4:8] = 255
    return images, labels


def learned(network, steps=50):
    batch = two_images()
    return fit(network, [batch] * steps, steps=steps, lr=1e-2, warmup=5)


def accuracy(network):
    images, labels = two_images()
    predicted = network.probabilities(images).argmax(1)
    return float((predicted == labels)[labels != 255].float().mean())


def value_of(network, images, labels, **weights):
    with torch.no_grad():
        answer = network(images, raw=True, truth=labels)
        return float(embedded_loss(answer, labels, **weights))


def test_two_images_are_learned_and_what_is_not_there_is_rejected():
    network = tiny(reject=True)
    before = accuracy(network.eval())
    losses = learned(network)
    assert losses[-1] < losses[0] / 5
    assert accuracy(network) > max(0.88, before + 0.2)  # masks are 16 x 16: their edges are soft
    images, _ = two_images()
    # the first image has no tree
    assert network.rejections(images).tolist() == [[False, True], [False, False]]
    assert float(network.probabilities(images)[0, 2].max()) == 0


def test_unknown_pixels_count_nowhere():
    network = tiny().eval()
    images, labels = two_images()
    losses = [value_of(network, images, labels, text=0) for _ in range(2)]
    assert losses[0] == losses[1]
    unknown = torch.full_like(labels, 255)
    assert value_of(network, images, unknown, text=0) == 0
    half = labels.clone()
    half[:, :, 16:] = 255
    assert value_of(network, images, half, text=0) != losses[0]


def test_weights_of_the_loss_are_those_of_the_paper():
    network = tiny().eval()
    batch = two_images()
    parts = [value_of(network, *batch, text=a, bce=b, dice=c) for a, b, c in np.eye(3)]
    assert value_of(network, *batch) == pytest.approx(
        parts[0] + 2 * parts[1] + 0.5 * parts[2], rel=1e-5
    )


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
def test_gradients_reach_what_learns_and_nothing_else(family):
    network = tiny(family, lora=2)
    network.freeze()
    images, labels = two_images()
    embedded_loss(network(images, raw=True, truth=labels), labels).backward()
    touched = {
        name
        for name, p in network.named_parameters()
        if p.grad is not None and float(p.grad.abs().sum()) > 0
    }
    assert any("lora_" in name for name in touched)
    assert any(name.startswith("sam.mask_decoder") for name in touched)
    assert any(name.startswith("project") for name in touched)
    assert not any(
        name.startswith(("sam.vision_encoder", "sam.prompt_encoder")) or "vision_tower" in name
        for name in touched
    )


def test_folder_gives_the_same_answers_through_the_socket(tmp_path):
    network = tiny(reject=True, lora=2)
    card = save_embedded(network, CARD, tmp_path / "model")
    model = load_model(tmp_path / "model", "torch")
    rng = np.random.default_rng(0)
    image = Raster(
        rng.integers(0, 255, (3, 40, 48)).astype(np.uint8),
        utm_grid((40, 48)),
        ("red", "green", "blue"),
    )
    scores = prediction.predict(image, model)
    assert scores.values.shape == (3, 40, 48)
    assert np.allclose(scores.values.sum(0), 1, atol=0.01)
    view = View(image.values[:, :32, :32].astype(np.float32), (slice(0, 32), slice(0, 32)))
    direct = EmbeddedSegmenter(card, network)([view])
    assert np.allclose(model([view]), direct, atol=1e-5)
    other = replace(card, architecture={**card.architecture, "phrases": ["the farmed land"]})
    assert EmbeddedSegmenter(other, network).identity != EmbeddedSegmenter(card, network).identity
    with (tmp_path / "model" / "sam_config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ChecksumMismatch):
        load_model(tmp_path / "model", "torch")


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(BadInput, match="classes"):
        Asking("Segment.")
    with pytest.raises(BadInput, match="network's classes"):
        save_embedded(tiny(), replace(CARD, classes=ClassScheme(("soil", "crop"))), tmp_path)
