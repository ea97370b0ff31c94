"""A map in the layout of the published second edition of Fields of The World.

``vector/2025/zone=33/utm33.parquet`` ..., nine columns each, and ``index/vector.parquet``, which
says what is where.  Other years of the same folder stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import store
from selion.country.job_tables import JobTable
from selion.country.merge_sources import MergeSources, open_sources
from selion.country.merging import (
    WHEN,
    MergeOptions,
    MergeRun,
    bring_together,
    in_order,
    is_begun,
    open_run,
    read_note,
    sorted_rows,
    write_note,
)
from selion.country.sorted_runs import KINDS, Runs, boxes_of, wkb_kinds
from selion.country.zone_files import (
    COLUMNS,
    ZoneFile,
    read_index,
    write_zone_index,
    zone_name,
    zone_rows,
    zone_writer,
)
from selion.errors import BadInput, OutputExists, OutputFailed, counted
from selion.fields.projecting import centres
from selion.imagery.target import ODD_ZONES, zone_numbers
from selion.progress import OnStep, silent
from selion.store.address import Place
from selion.store.atomic import explained, publish_folder
from selion.store.calls import sealed
from selion.store.parquet import parquet_file
from selion.store.replaced import FolderKind
from selion.store.scratch import check_parts, clear_hidden, clear_parts, is_bare, parts_of
from selion.store.urls import shown
from selion.store.vectors import Bbox, box_around

if TYPE_CHECKING:
    import pyarrow as pa

YEARS = (1950, 2100)
INDEX = Path("index", "vector.parquet")
YEAR = FolderKind("a published year", ("zone=*/utm*.parquet",))
TRANSPORTS = {"https://": "href", "http://": "href", "s3://": "s3_href"}


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What a publication may choose."""

    year: int | None = None
    """The year that the fields stand for; None: that of their ``determination:datetime``."""
    min_area: float = 500.0
    """m2: remnants along seams that are smaller are dropped; whole fields never are."""
    collection: str | None = None
    """fiboa collection id, which the year follows; None: the name of the folder."""
    addresses: tuple[str, ...] = ()
    """Under which addresses the folder will stand (https:// or s3://), for the index; without one
    the index names places within the folder."""

    def __post_init__(self) -> None:
        if self.year is not None and not YEARS[0] <= self.year <= YEARS[1]:
            raise BadInput(
                f"The year {self.year} was given; wanted is one from {YEARS[0]} to {YEARS[1]}."
            )
        for address in self.addresses:
            if shown(address) != address:
                raise BadInput(
                    f"The address {shown(address)} was given with a password or a signature; the "
                    "index is for everybody: leave that out."
                )
            if not address.startswith(tuple(TRANSPORTS)):
                raise BadInput(
                    f"The address {address!r} was given; wanted is one that begins with https:// "
                    "or s3://."
                )
        if len(self.bases) < len(self.addresses):
            raise BadInput(
                f"The addresses {', '.join(self.addresses)} were given; wanted are one of https:// "
                "and one of s3:// at most."
            )

    @property
    def bases(self) -> dict[str, str]:
        """The addresses by the column of the index that they are for."""
        return {
            column: address.rstrip("/") + "/"
            for address in self.addresses
            for start, column in TRANSPORTS.items()
            if address.startswith(start)
        }


@dataclass(frozen=True, eq=False)
class Publication:
    """One year of a published map on disk."""

    folder: Path
    year: int
    zones: tuple[ZoneFile, ...]
    """By number."""
    facts: dict[str, Any]
    """What the merge said."""

    @property
    def rows(self) -> int:
        """Number of fields."""
        return sum(zone.rows for zone in self.zones)


@sealed("selion.country.publish_maps")
def publish_maps(
    tables: Iterable[Place | str],
    out: Path | str,
    options: PublishOptions | None = None,
    *,
    plan: Path | str | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep = silent,
) -> Publication:
    """Merge the tables of many jobs into one year of a map in the published layout.

    Parameters
    ----------
    tables : iterable of path
        As :func:`selion.country.merge_maps` takes them.
    out : path
        A folder; other years that were published there before stay.
    options : PublishOptions, optional
    plan : path, optional
        Folder of the plan, where the tables lie elsewhere.
    work : path, optional
        Folder of finished parts; None: hidden beside ``out``.
    force : bool
        Whether the same year is replaced, once the new one is whole.
    on_step : callable, optional

    Returns
    -------
    Publication

    Raises
    ------
    UnreadableFile, BadInput
        If the tables cannot be used, or nobody says which year they stand for.
    OutputExists, OutputFailed
        If the map cannot be written.

    Notes
    -----
    A field belongs to the UTM zone of its centroid, those of Norway and Svalbard included.  Rows
    lie along one Hilbert curve.  ``score`` is the confidence times 100, rounded.
    """
    options, out = options or PublishOptions(), Path(out).expanduser()
    _check_folder(out)
    with open_sources(tables, plan) as opened:
        return _published(opened, out, options, work, force=force, on_step=on_step)


