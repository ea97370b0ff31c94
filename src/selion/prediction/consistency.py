"""Whether a model says the same of a place whatever window it lies in, and however it is turned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion.errors import BadInput
from selion.grid import Lattice, Roi
from selion.prediction.planning import Pose, PredictionPlan
from selion.prediction.readback import JournalSource
from selion.prediction.scores import NODATA, SCORE_BYTES, STEPS, dequantise
from selion.raster import Raster, Source
from selion.segmenter import LoadedModel

CORNERS: tuple[tuple[tuple[int, int], Pose], ...] = (
    ((0, 0), (0, False)),
    ((0, 1), (0, True)),
    ((1, 0), (2, True)),
    ((1, 1), (2, False)),
)
"""The passes: which axes (y, x) the windows are shifted along by half their distance, and the pose:
as it is, left and right exchanged, top and bottom exchanged, both."""
CONSISTENCY = "consistency"
DEFINITION = (
    "share of the pairs of passes that answer with the same class: 1 where all agree; the share of "
    "pixels with 1 is PRUE's consistency (arXiv 2603.27101, equation 1)"
)


def consistency_passes(plan: PredictionPlan, model: LoadedModel[Any]) -> tuple[PredictionPlan, ...]:
    """Return the passes over the image whose classes are compared.

    Four, as PRUE compares four crops of a chip: windows as they are, shifted by half of their
    distance to the right, down, and both, each in a mirrored pose of its own.  The first is the map
    itself where that has no flips.  In an image not larger than a window there is nothing to shift,
    and poses alone differ.

    Parameters
    ----------
    plan : PredictionPlan
        That of the map.
    model : LoadedModel
        What it was made for.

    Raises
    ------
    BadInput
        If the model answers with objects, or sees a wider image too, which is not mirrored.
    """
    why = ""
    if model.gives == "objects":
        why = "it returns objects, whose pixels have no classes to compare"
    elif plan.context is not None:
        why = "it also sees a wider image, which is not mirrored with the window"
    if why:
        raise BadInput(
            f"--consistency has no effect with {model.card.name}, because {why}: omit it, or "
            "choose another model."
        )
    lattice = plan.lattice
    half = lattice.stride // 2 // lattice.step * lattice.step
    return tuple(
        _posed(plan, replace(lattice, shift=(half * down, half * right)), pose)
        for (down, right), pose in CORNERS
    )


def _posed(plan: PredictionPlan, lattice: Lattice, pose: Pose) -> PredictionPlan:
    """Return the plan with other windows and pose; its key says so where they are unusual."""
    road: dict[str, Any] = {"flips": False}
    if any(lattice.shift):
        road["shift"] = list(lattice.shift)
    if pose != (0, False):
        road["pose"] = list(pose)
    return replace(plan, lattice=lattice, pose=pose, flips=False, decided={**plan.decided, **road})


def agreement(stored: Sequence[np.ndarray]) -> np.ndarray:
    """Compare the classes of several passes, pixel by pixel.

    Parameters
    ----------
    stored : sequence of (class, y, x) uint8 ndarray
        Scores of two passes or more as bytes; 255 is no data.

    Returns
    -------
    (y, x) uint8 ndarray
        254 times the share of pairs of passes whose class of the highest score is the same, rounded
        (the first of equal scores counts); 255 where a pass has no data.

    Notes
    -----
    For each pixel the agreement between raters of J. L. Fleiss (1971), Measuring nominal scale
    agreement among many raters.  Of four passes 1, 0.5, 0.333, 0.167 or 0.

    Examples
    --------
    >>> one, other = np.array([[[[200]], [[54]]], [[[50]], [[204]]]], np.uint8)
    >>> agreement([one, one, one, other]).tolist(), agreement([one, other]).tolist()
    ([[127]], [[0]])
    """
    said = np.stack([scores.argmax(0) for scores in stored])
    count = len(said)
    pairs = np.zeros(said.shape[1:], np.int32)
    for first in range(count):
        for second in range(first + 1, count):
            pairs += said[first] == said[second]
    shares: np.ndarray = np.rint(pairs * (2 * STEPS / (count * (count - 1)))).astype(np.uint8)
    for scores in stored:
        shares[(scores == NODATA).any(0)] = NODATA
    return shares


@dataclass(frozen=True, eq=False)
class ConsistencySource:
    """The agreement of finished passes, as a raster of one band; see :func:`agreement`."""

    passes: tuple[JournalSource, ...]

    @property
    def grid(self) -> GeoBox:
        """That of the map."""
        return self.passes[0].grid

    @property
    def bands(self) -> tuple[str, ...]:
        """One band."""
        return (CONSISTENCY,)

    @property
    def dtype(self) -> np.dtype:
        """Read as float32."""
        return np.dtype(np.float32)

    @cached_property
    def tags(self) -> dict[str, str]:
        """What the raster says of itself: what is compared, and what its bytes mean."""
        plans = [one.plan for one in self.passes]
        said = {
            "definition": DEFINITION,
            "passes": [{"shift": list(p.lattice.shift), "pose": list(p.pose)} for p in plans],
            **SCORE_BYTES,
            "meaning": "value / 254 = consistency; 255 = no data",
        }
        made = {"selion": selion.__version__, "key": plans[0].key, **plans[0].decided}
        return {CONSISTENCY: json.dumps(said), "provenance": json.dumps(made, sort_keys=True)}

    def stored(self, roi: Roi) -> np.ndarray:
        """Return the (1, y, x) uint8 agreement of a region."""
        return agreement([one.stored(roi) for one in self.passes])[None]

    def read(self, roi: Roi) -> Raster:
        """Return the (1, y, x) float32 agreement of a region, 0 to 1."""
        shares, valid = dequantise(self.stored(roi))
        return Raster(shares, self.grid[roi], self.bands, valid, self.tags)


_: type[Source] = ConsistencySource
