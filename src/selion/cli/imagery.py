"""``selion scenes`` and ``selion composite``.

An area and a year, and what the archive has for them.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from selion.cli import options as opt
from selion.cli import running
from selion.cli.private import LocalPath
from selion.cli.progress import Reporter, reporter

if TYPE_CHECKING:
    from selion.pipeline.areas import AreaOptions, Survey
    from selion.pipeline.cost import Cost
    from selion.store import Place
    from selion.world.mosaics import MosaicOptions

BOX = re.compile(r"\s*-?[\d.]+(\s*[,;]\s*-?[\d.]+){3}\s*")
"""west,south,east,north"""

provider = click.option(
    "--provider",
    "--stac_host",
    default="earth-search",
    show_default=True,
    help="earth-search, planetary-computer, cdse, or the address of a STAC API or catalogue.",
)
dates = click.option(
    "--dates",
    nargs=2,
    default=None,
    metavar="PLANTING HARVEST",
    help="Two date ranges, 2024-03-01/2024-05-31 2024-08-01/2024-10-15, instead of a rule.",
)
rule = click.option(
    "--season-rule",
    type=click.Choice(["latitude", "calendar"]),
    default="latitude",
    show_default=True,
    help="Rule that finds the two seasons.",
)
calendar = click.option(
    "--calendar",
    type=click.Path(path_type=Path),
    default=None,
    help="For --season-rule calendar: a GeoJSON of regions with planting and harvest "
    "(03-15/05-31), or a folder of crop calendar rasters [default: selion's own coarse one].",
)
crop = click.option(
    "--crop",
    type=click.Choice(["main", "summer", "winter"]),
    default="main",
    show_default=True,
    help="Crops of the crop calendar; main: those that cover more land, of a given calendar the "
    "summer crops.",
)
cloud = click.option(
    "--max-cloud",
    "--cloud_cover_max",
    "-ccx",
    "cloud",
    type=click.FloatRange(0, 100, min_open=True),
    default=75.0,
    show_default=True,
    help="Cloud cover of a scene in percent must be below this.",
)
target = click.option(
    "--views",
    "target",
    type=click.IntRange(1, 40),
    default=5,
    show_default=True,
    help="Clear views wanted per pixel.",
)
limit = click.option(
    "--max-scenes",
    "limit",
    type=click.IntRange(1, 40),
    default=10,
    show_default=True,
    help="Scenes per tile and season at most.",
)
mask = click.option(
    "--mask",
    "excluded",
    default=None,
    help="Classes of the cloud mask that are masked [default: the sensor's, SCL 0,1,3,7,8,9,10 for "
    "Sentinel-2].",
)
balance = click.option(
    "--balance/--no-balance",
    default=True,
    show_default=True,
    help="Balance the brightness of different orbits.",
)
crs = click.option(
    "--crs",
    default="auto",
    show_default=True,
    help="Grid of the result: auto, utm, equal-area, or any CRS such as EPSG:3857.",
)
pixel = click.option(
    "--pixel",
    type=click.FloatRange(1, 10_000),
    help="Pixel size of the composite in metres [default: the sensor's, 10 for Sentinel-2].",
)
resampling = click.option(
    "--resampling",
    type=click.Choice(["nearest", "bilinear", "cubic"]),
    default="bilinear",
    show_default=True,
)


class KeptPlace(click.ParamType):
    """A folder, or an address, that others fill as well: no input of a command."""

    name = "path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        """Leave addresses as they are; what is no path either is refused, as it would be kept."""
        place = opt.place.convert(value, param, ctx)
        if isinstance(place, Path):
            checked: Path = LocalPath(path_type=Path).convert(value, param, ctx)
            return checked
        return place


kept = click.option(
    "--mosaic",
    type=KeptPlace(),
    default=None,
    metavar="FOLDER",
    help="Keep the composites of whole tiles in this folder or at this address (s3://, gs://, "
    "az://), for other runs, machines, models and areas: what is there is neither searched nor "
    "composed again.",
)
kept_zarr = click.option(
    "--mosaic-zarr",
    is_flag=True,
    help="With --mosaic: keep each composite as a Zarr, too, which xarray opens.",
)
mosaic = opt.group(kept, kept_zarr)

price = click.option(
    "--price",
    type=click.FloatRange(0),
    default=0.05,
    show_default=True,
    help="Dollars per core and hour, for the cost that --dry-run prints.",
)

imagery = click.option(
    "--imagery",
    default=None,
    metavar="NAME[@ADDRESS]",
    help="With --year: map from quarterly cloudless mosaics instead of scenes: ftw-mosaics (open), "
    "cdse-mosaics (your keys), or a copy of them at a folder or address.",
)

NO_PRICE = "what a map costs is printed by --dry-run only"
"""Why a price has no effect."""
AREA_ONLY = (
    "provider",
    "dates",
    "season_rule",
    "calendar",
    "crop",
    "cloud",
    "target",
    "limit",
    "excluded",
    "balance",
    "crs",
    "pixel",
    "resampling",
    "mosaic",
    "mosaic_zarr",
    "price",
)
"""Names of the options below."""
SCENES_ONLY = (
    "provider",
    "cloud",
    "target",
    "limit",
    "excluded",
    "balance",
    "mosaic",
    "mosaic_zarr",
    "price",
)
"""Names of the options that choose scenes, of which a mosaic is made already, or price them."""
SEASONS_ONLY = ("dates", "season_rule", "calendar", "crop")
MADE_ALREADY = "with --imagery the mosaics are made already"
"""Why options of scenes have no effect there."""
search_options = opt.group(
    provider, dates, rule, calendar, crop, cloud, target, limit, mask, balance
)
grid_options = opt.group(crs, pixel, resampling)


@dataclass(frozen=True, kw_only=True)
class SearchChoice:
    """Which scenes are searched and taken, as it was given."""

    provider: str
    dates: tuple[str, str] | None
    season_rule: str
    calendar: Path | None
    crop: str
    cloud: float
    target: int
    limit: int
    excluded: str | None
    balance: bool
    crs: str | None = None
    pixel: float | None = None
    resampling: Literal["nearest", "bilinear", "cubic"] | None = None
    mosaic: Place | None = None
    mosaic_zarr: bool = False

    def area_options(self) -> AreaOptions:
        """Return the options of a composite; the grid is the library's where the verb has none."""
        from selion import imagery
        from selion.pipeline.areas import AreaOptions

        usual = AreaOptions()
        provider = imagery.find_provider(self.provider, perhaps_gone=self.mosaic is not None)
        sensor = imagery.find_sensor(provider.sensor)
        return AreaOptions(
            provider=self.provider,
            seasons=imagery.given_seasons(*self.dates, sensor) if self.dates else None,
            rule=self.season_rule,
            calendar=self.calendar,
            crop=self.crop,
            cloud=self.cloud,
            target=self.target,
            limit=self.limit,
            excluded=None
            if self.excluded is None
            else imagery.parse_excluded(self.excluded, sensor.mask),
            balance=self.balance,
            crs=self.crs or usual.crs,
            gsd=self.pixel or usual.gsd,
            resampling=self.resampling or usual.resampling,
            mosaic=self.mosaic,
            mosaic_zarr=self.mosaic_zarr,
        )

    def mosaic_options(self) -> MosaicOptions:
        """Return how quarterly mosaics are chosen and joined."""
        from functools import partial

        from selion import imagery
        from selion.pipeline.area_options import check_season_wishes
        from selion.world.mosaics import MosaicOptions

        usual = MosaicOptions()
        seasons = imagery.given_seasons(*self.dates) if self.dates else None
        check_season_wishes(seasons, self.season_rule, self.calendar, self.crop)
        return MosaicOptions(
            seasons=seasons,
            find=partial(
                imagery.find_seasons,
                rule=self.season_rule,
                crop=self.crop,
                calendar=self.calendar,
            ),
            crs=self.crs or usual.crs,
            gsd=self.pixel or usual.gsd,
            resampling=self.resampling or usual.resampling,
        )


