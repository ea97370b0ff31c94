"""What CONTRIBUTING says of adding things: how many files one has to touch.

Another sensor, with the row of its provider: ``tests/imagery/test_sensors.py``.
"""

import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from geopandas import GeoDataFrame
from shapely import Point

import selion
from selion.classes import FTW2
from selion.cli import main
from selion.data import catalogue, load_dataset
from selion.data.dataset import Dataset
from selion.data.declare import Declaration
from selion.fields import formats
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


def test_a_dataset_with_its_own_layout_needs_its_module_and_its_table(monkeypatch, tmp_path):
    """``data/NAME.py: load_NAME`` and a table of ``catalogue.toml``; its signs make it known."""
    module = ModuleType("selion.data.tiny")
    module.load_tiny = lambda made, root, classes, boundary: Dataset(made.name, FTW2, ())
    made = Declaration("tiny", "tiny", signs=("tiny-*.txt",))
    monkeypatch.setitem(sys.modules, "selion.data.tiny", module)
    monkeypatch.setattr(catalogue, "_catalogue", lambda: {"tiny": made})
    (tmp_path / "tiny-1.txt").touch()
    assert load_dataset("tiny", tmp_path).classes == FTW2
    assert load_dataset(tmp_path).name == "tiny"


def test_a_network_needs_its_module_and_one_row(monkeypatch):
    torch = pytest.importorskip("torch")
    from selion.models import architectures

    def make(bands, classes, _weights, width=1):
        return torch.nn.Conv2d(bands, classes, width)

    row = architectures.Family(make, ("width",), "")
    monkeypatch.setitem(architectures.FAMILIES, "point", row)
    network = architectures.build({"family": "point", "width": 3}, 4, 2)
    assert network(torch.zeros(1, 4, 8, 8)).shape == (1, 2, 6, 6)


def test_an_output_format_needs_its_row(monkeypatch, tmp_path):
    def write(frame, path, _origin, _crs):
        path.write_text(frame.to_wkt().to_csv(index=False))

    monkeypatch.setitem(formats.FORMATS, ".csv", formats.Format(write, None))
    frame = GeoDataFrame({"id": ["a"]}, geometry=[Point(1, 2)], crs="EPSG:32633")
    assert formats.write_fields(frame, tmp_path / "f.csv").read_text().startswith("id,geometry\na,")
