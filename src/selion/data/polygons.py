"""Any image and polygons.

A team's own GeoPackage beside its rasters becomes a dataset, chip by chip, read when it is asked
for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import FTW3, ClassScheme
from selion.data.burning import Burning, Outlines, burn_fields, places_apart, read_outlines
from selion.data.dataset import SPLITS, Dataset, Entry, Truth
from selion.data.least_field import fitting_least, outlined_areas
from selion.data.place import Land, overlapping
from selion.data.splits import hashed_split
from selion.data.stacked import Cut, stack
from selion.data.strips import Strips
from selion.data.surroundings import SAID, looked_at, unknown_share
from selion.errors import BadInput, UnreadableFile
from selion.grid import Lattice, Roi, ground_sampling_distance
from selion.raster import Source

Picture = tuple[tuple[str, Path], ...]
"""The rasters of one image with the names that go before their bands'; one raster may have no
name."""
CUT = "lie in two splits"
"""What is said of chips that are left out for it."""
COMPLETE = "--complete (in training with --set data.complete=true)"
"""How it is said that everything is outlined."""
DRAWS = 20
"""So many other lots are tried, at most, where one leaves a split empty and each could have a whole
image."""


@dataclass(frozen=True, slots=True)
class Chips:
    """How images are cut."""

    size: int = 256
    """Edge of a chip in pixels; chips of an image that is smaller are as large as the image."""
    overlap: float = 0.0
    """Share of a chip that it has in common with its neighbour, 0 to 0.75."""
    land: Land | Strips = field(default_factory=Land)
    """How places are given to splits.  Chips that lie in two blocks of land of different splits are
    left out; strips are cut into chips each by itself."""
    empty: bool = True
    """Whether chips without a field are kept."""
    fallback: bool = True
    """Whether images are split by strips across each where blocks of land leave a split empty."""

    def __post_init__(self) -> None:
        if self.size < 8:
            raise BadInput(f"Chips of {self.size} pixels were asked for; wanted are 8 or more.")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Where truth comes from, and how it is burnt."""

    polygons: Path
    area: Path | None = None
    """Polygons outside of which nothing is known; inside every field is outlined."""
    keep: tuple[str, str] | None = None
    """Column and value of the rows that are fields."""
    burning: Burning = field(default_factory=Burning)
    classes: ClassScheme = FTW3
    complete: bool = False
    """Whether every field of the images is outlined, so that all the rest is background.  Else what
    lies away from all outlines is not known (:func:`selion.data.surroundings.looked_at`), and
    neither is an image without any."""

    def __post_init__(self) -> None:
        if self.complete and self.area is not None:
            raise BadInput(
                f"The area {self.area} was given, outside of which nothing is known, and that all "
                "is outlined: give one of them."
            )


def load_polygons(
    images: Sequence[str | os.PathLike[str]],
    labelled: Labelled,
    chips: Chips | None = None,
    *,
    name: str = "",
    licence: str = "",
    group: str = "",
) -> Dataset:
    """Make a dataset of images and polygons without writing anything.

    Parameters
    ----------
    images : sequence of paths
        Rasters; those with a place must have polygons with one.  Several rasters on one grid are
        one image when they are given as ``window_a=spring.tif,window_b=summer.tif``; its bands are
        then called ``window_a:red`` ...
    labelled : Labelled
        The polygons, and how they become masks.
    chips : Chips, optional
        How images are cut and split; without it each image is one sample and in no split.
    name, licence, group : str
        What the dataset is called, the licence of labels and images, and the group of all its
        samples.

    Returns
    -------
    Dataset
        Keys are the image's name with the chip's first row and column.  ``problems`` say what was
        repaired and what was left out.

    Raises
    ------
    UnreadableFile
        If there is no image, or nothing is left of them.
    """
    if not images:
        raise BadInput("No image was given: name one at least.")
    pictures = [_picture(image) for image in images]
    named = dict(zip(_names([picture[0][1] for picture in pictures]), pictures, strict=True))
    entries, problems = _split(named, labelled, chips, group)
    if not entries:
        why = " ".join(problems) or "they are empty."
        raise UnreadableFile(
            f"Nothing is left of {len(pictures)} image{'s' if len(pictures) > 1 else ''}: "
            f"{why}{_cure(problems, chips)}"
        )
    problems += [*_unknown_land(named, labelled), *_least_field(named, labelled)]
    return Dataset(
        name or labelled.polygons.stem,
        labelled.classes,
        tuple(entries),
        licence,
        folder=None,
        problems=tuple(problems),
    )


