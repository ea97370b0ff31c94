"""Which model looks at the photographs.

The one that ships, the colour rules, or any that is given by name or folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selion.closerange.calibration import FILE, FLOOR, Calibration, read_calibration
from selion.closerange.cut import LIMITS
from selion.closerange.gate import ALIKE, COARSE, INTERVAL, LARGE, LEARNT, unlearnt
from selion.closerange.quality import appearance
from selion.closerange.rule import ColourRule, otsu_rule
from selion.errors import BadInput, UnknownName
from selion.raster import Raster
from selion.segmenter import Segmenter

AUTO = "auto"
"""``crops-rgb`` for photographs like those it has learnt from, ``crops-wide`` for others."""
SHIPPED, OTHER = "crops-rgb", "crops-wide"
OTHERWISE = f"measured by {OTHER}: unlike what {SHIPPED} has learnt from"
"""How the note of such a photograph begins."""
RULES: dict[str, Callable[[Raster], Segmenter]] = {
    "colour": lambda _: ColourRule(),
    "colour-otsu": otsu_rule,
}
"""Name -> the rule for a photograph: the Canopeo rule, and excess green with Otsu's threshold."""
ABOUT = {
    "colour": "the Canopeo colour rule (R/G < 0.95, B/G < 0.95, 2G-R-B > 20)",
    "colour-otsu": "the colour rule excess green above Otsu's threshold of the photograph",
}


@dataclass(frozen=True)
class PhotoModel:
    """A model, ready."""

    name: str
    about: str
    """What computes, for the page and ``run.json``."""
    key: dict[str, Any]
    """What tells it from others, for the key of a run: the same on every machine and with any
    number of threads."""
    fit: Callable[[Raster], Segmenter]
    """The Segmenter for a photograph; the same one for every photograph unless it is a rule that
    takes its threshold from it."""
    known: Calibration | None = None
    """What is known of it from photographs with masks that it had not seen."""
    other: PhotoModel | None = None
    """Who answers for photographs unlike those that it has learnt from."""

    @property
    def ruled(self) -> bool:
        """Whether a colour rule may answer in its place: only where that was measured."""
        return self.other is not None or (self.known is not None and bool(self.known.ranges))

    def answering(self, photo: Raster, gsd: float | None = None) -> tuple[PhotoModel, str]:
        """Return who answers for a photograph.

        Parameters
        ----------
        photo : Raster
            (3, y, x) uint8, red, green, blue.
        gsd : float, optional
            Millimetres a pixel, where they are known.

        Returns
        -------
        model : PhotoModel
            This one or the other.
        why : str
            A note if it is the other.
        """
        if self.other is None:
            return self, ""
        strange = unlearnt(appearance(photo.values, photo.valid), gsd)
        if not strange:
            return self, ""
        return self.other, f"{OTHERWISE} ({strange})"


def default_model() -> tuple[str, str]:
    """Return the model to take when none is named.

    With it comes a sentence if it is not the one that ships.
    """
    from selion import models

    there = {card.name for card in models.list_models() if card.folder is not None}
    if SHIPPED in there:
        return (AUTO if OTHER in there else SHIPPED), ""
    return (
        "colour",
        (
            f"The model {SHIPPED} is not installed, so {ABOUT['colour']} is used: expect less on "
            "pale, yellow or glossy leaves."
        ),
    )


def open_model(
    name: str, engine: str = "auto", *, fast: bool = False, threads: int | None = None
) -> PhotoModel:
    """Open a model by name.

    Parameters
    ----------
    name : str
        ``auto``, ``colour``, ``colour-otsu``, or a name or folder for
        :func:`selion.models.load_model`.
    engine, fast, threads
        See :func:`selion.models.load_model`; rules have none.

    Returns
    -------
    PhotoModel

    Raises
    ------
    UnknownName, UnreadableFile, ChecksumMismatch, MissingExtra
        See :func:`selion.models.load_model`; UnreadableFile also if its file of photographs is not
        one.
    BadInput
        If the model does not take red, green and blue.
    """
    if name in RULES:
        return PhotoModel(
            name, ABOUT[name], {"rule": name, "values": repr(ColourRule())}, RULES[name]
        )
    if name == AUTO:
        first, other = (
            open_model(one, engine, fast=fast, threads=threads) for one in (SHIPPED, OTHER)
        )
        parts: dict[str, Any] = {one.name: one.key for one in (first, other)}
        limits = {
            "learnt": {look: list(span) for look, span in LEARNT.items()},
            "coarse": list(COARSE),
            "cut": list(LIMITS),
            "alike": ALIKE,
            "interval": list(INTERVAL),
            "first of large": [LARGE, OTHER],
        }
        below, above = INTERVAL
        fitted = replace(
            first.known or Calibration(1.0, 1.0), below=below, above=above, floor=FLOOR
        )
        return replace(first, name=AUTO, key=parts | limits, known=fitted, other=other)
    from selion import models

    try:
        models.find_card(name)
    except UnknownName:
        raise UnknownName.among(
            "model", name, [AUTO, *RULES, *(card.name for card in models.list_models())]
        ) from None
    model = models.load_model(name, engine, fast=fast, threads=threads)
    if model.gives == "objects":
        raise BadInput(
            f"The model {name} returns objects instead of classes: map photographs with "
            "'selion map', or choose another model."
        )
    bands = model.inputs.bands
    if len(bands) != 3:
        raise BadInput(
            f"The model {model.card.name} takes {len(bands)} bands ({', '.join(bands)}); wanted "
            "is one for photographs: red, green, blue."
        )
    key = {k: v for k, v in model.identity.items() if k not in ("engine", "type")} | {
        "files": dict(model.card.files),
        "engine": engine,
        "fast": fast,
        "flips": "",  # stands in the key of photographs that were measured before
    }
    known = None
    if FILE in model.card.files and model.card.folder is not None:
        known = read_calibration(model.card.folder)
    if known is not None and known.ranges:
        key |= {"cut": list(LIMITS)}
    return PhotoModel(model.card.name, model.engine, key, lambda _: model, known)


def given_name(name: str | None) -> tuple[str, str]:
    """Return the model's name, with ``~`` and places made plain.

    With it comes a sentence if one had to be chosen.
    """
    if name is None:
        return default_model()
    return (str(Path(name).expanduser()) if name.startswith("~") else name), ""
