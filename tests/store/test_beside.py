"""Names of pictures and pages beside results that share a stem."""

import hashlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from command_line import run_here
from option_inputs import INPUTS
from option_walk import Inputs
from selion.cli.main import system_sentence
from selion.pipeline import probabilities
from selion.reports.page import page
from selion.reports.picture import save_png
from selion.store.beside import beside, outlived, usual_name
from selion.store.manifest import FileSum, Manifest, manifest_of, write_manifest
from selion.verification import verify

ENDING = ".preview.png"


@pytest.mark.parametrize(
    ("owner", "said", "wanted"),
    [
        ("a.gpkg", "a.preview.png", "a.parquet.preview.png"),
        ("a.parquet", "a.preview.png", "a.preview.png"),  # its own, of an earlier run
        ("a.gpkg", "", "a.preview.png"),  # made with --no-preview
        ("ab.gpkg", "a.preview.png", "a.preview.png"),
        ("", "", "a.preview.png"),
    ],
)
def test_a_picture_of_another_result_keeps_its_name(owner, said, wanted, tmp_path):
    picture = tmp_path / "a.preview.png"
    save_png(np.zeros((2, 2, 3), np.uint8), picture)
    if owner:
        content = picture.read_bytes()
        told = FileSum(len(content), hashlib.sha256(content).hexdigest())
        files = {said: told} if said else {}
        write_manifest(Manifest(owner, files=files), manifest_of(tmp_path / owner))
    found = beside(tmp_path / "a.parquet", ENDING)
    assert found.name == wanted
    assert usual_name(found.name, "a.parquet") == "a.preview.png"


def test_what_is_somebodys_own_keeps_its_name_and_ours_is_made_anew(tmp_path):
    """A picture or page without our mark was replaced by any run, without --force."""
    own, result = tmp_path / "a.preview.png", tmp_path / "a.parquet"
    own.write_bytes(b"\x89PNG\r\n\x1a\n of a person")
    said = {own.name: FileSum(3, "0" * 64)}  # ours was called so before the person's
    write_manifest(Manifest(result.name, files=said), manifest_of(result))
    second = beside(result, ENDING)
    assert second.name == "a.parquet.preview.png"
    save_png(np.zeros((2, 2, 3), np.uint8), second)
    assert beside(result, ENDING) == second  # of a run that was killed: replaced
    second.write_text("another person's")
    third = beside(result, ENDING)
    assert third.name == "a.parquet.2.preview.png"
    assert {usual_name(path.name, result.name) for path in (own, second, third)} == {own.name}
    assert usual_name("a.parquet.manifest.json", result.name) == "a.manifest.json"
    assert usual_name("a.2.preview.png", result.name) == "a.2.preview.png"
    (tmp_path / "a.parquet.2.preview.png").mkdir()
    assert beside(result, ENDING).name == "a.parquet.3.preview.png"


def test_pictures_and_pages_say_who_made_them(tmp_path):
    save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == {"Software": "selion"}
    found = page("title", "lead", [])
    assert re.search(r'<meta name="generator" content="selion">', found[:200])


@pytest.mark.parametrize("force", [False, True])
def test_a_persons_picture_beside_a_result_stays(force, tmp_path):
    inputs = Inputs(tmp_path / "inputs", INPUTS)
    shutil.copy(inputs["scores"], tmp_path / "a.tif")
    (tmp_path / "z.preview.png").write_text("mine")
    words = ["fields", "a.tif", "-o", "z.parquet"]
    if force:
        (tmp_path / "z.parquet").write_text("an old one")
        words.append("--force")
    for _ in range(2):
        done = run_here(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "z.preview.png").read_text() == "mine"
        assert verify(tmp_path / "z.parquet").holds
        words = [*words[:4], "--force"]
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["z.parquet.preview.png", "z.preview.png"]


@pytest.mark.parametrize("name", ["n" * 242 + ".parquet", "n" * 246 + ".fgb", "é" * 125 + ".gpkg"])
def test_names_beside_the_longest_ones_fit_a_file_system(name, tmp_path):
    """What lies beside a result has a longer name: `map` ended in a traceback for 245 bytes."""
    probabilities.check_output(tmp_path / name, force=False)
    places = [probabilities.list_of(tmp_path / name), beside(tmp_path / name, ENDING)]
    for place in places:
        place.write_text("1")
    assert len(set(places)) == len(list(tmp_path.iterdir())) == 2
    with pytest.raises(OSError, match="too long") as caught:
        (tmp_path / f".{name}.{name}").write_text("1")
    assert system_sentence(caught.value).endswith("(File name too long): give a shorter name.")


def test_two_results_of_one_stem_are_both_as_they_were_written(tmp_path):
    """The second took the first one's picture without a word, which `verify` said was changed."""
    inputs = Inputs(tmp_path / "inputs", INPUTS)
    shutil.copy(inputs["scores"], tmp_path / "a.tif")
    for ending, size in (("gpkg", 1), ("parquet", 10**6)):  # all fields, and none
        words = ("fields", "a.tif", "-o", f"a.{ending}", "--min-area", size)
        done = run_here(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for name in ("a.gpkg", "a.parquet"):
        found = verify(tmp_path / name)
        assert found.holds, found.differences


def test_a_picture_of_the_map_before_goes_with_it(tmp_path):
    """It lay beside the new map, of which it showed nothing, and nothing said so."""
    inputs = Inputs(tmp_path / "inputs", INPUTS)
    shutil.copy(inputs["scores"], tmp_path / "a.tif")
    picture = tmp_path / "z.preview.png"

    def run(*words):
        done = run_here("fields", "a.tif", "-o", "z.parquet", "--force", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert verify(tmp_path / "z.parquet").holds
        return sorted(path.name for path in tmp_path.glob("*.png"))

    assert run() == ["z.preview.png"]
    assert run("--no-preview") == []
    run()
    picture.write_text("mine")
    assert run() == ["z.parquet.preview.png", "z.preview.png"]
    picture.unlink()
    assert run() == ["z.preview.png"]
    picture.write_text("mine, drawn over it")
    assert run("--no-preview") == ["z.preview.png"]


@pytest.mark.parametrize("target", ["nowhere/a.png", "ours.png"])
def test_a_link_of_a_persons_is_theirs(target, tmp_path):
    """One that leads nowhere was replaced, and one to an older picture that selion had made."""
    save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "ours.png")
    (tmp_path / "a.preview.png").symlink_to(target)
    assert beside(tmp_path / "a.parquet", ENDING).name == "a.parquet.preview.png"


def test_what_lies_in_a_folder_of_results_is_not_looked_for_beside_it(tmp_path):
    """Every folder that was written again ended in a traceback: its files have a place in it."""
    picture = tmp_path / "out" / "a.preview.png"
    picture.parent.mkdir()
    save_png(np.zeros((2, 2, 3), np.uint8), picture)
    content = picture.read_bytes()
    told = FileSum(len(content), hashlib.sha256(content).hexdigest())
    files = {"out/a.preview.png": told, "out/table.csv": FileSum(1, "0" * 64)}
    write_manifest(Manifest("out", files=files), manifest_of(tmp_path / "out"))
    assert list(outlived(manifest_of(tmp_path / "out"), ())) == []
