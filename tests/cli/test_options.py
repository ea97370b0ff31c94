"""Options are parsed into typed values once, and say the library's own defaults."""

from __future__ import annotations

import dataclasses

import click
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from command_line import run_here
from selion.cli import imagery, map_choices, mapping, running, world
from selion.cli import options as opt
from selion.errors import BadInput, UnknownName
from selion.fields import FieldOptions, InstanceOptions, to_fields
from selion.imagery import given_seasons
from selion.labels import Instances
from selion.models import find_card, loading, objects
from selion.pipeline.area_options import check_year_of_dates
from selion.pipeline.areas import AreaOptions, survey_area
from selion.pipeline.maps import MapOptions
from selion.prediction import PredictOptions

KINDS = (
    map_choices.ModelChoice,
    map_choices.WindowChoice,
    map_choices.FieldChoice,
    running.RunChoice,
    imagery.SearchChoice,
    world.PublishedChoice,
)
ALONE = {"image", "out", "model", "imagery", "year", "scores", "save_scores"}
ALONE |= {"consistency", "price"}
"""Parameters that the command names itself."""


def defaults(kind):
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING
    }


def test_every_option_of_map_belongs_to_one_kind():
    names = {param.name for param in mapping.map_command.params} - ALONE
    held = [{field.name for field in dataclasses.fields(kind)} for kind in KINDS]
    assert names <= set().union(*held)
    twice = {name for name in names if sum(name in fields for fields in held) > 1}
    assert twice == {"threads"}, "the engine's threads are the runner's too"


