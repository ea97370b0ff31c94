"""One photograph from its file to its row: decode, predict, measure, write."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selion import prediction
from selion.classes import IGNORE, ClassScheme
from selion.closerange import components, overlay, quality
from selion.closerange.calibration import Calibration
from selion.closerange.colours import ColourCorrection, corrected
from selion.closerange.cover import Cover, measure_cover
from selion.closerange.exif import read_exif
from selion.closerange.gate import LARGE, answer_of
from selion.closerange.indices import colour_indices
from selion.closerange.marker import PAPER, Marker, find_markers
from selion.closerange.model import RULES, PhotoModel
from selion.closerange.naming import find_date
from selion.closerange.rule import ColourRule
from selion.data.photos import PhotoFile, Picture, read_photo
from selion.errors import BadInput, EmptyImage
from selion.prediction import PredictOptions
from selion.segmenter import Segmenter

MASKS, OVERLAYS, THUMBS = "masks", "overlays", "thumbs"
DIFFERENT = 0.10
"""Share by which the scales of several markers in one photograph may differ."""
AERIAL = 110.0
"""Millimetres a pixel beyond which no leaf is seen, so that cover is not what is measured: a little
more than the ten centimetres of an orthophoto, which are some more or less on a map's grid."""
ENLARGED = 3.0
"""Times that a photograph is shown larger than it is, at most: beyond that there is nothing more to
see, as for a map, and a photograph of 10 mm a pixel would be 81 times as many pixels."""


@dataclass(frozen=True, slots=True)
class CropOptions:
    """What a user may choose; None takes the model's own value, or leaves a thing unknown."""

    gsd: float | None = None
    """Millimetres a pixel, of all photographs."""
    marker: float | None = None
    """Diameter in millimetres of the black disc of the printed marker that lies in each
    photograph."""
    scale: float | None = None
    """Show the model the photographs at this many times as many pixels along each axis."""
    window: int | None = None
    overlap: float | None = None
    flips: bool = False
    min_area: int | None = None
    """Pixels of the smallest component that is counted."""
    overlays: bool = True
    correction: ColourCorrection | None = None
    """What is done to colours and light before anything is measured."""

    def __post_init__(self) -> None:
        if self.gsd is not None and self.marker is not None:
            raise BadInput(
                f"Both a pixel size ({self.gsd:g} mm) and a marker ({self.marker:g} mm) were "
                "given: give one of them."
            )
        for name, unit in (("gsd", " mm"), ("marker", " mm"), ("scale", ""), ("min_area", " px")):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise BadInput(f"{name} {value}{unit} was given; wanted is a number above 0.")


@dataclass(frozen=True)
class Measured:
    """What was found in one photograph."""

    row: dict[str, Any]
    """A row of ``crops.csv``."""
    components: list[dict[str, Any]]
    """Rows of ``components.csv``."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: decode, predict, traits, write."""


@dataclass(frozen=True, eq=False, slots=True)
class PhotoScale:
    """Millimetres a pixel, and how that is known."""

    gsd: float | None = None
    source: str = ""
    markers: tuple[Marker, ...] = ()
    note: str = ""
    doubt: str = ""


def measure_photo(
    photo: PhotoFile, model: PhotoModel, options: CropOptions | None = None, out: Path | None = None
) -> Measured:
    """Measure one photograph, and write its mask and overlay.

    Parameters
    ----------
    photo : PhotoFile
    model : PhotoModel
        See :func:`selion.closerange.open_model`.
    options : CropOptions, optional
    out : path, optional
        Folder of the run; None writes nothing.

    Raises
    ------
    BadInput
        If the photograph cannot be read, or the model cannot be used on it.
    OutputFailed
        If the output cannot be written.
    """
    options = options or CropOptions()
    seconds: dict[str, float] = {}
    with _timed(seconds, "decode"):
        picture = read_photo(photo.path, gray=True)
        if options.correction is not None:
            picture = corrected(picture, options.correction)
        exif = read_exif(photo.path)
    with _timed(seconds, "traits"):
        scale = find_scale(picture, options)
        valid = _ground(picture, scale.markers)
        model, instead = model.answering(picture.image, scale.gsd)
    segmenter = model.fit(picture.image)
    factor, doubt = _shown(segmenter, options, scale, model.known)
    with _timed(seconds, "predict"):
        scores, note = _answered(picture, valid, model, segmenter, options, scale)
        note = "; ".join(said for said in (instead, note) if said)
        ids = _ids(scores)
    with _timed(seconds, "traits"):
        known = model.known
        found = _Found(picture, valid, scores, ids, scale, segmenter, options, factor or 1.0, known)
        row, pieces = _traits(found, doubt, note, second_opinion=model.name not in RULES)
    if valid is not None:
        ids[~valid] = IGNORE
    with _timed(seconds, "write"):
        written = (
            _write(photo, picture, ids, segmenter.classes, out, options) if out is not None else {}
        )
    facts = {
        "file": photo.file,
        "time": exif.time or _day(photo),
        "latitude": exif.latitude,
        "longitude": exif.longitude,
        "camera": exif.camera,
    }
    return Measured(
        facts | row | written, [{"file": photo.file} | piece for piece in pieces], seconds
    )


