"""A folder in which a model is adapted: what was chosen, the windows to label, what is kept aside.

::

    my-crops/adapt.json                  what was asked for and chosen
    my-crops/looks.jsonl                 what was seen in each photograph
    my-crops/labels/images, masks        windows of photographs and their masks: a data set
    my-crops/training/                   the run of ``selion train``
    my-crops/card.toml, model.*          what was kept: the folder is a model
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selion import models, store
from selion.classes import IGNORE, ClassScheme
from selion.closerange.given_masks import Read
from selion.closerange.informative import roi_of, some_windows
from selion.closerange.model import RULES
from selion.closerange.naming import find_date, read_pattern
from selion.closerange.overlay import write_mask
from selion.data.declare import FILE, SCHEMES
from selion.data.photos import PhotoFile, read_photo
from selion.data.splits import write_splits
from selion.errors import BadInput, OutputExists, UnreadableFile
from selion.models import ModelCard
from selion.progress import OnStep, silent

ABOUT, LOOKS, LABELS, TRAINING = "adapt.json", "looks.jsonl", "labels", "training"
MADE_BY = "selion crops adapt"
START = "crops-rgb"
COUNT = 20
"""Photographs that a person is asked to label."""
MOST_WINDOWS = 6
"""Windows that are cut from a large photograph whose mask is there already."""


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """What a user may choose."""

    model: str = START
    """Name or folder of the model that is adapted."""
    count: int | None = None
    """How many photographs are labelled; None: 20, or all that have a mask already."""
    seed: int = 0
    """Draws what is kept aside, places in large photographs, and the training."""
    minutes: float = 5.0
    """Of training."""
    kept: float = 0.25
    """Share of the labelled photographs that nothing is learnt from."""
    pattern: str | None = None
    """How photographs are named, see :mod:`selion.closerange.naming`: plots are not parted."""
    classes: str | None = None
    """Name of another class scheme than the model's."""
    licence: str = ""
    """Of photographs and masks, for the card."""
    gsd: float | None = None
    """Millimetres a pixel of the photographs, for the card; None: not known."""

    def __post_init__(self) -> None:
        if self.gsd is not None and not 0 < self.gsd < 1e6:
            raise BadInput(f"{self.gsd:g} mm a pixel were given; wanted is a number above 0.")
        if self.count is not None and self.count < 2:
            raise BadInput(
                f"{self.count} photograph was asked for; wanted are 2 or more, one of them to "
                "compare on."
            )
        if not 0 < self.minutes <= 10_000:
            raise BadInput(f"{self.minutes:g} minutes were asked for; wanted is a time above 0.")
        if not 0 < self.kept < 1:
            raise BadInput(
                f"A share of {self.kept:g} was given to be kept aside; wanted is a number between "
                "0 and 1."
            )
        if self.classes is not None and self.classes not in SCHEMES:
            raise BadInput(
                f"The classes {self.classes!r} are not known: wanted is one of "
                f"{', '.join(SCHEMES)}."
            )


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """A part of a photograph that is, or is to be, labelled."""

    name: str
    """Of its image and its mask."""
    key: str
    """Of the photograph."""
    box: tuple[int, int, int, int]
    """Top, left, bottom, right in the photograph."""
    aside: bool
    """Whether it is kept aside, to compare on."""
    group: str = ""
    """Plot or date, where names tell."""
    start: str = ""
    """What a mask that is to be drawn begins from."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What was chosen; the same after a restart."""

    folder: Path
    photos: Path
    masks: Path | None
    options: AdaptOptions
    windows: tuple[LabelWindow, ...] = ()
    said: str = ""
    """How those kept aside were chosen."""
    epochs: int = 0
    """Of training; 0: not planned yet."""
    notes: tuple[str, ...] = field(default=())

    @property
    def labels(self) -> Path:
        """Folder of windows and masks."""
        return self.folder / LABELS

    @property
    def asked(self) -> dict[str, Any]:
        """What tells one adaptation from another."""
        masks = None if self.masks is None else str(self.masks)
        asked = {"photos": str(self.photos), "masks": masks, **asdict(self.options)}
        if self.options.gsd is None:  # adaptations that were begun before there was a choice go on
            del asked["gsd"]
        return asked

    def save(self) -> None:
        """Write ``adapt.json``."""
        table = {
            "made by": MADE_BY,
            "asked": self.asked,
            "windows": [asdict(one) for one in self.windows],
            "said": self.said,
            "epochs": self.epochs,
            "notes": list(self.notes),
        }
        store.write_text(self.folder / ABOUT, json.dumps(table, indent=1) + "\n", force=True)


