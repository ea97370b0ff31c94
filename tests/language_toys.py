"""Tiny language models and a seeded world of coloured squares, for tests."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import numpy as np

from selion.classes import ClassScheme
from selion.grid import photo_grid
from selion.labels import LabelMap
from selion.models.language.chat import Prompt
from selion.models.language.grammar import is_done
from selion.models.language.tiny import TinySize
from selion.raster import Raster
from selion.sample import Sample
from selion.training.language_recipe import (
    Draws,
    Grpo,
    Inspect,
    Language,
    LanguageRecipe,
    Lora,
    Machine,
    Sft,
)

CLASSES = ClassScheme(("others", "field", "tree"), ("field",))
COLOURS = np.array([[200, 190, 150], [90, 200, 80], [20, 60, 30]], np.uint8)
SIZE = TinySize(
    image=16,
    patch=4,
    hidden=32,
    layers=2,
    heads=2,
    vision_hidden=32,
    vision_layers=1,
    vocabulary=400,
)
PROMPT = Prompt(
    patch=16, grid=4, instruction="Segment: {classes}.", place="rows {top}, columns {left}"
)


def sample(seed: int, edge: int = 64) -> Sample:
    """An image of coloured squares of 8 px, and its classes."""
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 3, (edge // 8, edge // 8)), np.ones((8, 8), int)).astype(np.uint8)
    values = np.moveaxis(COLOURS[ids], -1, 0) + rng.integers(0, 20, (3, edge, edge)).astype(
        np.uint8
    )
    grid = photo_grid((edge, edge))
    return Sample(
        f"s{seed}", Raster(values, grid, ("red", "green", "blue")), LabelMap(ids, grid, CLASSES)
    )


def recipe(**changes) -> LanguageRecipe:
    """A recipe that ends in seconds."""
    language = Language(tiny="gemma3", size=SIZE, prompt=PROMPT, context=64, lora=Lora(r=0))
    made = LanguageRecipe(
        name="toy",
        classes=CLASSES,
        language=language,
        draws=Draws(step=8),
        sft=Sft(steps=2, batch=2, accumulate=1, lr=1e-3, save_every=1),
        grpo=Grpo(),
        inspect=Inspect(patches=2),
        hardware=Machine(device="cpu", threads=1),
    )
    return replace(made, **changes)


def pair(family: str = "gemma3", prompt: Prompt = PROMPT, seed: int = 0):
    """A tiny model with random weights, and its processor."""
    from selion.models.language.tiny import make_tiny

    rng = np.random.default_rng(seed)
    texts = [
        prompt.answer(rng.integers(0, 3, (prompt.grid, prompt.grid)), CLASSES.names)
        for _ in range(40)
    ]
    with still():
        return make_tiny(
            family,
            [*texts, prompt.instruct(CLASSES.names), "user assistant rows columns 0123456789"],
            SIZE,
            seed,
        )


class still(warnings.catch_warnings):  # noqa: N801  # it is used like the one it is made of
    """The libraries' own warnings are not ours to mend."""

    def __enter__(self):
        found = super().__enter__()
        warnings.simplefilter("ignore")
        logging.getLogger("transformers").setLevel(logging.ERROR)
        return found


def accepts(grammar, text):
    """Whether a text is a whole mask, letter by letter."""
    state = grammar.start
    for char in text:
        state = grammar.step(state, char) if state else None
    return state is not None and is_done(state)
