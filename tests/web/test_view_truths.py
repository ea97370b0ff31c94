"""Photographs beside a truth: scores by hand, the worst first, and where they differ."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from selion.errors import BadInput, UnknownName
from selion.web.view import page, truths
from selion.web.view.discovery import find
from selion.web.view.photos import ORDERS
from view_scenes import serving, write_crops


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Three photographs that were measured; the truth of two, drawn from what was told."""
    folder = tmp_path_factory.mktemp("truths")
    crops, _ = write_crops(folder / "crops", folder / "photos")
    (folder / "truth").mkdir()
    for k, name in enumerate(("leaf0", "leaf1")):
        told = np.asarray(Image.open(crops / "masks" / f"{name}.png")).copy()
        truth = told.copy()
        truth[:, : 40 * (k + 1)] = 1 - truth[:, : 40 * (k + 1)]  # wrong there
        truth[:10] = 255  # not known
        Image.fromarray(truth, "L").save(folder / "truth" / f"{name}_mask.png")
    return folder


def test_a_score_is_counted_by_hand():
    told = np.array([[True, True, False, False, True]])
    truth = np.array([[1, 0, 1, 0, 255]], np.uint8)
    assert truths.score(told, truth) == pytest.approx(1 / 3)
    assert truths.score(told & False, truth * 0) is None
    layer = truths.difference(told, truth)[0]
    assert [tuple(pixel) for pixel in layer] == [
        (0, 0, 0, 0), (*truths.TOO_MUCH, 255), (*truths.MISSED, 255), (0, 0, 0, 0), (0, 0, 0, 0)
    ]  # fmt: skip


def by_hand(scene, name):
    told = np.asarray(Image.open(scene / "crops" / "masks" / f"{name}.png"))[10:] == 1
    truth = np.asarray(Image.open(scene / "truth" / f"{name}_mask.png"))[10:] == 1
    return (told & truth).sum() / (told | truth).sum()


@pytest.mark.usefixtures("own_cache")
def test_the_worst_come_first_and_show_where(scene):
    with serving(scene / "crops", scene / "photos", labels=scene / "truth") as served:
        end = time.monotonic() + 600
        listed = served.table("api/photos/p0?order=worst")
        while listed["compared"] != [2, 2] and time.monotonic() < end:
            time.sleep(0.02)
            listed = served.table("api/photos/p0?order=worst")
        assert served.table("api/layers")["albums"][0]["truth"] is True
        found = [(each["name"], each.get("score")) for each in listed["photos"]]
        assert found == [
            ("leaf1.jpg", pytest.approx(by_hand(scene, "leaf1"))),
            ("leaf0.jpg", pytest.approx(by_hand(scene, "leaf0"))),
            ("leaf2.jpg", None),
        ]
        assert "truth" not in listed["photos"][2]
        about = served.table("api/photo/p0/1")
        assert about["score"] == pytest.approx(by_hand(scene, "leaf1"))
        drawn = np.asarray(Image.open(io.BytesIO(served.ask("photo/p0/1/difference").body)))
        wrong = (drawn[..., 3] > 0)[10:]
        assert wrong[:, :80].all()
        assert not wrong[:, 80:].any()
        assert not drawn[:10, :, 3].any(), "where nothing is known nothing is wrong"
        assert set(map(tuple, drawn[drawn[..., 3] > 0][:, :3])) == {truths.MISSED, truths.TOO_MUCH}
        line = np.asarray(Image.open(io.BytesIO(served.ask("photo/p0/1/truth").body)))
        assert 0 < (line[..., 3] > 0).mean() < 0.5
        small = Image.open(io.BytesIO(served.ask("photo/p0/1/compared").body))
        assert small.size == (160, 120)
        none = served.ask("photo/p0/2/difference")
        assert none.status == 400
        assert b"no truth of the same name" in none.body


@pytest.mark.usefixtures("own_cache")
def test_what_has_no_truth_is_as_before(scene, tmp_path):
    found = find([scene / "crops", scene / "photos"])
    assert found.albums["p0"].orders == ORDERS
    with pytest.raises(UnknownName, match="worst"):
        found.albums["p0"].ordered("worst")
    session = page.ViewSession(found)
    with pytest.raises(BadInput, match="--truth"):
        page.photo(session, {"album": "p0", "index": "0", "kind": "difference"})
    alone = find([scene / "photos"])
    with pytest.raises(BadInput, match="selion crops too"):
        alone.compare(scene / "truth")
    with pytest.raises(BadInput, match="No mask in"):
        found.compare(tmp_path)
