"""A sample in the layout of Fields of The World: :func:`write_chips`; no real place is shown.

Everything that reads the public data set reads this one, and it has what is awkward there: a
country of which only some fields are labelled, borders burnt as lines, fields that a line cuts into
pieces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import FTW3
from selion.errors import BadInput, UnknownName
from selion.labels import Instances
from selion.progress import OnStep, silent
from selion.simulation.landscape.scene import Landscape, simulate
from selion.simulation.published.plan import LONLAT, moved
from selion.simulation.published.tables import box_of, geo_metadata, write_table
from selion.store.replaced import FolderKind

LICENCE = """# A simulated sample in the layout of Fields of The World

No real place is shown, and the countries are so in name only.  The layout follows Fields of The
World (Kerner et al., arXiv 2409.16252).  These files are CC0-1.0.
"""
COLOURS = ("red", "green", "blue", "nir")
UNKNOWN = 3
"""What the masks of a presence-only country hold where nothing is labelled."""
LABELLED = 0.6
"""Share of its fields that a presence-only country labels; no statistic stands behind it."""
OPTIONS = "sample.json"
"""In the folder: what was asked for."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class SampleCountry:
    """A country in name, and how its land looks."""

    style: str
    """Of :data:`selion.simulation.landscape.NAMES`."""
    crs: str
    corner: tuple[float, float]
    """Easting and northing of the first chip's upper left corner."""
    presence_only: bool = False


SAMPLE_COUNTRIES = {
    "austria": SampleCountry("europe", "EPSG:32633", (500_000.0, 5_330_000.0)),
    "cambodia": SampleCountry("smallholder", "EPSG:32648", (480_000.0, 1_390_000.0)),
    "denmark": SampleCountry("europe", "EPSG:32632", (520_000.0, 6_230_000.0)),
    "kenya": SampleCountry("smallholder", "EPSG:32737", (240_000.0, 9_920_000.0), True),
    "luxembourg": SampleCountry("bocage", "EPSG:32632", (290_000.0, 5_510_000.0)),
    "south_africa": SampleCountry("pivots", "EPSG:32735", (500_000.0, 6_870_000.0)),
    "spain": SampleCountry("prairie", "EPSG:32630", (400_000.0, 4_610_000.0)),
    "vietnam": SampleCountry("smallholder", "EPSG:32648", (600_000.0, 2_300_000.0)),
}
"""Countries that can be written.  Their names are those of the data set, so that tables by country
have their rows."""
CHIPS = FolderKind(
    "simulated chips", (OPTIONS,), ("README.md", *(f"{name}/" for name in SAMPLE_COUNTRIES))
)


@dataclass(frozen=True, slots=True)
class ChipOptions:
    """How large a sample is."""

    countries: tuple[str, ...] = ("austria", "cambodia", "denmark", "kenya", "south_africa")
    chips: tuple[int, int, int] = (4, 1, 3)
    """Chips of each country for training, validation and test."""
    size: int = 256
    """Edge in pixels of 10 m."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.countries:
            if name not in SAMPLE_COUNTRIES:
                raise UnknownName.among("simulated country", name, SAMPLE_COUNTRIES)
        if not self.countries or len(set(self.countries)) < len(self.countries):
            raise BadInput(
                f"The countries {', '.join(self.countries) or '(none)'} were asked for; wanted is "
                "one at least, and none twice."
            )
        if min(self.chips) < 0 or not sum(self.chips) or self.size < 32 or self.seed < 0:
            raise BadInput(
                f"Chips {self.chips} of {self.size} px, seed {self.seed}, were asked for; wanted "
                "are counts from 0 on and one chip at least, 32 px or more, a seed from 0 on."
            )

    def to_json(self) -> str:
        """Write them as they lie beside the chips."""
        return json.dumps(asdict(self), indent=1) + "\n"


def write_chips(
    folder: str | os.PathLike[str],
    options: ChipOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> Path:
    """Write a sample in the layout of Fields of The World, with images and masks of its own.

    ::

        <country>/chips_<country>.parquet                   aoi_id, split, geometry (WGS 84)
        <country>/s2_images/window_{a,b}/<aoi_id>.tif       red, green, blue, nir; uint16, DN
        <country>/label_masks/semantic_{2,3}class/<aoi_id>.tif
        <country>/label_masks/instance/<aoi_id>.tif

    Parameters
    ----------
    folder : path
        Gets one folder for each country, a README with the licence, and ``sample.json``: the
        options.
    options : ChipOptions, optional
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

    Notes
    -----
    Window A is the earlier date.  Equal options give equal pixels.  Departures from the real data
    set: the images are simulated (:func:`selion.simulation.landscape.simulate`), chips of a country
    lie side by side, and there are few of them.

    Examples
    --------
    >>> write_chips("ftw-sample", ChipOptions(("austria", "kenya")))  # doctest: +SKIP
    """
    options = options or ChipOptions()
    total = len(options.countries) * sum(options.chips)
    done = 0
    with store.atomic_folder(folder, force, CHIPS) as temporary:
        for country in options.countries:
            rows = []
            for aoi, split, scene in _scenes(country, options):
                on_step("sample", done, total)
                _write_chip(temporary / country, aoi, scene, SAMPLE_COUNTRIES[country])
                rows.append((aoi, split, scene.image.grid))
                done += 1
            _write_index(temporary / country / f"chips_{country}.parquet", rows)
        (temporary / "README.md").write_text(LICENCE, "utf-8")
        (temporary / OPTIONS).write_text(options.to_json(), "utf-8")
    on_step("sample", total, total)
    return Path(folder)


def chip_masks(
    instances: Instances, *, labelled: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three masks of a chip as the data set has them.

    Parameters
    ----------
    instances : Instances
        (y, x) ids of fields, 0 is none.
    labelled : (n,) int ndarray, optional
        The ids that are labelled in a country of which only some are; the rest of the chip is then
        :data:`UNKNOWN`.

    Returns
    -------
    semantic_3class, semantic_2class : (y, x) uint8 ndarray
    instance : (y, x) uint32 ndarray
        0 along every border.

    Notes
    -----
    The data set burns outlines one pixel wide.  Here the outline runs between pixels, and the pixel
    on its upper left takes the line: a pixel is boundary where its right, lower or lower right
    neighbour belongs to somebody else.  Two fields never touch then.
    """
    ids = instances.ids
    if labelled is not None:
        ids = np.where(np.isin(ids, labelled), ids, 0)
    more = np.pad(ids, ((0, 1), (0, 1)), mode="edge")
    line = (ids != more[1:, :-1]) | (ids != more[:-1, 1:]) | (ids != more[1:, 1:])
    inside = (ids > 0) & ~line
    three = np.where(line, FTW3.index("boundary"), inside).astype(np.uint8)
    two = inside.astype(np.uint8)
    if labelled is not None:
        three[~inside & ~line] = two[~inside & ~line] = UNKNOWN
    return three, two, np.where(inside, ids, 0).astype(np.uint32)


