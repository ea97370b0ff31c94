"""What is asked of a unit of a sample, and the word of the log that each answer is.

A sample is reviewed as a map is, but its outlines are what is judged: nobody draws on them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from selion.review.actions import ACCEPT, PART, REJECT, SEVERAL, SHIFTED
from selion.review.opened import MapFiles, provenance
from selion.review.state import SIMPLE
from selion.store.address import RemotePath

SAMPLE = "sample"
"""Word of a queue's provenance that says of what it is a sample: a key of :data:`VERDICTS`."""
DESIGN = "design.json"
"""Lies beside the queue of a sample and says which kind it is, also of those that say it nowhere
else."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer that a unit can be given."""

    kind: str
    """Of the action that is written down."""
    answer: str
    """The class that is estimated."""
    key: str
    """Of the page."""
    meaning: str
    """What it says of the unit, for whoever judges."""

    @property
    def status(self) -> str:
        """Status of a unit that was given this answer."""
        return SIMPLE[self.kind]


VERDICTS = {
    "ground": (
        Verdict(ACCEPT, "field", "a", "the land of the square is field"),
        Verdict(REJECT, "other", "r", "it is something else"),
    ),
    "objects": (
        Verdict(ACCEPT, "right", "a", "it is one field of the ground"),
        Verdict(SEVERAL, "merged", "m", "it is several fields of the ground"),
        Verdict(PART, "split", "s", "it is a part of one field of the ground"),
        Verdict(SHIFTED, "shifted", "d", "it is one field, drawn elsewhere or otherwise"),
        Verdict(REJECT, "false", "r", "there is no field"),
    ),
}
"""Kind of a sample -> what can be said of its units."""


def sample_of(files: MapFiles) -> str:
    """Tell of what a table is a sample: a key of :data:`VERDICTS`; empty if it is none."""
    kind = provenance(files.table).get(SAMPLE)
    if isinstance(kind, str):
        return kind if kind in VERDICTS else ""
    if isinstance(files.table, RemotePath) or files.table.name != "queue.parquet":
        return ""
    try:
        told = json.loads(files.table.with_name(DESIGN).read_text("utf-8"))
        kinds = {"selion sample 1": "ground", "selion object sample 1": "objects"}
        return kinds.get(told["kind"], "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def asked_of(files: MapFiles) -> tuple[Verdict, ...]:
    """Return what can be said of the units of a sample; nothing of a map that is none."""
    return VERDICTS.get(sample_of(files), ())
