"""``selion plan``: a country in jobs, and what they will take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import imagery as area_cli
from selion.cli import options as opt
from selion.cli.map_choices import map_options
from selion.cli.progress import Reporter, reporter

if TYPE_CHECKING:
    from selion.country import Probe
    from selion.pipeline.choosing import ChosenModel
    from selion.pipeline.maps import MapOptions
    from selion.world import Edition

folder = click.Path(path_type=Path)
OWN = (
    "area",
    "year",
    "out",
    "prices",
    "probe",
    "probe_file",
    "probe_km",
    "probe_at",
    "workers",
    "edge",
    "halo",
    "force",
    "as_json",
    "quiet",
    "scores",
    "consistency",
)
"""Options that are of the plan and not of its jobs."""
ONE_PIECE = (
    "a plan prices what a model takes; maps that are made already are read by 'selion map' itself, "
    "which takes the whole area in one piece, block by block"
)
NOT_TAKEN = {
    "--from": ONE_PIECE,
    "--min-confidence": ONE_PIECE,
    "--crs": "each job has the grid of its UTM zone, in which its square has straight edges",
    "--save_scores": "each job needs the name of the file: --scores fields.scores.tif",
    "--work": "each job keeps its finished parts beside its own table",
    "--runner": "who does the jobs is said when they are done: 'selion run PLAN --runner NAME'",
    "--profile": "the probe times each stage (plan.md, probe.json)",
    "--price": "prices stand in a price sheet: --prices FILE",
    "--dry-run": "a plan does no job: it writes down what each would do and take",
    "--preview": "jobs draw none, and --page has a picture",
    "--no-preview": "jobs draw none anyhow",
}
"""Options of ``selion map`` that a plan does not take -> why."""
PLACES = ("model", "refiner", "land_cover", "provider", "imagery")
"""Options whose text may be the name of a file or a folder; that of others never is."""
HELP = """Split AREA into jobs for 'selion map', and estimate their time and cost.

AREA is a file of polygons (a country), or west,south,east,north. Times are measured on this
machine: --probe runs the whole pipeline over a small window in the middle of the area, --probe-file
takes up an earlier probe. Prices come from a price sheet. 'selion run plan/' does the jobs, 'selion
merge plan/ -o maps/' joins them."""


class PlanCommand(area_cli.AreaCommand):
    """``selion plan``, which says why it does not take what ``selion map`` takes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what belongs to the map of one area."""
        for word in args:
            name = word.partition("=")[0]
            if word == "--":
                break
            if name in NOT_TAKEN:
                raise click.UsageError(f"A plan takes no {name}: {NOT_TAKEN[name]}.", ctx)
        return super().parse_args(ctx, args)


@dataclass(frozen=True, kw_only=True)
class PlanChoice(opt.VerbChoice):
    """Options of ``selion plan``, as they were given."""

    probe_km: float
    probe_at: str | None
    workers: int
    edge: float
    halo: float
    model: str | None
    imagery: str | None
    scores: Path | None
    consistency: Path | None


