"""A folder of photographs becomes a folder of masks with a table of how good they may be.

::

    pseudo/masks/<key>.png    palette PNG: 0 soil, 1 crop, 255 not known
    pseudo/depth/<key>.png    normalised depth, 16 bits, if it is to be kept
    pseudo/quality.csv        one row a photograph
    pseudo/done.jsonl         what is finished, with what it was made from: the same command goes on
                              from here
    pseudo/settings.json      how it was made
"""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import selion
from selion import store
from selion.classes import CROP, IGNORE
from selion.data.photos import PhotoFile, find_photos, read_photo
from selion.errors import BadInput, OutputExists, OutputFailed, SelionError
from selion.grid import photo_grid
from selion.labelling.choosing import choose_mask
from selion.labelling.depths import Depths, fill_unseen, shared_maps, write_depth
from selion.labelling.manifest import (
    BAD,
    DONE,
    FULL,
    MASKS,
    NONE,
    QUALITY,
    ManifestRow,
    append,
    begin,
    beside,
    check_there,
    digest_made,
    finished,
    is_as_made,
    is_corrected,
    made_again,
    row_from,
    write_rows,
)
from selion.labelling.masks import write_mask
from selion.labelling.postprocess import RefineOptions, refine
from selion.labelling.quality import covered, judge
from selion.labelling.threshold import DepthMask, ThresholdOptions
from selion.labels import LabelMap
from selion.progress import OnStep, silent

DEPTH = "depth"


@dataclass(frozen=True, slots=True)
class DepthOptions:
    """How photographs are labelled."""

    threshold: ThresholdOptions = field(default_factory=ThresholdOptions)
    refine: RefineOptions | None = None
    """Correct masks by depth once more; None: as they are."""
    full: tuple[str, ...] = ()
    """Patterns of photographs that are fully covered (``canopy/*``, ``IMG_01?``): their masks are
    all ones."""
    find_full: bool = True
    """Find fully covered photographs by their colours
    (:func:`selion.labelling.quality.covered`)."""
    keep_depth: bool = False


