"""CROMA, DOFA, Galileo and TerraFM beside the networks of their authors and of torchgeo.

The numbers expected here were made by those other networks: their weights, in the layout of the
published files, were filled by :func:`filled`, their image by :func:`striped`, and the answer was
read by :func:`fingerprint`.  At the published sizes, with random weights, the largest difference
was 5e-6.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch

from selion.errors import BadInput
from selion.models.foundation import croma, dofa, galileo, terrafm
from selion.models.foundation.network import TwoDates


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def filled(shapes):
    """Fill tensors, in the order of their names, by the sine of a running index."""
    state, start = {}, 0
    for name in sorted(shapes):
        count = int(np.prod(shapes[name]))
        values = 0.2 * np.sin(0.61 * np.arange(start, start + count))
        if "norm" in name and name.endswith("weight"):
            values += 1
        state[name] = torch.from_numpy(values.astype(np.float32)).reshape(shapes[name])
        start += count
    return state


def striped(bands, edge):
    count = 2 * bands * edge**2
    values = np.cos(0.37 * np.arange(count)).astype(np.float32)
    return torch.from_numpy(values).reshape(2, bands, edge, edge)


def fingerprint(tokens):
    flat = tokens.double().flatten()
    places = (0, len(flat) // 7, len(flat) // 3, len(flat) // 2, len(flat) - 1)
    return [float(flat.mean()), float(flat.std()), *(float(flat[k]) for k in places)]


def linear(name, given, wanted):
    return {f"{name}.weight": (wanted, given), f"{name}.bias": (wanted,)}


def normal(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def conv(name, given, wanted, edge):
    return {f"{name}.weight": (wanted, given, edge, edge), f"{name}.bias": (wanted,)}


def block(k, width, *, split=False):
    """Names and shapes of a block as timm has it; ``split``: query, key and value apart."""
    at = f"blocks.{k}."
    parts = [f"attn.{part}" for part in "qkv"] if split else ["attn.qkv"]
    return {
        **normal(f"{at}norm1", width),
        **{
            name: shape
            for part in parts
            for name, shape in linear(at + part, width, 3 * width // len(parts)).items()
        },
        **linear(f"{at}attn.proj", width, width),
        **normal(f"{at}norm2", width),
        **linear(f"{at}mlp.fc1", width, 4 * width),
        **linear(f"{at}mlp.fc2", 4 * width, width),
    }


def croma_file(width=32, depth=2):
    """The optical half of the published file's names, and one tensor of its other half."""
    at, layer = "s2_encoder.", "s2_encoder.transformer.layers."
    blocks = {}
    for k in range(depth):
        blocks |= {
            **normal(f"{layer}{k}.0.input_norm", width),
            f"{layer}{k}.0.to_qkv.weight": (3 * width, width),
            **linear(f"{layer}{k}.0.to_out", width, width),
            **normal(f"{layer}{k}.1.input_norm", width),
            **linear(f"{layer}{k}.1.net.0", width, 4 * width),
            **linear(f"{layer}{k}.1.net.3", 4 * width, width),
        }
    return {
        **linear(f"{at}linear_input", 12 * 8 * 8, width),
        **blocks,
        **normal(f"{at}transformer.norm_out", width),
    }


CROMA_BESIDE = {
    **normal("s2_GAP_FFN.0", 32),
    **linear("s1_encoder.linear_input", 128, 32),
    **normal("joint_encoder.norm_out", 32),
}


def dofa_file(width=16, depth=2, patch=16, places=9):
    maker = "patch_embed.weight_generator."
    layer = f"{maker}transformer_encoder.layers.0."
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + places, width),
        f"{maker}weight_tokens": (128, 128),
        f"{maker}bias_token": (1, 128),
        f"{layer}self_attn.in_proj_weight": (384, 128),
        f"{layer}self_attn.in_proj_bias": (384,),
        **linear(f"{layer}self_attn.out_proj", 128, 128),
        **linear(f"{layer}linear1", 128, 2048),
        **linear(f"{layer}linear2", 2048, 128),
        **normal(f"{layer}norm1", 128),
        **normal(f"{layer}norm2", 128),
        **linear(f"{maker}fc_weight", 128, patch**2 * width),
        **linear(f"{maker}fc_bias", 128, width),
        **linear("patch_embed.fclayer.w1", 128, 128),
        **linear("patch_embed.fclayer.w2", 128, 128),
        **{name: shape for k in range(depth) for name, shape in block(k, width).items()},
    }


