"""DepthCropSeg++'s tables on photographs that are here: which models answer what.

Whatever grows counts as crop, as in DepthCropSeg: crop and weed, leaf, stem and head.  Answers are
kept as masks, one for each model and photograph, so that an interrupted run goes on and tables
share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from selion import store
from selion.classes import CROP, IGNORE
from selion.data import load_dataset
from selion.data.dataset import Dataset
from selion.data.values import read_mask
from selion.errors import BadInput, SelionError, counted
from selion.evaluation.pixels import (
    PixelOptions,
    PixelReport,
    System,
    evaluate_pixels,
    oracle_system,
    segmenter_system,
    true_classes,
)
from selion.labels import LabelMap
from selion.models import load_model
from selion.models.sam.convert import is_checkpoint
from selion.papers.finding import find_weights
from selion.papers.keeping import keep_key, model_identity
from selion.papers.printed import Paper, PaperModel, PaperTable, read_paper
from selion.papers.results import FoundModel
from selion.papers.run import with_own
from selion.progress import OnStep, silent
from selion.sample import Sample

PAPER = "depthcropseg"
GROWS = ("crop", "weed", "leaf", "stem", "head")
"""Classes that count as crop."""
ORACLE = "the truth itself"
"""A row that has to score 1: whatever it lacks, no model can reach either."""
ANSWERS = "answers"
"""Folder of the masks, in the output."""


@dataclass(frozen=True, slots=True)
class PhotoRequest:
    """What of DepthCropSeg++ is to be made, of what, and where."""

    tables: tuple[int, ...]
    out: Path
    data: Path | None = None
    layout: str = ""
    """Of the data; empty: what it looks like."""
    split: str = ""
    """Empty: test where there is one, else val, else all."""
    weights: Path | None = None
    own: tuple[str, ...] = ()
    """Models that get a row of their own."""
    quick: bool = False
    """Whether stand-ins and a sample take the place of what is not given."""
    ratio: float = 0.02
    """Width of the band of boundary IoU as a share of the diagonal."""
    draws: int = 1000
    engine: str = "auto"
    threads: int | None = None
    force: bool = False

    @property
    def outputs(self) -> list[Path]:
        """The files that it makes."""
        return [self.out / f"table-{n}.{kind}" for n in self.tables for kind in ("csv", "md")]


@dataclass(frozen=True, eq=False)
class PhotoScores:
    """All rows of all tables on the same photographs."""

    paper: Paper
    tables: tuple[PaperTable, ...]
    found: Mapping[str, FoundModel]
    missing: Mapping[str, str]
    """Key of a model without scores -> why, as a sentence."""
    same: Mapping[str, str]
    """Key of a model -> that of an earlier one with the very same weights."""
    report: PixelReport
    """Systems are called by the keys of their models, and :data:`ORACLE`."""
    band: str
    """The boundary IoU that stands for the paper's."""
    notes: tuple[str, ...]


def score_photographs(request: PhotoRequest, *, on_step: OnStep = silent) -> PhotoScores:
    """Let all models that are here answer all photographs, and count.

    Parameters
    ----------
    request : PhotoRequest
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Raises
    ------
    OutputExists
        If a table is there, unless ``force``; nothing is scored then.
    BadInput, UnreadableFile, UnknownName
        If data or weights cannot be used.
    """
    for path in request.outputs:
        store.check_output(path, request.force)
    paper = read_paper(PAPER)
    folder = request.data or _sample(request, on_step)
    data, notes = _open(folder, request)
    tables, own = _tables(paper, request)
    models = {key: model for table in tables for key, model in table.models.items()}
    published = {key: model for key, model in models.items() if key not in own}
    found = find_weights(published.values(), request.weights, paper) | own
    if request.quick:
        found |= _stand_ins([m for m in published.values() if m.key not in found], request, on_step)
    missing = {
        key: f"no weights here: {model.remedy}."
        for key, model in models.items()
        if key not in found
    }
    answers: dict[str, System] = {ORACLE: lambda sample: true_classes(sample, CROP)}
    known: dict[str, Any] = {}
    same: dict[str, str] = {}
    for key, one in found.items():
        try:
            name, system, identity = _system(key, one, request)
        except SelionError as problem:
            missing[key] = str(problem)
            continue
        # a card's own name, and when its folder was made, make no other weights
        sums = identity.get("sha256") or identity.get("files") or identity
        twin = next((k for k, other in known.items() if other == sums), None)
        same |= {} if twin is None else {key: twin}
        known[key] = sums
        place = request.out / ANSWERS / f"{name}-{keep_key(identity, data)[:16]}"
        answers[key] = kept_answers(system, Photographs(data), place, on_step, name)
    options = PixelOptions((request.ratio,), draws=request.draws)
    report = evaluate_pixels(
        answers, Photographs(data), CROP, options, title=paper.citation, on_step=on_step
    )
    band = next(iter(report.systems[0].boundaries))
    return PhotoScores(paper, tables, found, missing, same, report, band, notes)


def _sample(request: PhotoRequest, on_step: OnStep) -> Path:
    if not request.quick:
        raise BadInput(
            "There is nothing to score: give --data, a folder of photographs with masks, or "
            "--quick for a simulated sample."
        )
    from selion.papers.photo_stand_ins import make_photographs

    return make_photographs(request.out / "sample", on_step=on_step)


