"""Unlabelled scenes become labels: a model looks, and what it is sure of is kept.

Dates of one place are averaged before anything is decided, as fields do not move within a season:
many dates are far surer than one.  Each date then gets the labels of the place, which is what a
student of one date learns from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion import prediction, store
from selion.classes import IGNORE, ClassScheme
from selion.data.photos import PhotoFile, find_photos
from selion.errors import OutputExists, OutputFailed, SelionError
from selion.grid import same_grid
from selion.labelling.confidence import ConfidenceOptions, known_labels
from selion.labelling.manifest import (
    BAD,
    BANDS,
    DONE,
    MASKS,
    NONE,
    OPTIONAL,
    QUALITY,
    ManifestRow,
    append,
    begin,
    beside,
    check_there,
    digest,
    digest_made,
    finished,
    is_as_made,
    made_again,
    row_from,
    write_rows,
)
from selion.labelling.masks import write_mask
from selion.labels import LabelMap
from selion.prediction.planning import PredictOptions
from selion.progress import OnStep, silent
from selion.raster import Raster, Source
from selion.segmenter import Segmenter, as_model


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """How scenes are labelled."""

    confidence: ConfidenceOptions = field(default_factory=ConfidenceOptions)
    predict: PredictOptions = field(default_factory=lambda: PredictOptions(flips=True))
    dates: bool = False
    """Images in one folder are dates of one place."""
    finer: bool = True
    """Where the model works on a finer grid than the image's, labels lie on it too: a boundary of
    one pixel of 10 m leaves little of a field of 50 m."""


def label_scenes(
    images: Path,
    out: Path,
    model: Segmenter,
    options: SceneOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> list[ManifestRow]:
    """Label a folder of images by a model.

    Parameters
    ----------
    images : path
        A folder of photographs or rasters, or one of them.
    out : path
        Folder of the masks, laid out as by :func:`selion.labelling.label_photos`; it is gone on
        with if it holds the beginning of the same work.
    model : Segmenter
        Any model with probabilities.
    options : SceneOptions, optional
    force, on_step
        As in :func:`selion.labelling.label_photos`.

    Returns
    -------
    list of Row
        ``quality`` is the share of the image whose class is known, ``cover`` the share of that
        which is not the first class.

    Raises
    ------
    UnreadableFile, BadInput, OutputExists, OutputFailed
        As in :func:`selion.labelling.label_photos`; BadInput also if objects cannot be made of the
        model's classes.
    """
    options = options or SceneOptions()
    places = _places(find_photos(images, skip=(out, out / MASKS)), together=options.dates)
    settings = _settings(model, options)
    begin(out, settings, force=force)
    known, total = finished(out / DONE), sum(len(dates) for dates in places.values())
    rows: list[ManifestRow] = []
    for dates in places.values():
        on_step("label", len(rows), total, dates[0].key)
        rows += _one_place(dates, out, model, options, known)
    check_there(out, settings)
    write_rows(rows, out / QUALITY)
    on_step("label", total, total, "")
    return rows


def _settings(model: Segmenter, options: SceneOptions) -> dict[str, Any]:
    facts = {
        "command": "label pseudo",
        "model": dict(as_model(model).identity),
        "classes": model.classes.to_dict(),
        BANDS: list(model.inputs.bands),
        **({OPTIONAL: list(model.inputs.optional)} if model.inputs.dates else {}),
        **asdict(options),
    }
    facts["version"] = selion.__version__
    found: dict[str, Any] = json.loads(json.dumps(facts))
    return found


def _places(photos: Sequence[PhotoFile], *, together: bool) -> dict[str, list[PhotoFile]]:
    found: dict[str, list[PhotoFile]] = {}
    for photo in photos:
        found.setdefault(str(Path(photo.key).parent) if together else photo.key, []).append(photo)
    return found


def _one_place(
    dates: Sequence[PhotoFile],
    out: Path,
    model: Segmenter,
    options: SceneOptions,
    known: Mapping[str, dict[str, Any]],
) -> list[ManifestRow]:
    blanks = [ManifestRow(photo.key, beside(photo.path, out)) for photo in dates]
    try:
        sources = [store.open_raster(photo.path) for photo in dates]
        stamp = "".join(store.fingerprint(photo.path) for photo in dates)
        targets = [
            _target(out, photo, source) for photo, source in zip(dates, sources, strict=True)
        ]
        before = [known.get(photo.key) for photo in dates]
        if all(
            b is not None and b["stamp"] == stamp and _is_as_made(out, photo, t, b)
            for b, photo, t in zip(before, dates, targets, strict=True)
        ):
            return [
                replace(row_from(b["row"]), image=blank.image)
                for b, blank in zip(before, blanks, strict=True)
                if b is not None
            ]
        labels = label_dates(sources, model, options)
        rows = [
            _remade(labels, blank, out, target)
            for blank, target in zip(blanks, targets, strict=True)
        ]
    except (OutputFailed, OutputExists):
        raise
    except SelionError as problem:
        return [replace(blank, routed=BAD, why=str(problem)) for blank in blanks]
    for row, target in zip(rows, targets, strict=True):
        made = digest_made(out, row.key) if _is_screened(target) else digest(target)
        append(out / DONE, {"row": asdict(row), "stamp": stamp, "mask": made})
    return rows


def _is_screened(target: Path) -> bool:
    """Say whether people may correct a mask: those of photographs, that is."""
    return target.suffix == ".png"


def _is_as_made(out: Path, photo: PhotoFile, target: Path, entry: Mapping[str, Any]) -> bool:
    if _is_screened(target):
        return is_as_made(out, photo.key, entry)
    return bool(entry["mask"] == digest(target))


def _remade(labels: LabelMap, blank: ManifestRow, out: Path, target: Path) -> ManifestRow:
    """Write labels where they go; what a person made of the very same ones stays."""
    if not _is_screened(target):
        return _kept(labels, blank, target)
    with made_again(out, blank.key) as place:
        return _kept(labels, blank, place)


def _target(out: Path, photo: PhotoFile, source: Source) -> Path:
    return out / MASKS / f"{photo.key}{'.png' if source.grid.crs is None else '.tif'}"


def label_dates(
    sources: Sequence[Source], model: Segmenter, options: SceneOptions | None = None
) -> LabelMap:
    """Label one place from one or more dates of it.

    Parameters
    ----------
    sources : sequence of Source
        On one grid.
    model : Segmenter
    options : SceneOptions, optional

    Returns
    -------
    LabelMap
        On the grid of the dates, or with a whole number of its pixels in each of theirs
        (``options.finer``).

    Raises
    ------
    GridMismatch
        If the dates lie on different grids.
    BandMismatch, EmptyImage, BadInput
        As in prediction.
    """
    options = options or SceneOptions()
    for other in sources[1:]:
        same_grid(sources[0].grid, other.grid, ("the first date", "another"))
    said = average(
        [prediction.predict(source, model, options=options.predict) for source in sources]
    )
    grid = finer_grid(sources[0].grid, said.grid) if options.finer else sources[0].grid
    return known_labels(said, model.classes, grid, options.confidence)


def finer_grid(grid: GeoBox, working: GeoBox) -> GeoBox:
    """Return an image's grid with a whole number of pixels in each of its own.

    It is about as fine as the working grid; photographs keep theirs.
    """
    fold = min(round(have / wanted) for have, wanted in zip(working.shape, grid.shape, strict=True))
    return grid if grid.crs is None or fold < 2 else grid.zoom_out(1 / fold)


def average(dates: Sequence[Raster | None]) -> Raster:
    """Average (class, y, x) probabilities of several dates.

    Each pixel over the dates that see it.
    """
    seen = [date for date in dates if date is not None]
    weights = np.stack(
        [
            np.ones(date.values.shape[1:], bool) if date.valid is None else date.valid
            for date in seen
        ]
    )
    count = weights.sum(0)
    total = np.sum(
        [date.values * valid for date, valid in zip(seen, weights, strict=True)],
        axis=0,
        dtype=np.float32,
    )
    return Raster(
        (total / np.maximum(count, 1)).astype(np.float32), seen[0].grid, seen[0].bands, count > 0
    )


def predicted_labels(
    source: Source,
    model: Segmenter,
    options: PredictOptions | None = None,
    grid: GeoBox | None = None,
    sure: Sequence[float] = (0.0,),
) -> list[LabelMap]:
    """Return what a model says of an image, on the image's grid or another one of its extent.

    Parameters
    ----------
    source : Source
    model : Segmenter
    options : PredictOptions, optional
    grid : GeoBox, optional
    sure : sequence of float
        Least probabilities of the likeliest class.

    Returns
    -------
    list of LabelMap
        One for each of ``sure``: the likeliest class, 255 where it is less probable than that and
        where the image has no data.
    """
    said = average([prediction.predict(source, model, options=options)])
    plain, target = _plain(model.classes), grid or source.grid
    return [known_labels(said, plain, target, ConfidenceOptions(sure=least)) for least in sure]


def _plain(classes: ClassScheme) -> ClassScheme:
    """Return the same classes without a boundary, so that pixels count and not objects."""
    return replace(classes, boundary=None)


def _kept(labels: LabelMap, blank: ManifestRow, target: Path) -> ManifestRow:
    known = labels.ids != IGNORE
    if not known.any():
        target.unlink(missing_ok=True)
        return replace(blank, routed=NONE, why="the model is confident in no pixel")
    write_mask(labels, target, force=True)
    return replace(blank, cover=float((labels.ids[known] > 0).mean()), quality=float(known.mean()))
