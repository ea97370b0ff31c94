"""Pixels that changed between two plans, and what of the ground both of them saw.

Job after job of the earlier plan, on its own grid; what was found lies in a folder.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion import store
from selion.change.pixels import (
    CHANGES,
    EMPTY,
    PixelChange,
    PixelRule,
    Scale,
    classify,
    compare_pixels,
)
from selion.change.sides import BLOCK
from selion.classes import IGNORE
from selion.country.merging import read_note, write_note
from selion.country.plan_scores import PlanScores, ScoredJob, covered, moved_to
from selion.grid import LONLAT, pixel_metres, tiles
from selion.progress import OnStep
from selion.store.address import place_state
from selion.store.npy import open_npy

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from selion.country.lookup import Box

PIXELS = "pixels"
"""Folder of the result: a COG of changed pixels for each job of the earlier plan."""
STRAIGHT = 1000.0
"""Metres between the corners of the edge of what was not seen."""


@dataclass(frozen=True, eq=False)
class SeenByBoth:
    """Two plans with their probabilities."""

    folder: Path
    """Of what was found so far."""
    before: PlanScores
    after: PlanScores
    rule: PixelRule

    @property
    def key(self) -> list[Any]:
        """What changes when the answer does."""
        files = [
            [job.name, *place_state(job.scores)]
            for plan in (self.before, self.after)
            for job in plan.jobs
        ]
        return [self.rule.name, self.rule.threshold, files]

    def look(self, on_step: OnStep) -> None:
        """Go through all jobs; those that are done are left alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scale = self._scale(on_step)
        for number, job in enumerate(self.before.jobs):
            on_step("pixels", number, len(self.before.jobs), job.name)
            if not self._note(job).is_file():
                self._look_at(job, scale)
        on_step("pixels", 1, 1, "")

    def known(self, box: Box) -> BaseGeometry | None:
        """Return where both plans saw the ground in a box, None for everywhere.

        Parameters
        ----------
        box : (west, south, east, north)
            Longitude and latitude.
        """
        import shapely

        frame = shapely.box(*box)
        seen = frame
        for plan in (self.before, self.after):
            every = [shapely.intersection(job.place, frame) for job in plan.near(frame)]
            seen = shapely.intersection(seen, shapely.union_all(every))
        hidden = [
            self._hidden(job, box) for job in self.before.near(frame) if self._note(job).is_file()
        ]
        unseen = shapely.union_all(np.concatenate([np.zeros(0, object), *hidden]))
        if not unseen.is_empty:
            seen = shapely.difference(seen, unseen)
        return None if shapely.covers(seen, frame) else seen

    def write(self, result: Path) -> dict[str, Any]:
        """Put the maps of changed pixels into the folder of a result; return what they say."""
        target = result / PIXELS
        target.mkdir(exist_ok=True)
        counts = np.zeros(256)
        for job in self.before.jobs:
            final = target / f"{job.name}.tif"
            final.unlink(missing_ok=True)
            _shared(self._map(job), final)
            counts += read_note(self._note(job))["hectares"]
        pixels = {
            name: round(float(counts[code]), 2)
            for code, name in (*enumerate(CHANGES.names), (IGNORE, "unknown"))
        }
        told = {"name": self.rule.name, "threshold": self.rule.threshold}
        return {"rule": told, "pixels_ha": pixels}

    def _note(self, job: ScoredJob) -> Path:
        return self.folder / f"{job.name}.json"

    def _map(self, job: ScoredJob) -> Path:
        return self.folder / f"{job.name}.tif"

    def _changes(self, job: ScoredJob) -> Iterator[tuple[Any, PixelChange, np.ndarray, np.ndarray]]:
        """Give (region, change, own ground, ground of the country) block by block."""
        grid = job.source.grid
        crs = str(grid.crs)
        place = moved_to(job.place, crs)
        area = place if job.area is None else moved_to(job.area, crs)
        sources = [plan.over(grid, job.place) for plan in (self.before, self.after)]
        for roi in tiles((int(grid.shape[0]), int(grid.shape[1])), BLOCK):
            own = covered(place, grid[roi])
            one, other = (
                (source.read(roi), plan.classes)
                for source, plan in zip(sources, (self.before, self.after), strict=True)
            )
            change = compare_pixels(one, other, self.rule)
            known = change.known & own
            inside = own & covered(area, grid[roi])
            yield roi, PixelChange(change.difference, change.field, known), own, inside
        for plan in (self.before, self.after):
            for read in plan.near(job.place):
                read.close()

    def _scale(self, on_step: OnStep) -> Scale:
        """Return how differences become numbers from 0 to 1 in the country as a whole."""
        if not self.rule.scaled:
            return Scale()
        note = self.folder / "scale.json"
        if not note.is_file():
            scale = EMPTY
            for number, job in enumerate(self.before.jobs):
                on_step("scale", number, len(self.before.jobs), job.name)
                for _, change, _, inside in self._changes(job):
                    seen = PixelChange(change.difference, change.field, change.known & inside)
                    scale = scale.wider(seen)
            if not math.isfinite(scale.low):
                scale = Scale()
            write_note(note, {"low": scale.low, "high": scale.high})
        held = read_note(note)
        return Scale(held["low"], held["high"])

    def _look_at(self, job: ScoredJob, scale: Scale) -> None:
        """Write the map of a job's changed pixels, and then what of its ground was not seen."""
        grid = job.source.grid
        counts, hidden = np.zeros(256, np.int64), []
        tags = {
            "classes": json.dumps(CHANGES.to_dict()),
            "selion": selion.__version__,
            "rule": json.dumps(
                {
                    "rule": self.rule.name,
                    "threshold": self.rule.threshold,
                    "scale": [scale.low, scale.high] if self.rule.scaled else None,
                }
            ),
        }
        with store.create_cog(
            self._map(job),
            grid,
            ["change"],
            np.uint8,
            nodata=IGNORE,
            tags=tags,
            colours=CHANGES.colours,
            overviews="mode",
            force=True,
        ) as sink:
            for roi, change, own, inside in self._changes(job):
                classes = classify(change, self.rule, scale)
                classes[~inside] = IGNORE
                counts += np.bincount(classes[inside], minlength=256)
                sink.write(roi, classes[None])
                start = np.array([roi[1].start, roi[0].start] * 2)
                hidden.append(rectangles(own & ~change.known) + start)
        across = np.concatenate(hidden)
        y, x = pixel_metres(grid) or (1.0, 1.0)
        np.save(self.folder / f"{job.name}.npy", _on_ground(across, grid))
        write_note(self._note(job), {"hectares": (counts * (y * x / 1e4)).tolist()})

    def _hidden(self, job: ScoredJob, box: Box) -> np.ndarray:
        """Return the (n,) pieces of a job's ground that were not seen, near a box."""
        import shapely
        from pyproj import Transformer

        ground = self._unseen(job)
        if not len(ground):
            return np.zeros(0, object)
        crs = str(job.source.grid.crs)
        there = Transformer.from_crs(LONLAT, crs, always_xy=True)
        west, south, east, north = there.transform_bounds(*box, densify_pts=9)
        near = (ground[:, 0] <= east) & (ground[:, 2] >= west)
        near &= (ground[:, 1] <= north) & (ground[:, 3] >= south)
        back = Transformer.from_crs(crs, LONLAT, always_xy=True)
        shapes = shapely.segmentize(shapely.box(*ground[near].T), STRAIGHT)
        return np.asarray(shapely.transform(shapes, back.transform, interleaved=False), object)

    def _unseen(self, job: ScoredJob) -> np.ndarray:
        return open_npy(self.folder / f"{job.name}.npy")


