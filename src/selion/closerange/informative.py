"""Which photographs of a folder are worth a mask: doubtful ones, unlike each other."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from selion import prediction
from selion.closerange.rule import ColourRule, otsu_rule
from selion.closerange.work import FAILURES
from selion.data.photos import PhotoFile, read_photo
from selion.grid import Roi, roi_shape
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.raster import Raster
from selion.segmenter import Segmenter
from selion.store.append_log import AppendLog

EDGE = 1024
"""Pixels along the edge of what a person is shown of a large photograph."""
WHOLE = 1.5
"""Photographs of up to so many edges along either side are shown whole."""
WINDOWS = 4
"""Places of a large photograph that are looked at; the most doubtful is shown."""
SEEN = 512
"""Pixels along the edge of what is looked at in the middle of each of them."""
PACED = 3
"""Photographs after which it is said how long all will take."""
SMALL = 128
"""Pixels of the longer side at which colours and coarse texture are measured."""
WORTH = 0.25
"""Weight of the photograph that is least in doubt beside 1 for the most doubtful: what is unlike
all others is worth a mask even where the model is sure."""


@dataclass(frozen=True, slots=True)
class PhotoLook:
    """What was seen in one photograph."""

    key: str
    stat: tuple[int, int]
    """Size and time of change in ns of its file."""
    box: tuple[int, int, int, int]
    """Top, left, bottom, right of what a person would be shown."""
    doubt: float
    """Mean over pixels of 1 minus the step between the two most probable classes, 0 to 1."""
    apart: float
    """Share of pixels in which the model differs from the colour rule that it is nearer to."""
    features: tuple[float, ...]
    """Colours, texture and cover: what photographs are alike in."""

    @property
    def worth(self) -> float:
        """How much a mask would tell, before it is compared with other photographs."""
        return self.doubt + self.apart


def windows_of(shape: tuple[int, int], edge: int = EDGE) -> list[tuple[int, int, int, int]]:
    """Part a photograph into windows that a person can draw in, as (top, left, bottom, right).

    One that is not much larger than a window is one window; larger ones leave even margins.
    """
    height, width = shape
    if max(height, width) <= WHOLE * edge:
        return [(0, 0, height, width)]
    rows, columns = (_starts(extent, edge) for extent in shape)
    return [
        (top, left, min(top + edge, height), min(left + edge, width))
        for top in rows
        for left in columns
    ]


def _starts(extent: int, edge: int) -> list[int]:
    count = max(extent // edge, 1)
    spare = max(extent - count * edge, 0)
    return [round((k + 0.5) * spare / count) + k * edge for k in range(count)]


def roi_of(box: tuple[int, int, int, int]) -> Roi:
    """Return the slices of a (top, left, bottom, right) box."""
    top, left, bottom, right = box
    return slice(top, bottom), slice(left, right)


def some_windows(shape: tuple[int, int], key: str, seed: int, most: int) -> list[tuple[int, ...]]:
    """Return at most so many windows of a photograph, drawn by its name and a seed."""
    boxes = windows_of(shape)
    rng = np.random.default_rng([seed, zlib.crc32(key.encode("utf-8", "surrogatepass"))])
    return [boxes[k] for k in sorted(rng.permutation(len(boxes))[:most])]


def look_at(photo: PhotoFile, model: Segmenter, seed: int = 0) -> PhotoLook:
    """Look at a photograph with a model and with the colour rules.

    Parameters
    ----------
    photo : PhotoFile
    model : Segmenter
        Class 0 is soil.
    seed : int
        Draws which places of a large photograph are looked at.

    Raises
    ------
    BadInput
        If the photograph cannot be read.
    """
    stat = photo.path.stat()
    image = read_photo(photo.path).image
    shape = roi_shape((slice(0, image.grid.shape[0]), slice(0, image.grid.shape[1])))
    rule = otsu_rule(image)
    seen = []
    for box in some_windows(shape, photo.key, seed, WINDOWS):
        part = image.read(_middle(box) if len(windows_of(shape)) > 1 else roi_of(_four(box)))
        doubt, apart, cover = _doubts(part, model, rule)
        seen.append((doubt + apart, box, doubt, apart, cover))
    _, box, doubt, apart, cover = max(seen, key=lambda one: one[0])
    features = (*_looks(image.read(roi_of(_four(box)))), *cover)
    return PhotoLook(
        photo.key, (stat.st_size, stat.st_mtime_ns), _four(box), doubt, apart, features
    )


def _four(box: tuple[int, ...]) -> tuple[int, int, int, int]:
    top, left, bottom, right = box
    return top, left, bottom, right


def _middle(box: tuple[int, ...]) -> Roi:
    top, left, bottom, right = box
    spare = [max(extent - SEEN, 0) // 2 for extent in (bottom - top, right - left)]
    return (
        slice(top + spare[0], bottom - spare[0]),
        slice(left + spare[1], right - spare[1]),
    )


def _doubts(
    part: Raster, model: Segmenter, rule: ColourRule
) -> tuple[float, float, tuple[float, float]]:
    """Return the doubt of a model, its distance to the nearer rule, and the cover of both."""
    raster = prediction.predict(part, model)
    scores = part.values[:2] * 0.0 if raster is None else raster.values
    ranked = np.sort(scores, 0)
    plants = scores[0] < scores[1:].max(0)
    masks = [one.mask(part.values) for one in (ColourRule(), rule)]
    differ = [float((mask != _sized(plants, mask.shape)).mean()) for mask in masks]
    near = masks[int(np.argmin(differ))]
    doubt = float(1 - (ranked[-1] - ranked[-2]).mean(dtype=np.float64))
    return doubt, min(differ), (float(plants.mean()), float(near.mean()))


def _sized(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring a mask to a shape; a model that works at another scale answers at that."""
    if mask.shape == shape:
        return mask
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
        for n, m in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def _looks(part: Raster) -> tuple[float, ...]:
    """Measure light, colours and texture: ten numbers of about one size."""
    pixels = np.moveaxis(part.values, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SMALL, SMALL), Image.Resampling.BOX)
    small = np.asarray(picture, np.float64)
    light = small.mean(-1)
    shares = small / np.maximum(small.sum(-1, keepdims=True), 1)
    green = 3 * shares[..., 1] - 1
    fine = pixels[::2, ::2].mean(-1, dtype=np.float32)
    return tuple(
        float(value)
        for value in (
            *(light.mean() / 64, light.std() / 32),
            *(10 * shares[..., 0].mean(), 10 * shares[..., 2].mean()),
            *(20 * shares[..., 0].std(), 20 * shares[..., 2].std()),
            *(5 * green.mean(), 10 * green.std()),
            *(_steps(light) / 16, _steps(fine) / 16),
        )
    )


