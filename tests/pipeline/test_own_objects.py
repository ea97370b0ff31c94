"""What a model of objects cannot be asked for is refused, each option by its name, at once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from option_inputs import Quick, QuickObjects
from selion.errors import BadInput
from selion.evaluation import EvaluateOptions, evaluate
from selion.fields import InstanceOptions
from selion.pipeline import maps, run
from selion.pipeline.maps import MapOptions, refuse_unused
from selion.runners import RunnerOptions

CHANGES = {
    "--method components": {"method": "components"},
    "--vote": {"instances": InstanceOptions(smoothing=0.0)},
    "--scores": {"scores": "a.tif"},
    "--consistency": {"consistency": "a.tif"},
    "--runner": {"runner": RunnerOptions("processes")},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_is_refused_by_its_name(name):
    options = replace(MapOptions(), **CHANGES[name])
    with pytest.raises(BadInput, match=rf"^{name.split()[0]}.* has no effect, because quick ret"):
        refuse_unused(QuickObjects(), options)
    refuse_unused(Quick(), options)


def test_what_acts_on_objects_is_taken():
    refuse_unused(QuickObjects(), MapOptions(min_area=3.0, fast=True, collection="mine"))


def test_a_map_is_refused_before_anything_is_written(tmp_path):
    job = SimpleNamespace(model=QuickObjects())
    with pytest.raises(BadInput, match="--method"):
        maps.map_image(job, tmp_path / "out.parquet", MapOptions(method="watershed"))
    assert list(tmp_path.iterdir()) == []


def test_an_area_is_refused_before_its_scenes_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load_model", lambda *_a, **_k: QuickObjects())
    with pytest.raises(BadInput, match="--method"):
        run.map_area(None, tmp_path / "out.parquet", "own", MapOptions(method="watershed"))
    assert list(tmp_path.iterdir()) == []


def test_evaluation_looks_for_no_objects_by_a_method():
    with pytest.raises(BadInput, match="--method watershed has no effect, because own returns"):
        evaluate({"own": QuickObjects()}, [], EvaluateOptions(method="watershed"))
