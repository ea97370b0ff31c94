"""Images that chips were cut from, put together again.

The edges of chips cut fields, which then look smaller than they are.  ``selion data make`` names a
chip after its image and its first row and column there, and numbers polygons image by image, so
that the pieces of an image fit together with their fields.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import overload

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion.classes import FTW3, IGNORE
from selion.data.dataset import Dataset
from selion.grid import whole
from selion.labels import Instances, LabelMap
from selion.raster import Raster
from selion.sample import Sample
from selion.training.datasets import LARGE

PIECE = re.compile(r"(.+)_(\d{5})_(\d{5})")
"""Name of an image, first row and column of a chip of it."""
APART = 0.01
"""Pixels that the places of two chips may differ from what their names say."""


@dataclass(frozen=True)
class _Piece:
    number: int
    """Among the samples."""
    row: int
    column: int
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Stitched(Sequence[Sample]):
    """Images made of chips; one is put together when it is asked for."""

    samples: Sequence[Sample]
    parts: tuple[tuple[str, GeoBox, tuple[_Piece, ...]], ...]
    """Name and grid of each image or large piece of one, and chips with their place in it."""

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Stitched: ...
    def __getitem__(self, index: int | slice) -> Sample | Stitched:
        """Put an image together, or take some of them."""
        if isinstance(index, slice):
            return replace(self, parts=self.parts[index])
        name, grid, pieces = self.parts[index]
        return _put_together(name, grid, pieces, self.samples)


def stitched(samples: Sequence[Sample], largest: int = LARGE) -> Stitched:
    """Return the images that samples were cut from, as far as they are chips of one.

    Parameters
    ----------
    samples : sequence of Sample
        Those whose names and places say that they are chips of an image are used; an image of
        which there is one chip alone is none, as one cannot see what its edges cut.
    largest : int
        Edge, in pixels, of the pieces in which larger images come.

    Returns
    -------
    Stitched
        Samples with instances.  What no chip shows is not valid and not known, and neither are
        fields that reach into it.
    """
    images: dict[str, list[tuple[_Piece, GeoBox]]] = defaultdict(list)
    for number in range(len(samples)):
        key, grid = _about(samples, number)
        if named := PIECE.fullmatch(key):
            shape = (int(grid.shape[0]), int(grid.shape[1]))
            piece = _Piece(number, int(named[2]), int(named[3]), shape)
            images[named[1]].append((piece, grid))
    parts: list[tuple[str, GeoBox, tuple[_Piece, ...]]] = []
    for name, chips in sorted(images.items()):
        piece, grid = chips[0]
        origin = grid.affine * Affine.translation(-piece.column, -piece.row)
        alike = all(other.crs == grid.crs and _fits(origin, one, other) for one, other in chips)
        if len(chips) > 1 and alike:
            parts += _in_parts(name, origin, grid.crs, [one for one, _ in chips], largest)
    return Stitched(samples, tuple(parts))


def _about(samples: Sequence[Sample], number: int) -> tuple[str, GeoBox]:
    """Return name and grid of a sample; no truth of a dataset is read."""
    if isinstance(samples, Dataset):
        return samples.entries[number].key, samples.entries[number].image().grid
    return samples[number].key, samples[number].image.grid


def _fits(origin: Affine, piece: _Piece, grid: GeoBox) -> bool:
    """Say whether a chip lies where its name says."""
    wanted = origin * Affine.translation(piece.column, piece.row)
    apart = np.subtract((~wanted * grid.affine)[:6], Affine.identity()[:6])
    return bool(np.abs(apart).max() <= APART)


def _in_parts(
    name: str, origin: Affine, crs: object, pieces: Sequence[_Piece], largest: int
) -> list[tuple[str, GeoBox, tuple[_Piece, ...]]]:
    """Return what an image is put together in: whole, or windows of it that hold a chip."""
    rows, columns = (
        _cuts(
            min(getattr(one, side) for one in pieces),
            max(getattr(one, side) + one.shape[axis] for one in pieces),
            largest,
        )
        for axis, side in enumerate(("row", "column"))
    )
    found = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            within = tuple(
                replace(one, row=one.row - top, column=one.column - left)
                for one in pieces
                if one.row < bottom
                and one.row + one.shape[0] > top
                and one.column < right
                and one.column + one.shape[1] > left
            )
            if within:
                place = origin * Affine.translation(left, top)
                grid = GeoBox((bottom - top, right - left), place, crs)  # type: ignore[arg-type]  # a CRS
                found.append((f"{name}_{top:05d}_{left:05d}", grid, within))
    return found


def _cuts(first: int, last: int, largest: int) -> list[int]:
    count = -(-(last - first) // largest)
    return [first + (last - first) * k // count for k in range(count + 1)]


def _put_together(
    name: str, grid: GeoBox, pieces: Sequence[_Piece], samples: Sequence[Sample]
) -> Sample:
    """Draw chips onto a grid.

    One without instances, or with a truth of finer pixels, leaves its place unknown.
    """
    height, width = grid.shape
    seen = np.zeros((height, width), bool)
    known, ids = seen.copy(), np.zeros((height, width), np.int32)
    image: Raster | None = None
    for piece in pieces:
        sample = samples[piece.number]
        if sample.instances is None or sample.instances.ids.shape != piece.shape:
            continue
        here, there = _overlap(piece, (height, width))
        part = sample.image.read(whole(sample.image.grid))
        if image is None:
            empty = np.zeros((len(part.bands), height, width), part.values.dtype)
            image = Raster(empty, grid, part.bands, seen, part.tags)
        image.values[:, here[0], here[1]] = part.values[:, there[0], there[1]]
        seen[here] = True if part.valid is None else part.valid[there]
        known[here] = True if sample.ignore is None else ~sample.ignore[there]
        ids[here] = sample.instances.ids[there]
    if image is None:
        first = samples[pieces[0].number]
        return Sample(name, first.image, first.labels, None)
    beyond = ndimage.binary_dilation(~seen, np.ones((3, 3), bool))
    cut = np.isin(ids, np.unique(ids[beyond & (ids > 0)])) & (ids > 0)
    ids[cut | ~known] = 0
    labels = np.where(cut | ~known, IGNORE, ids > 0).astype(np.uint8)
    return Sample(name, image, LabelMap(labels, grid, FTW3), Instances(ids, grid))


def _overlap(
    piece: _Piece, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a chip lies in an image, and which part of the chip that is."""
    starts = (piece.row, piece.column)
    here = tuple(
        slice(max(start, 0), min(start + side, most))
        for start, side, most in zip(starts, piece.shape, shape, strict=True)
    )
    there = tuple(
        slice(one.start - start, one.stop - start) for one, start in zip(here, starts, strict=True)
    )
    return (here[0], here[1]), (there[0], there[1])
