"""Masks that are corrected while they are screened: what is kept, what later steps read, kills."""

import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from screening_scenes import write_mask, write_scene
from selion.classes import CROP, ClassScheme
from selion.data.values import read_mask
from selion.errors import UnknownName, UnreadableFile
from selion.labelling import DepthFolder, label_photos, label_scenes, manifest
from selion.labelling.corrections import Corrections
from selion.labelling.decisions import content_hash, read_decisions
from selion.labelling.manifest import original_of
from selion.labelling.mask_edits import Edit
from selion.labelling.masks import read_labels
from selion.labelling.screen import Page, Screening, Word, version
from selion.labelling.selection import keep_pseudo
from selion.reports.screening import summarise, to_html, to_text
from selion.segmenter import InputSpec
from selion.web import server
from selion.web.correcting import correcting_page
from selion.web.screening import screening_page

NOW = "2026-06-01T09:30:12Z"
KEY = "plot0/img_00000"


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path, 3)


def opened(photos, pseudo):
    screening = Screening(photos, pseudo, 0.0)
    return screening, Corrections(screening)


def item_of(screening, key=KEY):
    return next(item for item in screening.listing.items if item.key == key)


def draw(corrections, item, *kinds, person="Ada", prefix="stroke"):
    """Make the pixel at x 3, y 2 and its four neighbours unknown; then what is asked."""
    begun = corrections.begin(item.id)
    for k, kind in enumerate(("brush", *kinds)):
        more = {"points": ((3.5, 2.5),), "width": 1.0, "value": 255} if kind == "brush" else {}
        corrections.editor.act(Edit(f"{prefix}{k}", begun.id, kind, person, NOW, **more))
    return begun


