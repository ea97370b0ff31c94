"""Screening: which masks a person is shown next, what they decided, and taking it back.

Depth pseudo-labels are wrong often enough that DepthCropSeg++ kept 12,927 of 260,260 after about 12
hours of looking [1]_.  That is six images a second, so the first pass shows sheets of many,
rejected unless somebody keeps them; the second goes through what was kept, one at a time.  Nothing
here draws or serves anything: see :mod:`selion.web.screening`.

References
----------
.. [1] DepthCropSeg++, section on screening: coarse-to-fine rejection without drawing.  The paper
gives no interface; this one is ours.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selion import store
from selion.errors import BadInput, UnknownName
from selion.labelling.decision_log import DecisionLog
from selion.labelling.decisions import (
    LOG,
    STAGES,
    WORDS,
    Decision,
    Entry,
    History,
    Undo,
    content_hash,
    mask_folder,
)
from selion.labelling.manifest import beside
from selion.labelling.queue import QUALITY, Item, Listing, Showing, arrange, item_id, list_items
from selion.store.append_log import now

ABOUT = "screening.json"
"""Where the photographs are, in the folder of the masks."""
LEASE = 120.0
"""Seconds for which what one person was handed is not handed to another."""
ORDERS = ("best", "worst")
"""Quality first shown in the coarse pass."""
SCOPES = ("kept", "unsure", "conflicts", "all")
"""What the fine pass goes through."""
LARGEST = 240
"""Most images handed out, and most decisions taken, at once."""
Hashes = Callable[[Item], tuple[str, str]]
"""Hashes of the photograph's and the mask's bytes."""


def screened_photos(pseudo: Path) -> Path | None:
    """Return where the photographs were when masks were last screened; None: that is not known."""
    try:
        told = json.loads((pseudo / ABOUT).read_text("utf-8"))
        return (pseudo / told["photos"]).resolve()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def hash_files(item: Item) -> tuple[str, str]:
    """Hash a photograph and its mask."""
    return content_hash(Path(item.photo)), content_hash(Path(item.mask))


@dataclass(frozen=True, slots=True)
class Word:
    """A decision as the page sends it."""

    item: str
    """Id of the item."""
    decision: str
    version: str
    """What :func:`version` said when the image was shown."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a person has decided on one sheet, or on one image of the fine pass."""

    batch: str
    person: str
    stage: str
    seconds: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a page."""

    written: int
    known: int
    """Decisions that had arrived before."""
    stale: tuple[str, ...]
    """Items whose files are others than those that were shown, or are gone: not written."""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """What to show next."""

    items: tuple[Item, ...]
    after: int
    """Where the next sheet begins."""
    held: int
    """Images that are passed over because somebody else has them on their screen."""


class Screening:
    """Two folders, a log, and the people who look.

    Safe to be used by several threads, and beside other processes on the same folder.
    """

    def __init__(
        self, photos: Path, pseudo: Path, repeats: float = 0.02, hashes: Hashes = hash_files
    ) -> None:
        if not 0 <= repeats <= 1:
            raise BadInput(f"A share of {repeats} to show twice was given: wanted is 0 to 1.")
        self.photos, self.pseudo, self.repeats, self.hashes = photos, pseudo, repeats, hashes
        self._lock = threading.RLock()
        self._orders: dict[str, tuple[Showing, ...]] = {}
        self.listing, self._looked = Listing((), 0, 0), 0.0
        self._handed: dict[str, tuple[str, float]] = {}
        self._judged: dict[tuple[str, tuple[int, int], str], bool] = {}
        self.refresh()
        # after the folders were read: a wrong name makes no folder
        self.journal = DecisionLog(pseudo / LOG)
        if screened_photos(pseudo) != photos.resolve():
            told = {"photos": beside(photos, pseudo)}
            store.write_text(pseudo / ABOUT, json.dumps(told) + "\n", force=True)

    def refresh(self, older_than: float = 0.0) -> Listing:
        """Look at the folders again: masks come, go and change while people work.

        Nothing is done if that was less than so many seconds ago.
        """
        if older_than and time.monotonic() - self._looked < older_than:
            return self.listing
        listing = list_items(self.photos, mask_folder(self.pseudo), self.pseudo / QUALITY)
        with self._lock:
            self.listing, self._orders, self._looked = listing, {}, time.monotonic()
            self.items = {item.id: item for item in listing.items}
        return listing

    def look_again(self, name: str) -> Item:
        """Take in that the mask of an item has changed, and return the item as it is now."""
        with self._lock:
            item = restat(self.item(name))
            self.items[name] = item
            self.listing = replace(
                self.listing,
                items=tuple(item if one.id == name else one for one in self.listing.items),
            )
            self._orders = {
                order: tuple(
                    Showing(item, one.turn) if one.item.id == name else one for one in showings
                )
                for order, showings in self._orders.items()
            }
        return item

    def keyed(self, key: str) -> Item | None:
        """Return an item by its key, None if it is gone."""
        return self.items.get(item_id(key))

    def _showings(self, order: str) -> tuple[Showing, ...]:
        if order not in ORDERS:
            raise UnknownName.among("order", order, ORDERS)
        with self._lock:
            if order not in self._orders:
                self._orders[order] = arrange(self.listing.items, order == "best", self.repeats)
            return self._orders[order]

    def item(self, name: str) -> Item:
        """Return an item by its id.

        Raises
        ------
        UnknownName
            If there is none.
        """
        if name not in self.items:
            raise UnknownName(
                f"There is no image with the id {name!r} (any more): load the page again."
            )
        return self.items[name]

    def words(self, item: Item) -> list[Decision]:
        """Return the decisions that count for the mask as it is now, in order."""
        said = self.journal.history.keys.get(item.key, ())
        return [decision for decision in said if self._is_current(decision, item)]

    def _is_current(self, decision: Decision, item: Item) -> bool:
        if decision.stat == item.stat:
            return True
        question = (item.id, item.stat, decision.mask)
        # a copied folder has new times: then bytes are compared, once per mask
        if question not in self._judged:
            try:
                self._judged[question] = content_hash(Path(item.mask)) == decision.mask
            except OSError:
                return False
        return self._judged[question]

    def sheet(self, person: str, size: int, order: str = "best", after: int = 0) -> ContactSheet:
        """Return the next images of the coarse pass.

        Parameters
        ----------
        size : int
            How many.
        order : str
            ``best`` or ``worst`` quality first.
        after : int
            Where to look from: 0, or :attr:`ContactSheet.after` of the sheet before, so that sheets
            can be asked for before earlier ones are decided.
        """
        self.journal.sync()
        showings = self._showings(order)
        with self._lock:
            waiting = (
                (k, s.item)
                for k, s in enumerate(showings[max(after, 0) :], max(after, 0))
                if self._is_due(s)
            )
            return self._hand(waiting, person, size, len(showings))

    def peek(self, order: str, after: int, size: int) -> list[Item]:
        """Return what the sheets after one will probably show, without handing it out."""
        with self._lock:
            due = (
                showing.item for showing in self._showings(order)[after:] if self._is_due(showing)
            )
            return [item for item, _ in zip(due, range(size), strict=False)]

    def _is_due(self, showing: Showing) -> bool:
        words = self.words(showing.item)
        return not any(word.stage != "coarse" for word in words) and len(words) == showing.turn

    def fine(self, person: str, scope: str = "kept", size: int = 8, after: int = 0) -> ContactSheet:
        """Return the next images of the fine pass.

        Those of a scope that nobody has looked at one at a time (for ``conflicts``: that nobody has
        settled).
        """
        if scope not in SCOPES:
            raise UnknownName.among("scope", scope, SCOPES)
        self.journal.sync()
        with self._lock:
            items = [showing.item for showing in self._showings("best") if showing.turn == 0]
            waiting = (
                (k, item)
                for k, item in enumerate(items[max(after, 0) :], max(after, 0))
                if self._is_in(item, scope)
            )
            return self._hand(waiting, person, size, len(items))

    def _is_in(self, item: Item, scope: str) -> bool:
        words = self.words(item)
        if scope == "conflicts":
            return is_conflict(words)
        if any(word.stage != "coarse" for word in words):
            return (
                scope == "unsure" and words[-1].decision == "unsure" and words[-1].stage == "fine"
            )
        return scope == "all" or (
            bool(words)
            and words[-1].decision in (("keep", "full") if scope == "kept" else ("unsure",))
        )

    def _hand(
        self, waiting: Iterator[tuple[int, Item]], person: str, size: int, end: int
    ) -> ContactSheet:
        clock, found, held = time.monotonic(), [], 0
        for place, item in waiting:
            holder, until = self._handed.get(item.id, ("", 0.0))
            if holder not in ("", person) and until > clock:
                held += 1
                continue
            self._handed[item.id] = (person, clock + LEASE)
            found.append(restat(item))
            if len(found) >= min(max(size, 1), LARGEST):
                return ContactSheet(tuple(found), place + 1, held)
        return ContactSheet(tuple(found), end, held)

    def commit(self, page: Page) -> Committed:
        """Write a page of decisions; when this returns they are on the disk.

        Raises
        ------
        BadInput, UnknownName
            If the page is not one of ours.
        OutputFailed
            If it cannot be written.
        """
        check_page(page)
        known = self.journal.sync().ids
        names = [f"{page.batch}-{k}" for k in range(len(page.words))]
        fresh, stale, time_ = [], [], now()
        for name, word in zip(names, page.words, strict=True):
            if name in known:
                continue
            item = self.items.get(word.item)
            seen = restat(item) if item is not None else None
            if seen is None or version(seen) != word.version:
                stale.append(word.item)
                continue
            try:
                image, mask = self.hashes(seen)
            except OSError:
                stale.append(word.item)
                continue
            each = round(page.seconds / len(page.words), 4)
            fresh.append(
                Decision(
                    name,
                    page.batch,
                    seen.key,
                    word.decision,
                    page.person,
                    page.stage,
                    each,
                    time_,
                    image,
                    mask,
                    seen.stat,
                )
            )
        written = self.journal.append(lambda _: fresh) if fresh else []
        return Committed(len(written), len(page.words) - len(written) - len(stale), tuple(stale))

    def undo(self, name: str, person: str, stages: tuple[str, ...]) -> list[Decision]:
        """Take back the latest page of a person; asked again with the same name, answer the same.

        Returns
        -------
        list of Decision
            What no longer counts; empty if there was nothing to take back.
        """

        def last(history: History) -> list[Entry]:
            batch = None if name in history.undos else history.last_batch(person, stages)
            return (
                []
                if batch is None
                else [Undo(name, batch, person, history.batches[batch][0].stage, now())]
            )

        self.journal.append(last)
        undo = self.journal.history.undos.get(name)
        return list(self.journal.history.batches.get(undo.undo, [])) if undo else []

    def counts(self) -> dict[str, int]:
        """Return how many items there are, how many are decided, and as what."""
        history = self.journal.sync()
        found: Counter[str] = Counter(
            total=len(self.items), decided=0, conflicts=0, fine=0, **dict.fromkeys(WORDS, 0)
        )
        for item in self.listing.items:
            words = self.words(item) if item.key in history.keys else ()
            if words:
                found.update(("decided", words[-1].decision))
                found["conflicts"] += is_conflict(words)
                found["fine"] += words[-1].stage != "coarse"
        return dict(found)


def check_page(page: Page) -> None:
    """Refuse a page that is not one of ours.

    Raises
    ------
    BadInput, UnknownName
        If a decision or pass does not exist, or there are too many.
    """
    if not 1 <= len(page.words) <= LARGEST:
        raise BadInput(
            f"A page of {len(page.words)} decisions was given: wanted are 1 to {LARGEST}."
        )
    if page.stage not in STAGES:
        raise UnknownName.among("pass", page.stage, STAGES)
    for word in page.words:
        if word.decision not in WORDS:
            raise UnknownName.among("decision", word.decision, WORDS)


def is_conflict(words: Sequence[Decision]) -> bool:
    """Say whether people disagree: their last words in the latest pass that was made differ."""
    if len(words) < 2:
        return False
    stage = max((word.stage for word in words), key=STAGES.index)
    return (
        len(
            {
                word.decision
                for word in {word.person: word for word in words if word.stage == stage}.values()
            }
        )
        > 1
    )


def restat(item: Item) -> Item:
    """Return the item with the size and time of its mask as they are now; zeros when it is gone."""
    try:
        found = Path(item.mask).stat()
        stat = (found.st_size, found.st_mtime_ns)
    except OSError:
        stat = (0, 0)
    if stat == item.stat:
        return item
    return Item(item.id, item.key, item.photo, item.mask, item.quality, item.routed, item.why, stat)


def version(item: Item) -> str:
    """Return what changes when the mask or the photograph of an item changes."""
    try:
        photo = Path(item.photo).stat()
        return f"{item.stat[0]:x}-{item.stat[1]:x}-{photo.st_size:x}-{photo.st_mtime_ns:x}"
    except OSError:
        return "gone"
