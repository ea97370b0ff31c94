"""``selion label screen`` and ``selion label report``.

A page on which people pass masks, and what came of it.
"""

from __future__ import annotations

from pathlib import Path

import click

from selion.cli.serving import serve, serving_options


@click.command(
    "screen",
    help=(
        "Screen masks in the browser, many at a time. PHOTOS is a folder of "
        "photographs, PSEUDO the one of `selion label depth`, or any folder of PNG masks named "
        "like the photographs. Decisions go to PSEUDO/decisions.jsonl; the same command continues "
        "where it stopped, and several people may screen one folder at the same time."
    ),
)
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("pseudo", type=click.Path(path_type=Path))
@click.option(
    "--person", default="", help="Name recorded with each decision [default: the page asks]."
)
@click.option(
    "--sam",
    type=click.Path(path_type=Path),
    default=None,
    help="Checkpoint of SAM, SAM 2 or SAM-HQ: in a mask that is corrected a click finds an edge.",
)
@serving_options
@click.option(
    "--repeats",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of the images that is shown twice, to measure agreement.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=None,
    help="Threads that draw pictures ahead [default: all].",
)
def screen_command(
    photos: Path,
    pseudo: Path,
    person: str,
    sam: Path | None,
    port: int,
    browser: bool,
    repeats: float,
    threads: int | None,
) -> None:
    """Serve until the person stops it."""
    from selion.web import server
    from selion.web.correcting import correcting_page
    from selion.web.screening import check_person, screening_page

    name = check_person(person) if person else ""
    clicked = None
    if sam is not None:
        from selion.data.photos import read_colours
        from selion.models.sam.click import ClickedObject  # and torch, in seconds

        clicked = ClickedObject(sam, read_colours)
    page, screening = screening_page(photos, pseudo, name, repeats, threads, corrects=True)
    correcting = correcting_page(screening, name, clicked)
    opened, address, running = server.listen(pseudo, port)
    app = server.make_app([page, correcting], address)
    for note in screening.listing.notes:
        click.echo(note, err=True)
    if running is not None:
        click.echo(
            (
                f"Another screening of this folder runs at {running.url('screen')}; both write the "
                "same log, and nothing of either is lost."
            ),
            err=True,
        )
    click.echo(
        f"{len(screening.listing.items):,} masks, {len(screening.journal.history.keys):,} "
        f"decided.  Open {address.url('screen')}"
    )
    serve(app, opened, address.url("screen"), browser=browser)
    click.echo(
        f"Stopped.  Decisions are in {screening.journal.path}; the same command "
        "continues from here."
    )


@click.command("report", help="Report a screening: speed, agreement, disagreements.")
@click.argument("pseudo", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Where to write the page [default: PSEUDO/screening.html].",
)
def report_command(pseudo: Path, out: Path | None) -> None:
    """Print the report and write it as a page."""
    from selion.reports.screening import to_text, write_report

    found, place = write_report(pseudo, out)
    click.echo(to_text(found))
    click.echo(place)
