"""Frozen encoders that see one size only: windows are brought to it, answers are brought back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selion.classes import FTW3
from selion.errors import BadInput
from selion.models import ModelCard, build_network, export, load_model
from selion.segmenter import InputSpec, Scaling, View

TINY = {
    "family": "frozen",
    "encoder": "vit_tiny_patch16_224",
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 2,
    "hidden": 16,
    "detail": 4,
}
BANDS = tuple(f"window_{w}:{b}" for w in "ab" for b in ("red", "green", "blue", "nir"))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def seeded(architecture):
    torch.manual_seed(0)
    return build_network(architecture, 8, 3)


def test_windows_of_any_size_are_answered_through_the_size_that_the_encoder_knows():
    network = seeded(TINY | {"seen": 24}).eval()
    seen = []
    network.encoder.register_forward_hook(
        lambda _module, given, answer: seen.append((tuple(given[0].shape), tuple(answer.shape)))
    )
    with torch.inference_mode():
        assert network(torch.randn(2, 8, 32, 32)).shape == (2, 3, 32, 32)
        assert network(torch.randn(1, 8, 40, 56)).shape == (1, 3, 40, 56)
    assert [shape for shape, _ in seen] == [(2, 4, 24, 24)] * 2 + [(1, 4, 24, 24)] * 2
    assert seen[0][1] == (2, 9, 24)


def test_the_way_there_and_back_beside_its_parts():
    network = seeded(TINY | {"seen": 24}).eval()
    image = torch.randn(1, 8, 32, 32)
    with torch.inference_mode():
        small = F.interpolate(image, size=(24, 24), mode="bilinear", align_corners=False)
        tokens = torch.cat([network.encoder(small[:, :4]), network.encoder(small[:, 4:])], 2)
        features = network.head(network.fuse(tokens).transpose(1, 2).reshape(1, 24, 3, 3))
        assert features.shape == (1, 4, 24, 24)
        back = network.upsampling.learnt(
            F.interpolate(features, size=(32, 32), mode="bilinear", align_corners=False)
        )
        assert torch.allclose(network(image), back, atol=1e-6)


def test_the_upsampling_learns_and_the_encoder_does_not():
    network = seeded(TINY | {"seen": 24}).train()
    network(torch.randn(2, 8, 32, 32)).square().mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in network.upsampling.parameters()
    )
    assert all(p.grad is None for p in network.encoder.parameters())


def test_a_linear_probe_stays_linear():
    shape = {key: value for key, value in TINY.items() if key not in ("hidden", "detail")} | {
        "head": "linear",
        "seen": 24,
    }
    network = seeded(shape).eval()
    assert network.upsampling is None
    image = torch.randn(1, 8, 32, 32)
    with torch.inference_mode():
        small = network._answer(
            F.interpolate(image, size=(24, 24), mode="bilinear", align_corners=False)
        )
        assert torch.allclose(
            network(image),
            F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False),
        )


def test_without_it_nothing_changed():
    plain, seen = seeded(TINY | {"img_size": 32}), seeded(TINY | {"seen": 24})
    assert not [name for name in plain.state_dict() if "upsampling" in name]
    assert [name for name in seen.state_dict() if "upsampling" in name]
    with pytest.raises(BadInput, match="seen = 25 px"):
        seeded(TINY | {"seen": 25})


def test_the_exported_graph_answers_the_same(tmp_path):
    shape = TINY | {"seen": 24}
    network = seeded(shape).eval()
    card = ModelCard(
        "toy.frozen",
        InputSpec(BANDS, Scaling((1.0,)), None, 32, 0.25, 32),
        FTW3,
        architecture=shape,
    )
    made = export(network, card, tmp_path / "model", half=False)
    view = View(
        np.random.default_rng(0).normal(0, 1, (8, 32, 32)).astype(np.float32),
        (slice(0, 32), slice(0, 32)),
    )
    with torch.inference_mode():
        expected = network(torch.from_numpy(view.pixels)[None]).softmax(1).numpy()
    for engine in ("onnxruntime", "torch"):
        assert load_model(made.folder, engine, threads=1)([view]) == pytest.approx(
            expected, abs=1e-4
        )
