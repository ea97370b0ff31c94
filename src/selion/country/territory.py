"""Who answers for what: each job table for its core, and beyond all cores whoever looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.country.job_tables import JobTable
from selion.country.sorted_runs import boxes_of

if TYPE_CHECKING:
    import pyarrow as pa
    from shapely.geometry.base import BaseGeometry

TOUCH = 1e-7
"""Degrees, one centimetre: what is nearer than this touches."""


@dataclass(frozen=True, eq=False)
class Territories:
    """The job tables of a country, and who lies beside whom."""

    job_tables: Sequence[JobTable]

    @cached_property
    def planned(self) -> bool:
        """Whether the job tables are jobs of a plan."""
        return self.job_tables[0].job is not None

    @cached_property
    def _extents(self) -> np.ndarray:
        import shapely

        return np.array(
            [
                shapely.box(*job_table.box) if job_table.job is None else job_table.job.seen
                for job_table in self.job_tables
            ],
            object,
        )

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree(self._extents)

    def beside(self, number: int) -> list[int]:
        """Return the job tables whose view overlaps or touches that of one, ascending."""
        import shapely

        reach = shapely.box(*_grown(shapely.bounds(self._extents[number]), 10 * TOUCH))
        return [int(k) for k in np.sort(self._tree.query(reach)) if k != number]

    def others(self, number: int) -> BaseGeometry | None:
        """Return what others answer for, near a job table: its neighbours' cores."""
        import shapely

        cores = [
            job.core for k in self.beside(number) if (job := self.job_tables[k].job) is not None
        ]
        return shapely.union_all(cores) if cores else None

    def touching(self, number: int, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Tell which (n,) rows of a job table touch the country, and which are this job's alone.

        The latter are those that no other job answers for; all do where nobody said what the
        country is.
        """
        import shapely

        job = self.job_tables[number].job
        if job is None or job.area is None:
            return np.ones(len(table), bool), np.ones(len(table), bool)
        mine = shapely.union(
            job.core, shapely.difference(job.area, self.others(number) or shapely.Polygon())
        )
        return _touch(job.area, table), _touch(mine, table)

    def inside(self, number: int, boxes: np.ndarray) -> np.ndarray:
        """Tell which of (n, 4) boxes lie where no other job table has a say."""
        import shapely

        job, shapes = self.job_tables[number].job, shapely.box(*boxes.T)
        if job is None:
            near = shapely.union_all(
                [
                    shapely.box(*_grown(np.array(self.job_tables[k].box), 10 * TOUCH))
                    for k in self.beside(number)
                ]
            )
            shapely.prepare(near)
            return ~shapely.intersects(near, shapes)
        core = shapely.buffer(job.core, -2 * TOUCH, join_style="mitre")
        shapely.prepare(core)
        return shapely.contains_properly(core, shapes)


def _touch(place: BaseGeometry, table: pa.Table) -> np.ndarray:
    """Tell which (n,) rows touch a place; outlines are read only where boxes do not tell."""
    import pyarrow as pa
    import shapely

    shapely.prepare(place)
    boxes = shapely.box(*boxes_of(table).T)
    keep = np.asarray(shapely.contains_properly(place, boxes))
    doubtful = np.flatnonzero(~keep & shapely.intersects(place, boxes))
    keep[doubtful] = shapely.intersects(
        place, shapely.from_wkb(table["geometry"].take(pa.array(doubtful)).to_numpy())
    )
    return keep


def _grown(box: np.ndarray, margin: float) -> tuple[float, float, float, float]:
    west, south, east, north = box
    return west - margin, south - margin, east + margin, north + margin
