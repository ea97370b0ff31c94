"""A card that decides otherwise than when it was written is noticed before its model answers."""

import shutil

import pytest

from command_line import run_here
from selion import models
from selion.classes import ClassScheme
from selion.errors import ChecksumMismatch
from selion.models import card as cards
from selion.models.card import PACKAGED, check_listed, read_card, write_card
from selion.segmenter import InputSpec, Scaling


@pytest.fixture
def own(tmp_path):
    """A model of one's own, as far as its card and files go."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    made = models.ModelCard(
        "mine", InputSpec(("red", "green"), Scaling((3000.0,))), ClassScheme(("ground", "field")),
        architecture={"family": "unet"},
    )  # fmt: skip
    made = cards.with_files(made, folder, ("model.onnx",))
    write_card(made, folder / "card.toml")
    return folder


def changed(folder, old, new):
    path = folder / "card.toml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return read_card(folder)


EDITS = {
    "scaling": ("3000.0", "10000.0"),
    "order of bands": ('"red",\n    "green"', '"green",\n    "red"'),
    "classes": ('"ground",\n    "field"', '"field",\n    "ground"'),
    "network": ('family = "unet"', 'family = "fcn"'),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_card_is_refused_until_its_owner_means_it(what, own):
    check_listed(read_card(own), own)
    edited = changed(own, *EDITS[what])
    with pytest.raises(ChecksumMismatch, match="was changed since it was written") as refused:
        check_listed(edited, own)
    said = str(refused.value)
    assert f"{own}/card.toml" in said
    assert "remove its line 'decides = ...'" in said
    meant = changed(own, f'decides = "{line_of(own)}"\n', "")
    check_listed(meant, own)
    assert meant == edited
    write_card(meant, own / "card.toml")
    check_listed(read_card(own), own)


def line_of(folder):
    text = (folder / "card.toml").read_text("utf-8")
    return text.partition('decides = "')[2].partition('"')[0]


def test_words_of_a_card_are_anybodys_to_change(own):
    """Its name, its notes, and a calibration, which is added by hand; and how it is laid out."""
    path = own / "card.toml"
    text = path.read_text("utf-8").replace('name = "mine"', '# of ours\nname   = "ours"', 1)
    path.write_text(f"{text}\n[calibration]\nslope = 2.0\n", "utf-8")
    card = read_card(own)
    assert (card.name, card.calibration) == ("ours", {"slope": 2.0})
    check_listed(card, own)


def test_a_card_of_before_is_read_as_it_is(own):
    changed(own, f'decides = "{line_of(own)}"\n', "")
    check_listed(changed(own, "3000.0", "10000.0"), own)


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A copy of all models that ship with selion, which is taken for them."""
    shutil.copytree(PACKAGED, tmp_path / "weights")
    for place in ("selion.models.card.PACKAGED", "selion.models.registry._PACKAGED"):
        monkeypatch.setattr(place, tmp_path / "weights")
    return tmp_path / "weights" / "crops-rgb"


def test_packaged_models_are_those_that_were_written():
    for path in PACKAGED.glob("*/card.toml"):
        assert not read_card(path).edited, path
        assert cards.DECIDES in path.read_text("utf-8")


@pytest.mark.parametrize("line", [True, False])
def test_a_packaged_card_that_was_changed_is_refused(line, packaged, tmp_path, monkeypatch):
    """Also where the line with its checksum is gone; a copy elsewhere is a model of one's own."""
    if not line:
        changed(packaged, f'decides = "{line_of(packaged)}"\n', "")
    changed(packaged, "255.0", "128.0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ChecksumMismatch, match="install selion again"):
        models.load_model("crops-rgb")
    done = run_here("models", "verify", "crops-rgb")
    assert (done.returncode, "install selion again" in done.stderr) == (2, True)
    assert run_here("models", "list").returncode == 0
    own = shutil.copytree(packaged, tmp_path / "own")
    if not line:
        assert models.load_model(own).inputs.scaling.divide == (128.0,)
