"""A folder of photographs: every one measured, whatever is wrong with some.

Masks, overlays and tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import selion
from selion import store
from selion.closerange.journal import (
    OUTPUTS,
    RUN,
    FinishedPhoto,
    PhotoJournal,
    close_journal,
    note_run,
    open_journal,
    stamp_of,
)
from selion.closerange.measure import CropOptions
from selion.closerange.model import (
    OTHER,
    OTHERWISE,
    SHIPPED,
    PhotoModel,
    given_name,
    open_model,
)
from selion.closerange.tables import write_tables
from selion.closerange.work import (
    ComputeOptions,
    FailedPhoto,
    PhotoWork,
    choose_workers,
    measure_all,
)
from selion.cores import usable_cores
from selion.data.photos import PhotoFile, find_photos, unread_images
from selion.errors import BadInput, OutputFailed, counted
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.calls import sealed

SOURCE = "photographs from"
"""In ``run.json``: the folder that was measured."""


@dataclass(frozen=True)
class CropRun:
    """What a run gave."""

    folder: Path
    rows: list[dict[str, Any]]
    """One per photograph that was measured, by file; see ``crops.csv``."""
    components: Sequence[dict[str, Any]]
    """Rows of ``components.csv``: many more than memory should hold, so they are read back from the
    folder each time that they are asked for."""
    failed: list[tuple[str, str]]
    """(file, why)."""
    model: str
    about: str
    notes: tuple[str, ...] = ()
    """Sentences that the user should read."""
    reused: int = 0
    """Photographs that an earlier run had finished."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage, summed over photographs of this run; ``wall`` is the time on the clock."""
    version: str = selion.__version__

    @property
    def untrusted(self) -> int:
        """How many photographs should be looked at."""
        return sum(row["trust"] != "yes" for row in self.rows)


@dataclass(frozen=True, eq=False)
class FoundComponents(Sequence[dict[str, Any]]):
    """The components of a run's photographs, read one photograph at a time."""

    journal: PhotoJournal
    photos: tuple[FinishedPhoto, ...]

    def __len__(self) -> int:
        return sum(photo.count for photo in self.photos)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.journal.components(self.photos)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return list(self)[index]
        wanted = range(len(self))[index]
        return next(islice(self, wanted, None))


