"""TerraMind 1: the numbers are terratorch's, for its four bands out of twelve and at two sizes."""

from __future__ import annotations

import numpy as np
import pytest

from selion.classes import FTW3
from selion.errors import BadInput
from selion.models import ModelCard, export, load_model
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("timm", reason="the extra 'train' is not installed")
from encoder_toys import fill, fingerprint, picture  # noqa: E402
from selion.models.foundation.network import TwoDates  # noqa: E402
from selion.models.foundation.terramind import (  # noqa: E402
    TerraMindEncoder,
    TerraMindSize,
    read_terramind,
)

WIDTH, PATCH, LEARNT = 48, 16, 32
S2 = "encoder_embeddings.untok_sen2l2a@224"
LAYOUT = {
    f"{S2}.mod_emb": (1, 1, WIDTH),
    f"{S2}.pos_emb": (1, 4, WIDTH),
    f"{S2}.proj.weight": (WIDTH, 12 * PATCH**2),
    **{
        f"encoder.{block}.{name}": shape
        for block in (0, 1)
        for name, shape in {
            "norm1.weight": (WIDTH,),
            "norm1.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH),
            "attn.proj.weight": (WIDTH, WIDTH),
            "norm2.weight": (WIDTH,),
            "norm2.bias": (WIDTH,),
            "mlp.fc1.weight": (8 * WIDTH // 3, WIDTH),
            "mlp.fc2.weight": (WIDTH, 8 * WIDTH // 3),
            "mlp.fc3.weight": (8 * WIDTH // 3, WIDTH),
        }.items()
    },
    "encoder_norm.weight": (WIDTH,),
    "encoder_norm.bias": (WIDTH,),
}
"""Names and shapes of terratorch's TerraMindViT for S2L2A, built with these sizes."""
OTHERS = {
    "encoder_embeddings.untok_sen1grd@224.mod_emb": (1, 1, WIDTH),
    "decoder_embeddings.tok_dem@224.mod_emb": (1, 1, WIDTH),
    "decoder_proj_context.weight": (WIDTH, WIDTH),
    "decoder.0.norm1.weight": (WIDTH,),
    "decoder_norm.weight": (WIDTH,),
    "mask_token": (1, 1, WIDTH),
}
"""What the published file holds beside, in part."""
FINGERPRINTS = {
    32: [
        0.870152,
        -1.105659,
        1.420535,
        -1.644094,
        -0.80575,
        0.515754,
        0.928319,
        -0.74156,
        0.06233,
        -0.315109,
        0.380954,
        1.076603,
        0.99313,
    ],
    48: [
        1.010577,
        0.908627,
        0.582176,
        -1.192545,
        -0.351178,
        -1.187562,
        0.142068,
        1.385056,
        -0.824497,
        -1.125007,
        0.823564,
        1.256078,
        1.003828,
    ],
}
"""Of TerraMindViT of terratorch 1.2.11 with the base's options (no biases, gated hidden layers,
SiLU), its bands BLUE, GREEN, RED, NIR_BROAD chosen by terratorch, with the same weights but for its
own places, and biases of normalisations at zero: at the size that it learnt, and at another."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def encoder(seen):
    made = TerraMindEncoder(TerraMindSize(WIDTH, 2, 4, PATCH, seen, LEARNT)).eval()
    state = read_terramind(fill(LAYOUT) | fill(OTHERS))
    missing, strange = made.load_state_dict(state, strict=False)
    assert (missing, strange) == (["places"], [])
    return made


@pytest.mark.parametrize("seen", [32, 48])
def test_the_answer_is_that_of_terratorch(seen):
    answer = encoder(seen)(picture(4, seen))
    assert answer.shape == (2, (seen // PATCH) ** 2, WIDTH)
    assert fingerprint(answer) == pytest.approx(FINGERPRINTS[seen], abs=2e-5)


def test_a_file_that_is_not_terraminds_is_refused_in_a_sentence():
    cut = fill(LAYOUT)
    del cut["encoder.1.mlp.fc3.weight"]
    with pytest.raises(BadInput, match=r"TerraMind 1 .* 1 tensors are missing .*1\.mlp\.fc3"):
        read_terramind(cut)
    with pytest.raises(BadInput, match=r"1 tensors are unknown \(encoder\.0\.attn\.qkv\.bias\)"):
        read_terramind(fill(LAYOUT | {"encoder.0.attn.qkv.bias": (3 * WIDTH,)}))
    with pytest.raises(BadInput, match="TerraMind takes 4 bands of 32 x 32 px, and 4 of 48 x 48"):
        encoder(32)(picture(4, 48))


def test_the_published_size_has_the_parameters_of_table_1():
    with torch.device("meta"):
        whole = TwoDates(TerraMindEncoder(), 768, 16, 3)
    # by hand: 4 w**2 for attention, 3 x 8/3 w**2 for the gated hidden layer, two normalisations
    width = 768
    alone = 12 * (12 * width**2 + 2 * width) + 4 * 256 * width + width + width
    assert sum(p.numel() for p in whole.encoder.parameters()) == alone == 85_741_056
    assert round(sum(p.numel() for p in whole.parameters()) / 1e6, 1) == 189.1


def test_every_weight_of_the_encoder_learns():
    made = encoder(48).train()
    made(picture(4, 48)).pow(3).mean().backward()
    assert [name for name, p in made.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_the_exported_graph_answers_the_same(tmp_path):
    torch.manual_seed(0)
    network = TwoDates(encoder(48), WIDTH, PATCH, 3, hidden=16, detail=4).eval()
    bands = tuple(f"window_{w}:{b}" for w in "ab" for b in ("blue", "green", "red", "nir"))
    spec = InputSpec(bands, Scaling((1.0,)), None, 48, 0.25, 24)
    made = export(network, ModelCard("toy.terramind", spec, FTW3), tmp_path / "model", half=False)
    view = View(picture(8, 48, 1)[0].numpy(), (slice(0, 48), slice(0, 48)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(view.pixels)[None]).softmax(1).numpy()
    for engine in ("onnxruntime", "openvino"):
        answer = load_model(made.folder, engine, threads=1)([view])
        assert np.abs(answer - expected).max() < 1e-4
