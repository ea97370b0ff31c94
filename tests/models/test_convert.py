"""Published checkpoints: imported exactly, and never executed."""

import os
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from selion.classes import FTW3
from selion.errors import BadInput, OutputExists, UnknownName, UnreadableFile, UnsafeFile
from selion.models.card import ModelCard, read_card
from selion.models.feed import probabilities
from selion.models.graph import load_openvino
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="the extra 'train' is not installed"
)
from selion.models import import_checkpoint  # noqa: E402
from selion.models.architectures import build  # noqa: E402
from selion.models.convert import architecture_of, network_state, read_checkpoint  # noqa: E402
from selion.models.pixel import fill, load_network, load_on  # noqa: E402


def described(backbone, in_channels=8, num_classes=3, **more):
    """The hyper-parameters of the published layout."""
    plain = {
        "model": "unet",
        "backbone": backbone,
        "in_channels": in_channels,
        "num_classes": num_classes,
        "num_filters": 64,
    }
    loss = {
        "loss": "logcoshdice",
        "class_weights": [0.05, 0.2, 0.75],
        "ignore_index": 3,
        "lr": 1e-3,
        "patience": 100,
        "patch_weights": False,
    }
    rest = {
        "freeze_backbone": False,
        "freeze_decoder": False,
        "edge_agreement_loss": False,
        "model_kwargs": {},
        "pixel_weight_scale": None,
    }
    return {
        **plain,
        **loss,
        **rest,
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        **more,
    }


def published(network, hyper_parameters):
    """A Lightning checkpoint of a network: its keys under ``model.``, and the loss's own
    tensors.
    """
    state = {f"model.{key}": tensor for key, tensor in network.state_dict().items()}
    state |= {"criterion.weight": torch.ones(3), "ce_loss.weight": torch.ones(3)}
    trainer = {
        "epoch": 99,
        "global_step": 1,
        "pytorch-lightning_version": "2.5.0",
        "loops": {},
        "callbacks": {},
        "lr_schedulers": [{"T_max": 100}],
    }
    return {
        **trainer,
        "state_dict": state,
        "hyper_parameters": hyper_parameters,
        "optimizer_states": [{"state": {}, "param_groups": []}],
    }


def random_unet(backbone, in_channels=8, classes=3, **options):
    torch.manual_seed(3)
    network = smp.Unet(
        backbone, encoder_weights=None, in_channels=in_channels, classes=classes, **options
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def check_import(tmp_path, backbone, **options):
    """Save as published, import, and compare with the network in smp."""
    network = random_unet(backbone, **options)
    torch.save(
        published(network, described(backbone, model_kwargs=options)), tmp_path / "last.ckpt"
    )
    card = import_checkpoint(tmp_path / "last.ckpt", tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 6000, (8, 64, 64), dtype=np.uint16)
    with torch.inference_mode():
        want = network(torch.from_numpy(pixels[None].astype(np.float32) / np.float32(3000))).numpy()
        loaded = load_network(card, card.folder)(
            torch.from_numpy(pixels[None].astype(np.float32) / np.float32(3000))
        ).numpy()
    assert np.array_equal(loaded, want)
    assert all(
        torch.equal(tensor, network.state_dict()[key])
        for key, tensor in load_network(card, card.folder).state_dict().items()
    )
    view = View(pixels, (slice(0, 64), slice(0, 64)))
    graph = load_openvino(card, card.folder, threads=1)
    logits = graph._run(pixels[None].astype(np.float32) / np.float32(3000))
    assert np.abs(logits - want).max() <= 1e-4
    assert np.abs(want).max() > 0.05
    assert np.abs(graph([view])[0] - probabilities(want[0], (64, 64))).max() < 1e-5
    # channels_last kernels round differently, so the Segmenter is compared to rounding, the network
    # above to the bit
    assert (
        np.abs(
            load_on("cpu", card, card.folder)([view])[0] - probabilities(want[0], (64, 64))
        ).max()
        < 1e-5
    )
    return card


def test_a_small_network_comes_back_exactly(tmp_path):
    card = check_import(tmp_path, "mobilenet_v2", decoder_channels=(32, 24, 16, 16, 8))
    assert card.name == "last"
    assert card.inputs.bands[0] == "harvest:red"
    assert card.inputs.bands[4:] == (
        "planting:red",
        "planting:green",
        "planting:blue",
        "planting:nir",
    )
    assert card.inputs.scaling.divide == (3000.0,)
    assert card.classes == FTW3
    assert card.notes == "loss logcoshdice"
    assert dict(read_card(card.folder).architecture) == {
        "family": "unet",
        "encoder": "mobilenet_v2",
        "decoder_channels": [32, 24, 16, 16, 8],
    }


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["efficientnet-b3", "efficientnet-b5"])
def test_the_published_networks_come_back_exactly(tmp_path, backbone):
    assert check_import(tmp_path, backbone).architecture == {"family": "unet", "encoder": backbone}


@pytest.mark.parametrize("backbone", ["efficientnet-b3", "efficientnet-b5", "efficientnet-b7"])
def test_every_key_and_shape_fits(backbone):
    with torch.device("meta"):
        network = smp.Unet(backbone, encoder_weights=None, in_channels=8, classes=3)
        built = build(architecture_of(described(backbone)), 8, 3)
    checkpoint = published(network, described(backbone))
    state = network_state(checkpoint["state_dict"])
    assert list(state) == list(network.state_dict())
    fill(built, state, backbone)
    state.popitem()
    with torch.device("meta"), pytest.raises(BadInput, match="Missing key"):
        fill(build(architecture_of(described(backbone)), 8, 3), state, backbone)


