"""Maps larger than memory: the overlap table, and a place's scores, read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import Roi, inside, pad_roi, pixel_metres, same_grid, tiles, whole
from selion.labels import Instances
from selion.metrics.boundary import boundary_distances
from selion.metrics.image import ImageOptions, ImageScores, outline_band
from selion.metrics.objects import match_objects
from selion.metrics.overlap import OverlapTable, overlap_of_blocks
from selion.raster import Raster

BLOCK = 2048
"""Edge of a block in pixels: two blocks of int32 ids are 32 MB."""
WHOLE = 4096 * 4096
"""Most pixels of which boundary distances are measured: they want both maps in memory."""


class ObjectIds(Protocol):
    """What object ids can be read from by region.

    Instances, a map of them on disk, or a raster Source whose first band holds ids.
    """

    @property
    def grid(self) -> GeoBox:
        """The whole grid."""
        ...

    def read(self, roi: Roi) -> Instances | Raster:
        """Read a region that lies inside the grid."""
        ...


class Known(Protocol):
    """Where the truth is known, by region."""

    @property
    def grid(self) -> GeoBox:
        """The whole grid."""
        ...

    def known(self, roi: Roi) -> np.ndarray:
        """Return (y, x) bool of a region: True where the truth is known."""
        ...


def overlap_of_sources(
    truth: ObjectIds, prediction: ObjectIds, known: Known | None = None, *, block: int = BLOCK
) -> OverlapTable:
    """Count shared pixels of two maps that are read block by block.

    Parameters
    ----------
    truth, prediction : Instances, InstanceMap or Source
        Ids, 0 is no object; on one grid.
    known : Known, optional
        Pixels outside count for nobody, as ``ignore`` in :func:`selion.metrics.overlap_table`.
    block : int
        Edge of a block in pixels: decides about memory, never about the result.

    Returns
    -------
    OverlapTable
        Equal to that of the whole maps.

    Raises
    ------
    GridMismatch
        If the grids differ.
    BadInput
        If ids are negative or not integers, or the block is empty.
    """
    _check(truth, prediction, known, block)
    return overlap_of_blocks(_blocks(truth, prediction, known, block))


def _check(truth: ObjectIds, prediction: ObjectIds, known: Known | None, block: int) -> None:
    same_grid(truth.grid, prediction.grid, ("the truth", "the prediction"))
    if known is not None:
        same_grid(truth.grid, known.grid, ("the truth", "the extent"))
    if block < 1:
        raise BadInput(f"Blocks of {block} px were asked for; wanted is 1 px or more.")


def _blocks(
    truth: ObjectIds, prediction: ObjectIds, known: Known | None, block: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    for roi in tiles(truth.grid.shape.yx, block):
        yield _ids(truth, roi), _ids(prediction, roi), None if known is None else ~known.known(roi)


def _ids(source: ObjectIds, roi: Roi) -> np.ndarray:
    """Return the (y, x) integer ids of a region."""
    part = source.read(roi)
    ids = part.ids if isinstance(part, Instances) else part.values[0]
    if ids.dtype == bool or not np.issubdtype(ids.dtype, np.integer):
        raise BadInput(f"Object ids came as {ids.dtype}; wanted are integers, 0 for no object.")
    return ids


def score_sources(
    key: str,
    truth: ObjectIds,
    prediction: ObjectIds,
    known: Known | None = None,
    *,
    group: str = "",
    options: ImageOptions | None = None,
    block: int = BLOCK,
) -> ImageScores:
    """Score two maps block by block.

    Equal to :func:`selion.metrics.score_ids` on the whole, without confidences.

    Parameters
    ----------
    key, group : str
        Name of the place, and of the group that it belongs to.
    truth, prediction, known, block
        As for :func:`overlap_of_sources`.
    options : ImageOptions, optional
        Boundary distances are measured up to :data:`WHOLE` pixels only; beyond, ``distances`` is
        None.
    """
    options = options or ImageOptions()
    table = overlap_of_sources(truth, prediction, known, block=block)
    both = float(table.shared.sum())
    area = (both, float(table.prediction_area.sum()) - both, float(table.truth_area.sum()) - both)
    edge, ignored = _edges(truth, prediction, known, options.edge_width, block)
    pixel = pixel_metres(truth.grid)
    unit = None if pixel is None else pixel[0] * pixel[1]
    scores = ImageScores(key, group, table, area, unit, None, edge, None, ignored)
    if not options.distances or np.prod(truth.grid.shape) > WHOLE:
        return scores
    matches = match_objects(table, options.iou)
    everything = whole(truth.grid)
    return replace(
        scores,
        distances=boundary_distances(
            _ids(truth, everything),
            _ids(prediction, everything),
            table,
            matches,
            pixel or (1.0, 1.0),
            None if known is None else known.known(everything),
        )[1],
    )


def _edges(
    truth: ObjectIds, prediction: ObjectIds, known: Known | None, width: int, block: int
) -> tuple[tuple[float, float], float]:
    """Return pixels in both outline bands, pixels in either, and pixels whose truth is not known.

    Blocks see ``width`` px around them.
    """
    shared = either = ignored = 0
    for roi in tiles(truth.grid.shape.yx, block):
        frame = pad_roi(roi, width, truth.grid.shape.yx)
        core = inside(roi, frame)
        seen = None if known is None else known.known(frame)
        one, other = (
            outline_band(_ids(side, frame), width, seen)[core] for side in (truth, prediction)
        )
        shared += int(np.count_nonzero(one & other))
        either += int(np.count_nonzero(one | other))
        ignored += 0 if seen is None else int(np.count_nonzero(~seen[core]))
    return (float(shared), float(either)), float(ignored)