@sealed("selion.closerange.measure_folder")
def measure_folder(
    folder: Path,
    out: Path,
    model: str | None = None,
    options: CropOptions | None = None,
    compute: ComputeOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
    use: Callable[[CropRun], object] | None = None,
) -> CropRun:
    """Measure every photograph of a folder.

    Parameters
    ----------
    folder : path
        Searched with all that is in it; or one photograph.
    out : path
        Folder of the results.  The same call goes on where a stopped one was; a photograph that has
        changed is measured again.
    model : str, optional
        See :func:`selion.closerange.open_model`; the shipped model without it, or the colour rule
        where that is not installed.
    options : CropOptions, optional
    compute : ComputeOptions, optional
        Processes, and what each computes with.
    force : bool
        Start anew in a folder that holds another run, or something else.
    on_step, on_note : callable, optional
    use : callable, optional
        Called with the run when its tables are written, also where nothing could be measured;
        :func:`selion.reports.photographs.write_gallery` draws a page.

    Returns
    -------
    CropRun

    Raises
    ------
    UnreadableFile
        If there is no photograph, or if none could be read.
    OutputExists
        If ``out`` holds a run with another model or other options.
    OutputFailed
        If ``out`` cannot be written.
    BadInput, UnknownName, MissingExtra
        If model or options cannot be used.
    """
    start = time.perf_counter()
    folder, out, options = folder.expanduser(), out.expanduser(), options or CropOptions()
    _check_apart(folder, out)
    photos = find_photos(folder, skip=(out,))
    name, note = given_name(model)
    compute = compute or ComputeOptions()
    workers = choose_workers(compute.workers, len(photos))
    threads = compute.threads or max(1, usable_cores() // workers)
    compute = replace(compute, workers=workers, threads=threads)
    opened = open_model(name, compute.engine, fast=compute.fast, threads=threads)
    journal = open_journal(out, decided_by(opened, options), force=force)
    work = PhotoWork(name, compute, options, journal.folder, opened)
    if note:
        on_note(note)
    measured, failed, reused, seconds = _measured(photos, journal, work, on_step)
    failed += unread_images(folder, skip=(out,)) if folder.is_dir() else []
    seconds["wall"] = time.perf_counter() - start
    later = _notes(photos, journal, measured, options)
    for text in later:
        on_note(text)
    notes = tuple(text for text in (note, *later) if text)
    ordered = tuple(measured[file] for file in sorted(measured))
    run = CropRun(
        journal.folder,
        [photo.row for photo in ordered],
        FoundComponents(journal, ordered),
        sorted(failed),
        opened.name,
        opened.about,
        notes,
        reused,
        seconds,
    )
    _check_there(run, journal)
    _write(run, journal, workers, folder)
    _check_there(run, journal)
    if use is not None:
        use(run)
    _check_measured(run)
    return run


def _check_apart(folder: Path, out: Path) -> None:
    source = folder if folder.is_dir() else folder.parent
    if out.resolve() == source.resolve():
        raise BadInput(
            f"The results would lie among the photographs in {out}: give another folder, for "
            f"example {out / 'crops'}."
        )


def decided_by(model: PhotoModel, options: CropOptions) -> dict[str, Any]:
    """Return all that decides the numbers of a run, as plain values."""
    chosen = asdict(options)
    if options.correction is None:  # runs that were begun before there was a choice go on
        del chosen["correction"]
    return {
        "model": {"name": model.name} | model.key,
        **chosen,
        "version": selion.__version__,
    }


Found = dict[str, FinishedPhoto]


def _measured(
    photos: list[PhotoFile],
    journal: PhotoJournal,
    work: PhotoWork,
    on_step: OnStep,
) -> tuple[Found, list[tuple[str, str]], int, dict[str, float]]:
    """Measure what is not finished.

    Return what was found by file, what failed, how many were finished before, and seconds by stage.
    """
    found: Found = {
        photo.file: known for photo in photos if (known := journal.find(photo)) is not None
    }
    waiting = [photo for photo in photos if photo.file not in found]
    stamps = {photo.file: stamp_of(photo) for photo in waiting}
    reused = len(found)
    failed: list[tuple[str, str]] = []
    seconds: dict[str, float] = {}
    on_step("photographs", reused, len(photos), "")
    with closing(measure_all(waiting, work)) as outcomes:
        for photo, outcome in outcomes:
            if isinstance(outcome, FailedPhoto):
                failed.append((photo.file, outcome.why))
            else:
                found[photo.file] = journal.add(stamps[photo.file], outcome)
                for stage, spent in outcome.seconds.items():
                    seconds[stage] = seconds.get(stage, 0.0) + spent
            on_step("photographs", len(found) + len(failed), len(photos), photo.file)
    return found, failed, reused, seconds


def _notes(
    photos: list[PhotoFile], journal: PhotoJournal, measured: Found, options: CropOptions
) -> list[str]:
    notes = []
    if options.marker is not None:
        without = sum(one.row["gsd_mm"] is None for one in measured.values())
        if without:
            notes.append(
                f"In {without:,} of {len(measured):,} photographs no marker was found: their "
                "sizes are in pixels only."
            )
    others = sum(OTHERWISE in one.row["notes"] for one in measured.values())
    if others:
        notes.append(
            f"{others:,} of {len(measured):,} photographs are unlike what {SHIPPED} has learnt "
            f"from and were measured by {OTHER}: their notes say why."
        )
    gone = {one.row["file"] for one in journal.finished.values()} - {photo.file for photo in photos}
    if gone:
        notes.append(
            f"{len(gone):,} photographs of an earlier run are not in the folder any more: they "
            "are not in the tables, and their masks stay."
        )
    return notes


def _write(run: CropRun, journal: PhotoJournal, workers: int, source: Path) -> None:
    """Write the tables, and that the run has ended."""
    write_tables(run.rows, run.components, run.failed, run.folder)
    facts = {
        SOURCE: str(source.resolve()),
        "photographs": len(run.rows), "components": len(run.components), "failed": len(run.failed),
        "untrusted": run.untrusted, "reused": run.reused, "engine": run.about, "workers": workers,
        "notes": list(run.notes),
        "seconds": {stage: round(spent, 2) for stage, spent in run.seconds.items()},
        "versions": _versions(),
    }  # fmt: skip
    close_journal(journal, facts)


def _check_there(run: CropRun, journal: PhotoJournal) -> None:
    """Refuse to end well where somebody has removed what this run wrote."""
    names = [row[name] for row in run.rows for name in OUTPUTS if row.get(name)]
    gone = [name for name in (RUN, *names) if not (run.folder / name).is_file()]
    if gone:
        if RUN in gone and run.folder.is_dir():  # what is left of it can be gone on with
            note_run(journal)
        raise OutputFailed(
            f"{counted(len(gone), 'file')} of this run are gone ({run.folder / gone[0]} first): "
            "something else removed them meanwhile. Give the same command again."
        )


def _check_measured(run: CropRun) -> None:
    """Refuse a run in which nothing could be measured; its list of failures is written by then."""
    if not run.rows:
        first = f"{run.failed[0][0]}: {run.failed[0][1]}"
        raise BadInput(
            f"None of {len(run.failed):,} photographs could be measured (see "
            f"{run.folder / 'failed.csv'}); the first one: {first}"
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"selion": selion.__version__, "gdal": store.gdal_version()} | {
        name: version(name) for name in ("numpy", "scipy", "scikit-image", "pillow")
    }
