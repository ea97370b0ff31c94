"""AI4Boundaries: Europe's declared parcels beside Sentinel-2 months or photographs.

The photographs are aerial (d'Andrimont et al. 2023, doi:10.5194/essd-15-317-2023).

::

    sentinel2/ai4boundaries_ftp_urls_sentinel2_split.csv     file_id, split (train, val, test or
                                                             nothing)
    sentinel2/images/<country>/<id>_S2_10m_256.nc            netCDF: B2, B3, B4, B8, NDVI, each of
                                                             six months, March to August 2019
    sentinel2/masks/<country>/<id>_S2label_10m_256.tif       float: extent, boundary, distance,
                                                             number of the parcel (negative: none;
                                                             parcels from 2)
    orthophoto/images/<country>/<id>_ortho_1m_512.tif        red, green, blue
    orthophoto/masks/<country>/<id>_ortholabel_1m_512.tif    as above

The folders ``train``, ``val`` and ``test`` that common download scripts make, in the place of
countries or above them, are understood as well.  Boundary goes before extent, as its lines lie on
the parcels' edges.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import FTW2, FTW3, IGNORE, ClassScheme
from selion.data.dataset import SPLIT_NAMES, Dataset, Entry, Truth
from selion.data.declare import Declaration
from selion.data.files import open_image
from selion.data.splits import read_table, split_name
from selion.data.stacked import BandSubset, stack
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.grid import same_grid, whole
from selion.labels import Instances, LabelMap
from selion.raster import Source

VARIABLES = {"B4": "red", "B3": "green", "B2": "blue", "B8": "nir"}
"""netCDF variables and the names of their bands, in our order."""
MONTHS = ("march", "april", "may", "june", "july", "august")
NAMES = {
    "sentinel2": (re.compile(r"(\w+?)_S2_10m_256\.nc"), "{}_S2label_10m_256.tif"),
    "orthophoto": (re.compile(r"(\w+?)_ortho_1m_512\.tif"), "{}_ortholabel_1m_512.tif"),
}
"""File names of images and of their masks."""
TABLE = "ai4boundaries_ftp_urls_*.csv"


def open_months(path: Path, months: tuple[str, ...]) -> Source:
    """Open months of a netCDF file.

    Two of them are ``window_a`` and ``window_b``, one or many keep their names.

    Raises
    ------
    UnreadableFile, BadInput
        If GDAL cannot read it, or it has other months.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise UnreadableFile(f"{path} is missing or empty: download it again.")
    parts = [store.GeoTiffSource.open(f'NETCDF:"{path}":{variable}') for variable in VARIABLES]
    if any(len(part.bands) != len(MONTHS) for part in parts):
        raise BadInput(
            f"{path} has {len(parts[0].bands)} months; wanted are {len(MONTHS)}, March to August: "
            "download it again."
        )
    every = stack(
        parts, [f"{month}:{colour}" for colour in VARIABLES.values() for month in MONTHS], path.name
    )
    windows = ("window_a", "window_b") if len(months) == 2 else months
    pairs = [
        (f"{window}:{colour}", f"{month}:{colour}")
        for window, month in zip(windows, months, strict=True)
        for colour in VARIABLES.values()
    ]
    return BandSubset(
        every, tuple(every.bands.index(name) for _, name in pairs), tuple(name for name, _ in pairs)
    )


