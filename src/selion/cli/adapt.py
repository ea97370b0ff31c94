"""``selion crops adapt``: a model of one's own from a few masks of one's own photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter
from selion.cli.serving import serve, serving_options

if TYPE_CHECKING:
    from selion.closerange.adaptation import Adaptation

ENDING = "Train with these masks"


@dataclass(frozen=True, kw_only=True)
class AdaptChoice(opt.VerbChoice):
    """Options of ``selion crops adapt``, as they were given."""

    masks: Path | None
    sam: Path | None
    person: str
    redraw: bool
    port: int
    browser: bool


@click.command(
    "adapt",
    help=(
        "Adapt a model to your own photographs: masks for a few of them, minutes of training, and "
        "a comparison on photographs that nothing was learnt from; what is better there is kept. "
        "The most informative photographs are chosen, and a page opens on which their masks are "
        "corrected, unless --masks has them. OUT is then a model: selion crops PHOTOS -m OUT. The "
        "same command goes on where a stopped one was."
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
    help=(
        "Masks that are there already, without a page: a folder whose files are called as the "
        "photographs are, a data set of any layout, or a .json of COCO or Label Studio."
    ),
)
@click.option(
    "--count",
    type=click.IntRange(2),
    default=None,
    help="Photographs to label, the most informative ones [default: 20; all with --masks].",
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
    help="Minutes of training, by the clock; choosing and comparing come on top.",
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
    "--mm-per-pixel",
    "gsd",
    type=click.FloatRange(0, 1e6, min_open=True, max_open=True),
    default=None,
    help="Millimetres a pixel of the photographs: photographs of another scale are flagged later.",
)
@click.option(
    "--sam",
    type=click.Path(path_type=Path),
    default=None,
    help="Checkpoint of SAM, SAM 2 or SAM-HQ: a click on a plant finds its edge.",
)
@click.option(
    "--redraw",
    is_flag=True,
    help="Open the page again after the training, and train anew with what is drawn then.",
)
@click.option("--person", default="", help="Name kept with each stroke [default: the page asks].")
@serving_options
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
    """Choose, draw, train, compare, keep."""
    given = opt.taken(AdaptChoice, values)
    from selion.closerange import AdaptOptions, adapt_model, prepare_drawn, prepare_given
    from selion.reports.adaptation import write_page

    options, out = opt.taken(AdaptOptions, values), out.expanduser()
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        how: dict[str, Any] = {"force": given.force, "on_step": say.step, "on_note": say.note}
        if given.masks is not None:
            opt.refuse_given(
                ["sam", "redraw", "person", "port", "browser"], "the masks are those of --masks"
            )
            begun = prepare_given(photos, out, given.masks, options, **how)
        else:
            begun = prepare_drawn(photos, out, options, **how)
    if given.masks is None:
        drawn = _draw(begun, given)
        if drawn is None:
            return
        begun = drawn
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        if given.masks is None:
            say.note(begun.said)
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


def _draw(begun: Adaptation, given: AdaptChoice) -> Adaptation | None:
    """Open the page on which masks are drawn; None: it was stopped before the person was ready."""
    from selion.closerange import finished, mask_editor, train_again
    from selion.web import server
    from selion.web.masks import MaskSession, masks_page
    from selion.web.screening import check_person

    person = check_person(given.person) if given.person else ""
    if begun.epochs and not given.redraw:
        opt.refuse_given(["sam", "person", "port", "browser"], "the masks were finished before")
        click.echo("The masks were finished before; --redraw opens their page again.", err=True)
        return begun
    if not begun.epochs:
        opt.refuse_given(["redraw"], "nothing was trained yet: the page opens anyhow")
    clicked = None
    if given.sam is not None:
        from selion.data.photos import read_colours
        from selion.models.sam.click import ClickedObject  # and torch, in seconds

        clicked = ClickedObject(given.sam, read_colours)
    editor = mask_editor(begun, clicked)
    session = MaskSession(editor, begun.folder.resolve().name, person, ENDING)
    opened, address, running = server.listen(begun.folder, given.port)
    app = server.make_app([masks_page(session)], address)
    if running is not None:
        click.echo(f"Another page of this folder runs at {running.url('masks')}.", err=True)
    counts = editor.counts()
    click.echo(
        f"{counts['total']} photographs to draw, {counts['done']} done.  Open "
        f"{address.url('masks')}",
        err=given.as_json,
    )
    serve(app, opened, address.url("masks"), browser=given.browser, until=session.finished)
    counts = editor.counts()
    if not session.finished.is_set():
        click.echo(
            f"Stopped.  {counts['done']} of {counts['total']} masks are done, and every stroke is "
            f"kept in {begun.labels}; the same command continues from here.",
            err=True,
        )
        return None
    return finished(train_again(begun) if begun.epochs else begun, editor)
