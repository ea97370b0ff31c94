"""What the page asks for and sends, its pictures, hostile files, and the report."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from screening_scenes import Process, serving, write_mask, write_scene
from selion.errors import BadInput, MissingExtra
from selion.labelling.decisions import LOG, read_decisions
from selion.labelling.queue import Item
from selion.reports import screening
from selion.web import pictures
from selion.web.gallery import Gallery
from selion.web.screening import STATIC, screening_page
from selion.web.server import STATIC as FOLDER
from selion.web.server import TYPES
from selion.web.standing import STATIC as WATCH
from selion.web.view.page import STATIC as VIEW


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path, 30)


def opened(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def test_screening_over_the_wire(scene):
    with serving(*scene, person="Ada", repeats=0) as served:
        state = served.ask("api/state?fresh=1").table
        assert (state["title"], state["person"], state["counts"]["total"], state["rated"]) == (
            "pseudo",
            "Ada",
            30,
            30,
        )
        sheet = served.sheet()
        assert len(sheet["items"]) == 24
        assert opened(served.ask(f"image/{sheet['items'][0]['id']}/overlay").body).size == (40, 40)
        done = served.commit("batch-1", sheet["items"], {sheet["items"][0]["id"]: "keep"})
        assert (done.status, done.table["written"], done.table["stale"]) == (200, 24, [])
        assert done.table["counts"]["keep"] == 1
        assert served.commit("batch-1", sheet["items"]).table["known"] == 24
        back = served.ask("api/undo", {"id": "undo-12", "person": "Ada", "pass": "coarse"}).table[
            "items"
        ]
        assert [item["id"] for item in back] == [item["id"] for item in sheet["items"]]
        assert [item["decision"] for item in back] == ["keep"] + ["reject"] * 23
        assert (
            served.ask("api/undo", {"id": "undo-12", "person": "Ada", "pass": "coarse"}).table[
                "items"
            ]
            == back
        )
        assert read_decisions(scene[1]) == {}
        served.commit("batch-2", sheet["items"], {sheet["items"][2]["id"]: "full"})
        fine = served.ask("api/fine?person=Ada&scope=kept").table["items"]
        assert [item["id"] for item in fine] == [sheet["items"][2]["id"]]
        assert fine[0]["words"] == [{"person": "Ada", "decision": "full", "pass": "coarse"}]
        assert served.ask("api/sheet?person=Ada&order=sideways").status == 400
        assert served.ask("api/sheet").status == 400
        assert served.ask("api/fine?person=Ada&scope=most").status == 400


def test_pictures_over_the_wire(scene):
    with serving(*scene) as served:
        item = served.sheet()["items"][0]
        for kind, mode in (
            ("overlay", "RGB"),
            ("photo", "RGB"),
            ("large", "RGB"),
            ("shade", "RGBA"),
            ("outline", "RGBA"),
        ):
            answer = served.ask(f"image/{item['id']}/{kind}?v={item['version']}&edge=800")
            assert (answer.status, opened(answer.body).mode) == (200, mode)
            assert "immutable" in answer.headers["cache-control"]
            assert (
                served.ask(f"image/{item['id']}/{kind}?v=old").headers["cache-control"]
                == "no-store"
            )
        assert served.ask(f"image/{item['id']}/secret").status == 404
        for edge in ("-1", "99999999", "x", "%00", "1e9"):
            assert served.ask(f"image/{item['id']}/large?edge={edge}").status == 200
        gone = served.ask("image/0123/overlay")
        assert (gone.status, gone.headers["cache-control"], opened(gone.body).format) == (
            200,
            "no-store",
            "JPEG",
        )


def test_static_files_are_a_fixed_list_and_come_from_here(scene):
    assert sorted([*STATIC, *VIEW, *WATCH]) == sorted(
        path.name for path in FOLDER.iterdir() if path.suffix in TYPES
    )
    for name in STATIC:
        assert not re.search(
            r"https?:|@import|//cdn|innerHTML|eval\(|\son\w+=\"", (FOLDER / name).read_text()
        ), name
    with serving(*scene) as served:
        assert served.ask("").headers["content-type"] == "text/html; charset=utf-8"
        for name in STATIC[1:]:
            assert served.ask(name).body == (FOLDER / name).read_bytes()


def test_a_mask_that_changes_while_people_look(scene):
    photos, pseudo = scene
    with serving(photos, pseudo, repeats=0) as served:
        items = served.sheet()["items"]
        write_mask(pseudo / "masks" / f"{items[0]['key']}.png", np.ones((40, 40), np.uint8))
        (pseudo / "masks" / f"{items[1]['key']}.png").unlink()
        (photos / f"{items[2]['key']}.jpg").unlink()
        for item in items[:3]:
            assert served.ask(f"image/{item['id']}/overlay?v={item['version']}").status == 200
        done = served.commit("batch-1", items).table
        assert done["written"] == 21
        assert sorted(done["stale"]) == sorted(item["id"] for item in items[:3])
        served.screening.refresh()
        assert served.ask("api/state?fresh=1").table["counts"]["total"] == 28


def test_many_ask_at_once(scene):
    with serving(*scene, repeats=0) as served, ThreadPoolExecutor(8) as pool:
        items = served.sheet()["items"]
        answers = list(
            pool.map(lambda k: served.ask(f"image/{items[k % 24]['id']}/overlay").status, range(96))
        )
        assert answers == [200] * 96
        done = list(
            pool.map(
                lambda k: served.commit(
                    "batch-1" if k % 2 else "batch-2", items, person=f"P{k % 2}"
                ).table["written"],
                range(8),
            )
        )
        assert sorted(done) == [0] * 6 + [24, 24]


def test_a_disk_that_takes_nothing(scene, monkeypatch):
    with serving(*scene, repeats=0) as served:
        items = served.sheet()["items"]

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            answer = served.commit("batch-1", items)
            assert (answer.status, answer.table["error"].count("No space left on device")) == (
                507,
                1,
            )
        assert (scene[1] / LOG).read_bytes() == b""
        assert served.commit("batch-1", items).table["written"] == 24


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth=8, colour=0, data=b"\x00" * 10, extra=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def hostile():
    """Return the bytes of files that are no pictures; 80 MB are packed for one of them."""
    return {
        "empty": b"",
        "text": b"not a picture",
        "a script": b"<svg onload=alert(1)>",
        "cut": png(40, 40, data=b"\x00" * 41 * 40)[:60],
        "100,000 x 100,000": png(100_000, 100_000),
        "4,000,000,000 wide": png(4_000_000_000, 1),
        "no pixels": png(0, 0),
        "a bomb in a text": png(
            40,
            40,
            data=b"\x00" * 41 * 40,
            extra=chunk(b"zTXt", b"a\x00\x00" + zlib.compress(b"\x00" * 80_000_000)),
        ),
        "colour type that does not exist": png(4, 4, colour=9),
        "depth that does not exist": png(4, 4, depth=3),
        "too few rows": png(40, 40, data=b"\x00" * 7),
        "a false checksum": png(40, 40, data=b"\x00" * 41 * 40).replace(b"IDAT", b"IDAX"),
    }


def test_hostile_files_do_not_stop_it(tmp_path):
    photos, pseudo = write_scene(tmp_path, 2)
    files = hostile()
    for k, data in enumerate(files.values()):
        (photos / f"bad{k}.png").write_bytes(data)
        write_mask(pseudo / "masks" / f"bad{k}.png", np.zeros((4, 4), np.uint8))
        Image.new("RGB", (9, 9)).save(photos / f"mask{k}.png")
        (pseudo / "masks" / f"mask{k}.png").write_bytes(data)
    with serving(photos, pseudo, repeats=0) as served:
        items = served.sheet(size=60)["items"]
        assert len(items) == 2 + 2 * len(files)
        for item in items:
            for kind in ("overlay", "photo", "large", "shade", "outline"):
                answer = served.ask(f"image/{item['id']}/{kind}")
                assert answer.status == 200, (item["key"], kind)
                assert opened(answer.body).size[0] <= 640
        assert served.commit("batch-1", items).table["written"] == len(items)


@pytest.mark.parametrize("count", [300])
def test_fuzzed_pngs_become_some_picture(tmp_path, count):
    random = np.random.default_rng(5)
    write_mask(tmp_path / "sound.png", (random.random((16, 16)) < 0.5).astype(np.uint8))
    sound = (tmp_path / "sound.png").read_bytes()
    Image.new("RGB", (20, 20), (9, 99, 9)).save(tmp_path / "photo.jpg")
    for _ in range(count):
        data = bytearray(sound)
        for place in random.integers(8, len(data), random.integers(1, 5)):
            data[place] = random.integers(256)
        (tmp_path / "mask.png").write_bytes(bytes(data[: random.integers(20, len(data) + 1)]))
        made = pictures.make_small(tmp_path / "photo.jpg", tmp_path / "mask.png", "v")
        assert opened(made.overlay).mode == "RGB"


# Pictures


def test_every_kind_of_photograph(tmp_path):
    random = np.random.default_rng(0)
    deep = (random.random((30, 50)) * 60000).astype(np.uint16)
    plain = {
        "rgb.jpg": "RGB",
        "gray.png": "L",
        "alpha.png": "RGBA",
        "palette.png": "P",
        "cmyk.jpg": "CMYK",
        "bits.png": "1",
        "la.png": "LA",
        "web.webp": "RGB",
    }
    photographs = {name: Image.new(mode, (50, 30)) for name, mode in plain.items()}
    photographs |= {
        "deep.png": Image.fromarray(deep),
        "deep.tif": Image.fromarray(deep),
        "float.tif": Image.fromarray(deep.astype(np.float32)),
    }
    for name, image in photographs.items():
        image.save(tmp_path / name)
        found = pictures.read_photo(tmp_path / name, 25)
        assert (found.shape, found.dtype) == ((15, 25, 3), np.uint8), name
    turned = Image.new("RGB", (50, 30))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert pictures.read_photo(tmp_path / "turned.jpg", 25).shape == (25, 15, 3)


def test_what_the_overlay_says(tmp_path):
    Image.new("RGB", (60, 30), (100, 160, 90)).save(tmp_path / "p.png")
    ids = np.zeros((30, 60), np.uint8)
    ids[:, 20:40], ids[:, 50:] = 1, 255
    write_mask(tmp_path / "m.png", ids)
    bare = pictures.read_photo(tmp_path / "p.png", 60)
    drawn, odd = pictures.draw_overlay(bare, tmp_path / "m.png")
    assert odd == ""
    assert (drawn[15, 30] == (100, 160, 90)).all()  # crop as it is
    assert drawn[15, 5].mean() < 75  # soil is dark
    assert drawn[15, 55, 2] > 150 > drawn[15, 55, 0]  # not known is blue
    assert drawn[15, 20, 0] > 200 < drawn[15, 20, 1]  # the edge is yellow
    write_mask(tmp_path / "m.png", np.ones((60, 30), np.uint8))
    assert "30 x 60" in pictures.draw_overlay(bare, tmp_path / "m.png")[1]
    write_mask(tmp_path / "m.png", np.ones((15, 30), np.uint8))  # half the size is no other shape
    drawn, odd = pictures.draw_overlay(bare, tmp_path / "m.png")
    assert odd == ""
    assert (drawn == bare).all()


def test_what_values_mean():
    ids = np.array([[0, 1, 2, 255]], np.uint8)
    crop, unknown = pictures.part_classes(ids, True)
    assert (crop.tolist(), unknown.tolist()) == (
        [[False, True, False, False]],
        [[False, False, True, True]],
    )
    black_and_white = np.array([[0, 255]], np.uint8)
    assert pictures.part_classes(black_and_white, False)[0].tolist() == [[False, True]]
    assert pictures.part_classes(black_and_white, True)[0].tolist() == [[False, False]]
    assert pictures.part_classes(np.array([[True, False]]), False)[0].tolist() == [[True, False]]


def test_kept_pictures_follow_their_files(tmp_path):
    photos, pseudo = write_scene(tmp_path, 1)
    photo, mask = photos / "plot0/img_00000.jpg", pseudo / "masks/plot0/img_00000.png"

    def item():
        found = mask.stat()
        return Item(
            "abcd",
            "plot0/img_00000",
            str(photo),
            str(mask),
            stat=(found.st_size, found.st_mtime_ns),
        )

    gallery = Gallery(pseudo / ".screen", 1)
    first = gallery.small(item())
    kept = pseudo / ".screen" / "ab" / "abcd.bin"
    assert pictures.SmallPicture.from_bytes(kept.read_bytes()) == first
    again = Gallery(pseudo / ".screen", 1)
    assert again.small(item()) == first
    assert again.hashes(item()) == (first.image, first.mask)
    write_mask(mask, np.ones((40, 40), np.uint8))
    assert again.small(item()).mask != first.mask
    for broken in (b"", b"abc", kept.read_bytes()[:40], b"\xff" * 50):
        kept.write_bytes(broken)
        assert Gallery(pseudo / ".screen", 1).small(item()).mask == again.small(item()).mask
    for each in (gallery, again):
        each.close()


# The report


def test_report(tmp_path, scene):
    pseudo = scene[1]
    with pytest.raises(BadInput, match=f"no {LOG}"):
        screening.write_report(tmp_path)
    with serving(*scene, repeats=0) as served:
        items = served.sheet(size=30)["items"]
        served.commit("batch-1", items, {item["id"]: "keep" for item in items[:6]}, seconds=6.0)
        served.commit(
            "batch-2",
            items,
            {item["id"]: "keep" for item in items[3:9]},
            person="<b>Ben</b>",
            seconds=10.0,
        )
    found, place = screening.write_report(pseudo)
    text, html = screening.to_text(found), place.read_text()
    assert "30 masks decided (6 keep, 24 reject" in text
    assert "21,700" in text
    assert re.search(r"Ada +coarse +30 +6 +0.00 +18,000 +3,600", text)
    assert "Cohen's kappa" in text
    assert len(found.conflicts) == 6
    assert "<b>Ben</b>" not in html
    assert "&lt;b&gt;Ben&lt;/b&gt;" in html
    assert [kept for *_, kept in found.fifths] == [0, 0, 0, 3, 3]
    assert "://" not in html


def test_command_line(tmp_path, scene):
    from click.testing import CliRunner

    from selion.cli.screen import report_command, screen_command

    served = Process(*scene)
    try:
        assert any("30 masks, 0 decided" in line for line in served.said)
        second = Process(*scene)
        assert any("Another screening of this folder runs at" in line for line in second.said)
        assert second.url != served.url
        second.kill()
    finally:
        served.kill()
    (scene[1] / LOG).write_text("")
    done = CliRunner().invoke(report_command, [str(scene[1])])
    assert done.exit_code == 0
    assert "screening.html" in done.output
    with pytest.raises(BadInput, match="name must have 1 to 64 printable characters"):
        CliRunner().invoke(
            screen_command, [*map(str, scene), "--person", "\t"], catch_exceptions=False
        )


def test_a_page_on_which_nothing_is_clicked_wants_no_network(scene):
    """torch took two of the three seconds until the page was there."""
    code = (
        "import sys; from selion.cli import screen; screen.serve = lambda *_, **__: None; "
        "screen.screen_command.main(sys.argv[1:], standalone_mode=False); "
        "print([name for name in ('torch', 'openvino') if name in sys.modules])"
    )
    words = [sys.executable, "-c", code, *map(str, scene), "--no-browser"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_the_extra(scene, monkeypatch):
    monkeypatch.setattr("selion.extras.available", lambda _: False)
    with pytest.raises(MissingExtra, match=r"selion\[web\]"):
        screening_page(*scene)
    assert "selion.reports.screening" in sys.modules  # which needs none of it
