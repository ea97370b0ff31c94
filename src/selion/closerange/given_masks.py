"""Masks that were drawn before: which photograph each belongs to, and what its numbers mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from odc.geo.geobox import GeoBox

from selion import data
from selion.classes import IGNORE, ClassScheme
from selion.closerange.annotated import draw_ids, ids_of_labels, read_drawn
from selion.data.catalogue import recognise
from selion.data.declare import FILE
from selion.data.files import IMAGES, TAILS
from selion.data.photos import PhotoFile
from selion.data.values import read_mask, to_classes
from selion.errors import BadInput, UnreadableFile

PROBED = 20
"""Masks whose values are looked at to tell how they are written."""
Read = Callable[[GeoBox], np.ndarray]
"""From the grid of a photograph to (y, x) uint8 class ids, 255 not known."""


@dataclass(frozen=True, eq=False)
class GivenMasks:
    """What was found in a folder of masks."""

    reads: Mapping[str, Read]
    """Key of the photograph -> its mask."""
    files: Mapping[str, Path]
    """Key of the photograph -> the file that is read."""
    notes: tuple[str, ...]


def find_masks(folder: Path, photos: Sequence[PhotoFile], classes: ClassScheme) -> GivenMasks:
    """Pair masks with photographs by name.

    Parameters
    ----------
    folder : path
        Masks that are called as the photographs are (``a/b.png`` for ``a/b.jpg``; endings such as
        ``_mask`` do not matter, nor do folders that are called as none of the photographs'),
        searched with all that is in it, or a data set in any layout that
        :func:`selion.data.load_dataset` opens; or a file of JSON of COCO or Label Studio.
    photos : sequence of PhotoFile
    classes : ClassScheme
        What their numbers stand for.  Where masks of two classes hold nothing but 0 and 255, 255 is
        the second class; else 255 is not known.

    Raises
    ------
    UnreadableFile
        If there is no such folder.
    BadInput
        If no mask belongs to a photograph.
    """
    if folder.is_file() and folder.suffix.lower() == ".json":
        return _of_tool(folder, photos, classes)
    if not folder.is_dir():
        raise UnreadableFile(
            f"There is no folder {folder} of masks: give one whose files are called as the "
            "photographs are, or a .json of COCO or Label Studio."
        )
    declared = (folder / FILE).is_file() or recognise(folder) is not None
    found = _of_dataset(folder, photos, classes) if declared else _of_files(folder, photos, classes)
    if not found.reads:
        raise BadInput(
            f"No mask in {folder} has a photograph of the same name: wanted are PNG or TIFF masks "
            f"called as the photographs are, for example {photos[0].key}.png."
        )
    return found


def _of_tool(path: Path, photos: Sequence[PhotoFile], classes: ClassScheme) -> GivenMasks:
    """Take what was drawn in another tool, by the names of its pictures."""
    drawn, notes = read_drawn(path)
    labels = list(dict.fromkeys(thing.label for one in drawn for thing in one.things))
    ids, said = ids_of_labels(labels, classes, path.name)
    where, lost = _Names(photos), 0
    reads: dict[str, Read] = {}
    for one in drawn:
        keys = (where.find_drawn(PurePosixPath(name)) for name in one.names)
        key = next((key for key in keys if key is not None), None)
        if key is None:
            lost += 1
        elif key in reads:
            raise BadInput(f"{path} has the photograph {key} twice: keep one of them.")
        else:
            reads[key] = partial(draw_ids, one, ids, key)
    if not reads:
        raise BadInput(
            f"No photograph in {path} is called as one of yours: it names "
            f"{drawn[0].names[0] if drawn else 'none'}, and there is {photos[0].file}."
        )
    more = (said,) if said else ()
    return GivenMasks(reads, dict.fromkeys(reads, path), (*_lost(lost), *notes, *more))


def _of_dataset(folder: Path, photos: Sequence[PhotoFile], classes: ClassScheme) -> GivenMasks:
    """Take the truth of a declared data set, by the names of its images."""
    dataset = data.load_dataset(folder)
    if dataset.classes.names != classes.names:
        raise BadInput(
            f"The masks of {folder} are of the classes {', '.join(dataset.classes.names)}; the "
            f"model has {', '.join(classes.names)}: give --classes, or another model."
        )
    where = _Names(photos)
    reads, files, lost = {}, {}, 0
    for entry in dataset.entries:
        key = where.find_drawn(PurePosixPath(entry.files[0].name)) if entry.files else None
        if key is None:
            lost += 1
            continue
        reads[key] = partial(_truth, entry.truth, entry.key)
        files[key] = entry.files[-1]
    return GivenMasks(reads, files, (*_lost(lost), *dataset.problems))


def _truth(truth: Callable[[GeoBox], data.dataset.Truth], key: str, grid: GeoBox) -> np.ndarray:
    labels, _ = truth(grid)
    if labels is None:
        raise BadInput(f"{key} has no mask of classes.")
    return labels.ids


def _of_files(folder: Path, photos: Sequence[PhotoFile], classes: ClassScheme) -> GivenMasks:
    beside = _masks_among(photos)
    photos = [photo for photo in photos if photo.key not in beside]
    where, lost = _Names(photos), 0
    files: dict[str, Path] = {}
    own = {photo.path.resolve() for photo in photos}
    for path in _masks(folder):
        if path.resolve() in own:
            continue
        key = where.find(PurePosixPath(path.relative_to(folder).as_posix()))
        if key is None:
            lost += 1
        elif key in files:
            raise BadInput(
                f"{files[key]} and {path} are both called as the photograph {key} is: keep one of "
                "them."
            )
        else:
            files[key] = path
    values, notes = _values(list(files.values()), classes)
    reads = {key: partial(_read, path, values, classes) for key, path in files.items()}
    return GivenMasks(reads, files, (*_lost(lost), *notes))


def _masks_among(photos: Sequence[PhotoFile]) -> set[str]:
    """Return the keys of those that lie beside the photograph whose mask they are."""
    names = {PurePosixPath(photo.file).with_suffix("") for photo in photos}
    found = set()
    for photo in photos:
        name = PurePosixPath(photo.file).with_suffix("")
        bare = name.with_name(_bare(name.name) or name.name)
        if bare != name and bare in names:
            found.add(photo.key)
    return found


def _lost(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{count:,} masks have no photograph of the same name, or several, and are left out.",)


def _masks(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in IMAGES and path.is_file() and not hidden:
            yield path


def _read(path: Path, values: Mapping[str, str], classes: ClassScheme, grid: GeoBox) -> np.ndarray:
    return to_classes(read_mask(path, grid), values, classes, path.name)


def _values(paths: Sequence[Path], classes: ClassScheme) -> tuple[dict[str, str], tuple[str, ...]]:
    """Say what the numbers of masks stand for; empty: they are class ids."""
    step = max(1, len(paths) // PROBED)
    seen: set[float] = set()
    for path in paths[::step]:
        mask = read_mask(path)
        if len(mask) > 1:
            return {}, ()
        seen |= set(np.unique(mask).tolist())
    if len(classes) != 2 or IGNORE not in seen or not seen <= {0, IGNORE}:
        return {}, ()
    soil, plants = classes.names
    return {"0": soil, "255": plants}, (
        f"The masks hold 0 and 255 and nothing else: 255 is read as {plants}.",
    )


class _Names:
    """Photographs by what their names may be without ending and tail."""

    def __init__(self, photos: Sequence[PhotoFile]) -> None:
        self.files = {photo.file: photo.key for photo in photos}
        self.paths: dict[str, list[str]] = defaultdict(list)
        self.names: dict[str, list[str]] = defaultdict(list)
        self.folders = {
            photo.key: frozenset(PurePosixPath(photo.file).parent.parts) for photo in photos
        }
        self.known = frozenset[str]().union(*self.folders.values())
        for photo in photos:
            name = PurePosixPath(photo.file)
            self.paths[name.with_suffix("").as_posix()].append(photo.key)
            for alias in {name.name, name.stem, _bare(name.stem)}:
                self.names[alias].append(photo.key)

    def find_drawn(self, photo: PurePosixPath) -> str | None:
        """Return the key of the photograph that is called so where it was drawn on.

        Its ending is its own and not that of a mask: of two that share the rest it tells which.
        """
        if photo.as_posix() in self.files:
            return self.files[photo.as_posix()]
        return self._called(photo.name, photo) or self.find(photo)

    def find(self, mask: PurePosixPath) -> str | None:
        """Return the key of the photograph that a mask belongs to; None: none, or several.

        Cameras begin to count anew, so that photographs of two folders have one name: a mask below
        a folder that is called as one of these is of none in the others.
        """
        if not mask.name:
            return None
        same = self.paths.get(mask.with_suffix("").as_posix(), [])
        if same:
            return same[0] if len(same) == 1 else None
        names = (mask.stem, _bare(mask.stem))
        name = next((name for name in names if len(self.names.get(name, ())) == 1), "")
        return self._called(name, mask)

    def _called(self, name: str, path: PurePosixPath) -> str | None:
        """Return the key of the only photograph with a name, where the path is in its folder."""
        keys = self.names.get(name, ())
        if len(keys) != 1:
            return None
        elsewhere = self.known.intersection(path.parent.parts) - self.folders[keys[0]]
        return None if elsewhere else keys[0]


def _bare(stem: str) -> str:
    return next((stem.removesuffix(tail) for tail in TAILS if stem.endswith(tail)), stem)
