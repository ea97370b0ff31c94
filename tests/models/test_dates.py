"""Any number of dates: what the network must not mind, one graph for all, and what a card says."""

import copy
import json
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from click.testing import CliRunner

from selion.classes import FTW3
from selion.cli.main import cli
from selion.errors import BadInput, BandMismatch
from selion.models.card import ModelCard, describe, read_card, write_card
from selion.models.feed import feed
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
from selion.models.architectures import build, check_window  # noqa: E402
from selion.models.dates.network import ABSENT, make_dates  # noqa: E402
from selion.models.export import export  # noqa: E402
from selion.models.fingerprint import chip_range, compare_answers, synthetic_chip  # noqa: E402
from selion.models.graph import load_onnxruntime, load_openvino  # noqa: E402
from selion.models.loading import verify_model  # noqa: E402
from selion.models.pixel import load_network, load_on  # noqa: E402

BANDS = ("red", "green", "blue", "nir")
NET = {
    "family": "dates",
    "encoder": "tu-mobilenetv4_conv_small_050",
    "decoder_channels": [16, 8, 8, 8, 8],
}
INPUTS = InputSpec(
    BANDS,
    Scaling((3000.0,), clip=(0.0, 3.0)),
    window=64,
    dates="any",
    optional=("nir",),
    byte_divide=255.0,
)
CARD = ModelCard("toy.dates", INPUTS, FTW3, architecture=NET)
LOADERS = {
    "openvino": load_openvino,
    "onnxruntime": load_onnxruntime,
    "torch": partial(load_on, "cpu"),
}


@pytest.fixture(scope="module")
def network():
    """Random weights, batch statistics as after training: every level has something to say."""
    torch.manual_seed(3)
    net = build(NET, len(BANDS), 3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what is shown
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.1)
    for fusion in net.fusions:  # as after training: channels mix
        fusion.weight.data.add_(torch.randn_like(fusion.weight) * 0.05)
    net.train()
    with torch.inference_mode():
        for seed in range(2):
            net(scenes(2, 2, seed=seed))
        said = net.eval()(scenes(2)).transpose(0, 1).flatten(1)
    head = net.segmentation_head[0]  # logits around 0, none far off
    head.weight.data /= said.std()
    head.bias.data[:] = -said.mean(1) / said.std()
    return net


