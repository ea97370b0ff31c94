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


def next_names(before: Names, own: Iterable[str], judged: Judged, label: str) -> Names:
    """Name the fields of the next year.

    Those that are an earlier one have its id, others their own, with a number if it was ever
    another's.
    """
    ids, since = np.array(list(own), object), np.full(len(judged.after), label, object)
    pairs = judged.pairs
    one, other = pairs.one[pairs.same] - 1, pairs.other[pairs.same] - 1
    new = np.ones(len(ids), bool)
    new[other] = False
    ids[new] = _unlike(list(ids[new]), set(before.used))
    ids[other], since[other] = before.ids[one], before.since[one]
    return Names(ids, since, before.used | frozenset(ids))


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
    years: tuple[np.ndarray, str], before: Names, after: Names, judged: Judged, measures: Measures
) -> pd.DataFrame:
    """Return a row for each related pair, and one for each field without a relative.

    Parameters
    ----------
    years : ((n,) object ndarray, str)
        For each earlier field the year that saw it last, and the later year.
    before, after : Names
    judged : Judged
    measures : Measures

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`; ``to_id`` is empty for what is gone, ``from_id`` for what has
        appeared.
    """
    pairs, (seen, label) = judged.pairs, years
    one, other = pairs.one - 1, pairs.other - 1
    related = pd.DataFrame(
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
    lone_before = np.setdiff1d(np.arange(len(before.ids)), one)
    lone_after = np.setdiff1d(np.arange(len(after.ids)), other)
    alone = [
        pd.DataFrame(
            {
                "from_year": seen[lone_before],
                "to_year": label,
                "from_id": before.ids[lone_before],
                "outcome": outcome_names(judged.before[lone_before]),
            }
        ),
        pd.DataFrame(
            {
                "to_year": label,
                "to_id": after.ids[lone_after],
                "outcome": outcome_names(judged.after[lone_after]),
            }
        ),
    ]
    parts = [part.reindex(columns=list(COLUMNS)).astype(_KINDS) for part in (related, *alone)]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


_KINDS = dict.fromkeys(("from_year", "to_year", "from_id", "to_id", "outcome"), "string") | {
    "same": "boolean"
}
_KINDS |= dict.fromkeys(COLUMNS[6:], "float64")


def outcome_names(outcome: np.ndarray) -> np.ndarray:
    """Return the names of (n,) uint8 outcomes."""
    table = np.full(256, "unknown", object)
    table[: len(OUTCOMES)] = OUTCOMES
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
