"""A small program of somebody else's, which ``tests/test_typing.py`` gives to mypy --strict."""

from collections.abc import Mapping
from pathlib import Path

import geopandas
import numpy as np

import selion
from selion.fields import FieldOptions, InstanceOptions
from selion.pipeline import AreaOptions
from selion.prediction import PredictOptions


def one_line(image: Path, out: Path) -> geopandas.GeoDataFrame:
    options = selion.MapOptions(predict=PredictOptions(block=1024), min_area=500.0, fast=True)
    return selion.map_fields(image, out, "fields-s2-2season", options)


def an_area(area: Path, out: Path) -> geopandas.GeoDataFrame:
    found = AreaOptions(provider="earth-search")
    selion.composite(area, out.with_suffix(".zarr"), year=2024, area_options=found)
    return selion.map_fields(area, out, year=2024, area_options=found, force=True)


def step_by_step(image: str) -> tuple[selion.Instances, geopandas.GeoDataFrame]:
    source = selion.open_raster(image)
    model = selion.load_model("fields-s2-2season")
    probabilities = selion.predict(source, model, options=PredictOptions(flips=True))
    first: np.ndarray = probabilities.values
    scheme: selion.ClassScheme = model.classes
    instances = selion.find_instances(probabilities, scheme, options=InstanceOptions())
    assert len(first) == len(scheme.names)
    return instances, selion.to_fields(instances, FieldOptions(simplify=0))


def own_model(folder: Path) -> Mapping[str, object]:
    trained = selion.train("own-polygons", folder, ["schedule.epochs=1"])
    model = selion.load_model(folder / "model")
    report = selion.evaluate({"mine": model}, trained.plan.validation)
    return {"scores": report.runs[0].values, "name": trained.card.name}


def two_years(before: Path, after: Path, out: Path) -> None:
    selion.compare_years([before, after], out)


def samples(root: Path) -> int:
    return sum(1 for _ in selion.load_dataset("ftw", root))


def is_known(labels: selion.LabelMap) -> float:
    return float((labels.ids != 255).mean())


def mean(raster: selion.Raster) -> float:
    return float(raster.values.mean())


def in_memory(pixels: np.ndarray, table: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    placed = selion.as_raster(pixels, crs="EPSG:32633", transform=(10, 0, 3e5, 0, -10, 5.4e6))
    back: dict[str, object] = selion.to_dict(placed)
    assert back
    selion.composite(table, "pair.zarr", year=2024)
    return selion.map_fields(placed)