def _steps(light: np.ndarray) -> float:
    """Return the mean step of brightness from pixel to pixel."""
    found = [np.abs(np.diff(light, axis=axis)).mean() for axis in (0, 1) if light.shape[axis] > 1]
    return float(np.mean(found)) if found else 0.0


@dataclass(eq=False)
class PhotoSurvey:
    """Looks at the photographs of a folder, kept as they are made."""

    path: Path
    by: str
    """What looked: looks by another model do not count."""

    def __post_init__(self) -> None:
        self.looks: dict[str, PhotoLook] = {}
        self._log = AppendLog(self.path, "looks at photographs are", self.looks.clear, self._take)
        with self._log.opened():
            pass

    def _take(self, line: bytes) -> None:
        try:
            table = json.loads(line)
            if table.pop("by") != self.by:
                return
            for name in ("stat", "box", "features"):
                table[name] = tuple(table[name])
            look = PhotoLook(**table)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        self.looks[look.key] = look

    def known(self, photo: PhotoFile) -> PhotoLook | None:
        """Return what was seen in a photograph, if its file is still the same."""
        look = self.looks.get(photo.key)
        stat = photo.path.stat()
        return look if look and look.stat == (stat.st_size, stat.st_mtime_ns) else None

    def add(self, look: PhotoLook) -> None:
        """Keep a look; when this returns it is on the disk."""
        with self._log.opened() as append:
            append([json.dumps({"by": self.by, **asdict(look)})])


def time_left(each: float, photos: int) -> str:
    """Say how long looking at so many photographs takes, at seconds each; empty: not long."""
    minutes = each * photos / 60
    if minutes < 1:
        return ""
    span = f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
    return (
        f"Looking at the other {photos:,} photographs takes about {span}, at {each:.1f} seconds "
        "each; what was seen is kept, so that it can be stopped and gone on with."
    )


def survey_photos(
    photos: Sequence[PhotoFile],
    model: Segmenter,
    survey: PhotoSurvey,
    seed: int = 0,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> tuple[list[PhotoLook], list[str]]:
    """Look at photographs, or take what was seen before; one is in memory at a time.

    How long it will take is said after the first few.

    Returns
    -------
    list of PhotoLook
        Of those that can be read.
    list of str
        Names of those that cannot.
    """
    found, failed, begun, fresh = [], [], time.monotonic(), 0
    for done, photo in enumerate(photos):
        on_step("look", done, len(photos), photo.file)
        look = survey.known(photo)
        if look is None:
            fresh += 1
            if fresh == PACED + 1:
                told = time_left((time.monotonic() - begun) / PACED, len(photos) - done)
                if told:
                    on_note(told)
            try:
                look = look_at(photo, model, seed)
            except FAILURES:
                failed.append(photo.file)
                continue
            survey.add(look)
        found.append(look)
    on_step("look", len(photos), len(photos), "")
    return found, failed


def choose_photos(looks: Sequence[PhotoLook], count: int) -> list[int]:
    """Choose photographs that tell most: in doubt, and unlike those chosen before.

    Parameters
    ----------
    looks : sequence of PhotoLook
    count : int
        How many; all where there are not more.

    Returns
    -------
    list of int
        Places among the looks, the most informative first.

    Notes
    -----
    Greedy k-centre (Sener and Savarese, "Active learning for convolutional neural networks: a
    core-set approach", ICLR 2018), each distance times a weight from 0.25 to 1 by the rank of doubt
    and disagreement.  A photograph that is the same as a chosen one has distance 0 and comes last,
    however doubtful it is.
    """
    if not looks:
        return []
    features = np.array([look.features for look in looks], np.float64)
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 1e-9, spread, 1)
    worth = np.array([look.worth for look in looks])
    rank = np.argsort(np.argsort(worth, kind="stable")) / max(len(looks) - 1, 1)
    weight = WORTH + (1 - WORTH) * rank
    chosen = [int(np.argmax(worth))]
    away = np.linalg.norm(features - features[chosen[0]], axis=1)
    while len(chosen) < min(count, len(looks)):
        score = away * weight + 1e-9 * weight
        score[chosen] = -1
        chosen.append(int(np.argmax(score)))
        away = np.minimum(away, np.linalg.norm(features - features[chosen[-1]], axis=1))
    return chosen
