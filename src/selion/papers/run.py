"""A paper's table, scored on the data and the weights that are here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from selion.classes import FTW2
from selion.data import load_dataset
from selion.data.dataset import Dataset
from selion.errors import BadInput, SelionError, UnknownName, counted
from selion.models import find_card, load_model
from selion.papers.answering import ALWAYS, OF_ALL_CHIPS, OF_MEANS, PUBLISHED
from selion.papers.keeping import KeptScores
from selion.papers.parameters import million_parameters
from selion.papers.printed import Paper, PaperModel, PaperRow, PaperTable
from selion.papers.results import FoundModel, RowScores, TableScores
from selion.papers.scoring import ScoreWork, score_model
from selion.progress import OnStep, silent

ROBUST = "agreement"
"""A table with this column also measures how scores move when chips do."""
SHOWN = 6
"""So many names are listed where something is missing."""


@dataclass(frozen=True, slots=True)
class ReproduceOptions:
    """How a table is scored."""

    published: bool = False
    """Do as PRUE's public code does where selion does otherwise by design:
    :data:`selion.papers.answering.PUBLISHED`."""
    engine: str = "auto"
    threads: int | None = None
    draws: int = 1000
    """Bootstrap samples for the intervals of a country."""


@dataclass(frozen=True, slots=True)
class PaperData:
    """The chips that a paper's tables are scored on."""

    chips: Dataset
    """Of countries that are averaged."""
    presence_only: Dataset
    """Of countries of which only some fields are labelled."""
    problems: tuple[str, ...] = field(default=())
    """What is missing, and where it is had."""


def open_chips(paper: Paper, folder: Path | str, countries: Sequence[str] = ()) -> PaperData:
    """Open what a paper's tables are scored on: its split, with the published two-class masks.

    Parameters
    ----------
    paper : Paper
        Whose layout, split and countries are taken.
    folder : path
        The data set.
    countries : sequence of str, optional
        Only these.

    Raises
    ------
    UnreadableFile
        If no country lies there.
    UnknownName
        If a country that is asked for does not lie there, or there is no chip of the split.
    BadInput
        If only countries are there of which some fields alone are labelled.
    """
    everything = load_dataset(paper.dataset, folder, classes=FTW2)
    for name in countries:
        if name not in everything.groups:
            raise UnknownName.among(f"country under {folder}", name, everything.groups)
    wanted = set(countries or everything.groups)
    if paper.split not in everything.splits:
        why = everything.problems[0] if everything.problems else "none is listed."
        raise BadInput(
            f"No chip of the {paper.split} split under {folder} has both images and the two-class "
            f"mask that is scored against ({why}): fetch the countries again."
        )
    part = everything.select(paper.split)
    there = [name for name in part.groups if name in wanted]
    full = [name for name in there if name not in everything.presence_only]
    partly = [name for name in there if name in everything.presence_only]
    if not full:
        raise BadInput(
            f"Under {folder} there are {paper.split} chips of {', '.join(there) or 'no country'} "
            "alone, and means are taken over countries with complete labels: give others."
        )
    problems = [
        *(text for text in everything.problems if text.partition(":")[0] in wanted),
        *_missing_countries(paper, full),
    ]
    empty = sorted(wanted.difference(part.groups))
    if empty:
        problems.append(f"{', '.join(empty)}: no chip of the {paper.split} split.")
    return PaperData(part.select(groups=full), _some(part, partly), tuple(problems))


def _some(data: Dataset, groups: Sequence[str]) -> Dataset:
    return replace(data, entries=tuple(e for e in data.entries if e.group in groups))


def _missing_countries(paper: Paper, there: Sequence[str]) -> list[str]:
    missing = [name for name in paper.countries if name not in there]
    if not missing:
        return []
    shown = ", ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
    return [
        (
            f"The paper's means are over {len(paper.countries)} countries, and these are over "
            f"{len(there)}; not scored are {shown} ('selion data fetch {paper.dataset} --countries "
            f"{missing[0]} -o FOLDER' gets one)."
        )
    ]


