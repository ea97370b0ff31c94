"""MAgSeg's tables on images that are here: which systems answer what.

A row's system may have two parts, a model and a refiner behind it.  Answers are kept, one for each
system and image, so that an interrupted run goes on and tables share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selion import store
from selion.classes import ALU, ClassScheme
from selion.data import load_dataset
from selion.data.dataset import Dataset
from selion.errors import BadInput, SelionError, UnknownName, counted
from selion.evaluation.answers import Answer, as_on_maps
from selion.models import find_card
from selion.models.refine.segmenter import load_refined
from selion.papers.finding import find_weights
from selion.papers.keeping import keep_key, model_identity
from selion.papers.landscape_answers import (
    FIELDS_ALONE,
    blind_grid,
    kept_answer,
    oracle_answer,
    safe_name,
    seam_of,
)
from selion.papers.landscape_scores import (
    FIELD,
    GIVEN,
    ClassTable,
    blind_edge,
    by_class,
    compare,
    kinds,
)
from selion.papers.printed import Paper, PaperModel, PaperRow, PaperTable, read_paper
from selion.papers.results import FoundModel
from selion.progress import OnStep, silent
from selion.sample import Sample

PAPER = "magseg"
INDIA, ABROAD = "india", ("cambodia", "vietnam")
"""Groups of the data that stand for the paper's countries."""
OVERHEAD = 4
"""The table of parameters and training time: it looks at no image."""
TRAINED_THERE = 2
"""The table whose systems were trained in the country that they are scored in."""
SAM, EPOC = PaperModel("sam", ("sam-vit-huge",)), PaperModel("epoc", (), "magseg/epoc")
PARTS = {
    "text4seg-r": ("text4seg-c", SAM),
    "sft-4b-epoc": ("sft-4b", EPOC),
    "magseg-4b": ("grpo-4b", EPOC),
    "sft-12b-epoc": ("sft-12b", EPOC),
    "magseg-12b": ("grpo-12b", EPOC),
}
"""Row -> the model that answers, and what refines its answers."""
ORACLE = "every pixel right"
"""A row that knows each pixel's class, and goes the road of all others: what it lacks, no model of
classes can reach."""
UNET = "fields-rgb-vhr"
GRIDS = (64, 48, 16)
"""Edges in pixels of grids that have not seen the image."""
ANSWERS = "answers"
"""Folder of what was said, in the output."""


@dataclass(frozen=True, slots=True)
class LandscapeRequest:
    """What of MAgSeg is to be made, of what, and where."""

    tables: tuple[int, ...]
    out: Path
    data: Path | None = None
    layout: str = ""
    """Of the data; empty: what it looks like."""
    split: str = ""
    """Empty: test where there is one, else val, else all."""
    weights: Path | None = None
    """Folder of models; its folders india, cambodia and vietnam, where there are such, hold those
    that were trained there."""
    own: tuple[str, ...] = ()
    """Models that get a row of their own, each MODEL or MODEL+REFINER."""
    by: tuple[str, ...] = ()
    """Columns of the objects' table that strata are made of."""
    quick: bool = False
    """Whether stand-ins and simulated scenes take the place of what is not given."""
    engine: str = "auto"
    threads: int | None = None
    force: bool = False

    @property
    def outputs(self) -> list[Path]:
        """The files that it makes."""
        return [self.out / f"table-{n}.{kind}" for n in self.tables for kind in ("csv", "md")]


@dataclass(frozen=True, slots=True)
class PartedModel:
    """The weights of a row: a model, and a refiner behind it or none."""

    base: FoundModel
    refiner: FoundModel | None = None

    @property
    def path(self) -> str:
        """Both, as they are named on the command line."""
        behind = "" if self.refiner is None else f"+{self.refiner.path}"
        return f"{self.base.path}{behind}"

    @property
    def stand_in(self) -> str:
        """What it is instead of the paper's, if it is not."""
        behind = "" if self.refiner is None else self.refiner.stand_in
        return "; behind it a ".join(text for text in (self.base.stand_in, behind) if text)


@dataclass(frozen=True, eq=False)
class LandscapeRow:
    """One row on one part of the data."""

    row: PaperRow
    place: str
    """Group of the data; empty: all of it."""
    found: PartedModel | None = None
    missing: str = ""
    tables: Mapping[str, tuple[ClassTable, ...]] | None = None
    """Class -> one table for each image; a class that the system does not know is not there."""
    blind: Mapping[str, tuple[ClassTable, ...]] | None = None
    """The same against a grid of squares as large as what was said."""
    seam: float = float("nan")
    """Rate of class changes at the edges of windows over the rate elsewhere."""


