"""What became of the fields of a country: two merged maps compared by their tables alone.

Cell after cell in the memory of one; the result is a map again, partitioned as a merged one is.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import selion
from selion import fields, store
from selion.change.lineage import COLUMNS as LINEAGE_COLUMNS
from selion.change.lineage import outcome_names
from selion.change.outcomes import OUTCOMES, UNKNOWN, OutcomeOptions
from selion.change.tables import MEANING
from selion.country.cells import check_level
from selion.country.change_rows import (
    NUMBERS,
    cell_lineage,
    gone_rows,
    later_rows,
    named_fields,
    placed,
)
from selion.country.change_sides import open_sides
from selion.country.lookup import opened
from selion.country.merging import MapTarget, read_note, refusing, write_map, write_note
from selion.country.neighbourhoods import (
    MapSide,
    Neighbourhood,
    cell_of,
    judge_cell,
)
from selion.country.partitions import Maps, make_maps_native, open_maps
from selion.country.piles import count_ground, refuse_piles
from selion.country.sorted_runs import RunWriter, boxes_of, open_runs
from selion.country.statistics import Units, read_units
from selion.errors import BadInput, OutputExists, OutputFailed, UnreadableFile, counted
from selion.fields.schema import COLUMNS, Origin
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.address import Place, locate, place_state
from selion.store.apart import check_apart
from selion.store.atomic import explained, publish_folder
from selion.store.calls import sealed
from selion.store.parquet import parquet_schema
from selion.store.replaced import FolderKind
from selion.store.scratch import check_parts, clear_parts, is_bare, parts_of

if TYPE_CHECKING:
    import pyarrow as pa

    from selion.country.change_pixels import SeenByBoth
    from selion.country.lookup import Box

MAPS, LINEAGE, SUMMARY, DISTRICTS, FACTS = (
    "maps",
    "lineage.parquet",
    "summary.csv",
    "districts.csv",
    "change.json",
)
"""What the folder of a result holds."""
CHANGE = FolderKind(
    "what 'selion change' writes of merged maps",
    (FACTS,),
    (f"{MAPS}/", "pixels/", LINEAGE, SUMMARY, DISTRICTS, "*.html", "*_*/"),
)
"""A result, or the steps of many years, each a folder that is called like its years."""
CODES = (*range(1, len(OUTCOMES)), UNKNOWN)
COUNTS = ("fields_before", "fields_after", "ha_before", "ha_after")
NO_DISTRICT = "(none)"
NOTE = "change.json"
NOT_SEEN = (
    "The tables do not say where each map looked: a field in a place that only one of them covers "
    "counts as appeared or gone."
)


@dataclass(frozen=True, slots=True)
class MapChangeOptions:
    """How change between two merged maps is told."""

    outcomes: OutcomeOptions = field(default_factory=OutcomeOptions)
    pixel: float = 10.0
    """Metres of a pixel of the images that the maps were made from: what ``tolerance`` counts."""
    level: int = 3
    """Characters of a partition's name, see :class:`selion.country.MergeOptions`."""
    geoparquet: str = "1.1"
    """Version of the result: 1.1 or 2.0, see :func:`selion.store.make_native`."""

    def __post_init__(self) -> None:
        check_level(self.level)
        store.check_geoparquet(self.geoparquet)
        if not 0 < self.pixel < math.inf:
            raise BadInput(f"A pixel of {self.pixel} m was given; wanted is a number above 0.")


@dataclass(frozen=True, eq=False)
class MapChange:
    """What a comparison of two merged maps left in its folder."""

    folder: Path
    years: tuple[str, str]
    maps: Maps
    """The later map's fields under the ids that follow them, and those that are gone."""
    summary: pd.DataFrame
    """``outcome`` and :data:`COUNTS`."""
    districts: pd.DataFrame | None
    """The same by ``district``; a field belongs to the district that the point of its own id lies
    in."""
    notes: tuple[str, ...]
    rule: dict[str, Any] | None = None
    """``name`` and ``threshold`` of the rule for pixels; None: there are no probabilities."""
    pixels: dict[str, float] | None = None
    """Hectares of the country by class of :data:`selion.change.CHANGES`, and unknown."""


