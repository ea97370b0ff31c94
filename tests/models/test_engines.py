"""Export and the engines: one file of weights, the same logits everywhere, and a view's answer is
its own.
"""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.classes import FTW2, FTW3
from selion.errors import BadInput, BandMismatch, OutputExists, UnknownName, UnreadableFile
from selion.models.card import ModelCard, check_files, read_card
from selion.models.feed import feed, probabilities
from selion.models.graph import load_onnxruntime, load_openvino
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
from safetensors.torch import load_file  # noqa: E402

from selion.models.architectures import build  # noqa: E402
from selion.models.export import export  # noqa: E402
from selion.models.narrow import narrow, widen  # noqa: E402
from selion.models.pixel import fill, load_network, load_on  # noqa: E402

BANDS = ("red", "green", "blue", "nir")
UNET = {"family": "unet", "encoder": "mobilenet_v2", "decoder_channels": [32, 24, 16, 16, 8]}
CARD = ModelCard(
    "toy.unet",
    InputSpec(BANDS, Scaling((3000.0,), (100.0, 50.0, 0.0, 0.0)), window=64),
    FTW3,
    architecture=UNET,
)
LOADERS = {
    "openvino": load_openvino,
    "onnxruntime": load_onnxruntime,
    "torch": partial(load_on, "cpu"),
}


def trained_looking(network, seed=1):
    """Batch statistics and scales as after training, so that every layer matters and all classes
    win somewhere.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.8, 1.6, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    network.eval()
    with torch.inference_mode():
        logits = network(
            torch.from_numpy(np.concatenate([feed(view, CARD) for view in draw_views(2)]))
        )
    network.segmentation_head[0].bias.data[:] = -logits.transpose(0, 1).flatten(1).median(1).values
    return network


def draw_views(count, size=64, seed=0):
    pixels = np.random.default_rng(seed).integers(
        0, 6000, (count, len(BANDS), *np.broadcast_to(size, 2)), dtype=np.uint16
    )
    return [View(p, (slice(0, p.shape[1]), slice(0, p.shape[2]))) for p in pixels]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trained_looking(build(UNET, len(BANDS), 3))


@pytest.fixture(scope="module")
def card(network, tmp_path_factory):
    return export(network, CARD, tmp_path_factory.mktemp("weights") / "toy")


@pytest.fixture(scope="module")
def reference(card):
    """Logits of the stored weights by plain torch, for four views."""
    with torch.inference_mode():
        return load_network(card, card.folder)(
            torch.from_numpy(np.concatenate([feed(v, card) for v in draw_views(4)]))
        ).numpy()


def test_weights_lie_on_disk_once_and_as_float16(card, network):
    sizes = {path.name: path.stat().st_size for path in card.folder.iterdir()}
    assert set(sizes) == {"card.toml", "model.onnx", "model.safetensors"}
    parameters = sum(p.numel() for p in network.parameters())
    assert sizes["model.safetensors"] < 2.15 * parameters
    assert sizes["model.onnx"] < 200_000
    assert read_card(card.folder) == card
    assert check_files(card) == card.folder


def test_the_graph_is_dynamic_and_names_no_place_of_this_machine(card):
    onnx = pytest.importorskip("onnx")
    raw = (card.folder / "model.onnx").read_bytes()
    graph = onnx.load_from_string(raw).graph
    dims = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 4, "height", "width"]
    assert b"site-packages" not in raw
    assert str(card.folder.parent).encode() not in raw


@pytest.mark.parametrize("load", [load_openvino, load_onnxruntime])
@pytest.mark.parametrize("place", ["../far/weights.st", "{here}"])
def test_a_graph_whose_weights_lie_outside_of_its_folder_is_not_read(card, load, place, tmp_path):
    """A model of somebody else's names a file of this machine, and its card all the right sums."""
    content = (card.folder / "model.safetensors").read_bytes()
    far = tmp_path / "far" / "weights.st"
    far.parent.mkdir()
    far.write_bytes(content)
    mine = point_at(card.folder / "model.onnx", place.format(here=far), tmp_path / "model")
    with pytest.raises(UnreadableFile, match=r"model\.onnx cannot be read by (OpenVINO|ONNX)"):
        load(replace(card, folder=mine), mine)


