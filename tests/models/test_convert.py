"""Published checkpoints: imported exactly, and never executed."""

import gzip
import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from selion.classes import FTW3
from selion.errors import BadInput, OutputExists, UnknownName, UnreadableFile, UnsafeFile
from selion.models import skeleton
from selion.models.card import ModelCard, read_card
from selion.models.feed import probabilities
from selion.models.graph import load_onnxruntime, load_openvino
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
onnx = pytest.importorskip("onnx", reason="the extra 'train' is not installed")
smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="the extra 'train' is not installed"
)
from selion.models import import_checkpoint  # noqa: E402
from selion.models.architectures import build  # noqa: E402
from selion.models.convert import (  # noqa: E402
    FTW_BANDS,
    architecture_of,
    network_state,
    read_checkpoint,
)
from selion.models.export import export  # noqa: E402
from selion.models.pixel import fill, load_network, load_on  # noqa: E402
from selion.models.skeleton_making import make_skeleton  # noqa: E402


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


@pytest.mark.long  # a small one comes back above; every key and shape of the published ones below
@pytest.mark.parametrize("backbone", ["efficientnet-b5"])
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


def distinct(network):
    """Make no two tensors of a network equal: of equal ones torch's exporter keeps one."""
    generator = torch.Generator().manual_seed(5)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(0.01 * torch.rand(tensor.shape, generator=generator))
    return network


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory):
    """A folder of graphs without weights as the package's, with a small one in it."""
    folder = tmp_path_factory.mktemp("skeletons")
    content = make_skeleton({"family": "unet", "encoder": "mobilenet_v2"})
    (folder / "unet-mobilenet_v2.onnx.gz").write_bytes(gzip.compress(content))
    return folder


def torch_version(model):
    """What exported an ONNX model, as written in it."""
    return onnx.load_from_string(model).producer_version


@pytest.mark.parametrize(
    ("encoder", "bands", "classes", "half"),
    [
        pytest.param("efficientnet-b3", 8, 3, False, marks=pytest.mark.long),
        ("mobilenet_v2", 4, 2, True),
    ],
)
def test_the_folder_is_the_one_that_torch_would_export(
    tmp_path, monkeypatch, skeletons, encoder, bands, classes, half
):
    """By the graph in the package, without torch, and by torch's exporter: the same bytes."""
    if encoder == "mobilenet_v2":
        monkeypatch.setattr(skeleton, "FOLDER", skeletons)
    network = distinct(random_unet(encoder, bands, classes))
    path = tmp_path / "prue.ckpt"
    torch.save(published(network, described(encoder, bands, classes)), path)
    card = import_checkpoint(path, tmp_path / "ours", half=half)
    theirs = export(network, card, tmp_path / "torch", half=half)
    weights, graphs = (
        [(folder / name).read_bytes() for folder in (card.folder, theirs.folder)]
        for name in ("model.safetensors", "model.onnx")
    )
    assert weights[0] == weights[1]
    if torch_version(graphs[0]) == torch_version(graphs[1]):
        assert graphs[0] == graphs[1]
    assert card.fingerprint["bands"] == theirs.fingerprint["bands"]
    found, want = (
        [float(n) for key, row in one.fingerprint.items() if key != "bands" for n in row.split()]
        for one in (card, theirs)
    )
    assert np.abs(np.subtract(found, want)).max() < 1.5e-4  # rounded to 1e-4


@pytest.mark.parametrize("encoder", ["efficientnet-b3", "efficientnet-b5", "efficientnet-b7"])
def test_the_graphs_in_the_package_have_the_names_and_shapes_of_the_networks(encoder):
    known = skeleton.find_skeleton({"family": "unet", "encoder": encoder})
    with torch.device("meta"):
        network = smp.Unet(encoder, encoder_weights=None, in_channels=5, classes=4)
    want = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert known.shapes(5, 4) == want
    assert list(known.shapes(5, 4)) == list(want)
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in want.items()}
    known.check(state, 5, 4, "whole")
    with pytest.raises(BadInput, match=r"size mismatch for encoder\._conv_stem\.weight"):
        known.check(state, 8, 4, "other")
    with pytest.raises(BadInput, match="Unexpected key extra"):
        known.check(state | {"extra": state["segmentation_head.0.bias"]}, 5, 4, "more")
    state.pop("segmentation_head.0.bias")
    with pytest.raises(BadInput, match=r"Missing key segmentation_head\.0\.bias"):
        known.check(state, 5, 4, "less")


def test_options_of_their_own_have_no_graph_in_the_package():
    assert skeleton.find_skeleton({"family": "unet", "encoder": "efficientnet-b0"}) is None
    options = {"family": "unet", "encoder": "efficientnet-b3", "decoder_channels": [8] * 5}
    assert skeleton.find_skeleton(options) is None


WITHOUT_TORCH = """
import importlib.abc, json, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "timm", "segmentation_models_pytorch"}:
            raise ImportError(f"{name} is not to be imported here")
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from selion.cli.main import main
from selion.models import skeleton
skeleton.FOLDER = Path(sys.argv[2])
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["selion", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
assert not {"torch", "onnx"} & set(sys.modules)
"""


def test_a_checkpoint_is_imported_and_mapped_without_torch(tmp_path, skeletons):
    """Imported, verified and mapped where there is none; the numbers are torch's own."""
    network = distinct(random_unet("mobilenet_v2"))
    checkpoint = published(network, described("mobilenet_v2"))
    # as trainers leave them beside the tensors
    checkpoint["callbacks"] = {"best": Path("a/b.ckpt"), "loss": torch.nn.CrossEntropyLoss()}
    torch.save(checkpoint, tmp_path / "prue.ckpt")
    pixels = np.random.default_rng(0).integers(1, 6000, (8, 64, 64), dtype=np.uint16)
    with rasterio.open(
        tmp_path / "stack.tif",
        "w",
        driver="GTiff",
        width=64,
        height=64,
        count=8,
        dtype="uint16",
        crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 500000, 0, -10, 5000000),
    ) as file:
        file.write(pixels)
        file.descriptions = FTW_BANDS[8]
    model, stack = str(tmp_path / "prue"), str(tmp_path / "stack.tif")
    verbs = [["models", "import", str(tmp_path / "prue.ckpt"), "-o", model]]
    verbs += [["models", "verify", model, "--engine", "onnxruntime"]]
    for engine in ("openvino", "onnxruntime"):
        out = str(tmp_path / engine)
        asked = ["--model", model, "--engine", engine, "--window", "64"]
        verbs += [["map", stack, *asked, "--scores", f"{out}.tif", "-o", f"{out}.parquet"]]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(verbs), str(skeletons)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "files and answers are those of its card" in done.stdout
    fed = torch.from_numpy(pixels[None].astype(np.float32) / np.float32(3000))
    with torch.inference_mode():
        logits = network(fed)[0]
    want = logits.softmax(0).numpy()
    for engine, load in (("openvino", load_openvino), ("onnxruntime", load_onnxruntime)):
        with rasterio.open(tmp_path / f"{engine}.tif") as file:
            # a map keeps probabilities in steps of 1 / 254
            assert np.abs(file.read() / 254 - want).max() < 0.5 / 254 + 1e-4
        card = read_card(model)
        found = load(card, card.folder, threads=1).logits(fed.numpy())[0]
        assert np.abs(found - logits.numpy()).max() < 1e-4
    assert np.ptp(want) > 0.05


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
