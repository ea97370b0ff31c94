"""``selion evaluate``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from selion.cli import options as opt
from selion.cli.fitted import for_terminal
from selion.cli.progress import reporter

if TYPE_CHECKING:
    from selion.store import Place


@dataclass(frozen=True, kw_only=True)
class EvaluateChoice(opt.VerbChoice):
    """Options of ``selion evaluate``, as they were given."""

    models: tuple[str, ...]
    dataset: Path | None
    maps: tuple[Place, ...]
    truth: Place | None
    out: Path
    iou: float
    cap: int | None
    draws: int
    protocol: str | None
    reproject: bool
    extent: Place | None
    by: tuple[str, ...]
    calibration: Path | None
    deployment: bool
    pixels: bool
    layout: str | None
    classes: str
    split: str | None
    ratios: tuple[float, ...]
    widths: tuple[int, ...]
    oracle: tuple[Path, ...]
    engine: str
    threads: int | None
    samples: int | None
    grammar: str | None
    answer_scores: str | None
    method: str

    @property
    def speaking(self) -> dict[str, Any]:
        """How language models are asked, as far as it was said."""
        return opt.speaking(self.samples, self.grammar, self.answer_scores)


@click.command(
    "evaluate",
    help=(
        "Score models on a dataset folder, or maps against a truth, with baselines beside every "
        "score."
    ),
)
@click.argument("models", nargs=-1)
@click.argument("dataset", type=click.Path(path_type=Path), required=False)
@click.option(
    "--pred",
    "maps",
    multiple=True,
    type=opt.there,
    help="Map to score: raster of ids or table of polygons; repeatable.",
)
@click.option(
    "--truth",
    type=opt.there,
    default=None,
    help="Ground truth for --pred: raster of ids or table of polygons.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("evaluation"),
    show_default=True,
    help="Folder for report.json, .md and .html.",
)
@click.option(
    "--iou",
    "--iou_threshold",
    "-iou",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="IoU of a match.",
)
@click.option(
    "--cap",
    type=click.IntRange(1),
    default=None,
    help="Maximum detections per image for average precision; 100 as in the papers [default: all].",
)
@click.option(
    "--bootstrap",
    "draws",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Bootstrap samples for the intervals.",
)
@click.option(
    "--protocol", type=click.Choice(["prue"]), default=None, help="Also score by these rules."
)
@click.option(
    "--reproject", is_flag=True, help="Reproject polygons to the truth's CRS where they differ."
)
@click.option(
    "--extent",
    type=opt.there,
    default=None,
    help=(
        "Area in which --truth was mapped (polygons, or a raster that is not 0 there): "
        "predictions outside of it are ignored."
    ),
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help=(
        "Also score by the values of this column of the truth (group, split, or of its table); "
        "repeatable."
    ),
)
@click.option(
    "--fit-calibration",
    "calibration",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Write the [calibration] table of a model card, fitted on these objects' confidences; it "
        "is added to a card by hand and applied by nothing."
    ),
)
@click.option(
    "--deployment",
    is_flag=True,
    help=(
        "Also measure consistency, input order, radiometry and scale (about 18 predictions a "
        "sample)."
    ),
)
@click.option(
    "--pixels",
    is_flag=True,
    help=(
        "Compare class maps pixel by pixel, in every averaging (crops in photographs); without a "
        "model: the colour rules."
    ),
)
@click.option(
    "--layout",
    default=None,
    metavar="NAME",
    help=(
        "How the dataset lies on disk ('selion data list')  [default: what it looks like; with "
        "--pixels: folder]."
    ),
)
@click.option(
    "--classes",
    type=click.Choice(["crop", "crop-weed", "organs", "fields-2", "fields-3", "alu"]),
    default="crop",
    show_default=True,
    help="With --pixels: of a plain folder.",
)
@click.option(
    "--split",
    default=None,
    help=(
        "Only this split; all: every sample  [default: test, where the dataset has one; with "
        "--pixels: all]."
    ),
)
@click.option(
    "--boundary-ratio",
    "ratios",
    type=float,
    multiple=True,
    help="With --pixels: boundary IoU at this share of the diagonal  [default: 0.02].",
)
@click.option(
    "--boundary-px",
    "widths",
    type=click.IntRange(1),
    multiple=True,
    help="With --pixels: the same in pixels.",
)
@click.option(
    "--oracle",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --pixels: a SAM checkpoint, asked with points drawn from the truth.",
)
@opt.group(opt.force, opt.as_json, opt.quiet, opt.engine, opt.threads, opt.method, opt.samples)
@opt.group(opt.grammar, opt.answer_scores)
def evaluate_command(**values: Any) -> None:
    """Evaluate and write the report."""
    given = opt.taken(EvaluateChoice, values)
    from selion import store

    if given.pixels:
        _refuse_unused("has no effect with --pixels", *ONLY_OBJECTS)
        _pixels(given)
        return
    files = bool(given.maps)
    if files == bool(given.dataset) or files != bool(given.truth):
        raise click.UsageError(
            "Give either MODEL DATASET (models first, the dataset folder last), or --pred MAP "
            "--truth TRUTH."
        )
    _refuse_unused("belongs to --pixels", "classes", "ratios", "widths", "oracle")
    if files:
        _refuse_unused("has no effect with --pred and --truth", *ONLY_MODELS)
    if not files and (given.extent or given.reproject):
        raise click.UsageError(
            "--extent and --reproject belong to --pred and --truth: omit them for a dataset folder."
        )
    if given.calibration:
        _check_calibration(len(given.maps if files else given.models), given.calibration)
        store.check_output(given.calibration, given.force)
    from selion.reports.evaluation import check_report, write_report

    check_report(given.out, force=given.force)
    figures: Any = ()
    outcomes: Any = ()
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        if given.truth is not None:
            report, outcomes = _of_files(given, given.truth)
        else:
            report, figures = _of_models(given, given.dataset or Path(), say)
    paths = write_report(report, given.out, figures=figures, outcomes=outcomes, force=given.force)
    if given.calibration:
        _write_calibration(report, given.calibration, force=given.force)
    _tell(given, report, paths[-1])


def _tell(given: EvaluateChoice, report: Any, path: Path) -> None:
    """Say where the report lies, and what is in it."""
    if given.as_json:
        scores = {run["name"]: run["values"] for run in report.to_dict()["runs"]}
        click.echo(json.dumps({"event": "done", "path": str(path), "scores": scores}))
        return
    if not given.quiet:
        click.echo(for_terminal(report.to_markdown()), err=True)
    click.echo(str(path))


ONLY_MODELS = (
    *("layout", "split", "deployment", "protocol", "method", "engine", "threads", "draws"),
    *("samples", "grammar", "answer_scores"),
)
"""Options that say how a model runs on a dataset."""
ONLY_OBJECTS = (
    *("maps", "truth", "iou", "cap", "protocol", "reproject", "extent", "by", "calibration"),
    *("deployment", "method", "as_json"),
)
"""Options of the comparison of objects."""


def _refuse_unused(why: str, *names: str) -> None:
    """Refuse options that were given and would change nothing."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in names
        and context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} {why}: omit it.")


