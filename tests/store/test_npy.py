"""Arrays in files, opened by many threads at once."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from selion.store.npy import open_npy

SOURCES = Path(__file__).parents[2] / "src" / "selion"


class Slow:
    """Garbage whose end lets another thread run: what a head's tree meets now and then."""

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def restless():
    """Change threads and collect garbage as often as can be."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5, 1, 1)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


def test_threads_open_one_file_at_once(tmp_path, restless):
    """With numpy.load instead, CPython 3.11.7 fails in one of 600 calls."""
    path = tmp_path / "ids.npy"
    np.save(path, np.arange(64).reshape(8, 8))

    def once(row: int) -> int:
        one, other = Slow(), Slow()
        one.to, other.to = other, one
        return int(open_npy(path)[row % 8, 1])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(once, range(8000))) == [8 * (k % 8) + 1 for k in range(8000)]


def test_written_through(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.int32))
    open_npy(tmp_path / "a.npy", "r+")[1] = 7
    assert np.load(tmp_path / "a.npy").tolist() == [[0, 0, 0], [7, 7, 7]]


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(ValueError, match=r"pickle|object"):
        open_npy(tmp_path / "a.npy")


def test_no_other_part_maps_files_by_itself():
    """The race is anybody's who calls NumPy himself."""
    ours = SOURCES / "store" / "npy.py"
    assert [p for p in SOURCES.rglob("*.py") if p != ours and "mmap_mode" in p.read_text()] == []
