"""Objects of Mask2Former: which query has which pixel, by hand, by the published rule written out,
and by transformers; windows joined, scored by the queries' scores.
"""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")

from selion import prediction  # noqa: E402
from selion.classes import FTW2, FTW3, ClassScheme  # noqa: E402
from selion.errors import BadInput, UnknownName  # noqa: E402
from selion.grid import photo_grid, whole  # noqa: E402
from selion.models import ModelCard, build_network, load_model  # noqa: E402
from selion.models.export import export  # noqa: E402
from selion.models.mask2former.inference import PanopticOptions, panoptic_options  # noqa: E402
from selion.models.mask2former.network import SetAnswer  # noqa: E402
from selion.models.mask2former.segmenter import QuerySegmenter, find_objects  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.segmenter import InputSpec, View  # noqa: E402

TINY = {
    "family": "mask2former",
    "inference": "panoptic",
    "queries": 5,
    "hidden": 64,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "decoder_layers": 2,
    "encoder_layers": 1,
}


def logit(shares):
    return torch.logit(torch.as_tensor(shares, dtype=torch.float64)).float()


def test_who_has_a_pixel_by_hand():
    # classes: background, field, no object
    classes = logit([[0.9, 0.05, 0.05], [0.04, 0.95, 0.01], [0.1, 0.85, 0.05], [0.3, 0.6, 0.1]])
    classes = torch.log(torch.sigmoid(classes))  # softmax gives the shares above back
    masks = np.full((4, 2, 6), 0.01)
    masks[0, :, 4:] = 0.9  # background on the right
    masks[1, :, :3] = 0.7  # a field, .95 * .7 = .665
    masks[2, :, 2:4] = 0.8  # another, .85 * .8 = .68: it has the third column
    masks[3, 0, 0] = 0.99  # not sure enough of its class
    ids, scores, kinds = find_objects(classes, logit(masks), [1], PanopticOptions(0.8, 0.5))
    # the background is asked, too, and has no id; ids count the queries that are sure enough
    assert ids.tolist() == [[2, 2, 3, 3, 0, 0]] * 2
    assert scores.tolist() == pytest.approx([0.9, 0.95, 0.85])
    assert kinds.tolist() == [0, 1, 1]
    # 4 of 6 pixels of the first field are visible: too few for .7, and what it won stays empty
    ids, *_ = find_objects(classes, logit(masks), [1], PanopticOptions(0.8, 0.7))
    assert ids.tolist() == [[0, 0, 3, 3, 0, 0]] * 2
    ids, scores, _ = find_objects(classes, logit(masks), [1], PanopticOptions(0.96, 0.5))
    assert not ids.any()
    assert not len(scores)


def blobs(rng, count, size, sharp):
    """Return (query, y, x) logits of smooth shapes."""
    noise = rng.normal(size=(count, size, size))
    return sharp * np.stack([ndimage.gaussian_filter(one, size / 12) for one in noise]) * size / 12


def discs(rng, count, size):
    """Return (query, y, x) logits of discs, some of which lie on others."""
    y, x = np.mgrid[:size, :size]
    places, radius = rng.uniform(0, size, (2, count, 1, 1)), rng.uniform(8, 20, (count, 1, 1))
    return radius - np.hypot(y - places[0], x - places[1])


def written_out(classes, masks, things, least_score, least_visible):
    """Return (y, x) query + 1 of the published rule, query by query in float64."""
    shares = np.exp(classes) / np.exp(classes).sum(1, keepdims=True)
    inside = 1 / (1 + np.exp(-masks))
    sure = [q for q in range(len(classes)) if shares[q].argmax() != classes.shape[1] - 1]
    sure = [q for q in sure if shares[q].max() > least_score]
    found = np.zeros(masks.shape[1:], int)
    if not sure:
        return found
    owner = np.array(sure)[np.stack([shares[q].max() * inside[q] for q in sure]).argmax(0)]
    for q in sure:
        own, held = owner == q, inside[q] >= 0.5
        if not (own & held).any() or own.sum() / held.sum() < least_visible:
            continue
        if shares[q].argmax() in things:
            found[own & held] = q + 1
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_published_rule(seed):
    rng = np.random.default_rng(seed)
    classes = rng.normal(0, 2, (12, 4)).astype(np.float32)
    masks = (blobs(rng, 12, 48, 8) if seed % 2 else discs(rng, 12, 48)).astype(np.float32)
    least = [(0.0, 0.0), (0.3, 0.2), (0.5, 0.15)][seed % 3]
    ids, scores, kinds = find_objects(
        torch.from_numpy(classes), torch.from_numpy(masks), [1, 2], PanopticOptions(*least)
    )
    wanted = written_out(classes.astype(float), masks.astype(float), (1, 2), *least)
    pairs = np.unique(np.stack([ids.numpy().ravel(), wanted.ravel()]), axis=1).T
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
    assert len(pairs) > 1
    shares = np.exp(classes) / np.exp(classes).sum(1, keepdims=True)
    for k, query in pairs:
        if k:
            assert scores[k - 1] == pytest.approx(shares[query - 1].max(), rel=1e-5)
            assert kinds[k - 1] == shares[query - 1].argmax()


