"""Checkpoints of the libraries' trainers: whole ones only."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

from selion.errors import BadInput
from selion.training.language_recipe import Machine
from selion.training.processes import Team
from selion.training.whole import (
    MARK,
    check_count,
    checkpoints,
    is_whole,
    keeper,
    last_whole,
    note_count,
    write_mark,
)


def made(folder, step, marked=True):
    place = folder / f"checkpoint-{step}"
    (place / "deep").mkdir(parents=True)
    for name in ("optimizer.pt", "deep/weights.bin"):
        (place / name).write_bytes(b"12345678")
    if marked:
        write_mark(place)
    return place


def test_a_checkpoint_is_whole_by_its_mark_and_its_sizes(tmp_path):
    place = made(tmp_path, 9)
    assert json.loads((place / MARK).read_text()) == {"deep/weights.bin": 8, "optimizer.pt": 8}
    assert is_whole(place)
    (place / "deep" / "weights.bin").write_bytes(b"1234")
    assert not is_whole(place)
    (place / "deep" / "weights.bin").unlink()
    assert not is_whole(place)
    for wrong in ("", "[1]", '{"optimizer.pt": null}'):
        (place / MARK).write_text(wrong)
        assert not is_whole(place)
    assert not is_whole(made(tmp_path, 10, marked=False))


def test_what_is_not_whole_is_passed_over_and_goes(tmp_path):
    assert last_whole(tmp_path / "none") is None
    kept = [made(tmp_path, 100), made(tmp_path, 20)]
    made(tmp_path, 120, marked=False)
    (tmp_path / "checkpoint-7").write_text("a file")
    assert last_whole(tmp_path) == kept[0]
    assert checkpoints(tmp_path) == kept


def test_older_ones_go_when_the_new_one_is_marked(tmp_path):
    for step in (1, 2):
        made(tmp_path, step)
    made(tmp_path, 3, marked=False)
    given = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=3), None
    keeper(Team(), 2).on_save(*given)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-2"]
    assert is_whole(tmp_path / "checkpoint-3")


@pytest.mark.parametrize("patience", [0.0, -1.0, float("inf"), float("nan")])
def test_patience_is_a_time(patience):
    with pytest.raises(BadInput, match=r"hardware.patience = .* more than 0 and at most a week"):
        Machine(patience=patience)


def test_the_number_of_processes_is_kept(tmp_path):
    check_count(tmp_path / "of before", 4)
    note_count(tmp_path / "sft", 1)
    check_count(tmp_path / "sft", 1)
    with pytest.raises(
        BadInput, match=r"begun by 1 process, and this is a run of 2: .*processes 1"
    ):
        check_count(tmp_path / "sft", 2)
