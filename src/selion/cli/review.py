"""``selion review``: correct a map on a page, export the result, and train on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.default_verb import DefaultVerb
from selion.cli.progress import reporter
from selion.cli.serving import serve, serving_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from selion.review.opened import MapFiles
    from selion.store import Place
    from selion.web.review_shown import ReviewSession
    from selion.web.server import PageModule

image = click.option(
    "--image",
    type=opt.place,
    default=None,
    help="The image of the map, if the map does not name it.",
)
PROBLEMS = 10
"""Sentences on what could not be taken over that are printed at most."""
given_map = click.argument("given", metavar="MAP", type=opt.place)


@click.group(
    "review",
    cls=DefaultVerb,
    help=(
        "Review the fields of a map, the most uncertain first: selion review MAP opens the page. "
        "MAP is the table that 'selion map' wrote, or its folder, or the address (https://, s3://) "
        "of one. Actions are logged in MAP.review.jsonl beside it (of an address: in this folder); "
        "several people may work at the same time."
    ),
)
def review_group() -> None:
    """Correct a map."""


@review_group.command("open", help="Open the page; 'selion review MAP' does the same.")
@given_map
@click.option(
    "--against",
    type=opt.place,
    default=None,
    help="Another map of the same area: fields where the two disagree come first.",
)
@image
@click.option(
    "--scores-from",
    "scores",
    type=opt.place,
    default=None,
    help="Class probabilities [default: MAP.scores.tif, where it lies beside].",
)
@click.option(
    "--photos",
    nargs=2,
    type=click.Path(path_type=Path),
    default=None,
    metavar="PHOTOS PSEUDO",
    help="Serve the screening page of these too.",
)
@click.option(
    "--map/--no-map",
    "beside",
    default=True,
    show_default=True,
    help="Show the map of 'selion view' beside the field.",
)
@click.option(
    "--person", default="", help="Name recorded with each action [default: the page asks]."
)
@serving_options
def open_command(
    given: Place,
    against: Place | None,
    image: Place | None,
    scores: Place | None,
    photos: tuple[Path, Path] | None,
    beside: bool,
    person: str,
    port: int,
    browser: bool,
) -> None:
    """Serve until the person stops it."""
    from selion import review
    from selion.web import server
    from selion.web.review import open_session, review_page
    from selion.web.screening import check_person

    with reporter(quiet=False, as_json=False) as say:
        files = review.find_map(given, image, scores)
        session = open_session(files, check_person(person) if person else "", against, say.step)
    pages, policy, found = _other_pages(session, files, photos, beside=beside)
    pages = [review_page(session, policy), *pages]
    opened, address, running = server.listen(session.log.path, port)
    for note in session.notes:
        click.echo(note, err=True)
    if running is not None:
        click.echo(
            (
                f"Another review of this map runs at {running.url('review')}; both write the same "
                "log, and nothing of either is lost."
            ),
            err=True,
        )
    counts = session.log.state.counts()
    click.echo(
        f"{counts['total']:,} fields, {counts['decided']:,} decided.  Open {address.url('review')}"
    )
    try:
        app = server.make_app(pages, address)
        serve(app, opened, address.url("review"), browser=browser)
    finally:
        if found is not None:
            found.close()
    click.echo(
        f"Stopped.  What was done is in {session.log.path}; the same command continues from here."
    )


def _other_pages(
    session: ReviewSession, files: MapFiles, photos: tuple[Path, Path] | None, *, beside: bool
) -> tuple[list[PageModule], str, Any]:
    """Return the pages that the same server shows: the map, and the screening of photographs.

    Also the map's policy, and what is to be closed.
    """
    from selion.errors import BadInput, MissingExtra
    from selion.web.correcting import correcting_page
    from selion.web.screening import screening_page
    from selion.web.view.page import POLICY, view_page

    pages, policy, found = [], "", None
    if beside and session.facts.crs is not None:
        try:
            page, found = view_page(
                [path for path in (files.table, files.image, files.scores) if path is not None]
            )
            pages, policy = [page], POLICY
            session.pages = (("view", "Map"),)
        except (MissingExtra, BadInput) as problem:
            click.echo(f"No map beside the field: {problem}", err=True)
    if photos:
        page, screening = screening_page(*photos, person=session.person, corrects=True)
        pages += [page, correcting_page(screening, session.person)]
        session.pages += (("screen", "Photographs"),)
    return pages, policy, found


@review_group.command(
    "export",
    help=(
        "Write the corrected map (fiboa, with reviewer and time) and training labels; "
        "undecided pixels are 255."
    ),
)
@given_map
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder: fields.parquet, rejected.parquet, labels/.",
)
@image
@click.option("--labels/--no-labels", default=True, show_default=True, help="Write the labels too.")
@click.option(
    "--size",
    type=click.IntRange(8),
    default=256,
    show_default=True,
    help="Edge of a chip of the labels in pixels.",
)
@click.option(
    "--boundary",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Boundary inside each field in pixels.",
)
@click.option(
    "--around",
    type=click.IntRange(0),
    default=32,
    show_default=True,
    help="Pixels around a decided field in which background counts as known.",
)
@click.option(
    "--val",
    type=click.FloatRange(0, 0.9),
    default=0.2,
    show_default=True,
    help="Share kept for validation.",
)
@click.option("-f", "--force", is_flag=True, help="Replace what is there.")
def export_command(
    given: Place,
    out: Path,
    image: Place | None,
    labels: bool,
    size: int,
    boundary: int,
    around: int,
    val: float,
    force: bool,
) -> None:
    """Write what came of a review."""
    from selion import review

    options = review.LabelOptions(size, boundary, around, val)
    done = review.export_review(
        review.find_map(given, image), out, options, labels=labels, force=force
    )
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(_said(done.counts, {}), err=True)
    if done.labels is not None:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in done.labels.shares.items())
        click.echo(
            (
                f"Labels: {sum(done.labels.chips.values()):,} chips "
                f"({_splits(done.labels.chips)}); {shares}."
            ),
            err=True,
        )
    click.echo(str(done.table))


@review_group.command(
    "annotations",
    help=(
        "Write the fields and pictures of the image for a tool that draws: COCO's JSON (CVAT, "
        "FiftyOne) or Label Studio's."
    ),
)
@given_map
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder: images/ and instances.json, or tasks.json and config.xml.",
)
@click.option(
    "--form",
    type=click.Choice(["coco", "label-studio"]),
    default="coco",
    show_default=True,
    help="What the tool reads.",
)
@image
@click.option(
    "--size",
    type=click.IntRange(16, 8192),
    default=1024,
    show_default=True,
    help="Edge of a picture in pixels at most.",
)
@click.option(
    "--rle",
    "masks",
    is_flag=True,
    help="Masks (RLE, brush) instead of polygons: rounded to pixels.",
)
@opt.force
def annotations_command(
    given: Place,
    out: Path,
    form: str,
    image: Place | None,
    size: int,
    *,
    masks: bool,
    force: bool,
) -> None:
    """Hand fields to another tool."""
    from selion import review
    from selion.web.review_frame import Frame

    files = review.find_map(given, image)
    frame = Frame(files.read(), files.image, None)
    first = frame.layers[0].name if frame.layers else ""
    done = review.send_annotations(
        files, out, form, lambda box: frame.picture(first, box), size=size, masks=masks, force=force
    )
    click.echo(
        f"{done.outlines:,} outlines on {_pictures(done.pictures)}.  What the tool exports comes "
        f"back with: selion review import {given} EXPORTED.json --person NAME",
        err=True,
    )
    click.echo(str(done.table))


@review_group.command(
    "import",
    help=(
        "Take what was drawn in CVAT, Label Studio or another tool (JSON of COCO or Label Studio) "
        "into the log of the review: outlines that changed, are gone or are new; the others count "
        "as accepted. All of it can be taken back."
    ),
)
@given_map
@click.argument("drawn", metavar="JSON", type=click.Path(path_type=Path))
@click.option("--person", required=True, help="Name recorded with each action.")
@image
@click.option(
    "--accept/--leave",
    default=True,
    show_default=True,
    help="Whether fields that came back as they went count as accepted.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def import_command(
    given: Place,
    drawn: Path,
    person: str,
    image: Place | None,
    *,
    accept: bool,
    dry_run: bool,
) -> None:
    """Take fields back from another tool."""
    from selion import review
    from selion.web.screening import check_person

    files = review.find_map(given, image)
    done = review.receive_annotations(
        files, drawn, check_person(person), accept=accept, try_only=dry_run
    )
    for problem in done.problems[:PROBLEMS]:
        click.echo(problem, err=True)
    if len(done.problems) > PROBLEMS:
        click.echo(f"... and {len(done.problems) - PROBLEMS:,} more.", err=True)
    parts = ", ".join(f"{count:,} {name}" for name, count in done.counts.items())
    click.echo(f"{_pictures(done.pictures)}{' (nothing is written)' if dry_run else ''}: {parts}.")


@review_group.command("status", help="Show the progress of a review, and who did what.")
@given_map
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status_command(given: Place, as_json: bool) -> None:
    """Count."""
    import json

    from selion import review

    files = review.find_map(given)
    state = review.replay(files.read(), files.log)
    people = review.people(state)
    if as_json:
        click.echo(
            json.dumps(
                {
                    **state.counts(),
                    "people": people,
                    "skipped": state.skipped,
                    "log": str(files.log),
                }
            )
        )
        return
    words = {one.kind: one.answer for one in review.asked_of(files)}
    click.echo(_said(state.counts(), {one.status: one.answer for one in review.asked_of(files)}))
    for person, done in people.items():
        kinds = ", ".join(
            f"{count:,} {words.get(kind, kind)}"
            for kind, count in done.items()
            if kind not in ("actions", "minutes")
        )
        click.echo(
            f"{person}: {done['actions']:,.0f} actions in {done['minutes']:.1f} minutes ({kinds})"
        )
    if state.skipped:
        click.echo(
            f"{state.skipped:,} lines of the log are damaged or do not fit and were skipped."
        )


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _said(counts: dict[str, int], words: Mapping[str, str]) -> str:
    parts = ", ".join(
        f"{counts[name]:,} {words.get(name, name)}"
        for name in counts
        if name not in ("total", "decided") and counts[name]
    )
    return f"{counts['decided']:,} of {counts['total']:,} fields decided: {parts}."


def _splits(chips: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in chips.items())
