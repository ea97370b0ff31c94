"""The samples that a recipe asks for, and whether one can learn from them."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import data, store
from selion.classes import FTW2, FTW3, IGNORE
from selion.data.dataset import Dataset
from selion.errors import BadInput, SelionError
from selion.grid import ground_sampling_distance
from selion.models import find_card
from selion.sample import Sample, known_keys
from selion.store.file_sum import sum_file
from selion.training.checkpoint import LABELS, STATE, VALIDATED
from selion.training.class_mapping import is_outlines, placed
from selion.training.crops import make_view, object_classes, takes_objects
from selion.training.draws import Draw
from selion.training.mixture import Mixture, part_recipe, recipe_for
from selion.training.reading import read_recipe
from selion.training.recipe import Model, Recipe

if TYPE_CHECKING:
    from selion.data.polygons import Labelled
    from selion.models import ModelCard

DRAWS = 20
"""Own polygons: so many draws of splits are tried until both have a chip."""
LARGE = 2048
"""Pixels of the edge of an image that is looked at uncut."""
TIMES = 3.0
"""So much the pixels of own images may be larger or smaller than those at which a start maps."""
TRIES = 64
"""Windows that are cut, at most, until one holds a pixel to learn from; nearly always the first
does."""
SCAN = 2000
"""At most so many samples are looked through for a class before it counts as absent."""


def open_samples(recipe: Recipe) -> tuple[Dataset | Mixture, Dataset | Mixture]:
    """Return the training and the validation samples.

    Raises
    ------
    BadInput
        If the recipe names no data.
    UnreadableFile, UnknownName
        If it is not there, or has no such split or group.
    """
    spec = recipe.data
    if bool(spec.image) != bool(spec.polygons):
        raise BadInput(
            f"data.image = {spec.image!r} and data.polygons = {spec.polygons!r} were given: own "
            "polygons want both."
        )
    if spec.mix:
        return _mixtures(recipe)
    return _single(recipe)


def at_scale_of_start(recipe: Recipe) -> Recipe:
    """Return a recipe whose windows have the pixels at which its start maps such images.

    A model of 1.65 to 4.5 m maps an image of 1 m at 1.65 m; weights that are kept near it want to
    learn, and to map, at this scale.  The recipe stays as it is where it names distances itself,
    where the start is not kept (``model.keep_start = "auto"``) or has other bands, for
    photographs, and where the scales are further apart than :data:`TIMES`: what is outlined on
    pixels of 0.1 m may be too small to be seen in those of the start.

    Raises
    ------
    BadInput, UnreadableFile, UnknownName
        If the recipe's data cannot be opened.
    """
    said = recipe.input.gsd or recipe.crops.gsd or recipe.crops.zoom or recipe.input.dates
    if said or recipe.data.mix or recipe.model.keep_start != "auto" or not recipe.model.start_from:
        return recipe
    try:
        theirs = find_card(_model_of(recipe.model.start_from)).inputs
    except SelionError:
        return recipe  # what is not here is refused where it is loaded
    if theirs.gsd is None or theirs.bands != recipe.input.bands or theirs.dates:
        return recipe
    native = _native(recipe)
    working = theirs.working_gsd(native)
    if native is None or working is None or not 1 / TIMES <= working / native <= TIMES:
        return recipe
    finer = None if theirs.finer == 1 else theirs.finer
    made = replace(recipe, input=replace(recipe.input, gsd=theirs.gsd, finer=finer))
    if math.isclose(working, native, rel_tol=0.01):
        return made  # windows are cut as they are
    return replace(made, crops=replace(recipe.crops, gsd=(working, working)))


def like_start(recipe: Recipe, native: float | None = None) -> Recipe:
    """Return a recipe whose network, boundaries and batch statistics are those of its start.

    Where ``model.architecture`` names no family, what it does not say is as in the start.  Where
    ``data.boundary_width`` is "auto" it becomes the pixels of a window that are as wide as the
    boundaries that the start was taught, so that its probabilities go on meaning the same.  It is 1
    where the start's card says no width, and where windows are more than :data:`TIMES` finer than
    the start's own pixels: small plots would be boundary alone.  Where ``model.batch_norm`` is
    "frozen" and the start has other bands, it becomes "live": statistics of another first layer
    fit nothing.

    Parameters
    ----------
    recipe : Recipe
        As :func:`at_scale_of_start` returns it.
    native : float, optional
        Metres of a pixel of the images, where the recipe names none.

    Raises
    ------
    BadInput, UnknownName
        If ``model.architecture`` names no family and there is no start to take it from.
    """
    card, data, model = _start_card(recipe), recipe.data, _network_of_start(recipe)
    if data.boundary_width == "auto":
        data = replace(data, boundary_width=_start_width(recipe, card, native))
    if card is not None and len(card.inputs.bands) != len(recipe.input.bands):
        model = replace(model, batch_norm="live")
    return replace(recipe, data=data, model=model)


def _network_of_start(recipe: Recipe) -> Model:
    model = recipe.model
    if "family" in model.architecture:
        return model
    if not model.start_from:
        raise BadInput(
            "model.architecture names no family, and model.start_from no model whose network it "
            "could be: set one of them."
        )
    theirs = _architecture_of(model.start_from)
    return replace(model, architecture={**theirs, **model.architecture})


def _architecture_of(start_from: str) -> Mapping[str, Any]:
    folder = Path(start_from).expanduser()
    if (folder / STATE).is_file() and not (folder / "model").is_dir():
        return read_recipe(folder / "recipe.toml").model.architecture  # no model exported yet
    card = find_card(_model_of(start_from))
    if not card.architecture:
        raise BadInput(
            f"{card.name} cannot be trained further: its card has no architecture; set "
            "model.architecture, or another model.start_from."
        )
    return card.architecture


def _start_card(recipe: Recipe) -> ModelCard | None:
    """Return the card of what a recipe starts from; what is not here is refused when loaded."""
    if not recipe.model.start_from:
        return None
    try:
        return find_card(_model_of(recipe.model.start_from))
    except SelionError:
        return None


def _start_width(recipe: Recipe, card: ModelCard | None, native: float | None) -> int:
    if card is None or card.boundary is None:
        return 1
    drawn = recipe.crops.gsd
    pixel = math.sqrt(drawn[0] * drawn[1]) if drawn else native or _native(recipe)
    finest = card.inputs.gsd[0] if card.inputs.gsd else pixel
    if pixel is None or finest is None or pixel * TIMES < finest:
        return 1
    return max(1, round(card.boundary / pixel))


def _model_of(start_from: str) -> str:
    inner = Path(start_from).expanduser() / "model"
    return str(inner) if inner.is_dir() else start_from


def _native(recipe: Recipe) -> float | None:
    """Return the metres of a pixel of a recipe's image, or of its first sample."""
    if recipe.data.image and recipe.data.polygons:
        return _pixel_of(Path(recipe.data.image).expanduser())
    if recipe.data.image or not recipe.data.dataset:
        return None
    training, _ = _single(recipe)
    return ground_sampling_distance(training[0].image.grid) if len(training) else None


