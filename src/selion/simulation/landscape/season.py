"""What grows, and what colour it has on a given day.

Phenology and reflectance at red, green, blue and near infrared.

A pixel of cropland is a mixture of green leaves, dead leaves or straw, and bare soil.  The curves
follow the calendar of the northern mid-latitudes; a landscape shifts them as a whole, which stands
for other climates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.simulation.landscape.cover import LandscapeCover
from selion.simulation.landscape.parcels import HALF_LENGTH, HALF_WIDTH, STYLE
from selion.simulation.landscape.styles import YARDS

# Reflectance at red, green, blue, near infrared (Sentinel-2 B04, B03, B02, B08), after common
# spectral libraries, rounded.
SOILS = np.array(
    [
        [0.152, 0.128, 0.092, 0.232],  # loam
        [0.215, 0.190, 0.145, 0.300],  # pale sand
        [0.078, 0.070, 0.058, 0.122],  # dark, chernozem and peat
        [0.195, 0.122, 0.078, 0.275],  # red
        [0.190, 0.180, 0.150, 0.262],  # grey, chalky
    ]
)
WARM_SOILS = np.array(
    [
        [0.235, 0.140, 0.085, 0.300],  # laterite
        [0.285, 0.220, 0.150, 0.370],  # ochre sand
        [0.170, 0.140, 0.108, 0.240],  # alluvium
        [0.098, 0.090, 0.080, 0.145],  # black cotton soil
        [0.270, 0.250, 0.215, 0.330],  # salt and silt
    ]
)
"""Soils of the styles with yards of earth."""
DRY = np.array([0.182, 0.160, 0.116, 0.312])
"""Straw and ripe cereals."""
DEAD_GRASS = np.array([0.150, 0.128, 0.085, 0.270])
BLOSSOM = np.array([0.125, 0.165, 0.035, 0.480])
"""Rapeseed in flower."""
FLOOD = np.array([0.060, 0.070, 0.060, 0.050])
"""Paddies under water."""

# name, green spectrum, then days of the year: sown, closed canopy, first yellow, harvested;
# greenness of the closed canopy.
CROPS: tuple[
    tuple[str, tuple[float, float, float, float], tuple[int, int, int, int], float], ...
] = (
    ("winter cereal", (0.026, 0.055, 0.023, 0.440), (-60, 105, 166, 205), 0.97),
    ("spring cereal", (0.030, 0.062, 0.026, 0.430), (98, 150, 188, 222), 0.95),
    ("rapeseed", (0.032, 0.070, 0.026, 0.500), (-80, 95, 165, 200), 0.97),
    ("maize", (0.026, 0.056, 0.022, 0.410), (128, 186, 248, 275), 0.97),
    ("roots", (0.028, 0.068, 0.024, 0.560), (108, 172, 275, 295), 0.97),
    ("soybean", (0.026, 0.066, 0.024, 0.520), (135, 196, 244, 270), 0.97),
    ("sunflower", (0.036, 0.068, 0.026, 0.430), (112, 170, 222, 258), 0.92),
    ("legumes", (0.034, 0.074, 0.030, 0.420), (85, 140, 178, 205), 0.92),
    ("rice", (0.026, 0.058, 0.026, 0.400), (135, 200, 242, 270), 0.95),
    ("alfalfa", (0.030, 0.068, 0.026, 0.500), (-200, 80, 330, 400), 0.93),
    ("grass", (0.040, 0.076, 0.030, 0.410), (-200, 85, 330, 400), 0.92),
    ("pasture", (0.052, 0.086, 0.038, 0.360), (-200, 95, 330, 400), 0.84),
    ("fallow", (0.060, 0.082, 0.045, 0.320), (60, 140, 190, 400), 0.50),
    ("vegetables", (0.040, 0.082, 0.034, 0.420), (90, 150, 230, 240), 0.70),
)
CROP_NAMES = tuple(crop[0] for crop in CROPS)
_GRASSY = np.array([name in ("alfalfa", "grass", "pasture") for name in CROP_NAMES])
# Relative frequency per style: smallholder, europe, prairie, pivots, bocage, hamlets, delta,
# estate.
_MIX = np.array(
    [
        [8, 5, 1, 14, 4, 5, 2, 10, 14, 2, 0, 0, 8, 14],
        [30, 10, 9, 17, 6, 2, 3, 3, 0, 0, 0, 0, 4, 2],
        [10, 5, 2, 34, 1, 34, 2, 1, 0, 0, 0, 0, 4, 0],
        [14, 4, 2, 24, 8, 12, 2, 4, 0, 10, 0, 0, 12, 2],
        [26, 10, 7, 24, 5, 0, 2, 5, 0, 0, 0, 0, 3, 2],
        [8, 4, 1, 14, 5, 4, 2, 12, 5, 2, 0, 0, 16, 16],
        [3, 2, 1, 6, 4, 3, 1, 6, 42, 1, 0, 0, 10, 10],
        [34, 8, 12, 14, 8, 2, 4, 3, 0, 2, 0, 0, 3, 0],
    ],
    np.float64,
)
VARIANTS = 3
"""A leaf's own crop; the crop of its odd strips or sectors; its own crop where the work is not done
yet."""


@dataclass(frozen=True, eq=False, slots=True)
class Phenology:
    """The state of every leaf at each date."""

    crops: np.ndarray
    """(leaf, 2) int16: index of the crop of even and of odd parts."""
    greenness: np.ndarray
    """(leaf, variant, date) float32: share of green leaves."""
    spectra: np.ndarray
    """(leaf, variant, date, 8) float32: green reflectance, then that of what lies between the
    leaves, both at r, g, b, nir."""
    texture: np.ndarray
    """(leaf, 8) float32: patches, rows, tramline spacing (m), strip width (m), strip strength,
    gradient along, across, unfinished share."""
    soil: np.ndarray
    """(4,) float32: the landscape's soil."""
    dryness: np.ndarray
    """(date,) float32: how yellow natural grass is, 0 to 1."""


