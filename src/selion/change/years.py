"""A year as it is given: the table of its fields and, on a grid, the probabilities behind it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selion.errors import BadInput, UnreadableFile, counted
from selion.store.address import Place, RemotePath, locate
from selion.store.parquet import is_table_folder
from selion.store.urls import remote_scheme

TABLES = (".parquet", ".gpkg", ".fgb", ".geojson")
"""Endings of tables of fields, in the order in which they are taken where one year has several."""
SCORES = ".scores.tif"
"""How ``selion map --scores`` and ``--save_scores`` name the probabilities of ``fields.parquet``:
``fields.scores.tif``."""

YearLike = str | os.PathLike[str] | tuple[str | os.PathLike[str], str | os.PathLike[str]]
"""A folder, a table, a raster of probabilities, or a pair of the last two."""


@dataclass(frozen=True)
class Year:
    """One map."""

    label: str
    """How it is called in file names and tables."""
    table: Place
    scores: Place
    others: tuple[str, ...] = ()
    """Names of tables of the same map beside it, where nobody said which is meant."""


def find_years(given: Sequence[YearLike]) -> list[Year]:
    """Find the table and the probabilities of each year.

    Parameters
    ----------
    given : sequence
        For each year, the earliest first: a folder that ``selion map`` wrote to; a table whose
        probabilities lie beside it under the same name (``fields.parquet`` and
        ``fields.scores.tif``), or these probabilities; or both, as a pair or as
        ``"scores.tif,fields.parquet"``.  Each may be an address (http, s3), and a table a hive
        folder where its probabilities are named too.

    Returns
    -------
    list of Year
        With labels that differ: the folder's or the file's name.

    Raises
    ------
    BadInput
        If fewer than two years are given, or it is not clear which files are meant.
    UnreadableFile
        If a file is missing.
    """
    if len(given) < 2:
        raise BadInput(
            f"Maps of {counted(len(given), 'year')} were given; wanted are two or more, the "
            "earliest first: selion change 2023/ 2024/ -o out/"
        )
    return _labelled([_find(_parts(one)) for one in given])


def _parts(given: YearLike) -> tuple[Place, ...]:
    if isinstance(given, tuple):
        return tuple(locate(part) for part in given)
    if isinstance(given, RemotePath):
        return (given,)
    text = os.fspath(given)
    parts = [text] if remote_scheme(text) is None and Path(text).exists() else text.split(",")
    return tuple(locate(part.strip()) for part in parts)


def _find(parts: tuple[Place, ...]) -> Year:
    for path in parts:
        if not path.exists():
            raise UnreadableFile(
                f"There is no file or folder {path}: give the folder that 'selion map' wrote to, "
                "or the table and its probabilities."
            )
    if len(parts) == 1 and parts[0].is_dir():
        return _in_folder(parts[0])
    tables = [path for path in parts if path.suffix.lower() in TABLES or is_table_folder(path)]
    scores = [path for path in parts if path not in tables]
    if len(parts) > 2 or len(tables) > 1 or len(scores) > 1:
        raise BadInput(
            f"{', '.join(map(str, parts))} was given for one year; wanted are a table of fields "
            "and a raster of probabilities."
        )
    if not scores:
        return Year(tables[0].stem, tables[0], _beside(tables[0]))
    if tables:
        return Year(tables[0].stem, tables[0], scores[0])
    return _of_scores(scores[0])


def _in_folder(folder: Place) -> Year:
    """Take the one table in a folder that has probabilities beside it."""
    if isinstance(folder, RemotePath):
        return _in_remote_folder(folder)
    found = {
        path.stem
        for ending in TABLES
        for path in folder.glob(f"*{ending}")
        if (folder / f"{path.stem}{SCORES}").is_file()
    }
    if len(found) == 1:
        year = _of_scores(folder / f"{found.pop()}{SCORES}")
        return replace(year, label=folder.resolve().name)
    if found:
        raise BadInput(
            f"{folder} holds several maps ({', '.join(sorted(found))}): name the table, for "
            f"example {folder / min(found)}.parquet."
        )
    raise BadInput(
        f"{folder} holds no table of fields with its probabilities beside it (fields.parquet and "
        f"fields.scores.tif): map it with 'selion map IMAGE -o {folder / 'fields.parquet'} "
        f"--scores {folder / 'fields.scores.tif'}'."
    )


def _in_remote_folder(folder: RemotePath) -> Year:
    """Take the table that ``selion map`` calls so by itself: not every server says what it has."""
    table, scores = folder / f"fields{TABLES[0]}", folder / f"fields{SCORES}"
    for path in (table, scores):
        if not path.is_file():
            raise BadInput(
                f"{folder} holds no {path.name}: of a folder on a server fields{TABLES[0]} and "
                f"fields{SCORES} are read; give both addresses as SCORES,FIELDS."
            )
    return Year(folder.name, table, scores)


def _beside(table: Place) -> Place:
    scores = table.with_name(f"{table.stem}{SCORES}")
    if not scores.is_file():
        raise BadInput(
            f"The probabilities of {table} are not beside it ({scores.name}), and without them it "
            "is not known which pixels were seen that year: write them with 'selion map "
            f"--scores', or give both as {table},SCORES."
        )
    return scores


def _of_scores(scores: Place) -> Year:
    stem = scores.name.removesuffix(SCORES) if scores.name.endswith(SCORES) else scores.stem
    for number, ending in enumerate(TABLES):
        table = scores.with_name(f"{stem}{ending}")
        if table.is_file():
            return Year(stem, table, scores, _others(scores, stem, TABLES[number + 1 :]))
    raise BadInput(
        f"There is no table of fields beside {scores} ({stem}.parquet): make it with 'selion "
        f"fields {scores} -o {scores.with_name(stem)}.parquet'."
    )


def _others(scores: Place, stem: str, endings: Sequence[str]) -> tuple[str, ...]:
    """Return what else could be meant here; a server is not asked."""
    others = (scores.with_name(f"{stem}{ending}") for ending in endings)
    return tuple(path.name for path in others if isinstance(path, Path) and path.is_file())


def _labelled(years: list[Year]) -> list[Year]:
    """Make labels fit for file names, and different.

    By the folder where files are called alike, else by number.
    """
    if max(Counter(year.label for year in years).values()) > 1:
        years = [replace(year, label=year.table.resolve().parent.name) for year in years]
    names = [re.sub(r"[^A-Za-z0-9.-]+", "-", year.label).strip("-.") or "map" for year in years]
    if max(Counter(names).values()) > 1:
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    return [replace(year, label=name) for year, name in zip(years, names, strict=True)]
