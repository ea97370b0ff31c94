"""Unfinished work of the former name is known by its key, which these models had then.

The keys were computed once by the last code of that name, from the same cards and the same image.
"""

import json
import types
from dataclasses import replace

import numpy as np
import pytest

from selion.classes import FTW3
from selion.grid import photo_grid
from selion.models.card import ModelCard
from selion.models.delineate.segmenter import Delineator
from selion.models.execution import Execution
from selion.models.graph import GraphSegmenter
from selion.models.refine.segmenter import Refined
from selion.prediction import BlockJournal, PredictOptions, plan
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling
from selion.store.former import MODEL_TYPES

SPEC = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, 64, 0.25, 32)
CARD = ModelCard("a.b", SPEC, FTW3, sha256="ab", files={"model.onnx": "12"})
SOURCE = Raster(np.zeros((3, 100, 90), np.uint8), photo_grid((100, 90)), SPEC.bands)
FORMER = {
    "GraphSegmenter": "677893e019444ec611e0e2b3748c3111d1292ce1698409af628373a8ac56e05c",
    "SamSegmenter": "8f5f5b52e6e6e2bd18988569e6a848e15798786e93df82f719f13eaa8f9be818",
    "LanguageSegmenter": "f0f9cd3705cd41c7869c8b6aed7403560f5a0bdd8e4342d3bcc7c8c70f61d7dc",
    "Refined": "fd53362e307a85194aceac1d954befc2e51f3487b2b9b94d71577fa8e6e26b25",
    "refined by itself": "1c1be8c9a4fa9f3762353db7b02dfb5d6cfef5df0400962b556d80baeb41ccfc",
    "refined language": "cca47631337d54d5bd11cf100899af8210e5820cdc7ef59a606d40149448a8ca",
    "PointRefined": "f5a1cbf66d619462783976883697daee2da3cb5a9e57da919eb48e5970fbaae6",
}


def graph(threads=4):
    engine = Execution("OpenVINO 1 on a processor", "float32", threads, "; cuda: no NVIDIA driver")
    return GraphSegmenter(CARD, lambda pixels: pixels, engine)


def language():
    network = pytest.importorskip("selion.models.language.network")
    generation = pytest.importorskip("selion.models.language.generation")
    generator = types.SimpleNamespace(options=generation.GenerationOptions(batch=3), prompt=None)
    return network.LanguageSegmenter(CARD, generator, Execution("torch 2 on CPU", "float32"))


def sam(monkeypatch):
    torch = pytest.importorskip("torch")
    everything = pytest.importorskip("selion.models.sam.segmenter")
    monkeypatch.setattr(torch, "__version__", "2")
    card = replace(CARD, architecture={"points_per_side": 8})
    return everything.SamSegmenter(card, types.SimpleNamespace(fast=False, device="cpu"))


def point_refined(monkeypatch):
    from selion.models.refine.segmenter import PointRefined

    return PointRefined(graph(), sam(monkeypatch))


MAKERS = {
    "GraphSegmenter": lambda _: graph(),
    "SamSegmenter": sam,
    "LanguageSegmenter": lambda _: language(),
    "Refined": lambda _: Refined(graph(), graph(1)),
    "refined by itself": lambda _: Refined(graph()),
    "refined language": lambda _: Refined(language(), graph()),
    "PointRefined": point_refined,
}


@pytest.mark.parametrize("name", FORMER)
def test_the_former_key_is_what_it_was(name, monkeypatch):
    model = MAKERS[name](monkeypatch)
    decided = plan(SOURCE, model, PredictOptions(), "0f")
    assert decided.former_key == FORMER[name] != decided.key
    assert model.identity["type"] in MODEL_TYPES


def test_a_detector_that_sees_windows_of_another_size_starts_anew():
    """The size became an option: work of the former name was done without it."""
    then = "c29a9beb06889d11c5b3ca710eba5491203925981f7b006023ce7f2ed6f9a2cf"
    assert plan(SOURCE, Delineator(CARD, None), PredictOptions(), "0f").former_key != then


@pytest.mark.parametrize("mine", [True, False])
def test_a_journal_of_that_key_is_taken_over_and_no_other(tmp_path, mine):
    decided = plan(SOURCE, graph(), PredictOptions(), "0f")
    known = FORMER["GraphSegmenter" if mine else "Refined"]
    (tmp_path / "journal.json").write_text(
        json.dumps({"form": "tilthbl2", "key": known}), encoding="utf-8"
    )
    (tmp_path / "left.block").write_bytes(b"anything")
    BlockJournal(tmp_path, decided.key, decided.former_key)
    assert (tmp_path / "left.block").exists() is mine
