"""Seeing every table in minutes: a sample instead of the data, small networks instead of weights.

A stand-in is a small U-Net.  It starts from weights that ship with selion and takes a few steps
with the row's own loss, class weights, augmentations and learning rate; its architecture is not the
row's, so that rows that differ in nothing else have the same one.  What it scores says that the
road works, and nothing of the paper's model: it is named as a stand-in wherever it appears.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion.data import load_dataset
from selion.data.dataset import Dataset
from selion.errors import BadInput, OutputExists, UnknownName, counted
from selion.fields import Origin, to_fields, write_fields
from selion.grid import whole
from selion.labels import Instances
from selion.models import find_card, load_model
from selion.papers.answering import chip_answer
from selion.papers.printed import PaperModel
from selion.papers.results import FoundModel
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.simulation.chips import OPTIONS, ChipOptions, write_chips
from selion.store import write_text
from selion.training import Recipe, plan_samples, read_recipe, recipe_table, train_plan
from selion.training.plan import SampleOrigin
from selion.training.run import MODEL, TrainingPlan, is_finished

SAMPLE = ChipOptions(chips=(4, 1, 1))
"""What stands in for the data."""
START = "fields-s2-2season"
"""What stand-ins start from."""
BASE = "ftw-v1"
"""The recipe of rows that have none, or whose network learns by a loss of its own."""
FOLLOWED = ("unet", "unet_r", "fcsiamavg", "upernet", "fcn")
"""Families whose loss teaches a U-Net too."""


@dataclass(frozen=True, slots=True)
class StandInOptions:
    """How long a stand-in is trained."""

    steps: int = 8
    batch: int = 8
    edge: int = 128
    """Of a training window in pixels, a multiple of 32."""
    chips: int = 24
    """Training chips at most, evenly over the countries."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.chips) < 1 or self.edge < 32 or self.edge % 32:
            raise BadInput(
                f"A stand-in of {self.steps} steps, batches of {self.batch}, windows of "
                f"{self.edge} px and {self.chips} chips was asked for; wanted is one of each at "
                "least, and an edge that is a multiple of 32 px."
            )


TRAINED = StandInOptions()
"""How stand-ins are trained, if nothing else is said."""


def make_sample(
    folder: Path, options: ChipOptions | None = None, *, on_step: OnStep = silent
) -> Path:
    """Write the sample that stands in for the data, or take the one that is there.

    Parameters
    ----------
    folder : path
    options : ChipOptions, optional
        None: :data:`SAMPLE`.
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Raises
    ------
    OutputExists
        If the folder holds something else.
    """
    options = options or SAMPLE
    return kept_sample(
        folder, options.to_json(), lambda: write_chips(folder, options, on_step=on_step)
    )


def kept_sample(folder: Path, text: str, write: Callable[[], object]) -> Path:
    """Write a sample that stands in for data, or take the one that is there.

    Parameters
    ----------
    folder : path
    text : str
        What its ``sample.json`` holds: what was asked for.
    write : callable
        Writes it.

    Raises
    ------
    OutputExists
        If the folder holds something else.
    """
    if not folder.exists():
        write()
    there = folder / OPTIONS
    if not there.is_file() or there.read_text("utf-8") != text:
        raise OutputExists(
            f"{folder} holds another sample, or none: remove it, or give another output folder."
        )
    return folder


def make_stand_ins(
    models: Iterable[PaperModel],
    data: Path,
    folder: Path,
    options: StandInOptions | None = None,
    *,
    on_step: OnStep = silent,
) -> dict[str, FoundModel]:
    """Train a stand-in for each model; what an interrupted or earlier run finished is taken.

    Parameters
    ----------
    models : iterable of PaperModel
    data : path
        Folder in the layout of Fields of The World, with chips for training.
    folder : path
        Gets one training run for each way of training.  Stand-ins that were trained on other chips
        are made again.
    options : StandInOptions, optional
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    dict
        Key of a model -> its stand-in, and in one sentence what it is.

    Raises
    ------
    BadInput
        If no chip is there to train on.
    """
    options = options or TRAINED
    wanted = list(models)
    chips = _training_chips(data, options.chips)
    held: HeldChips | None = None
    found = {}
    for k, model in enumerate(wanted):
        recipe, said = stand_in_recipe(model, options)
        place = folder / recipe.name
        on_step("stand-ins", k, len(wanted), recipe.name)
        held = held or _hold(chips)
        origin = SampleOrigin(chips.name, chips.licence, chips.citation)
        plan = plan_samples(recipe, held, (), origin)
        if not is_done(plan, place):
            train_plan(plan, place, force=True)
        found[model.key] = FoundModel(place / MODEL, said)
    on_step("stand-ins", len(wanted), len(wanted))
    return found


