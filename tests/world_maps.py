"""Copies of the published world for tests of maps, and how maps are compared with the planted."""

from __future__ import annotations

import numpy as np
import shapely

from selion.simulation.published import simulate_published

TILE = 512


class Copies:
    """Scene -> copy of 2025, each made once."""

    def __init__(self, folders):
        self.folders, self.made = folders, {}

    def __call__(self, scene):
        if scene not in self.made:
            folder = self.folders.mktemp(scene) / "world"
            self.made[scene] = simulate_published(folder, scene, years=(2025,), tile=TILE)
        return self.made[scene]


def name(copy, product=""):
    return f"ftw-2e{product}@{copy.address}"


def area(copy):
    return ",".join(str(side) for side in copy.area)


def matched(truth, found):
    """IoU of each true field with its best match, and how many fields lie mostly in it."""
    first, second = found.sindex.query(truth.geometry.values, predicate="intersects")
    ours, theirs = found.geometry.values[second], truth.geometry.values[first]
    common = shapely.area(shapely.intersection(ours, theirs))
    best, inside = np.zeros(len(truth)), np.zeros(len(truth), int)
    np.maximum.at(best, first, common / (shapely.area(ours) + shapely.area(theirs) - common))
    np.add.at(inside, first, common > 0.5 * shapely.area(ours))
    return best, inside
