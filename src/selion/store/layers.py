"""Which layer of a file with several is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from selion.store.address import Place

FIELDS = "fields"
"""The layer that is read of a file with several; the first, where none is called so."""


def choose_layer(path: Place, layers: Mapping[str, str | None]) -> str | int:
    """Return the name or the number of the layer that is read.

    Which it is, is said where others may have outlines too and none is ours.

    Parameters
    ----------
    path : path
    layers : mapping
        Name of a layer -> what geometries it has; None where it has none.
    """
    first, *rest = layers.items() if layers else [("", None)]
    others = [name for name, geometry in rest if _may_hold_outlines(geometry)]
    if FIELDS in layers:
        return FIELDS
    if others and first[1] is not None:
        told = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        warnings.warn(
            f"{path} has {len(others) + 1} layers, of which {first[0]} is read and not {told}: "
            "save the one that is meant as a file of its own.",
            stacklevel=3,
        )
    return 0  # of bytes a layer has no lasting name


def _may_hold_outlines(geometry: str | None) -> bool:
    """Say whether a layer may be meant: not a table, nor points or lines beside the polygons."""
    return geometry is not None and not any(kind in geometry for kind in ("Point", "LineString"))
