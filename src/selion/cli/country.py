"""``selion merge``, ``selion query``, ``selion stats`` and ``selion tiles``.

What comes after the jobs of a country.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from selion.cli import options as opt
from selion.cli.imagery import BOX, AreaCommand
from selion.cli.progress import reporter
from selion.errors import counted

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.country import Maps
    from selion.store import Place

folder = click.Path(path_type=Path)
ENDINGS = {"markdown": ".md", "csv": ".csv", "json": ".json"}


def some(names: list[str]) -> str:
    """Return the first of many names."""
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


@click.command(
    "merge",
    help=(
        "Merge the tables of jobs into one map without seams, partitioned by geohash, or in the "
        "layout of the published global map. TABLES: files (.parquet; .gpkg, .geojson, .fgb, .shp "
        "... are read whole), folders of jobs, or the folder of a plan."
    ),
)
@click.argument("tables", nargs=-1, required=True, type=opt.place)
@click.option("-o", "--out", type=folder, required=True, help="Folder of the map.")
@click.option(
    "--plan",
    type=folder,
    default=None,
    help="Folder of 'selion plan', where the tables do not lie in it.",
)
@click.option(
    "--layout",
    type=click.Choice(["cells", "ftw-2e"]),
    default="cells",
    show_default=True,
    help=(
        "Folders by geohash with all columns; or as Fields of The World publishes: a file per year "
        "and UTM zone, nine columns, an index. Other years in the folder stay."
    ),
)
@click.option(
    "--year",
    type=int,
    default=None,
    help="With ftw-2e: the year of the fields [default: that of determination:datetime].",
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    help=(
        "With ftw-2e: where the folder will stand (https://... or s3://...), for the index; "
        "repeat for both."
    ),
)
@click.option(
    "--cell",
    type=click.IntRange(2, 4),
    default=3,
    show_default=True,
    help="Size of a partition: geohash of 2, 3 or 4 characters.",
)
@click.option(
    "--least-remnant",
    "min_area",
    type=click.FloatRange(0),
    default=500.0,
    show_default=True,
    help="Remnants along seams smaller than this (m2) are dropped.",
)
@opt.collection
@opt.geoparquet
@click.option(
    "--work",
    type=folder,
    default=None,
    help="Folder for finished parts [default: hidden beside the output].",
)
@opt.force
@opt.as_json
@opt.quiet
def merge_command(
    tables: tuple[Place, ...],
    out: Path,
    layout: str,
    plan: Path | None,
    work: Path | None,
    **values: Any,
) -> None:
    """Merge."""
    given = opt.taken(opt.VerbChoice, values)
    shared = {"plan": plan, "work": work, "force": given.force}
    began = time.monotonic()
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        if layout == "cells":
            folder, facts = _merge_cells(tables, out, values, shared | {"on_step": say.step})
        else:
            folder, facts = _publish(tables, out, values, shared | {"on_step": say.step})
        for note in _notes(facts):
            say.note(note)
    counts = {name: len(value) for name, value in facts.items() if isinstance(value, list)}
    done = {"seconds": round(time.monotonic() - began, 1)}
    opt.print_result(folder, facts | counts | done, given)


def _merge_cells(
    tables: tuple[Place, ...], out: Path, values: dict[str, Any], shared: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    from selion.country import MergeOptions, merge_maps

    _refuse("ftw-2e", "year", "addresses")
    options = MergeOptions(
        values["cell"], values["min_area"], values["collection"], values["geoparquet"]
    )
    maps = merge_maps(tables, out, options, **shared)
    return str(maps.folder), maps.facts | {"partitions": len(maps.parts)}


def _publish(
    tables: tuple[Place, ...], out: Path, values: dict[str, Any], shared: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    from selion.country import PublishOptions, publish_maps

    _refuse("cells", "cell", "geoparquet")
    options = PublishOptions(
        values["year"], values["min_area"], values["collection"], values["addresses"]
    )
    made = publish_maps(tables, out, options, **shared)
    return str(made.folder), made.facts | {"zones": len(made.zones)}


def _refuse(layout: str, *names: str) -> None:
    """Refuse options that are for the other layout."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--address" if name == "addresses" else f"--{name}"
            raise click.UsageError(f"{option} is for --layout {layout}: add that, or leave it out.")


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    """Say what a merge had to leave out."""
    if not facts.get("planned", True):
        yield (
            "These tables belong to no plan: fields found twice are kept once, but fields cut "
            "at the edge of an image stay cut. Make jobs with 'selion plan' to join those too."
        )
    if missing := facts.get("unfinished_jobs"):
        yield (
            f"Not in this map, because not finished: {counted(len(missing), 'job')} of the "
            f"plan ({some(missing)})."
        )
    if missing := facts["incomplete_tables"]:
        count = counted(len(missing), "table")
        yield (
            f"This map lacks blocks that could not be done in {count} ({some(missing)}): the "
            ".aside.json beside each says which."
        )
    if missing := facts.get("left_out"):
        yield f"The layout has no place for these columns, so they are not in it: {some(missing)}."
    if not facts.get("scored", True):
        yield "No table says how sure its fields are, so the column score is empty."


