"""``selion watch``: how the jobs of a plan stand, on a page or in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selion.cli import options as opt
from selion.cli.serving import serve, serving_options

HELP = """Open a page that shows how the jobs of PLAN stand: which wait, run, failed (with the last
lines of their logs) and are finished, on a map; throughput, time left, and cost so far by the
plan's prices. The jobs may run on this machine or on others that share the folder; nothing of it is
changed. The page is served on this machine only."""


@click.command("watch", help=HELP)
@click.argument("plan", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="Print it once in the terminal, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print it once as JSON, and stop.")
@serving_options
def watch_command(plan: Path, *, once: bool, as_json: bool, port: int, browser: bool) -> None:
    """Serve until the person stops it, or print once."""
    from selion.country import plan_standing, shown_standing

    if once or as_json:
        opt.refuse_given(["port", "browser"], "no page is opened with --once or --json")
        standing = plan_standing(plan)
        if as_json:
            opt.refuse_given(["once"], "--json prints once anyhow")
            click.echo(json.dumps({"event": "standing", **standing.facts()}))
        else:
            click.echo(shown_standing(standing))
        return
    from selion.web import server
    from selion.web.standing import NAME, watch_page

    page = watch_page(plan)
    click.echo(shown_standing(plan_standing(plan)))
    opened, address, _running = server.listen(plan, port)
    url = address.url(NAME)
    click.echo(f"Open {url}")
    serve(server.make_app([page], address), opened, url, browser=browser)
    click.echo("Stopped.")
