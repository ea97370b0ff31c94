"""Dataset: many samples, each opened when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from odc.geo.geobox import GeoBox

from selion.classes import ClassScheme
from selion.errors import UnknownName
from selion.labels import Instances, LabelMap
from selion.raster import Source
from selion.sample import Sample

Truth = tuple[LabelMap | None, Instances | None]
SPLITS = ("train", "val", "test")
"""What splits are called here, however the publisher calls them."""
SPLIT_NAMES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
"""Publishers' names of splits, in small letters."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample that is not open yet.

    Picklable, as its two calls are partials of functions on module level.
    """

    key: str
    image: Callable[[], Source]
    """Opens the image."""
    truth: Callable[[GeoBox], Truth]
    """Reads labels and instances; the image's grid is given so that what does not fit can be
    refused."""
    split: str = ""
    group: str = ""
    files: tuple[Path, ...] = ()
    """What it is read from, the image first."""
    images: int = 1
    """How many of the files are the image; the others hold the truth."""

    def open(self) -> Sample:
        """Open the image and read the truth."""
        image = self.image()
        labels, instances = self.truth(image.grid)
        return Sample(self.key, image, labels, instances, self.group, self.split)


@dataclass(frozen=True, eq=False)
class Dataset(Sequence[Sample]):
    """A sequence of samples with what one must know of them.

    Classes, licence, splits and what is missing.
    """

    name: str
    classes: ClassScheme
    entries: tuple[Entry, ...]
    licence: str = ""
    citation: str = ""
    folder: Path | None = None
    problems: tuple[str, ...] = ()
    """What was found wrong while listing: images without truth, truth without images, splits that
    share a sample."""
    presence_only: tuple[str, ...] = field(default=())
    """Groups of which only some objects are labelled: their background is IGNORE."""

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        """Open a sample, or take a part of the dataset."""
        if isinstance(index, slice):
            return replace(self, entries=self.entries[index])
        return self.entries[index].open()

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the samples."""
        return tuple(entry.key for entry in self.entries)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that there are, ``train`` first."""
        found = {entry.split for entry in self.entries}
        return (
            *(name for name in SPLITS if name in found),
            *sorted(found.difference(SPLITS, {""})),
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups (countries, species, sites) that there are, sorted."""
        return tuple(sorted({entry.group for entry in self.entries} - {""}))

    def select(
        self, split: str | None = None, groups: str | Sequence[str] | None = None
    ) -> Dataset:
        """Take one split, or some groups, or both.

        Raises
        ------
        UnknownName
            If there is no such split or group.
        """
        wanted = (groups,) if isinstance(groups, str) else groups
        for kind, names, known in (
            ("split", () if split is None else (split,), self.splits),
            ("group", wanted or (), self.groups),
        ):
            for name in names:
                if name not in known:
                    raise UnknownName.among(f"{kind} of {self.name}", name, known)
        kept = tuple(
            e
            for e in self.entries
            if (split is None or e.split == split) and (wanted is None or e.group in wanted)
        )
        return replace(self, entries=kept)
