"""What a paper printed: tables, their rows, and the models that rows are made of; from TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from selion.errors import UnknownName

ROUNDING = 0.005
"""Half of the last digit that the tables print: a printed .76 is any number from .755 to .765."""


@dataclass(frozen=True, slots=True)
class PaperModel:
    """A model of a paper's tables, and where it comes from."""

    key: str
    """What it is called here, over all tables: ``prue-b7``."""
    names: tuple[str, ...] = ()
    """What its published weights are called in the registry of models."""
    recipe: str = ""
    """The recipe that trains it; empty where there is none."""
    note: str = ""
    """How its weights are had, where that is not by a command."""

    @property
    def known_as(self) -> tuple[str, ...]:
        """All names under which its weights are looked for, the surest first."""
        short = self.recipe.rpartition("/")[2]
        return tuple(dict.fromkeys(n for n in (self.key, *self.names, self.recipe, short) if n))

    @property
    def remedy(self) -> str:
        """How its weights are had, as the end of a sentence."""
        if self.note:
            return self.note
        ways = [
            *(f"'selion models fetch {name}'" for name in self.names),
            *([f"'selion train {self.recipe}'"] if self.recipe else []),
        ]
        return " or ".join(ways) or "they were not published"


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One printed row."""

    model: PaperModel
    label: str
    """As printed."""
    backbone: str = ""
    group: str = ""
    """The part of the table that it stands in."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Measure -> printed value; what is not printed is not there."""
    plus_minus: Mapping[str, float] = field(default_factory=dict)
    """Measure -> what is printed after the plus-minus sign."""
    countries: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Country -> measure -> printed value, where the paper prints them for this model."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One printed table."""

    number: int
    title: str
    columns: tuple[str, ...]
    """Its measures, in its order."""
    rows: tuple[PaperRow, ...]
    reference: str = ""
    """The model that others are compared with; empty: none."""

    @property
    def by_country(self) -> bool:
        """Whether it prints countries one by one instead of their mean."""
        return not any(row.figures for row in self.rows)

    @property
    def models(self) -> dict[str, PaperModel]:
        """Key -> model, each once, in the table's order."""
        return {row.model.key: row.model for row in self.rows}


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper's tables and what they were scored on."""

    name: str
    citation: str
    dataset: str
    """Layout of its data."""
    split: str
    countries: tuple[str, ...]
    """Those that its means are taken over."""
    tables: tuple[PaperTable, ...]

    def table(self, number: int) -> PaperTable:
        """Return a table by its number.

        Raises
        ------
        UnknownName
            If it is none of those that can be reproduced.
        """
        for one in self.tables:
            if one.number == number:
                return one
        raise UnknownName.among(
            f"table of {self.name}", str(number), [str(one.number) for one in self.tables]
        )


@cache
def read_paper(name: str = "prue") -> Paper:
    """Read a paper's printed figures.

    Raises
    ------
    UnknownName
        If there is no such paper here.
    """
    known = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
    if name not in known:
        raise UnknownName.among("paper", name, known)
    raw = tomllib.loads(known[name].read_text(encoding="utf-8"))
    models = {key: _model(key, entry) for key, entry in raw["models"].items()}
    tables = {entry["number"]: _table(entry, models) for entry in raw["table"]}
    for entry in raw["table"]:
        if "countries_of" in entry:
            other = tables[entry["countries_of"]]
            tables[entry["number"]] = _with_countries(tables[entry["number"]], other)
    return Paper(
        raw["name"],
        raw["citation"],
        raw["dataset"],
        raw["split"],
        tuple(raw["countries"]),
        tuple(tables.values()),
    )


def _model(key: str, entry: Mapping[str, Any]) -> PaperModel:
    return PaperModel(
        key, tuple(entry.get("names", ())), entry.get("recipe", ""), entry.get("note", "")
    )


def _table(entry: Mapping[str, Any], models: Mapping[str, PaperModel]) -> PaperTable:
    columns = tuple(entry["columns"])
    rows = tuple(_row(row, columns, models) for row in entry["rows"])
    return PaperTable(entry["number"], entry["title"], columns, rows, entry["reference"])


def _with_countries(table: PaperTable, other: PaperTable) -> PaperTable:
    """Take over what another table prints of the same models, country by country."""
    printed = {row.model.key: row.countries for row in other.rows}
    rows = (replace(row, countries=printed.get(row.model.key, {})) for row in table.rows)
    return replace(table, rows=tuple(rows))


def _row(
    entry: Mapping[str, Any], columns: tuple[str, ...], models: Mapping[str, PaperModel]
) -> PaperRow:
    by_country = entry.get("countries", {})
    return PaperRow(
        models[entry["model"]],
        entry["label"],
        entry.get("backbone", ""),
        entry.get("group", ""),
        _named(columns, entry.get("figures", ())),
        _named(columns, entry.get("plus_minus", ())),
        {country: _named(columns, values) for country, values in by_country.items()},
    )


def _named(columns: tuple[str, ...], values: Any) -> dict[str, float]:
    return {
        column: float(value)
        for column, value in zip(columns, values, strict=False)
        if not math.isnan(value)
    }
