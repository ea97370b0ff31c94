"""Objects out of probabilities: what is one field, and where does the next begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from selion.classes import ClassScheme
from selion.errors import BadInput, BandMismatch, GridMismatch, UnknownName
from selion.fields import seams
from selion.fields.shares import FULL, shares_of
from selion.fields.vote_options import VoteOptions
from selion.grid import CELL, Roi, ground_sampling_distance, inside, pixel_areas, roi_shape, whole
from selion.labels import Instances, least_areas
from selion.raster import Raster, Source, image_gsd

if TYPE_CHECKING:
    from selion.fields.node_score import NodeScore
    from selion.fields.seams import BasinBlock, Basins

EXTENTS = ("field+boundary", "field")


@dataclass(frozen=True, slots=True)
class InstanceOptions:
    """How objects are parted and cleaned.

    Lengths in metres and areas in m2 on the ground; in pixels and px2 for a photograph.
    """

    extent: str = "field+boundary"
    """What an object covers: with "field+boundary" the boundary is its outermost pixels (our
    models); with "field" the boundary is a line between objects and belongs to none (Fields of The
    World, PRUE)."""
    threshold: float = 0.5
    """Least probability of a pixel of an object (field and boundary together, for
    "field+boundary")."""
    depth: float = 0.2
    """Watershed: two basins are two objects if the probability of the interior falls by at least
    this much on the way between them."""
    smoothing: float = 7.0
    """Watershed: standard deviation, in metres, of the Gaussian that smooths the relief;
    at least one pixel, unless it is 0."""
    absorb: float = 0.5
    """Watershed: basins smaller than ``join_area`` join a neighbour over a pass lower than
    this."""
    join_area: float = 2000.0
    """Watershed: see ``absorb``.  Small basins are more often a patch of a field than a
    field; one that stands alone stays."""
    min_area: float | None = None
    """Objects of less area are dropped; None: see :func:`selion.labels.least_areas`, and for vote
    its ``min_area_m2``."""
    max_hole: float = 500.0
    """Holes of at most this area are filled."""
    spur: float = 0.0
    """Parts of the extent narrower than this are cut off; 0 keeps all."""
    score: NodeScore | None = None
    """Cut: the learnt score, :func:`selion.fields.score_of` a model's card; it also says how its
    hierarchy is built, so that neither ``smoothing`` nor ``join_area`` matter."""
    vote: VoteOptions = field(default_factory=VoteOptions)
    """Vote: all its parameters; of the others only ``min_area`` counts, which if given takes the
    place of ``min_area_m2``."""

    def __post_init__(self) -> None:
        if self.extent not in EXTENTS:
            raise UnknownName.among("extent", self.extent, EXTENTS)
        for name in ("threshold", "depth", "absorb"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(
                    f"{name} = {getattr(self, name)} was given; wanted is a number from 0 to 1."
                )
        for name in ("smoothing", "min_area", "join_area", "max_hole", "spur"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise BadInput(f"{name} = {value} was given; wanted is a number from 0 up.")


@dataclass(frozen=True, eq=False)
class InstanceInput:
    """What all blocks of one raster have in common.

    Options in whole numbers, and how large pixels are.
    """

    shape: tuple[int, int]
    """(y, x) pixels."""
    things: np.ndarray
    """(k,) int64 class ids that come as objects."""
    boundary: int
    """Class id, -1 for none."""
    wide: bool
    """Whether the boundary belongs to the object."""
    flat: bool
    """Components: no relief."""
    threshold: int
    passes: int
    """Smoothing: passes of (1 2 1)/4, and then"""
    radii: tuple[int, ...]
    """means over squares of these radii in pixels."""
    opening: int
    """Radius in pixels of the square that must fit into the extent; 0 for any."""
    areas: np.ndarray
    """(Y, X) int64 area of a pixel in each cell of CELL px."""
    unit: float
    """m2 per unit of ``areas``."""
    least: np.ndarray
    """(k,) float64: area in m2 of the smallest object of each of ``things``."""
    small: int
    """Units of area below which a basin is too small to stand beside another."""
    learnt: bool
    """Cut: basins and passes have the columns that a learnt score wants."""
    first: tuple[int, int, int] | None
    """Arguments of the first :func:`selion.fields.seams.by_depth` of the method, which blocks may
    begin on their own; None: it has none."""

    @property
    def min_area(self) -> float:
        """Area of the smallest object of any class in m2."""
        return float(self.least.min())

    @property
    def halo(self) -> int:
        """Pixels around a block that decide about it."""
        return 1 + self.passes + sum(self.radii) + 2 * self.opening


Join = Callable[["Basins", InstanceOptions, InstanceInput], "Basins"]
"""(basins, options, scene) -> objects."""


def _components(basins: Basins, _options: InstanceOptions, _scene: InstanceInput) -> Basins:
    return seams.keep_alone(basins)


def _watershed(basins: Basins, options: InstanceOptions, scene: InstanceInput) -> Basins:
    return seams.by_depth(
        basins, round(options.depth * FULL), scene.small, round(options.absorb * FULL)
    )


def _cut(basins: Basins, options: InstanceOptions, scene: InstanceInput) -> Basins:
    from selion.fields.cutting import by_score

    return by_score(basins, _score(options), scene.unit)


def _score(options: InstanceOptions) -> NodeScore:
    if options.score is None:
        raise BadInput(
            "Method 'cut' needs the learnt score of the model that made the probabilities, and "
            "none is known here: use --method watershed; in Python, give find_instances the model."
        )
    return options.score


JOINS: dict[str, Join] = {
    "components": _components,
    "watershed": _watershed,
    "cut": _cut,
}
"""How basins become objects."""
METHODS = (*JOINS, "vote")
"""How objects are found.  "components": what touches is one.  "watershed": flooded from the minima
that are deep enough.  "cut": of all that neighbours could be joined to, the disjoint objects with
the best learnt scores.  "vote": BoundaryVote, parted by the lines that the pixels on them vote for
(:mod:`selion.fields.votemap`)."""


def find_by_class(
    probs: Raster,
    classes: ClassScheme,
    method: str = "watershed",
    options: InstanceOptions | None = None,
) -> Instances:
    """Find objects of each class where it is the likeliest thing.

    Parameters and result as :func:`selion.fields.find_instances`.
    """
    options = options or InstanceOptions()
    if method == "vote":
        from selion.fields.votemap import find_by_vote

        return find_by_vote(probs, classes, options.vote, options.min_area)
    scene = prepare(probs, classes, method, options)
    everything = whole(probs.grid)
    labels, block = cut(probs, everything, scene)
    lut, table = conclude([block], scene, classes, method, options)
    return Instances(lut[labels], probs.grid, table, scene.min_area)


def prepare(
    probs: Source, classes: ClassScheme, method: str, options: InstanceOptions
) -> InstanceInput:
    """Turn options into whole numbers of the grid of these probabilities."""
    if method not in JOINS:
        raise UnknownName.among("method", method, METHODS)
    if not classes.things:
        raise BadInput(
            f"None of the classes {classes.names} comes as objects: name its object "
            "classes in the scheme."
        )
    grid = probs.grid
    areas, unit = pixel_areas(grid)
    if not 1e-9 < unit < 1e15:
        raise GridMismatch(
            f"A pixel of the probabilities has {unit:.3g} m2: check their CRS and geotransform."
        )
    each = least_areas(classes, options.min_area, image_gsd(probs))
    least = np.array([each[name] for name in classes.things])
    small = int(min(np.ceil(max(least.max(), options.join_area) / unit), 2**62))
    flat = method == "components"
    learnt = _score(options).settings if method == "cut" else None
    if learnt and len(classes.things) > 1:
        raise BadInput(
            f"Method 'cut' was asked for with the classes {', '.join(classes.things)}; a learnt "
            "score knows one class of objects: use --method watershed."
        )
    pixel = ground_sampling_distance(grid) or 1.0
    smoothing = learnt.smoothing if learnt else options.smoothing
    passes, radii = _kernel(max(smoothing / pixel, 1.0) if smoothing > 0 and not flat else 0.0)
    return InstanceInput(
        shape=(int(grid.shape[0]), int(grid.shape[1])),
        things=np.array([classes.index(name) for name in classes.things], np.int64),
        boundary=classes.index(classes.boundary) if classes.boundary else -1,
        wide=options.extent == "field+boundary" and not flat,
        flat=flat,
        threshold=round(options.threshold * FULL) if not flat else 0,
        passes=passes,
        radii=radii,
        opening=int(options.spur / pixel / 2),
        areas=areas,
        unit=unit,
        least=least,
        small=small,
        learnt=learnt is not None,
        first={
            "cut": (round(learnt.depth * FULL), 0, 0) if learnt else None,
            "watershed": (round(options.depth * FULL), small, round(options.absorb * FULL)),
        }.get(method),
    )


def _kernel(sigma: float) -> tuple[int, tuple[int, ...]]:
    """Build a Gaussian of ``sigma`` px from filters that are exact in whole numbers.

    (1 2 1)/4 has variance 1/2, a mean over 2 r + 1 px r (r + 1) / 3.
    """
    if sigma <= 2:
        return round(2 * sigma**2), ()
    small = int((np.sqrt(1 + 4 * sigma**2) - 1) / 2)
    large = round((3 * sigma**2 - 3 * small * (small + 1)) / (2 * (small + 1)))
    return 0, tuple(small + (k < large) for k in range(3))


def cut(
    probs: Raster, core: Roi, scene: InstanceInput, frame: Roi | None = None
) -> tuple[np.ndarray, BasinBlock]:
    """Cut one block into basins.

    Parameters
    ----------
    probs : Raster
        Probabilities of the region ``frame``.
    core : Roi
        The block.
    scene : InstanceInput
        What :func:`prepare` made of the whole raster.
    frame : Roi, optional
        The block with ``scene.halo`` pixels around it, cut to the raster; None: the block itself is
        the whole raster.

    Returns
    -------
    labels : (y, x) int32 ndarray
        Basins of the block, 1 .. n.
    block : BasinBlock
        What they are like.
    """
    from selion.fields import basins

    if len(probs.bands) <= max(int(scene.things.max()), scene.boundary):
        raise BandMismatch(
            f"{len(probs.bands)} bands of probabilities were given; the classes need at least "
            f"{max(int(scene.things.max()), scene.boundary) + 1}."
        )
    frame = frame or core
    shares, finite = shares_of(probs.values)
    valid = finite if probs.valid is None else finite & probs.valid
    if scene.learnt and not valid.all():  # what lies under the mask is anybody's number
        shares = np.where(valid, shares, np.uint16(0))
    kind, relief, sure, line = _evidence(shares, valid, scene)
    kind, relief = (
        _with_rim(values, core, frame, rim) for values, rim in ((kind, basins.OUTSIDE), (relief, 0))
    )
    labels, flow, count = basins.drain(kind, relief)
    here = inside(core, frame)
    sure, line, kind, relief = sure[here], line[here], kind[1:-1, 1:-1], relief[1:-1, 1:-1]
    rows = basins.measure(
        labels,
        count,
        kind,
        relief,
        sure,
        scene.areas,
        CELL,
        core[0].start,
        core[1].start,
        scene.shape,
    )
    top, left, across = core[0].start, core[1].start, scene.shape[1]
    rims = [kind, relief, line, flow]
    if scene.learnt:
        from selion.fields import cutting, nodes

        planes = cutting.planes_of(shares, scene.things[0], scene.boundary)[:, here[0], here[1]]
        inner = nodes.sum_pixels(labels, count, kind, planes[:3], top, left, scene.shape)
        rows = np.concatenate([rows, inner], axis=1)
        beside = planes[3], planes[2]
        found = nodes.sum_borders(labels, kind, relief, line, *beside, top, left, across)
        rims += beside
    else:
        found = basins.passes(labels, kind, relief, line, top, left, across)
        found[:, :2] -= 1
        found = np.column_stack([found[:, :3], np.ones(len(found), np.int64), found[:, 3]])
    block = seams.BasinBlock(core, rows, seams.sum_passes(found), seams.rims_of(labels, *rims))
    if scene.first is None:
        return labels, block
    block, place = seams.by_depth_inside(block, scene.shape, *scene.first)
    names = np.concatenate([[0], place + 1]).astype(np.int32)
    return names.take(labels), block


def _with_rim(values: np.ndarray, core: Roi, frame: Roi, rim: int) -> np.ndarray:
    """Cut the core and one pixel around it out of the frame's values; ``rim`` beyond the raster."""
    height, width = roi_shape(core)
    out = np.full((height + 2, width + 2), rim, values.dtype)
    top, left = core[0].start - frame[0].start - 1, core[1].start - frame[1].start - 1
    y0, x0 = max(top, 0), max(left, 0)
    part = values[y0 : top + height + 2, x0 : left + width + 2]
    out[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]] = part
    return out


