"""DepthCropSeg++'s tables in minutes: simulated photographs, and small networks for its rows.

A stand-in goes the row's own road (masks of people, of a model or of depth; one stage or two;
bilinear or FADE; its seed) with a tiny ViT-Adapter from random weights and a few steps.  What it
scores says that the road works, and nothing of the paper's models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from selion.errors import BadInput, OutputExists, counted
from selion.labelling import (
    ConfidenceOptions,
    DepthFolder,
    DepthOptions,
    SceneOptions,
    keep_pseudo,
    label_photos,
    label_scenes,
    plan_selftraining,
    self_train,
)
from selion.labelling.selection import Selection
from selion.labelling.selftrain import SelfTraining, stage_plan
from selion.models import load_model
from selion.papers.printed import PaperModel
from selion.papers.quick import is_done, kept_sample
from selion.papers.results import FoundModel
from selion.progress import OnStep, silent
from selion.simulation.photographs import (
    UNLABELLED,
    WHEAT,
    PhotographOptions,
    write_photographs,
)
from selion.training import Recipe, plan_training, read_recipe, train_plan
from selion.training.run import MODEL, TrainingPlan

RECIPE = "crops-adapter"
PHOTOS, DEPTH = "photos", "depth"
SURE = 0.5
"""Conventional pseudo-masks: the most likely class of each pixel, however sure."""


@dataclass(frozen=True, slots=True)
class PhotoStandInOptions:
    """How long a stand-in is trained, and how small it is."""

    steps: int = 80
    """Of each stage."""
    batch: int = 8
    edge: int = 64
    """Of a training window in pixels, a multiple of 32."""
    width: int = 96
    """Channels of the transformer, a multiple of 32."""
    depth: int = 4

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.depth) < 1 or self.edge % 32 or self.width % 32:
            raise BadInput(
                f"A stand-in of {self.steps} steps, batches of {self.batch}, windows of "
                f"{self.edge} px, {self.width} channels and {self.depth} blocks was asked for; "
                "wanted is one of each at least, and windows and channels that are multiples of "
                "32."
            )


@dataclass(frozen=True, slots=True)
class _Road:
    """How a row's model comes about."""

    labels: bool = True
    """Learns from masks of people."""
    masks: str = ""
    """And from these masks of photographs without any: of a ``model``, or by ``depth``."""
    full: bool = True
    """Photographs of plants alone get a mask that is all crop."""
    stages: int = 1
    upsampler: str = "bilinear"
    groups: tuple[str, ...] = ()
    """Only these groups are learnt; empty: all."""
    seed: int = 0

    @property
    def said(self) -> str:
        """The road as the end of a sentence."""
        people = f"masks of people{f' ({self.groups[0]} alone)' if self.groups else ''}"
        drawn = {
            "": [],
            "model": ["masks that a supervised stand-in drew"],
            "depth": ["masks by depth"],
        }
        learnt = [people] * self.labels + drawn[self.masks]
        stages = "two stages" if self.stages == 2 else "one stage"
        return f"on {' and '.join(learnt)}, {stages}, {self.upsampler} upsampling, seed {self.seed}"


FINAL = _Road(masks="depth", stages=2, upsampler="fade")
ROADS = {
    "semi-supervised": _Road(masks="model"),
    "depth-masks": _Road(masks="depth"),
    "two-stages": _Road(masks="depth", stages=2),
    "depthcropseg-plus-plus": FINAL,
    "depthcropseg-plus-plus-2": replace(FINAL, seed=1),
    "depthcropseg-plus-plus-3": replace(FINAL, seed=2),
    "supervised": _Road(),
    "supervised-2": _Road(seed=1),
    "supervised-3": _Road(seed=2),
    "depthcropseg": _Road(labels=False, masks="depth", full=False),
    "gwfss": _Road(groups=(WHEAT,)),
}
"""Key of a model -> how its stand-in comes about; prompted networks have none."""


def make_photographs(
    folder: Path, options: PhotographOptions | None = None, *, on_step: OnStep = silent
) -> Path:
    """Write the sample that stands in for the data, or take the one that is there.

    Raises
    ------
    OutputExists
        If the folder holds something else.
    """
    options = options or PhotographOptions()
    return kept_sample(
        folder, options.to_json(), lambda: write_photographs(folder, options, on_step=on_step)
    )


