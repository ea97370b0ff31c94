"""What happens in a folder while a command reads it, and is no change of an input."""

import shutil
import subprocess
import sys

import pytest

from command_line import run_here
from option_inputs import INPUTS
from option_walk import Inputs
from selion.store.inputs import WatchedInputs


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)["photos"] / "photos"


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