def _pixel_of(image: Path) -> float | None:
    """Return the metres of an image's pixel; None where it cannot be opened, which is said later.

    Several rasters of one grid (``name=path,name=path``) are opened by their own names.
    """
    try:
        return ground_sampling_distance(store.open_raster(image).grid)
    except SelionError:
        return None


def _mixtures(recipe: Recipe) -> tuple[Mixture, Dataset | Mixture]:
    """Open every part of a mixture.

    See :attr:`selion.training.sources.Data.mix` for what is validated on.
    """
    spec = recipe.data
    recipes, shares = (
        [part_recipe(recipe, part) for part in spec.mix],
        [part.share for part in spec.mix],
    )
    own = bool(spec.dataset or spec.image)
    if own:
        recipes, shares = (
            [replace(recipe, data=replace(spec, mix=())), *recipes],
            [1 - sum(shares), *shares],
        )
    opened = [_single(made) for made in recipes]
    for made, (part, _) in zip(recipes, opened, strict=True):
        if not len(part):
            raise BadInput(
                f"{part.name} of data.mix has no samples to train on: check its folder, split "
                f"({made.data.train_split!r}) and groups."
            )
    total = sum(shares)
    training = Mixture(
        tuple(t for t, _ in opened), tuple(recipes), tuple(share / total for share in shares)
    )
    if own and len(opened[0][1]):
        return training, opened[0][1]
    fed_alike = [
        (part, made)
        for made, (_, part) in zip(recipes, opened, strict=True)
        if len(part) and made.input == recipe.input
    ]
    if not fed_alike:
        return training, opened[0][1][:0]
    return training, Mixture(
        tuple(p for p, _ in fed_alike),
        tuple(r for _, r in fed_alike),
        (1 / len(fed_alike),) * len(fed_alike),
    )


def _single(recipe: Recipe) -> tuple[Dataset, Dataset]:
    spec = recipe.data
    if not spec.image and not spec.dataset:
        raise BadInput(
            f"The recipe {recipe.name} names no data: add --set data.dataset=FOLDER, or --set "
            "data.image=IMAGE --set data.polygons=TABLE."
        )
    whole = _own_polygons(recipe) if spec.image else _by_name(recipe)
    return _part(whole, spec.train_split, spec.groups), _part(
        whole, spec.validation_split, spec.validation_groups or spec.groups, optional=True
    )