@dataclass(frozen=True, eq=False)
class LandscapeScores:
    """All rows of all tables."""

    paper: Paper
    tables: Mapping[int, tuple[PaperTable, tuple[LandscapeRow, ...]]]
    classes: tuple[str, ...]
    """Of the true objects, in the order of the scheme."""
    notes: tuple[str, ...]


def score_landscapes(request: LandscapeRequest, *, on_step: OnStep = silent) -> LandscapeScores:
    """Let all systems that are here answer about all images, and count.

    Parameters
    ----------
    request : LandscapeRequest
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Raises
    ------
    OutputExists
        If a table is there, unless ``force``; nothing is scored then.
    BadInput, UnreadableFile, UnknownName
        If data or weights cannot be used, or no object has a column that is asked for.
    """
    for path in request.outputs:
        store.check_output(path, request.force)
    paper = read_paper(PAPER)
    work = _Scoring(paper, request, on_step)
    work.check_columns()
    tables = {number: work.table(number) for number in request.tables}
    order = {name: k for k, name in enumerate(ALU.names)}
    classes = sorted(work.classes, key=lambda name: (order.get(name, len(order)), name))
    return LandscapeScores(paper, tables, tuple(classes), work.notes)


def parts_of(paper: Paper, numbers: Sequence[int]) -> dict[str, PaperModel]:
    """Return key -> the models and refiners that the rows of some tables are made of."""
    models = {key: m for n in numbers for key, m in paper.table(n).models.items()}
    every = {m.key: m for table in paper.tables for m in table.models.values()}
    bases = {PARTS[key][0]: every[PARTS[key][0]] for key in models if key in PARTS}
    behind = {PARTS[key][1].key: PARTS[key][1] for key in models if key in PARTS}
    return {key: m for key, m in (models | bases | behind).items() if key not in PARTS}


def trained_in(folder: Path | None, place: str) -> Path | None:
    """Return the folder of weights that were trained in a country, else that of all."""
    return folder / place if folder is not None and (folder / place).is_dir() else folder


def parted(model: PaperModel, found: Mapping[str, FoundModel]) -> PartedModel | str:
    """Return the weights of a row, or why there are none, as a sentence."""
    if model.key not in PARTS:
        mine = found.get(model.key)
        return PartedModel(mine) if mine else f"no weights here: {model.remedy}."
    base, behind = PARTS[model.key]
    lacking = [key for key in (base, behind.key) if key not in found]
    if lacking:
        return f"no weights here of {' and '.join(lacking)}: {model.remedy}."
    return PartedModel(found[base], found[behind.key])


