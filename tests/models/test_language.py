"""Masks as text: codecs, the decoder that reads anything, the grammar."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from language_toys import accepts
from selion.classes import IGNORE
from selion.errors import BadInput, UnknownName
from selion.models.language.chat import (
    SHOWN,
    PatchPlace,
    Prompt,
    coarsen,
    cut,
    messages,
    picture,
    pictures,
    refine,
)
from selion.models.language.ebnf import to_ebnf
from selion.models.language.grammar import Grammar, is_done
from selion.models.language.rrle import CODECS, Misread, decode, encode, find_codec
from selion.segmenter import Scaling

NAMES = ("others", "field", "winter wheat", "tree", "field edge")
RRLE = CODECS["rrle"]
masks = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 4)
)
names = st.lists(
    st.text(
        st.characters(blacklist_categories=["Cs", "Cc", "Z"], blacklist_characters="*|<>"),
        min_size=1,
        max_size=8,
    ),
    min_size=5,
    max_size=5,
)


def hostile(rng: np.random.Generator, count: int) -> list[str]:
    """Texts as a broken model may write them."""
    pieces = [
        "<seg>",
        "</seg>",
        "field",
        "others",
        " *",
        "|",
        "| ",
        "\n",
        "\n ",
        "=",
        "=3",
        "0",
        "7",
        "-1",
        "99999999999999999999",
        "٣",
        "²",
        "\x00",
        "f12",
        "é",
        " ",
    ]
    return ["".join(rng.choice(pieces, rng.integers(0, 60))) for _ in range(count)]


def test_the_papers_format_to_the_letter():
    mask = np.zeros((2, 16), np.uint8)
    mask[0, 7:] = 1
    mask[1] = 1
    assert encode(mask, ("others", "field"), RRLE) == "<seg>others *7| field *9\n field *16\n</seg>"
    assert encode(mask, ("others", "field"), CODECS["rrle-compact"]) == "<seg>o7f9\nf16\n</seg>"
    again = np.vstack([mask, mask[1:], mask[1:]])
    assert encode(again, ("others", "field"), CODECS["rrle-delta"]) == "<seg>o7f9\nf16\n=2\n</seg>"


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(mask=masks)
@settings(max_examples=60, deadline=None)
def test_decode_is_the_inverse_of_encode(codec, mask):
    read, misread = decode(encode(mask, NAMES, codec), mask.shape, NAMES, codec)
    assert np.array_equal(read, mask)
    assert misread.clean


@given(mask=masks, given_names=names)
@settings(max_examples=60, deadline=None)
def test_any_class_names(mask, given_names):
    if len({name.casefold() for name in given_names}) < 5 or any(
        name != name.strip() for name in given_names
    ):
        return
    for codec in CODECS.values():
        assert np.array_equal(
            decode(encode(mask, given_names, codec), mask.shape, given_names, codec)[0], mask
        )


@given(text=st.text(max_size=300), codec=st.sampled_from(list(CODECS.values())))
@settings(max_examples=200, deadline=None)
def test_the_decoder_reads_anything(text, codec):
    mask, misread = decode(text, (5, 7), NAMES, codec)
    assert mask.shape == (5, 7)
    assert set(np.unique(mask).tolist()) <= {0, 1, 2, 3, 4, IGNORE}
    assert 0 <= misread.rows_missing <= 5
    assert str(misread)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_hostile_texts_are_quick(codec):
    began = time.process_time()
    for text in hostile(np.random.default_rng(0), 500):
        decode(text, (64, 64), NAMES, codec)
    for long in (
        "field *1| " * 200_000,
        "f1" * 500_000,
        "\n" * 1_000_000,
        "=" * 1_000_000,
        "9" * 1_000_000,
        "*" * 300_000 + "1",
        "f *1|" + " " * 300_000 + "x",
        "a " * 300_000,
    ):
        decode(long, (64, 64), NAMES, codec)
    assert time.process_time() - began < 5


@given(
    mask=masks,
    place=st.floats(0, 1, exclude_max=True),
    codec=st.sampled_from(list(CODECS.values())),
)
@settings(max_examples=150, deadline=None)
def test_what_a_cut_text_says_is_true(mask, place, codec):
    text = encode(mask, NAMES, codec)
    part = text[: int(place * len(text))]
    read, misread = decode(part, mask.shape, NAMES, codec)
    assert misread.truncated
    if codec.repeat and "=" in part.rpartition("\n")[2]:
        return  # a number of rows that was cut off may have been larger
    known = read != IGNORE
    if not codec.repeat:
        assert np.array_equal(read[known], mask[known])


def test_faults_cost_their_row_only():
    text = (
        "Sure, here it is: <seg>others*2|FIELD * 2\n others *1| cow *3\n field *9\n field *2\n"
        " nonsense\n others *4\n</seg> Anything else?"
    )
    mask, misread = decode(text, (6, 4), NAMES, RRLE)
    assert mask.tolist() == [
        [0, 0, 1, 1],
        [0, 255, 255, 255],
        [1] * 4,
        [1, 1, 255, 255],
        [255] * 4,
        [0] * 4,
    ]
    assert misread == Misread(rows_short=2, rows_long=1, unknown=1)
    assert "1 runs are of no known class" in str(misread)
    mask, misread = decode("<seg>field *4\n field *1", (3, 4), NAMES, RRLE)
    assert mask.tolist() == [[1] * 4, [255] * 4, [255] * 4]
    assert misread == Misread(rows_missing=1, rows_short=1, truncated=True)
    # seven repetitions below the mask, and a row
    assert decode("<seg>f4\n=9\nf4\n</seg>", (3, 4), NAMES, CODECS["rrle-delta"])[1].rows_extra == 8


@pytest.mark.parametrize(
    ("text", "extra"),
    [("<seg>f4\n=2\n</seg>", 0), ("<seg>f4\n=3\n</seg>", 1), ("<seg>=1\nf4\n=2\n</seg>", 1)],
)
def test_repetitions_that_do_not_fit_are_faults(text, extra):
    mask, misread = decode(text, (3, 4), NAMES, CODECS["rrle-delta"])
    assert (mask == NAMES.index("field")).all()
    assert misread.rows_extra == extra
    assert misread.clean is (extra == 0)


@pytest.mark.parametrize(
    "names", [("Field", "field"), ("straße", "strasse"), ("FIELD", "Field", "field")]
)
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_classes_that_differ_in_capitals_alone(names, codec):
    mask = np.arange(4).reshape(2, 2) % len(names)
    assert (decode(encode(mask, names, codec), (2, 2), names, codec)[0] == mask).all()


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("rrle", "<seg>others *7, field *9\n field *16\n</seg>"),
        ("rrle", "<seg>OTHERS*7|Fields * 9\nFIELD *16\n</seg>"),
        ("rrle", "<seg>other *7; field *9\n fields *16\n</seg>"),
        ("rrle-compact", "<seg>O7F9\nF16\n</seg>"),
        ("rrle-compact", "<seg>o7, f9\nf16\n</seg>"),
        ("rrle-compact", "<seg>o7|f9\n f16\n</seg>"),
        ("rrle-places", "<seg>0O7F\n1F\n</seg>"),
        ("rrle-places", "<seg>0 o7, f\n1: f\n</seg>"),
    ],
)
def test_other_separators_plurals_and_capitals_lose_nothing(codec, text):
    mask, misread = decode(text, (2, 16), ("others", "field"), CODECS[codec])
    assert mask.tolist() == [[0] * 7 + [1] * 9, [1] * 16]
    assert misread.clean


def test_a_plural_that_is_a_class_of_its_own_means_itself():
    text = "<seg>field *1, fields *1, fieldses *1\n</seg>"
    assert decode(text, (1, 3), ("field", "fields"))[0].tolist() == [[0, 1, IGNORE]]


def test_places_to_the_letter():
    codec = CODECS["rrle-places"]
    mask = np.zeros((12, 16), np.uint8)
    mask[:, 7:] = 1
    mask[10, 12:] = 0
    mask[11] = 1
    text = "<seg>0o7f\n10o7f12o\n11f\n</seg>"
    assert encode(mask, ("others", "field"), codec) == text
    assert np.array_equal(decode(text, mask.shape, ("others", "field"), codec)[0], mask)


@pytest.mark.parametrize(
    ("text", "rows", "fault"),
    [
        ("<seg>1f\n</seg>", [[255] * 4, [1] * 4, [1] * 4], {"rows_missing": 1}),
        ("<seg>0f\n0o\n9o\n</seg>", [[1] * 4] * 3, {"rows_extra": 2}),
        ("<seg>0f2o1f\n</seg>", [[1, 1, 255, 255]] * 3, {"rows_short": 1}),
        ("<seg>0f\n1o2x\n</seg>", [[1] * 4, [0, 0, 255, 255], [0, 0, 255, 255]], {"unknown": 1}),
        ("<seg>0f2o9f\nwhat\n</seg>", [[1, 1, 0, 0]] * 3, {"rows_long": 1, "rows_short": 1}),
        (
            "<seg>0f\n1f2o",
            [[1] * 4, [1, 1, 255, 255], [255] * 4],
            {"truncated": True, "rows_short": 1, "rows_missing": 1},
        ),
        (
            "no mask at all",
            [[255] * 4] * 3,
            {"truncated": True, "rows_short": 1, "rows_missing": 3},
        ),
    ],
)
def test_faults_in_places_cost_what_they_say(text, rows, fault):
    mask, misread = decode(text, (3, 4), ("others", "field"), CODECS["rrle-places"])
    assert mask.tolist() == rows
    assert misread == Misread(**fault)


def test_places_follow_the_grammar():
    grammar = Grammar(CODECS["rrle-places"], ("others", "field"), (12, 16))
    for text in ("0f\n", "0o7f\n10o7f12o\n11f\n", "0o1f2o3f4o5f6o7f\n"):
        assert accepts(grammar, f"<seg>{text}</seg>")
    for text in (
        "1f\n",  # does not begin at the top
        "0f\n0o\n",  # not below the row before
        "0f\n12o\n",  # below the mask
        "0f\n01o\n",
        "0f16o\n",  # a run that begins at the edge
        "0f7o7f\n",
        "0f7o3f\n",
        "0f7f\n",
        "0f7\n",
        "",
    ):
        assert not accepts(grammar, f"<seg>{text}</seg>")


@pytest.mark.parametrize(
    ("names", "codec", "said"),
    [
        (("a", "b|c"), "rrle", "'b|c' holds '|'.*rrle-compact"),
        (("a", "3*4"), "rrle", r"holds '\*'"),
        (("a", " b"), "rrle", "begins or ends with a space"),
        (tuple(f"class {k}" for k in range(60)), "rrle-compact", "letters for 52 only"),
    ],
)
def test_names_that_collide_with_the_grammar(names, codec, said):
    with pytest.raises(BadInput, match=said):
        encode(np.zeros((1, 1), np.uint8), names, CODECS[codec])


def test_what_cannot_be_spelled():
    with pytest.raises(BadInput, match="the id -1;"):
        encode(np.array([[-1, 0]]), ("others", "field"))
    with pytest.raises(BadInput, match="id 255"):
        encode(np.full((2, 2), IGNORE, np.uint8), NAMES)
    with pytest.raises(UnknownName, match="did you mean 'rrle-delta'"):
        find_codec("rle-delta")


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(mask=masks)
@settings(max_examples=30, deadline=None)
def test_the_grammar_accepts_every_mask_and_no_other_text(codec, mask):
    grammar = Grammar(codec, NAMES, mask.shape)
    text = encode(mask, NAMES, codec)
    assert accepts(grammar, text)
    assert accepts(grammar, grammar.longest())
    assert not accepts(grammar, text[:-1])
    assert not accepts(grammar, text + " ")
    if codec.places or codec.boxes:  # says nothing of the mask's size
        return
    assert not accepts(Grammar(codec, NAMES, (mask.shape[0] + 1, mask.shape[1])), text)
    assert not accepts(Grammar(codec, NAMES, (mask.shape[0], mask.shape[1] + 1)), text)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(seed=st.integers(0, 2**31), shape=st.tuples(st.integers(1, 9), st.integers(1, 14)))
@settings(max_examples=40, deadline=None)
def test_a_walk_along_the_grammar_never_ends_in_a_dead_end(codec, seed, shape):
    grammar, rng = Grammar(codec, NAMES, shape), np.random.default_rng(seed)
    state, text = grammar.start, ""
    alphabet = sorted(grammar.alphabet)
    while not is_done(state):
        following = [
            (char, after) for char in alphabet if (after := grammar.step(state, char)) is not None
        ]
        char, state = following[rng.integers(len(following))]
        text += char
    mask, misread = decode(text, shape, NAMES, codec)
    assert misread.clean, (text, misread)
    assert (mask != IGNORE).all()
    if codec.boxes:  # a model may say an object twice; an answer's room ends it
        return
    assert len(text) <= len(grammar.longest()) + len(f"={shape[0]}\n") * shape[0]


def test_the_grammar_as_text():
    text = to_ebnf(Grammar(RRLE, ("others", "field"), (2, 3)))
    assert text.splitlines()[0] == r'root ::= "<seg>" r3 "\n " r3 "\n</seg>"'
    assert 'r2 ::= label ("2" | "1" "| " r1)' in text
    with pytest.raises(BadInput, match="repeats rows"):
        to_ebnf(Grammar(CODECS["rrle-delta"], ("others", "field"), (2, 3)))


def test_questions_put_first_what_all_patches_share():
    from selion.classes import ALU

    prompt = Prompt(patch=64, grid=32)
    said = messages(prompt, ALU, PatchPlace((0, 64, 64, 128), (512, 768)))[0]["content"]
    assert [part["type"] for part in said] == ["image", "text", "image", "text"]
    assert "others|field|tree|cloud|pond|well" in said[1]["text"]
    assert said[3]["text"] == "This is the patch: rows 0-64, columns 64-128 of 512 x 768."
    blind = Prompt(patch=64, grid=32, coordinates=False)
    assert (
        messages(blind, ALU, PatchPlace((0, 64, 64, 128), (512, 768)))[0]["content"][3]["text"]
        == "This is the patch."
    )
    assert (
        "o others|f field"
        in messages(Prompt(codec="rrle-delta"), ALU, PatchPlace((0, 0, 64, 64), (64, 64)))[0][
            "content"
        ][1]["text"]
    )
    assert Prompt.from_dict(prompt.to_dict()) == prompt
    with pytest.raises(BadInput, match="patch = '64'; wanted is a value of type int"):
        Prompt.from_dict({"patch": "64"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"patch": 64, "grid": 48}, "multiple of the grid"),
        ({"codec": "rle"}, "no codec called 'rle'"),
        ({"instruction": "Look: {klasses}"}, "placeholder"),
        ({"margin": -1}, "margin of -1"),
        ({"shown": "sharp"}, "'sharp'.*colour, grey"),
        ({"shown": "blank", "coordinates": False}, "neither shows the patch nor gives"),
    ],
)
def test_prompts_that_make_no_sense(values, said):
    with pytest.raises(BadInput, match=said):
        Prompt(**values)
    with pytest.raises(UnknownName, match="grids"):
        Prompt.from_dict({"grids": 3})


def test_coarse_answers_are_majorities():
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :3] = 1
    mask[4:, 4:] = IGNORE
    assert coarsen(mask, 2, 2).tolist() == [[1, 0], [0, IGNORE]]
    assert coarsen(mask, 8, 2) is mask
    assert np.array_equal(refine(coarsen(mask, 8, 2), 8), mask)


def test_margins_and_pictures():
    from selion.segmenter import Scaling

    values = np.arange(3 * 6 * 6, dtype=np.float32).reshape(3, 6, 6)
    part = cut(values, (slice(0, 4), slice(2, 6)), 1)
    assert part.shape == (3, 6, 6)
    assert np.array_equal(part[:, 1:5, 1:5], values[:, :4, 2:])
    assert np.array_equal(part[:, 0], part[:, 1])
    shown = np.asarray(picture(np.full((1, 2, 3), 51.0), Scaling((255.0,))))
    assert shown.shape == (2, 3, 3)
    assert (shown == 51).all()


def test_a_patch_is_shown_in_colour_in_grey_or_not_at_all():
    from selion.segmenter import Scaling

    values, roi = (
        np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.float32),
        (slice(2, 6), slice(4, 8)),
    )
    part = values[:, *roi]
    shown = {
        name: [
            np.asarray(image)
            for image in pictures(
                values, roi, Prompt(patch=4, grid=4, shown=name), Scaling((255.0,))
            )
        ]
        for name in SHOWN
    }
    assert all(np.array_equal(whole, np.moveaxis(values, 0, -1)) for whole, _ in shown.values())
    assert np.array_equal(shown["colour"][1], np.moveaxis(part, 0, -1))
    assert np.ptp(shown["grey"][1], axis=-1).max() == 0
    assert (
        np.abs(shown["grey"][1][..., 0] - np.tensordot([0.299, 0.587, 0.114], part, 1)).max() <= 1
    )
    assert (shown["blank"][1] == 128).all()


def test_boxes_to_the_letter():
    mask = np.zeros((4, 6), np.uint8)
    mask[0:3, 1:4] = 1
    mask[1, 2] = 2
    said = "<seg>f0,1,3x3\nx3\nx1.1x1\nx3\nt1,2,1x1\nx1\n</seg>"
    codec = CODECS["boxes"]
    assert encode(mask, ("others", "field", "tree"), codec) == said
    found, misread = decode(said, (4, 6), ("others", "field", "tree"), codec)
    assert misread.clean
    assert np.array_equal(found, mask)
    assert encode(np.zeros((4, 6), int), ("others", "field"), codec) == "<seg></seg>"
    tall = np.zeros((5, 6), np.uint8)
    tall[1:, 2:] = 1
    assert encode(tall, ("others", "field"), codec) == "<seg>f1,2,4x4\nx4\n=3\n</seg>"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("<seg>f1,1,9x2\nx2\n=1\n</seg>", {"rows_long": 1, "rows_missing": 0}),
        ("<seg>f1,1,2x2\nx1\nx2\n</seg>", {"rows_short": 1}),
        ("<seg>f1,1,2x2\nx2\n</seg>", {"rows_missing": 1}),
        ("<seg>w1,1,1x2\nx2\n</seg>", {"unknown": 1}),
        ("<seg>f1,1,1x2\nx2\nx2\n</seg>", {"rows_extra": 1}),
        ("<seg>f1,1,2x2\n=1\nx2\n</seg>", {"rows_extra": 1}),
        ("<seg>f1,1,999999x2\nx2\n=999998\n</seg>" * 9, {"rows_long": 1}),
    ],
)
def test_faults_in_boxes_are_named(text, wrong):
    mask, found = decode(text, (4, 6), ("others", "field"), CODECS["boxes"])
    assert not found.clean
    for name, count in wrong.items():
        assert getattr(found, name) >= count
    assert mask[0].tolist() == [0] * 6


def test_a_text_of_no_object_says_nothing_of_the_ground():
    names, codec = ("others", "field"), CODECS["boxes"]
    mask, found = decode("<seg>Sorry, I see none.</seg>", (4, 6), names, codec)
    assert (mask == IGNORE).all()
    assert found.rows_missing == 4
    assert not decode("<seg></seg>", (4, 6), names, codec)[0].any()


def test_what_is_missing_is_black_to_a_model():
    """Numbers that are none came as a warning of numpy and whatever a processor makes of them."""
    values = np.full((3, 2, 2), 255, np.float32)
    values[:, 0, 0] = np.nan
    seen = np.asarray(picture(values, Scaling((255.0,))))
    assert seen[0, 0].tolist() == [0, 0, 0]
    assert (seen[1] == 255).all()
