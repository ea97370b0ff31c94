"""The examples run as they are handed out, on simulated data."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

import selion
from selion.fields import read_fields

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


SHARED = {"hour"}
"""Is used by others, and no program."""


def run(name, *arguments):
    """Run an example in this process, which has imported most of what it needs."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))  # where Python itself looks when a program of it is run
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


def test_every_example_is_run_here_and_named_in_the_list():
    text = Path(__file__).read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    names = {path.stem for path in EXAMPLES.glob("*.py")} - SHARED
    assert len(names) == 9
    for name in names:
        assert f'run("{name}"' in text
        assert f"examples/{name}.py" in listed


def test_aerial_map(tmp_path, capsys):
    run("aerial_map", "-o", tmp_path / "out")
    steps = read_fields(tmp_path / "out" / "steps.gpkg")
    mapped = read_fields(tmp_path / "out" / "fields.parquet")
    assert len(mapped) == len(steps) > 5
    assert f"{len(mapped)} fields" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # what the libraries of training say is not ours
def test_own_polygons(tmp_path, capsys):
    pytest.importorskip("torch")
    run("own_polygons", "-o", tmp_path / "out")
    assert "object F1 " in capsys.readouterr().out
    card = selion.load_model(tmp_path / "out" / "run" / "model").card
    assert card.classes.boundary == "boundary"


def test_photographs(tmp_path, capsys):
    run("photographs", "-o", tmp_path / "out")
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["plot0.png", "plot1.png", "plot2.png"]
    assert all("% of the ground is covered" in line for line in said)


def test_country(tmp_path, capsys):
    run("country", "-o", tmp_path / "out")
    said = capsys.readouterr().out
    assert (tmp_path / "out" / "maps" / "_selion.json").is_file()
    assert int(said.splitlines()[-1].partition(" ")[0]) > 0
    assert len(list((tmp_path / "out" / "plan" / "jobs").iterdir())) > 1


@pytest.mark.long  # test_country runs the program, tests/country/test_change_plans.py two years
def test_country_in_two_years(tmp_path, capsys):
    """What was planted is told, and the interval of the area holds the truth."""
    run("country", "--two-years", "--edge", "20000", "-o", tmp_path / "out")
    said = capsys.readouterr().out
    assert "100% of 2,016 ha were seen in both years" in said
    every = next(line.split() for line in said.splitlines() if line.split()[:1] == ["all"])
    assert float(every[-1]) > 0.75
    found, half, true = (
        float(number.replace(",", ""))
        for number in re.search(r"fields: (\S+) ± (\S+) ha; true: (\S+) ha", said).groups()
    )
    assert abs(found - true) <= half
    page = (tmp_path / "out" / "change" / "report.html").read_text()
    assert "Imagery of" in page  # of the mosaic that the jobs share
    assert (tmp_path / "out" / "accuracy" / "report.html").is_file()


def test_world(tmp_path, capsys):
    """Two scenes and three years; each seam is held by tests/world/test_seams.py, every fate by
    tests/world/test_history_published.py.
    """
    run("world", "-o", tmp_path / "out", "--scenes", "seam", "norway", "--first", 2023)
    check_world(capsys.readouterr().out, ["seam", "norway"], ("not seen",))


@pytest.mark.long
def test_the_whole_world(tmp_path, capsys):
    run("world", "-o", tmp_path / "out")
    every = ("split", "merged", "appeared", "gone", "not seen")
    check_world(capsys.readouterr().out, ["seam", "zones", "equator", "norway", "strip"], every)


def check_world(said, scenes, outcomes):
    """Nothing is lost or doubled at seams, and every planted fate is told."""
    assert "were not looked at" in said
    assert "2024 is under-detected as a whole" in said
    wide, fates = (part.splitlines()[1:] for part in said.split("\n\n")[1:3])
    assert wide[0].split()[:4] == ["across", "wide", "published", "others"]
    rows = [line.split() for line in wide[1:]]
    assert [row[0] for row in rows] == scenes
    assert all(row[-1] == "0" for row in rows)  # square metres of overlap
    for row in rows:
        count = int(row[1])
        assert row[-4 - count : -4] == ["1"] * count
        found, of, total = row[-4:-1]
        assert (of, int(found) >= int(total) - 1) == ("of", True)
    table = {}
    for line in fates[1:]:
        *name, _, told, precision, recall = line.split()
        table[" ".join(name)] = int(told), float(precision), float(recall)
    assert table["kept"][1] > 0.99
    assert table["kept"][2] > 0.97
    for outcome in outcomes:
        assert table[outcome][1] >= 0.85
        assert table[outcome][2] >= 0.95


def seen(folder):
    """Return the pictures of an hour by name; none is empty."""
    pictures = sorted(path for path in folder.glob("[0-9][0-9]-*.png"))
    for path in pictures:
        with Image.open(path) as image:
            assert image.width == 960
            assert image.height > 50
            assert len(image.convert("RGB").getcolors(1 << 20)) > 8
    return [path.stem for path in pictures]


def test_the_first_hour_of_a_phenotyper(tmp_path, capsys):
    small = ("--no-pages", "--model", "colour", "--edge", 48, "--workers", 1)
    run("phenotyper", "-o", tmp_path, *small)
    assert seen(tmp_path) == ["01-crops", "02-crops", "03-crops", "04-crops"]
    said = capsys.readouterr()
    assert "Nothing says which photograph shows which plot" in said.err
    assert "plots and dates  10" in said.err
    assert (tmp_path / "plots" / "plots.gpkg").is_file()


def test_the_first_hour_of_a_gis_person(tmp_path, capsys):
    run("gis", "-o", tmp_path, "--no-pages", "--qgis", "", "--edge", 64)
    assert seen(tmp_path) == ["01-look", "02-map", "03-map", "04-map"]
    said = capsys.readouterr()
    assert "styles in the file: fields, confidence, size" in said.out
    assert "fields.gpkg exists already" in said.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the libraries of training say is not ours
def test_the_first_hour_of_an_agronomist(tmp_path, capsys):
    pytest.importorskip("torch")
    run("agronomist", "-o", tmp_path, "--no-pages")
    assert seen(tmp_path)[1:4] == ["02-train", "03-models", "04-map"]
    said = capsys.readouterr().err
    assert "held-out chip" in said  # the start stands beside the new model
    assert "compare: " in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_first_hour_of_a_scientist(tmp_path, capsys):
    pytest.importorskip("segmentation_models_pytorch")
    run("scientist", "-o", tmp_path, "--no-pages", "--backbone", "mobilenet_v2", "--edge", 96)
    assert seen(tmp_path)[1] == "02-models"
    said = capsys.readouterr().err
    assert "of which nobody checked where they come from" in said
    assert "object F1" in said
