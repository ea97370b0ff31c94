"""Predictions as labels: what a model is sure of keeps its class, the rest becomes 255."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion import fields
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput
from selion.grid import photo_grid
from selion.labels import MIN_AREA, Instances, LabelMap, class_labels
from selion.raster import Raster


@dataclass(frozen=True, slots=True)
class ConfidenceOptions:
    """How sure is sure enough.

    The numbers for objects are those that the shipped models were adapted with
    (``runs/pseudo_labels.py``).
    """

    sure: float = 0.8
    """Least probability of a class that counts as known, for schemes without a boundary."""
    unsure: tuple[float, float] = (0.3, 0.6)
    """Objects: probabilities of being within an object between these are not known."""
    least_score: float = 0.7
    """Objects with a lower mean probability are not known."""
    edge: tuple[float, float] = (0.2, 0.4)
    """Objects: an edge is not known where the model, sure to be within an object, gives the
    boundary less than the first; an interior is not known where it gives the boundary more than the
    second."""
    width: int = 1
    """Pixels of boundary drawn inside each object."""
    method: str = "watershed"
    """How objects are found, as in :func:`selion.fields.find_instances`."""

    def __post_init__(self) -> None:
        for name in ("unsure", "edge"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 1:
                raise BadInput(
                    f"{name} = {low:g} and {high:g} were given; wanted are two probabilities, the "
                    "lower one first."
                )
        for name in ("sure", "least_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(
                    f"{name} = {getattr(self, name):g} was given; wanted is a probability."
                )
        if self.width < 1:
            raise BadInput(f"A boundary of {self.width} px was asked for; wanted is 1 or more.")


def known_labels(
    probabilities: Raster,
    classes: ClassScheme,
    grid: GeoBox,
    options: ConfidenceOptions | None = None,
) -> LabelMap:
    """Turn probabilities into labels on an image's grid, 255 where the model is not sure.

    Parameters
    ----------
    probabilities : Raster
        (class, y, x) on a working grid of the same extent.
    classes : ClassScheme
        With a boundary: objects are found and their edges become the boundary.  Without: the
        likeliest class counts where it is sure.
    grid : GeoBox
        Of the image.
    options : ConfidenceOptions, optional

    Returns
    -------
    LabelMap

    Raises
    ------
    BadInput
        If the scheme has a boundary and no class that comes as objects.
    """
    options = options or ConfidenceOptions()
    values = onto(probabilities.values, tuple(grid.shape))
    if classes.boundary is None:
        ids = _surest(values, options.sure)
    else:
        smallest = fields.InstanceOptions(min_area=MIN_AREA)  # whatever the image's pixels
        found = fields.find_instances(probabilities, classes, options.method, smallest)
        scores = found.table["score"].to_numpy(np.float32)
        ids = _by_objects(
            onto(found.ids[None], tuple(grid.shape), smooth=False)[0],
            scores,
            values,
            classes,
            options,
        )
    if probabilities.valid is not None:
        ids[~onto(probabilities.valid[None], tuple(grid.shape), smooth=False)[0]] = IGNORE
    return LabelMap(ids, grid, classes)


def _surest(values: np.ndarray, sure: float) -> np.ndarray:
    """Return the likeliest class, (y, x) uint8, where its probability is enough."""
    return np.where(values.max(0) >= sure, values.argmax(0), IGNORE).astype(np.uint8)


def _by_objects(
    ids: np.ndarray,
    scores: np.ndarray,
    values: np.ndarray,
    classes: ClassScheme,
    options: ConfidenceOptions,
) -> np.ndarray:
    """Return (y, x) uint8 background, object and boundary.

    255 where objects and probabilities do not say the same, or not surely.
    """
    if len(classes) != 3 or len(classes.things) != 1:
        raise BadInput(
            f"Classes {', '.join(classes.names)} were given; objects with edges want three: "
            "background, one kind of object, boundary."
        )
    thing, boundary = classes.index(classes.things[0]), classes.index(classes.boundary or "")
    drawn = class_labels(
        Instances(ids.astype(np.int32), photo_grid((ids.shape[0], ids.shape[1]))), options.width
    ).ids
    labels = np.choose(drawn, [3 - thing - boundary, thing, boundary]).astype(np.uint8)
    extent = values[thing] + values[boundary]
    unknown = (extent > options.unsure[0]) & (extent < options.unsure[1])
    unknown |= (ids == 0) & (extent >= options.unsure[1])
    unknown |= (drawn == 2) & (values[boundary] < options.edge[0]) & (extent > 0.8)
    unknown |= (drawn == 1) & (values[boundary] > options.edge[1])
    unknown |= np.concatenate([[False], scores < options.least_score])[ids]
    labels[unknown] = IGNORE
    return labels


def onto(values: np.ndarray, shape: tuple[int, ...], *, smooth: bool = True) -> np.ndarray:
    """Bring (band, y, x) onto another (y, x) shape of the same extent.

    Bilinear, averaged first where pixels get larger; or what lies under each centre.
    """
    if values.shape[1:] == shape:
        return values.copy()
    old = values.shape[1:]
    places = [
        (np.arange(new) + 0.5) * have / new - 0.5 for new, have in zip(shape, old, strict=True)
    ]
    if not smooth:
        rows, columns = (
            np.clip(np.floor(place + 0.5).astype(int), 0, have - 1)
            for place, have in zip(places, old, strict=True)
        )
        found: np.ndarray = values[:, rows[:, None], columns[None]]
        return found
    folds = [max(1, round(have / new)) for new, have in zip(shape, old, strict=True)]
    averaged = (
        ndimage.uniform_filter(values.astype(np.float32), (0, *folds), mode="nearest")
        if max(folds) > 1
        else values.astype(np.float32)
    )
    # an even square's mean lies on its lower right of the middle
    offset = [0.5 if fold % 2 == 0 else 0.0 for fold in folds]
    grid = np.meshgrid(places[0] + offset[0], places[1] + offset[1], indexing="ij")
    return np.stack(
        [ndimage.map_coordinates(plane, grid, order=1, mode="nearest") for plane in averaged]
    )
