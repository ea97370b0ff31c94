"""``selion sample`` and ``selion estimate``: a quality that one can publish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.imagery import AreaCommand
from selion.cli.map_choices import LandCoverChoice
from selion.cli.progress import reporter

if TYPE_CHECKING:
    from selion.store import Place

folder = click.Path(path_type=Path)


@dataclass(frozen=True, kw_only=True)
class SampleChoice(opt.VerbChoice, LandCoverChoice):
    """Options of ``selion sample``, as they were given."""

    size: int
    error: float | None
    expected: float
    least: int
    breaks: str
    near: float
    districts: Place | None
    district_column: str | None
    unit: float
    seed: int
    objects: bool
    sizes: str | None


SAMPLE_HELP = """Draw a stratified random sample of AREA, to find out how good MAP is.

MAP is a folder of 'selion merge' or a table of fields, AREA a file of polygons or
west,south,east,north. OUT gets points.csv and points.geojson, in which people write field or other
(column reference), and queue.parquet, which 'selion review' shows (a: field, r: other). 'selion
estimate OUT' turns the answers into accuracy and area with intervals. With --objects fields
themselves are drawn, and judged right, merged, split, shifted or false."""
GROUND_ONLY = ("near", "unit", "land_cover", "crop_codes")
"""Options that part ground, and not fields."""


@click.command("sample", cls=AreaCommand, help=SAMPLE_HELP)
@click.argument("area")
@click.argument("map_", metavar="MAP", type=opt.place)
@click.option("-o", "--out", type=folder, required=True, help="Folder of the sample.")
@click.option(
    "--count",
    "size",
    type=click.IntRange(2),
    default=500,
    show_default=True,
    help="Units of the sample.",
)
@click.option(
    "--error",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Choose the size for this standard error of the overall accuracy instead.",
)
@click.option(
    "--expected",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.85,
    show_default=True,
    help="With --error: the accuracy that is expected.",
)
@click.option(
    "--least-count",
    "least",
    type=click.IntRange(2),
    default=50,
    show_default=True,
    help="Units of each stratum at least.",
)
@click.option(
    "--confidence",
    "breaks",
    default="0.6,0.8",
    show_default=True,
    help="Confidences that part fields into strata; none: they are one stratum.",
)
@click.option(
    "--near",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Metres around fields that are a stratum of their own, because most omissions lie there.",
)
@click.option(
    "--objects",
    is_flag=True,
    help="Draw fields of the map instead of squares of the ground: how many of them are right.",
)
@click.option(
    "--sizes",
    default=None,
    metavar="HA,HA",
    help="With --objects: hectares that part fields into strata, such as 0.5,2.",
)
@click.option(
    "--districts",
    type=opt.place,
    default=None,
    help="Polygons: each is a stratum, and estimated by itself.",
)
@click.option("--district-column", default=None, help="Column of the districts' names.")
@opt.land_cover
@opt.crop_codes
@click.option(
    "--unit",
    type=click.FloatRange(0.1, 1000),
    default=10.0,
    show_default=True,
    help="Edge of a unit in metres.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Another number gives another sample.",
)
@opt.force
@opt.as_json
@opt.quiet
def sample_command(area: str, map_: Place, out: Path, **values: Any) -> None:
    """Draw."""
    given = opt.taken(SampleChoice, values)
    from selion import imagery, survey

    options = _options(given)
    place = imagery.read_area(area)
    if given.objects:
        _draw_objects(given, place, map_, out, options)
        return
    opt.refuse_given(["sizes"], "it parts fields, and squares are drawn without --objects")
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        for note in place.notes:
            say.note(note)
        design = survey.draw_sample(map_, place, out, options, force=given.force, on_step=say.step)
        for note in design.notes:
            say.note(note)
    facts: dict[str, Any] = {"units": design.drawn, "population": design.units}
    if not given.as_json:
        facts |= {s.name: f"{s.drawn:,} of {s.units:,}" for s in design.strata}
    else:
        facts["strata"] = [
            {"name": s.name, "units": s.units, "drawn": s.drawn} for s in design.strata
        ]
    opt.print_result(out, facts, given, max(18, *(len(s.name) + 2 for s in design.strata)))


def _draw_objects(given: SampleChoice, area: Any, map_: Place, out: Path, options: Any) -> None:
    """Draw fields."""
    from selion import survey

    opt.refuse_given(GROUND_ONLY, "with --objects fields are drawn, not squares of the ground")
    sizes = () if given.sizes is None else _numbers("--sizes", given.sizes)
    design = survey.draw_objects(map_, area, out, options, sizes, force=given.force)
    facts: dict[str, Any] = {"fields": design.drawn, "of": design.fields}
    if given.as_json:
        facts["strata"] = [
            {"name": s.name, "fields": s.fields, "drawn": s.drawn} for s in design.strata
        ]
    else:
        facts |= {s.name: f"{s.drawn:,} of {s.fields:,}" for s in design.strata}
    opt.print_result(out, facts, given, max(18, *(len(s.name) + 2 for s in design.strata)))


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from selion.errors import BadInput

    try:
        return tuple(float(value) for value in text.split(","))
    except ValueError as error:
        raise BadInput(
            f"{option} {text!r} was given; wanted are numbers parted by commas"
            f"{', or none' if option == '--confidence' else ''}."
        ) from error


def _options(given: SampleChoice) -> Any:
    from click.core import ParameterSource

    from selion.metrics.area_estimation import required_size
    from selion.survey import SampleOptions

    context = click.get_current_context()

    def typed(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    if given.error is not None and typed("size"):
        raise click.UsageError("--count and --error both say how large the sample is: omit one.")
    if given.error is None and typed("expected"):
        raise click.UsageError("--expected belongs to --error: add that, or omit it.")
    if given.district_column and given.districts is None:
        raise click.UsageError("--district-column belongs to --districts: add that, or omit it.")
    breaks = () if given.breaks.strip() == "none" else _numbers("--confidence", given.breaks)
    return SampleOptions(
        size=given.size if given.error is None else required_size(given.expected, given.error),
        least=given.least,
        breaks=breaks,
        near=given.near,
        districts=given.districts,
        district_column=given.district_column,
        land_cover=given.land_cover_options(),
        unit=given.unit,
        seed=given.seed,
    )


@click.command(
    "estimate",
    help=(
        "Estimate accuracy and area, with intervals of 95 %, from a SAMPLE that people have judged."
    ),
)
@click.argument("sample", type=folder)
@click.option("-o", "--out", type=folder, required=True, help="Folder of the report and tables.")
@click.option(
    "--answers",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=(
        "Answers (.csv, .geojson, or the .jsonl of a review); one for each person "
        "[default: those in SAMPLE]."
    ),
)
@opt.force
@opt.as_json
@opt.quiet
def estimate_command(sample: Path, out: Path, answers: tuple[Path, ...], **values: Any) -> None:
    """Estimate."""
    given = opt.taken(opt.VerbChoice, values)
    from selion import store, survey
    from selion.reports.survey import PAGE, to_html
    from selion.store.apart import check_apart
    from selion.survey.estimates import ESTIMATED

    check_apart(out, sample, *answers)
    store.check_output(out, given.force, ESTIMATED)
    if survey.is_object_sample(sample):
        _estimate_objects(sample, out, answers, given)
        return
    found = survey.estimate_sample(sample, answers)
    survey.write_estimates(found, out, {PAGE: to_html(found)}, force=given.force)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        for note in found.notes:
            say.note(note)
    field, hectares = found.whole.by_class["field"], found.hectares()
    facts = {
        "answers": sum(found.answered),
        "mapped_ha": round(field.mapped * hectares, 1),
        "estimated_ha": round(field.area.value * hectares, 1),
        "half_width_ha": round(field.area.half_width * hectares, 1),
        "overall_accuracy": round(found.whole.overall.value, 4),
        "users_accuracy": round(field.users.value, 4),
        "producers_accuracy": round(field.producers.value, 4),
    }
    opt.print_result(out / PAGE, facts, given)


def _estimate_objects(
    sample: Path, out: Path, answers: tuple[Path, ...], given: opt.VerbChoice
) -> None:
    """Estimate from a sample of fields."""
    from selion import survey
    from selion.reports.survey import PAGE, objects_to_html

    found = survey.estimate_objects(sample, answers)
    survey.write_object_estimates(found, out, {PAGE: objects_to_html(found)}, force=given.force)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        for note in found.notes:
            say.note(note)
    right, by_area = found.by_number["all"]["right"], found.by_area["all"]["right"]
    facts = {
        "answers": sum(found.answered),
        "right": round(right.value, 4),
        "half_width": round(right.half_width, 4),
        "right_by_area": round(by_area.value, 4),
        "half_width_by_area": round(by_area.half_width, 4),
        **{
            name: round(one.value, 4)
            for name, one in found.by_number["all"].items()
            if name != "right"
        },
    }
    opt.print_result(out / PAGE, facts, given)
