"""Conversations in numbers: what is drawn is what was drawn before it was made quicker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL")

from language_toys import PROMPT, recipe, sample
from selion.classes import FTW3
from selion.errors import BadInput
from selion.labels import LabelMap
from selion.models.language import chat
from selion.raster import Raster
from selion.training import conversations
from selion.training.conversations import Talks, turned
from selion.training.language_recipe import Draws, Machine
from selion.training.sft import count_workers


@pytest.mark.parametrize("shown", ["colour", "grey"])
def test_pictures_are_those_of_the_scaled_and_turned_image(shown, monkeypatch):
    """16 bits, a scaling of each band, margins over the edge: as :func:`chat.pictures` has it."""
    source = sample(0)
    values = source.image.values.astype(np.uint16) * 9 + 40
    source = replace(source, image=Raster(values, source.image.grid, source.image.bands))
    made = recipe(divide=(2000.0, 2300.0, 1900.0), subtract=(30.0, 20.0, 10.0), draws=Draws(step=4))
    prompt = replace(PROMPT, margin=6, shown=shown)
    made = replace(made, language=replace(made.language, prompt=prompt))
    turns = []

    def noted(given, turn):
        turns.append(turn)
        return turned(given, turn)

    monkeypatch.setattr(conversations, "turned", noted)
    seen = set()
    for k in range(24):
        talk = Talks([source], made, 24)[k]
        turn = turns[-1]
        seen.add(turn)
        top, left, bottom, right = talk.place.box
        roi = (slice(top, bottom), slice(left, right))
        wanted = chat.pictures(turned(values, turn), roi, prompt, made.spec().scaling)
        assert all(
            np.array_equal(np.asarray(one), np.asarray(other))
            for one, other in zip(talk.images, wanted, strict=True)
        )
    assert len(seen) > 5


def test_an_image_is_scaled_once_for_all_its_patches(monkeypatch):
    scaled = []

    def noted(*given):
        scaled.append(given)
        return chat.picture(*given)

    monkeypatch.setattr(conversations, "picture", noted)
    talks = Talks([sample(1), sample(2)], recipe(), 20)
    assert all(talks[k].images for k in range(20))
    assert len(scaled) == 2


def test_a_boundary_thinner_than_a_cell_is_taught():
    """A line of one pixel in the middle of fields: the commonest class of a cell would lose it."""
    source = sample(0)
    ids = np.full((64, 64), FTW3.index("field"), np.uint8)
    ids[:, 33] = FTW3.index("boundary")
    source = replace(source, labels=LabelMap(ids, source.image.grid, FTW3))
    made = recipe(classes=FTW3, draws=Draws(step=8, turn=False))
    lefts = set()
    for talk in (Talks([source], made, 24)[k] for k in range(24)):
        left = talk.place.box[1]
        lefts.add(left)
        wanted = np.full((4, 4), 1)
        if left <= 33 < left + 16:
            wanted[:, (33 - left) // 4] = 2
        assert np.array_equal(talk.truth, wanted)
    assert lefts & {24, 32}


def test_workers():
    assert [count_workers(asked, "cpu") for asked in (-1, 0, 3)] == [0, 0, 3]
    assert 1 <= count_workers(-1, "cuda") <= 4
    with pytest.raises(BadInput, match=r"hardware\.workers"):
        Machine(workers=-2)