def _published(
    opened: MergeSources,
    out: Path,
    options: PublishOptions,
    work: Path | str | None,
    *,
    force: bool,
    on_step: OnStep,
) -> Publication:
    year = _year(opened.job_tables, options.year)
    wishes = MergeOptions(min_area=options.min_area, collection=options.collection or out.name)
    this = opened.job_tables, out, wishes, None if work is None else Path(work), ("ftw-2e", year)
    # killed after the year had got its name, and before the index: the same command goes on
    force = force or (_is_unlisted(out, year) and is_begun(*this))
    _check_year(out, year, force)
    run = open_run(*this)
    run = replace(run, origin=replace(run.origin, collection=f"{run.origin.collection}-{year}"))
    with explained(out), parts_of(run.note):
        facts: dict[str, Any] = {"year": year} | bring_together(run, on_step) | opened.facts
        zones = _write_zones(run, year, on_step)
        check_parts(run.note, out)
        _publish(run, out, year, zones, options, force)
    clear_parts(run.note)
    facts |= {
        "fields": sum(zone.rows for zone in zones),
        "collection": run.origin.collection,
        "selion": selion.__version__,
        "left_out": sorted(set(run.schema.names) - {*COLUMNS, *_score_source(run.schema)}),
        "scored": bool(_score_source(run.schema)),
    }
    return Publication(out, year, tuple(zones), facts)


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something else."""
    if out.is_file():
        raise OutputFailed(f"{out} is a file; wanted is the name of a folder.")
    store.check_output(out, force=True)
    if out.is_dir() and not is_bare(out) and not (out / "vector").is_dir():
        raise OutputExists(
            f"{out} holds something that is not a published map (no folder vector): choose another "
            "name."
        )


def _check_year(out: Path, year: int, force: bool) -> None:
    if (out / "vector" / str(year)).exists() and not force:
        raise OutputExists(
            f"{out} has the year {year} already: choose another name, or replace that year with "
            "--force."
        )
    store.check_output(out / "vector" / str(year), force, YEAR)


def _is_unlisted(out: Path, year: int) -> bool:
    """Say whether a year lies in a folder whose index does not know it."""
    if not (out / "vector" / str(year)).exists():
        return False
    return all(row["year"] != year for row in read_index(out / INDEX))


def _year(job_tables: list[JobTable], given: int | None) -> int:
    """Return the year that all tables stand for."""
    if given is not None:
        return given
    years: set[int] = set()
    for job_table in job_tables:
        found = _years(job_table)
        if None in found:
            raise BadInput(
                f"{job_table.path} does not say when its fields were determined, so their year is "
                "not known: say it with --year."
            )
        years |= {year for year in found if year is not None}
    if len(years) > 1:
        raise BadInput(
            f"The tables are of the years {', '.join(map(str, sorted(years)))}: publish one year "
            "at a time, or say with --year which one they all stand for."
        )
    if not years:
        raise BadInput("The tables have no fields, so no year: say it with --year.")
    return years.pop()


def _years(job_table: JobTable) -> set[int | None]:
    """Return the years of a table's fields; None for those that have no time."""
    import pyarrow.compute as pc

    moment = job_table.origin.determined
    usual = None if moment is None else moment.year
    with parquet_file(job_table.parquet, pre_buffer=False) as file:
        if WHEN not in file.schema_arrow.names:
            return {usual} if job_table.rows else set()
        found = {
            year
            for batch in file.iter_batches(columns=[WHEN])
            for year in pc.unique(pc.year(batch[WHEN])).to_pylist()
        }
    return {usual if year is None else year for year in found}


def _score_source(schema: pa.Schema) -> tuple[str, ...]:
    """Return the column that the score comes from, if there is one."""
    import pyarrow as pa

    if "confidence" in schema.names:
        return ("confidence",)
    if "score" in schema.names and pa.types.is_integer(schema.field("score").type):
        return ("score",)
    return ()


# zones


