"""The parameters of BoundaryVote, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np

from selion.errors import BadInput, UnknownName

SURFACES = ("boundary_probability",)
LINE_SCORES = ("fraction", "probability_share", "mean_boundary", "margin")
FOREGROUNDS = ("not_background", "argmax")
NOT_OFFERED: Mapping[str, str] = MappingProxyType(
    {
        "merge_small_px": "parcels are merged one after the other there, so blocks would not equal "
        "the whole",
        "fast": "the rule with levels (fast=True), which the published edition used, is the only "
        "one here",
    }
)
"""Parameters of the reference that are refused, and why."""


@dataclass(frozen=True, slots=True)
class VoteOptions:
    """How ``vote`` parts fields; the defaults are those of the published second edition.

    Names and meanings are those of ``fbp.BoundaryVote`` (ftw-fbp 0.2.0) with ``fast=True``, and of
    ``fbp.run_windowed``; the defaults are ``fbp.FTW_2E``, which is
    ``nbg-pb-h0.01-t0.5+R25+F10+G2+A900+q1`` in the names of the published files.
    """

    foreground: str | float = "not_background"
    """Pixels to part: "not_background" (field or boundary is the likeliest), "argmax" (field is),
    or a number, above which the probability of field must lie."""
    surface: str = "boundary_probability"
    """What is flooded: one minus the probability of boundary."""
    seed_depth: float = 0.01
    """Least depth of a seed; 0: every regional maximum is one."""
    line_score: str = "fraction"
    """What a pixel of a line votes: "fraction" 1 where boundary is as likely as field;
    "probability_share" boundary / (boundary + field); "mean_boundary" boundary; "margin" (boundary
    - field + 1) / 2."""
    min_line_support: float = 0.5
    """A line stays if its pixels vote at least this on the average,"""
    min_line_length: int = 0
    """and if it has at least this many pixels."""
    support_radius: int = 0
    """With "fraction" and "probability_share": a pixel votes 1 if boundary is as likely as field at
    any pixel in the square of this radius."""
    min_mean_field_probability: float = 0.25
    """Fields of less mean probability of field are dropped."""
    refill_field_probability: float = 0.10
    """Pixels with more probability of field than this are parted a second time, and a field of that
    of which the first covers less than half is added; 0: no second time."""
    refill_min_uncovered: float = 0.02
    """Nothing is added where less than this share of the second foreground is uncovered."""
    fill_holes_px: int = 0
    """Holes of fewer pixels are filled; -1: all."""
    min_area_m2: float = 900.0
    """Smaller fields are dropped (px2 for a photograph)."""
    core: int = 8192
    """A pixel belongs to one cell of this many pixels"""
    halo: int = 512
    """and nothing further than this from its cell decides about it."""

    def __post_init__(self) -> None:
        if isinstance(self.foreground, str) and self.foreground not in FOREGROUNDS:
            raise UnknownName.among("foreground", self.foreground, FOREGROUNDS)
        if self.surface not in SURFACES:
            raise UnknownName.among("surface", self.surface, SURFACES)
        if self.line_score not in LINE_SCORES:
            raise UnknownName.among("line_score", self.line_score, LINE_SCORES)
        for name in ("foreground", "seed_depth", *_SHARES):
            value = getattr(self, name)
            if not isinstance(value, str) and not 0 <= value <= 1:
                raise BadInput(f"{name} = {value} was given; wanted is a number from 0 to 1.")
        least = {"fill_holes_px": -1, "core": 64, "halo": self.support_radius + 2}
        for name in ("min_line_length", "support_radius", "fill_holes_px", "core", "halo"):
            if getattr(self, name) < least.get(name, 0):
                raise BadInput(
                    f"{name} = {getattr(self, name)} was given; wanted is a whole number from "
                    f"{least.get(name, 0)} up."
                )
        if not 0 <= self.min_area_m2 < np.inf:
            raise BadInput(
                f"min_area_m2 = {self.min_area_m2} was given; wanted is a number from 0 up."
            )


_SHARES = (
    "min_line_support",
    "min_mean_field_probability",
    "refill_field_probability",
    "refill_min_uncovered",
)


def parse_vote(text: str) -> VoteOptions:
    """Read parameters such as ``seed_depth=0.02,min_line_support=0.3``.

    Raises
    ------
    BadInput, UnknownName
        If one is unknown, not offered, given twice, or no such value.

    Examples
    --------
    >>> parse_vote("min_line_support=0.3,foreground=argmax").min_line_support
    0.3
    """
    known = {field.name: type(field.default) for field in fields(VoteOptions)}
    found: dict[str, object] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, sign, value = (one.strip() for one in part.partition("="))
        if name in NOT_OFFERED:
            raise BadInput(f"{name} was given, which is not offered: {NOT_OFFERED[name]}.")
        if name not in known:
            raise UnknownName.among("parameter of vote", name, known)
        if name in found or not sign or not value:
            raise BadInput(f"'{part}' was given; wanted is each parameter once, as NAME=VALUE.")
        found[name] = _read(name, value, known[name])
    return VoteOptions(**found)  # type: ignore[arg-type]  # checked one by one


def _read(name: str, value: str, kind: type) -> object:
    """Return a value as the number or word that it is."""
    try:
        return kind(value) if kind is not str else float(value)
    except ValueError:
        if kind is str:
            return value
        wanted = "a whole number" if kind is int else "a number"
        raise BadInput(f"{name} = {value} was given; wanted is {wanted}.") from None
