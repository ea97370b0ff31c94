"""SAM, SAM 2 and SAM-HQ from checkpoints of random weights: zero-shot, prompted, fine-tuned."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import selion.models
import tiny_sam
from selion import prediction
from selion.errors import (
    BadInput,
    BandMismatch,
    GridMismatch,
    MissingExtra,
    UnknownName,
    UnreadableFile,
)
from selion.evaluation import EvaluateOptions, evaluate
from selion.grid import photo_grid, whole
from selion.labels import Instances
from selion.metrics import ScoreOptions
from selion.models import objects, registry
from selion.models.card import read_card, write_card
from selion.models.sam.convert import checkpoint_card, edge, is_checkpoint
from selion.models.sam.network import EncodedImage, Prompted, load_prompted
from selion.models.sam.segmenter import (
    MaskOptions,
    SamSegmenter,
    best_of_points,
    boxes_of,
    clean,
    layer,
    mask_options,
    point_grid,
    prompt_points,
    segment_everything,
    stability,
    suppress,
)
from selion.prediction import PredictOptions
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import View

KINDS = ("sam", "sam2", "sam2_video", "sam_hq")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: tiny_sam.save(kind, root / kind) for kind in KINDS}


def photo(shape=(48, 80), seed=0):
    return np.random.default_rng(seed).random((3, *shape)).astype(np.float32)


class Painted(Prompted):
    """A network that knows the discs of an image: asked with a point it answers the disc, the
    image's background, and a part of the disc.
    """

    def __init__(self, quality=(0.95, 0.5, 0.9)):
        self.fast, self.device, self.edge, self.quality = False, "cpu", 64, quality

    def encode(self, image):
        return EncodedImage({"image": image}, image.shape[1:], image.shape[1:])

    def ask(self, encoded, points, labels, *, several=True):
        truth = np.rint(encoded.memory["image"][0] * 255).astype(int)
        here = truth[points[:, 0, 1].astype(int), points[:, 0, 0].astype(int)]
        disc = (truth[None] == here[:, None, None]) & (here > 0)[:, None, None]
        part = disc & (np.arange(truth.shape[1]) % 64 < 30)
        masks = np.stack([disc, np.broadcast_to(truth == 0, disc.shape), part], 1)
        return torch.from_numpy(np.where(masks, 9.0, -9.0)).float(), torch.tensor(
            [self.quality] * len(points)
        )

    def enlarge(self, encoded, logits):
        return logits


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_answers_as_transformers_own_road_does(folders, kind):
    """Preprocessing, embedding, points and masks against the library's processor and forward
    pass.
    """
    from transformers import Sam2ImageProcessor, SamImageProcessor

    network = load_prompted(folders[kind])
    image = np.random.default_rng(3).integers(0, 256, (3, 48, 80), np.uint8)
    points = np.array([[[20.0, 10.0], [60.0, 40.0]], [[5.0, 30.0], [40.0, 24.0]]])
    labels = np.array([[1, 0], [1, 1]])
    encoded = network.encode(image / np.float32(255))
    masks, quality = network.ask(encoded, points, labels)

    stretch = kind.startswith("sam2")
    size = (
        {"size": {"height": 64, "width": 64}}
        if stretch
        else {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    )
    fed = (Sam2ImageProcessor if stretch else SamImageProcessor)(**size)(image, return_tensors="pt")
    square = network.square(image / np.float32(255))
    # the processor rounds to bytes, along each axis
    assert torch.allclose(square, fed["pixel_values"], atol=1.5 / 255 / 0.224)
    scale = np.array([64 / 80, 64 / 48] if stretch else [64 / 80, 38 / 48])
    with torch.inference_mode():
        answer = network.model(
            pixel_values=square,
            input_points=torch.tensor(points * scale).float()[None],
            input_labels=torch.tensor(labels)[None],
        )
    shown = slice(0, 1) if kind == "sam_hq" else slice(None)
    assert torch.allclose(quality, answer.iou_scores[0][:, shown], atol=1e-5)
    assert torch.allclose(masks, answer.pred_masks[0][:, shown], atol=1e-5)
    large = network.enlarge(encoded, masks[:, 0])
    assert large.shape == (2, 48, 80)
    if not stretch:  # SamProcessor's own way back
        back = SamImageProcessor(**size).post_process_masks(
            answer.pred_masks, fed["original_sizes"], fed["reshaped_input_sizes"], binarize=False
        )
        assert torch.allclose(large, back[0][:, 0], atol=1e-5)


def test_bfloat16_is_near(folders):
    image, points = photo(), np.array([[[20.0, 10.0]]])
    answers = [
        network.ask(network.encode(image), points, np.ones((1, 1)))
        for network in (load_prompted(folders["sam2"], fast=fast) for fast in (False, True))
    ]
    assert answers[0][1].numpy() == pytest.approx(answers[1][1].numpy(), abs=0.05)
    assert not torch.equal(answers[0][0], answers[1][0])


def broken(folders, tmp_path, change):
    folder = shutil.copytree(folders["sam"], tmp_path / "copy")
    change(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
            BadInput,
            "of the type 'bert'; wanted is one of sam, sam_hq",
        ),
        (
            lambda f: (f / "config.json").write_text("{"),
            UnreadableFile,
            r"config.json cannot be read",
        ),
        (
            lambda f: (f / "preprocessor_config.json").unlink(),
            UnreadableFile,
            "no preprocessor_config.json with image_mean",
        ),
        (
            lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": [1]}'),
            UnreadableFile,
            "no preprocessor_config.json with image_mean",
        ),
        (lambda f: (f / "model.safetensors").unlink(), UnreadableFile, "holds no weights"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            UnreadableFile,
            r"pickled weights only \(pytorch_model.bin\)",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), UnreadableFile, "cannot be read"),
    ],
)
def test_folders_that_cannot_serve(folders, tmp_path, change, error, words):
    folder = broken(folders, tmp_path, change)
    with pytest.raises(error, match=words) as told:
        load_prompted(folder)
    assert "\n" not in str(told.value)


def test_weights_that_lack_tensors_are_not_filled_up_with_random_ones(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = broken(folders, tmp_path, lambda _: None)
    state = load_file(folder / "model.safetensors")
    del state["mask_decoder.iou_token.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"lack 1 tensors \(mask_decoder.iou_token.weight"):
        load_prompted(folder)


def test_the_newer_processor_file_is_read_too(folders, tmp_path):
    def nest(folder):
        said = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").unlink()
        (folder / "processor_config.json").write_text(json.dumps({"image_processor": said}))

    assert load_prompted(broken(folders, tmp_path, nest)).edge == 64


def test_prompts_and_images_that_do_not_fit(folders):
    network = load_prompted(folders["sam"])
    encoded = network.encode(photo())
    for points in ([[[81.0, 3.0]]], [[[3.0, 49.0]]], [[[-1.0, 3.0]]]):
        with pytest.raises(BadInput, match="lies outside the image of 80 x 48 pixels"):
            network.ask(encoded, np.array(points), np.ones((1, 1)))
    with pytest.raises(BadInput, match="at least one point"):
        network.ask(encoded, np.empty((1, 0, 2)), np.ones((1, 0)))
    with pytest.raises(BadInput, match="three bands"):
        network.encode(np.zeros((4, 48, 80), np.float32))


# ---------------------------------------------------------------- masks


def test_stability_is_the_iou_of_two_thresholds():
    logits = torch.randn(5, 20, 20, generator=torch.Generator().manual_seed(0)) * 2
    logits[4] = -9
    found = stability(logits, 1.0)
    for k in range(4):
        inner, outer = logits[k] > 1, logits[k] > -1
        assert float(found[k]) == pytest.approx(
            float((inner & outer).sum() / (inner | outer).sum())
        )
    assert found[4] == 0


def test_boxes_and_suppression_against_torchvision():
    from torchvision.ops import masks_to_boxes, nms

    rng = np.random.default_rng(0)
    masks = np.zeros((40, 50, 60), bool)
    for mask in masks:
        y, x, h, w = (
            rng.integers(0, 40),
            rng.integers(0, 45),
            rng.integers(1, 25),
            rng.integers(1, 25),
        )
        mask[y : y + h, x : x + w] = True
    boxes = boxes_of(masks)
    theirs = masks_to_boxes(torch.from_numpy(masks))  # left, top, right, bottom, the ends inclusive
    assert np.array_equal(boxes[:, [2, 0, 3, 1]], (theirs + torch.tensor([0, 0, 1, 1])).numpy())
    scores = rng.random(40)
    kept = nms(torch.from_numpy(boxes[:, [2, 0, 3, 1]]).double(), torch.from_numpy(scores), 0.3)
    assert suppress(boxes, scores, 0.3).tolist() == kept.tolist()
    assert boxes_of(np.zeros((1, 4, 4), bool)).tolist() == [[0, 0, 0, 0]]
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def test_crumbs_and_holes():
    mask = np.zeros((30, 30), bool)
    mask[2:20, 2:20] = True
    mask[5:7, 5:7] = False  # a hole of 4
    mask[10:16, 10:16] = False  # a hole of 36
    mask[25:28, 25:28] = True  # a crumb of 9
    mask[20, 20] = True  # touches a corner: 8-neighbours are one part
    cleaned, changed = clean(mask, 10)
    wanted = mask.copy()
    wanted[5:7, 5:7] = True
    wanted[25:28, 25:28] = False
    assert changed
    assert np.array_equal(cleaned, wanted)
    assert np.array_equal(clean(cleaned, 10)[0], cleaned)
    assert not clean(cleaned, 10)[1]
    alone = np.zeros((9, 9), bool)
    alone[4, 4] = True
    assert clean(alone, 100)[0].sum() == 1  # the largest part stays
    framed = np.ones((9, 9), bool)
    framed[0, 3:5] = False  # open to the rim of the image: no hole
    assert np.array_equal(clean(framed, 10)[0], framed)


def test_layers_put_the_smallest_on_top_and_drop_what_others_make_up():
    masks = np.zeros((4, 10, 20), bool)
    masks[0, :, :] = True  # the block of fields
    masks[1, :, :9] = True
    masks[2, :, 10:] = True
    masks[3, 2:4, 2:4] = True
    ids = layer(masks, 0.5)
    assert set(np.unique(ids)) == {0, 2, 3, 4}
    assert (ids[2:4, 2:4] == 4).all()
    assert (ids[:, 9] == 0).all()
    assert (layer(masks, 0.0)[:, 9] == 1).all()


def test_the_grid_of_points_lies_in_the_middle_of_cells():
    assert point_grid(2, (40, 80)).tolist() == [[20, 10], [60, 10], [20, 30], [60, 30]]
    assert point_grid(32, (1024, 1024)).shape == (1024, 2)


def test_defaults_are_the_papers():
    found = MaskOptions()
    assert (
        found.points_per_side,
        found.quality,
        found.stability,
        found.offset,
        found.overlap,
        found.small,
        found.most,
    ) == (
        32,
        0.88,
        0.95,
        1.0,
        0.7,
        100,
        0.95,
    )
    assert mask_options({"family": "sam2", "quality": 0.8}).quality == 0.8
    with pytest.raises(UnknownName, match="did you mean 'quality'"):
        mask_options({"qualty": 0.8})
    with pytest.raises(BadInput, match="shares from 0 to 1"):
        MaskOptions(quality=88)


def test_everything_finds_what_the_network_knows():
    truth = np.zeros((60, 60), np.float32)
    y, x = np.mgrid[:60, :60]
    for k, (cy, cx, r) in enumerate([(15, 15, 9), (40, 20, 12), (30, 48, 8)], 1):
        truth[(y - cy) ** 2 + (x - cx) ** 2 <= r**2] = k / 255
    image = np.stack([truth] * 3)
    ids, quality = segment_everything(
        Painted((0.95, 0.5, 0.5)), image, MaskOptions(points_per_side=16, small=5)
    )
    assert np.array_equal(ids > 0, truth > 0)
    assert len(np.unique(ids)) == 4
    assert quality == pytest.approx(0.95)
    # Background too, when it is sure enough; it is less than most of the window.
    ids, _ = segment_everything(
        Painted((0.95, 0.95, 0.5)), image, MaskOptions(points_per_side=16, small=5)
    )
    assert (ids > 0).all()
    ids, _ = segment_everything(
        Painted((0.95, 0.95, 0.5)), image, MaskOptions(points_per_side=16, small=5, most=0.5)
    )
    assert np.array_equal(ids > 0, truth > 0)
    ids, quality = segment_everything(
        Painted((0.5, 0.5, 0.5)), image, MaskOptions(points_per_side=16)
    )
    assert not ids.any()
    assert not len(quality)


def test_how_many_prompts_go_at_once_changes_nothing(folders):
    network, image = load_prompted(folders["sam2"]), photo((64, 64))
    one, other = (
        segment_everything(
            network,
            image,
            MaskOptions(
                points_per_side=4, points_at_once=n, quality=0, stability=0, small=3, overlap=0.95
            ),
        )
        for n in (16, 5)
    )
    assert np.array_equal(one[0], other[0])


# ---------------------------------------------------------------- as a model of the road


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_a_model(folders, kind):
    folder = folders[kind]
    assert is_checkpoint(folder)
    assert edge(folder) == 64
    model = selion.models.load_model(folder, "torch")
    assert model.gives == "objects"
    assert model.card.name == kind
    assert model.card.architecture == {"family": "sam2" if "2" in kind else kind}
    assert "torch" in model.engine
    view = View((255 * photo((64, 64))).astype(np.uint8), whole(photo_grid((64, 64))))
    found = SamSegmenter(model.card, model.network)([view])[0]
    assert found.ids.shape == (64, 64)
    assert set(np.unique(found.ids)) - {0} <= set(found.table["id"])
    model.rest()


def test_a_folder_with_a_card_is_checked(folders, tmp_path):
    folder = shutil.copytree(folders["sam"], tmp_path / "mine")
    card = checkpoint_card(folder)
    write_card(card, folder / "card.toml")
    assert not is_checkpoint(folder)
    assert selion.models.load_model(folder, "torch").card == read_card(folder)
    (folder / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(selion.errors.ChecksumMismatch):
        selion.models.load_model(folder)


def test_engines_that_cannot(folders):
    with pytest.raises(BadInput, match="returns objects"):
        selion.models.load_model(folders["sam"], "openvino")
    with pytest.raises(UnknownName, match="did you mean 'torch'"):
        selion.models.load_model(folders["sam"], "torsh")
    if not torch.backends.mps.is_available():
        with pytest.raises(MissingExtra, match="sees no such device"):
            selion.models.load_model(folders["sam"], "mps")


def test_views_that_do_not_fit(folders):
    model = selion.models.load_model(folders["sam"], "torch")
    with pytest.raises(BandMismatch, match="wants 3 bands"):
        model([View(np.zeros((4, 64, 64), np.float32), whole(photo_grid((64, 64))))])
    with pytest.raises(BadInput, match="NaN"):
        model([View(np.full((3, 64, 64), np.nan, np.float32), whole(photo_grid((64, 64))))])


def test_a_map_of_windows_equals_the_truth(tmp_path):
    truth = np.zeros((150, 170), np.float32)
    y, x = np.mgrid[:150, :170]
    for k, (cy, cx, r) in enumerate(
        [(30, 30, 14), (60, 60, 20), (110, 40, 25), (100, 120, 40), (20, 140, 17)], 1
    ):
        truth[(y - cy) ** 2 + (x - cx) ** 2 <= r**2] = k
    card = checkpoint_card_like()
    model = SamSegmenter(card, Painted((0.95, 0.5, 0.5)))
    source = Raster(
        np.stack([truth] * 3).astype(np.uint8), photo_grid(truth.shape), ("red", "green", "blue")
    )
    plan = prediction.plan(source, model, prediction.PredictOptions(), "x")
    assert len(plan.lattice) > 6
    found = prediction.predict_objects(
        source, model, plan, tmp_path, journal=prediction.BlockJournal(tmp_path / "seen", plan.key)
    )
    ids = found.read(whole(found.grid)).ids
    assert np.array_equal(ids > 0, truth > 0)
    assert len(found.table) == 5
    assert len(np.unique(truth * 100 + ids)) == 6


def checkpoint_card_like():
    from selion.classes import FTW2
    from selion.models.card import ModelCard
    from selion.segmenter import InputSpec, Scaling

    inputs = InputSpec(
        ("red", "green", "blue"), Scaling((255.0,), (0.0,), (0.0, 1.0)), window=64, multiple=1
    )
    return ModelCard(
        "painted",
        inputs,
        FTW2,
        architecture={"family": "sam", "points_per_side": 24, "small": 3},
        format="sam",
    )


def test_fetching_brings_the_files_and_writes_the_card(folders, tmp_path, monkeypatch):
    import functools
    import http.server
    import threading

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folders["sam"]))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        card = {c.name: c for c in registry._registry()}["sam-vit-base"]
        card = objects.replace(card, url=f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("SELION_CACHE", str(tmp_path))
        monkeypatch.setattr(registry, "_registry", lambda: (card,))
        with pytest.warns(UserWarning, match="no checksum was published"):
            fetched = selion.models.fetch_model("sam-vit-base")
        server.shutdown()
    assert fetched.folder == tmp_path / "models" / "sam-vit-base"
    assert set(fetched.files) == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert selion.models.fetch_model("sam-vit-base") == fetched  # what is here is not fetched again
    assert selion.models.load_model("sam-vit-base", "torch").card.licence == "Apache-2.0"


# ---------------------------------------------------------------- prompts from the truth


def test_points_lie_inside_and_come_back_from_the_seed():
    truth = np.zeros((20, 30), bool)
    truth[5:9, 12:20] = True
    for n in (1, 4, 10):
        points = prompt_points(truth, n, 7)
        assert points.shape == (n, 2)
        assert truth[points[:, 1].astype(int), points[:, 0].astype(int)].all()
        assert len(np.unique(points, axis=0)) == n
        assert np.array_equal(points, prompt_points(truth, n, 7))
    assert not np.array_equal(points, prompt_points(truth, 10, 8))
    assert len(prompt_points(truth, 1000, 0)) == truth.sum()
    with pytest.raises(BadInput, match="inside a crop of 0 pixels"):
        prompt_points(np.zeros((4, 4), bool), 1, 0)
    with pytest.raises(BadInput, match=r"^0 points"):
        prompt_points(truth, 0, 0)


@pytest.mark.parametrize("kind", ["sam", "sam2", "sam_hq"])
def test_the_best_of_several_prompts(folders, kind):
    network, image = load_prompted(folders[kind]), photo()
    truth = np.zeros((48, 80), bool)
    truth[10:30, 20:60] = True
    best = best_of_points(network, image, truth, counts=(1, 2, 5), seed=3)
    assert best.mask.shape == truth.shape
    alone = [best_of_points(network, image, truth, counts=(n,), seed=3) for n in (1, 2, 5)]
    assert best.miou == max(one.miou for one in alone)
    crop = (best.mask & truth).sum() / (best.mask | truth).sum()
    rest = (~(best.mask | truth)).sum() / (~(best.mask & truth)).sum()
    assert best.miou == pytest.approx((crop + rest) / 2)
    assert len(best.points) in (2, 4, 10)


class Asked(Painted):
    """As many rows are crop as there are points on it; what it was asked is kept."""

    def __init__(self):
        self.asked = []

    def ask(self, encoded, points, labels, *, several=True):
        self.asked.append((points[0], labels[0], several))
        logits = torch.full((1, 3 if several else 1, 20, 20), -5.0)
        logits[..., : int(labels.sum()), :] = 5.0
        return logits, torch.tensor([[0.2, 0.9, 0.1]] if several else [[0.4]])


def test_the_best_is_kept_by_the_truth():
    truth = np.zeros((20, 20), bool)
    truth[:4] = True
    image = np.zeros((3, 20, 20), np.float32)
    network = Asked()
    best = best_of_points(network, image, truth)
    assert (best.miou, best.inside.sum(), best.quality) == (1.0, 4, pytest.approx(0.4))
    # of each kind one to ten, on the crop and beside it, never as a question for three answers
    assert [(len(at), said.sum()) for at, said, _ in network.asked] == [
        (2 * n, n) for n in range(1, 11)
    ]
    assert not any(several for *_, several in network.asked)
    for at, said, _ in network.asked:
        assert np.array_equal(truth[at[:, 1].astype(int), at[:, 0].astype(int)], said == 1)
    # 3 of 4 rows of crop found, and the other 16 with one too many: (3/4 + 16/17) / 2
    three = best_of_points(Asked(), image, truth, counts=(3,))
    assert three.miou == pytest.approx((3 / 4 + 16 / 17) / 2)
    alone = Asked()
    best_of_points(alone, image, truth, counts=(1, 2), background=False)
    assert [(len(at), several) for at, _, several in alone.asked] == [(1, True), (2, False)]
    full = Asked()
    all_crop = best_of_points(full, image, np.ones((20, 20), bool), counts=(5,))
    assert (len(full.asked[0][0]), all_crop.miou) == (5, 0.25)  # nothing beside it to point at
    nothing = best_of_points(Asked(), image, np.zeros((20, 20), bool))
    assert not nothing.mask.any()
    assert np.isnan(nothing.miou)
    with pytest.raises(GridMismatch, match="one grid"):
        best_of_points(Asked(), image, np.zeros((20, 21), bool))
    with pytest.raises(BadInput, match="at least one"):
        best_of_points(Asked(), image, truth, counts=())


def test_interpolation_here_is_that_of_torch():
    """The window of 64 px goes through the network's square and back unchanged in size."""
    network = Painted.__new__(Prompted)
    network.edge = 64
    encoded = EncodedImage({}, (48, 80), (38, 64))
    logits = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(
        F.interpolate(logits[:, None], (64, 64), mode="bilinear")[..., :38, :64],
        (48, 80),
        mode="bilinear",
    )[:, 0]
    assert torch.equal(Prompted.enlarge(network, encoded, logits), wanted)


