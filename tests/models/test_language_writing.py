"""Answers with few passes: guesses that change nothing, and questions that wait for none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from language_toys import CLASSES, PROMPT, pair, sample, still  # noqa: E402
from selion.models.language.chat import PatchPlace, messages, pictures  # noqa: E402
from selion.models.language.generation import GenerationOptions, Question, TextGenerator  # noqa: E402
from selion.models.language.guess import RowGuess  # noqa: E402
from selion.models.language.rrle import CODECS, encode  # noqa: E402
from selion.models.language.writing import Writer  # noqa: E402
from selion.segmenter import Scaling  # noqa: E402


@pytest.fixture(autouse=True)
def quiet():
    with still():
        yield


@pytest.fixture(scope="module")
def toys():
    made = {}
    return lambda family, codec="rrle-places": made.setdefault(
        (family, codec), pair(family, replace(PROMPT, codec=codec))
    )


def questions(count, prompt):
    image = sample(3).image.values
    rois = [(slice(8 * k, 8 * k + 16), slice(16, 32)) for k in range(count)]
    return [
        Question(
            messages(prompt, CLASSES, PatchPlace.of(roi, (64, 64))),
            pictures(image, roi, prompt, Scaling((255.0,))),
        )
        for roi in rois
    ]


def generator(toy, prompt, **speaking):
    return TextGenerator(*toy, prompt, CLASSES.names, GenerationOptions(**speaking))


@pytest.mark.parametrize(
    ("family", "codec"), [("gemma3", "rrle-places"), ("qwen2_5_vl", "rrle-compact")]
)
def test_guesses_change_no_answer(toys, family, codec, monkeypatch):
    prompt = replace(PROMPT, codec=codec)
    toy, asked = toys(family, codec), questions(3, prompt)
    library = generator(toy, prompt, batch=3)
    monkeypatch.setattr(library, "settles", False, raising=False)
    expected = library.ask(asked)
    passes = {}
    for draft in (0, 64):
        ours = generator(toy, prompt, batch=2, draft=draft)
        assert ours.ask(asked) == expected
        assert ours.ask_about(asked, ours.prefix(asked[0])) == expected
        passes[draft] = ours.writer.passes
    assert passes[64] < passes[0]


def test_draws_do_not_depend_on_what_else_is_written(toys):
    prompt = replace(PROMPT, codec="rrle-places")
    toy, asked = toys("gemma3"), questions(2, prompt)
    drawn = [
        generator(toy, prompt, samples=2, temperature=1.3, batch=batch, draft=draft).ask(
            asked, [5, 6]
        )
        for batch, draft in ((1, 0), (3, 64))
    ]
    assert drawn[0] == drawn[1]
    assert len({text for texts in drawn[0] for text in texts}) == 4


class Scripted(torch.nn.Module):
    """Writes what it was told, a token for each place; nothing else is likely at all."""

    def __init__(self, scripts, vocabulary):
        super().__init__()
        self.scripts, self.vocabulary, self.config = scripts, vocabulary, None
        self.rows = []

    def _scores(self, rows, places):
        scores = torch.zeros(*places.shape, self.vocabulary)
        for k, row in enumerate(rows):
            for n, place in enumerate(places[k].tolist()):
                script = self.scripts[row]
                scores[k, n, script[min(max(place, 0), len(script) - 1)]] = 1.0
        return scores

    def generate(self, input_ids, past_key_values, **_):
        memory = input_ids[:, None, :, None].float()
        past_key_values.update(memory, memory, 0)
        return SimpleNamespace(
            past_key_values=past_key_values,
            logits=[
                self._scores(input_ids[:, 0].tolist(), torch.zeros(len(input_ids), 1, dtype=int))[
                    :, 0
                ]
            ],
        )

    def forward(self, input_ids, attention_mask, position_ids, past_key_values, **_):
        keys, _ = past_key_values.update(*[input_ids[:, None, :, None].float()] * 2, 0)
        rows = [int(keys[k, 0, attention_mask[k].argmax(), 0]) for k in range(len(input_ids))]
        # what is remembered is what was written: nothing that was guessed wrong is left
        for k, row in enumerate(rows):
            held = keys[k, 0, : -input_ids.shape[1], 0][
                attention_mask[k, : -input_ids.shape[1]] > 0
            ]
            assert held[1:].tolist() == self.scripts[row][: len(held) - 1]
            assert position_ids[k, 0] == len(held)
        return SimpleNamespace(logits=self._scores(rows, position_ids))


def fields(seed):
    """Leaning fields on 64 x 64 cells of half a metre: the paper's size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    lean, far = rng.uniform(-0.4, 0.4, 2)
    plots = (x + lean * y) // rng.integers(28, 44) + 2 * ((y + far * x) // rng.integers(28, 44))
    return (plots.astype(int) % 3).astype(np.uint8)


