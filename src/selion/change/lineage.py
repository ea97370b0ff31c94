"""Ids that follow a field through the years, and the table of who came from whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from selion.change.outcomes import OUTCOMES, UNKNOWN, Judged

COLUMNS = (
    "from_year",
    "to_year",
    "from_id",
    "to_id",
    "outcome",
    "same",
    "iou",
    "share_from",
    "share_to",
    "edge",
    "shift",
)
"""Of the lineage.  ``share_from`` is the part of the earlier field that lies in the later one,
``share_to`` the part of the later one that comes from it; ``edge`` is the mean distance between the
two outlines and ``shift`` that between their centroids, both in metres (pixels for photographs)."""


@dataclass(frozen=True, eq=False)
class Names:
    """The fields of one year: who they are."""

    ids: np.ndarray
    """(n,) object: ids that follow a field through the years."""
    since: np.ndarray
    """(n,) object: the year in which each id was first seen."""
    used: frozenset[str] = field(default_factory=frozenset)
    """Every id that was ever given: none is given twice."""


def first_names(own: Iterable[str], label: str) -> Names:
    """Name the fields of the first year: by their own ids.

    A second field of one id gets a number.
    """
    ids = _unlike(list(own), set())
    return Names(np.array(ids, object), np.full(len(ids), label, object), frozenset(ids))


def next_names(
    before: Names,
    own: Iterable[str],
    judged: Judged,
    label: str,
    former: tuple[Names, Judged] | None = None,
) -> Names:
    """Name the fields of the next year.

    Those that are an earlier one have its id, others their own, with a number if it was ever
    another's.  With ``former``, the names of the year before the last and what became of its fields
    until this year, a field that is one of those has its id, too, if the year between had none of
    that id.
    """
    ids, since = np.array(list(own), object), np.full(len(judged.after), label, object)
    one, other = returned(before, judged, former)
    if former is not None:
        ids[other], since[other] = former[0].ids[one], former[0].since[one]
    pairs = judged.pairs
    new = np.ones(len(ids), bool)
    new[other] = False
    one, other = pairs.one[pairs.same] - 1, pairs.other[pairs.same] - 1
    new[other] = False
    ids[new] = _unlike(list(ids[new]), set(before.used))
    ids[other], since[other] = before.ids[one], before.since[one]
    return Names(ids, since, before.used | frozenset(ids))


def returned(
    before: Names, judged: Judged, former: tuple[Names, Judged] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fields that are back after a year without them.

    Two (k,) int64: their rows in the year before the last, and in this one.
    """
    if former is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    (names, again), held = former, set(before.ids)
    one, other = again.pairs.one[again.pairs.same] - 1, again.pairs.other[again.pairs.same] - 1
    free = np.ones(len(judged.after), bool)
    free[judged.pairs.other[judged.pairs.same] - 1] = False
    back = free[other] & np.array([name not in held for name in names.ids[one]], bool)
    return one[back], other[back]


def _unlike(own: list[str], used: set[str]) -> list[str]:
    """Make each name differ from all before it and from ``used``, which gets them."""
    out = []
    for name in own:
        number, found = 2, name
        while found in used:
            number, found = number + 1, f"{name}-{number}"
        used.add(found)
        out.append(found)
    return out


@dataclass(frozen=True, eq=False)
class Measures:
    """Numbers of each related pair."""

    share_from: np.ndarray
    share_to: np.ndarray
    edge: np.ndarray
    shift: np.ndarray


def lineage(
    years: tuple[np.ndarray, str],
    before: Names,
    after: Names,
    judged: Judged,
    measures: Measures,
    names: tuple[str, ...] = OUTCOMES,
) -> pd.DataFrame:
    """Return a row for each related pair, and one for each field without a relative.

    Parameters
    ----------
    years : ((n,) object ndarray, str)
        For each earlier field the year that saw it last, and the later year.
    before, after : Names
    judged : Judged
    measures : Measures
    names : tuple of str
        Of the outcomes, by number.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`; ``to_id`` is empty for what is gone, ``from_id`` for what has
        appeared.
    """
    pairs, (seen, label) = judged.pairs, years
    one, other = pairs.one - 1, pairs.other - 1
    related = related_rows(years, before, after, judged, measures)
    lone_before = np.setdiff1d(np.arange(len(before.ids)), one)
    lone_after = np.setdiff1d(np.arange(len(after.ids)), other)
    alone = [
        pd.DataFrame(
            {
                "from_year": seen[lone_before],
                "to_year": label,
                "from_id": before.ids[lone_before],
                "outcome": outcome_names(judged.before[lone_before], names),
            }
        ),
        pd.DataFrame(
            {
                "to_year": label,
                "to_id": after.ids[lone_after],
                "outcome": outcome_names(judged.after[lone_after], names),
            }
        ),
    ]
    return joined_rows([related, *alone])


def related_rows(
    years: tuple[np.ndarray, str], before: Names, after: Names, judged: Judged, measures: Measures
) -> pd.DataFrame:
    """Return a row for each related pair, as :func:`lineage` does, in the order of the pairs."""
    pairs, (seen, label) = judged.pairs, years
    one, other = pairs.one - 1, pairs.other - 1
    return pd.DataFrame(
        {
            "from_year": seen[one],
            "to_year": label,
            "from_id": before.ids[one],
            "to_id": after.ids[other],
            "outcome": outcome_names(pairs.outcome),
            "same": pairs.same,
            "iou": pairs.iou,
            "share_from": measures.share_from,
            "share_to": measures.share_to,
            "edge": measures.edge,
            "shift": measures.shift,
        }
    )


def joined_rows(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put rows of a lineage together, with all of :data:`COLUMNS`."""
    parts = [part.reindex(columns=list(COLUMNS)).astype(_KINDS) for part in tables]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


_KINDS = dict.fromkeys(("from_year", "to_year", "from_id", "to_id", "outcome"), "string") | {
    "same": "boolean"
}
_KINDS |= dict.fromkeys(COLUMNS[6:], "float64")


def outcome_names(outcome: np.ndarray, names: tuple[str, ...] = OUTCOMES) -> np.ndarray:
    """Return the names of (n,) uint8 outcomes."""
    table = np.full(256, "unknown", object)
    table[: len(names)] = names
    return table[outcome]


def summarise(judged: Judged, hectares: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    """Count fields and area by outcome.

    Parameters
    ----------
    judged : Judged
    hectares : pair of (n,) and (m,) float ndarrays
        Area of each field, earlier and later.

    Returns
    -------
    DataFrame
        ``outcome``, ``fields_before``, ``fields_after``, ``ha_before``, ``ha_after``: all outcomes,
        also those that are not there.
    """
    rows = []
    for code in (*range(1, len(OUTCOMES)), UNKNOWN):
        before, after = judged.before == code, judged.after == code
        areas = [
            float(size[chosen].sum())
            for size, chosen in zip(hectares, (before, after), strict=True)
        ]
        name = str(outcome_names(np.array([code]))[0])
        rows.append(
            (name, int(before.sum()), int(after.sum()), round(areas[0], 2), round(areas[1], 2))
        )
    return pd.DataFrame(
        rows, columns=["outcome", "fields_before", "fields_after", "ha_before", "ha_after"]
    )