def _evidence(
    shares: np.ndarray, valid: np.ndarray, scene: InstanceInput
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return class, relief, share and line of pixels, see :func:`selion.fields.basins.weigh`."""
    from selion.fields import basins

    kind, inner, sure, line = basins.weigh(
        shares, valid, scene.things, scene.boundary, scene.wide, scene.threshold
    )
    if scene.opening:
        kind = _opened(kind, scene.opening)
    if scene.flat:
        return kind, np.zeros(kind.shape, np.uint16), sure, line
    relief = basins.smooth(FULL - inner, scene.passes)
    for radius in scene.radii:
        relief = basins.blur(relief, radius)
    relief[(kind == basins.NOTHING) | (kind == basins.OUTSIDE)] = 0
    return kind, relief, sure, line


def _opened(kind: np.ndarray, radius: int) -> np.ndarray:
    """Keep of each class what a square of ``2 radius + 1`` px fits into."""
    from scipy import ndimage

    from selion.fields.basins import NOTHING, OUTSIDE

    out = np.where(kind == OUTSIDE, OUTSIDE, NOTHING).astype(np.uint8)
    for k in np.unique(kind[(kind != NOTHING) & (kind != OUTSIDE)]):
        eroded = ndimage.minimum_filter(
            (kind == k).astype(np.uint8), 2 * radius + 1, mode="nearest"
        )
        out[ndimage.maximum_filter(eroded, 2 * radius + 1, mode="nearest") > 0] = k
    return out


def conclude(
    blocks: list[BasinBlock],
    scene: InstanceInput,
    classes: ClassScheme,
    method: str,
    options: InstanceOptions,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Decide which basins are one object.

    Returns
    -------
    lut : (k + 1,) int32 ndarray
        The id of each piece, those of all blocks one after the other, after a leading 0.
    table : DataFrame
        ``id``, ``class``, ``score``, ``pixels``, ``area``.
    """
    objects = JOINS[method](seams.join(blocks, scene.shape[1]), options, scene)
    kinds = np.clip(objects.rows[:, seams.KIND], 1, len(scene.least)) - 1
    least = np.ceil(scene.least / scene.unit).astype(np.int64)[kinds]
    ids = seams.settle(objects, least, int(options.max_hole / scene.unit))
    lut = np.concatenate([[0], ids[objects.pieces]]).astype(np.int32)
    return lut, _table(objects.rows, ids, scene, classes)


def _table(
    rows: np.ndarray, ids: np.ndarray, scene: InstanceInput, classes: ClassScheme
) -> pd.DataFrame:
    from selion.fields.basins import OUTSIDE

    own = (rows[:, seams.KIND] > 0) & (rows[:, seams.KIND] < OUTSIDE)
    count = int(ids.max(initial=0))
    pixels, area = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    np.add.at(pixels, ids, rows[:, seams.PIXELS])
    np.add.at(area, ids, rows[:, seams.AREA])
    first = np.unique(ids[own & (ids > 0)], return_index=True)[1]
    # of each object the row that is not a filled hole: it has the first pixel
    main = rows[np.flatnonzero(own & (ids > 0))[first]]
    score = main[:, seams.SURE] / np.maximum(main[:, seams.PIXELS], 1) / FULL
    names = np.array(classes.things, dtype=object)[main[:, seams.KIND] - 1]
    return pd.DataFrame(
        {
            "id": np.arange(1, count + 1, dtype=np.int64),
            "class": pd.array(names, dtype="string"),
            "score": score.astype(np.float32),
            "pixels": pixels[1:],
            "area": area[1:] * scene.unit,
        }
    )
