"""Delineate Anything's adapter.  ultralytics (AGPL-3.0) is not installed here as a rule: its
results are stood in for by objects that hold what release 8.4.190 was seen to answer, and the last
test meets the real ones where the library is there.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import selion.models
from selion import prediction
from selion.classes import FTW2
from selion.errors import (
    BadInput,
    BandMismatch,
    MissingExtra,
    OutputExists,
    UnknownName,
    UnreadableFile,
    UnsafeFile,
)
from selion.grid import photo_grid, whole
from selion.models.delineate.segmenter import (
    DelineateOptions,
    Delineator,
    delineate_options,
    load_delineate,
    to_instances,
)
from selion.raster import Raster
from selion.segmenter import View


def result(masks, sure):
    """As ``ultralytics.engine.results.Results``: masks of uint8, 0 and 1, on the window's pixels,
    and boxes of float32 with their confidences; ``masks`` is None where nothing is found, and then
    ``boxes`` are there and empty.
    """
    masks = torch.from_numpy(masks.astype(np.uint8))
    return SimpleNamespace(
        masks=SimpleNamespace(data=masks, orig_shape=masks.shape[1:]) if len(masks) else None,
        boxes=SimpleNamespace(
            conf=torch.tensor(sure, dtype=torch.float32), cls=torch.zeros(len(sure))
        ),
        orig_shape=tuple(masks.shape[1:]),
        names={0: "field"},
    )


class Detector:
    def __init__(self, answer):
        self.answer, self.seen, self.given = answer, [], {}

    def predict(self, source, **given):
        self.seen.append(source)
        self.given = given
        return [self.answer]


def fields():
    masks = np.zeros((3, 32, 32), bool)
    masks[0, 2:12, 2:12] = True
    masks[1, 8:20, 8:20] = True
    masks[2, 3:5, 3:5] = True
    return masks


def test_the_surer_field_has_the_pixel():
    found = to_instances(result(fields(), [0.6, 0.9, 0.3]), (32, 32), FTW2)
    assert (found.ids[8:12, 8:12] == 2).all()
    assert (found.ids[2:8, 2:8] == 1).all()  # the third, the least sure, lies under the first
    assert found.table["id"].tolist() == [1, 2]
    assert found.table["score"].tolist() == pytest.approx([0.6, 0.9])
    assert set(found.table["class"]) == {"field"}


def test_nothing_found_and_masks_of_another_size():
    empty = result(np.zeros((0, 32, 32), bool), [])
    assert not to_instances(empty, (32, 32), FTW2).ids.any()
    other = result(fields(), [0.6, 0.9, 0.3])
    other.masks.data = other.masks.data.float()  # as earlier releases may answer
    assert np.array_equal(
        to_instances(other, (32, 32), FTW2).ids,
        to_instances(result(fields(), [0.6, 0.9, 0.3]), (32, 32), FTW2).ids,
    )
    with pytest.raises(BadInput, match=r"masks of shape \(3, 32, 32\).*window of \(64, 64\)"):
        to_instances(result(fields(), [0.6, 0.9, 0.3]), (64, 64), FTW2)


def test_it_is_fed_with_bytes_blue_first():
    detector = Detector(result(fields(), [0.6, 0.9, 0.3]))
    model = Delineator(selion.models.find_card("DelineateAnything"), detector)
    assert model.gives == "objects"
    pixels = np.stack([np.full((32, 32), value, np.float32) for value in (10, 20, 300)])
    found = model([View(pixels, whole(photo_grid((32, 32))))])
    assert found[0].ids.max() == 2
    assert detector.seen[0].shape == (32, 32, 3)
    assert detector.seen[0].dtype == np.uint8
    assert detector.seen[0][0, 0].tolist() == [255, 20, 10]
    assert detector.given["imgsz"] == 512
    assert detector.given["conf"] == 0.175
    assert detector.given["retina_masks"] is True
    with pytest.raises(BandMismatch, match="wants 3 bands"):
        model([View(pixels[:2], whole(photo_grid((32, 32))))])


def test_a_card_says_what_is_asked():
    card = selion.models.find_card("DelineateAnything")
    assert delineate_options(card.architecture) == DelineateOptions()
    said = {"size": 640, "confidence": 0.05, "overlap": 0.3, "at_most": 100}
    detector = Detector(result(fields(), [0.6, 0.9, 0.3]))
    model = Delineator(replace(card, architecture=said), detector)
    model([View(np.zeros((3, 32, 32), np.float32), whole(photo_grid((32, 32))))])
    asked = {"imgsz": 640, "conf": 0.05, "iou": 0.3, "max_det": 100}
    assert asked.items() <= detector.given.items()
    with pytest.raises(UnknownName, match="did you mean 'confidence'"):
        delineate_options({"confidense": 0.1})
    with pytest.raises(BadInput, match="shares from 0 to 1"):
        delineate_options({"confidence": 5})
    with pytest.raises(BadInput, match="confidence = 'much' was given"):
        delineate_options({"confidence": "much"})


@pytest.mark.parametrize("block", [64, 2048])
def test_a_map_is_stretched_as_a_whole(tmp_path, block):
    """A window that is dark in the whole stays dark, however it is cut, and a map of blocks is the
    same.
    """
    values = np.random.default_rng(1).integers(200, 4000, (3, 300, 420)).astype(np.uint16)
    values[:, :64, :64] //= 20
    image = Raster(values, photo_grid((300, 420)), ("red", "green", "blue"))
    masks = np.zeros((1, 256, 256), bool)
    masks[0, 100:140, 90:150] = True
    detector = Detector(result(masks, [0.7]))
    model = Delineator(selion.models.find_card("DelineateAnything"), detector)
    plan = prediction.plan(image, model, prediction.PredictOptions(block=block))
    found = prediction.predict_objects(
        image,
        model,
        plan,
        tmp_path / "o",
        journal=prediction.BlockJournal(tmp_path / "s", plan.key),
    )
    assert len(detector.seen) == 4
    low, high = np.percentile(values, [1, 99], axis=(1, 2))
    bytes_of = (values - low[:, None, None]) / (high - low)[:, None, None] * 255
    expected = np.rint(bytes_of.clip(0, 255))[:, :256, :256]
    shown = detector.seen[0].transpose(2, 0, 1)[::-1].astype(float)
    assert np.abs(shown - expected).max() <= 1
    assert shown[:, :64, :64].max() < 10
    assert len(found.table) >= 1


def test_a_pickle_is_refused_and_a_graph_imported(tmp_path, monkeypatch):
    card = selion.models.find_card("DelineateAnything-S")
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(UnsafeFile, match="would have to be executed to be read: turn it into ONNX"):
        selion.models.import_checkpoint(tmp_path / "a.pt", tmp_path / "model", card)
    with pytest.raises(UnreadableFile, match="There is no file"):
        selion.models.import_checkpoint(tmp_path / "a.onnx", tmp_path / "model", card)
    (tmp_path / "a.onnx").write_bytes(b"graph")
    made = selion.models.import_checkpoint(tmp_path / "a.onnx", tmp_path / "model", card)
    assert made.licence == "AGPL-3.0"
    with pytest.raises(OutputExists):
        selion.models.import_checkpoint(tmp_path / "a.onnx", tmp_path / "model", card)
    monkeypatch.setattr("selion.models.delineate.segmenter.available", lambda _: False)
    with pytest.raises(
        MissingExtra,
        match=(
            r"ultralytics, which is under AGPL-3.0 and not installed: .* pip install "
            r"'selion\[delineate\]'"
        ),
    ):
        selion.models.load_model(tmp_path / "model", "torch")

    detector = Detector(result(fields(), [0.6, 0.9, 0.3]))
    asked = []
    fake = SimpleNamespace(YOLO=lambda path, task: asked.append((path, task)) or detector)
    monkeypatch.setattr("selion.models.delineate.segmenter.available", lambda _: True)
    monkeypatch.setitem(sys.modules, "ultralytics", fake)
    model = selion.models.load_model(tmp_path / "model", "torch")
    assert asked == [(str(tmp_path / "model" / "model.onnx"), "segment")]
    assert "AGPL-3.0" in model.engine
    (tmp_path / "model" / "model.onnx").unlink()
    with pytest.raises(UnreadableFile, match=r"has no model\.onnx"):
        load_delineate(made, tmp_path / "model", "cpu")


def test_nothing_imports_it_by_default():
    code = (
        "import sys, selion.models.loading, selion.models.registry; "
        "import selion.models.delineate.segmenter, selion.cli.models; "
        "selion.models.registry.list_models(); print('ultralytics' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "False"
    )


@pytest.mark.filterwarnings("default")
def test_the_real_library_with_random_weights(tmp_path, monkeypatch):
    """From a network of its own, exported, to fields: runs where ultralytics is installed."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.chdir(tmp_path)
    ultralytics = pytest.importorskip("ultralytics", reason="AGPL-3.0: an extra of its own")
    from ultralytics.engine.results import Results
    from ultralytics.nn.tasks import SegmentationModel

    torch.manual_seed(0)
    yolo = ultralytics.YOLO("yolo11n-seg.yaml", task="segment")
    yolo.model = SegmentationModel("yolo11n-seg.yaml", nc=1, verbose=False)
    yolo.model.names, yolo.model.task = {0: "field"}, "segment"
    yolo.model.args = {"imgsz": 512, "task": "segment", "data": ""}
    with (
        torch.no_grad()
    ):  # random ones find nothing: confidences from .01 to .99, boxes of all sizes
        for confidence, box in zip(yolo.model.model[-1].cv3, yolo.model.model[-1].cv2, strict=True):
            confidence[-1].weight.normal_(0, 3)
            confidence[-1].bias.fill_(-1)
            box[-1].weight.normal_(0, 0.2)
    graph = yolo.export(format="onnx", imgsz=512, simplify=False, opset=17)
    card = selion.models.find_card("DelineateAnything-S")
    selion.models.import_checkpoint(graph, tmp_path / "model", card)
    model = selion.models.load_model(tmp_path / "model", "torch")
    answers = []
    predict = model._detector.predict
    monkeypatch.setattr(
        model._detector, "predict", lambda *a, **k: answers.append(predict(*a, **k)) or answers[-1]
    )
    values = np.random.default_rng(0).integers(100, 4000, (3, 300, 420)).astype(np.uint16)
    image = Raster(values, photo_grid((300, 420)), ("red", "green", "blue"))
    plan = prediction.plan(image, model)
    found = prediction.predict_objects(
        image,
        model,
        plan,
        tmp_path / "o",
        journal=prediction.BlockJournal(tmp_path / "s", plan.key),
    ).read(whole(image.grid))
    assert len(found.table) > 1
    assert found.table["score"].between(0.175, 1).all()
    stand_in = result(fields(), [0.6, 0.9, 0.3])
    for answer in answers:
        real = answer[0]
        assert isinstance(real, Results)
        assert real.orig_shape == (256, 256)
        assert real.boxes.conf.dtype == stand_in.boxes.conf.dtype
        if real.masks is not None:
            assert real.masks.data.dtype == stand_in.masks.data.dtype
            assert real.masks.data.shape == (len(real.boxes), 256, 256)
    none = ultralytics.YOLO(graph, task="segment").predict(
        np.zeros((256, 256, 3), np.uint8), conf=1.0, verbose=False, retina_masks=True, device="cpu"
    )[0]
    assert none.masks is None
    assert len(none.boxes.conf) == 0
