from dataclasses import dataclass

import pytest

from long_first import long_first


@dataclass(frozen=True)
class Item:
    path: str
    number: int
    slow: bool = False

    def get_closest_marker(self, name):
        return name == "slow" and self.slow


def some(*modules):
    """A module each: how many tests, and which of them are slow."""
    return [
        Item(chr(97 + m), k, k in slow)
        for m, (count, slow) in enumerate(modules)
        for k in range(count)
    ]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7, 50])
def test_nothing_is_lost_and_modules_stay_together(workers):
    items = some((9, ()), (3, {2}), (20, ()), (5, {0, 4}), (1, {0}))
    found = long_first(items, workers)
    assert sorted(found, key=items.index) == items
    slow = [one for one in found if one.path in "bde"]
    for path in "bde":
        own = [one for one in items if one.path == path]
        first = found.index(own[0])
        assert found[first : first + len(own)] == own
    assert len(slow) == 9
    assert [one for one in found if one.path in "ac"] == [one for one in items if one.path in "ac"]


def test_each_worker_begins_with_one():
    found = long_first(some((40, ()), (3, {2}), (5, {0})), 2)
    assert found[0].path == "c"
    assert found[24].path == "b"
    assert long_first(some((4, ())), 2) == some((4, ()))
    assert long_first([], 3) == []
