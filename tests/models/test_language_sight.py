"""How much of a patch a language model sees: zoom, its floor, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("transformers")

from language_toys import CLASSES, PROMPT, pair, sample, still
from selion.errors import BadInput
from selion.models.language import sight
from selion.models.language.chat import Prompt, pictures
from selion.models.language.sight import check_sight, enough_zoom, look
from selion.segmenter import Scaling

PAPER = Prompt(patch=64, grid=64)


@pytest.fixture(scope="module")
def qwen():
    """A processor with the settings of Qwen2.5-VL's own: a token stands for 28 x 28 px."""
    from transformers import Qwen2VLImageProcessor

    processor = pair("qwen2_5_vl")[1]
    processor.image_processor = Qwen2VLImageProcessor()
    return processor


@pytest.fixture(scope="module")
def gemma():
    """One that makes as many tokens of any picture."""
    return pair("gemma3")[1]


def test_a_patch_of_64_px_is_four_tokens_for_4096_cells_unless_it_is_zoomed(qwen):
    plain = look(qwen, PAPER)
    assert (plain.tokens, plain.of_cell) == (4, 4 / 4096)
    zoomed = look(qwen, replace(PAPER, zoom=896))
    assert (zoomed.tokens, zoomed.of_cell) == (32 * 32, 1 / 4)
    assert "896 px, becomes 1,024 visual tokens: 0.25 for each of 64 x 64 cells" in str(zoomed)


def test_below_the_floor_it_is_refused_with_what_to_set(qwen):
    # 256 tokens are 16 x 16 of 28 px
    with pytest.raises(BadInput, match=r"becomes 4 visual tokens.*set language.prompt.zoom = 448"):
        check_sight(qwen, PAPER)
    assert check_sight(qwen, replace(PAPER, zoom=448)).tokens == 256
    with pytest.raises(BadInput, match=r"becomes 225 visual tokens"):
        check_sight(qwen, replace(PAPER, zoom=420))
    assert enough_zoom(qwen, replace(PAPER, sight=0.25)) == 896
    assert check_sight(qwen, replace(PAPER, sight=0)).tokens == 4


def test_what_cannot_be_zoomed_is_told_a_coarser_grid(gemma):
    tokens = look(gemma, PAPER).tokens
    assert tokens == look(gemma, replace(PAPER, zoom=640)).tokens
    fits = max(grid for grid in (1, 2, 4, 8, 16, 32) if tokens / grid**2 >= 1 / 16)
    with pytest.raises(BadInput, match=rf"no more of a larger picture.*prompt.grid = {fits}\b"):
        check_sight(gemma, PAPER)
    assert check_sight(gemma, replace(PAPER, grid=fits)).of_cell >= 1 / 16


def test_a_margin_is_no_sight_of_the_patch(qwen):
    seen = look(qwen, replace(PAPER, zoom=448, margin=32))
    assert seen.edge == 896
    assert seen.of_cell == 1024 / 4 / 4096


def test_training_and_prediction_show_the_same_picture():
    from selion.models import ModelCard
    from selion.models.execution import Execution
    from selion.models.language.generation import TextGenerator
    from selion.models.language.network import LanguageSegmenter
    from selion.raster import Raster
    from selion.segmenter import InputSpec, View

    prompt = replace(PROMPT, zoom=48, margin=4, shown="grey")
    image = sample(3).image
    roi = (slice(8, 24), slice(40, 56))
    taught = pictures(image.values, roi, prompt, Scaling((255.0,)))[1]
    spec = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, 16, 0.25, 1, 64)
    card = ModelCard("toy", spec, CLASSES, architecture={"prompt": prompt.to_dict()})
    with still():
        generator = TextGenerator(*pair(), prompt, CLASSES.names)
    made = LanguageSegmenter(card, generator, Execution("toy"))
    context = Raster(image.values.astype(np.float32), image.grid, image.bands)
    view = View(context.values[:, *roi], roi, context, (slice(0, 64), slice(0, 64)))
    asked = made.questions([view])[0].images[1]
    assert taught.size == asked.size == (72, 72)
    assert np.array_equal(np.asarray(taught), np.asarray(asked))
    said = made.price(10).facts(1.0)
    assert said["tokens_of_patch"] == look(made.generator.processor, prompt).tokens
    assert Prompt.from_dict(made.card.architecture["prompt"]) == prompt


@pytest.mark.parametrize(
    ("values", "said"),
    [({"zoom": 32}, "at least as many pixels as the patch"), ({"sight": -1}, "0 .whatever")],
)
def test_zooms_that_make_no_sense(values, said):
    with pytest.raises(BadInput, match=said):
        replace(PAPER, **values)
    assert Prompt.from_dict({"sight": 1}).sight == 1


@pytest.mark.parametrize("patch", [1, 2, 3, 21, 45, 63, 64, 75, 96, 129])
def test_the_search_for_a_zoom_comes_to_an_end(patch, monkeypatch):
    """Of a patch with an odd edge, as 75 px, it went round for ever at most floors."""
    asked = []

    def enough(_processor, prompt, zoom):
        assert prompt.patch <= zoom
        asked.append(zoom)
        assert len(asked) < 40
        return zoom >= least

    monkeypatch.setattr(sight, "_enough", enough)
    step = max(1, patch // 2)
    for least in range(patch + 1, 8 * patch + 1, max(1, patch // 7)):
        asked.clear()
        found = enough_zoom(None, Prompt(patch=patch, grid=1))
        assert found >= least
        assert found - step < least
