"""A background map from elsewhere, only where somebody asks for one by its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from selion.errors import BadInput

HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?")
PARTS = ("{z}", "{x}", "{y}")


@dataclass(frozen=True)
class Background:
    """Tiles of a server."""

    url: str
    """With {z}, {x} and {y}."""
    host: str

    @property
    def origin(self) -> str:
        """What the page may load besides its own."""
        return f"{urlsplit(self.url).scheme}://{self.host}"


def read_background(url: str) -> Background:
    """Read the address of a tile server.

    Raises
    ------
    BadInput
        If it is none with {z}, {x} and {y}.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    sound = (
        parts.scheme in ("http", "https")
        and HOST.fullmatch(parts.netloc)
        and not set(url) & set(" \t\r\n\"'<>;")
    )
    if not sound or any(each not in url for each in PARTS):
        raise BadInput(
            f"--basemap {url[:80]!r} is no address of tiles: wanted is one as "
            "https://tiles.example.org/{z}/{x}/{y}.png, in quotes."
        )
    return Background(url, parts.netloc)
