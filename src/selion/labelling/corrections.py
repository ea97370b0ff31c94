"""Masks that people correct while they screen: strokes, the mask as it was, and the word on it.

::

    pseudo/masks/KEY.png                     the corrected mask, which all later steps read
    pseudo/corrections/originals/KEY.png     the mask as it was before anybody corrected it
    pseudo/corrections/edits.jsonl           every stroke: who, when, what
    pseudo/decisions.jsonl                   "keep", by whoever finished it, and what it was before

Where masks lie in the folder itself, ``corrections`` is hidden (``.corrections``), so that nothing
takes the originals for masks.  Each step can be repeated: what a kill leaves half done is finished
when the folder is opened again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from selion import store
from selion.classes import CROP, ClassScheme
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.labelling.decisions import KEEP, Decision, content_hash, mask_folder
from selion.labelling.manifest import (
    SETTINGS,
    corrections_folder,
    original_of,
    read_settings,
)
from selion.labelling.mask_editor import Click, MaskEditor, MaskItem, Start
from selion.labelling.mask_edits import EditHistory
from selion.labelling.masks import read_photo_mask, write_mask
from selion.labelling.queue import Item
from selion.labelling.screen import Screening
from selion.labels import LabelMap
from selion.store.cache import LruCache

EDITS = "edits.jsonl"
AS_IT_WAS = "mask"
"""Start of a correction: the mask that was there."""
REMEMBERED = 64
"""Items that are kept at hand."""
Starts = Callable[[Path], Mapping[str, Start]]
"""From a photograph to what a mask may begin from instead."""


class Corrections:
    """The masks of a screening, to be corrected.

    Parameters
    ----------
    screening : Screening
        What people decide goes to its log.
    starts : callable, optional
        Other things than the mask that a correction may begin from.
    click : callable, optional
        Finds the object at a point.

    Raises
    ------
    OutputFailed
        If nothing can be written beside the masks.
    """

    def __init__(
        self, screening: Screening, starts: Starts | None = None, click: Click | None = None
    ) -> None:
        self.screening, self.starts = screening, starts or (lambda _: {})
        self.folder = corrections_folder(screening.pseudo)
        self.masks = mask_folder(screening.pseudo)
        settings = read_settings(screening.pseudo / SETTINGS)
        self.classes: ClassScheme = (
            ClassScheme.from_dict(settings["classes"]) if "classes" in settings else CROP
        )
        self.editor = MaskEditor(
            CorrectedItems(self), self.folder / EDITS, self.classes, click, finisher=self
        )

    def begin(self, name: str) -> MaskItem:
        """Return what is edited where an item of the screening is to be corrected.

        Raises
        ------
        UnknownName
            If there is no such item.
        UnreadableFile
            If its mask is gone, or the photograph cannot be read.
        """
        item = self.screening.item(name)
        store.open_raster(Path(item.photo))  # says why, where it cannot
        return self.editor.item(f"{name}-{self._root(item)}")

    def _root(self, item: Item) -> str:
        """Return the hash of the mask that a person corrects: not that of a correction."""
        kept = original_of(self.screening.pseudo, item.key)
        try:
            found = content_hash(Path(item.mask))
            corrected = self.screening.journal.sync().corrected.get(item.key, ())
            return content_hash(kept) if found in corrected and kept.is_file() else found
        except OSError as error:
            raise UnreadableFile(f"The mask {item.key} is gone: load the page again.") from error

    def source(self, item: Item, root: str) -> Path:
        """Return the file of the mask with a hash.

        Raises
        ------
        UnreadableFile
            If there is none any more, because another mask was put in its place.
        """
        for path in (original_of(self.screening.pseudo, item.key), Path(item.mask)):
            if path.is_file() and content_hash(path) == root:
                return path
        raise UnreadableFile(
            f"The mask {item.key} is another one than that which was corrected: load the page "
            "again."
        )

    def is_finished(self, history: EditHistory) -> bool:
        """Say whether the word on a correction is in the log, which is written last."""
        return history.word is not None and history.word.id in self.screening.journal.sync().ids

    def finish(self, item: MaskItem, labels: LabelMap, history: EditHistory) -> None:
        """Keep the original, put the corrected mask in its place, and write down who said so."""
        name, _, root = item.id.partition("-")
        seen, said = self.screening.item(name), history.word
        if said is None:
            return
        kept = original_of(self.screening.pseudo, seen.key)
        if not (kept.is_file() and content_hash(kept) == root):
            _copy(self.source(seen, root), kept)
        if _holds(kept, labels):
            _copy(kept, item.target)  # all was taken back
        elif not _holds(item.target, labels):
            write_mask(labels, item.target, force=True)
        now = self.screening.look_again(name)
        image, mask = self.screening.hashes(now)
        before = "" if mask == root else root
        word = Decision(
            said.id, said.id, seen.key, KEEP, said.person, "fine", 0.0, said.time, image, mask,
            now.stat, before,
        )  # fmt: skip
        self.screening.journal.append(lambda _: [word])


def _copy(path: Path, target: Path) -> None:
    data = path.read_bytes()
    with store.atomic_write(target, force=True) as temporary:
        temporary.write_bytes(data)


def _holds(path: Path, labels: LabelMap) -> bool:
    """Say whether a file holds this mask."""
    height, width = labels.ids.shape
    try:
        return np.array_equal(read_photo_mask(path, (height, width), labels.classes), labels.ids)
    except (BadInput, UnreadableFile):
        return False


class CorrectedItems(Mapping[str, MaskItem]):
    """Items by ``ID-HASH``: of the screening, and of the mask that is corrected; made when asked.

    A mask that another command has replaced is another item, on which nobody has drawn.
    """

    def __init__(self, owner: Corrections) -> None:
        self.owner = owner
        self._made: LruCache[str, MaskItem] = LruCache(REMEMBERED)

    def __getitem__(self, name: str) -> MaskItem:
        """Return an item; KeyError where it is not there, or not any more."""
        found = self._made.find(name)
        if found is None:
            found = self._make(name)
            self._made.put(name, found)
        return found

    def _make(self, name: str) -> MaskItem:
        owner, (short, _, root) = self.owner, name.partition("-")
        try:
            item = owner.screening.item(short)
            path = owner.source(item, root)
            size = tuple(store.open_raster(Path(item.photo)).grid.shape)
        except (UnknownName, UnreadableFile) as error:
            raise KeyError(name) from error
        shape = (size[0], size[1])
        starts: dict[str, Start] = {
            AS_IT_WAS: partial(_as_it_was, owner, item, path, root, shape),
            **owner.starts(Path(item.photo)),
            "empty": partial(np.zeros, shape, np.uint8),
        }
        return MaskItem(name, item.key, Path(item.photo), shape, starts, Path(item.mask), item.why)

    def __contains__(self, name: object) -> bool:
        """Say whether it is of this screening; its mask may be gone all the same."""
        return isinstance(name, str) and name.partition("-")[0] in self.owner.screening.items

    def __iter__(self) -> Iterator[str]:
        """Go through those on which somebody has drawn."""
        return iter(list(self.owner.editor.histories))

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.owner.editor.histories)


def _as_it_was(
    owner: Corrections, item: Item, path: Path, root: str, shape: tuple[int, int]
) -> np.ndarray:
    """Read the original, which may have been kept elsewhere since the item was made."""
    there = path if path.is_file() and content_hash(path) == root else owner.source(item, root)
    return read_photo_mask(there, shape, owner.classes)