def rectangles(mask: np.ndarray) -> np.ndarray:
    """Cover what is true in a mask with rectangles that do not overlap.

    Parameters
    ----------
    mask : (y, x) bool ndarray

    Returns
    -------
    (n, 4) int64 ndarray
        First column and row, and those after the last: runs along rows, those that are the same in
        rows that follow each other as one.
    """
    step = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(step == 1)
    end = np.nonzero(step == -1)[1]
    order = np.lexsort((row, end, start))
    row, start, end = row[order], start[order], end[order]
    new = np.ones(len(row), bool)
    new[1:] = (np.diff(row) != 1) | (np.diff(start) != 0) | (np.diff(end) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(row)) - 1 if len(row) else first
    return np.stack([start[first], row[first], end[first], row[last] + 1], axis=1)


def _shared(made: Path, final: Path) -> None:
    """Give a file a second name: the first is what finished work goes on from."""
    try:
        os.link(made, final)
    except OSError:  # a file system without hard links
        shutil.copyfile(made, final)


def _on_ground(across: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Return rectangles of pixels as (n, 4) west, south, east, north in the CRS of a grid."""
    a, _, c, _, e, f = grid.transform[:6]
    west, east = c + a * across[:, 0], c + a * across[:, 2]
    ends = f + e * across[:, 1], f + e * across[:, 3]
    return np.stack([west, np.minimum(*ends), east, np.maximum(*ends)], axis=1).astype(np.float64)
