"""Noisy looks at one countryside: the map of the years together is better than that of any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy import ndimage

from selion import fields, store
from selion.classes import FTW3
from selion.errors import BadInput, GridMismatch
from selion.grid import whole
from selion.pipeline.maps import MapOptions, fields_from_scores
from selion.world.attributes import Attributes, check_attributes, read_reference
from selion.world.history import WorldHistoryOptions, write_history

SIZE = 128
GRID = GeoBox((SIZE, SIZE), Affine(10, 0, 600_000, 0, -10, 5_300_000), "EPSG:32633")


def countryside(seed):
    """Rectangles cut out of rectangles, a pixel apart on each side."""
    draw, ids = np.random.default_rng(seed), np.zeros((SIZE, SIZE), np.int32)

    def cut(top, left, bottom, right):
        height, width = bottom - top, right - left
        if max(height, width) > 34:
            share = draw.uniform(0.35, 0.65)
            if height >= width:
                middle = top + int(height * share)
                cut(top, left, middle, right)
                cut(middle, left, bottom, right)
            else:
                middle = left + int(width * share)
                cut(top, left, bottom, middle)
                cut(top, middle, bottom, right)
        elif draw.random() > 0.1:
            ids[top + 1 : bottom - 1, left + 1 : right - 1] = ids.max() + 1

    cut(2, 2, SIZE - 2, SIZE - 2)
    return ids


def look(ids, draw, noise):
    """Probabilities (3, y, x) of one look: logits with noise that is a pixel wide."""
    interior = np.zeros(ids.shape, bool)
    for number in range(1, ids.max() + 1):
        interior |= ndimage.binary_erosion(ids == number)
    edge = ndimage.binary_dilation(ids > 0) & ~interior
    odds = np.where([~interior & ~edge, interior, edge], 2.0, -1.0)
    rough = ndimage.gaussian_filter(draw.normal(size=odds.shape), (0, 1, 1))
    shares = np.exp(odds + noise * rough / rough.std())
    return shares / shares.sum(axis=0)


def scores_of(path, ids):
    """F1 at an IoU of one half, and mean over the true fields of the best IoU."""
    shapes = fields.read_fields(path).to_crs(str(GRID.crs)).geometry
    found = rasterize(
        [(shape, k + 1) for k, shape in enumerate(shapes)],
        out_shape=ids.shape,
        transform=GRID.transform,
    )
    both = np.zeros((ids.max() + 1, found.max() + 1))
    np.add.at(both, (ids.ravel(), found.ravel()), 1)
    shared = both[1:, 1:]
    iou = shared / (both.sum(axis=1)[1:, None] + both.sum(axis=0)[None, 1:] - shared)
    return 2 * (iou > 0.5).sum() / sum(iou.shape), iou.max(axis=1).mean()


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    folder, ids, draw = tmp_path_factory.mktemp("looks"), countryside(1), np.random.default_rng(7)
    given = []
    for year in range(2017, 2026):
        given.append(folder / str(year))
        given[-1].mkdir()
        tags = {"classes": json.dumps(FTW3.to_dict()), "image_gsd": "10.0"}
        scores = given[-1] / "fields.scores.tif"
        with store.create_cog(scores, GRID, FTW3.names, np.uint8, nodata=255, tags=tags) as sink:
            sink.write(whole(GRID), np.rint(look(ids, draw, 1.2) * 254).astype(np.uint8))
        options = MapOptions(datetime=f"{year}-08-01T00:00:00Z")
        fields_from_scores(scores, given[-1] / "fields.parquet", options)
    return ids, given


def test_the_fused_map_is_better_than_any_year(looked, tmp_path):
    ids, given = looked
    single = np.array([scores_of(year / "fields.parquet", ids) for year in given])
    result = write_history(given, tmp_path / "out")
    fused = scores_of(tmp_path / "out" / "fields.parquet", ids)
    assert (fused > single.max(axis=0)).all(), (single, fused)
    assert fused[0] > 0.97
    pixels = result.facts["fusion"]["pixels_by_years"]
    assert pixels["9"] > 0.97 * SIZE**2, "nothing has changed, and hardly anything seems to have"
    # looks of independent noise, seen as means over 3 x 3 pixels: it is measured, not assumed
    assert 0.3 < result.facts["fusion"]["noise"] < 2


def test_plain_means_do_nearly_as_well(looked, tmp_path):
    from selion.change import HistoryOptions
    from selion.world.history import WorldHistoryOptions

    ids, given = looked
    single = np.array([scores_of(year / "fields.parquet", ids) for year in given])
    options = WorldHistoryOptions(join=HistoryOptions(fusion="mean"))
    write_history(given, tmp_path / "out", options)
    fused = scores_of(tmp_path / "out" / "fields.parquet", ids)
    assert (fused > single.max(axis=0)).all()


def test_a_reference_that_is_not_placed_as_the_maps_are_is_refused_before_they_are_joined(tmp_path):
    shapes = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=str(GRID.crs))
    placed, bare = tmp_path / "placed.gpkg", tmp_path / "bare.shp"
    shapes.to_file(placed)
    shapes.to_file(bare)
    bare.with_suffix(".prj").unlink()
    check_attributes(Attributes(reference=(placed,)))
    with pytest.raises(GridMismatch, match=r"bare\.shp has no CRS.*\.prj"):
        check_attributes(Attributes(reference=(placed, bare)))
    check_attributes(Attributes(reference=(bare, bare)), placed=False)  # outlines in a photograph
    with pytest.raises(GridMismatch, match="has a CRS, and the maps of the years have none"):
        check_attributes(Attributes(reference=(placed,)), placed=False)


def test_districts_of_one_name_are_counted_together_and_it_is_said(looked, tmp_path, monkeypatch):
    """Islands of one district, or two towns of one name: nobody but the user knows."""
    _, given = looked
    monkeypatch.setattr("selion.world.history.join_years", lambda *_, **__: None)
    shapes = [shapely.box(k, 0, k + 1, 1) for k in range(4)]
    names = ["Neustadt", "Graz", "Neustadt", None]
    frame = geopandas.GeoDataFrame({"name": names, "code": [1, 2, 3, 4]}, geometry=shapes, crs=4326)
    frame.to_file(tmp_path / "districts.gpkg")
    for column, said in (("name", "(Neustadt)"), ("code", None), (None, None)):
        notes = []
        attributes = Attributes(districts=tmp_path / "districts.gpkg", district_column=column)
        options = WorldHistoryOptions(attributes=attributes)
        write_history(given[:2], tmp_path / "out", options, on_note=notes.append)
        assert len(notes) == (said is not None), notes
        assert said is None or f"are called alike {said}" in notes[0]


@pytest.mark.parametrize("kind", ["string", object])
def test_a_reviewed_table_is_true_where_it_was_said_to_be(tmp_path, kind):
    """What nobody decided or was sure of is left out, and a field that is several is none.

    A status that is missing was a traceback, and "unsure", "merged" and "false" were true fields.
    """
    said = {
        "accepted": True, "corrected": True, "added": True, "right": True, "rejected": False,
        "false": False, "merged": False, "split": False, "shifted": False,
        "undecided": None, "unsure": None, None: None,
    }  # fmt: skip
    shapes = [shapely.box(k, 0, k + 0.5, 1) for k in range(len(said))]
    frame = geopandas.GeoDataFrame(
        {"review:status": pd.array(list(said), dtype=kind)}, geometry=shapes, crs=4326
    )
    frame.to_parquet(tmp_path / "reviewed.parquet")
    outlines, true = read_reference(Attributes(reference=(tmp_path / "reviewed.parquet",)))
    wanted = {k: value for k, value in enumerate(said.values()) if value is not None}
    assert outlines.geometry.bounds["minx"].tolist() == list(wanted)
    assert true.tolist() == list(wanted.values())


def test_a_map_that_is_joined_is_not_what_is_written_over(looked, tmp_path):
    """With force the fields of a year were replaced by those of all years together."""
    given = [Path(shutil.copytree(year, tmp_path / year.name)) for year in looked[1][:2]]
    table = given[1] / "fields.parquet"
    before = table.read_bytes()
    for force in (False, True):
        with pytest.raises(BadInput, match=r"fields\.parquet.*another folder"):
            write_history(given, given[1] / ".." / given[1].name, force=force)
    assert table.read_bytes() == before
