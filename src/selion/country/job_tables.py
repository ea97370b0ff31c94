"""The job tables of a country.

One table of fields per job, what of the country it answers for, and its rows in batches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields
from selion.country.partitions import INDEX, PART
from selion.errors import BadInput, UnreadableFile, counted
from selion.fields.projecting import on_map
from selion.fields.schema import COLUMNS, Origin
from selion.grid import LONLAT, is_lonlat
from selion.pipeline.probabilities import FAILED
from selion.store.address import Place, RemotePath, locate, open_bytes
from selion.store.parquet import SIDES, find_parts, parquet_file, parquet_metadata, parquet_schema
from selion.store.table_room import check_held
from selion.store.vectors import (
    check_polygons,
    decoded,
    file_crs,
    read_metadata,
    said_box,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from shapely.geometry.base import BaseGeometry

AREA = "area.geojson"
"""Beside the table of a job: where it looked, and in its properties ``core``, what it answers for,
and ``area``, what its fields touch."""
LONGEST = 200
"""Characters of a job's name."""
TABLE = "fields.parquet"
"""In the folder of a job."""
JOBS = "jobs.json"
"""In the folder of a plan: its jobs."""
BATCH = 50_000
"""Rows that are read at once."""


@dataclass(frozen=True, eq=False)
class JobArea:
    """The places of a job, in longitude and latitude."""

    core: BaseGeometry
    """What it answers for."""
    seen: BaseGeometry
    """Where it looked, the core and around it."""
    area: BaseGeometry | None = None
    """The country, near it: fields that do not touch it are dropped; None: none are."""


@dataclass(frozen=True, eq=False)
class JobTable:
    """One table of fields."""

    path: Place
    """Where it lies, which is what sentences call it."""
    rows: int
    crs: str
    """As the file says."""
    box: tuple[float, float, float, float]
    """Longitude and latitude around its fields."""
    origin: Origin
    job: JobArea | None = None
    """Of the job that made it; None: nobody planned it."""
    copy: Path | None = None
    """Its rows as GeoParquet, where it is of another format."""

    @property
    def parquet(self) -> Place:
        """What is read of it."""
        return self.copy or self.path

    @cached_property
    def key(self) -> str:
        """Name that follows from what is in the job table, wherever it lies."""
        digest = hashlib.sha256()
        with open_bytes(self.parquet) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        for part in () if self.job is None else (self.job.core, self.job.seen, self.job.area):
            digest.update(b"" if part is None else part.wkb)
        return digest.hexdigest()[:16]

    def batches(self) -> Iterator[pa.Table]:
        """Read the rows, :data:`BATCH` at a time, in longitude and latitude.

        ``bbox`` and ``geometry`` are as :mod:`selion.fields.fiboa` has them.
        """
        import pyarrow as pa

        try:
            with parquet_file(self.parquet, pre_buffer=False) as file:
                for batch in file.iter_batches(BATCH):
                    yield self._in_degrees(pa.Table.from_batches([batch]))
        except (OSError, pa.ArrowInvalid) as error:
            raise UnreadableFile(
                f"{self.path} cannot be read to its end ({error}): write it again."
            ) from error

    def _in_degrees(self, table: pa.Table) -> pa.Table:
        check_polygons(table["geometry"], str(self.path))
        check_held(table, str(self.path))
        shapes = decoded(table["geometry"].to_numpy(), str(self.path))
        if is_lonlat(self.crs) and "bbox" in table.column_names:
            self._check_placed(table, shapes)
            self._check_boxes(table["bbox"].combine_chunks())
            return table
        import shapely
        from pyproj import CRS, Transformer

        if not is_lonlat(self.crs):
            mover = Transformer.from_crs(self.crs, LONLAT, always_xy=True)
            moved = shapely.transform(shapes, mover.transform, interleaved=False)
            shapes = shapely.orient_polygons(on_map(moved, CRS(LONLAT)))
        self._check_placed(table, shapes)
        return with_shapes(table, shapes)

    def _check_boxes(self, boxes: pa.Array) -> None:
        """Refuse fields without a box, by which they are sorted."""
        import pyarrow as pa

        sides = boxes.flatten() if pa.types.is_struct(boxes.type) else []
        if boxes.null_count or any(side.null_count for side in sides):
            raise BadInput(
                f"{self.path} holds fields without a box in the column bbox: write it again, or "
                "leave that column out."
            )

    def _check_placed(self, table: pa.Table, shapes: np.ndarray) -> None:
        """Refuse fields without an outline, and corners without a place (NaN, infinite)."""
        import shapely

        points, owner = shapely.get_coordinates(shapes, return_index=True)
        lost = shapely.is_empty(shapes)
        lost[owner[~np.isfinite(points).all(1)]] = True
        if lost.any():
            name = (
                table["id"][int(lost.argmax())] if "id" in table.column_names else "without an id"
            )
            raise BadInput(
                f"{self.path} holds {counted(int(lost.sum()), 'field')} without an outline, or "
                f"with corners without a place (NaN), such as {name}: repair them, or leave them "
                "out."
            )


