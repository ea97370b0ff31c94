"""How large chips of own images have to be for the model that will be tuned on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selion import models
from selion.data.polygons import Chips, grid_of_image
from selion.grid import ground_sampling_distance
from selion.training.datasets import TIMES
from selion.training.reading import read_recipe
from selion.training.recipe import Recipe

RECIPE = "own-polygons"
"""What own polygons are trained with: its windows, and what it starts from."""


@dataclass(frozen=True, slots=True)
class ChipSize:
    """An edge of chips in pixels, and why."""

    edge: int
    sentence: str


def fitting_size(images: Sequence[str], model: str = "") -> ChipSize:
    """Return the edge of chips that hold one window of the model that will be tuned.

    A model of 1.65 to 4.5 m is tuned on windows of 256 px at 1.65 m, which are 422 px of an image
    of 1 m; of a smaller chip the rest of its windows would be a reflection.  Chips are never
    smaller than :class:`selion.data.polygons.Chips` has them, as windows may be parts of them.

    Parameters
    ----------
    images : sequence of str
        As for :func:`selion.data.make_dataset`; the finest pixels decide.
    model : str
        Name or folder; without one that which the recipe "own-polygons" starts from.

    Raises
    ------
    UnknownName, UnreadableFile
        If there is no such model, or an image cannot be opened.
    """
    recipe = read_recipe(RECIPE)
    assert isinstance(recipe, Recipe)
    card = models.find_card(_inner(model or recipe.model.start_from))
    known = [ground_sampling_distance(grid_of_image(image)) for image in images]
    native = min((pixel for pixel in known if pixel), default=None)
    working = card.inputs.working_gsd(native)
    least, window = Chips().size, recipe.window
    if native is None or working is None:
        edge = max(window, least)
        return ChipSize(edge, _said(edge, f"a window of {card.name} has {window}"))
    if not 1 / TIMES <= working / native <= TIMES:
        edge = max(window, least)
        why = (
            f"a window of {card.name} has {window}, drawn on the image's own pixels, as those of "
            f"{working:g} m at which it maps are too far from {native:.3g} m"
        )
        return ChipSize(edge, _said(edge, why))
    covered = math.ceil(window * working / native - 1e-6)
    edge = max(covered, least)
    much = "so many" if covered == edge else f"{covered:,}"
    why = (
        f"a window of {card.name}, {window} px at {working:.3g} m, covers {much} of {native:.3g} m"
    )
    return ChipSize(edge, _said(edge, why))


def _said(edge: int, why: str) -> str:
    return f"Chips are cut at {edge} px: {why}; --size says otherwise."


def _inner(name: str) -> str:
    """Return the folder of the model in that of its run, as training starts from it."""
    inner = Path(name).expanduser() / "model"
    return str(inner) if inner.is_dir() else name
