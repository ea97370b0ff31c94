"""PASTIS: French parcels with time series of Sentinel-2, and what is stored like it.

Garnot and Landrieu 2021, doi:10.1109/ICCV48922.2021.00483.

::

    metadata.geojson                              ID_PATCH, Fold (1 to 5), TILE, dates-S2 {"0":
                                                  20180917, ...}
    DATA_S2/S2_<id>.npy                           (time, 10 bands, 128, 128) int16, reflectance x
                                                  10000
    ANNOTATIONS/TARGET_<id>.npy                   (3, 128, 128): crop 0 to 19 in the first; 0 is
                                                  background, 19 a parcel that is not known
    INSTANCE_ANNOTATIONS/INSTANCES_<id>.npy       (128, 128) parcel ids

Patches are given without a place: their squares in the metadata are in another projection than
their pixels.  A season is the median of the dates within it, so that the same recipe reads PASTIS
and Fields of The World; clouds are not masked in PASTIS, and a median of many dates drops them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion.classes import FTW2, FTW3, IGNORE, ClassScheme
from selion.data.dataset import Dataset, Entry, Truth
from selion.data.declare import Declaration
from selion.data.truths import truth_in
from selion.data.values import read_array
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.grid import photo_grid
from selion.labels import Instances, LabelMap
from selion.raster import Raster, Source

COLOURS = {"red": 2, "green": 1, "blue": 0, "nir": 6}
"""Our bands and their places among B2, B3, B4, B5, B6, B7, B8, B8A, B11, B12."""
VOID = 19
"""Crop of a parcel that lies mostly outside its patch."""
FOLDS = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
"""The first of the five folds that the authors average over."""
WINDOWS = {"window_a": ("03-15", "05-15"), "window_b": ("07-01", "09-15")}


@dataclass(frozen=True, slots=True)
class PastisDates:
    """Month and day of the first and the last date, which count.

    A window may pass the year's end.
    """

    name: str
    first: str
    last: str

    def holds(self, date: str) -> bool:
        """Say whether a date, as YYYYMMDD, lies within, in whichever year."""
        day = f"{date[4:6]}-{date[6:8]}"
        return (
            self.first <= day <= self.last
            if self.first <= self.last
            else day >= self.first or day <= self.last
        )


def open_seasons(path: Path, dates: tuple[str, ...], seasons: tuple[PastisDates, ...]) -> Source:
    """Open a time series as one image.

    The median of each season, or every date where no season is given.

    Raises
    ------
    BadInput
        If the series and its dates do not fit, or a season has no date.
    """
    series = read_array(path)
    if series.ndim != 4 or series.shape[1] != 10 or len(series) != len(dates):
        raise BadInput(
            f"{path.name} has shape {series.shape}; wanted is ({len(dates)} dates, 10 bands, y, x)."
        )
    colours = series[:, list(COLOURS.values())]  # (time, colour, y, x)
    pieces, names = [], []
    for season in seasons:
        within = [k for k, date in enumerate(dates) if season.holds(date)]
        if not within:
            raise BadInput(
                f"{path.name} has no date from {season.first} to {season.last}: choose other "
                "windows."
            )
        pieces.append(np.round(np.median(colours[within], axis=0)).astype(series.dtype))
        names += [f"{season.name}:{colour}" for colour in COLOURS]
    if not seasons:
        pieces, names = list(colours), [f"{date}:{colour}" for date in dates for colour in COLOURS]
    return Raster(
        np.concatenate(pieces), photo_grid((series.shape[2], series.shape[3])), tuple(names)
    )


def read_parcels(
    crops: Path, parcels: Path, classes: ClassScheme, boundary: int, grid: GeoBox
) -> Truth:
    """Read crops and parcels of a patch.

    Raises
    ------
    BadInput
        If they have another size than the image.
    """
    crop, ids = read_array(crops), read_array(parcels)
    crop = crop[0] if crop.ndim == 3 else crop
    for name, array in ((crops.name, crop), (parcels.name, ids)):
        if array.shape != tuple(grid.shape):
            raise BadInput(
                f"{name} has shape {array.shape}, its image {tuple(grid.shape)}: download it again."
            )
    void = crop == VOID
    known = LabelMap(np.where(void, IGNORE, crop > 0).astype(np.uint8), grid, FTW2)
    return truth_in(
        classes,
        known,
        Instances(np.where(void | (crop == 0), 0, ids).astype(np.int32), grid),
        boundary,
    )


def load_pastis(
    made: Declaration, root: Path, wanted: ClassScheme | None, boundary: int
) -> Dataset:
    """List the patches.

    Raises
    ------
    UnreadableFile
        If ``metadata.geojson`` is missing or not whole.
    UnknownName
        If other classes than those of fields are asked for.
    """
    classes = wanted or FTW3
    if classes.names not in (FTW2.names, FTW3.names):
        raise UnknownName.among(
            "class scheme of PASTIS",
            ", ".join(classes.names),
            [", ".join(FTW2.names), ", ".join(FTW3.names)],
        )
    home = next(
        (
            folder
            for folder in (root, root / "PASTIS-R", root / "PASTIS")
            if (folder / "metadata.geojson").is_file()
        ),
        root,
    )
    seasons = tuple(
        PastisDates(name, str(first), str(last))
        for name, (first, last) in made.settings.get("windows", WINDOWS).items()
    )
    entries, lost = [], []
    for patch in _patches(home / "metadata.geojson"):
        entry = _entry(home, patch, seasons, classes, boundary)
        if all(path.is_file() for path in entry.files):
            entries.append(entry)
        else:
            lost.append(entry.key)
    if not entries:
        raise UnreadableFile(
            f"No patch of {home / 'metadata.geojson'} has its files DATA_S2, ANNOTATIONS and "
            "INSTANCE_ANNOTATIONS: unpack the archive again."
        )
    problems = (
        [f"{len(lost)} patches lack files: {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}"]
        if lost
        else []
    )
    return made.dataset(classes, entries, root, problems)


def _patches(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        patches = [
            feature["properties"] for feature in json.loads(path.read_text("utf-8"))["features"]
        ]
        return sorted(patches, key=lambda patch: int(patch["ID_PATCH"]))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as the metadata of PASTIS ({type(error).__name__}: {error}): "
            "wanted is GeoJSON with ID_PATCH, Fold and dates-S2."
        ) from error


def _entry(
    home: Path,
    patch: Mapping[str, Any],
    seasons: tuple[PastisDates, ...],
    classes: ClassScheme,
    boundary: int,
) -> Entry:
    key = str(patch["ID_PATCH"])
    image = home / "DATA_S2" / f"S2_{key}.npy"
    crops, parcels = (
        home / "ANNOTATIONS" / f"TARGET_{key}.npy",
        home / "INSTANCE_ANNOTATIONS" / f"INSTANCES_{key}.npy",
    )
    truth = partial(read_parcels, crops, parcels, classes, boundary)
    split = FOLDS.get(int(patch.get("Fold", 0)), "")
    return Entry(
        key,
        partial(open_seasons, image, _dates(patch), seasons),
        truth,
        split,
        str(patch.get("TILE", "")).lower(),
        (image, crops, parcels),
    )


def _dates(patch: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the dates in the order of the series; GDAL writes the table of dates as text."""
    given = patch.get("dates-S2", {})
    table = json.loads(given.replace("'", '"')) if isinstance(given, str) else given
    return tuple(str(table[k]) for k in sorted(table, key=int))
