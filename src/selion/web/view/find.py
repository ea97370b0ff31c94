"""A field by its id: an id of ours is a geohash and says where to look.

Any other is looked for row group by row group.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.store.vectors import touching
from selion.web.view.chunks import Fields, ParquetFields
from selion.web.view.memory import TableFields
from selion.web.view.parquet_footers import read_footer, read_groups
from selion.web.view.place import EARTH, from_degrees

ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"
LONGEST = 200


def decode(geohash: str) -> tuple[float, float] | None:
    """Return longitude and latitude of a geohash; None if it is none.

    References
    ----------
    Niemeyer, G. (2008): geohash; the bits of longitude and latitude alternate, five to a letter.
    """
    if not 6 <= len(geohash) <= 14 or set(geohash) - set(ALPHABET):
        return None
    sides = [[-180.0, 180.0], [-90.0, 90.0]]
    for k in range(5 * len(geohash)):
        bit = ALPHABET.index(geohash[k // 5]) >> (4 - k % 5) & 1
        side = sides[k % 2]
        side[1 - bit] = (side[0] + side[1]) / 2
    return sum(sides[0]) / 2, sum(sides[1]) / 2


def find_row(fields: Fields, wanted: str) -> int | None:
    """Return the number of the row with an id, or None.

    Raises
    ------
    BadInput
        If it is no id.
    UnreadableFile
        If the file is corrupt.
    """
    if not 1 <= len(wanted) <= LONGEST:
        raise BadInput(f"An id of 1 to {LONGEST} characters is wanted.")
    if isinstance(fields, TableFields):
        ids = (
            fields.frame["id"].astype(str).to_numpy()
            if "id" in fields.frame.columns
            else np.arange(len(fields.frame)).astype(str)
        )
        at = np.flatnonzero(ids == wanted)
        return int(at[0]) if len(at) else None
    if (
        not isinstance(fields, ParquetFields)
        or "id" not in read_footer(fields.paths[0]).schema.names
    ):
        return None
    tried = near(fields, wanted)
    rest = [k for k in range(len(fields.places)) if k not in set(tried)]
    return next(
        (row for index in (*tried, *rest) if (row := row_in(fields, index, wanted)) is not None),
        None,
    )


def near(fields: Fields, wanted: str) -> list[int]:
    """Return the chunks that hold the point that an id names."""
    point = decode(wanted)
    if point is None:
        return []
    x, y = from_degrees(np.array([point]))[0]
    more = EARTH * 1e-7
    found: list[int] = np.flatnonzero(
        touching(fields.boxes, (x - more, y - more, x + more, y + more))
    ).tolist()
    return found


def row_in(fields: ParquetFields, index: int, wanted: str) -> int | None:
    """Look for an id in a row group, unless its footer says that it cannot be there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = fields.places[index]
    path = fields.opened(place.file)
    if not may_hold(read_footer(path).metadata.row_group(place.group), wanted):
        return None
    column: Any = read_groups(path, [place.group], ["id"]).column("id")
    at = pc.index(column.cast(pa.string()), pa.scalar(wanted)).as_py()
    return None if at < 0 else place.first + at


def may_hold(group: Any, wanted: str) -> bool:
    """Say whether a row group can hold an id, by its statistics."""
    for k in range(group.num_columns):
        column = group.column(k)
        if column.path_in_schema == "id":
            statistics = column.statistics
            return (
                statistics is None
                or not statistics.has_min_max
                or not isinstance(statistics.min, str)
                or statistics.min <= wanted <= statistics.max
            )
    return True
