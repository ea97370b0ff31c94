"""What happens in a folder while a command reads it, and is no change of an input."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys

import pytest

from command_line import run_here
from option_inputs import INPUTS
from option_walk import Inputs
from selion.errors import InputChanged
from selion.store.inputs import WatchedInputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)


@pytest.fixture(scope="module")
def photos(inputs):
    return inputs["photos"] / "photos"


def test_an_output_in_a_folder_behind_a_link_is_no_input(photos, tmp_path):
    """A link to a larger disk: the same command goes on, and --force makes all of it again."""
    shutil.copytree(photos, tmp_path / "disk")
    (tmp_path / "photos").symlink_to("disk")
    for more in ((), (), ("--force",)):
        words = ("crops", "photos", "photos", "-o", "photos/out", "-m", "colour", "--workers", "1")
        done = run_here(*words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "a.ipynb", "do.py", "a.qgz", "a.md~"])
def test_what_other_programs_keep_in_a_folder_is_no_input(name, tmp_path):
    place = tmp_path / name
    place.write_text("1")
    watched = WatchedInputs()
    watched.add(tmp_path)
    place.write_text("12")
    watched.check()


def test_what_a_command_says_may_go_into_a_file_of_the_folder_it_reads(tmp_path):
    (tmp_path / "said.json").write_text("[")
    words = (
        "from pathlib import Path; from selion.store.inputs import WatchedInputs as W; w = W();"
        "w.add(Path('.')); print('0]', flush=True); w.check()"
    )
    with (tmp_path / "said.json").open("a") as out:
        done = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, stdout=out, check=False)
    assert done.returncode == 0


def test_what_a_command_says_may_go_there_through_a_pipe(tmp_path):
    """``selion ... | tee said.txt``, which was refused as an input that changes."""
    (tmp_path / "said.txt").write_text("[")
    words = (
        "from pathlib import Path; from selion.store.inputs import WatchedInputs as W; w = W();"
        "w.add(Path('.')); print('0]', flush=True); import time;"
        "[time.sleep(.01) for _ in range(300) if Path('said.txt').stat().st_size < 4];"
        "w.check(); Path('x.csv').write_text('12'); w.check()"
    )
    (tmp_path / "x.csv").write_text("1")
    shell = ["bash", "-c", '"$0" -c "$1" | tee -a said.txt', sys.executable, words]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "x.csv was changed" in done.stderr
    assert (tmp_path / "said.txt").read_text() == "[0]\n"


VERBS = {
    "stats maps --districts units -o out.csv": "maps",
    "tiles maps -o out.pmtiles --max-zoom 9": "maps",
    "query 12,50,12.011,50.001 maps -o out.parquet": "maps",
    "merge job -o out": "job",
}


@pytest.mark.parametrize("words", VERBS)
def test_what_lies_beside_tables_is_no_input(words, inputs, tmp_path, monkeypatch):
    """A table is; notes, images and what a job that is at work writes are not."""
    place = tmp_path / VERBS[words]
    shutil.copytree(inputs["maps"], tmp_path / "maps")
    shutil.copy(inputs["units"], tmp_path / "units.gpkg")
    (tmp_path / "job").mkdir()
    shutil.copy(inputs["table"], tmp_path / "job" / "fields.parquet")
    (place / "notes.csv").write_text("1")
    given = [one.replace("units", "units.gpkg") for one in words.split()]
    real, happening = WatchedInputs.check, []

    def check(watched):
        while happening:
            with happening.pop().open("ab") as file:
                file.write(b"2")
        real(watched)

    monkeypatch.setattr(WatchedInputs, "check", check)
    happening.append(place / "notes.csv")
    done = run_here(*given, cwd=tmp_path)
    assert (happening, done.returncode) == ([], 0), done.stderr
    happening.append(min(place.rglob("*.parquet")))
    done = run_here(*given, "--force", cwd=tmp_path)
    assert "parquet was changed while it was being read" in done.stderr


def test_a_geopackage_that_is_open_elsewhere_is_known_by_what_it_holds(inputs, tmp_path):
    """Its log is worked into it by whoever closes it last, which may be the command itself."""
    path = tmp_path / "units.gpkg"
    shutil.copy(inputs["units"], path)
    elsewhere = sqlite3.connect(path)
    elsewhere.execute("PRAGMA journal_mode=WAL")
    elsewhere.execute("CREATE TABLE note (text)")
    elsewhere.commit()
    before = path.read_bytes()
    watched = WatchedInputs()
    watched.add(path)
    with contextlib.closing(sqlite3.connect(path)) as reading:
        reading.execute("SELECT * FROM note").fetchall()
    elsewhere.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.read_bytes() != before
    watched.check()
    elsewhere.execute("PRAGMA journal_mode=DELETE")
    watched.check()
    elsewhere.execute("INSERT INTO note VALUES ('another')")
    elsewhere.commit()
    elsewhere.close()
    with pytest.raises(InputChanged):
        watched.check()
