"""Names become models: the registry, the packaged ones, the cache; and the choice of an engine."""

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import selion.models
import selion.store
from selion.classes import FTW2, FTW3
from selion.errors import (
    BadInput,
    ChecksumMismatch,
    MissingExtra,
    UnknownName,
    UnreadableFile,
    UnsafeFile,
)
from selion.models import loading, registry
from selion.models.card import ModelCard, check_files, describe, read_card
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
from selion.models.architectures import build  # noqa: E402
from selion.models.export import export  # noqa: E402

TINY = ModelCard(
    "tiny.one",
    InputSpec(("grey",), Scaling((255.0,)), window=16, multiple=8),
    FTW2,
    licence="CC0-1.0",
    summary="tiny",
)
VIEW = View(np.full((1, 16, 16), 255, np.uint8), (slice(0, 16), slice(0, 16)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    network = torch.nn.Conv2d(1, 2, 3, padding=1)
    torch.nn.init.zeros_(network.weight)
    network.bias.data[:] = torch.tensor([0.0, 2.0])
    return export(network, TINY, tmp_path_factory.mktemp("weights") / "tiny.one")


@pytest.fixture
def packaged(tiny, monkeypatch):
    monkeypatch.setattr(registry, "_PACKAGED", tiny.folder.parent)
    return tiny


def lacking(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(
            loading.ENGINES,
            name,
            replace(loading.ENGINES[name], lacks=lambda _card: "not in this test"),
        )


def test_the_registry_holds_the_released_models_with_their_licences():
    cards = {card.name: card for card in registry._registry()}
    prue = {f"FTW_PRUE_EFNET_B{n}{end}" for n in (3, 5, 7) for end in ("", "_CCBY")}
    v1 = {f"FTW_v1_{n}_Class_{end}" for n in (2, 3) for end in ("CCBY", "FULL")}
    v2 = {"FTW_v2_3_Class_FULL_multiWindow", "FTW_v2_3_Class_FULL_singleWindow"}
    anything = {"DelineateAnything", "DelineateAnything-S", "DelineateAnythingV2"}
    sam = {f"sam-vit-{size}" for size in ("base", "large", "huge")} | {
        f"sam-hq-vit-{size}" for size in ("base", "large", "huge")
    }
    sam |= {f"sam2.1-hiera-{size}" for size in ("tiny", "small", "base-plus", "large")}
    assert set(cards) == prue | v1 | v2 | anything | sam | {"ftw-2e"}
    assert not cards.pop("ftw-2e").url  # its makers release it apart
    assert len({card.url for card in cards.values()}) == len(cards)
    assert {cards[name].format for name in sam} == {"sam"}
    assert {cards[name].licence for name in sam} == {"Apache-2.0"}
    assert all("ero-shot" in cards[name].notes and cards[name].citation for name in sam | anything)
    for name in sam:
        assert cards.pop(name).inputs.bands == ("red", "green", "blue")
    for name, card in cards.items():
        assert card.licence, name
        assert card.citation, name
        assert card.url.startswith("https://"), name
        assert (card.licence == "CC-BY-4.0") == name.endswith("CCBY"), name
        assert (card.format == "lightning") == (name not in anything), name
        assert (card.licence == "AGPL-3.0") == (name in anything), name
        assert describe(card)["licence"] == card.licence
        if name not in anything:
            assert card.classes == (FTW2 if "2_Class" in name else FTW3), name
        assert len(card.inputs.bands) == (
            3 if name in anything else 4 if "single" in name else 8
        ), name
        if name not in anything:
            assert card.inputs.scaling == Scaling((3000.0,)), name
            assert (card.inputs.window, card.inputs.overlap, card.inputs.gsd) == (
                512,
                0.125,
                (10.0, 10.0),
            ), name
    two_seasons = [
        f"{season}:{band}"
        for season in ("harvest", "planting")
        for band in ("red", "green", "blue", "nir")
    ]
    assert list(cards["FTW_PRUE_EFNET_B5"].inputs.bands) == two_seasons
    assert cards["FTW_PRUE_EFNET_B7_CCBY"].url.endswith("/v3.1/prue_efnetb7_ccby_checkpoint.ckpt")


@pytest.mark.parametrize(
    "card",
    [card for card in registry._registry() if card.format == "lightning"],
    ids=lambda card: card.name,
)
def test_registered_architectures_can_be_built(card):
    pytest.importorskip("segmentation_models_pytorch", reason="the extra 'train' is not installed")
    with torch.device("meta"):
        network = build(card.architecture, len(card.inputs.bands), len(card.classes))
    assert network.state_dict()["segmentation_head.0.weight"].shape[0] == len(card.classes)


def test_packaged_weights_are_whole_and_small():
    folders = (
        sorted(path for path in registry._PACKAGED.iterdir() if path.is_dir())
        if registry._PACKAGED.is_dir()
        else []
    )
    for folder in folders:
        card = read_card(folder)
        assert card.name == folder.name
        assert check_files(card) == folder
        assert card.licence
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.iterdir()) for folder in folders
    }
    # what the two small models of fields may weigh, and the base one
    small = {name for name in sizes if name.startswith("fields-")} - {"fields-base"}
    assert sum(sizes[name] for name in small) <= 16e6
    assert sizes["fields-base"] <= 15e6
    # one of photographs is small, the one for hard photographs as large as one of fields
    most = {"crops-rgb": 2e6, "crops-wide": 8e6}
    photographs = {name: size for name, size in sizes.items() if not name.startswith("fields-")}
    assert all(size <= most.get(name, 2e6) for name, size in photographs.items())


def test_a_model_is_found_by_name_folder_and_card(packaged, monkeypatch):
    assert registry.list_models()[0] == packaged
    for name in ("tiny.one", packaged.folder, str(packaged.folder), packaged.folder / "card.toml"):
        assert registry.find_card(name).folder == packaged.folder
    monkeypatch.chdir(packaged.folder.parent)
    monkeypatch.setattr(registry, "_PACKAGED", packaged.folder / "nowhere")
    assert registry.find_card("tiny.one").name == "tiny.one"


def test_a_wrong_name_gets_the_nearest(packaged):
    with pytest.raises(UnknownName, match=r"no model called 'tiny.on': did you mean 'tiny.one'"):
        loading.load_model("tiny.on")
    with pytest.raises(UnknownName, match="did you mean 'FTW_PRUE_EFNET_B5'"):
        loading.load_model("FTW_PRUE_EFNET_5")
    with pytest.raises(UnreadableFile, match="There is no model card"):
        loading.load_model("./nowhere")
    with pytest.raises(UnknownName, match="no engine called 'openvin': did you mean 'openvino'"):
        loading.load_model("tiny.one", "openvin")
    with pytest.raises(BadInput, match="0 threads"):
        loading.load_model("tiny.one", threads=0)


def test_what_is_not_here_says_how_to_get_it():
    with pytest.raises(UnreadableFile, match="run 'selion models fetch FTW_PRUE_EFNET_B5'"):
        loading.load_model("FTW_PRUE_EFNET_B5")
    with pytest.raises(UnreadableFile, match="run 'selion models fetch sam-vit-base'"):
        loading.load_model("sam-vit-base")
    with pytest.raises(
        UnreadableFile,
        match=(
            r"DelineateAnything is not on this machine: download .*yolo export .*selion models "
            r"import"
        ),
    ):
        loading.load_model("DelineateAnything")
    with pytest.raises(UnsafeFile, match=r"\(AGPL-3.0\) is published as a pickle"):
        loading.fetch_model("DelineateAnything")


def test_the_best_engine_is_taken_and_said(packaged, monkeypatch):
    lacking(monkeypatch, "cuda", "mps")
    model = selion.models.load_model("tiny.one", threads=1)
    assert model.engine.startswith("OpenVINO ")
    assert model.engine.endswith("1 thread, float32; cuda: not in this test, mps: not in this test")
    assert model([VIEW])[0, 1] == pytest.approx(1 / (1 + np.exp(-2)))
    assert model.card == packaged
    lacking(monkeypatch, "openvino")
    fallback = loading.load_model("tiny.one", threads=1)
    assert fallback.engine.startswith("ONNX Runtime ")
    assert np.allclose(fallback([VIEW]), model([VIEW]), atol=1e-6)
    lacking(monkeypatch, "onnxruntime")
    with pytest.raises(
        MissingExtra,
        match=r"No engine can run tiny.one: .*torch: the model has no weights for torch",
    ):
        loading.load_model("tiny.one")


def test_engines_of_this_machine_are_named(monkeypatch):
    lacking(monkeypatch, "cuda", "mps", "onnxruntime")
    assert loading.engines_available() == ["openvino", "torch"]


def test_an_engine_can_be_asked_for(packaged, monkeypatch):
    assert loading.load_model("tiny.one", "onnxruntime", threads=2).engine.endswith(
        "2 threads, float32; as asked for"
    )
    lacking(monkeypatch, "openvino")
    with pytest.raises(
        MissingExtra,
        match=r"openvino cannot run tiny.one: not in this test; it needs pip install openvino",
    ):
        loading.load_model("tiny.one", "openvino")


def test_damage_is_noticed_at_every_load(packaged, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in packaged.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    loading.load_model(folder, threads=1)
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(
        ChecksumMismatch, match=r"model.safetensors has sha256 .* but its card says"
    ):
        loading.load_model(folder)


def published_checkpoint(path: Path) -> str:
    smp = pytest.importorskip(
        "segmentation_models_pytorch", reason="the extra 'train' is not installed"
    )
    network = smp.Unet(
        "mobilenet_v2",
        encoder_weights=None,
        in_channels=8,
        classes=3,
        decoder_channels=(8, 8, 8, 8, 8),
    )
    described = {
        "model": "unet",
        "backbone": "mobilenet_v2",
        "in_channels": 8,
        "num_classes": 3,
        "model_kwargs": {"decoder_channels": [8, 8, 8, 8, 8]},
    }
    torch.save(
        {
            "hyper_parameters": described,
            "state_dict": {f"model.{k}": v for k, v in network.state_dict().items()},
        },
        path,
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_fetch_imports_into_the_cache_once(tmp_path, monkeypatch, cache):
    sha, asked = published_checkpoint(tmp_path / "prue.ckpt"), []

    def fetch(url, sha256, **_):
        asked.append((url, sha256))
        return tmp_path / "prue.ckpt"

    monkeypatch.setattr(selion.store, "fetch", fetch)
    with pytest.warns(UserWarning, match=f"no checksum was published, .* sha256 {sha}"):
        card = loading.fetch_model("FTW_PRUE_EFNET_B3_CCBY")
    assert asked == [(card.url, "")]
    assert card.sha256 == sha
    assert card.licence == "CC-BY-4.0"
    assert card.folder == cache / "models" / "FTW_PRUE_EFNET_B3_CCBY"
    assert (
        tomllib.loads((card.folder / "card.toml").read_text())["architecture"]["encoder"]
        == "mobilenet_v2"
    )
    assert loading.fetch_model("FTW_PRUE_EFNET_B3_CCBY") == card
    assert len(asked) == 1
    assert loading.load_model("FTW_PRUE_EFNET_B3_CCBY", threads=1).card == card
    assert {c.name: c for c in registry.list_models()}[
        "FTW_PRUE_EFNET_B3_CCBY"
    ].folder == card.folder


def test_a_fetched_model_that_was_damaged_is_fetched_again_by_force(tmp_path, monkeypatch):
    sha = published_checkpoint(tmp_path / "prue.ckpt")
    known = tuple(
        replace(card, sha256=sha) if card.name == "FTW_PRUE_EFNET_B3" else card
        for card in registry._registry()
    )
    monkeypatch.setattr(registry, "_registry", lambda: known)
    monkeypatch.setattr(selion.store, "fetch", lambda _url, _sha256, **_: tmp_path / "prue.ckpt")
    # a known checksum: no warning, which would be an error here
    card = loading.fetch_model("FTW_PRUE_EFNET_B3")
    (card.folder / "model.onnx").write_bytes(b"")
    with pytest.raises(ChecksumMismatch):
        loading.fetch_model("FTW_PRUE_EFNET_B3")
    assert check_files(loading.fetch_model("FTW_PRUE_EFNET_B3", force=True)) == card.folder


def test_fetching_what_ships_with_selion_does_nothing(packaged):
    assert loading.fetch_model("tiny.one") == packaged
    assert loading.fetch_model("tiny.one", force=True) == packaged


def test_the_door_to_the_store_takes_a_file_without_a_published_checksum(tmp_path, cache):
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "prue.ckpt").write_bytes(b"weights")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/prue.ckpt"
        here = selion.store.fetch(url, "")
        assert here.read_bytes() == b"weights"
        assert here.is_relative_to(cache)
        with pytest.raises(ChecksumMismatch):
            selion.store.fetch(url, hashlib.sha256(b"other").hexdigest())
        server.shutdown()
    assert selion.store.fetch(url, "") == here
