"""Parquet files and hive folders of them, on this machine or on a server.

A *hive folder* holds parts of one table below folders that are called ``name=value``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput, SelionError, UnreadableFile
from selion.store.address import Place, RemotePath, locate, open_bytes
from selion.store.parquet_pages import check_pages

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

INDEX = "index/vector.parquet"
"""Where an edition of published fields says which files it has, in a folder above them."""
HREFS = ("href", "s3_href")
"""Columns of such an index that hold addresses."""
ABOVE = 3
"""Folders above in which an index is looked for."""
SIDES = ("xmin", "ymin", "xmax", "ymax")
"""Of a bounding box in GeoParquet."""


class DamagedTable(UnreadableFile, OSError):  # who reads many tables looks for OSError
    """A Parquet file whose pages are not what they were."""


@dataclass(frozen=True, slots=True)
class TablePart:
    """One file of a table of many; what its index does not say is None."""

    place: Place
    box: tuple[float, float, float, float] | None = None
    rows: int | None = None
    bytes: int | None = None


def _damaged(place: Place, error: Exception) -> DamagedTable:
    return DamagedTable(f"{place} cannot be read ({error}): it is damaged; copy or write it again.")


@contextmanager
def parquet_file(place: Place, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; of a remote one only what is read travels.

    Parameters
    ----------
    place : Place
    options
        Of :class:`pyarrow.parquet.ParquetFile`.

    Raises
    ------
    UnreadableFile, FetchFailed
        If an address cannot be read.
    OSError, pyarrow.ArrowInvalid
        If a file cannot, or is none.
    DamagedTable
        If it is damaged, also where that shows within the block only.
    UnreadableFile
        If its pages come to far more than they have; of an address nobody looks at them.
    """
    import pyarrow as pa

    if not isinstance(place, RemotePath):
        with _opened(place, place, options) as file:
            try:
                check_pages(place, file.metadata)
                yield file
            except OSError as error:
                if error.errno is not None or isinstance(error, SelionError):
                    raise
                raise _damaged(place, error) from error
            except pa.ArrowException as error:
                if isinstance(error, (MemoryError, pa.ArrowCancelled)):
                    raise
                raise _damaged(place, error) from error
        return
    # one request for the columns of a row group, not one for each
    options = {"pre_buffer": True} | options
    with open_bytes(place) as raw, _opened(place, raw, options) as file:
        yield file


def _opened(place: Place, raw: Any, options: dict[str, Any]) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(raw, **options)
    except UnicodeDecodeError as error:  # a name of a column
        raise _damaged(place, error) from error


def parquet_metadata(place: Place) -> pq.FileMetaData:
    """Return the footer of a Parquet file; see :func:`parquet_file`."""
    with parquet_file(place) as file:
        return file.metadata


def parquet_schema(place: Place) -> pa.Schema:
    """Return the columns of a Parquet file; see :func:`parquet_file`."""
    with parquet_file(place) as file:
        return file.schema_arrow


def find_parts(folder: Place) -> tuple[TablePart, ...]:
    """Find the parts of a hive folder.

    They are listed, or (on a web server, which cannot list) read from the index of the edition
    that the folder belongs to.

    Parameters
    ----------
    folder : Place
        For example ``vector/2025/``, with ``zone=10/utm10.parquet`` in it.

    Returns
    -------
    tuple of TablePart
        By name; empty if it is no hive folder.

    Raises
    ------
    FetchFailed
        If a server does not answer.
    """
    if not isinstance(folder, RemotePath):
        found = sorted(
            path
            for path in folder.rglob("*.parquet")
            if "=" in path.parent.name and not _hidden(path.relative_to(folder).parts)
        )
        return tuple(TablePart(path) for path in found)
    if indexed := _of_edition(folder):
        return indexed
    if not folder.listable:
        return ()
    return tuple(
        TablePart(place)
        for place in folder.files()
        if place.suffix == ".parquet" and "=" in place.parent.name
    )


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _of_edition(folder: RemotePath) -> tuple[TablePart, ...]:
    """Read the parts of a folder out of the index of its edition; none if it has no index."""
    above, inside = folder, ""
    for _ in range(ABOVE):
        inside = f"{above.name}/{inside}"
        if above.parent == above:
            break
        above = above.parent
        index = above / INDEX
        if not index.exists():
            continue
        rows = _rows(index)
        # the folder may be a copy: what counts of an address is what comes after its folder
        tails = [f"/{row[HREFS[0]]}".rpartition(f"/{inside}") for row in rows]
        return tuple(
            _part(folder / tail, row)
            for row, (_, found, tail) in zip(rows, tails, strict=True)
            if found and tail
        )
    return ()


def is_index(schema: pa.Schema) -> bool:
    """Say whether a table lists files by their addresses."""
    return any(name in schema.names for name in HREFS)


def indexed_parts(index: Place) -> tuple[TablePart, ...]:
    """Return the files that an index lists.

    Raises
    ------
    BadInput
        If it lists the tables of several years.
    """
    rows = _rows(index)
    root = index.parent.parent if index.parent.name == "index" else index.parent
    years = sorted({row["year"] for row in rows if row.get("year") is not None})
    if len(years) > 1:
        raise BadInput(
            f"{index} lists the tables of {len(years)} years ({years[0]} to {years[-1]}): give "
            f"the folder of one, for example {root / 'vector'}/{years[-1]}/."
        )
    of_store = isinstance(index, RemotePath) and index.listable
    wanted = HREFS[::-1] if of_store else HREFS
    found = []
    for row in rows:
        href = next(str(row[name]) for name in wanted if row.get(name))
        place = locate(href)
        if not isinstance(place, RemotePath) and not place.is_absolute():
            place = root / href
        found.append(_part(place, row))
    return tuple(found)


def _rows(index: Place) -> list[dict[str, Any]]:
    import pyarrow as pa

    try:
        with parquet_file(index) as file:
            names = [name for name in file.schema_arrow.names if name != "geometry"]
            rows: list[dict[str, Any]] = file.read(columns=names).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise UnreadableFile(f"{index} cannot be read as Parquet ({error}).") from error
    if rows and not any(name in rows[0] for name in HREFS):
        raise UnreadableFile(
            f"{index} has none of the columns {', '.join(HREFS)}: it is no index of files."
        )
    return rows


def _part(place: Place, row: dict[str, Any]) -> TablePart:
    sides = row.get("bbox") or row
    box = tuple(float(sides[side]) for side in SIDES) if all(s in sides for s in SIDES) else None
    rows, size = row.get("n_parcels"), row.get("size_bytes")
    return TablePart(
        place,
        box,  # type: ignore[arg-type]  # four numbers
        None if rows is None else int(rows),
        None if size is None else int(size),
    )


def is_table_folder(place: Place) -> bool:
    """Say whether a place is a hive folder.

    Raises
    ------
    FetchFailed
        If a server does not answer.
    """
    return place.is_dir() and place.suffix != ".zarr" and bool(find_parts(place))


def not_found(folder: Place) -> str:
    """Return what is wrong with a folder that holds no table, in words."""
    if isinstance(folder, RemotePath) and not folder.listable:
        return (
            f"{folder} is a folder on a web server, which does not say what is in it, and no index "
            f"({INDEX}) lies above it: give the address of a file, or an s3:// address"
        )
    return f"{folder} holds no Parquet files below folders called name=value"
