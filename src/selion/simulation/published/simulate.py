"""Writing a copy: :func:`simulate_published`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import shapely

from selion import store
from selion.simulation.published.first import write_first
from selion.simulation.published.mosaics import write_mosaics
from selion.simulation.published.nouns import YEARS, CopiedTile, CopyOptions, PublishedCopy
from selion.simulation.published.paint import write_tile
from selion.simulation.published.places import area_box, make_place
from selion.simulation.published.plan import LONLAT, Planting, make_plan, moved, write_lineage
from selion.simulation.published.polygons import write_zones
from selion.simulation.published.tables import (
    box_column,
    box_of,
    geo_metadata,
    write_raster_indexes,
    write_table,
    write_vector_index,
)
from selion.store.replaced import FolderKind

COPY = FolderKind(
    "a simulated copy of the published maps",
    ("truth/lineage.csv",),
    ("ftw-1e/", "ftw-2e/", "ftw-mosaics/"),
)
LICENCE = """# A simulated copy of the layout of Fields of The World's global maps

No real place is shown. The layout follows the second edition (`ftw/global-data-2e`), the first one
(`ftw/global-data`) and the quarterly mosaics (`tge-labs/sentinel-2-quarterly-cloudless-mosaics`),
which are published under CC-BY-4.0. These files are CC0-1.0.
"""


def simulate_published(
    folder: str | os.PathLike[str],
    scene: str = "seam",
    *,
    years: Sequence[int] = YEARS,
    tile: int = 1024,
    overlap_m: float = 80.0,
    seed: int = 0,
    mosaics: Sequence[int] | None = None,
    force: bool = False,
) -> PublishedCopy:
    """Write a small copy of what Fields of The World publishes, of fields that do not exist.

    Fields are planted once, for all years: most stay, some are parted, joined, given up or begun,
    and wide ones lie where the release cuts or loses them.  From them come the probabilities of
    each tile and year, with noise of their own, the polygons with the defects of the release, the
    indexes, the first edition and the quarterly mosaics.

    Parameters
    ----------
    folder : path
        Gets ``ftw-2e``, ``ftw-1e``, ``ftw-mosaics`` and ``truth``.
    scene : str
        One of :data:`selion.simulation.published.SCENES`.
    years : sequence of int
        Of the second edition, ascending; the first has 2024 and 2025, if they are among them.
    tile : int
        Edge of a tile in pixels of 2.5 m, a multiple of 64; the real one is 40032.
    overlap_m : float
        Metres that neighbouring tiles have in common, a multiple of 20.
    seed : int
        Everything follows from it: equal seeds give equal bytes.
    mosaics : sequence of int, optional
        Years of quarterly mosaics; None: the last one.
    force : bool
        Whether an existing folder is replaced.

    Returns
    -------
    PublishedCopy

    Raises
    ------
    BadInput
        If the scene, the years or the sizes make no sense.
    OutputExists, OutputFailed
        If it may not, or cannot, be written.

    Notes
    -----
    Departures from the real thing: tiles are small, so that keys are well-formed and not real; row
    groups, shards and COG tiles are small, so that reading a part pays; the polygons are drawn from
    the planted fields and not from the probabilities; there are no vector tiles, styles,
    collections or raw outlines.

    Examples
    --------
    >>> simulate_published("world", "zones", years=(2024, 2025), tile=512)  # doctest: +SKIP
    """
    options = CopyOptions(
        scene,
        tuple(years),
        tile,
        overlap_m,
        seed,
        None if mosaics is None else tuple(mosaics),
    )
    store.check_output(folder, force, COPY)
    place = make_place(options)
    plan = make_plan(options, place.centre, place.planted)
    with store.atomic_folder(folder, force, COPY) as temporary:
        _write(temporary, plan, place.tiles, options)
        write_first(temporary / "ftw-1e", plan, place, options)
        write_mosaics(temporary / "ftw-mosaics", plan, place.tiles, options)
        (temporary / "ftw-2e" / "README.md").write_text(LICENCE, "utf-8")
        truth = _write_truth(temporary / "truth", plan, place.tiles)
        write_lineage(temporary / "truth" / "lineage.csv", plan)
    folder = Path(folder)
    return PublishedCopy(
        folder,
        options,
        folder / "ftw-2e",
        folder / "ftw-1e",
        folder / "ftw-mosaics",
        area_box(place),
        place.tiles,
        {year: folder / "truth" / name for year, name in truth.items()},
        folder / "truth" / "lineage.csv",
    )


def _write(folder: Path, plan: Planting, tiles: Sequence[CopiedTile], options: CopyOptions) -> None:
    folder = folder / "ftw-2e"
    painted, zones = [], []
    for year in options.years:
        painted += [write_tile(folder, plan, tile, year, options) for tile in tiles]
        zones += write_zones(folder, plan, tiles, year, options)
    write_raster_indexes(folder, painted)
    write_vector_index(folder, zones)


def _write_truth(folder: Path, plan: Planting, tiles: Sequence[CopiedTile]) -> dict[int, str]:
    """Write the fields of each year, and return the names of the files."""
    covered = shapely.union_all(
        [
            moved([shapely.box(*tile.grid.boundingbox)], str(tile.grid.crs), plan.crs)[0]
            for tile in tiles
        ]
    )
    names = {}
    for year in sorted(plan.parcels):
        fields = plan.fields(year)
        shapes = moved([one.outline for one in fields], plan.crs, LONLAT)
        table = pa.table(
            {
                "field": pa.array([one.number for one in fields], pa.int64()),
                "geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()),
                "bbox": box_column(shapes),
                "seam": pa.array([one.seam for one in fields], pa.string()),
                "looked": pa.array([covered.covers(one.outline) for one in fields], pa.bool_()),
                "missed": pa.array([one.missed for one in fields], pa.bool_()),
                "likely": pa.array([one.likely for one in fields], pa.float64()),
            }
        )
        names[year] = f"fields-{year}.parquet"
        write_table(folder / names[year], table, {"geo": geo_metadata(box_of(shapes))}, 2**20)
    return names
