"""Which layer of a file with several is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from selion.store.address import Place

FIELDS = "fields"
"""The layer that is read of a file with several; the first, where none is called so."""


def choose_layer(path: Place, layers: Mapping[str, str | None]) -> str | int:
    """Return the name or the number of the layer that is read.

    Which it is, is said where several have outlines and none is ours.

    Parameters
    ----------
    path : path
    layers : mapping
        Name of a layer -> what geometries it has; None where it has none.
    """
    placed = [name for name, geometry in layers.items() if geometry is not None]
    if FIELDS in layers:
        return FIELDS
    if len(placed) > 1 and next(iter(layers)) == placed[0]:
        others = ", ".join(placed[1:4]) + (" ..." if len(placed) > 4 else "")
        warnings.warn(
            f"{path} has {len(placed)} layers, of which {placed[0]} is read and not {others}: save "
            "the one that is meant as a file of its own.",
            stacklevel=3,
        )
    return 0  # of bytes a layer has no lasting name
