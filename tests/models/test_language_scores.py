"""How sure a model was of each label, as the score of its cells; and boundaries in the text."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")

from language_toys import CLASSES, PROMPT, pair, sample, still  # noqa: E402
from selion import fields  # noqa: E402
from selion.classes import ALU, FTW2, FTW3, ClassScheme  # noqa: E402
from selion.grid import photo_grid  # noqa: E402
from selion.labels import Instances, class_labels  # noqa: E402
from selion.models.card import ModelCard  # noqa: E402
from selion.models.execution import Execution  # noqa: E402
from selion.models.language.chat import coarsen, refine  # noqa: E402
from selion.models.language.generation import GenerationOptions, TextGenerator  # noqa: E402
from selion.models.language.label_odds import Heard, SpokenAnswer, label_scores  # noqa: E402
from selion.models.language.network import LanguageSegmenter  # noqa: E402
from selion.models.language.rrle import CODECS, decode, decode_labels, encode  # noqa: E402
from selion.models.language.served import _words  # noqa: E402
from selion.models.refine.segmenter import merge_boundary, refined_classes  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.segmenter import InputSpec, Scaling, View  # noqa: E402

SPEC = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, PROMPT.patch, 0.25, 1, 64)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy():
    return pair()


def said(words, heard):
    """An answer of words, and what was thought of others (word -> probability) at some."""
    thought = [
        Heard(tuple(heard[k]), np.log(list(heard[k].values()))) if k in heard else None
        for k in range(len(words))
    ]
    return SpokenAnswer(list(words), thought)


def scores_of(text, spoken, names, shape, codec):
    mask, places, _ = decode_labels(text, shape, names, CODECS[codec])
    labels = tuple(label + CODECS[codec].mark for label in CODECS[codec].labels(names))
    return label_scores(text, mask, places, spoken, labels)


def test_a_letter_within_a_word_by_hand():
    """Only words that go on from the same number say another class in its place."""
    words = ["<seg>", "o", "3f", "1\n", "f4", "\n", "</seg>"]
    heard = {
        1: {"o": 0.6, "f": 0.2, "3f": 0.2},
        2: {"3f": 0.3, "3o": 0.1, "2f": 0.5, "3": 0.1},
        4: {"f4": 0.5, "o4": 0.2, "o": 0.3},
    }
    found = scores_of(
        "".join(words), said(words, heard), ("others", "field"), (2, 4), "rrle-compact"
    )
    wanted = [[0.25, 0.25, 0.25, 0.75], [0.5] * 4]
    assert np.allclose(found[1], wanted, atol=1e-6)
    assert np.allclose(found.sum(0), 1)
    alone = scores_of("".join(words), None, ("others", "field"), (2, 4), "rrle-compact")
    assert np.array_equal(alone[1], [[0, 0, 0, 1], [1, 1, 1, 1]])
    # spaces before the mask are not in the text that is read; words of another text are no scores
    spaced = said([" ", *words], {k + 1: one for k, one in heard.items()})
    assert np.array_equal(
        scores_of("".join(words), spaced, ("others", "field"), (2, 4), "rrle-compact"), found
    )
    other = said([*words, "more"], heard)
    assert np.array_equal(
        scores_of("".join(words), other, ("others", "field"), (2, 4), "rrle-compact"), alone
    )


def test_a_name_of_several_words_by_hand():
    """Each word decides among the classes that those before have left: .5 x .75, .5 x .25."""
    names = ("oats", "wheat", "weed")
    words = ["<seg>", "w", "heat", " *", "2", "\n", "</seg>"]
    heard = {1: {"w": 0.4, "oats": 0.4, "2": 0.2}, 2: {"heat": 0.3, "eed": 0.1, "oats": 0.6}}
    found = scores_of("".join(words), said(words, heard), names, (1, 2), "rrle")
    assert np.allclose(found[:, 0, 0], [0.5, 0.375, 0.125], atol=1e-6)


@pytest.mark.parametrize("codec", CODECS)
def test_places_are_those_of_the_labels(codec):
    rng = np.random.default_rng(5)
    mask = np.repeat(rng.integers(0, 3, (6, 9)), 2, 0).astype(np.uint8)
    text = "I see: " + encode(mask, CLASSES.names, CODECS[codec])
    found, places, misread = decode_labels(text, mask.shape, CLASSES.names, CODECS[codec])
    assert np.array_equal(found, mask)
    assert misread.clean
    labels = CODECS[codec].labels(CLASSES.names)
    for k, label in enumerate(labels):
        here = places[mask == k]
        assert all(text.startswith(label, at) for at in here[here >= 0].tolist())
    assert ((places < 0) == ((mask == 0) if codec == "boxes" else False)).all()


def segmenter(toy, codec="rrle-compact", **speaking):
    prompt = replace(PROMPT, codec=codec)
    card = ModelCard("toy", SPEC, CLASSES, architecture={"family": "language"})
    generator = TextGenerator(
        *toy, prompt, CLASSES.names, GenerationOptions(scores="labels", **speaking)
    )
    return LanguageSegmenter(card, generator, Execution("toy"))


@pytest.fixture(scope="module")
def views():
    image = sample(3).image
    image = replace(image, values=image.values.astype(np.float32))
    whole = (slice(0, 64), slice(0, 64))
    rois = [(slice(8 * k, 8 * k + 16), slice(16, 32)) for k in range(3)]
    return [View(image.values[:, *roi], roi, image, whole) for roi in rois]


def test_scores_are_the_models_own_however_it_is_run(toy, views, monkeypatch):
    """Read again in one pass over the whole answer: the softmax over the letters' tokens."""
    made = segmenter(toy)
    scores = made(views)
    generator = made.generator
    tokenizer, signs = toy[1].tokenizer, set("<seg>/oft0123456789\n")
    asked, seen = made.questions(views), 0
    texts = [answers[0] for answers in generator.ask(asked)]
    words = {k: tokenizer.decode([k]) for k in range(len(tokenizer))}
    says = [
        [k for k, word in words.items() if word.startswith(letter) and signs.issuperset(word)]
        for letter in "oft"
    ]
    number = {word: k for k, word in words.items()}
    for text, question, spoken, found in zip(texts, asked, generator.spoken, scores, strict=True):
        inputs = generator.together([question])
        ids = [number[word] for word in spoken.words]
        assert "".join(spoken.words) == text
        grown = {
            name: torch.cat([value, value.new_ones(1, len(ids))], 1)
            if value.shape == inputs["input_ids"].shape
            else value
            for name, value in inputs.items()
        }
        grown["token_type_ids"][:, -len(ids) :] = 0
        grown["input_ids"][:, -len(ids) :] = torch.tensor(ids)
        with torch.inference_mode():
            logits = toy[0](**grown).logits[0, inputs["input_ids"].shape[1] - 1 : -1]
        _, places, _ = decode_labels(text, (4, 4), CLASSES.names, CODECS["rrle-compact"])
        at = 0
        for k, word in enumerate(spoken.words):
            if word[0] in "oft":
                odds = logits[k].double().softmax(0)
                share = np.array([float(odds[tokens].sum()) for tokens in says])
                here = np.kron(places == at, np.ones((4, 4), bool)).astype(bool)
                assert np.allclose(found[:, here], (share / share.sum())[:, None], atol=2e-5)
                seen += here.any()
            at += len(word)
    assert seen > 10
    assert 0.34 < scores.max(1).mean() < 0.99
    for speaking in ({"share": False}, {"draft": 0}, {"batch": 1}, {"grammar": "selion"}):
        assert np.allclose(segmenter(toy, **speaking)(views), scores, atol=1e-5)
    monkeypatch.setattr(TextGenerator, "settles", False)
    assert np.allclose(segmenter(toy)(views), scores, atol=1e-5)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_has_scores(toy, views, codec):
    scores = segmenter(toy, codec, samples=2)(views[:1])
    assert np.allclose(scores.sum(1), 1, atol=1e-5)
    assert len(np.unique(scores)) > 3 or codec == "boxes"
    assert "scores='labels'" in repr(GenerationOptions(scores="labels"))
    assert "scores" not in repr(GenerationOptions())  # unfinished work of before is still found


