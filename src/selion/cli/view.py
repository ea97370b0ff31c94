"""``selion view``: a page on which one looks at imagery, scores, fields and photographs."""

from __future__ import annotations

from pathlib import Path

import click

from selion.cli.serving import serve, serving_options


@click.command(
    "view",
    help=(
        "Open a page with a map of what lies in PATHS: the folder of `selion map`, `demo` or "
        "`crops`, GeoTIFFs (COG), fields (GeoParquet, PMTiles, GeoPackage, FlatGeobuf, GeoJSON), "
        "photographs. It is served on this machine only, from these files only, and needs no "
        "network."
    ),
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@serving_options
def view_command(paths: tuple[Path, ...], port: int, browser: bool) -> None:
    """Serve until the person stops it."""
    from selion.web import server
    from selion.web.view.page import view_page

    page, found = view_page(paths)
    opened, address, _running = server.listen(paths[0], port)
    app = server.make_app([page], address)
    for problem in found.problems:
        click.echo(f"Not shown: {problem}", err=True)
    click.echo(f"{found.summary()}  Open {address.url('view')}")
    try:
        serve(app, opened, address.url("view"), browser=browser)
    finally:
        found.close()
    click.echo("Stopped.")
