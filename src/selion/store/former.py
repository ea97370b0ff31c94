"""What was written before the project was called selion: found, read, and said.

Until version 0.1.0 the project was called :data:`FORMER`.  Its unfinished work folders, model
folders, tags and logs are taken over, and a note says so once; nothing is ever written under that
name again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FORMER = "tilth"
OURS = "selion"
VERSION = "0.1.0"
"""The only version that was ever written under the former name."""
_LOG = logging.getLogger(OURS)

MODEL_TYPES: Mapping[str, str] = {
    "GraphSegmenter": "tilth.models.graph.GraphSegmenter",
    "TorchSegmenter": "tilth.models.pixel.TorchSegmenter",
    "LanguageSegmenter": "tilth.models.language.network.LanguageSegmenter",
    "EmbeddedSegmenter": "tilth.models.embedded.segmenter.EmbeddedSegmenter",
    "SamSegmenter": "tilth.models.prompted.everything.SamSegmenter",
    "Delineator": "tilth.models.delineate.Delineator",
    "Refined": "tilth.models.refine.Refined",
    "PointRefined": "tilth.models.refine_points.PointRefined",
}
"""``type`` of a model's identity -> what stood there: the path of its class, as it was.  Frozen."""


def former(name: str) -> str:
    """Return what a name of ours was called before.

    Examples
    --------
    >>> former("SELION_COMPOSITE"), former("_selion.json")
    ('TILTH_COMPOSITE', '_tilth.json')
    """
    return name.replace(OURS, FORMER).replace(OURS.upper(), FORMER.upper())


def former_decision(decided: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided a prediction as it was written down under the former name.

    Parameters
    ----------
    decided : mapping
        ``PredictionPlan.decided``.  Its ``model`` is a model's identity, which had a path for a
        type, the words ``fast`` and ``flips`` (always empty), and no hashes of files.
    """
    model = dict(decided["model"])
    model.pop("files", None)
    kind = str(model["type"])
    model |= {"type": MODEL_TYPES.get(kind, former(kind)), "fast": "", "flips": ""}
    if "options" in model:
        model["options"] = former(model["options"])  # our grammar of answers bears our name
    return {**decided, "model": model, "version": VERSION}


@cache
def note(what: str) -> None:
    """Say once per process what is read.

    On standard error, unless the application's logging has it otherwise.
    """
    _LOG.warning("%s was written when selion was called %s: it is read as ours.", what, FORMER)


def value_of(table: Mapping[str, Any], name: str, where: object) -> Any:
    """Return the value of a name of ours, or of what it was called before.

    None if there is neither.

    Parameters
    ----------
    table : mapping
        Tags, metadata or JSON that came out of a file.
    name : str
        With the project's name in it.
    where : path or str
        For the note.
    """
    if name in table or former(name) not in table:
        return table.get(name)
    note(str(where))
    return table[former(name)]


def is_ours(text: object, wanted: str, where: object) -> bool:
    """Say whether a text that marks files of ours is there, as it is or as it was."""
    if text == wanted:
        return True
    if text != former(wanted):
        return False
    note(str(where))
    return True


def take_over(path: Path) -> Path:
    """Give an unfinished folder or file of the former name its name of today; return ``path``.

    Nothing happens where ``path`` is there already, or nothing of the former name is.
    """
    before = path.with_name(former(path.name))
    if before != path and before.exists() and not path.exists():
        note(str(before))
        before.rename(path)
    return path
