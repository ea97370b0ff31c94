"""Masks that people draw and correct: starts, edits kept on the disk, finished masks."""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, UnknownName
from selion.grid import photo_grid
from selion.labelling.mask_edits import (
    CLICK,
    DONE,
    DRAWING,
    SKIP,
    START,
    Edit,
    EditHistory,
    apply_edit,
    read_edit,
    to_runs,
)
from selion.labelling.masks import write_mask
from selion.labels import LabelMap
from selion.store.append_log import AppendLog

KEPT, MOST_BYTES = 24, 256 << 20
"""States of masks that are kept in memory, and the bytes of them: one edit can be taken back
without drawing all others again."""
Start = Callable[[], np.ndarray]
"""Makes (y, x) uint8 class ids."""
Click = Callable[[Path, np.ndarray], np.ndarray]
"""From an image and (point, 2) x and y to the (y, x) bool object there."""


@dataclass(frozen=True, eq=False, slots=True)
class MaskItem:
    """An image that a mask is drawn for."""

    id: str
    name: str
    image: Path
    shape: tuple[int, int]
    starts: Mapping[str, Start]
    """What a mask may begin from, by name; the first is what it begins from."""
    target: Path
    """Where the mask is written when it is finished."""
    about: str = ""
    """A few words on it for the person."""


class Finisher(Protocol):
    """What is done with a mask that somebody has finished."""

    def is_finished(self, history: EditHistory) -> bool:
        """Say whether all was done with what was last finished, as it is not after a kill."""

    def finish(self, item: MaskItem, labels: LabelMap, history: EditHistory) -> None:
        """Do it."""


