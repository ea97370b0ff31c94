"""Where depth comes from: a network, or a folder of maps that the user has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy import ndimage

from selion import store
from selion.data.photos import PhotoFile
from selion.data.values import read_mask
from selion.errors import BadInput, GridMismatch, SelionError, UnreadableFile
from selion.grid import whole

TIFF = (".tif", ".tiff")
ENDINGS = (".npy", ".png", *TIFF)
"""Of depth maps."""
FILLERS = (-9999, -99999, -32768, -32767, float(np.finfo(np.float32).min))
"""Numbers that stand for no depth, whether the file says so or not."""
STRETCHED = 0.01
"""Share of the farthest distance: no camera sees nearer and as far in one photograph."""
ASPECT = 0.01
"""Depth maps of another size are resampled if their aspect differs by at most this share."""


class Depths(Protocol):
    """Whatever gives the depth of a photograph."""

    @property
    def name(self) -> str:
        """What it is, for the record."""
        ...

    def source(self, photo: PhotoFile) -> Path | None:
        """Return the file that the depth is read from; None if it is computed."""
        ...

    def __call__(self, photo: PhotoFile, image: np.ndarray) -> np.ndarray:
        """Return (y, x) depth on the pixels of a (3, y, x) photograph; larger is nearer."""
        ...


@dataclass(frozen=True, eq=False)
class ComputedDepths:
    """Depth from a network."""

    network: Callable[[np.ndarray], np.ndarray]
    """(3, y, x) uint8 -> (y, x) float."""
    name: str

    def source(self, photo: PhotoFile) -> Path | None:  # noqa: ARG002
        """There is none."""
        return None

    def __call__(self, photo: PhotoFile, image: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Compute it."""
        return self.network(image)


