"""Images opened for a map: one file, or one for each date; looked at, and as the model wants it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion import prediction, store
from selion.data.stacked import Cut
from selion.errors import (
    BadInput,
    BandMismatch,
    GridMismatch,
    InputChanged,
    UnreadableFile,
    plain_text,
)
from selion.grid import Roi
from selion.imagery.item import is_item, open_item
from selion.models import find_card
from selion.pipeline.band_files import BandFiles, band_files
from selion.pipeline.choosing import chosen_model
from selion.prediction.band_meanings import TAG
from selion.prediction.band_names import DATES, DAY, days_of, doubted_days, read_names
from selion.prediction.look import MADE_HERE
from selion.prediction.look_understood import Understood
from selion.raster import (
    DOUBT,
    MASKED,
    RECOGNISED,
    STATED,
    DerivedSource,
    FileSource,
    Raster,
    Source,
    nodatas_of,
)
from selion.segmenter import LoadedModel
from selion.store.painted import painted
from selion.store.products.source import ProductSource
from selion.store.urls import remote_scheme

TIMES = ("datetime", "ACQUISITIONDATETIME", "TIFFTAG_DATETIME", "DATE_ACQUIRED")
"""Tags that say when an image was taken."""
EVEN = 1e-3
"""Share of a pixel by which images may lie apart."""


@dataclass(frozen=True)
class OpenedImage:
    """An image, or several as one, before a model is chosen."""

    name: Path | str
    """Of the file, or the first one."""
    source: Source
    """With the names that were recognised; numbers are those of the file."""
    look: prediction.Look
    fingerprint: str
    said: tuple[str, ...] = ()
    """Sentences on how files were joined."""
    doubts: tuple[str, ...] = ()
    """Warnings of the same."""
    states: tuple[tuple[Path | str, Source, str], ...] = ()
    """Each image as it was opened: name, image, and what says which content it has."""


@dataclass(frozen=True)
class JoinedDates(DerivedSource):
    """Images of one place as one, the bands of the first before those of the second.

    (band, y, x); a pixel is valid where all of them are.
    """

    others: tuple[Source, ...] = ()
    names: tuple[str, ...] = ()
    masked: tuple[bool, ...] = ()
    """For each image whether it says by a mask alone (alpha) what it lacks: its numbers are 0 there
    then, and 0 stands for nothing, so that other dates are not hidden with it; empty: none does."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names with the date of each."""
        return self.names

    @property
    def dtype(self) -> np.dtype:
        """That all of them fit in."""
        return np.result_type(self.source.dtype, *(one.dtype for one in self.others))

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of the first, with the time of the last; what each one is, is told before."""
        parts = (self.source, *self.others)
        sure = [any(tag in one.tags for tag in MADE_HERE) for one in parts]
        gone = (RECOGNISED, DOUBT, MASKED, STATED, TAG, *(() if all(sure) else MADE_HERE))
        told = {k: v for k, v in self.source.tags.items() if k not in gone}
        last = {k: v for k, v in self.others[-1].tags.items() if k in TIMES}
        known = [bool(one.tags.get(STATED)) or made for one, made in zip(parts, sure, strict=True)]
        each = (digital for one, digital in zip(parts, known, strict=True) for _ in one.bands)
        stated = ",".join(name for name, digital in zip(self.names, each, strict=True) if digital)
        told |= {STATED: stated} if stated else {}
        return {k: v for k, v in told.items() if k not in TIMES} | last

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """Those of all of them: what one date lacks is no hole of another."""
        parts = (self.source, *self.others)
        told = zip(parts, self.masked or (False,) * len(parts), strict=True)
        return tuple(0.0 if masked else one for part, masked in told for one in nodatas_of(part))

    def read(self, roi: Roi) -> Raster:
        """Read a region of all of them."""
        parts = [one.read(roi) for one in (self.source, *self.others)]
        valid, values = None, []
        for part, masked in zip(parts, self.masked or (False,) * len(parts), strict=True):
            own = part.values.astype(self.dtype, copy=False)
            if part.valid is not None:
                valid = part.valid if valid is None else valid & part.valid
                own = np.where(part.valid, own, self.dtype.type(0)) if masked else own
            values.append(own)
        return Raster(np.concatenate(values), parts[0].grid, self.names, valid, self.tags)


def open_dates(images: Sequence[Path | str | Source]) -> OpenedImage:
    """Open an image, or several of one place as its dates, and look at what they are.

    Raises
    ------
    GridMismatch
        If several do not lie on one grid; the sentence has the command that puts them there.
    UnreadableFile
        If one cannot be opened.
    """
    known = [
        store.known_image(open_item(str(image)) if is_item(image) else image) for image in images
    ]
    paths = [name for name, *_ in known]
    opened = [prediction.as_declared(painted(source)) for _, source, _ in known]
    if len(images) == 1:
        look = prediction.look_at(opened[0])
        source, _ = prediction.understood(opened[0], look, None)
        return OpenedImage(paths[0], source, look, known[0][2], states=tuple(known))
    days = [_day(path, one) for path, one in zip(paths, opened, strict=True)]
    if (bands := band_files(paths, opened, days)) is not None:
        return _joined_bands(known, opened, bands)
    opened, cut = _on_one_grid(paths, opened)
    named: list[Source] = []
    warned: list[str] = []
    for one in opened:
        look = prediction.look_at(one)
        named.append(prediction.understood(one, look, None)[0])
        warned += look.warnings
    dated = all(days)
    order = sorted(range(len(days)), key=lambda k: days[k]) if dated else list(range(len(days)))
    labels = tuple(DATES) if len(images) == len(DATES) else _labels([days[k] for k in order])
    names = tuple(
        f"{label}:{name.colour or band}"
        for label, k in zip(labels, order, strict=True)
        for name, band in zip(read_names(named[k].bands), named[k].bands, strict=True)
    )
    masked = tuple(_is_masked(known[k][1], named[k]) for k in order)
    joined = JoinedDates(named[order[0]], tuple(named[k] for k in order[1:]), names, masked)
    listed = ", ".join(f"{Path(paths[k]).name}{days[k] and f' ({days[k]})'}" for k in order)
    said = f"{len(images)} files are {len(images)} dates, the first one first: {listed}."
    told = [plain_text(text) for k in order if (text := opened[k].tags.get(RECOGNISED))]
    doubts = (
        ()
        if dated
        else (
            (
                "Neither the names nor the tags of the files say when they were taken: the first "
                "is taken as the earlier one in the season."
            ),
        )
    )
    digest = hashlib.sha256("".join(known[k][2] for k in order).encode())
    return OpenedImage(
        paths[order[0]],
        joined,
        prediction.look_at(joined),
        digest.hexdigest()[:32],
        (said, *told, *filter(None, [cut])),
        (
            *doubts,
            *warned,
            *(doubted_days([date.fromisoformat(day) for day in days]) if dated else ()),
        ),
        tuple(known),
    )


def _is_masked(given: Source, shown: Source) -> bool:
    """Say whether an image has a mask, as products do, and no number that stands for nothing."""
    file = isinstance(given, store.GeoTiffSource) and given.says_what_is_valid
    return (file or isinstance(given, ProductSource)) and all(
        number is None for number in nodatas_of(shown)
    )


def _labels(days: Sequence[str]) -> tuple[str, ...]:
    """Return what several dates are called: their days, or where these do not tell numbers."""
    numbers = range(1, len(days) + 1)
    return tuple(days) if days_of(days) else tuple(str(number) for number in numbers)


def _joined_bands(
    known: Sequence[tuple[Path | str, Source, str]], opened: Sequence[Source], bands: BandFiles
) -> OpenedImage:
    """Open files of one band each as one image."""
    paths = [known[k][0] for k in bands.order]
    parts, cut = _on_one_grid(paths, [opened[k] for k in bands.order])
    told, doubts = (
        tuple(dict.fromkeys(text for one in opened if (text := plain_text(one.tags.get(tag, "")))))
        for tag in (RECOGNISED, DOUBT)
    )
    joined = JoinedDates(parts[0], tuple(parts[1:]), bands.names)
    digest = hashlib.sha256("".join((*bands.names, *(known[k][2] for k in bands.order))).encode())
    return OpenedImage(
        paths[0],
        joined,
        prediction.look_at(joined),
        digest.hexdigest()[:32],
        (bands.said, *told, *filter(None, [cut])),
        doubts,
        states=tuple(known),
    )


def check_unchanged(
    states: Sequence[tuple[Path | str, Source, str]], journal: prediction.BlockJournal
) -> None:
    """Refuse to go on with what was read of images that were changed since they were opened.

    Finished blocks go: some may be of the one image, some of the other.

    Parameters
    ----------
    states : sequence
        See :attr:`OpenedImage.states`.
    journal : BlockJournal
        Of what was made from them.

    Raises
    ------
    InputChanged
        If a file is another one now, or gone.
    """
    for name, source, state in states:
        if not isinstance(source, FileSource):
            continue
        try:
            now = store.known_image(source)[2]
        except UnreadableFile:
            if remote_scheme(str(name)):  # it may be the network, or a token that is too old
                raise
            now = ""
        if now != state:
            journal.remove()
            what = "changed" if now else "removed"
            raise InputChanged.of(store.shown(str(name)), what)


def _on_one_grid(paths: Sequence[Path | str], opened: Sequence[Source]) -> tuple[list[Source], str]:
    """Return images cut to what all of them show, and a sentence if they had to be.

    Scenes of one place, as Landsat's, may begin some whole pixels apart.

    Raises
    ------
    GridMismatch
        If their pixels do not lie on each other.
    """
    first = opened[0].grid
    if all(one.grid == first for one in opened):
        return list(opened), ""
    corners = []
    for path, one in zip(paths, opened, strict=True):
        corner = _steps(one.grid, first)
        if corner is None:
            raise GridMismatch(_elsewhere(paths[0], path, opened[0], one))
        corners.append(corner)
    starts = [max(corner[axis] for corner in corners) for axis in (0, 1)]
    stops = [
        min(
            corner[axis] + one.grid.shape[axis] for corner, one in zip(corners, opened, strict=True)
        )
        for axis in (0, 1)
    ]
    if any(stop <= start for start, stop in zip(starts, stops, strict=True)):
        raise GridMismatch(
            f"{' and '.join(Path(path).name for path in paths)} show no place in common: give two "
            "dates of one place."
        )
    cut: list[Source] = [
        Cut(
            one,
            (
                slice(starts[0] - corner[0], stops[0] - corner[0]),
                slice(starts[1] - corner[1], stops[1] - corner[1]),
            ),
        )
        for one, corner in zip(opened, corners, strict=True)
    ]
    height, width = cut[0].grid.shape
    return cut, f"The images do not begin alike: the {width} x {height} pixels of all are mapped."


def _steps(grid: GeoBox, on: GeoBox) -> tuple[int, int] | None:
    """Return the row and column, counted on another grid, at which one begins.

    None if they are no whole ones, or pixels or CRS differ.
    """
    a, b = grid.transform, on.transform
    if grid.crs != on.crs or (a.a, a.e) != (b.a, b.e) or grid.crs is None:
        return None
    row, column = (a.f - b.f) / b.e, (a.c - b.c) / b.a
    if max(abs(row - round(row)), abs(column - round(column))) > EVEN:
        return None
    return round(row), round(column)


def _elsewhere(first: Path | str, other: Path | str, on: Source, one: Source) -> str:
    grid = on.grid
    if one.grid.crs is None and grid.crs is not None:
        return (
            f"{other} has no CRS, and {first} has {grid.crs}: if it lies in that too, say so with "
            f"gdal_translate -a_srs {grid.crs} {other} {Path(other).stem}.placed.tif, and give "
            "that one."
        )
    if not Path(other).is_file() and Path(other).exists():
        return (
            f"{other} does not lie on the grid of {first}: give two products of the same tile, or "
            "make a composite of the place with 'selion composite'."
        )
    left, bottom, right, top = grid.boundingbox.bbox
    height, width = grid.shape
    return (
        f"{other} does not lie on the grid of {first}: put it there with gdalwarp -r bilinear "
        f"-t_srs {grid.crs} -te {left:g} {bottom:.10g} {right:.10g} {top:.10g} -ts {width} "
        f"{height} {other} {Path(other).stem}.moved.tif, and give that one."
    )


def _day(path: Path | str, source: Source) -> str:
    """Return the day of an image as 2024-05-01: by its tags, else its name; empty if unknown."""
    for name in TIMES:
        text = source.tags.get(name, "").replace(":", "-", 2)[:10]
        try:
            return datetime.fromisoformat(text).date().isoformat()
        except ValueError:
            continue
    found = DAY.search(Path(path).name)
    try:
        return date(*map(int, found.groups())).isoformat() if found else ""
    except ValueError:  # numbers of another kind
        return ""


def planned(
    opened: OpenedImage, model: LoadedModel[Any], options: prediction.PredictOptions
) -> tuple[Source, prediction.PredictionPlan, prediction.Look]:
    """Return the source as the model wants it, the plan of its prediction, and the look."""
    source, look = opened.source, opened.look
    base = source.source if isinstance(source, Understood) else source
    if options.bands is None:
        source, told = prediction.understood(base, look, model.inputs)
    else:
        left = tuple(text for text in look.warnings if text not in look.of_order)
        named = replace(look, bands=look.given, warnings=left)
        source, told = prediction.understood(
            base, named, model.inputs, water=True, taken=options.bands
        )
    plan = prediction.plan(source, model, options, opened.fingerprint)
    if isinstance(source, Understood):
        seen: list[object] = [source.gains, source.shifts, source.fillers, source.top]
        if source.water is not None:
            seen.append(astuple(source.water))
        if source.fillers and len(set(source.of_date)) > 1:
            seen.append(source.of_date)
        more = {"look": seen}
        plan = replace(plan, decided=plan.decided | more)
    chosen = options.gsd is not None or options.scale is not None
    warned = (*opened.doubts, *told.warnings, *prediction.judged(told, model.inputs, chosen=chosen))
    return source, plan, replace(told, said=opened.said + told.said, warnings=warned)


def advice_of(opened: OpenedImage, model: str | None) -> tuple[str, list[str], list[str]]:
    """Return the model that would map an image, what would be done, and the map's warnings.

    Its weights are not loaded.  Where no packaged model takes the bands, the name is empty and the
    reason is a warning.
    """
    try:
        card = find_card(chosen_model(model, opened.source).name)
    except BandMismatch as error:
        said = [*opened.said, *opened.look.said]
        return "", said, [*opened.doubts, *opened.look.warnings, str(error)]
    base = opened.source.source if isinstance(opened.source, Understood) else opened.source
    _, told = prediction.understood(base, opened.look, card.inputs)
    try:
        judged = prediction.judged(told, card.inputs, chosen=False)
    except BadInput as error:
        judged = (str(error),)
    return card.name, [*opened.said, *told.said], [*opened.doubts, *told.warnings, *judged]


def found_in(look: prediction.Look) -> dict[str, object]:
    """Return what a table says of the look at its image, as plain values."""
    found: dict[str, object] = {}
    if look.said:
        found["recognised"] = list(look.said)
    if look.warnings:
        found["warnings"] = list(look.warnings)
    return found


def given_time(text: str | None) -> datetime | None:
    """Read the time of the last image, if a user gives it; BadInput if it is none."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"The time {text!r} was given for --datetime; wanted is ISO 8601, for example "
            "2024-08-17T10:20:00Z."
        ) from None


def acquired(given: str | None, source: Source) -> datetime | None:
    """Return when the last image was taken: as given, or as the image's tags say.

    None if nobody says.
    """
    if given is not None:
        return given_time(given)
    tags = source.tags
    for name, form in (
        ("datetime", None),
        ("ACQUISITIONDATETIME", None),
        ("TIFFTAG_DATETIME", "%Y:%m:%d %H:%M:%S"),
    ):
        try:
            if name in tags:
                return (
                    datetime.strptime(tags[name], form).replace(tzinfo=UTC)
                    if form
                    else datetime.fromisoformat(tags[name])
                )
        except ValueError:
            continue
    return None