class MaskEditor:
    """Items, a log, and the people who draw.

    Safe to be used by several threads.  An edit counts when :meth:`act` has returned: then it is on
    the disk.

    Parameters
    ----------
    items : sequence of MaskItem, or mapping of str to MaskItem
        By id where it is a mapping, which may make them when they are asked for.
    log : path
    classes : ClassScheme
    click : callable, optional
        Finds the object at a point; None: that cannot be asked for.
    finisher : Finisher, optional
        Asked when somebody says that a mask is done.  Without one a mask is written whenever it is
        done and changes.
    """

    def __init__(
        self,
        items: Sequence[MaskItem] | Mapping[str, MaskItem],
        log: Path,
        classes: ClassScheme,
        click: Click | None = None,
        finisher: Finisher | None = None,
    ) -> None:
        given = items if isinstance(items, Mapping) else {item.id: item for item in items}
        self.items: Mapping[str, MaskItem] = given
        self.classes, self.click, self.finisher = classes, click, finisher
        self.lock = threading.RLock()
        self.histories: dict[str, EditHistory] = defaultdict(EditHistory)
        self.ids: set[str] = set()
        self._states: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._log = AppendLog(log, "edits of masks are", self._restart, self._take)
        with self._log.opened():
            pass
        for name, history in list(self.histories.items()):
            # of a server that was killed before it had written
            if history.status == DONE and not self._is_finished(history):
                item = self.items.get(name)
                if item is not None:
                    self._finish(item)

    def _restart(self) -> None:
        self.histories.clear()
        self.ids.clear()

    def _take(self, line: bytes) -> None:
        try:
            edit = read_edit(json.loads(line))
        except (ValueError, AttributeError, RecursionError):
            return
        if edit.id not in self.ids:
            self.ids.add(edit.id)
            self.histories[edit.item].add(edit)

    def item(self, name: str) -> MaskItem:
        """Return an item by its id.

        Raises
        ------
        UnknownName
            If there is none.
        """
        found = self.items.get(name)
        if found is None:
            raise UnknownName(f"There is no mask {name[:40]!r} to edit.")
        return found

    def history(self, name: str) -> EditHistory:
        """Return what was done to a mask."""
        return self.histories[name] if name in self.histories else EditHistory()

    def sync(self) -> None:
        """Take in what others have drawn on the same log since."""
        with self.lock:
            if self._log.behind:
                with self._log.opened():
                    pass

    def mask(self, name: str) -> np.ndarray:
        """Return the (y, x) uint8 class ids of a mask as they are now."""
        with self.lock:
            return self._drawn(self.item(name), self.history(name).done)

    def remembered(self, name: str, version: str) -> np.ndarray | None:
        """Return the mask as it was at a version, where that is in memory; see ``version``."""
        with self.lock:
            first = f"start {next(iter(self.item(name).starts))}"
            return self._states.get((name, first if version == "0" else version))

    def _drawn(self, item: MaskItem, edits: Sequence[Edit]) -> np.ndarray:
        first = len(edits)
        while first and (item.id, edits[first - 1].id) not in self._states:
            first -= 1
        ids = self._states[item.id, edits[first - 1].id] if first else self._start(item, "")
        for edit in edits[first:]:
            ids = self._start(item, edit.start) if edit.kind == START else apply_edit(ids, edit)
            self._keep((item.id, edit.id), ids)
        return ids

    def _start(self, item: MaskItem, start: str) -> np.ndarray:
        chosen = start or next(iter(item.starts))
        if (item.id, f"start {chosen}") not in self._states:
            ids = item.starts[chosen]()
            if ids.shape != item.shape:
                raise BadInput(f"The start {chosen} of {item.name} has another size.")
            self._keep((item.id, f"start {chosen}"), ids)
        return self._states[item.id, f"start {chosen}"]

    def _keep(self, key: tuple[str, str], ids: np.ndarray) -> None:
        self._states[key] = ids
        most = min(KEPT, max(2, MOST_BYTES // max(ids.nbytes, 1)))
        while len(self._states) > most:
            self._states.popitem(last=False)

    def act(self, edit: Edit) -> EditHistory:
        """Do what a person did; when this returns it is on the disk.

        Raises
        ------
        BadInput, UnknownName
            If there is no such item, class or start, or nothing can be found at a point.
        OutputFailed
            If it cannot be written.
        """
        item = self.item(edit.item)
        self._check(edit, item)
        with self.lock:
            if edit.kind == CLICK and edit.id not in self.ids:
                edit = replace(edit, runs=self._found(item, edit))
            with self._log.opened() as append:
                if edit.id not in self.ids:
                    append([edit.to_line()])
                if self._is_due(edit):
                    self._finish(item)
            return self.history(item.id)

    def _is_due(self, edit: Edit) -> bool:
        history = self.history(edit.item)
        if history.status != DONE:
            return False
        if self.finisher is None:
            return edit.kind in (DONE, *DRAWING, "undo", "redo")
        return edit.kind == DONE and not self._is_finished(history)

    def _is_finished(self, history: EditHistory) -> bool:
        return self.finisher is not None and self.finisher.is_finished(history)

    def _check(self, edit: Edit, item: MaskItem) -> None:
        if edit.kind in DRAWING and edit.kind != START and not self._is_class(edit.value):
            raise BadInput(
                f"The class {edit.value} was given; known are 0 to {len(self.classes) - 1} and 255."
            )
        if edit.kind == START and edit.start not in item.starts:
            raise UnknownName.among("start", edit.start, item.starts)
        if edit.kind != CLICK and edit.runs:
            raise BadInput("Only a click has an object.")

    def _is_class(self, value: int) -> bool:
        return value == IGNORE or value < len(self.classes)

    def _found(self, item: MaskItem, edit: Edit) -> tuple[int, ...]:
        if self.click is None:
            raise BadInput(
                "No weights of Segment Anything were given (--sam), so that nothing can be found "
                "at a point."
            )
        points = np.asarray(edit.points, float)
        if (points < 0).any() or (points >= item.shape[::-1]).any():
            raise BadInput("The point lies outside of the image.")
        return to_runs(self.click(item.image, points))

    def _finish(self, item: MaskItem) -> None:
        history = self.history(item.id)
        ids = self._drawn(item, history.done if self.finisher is None else history.finished)
        labels = LabelMap(ids, photo_grid(item.shape), self.classes)
        if self.finisher is not None:
            self.finisher.finish(item, labels, history)
            return
        item.target.parent.mkdir(parents=True, exist_ok=True)
        write_mask(labels, item.target, force=True)

    def counts(self) -> dict[str, int]:
        """Return how many masks there are, are done, and are skipped."""
        found = Counter(
            history.status for name, history in self.histories.items() if name in self.items
        )
        return {"total": len(self.items), "done": found[DONE], "skip": found[SKIP]}