def test_an_image_becomes_a_table_of_fields(folders, tmp_path):
    from selion import store
    from selion.fields import read_fields
    from selion.pipeline import maps

    folder = shutil.copytree(folders["sam2"], tmp_path / "mine")
    card = objects.replace(
        checkpoint_card(folder),
        architecture={
            "family": "sam2",
            "points_per_side": 4,
            "quality": 0.0,
            "stability": 0.0,
            "small": 4,
            "visible": 0.0,
        },
    )
    write_card(card, folder / "card.toml")
    from predict_toys import utm_grid

    image = tmp_path / "image.tif"
    pixels = (255 * photo((100, 90))).astype(np.uint8)
    with store.create_cog(
        image, utm_grid((100, 90), 1.0), ("red", "green", "blue"), np.uint8
    ) as sink:
        sink.write(whole(utm_grid((100, 90))), pixels)
    options = maps.MapOptions(min_area=1.0)
    job = maps.prepare(image, folder, options)
    path, frame = maps.map_image(job, tmp_path / "fields.gpkg", options)
    assert len(frame) >= 1
    assert len(read_fields(path)) == len(frame)
    assert frame["confidence"].between(0, 1).all()
    assert set(frame["class"]) == {"field"}
    with pytest.raises(BadInput, match="returns objects, not probabilities"):
        maps.map_image(
            job, tmp_path / "other.gpkg", replace(options, scores=tmp_path / "scores.tif")
        )
    with pytest.raises(BadInput, match="returns objects, not probabilities"):
        maps.predict_image(job, tmp_path / "scores.tif")
    assert "not compared" in maps.compare_precision(job)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fields.gpkg", "image.tif", "mine"]


def test_it_is_scored_like_any_other_model(folders):
    """Random weights find nothing of use; what counts is that each measure has a number."""
    model = selion.models.load_model(folders["sam"], "torch")
    pixels = np.random.default_rng(5).integers(0, 255, (3, 64, 64), np.uint8)
    grid = photo_grid((64, 64))
    ids = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((32, 32))).astype(np.int32)
    sample = Sample("a", Raster(pixels, grid, ("red", "green", "blue")), None, Instances(ids, grid))
    options = EvaluateOptions(
        score=ScoreOptions(draws=0), baselines=False, predict=PredictOptions(scale=1.0)
    )
    values = evaluate({"sam": model}, [sample], options).runs[0].values
    assert {"object_f1", "pixel_iou", "ap50", "ap"} <= set(values)
    assert np.isfinite(values["pixel_iou"])
