"""What a shell is offered, asked as click's own scripts ask."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from selion import models
from selion.cli.main import VERBS, cli
from selion.training import list_recipes


def offered(*words, at=""):
    complete = ShellComplete(cli, {}, "selion", "_SELION_COMPLETE")
    return [(item.type, item.value) for item in complete.get_completions(list(words), at)]


def names(*words, at=""):
    return {value for kind, value in offered(*words, at=at) if kind == "plain"}


def test_verbs_and_options():
    assert names() >= set(VERBS)
    assert names(at="pre") == {"predict"}
    assert {"--min-area", "--model", "--help-all"} <= names("map", at="--")
    assert names("map", "--method", at="w") == {"watershed"}
    assert names("label", at="ps") == {"pseudo"}


@pytest.mark.parametrize("words", [("map", "x.tif", "-m"), ("models", "show"), ("evaluate",)])
def test_models(words):
    assert {card.name for card in models.packaged_models()} <= names(*words)
    assert names(*words, at="fields-s2") >= {"fields-s2-2season"}
    assert not any(name.startswith("crops") for name in names(*words, at="fields"))


def test_recipes_datasets_providers_and_editions():
    assert names("train") >= set(list_recipes())
    assert "ftw" in names("data", "fetch")
    assert names("map", "--provider", at="e") == {"earth-search"}
    assert "ftw-2e" in names("map", "--from")


@pytest.mark.parametrize(
    "words",
    [
        ("map",),
        ("predict",),
        ("fields",),
        ("query", "area.geojson"),
        ("crops",),
        ("crops", "photos/", "-o"),
        ("review",),
        ("change",),
        ("view",),
        ("map", "x.tif", "-o"),
        ("map", "x.tif", "--land-cover"),
        ("map", "x.tif", "--model"),
        ("review", "open"),
        ("train", "crops", "-o"),
    ],
)
def test_files(words):
    assert {kind for kind, _ in offered(*words)} & {"file", "dir"}


def test_a_shell_gets_its_script_and_its_answers():
    def ask(**environment):
        command = [sys.executable, "-m", "selion.cli.main"]
        around = os.environ | environment
        return subprocess.run(command, env=around, capture_output=True, text=True, check=False)

    assert "complete -o nosort -F" in ask(_SELION_COMPLETE="bash_source").stdout
    told = ask(_SELION_COMPLETE="bash_complete", COMP_WORDS="selion train crop", COMP_CWORD="2")
    assert "plain,crops-rgb" in told.stdout.splitlines()
