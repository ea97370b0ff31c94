"""The log of decisions, what is shown next, and what people agree on."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening_scenes import write_mask, write_scene
from selion.errors import BadInput, OutputFailed, UnknownName, UnreadableFile
from selion.labelling import queue, screen
from selion.labelling.agreement import cohen, kept_by_quality, measure_agreement, measure_throughput
from selion.labelling.decision_log import DecisionLog
from selion.labelling.decisions import (
    LOG,
    Decision,
    History,
    Undo,
    parse_line,
    read_decisions,
    read_history,
)
from selion.labelling.screen import Page, Screening, Word, is_conflict, version
from selion.labelling.selection import keep_pseudo


def decision(
    name, key="a", word="keep", person="Ada", stage="coarse", batch=None, mask="m", seconds=0.2
):
    return Decision(
        name, batch or name, key, word, person, stage, seconds, "2025-06-01T09:30:12Z", "i", mask
    )


def page_of(sheet, batch, person="Ada", stage="coarse", seconds=4.0, **words):
    said = tuple(
        Word(item.id, words.get(item.key.rpartition("/")[2], "reject"), version(item))
        for item in sheet.items
    )
    return Page(batch, person, stage, seconds, said)


# The log


@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from("abcde"), st.sampled_from("kruf")), st.integers(0, 30)),
        max_size=40,
    )
)
def test_last_word_wins_and_undo_takes_back(steps):
    history, batches, undone = History(), [], set()
    for k, step in enumerate(steps):
        if isinstance(step, tuple):
            key, word = step
            batches.append((f"b{k}", key, word))
            history.add(
                decision(
                    f"b{k}", key, {"k": "keep", "r": "reject", "u": "unsure", "f": "full"}[word]
                )
            )
        elif batches:
            name = batches[step % len(batches)][0]
            undone.add(name)
            history.add(Undo(f"u{k}", name, "Ada", "coarse", "t"))
        for entry in list(history.batches.values())[-1:]:
            history.add(entry[0])  # what is sent twice counts once
    wanted = {
        key: {"k": "keep", "r": "reject", "u": "unsure", "f": "full"}[word]
        for name, key, word in batches
        if name not in undone
    }
    assert {key: said[-1].decision for key, said in history.keys.items()} == wanted
    left = [name for name, _, _ in batches if name not in undone]
    assert history.last_batch("Ada", ("coarse",)) == (left[-1] if left else None)
    assert history.last_batch("Ben", ("coarse",)) is None


@given(
    st.text(max_size=20), st.text(min_size=1, max_size=20), st.floats(0, 1e6), st.integers(0, 2**62)
)
def test_a_line_is_read_as_it_was_written(key, person, seconds, stat):
    key, person = (text.encode("utf-8", "ignore").decode() for text in (key, person))
    entry = Decision(
        "id-1", "id", key, "unsure", person, "settle", seconds, "t", "i", "m", (3, stat)
    )
    line = entry.to_line().encode()
    assert b"\n" not in line
    assert parse_line(line) == entry


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"a"',
        b"{}",
        b'{"id": 3}',
        b'{"id":"a","undo":7,"person":"p","pass":"coarse","time":"t"}',
        b"[" * 5000,
        b"\xff\xfe",
        b'{"pass":null}',
    ],
)
def test_lines_that_are_none_of_ours(line):
    assert parse_line(line) is None


def test_a_decision_that_does_not_exist_is_refused():
    with pytest.raises(UnknownName, match="did you mean 'keep'"):
        decision("a", word="keeep")
    assert parse_line(decision("a").to_line().replace("coarse", "course").encode()) is None


def test_a_log_that_is_cut_anywhere_loses_only_its_end(tmp_path):
    entries = [decision(f"d{k}", f"k{k}", "keep") for k in range(4)]
    whole = "".join(entry.to_line() + "\n" for entry in entries).encode()
    path = tmp_path / LOG
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        kept = list(read_history(path).keys)
        assert kept == [f"k{k}" for k in range(len(kept))]
        assert len(kept) >= whole[:cut].count(b"\n")
        journal = DecisionLog(path)
        journal.append(lambda _: entries)  # all of it comes again
        again = read_history(path)
        assert list(again.keys) == ["k0", "k1", "k2", "k3"]
        assert sum(map(len, again.keys.values())) == 4
        assert DecisionLog(path).history.keys == again.keys


def test_a_log_that_was_replaced_is_read_again(tmp_path):
    journal = DecisionLog(tmp_path / LOG)
    journal.append(lambda _: [decision("a", "x"), decision("b", "y")])
    other = tmp_path / "other"
    other.write_text(decision("c", "z").to_line() + "\n")
    other.replace(tmp_path / LOG)
    assert list(journal.sync().keys) == ["z"]
    (tmp_path / LOG).write_text("")
    assert not journal.sync().keys


def test_a_full_disk_writes_nothing(tmp_path, monkeypatch):
    journal = DecisionLog(tmp_path / LOG)
    journal.append(lambda _: [decision("a")])
    before, write = (tmp_path / LOG).read_bytes(), os.write

    def half(file, data):
        if len(data) > 20:
            return write(file, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputFailed, match="No space left on device"):
        journal.append(
            lambda _: [
                Decision("b", "b", "k" * 9, "keep", "p", "fine", 1, "t", "i", "m") for _ in range(1)
            ]
        )
    monkeypatch.undo()
    assert (tmp_path / LOG).read_bytes() == before
    journal.append(lambda _: [decision("b", "later")])
    assert read_history(tmp_path / LOG).skipped == 0


def test_an_entry_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    journal, synced = DecisionLog(tmp_path / LOG), []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), real(file))[1]
    )
    journal.append(lambda _: [decision("a")])
    assert synced == [(tmp_path / LOG).stat().st_size]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFailed, match="cannot be written"):
        DecisionLog(tmp_path / "file" / LOG)
    (tmp_path / LOG).mkdir()
    with pytest.raises(UnreadableFile, match="cannot be read as a log"):
        read_history(tmp_path / LOG)


def write_many(path, person, count):
    journal = DecisionLog(Path(path))
    for k in range(count):
        journal.append(
            lambda _, k=k: [
                decision(f"{person}-{k}-{j}", f"{j}", person=person, batch=f"{person}-{k}")
                for j in range(5)
            ]
        )


def test_several_servers_write_one_log(tmp_path):
    path = tmp_path / LOG
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=write_many, args=(str(path), name, 60)) for name in ("Ada", "Ben")
    ]
    watching = DecisionLog(path)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    lines = path.read_bytes().splitlines()
    assert len(lines) == 600
    assert all(json.loads(line) for line in lines)
    assert len(watching.sync().ids) == 600
    for batch, said in watching.history.batches.items():
        assert len(said) == 5, batch


# What counts


def test_read_decisions_follows_the_mask(tmp_path):
    photos, pseudo = write_scene(tmp_path, 6)
    work = Screening(photos, pseudo, repeats=0)
    sheet = work.sheet("Ada", 24)
    work.commit(page_of(sheet, "batch-1", img_00000="keep", img_00001="full", img_00002="unsure"))
    assert {key: d.decision for key, d in read_decisions(pseudo).items()} == {
        "plot0/img_00000": "keep", "plot1/img_00001": "full", "plot2/img_00002": "unsure",
        "plot0/img_00003": "reject", "plot1/img_00004": "reject", "plot2/img_00005": "reject",
    }  # fmt: skip
    assert read_decisions(pseudo / LOG).keys() == read_decisions(pseudo).keys()
    # copied elsewhere: other times, the same bytes
    os.utime(pseudo / "masks/plot0/img_00000.png", (1, 1))
    write_mask(pseudo / "masks/plot1/img_00001.png", np.ones((40, 40), np.uint8))
    (pseudo / "masks/plot2/img_00002.png").unlink()
    assert sorted(read_decisions(pseudo)) == [
        "plot0/img_00000",
        "plot0/img_00003",
        "plot1/img_00004",
        "plot2/img_00005",
    ]
    work.refresh()
    assert [item.key for item in work.sheet("Ada", 24).items] == ["plot1/img_00001"]
    again = Screening(photos, pseudo, repeats=0)
    assert again.counts()["total"] == 5
    assert again.counts()["decided"] == 4


def test_words_on_masks_whose_ending_is_in_capitals_count(tmp_path):
    photos, pseudo = write_scene(tmp_path, 2)
    for path in sorted((pseudo / "masks").rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))
    work = Screening(photos, pseudo, repeats=0)
    sheet = work.sheet("Ada", 24)
    work.commit(page_of(sheet, "batch-1", img_00000="keep", img_00001="reject"))
    assert read_decisions(pseudo).keys() == {"plot0/img_00000", "plot1/img_00001"}
    chosen = keep_pseudo(pseudo, pseudo / LOG)
    assert [entry.files[1].name for entry in chosen.entries] == ["img_00000.PNG"]


def test_a_log_without_a_folder_of_masks(tmp_path):
    assert read_decisions(tmp_path) == {}
    assert read_decisions(tmp_path / "nowhere" / LOG) == {}
    (tmp_path / "a.png").write_bytes(b"mask")
    entry = Decision(
        "a", "a", "a", "keep", "Ada", "fine", 1, "t", "i", screen.content_hash(tmp_path / "a.png")
    )
    (tmp_path / LOG).write_text(entry.to_line() + "\n")
    assert read_decisions(tmp_path)["a"] == entry


# What is shown


def test_pairs_by_name(tmp_path):
    photos, masks = tmp_path / "p", tmp_path / "m"
    for name in (
        "a.jpg",
        "sub/a.JPG",
        "b.jpg",
        "b.png",
        "c.tif",
        "e.jpg",
        "e.jpg.png",
        "notes.txt",
        ".hidden.jpg",
        "mäis.jpeg",
        "f.jfif",
    ):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"x")
    for name in (
        "a.png",
        "sub/a.png",
        "b.jpg.png",
        "b.png.png",
        "b.png",
        "d.png",
        "c.txt",
        "e.jpg.png",
        "mäis.png",
        "f.png",
    ):
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        (masks / name).write_bytes(b"x")
    found = queue.list_items(photos, masks)
    pairs = {item.key: Path(item.photo).relative_to(photos).as_posix() for item in found.items}
    assert pairs == {
        "a": "a.jpg",
        "sub/a": "sub/a.JPG",
        "b.jpg": "b.jpg",
        "b.png": "b.png",
        "e.jpg": "e.jpg",
        "mäis": "mäis.jpeg",
        "f": "f.jfif",
    }
    assert found.lonely == 2  # d, and b, which could be either
    assert "2 masks have no photograph" in found.notes[0]
    (tmp_path / "quality.csv").write_text(
        "key,image,quality\nb,p/b.jpg,0.5\na,p/a.jpg,nan\nd,/etc/hostname,1\nsub/a,,x\n"
    )
    rated = {
        item.key: item for item in queue.list_items(photos, masks, tmp_path / "quality.csv").items
    }
    assert Path(rated["b"].photo).name == "b.jpg"
    assert (rated["b"].quality, rated["a"].quality, rated["sub/a"].quality) == (0.5, None, None)
    assert "d" not in rated


def test_links_that_lead_out_are_left_out(tmp_path):
    photos, pseudo = write_scene(tmp_path, 3)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.jpg").write_bytes(b"far")
    (photos / "evil.jpg").symlink_to(tmp_path / "secret.jpg")
    (photos / "inside.jpg").symlink_to(photos / "plot0" / "img_00000.jpg")
    (photos / "folder").symlink_to(tmp_path / "elsewhere")
    for name in ("evil", "inside", "far"):
        write_mask(pseudo / "masks" / f"{name}.png", np.zeros((4, 4), np.uint8))
    (pseudo / "masks" / "folder").mkdir()
    write_mask(pseudo / "masks" / "folder" / "far.png", np.zeros((4, 4), np.uint8))
    (pseudo / "masks" / "out.png").symlink_to(tmp_path / "secret.jpg")
    found = queue.list_items(photos, pseudo / "masks")
    assert {item.key for item in found.items} == {
        "plot0/img_00000",
        "plot1/img_00001",
        "plot2/img_00002",
        "inside",
    }
    assert found.outside == 2
    assert any("links that lead out" in note for note in found.notes)
    for path in photos.rglob("img_*.jpg"):
        path.unlink()
    with pytest.raises(BadInput, match=r"has a photograph .* links that lead out of their folder"):
        queue.list_items(photos, pseudo / "masks")


def test_folders_that_cannot_be_used(tmp_path):
    photos, pseudo = write_scene(tmp_path, 2)
    with pytest.raises(UnreadableFile, match="cannot be read as a folder"):
        Screening(tmp_path / "none", pseudo)
    with pytest.raises(UnreadableFile, match="cannot be read as a folder"):
        Screening(photos, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(BadInput, match="No mask in"):
        queue.list_items(pseudo / "masks" / "plot0", pseudo / "masks")
    with pytest.raises(BadInput, match="share of 2"):
        Screening(photos, pseudo, repeats=2)
    for broken, match in (
        (b"a,b\n1,2\n", "no column 'key'"),
        (b"\xff\xff", "cannot be read as a table"),
        (b"", "no column 'key'"),
    ):
        (pseudo / "quality.csv").write_bytes(broken)
        with pytest.raises(UnreadableFile, match=match):
            Screening(photos, pseudo)
    (pseudo / "quality.csv").unlink()
    assert all(item.quality is None for item in Screening(photos, pseudo).listing.items)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60), st.booleans(), st.floats(0, 1))
def test_order_and_repeats(qualities, best, share):
    items = [
        queue.Item(queue.item_id(str(k)), str(k), "p", "m", quality)
        for k, quality in enumerate(qualities)
    ]
    showings = queue.arrange(items, best, share)
    once = [showing.item for showing in showings if showing.turn == 0]
    assert sorted(item.key for item in once) == sorted(item.key for item in items)
    rated = [item.quality for item in once if item.quality is not None]
    assert rated == sorted(rated, reverse=best)
    assert [item.quality is None for item in once] == sorted(item.quality is None for item in once)
    twice = {showing.item.key for showing in showings if showing.turn == 1}
    assert twice == {
        showing.item.key for showing in queue.arrange(items, not best, share) if showing.turn
    }
    places = {(showing.item.key, showing.turn): k for k, showing in enumerate(showings)}
    assert all(places[key, 1] > places[key, 0] for key in twice)
    assert len(twice) == {0.0: 0, 1.0: len(items)}.get(share, len(twice))


def test_share_of_repeats():
    items = [queue.Item(queue.item_id(str(k)), str(k), "p", "m", None) for k in range(20_000)]
    showings = queue.arrange(items, repeats=0.02)
    assert 300 < len(showings) - 20_000 < 500
    places = {(showing.item.key, showing.turn): k for k, showing in enumerate(showings)}
    apart = [
        place - places[key, 0]
        for (key, turn), place in places.items()
        if turn and places[key, 0] < 19_000
    ]
    assert min(apart) >= queue.GAP


def test_sheets_follow_each_other(tmp_path):
    work = Screening(*write_scene(tmp_path, 100), repeats=0)
    first = work.sheet("Ada", 40)
    second = work.sheet("Ada", 40, after=first.after)
    assert not {item.key for item in first.items} & {item.key for item in second.items}
    assert first.items == work.sheet("Ada", 40).items  # a reload shows what is not decided
    assert [item.quality for item in first.items] == sorted(
        (item.quality for item in first.items), reverse=True
    )
    worst = work.sheet("Ada", 40, "worst")
    assert worst.items[0].quality == min(item.quality for item in work.listing.items)
    work.commit(page_of(first, "batch-1"))
    assert work.sheet("Ada", 40).items == second.items
    assert len(work.sheet("Ada", 1000).items) == 60
    with pytest.raises(UnknownName, match="did you mean 'worst'"):
        work.sheet("Ada", 40, "wurst")


def test_nobody_does_another_ones_work(tmp_path, monkeypatch):
    work = Screening(*write_scene(tmp_path, 60), repeats=0)
    ada, ben = work.sheet("Ada", 40), work.sheet("Ben", 40)
    assert not {item.key for item in ada.items} & {item.key for item in ben.items}
    assert (len(ben.items), ben.held) == (20, 40)
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock + screen.LEASE + 1)
    # Ada has gone home
    assert {item.key for item in ada.items} <= {item.key for item in work.sheet("Ben", 60).items}


def test_what_is_shown_twice(tmp_path):
    photos, pseudo = write_scene(tmp_path, 12)
    work = Screening(photos, pseudo, repeats=1)
    first = work.sheet("Ada", 24)
    assert len(first.items) == 12
    work.commit(page_of(first, "batch-1", img_00000="keep"))
    again = work.sheet("Ada", 24)
    assert {item.key for item in again.items} == {item.key for item in first.items}
    work.commit(page_of(again, "batch-2", img_00000="keep", img_00001="keep"))
    assert work.sheet("Ada", 24).items == ()
    (row,) = measure_agreement(read_history(pseudo / LOG))
    assert (row.who, row.stage, row.pairs, row.observed) == (
        "Ada, shown twice",
        "coarse",
        12,
        11 / 12,
    )
    assert row.kappa == pytest.approx((11 / 12 - 112 / 144) / (1 - 112 / 144))


def test_commit_twice_and_stale(tmp_path):
    photos, pseudo = write_scene(tmp_path, 5)
    work = Screening(photos, pseudo, repeats=0)
    sheet = work.sheet("Ada", 24)
    page = page_of(sheet, "batch-1", img_00003="keep")
    write_mask(pseudo / "masks/plot0/img_00000.png", np.ones((40, 40), np.uint8))
    (photos / "plot1/img_00001.jpg").unlink()
    done = work.commit(page)
    assert (done.written, done.known) == (3, 0)
    assert {work.items[name].key for name in done.stale} == {"plot0/img_00000", "plot1/img_00001"}
    again = work.commit(page)
    assert (again.written, again.known) == (0, 3)
    assert len((pseudo / LOG).read_bytes().splitlines()) == 3
    other = Screening(photos, pseudo, repeats=0)  # another server knows too
    assert other.commit(page).known == 3
    entry = read_decisions(pseudo)["plot0/img_00003"]
    assert entry.image == screen.content_hash(photos / "plot0/img_00003.jpg")
    assert entry.mask == screen.content_hash(pseudo / "masks/plot0/img_00003.png")
    assert entry.seconds == 0.8
    with pytest.raises(BadInput, match="0 decisions"):
        work.commit(Page("batch-9", "Ada", "coarse", 1, ()))
    with pytest.raises(UnknownName, match="no pass"):
        work.commit(Page("batch-9", "Ada", "cause", 1, page.words))
    with pytest.raises(UnknownName, match="no decision"):
        work.commit(Page("batch-9", "Ada", "coarse", 1, (Word(sheet.items[0].id, "kepp", "v"),)))


def test_undo_in_steps(tmp_path):
    photos, pseudo = write_scene(tmp_path, 90)
    work = Screening(photos, pseudo, repeats=0)
    for k in range(3):
        work.commit(page_of(work.sheet("Ada", 24), f"batch-{k}"))
    work.commit(page_of(work.sheet("Ben", 24), "batch-b", person="Ben"))
    back = work.undo("undo-1", "Ada", ("coarse",))
    assert {d.batch for d in back} == {"batch-2"}
    # the answer was lost, and the page asks again
    assert work.undo("undo-1", "Ada", ("coarse",)) == back
    assert {d.batch for d in work.undo("undo-2", "Ada", ("coarse",))} == {"batch-1"}
    assert {d.batch for d in work.undo("undo-3", "Ada", ("coarse",))} == {"batch-0"}
    assert work.undo("undo-4", "Ada", ("coarse",)) == []
    assert work.undo("undo-5", "Ada", ("fine", "settle")) == []
    assert {d.person for d in read_decisions(pseudo).values()} == {"Ben"}
    assert work.commit(page_of(work.sheet("Ada", 24), "batch-4")).written == 24


def test_fine_pass_and_disagreements(tmp_path):
    photos, pseudo = write_scene(tmp_path, 6)
    work = Screening(photos, pseudo, repeats=1)
    first = work.sheet("Ada", 24)
    work.commit(page_of(first, "batch-1", img_00000="keep", img_00001="full", img_00002="unsure"))
    assert [item.key[-1] for item in work.fine("Ada", "kept").items] == ["0", "1"]
    assert [item.key[-1] for item in work.fine("Ada", "unsure").items] == ["2"]
    assert len(work.fine("Ada", "all").items) == 6
    work.commit(
        Page(
            "batch-2",
            "Ben",
            "coarse",
            1,
            page_of(first, "x", img_00001="full", img_00002="unsure", img_00004="keep").words,
        )
    )
    assert [item.key[-1] for item in work.fine("Ada", "conflicts").items] == ["0", "4"]
    assert work.counts()["conflicts"] == 2
    one = next(item for item in first.items if item.key.endswith("0"))
    work.commit(Page("batch-3", "Ada", "settle", 2, (Word(one.id, "keep", version(one)),)))
    assert [item.key[-1] for item in work.fine("Ada", "conflicts").items] == ["4"]
    assert read_decisions(pseudo)["plot0/img_00000"].decision == "keep"
    assert [item.key[-1] for item in work.fine("Ada", "kept").items] == ["1", "4"]
    with pytest.raises(UnknownName, match="scope"):
        work.fine("Ada", "most")


def test_conflict_rule():
    assert not is_conflict([decision("a")])
    assert is_conflict([decision("a"), decision("b", word="reject", person="Ben")])
    # one person may change their mind
    assert not is_conflict([decision("a"), decision("b", word="reject")])
    assert not is_conflict(
        [decision("a"), decision("b", word="reject", person="Ben"), decision("c", stage="settle")]
    )


# Numbers


def test_kappa_by_hand():
    assert cohen([("keep", "keep")] * 10) == (1.0, None, None)
    observed, kappa, _ = cohen([("keep", "keep")] * 5 + [("reject", "reject")] * 5)
    assert (observed, kappa) == (1, 1)
    observed, kappa, margin = cohen(
        [("keep", "reject"), ("reject", "keep"), ("keep", "keep"), ("reject", "reject")]
    )
    assert (observed, kappa) == (0.5, 0)
    assert margin == pytest.approx(1.96 * (0.25 / 4) ** 0.5 / 0.5)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "reject", "full"]), st.sampled_from(["keep", "reject", "full"])
        ),
        min_size=1,
        max_size=50,
    )
)
def test_kappa_is_symmetric_and_bounded(pairs):
    observed, kappa, _ = cohen(pairs)
    assert cohen([pair[::-1] for pair in pairs])[:2] == (observed, kappa)
    if kappa is not None:
        assert -1 <= kappa <= observed <= 1


def test_throughput_counts_time_of_what_was_undone():
    history = History()
    for k in range(6):
        history.add(decision(f"a{k}", f"{k}", "keep" if k < 2 else "reject", batch="a", seconds=1))
    for k in range(2):
        history.add(decision(f"b{k}", f"{k}", "reject", person="Ben", batch="b", seconds=2))
    history.add(decision("f", "0", "full", stage="fine", seconds=10))
    history.add(Undo("u", "b", "Ben", "coarse", "t"))
    ada, fine, ben, both = measure_throughput(history)
    assert (ada.person, ada.seen, ada.kept, ada.seen_per_hour, ada.kept_per_hour) == (
        "Ada",
        6,
        2,
        3600,
        1200,
    )
    assert (fine.stage, fine.seen_per_hour) == ("fine", 360)
    assert (ben.seen, ben.seconds, ben.seen_per_hour) == (0, 4, 0)
    assert (both.person, both.stage, both.seen, both.seconds) == ("all", "coarse", 6, 10)


def test_agreement_of_two_persons_on_the_same_mask_only():
    history = History()
    for k in range(4):
        history.add(decision(f"a{k}", f"{k}", "keep", mask="1"))
        history.add(
            decision(
                f"b{k}", f"{k}", "keep" if k else "reject", person="Ben", mask="1" if k < 3 else "2"
            )
        )
    (row,) = measure_agreement(history)
    assert (row.who, row.pairs, row.observed) == ("Ada and Ben", 3, 2 / 3)


def test_fifths_by_quality():
    last = {str(k): decision(str(k), str(k), "keep" if k >= 5 else "reject") for k in range(10)}
    rows = kept_by_quality(last, {str(k): k / 10 for k in range(10)})
    assert [(masks, kept) for _, _, masks, kept in rows] == [(2, 0), (2, 0), (2, 1), (2, 2), (2, 2)]
    assert kept_by_quality(last, {}) == []