def read_labels(path: Path, classes: ClassScheme, grid: GeoBox) -> Truth:
    """Read extent, boundary and numbers of parcels.

    Raises
    ------
    BadInput, GridMismatch
        If the file does not hold the four bands, or lies elsewhere.
    """
    source = store.GeoTiffSource.open(path)
    mask = source.read(whole(source.grid)).values
    if len(mask) != 4 or mask.shape[1:] != tuple(grid.shape):
        raise BadInput(
            f"{path.name} has {len(mask)} bands of {mask.shape[1]} x {mask.shape[2]} pixels; "
            f"wanted are 4 of {grid.shape[0]} x {grid.shape[1]}, as the image."
        )
    if grid.crs is not None and source.grid.crs is not None:
        # netCDF and GeoTIFF write the one CRS in two ways
        placed = GeoBox(source.grid.shape, source.grid.transform, grid.crs)
        same_grid(grid, placed, ("the image", f"its mask {path.name}"))
    extent, line, _, number = mask
    unknown = ~np.isfinite(extent)
    ids = np.where((extent > 0.5) & (line < 0.5) & np.isfinite(number) & (number > 0), number, 0)
    labels = np.where(line > 0.5, 2 if classes.names == FTW3.names else 0, extent > 0.5).astype(
        np.uint8
    )
    labels[unknown] = IGNORE
    return LabelMap(labels, grid, classes), Instances(np.nan_to_num(ids).astype(np.int32), grid)


def load_ai4boundaries(
    made: Declaration,
    root: Path,
    wanted: ClassScheme | None,
    boundary: int,  # noqa: ARG001  # the masks have their boundary
) -> Dataset:
    """List the Sentinel-2 or the aerial half, whichever the declaration names.

    Raises
    ------
    UnreadableFile
        If its images are not there.
    UnknownName
        If other classes than those of fields are asked for.
    """
    classes = wanted or FTW3
    if classes.names not in (FTW2.names, FTW3.names):
        raise UnknownName.among(
            "class scheme of AI4Boundaries",
            ", ".join(classes.names),
            [", ".join(FTW2.names), ", ".join(FTW3.names)],
        )
    kind = str(made.settings.get("kind", "sentinel2"))
    months = tuple(str(month) for month in made.settings.get("months", ("april", "july")))
    for month in months:
        if month not in MONTHS:
            raise UnknownName.among("month of AI4Boundaries", month, MONTHS)
    pattern, mask_name = NAMES[kind]
    images = sorted((p for p in _below(root) if pattern.fullmatch(p.name)), key=lambda p: p.name)
    if not images:
        raise UnreadableFile(
            f"No image of AI4Boundaries ({kind}) lies under {root}: wanted is "
            f"{kind}/images/<country>/ beside {kind}/masks/<country>/."
        )
    splits, masks = _splits(root), {path.name: path for path in _below(root, "masks")}
    entries, lost = [], []
    for image in images:
        key = pattern.fullmatch(image.name)[1]  # type: ignore[index]  # it was found by this
        mask = masks.get(mask_name.format(key))
        if mask is None:
            lost.append(key)
            continue
        opened = (
            partial(open_months, image, months)
            if kind == "sentinel2"
            else partial(open_image, image, ("red", "green", "blue"))
        )
        split = splits.get(key) or _split_of(image)
        entries.append(
            Entry(
                key,
                opened,
                partial(read_labels, mask, classes),
                split,
                key.partition("_")[0],
                (image, mask),
            )
        )
    problems = (
        [f"{len(lost)} images have no mask: {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}"]
        if lost
        else []
    )
    return made.dataset(classes, entries, root, problems)


def _below(root: Path, name: str = "images") -> list[Path]:
    """Return all files below folders of a name.

    Images and masks are not always in the same folders within them.
    """
    return [
        path
        for folder in sorted(root.rglob(name))
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.is_file()
    ]


def _splits(root: Path) -> dict[str, str]:
    """Read which parcel chip is in which split; chips without one have none."""
    tables = sorted(
        path
        for folder in (root, root.parent, root / "sentinel2", root / "orthophoto")
        for path in folder.glob(TABLE)
    )
    rows = [row for path in tables for row in read_table(path)]
    return {
        row["file_id"]: split_name(row["split"])
        for row in rows
        if row.get("file_id") and row.get("split", "").lower() not in ("", "na", "nan")
    }


def _split_of(path: Path) -> str:
    return next(
        (
            SPLIT_NAMES[part.lower()]
            for part in reversed(path.parent.parts)
            if part.lower() in SPLIT_NAMES
        ),
        "",
    )
