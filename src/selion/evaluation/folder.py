"""A folder of images and their truth as a dataset.

What has no partner is listed, never dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion import store
from selion.classes import FTW3, IGNORE, ClassScheme
from selion.data.files import object_ids
from selion.data.values import read_marked, refuse_negative
from selion.errors import BadInput, UnreadableFile
from selion.grid import same_grid
from selion.labels import Instances, LabelMap
from selion.raster import Source
from selion.sample import Sample

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".zarr", ".vrt")


@dataclass(frozen=True)
class Folder:
    """What was found."""

    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    """Images without truth and truth without images."""


def read_folder(path: Path | str, classes: ClassScheme = FTW3) -> Folder:
    """Read ``images/`` with ``instances/`` or ``labels/`` (or both), matched by file name.

    The layout may be repeated one folder deeper: ``france/images`` ...; the folder's name is then
    the group.

    Parameters
    ----------
    path : path
        Folder.
    classes : ClassScheme
        What the ids in ``labels/`` mean; 255 is not known.

    Returns
    -------
    Folder
        Images are read when they are used; truth is read now.

    Raises
    ------
    UnreadableFile
        If there is no such folder, or no image in it has a truth.
    """
    root = Path(path)
    places = (
        [root]
        if (root / "images").is_dir()
        else sorted(p for p in root.iterdir() if (p / "images").is_dir())
        if root.is_dir()
        else []
    )
    samples: list[Sample] = []
    problems: list[str] = []
    for place in places:
        found, missing = _read_place(place, classes, "" if place == root else place.name)
        samples += found
        problems += missing
    if not samples:
        raise UnreadableFile(
            f"No image with truth was found under {root}; wanted is a folder with images/ and "
            "instances/ or labels/, files of the same name in each."
        )
    return Folder(tuple(samples), tuple(problems))


def _read_place(place: Path, classes: ClassScheme, group: str) -> tuple[list[Sample], list[str]]:
    folders = [place / name for name in ("images", "instances", "labels")]
    images, instances, labels = map(_by_stem, folders)
    known = set(instances) | set(labels)
    both = sorted(set(images) & known)
    prefix = f"{group}/" if group else ""
    problems = [
        f"{len(names)} {what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        for what, names in (
            (f"images of {place.name} have no truth", sorted(set(images) - known)),
            (f"truths of {place.name} have no image", sorted(known - set(images))),
            *(
                (f"{folder.name} of {place.name} have the name of another", _others(folder, kept))
                for folder, kept in zip(folders, (images, instances, labels), strict=True)
            ),
        )
        if names
    ]
    return [
        _sample(
            f"{prefix}{stem}", group, images[stem], instances.get(stem), labels.get(stem), classes
        )
        for stem in both
    ], problems


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in _files(folder)}


def _others(folder: Path, kept: dict[str, Path]) -> list[str]:
    """Return the names of files that differ in their ending from one that is taken."""
    return [path.name for path in _files(folder) if path not in kept.values()]


def _files(folder: Path) -> list[Path]:
    """Return the images of a folder by name; hidden ones (``._a.tif`` of a Mac) are none."""
    return (
        [
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
        ]
        if folder.is_dir()
        else []
    )


def _sample(
    key: str,
    group: str,
    image: Path,
    instances: Path | None,
    labels: Path | None,
    classes: ClassScheme,
) -> Sample:
    source = store.open_raster(image)
    objects = None if instances is None else Instances(_objects(instances, source), source.grid)
    said = None
    if labels is not None:
        said = LabelMap(_class_ids(labels, source, len(classes)), source.grid, classes)
    return Sample(key, source, said, objects, group)


def _objects(path: Path, image: Source) -> np.ndarray:
    """Return (y, x) int32 ids; each colour of three bands is an object.

    Nodata, which may be the largest number of the type, what is below 0 and NaN are none.
    """
    mask, _ = _truth(path, image, "instances")
    return object_ids(np.where(mask > 0, mask, 0), path.name)


def _class_ids(path: Path, image: Source, classes: int) -> np.ndarray:
    """Return (y, x) uint8 class ids; 255 where the mask's number is none of them, or its nodata."""
    mask, unknown = _truth(path, image, "labels")
    if len(mask) > 1:
        raise BadInput(
            f"The labels of {path.name} are colours; wanted is one band of class ids (0 to "
            f"{classes - 1}, 255 for not known): declare in dataset.toml, as values, what they "
            "mean."
        )
    known = (mask[0] >= 0) & (mask[0] < classes)
    if unknown is not None:
        known &= ~unknown
    return np.where(known, mask[0], IGNORE).astype(np.uint8)


def _truth(path: Path, image: Source, what: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what :func:`selion.data.values.read_marked` does, where nodata is 0."""
    truth = store.open_raster(path)
    refuse_negative(truth, path.name)
    same_grid(image.grid, truth.grid, ("the image", f"the {what} of {path.name}"))
    return read_marked(path, image.grid, nodata=0)