def with_shapes(table: pa.Table, shapes: np.ndarray) -> pa.Table:
    """Return a table with other geometries, and the boxes that belong to them."""
    import pyarrow as pa
    import shapely

    bounds = shapely.bounds(shapes).reshape(-1, 4)
    sides = [pa.field(side, pa.float64(), nullable=False) for side in SIDES]
    boxes = pa.StructArray.from_arrays([pa.array(bounds[:, k]) for k in range(4)], fields=sides)
    kept = [name for name in table.column_names if name not in ("bbox", "geometry")]
    table = table.select(kept).append_column(pa.field("bbox", boxes.type), boxes)
    return table.append_column(
        pa.field("geometry", pa.binary(), nullable=False),
        pa.array(shapely.to_wkb(shapes), pa.binary()),
    )


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Return a table with other values in a column, in its type; NaN is none."""
    import pyarrow as pa

    number = table.column_names.index(name)
    kind = table.schema.field(number)
    return table.set_column(number, kind, pa.array(values, kind.type, from_pandas=True))


def open_job_tables(
    paths: Iterable[Place | str],
    plan: Path | str | None = None,
    copies: Mapping[Place, Path] | None = None,
) -> list[JobTable]:
    """Open the tables of jobs.

    Parameters
    ----------
    paths : iterable of path or address
        GeoParquet files, or folders of jobs that hold a ``fields.parquet``.  Beside a file may lie
        ``area.geojson``, as ``selion plan`` writes it.
    plan : path, optional
        Folder of the plan, for tables that were collected elsewhere: a file ``u1.parquet``, or
        ``u1/fields.parquet``, belongs to the job u1.
    copies : mapping, optional
        What :func:`table_file` says of a table in another format -> its rows as GeoParquet.

    Returns
    -------
    list of JobTable
        In an order that depends on what is in them alone; a job table given twice counts once.

    Raises
    ------
    UnreadableFile
        If one is missing or no GeoParquet.
    BadInput
        If one has no CRS or is a merged map, or some belong to jobs and others do not.
    """
    job_tables = [
        _open(path, None if plan is None else Path(plan), (copies or {}).get(path))
        for path in dict.fromkeys(map(table_file, paths))
    ]
    if not job_tables:
        raise BadInput("No table of fields was given: name the fields.parquet of the jobs.")
    plain = [job_table.path for job_table in job_tables if job_table.job is None]
    if plain and len(plain) < len(job_tables):
        raise BadInput(
            f"Some tables belong to jobs of a plan, others to none (such as {plain[0]}): merge "
            "them apart, or say where their plan lies with --plan."
        )
    unique = {job_table.key: job_table for job_table in job_tables}
    return sorted(
        unique.values(),
        key=lambda job_table: (
            *(job_table.box if job_table.job is None else job_table.job.core.bounds),
            job_table.key,
        ),
    )


def plan_jobs(folder: Path) -> list[dict[str, Any]]:
    """Return the jobs of a plan as it lists them; the name of each is that of a folder of its own.

    Raises
    ------
    UnreadableFile
        If the folder holds no plan.
    """
    try:
        jobs = [
            {**job, "name": str(job["name"])}
            for job in json.loads((folder / JOBS).read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder / JOBS} is not a list of jobs ({error!r}): make the plan again."
        ) from error
    names = [job["name"] for job in jobs]
    if any(name != Path(name).name or name == ".." or len(name) > LONGEST for name in names):
        raise UnreadableFile(f"{folder / JOBS} names jobs that lie elsewhere: make the plan again.")
    return jobs


def files_of_tables(folder: Path) -> list[Path]:
    """Return the files that are read of a folder of tables here; none if it holds none.

    Parameters
    ----------
    folder : path
        Of a merged map, a plan, a job, or a hive folder.
    """
    if (folder / JOBS).is_file():
        homes = [folder, *sorted(one for one in (folder / "jobs").glob("*") if one.is_dir())]
    else:
        homes = [folder]
    beside = (JOBS, AREA, INDEX, TABLE, f"{TABLE}{FAILED}")
    found = [home / name for home in homes for name in beside]
    found += [part.place for part in find_parts(folder) if isinstance(part.place, Path)]
    found = [one for one in found if one.is_file()]
    return found if any(one.suffix == ".parquet" for one in found) else []


def finished_jobs(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the tables of a plan's finished jobs, and the names of the jobs that have none.

    Raises
    ------
    UnreadableFile
        If the folder holds no plan, or none of its jobs is finished.
    """
    names = [str(job["name"]) for job in plan_jobs(folder)]
    tables = {name: folder / "jobs" / name / TABLE for name in names}
    done = [path for path in tables.values() if path.is_file()]
    if not done:
        raise UnreadableFile(
            f"No job of the plan {folder} is finished: run them first ('sh {folder}/run.sh')."
        )
    return done, [name for name, path in tables.items() if not path.is_file()]


