"""A refiner behind any model.

Its boundary probability parts what the model runs together, behind the same protocol.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from selion.classes import OUTLINE, ClassScheme
from selion.errors import BadInput
from selion.grid import Lattice
from selion.models.card import ModelCard
from selion.models.execution import identity_of
from selion.models.language.speaking import exact_speaking
from selion.models.loading import load_model
from selion.raster import Raster
from selion.segmenter import (
    Answers,
    InputSpec,
    LoadedModel,
    Scaling,
    Segmenter,
    View,
    as_model,
)

if TYPE_CHECKING:
    from selion.models.sam.network import EncodedImage, Prompted
    from selion.models.sam.segmenter import SamSegmenter

OWN = "own"
"""Instead of a refiner: the model's own boundary class."""
BOUNDARY = "boundary"
"""What the boundary class is called where the model has none."""
_VIEWS = 4
"""Views of a call at least: calls are made one at a time, so each has to keep several threads of
the engine at work."""

POINTS = 10
"""Points inside each part, and as many outside."""
ROUNDS = 3
"""How often a part is asked about: first with the coarse mask, then with the answer before."""
SURE = 8.0
"""Logits are cut at plus and minus this much: a mask decoder is sure of itself, and a softmax of
logits of hundreds has no second class."""


class Refined:
    """A model and a boundary network as one Segmenter.

    Parameters
    ----------
    base : Segmenter
        Any model of classes with things.
    refiner : Segmenter, optional
        Its classes have a boundary; all else that it says is not looked at.  None: the model's own
        boundary class.

    Raises
    ------
    BadInput
        If the base answers with objects or has no things, if there is no boundary class, or if no
        pixel size suits both.

    Notes
    -----
    With M the model's probability of anything that is a thing (or its boundary) and b that of the
    refiner's boundary, a thing's probability is its share of M times (1 - b), the boundary is M b,
    the rest is its own probability times (1 - b), and :data:`selion.classes.OUTLINE` is (1 - M) b.
    They sum to one, nothing is lost, and thing and boundary together are exactly M: where objects
    lie is the model's word, where they part the refiner's.  The majority class of each basin is
    decided on the stitched map (:func:`selion.fields.map_basins`).

    Each of the two sees windows of its own size: a model of smaller windows (a language model's
    patches) is asked about overlapping parts of the common window, and its answers are blended.
    """

    def __init__(self, base: Segmenter, refiner: Segmenter | None = None) -> None:
        self.base = as_model(base)
        self.refiner = None if refiner is None else as_model(refiner)
        _check(self.base, self.refiner)
        self.classes = refined_classes(base.classes)
        self.inputs = _common(base.inputs, (self.refiner or self.base).inputs)
        name = OWN if self.refiner is None else self.refiner.card.name
        card = pair_card(self.base, self.refiner, name)
        self.card = replace(card, inputs=self.inputs, classes=self.classes)
        self.gives: Answers = "probabilities"
        self.batch = math.lcm(_VIEWS, *(model.batch for model in self._models))
        self.at_once = 0
        """None: it remembers the wider image that it was asked about last."""
        self.engine = "; refined by ".join(model.engine for model in self._models)
        deciding = "; refined by ".join(str(model.identity["engine"]) for model in self._models)
        parts = _Parts(tuple(_part(model) for model in self._models))
        self.identity = identity_of("Refined", self.card, deciding, parts)
        self._context: tuple[Raster, Raster] | None = None

    @property
    def _models(self) -> list[LoadedModel[np.ndarray]]:
        return [self.base] if self.refiner is None else [self.base, self.refiner]

    def rest(self) -> None:
        """Let go of what was compiled or kept."""
        self._context = None
        for model in self._models:
            model.rest()

    def asked(self, windows: int) -> int:
        """Return about how many windows of its own the base sees in a number of common ones."""
        own, edge = self.base.inputs, self.inputs.window
        if own.window >= edge:
            return windows
        return windows * len(Lattice((edge, edge), own.window, own.overlap))

    def exact(self) -> Refined:
        """Load both again in float32."""
        return Refined(*(load_exact(model) for model in self._models))

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities.

        They are of the model's classes, the boundary and the outline.
        """
        said = self._ask(self.base, views)
        if self.refiner is None:
            return merge_boundary(said, self.base.classes, None)
        edge = self._ask(self.refiner, views)[:, _boundary_of(self.refiner.classes)]
        return merge_boundary(said, self.base.classes, edge)

    def _ask(self, model: LoadedModel[np.ndarray], views: Sequence[View]) -> np.ndarray:
        """Ask one of the two in windows that it knows; (view, class, y, x)."""
        shown = [self._shown(model, view) for view in views]
        size, own = shown[0].pixels.shape[1:], model.inputs.window
        if own >= self.inputs.window or max(size) <= own:
            return np.asarray(model(shown))
        lattice = Lattice((int(size[0]), int(size[1])), own, model.inputs.overlap)
        return np.stack([_by_parts(model, view, lattice) for view in shown])

    def _shown(self, model: LoadedModel[np.ndarray], view: View) -> View:
        """Give a model its own bands, and the wider image if it looks at one."""
        chosen = [self.inputs.bands.index(name) for name in model.inputs.bands]
        same = chosen == list(range(len(self.inputs.bands)))
        if model.inputs.context is None or view.context is None:
            return View(view.pixels if same else view.pixels[chosen], view.roi)
        context = view.context if same else self._context_of(view.context, chosen)
        return View(
            view.pixels if same else view.pixels[chosen], view.roi, context, view.context_roi
        )

    def _context_of(self, context: Raster, chosen: list[int]) -> Raster:
        """Select bands of a wider image.

        The same image gives the same object, because models keep what they have made of it.
        """
        if self._context is None or self._context[0] is not context:
            self._context = (
                context,
                Raster(
                    context.values[chosen],
                    context.grid,
                    tuple(context.bands[k] for k in chosen),
                    context.valid,
                ),
            )
        return self._context[1]


def refine_with_points(
    network: Prompted,
    image: np.ndarray,
    labels: np.ndarray,
    classes: ClassScheme,
    *,
    points: int = POINTS,
    seed: int = 0,
) -> np.ndarray:
    """Replace a coarse class map by the masks that Segment Anything gives for points inside it.

    Parameters
    ----------
    network : Prompted
    image : (3, y, x) float32 ndarray
        0 to 1.
    labels : (y, x) integer ndarray
        Coarse class ids; 0 is background.
    classes : ClassScheme
    points : int
        Drawn inside each 4-connected part of a class, and as many outside it.
    seed : int

    Returns
    -------
    (class, y, x) float32 ndarray
        Probabilities: a softmax over the largest logit of each class's parts, the background's
        being 0.

    Notes
    -----
    Text4Seg (Lan et al., ICLR 2025, arXiv 2410.09855): its masks of 16 x 16 cells are refined by
    SAM, which is given the coarse mask as logits and ten points inside and outside of it, and asked
    twice more with its own answer instead of the mask.  There a mask is of one object that was
    referred to; here each part of a class is asked for by itself.
    """
    scores = np.full((len(classes), *labels.shape), -SURE, np.float32)
    scores[0] = 0
    encoded = network.encode(image)
    rng = np.random.default_rng(seed)
    for kind in range(1, len(classes)):
        parts, count = ndimage.label(labels == kind)
        for part in range(1, count + 1):
            found = _ask_about(network, encoded, parts == part, points, rng)
            np.maximum(scores[kind], np.clip(found, -SURE, SURE), out=scores[kind])
    power = np.exp(scores - scores.max(0))
    return (power / power.sum(0)).astype(np.float32)


def _ask_about(
    network: Prompted,
    encoded: EncodedImage,
    mask: np.ndarray,
    points: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Ask for the object that a coarse mask means; (y, x) float32 logits."""
    inside, outside = _within(mask, points, rng), _within(~mask, points, rng)
    places, given = (
        np.concatenate([inside, outside]),
        np.repeat([1, 0], [len(inside), len(outside)]),
    )
    known = network.coarse(encoded, mask)
    for _ in range(ROUNDS):
        known = network.ask(encoded, places[None], given[None], several=False, mask=known)[0][0]
    found: np.ndarray = network.enlarge(encoded, known)[0].cpu().numpy()
    return found


