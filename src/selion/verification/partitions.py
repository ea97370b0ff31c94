"""A merged map: its tables beside one another, and what its index says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selion.errors import SelionError, counted
from selion.fields.topology import TOLERANCE, examine_topology, lonlat_outlines
from selion.store.parquet import SIDES, find_parts, parquet_file
from selion.store.vectors import Bbox, decoded, file_box
from selion.verification.checks import DIFFERS, UNKNOWN, Check, judged
from selion.verification.tables import OUTCOME, maps_of

INDEX = "_selion.json"
"""Of a merged map: what is where."""
MOST = 2_000_000
"""Fields near other tables that are looked at together."""


def check_partitions(folder: Path, where: str, tolerance: float = TOLERANCE) -> Iterator[Check]:
    """Look for fields that two tables of a merged map have, or that lie on one another.

    Only fields whose box reaches into that of another table are read together: what lies within one
    table alone is looked at with that table.

    Parameters
    ----------
    folder : path
        Any folder; nothing comes of one that is no merged map.
    where : str
        Its name.
    tolerance : float
        m2 that two fields may share.
    """
    if not (folder / INDEX).is_file():
        return
    paths = [part.place for part in find_parts(folder) if isinstance(part.place, Path)]
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        boxes = [file_box(path) for path in paths]
        faults = list(_index_faults(index, folder, paths, boxes))
        looked = f"{counted(len(paths), 'table')}, as {INDEX} says."
        yield judged("agreement", faults, looked, where)
        near = [
            _near(path, number, [box for k, box in enumerate(boxes) if k != number and box])
            for number, path in enumerate(paths)
        ]
    except (
        SelionError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        yield Check("agreement", DIFFERS, (f"The map cannot be read: {error}",), where)
        return
    yield _across(near, where, tolerance)


def _index_faults(
    index: Mapping[str, Any], folder: Path, paths: Sequence[Path], boxes: Sequence[Bbox | None]
) -> Iterator[str]:
    """Yield what the index says otherwise than the tables: their names, rows and extents."""
    cells: Mapping[str, Any] = index["cells"]
    names = [path.parent.name.partition("=")[2] for path in paths]
    for name in sorted(set(cells) ^ set(names)):
        which = "tells of a table" if name in cells else "does not tell of the table"
        yield f"{INDEX} {which} {name}."
    for name, path, box in zip(names, paths, boxes, strict=True):
        if name not in cells:
            continue
        with parquet_file(path) as file:
            rows = file.metadata.num_rows
        place = path.relative_to(folder).as_posix()
        if cells[name]["rows"] != rows:
            yield f"{INDEX} tells of {cells[name]['rows']:,} fields in {place}, which has {rows:,}."
        if box is not None and not np.allclose(cells[name]["bbox"], box, rtol=0, atol=1e-5):
            yield f"{INDEX} tells of another extent of {place}."
    if index["rows"] != sum(cell["rows"] for cell in cells.values()):
        yield f"{INDEX} tells of {index['rows']:,} fields, and of others table by table."


def _near(path: Path, number: int, others: Sequence[Bbox]) -> pd.DataFrame:
    """Read the fields of a table whose boxes reach into one of ``others``."""
    found = []
    with parquet_file(path) as file:
        known = OUTCOME in file.schema_arrow.names
        columns = ["id", "bbox", "geometry", *([OUTCOME] if known else [])]
        for batch in file.iter_batches(columns=columns):
            sides = [np.asarray(batch["bbox"].field(side)) for side in SIDES]
            reaching = np.zeros(len(batch), bool)
            for west, south, east, north in others:
                inside = (sides[0] <= east) & (sides[2] >= west)
                reaching |= inside & (sides[1] <= north) & (sides[3] >= south)
            if reaching.any():
                kept = batch.filter(reaching)
                shapes = decoded(kept["geometry"].to_numpy(zero_copy_only=False), str(path))
                one = pd.DataFrame({"id": kept["id"].to_pandas(), "geometry": shapes})
                found.append(one.assign(**{OUTCOME: kept[OUTCOME].to_pandas()}) if known else one)
    table = pd.concat(found) if found else pd.DataFrame({"id": [], "geometry": []})
    return table.assign(part=number)


def _across(near: Sequence[pd.DataFrame], where: str, tolerance: float) -> Check:
    count = sum(map(len, near))
    if count > MOST:
        text = f"{count:,} fields lie near other tables, more than are looked at ({MOST:,})."
        return Check("topology", UNKNOWN, (text,), where)
    looked = (
        f"{counted(count, 'field')} near other tables: none is in two, none shares more than "
        f"{tolerance:g} m2 with one of another table."
    )
    if not count:
        return judged("topology", (), looked, where)
    frame = lonlat_outlines(pd.concat([one for one in near if len(one)], ignore_index=True))
    twice = frame["id"][frame["id"].duplicated()]
    faults = [
        text
        for one in maps_of(frame).values()
        for text in examine_topology(one, tolerance, one["part"].to_numpy()).faults(tolerance)
    ]
    if len(twice):
        faults.append(f"{counted(len(twice), 'id')} in two tables, the first is {twice.iloc[0]}.")
    return judged("topology", faults, looked, where)
