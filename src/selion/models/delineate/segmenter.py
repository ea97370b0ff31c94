"""Delineate Anything: a YOLO that draws fields.

It goes through ultralytics, which is under AGPL-3.0 and therefore kept apart.

Nothing of selion imports ultralytics until a user names a model of this kind; it comes with its own
extra, ``pip install 'selion[delineate]'``, and whoever distributes a work with it, or offers one
over a network, has to keep to the AGPL-3.0.  The published weights are pickles; they are taken as
ONNX only.

Lavreniuk et al., Delineate Anything: Resolution-Agnostic Field Boundary Delineation on Satellite
Imagery, arXiv 2504.02534.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput, MissingExtra, UnreadableFile
from selion.extras import available
from selion.grid import photo_grid
from selion.labels import Instances
from selion.models.card import GRAPH, ModelCard, options_of
from selion.models.execution import CardModel, Execution
from selion.models.feed import check_views
from selion.models.objects import scored_objects
from selion.segmenter import LoadedModel, View

FORMAT = "ultralytics"


@dataclass(frozen=True, slots=True)
class DelineateOptions:
    """What is asked of the detector.

    The confidence is that of the authors' own inference, the rest are ultralytics' defaults.  A
    card's architecture may say others: PRUE's comparison takes a confidence of 0.05, an overlap of
    0.3 and at most 100 fields.
    """

    size: int = 512
    """Edge in pixels to which a window is resized before the network sees it."""
    confidence: float = 0.175
    """Least confidence of a field."""
    overlap: float = 0.7
    """Most intersection over union of two boxes."""
    at_most: int = 300
    """Fields per window."""

    def __post_init__(self) -> None:
        counts = (self.size, self.at_most)
        if min(counts) < 1 or not all(0 <= v <= 1 for v in (self.confidence, self.overlap)):
            raise BadInput(f"{self} was given; wanted are counts from 1, and shares from 0 to 1.")


def delineate_options(architecture: Mapping[str, Any]) -> DelineateOptions:
    """Read options from a card's architecture; errors as :func:`selion.models.card.options_of`."""
    return options_of(DelineateOptions, architecture)


def to_instances(result: Any, shape: tuple[int, int], classes: ClassScheme) -> Instances:
    """Turn what ultralytics found in one window into objects.

    Parameters
    ----------
    result : ultralytics.engine.results.Results
        ``result.masks`` is None where nothing was found; else ``result.masks.data`` is (n, y, x), 0
        or 1 (uint8 in release 8.4), and ``result.boxes.conf`` (n,) float32.
    shape : (y, x)
        Of the window: masks must be on its pixels (``retina_masks=True``).
    classes : ClassScheme
        Objects are the first of its things.

    Returns
    -------
    Instances
        Where fields lie on each other, the surer one has the pixel.

    Raises
    ------
    BadInput
        If the masks are not on the window's pixels.
    """
    ids = np.zeros(shape, np.int32)
    if result.masks is None:
        return Instances(ids, photo_grid(shape))
    masks = _array(result.masks.data) > 0.5
    sure = _array(result.boxes.conf).astype(np.float64)
    if masks.shape != (len(sure), *shape):
        raise BadInput(
            f"The detector returned masks of shape {masks.shape} with {len(sure)} confidences; "
            f"wanted is (object, y, x) on a window of {shape} pixels."
        )
    for k in np.argsort(sure, kind="stable"):
        ids[masks[k]] = k + 1
    return scored_objects(ids, sure, classes)


def _array(values: Any) -> np.ndarray:
    """Return a tensor, on whatever device, as an array."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


class Delineator(CardModel):
    """A card and a detector.

    Parameters
    ----------
    card : ModelCard
        Its ``inputs.scaling`` brings pixels to 0 .. 1; objects are the first of the classes'
        things.
    detector : ultralytics.YOLO
    device : str
    options : DelineateOptions, optional
        By default what the card's architecture says.
    """

    gives = "objects"

    def __init__(
        self,
        card: ModelCard,
        detector: Any,
        device: str = "cpu",
        options: DelineateOptions | None = None,
        reason: str = "",
    ) -> None:
        self.options = options or delineate_options(card.architecture)
        self._detector, self._device = detector, device
        execution = Execution(f"ultralytics (AGPL-3.0) on {device.upper()}", reason=reason)
        super().__init__("Delineator", card, execution, self.options)

    def __call__(self, views: Sequence[View]) -> list[Instances]:
        """Return the objects of each view.

        Raises
        ------
        BandMismatch, BadInput
            If views have not three bands, or the answer does not fit them.
        """
        check_views(views, self.card)
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Instances:
        shares = np.clip(self.card.inputs.scaling(view.pixels), 0, 1)
        # ultralytics wants (y, x, band), blue first
        pixels = np.ascontiguousarray(
            np.rint(255 * shares[::-1]).astype(np.uint8).transpose(1, 2, 0)
        )
        found = self._detector.predict(
            pixels,
            imgsz=self.options.size,
            conf=self.options.confidence,
            iou=self.options.overlap,
            max_det=self.options.at_most,
            retina_masks=True,
            device=self._device,
            verbose=False,
        )
        height, width = view.pixels.shape[1:]
        return to_instances(found[0], (height, width), self.classes)


_: type[LoadedModel[list[Instances]]] = Delineator


def load_delineate(
    card: ModelCard,
    folder: Path,
    device: str,
    *,
    fast: bool = False,  # noqa: ARG001
    reason: str = "",
) -> Delineator:
    """Load the detector of a card, in float32 whatever ``fast`` says.

    Raises
    ------
    MissingExtra
        If ultralytics is not installed.
    UnreadableFile
        If the folder has no ONNX graph.
    """
    if not (folder / GRAPH).is_file():
        raise UnreadableFile(
            f"{folder} has no {GRAPH}: make it with 'yolo export' and 'selion models import', as "
            f"'selion models show {card.name}' says."
        )
    if not available("ultralytics"):
        raise MissingExtra(
            f"{card.name} needs ultralytics, which is under AGPL-3.0 and not installed: if its "
            "terms suit you, pip install 'selion[delineate]'."
        )
    detector = importlib.import_module("ultralytics").YOLO(str(folder / GRAPH), task="segment")
    return Delineator(card, detector, device, reason=reason)
