"""Locks of files: one at a time, also where a file goes while others wait for it."""

from __future__ import annotations

import threading

import pytest

from selion.store import lock


@pytest.mark.skipif(not lock.LOCKS, reason="this platform has no locks of files")
def test_who_waited_for_a_file_that_went_is_not_beside_another(tmp_path):
    """The first download fails, the second has waited for it, and a third begins."""
    path, inside, most = tmp_path / ".image.tif.lock", [], []
    opened, second, third = threading.Event(), threading.Event(), threading.Event()
    go_on = threading.Event()

    def enter(told):
        with lock.in_turn(path):
            inside.append(told)
            most.append(len(inside))
            told.set()
            go_on.wait(0.2)
            inside.remove(told)

    def wait(told):
        opened.set()
        enter(told)

    with lock.in_turn(path):
        waiting = threading.Thread(target=wait, args=(second,))
        waiting.start()
        opened.wait(5)
        threading.Event().wait(0.1)  # until it waits for the lock
    later = threading.Thread(target=enter, args=(third,))
    later.start()
    for one in (waiting, later):
        one.join(10)
    assert second.is_set()
    assert third.is_set()
    assert most == [1, 1]
    assert not path.exists()