def table_file(path: Place | str) -> Place:
    """Return the file of a table: itself, or that of the folder of a job.

    Raises
    ------
    UnreadableFile
        If there is none.
    BadInput
        If it is a merged map.
    """
    path = locate(path).expanduser()
    if isinstance(path, RemotePath):
        return path / TABLE if path.is_dir() else path
    inner = path / TABLE
    if (path / INDEX).is_file():
        raise BadInput(
            f"{path} is a merged map already: 'selion query', 'stats' and 'tiles' take it as it "
            f"is. To merge it with other maps, name its partitions ({path}/*/{PART})."
        )
    if path.is_dir() and not inner.is_file():
        raise UnreadableFile(
            f"The folder {path} holds no fields.parquet: its job is not finished; run it, or "
            "leave it out."
        )
    if not path.exists():
        raise UnreadableFile(f"There is no file {path}: check the name, or run its job first.")
    return (inner if path.is_dir() else path).resolve()


def _open(path: Place, plan: Path | None, copy: Path | None) -> JobTable:
    read = copy or path
    crs = file_crs(read)
    if crs is None:
        raise BadInput(
            f"{path} has no CRS (a photograph?), so it has no place on a map: merge tables of "
            "maps only."
        )
    return JobTable(
        path,
        parquet_metadata(read).num_rows,
        crs,
        _box(read, crs),
        fields.read_origin(read),
        _job(path, plan),
        copy,
    )


def _box(path: Place, crs: str) -> tuple[float, float, float, float]:
    from pyproj import Transformer

    geo = read_metadata(path)["geo"]["columns"]["geometry"]
    west, south, east, north = (float(side) for side in said_box(geo) or _total(path))
    if not np.isfinite([west, south, east, north]).all():
        return (0.0, 0.0, 0.0, 0.0)
    if not is_lonlat(crs):
        mover = Transformer.from_crs(crs, LONLAT, always_xy=True)
        west, south, east, north = mover.transform_bounds(west, south, east, north)
    return float(west), float(south), float(east), float(north)


def _total(path: Place) -> Sequence[float]:
    """Return the bounds of a file that does not say them."""
    import shapely

    with parquet_file(path, pre_buffer=False) as file:
        found = [
            shapely.total_bounds(
                decoded(batch["geometry"].to_numpy(zero_copy_only=False), str(path))
            )
            for batch in file.iter_batches(BATCH, columns=["geometry"])
        ]
    low, high = (
        np.min([one[:2] for one in found] or [[np.nan] * 2], axis=0),
        np.max([one[2:] for one in found] or [[np.nan] * 2], axis=0),
    )
    return [*low.tolist(), *high.tolist()]


def _job(path: Place, plan: Path | None) -> JobArea | None:
    """Return the places of the job that a table belongs to."""
    beside: list[Place] = [path.with_name(AREA)]
    if plan is not None:
        beside += [plan / "jobs" / name / AREA for name in (path.stem, path.parent.name)]
    for candidate in beside:
        if candidate.is_file():
            return read_job(candidate)
    return None


