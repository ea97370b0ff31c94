"""Masks of photographs that were drawn in another tool: JSON of COCO, or of Label Studio.

A pixel belongs to an outline that holds its middle.  Where outlines overlap plants lie over soil,
and what is not known lies over both; the later one lies over the earlier one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.data.mask_runs import read_brush, read_coco
from selion.errors import BadInput, UnreadableFile

LARGEST = 1 << 29
"""Bytes of a file that is read at most."""
FARTHEST = 1e6
"""Pixels from a photograph's corner within which all of an outline lies."""
NOT_KNOWN = ("unknown", "ignore", "ignored", "not known", "unsure", "void")
SOIL = ("soil", "background", "ground", "residue")
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What a table raises that is not what it should be."""
UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the names of files that it was given."""


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """One thing that was drawn."""

    label: str
    rings: tuple[np.ndarray, ...] = ()
    """(point, 2) x and y in pixels, each of a part."""
    mask: Callable[[], np.ndarray] | None = None
    """Makes (y, x) bool pixels where it was drawn as a mask."""


@dataclass(frozen=True, slots=True)
class DrawnPhoto:
    """A photograph as a tool knows it."""

    names: tuple[str, ...]
    """What it may be called, the likeliest first."""
    shape: tuple[int, int]
    """Height and width when it was drawn on; zeros: the file does not say."""
    things: tuple[DrawnShape, ...]


