"""Who answers for what: each sheet has its core, and around all cores the first sheet that looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tilth.country.sheets import Sheet

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

TOUCH = 1e-7
"""Degrees, one centimetre: what is nearer than this touches."""


@dataclass(frozen=True, eq=False)
class Territories:
    """The sheets of a country, and who lies beside whom."""

    sheets: Sequence[Sheet]

    @cached_property
    def planned(self) -> bool:
        """Whether the sheets are jobs of a plan."""
        return self.sheets[0].core is not None

    @cached_property
    def _extents(self) -> np.ndarray:
        import shapely

        return np.array([sheet.seen if self.planned else shapely.box(*sheet.box) for sheet in self.sheets], object)

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree(self._extents)

    def beside(self, number: int) -> list[int]:
        """Return the sheets that see a part of what a sheet sees, or touch it, ascending."""
        import shapely

        reach = shapely.box(*_grown(shapely.bounds(self._extents[number]), 10 * TOUCH))
        return [int(k) for k in np.sort(self._tree.query(reach)) if k != number]

    def others(self, number: int) -> BaseGeometry | None:
        """Return what a sheet does not answer for, near it: its neighbours' cores, and where no core is, what an earlier sheet has seen."""
        import shapely

        mine = self.sheets[number].core
        parts = []
        for k in self.beside(number) if self.planned else ():
            parts.append(self.sheets[k].core)
            if k < number:
                parts.append(shapely.difference(self.sheets[k].seen, mine))
        return shapely.union_all(parts) if parts else None

    def inside(self, number: int, boxes: np.ndarray) -> np.ndarray:
        """Tell which of (n, 4) boxes lie where no other sheet has a say."""
        import shapely

        sheet = self.sheets[number]
        shapes = shapely.box(*boxes.T)
        if not self.planned:
            near = shapely.union_all([shapely.box(*_grown(np.array(self.sheets[k].box), 10 * TOUCH)) for k in self.beside(number)])
            shapely.prepare(near)
            return ~shapely.intersects(near, shapes)
        core = shapely.buffer(sheet.core, -2 * TOUCH, join_style="mitre")
        shapely.prepare(core)
        return shapely.contains_properly(core, shapes)


def _grown(box: np.ndarray, margin: float) -> tuple[float, float, float, float]:
    west, south, east, north = box
    return west - margin, south - margin, east + margin, north + margin
