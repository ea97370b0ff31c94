"""The simulated countryside: :func:`simulate` and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, UnknownName
from selion.labels import Instances, LabelMap, class_labels
from selion.raster import Raster
from selion.simulation.landscape import sensor
from selion.simulation.landscape.change import compare_years, next_plan
from selion.simulation.landscape.clouds import add_clouds
from selion.simulation.landscape.cover import SUBS, Ground, LandscapeCover, survey
from selion.simulation.landscape.noise import make_textures
from selion.simulation.landscape.render import render
from selion.simulation.landscape.season import CROP_NAMES, Phenology, make_season
from selion.simulation.landscape.styles import BANKS, NAMES, YARDS, style_index, style_table
from selion.simulation.landscape.subdivide import grow
from selion.simulation.landscape.truth import COVER, find_truth

COLOURS = ("red", "green", "blue", "nir")
RGB_BANDS = COLOURS[:3]


@dataclass(frozen=True, eq=False, slots=True)
class Landscape:
    """An image of a countryside that does not exist, and all that is true about it."""

    image: Raster
    """``bands="s2"``: 4 bands a date, uint16, reflectance x 10000; ``bands="rgb"``: red, green,
    blue, uint8."""
    labels: LabelMap
    """Background, field, boundary (:data:`selion.classes.FTW3`)."""
    instances: Instances
    """Fields; the table has ``id, class, score, crop, style, area_m2``."""
    cover: LabelMap
    """Land cover, :data:`selion.simulation.landscape.COVER`."""
    scl: Raster | None
    """Scene classification per date, when clouds were asked for."""
    dates: tuple[float, ...]
    """Days of the (northern) year."""
    seed: int
    style: str
    next_year: Landscape | None = None
    """The same place a year later, when two years were asked for."""
    changes: pd.DataFrame | None = None
    """What became of each field: ``before, after, change``."""


def simulate(
    seed: int,
    shape: tuple[int, int] = (1024, 1024),
    gsd: float = 10.0,
    style: str = "mixed",
    *,
    crs: str = "EPSG:32633",
    origin: tuple[float, float] = (300_000.0, 5_400_000.0),
    bands: str = "s2",
    clouds: float = 0.0,
    years: int = 1,
    days: Sequence[float] | None = None,
) -> Landscape:
    """Simulate a countryside.

    Parameters
    ----------
    seed : int
        Everything follows from it: equal seeds give equal bytes.
    shape : tuple of int
        (y, x) size in pixels.
    gsd : float
        Ground sampling distance in metres.
    style : str
        One of :data:`selion.simulation.landscape.styles.NAMES`.
    crs : str
        A CRS in metres.
    origin : tuple of float
        Easting and northing of the upper left corner.
    bands : {"s2", "rgb"}
        Two dates at red, green, blue, near infrared as Sentinel-2 sees them, or one aerial
        photograph.
    clouds : float
        Share of each date that is under clouds, 0 to 1.
    years : int
        1, or 2 for the next year too, with fields merged, parted, given up and newly broken.
    days : sequence of float, optional
        Days of the (northern) year at which Sentinel-2 passes, one date or many, in both years;
        the bands are called ``day121:red`` ...  By default two are drawn, ``window_a:red`` ...,
        and the next year has them some days earlier or later.

    Returns
    -------
    Landscape

    Raises
    ------
    UnknownName
        If style or bands are not known.
    BadInput
        If a number makes no sense.
    """
    _check(shape, gsd, bands, clouds, years)
    world, fold = _make_world(seed, shape, gsd, style), 2
    dates = (
        _draw_dates(np.random.default_rng([seed, 2]), bands)
        if days is None
        else _given_days(days, bands)
    )
    grid = GeoBox(shape, Affine(gsd, 0, origin[0], 0, -gsd, origin[1]), crs)
    names = ("window_a", "window_b") if days is None else tuple(f"day{d:.0f}" for d in dates)
    view = _View(seed, style, grid, gsd, fold, bands, clouds, dates, names)
    first = _photograph(world, view, 0)
    if years == 1:
        return first
    later = view
    if days is None:  # given ones are those of both years, as the bands say
        moved = np.random.default_rng([seed, 5]).normal(0, 6, len(dates))
        later = replace(view, dates=dates + moved)
    second = _photograph(replace(world, tree=next_plan(world.tree)), later, 1)
    return replace(
        first, next_year=second, changes=compare_years(first.instances.ids, second.instances.ids)
    )


def field_ids(seed: int, shape: tuple[int, int], gsd: float, style: str) -> np.ndarray:
    """Return the fields of :func:`simulate` alone, (y, x) int32, in a third of its time.

    The truth on a grid finer than the image's, of the same place: twice the shape, half the
    distance.

    Raises
    ------
    UnknownName
        If the style is not known.
    BadInput
        If a number makes no sense.
    """
    _check(shape, gsd, "s2", 0.0, 1)
    world, fold = _make_world(seed, shape, gsd, style), 2
    ground = survey(world, (shape[0] * fold, shape[1] * fold), gsd / fold)
    return find_truth(ground, fold, _smallest(gsd))[0]


@dataclass(frozen=True, slots=True)
class _View:
    """How a landscape is looked at."""

    seed: int
    style: str
    grid: GeoBox
    gsd: float
    fold: int
    bands: str
    clouds: float
    dates: np.ndarray
    names: tuple[str, ...]
    """Of the dates."""


def _check(shape: tuple[int, int], gsd: float, bands: str, clouds: float, years: int) -> None:
    if bands not in ("s2", "rgb"):
        raise UnknownName.among("set of bands", bands, ("s2", "rgb"))
    if min(shape) < 8 or not 0.1 <= gsd <= 60 or not 0 <= clouds <= 1 or years not in (1, 2):
        raise BadInput(
            f"A landscape of {shape} pixels of {gsd} m, clouds {clouds}, {years} years was asked "
            "for; wanted are 8 px or more, 0.1 to 60 m, clouds 0 to 1, years 1 or 2."
        )


def _given_days(days: Sequence[float], bands: str) -> np.ndarray:
    """Return the days of a user, (date,) float64.

    Raises
    ------
    BadInput
        If there are none, one is no day of a year, two are the same, or the image is one of a day.
    """
    dates = np.array(days, np.float64)
    if bands != "s2":
        raise BadInput("Days were given for an aerial photograph: leave them out, or bands='s2'.")
    if not len(dates) or not ((dates >= 1) & (dates <= 366)).all():
        raise BadInput(f"The days {list(days)} were given; wanted are one or more from 1 to 366.")
    if len(np.unique(dates.round())) < len(dates):
        raise BadInput(f"The days {list(days)} were given; wanted is each but once.")
    return dates


def _smallest(gsd: float) -> int:
    """Return how many pixels a field has at least: 300 m2."""
    return max(4, round(300 / gsd**2))


def _make_world(seed: int, shape: tuple[int, int], gsd: float, style: str) -> LandscapeCover:
    rng = np.random.default_rng([seed, 1])
    row = style_index(style)
    textures, table = make_textures(rng), style_table(rng)
    warp = table[row, 18] if row >= 0 else np.exp(rng.uniform(np.log(15), np.log(220)))
    straight = warp < 40
    river = rng.uniform(8, 90) if rng.random() < 0.45 else 0.0
    stream = rng.uniform(0.7, 3.0) if rng.random() < 0.85 else 0.0
    if row >= 0 and table[row, YARDS] > 0:
        stream *= 1 + table[row, BANKS] / 6  # creeks, canals and tanks
    ragged, density = rng.uniform(0.15, 0.7), rng.exponential(0.7)
    ox, oy = rng.uniform(0, 50_000, 2)
    numbers = np.array(
        [warp, 3.0 if straight else rng.uniform(6, 16), river, stream, ragged, ox, oy, density]
    )
    salt = int(rng.integers(1, 2**62))
    tree = grow(salt, table, row, (shape[0] * gsd, shape[1] * gsd), 4 * warp + 60)
    return LandscapeCover(tree, table, textures, numbers, np.uint64(salt))


def _draw_dates(rng: np.random.Generator, bands: str) -> np.ndarray:
    """Draw a day in summer, or two days of one growing season."""
    if bands == "rgb":
        return np.array([rng.uniform(150, 265)])
    first = rng.uniform(92, 195)
    pair = np.array([first, min(first + rng.uniform(30, 95), 275)])
    return pair[::-1].copy() if rng.random() < 0.35 else pair


def _photograph(world: LandscapeCover, view: _View, year: int) -> Landscape:
    """Take the images and the truth of one year."""
    shape = tuple(view.grid.shape)
    ground = survey(world, (shape[0] * view.fold, shape[1] * view.fold), view.gsd / view.fold)
    season = make_season(world, view.dates, np.random.default_rng([view.seed, 3]), year)
    rng = np.random.default_rng([view.seed, 4, year])
    image, scl = _expose(world, ground, season, view, rng)
    ids, key_of, cover = find_truth(ground, view.fold, _smallest(view.gsd))
    instances = Instances(ids, view.grid, _table(world, season, ids, key_of, view.gsd))
    labels = class_labels(instances)
    return Landscape(
        image,
        labels,
        instances,
        LabelMap(cover, view.grid, COVER),
        scl,
        tuple(float(d) for d in view.dates),
        view.seed,
        view.style,
    )


def _expose(
    world: LandscapeCover, ground: Ground, season: Phenology, view: _View, rng: np.random.Generator
) -> tuple[Raster, Raster | None]:
    count = 3 if view.bands == "rgb" else 4
    azimuth = np.deg2rad(rng.uniform(120, 200))
    sun = float(azimuth), float(np.deg2rad(rng.uniform(38, 62)))
    light = render(world, ground, season, view.fold, count, sun, rng)
    values, classes = [], []
    for k in range(len(view.dates)):
        date = light[k * count : (k + 1) * count]
        date = sensor.air(date, rng, rng.uniform(0, 0.9))
        date, scl = add_clouds(date, view.gsd, view.clouds, sun, rng)
        if view.bands == "rgb":
            date = sensor.noise(
                sensor.spread(date, rng.uniform(0.3, 0.6), (0.0, 0.0)),
                rng,
                rng.uniform(0.01, 0.05),
                0.001,
            )
            values.append(sensor.to_aerial(date, rng))
        else:
            shift = rng.normal(0, 0.15, 2)
            date = sensor.noise(
                sensor.spread(date, rng.uniform(0.48, 0.66), (shift[0], shift[1])),
                rng,
                rng.uniform(0.006, 0.015),
                0.0008,
            )
            values.append(sensor.to_sentinel(date))
        classes.append(scl)
    names = (
        RGB_BANDS
        if view.bands == "rgb"
        else tuple(f"{date}:{band}" for date in view.names for band in COLOURS)
    )
    image = Raster(np.concatenate(values), view.grid, names)
    if view.clouds <= 0:
        return image, None
    scl_names = tuple(f"{date}:scl" for date in view.names)[: len(classes)]
    return image, Raster(np.stack(classes), view.grid, scl_names)


def _table(
    world: LandscapeCover, season: Phenology, ids: np.ndarray, key_of: np.ndarray, gsd: float
) -> pd.DataFrame:
    leaf, part = (key_of[1:] - 1) // SUBS, (key_of[1:] - 1) % SUBS
    area = np.bincount(ids.ravel(), minlength=len(key_of))[1:] * gsd**2
    return pd.DataFrame(
        {
            "id": np.arange(1, len(key_of), dtype=np.int64),
            "class": pd.array(["field"] * len(leaf), dtype="string"),
            "score": np.ones(len(leaf), np.float32),
            "crop": pd.array(np.array(CROP_NAMES)[season.crops[leaf, part % 2]], dtype="string"),
            "style": pd.array(
                np.array(NAMES)[world.tree.leaves[leaf, 6].astype(int)], dtype="string"
            ),
            "area_m2": area.astype(np.float64),
        }
    )
