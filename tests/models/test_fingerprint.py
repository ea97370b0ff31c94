"""What a card keeps of a model's answers: by hand, by other engines, and when numbers change."""

import json
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from click.testing import CliRunner

from selion.classes import FTW2
from selion.cli.main import cli
from selion.errors import BadInput, ChecksumMismatch, UnreadableFile
from selion.models import (
    find_card,
    list_models,
    load_model,
    packaged_models,
    read_card,
    verify_model,
    write_card,
)
from selion.models.card import ModelCard, sha256_of
from selion.models.feed import feed, probabilities
from selion.models.fingerprint import (
    chip_range,
    compare_answers,
    fingerprint_of,
    synthetic_chip,
)
from selion.segmenter import InputSpec, Scaling

CARD = ModelCard(
    "two",
    InputSpec(("a", "b"), Scaling((10.0, 100.0), (5.0, 0.0)), multiple=8),
    FTW2,
    architecture={"family": "unet", "encoder": "resnet18"},
)


def copied(folder, to):
    """A copy that may be spoilt."""
    shutil.copytree(folder, to)
    return to


@pytest.fixture(scope="module")
def smallest():
    """The smallest packaged model."""
    return min(
        packaged_models(), key=lambda card: (card.folder / "model.safetensors").stat().st_size
    )


