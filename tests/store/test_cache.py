"""The cache: bounded, the least recently used goes first, and nothing is made twice at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from selion.store.cache import LruCache


def test_it_is_bounded_and_the_least_recently_used_goes_first():
    cache = LruCache(1000, len)
    for k in range(50):
        cache.get(k, lambda: b"x" * 100)
        cache.get(0, lambda: pytest.fail("made twice"))
    assert cache.held == 1000
    assert cache.find(49) == b"x" * 100
    assert cache.find(1) is None
    cache.put(49, b"y" * 2000)
    assert (cache.held, cache.find(49), cache.find(0)) == (2000, b"y" * 2000, None)


def test_two_who_ask_at_once_wait_for_one():
    cache, made, begun = LruCache(4), [], threading.Barrier(8)

    def make():
        made.append(1)
        return len(made)

    def ask(_):
        begun.wait()
        return cache.get("a", make)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [1] * 8


def test_what_could_not_be_made_is_tried_again():
    cache = LruCache(4)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)
    assert cache.get("a", lambda: 7) == 7
