"""The log of a review: what counts, who may overwrite what, undo, torn lines, several servers, and
replay.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from review_scenes import Hand, across, middle, open_log, write_map
from selion import review
from selion.errors import BadInput, OutputFailed, UnreadableFile
from selion.review.actions import Action, parse_line, read_action
from selion.review.log import people
from selion.review.order import rank
from selion.store.append_log import now


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def folder(toy, tmp_path):
    return shutil.copytree(toy, tmp_path / "map")


def same(one, other):
    """Two states say the same of every field."""
    assert one.changed.keys() == other.changed.keys()
    assert all(one.changed[name] == other.changed[name] for name in one.changed)
    assert (one.count, one.undone, one.counts()) == (other.count, other.undone, other.counts())


def a_day(hand):
    """Do some of everything; every action is meant to be done."""
    log = hand.log
    ids = list(log.mapped.ids)
    shape = log.state.get(ids[6]).shape
    corner = np.array(shape.exterior.coords[0])
    done = [
        hand.act("accept", ids[0]),
        hand.act("reject", ids[1]),
        hand.act("unsure", ids[2]),
        hand.act("split", ids[3], across(log.state.get(ids[3]).shape, 0.1)),
        hand.act("move", ids[6], [corner, corner + 0.2 * (middle(shape) - corner)]),
    ]
    big = log.state.get(ids[8]).shape
    touching = max(
        (f for f in log.state.near(big, 1e-7) if f.id != ids[8]),
        key=lambda f: f.shape.boundary.intersection(big.boundary).length,
    )
    done.append(
        hand.act("merge", on={ids[8]: log.state.get(ids[8]).version, touching.id: touching.version})
    )
    x0, y0, x1, y1 = log.state.get(ids[1]).shape.bounds
    done.append(
        hand.act("add", points=[(x0, y0), (x1, y0), (x1, (y0 + y1) / 2), (x0, (y0 + y1) / 2)])
    )
    done.append(hand.act("accept", ids[14]))
    done.append(hand.act("undo"))
    return done


def test_a_day_of_work_and_its_replay(folder):
    log = open_log(folder)
    done = a_day(Hand(log))
    assert all(outcome.done for outcome in done)
    counts = log.state.counts()
    assert counts == {
        "total": 21,
        "decided": 7,
        "undecided": 13,
        "accepted": 1,
        "rejected": 1,
        "corrected": 4,
        "unsure": 1,
        "added": 1,
    }
    files = review.find_map(folder)
    same(review.replay(files.read(), files.log), log.state)
    same(open_log(folder).state, log.state)
    assert people(log.state)["Ada"]["actions"] == 9
    lines = files.log.read_bytes().splitlines()
    assert len(lines) == 10
    assert json.loads(lines[0])["fields"] == 20
    assert all(parse_line(line) is not None for line in lines)


def test_killed_at_any_byte(folder):
    """Whatever was on the disk when the machine stopped: whole lines count, the torn one is cut,
    and work goes on.
    """
    log = open_log(folder)
    a_day(Hand(log))
    data = log.path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(data) if byte == 10]
    frame = review.find_map(folder).read()
    for cut in sorted(
        {
            *range(ends[-2] - 2, len(data) + 1, 17),
            *ends,
            *(e - 1 for e in ends),
            0,
            5,
            *range(ends[1], len(data), 409),
        }
    ):
        log.path.write_bytes(data[:cut])
        seen = review.replay(frame, log.path)
        again = open_log(folder)
        whole = sum(end <= cut for end in ends)
        assert again.state.count == max(whole - 1, 0)
        same(again.state, seen)
        assert Hand(again, "Zoe").act("unsure", log.mapped.ids[19]).done
        kept = again.path.read_bytes()
        assert kept.startswith(data[: ends[whole - 1]] if whole else b"")
        assert kept.endswith(b"\n")
        assert kept.count(b"\n") == max(whole, 1) + 1
        assert review.replay(frame, log.path).skipped == 0


def test_what_somebody_changed_meanwhile_is_not_overwritten(folder):
    log = open_log(folder)
    ada, ben = Hand(log), Hand(open_log(folder), "Ben")  # two servers on one file
    name = log.mapped.ids[7]
    assert ada.act("accept", name, on={name: 0}).done
    late = ben.act("split", name, across(log.state.get(name).shape), on={name: 0})
    assert not late.done
    assert late.stale == (name,)
    assert late.why == "Ada changed this field meanwhile: load it again."
    assert log.sync().get(name).status == "accepted"
    assert ben.act("reject", name).done
    assert log.sync().get(name).status == "rejected"
    assert not ada.act("undo").done  # Ben went on from there
    assert log.state.get(name).status == "rejected"
    assert ben.act("undo").done
    assert log.sync().get(name).status == "accepted"
    assert ada.act("undo").done
    assert log.state.get(name).status == "undecided"
    assert log.state.get(name).version > 0  # who saw the map before looks again
    assert not ben.act("accept", name, on={name: 0}).done


def test_a_neighbour_that_was_not_on_the_screen_is_not_moved(folder):
    log = open_log(folder)
    hand, name = Hand(log), log.mapped.ids[7]
    shape = log.state.get(name).shape
    near = [f for f in log.state.near(shape, 1e-7) if f.id != name]
    corner = np.array(
        next(
            p for p in shape.exterior.coords if any(p in set(f.shape.exterior.coords) for f in near)
        )
    )
    to = corner + 0.2 * (middle(shape) - corner)
    blind = hand.act("move", name, [corner, to], on={name: 0})
    assert not blind.done
    assert "was not shown" in blind.why
    seen = hand.act("move", name, [corner, to])
    assert seen.done
    assert len(seen.changed) > 1
    assert [log.state.get(n).status for n in seen.changed if n != name] == ["undecided"] * (
        len(seen.changed) - 1
    )


def test_sent_twice_is_written_once(folder):
    log = open_log(folder)
    name = log.mapped.ids[0]
    action = Action(
        "once-1", "split", {name: 0}, "Ada", now(), tuple(across(log.state.get(name).shape))
    )
    first, second = log.act(action), log.act(action)
    assert first == second
    assert first.done
    undo = Action("undo-1", "undo", {}, "Ada", now())
    assert set(log.act(undo).changed) == set(log.act(undo).changed) == set(first.changed)
    assert log.path.read_bytes().count(b"\n") == 3
    assert log.state.get(first.changed[1]) is None


def test_many_at_once_lose_nothing(folder):
    logs = [open_log(folder) for _ in range(4)]
    names = list(logs[0].mapped.ids)

    def work(k):
        hand = Hand(logs[k], f"P{k}")
        return [hand.act("accept", name, on={name: 0}).done for name in names]

    with ThreadPoolExecutor(4) as pool:
        done = np.array(list(pool.map(work, range(4))))
    assert (done.sum(0) == 1).all()  # of four who saw the same version, one
    assert logs[0].sync().counts()["accepted"] == 20
    same(review.replay(review.find_map(folder).read(), logs[0].path), logs[0].state)


def test_land_that_was_given_away_does_not_come_back(folder):
    log = open_log(folder)
    hand, name = Hand(log), log.mapped.ids[5]
    x0, y0, x1, y1 = log.state.get(name).shape.bounds
    hand.act("reject", name)
    assert hand.act("add", points=[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]).done
    with pytest.raises(BadInput, match="gave that land to another field"):
        hand.act("accept", name)
    hand.act("undo")
    assert hand.act("accept", name).done


def test_an_outline_that_crosses_itself_stops_nobody(tmp_path):
    """Of polygons of one's own: an action near it failed in the server and was sent for ever."""
    bow = shapely.Polygon([(2, 0), (3, 1), (3, 0), (2, 1)])
    shapes = [shapely.box(0, 0, 2, 1), bow]
    frame = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=shapes, crs="EPSG:32633")
    frame.to_file(tmp_path / "own.gpkg")
    files = review.find_map(tmp_path / "own.gpkg")
    hand = Hand(review.ReviewLog(files.log, review.ReviewedMap.of(files.read()), "own"))
    stroke = {"points": [(1.9, 0.5), (2.6, 0.5)], "width": (0.2, 0.2)}
    with pytest.raises(BadInput, match="crosses itself"):
        hand.act("paint", "a", **stroke)
    assert hand.act("reject", "b").done
    assert hand.act("accept", "b").done
    assert hand.act("reshape", "b", [(2.5, 0), (3, 0), (3, 1), (2.5, 1)]).done
    assert hand.act("paint", "a", **stroke).done
    state = review.replay(files.read(), files.log)
    assert (state.count, state.skipped) == (4, 0)
    assert state.get("a").shape.intersection(state.get("b").shape).area == pytest.approx(0)
    ranking = rank(frame, against=frame.iloc[::-1].reset_index(drop=True))
    assert ranking.signs["other"].tolist() == pytest.approx([0, 0])