def test_a_server_says_how_sure_it_was():
    told = {
        "content": [
            {"token": "<seg>f", "logprob": 0.0, "top_logprobs": []},
            {
                "token": "o",
                "logprob": math.log(0.5),
                "top_logprobs": [
                    {"token": "o", "logprob": math.log(0.5)},
                    {"token": "f", "logprob": math.log(0.3)},
                    {"token": "x", "logprob": math.log(0.2)},
                ],
            },
        ]
    }
    words = _words(told)
    assert words.words == ["<seg>f", "o"]
    assert dict(zip(words.heard[1].words, np.exp(words.heard[1].odds), strict=True)) == (
        pytest.approx({"o": 0.5, "f": 0.3, "x": 0.2})
    )
    for nothing in (None, {}, {"content": None}, {"content": [{"token": "o"}]}, {"content": []}):
        assert _words(nothing) is None
    told["content"][0]["logprob"] = float("nan")
    assert _words(told) is None
    assert decode("<seg>o4\n</seg>", (1, 4), CLASSES.names, CODECS["rrle-compact"])[1].clean


def test_a_boundary_in_the_text_parts_fields_that_touch():
    """Four fields of 20 x 20 px side by side, in cells of 4 px, as a map finds them."""
    ids = np.kron(np.array([[1, 2], [3, 4]], np.int32), np.ones((20, 20), np.int32))
    ids = np.pad(ids, 12)
    grid = photo_grid(ids.shape)
    lines = class_labels(Instances(ids, grid)).ids
    options = fields.InstanceOptions(min_area=0.0)
    card = ModelCard("m", SPEC, FTW3, architecture={"family": "language"})
    found = {}
    for classes, truth in ((FTW2, (ids > 0).astype(np.uint8)), (FTW3, lines)):
        boundary = classes.names.index(classes.boundary) if classes.boundary else None
        cells = coarsen(truth, 16, len(classes.names), boundary)
        text = encode(cells, classes.names, CODECS["rrle-places"])
        mask, _ = decode(text, cells.shape, classes.names, CODECS["rrle-places"])
        assert np.array_equal(mask, cells)
        shares = np.stack([refine(mask, 64) == k for k in range(len(classes.names))])
        scores = Raster(shares.astype(np.float32), grid, classes.names)
        method, chosen = fields.choose_method("auto", options, classes, card)
        found[classes.names] = fields.find_instances(scores, classes, method, chosen).ids
    assert found[FTW2.names].max() == 1
    parts = found[FTW3.names]
    assert parts.max() == 4
    for one in range(1, 5):
        inside = parts[ids == one]
        assert np.bincount(inside).max() > 0.7 * inside.size
    assert fields.choose_method("auto", options, FTW2, card)[1] == options
    own = replace(options, smoothing=3.0)
    assert fields.choose_method("auto", own, FTW3, card)[1] == own


