"""What people do to a map: one line of JSON per action, only ever appended.

::

    {"id": "k3f0a1", "kind": "split", "on": {"u28szdjpf1gq": 0}, "points":
     [[12.28, 48.65], [12.29, 48.66]], "person": "Ada", "seconds": 4.2,
     "time": "2025-06-01T09:30:12.000Z"}
    {"id": "k3f0a2", "kind": "undo", "undo": "k3f0a1", "on": {}, "points": [], "person": "Ada",
     "seconds": 0.8, "time": "2025-06-01T09:30:20.000Z"}

``on`` names the fields and the version of each that the person saw; the first is the one that is
acted on, and of ``accept``, ``reject``, ``unsure`` and the answers to a sample (``several``,
``part``, ``shifted``) all are: many fields, one action, one undo.
Coordinates are in the CRS of the map's file.  A line that is torn (the machine stopped
while it was written) counts as not written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from selion.errors import BadInput, UnknownName
from selion.store.append_log import written
from selion.store.former import FORMER

ACCEPT, REJECT, UNSURE, UNDO = "accept", "reject", "unsure", "undo"
SPLIT, MERGE, MOVE, INSERT, DROP, RESHAPE, ADD, PAINT, ERASE = (
    "split",
    "merge",
    "move",
    "insert",
    "drop",
    "reshape",
    "add",
    "paint",
    "erase",
)
SEVERAL, PART, SHIFTED = "several", "part", "shifted"
ANSWERS = (SEVERAL, PART, SHIFTED)
"""What is said of the fields of a sample alone: it is several fields of the ground; a part of one;
one that lies elsewhere or has another outline."""
WORDS = (ACCEPT, REJECT, UNSURE, *ANSWERS)
"""What is said of many fields at once."""
BRUSHES = (PAINT, ERASE)
"""What has a width."""
KINDS = dict.fromkeys(WORDS, (0, 0)) | {
    UNDO: (0, 0),
    SPLIT: (2, 2000),
    MERGE: (0, 0),
    MOVE: (2, 2),
    INSERT: (3, 3),
    DROP: (1, 1),
}
KINDS |= {RESHAPE: (3, 2000), ADD: (3, 2000), PAINT: (1, 2000), ERASE: (1, 2000)}
"""Kind -> least and most points: a line (split); from, to (move); both ends of the edge and the
vertex (insert, drop); the rings (reshape, add); the stroke of a brush (paint, erase)."""
MOST_RINGED = 20_000
"""Points of an outline of several rings, which no hand has drawn."""
MOST_FIELDS = 400
"""Fields that one action may name."""
LONGEST = 120
"""Characters of an id."""
OWN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)
"""Spellings of a time in which a line is left as it is."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that one person did."""

    id: str
    """Made by the page: what is sent twice is written once."""
    kind: str
    """One of :data:`KINDS`."""
    on: Mapping[str, int]
    """Field -> version that was seen."""
    person: str
    time: str
    """When it was written, ISO 8601 in UTC."""
    points: tuple[tuple[float, float], ...] = ()
    undo: str = ""
    """Action that no longer counts."""
    seconds: float = 0.0
    """Time that it took."""
    width: tuple[float, ...] = ()
    """Of a brush: its reach along x and along y in units of the coordinates, which differ in
    degrees."""
    rings: tuple[tuple[int, ...], ...] = ()
    """Of an outline that is more than one ring: of each part how many of the points are its
    exterior, and how many each of its holes."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName.among("action", str(self.kind)[:40], KINDS)
        least, most = KINDS[self.kind]
        most = MOST_RINGED if self.rings else most
        if not least <= len(self.points) <= most:
            raise BadInput(
                f"{len(self.points)} points were given for '{self.kind}'; wanted are "
                f"{least if least == most else f'{least} to {most}'}."
            )
        if not all(math.isfinite(value) for point in self.points for value in point):
            raise BadInput("A coordinate is not a finite number: draw it again.")
        self._check_width()
        self._check_rings()
        fewest, many = {
            ADD: (0, 0),
            UNDO: (0, 0),
            MERGE: (2, 2),
            MOVE: (1, MOST_FIELDS),
            INSERT: (1, MOST_FIELDS),
            DROP: (1, MOST_FIELDS),
            **dict.fromkeys(WORDS, (1, MOST_FIELDS)),
        }.get(self.kind, (1, 1))
        if not fewest <= len(self.on) <= many or "" in self.on:
            raise BadInput(
                f"'{self.kind}' names {len(self.on)} fields; wanted are "
                f"{fewest if fewest == many else f'{fewest} to {many}'}."
            )

    def _check_width(self) -> None:
        wanted = 2 if self.kind in BRUSHES else 0
        if len(self.width) != wanted or not all(0 < w < math.inf for w in self.width):
            raise BadInput(
                f"'{self.kind}' has {len(self.width)} widths; wanted are {wanted}, above 0."
            )

    def _check_rings(self) -> None:
        if not self.rings:
            return
        sizes = [size for part in self.rings for size in part]
        good = self.kind in (RESHAPE, ADD) and all(self.rings) and min(sizes) >= 3
        if not good or sum(sizes) != len(self.points):
            raise BadInput(
                f"The rings of '{self.kind}' do not fit its {len(self.points)} points: each part "
                "has a ring or more, of three points or more."
            )

    @property
    def field(self) -> str:
        """The field that is acted on; empty for ``add`` and ``undo``."""
        return next(iter(self.on), "")

    @property
    def xy(self) -> np.ndarray:
        """The points as an (n, 2) float64 array."""
        return np.asarray(self.points, np.float64).reshape(-1, 2)

    def to_line(self) -> str:
        """Return the line of the log, without its end."""
        table: dict[str, Any] = {"id": self.id, "kind": self.kind, "on": dict(self.on)}
        table |= ({"points": [list(p) for p in self.points]} if self.points else {}) | (
            {"undo": self.undo} if self.undo else {}
        )
        table |= {"width": list(self.width)} if self.width else {}
        table |= {"rings": [list(part) for part in self.rings]} if self.rings else {}
        return json.dumps(
            table | {"person": self.person, "seconds": self.seconds, "time": self.time},
            ensure_ascii=False,
            allow_nan=False,
        )


@dataclass(frozen=True, slots=True)
class Header:
    """First line of a log: which map it is about."""

    map: str
    """Name of the file."""
    fields: int
    fingerprint: str = field(default="")
    """Hash of ids and outlines."""

    def to_line(self) -> str:
        """Return the line of the log, without its end."""
        return json.dumps(
            {
                "selion": "review",
                "map": self.map,
                "fields": self.fields,
                "fingerprint": self.fingerprint,
            },
            ensure_ascii=False,
        )


def parse_line(line: bytes) -> Action | Header | None:
    """Read one line of the log; None for what is torn or was never one of ours."""
    try:
        table = json.loads(line)
        if table.get("selion", table.get(FORMER)) == "review":
            return Header(str(table["map"]), int(table["fields"]), str(table["fingerprint"]))
        return read_action(table, _time(str(table["time"])))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        BadInput,
    ):
        return None


def _time(said: str) -> str:
    """Return a time as a log writes it.  Python reads more spellings of one than others do."""
    time = datetime.fromisoformat(said)
    if not 1970 <= time.year < 2200:
        raise ValueError(said)
    return said if OWN_TIME.fullmatch(said) else written(time)


def read_action(table: Mapping[str, Any], time: str) -> Action:
    """Make an action of plain values.

    Raises
    ------
    BadInput, UnknownName
        If it is none.
    """
    seconds = table.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e12:
        raise BadInput("The seconds of an action are a number, 0 or more.")
    texts = {name: _text(name, table.get(name, "")) for name in ("id", "kind", "person", "undo")}
    if not texts["id"] or not texts["person"]:
        raise BadInput("An action has an id and the name of a person.")
    return Action(
        **texts,
        on=_fields(table.get("on", {})),
        points=_points(table.get("points", []), ringed=bool(table.get("rings"))),
        width=_width(table.get("width", [])),
        rings=_rings(table.get("rings", [])),
        seconds=round(float(min(seconds, 3600.0)), 3),
        time=time,
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST or not (value.isprintable()):
        raise BadInput(f"'{name}' of an action is a text of at most {LONGEST} characters.")
    return value


def _fields(value: Any) -> dict[str, int]:
    good = isinstance(value, Mapping) and len(value) <= MOST_FIELDS
    if not good or not all(
        isinstance(k, str) and len(k) <= LONGEST and type(v) is int and 0 <= v < 2**53
        for k, v in value.items()
    ):
        raise BadInput(
            f"'on' of an action is a table of at most {MOST_FIELDS} fields with the versions that "
            "were seen."
        )
    return dict(value)


def _width(value: Any) -> tuple[float, ...]:
    good = isinstance(value, list | tuple) and len(value) <= 2
    if not good or not all(type(v) in (int, float) and 0 < v < 1e12 for v in value):
        raise BadInput("'width' of an action is two finite numbers above 0.")
    return tuple(float(v) for v in value)


def _rings(value: Any) -> tuple[tuple[int, ...], ...]:
    most = MOST_RINGED
    if not isinstance(value, list | tuple) or not all(isinstance(p, list | tuple) for p in value):
        raise BadInput("'rings' of an action is a list of lists of whole numbers.")
    if not all(type(size) is int and 0 < size <= most for part in value for size in part):
        raise BadInput("'rings' of an action is a list of lists of whole numbers.")
    return tuple(tuple(part) for part in value)


def _points(value: Any, *, ringed: bool) -> tuple[tuple[float, float], ...]:
    most = MOST_RINGED if ringed else max(most for _, most in KINDS.values())
    if not isinstance(value, list | tuple) or len(value) > most:
        raise BadInput(f"'points' of an action is a list of at most {most:,} points.")
    for point in value:
        good = isinstance(point, list | tuple) and len(point) == 2
        if not good or not all(type(v) in (int, float) and abs(v) < 1e12 for v in point):
            raise BadInput("A point is two finite numbers, x and y.")
    return tuple((float(x), float(y)) for x, y in value)