def _scenes(country: str, options: ChipOptions) -> Iterator[tuple[str, str, Landscape]]:
    """Yield (name, split, landscape) of every chip; one seed for each, whatever else is asked."""
    land = SAMPLE_COUNTRIES[country]
    number = sorted(SAMPLE_COUNTRIES).index(country)
    step = options.size * 10.0
    column = 0
    for split, count in zip(SPLITS, options.chips, strict=True):
        for k in range(count):
            seed = int(
                np.random.default_rng([options.seed, number, SPLITS.index(split), k]).integers(
                    2**31
                )
            )
            scene = simulate(
                seed,
                (options.size, options.size),
                10.0,
                land.style,
                crs=land.crs,
                origin=(land.corner[0] + column * step, land.corner[1]),
            )
            yield f"g{number}_{SPLITS.index(split)}_{k:05}", split, scene
            column += 1


def _write_chip(folder: Path, aoi: str, scene: Landscape, land: SampleCountry) -> None:
    values = scene.image.values.reshape(2, len(COLOURS), *scene.image.values.shape[1:])
    if scene.dates[0] > scene.dates[1]:
        values = values[::-1]
    for window, date in zip(("window_a", "window_b"), values, strict=True):
        _write_tif(
            folder / "s2_images" / window / f"{aoi}.tif", date, scene.image.grid, bands=COLOURS
        )
    chosen = None
    if land.presence_only:
        there = np.setdiff1d(scene.instances.ids, [0])
        draw = np.random.default_rng([scene.seed, 6]).random(len(there))
        chosen = there[draw < LABELLED]
    names = ("semantic_3class", "semantic_2class", "instance")
    for name, mask in zip(names, chip_masks(scene.instances, labelled=chosen), strict=True):
        path = folder / "label_masks" / name / f"{aoi}.tif"
        _write_tif(path, mask[None], scene.image.grid, bands=("mask",))


def _write_tif(path: Path, values: np.ndarray, grid: GeoBox, bands: Sequence[str]) -> None:
    with store.create_cog(path, grid, bands, values.dtype, block=256) as sink:
        sink.write((slice(0, grid.shape[0]), slice(0, grid.shape[1])), values)


def _write_index(path: Path, rows: Sequence[tuple[str, str, GeoBox]]) -> None:
    shapes = [
        moved([shapely.box(*grid.boundingbox)], str(grid.crs), LONLAT)[0] for _, _, grid in rows
    ]
    table = pa.table(
        {
            "aoi_id": pa.array([aoi for aoi, _, _ in rows], pa.string()),
            "split": pa.array([split for _, split, _ in rows], pa.string()),
            "geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()),
        }
    )
    geo = geo_metadata(box_of(shapes), kinds=("Polygon",), covering=False)
    write_table(path, table, {"geo": geo}, 2**20)
