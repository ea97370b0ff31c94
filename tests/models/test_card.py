"""Cards: strict to read, the same bytes to write, and the files beside them are what they say."""

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selion.classes import FTW3
from selion.errors import BadInput, ChecksumMismatch, UnknownName, UnreadableFile
from selion.models.card import ModelCard, check_files, describe, read_card, sha256_of, write_card
from selion.models.toml import to_toml
from selion.segmenter import InputSpec, Scaling

CARD = ModelCard(
    name="toy.one",
    inputs=InputSpec(
        ("red", "green", "blue"),
        Scaling((255.0, 250.0, 240.0), (1.0,), (0.0, 1.5)),
        (1.5, 5.0),
        64,
        0.25,
        32,
        256,
    ),
    classes=FTW3,
    summary='A "toy" of two lines\nwith a tab\t and \\ and é',
    architecture={"family": "unet", "encoder": "mobilenet_v2", "decoder_channels": [8, 8, 8, 8, 8]},
    files={"model.onnx": "ab"},
    licence="Apache-2.0",
    scores={"pixel_iou": 0.9, "naip": {"object_f1": 0.65}},
)

text = st.text(st.characters(codec="utf-8"))
scalar = text | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
plain = scalar | st.lists(scalar, max_size=3)
tables = st.dictionaries(
    text,
    plain | st.dictionaries(text, plain | st.dictionaries(text, plain, max_size=2), max_size=3),
    max_size=4,
)


@given(tables)
def test_toml_written_is_toml_read(table):
    assert tomllib.loads(to_toml(table)) == table


def test_toml_leaves_none_out_and_refuses_objects():
    assert to_toml({"a": None, "b": 1}) == "b = 1\n"
    with pytest.raises(TypeError, match="is not TOML serializable"):
        to_toml({"a": object()})


def test_card_survives_the_disk(tmp_path):
    write_card(CARD, tmp_path / "card.toml")
    first = (tmp_path / "card.toml").read_bytes()
    read = read_card(tmp_path)
    assert read == CARD
    assert read == read_card(tmp_path / "card.toml")
    assert read.folder == tmp_path
    write_card(read, tmp_path / "card.toml")
    assert (tmp_path / "card.toml").read_bytes() == first


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('licens = "x"', r"no key in .*card.toml called 'licens': did you mean 'licence'"),
        (
            "[inputs]\nwindows = 3\nbands = ['a']",
            r"no key in inputs called 'windows': did you mean 'window'",
        ),
        (
            "[inputs]\nwindow = '256'\nbands = ['a']",
            r"inputs says window = '256'; wanted is a whole number above 0",
        ),
        (
            "[inputs]\nbands = ['a']\ngsd = [1.0]",
            r"inputs says gsd = \[1.0\]; wanted is a list of 2 values",
        ),
        ("[inputs]\nbands = ['a']\nwindow = 100", "a window of 100 px is not a multiple of 32 px"),
        (
            "[inputs]\nbands = ['a']\nscaling.divide = [1.0, 2.0]",
            "scaling.divide has 2 values for 1 bands",
        ),
        ("[inputs]\nbands = ['a']\nscaling.divide = [0]", "divides by"),
        ("[inputs]\nbands = ['a']\nscaling.divid = [1]", "did you mean 'divide'"),
        ("[inputs]\nwindow = 256", "inputs has no 'bands'"),
        (
            "[inputs]\nbands = ['a']\n[classes]\nnames = ['a', 'b']\nboundary = 'c'",
            "no class called 'c'",
        ),
        (
            "[inputs]\nbands = 'red'",
            r"inputs says bands = 'red'; wanted is a list of one or more values",
        ),
    ],
)
def test_a_wrong_card_gets_a_sentence(tmp_path, change, sentence):
    good = {
        "name": "name = 'x'\n",
        "inputs": "[inputs]\nbands = ['a']\n",
        "classes": "[classes]\nnames = ['a', 'b']\n",
    }
    parts = [
        good["name"],
        change + "\n",
        *(block for key, block in good.items() if key != "name" and f"[{key}]" not in change),
    ]
    (tmp_path / "card.toml").write_text("".join(parts))
    with pytest.raises((BadInput, UnknownName), match=sentence):
        read_card(tmp_path)


def test_no_card_and_no_toml_are_unreadable(tmp_path):
    with pytest.raises(UnreadableFile, match="There is no model card"):
        read_card(tmp_path)
    (tmp_path / "card.toml").write_bytes(b"name = \xff")
    with pytest.raises(UnreadableFile, match="cannot be read as a model card"):
        read_card(tmp_path)


def test_files_are_compared_with_the_card(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    card = replace(CARD, files={"model.onnx": sha256_of(tmp_path / "model.onnx")}, folder=tmp_path)
    assert check_files(card) == tmp_path
    (tmp_path / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(ChecksumMismatch, match="was changed or damaged"):
        check_files(card)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UnreadableFile, match="is not there"):
        check_files(card)
    with pytest.raises(UnreadableFile, match=r"names no model.onnx"):
        check_files(replace(card, files={}))
    with pytest.raises(UnreadableFile, match=r"selion models fetch toy.one"):
        check_files(replace(card, folder=None))


def test_a_card_cannot_point_out_of_its_folder(tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(b"")
    empty = sha256_of(tmp_path / "secret")
    with pytest.raises(UnreadableFile, match="secret"):
        check_files(
            replace(
                CARD, files={"model.onnx": empty, "../secret": empty}, folder=tmp_path / "model"
            )
        )


def test_describe_says_what_a_reader_needs():
    rows = describe(CARD)
    assert rows["ground sampling distance"] == "1.5 m to 5 m"
    assert rows["scaling"] == "(value - 1) / 255, 250, 240, clipped to 0..1.5"
    assert rows["licence"] == "Apache-2.0"
    assert rows["classes"] == "background, field, boundary"
    assert "not on this machine" in rows["weights"]
    assert "training" not in rows