@click.command("plan", cls=PlanCommand, help=HELP)
@click.argument("area")
@click.option("--year", type=int, required=True, help="Year of the harvest.")
@click.option("-o", "--out", type=folder, required=True, help="Folder of the plan.")
@click.option(
    "--prices",
    type=folder,
    default=None,
    help="Price sheet (TOML) [default: the packaged one; its numbers are assumptions].",
)
@click.option("--probe", is_flag=True, help="Measure now: the whole pipeline over a small window.")
@click.option(
    "--probe-file", type=folder, default=None, help="Reuse the probe.json of an earlier plan."
)
@click.option(
    "--probe-km",
    type=click.FloatRange(0.5, 50),
    default=5.0,
    show_default=True,
    help="Edge of the probe's window.",
)
@click.option(
    "--probe-at",
    default=None,
    metavar="BOX",
    help=(
        "Probe in this box (west,south,east,north) or file of polygons [default: inside the area]."
    ),
)
@click.option(
    "--cluster-workers",
    "workers",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="Simulate clusters of up to this many workers.",
)
@click.option(
    "--edge",
    type=click.FloatRange(1, 500),
    default=51.2,
    show_default=True,
    help="Edge of a job's square in km.",
)
@click.option(
    "--halo",
    type=click.FloatRange(0.1, 50),
    default=1.0,
    show_default=True,
    help="Margin around each job's square in km.",
)
@opt.model
@area_cli.imagery
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    default=None,
    help="Each job also writes its class probabilities to a COG of this name in its own folder.",
)
@click.option(
    "--consistency",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Each job also writes the consistency of its map, of four passes shifted and mirrored, to "
        "a COG of this name in its own folder (4 times slower)."
    ),
)
@opt.field_options
@opt.land_cover_options
@opt.window_options
@opt.model_options
@area_cli.search_options
@area_cli.pixel
@area_cli.resampling
@area_cli.mosaic
@opt.page
@opt.force
@opt.as_json
@opt.quiet
def plan_command(
    area: str,
    year: int,
    out: Path,
    prices: Path | None,
    probe: bool,
    probe_file: Path | None,
    **values: Any,
) -> None:
    """Plan."""
    given = opt.taken(PlanChoice, values)
    from selion import country, imagery, store
    from selion.country.planning import PLAN
    from selion.reports.seasons import write_seasons

    search = opt.taken(area_cli.SearchChoice, values)
    mapped = map_options({**values, "runner": "serial", "workers": None, "profile": False})
    edition = _edition(given.imagery, year)
    _check_jobs(given.model, area, year, search, mapped.speaking)
    scores, consistency = _raster_names(given)
    _check_belonging(values["refiner"], probe=probe, probe_file=probe_file)
    store.check_output(out, given.force, PLAN)
    sheet, place = country.read_prices(prices), imagery.read_area(area)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        choice = _one_model(given.model, place, search, edition)
        for note in (*place.notes, *filter(None, [choice.why])):
            say.note(note)
        asked = replace(given, model=str(choice.name))
        measured = _measured(probe_file, place, year, asked, search, mapped, edition)
        if probe_file is not None and values["refiner"] is None:
            _warn_of_another(measured.model, choice, say)
        edge, halo = 1000 * given.edge, 1000 * given.halo
        made = country.make_plan(
            place,
            year,
            measured,
            sheet,
            edge=edge,
            halo=halo,
            words=[*_words(), *([] if given.model else ["--model", str(choice.name)])],
            most=given.workers,
            scores=scores,
            consistency=consistency,
            options=search.area_options(),
        )
        country.write_plan(made, out, force=given.force)
        if made.seasons:
            write_seasons(made.seasons, out / "seasons.svg")
    if given.as_json:
        click.echo(json.dumps({"event": "done", "path": str(out), **made.costs()}))
        return
    if not given.quiet:
        click.echo(country.shown_plan(made))
    click.echo(str(out))


def _check_belonging(refiner: str | None, *, probe: bool, probe_file: Path | None) -> None:
    """Refuse options without what they belong to."""
    if refiner is None:
        opt.refuse_given(["cover"], "no --refine draws outlines")
    if probe == (probe_file is not None):
        raise click.UsageError(
            "A plan needs measured times: add --probe to measure now (some minutes), or "
            "--probe-file with the probe.json of an earlier plan; not both."
        )
    if not probe:
        opt.refuse_given(["probe_km", "probe_at"], "--probe-file was measured before")


def _raster_names(given: PlanChoice) -> tuple[str | None, str | None]:
    """Return the names of each job's class probabilities and of its consistency."""
    scores, consistency = (
        _raster_name(name, getattr(given, name)) for name in ("scores", "consistency")
    )
    if scores is not None and scores == consistency:
        raise click.UsageError(f"--scores and --consistency were both called {scores}.")
    return scores, consistency


def _raster_name(option: str, path: Path | None) -> str | None:
    """Return the name of a raster of each job; places are refused."""
    if path is not None and (path.name != str(path) or path.suffix.lower() != ".tif"):
        raise click.UsageError(
            f"--{option} {path} was given; wanted is the name of a file alone, such as "
            f"fields.{option}.tif: each job writes it into its own folder."
        )
    return None if path is None else path.name


def _check_jobs(
    model: str | None,
    area: str,
    year: int,
    search: area_cli.SearchChoice,
    speaking: Mapping[str, Any],
) -> None:
    """Refuse what each job would refuse: a model that is none, seasons that cannot be found."""
    from selion import imagery
    from selion.models import find_card
    from selion.models.language.speaking import speaking_card
    from selion.pipeline.area_options import check_year_of_dates

    if model is not None:
        speaking_card(find_card(model), speaking)
    elif speaking:
        opt.refuse_given(
            ["samples", "grammar", "answer_scores"], "no --model names a language model"
        )
    options = search.area_options()
    if options.seasons is None:
        imagery.find_seasons(
            imagery.read_area(area), year, options.rule, options.crop, options.calendar
        )
    check_year_of_dates(options.seasons, year)


