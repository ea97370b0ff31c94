"""A drawn landscape for MAgSeg's tables, and a model that knows its truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from selion.classes import ALU
from selion.labels import LabelMap
from selion.models import ModelCard
from selion.papers import landscape_answers
from selion.papers.landscape_answers import FIELDS_ALONE
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec


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
    values = np.zeros((3, *ids.shape), np.uint8)
    return Sample("drawn", Raster(values, grid, ("red", "green", "blue")), LabelMap(ids, grid, ALU))


def drawn_instead(_seed, _edge, group, _column=0):
    """A quarter of the drawn scene in the place of a simulated one; fields alone where there are no
    classes.
    """
    sample, here = scene(), (slice(0, 190), slice(0, 190))
    labels = sample.labels.read(here)
    if group != "india":
        labels = replace(labels, ids=(labels.ids == 1).astype(np.uint8))
    return sample.image.read(here), labels


def told(name):
    """A model that says the truth of the drawn scene, whatever it is shown."""
    model = landscape_answers._Oracle(oracle_card(name))
    model.gives = "probabilities"
    return model


def oracle_card(name):
    return ModelCard(str(name), InputSpec(("red", "green", "blue"), window=384), FIELDS_ALONE)
