"""What a merge is made of: tables of jobs, plans that stand for theirs, tables of other formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selion import store
from selion.country.job_tables import (
    JOBS,
    JobTable,
    finished_jobs,
    open_job_tables,
    table_file,
)
from selion.country.other_tables import check_kind, copied, is_read_whole
from selion.pipeline.probabilities import list_of
from selion.store.address import Place


@dataclass(frozen=True, eq=False)
class MergeSources:
    """What is merged."""

    job_tables: list[JobTable]
    facts: dict[str, Any]
    """What is missing: jobs that are not finished, tables that lack blocks."""


@contextmanager
def open_sources(tables: Iterable[Place | str], plan: Path | str | None) -> Iterator[MergeSources]:
    """Open the tables of a merge; the folder of a plan stands for its finished jobs.

    Tables that are no GeoParquet are kept as such for as long as the block runs.
    """
    paths, missing = _expanded(tables)
    with TemporaryDirectory(prefix="selion-") as folder:
        copies = _copies(map(table_file, paths), Path(folder))
        job_tables = open_job_tables(paths, plan, copies)
        yield MergeSources(
            job_tables, {"unfinished_jobs": missing, "incomplete_tables": _incomplete(job_tables)}
        )


def _copies(paths: Iterable[Place], folder: Path) -> dict[Place, Path]:
    """Keep tables of other formats as GeoParquet, each in a folder of its own."""
    made: dict[Place, Path] = {}
    for number, path in enumerate(dict.fromkeys(paths)):
        if is_read_whole(path):
            home = folder / str(number)
            home.mkdir()
            made[path] = copied(path, home)
        else:
            check_kind(path, "the folder of a job or a plan")
    return made


def _expanded(tables: Iterable[Place | str]) -> tuple[list[Place], list[str]]:
    """Put the finished jobs of a plan in its place.

    Return the tables, and the names of jobs that are not finished.
    """
    paths: list[Place] = []
    missing: list[str] = []
    for table in map(store.locate, tables):
        if isinstance(table, Path) and (table / JOBS).is_file():
            done, left = finished_jobs(table)
            paths += done
            missing += left
        else:
            paths.append(table)
    return paths, missing


def _incomplete(job_tables: Iterable[JobTable]) -> list[str]:
    """Name the tables beside which a list of blocks lies that could not be done."""
    return sorted(
        f"{job_table.path.parent.name}/{job_table.path.name}"
        for job_table in job_tables
        if isinstance(job_table.path, Path) and list_of(job_table.path).exists()
    )
