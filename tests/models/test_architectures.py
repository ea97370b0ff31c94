"""Architectures as data: what the tables of PRUE name is built, counted, exported, and answers the
same in every engine.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.classes import FTW2, FTW3
from selion.errors import BadInput, FetchFailed, MissingExtra, UnknownName
from selion.models import ModelCard, build_network, load_model, read_card, write_card
from selion.models.architectures import FAMILIES, check_window, find_family
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
from referring_toys import REFERRING  # noqa: E402
from selion.models.blank import build_blank, build_meta  # noqa: E402
from selion.models.export import export  # noqa: E402

BANDS = tuple(
    f"{window}:{band}"
    for window in ("window_b", "window_a")
    for band in ("red", "green", "blue", "nir")
)
TINY_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 2}
TINY_REFERRING = {"phrases": ["field", "its edge"], **REFERRING}
TINY = {
    "unet": {"encoder": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    "unet_r": {"encoder": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [8, 8, 16]},
    "unet++": {"encoder": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    "manet": {"encoder": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    "linknet": {"encoder": "mobilenet_v2"},
    "fpn": {
        "encoder": "mobilenet_v2",
        "decoder_pyramid_channels": 16,
        "decoder_segmentation_channels": 64,
    },
    "deeplabv3+": {"encoder": "mobilenet_v2", "decoder_channels": 16},
    "upernet": {"encoder": "tu-efficientnet_b0", "decoder_channels": 16},
    "segformer": {"encoder": "mit_b0", "decoder_segmentation_channels": 16},
    "dpt": {
        "encoder": "tu-vit_tiny_patch16_224",
        "decoder_fusion_channels": 8,
        "decoder_intermediate_channels": [8, 8, 8, 8],
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 24,
        "num_heads": 2,
    },
    "unetr": {"encoder": "vit_tiny_patch16_224", "channels": 8, **TINY_VIT},
    "fcn": {"filters": 8},
    "fcsiamconc": {"encoder": "mobilenet_v2", "decoder_channels": [16, 16, 8, 8, 8]},
    "fcsiamdiff": {"encoder": "mobilenet_v2", "decoder_channels": [16, 16, 8, 8, 8]},
    "fcsiamavg": {"encoder": "mobilenet_v2", "decoder_channels": [16, 16, 8, 8, 8]},
    "dates": {"encoder": "mobilenet_v2", "decoder_channels": [16, 16, 8, 8, 8]},
    "decode": {"filters": 8, "depth": 3, "heads": 2, "pyramid": 2},
    "frozen": {"encoder": "vit_tiny_patch16_224", "hidden": 16, "detail": 4, **TINY_VIT},
    "mask2former": {
        "queries": 5,
        "hidden": 64,
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "decoder_layers": 2,
        "encoder_layers": 1,
    },
    "vit-adapter": {"encoder": "vit_tiny_patch16_224", "hidden": 16, **TINY_VIT},
    "lavt": TINY_REFERRING,
    "gres": {
        **TINY_REFERRING,
        "hidden": 32,
        "regions": 4,
        "layers": 1,
        "encoder_layers": 1,
        "heads": 2,
        "feedforward": 32,
    },
    "sam": {"size": "test", "image_size": 64},
    "sam2": {"size": "test", "image_size": 64},
}
"""Family -> options that make it small."""

FROZEN = {"family": "frozen", "encoder": "vit_tiny_patch16_224", **TINY_VIT}
LINEAR = {"family": "frozen", "encoder": "vit_tiny_patch16_224", "head": "linear", **TINY_VIT}


def small(family):
    return {"family": family, **TINY[family]}


def card_of(architecture, multiple=32, window=64):
    window = multiple if find_family(architecture).fixed else window
    return ModelCard(
        "toy.net",
        InputSpec(BANDS, Scaling((3000.0,)), window=window, multiple=multiple),
        FTW3,
        architecture=architecture,
    )


def seeded(architecture, bands=8, classes=3, seed=0):
    torch.manual_seed(seed)
    network = build_network(architecture, bands, classes).eval()
    with torch.no_grad():
        for module in network.modules():  # as after training: every layer and statistic matters
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(architecture, bands=8, classes=3):
    return sum(p.numel() for p in build_meta(architecture, bands, classes).parameters()) / 1e6


# Counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "millions"),
    [
        ({"family": "unet", "encoder": "efficientnet-b3"}, 13.2),  # Table 1, FTW baseline
        ({"family": "unet", "encoder": "efficientnet-b7"}, 67.1),  # Table 1, PRUE
    ],
    ids=lambda value: value["encoder"] if isinstance(value, dict) else "",
)
def test_counts_of_table_1(architecture, millions):
    assert round(parameters(architecture), 1) == millions


def test_count_of_decode_in_table_1():
    # PRUE trained two classes, normalised in four groups: neither moves the count by 0.1 M.
    assert round(parameters({"family": "decode", "norm_groups": 4}, classes=2), 1) == 64.8
    assert round(parameters({"family": "decode"}), 1) == 64.8


@pytest.mark.parametrize(
    ("encoder", "millions"),
    [
        ("efficientnet-b0", 6.3),
        ("efficientnet-b1", 8.8),
        ("efficientnet-b2", 10.0),
        ("efficientnet-b4", 20.2),
        ("efficientnet-b5", 31.2),
        ("efficientnet-b6", 43.8),
        ("mit_b2", 27.5),
        ("mit_b3", 47.4),
        ("mit_b4", 64.1),
        ("mit_b5", 84.7),
        ("resnet18", 14.3),
        ("vgg13_bn", 18.4),
    ],
)
def test_encoders_of_tables_2_and_5_are_there(encoder, millions):
    """The paper gives no counts for these: they are smp 0.6's, so that a change of its networks is
    seen.
    """
    assert parameters({"family": "unet", "encoder": encoder}) == pytest.approx(millions, abs=0.06)


def test_what_the_code_of_prue_calls_unet_r_is_a_u_net_with_reversed_widths():
    reversed_widths = {
        "family": "unet",
        "encoder": "efficientnet-b3",
        "decoder_channels": [16, 32, 64, 128, 256],
    }
    assert parameters({"family": "unet_r", "encoder": "efficientnet-b3"}) == parameters(
        reversed_widths
    )


def test_the_shared_encoder_costs_less_than_the_u_net():
    plain = parameters({"family": "unet", "encoder": "efficientnet-b3"})
    average = parameters({"family": "fcsiamavg", "encoder": "efficientnet-b3"})
    first_layer = 4 * 40 * 3 * 3 / 1e6  # four bands fewer into 40 filters of 3 x 3
    assert plain - average == pytest.approx(first_layer, abs=1e-9)
    assert parameters({"family": "fcsiamconc", "encoder": "efficientnet-b3"}) > average


# Every family -------------------------------------------------------------------------------------


GRAPHED = [name for name, family in FAMILIES.items() if not family.kept_as]
"""The others are written by themselves: tests/training/test_prompted.py."""


def test_every_family_has_a_small_form_here():
    assert set(TINY) == set(GRAPHED)


@pytest.mark.parametrize("family", GRAPHED)
def test_families_answer_one_channel_per_class_and_learn(family):
    network = build_network(small(family), 8, 3).train()
    logits = network(noise(2, 8, 32, 32))
    assert logits.shape == (2, 3, 32, 32)
    torch.nn.functional.cross_entropy(logits, torch.randint(0, 3, (2, 32, 32))).backward()
    learning = [p.grad for p in network.parameters() if p.requires_grad and p.grad is not None]
    assert learning
    assert all(torch.isfinite(gradient).all() for gradient in learning)
    assert any(gradient.abs().sum() > 0 for gradient in learning)


@pytest.mark.parametrize("family", GRAPHED)
def test_cards_round_trip_and_weights_fit_the_network_built_from_the_card(family, tmp_path):
    card = card_of(small(family))
    write_card(card, tmp_path / "card.toml")
    again = read_card(tmp_path)
    assert again.to_dict() == card_of(small(family)).to_dict()
    network = seeded(card.architecture)
    other = build_blank(again.architecture, 8, 3)
    other.load_state_dict(network.state_dict(), assign=True)
    image = noise(1, 8, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network(image), other.eval()(image))


@pytest.mark.parametrize(
    "family", ["unet", "fcsiamavg", "fcsiamconc", "segformer", "upernet", "fcn", "decode"]
)
def test_engines_agree_at_sizes_that_were_not_traced(family, tmp_path):
    card = export(seeded(small(family)), card_of(small(family)), tmp_path / "model")
    engines = [load_model(card.folder, engine, threads=1) for engine in ("torch", "openvino")]
    for size in ((32, 32), (64, 96)):  # the graph was traced at 64 x 64
        pixels = np.random.default_rng(3).integers(0, 6000, (8, *size), dtype=np.uint16)
        view = View(pixels, (slice(0, size[0]), slice(0, size[1])))
        ours, theirs = (segmenter([view]) for segmenter in engines)
        assert ours.shape == (1, 3, *size)
        assert np.abs(ours - theirs).max() < 1e-4
        assert ours.std() > 1e-3  # not all the same number


@pytest.mark.parametrize("family", ["frozen", "unetr", "dpt", "vit-adapter"])
def test_engines_agree_where_the_size_is_fixed(family, tmp_path):
    card = export(seeded(small(family)), card_of(small(family)), tmp_path / "model")
    pixels = np.random.default_rng(3).integers(0, 6000, (8, 32, 32), dtype=np.uint16)
    views = [
        View(pixels, (slice(0, 32), slice(0, 32))),
        View(pixels[:, :20, :25], (slice(0, 20), slice(0, 25))),
    ]
    ours, theirs = (load_model(card.folder, engine, threads=1) for engine in ("torch", "openvino"))
    for view in views:  # the smaller one is padded to the window
        assert np.abs(ours([view]) - theirs([view])).max() < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 6), (8, 13)])
@pytest.mark.parametrize("cells", [(1, 1), (2, 2), (3, 3), (6, 6), (2, 5)])
def test_cell_means_are_adaptive_pooling(size, cells):
    from selion.models.pooling import CellMeans

    features = noise(2, 3, *size)
    assert torch.allclose(
        CellMeans(*cells)(features),
        torch.nn.functional.adaptive_avg_pool2d(features, cells),
        atol=1e-6,
    )


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "error", "said"),
    [
        ({"family": "fcsiam-avg", "encoder": "resnet18"}, UnknownName, "did you mean 'fcsiamavg'"),
        ({"family": "segfromer", "encoder": "mit_b2"}, UnknownName, "did you mean 'segformer'"),
        (
            {"family": "unet", "encoder": "efficientnet-b9"},
            UnknownName,
            "did you mean 'efficientnet-b",
        ),
        (
            {"family": "upernet", "encoder": "tu-vit_smoll_patch16_224"},
            UnknownName,
            "did you mean 'tu-vit_small_patch16_224'",
        ),
        (
            {"family": "frozen", "encoder": "vit_smal_patch16_224"},
            UnknownName,
            "did you mean 'vit_small_patch16_224'",
        ),
        (
            {"family": "unet", "encoder": "resnet18", "decoder_chanels": [1]},
            UnknownName,
            "did you mean 'decoder_channels'",
        ),
        (
            {"family": "fcn", "encoder": "resnet18"},
            UnknownName,
            "no architecture key called 'encoder'",
        ),
        ({"family": "segformer"}, BadInput, "names no encoder"),
        (
            {"family": "unet", "encoder": "resnet18", "decoder_channels": [8, 8]},
            BadInput,
            "cannot be built for 8 bands",
        ),
        ({"family": "decode", "filters": 6}, BadInput, "filters must divide"),
        (
            {"family": "frozen", "encoder": "vit_tiny_patch16_224", "head": "square"},
            BadInput,
            "no head called 'square'",
        ),
        (
            {"family": "frozen", "encoder": "vit_tiny_patch16_224", "encoder_bands": [4]},
            BadInput,
            "positions among the bands of one",
        ),
        (FROZEN | {"embed_dim": 0}, BadInput, "embed_dim = 0 was given for the encoder 'vit_tiny"),
        (FROZEN | {"embed_dim": 25}, BadInput, "wanted is a multiple of the 2 heads"),
        (FROZEN | {"num_heads": 5, "depth": 1.5}, BadInput, "depth = 1.5 was given"),
        (FROZEN | {"patch_size": -4}, BadInput, "patch_size = -4 was given"),
        (FROZEN | {"img_size": 33}, BadInput, "multiple of the 8 px of a token"),
        (FROZEN | {"seen": -8}, BadInput, "seen = -8 was given for the encoder; .* at least 0"),
        (FROZEN | {"hidden": 0}, BadInput, "hidden = 0 was given for the decoder"),
        (FROZEN | {"fused": True}, BadInput, "fused = True was given for the MLP"),
        (
            {"family": "frozen", "encoder": "vit_tiny_patch16_224", "num_heads": 5},
            BadInput,
            "cannot be built for 8 bands: .*num_heads",
        ),
    ],
)
def test_what_cannot_be_built_gets_a_sentence(architecture, error, said):
    with pytest.raises(error, match=said):
        build_meta(architecture, 8, 3)


def test_pretrained_weights_are_refused_where_there_are_none():
    with pytest.raises(BadInput, match="has no encoder with imagenet weights"):
        build_network({"family": "fcn"}, 8, 3, "imagenet")
    with pytest.raises(UnknownName, match="set of pretrained weights"):
        build_network({"family": "fcn"}, 8, 3, "imagnet")


def test_a_dead_hub_is_asked_once_and_the_cache_not_at_all(monkeypatch):
    from huggingface_hub import constants

    from selion.models import network

    tried, asked = [], []

    def build_from(*_arguments):
        tried.append(constants.HF_HUB_OFFLINE)
        raise OSError("the file is not in the cache")

    def no_answer():
        asked.append(1)
        raise OSError("no answer: name not known")

    monkeypatch.setattr(network, "build", build_from)
    monkeypatch.setattr(network, "ask_hub", no_answer)
    with pytest.raises(
        FetchFailed,
        match=r"weights of .* are not on this machine .*no answer: name not known.*go online once",
    ):
        build_network(small("unet"), 8, 3, "imagenet")
    assert (tried, asked, constants.HF_HUB_OFFLINE) == ([True], [1], False)
    monkeypatch.setattr(network, "ask_hub", lambda: asked.append(2))
    with pytest.raises(FetchFailed, match="not in the cache"):
        build_network(small("unet"), 8, 3, "imagenet")
    assert (tried, asked) == ([True, True, False], [1, 2])
    monkeypatch.setattr(network, "build", lambda *_: "found")
    assert build_network(small("unet"), 8, 3, "imagenet") == "found"
    assert asked == [1, 2]


def test_an_odd_number_of_bands_is_not_two_dates():
    with pytest.raises(BadInput, match="two dates"):
        build_network(small("fcsiamavg"), 7, 3)


def test_windows_that_do_not_fit_are_refused_before_export(tmp_path):
    spec = InputSpec(BANDS, window=256, multiple=32)
    with pytest.raises(BadInput, match="multiple of 256 px; 32 was given"):
        check_window({"family": "decode"}, spec)
    check_window({"family": "decode"}, InputSpec(BANDS, window=512, multiple=256))
    for family, encoder in (
        ("unetr", "vit_small_patch16_224"),
        ("dpt", "tu-vit_small_patch16_224"),
    ):
        vit = {"family": family, "encoder": encoder}
        with pytest.raises(BadInput, match="multiple of 16 px; 100 was given"):
            check_window(vit, InputSpec(BANDS, window=100, multiple=100))
        check_window(vit, InputSpec(BANDS, window=112, multiple=112))
    with pytest.raises(BadInput, match="one size only"):
        check_window(small("frozen"), spec)
    with pytest.raises(BadInput, match="one size only"):
        export(
            build_network(small("frozen"), 8, 3),
            ModelCard("toy.net", spec, FTW3, architecture=small("frozen")),
            tmp_path / "model",
        )
    assert not (tmp_path / "model").exists()


# FC-Siam ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def siamese():
    return {family: seeded(small(family)) for family in ("fcsiamavg", "fcsiamconc", "fcsiamdiff")}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_average_does_not_know_the_order_of_dates(siamese, seed):
    image = noise(2, 8, 32, 32, seed=seed)
    swapped = torch.cat([image[:, 4:], image[:, :4]], 1)
    with torch.inference_mode():
        assert torch.equal(siamese["fcsiamavg"](image), siamese["fcsiamavg"](swapped))  # to the bit
        for family in ("fcsiamconc", "fcsiamdiff"):
            assert (siamese[family](image) - siamese[family](swapped)).abs().max() > 1e-4


def test_a_date_that_is_there_twice_has_no_difference(siamese):
    first, second = noise(1, 4, 32, 32, seed=5), noise(1, 4, 32, 32, seed=6)
    with torch.inference_mode():
        one, other = (siamese["fcsiamdiff"](torch.cat([date, date], 1)) for date in (first, second))
    assert torch.equal(one, other)  # nothing is left of the image


# DECODE -------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), depth=st.integers(0, 6))
def test_fractal_tanimoto_is_a_similarity(seed, depth):
    from selion.models.fractal.network import tanimoto

    one, other = torch.rand(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    alike = tanimoto(one, other, (2, 3), depth)
    assert alike.shape == (2, 3, 1, 1)
    assert torch.allclose(alike, tanimoto(other, one, (2, 3), depth))
    assert torch.allclose(tanimoto(one, one, (2, 3), depth), torch.ones_like(alike), atol=1e-4)
    assert torch.allclose(alike, tanimoto(1 - one, 1 - other, (2, 3), depth))  # with complement
    assert (alike > 0).all()
    assert (alike < 1 + 1e-4).all()


def test_fractal_tanimoto_by_hand():
    from selion.models.fractal.network import tanimoto

    one, other = torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([[0.5, 0.5, 0.5]])
    terms = []
    for p, q in ((one, other), (1 - one, 1 - other)):
        both, sums = float((p * q).sum()), float((p * p).sum() + (q * q).sum())
        terms += [both / (sums - both), both / (2 * sums - 3 * both)]
    assert float(tanimoto(one, other, 1, depth=2, smooth=0)) == pytest.approx(
        sum(terms) / 4, rel=1e-6
    )


def test_decode_answers_three_heads_and_the_extent_alone_when_called():
    network = seeded(small("decode"))
    image = noise(2, 8, 32, 16)
    with torch.inference_mode():
        heads = network.heads(image)
        assert {name: tuple(value.shape) for name, value in heads.items()} == {
            "extent": (2, 3, 32, 16),
            "boundary": (2, 1, 32, 16),
            "distance": (2, 1, 32, 16),
        }
        assert torch.equal(network(image), heads["extent"])


def test_the_extent_is_conditioned_on_boundary_and_distance():
    network = seeded(small("decode"))
    network(noise(1, 8, 16, 16)).square().sum().backward()
    for head in (network.boundary, network.distance):
        assert head[0][0].weight.grad.abs().sum() > 0


def test_attention_starts_at_nothing_and_matters_when_learnt():
    network = seeded(small("decode"))
    image = noise(1, 8, 16, 16)
    with torch.no_grad():
        before = network(image)
        for name, value in network.named_parameters():
            if name.endswith("attention.norm.bias"):
                value.add_(1.0)
        assert torch.equal(network(image), before)  # its weight gamma is 0
        for name, value in network.named_parameters():
            if name.endswith("gamma"):
                value.fill_(0.5)
        assert (network(image) - before).abs().max() > 1e-3


def test_decode_refuses_sizes_that_its_levels_do_not_divide():
    network = build_network(small("decode"), 8, 3)  # 3 levels, 2 in the pyramid: 8 px
    assert network(noise(1, 8, 8, 24)).shape == (1, 3, 8, 24)
    with pytest.raises(BadInput, match=r"multiple of 8 px; \(12, 16\) was given"):
        network(noise(1, 8, 12, 16))


def test_pyramid_means_are_those_of_the_cells():
    from selion.models.fractal.network import _cell_means

    features = noise(2, 3, 8, 12)
    means = _cell_means(features, 4)
    want = (
        torch.nn.functional.adaptive_avg_pool2d(features, 4)
        .repeat_interleave(2, 2)
        .repeat_interleave(3, 3)
    )
    assert torch.allclose(means, want, atol=1e-6)


# Frozen encoders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "convolutional"])
def test_only_the_head_of_a_frozen_encoder_learns(head):
    network = build_network(LINEAR if head == "linear" else small("frozen"), 8, 3).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(noise(2, 8, 32, 32)).square().mean().backward()
    optimizer.step()
    for name, value in network.named_parameters():
        assert (value.grad is None) == name.startswith("encoder."), name
    moved = {
        name for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved
    assert not [name for name in moved if name.startswith("encoder.")]
    assert not network.encoder.training


def test_count_of_dinov3_in_table_1():
    architecture = {
        "family": "frozen",
        "encoder": "vit_large_patch16_dinov3.sat493m",
        "encoder_bands": [0, 1, 2],
        "img_size": 256,
    }
    assert round(parameters(architecture), 1) == 412.2


def test_frozen_head_has_the_widths_of_the_paper():
    """Table 1: 30 M to 110 M parameters that learn.  By hand, for 768 features and 16 px
    patches.
    """
    network = build_meta({"family": "frozen", "encoder": "vit_base_patch16_224"}, 8, 3)
    learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
    width, hidden, detail, patch = 768, 512, 64, 16
    mlp = (2 * width + 1) * 2 * width * 2 + (2 * width + 1) * width
    conv = lambda a, b, k: (a * k * k + 1) * b  # noqa: E731
    residual = 2 * (2 * conv(hidden, hidden, 3) + 4 * hidden)
    pyramid = 2 * hidden * hidden + 3 * 9 * hidden * hidden + 5 * hidden * hidden + 6 * 2 * hidden
    tail = conv(hidden, detail * patch**2, 3) + conv(detail, 3, 1)
    assert learning == mlp + conv(width, hidden, 3) + residual + pyramid + tail
    assert 30e6 < learning < 110e6


def test_the_two_dates_of_a_frozen_encoder_meet_token_by_token():
    network = seeded(LINEAR)
    image = noise(1, 8, 32, 32)
    with torch.inference_mode():
        first, second = network.encoder(image[:, :4]), network.encoder(image[:, 4:])
        assert first.shape == (1, 16, 24)
        fused = network.fuse(torch.cat([first, second], 2)).transpose(1, 2).reshape(1, 24, 4, 4)
        assert torch.allclose(network(image), network.head(fused))


def test_an_encoder_of_ones_own_takes_the_place_of_timm():
    from selion.models.foundation.network import TwoDates

    class Means(torch.nn.Module):
        def forward(self, image):
            return torch.nn.functional.avg_pool2d(image, 4).flatten(2).transpose(1, 2)

    network = TwoDates(Means(), width=3, patch=4, classes=2, head="linear", encoder_bands=(2, 1, 0))
    image = noise(1, 8, 16, 8)
    assert network(image).shape == (1, 2, 16, 8)
    other = image.clone()
    other[:, [3, 7]] += 1  # the near infrared is not fed
    assert torch.equal(network(image), network(other))
    with pytest.raises(BadInput, match="4 px wide"):
        network(noise(1, 8, 15, 8))
    with pytest.raises(BadInput, match="tokens for 2 x 1 patches"):
        TwoDates(Means(), width=4, patch=8, classes=2, head="linear")(image)


def test_two_classes_are_possible_everywhere():
    assert len(FTW2) == 2
    assert build_meta(small("decode"), 8, 2)(torch.zeros(1, 8, 16, 16, device="meta")).shape == (
        1,
        2,
        16,
        16,
    )


# Mask2Former --------------------------------------------------------------------------------------


def test_count_of_mask2former_in_table_1():
    # 68.8 M in detectron2; transformers' pixel decoder has a few biases fewer.
    assert parameters({"family": "mask2former"}, classes=2) == pytest.approx(68.8, abs=0.1)


def test_mask2former_answers_shares_of_evidence():
    network = seeded(small("mask2former"))
    image = noise(2, 8, 32, 32)
    with torch.inference_mode():
        classes, masks = network.queries(image)
        assert classes.shape == (2, 5, 3)
        assert masks.shape == (2, 5, 32, 32)
        assert (classes.sum(2) < 1).all()  # the rest is "no object"
        evidence = (classes[:, :, :, None, None] * masks[:, :, None]).sum(1)
        assert torch.allclose(
            network(image).softmax(1), evidence / evidence.sum(1, keepdim=True), atol=1e-4
        )


def test_mask2former_is_run_by_torch_and_says_why(tmp_path):
    card = export(
        seeded(small("mask2former")), card_of(small("mask2former")), tmp_path / "model", half=False
    )
    with pytest.raises(MissingExtra, match="only where its last mask is above one half"):
        load_model(card.folder, "openvino")
    segmenter = load_model(card.folder, threads=1)
    assert "openvino: Mask2Former looks only" in segmenter.engine
    view = View(
        np.random.default_rng(3).integers(0, 6000, (8, 20, 32), dtype=np.uint16),
        (slice(0, 20), slice(0, 32)),
    )
    answer = segmenter([view])
    assert answer.shape == (1, 3, 20, 32)
    assert np.allclose(answer.sum(1), 1, atol=1e-5)


def test_mask2former_answers_its_queries_of_all_layers():
    network = seeded(small("mask2former"))
    image = noise(2, 8, 32, 32)
    with torch.inference_mode():
        raw = network(image, raw=True)
        classes, masks = network.queries(image)
    assert raw.classes.shape == (2, 5, 4)  # three classes and "no object"
    assert raw.masks.shape == (2, 5, 8, 8)
    assert torch.allclose(raw.classes.softmax(2)[..., :-1], classes, atol=1e-6)
    finer = torch.nn.functional.interpolate(
        raw.masks, size=(32, 32), mode="bilinear", align_corners=False
    )
    assert torch.allclose(finer.sigmoid(), masks, atol=1e-6)
    assert len(raw.auxiliary) >= 1
    assert all(
        layer.classes.shape == raw.classes.shape
        and layer.masks.shape == raw.masks.shape
        and not layer.auxiliary
        for layer in raw.auxiliary
    )