def _day(photo: PhotoFile) -> str:
    """Return the date that a name holds, for a camera that told none."""
    day = find_date(photo.file)
    return day.isoformat() if day else ""


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def find_scale(picture: Picture, options: CropOptions) -> PhotoScale:
    """Find out the size of a pixel.

    As given, from markers, from the image's place on the globe, or not at all.
    """
    if options.gsd is not None:
        return PhotoScale(options.gsd, "given")
    if options.marker is None:
        if picture.gsd is None:
            return PhotoScale()
        far = picture.gsd > AERIAL
        doubt = (
            f"pixels of {picture.gsd / 1000:.3g} m show no plant: an aerial image, for 'selion map'"
        )
        return PhotoScale(picture.gsd, "georeference", doubt=doubt if far else "")
    markers = tuple(find_markers(picture.image.values))
    if not markers:
        return PhotoScale(note="no marker was found: sizes in pixels only")
    sizes = [marker.gsd(options.marker) for marker in markers]
    different = max(sizes) / min(sizes) - 1 > DIFFERENT
    doubt = (
        f"markers disagree ({min(sizes):.3g} to {max(sizes):.3g} mm a pixel)" if different else ""
    )
    return PhotoScale(
        float(np.mean(sizes)),
        "marker" if len(sizes) == 1 else f"{len(sizes)} markers",
        markers,
        doubt=doubt,
    )


def _ground(picture: Picture, markers: tuple[Marker, ...]) -> np.ndarray | None:
    """Return the pixels that show ground or plants: not transparent, not a marker's paper.

    None if all do.
    """
    valid = picture.image.valid
    if not markers:
        return valid
    height, width = picture.image.grid.shape
    ground = np.ones((height, width), bool) if valid is None else valid.copy()
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    for marker in markers:
        ground &= (
            np.hypot(rows - marker.y, columns - marker.x)
            > marker.diameter * PAPER / 2 * marker.tilt
        )
    return ground


def _answered(
    picture: Picture,
    valid: np.ndarray | None,
    model: PhotoModel,
    segmenter: Segmenter,
    options: CropOptions,
    scale: PhotoScale,
) -> tuple[np.ndarray, str]:
    """Return the (class, y, x) float32 probabilities in the end, and who said so if not the model.

    Of two models the first is asked first; of a large photograph the second, at half its size.
    """
    image, other = picture.image.values, model.other
    large = image[0].size > LARGE

    def first() -> np.ndarray:
        return _scores(picture, segmenter, model.known, options, scale)

    if not model.ruled:
        return first(), ""
    if other is None:
        return answer_of(image, first(), valid)

    def second() -> np.ndarray:
        times = 0.5 if large else 1.0
        return _scores(picture, other.fit(picture.image), other.known, options, scale, times)

    if large:
        return answer_of(image, second(), valid, first, first_stands=True)
    return answer_of(image, first(), valid, second)


def _shown(
    segmenter: Segmenter, options: CropOptions, scale: PhotoScale, known: Calibration | None
) -> tuple[float | None, str]:
    """Return the scale at which a model sees a photograph, None: as it is, and a doubt about it."""
    measured = None if known is None else known.gsd
    enlarge = known is None or known.photographs > 0
    return working_scale(segmenter, options, scale.gsd, measured, enlarge=enlarge)


def _scores(
    picture: Picture,
    segmenter: Segmenter,
    known: Calibration | None,
    options: CropOptions,
    scale: PhotoScale,
    times: float = 1.0,
) -> np.ndarray:
    """Return a model's (class, y, x) float32 probabilities on the photograph's own pixels.

    It is shown at ``times`` the size that it would be.
    """
    factor, _ = _shown(segmenter, options, scale, known)
    factor = factor if times == 1 else (factor or 1.0) * times
    height, width = picture.image.grid.shape
    chosen = PredictOptions(
        window=_window(segmenter, options, math.ceil(max(height, width) * (factor or 1.0))),
        overlap=options.overlap,
        scale=factor,
        flips=options.flips,
    )
    raster = prediction.predict(picture.image, segmenter, options=chosen)
    if raster is None:
        raise EmptyImage(
            "The model returned no result for this photograph: please report this as a bug."
        )
    return _at_size(raster.values, (height, width))


