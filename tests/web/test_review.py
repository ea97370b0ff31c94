"""The page of a review over the wire: what it hands out and takes, who may write, and hostile
requests.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import threading
import time
import urllib.parse

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from review_scenes import Hand, ReviewProcess, open_log, serving, write_map
from selion import review, store
from selion.errors import BadInput, GridMismatch
from selion.grid import whole
from selion.web.review import STATIC, open_session
from selion.web.review_frame import stretched
from selion.web.server import STATIC as FOLDER


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def folder(toy, tmp_path):
    return shutil.copytree(toy, tmp_path / "map")


def lines(folder):
    return review.find_map(folder).log.read_bytes().count(b"\n")


def test_the_most_doubtful_first_and_words_over_the_wire(folder):
    with serving(folder, person="Ada") as served:
        state = served.ask("api/state").table
        assert (state["title"], state["person"], state["counts"]["total"]) == ("map", "Ada", 20)
        assert [layer["title"] for layer in state["layers"]] == [
            "Colour, date 1",
            "Colour, date 2",
            "Infrared",
            "Probabilities",
        ]
        items = served.items()
        doubts = [item["doubt"] for item in items]
        assert doubts == sorted(doubts, reverse=True)
        assert "the model is not sure of it" in items[0]["reasons"][0]
        assert items[0]["confidence"] < 0.6
        done = served.act("accept", items[0]).table
        assert (done["done"], done["counts"]["accepted"]) == (True, 1)
        assert done["fields"] == [
            {
                "id": items[0]["id"],
                "version": 1,
                "status": "accepted",
                "person": "Ada",
                "time": done["fields"][0]["time"],
            }
        ]
        assert served.act("accept", items[0]).table["done"]  # the answer was lost: sent again
        assert lines(folder) == 2
        late = served.act("reject", items[0], "action-2", "Ben").table
        assert not late["done"]
        assert late["why"] == "Ada changed this field meanwhile: load it again."
        assert late["fields"][0]["status"] == "accepted"
        assert late["fields"][0]["parts"]
        back = served.act("undo", None, "action-3").table
        assert back["fields"][0]["status"] == "undecided"
        assert not served.act("undo", None, "action-4").table["done"]
        assert (
            served.ask(f"api/field?id={items[0]['id']}&wide=3").table["item"]["box"][2]
            > items[0]["box"][2]
        )


def test_nobody_is_handed_what_another_has_on_the_screen(folder):
    with serving(folder) as served:
        ada, ben = served.items("Ada", 8), served.items("Ben", 8)
        assert not {item["id"] for item in ada} & {item["id"] for item in ben}
        # loaded again
        assert [item["id"] for item in served.items("Ada", 8)] == [item["id"] for item in ada]
        rest = served.ask("api/queue?person=Cleo&size=16&show=undecided").table
        assert len(rest["items"]) == 4
        assert rest["held"] == 16
        assert len(served.items("Cleo", 16, show="all")) == 16
        assert served.items("Cleo", 16, show="unsure") == []
        assert served.ask("api/queue?person=Cleo&show=some").status == 400
        assert served.ask("api/queue").status == 400


def test_shapes_go_in_pixels_and_vertices_are_found_exactly(folder):
    with serving(folder) as served:
        item = next(
            item
            for item in served.items(size=16)
            if sum(one["touches"] for one in item["near"]) == 8
        )
        ring = item["parts"][0][0]
        corner = ring[0]
        sides = np.ptp(np.array(ring), axis=0)
        assert sides == pytest.approx([12, 12], abs=0.01)
        centre = np.mean(ring, axis=0)
        to = (np.array(corner) + 0.25 * (centre - corner)).tolist()
        on = {item["id"]: 0} | {one["id"]: one["version"] for one in item["near"] if one["touches"]}
        done = served.act(
            "move", None, "move-01", points=[[corner[0] + 0.2, corner[1] - 0.1], to], on=on
        ).table
        assert done["done"]
        moved = next(one for one in done["fields"] if one["id"] == item["id"])
        assert min(np.hypot(*(np.array(moved["parts"][0][0]) - to).T)) < 0.01
        assert min(np.hypot(*(np.array(moved["parts"][0][0]) - corner).T)) > 1
        assert len(done["fields"]) >= 2  # the neighbours that share it too
        line = [[centre[0] - 20, centre[1]], [centre[0] + 20, centre[1] + 1]]
        parted = served.act("split", moved, "split-1", points=line).table
        assert parted["done"]
        assert parted["counts"]["total"] == 21
        both = [one for one in parted["fields"] if one["status"] == "corrected"]
        united = served.act(
            "merge", None, "merge-1", on={one["id"]: one["version"] for one in both}
        ).table
        assert united["done"]
        assert united["counts"]["total"] == 20
        assert served.act("undo", None, "undo-01").table["counts"]["total"] == 21


def test_chips(folder):
    with serving(folder) as served:
        item = served.items(aspect=1.5)[0]
        left, top, right, bottom = item["box"]
        assert (right - left) / (bottom - top) == pytest.approx(1.5, abs=0.1)
        for layer in served.ask("api/state").table["layers"]:
            answer = served.ask(f"chip/{layer['name']}/{left}_{top}_{right}_{bottom}.png")
            assert answer.status == 200
            image = Image.open(io.BytesIO(answer.body))
            assert image.size == (right - left, bottom - top)
            assert np.asarray(image).std() > 5
        # beside the image: grey
        assert Image.open(
            io.BytesIO(served.ask("chip/colour1/-900_-900_-800_-800.png").body)
        ).size == (100, 100)
        for bad in (
            "colour1/0_0_0_0.png",
            "colour1/0_0_99999_99999.png",
            "colour9/0_0_9_9.png",
            "colour1/a.png",
            "colour1/9_9_0_0.png",
            "colour1/0_0_1e9_9.png",
        ):
            assert served.ask(f"chip/{bad}").status == 400, bad
        assert served.ask("chip/../../etc/passwd").status == 404


def test_probabilities_in_floats_look_as_those_in_bytes_do(tmp_path):
    """0 to 1 was taken for bytes, and all was black."""
    folder = write_map(tmp_path / "map", 2, 3)
    seen = []
    for floats in (False, True):
        path = folder / "fields.scores.tif"
        if floats:
            source = store.open_raster(path)
            values = source.read(whole(source.grid)).values.astype(np.float32) / 254
            grid, tags = source.grid, dict(source.tags)
            with store.create_cog(
                path, grid, source.bands, np.float32, tags=tags, force=True
            ) as sink:
                sink.write(whole(grid), values)
        with serving(folder) as served:
            answer = served.ask("chip/scores/0_0_40_30.png")
            seen.append(np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB")).astype(int))
    assert seen[0].max() > 200
    assert np.abs(seen[0] - seen[1]).max() <= 1


def test_a_chip_has_the_colours_of_the_whole_image():
    """Soil by itself has the colour that it has beside a meadow; by percentiles of the chip each
    band's noise was stretched by itself, and no two chips showed one soil alike.
    """
    rng = np.random.default_rng(0)
    soil, meadow = np.array([150.0, 110.0, 80.0]), np.array([60.0, 120.0, 50.0])
    both = np.where(np.arange(80)[None, :, None] < 40, soil, meadow) + rng.normal(0, 2, (40, 80, 1))
    both = both.astype(np.float32)
    span = np.percentile(both.reshape(-1, 3), [2, 98], axis=0)
    alone, beside = stretched(both[:, :40], span), stretched(both, span)[:, :40]
    for chip in (alone, beside):
        red, green, blue = np.median(chip.reshape(-1, 3).astype(float), axis=0)
        assert min(red, blue) > green  # of the image's own range: red 1, blue 1, green 0
    hue = [(chip[..., 0].astype(float) - chip[..., 1]).mean() / 255 for chip in (alone, beside)]
    assert min(hue) > 0.3
    assert np.ptp(alone[..., 0].astype(float)) < 80  # two of 255 are noise, not stripes
    holes = both.copy()
    holes[:5] = np.nan
    assert (stretched(holes, span)[:5] == 128).all()
    assert (stretched(np.full((4, 4, 3), np.nan, np.float32), span) == 128).all()


def test_what_only_the_other_map_has_can_be_taken_over(folder, tmp_path):
    from selion import fields

    other = fields.read_fields(folder / "fields.parquet")
    mine = other.iloc[3:].copy()
    fields.write_fields(mine, folder / "fields.parquet", fields.Origin("toy"), force=True)
    fields.write_fields(other, tmp_path / "other.parquet", fields.Origin("other"))
    with serving(folder, against=tmp_path / "other.parquet") as served:
        assert "3 fields are in other.parquet only" in served.ask("api/state").table["notes"][0]
        items = [
            item
            for k in (0, 8, 16)
            for item in served.ask(f"api/queue?person=Ada&size=8&after={k}").table["items"]
        ]
        ghosts = list({item["id"]: item for item in items if item["status"] == "other"}.values())
        assert len(ghosts) == 3
        assert len({item["id"] for item in items}) == 20
        assert ghosts[0]["other"]
        taken = served.act("add", None, "take-01", points=ghosts[0]["parts"][0][0]).table
        assert taken["done"]
        assert taken["counts"]["added"] == 1
        left = {
            item["id"]
            for k in (0, 8, 16)
            for item in served.ask(f"api/queue?person=Ada&size=8&after={k}").table["items"]
            if item["status"] == "other"
        }
        assert len(left) == 2
        assert served.ask("api/field?id=other:77").table["item"] is None


def test_no_image_no_scores_and_what_does_not_fit(folder, tmp_path):
    shutil.copy(folder / "fields.parquet", tmp_path / "bare.parquet")
    with serving(tmp_path / "bare.parquet") as served:
        state = served.ask("api/state").table
        assert state["layers"] == []
        assert "no image" in state["notes"][0]
        item = served.items()[0]
        assert served.act(
            "split",
            item,
            "split-1",
            points=[
                [item["box"][0], np.mean(item["box"][1::2])],
                [item["box"][2], np.mean(item["box"][1::2])],
            ],
        ).table["done"]
    photo = write_map(tmp_path / "photo", 2, 2, crs=None)
    with pytest.raises(GridMismatch, match="one of them has a CRS"):
        open_session(review.find_map(folder, photo / "image.tif"))
    with serving(photo) as served:
        item = served.items()[0]
        assert item["unit"] == "px2"
        assert item["place"] is None
        assert served.act("accept", item).table["done"]


def test_nobody_else_can_write(folder):
    """No token, another origin, another site's fetch, a form, a simple request: nothing is
    written.
    """
    with serving(folder) as served:
        item = served.items()[0]
        body = {
            "id": "forged-1",
            "kind": "reject",
            "person": "Eve",
            "on": {item["id"]: 0},
            "points": [],
            "seconds": 1,
        }
        port = served.address.port
        tries = [
            served.ask("api/act", body, whole=f"/{'0' * 32}/review/api/act"),
            served.ask("api/act", body, {"Origin": "https://evil.example"}),
            served.ask("api/act", body, {"Origin": "null"}),
            served.ask("api/act", body, {"Sec-Fetch-Site": "cross-site"}),
            served.ask("api/act", body, {"Sec-Fetch-Site": "same-site"}),
            served.ask("api/act", body, {"Host": f"evil.example:{port}"}),
            served.ask("api/act", body, {"content-type": "text/plain"}),
            served.ask("api/act", body, {"content-type": "application/x-www-form-urlencoded"}),
            served.ask("api/act", body, {"x-selion": None}),
            served.ask("api/act?" + urllib.parse.urlencode(body)),
            served.ask("api/act", method="PUT"),
            served.ask("api/act", b"x" * 300_000),
        ]
        assert [answer.status for answer in tries] == [
            403,
            403,
            403,
            403,
            403,
            421,
            403,
            403,
            403,
            405,
            405,
            413,
        ]
        assert lines(folder) == 1
        ours = served.ask(
            "api/act", body, {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
        )
        assert ours.table["done"]
        assert lines(folder) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"points": [[1e300, 0], [0, 1e300]]}, "two finite numbers"),
        ({"points": [[1e9, 0], [0, 1e9]]}, "far away from the image"),
        ({"points": [["a", 0], [0, 1]]}, "two finite numbers"),
        ({"points": [[0, 1]] * 5000}, "at most 2,000 points"),
        ({"points": [[0, 0]]}, "wanted are 2 to 2000"),
        ({"points": [[0, 0, 0], [1, 1, 1]]}, "two finite numbers"),
        ({"points": "all"}, "a list of"),
        ({"points": [[True, 0], [0, 1]]}, "two finite numbers"),
        ({"points": [[0, 0], [1, 1]]}, "does not cut"),
        ({"on": {"nobody": 0}}, "no field 'nobody'"),
        ({"on": {}}, "names 0 fields"),
        ({"on": [1]}, "a table"),
        ({"on": {"": 0}}, "names 1 fields"),
        ({"kind": "add", "points": [[0, 0], [9, 0], [9, 9]]}, "names 1 fields; wanted are 0"),
        ({"kind": "merge", "points": []}, "wanted are 2"),
        ({"on": {"x": -1}}, "a table"),
        ({"on": {str(k): 0 for k in range(500)}}, "at most 400 fields"),
        ({"kind": "explode"}, "no action called"),
        ({"kind": ["split"]}, "'kind'"),
        ({"person": ""}, "name"),
        ({"person": "a\nb"}, "name"),
        ({"person": None}, "name"),
        ({"id": "../../x"}, "named by"),
        ({"id": 7}, "named by"),
        ({"seconds": -1}, "number, 0 or more"),
        ({"seconds": "1"}, "number, 0 or more"),
        ({"undo": "x" * 5000}, "'undo'"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(folder, change, why):
    with serving(folder) as served:
        item = served.items()[0]
        body = {
            "id": "action-1",
            "kind": "split",
            "person": "Ada",
            "on": {item["id"]: 0},
            "points": [[-20, 5], [60, 5]],
            "seconds": 1,
        } | change
        answer = served.ask("api/act", body)
        assert answer.status == 400
        assert why in answer.table["error"]
        assert lines(folder) == 1


NOT_NUMBERS = (
    b'{"id": "abcdef", "person": "A", "kind": "add", "points": [[NaN, 1], [Infinity, 2], [3, 3]]}'
)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"NaN",
        b'{"points": NaN}',
        NOT_NUMBERS,
        b"[" * 5000,
        b'{"a":' * 3000,
        b"\xed\xa0\x80",
        b"1" * 5000,
    ],
)
def test_bodies_that_are_none(folder, text):
    with serving(folder) as served:
        answer = served.ask("api/act", text)
        assert answer.status == 400
        assert "Traceback" not in answer.body.decode()
        assert lines(folder) == 1


value = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=10)
    | st.lists(st.lists(st.floats(-200, 200), min_size=2, max_size=2), max_size=5)
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_breaks_the_server(toy, tmp_path_factory, data):
    global _served  # noqa: PLW0603  # one server for all examples
    if _served is None:
        scene = serving(shutil.copytree(toy, tmp_path_factory.mktemp("fuzz") / "map"))
        _served = (scene, scene.__enter__())
    served = _served[1]
    names = [*served.screening.log.mapped.ids[:4]]
    on = data.draw(
        st.dictionaries(st.sampled_from([*names, "x"]), st.integers(0, 3), max_size=3) | value
    )
    kinds = st.sampled_from(
        [
            "accept",
            "reject",
            "unsure",
            "split",
            "merge",
            "move",
            "insert",
            "drop",
            "reshape",
            "add",
            "undo",
        ]
    )
    body = {
        "id": data.draw(st.from_regex(r"[a-z]{6,9}", fullmatch=True)),
        "kind": data.draw(kinds),
        "person": "Ada",
        "on": on,
        "points": data.draw(value),
    }
    body |= data.draw(
        st.dictionaries(
            st.sampled_from(["seconds", "undo", "aspect", "person", "kind"]), value, max_size=2
        )
    )
    answer = served.ask("api/act", json.dumps(body).encode())
    assert answer.status in (200, 400), answer.body
    assert ("error" in answer.table) == (answer.status == 400)
    query = data.draw(
        st.dictionaries(
            st.sampled_from(["person", "size", "after", "show", "id", "wide", "aspect"]),
            st.from_regex(r"[-a-z0-9:.]{0,12}", fullmatch=True),
            max_size=5,
        )
    )
    for path in ("api/queue", "api/field"):
        assert served.ask(f"{path}?" + "&".join(f"{k}={v}" for k, v in query.items())).status in (
            200,
            400,
        )


_served = None


@pytest.fixture(scope="module", autouse=True)
def _close():
    yield
    if _served is not None:
        session = _served[1].screening
        files = review.find_map(session.log.path.parent)
        state = review.replay(files.read(), files.log)
        # whatever came, the log says what the server thinks
        assert state.changed == session.log.state.changed
        _served[0].__exit__(None, None, None)


def test_static_files_come_from_here(folder):
    for name in STATIC:
        assert not re.search(
            r"https?://(?!www\.w3\.org/2000/svg)|@import|//cdn|innerHTML|eval\(|\son\w+=\"",
            (FOLDER / name).read_text(),
        ), name
    with serving(folder) as served:
        assert "text/html" in served.ask("").headers["content-type"]
        for name in STATIC[1:]:
            assert served.ask(name).body == (FOLDER / name).read_bytes()


def test_a_log_that_grows_beside_the_server(folder):
    """Another process works on the same map: the page sees it at the next question."""
    with serving(folder) as served:
        item = served.items()[0]
        assert Hand(open_log(folder), "Ben").act("accept", item["id"]).done
        assert served.ask("api/state").table["counts"]["accepted"] == 1
        assert not served.act("reject", item).table["done"]


def test_two_servers_on_one_review(folder):
    """Each sees what the other wrote at the next question, and no word is lost, doubled or put
    over a newer one.
    """
    with serving(folder) as one, serving(folder) as two:
        assert one.address.token != two.address.token, "a token per start"
        items = one.items()
        known = two.items(person="Ben")
        assert one.act("accept", items[0], "word-0001").table["done"]
        late = two.act("reject", items[0], "word-0002", "Ben").table
        assert not late["done"], "the field is another than Ben saw"
        for k, item in enumerate(items[1:5]):
            told = (one, two)[k % 2].act("reject", item, f"word-10{k:02}").table
            assert told["done"]
        again = two.act("accept", items[0], "word-0001").table
        assert again["done"], "sent again to the other: it is on the disk already"
        counts = [served.ask("api/state").table["counts"] for served in (one, two)]
        assert counts[0] == counts[1]
        assert (counts[0]["accepted"], counts[0]["rejected"]) == (1, 4)
        assert known
    lines = review.find_map(folder).log.read_text("utf-8").splitlines()
    names = [json.loads(line)["id"] for line in lines if '"word-' in line]
    assert sorted(names) == ["word-0001", *(f"word-10{k:02}" for k in range(4))]


@pytest.mark.slow
def test_no_acknowledged_word_is_lost_when_the_server_is_killed(tmp_path):
    """Four hands post while the server is killed thrice; what it said yes to is on the disk."""
    folder = write_map(tmp_path / "map", 8, 12)
    served, told, over, cut = ReviewProcess(folder, "--no-map"), [], threading.Event(), []
    place = urllib.parse.urlsplit(served.url)
    items = json.loads(asked(place, "api/queue?person=Ada&size=16"))["items"]

    def hand(number: int) -> None:
        for k, item in enumerate(items[number::4]):
            name, answer = f"hand-{number}-{k:03}", None
            word = {
                "id": name, "kind": "accept", "person": "Ada", "points": [], "seconds": 1.0,
                "on": {item["id"]: item["version"]},
            }  # fmt: skip
            while answer is None and not over.is_set():
                try:
                    answer = json.loads(asked(place, "api/act", word))
                except (OSError, http.client.HTTPException):
                    cut.append(name)
                    time.sleep(0.02)
            told.extend([name] * bool(answer and answer["done"]))
            time.sleep(0.05)  # so that some are left when the server is killed

    hands = [threading.Thread(target=hand, args=(k,)) for k in range(4)]
    for each in hands:
        each.start()
    try:
        for _ in range(3):
            time.sleep(0.05)
            served.again()
        for each in hands:
            each.join(60)
    finally:
        over.set()
        served.kill()
    written = [
        json.loads(line).get("id") for line in review.find_map(folder).log.read_text().splitlines()
    ]
    assert len(set(cut)) >= 4, "hands were cut off in the middle of a post"
    assert len(told) == len(items) >= 12
    assert {name: written.count(name) for name in told} == dict.fromkeys(told, 1)


def asked(place, path: str, table: object = None) -> bytes:
    """Ask a server on a new connection."""
    line = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
    try:
        given = {"content-type": "application/json", "x-selion": "1"} if table else {}
        body = json.dumps(table).encode() if table else None
        line.request("POST" if table else "GET", place.path + path, body, given)
        answer = line.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise OSError(content)
        return content
    finally:
        line.close()


def test_ids_must_tell_fields_apart(folder):
    from selion import fields

    frame = fields.read_fields(folder / "fields.parquet")
    for ids, why in (
        ("same", "share an id"),
        ([f"{k}" * 130 for k in range(20)], "longer than 120"),
        (["", *map(str, range(19))], "empty"),
    ):
        frame["id"] = ids
        fields.write_fields(frame, folder / "fields.parquet", fields.Origin("toy"), force=True)
        with pytest.raises(BadInput, match=why):
            open_session(review.find_map(folder))


def test_the_overview_in_pages_and_words_about_many(folder):
    with serving(folder, person="Ada") as served:
        first = served.ask("api/overview?size=8&order=sure").table
        second = served.ask("api/overview?size=8&order=sure&after=8").table
        assert (first["total"], first["after"], second["after"]) == (20, 8, 16)
        sure = [item["confidence"] for item in first["items"] + second["items"]]
        assert sure == sorted(sure, reverse=True)
        assert len({item["id"] for item in first["items"] + second["items"]}) == 16
        for item in first["items"]:
            left, top, right, bottom = item["box"]
            xs, ys = np.array(item["parts"][0][0]).T
            # the field is on its picture, also at the rim of the image
            assert left <= xs.min() < xs.max() <= right
            assert top <= ys.min() < ys.max() <= bottom
        large = served.ask("api/overview?order=large").table["items"]
        areas = [item["area"] for item in large]
        assert areas == sorted(areas, reverse=True)
        on = {item["id"]: item["version"] for item in first["items"]}
        done = served.act("accept", None, "many-001", on=on).table
        assert (done["done"], done["counts"]["accepted"]) == (True, 8)
        assert {one["id"] for one in done["fields"]} == set(on)
        assert lines(folder) == 2  # one line for all
        assert served.ask("api/overview").table["total"] == 12
        assert served.ask("api/overview?show=accepted").table["total"] == 8
        late = served.act("reject", None, "many-002", "Ben", on=on).table
        assert not late["done"]
        assert "Ada changed these fields meanwhile" in late["why"]
        assert served.act("undo", None, "undo-001").table["counts"]["accepted"] == 0
        for wrong in ("order=best", "show=good"):
            assert served.ask(f"api/overview?{wrong}").status == 400


def test_a_brush_reaches_as_far_as_it_is_drawn(folder):
    """Ten metres a pixel, a map in degrees: a disc of three pixels has 28 of them."""
    with serving(folder, person="Ada") as served:
        item = served.items()[0]
        xs, ys = np.array(item["parts"][0][0]).T
        middle = [float(xs.min() + xs.max()) / 2, float(ys.min() + ys.max()) / 2]
        done = served.act("erase", item, "brush-001", points=[middle], width=[3, 3]).table
        assert done["done"]
        taken = item["area"] - next(f for f in done["fields"] if f["id"] == item["id"])["area"]
        assert taken == pytest.approx(np.pi * 9 * 100, rel=0.02)
        assert served.act("paint", item, "brush-002", points=[middle], width=[3]).status == 400
        for width in ([3, 3, 3], [-1, 1], "a", [1e300, 1]):
            given = {"points": [middle], "width": width}
            assert served.act("erase", item, "brush-003", **given).status == 400


def test_points_on_corners_that_were_shown_are_those_corners(folder):
    """An outline drawn along its neighbours leaves no gap: the corners are theirs to the bit."""
    with serving(folder, person="Ada") as served:
        items = served.items(size=16)
        item = next(one for one in items if len([n for n in one["near"] if n["touches"]]) >= 5)
        ring = item["parts"][0][0]
        gone = served.act("reject", item, "corner-01").table["fields"][0]
        table = served.act("reshape", gone, "corner-02", points=ring).table
        assert table["done"]
        log = open_log(folder)
        made = log.state.get(item["id"]).shape
        near = [other.shape for other in log.state.near(made, 1e-7) if other.id != item["id"]]
        import shapely

        known = set(map(tuple, shapely.get_coordinates(near).tolist()))
        shared = [tuple(point) in known for point in shapely.get_coordinates(made).tolist()]
        assert sum(shared) >= 4