@sealed("selion.country.compare_maps")
def compare_maps(
    before: Place | str,
    after: Place | str,
    out: Path | str,
    options: MapChangeOptions | None = None,
    *,
    districts: Units | Place | str | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> MapChange:
    """Tell what became of each field between two maps, from their tables alone.

    Parameters
    ----------
    before, after : path or address
        What :func:`open_maps` opens, the earlier one first: a folder of ``selion merge``, a hive
        folder of tables, one table.
    out : path
        A folder.  It gets ``maps`` (partitions, as a merge writes them), ``lineage.parquet`` (who
        came from whom), ``summary.csv`` and ``change.json``; with districts ``districts.csv``.
    options : MapChangeOptions, optional
    districts : Units or path, optional
        Polygons to count by, see :func:`read_units`.
    work : path, optional
        Folder of finished parts; None: hidden beside ``out``.  What was stopped goes on there.
    force : bool
        Whether an existing result is replaced, once the new one is whole.
    on_step, on_note : callable, optional

    Returns
    -------
    MapChange

    Raises
    ------
    UnreadableFile, BadInput
        If the maps cannot be used.
    OutputExists, OutputFailed
        If the result cannot be written.

    Notes
    -----
    Outcomes and ids are those of :func:`selion.change.judge`, of areas in m2 instead of pixels.
    Memory is that of one cell of 39 by 20 km with its surroundings, in both maps.  Cells are no
    part of the answer: the same maps in other partitions, or in one file, give the same rows.
    """
    out = checked_folder(out, before, after, force=force)
    units = (
        districts if isinstance(districts, Units) or districts is None else read_units(districts)
    )
    one, other = open_sides(before, after)
    asked = MapQuestion((one, other), options or MapChangeOptions(), units)
    folder = None if work is None else Path(work)
    return compare_sides(asked, out, folder, force=force, on_step=on_step, on_note=on_note)


def checked_folder(out: Path | str, *years: Place | str, force: bool) -> Path:
    """Return the folder of a result, if it may be written.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not.
    BadInput
        If it is, or holds, what one of the years is read from (``"PLAN,MAPS"`` are two).
    """
    out = Path(out).expanduser()
    if out.is_file():
        raise OutputFailed(f"{out} is a file; wanted is the name of a folder.")
    check_apart(out, *(locate(part) for year in years for part in _read_of(year)))
    store.check_output(out, force, CHANGE)
    return out


def _read_of(year: Place | str) -> list[Place | str]:
    if not isinstance(year, str) or Path(year).exists():
        return [year]
    return [part.strip() for part in year.split(",")]


@dataclass(frozen=True, eq=False)
class MapQuestion:
    """Two maps, and how they are compared."""

    sides: tuple[MapSide, MapSide]
    options: MapChangeOptions
    units: Units | None = None
    """Districts to count by."""
    seen: SeenByBoth | None = None
    """Where both looked; None: the maps do not say."""
    notes: tuple[str, ...] = ()
    """Sentences that were said already."""
    sources: tuple[str, ...] = ()
    """What was given for each side; empty: the maps themselves."""
    merged: Path | None = None
    """Note of the folder in which the sides were merged for this; None: they were given."""


def compare_sides(
    asked: MapQuestion,
    out: Path,
    work: Path | None,
    *,
    force: bool,
    on_step: OnStep,
    on_note: OnNote,
) -> MapChange:
    """Compare two opened maps, see :func:`compare_maps`."""
    run = _begin(asked, out, work)
    begun = run.folder / NOTE
    with explained(out), parts_of(begun), refusing(begun, kept=work is not None):
        cells = _cells(run, on_step)
        notes = [] if run.seen is not None else [NOT_SEEN]
        for note in notes:
            on_note(note)
        notes = [*asked.notes, *notes]
        for number, (cell, box) in enumerate(cells.items()):
            on_step("compare", number, len(cells), "")
            if not (run.cell(cell) / "done.json").is_file():
                _compare_cell(run, cell, box)
        on_step("compare", 1, 1, counted(len(cells), "cell"))
        _conclude(run, list(cells), notes, on_step)
        if out.exists() and not force:
            raise OutputExists(
                f"{out} exists already: choose another name, or replace it with --force."
            )
        for held in filter(None, (begun, asked.merged)):
            check_parts(held, out)
        publish_folder(run.folder / "result", out, force, CHANGE)
    clear_parts(begun)
    return open_change(out)


def open_change(folder: Path | str) -> MapChange:
    """Open what :func:`compare_maps` wrote.

    Raises
    ------
    UnreadableFile
        If it is none.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        by = folder / DISTRICTS
        return MapChange(
            folder,
            (facts["years"][0], facts["years"][1]),
            open_maps(folder / MAPS),
            pd.read_csv(folder / SUMMARY),
            # a district called NA, Namibia's code, is one
            pd.read_csv(by, dtype={"district": str}, keep_default_na=False)
            if by.is_file()
            else None,
            tuple(facts["notes"]),
            facts.get("rule"),
            facts.get("pixels_ha"),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder} is not the result of a comparison of maps ({error!r}): compare again."
        ) from error


@dataclass(frozen=True, eq=False)
class _ChangeRun:
    """A comparison that is going on."""

    folder: Path
    sides: tuple[MapSide, MapSide]
    schema: pa.Schema
    origin: Origin
    options: MapChangeOptions
    units: Units | None
    seen: SeenByBoth | None
    sources: tuple[str, ...]

    def cell(self, cell: int) -> Path:
        """Return the folder of what was found in a cell."""
        return self.folder / "cells" / f"{cell:07d}"


def _begin(asked: MapQuestion, out: Path, work: Path | None) -> _ChangeRun:
    """Take up the folder of the same comparison, or begin a new one."""
    import shapely

    sides, options, units = asked.sides, asked.options, asked.units
    folder = work or out.absolute().parent / f".{out.name}.selion-change"
    wanted = [
        selion.__version__,
        asdict(options),
        None if units is None else [units.names, shapely.to_wkb(units.shapes, hex=True).tolist()],
        [
            [side.label, [[str(part.path), *place_state(part.path)] for part in side.maps.parts]]
            for side in sides
        ],
        [side.follows for side in sides],
        None if asked.seen is None else asked.seen.key,
    ]
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    with explained(out):
        take_parts(folder, key)
    origins = [
        fields.read_origin(side.maps.parts[0].path) if side.maps.parts else Origin()
        for side in sides
    ]
    source = "tables" if asked.seen is None else f"tables and scores, rule {asked.seen.rule.name}"
    ends = f"{sides[0].label} to {sides[1].label}"
    details = f"change from {ends}, from {source}; {origins[1].details}"
    origin = Origin(
        out.name,
        None,
        details.rstrip("; "),
        origins[1].method,
        {
            "selion": selion.__version__,
            "years": {
                side.label: origin.to_dict() for side, origin in zip(sides, origins, strict=True)
            },
        },
    )
    return _ChangeRun(
        folder, sides, _result_schema(sides), origin, options, units, asked.seen, asked.sources
    )


def take_parts(folder: Path, key: str) -> None:
    """Take up the folder of finished parts of the same comparison, or begin a new one.

    Raises
    ------
    OutputFailed
        If it holds something else.
    """
    note = folder / NOTE
    held = read_note(note).get("key") if note.is_file() else None
    if folder.is_dir() and not is_bare(folder) and held is None:
        raise OutputFailed(
            f"The folder {folder} holds something that is not an unfinished comparison: give "
            "another one with --work."
        )
    if held != key:
        clear_parts(note)
        folder.mkdir(parents=True, exist_ok=True)
        write_note(note, {"what": "finished parts of an interrupted selion change", "key": key})


def _result_schema(sides: tuple[MapSide, MapSide]) -> pa.Schema:
    """Return the columns of the later map, those of fiboa that one has, and what we say."""
    import pyarrow as pa

    there = {
        name
        for side in sides
        for part in side.maps.parts
        for name in parquet_schema(part.path).names
    } | {"id", "class", "metrics:area", "metrics:perimeter"}
    optional = {column.name for column in COLUMNS} - there
    kept = [column for column in sides[1].schema if column.name not in optional]
    kinds = {"change:parents": pa.int32()} | dict.fromkeys([*NUMBERS, "change:known"], pa.float32())
    said = [pa.field(name, kinds.get(name, pa.string())) for name in MEANING]
    return pa.schema([*kept[:-2], *said, *kept[-2:]])


def _cells(run: _ChangeRun, on_step: OnStep) -> dict[int, Box]:
    """Return the cells that have fields, along the curve, and the box around those of each."""
    note = run.folder / "cells.json"
    if not note.is_file():
        found: dict[int, list[float]] = {}
        ground: dict[int, np.ndarray] = {}
        parts = [(number, part) for number in (0, 1) for part in run.sides[number].maps.parts]
        for done, (side, part) in enumerate(parts):
            on_step("look", done, len(parts), "")
            with opened(part) as file:
                for group in range(file.num_row_groups):
                    boxes = boxes_of(file.read_row_group(group, ["bbox"]))
                    _gather(found, boxes)
                    count_ground(ground, boxes, side)
        refuse_piles(run.sides, found, ground)
        write_note(note, {str(cell): found[cell] for cell in sorted(found)})
    return {int(cell): tuple(box) for cell, box in read_note(note).items()}


def _gather(found: dict[int, list[float]], boxes: np.ndarray) -> None:
    cells = cell_of(boxes)
    for cell in np.unique(cells).tolist():
        here = boxes[cells == cell]
        low, high = here[:, :2].min(axis=0).tolist(), here[:, 2:].max(axis=0).tolist()
        held = found.get(cell, [*low, *high])
        found[cell] = [*map(min, held[:2], low), *map(max, held[2:], high)]


def _compare_cell(run: _ChangeRun, cell: int, box: Box) -> None:
    """Write the rows of a cell, its lineage and its counts."""
    folder = run.cell(cell)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options, known = run.options, None if run.seen is None else run.seen.known
    near = judge_cell(run.sides, cell, box, options.outcomes, options.pixel, known)
    labels = run.sides[0].label, run.sides[1].label
    names = named_fields(near, labels[1])
    writer = RunWriter(folder)
    for table in (later_rows(run.schema, near, names), gone_rows(run.schema, near, names[0])):
        writer.add(placed(table))
    writer.flush()
    cell_lineage(near, names, labels).to_parquet(folder / "lineage", index=False)
    write_note(folder / "done.json", {"counts": _counts(run, near)})


def _counts(run: _ChangeRun, near: Neighbourhood) -> dict[str, list[list[float]]]:
    """Count the fields of the cell by outcome: all, and by number of their district."""
    found: dict[str, np.ndarray] = {}
    for side, (loaded, codes) in enumerate(
        ((near.before, near.judged.before), (near.after, near.judged.after))
    ):
        mine = np.flatnonzero(near.mine[side])
        for name, rows in _by_unit(run.units, loaded.points[mine], mine):
            table = found.setdefault(name, np.zeros((len(CODES), 4)))
            for number, code in enumerate(CODES):
                chosen = rows[codes[rows] == code]
                table[number, side] += len(chosen)
                table[number, 2 + side] += math.fsum(loaded.area[chosen]) / 1e4
    return {name: table.tolist() for name, table in found.items()}


def _by_unit(
    units: Units | None, points: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    import shapely

    yield "all", rows
    if units is None:
        return
    row, unit = shapely.STRtree(units.shapes).query(shapely.points(points), predicate="intersects")
    for number in np.unique(unit).tolist():
        yield str(number), rows[row[unit == number]]
    yield "none", rows[np.setdiff1d(np.arange(len(rows)), row)]


def _conclude(run: _ChangeRun, cells: list[int], notes: list[str], on_step: OnStep) -> None:
    """Bring the cells together in the folder of the result."""
    import pyarrow.parquet as pq

    result = run.folder / "result"
    result.mkdir(exist_ok=True)
    target = MapTarget(result, run.schema, run.origin, run.options.level)
    facts: dict[str, Any] = {"years": [side.label for side in run.sides]}
    write_map(target, open_runs([run.cell(cell) for cell in cells]), facts, on_step)
    if run.options.geoparquet == "2.0":
        make_maps_native(result / MAPS)
    with store.atomic_write(result / LINEAGE, force=True) as temporary:
        schema = _lineage_schema()
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for cell in cells:
                table = pq.read_table(run.cell(cell) / "lineage").select(schema.names)
                writer.write_table(table.cast(schema))
    counts = [read_note(run.cell(cell) / "done.json")["counts"] for cell in cells]
    summary = _table(counts, "all")
    summary.to_csv(result / SUMMARY, index=False, lineterminator="\n")
    if run.units is not None:
        keys = [(str(number), name) for number, name in enumerate(run.units.names)]
        tables = [
            _table(counts, key).assign(district=name)
            for key, name in [*keys, ("none", NO_DISTRICT)]
        ]
        pd.concat(tables, ignore_index=True)[["district", "outcome", *COUNTS]].to_csv(
            result / DISTRICTS, index=False, lineterminator="\n"
        )
    told = {
        "selion": selion.__version__,
        "years": facts["years"],
        "maps": list(run.sources) or [str(side.maps.folder) for side in run.sides],
        "options": asdict(run.options),
        "fields": summary.set_index("outcome").to_dict("index"),
        "notes": notes,
    }
    if run.seen is not None:
        told |= run.seen.write(result)
    (result / FACTS).write_text(json.dumps(told, indent=1), "utf-8")
    shutil.rmtree(result / "parts")


def _lineage_schema() -> pa.Schema:
    import pyarrow as pa

    names = LINEAGE_COLUMNS
    kinds = {"same": pa.bool_()} | dict.fromkeys(names[6:], pa.float64())
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in names])


def _table(counts: list[dict[str, Any]], key: str) -> pd.DataFrame:
    """Add up the counts of all cells."""
    found = [cell[key] for cell in counts if key in cell]
    rows = []
    for number, code in enumerate(CODES):
        values = [math.fsum(table[number][k] for table in found) for k in range(4)]
        name = str(outcome_names(np.array([code]))[0])
        rows.append(
            (name, int(values[0]), int(values[1]), round(values[2], 2), round(values[3], 2))
        )
    return pd.DataFrame(rows, columns=["outcome", *COUNTS])
