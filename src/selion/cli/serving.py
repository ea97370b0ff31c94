"""What the verbs that serve a page share: their options, and waiting until they are stopped."""

from __future__ import annotations

import contextlib
import threading
import webbrowser
from typing import TYPE_CHECKING

import click

from selion.cli.options import group

if TYPE_CHECKING:
    from socket import socket

    from selion.web.server import Application

port = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port on 127.0.0.1 [default: the one of last time, or a free one].",
)
browser = click.option(
    "--browser/--no-browser", default=True, show_default=True, help="Open the page."
)
serving_options = group(port, browser)


def serve(
    app: Application,
    opened: socket,
    url: str,
    *,
    browser: bool,
    until: threading.Event | None = None,
) -> None:
    """Serve until the person stops it; the person's browser opens once the server answers.

    An event stops it too.
    """
    from selion.web import server

    if browser:
        later = threading.Timer(0.5, webbrowser.open, (url,))
        later.daemon = True
        later.start()
    with contextlib.suppress(KeyboardInterrupt):
        if until is None:
            server.serve(app, opened)
        else:
            server.serve_until(app, opened, until)