def _edition(imagery: str | None, year: int) -> Edition | None:
    """Return the mosaics that the jobs map from; None: they compose scenes."""
    from selion.world.editions import wanted_edition

    if imagery is None:
        return None
    opt.refuse_given(area_cli.SCENES_ONLY, area_cli.MADE_ALREADY)
    edition = wanted_edition(imagery, "imagery")
    edition.check_year(year)
    return edition


def _measured(
    path: Path | None,
    place: Any,
    year: int,
    given: PlanChoice,
    search: area_cli.SearchChoice,
    options: MapOptions,
    edition: Edition | None,
) -> Probe:
    """Return the times of the jobs: those of a file, or measured now.

    Times of scenes are refused for mosaics, and the other way round.
    """
    from selion import country, imagery

    if path is not None:
        probe, wanted = country.read_probe(path), "" if edition is None else edition.name
        if probe.imagery != wanted:
            raise click.UsageError(
                f"{path} was measured on {probe.imagery or 'scenes'}, and the jobs take "
                f"{wanted or 'scenes'} {'(--imagery)' if wanted else '(no --imagery)'}: measure "
                "again with --probe."
            )
        return probe
    where = place if given.probe_at is None else imagery.read_area(given.probe_at)
    if edition is not None:
        return country.probe_mosaics(
            where, year, edition, options, given.model, search.mosaic_options(), km=given.probe_km
        )
    return country.probe_pipeline(
        where, year, search.area_options(), options, given.model, km=given.probe_km
    )


def _one_model(
    named: str | None, place: Any, search: area_cli.SearchChoice, edition: Edition | None
) -> ChosenModel:
    """Return the model of all jobs: the one that was named, or that for the whole area's size.

    Left to itself each job would choose by its own size, and fields of two models would meet.
    """
    from selion.pipeline import areas
    from selion.pipeline.choosing import ImageSize, choose_model, composite_bands

    if named:
        return _for_mosaics(named, edition)
    if edition is not None:
        from selion.world.imagery_map import usual_model

        return usual_model(edition, place, search.mosaic_options())
    options = search.area_options()
    size = ImageSize.of_land(place.km2, options.pixel)
    return choose_model(composite_bands(areas.sensor_of(options).bands), size)


def _for_mosaics(named: str, edition: Edition | None) -> ChosenModel:
    """Return a model by its name; one of all quarters wants no seasons."""
    from selion.models import find_card
    from selion.pipeline.choosing import ChosenModel
    from selion.world.quarters import is_quarterly

    if edition is not None and is_quarterly(find_card(named).inputs):
        opt.refuse_given(area_cli.SEASONS_ONLY, f"{named} looks at all quarters")
    return ChosenModel(named)


def _warn_of_another(measured: str, choice: ChosenModel, say: Reporter) -> None:
    from selion.models import find_card

    taken = find_card(choice.name).name
    if measured != taken:
        say.note(
            f"The times were measured with {measured}, and the jobs take {taken}: measure again "
            f"with --probe, or take --model {measured}."
        )


def _words() -> list[str]:
    """Return the options of the jobs, as they were given."""
    context = click.get_current_context()
    words: list[str] = []
    for option in context.command.params:
        name = str(option.name)
        if (
            not isinstance(option, click.Option)
            or name in OWN
            or context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE
        ):
            continue
        value = context.params[name]
        if isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
        else:
            for one in value if option.multiple else (value,):
                words += [option.opts[0], *_said(one, name)]
    return words


def _said(value: Any, option: str) -> list[str]:
    """Return what was said once of an option, which may be two words."""
    words = value if isinstance(value, tuple) else (value,)
    return [
        str(word.resolve()) if isinstance(word, Path) else _found(str(word), option)
        for word in words
    ]


def _is_name(text: str, option: str) -> bool:
    """Tell whether a word is a name, which it means before any folder of that name."""
    from selion.imagery.providers import find_provider, known_providers
    from selion.models import list_models
    from selion.models.registry import aliases
    from selion.pipeline.cover_tiles import WORLDCOVER
    from selion.world.editions import EDITIONS

    if option == "land_cover":
        return text == WORLDCOVER
    if option == "provider":
        return find_provider(text, perhaps_gone=True).name in known_providers()
    if option == "imagery":
        return text in EDITIONS
    return text == "own" or text in {card.name for card in list_models()} | set(aliases())


def _found(text: str, option: str) -> str:
    """Make the name of something on disk hold in every folder; NAME@FOLDER, too."""
    if option not in PLACES or _is_name(text, option):
        return text
    name, at, place = text.rpartition("@")
    if at and Path(place).exists():
        return f"{name}@{Path(place).resolve()}"
    return str(Path(text).resolve()) if Path(text).exists() else text
