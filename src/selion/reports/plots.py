"""The page of a trial: its plots as a map coloured by cover, and every plot with its picture."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion import store
from selion.closerange.overlay import bare_of
from selion.closerange.plot_tables import LAYER, MASK, RUN, STEPS, TABLE
from selion.errors import counted
from selion.fields.style import CIVIDIS
from selion.reports import page

if TYPE_CHECKING:
    from selion.closerange.plot_tables import PlotRun

INDEX = "index.html"
WIDTH = 1000.0
"""Of the map, in units of its drawing."""
UNKNOWN = "#d0d0d0"
LETTERS = (12, 34)
"""Height of a plot's name in units of the map: smaller ones are left out, none is larger."""
BRIGHT = 0.25
"""Cover above which a plot is too bright for white letters."""
LOW = "svg.chart{max-height:30rem}"
"""A trial of few plots fills no screen."""
MOST = 2000
"""Plots with pictures on the page; the table has all."""


def write_page(run: PlotRun, folder: Path) -> Path:
    """Write ``index.html`` into the folder of a run; what is there is replaced."""
    names = [bare_of(row["picture"]) for row in run.rows if row.get("picture")]
    bare = {name for name in names if (folder / name).is_file()}
    store.write_text(folder / INDEX, to_html(run, bare), force=True)
    return folder / INDEX


def to_html(run: PlotRun, bare: Collection[str] = ()) -> str:
    """Lay a run out as a page; ``bare`` are places of pictures without their masks."""
    rows = sorted(run.rows, key=lambda row: (row["trust"] == "yes", row["plot"]))
    sections = [
        page.section("The trial", draw_map(run), page.table(["", ""], _facts(run)), _links()),
        page.section(f"Plots ({len(rows):,})", _grid(rows[:MOST], bare)),
    ]
    lead = (
        f"{counted(len(rows), 'plot')} of {run.image}, measured with the model {run.model} at "
        f"{run.gsd * 1000:.3g} mm a pixel."
    )
    return page.page("Cover by plot", lead, sections, "selion", wide=True, style=page.MASKED + LOW)


def colour_of(cover: float | None) -> str:
    """Return the colour of a plot on the map: five steps, dark to bright; gray without cover."""
    if cover is None or cover != cover:  # noqa: PLR0124  # NaN is not itself
        return UNKNOWN
    return next(colour for colour, high in zip(CIVIDIS, STEPS[1:], strict=True) if cover <= high)


def draw_map(run: PlotRun) -> str:
    """Draw the plots' outlines, filled by cover, with a legend; north is up."""
    bounds = [plot.outline.bounds for plot in run.plots]
    west, south = (min(one[k] for one in bounds) for k in (0, 1))
    east, north = (max(one[k] for one in bounds) for k in (2, 3))
    unit = WIDTH / max(east - west, north - south, 1e-12)
    shapes = [
        _shape(plot.outline, row, (west, north, unit))
        for plot, row in zip(run.plots, run.rows, strict=True)
    ]
    width, height = (east - west) * unit, (north - south) * unit
    drawing = (
        f'<svg class="chart" preserveAspectRatio="xMinYMin" viewBox="-2 -2 {width + 4:.0f} '
        f'{height + 4:.0f}" role="img" aria-label="Map of {len(shapes)} plots coloured by cover">'
        f"{''.join(shapes)}</svg>"
    )
    names = [f"{low:.0%} to {high:.0%}" for low, high in pairwise(STEPS)]
    key = page.legend(dict(zip(names, CIVIDIS, strict=True)) | {"not measured": UNKNOWN})
    return page.chart(drawing, f"Cover: {key}")


def _shape(outline: Any, row: dict[str, Any], frame: tuple[float, float, float]) -> str:
    west, north, unit = frame
    parts = getattr(outline, "geoms", [outline])
    path = "".join(
        "M"
        + "L".join(f"{(x - west) * unit:.1f} {(north - y) * unit:.1f}" for x, y, *_ in ring.coords)
        + "Z"
        for part in parts
        if part.geom_type == "Polygon"
        for ring in (part.exterior, *part.interiors)
    )
    cover = row.get("cover")
    said = f"{row['plot']}: {'not measured' if cover is None else f'{cover:.0%}'}"
    return (
        f'<path d="{path}" fill="{colour_of(cover)}" stroke="#333" stroke-width="1" '
        f'fill-rule="evenodd"><title>{escape(said)}</title></path>'
    ) + _name(outline, row, frame)


def _name(outline: Any, row: dict[str, Any], frame: tuple[float, float, float]) -> str:
    """Write a plot's name and cover onto it, where there is room for both lines."""
    west, north, unit = frame
    left, low, right, high = outline.bounds
    cover, name = row.get("cover"), str(row["plot"])
    lines = [name, "" if cover is None else f"{cover:.0%}"]
    room = (right - left) * unit / (0.7 * max(map(len, lines))), (high - low) * unit / 3
    size = min(*room, LETTERS[1])
    if size < LETTERS[0]:
        return ""
    inside = outline.representative_point()
    x, y = (inside.x - west) * unit, (north - inside.y) * unit
    ink = "#fff" if cover is not None and cover <= BRIGHT else "#111"
    return "".join(
        f'<text x="{x:.1f}" y="{y + down:.1f}" text-anchor="middle" font-size="{size:.0f}" '
        f'fill="{ink}" pointer-events="none" aria-hidden="true">{escape(line)}</text>'
        for line, down in zip(lines, (-0.2 * size, size), strict=True)
        if line
    )


def _facts(run: PlotRun) -> list[list[object]]:
    covers = [row["cover"] for row in run.rows if row.get("cover") is not None]
    facts: list[list[object]] = [["model", f"{run.model}: {run.about}"]]
    if covers:
        span = f"from {min(covers):.1%} to {max(covers):.1%}"
        facts.append(["cover", f"median {statistics.median(covers):.1%}, {span}"])
    doubted = f"{run.untrusted:,} of {len(run.rows):,}"
    facts.append(["not to be trusted unseen", doubted])
    facts.append(["left out along each edge", f"{run.options.buffer:g} m"])
    return facts + [["note", note] for note in run.notes]


def _links() -> str:
    names = (TABLE, LAYER, MASK, RUN)
    links = ", ".join(f'<a href="{name}">{name}</a>' for name in names)
    return f"<p>Files: {links}</p>"


def _grid(rows: list[dict[str, Any]], bare: Collection[str]) -> str:
    cards = "".join(_card(row, bare) for row in rows)
    return f'{page.MASKS if bare else ""}<div class="grid">{cards}</div>'


def _card(row: dict[str, Any], bare: Collection[str]) -> str:
    cover = row.get("cover")
    picture, bar, words = "", "", "<p>not measured</p>"
    if row.get("picture"):
        said = f"plot {row['plot']} with outlines around plants"
        other = bare_of(row["picture"])
        picture = page.pictures(row["picture"], other if other in bare else "", said)
    if cover is not None:
        low, high = row["cover_low"], row["cover_high"]
        bar = page.band(low, high, cover)
        pieces = f", {row['components']:,} pieces" if "components" in row else ""
        span = f'<span class="soft">({low:.0%} to {high:.0%})</span>'
        words = f"<p>cover {cover:.1%} {span}{pieces}</p>"
    why = f'<p class="why">{escape(row["reasons"])}</p>' if row["reasons"] else ""
    kind = "yes" if row["trust"] == "yes" else "no"
    name = f"<p><strong>{escape(row['plot'])}</strong></p>"
    return f'<div class="card {kind}">{picture}{bar}{name}{words}{why}</div>'