QUERY_HELP = """Select the fields of AREA from MAPS; the result is .parquet, .gpkg, .geojson, .fgb
or .pmtiles.

AREA is a file of polygons, or west,south,east,north. MAPS is a folder of 'selion merge', one
GeoParquet file, a hive folder of them (zone=10/utm10.parquet ...), or the address (https://, s3://)
of one of these, of which only what lies near AREA is fetched; or a GeoPackage, GeoJSON or
FlatGeobuf of fields, which is read whole."""


class QueryCommand(AreaCommand):
    """``selion query``, which says the command where area and map stand in the other order."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at the order first, whatever else is missing."""
        words = list(args)
        try:
            given, _, _ = self.make_parser(ctx).parse_args(words)
        except click.UsageError:
            return super().parse_args(ctx, args)
        area, maps = (str(given.get(name) or "") for name in ("area", "maps"))
        if not BOX.fullmatch(area) and (BOX.fullmatch(maps) or Path(area).expanduser().is_dir()):
            _refuse_order(area.strip(), maps.strip(), given.get("out"), ctx)
        return super().parse_args(ctx, args)


def _refuse_order(area: str, maps: str, out: str | None, ctx: click.Context) -> None:
    """Say the command with the area first."""
    what = "An area" if BOX.fullmatch(maps) else "A map's folder"
    wrong, place = (maps, "the map") if BOX.fullmatch(maps) else (area, "the area")
    command = ["selion", "query", maps or "AREA", area, "-o", out or "fields.parquet"]
    raise click.UsageError(
        f"{what}, {wrong}, was given where {place} stands; wanted is the area first: "
        f"{shlex.join(command)}",
        ctx,
    )


@click.command("query", cls=QueryCommand, help=QUERY_HELP)
@click.argument("area")
@click.argument("maps", type=opt.place)
@opt.out
@click.option(
    "--columns",
    default=None,
    help="Columns to take, parted by commas; id and geometry always come.",
)
@click.option(
    "--whole/--clip",
    "whole",
    default=True,
    show_default=True,
    help="Take fields at the edge of the area whole, or cut them there.",
)
@opt.geoparquet
@opt.force
@opt.as_json
@opt.quiet
def query_command(
    area: str, maps: Place, out: Path, columns: str | None, whole: bool, **values: Any
) -> None:
    """Cut out."""
    given = opt.taken(opt.VerbChoice, values)
    from selion import country, fields, imagery, store

    began = time.monotonic()
    store.check_output(out, given.force)
    store.check_geoparquet(values["geoparquet"])
    fields.format_of(out)
    if out.suffix.lower() != ".parquet":
        opt.refuse_given(["geoparquet"], f"{out} is no GeoParquet; give -o a name in .parquet")
    wanted = (
        None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    )
    with country.opened_maps(maps) as opened:
        where = imagery.read_area(area)
        found = country.write_query(opened, where, out, wanted, clip=not whole, force=given.force)
        if values["geoparquet"] == "2.0":
            store.make_native(out)
        facts = _summary(found.frame)
        if found.frame.empty:
            facts["note"] = _nothing_there(opened, area)
            if not given.as_json:
                click.echo(facts.pop("note"), err=True)
    if not country.is_read_whole(maps):
        facts |= found.reading.facts()
    opt.print_result(out, facts | {"seconds": round(time.monotonic() - began, 2)}, given)