def begin_adaptation(
    photos: Path, out: Path, masks: Path | None, options: AdaptOptions, *, force: bool = False
) -> Adaptation:
    """Make the folder, or open it where it holds the same adaptation.

    Raises
    ------
    OutputExists
        If it holds something else, and ``force`` is not given.
    """
    begun = Adaptation(out, photos.resolve(), None if masks is None else masks.resolve(), options)
    path = out / ABOUT
    if path.is_file() and not force:
        table = _read(path)
        if table["asked"] == json.loads(json.dumps(begun.asked)):
            windows = tuple(
                LabelWindow(**{**one, "box": tuple(one["box"])}) for one in table["windows"]
            )
            return replace(
                begun,
                windows=windows,
                said=table["said"],
                epochs=table["epochs"],
                notes=tuple(table["notes"]),
            )
        asked, before = begun.asked, table["asked"]
        different = sorted(k for k in asked | before if asked.get(k) != before.get(k))
        raise OutputExists(
            f"{out} holds an adaptation with other {', '.join(different)}: give the same again, "
            "choose another folder, or start over with --force (its masks are removed)."
        )
    if out.is_dir() and any(out.iterdir()):
        if not path.is_file() or not force:
            raise OutputExists(
                f"{out} holds something else: choose another folder for the adapted model."
            )
        shutil.rmtree(out)
    store.check_output(path)
    out.mkdir(parents=True, exist_ok=True)
    return begun


