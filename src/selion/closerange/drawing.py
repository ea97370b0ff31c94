"""Masks that a person is to draw: which photographs, in what order, and what each begins from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from selion import models, store
from selion.classes import IGNORE, ClassScheme
from selion.closerange.adaptation import (
    COUNT,
    Adaptation,
    AdaptOptions,
    LabelWindow,
    begin_adaptation,
    classes_of,
    image_path,
    mask_path,
    set_aside,
    starting_card,
    window_name,
    write_windows,
)
from selion.closerange.adapting import look_through
from selion.closerange.informative import PhotoLook, choose_photos
from selion.closerange.overlay import write_mask
from selion.closerange.rule import rule_mask
from selion.data.photos import distinct, find_photos, read_photo, said_of_copies
from selion.data.values import read_mask
from selion.errors import UnreadableFile
from selion.labelling.mask_editor import Click, MaskEditor, MaskItem
from selion.labelling.queue import item_id
from selion.labelling.scenes import predicted_labels
from selion.progress import OnNote, OnStep, silent, unsaid

EDITS = "edits.jsonl"
MODEL, CANOPEO, OTSU, EMPTY = "model", "colour", "colour-otsu", "empty"
LOST = 0.15
"""Doubt of the model from which on a mask begins from excess green with Otsu's threshold."""


def prepare_drawn(
    photos: Path,
    out: Path,
    options: AdaptOptions,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> Adaptation:
    """Look at a folder of photographs, and choose those that a person is to draw masks for.

    Parameters
    ----------
    photos, out : path
        Folder of photographs, and the one of the model.
    options : AdaptOptions
    force : bool
        Start over where ``out`` holds an adaptation.
    on_step, on_note : callable, optional

    Returns
    -------
    Adaptation
        Its windows are cut; large photographs are shown in the window in which the model is most in
        doubt.

    Raises
    ------
    OutputExists
        If ``out`` holds something else.
    BadInput, UnreadableFile, UnknownName
        If the model cannot be adapted, or there are no photographs.
    """
    card = starting_card(options)
    found = find_photos(photos, skip=[out])
    begun = begin_adaptation(photos, out, None, options, force=force)
    if not begun.windows:
        different, copies = distinct(found)
        if copies:
            on_note(said_of_copies(copies))
        looks = look_through(begun, different, on_step, on_note)
        chosen = [looks[k] for k in choose_photos(looks, options.count or COUNT)]
        on_note(
            f"{len(chosen)} of {len(looks):,} photographs were chosen: where {card.name} is in "
            "doubt or differs from the colour rules, and unlike each other."
        )
        files = {photo.key: photo.file for photo in found}
        aside, groups, said = set_aside([files[one.key] for one in chosen], options)
        windows = [_window(one, k in aside, groups[k]) for k, one in enumerate(chosen)]
        begun = replace(begun, windows=tuple(windows), said=said)
        begun.save()
    write_windows(
        begun, {photo.key: photo for photo in found}, {}, classes_of(options, card), on_step
    )
    return begun


def _window(look: PhotoLook, aside: bool, group: str) -> LabelWindow:
    whole = look.box[:2] == (0, 0)
    name = window_name(look.key, look.box, whole=whole)
    start = OTSU if look.doubt > LOST else MODEL
    return LabelWindow(name, look.key, look.box, aside, group, start)


def mask_editor(adaptation: Adaptation, click: Click | None = None) -> MaskEditor:
    """Open the masks of an adaptation to be drawn.

    Raises
    ------
    UnreadableFile
        If a window is gone.
    """
    card = starting_card(adaptation.options)
    classes = classes_of(adaptation.options, card)
    items = [_item(adaptation, one, classes) for one in adaptation.windows]
    return MaskEditor(items, adaptation.labels / EDITS, classes, click)


def _item(adaptation: Adaptation, window: LabelWindow, classes: ClassScheme) -> MaskItem:
    image = image_path(adaptation, window)
    if not image.is_file():
        raise UnreadableFile(f"{image} is gone: start over with --force, or put it back.")
    shape = tuple(store.open_raster(image).grid.shape)
    kept = adaptation.labels / "starts" / f"{window.name}.png"
    starts = {
        MODEL: partial(_by_model, adaptation.options, image, kept, classes),
        OTSU: partial(rule_mask, image, otsu=True),
        CANOPEO: partial(rule_mask, image, otsu=False),
        EMPTY: partial(np.zeros, shape, np.uint8),
    }
    first = window.start if window.start in starts else MODEL
    ordered = {first: starts[first], **starts}
    about = "kept aside to compare on" if window.aside else ""
    return MaskItem(
        item_id(window.name),
        window.name,
        image,
        (shape[0], shape[1]),
        ordered,
        mask_path(adaptation, window),
        about,
    )


def _by_model(options: AdaptOptions, image: Path, kept: Path, classes: ClassScheme) -> np.ndarray:
    """Return what the model says; it is asked once, and what it said is kept."""
    if not kept.is_file():
        model = models.load_model(str(Path(options.model).expanduser()))
        ids = predicted_labels(read_photo(image).image, model)[0].ids
        ids = np.where((ids < len(classes)) | (ids == IGNORE), ids, 1).astype(np.uint8)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_mask(ids, classes, kept)
    found: np.ndarray = read_mask(kept)[0]
    return found


def finished(adaptation: Adaptation, editor: MaskEditor) -> Adaptation:
    """Return the adaptation with the masks that were finished; others have no file.

    Where nothing that was kept aside was finished, or nothing else, lots are drawn again among what
    was.
    """
    for window in adaptation.windows:
        if editor.history(item_id(window.name)).status != "done":
            mask_path(adaptation, window).unlink(missing_ok=True)
    there = [one for one in adaptation.windows if mask_path(adaptation, one).is_file()]
    if len({one.aside for one in there}) == 2 or len(there) < 2:
        return adaptation
    return _drawn_again(adaptation, there)


def _drawn_again(adaptation: Adaptation, there: Sequence[LabelWindow]) -> Adaptation:
    groups = [one.group for one in there]
    options = adaptation.options if any(groups) else replace(adaptation.options, pattern=None)
    aside, _, said = set_aside([one.key for one in there], options, groups)
    side = {one.name: k in aside for k, one in enumerate(there)}
    windows = [replace(one, aside=side.get(one.name, one.aside)) for one in adaptation.windows]
    again = replace(adaptation, windows=tuple(windows), said=said)
    again.save()
    return again