@pytest.mark.parametrize("seed", range(4))
def test_transformers_own_road_agrees_where_it_follows_the_papers(seed):
    """It holds masks against one half after weighing them, and gives out pixels whose mask is below
    one half; with sure classes and a background everywhere both are the same.
    """
    from transformers import Mask2FormerImageProcessor

    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(discs(rng, 10, 96)[None].astype(np.float32))
    masks[0, 0] = 0.0001  # the background holds what no field holds
    classes = torch.full((1, 10, 3), -30.0)
    classes[0, :, 1] = 30.0
    classes[0, 0] = torch.tensor([30.0, -30.0, -30.0])
    classes[0, 9] = torch.tensor([-30.0, -30.0, 30.0])  # no object
    theirs = Mask2FormerImageProcessor().post_process_panoptic_segmentation(
        SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks.clone()),
        threshold=0.5,
        overlap_mask_area_threshold=0.6,
        label_ids_to_fuse={0},
    )[0]
    large = torch.nn.functional.interpolate(
        masks, size=(384, 384), mode="bilinear", align_corners=False
    )[0]
    ids, *_ = find_objects(classes[0], large, [1], PanopticOptions(0.5, 0.6))
    fields = [one["id"] for one in theirs["segments_info"] if one["label_id"] == 1]
    there = torch.where(torch.isin(theirs["segmentation"], torch.tensor(fields)), 1, 0)
    there = there * theirs["segmentation"]
    pairs = torch.stack([ids.flatten(), there.flatten()]).unique(dim=1).T
    assert len(pairs) == len(fields) + 1 > 2
    assert len(pairs[:, 0].unique()) == len(pairs[:, 1].unique()) == len(pairs)


class Told(torch.nn.Module):
    """A network that is shown the true ids, and has one query for each of them."""

    def __init__(self, queries=40):
        super().__init__()
        self.queries = queries

    def forward(self, image, raw=False):
        assert raw
        classes = torch.full((len(image), self.queries, 3), -9.0)
        masks = torch.full((len(image), self.queries, *image.shape[2:]), -9.0)
        classes[..., 2] = 9.0
        for k, view in enumerate(image[:, 0]):
            names = [int(name) for name in view.unique() if name]
            for query, name in enumerate(names):
                score = 0.55 + name % 9 / 20
                classes[k, query] = torch.log(torch.tensor([0.01, score, 0.99 - score]))
                masks[k, query] = torch.where(view == name, 9.0, -9.0)
        return SetAnswer(classes, masks)


def told(window=64, **options):
    card = ModelCard(
        "told",
        InputSpec(("truth",), window=window, multiple=window),
        FTW2,
        architecture=TINY,
    )
    return QuerySegmenter(card, Told(), "cpu", PanopticOptions(0.1, 0.8))