def _check_calibration(runs: int, path: Path) -> None:
    """Refuse a correction of the confidences of several models before any of them is asked."""
    if runs > 1:
        raise click.UsageError(
            f"No --fit-calibration can be written to {path}: {runs} runs are scored; wanted is one."
        )


def _write_calibration(report: Any, path: Path, *, force: bool) -> None:
    import math

    from selion import store
    from selion.errors import BadInput
    from selion.models.toml import to_toml

    found = report.runs[0].correction
    if found is None:
        raise BadInput(
            f"No --fit-calibration can be written to {path}: there are no confidences, or fewer "
            "than ten right and wrong objects; wanted is one run with confidences, right and "
            "wrong ones."
        )
    numbers = {name: value for name, value in found.to_dict().items() if not math.isnan(value)}
    store.write_text(path, to_toml({"calibration": numbers}), force=force)


def _of_files(given: EvaluateChoice, truth: Place) -> tuple[Any, Any]:
    from selion.evaluation.files import compare_files
    from selion.metrics import ImageOptions, ScoreOptions

    options = ScoreOptions(iou=given.iou, cap=given.cap, draws=given.draws)
    image = ImageOptions(iou=given.iou)
    found = compare_files(
        given.maps,
        truth,
        options,
        image=image,
        reproject=given.reproject,
        extent=given.extent,
        by=given.by,
    )
    return found.report, found.outcomes


