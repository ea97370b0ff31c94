"""``selion history``: the fields of many years under one id each."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli import running
from selion.cli.change import tolerance
from selion.cli.map_choices import map_options
from selion.cli.progress import Reporter, reporter

if TYPE_CHECKING:
    from selion.change import FieldHistory
    from selion.world.attributes import Attributes
    from selion.world.history import WorldHistoryOptions

HELP = """Join the fields of many years into one history: one id each, what became of them, when
they were seen, probabilities fused over the years.

MAPS are folders that 'selion map --scores' wrote to, or tables with their probabilities beside
them, the earliest first, as 'selion change' takes them. With --from MAPS is one area (polygons in a
file, or west,south,east,north), and each of --years is mapped first, from published probabilities;
years that are finished are not done again."""
codes = "Codes of the land cover that are {}, for example {} (ESA WorldCover): column {}."


@dataclass(frozen=True, kw_only=True)
class GroundChoice:
    """Where attributes come from, as it was given."""

    land_cover: tuple[str, ...] = ()
    crop_codes: str | None = None
    water_codes: str | None = None
    elevation: tuple[str, ...] = ()
    districts: Path | None = None
    district_column: str | None = None
    reference: tuple[Path, ...] = ()
    reference_column: str | None = None
    reference_year: int | None = None

    def attributes(self) -> Attributes:
        """Return them as the library's."""
        from selion.world.attributes import Attributes

        return Attributes(
            land_cover=self.land_cover,
            crops=_codes(self.crop_codes, "--land-cover-crops"),
            water=_codes(self.water_codes, "--land-cover-water"),
            elevation=self.elevation,
            districts=self.districts,
            district_column=self.district_column,
            reference=self.reference,
            reference_column=self.reference_column,
            reference_year=self.reference_year,
        )


def _codes(text: str | None, name: str) -> frozenset[int]:
    try:
        return frozenset(int(code) for code in (text or "").split(",") if code.strip())
    except ValueError:
        raise click.UsageError(
            f"{name} {text} was given; wanted are whole numbers such as 40 or 10,20."
        ) from None


existing = click.Path(path_type=Path, exists=True, dir_okay=False)
ground_options = opt.group(
    click.option(
        "--land-cover",
        multiple=True,
        default=(),
        help="Raster of land cover codes (repeat for more tiles), for the shares of the next two.",
    ),
    click.option(
        "--land-cover-crops",
        "crop_codes",
        default=None,
        help=codes.format("crops", "40", "frac_crops"),
    ),
    click.option(
        "--land-cover-water",
        "water_codes",
        default=None,
        help=codes.format("water", "80", "frac_water"),
    ),
    click.option(
        "--elevation",
        multiple=True,
        default=(),
        help=(
            "Raster of elevations in metres (repeat for more tiles): columns elev_mean, "
            "slope_mean (degrees) and frac_slope_gt30."
        ),
    ),
    click.option(
        "--districts",
        type=existing,
        default=None,
        help="Polygons of districts: column district, and counts by it.",
    ),
    click.option(
        "--district-column",
        default=None,
        help="Column with the names of districts [default: they are numbered].",
    ),
    click.option(
        "--reference",
        type=existing,
        multiple=True,
        default=(),
        help=(
            "Own or reviewed fields (repeat for more files): the confidence is fitted to them "
            "(isotonic); without, the score is not calibrated."
        ),
    ),
    click.option(
        "--reference-column",
        default=None,
        help=(
            "Column of the reference that says whether a row is a field in truth [default: "
            "review:status, else all are]."
        ),
    ),
    click.option(
        "--reference-year",
        type=int,
        default=None,
        help="Year of the reference [default: the last].",
    ),
)


