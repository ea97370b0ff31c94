"""Figures 6 and 7 of PRUE as SVG, from their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

Line = Mapping[str, str]
SHOWN = 5
"""Countries at each end that Figure 6 draws, as in the paper."""
HIGH = ("#1b7837", "#3f9a57", "#6fb77f", "#2c8c99", "#4fb3bf")
LOW = ("#b2450f", "#d9772f", "#e0a458", "#a13d63", "#c76d8f")
MODELS = {"ftw-v1": "#d9772f", "prue-b7": "#2c6fbb"}
OTHER = "#777777"
LEFT, TOP, WIDTH, HEIGHT, LEGEND = 46, 30, 300, 220, 190


def draw_sweeps(lines: Sequence[Line]) -> tuple[str, str]:
    """Draw Figure 6: one panel for each model, a line for each country.

    Returns
    -------
    svg, caption : str
    """
    models = list(dict.fromkeys(line["model"] for line in lines))
    overlaps = sorted({int(line["overlap_px"]) for line in lines})
    least = min(float(line["consistency"]) for line in lines)
    bottom = np.floor(least * 10) / 10 if least < 1 else 0.9
    panel = LEFT + WIDTH + LEGEND
    parts = []
    for k, model in enumerate(models):
        mine = [line for line in lines if line["model"] == model]
        parts.append(
            f'<g transform="translate({k * panel} 0)">'
            f"{_sweep_panel(mine, _titled(mine[0]), overlaps, bottom)}</g>"
        )
    caption = (
        "Share of the pixels on which four corner crops of a chip agree, by their overlap. Green "
        f"and blue: the {SHOWN} countries with the highest mean; orange and red: the {SHOWN} with "
        "the lowest."
    )
    return _svg(panel * len(models), TOP + HEIGHT + 44, parts, "Agreement against overlap"), caption


def _sweep_panel(lines: Sequence[Line], title: str, overlaps: Sequence[int], bottom: float) -> str:
    by_country: dict[str, dict[int, float]] = {}
    for line in lines:
        by_country.setdefault(line["country"], {})[int(line["overlap_px"])] = float(
            line["consistency"]
        )
    ranked = sorted(by_country, key=lambda name: -float(np.mean(list(by_country[name].values()))))
    ends = ranked if len(ranked) <= 2 * SHOWN else [*ranked[:SHOWN], *ranked[-SHOWN:]]
    half = (len(ends) + 1) // 2
    colours = [*HIGH[:half], *LOW[: len(ends) - half]]
    first, last = overlaps[0], overlaps[-1]

    def place(overlap: float, share: float) -> tuple[float, float]:
        across = (overlap - first) / max(last - first, 1)
        return LEFT + WIDTH * across, TOP + HEIGHT * (1 - (share - bottom) / (1 - bottom))

    parts = [_words(LEFT, 16, title, bold=True), _frame()]
    for overlap in overlaps:
        x, y = place(overlap, bottom)
        parts.append(_words(x, y + 16, str(overlap), anchor="middle"))
    parts += _levels(bottom, 1.0, lambda share: place(first, share)[1])
    parts.append(
        _words(LEFT + WIDTH / 2, TOP + HEIGHT + 34, "overlap of the crops, px", anchor="middle")
    )
    for k, (name, colour) in enumerate(zip(ends, colours, strict=True)):
        points = [place(*pair) for pair in sorted(by_country[name].items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2">'
            f"<title>{escape(name)}</title></polyline>"
        )
        x, y = LEFT + WIDTH + 14, TOP + 10 + 18 * k
        parts.append(f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{colour}"/>')
        mean = float(np.mean(list(by_country[name].values())))
        parts.append(_words(x + 20, y, f"{name} {mean:.2f}"))
    return "".join(parts)


def draw_points(lines: Sequence[Line]) -> tuple[str, str]:
    """Draw Figure 7: a point for each country and model, and a straight line for each model.

    Returns
    -------
    svg, caption : str
    """
    known = [line for line in lines if line["object_f1"] not in ("", "nan")]
    x = np.array([float(line["consistency"]) for line in known])
    y = np.array([float(line["object_f1"]) for line in known])
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    margin = max((high - low) * 0.1, 0.005)
    low, high = low - margin, high + margin
    top = max(0.1, float(np.ceil(y.max() * 10) / 10)) if len(y) else 1.0
    wide = WIDTH + 160

    def place(share: float, f1: float) -> tuple[float, float]:
        return LEFT + wide * (share - low) / (high - low), TOP + HEIGHT * (1 - f1 / top)

    parts = [_frame(wide), *_levels(0.0, top, lambda f1: place(low, f1)[1], wide)]
    parts += [
        _words(place(share, 0)[0], TOP + HEIGHT + 16, f"{share:.3f}", anchor="middle")
        for share in np.linspace(low, high, 5)
    ]
    parts.append(_words(LEFT + wide / 2, TOP + HEIGHT + 34, "agreement", anchor="middle"))
    parts.append(_words(LEFT, 16, "object F1"))
    said = []
    for k, model in enumerate(dict.fromkeys(line["model"] for line in known)):
        mine = [n for n, line in enumerate(known) if line["model"] == model]
        colour = MODELS.get(model, OTHER)
        for n in mine:
            cx, cy = place(x[n], y[n])
            name = escape(f"{known[n]['country']}, {model}: {x[n]:.3f}, {y[n]:.3f}")
            parts.append(
                f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{colour}">'
                f"<title>{name}</title></circle>"
            )
        if len(mine) > 1 and np.ptp(x[mine]) > 0:
            slope, start = np.polyfit(x[mine], y[mine], 1)
            ends = [place(v, start + slope * v) for v in (x[mine].min(), x[mine].max())]
            (x1, y1), (x2, y2) = ends
            parts.append(
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="6 4"/>'
            )
        first = known[mine[0]]
        r2 = f"{float(first['r2']):.2f}" if first["r2"] else "not known (too few countries)"
        place_y = TOP + 10 + 18 * k
        parts.append(f'<circle cx="{LEFT + wide + 18}" cy="{place_y - 4}" r="4" fill="{colour}"/>')
        parts.append(_words(LEFT + wide + 28, place_y, _titled(first)))
        said.append(f"{_titled(first)} R2 {r2}, the paper {first['paper_r2']}")
    caption = (
        f"Agreement over a country's chips and object F1, one point a country: {'; '.join(said)}."
    )
    svg = _svg(
        LEFT + wide + LEGEND, TOP + HEIGHT + 44, parts, "Agreement against object F1 by country"
    )
    return svg, caption


def _titled(line: Line) -> str:
    return f"{line['model']} (stand-in)" if line["stand_in"] else line["model"]


def _levels(low: float, high: float, y_of: object, width: float = WIDTH) -> list[str]:
    parts = []
    steps = min(max(round((high - low) / 0.1), 2), 10)
    for level in np.linspace(low, high, steps + 1):
        y = y_of(level)  # type: ignore[operator]
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + width}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity=".15"/>'
        )
        parts.append(_words(LEFT - 6, y + 4, f"{level:.2f}", anchor="end"))
    return parts


def _frame(width: float = WIDTH) -> str:
    return (
        f'<path d="M{LEFT} {TOP}V{TOP + HEIGHT}H{LEFT + width}" fill="none" stroke="currentColor"/>'
    )


def _words(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight} '
        f'fill="currentColor">{escape(text)}</text>'
    )


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui,sans-serif" font-size="12">'
        f"{''.join(parts)}</svg>"
    )
