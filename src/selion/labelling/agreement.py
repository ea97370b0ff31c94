"""How quickly masks were looked at, and how far people agree.

They agree with each other and with themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from selion.labelling.decisions import FULL, KEEP, Decision, History

PAPER_SEEN, PAPER_KEPT = 21_700, 1_077
"""Images seen and masks kept per hour in DepthCropSeg++: 260,260 and 12,927 in about 12 hours."""
PAPER_SHARE, FIRST_SHARE = 12_927 / 260_260, 1_378 / 17_199
"""Shares kept: DepthCropSeg++, DepthCropSeg."""
FIFTHS = 5


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one person, or all of them, did in one pass."""

    person: str
    stage: str
    seen: int
    """Decisions that count."""
    kept: int
    """Of these, kept or full coverage."""
    seconds: float
    """Time at it, also for what was undone later."""

    @property
    def seen_per_hour(self) -> float:
        """Decisions per hour; 0 where no time was measured."""
        return 3600 * self.seen / self.seconds if self.seconds > 0 else 0.0

    @property
    def kept_per_hour(self) -> float:
        """Masks kept per hour; 0 where no time was measured."""
        return 3600 * self.kept / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two words on each of some masks."""

    who: str
    stage: str
    pairs: int
    observed: float
    """Share of pairs that are equal."""
    kappa: float | None
    """Cohen's kappa; None where everybody always said the same, so that chance alone would agree
    wholly."""
    margin: float | None
    """Half width of kappa's 95 % interval (large samples)."""


def measure_throughput(history: History) -> list[Throughput]:
    """Add up decisions and time by person and pass.

    The last rows are all persons together, where there are several.
    """
    rows: dict[tuple[str, str], list[float]] = {}
    for batch, decisions in history.batches.items():
        for decision in decisions:
            row = rows.setdefault((decision.person, decision.stage), [0, 0, 0.0])
            row[2] += decision.seconds
            if batch not in history.undone:
                row[0] += 1
                row[1] += decision.decision in (KEEP, FULL)
    found = [
        Throughput(person, stage, int(seen), int(kept), seconds)
        for (person, stage), (seen, kept, seconds) in sorted(rows.items())
    ]
    stages = list(dict.fromkeys(row.stage for row in found))
    several = [[row for row in found if row.stage == stage] for stage in stages]
    totals = [
        Throughput(
            "all",
            g[0].stage,
            sum(r.seen for r in g),
            sum(r.kept for r in g),
            sum(r.seconds for r in g),
        )
        for g in several
        if len(g) > 1
    ]
    return [*found, *totals]


def measure_agreement(history: History) -> list[Agreement]:
    """Compare words on the same mask in the same pass.

    Of two persons (their last ones), and of one person on what was shown twice.
    """
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for decisions in history.keys.values():
        groups: dict[tuple[str, str], list[Decision]] = {}
        for decision in decisions:
            groups.setdefault((decision.mask, decision.stage), []).append(decision)
        for (_, stage), group in groups.items():
            for who, pair in _pairs(group):
                pairs.setdefault((who, stage), []).append(pair)
    return [
        Agreement(who, stage, len(said), *cohen(said))
        for (who, stage), said in sorted(pairs.items())
    ]


def _pairs(group: Sequence[Decision]) -> Iterable[tuple[str, tuple[str, str]]]:
    last: dict[str, str] = {}
    for decision in group:
        if decision.person in last:
            yield f"{decision.person}, shown twice", (last[decision.person], decision.decision)
        last[decision.person] = decision.decision
    names = sorted(last)
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            yield f"{first} and {second}", (last[first], last[second])


def cohen(pairs: Sequence[tuple[str, str]]) -> tuple[float, float | None, float | None]:
    """Compute Cohen's kappa.

    Parameters
    ----------
    pairs : sequence of (str, str)
        What the first and the second said, one pair per mask; at least one.

    Returns
    -------
    observed : float
        Share of equal pairs, p_o.
    kappa : float or None
        ``(p_o - p_e) / (1 - p_e)``, with p_e the agreement of two who only know how often each says
        what; None where p_e is 1.
    margin : float or None
        1.96 standard errors, ``sqrt(p_o (1 - p_o) / n) / (1 - p_e)``.

    References
    ----------
    .. [1] J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological
    Measurement 20 (1960), equations 1 and 7.

    Examples
    --------
    >>> same = [("keep", "keep")] * 20 + [("reject", "reject")] * 15
    >>> cohen(same + [("keep", "reject")] * 5 + [("reject", "keep")] * 10)[:2]
    (0.7, 0.4)
    """
    count = len(pairs)
    observed = sum(first == second for first, second in pairs) / count
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    chance = sum(firsts[word] * seconds[word] for word in firsts) / count**2
    if chance >= 1:
        return observed, None, None
    return (
        observed,
        round((observed - chance) / (1 - chance), 12),
        1.96 * math.sqrt(observed * (1 - observed) / count) / (1 - chance),
    )


def kept_by_quality(
    last: Mapping[str, Decision], quality: Mapping[str, float]
) -> list[tuple[float, float, int, int]]:
    """Cut decided masks into fifths by quality, to see whether the score says which ones are good.

    Returns
    -------
    list of (lowest, highest, masks, kept)
        From the worst fifth to the best.
    """
    rated = sorted(
        (quality[key], decision.decision in (KEEP, FULL))
        for key, decision in last.items()
        if key in quality
    )
    parts = [
        rated[len(rated) * k // FIFTHS : len(rated) * (k + 1) // FIFTHS] for k in range(FIFTHS)
    ]
    return [
        (part[0][0], part[-1][0], len(part), sum(kept for _, kept in part))
        for part in parts
        if part
    ]