def _by_name(recipe: Recipe) -> Dataset:
    spec = recipe.data
    asked = FTW3 if is_outlines(recipe.classes) else recipe.classes
    wanted = (
        asked if asked.names in (FTW2.names, FTW3.names) or data.is_bare(spec.dataset) else None
    )
    return data.load_dataset(
        spec.dataset, spec.root or None, classes=wanted, boundary=spec.boundary_pixels
    )


def _own_polygons(recipe: Recipe) -> Dataset:
    """Cut an image with polygons into chips, whose splits are made by place.

    Strips across the image, or blocks of land where the recipe says how large.

    Blocks are drawn by lot: the first draw from the recipe's seed on that gives both splits a chip.
    """
    from selion.data.place import Land
    from selion.data.polygons import Chips, load_polygons
    from selion.data.strips import Strips

    spec = recipe.data
    image, labelled = _labelled(recipe)
    size = chip_size(recipe, image)
    name = f"{image.stem} with {labelled.polygons.stem}"
    if not spec.block_km:
        return load_polygons(
            [image], labelled, Chips(size, land=Strips(spec.validation_share)), name=name
        )
    lands = (
        Land(spec.block_km, spec.validation_share, 0.0, recipe.seed + k)
        for k in range(DRAWS if spec.validation_share else 1)
    )
    drawn = (
        load_polygons([image], labelled, Chips(size, land=land, fallback=False), name=name)
        for land in lands
    )
    first = next(drawn)
    return next(
        (found for found in (first, *drawn) if {"train", "val"} <= set(found.splits)), first
    )


def _labelled(recipe: Recipe) -> tuple[Path, Labelled]:
    """Return a recipe's own image, and its polygons as they are burnt."""
    from selion.data.burning import Burning
    from selion.data.polygons import Labelled

    spec = recipe.data
    image, polygons = Path(spec.image).expanduser(), Path(spec.polygons).expanduser()
    area = Path(spec.area).expanduser() if spec.area else None
    classes = FTW3 if is_outlines(recipe.classes) else recipe.classes
    burning = Burning(width=spec.boundary_pixels)
    return image, Labelled(polygons, area, burning=burning, classes=classes, complete=spec.complete)


def uncut_image(recipe: Recipe) -> Sequence[Sample]:
    """Return a recipe's own image with all its polygons, in pieces of :data:`LARGE` pixels at most.

    Empty where the recipe has chips: edges cut their fields, which then look smaller than they are.
    """
    from selion.data.polygons import Chips, load_polygons
    from selion.data.strips import Strips

    if not recipe.data.image:
        return ()
    image, labelled = _labelled(recipe)
    return load_polygons([image], labelled, Chips(LARGE, land=Strips(0.0)))


def chip_size(recipe: Recipe, image: Path) -> int:
    """Return the edge of chips in the image's pixels: what a window covers."""
    if recipe.crops.mode == "random" or recipe.crops.gsd is None:
        return recipe.window
    native = _pixel_of(image)
    times = 1.0 if native is None else recipe.crops.gsd[0] / native
    return max(math.ceil(recipe.window * times - 1e-6), 8)


def _part(
    whole: Dataset, split: str, groups: tuple[str, ...], *, optional: bool = False
) -> Dataset:
    """Take a split.

    Of a dataset without splits everything is for training and nothing for validation.
    """
    if not whole.splits:
        part = whole[:0] if optional else whole
        return part.select(groups=groups or None) if len(part) else part
    if optional and split not in whole.splits:
        return whole[:0]
    return whole.select(split, groups or None)


def joined(samples: Sequence[Sample], others: Sequence[Sample]) -> Sequence[Sample]:
    """Put two splits together; of a dataset no sample is opened."""
    if isinstance(samples, Dataset) and isinstance(others, Dataset):
        return replace(samples, entries=(*samples.entries, *others.entries))
    return [*samples, *others]


def taken(samples: Sequence[Sample], places: Sequence[int]) -> Sequence[Sample]:
    """Return some of the samples; of a dataset none is opened."""
    if isinstance(samples, Dataset):
        return replace(samples, entries=tuple(samples.entries[k] for k in places))
    return [samples[k] for k in places]


def fingerprint(samples: Sequence[Sample], validation: Sequence[Sample] = ()) -> str:
    """Say which samples these are: their number, and hashes of their names and of their labels.

    So of those that validate, if there are any: they choose the weights that are kept.
    """
    keys = known_keys(samples) or [str(k) for k in range(len(samples))]
    digest = hashlib.blake2b("\n".join(keys).encode(), digest_size=6).hexdigest()
    labels = hashlib.blake2b(digest_size=6)
    for path in (files := _label_files(samples)):
        for part in _labels_in(path):
            labels.update(part)
    said = f"{len(samples)} samples {digest}" + (f"{LABELS}{labels.hexdigest()}" if files else "")
    return said + (f"{VALIDATED}{fingerprint(validation)}" if len(validation) else "")


