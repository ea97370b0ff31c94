"""Outputs appear whole or not at all."""

# ruff: noqa: PT012 - what a block leaves behind is what is tested

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selion.errors import OutputExists, OutputFailed
from selion.store import atomic_folder, atomic_write, check_output
from selion.store.atomic import write_text
from selion.store.lock import held, try_hold
from selion.store.scratch import sweep

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_file_appears_only_at_the_end(tmp_path):
    target = tmp_path / "deep" / "out.bin"
    with atomic_write(target) as temporary:
        temporary.write_bytes(b"abc")
        assert temporary.suffix == ".bin"
        assert target.parent in temporary.parents
        assert not target.exists()
    assert target.read_bytes() == b"abc"
    assert names(target.parent) == ["out.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_fails(tmp_path, error):
    target = tmp_path / "out[1]*.gpkg"
    with pytest.raises(error), atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        Path(f"{temporary}-journal").write_bytes(b"side")
        raise error
    assert names(tmp_path) == []


def test_existing_file_is_refused_and_force_replaces_it(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(OutputExists, match="--force"), atomic_write(target):
        pytest.fail("the block must not begin")
    with atomic_write(target, force=True) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_old_file_survives_a_failed_replacement(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target, force=True) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    target = tmp_path / "out.txt"
    with pytest.raises(OutputExists), atomic_write(target) as temporary:
        temporary.write_text("mine")
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["out.txt"]


def test_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with atomic_write(tmp_path / "out.txt") as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == ["out.txt"]
    with pytest.raises(OutputExists), atomic_write(tmp_path / "two.txt") as temporary:
        temporary.write_text("x")
        (tmp_path / "two.txt").write_text("theirs")
    assert (tmp_path / "two.txt").read_text() == "theirs"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with (
        pytest.raises(OutputFailed, match="Nothing was written"),
        atomic_write(tmp_path / "out.txt"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_full_disk(tmp_path, number):
    with pytest.raises(OutputFailed, match="no space left"), atomic_write(tmp_path / "out.txt"):
        raise OSError(number, "full")
    assert names(tmp_path) == []


def test_errors_of_other_files_keep_their_type(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out.txt"):
        Path("/no/such/input").read_bytes()


def test_check_output(tmp_path):
    assert check_output(tmp_path / "new" / "a.tif") == tmp_path / "new" / "a.tif"
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputFailed, match="not a folder"):
        check_output(tmp_path / "file" / "a.tif")
    with pytest.raises(OutputExists):
        check_output(tmp_path / "file")
    assert check_output(tmp_path / "file", force=True) == tmp_path / "file"
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExists):
        check_output(tmp_path / "dangling")


def test_file_where_a_folder_is(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(OutputFailed, match="is a folder"),
        atomic_write(tmp_path / "out", force=True),
    ):
        pass


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputFailed, match="permission"), atomic_write(tmp_path / "out.txt"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_permission_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputFailed, match="no permission to write"):
        check_output(tmp_path / "out.txt")


def test_folder_appears_only_at_the_end_and_is_replaced_by_force(tmp_path):
    target = tmp_path / "out.zarr"
    for text in ("one", "two"):
        with atomic_folder(target, force=text == "two") as temporary:
            (temporary / "zarr.json").write_text("{}")
            (temporary / "sub").mkdir()
            (temporary / "sub" / text).write_text(text)
            assert not (target / "sub" / text).exists()
        assert names(target / "sub") == [text]
    assert names(tmp_path) == ["out.zarr"]
    with pytest.raises(OutputExists), atomic_folder(target):
        pass
    with pytest.raises(KeyboardInterrupt), atomic_folder(target, force=True) as temporary:
        (temporary / "half").write_text("x")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["out.zarr"]
    assert names(target / "sub") == ["two"]


KILLED = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from odc.geo.geobox import GeoBox
from affine import Affine
from selion.store import create_cog, create_cube
grid = GeoBox((600, 600), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
create = create_cube if sys.argv[1].endswith(".zarr") else create_cog
with create(sys.argv[1], grid, ("a",), "uint8") as sink:
    sink.write((slice(0, 300), slice(0, 600)), np.ones((1, 300, 600), "uint8"))
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_kill_leaves_nothing_under_the_final_name(tmp_path, name):
    target = tmp_path / name
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert not target.exists()
    assert all(entry.startswith(".") for entry in names(tmp_path))


def test_interrupt_leaves_nothing_at_all(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "out.tif")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "half\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert names(tmp_path) == []


def test_a_lock_has_no_name_before_it_is_held(tmp_path, monkeypatch):
    """A thread that sweeps must not find the lock of a live folder free, as it once did."""
    fcntl = pytest.importorskip("fcntl")
    named = []

    def flock(file, how):
        named.append((tmp_path / "lock").exists())
        return kept(file, how)

    kept = fcntl.flock
    monkeypatch.setattr("selion.store.lock.fcntl.flock", flock)
    with held(tmp_path / "lock"):
        assert named == [False]
        assert not try_hold(tmp_path / "lock")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert try_hold(tmp_path / "lock")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_folder_moved_aside_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch, error
):
    """Where two names cannot be swapped in one step, and the second rename fails."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "one").write_text("precious")
    monkeypatch.setattr("selion.store.scratch.exchange", lambda *_: False)
    rename = Path.replace

    def replace(self, target):
        if self.name == "out" and self.parent.name == "made":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(error), atomic_folder(out, force=True) as made:
        (made / "one").write_text("new")
    assert (out / "one").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_given_back_is_not_swept(tmp_path, monkeypatch):
    dead = tmp_path / ".selion-deadbeef"
    (dead / "aside" / "out").mkdir(parents=True)
    (dead / "lock").touch()

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "replace", refuse)
    assert sweep(tmp_path) == []
    assert (dead / "aside" / "out").is_dir()


def test_files_are_written_where_there_are_no_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("selion.store.lock.fcntl.flock", flock)
    write_text(tmp_path / "x.txt", "x")
    assert (tmp_path / "x.txt").read_text() == "x"


def filled_after_it_was_taken(out):
    with atomic_folder(out) as folder:
        (folder / "a.txt").write_text("first")
        shutil.rmtree(folder.parent)
        write_text(folder / "b.txt", "second")  # which makes the folder anew


def test_a_folder_that_is_taken_while_it_is_filled_is_not_half_there(tmp_path):
    """Only what was written since would have come to its name, with exit code 0."""
    with pytest.raises(OutputFailed, match="was removed while it was written"):
        filled_after_it_was_taken(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
