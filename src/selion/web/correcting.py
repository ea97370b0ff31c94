"""The page of masks where it corrects what is screened: one mask at a time, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from selion.closerange.rule import rule_mask
from selion.labelling.corrections import Corrections
from selion.labelling.mask_editor import Click, Start
from selion.labelling.screen import Screening
from selion.web.masks import MaskSession, masks_page
from selion.web.server import PageModule

BACK = "../screen/"


def correcting_page(
    screening: Screening, person: str = "", click: Click | None = None
) -> PageModule:
    """Set up the page on which the masks of a screening are corrected.

    Raises
    ------
    MissingExtra
        If Starlette is not installed.
    OutputFailed
        If nothing can be written beside the masks.
    """
    corrections = Corrections(screening, starts_of, click)
    title = screening.pseudo.resolve().name
    session = MaskSession(
        corrections.editor, title, person, back=BACK, begin=corrections.begin,
        folder=str(screening.pseudo.resolve()),
    )  # fmt: skip
    return masks_page(session)


def starts_of(photo: Path) -> Mapping[str, Start]:
    """Return what the rules of colours make of a photograph."""
    return {
        "colour-otsu": partial(rule_mask, photo, otsu=True),
        "colour": partial(rule_mask, photo, otsu=False),
    }
