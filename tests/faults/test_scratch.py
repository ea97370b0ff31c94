"""What a killed process left goes, what a living one holds stays."""

import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import shapely

from fault_runs import in_child
from selion.closerange import run
from selion.closerange.overlay import write_picture
from selion.errors import OutputExists, OutputFailed
from selion.fields.formats import write_layer
from selion.store import atomic_folder, atomic_write, check_output, files_below, scratch

HOLDS = """
import sys, time
from pathlib import Path
from selion.store import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of a write."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "other.txt")],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "half\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, writer):
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    kept = [name for name in names(tmp_path) if name != "a.txt"]
    assert len(kept) == 1, "a living process keeps what it writes"
    assert (tmp_path / kept[0] / "made" / "other.txt").read_text() == "half"
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    scratch._looked.clear()  # another process would look at once
    with atomic_write(tmp_path / "b.txt") as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_what_was_moved_aside_comes_back(tmp_path, monkeypatch):
    """Where folders cannot be exchanged, a process may be killed between two renames."""
    monkeypatch.setattr(scratch, "exchange", lambda *_: False)
    with atomic_folder(tmp_path / "out") as made:
        (made / "old").write_text("old")
    dead = tmp_path / f"{scratch.PREFIX}0123abcd"
    (dead / scratch.ASIDE).mkdir(parents=True)
    (dead / scratch.LOCK).touch()
    (tmp_path / "out").rename(dead / scratch.ASIDE / "out")
    scratch._looked.clear()
    assert scratch.sweep(tmp_path) == [dead]
    assert (tmp_path / "out" / "old").read_text() == "old"
    with atomic_folder(tmp_path / "out", force=True) as made:
        (made / "old").write_text("new")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "old").read_text() == "new"


def test_only_what_is_nothing_but_a_scratch_folder_is_taken_away(tmp_path):
    """By name, by a free lock, and by all that lies in it; never what somebody made himself."""
    mine = (".selion-mynotes1", ".selion-0123abcd", ".selion-0123abce", ".selion-0123abcf")
    for name, inner in zip(mine, ("lock", "notes.txt", "made", "lock"), strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / inner).touch()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / mine[3] / "notes.txt").touch()
    dead = tmp_path / ".selion-01234567", tmp_path / ".selion-01234568"
    for folder in dead:
        folder.mkdir()
    (dead[0] / "lock.new").touch()  # it was killed before it held the lock
    assert scratch.sweep(tmp_path) == list(dead)
    assert names(tmp_path) == sorted(mine)


@pytest.mark.parametrize("goes", ["", "made"])
def test_a_folder_that_goes_while_it_is_looked_at_is_no_obstacle(tmp_path, monkeypatch, goes):
    """Another process ends, and takes its folder away, between two questions about it."""
    folder, dead = tmp_path / ".selion-01234567", tmp_path / ".selion-01234568"
    for one in (folder, dead):
        (one / "made").mkdir(parents=True)
        (one / "lock").touch()
    real = pathlib.Path.is_symlink

    def late(path):
        if path == folder / goes and path.is_dir():
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(pathlib.Path, "is_symlink", late)
    late_is_dir = pathlib.Path.is_dir
    if not goes:
        monkeypatch.setattr(
            pathlib.Path, "is_dir", lambda path: path == folder or late_is_dir(path)
        )
    assert scratch.is_bare(tmp_path)
    assert dead in scratch.left_behind(tmp_path)


def test_a_folder_that_was_taken_for_a_dead_ones_is_made_anew(tmp_path, monkeypatch):
    """Another process may look between the making of a folder and of its lock."""
    real, seen = os.open, []

    def late(path, *rest, **more):
        if str(path).endswith("lock.new") and len(seen) < 2:
            seen.append(path)
            os.rmdir(os.path.dirname(path))  # noqa: PTH106, PTH120
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", late)
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert len(seen) == 2
    assert names(tmp_path) == ["a.txt"]


def small_files(most):
    """Let no file become larger; return what the limit was."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    return hard


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
@pytest.mark.parametrize("most", [0, 20_000, 60_000])
def test_a_layer_for_which_there_is_no_space_is_refused(tmp_path, most):
    """SQLite says many things of a full disk, and GDAL others."""

    def work():
        hard = small_files(most)
        square = shapely.box(0, 0, 1, 1)
        try:
            with atomic_folder(tmp_path / "out") as made:
                write_layer([{"a": 1}], [square], "EPSG:32633", made / "a.gpkg", "a", {"a": "x"})
        except OutputFailed as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            return str(error)
        return "written"

    said = in_child(work)
    assert said.startswith(f"{tmp_path}/out/a.gpkg was not written")
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_a_picture_that_a_full_disk_has_taken_half_is_refused(tmp_path):
    """Pillow writes in C and does not look how many bytes were taken."""

    def work():
        hard = small_files(1000)
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        try:
            write_picture(noise, tmp_path / "a.jpg")
        except OutputFailed as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            return str(error)
        return "written"

    assert "no space left" in in_child(work)
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_folders_are_exchanged_in_one_step(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert scratch.exchange(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "a") == ["b"]
    assert not scratch.exchange(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("length", [100, 255])
def test_names_may_be_as_long_as_the_system_allows(tmp_path, length):
    path = tmp_path / ("é" * 20 + "n" * (length - 44) + ".txt")
    assert len(os.fsencode(path.name)) == length
    with atomic_write(path) as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("code", ["EIO", "EROFS", "EMFILE", "ENFILE", "EDQUOT", "ENOSPC"])
@pytest.mark.parametrize("named", [True, False])
def test_what_the_system_refuses_is_a_sentence(tmp_path, code, named):
    number = getattr(errno, code)
    with (
        pytest.raises(OutputFailed, match=r"was not written .*: \w"),
        atomic_write(tmp_path / "a") as temporary,
    ):
        raise OSError(number, os.strerror(number), *([str(temporary)] if named else []))
    assert names(tmp_path) == []


def test_files_below_are_those_that_a_person_sees(tmp_path):
    for name in ("a", ".b", "c/d", ".selion-0123abcd/made/e", "c/.f/g"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sorted(path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path))
    assert found == ["a", "c/d"]


def test_who_is_refused_because_the_result_is_there_takes_away_what_a_dead_run_left(tmp_path):
    (tmp_path / "a").touch()
    dead = tmp_path / ".selion-01234567"
    (dead / "made").mkdir(parents=True)
    (dead / "lock").touch()
    with pytest.raises(OutputExists):
        check_output(tmp_path / "a")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("there", [True, False])
def test_parts_whose_note_somebody_removed_go_with_the_error(tmp_path, there):
    note = tmp_path / ".out.selion-merge" / "merge.json"
    (note.parent / "runs").mkdir(parents=True)
    if there:
        note.touch()
    with pytest.raises(OutputFailed), scratch.parts_of(note):
        raise OutputFailed("no")
    assert note.parent.exists() == there


def test_a_run_of_photographs_whose_masks_somebody_removed_does_not_end_well(tmp_path):
    (tmp_path / "run.json").touch()
    lost = SimpleNamespace(folder=tmp_path, rows=[{"mask": "masks/1.png", "overlay": ""}])
    with pytest.raises(OutputFailed, match=r"1 file of this run .*masks/1.png"):
        run._check_there(lost, None)


@pytest.mark.parametrize("own_disk", [False, True])
def test_nobody_goes_on_from_half_of_finished_parts(tmp_path, monkeypatch, own_disk):
    """What is left when a removal is cut short is no longer anybody's parts."""
    note = tmp_path / ".out.selion-merge" / "merge.json"
    (note.parent / "seams").mkdir(parents=True)
    note.write_text('{"key": "mine"}')
    (note.parent / "seams" / "b").touch()
    real = pathlib.Path.rename

    def elsewhere(one, other):
        if one == note.parent:
            raise OSError(errno.EXDEV, "another disk")
        return real(one, other)

    removes = shutil.rmtree

    def cut_short(path, **more):
        if path == note.parent or (path / "parts").exists():
            raise KeyboardInterrupt
        removes(path, **more)

    with monkeypatch.context() as patch:
        if own_disk:
            patch.setattr(pathlib.Path, "rename", elsewhere)
        patch.setattr(scratch.shutil, "rmtree", cut_short)
        with pytest.raises(KeyboardInterrupt):
            scratch.clear_parts(note)
    assert not note.exists() or json.loads(note.read_text())["key"] == ""
    assert note.exists() == own_disk
    scratch._looked.clear()
    scratch.clear_parts(note)
    with scratch.scratch_folder(tmp_path / "next"):
        pass
    assert names(tmp_path) == []
