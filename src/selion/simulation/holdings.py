"""Smallholdings at half a metre, with all that MAgSeg tells apart: :func:`write_holdings`.

Fields, trees, clouds, ponds and wells; no real place is shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion import store
from selion.classes import ALU, FTW3
from selion.errors import BadInput
from selion.labels import LabelMap
from selion.progress import OnStep, silent
from selion.raster import Raster
from selion.simulation.chips import OPTIONS
from selion.simulation.landscape.scene import simulate
from selion.simulation.landscape.truth import COVER
from selion.store.replaced import FolderKind

GSD = 0.5
"""Metres of a pixel, as in the paper."""
PLACES = {
    "india": ("smallholder", (300_000.0, 2_800_000.0), "EPSG:32644"),
    "cambodia": ("delta", (480_000.0, 1_390_000.0), "EPSG:32648"),
    "vietnam": ("smallholder", (600_000.0, 2_300_000.0), "EPSG:32648"),
}
"""Group -> style of its land, corner of its first scene, CRS.  Countries in name only."""
CLASSED = "india"
"""The group with all classes; the others have fields alone, as in the paper."""
CORNER = 120
"""Edge in pixels of the corners in which clouds stand."""
SPLITS = ("train", "val", "test")
HOLDINGS = FolderKind(
    "simulated smallholdings", (OPTIONS,), ("dataset.toml", "images/", "masks/", "instances/")
)
DECLARATION = """# Simulated smallholdings at 0.5 m: no real place is shown.
title = "Simulated smallholdings"
layout = "files"
classes = "alu"
licence = "CC0-1.0"
citation = "simulated by selion"

[files]
image = "images/{split}/{group}/{key}.tif"
labels = "masks/{split}/{group}/{key}.tif"
instances = "instances/{split}/{group}/{key}.tif"
values = { 0 = "others", 1 = "field", 2 = "tree", 3 = "cloud", 4 = "pond", 5 = "well" }
"""


@dataclass(frozen=True, slots=True)
class HoldingOptions:
    """How large a sample of smallholdings is."""

    scenes: tuple[int, int, int] = (3, 1, 2)
    """Scenes of each group for training, validation and test."""
    edge: int = 384
    """Pixels of half a metre."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.scenes) < 1 or self.edge < 320 or self.seed < 0:
            raise BadInput(
                f"Scenes {self.scenes} of {self.edge} px, seed {self.seed}, were asked for; wanted "
                "is one of each split at least, 320 px or more, a seed from 0 on."
            )

    def to_json(self) -> str:
        """Write them as they lie beside the scenes."""
        return json.dumps(asdict(self), indent=1) + "\n"


