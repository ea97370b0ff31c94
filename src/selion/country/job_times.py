"""When the jobs of a plan began and ended, as whoever does them writes it down.

A line ``begin SECONDS HOST PROCESS`` when a job begins, and ``end SECONDS HOST PROCESS CODE`` when
it ends.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

SOON = 60.0
"""Seconds by which the clock of another machine may be ahead."""


@dataclass(slots=True)
class JobTry:
    """One try of a job."""

    begin: float
    """Seconds of Unix time."""
    end: float | None
    """None: nobody wrote it down."""
    code: int | None
    """Exit code; None: it has not ended, or nobody wrote it down."""
    host: str
    process: int

    def lives(self) -> bool:
        """Say whether its process may be there: of another machine nobody here can know."""
        if self.host != platform.node() or os.name != "posix" or self.process <= 1:
            return True
        return self.is_here()

    def is_here(self) -> bool:
        """Say whether its process is one of this machine, and lives."""
        if self.host != platform.node() or os.name != "posix" or self.process <= 1:
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return True
        return True


def read_tries(lines: Iterable[str], now: float, planned: float) -> list[JobTry]:
    """Read the tries of a job; the last one tells how it stands.

    Parameters
    ----------
    lines : iterable of str
        What was written down; a half line, while it is written, is left out.
    now : float
        Seconds of Unix time.
    planned : float
        Seconds that the job was planned to take.

    Returns
    -------
    list of JobTry
        By their begin, but that which tells how the job stands is the last: another one may have
        been sent away because that one was at work.  A try that another one followed, and whose
        end nobody wrote down, was lost somewhere before that began, nobody knows when: it counts
        as long as was planned at most.
    """
    tries: list[JobTry] = []
    for line in lines:
        words = line.split()
        try:
            kind, moment = words[0], float(words[1])
            if kind == "begin" and moment <= now + SOON:
                tries.append(JobTry(moment, None, None, words[2], int(words[3])))
            elif kind == "end" and tries:
                code, ended = int(words[4]), _begun(tries, words[2], int(words[3]))
                ended.end, ended.code = max(moment, ended.begin), code
        except (IndexError, ValueError):
            continue
    if not tries:
        return []
    telling = _telling(tries)
    for one, following in pairwise(tries):
        if one.end is None and one is not telling:
            one.end = max(min(following.begin, one.begin + planned), one.begin)
    return [*(one for one in tries if one is not telling), telling]


def _begun(tries: list[JobTry], host: str, process: int) -> JobTry:
    """Return the try of a process; of one that wrote down no begin, the last."""
    mine = [one for one in tries if one.end is None and (one.host, one.process) == (host, process)]
    return (mine or tries)[-1]


def _telling(tries: list[JobTry]) -> JobTry:
    """Return the try that tells how a job stands: the last, unless that was sent away."""
    last = tries[-1]
    if last.end is None or not last.code:
        return last
    at_work = [one for one in tries[:-1] if one.end is None and one.is_here()]
    later = [one for one in tries[:-1] if one.end is not None and one.end > last.end]
    return (at_work or later or [last])[-1]
