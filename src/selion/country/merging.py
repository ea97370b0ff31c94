"""``selion merge``: the tables of all jobs become one map.

Seams are closed once, in the memory of a few job tables.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import store
from selion.country import joining
from selion.country.cells import check_level
from selion.country.job_tables import (
    JobTable,
    conformed,
    measured,
    merged_schema,
    with_column,
)
from selion.country.joining import Borders, Tally, group_rows, join_rows
from selion.country.merge_sources import MergeSources, open_sources
from selion.country.noding import node_runs
from selion.country.partitions import (
    INDEX,
    PART,
    Maps,
    Partition,
    make_maps_native,
    open_maps,
    part_writer,
    write_index,
)
from selion.country.seams import find_pieces, write_seam
from selion.country.sorted_runs import KEY, Runs, RunWriter, boxes_of, open_runs, place
from selion.country.territory import Territories
from selion.errors import BadInput, OutputExists, OutputFailed, counted
from selion.fields.schema import Origin
from selion.progress import OnStep, silent
from selion.store.address import Place
from selion.store.atomic import explained, publish_folder
from selion.store.calls import sealed
from selion.store.former import former, take_over
from selion.store.parquet import parquet_schema
from selion.store.replaced import FolderKind
from selion.store.scratch import check_parts, clear_hidden, clear_parts, is_bare, parts_of

if TYPE_CHECKING:
    import pyarrow as pa

DONE, NOTE = "done.json", "merge.json"
MERGED = FolderKind("a map of 'selion merge'", (INDEX, former(INDEX)), ("cell=*/",))
WHEN = "determination:datetime"


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """What a merge may choose."""

    level: int = 3
    """Characters of a cell: 2 (1250 km wide at the equator), 3 (156 km) or 4 (39 km)."""
    min_area: float = 500.0
    """m2: remnants along seams that are smaller are dropped; whole fields never are."""
    collection: str | None = None
    """fiboa collection id; None: the name of the folder."""
    geoparquet: str = "1.1"
    """Version of the partitions: 1.1 or 2.0, see :func:`selion.store.make_native`."""

    def __post_init__(self) -> None:
        check_level(self.level)
        store.check_geoparquet(self.geoparquet)
        if not self.min_area >= 0:
            raise BadInput(
                f"A smallest remnant of {self.min_area} m2 was given; wanted is a number from 0 up."
            )


@sealed("selion.country.merge_maps")
def merge_maps(
    tables: Iterable[Place | str],
    out: Path | str,
    options: MergeOptions | None = None,
    *,
    plan: Path | str | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep = silent,
) -> Maps:
    """Merge the tables of many jobs into one partitioned map.

    Parameters
    ----------
    tables : iterable of path or address
        GeoParquet files, folders of jobs, or the folder of a plan, whose finished jobs are taken;
        GeoPackages, GeoJSON, FlatGeobuf ... are read whole.  The order does not matter.
    out : path
        A folder.
    options : MergeOptions, optional
    plan : path, optional
        Folder of the plan, where the tables lie elsewhere.
    work : path, optional
        Folder of finished parts; None: hidden beside ``out``.  A merge that was stopped goes on
        there, and it goes when the merge ends.
    force : bool
        Whether an existing map is replaced, once the new one is whole.
    on_step : callable, optional

    Returns
    -------
    Maps

    Raises
    ------
    UnreadableFile, BadInput
        If the tables cannot be used.
    OutputExists, OutputFailed
        If the map cannot be written.
    """
    options, out = options or MergeOptions(), Path(out).expanduser()
    if out.is_file():
        raise OutputFailed(f"{out} is a file; wanted is the name of a folder.")
    store.check_output(out, force, MERGED)
    with open_sources(tables, plan) as opened:
        return _merged(opened, out, options, work, force=force, on_step=on_step)


def _merged(
    opened: MergeSources,
    out: Path,
    options: MergeOptions,
    work: Path | str | None,
    *,
    force: bool,
    on_step: OnStep,
) -> Maps:
    run = open_run(opened.job_tables, out, options, None if work is None else Path(work))
    with explained(out), parts_of(run.note), refusing(run.note, kept=work is not None):
        facts = bring_together(run, on_step) | opened.facts
        target = MapTarget(run.folder, run.schema, run.origin, run.options.level)
        write_map(target, sorted_rows(run), facts, on_step)
        if options.geoparquet == "2.0":
            make_maps_native(run.folder / "maps")
        if out.exists() and not force:
            raise OutputExists(
                f"{out} exists already: choose another name, or replace it with --force."
            )
        check_parts(run.note, out)
        publish_folder(run.folder / "maps", out, force, MERGED)
    clear_parts(run.note)
    return open_maps(out)


@contextmanager
def refusing(note: Path, *, kept: bool) -> Iterator[None]:
    """Leave no folder of finished parts where the tables cannot be used: others have another.

    ``note`` is its note; one that is ``kept`` was named by the caller.
    """
    try:
        yield
    except BadInput:
        if not kept:
            clear_parts(note)
        raise


def bring_together(run: MergeRun, on_step: OnStep) -> dict[str, Any]:
    """Sort all rows and join what borders cut; return what was counted."""
    return _spread(run, on_step) | _close(run, on_step)


def sorted_rows(run: MergeRun) -> Runs:
    """Return the sorted rows of a merge that has been brought together."""
    return open_runs([*(run.runs(job_table) for job_table in run.job_tables), run.joined])


@dataclass(frozen=True, eq=False)
class MergeRun:
    """A merge that is going on."""

    folder: Path
    territories: Territories
    schema: pa.Schema
    origin: Origin
    options: MergeOptions

    @property
    def note(self) -> Path:
        """Says that the folder is ours, and what of."""
        return self.folder / NOTE

    @property
    def job_tables(self) -> list[JobTable]:
        """The tables, in the order that follows from what is in them."""
        return list(self.territories.job_tables)

    def runs(self, job_table: JobTable) -> Path:
        """Return the folder of a job table's sorted rows."""
        return self.folder / "runs" / job_table.key

    def seam(self, job_table: JobTable) -> Path:
        """Return the file of a job table's rows along its border."""
        return self.folder / "seams" / f"{job_table.key}.parquet"

    @property
    def joined(self) -> Path:
        """The folder of the sorted rows that come from borders."""
        return self.folder / "runs" / "joined"