def point_at(graph, place, folder):
    """Write a graph whose weights lie somewhere else."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(graph, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_export_is_deterministic_and_leaves_the_network_alone(card, network, tmp_path):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    again = export(network, CARD, tmp_path / "again")
    assert again.files == card.files
    assert (again.folder / "card.toml").read_bytes() == (card.folder / "card.toml").read_bytes()
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_full_precision_keeps_every_bit(network, card, tmp_path):
    full = export(network, CARD, tmp_path / "full", half=False)
    stored = load_network(full, full.folder).state_dict()
    assert all(torch.equal(stored[k], v) for k, v in network.state_dict().items())
    rounded = load_network(card, card.folder).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.allclose(rounded[name].float(), tensor.float(), rtol=2**-11, atol=2**-24), name
        assert tensor.ndim >= 2 or torch.equal(rounded[name], tensor), name


def test_large_weights_are_not_lost_in_float16(tmp_path):
    network = torch.nn.Conv2d(1, 2, 1)
    network.weight.data[:] = torch.tensor([1e5, -1e5]).reshape(2, 1, 1, 1)
    card = export(
        network,
        ModelCard("toy.large", InputSpec(("a",), multiple=4, window=8), FTW2),
        tmp_path / "large",
    )
    answer = load_openvino(card, card.folder, threads=1)(
        [View(np.ones((1, 8, 8), np.float32), (slice(0, 8), slice(0, 8)))]
    )
    assert np.allclose(answer[0, 0], 1)


def test_the_largest_tensors_can_be_stored_as_int8(tmp_path):
    torch.manual_seed(2)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(4, 512, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(512, 128, 3, padding=1),
        torch.nn.Conv2d(128, 3, 1),
    )
    network[2].weight.data[7] = 0  # a channel without a scale of its own
    card = export(
        network, ModelCard("toy.small", CARD.inputs, FTW3), tmp_path / "small", small=True
    )
    stored = load_file(card.folder / "model.safetensors")
    assert {
        name: str(t.dtype).removeprefix("torch.") for name, t in stored.items() if t.ndim > 1
    } == {
        "0.weight": "float16",
        "2.weight": "int8",
        "2.weight:scale": "float32",
        "3.weight": "float16",
    }
    assert (card.folder / "model.safetensors").stat().st_size < 1.05 * 512 * 128 * 9
    state, exact = widen(stored), network.state_dict()
    assert set(state) == set(exact)
    off = (state["2.weight"] - exact["2.weight"]).abs().amax((1, 2, 3))
    assert (off <= exact["2.weight"].abs().amax((1, 2, 3)) / 254 * 1.001).all()
    network.load_state_dict(state)
    view = draw_views(1)[0]
    with torch.inference_mode():
        want = network(torch.from_numpy(feed(view, CARD))).numpy()[0]
    for loader in (load_openvino, load_onnxruntime):
        assert (
            np.abs(
                loader(card, card.folder, threads=1)([view])[0] - probabilities(want, (64, 64))
            ).max()
            < 1e-5
        )


@given(st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_what_is_stored_without_narrowing_is_exact(half, small, seed):
    generator = torch.Generator().manual_seed(seed)
    state = {
        "a": torch.randn(3, 5, generator=generator),
        "b": torch.randn(7, generator=generator),
        "n": torch.tensor(5),
    }
    stored = narrow({name: one.numpy() for name, one in state.items()}, half=half, small=small)
    back = widen({name: torch.from_numpy(one) for name, one in stored.items()})
    assert set(back) == set(state)
    assert torch.equal(back["b"], state["b"])
    assert torch.equal(back["n"], state["n"])
    assert torch.equal(back["a"], state["a"].half().float() if half else state["a"])


def test_export_refuses_an_existing_folder_and_a_wrong_card(network, card, tmp_path):
    with pytest.raises(OutputExists, match="--force"):
        export(network, CARD, card.folder)
    wrong = ModelCard("toy.unet", CARD.inputs, FTW2, architecture=UNET)
    with pytest.raises(
        BadInput, match=r"answers 3 channels, but the card of toy.unet has 2 classes"
    ):
        export(network, wrong, tmp_path / "wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", LOADERS)
def test_engines_agree_with_torch(card, reference, name):
    model = LOADERS[name](card, card.folder, threads=1 if name == "torch" else 2)
    got = model(draw_views(4))
    want = np.stack([probabilities(r, (64, 64)) for r in reference])
    shares = np.bincount(want.argmax(1).ravel(), minlength=3) / want[:, 0].size
    assert shares.min() > 0.02, "a network that always answers the same class proves nothing"
    assert got.dtype == np.float32
    assert got.shape == (4, 3, 64, 64)
    assert np.abs(got - want).max() < 2e-5
    assert np.allclose(got.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_view_does_not_depend_on_its_companions(card, name, count):
    model = LOADERS[name](card, card.folder, threads=1 if name == "torch" else 2)
    views = draw_views(5)
    alone = np.concatenate([model([view]) for view in views])
    assert np.array_equal(model(views[:count]), alone[:count])
    assert np.array_equal(model(views[::-1][:count]), alone[::-1][:count])


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_the_number_of_threads_does_not_change_a_bit(card, name):
    one, three = (LOADERS[name](card, card.folder, threads=n)(draw_views(4)) for n in (1, 3))
    assert np.array_equal(one, three)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_several_threads_may_call_one_model(card, name):
    from concurrent.futures import ThreadPoolExecutor

    model, views = LOADERS[name](card, card.folder, threads=2), draw_views(6)
    want = model(views)
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda view: model([view])[0], views * 2))
    assert np.array_equal(got, np.concatenate([want, want]))


@pytest.mark.parametrize("size", [(64, 96), (50, 33), (1, 7)])
def test_sizes_that_are_no_multiple_are_padded_by_reflection_and_cut(card, size):
    model, view = load_openvino(card, card.folder, threads=1), draw_views(1, size)[0]
    got = model([view])
    assert got.shape == (1, 3, *size)
    pads = [(0, 0), *((0, -n % 32) for n in size)]
    padded = View(np.pad(view.pixels, pads, mode="reflect"), view.roi)
    assert np.array_equal(got, model([padded])[:, :, : size[0], : size[1]])


def test_float32_is_float32_unless_fast_is_asked_for(card, reference):
    views, want = draw_views(4), np.stack([probabilities(r, (64, 64)) for r in reference])
    exact, fast = (load_openvino(card, card.folder, fast=fast, threads=1) for fast in (False, True))
    assert exact.engine.endswith("float32")
    assert np.abs(exact(views) - want).max() < 2e-5
    if fast.engine.endswith("bfloat16"):
        error = np.abs(fast(views) - want).max()
        assert 1e-4 < error < 0.2
    else:
        assert "neither AMX nor AVX512-BF16" in fast.engine
        assert np.array_equal(fast(views), exact(views))
    assert "has no bfloat16" in load_onnxruntime(card, card.folder, fast=True, threads=1).engine


def test_scaling_is_the_cards():
    view = View(np.full((4, 32, 32), 3100, np.uint16), (slice(0, 32), slice(0, 32)))
    fed = feed(view, CARD)
    assert fed.shape == (1, 4, 32, 32)
    assert fed[0, :, 0, 0] == pytest.approx([1.0, 3050 / 3000, 3100 / 3000, 3100 / 3000])


@pytest.mark.parametrize("name", LOADERS)
def test_wrong_views_get_a_sentence(card, name):
    model = LOADERS[name](card, card.folder, threads=1)
    with pytest.raises(
        BandMismatch,
        match=r"wants 4 bands \(red, green, blue, nir\); pixels of shape \(3, 64, 64\)",
    ):
        model([View(np.zeros((3, 64, 64)), (slice(0, 64), slice(0, 64)))])
    with pytest.raises(BadInput, match="wanted is one size"):
        model([*draw_views(1, 64), *draw_views(1, 32)])
    with pytest.raises(BadInput, match="fill nodata"):
        model([View(np.full((4, 64, 64), np.nan, np.float32), (slice(0, 64), slice(0, 64)))])
    assert model([]).shape == (0, 3, 0, 0)


def test_extreme_logits_give_probabilities():
    logits = np.array([1e4, -1e4, 0.0], np.float32)[:, None, None] * np.ones((3, 4, 4), np.float32)
    got = probabilities(logits, (2, 3))
    assert got.shape == (3, 2, 3)
    assert np.array_equal(got[:, 0, 0], [1, 0, 0])


@pytest.mark.parametrize("loader", [load_openvino, load_onnxruntime])
def test_a_damaged_graph_gets_a_sentence(card, tmp_path, loader):
    raw = (card.folder / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UnreadableFile, match="export or import the model again"):
        loader(card, tmp_path, threads=1)
    (tmp_path / "model.onnx").write_bytes(raw)  # the weights that it points into are missing
    with pytest.raises(UnreadableFile, match="export or import the model again"):
        loader(card, tmp_path, threads=1)


def test_a_wrong_architecture_gets_a_sentence(network):
    with pytest.raises(UnknownName, match="did you mean 'unet'"):
        build({"family": "unett"}, 3, 3)
    with pytest.raises(UnknownName, match="did you mean 'efficientnet-b3'"):
        build({"family": "unet", "encoder": "eficientnet-b3"}, 3, 3)
    with pytest.raises(UnknownName, match="did you mean 'decoder_channels'"):
        build({**UNET, "decoder_chanels": [1]}, 3, 3)
    with pytest.raises(BadInput, match="names no encoder"):
        build({"family": "unet"}, 3, 3)
    with torch.device("meta"):
        other = build(UNET, 3, 3)
    with pytest.raises(BadInput, match="size mismatch"):
        fill(other, network.state_dict(), "toy")


WATCH = """
    import json, os, sys
    seen = []
    ASKED = ("connect", "getaddrinfo", "gethostbyname", "sendto", "sendmsg")
    NETWORK = {"urllib.Request", *(f"socket.{name}" for name in ASKED)}
    def watch(event, args):
        if event in NETWORK:
            seen.append([event, repr(args)[:80]])
            raise OSError("no network in this test")
    sys.addaudithook(watch)
