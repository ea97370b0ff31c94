"""Things show themselves in a notebook: a small picture and the facts, without weight on
`import selion`.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from affine import Affine
from IPython.core.formatters import DisplayFormatter
from odc.geo.geobox import GeoBox
from PIL import Image

import selion
from selion.classes import CROP, FTW3, ClassScheme
from selion.errors import BadInput, MissingExtra
from selion.grid import photo_grid
from selion.labels import Instances, LabelMap, class_labels
from selion.models import load_model, packaged_models
from selion.raster import Raster
from selion.reports import ipython, notebook
from selion.simulation.landscape import simulate
from selion.store import create_cog, open_raster


@pytest.fixture(scope="module")
def scene():
    return simulate(3, (96, 80), 10.0, "europe")


def shown_in_notebook(thing) -> str:
    """Ask as IPython does."""
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    selion.load_ipython_extension(shell)
    return shell.display_formatter.format(thing)[0]["text/html"]


def picture_of(html: str) -> np.ndarray:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            assert dict(attrs)["alt"]
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(html: str) -> str:
    parser = Balanced()
    parser.feed(html)
    assert not parser.open
    return html


def test_raster_shows_itself(scene):
    html = checked(shown_in_notebook(scene.image))
    assert picture_of(html).shape == (96, 80, 3)
    assert "window_a:red" in html
    assert "10 m on the ground" in html
    assert repr(scene.image).startswith("<Raster 8 x 96 x 80 uint16")
    assert len(repr(scene.image)) < 300


def test_large_raster_is_thinned_and_one_without_valid_pixels_is_no_error():
    large = Raster(
        np.zeros((1, 2000, 10), np.uint8),
        GeoBox((2000, 10), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633"),
        ("<b>",),
        np.zeros((2000, 10), bool),
    )
    html = checked(shown_in_notebook(large))
    assert max(picture_of(html).shape) <= notebook.LONGEST
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "0.0% of the pixels" in html


def test_label_map_names_colours_and_shares(scene):
    labels = class_labels(scene.instances)
    html = checked(shown_in_notebook(labels))
    shown = picture_of(html)
    wanted = [int(FTW3.colours[1][k : k + 2], 16) for k in (1, 3, 5)]
    assert (shown[labels.ids == 1] == wanted).all()
    assert f"{np.mean(labels.ids == 2):.1%}" in html
    grey = LabelMap(
        np.array([[0, 1], [2, 255]], np.uint8), photo_grid((2, 2)), ClassScheme(("a", "b", "c"))
    )
    assert "25.0% of the pixels" in checked(shown_in_notebook(grey))
    assert len(np.unique(picture_of(shown_in_notebook(grey)).reshape(-1, 3), axis=0)) == 4


def test_instances_part_neighbours_and_count(scene):
    html = checked(shown_in_notebook(scene.instances))
    there = len(np.unique(scene.instances.ids)) - (scene.instances.ids == 0).any()
    assert f"{there:,}" in html
    assert len(np.unique(picture_of(html).reshape(-1, 3), axis=0)) > there / 2
    empty = Instances(np.zeros((3, 3), np.int32), photo_grid((3, 3)))
    assert "0 objects" in checked(shown_in_notebook(empty))


def test_cards_models_and_classes_show_their_facts():
    card = packaged_models()[0]
    assert card.licence in checked(shown_in_notebook(card))
    model = load_model(card.name)
    assert model.engine.split(",")[0] in checked(shown_in_notebook(model))
    assert "crop = 1" in checked(shown_in_notebook(CROP))


def test_report_and_dataset(tmp_path):
    from selion.data import load_dataset
    from selion.metrics import Report

    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for folder in ("images", "masks"):
        Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / folder / "a.png")
    data = load_dataset(tmp_path, classes=CROP)
    html = checked(shown_in_notebook(data))
    assert "soil" in html
    assert ">1<" in html
    assert "Nothing scored" in checked(shown_in_notebook(Report("Nothing scored", ())))
    assert repr(Report("x", ())) == "<Report x: 0 runs, 0 baselines>"


def test_fields_on_a_map():
    lonboard = pytest.importorskip("lonboard")
    from selion.fields import to_fields

    frame = to_fields(simulate(3, (64, 64), 10.0, "europe").instances)
    frame["confidence"] = np.linspace(0, 1, len(frame))
    shown = notebook.show_fields(frame)
    assert isinstance(shown, lonboard.Map)
    (layer,) = shown.layers
    assert len(layer.table) == len(frame)
    colours = (
        pa.chunked_array(layer.get_fill_color).combine_chunks().flatten().to_numpy().reshape(-1, 4)
    )
    assert tuple(colours[0][:3]) == notebook.RAMP[0]
    assert tuple(colours[-1][:3]) == notebook.RAMP[-1]
    with pytest.raises(BadInput, match="no fields"):
        notebook.show_fields(frame.iloc[:0])


def test_map_without_lonboard_names_the_line(monkeypatch):
    from selion import extras

    monkeypatch.setattr(extras, "available", lambda _: False)
    with pytest.raises(MissingExtra, match=r"selion\[notebook\]"):
        notebook.show_fields(pd.DataFrame({"confidence": []}))


def test_faces_cost_nothing_before_somebody_looks():
    heavy = ("PIL", "selion.reports.notebook", "selion.reports.picture", "geopandas", "torch")
    code = (
        f"import sys, selion; selion.Raster, selion.LabelMap; print([m for m in {heavy} if m in "
        "sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


NOTEBOOK = """
import sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
import selion

