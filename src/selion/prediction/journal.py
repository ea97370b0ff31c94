"""Finished blocks of a prediction, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from typing import Any

from selion.grid import Roi
from selion.store.blocks import BlockKind, BlockStore, FormerBlocks, Shape

SCORES = BlockKind("finished blocks of an interrupted selion run", "journal.json", "|u1", True)
"""(class, y, x) quantised scores."""
FORMER_MAGIC = b"tilthbl2"
"""What blocks began with under the former name."""
FORMER_HEAD = struct.Struct("<8s32s4q3q")
"""Magic, SHA-256 of the key, bounds of the region, shape; then a BLAKE2b digest of 16 bytes over
head and payload, then the payload."""
DIGEST = 16
"""Bytes of that digest."""


class BlockJournal(BlockStore):
    """The finished blocks of one prediction; see :class:`~selion.store.blocks.BlockStore`.

    Parameters
    ----------
    folder : path or URL
        Made if missing.  If it holds the blocks of another key they are removed.
    key : str
        ``PredictionPlan.key``.
    former_key : str, optional
        ``PredictionPlan.former_key``: blocks that were written under the project's former name are
        read too.

    Raises
    ------
    OutputFailed
        If the place cannot be written to.
    """

    def __init__(
        self, folder: str | os.PathLike[str], key: str, former_key: str | None = None
    ) -> None:
        former = former_key and FormerBlocks(FORMER_MAGIC.decode(), former_key, _former_block)
        super().__init__(folder, key, SCORES, former or None)


def _former_block(
    content: bytes, key: str, roi: Roi, shape: Shape
) -> tuple[Mapping[str, Any], bytes] | None:
    """Read a block that was written under the former name."""
    head = FORMER_HEAD.pack(
        FORMER_MAGIC,
        hashlib.sha256(key.encode()).digest(),
        *(roi[0].start, roi[0].stop, roi[1].start, roi[1].stop),
        *shape,
    )
    payload = content[len(head) + DIGEST :]
    digest = hashlib.blake2b(head + payload, digest_size=DIGEST).digest()
    return ({}, payload) if content.startswith(head + digest) else None