def print_survey(survey: Survey, say: Reporter, *, as_json: bool) -> None:
    """Print what would be used per tile and season, and why."""
    rows = survey.rows()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "event": "scenes",
                    "rows": rows,
                    "refused": [list(pair) for pair in survey.refused],
                    "notes": list(survey.notes),
                }
            )
        )
        return
    for note in survey.notes:
        say.note(note)
    click.echo(
        f"{'tile':<7} {'season':<9} {'from':<10} {'to':<10} {'looked':>6} {'taken':>5} "
        f"{'seen':>6} {'deep':>6}  dates"
    )
    for row in rows:
        taken = " ".join(row["dates"])
        click.echo(
            f"{row['tile']:<7} {row['season']:<9} {row['start']} {row['end']} "
            f"{row['candidates']:>6} {row['taken']:>5} {row['seen']:>6.1%} {row['deep']:>6.1%}  "
            f"{taken}"
        )
    for season, why in dict.fromkeys((row["season"], row["why"]) for row in rows):
        click.echo(f"{season}: {why}")
    click.echo(
        f"seen: share of pixels with a clear view; deep: with {survey.options.target} or more"
    )
    for name, why in survey.refused:
        say.note(f"left out: {name}: {why}")


def print_cost(cost: Cost, *, as_json: bool) -> None:
    """Print what a map would take."""
    facts = cost.facts()
    if as_json:
        click.echo(json.dumps({"event": "cost", **facts}))
        return
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):<26} {value}")


