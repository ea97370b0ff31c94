"""Table 3 of PRUE: area, cost, number of fields and their median area, of maps that are finished.

Areas are on the ellipsoid; the paper's are Web Mercator's, and both are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selion.country import count_fields, read_prices, read_units
from selion.country.paper_table import TABLE_3
from selion.country.statistics import Unit
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.papers.figures import squared_correlation
from selion.store import write_csv

COLUMNS = (
    *("country", "year", "map", "note"),
    *("area_million_km2", "mercator_million_km2", "dollars", "fields_m", "median_ha"),
    *("paper_area_million_km2", "paper_area_over_true", "paper_dollars"),
    *("paper_fields_m", "paper_median_ha"),
)
"""Of ``table-3.csv``."""
CENSUS_COLUMNS = ("country", "measure", "ours", "census", "r2")
"""Of ``census.csv``."""
YEARS = (2023, 2024)
"""Of the paper's maps."""
NAMED = re.compile(r"(?P<country>.+?)(?:-(?P<year>\d{4}))?")


@dataclass(frozen=True, slots=True)
class CountryMap:
    """A finished map of a country."""

    country: str
    year: int | None
    path: Path
    extent: Path | None
    """Polygons of what was mapped."""


def find_maps(folder: Path) -> list[CountryMap]:
    """Find maps in a folder: ``COUNTRY-YEAR.parquet``, or folders of that name.

    ``COUNTRY.geojson`` beside them says what was mapped.

    Raises
    ------
    UnreadableFile
        If there is none.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = NAMED.fullmatch(path.stem)
        if match is None or not (path.suffix == ".parquet" or any(path.glob("**/*.parquet"))):
            continue
        extent = folder / f"{match['country']}.geojson"
        year = None if match["year"] is None else int(match["year"])
        found.append(CountryMap(match["country"], year, path, extent if extent.is_file() else None))
    if not found:
        raise UnreadableFile(
            f"No map lies in {folder}: wanted are tables of fields called COUNTRY-YEAR.parquet, or "
            "folders of that name, and COUNTRY.geojson with the outline of what was mapped."
        )
    return found


def write_countries(
    maps: Sequence[CountryMap],
    out: Path,
    *,
    km2_per_second: float | None = None,
    prices: Path | None = None,
    note: str = "",
) -> Path:
    """Write ``table-3.csv``: the paper's five countries, and every map that is here.

    Parameters
    ----------
    maps : sequence of CountryMap
    out : path
        Gets the table.
    km2_per_second : float, optional
        Speed of the road on this machine, as measured; the cost is that of so many hours of one
        worker of the price sheet.
    prices : path, optional
        A price sheet, as for ``selion plan``.
    note : str
        What the maps are, where they are not what the paper's are.

    Notes
    -----
    PRUE, Table 3: dollars are for the network alone, mosaics not among them; here reading and
    parting into objects are.
    """
    sheet = read_prices(prices)
    lines = [*_printed(maps)]
    for one in maps:
        unit = _counted(one)
        km2 = unit.land_km2
        hours = None if not km2 or not km2_per_second else km2 / km2_per_second / 3600
        dollars = None if hours is None else hours * sheet.cpu.dollars_per_hour
        paper = _paper_of(one)
        lines.append(
            (
                *(one.country, one.year or "", str(one.path), note),
                *(_number(km2, 1e6), _number(unit.mercator_km2, 1e6), _number(dollars)),
                *(_number(unit.fields, 1e6), _number(unit.median_ha)),
                *(paper or ("",) * 5),
            )
        )
    write_csv(out / "table-3.csv", COLUMNS, lines)
    return out / "table-3.csv"


def _counted(one: CountryMap) -> Unit:
    """Count the fields of a map; its area is that of its extent, all of it."""
    whole = count_fields(one.path)[0]
    if one.extent is None:
        return whole
    parts = count_fields(one.path, read_units(one.extent))
    area, drawn = (
        [getattr(part, name) or 0.0 for part in parts] for name in ("land_km2", "mercator_km2")
    )
    return Unit(
        **{name: getattr(whole, name) for name in whole.__slots__}
        | {"land_km2": sum(area), "mercator_km2": sum(drawn)}
    )


def _printed(maps: Sequence[CountryMap]) -> Iterator[tuple[object, ...]]:
    """Yield the paper's rows of which there is no map here."""
    here = {(one.country, one.year) for one in maps}
    for country in TABLE_3:
        for year in YEARS:
            name = country.name.lower().replace(" ", "_")
            if (name, year) not in here:
                one = CountryMap(name, year, Path(), None)
                said = "no map here: 'selion plan' and 'selion map' make one, --maps gives it"
                yield (name, year, "", said, *("",) * 5, *(_paper_of(one) or ()))


def _paper_of(one: CountryMap) -> tuple[object, ...] | None:
    for country in TABLE_3:
        if country.name.lower().replace(" ", "_") == one.country and one.year in YEARS:
            k = YEARS.index(one.year)
            return (
                *(country.million_km2, f"{country.factor:.2f}", country.dollars),
                *(country.fields[k], country.median_ha[k]),
            )
    return None


def compare_census(maps: Sequence[CountryMap], census: Path, out: Path) -> Path:
    """Lay number and area of mapped fields beside a census, and write ``census.csv``.

    Parameters
    ----------
    maps : sequence of CountryMap
    census : path
        CSV with the columns ``country`` and ``fields`` or ``area_ha``, or both.
    out : path
        Gets the table; R2 is that of a straight line through the countries.

    Raises
    ------
    UnreadableFile, BadInput, UnknownName
        If the census cannot be used, or names no country of which there is a map.
    """
    theirs = _read_census(census)
    units = {one.country: _counted(one) for one in maps}
    both = [name for name in theirs if name in units]
    if not both:
        raise UnknownName.among("country of the census", next(iter(theirs)), units)
    lines: list[tuple[object, ...]] = []
    for measure, ours in (("fields", "fields"), ("area_ha", "total_ha")):
        pairs = {
            name: (float(getattr(units[name], ours)), theirs[name][measure])
            for name in both
            if measure in theirs[name]
        }
        r2 = squared_correlation(pairs.values())
        lines += [
            (name, measure, f"{mine:.6g}", f"{said:.6g}", "" if r2 is None else f"{r2:.6f}")
            for name, (mine, said) in pairs.items()
        ]
    write_csv(out / "census.csv", CENSUS_COLUMNS, lines)
    return out / "census.csv"


def _read_census(path: Path) -> dict[str, dict[str, float]]:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as CSV ({str(error).splitlines()[0]}): give a table with the "
            "columns country and fields or area_ha."
        ) from error
    columns = [name for name in ("fields", "area_ha") if name in table]
    if "country" not in table or not columns or not len(table):
        raise BadInput(
            f"{path} has the columns {', '.join(map(str, table.columns))}; wanted are country and "
            "fields or area_ha, and one row at least."
        )
    try:
        numbers = table[columns].astype(float)
    except ValueError as error:
        raise BadInput(f"{path} holds what is no number ({error}): correct the cell.") from error
    return {
        str(name): {c: float(numbers[c].iloc[k]) for c in columns if numbers[c].notna().iloc[k]}
        for k, name in enumerate(table["country"])
    }


def _number(value: float | None, unit: float = 1.0) -> str:
    return "" if value is None else f"{value / unit:.6g}"
