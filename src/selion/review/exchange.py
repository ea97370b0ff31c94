"""Fields go to a tool for drawing (CVAT, Label Studio, FiftyOne) and come back into the log.

What comes back is held against the map as it is now: an outline that is the same means that the
field was looked at, another one is drawn anew, one that is gone is no field, a new one is added.
Each is an action of the log, so that it can be taken back, and nothing of others is lost.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.errors import BadInput, InputChanged, UnknownName, UnreadableFile
from selion.review import actions as a
from selion.review import rings
from selion.review.annotations import AnnotatedPicture, PixelFrame, cut, polygonal
from selion.review.coco import from_coco, to_coco
from selion.review.compared import compare, only_fields
from selion.review.label_studio import CONFIG, from_label_studio, to_label_studio
from selion.review.log import ReviewLog, replay
from selion.review.state import UNDECIDED, ReviewedMap
from selion.review.verdicts import sample_of
from selion.store.append_log import now
from selion.store.replaced import FolderKind

if TYPE_CHECKING:
    from selion.review.opened import MapFiles

FORMS = ("coco", "label-studio")
NAMES = {"coco": "instances.json", "label-studio": "tasks.json"}
IMAGES = "images"
ANNOTATIONS = FolderKind(
    "what 'review annotations' writes", tuple(NAMES.values()), (f"{IMAGES}/", "config.xml")
)
LARGEST = 1 << 29
"""Bytes of a file that is read at most."""
Draw = Callable[[tuple[int, int, int, int]], np.ndarray]
"""From a box in pixels of the image to its picture, (y, x, 3) uint8."""


@dataclass(frozen=True)
class Sent:
    """What was written for a tool."""

    table: Path
    pictures: int
    outlines: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Received:
    """What came of a file of a tool."""

    pictures: int
    counts: dict[str, int]
    """Fields that were accepted, reshaped, rejected, added; ``same`` were decided so already."""
    problems: tuple[str, ...] = ()
    """What could not be done, one sentence each."""


def send_annotations(
    files: MapFiles,
    out: Path,
    form: str,
    draw: Draw,
    *,
    size: int = 1024,
    masks: bool = False,
    force: bool = False,
) -> Sent:
    """Write the fields of a map, as they are now, with pictures of its image, for a drawing tool.

    Parameters
    ----------
    files : MapFiles
        With an image.
    out : path
        Folder; gets ``images/`` and ``instances.json`` (COCO) or ``tasks.json`` and ``config.xml``
        (Label Studio).
    form : str
        "coco" or "label-studio".
    draw : callable
        How the image looks.
    size : int
        Edge of a picture in pixels at most; the whole image is one picture where it fits.
    masks : bool
        Whether outlines are written as masks instead of polygons.
    force : bool
        Whether what is there is replaced.

    Raises
    ------
    UnknownName
        If there is no such form.
    BadInput
        If the map has no image.
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    """
    if form not in FORMS:
        raise UnknownName.among("form of annotations", form, FORMS)
    if size < 16:
        raise BadInput(f"Pictures of {size} pixels were asked for; wanted are 16 or more.")
    store.check_output(out, force, ANNOTATIONS)
    frame = _frame(files)
    pictures = list(cut(files.table.stem, replay(files.read(), files.log), frame, size))
    with store.atomic_folder(out, force, ANNOTATIONS) as temporary:
        (temporary / IMAGES).mkdir()
        for picture in pictures:
            _save(draw(picture.box), temporary / IMAGES / picture.name)
        if form == FORMS[0]:
            table: Any = to_coco(pictures, masks=masks)
        else:
            table = to_label_studio(pictures, masks=masks, prefix=LOCAL.format(out.name))
            (temporary / "config.xml").write_text(CONFIG, "utf-8")
        (temporary / NAMES[form]).write_text(json.dumps(table, allow_nan=False) + "\n", "utf-8")
    count = sum(len(picture.outlines) for picture in pictures)
    return Sent(out / NAMES[form], len(pictures), count)


LOCAL = "/data/local-files/?d={}/images/"
"""Where Label Studio finds pictures of a folder that it may read."""


def _save(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path, "PNG")


def _frame(files: MapFiles) -> PixelFrame:
    if files.image is None:
        raise BadInput(
            f"There is no image beside {files.table}: name the one that the map was made of with "
            "--image."
        )
    return PixelFrame(store.open_raster(files.image).grid, files.read().crs)


def read_annotations(path: Path, frame: PixelFrame) -> list[AnnotatedPicture]:
    """Read a file of COCO or of Label Studio, whichever it is.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    BadInput
        If it is neither, or does not belong to the image.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path} has more than {LARGEST >> 20:,} MiB: export fewer pictures.")
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read ({error.strerror}): check the name."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON ({error}): give what the tool exported.") from error
    image = frame.shape[1], frame.shape[0]
    if isinstance(table, Mapping) and "images" in table and "annotations" in table:
        return from_coco(table, image)
    if isinstance(table, list) and table and all(isinstance(one, Mapping) for one in table):
        return from_label_studio(table, image)
    raise BadInput(
        f"{path} is neither COCO's JSON (a table with 'images' and 'annotations') nor Label "
        "Studio's (a list of tasks): export it in one of the two."
    )