def scenes(dates, views=1, size=64, seed=0):
    """(views, dates x 4, y, x) of numbers that are there."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(views, dates * 4, size, size, generator=generator)


def asked(network, image):
    """Logits in float64, where rounding is no excuse."""
    with torch.inference_mode():
        return exact(network)(image.double())


@cache
def exact(network):
    return copy.deepcopy(network).double()


def same(one, other, most=1e-9):
    return float((one - other).abs().max()) < most


def test_the_order_of_dates_says_nothing(network):
    image = scenes(3)
    said = asked(network, image)
    for order in ((1, 0, 2), (2, 1, 0), (1, 2, 0)):
        turned = torch.cat([image[:, 4 * k : 4 * k + 4] for k in order], 1)
        assert same(asked(network, turned), said)
    assert not same(asked(network, image[:, :4]), said, 1e-3)  # but the dates do


def test_the_same_date_twice_is_that_date_and_one_that_is_absent_none(network):
    one, two = scenes(1), scenes(2)
    assert same(asked(network, torch.cat([one, one, one], 1)), asked(network, one))
    gone = torch.full_like(one, ABSENT)
    said = asked(network, two)
    for image in (torch.cat([two, gone], 1), torch.cat([gone, two, gone], 1)):
        assert same(asked(network, image), said)
    # nothing at all is there: an answer, and a finite one
    assert bool(torch.isfinite(asked(network, torch.cat([gone, gone], 1))).all())


def test_a_band_that_is_absent_has_no_number(network):
    """What stands in its place cannot be seen, and near infrared can."""
    image = scenes(1)
    without = image.clone()
    without[:, 3] = ABSENT
    other = without.clone()
    other[:, 3] = 3 * ABSENT
    assert torch.equal(asked(network, without), asked(network, other))
    assert not same(asked(network, image), asked(network, without), 1e-3)
    # it is no 0, and not the middle either
    for number in (0.0, 0.5):
        there = image.clone()
        there[:, 3] = number
        assert not same(asked(network, there), asked(network, without), 1e-3)


def test_a_cloud_over_one_date_leaves_the_other_in_its_place(network):
    """Far from the cloud nothing changes; under it the other date speaks."""
    image = scenes(2, size=192)
    cloudy = image.clone()
    cloudy[:, 4:, :64, :64] = ABSENT
    other = cloudy.clone()
    other[:, 4:, :64, :64] = 2 * ABSENT
    assert torch.equal(asked(network, cloudy), asked(network, other))
    wholly = image.clone()
    wholly[:, 4:] = ABSENT
    corner = [asked(network, one)[:, :, :16, :16] for one in (image, cloudy, wholly)]
    clear, cloud = ((one - corner[2]).abs().mean() for one in corner[:2])
    assert float(cloud) < 0.5 * float(clear)


def test_fusion_by_hand():
    """Two dates, one channel: mean + w (max - mean), by shares of what was there."""
    from selion.models.dates.network import fuse_dates

    half = torch.nn.Conv2d(1, 1, 1, bias=False)
    half.weight.data[:] = 0.5
    dates = torch.tensor([[[[[2.0]]], [[[8.0]]]]])
    for shares, wanted in (
        ((1, 1), 5 + 0.5 * 3),
        ((1, 0), 2.0),
        ((0, 1), 8.0),
        ((0.5, 1), (1 + 8) / 1.5 + 0.5 * (8 - 9 / 1.5)),
        ((0, 0), 0.0),
    ):
        seen = torch.tensor(shares, dtype=torch.float32).reshape(1, 2, 1, 1, 1)
        assert float(fuse_dates(half, dates, seen).detach()) == pytest.approx(wanted, abs=1e-5)


def test_gradients_reach_every_weight_from_batches_of_unlike_dates(network):
    """A batch of one, two and three dates, padded with what is absent, is each by itself."""
    views = [scenes(n, seed=n) for n in (1, 2, 3)]
    padded = torch.full((3, 12, 64, 64), ABSENT)
    for k, view in enumerate(views):
        padded[k, : view.shape[1]] = view[0]
    together = asked(network, padded)
    for k, view in enumerate(views):
        assert same(together[k : k + 1], asked(network, view))
    torch.manual_seed(0)
    net = make_dates(4, 3, NET["encoder"], None, decoder_channels=NET["decoder_channels"])
    net.train()(padded).square().mean().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == [] or all("conv_head" in name or "classifier" in name for name in still)


@pytest.fixture(scope="module")
def card(network, tmp_path_factory):
    return export(network, CARD, tmp_path_factory.mktemp("weights") / "toy", half=False)


@pytest.mark.parametrize("engine", LOADERS)
def test_one_graph_takes_any_number_of_dates(card, engine):
    """Torch on the stored weights is the truth, with bands, dates and pixels that are absent."""
    if engine != "torch":
        pytest.importorskip(engine)
    network, model = load_network(card, card.folder), LOADERS[engine](card, card.folder, threads=1)
    for dates in (1, 2, 5):
        pixels = (scenes(dates, size=96, seed=dates)[0] * 4000).numpy()
        pixels[-1] = np.nan
        pixels[:4, :20, :30] = np.nan
        view = View(pixels, (slice(0, 96), slice(0, 96)))
        fed = torch.from_numpy(feed(view, card))
        with torch.inference_mode():
            wanted = network(fed).softmax(1).numpy()
        # float32 itself is 3e-5 off for random weights, 2e-6 at the median pixel
        apart = np.abs(model([view]) - wanted)
        assert apart.max() < 1e-4
        assert np.median(apart) < 1e-5
    # what is nothing in an image of numbers is absent for the network
    assert float(fed[0, -1].max()) == float(fed[0, 0, 5, 5]) == ABSENT
    assert float(fed[0, 4:-1].min()) >= 0


def test_other_numbers_of_bands_are_refused(card):
    model = load_on("cpu", card, card.folder)
    view = View(np.zeros((6, 64, 64), np.float32), (slice(0, 64), slice(0, 64)))
    with pytest.raises(BandMismatch, match=r"4 bands for each date .* \(6, 64, 64\)"):
        model([view])


def test_a_card_says_that_dates_are_a_set(card, tmp_path):
    again = read_card(card.folder)
    assert again.inputs == INPUTS
    assert again.inputs.dates == "any"
    said = describe(again)
    assert said["bands"] == (
        "red, green, blue, nir (nir may be missing) of each date; one date or many, in any order, "
        "clouds cut out of any"
    )
    assert said["scaling"] == "(value - 0) / 3000, clipped to 0..3; bytes / 255"
    shown = CliRunner().invoke(cli, ["models", "show", str(card.folder)])
    assert shown.exit_code == 0, shown.output
    assert "one date or many" in shown.output
    told = CliRunner().invoke(cli, ["models", "verify", str(card.folder)])
    assert told.exit_code == 0, told.output
    closer = replace(card, inputs=replace(INPUTS, gsd=(1.25, 3.7), finer=2.0))
    write_card(closer, tmp_path / "card.toml")
    assert read_card(tmp_path).inputs == closer.inputs
    metres = describe(closer)["ground sampling distance"]
    assert metres == "1.25 m to 3.7 m, 2 times finer than the image within these"
    # a card of before has none of these keys, and does not get them
    plain = ModelCard("plain", InputSpec(BANDS), FTW3)
    assert not {"dates", "optional", "byte_divide", "finer"} & set(plain.to_dict()["inputs"])


def test_the_fingerprint_holds_two_dates_without_near_infrared_in_one(card):
    chip = synthetic_chip(card, *chip_range(card)).pixels
    assert chip.shape == (8, 128, 128)
    assert np.isfinite(chip[:4]).all()
    assert np.isnan(chip[7]).all()
    assert np.isnan(chip[4:7]).mean() == pytest.approx(0.25)
    for engine in ("torch", "onnxruntime"):
        assert verify_model(card.folder, engine).difference < 2e-4
    model = load_on("cpu", card, card.folder)
    swapped = replace(card, inputs=replace(card.inputs, bands=("blue", "green", "red", "nir")))
    with pytest.raises(BadInput, match="says bands blue"):
        compare_answers(swapped, model, "torch")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dates": "some"}, "'some'"),
        ({"dates": ""}, "may be missing"),
        ({"optional": ("swir",)}, "swir"),
        ({"optional": BANDS}, "no band"),
        ({"byte_divide": 0.0}, "byte"),
        ({"dates": "", "optional": ()}, "bytes"),
        ({"upsampling": 2}, "upsampl"),
        ({"stretch": (1.0, 99.0)}, "stretch"),
        ({"context": 512}, "context"),
        ({"fill": "quarters"}, "quarters"),
        ({"scaling": Scaling((3000.0,), (1000.0,))}, "subtract"),
    ],
)
def test_inputs_that_nothing_could_follow_are_refused(changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        replace(INPUTS, **changes)


def test_networks_of_a_fixed_number_of_bands_cannot_take_a_set():
    with pytest.raises(BadInput, match="fixed number of bands"):
        check_window({"family": "unet", "encoder": "mobilenet_v2"}, INPUTS)
    check_window(NET, INPUTS)


def test_the_list_says_what_a_model_takes(card, monkeypatch):
    from selion import models

    monkeypatch.setattr(models, "list_models", lambda: [card, *models.packaged_models()])
    shown = CliRunner().invoke(cli, ["models", "list"]).output
    assert "3-4 a date" in next(line for line in shown.splitlines() if "toy.dates" in line)
    rows = json.loads(CliRunner().invoke(cli, ["models", "list", "--json"]).output)
    row = next(row for row in rows if row["name"] == "toy.dates")
    assert (row["dates"], row["optional"]) == ("any", ["nir"])
