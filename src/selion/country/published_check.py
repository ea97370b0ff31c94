"""A checker of published maps: layout, columns, packing, outlines, zones and index, on every row.

It asks what the catalogue of the second edition of Fields of The World asks of its own files before
they are published (there on a sample), and what the layout promises beyond that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.country.sorted_runs import boxes_of
from selion.country.zone_files import COLUMNS, index_schema, read_index, zone_name, zone_schema
from selion.errors import UnreadableFile
from selion.fields.projecting import centres
from selion.imagery.target import zone_numbers
from selion.store.vectors import readable_shapes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_ROWS = 16_384
"""Rows that a row group may have."""


def check_publication(folder: Path | str, *, zones: int | None = None) -> list[str]:
    """Check a map in the published layout.

    Parameters
    ----------
    folder : path
        It holds ``vector/2025/zone=33/utm33.parquet`` and the like, and ``index/vector.parquet``.
    zones : int, optional
        How many files each year must have; None: as many as there are.

    Returns
    -------
    list of str
        One sentence per fault; empty if there is none.  A file that cannot be read is a fault, not
        the end of the check.

    Raises
    ------
    UnreadableFile
        If the folder holds no published year.
    """
    folder = Path(folder)
    years = sorted(path for path in (folder / "vector").glob("[0-9]*") if path.is_dir())
    if not years:
        raise UnreadableFile(
            f"{folder} holds no published map (vector/YEAR/zone=NN/utmNN.parquet): check the name."
        )
    faults: list[str] = []
    counts: dict[tuple[int, int], tuple[int, int]] = {}
    for year in years:
        files = sorted(year.glob("zone=*/*.parquet"))
        if zones is not None and len(files) != zones:
            faults.append(f"{year.name} has {len(files)} zone files; wanted are {zones}.")
        for path in files:
            name = path.relative_to(folder)
            zone = path.parent.name.removeprefix("zone=")
            if not (zone.isdigit() and zone_name(int(zone)) == f"{path.parent.name}/{path.name}"):
                faults.append(f"{name} does not lie where its name says: wanted is zone=NN/utmNN.")
                continue
            try:
                faults += [f"{name}: {fault}" for fault in check_zone_file(path, int(zone))]
                counts[int(year.name), int(zone)] = (_rows(path), path.stat().st_size)
            except (OSError, ValueError) as error:  # pyarrow's errors of files are among these
                faults.append(f"{name} cannot be read ({error}).")
    return faults + list(_index(folder, counts))


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def check_zone_file(path: Path, zone: int) -> list[str]:
    """Check one file, a row group at a time; return one sentence per fault."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if tuple(file.schema_arrow.names) != COLUMNS:
            return [f"has the columns {', '.join(file.schema_arrow.names)}."]
        faults = [*_types(file.schema_arrow), *_packing(file.metadata), *_metadata(file)]
        found: dict[str, int] = {}
        ids: set[str] = set()
        for number in range(file.metadata.num_row_groups):
            table = file.read_row_group(number)
            for fault, count in _values(table, zone, ids):
                found[fault] = found.get(fault, 0) + count
    return faults + [f"{count} {fault}" for fault, count in found.items() if count]


def _types(schema: pa.Schema) -> Iterator[str]:
    for wanted in zone_schema():
        given = schema.field(wanted.name)
        if given.type != wanted.type:
            yield f"column {wanted.name} is {given.type}; wanted is {wanted.type}."


def _packing(data: pq.FileMetaData) -> Iterator[str]:
    for number in range(data.num_row_groups):
        group = data.row_group(number)
        if group.num_rows > MOST_ROWS:
            yield f"row group {number} has {group.num_rows} rows; {MOST_ROWS} are the most."
        packed = {group.column(k).compression for k in range(group.num_columns)}
        if packed != {"ZSTD"}:
            yield f"row group {number} is packed with {', '.join(sorted(packed))}; wanted is ZSTD."


def _metadata(file: pq.ParquetFile) -> Iterator[str]:
    found = file.schema_arrow.metadata or {}
    geo = json.loads(found.get(b"geo", b"{}"))
    column = geo.get("columns", {}).get("geometry", {})
    crs = column.get("crs") or {}
    if (crs.get("id") or {}).get("code") != 4326:
        yield "the metadata of its geometry does not name EPSG:4326."
    if "covering" not in column:
        yield "the metadata does not say that bbox covers the geometry."
    collection = json.loads(found.get(b"collection", b"{}"))
    if collection.get("collection") not in (collection.get("schemas") or {}):
        yield "its collection has no schemas."


def _values(table: pa.Table, zone: int, ids: set[str]) -> Iterator[tuple[str, int]]:
    """Return what is wrong with rows, and how many of them; ``ids`` are those before, and grow."""
    import shapely

    names = table["id"].to_pylist()
    yield "ids are missing.", names.count(None)
    fresh = set(names) - ids
    yield "ids are there more than once.", len(names) - len(fresh)
    ids |= fresh
    shapes = readable_shapes(table["geometry"].to_numpy())
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    yield "outlines are empty or cannot be read.", int(empty.sum())
    yield "outlines are not valid.", int((~shapely.is_valid(shapes[~empty])).sum())
    area = table["metrics:area"].to_numpy(zero_copy_only=False)
    yield "areas are missing or not positive.", int((~(area > 0)).sum())
    score = table["score"].drop_null().to_numpy()
    yield "scores are greater than 100.", int((score > 100).sum())
    boxes = boxes_of(table)[~empty]
    yield (
        "boxes are not those of their outlines.",
        int((~np.isclose(boxes, shapely.bounds(shapes[~empty]), rtol=0, atol=1e-6).all(1)).sum()),
    )
    numbers = zone_numbers(*centres(shapes[~empty]).T)
    yield f"centroids do not lie in zone {zone}.", int((numbers != zone).sum())
    yield "values have no collection.", table["collection"].null_count


def _index(folder: Path, counts: dict[tuple[int, int], tuple[int, int]]) -> Iterator[str]:
    """Compare the index with the files."""
    import pyarrow.parquet as pq

    path = folder / "index" / "vector.parquet"
    if not path.is_file():
        yield "index/vector.parquet is missing."
        return
    if (names := pq.read_schema(path).names) != index_schema().names:
        yield f"index/vector.parquet has the columns {', '.join(names)}."
        return
    said: dict[tuple[int, int], dict[str, Any]] = {
        (row["year"], row["zone"]): row for row in read_index(path)
    }
    for year, zone in sorted(said.keys() ^ counts.keys()):
        place = "the index alone" if (year, zone) in said else "the folder alone"
        yield f"zone {zone} of {year} is in {place}."
    for key in sorted(said.keys() & counts.keys()):
        row = said[key]
        if (row["n_parcels"], row["size_bytes"]) != counts[key]:
            yield (
                f"the index says {row['n_parcels']} fields for zone {key[1]} of {key[0]}; the file "
                f"has {counts[key][0]}, or another size."
            )
