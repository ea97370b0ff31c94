"""What CONTRIBUTING says of adding things: how many files one has to touch."""

import sys
from pathlib import Path
from types import ModuleType

import click
from click.testing import CliRunner

import selion
from selion.cli import main
from selion.metrics import MEASURES

SOURCE = Path(selion.__file__).parent
JUDGED_BY = {"object_f1", "object_precision", "object_recall", "pixel_iou", "ap", "ap50"}
"""Measures that recipes and published protocols name too."""


def test_a_verb_needs_its_module_and_one_row(monkeypatch):
    """Help, call and suggestions read the table of verbs; a page is the third file."""

    @click.command("echo")
    @click.argument("words", nargs=-1)
    def echo_command(words):
        click.echo(" ".join(words))

    module = ModuleType("selion.cli.echo")
    module.echo_command = echo_command
    monkeypatch.setitem(sys.modules, "selion.cli.echo", module)
    monkeypatch.setitem(main.VERBS, "echo", main.Verb("echo", "echo_command", "Say it again."))
    run = CliRunner()
    assert "Say it again." in run.invoke(main.cli, ["--help"]).output
    assert run.invoke(main.cli, ["echo", "a", "b"]).output == "a b\n"
    assert "Did you mean 'echo'?" in run.invoke(main.cli, ["ecko"]).output


def test_a_measure_of_objects_is_named_in_three_files_at_most():
    """Its formula, its row and value in the summary, and the table by group where it belongs."""
    sources = {path: path.read_text("utf-8") for path in SOURCE.rglob("*.py")}
    for name in {measure.name for measure in MEASURES} - JUDGED_BY:
        where = {p.relative_to(SOURCE).as_posix() for p, text in sources.items() if name in text}
        others = where - {"metrics/summary.py", "metrics/report.py"}
        assert "metrics/summary.py" in where
        assert len([p for p in others if f'"{name}"' in sources[SOURCE / p]]) <= 1, (name, others)
