"""How much memory there is, in the words of Linux as they stand in its own files."""

import pytest

from selion import cores
from selion.errors import BadInput

MEMINFO = "MemTotal: 24000000 kB\nMemFree: 1000 kB\nMemAvailable: 4000000 kB\n"
STAT = """anon 5
inactive_file {0}
active_file {1}
total_inactive_file {0}
total_active_file {1}
"""


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A machine with 4 GB left; returns what puts a process into a group of a limit and a use."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    monkeypatch.setattr(cores, "PROC", tmp_path / "proc")
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "groups")

    def group(kinds, name, names, limit, used, cache=0, read_again=0):
        line = f"1:{kinds}:/{name}\n" if kinds else f"0::/{name}\n"
        (tmp_path / "proc/self/cgroup").write_text(f"3:cpu:/elsewhere\n{line}")
        folder = tmp_path / "groups" / kinds / name
        folder.mkdir(parents=True)
        for file, value in zip(names, (limit, used), strict=True):
            (folder / file).write_text(f"{value}\n")
        (folder / "memory.stat").write_text(STAT.format(cache, read_again))

    return group


FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes")
SECOND = ("memory.max", "memory.current")


def test_the_machine_says_what_is_left(linux):
    assert cores.usable_memory() == 4_096_000_000


@pytest.mark.parametrize(("kinds", "names"), [("memory", FIRST), ("", SECOND)])
def test_a_control_group_leaves_less_than_the_machine(linux, kinds, names):
    linux(kinds, "a/b", names, 2_000_000_000, 700_000_000, cache=100_000_000)
    assert cores.usable_memory() == 1_400_000_000


@pytest.mark.parametrize(("kinds", "names"), [("memory", FIRST), ("", SECOND)])
def test_what_was_read_more_than_once_is_cache_as_well(linux, kinds, names):
    """Linux keeps it in a list of its own, and lets it go when memory is wanted."""
    linux(kinds, "a", names, 2_000_000_000, 1_900_000_000, 100_000_000, read_again=1_500_000_000)
    assert cores.usable_memory() == 1_700_000_000


def test_the_group_above_counts_too_and_no_limit_is_none(linux):
    linux("", "a/b", SECOND, "max", 700_000_000)
    assert cores.usable_memory() == 4_096_000_000
    for name, value in zip(SECOND, (3_000_000_000, 2_500_000_000), strict=True):
        (cores.GROUPS / "a" / name).write_text(str(value))
    assert cores.usable_memory() == 500_000_000


def test_elsewhere_nobody_says_and_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "PROC", tmp_path / "none")
    assert cores.usable_memory() is None
    cores.check_memory(1e15, "All", "no")


def test_what_does_not_fit_is_refused_with_the_figure(linux):
    cores.check_memory(4.0e9, "This", "no")
    with pytest.raises(BadInput) as told:
        cores.check_memory(4.2e9, "A table of 3 fields", "take less")
    assert str(told.value) == (
        "A table of 3 fields takes about 4.2 GB of memory, and 4.1 GB are there: take less."
    )