def _stand_ins(
    bare: Sequence[PaperModel], request: PhotoRequest, on_step: OnStep
) -> dict[str, FoundModel]:
    from selion.papers.photo_stand_ins import make_photo_stand_ins, make_photographs

    sample = make_photographs(request.out / "sample", on_step=on_step)
    return make_photo_stand_ins(bare, sample, request.out / "stand-ins", on_step=on_step)


def _tables(
    paper: Paper, request: PhotoRequest
) -> tuple[tuple[PaperTable, ...], dict[str, FoundModel]]:
    tables: list[PaperTable] = []
    own: dict[str, FoundModel] = {}
    for number in request.tables:
        table, found = with_own(paper.table(number), request.own if number != RUNS else ())
        tables.append(table)
        own |= found
    return tuple(tables), own


RUNS = 6
"""The table of runs from several seeds: it compares two systems, and has no further rows."""


def _open(folder: Path, request: PhotoRequest) -> tuple[Dataset, tuple[str, ...]]:
    """Open the photographs of the split, and say what of it is not as in the paper."""
    data = (
        load_dataset(request.layout, folder)
        if request.layout
        else load_dataset(folder, classes=CROP)
    )
    there = data.splits
    split = request.split or next((name for name in ("test", "val") if name in there), "")
    part = data.select(split) if split and split != "all" else data
    if not len(part):
        raise BadInput(
            f"{folder} has no photograph with a mask in the split {split or 'all'}: 'selion data "
            "check' tells what is there."
        )
    notes = [
        (
            f"{counted(len(part), 'photograph')} of {data.name}, split {split or 'all'}; the "
            "paper's 6,760 are not public."
        )
    ]
    subsets = read_paper(PAPER).countries
    lacking = [name for name in subsets if name not in part.groups]
    if 7 in request.tables and lacking:
        notes.append(
            f"No group of the data is called {', '.join(lacking)}: the paper's subsets of "
            "Table VII; the groups that are there stand in the table without the paper's figures."
        )
    return part, tuple(notes)


@dataclass(frozen=True, eq=False)
class Photographs(Sequence[Sample]):
    """Samples whose labels are soil and crop, whatever grows being crop."""

    data: Dataset

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        """Open one sample, or some."""
        if isinstance(index, slice):
            return tuple(self[k] for k in range(*index.indices(len(self))))
        return as_crop(self.data[index])


def as_crop(sample: Sample) -> Sample:
    """Return a sample with the classes soil and crop: what grows is crop, the rest is soil."""
    labels = sample.labels
    if labels is None or labels.classes.names == CROP.names:
        return sample
    table = np.full(256, IGNORE, np.uint8)
    table[: len(labels.classes)] = [int(name in GROWS) for name in labels.classes.names]
    return replace(sample, labels=LabelMap(table[labels.ids], labels.grid, CROP))


def _system(
    key: str, found: FoundModel, request: PhotoRequest
) -> tuple[str, System, Mapping[str, Any]]:
    """Return what a model's answers are called, the model as a system, and what decides them."""
    path = Path(found.path)
    if is_checkpoint(path):
        files = sorted(one for one in path.iterdir() if one.is_file())
        decided = {"points": True, "files": {one.name: store.fingerprint(one) for one in files}}
        return key, _lazy(lambda: oracle_system(path)), decided
    model = load_model(found.path, request.engine, threads=request.threads)
    if not set(model.classes.names) & set(GROWS):
        raise BadInput(
            f"{model.card.name} knows {', '.join(model.classes.names)}, and none of these grows: "
            f"wanted is one of {', '.join(GROWS)}."
        )
    called = dict.fromkeys(GROWS, "crop")
    name = model.card.name if found.stand_in else key
    return name, segmenter_system(model, CROP, called), model_identity(model)


def _lazy(make: Callable[[], System]) -> System:
    """Load a system when it is first asked: finished answers want none."""
    made: list[System] = []

    def system(sample: Sample) -> np.ndarray:
        if not made:
            made.append(make())
        return made[0](sample)

    return system


def kept_answers(
    system: System, samples: Sequence[Sample], folder: Path, on_step: OnStep, name: str
) -> System:
    """Let a system answer all samples into a folder of masks; what is there is not asked again.

    Returns
    -------
    System
        It reads the masks; a sample that could not be answered is refused again, with its reason.
    """
    refused: dict[str, str] = {}
    for done, sample in enumerate(samples):
        path = _mask(folder, sample.key)
        if path.is_file():
            continue
        on_step("answer", done, len(samples), f"{name}: {sample.key}")
        try:
            said = system(sample)
        except SelionError as problem:
            refused[sample.key] = str(problem)
            continue
        _write(said, path)
    on_step("answer", len(samples), len(samples), name)

    def answer(sample: Sample) -> np.ndarray:
        if sample.key in refused:
            raise BadInput(refused[sample.key])
        said: np.ndarray = read_mask(_mask(folder, sample.key))[0]
        return said.astype(np.uint8)

    return answer


def _mask(folder: Path, key: str) -> Path:
    return folder / f"{key}.png"


def _write(said: np.ndarray, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with store.atomic_write(path, force=True) as temporary:
        store.write_picture(temporary, Image.fromarray(said), "PNG")


def runs_of(table: PaperTable, group: str) -> Iterable[str]:
    """Return the keys of one system's runs in the table of runs."""
    return [row.model.key for row in table.rows if row.group == group]
