"""Depth Anything V2 through transformers: a tiny network of the same architecture stands for the
published ones, which cannot be had without a hub.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from selion import prediction
from selion.errors import BadInput, FetchFailed, UnknownName, UnreadableFile, UnsafeFile
from selion.grid import photo_grid
from selion.labelling import DepthSegmenter, depth_mask
from selion.raster import Raster

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from selion.models.depth import network as depths  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("tiny")
    tiny(32).save_pretrained(path)
    return path


def tiny(width):
    backbone = transformers.Dinov2Config(
        hidden_size=width, num_hidden_layers=4, num_attention_heads=2, intermediate_size=2 * width,
        image_size=56, patch_size=14, out_indices=[1, 2, 3, 4], apply_layernorm=True,
        reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=width,
        neck_hidden_sizes=[8, 16, 32, 32],
        fusion_hidden_size=8,
        head_hidden_size=8,
        patch_size=14,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def photo(height=60, width=90, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (3, height, width), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "fed"),
    [
        ((480, 640), (518, 686)),
        ((640, 480), (686, 518)),
        ((100, 100), (518, 518)),
        ((3000, 4000), (518, 686)),
    ],
)
def test_the_shorter_side_is_518_and_both_are_multiples_of_14(shape, fed):
    assert depths.fed_shape(shape) == fed


@pytest.mark.slow  # the processor drags torchvision in
def test_a_photograph_is_fed_as_transformers_feeds_it():
    image = photo(150, 210)
    processor = transformers.DPTImageProcessor(
        size={"height": 56, "width": 56},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        resample=3,
        image_mean=list(depths.MEAN),
        image_std=list(depths.STD),
    )
    theirs = processor(images=image.transpose(1, 2, 0), return_tensors="pt")["pixel_values"]
    ours = depths.prepare(image, 56, 14)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 0.02  # they round to whole numbers once more


def test_depth_has_the_photographs_own_pixels_and_is_the_networks(folder):
    network, notes = depths.load_depth(str(folder), edge=56)
    assert notes == ()
    image = photo()
    found = network(image)
    assert found.shape == (60, 90)
    assert found.dtype == np.float32
    with torch.inference_mode():
        theirs = network.network(pixel_values=depths.prepare(image, 56, 14)).predicted_depth
    assert float(theirs.min()) - 1e-5 <= found.min() <= found.max() <= float(theirs.max()) + 1e-5
    assert (network(image) == found).all()


def test_larger_is_nearer_also_of_a_network_that_tells_metres(folder, tmp_path):
    """Depth Anything's metric checkpoints have the same network, and answer how far things are."""
    shutil.copytree(folder, tmp_path / "metric")
    config = json.loads((folder / "config.json").read_text())
    said = config | {"depth_estimation_type": "metric", "max_depth": 20}
    (tmp_path / "metric" / "config.json").write_text(json.dumps(said))
    network, _ = depths.load_depth(str(tmp_path / "metric"), edge=56)
    image = photo(56, 56)  # as it is fed, so that nothing is enlarged
    metres = torch.linspace(0.5, 4, 56 * 56).reshape(1, 56, 56)
    told = replace(network, network=lambda **_: SimpleNamespace(predicted_depth=metres))
    np.testing.assert_allclose(told(image), 1 / metres[0].numpy(), rtol=1e-5)
    assert network(image).min() >= 1 / 20, "its own answers are metres up to 20"
    assert network.name == "metric, inverse distances", "masks of before are not gone on with"
    assert [
        depths.tells_distance(kind())
        for kind in (transformers.GLPNConfig, transformers.DPTConfig, transformers.ZoeDepthConfig)
    ] == [True, False, True]


def test_what_is_no_photograph_is_refused(folder):
    network, _ = depths.load_depth(str(folder), edge=56)
    for wrong in (photo()[0], photo()[:2], photo().astype(float)):
        with pytest.raises(BadInput, match="red, green, blue"):
            network(wrong)
    with pytest.raises(BadInput, match="14 or more"):
        depths.load_depth(str(folder), edge=3)