def read_job(path: Place) -> JobArea | None:
    """Read ``area.geojson`` of a job; None for one that is of no job.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    """
    import shapely
    from shapely.geometry import shape

    try:
        with open_bytes(path) as file:
            feature: dict[str, Any] = json.loads(file.read())
        feature = feature["features"][0] if feature.get("type") == "FeatureCollection" else feature
        facts = feature.get("properties") or {}
        if facts.get("core") is None:
            return None
        return JobArea(
            _sound(shape(facts["core"])),
            _sound(shape(feature["geometry"])),
            None if facts.get("area") is None else _sound(shape(facts["area"])),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as error:
        raise UnreadableFile(
            f"{path} is not the area of a job ({error}): write the plan again, or delete the file."
        ) from error


def _sound(place: Any) -> Any:
    """Return a place as it is, unless nobody can reckon with it."""
    import shapely

    if not shapely.is_valid(place) or place.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"{shapely.is_valid_reason(place)}, {place.geom_type}")
    if np.any(np.abs(shapely.bounds(place)) > (400, 91, 400, 91)):
        raise ValueError(f"{place.geom_type} beyond the globe")
    return place


def merged_schema(job_tables: Sequence[JobTable]) -> pa.Schema:
    """Return the columns of all job tables together, as :func:`schema_of` does."""
    return schema_of(
        [job_table.parquet for job_table in job_tables], [one.path for one in job_tables]
    )


def schema_of(paths: Sequence[Place], names: Sequence[Place] | None = None) -> pa.Schema:
    """Return the columns of all tables together.

    Those of fiboa first, then the others by name, then ``bbox`` and ``geometry``.  ``names`` are
    what sentences call the tables; None: their paths.

    Raises
    ------
    BadInput
        If a column has different types in two of them.
    """
    import pyarrow as pa

    found: dict[str, pa.DataType] = {}
    for path, name in zip(paths, names or paths, strict=True):
        for column in parquet_schema(path):
            kind = pa.string() if pa.types.is_large_string(column.type) else column.type
            if found.setdefault(column.name, kind) != kind:
                raise BadInput(
                    f"Column {column.name} is {kind} in {name} and "
                    f"{found[column.name]} in another table: write them alike first."
                )
    kinds = {"string": pa.string(), "float": pa.float32(), "time": pa.timestamp("ms", tz="UTC")}
    own = [
        pa.field(column.name, kinds[column.kind], nullable=not column.required)
        for column in COLUMNS
    ]
    known = {column.name for column in COLUMNS} | {"bbox", "geometry"}
    others = [pa.field(name, found[name]) for name in sorted(found) if name not in known]
    box = pa.struct([pa.field(side, pa.float64(), nullable=False) for side in SIDES])
    return pa.schema(
        [*own, *others, pa.field("bbox", box), pa.field("geometry", pa.binary(), nullable=False)]
    )


def measured(table: pa.Table) -> pa.Table:
    """Measure the fields of a table that nobody has measured."""
    import pyarrow as pa
    import shapely

    missing = np.flatnonzero(
        table["metrics:area"].is_null().to_numpy() | table["metrics:perimeter"].is_null().to_numpy()
    )
    if not len(missing):
        return table
    found = fields.measure(
        shapely.from_wkb(table["geometry"].take(pa.array(missing)).to_numpy()), LONLAT
    )
    for name, values in zip(("metrics:area", "metrics:perimeter"), found, strict=True):
        column = table[name].to_numpy(zero_copy_only=False).astype(np.float32)
        column[missing] = values
        table = with_column(table, name, column)
    return table


def _cast(values: pa.ChunkedArray, column: pa.Field) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return values.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadInput(
            f"Column {column.name} of a table is {values.type} ({error}); wanted is {column.type}: "
            "write it so first."
        ) from error


def conformed(table: pa.Table, schema: pa.Schema, moment: Any = None) -> pa.Table:
    """Return a table with exactly the columns of a schema.

    What it lacks is empty, and ``moment`` fills the time where there is none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = []
    for column in schema:
        values = (
            _cast(table[column.name], column)
            if column.name in table.column_names
            else pa.nulls(len(table), column.type)
        )
        if column.name == "determination:datetime" and moment is not None:
            values = pc.fill_null(values, pa.scalar(moment, column.type))
        arrays.append(values)
    return pa.table(arrays, schema=schema)