def with_own(table: PaperTable, names: Sequence[str]) -> tuple[PaperTable, dict[str, FoundModel]]:
    """Add rows of models that the paper does not have, and what stands for them.

    Parameters
    ----------
    table : PaperTable
        The printed table.
    names : sequence of str
        Models, each a name or a folder.

    Raises
    ------
    UnknownName, UnreadableFile
        If there is no such model.
    BadInput
        If a row of the table is already called so.
    """
    rows, found = list(table.rows), {}
    for name in names:
        card = find_card(name)
        if card.name in table.models or card.name in found:
            raise BadInput(
                f"Table {table.number} has a row called {card.name} already: give the model in the "
                "folder of weights instead, or under another name."
            )
        rows.append(PaperRow(PaperModel(card.name), card.name, group="own"))
        found[card.name] = FoundModel(card.folder or name)
    return replace(table, rows=tuple(rows)), found


def reproduce_table(
    table: PaperTable,
    data: PaperData,
    models: Mapping[str, FoundModel],
    out: Path | str,
    options: ReproduceOptions | None = None,
    *,
    facts: Mapping[str, Mapping[str, float]] | None = None,
    on_step: OnStep = silent,
) -> TableScores:
    """Score the rows of a table whose models are here.

    Parameters
    ----------
    table : PaperTable
        The printed table.
    data : PaperData
        From :func:`open_chips`.
    models : mapping
        Key of a row's model -> the weights that stand for it.
    out : path
        Folder in which finished scores are kept, one file for each model and country: the same
        call goes on where it was stopped, and another table takes the scores that it shares.
        Scores of an altered model, chip or option are made again.
    options : ReproduceOptions, optional
    facts : mapping, optional
        Key of a row's model -> measure -> value, for columns that are measured elsewhere.
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    TableScores
        A row without weights, or whose model cannot be fed with these chips, says why.
    """
    options = options or ReproduceOptions()
    work = ScoreWork(
        data.chips,
        KeptScores(Path(out)),
        options.published,
        options.draws,
        data.presence_only,
        on_step=on_step,
    )
    rows = [
        _row(row, models.get(row.model.key), work, options, table.columns, dict(facts or {}))
        for row in table.rows
    ]
    missing = [f"{row.row.label}: {row.missing}" for row in rows if row.missing]
    all_chips = options.published and ROBUST in table.columns
    return TableScores(
        table,
        tuple(rows),
        _settings(data, options, all_chips=all_chips),
        (
            *missing,
            *dict.fromkeys(work.problems),
            *data.problems,
            *_presence_only(data, all_chips=all_chips),
        ),
    )


def _row(
    row: PaperRow,
    found: FoundModel | None,
    work: ScoreWork,
    options: ReproduceOptions,
    columns: Sequence[str],
    facts: Mapping[str, Mapping[str, float]],
) -> RowScores:
    if found is None:
        return RowScores(row, missing=f"no weights here: {row.model.remedy}.")
    try:
        model = load_model(found.path, options.engine, threads=options.threads)
        # rows may share a stand-in, and then its scores
        name = model.card.name if found.stand_in else row.model.key
        scores = score_model(name, model, work, robust=ROBUST in columns)
    except SelionError as problem:
        return RowScores(row, found, missing=str(problem))
    known = {"parameters_m": million_parameters(model.card)} | dict(facts.get(row.model.key, {}))
    return RowScores(
        row,
        found,
        countries=scores.countries,
        ranges=scores.ranges,
        means=scores.means,
        facts={name: value for name, value in known.items() if name in columns},
    )


def _presence_only(data: PaperData, *, all_chips: bool) -> list[str]:
    """Say which countries are left out of which means."""
    if not data.presence_only.groups:
        return []
    but = (
        " but that of agreement, which the published code takes over the chips of all countries."
        if all_chips
        else ", as in the paper."
    )
    names = ", ".join(data.presence_only.groups)
    return [f"{names}: only some fields are labelled; left out of all means{but}"]


def _settings(data: PaperData, options: ReproduceOptions, *, all_chips: bool) -> dict[str, object]:
    by_country = ", ".join(
        f"{name} ({len(data.chips.select(groups=name))})" for name in data.chips.groups
    )
    return {
        "chips": counted(len(data.chips), "chip"),
        "countries": by_country,
        "as published": "yes" if options.published else "no",
        "as in the paper": [*ALWAYS, *(OF_ALL_CHIPS if all_chips else OF_MEANS)],
        "switch as published": list(PUBLISHED),
        "intervals of countries": f"95 %, bootstrap over chips, {options.draws} draws",
    }
