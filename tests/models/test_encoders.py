"""Encoders of foundation models by name: what they are fed, how they start, what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selion.classes import FTW3
from selion.errors import BadInput, UnknownName
from selion.models import ModelCard, build_network, export, load_model
from selion.models.blank import build_meta
from selion.models.foundation.cards import encoder_cards
from selion.segmenter import InputSpec, Scaling, View

BANDS = tuple(f"window_{w}:{b}" for w in "ba" for b in ("red", "green", "blue", "nir"))
TINY = {
    "dinov3": {"width": 24, "depth": 2, "heads": 2, "seen": 32, "patch": 8},
    "softcon": {"width": 24, "depth": 2, "heads": 2, "seen": 28, "patch": 7},
    "decur": {"width": 24, "depth": 2, "heads": 2, "seen": 32, "patch": 8},
    "croma": {"width": 32, "depth": 2, "heads": 2, "seen": 24, "patch": 8},
    "dofa": {"width": 16, "depth": 2, "heads": 2, "seen": 24, "patch": 8},
    "galileo": {"width": 32, "depth": 2, "heads": 4, "seen": 32, "patch": 4},
    "terrafm": {"width": 24, "depth": 2, "heads": 4, "seen": 32, "patch": 8, "trained": 24},
    "clay": {"width": 32, "depth": 2, "heads": 2, "seen": 32, "patch": 8},
    "prithvi": {"width": 32, "depth": 2, "heads": 2, "seen": 28, "patch": 7},
    "terramind": {"width": 24, "depth": 2, "heads": 2, "seen": 32, "patch": 8, "learnt": 16},
    "satlas": {"width": 32, "depths": [1, 1, 2, 1], "heads": [1, 1, 2, 2], "reach": 2, "seen": 64},
}
"""Encoder -> a size that is quick; whatever stands here runs through all tests below."""
WINDOW = 32
UNSEEN = {
    "decur": 0.385,
    "croma": 4.724,
    "dofa": 0.048 - 0.202,
    "galileo": 0.963,
    "terrafm": 8.267 + 2.362,
    "prithvi": 26.533,
    "clay": -0.067,
    "satlas": 0.7705,
}
"""Millions of parameters that the paper counts and no answer passes: heads of classes that the
authors' networks carry along (DeCUR, DOFA, Satlas), CROMA's pooled answer, the other groups of
Galileo, the other sensors of TerraFM and a layer for four bands that PRUE adds and does not use,
Prithvi's decoder.  DOFA's figure is met without its fixed table of places.  Clay's is 0.03 % less
than the authors' network has, and the paper does not say why; without the tensors that are no
layer's weight or bias it would be met."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


ROWS = list(TINY)


def shape(name, **more):
    return {
        "family": "frozen",
        "encoder": name,
        "window": WINDOW,
        "size": TINY[name],
        "hidden": 16,
        "detail": 4,
    } | more


def tiny(name, **more):
    torch.manual_seed(0)
    return build_network(shape(name, **more), 8, 3)


def model_card(architecture, divide=10_000.0, window=WINDOW, bands=BANDS):
    inputs = InputSpec(bands, Scaling((divide,)), None, window, 0.25, window)
    return ModelCard("toy.frozen", inputs, FTW3, architecture=architecture)


@pytest.mark.parametrize("name", ROWS)
def test_the_network_has_as_many_parameters_as_table_1_says(name):
    network = build_meta({"family": "frozen", "encoder": name}, 8, 3)
    counted = sum(p.numel() for p in network.parameters()) / 1e6
    assert counted + UNSEEN.get(name, 0.0) == pytest.approx(
        encoder_cards()[name].parameters, abs=0.06
    )


def test_the_page_of_encoders_says_what_runs():
    page = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text("utf-8")
    rows = {
        line.split("`")[1]: line.split("|")
        for line in page.splitlines()
        if "Table 1" not in line and line.startswith("| `") and line.count("|") == 7
    }
    assert rows.keys() == encoder_cards().keys()
    for name, cells in rows.items():
        card = encoder_cards()[name]
        network = build_meta({"family": "frozen", "encoder": name}, 8, 3)
        counted = sum(p.numel() for p in network.parameters()) / 1e6
        assert f"({card.width}, {card.patch} px, {card.seen})" in cells[2], name
        assert [cell.strip() for cell in (cells[3], cells[4], cells[6])] == [
            f"{counted:.1f}",
            f"{card.parameters:.1f}",
            card.licence,
        ]