def test_only_the_leading_prefix_goes():
    state = {
        "model.encoder.model.weight": torch.ones(1),
        "criterion.weight": torch.ones(1),
        "ce_loss.model.w": torch.ones(1),
    }
    assert list(network_state(state)) == ["encoder.model.weight"]


def test_a_card_gives_what_the_checkpoint_does_not_know(tmp_path):
    torch.save(
        published(random_unet("mobilenet_v2", 2, 3), described("mobilenet_v2", in_channels=2)),
        tmp_path / "two.ckpt",
    )
    with pytest.raises(BadInput, match="2 channels and 3 classes; without a card"):
        import_checkpoint(tmp_path / "two.ckpt", tmp_path / "out")
    card = ModelCard(
        "mine.two", InputSpec(("vv", "vh"), Scaling((10.0,), (-20.0,))), FTW3, licence="CC-BY-4.0"
    )
    with pytest.raises(BadInput, match=r"but the card of mine.two 3 and 3: correct the card"):
        import_checkpoint(
            tmp_path / "two.ckpt",
            tmp_path / "out",
            replace(card, inputs=InputSpec(("a", "b", "c"))),
        )
    assert not (tmp_path / "out").exists()
    imported = import_checkpoint(tmp_path / "two.ckpt", tmp_path / "out", card, half=True)
    assert imported == read_card(tmp_path / "out")
    assert (imported.name, imported.licence, imported.inputs) == (
        "mine.two",
        "CC-BY-4.0",
        card.inputs,
    )
    with pytest.raises(OutputExists):
        import_checkpoint(tmp_path / "two.ckpt", tmp_path / "out", card)


class Attack:
    """What is pickled as a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["hyper_parameters", "state_dict", "callbacks"])
def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path, place):
    proof = tmp_path / "ran"
    checkpoint = published(torch.nn.Conv2d(1, 1, 1), described("mobilenet_v2"))
    checkpoint[place]["model.x"] = Attack(f"echo ran > {proof}")
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    with pytest.raises(UnsafeFile, match=r"(?s)evil.ckpt asks for code .*system.* refused"):
        import_checkpoint(tmp_path / "evil.ckpt", tmp_path / "out")
    assert not proof.exists()
    assert not (tmp_path / "out").exists()
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert proof.exists(), "the attack itself is harmless, so the test above proves nothing"


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_bare_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    proof = tmp_path / "ran"
    (tmp_path / "evil.ckpt").write_bytes(
        pickle.dumps({"state_dict": Attack(f"echo ran > {proof}")}, protocol)
    )
    with pytest.raises((UnsafeFile, UnreadableFile)) as caught:
        import_checkpoint(tmp_path / "evil.ckpt", tmp_path / "out")
    assert protocol == 0 or caught.type is UnsafeFile
    assert not proof.exists()


def test_files_that_are_no_checkpoints_get_a_sentence(tmp_path):
    path = tmp_path / "last.ckpt"
    with pytest.raises(UnreadableFile, match="No such file"):
        import_checkpoint(path, tmp_path / "out")
    path.write_bytes(b"hello")
    with pytest.raises(UnreadableFile, match="not a whole checkpoint"):
        import_checkpoint(path, tmp_path / "out")
    torch.save(published(torch.nn.Conv2d(3, 3, 3), described("mobilenet_v2")), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableFile, match="truncated"):
        import_checkpoint(path, tmp_path / "out")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(UnreadableFile, match="cannot be read as a checkpoint"):
        import_checkpoint(path, tmp_path / "out")
    torch.save([1, 2], path)
    with pytest.raises(UnreadableFile, match="holds a list"):
        read_checkpoint(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(UnreadableFile, match="not in the published layout"):
        import_checkpoint(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (
            {"model": "changestar"},
            UnknownName,
            (
                r"no architecture \(as named by the checkpoint\) that selion builds called "
                r"'changestar'"
            ),
        ),
        ({"backbone": "efficientnet-b33"}, UnknownName, "did you mean 'efficientnet-b3'"),
        ({"backbone": None}, BadInput, "name no 'backbone'"),
        ({"in_channels": "eight"}, BadInput, "in_channels = 'eight'"),
        ({"num_classes": 2}, BadInput, "size mismatch for segmentation_head"),
        ({"in_channels": 4}, BadInput, "size mismatch for encoder"),
        (
            {"model_kwargs": {"decoder_chanels": [1]}},
            UnknownName,
            "did you mean 'decoder_channels'",
        ),
    ],
)
def test_networks_that_do_not_fit_get_a_sentence(tmp_path, change, error, sentence):
    with torch.device("meta"):
        network = smp.Unet("mobilenet_v2", encoder_weights=None, in_channels=8, classes=3)
    state = {
        key: torch.zeros(tensor.shape, dtype=tensor.dtype)
        for key, tensor in network.state_dict().items()
    }
    checkpoint = published(torch.nn.Identity(), described("mobilenet_v2") | change)
    checkpoint["state_dict"] |= {f"model.{key}": tensor for key, tensor in state.items()}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(error, match=sentence):
        import_checkpoint(tmp_path / "last.ckpt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
