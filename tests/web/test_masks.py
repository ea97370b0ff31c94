"""The page on which masks are drawn: what it answers, and a person in a real browser."""

import gzip
import json
import re
from functools import partial
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from selion import web
from selion.classes import CROP_WEED
from selion.data.values import read_mask
from selion.labelling.mask_editor import MaskEditor, MaskItem
from selion.web import server
from selion.web.masks import MaskSession, masks_page

TOKEN = "m" * 32
SHAPE = (40, 60)


def opened(folder, click=None, names=("a", "b")):
    image = folder / "photo.png"
    Image.fromarray(np.full((*SHAPE, 3), 90, np.uint8)).save(image)
    starts = {
        "empty": partial(np.zeros, SHAPE, np.uint8),
        "colour": partial(np.ones, SHAPE, np.uint8),
    }
    items = [
        MaskItem(name, f"plot {name}", image, SHAPE, starts, folder / "masks" / f"{name}.png")
        for name in names
    ]
    return MaskEditor(items, folder / "edits.jsonl", CROP_WEED, click)


class Asked:
    """The page, asked without a socket as its own tab does."""

    def __init__(self, folder, **more):
        self.session = MaskSession(opened(folder), "here", "Ada", **more)
        address = server.Address(8000, TOKEN)
        app = server.make_app([masks_page(self.session)], address)
        self.client = TestClient(app, base_url="http://127.0.0.1:8000")

    def get(self, path):
        return self.client.get(f"/{TOKEN}/masks/{path}")

    def post(self, path, **body):
        return self.client.post(f"/{TOKEN}/masks/{path}", json=body, headers={"x-selion": "1"})

    def act(self, kind, name="stroke1", item="a", **more):
        return self.post("api/act", id=name, item=item, kind=kind, person="Ada", **more)

    def ids(self, item="a"):
        return np.frombuffer(self.get(f"mask/{item}").content, np.uint8).reshape(SHAPE)


def test_what_is_drawn_is_what_is_shown(tmp_path):
    page = Asked(tmp_path)
    state = page.get("api/state").json()
    assert [one["name"] for one in state["classes"]] == ["soil", "crop", "weed"]
    assert [one["status"] for one in state["items"]] == ["", ""]
    assert state["click"] is False
    assert page.get("image/a").headers["content-type"] == "image/png"
    done = page.act("brush", points=[[10.5, 5.5]], width=1, value=2)
    assert done.status_code == 200
    assert done.json()["item"]["undo"] == 1
    assert (page.ids() == 2).sum() == 5
    assert page.ids("b").sum() == 0
    page.act("done", "stroke2")
    assert read_mask(tmp_path / "masks" / "a.png")[0].sum() == 10
    assert page.get("api/state").json()["counts"] == {"total": 2, "done": 1, "skip": 0}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "brush", "points": [[1, 1]], "width": 1, "value": 3}, "class 3"),
        ({"kind": "click", "points": [[1, 1]], "value": 1}, "--sam"),
        ({"kind": "brush", "item": "../a"}, "no mask|points"),
        ({"kind": "done", "person": " "}, "name"),
        ({"kind": "done", "id": "a b"}, "named by"),
        ({"kind": "brush", "points": [[0, 0]] * 4001, "width": 1}, "4,001 points"),
    ],
)
def test_what_is_refused_is_not_kept(tmp_path, body, said):
    page = Asked(tmp_path)
    asked = {"id": "stroke1", "item": "a", "person": "Ada"} | body
    answer = page.post("api/act", **asked)
    assert answer.status_code == 400
    assert any(word in answer.json()["error"] for word in said.split("|"))
    assert (tmp_path / "edits.jsonl").read_bytes() == b""


def test_runs_of_a_page_are_not_believed(tmp_path):
    page = Asked(tmp_path)
    page.act("brush", points=[[10.5, 5.5]], width=1, value=1, runs=[0, SHAPE[0] * SHAPE[1]])
    assert page.ids().sum() == 5
    assert "runs" not in json.loads((tmp_path / "edits.jsonl").read_text("utf-8"))


