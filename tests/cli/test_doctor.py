"""``selion doctor`` says what each verb lacks, and the command that brings it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from option_walk import commands
from selion.cli.main import VERBS, cli
from selion.reports import doctor

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
MODULES = {"rio-tiler": "rio_tiler", "segmentation-models-pytorch": "segmentation_models_pytorch"}


def test_extras_are_those_of_the_project():
    for extra, modules in doctor.EXTRAS.items():
        wanted = {
            re.split(r"[\[<>=~ ]", one)[0].replace("-", "_")
            for one in PROJECT["project"]["optional-dependencies"][extra]
        }
        assert set(modules) <= wanted, extra
        assert wanted - set(modules) <= {"torchvision", "accelerate"}, extra


def test_what_it_speaks_of_are_verbs():
    known = {*VERBS, *dict(commands()), "maps in notebooks"}
    for name in doctor.NEEDS:
        assert name.partition(" --")[0].partition(" (")[0] in known, name


def test_a_verb_without_its_extra_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "available", lambda module: module not in ("starlette", "ray"))
    states = doctor.examine_verbs(VERBS)
    assert states["view"] == doctor.VerbState(("starlette",), "pip install 'selion[web]'")
    assert states["map"].lacks == states["query"].lacks == ()
    text = CliRunner().invoke(cli, ["doctor"]).output
    assert "not here:   view lacks starlette: pip install 'selion[web]'" in text
    assert "not here:   map --runner ray lacks ray: pip install 'selion[cluster]'" in text
    works = text.partition("work here:")[2].partition("not here")[0]
    assert "map," in works
    assert " view," not in works


def test_engines_that_are_not_here_are_told_with_what_they_need(monkeypatch):
    from selion import models

    lacking = {"cuda": ("no NVIDIA driver", "an NVIDIA GPU")}
    monkeypatch.setattr(models, "engines_lacking", lambda: lacking, raising=False)
    assert doctor.examine()["engines not here"] == "cuda (no NVIDIA driver; needs an NVIDIA GPU)"
