"""What a prediction will do, decided before the first pixel is read.

Working grid, lattice, blocks, bands, and the key of it all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from odc.geo.geobox import GeoBox

import selion
from selion.classes import ClassScheme
from selion.errors import BadInput, GridMismatch
from selion.grid import (
    Lattice,
    Roi,
    check_north_up,
    clip_roi,
    ground_sampling_distance,
    pixel_metres,
    tiles,
)
from selion.prediction.bands import choose_bands, stated_bands
from selion.prediction.bands_of_dates import choose_dates
from selion.prediction.blend import spread
from selion.prediction.chosen import ChosenOnly
from selion.prediction.date_stack import Dates, DateStack, decide_dates
from selion.prediction.filling import QuarterFilled, quarters_of
from selion.prediction.resample import (
    Magnified,
    Resampled,
    magnified_grid,
    scale_to,
    snap,
    working_grid,
)
from selion.prediction.stretch import Stretched, is_stretched
from selion.raster import Source, image_gsd, nodatas_of
from selion.segmenter import InputSpec, InstanceSegmenter, LoadedModel, Segmenter, as_model
from selion.store.former import former_decision

SAME = 0.03
"""Pixel sizes that differ by less than this share are taken as the same: nothing is resampled for
UTM's scale factor."""
Pose = tuple[int, bool]
"""Quarter turns, and whether left and right are exchanged after them."""
OBLONG = 1.2
"""Pixels that are this much longer than wide on the ground (degrees far from the equator) are made
square for a model that knows metres."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What a user may choose; None takes the model's own value."""

    window: int | None = None
    """Edge of a window in working pixels."""
    overlap: float | None = None
    """Share of a window shared with its neighbour, 0 to 0.75."""
    block: int = 2048
    """Edge of a block in working pixels: decides memory, never the result."""
    gsd: float | None = None
    """Work at this ground sampling distance in metres, whatever the model's range."""
    scale: float | None = None
    """Work on this many times as many pixels along each axis instead; 1 takes pixels as they
    are."""
    flips: bool = False
    """Average over the eight flips and rotations of the square (D4)."""
    batch: int | None = None
    """Windows given to the model at once."""
    bands: tuple[int | str, ...] | None = None
    """Bands of the image in the model's order: numbers from 1, or names; for a model of any number
    of dates those of each date, one date after the other."""

    def __post_init__(self) -> None:
        if self.gsd is not None and self.scale is not None:
            raise BadInput(
                f"Both a ground sampling distance ({self.gsd:g} m) and a scale ({self.scale:g}) "
                "were given: give one of them."
            )
        for name in ("window", "block", "gsd", "scale", "batch"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"A {name} of {value} was given; wanted is a number above 0.")