def open_run(
    job_tables: list[JobTable],
    out: Path,
    options: MergeOptions,
    work: Path | None,
    also: tuple[object, ...] = (),
) -> MergeRun:
    """Take up the folder of a merge of the same tables with the same wishes, or begin a new one.

    ``also`` are wishes that the options do not hold.
    """
    schema = merged_schema(job_tables)  # what does not fit together leaves no folder
    folder = _folder(out, work)
    options = replace(options, collection=options.collection or out.name)
    wanted = _key(job_tables, options, also)
    note = folder / NOTE
    with explained(out):
        if folder.is_dir() and not is_bare(folder) and not _is_ours(note):
            raise OutputFailed(
                f"The folder {folder} holds something that is not an unfinished merge: give "
                "another one with --work."
            )
        if not _is_ours(note) or read_note(note).get("key") != wanted:
            clear_parts(note)
            folder.mkdir(parents=True, exist_ok=True)
            write_note(
                note, {"what": "finished parts of an interrupted selion merge", "key": wanted}
            )
    return MergeRun(
        folder,
        Territories(job_tables),
        _used(schema, job_tables),
        _origin(job_tables, str(options.collection)),
        options,
    )


def is_begun(
    job_tables: list[JobTable],
    out: Path,
    options: MergeOptions,
    work: Path | None,
    also: tuple[object, ...] = (),
) -> bool:
    """Say whether :func:`open_run` would go on with what another process has left."""
    note = _folder(out, work) / NOTE
    options = replace(options, collection=options.collection or out.name)
    return _is_ours(note) and read_note(note).get("key") == _key(job_tables, options, also)


def _folder(out: Path, work: Path | None) -> Path:
    return work or take_over(out.absolute().parent / f".{out.name}.selion-merge")


def _key(job_tables: list[JobTable], options: MergeOptions, also: tuple[object, ...]) -> str:
    """Return what tells one merge from another."""
    keys = [job_table.key for job_table in job_tables]
    said = json.dumps([selion.__version__, asdict(options), keys, *also])
    return hashlib.sha256(said.encode()).hexdigest()