def receive_annotations(
    files: MapFiles, path: Path, person: str, *, accept: bool = True, try_only: bool = False
) -> Received:
    """Take what was drawn elsewhere into the log of a review.

    Parameters
    ----------
    files : MapFiles
        The map that was sent, with its image.
    path : path
        JSON of COCO or Label Studio.
    person : str
        Whose word it is.
    accept : bool
        Whether fields that came back as they are count as accepted.
    try_only : bool
        Whether it is only counted what would be done.

    Raises
    ------
    BadInput, UnreadableFile, OutputFailed
        If the file cannot be used, or the log cannot be written.

    Notes
    -----
    Pictures without any outline say nothing: a tool exports those that nobody has opened as well.
    A field that lies on pictures that are not in the file too keeps its part there.  What others
    did since the pictures were made stands; the picture's name says when that was.
    """
    if kind := sample_of(files):
        raise BadInput(
            f"{files.table} is a sample ({kind}): its outlines are what is judged, so none is "
            "taken over; say what each is with 'selion review'."
        )
    frame, mapped = _frame(files), ReviewedMap.of(files.read())
    seed = hashlib.sha256(path.read_bytes()) if path.is_file() else hashlib.sha256()
    pictures, notes = only_fields(read_annotations(path, frame))
    if hashlib.sha256(path.read_bytes()).digest() != seed.digest():
        raise InputChanged.of(str(path), "changed")
    log = ReviewLog(files.log, mapped, files.table.name)
    found = compare(pictures, frame, log.sync(), person)
    hand = _Hand(log, person, frame, seed, try_only)
    hand.problems += notes
    for name, who in found.others:
        hand.problems.append(f"{name} was left as it is: {who} changed it since it was sent.")
    hand.say(a.REJECT, "rejected", found.gone)
    # who gives land away does so first: drawn outlines leave others their land
    for name in found.givers:
        hand.draw(a.RESHAPE, "", name, polygonal(found.old[name].intersection(found.drawn[name])))
    for name, shape in found.drawn.items():
        hand.draw(a.RESHAPE, "reshaped", name, shape)
    for shape in found.new:
        hand.draw(a.ADD, "added", "", shape)
    if accept:
        state = log.state
        hand.say(a.ACCEPT, "accepted", [n for n in found.same if state.status(n) == UNDECIDED])
    hand.counts["same"] = len(found.same) - hand.counts["accepted"]
    counts = {name: hand.counts[name] for name in COUNTED}
    return Received(len(pictures), counts, tuple(hand.problems))


class _Hand:
    """A person who acts on the log, all at once."""

    def __init__(
        self, log: ReviewLog, person: str, frame: PixelFrame, seed: hashlib._Hash, try_only: bool
    ) -> None:
        self.log, self.person, self.frame, self.try_only = log, person, frame, try_only
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        state = log.state  # what was compared: whoever is quicker from here on is not overwritten
        self.seen = {str(name): 0 for name in state.mapped.ids}
        self.seen |= {name: one.version for name, one in state.changed.items()}

    def say(self, kind: str, word: str, names: Sequence[str]) -> None:
        """Say one word of fields."""
        for first in range(0, len(names), a.MOST_FIELDS):
            some = names[first : first + a.MOST_FIELDS]
            if self._done(kind, some, word):
                self.counts[word] += len(some)

    def draw(self, kind: str, word: str, name: str, shape: Any) -> None:
        """Give a field an outline, (x, y) in pixels of the image; "" is a new one."""
        if shape.is_empty:
            return
        placed = rings.rings_of(self.frame.to_map([shape])[0])
        sizes = tuple(tuple(len(ring) for ring in part) for part in placed)
        points = np.concatenate([ring for part in placed for ring in part])
        done = self._done(
            kind, [name] if name else [], word or "made room for others", points, sizes
        )
        self.counts[word] += done

    def _name(self) -> str:
        """Name an action after the file and its place in the log.

        What is gone on with after a stop is named as if nothing had been.
        """
        one = self.seed.copy()
        one.update(f"{self.person} {self.log.state.count}".encode())
        return one.hexdigest()[:16]

    def _done(
        self,
        kind: str,
        names: Sequence[str],
        word: str,
        points: np.ndarray | None = None,
        sizes: tuple[tuple[int, ...], ...] = (),
    ) -> bool:
        if self.try_only:
            return True
        seen = {name: self.seen[name] for name in names}
        drawn = () if points is None else tuple((float(x), float(y)) for x, y in points)
        name = ", ".join(names[:3]) or "an outline without a name"
        try:
            action = a.Action(self._name(), kind, seen, self.person, now(), drawn, rings=sizes)
            outcome = self.log.act(action)
        except BadInput as error:
            self.problems.append(f"{name} was not {word}: {error}")
            return False
        if not outcome.done:
            self.problems.append(f"{name} was not {word}: {outcome.why}")
            return False
        now_ = (self.log.state.get(name) for name in outcome.changed)
        self.seen |= {one.id: one.version for one in now_ if one is not None}
        return True


COUNTED = ("accepted", "reshaped", "rejected", "added", "same")