def write_holdings(
    folder: str | os.PathLike[str],
    options: HoldingOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> Path:
    """Write scenes and their masks, as a dataset.

    ::

        dataset.toml                        opens as a dataset: 'selion data check FOLDER'
        images/<split>/<group>/<key>.tif    red, green, blue; uint8
        masks/<split>/<group>/<key>.tif     classes of selion.classes.ALU
        instances/<split>/<group>/<key>.tif fields; 0 is none

    Parameters
    ----------
    folder : path
    options : HoldingOptions, optional
    force : bool
        Whether an existing folder is replaced.
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    """
    options = options or HoldingOptions()
    wanted = list(_wanted(options))
    with store.atomic_folder(folder, force, HOLDINGS) as temporary:
        for done, (split, group, seed, column) in enumerate(wanted):
            on_step("scenes", done, len(wanted))
            image, labels = simulate_holding(seed, options.edge, group, column)
            where = f"{split}/{group}/{group}_{seed:05}.tif"
            _write(temporary / "images" / where, image.values, image.grid, image.bands)
            _write(temporary / "masks" / where, labels.ids[None], labels.grid, ("mask",))
            fields = ndimage.label(labels.ids == ALU.index("field"))[0].astype(np.uint16)
            _write(temporary / "instances" / where, fields[None], labels.grid, ("instance",))
        (temporary / "dataset.toml").write_text(DECLARATION, "utf-8")
        (temporary / OPTIONS).write_text(options.to_json(), "utf-8")
    on_step("scenes", len(wanted), len(wanted))
    return Path(folder)


def _wanted(options: HoldingOptions) -> Iterator[tuple[str, str, int, int]]:
    """Yield split, group, seed and column of each scene; no seed comes twice."""
    for number, group in enumerate(PLACES):
        column = 0
        for split, count in zip(SPLITS, options.scenes, strict=True):
            for _ in range(count):
                yield split, group, 10_000 * options.seed + 1000 * number + column, column
                column += 1


def _write(path: Path, values: np.ndarray, grid: GeoBox, bands: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.create_cog(path, grid, bands, values.dtype, block=256) as sink:
        sink.write((slice(0, grid.shape[0]), slice(0, grid.shape[1])), values)


def simulate_holding(
    seed: int, edge: int = 384, group: str = CLASSED, column: int = 0
) -> tuple[Raster, LabelMap]:
    """Simulate one scene.

    Parameters
    ----------
    seed : int
        Everything follows from it.
    edge : int
        Pixels of half a metre.
    group : str
        One of :data:`PLACES`.
    column : int
        Its place beside the others of its group.

    Returns
    -------
    Raster
        (3, y, x) uint8: red, green, blue.
    LabelMap
        Of :data:`selion.classes.ALU`.  Fields do not touch each other: a margin of two pixels or
        more lies between, so that they are the connected parts of their class.

    Notes
    -----
    Ponds have 400 m2 and more, wells 25 m2, crowns 4 to 8 m; a cloud hides what is below it, and is
    its class where it lets less than half of the light through.
    """
    style, corner, crs = PLACES[group]
    origin = (corner[0] + column * edge * GSD, corner[1])
    land = simulate(seed, (edge, edge), GSD, style, crs=crs, origin=origin, bands="rgb")
    ids = np.where(land.labels.ids == FTW3.index("field"), ALU.index("field"), 0).astype(np.uint8)
    values = np.moveaxis(land.image.values.astype(np.float32), 0, -1)
    if group == CLASSED:
        rng = np.random.default_rng([seed, 17])
        ids[land.cover.ids == COVER.index("tree")] = ALU.index("tree")
        _plant(values, ids, rng, edge)
        _dig(values, ids, rng, edge)
        _cover(values, ids, rng, edge)
    image = np.moveaxis(np.clip(np.rint(values), 0, 255).astype(np.uint8), -1, 0)
    return (
        Raster(np.ascontiguousarray(image), land.image.grid, land.image.bands),
        LabelMap(ids, land.labels.grid, ALU),
    )


def _disc(edge: int, middle: np.ndarray, axes: tuple[float, float]) -> np.ndarray:
    """Return (y, x) float32: 0 in the middle of an ellipse, 1 on its outline, in pixels."""
    y, x = np.ogrid[:edge, :edge]
    found: np.ndarray = np.hypot((y - middle[0]) / axes[0], (x - middle[1]) / axes[1])
    return found.astype(np.float32)


def _plant(values: np.ndarray, ids: np.ndarray, rng: np.random.Generator, edge: int) -> None:
    """Draw single trees of 4 to 8 m, each with its shadow."""
    for _ in range(max(3, edge // 48)):
        middle, radius = rng.uniform(10, edge - 10, 2), rng.uniform(4, 8)
        shadow = _disc(edge, middle + radius, (radius, radius)) < 1
        values[shadow] *= 0.6
        crown = _disc(edge, middle, (radius, radius))
        grain = rng.normal(0, 6, (*crown.shape, 1)).astype(np.float32)
        green = np.array([38, 70, 30], np.float32) * (1.25 - 0.5 * crown[..., None]) + grain
        values[crown < 1] = green[crown < 1]
        ids[crown < 1] = ALU.index("tree")


def _dig(values: np.ndarray, ids: np.ndarray, rng: np.random.Generator, edge: int) -> None:
    """Draw two ponds of 400 m2 and more, and three wells of 25 m2, apart from each other."""
    kinds = [("pond", rng.uniform(23, 28), rng.uniform(23, 30)) for _ in range(2)]
    kinds += [("well", 5.7, 5.7)] * 3
    near = np.arange(edge) < CORNER
    near |= near[::-1]
    taken = near[:, None] & near[None]  # clouds stand in corners, and hide none of them
    for name, high, wide in kinds:
        for _ in range(200):
            middle = rng.uniform(32, edge - 32, 2)
            shape = _disc(edge, middle, (high, wide))
            if not (taken & (shape < 1.8)).any():
                break
        taken |= shape < 1.8
        values[shape < 1.25] = np.array([150, 130, 100], np.float32)  # its bank, or its ring
        ids[shape < 1.25] = 0
        water = np.array([52, 72, 86] if name == "pond" else [18, 20, 26], np.float32)
        values[shape < 1] = water
        ids[shape < 1] = ALU.index(name)


def _cover(values: np.ndarray, ids: np.ndarray, rng: np.random.Generator, edge: int) -> None:
    """Draw two small clouds in corners, so that not much is hidden."""
    for corner in rng.choice(4, 2, replace=False):
        middle = np.array([corner // 2, corner % 2]) * (edge - 80) + rng.uniform(30, 50, 2)
        noise = ndimage.gaussian_filter(rng.normal(0, 1, (edge, edge)), 8)
        shape = _disc(edge, middle, (34, 42)) + (2.0 * noise).astype(np.float32)
        thick = np.clip(1.6 * (1.3 - shape), 0, 0.97)
        values += (np.array([236, 238, 240], np.float32) - values) * thick[..., None]
        ids[thick > 0.5] = ALU.index("cloud")
