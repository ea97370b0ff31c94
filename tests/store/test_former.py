"""What was written under the project's former name is read, with a note; nothing is written under
it.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from selion import prediction
from selion.fields.schema import Origin
from selion.models.card import read_card
from selion.prediction import journal as journals
from selion.store import former

ROI = (slice(0, 4), slice(0, 5))


@pytest.fixture(autouse=True)
def notes(caplog):
    former.note.cache_clear()
    caplog.set_level(logging.WARNING, "selion")
    return caplog


def test_a_work_folder_is_taken_over(tmp_path, notes):
    (tmp_path / ".f.parquet.tilth").mkdir()
    (tmp_path / ".f.parquet.tilth" / "x").touch()
    folder = former.take_over(tmp_path / ".f.parquet.selion")
    assert [path.name for path in folder.iterdir()] == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == [".f.parquet.selion"]
    assert "called tilth" in notes.text


def test_a_folder_of_today_stays_beside_one_of_the_former_name(tmp_path, notes):
    (tmp_path / ".f.tilth").mkdir()
    (tmp_path / ".f.selion").mkdir()
    former.take_over(tmp_path / ".f.selion")
    assert (tmp_path / ".f.tilth").is_dir()
    assert not notes.text


def test_blocks_of_the_former_name_are_finished_blocks(tmp_path, monkeypatch, notes):
    values = np.arange(40, dtype=np.uint8).reshape(2, 4, 5)
    with monkeypatch.context() as before:
        before.setattr(journals, "MAGIC", b"tilthbl2")  # as version 0.1.0 wrote them
        prediction.BlockJournal(tmp_path, "old key").save(ROI, values)
    now = prediction.BlockJournal(tmp_path, "new key", "old key")
    assert np.array_equal(now.load(ROI, (2, 4, 5)), values)
    assert "called tilth" in notes.text
    assert json.loads((tmp_path / "journal.json").read_text())["form"] == "selionb2"
    assert np.array_equal(
        prediction.BlockJournal(tmp_path, "new key", "old key").load(ROI, (2, 4, 5)), values
    )
    assert not prediction.BlockJournal(tmp_path, "new key", "another key").has(ROI, (2, 4, 5))


def test_a_model_folder_of_the_former_name_is_read(tmp_path, notes):
    (tmp_path / "card.toml").write_text(
        'name = "a.b"\nformat = "tilth"\n[inputs]\nbands = ["red"]\n[classes]\n'
        'names = ["background", "field"]\n'
    )
    assert read_card(tmp_path).format == "selion"
    assert "called tilth" in notes.text


def test_a_table_of_the_former_name_keeps_its_provenance(notes):
    origin = Origin.from_dict({"collection": "x", "tilth:provenance": {"tilth": "0.1.0"}})
    assert origin.provenance == {"tilth": "0.1.0"}
    assert "selion:provenance" in origin.to_dict()
    assert "called tilth" in notes.text
