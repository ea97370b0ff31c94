"""make_dataset: images and polygons become a folder of chips, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.data.dataset import Dataset, Entry
from selion.data.declare import FILE, MADE
from selion.data.place import Land
from selion.data.polygons import Chips, Labelled, load_polygons, lost_splits
from selion.data.splits import write_splits
from selion.errors import BadInput
from selion.grid import whole
from selion.labels import LabelMap
from selion.progress import OnStep, silent
from selion.raster import OFFSETS, SCALES, STATED, Raster, nodatas_of
from selion.sample import Sample
from selion.store.valid import valid_pixels

KEPT = (STATED, SCALES, OFFSETS, "input_bands", "provenance")
"""Tags of an image that its chips keep: what its numbers and bands are need not be guessed."""
WRITERS = 4
"""Chips that are written at the same time."""


@dataclass(frozen=True, slots=True)
class MadeDataset:
    """What was written."""

    folder: Path
    counts: dict[str, int]
    """Chips by split."""
    shares: dict[str, float]
    """Share of the pixels by class, and ``unknown``."""
    objects: int
    """Pieces of fields over all chips."""
    notes: tuple[str, ...]


def make_dataset(
    images: Sequence[str | os.PathLike[str]],
    labelled: Labelled,
    out: str | os.PathLike[str],
    chips: Chips | None = None,
    *,
    name: str = "",
    licence: str = "",
    group: str = "",
    force: bool = False,
    on_step: OnStep = silent,
) -> MadeDataset:
    """Write chips with masks, a table of splits and a ``dataset.toml``.

    :func:`selion.data.load_dataset` opens the folder.

    Parameters
    ----------
    images, labelled, chips, name, licence, group
        As for :func:`selion.data.polygons.load_polygons`.
    out : path
        Folder that is made: ``images/``, ``labels/``, ``instances/``, ``splits.csv``,
        ``dataset.toml``.
    force : bool
        Whether a dataset that was made before is replaced; any other folder is never touched.
    on_step : callable, optional
        Progress.

    Returns
    -------
    MadeDataset

    Raises
    ------
    OutputExists, OutputFailed
        If the folder is there, or cannot be written.
    BadInput
        If a split that was asked for would be empty.
    """
    out = Path(out).expanduser()
    store.check_output(out, force, MADE)
    chips = chips or Chips()
    dataset = load_polygons(
        images, labelled, chips, name=name or out.name, licence=licence, group=group
    )
    _check_splits(dataset, chips)
    counts: Counter[str] = Counter()
    objects, rows = 0, []
    with store.atomic_folder(out, force, MADE) as folder:
        for entry, chip in zip(dataset.entries, _chips(dataset, folder, on_step), strict=True):
            if chip is not None:
                counts.update(chip.pixels)
                objects += chip.objects
                rows.append((entry.key, entry.split, entry.group, entry.files[0].name))
        write_splits(folder, rows)
        (folder / FILE).write_text(_declaration(dataset, labelled), "utf-8")
    total = max(sum(counts.values()), 1)
    lost = len(dataset) - len(rows)
    notes = (
        *dataset.problems,
        *([f"{lost:,} chips hold nothing but nodata and were left out."] if lost else []),
    )
    shares = {key: counts[key] / total for key in (*dataset.classes.names, "unknown")}
    return MadeDataset(out, dict(Counter(row[1] for row in rows)), shares, objects, notes)


def _check_splits(dataset: Dataset, chips: Chips) -> None:
    """Refuse a dataset that cannot be trained on, or not validated, though that was asked for."""
    lost = lost_splits(dataset.entries, chips.land)
    if not lost:
        return
    ways = (
        "take smaller blocks of land, another seed, or strips of each image (--split-by auto)"
        if isinstance(chips.land, Land)
        else "take smaller chips or a larger image"
    )
    raise BadInput(
        f"No chip is left for {' and '.join(lost)} of {len(dataset):,}: {ways}, or give a share of "
        "0 for validation (--val 0) or testing (--test 0)."
    )


@dataclass(frozen=True, slots=True)
class _Chip:
    """What was counted in one chip."""

    pixels: Counter[str]
    objects: int


def _chips(dataset: Dataset, folder: Path, on_step: OnStep) -> Iterator[_Chip | None]:
    """Write all chips; None for those that show nothing.

    A few are read one after the other and then written at the same time, as writing is mostly
    waiting for the disk.  They are not read at the same time: geopandas changes the warning filters
    of the whole process.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        for start in range(0, len(dataset), 4 * WRITERS):
            seen = [_masked(entry) for entry in dataset.entries[start : start + 4 * WRITERS]]
            for k, chip in enumerate(pool.map(partial(_write, folder, dataset.classes), seen)):
                on_step("chips", start + k + 1, len(dataset))
                yield chip


