"""Labels to train on, from what people decided: nothing that nobody looked at counts as known.

A pixel is known in a field that somebody accepted, corrected or added; in one that was rejected (it
is background); and outside of all fields where the nearest one is decided and near.  Everything
else is 255: fields that nobody has decided yet or is unsure of, and the land around them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import store
from selion.classes import FTW3, IGNORE
from selion.data.declare import FILE, MADE
from selion.data.splits import write_splits
from selion.data.strips import Strips
from selion.errors import BadInput, GridMismatch
from selion.grid import Lattice, Roi, inside, pad_roi, whole
from selion.labels import Instances, LabelMap, class_labels
from selion.review.actions import ANSWERS
from selion.review.state import DECIDED, REJECTED

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox

    from selion.raster import Source
    from selion.store import Place


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How labels are burnt and cut."""

    size: int = 256
    """Edge of a chip in pixels."""
    width: int = 1
    """Boundary inside each field, in pixels."""
    around: int = 32
    """Pixels from a decided field up to which background counts as looked at."""
    val: float = 0.2
    """Share of what is decided that is kept for validation."""

    def __post_init__(self) -> None:
        if self.size < 8 or self.width < 0 or self.around < 0:
            raise BadInput(
                f"Chips of {self.size} px, a boundary of {self.width} px and {self.around} px "
                "around were given; wanted are 8, 0 and 0 or more."
            )


@dataclass(frozen=True, slots=True)
class WrittenLabels:
    """What was written."""

    folder: Path
    chips: dict[str, int]
    """By split."""
    shares: dict[str, float]
    """Share of the pixels by class, and ``unknown``."""


@dataclass(frozen=True, eq=False)
class Truths:
    """Decided, rejected and undecided fields in the CRS of an image."""

    shapes: np.ndarray
    codes: np.ndarray
    """(n,) int: :data:`REFUSED`, :data:`UNDECIDED`, or an id of a field that counts, above them."""

    def burn(self, grid: GeoBox) -> np.ndarray:
        """Burn onto a grid, (y, x) int32; what is decided lies over what is not."""
        import shapely

        box = shapely.box(*grid.extent.boundingbox)
        rows = np.flatnonzero(shapely.intersects(self.shapes, box))
        above = np.select([self.codes[rows] == UNDECIDED, self.codes[rows] == REFUSED], [0, 1], 2)
        rows = rows[np.argsort(above, kind="stable")]
        values = self.codes[rows]
        return store.burn(list(self.shapes[rows]), values.tolist(), grid)


OUTLINED = tuple(status for status in DECIDED if status not in ANSWERS)
"""Statuses that say which land is the field's."""
REFUSED, UNDECIDED = 1, 2
"""Codes of fields that are none, and of fields that nobody has decided."""


def truths_of(frame: geopandas.GeoDataFrame, grid: GeoBox) -> Truths:
    """Bring the fields of a corrected map onto the CRS of an image.

    Raises
    ------
    GridMismatch
        If only one of them has a CRS.
    """
    if (frame.crs is None) != (grid.crs is None):
        raise GridMismatch(
            "The map cannot be overlaid on the image: one of them has a CRS and the other has none."
        )
    placed = frame if grid.crs is None else frame.to_crs(str(grid.crs))
    status = placed["review:status"].to_numpy(object)
    codes = np.full(len(placed), UNDECIDED, np.int64)
    codes[status == REJECTED] = REFUSED
    counts = np.isin(status, OUTLINED) & (status != REJECTED)
    codes[counts] = UNDECIDED + 1 + np.arange(counts.sum())
    return Truths(placed.geometry.to_numpy(), codes)


def known_labels(
    truths: Truths, grid: GeoBox, roi: Roi, options: LabelOptions
) -> tuple[LabelMap, Instances]:
    """Burn labels and ids of a region.

    Returns
    -------
    LabelMap
        FTW3's classes; 255 where nobody decided.
    Instances
        Decided fields.
    """
    from scipy import ndimage

    frame = pad_roi(
        roi, max(options.around, options.width) + 1, (int(grid.shape[0]), int(grid.shape[1]))
    )
    burnt = truths.burn(grid[frame])
    ids = np.maximum(burnt - UNDECIDED, 0).astype(np.int32)
    known = (burnt == REFUSED) | (ids > 0)
    if (burnt > 0).any():
        away, nearest = ndimage.distance_transform_edt(burnt == 0, return_indices=True)
        known |= (burnt == 0) & (away <= options.around) & (burnt[tuple(nearest)] != UNDECIDED)
    labels = class_labels(Instances(ids, grid[frame]), options.width, ~known).ids
    cut = inside(roi, frame)
    return LabelMap(labels[cut], grid[roi], FTW3), Instances(ids[cut], grid[roi])


