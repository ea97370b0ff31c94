"""The folder of an output gets another name, or goes, while a command writes there."""

import json
import shutil
import sys
from pathlib import Path

import click
import pandas as pd
import pyarrow.parquet as pq
import pytest

from selion import store
from selion.cli import begun
from selion.errors import OutputFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open folders keep their place")


def make(act):
    """Return a small command, guarded as all are."""

    @click.command("small")
    @click.option("--out", type=click.Path(path_type=Path))
    @click.option("--force", is_flag=True)
    @click.option("--size", type=int, default=1)
    def command(**values):
        act(**values)

    return begun.guarded(command, "small")


def call(command, *words):
    command.main([*map(str, words)], standalone_mode=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_that_was_made_stands_in_the_manifest_wherever_its_folder_is_called_now(home):
    """What was published under the former name was missing, and exit code 0 said all was well."""

    def act(out, force, size):
        store.write_text(out.with_name("more.txt"), "more", force=force)
        home.rename(home.with_name("other"))
        store.write_text(out, "x", force=force)

    call(make(act), "--out", "out.txt")
    there = home.with_name("other")
    assert listed(there) == ["more.txt", "out.txt", "out.txt.manifest.json"]
    told = json.loads((there / "out.txt.manifest.json").read_text())
    assert set(told["files"]) == {"more.txt", "out.txt"}


def test_a_folder_that_is_not_there_any_more_is_said_in_a_sentence(home):
    """It was said that nothing had been written, which is a bug of the writer."""

    def act(out, force, size):
        with store.atomic_write(home / out, force) as made:
            made.write_text("x")
            home.rename(home.with_name("other"))

    with pytest.raises(OutputFailed, match=r"home was removed or renamed meanwhile") as told:
        call(make(act), "--out", "out.txt")
    assert "\n" not in str(told.value)
    assert not [name for name in listed(home.with_name("other")) if not name.startswith(".")]


def test_the_library_says_that_its_scratch_folder_went(home):
    def write():
        with store.atomic_write(home / "out.txt") as made:
            shutil.rmtree(made.parent)
            made.write_text("x")

    with pytest.raises(OutputFailed, match=r"made was removed or renamed meanwhile"):
        write()
    assert listed(home) == []


@pytest.mark.parametrize(
    "read_by",
    [
        pq.ParquetFile,
        pq.read_table,
        pd.DataFrame({"a": [1]}).to_parquet,
        pd.DataFrame({"a": [1]}).to_csv,
    ],
)
def test_parts_that_went_are_said_though_a_sentence_alone_names_them(home, read_by):
    parts = home / ".out.selion-merge" / "runs"
    parts.mkdir(parents=True)

    def read():
        with store.atomic.explained(home / "out"):
            shutil.rmtree(parts.parent)
            read_by(parts / "0000.parquet")

    with pytest.raises(OutputFailed, match=r"runs was removed or renamed meanwhile"):
        read()


def test_what_was_published_before_the_folder_got_another_name_is_gone_on_with(home):
    """The note was taken away, and the same command said that its own output exists already."""

    def act(out, force, size):
        store.write_text(out, "x", force=force)
        if size == 2 and not Path("seen").exists():
            Path("seen").touch()
            home.rename(home.with_name("other"))
            raise OutputFailed("no")

    with pytest.raises(OutputFailed, match="no"):
        call(make(act), "--out", "out.txt", "--size", 2)
    home.with_name("other").rename(home)
    call(make(act), "--out", "out.txt", "--size", 2)
    assert listed(home) == ["out.txt", "out.txt.manifest.json", "seen"]


def test_a_folder_that_went_and_was_made_anew_by_what_was_added_has_no_manifest(home):
    """It described the one file that was added, as if that were the result."""

    def act(out, force, size):
        with store.atomic_folder(out, force) as made:
            (made / "table.txt").write_text("x")
        if size == 2:
            shutil.rmtree(out)
        store.write_text(out / "added.txt", "y", force=force)

    call(make(act), "--out", "whole")
    assert (home / "whole.manifest.json").is_file()
    call(make(act), "--out", "lost", "--size", 2)
    assert not (home / "lost.manifest.json").exists()