def test_the_chip_is_the_same_for_ever():
    """Its numbers by arithmetic on paper, for bands of two scalings."""
    pixels = synthetic_chip(CARD, *chip_range(CARD)).pixels
    assert pixels.shape == (2, 128, 128)
    for b, y, x in ((0, 0, 0), (1, 0, 0), (0, 17, 40), (1, 127, 126)):
        parcel = ((y // 16) * 7 + (x // 16) * 13 + (y // 16) * (x // 16) * 5 + b * 3) % 17
        texture = (y * 31 + x * 17 + (b + 1) * (x * y % 23)) % 29
        share = (parcel * 29 + texture) / 493 * 0.8 + 0.1
        assert pixels[b, y, x] == pytest.approx(share * (10, 100)[b] + (5, 0)[b], rel=1e-5)
    # a network sees 0.1 to 0.9 of it, and bands that differ
    scaled = CARD.inputs.scaling(pixels)
    assert scaled.min() == pytest.approx(0.1)
    assert 0.85 < scaled.max() < 0.9
    assert np.abs(scaled[0] - scaled[1]).mean() > 0.1
    other = replace(CARD, inputs=replace(CARD.inputs, multiple=96, window=96))
    assert synthetic_chip(other, *chip_range(other)).pixels.shape == (2, 192, 192)
    # of a network that the card does not name, what its export was traced at is all that is known
    unknown = replace(CARD, architecture={})
    assert synthetic_chip(unknown, *chip_range(unknown)).pixels.shape == (2, 16, 16)


def test_answers_are_the_means_of_sixteen_cells():
    """Of a "network" whose second logit is the first band, by the logistic function."""

    def answer(fed):
        return np.stack([np.zeros_like(fed[:, 0]), fed[:, 0]], axis=1)

    found = fingerprint_of(CARD, answer)
    assert list(found) == ["chip from", "chip to", "bands", "background", "field"]
    assert found["bands"] == "a b"
    assert (found["chip from"], found["chip to"]) == ("6 10", "14 90")
    scaled = (synthetic_chip(CARD, *chip_range(CARD)).pixels[0].astype(np.float64) - 5) / 10
    field = 1 / (1 + np.exp(-scaled))
    want = [
        field[y : y + 32, x : x + 32].mean() for y in range(0, 128, 32) for x in range(0, 128, 32)
    ]
    assert [float(value) for value in found["field"].split()] == pytest.approx(want, abs=6e-5)
    assert fingerprint_of(CARD, lambda fed: np.full((1, 2, *fed.shape[2:]), np.nan, "f4")) == {}


def test_bands_whose_names_have_spaces_are_the_same_bands():
    card = replace(CARD, inputs=replace(CARD.inputs, bands=("B04 (665 nm)", "near infrared")))

    def answer(fed):
        return np.stack([np.zeros_like(fed[:, 0]), fed[:, 0]], axis=1)

    def run(views):
        return np.stack(
            [probabilities(answer(feed(v, card))[0], v.pixels.shape[1:]) for v in views]
        )

    told = replace(card, fingerprint=fingerprint_of(card, answer))
    assert compare_answers(told, run, "by hand").difference < 1e-4
    turned = replace(told, inputs=replace(told.inputs, bands=told.inputs.bands[::-1]))
    with pytest.raises(BadInput, match="it was changed since"):
        compare_answers(turned, run, "by hand")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_packaged_models_answer_as_their_cards_say(engine):
    """The cards were written by torch; each engine is another program."""
    import_module({"torch": "torch"}.get(engine, engine))
    names = [card.name for card in packaged_models()]
    assert len(names) >= 3
    for name in names:
        assert verify_model(name, engine).difference < 1e-4  # 5e-5 of it by rounding


def test_a_changed_byte_of_the_weights_is_a_wrong_checksum(smallest, tmp_path):
    folder = copied(smallest.folder, tmp_path / "copy")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ChecksumMismatch, match=r"model\.safetensors has sha256"):
        verify_model(folder)
    done = CliRunner().invoke(cli, ["models", "verify", str(folder)])
    assert isinstance(done.exception, ChecksumMismatch)


@pytest.mark.parametrize("card", packaged_models(), ids=lambda card: card.name)
def test_a_changed_byte_of_any_packaged_file_is_refused_at_every_load(card, tmp_path):
    folder = copied(card.folder, tmp_path / "copy")
    names = sorted(set(card.files))
    assert {"model.safetensors", "model.onnx"} <= set(names)
    for name in names:
        sound = (folder / name).read_bytes()
        for place in (0, len(sound) // 2, len(sound) - 1):
            changed = bytearray(sound)
            changed[place] ^= 1
            (folder / name).write_bytes(changed)
            for engine in ("openvino", "onnxruntime"):
                with pytest.raises(ChecksumMismatch, match=name):
                    load_model(folder, engine=engine)
        (folder / name).write_bytes(sound)


def test_changed_numbers_are_other_answers_even_where_the_checksums_fit(smallest, tmp_path):
    """The weights of the last layer are turned round, and the card is given the new checksum."""
    folder = copied(smallest.folder, tmp_path / "copy")
    content = bytearray((folder / "model.safetensors").read_bytes())
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    begin, end = (8 + length + n for n in header["segmentation_head.0.bias"]["data_offsets"])
    assert header["segmentation_head.0.bias"]["dtype"] == "F32"
    bias = np.frombuffer(bytes(content[begin:end]), "<f4") + np.float32([0.02, 0])
    content[begin:end] = bias.astype("<f4").tobytes()
    (folder / "model.safetensors").write_bytes(content)
    card = read_card(folder)
    files = {name: sha256_of(folder / name) for name in card.files}
    write_card(replace(card, files=files), folder / "card.toml")
    with pytest.raises(BadInput, match=r"answers otherwise .* differ by up to 0\.00\d+ \(0\.0005"):
        verify_model(folder)


@pytest.mark.parametrize("change", ["divide", "order"])
def test_a_changed_card_is_other_answers(smallest, tmp_path, change):
    """Files are whole, but would be understood otherwise."""
    folder = copied(smallest.folder, tmp_path / "copy")
    card = read_card(folder)
    spec = card.inputs
    if change == "divide":
        spec = replace(spec, scaling=Scaling((260.0,), (0.0,), (0.0, 1.0)))
        write_card(replace(card, inputs=spec), folder / "card.toml")
    else:
        names = card.classes.names[::-1]
        write_card(replace(card, classes=replace(card.classes, names=names)), folder / "card.toml")
    with pytest.raises(BadInput, match="answers otherwise"):
        verify_model(folder)


def test_bands_in_another_order_are_noticed(smallest, tmp_path):
    """Numbers of the chip go by position, so that only the names tell it."""
    folder = copied(smallest.folder, tmp_path / "copy")
    card = read_card(folder)
    swapped = replace(card.inputs, bands=card.inputs.bands[::-1])
    write_card(replace(card, inputs=swapped), folder / "card.toml")
    with pytest.raises(BadInput, match="its answers were written with red, green, blue"):
        verify_model(folder)


def test_one_damaged_card_stops_no_other(tmp_path, monkeypatch):
    """And fetching that model again heals it, because its entry of the registry is found."""
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    broken = tmp_path / "models" / "FTW_PRUE_EFNET_B3"
    broken.mkdir(parents=True)
    (broken / "card.toml").write_text('name = "FTW_PR')
    with pytest.warns(UserWarning, match=r"is left out .* Fetch it again with --force"):
        names = [card.name for card in list_models()]
    assert "fields-s2-2season" in names
    with pytest.warns(UserWarning, match="is left out"):
        card = find_card("prue-b3")
    assert card.folder is None


def test_a_card_without_answers_says_so(smallest, tmp_path):
    folder = copied(smallest.folder, tmp_path / "copy")
    card = read_card(folder)
    write_card(replace(card, fingerprint={}), folder / "card.toml")
    with pytest.raises(BadInput, match="keeps no answers to compare with, so only its files"):
        verify_model(folder)
    write_card(replace(card, fingerprint={"soil": "1 2"}), folder / "card.toml")
    with pytest.raises(BadInput, match="fingerprint of another kind"):
        verify_model(folder)
    (folder / "model.onnx").unlink()
    write_card(replace(card, fingerprint={}), folder / "card.toml")
    with pytest.raises(UnreadableFile, match=r"model\.onnx"):
        verify_model(folder)
    absent = next(card.name for card in list_models() if card.folder is None)
    with pytest.raises((UnreadableFile, BadInput)):
        verify_model(absent)
