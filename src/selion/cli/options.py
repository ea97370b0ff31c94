"""Each command line option once; a verb picks the groups it needs.

The option names of ``ftw`` (underscores) are accepted where they mean the same.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selion.cli.private import LocalPath

if TYPE_CHECKING:
    from selion.store import RemotePath

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbChoice:
    """How a verb speaks, and whether it may replace what is there."""

    as_json: bool = False
    quiet: bool = False
    force: bool = False


def located(given: Path | str) -> Path | RemotePath:
    """Return where something lies; as text it has no signature."""
    from selion.store import locate

    return locate(given.strip() if isinstance(given, str) else given)


class PlaceType(click.ParamType):
    """A path, or the address of something on a server."""

    name = "path"

    def __init__(self, *, exists: bool = False) -> None:
        self.exists = exists

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | RemotePath:
        """Leave addresses as they are: a path would swallow one of their slashes."""
        found = located(value)
        if isinstance(found, Path):
            checked: Path = click.Path(path_type=Path, exists=self.exists).convert(
                value, param, ctx
            )
            return checked
        return found


place = PlaceType()
there = PlaceType(exists=True)


NO_FILE = "nothing is written without --out"
"""Why replacing a file has no effect."""


def refuse_given(names: Collection[str], because: str) -> None:
    """Refuse options that were given on the command line and would have no effect."""
    context = click.get_current_context(silent=True)
    if context is None:
        return  # not called from a command line
    given = [
        param.opts[0]
        for param in context.command.params
        if param.name in names
        and context.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} has no effect, because {because}.")


def print_result(
    path: Path | RemotePath | str | None,
    facts: Mapping[str, Any],
    given: VerbChoice,
    width: int = 18,
) -> None:
    """Print the summary, its names ``width`` wide; last, on standard output, the path."""
    if given.as_json:
        done = {"event": "done", "path": None if path is None else str(path)}
        click.echo(json.dumps(done | {name: _known(value) for name, value in facts.items()}))
        return
    if not given.quiet:
        for name, value in facts.items():
            if value is not None:
                click.echo(f"{name.replace('_', ' '):<{width}} {value}", err=True)
    if path is not None:
        click.echo(str(path))


def _known(value: Any) -> Any:
    """Return None for a number that is not known: JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def taken(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the options of one kind out of what click has parsed.

    Parameters
    ----------
    kind : type
        A frozen dataclass; its fields are called as the parameters of the command.
    values : mapping
        What the command was called with.  Other options are left to other kinds; a field that the
        command has no option for keeps its default.
    """
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in names})


NO_OUTPUT = "Say which file is to be written: -o NAME, after what is read."


class OutputPath(LocalPath):
    """A file to write, that says so where it is not given."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:  # noqa: ARG002  # click's signature
        """Return what to add where the option is missing."""
        return NO_OUTPUT


out = click.option(
    "-o",
    "--out",
    type=OutputPath(path_type=Path),
    required=True,
    help="Output file; its ending decides the format.",
)
force = click.option(
    "-f",
    "--force",
    "--overwrite",
    "force",
    is_flag=True,
    help="Replace the output if it exists (once the new one is whole).",
)
dry_run = click.option(
    "--dry-run", is_flag=True, help="Print the plan and an estimate from a short probe, and stop."
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print progress and the summary as JSON lines."
)
quiet = click.option(
    "-q", "--quiet", is_flag=True, help="Print nothing but the path of the result."
)
preview = click.option(
    "--preview/--no-preview",
    default=True,
    show_default=True,
    help="Write a PNG of the result beside the output.",
)
page = click.option(
    "--page",
    is_flag=True,
    help="Also write OUT.report.html: picture, sizes, confidences, what it was made from.",
)

model = click.option(
    "-m",
    "--model",
    default=None,
    help=(
        "Model name or folder; without it the packaged model that fits the bands is taken, and of "
        "two sizes the one for the image's size."
    ),
)
refine = click.option(
    "--refine",
    "refiner",
    default=None,
    help=(
        "Separate objects with a boundary model (of 'selion train epoc'), or by the model's 'own' "
        "boundary."
    ),
)
cover = click.option(
    "--cover",
    type=click.Choice(["mask", "all"]),
    default="mask",
    show_default=True,
    help=(
        "With --refine: objects lie where the model says so, or every pixel joins a basin and "
        "coarse masks move to the outlines."
    ),
)
engine = click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime", "cuda", "mps", "torch"]),
    default="auto",
    show_default=True,
    help="Inference engine.",
)
gpu = click.option(
    "--gpu",
    type=int,
    default=None,
    hidden=True,
    help="ftw alias: -1 is the CPU, 0 or more is cuda.",
)
mps_mode = click.option("--mps_mode", is_flag=True, hidden=True, help="ftw alias of --engine mps.")
fast = click.option(
    "--fast",
    is_flag=True,
    help="Compute in bfloat16 where the processor has it; the share of changed pixels is printed.",
)
threads = click.option(
    "--threads",
    "--num_workers",
    type=click.IntRange(1),
    default=None,
    help="CPU threads of the engine [default: all].",
)
samples = click.option(
    "--samples",
    type=click.IntRange(1),
    default=None,
    help="Answers of a language model to each question, which vote [default: its card's].",
)
grammar = click.option(
    "--grammar",
    type=click.Choice(["selion", "xgrammar", "none"]),
    default=None,
    help="What keeps a language model's answers to masks [default: its card's].",
)
answer_scores = click.option(
    "--answer-scores",
    type=click.Choice(["votes", "labels"]),
    default=None,
    help="Scores of a language model's answers: what is written is sure, or as sure as the model "
    "was of its labels [default: its card's].",
)