def test_a_corrected_mask_is_what_later_steps_read(scene):
    photos, pseudo = scene
    target = pseudo / "masks" / f"{KEY}.png"
    was, before = target.read_bytes(), read_mask(target)[0]
    screening, corrections = opened(photos, pseudo)
    item = item_of(screening)
    said = Word(item.id, "reject", version(item))
    screening.commit(Page("batch-1", "Ben", "coarse", 1.0, (said,)))
    draw(corrections, item)
    assert target.read_bytes() == was  # not finished yet
    draw(corrections, item, "done", person="Cem", prefix="later")
    wanted = before.copy()
    wanted[2, 2:5] = wanted[[1, 3], 3] = 255
    assert (read_mask(target)[0] == wanted).all()
    assert original_of(pseudo, KEY).read_bytes() == was
    last = read_decisions(pseudo)[KEY]
    assert (last.decision, last.person, last.before) == (
        "keep",
        "Cem",
        content_hash(original_of(pseudo, KEY)),
    )
    strokes = (pseudo / "corrections" / "edits.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["person"] for line in strokes] == ["Ada", "Cem", "Cem"]
    kept = keep_pseudo(pseudo, pseudo / "decisions.jsonl")
    assert [entry.key for entry in kept.entries] == [f"pseudo/{KEY}"]
    labels = kept.entries[0].open().labels
    assert (labels.ids == wanted).all()
    assert kept.drawn == {f"pseudo/{KEY}"}
    assert "1 of them corrected by people" in kept.notes[0]
    # the listing knows it at once, the old word counts no more, and a sheet shows it no more
    assert [w.decision for w in screening.words(item_of(screening))] == ["keep"]
    assert KEY not in [one.key for one in screening.sheet("Ada", 24).items]
    # taken back: undecided, with the mask that was drawn; the original can be begun from
    screening.undo("undo-1", "Cem", ("fine", "settle"))
    assert read_decisions(pseudo) == {}
    again = draw(corrections, item_of(screening), prefix="third")
    corrections.editor.act(Edit("third1", again.id, "start", "Ada", NOW, start="mask"))
    corrections.editor.act(Edit("third2", again.id, "done", "Ada", NOW))
    assert (read_mask(target)[0] == before).all()
    assert read_decisions(pseudo)[KEY].before == ""


@pytest.mark.parametrize("dies", ["original", "mask", "word"])
def test_what_a_kill_leaves_half_done_is_finished(scene, dies, monkeypatch):
    photos, pseudo = scene
    target = pseudo / "masks" / f"{KEY}.png"
    was, before = target.read_bytes(), read_mask(target)[0]
    screening, corrections = opened(photos, pseudo)

    def killed(*_, **__):
        raise KeyboardInterrupt

    place = {
        "original": (Corrections, "source"),
        "mask": ("selion.labelling.corrections.write_mask",),
        "word": (screening.journal, "append"),
    }[dies]
    with monkeypatch.context() as patch:
        patch.setattr(*place, killed)
        if dies == "original":
            patch.setattr(Corrections, "source", lambda self, item, root: target)
            patch.setattr("selion.store.atomic_write", killed)
        with pytest.raises(KeyboardInterrupt):
            draw(corrections, item_of(screening), "done")
    screening, corrections = opened(photos, pseudo)
    assert (read_mask(target)[0] != before).sum() == 5
    assert original_of(pseudo, KEY).read_bytes() == was
    assert read_decisions(pseudo)[KEY].decision == "keep"
    lines = (pseudo / "decisions.jsonl").read_bytes()
    opened(photos, pseudo)
    assert (pseudo / "decisions.jsonl").read_bytes() == lines  # once


def test_a_mask_that_was_replaced_is_another_one(scene):
    photos, pseudo = scene
    target = pseudo / "masks" / f"{KEY}.png"
    screening, corrections = opened(photos, pseudo)
    first = draw(corrections, item_of(screening), "done")
    assert corrections.begin(item_of(screening).id).id == first.id
    write_mask(target, np.zeros((40, 40), np.uint8))
    screening.refresh()
    second = corrections.begin(item_of(screening).id)
    assert second.id != first.id
    assert corrections.editor.mask(second.id).sum() == 0
    with pytest.raises(UnknownName):
        corrections.editor.item("nothing-0")
    (photos / f"{KEY}.jpg").write_bytes(b"no photograph")
    with pytest.raises(UnreadableFile, match="img_00000"):
        corrections.begin(item_of(screening).id)


def test_two_servers_draw_on_one_mask(scene):
    photos, pseudo = scene
    screening, corrections = opened(photos, pseudo)
    _, others = opened(photos, pseudo)
    begun = draw(corrections, item_of(screening))
    others.editor.sync()
    assert (others.editor.mask(begun.id) == 255).sum() == 5
    others.editor.act(Edit("other1", begun.id, "done", "Ben", NOW))
    assert read_decisions(pseudo)[KEY].person == "Ben"


def test_a_flat_folder_of_black_and_white_masks(tmp_path, scene):
    photos, _ = scene
    flat = tmp_path / "flat"
    flat.mkdir()
    white = np.zeros((40, 40), np.uint8)
    white[:8] = 255
    Image.fromarray(white).save(flat / "img_00000.png")
    screening, corrections = opened(photos / "plot0", flat)
    item = item_of(screening, "img_00000")
    draw(corrections, item, "done")
    drawn = read_labels(flat / "img_00000.png", CROP).ids
    assert ((drawn == 1).sum(), (drawn == 255).sum()) == (8 * 40 - 5, 5)
    assert [one.key for one in screening.refresh().items] == ["img_00000"]
    # trained on as it is: nothing but the screening says where the photographs are
    log = flat / "decisions.jsonl"
    for found in (keep_pseudo(flat, log), keep_pseudo(flat, log, photos=photos / "plot0")):
        (entry,) = found.entries
        assert (entry.open().labels.ids == 255).sum() == 5
    (flat / "screening.json").unlink()
    with pytest.raises(UnreadableFile, match="--photos"):
        keep_pseudo(flat, log)
    assert (flat / ".corrections" / "originals" / "img_00000.png").is_file()


def test_the_same_command_keeps_a_corrected_mask(scene):
    """``label depth`` goes on after a break; a mask that is not its own would be made anew."""
    _, pseudo = scene
    own = {"mask": manifest.digest(pseudo / "masks" / f"{KEY}.png")}
    screening, corrections = opened(*scene)
    assert manifest.is_as_made(pseudo, KEY, own)
    draw(corrections, item_of(screening), "done")
    assert manifest.is_as_made(pseudo, KEY, own)
    assert not manifest.is_as_made(pseudo, KEY, {"mask": "another"})
    write_mask(pseudo / "masks" / f"{KEY}.png", np.ones((40, 40), np.uint8))
    assert not manifest.is_as_made(pseudo, KEY, own)


SPEC = InputSpec(("red", "green", "blue"), window=64, multiple=8)


@dataclass(frozen=True)
class Greener:
    """A model that says crop where green is more than red."""

    classes: ClassScheme = CROP
    engine: str = "by hand"
    inputs: InputSpec = SPEC

    def __call__(self, views):
        crop = np.stack([view.pixels[1] > view.pixels[0] for view in views]).astype(np.float32)
        return np.stack([1 - crop, crop], 1)


def by_depth(photos, pseudo):
    label_photos(photos, pseudo, DepthFolder(photos.parent / "depth"))


def by_model(photos, pseudo):
    label_scenes(photos, pseudo, Greener())


@pytest.mark.parametrize("label", [by_depth, by_model])
def test_a_person_s_work_outlives_the_command_that_made_the_mask(label, tmp_path):
    """A square of 30 pixels and a stroke on it stay, whatever becomes of the photograph's date."""
    photos, pseudo, square = tmp_path / "photos", tmp_path / "pseudo", np.zeros((80, 80), bool)
    square[20:50, 20:50] = True
    for folder in (photos, tmp_path / "depth"):
        folder.mkdir()
    for name in ("one", "two"):
        colours = np.where(square[..., None], (30, 160, 40), (150, 110, 80)).astype(np.uint8)
        Image.fromarray(colours).save(photos / f"{name}.png")
        np.save(tmp_path / "depth" / f"{name}.npy", square + np.linspace(0, 0.1, 80, dtype="f4"))
    label(photos, pseudo)
    assert (read_mask(pseudo / "masks" / "one.png")[0] == square).all()
    screening, corrections = opened(photos, pseudo)
    draw(corrections, item_of(screening, "one"), "done")
    wanted = square.astype(np.uint8)
    wanted[2, 2:5] = wanted[[1, 3], 3] = 255

    def stays():
        label(photos, pseudo)
        assert (read_mask(pseudo / "masks" / "one.png")[0] == wanted).all()
        assert read_decisions(pseudo)["one"].decision == "keep"
        assert {path.name for path in (pseudo / "masks").iterdir()} == {"one.png", "two.png"}

    stays()
    for path in photos.iterdir():  # copied without its times
        os.utime(path)
    stays()
    whole = (photos / "one.png").read_bytes()
    (photos / "one.png").write_bytes(b"")  # a share that is not there for a moment
    label(photos, pseudo)
    (photos / "one.png").write_bytes(whole)
    stays()
    Image.fromarray(colours[::-1].copy()).save(photos / "one.png")  # another photograph
    np.save(tmp_path / "depth" / "one.npy", square[::-1] + np.linspace(0, 0.1, 80, dtype="f4"))
    label(photos, pseudo)
    assert (read_mask(pseudo / "masks" / "one.png")[0] == square[::-1]).all()


def test_over_the_wire(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    page, screening = screening_page(*scene, "Ada", corrects=True)
    app = server.make_app([page, correcting_page(screening, "Ada")], server.Address(8000, "m" * 32))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    at = "/" + "m" * 32
    assert client.get(f"{at}/screen/api/state").json()["corrects"] is True
    item = client.get(f"{at}/screen/api/sheet?person=Ada").json()["items"][0]
    state = client.get(f"{at}/masks/api/state?item={item['id']}").json()
    (one,) = state["items"]
    assert (one["name"], one["height"], state["back"]) == (item["key"], 40, "../screen/")
    assert one["starts"] == ["mask", "colour-otsu", "colour", "empty"]
    for kind in ("image", "mask"):
        assert client.get(f"{at}/masks/{kind}/{one['id']}").status_code == 200
    done = client.post(
        f"{at}/masks/api/act",
        json={"id": "stroke1", "item": one["id"], "kind": "done", "person": "Ada"},
        headers={"x-selion": "1"},
    )
    assert done.json()["item"]["status"] == "done"
    counts = client.get(f"{at}/screen/api/state").json()["counts"]
    assert counts["keep"] == 1
    for wrong in ("", "nobody", "../x"):
        assert client.get(f"{at}/masks/api/state?item={wrong}").status_code in (400, 507)
    screening.hashes.__self__.close()


def test_the_report_counts_masks_that_were_corrected_and_by_whom(scene):
    photos, pseudo = scene
    screening, corrections = opened(photos, pseudo)
    others = [one for one in screening.listing.items if one.key != KEY]
    assert len(others) >= 2
    draw(corrections, item_of(screening), "done", person="Cem")
    draw(corrections, others[0], "done", person="Dee", prefix="second")
    draw(corrections, others[1], person="Dee", prefix="third")  # not finished
    screening.refresh()
    item = item_of(screening)
    said = Word(item.id, "keep", version(item))
    screening.commit(Page("batch-1", "Ben", "fine", 1.0, (said,)))  # kept by another: Cem made it
    found = summarise(pseudo)
    assert found.corrected == {"Cem": 1, "Dee": 1}
    assert "2 masks were corrected (Cem 1, Dee 1)" in to_text(found)
    assert "2 masks were corrected (Cem 1, Dee 1)" in to_html(found)
    target = pseudo / "masks" / f"{KEY}.png"
    write_mask(target, 1 - read_mask(original_of(pseudo, KEY))[0] % 2)  # made anew by a command
    assert summarise(pseudo).corrected == {"Dee": 1}