def head_of(width, shuffle, reach):
    """Count what PRUE's fusion and decoder learn, by hand."""
    conv = lambda a, b, k=1, bias=True: a * b * k * k + b * bias  # noqa: E731
    norm = 2 * 512
    fusion = conv(2 * width, 2 * width) * 2 + conv(2 * width, width)
    residual = 2 * (conv(512, 512, 3) + norm)
    pyramid = 2 * conv(512, 512, 1, bias=False) + 3 * conv(512, 512, 3, bias=False) + 5 * norm
    pyramid += conv(5 * 512, 512, 1, bias=False) + norm
    decoder = conv(width, 512, 3) + 2 * residual + pyramid
    decoder += conv(512, 64 * shuffle**2, 3) + conv(64, 3)
    return fusion + decoder + (conv(3, 3, reach) if reach else 0)


@pytest.mark.parametrize("name", ROWS)
def test_fusion_and_decoder_are_counted_by_hand(name):
    card = encoder_cards()[name]
    network = build_meta({"family": "frozen", "encoder": name}, 8, 3)
    tokens, shuffle = card.seen // card.patch, card.shuffle or card.patch
    reach = 0 if tokens * shuffle == 256 else 2 * round(256 / (tokens * shuffle))
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert learnt == head_of(card.width, shuffle, reach)
    assert all(not p.requires_grad for p in network.encoder.parameters())


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("head", ["convolutional", "linear"])
def test_a_step_teaches_the_head_only_unless_the_encoder_is_trainable(name, head):
    more = {"head": head} | ({"hidden": 16, "detail": 4} if head == "convolutional" else {})
    given = {k: v for k, v in shape(name).items() if k not in ("hidden", "detail")} | more
    torch.manual_seed(0)
    network = build_network(given, 8, 3).train()
    image = torch.rand(2, 8, WINDOW, WINDOW)
    answer = network(image)
    assert answer.shape == (2, 3, WINDOW, WINDOW)
    answer.square().mean().backward()
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.head.parameters())
    network = build_network(given | {"trainable": True}, 8, 3).train()
    before = [p.detach().clone() for p in network.encoder.parameters()]
    network(image).square().mean().backward()
    torch.optim.SGD(network.parameters(), 1.0).step()
    moved = [
        not torch.equal(a, b) for a, b in zip(before, network.encoder.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2
    assert network.encoder.training


@pytest.mark.parametrize("name", ROWS)
def test_the_exported_folder_answers_as_the_network_does(name, tmp_path):
    network = tiny(name).eval()
    made = export(network, model_card(shape(name)), tmp_path / "model", half=False)
    pixels = np.random.default_rng(0).uniform(0, 4000, (8, WINDOW, WINDOW)).astype(np.float32)
    view = View(pixels, (slice(0, WINDOW), slice(0, WINDOW)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)[None] / 10_000).softmax(1).numpy()
    for engine in ("onnxruntime", "torch"):
        assert load_model(made.folder, engine, threads=1)([view]) == pytest.approx(
            expected, abs=1e-4
        )


@pytest.mark.parametrize("name", ROWS)
def test_the_card_says_what_the_published_network_is(name):
    from selion.models.foundation.wiring import make_encoder

    card = encoder_cards()[name]
    with torch.device("meta"):
        network, size = make_encoder(card, {})
    assert (size.width, size.patch, size.seen) == (card.width, card.patch, card.seen)
    assert network is not None


def test_bands_are_filled_and_normalised_as_pixels_say():
    """PRUE's wrapper on one pixel, by hand: B01 is 0, B05 and B06 red, the rest near infrared."""
    fed = tiny("softcon").feed
    red, green, blue, nir = 800.0, 700.0, 400.0, 3000.0
    image = torch.tensor([red, green, blue, nir])[None, :, None, None] / 10_000
    shown = fed(image.expand(1, 4, WINDOW, WINDOW))
    assert shown.shape == (1, 13, 28, 28)
    raw = [0, blue, green, red, red, red, nir, nir, nir, nir, nir, nir, nir]
    mean = [1395.34, 1395.34, 1338.40, 1343.09, 1543.86, 2186.20, 2525.09, 2410.33]
    mean += [2750.28, 2750.28, 2234.91, 2234.91, 1474.53]
    std = [917.70, 917.70, 913.29, 1092.68, 1047.22, 1048.01, 1143.69, 1098.97]
    std += [1204.47, 1204.47, 1145.97, 1145.97, 980.24]
    expected = [(v - m) / s for v, m, s in zip(raw, mean, std, strict=True)]
    assert shown[0, :, 5, 5].numpy() == pytest.approx(expected, abs=1e-4)


THIRTEEN = [-1.5205, -1.0846, -0.6990, -0.4970, -0.7103, -1.3227, 0.4152, 0.5366]
THIRTEEN += [0.2073, 0.2073, 0.6676, 0.6676, 1.5562]
"""B01 (zeros) to B12 by Galileo's statistics; where it has none, B01 has those of B02, B09 those of
B8A and B10 those of B11."""
PIXEL = {
    "croma": (
        [-1.5205, -1.0846, -0.6990, -0.4970, -0.7103, -1.3227],
        [0.4152, 0.5366, 0.2073, 0.2073, 0.6676, 1.5562],
    ),
    "dofa": [11.0835, 8.5037, 4.0759, 11.3754, 11.3471, 48.0711, 61.1394, 47.1950, 47.1950],
    "galileo": (
        [-1.0846, -0.6990, -0.4970, -0.7103, -1.3227],
        [0.4152, 0.5366, 0.2073, 0.6676, 1.5562],
    ),
    "terrafm": [0, 0.1333, 0.2333, 0.2667, 0, 0, 0, 1, 0, 0, 0, 0],
    "clay": [-0.3983, -0.3728, -0.3897, 0.1475],
    "prithvi": [-1.0846, -0.6990, -0.4970, -0.7103, -1.3227, 0.4152],
    "terramind": [0.2667, 0.2333, 0.1333, 1.0],  # red where the network expects blue
    "softcon": THIRTEEN,
    "decur": THIRTEEN,
    "dinov3": [
        (800 / 3000 - 0.430) / 0.213,
        (700 / 3000 - 0.411) / 0.156,
        (400 / 3000 - 0.296) / 0.143,
    ],
    "satlas": [
        (400 - 1395.34) / 917.70,  # B02 where the weights mean red
        (700 - 1338.40) / 913.29,
        (800 - 1343.09) / 1092.68,
        (800 - 1543.86) / 1047.22,
        (800 - 2186.20) / 1048.01,
        (3000 - 2525.09) / 1143.69,
        (0 - 1395.34) / 917.70,  # B01, zeros, where they mean near infrared
        (3000 - 2410.33) / 1098.97,
        (3000 - 2750.28) / 1204.47,
    ],
}
"""What PRUE's own code (ftw-prue at b3c88b9, with Galileo's wrapper at 18defa7) made of a pixel of
red 800, green 700, blue 400 and near infrared 3000.  DINOv3's and Satlas's are by hand, from the
mean and deviation of SAT-493M and of Galileo's bands as they were published."""


@pytest.mark.parametrize("name", PIXEL)
def test_a_pixel_is_fed_as_prues_code_feeds_it(name):
    image = torch.tensor([800.0, 700.0, 400.0, 3000.0])[None, :, None, None] / 10_000
    shown = tiny(name).feed(image.expand(1, 4, WINDOW, WINDOW))
    assert shown.shape[2:] == (TINY[name]["seen"],) * 2
    assert shown[0, :, 5, 5].numpy() == pytest.approx(np.ravel(PIXEL[name]), abs=1e-4)


def test_what_the_authors_of_galileo_and_dofa_mean():
    """Galileo: mean 1343.10 and deviation 1092.68 of red, two of them each way; DOFA: 8 bits."""
    image = torch.tensor([1343.10, 700.0, 400.0, 3000.0])[None, :, None, None] / 10_000
    image = image.expand(1, 4, WINDOW, WINDOW)
    shown = tiny("galileo", feed="authors").feed(image)[0, :, 5, 5]
    assert shown[2].item() == pytest.approx(0.5, abs=1e-4)
    assert shown[6].item() == pytest.approx((3000 - 2410.34) / (4 * 1098.98) + 0.5, abs=1e-4)
    shown = tiny("dofa", feed="authors").feed(image)[0, :, 5, 5]
    assert shown[0].item() == pytest.approx((1343.10 * 255 / 3558 - 114.11) / 77.84, abs=1e-3)
    assert shown[6].item() == pytest.approx((3000 * 255 / 8160 - 101.44) / 60.30, abs=1e-3)


AUTHORS = {
    "prithvi": [
        (400 - 1087) / 2248,
        (700 - 1342) / 2179,
        (800 - 1433) / 2178,
        (3000 - 2734) / 1850,
        (3000 - 1958) / 1242,
        (3000 - 1363) / 1049,
    ],
    "terramind": [
        (400 - 1503.317) / 2141.107,
        (700 - 1718.197) / 2038.973,
        (800 - 1853.91) / 2134.138,
        (3000 - 3083.234) / 1871.918,
    ],
    "satlas": [
        *(800 / 3558, 700 / 3558, 400 / 3558),  # of the true-colour image
        *(800 / 8160, 800 / 8160, 3000 / 8160),
        *(3000 / 8160, 3000 / 8160, 3000 / 8160),
    ],
}
"""The same pixel by the authors' statistics, as terratorch 1.2.11 lists them (Satlas: as its README
says); near infrared stands in for short-wave infrared, red for the first two red edges."""


@pytest.mark.parametrize("name", AUTHORS)
def test_a_pixel_is_fed_as_the_authors_ask_for(name):
    image = torch.tensor([800.0, 700.0, 400.0, 3000.0])[None, :, None, None] / 10_000
    shown = tiny(name, feed="authors").feed(image.expand(1, 4, WINDOW, WINDOW))
    assert shown[0, :, 5, 5].numpy() == pytest.approx(AUTHORS[name], abs=1e-5)


def test_a_date_with_more_bands_is_used_as_it_is():
    more = {"date": ["red", "green", "blue", "nir", "swir16"]}
    torch.manual_seed(0)
    fed = build_network(shape("softcon", **more), 10, 3).feed
    image = torch.tensor([800.0, 700.0, 400.0, 3000.0, 2234.91])[None, :, None, None] / 10_000
    shown = fed(image.expand(1, 5, WINDOW, WINDOW))[0, :, 0, 0]
    assert shown[11].item() == pytest.approx(0, abs=1e-4)  # swir16 is itself, not near infrared
    assert shown[12].item() == pytest.approx((3000 - 1474.53) / 980.24, abs=1e-4)


def test_what_comes_at_another_size_goes_through_prues_transposed_convolution():
    network = tiny("softcon").eval()
    image = torch.rand(1, 8, WINDOW, WINDOW)
    with torch.inference_mode():
        tokens = torch.cat([network.encoder(network.feed(d)) for d in image.chunk(2, 1)], 2)
        grid = network.fuse(tokens).transpose(1, 2).reshape(1, 24, 4, 4)
        small = network.head(grid)
        assert small.shape == (1, 3, 28, 28)
        weights = network.reach.learnt
        assert weights.weight.shape == (3, 3, 2, 2)
        by_hand = F.conv_transpose2d(small, weights.weight, weights.bias)
        assert by_hand.shape == (1, 3, 29, 29)
        expected = F.interpolate(by_hand, (WINDOW, WINDOW), mode="bilinear", align_corners=False)
        assert torch.allclose(network(image), expected, atol=1e-6)
    assert tiny("decur").reach is None


def test_the_probe_is_one_convolution_and_one_enlargement():
    given = {
        k: v for k, v in shape("softcon", head="linear").items() if k not in ("hidden", "detail")
    }
    torch.manual_seed(0)
    network = build_network(given, 8, 3).eval()
    assert [tuple(p.shape) for p in network.head.parameters()] == [(3, 24, 1, 1), (3,)]
    assert network.reach is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"divide": 3000.0}, "fed reflectance"),
        ({"window": 64}, "windows of 32 px and 64 px was given"),
        ({"bands": tuple(reversed(BANDS))}, "name them in that order"),
    ],
)
def test_inputs_that_the_encoder_would_misread_are_refused(changes, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        export(tiny("softcon"), model_card(shape("softcon"), **changes), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_unknown_names_are_said():
    with pytest.raises(UnknownName, match="clay"):
        build_network({"family": "frozen", "encoder": "clai"}, 8, 3)
    with pytest.raises(UnknownName, match="depth"):
        build_network(shape("softcon") | {"size": {"dept": 3}}, 8, 3)
    with pytest.raises(UnknownName, match="prue"):
        build_network(shape("softcon", feed="authors"), 8, 3)
    with pytest.raises(BadInput, match="bands of two dates"):
        build_network(shape("softcon"), 6, 3)
    with pytest.raises(BadInput, match="img_size"):
        build_network(shape("softcon", img_size=32), 8, 3)
    with pytest.raises(BadInput, match="date"):
        build_network(
            {"family": "frozen", "encoder": "vit_tiny_patch16_224", "date": ["red"]}, 8, 3
        )


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("softcon", {"heads": 0}, "heads = 0"),
        ("softcon", {"seen": 30}, r"seen = 30.*multiple of the patch of 7 px"),
        ("softcon", {"width": 25}, r"width = 25.*multiple of the 2 heads"),
        ("softcon", {"depth": 1.5}, r"depth = 1\.5"),
        ("clay", {"patch": 7}, r"seen = 32.*patch of 7 px"),
        ("galileo", {"month": 12}, r"month = 12.*0 \(January\) to 11"),
        ("galileo", {"month": -1}, "month = -1"),
        ("satlas", {"seen": 100}, r"seen = 100.*patch of 32 px"),
        ("satlas", {"heads": [1, 0, 2, 2]}, "heads = .*at least 1"),
    ],
)
def test_sizes_that_no_network_has_are_refused(name, size, said):
    with pytest.raises(BadInput, match=f"^The size {said}"):
        tiny(name, size=TINY[name] | size)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"trainable": "no"}, "^trainable = 'no' was given"),
        ({"head": "linear"}, "^hidden, detail was given with head = 'linear'"),
        ({"window": 0}, "^window = 0 was given"),
    ],
)
def test_options_that_cannot_be_used_are_refused(more, said):
    with pytest.raises(BadInput, match=said):
        tiny("softcon", **more)
