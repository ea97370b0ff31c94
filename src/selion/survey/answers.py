"""What people said of a sample: a table that they filled in, or the log of a review."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selion.errors import BadInput, UnreadableFile
from selion.review.verdicts import VERDICTS, Verdict
from selion.store.row_names import row_name
from selion.survey.design import CLASSES, PLACES, POINTS, QUEUE

WORDS = {
    **dict.fromkeys(("field", "1", "yes", "y", "true", "cropland", "crop"), "field"),
    **dict.fromkeys(("other", "0", "no", "n", "false", "not field", "no field"), "other"),
    **dict.fromkeys(("", "unsure", "?", "unknown", "none", "nan"), ""),
}
"""What may stand in the column ``reference``, in any case, and what it means; empty: no answer."""
OBJECT_CLASSES = ("right", "merged", "split", "shifted", "false")
"""What a field of the map may be beside the fields of the ground: one of them; several; a part of
one; one, but drawn elsewhere or otherwise; none."""
OBJECT_WORDS = {
    **dict.fromkeys(("right", "correct", "ok", "1", "yes", "y", "true"), "right"),
    **dict.fromkeys(("merged", "several", "under-segmented"), "merged"),
    **dict.fromkeys(("split", "part", "over-segmented"), "split"),
    **dict.fromkeys(("shifted", "moved", "shape"), "shifted"),
    **dict.fromkeys(("false", "0", "no", "n", "none", "other"), "false"),
    **dict.fromkeys(("", "unsure", "?", "unknown", "nan"), ""),
}


@dataclass(frozen=True)
class AnswerKind:
    """What is asked of each unit of a sample."""

    classes: tuple[str, ...]
    words: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    """What the page of a review offers, and its log says."""


GROUND = AnswerKind(CLASSES, WORDS, VERDICTS["ground"])
OBJECTS = AnswerKind(OBJECT_CLASSES, OBJECT_WORDS, VERDICTS["objects"])


@dataclass(frozen=True)
class Answers:
    """What was said of each unit."""

    labels: Mapping[str, str]
    """Id of a unit -> one of ``CLASSES``."""
    unsettled: tuple[str, ...] = ()
    """Units of which as many said one as the other."""
    agreement: float | None = None
    """Share of the units that several judged in which all said the same; None: there are none."""
    people: int = 1
    notes: tuple[str, ...] = field(default=())


def read_answers(folder: Path, files: Sequence[Path] = (), kind: AnswerKind = GROUND) -> Answers:
    """Read what people said of a sample.

    Parameters
    ----------
    folder : path
        Of the sample.
    files : sequence of path, optional
        One for each person: a table (.csv, as ``points.csv``), points (.geojson), or the log of a
        review (.jsonl) of the sample's ``queue.parquet``; default: whichever of these in the
        folder holds answers.
    kind : AnswerKind
        What was asked.

    Returns
    -------
    Answers
        Of several people the majority; where as many say one as the other there is none.

    Raises
    ------
    UnreadableFile, BadInput
        If there is no answer, or one that is none of the words.
    """
    given = list(files) or [path for path in _own(folder) if path.exists()]
    said = [_read(path, folder, kind) for path in given]
    if not files:
        said = [labels for labels in said if labels]
    if not any(said):
        raise BadInput(
            f"{folder} has no answers yet: write {' or '.join(kind.classes)} into the column "
            f"reference of {POINTS}, or run 'selion review {folder / QUEUE}' "
            f"({', '.join(f'{one.key}: {one.answer}' for one in kind.verdicts)})."
        )
    return _settled(said)


def not_counted(answers: Answers, drawn: Collection[str], what: str) -> list[str]:
    """Say which units of a sample have no answer that counts, and which answers no unit of it.

    Parameters
    ----------
    answers : Answers
    drawn : collection of str
        Ids of the sample.
    what : str
        A unit of it, in one word.
    """
    unsettled = sum(name in drawn for name in answers.unsettled)
    known = sum(name in drawn for name in answers.labels)
    said = []
    if left := len(drawn) - known - unsettled:
        said.append(
            f"{left:,} of {len(drawn):,} {what}s have no answer and count as left out by chance. "
            "If they are the difficult ones, the figures are too good."
        )
    if unsettled:
        said.append(
            f"{unsettled:,} {what}s, on which people disagree, are left out until somebody settles "
            "them."
        )
    if extra := len(answers.labels) - known + len(answers.unsettled) - unsettled:
        said.append(
            f"{extra:,} answers are of no {what} of this sample and were not used: were they given "
            "to another one?"
        )
    return said


def has_answers(folder: Path, kind: AnswerKind = GROUND) -> bool:
    """Tell whether somebody has judged units of a sample in this folder."""
    return any(_read(path, folder, kind) for path in _own(folder) if path.exists())


def _own(folder: Path) -> tuple[Path, ...]:
    log = (folder / QUEUE).with_name(f"{Path(QUEUE).stem}.review.jsonl")
    return folder / POINTS, folder / PLACES, log


def _settled(said: Sequence[Mapping[str, str]]) -> Answers:
    labels, unsettled, together, alike = {}, [], 0, 0
    for name in sorted(set().union(*said)):
        votes = Counter(one[name] for one in said if name in one)
        (first, most), *others = votes.most_common()
        together += sum(votes.values()) > 1
        alike += sum(votes.values()) > 1 and not others
        if others and others[0][1] == most:
            unsettled.append(name)
        else:
            labels[name] = first
    return Answers(labels, tuple(unsettled), alike / together if together else None, len(said))


def _read(path: Path, folder: Path, kind: AnswerKind) -> dict[str, str]:
    """Return id -> class; units without an answer are left out."""
    if path.suffix == ".jsonl":
        return _of_review(path, folder, kind)
    try:
        rows = list(_table(path) if path.suffix.lower() == ".csv" else _features(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UnreadableFile(
            f"{path} cannot be read as answers ({error}): give a .csv (UTF-8) or .geojson with the "
            "columns id and reference, or the .review.jsonl of a review."
        ) from error
    found: dict[str, str] = {}
    for name, word in rows:
        label = kind.words.get(word.strip().lower().removesuffix(".0"))
        if label is None:
            raise BadInput(
                f"{path} says {word!r} of {name}: wanted is {' or '.join(kind.classes)}, or "
                "nothing."
            )
        if label and found.setdefault(name, label) != label:
            raise BadInput(
                f"{path} says both {found[name]} and {label} of {name}: leave one of the lines, or "
                "give the answers of several people as a file each."
            )
    return found


def _table(path: Path) -> Iterator[tuple[str, str]]:
    """Read a table as spreadsheets write it: commas, semicolons, tabs, perhaps a line ``sep=;``."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if lines and lines[0].startswith("sep="):
        lines = lines[1:]
    if not lines:
        return
    mark = max(",;\t", key=lines[0].count)
    for row in csv.DictReader(lines, delimiter=mark):
        yield row["id"], row["reference"] or ""


def _features(path: Path) -> Iterator[tuple[str, str]]:
    for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
        said = feature["properties"].get("reference")
        # QGIS saves ids that look like numbers as numbers
        yield row_name(feature["properties"]["id"]), "" if said is None else str(said)


def _of_review(path: Path, folder: Path, kind: AnswerKind) -> dict[str, str]:
    """Read a review of the queue."""
    from selion.fields import read_fields
    from selion.review.log import replay

    state = replay(read_fields(folder / QUEUE), path)
    meaning = {one.status: one.answer for one in kind.verdicts}
    return {
        name: meaning[one.status] for name, one in state.changed.items() if one.status in meaning
    }
