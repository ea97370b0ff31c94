"""The tables of MAgSeg, held against an oracle: what is right must score 1 in every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from selion import metrics
from selion.classes import ALU, ClassScheme
from selion.labels import LabelMap
from selion.models import ModelCard
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec, View

RUNS = Path(__file__).parents[2] / "runs"


@dataclass
class Oracle:
    """Its input is the truth, one band for each class."""

    card: ModelCard
    engine: str = "none"
    parallel: int = 1

    @property
    def inputs(self) -> InputSpec:
        return self.card.inputs

    @property
    def classes(self) -> ClassScheme:
        return self.card.classes

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        return np.stack([view.pixels for view in views]).astype(np.float32)


def scene() -> Sample:
    """Half a metre: fields, trees at their edges, clouds, ponds of 400 m2, wells of 25 m2."""
    ids = np.zeros((384, 384), np.uint8)
    for k in range(4):
        top, left = 20 + 180 * (k // 2), 20 + 180 * (k % 2)
        ids[top : top + 100, left : left + 140] = ALU.index("field")
        ids[top + 108 : top + 148, left : left + 40] = ALU.index("pond")
        ids[top + 120 : top + 130, left + 60 : left + 70] = ALU.index("well")
        ids[top + 110 : top + 150, left + 90 : left + 130] = ALU.index("cloud")
        rows, columns = np.ogrid[: ids.shape[0], : ids.shape[1]]
        disc = (rows - top - 50) ** 2 + (columns - left - 138) ** 2 <= 64
        ids[disc] = ALU.index("tree")
    grid = GeoBox(ids.shape, from_origin(500_000, 5_000_000, 0.5, 0.5), "EPSG:32633")
    bands = tuple(f"said:{name}" for name in ALU.names)
    told = (ids[None] == np.arange(len(ALU))[:, None, None]).astype(np.float32)
    return Sample("oracle", Raster(told, grid, bands), LabelMap(ids, grid, ALU))


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(RUNS))
    import tables_magseg

    return tables_magseg


def test_an_oracle_is_right_in_every_class(tables):
    sample = scene()
    oracle = Oracle(
        ModelCard("oracle", InputSpec(sample.image.bands, window=128, overlap=0.25), ALU)
    )
    said = tables.of_model("oracle", oracle, [sample], [])
    assert set(said.classes) == {"field", "tree", "cloud", "pond", "well"}
    for name, parts in said.classes.items():
        table = metrics.join_tables(parts)
        assert len(table.truth_ids) == 4, name
        for reading in ("any", "largest"):
            assert metrics.merged_scores(table, reading).mean_iou == 1.0, name
        assert metrics.object_scores(table).f1 == 1.0, name


def test_merge_and_match_by_acres(tables):
    """Truths of 3000 m2 and 9000 m2 (.74 and 2.2 acres); the second is found as two halves."""
    truth, ids = np.zeros((200, 200), np.int32), np.zeros((200, 200), np.int32)
    truth[:30, :100], truth[100:190, :100] = 1, 2
    ids[100:145, :100], ids[145:190, :100] = 1, 2
    image = metrics.score_ids("x", truth, ids)
    rows = tables.merged_by_acres(tables.Said("x", (image,)), [1.0])
    assert rows == [
        ["0 to 1", "1", "0.000", "0.000", "100.000"],
        ["2 to 3", "1", "1.000", "1.000", "0.000"],
    ]
    assert tables.merged_by_acres(tables.Said("x", (image,)), [0.0]) == []


def test_means_over_images_are_not_those_of_all_objects(tables):
    """One image of one object that is found, one of three that are not: 1/2, and pooled 1/4."""
    whole, three = np.ones((9, 9), np.int32), np.kron(np.diag([1, 2, 3]), np.ones((3, 3), int))
    images = (
        metrics.score_ids("a", whole, whole),
        metrics.score_ids("b", three.astype(np.int32), np.zeros((9, 9), np.int32)),
    )
    said = tables.Said("x", images)
    assert tables.image_means(said) == ["x", "2", "0.500", "0.500", "50.000", "0.000"]
    assert tables.row(said)[2] == "0.250"