DOFA_BESIDE = {"mask_token": (1, 1, 512), **normal("norm", 16), **linear("projector", 16, 32)}


def terrafm_file(width=24, depth=2, places=16):
    wide, at = 3 * width, "patch_embed."
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + places, width),
        f"{at}s2_l2a_embed": (1, wide),
        **conv(f"{at}conv2d_s2_l2a", 12, wide, 16),
        f"{at}projection.proj1.weight": (wide, wide),
        **normal(f"{at}projection.norm_input", wide),
        **linear(f"{at}projection.proj2", wide, wide),
        **linear(f"{at}projection.proj3", wide, width),
        **{name: shape for k in range(depth) for name, shape in block(k, width).items()},
        **normal("norm", width),
    }


TERRAFM_BESIDE = {
    "patch_embed.s2_l1c_embed": (1, 72),
    "patch_embed.s1_embed": (1, 72),
    **conv("patch_embed.conv2d_s2_l1c", 12, 72, 16),
    **conv("patch_embed.conv2d_s1", 2, 72, 16),
}


def galileo_file(width=32, depth=2):
    return {
        "pos_embed": (24, width // 4),
        "month_embed.weight": (12, width // 4),
        "s_t_channel_embed": (7, width // 4),
        **{
            name: shape
            for group, bands in galileo.GROUPS.items()
            for name, shape in conv(f"space_time_embed.{group}.proj", bands, width, 8).items()
        },
        **{
            name: shape for k in range(depth) for name, shape in block(k, width, split=True).items()
        },
        **normal("norm", width),
    }


GALILEO_BESIDE = {
    **{f"{of}_channel_embed": (n, 8) for of, n in (("sp", 3), ("t", 3), ("st", 4))},
    **conv("space_time_embed.S1.proj", 2, 32, 8),
    **conv("space_time_embed.NDVI.proj", 1, 32, 8),
    **conv("space_embed.DW.proj", 9, 32, 8),
    **linear("time_embed.ERA5", 2, 32),
    **linear("static_embed.location", 3, 32),
}

CROMA = croma.CromaSize(32, 2, 16, 8, 24)
DOFA = dofa.DofaSize(16, 2, 2, 16, 48)
DOFA_MIXED = dofa.DofaSize(16, 2, 2, 16, 48, mixed=True)
TERRAFM = terrafm.TerraFmSize(24, 2, 4, 16, 80, 64)
TERRAFM_LEARNT = terrafm.TerraFmSize(24, 2, 4, 16, 64, 64)
GALILEO = galileo.GalileoSize(32, 2, 4, 4, 16)
CASES = {
    "croma": (croma.CromaEncoder, CROMA, croma.read_croma, croma_file, CROMA_BESIDE, 12),
    "dofa": (dofa.DofaEncoder, DOFA, dofa.read_dofa, dofa_file, DOFA_BESIDE, 9),
    "dofa mixed": (dofa.DofaEncoder, DOFA_MIXED, dofa.read_dofa, dofa_file, DOFA_BESIDE, 9),
    "terrafm": (
        terrafm.TerraFmEncoder,
        TERRAFM,
        terrafm.read_terrafm,
        terrafm_file,
        TERRAFM_BESIDE,
        12,
    ),
    "terrafm as learnt": (
        terrafm.TerraFmEncoder,
        TERRAFM_LEARNT,
        terrafm.read_terrafm,
        terrafm_file,
        TERRAFM_BESIDE,
        12,
    ),
    "galileo": (
        galileo.GalileoEncoder,
        GALILEO,
        galileo.read_galileo,
        galileo_file,
        GALILEO_BESIDE,
        10,
    ),
}
"""Name -> network, tiny size, reader, layout, what lies beside in the file, bands."""


def published(name):
    """Return the tiny published file, without and with what lies beside."""
    *_, file, beside, _ = CASES[name]
    state = filled(file())
    if name == "galileo":  # fixed tables, stored in the file: as the authors' code makes them
        own = galileo.GalileoEncoder(GALILEO)
        state |= {"pos_embed": own.step.data, "month_embed.weight": own.month.data}
    return state, state | filled(beside)


def loaded(name):
    network, size, read, *_ = CASES[name]
    encoder = network(size)
    encoder.load_state_dict(read(published(name)[1]), strict=True)
    return encoder.eval()


SEEN = {
    "croma": ((2, 9, 32), [-0.06089, 0.952946, 0.641355, 1.010112, 0.730973, 0.637156, -1.726394]),
    "dofa": ((2, 9, 16), [-0.01445, 1.069406, 0.754628, 0.735253, 1.96401, 0.765479, -0.893822]),
    "dofa mixed": (
        (2, 9, 16),
        [-0.013462, 1.048674, 0.419172, 0.775378, 2.012542, 0.370595, -0.908983],
    ),
    "terrafm": (
        (2, 25, 24),
        [0.011064, 1.030245, -0.870336, -0.506958, -1.306547, -0.870613, 0.620362],
    ),
    "terrafm as learnt": (
        (2, 16, 24),
        [0.011513, 1.030996, -0.8404, -0.886303, -1.218189, -0.840237, 0.622573],
    ),
    "galileo": (
        (2, 16, 32),
        [-0.063772, 0.988347, 0.415853, 0.490764, 0.154536, 0.532451, -1.664913],
    ),
}
"""What the other networks answer: torchgeo 0.8.1 for CROMA and DOFA; the wrapper of the Galileo
repository at 18defa7 for DOFA mixed and Galileo (patch 4, month 6); ftw-prue's copy of TerraFM at
b3c88b9, level 2A."""


@pytest.mark.parametrize("name", CASES)
def test_it_answers_as_the_other_network(name):
    *_, bands = CASES[name]
    with torch.inference_mode():
        tokens = loaded(name)(striped(bands, CASES[name][1].seen))
    shape, expected = SEEN[name]
    assert tokens.shape == shape
    assert fingerprint(tokens) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_not_the_published_one_is_refused(name):
    _, _, read, *_ = CASES[name]
    bare, whole = published(name)
    assert list(read(bare)) == list(read(whole))
    for dropped in (next(iter(bare)), list(bare)[-1]):
        with pytest.raises(BadInput, match=f"1 tensors are missing .{dropped}"):
            read({key: value for key, value in whole.items() if key != dropped})
    with pytest.raises(BadInput, match=r"1 tensors are unknown .classifier.weight"):
        read(whole | {"classifier.weight": torch.zeros(2)})
    with pytest.raises(BadInput, match="are missing"):
        read({})


@pytest.mark.parametrize("name", CASES)
def test_an_image_of_other_bands_or_size_is_refused(name):
    network, size, *_, bands = CASES[name]
    encoder, edge = network(size), size.seen
    for shape in ((1, bands - 1, edge, edge), (1, bands, edge, edge + size.patch)):
        with pytest.raises(BadInput, match=f"takes {bands} bands of {edge} x {edge} px"):
            encoder(torch.zeros(shape))


@pytest.mark.parametrize("name", CASES)
def test_the_head_learns_and_the_encoder_does_not(name):
    _, size, *_, bands = CASES[name]
    encoder = loaded(name)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.manual_seed(0)
    network = TwoDates(encoder, size.width, size.patch, 3, head="linear").train()
    learning = [p for p in network.parameters() if p.requires_grad]
    image = striped(2 * bands, size.seen)
    step = torch.optim.SGD(learning, 0.01)
    losses = []
    for _ in range(3):
        step.zero_grad()
        loss = network(image).log_softmax(1)[:, 0].neg().mean()
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


FIXED = {"galileo": {"step", "month"}, "dofa": {"pos_embed"}, "dofa mixed": {"pos_embed"}}
"""Tables of places and times that the files hold and nobody trains."""


@pytest.mark.parametrize("name", CASES)
def test_every_weight_can_be_fine_tuned(name):
    encoder = loaded(name).train()
    *_, bands = CASES[name]
    encoder(striped(bands, CASES[name][1].seen)).square().sum().backward()
    for key, weight in encoder.named_parameters():
        assert weight.requires_grad == (weight.grad is not None), key
        assert not weight.requires_grad or weight.grad.abs().sum() > 0, key
    fixed = {key for key, weight in encoder.named_parameters() if not weight.requires_grad}
    assert fixed == FIXED.get(name, set())


@pytest.mark.parametrize("name", CASES)
def test_the_exported_graph_answers_the_same_for_any_number_of_views(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    encoder, stream = loaded(name), io.BytesIO()
    *_, bands = CASES[name]
    image = striped(bands, CASES[name][1].seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            (image,),
            stream,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["tokens"],
            dynamic_axes={"image": {0: "view"}, "tokens": {0: "view"}},
        )
    three = torch.cat([image, image[:1] + 1])
    session = onnxruntime.InferenceSession(stream.getvalue())
    (answer,) = session.run(None, {"image": three.numpy()})
    with torch.inference_mode():
        assert answer == pytest.approx(encoder(three).numpy(), abs=1e-4)


def count(shapes):
    return sum(map(np.prod, shapes.values()))


@pytest.mark.parametrize(
    ("encoder", "file", "own"),
    [
        (croma.CromaEncoder, croma_file(768, 12), 85_618_944),
        (dofa.DofaEncoder, dofa_file(1024, 24, 16, 196), 337_103_360),
        (terrafm.TerraFmEncoder, terrafm_file(768, 12, 196), 104_684_544),
        (galileo.GalileoEncoder, galileo_file(768, 12), 85_559_616),
    ],
)
def test_the_published_size_has_as_many_weights_as_the_published_network(encoder, file, own):
    """``own`` was counted in the authors' or torchgeo's network, without what lies beside."""
    with torch.device("meta"):
        made = encoder()
    assert sum(weight.numel() for weight in made.parameters()) == own == count(file)


def test_month_place_and_kernels_are_seen():
    image = striped(10, 16)
    answers = [
        galileo.GalileoEncoder(galileo.GalileoSize(32, 2, 4, 4, 16, month=month, metres=metres))
        for month, metres in ((6, 10.0), (0, 10.0), (6, 3.0))
    ]
    for encoder in answers:
        encoder.load_state_dict(loaded("galileo").state_dict())
    with torch.inference_mode():
        july, january, near = (encoder.eval()(image) for encoder in answers)
    assert (july - january).abs().max() > 1e-2
    assert (july - near).abs().max() > 1e-2


def test_attention_in_slices_is_that_of_the_whole():
    from timm.models.vision_transformer import Attention

    torch.manual_seed(0)
    whole = Attention(24, 3, qkv_bias=True).eval()
    tokens = torch.randn(2, 23, 24)
    for together in (1, 7, 23, 100):
        sliced = galileo.SlicedAttention(24, 3, together).eval()
        sliced.load_state_dict(whole.state_dict())
        with torch.inference_mode():
            assert torch.allclose(sliced(tokens), whole(tokens), atol=1e-6)


def test_the_bias_of_distance_by_hand():
    # two heads: slopes 2^-4 and 2^-8; two by two patches
    far = np.array([[0, 1, 1, 2**0.5], [1, 0, 2**0.5, 1], [1, 2**0.5, 0, 1], [2**0.5, 1, 1, 0]])
    bias = croma.distance_bias(2, 2)
    assert bias.shape == (1, 2, 4, 4)
    assert bias[0].numpy() == pytest.approx(-np.stack([far / 16, far / 256]))
    with pytest.raises(ValueError, match="3 heads were given"):
        croma.distance_bias(3, 2)


def test_a_smaller_kernel_beside_pillow_and_least_squares():
    image = pytest.importorskip("PIL.Image")
    unit = np.eye(64, dtype=np.float32).reshape(64, 8, 8)
    small = np.stack(
        [
            np.asarray(image.fromarray(one).resize((4, 4), image.Resampling.BICUBIC)).ravel()
            for one in unit
        ]
    )
    large = np.random.default_rng(0).normal(size=64)
    wanted, *_ = np.linalg.lstsq(small.astype(np.float64), large, rcond=None)
    assert large @ galileo.kernels_resized(8, 4).double().numpy() == pytest.approx(wanted, abs=1e-4)
    assert torch.equal(galileo.kernels_resized(8, 8), torch.eye(64))


def test_dofa_makes_a_kernel_for_each_wavelength():
    """A band's kernel follows from its wavelength and from which others there are."""
    encoder = loaded("dofa")
    kernel, bias = encoder.kernel()
    assert kernel.shape == (16, 9, 16, 16)
    assert bias.shape == (16,)
    back = dofa.DofaEncoder(dofa.DofaSize(16, 2, 2, 16, 48, waves=dofa.SENTINEL_2[::-1]))
    back.load_state_dict(encoder.state_dict())
    # without places among them, wavelengths in another order make the same kernels in that order
    assert torch.allclose(back.kernel()[0].flip(1), kernel, atol=1e-6)
    assert torch.allclose(back.kernel()[1], bias, atol=1e-6)
