"""Where a recipe's samples come from.

One dataset, own polygons, or several datasets with shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selion.errors import BadInput

Pair = tuple[float, float]


def check(good: bool, key: str, value: object, wanted: str) -> None:
    """Refuse a value of a recipe.

    Raises
    ------
    BadInput
        With the key, the value and what is wanted.
    """
    if not good:
        raise BadInput(f"{key} = {value!r} was given; wanted is {wanted}.")


def share(key: str, value: float) -> None:
    """Refuse what is no share."""
    check(0 <= value <= 1, key, value, "a number from 0 to 1")


def ordered(key: str, value: Pair, least: float = 0.0) -> None:
    """Refuse two numbers that are too small or the wrong way round."""
    check(
        least <= value[0] <= value[1],
        key,
        list(value),
        f"two numbers from {least:g} up, the smaller one first",
    )


def at_least(least: int, table: str, values: object, *names: str) -> None:
    """Refuse fields of a recipe's table that are too small."""
    for name in names:
        value = getattr(values, name)
        check(value >= least, f"{table}.{name}", value, f"{least} or more")


def learnable(table: str, values: object) -> None:
    """Refuse a learning rate, a warm-up or a decay of weights that nothing could be learnt with."""
    lr, warmup = (getattr(values, name) for name in ("lr", "warmup"))
    check(lr > 0, f"{table}.lr", lr, "a number above 0")
    check(0 <= warmup < 1, f"{table}.warmup", warmup, "a share from 0 up to 1")
    at_least(0, table, values, "weight_decay")


def per_band(key: str, values: Sequence[float], bands: Sequence[str]) -> None:
    """Refuse a scaling that is neither for all bands nor for each."""
    wanted = f"one number, or one for each of the {len(bands)} bands"
    check(len(values) in {1, len(bands)}, key, list(values), wanted)


@dataclass(frozen=True)
class RecipeHead:
    """What every recipe says of the model that it makes."""

    name: str = "model"
    summary: str = ""
    licence: str = ""
    """Of the trained weights; it follows from the data's."""
    attribution: str = ""
    seed: int = 7


@dataclass(frozen=True)
class DatasetShare:
    """One dataset of a mixture; what is empty here is as in the recipe."""

    share: float = 0.0
    """Share of the windows of each epoch."""
    dataset: str = ""
    root: str = ""
    image: str = ""
    polygons: str = ""
    area: str = ""
    """As in :class:`Data`: a name or folder, or an image with polygons."""
    groups: tuple[str, ...] = ()
    train_split: str = "train"
    validation_split: str = "val"
    truth: Literal["", "auto", "labels", "instances"] = ""
    boundary_width: int = 0
    bands: tuple[str, ...] = ()
    """Which of its bands stand for ``input.bands``, in their order."""
    divide: tuple[float, ...] = ()
    """What its numbers are divided by."""
    gsd: Pair | None = None
    """Ground sampling distances in metres that its windows are drawn at."""

    def __post_init__(self) -> None:
        check(0 < self.share <= 1, "data.mix.share", self.share, "a number above 0, at most 1")
        check(
            bool(self.dataset) != bool(self.image),
            "data.mix.dataset",
            self.dataset,
            "a dataset, or an image with polygons",
        )
        check(
            self.boundary_width >= 0,
            "data.mix.boundary_width",
            self.boundary_width,
            "1 or more, or 0 for the recipe's",
        )


@dataclass(frozen=True)
class Data:
    """Which samples."""

    dataset: str = ""
    """Name of a dataset of :func:`selion.data.load_dataset`, or a folder of images and masks."""
    root: str = ""
    """Where a dataset that is known by name lies."""
    image: str = ""
    """Own polygons: the image ..."""
    polygons: str = ""
    """... and the outlines on it (GeoPackage, GeoParquet, ...).  Together they stand for a
    dataset."""
    area: str = ""
    """Own polygons: a table of the areas in which every field is outlined; outside of them nothing
    is known."""
    complete: bool = False
    """Own polygons: every field of the image is outlined, and all the rest is background.  Without
    it and without ``area``, what lies away from all outlines is not known."""
    validation_share: float = 0.2
    """Own polygons: share that is kept for validation: of what is outlined, or of the land where
    ``block_km`` is given."""
    block_km: float = 0.0
    """Own polygons: edge of the blocks of land that are drawn for training or validation; 0: a
    strip of the image that holds the share, several where the image is large."""
    groups: tuple[str, ...] = ()
    """Only these groups (countries) are trained on; empty: all."""
    validation_groups: tuple[str, ...] = ()
    """Only these groups are validated on; empty: all."""
    train_split: str = "train"
    validation_split: str = "val"
    truth: Literal["auto", "labels", "instances"] = "auto"
    """What the classes come from: masks as they are, or object ids, whose boundary is then drawn at
    the window's own resolution.
    "auto": ids where there are any."""
    boundary_width: int | Literal["auto"] = 1
    """Pixels of boundary drawn inside each object, when the truth is ids.  "auto": as many as are
    as wide as the boundary that ``model.start_from`` learnt, if its card says how wide; else 1."""
    mix: tuple[DatasetShare, ...] = ()
    """More datasets, each with its share of the windows; ``dataset`` keeps what is left to 1.
    Without ``dataset`` their shares are brought to 1.  Validation is that of ``dataset`` where it
    has a split for it, else of all parts that are fed as the recipe says (no ``bands``, no
    ``divide``)."""

    def __post_init__(self) -> None:
        total = sum(part.share for part in self.mix)
        check(
            not (self.dataset or self.image) or total < 1,
            "data.mix",
            f"shares of {total:g}",
            "shares that leave something to data.dataset",
        )
        if self.boundary_width != "auto":
            at_least(1, "data", self, "boundary_width")
        check(
            0 <= self.validation_share < 1,
            "data.validation_share",
            self.validation_share,
            "a share from 0 up to 1",
        )
        check(self.block_km >= 0, "data.block_km", self.block_km, "a length, or 0")

    @property
    def boundary_pixels(self) -> int:
        """Pixels of boundary: 1 where "auto" was not worked out, as for samples at hand."""
        return 1 if self.boundary_width == "auto" else self.boundary_width