def _write_zones(run: MergeRun, year: int, on_step: OnStep) -> list[ZoneFile]:
    """Write the files of all zones, each as a whole."""
    runs = sorted_rows(run)
    folder, notes = run.folder / "out" / "vector" / str(year), run.folder / "parts"
    for made in (folder, notes):
        made.mkdir(parents=True, exist_ok=True)
    cells = _cells_by_zone(runs)
    found: list[ZoneFile] = []
    for number, zone in enumerate(sorted(cells)):
        on_step("write", number, len(cells), zone_name(zone))
        note, target = notes / f"{zone:02}.json", folder / zone_name(zone)
        if not (note.is_file() and (target.is_file() or not read_note(note)["rows"])):
            write_note(note, _write_zone(run, runs, zone, cells[zone], target, year))
        kept = read_note(note)
        if kept["rows"]:
            found.append(
                ZoneFile(year, zone, kept["bytes"], kept["rows"], kept["area"], tuple(kept["box"]))
            )
    clear_hidden(folder)  # what a process that was killed had begun to write
    rows = sum(zone.rows for zone in found)
    on_step("write", 1, 1, f"{counted(rows, 'field')} in {counted(len(found), 'zone')}")
    return found


def _cells_by_zone(runs: Runs) -> dict[int, dict[int, bool]]:
    """Return by zone the fine cells that may have fields of it, and whether they have no other."""
    found: dict[int, dict[int, bool]] = {}
    for cell in dict.fromkeys(runs.cells.tolist()):
        box, _ = runs.around([cell])
        zones = _zones_of(box)
        for zone in zones:
            found.setdefault(zone, {})[cell] = len(zones) == 1
    return found


def _zones_of(box: Bbox) -> list[int]:
    """Return the UTM zones that a box of longitude and latitude touches."""
    west, south, east, north = box
    breaks = {edge for row in ODD_ZONES for edge in row[:2] if south < edge < north}
    longitudes = [west, east, *np.arange(np.ceil(west / 3), east / 3) * 3]
    grid = np.meshgrid(longitudes, [south, north, *breaks])
    return np.unique(zone_numbers(grid[0].ravel(), grid[1].ravel())).tolist()


def _rows_of(runs: Runs, cell: int, zone: int, alone: bool) -> pa.Table:
    """Read the rows of a fine cell whose centroid lies in a zone, in their final order."""
    import pyarrow as pa
    import shapely

    table = in_order(runs.read(cell))
    if alone:
        return table
    numbers = zone_numbers(*centres(shapely.from_wkb(table["geometry"].to_numpy())).T)
    return table.filter(pa.array(numbers == zone))


def _around(runs: Runs, zone: int, cells: dict[int, bool]) -> tuple[Bbox | None, list[str]]:
    """Return the box around a zone's fields and their types of geometry."""
    boxes, kinds = [], set()
    for cell, alone in cells.items():
        if alone:
            box, names = runs.around([cell])
            boxes.append(np.array([box]))
            kinds |= set(names)
        elif len(table := _rows_of(runs, cell, zone, alone)):
            boxes.append(boxes_of(table))
            kinds |= {KINDS[code] for code in np.unique(wkb_kinds(table["geometry"])).tolist()}
    return (box_around(np.concatenate(boxes)) if boxes else None), sorted(kinds)


def _write_zone(
    run: MergeRun, runs: Runs, zone: int, cells: dict[int, bool], target: Path, year: int
) -> dict[str, Any]:
    """Write the file of one zone, fine cell after fine cell along the curve."""
    box, kinds = _around(runs, zone, cells)
    if box is None:
        return {"rows": 0}
    target.parent.mkdir(exist_ok=True)
    with (
        store.atomic_write(target, force=True) as temporary,
        zone_writer(temporary, run.origin, box, kinds) as writer,
    ):
        for cell, alone in cells.items():
            rows = _rows_of(runs, cell, zone, alone)
            if len(rows):
                writer.add(zone_rows(rows, run.origin, year, *_score_source(run.schema)))
    return {
        "rows": writer.rows,
        "box": list(box),
        "bytes": target.stat().st_size,
        "area": writer.area,
    }


def _publish(
    run: MergeRun, out: Path, year: int, zones: list[ZoneFile], options: PublishOptions, force: bool
) -> None:
    """Give a year its final name, then the index that knows it."""
    made = run.folder / "out"
    new = not out.exists() or not any(out.iterdir())
    index = (made if new else out) / INDEX
    others = [] if new else [row for row in read_index(index) if row["year"] != year]
    if new:
        write_zone_index(index, others, zones, options.bases)
        publish_folder(made, out, force=out.exists())
        return
    _check_year(out, year, force)
    publish_folder(made / "vector" / str(year), out / "vector" / str(year), force, YEAR)
    write_zone_index(index, others, zones, options.bases)