def _label_files(samples: Sequence[Sample]) -> list[Path]:
    """Return the files that hold the truth of samples, each once."""
    parts = samples.parts if isinstance(samples, Mixture) else (samples,)
    entries = [entry for part in parts if isinstance(part, Dataset) for entry in part.entries]
    named = dict.fromkeys(path for entry in entries for path in entry.files[entry.images :])
    return [path for path in named if path.is_file()]


def _labels_in(path: Path) -> list[bytes]:
    """Return what is hashed of labels: what the table says of a GeoPackage, else the file's bytes.

    A GeoPackage that was only looked at in QGIS has other bytes.
    """
    if path.suffix.lower() != ".gpkg":
        return [sum_file(path).sha256.encode()]
    frame = store.read_polygons(path)
    columns = frame.drop(columns=frame.geometry.name)
    return [*frame.geometry.to_wkb().dropna(), columns.to_csv().encode()]


def check_samples(samples: Sequence[Sample], recipe: Recipe) -> list[float]:
    """Make sure that there is something of every class to learn, and that a sample fits the recipe.

    Returns
    -------
    list of float
        Shares of the classes in the samples that were looked at: as many as it took to see every
        class.

    Raises
    ------
    BadInput
        If a class does not occur, or nothing is seen or known anywhere.
    BandMismatch, GridMismatch
        If the first sample does not fit.
    """
    if not len(samples):
        raise BadInput(
            "There are no samples to train on: check data.dataset, data.train_split and "
            "data.groups."
        )
    starts = (
        [int(first) for first in samples.starts]
        if isinstance(samples, Mixture)
        else [0, len(samples)]
    )
    for first in starts[:-1]:
        make_view(samples[first], recipe_for(samples, recipe, first), Draw(recipe.seed, 0, 0))
    counts = np.zeros(256, np.int64)
    step = max(1, math.ceil(len(samples) / SCAN))
    for k in range(0, len(samples), step):
        counts += _classes(samples[k], recipe_for(samples, recipe, k))
        if (counts[: len(recipe.classes)] > 0).all():
            break
    known = counts[: len(recipe.classes)]
    absent = [name for name, count in zip(recipe.classes.names, known, strict=True) if count == 0]
    if absent:
        raise _nothing_of(absent, recipe, len(samples), unknown=int(counts[IGNORE]))
    for first, end in itertools.pairwise(starts):
        _check_seen(samples, recipe, first, end)
    return [float(v) for v in known / known.sum()]


def _check_seen(samples: Sequence[Sample], recipe: Recipe, first: int, end: int) -> None:
    """Make sure that something is both seen and known in some window.

    The windows are of the samples ``first`` to ``end``.
    """
    for k in range(TRIES):
        number = first + k % (end - first)
        _, labels = make_view(
            samples[number], recipe_for(samples, recipe, number), Draw(recipe.seed, 0, k)
        )
        if ((labels if labels.ndim == 2 else labels[0]) != IGNORE).any():
            return
    raise BadInput(
        f"In {TRIES} windows of {end - first} training samples, {samples[first].key} the first, "
        "no pixel is both seen and known: their images hold nodata or NaN, or their masks 255; "
        "check them with 'selion data check'."
    )


def _classes(sample: Sample, recipe: Recipe) -> np.ndarray:
    """Count pixels by class id of the recipe, (256,)."""
    if takes_objects(sample, recipe) and sample.instances is not None:
        width = recipe.data.boundary_pixels if recipe.classes.boundary else 0
        return np.bincount(
            object_classes(sample.instances, width, sample.ignore, recipe.classes).ravel(),
            minlength=256,
        )
    if sample.labels is None:
        return np.zeros(256, np.int64)
    counts = np.bincount(sample.labels.ids.ravel(), minlength=256)
    moved = np.zeros(256, np.int64)
    for old, new in placed(sample.labels.classes, recipe.classes).items():
        moved[new] += counts[old]
    moved[IGNORE] = counts[IGNORE]
    return moved


def _nothing_of(absent: list[str], recipe: Recipe, count: int, *, unknown: int) -> BadInput:
    if len(absent) == len(recipe.classes):
        return BadInput(
            f"None of the {count} training samples has a pixel whose class is known: check the "
            "masks with 'selion data check'."
        )
    names = ", ".join(repr(name) for name in absent)
    if unknown and "field" not in recipe.classes.names:
        return BadInput(
            f"No training sample holds the class {names} ({count} samples), but the masks hold "
            "255, which is read as not known: if it stands for a class, write a dataset.toml into "
            "the folder that says so, for example classes = 'crop' and values = { '0' = 'soil', "
            "'255' = 'crop' }."
        )
    return BadInput(
        f"No training sample holds the class {names} ({count} samples, classes "
        f"{', '.join(recipe.classes.names)}): a network cannot learn it; give classes without it, "
        "or masks with it."
    )