class _Scoring:
    """What the tables of one request share: data, weights, and what was said already."""

    def __init__(self, paper: Paper, request: LandscapeRequest, on_step: OnStep) -> None:
        self.paper, self.request, self.on_step = paper, request, on_step
        self.data, self.notes = _open(self._folder(), request)
        self.classes: set[str] = set()
        self._samples: dict[str, tuple[list[Sample], Dataset]] = {}
        self._said: dict[tuple[str, str], LandscapeRow] = {}
        self._others: dict[str, list[LandscapeRow]] = {}
        self._weights: dict[str, dict[str, FoundModel]] = {}

    def _folder(self) -> Path:
        if self.request.data is not None:
            return self.request.data
        if not self.request.quick:
            raise BadInput(
                "There is nothing to score: give --data, a folder of images with masks, or --quick "
                "for simulated ones."
            )
        from selion.papers.landscape_stand_ins import make_holdings

        return make_holdings(self.request.out / "sample", on_step=self.on_step)

    def check_columns(self) -> None:
        """Refuse a column for strata that no table of objects has, before anything is answered."""
        numbers = [number for number in self.request.tables if number != OVERHEAD]
        if not self.request.by or not numbers:  # parameters alone have no strata
            return
        places = dict.fromkeys(place for number in numbers for place in self.places(number))
        tables = [
            sample.instances.table
            for place in places
            for sample in self.samples(place)[0]
            if sample.instances is not None
        ]
        known = {*GIVEN, *(str(column) for table in tables for column in table.columns)} - {"id"}
        for column in self.request.by:
            if column not in known:
                raise UnknownName.among("column to give fields by", column, sorted(known))

    def table(self, number: int) -> tuple[PaperTable, tuple[LandscapeRow, ...]]:
        """Score one table."""
        printed = self.paper.table(number)
        rows: list[LandscapeRow] = []
        for place in self.places(number):
            trained = place if number == TRAINED_THERE else INDIA
            asked = [(row, parted(row.model, self.weights(trained))) for row in printed.rows]
            asked += [(_own_row(text), _own(text)) for text in self.request.own]
            rows += [self.row(row, place, found, number) for row, found in asked]
            rows += self.others(place) if number != OVERHEAD else []
        return printed, tuple(rows)

    def places(self, number: int) -> tuple[str, ...]:
        """Return the groups that a table is about; where there are none of its own, all images."""
        there = self.data.groups
        wanted = ABROAD if number in (2, 3) else (INDIA,)
        return tuple(place for place in wanted if place in there) or ("",)

    def weights(self, trained: str) -> dict[str, FoundModel]:
        """Return key -> weights that were trained in a country, stand-ins among them."""
        if trained not in self._weights:
            wanted = parts_of(self.paper, self.request.tables)
            folder = trained_in(self.request.weights, trained)
            found = find_weights(wanted.values(), folder, self.paper)
            if folder is not None and trained != INDIA and folder == self.request.weights:
                called = trained or " or ".join(ABROAD)
                note = (
                    f"{folder} has no folder called {called}: what Table 2 takes for models that "
                    "were trained there are the weights of Table 3."
                )
                self.notes += (note,)
            if self.request.quick:
                bare = [key for key in wanted if key not in found]
                found |= self._stand_ins(bare, trained)
            self._weights[trained] = found
        return self._weights[trained]

    def _stand_ins(self, keys: Sequence[str], trained: str) -> dict[str, FoundModel]:
        from selion.papers.landscape_stand_ins import make_holdings, make_landscape_stand_ins

        sample = make_holdings(self.request.out / "sample", on_step=self.on_step)
        folder = self.request.out / "stand-ins"
        return make_landscape_stand_ins(keys, sample, trained, folder, on_step=self.on_step)

    def samples(self, place: str) -> tuple[list[Sample], Dataset]:
        """Return the images of a group, read whole."""
        if place not in self._samples:
            part = self.data.select(groups=place) if place else self.data
            opened = [part[k] for k in range(len(part))]
            self._samples[place] = opened, part
            for sample in opened:
                self.classes |= kinds(sample)
        return self._samples[place]

    def row(self, row: PaperRow, place: str, found: PartedModel | str, number: int) -> LandscapeRow:
        """Score one row on the images of a group."""
        if isinstance(found, str):
            return LandscapeRow(row, place, missing=found)
        if number == OVERHEAD:
            return LandscapeRow(row, place, found)
        known = self._said.get((found.path, place))
        if known is None:
            known = self._scored(found, row, place)
            self._said[found.path, place] = known
        return replace(known, row=row, found=found)

    def _scored(self, found: PartedModel, row: PaperRow, place: str) -> LandscapeRow:
        samples, data = self.samples(place)
        refiner = None if found.refiner is None else found.refiner.path
        try:
            model = load_refined(
                found.base.path, refiner, self.request.engine, threads=self.request.threads
            )
        except SelionError as problem:
            return LandscapeRow(row, place, missing=str(problem))
        if FIELD not in model.classes.names:
            return LandscapeRow(
                row,
                place,
                missing=(
                    f"{model.card.name} knows {', '.join(model.classes.names)}, and no {FIELD}: "
                    "wanted is a model that was trained for these classes."
                ),
            )
        try:
            shown, told = as_on_maps(samples, model)
            folder = self._kept(row, model, data, told)
            said = [
                kept_answer(model, sample, folder, self._told(row, k, len(samples)))
                for k, sample in enumerate(shown)
            ]
        except SelionError as problem:
            return LandscapeRow(row, place, missing=f"{row.label}: {problem}")
        self.notes += tuple(
            note for text in told if (note := f"For {row.label}: {text}") not in self.notes
        )
        seams = [
            seam_of(model.inputs, one, sample.image.grid)
            for sample, one in zip(samples, said, strict=True)
        ]
        known = [value for value in seams if np.isfinite(value)]
        return self._compared(
            LandscapeRow(row, place, found, seam=float(np.mean(known)) if known else np.nan),
            [(one, model.classes) for one in said],
        )

    def _kept(self, row: PaperRow, model: Any, data: Dataset, told: tuple[str, ...]) -> Path:
        """Return the folder of a system's answers, by all that decides them.

        What images are brought to does; answers about images as they are keep their name.
        """
        how: dict[str, object] = {"numbers": told} if told else {}
        key = keep_key(model_identity(model), data, **how)
        return self.request.out / ANSWERS / safe_name(f"{row.model.key}-{key[:16]}")

    def _told(self, row: PaperRow, done: int, total: int) -> Callable[[], None]:
        return lambda: self.on_step("answer", done, total, row.label)

    def _compared(
        self, row: LandscapeRow, said: Sequence[tuple[Answer, ClassScheme]], edge: int = 0
    ) -> LandscapeRow:
        """Compare answers with the truth, class by class, and a blind grid of their size.

        Its squares have ``edge`` pixels; 0: as large as the median of what was said.
        """
        samples, _ = self.samples(row.place)
        wanted = set().union(*(kinds(sample) for sample in samples))
        tables: dict[str, list[ClassTable]] = {}
        for sample, (one, classes) in zip(samples, said, strict=True):
            least = _least_of(sample)
            for name, table in by_class(
                sample, one, classes, least, wanted, self.request.by
            ).items():
                tables.setdefault(name, []).append(table)
        blind = {}
        for name, found in tables.items():
            size = edge or blind_edge(found)
            blind[name] = tuple(
                compare(sample, blind_grid(sample, size), name, _least_of(sample))
                for sample in samples
            )
        return replace(
            row, tables={name: tuple(found) for name, found in tables.items()}, blind=blind
        )

    def others(self, place: str) -> list[LandscapeRow]:
        """Return what stands in every table beside the paper's rows.

        That is a U-Net, a perfect map of classes, and grids that have not seen the image.
        """
        if place in self._others:
            return self._others[place]
        samples, _ = self.samples(place)
        found = [self.row(_own_row(UNET), place, _own(UNET), 1)]
        right = LandscapeRow(PaperRow(PaperModel("oracle"), ORACLE, group="own"), place)
        found.append(self._compared(right, [oracle_answer(sample) for sample in samples]))
        for edge in GRIDS:
            label = f"grid of {edge} px, image not seen"
            row = PaperRow(PaperModel(f"grid-{edge}"), label, group="own")
            said = [(Answer(blind_grid(sample, edge)), FIELDS_ALONE) for sample in samples]
            found.append(self._compared(LandscapeRow(row, place), said, edge))
        self._others[place] = found
        return found


