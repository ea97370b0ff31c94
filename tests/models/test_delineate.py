"""Delineate Anything's adapter.  ultralytics (AGPL-3.0) is not installed here: its results are
stood in for by objects of the recorded shape.
"""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import selion.models
from selion.classes import FTW2
from selion.errors import (
    BadInput,
    BandMismatch,
    MissingExtra,
    OutputExists,
    UnreadableFile,
    UnsafeFile,
)
from selion.grid import photo_grid, whole
from selion.models.delineate.segmenter import Delineator, load_delineate, to_instances
from selion.segmenter import View


def result(masks, sure):
    """As ``ultralytics.engine.results.Results``: float masks of 0 and 1 on the window's pixels, and
    the confidences of the boxes.
    """
    return SimpleNamespace(
        masks=SimpleNamespace(data=torch.from_numpy(masks.astype(np.float32))),
        boxes=SimpleNamespace(conf=torch.tensor(sure), cls=torch.zeros(len(sure))),
        orig_shape=masks.shape[1:],
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
    empty = SimpleNamespace(masks=None, boxes=SimpleNamespace(conf=torch.zeros(0)))
    assert not to_instances(empty, (32, 32), FTW2).ids.any()
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
