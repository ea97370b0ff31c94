"""Models that answer with objects, on a sample in the layout of Fields of The World: what each is
shown, and average precision by its own scores, beside pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from selion.classes import FTW2  # noqa: E402
from selion.cli.evaluate import evaluate_command  # noqa: E402
from selion.data import load_dataset  # noqa: E402
from selion.data.ftw import BANDS  # noqa: E402
from selion.errors import BadInput  # noqa: E402
from selion.evaluation import EvaluateOptions, evaluate  # noqa: E402
from selion.grid import whole  # noqa: E402
from selion.metrics import ScoreOptions  # noqa: E402
from selion.models import ModelCard, find_card, import_checkpoint  # noqa: E402
from selion.models.delineate.segmenter import Delineator  # noqa: E402
from selion.models.mask2former.inference import PanopticOptions  # noqa: E402
from selion.models.mask2former.network import SetAnswer  # noqa: E402
from selion.models.mask2former.segmenter import QuerySegmenter  # noqa: E402
from selion.models.sam.network import EncodedImage, Prompted  # noqa: E402
from selion.models.sam.segmenter import SamSegmenter  # noqa: E402
from selion.prediction import PredictOptions  # noqa: E402
from selion.segmenter import InputSpec, Scaling  # noqa: E402
from selion.training.recipe import Validate  # noqa: E402
from selion.training.scoring import answered_objects, score_samples  # noqa: E402

SIZE = 64
CHIPS = PredictOptions(window=SIZE)


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"driver": "GTiff", "crs": "EPSG:32633", "height": SIZE, "width": SIZE}
    place = Affine(10, 0, 600000, 0, -10, 5300000)
    with rasterio.open(
        path, "w", count=len(values), dtype=values.dtype, transform=place, **about
    ) as dataset:
        dataset.write(values)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Three test chips: fields about the nearest of random points, a line between them."""
    root = tmp_path_factory.mktemp("made") / "ftw"
    home, y, x = root / "austria", *np.mgrid[:SIZE, :SIZE]
    for number in range(3):
        rng = np.random.default_rng(number)
        far = np.hypot(*(c[..., None] - rng.uniform(0, SIZE, 18) for c in (y, x)))
        near = np.sort(far, -1)
        ids = np.where(near[..., 1] - near[..., 0] > 2, far.argmin(-1) + 1, 0)
        ids[np.isin(ids, (1, 2))] = 0
        shade = rng.uniform(500, 3000, (8, 19))[:, ids] + rng.normal(0, 60, (8, SIZE, SIZE))
        for window, part in zip("ab", np.split(shade.clip(1).astype(np.uint16), 2), strict=True):
            write(home / "s2_images" / f"window_{window}" / f"g{number}.tif", part)
        three = np.where(ids > 0, 1, 2 * (near[..., 1] - near[..., 0] <= 2)).astype(np.uint8)
        for name, mask in (("3class", three), ("2class", (ids > 0).astype(np.uint8))):
            write(home / "label_masks" / f"semantic_{name}" / f"g{number}.tif", mask[None])
        write(home / "label_masks" / "instance" / f"g{number}.tif", ids[None].astype(np.uint32))
    table = pd.DataFrame([(f"g{k}", "test") for k in range(3)], columns=["aoi_id", "split"])
    table.to_parquet(home / "chips_austria.parquet")
    return root


@pytest.fixture(scope="module")
def chips(sample):
    """Return for each test chip its sample, its pixels, and what is said about it."""
    found = []
    for k, one in enumerate(load_dataset("ftw", sample).select("test")):
        pixels = one.image.read(whole(one.image.grid)).values
        assert one.image.bands == BANDS
        found.append((one, pixels, *shaken(one.instances.ids, k)))
    return found


def shaken(truth, seed):
    """Return (y, x) ids 1 .. n and n scores: objects moved, thinned, lost, and invented."""
    rng = np.random.default_rng(seed)
    said, count = np.zeros(truth.shape, np.int32), 0
    for name in np.unique(truth[truth > 0]):
        way = int(rng.integers(0, 5))
        mask = np.roll(truth == name, [(0, 0), (1, 0), (2, 1), (0, 3), (0, 0)][way], (0, 1))
        mask &= (said == 0) & (way < 4)
        if mask.sum() >= 25:
            count += 1
            said[mask] = count
    invented = said[20:27, 30:38] == 0
    said[20:27, 30:38][invented] = count + 1
    count += 1
    return said, np.round(0.35 + 0.6 * rng.permutation(count) / count, 3)


