"""The road of our own language model in the small: chips, packed, taught, rewarded, a card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("timm")
pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from affine import Affine  # noqa: E402

from data_folders import tif  # noqa: E402
from joined_toys import write_llama  # noqa: E402
from language_toys import still  # noqa: E402
from selion.classes import FTW2, FTW3  # noqa: E402
from selion.models import load_model, read_card  # noqa: E402
from selion.models.language import smol as wheels_smol  # noqa: E402

HALVES: dict[str, float] = {"rtol": 2e-3, "atol": 2e-3}
"""What is kept in half precision may differ by so much."""
RUNS = Path(__file__).parents[2] / "runs"
METRES = Affine(1, 0, 500_000, 0, -1, 5_300_000)
TINY = [
    *("--device", "cpu", "--shown", "64", "--batch", "2", "--rank", "2", "--room", "40"),
    *("--groups", "1", "--answers", "2", "--minutes", "5", "--judge", "1000", "--keep", "0"),
]


@pytest.fixture(autouse=True)
def road(tmp_path, monkeypatch):
    """A tiny Llama and a random encoder stand where the wheels' files would."""
    import timm

    llama = write_llama(tmp_path / "tiny.gguf")
    monkeypatch.setattr(wheels_smol, "SHA256", hashlib.sha256(llama.read_bytes()).hexdigest())
    monkeypatch.setattr(wheels_smol, "find_smol", lambda: llama)
    torch.manual_seed(0)
    encoder = tmp_path / "encoder.pth"
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), encoder)
    monkeypatch.setattr("selion.models.wheels.find_wheel", lambda _: encoder)
    monkeypatch.syspath_prepend(str(RUNS))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


@pytest.fixture
def chips(tmp_path) -> Path:
    """Four chips, one of them held out, whose right halves are fields."""
    rng, folder = np.random.default_rng(0), tmp_path / "chips"
    for number in range(4):
        ids = np.zeros((256, 256), np.int32)
        ids[:, 128:192], ids[:, 192:] = 1, 2
        image = np.where(ids > 0, 90, 170) + rng.integers(0, 20, (3, 256, 256))
        for kind, values in (("images", image.astype(np.uint8)), ("instances", ids)):
            tif(folder / kind / f"chip{number}.tif", values, transform=METRES)
    return folder


def test_from_chips_to_a_card_by_one_command(chips, tmp_path, capsys):
    import smol

    given = [str(chips), str(tmp_path / "out"), "--simulated", "1", "--beside", *TINY]
    given += ["--steps", "2", "--rewards", "1"]
    assert smol.main(given)
    folder = tmp_path / "out" / "landscape-smol"
    card = read_card(folder)
    assert card.classes == FTW2
    assert card.architecture["prompt"]["grid"] == 8
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert card.scores == scores
    assert scores["field everywhere"]["iou"] == pytest.approx(0.5)
    assert {"green (excess green, Otsu)", f"{folder}, the chip after"} < set(scores)
    assert load_model(folder, engine="torch").classes == FTW2
    log = json.loads((tmp_path / "out" / "fitted" / "vlm_log.json").read_text())
    assert (log["step"], log["rewarded"], log["phase"]) == (2, 1, "over")
    assert [one["shuffled"] for one in log["curve"]] == [False, False, True]
    assert (tmp_path / "out" / "curve.svg").read_text().count("<polyline") == 2
    # once more: nothing is learnt anew
    weights = (folder / "joined.safetensors").read_bytes()
    assert smol.main(given)
    assert (folder / "joined.safetensors").read_bytes() == weights
    assert "goes on at step 2" in capsys.readouterr().out


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(chips, tmp_path, monkeypatch):
    import smol_data
    import smol_fit

    packed = tmp_path / "packed"
    smol_data.main([str(packed), "--chips", str(chips), "--scenes", "1"])
    held = [str(packed / "start.npz"), str(packed / "fields.npz"), *TINY, "--steps", "3"]
    whole = [*held, "--grpo", "0", "--out", str(tmp_path / "whole")]
    assert smol_fit.main(whole)
    real = smol_fit.Run.step

    def stopped(run, loss):
        if run.progress.step == 2:
            raise KeyboardInterrupt
        real(run, loss)

    monkeypatch.setattr(smol_fit.Run, "step", stopped)
    parted = [*held, "--grpo", "0", "--out", str(tmp_path / "parted")]
    with pytest.raises(KeyboardInterrupt):
        smol_fit.main(parted)
    monkeypatch.setattr(smol_fit.Run, "step", real)
    assert smol_fit.main(parted)
    for name in ("vlm_eyes.safetensors", "vlm_writer.safetensors"):
        found = [(tmp_path / run / name).read_bytes() for run in ("whole", "parted")]
        assert found[0] == found[1]