"""
LOAD = """
    from pathlib import Path
    import numpy as np
    from selion.models.card import read_card
    from selion.models.graph import load_openvino
    from selion.segmenter import View
    folder = Path(sys.argv[1])
    model = load_openvino(read_card(folder), folder, threads=1)
    view = View(np.zeros((4, 64, 64), np.uint16), (slice(0, 64), slice(0, 64)))
    assert model([view]).shape == (1, 3, 64, 64)
"""
REPORT = """
    import time; time.sleep(0.5)
    files = [os.path.join(top, n) for top, _, names in os.walk(os.environ["HOME"]) for n in names]
    print(json.dumps({"network": seen, "files": files}))
"""


def watched(tmp_path, body, *arguments):
    """Run code in a process whose home is empty and whose network calls are recorded and
    refused.
    """
    script = "\n".join(textwrap.dedent(part) for part in (WATCH, body, REPORT))
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=home,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_openvino_reports_to_nobody(card, tmp_path):
    assert watched(tmp_path, LOAD, str(card.folder)) == {"network": [], "files": []}


def test_the_watch_above_would_see_the_telemetry(tmp_path):
    try:
        importlib.metadata.version("openvino-telemetry")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("this OpenVINO came without telemetry")
    seen = watched(tmp_path, "import openvino")
    assert seen["network"] or seen["files"]


def test_loading_needs_no_torch(card, tmp_path):
    body = LOAD + (
        "    assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules and "
        "'rasterio' not in sys.modules\n"
    )
    watched(tmp_path, body, str(card.folder))


def test_checksums_are_sha256(card):
    for name, sha in card.files.items():
        assert hashlib.sha256((card.folder / name).read_bytes()).hexdigest() == sha


@pytest.mark.parametrize("engine", LOADERS)
def test_a_rested_model_answers_as_before(engine, card):
    model = LOADERS[engine](card, card.folder)
    views = draw_views(2)
    before = model(views)
    model.rest()
    assert np.array_equal(model(views), before)
