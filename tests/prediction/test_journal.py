import json
import os

import numpy as np
import pytest

from selion.errors import OutputFailed
from selion.prediction import BlockJournal

ROI = (slice(0, 40), slice(64, 100))
OTHER = (slice(40, 60), slice(0, 36))
SHAPE = (3, 40, 36)


def block(seed=0):
    return np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)


def test_what_is_saved_is_loaded(tmp_path):
    journal = BlockJournal(tmp_path / "a" / "b", "key")
    assert journal.load(ROI, SHAPE) is None
    journal.save(ROI, block())
    again = BlockJournal(tmp_path / "a" / "b", "key")
    assert again.has(ROI, SHAPE)
    assert np.array_equal(again.load(ROI, SHAPE), block())
    assert again.load(OTHER, SHAPE) is None
    assert again.load(ROI, (2, 40, 36)) is None


def test_another_key_never_takes_a_block(tmp_path):
    BlockJournal(tmp_path, "key").save(ROI, block())
    file = next(tmp_path.glob("*.block"))
    kept = file.read_bytes()
    other = BlockJournal(tmp_path, "other")
    assert not list(tmp_path.glob("*.block"))
    file.write_bytes(kept)  # even when the file is put back
    assert other.load(ROI, SHAPE) is None
    assert json.loads((tmp_path / "journal.json").read_text())["key"] == "other"


def test_a_file_of_another_region_is_not_taken(tmp_path):
    journal = BlockJournal(tmp_path, "key")
    journal.save(ROI, block())
    file = next(tmp_path.glob("*.block"))
    file.rename(tmp_path / "0-40_0-36.block")
    assert journal.load((slice(0, 40), slice(0, 36)), SHAPE) is None


def test_truncated_and_changed_files_are_not_taken(tmp_path):
    journal = BlockJournal(tmp_path, "key")
    journal.save(ROI, block())
    file = next(tmp_path.glob("*.block"))
    whole = file.read_bytes()
    for length in (0, 1, 30, 80, 100, 120, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert journal.load(ROI, SHAPE) is None
        assert not journal.has(ROI, SHAPE)
    for place in (0, 10, 50, 90, 110, 117, 130, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert journal.load(ROI, SHAPE) is None, place
    file.write_bytes(whole + b"x")
    assert journal.load(ROI, SHAPE) is None
    file.write_bytes(whole)
    assert journal.has(ROI, SHAPE)


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"key": 3}', "null"])
def test_a_broken_manifest_starts_anew(tmp_path, manifest):
    BlockJournal(tmp_path, "key").save(ROI, block())
    (tmp_path / "journal.json").write_text(manifest)
    assert not BlockJournal(tmp_path, "key").has(ROI, SHAPE)


def test_remove_takes_only_what_it_wrote(tmp_path):
    folder = tmp_path / "journal"
    journal = BlockJournal(folder, "key")
    journal.save(ROI, block())
    (folder / "1-2_3-4.block.77.part").write_bytes(b"left by a killed process")
    journal.remove()
    assert not folder.exists()
    journal = BlockJournal(folder, "key")
    (folder / "mine.txt").write_text("x")
    journal.remove()
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    journal.remove()


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_a_folder_without_permission_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputFailed, match="cannot be written"):
        BlockJournal(tmp_path / "journal", "key")


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "journal").write_text("x")
    with pytest.raises(OutputFailed, match="cannot be written"):
        BlockJournal(tmp_path / "journal", "key")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    journal = BlockJournal(tmp_path, "key")

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputFailed, match="No space left"):
        journal.save(ROI, block())


def test_blocks_of_another_form_are_cleared(tmp_path):
    """On an object store what is listed counts as finished: a block that an older program wrote
    under the same key must not be there.
    """
    BlockJournal(tmp_path, "key").save(ROI, block())
    manifest = tmp_path / "journal.json"
    manifest.write_text(
        json.dumps(
            {
                name: value
                for name, value in json.loads(manifest.read_text()).items()
                if name != "form"
            }
        )
    )
    BlockJournal(tmp_path, "key")
    assert not list(tmp_path.glob("*.block"))
