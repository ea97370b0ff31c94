"""Edits of masks: pixels counted by hand, and a server that was killed."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from selion.classes import CROP
from selion.data.values import read_mask
from selion.errors import BadInput, UnknownName
from selion.labelling.mask_editor import MaskEditor, MaskItem
from selion.labelling.mask_edits import Edit, apply_edit, from_runs, read_edit, to_runs

NOW = "2026-06-01T09:30:12Z"


def edit(name, kind, **more):
    return Edit(name, "a", kind, "Ada", NOW, **more)


def draw(kind, *points, value=1, ids=None, **more):
    ids = np.zeros((8, 10), np.uint8) if ids is None else ids
    return apply_edit(ids, edit("k", kind, points=points, value=value, **more))


def test_a_brush_reaches_the_middles_of_pixels():
    dot = draw("brush", (3.5, 2.5), width=1.0)  # the pixel at x 3, y 2, and the four beside it
    assert sorted(zip(*np.nonzero(dot), strict=True)) == [(1, 3), (2, 2), (2, 3), (2, 4), (3, 3)]
    line = draw("brush", (1.5, 4.5), (7.5, 4.5), width=0.6)
    assert line.sum() == 7
    assert line[4, 1:8].all()
    assert draw("brush", (-5.0, 4.0), width=2).sum() == 0
    assert draw("brush", (0.5, 0.5), width=100).all()
    erased = draw("brush", (3.5, 2.5), width=1.0, value=0, ids=np.ones((8, 10), np.uint8))
    assert erased.sum() == 75


def test_a_polygon_and_a_fill():
    box = draw("polygon", (2, 1), (6, 1), (6, 5), (2, 5))
    assert box[2:4, 3:5].all()
    assert box.sum() == 16
    assert box[1:5, 2:6].all()
    ring = np.ones((8, 10), np.uint8)
    ring[2:5, 3:6] = 0
    ring[7, 9] = 0
    hole = draw("fill", (4.2, 3.9), ids=ring)
    assert hole.sum() == 79  # the hole, and not the corner
    assert (draw("fill", (50.0, 1.0), ids=ring) == ring).all()
    unknown = draw("fill", (4.2, 3.9), ids=ring, value=255)
    assert (unknown == 255).sum() == 9


def test_runs_are_masks():
    mask = np.array([[1, 1, 0], [0, 1, 1]], bool)
    assert to_runs(mask) == (0, 2, 2, 2)
    assert to_runs(~mask) == (2, 2, 2)
    for one in (mask, ~mask, np.zeros((2, 3), bool), np.ones((2, 3), bool)):
        assert (from_runs(to_runs(one), (2, 3)) == one).all()
    with pytest.raises(BadInput):
        from_runs((4, 1), (2, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "paint"},
        {"kind": "brush", "points": [], "width": 3},
        {"kind": "brush", "points": [[1, 2]], "width": 0},
        {"kind": "brush", "points": [[1, float("nan")]], "width": 1},
        {"kind": "brush", "points": [[1, 2, 3]], "width": 1},
        {"kind": "polygon", "points": [[1, 2], [3, 4]]},
        {"kind": "fill", "points": [[1, 2]], "value": 256},
        {"kind": "fill", "points": [[1, 2]], "value": True},
        {"kind": "done", "item": 7},
        {"kind": "brush", "points": "abc", "width": 1},
    ],
)
def test_what_is_no_edit(wrong):
    with pytest.raises((BadInput, UnknownName)):
        read_edit({"id": "k", "item": "a", "person": "Ada", "time": NOW} | wrong)


def item(folder, name="a"):
    image = folder / f"{name}.png"
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(image)
    starts = {
        "empty": partial(np.zeros, (8, 10), np.uint8),
        "colour": partial(np.ones, (8, 10), np.uint8),
    }
    return MaskItem(name, name, image, (8, 10), starts, folder / "masks" / f"{name}.png")


def opened(folder, click=None):
    return MaskEditor([item(folder), item(folder, "b")], folder / "edits.jsonl", CROP, click)


def test_edits_outlive_a_killed_server(tmp_path):
    one = opened(tmp_path)
    one.act(edit("k1", "brush", points=((3.5, 2.5),), width=1.0, value=1))
    one.act(edit("k2", "fill", points=((9.0, 7.0),), value=1))
    assert one.mask("a").all()
    one.act(edit("k3", "undo"))
    assert one.mask("a").sum() == 5
    again = opened(tmp_path)  # nothing was closed
    assert again.mask("a").sum() == 5
    again.act(edit("k4", "redo"))
    again.act(edit("k4", "redo"))  # sent twice, done once
    assert again.mask("a").all()
    again.act(edit("k5", "start", start="colour"))
    again.act(edit("k6", "brush", points=((3.5, 2.5),), width=1.0, value=0))
    assert again.mask("a").sum() == 75
    for k in range(4):
        again.act(edit(f"u{k}", "undo"))
    assert again.mask("a").sum() == 0
    assert again.mask("b").sum() == 0
    again.act(edit("k7", "brush", points=((3.5, 2.5),), width=1.0, value=1))
    assert again.history("a").undone == []
    # a torn line is no edit
    with (tmp_path / "edits.jsonl").open("ab") as log:
        log.write(b'{"id": "torn", "kind"')
    assert opened(tmp_path).mask("a").tolist() == again.mask("a").tolist()
    assert json.loads((tmp_path / "edits.jsonl").read_text("utf-8").splitlines()[0])["id"] == "k1"


def test_a_mask_that_is_done_is_on_the_disk(tmp_path):
    one = opened(tmp_path)
    assert one.counts() == {"total": 2, "done": 0, "skip": 0}
    one.act(edit("k1", "brush", points=((3.5, 2.5),), width=1.0, value=1))
    assert not (tmp_path / "masks").exists()
    one.act(edit("k2", "done"))
    assert read_mask(tmp_path / "masks" / "a.png")[0].sum() == 5
    one.act(edit("k3", "undo"))
    assert read_mask(tmp_path / "masks" / "a.png")[0].sum() == 0
    (tmp_path / "masks" / "a.png").unlink()  # killed between the log and the mask
    assert opened(tmp_path).counts()["done"] == 1
    assert (tmp_path / "masks" / "a.png").is_file()
    one.act(Edit("k4", "b", "skip", "Ada", NOW))
    assert one.counts() == {"total": 2, "done": 1, "skip": 1}


def test_a_click_is_kept_as_what_it_found(tmp_path):
    seen = []

    def click(image, points):
        seen.append((image.name, points.tolist()))
        found = np.zeros((8, 10), bool)
        found[2:4, 2:4] = True
        return found

    one = opened(tmp_path, click)
    one.act(edit("k1", "click", points=((2.5, 2.5),), value=1))
    assert one.mask("a").sum() == 4
    assert seen == [("a.png", [[2.5, 2.5]])]
    assert opened(tmp_path).mask("a").sum() == 4  # without the network
    with pytest.raises(BadInput, match="--sam"):
        opened(tmp_path).act(edit("k2", "click", points=((2.5, 2.5),)))
    with pytest.raises(BadInput, match="outside"):
        one.act(edit("k3", "click", points=((20.0, 2.5),)))


def test_what_cannot_be_edited(tmp_path):
    one = opened(tmp_path)
    for wrong in (
        Edit("k", "c", "done", "Ada", NOW),
        edit("k", "fill", points=((1.0, 1.0),), value=2),
        edit("k", "start", start="model"),
        edit("k", "fill", points=((1.0, 1.0),), runs=(80,)),
    ):
        with pytest.raises((BadInput, UnknownName)):
            one.act(wrong)
    assert (tmp_path / "edits.jsonl").read_bytes() == b""
