"""Tables that no honest map is, at their true size, for the verbs that ``memory_of_verbs.py``
measures: one field of millions of corners, and a billion fields that are only announced.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 54_321
"""A number of rows that is written nowhere else in the foot of a table."""


def outline(folder: Path, corners: int) -> Path:
    """Write tables of two years, of 60 fields and one of so many corners, and a manifest."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"outline{corners}"
    if path.exists():
        return path
    fields = _fields()
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    far = 0.0012 * (1 + 0.2 * np.sin(angle * 500))  # a ring without a crossing
    ring = np.stack([12.01 + far * np.cos(angle), 50.0007 + far * np.sin(angle)], 1)
    ring = np.concatenate([ring, ring[:1]])
    shapes = fields["geometry"].to_pylist()
    shapes[0] = struct.pack("<BIII", 1, 3, 1, len(ring)) + ring.astype("<f8").tobytes()
    boxes = fields["bbox"].to_pylist()
    sides = (*ring.min(0).tolist(), *ring.max(0).tolist())
    boxes[0] = dict(zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    for name, column in (("geometry", shapes), ("bbox", boxes)):
        kind = fields.schema.field(name)
        at = fields.schema.get_field_index(name)
        fields = fields.set_column(at, kind, pa.array(column, kind.type))
    for year in (2023, 2024):
        (path / str(year)).mkdir(parents=True)
        pq.write_table(fields, path / str(year) / "fields.parquet")
        _seal(path / str(year) / "fields.parquet")
    return path


def announced(folder: Path, count: int) -> Path:
    """Write tables of two years of some thousand fields that say they hold so many."""
    import numpy as np
    import pyarrow.parquet as pq

    path = folder / f"announced{count}"
    if path.exists():
        return path
    fields = _fields()
    rows = fields.take(np.arange(ROWS) % len(fields))
    for year in (2023, 2024):
        (path / str(year)).mkdir(parents=True)
        table = path / str(year) / "fields.parquet"
        pq.write_table(rows, table)
        data = table.read_bytes()
        (size,) = struct.unpack_from("<I", data, len(data) - 8)
        foot = data[-8 - size : -8]
        held, told = (b"\x16" + _varint(2 * number) for number in (ROWS, count))
        if foot.count(held) < 1 + len(fields.schema):  # the file's, the group's, each column's
            raise SystemExit(f"{table} does not say {ROWS:,} where it was expected.")
        foot = foot.replace(held, told)
        table.write_bytes(data[: -8 - size] + foot + struct.pack("<I", len(foot)) + b"PAR1")
        _seal(table)
    return path


def _fields() -> pa.Table:
    """Return 60 fields of a tenth of a degree, as ``selion map`` writes them."""
    import sys
    import tempfile

    import pyarrow.parquet as pq

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from option_inputs import table_of

    with tempfile.TemporaryDirectory() as held:
        return pq.read_table(table_of(Path(held), "x", 12.0, east=12.06))


def _varint(number: int) -> bytes:
    """Return a number as Thrift's compact protocol writes it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def _seal(table: Path) -> None:
    """Write the manifest of a table, as the verb that made it would."""
    from selion.store import manifest
    from selion.store.file_sum import sum_file

    about = manifest.Manifest(result=table.name, files={table.name: sum_file(table)})
    Path(f"{table}{manifest.ENDING}").write_bytes(about.to_bytes())