window = click.option(
    "--window",
    "--patch_size",
    "-ps",
    type=click.IntRange(32),
    default=None,
    help="Edge of a window in pixels [default: the model's].",
)
overlap = click.option(
    "--overlap",
    type=click.FloatRange(0, 0.75),
    default=None,
    help="Share of a window shared with its neighbour [default: the model's].",
)
padding = click.option(
    "--padding",
    "-p",
    type=click.IntRange(0),
    default=None,
    hidden=True,
    help="ftw alias: half of the overlap, in pixels.",
)
block = click.option(
    "--block",
    type=click.IntRange(64),
    default=2048,
    show_default=True,
    help="Edge of a block in pixels; affects memory use, not the result.",
)
batch = click.option(
    "--batch",
    "--batch_size",
    "-bs",
    type=click.IntRange(1),
    default=None,
    help="Windows given to the network at once [default: its own].",
)
gsd = click.option(
    "--gsd",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Work at this ground sampling distance in metres.",
)
scale = click.option(
    "--scale",
    "--resize_factor",
    "-r",
    "scale",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Upsample the image by this factor instead.",
)
flips = click.option(
    "--flips/--no-flips",
    default=False,
    show_default=True,
    help="Average over the eight flips and rotations (8 times slower, more stable).",
)
bands = click.option(
    "--bands",
    default=None,
    help="Band numbers of the image in the model's order, for example 1,2,3.",
)

method = click.option(
    "--method",
    type=click.Choice(["auto", "watershed", "components", "vote", "cut"]),
    default="auto",
    show_default=True,
    help=(
        "Method that turns probabilities into objects; auto: cut (fields chosen by a learnt score) "
        "if the model has one, else watershed."
    ),
)
vote = click.option(
    "--vote",
    default=None,
    help=(
        "Parameters of --method vote by their names, for example "
        "min_line_support=0.3,min_area_m2=500 [default: the published second edition's]."
    ),
)
simplify = click.option(
    "--simplify",
    "-s",
    type=click.FloatRange(0),
    default=None,
    help="Simplify outlines by this many metres [default: 1.5 pixels].",
)


class LengthOrAuto(click.ParamType[Any]):
    """A length above 0, or ``auto``."""

    name = "METRES|auto"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        """Read it."""
        if value == "auto":
            return "auto"
        try:
            length = float(str(value))
        except ValueError:
            length = -1.0
        if not 0 < length < float("inf"):
            self.fail(f"{value!r} was given; wanted is a length above 0, or auto.", param, ctx)
        return length


regularise = click.option(
    "--regularise",
    type=LengthOrAuto(),
    default=None,
    help=(
        "Straight lines and right angles for vineyards and blocks, moving lines by at most this "
        "many metres (auto: 1.5 pixels); neighbours keep their common line."
    ),
)
min_area = click.option(
    "--min-area",
    "--min_size",
    "-sn",
    type=click.FloatRange(0),
    default=None,
    help="Smallest field in m2 [default: 500 or 20 pixels of the image].",
)
max_area = click.option(
    "--max-area",
    "--max_size",
    "-sx",
    type=click.FloatRange(0, min_open=True),  # 0 would leave no field
    default=None,
    help="Largest field in m2 [default: no limit].",
)
scores = click.option(
    "--scores",
    type=click.Path(path_type=Path),
    default=None,
    help="Also write the class probabilities to this COG.",
)
consistency = click.option(
    "--consistency",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Also write to this COG how often four passes, with windows shifted and mirrored, say the "
        "same class of a pixel, and the mean of each field to the table (4 times slower)."
    ),
)
save_scores = click.option(
    "--save_scores",
    is_flag=True,
    hidden=True,
    help="ftw alias: write the probabilities beside the output.",
)
collection = click.option(
    "--collection", default=None, help="fiboa collection id [default: the output's name]."
)
geoparquet = click.option(
    "--geoparquet",
    type=click.Choice(["1.1", "2.0"]),
    default="1.1",
    show_default=True,
    help="Version of GeoParquet: 1.1, as fiboa wants it, or 2.0, with Parquet's own geometry type.",
)
datetime = click.option(
    "--datetime",
    "acquired",
    default=None,
    help="Time of the last image (ISO 8601, UTC) for determination:datetime.",
)


land_cover = click.option(
    "--land-cover",
    multiple=True,
    default=(),
    help=(
        "Land cover: drop fields on little crop. A raster of codes, a folder of them (repeat for "
        "more), worldcover (ESA's of 2021, read where it is published), or worldcover@FOLDER."
    ),
)
crop_codes = click.option(
    "--land-cover-crops",
    "crop_codes",
    default=None,
    help="Codes of the land cover that are crops  [default with worldcover: 40].",
)
crop_share = click.option(
    "--land-cover-share",
    "crop_share",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least share of crop under a field that stays.",
)


def speaking(samples: int | None, grammar: str | None, scores: str | None) -> dict[str, Any]:
    """Return how a language model is asked, as far as the command line says."""
    given = {"samples": samples, "grammar": grammar, "scores": scores}
    return {key: value for key, value in given.items() if value is not None}


def group(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Bind several options in the order in which the help shows them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


run_options = group(force, dry_run, as_json, quiet, preview)
model_options = group(refine, engine, gpu, mps_mode, fast, threads, samples, grammar, answer_scores)
window_options = group(window, overlap, padding, block, batch, gsd, scale, flips, bands)
field_options = group(
    method, vote, cover, simplify, regularise, min_area, max_area, collection, datetime
)
land_cover_options = group(land_cover, crop_codes, crop_share)