def test_chips_that_cannot_be_learnt_from_are_named(chips, tmp_path):
    import smol_data

    with pytest.raises(SystemExit, match="holds 0 chips in images/; wanted are three or more"):
        smol_data.pack_chips(tmp_path, tmp_path / "fields.npz")
    tif(chips / "images" / "chip1.tif", np.zeros((3, 64, 64), np.uint8), transform=METRES)
    with pytest.raises(SystemExit, match="has 64 x 64 px; wanted are squares of at least 256"):
        smol_data.pack_chips(chips, tmp_path / "fields.npz")
    assert not (tmp_path / "fields.npz").exists()
    with pytest.raises(SystemExit, match="shown at 100 px was asked for; wanted are 64, 128 or"):
        smol_data.grid_of(100)


def test_boundaries_are_a_class_and_a_run_goes_on_at_another_size(chips, tmp_path, monkeypatch):
    import smol
    import smol_data
    import smol_fit

    given = [str(chips), str(tmp_path / "small"), "--simulated", "1", "--beside", *TINY]
    monkeypatch.setattr("smol_score.main", lambda given: Path(given[-1]).write_text("{}"))
    assert smol.main([*given, "--steps", "1", "--grpo", "0"])
    given[1] = str(tmp_path / "lines")
    start = str(tmp_path / "small" / "fitted")
    wider = ["--shown", "128", "--other-size", start, "--room", "120"]
    assert smol.main([*given, "--lines", *wider, "--steps", "1", "--grpo", "0", "--lr", "0"])
    card = read_card(tmp_path / "lines" / "landscape-smol")
    assert (card.classes, card.architecture["prompt"]["grid"]) == (FTW3, 16)
    assert card.architecture["taught"] == list(FTW3.names)
    old, new = (
        smol_fit.Run(smol_fit.options([str(at / "start.npz"), str(at / "fields.npz"), *more]))
        for at, more in (
            (tmp_path / "small" / "packed", [*TINY, "--out", start]),
            (
                tmp_path / "lines" / "packed",
                [*TINY, *wider, "--out", str(tmp_path / "lines" / "fitted")],
            ),
        )
    )
    old.resume()
    new.resume()
    spoken = {text: row for row, text in enumerate(old.words.texts) if text.isascii() and text}
    same = [(spoken[text], row) for row, text in enumerate(new.words.texts) if text in spoken]
    assert len(same) > 20
    for one, other in same:
        rows = old.model.writer.embed[one], new.model.writer.embed[other]
        torch.testing.assert_close(*rows, **HALVES)
    for name, mine in new.model.state_dict().items():
        if name not in ("eyes.place", "aside.weight", "aside.bias", "writer.embed"):
            torch.testing.assert_close(mine, old.model.state_dict()[name], **HALVES)

    # tokens are known by their text, special ones by their order; a new one begins as it was
    found = smol_fit.placed(
        torch.tensor([[1.0], [2.0], [3.0], [9.0]]),
        ["", "", "a"],
        -torch.ones(5, 1),
        ["", "", "b", "a"],
    )
    assert found[:, 0].tolist() == [1, 2, -1, 3, 9]

    # a cell that is mostly field is boundary from one pixel of it on
    ids = np.zeros((64, 64), int)
    ids[:, 30:] = 7
    classes = smol_data.classes_of(ids, lines=True)
    assert [int(one) for one in classes[9, 28:33]] == [0, 0, 2, 1, 1]
    cells = smol_data.cells_of(torch.from_numpy(classes).float()[None], 8)
    assert [int(one) for one in cells[0, 4]] == [0, 0, 0, 0, 1, 1, 1, 1]  # 2 of 8 pixels are field
    ids[:, 27:] = 7
    cells = smol_data.cells_of(
        torch.from_numpy(smol_data.classes_of(ids, lines=True)).float()[None], 8
    )
    assert [int(one) for one in cells[0, 4]] == [0, 0, 0, 2, 1, 1, 1, 1]
