"""Fields of The World as it lies on disk.

::

    <country>/chips_<country>.parquet                       aoi_id, split (train, val, test, none),
                                                            geometry
    <country>/s2_images/window_{a,b}/<aoi_id>.tif           red, green, blue, near infrared; uint16,
                                                            DN
    <country>/label_masks/semantic_3class/<aoi_id>.tif      0 background, 1 field, 2 boundary, 3 not
                                                            known
    <country>/label_masks/semantic_2class/<aoi_id>.tif      0 background, 1 field; the boundary line
                                                            counts as background
    <country>/label_masks/instance/<aoi_id>.tif             0, object ids; the boundary line is 0

(Kerner et al., Fields of The World, arXiv 2409.16252.)  Brazil, India, Kenya and Rwanda label some
fields only: what is not labelled there is not known, and becomes IGNORE whether the mask says 0
or 3.  Some chips lack imagery; they are named, not passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import FTW2, FTW3, IGNORE, ClassScheme
from selion.data.dataset import Dataset, Entry, Truth
from selion.data.declare import Declaration
from selion.data.files import object_ids
from selion.data.splits import split_name
from selion.data.stacked import stack
from selion.data.values import read_mask, to_classes
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.labels import Instances, LabelMap
from selion.raster import Source

WINDOWS = ("window_a", "window_b")
COLOURS = ("red", "green", "blue", "nir")
BANDS = tuple(f"{window}:{colour}" for window in WINDOWS for colour in COLOURS)
"""A, then B.  The published models were trained on B, then A: their cards name the bands in that
order."""
MASKS = {FTW2.names: "semantic_2class", FTW3.names: "semantic_3class"}
VALUES = {"0": "background", "1": "field", "2": "boundary", "3": "unknown", "255": "unknown"}


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one chip."""

    semantic: Path
    instance: Path | None
    classes: ClassScheme
    presence_only: bool


def open_pair(window_a: Path, window_b: Path) -> Source:
    """Open both windows as one image of eight bands, A then B."""
    return stack([store.open_raster(window_a), store.open_raster(window_b)], BANDS, window_a.name)


def read_masks(masks: Masks, grid: GeoBox) -> Truth:
    """Read a chip's masks; what is not labelled in a presence-only country becomes IGNORE."""
    values = (
        VALUES
        if masks.classes.names == FTW3.names
        else {k: v for k, v in VALUES.items() if k != "2"}
    )
    ids = to_classes(
        read_mask(masks.semantic, grid),
        values,
        masks.classes,
        f"{masks.semantic.parent.name}/{masks.semantic.name}",
    )
    if masks.presence_only:
        ids[ids == 0] = IGNORE
    objects = (
        None
        if masks.instance is None
        else Instances(
            object_ids(read_mask(masks.instance, grid, nodata=0), masks.instance.name), grid
        )
    )
    return LabelMap(ids, grid, masks.classes), objects


def load_ftw(made: Declaration, root: Path, wanted: ClassScheme | None, boundary: int) -> Dataset:  # noqa: ARG001  # the masks have their boundary
    """List all countries that lie under a folder.

    Raises
    ------
    UnreadableFile
        If there is none.
    """
    classes = wanted or FTW3
    if classes.names not in MASKS:
        raise UnknownName.among(
            "class scheme of Fields of The World",
            ", ".join(classes.names),
            [", ".join(names) for names in MASKS],
        )
    tables = find_countries(root)
    if not tables:
        raise UnreadableFile(
            f"No country of Fields of The World lies under {root}: wanted is "
            "<country>/chips_<country>.parquet beside s2_images and label_masks."
        )
    entries: list[Entry] = []
    problems: list[str] = []
    for path in tables:
        mine, said = _country(path, classes, made.presence_only)
        entries += mine
        problems += said
    dataset = made.dataset(classes, entries, root, problems)
    return replace(dataset, licence=_licence(made, {e.group for e in entries}))


def find_countries(root: Path) -> list[Path]:
    """Return the tables of chips in a folder, or in the folders within it."""
    return sorted(root.glob("chips_*.parquet")) or sorted(root.glob("*/chips_*.parquet"))


def _licence(made: Declaration, countries: set[str]) -> str:
    """Name the licences of the countries that are there.

    The whole is as free as its least free part.
    """
    named = sorted({made.groups[country] for country in countries if country in made.groups})
    return "; ".join(named) if named else made.licence


def _country(
    path: Path, classes: ClassScheme, presence_only: tuple[str, ...]
) -> tuple[list[Entry], list[str]]:
    country = path.stem.removeprefix("chips_")
    chips = _chips(path)
    folders = _folders(path.parent, classes)
    paths = {aoi: tuple(folder / f"{aoi}.tif" for folder in folders) for aoi in chips["aoi_id"]}
    splits = dict(zip(chips["aoi_id"], chips["split"], strict=True))
    there = {folder: _names(folder) for folder in folders}
    entries, no_image, no_truth, no_split = [], [], [], []
    for aoi, (window_a, window_b, semantic, instance) in sorted(paths.items()):
        has_a, has_b, has_masks, has_objects = (
            p.name in there[p.parent] for p in (window_a, window_b, semantic, instance)
        )
        if splits[aoi] == "none":
            no_split.append(aoi)
        elif not (has_a and has_b):
            no_image.append(aoi)
        elif not has_masks:
            no_truth.append(aoi)
        else:
            masks = Masks(
                semantic, instance if has_objects else None, classes, country in presence_only
            )
            files = (window_a, window_b, semantic, *([instance] if has_objects else []))
            entries.append(
                Entry(
                    f"{country}/{aoi}",
                    partial(open_pair, window_a, window_b),
                    partial(read_masks, masks),
                    split_name(splits[aoi]),
                    country,
                    files,
                    2,
                )
            )
    said = (
        (no_image, "chips lack imagery"),
        (no_truth, "chips lack masks"),
        (no_split, "chips were given to no split by the publisher"),
    )
    return entries, [
        f"{country}: {len(names)} {what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        for names, what in said
        if names
    ]


def _chips(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path, columns=["aoi_id", "split"])
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors
        raise UnreadableFile(
            f"{path} cannot be read as a table of chips with aoi_id and split "
            f"({str(error).splitlines()[0]}): fetch the country again."
        ) from error
    table = table.fillna({"split": "none"}).astype({"aoi_id": str, "split": str})
    if table["aoi_id"].duplicated().any():
        raise BadInput(
            f"{path} names the chip {table['aoi_id'][table['aoi_id'].duplicated()].iloc[0]} twice: "
            "fetch the country again."
        )
    return table.assign(
        split=np.where(table["split"].isin(["", "None", "nan"]), "none", table["split"])
    )


def _folders(country: Path, classes: ClassScheme) -> tuple[Path, Path, Path, Path]:
    """Return the folders of window A, window B, masks and instances."""
    images, masks = country / "s2_images", country / "label_masks"
    return (
        images / WINDOWS[0],
        images / WINDOWS[1],
        masks / MASKS[classes.names],
        masks / "instance",
    )


def _names(folder: Path) -> set[str]:
    """List a folder once: asking for each of 70,000 chips takes minutes on a network drive."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
