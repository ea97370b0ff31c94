"""``selion crops``: a folder of close-range photographs becomes masks, overlays and tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.adapt import adapt_command
from selion.cli.codes import codes_command
from selion.cli.default_verb import DefaultVerb
from selion.cli.plots import plots_command
from selion.cli.progress import reporter
from selion.cli.trial import trial_command

if TYPE_CHECKING:
    from selion.closerange import CropRun

SHOWN = 10
"""Failed photographs that are named at the end; all are in ``failed.csv``."""
positive = click.FloatRange(min=0, min_open=True)
NAMESAKE = "photos"
"""What the verb is called, and the folder of most people's photographs too."""


@dataclass(frozen=True, kw_only=True)
class CropsChoice(opt.VerbChoice):
    """Options of ``selion crops``, as they were given."""

    model: str | None
    gsd: float | None
    marker: float | None
    scale: float | None
    window: int | None
    overlap: float | None
    flips: bool
    min_area: int | None
    overlays: bool
    card: Path | None
    corners: str | None
    flat: Path | None
    workers: int | None
    engine: str
    fast: bool


class FolderOrVerb(DefaultVerb):
    """``selion crops FOLDER`` measures photographs; ``adapt``, ``codes`` ... are verbs."""

    default = NAMESAKE


@click.group(
    "crops",
    cls=FolderOrVerb,
    help=(
        "Measure crops at close range. 'selion crops FOLDER -o OUT' measures the photographs of a "
        "folder (a folder that is named like another verb: ./plots), 'selion crops photos --help' "
        "lists its options."
    ),
)
def crops_group() -> None:
    """Hold the verbs."""


crops_group.add_command(adapt_command)
crops_group.add_command(codes_command)
crops_group.add_command(plots_command)
crops_group.add_command(trial_command)


@crops_group.command(
    NAMESAKE,
    help=(
        "Measure close-range photographs: masks, overlays, cover with its interval, plants and "
        "leaves with their traits, colour indices, and a flag on what not to trust. FOLDER is "
        "searched with all that is in it. The same command continues an interrupted run, and "
        "measures only what is new or has changed."
    ),
)
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=None, help="Folder of the results."
)
@click.option(
    "-m",
    "--model",
    default=None,
    help=(
        "Name or folder of a model; auto: crops-rgb, and crops-wide for photographs unlike those "
        "that it has learnt from (dark, noisy, of another light); colour: the Canopeo colour rule; "
        "colour-otsu: excess green with Otsu's threshold [default: auto]."
    ),
)
@click.option(
    "--mm-per-pixel",
    "gsd",
    type=positive,
    default=None,
    help="Millimetres a pixel on the ground: sizes come in cm and cm2 as well.",
)
@click.option(
    "--marker",
    type=positive,
    default=None,
    help=(
        "Diameter in mm of the black disc of the printed marker in each photograph: the scale "
        "comes from it."
    ),
)
@click.option(
    "--print-marker",
    type=click.Path(path_type=Path),
    default=None,
    help="Write that marker to this .png or .pdf, to be printed at 100 % [default: 50 mm].",
)
@click.option(
    "--scale",
    type=positive,
    default=None,
    help="Scale photographs by this factor for the model (0.5: half).",
)
@opt.window
@opt.overlap
@opt.flips
@click.option(
    "--min-pixels",
    "min_area",
    type=click.IntRange(1),
    default=None,
    help=(
        "Smallest plant or leaf that is counted, in pixels [default: 0.02 % of the photograph, 30 "
        "at least]."
    ),
)
@click.option(
    "--overlays/--no-overlays",
    default=True,
    show_default=True,
    help="Write overlays and their thumbnails.",
)
@click.option(
    "--colour-card",
    "card",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Photograph with a ColorChecker of 24 patches, in the light and by the camera of the "
        "others: colours are corrected by it before anything is measured."
    ),
)
@click.option(
    "--card-corners",
    "corners",
    default=None,
    metavar="X,Y,...",
    help=(
        "Its four corners in that photograph, x and y in pixels: beside brown, bluish green, "
        "black and white, in this order."
    ),
)
@click.option(
    "--flat-field",
    "flat",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Photograph of something even (paper, cloudy sky), or a folder of many photographs of one "
        "size: the fall-off of light towards the corners is corrected by it."
    ),
)
@click.option(
    "-j",
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Photographs measured at once [default: cores, at most 8].",
)
@opt.engine
@opt.fast
@click.option(
    "-f",
    "--force",
    "--overwrite",
    "force",
    is_flag=True,
    help="Start over where the output holds a run with another model or other options.",
)
@opt.as_json
@opt.quiet
def crops_command(
    folder: Path | None, out: Path | None, print_marker: Path | None, **values: Any
) -> None:
    """Measure a folder, or print a marker, or both."""
    given = opt.taken(CropsChoice, values)
    from selion.closerange import ComputeOptions, measure_folder, write_marker
    from selion.closerange.model import RULES
    from selion.reports.photographs import write_gallery

    if print_marker is not None:
        if folder is None:
            kept = {"folder", "print_marker", "marker", "force"}
            names = {str(one.name) for one in click.get_current_context().command.params} - kept
            opt.refuse_given(names, "a marker is printed and no FOLDER was given")
        click.echo(str(write_marker(print_marker, given.marker or 50.0, force=given.force)))
        if folder is None:
            return
    if folder is None and out is not None and Path(NAMESAKE).is_dir():
        folder = Path(NAMESAKE)  # 'selion crops photos -o out': who types this means the folder
    if folder is None or out is None:
        raise click.UsageError(
            "Wanted are a folder of photographs and the folder of the results: selion crops FOLDER "
            "-o OUT."
        )
    if given.model in RULES:
        opt.refuse_given(
            ["window", "overlap", "flips", "engine", "fast"],
            f"{given.model} is a rule of single pixels, not a network",
        )
    options = _options(given)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        run = measure_folder(
            folder,
            out,
            given.model,
            options,
            ComputeOptions(given.workers, given.engine, given.fast),
            force=given.force,
            on_step=say.step,
            on_note=say.note,
            use=write_gallery,
        )
    _tell(run, as_json=given.as_json, quiet=given.quiet)


