"""Objects out of probabilities, found as the probabilities want it: in memory, or of any size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput
from selion.fields.instancemap import BlockCutter, begin_by_class, map_by_class
from selion.fields.instances import InstanceOptions, conclude, cut, find_by_class, prepare
from selion.fields.majority import find_basins, is_refined, map_basins
from selion.fields.node_score import CUT, CutSettings, NodeScore, score_of
from selion.fields.polygonise import Run
from selion.grid import whole
from selion.labels import Instances
from selion.raster import Raster, Source
from selion.segmenter import Card, LoadedModel
from selion.store.instancemap import InstanceMap

ONE_PIXEL = 1e-3
"""Metres of smoothing that are one pixel on every grid: the least that there is but none."""


def choose_method(
    method: str, options: InstanceOptions, classes: ClassScheme, card: Card | None
) -> tuple[str, InstanceOptions]:
    """Decide how the objects of a model's probabilities are found.

    Parameters
    ----------
    method : {"auto", "watershed", "components", "vote", "cut"}
        "auto": "cut" where the model's card has a learnt score, else "watershed"; also where a
        refiner changed the probabilities, which the score was not learnt on.
    options : InstanceOptions
    classes : ClassScheme
        Of the probabilities.
    card : Card or None
        Of the model; None: it is not known.

    Returns
    -------
    str
        A method that :func:`find_instances` knows.
    InstanceOptions
        With the learnt score, if the method needs one.

    Raises
    ------
    BadInput
        If "cut" is asked for and there is no learnt score, or a refiner changed what it reads.
    UnreadableFile
        If the score cannot be read.
    """
    if method == "auto":
        learnt = card is not None and CUT in card.files and card.folder is not None
        method = "cut" if learnt and not is_refined(classes) else "watershed"
    if method == "cut" and is_refined(classes):
        raise BadInput(
            "Method 'cut' was asked for behind a refiner; a score is learnt on a model's own "
            "probabilities: use --method watershed, or no refiner."
        )
    if method == "watershed" and is_written(card) and classes.boundary:
        options = as_written(options)
    if method != "cut" or options.score is not None or card is None:
        return method, options
    return method, replace(options, score=score_of(card))


def is_written(card: Card | None) -> bool:
    """Say whether a card is of a language model, which writes masks in cells."""
    return getattr(card, "architecture", {}).get("family") == "language"


def as_written(options: InstanceOptions) -> InstanceOptions:
    """Return how objects are parted by a boundary that was written: smoothed by one pixel only.

    It is one cell wide, and smoothing, which is for noisy probabilities, would close it; with none
    at all the boundary's own pixels, which are all alike, fall to whichever side.  Where
    ``options`` asks for something else than the default, that holds.
    """
    same = options.smoothing == InstanceOptions().smoothing
    return replace(options, smoothing=ONE_PIXEL) if same else options


def _settled(
    classes: ClassScheme | LoadedModel[Any], method: str, options: InstanceOptions | None
) -> tuple[ClassScheme, str, InstanceOptions]:
    """Return the classes, the method and its options of whoever made the probabilities."""
    scheme = classes if isinstance(classes, ClassScheme) else classes.classes
    card = None if isinstance(classes, ClassScheme) else classes.card
    return scheme, *choose_method(method, options or InstanceOptions(), scheme, card)


def _by_majority(classes: ClassScheme, method: str) -> bool:
    """Say whether objects are found without asking for the class, and vote for it then.

    BoundaryVote knows one class of objects, so with several that is how it finds them.
    """
    return is_refined(classes) or (method == "vote" and len(classes.things) > 1)


def _check_cover(cover: str, classes: ClassScheme, method: str) -> None:
    """Refuse (BadInput) to let objects cover all where they are found class by class."""
    if cover == "all" and not _by_majority(classes, method):
        raise BadInput(
            f"--cover {cover} has no effect on the classes {', '.join(classes.names)}, which no "
            "boundary model refined: add --refine, or leave it out."
        )


def find_instances(
    probs: Raster,
    classes: ClassScheme | LoadedModel[Any],
    method: str = "auto",
    options: InstanceOptions | None = None,
    cover: str = "mask",
) -> Instances:
    """Find the objects in a probability map that fits in memory.

    Parameters
    ----------
    probs : Raster
        (class, y, x) probabilities: floats from 0 to 1, or uint8 or uint16 that span their whole
        range.
    classes : ClassScheme or LoadedModel
        With ``things``, and with ``boundary`` if objects touch each other; of a model its classes
        and, if it has one, its learnt score of fields.
    method : {"auto", "watershed", "components", "vote", "cut"}
        How objects that touch are parted, see :data:`selion.fields.METHODS`.  "auto": "cut" for a
        model with a learnt score, else "watershed" (:func:`choose_method`).
    options : InstanceOptions, optional
        "cut" needs its ``score``, unless a model is given that has one.
    cover : {"mask", "all"}
        Only for classes that a refiner made: where objects may lie, see
        :class:`selion.fields.majority.Solid`.

    Returns
    -------
    Instances
        Ids 1 .. n in the order of first pixels; table with ``id``, ``class``, ``score`` (mean
        probability; for "cut" that of being one field), ``pixels`` and ``area`` (m2; px2 for a
        photograph).

    Raises
    ------
    UnknownName
        If there is no such method.
    BandMismatch
        If the number of bands is not that of the classes.
    BadInput
        If the scheme has no things, or the values are no probabilities.

    Notes
    -----
    The relief is one minus the probability of the thing, smoothed.  Basins are the drainage forest
    of the relief (each pixel drains to its lowest 4-neighbour), joined over the passes between them
    in the order of height (Najman and Schmitt 1996, dynamics of contours).  Every step is either
    local or on tables, so :func:`selion.fields.map_instances` gives the same objects block by
    block.

    "vote" is BoundaryVote as the published second edition of global fields used it: the objects
    of ``fbp.BoundaryVote(..., fast=True)`` (ftw-fbp 0.2.0), pixel by pixel, with the parameters of
    :class:`selion.fields.VoteOptions`.  Its seeds are the maxima of one minus the probability of
    boundary that are deep enough, a flood from them proposes lines, and a line stays if enough of
    its pixels are more boundary than field (:mod:`selion.fields.votemap`).

    "cut" joins the basins further, the pair with the weakest mean border first, until all is one
    (binary partition tree), scores every node of that tree, and takes the disjoint ones of the
    largest summed score (:mod:`selion.fields.cutting`).

    Probabilities with a refined boundary are cut without asking for the class, and each object then
    votes for its own (:func:`selion.fields.find_basins`).
    """
    scheme, method, options = _settled(classes, method, options)
    _check_cover(cover, scheme, method)
    if _by_majority(scheme, method):
        return find_basins(probs, scheme, method, options, cover)
    return find_by_class(probs, scheme, method, options)


def map_instances(
    probs: Source,
    classes: ClassScheme | LoadedModel[Any],
    workspace: str | os.PathLike[str],
    method: str = "auto",
    options: InstanceOptions | None = None,
    *,
    cover: str = "mask",
    block: int = 2048,
    run: Run = map,
    begun: BlockCutter | None = None,
) -> InstanceMap:
    """Find the objects in a probability map of any size.

    Parameters
    ----------
    probs : Source
        (class, y, x) probabilities, as for :func:`selion.fields.find_instances`.
    classes, method, options, cover
        As there.
    workspace : path
        A folder, made if need be, that gets ``ids.npy``, ``objects.parquet`` and
        ``instances.json``; what it held under these names is replaced.
    block : int
        Edge of a block in pixels.  It decides about memory and speed, never about the result.
    run : callable
        ``map`` or an executor's ``map``: blocks are independent.
    begun : BlockCutter, optional
        From :func:`selion.fields.begin_instances` with the same arguments; blocks that it has cut
        are not cut again.

    Returns
    -------
    InstanceMap
        The same ids and table, to the last bit, as :func:`selion.fields.find_instances` on the
        whole.

    Raises
    ------
    UnknownName, BandMismatch, BadInput
        As there.
    OutputFailed
        If the workspace cannot be written, or has no room for the ids (4 bytes per pixel).
    """
    scheme, method, options = _settled(classes, method, options)
    _check_cover(cover, scheme, method)
    if _by_majority(scheme, method):
        return map_basins(
            probs, scheme, workspace, method, options, cover=cover, block=block, run=run
        )
    return map_by_class(
        probs, scheme, workspace, method, options, block=block, run=run, begun=begun
    )


def begin_instances(
    probs: Source,
    classes: ClassScheme | LoadedModel[Any],
    workspace: str | os.PathLike[str],
    method: str = "auto",
    options: InstanceOptions | None = None,
    *,
    block: int = 2048,
) -> BlockCutter | None:
    """Begin :func:`map_instances` before all probabilities are known.

    Parameters and errors as there.

    Returns
    -------
    BlockCutter or None
        Its ``ahead(region)`` is called for the ``regions`` whose ``frame`` is known, from whichever
        thread; then it is given to :func:`map_instances`.  None where the objects of this method
        and these classes are not found block by block in this way.
    """
    scheme, method, options = _settled(classes, method, options)
    if method == "vote" or _by_majority(scheme, method):
        return None
    return begin_by_class(probs, scheme, workspace, method, options, block=block)


def find_by_settings(
    probs: Raster,
    classes: ClassScheme,
    score: NodeScore,
    settings: Sequence[CutSettings],
    options: InstanceOptions,
) -> Iterator[np.ndarray]:
    """Yield the objects of "cut" by several settings of one score; basins are drained once.

    Parameters
    ----------
    probs, classes, options
        As of :func:`selion.fields.find_instances`.
    score : NodeScore
    settings : sequence of CutSettings
        With the smoothing and the depth of the score's own.

    Yields
    ------
    (y, x) int32 ndarray
        Ids, 0 for none: those that a score with these settings gives.
    """
    options = replace(options, score=score)
    scene = prepare(probs, classes, "cut", options)
    labels, block = cut(probs, whole(probs.grid), scene)
    for one in settings:
        chosen = replace(options, score=replace(score, settings=one))
        yield conclude([block], scene, classes, "cut", chosen)[0][labels]