def _read(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        known = {"made by": "", "windows": [], "said": "", "epochs": 0, "notes": [], **table}
        known["asked"] = dict(table["asked"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as what 'selion crops adapt' wrote ({error}): start over with "
            "--force, or in another folder."
        ) from error
    return known


def starting_card(options: AdaptOptions) -> ModelCard:
    """Return the card of the model that is adapted.

    Raises
    ------
    UnknownName
        If there is no such model.
    BadInput
        If it cannot be trained, or does not take red, green and blue.
    """
    if options.model in RULES:
        raise BadInput(
            f"{options.model} is a rule of colours, which cannot learn: give --model the name or "
            "folder of a network."
        )
    card = models.find_card(str(Path(options.model).expanduser()))
    if not card.architecture or card.folder is None or len(card.inputs.bands) != 3:
        raise BadInput(
            f"{card.name} cannot be adapted to photographs: wanted is a model of red, green and "
            "blue that is on this machine and whose card says its architecture, such as "
            f"{START}."
        )
    return card


def classes_of(options: AdaptOptions, card: ModelCard) -> ClassScheme:
    """Return what the masks are made of."""
    return card.classes if options.classes is None else SCHEMES[options.classes]


def set_aside(
    files: Sequence[str], options: AdaptOptions, known: Sequence[str] = ()
) -> tuple[frozenset[int], list[str], str]:
    """Choose which labelled photographs nothing is learnt from.

    Whole plots where a pattern of the names tells them, else whole dates where all names hold one
    and there are three or more, else single photographs.

    Parameters
    ----------
    files : sequence of str
        Of the photographs.
    options : AdaptOptions
    known : sequence of str, optional
        Group of each, where it was read from the names before.

    Returns
    -------
    frozenset of int
        Which.
    list of str
        Group of each photograph; empty where names tell none.
    str
        A sentence on it.

    Raises
    ------
    BadInput
        If there are fewer than two photographs.
    """
    if len(files) < 2:
        raise BadInput(
            f"{len(files)} photograph has a mask; wanted are 2 or more, one of them to compare on."
        )
    if any(known):
        groups, what = list(known), "date" if options.pattern is None else "plot"
    else:
        groups, what = _groups(files, options.pattern)
    members = defaultdict(list)
    for k, group in enumerate(groups):
        members[group or f"photograph {k}"].append(k)
    wanted = max(1, round(options.kept * len(files)))
    order = sorted(members)
    np.random.default_rng(options.seed).shuffle(order)
    aside: list[int] = []
    names = []
    for name in order:
        room = len(files) - 1 - len(aside)
        if len(aside) >= wanted or len(members[name]) > min(room, max(2 * wanted, 1)):
            continue
        aside += members[name]
        names.append(name)
    why = "names tell neither plot (--pattern) nor date"
    if not aside:  # one group holds nearly all: photographs are parted after all
        why = f"one {what} holds nearly all of them" if what else why
        groups, what = ["" for _ in files], ""
        aside = [int(k) for k in np.random.default_rng(options.seed).permutation(len(files))]
        aside = aside[:wanted]
    many = f"{len(aside)} of {len(files)} photographs are kept aside to compare on"
    if what:
        shown = ", ".join(sorted(names)[:6]) + (" ..." if len(names) > 6 else "")
        said = f"{many}, whole {what}s ({shown}): nothing is learnt from them."
    else:
        said = f"{many}, drawn by lot, as {why}; nothing is learnt from them."
    return frozenset(aside), groups, said


def _groups(files: Sequence[str], pattern: str | None) -> tuple[list[str], str]:
    """Return the group of each photograph and what groups are; empty where names tell none."""
    if pattern is not None:
        rule = read_pattern(pattern)
        plots = [rule.read(file).get("plot", "") for file in files]
        if not any(plots):
            raise BadInput(
                f"The pattern {pattern!r} fits none of the photographs, for example {files[0]}."
            )
        return plots, "plot"
    dates = [find_date(file) for file in files]
    if all(dates) and len(set(dates)) >= 3:
        return [str(day) for day in dates], "date"
    return ["" for _ in files], ""


def window_name(key: str, box: Sequence[int], *, whole: bool) -> str:
    """Return what a window's image and mask are called; no two photographs share it."""
    plain = key.replace("/", "__")
    if re.search("__|_/|/_", key):  # a/b.jpg and a__b.jpg
        plain += f"-{zlib.crc32(key.encode('utf-8', 'surrogatepass')):08x}"
    return plain if whole else f"{plain}@{box[0]}-{box[1]}"


def all_windows(
    photos: Sequence[PhotoFile],
    aside: frozenset[int],
    groups: Sequence[str],
    seed: int,
) -> list[LabelWindow]:
    """Return the windows of photographs whose masks are there already."""
    found = []
    for k, photo in enumerate(photos):
        shape = tuple(store.open_raster(photo.path).grid.shape)
        boxes = some_windows((shape[0], shape[1]), photo.key, seed, MOST_WINDOWS)
        for box in boxes:
            name = window_name(photo.key, box, whole=len(boxes) == 1)
            found.append(
                LabelWindow(
                    name, photo.key, (box[0], box[1], box[2], box[3]), k in aside, groups[k]
                )
            )
    return found


def write_windows(
    adaptation: Adaptation,
    photos: Mapping[str, PhotoFile],
    reads: Mapping[str, Read],
    classes: ClassScheme,
    on_step: OnStep = silent,
) -> None:
    """Cut windows out of photographs and their masks: a data set.

    Parameters
    ----------
    adaptation : Adaptation
    photos : mapping
        By key.
    reads : mapping
        Key -> mask, of those photographs that have one; of others the image alone is cut.
    classes : ClassScheme
    on_step : callable, optional

    Raises
    ------
    BadInput, GridMismatch
        If a mask does not fit its photograph, or holds numbers that are no class.
    """
    by_photo = defaultdict(list)
    for window in adaptation.windows:
        by_photo[window.key].append(window)
    for inner in ("images", "masks"):
        (adaptation.labels / inner).mkdir(parents=True, exist_ok=True)
    for done, (key, windows) in enumerate(by_photo.items()):
        on_step("cut", done, len(by_photo), key)
        if all(_is_cut(adaptation, one, key in reads) for one in windows):
            continue
        image = read_photo(photos[key].path).image
        ids = reads[key](image.grid) if key in reads else None
        for window in windows:
            roi = roi_of(window.box)
            if ids is not None:
                write_mask(seen_ids(ids, image.valid)[roi], classes, mask_path(adaptation, window))
            _write_image(image.values[:, *roi], image_path(adaptation, window))
    on_step("cut", len(by_photo), len(by_photo), "")


def seen_ids(ids: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Return (y, x) class ids, 255 where a photograph is transparent, whatever was drawn there.

    The black under it is no soil to be learnt.
    """
    return ids if valid is None else np.where(valid, ids, np.uint8(IGNORE))


def image_path(adaptation: Adaptation, window: LabelWindow) -> Path:
    """Return where the pixels of a window lie."""
    return adaptation.labels / "images" / f"{window.name}.png"


def mask_path(adaptation: Adaptation, window: LabelWindow) -> Path:
    """Return where the mask of a window lies."""
    return adaptation.labels / "masks" / f"{window.name}.png"


def has_mask(adaptation: Adaptation, window: LabelWindow) -> bool:
    """Say whether the mask of a window is there, as it is not while it is to be drawn."""
    return mask_path(adaptation, window).is_file()


def _is_cut(adaptation: Adaptation, window: LabelWindow, masked: bool) -> bool:
    return image_path(adaptation, window).is_file() and (
        not masked or mask_path(adaptation, window).is_file()
    )


def _write_image(values: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(values, 0, -1)))
    with store.atomic_write(path, force=True) as temporary:
        store.write_picture(temporary, picture, "PNG", compress_level=3)


def declare_labels(
    adaptation: Adaptation, windows: Sequence[LabelWindow], classes: ClassScheme
) -> None:
    """Write what makes the folder of labels a data set: its classes and its splits."""
    said = partial(json.dumps, ensure_ascii=False)  # TOML has no letters in two halves
    named = {key: value for key, value in classes.to_dict().items() if value}
    inner = ", ".join(f"{key} = {said(value)}" for key, value in named.items())
    licence = adaptation.options.licence or "not stated"
    text = (
        f"name = {said(adaptation.folder.resolve().name)}\n"
        f"licence = {said(licence)}\n"
        f"classes = {{ {inner} }}\n\n[files]\n"
        'image = "images/{key}.png"\nlabels = "masks/{key}.png"\n'
        'split = { csv = "splits.csv" }\n'
    )
    rows = [
        (one.name, "val" if one.aside else "train", one.group, f"{one.name}.png") for one in windows
    ]
    write_splits(adaptation.labels, rows)
    store.write_text(adaptation.labels / FILE, text, force=True)
