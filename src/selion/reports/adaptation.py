"""The page of an adaptation: before and after on photographs kept aside, the worst first."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import store
from selion.classes import IGNORE
from selion.closerange.adaptation import LABELS, has_mask
from selion.closerange.contest import AFTER, BEFORE
from selion.data.photos import read_photo
from selion.errors import counted
from selion.reports import page, picture

if TYPE_CHECKING:
    from selion.closerange.adapting import Adapted
    from selion.closerange.contest import Contender

INDEX, NUMBERS, TABLE = "index.html", "comparison.json", "comparison.csv"
WORST = 6
"""Windows that are shown."""
LONGEST = 560
"""Pixels of the longer side of their pictures."""
MISSED, INVENTED, OTHER = (255, 64, 160), (255, 232, 0), (0, 210, 255)
"""Tint of plants that were taken for soil, of soil taken for plants, of one plant for another."""


def write_page(done: Adapted) -> Path:
    """Write ``index.html``, ``comparison.json`` and ``comparison.csv`` into the model's folder."""
    store.write_text(
        done.folder / NUMBERS, json.dumps(done.contest.to_dict(), indent=1) + "\n", force=True
    )
    store.write_text(done.folder / TABLE, _csv(done), force=True)
    store.write_text(done.folder / INDEX, to_html(done), force=True)
    return done.folder / INDEX


def _csv(done: Adapted) -> str:
    """Lay out one row a window: mean IoU and cover by each contender."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    contenders = done.contest.contenders
    head = [f"{what}_{one.name}" for one in contenders for what in ("miou", "cover")]
    writer.writerow(["window", "photograph", "cover_mask", *head])
    each = [one.each for one in contenders]
    for k, key in enumerate(done.contest.keys):
        row: list[object] = [key, done.contest.photos[k], f"{_cover(done.contest.truths[k]):.4f}"]
        for one, own in zip(contenders, each, strict=True):
            row += [f"{own[k]:.4f}", f"{_cover(one.ids[k]):.4f}"]
        writer.writerow(row)
    return text.getvalue()


def _cover(ids: np.ndarray) -> float:
    known = ids[ids != IGNORE]
    return float((known > 0).mean()) if known.size else float("nan")


def to_html(done: Adapted) -> str:
    """Lay an adaptation out as a page."""
    contest = done.contest
    rows = [
        [
            one.title + (" (kept)" if one.name == contest.kept else ""),
            one.miou,
            *(one.iou[name] for name in contest.classes.names),
            f"{one.cover_error:.1%}",
        ]
        for one in contest.contenders
    ]
    head = ["", "mIoU", *(f"IoU of {name}" for name in contest.classes.names), "cover is off by"]
    masked = [one for one in done.adaptation.windows if has_mask(done.adaptation, one)]
    learnt = {one.key for one in masked if not one.aside}
    facts = [
        ["photographs", str(done.adaptation.photos)],
        ["learnt from", counted(len(learnt), "photograph")],
        ["kept aside", done.adaptation.said],
        ["training", done.card.training],
        ["licence", done.card.licence],
    ]
    worst = "".join(_rows(done))
    sections = [
        page.section("On the photographs kept aside", page.table(head, rows)),
        page.section("How", page.table(["", ""], facts)),
        page.section("The worst of them", _legend(), worst),
    ]
    return page.page(
        f"{done.folder.resolve().name}: a model adapted",
        contest.sentence,
        sections,
        "selion",
        wide=True,
    )


def _legend() -> str:
    def colour(tint: tuple[int, int, int]) -> str:
        return "#" + "".join(f"{part:02x}" for part in tint)

    words = {
        "plants taken for soil": colour(MISSED),
        "soil taken for plants": colour(INVENTED),
        "one plant for another": colour(OTHER),
    }
    return f"<p>{page.legend(words)}</p>"


def _rows(done: Adapted) -> list[str]:
    contest = done.contest
    own = contest.of(contest.kept)
    if own is None:
        return []
    order = np.argsort(own.each)[:WORST]
    shown = [one for one in (contest.of(BEFORE), contest.of(AFTER)) if one is not None]
    found = []
    for k in order.tolist():
        image = read_photo(done.folder / LABELS / "images" / f"{contest.keys[k]}.png").image.values
        figures = [
            page.Figure(
                picture.data_uri(_small(np.moveaxis(image, 0, -1))),
                f"{contest.keys[k]}, cover {_cover(contest.truths[k]):.0%} by its mask",
                "The photograph",
            )
        ]
        figures += [_answer(image, contest.truths[k], one, k) for one in shown]
        found.append(page.figures(figures))
    return found


def _answer(image: np.ndarray, truth: np.ndarray, one: Contender, k: int) -> page.Figure:
    drawn = np.moveaxis(image, 0, -1).astype(np.float32)
    ids, known = one.ids[k], truth != IGNORE
    wrong = (
        (known & (truth > 0) & (ids == 0), MISSED),
        (known & (truth == 0) & (ids > 0), INVENTED),
        (known & (truth > 0) & (ids > 0) & (ids != truth), OTHER),
    )
    for where, tint in wrong:
        drawn[where] += 0.7 * (np.asarray(tint, np.float32) - drawn[where])
    words = f"{one.title}: mIoU {one.each[k]:.3f}, cover {_cover(ids):.0%}"
    return page.Figure(
        picture.data_uri(_small(drawn.astype(np.uint8))), words, f"What {one.title} takes wrongly"
    )


def _small(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(image))
    small.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
    return np.asarray(small)