def write_labels(
    image: Place,
    frame: geopandas.GeoDataFrame,
    out: Path,
    options: LabelOptions | None = None,
    *,
    force: bool = False,
) -> WrittenLabels:
    """Write chips of an image with the labels of a corrected map.

    :func:`selion.data.load_dataset` opens the folder.

    Parameters
    ----------
    image : path
    frame : GeoDataFrame
        From :func:`selion.review.corrected`.
    out : path
        Folder that is made: ``images/``, ``labels/``, ``instances/``, ``splits.csv``,
        ``dataset.toml``.

    Raises
    ------
    BadInput
        If nothing is decided.
    OutputExists
        If the folder is there, and not, or not only, a dataset that selion made, or ``force`` is
        false.
    """
    options = options or LabelOptions()
    store.check_output(out, force, MADE)
    source = store.open_raster(image)
    truths = truths_of(frame, source.grid)
    decided = frame[np.isin(frame["review:status"].to_numpy(object), OUTLINED)]
    if decided.empty:
        raise BadInput(
            "No field of this map has been decided yet: review it with 'selion review' first."
        )
    rows, pixels = [], Counter[int]()
    with store.atomic_folder(out, force, MADE) as folder:
        for roi, split in _chips(source.grid, decided, options):
            found = _write_chip(folder, source, truths, roi, options)
            if found is not None:
                key, counts = found
                rows.append((key, split, "", f"{key}.tif"))
                pixels.update(counts)
        if not rows:
            raise BadInput(
                f"No decided field lies on {image}: name the image of this map with --image."
            )
        _write_tables(folder, rows, image.stem)
    total = max(sum(pixels.values()), 1)
    shares = {name: pixels[k] / total for k, name in enumerate(FTW3.names)} | {
        "unknown": pixels[IGNORE] / total
    }
    return WrittenLabels(out, dict(Counter(row[1] for row in rows)), shares)


def _chips(
    grid: GeoBox, decided: geopandas.GeoDataFrame, options: LabelOptions
) -> Iterator[tuple[Roi, str]]:
    placed = decided if grid.crs is None else decided.to_crs(str(grid.crs))
    for (rows, columns), split in Strips(options.val).regions(grid, placed, options.size):
        lattice = Lattice((rows.stop - rows.start, columns.stop - columns.start), options.size, 0.0)
        for place in lattice.touching((slice(0, lattice.shape[0]), slice(0, lattice.shape[1]))):
            y, x = lattice.window_roi(*place)
            top, left = rows.start + y.start, columns.start + x.start
            yield (
                (
                    slice(top, min(rows.start + y.stop, rows.stop)),
                    slice(left, min(columns.start + x.stop, columns.stop)),
                ),
                split,
            )


def _write_chip(
    folder: Path, source: Source, truths: Truths, roi: Roi, options: LabelOptions
) -> tuple[str, dict[int, int]] | None:
    """Write one chip; None if nothing is known or seen on it."""
    labels, objects = known_labels(truths, source.grid, roi, options)
    if (labels.ids == IGNORE).all():
        return None
    raster = source.read(roi)
    ids = (
        labels.ids
        if raster.valid is None
        else np.where(raster.valid, labels.ids, IGNORE).astype(np.uint8)
    )
    if (ids == IGNORE).all():
        return None
    key = f"chip_{roi[0].start:05d}_{roi[1].start:05d}"
    nodata = float("nan") if raster.values.dtype.kind == "f" else None
    for name, values, bands, empty in (
        ("images", raster.values, raster.bands, nodata),
        ("labels", ids[None], ("class",), float(IGNORE)),
        ("instances", objects.ids[None], ("instance",), None),
    ):
        with store.create_cog(
            folder / name / f"{key}.tif", raster.grid, bands, values.dtype, nodata=empty
        ) as sink:
            sink.write(whole(raster.grid), values)
    values, counts = np.unique(ids, return_counts=True)
    return key, {int(k): int(n) for k, n in zip(values, counts, strict=True)}


def _write_tables(folder: Path, rows: list[tuple[str, str, str, str]], name: str) -> None:
    write_splits(folder, rows)
    classes = ", ".join(
        f"{key} = {json.dumps(value)}" for key, value in FTW3.to_dict().items() if value
    )
    lines = (
        f"name = {json.dumps(f'{name}, reviewed')}",
        'licence = "not stated"',
        f"notes = {json.dumps('Made by selion from a review; pixels without a decision are 255.')}",
        f"classes = {{ {classes} }}",
        "",
        "[files]",
        'image = "images/{key}.tif"',
        'labels = "labels/{key}.tif"',
        'instances = "instances/{key}.tif"',
        'split = { csv = "splits.csv" }',
        "",
    )
    (folder / FILE).write_text("\n".join(lines), "utf-8")