@dataclass(frozen=True, eq=False)
class DepthFolder:
    """Depth maps with the names of the photographs."""

    folder: Path
    distance: bool = False
    """Numbers are distances (larger is farther) instead of inverse depths or heights."""
    _names: dict[str, list[Path]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UnreadableFile(f"There is no folder of depth maps {self.folder}: check the name.")
        for path in sorted(store.files_below(self.folder)):
            if path.suffix.lower() in ENDINGS:
                self._names.setdefault(path.stem, []).append(path)
        if not self._names:
            raise BadInput(
                f"{self.folder} holds no depth map; wanted are files "
                f"{', '.join(f'*{e}' for e in ENDINGS)} with the names of the photographs."
            )

    @property
    def name(self) -> str:
        """The folder's."""
        return f"{self.folder.resolve().name}{' (distances)' if self.distance else ''}"

    def is_beside(self, photo: PhotoFile, path: Path) -> bool:
        """Say whether a map lies below this folder where the photograph lies below its own."""
        return path.relative_to(self.folder).parent == Path(photo.key).parent

    def source(self, photo: PhotoFile) -> Path:
        """Find the map of a photograph.

        In the same place below the folder, or the only one of its name.

        Raises
        ------
        UnreadableFile
            If there is none.
        BadInput
            If several could be meant.
        """
        stem = photo.path.stem
        found = self._names.get(Path(photo.key).name) or self._names.get(stem, [])
        same_place = [path for path in found if self.is_beside(photo, path)]
        if len(same_place) == 1:
            return same_place[0]
        if not found:
            raise UnreadableFile(
                f"{photo.path.name} has no depth map in {self.folder.name}; wanted is {stem} with "
                f"one of the endings {', '.join(ENDINGS)}."
            )
        if len(found) > 1:
            raise BadInput(
                f"{photo.path.name} has {len(found)} depth maps in {self.folder.name}: keep one, "
                "in the same subfolder as the photograph."
            )
        return found[0]

    def __call__(self, photo: PhotoFile, image: np.ndarray) -> np.ndarray:
        """Read it and bring it to the photograph's pixels."""
        path = self.source(photo)
        shape = (image.shape[1], image.shape[2])
        depth = read_depth(path)
        if self.distance:
            depth = measured(depth)
        fitted = fit_with_holes(depth, shape, path.name)
        return -fitted if self.distance else fitted


def measured(distance: np.ndarray) -> np.ndarray:
    """Return distances, NaN where a camera has measured none, which it writes as 0.

    In a map that was stretched to begin at 0, which others then follow, 0 is what is nearest.
    """
    told = distance[distance > 0]
    if told.size and told.min() < STRETCHED * told.max():
        return distance
    return np.where(distance > 0, distance, np.float32(np.nan))


def shared_maps(photos: Sequence[PhotoFile], depths: Depths) -> dict[str, str]:
    """Say of which photographs the depth map is another one's, and why: key -> a sentence.

    Cameras begin to count anew, so that photographs of two folders have one name.  A map that two
    of them would be given is that of the one in the same place; where neither is, it is nobody's.
    """
    if not isinstance(depths, DepthFolder):
        return {}
    users: dict[Path, list[PhotoFile]] = {}
    for photo in photos:
        with suppress(SelionError):  # told when its turn comes
            users.setdefault(depths.source(photo), []).append(photo)
    return {
        photo.key: f"{photo.file} has no depth map of its own in {depths.folder.name}: several "
        f"photographs are called {photo.path.stem}, and {path.relative_to(depths.folder)} lies in "
        "another place; put maps into the same subfolders as the photographs."
        for path, those in users.items()
        if len(those) > 1
        for photo in those
        if not depths.is_beside(photo, path)
    }


def read_depth(path: Path) -> np.ndarray:
    """Read a depth map: PNG of 8 or 16 bits, TIFF of any number type, or ``.npy``.

    Returns
    -------
    (y, x) float32 ndarray
        NaN where a TIFF says that it has no data, and where any file has one of :data:`FILLERS`.

    Raises
    ------
    UnreadableFile, BadInput
        If it cannot be read, or has several bands.
    """
    values = read_mask(path)
    if len(values) > 1:
        raise BadInput(
            f"{path.name} has {len(values)} bands; wanted is one of depths: a coloured picture of "
            "depth has lost its numbers."
        )
    depth = values[0].astype(np.float32)
    if path.suffix.lower() in TIFF:
        source = store.GeoTiffSource.open(path)
        valid = source.read(whole(source.grid)).valid
        depth = depth if valid is None else np.where(valid, depth, np.float32(np.nan))
    return np.where(np.isin(depth, np.array(FILLERS, np.float32)), np.float32(np.nan), depth)


def fit_with_holes(depth: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    """Bring a depth map to the pixels of its photograph; NaN stays NaN, and does not grow.

    Holes are filled from what lies nearest before anything is interpolated, and are left open
    afterwards but for their outermost pixel: the edge of a hole and that of what a photograph
    leaves transparent fall apart by a part of a pixel where the map is the coarser one.
    """
    hole = np.isnan(depth)
    if not hole.any() or hole.all():
        return fit_shape(depth, shape, name)
    fitted = fit_shape(fill_unseen(depth, ~hole), shape, name)
    inner = ndimage.binary_erosion(hole, np.ones((3, 3)), border_value=1)
    sizes = zip(shape, hole.shape, strict=True)
    rows, columns = (((np.arange(to) + 0.5) * of / to).astype(int) for to, of in sizes)
    open_still = inner[np.ix_(rows, columns)]
    return np.where(open_still, np.float32(np.nan), fitted)


def fill_unseen(depth: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Give what a photograph leaves transparent the depth of the nearest pixel that it shows.

    A map has 0, or whatever it calls no data, there, and the edge of that would be the largest step
    of all: the one that soil and plants are parted by.

    Parameters
    ----------
    depth : (y, x) ndarray
    valid : (y, x) bool ndarray or None
        What is shown; None: everything.
    """
    if valid is None or not valid.any():
        return depth
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    found: np.ndarray = depth[tuple(nearest)]
    return found


def fit_shape(depth: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    """Bring a depth map to the pixels of its photograph, bilinearly, if both show the same frame.

    Raises
    ------
    GridMismatch
        If the aspect differs by more than 1 %.
    """
    if depth.shape == shape:
        return depth
    if (
        depth.ndim != 2
        or not depth.size
        or abs(depth.shape[1] / depth.shape[0] * shape[0] / shape[1] - 1) > ASPECT
    ):
        sizes = " and ".join(" x ".join(str(v) for v in s) for s in (depth.shape, shape))
        raise GridMismatch(
            f"The depth map {name} and its photograph differ in shape ({sizes} pixels): give one "
            "that shows the whole photograph, not turned, not cut."
        )
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new - 0.5)
        for new, old in zip(shape, depth.shape, strict=True)
    )
    grid = np.meshgrid(rows, columns, indexing="ij")
    found: np.ndarray = ndimage.map_coordinates(
        depth.astype(np.float32), grid, order=1, mode="nearest"
    )
    return found


def write_depth(depth: np.ndarray, path: Path, *, force: bool = False) -> None:
    """Write normalised (y, x) depth, 0 .. 1, as a 16-bit PNG."""
    from PIL import Image

    with store.atomic_write(path, force=force) as temporary:
        picture = Image.fromarray((np.clip(depth, 0, 1) * 65535).round().astype(np.uint16))
        store.write_picture(temporary, picture, "PNG")


_: tuple[type[Depths], ...] = (ComputedDepths, DepthFolder)
