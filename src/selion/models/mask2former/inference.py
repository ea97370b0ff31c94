"""How queries become an answer: classes per pixel, or objects as they are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selion.errors import BadInput, UnknownName

INFERENCES = ("semantic", "panoptic")
"""Class probabilities per pixel, or objects."""
KEYS = ("inference", "least_score", "least_visible")
"""Keys of an architecture that say how its queries are read; the network does not depend on
them."""


@dataclass(frozen=True, slots=True)
class PanopticOptions:
    """Which queries become objects.

    The defaults are those of the method's published configurations; PRUE's own takes a score of
    0.1.
    """

    least_score: float = 0.8
    """A query whose most likely class is not more probable than this is left out."""
    least_visible: float = 0.8
    """A query of whose mask stronger ones leave less than this share is left out."""

    def __post_init__(self) -> None:
        if not (0 <= self.least_score < 1 and 0 <= self.least_visible <= 1):
            raise BadInput(
                f"least_score = {self.least_score:g} and least_visible = {self.least_visible:g} "
                "were given; wanted are a score from 0 to below 1 and a share from 0 to 1."
            )


def panoptic_options(architecture: Mapping[str, Any]) -> PanopticOptions | None:
    """Read from an architecture how its queries become an answer.

    Returns
    -------
    PanopticOptions or None
        None: as classes per pixel.

    Raises
    ------
    UnknownName
        If there is no such inference.
    BadInput
        If a value is out of range, or would change nothing.
    """
    kind = architecture.get("inference", "semantic")
    if kind not in INFERENCES:
        raise UnknownName.among("inference", str(kind), INFERENCES)
    said = {key: architecture[key] for key in KEYS[1:] if key in architecture}
    if kind == "panoptic":
        return PanopticOptions(**{key: float(value) for key, value in said.items()})
    if said:
        raise BadInput(
            f"{', '.join(said)} was given without inference = 'panoptic', where it changes "
            "nothing: omit it, or ask for objects."
        )
    return None
