"""``selion clean`` removes what dead processes left, and nothing else."""

import fcntl
import json
import os

import pytest
from click.testing import CliRunner

from selion.cli.main import cli
from selion.errors import OutputFailed
from selion.store import leftovers, scratch
from selion.store.leftovers import OLD

KEY = "0a" * 32
OURS = {
    ".selion-0123abcd/lock": "",
    ".selion-0123abcd/made/out.tif": "half",
    "deep/.selion-0123abce/lock.new": "",
    ".out.parquet.begun": f'{KEY}\n12 5 99\n"/tmp/out.parquet"\n12 5',
    "plan/jobs/a/.selion-job.lease": "",
    "cache/.0123456789ab-model.onnx.part": "half",
    "cache/.0123456789ab-model.onnx.part.version": '"etag"',
}
WORK = ".map.parquet.selion/scores/0-1_0-1.block"
YOURS = {
    ".selion-notes/lock": "",
    ".selion-0123abcf/lock": "",
    ".selion-0123abcf/diary.txt": "mine",
    ".selion-01234567/made": "a file",
    ".selion/settings": "mine",
    ".week.begun": "I have begun to write.",
    ".empty.begun": "",
    ".journal.lease": "the lease of my flat",
    ".list.begun": f"{KEY}\nbuy milk\nand bread",
    ".song.part": "mine",
    "model.onnx.part": "mine",
    "cache/0123456789ab-model.onnx": "whole",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, text in (OURS | YOURS | {WORK: "done"}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".gone.begun").symlink_to(tmp_path / ".out.parquet.begun")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    return tmp_path


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def clean(*words):
    done = CliRunner().invoke(cli, ["clean", *words])
    assert done.exit_code == 0, done.output
    return done


def test_dry_run_lists_and_removes_nothing(here):
    before = names(here)
    rows = json.loads(clean("--dry-run", "--json").stdout)
    assert names(here) == before
    kinds = sorted(row["kind"] for row in rows)
    assert kinds == ["download", "download", "lease", "note", "scratch", "scratch"]
    assert not any(row["removed"] for row in rows)
    assert "6 left behind" in clean("--dry-run").stderr


def test_what_is_ours_goes_and_what_is_yours_stays(here):
    assert "6 of 6 removed" in clean().stderr
    assert names(here) == {*YOURS, WORK}
    assert "Nothing is left behind" in clean().stderr


def test_what_was_moved_aside_is_given_back(here):
    (here / ".selion-0123abcd" / scratch.ASIDE / "old").mkdir(parents=True)
    (here / ".selion-0123abcd" / scratch.ASIDE / "old" / "map").write_text("the only copy")
    clean()
    assert (here / "old" / "map").read_text() == "the only copy"


@pytest.mark.parametrize("note", [True, False])
def test_finished_parts_go_only_when_asked_and_when_nobody_works(here, note):
    if note:
        (here / ".map.parquet.begun").write_text(f"{KEY}\n")
    clean("--work") if not note else None
    assert (here / WORK).exists(), "it was just written, maybe by a notebook"
    for path in here.rglob("*"):
        if not note and ".map" in str(path):
            os.utime(path, (0, OLD))
    assert "kept (--work removes it)" in clean("--dry-run").stdout
    clean("--work")
    assert not (here / WORK).exists()
    assert names(here) == {*YOURS}


def test_what_a_living_process_holds_stays(here):
    held = [".selion-0123abcd/lock", ".out.parquet.begun", "plan/jobs/a/.selion-job.lease"]
    files = [(here / name).open("r+") for name in held]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    clean()
    assert set(held) < names(here)
    for file in files:
        file.close()


def test_what_cannot_be_looked_at_is_said(here, monkeypatch):
    def refused(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(leftovers, "removed", refused)
    done = CliRunner().invoke(cli, ["clean"])
    assert isinstance(done.exception, OutputFailed)
    assert "left (Input/output error)" in done.stdout
    assert "2 leftovers could not be removed" in str(done.exception)