def label_photos(
    photos: Path,
    out: Path,
    depths: Depths,
    options: DepthOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> list[ManifestRow]:
    """Label a folder of photographs by depth.

    Parameters
    ----------
    photos : path
        A folder, or one photograph.
    out : path
        Folder of the masks.  If it holds the beginning of the same work, that is gone on with.
    depths : Depths
        A network or a folder of depth maps.
    options : DepthOptions, optional
    force : bool
        Begin anew where the folder holds masks that were made otherwise.
    on_step : callable, optional
        (stage, done, total, detail).

    Returns
    -------
    list of Row
        One for each photograph, in their order; what could not be read is among them.

    Raises
    ------
    UnreadableFile, BadInput
        If there is no photograph.
    OutputExists, OutputFailed
        If the folder holds masks that were made otherwise, or cannot be written.
    """
    options = options or DepthOptions()
    found = find_photos(photos, skip=(out, out / MASKS, out / DEPTH))
    settings = _settings(depths, options)
    begin(out, settings, force=force)
    known = finished(out / DONE)
    shared = shared_maps(found, depths)
    rows = []
    for done, photo in enumerate(found):
        on_step("label", done, len(found), photo.key)
        rows.append(_one(photo, out, depths, options, known, shared.get(photo.key, "")))
    check_there(out, settings, rows)
    write_rows(rows, out / QUALITY)
    on_step("label", len(found), len(found), "")
    return rows


def _settings(depths: Depths, options: DepthOptions) -> dict[str, Any]:
    chosen = asdict(options)
    facts = {
        "command": "label depth",
        "depths": depths.name,
        "classes": CROP.to_dict(),
        **chosen,
        "version": selion.__version__,
    }
    found: dict[str, Any] = json.loads(json.dumps(facts))  # as it will be read back
    return found


def _one(
    photo: PhotoFile,
    out: Path,
    depths: Depths,
    options: DepthOptions,
    known: Mapping[str, dict[str, Any]],
    why_not: str,
) -> ManifestRow:
    """Label one photograph, or take what is finished, unless something speaks against it.

    Whatever is wrong with it becomes a row, save that the output cannot be written.
    """
    blank = ManifestRow(photo.key, beside(photo.path, out))
    target = out / MASKS / f"{photo.key}.png"
    try:
        if why_not:
            raise BadInput(why_not)
        stamp = _stamp(photo, depths)
        before = known.get(photo.key)
        same = before is not None and before["stamp"] == stamp
        if before is not None and same and is_as_made(out, photo.key, before):
            return replace(row_from(before["row"]), image=blank.image)
        with made_again(out, photo.key) as place:
            row = _label(photo, blank, out, place, depths, options)
    except (OutputFailed, OutputExists):
        raise
    except SelionError as problem:
        if not is_corrected(out, photo.key):
            target.unlink(missing_ok=True)
        return replace(blank, routed=BAD, why=str(problem))
    append(out / DONE, {"row": asdict(row), "stamp": stamp, "mask": digest_made(out, photo.key)})
    return row


def _stamp(photo: PhotoFile, depths: Depths) -> str:
    path = depths.source(photo)
    return store.fingerprint(photo.path) + (store.fingerprint(path) if path is not None else "")


def _label(
    photo: PhotoFile,
    blank: ManifestRow,
    out: Path,
    target: Path,
    depths: Depths,
    options: DepthOptions,
) -> ManifestRow:
    """Write the mask of a photograph to a path, and say how good it may be."""
    seen = read_photo(photo.path, gray=True).image
    image, valid = seen.values, seen.valid
    why = _full(photo, image, options)
    if why:
        _save(np.ones(image.shape[1:], np.uint8), valid, target)
        return replace(blank, cover=1.0, quality=1.0, routed=FULL, why=why)
    depth = fill_unseen(depths(photo, image), valid)
    found = choose_mask(depth, image, options.threshold)
    if options.keep_depth and found.depth is not None:
        write_depth(found.depth, out / DEPTH / f"{photo.key}.png", force=True)
    if found.mask is None or found.depth is None:
        target.unlink(missing_ok=True)
        return replace(blank, threshold=found.threshold, routed=NONE, why=found.why)
    mask = (
        found.mask
        if options.refine is None
        else refine(found.mask, found.depth, found.threshold, options.refine)
    )
    _save(mask.astype(np.uint8), valid, target)
    return replace(
        _measured(blank, replace(found, mask=mask), image),
        cover=float((mask if valid is None else mask[valid]).mean()),
    )


def _full(photo: PhotoFile, image: np.ndarray, options: DepthOptions) -> str:
    """Say why a photograph counts as fully covered; empty if it does not."""
    names = (photo.key, photo.path.name, f"{photo.key}{photo.path.suffix}")
    pattern = next(
        (p for p in options.full if any(fnmatch.fnmatch(name, p) for name in names)), None
    )
    if pattern is not None:
        return f"fully covered, as {pattern} says"
    return "fully covered, by its colours" if options.find_full and covered(image) else ""


def _save(ids: np.ndarray, valid: np.ndarray | None, target: Path) -> None:
    """Write a mask; nothing is known of what the photograph leaves transparent."""
    ids = ids if valid is None else np.where(valid, ids, np.uint8(IGNORE))
    write_mask(LabelMap(ids, photo_grid((ids.shape[0], ids.shape[1])), CROP), target, force=True)


def _measured(blank: ManifestRow, found: DepthMask, image: np.ndarray) -> ManifestRow:
    quality = judge(found, image)
    k, residual = (
        (found.sigmoid.k, found.sigmoid.residual)
        if found.sigmoid is not None
        else (math.nan, math.nan)
    )
    return replace(blank, threshold=found.threshold, k=k, residual=residual, quality=quality.score)
