"""What is freed is given back to the system, for a twentieth of the time at most."""

import pytest

from selion.fields import memory


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands, and what of each second an allocator wants that has much to look at."""
    now, wants, given = [100.0], [0.1], []

    def trim(_):
        given.append(now[0])
        now[0] += wants[0]

    monkeypatch.setattr(memory, "_trim", lambda: trim)
    monkeypatch.setattr(memory, "_resting", 0.0)
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(memory.time, "thread_time", lambda: now[0])
    return now, wants, given


def test_a_long_time_rests_it_twenty_times_as_long(clock):
    now, _, given = clock
    for _ in range(1000):
        memory.give_back()
        now[0] += 0.01
    spent = 0.1 * len(given)
    assert given[0] == 100.0
    assert 4 <= len(given) <= 6
    assert spent / (now[0] - 100.0) < 0.055


def test_what_costs_nothing_is_done_each_time(clock):
    now, wants, given = clock
    wants[0] = 1e-5
    for _ in range(50):
        memory.give_back()
        now[0] += 0.01
    assert len(given) == 50


def test_where_there_is_no_such_call_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_trim", lambda: None)
    memory.give_back()
