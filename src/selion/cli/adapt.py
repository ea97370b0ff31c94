"""``selion crops adapt``: a model of one's own from a few masks of one's own photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter


@dataclass(frozen=True, kw_only=True)
class AdaptChoice(opt.VerbChoice):
    """Options of ``selion crops adapt``, as they were given."""

    model: str
    masks: Path | None
    count: int | None
    seed: int
    minutes: float
    kept: float
    pattern: str | None
    classes: str | None
    licence: str


@click.command(
    "adapt",
    help=(
        "Adapt a model to your own photographs: masks for a few of them, minutes of training, and "
        "a comparison on photographs that nothing was learnt from; what is better there is kept. "
        "OUT is then a model: selion crops PHOTOS -m OUT. The same command goes on where a stopped "
        "one was."
    ),
)
@click.argument("photos", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the model."
)
@click.option(
    "-m",
    "--model",
    default="crops-rgb",
    show_default=True,
    help="Name or folder of the model to start from.",
)
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of masks that are called as the photographs are, or a data set of any layout.",
)
@click.option(
    "--count",
    type=click.IntRange(2),
    default=None,
    help="Photographs to label, the most informative ones [default: all with a mask].",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Draws what is kept aside and the training.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=5.0,
    show_default=True,
    help="Minutes of training.",
)
@click.option(
    "--kept-aside",
    "kept",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.25,
    show_default=True,
    help="Share of the labelled photographs to compare on; nothing is learnt from them.",
)
@click.option(
    "--pattern",
    default=None,
    help="How photographs are named, as for 'crops trial': whole plots are kept aside.",
)
@click.option(
    "--classes",
    default=None,
    help="Classes of the masks: crop, crop-weed or organs [default: the model's].",
)
@click.option(
    "--licence", default="", help="Licence of your photographs and masks, for the model's card."
)
@click.option(
    "-f",
    "--force",
    "--overwrite",
    "force",
    is_flag=True,
    help="Start over where OUT holds another adaptation; masks drawn for it are removed.",
)
@opt.as_json
@opt.quiet
def adapt_command(photos: Path, out: Path, **values: Any) -> None:
    """Choose, train, compare, keep."""
    given = opt.taken(AdaptChoice, values)
    from selion.closerange import AdaptOptions, adapt_model, prepare_given
    from selion.reports.adaptation import write_page

    options = opt.taken(AdaptOptions, values)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        if given.masks is None:
            raise click.UsageError("Missing option '--masks': a folder of masks.")
        begun = prepare_given(
            photos,
            out.expanduser(),
            given.masks,
            options,
            force=given.force,
            on_step=say.step,
            on_note=say.note,
        )
        done = adapt_model(begun, on_step=say.step, on_note=say.note)
        write_page(done)
        say.note(done.contest.sentence)
    facts: dict[str, Any] = {
        "kept": done.contest.kept,
        "photographs kept aside": len(set(done.contest.photos)),
    }
    facts |= {f"mIoU {one.name}": round(one.miou, 3) for one in done.contest.contenders}
    facts |= {"use it": f"selion crops {photos} -m {out} -o RESULTS"}
    opt.print_result(out, facts, given, 24)
