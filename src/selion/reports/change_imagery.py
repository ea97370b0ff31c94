"""Both years' imagery under the outlines of a comparison, coloured by outcome, with a line to pull.

Static pictures: a page shows them without a script and asks nobody for anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion import fields, store
from selion.change.grids import laid_over, places
from selion.change.outcomes import OUTCOMES
from selion.change.step import COLOURS
from selion.country.change_plans import find_plan
from selion.country.job_tables import JOBS
from selion.country.kept_images import plan_images
from selion.errors import BadInput, SelionError, UnreadableFile, counted
from selion.grid import pixel_metres, tiles
from selion.raster import DerivedSource, Raster, Source, colour_bands
from selion.reports import page, picture
from selion.reports.place import scale_bar
from selion.store.address import Place, RemotePath, locate

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.grid import Roi

RASTERS = (".tif", ".tiff", ".jp2")
"""Endings of the rasters of a folder."""
INDEXES = (".gti", ".gti.gpkg", ".gti.fgb", ".vrt")
"""Endings of what stands for the rasters beside it."""
UNKNOWN_COLOUR = "#808080"
ORDER = ("unknown", "kept", "moved", "redrawn", "split", "merged", "appeared", "gone")
"""Where fields share a pixel, the last of these is seen."""
PALETTE: Mapping[str, str] = dict(zip(OUTCOMES, COLOURS, strict=True)) | {"unknown": UNKNOWN_COLOUR}
CALM = ("unknown", "kept")
"""Outcomes whose outlines are thin: the others are what one looks for."""


@dataclass(frozen=True, eq=False)
class YearImages:
    """The imagery of a year: one raster, or several that lie beside each other."""

    label: str
    paths: tuple[Place | str, ...]

    @property
    def pixel(self) -> float:
        """Metres of a pixel."""
        size = pixel_metres(store.open_raster(str(self.paths[0])).grid)
        return 1.0 if size is None else float(np.sqrt(size[0] * size[1]))

    def picture(self, grid: GeoBox) -> np.ndarray:
        """Return the (y, x, 3) uint8 picture of a grid, grey where there is no image."""
        shown = np.full((*grid.shape, 3), np.nan, np.float32)
        for path in self.paths:
            for part, roi in _pieces(path, grid):
                hole = np.isnan(shown[roi]).any(-1)
                shown[roi][hole] = part[hole]
        return picture.stretch(shown)


def find_images(given: Sequence[Place | str], labels: Sequence[str]) -> list[YearImages]:
    """Find the imagery of each year.

    Parameters
    ----------
    given : sequence of path or address
        For each year, the earliest first: a raster (GeoTIFF, GTI, VRT), a folder of rasters, or a
        plan whose jobs kept their composites.
    labels : sequence of str
        Of the years.

    Raises
    ------
    BadInput
        If there are not as many as years, a folder holds no raster, or one has no place.
    UnreadableFile
        If one is missing or no raster.
    """
    if len(given) != len(labels):
        raise BadInput(
            f"Imagery of {counted(len(given), 'year')} was given for {len(labels)}; wanted is one "
            "for each, the earliest first: --images 2023.tif --images 2024.tif"
        )
    found = []
    for one, label in zip(given, labels, strict=True):
        images = YearImages(label, _rasters(one))
        for path in images.paths:
            if store.open_raster(str(path)).grid.crs is None:
                raise BadInput(
                    f"{path} has no place on the globe: give imagery with a CRS, a GeoTIFF for "
                    "example."
                )
        found.append(images)
    return found


def kept_images(years: Sequence[Place | str]) -> tuple[str, ...]:
    """Return the imagery of years by itself: plans whose jobs all kept their composites.

    Parameters
    ----------
    years : sequence of path or address
        As they are compared: plans, alone or with their maps.

    Returns
    -------
    tuple of str
        For :func:`find_images`; empty where a year is no plan, or kept none.
    """
    plans = [find_plan(year) for year in years]
    if not all(plan is not None and plan_images(plan) for plan in plans):
        return ()
    return tuple(str(plan) for plan in plans)


def named_images(tables: Sequence[Place]) -> tuple[str, ...]:
    """Return the images that tables of fields say they were made of, one for each.

    Empty where a table names none, or one that is no file here any more or cannot be opened.
    """
    found = []
    for table in tables:
        try:
            named = (fields.read_origin(table).provenance or {}).get("image")
            if not isinstance(named, str) or not Path(named).is_file():
                return ()
            if store.open_raster(named).grid.crs is None:
                return ()
        except SelionError:
            return ()
        found.append(named)
    return tuple(found)


def _rasters(given: Place | str) -> tuple[Place | str, ...]:
    place = locate(given).expanduser()
    if isinstance(place, Path) and (place / JOBS).is_file():
        kept = plan_images(place)
        if not kept:
            raise BadInput(
                f"The jobs of {place} kept no composites: give imagery of the year, or plan with "
                "--mosaic FOLDER."
            )
        return kept if kept[0].is_file() else _rasters(kept[0])
    if isinstance(place, RemotePath) or not place.is_dir() or place.suffix == ".zarr":
        if not isinstance(place, RemotePath) and not place.exists():
            raise UnreadableFile(f"There is no file {place}: give the imagery of the year.")
        return (str(given) if isinstance(place, RemotePath) else place,)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    every = [path for path in files if path.suffix.lower() in RASTERS]
    indexes = [path for path in files if path.name.lower().endswith(INDEXES)]
    if len({path.parent for path in indexes}) > 1:
        told = ", ".join(sorted({path.parent.name for path in indexes}))
        raise BadInput(f"The folder {place} holds several mosaics ({told}): name one of them.")
    if not every and not indexes:
        raise BadInput(
            f"The folder {place} holds no raster ({', '.join(RASTERS)}): give the imagery of the "
            "year."
        )
    return tuple(indexes[:1] or every)  # of several seasons the first


@dataclass(frozen=True, eq=False)
class _Thinned(DerivedSource):
    """Every so many pixels of a Source, each from the middle of those that it stands for."""

    step: int

    @property
    def grid(self) -> GeoBox:
        """The grid of the pixels that are taken."""
        own = self.source.grid
        height, width = (-(-(int(size) - self.step // 2) // self.step) for size in own.shape)
        return GeoBox((height, width), own.transform * Affine.scale(self.step), own.crs)

    def read(self, roi: Roi) -> Raster:
        """Read a region, block by block of what it is taken from."""
        shape = roi[0].stop - roi[0].start, roi[1].stop - roi[1].start
        values = np.zeros((len(self.bands), *shape), self.dtype)
        valid = np.zeros(shape, bool)
        block, middle = max(1, 1024 // self.step), slice(self.step // 2, None, self.step)
        for part in tiles(shape, block):
            there = tuple(
                slice(
                    (side.start + by.start) * self.step,
                    min((side.start + by.stop) * self.step, int(size)),
                )
                for side, by, size in zip(roi, part, self.source.grid.shape, strict=True)
            )
            read = self.source.read((there[0], there[1]))
            values[:, *part] = read.values[:, middle, middle]
            seen = True if read.valid is None else read.valid[middle, middle]
            valid[part] = seen
        return Raster(values, self.grid[roi], self.bands, valid)


def _pieces(path: Place | str, grid: GeoBox) -> list[tuple[np.ndarray, Roi]]:
    """Read what of an image lies on a grid: (y, x, 3) float32 parts, NaN where there is nothing."""
    full = store.open_raster(str(path))
    finest, wanted = pixel_metres(full.grid), pixel_metres(grid)
    if finest is None or wanted is None or not _touches(full.grid, grid):
        return []
    ratio = float(np.sqrt(wanted[0] * wanted[1] / (finest[0] * finest[1])))
    source: Source = full
    if ratio > 1:
        source = store.open_raster(str(path), coarse=abs(full.grid.transform.a) * ratio)
        step = int(ratio * abs(full.grid.transform.a) / abs(source.grid.transform.a))
        source = _Thinned(source, step) if step > 1 else source
    laid, _ = laid_over(source, grid)
    pick = list(colour_bands(source.bands))
    found = []
    for roi in tiles((int(grid.shape[0]), int(grid.shape[1])), 512):
        part = laid.read(roi)
        values = np.moveaxis(part.values[pick].astype(np.float32), 0, -1)
        if part.valid is not None:
            values[~part.valid] = np.nan
        found.append((values, roi))
    return found


def _touches(own: GeoBox, grid: GeoBox) -> bool:
    """Say whether two grids may share ground, by a lattice of points of each."""
    for one, other in ((own, grid), (grid, own)):
        share = np.linspace(0, 1, 17)
        y, x = np.meshgrid(share * one.shape[0], share * one.shape[1], indexing="ij")
        at_y, at_x = places(one, other, y, x)
        inside = (at_y >= 0) & (at_y <= other.shape[0]) & (at_x >= 0) & (at_x <= other.shape[1])
        if inside.any():
            return True
    return False


def coloured(image: np.ndarray, frame: GeoDataFrame, grid: GeoBox) -> np.ndarray:
    """Draw fields over a picture of a grid, each in the colour of its outcome.

    What has changed is drawn thicker, and above the rest.

    Parameters
    ----------
    image : (y, x, 3) uint8 ndarray
    frame : GeoDataFrame
        With ``change:outcome``.
    grid : GeoBox
        Of the picture, pixel for pixel.
    """
    canvas = image.copy()
    for outcome in ORDER:
        chosen = frame[frame["change:outcome"] == outcome]
        if not len(chosen):
            continue
        blank = np.zeros(image.shape, np.uint8)
        lines = picture.draw_outlines(blank, chosen, grid, colour=(255, 255, 255))[..., 0] > 0
        thick = lines if outcome in CALM else ndimage.binary_dilation(lines, iterations=1)
        # a dark rim keeps a line apart from fields of its own colour
        rim = ndimage.binary_dilation(thick, np.ones((3, 3), bool)) & ~thick
        canvas[rim] = (canvas[rim] * 0.55).astype(np.uint8)
        canvas[thick] = tuple(bytes.fromhex(PALETTE[outcome][1:]))
    return canvas


def swipe(
    years: Sequence[YearImages], frame: GeoDataFrame, grid: GeoBox, about: str, factor: int = 1
) -> str:
    """Lay the imagery of two years over each other, both under the same outlines.

    Parameters
    ----------
    years : two YearImages
    frame : GeoDataFrame
        Fields, with ``change:outcome``.
    grid : GeoBox
        Of the imagery that is shown.
    about : str
        A sentence on what is shown, plain text.
    factor : int
        How often a pixel is repeated, so that outlines are finer than pixels.
    """
    sides = []
    fine = picture.zoomed(grid, factor)
    for year in years:
        image = coloured(picture.enlarge(year.picture(grid), factor), frame, fine)
        sides.append(
            page.Figure(
                picture.data_uri(image, 82),
                f"Imagery of {year.label}.",
                f"Imagery of {year.label} with the fields coloured by outcome",
            )
        )
    shown = {name: PALETTE[name] for name in ORDER if (frame["change:outcome"] == name).any()}
    key = page.legend(shown)
    return page.slider(sides[0], sides[1], f"{escape(about)} {key}", scale_bar(grid))
