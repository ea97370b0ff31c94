"""Conversations in numbers: what is drawn is what was drawn before it was made quicker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL")

from language_toys import PROMPT, recipe, sample
from selion.classes import FTW3
from selion.errors import BadInput, BandMismatch
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


def named(bands):
    """A sample whose bands hold 10, 20, 30 ... everywhere."""
    source = sample(0)
    shape = source.image.values.shape[1:]
    values = np.full((len(bands), *shape), 0, np.uint8)
    values += np.arange(10, 10 * len(bands) + 1, 10, dtype=np.uint8)[:, None, None]
    return replace(source, image=Raster(values, source.image.grid, bands))


@pytest.mark.parametrize(
    ("bands", "shown"),
    [
        (("B02", "B03", "B04", "B08"), [30, 20, 10]),  # as Sentinel-2 counts: blue comes first
        (("b2", "b3", "b4"), [30, 20, 10]),
        (("x:red", "x:green", "x:blue", "x:nir"), [10, 20, 30]),
        (("window_a:blue", "window_a:green", "window_a:red", "window_b:blue"), [30, 20, 10]),
        (("1", "2", "3", "4"), [10, 20, 30]),  # names that say nothing
    ],
)
def test_bands_are_learnt_by_what_their_names_mean(bands, shown):
    """As maps feed them: a model that learnt blue for red would be asked about red."""
    seen = conversations.read_known(named(bands), recipe()).pixels
    assert seen[:, 0, 0].tolist() == shown


def test_what_is_missing_is_not_learnt_and_shown_as_on_maps():
    """Nodata was shown as it stands, and NaN that no file declares was black, and learnt."""
    source = sample(0)
    values = np.full((3, *source.image.values.shape[1:]), 40, np.float32)
    values[:, :2] = np.nan
    missing = replace(source, image=Raster(values, source.image.grid, ("red", "green", "blue")))
    known = conversations.read_known(missing, recipe())
    assert (known.pixels == 40).all()
    assert (known.ids[:2] == 255).all()
    assert (known.ids[2:] == conversations.read_known(source, recipe()).ids[2:]).all()


def test_bands_that_are_not_there_are_refused():
    with pytest.raises(BandMismatch, match=r"has the bands B02, B03, B08; the recipe wants red"):
        conversations.read_known(named(("B02", "B03", "B08")), recipe())


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