def make_photo_stand_ins(
    models: Iterable[PaperModel],
    sample: Path,
    folder: Path,
    options: PhotoStandInOptions | None = None,
    *,
    on_step: OnStep = silent,
) -> dict[str, FoundModel]:
    """Train a stand-in for each model that has a road; what is finished is taken.

    Parameters
    ----------
    models : iterable of PaperModel
    sample : path
        As :func:`make_photographs` writes it.
    folder : path
        Gets masks of the photographs without any, and one run for each stand-in.
    options : PhotoStandInOptions, optional
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    dict
        Key of a model -> its stand-in, and in one sentence what it is.
    """
    work = _StandIns(sample, folder, options or PhotoStandInOptions(), on_step)
    wanted = [model.key for model in models if model.key in ROADS]
    found = {}
    for done, key in enumerate(wanted):
        on_step("stand-ins", done, len(wanted), key)
        found[key] = FoundModel(work.model(key), work.said(key))
    on_step("stand-ins", len(wanted), len(wanted))
    return found


class _StandIns:
    """Stand-ins and the masks that they learn from, made when they are first wanted."""

    def __init__(
        self, sample: Path, folder: Path, options: PhotoStandInOptions, on_step: OnStep
    ) -> None:
        self.sample, self.folder = sample, folder
        self.options, self.on_step = options, on_step

    def said(self, key: str) -> str:
        """Say what a stand-in is."""
        steps = counted(self.options.steps, "step")
        return (
            f"stand-in, not the paper's model: a tiny ViT-Adapter from random weights, {steps} a "
            f"stage {ROADS[key].said}"
        )

    def recipe(self, key: str) -> Recipe:
        """Return how a stand-in is trained."""
        road, given = ROADS[key], self.options
        changes = [
            f"name={key}",
            f"seed={road.seed}",
            "model.pretrained=",
            "model.architecture.encoder=vit_tiny_patch16_224",
            f"model.architecture.img_size={given.edge}",
            f"model.architecture.embed_dim={given.width}",
            f"model.architecture.depth={given.depth}",
            "model.architecture.num_heads=2",
            "model.architecture.drop_path=0.0",
            f"model.architecture.hidden={given.width}",
            f"model.architecture.upsampler={road.upsampler}",
            f"input.window={given.edge}",
            f"input.multiple={given.edge}",
            f"crops.per_epoch={given.steps * given.batch}",
            "crops.zoom=[0.5, 1.0]",
            "schedule.epochs=1",
            "schedule.keep=last",
            f"schedule.batch={given.batch}",
            "schedule.lr=2e-3",
            "validate.every=0",
            "hardware.device=cpu",
            "hardware.workers=0",
            "hardware.kind=thread",
            "hardware.threads=1",
        ]
        if road.labels:
            changes += [f"data.dataset={self.sample}", f"data.groups={list(road.groups)}"]
        return read_recipe(RECIPE, changes)

    def model(self, key: str) -> Path:
        """Train a stand-in, or take it."""
        road, recipe, place = ROADS[key], self.recipe(key), self.folder / key
        if not road.masks:
            return self.trained(plan_training(recipe), place)
        plan = plan_selftraining(recipe, self.kept(road))
        if road.stages == 2:
            return self.trained_twice(plan, place)
        return self.trained(stage_plan(plan, plan.training, 1), place)

    def trained(self, plan: TrainingPlan, place: Path) -> Path:
        """Train by a plan, unless that is done."""
        if not is_done(plan, place):
            train_plan(plan, place, force=True, on_step=self.on_step)
        return place / MODEL

    def trained_twice(self, plan: SelfTraining, place: Path) -> Path:
        """Train both stages, unless that is done; a run of other photographs is begun anew."""
        try:
            return self_train(plan, place, on_step=self.on_step)
        except OutputExists:
            return self_train(plan, place, force=True, on_step=self.on_step)

    def kept(self, road: _Road) -> Selection:
        """Draw masks of the photographs without any, and choose among them by their quality."""
        photos = self.sample / UNLABELLED / PHOTOS
        if road.masks == "model":
            place = self.folder / "masks-model"
            model = load_model(self.model("supervised"))
            options = SceneOptions(ConfidenceOptions(sure=SURE))
            label_scenes(photos, place, model, options, on_step=self.on_step)
            return keep_pseudo(place)
        place = self.folder / ("masks-depth" if road.full else "masks-depth-alone")
        depths = DepthFolder(self.sample / UNLABELLED / DEPTH)
        label_photos(photos, place, depths, DepthOptions(find_full=road.full), on_step=self.on_step)
        return keep_pseudo(place)