scheme = selion.ClassScheme(("soil", "crop"))
print([m for m in {heavy} if m in sys.modules])
print("crop = 1" in shell.display_formatter.format(scheme)[0]["text/html"])
"""


def test_import_in_a_notebook_is_enough_and_costs_nothing_before_somebody_looks(tmp_path):
    heavy = ("PIL", "selion.reports.notebook", "selion.reports.picture", "geopandas", "torch")
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK.format(heavy=heavy)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
    )
    assert done.stdout.split() == ["[]", "True"]


def test_every_type_that_is_shown_exists_and_has_a_face():
    names = [name.rpartition(".") for name in ipython.SHOWN]
    assert {kind for _, _, kind in names} == set(notebook.FACES)
    for module, _, kind in names:
        assert getattr(import_module(module), kind).__module__ == module


def test_what_has_no_face_has_none():
    assert notebook.html(object()) is None


def test_words_of_a_file_are_never_markup():
    hostile = '"><script>alert(1)</script>'
    shown = shown_in_notebook(ClassScheme((hostile, "b"), colours=(hostile, "#000000")))
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_a_torn_file_shows_its_facts_and_says_why_there_is_no_picture(scene, tmp_path):
    path = tmp_path / "torn.tif"
    image = scene.image
    with create_cog(path, image.grid, image.bands, image.values.dtype, block=128) as sink:
        sink.write(np.s_[0:96, 0:80], image.values)
    path.write_bytes(path.read_bytes()[:-20_000])
    shown = shown_in_notebook(open_raster(path))
    assert "<img" not in shown
    assert "96 x 80 pixels" in shown
    assert "not shown" in shown
    assert "cannot be read" in shown


def test_work_shows_a_bar_below_the_cell(monkeypatch):
    from selion.reports import notebook_bar

    pages = []

    def publish(data, *, transient, update):
        pages.append((transient["display_id"], update, data["text/html"]))

    shell = SimpleNamespace(execution_count=1, display_pub=SimpleNamespace(publish=publish))
    monkeypatch.setattr(notebook_bar, "_cells", {})
    for done in range(101):
        notebook_bar.step(shell, "predict", done, 100, "3 <km2>")
    notebook_bar.step(shell, "objects", 1, 1)
    assert [update for _, update, _ in pages] == [False, True, True], "not once a step"
    assert len({name for name, *_ in pages}) == 1
    assert 'value="1.000"' in checked(pages[-1][2])
    assert "3 &lt;km2&gt;" in pages[-1][2]
    assert pages[-1][2].count("<progress") == 2
    shell.execution_count = 2
    notebook_bar.step(shell, "predict", 1, 1)
    assert pages[-1][0] != pages[0][0], "another cell, another bar"
    assert not pages[-1][1]


def test_a_notebook_is_told_of_work_and_a_terminal_is_not(monkeypatch):
    from selion import progress

    monkeypatch.setattr(progress, "_watching", [])
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    ipython.load_ipython_extension(shell)
    assert progress.usual() is progress.silent
    shell.kernel = object()
    ipython.load_ipython_extension(shell)
    assert progress.usual() is not progress.silent
