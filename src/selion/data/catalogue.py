"""The catalogue: every dataset by name.

It is the one place through which training and evaluation come.

::

    # by name, from where it lies on disk; or any folder of images and masks
    data = load_dataset("ftw", root="ftw/", split="train", groups=("france", "kenya"))
    data = load_dataset("my-chips/")
    # known without opening a raster
    data.name, data.licence, data.classes, data.splits, data.groups, data.problems
    # opened now: Sample(key, image, labels, instances, group, split)
    sample = data[0]
    val = data.select(split="val")  # a Dataset again; data[:100] too

What one can rely on (the promise to ``train`` and ``evaluate``):

* A :class:`~selion.data.dataset.Dataset` is a ``Sequence`` of :class:`~selion.sample.Sample`,
  picklable (for workers), in an order that does not depend on the file system.  ``len``, ``keys``,
  ``splits`` and ``groups`` cost nothing; indexing opens one image's head and reads its masks.
* ``sample.image`` is a Source: read a region, or all of it.  Bands have names: ``window_a:red`` ...
  for two seasons, ``red, green, blue`` for photographs.  Fields of The World is always given as A
  then B; feeding B first is the recipe's business and done by band names.
* ``sample.labels.ids`` is uint8 with ids of ``data.classes`` and 255 (IGNORE) for "not known"; a
  mask with any other value raises BadInput with its name.  ``sample.instances`` (int32, 0 none)
  where the dataset has objects; ``sample.labels`` is made from them if it has no masks of its own.
* Splits are named ``train``, ``val`` and ``test``, however the publisher calls them; "" where there
  are none.
* ``classes=`` asks for another scheme than the dataset's own: FTW2 or FTW3 where there are fields.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

from selion.classes import ClassScheme
from selion.data.dataset import Dataset
from selion.data.declare import FILE, Declaration, declaration, read_declaration, read_toml
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.store.witness import used_folder

Loader = Callable[[Declaration, Path, ClassScheme | None, int], Dataset]
GENERAL = {
    "files": "selion.data.files:load_files",
    "folder": "selion.data.files:load_folder",
}
"""Who reads the layouts that any dataset may have; imported on use."""


@cache
def _catalogue() -> dict[str, Declaration]:
    path = Path(__file__).with_name("catalogue.toml")
    return {
        name: declaration(name, table, f"catalogue.toml, {name}")
        for name, table in read_toml(path).items()
    }


def layouts() -> dict[str, str]:
    """Return who reads which layout: the general ones, and ``selion.data.NAME:load_NAME``.

    NAME is a layout that the catalogue names; a ``dataset.toml`` can name no other module.
    """
    own = {made.layout for made in list_datasets()} - GENERAL.keys()
    return GENERAL | {name: f"selion.data.{name}:load_{name}" for name in sorted(own)}


def list_datasets() -> list[Declaration]:
    """Return the catalogue, in its order: fields first, then close range."""
    return list(_catalogue().values())


def find_dataset(name: str) -> Declaration:
    """Return a dataset's declaration.

    Raises
    ------
    UnknownName
        If the catalogue has none of that name.
    """
    if name not in _catalogue():
        raise UnknownName.among("dataset", name, _catalogue())
    return _catalogue()[name]


def load_dataset(
    given: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    groups: str | Sequence[str] | None = None,
    *,
    classes: ClassScheme | None = None,
    boundary: int = 1,
) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    given : str or path
        A name of the catalogue, or a folder: one with a ``dataset.toml``, one of the public layouts
        (they are recognised), or any folder with ``images`` and ``labels`` (``masks``) or
        ``instances`` of the same names.
    root : path, optional
        The folder in which a dataset of the catalogue lies; a folder of its name in the working
        directory by default.
    split : str, optional
        "train", "val" or "test"; all without it.
    groups : str or sequence of str, optional
        Countries, species, sites; all without it.
    classes : ClassScheme, optional
        FTW2 or FTW3 for fields; the dataset's own without it.  A bare folder has none: its masks
        are read as these classes (FTW3 without it).
    boundary : int
        Width in pixels of the boundary where labels are made from objects.

    Returns
    -------
    Dataset

    Raises
    ------
    UnknownName
        If name, split or group is not known.
    UnreadableFile
        If the dataset is not there.
    BadInput
        If the classes cannot be made.
    """
    path = Path(given).expanduser()
    named = isinstance(given, str) and given in _catalogue()
    if named and (root is not None or path.is_dir()):
        path = Path(path if root is None else root).expanduser()
        dataset = _load(find_dataset(str(given)), path, classes, boundary)
    elif named:
        raise UnreadableFile(_not_here(find_dataset(str(given))))
    elif path.is_dir():
        dataset = _load_folder(path, classes, boundary)
    else:
        raise _unknown(given)
    used_folder(path)
    return dataset.select(split, groups)


def _load(made: Declaration, root: Path, classes: ClassScheme | None, boundary: int) -> Dataset:
    if not root.is_dir():
        raise UnreadableFile(f"There is no folder {root} to read {made.name} from: check the name.")
    known = layouts()
    if made.layout not in known:
        raise UnknownName.among("layout", made.layout, known)
    if boundary < 0:
        raise BadInput(f"A boundary of {boundary} pixels was asked for; wanted is 0 or more.")
    module, _, name = known[made.layout].partition(":")
    loader = cast("Loader", getattr(importlib.import_module(module), name))
    return loader(made, root, classes, boundary)


def _load_folder(path: Path, classes: ClassScheme | None, boundary: int) -> Dataset:
    if (path / FILE).is_file():
        return _load(read_declaration(path / FILE), path, classes, boundary)
    name = recognise(path)
    if name is not None:
        return replace(_load(find_dataset(name), path, classes, boundary), folder=path)
    bare = Declaration(path.resolve().name, "folder", licence="")
    # nothing else says what its numbers are
    own = bare if classes is None or "field" in classes.names else replace(bare, classes=classes)
    return _load(own, path, classes, boundary)


def is_bare(given: str | os.PathLike[str]) -> bool:
    """Say whether this is a folder of images and masks that does not say what its classes are.

    They are then those that one asks for.
    """
    path = Path(given).expanduser()
    return (
        path.is_dir()
        and not (isinstance(given, str) and given in _catalogue())
        and not (path / FILE).is_file()
        and recognise(path) is None
    )


def recognise(path: Path) -> str | None:
    """Return the name of the public dataset whose layout a folder has, or None."""
    return next(
        (
            made.name
            for made in list_datasets()
            if any(next(path.glob(sign), None) for sign in made.signs)
        ),
        None,
    )


def _not_here(made: Declaration) -> str:
    way = (
        f"fetch it with `selion data fetch {made.name} -o FOLDER`"
        if made.download
        else f"get it from {made.home or 'its owner'}"
    )
    return f"{made.name} was asked for, but not where it lies: give its folder as root, or {way}."


def _unknown(given: str | os.PathLike[str]) -> UnknownName:
    text = os.fspath(given)
    if os.sep in text or "/" in text:
        return UnknownName(f"There is no folder {text}: check the name.")
    return UnknownName.among("dataset or folder", text, _catalogue())
