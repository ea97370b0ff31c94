"""Prithvi-EO 2.0: the numbers are those of its authors' code, run as the wrapper of PRUE does."""

from __future__ import annotations

import numpy as np
import pytest

from selion.classes import FTW3
from selion.errors import BadInput
from selion.models import ModelCard, export, load_model
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("timm", reason="the extra 'train' is not installed")
from encoder_toys import block_shapes, fill, fingerprint, picture  # noqa: E402
from selion.models.foundation.network import TwoDates  # noqa: E402
from selion.models.foundation.prithvi import (  # noqa: E402
    PrithviEncoder,
    PrithviSize,
    read_prithvi,
)

WIDTH, PATCH, EDGE = 32, 8, 40
TINY = PrithviSize(width=WIDTH, depth=2, heads=4, patch=PATCH, seen=EDGE)


LAYOUT = {
    "encoder.cls_token": (1, 1, WIDTH),
    "encoder.pos_embed": (1, 4 * 25 + 1, WIDTH),
    "encoder.patch_embed.proj.weight": (WIDTH, 6, 1, PATCH, PATCH),
    "encoder.patch_embed.proj.bias": (WIDTH,),
    **block_shapes("encoder.blocks.0", WIDTH),
    **block_shapes("encoder.blocks.1", WIDTH),
    "encoder.norm.weight": (WIDTH,),
    "encoder.norm.bias": (WIDTH,),
    "decoder.mask_token": (1, 1, WIDTH),
    "decoder.decoder_pos_embed": (1, 4 * 25 + 1, WIDTH),
    "decoder.decoder_embed.weight": (WIDTH, WIDTH),
    "decoder.decoder_embed.bias": (WIDTH,),
    **block_shapes("decoder.decoder_blocks.0", WIDTH),
    "decoder.decoder_norm.weight": (WIDTH,),
    "decoder.decoder_norm.bias": (WIDTH,),
    "decoder.decoder_pred.weight": (6 * PATCH**2, WIDTH),
    "decoder.decoder_pred.bias": (6 * PATCH**2,),
}
"""Names and shapes of the authors' masked autoencoder of four dates, built with these sizes."""
FINGERPRINT = [
    -0.391276,
    -1.218262,
    2.110868,
    -0.453586,
    0.014886,
    0.866192,
    -1.604148,
    0.248531,
    -2.307427,
    -0.376916,
    1.393837,
    -0.271382,
    1.284032,
]
"""Of PrithviMAE of one date, as in nasaharvest/galileo at 0f0b5b9 (and terratorch 1.2.11 with the
same epsilon, 1e-6), with the same weights but for the places, which it counts itself."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def encoder():
    made = PrithviEncoder(TINY).eval()
    missing, strange = made.load_state_dict(read_prithvi(fill(LAYOUT)), strict=False)
    assert (missing, strange) == (["places"], [])
    return made


def test_the_answer_is_that_of_the_authors_network():
    answer = encoder()(picture(6, EDGE))
    assert answer.shape == (2, 25, WIDTH)
    assert fingerprint(answer) == pytest.approx(FINGERPRINT, abs=2e-5)


def test_a_file_that_is_not_prithvis_is_refused_in_a_sentence():
    cut = fill(LAYOUT)
    del cut["encoder.blocks.1.attn.proj.bias"]
    with pytest.raises(BadInput, match=r"Prithvi-EO 2\.0 .* 1 tensors are missing .*1\.attn\.proj"):
        read_prithvi(cut)
    dated = fill(LAYOUT | {"encoder.temporal_embed_enc.scale": (1,)})
    with pytest.raises(BadInput, match=r"1 tensors are unknown .*temporal_embed_enc"):
        read_prithvi(dated)
    with pytest.raises(BadInput, match="Prithvi takes 6 bands of 40 x 40 px, and 4 of 40 x 40"):
        encoder()(picture(4, EDGE))


def test_the_published_size_has_the_parameters_of_table_1_with_the_decoder_that_it_counts():
    with torch.device("meta"):
        whole = TwoDates(PrithviEncoder(), 1024, 16, 3)
    # by hand: 12 w**2 + 13 w for a block, all with biases
    width, decoder = 1024, 512
    alone = 24 * (12 * width**2 + 13 * width) + 6 * 256 * width + width + width + 2 * width
    assert sum(p.numel() for p in whole.encoder.parameters()) == alone == 303_886_336
    ours = sum(p.numel() for p in whole.parameters())
    assert round(ours / 1e6, 1) == 413.0
    # the wrapper that PRUE uses holds the decoder of the masked autoencoder, which does nothing
    idle = width * decoder + decoder + decoder + 8 * (12 * decoder**2 + 13 * decoder)
    idle += 2 * decoder + decoder * 6 * 256 + 6 * 256
    assert round((ours + idle) / 1e6, 1) == 439.5


def test_every_weight_of_the_encoder_learns():
    made = encoder().train()
    made(picture(6, EDGE)).pow(3).mean().backward()
    assert [name for name, p in made.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_the_exported_graph_answers_the_same(tmp_path):
    torch.manual_seed(0)
    network = TwoDates(encoder(), WIDTH, PATCH, 3, hidden=16, detail=4).eval()
    names = ("blue", "green", "red", "nir08", "swir16", "swir22")
    bands = tuple(f"window_{w}:{b}" for w in "ab" for b in names)
    spec = InputSpec(bands, Scaling((1.0,)), None, EDGE, 0.25, EDGE // 2)
    made = export(network, ModelCard("toy.prithvi", spec, FTW3), tmp_path / "model", half=False)
    view = View(picture(12, EDGE, 1)[0].numpy(), (slice(0, EDGE), slice(0, EDGE)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(view.pixels)[None]).softmax(1).numpy()
    for engine in ("onnxruntime", "openvino"):
        answer = load_model(made.folder, engine, threads=1)([view])
        assert np.abs(answer - expected).max() < 1e-4
