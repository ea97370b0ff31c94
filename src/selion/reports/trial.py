"""The page of a trial: a growth curve of every plot, sorted as one likes, and the photographs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.closerange.overlay import read_small, write_picture
from selion.closerange.trial_tables import BOOK, CODES, CURVES, LONG, MEANS, WHERE
from selion.errors import SelionError
from selion.progress import OnStep, silent
from selion.reports import page

if TYPE_CHECKING:
    from selion.closerange.trial import PlotGrowth, Trial, TrialPhoto

INDEX = "index.html"
WIDTH, HEIGHT, LEFT, BOTTOM = 320, 150, 42, 22
"""Of a curve, and of its margins."""
MOST = 2000
"""Plots, and photographs, on the page; the tables have all."""
NAMED = 12
"""Plots without a curve that are named."""
BARE, SMALL = "photos", 480
"""Folder of photographs without masks, and pixels along their longer side."""
ORDERS = ("by name", "earliest first", "most cover first", "doubtful first")
NEVER = date.max
STYLE = "".join(
    f"#order{k}:checked~.grid .card{{order:var(--o{k})}}" for k in range(len(ORDERS))
) + (
    "#sure:checked~.grid .card.no{display:none}"
    # the mark is part of the label, as a line may end between the two
    ".sorts input{position:absolute;opacity:0}"
    ".sorts label{display:inline-block;margin:0 1.2rem .4rem 0;white-space:nowrap}"
    ".sorts label::before{content:'\\25CB\\A0'}"
    ".sorts input:checked+label::before{content:'\\25CF\\A0'}"
    ".sorts #sure+label::before{content:'\\2610\\A0'}"
    ".sorts #sure:checked+label::before{content:'\\2611\\A0'}"
    ".sorts input:focus-visible+label{outline:2px solid}"
    ".card svg{display:block;width:100%}" + page.MASKED
)


def write_page(trial: Trial, final: Path, folder: Path, on_step: OnStep = silent) -> Path:
    """Write ``index.html`` into a folder whose final name is given: links start from there.

    Where the photographs are still there, small ones without masks are written beside it.
    """
    bare = _write_bare(trial, folder, on_step)
    store.write_text(folder / INDEX, to_html(trial, final, bare), force=True)
    return folder / INDEX


def _write_bare(trial: Trial, folder: Path, on_step: OnStep) -> dict[str, str]:
    """Write small photographs without masks; return their places by the photographs' files."""
    found: dict[str, str] = {}
    shown = _shown(trial) if trial.source is not None else []
    for number, photo in enumerate(shown, 1):
        on_step("pictures", number, len(shown), photo.row["file"])
        place = f"{BARE}/{number:05d}.jpg"
        with suppress(SelionError, OSError):  # gone since, or broken: its overlay is shown alone
            picture = read_small(Path(trial.source or "") / photo.row["file"], SMALL)
            (folder / BARE).mkdir(exist_ok=True)
            write_picture(picture, folder / place)
            found[photo.row["file"]] = place
    return found


def to_html(trial: Trial, folder: Path, bare: Mapping[str, str] | None = None) -> str:
    """Lay a trial out as a page; pictures are those of the run, linked from the folder.

    ``bare`` are places of photographs without their masks, in the folder, by file.
    """
    sections = [
        page.section("What was read", page.table(["", ""], _facts(trial)), _links(trial)),
        page.section(f"Plots ({len(trial.curves):,})", _plots(trial)),
    ]
    if trial.coded:
        sections.append(page.section("Codes in the photographs", *_codes(trial)))
    pictures = _pictures(trial, folder, bare or {})
    if pictures:
        sections.append(page.section("Photographs", pictures))
    lead = (
        "Mean cover of each plot and date, bars of one standard deviation between photographs, and "
        f"the logistic curve through them; the dotted line is a cover of {trial.options.at:.0%}."
    )
    style = STYLE + _orders(trial.curves[:MOST])
    return page.page("Growth by plot", lead, sections, "selion", wide=True, style=style)


def _facts(trial: Trial) -> list[list[object]]:
    used = sum(row["n"] for row in trial.means)
    lost = sum(bool(photo.why) for photo in trial.photos)
    left = sum(row["left_out"] for row in trial.means)
    kinds = sorted({photo.source for photo in trial.photos if photo.source})
    facts: list[list[object]] = [
        ["photographs", f"{used:,} of {len(trial.photos):,} count"],
        ["plot told by", ", ".join(kinds)],
        ["without plot or date", f"{lost:,}"],
        ["left out as not to be trusted", f"{left:,}"],
        ["plots and dates", f"{sum(row['n'] > 0 for row in trial.means):,} with a mean"],
        ["curves without a doubt", f"{sum(not one.note for one in trial.curves):,}"],
    ]
    unseen = trial.unseen
    if unseen:
        names = ", ".join(unseen[:NAMED]) + (" ..." if len(unseen) > NAMED else "")
        said = f"{len(unseen):,}: {names} (--untrusted counts them)"
        facts.append(["plots of which no photograph is to be trusted", said])
    return facts


def _codes(trial: Trial) -> list[str]:
    """Say which photograph gave which label; those without one come first."""
    rows = sorted(trial.coded.items(), key=lambda row: (not row[1].why, row[0]))
    lost = sum(bool(one.why) for one in trial.coded.values())
    lead = f"{len(rows) - lost:,} of {len(rows):,} photographs show the code of a plot."
    if lost:
        lead += (
            " Those that do not come first: look at the label in them, and name the plot in a "
            "--photo-table."
        )
    cells = [
        (file, one.plot, "; ".join(f"{code.text} ({code.kind})" for code in one.codes), one.why)
        for file, one in rows[:MOST]
    ]
    more = [page.paragraph(f"All are in {CODES}.")] if len(rows) > MOST else []
    head = ["photograph", "plot", "codes", "why none"]
    return [page.paragraph(lead), page.table(head, cells), *more]


