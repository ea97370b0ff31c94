"""What was written under the project's former name is read, with a note; nothing is written under
it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct

import numpy as np
import pytest

from selion import prediction, store
from selion.fields.schema import Origin
from selion.imagery.composite_blocks import CompositeBlocks
from selion.models.card import read_card
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


def test_blocks_of_the_former_name_are_finished_blocks(tmp_path, notes):
    values = np.arange(40, dtype=np.uint8).reshape(2, 4, 5)
    # as version 0.1.0 wrote them
    head = struct.pack(
        "<8s32s4q3q", b"tilthbl2", hashlib.sha256(b"old key").digest(), 0, 4, 0, 5, 2, 4, 5
    )
    payload = store.pack(values)
    digest = hashlib.blake2b(head + payload, digest_size=16).digest()
    (tmp_path / "0-4_0-5.block").write_bytes(head + digest + payload)
    (tmp_path / "journal.json").write_text(json.dumps({"key": "old key", "form": "tilthbl2"}))
    now = prediction.BlockJournal(tmp_path, "new key", "old key")
    assert np.array_equal(now.load(ROI, (2, 4, 5)), values)
    assert "called tilth" in notes.text
    assert json.loads((tmp_path / "journal.json").read_text())["form"] == "selionbk"
    assert np.array_equal(
        prediction.BlockJournal(tmp_path, "new key", "old key").load(ROI, (2, 4, 5)), values
    )
    assert not prediction.BlockJournal(tmp_path, "new key", "another key").has(ROI, (2, 4, 5))


def test_composites_of_the_former_name_go_on(tmp_path, notes):
    pixels = np.arange(40, dtype="<u2").reshape(2, 4, 5)
    about = {"key": "key", "roi": [0, 4, 0, 5], "bands": 2, "clear": {"one": 7}, "without": []}

    def write(said):  # as version 0.1.0 wrote them
        text = json.dumps(said, sort_keys=True).encode()
        digest = hashlib.blake2b(text + pixels.tobytes(), digest_size=16).digest()
        head = struct.pack("<8s16sI", b"tilthcmp", digest, len(text))
        (tmp_path / "0-4_0-5.block").write_bytes(head + text + pixels.tobytes())

    write(about)
    (tmp_path / "composite.json").write_text(json.dumps({"key": "key", "lost": {"two": "gone"}}))
    kept = CompositeBlocks.open(tmp_path, "key", 2)
    assert kept.lost == {"two": "gone"}
    found = kept.load(ROI)
    assert np.array_equal(found.values, pixels)
    assert found.clear == {"one": 7}
    assert "called tilth" in notes.text
    assert CompositeBlocks.open(tmp_path, "key", 2).has(ROI), "also once the manifest is of today"
    for wrong in ({"key": "other"}, {"bands": 1}, {"roi": [0, 4, 5, 9]}, {"clear": {"two": 1}}):
        write(about | wrong)
        assert not CompositeBlocks.open(tmp_path, "key", 2).has(ROI), wrong


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
