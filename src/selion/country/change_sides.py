"""The maps of a comparison: merged maps, hive folders of tables, or one table each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion.change.tables import MEANING
from selion.country.job_tables import schema_of
from selion.country.neighbourhoods import MapSide
from selion.country.partitions import INDEX, Maps, open_maps
from selion.errors import BadInput
from selion.store.address import Place, RemotePath, locate
from selion.store.atomic import atomic_write
from selion.store.npy import open_npy
from selion.store.parquet import is_table_folder


def is_map(place: Place | str) -> bool:
    """Say whether a place is a merged map or a hive folder of tables.

    Raises
    ------
    FetchFailed
        If a server does not answer.
    """
    place = locate(place).expanduser()
    if isinstance(place, Path) and not place.is_dir():
        return False
    return (place / INDEX).is_file() or is_table_folder(place)


def open_sides(*given: Place | str) -> list[MapSide]:
    """Open maps, the earliest one first, with labels that differ.

    Raises
    ------
    UnreadableFile, BadInput
        If they cannot be used, or one is the result of a comparison.
    """
    places = [locate(one).expanduser() for one in given]
    labels = [label_of(one) for one in places]
    if len(set(labels)) < len(labels):
        labels = [f"{label}-{number}" for number, label in enumerate(labels, 1)]
    sides = []
    for one, label in zip(places, labels, strict=True):
        maps = open_maps(one)
        schema = schema_of([part.path for part in maps.parts])
        former = [name for name in schema.names if name in MEANING]
        if former:
            raise BadInput(
                f"{one} is the result of a comparison already (column {former[0]}): compare the "
                "merged maps themselves, all years in one command."
            )
        sides.append(MapSide(maps, label, schema))
    return sides


def followed_side(maps: Maps, label: str, used: UsedIds) -> MapSide:
    """Return the result of a step as the earlier map of the next one.

    Its fields keep the ids that follow them; their outlines and columns are those of the later map
    of the step.
    """
    import pyarrow as pa

    schema = schema_of([part.path for part in maps.parts])
    own = pa.schema([column for column in schema if column.name not in MEANING])
    return MapSide(maps, label, own, follows=True, used=used)


@dataclass(frozen=True, eq=False)
class UsedIds:
    """All ids that were given so far, sorted, in a file that is read where it is asked."""

    path: Path
    """(n,) ``.npy`` of bytes."""

    def __call__(self, ids: np.ndarray) -> set[str]:
        """Return all ids that were given to fields at the places of others."""
        held = open_npy(self.path)
        stems = np.array([name.partition("-")[0].encode() for name in ids], held.dtype)
        low = np.searchsorted(held, stems)
        high = np.searchsorted(held, np.char.add(stems, b"~"))
        there = np.flatnonzero(high > low)
        return {name.decode() for k in there for name in held[low[k] : high[k]].tolist()}

    def add(self, lineage: Path, to: Path) -> UsedIds:
        """Write a file that also has the ids of a step: 24 bytes a field, and twice in memory."""
        import pyarrow.parquet as pq

        found = [np.load(self.path)] if self.path.is_file() else [np.zeros(0, "S24")]
        with pq.ParquetFile(lineage) as file:
            for batch in file.iter_batches(columns=["from_id", "to_id"]):
                for column in batch.columns:
                    names = [name.encode() for name in column.drop_null().to_pylist()]
                    found.append(np.array(names, "S24"))
        with atomic_write(to, force=True) as temporary, temporary.open("wb") as file:
            np.save(file, np.unique(np.concatenate(found)))
        return UsedIds(to)


def label_of(place: Place) -> str:
    """Return what a year is called: its folder or its file, fit for a name."""
    name = (
        place.stem
        if place.suffix == ".parquet"
        else (place.name if isinstance(place, RemotePath) else place.resolve().name)
    )
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "map"
