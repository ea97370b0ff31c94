"""Finished blocks of a composite, and the scenes that broke.

So an interrupted composite goes on to the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selion.grid import Roi, roi_shape
from selion.store.blocks import (
    HEAD,
    BlockKind,
    BlockStore,
    FormerBlocks,
    Shape,
    StoredBlock,
    decode_block,
)

# noise gains little from compression, and the folder lives only until the composite is whole
PIXELS = BlockKind(
    "finished blocks of an interrupted selion composite", "composite.json", "<u2", packed=False
)
FORMER_MAGIC = b"tilthcmp"
"""What blocks began with under the former name."""


@dataclass(frozen=True, eq=False, slots=True)
class CompositeBlock:
    """A finished piece of a composite."""

    values: np.ndarray
    """(band, y, x) uint16; the last band is the number of views."""
    clear: Mapping[str, int]
    """Id of each scene that took part -> its clear pixels here."""


@dataclass(eq=False)
class CompositeBlocks:
    """The finished blocks of one composite; see :class:`~selion.store.blocks.BlockStore`.

    A block in which a scene took part that is excluded, and one that was made while a scene was
    excluded that is not so any more, count as not there too.
    """

    store: BlockStore
    bands: int
    """Bands of a block."""
    lost: dict[str, str]
    """Id of each scene that is excluded -> why."""
    _known: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """Region of each block that was checked or written in this run -> scenes that took part, scenes
    that were excluded then."""

    @classmethod
    def open(cls, folder: str | os.PathLike[str], key: str, bands: int) -> CompositeBlocks:
        """Open the folder, with what an earlier run of the same key left in it.

        Parameters
        ----------
        folder : path
            Made if missing.
        key : str
            Stands for all that decides the result; blocks of another key are removed.
        bands : int
            Bands of a block.

        Raises
        ------
        OutputFailed
            If it cannot be written to.
        """
        former = FormerBlocks("", key, _former_block)
        store = BlockStore(folder, key, PIXELS, former, {"lost": {}})
        lost = store.facts["lost"]
        return cls(store, bands, dict(lost) if isinstance(lost, dict) else {})

    @property
    def folder(self) -> str:
        """Where they are, for messages."""
        return self.store.folder

    def exclude(self, lost: Mapping[str, str]) -> None:
        """Remember scenes that broke; blocks in which they took part are finished no longer."""
        self._now_lost(self.lost | dict(lost))

    def include(self, scenes: Collection[str]) -> None:
        """Take scenes back in; blocks that were made without them are finished no longer."""
        self._now_lost({scene: why for scene, why in self.lost.items() if scene not in scenes})

    def _now_lost(self, lost: dict[str, str]) -> None:
        self.lost = lost
        self.store.remember(lost=lost)

    def save(self, roi: Roi, block: CompositeBlock) -> None:
        """Keep a finished block.

        Raises
        ------
        OutputFailed
            If there is no space left, or no permission.
        """
        facts = {"clear": dict(block.clear), "without": sorted(self.lost)}
        self.store.save(roi, block.values, facts)
        self._learn(roi, facts)

    def load(self, roi: Roi) -> CompositeBlock | None:
        """Return a block, or None if there is no whole and valid one; every byte is checked."""
        found = self._find(roi)
        return None if found is None else CompositeBlock(found.values, found.facts["clear"])

    def has(self, roi: Roi) -> bool:
        """Say whether :meth:`load` returns a block.

        What this run has seen once is not read again.
        """
        return self._stands(roi) if str(roi) in self._known else self._find(roi) is not None

    def _find(self, roi: Roi) -> StoredBlock | None:
        found = self.store.find(roi, (self.bands, *roi_shape(roi)))
        if found is None:
            return None
        self._learn(roi, found.facts)
        return found if self._stands(roi) else None

    def _learn(self, roi: Roi, facts: Mapping[str, Any]) -> None:
        self._known[str(roi)] = frozenset(facts["clear"]), frozenset(facts["without"])

    def _stands(self, roi: Roi) -> bool:
        """Say whether a block that is there would come out the same now."""
        took_part, without = self._known[str(roi)]
        return not took_part & self.lost.keys() and without <= self.lost.keys()

    def remove(self) -> None:
        """Remove what was kept; call it when the composite is whole."""
        self.store.remove()


def _former_block(
    content: bytes, key: str, roi: Roi, shape: Shape
) -> tuple[Mapping[str, Any], memoryview] | None:
    """Read a block that was written under the former name; its digest left out the head."""
    found = decode_block(content, FORMER_MAGIC, HEAD.size)
    if found is None:
        return None
    facts = {name: found[0].pop(name, ()) for name in ("clear", "without")}
    bounds = [roi[0].start, roi[0].stop, roi[1].start, roi[1].stop]
    about = {"key": key, "roi": bounds, "bands": shape[0]}
    return (facts, found[1]) if found[0] == about else None