def write(codec, masks, draft, batch=1):
    tokenizer = pair()[1].tokenizer
    scripts = [
        [*tokenizer.encode(encode(mask, CLASSES.names, codec)), tokenizer.eos_token_id]
        for mask in masks
    ]
    writer = Writer(
        Scripted(scripts, len(tokenizer)),
        tokenizer,
        None,
        RowGuess(codec, CLASSES.names, (64, 64)),
        (tokenizer.eos_token_id,),
        max(map(len, scripts)) + 8,
        draft=draft,
    )

    def inputs(numbers):
        ids = torch.tensor(numbers)[:, None]
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "position_ids": torch.zeros_like(ids),
        }

    return writer.write(len(masks), batch, inputs), writer.passes


def test_eight_times_fewer_passes_at_64_x_64_cells():
    """Objects of three classes that touch, said one by one, are hardest to guess: 6 times."""
    masks = [fields(0)]
    plain = len(pair()[1].tokenizer.encode(encode(masks[0], CLASSES.names))) + 1
    for name in CODECS:
        texts, passes = write(CODECS[name], masks, 64)
        assert texts == [encode(mask, CLASSES.names, CODECS[name]) for mask in masks]
        assert plain >= (6 if name == "boxes" else 8) * passes, (name, plain, passes)
    assert write(CODECS["rrle"], [np.zeros((64, 64), np.uint8)], 0)[1] > 64


def test_one_long_answer_holds_no_other():
    long = np.zeros((64, 64), np.uint8)
    long[::16] = np.arange(64) % 3
    short = np.zeros((64, 64), np.uint8)
    codec = CODECS["rrle-places"]
    alone = write(codec, [long], 0)[1]
    texts, passes = write(codec, [long, *[short] * 6], 0, batch=2)
    assert texts[0] == encode(long, CLASSES.names, codec)
    # six more questions are read beside it, and that is all that they cost
    assert alone < passes <= alone + 6


def turned(seed):
    """Fields that lie aslant on 64 x 64 cells, some of which end within: no edge is upright."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    angle = rng.uniform(0.1, 0.7)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return ((along % 23 > 4) & (across % 31 > 5)).astype(np.uint8)


def test_fewer_passes_where_no_edge_is_upright():
    """Each edge goes on as it leans, in objects said one by one too."""
    mask = turned(0)
    plain = len(pair()[1].tokenizer.encode(encode(mask, CLASSES.names))) + 1
    for name, least in (("rrle-places", 10), ("boxes", 6)):
        texts, passes = write(CODECS[name], [mask], 64)
        assert texts == [encode(mask, CLASSES.names, CODECS[name])]
        assert plain >= least * passes, (name, plain, passes)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    "said",
    [
        "=\u00b2",
        "=" + "9" * 5000,
        "f0,0,999999x999999\nx9\n",
        "f" + "9" * 5000,
        "f0,0,3x0\n",
        "9" * 5000,
        "=3\n=4\n.",
        "x",
    ],
)
def test_a_guess_reads_anything(name, said):
    guess = RowGuess(CODECS[name], CLASSES.names, (64, 64))
    for text in ("<seg>" + said, encode(turned(1), CLASSES.names, CODECS[name])[:80] + said):
        assert len(guess(text)) < 40_000


@pytest.mark.parametrize("said", ["=\u00b2", "=" + "9" * 5000, "=" + "9" * 20, "=999999999999"])
def test_a_row_is_not_said_again_more_often_than_there_are_rows(said):
    """Without the grammar a model may write any number: nothing ends by it, or fills memory."""
    codec = CODECS["rrle-delta"]
    first = encode(np.zeros((64, 64), np.uint8), CLASSES.names, codec).partition("\n")[0]
    assert RowGuess(codec, CLASSES.names, (64, 64))(f"{first}\n{said}\n") == ""