def _within(mask: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to so many different pixels of a mask; (point, 2) x and y."""
    places = np.flatnonzero(mask)
    chosen = rng.choice(places, min(points, len(places)), replace=False)
    return np.stack([chosen % mask.shape[1], chosen // mask.shape[1]], 1).astype(np.float64)


class PointRefined:
    """A model of coarse masks and Segment Anything as one Segmenter.

    The points of a window follow from its place.

    Parameters
    ----------
    base : Segmenter
    prompted : SamSegmenter
        As :func:`selion.models.load_model` gives it for a checkpoint of Segment Anything.

    Raises
    ------
    BadInput
        If the base answers with objects, or the two want other bands.
    """

    def __init__(self, base: LoadedModel[np.ndarray], prompted: SamSegmenter) -> None:
        if base.gives == "objects" or base.inputs.bands != prompted.inputs.bands:
            raise BadInput(
                "Segment Anything refines probabilities of the bands "
                f"{', '.join(prompted.inputs.bands)}; the model answers with {base.gives} of "
                f"{', '.join(base.inputs.bands)}: take another refiner, or omit --refine."
            )
        self.base, self.prompted = base, prompted
        self.inputs, self.classes = base.inputs, base.classes
        self.gives: Answers = "probabilities"
        self.batch, self.at_once = 1, 0
        self.engine = f"{base.engine}; refined by {prompted.engine}"
        self.card = pair_card(base, prompted, prompted.card.name)
        deciding = f"{base.identity['engine']}; refined by {prompted.identity['engine']}"
        # how a base that speaks is asked decides, too
        said = (base.identity["options"],) if "options" in base.identity else ()
        parts = (dict(self.card.files), POINTS, *said)
        self.identity = identity_of("PointRefined", self.card, deciding, parts)
        self._shown = _picture_scaling(base.inputs.scaling, prompted.inputs.scaling)

    def rest(self) -> None:
        """Let go of what was compiled or kept."""
        self.base.rest()
        self.prompted.rest()

    def exact(self) -> Refined | PointRefined:
        """Load both again in float32."""
        prompted = self.prompted.card
        loaded = load_exact(self.base)
        return refine(loaded, prompted.folder or prompted.name)

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities."""
        said = self.base(views).argmax(1)
        found = [
            refine_with_points(
                self.prompted.network,
                self._shown(view.pixels),
                labels,
                self.classes,
                seed=view.roi[0].start * 100_003 + view.roi[1].start,
            )
            for view, labels in zip(views, said, strict=True)
        ]
        return np.stack(found)


def _picture_scaling(base: Scaling, prompted: Scaling) -> Scaling:
    """Return what makes a picture of 0 to 1 of the numbers that the base is fed.

    A checkpoint of Segment Anything takes bytes, and the numbers are the base's.  Where the base
    makes a picture of them itself it is shown that one.
    """
    if base.clip == (0.0, 1.0) or not any(base.subtract):
        return replace(base, clip=(0.0, 1.0))
    return prompted


_: tuple[type[LoadedModel[np.ndarray]], ...] = (Refined, PointRefined)


def refine(
    base: LoadedModel[Any],
    refiner: str | Path,
    engine: str = "auto",
    *,
    fast: bool = False,
    threads: int | None = None,
) -> Refined | PointRefined:
    """Put a refiner behind a loaded model.

    Parameters
    ----------
    base : LoadedModel
        From :func:`selion.models.load_model`.
    refiner : str or path
        A model's name or folder; "own" for the base's own boundary class; or a checkpoint of
        Segment Anything, which is asked with points of the mask.
    engine, fast, threads
        As :func:`selion.models.load_model`.

    Raises
    ------
    BadInput
        As :class:`Refined`; and all that loading raises.
    """
    if refiner == OWN:
        return Refined(base)
    loaded = load_model(refiner, engine, fast=fast, threads=threads)
    for model in (base, loaded):
        if model.inputs.dates:
            raise BadInput(
                f"{model.card.name} looks at any number of dates, and a refiner and its model at "
                "the same bands: take another, or the model's own boundary."
            )
    if loaded.gives == "objects":
        from selion.models.sam.segmenter import SamSegmenter

        if isinstance(loaded, SamSegmenter):
            return PointRefined(base, loaded)
    return Refined(base, loaded)


def load_refined(
    name: str | Path,
    refiner: str | Path | None,
    engine: str = "auto",
    *,
    fast: bool = False,
    threads: int | None = None,
    speaking: Mapping[str, Any] | None = None,
) -> LoadedModel[Any]:
    """Load a model, and behind it a refiner if one is named.

    Parameters and errors as :func:`selion.models.load_model` and :func:`refine`.
    """
    base = load_model(name, engine, fast=fast, threads=threads, speaking=speaking)
    return base if refiner is None else refine(base, refiner, engine, fast=fast, threads=threads)


def load_exact(model: LoadedModel[Any]) -> LoadedModel[Any]:
    """Load a model again, with its refiner if it has one, in float32."""
    if isinstance(model, Refined | PointRefined):
        return model.exact()
    card = model.card
    if not isinstance(card, ModelCard):
        return load_model(card.name, fast=False)
    return load_model(card.folder or card.name, fast=False, speaking=exact_speaking(card))


def refined_classes(classes: ClassScheme) -> ClassScheme:
    """Return a model's classes with a boundary, if they have none, and the outline.

    Raises
    ------
    BadInput
        If a name is taken.
    """
    added = ([] if classes.boundary else [BOUNDARY]) + [OUTLINE]
    taken = [name for name in added if name in classes.names]
    if taken:
        raise BadInput(
            f"The model has a class {taken[0]!r}, which a refiner adds: refine the model behind "
            "it, or give that class another name."
        )
    colours = (
        (*classes.colours, *(["#ffd500"] if not classes.boundary else []), "#7f6a00")
        if classes.colours
        else ()
    )
    least = (*classes.least_area, *(0.0 for _ in added)) if classes.least_area else ()
    return ClassScheme(
        (*classes.names, *added), classes.things, classes.boundary or BOUNDARY, colours, least
    )


def merge_boundary(said: np.ndarray, classes: ClassScheme, edge: np.ndarray | None) -> np.ndarray:
    """Combine a model's probabilities with a refiner's boundary.

    Parameters
    ----------
    said : (view, class, y, x) float32 ndarray
        Probabilities of ``classes``.
    classes : ClassScheme
    edge : (view, y, x) float32 ndarray, optional
        Probability of the boundary, 0 to 1; None: the model's own boundary stays as it is.

    Returns
    -------
    (view, class + 1 or 2, y, x) float32 ndarray
        Probabilities of :func:`refined_classes`, see :class:`Refined`.
    """
    things = [classes.index(name) for name in classes.things]
    own = classes.index(classes.boundary) if classes.boundary else None
    if edge is None:
        return np.concatenate([said, np.zeros_like(said[:, :1])], 1)
    line = np.clip(edge, 0, 1).astype(np.float32)[:, None]
    inner = said[:, things].sum(1, keepdims=True)
    mass = inner if own is None else inner + said[:, own : own + 1]
    # where the model is sure of its own boundary, nothing is said of the thing beside it
    known = inner > 1e-6
    out = said * (1 - line)
    out[:, things] = (
        np.where(known, said[:, things] / np.maximum(inner, 1e-6), 1 / len(things))
        * mass
        * (1 - line)
    )
    extra = [(1 - mass) * line]
    if own is None:
        extra.insert(0, mass * line)
    else:
        out[:, own : own + 1] = mass * line
    return np.concatenate([out, *extra], 1).clip(0, 1).astype(np.float32, copy=False)


def _by_parts(model: LoadedModel[np.ndarray], view: View, lattice: Lattice) -> np.ndarray:
    """Ask about overlapping parts of a window and blend, each part weighing most at its middle.

    (class, y, x) float32.
    """
    ramp = np.minimum(
        np.arange(lattice.window) + 1, lattice.window - np.arange(lattice.window)
    ).astype(np.float32)
    weight = ramp[:, None] * ramp[None, :]
    rois = [
        lattice.window_roi(row, column)
        for row in range(len(lattice.starts[0]))
        for column in range(len(lattice.starts[1]))
    ]
    corner = view.roi[0].start, view.roi[1].start
    placed = [
        tuple(
            slice(side.start + start, side.stop + start)
            for side, start in zip(roi, corner, strict=True)
        )
        for roi in rois
    ]
    parts = [
        View(view.pixels[:, *roi], place, view.context, view.context_roi)  # type: ignore[arg-type]
        for roi, place in zip(rois, placed, strict=True)
    ]
    total = np.zeros((len(model.classes), *lattice.shape), np.float32)
    weights = np.zeros(lattice.shape, np.float32)
    for roi, answer in zip(rois, model(parts), strict=True):
        total[:, *roi] += answer * weight
        weights[roi] += weight
    return total / weights


@dataclass(frozen=True, slots=True)
class _Parts:
    """What tells a pair from another: a name of the type, the card's name and files, options."""

    parts: tuple[str, ...]

    def __repr__(self) -> str:
        return f"({', '.join(self.parts)}{',' * (len(self.parts) == 1)})"


def _part(model: LoadedModel[Any]) -> str:
    card, options = model.card, model.identity.get("options", "None")
    return f"({model.identity['type']!r}, {card.name!r}, {dict(card.files)!r}, {options})"


def _check(base: LoadedModel[Any], refiner: LoadedModel[Any] | None) -> None:
    for model in (base, refiner):
        if model is not None and model.gives == "objects":
            raise BadInput(
                f"{model.card.name} returns objects, not probabilities, and --refine takes "
                "probabilities of both: omit it, or choose another model."
            )
    if not base.classes.things:
        raise BadInput(
            f"{base.card.name} has the classes {', '.join(base.classes.names)}, of which none "
            "comes as objects: only a class without objects can be split into objects."
        )
    parting = base if refiner is None else refiner
    if parting.classes.boundary is None:
        cure = (
            "name a refiner with --refine MODEL"
            if refiner is None
            else "take a model with a boundary class, such as one of 'selion train epoc'"
        )
        raise BadInput(
            f"{parting.card.name} has the classes {', '.join(parting.classes.names)}, and none of "
            f"them is a boundary: {cure}."
        )


def _boundary_of(classes: ClassScheme) -> int:
    return classes.index(classes.boundary or BOUNDARY)


def _common(base: InputSpec, refiner: InputSpec) -> InputSpec:
    """Return what both can be fed: all bands, the larger window, pixel sizes that suit both."""
    multiple = math.lcm(base.multiple, refiner.multiple)
    window = -(-max(base.window, refiner.window) // multiple) * multiple
    bands = (*base.bands, *(name for name in refiner.bands if name not in base.bands))
    # each of the two scales by itself; the first one's scaling is shown because images are judged
    # by it
    scaling = (
        base.scaling
        if bands == base.bands
        else replace(base.scaling, divide=(1.0,), subtract=(0.0,), clip=None)
    )
    return replace(
        base,
        bands=bands,
        scaling=scaling,
        gsd=_gsd(base.gsd, refiner.gsd),
        window=window,
        multiple=multiple,
    )


def _gsd(
    base: tuple[float, float] | None, refiner: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Return the pixel sizes in metres at which both are at home.

    One that takes pixels as they are takes the other's.
    """
    if base is None or refiner is None:
        return base or refiner
    both = max(base[0], refiner[0]), min(base[1], refiner[1])
    if both[0] > both[1]:
        raise BadInput(
            f"The model was trained on pixels of {base[0]:g} to {base[1]:g} m, the refiner on "
            f"{refiner[0]:g} to {refiner[1]:g} m: no image suits both."
        )
    return both


def card_of(model: LoadedModel[Any]) -> ModelCard:
    """Return a model's card; one is made for a model that has none."""
    card = model.card
    return (
        card if isinstance(card, ModelCard) else ModelCard(card.name, model.inputs, model.classes)
    )


def pair_card(base: LoadedModel[Any], refiner: LoadedModel[Any] | None, name: str) -> ModelCard:
    """Describe a pair.

    What was said of the base alone (scores, calibration) does not hold for it.

    Parameters
    ----------
    base : LoadedModel
    refiner : LoadedModel, optional
        None: the base refines itself.
    name : str
        What the refiner is called.
    """
    own = card_of(base)
    cards = {"base": own}
    if refiner is not None and isinstance(refiner.card, ModelCard):
        cards["refiner"] = refiner.card
    licences = dict.fromkeys(card.licence or "licence not stated" for card in cards.values())
    return replace(
        own,
        name=f"{own.name} refined by {name}",
        licence="; ".join(licences),
        files={
            f"{part}: {file}": sha256
            for part, card in cards.items()
            for file, sha256 in card.files.items()
        },
        scores={},
        calibration={},
    )
