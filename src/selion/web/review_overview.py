"""The overview of a review: many fields as small pictures, to be accepted or refused together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from selion.errors import UnknownName
from selion.review.actions import ANSWERS
from selion.review.state import DOUBTED, UNDECIDED
from selion.web.answers import JSON, whole_number
from selion.web.review_shown import ReviewSession, about_of, aspect_of, pixels_of

if TYPE_CHECKING:
    from selion.review.state import Field

ORDERS = ("doubtful", "sure", "large", "small")
SHOWN = ("undecided", "unsure", "accepted", "rejected", "corrected", *ANSWERS, "all")
MOST_TILES = 96
"""Fields on one page at most."""


def overview(session: ReviewSession, parameters: Mapping[str, str]) -> JSON:
    """Return a page of fields in an order, with the status that is wanted.

    Nobody is handed anything: an action names the versions that were seen, so two people may look
    at the same page.
    """
    show = _known("status", parameters.get("show", SHOWN[0]), SHOWN)
    order = _known("order", parameters.get("order", ORDERS[0]), ORDERS)
    after = whole_number(parameters.get("after"), 0)
    size = min(max(whole_number(parameters.get("size"), 24), 1), MOST_TILES)
    aspect = aspect_of(parameters)
    state = session.log.sync()
    names = [str(session.log.mapped.ids[row]) for row in _rows(session, order)]
    known = session.log.mapped.row
    names += [name for name in state.changed if known(name) is None]  # made by people
    fitting = [name for name in names if _fits(state.status(name), show)]
    found = [one for name in fitting[after : after + size] if (one := state.get(name)) is not None]
    return {
        "items": [_tile(session, one, aspect) for one in found],
        "after": min(after + size, len(fitting)),
        "total": len(fitting),
        "counts": state.counts(),
    }


def _known(what: str, given: str, known: tuple[str, ...]) -> str:
    if given not in known:
        raise UnknownName.among(what, given[:20], known)
    return given


def _fits(status: str, show: str) -> bool:
    if show == "all":
        return status != "merged"
    wanted = {"undecided": (UNDECIDED,), "unsure": (DOUBTED,), "corrected": ("corrected", "added")}
    return status in wanted.get(show, (show,))


def _rows(session: ReviewSession, order: str) -> np.ndarray:
    """Return the rows of the map in an order."""
    import shapely

    if order == "doubtful":
        return session.ranking.order
    if order == "sure":
        return session.ranking.order[::-1]
    area = shapely.area(session.log.mapped.outlines)
    return np.argsort(-area if order == "large" else area, kind="stable")


def _tile(session: ReviewSession, one: Field, aspect: float) -> JSON:
    import shapely

    points = session.frame.to_pixels(shapely.get_coordinates(one.shape))
    told = about_of(session, one)
    wanted = ("id", "version", "status", "person", "area", "unit", "confidence", "reasons")
    return {
        **{word: told[word] for word in wanted},
        "box": session.frame.box_of(points, 0, aspect),
        "parts": pixels_of(session, one.shape),
    }