def _options(given: CropsChoice) -> Any:
    from selion.closerange import CropOptions, make_correction

    if given.card is None:
        opt.refuse_given(["corners"], "no photograph of a colour card was given by --colour-card")
    correction = None
    if given.card is not None or given.flat is not None:
        corners = None if given.corners is None else _corners(given.corners)
        correction = make_correction(given.card, corners, given.flat)
    return CropOptions(
        correction=correction,
        gsd=given.gsd,
        marker=given.marker,
        scale=given.scale,
        window=given.window,
        overlap=given.overlap,
        flips=given.flips,
        min_area=given.min_area,
        overlays=given.overlays,
    )


def _corners(text: str) -> list[tuple[float, float]]:
    try:
        numbers = [float(part) for part in text.replace(";", ",").replace(" ", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 8:
        raise click.UsageError(
            f"--card-corners {text!r}: wanted are eight numbers, x and y of four corners, for "
            "example 310,220,910,240,900,640,300,620."
        )
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _tell(run: CropRun, *, as_json: bool, quiet: bool) -> None:
    """Print the summary, what failed, and last on standard output the path of the result."""
    facts = {
        "photographs": len(run.rows),
        "finished before": run.reused,
        "failed": len(run.failed),
        "look at": run.untrusted,
        "components": len(run.components),
        "model": run.model,
        "seconds": round(run.seconds.get("wall", 0.0), 1),
    }
    if as_json:
        failed = [{"file": file, "why": why} for file, why in run.failed]
        click.echo(
            json.dumps(
                {
                    "event": "done",
                    "path": str(run.folder),
                    **facts,
                    "notes": list(run.notes),
                    "failures": failed,
                }
            )
        )
        return
    if not quiet:
        for name, value in facts.items():
            click.echo(f"{name:<16} {value}", err=True)
    for file, why in run.failed[:SHOWN]:
        click.echo(f"failed: {file}: {why}", err=True)
    if len(run.failed) > SHOWN:
        click.echo(
            f"... and {len(run.failed) - SHOWN:,} more: see {run.folder / 'failed.csv'}.", err=True
        )
    click.echo(str(run.folder))