def stand_in_recipe(model: PaperModel, options: StandInOptions) -> tuple[Recipe, str]:
    """Return how a model's stand-in is trained, and what it is as a sentence.

    Rows that differ in their network alone have one and the same stand-in, and its name says so.
    """
    own, network = _own_recipe(model.recipe), find_card(START).architecture
    base = read_recipe(
        BASE,
        (
            "model.pretrained=",
            f"model.start_from={START}",
            f"model.architecture.encoder={network['encoder']}",
            f"model.architecture.decoder_channels={json.dumps(network['decoder_channels'])}",
            "crops.mode=random",
            f"crops.size={options.edge}",
            f"crops.per_epoch={options.steps * options.batch}",
            "schedule.epochs=1",
            f"schedule.batch={options.batch}",
            "schedule.shape=one-cycle",
            "schedule.per=step",
            "schedule.warmup=0.1",
            "hardware.device=cpu",
            "hardware.workers=0",
            "hardware.kind=thread",
            # one thread: networks this small gain little by two, and lose much on a busy machine
            "hardware.threads=1",
        ),
    )
    taught = own or base
    said = (
        f"stand-in, not the paper's model: a small U-Net that starts from {START} and takes "
        f"{counted(options.steps, 'step')} with "
        f"{'the loss and the augmentations of this row' if own else f'the recipe {BASE}'}"
    )
    recipe = replace(
        base,
        loss=taught.loss,
        augment=taught.augment,
        schedule=replace(base.schedule, lr=taught.schedule.lr),
    )
    decides = json.dumps(recipe_table(replace(recipe, name="", summary="")), sort_keys=True)
    digest = hashlib.blake2b(decides.encode(), digest_size=4).hexdigest()
    name = f"stand-in-{taught.loss.kind.replace('+', '-')}-{digest}"
    return replace(recipe, name=name, summary=said), said


def _own_recipe(name: str) -> Recipe | None:
    """Return a row's recipe if its loss teaches a U-Net."""
    try:
        found = read_recipe(name) if name else None
    except UnknownName:
        return None
    family = found.model.architecture.get("family") if isinstance(found, Recipe) else None
    return found if family in FOLLOWED else None


def _training_chips(data: Path, most: int) -> Dataset:
    """Take some training chips with complete labels, evenly over countries."""
    everything = load_dataset("ftw", data)
    entries = [
        entry
        for entry in everything.entries
        if entry.split == "train" and entry.group not in everything.presence_only
    ]
    if not entries:
        raise BadInput(
            f"Under {data} there is no training chip with complete labels, and stand-ins are "
            "trained on such: give other data, none, or --weights without --quick."
        )
    step = max(1.0, len(entries) / most)
    chosen = [entries[int(k * step)] for k in range(min(most, len(entries)))]
    return replace(everything, entries=tuple(chosen))


@dataclass(frozen=True, eq=False)
class HeldChips(Sequence[Sample]):
    """Chips in memory, since every stand-in learns from the same ones."""

    samples: tuple[Sample, ...]
    keys: tuple[str, ...]
    """Their names, each with a hash of what its files hold: what a finished run is known by."""

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        """Return one chip, or some."""
        return self.samples[index]


def _hold(chips: Dataset) -> HeldChips:
    held, keys = [], []
    for entry in chips.entries:
        sample = entry.open()
        held.append(replace(sample, image=sample.image.read(whole(sample.image.grid))))
        digest = hashlib.blake2b(digest_size=6)
        for path in entry.files:
            digest.update(path.read_bytes())
        keys.append(f"{entry.key} {digest.hexdigest()}")
    return HeldChips(tuple(held), tuple(keys))


def is_done(plan: TrainingPlan, folder: Path) -> bool:
    """Say whether a folder holds the finished run of this plan, and of no other one."""
    try:
        return is_finished(plan, folder)
    except BadInput:  # of another recipe, or of other chips
        return False


def make_maps(model: FoundModel, chips: Dataset, folder: Path) -> Path:
    """Map one chip of each country, where no finished maps of countries are given.

    Parameters
    ----------
    model : FoundModel
        Of probabilities or of objects.
    chips : Dataset
    folder : path
        Gets ``COUNTRY.parquet`` and ``COUNTRY.geojson``, the outline of the chip; what lies there
        is replaced.
    """
    loaded = load_model(model.path)
    for country in chips.groups:
        sample = chips.select(groups=country)[0]
        grid = sample.image.grid
        ids = chip_answer(loaded, sample, published=False).objects
        frame = to_fields(Instances(ids, grid))
        said = f"{model.stand_in or loaded.card.name}; one chip, {sample.key}"
        folder.mkdir(parents=True, exist_ok=True)
        write_fields(
            frame, folder / f"{country}.parquet", Origin("selion", details=said), force=True
        )
        write_text(folder / f"{country}.geojson", _outline(grid), force=True)
    return folder


def _outline(grid: GeoBox) -> str:
    """Return the outline of a grid as GeoJSON, in longitude and latitude."""
    box = grid.boundingbox
    corners = [(box.left, box.bottom), (box.right, box.bottom), (box.right, box.top)]
    corners += [(box.left, box.top), (box.left, box.bottom)]
    mover = Transformer.from_crs(str(grid.crs), "OGC:CRS84", always_xy=True)
    ring = mover.transform([x for x, _ in corners], [y for _, y in corners])
    shape = {"type": "Polygon", "coordinates": [[list(xy) for xy in zip(*ring, strict=True)]]}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})
