"""Counts and cover of each class against maps drawn by hand: crop and weed, and organs."""

from __future__ import annotations

import csv

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from shapely.geometry import box

from selion.classes import CROP_WEED, ORGANS, ClassScheme
from selion.closerange import PlotOptions, measure_photo, measure_plots
from selion.closerange.model import PhotoModel
from selion.data.photos import find_photos
from selion.segmenter import InputSpec

SQUARE = 8
"""Pixels of a letter along a side."""
COLOURS = {
    ".": (140, 110, 80), "c": (60, 160, 50), "w": (40, 120, 90), "h": (190, 170, 70),
    "s": (110, 130, 60), "l": (50, 150, 40), "x": (250, 250, 250),
}  # fmt: skip
SCHEMES = {
    "weeds": (CROP_WEED, {"crop": "c", "weed": "w"}),
    "organs": (ORGANS, {"head": "h", "stem": "s", "leaf": "l"}),
    "parted": (
        ClassScheme(("soil", "crop", "line"), ("crop",), "line"),
        {"crop": "c", "line": "x"},
    ),
}

WEEDS = """
................
.ccww....c...w..
.ccww....c......
.cc.......ww....
..........ww.ccc
.www.........cwc
.wcw...c.....ccc
.www....c.......
................
"""
"""By eye.  Crop: the block at the left; the line at the top; the dot inside the ring of weed; the
two that touch by a corner, which are one; the ring at the right: 5.  Weed: the block that touches
the crop; the block in the middle; the dot at the top; the ring at the left; the dot inside the ring
of crop: 5.  The block in the middle touches the line of crop by a corner, and stays another."""

HEADS = """
................
.hh...h.....h...
.hhs..s....hhh..
...s..s...l.s...
.lls..sll...s...
..ls..s....hsll.
...s..s....hs...
...........h....
"""
"""By eye.  Heads: left, middle, the one at the right, and the one below that touches its stem: 4.
Stems: 3, each of one line (the first begins at the corner of its head).  Leaves: at the left of the
first stem, at the right of the second, the dot between, at the right of the third: 4."""

PARTED = """
...........
.ccxcc..c..
.ccxcc.....
.xxxxx.ccc.
.ccxcc.cxc.
.ccxcc.ccc.
...........
"""
"""By eye: four blocks that lines part, the dot, the ring with a line inside: 6."""

DRAWN = {
    "weeds": (WEEDS, {"crop": 5, "weed": 5}),
    "organs": (HEADS, {"head": 4, "stem": 3, "leaf": 4}),
    "parted": (PARTED, {"crop": 6}),
}


class ByColour:
    """A model that knows each colour for sure."""

    inputs = InputSpec(("red", "green", "blue"), window=64, overlap=0.25, multiple=1)

    def __init__(self, classes: ClassScheme, letters: dict[str, str]) -> None:
        self.classes = classes
        self.known = np.array([COLOURS[letters.get(name, ".")] for name in classes.names])

    def __call__(self, views):
        seen = np.stack([view.pixels for view in views])[:, None]
        far = np.abs(seen - self.known[None, :, :, None, None]).sum(2)
        nearest = far.argmin(1)
        scores = np.full((len(views), len(self.classes), *far.shape[2:]), 0.01, np.float32)
        np.put_along_axis(scores, nearest[:, None], 1 - 0.01 * (len(self.classes) - 1), 1)
        return scores


def letters_of(drawn: str) -> np.ndarray:
    return np.array([list(line) for line in drawn.split()])


def painted(drawn: str) -> np.ndarray:
    """(3, y, x) uint8."""
    colours = np.array([[COLOURS[letter] for letter in line] for line in letters_of(drawn)])
    return colours.repeat(SQUARE, 0).repeat(SQUARE, 1).astype(np.uint8).transpose(2, 0, 1)


def model_of(name: str) -> PhotoModel:
    toy = ByColour(*SCHEMES[name])
    return PhotoModel("toy", "toy", {}, lambda _: toy)