@dataclass(frozen=True)
class PredictionPlan:
    """A prediction, decided.  Make it with :func:`plan`."""

    grid: GeoBox
    """The working grid, on which the result lies."""
    scale: tuple[float, float] | None
    """(y, x) factors from the source's grid to the working grid; None: they are the same."""
    lattice: Lattice
    """All windows."""
    block: int
    """Edge of a block in pixels."""
    batch: int
    """Windows a call of the model gets at most."""
    flips: bool
    """Whether eight orientations are averaged."""
    bands: tuple[int, ...]
    """Index into the source's bands for each channel."""
    context: int | None
    """Edge in pixels of the wider image that each view carries; None: none."""
    classes: ClassScheme
    """What the result's bands mean."""
    image_gsd: float | None
    """Ground sampling distance of the image in metres; None for a photograph."""
    decided: dict[str, Any]
    """All that decides the result, as plain values: what ``key`` is the hash of."""
    notes: tuple[str, ...]
    """Sentences that the user should read before the result."""
    upsampling: int = 1
    """How many working pixels lie along the edge of a pixel that windows are cut from, see
    :attr:`selion.segmenter.InputSpec.upsampling`."""
    blend: str = "gaussian"
    """How overlapping windows share a pixel."""
    stretch: tuple[float, float] | None = None
    """Percentiles of the whole image that become 0 and 255, see
    :class:`selion.prediction.stretch.Stretched`; None: numbers are what they are."""
    nodatas: tuple[float | None, ...] | None = None
    """The number that stands for nothing, band by band, where holes are filled from other quarters;
    None: they are not."""
    quarters: tuple[tuple[int, ...], ...] = ()
    """Bands that show the same at other times, where holes are filled from other quarters."""
    dates: Dates | None = None
    """The dates of the image, for a model that takes any number of them: ``bands`` are then all
    bands of its :class:`selion.prediction.date_stack.DateStack`."""
    pose: Pose = (0, False)
    """How each window is turned before the model sees it; without ``flips``."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of what decides the result: input, model, parameters, version.

        The size of a block is not among it.
        """
        return hashlib.sha256(json.dumps(self.decided, sort_keys=True).encode()).hexdigest()

    @cached_property
    def former_key(self) -> str:
        """What ``key`` was under the project's former name, by which unfinished work is known."""
        decided = former_decision(self.decided)
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()

    @cached_property
    def blocks(self) -> list[Roi]:
        """Disjoint regions of the working grid, row-major.

        They are in the order in which they are predicted.
        """
        return tiles(self.lattice.shape, self.block)

    def blocks_of(self, roi: Roi) -> list[int]:
        """Return the indices in :attr:`blocks` of those that a region touches.

        The others are not looked at.
        """
        rows, columns = (
            range(max(span.start, 0) // self.block, -(-min(span.stop, size) // self.block))
            for span, size in zip(roi, self.lattice.shape, strict=True)
        )
        across = -(-self.lattice.shape[1] // self.block)
        return [row * across + column for row in rows for column in columns]

    @cached_property
    def contexts(self) -> Lattice:
        """The lattice of wider images, each half over its neighbour.

        A window lies well inside the one that is nearest to it.
        """
        return Lattice(self.lattice.shape, max(self.context or 1, self.lattice.window), 0.5)

    def working(self, source: Source) -> Source:
        """Return the source as it looks on the working grid."""
        if self.dates is not None:
            return DateStack(source, self.dates, self.scale)
        if len(set(self.bands)) < len(source.bands) and self.nodatas is None:
            source = ChosenOnly(source, self.bands)
        if self.stretch is not None:
            source = Stretched(source, self.stretch, self.bands)
        if self.nodatas is not None:
            source = QuarterFilled(source, self.nodatas, self.quarters)
        if self.upsampling == 1:
            return source if self.scale is None else Resampled(source, self.scale)
        base = _base(self.scale, self.upsampling)
        return Magnified(source if base == (1, 1) else Resampled(source, base), self.upsampling)

    def lattice_roi(self, row: int, column: int) -> Roi:
        """Region of a window, cut to the grid."""
        return clip_roi(self.lattice.window_roi(row, column), self.lattice.shape)


def plan(
    source: Source,
    model: Segmenter | InstanceSegmenter | LoadedModel[Any],
    options: PredictOptions | None = None,
    fingerprint: str = "",
) -> PredictionPlan:
    """Decide how a source is predicted by a model; no pixel is read.

    Only for a model that takes bytes and other numbers a few are, where the number type does not
    tell: see :func:`selion.prediction.date_stack.decide_dates`.

    Parameters
    ----------
    source : Source
        The image.
    model : Segmenter
        Its ``inputs`` say which bands, window and ground sampling distance it wants.
    options : PredictOptions, optional
        What the user chose instead.
    fingerprint : str
        Stands for the source's content in the key (``store.fingerprint``).

    Returns
    -------
    PredictionPlan
        The decisions; ``notes`` holds the sentences that the user should read.

    Raises
    ------
    BandMismatch
        If the bands do not fit.
    GridMismatch
        If the grid is rotated, or has no CRS where the model wants metres.
    BadInput
        If the window does not fit the model, or the numbers of the image none of its scales.
    """
    options = options or PredictOptions()
    loaded = as_model(model)
    inputs = loaded.inputs
    check_north_up(source.grid)
    bands, dates, band_notes = _bands(source, inputs, options)
    scale, scale_note = _scale(source.grid, inputs, options)
    grid = _grid(source.grid, scale, inputs.upsampling)
    height, width = grid.shape
    overlap = inputs.overlap if options.overlap is None else options.overlap
    lattice = Lattice((height, width), _window(inputs, options), overlap, inputs.upsampling)
    stretch = inputs.stretch if is_stretched(source, inputs.stretch) else None
    by_quarters = inputs.fill == "quarters"
    notes = [
        *band_notes,
        scale_note,
        _stretch_note(stretch),
        _small_note(lattice),
        _context_note(lattice, inputs.context),
    ]
    return PredictionPlan(
        grid=grid,
        scale=scale,
        lattice=lattice,
        block=options.block,
        batch=options.batch or loaded.batch,
        flips=_flips(loaded, options),
        bands=bands,
        context=inputs.context,
        classes=loaded.classes,
        image_gsd=image_gsd(source),
        decided=_decided(source.grid, loaded, lattice, options, bands)
        | ({} if dates is None else {"dates": asdict(dates)})
        | {"input": fingerprint},
        notes=tuple(note for note in notes if note),
        upsampling=inputs.upsampling,
        blend=inputs.blend,
        stretch=stretch,
        nodatas=nodatas_of(source) if by_quarters else None,
        # by the tag where bands have no names: so they were chosen, too
        quarters=quarters_of(stated_bands(source, inputs.bands)) if by_quarters else (),
        dates=dates,
    )


def _bands(
    source: Source, inputs: InputSpec, options: PredictOptions
) -> tuple[tuple[int, ...], Dates | None, tuple[str, ...]]:
    """Return the bands of the channels, the dates where they are a set, and sentences."""
    given = stated_bands(source, inputs.bands)
    if inputs.dates:
        found = choose_dates(given, inputs, options.bands)
        dates, note = decide_dates(source, inputs, found, nodatas_of(source))
        return tuple(range(len(dates.names))), dates, (found.note, note)
    bands, note = choose_bands(
        given, inputs.bands, options.bands, any_order=inputs.any_order, named=inputs.named
    )
    return bands, None, (note,)


def _grid(grid: GeoBox, scale: tuple[float, float] | None, upsampling: int) -> GeoBox:
    """Return the working grid.

    Each of its pixels lies in one pixel that windows are cut from, where these are upsampled.
    """
    if upsampling == 1:
        return grid if scale is None else working_grid(grid, scale)
    return magnified_grid(working_grid(grid, _base(scale, upsampling)), upsampling)


def _base(scale: tuple[float, float] | None, upsampling: int) -> tuple[float, float]:
    """Return the (y, x) factors to the pixels that windows are cut from."""
    y, x = scale or (1.0, 1.0)
    return y / upsampling, x / upsampling


def _scale(
    grid: GeoBox, inputs: InputSpec, options: PredictOptions
) -> tuple[tuple[float, float] | None, str]:
    """Return the (y, x) factors to the working grid and the sentence that says so.

    Factors are None where it stays as it is.
    """
    if options.scale is not None:
        factor = snap(options.scale)
        return (
            (None, "")
            if factor == 1
            else (
                (factor, factor),
                (
                    f"The image is resampled by a factor of {factor:g}, as "
                    f"asked{_sizes(grid, factor, factor)}."
                ),
            )
        )
    if options.gsd is None and inputs.gsd is None:
        times = float(inputs.upsampling)
        return (None if times == 1 else (times, times)), ""
    if grid.crs is None:
        raise GridMismatch(_no_crs(inputs, options))
    native = ground_sampling_distance(grid) or 0.0
    target = options.gsd or inputs.working_gsd(native) or native
    size = pixel_metres(grid) or (native, native)
    oblong = max(size) / min(size) > OBLONG
    if abs(target / native - 1) < SAME and not oblong:
        return None, ""
    scale = scale_to(grid, target) if oblong else (snap(native / target),) * 2
    return (
        (None, "") if scale == (1, 1) else (scale, _gsd_note(grid, inputs, options, target, scale))
    )


def _no_crs(inputs: InputSpec, options: PredictOptions) -> str:
    wish = (
        f"the model wants {_range(inputs.gsd)}"
        if options.gsd is None and inputs.gsd
        else f"{options.gsd:g} m was asked for"
    )
    own = inputs.upsampling
    return (
        f"The image has no CRS, so the size of its pixels is not known, but {wish}: give "
        f"--scale {own} (in Python PredictOptions(scale={own})) to take its pixels as they are, or "
        "the factor that fits; an array is told where it lies by selion.as_raster(values, "
        "transform=..., crs=...)."
    )


def _finer(inputs: InputSpec) -> str:
    return "" if inputs.finer == 1 else f", {inputs.finer:g} times finer than an image's own"


def _range(gsd: tuple[float, float]) -> str:
    return f"{gsd[0]:g} m pixels" if gsd[0] == gsd[1] else f"pixels of {gsd[0]:g} to {gsd[1]:g} m"


def _gsd_note(
    grid: GeoBox,
    inputs: InputSpec,
    options: PredictOptions,
    target: float,
    scale: tuple[float, float],
) -> str:
    size = pixel_metres(grid) or (0.0, 0.0)
    shown = (
        f"{ground_sampling_distance(grid):.3g} m"
        if max(size) / min(size) <= OBLONG
        else f"{size[1]:.3g} x {size[0]:.3g} m"
    )
    why = (
        "as asked"
        if options.gsd is not None or inputs.gsd is None
        else f"the model was trained on {_range(inputs.gsd)}{_finer(inputs)}"
    )
    beyond = ""
    if (
        options.gsd is not None
        and inputs.gsd is not None
        and not inputs.gsd[0] * (1 - SAME) < target < inputs.gsd[1] * (1 + SAME)
    ):
        beyond = f"; the model was trained on {_range(inputs.gsd)}, expect less there"
    how = (
        "averaged down"
        if max(scale) <= 1
        else f"interpolated up, window by window, {inputs.upsampling} times,"
        if min(scale) >= inputs.upsampling > 1
        else "interpolated up"
        if min(scale) >= 1
        else "resampled"
    )
    return (
        f"The image's pixels are {shown} on the ground: {how} to {target:.3g} m "
        f"({why}{beyond}){_sizes(grid, *scale)}."
    )


def _sizes(grid: GeoBox, y: float, x: float) -> str:
    before, after = grid.shape, working_grid(grid, (y, x)).shape
    return f", from {before[1]} x {before[0]} to {after[1]} x {after[0]} pixels"


def _window(inputs: InputSpec, options: PredictOptions) -> int:
    window = options.window or inputs.window
    if window % inputs.multiple:
        low = max(window // inputs.multiple, 1) * inputs.multiple
        raise BadInput(
            f"A window of {window} px was asked for; the model wants a multiple of "
            f"{inputs.multiple}: try {low} or {low + inputs.multiple}."
        )
    return window


def _flips(model: LoadedModel[Any], options: PredictOptions) -> bool:
    if options.flips and model.gives == "objects":
        raise BadInput(
            "Flips were asked for, but this model returns objects, which cannot be averaged: "
            "leave --flips out."
        )
    if options.flips and model.inputs.context is not None:
        raise BadInput(
            "Flips were asked for, but this model also sees a wider image, which is not flipped "
            "with the window: leave --flips out."
        )
    return options.flips


def _stretch_note(stretch: tuple[float, float] | None) -> str:
    if stretch is None:
        return ""
    return (
        f"The model was trained on bytes: in each band the percentiles {stretch[0]:g} and "
        f"{stretch[1]:g} of the whole image become 0 and 255."
    )


def _small_note(lattice: Lattice) -> str:
    height, width = lattice.shape
    if min(height, width) >= lattice.window:
        return ""
    return (
        f"The image ({width} x {height} working pixels) is smaller than a window of "
        f"{lattice.window}: "
        + ("its edge is repeated." if lattice.step > 1 else "it is mirrored beyond its edge.")
    )


def _context_note(lattice: Lattice, context: int | None) -> str:
    height, width = lattice.shape
    if context is None or max(height, width) <= context:
        return ""
    return (
        f"The image ({width} x {height} working pixels) is larger than the model's input: each "
        f"window is given with {context} px of context around it, not with the whole image."
    )


def _decided(
    grid: GeoBox,
    model: LoadedModel[Any],
    lattice: Lattice,
    options: PredictOptions,
    bands: tuple[int, ...],
) -> dict[str, Any]:
    """All that decides the result, save the input's content.

    The batch is among it: engines may round differently for another batch.
    """
    inputs = model.inputs
    road = {
        name: getattr(inputs, name)
        for name, usual in (
            ("upsampling", 1),
            ("blend", "gaussian"),
            ("fill", "mean"),
            ("stretch", None),
            ("dates", ""),
            ("optional", ()),
            ("byte_divide", None),
        )
        # what is usual is not written down: it was not, when keys were first made
        if getattr(inputs, name) != usual
    }
    return road | {
        "model": dict(model.identity),
        "grid": {
            "shape": list(grid.shape),
            "transform": list(grid.transform[:6]),
            "crs": str(grid.crs),
        },
        "working_shape": list(lattice.shape),
        "window": lattice.window,
        "overlap": lattice.overlap,
        "sigma": spread(lattice.overlap),
        "flips": options.flips,
        "batch": options.batch or model.batch,
        "bands": list(bands),
        "version": selion.__version__,
    }