def _split(
    named: Mapping[str, Picture], labelled: Labelled, chips: Chips | None, group: str
) -> tuple[list[Entry], list[str]]:
    """Cut images into chips, by other means where those that were asked for leave a split empty."""
    found = _cut_all(named, labelled, chips, group)
    if chips is None or not lost_splits(found[0], chips.land):
        return found
    if not isinstance(chips.land, Land) or not chips.fallback:
        return found[0], [*found[1], *_empty_splits(found[0], chips)]
    lost = " and ".join(lost_splits(found[0], chips.land))
    for seed in range(chips.land.seed + 1, chips.land.seed + 1 + DRAWS):
        if len(named) < _asked(chips.land):
            break
        drawn = replace(chips, land=replace(chips.land, seed=seed))
        again = _cut_all(named, labelled, drawn, group)
        if not lost_splits(again[0], drawn.land) and 2 * _count(again[0], "train") >= len(again[0]):
            said = f"The lot of seed {chips.land.seed} left {lost} empty: that of seed {seed} "
            return again[0], [*again[1], f"{said}was taken."]
    land = Strips(chips.land.val, chips.land.test, wide=True)
    strips = replace(chips, land=land)
    entries, problems = _cut_all(named, labelled, strips, group)
    said = (
        f"Blocks of {chips.land.block_km:g} km leave {lost} empty, so each image is parted by "
        "strips with a gap between them: neighbours look alike, so expect scores that flatter; "
        "fields on another image are the better test."
    )
    return entries, [*problems, said, *_empty_splits(entries, strips)]


def _cut_all(
    named: Mapping[str, Picture], labelled: Labelled, chips: Chips | None, group: str
) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    problems: list[str] = []
    for key, picture in named.items():
        mine, said = _of_image(key, picture, labelled, chips, group)
        entries += mine
        problems += [f"{key}: {line}" for line in said]
    if chips is None or not isinstance(chips.land, Strips) or len(named) < 2:
        return entries, problems
    kept = _on_other_land(entries)
    if len(kept) < len(entries):
        problems.append(
            f"{len(entries) - len(kept):,} of {len(entries):,} chips show land that another image "
            "keeps for validation or testing, and were left out."
        )
    return kept, problems