@dataclass(frozen=True, eq=False, slots=True)
class _SeenChip:
    """A chip with its image in memory."""

    sample: Sample
    pixels: Raster
    nodata: float | None
    """What stands in them where nothing was seen."""


def _masked(entry: Entry) -> _SeenChip | None:
    """Open a chip with its image in memory; what the image does not show is not known.

    None if it shows nothing.
    """
    sample = entry.open()
    raster = sample.image.read(whole(sample.image.grid))
    if raster.valid is not None and (not raster.valid.any() or sample.labels is None):
        return None
    if raster.valid is not None and sample.labels is not None:
        ids = np.where(raster.valid, sample.labels.ids, IGNORE).astype(np.uint8)
        labels = LabelMap(ids, sample.labels.grid, sample.labels.classes)
        sample = replace(sample, labels=labels)
    return _SeenChip(sample, *_marked(raster, nodatas_of(sample.image)))


def _marked(raster: Raster, nodatas: Sequence[float | None]) -> tuple[Raster, float | None]:
    """Let one number stand for what was not seen, as a GeoTIFF has one for all of its bands.

    The file's own, of several the farthest from 0; where a mask or transparency says it, NaN or the
    least whole number that there is.
    """
    kind = raster.dtype
    ends = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    own = {one for one in nodatas if one is not None and ends.min <= one <= ends.max}
    missing: float | None = max(own, key=abs) if own else None
    if missing is None and kind.kind == "f":
        missing = math.nan
    if raster.valid is None:
        return raster, missing
    missing = float(ends.min) if missing is None else missing
    values = raster.values.copy()
    for layer, one in zip(values, nodatas, strict=True):
        if one in own - {missing}:
            layer[(layer == one) & ~raster.valid] = missing
    told = valid_pixels(values, raster.bands, (missing,) * len(values))
    values[:, ~raster.valid if told is None else told & ~raster.valid] = missing
    return replace(raster, values=values), missing


def _write(folder: Path, classes: ClassScheme, seen: _SeenChip | None) -> _Chip | None:
    """Write image, labels and instances of a chip; count its pixels by class, and its objects."""
    if seen is None:
        return None
    sample, image = seen.sample, seen.pixels
    known = {tag: sample.image.tags[tag] for tag in KEPT if tag in sample.image.tags}
    path = folder / "images" / f"{sample.key}.tif"
    _save(path, sample, image.values, image.bands, seen.nodata, known)
    if sample.labels is not None:
        _save(
            folder / "labels" / f"{sample.key}.tif",
            sample,
            sample.labels.ids[None],
            ("class",),
            float(IGNORE),
        )
    if sample.instances is not None:
        _save(
            folder / "instances" / f"{sample.key}.tif",
            sample,
            sample.instances.ids[None],
            ("instance",),
            None,
        )
    found = (
        np.bincount(sample.labels.ids.ravel(), minlength=256)
        if sample.labels is not None
        else np.zeros(256, int)
    )
    objects = (
        0
        if sample.instances is None
        else len(np.unique(sample.instances.ids[sample.instances.ids > 0]))
    )
    pixels = Counter(
        {
            **{name: int(found[k]) for k, name in enumerate(classes.names)},
            "unknown": int(found[IGNORE]),
        }
    )
    return _Chip(pixels, objects)


def _save(
    path: Path,
    sample: Sample,
    values: np.ndarray,
    bands: Sequence[str],
    nodata: float | None,
    tags: Mapping[str, str] | None = None,
) -> None:
    grid = sample.image.grid
    with store.create_cog(path, grid, bands, values.dtype, nodata=nodata, tags=tags) as sink:
        sink.write(whole(grid), values)


def _declaration(dataset: Dataset, labelled: Labelled) -> str:
    """Describe the folder as TOML; JSON's texts and lists are TOML's too.

    But not what JSON writes in two halves, such as emoji: letters are written as they are.
    """
    said = partial(json.dumps, ensure_ascii=False)
    burning = labelled.burning
    width = f"{burning.metres:g} m" if burning.metres is not None else f"{burning.width} px"
    where = (
        "inside the field"
        if burning.boundary == "inside"
        else "every pixel that the outline touches"
    )
    classes = {key: value for key, value in dataset.classes.to_dict().items() if value}
    inner = ", ".join(f"{key} = {said(value)}" for key, value in classes.items())
    made = f"Made by selion from {labelled.polygons.name}; boundary: {width}, {where}."
    return "\n".join(
        (
            f"name = {said(dataset.name)}",
            f"licence = {said(dataset.licence or 'not stated')}",
            f"notes = {said(made)}",
            f"classes = {{ {inner} }}",
            "",
            "[files]",
            'image = "images/{key}.tif"',
            'labels = "labels/{key}.tif"',
            'instances = "instances/{key}.tif"',
            'split = { csv = "splits.csv" }',
            "",
        )
    )