def _is_ours(note: Path) -> bool:
    try:
        return "key" in json.loads(note.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False


def write_note(path: Path, facts: dict[str, Any]) -> None:
    """Say that a part is finished; it is not before."""
    store.write_text(path, json.dumps(facts), force=True)


def read_note(path: Path) -> dict[str, Any]:
    """Read what was said of a finished part."""
    return dict(json.loads(path.read_text("utf-8")))


def _used(schema: pa.Schema, job_tables: list[JobTable]) -> pa.Schema:
    """Leave out optional columns that no job table fills."""
    import pyarrow as pa

    there = {
        name for job_table in job_tables for name in parquet_schema(job_table.parquet).names
    } | {
        "bbox",
        "id",
        "class",
        "metrics:area",
        "metrics:perimeter",
    }
    if any(job_table.origin.determined for job_table in job_tables):
        there.add(WHEN)
    return pa.schema([column for column in schema if column.name in there])


def _origin(job_tables: list[JobTable], collection: str) -> Origin:
    """Return where the fields of all job tables together come from."""
    origins = [job_table.origin for job_table in job_tables]
    methods, details = (
        {origin.method for origin in origins},
        sorted({origin.details for origin in origins if origin.details}),
    )
    said = details[0] if len(details) == 1 else f"{len(details)} ways: " + " | ".join(details[:5])
    models = sorted(
        {
            str(dict(found).get("name"))
            for origin in origins
            if isinstance(found := (origin.provenance or {}).get("model"), dict)
        }
    )
    table: dict[str, object] = {
        "selion": selion.__version__,
        "merged": len(job_tables),
        "models": models,
    }
    return Origin(
        collection,
        None,
        said if details else "",
        methods.pop() if len(methods) == 1 else "unknown",
        table,
    )


# the three stages


def _spread(run: MergeRun, on_step: OnStep) -> dict[str, Any]:
    """Sort the rows of each job table.

    Those that nobody else has a say in, and those along its border.
    """
    total: dict[str, int] = {}
    for number, job_table in enumerate(run.job_tables):
        on_step("spread", number, len(run.job_tables), job_table.path.parent.name)
        note = run.runs(job_table) / DONE
        if not note.is_file():
            shutil.rmtree(run.runs(job_table), ignore_errors=True)
            run.runs(job_table).mkdir(parents=True)
            run.seam(job_table).parent.mkdir(exist_ok=True)
            counts = _spread_table(run, number, job_table)
            write_note(note, counts)
        for name, value in read_note(note).items():
            total[name] = total.get(name, 0) + value
    on_step(
        "spread",
        1,
        1,
        f"{counted(total['rows'], 'row')} of {counted(len(run.job_tables), 'table')}",
    )
    return {
        "sheets": len(run.job_tables),
        "planned": run.territories.planned,
        "rows_read": total["rows"],
        "beyond_the_area": total["beyond"],
        "along_borders": total["border"],
        "seen_twice": total["gone"],
    }


def _spread_table(run: MergeRun, number: int, job_table: JobTable) -> dict[str, int]:
    writer = RunWriter(run.runs(job_table))
    counts = {"rows": 0, "beyond": 0, "border": 0, "gone": 0}
    other = run.territories.others(number)
    seams = [find_pieces(run.schema.empty_table(), None)[0]]
    for batch in job_table.batches():
        country, mine = run.territories.touching(number, batch)
        table = measured(
            conformed(batch.filter(country & mine), run.schema, job_table.origin.determined)
        )
        inside = run.territories.inside(number, boxes_of(table))
        writer.add(place(table.filter(inside)))
        border, gone = find_pieces(table.filter(~inside), other)
        seams.append(border)
        found = {
            "rows": len(batch),
            "beyond": int((~country).sum()),
            "border": len(border),
            "gone": gone + int((country & ~mine).sum()),
        }
        counts = {name: value + found[name] for name, value in counts.items()}
    writer.flush()
    write_seam(run.seam(job_table), seams)
    return counts


def _close(run: MergeRun, on_step: OnStep) -> dict[str, Any]:
    """Join what the borders cut."""
    note = run.joined / DONE
    if note.is_file():
        return read_note(note)
    cut = run.folder / "cut"
    for folder in (run.joined, cut):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    borders = Borders([run.seam(job_table) for job_table in run.job_tables])
    sizes = [read_note(run.runs(job_table) / DONE)["border"] for job_table in run.job_tables]
    tally, writer = Tally(), RunWriter(cut)
    try:
        groups = group_rows(run.territories, sizes, borders.load, on_step)
        for number, table in enumerate(
            join_rows(groups, sizes, borders.load, run.options.min_area, tally)
        ):
            writer.add(place(table))
            on_step("seams", len(sizes) + number, 2 * len(sizes), "")
    finally:  # the next merge of this process may have other borders under the same names
        joining.forget()
    writer.flush()
    node_runs(cut, run.joined)
    shutil.rmtree(cut)
    on_step("seams", 1, 1, f"{counted(tally.joined, 'field')} joined")
    facts = {
        "joined": tally.joined,
        "cut": tally.cut,
        "scraps": tally.scraps,
        "scraps_m2": round(tally.scrap_area, 1),
    }
    write_note(note, facts)
    return facts


@dataclass(frozen=True, eq=False)
class MapTarget:
    """A partitioned map that is being written."""

    folder: Path
    """Gets ``maps``, the map, and ``parts``, notes of what is finished; both are the caller's."""
    schema: pa.Schema
    origin: Origin
    level: int
    """Characters of a partition's name."""


def write_map(target: MapTarget, runs: Runs, facts: dict[str, Any], on_step: OnStep) -> None:
    """Write the partitions of sorted rows, each as a whole, and then the index.

    ``facts`` get the number of fields and what wrote them.
    """
    folder, notes = target.folder / "maps", target.folder / "parts"
    for made in (folder, notes):
        made.mkdir(exist_ok=True)
    by_part: dict[str, list[int]] = {}
    for cell, name in dict(zip(runs.cells.tolist(), runs.names, strict=True)).items():
        by_part.setdefault(name[: target.level], []).append(cell)
    parts: list[Partition] = []
    for number, (name, cells) in enumerate(by_part.items()):
        on_step("write", number, len(by_part), "")
        note = notes / f"{name}.json"
        part = folder / f"cell={name}" / PART
        if not (note.is_file() and part.is_file()):  # it goes with the map when that is published
            write_note(note, _write_part(target, runs, cells, part))
        kept = read_note(note)
        parts.append(
            Partition(
                name,
                part,
                kept["rows"],
                tuple(kept["box"]),
                kept["bytes"],
                kept["area"],
            )
        )
    clear_hidden(folder)  # what a process that was killed had begun to write
    facts |= {
        "fields": sum(part.rows for part in parts),
        "collection": target.origin.collection,
        "selion": selion.__version__,
    }
    write_index(folder, target.level, sorted(parts, key=lambda part: part.name), facts)
    on_step(
        "write", 1, 1, f"{counted(facts['fields'], 'field')} in {counted(len(parts), 'partition')}"
    )


def _write_part(target: MapTarget, runs: Runs, cells: list[int], path: Path) -> dict[str, Any]:
    """Write one partition, fine cell after fine cell along the curve."""
    path.parent.mkdir(exist_ok=True)
    box, kinds = runs.around(cells)
    with (
        store.atomic_write(path, force=True) as temporary,
        part_writer(temporary, target.schema, target.origin, box, kinds) as writer,
    ):
        for cell in cells:
            writer.add(in_order(runs.read(cell)))
    return {"rows": writer.rows, "box": box, "bytes": path.stat().st_size, "area": writer.area}


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows of a fine cell along the curve, by id where they lie at one place.

    An id that is there twice gets a number.
    """
    import pyarrow as pa

    ids, boxes = np.array(table["id"].to_pylist(), object), boxes_of(table)
    order = np.lexsort((*boxes.T[::-1], ids.astype(str), table[KEY].to_numpy()))
    table, ids = table.take(pa.array(order)), ids[order]
    again = np.flatnonzero(ids[1:] == ids[:-1]) + 1
    if len(again):
        known = set(ids.tolist())
        first: dict[str, int] = {}
        for k in again:
            stem = str(ids[k]).partition("-")[0]
            number = first.get(stem, 2)
            while (new := f"{stem}-{number}") in known:
                number += 1
            first[stem], ids[k] = number + 1, new
            known.add(new)
        table = with_column(table, "id", ids)
    return table