def test_licences_are_told():
    def of(width, kind="depth_anything"):
        backbone = SimpleNamespace(hidden_size=width)
        return SimpleNamespace(config=SimpleNamespace(backbone_config=backbone, model_type=kind))

    assert depths.licence_notes("small", of(384)) == ()
    assert depths.licence_notes("/my/folder", of(384)) == ()
    for name, width in (("base", 768), ("large", 1024), ("/my/folder", 1024)):
        (note,) = depths.licence_notes(name, of(width))
        assert "CC-BY-NC-4.0" in note
        assert "not for commercial use" in note


def test_a_network_of_ones_own_is_not_said_to_be_a_release():
    """By the width of its encoder alone it got the licence of somebody else's."""
    config = transformers.DPTConfig(backbone_config=transformers.Dinov2Config(hidden_size=1024))
    assert depths.licence_notes("/my/folder", SimpleNamespace(config=config)) == ()
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(hidden_size=1024)
    )
    (note,) = depths.licence_notes("/my/folder", SimpleNamespace(config=config))
    assert note.startswith("folder has the size of Depth-Anything-V2-Large")
    assert "if it is a copy of it" in note


def test_folders_that_are_no_depth_network_are_one_sentence(tmp_path, folder):
    with pytest.raises(UnknownName, match="did you mean 'small'"):
        depths.load_depth("smal")
    with pytest.raises(UnreadableFile, match=r"no config\.json"):
        depths.load_depth(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnreadableFile, match=r"no model\.safetensors"):
        depths.load_depth(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UnsafeFile, match="pickled"):
        depths.load_depth(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100])
    with pytest.raises(UnreadableFile):
        depths.load_depth(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UnreadableFile, match="cannot be loaded as a depth network"):
        depths.load_depth(str(tmp_path))


def test_a_hub_that_is_not_there_is_one_sentence(monkeypatch, tmp_path):
    def leave(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    # where nobody listens
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    # it is not even begun: it would ask again and again
    monkeypatch.setattr("huggingface_hub.snapshot_download", leave)
    with pytest.raises(
        FetchFailed,
        match=r"cannot be downloaded \(no answer: .* give its folder, or give depth maps",
    ):
        depths.load_depth("small")


def test_what_the_cache_holds_needs_no_hub(monkeypatch, tmp_path, folder):
    address = depths.RELEASES["small"].address
    place = tmp_path / f"models--{address.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    network, _ = depths.load_depth("small")
    assert network.name == address


def test_the_depth_labeller_predicts_like_any_model_and_windows_do_not_matter():
    calls = []

    def brightness(image):
        calls.append(image.shape)
        return image.mean(0, dtype=np.float32)

    values = np.full((3, 70, 100), 20, np.uint8)
    values[:, 20:50, 30:80] = 200
    values[:, 5, 5] = 21
    source = Raster(values, photo_grid((70, 100)), ("red", "green", "blue"))
    model = DepthSegmenter(brightness)
    whole = prediction.predict(source, model)
    parts = prediction.predict(source, model, options=prediction.PredictOptions(window=28))
    truth = depth_mask(values.mean(0)).mask
    assert ((whole.values[1] > 0.5) == truth).all()
    np.testing.assert_array_equal(whole.values, parts.values)
    assert set(calls) == {(3, 70, 100)}
    assert len(calls) <= 2
    assert whole.bands == ("soil", "crop")


def test_a_photograph_without_a_step_is_half_and_half():
    source = Raster(
        np.full((3, 40, 40), 9, np.uint8), photo_grid((40, 40)), ("red", "green", "blue")
    )
    found = prediction.predict(source, DepthSegmenter(lambda image: image[0].astype(np.float32)))
    np.testing.assert_allclose(found.values, 0.5, atol=0.003)
