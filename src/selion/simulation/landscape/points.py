"""Where the survey stands: a point of the view, the parcel it lies in, the landscape's numbers.

The kernels' scalars travel in named tuples, which cost nothing in compiled code.  Arrays do not:
taking one out of a tuple for every pixel would cost more than the pixel, for reference counts are
atomic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Setting(NamedTuple):
    """Numbers that hold for a whole landscape.

    See :class:`selion.simulation.landscape.cover.LandscapeCover`.
    """

    salt: np.uint64
    step: float
    """Size of a fine pixel in metres."""
    warp: float
    bend: float
    river: float
    streams: float
    pixel_wood: float
    ox: float
    oy: float
    trees: float


class Position(NamedTuple):
    """A point in metres: from the view's upper left corner, and in the noise."""

    px: float
    py: float
    x: float
    y: float


class Leaf(NamedTuple):
    """The leaf that a point lies in."""

    leaf: int
    kind: int
    style: int
    own: np.uint64
    """The leaf's randomness."""
    key: np.uint64
    """That of the field it is farmed with."""


class Point(NamedTuple):
    """A point in its parcel: metres along and across it, place in the noise, raggedness."""

    s: float
    t: float
    x: float
    y: float
    ragged: float