def coco(chips):
    """Return AP and AP50 of all chips together, by pycocotools."""
    api = pytest.importorskip("pycocotools.coco", reason="the oracle of average precision")
    from pycocotools import mask as masks
    from pycocotools.cocoeval import COCOeval

    def encode(mask):
        return masks.encode(np.asfortranarray(mask.astype(np.uint8)))

    true, found = [], []
    for k, (one, _, said, scores) in enumerate(chips, 1):
        for name in np.unique(one.instances.ids[one.instances.ids > 0]):
            mask = one.instances.ids == name
            about = {"area": int(mask.sum()), "iscrowd": 0, "segmentation": encode(mask)}
            true.append({"id": len(true) + 1, "image_id": k, "category_id": 1, **about})
        for name in range(1, len(scores) + 1):
            about = {"score": scores[name - 1], "segmentation": encode(said == name)}
            found.append({"image_id": k, "category_id": 1, **about})
    images = [{"id": k, "height": SIZE, "width": SIZE} for k in range(1, len(chips) + 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = api.COCO()
        dataset.dataset = {"images": images, "annotations": true, "categories": [{"id": 1}]}
        dataset.createIndex()
        judge = COCOeval(dataset, dataset.loadRes(found), "segm")
        judge.params.maxDets = [1, 10, 10_000]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, 0, 2]
    return float(precision.mean()), float(precision[0].mean())


def in_bytes(pixels):
    """Red, green and blue of window A between their 1st and 99th percentile, 0 to 255."""
    shown = pixels[:3].astype(np.float64)
    low, high = np.percentile(np.where(shown > 0, shown, np.nan), [1, 99], axis=(1, 2))
    return ((shown - low[:, None, None]) / (high - low)[:, None, None]).clip(0, 1) * 255


class Detector:
    """Stands in for ultralytics' YOLO: knows the chips by what it is shown, and answers with what
    its results hold: masks (n, y, x) of uint8, boxes with confidences of float32.
    """

    def __init__(self, chips):
        self.known = [(np.rint(in_bytes(p)), said, scores) for _, p, said, scores in chips]

    def predict(self, source, **given):
        assert given["imgsz"] == 512
        assert given["conf"] == 0.175
        shown = source.transpose(2, 0, 1)[::-1].astype(float)
        said, scores = next(
            (said, scores)
            for pixels, said, scores in self.known
            if pixels.shape == shown.shape and np.abs(shown - pixels).max() <= 1
        )
        masks = said == np.arange(1, len(scores) + 1)[:, None, None]
        return [
            SimpleNamespace(
                masks=SimpleNamespace(data=torch.from_numpy(masks.astype(np.uint8))),
                boxes=SimpleNamespace(conf=torch.tensor(scores, dtype=torch.float32)),
            )
        ]


class KnownChips(Prompted):
    """Stands in for Segment Anything: asked with a point it answers with the object there."""

    def __init__(self, chips):
        self.fast, self.device, self.edge = False, "cpu", SIZE
        self.known = [(in_bytes(p) / 255, said, scores) for _, p, said, scores in chips]

    def encode(self, image):
        answer = next(
            (said, scores)
            for pixels, said, scores in self.known
            if np.abs(pixels - image).max() < 1e-4
        )
        return EncodedImage({"answer": answer}, image.shape[1:], image.shape[1:])

    def ask(self, encoded, points, labels, *, several=True):
        said, scores = encoded.memory["answer"]
        here = said[points[:, 0, 1].astype(int), points[:, 0, 0].astype(int)]
        masks = (said == here[:, None, None]) & (here > 0)[:, None, None]
        quality = np.where(here > 0, scores[here - 1], 0.0)
        return torch.from_numpy(np.where(masks, 9.0, -9.0)[:, None]), torch.tensor(quality)[:, None]

    def enlarge(self, encoded, logits):
        return logits


class KnownQueries(torch.nn.Module):
    """Stands in for Mask2Former: one query for each object, and one for the background."""

    def __init__(self, chips):
        super().__init__()
        self.known = [(p / 3000.0, said, scores) for _, p, said, scores in chips]

    def forward(self, image, raw=False):
        classes, masks = (
            torch.zeros(len(image), 60, 3),
            torch.full((len(image), 60, SIZE, SIZE), -9.0),
        )
        classes[..., 2] = 9.0
        for k, view in enumerate(image.numpy()):
            order = [*range(4, 8), *range(4)]  # window B before window A, as the card says
            said, scores = next(
                (said, scores)
                for pixels, said, scores in self.known
                if np.abs(pixels[order] - view).max() < 1e-5
            )
            masks[k, 0] = torch.from_numpy(np.where(said == 0, 9.0, -9.0))
            classes[k, 0] = torch.tensor([9.0, 0.0, 0.0])
            for query, score in enumerate(scores, 1):
                masks[k, query] = torch.from_numpy(np.where(said == query, 9.0, -9.0))
                # the rest is shared: the class of an object is the most likely one
                rest = (1 - score) / 2
                classes[k, query] = torch.tensor([rest, score, rest]).log()
        return SetAnswer(classes, masks)


def made(kind, chips):
    """Return a model of a kind, its windows as large as a chip."""
    if kind == "DelineateAnything":
        return Delineator(find_card(kind), Detector(chips))
    if kind.startswith("sam"):
        card = find_card(kind)
        said = dict(card.architecture) | {"quality": 0.1, "small": 0, "most": 1.0}
        return SamSegmenter(replace_card(card, said), KnownChips(chips))
    bands = (*BANDS[4:], *BANDS[:4])
    spec = InputSpec(bands, Scaling((3000.0,)), (10.0, 10.0), window=SIZE, multiple=SIZE)
    architecture = {"family": "mask2former", "inference": "panoptic"}
    card = ModelCard(kind, spec, FTW2, architecture=architecture)
    return QuerySegmenter(card, KnownQueries(chips), "cpu", PanopticOptions(0.1, 0.8))


def replace_card(card, architecture):
    import dataclasses

    return dataclasses.replace(card, architecture=architecture)


@pytest.mark.parametrize(
    "kind", ["mask2former", "DelineateAnything", "sam-vit-huge", "sam2.1-hiera-tiny"]
)
def test_average_precision_is_that_of_pycocotools(chips, kind):
    options = EvaluateOptions(score=ScoreOptions(draws=0), baselines=False, predict=CHIPS)
    report = evaluate({kind: made(kind, chips)}, [one for one, *_ in chips], options)
    assert not [said for said in report.problems if "not compared pixel by pixel" not in said]
    values = report.runs[0].values
    ap, ap50 = coco(chips)
    assert 0.1 < ap < ap50 < 0.95  # neither all right nor all wrong
    assert values["ap"] == pytest.approx(ap, abs=1e-9)
    assert values["ap50"] == pytest.approx(ap50, abs=1e-9)


def test_the_command_scores_the_folder_of_such_a_model(sample, chips, tmp_path, monkeypatch):
    """Delineate Anything through its own extra: a window of 256 px, of window A's three colours."""
    (tmp_path / "a.onnx").write_bytes(b"graph")
    card = find_card("DelineateAnything-S")
    folder = import_checkpoint(tmp_path / "a.onnx", tmp_path / "del", card).folder
    monkeypatch.setattr("selion.models.delineate.segmenter.available", lambda _: True)
    shown = []

    def predict(pixels, **_):
        shown.append(pixels)
        return [SimpleNamespace(masks=None, boxes=SimpleNamespace(conf=torch.zeros(0)))]

    fake = SimpleNamespace(YOLO=lambda _path, task: SimpleNamespace(predict=predict, task=task))
    monkeypatch.setitem(sys.modules, "ultralytics", fake)
    out = tmp_path / "report"
    arguments = [str(folder), str(sample), "-o", str(out), "--protocol", "prue"]
    done = CliRunner().invoke(evaluate_command, [*arguments, "--engine", "torch", "--quiet"])
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["split"] == "test, 3 of 3 samples"
    assert {"object_f1", "ap", "ap50", "pixel_iou"} <= set(report["runs"][0]["values"])
    assert {pixels.shape for pixels in shown} == {(256, 256, 3)}
    first = np.rint(in_bytes(chips[0][1]))
    assert any(np.abs(p[:SIZE, :SIZE, ::-1].transpose(2, 0, 1) - first).max() <= 1 for p in shown)


def test_training_validates_with_the_objects_that_a_map_would_have(chips):
    model, samples = made("mask2former", chips), [one for one, *_ in chips]
    spec = Validate(method="components")
    for one, _, said, _ in chips:
        assert np.array_equal(answered_objects(model, one, spec, said.shape) > 0, said > 0)
    counts = score_samples(model, samples, spec).counts.sum(0)
    assert counts[0] + counts[1] == sum(len(scores) for *_, scores in chips)
    assert counts[0] > 5
    with pytest.raises(BadInput, match="with objects: pixels are compared by class"):
        score_samples(model, samples, Validate(metric="miou"))