def _nothing_there(maps: Maps, area: str) -> str:
    """Say that a map has no field in an area, and where it has some."""
    if maps.box is None:
        return f"{maps.folder} holds no field at all: the result is empty."
    where = ",".join(f"{degrees:.5g}" for degrees in maps.box)
    return (
        f"No field of {maps.folder} lies in {area.strip()}: the map's fields lie within {where} "
        "(west,south,east,north). The result is empty."
    )


def _summary(frame: GeoDataFrame) -> dict[str, Any]:
    """Return what is printed of some fields; a published score is called so, not confidence."""
    from selion.fields.schema import confidences_of
    from selion.pipeline.maps import summarise

    sure = confidences_of(frame)
    if sure is None or "metrics:area" not in frame:
        return {"fields": len(frame)}
    if "confidence" in frame:
        return summarise(frame)
    facts = summarise(frame.assign(confidence=sure))
    mean = facts.pop("mean_confidence")
    return facts | {"mean_score": None if mean is None else round(100 * mean, 1)}


STATS_HELP = """Print number, area, median and mean size of fields (on the ellipsoid) by
administrative unit.

MAPS is a folder of 'selion merge', a table of fields (.parquet, .gpkg, .geojson, .fgb), or a hive
folder of GeoParquet."""


@click.command("stats", help=STATS_HELP)
@click.argument("maps", type=opt.place)
@click.option(
    "--districts",
    "by",
    type=opt.place,
    default=None,
    help="File of administrative units (polygons in any CRS) [default: the map as a whole].",
)
@click.option(
    "--district-column",
    "name",
    default=None,
    help="Column of the units' names [default: name, NAME or the like].",
)
@click.option("-o", "--out", type=folder, default=None, help="Write the table: .csv, .json or .md.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(ENDINGS)),
    default="markdown",
    show_default=True,
    help="What is printed without -o.",
)
@opt.force
@opt.quiet
def stats_command(
    maps: Place, by: Place | None, name: str | None, out: Path | None, kind: str, **values: Any
) -> None:
    """Count."""
    given = opt.taken(opt.VerbChoice, values)
    from selion import country, store

    if name is not None and by is None:
        raise click.UsageError(
            f"The column {name!r} was named, but no file of units that has it: add --districts "
            "UNITS, or leave out --district-column."
        )
    if out is None:
        opt.refuse_given(["force"], opt.NO_FILE)
    else:
        opt.refuse_given(["kind"], "the ending of --out decides the format")
        store.check_output(out, given.force)
    units = None if by is None else country.read_units(by, name)
    rows = country.count_fields(maps, units)
    if out is None:
        click.echo(country.shown(rows, ENDINGS[kind]), nl=False)
        return
    click.echo(str(country.write_units(rows, out, force=given.force)))


TILES_HELP = """Write vector tiles of MAPS (.pmtiles): layer "fields" from zoom 9, and "density"
below it, the share of each square that is field.

MAPS is a folder of 'selion merge', a table of fields (.parquet, .gpkg, .geojson, .fgb), or a hive
folder of GeoParquet."""


@click.command("tiles", help=TILES_HELP)
@click.argument("maps", type=opt.place)
@opt.out
@click.option(
    "--max-zoom",
    "finest",
    type=click.IntRange(9, 15),
    default=12,
    show_default=True,
    help="Finest tiles; viewers enlarge them further.",
)
@opt.force
@opt.as_json
@opt.quiet
def tiles_command(maps: Place, out: Path, finest: int, **values: Any) -> None:
    """Draw."""
    given = opt.taken(opt.VerbChoice, values)
    from selion import country, store

    began = time.monotonic()
    store.check_output(out, given.force)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        path = country.write_tiles(maps, out, finest=finest, force=given.force, on_step=say.step)
    opt.print_result(
        path,
        {
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "seconds": round(time.monotonic() - began, 1),
        },
        given,
    )