def _window(segmenter: Segmenter, options: CropOptions, edge: int) -> int | None:
    """Return the edge of windows, None for the model's own.

    A colour rule answers each pixel by itself, so a photograph smaller than its window, whose
    longer edge is ``edge``, need not be filled up to it.
    """
    if options.window is not None or not isinstance(segmenter, ColourRule):
        return options.window
    return min(segmenter.inputs.window, edge)


def _at_size(scores: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring (class, y, x) float32 probabilities to a size, bilinearly.

    The first class is what the others leave, so it is not resampled itself.
    """
    if scores.shape[1:] == shape:
        return scores
    found = np.empty((len(scores), *shape), np.float32)
    for band, resized in zip(scores[1:], found[1:], strict=True):
        picture = Image.fromarray(band)
        resized[:] = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    np.subtract(1, found[1:].sum(0) if len(found) > 2 else found[1], out=found[0])
    return found


def working_scale(
    segmenter: Segmenter,
    options: CropOptions,
    gsd: float | None,
    measured: tuple[float, float] | None = None,
    *,
    enlarge: bool = True,
) -> tuple[float | None, str]:
    """Return the factor by which a photograph is resampled for a model (None: not).

    With it comes a doubt if the model was trained at other scales.  ``measured`` is the range of
    millimetres a pixel at which a model that names none was found to keep its accuracy; where the
    scale of the photograph is not known, such a model makes no doubt of it; and what is
    coarser than that is shown as it is if not ``enlarge``, since nobody measured what it gains by;
    else :data:`ENLARGED` times larger at most.
    """
    trained = segmenter.inputs.gsd
    if trained is None and measured is not None and gsd is not None:
        trained = measured[0] / 1000, measured[1] / 1000
    if trained is None or (options.scale is not None and gsd is None):
        return options.scale, ""
    span = f"{1000 * trained[0]:.3g} to {1000 * trained[1]:.3g} mm a pixel"
    if gsd is None:
        return 1.0, f"scale unknown (the model was trained on {span})"
    working = min(max(gsd / 1000, trained[0]), trained[1])
    factor = gsd / 1000 / working if options.scale is None else options.scale
    if options.scale is None:
        factor = min(factor, ENLARGED if enlarge else 1.0)
    outside = (
        gsd / factor > 1.03e3 * trained[1] or gsd / factor < trained[0] / 1.03e-3 or factor > 1.03
    )
    return (
        factor,
        f"out of the model's scale ({gsd:.3g} mm a pixel; it was trained on {span})"
        if outside
        else "",
    )


def _ids(scores: np.ndarray) -> np.ndarray:
    """Return the (y, x) uint8 most probable classes of (class, y, x) scores.

    Between two equal ones the first.
    """
    if len(scores) == 2:
        return (scores[1] > scores[0]).astype(np.uint8)
    return scores.argmax(0).astype(np.uint8)


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    picture: Picture
    valid: np.ndarray | None
    scores: np.ndarray
    ids: np.ndarray
    scale: PhotoScale
    segmenter: Segmenter
    options: CropOptions
    factor: float
    """Pixels that the model saw for one of the photograph's, along each axis."""
    known: Calibration | None = None


def _traits(
    found: _Found, doubt: str, note: str, *, second_opinion: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    image, scale = found.picture.image.values, found.scale
    mask = found.ids > 0 if found.valid is None else (found.ids > 0) & found.valid
    height, width = mask.shape
    cover = own = measure_cover(1 - found.scores[0], mask, found.valid)
    strange = ""
    if found.known is not None:
        cover = found.known.interval(cover)
        strange = found.known.unlike(quality.appearance(image, found.valid))
    least = components.least_area((height, width), found.options.min_area)
    pieces, counts = _pieces(found, mask, least)
    if scale.gsd is not None:
        pieces = [piece | components.to_centimetres(piece, scale.gsd) for piece in pieces]
    opinion = (
        quality.compare(mask, ColourRule().mask(image), found.valid) if second_opinion else None
    )
    factor = found.factor
    judged = quality.measure_quality(image, found.valid, sigma=max(1.0, 1 / factor))
    window = found.options.window or found.segmenter.inputs.window
    plants = int(np.count_nonzero(mask))
    counted = _counted_pixels(found, mask)
    specks = 1 - sum(piece["area"] for piece in pieces) / counted if counted else 0.0
    reasons = quality.reasons(
        judged,
        # the limits of doubt were set on a model's own interval but for those of known looks
        cover if found.known is not None and found.known.ranges else own,
        specks,
        opinion,
        (round(height * factor), round(width * factor)),
        window if second_opinion else 0,
    )
    reasons += [reason for reason in (strange, doubt, scale.doubt) if reason]
    row = (
        {"width": width, "height": height}
        | _cover_row(cover, found)
        | _opinion_row(opinion)
        | {"components": len(pieces), "least_area": least, "specks": specks}
        | counts
    )
    row["component_area_median"] = (
        float(np.median([piece["area"] for piece in pieces])) if pieces else None
    )
    row |= (
        {"gsd_mm": scale.gsd, "scale_from": scale.source}
        | _ground_row(plants, mask.size, found.valid, scale.gsd)
        | colour_indices(image, mask)
    )
    row |= {
        "sharpness": judged.sharpness,
        "brightness": judged.brightness,
        "clipped_dark": judged.dark,
        "clipped_bright": judged.bright,
    }
    notes = [said for said in (*found.picture.notes, scale.note, note) if said]
    return row | {
        "trust": "no" if reasons else "yes",
        "reasons": "; ".join(reasons),
        "notes": "; ".join(notes),
    }, pieces


def _pieces(
    found: _Found, mask: np.ndarray, least: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Measure the components of each class by themselves: a crop that touches a weed is two.

    With them comes how many each class has, where there are several.  What parts objects is no
    class of its own.
    """
    scheme = found.segmenter.classes
    kinds = components.counted_classes(scheme)
    image = found.picture.image.values
    pieces: list[dict[str, Any]] = []
    counts = {}
    for k in kinds:
        own = mask if len(scheme) == 2 else mask & (found.ids == k)
        rows = components.measure_components(image, own, least)
        counts[f"components_{scheme.names[k]}"] = len(rows)
        pieces += [
            row | {"class": scheme.names[k], "component": row["component"] + len(pieces)}
            for row in rows
        ]
    return pieces, counts if len(kinds) > 1 else {}


def _counted_pixels(found: _Found, mask: np.ndarray) -> int:
    """Return the pixels of plants whose components are counted.

    What only parts objects is of no component, and no speck for that.
    """
    scheme = found.segmenter.classes
    if scheme.boundary is None:
        return int(np.count_nonzero(mask))
    kinds = np.isin(found.ids, components.counted_classes(scheme))
    return int(np.count_nonzero(mask & kinds))


def _cover_row(cover: Cover, found: _Found) -> dict[str, Any]:
    """Return cover with its interval.

    Where the model parts plants into several classes, the cover of each as well.
    """
    row = {
        "cover": cover.cover,
        "cover_low": cover.low,
        "cover_high": cover.high,
        "cover_expected": cover.expected,
        "unsure": cover.unsure,
    }
    names = found.segmenter.classes.names
    if len(names) > 2:
        known = found.ids if found.valid is None else found.ids[found.valid]
        shares = np.bincount(known.ravel(), minlength=len(names)) / max(known.size, 1)
        row |= {
            f"cover_{name}": float(share) for name, share in zip(names[1:], shares[1:], strict=True)
        }
    return row


def _opinion_row(opinion: quality.Opinion | None) -> dict[str, Any]:
    return {
        "rule_cover": None if opinion is None else opinion.cover,
        "rule_overlap": None if opinion is None else opinion.overlap,
    }


def _ground_row(
    plants: int, pixels: int, valid: np.ndarray | None, gsd: float | None
) -> dict[str, Any]:
    ground = pixels if valid is None else int(np.count_nonzero(valid))
    size = None if gsd is None else gsd**2 / 100
    return {
        "vegetation_px": plants,
        "vegetation_cm2": None if size is None else plants * size,
        "ground_cm2": None if size is None else ground * size,
    }


def _write(
    photo: PhotoFile,
    picture: Picture,
    ids: np.ndarray,
    classes: ClassScheme,
    out: Path,
    options: CropOptions,
) -> dict[str, str]:
    written = {"mask": f"{MASKS}/{photo.key}.png"}
    overlay.write_mask(ids, classes, out / written["mask"])
    if options.overlays:
        written |= {"overlay": f"{OVERLAYS}/{photo.key}.jpg", "thumb": f"{THUMBS}/{photo.key}.jpg"}
        drawn = overlay.draw_overlay(picture.image.values, ids)
        overlay.write_picture(drawn, out / written["overlay"])
        overlay.write_picture(drawn, out / written["thumb"], overlay.THUMB)
    return written
