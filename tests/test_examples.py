"""The examples run as they are handed out, on simulated data."""

import importlib.util
from pathlib import Path

import pytest

import selion
from selion.fields import read_fields

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name, *arguments):
    """Run an example in this process, which has imported most of what it needs."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


def test_every_example_is_run_here_and_named_in_the_list():
    text = Path(__file__).read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    names = [path.stem for path in EXAMPLES.glob("*.py")]
    assert len(names) == 4
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