def read_drawn(path: Path) -> tuple[list[DrawnPhoto], tuple[str, ...]]:
    """Read what was drawn, with sentences on what was left out.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    BadInput
        If it is neither JSON of COCO nor of Label Studio.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path} has more than {LARGEST >> 20:,} MiB: export fewer photographs.")
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror}): check it.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON ({error}): give what the tool exported.") from error
    left: Counter[str] = Counter()
    try:
        if isinstance(table, Mapping) and "images" in table and "annotations" in table:
            photos = list(_coco(table, left))
        elif isinstance(table, list) and table and all("annotations" in one for one in table):
            photos = list(_label_studio(table, left))
        else:
            raise BadInput(
                f"{path} is neither COCO's JSON (a table with 'images' and 'annotations') nor "
                "Label Studio's 'JSON' (a list of tasks with 'annotations', not 'JSON-MIN'): "
                "export it as one of the two, or as masks."
            )
    except DAMAGED as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{path} cannot be read as what COCO or Label Studio write ({type(error).__name__}: "
            f"{error}): export it again."
        ) from error
    return photos, tuple(_counted(number, what) for what, number in left.items())


def _counted(number: int, what: str) -> str:
    one, _, many = what.partition("|")
    return f"{number:,} {one if number == 1 else many}."


BOXES = "box without an outline is left out|boxes without an outline are left out"
EMPTY = (
    "photograph on which nothing was drawn is left out, as nobody may have opened it|"
    "photographs on which nothing was drawn are left out, as nobody may have opened them"
)
OPEN = (
    "photograph that nobody has finished is left out|photographs that nobody has finished are left "
    "out"
)


def _coco(table: Mapping[str, Any], left: Counter[str]) -> Iterator[DrawnPhoto]:
    labels = {one["id"]: str(one["name"]) for one in table.get("categories") or []}
    drawn: dict[Any, list[DrawnShape]] = {one["id"]: [] for one in table["images"]}
    for annotation in table["annotations"]:
        number, segmentation = annotation["image_id"], annotation.get("segmentation")
        if number not in drawn:
            raise BadInput(f"An annotation names picture {number}, which is not in 'images'.")
        label = labels.get(annotation.get("category_id"), "")
        if isinstance(segmentation, Mapping):
            drawn[number].append(DrawnShape(label, mask=partial(read_coco, segmentation)))
        elif segmentation:
            rings = tuple(_ring(np.reshape(one, (-1, 2))) for one in segmentation)
            drawn[number].append(DrawnShape(label, rings))
        else:
            left[BOXES] += 1
    for one in table["images"]:
        if drawn[one["id"]]:
            shape = int(one.get("height") or 0), int(one.get("width") or 0)
            name = str(one["file_name"]).replace("\\", "/")  # of tools on Windows
            yield DrawnPhoto((name,), shape, tuple(drawn[one["id"]]))
        else:
            left[EMPTY] += 1


def _label_studio(tasks: Sequence[Mapping[str, Any]], left: Counter[str]) -> Iterator[DrawnPhoto]:
    for task in tasks:
        answers = [one for one in task["annotations"] if not one.get("was_cancelled")]
        if not answers:
            left[OPEN] += 1
            continue
        regions = [one for one in answers[-1]["result"] if "original_width" in one]
        size = (0, 0)
        things = []
        for region in regions:
            size = int(region["original_height"]), int(region["original_width"])
            if float(region.get("image_rotation") or 0) % 360:
                raise BadInput(
                    "A photograph was turned in Label Studio: turn it back, and export it again."
                )
            thing = _region(region["value"], size)
            if thing is None:
                left[BOXES] += 1
            else:
                things.append(thing)
        data = task["data"]
        image = next((data[name] for name in ("image", "img", "photo") if name in data), None)
        if image is None:
            image = next((str(value) for value in data.values() if "." in str(value)), None)
        if image is None:
            raise BadInput(
                f"A task of Label Studio has no photograph among its data ({', '.join(data)}): "
                "export tasks of pictures."
            )
        yield DrawnPhoto(_addressed(str(image)), size, tuple(things))


def _region(value: Mapping[str, Any], size: tuple[int, int]) -> DrawnShape | None:
    kinds = ("polygonlabels", "brushlabels", "labels")
    label = next((str(value[kind][0]) for kind in kinds if value.get(kind)), "")
    if "points" in value:
        points = np.asarray(value["points"], np.float64) / 100 * (size[1], size[0])
        return DrawnShape(label, (_ring(points),))
    if "rle" in value:
        return DrawnShape(label, mask=partial(read_brush, value["rle"], size))
    return None


def _addressed(address: str) -> tuple[str, ...]:
    """Return what a photograph may be called that Label Studio has an address of."""
    parts = urlsplit(address)
    path = unquote(parse_qs(parts.query).get("d", [parts.path])[0])
    name = PurePosixPath(path).name
    bare = UPLOADED.sub("", name)
    # the folders of what was sent to it are its own
    return (path,) if bare == name else (path, bare)


def _ring(points: Any) -> np.ndarray:
    ring = np.asarray(points, np.float64)
    if len(ring) < 3 or not np.isfinite(ring).all():
        raise BadInput(f"An outline of {len(ring)} points is none: wanted are three or more.")
    if np.abs(ring).max() > FARTHEST:
        raise BadInput(
            f"An outline goes to {np.abs(ring).max():.3g} pixels, far beyond any photograph: the "
            "file is damaged, or has other units."
        )
    return ring


def ids_of_labels(
    labels: Sequence[str], classes: ClassScheme, what: str
) -> tuple[dict[str, int], str]:
    """Say which class each label of a tool is; with a sentence where that had to be told apart.

    Raises
    ------
    BadInput
        If there are several kinds of plants, and a label is called like none.
    """
    known = {name.casefold(): k for k, name in enumerate(classes.names)}
    known |= {name: known.get(name, 0) for name in SOIL} | dict.fromkeys(NOT_KNOWN, IGNORE)
    other = sorted({label for label in labels if label.strip().casefold() not in known})
    ids = {label: known.get(label.strip().casefold(), 1) for label in labels}
    if other and len(classes) > 2:
        raise BadInput(
            f"The masks of {what} have the label {other[0]!r}; the model has "
            f"{', '.join(classes.names)}: call them so, or give --classes crop."
        )
    shown = ", ".join(name or "no label" for name in other[:6]) + (" ..." if other[6:] else "")
    verb = "is" if len(other) == 1 else "are"
    return ids, f"In {what} {shown} {verb} read as {classes.names[1]}." if other else ""


def draw_ids(photo: DrawnPhoto, ids: Mapping[str, int], name: str, grid: GeoBox) -> np.ndarray:
    """Return the (y, x) uint8 class ids of a photograph whose grid is given.

    Raises
    ------
    BadInput
        If it was drawn on a photograph of another size, or an outline is damaged.
    """
    height, width = grid.shape
    if any(photo.shape) and photo.shape != (height, width):
        raise BadInput(
            f"{name} has {width} x {height} pixels; what was drawn is for one of "
            f"{photo.shape[1]} x {photo.shape[0]}: give the photographs that were drawn on."
        )
    found = np.zeros((height, width), np.uint8)
    waiting: list[tuple[Any, int]] = []
    # soil first, then plants, then what is not known; in the order of the file otherwise
    order = sorted(photo.things, key=lambda one: (ids[one.label] > 0) + (ids[one.label] == IGNORE))
    for thing in order:
        waiting += [(_polygon(ring), ids[thing.label]) for ring in thing.rings]
        if thing.mask is not None:
            _draw(waiting, found)
            mask = thing.mask()
            if mask.shape != found.shape:
                raise BadInput(f"A mask on {name} has another size than the photograph.")
            found[mask] = ids[thing.label]
    _draw(waiting, found)
    return found


def _polygon(ring: np.ndarray) -> Any:
    return {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}


def _draw(waiting: list[tuple[Any, int]], found: np.ndarray) -> None:
    """Draw outlines, all at once, and forget them."""
    if waiting:
        height, width = found.shape
        plain = GeoBox((height, width), Affine.identity(), None)
        drawn = store.burn([one for one, _ in waiting], [k + 1 for _, k in waiting], plain)
        np.copyto(found, (drawn - 1).astype(np.uint8), where=drawn > 0)
        waiting.clear()
