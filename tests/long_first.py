"""The order in which workers of pytest-xdist take the tests.

Each begins with a part of the whole, and who has done with its own takes half of what another has
left.  A test of a minute that comes last then keeps one worker busy and the others idle, and those
that wait (for a cluster, for a browser) all lie in one part.  So whole modules with a slow test
stand at the heads of the parts, dealt like cards: whole, since tests of a module share what its
fixtures make.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def long_first(items: Sequence[Item], workers: int) -> list[Item]:
    """Return the tests with modules that hold a slow one at the heads of as many equal parts."""
    modules: dict[object, list[Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    slow = [
        part for part in modules.values() if any(one.get_closest_marker("slow") for one in part)
    ]
    slow.sort(key=len, reverse=True)
    heads = [[one for part in slow[k::workers] for one in part] for k in range(workers)]
    dealt = {id(one) for head in heads for one in head}
    rest = [one for one in items if id(one) not in dealt]
    ordered: list[Item] = []
    for k, head in enumerate(heads):
        end = (k + 1) * len(items) // workers
        free = max(end - len(ordered) - len(head), 0)
        ordered += head + rest[:free]
        rest = rest[free:]
    return ordered + rest
