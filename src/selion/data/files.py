"""The layout ``files``: a folder of images, masks, objects, found by patterns.

And ``folder``, one that keeps to the usual names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import CROP_WEED, IGNORE, ClassScheme
from selion.data.dataset import SPLIT_NAMES, Dataset, Entry, Truth
from selion.data.declare import Declaration, Files
from selion.data.patterns import FoundFile, fill, find, partner
from selion.data.splits import assign, split_name
from selion.data.stacked import stack
from selion.data.truths import can_become, truth_in
from selion.data.values import colour_codes, read_marked, read_mask, to_classes
from selion.errors import BadInput, UnreadableFile
from selion.labels import Instances, LabelMap
from selion.raster import Source

IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".zarr", ".vrt")
"""Endings of images in a folder that nobody has described."""
LABELS = ("labels", "masks", "annotations", "semantics", "label_masks")
OBJECTS = ("instances", "instance")
TAILS = (
    "_mask",
    "_masks",
    "_label",
    "_labels",
    "_annotation",
    "_gt",
    "_instances",
    "_image",
    "_img",
    "_rgb",
)
"""What names of masks and images end in, when it is all in which they differ."""


@dataclass(frozen=True, slots=True)
class FileLayout:
    """How the truth of a sample is read: the part that all samples of a dataset share."""

    classes: ClassScheme
    wanted: ClassScheme
    values: Mapping[str, str]
    fill: str
    boundary: int
    finer: int = 1
    """Pixels of the truth along the edge of a pixel of the image."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """See :attr:`selion.data.declare.Files.kinds`."""


def open_image(path: Path, bands: tuple[str, ...]) -> Source:
    """Open an image and give its bands other names, if there are some."""
    source = store.open_raster(path)
    return stack([source], bands, path.name) if bands else source


def read_truth(
    labels: Path | None, instances: Path | None, recipe: FileLayout, grid: GeoBox
) -> Truth:
    """Read masks and objects of one image.

    Raises
    ------
    BadInput, GridMismatch
        If values are not known, or sizes differ.
    """
    if recipe.finer > 1:
        grid = grid.zoom_out(1 / recipe.finer)
    said = None
    if recipe.fill:
        said = LabelMap(
            np.full(tuple(grid.shape), recipe.classes.index(recipe.fill), np.uint8),
            grid,
            recipe.classes,
        )
    if labels is not None:
        said = LabelMap(
            to_classes(read_mask(labels, grid), recipe.values, recipe.classes, labels.name),
            grid,
            recipe.classes,
        )
    objects = unknown = None
    if instances is not None:
        mask, unknown = read_marked(instances, grid, nodata=0)
        ids = object_ids(mask, instances.name)
        if unknown is not None and said is not None and labels is None:  # a fill knows no more
            said.ids[unknown] = IGNORE
        if labels is not None and recipe.kinds:
            kinds = to_classes(read_mask(labels, grid), recipe.kinds, CROP_WEED, labels.name)
            weeds = (ids > 0) & (kinds == CROP_WEED.index("weed"))
            shared = weeds & np.isin(ids, ids[~weeds])  # others keep theirs
            ids = np.where(shared, ids + ids.max(initial=0), ids)
        objects = Instances(ids, grid)
    return truth_in(recipe.wanted, said, objects, recipe.boundary, unknown)


def object_ids(mask: np.ndarray, name: str) -> np.ndarray:
    """Return (y, x) int32 object ids of a mask.

    Each colour of a colour mask is an object, black is none.

    Raises
    ------
    BadInput
        If the numbers cannot be ids.
    """
    if len(mask) > 1:
        codes = colour_codes(mask)
        colours, ids = np.unique(codes, return_inverse=True)
        ids = ids.reshape(codes.shape).astype(np.int32)
        return ids if colours[0] == 0 else ids + 1
    ids = mask[0]
    if ids.size and (
        not np.isfinite(ids).all()
        or ids.min() < 0
        or ids.max().item() > np.iinfo(np.int32).max  # its own type may end before
        or (ids.dtype.kind == "f" and (ids % 1 != 0).any())
    ):
        raise BadInput(
            f"{name} holds numbers that are not object ids; wanted are whole numbers from 0 (no "
            f"object) up to {np.iinfo(np.int32).max:,}."
        )
    return ids.astype(np.int32)


def load_files(made: Declaration, root: Path, wanted: ClassScheme | None, boundary: int) -> Dataset:
    """List a dataset by its declaration.

    Raises
    ------
    UnreadableFile
        If no image is found where the declaration says.
    """
    files, found = _first_that_is_there(made, root)
    recipe = FileLayout(
        made.classes, wanted or made.classes, files.values, files.fill, boundary, kinds=files.kinds
    )
    if wanted is not None and not can_become(made.classes, wanted, objects=bool(files.instances)):
        truth_in(wanted, _empty(made.classes), None)  # says why not
    entries, problems = _entries(root, files, found, recipe)
    return made.dataset(recipe.wanted, entries, root, problems)


def _empty(classes: ClassScheme) -> LabelMap:
    return LabelMap(
        np.zeros((1, 1), np.uint8), GeoBox.from_bbox((0, 0, 1, 1), shape=(1, 1)), classes
    )


def _first_that_is_there(made: Declaration, root: Path) -> tuple[Files, list[FoundFile]]:
    for files in made.files:
        found = find(root, files.image)
        if found:
            return files, found
    patterns = ", or ".join(files.image for files in made.files)
    hint = f", see {made.home}" if made.home else ""
    raise UnreadableFile(
        f"No image of {made.name} lies under {root}: wanted is "
        f"{patterns or 'a pattern of images'}; check the folder{hint}."
    )


def _entries(
    root: Path, files: Files, found: Sequence[FoundFile], recipe: FileLayout
) -> tuple[list[Entry], list[str]]:
    partners = {
        name: [partner(root, pattern, f.parts) for f in found]
        for name, pattern in (("labels", files.labels), ("instances", files.instances))
        if pattern
    }
    alone = (
        [not any(paths[k] for paths in partners.values()) for k in range(len(found))]
        if partners
        else [False] * len(found)
    )
    problems = _listed(
        [f.path for f, is_alone in zip(found, alone, strict=True) if is_alone],
        root,
        "images have no truth",
    )
    kept = [k for k in range(len(found)) if not alone[k]]
    problems += _without_image(root, files, found)
    keys = _keys([found[k].parts for k in kept], [found[k].path for k in kept])
    parts = [{"key": keys[n], **found[k].parts} for n, k in enumerate(kept)]
    splits, groups, said = assign(root, files.split, keys, parts)
    entries = []
    for n, k in enumerate(kept):
        labels, instances = (
            partners[name][k] if name in partners else None for name in ("labels", "instances")
        )
        group = (
            fill(files.group, parts[n]) if files.group else groups[n] or parts[n].get("group", "")
        )
        entries.append(
            _entry(keys[n], found[k].path, labels, instances, recipe, files.bands, splits[n], group)
        )
    return entries, [*problems, *said]


def _entry(
    key: str,
    image: Path,
    labels: Path | None,
    instances: Path | None,
    recipe: FileLayout,
    bands: tuple[str, ...],
    split: str,
    group: str,
) -> Entry:
    paths = tuple(path for path in (image, labels, instances) if path is not None)
    return Entry(
        key,
        partial(open_image, image, bands),
        partial(read_truth, labels, instances, recipe),
        split,
        group,
        paths,
    )


def _without_image(root: Path, files: Files, found: Sequence[FoundFile]) -> list[str]:
    """List truths that no image belongs to."""
    problems = []
    for what, pattern in (("masks", files.labels), ("instance masks", files.instances)):
        if pattern and "*" not in fill(pattern, found[0].parts):
            known = {root / fill(pattern, f.parts) for f in found}
            problems += _listed(
                [f.path for f in find(root, pattern) if f.path not in known],
                root,
                f"{what} have no image",
            )
    return problems


def _listed(paths: Sequence[Path], root: Path, what: str) -> list[str]:
    names = [path.relative_to(root).as_posix() for path in paths]
    return (
        [f"{len(names)} {what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"]
        if names
        else []
    )


def _keys(parts: Sequence[Mapping[str, str]], paths: Sequence[Path]) -> list[str]:
    """Name samples by what distinguishes them.

    ``{key}``, with the other parts before it where that is not enough.
    """
    plain = [p.get("key") or path.stem for p, path in zip(parts, paths, strict=True)]
    if len(set(plain)) == len(plain):
        return plain
    longer = [
        "/".join([*(v for name, v in p.items() if name not in ("key", "ext")), key])
        for p, key in zip(parts, plain, strict=True)
    ]
    twice = {key for key, count in Counter(longer).items() if count > 1}
    return [
        f"{key}{path.suffix}" if key in twice else key
        for key, path in zip(longer, paths, strict=True)
    ]


def load_folder(
    made: Declaration, root: Path, wanted: ClassScheme | None, boundary: int
) -> Dataset:
    """List a folder that keeps to the usual names.

    ``images`` beside ``labels`` (``masks``, ``annotations``) or ``instances``, matched by name.

    ``train/images``, ``images/train``, ``france/images`` and ``train/france/images`` are
    understood: folders that are called like a split are one, others are the group.  A table
    ``splits.csv`` with columns ``key`` and ``split`` (and ``group``) wins over folders.

    Raises
    ------
    UnreadableFile
        If no image with truth is found.
    """
    recipe = FileLayout(
        made.classes, wanted or made.classes, made.values, "", boundary, _finer(made)
    )
    entries: list[Entry] = []
    problems: list[str] = []
    for place in _places(root):
        for below in _below(place / "images"):
            mine, said = _read_place(root, place, below, recipe)
            entries += mine
            problems += said
    if not entries:
        message = (
            f"No image with truth was found under {root}; wanted is a folder with images/ and "
            "labels/ or instances/, files of the same name in each, or a dataset.toml that says "
            "where they are."
        )
        raise UnreadableFile(message + (f" ({problems[0]})" if problems else ""))
    entries.sort(key=lambda e: e.key)
    dataset = made.dataset(recipe.wanted, entries, root, problems)
    return _with_table(dataset, root / "splits.csv")


def _finer(made: Declaration) -> int:
    """Return ``settings.finer`` of a declaration.

    The truth may lie on a grid so many times finer than the image's.
    """
    finer = made.settings.get("finer", 1)
    if not isinstance(finer, int) or isinstance(finer, bool) or finer < 1:
        raise BadInput(
            f"{made.name} has settings.finer = {finer!r}; wanted is a whole number from 1."
        )
    return finer


def _with_table(dataset: Dataset, path: Path) -> Dataset:
    if not path.is_file():
        return dataset
    splits, groups, said = assign(
        path.parent, {"csv": path.name}, dataset.keys, [{}] * len(dataset)
    )
    entries = tuple(
        replace(e, split=s, group=g or e.group)
        for e, s, g in zip(dataset.entries, splits, groups, strict=True)
    )
    return replace(dataset, entries=entries, problems=(*dataset.problems, *said))


def _places(root: Path, depth: int = 3) -> list[Path]:
    """Return the folders that hold a folder ``images``."""
    if not root.is_dir():
        return []
    if (root / "images").is_dir():
        return [root]
    return (
        [place for folder in _folders(root) for place in _places(folder, depth - 1)]
        if depth
        else []
    )


def _folders(path: Path) -> list[Path]:
    return sorted(
        p
        for p in path.iterdir()
        if p.is_dir() and not p.name.startswith(".") and p.suffix != ".zarr"
    )


def _below(images: Path) -> list[tuple[str, ...]]:
    """Return the folders within ``images`` that hold images, as their names."""
    found = [()] if any(_is_image(p) for p in images.iterdir()) else []
    return [
        *found,
        *((folder.name, *rest) for folder in _folders(images) for rest in _below(folder)),
    ]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


def _by_name(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in _images(folder)}


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if _is_image(p)) if folder.is_dir() else []


def _truths(
    place: Path, names: Iterable[str], below: tuple[str, ...], images: Mapping[str, Path]
) -> tuple[dict[str, Path], list[Path]]:
    """Return image name -> mask, from the first of the folders that there is, and what is over.

    Of several masks of one image that one counts which is called as the image is.
    """
    for name in names:
        found = _images(place.joinpath(name, *below))
        if found:
            mine = sorted(found, key=lambda path: path.stem in images)
            truths = {_matched(path.stem, images): path for path in mine}
            counted = set(truths.values())
            return truths, [path for path in found if path not in counted]
    return {}, []


def _matched(stem: str, images: Mapping[str, Path]) -> str:
    """Return the name of the image that a mask belongs to.

    Its own, or the one that differs in its tail only.
    """
    bare = _bare(stem)
    return next(
        (name for name in (stem, bare, *(bare + tail for tail in TAILS)) if name in images), stem
    )


def _bare(stem: str) -> str:
    return next((stem.removesuffix(tail) for tail in TAILS if stem.endswith(tail)), stem)


def _read_place(
    root: Path, place: Path, below: tuple[str, ...], recipe: FileLayout
) -> tuple[list[Entry], list[str]]:
    images = _by_name(place.joinpath("images", *below))
    (labels, more), (objects, others) = (
        _truths(place, names, below, images) for names in (LABELS, OBJECTS)
    )
    steps = (*place.relative_to(root).parts, *below)
    split = next((split_name(step) for step in steps if step.lower() in SPLIT_NAMES), "")
    group = "/".join(step for step in steps if step.lower() not in SPLIT_NAMES)
    known = {*labels, *objects}
    here = place.joinpath("images", *below)
    problems = _listed(
        [images[name] for name in images if name not in known],
        root,
        f"images of {here.relative_to(root).as_posix()} have no truth",
    )
    lost = [truths[name] for truths in (labels, objects) for name in truths if name not in images]
    problems += _listed(
        lost, root, f"truths beside {here.relative_to(root).as_posix()} have no image"
    )
    problems += _listed(
        [*more, *others],
        root,
        f"truths beside {here.relative_to(root).as_posix()} are of an image that has another",
    )
    problems += _listed(
        [path for path in _images(here) if path not in images.values()],
        root,
        f"images of {here.relative_to(root).as_posix()} have the name of another",
    )
    prefix = "/".join(steps)
    return [
        _entry(
            f"{prefix}/{name}" if prefix else name,
            images[name],
            labels.get(name),
            objects.get(name),
            recipe,
            (),
            split,
            group,
        )
        for name in sorted(known & set(images))
    ], problems
