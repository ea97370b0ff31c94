"""What was looked at, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOLDS, DIFFERS, UNKNOWN = "holds", "differs", "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one result."""

    name: str
    """``sums``, ``topology``, ``fiboa``, ``agreement``, ``provenance``, ``repeatable`` ..."""
    status: str
    """``holds``, ``differs`` or ``not checked``."""
    said: tuple[str, ...] = ()
    """What was looked at, what differs, or why it was not looked at: sentences."""
    where: str = ""
    """The file, or the result within a folder."""


@dataclass(frozen=True, slots=True)
class VerifiedResult:
    """What became of all checks."""

    path: Path | str
    """Where it lies; an address without keys."""
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not any(check.status == DIFFERS for check in self.checks)

    @property
    def differences(self) -> tuple[str, ...]:
        """The sentences of all that differs."""
        return tuple(
            f"{check.where}: {text}" if check.where else text
            for check in self.checks
            if check.status == DIFFERS
            for text in check.said
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "path": str(self.path),
            "holds": self.holds,
            "checks": [
                {
                    "name": check.name,
                    "status": check.status,
                    "where": check.where,
                    "said": list(check.said),
                }
                for check in self.checks
            ],
        }


def judged(name: str, faults: Iterable[str], looked: str, where: str = "") -> Check:
    """Return a check that differs by its faults, or holds and says what was looked at."""
    found = tuple(faults)
    return Check(name, DIFFERS, found, where) if found else Check(name, HOLDS, (looked,), where)
