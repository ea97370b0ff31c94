"""map_years: the fields of an area in several years, by the same rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import selion
from selion import store
from selion.errors import BadInput, OutputExists
from selion.imagery import Area, AreaLike, read_area
from selion.pipeline.maps import MapOptions
from selion.pipeline.probabilities import RunReport
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.urls import shown
from selion.world.editions import Edition, wanted_edition
from selion.world.mapping import map_published
from selion.world.probabilities import open_probabilities

FIELDS, SCORES = "fields.parquet", "fields.scores.tif"
DONE = "run.json"
"""Beside the map of a year: what it was made from, and whether it is whole."""


def parse_years(text: str) -> tuple[int, ...]:
    """Read years: ``2017-2025``, ``2017,2019,2021`` or both.

    Raises
    ------
    BadInput
        If it does not say two or more years.

    Examples
    --------
    >>> parse_years("2017-2019,2021")
    (2017, 2018, 2019, 2021)
    """
    years: set[int] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            years |= set(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        years = set()
    if len(years) < 2 or min(years) < 1900 or max(years) > 2200:
        raise BadInput(
            f"The years {text!r} were given; wanted are two or more, for example 2017-2025 or "
            "2019,2021,2023."
        )
    return tuple(sorted(years))


def map_years(
    edition: Edition | str,
    area: AreaLike | Area,
    years: Sequence[int],
    out: Path | str,
    options: MapOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> list[Path]:
    """Map the fields of an area in several years from an edition, by the same rules.

    Parameters
    ----------
    edition : Edition or str
        Of probabilities: ``ftw-2e``, or ``ftw-2e@ADDRESS``.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    years : sequence of int
    out : path
        A folder; for each year it gets a folder with ``fields.parquet``, ``fields.scores.tif`` and
        ``run.json``.
    options : MapOptions, optional
    force : bool
        Whether years that were made from something else are made again.
    on_step, on_note : callable, optional

    Returns
    -------
    list of Path
        The folder of each year.  A year that this very run has finished before, of tiles that have
        not changed since, is kept as it is.

    Raises
    ------
    OutputExists
        If a year was made from something else and ``force`` is false; then nothing is done.
    Incomplete
        If blocks of a year could not be read; the same call tries them again.
    SelionError
        If something cannot be read, used or written.
    """
    options, out = options or MapOptions(), Path(out).expanduser()
    edition = wanted_edition(edition, "probabilities")
    place = area if isinstance(area, Area) else read_area(area)
    outside = sorted(set(years) - set(edition.years))
    if outside:
        raise BadInput(
            f"{edition.name} has no {', '.join(map(str, outside))}; it has "
            f"{min(edition.years)} to {max(edition.years)}."
        )
    folders = [out / str(year) for year in years]
    keys = [_key(edition, place, year, options) for year in years]
    states = [_state(folder, key, force=force) for folder, key in zip(folders, keys, strict=True)]
    for number, (year, folder, key, state) in enumerate(
        zip(years, folders, keys, states, strict=True)
    ):
        on_step("years", number, len(years), str(year))
        if state == "whole":
            on_note(f"{year} was finished before, and is kept.")
            continue
        store.write_text(folder / DONE, _about(key, edition, year, whole=False), force=True)
        said: list[str] = []
        report = RunReport(on_note=partial(_named_note, on_note, said, year))
        target = folder / FIELDS
        map_published(
            edition,
            place,
            year,
            target,
            replace(options, scores=folder / SCORES, collection=str(year)),
            force=True,
            on_step=partial(_named_step, on_step, year),
            report=report,
        )
        if report.failed:
            raise report.incomplete(target)
        store.write_text(folder / DONE, _about(key, edition, year, said, whole=True), force=True)
    on_step("years", len(years), len(years), "")
    return folders


def _named_note(on_note: OnNote, said: list[str], year: int, text: str) -> None:
    said.append(text)
    on_note(f"{year}: {text}")


def notes_of(folders: Sequence[Path]) -> list[str]:
    """Return what was said when years were mapped, each sentence once, with its years.

    What was not looked at is among it, also in a run that went on with years of a former one.
    """
    years: dict[str, list[str]] = {}
    for folder in folders:
        for text in json.loads((folder / DONE).read_text("utf-8"))["notes"]:
            years.setdefault(text, []).append(folder.name)
    return [f"{', '.join(when)}: {text}" for text, when in years.items()]


def _named_step(
    on_step: OnStep, year: int, stage: str, done: float, total: float, detail: str = ""
) -> None:
    on_step(f"{year} {stage}", done, total, detail)


def _key(edition: Edition, area: Area, year: int, options: MapOptions) -> str:
    """Return what a year's map depends on, in a few letters; who does the blocks does not count.

    The tiles' contents do: an edition is corrected under the same address.
    """
    same = replace(
        options,
        runner=MapOptions().runner,
        threads=None,
        work=None,
        journal=None,
        scores=None,
        collection=None,
    )
    content = open_probabilities(edition, area, year, gsd=options.predict.gsd).key
    said = [edition.name, shown(edition.address), content, area.geometry.wkb_hex, year, repr(same)]
    return hashlib.sha256(json.dumps([selion.__version__, *said]).encode()).hexdigest()[:32]


def _about(key: str, edition: Edition, year: int, notes: Sequence[str] = (), *, whole: bool) -> str:
    facts = {
        "key": key,
        "whole": whole,
        "edition": edition.name,
        "address": shown(edition.address),
        "year": year,
        "notes": list(notes),
        "selion": selion.__version__,
    }
    return json.dumps(facts, indent=1) + "\n"


def _state(folder: Path, key: str, *, force: bool) -> str:
    """Return "whole", "begun" or "new"; refuse a folder that holds another map."""
    try:
        said = json.loads((folder / DONE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        said = {}
    files = [folder / FIELDS, folder / SCORES]
    if isinstance(said, dict) and said.get("key") == key:
        there = all(path.is_file() for path in files)
        return "whole" if said.get("whole") and there else "begun"
    if not force and any(path.exists() for path in files):
        raise OutputExists(
            f"{folder} holds a map that was made from something else (another area, edition, "
            "option or version): give another folder, or --force to make it again."
        )
    return "new"
