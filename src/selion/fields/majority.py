"""Basins that do not ask for the class, and then a vote in each.

One object has one class, and what is mostly background is no object.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from selion.classes import OUTLINE, ClassScheme
from selion.errors import UnknownName
from selion.fields.instancemap import map_by_class
from selion.fields.instances import EXTENTS, InstanceOptions, find_by_class
from selion.fields.polygonise import Run
from selion.fields.shares import FULL, shares_of
from selion.grid import Roi, tiles, whole
from selion.labels import Instances, least_areas
from selion.raster import DerivedSource, Raster, Source, image_gsd
from selion.store.instancemap import InstanceMap, renumber_blocks, save_table

COVERS = ("mask", "all")
SOLID = ClassScheme(("background", "object", "boundary"), ("object",), "boundary")
"""What basins are found in: no classes, only objects and what parts them."""


def is_refined(classes: ClassScheme) -> bool:
    """Say whether probabilities of these classes come from a refiner.

    If so, basins vote for their class.
    """
    return OUTLINE in classes.names and classes.boundary is not None


@dataclass(frozen=True, eq=False)
class Solid(DerivedSource):
    """Probabilities in which all things are one."""

    classes: ClassScheme
    cover: str = "mask"
    """"mask": objects lie where things are more likely than the rest.  "all": everywhere, so that
    basins also correct the mask's edge."""

    def __post_init__(self) -> None:
        if self.cover not in COVERS:
            raise UnknownName.among("cover", self.cover, COVERS)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of :data:`SOLID`."""
        return SOLID.names

    @property
    def dtype(self) -> np.dtype:
        """Probabilities times 65535."""
        return np.dtype(np.uint16)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        shares, finite = shares_of(part.values)
        valid = finite if part.valid is None else finite & part.valid
        return Raster(
            self._solid(shares.astype(np.int64)), part.grid, SOLID.names, valid, self.tags
        )

    def _solid(self, shares: np.ndarray) -> np.ndarray:
        edge, things = (
            _edge(self.classes, self.cover),
            [self.classes.index(name) for name in self.classes.things],
        )
        line = np.minimum(shares[edge].sum(0), FULL)
        inner = (
            FULL - line if self.cover == "all" else np.minimum(shares[things].sum(0), FULL - line)
        )
        return np.stack([FULL - line - inner, inner, line]).astype(np.uint16)


def _edge(classes: ClassScheme, cover: str) -> list[int]:
    """Return the classes that part objects."""
    names = [classes.boundary, OUTLINE if cover == "all" else None]
    return [classes.index(name) for name in names if name is not None and name in classes.names]


def find_basins(
    probs: Raster,
    classes: ClassScheme,
    method: str = "watershed",
    options: InstanceOptions | None = None,
    cover: str = "mask",
) -> Instances:
    """Find objects without asking for classes, and let each vote for its own.

    For a raster that fits in memory.

    Parameters
    ----------
    probs : Raster
        (class, y, x) probabilities, as for :func:`selion.fields.find_instances`.
    classes : ClassScheme
        With ``things``; with ``boundary``, and :data:`OUTLINE` if a refiner made it.
    method, options
        As there.
    cover : {"mask", "all"}
        Where objects may lie, see :class:`Solid`.

    Returns
    -------
    Instances
        As there; ``class`` is that of the largest summed probability over the object, and objects
        whose winner is no thing are gone.

    Raises
    ------
    UnknownName, BandMismatch, BadInput
        As there.

    Notes
    -----
    EPOC (Chen et al., Subobject-level Image Tokenization, arXiv 2402.14327: a boundary network and
    a watershed, every pixel labelled), as MAgSeg uses it (arXiv 2605.16179): the majority class of
    each basin.  "all" labels every pixel, as there; "mask" keeps to what the model called a thing.
    """
    options, least = _sized(options or InstanceOptions(), classes, probs)
    everything = whole(probs.grid)
    found = find_by_class(Solid(probs, classes, cover).read(everything), SOLID, method, options)
    sums = _sum_block(probs, lambda _: found.ids, len(found.table), everything)
    lut, table = _elect(found.table, sums, classes, options, least)
    return Instances(lut[found.ids], probs.grid, table, found.min_area)


def map_basins(
    probs: Source,
    classes: ClassScheme,
    workspace: str | os.PathLike[str],
    method: str = "watershed",
    options: InstanceOptions | None = None,
    *,
    cover: str = "mask",
    block: int = 2048,
    run: Run = map,
) -> InstanceMap:
    """Do what :func:`find_basins` does for a raster of any size.

    Parameters and files as :func:`selion.fields.map_instances`.

    Returns
    -------
    InstanceMap
        The same ids and table, to the last bit, as :func:`find_basins` on the whole: votes are
        counted in whole numbers.
    """
    options, least = _sized(options or InstanceOptions(), classes, probs)
    found = map_by_class(
        Solid(probs, classes, cover), SOLID, workspace, method, options, block=block, run=run
    )
    blocks = tiles((int(probs.grid.shape[0]), int(probs.grid.shape[1])), block)
    sums = np.zeros((len(found.table) + 1, len(classes)))
    for part in run(partial(_sum_block, probs, partial(_ids_of, found), len(found.table)), blocks):
        sums += part
    lut, table = _elect(found.table, sums, classes, options, least)
    # from here on, until the table is whole again, ids and table do not fit
    (found.path.parent / "instances.json").unlink(missing_ok=True)
    renumber_blocks(found.path, [(roi, lut) for roi in blocks])
    found = replace(found, table=table)
    save_table(found)
    return found


def _sized(
    options: InstanceOptions, classes: ClassScheme, probs: Source
) -> tuple[InstanceOptions, np.ndarray]:
    """Return options that find the smallest object of any class, and (class,) least areas."""
    if options.min_area is not None or not classes.least_area:
        return options, np.zeros(len(classes))
    found = least_areas(classes, None, image_gsd(probs))
    each = np.array([found.get(name, 0.0) for name in classes.names])
    return replace(options, min_area=min(found.values())), each


def _ids_of(found: InstanceMap, roi: Roi) -> np.ndarray:
    return found.read(roi).ids


def _sum_block(
    probs: Source, ids_of: Callable[[Roi], np.ndarray], count: int, roi: Roi
) -> np.ndarray:
    """Return (object + 1, class) sums of probabilities times FULL.

    float64 that hold whole numbers, so that their order does not matter.
    """
    ids, (shares, _) = ids_of(roi).ravel(), shares_of(probs.read(roi).values)
    return np.stack([np.bincount(ids, plane.ravel(), count + 1) for plane in shares], 1)


def _elect(
    table: pd.DataFrame,
    sums: np.ndarray,
    classes: ClassScheme,
    options: InstanceOptions,
    least: np.ndarray,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Give each object the class with most votes.

    Those without a thing's, or smaller than is counted of theirs, are dropped and the rest numbered
    anew.
    """
    names = np.array(classes.names, dtype=object)
    eligible = np.array([name not in (classes.boundary, OUTLINE) for name in names])
    votes = np.where(eligible, sums, -1.0)[1:]
    winner = votes.argmax(1) if len(votes) else np.zeros(0, np.int64)
    stays = np.isin(winner, [classes.index(name) for name in classes.things])
    stays &= table["area"].to_numpy(float) >= least[winner]
    lut = np.zeros(len(table) + 1, np.int32)
    lut[1:][stays] = np.arange(1, int(stays.sum()) + 1)
    edge = (
        sums[1:, classes.index(classes.boundary)]
        if classes.boundary and options.extent == EXTENTS[0]
        else 0.0
    )
    sure = (
        (np.take_along_axis(sums[1:], winner[:, None], 1)[:, 0] + edge)
        / np.maximum(table["pixels"].to_numpy(), 1)
        / FULL
    )
    kept = table[stays].assign(
        **{
            "class": pd.array(names[winner[stays]], dtype="string"),
            "score": np.minimum(sure[stays], 1).astype(np.float32),
        }
    )
    kept["id"] = np.arange(1, len(kept) + 1, dtype=np.int64)
    return lut, kept.reset_index(drop=True)