def _links(trial: Trial) -> str:
    names = (MEANS, LONG, CURVES, WHERE, *((CODES,) if trial.coded else ()), BOOK)
    links = [f'<a href="{name}">{name}</a>' for name in names]
    return f"<p>Tables: {', '.join(links)}</p>"


def _plots(trial: Trial) -> str:
    cards = "".join(_card(one, trial.options.at) for one in trial.curves[:MOST])
    choices = "".join(
        f'<input type="radio" name="order" id="order{k}"{" checked" if not k else ""}>'
        f'<label for="order{k}">{name}</label> '
        for k, name in enumerate(ORDERS)
    )
    only = '<input type="checkbox" id="sure"><label for="sure">only without a doubt</label>'
    return f'<div class="sorts">{choices}{only}<div class="grid" id="plots">{cards}</div></div>'


def _orders(curves: Sequence[PlotGrowth]) -> str:
    """Return the place of each card in each of :data:`ORDERS`, as a style."""
    keys: tuple[Callable[[PlotGrowth], Any], ...] = (
        lambda one: one.plot,
        lambda one: (one.reached or NEVER, one.plot),
        lambda one: (-one.cover[-1], one.plot),
        lambda one: (not one.note, one.plot),
    )
    places = [_places(curves, key) for key in keys]
    return "".join(
        f"#plots .card:nth-child({k}){{{';'.join(f'--o{n}:{at}' for n, at in enumerate(card))}}}"
        for k, card in enumerate(zip(*places, strict=True), 1)
    )


def _places(curves: Sequence[PlotGrowth], key: Callable[[PlotGrowth], Any]) -> list[int]:
    """Return the place of each curve when they are sorted by a key."""
    places = [0] * len(curves)
    for place, k in enumerate(sorted(range(len(curves)), key=lambda k: key(curves[k]))):
        places[k] = place
    return places


def _card(one: PlotGrowth, at: float) -> str:
    reached = f"{at:.0%}: on none of the dates photographed, nor between"
    if one.reached:
        reached = f"{at:.0%} on {one.reached.isoformat()}"
    note = f'<p class="why">{escape(one.note)}</p>' if one.note else ""
    kind = "no" if one.note else "yes"
    dates = f"{len(one.days)} date{'' if len(one.days) == 1 else 's'}"
    return (
        f'<div class="card {kind}">{draw_curve(one, at)}'
        f"<p><strong>{escape(one.plot)}</strong> {dates}, last cover "
        f"{one.cover[-1]:.0%}</p><p>{reached}</p>{note}</div>"
    )


def draw_curve(one: PlotGrowth, at: float) -> str:
    """Draw the means of a plot, their spread and the curve, from 0 to 100 % of cover."""
    first, last = one.days[0], one.days[-1]
    span = max((last - first).days, 1)

    def place(days: float, cover: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 8) * days / span
        return x, 6 + (HEIGHT - BOTTOM - 6) * (1 - min(max(cover, 0), 1))

    parts = []
    for share in (0, 0.5, 1):
        x, y = place(0, share)
        parts.append(
            f'<text x="{LEFT - 4}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>'
            f'<line x1="{x}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            'opacity=".15"/>'
        )
    _, y = place(0, at)
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
        'stroke-dasharray="2 4" opacity=".6"/>'
    )
    if np.isfinite(one.growth.top):
        days = np.linspace(0, span, 60)
        line = " ".join(
            "{:.1f},{:.1f}".format(*place(day, value))
            for day, value in zip(days, one.growth(days), strict=True)
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="#2f8f46" stroke-width="2"/>')
    for day, cover, spread in zip(one.days, one.cover, one.spread, strict=True):
        x, y = place((day - first).days, cover)
        top, low = (place(0, cover + side * spread)[1] for side in (1, -1))
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{low:.1f}" '
            f'stroke="currentColor" opacity=".5"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3">'
            f"<title>{day.isoformat()}: {cover:.0%}</title></circle>"
        )
    ends = ((LEFT, first, "start"), (WIDTH - 8, last, "end"))
    parts += [
        f'<text x="{x}" y="{HEIGHT - 5}" text-anchor="{side}">{day.isoformat()}</text>'
        for x, day, side in ends[: 1 + (last != first)]
    ]
    label = escape(f"Cover of plot {one.plot} over time", quote=True)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return f"{head}{''.join(parts)}</svg>"


def _shown(trial: Trial) -> list[TrialPhoto]:
    """Return the photographs of the page, in its order."""
    shown = [photo for photo in trial.photos if photo.row.get("thumb") or photo.row.get("overlay")]
    shown.sort(key=lambda photo: (photo.plot, photo.day or NEVER, photo.row["file"]))
    return shown[:MOST]


def _pictures(trial: Trial, folder: Path, bare: Mapping[str, str]) -> str:
    cards = []
    for photo in _shown(trial):
        place = os.path.relpath(trial.run / photo.row["overlay"], folder)
        words = f"{photo.plot or 'no plot'}, {photo.day or 'no date'}"
        file = photo.row["file"]
        pictures = page.pictures(place, bare.get(file, ""), f"{file}: {words}")
        why = f'<p class="why">{escape(photo.why)}</p>' if photo.why else ""
        kind = "no" if photo.why else "yes"
        cards.append(
            f'<div class="card {kind}">{pictures}<p><strong>{escape(words)}</strong></p>'
            f"<p>{escape(file)}</p>{why}</div>"
        )
    grid = f'<div class="grid">{"".join(cards)}</div>' if cards else ""
    return f"{page.MASKS}{grid}" if bare else grid
