"""A tiny ViT-Adapter learns simulated photographs, per pixel and by queries, through the same loop
as every network; and from the command line.
"""

from __future__ import annotations

import numpy as np
import pytest

from selion.classes import CROP
from selion.models import ModelCard, build_network
from selion.sample import Sample
from selion.segmenter import View
from selion.simulation.landscape import simulate_photo

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("timm", reason="the extra 'train' is not installed")
from selion.models.pixel import TorchSegmenter  # noqa: E402
from selion.training import fit, read_recipe  # noqa: E402

SIZE = 64
TINY = [
    "model.pretrained=",
    "model.architecture.encoder=vit_tiny_patch16_224",
    f"model.architecture.img_size={SIZE}",
    "model.architecture.embed_dim=48",
    "model.architecture.depth=4",
    "model.architecture.num_heads=2",
    "model.architecture.drop_path=0.0",
    "model.architecture.hidden=32",
    f"input.window={SIZE}",
    f"input.multiple={SIZE}",
    "hardware.device=cpu",
    "hardware.precision=float32",
    "hardware.workers=0",
    "hardware.threads=1",
    "schedule.batch=8",
    "schedule.lr=1e-3",
    "schedule.epochs=1",
    "validate.every=0",
]
QUERIES = [
    "model.architecture.head=mask2former",
    "model.architecture.queries=6",
    "model.architecture.encoder_layers=1",
    "model.architecture.decoder_layers=2",
]


def photos(first, count, size=(96, 128)):
    found = []
    for seed in range(first, first + count):
        photo = simulate_photo(seed, size)
        found.append(Sample(f"photo{seed}", photo.image, photo.labels, photo.instances))
    return found


def crop_iou(network, recipe, samples):
    """IoU of crop over windows of photographs that were not learnt from, and that of the answer
    "all is crop".
    """
    model = TorchSegmenter(ModelCard("toy", recipe.input.spec(), CROP), network, "cpu")
    both = either = crop = pixels = 0
    for sample in samples:
        truth = sample.labels.ids[:SIZE, :SIZE] == 1
        said = (
            model([View(sample.image.values[:, :SIZE, :SIZE], (slice(0, SIZE), slice(0, SIZE)))])[
                0
            ].argmax(0)
            == 1
        )
        both, either = both + (truth & said).sum(), either + (truth | said).sum()
        crop, pixels = crop + truth.sum(), pixels + truth.size
    return both / either, crop / pixels


def learn(changes, steps):
    recipe = read_recipe("crops-adapter", [*TINY, f"crops.per_epoch={8 * steps}", *changes])
    torch.manual_seed(0)
    network = build_network(recipe.model.architecture, 3, 2)
    fit(network, photos(0, 8), recipe, ModelCard("toy", recipe.input.spec(), CROP))
    return crop_iou(network.eval(), recipe, photos(100, 6))


def test_a_tiny_one_learns_photographs():
    found, blind = learn([], 40)
    assert found > blind + 0.2, (found, blind)


@pytest.mark.long  # a step of the same loss moves all layers below
def test_queries_learn_photographs_by_the_set_loss():
    # 12544 points, the default that the next test takes, are three times the pixels of a window
    found, blind = learn(["loss.kind=sets", "loss.options.points=1024", *QUERIES], 120)
    assert found > blind + 0.1, (found, blind)


def test_one_step_of_the_set_loss_moves_all_layers():
    recipe = read_recipe("crops-adapter", [*TINY, "crops.per_epoch=8", "loss.kind=sets", *QUERIES])
    torch.manual_seed(0)
    network = build_network(recipe.model.architecture, 3, 2)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    fit(network, photos(0, 2), recipe, ModelCard("toy", recipe.input.spec(), CROP))
    still = [
        name
        for name, value in network.named_parameters()
        if torch.equal(value, before[name]) and before[name].abs().sum() > 0
    ]
    assert not [name for name in still if "head.model.decoder.layers" in name or "backbone" in name]


def test_the_recipe_is_what_the_paper_describes():
    recipe = read_recipe("crops-adapter")
    assert recipe.model.architecture["upsampler"] == "fade"
    assert recipe.window % 14 == 0
    assert recipe.window % 32 == 0
    assert recipe.classes == CROP
    assert np.isclose(recipe.input.divide, 255).all()
