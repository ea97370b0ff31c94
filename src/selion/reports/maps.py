"""The page of a map.

The image with its fields, how large and how sure they are, and what they were made from.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import store
from selion.errors import counted
from selion.fields.style import CIVIDIS
from selion.reports import page, picture
from selion.reports.place import place_facts, scale_bar
from selion.reports.seasons import seasons_figure

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from odc.geo.geobox import GeoBox

    from selion.pipeline.tile_seasons import TileSeasons
    from selion.raster import Source

LONGEST = 1000
"""Longer side of the picture in pixels."""
HECTARES = (0, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50)
"""Where the bars of field sizes begin; the last has no end."""
SURE = (0, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Where the bars of confidence begin."""
OUTLINE = "#{:02x}{:02x}{:02x}".format(*picture.COLOURS["fields"])
RAMP = ("#1c0f3a", *CIVIDIS)
"""Colours of :data:`SURE`, dark to bright."""
WORDS = {
    "total_ha": "hectares in all",
    "median_ha": "hectares of the median field",
    "mean_confidence": "mean confidence",
    "mean_consistency": "mean consistency",
}


def write_report(
    source: Source,
    frame: GeoDataFrame,
    path: Path,
    *,
    name: str = "",
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    seasons: Sequence[TileSeasons] = (),
) -> Path:
    """Write the page of a map; what is there is replaced.

    Parameters
    ----------
    source : Source
        The image.
    frame : GeoDataFrame
        Its fields.
    path : path
        ``.html``.
    name : str
        What the map is called there; by default as the page.
    facts : mapping
        As :func:`selion.pipeline.maps.summarise` returns them.
    notes : sequence of str
        Sentences that the user should read.
    details : mapping, optional
        What the map was made from.
    seasons : sequence of TileSeasons
        The tiles that were composed, each with its seasons: a picture of them, if there are any.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    name = name or path.stem.removesuffix(".report")
    store.write_text(
        path,
        to_html(source, frame, name, facts, notes, details or {}, seasons),
        force=True,
    )
    return path


def to_html(
    source: Source,
    frame: GeoDataFrame,
    name: str,
    facts: Mapping[str, Any],
    notes: Sequence[str],
    details: Mapping[str, Any],
    seasons: Sequence[TileSeasons] = (),
) -> str:
    """Lay a map out as a self-contained page."""
    shown, step = picture.thumbnail(source, LONGEST)
    factor = max(1, LONGEST // (2 * max(shown.shape[:2]))) if step == 1 else 1
    shown = picture.enlarge(shown, factor)
    grid = picture.zoomed(source.grid, factor)
    found = picture.draw_outlines(shown, frame, grid, step)
    compared = page.slider(
        page.Figure(
            picture.data_uri(found),
            "The fields that were found.",
            "The image with the outlines of the fields",
        ),
        page.Figure(picture.data_uri(shown), "The image.", "The image in the colours of its bands"),
        page.legend({"outline of a field": OUTLINE}),
        scale_bar(source.grid),
    )
    rows = [
        [WORDS.get(key, key.replace("_", " ")), _written(key, value)]
        for key, value in facts.items()
        if value is not None
    ]
    sections = [
        page.section("Fields", compared, page.table(["", ""], rows)),
        page.section("Where it is", page.table(["", ""], place_facts(source.grid))),
        page.section(
            "How large, how sure", page.row([*_sure(frame, shown, grid, step), *_charts(frame)])
        ),
    ]
    if seasons:
        sections.append(page.section("Seasons of each tile", seasons_figure(seasons)))
    if notes:
        sections.append(page.section("Notes", *(page.paragraph(note) for note in notes)))
    made = [
        [key, value if isinstance(value, str) else json.dumps(value, default=str)]
        for key, value in details.items()
    ]
    if made:
        sections.append(page.section("What it was made from", page.table(["", ""], made)))
    return page.page(
        f"Map: {name}",
        _lead(source, frame),
        sections,
        f"selion {selion.__version__}",
    )


def _written(key: str, value: object) -> object:
    """Write hectares with two digits: square decimetres of a country say nothing."""
    return f"{value:,.2f}" if key.endswith("_ha") and isinstance(value, float) else value


def _lead(source: Source, frame: GeoDataFrame) -> str:
    """Say how many fields lie on how much land; of a photograph, in how many pixels."""
    facts = {str(name): str(value) for name, value in place_facts(source.grid)}
    count = counted(len(frame), "field")
    if "centre" not in facts:
        return f"{count} in {facts['pixels']} pixels."
    return f"{count} on {facts['area shown'].partition(' (')[0]} around {facts['centre']}."


def _sure(frame: GeoDataFrame, shown: np.ndarray, grid: GeoBox, step: int) -> list[str]:
    """Show fields filled by their confidence, with the colours explained."""
    if not len(frame):
        return []
    steps = np.array([*SURE, np.inf])
    sure = np.nan_to_num(frame["confidence"].to_numpy(float))
    ranks = np.digitize(sure, steps[1:-1])
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(SURE)]
    names.append(f"{SURE[-1]:g} and more")
    image = picture.fill_fields(shown, frame, grid, [RAMP[k] for k in ranks], step)
    figure = page.Figure(
        picture.data_uri(image),
        "Each field by the confidence of the model: look at the dark ones first.",
        "The image with the fields filled by confidence",
    )
    key = page.legend(dict(zip(names, RAMP, strict=True)))
    return [f"<div>{page.figures([figure])}<p>Confidence: {key}</p></div>"]


def _charts(frame: GeoDataFrame) -> list[str]:
    charts = []
    if len(frame) and frame.crs is not None:
        charts.append(
            bars(
                "Fields by size in hectares",
                frame["metrics:area"].to_numpy(float) / 10_000,
                HECTARES,
            )
        )
    if len(frame):
        charts.append(bars("Fields by confidence", frame["confidence"].to_numpy(float), SURE))
    return charts or [page.paragraph("There are no fields.")]


def bars(title: str, values: np.ndarray, bounds: Sequence[float]) -> str:
    """Draw how many values lie from each bound to the next, the last one open.

    The numbers stand on the bars.
    """
    counts = np.histogram(values, [*bounds, np.inf])[0]
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(bounds)] + [
        f"{bounds[-1]:g} and more"
    ]
    top, drawn = max(int(counts.max()), 1), []
    for k, (name, count) in enumerate(zip(names, counts.tolist(), strict=True)):
        y, width = 4 + 17 * k, 220 * count / top
        drawn.append(
            f'<text x="92" y="{y + 11}" text-anchor="end">{name}</text><rect x="98" y="{y}" '
            f'width="{width:.1f}" height="14" fill="var(--accent)"/>'
        )
        drawn.append(f'<text x="{102 + width:.1f}" y="{y + 11}">{count:,}</text>')
    label = f"{title}: " + "; ".join(
        f"{name} {count:,}" for name, count in zip(names, counts.tolist(), strict=True)
    )
    svg = (
        f'<svg class="chart" viewBox="0 0 390 {8 + 17 * len(names)}" role="img" '
        f'aria-label="{escape(label)}">{"".join(drawn)}</svg>'
    )
    return page.chart(svg, escape(title))
