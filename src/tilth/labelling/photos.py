"""The photographs of a folder, and the names that their masks get."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilth import store
from tilth.errors import BadInput, UnreadableFile
from tilth.grid import whole

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".dng", ".nef", ".cr2", ".arw")
"""Endings of what is taken for a photograph; what cannot be read of it is said, image by image."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph in a folder."""

    key: str
    """Path below the folder without its ending, ``/`` between folders; with the ending where two would share the name."""
    path: Path


def find_photos(given: Path) -> list[Photo]:
    """List the photographs of a folder and of the folders in it, sorted; or take one photograph.

    Raises
    ------
    UnreadableFile
        If there is no such folder.
    BadInput
        If it holds no photograph.
    """
    if given.is_file():
        return [Photo(given.stem, given)]
    if not given.is_dir():
        message = f"There is no folder {given}: check the name."
        raise UnreadableFile(message)
    paths = sorted(p for p in given.rglob("*") if p.suffix.lower() in IMAGES and p.is_file() and not _hidden(p.relative_to(given)))
    if not paths:
        message = f"{given} holds no photograph; wanted are files such as {', '.join(f'*{e}' for e in IMAGES[:2])}, *.png or *.tif, also in folders within it."
        raise BadInput(message)
    plain = [p.relative_to(given).with_suffix("").as_posix() for p in paths]
    twice = {key for key, count in Counter(key.lower() for key in plain).items() if count > 1}  # some file systems do not tell a from A
    return [Photo(p.relative_to(given).as_posix() if key.lower() in twice else key, p) for key, p in zip(plain, paths, strict=True)]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_colours(path: Path) -> np.ndarray:
    """Read a photograph as (3, y, x) uint8 red, green, blue, turned as EXIF says; grey is repeated, 16 bits are brought to 8.

    Raises
    ------
    UnreadableFile, BadInput
        If it cannot be read, or holds numbers that are no colours.
    """
    source = store.open_raster(path)
    values = source.read(whole(source.grid)).values
    values = np.repeat(values[:1], 3, 0) if len(values) < 3 else values[:3]
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8) if values.max(initial=0) > 255 else values.astype(np.uint8)
    if values.dtype != np.uint8:
        message = f"{path.name} holds numbers of type {values.dtype}; wanted is a photograph of 8 or 16 bits: export it as JPEG, PNG or TIFF."
        raise BadInput(message)
    return np.ascontiguousarray(values)


def beside(path: Path, folder: Path) -> str:
    """Return a path as it is written down in a folder: relative to it where that is possible, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())