def _least_of(sample: Sample) -> ClassScheme:
    """Return the scheme whose least areas hold for a sample: its own, else the paper's classes."""
    own = sample.labels.classes if sample.labels is not None else ALU
    return own if own.least_area else ALU


def _own_row(text: str) -> PaperRow:
    base, refiner = named_pair(text)
    name = find_card(base).name
    label = f"{name} + {Path(refiner).name}" if refiner else name
    return PaperRow(PaperModel(label), f"U-Net ({UNET})" if text == UNET else label, group="own")


def _own(text: str) -> PartedModel:
    base, refiner = named_pair(text)
    card = find_card(base)
    return PartedModel(FoundModel(card.folder or base), FoundModel(refiner) if refiner else None)


def named_pair(text: str) -> tuple[str, str]:
    """Split MODEL+REFINER, whose folders may have a plus in their names; without a refiner: ""."""
    if Path(text).expanduser().is_dir():
        return text, ""
    places = [k for k, sign in enumerate(text) if sign == "+"]
    if not places:
        return text, ""
    folders = [k for k in places if Path(text[:k]).expanduser().is_dir()]
    place = max(folders, default=places[0])
    return text[:place], text[place + 1 :]


def _open(folder: Path, request: LandscapeRequest) -> tuple[Dataset, tuple[str, ...]]:
    """Open the images of the split, and say what of them is not as in the paper."""
    data = load_dataset(request.layout, folder) if request.layout else load_dataset(folder)
    there = data.splits
    split = request.split or next((name for name in ("test", "val") if name in there), "")
    part = data.select(split) if split and split != "all" else data
    if not len(part):
        raise BadInput(
            f"{folder} has no image with a truth in the split {split or 'all'}: 'selion data "
            "check' tells what is there."
        )
    notes = [
        (
            f"{counted(len(part), 'image')} of {data.name}, split {split or 'all'}; the paper's "
            "are not public."
        )
    ]
    lacking = [name for name in (INDIA, *ABROAD) if name not in part.groups]
    if lacking:
        notes.append(
            f"No group of the data is called {', '.join(lacking)}: a table about groups that are "
            "not there is made of all images."
        )
    return part, tuple(notes)