@click.command("history", help=HELP)
@click.argument("maps", nargs=-1, required=True)
@click.option(
    "--years", default=None, help="With --from: years to map, for example 2017-2025 or 2019,2021."
)
@click.option(
    "--from",
    "edition",
    default=None,
    metavar="NAME[@ADDRESS]",
    help="Map the years from this edition of published probabilities, for example ftw-2e.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the results."
)
@opt.method
@opt.simplify
@opt.min_area
@opt.max_area
@opt.gsd
@tolerance
@click.option(
    "--fusion",
    type=click.Choice(["logits", "mean"]),
    default="logits",
    show_default=True,
    help="Fuse the years by the mean of logits or of probabilities.",
)
@ground_options
@running.runner
@running.workers
@opt.force
@opt.as_json
@opt.quiet
def history_command(
    maps: tuple[str, ...],
    years: str | None,
    edition: str | None,
    out: Path,
    tolerance: float,
    fusion: str,
    **values: Any,
) -> None:
    """Join years."""
    from selion.change import HistoryOptions, OutcomeOptions
    from selion.pipeline.maps import published_options
    from selion.reports.history import write_report
    from selion.world.history import WorldHistoryOptions, write_history
    from selion.world.years import notes_of

    began = time.monotonic()
    given = opt.taken(opt.VerbChoice, values)
    _check(maps, years, edition, values)
    options = WorldHistoryOptions(
        mapping=map_options({"profile": False, **values, **_without_land_cover()}),
        join=HistoryOptions(OutcomeOptions(tolerance=tolerance), fusion=fusion),
        attributes=opt.taken(GroundChoice, values).attributes(),
    )
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        found: list[Any] = list(maps)
        if edition is not None:
            # the fused probabilities are published ones, too
            options = replace(options, mapping=published_options(options.mapping))
            found = _mapped((maps[0], years or "", edition), out, options, given, say)
            options = replace(options, notes=tuple(notes_of(found)))
        history = write_history(
            found, out, options, force=given.force, on_step=say.step, on_note=say.note
        )
        path = write_report(history, force=given.force)
    seconds = round(time.monotonic() - began, 1)
    if given.as_json:
        done = {"event": "done", "path": str(path), "seconds": seconds}
        click.echo(json.dumps(done | {"history": history.facts}))
        return
    if not given.quiet:
        _tell(history)
    click.echo(str(path))


def _without_land_cover() -> dict[str, Any]:
    """Return what keeps the land cover, here an attribute, from dropping fields."""
    return {"land_cover": (), "crop_codes": None}


def _check(
    maps: tuple[str, ...], years: str | None, edition: str | None, values: dict[str, Any]
) -> None:
    """Refuse what would have no effect."""
    if edition is None and (years is not None or values["gsd"] is not None):
        name = "--years" if years is not None else "--gsd"
        raise click.UsageError(
            f"{name} has no effect without --from: given are maps, each of its own year; to map an "
            "area, add --from ftw-2e."
        )
    if edition is not None and (len(maps) != 1 or years is None):
        raise click.UsageError(
            f"--from {edition} wants one area and its years, and {len(maps)} places and "
            f"{'no years' if years is None else years} were given: selion history area.geojson "
            "--years 2017-2025 --from ftw-2e -o history/"
        )


def _mapped(
    asked: tuple[str, str, str],
    out: Path,
    options: WorldHistoryOptions,
    given: opt.VerbChoice,
    say: Reporter,
) -> list[Path]:
    """Map each year; what stands in the way of the history is said first."""
    from selion import store
    from selion.change.history import FACTS
    from selion.world.attributes import check_attributes
    from selion.world.years import map_years, parse_years

    area, years, edition = asked
    store.check_output(out / FACTS, given.force)
    check_attributes(options.attributes, parse_years(years))
    return map_years(
        edition,
        area,
        parse_years(years),
        out / "years",
        options.mapping,
        force=given.force,
        on_step=say.step,
        on_note=say.note,
    )


def _tell(history: FieldHistory) -> None:
    facts = history.facts
    click.echo(f"{facts['fields']:,} fields, {facts['alive']:,} of them there in the end", err=True)
    for number, year in facts["years"].items():
        counts = ", ".join(
            f"{value:,} {name.replace('_', ' ')}"
            for name, value in year["counts"].items()
            if value and name not in ("fields", "ha")
        )
        mark = "  under-detected" if year["under_detected"] else ""
        click.echo(f"  {number} {year['counts']['fields']:>9,} fields: {counts}{mark}", err=True)
    click.echo(
        "confidence is calibrated" if "calibration" in facts else "score, not calibrated", err=True
    )
