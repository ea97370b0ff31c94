"""Names of pictures and pages beside results that share a stem."""

import shutil

import pytest

from command_line import run_here
from option_inputs import INPUTS
from option_walk import Inputs
from selion.cli.main import system_sentence
from selion.pipeline import probabilities
from selion.store.beside import beside, usual_name
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
    (tmp_path / "a.preview.png").write_text("1")
    if owner:
        files = {said: FileSum(1, "0" * 64)} if said else {}
        write_manifest(Manifest(owner, files=files), manifest_of(tmp_path / owner))
    found = beside(tmp_path / "a.parquet", ENDING)
    assert found.name == wanted
    assert usual_name(found.name, "a.parquet") == "a.preview.png"


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