def test_another_map_or_no_log(folder, tmp_path):
    log = open_log(folder)
    Hand(log).act("accept", log.mapped.ids[0])
    other = write_map(tmp_path / "other", 3, 3)
    shutil.copy(log.path, other / log.path.name)
    with pytest.raises(BadInput, match="not this one"):
        open_log(other)
    with pytest.raises(BadInput, match="another map"):
        review.replay(review.find_map(other).read(), other / log.path.name)
    (other / log.path.name).write_text("something else\n")
    with pytest.raises(UnreadableFile, match="is not the log of a review"):
        open_log(other)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_folder_that_takes_nothing(folder):
    folder.chmod(0o500)
    try:
        with pytest.raises(OutputFailed, match="free some space or choose a folder"):
            open_log(folder)
    finally:
        folder.chmod(0o700)


def test_a_full_disk_leaves_no_half_line(folder, monkeypatch):
    log = open_log(folder)
    before = log.path.read_bytes()

    def full(file, data):
        return (
            real(file, data[:20])
            if len(data) > 20
            else (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )

    real = os.write
    monkeypatch.setattr("selion.store.append_log.os.write", full)
    with pytest.raises(OutputFailed, match="No space left"):
        Hand(log).act("accept", log.mapped.ids[0])
    monkeypatch.undo()
    assert log.path.read_bytes() == before
    assert log.state.count == 0
    assert Hand(log, "Ben").act("accept", log.mapped.ids[0]).done


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just("split")
    | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["id", "kind", "on", "points", "person", "undo", "seconds", "x"]),
        junk,
        max_size=7,
    )
)
def test_no_table_breaks_the_reading_of_actions(table):
    try:
        action = read_action(table, now())
    except BadInput as error:
        said = str(error)
    else:
        said = action.to_line()
        assert parse_line(said.encode()) == action
    assert 10 < len(said) < 2000


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("2026-11-24~08:20:46.147Z", "2026-11-24T08:20:46.147Z"),
        ("2026-W48-2T08:20", "2026-11-24T08:20:00.000Z"),
        ("2026-11-24T08:20:46,147+01:00:30", "2026-11-24T07:20:16.147Z"),
        ("2026-11-24T08:20:46Z", "2026-11-24T08:20:46Z"),
    ],
)
def test_a_time_in_another_spelling_is_one_that_everybody_reads(said, wanted):
    line = {"id": "1", "kind": "accept", "on": {"f1": 0}, "person": "Ana", "time": said}
    action = parse_line(json.dumps(line).encode())
    assert action.time == wanted


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=80))
def test_no_line_breaks_the_log(line):
    assert parse_line(line) is None or isinstance(parse_line(line), Action)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.sampled_from(
                ["accept", "reject", "split", "merge", "move", "insert", "drop", "undo"]
            ),
            st.integers(0, 99),
        ),
        max_size=14,
    )
)
def test_whatever_people_do_the_map_stays_sound_and_replays(folder, deeds):
    import shapely

    review.find_map(folder).log.unlink(missing_ok=True)
    log = open_log(folder)
    hands = [Hand(log), Hand(log, "Ben")]
    for number, kind, draw in deeds:
        live = [
            f
            for f in (
                log.state.get(n)
                for n in [
                    *log.mapped.ids,
                    *(n for n in log.state.changed if n not in log.mapped.ids),
                ]
            )
            if f and f.there
        ]
        one = live[number % len(live)]
        corners = np.array(one.shape.exterior.coords)[:-1]
        a, b = corners[draw % len(corners)], corners[(draw + 1) % len(corners)]
        to = a + 0.15 * (middle(one.shape) - a)
        near = [f for f in log.state.near(one.shape, 1e-7) if f.id != one.id]
        points = {
            "split": across(one.shape, 0.1),
            "move": [a, to],
            "insert": [a, b, (b + to) / 2],
            "drop": [a],
        }.get(kind, ())
        on = (
            {one.id: one.version, near[draw % len(near)].id: near[draw % len(near)].version}
            if kind == "merge" and near
            else None
        )
        try:
            hands[draw % 2].act(kind, "" if kind == "undo" else one.id, points, on)
        except BadInput:
            continue
    state = review.replay(review.find_map(folder).read(), log.path)
    same(state, log.state)
    assert state.skipped == 0
    there = [
        f.shape for f in (state.get(n) for n in {*log.mapped.ids, *state.changed}) if f and f.there
    ]
    assert shapely.is_valid(there).all()
    tree = shapely.STRtree(there)
    one, other = tree.query(there, predicate="overlaps")
    assert all(
        there[i].intersection(there[j]).area < 1e-4 * min(there[i].area, there[j].area)
        for i, j in zip(one, other, strict=True)
        if i < j
    )