def test_the_page_ends_when_the_person_says_so(tmp_path):
    page = Asked(tmp_path, ending="Train")
    assert "No mask is done" in page.post("api/finish").json()["error"]
    page.act("done")
    assert page.post("api/finish").json() == {"finished": True}
    assert page.session.finished.is_set()
    (tmp_path / "other").mkdir()
    assert "Ctrl-C" in Asked(tmp_path / "other").post("api/finish").json()["error"]
    for path in ("image/c", "mask/..%2f..%2fetc%2fpasswd", "mask/c"):
        assert page.get(path).status_code == 404


def test_a_mask_is_sent_as_it_is(tmp_path):
    page = Asked(tmp_path)
    page.act("brush", points=[[10.5, 5.5]], width=1, value=255)
    answer = page.get("mask/a")
    assert answer.headers["x-version"] == "stroke1"
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(gzip.compress(answer.content)) == page.ids().tobytes()
    assert set(np.unique(page.ids())) == {0, 255}


def patched(page, ids, since):
    """Do what the page does with an answer; return the mask, its version and the bytes sent."""
    answer = page.get(f"mask/a?since={since}")
    sent = int(answer.headers["content-length"])
    new = answer.headers["x-version"]
    if "x-box" not in answer.headers:
        return np.frombuffer(answer.content, np.uint8).reshape(SHAPE), new, sent
    top, left, bottom, right = map(int, answer.headers["x-box"].split(","))
    changed = ids.copy()
    part = np.frombuffer(answer.content, np.uint8).reshape(bottom - top, right - left)
    changed[top:bottom, left:right] = part
    return changed, new, sent


def test_what_changed_alone_is_sent_and_makes_the_same_mask(tmp_path):
    page = Asked(tmp_path)
    acts = [
        ("brush", {"points": [[10.5, 5.5]], "width": 1, "value": 2}),
        ("polygon", {"points": [[3, 3], [20, 3], [3, 20]], "value": 1}),
        ("start", {"start": "colour"}),
        ("fill", {"points": [[0.5, 0.5]], "value": 255}),
        ("undo", {}), ("undo", {}), ("undo", {}), ("redo", {}), ("done", {}),
    ]  # fmt: skip
    ids, shown = page.ids().copy(), page.get("mask/a").headers["x-version"]
    for k, (kind, more) in enumerate(acts):
        page.act(kind, f"stroke{k}", **more)
        ids, shown, sent = patched(page, ids, shown)
        assert (ids == page.ids()).all(), kind
        assert sent < 100, kind
    assert page.get(f"mask/a?since={shown}").headers["x-box"] == "0,0,0,0"  # nothing changed
    assert page.get(f"mask/a?since={shown}").content == b""
    assert "x-box" not in page.get("mask/a?since=never").headers  # not known: the whole
    assert len(page.get("mask/a?since=never").content) == SHAPE[0] * SHAPE[1]


def test_strokes_that_another_drew_meanwhile_are_in_what_is_sent(tmp_path):
    page = Asked(tmp_path)
    page.act("brush", "mine01", points=[[10.5, 5.5]], width=1, value=2)
    ids = page.ids().copy()
    other = Asked(tmp_path)
    other.act("brush", "theirs", points=[[50.5, 30.5]], width=2, value=1)
    assert (patched(page, ids, "mine01")[0] == other.ids()).all()


def test_a_server_stops_when_an_event_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    done = Event()
    taken, address, _ = server.listen(tmp_path)
    app = server.make_app([masks_page(MaskSession(opened(tmp_path), "here"))], address)
    running = Thread(target=server.serve_until, args=(app, taken, done), daemon=True)
    running.start()
    done.set()
    running.join(20)
    assert not running.is_alive()
    taken.close()


def test_on_a_phone_no_button_lies_on_another():
    # the screening page pins buttons to its bottom; those of the same name here stay in their bars
    pages = Path(web.__file__).parent / "static"
    shared = (pages / "screen.css").read_text("utf-8").partition("(max-width:640px)")[2]
    own = (pages / "masks" / "masks.css").read_text("utf-8").partition("(max-width:640px)")[2]
    html = (pages / "masks" / "masks.html").read_text("utf-8")
    pinned = {
        name
        for names in re.findall(r"([#\w,]+){[^}]*position:absolute", shared)
        for name in re.findall(r"#(\w+)", names)
        if f'id="{name}"' in html
    }
    assert pinned == {"next", "undo"}
    assert "#next,#undo{position:static" in own