@pytest.mark.parametrize(
    ("kind", "renamed"),
    [
        (PredictOptions, {}),
        (MapOptions, {}),
        (FieldOptions, {}),
        (InstanceOptions, {}),
        (AreaOptions, {"gsd": "pixel", "rule": "season_rule"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_defaults_are_the_librarys(kind, renamed):
    shown = {param.name: param.default for param in mapping.map_command.params}
    compared = 0
    for name, usual in defaults(kind).items():
        said = shown.get(renamed.get(name, name))
        if kind is AreaOptions and name == "excluded":
            continue  # a text on the command line, a set in the library: compared below
        if isinstance(said, int | float | str) and usual is not None and name in shown:
            assert said == usual, name
            compared += 1
    assert compared or kind in (FieldOptions, InstanceOptions)


def test_excluded_classes_are_the_librarys():
    from selion import imagery as composites

    shown = {param.name: param for param in mapping.map_command.params}
    assert shown["excluded"].default is None
    usual = shown["excluded"].help.partition("SCL ")[2].split()[0]
    assert composites.parse_excluded(usual) == AreaOptions().masked == composites.EXCLUDED


def test_outlines_are_simplified_by_what_the_help_says():
    help_ = next(param for param in mapping.map_command.params if param.name == "simplify").help
    pixels = float(help_.partition("default: ")[2].split()[0])
    y, x = np.mgrid[:80, :80]
    ids = ((y - 40) ** 2 + (x - 38) ** 2 < 30**2).astype(np.int32)
    disc = Instances(ids, GeoBox(ids.shape, Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633"))
    plain, *given = (
        to_fields(disc, FieldOptions(simplify=length)).geometry[0]
        for length in (None, 10 * pixels, 10.0)
    )
    assert plain.equals_exact(given[0], 0)
    assert not plain.equals_exact(given[1], 0)


def test_what_a_command_does_not_offer_keeps_the_default():
    taken = opt.taken(map_choices.WindowChoice, {"flips": True, "as_json": True})
    assert taken == map_choices.WindowChoice(flips=True)
    assert taken.predict_options() == PredictOptions(flips=True)


def test_the_time_of_the_last_image_reaches_the_map():
    assert map_choices.map_options({"acquired": "2024-08-01", "runner": "serial", "workers": None,
                                 "profile": False}).datetime == "2024-08-01"  # fmt: skip


@pytest.mark.parametrize("verb", ["map", "plan"])
def test_a_time_that_is_none_is_refused_before_the_work(verb, tmp_path):
    """It was read when the table was written, and by the jobs of a plan one after the other."""
    words = {
        "map": ("map", "image.tif", "-o", tmp_path / "f.parquet"),
        "plan": ("plan", "1,1,2,2", "--year", 2024, "--probe", "-o", tmp_path / "plan"),
    }
    told = run_here(*words[verb], "--datetime", "17.8.2024")
    assert told.returncode == 2
    assert "The time '17.8.2024' was given for --datetime" in told.stderr
    assert not list(tmp_path.iterdir())


def test_padding_needs_a_window():
    with pytest.raises(click.UsageError, match="--patch_size"):
        map_choices.WindowChoice(padding=32).predict_options()
    assert map_choices.WindowChoice(padding=32, window=256).predict_options().overlap == 0.25


def test_a_largest_field_of_nothing_is_refused():
    """0 was taken for no limit, and all fields came."""
    told = run_here("fields", "s.tif", "-o", "f.fgb", "--max-area", "0")
    assert told.returncode == 2
    assert "0.0 is not in the range x>0" in " ".join(told.stderr.split())


def test_of_two_options_for_one_thing_neither_is_passed_over():
    with pytest.raises(click.UsageError, match=r"--overlap 0\.5 and --padding 32 both say"):
        map_choices.WindowChoice(padding=32, overlap=0.5, window=256).predict_options()
    for given, said in (
        ({"engine": "openvino", "gpu": 0}, "--engine openvino and --gpu 0 name different"),
        ({"gpu": 0, "mps_mode": True}, "--gpu 0 and --mps_mode name different"),
        ({"engine": "torch", "mps_mode": True}, "--engine torch and --mps_mode name different"),
        ({"engine": "cuda", "gpu": -1}, "--engine cuda and --gpu -1 name different"),
        ({"mps_mode": True, "gpu": -1}, "--mps_mode and --gpu -1 name different"),
    ):
        with pytest.raises(click.UsageError, match=said):
            assert map_choices.ModelChoice(**given).device
    for given, engine in (
        ({}, "auto"),
        ({"gpu": -1}, "cpu"),
        ({"gpu": 1}, "cuda"),
        ({"engine": "cuda", "gpu": 0}, "cuda"),
        ({"engine": "onnxruntime", "gpu": -1}, "onnxruntime"),
        ({"mps_mode": True}, "mps"),
    ):
        assert map_choices.ModelChoice(**given).device == engine
    told = run_here("fields", "s.tif", "-o", "f.fgb", "--image", "a.tif", "--no-preview")
    assert told.returncode == 2
    assert "--image has no effect, because --no-preview" in " ".join(told.stderr.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("map", "a.tif", "fields.gpkg"), "Say which file is to be written: -o NAME"),
        (
            ("train", "own-polygons", "a.tif", "mine.gpkg"),
            "--set data.image=a.tif --set data.polygons=mine.gpkg",
        ),
        (("train", "own-polygons", "chips"), "--set data.dataset=chips"),
    ],
)
def test_words_in_the_wrong_place_are_answered_with_the_right_one(words, said):
    told = run_here(*words)
    assert told.returncode == 2
    assert said in " ".join(told.stderr.split())


def test_the_processor_that_ftw_calls_minus_one_is_taken_where_there_is_a_gpu(monkeypatch):
    """--gpu -1 alone was the same as nothing, and so the GPU."""
    there = dataclasses.replace(loading.ENGINES["cuda"], lacks=lambda _: "")
    monkeypatch.setitem(loading.ENGINES, "cuda", there)
    card = find_card("crops-rgb")
    assert loading._choose(card, "auto")[0] == "cuda"
    assert loading._choose(card, "cpu")[0] not in ("cuda", "mps")
    assert objects._device(card, "cpu") == ("cpu", "")
    with pytest.raises(UnknownName, match="engine"):
        loading._choose(card, "gpu")


def test_dates_of_another_year_than_the_one_asked_for_are_refused():
    """The map was of the dates, whatever --year said of it."""
    box = (11.0, 48.0, 11.01, 48.01)
    winter = given_seasons("2023-10-01/2023-12-15", "2024-05-01/2024-07-15")
    other = AreaOptions(provider="https://nowhere.invalid", seasons=winter)
    for year in (2022, 2025):
        with pytest.raises(BadInput, match=f"2023-10-01 to 2024-07-15 have no day in {year}"):
            survey_area(box, year, other)
    for year in (2023, 2024):
        check_year_of_dates(winter, year)


def test_a_plan_refuses_dates_of_another_year_before_it_measures(tmp_path, monkeypatch):
    """It was said after minutes of a probe."""
    monkeypatch.setattr("selion.country.probe_pipeline", None)
    words = ("plan", "11,48,11.1,48.1", "--year", "2022", "--probe", "-o", tmp_path / "plan")
    dates = ("--dates", "2023-10-01/2023-12-15", "2024-05-01/2024-07-15")
    told = run_here(*words, *dates)
    assert told.returncode == 2, told.stderr
    assert "2023-10-01 to 2024-07-15 have no day in 2022" in " ".join(told.stderr.split())
    assert not (tmp_path / "plan").exists()
