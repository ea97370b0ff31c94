"""What came of screening, as text for the terminal and as a page in the style of all reports.

Needs no server.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import selion
from selion import store
from selion.errors import BadInput
from selion.labelling.agreement import (
    FIRST_SHARE,
    PAPER_KEPT,
    PAPER_SEEN,
    PAPER_SHARE,
    Agreement,
    Throughput,
    kept_by_quality,
    measure_agreement,
    measure_throughput,
)
from selion.labelling.decisions import (
    LOG,
    WORDS,
    Decision,
    History,
    read_decisions,
    read_history,
)
from selion.labelling.queue import QUALITY, read_quality
from selion.labelling.screen import is_conflict
from selion.reports import page

REPORT = "screening.html"
LISTED = 100
"""Disagreements that are written out."""


@dataclass(frozen=True)
class Screened:
    """Everything that a report says."""

    folder: str
    counts: Counter[str]
    """Masks by the last word on them."""
    outdated: int
    """Masks with words that no longer count, because the mask is another one now or gone."""
    throughput: Sequence[Throughput]
    agreement: Sequence[Agreement]
    conflicts: Sequence[tuple[str, str]]
    """Key, and who said what."""
    fifths: Sequence[tuple[float, float, int, int]]
    undone: int
    torn: int
    corrected: Counter[str]
    """Masks that stand as somebody corrected them, by that person."""

    @property
    def kept_share(self) -> float:
        """Share of decided masks that are kept or full coverage."""
        decided = sum(self.counts.values())
        return (self.counts["keep"] + self.counts["full"]) / decided if decided else 0.0


def summarise(pseudo: Path) -> Screened:
    """Read a log and add it up.

    Raises
    ------
    BadInput
        If there is no log.
    UnreadableFile
        If it, or the table of qualities, cannot be read.
    """
    if not (pseudo / LOG).is_file():
        raise BadInput(
            f"There is no {LOG} in {pseudo}: give the folder that `selion label screen` was given."
        )
    history, last = read_history(pseudo / LOG), read_decisions(pseudo)
    quality = {
        key: _number(row.get("quality")) for key, row in read_quality(pseudo / QUALITY).items()
    }
    rated = {key: value for key, value in quality.items() if math.isfinite(value)}
    disputed = [
        (key, _who(history.keys[key]))
        for key in sorted(last)
        if is_conflict([d for d in history.keys[key] if d.mask == last[key].mask])
    ]
    return Screened(
        pseudo.resolve().name, Counter(d.decision for d in last.values()),
        len(history.keys) - len(last), measure_throughput(history), measure_agreement(history),
        disputed, kept_by_quality(last, rated), len(history.undone), history.skipped,
        _correctors(history, last),
    )  # fmt: skip


def _correctors(history: History, last: Mapping[str, Decision]) -> Counter[str]:
    """Count masks that are now what a correction made of them, whoever decided on them since."""
    found: Counter[str] = Counter()
    for key, word in last.items():
        made = [d for d in history.keys[key] if d.before and d.mask == word.mask]
        found.update(d.person for d in made[-1:])
    return found


def _corrected(found: Screened) -> str:
    """Say in one sentence what was corrected; empty: nothing."""
    total = sum(found.corrected.values())
    if not total:
        return ""
    who = ", ".join(f"{person} {count:,}" for person, count in sorted(found.corrected.items()))
    return f"{total:,} {'mask was' if total == 1 else 'masks were'} corrected ({who})"


def _who(decisions: Sequence[Decision]) -> str:
    return ", ".join(f"{d.person}: {d.decision} ({d.stage})" for d in decisions)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def to_text(found: Screened) -> str:
    """Lay a report out for the terminal."""
    decided = sum(found.counts.values())
    said = ", ".join(f"{found.counts[word]:,} {word}" for word in WORDS)
    lines = [
        (
            f"{found.folder}: {decided:,} masks decided ({said}); {found.kept_share:.1%} kept "
            f"(DepthCropSeg++ {PAPER_SHARE:.1%}, DepthCropSeg {FIRST_SHARE:.1%})"
        )
    ]
    if found.corrected:
        lines.append(_corrected(found))
    if found.outdated:
        lines.append(f"{found.outdated:,} masks have changed since, or are gone: undecided again")
    lines.append(
        f"\n{'person':<16} {'pass':<7} {'seen':>8} {'kept':>7} {'hours':>7} {'seen/h':>9} "
        f"{'kept/h':>8}"
    )
    for row in found.throughput:
        hours = row.seconds / 3600
        lines.append(
            f"{row.person:<16.16} {row.stage:<7} {row.seen:>8,} {row.kept:>7,} {hours:>7.2f} "
            f"{row.seen_per_hour:>9,.0f} {row.kept_per_hour:>8,.0f}"
        )
    lines.append(
        f"{'DepthCropSeg++':<16} {'both':<7} {260_260:>8,} {12_927:>7,} {12.0:>7.2f} "
        f"{PAPER_SEEN:>9,} {PAPER_KEPT:>8,}"
    )
    lines.append("")
    lines += [
        f"{a.who} ({a.stage}): {a.observed:.1%} of {a.pairs:,} equal, {_kappa(a)}"
        for a in found.agreement
    ] or ["Nothing was looked at twice yet."]
    lines += [f"disagreement on {key}: {who}" for key, who in found.conflicts[:10]]
    if len(found.conflicts) > 10:
        lines.append(
            f"... and on {len(found.conflicts) - 10:,} more: settle them in the page, one by one, "
            "under 'disagreements'"
        )
    return "\n".join(lines)


def _kappa(row: Agreement) -> str:
    if row.kappa is None or row.margin is None:
        return "kappa not defined: only one word was used"
    return f"Cohen's kappa {row.kappa:.2f} ± {row.margin:.2f}"


def to_html(found: Screened) -> str:
    """Lay a report out as a self-contained page."""
    decided = sum(found.counts.values())
    lead = (
        f"{decided:,} masks are decided, {found.kept_share:.1%} of them kept. DepthCropSeg++ kept "
        f"{PAPER_SHARE:.1%}, DepthCropSeg {FIRST_SHARE:.1%}."
    )
    sections = [
        page.section(
            "Decisions",
            page.table(
                ["last word", "masks", "share"],
                [(w, found.counts[w], _share(found.counts[w], decided)) for w in WORDS],
            ),
            *_notes(found),
        ),
        page.section(
            "Throughput",
            page.table(
                ["person", "pass", "seen", "kept", "hours", "seen per hour", "kept per hour"],
                _speed_rows(found.throughput),
            ),
        ),
        page.section("Agreement", *_agreement_parts(found.agreement)),
        page.section("Disagreements", *_conflict_parts(found.conflicts)),
    ]
    if found.fifths:
        rows = [
            (f"{low:.2f} to {high:.2f}", masks, kept, _share(kept, masks))
            for low, high, masks, kept in found.fifths
        ]
        caption = (
            "Decided masks in fifths by quality, the worst first: a score that is worth sorting by "
            "keeps more at the end."
        )
        sections.append(
            page.section(
                "Does the quality score say which masks are good?",
                page.table(["quality", "masks", "kept", "share"], rows, caption),
            )
        )
    return page.page(
        f"Screening of {found.folder}", lead, sections, f"selion {selion.__version__}, from {LOG}"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _notes(found: Screened) -> list[str]:
    notes = []
    if found.corrected:
        notes.append(page.paragraph(f"{_corrected(found)}; the log of strokes says how."))
    if found.outdated:
        notes.append(
            page.paragraph(
                f"{found.outdated:,} masks have changed since they were looked at, or are gone: "
                "they are undecided again."
            )
        )
    if found.undone:
        notes.append(
            page.paragraph(
                f"{found.undone:,} pages were taken back; their time counts, their decisions do "
                "not."
            )
        )
    if found.torn:
        notes.append(
            page.paragraph(
                f"{found.torn:,} lines of the log are torn or not ours, and were passed over."
            )
        )
    return notes


def _speed_rows(rows: Sequence[Throughput]) -> list[tuple[object, ...]]:
    ours = [
        (
            r.person,
            r.stage,
            r.seen,
            r.kept,
            f"{r.seconds / 3600:.2f}",
            round(r.seen_per_hour),
            round(r.kept_per_hour),
        )
        for r in rows
    ]
    return [
        *ours,
        ("DepthCropSeg++ (paper)", "both", 260_260, 12_927, "about 12", PAPER_SEEN, PAPER_KEPT),
    ]


def _agreement_parts(rows: Sequence[Agreement]) -> list[str]:
    if not rows:
        return [page.paragraph("Nothing was looked at twice yet.")]
    cells = [(a.who, a.stage, a.pairs, f"{a.observed:.1%}", _kappa(a)) for a in rows]
    caption = (
        "Equal words on the same mask in the same pass. Kappa is 0 where agreement is what chance "
        "would give, and 1 where it is whole."
    )
    return [page.table(["who", "pass", "masks", "equal", "beyond chance"], cells, caption)]


def _conflict_parts(conflicts: Sequence[tuple[str, str]]) -> list[str]:
    if not conflicts:
        return [page.paragraph("People do not disagree on any mask.")]
    more = (
        [page.paragraph(f"{len(conflicts) - LISTED:,} more are not listed.")]
        if len(conflicts) > LISTED
        else []
    )
    hint = page.paragraph(
        "The last word counts until somebody settles them in the page, one by one, under "
        "'disagreements'."
    )
    return [hint, page.table(["mask", "who said what"], conflicts[:LISTED]), *more]


def write_report(pseudo: Path, out: Path | None = None) -> tuple[Screened, Path]:
    """Write ``screening.html`` beside the log, or where it is wanted; what is there is replaced.

    Raises
    ------
    BadInput, UnreadableFile
        See :func:`summarise`.
    OutputFailed
        If the page cannot be written.
    """
    found = summarise(pseudo)
    place = out or pseudo / REPORT
    store.write_text(place, to_html(found), force=True)
    return found, place