def _on_other_land(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out what shows land of a later split: strips of each image know of no other image."""
    grids = [entry.image().grid for entry in entries]
    kept = list(range(len(entries)))
    for number, split in reversed(list(enumerate(SPLITS))):
        chosen = [place for place, k in enumerate(kept) if entries[k].split == split]
        shown = overlapping([grids[k] for k in kept], chosen, 0.0)
        later = SPLITS[number:]
        kept = [
            k
            for k, twice in zip(kept, shown, strict=True)
            if entries[k].split in later or not twice
        ]
    return [entries[k] for k in kept]


def _count(entries: Sequence[Entry], split: str) -> int:
    return sum(entry.split == split for entry in entries)


def _unknown_land(named: Mapping[str, Picture], labelled: Labelled) -> list[str]:
    """Say how much of the images counts as not known because nothing is outlined near."""
    if labelled.complete or labelled.area is not None:
        return []
    shares = []
    for picture in named.values():
        grid = open_picture(picture).grid
        outlines = _outlines(labelled, grid)
        if not outlines.frame.empty:
            shares.append(unknown_share(outlines.area, grid))
    share = sum(shares) / max(len(shares), 1)
    if share < SAID:
        return []
    return [
        (
            f"{share:.0%} of the land lies away from what is outlined and counts as not known; if "
            f"every field of the images is outlined, say so with {COMPLETE}."
        )
    ]


def _least_field(named: Mapping[str, Picture], labelled: Labelled) -> list[str]:
    """Say which smallest field of a map fits what is outlined, where the usual one does not."""
    grids = [open_picture(picture).grid for picture in named.values()]
    areas = [outlined_areas(_outlines(labelled, grid).frame.geometry, grid) for grid in grids]
    said = fitting_least(np.concatenate(areas), ground_sampling_distance(grids[0]))
    return [said] if said else []


def _cure(problems: Sequence[str], chips: Chips | None) -> str:
    """Say what helps where every chip lies in two splits."""
    if (
        chips is None
        or not isinstance(chips.land, Land)
        or not any(CUT in line for line in problems)
    ):
        return ""
    return (
        f" Take larger blocks than {chips.land.block_km:g} km, smaller chips than {chips.size} px, "
        "or split by strips of the image."
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Name images by their stems, with their folder where two are alike."""
    counts = Counter(path.stem for path in paths)
    names = [
        path.stem if counts[path.stem] == 1 else f"{path.parent.name}-{path.stem}" for path in paths
    ]
    return (
        names if len(set(names)) == len(names) else [f"{k}-{name}" for k, name in enumerate(names)]
    )


def _picture(image: str | os.PathLike[str]) -> Picture:
    text = os.fspath(image)
    if "=" not in text or Path(text).expanduser().exists():
        return (("", Path(text).expanduser()),)
    parts = [part.partition("=") for part in text.split(",")]
    if any(not name or not mark or not path for name, mark, path in parts):
        raise BadInput(
            f"The image {text!r} was given; wanted is a path, or name=path,name=path for several "
            "rasters on one grid."
        )
    return tuple((name.strip(), Path(path.strip()).expanduser()) for name, _, path in parts)


def grid_of_image(image: str | os.PathLike[str]) -> GeoBox:
    """Return where an image lies, as :func:`load_polygons` takes it."""
    return open_picture(_picture(image)).grid


def open_picture(picture: Picture) -> Source:
    """Open an image of one raster, or of several on one grid."""
    sources = [store.open_raster(path) for _, path in picture]
    if len(picture) == 1 and not picture[0][0]:
        return sources[0]
    names = [
        f"{name}:{band}"
        for (name, _), source in zip(picture, sources, strict=True)
        for band in source.bands
    ]
    return stack(sources, names, picture[0][1].name)


def open_piece(picture: Picture, roi: Roi | None) -> Source:
    """Open an image, or a piece of it."""
    source = open_picture(picture)
    return source if roi is None else Cut(source, roi)


@lru_cache(maxsize=32)
def _outlines(labelled: Labelled, grid: GeoBox) -> Outlines:
    """Read the polygons of an image once for all its chips."""
    found = read_outlines(labelled.polygons, grid, area=labelled.area, keep=labelled.keep)
    if labelled.complete or labelled.area is not None:
        return found
    return replace(found, area=looked_at(found.frame.geometry, grid))


def burn_piece(labelled: Labelled, whole_grid: GeoBox, roi: Roi | None, grid: GeoBox) -> Truth:  # noqa: ARG001  # a truth is asked with the piece's grid
    """Burn the polygons of an image onto a piece of it."""
    return burn_fields(
        _outlines(labelled, whole_grid), whole_grid, labelled.burning, labelled.classes, roi
    )


def _of_image(
    key: str, picture: Picture, labelled: Labelled, chips: Chips | None, group: str
) -> tuple[list[Entry], list[str]]:
    grid = open_picture(picture).grid
    outlines = _outlines(labelled, grid)
    problems = list(outlines.notes)
    if outlines.frame.empty and labelled.complete:
        where = places_apart(labelled.polygons, grid)
        problems.append(f"no polygon lies on it{where}: all of it is background.")
    elif outlines.frame.empty and labelled.area is None:
        problems.append(
            f"no polygon lies on it{places_apart(labelled.polygons, grid)}, so nothing is known of "
            f"it and it was left out; if it shows no field, say so with {COMPLETE}."
        )
        return [], problems
    elif outlines.frame.empty:
        problems.append("no polygon lies on it.")
    if chips is None:
        return [_entry(key, picture, labelled, grid, None, "", group)], problems
    pieces, cut = (
        _strips(outlines, grid, chips)
        if isinstance(chips.land, Strips)
        else _pieces(key, grid, chips, chips.land)
    )
    kept = [(roi, split) for roi, split in pieces if _wanted(outlines, grid[roi], chips)]
    if cut:
        problems.append(
            f"{cut:,} of {cut + len(pieces):,} chips {CUT}, or at the edge of one, and were left "
            "out."
        )
    if len(kept) < len(pieces):
        problems.append(f"{len(pieces) - len(kept):,} chips hold no label and were left out.")
    return [
        _entry(
            f"{key}_{roi[0].start:05d}_{roi[1].start:05d}",
            picture,
            labelled,
            grid,
            roi,
            split,
            group,
        )
        for roi, split in kept
    ], problems


def _entry(
    key: str,
    picture: Picture,
    labelled: Labelled,
    grid: GeoBox,
    roi: Roi | None,
    split: str,
    group: str,
) -> Entry:
    files = (*(path for _, path in picture), labelled.polygons)
    return Entry(
        key,
        partial(open_piece, picture, roi),
        partial(burn_piece, labelled, grid, roi),
        split,
        group,
        files,
        len(picture),
    )


def _strips(outlines: Outlines, grid: GeoBox, chips: Chips) -> tuple[list[tuple[Roi, str]], int]:
    """Return the chips of each strip with its split; none is lost."""
    land = chips.land if isinstance(chips.land, Strips) else Strips()
    return [
        (roi, split)
        for region, split in land.regions(grid, outlines.frame, chips.size)
        for roi in _chips_of(region, chips)
    ], 0


def _chips_of(region: Roi, chips: Chips) -> list[Roi]:
    """Cut a region into chips; where it is smaller than one, the chip is as small."""
    (top, bottom), (left, right) = ((part.start, part.stop) for part in region)
    lattice = Lattice((bottom - top, right - left), chips.size, chips.overlap)
    rois = [
        lattice.window_roi(row, column)
        for row, column in lattice.touching((slice(0, bottom - top), slice(0, right - left)))
    ]
    return [
        (
            slice(top + y.start, min(top + y.stop, bottom)),
            slice(left + x.start, min(left + x.stop, right)),
        )
        for y, x in rois
    ]


def _pieces(key: str, grid: GeoBox, chips: Chips, land: Land) -> tuple[list[tuple[Roi, str]], int]:
    """Return regions with their splits, and how many regions were lost.

    Those are lost that are in two splits.
    """
    rois = _chips_of((slice(0, int(grid.shape[0])), slice(0, int(grid.shape[1]))), chips)
    if grid.crs is None:  # a photograph: all of it is one place
        split = hashed_split(key, land.val, land.test, land.seed)
        return [(roi, split) for roi in rois], 0
    splits = [land.split_of(grid[roi]) for roi in rois]
    kept = [(roi, split) for roi, split in zip(rois, splits, strict=True) if split is not None]
    cut = len(rois) - len(kept)
    more = _between(grid, kept, chips.size, land) if cut and not chips.overlap else []
    return [*kept, *more], cut - min(cut, len(more))


def _between(
    grid: GeoBox, kept: Sequence[tuple[Roi, str]], size: int, land: Land
) -> list[tuple[Roi, str]]:
    """Find chips off the lattice, where those on it lie in two splits; none overlaps another."""
    height, width = grid.shape
    step = max(size // 4, 1)
    taken = np.zeros((-(-height // step), -(-width // step)), bool)
    for (rows, columns), _ in kept:
        taken[
            rows.start // step : -(-rows.stop // step),
            columns.start // step : -(-columns.stop // step),
        ] = True
    found = []
    for top in range(0, height - size + 1, step):
        for left in range(0, width - size + 1, step):
            cells = np.s_[
                top // step : -(-(top + size) // step), left // step : -(-(left + size) // step)
            ]
            if taken[cells].any():
                continue
            roi = slice(top, top + size), slice(left, left + size)
            split = land.split_of(grid[roi])
            if split is not None:
                taken[cells] = True
                found.append((roi, split))
    return found


def _wanted(outlines: Outlines, piece: GeoBox, chips: Chips) -> bool:
    """Say whether a chip holds any label."""
    import shapely

    box = shapely.box(*piece.extent.boundingbox)
    if outlines.area is not None and not outlines.area.intersects(box).any():
        return False
    return chips.empty or len(outlines.frame.sindex.query(box, predicate="intersects")) > 0


def _asked(land: Land) -> int:
    """Return how many splits are asked for."""
    return sum(share > 1e-9 for share in (1 - land.val - land.test, land.val, land.test))


def lost_splits(entries: Sequence[Entry], land: Land | Strips) -> list[str]:
    """Return the splits that were asked for and have no chip."""
    found = {entry.split for entry in entries}
    shares = {"train": 1 - land.val - land.test, "val": land.val, "test": land.test}
    return [name for name, share in shares.items() if share > 1e-9 and name not in found]


def _empty_splits(entries: Sequence[Entry], chips: Chips) -> list[str]:
    land = chips.land
    lost = " and ".join(lost_splits(entries, land))
    if not lost:
        return []
    if isinstance(land, Strips):
        return [f"No strip was left for {lost}: the image is too small to be parted."]
    return [
        (
            f"The lot left {lost} empty: with blocks of {land.block_km:g} km there are too few; "
            "take smaller blocks, another seed, or split by strips of the image."
        )
    ]
