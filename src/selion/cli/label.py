"""``selion label``: pseudo-labels, what two of them agree on, and training on what was kept."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from selion.cli import options as opt
from selion.cli.private import private
from selion.cli.progress import Reporter, reporter

LAZY = {
    "screen": ("selion.cli.screen", "screen_command"),
    "report": ("selion.cli.screen", "report_command"),
}
"""Commands that live in modules of their own."""
BAD_SHOWN = 10
"""So many photographs that gave no mask are named."""


class Labelling(click.Group):
    """Commands of this module, and those that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the work."""
        have = {
            *super().list_commands(ctx),
            *(name for name in LAZY if self.get_command(ctx, name)),
        }
        return [
            name
            for name in ("depth", "screen", "report", "pseudo", "trimap", "selftrain")
            if name in have
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in LAZY:
            return super().get_command(ctx, cmd_name)
        module, name = LAZY[cmd_name]
        return private(getattr(importlib.import_module(module), name), "label")


@click.group(
    "label",
    cls=Labelling,
    help="Make, screen and compare pseudo-labels, and train on them.",
)
def label_group() -> None:
    """Hold the verbs."""


out_folder = click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Output folder."
)


@dataclass(frozen=True, kw_only=True)
class DepthChoice(opt.VerbChoice):
    """Options of ``selion label depth``, as they were given."""

    model: str
    depths: Path | None
    distance: bool
    edge: int
    device: str
    curve: Literal["best", "contour", "histogram"]
    ground: Literal["best", "flat", "tilted"]
    reading: Literal["slope", "knee"]
    clip: float
    refine: bool
    full: tuple[str, ...]
    find_full: bool
    keep_depth: bool


@label_group.command(
    "depth",
    help=(
        "Make masks of crop and soil from photographs by thresholding their depth, with a table "
        "of their quality. The same command continues an interrupted run."
    ),
)
@click.argument("photos", type=click.Path(path_type=Path))
@out_folder
@click.option(
    "-m",
    "--model",
    default="small",
    show_default=True,
    help="Depth Anything V2: small, base, large, or the folder of a transformers checkpoint.",
)
@click.option(
    "--depth",
    "depths",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of depth maps of your own instead (PNG, TIFF, npy; same names).",
)
@click.option("--distance", is_flag=True, help="Your depth maps hold distances: larger is farther.")
@click.option(
    "--network-edge",
    "edge",
    type=click.IntRange(14),
    default=518,
    show_default=True,
    help="Shorter side in pixels that the depth network is fed.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Where the depth network runs: cpu, cuda, mps.",
)
@click.option(
    "--curve",
    type=click.Choice(["best", "contour", "histogram"]),
    default="best",
    show_default=True,
    help=(
        "What the sigmoid is fitted to: the mean step along each depth's contour, the "
        "gradient-weighted histogram, or both, and the mask that looks better is kept."
    ),
)
@click.option(
    "--ground",
    type=click.Choice(["best", "flat", "tilted"]),
    default="best",
    show_default=True,
    help=(
        "Whether the camera looked straight down, or the plane of the ground is taken out of the "
        "depth first; or both are tried."
    ),
)
@click.option(
    "--reading",
    type=click.Choice(["slope", "knee"]),
    default="slope",
    show_default=True,
    help="Maximum gradient change: the largest first or second derivative.",
)
@click.option(
    "--clip-percent",
    "clip",
    type=click.FloatRange(0, 49),
    default=0.0,
    show_default=True,
    help="Percentile of depth that is cut off at both ends, for maps with outliers.",
)
@click.option(
    "--edges-by-depth",
    "refine",
    is_flag=True,
    help="Drop parts as deep as the soil and draw the edge again by depth.",
)
@click.option(
    "--full",
    multiple=True,
    metavar="PATTERN",
    help=(
        "These photographs are fully covered: their masks are all ones; for example 'canopy/*'; "
        "repeatable."
    ),
)
@click.option(
    "--find-full/--no-find-full",
    default=True,
    show_default=True,
    help="Find fully covered photographs by their colours.",
)
@click.option("--keep-depth", is_flag=True, help="Keep depth as 16-bit PNG.")
@opt.group(opt.force, opt.as_json, opt.quiet)
def depth_command(photos: Path, out: Path, **values: Any) -> None:
    """Label photographs by depth."""
    given = opt.taken(DepthChoice, values)
    from selion.data.photos import find_photos
    from selion.labelling.manifest import QUALITY
    from selion.labelling.pseudo import DepthOptions, label_photos
    from selion.labelling.threshold import ThresholdOptions

    threshold = ThresholdOptions(
        given.curve, given.reading, (given.clip, 100 - given.clip), ground=given.ground
    )
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        find_photos(photos, skip=(out,))  # a wrong name is told before a network is fetched
        source = _depths(given, say)
        options = DepthOptions(
            threshold, _refining(given), given.full, given.find_full, given.keep_depth
        )
        rows = label_photos(photos, out, source, options, force=given.force, on_step=say.step)
        _tell(rows, say)
    _result(out / QUALITY, given, {"photos": len(rows), "masks": sum(row.has_mask for row in rows)})


def _depths(given: DepthChoice, say: Reporter) -> Any:
    from selion.labelling.depths import ComputedDepths, DepthFolder

    if given.depths is None:
        opt.refuse_given(["distance"], "the network's depth is no distance: it is for --depth")
    else:
        opt.refuse_given(
            ["model", "edge", "device"], "depth maps were given by --depth, and no network runs"
        )
        return DepthFolder(given.depths, given.distance)
    from selion.models.depth.network import load_depth

    network, notes = load_depth(given.model, edge=given.edge, device=given.device)
    for note in notes:
        say.note(f"Note: {note}")
    return ComputedDepths(network, f"{network.name} at {network.edge} px")


def _refining(given: DepthChoice) -> Any:
    from selion.labelling.postprocess import RefineOptions

    return RefineOptions() if given.refine else None


def _tell(rows: list[Any], say: Reporter) -> None:
    routed = Counter(row.routed for row in rows)
    counts = (
        f"{routed['']:,} masks from depth, {routed['full']:,} all crop, {routed['none']:,} without "
        f"a step, {routed['bad']:,} not read"
    )
    say.note(f"{len(rows):,} photographs: {counts}.")
    _name_missing(rows, say)


def _name_missing(rows: list[Any], say: Reporter) -> None:
    missing = [row for row in rows if not row.has_mask]
    reasons: dict[str, list[str]] = {}
    for row in missing[:BAD_SHOWN]:
        reasons.setdefault(row.why, []).append(row.key)
    for why, keys in reasons.items():
        say.note(f"No mask: {', '.join(keys)}: {why}")
    if len(missing) > BAD_SHOWN:
        say.note(f"... and {len(missing) - BAD_SHOWN:,} more, see the table.")


def _result(path: Path, given: opt.VerbChoice, facts: dict[str, Any]) -> None:
    import json

    click.echo(
        json.dumps({"event": "result", "path": str(path), **facts}) if given.as_json else str(path)
    )


@dataclass(frozen=True, kw_only=True)
class PseudoChoice(opt.VerbChoice):
    """Options of ``selion label pseudo``, as they were given."""

    model: str
    dates: bool
    sure: float
    unsure: tuple[float, float]
    least_score: float
    engine: str
    flips: bool
    window: int | None
    gsd: float | None
    scale: float | None
    bands: str | None
    finer: bool


@label_group.command(
    "pseudo",
    help=(
        "Make labels of unlabelled images where a model is confident, as a first step in a new "
        "region. The same command continues an interrupted run."
    ),
)
@click.argument("images", type=click.Path(path_type=Path))
@click.option("-m", "--model", required=True, help="Model name or folder.")
@out_folder
@click.option(
    "--average-dates",
    "dates",
    is_flag=True,
    help="Treat the images in one folder as dates of one place: average their probabilities.",
)
@click.option(
    "--sure",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="Least probability that counts as known, for classes without a boundary.",
)
@click.option(
    "--unsure",
    type=(float, float),
    default=(0.3, 0.6),
    show_default=True,
    help="Objects: probabilities between these two are not known.",
)
@click.option(
    "--least-score",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="Objects of a lower mean probability are not known.",
)
@opt.engine
@click.option(
    "--flips/--no-flips",
    default=True,
    show_default=True,
    help="Average over the eight flips and rotations: slower, more reliable.",
)
@opt.group(opt.window, opt.gsd, opt.scale, opt.bands)
@click.option(
    "--finer/--no-finer",
    default=True,
    show_default=True,
    help="Where the model works on a finer grid than the image's, write labels on that grid too.",
)
@opt.group(opt.force, opt.as_json, opt.quiet)
def pseudo_command(images: Path, out: Path, **values: Any) -> None:
    """Label images by a model."""
    given = opt.taken(PseudoChoice, values)
    from selion import models
    from selion.errors import BadInput
    from selion.labelling.manifest import QUALITY
    from selion.labelling.scenes import SceneOptions, label_scenes

    options = SceneOptions(_confidence(given), _predicting(given), given.dates, given.finer)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        model = models.load_model(given.model, given.engine)
        rows = label_scenes(images, out, model, options, force=given.force, on_step=say.step)
        made = [row for row in rows if row.has_mask]
        known = sum(row.quality for row in made) / max(len(made), 1)
        say.note(
            f"{len(rows):,} images: {len(made):,} labelled, {known:.0%} of their pixels known; "
            f"{model.engine}."
        )
        if not made:
            raise BadInput(
                f"None of the {len(rows):,} images got labels; {rows[0].key}: {rows[0].why}"
            )
        _name_missing(rows, say)
    _result(out / QUALITY, given, {"images": len(rows), "masks": len(made)})


def _confidence(given: PseudoChoice) -> Any:
    from selion.labelling.confidence import ConfidenceOptions

    return ConfidenceOptions(sure=given.sure, unsure=given.unsure, least_score=given.least_score)


def _predicting(given: PseudoChoice) -> Any:
    from selion.prediction import PredictOptions

    asked = (
        None
        if given.bands is None
        else tuple(
            int(part) if part.isdecimal() else part
            for part in map(str.strip, given.bands.split(","))
        )
    )
    return PredictOptions(
        window=given.window,
        gsd=given.gsd,
        scale=given.scale,
        flips=given.flips,
        bands=asked,
    )


@label_group.command(
    "trimap",
    help=(
        "Compare two masks, or two folders of masks: write what they agree on, 255 elsewhere, and "
        "print the agreement of each class."
    ),
)
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@out_folder
@click.option(
    "--classes",
    default="crop",
    show_default=True,
    help=(
        "crop, crop-weed, organs, fields-2, fields-3, alu, or names separated by commas, in the "
        "order of their ids."
    ),
)
@opt.group(opt.force, opt.as_json, opt.quiet)
def trimap_command(one: Path, other: Path, out: Path, classes: str, **values: Any) -> None:
    """Compare masks."""
    given = opt.taken(opt.VerbChoice, values)
    from selion.labelling.compare import write_trimaps

    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        found, notes = write_trimaps(
            one, other, out, _scheme(classes), force=given.force, on_step=say.step
        )
        for note in notes:
            say.note(note)
        shares = {name: share for name, share in found.by_class().items() if share == share}  # noqa: PLR0124  # NaN: a class of neither
        say.note(
            f"Agreed: {found.share:.1%} of the pixels that both know; "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            + "."
        )
    _result(out / "agreement.csv", given, {"agreed": found.share, "classes": shares})


def _scheme(given: str) -> Any:
    from selion.classes import ClassScheme
    from selion.data.declare import SCHEMES
    from selion.errors import UnknownName

    if "," in given:
        return ClassScheme(tuple(name.strip() for name in given.split(",")))
    if given not in SCHEMES:
        raise UnknownName.among("class scheme", given, SCHEMES)
    return SCHEMES[given]


@dataclass(frozen=True, kw_only=True)
class SelftrainChoice(opt.VerbChoice):
    """Options of ``selion label selftrain``, as they were given."""

    photos: Path | None
    labelled: str | None
    root: str | None
    decisions: Path | None
    least: float
    share: float | None
    gsd: tuple[float, float] | None
    trimap_human: bool
    trimap_full: bool
    sure: float
    fine_tune: bool
    changes: tuple[str, ...]


@label_group.command(
    "selftrain",
    help=(
        "Self-training: train on the labels, predict them again, keep the pixels where label and "
        "model agree, train again. The same command continues an interrupted run."
    ),
)
@click.argument("recipe")
@click.option(
    "--pseudo",
    type=click.Path(path_type=Path),
    required=True,
    help=(
        "Folder of `selion label depth` or `selion label pseudo`, or of masks that `selion label "
        "screen` was given."
    ),
)
@out_folder
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the photographs [default: where they were when masks were made or screened].",
)
@click.option(
    "--labelled",
    default=None,
    help="Dataset with human labels: a folder or a name [default: the recipe's].",
)
@click.option("--root", default=None, help="Where a dataset lies that is known by name.")
@click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    default=None,
    help="Log of `selion label screen` [default: decisions.jsonl in the folder of pseudo-labels].",
)
@click.option(
    "--least-quality",
    "least",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least quality of masks that were not screened.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, True, True),
    default=None,
    help="Share of the windows cut from pseudo-labels [default: images alike].",
)
@click.option(
    "--gsd-range",
    "gsd",
    type=(float, float),
    default=None,
    help=(
        "Metres at which windows of pseudo-labels are drawn, finest and coarsest [default: the "
        "recipe's]."
    ),
)
@click.option("--trimap-human", is_flag=True, help="Also let the first stage erase human labels.")
@click.option("--trimap-full", is_flag=True, help="Also let it erase masks that are all crop.")
@click.option(
    "--sure",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Least probability that the first stage must give a label it agrees with.",
)
@click.option(
    "--fine-tune",
    is_flag=True,
    help="Let the second stage go on from the first one's weights, not from the recipe's start.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, for example schedule.epochs=20; repeatable.",
)
@opt.group(opt.force, opt.as_json, opt.quiet)
def selftrain_command(recipe: str, pseudo: Path, out: Path, **values: Any) -> None:
    """Run both stages."""
    given = opt.taken(SelftrainChoice, values)
    from selion.labelling.decisions import LOG
    from selion.labelling.selection import keep_pseudo
    from selion.labelling.selftrain import DrawOptions, TrimapOptions, plan_selftraining
    from selion.reports import self_training
    from selion.training import read_recipe

    named = [
        f"data.{key}={value}"
        for key, value in (("dataset", given.labelled), ("root", given.root))
        if value
    ]
    log = given.decisions or (pseudo / LOG if (pseudo / LOG).is_file() else None)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        plan = plan_selftraining(
            read_recipe(recipe, [*given.changes, *named]),
            keep_pseudo(pseudo, log, given.least, given.photos),
            TrimapOptions(given.trimap_human, given.trimap_full, given.sure),
            DrawOptions(given.share, given.gsd),
            fine_tune=given.fine_tune,
        )
        for note in plan.notes:
            say.note(note)
        model = self_training.run(plan, out, force=given.force, on_step=say.step)
    _result(model, given, {"report": str(out / self_training.REPORT)})