def test_cells_of_a_boundary_by_hand():
    """Any pixel of it makes a cell of objects boundary; a cell mostly of the first class stays."""
    mask = np.array([[1, 2, 0, 0], [1, 1, 0, 2], [1, 1, 255, 255], [1, 1, 2, 255]], np.uint8)
    assert coarsen(mask, 2, 3, 2).tolist() == [[2, 0], [1, 255]]
    assert coarsen(mask, 2, 3).tolist() == [[1, 0], [1, 255]]


def unsaid(classes, text):
    """A patch of which a model said nothing that can be read."""
    prompt = replace(PROMPT, codec="rrle-compact")
    card = ModelCard("m", SPEC, classes, architecture={"family": "language"})
    labels = CODECS["rrle-compact"].labels(classes.names)
    generator = SimpleNamespace(options=GenerationOptions(), prompt=prompt, labels=labels)
    return card, LanguageSegmenter(card, generator, Execution("toy"))._votes([text])


@pytest.mark.parametrize("classes", [FTW2, FTW3, ALU], ids=["fields", "boundaries", "alu"])
@pytest.mark.parametrize("text", ["I am sorry.", "<seg>", ""])
def test_what_was_not_said_is_no_field(classes, text):
    """A third of background, field and boundary each was two thirds of a field."""
    card, patch = unsaid(classes, text)
    assert np.allclose(patch.sum(0), 1)
    scores = Raster(np.tile(patch, (1, 4, 4)), photo_grid((64, 64)), classes.names)
    options = fields.InstanceOptions(min_area=0.0)
    for method in ("auto", "components"):
        asked, chosen = fields.choose_method(method, options, classes, card)
        assert not fields.find_instances(scores, classes, asked, chosen).ids.any()


@pytest.mark.parametrize(
    ("names", "things", "boundary", "wanted"),
    [
        (("wheat", "maize"), ("wheat", "maize"), None, (0.5, 0.5)),
        (("field", "line"), ("field",), "line", (1.0, 0.0)),
        (("soil", "field", "line"), ("field", "line"), "line", (2 / 3, 1 / 3, 0.0)),
    ],
)
def test_shares_of_what_was_not_said_are_numbers_where_all_classes_are_things(
    names, things, boundary, wanted
):
    """0 of 0 classes was no number: maps had holes of NaN, and a mute server was not refused."""
    _, patch = unsaid(ClassScheme(names, things, boundary), "I am sorry.")
    assert patch[:, 0, 0].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("classes", [FTW2, FTW3, ALU], ids=["fields", "boundaries", "alu"])
@pytest.mark.parametrize("line", [0.0, 0.1, 0.3])
def test_a_refined_field_does_not_grow_into_what_was_not_said(classes, line):
    """Half of the picture is field, of the other nothing was said: all of it was one field."""
    _, patch = unsaid(classes, "")
    said = np.tile(patch, (1, 2, 2))[None]
    said[..., :16] = np.eye(len(classes))[classes.index("field")][:, None, None]
    edge = np.full((1, 32, 32), line, np.float32)
    names = refined_classes(classes)
    scores = Raster(merge_boundary(said, classes, edge)[0], photo_grid((32, 32)), names.names)
    found = fields.find_instances(scores, names, "watershed", fields.InstanceOptions(min_area=0.0))
    assert np.array_equal(found.ids > 0, np.indices((32, 32))[1] < 16)
