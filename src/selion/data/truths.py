"""Truth in the classes that are asked for: from masks, from objects, or from both."""

from __future__ import annotations

import numpy as np

from selion.classes import FTW2, FTW3, ClassScheme
from selion.data.dataset import Truth
from selion.errors import BadInput
from selion.labels import Instances, LabelMap, class_labels


def can_become(have: ClassScheme, wanted: ClassScheme, *, objects: bool) -> bool:
    """Say whether labels in ``wanted`` can be made from labels in ``have``, or from objects."""
    return have.names == wanted.names or (
        _is_fields(wanted)
        and (objects or (have.names == FTW3.names and wanted.names == FTW2.names))
    )


def _is_fields(scheme: ClassScheme) -> bool:
    return scheme.names in (FTW2.names, FTW3.names)


def truth_in(
    classes: ClassScheme,
    labels: LabelMap | None,
    instances: Instances | None,
    boundary: int = 1,
    unmarked: np.ndarray | None = None,
) -> Truth:
    """Give labels in the classes that are wanted.

    Parameters
    ----------
    classes : ClassScheme
    labels : LabelMap or None
        As they lie on disk.
    instances : Instances or None
    boundary : int
        Width in pixels of the boundary that is drawn inside objects
        (:func:`selion.labels.class_labels`), where labels are made from objects.
    unmarked : (y, x) bool ndarray, optional
        Where the objects are not known; labels that are made from them are not either.

    Returns
    -------
    labels, instances

    Raises
    ------
    BadInput
        If they cannot be made.

    Notes
    -----
    Three classes become two by counting boundary as field: ours lies inside the field.  (The
    two-class masks of Fields of The World count it as background; their reader takes those masks,
    not this way.)
    """
    if labels is None and instances is None:
        return None, None
    if labels is not None and labels.classes.names == classes.names:
        return labels, instances
    if instances is not None and _is_fields(classes):
        unknown = unmarked if labels is None else labels.ids == 255
        if unmarked is not None and labels is not None:
            unknown = unknown | unmarked
        made = class_labels(instances, boundary if classes.names == FTW3.names else 0, unknown)
        return LabelMap(made.ids, instances.grid, classes), instances
    if labels is not None and labels.classes.names == FTW3.names and classes.names == FTW2.names:
        return LabelMap(
            np.where(labels.ids == 2, 1, labels.ids).astype(np.uint8), labels.grid, classes
        ), instances
    have = "none" if labels is None else ", ".join(labels.classes.names)
    raise BadInput(
        f"Classes {', '.join(classes.names)} were asked for; the dataset has {have}, and the first "
        "cannot be made from the second: omit the classes."
    )
