"""Classes of a dataset as classes of a recipe: by name.

For a boundary network all that is no boundary is background.
"""

from __future__ import annotations

from selion.classes import ClassScheme


def is_outlines(classes: ClassScheme) -> bool:
    """Say whether a recipe's network looks for boundaries alone: a boundary and no things."""
    return classes.boundary is not None and not classes.things


def placed(have: ClassScheme, wanted: ClassScheme) -> dict[int, int]:
    """Return the recipe's id of each of the dataset's ids.

    Classes that the recipe does not know are left out, or background for a boundary network.

    Examples
    --------
    >>> from selion.classes import FTW2, FTW3
    >>> placed(FTW3, ClassScheme(("background", "boundary"), boundary="boundary"))
    {0: 0, 1: 0, 2: 1}
    >>> placed(FTW3, FTW2)
    {0: 0, 1: 1}
    """
    rest = dict.fromkeys(range(len(have)), 0) if is_outlines(wanted) else {}
    return rest | {
        k: wanted.index(name) for k, name in enumerate(have.names) if name in wanted.names
    }