class AreaCommand(click.Command):
    """A verb whose first argument may be a box that begins with a minus, which is not an option."""

    def make_parser(self, ctx: click.Context) -> Any:
        """Hide the minus of a box behind a space, which the area's reader strips."""
        parser = super().make_parser(ctx)
        usual = parser.parse_args
        parser.parse_args = lambda args: usual(  # type: ignore[method-assign]
            [f" {word}" if BOX.fullmatch(word) else word for word in args]
        )
        return parser


@click.command(
    "scenes",
    cls=AreaCommand,
    help=(
        "List the scenes that a composite of AREA and YEAR would use, per tile and season, and why."
    ),
)
@click.argument("area")
@click.argument("year", type=int)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Also write the choice, scene by scene, as JSON.",
)
@search_options
@opt.force
@opt.as_json
@opt.quiet
def scenes_command(area: str, year: int, out: Path | None, **values: Any) -> None:
    """Search and choose."""
    given, search = opt.taken(opt.VerbChoice, values), opt.taken(SearchChoice, values)
    from selion import store
    from selion.pipeline import areas

    if out is None:
        opt.refuse_given(["force"], opt.NO_FILE)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        if out is not None:
            store.check_output(out, given.force)
        survey = areas.survey_area(area, year, search.area_options(), on_step=say.step)
        print_survey(survey, say, as_json=given.as_json)
    if out is not None:
        areas.write_survey(survey, out, force=given.force)
        click.echo(json.dumps({"event": "done", "path": str(out)}) if given.as_json else str(out))


@click.command(
    "composite",
    cls=AreaCommand,
    help=(
        "Make a cloud-free composite of two seasons for AREA and YEAR: .zarr (for "
        "prediction) or .tif (a COG)."
    ),
)
@click.argument("area")
@click.argument("year", type=int)
@running.out
@click.option(
    "--tiles",
    type=click.Path(path_type=Path),
    default=None,
    help="Also keep the composite of each tile and season, with a GDAL tile index, here.",
)
@search_options
@grid_options
@mosaic
@running.work
@running.options
@price
@opt.force
@opt.dry_run
@opt.as_json
@opt.quiet
def composite_command(
    area: str, year: int, out: Path | str, tiles: Path | None, price: float, **values: Any
) -> None:
    """Search, choose, compose and join."""
    given, search = opt.taken(running.RunChoice, values), opt.taken(SearchChoice, values)
    from selion.pipeline import areas, composites
    from selion.pipeline.cost import estimate_area
    from selion.pipeline.probabilities import RunReport
    from selion.runners import open_runner

    began, report = time.monotonic(), RunReport()
    _refuse_cube(out)
    if not given.dry_run:
        opt.refuse_given(["price"], NO_PRICE)
    with (
        reporter(quiet=given.quiet, as_json=given.as_json) as say,
        running.placed(
            out,
            given.work,
            force=given.force or given.dry_run,
            dry=given.dry_run,
            alone=False,  # its parts are called by what they are of
        ) as place,
    ):
        _check(place, tiles, force=given.force, dry_run=given.dry_run)
        kept = None if given.dry_run else areas.work_folder(place.out, place.work)
        survey = areas.survey_area(area, year, search.area_options(), work=kept, on_step=say.step)
        if not given.quiet or given.dry_run:
            print_survey(survey, say, as_json=given.as_json)
        if given.dry_run:
            print_cost(estimate_area(survey, None, None, price), as_json=given.as_json)
            return
        with (
            open_runner(given.runner_options()) as runner,
            report.stages.during("composite"),
        ):
            result = composites.write_composite(
                survey,
                place.out,
                tiles=tiles,
                work=place.work,
                force=given.force,
                runner=runner,
                far=place.journal,
                on_step=say.step,
                on_note=say.note,
            )
        facts = (
            result.facts()
            | running.tell(report, place, time.monotonic() - began, given)
            | {"seconds": round(time.monotonic() - began, 1)}
        )
        address = place.publish(report)
    if given.as_json:
        click.echo(json.dumps({"event": "done", "path": address, **facts}))
        return
    if not given.quiet:
        for name, value in facts.items():
            click.echo(f"{name.replace('_', ' '):<16} {value}", err=True)
    click.echo(address)


def _refuse_cube(out: Path | str) -> None:
    """Refuse a .zarr on an object store, before the store is asked for anything."""
    if isinstance(out, str) and out.lower().rstrip("/").endswith(".zarr"):
        raise click.UsageError(
            "A .zarr is a folder for prediction on this machine: give a name that ends in .tif to "
            "write to an object store."
        )


def _check(place: running.OutputPlace, tiles: Path | None, *, force: bool, dry_run: bool) -> None:
    """Refuse what cannot be written, before any work is done."""
    from selion.pipeline import composites

    if place.journal is not None and tiles is not None:
        raise click.UsageError(
            "--tiles was given, but the tiles' composites go to an object store: leave it out."
        )
    if not dry_run:
        composites.check_name(place.out, force=force)