@pytest.mark.parametrize("name", DRAWN)
def test_counts_and_cover_of_each_class_in_a_photograph(name, tmp_path):
    drawn, counts = DRAWN[name]
    Image.fromarray(painted(drawn).transpose(1, 2, 0)).save(tmp_path / "a.png")
    found = measure_photo(find_photos(tmp_path / "a.png")[0], model_of(name))
    assert found.row["components"] == sum(counts.values())
    drawn_letters = letters_of(drawn)
    if len(counts) > 1:
        assert {kind: found.row[f"components_{kind}"] for kind in counts} == counts
    for kind, letter in SCHEMES[name][1].items():
        share = (drawn_letters == letter).mean()
        assert found.row[f"cover_{kind}"] == pytest.approx(share, abs=1e-9)
    assert found.row["cover"] == pytest.approx((drawn_letters != ".").mean(), abs=1e-9)
    for kind, count in counts.items():
        pieces = [piece for piece in found.components if piece["class"] == kind]
        assert len(pieces) == count
        whole = (drawn_letters == SCHEMES[name][1][kind]).sum() * SQUARE**2
        assert sum(piece["area"] for piece in pieces) == whole
    assert found.row["specks"] == 0  # all of it was counted; what parts the pieces is none of them
    assert "speckled" not in found.row["reasons"]
    numbers = [piece["component"] for piece in found.components]
    assert numbers == list(range(1, sum(counts.values()) + 1))


@pytest.mark.parametrize("name", DRAWN)
def test_counts_and_cover_of_each_class_in_plots(name, tmp_path, monkeypatch):
    """Two plots beside each other, the second one empty: a crop that touches a weed is two."""
    drawn, counts = DRAWN[name]
    image = painted(drawn)
    empty = np.broadcast_to(np.array(COLOURS["."], np.uint8)[:, None, None], image.shape)
    both = np.concatenate([image, empty], 2)
    height, width = image.shape[1:]
    place = Affine(0.01, 0, 500_000, 0, -0.01, 5_300_000)
    profile = {
        "driver": "GTiff", "count": 3, "height": height, "width": 2 * width, "dtype": "uint8",
        "crs": "EPSG:32632", "transform": place, "nodata": 0,
    }  # fmt: skip
    with rasterio.open(tmp_path / "o.tif", "w", **profile) as file:
        file.write(both)
    outlines = [
        box(*(place * (k * width, height)), *(place * ((k + 1) * width, 0))) for k in (0, 1)
    ]
    frame = geopandas.GeoDataFrame({"plot": ["full", "empty"]}, geometry=outlines, crs="EPSG:32632")
    frame.to_file(tmp_path / "plots.gpkg")
    monkeypatch.setattr(
        "selion.closerange.plot_answers.open_model", lambda *_, **__: model_of(name)
    )
    measure_plots(
        tmp_path / "o.tif", tmp_path / "plots.gpkg", tmp_path / "out",
        options=PlotOptions(pictures=False),
    )  # fmt: skip
    with (tmp_path / "out" / "plots.csv").open(encoding="utf-8") as file:
        full, bare = csv.DictReader(file)
    assert int(full["components"]) == sum(counts.values())
    assert int(bare["components"]) == 0
    drawn_letters = letters_of(drawn)
    for kind, count in counts.items():
        if len(counts) > 1:
            assert (int(full[f"components_{kind}"]), int(bare[f"components_{kind}"])) == (count, 0)
        else:
            assert f"components_{kind}" not in full
    for kind, letter in SCHEMES[name][1].items():
        share = (drawn_letters == letter).mean()
        assert float(full[f"cover_{kind}"]) == pytest.approx(share, abs=1e-6)
        assert float(bare[f"cover_{kind}"]) == 0
    layer = geopandas.read_file(tmp_path / "out" / "plots.gpkg", layer="plots")
    for column in full:
        assert column == "plot" or column in layer.columns
