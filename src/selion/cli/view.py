"""``selion view``: a page on which one looks at imagery, scores, fields and photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from selion.cli import options as opt
from selion.cli.serving import serve, serving_options

if TYPE_CHECKING:
    from selion.store import Place


@click.command(
    "view",
    help=(
        "Open a page with a map of what lies in PATHS: the folder of `selion map`, `demo` or "
        "`crops`, GeoTIFFs (COG), fields (GeoParquet, PMTiles, GeoPackage, FlatGeobuf, GeoJSON), "
        "photographs; or of what lies at addresses (https://, s3://), of which only what is "
        "looked at is fetched. It is served on this machine only, from these files only, and "
        "needs no other network."
    ),
)
@click.argument("paths", nargs=-1, required=True, type=opt.place)
@click.option(
    "--places",
    "names",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Places that the search box knows by name: CSV (name, lat, lon) or GeoJSON.",
)
@click.option(
    "--basemap",
    metavar="URL",
    help=(
        "Tiles under all, as 'https://tiles.example.org/{z}/{x}/{y}.png'; only with it is "
        "anything loaded from elsewhere."
    ),
)
@click.option(
    "--map-into",
    "into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Let areas that are drawn on the page be mapped, each into a folder of its own in here.",
)
@click.option(
    "-m", "--model", default=None, help="With --map-into: model name or folder, as of selion map."
)
@click.option(
    "--truth",
    "labels",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help=(
        "Masks that are the truth of the photographs of `selion crops`, called as they are: the "
        "worst come first, with what was missed and what was too much."
    ),
)
@serving_options
def view_command(
    paths: tuple[Place, ...],
    names: Path | None,
    basemap: str | None,
    into: Path | None,
    model: str | None,
    labels: Path | None,
    port: int,
    browser: bool,
) -> None:
    """Serve until the person stops it."""
    from selion.web import server
    from selion.web.view.page import view_page

    page, found = view_page(
        paths, names=names, basemap=basemap, into=into, model=model, labels=labels
    )
    opened, address, _running = server.listen(Path(str(paths[0])), port)
    app = server.make_app([page], address)
    for problem in found.problems:
        click.echo(f"Not shown: {problem}", err=True)
    click.echo(f"{found.summary()}  Open {address.url('view')}")
    try:
        serve(app, opened, address.url("view"), browser=browser)
    finally:
        found.close()
    click.echo("Stopped.")