def _of_models(given: EvaluateChoice, dataset: Path, say: Any) -> tuple[Any, list[Any]]:
    from selion.evaluation import EvaluateOptions, deployment_scores, evaluate
    from selion.evaluation.answers import answer, truth_ids
    from selion.evaluation.twins import load_apart
    from selion.metrics import ImageOptions, ScoreOptions
    from selion.reports.evaluation import case_figures

    if not given.models:
        raise click.UsageError("Name a model before the dataset: selion evaluate MODEL DATASET.")
    chosen = _samples(dataset, given.layout, given.split)
    for problem in chosen.problems:
        say.note(problem)
    samples = chosen.samples
    loaded: dict[str, Any] = dict(
        load_apart(given.models, given.engine, threads=given.threads, speaking=given.speaking)
    )
    score = ScoreOptions(iou=given.iou, cap=given.cap, draws=given.draws)
    options = EvaluateOptions(
        score,
        ImageOptions(iou=given.iou),
        method=given.method,
        protocol=given.protocol,
        presence_only=chosen.presence_only,
        by=given.by,
    )
    report = evaluate(
        loaded,
        samples,
        options,
        title=f"{', '.join(loaded)} on {dataset.name}",
        on_step=say.step,
    )
    settings = dict(report.settings or {}) | chosen.said | _asked(given)
    if given.deployment:
        settings |= {
            f"deployment of {name}": deployment_scores(model, samples)
            for name, model in loaded.items()
        }
    first = loaded[report.runs[0].name]
    figures = case_figures(
        report.runs[0], samples, lambda s: (truth_ids(s), answer(first, s, options).ids)
    )
    return replace(
        report, settings=settings, problems=(*chosen.problems, *report.problems)
    ), figures


def _asked(given: EvaluateChoice) -> dict[str, Any]:
    """Return how language models were asked, for the settings of a report."""
    return {f"answers: {key}": value for key, value in given.speaking.items()}


@dataclass(frozen=True)
class ChosenSamples:
    """What of a dataset is scored."""

    samples: list[Any]
    problems: tuple[str, ...] = ()
    presence_only: tuple[str, ...] = ()
    said: dict[str, str] = field(default_factory=dict)
    """For the report: the layout, the split."""


def _samples(path: Path, layout: str | None, split: str | None) -> ChosenSamples:
    """Open a dataset as it lies on disk, and take the split that is to be scored.

    A plain folder has no splits; of a dataset with splits it is the test split, because a model has
    seen the others.
    """
    from selion.data import load_dataset, recognise
    from selion.evaluation import read_folder

    name = layout or recognise(path) or "folder"
    if name == "folder":
        if split not in (None, "all"):
            raise click.UsageError(
                f"--split {split} was asked for, but {path} is a plain folder without splits: omit "
                "it, or name the dataset's --layout."
            )
        folder = read_folder(path)
        return ChosenSamples(list(folder.samples), folder.problems)
    whole = load_dataset(name, path)
    wanted = split or ("test" if "test" in whole.splits else "all")
    part = whole if wanted == "all" else whole.select(wanted)
    said = {"layout": name, "split": f"{wanted}, {len(part)} of {len(whole)} samples"}
    return ChosenSamples(list(part), whole.problems, whole.presence_only, said)


def _pixels(given: EvaluateChoice) -> None:
    """Compare pixel by pixel; write pixels.json and pixels.md."""
    from selion import store
    from selion.data import load_dataset
    from selion.data.declare import SCHEMES
    from selion.evaluation.pixels import PixelOptions, evaluate_pixels, photo_systems
    from selion.evaluation.run import started_from
    from selion.models import find_card

    if not given.dataset:
        raise click.UsageError("Name the dataset: selion evaluate --pixels [MODEL ...] DATASET.")
    paths = [given.out / name for name in ("pixels.json", "pixels.md")]
    for path in paths:
        store.check_output(path, given.force)
    plain = given.layout in (None, "folder")
    if not plain:
        opt.refuse_given(["classes"], f"--layout {given.layout} says what its classes are")
    if not given.models:
        opt.refuse_given(
            ["engine", "threads", "samples", "grammar", "answer_scores"], "no model was named"
        )
    dataset = (
        load_dataset(given.dataset, classes=SCHEMES[given.classes])
        if plain
        else load_dataset(str(given.layout), given.dataset)
    )
    samples = dataset.select(given.split) if given.split not in (None, "all") else dataset
    systems = photo_systems(
        given.models,
        dataset.classes,
        engine=given.engine,
        threads=given.threads,
        speaking=given.speaking,
        oracles=given.oracle,
    )
    options = PixelOptions(given.ratios or (0.02,), given.widths, given.draws)
    with reporter(quiet=given.quiet, as_json=False) as say:
        report = evaluate_pixels(
            systems,
            samples,
            dataset.classes,
            options,
            title=f"{', '.join(systems)} on {dataset.name}",
            on_step=say.step,
        )
    starts = started_from({name: find_card(name) for name in given.models})
    report = replace(report, settings={**report.settings, **starts, **_asked(given)})
    given.out.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, (report.to_json(), report.to_markdown()), strict=True):
        store.write_text(path, text, force=given.force)
    if not given.quiet:
        click.echo(for_terminal(report.to_markdown()), err=True)
    click.echo(str(paths[-1]))
