"""The benchmarks run where nothing lies beside the checkout, and say what they leave out."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import selion

REPO = Path(__file__).resolve().parents[1]
SCRIPTS = [
    path
    for folder in ("bench", "runs", "docs", "docs/tutorials", "examples")
    for path in sorted((REPO / folder).glob("*.py"))
]


def run_alone(tmp_path, *options):
    """Run the table in a copy that nothing lies beside: no ../shared, as after a clone."""
    clone = tmp_path / "clone" / "selion"
    shutil.copytree(REPO / "bench", clone / "bench")
    (clone / "tests").mkdir()
    for path in (REPO / "tests").glob("*.py"):
        shutil.copy(path, clone / "tests")
    package = str(Path(selion.__file__).parents[1])
    run = [sys.executable, str(clone / "bench" / "run.py"), "--quick", *options]
    done = subprocess.run(
        [*run, "--work", str(tmp_path / "w")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": package},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_section_runs_small(tmp_path):
    said = run_alone(tmp_path, "--only", "polygons")
    assert "rings equal to GDAL's" in said
    assert "goals reached" in said


@pytest.mark.long  # one section above, and below what is left out
def test_quick_runs_and_says_what_it_leaves_out(tmp_path):
    said = run_alone(tmp_path)
    assert "model: skipped, takes 60 s at any size; run it with --quick --only model" in said
    assert "object" in said.lower()
    assert "goals reached" in said


def test_what_takes_long_is_left_out_unless_it_is_named(monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "bench"))
    run = importlib.import_module("run")
    quick, named = (run.Effort(True, named, 1, 1, 64) for named in (False, True))
    wanted = "takes 60 s at any size; run it with --quick --only model"
    assert run.missing("model", quick) == wanted
    assert run.missing("model", named) != wanted
    assert run.missing("objects", quick) == ""


def test_what_is_not_installed_is_named(tmp_path):
    block = "import sys; sys.modules['ray'] = None; sys.path.insert(0, 'bench'); import run; "
    ask = "print(run.missing('scale', run.Effort(True, True, 1, 1, 64)))"
    done = subprocess.run(
        [sys.executable, "-c", block + ask], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "not installed: ray"


def imported(path):
    """Return what a script takes from selion: (module, name)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "selion":
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.filterwarnings("ignore")
def test_scripts_import_what_there_is():
    """Also those that take too long to be run by a test."""
    pytest.importorskip("torch")
    wanted = {(*pair, path.name) for path in SCRIPTS for pair in imported(path)}
    assert len(wanted) > 200
    absent = []
    for module, name, script in sorted(wanted):
        if not hasattr(importlib.import_module(module), name):
            try:
                importlib.import_module(f"{module}.{name}")
            except ModuleNotFoundError:
                absent.append(f"{script}: from {module} import {name}")
    assert not absent


def test_a_model_that_knows_all_gains_nothing_by_dates(monkeypatch, tmp_path):
    """The truth as every answer: each row of the table of dates is 1, each gain 0."""
    monkeypatch.syspath_prepend(str(REPO / "bench"))
    dates = importlib.import_module("dates")
    monkeypatch.setattr(dates, "found", lambda place, *_: place.truth)
    places = list(dates.simulated(["europe"], 64))
    rows = dates.measure(places, "simulated", "oracle", "auto")
    gains = [row.value for row in rows if " above " in row.what]
    assert gains == [0.0] * 4
    assert [row.value for row in rows if " above " not in row.what] == [1.0] * (len(rows) - 4)
    assert len(rows) > 4