def squares(shape=(150, 170), step=24, gap=3):
    y, x = np.mgrid[: shape[0], : shape[1]]
    ids = (y // step) * 100 + x // step + 1
    return np.where((y % step < step - gap) & (x % step < step - gap), ids, 0).astype(np.int32)


@pytest.mark.parametrize("block", [64, 100, 2048])
@pytest.mark.parametrize("batch", [1, 7])
def test_windows_are_joined_as_of_other_models_of_objects(tmp_path, block, batch):
    truth = squares()
    source = Raster(truth[None].astype(np.float32), photo_grid(truth.shape), ("truth",))
    options = prediction.PredictOptions(block=block, batch=batch)
    plan = prediction.plan(source, told(), options, sha256(truth.tobytes()).hexdigest())
    found = prediction.predict_objects(
        source,
        told(),
        plan,
        tmp_path / "objects",
        journal=prediction.BlockJournal(tmp_path / "seen", plan.key),
    ).read(whole(source.grid))
    assert np.array_equal(found.ids > 0, truth > 0)
    names = truth.ravel()[np.unique(found.ids, return_index=True)[1]][1:]
    assert np.array_equal(np.r_[0, names][found.ids], truth)
    score = found.table.set_index("id")["score"].to_numpy()
    assert score == pytest.approx(0.55 + names % 9 / 20, abs=1e-4)
    assert set(found.table["class"]) == {"field"}


def test_a_card_that_asks_for_objects_gets_them(tmp_path):
    architecture = TINY | {"least_score": 0.05, "least_visible": 0.0}
    torch.manual_seed(0)
    network = build_network(architecture, 8, 3).eval()
    with torch.no_grad():  # a wide spread of classes: random ones are all alike
        network.model.class_predictor.weight.normal_(0, 1)
    bands = tuple(f"{date}:{c}" for date in ("harvest", "planting") for c in ("red", "green"))
    bands += tuple(f"{date}:{c}" for date in ("harvest", "planting") for c in ("blue", "nir"))
    spec = InputSpec(bands, window=64, multiple=64)
    card = ModelCard("toy.net", spec, FTW3, architecture=architecture)
    folder = export(network, card, tmp_path / "model", half=False).folder
    model = load_model(folder, threads=1)
    assert model.gives == "objects"
    assert "openvino: Mask2Former looks only" in model.engine
    pixels = np.random.default_rng(3).normal(size=(2, 8, 64, 64)).astype(np.float32)
    views = [View(one, (slice(0, 64), slice(0, 64))) for one in pixels]
    together, alone = model(views), model(views[1:])[0]
    assert np.array_equal(together[1].ids, alone.ids)
    with torch.inference_mode():
        for found, one in zip(together, pixels, strict=True):
            classes, masks = network.queries(torch.from_numpy(one[None]))
            rest = 1 - classes.sum(2, keepdim=True)
            wanted = written_out(
                torch.cat([classes, rest], 2)[0].log().double().numpy(),
                masks[0].logit().double().numpy(),
                (1,),
                0.05,
                0.0,
            )
            assert np.array_equal(found.ids > 0, wanted > 0)
            assert found.table["score"].between(0.05, 1).all()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"inference": "panoptik"}, UnknownName, "panoptic"),
        ({"inference": "semantic", "least_score": 0.1}, BadInput, "without inference = 'panoptic'"),
        ({"inference": "panoptic", "least_score": 1.5}, BadInput, "from 0 to below 1"),
    ],
)
def test_what_cannot_be_asked(given, error, words):
    with pytest.raises(error, match=words):
        panoptic_options(given)
    with pytest.raises(error, match=words):
        build_network({k: v for k, v in TINY.items() if k != "inference"} | given, 8, 3)


def test_an_adapter_answers_with_objects_where_it_has_queries():
    vit = {"encoder": "vit_tiny_patch16_224", "img_size": 64, "patch_size": 8, "embed_dim": 24}
    vit |= {"family": "vit-adapter", "depth": 4, "num_heads": 2, "hidden": 32, "norm": "group"}
    with pytest.raises(BadInput, match="answers per pixel: take head = 'mask2former'"):
        build_network(vit | {"inference": "panoptic"}, 3, 2)
    network = build_network(
        vit | {"head": "mask2former", "inference": "panoptic", "queries": 5, "feedforward": 32},
        3,
        2,
    ).eval()
    scheme = ClassScheme(("background", "field"), ("field",))
    card = ModelCard("toy", InputSpec(("r", "g", "b"), window=64, multiple=64), scheme)
    model = QuerySegmenter(card, network, "cpu", PanopticOptions(0.0, 0.0))
    found = model([View(np.zeros((3, 64, 64), np.float32), (slice(0, 64), slice(0, 64)))])
    assert found[0].ids.shape == (64, 64)
