"""A picture of the seasons of a run: each tile in the colour of its two stretches of days."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from selion import store
from selion.errors import counted
from selion.fields.style import CIVIDIS
from selion.pipeline.tile_seasons import TileSeasons, grouped, reasons
from selion.reports import page

COLOURS = ("#1f77b4", "#e6842a", "#2a9d5c", "#8c5aa8", "#b9a400", "#c2456a", "#4db6c6", "#7a5c3e")
WIDTH, HEIGHT = 640.0, 460.0
"""Most pixels of the drawing; it has the shape of the land."""
ROWS = 24
"""Pairs of seasons that are listed."""
LINE = 16.0
"""Pixels from one line of the key to the next, in a file of its own."""
TEXT = 44.0
"""Least pixels of a tile in which its name is written."""


def write_seasons(tiles: Sequence[TileSeasons], path: Path) -> Path:
    """Write the drawing alone, as SVG with its days below.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    store.write_text(path, to_svg(tiles, coloured(tiles), alone=True) + "\n", force=True)
    return path


def coloured(tiles: Sequence[TileSeasons]) -> dict[tuple[str, str], str]:
    """Return the colour of each pair of seasons, in the order of the days."""
    groups = grouped(tiles)
    return dict(zip((days for days, _ in groups), shades(len(groups)), strict=True))


def seasons_figure(tiles: Sequence[TileSeasons]) -> str:
    """Draw tiles by their seasons, with the days of each colour, as a part of a page."""
    groups, colours = grouped(tiles), coloured(tiles)
    key = page.legend({_words(days): colour for days, colour in list(colours.items())[:8]})
    rows = [[*days, len(ones), latitudes(ones), reasons(ones)] for days, ones in groups[:ROWS]]
    more = "" if len(groups) <= ROWS else page.paragraph(f"And {len(groups) - ROWS} more pairs.")
    return (
        page.chart(to_svg(tiles, colours), key)
        + page.table(["planting", "harvest", "tiles", "latitudes", "why"], rows)
        + more
    )


def to_svg(
    tiles: Sequence[TileSeasons], colours: dict[tuple[str, str], str], *, alone: bool = False
) -> str:
    """Draw tiles in longitude and latitude, as they look in their middle.

    Parameters
    ----------
    tiles : sequence of TileSeasons
    colours : mapping
        Days of the two seasons -> colour.
    alone : bool
        Whether the drawing is a file of its own, and not a part of a page.
    """
    rings = [[_ring(part) for part in tile.outline.geometry.geoms] for tile in tiles]
    every = np.concatenate([ring for ones in rings for ring in ones])
    if np.ptp(every[:, 0]) > 180:  # over the antimeridian
        rings = [
            [np.where(ring[:, :1] < 0, ring + np.array([360.0, 0.0]), ring) for ring in ones]
            for ones in rings
        ]
        every = np.concatenate([ring for ones in rings for ring in ones])
    low, high = every.min(0), every.max(0)
    shrink = max(float(np.cos(np.radians((low[1] + high[1]) / 2))), 0.1)
    scale = min(WIDTH / ((high[0] - low[0]) * shrink), HEIGHT / (high[1] - low[1]))
    stretch = np.array([scale * shrink, -scale])
    origin = np.array([low[0], high[1]])
    width, height = (high - low) * np.abs(stretch)
    drawn = []
    for tile, ones in zip(tiles, rings, strict=True):
        moved = [(ring - origin) * stretch for ring in ones]
        colour = colours[tile.days]
        words = f"{tile.name}: {tile.days[0]}; {tile.days[1]}"
        shapes = "".join(
            f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in ring)}"/>' for ring in moved
        )
        drawn.append(
            f'<g fill="{colour}" fill-opacity=".55" stroke="{colour}"><title>{escape(words)}'
            f"</title>{shapes}</g>"
        )
        box = np.concatenate(moved)
        if np.ptp(box[:, 0]) >= TEXT and len(ones) == 1:
            x, y = (box.min(0) + box.max(0)) / 2
            drawn.append(
                f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{escape(tile.name)}</text>'
            )
    said = (
        f"{counted(len(tiles), 'tile')} in {counted(len(colours), 'pair')} of seasons: "
        + "; ".join(_words(days) for days in list(colours)[:8])
    )
    file = ""
    if alone:
        file = ' xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11"'
        for number, (days, colour) in enumerate(list(colours.items())[:ROWS]):
            y = LINE * (number + 1)
            drawn.append(
                f'<rect x="0" y="{height + y - 9:.1f}" width="10" height="10" fill="{colour}" '
                f'fill-opacity=".55"/><text x="16" y="{height + y:.1f}">{_words(days)}</text>'
            )
        height += LINE * (min(len(colours), ROWS) + 0.5)
        width = max(width, 400.0)
    return (
        f'<svg{file} viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}" '
        f'width="{width + 4:.0f}" role="img" aria-label="{escape(said)}">{"".join(drawn)}</svg>'
    )


def shades(count: int) -> list[str]:
    """Return as many colours: told apart if they are few, from dark to bright if they are many."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    steps = np.array([[int(one[k : k + 2], 16) for k in (1, 3, 5)] for one in CIVIDIS], float)
    at = np.linspace(0, len(steps) - 1, count)
    mixed = np.stack([np.interp(at, range(len(steps)), steps[:, k]) for k in range(3)], axis=1)
    return ["#" + "".join(f"{int(value):02x}" for value in one) for one in mixed]


def latitudes(tiles: Sequence[TileSeasons]) -> str:
    """Return between which latitudes the middles of tiles lie."""
    from selion.imagery import middle

    found = [middle(tile.grid)[1] for tile in tiles]
    words = [f"{abs(one):.1f} {'N' if one > 0 else 'S'}" for one in (min(found), max(found))]
    return " to ".join(dict.fromkeys(words))


def _words(days: tuple[str, str]) -> str:
    return f"{days[0]} and {days[1]}"


def _ring(polygon: object) -> np.ndarray:
    return np.array(polygon.exterior.coords)[:, :2]  # type: ignore[attr-defined]  # a Polygon
