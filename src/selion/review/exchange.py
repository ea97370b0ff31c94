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
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.review import actions as a
from selion.review import rings
from selion.review.annotations import AnnotatedPicture, Outline, PixelFrame, cut, polygonal, shifted
from selion.review.coco import burnt, from_coco, to_coco
from selion.review.label_studio import CONFIG, from_label_studio, to_label_studio
from selion.review.log import ReviewLog, replay
from selion.review.state import UNDECIDED, ReviewedMap
from selion.store.append_log import now

if TYPE_CHECKING:
    from selion.review.opened import MapFiles

FORMS = ("coco", "label-studio")
NAMES = {"coco": "instances.json", "label-studio": "tasks.json"}
IMAGES = "images"
SHIFTED = 0.02
"""Pixels by which an outline may come back shifted and be the same: tools round coordinates."""
ALIKE = 0.5
"""Intersection over union from which on an outline without a name is a field that was sent."""
VISIBLE = 4.0
"""Pixels, squared, of a field that must lie on a picture for its absence there to mean anything."""
JOINT = 1e-7
"""Pixels to which parts of a field are rounded where they meet at the rim of a picture."""
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
    frame = _frame(files)
    pictures = list(cut(files.table.stem, replay(files.read(), files.log), frame, size))
    with store.atomic_folder(out, force=force) as temporary:
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
    A field that lies on pictures that are not in the file too keeps its part there.
    """
    frame, mapped = _frame(files), ReviewedMap.of(files.read())
    pictures = [one for one in read_annotations(path, frame) if one.outlines]
    log = ReviewLog(files.log, mapped, files.table.name)
    found = compare(pictures, frame, log)
    hand = _Hand(log, person, frame, hashlib.sha256(path.read_bytes()), try_only)
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
        self.seed.update(f"{person} {log.state.count}".encode())
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

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
        state = self.log.sync()
        seen = {name: one.version for name in names if (one := state.get(name)) is not None}
        drawn = () if points is None else tuple((float(x), float(y)) for x, y in points)
        name = ", ".join(names[:3]) or "an outline without a name"
        try:
            self.seed.update(b".")
            name_of = self.seed.hexdigest()[:16]
            action = a.Action(name_of, kind, seen, self.person, now(), drawn, rings=sizes)
            outcome = self.log.act(action)
        except BadInput as error:
            self.problems.append(f"{name} was not {word}: {error}")
            return False
        if not outcome.done:
            self.problems.append(f"{name} was not {word}: {outcome.why}")
        return outcome.done


COUNTED = ("accepted", "reshaped", "rejected", "added", "same")


@dataclass(frozen=True)
class AnnotationComparison:
    """What a tool's pictures say of fields; outlines in pixels of the image."""

    same: list[str]
    """Fields that came back as they are."""
    drawn: dict[str, Any]
    """Fields with another outline."""
    givers: list[str]
    """Those of ``drawn`` whose land is another's now."""
    gone: list[str]
    """Fields that are not on the pictures any more."""
    new: list[Any]
    """Outlines that are none of the fields."""
    old: dict[str, Any]
    """Outlines of all fields as they are in the log."""


def compare(
    pictures: Sequence[AnnotatedPicture], frame: PixelFrame, log: ReviewLog
) -> AnnotationComparison:
    """Hold pictures against a map as it is in its log; parameters of their own, nothing is done."""
    import shapely

    state = log.sync()
    old = {name: shape for name, shape, _ in frame.fields(state)}
    seen = shapely.union_all([picture.area for picture in pictures])
    named = _by_field(pictures, old, {str(name) for name in state.mapped.ids} | set(state.changed))
    new = named.pop("", [])
    same, drawn, gone = [], {}, []
    for name, shape in old.items():
        beyond = polygonal(shapely.difference(shape, seen))
        if name in named:
            now_ = _whole([*named[name], *([beyond] if beyond.area else [])])
            if shape.symmetric_difference(now_).area <= SHIFTED * shape.length:
                same.append(name)
            else:
                drawn[name] = now_
        elif beyond.area < VISIBLE and shape.area - beyond.area > 0:
            gone.append(name)
    drawn |= {name: _whole(parts) for name, parts in named.items() if name not in old}
    tree = shapely.STRtree(list(drawn.values()))
    names = list(drawn)
    givers = [
        name
        for name in drawn
        if name in old
        and any(
            names[k] != name and drawn[names[k]].intersection(old[name]).area > SHIFTED
            for k in tree.query(old[name], predicate="intersects")
        )
    ]
    return AnnotationComparison(same, drawn, givers, gone, new, old)


def _whole(parts: Sequence[Any]) -> Any:
    """Join the parts of a field that lie on several pictures."""
    import shapely

    if len(parts) == 1:
        return parts[0]
    return polygonal(shapely.union_all(list(parts), grid_size=JOINT))


def _by_field(
    pictures: Sequence[AnnotatedPicture], old: Mapping[str, Any], known: set[str]
) -> dict[str, list[Any]]:
    """Gather outlines by field, in pixels of the image; those of none are under ""."""
    import shapely

    found: dict[str, list[Any]] = {}
    lost: list[tuple[AnnotatedPicture, Outline]] = []
    for picture in pictures:
        for outline in picture.outlines:
            if outline.field in known:
                placed = _placed(picture, outline, old.get(outline.field))
                found.setdefault(outline.field, []).append(placed)
            else:
                lost.append((picture, outline))
    names = [name for name in old if name not in found]
    tree = shapely.STRtree([old[name] for name in names])
    for picture, outline in lost:
        shape = shifted(outline.shape, picture.left, picture.top)
        near = [names[k] for k in tree.query(shape, predicate="intersects")]
        name = _most_alike(picture.area, shape, {name: old[name] for name in near})
        found.setdefault(name, []).append(_placed(picture, outline, old.get(name)))
    return found


def _placed(picture: AnnotatedPicture, outline: Outline, old: Any) -> Any:
    """Put an outline where its picture lies; a mask that is that of a field is the field."""
    if outline.masked and old is not None:
        sent = polygonal(old.intersection(picture.area))
        size = (picture.height, picture.width)
        seen = burnt(shifted(sent, -picture.left, -picture.top), size) if sent.area else None
        if seen is not None and np.array_equal(seen, burnt(outline.shape, size)):
            return sent
    return shifted(outline.shape, picture.left, picture.top)


def _most_alike(seen: Any, shape: Any, near: Mapping[str, Any]) -> str:
    """Return the field that an outline without a name is; "" for none."""
    best, who = ALIKE, ""
    for name, whole in near.items():
        part = whole.intersection(seen)
        common = part.intersection(shape).area
        alike = common / max(part.area + shape.area - common, 1e-9)
        if alike >= best:
            best, who = alike, name
    return who