def uniforms(keys: np.ndarray, salt: int) -> np.ndarray:
    """Return one number in [0, 1) per key.

    The array form of :func:`selion.simulation.landscape.noise.uniform`.
    """
    with np.errstate(over="ignore"):
        z = keys + np.uint64(0x9E3779B97F4A7C15) * np.uint64(salt + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 9007199254740992.0


def _normals(keys: np.ndarray, salt: int) -> np.ndarray:
    return (
        np.asarray(sum(uniforms(keys, 4 * salt + k) for k in range(5000, 5004)) - 2.0) * 1.7320508
    )


def draw_crops(world: LandscapeCover, shares: np.ndarray, salt: int = 0) -> np.ndarray:
    """Return the crop of the even and odd parts of each leaf, (leaf, 2) int16.

    One in six takes its neighbour's.
    """
    tree = world.tree
    keys = tree.keys[tree.groups].copy()
    style = tree.leaves[:, STYLE].astype(int)
    low, high = tree.children[:, 0], tree.children[:, 1]
    pairs = (low < 0) & (high < 0)
    one, two = -low[pairs] - 1, -high[pairs] - 1
    alike = uniforms(keys[one], 900) < 0.17
    keys[two[alike]] = keys[one[alike]]
    mix = _MIX[style] * shares
    mix = mix / mix.sum(1, keepdims=True)
    grass = world.table[style, 20]
    out = np.empty((len(keys), 2), np.int16)
    for part in range(2):
        drawn = (uniforms(keys, 910 + part + 17 * salt)[:, None] > np.cumsum(mix, 1)).sum(1)
        meadow = np.where(
            uniforms(keys, 912 + part) < 0.6, CROP_NAMES.index("grass"), CROP_NAMES.index("pasture")
        )
        out[:, part] = np.where(
            uniforms(keys, 914 + part) < grass, meadow, np.minimum(drawn, len(CROPS) - 1)
        )
    return out


def make_season(
    world: LandscapeCover, dates: np.ndarray, rng: np.random.Generator, year: int = 0
) -> Phenology:
    """Let a season pass over a landscape.

    Parameters
    ----------
    world : LandscapeCover
    dates : (date,) float ndarray
        Days of the year of the images.
    rng : numpy.random.Generator
        Draws what the whole landscape shares.
    year : int
        Another year, another crop on most fields.

    Returns
    -------
    Phenology
    """
    shares = rng.gamma(1.4, 1.0, len(CROPS)) + 0.05
    crops = draw_crops(world, shares, year)
    keys = world.tree.keys[world.tree.groups]
    soil = np.average(
        SOILS, axis=0, weights=rng.dirichlet(np.full(len(SOILS), 0.35))
    ) * rng.uniform(0.8, 1.15)
    if world.table[world.tree.leaves[:, STYLE].astype(int), YARDS].any():
        warm = np.random.default_rng([int(world.salt), 3])
        soil = warm.dirichlet(np.full(len(WARM_SOILS), 0.4)) @ WARM_SOILS * warm.uniform(0.8, 1.15)
    tint = np.exp(rng.normal(0, 0.06, (len(CROPS), 4)))
    tilled = rng.uniform(0.2, 0.9)
    greenness = np.empty((len(keys), VARIANTS, len(dates)), np.float32)
    spectra = np.empty((len(keys), VARIANTS, len(dates), 8), np.float32)
    for variant in range(VARIANTS):
        kinds = crops[:, 1 if variant == 1 else 0]
        for k, day in enumerate(dates):
            salt = 100 * variant if variant == 1 else 0
            shifted = (
                day + 10.0 * _normals(keys, 930 + salt + 31 * year) - (9.0 if variant == 2 else 0.0)
            )
            if variant == 2:
                shifted = np.where(uniforms(keys, 940) < 0.5, shifted, shifted - 16.0)
            green, dry, own = _grow_crop(kinds, shifted, keys, salt, k, tilled)
            greenness[:, variant, k] = green
            spectra[:, variant, k, :4] = (
                own
                * tint[kinds]
                * np.exp(0.07 * _normals(keys, 950 + salt))[:, None]
                * np.exp(0.035 * np.stack([_normals(keys, 951 + b) for b in range(4)], 1))
            )
            spectra[:, variant, k, 4:] = _ground(keys, soil, dry, kinds, salt, k)
    dryness = np.clip((dates - 120) / 140, 0, 1) * rng.uniform(0.05, 0.95) * np.ones(len(dates))
    return Phenology(
        crops,
        greenness,
        spectra,
        _field_texture(world, keys),
        soil.astype(np.float32),
        dryness.astype(np.float32),
    )


def _ramp(day: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    t = np.clip((day - start) / np.maximum(end - start, 1.0), 0, 1)
    return t * t * (3 - 2 * t)


def _grow_crop(
    kinds: np.ndarray, day: np.ndarray, keys: np.ndarray, salt: int, date: int, tilled: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the green share, the share of dry matter on the rest, and the green spectrum.

    The spectrum is (leaf, 4).
    """
    spectra = np.array([crop[1] for crop in CROPS])[kinds]
    sown, closed, yellow, cut = np.array([crop[2] for crop in CROPS], np.float64)[kinds].T
    peak = np.array([crop[3] for crop in CROPS])[kinds]
    vigour = np.clip(1 - 0.09 * np.abs(_normals(keys, 960 + salt)), 0.5, 1)
    green = peak * vigour * _ramp(day, sown, closed) * (1 - _ramp(day, yellow, cut - 6))
    dry = np.where(day > cut, 0.75, 0.95 * _ramp(day, yellow - 5, cut - 12))
    worked = (day > cut + 6 + 30 * uniforms(keys, 961 + salt)) & (
        uniforms(keys, 962 + salt) < tilled
    )
    dry = np.where(worked, 0.12 + 0.25 * uniforms(keys, 963 + salt), dry)
    catch = (day > cut + 30) & (uniforms(keys, 964 + salt) < 0.35)
    green = np.where(catch, 0.7 * _ramp(day, cut + 20, cut + 60), green)
    dry = np.where(day < sown, 0.25 * uniforms(keys, 965 + salt), dry)
    weeds = np.where(
        (day < sown) & (uniforms(keys, 966 + salt) < 0.3), 0.5 * uniforms(keys, 967 + salt), 0.03
    )
    green = np.maximum(green, weeds)
    # Meadows and alfalfa: mown a random time ago, growing back within five weeks; by date, because
    # two dates see two cuts.
    age = uniforms(keys, 970 + salt + date)
    mown = 0.42 + 0.58 * np.clip(age * 1.9, 0, 1)
    grassy = _GRASSY[kinds]
    green = np.where(grassy, peak * vigour * mown, green)
    dry = np.where(grassy, 0.7, dry)
    flower = (kinds == CROP_NAMES.index("rapeseed")) & (np.abs(day - 128) < 15)
    spectra = np.where(flower[:, None], BLOSSOM, spectra)
    flooded = (kinds == CROP_NAMES.index("rice")) & (day > 112) & (day < 158)
    spectra = np.where(flooded[:, None], FLOOD, spectra)
    return np.where(flooded, 0.9, green).clip(0, 0.99), dry, spectra


def _ground(
    keys: np.ndarray, soil: np.ndarray, dry: np.ndarray, kinds: np.ndarray, salt: int, date: int
) -> np.ndarray:
    """Return the reflectance between the green leaves, (leaf, 4).

    Soil, drier or wetter, and dead matter.
    """
    moisture = np.exp(0.20 * _normals(keys, 980 + salt + date) + 0.10 * _normals(keys, 984 + salt))
    hue = np.exp(0.025 * np.stack([_normals(keys, 986 + b) for b in range(4)], 1))
    straw = (
        np.where(_GRASSY[kinds][:, None], DEAD_GRASS, DRY)
        * np.exp(0.13 * _normals(keys, 992 + salt))[:, None]
    )
    return (1 - dry)[:, None] * soil * moisture[:, None] * hue + dry[:, None] * straw


def _field_texture(world: LandscapeCover, keys: np.ndarray) -> np.ndarray:
    """Return (leaf, 8) float32, see Season.texture."""
    leaves = world.tree.leaves
    big = np.minimum(leaves[:, HALF_LENGTH], leaves[:, HALF_WIDTH]) > 25
    u = [uniforms(keys, 820 + k) for k in range(12)]
    # Small plots are worked by hand: nothing is even, ridges are wide.
    uneven = 1.0 + world.table[leaves[:, STYLE].astype(int), YARDS]
    patches = (0.012 + 0.13 * u[0] ** 3) * uneven
    rows = (0.008 + 0.05 * u[1] ** 3) * uneven
    tram = np.where((u[2] < 0.4) & big, 18.0 + np.floor(3 * u[3]) * 9.0, 0.0)
    width = np.where((u[4] < 0.25) & big, 12.0 + 36 * u[5], 0.0)
    strength = 0.03 + 0.09 * u[6] ** 2
    along, across = 0.16 * (u[7] - 0.5) * u[8], 0.16 * (u[8] - 0.5) * u[7]
    unfinished = np.where((u[9] < 0.06) & big, 0.15 + 0.7 * u[10], 0.0)
    return np.stack([patches, rows, tram, width, strength, along, across, unfinished], 1).astype(
        np.float32
    )


__all__ = ["CROPS", "CROP_NAMES", "Phenology", "make_season"]
