"""Which bands are which where nothing says so: common orders, weighed by the values themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ORDERS = {
    3: (("red", "green", "blue"),),
    4: (
        ("red", "green", "blue", "nir"),
        ("blue", "green", "red", "nir"),
        ("nir", "red", "green", "blue"),
    ),
}
"""Orders of one date, the usual one first."""
SUPERDOVE = ("coastal", "blue", "green1", "green", "yellow", "red", "rededge", "nir")
SENTINEL = (*(f"B{k:02}" for k in range(1, 9)), "B8A", "B09", "B10", "B11", "B12")
STACKS = {
    8: (SUPERDOVE,),
    10: (tuple(name for name in SENTINEL if name not in ("B01", "B09", "B10")),),
    12: (tuple(name for name in SENTINEL if name != "B10"),),
    13: (tuple(SENTINEL),),
}
"""Orders of whole products of one date."""
CAMERAS = {
    5: ("blue", "green", "red", "rededge", "nir"),
    6: ("blue", "green", "red", "nir", "swir1", "swir2"),
    7: ("coastal", "blue", "green", "red", "nir", "swir1", "swir2"),
    11: tuple(name for name in SENTINEL if name not in ("B09", "B10")),
}
"""Orders that are usual, and that no values confirm: of cameras with a red edge, of Landsat."""
CLEAR = 0.15
"""By so much another order has to fit better than the usual one."""
GREEN, GREENEST = 0.01, 0.05
"""Shares of vegetation that each date, and the greenest one, has to show another near infrared."""
SOIL = 50
"""Pixels of bare soil from which they tell red from blue."""
WHITE, PLANTS = 3500.0, 0.7
"""Digital numbers from which ground is white, and the normalised difference of plants."""
REDDER = 0.9
"""Share of them that is redder than blue, where the bands are what they are called."""
_COLOUR = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}


def orders_of(count: int) -> list[tuple[str, ...]]:
    """Return the orders that so many bands may have, the usual first; names as ``1:red``."""
    found: list[tuple[str, ...]] = []
    if count in ORDERS:
        found += list(ORDERS[count])
    if count == 8:
        for one in ORDERS[4]:
            found.append(tuple(f"{date}:{name}" for date in (1, 2) for name in one))
        for one in ORDERS[4]:
            found.append(tuple(f"{date}:{name}" for name in one for date in (1, 2)))
    return found + list(STACKS.get(count, ()))


def _dated(order: tuple[str, ...], sample: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return date -> colour -> numbers."""
    dates: dict[str, dict[str, np.ndarray]] = {}
    for name, values in zip(order, sample, strict=True):
        date, _, colour = name.rpartition(":")
        dates.setdefault(date, {})[_COLOUR.get(colour, colour)] = values
    return dates


def fit_of(order: tuple[str, ...], sample: np.ndarray) -> float:
    """Say how well an order fits a sample of (band, n) numbers; the mean over its dates.

    Vegetation reflects the near infrared, which goes its own way; the visible bands go together;
    soils are redder than blue; and bands of one date go together more than those of two.
    """
    with np.errstate(all="ignore"):  # numbers whose squares no float holds agree with none
        return float(np.mean([_fit(bands) for bands in _dated(order, sample).values()]))


def _fit(bands: dict[str, np.ndarray]) -> float:
    red, green, blue = (bands[name] for name in ("red", "green", "blue"))
    score = _together(red, green) + _together(green, blue)
    level = float(green.mean()) or 1.0
    score += float(np.tanh(4 * (red.mean() - blue.mean()) / abs(level)))
    if (nir := bands.get("nir")) is not None:
        score -= (_together(nir, red) + _together(nir, green)) / 2
        index = (nir - red) / np.maximum(np.abs(nir) + np.abs(red), 1e-9)
        score += float(np.clip(np.mean(index > 0.2) - np.mean(index < -0.2), -1, 1))
    return score


def _together(one: np.ndarray, other: np.ndarray) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def best_order(sample: np.ndarray) -> tuple[tuple[str, ...], bool]:
    """Return the order that bands have, and whether it is unmistakably another than the usual one.

    Empty where so many bands have no common order.  Another one is taken only where it fits better
    and its signs are there: vegetation for a near infrared elsewhere, bare soil for blue first.
    """
    orders = orders_of(len(sample))
    if not orders or sample.shape[1] < 100:
        return (), False
    fits = [fit_of(order, sample) for order in orders]
    for k in np.argsort(fits)[::-1].tolist():
        if fits[k] - fits[0] < CLEAR:
            break
        if _is_unmistakable(orders[k], orders[0], sample):
            return orders[k], True
    return orders[0], False


def likely_order(sample: np.ndarray) -> tuple[str, ...]:
    """Return the order that bands have most likely, for a picture; empty where there is none.

    Unlike :func:`best_order` it may be wrong: nothing is concluded from it.

    Parameters
    ----------
    sample : (band, n) ndarray
        Of no pixels: the usual order.
    """
    count = len(sample)
    orders = orders_of(count) or [CAMERAS.get(count, ())]
    if not orders[0] and count % 4 == 0 and count:
        each = likely_order(sample[:4])
        return tuple(f"{date}:{name}" for date in range(1, count // 4 + 1) for name in each)
    if sample.shape[1] < 100 or len(orders) == 1:
        return orders[0]
    fits = [fit_of(order, sample) for order in orders]
    best = int(np.argmax(fits))
    return orders[best] if fits[best] - fits[0] >= CLEAR else orders[0]


def _is_unmistakable(order: tuple[str, ...], usual: tuple[str, ...], sample: np.ndarray) -> bool:
    dates, others = _dated(order, sample), _dated(usual, sample)
    greens = [_greenness(bands) for bands in dates.values()]
    if min(greens) < GREEN or max(greens) < GREENEST:
        return False
    if _places(order, "nir") != _places(usual, "nir"):
        now = [_greenness(bands) for bands in others.values()]
        if min(now) > min(greens) / 2:
            return False
    if all(
        red < blue for red, blue in zip(_places(order, "red"), _places(order, "blue"), strict=True)
    ):
        return True
    redder = [share for bands in dates.values() if (share := _redness(bands)) is not None]
    return bool(redder) and min(redder) >= REDDER


def _places(order: tuple[str, ...], colour: str) -> list[int]:
    names = [name.rpartition(":")[2] for name in order]
    return [k for k, name in enumerate(names) if _COLOUR.get(name, name) == colour]


def _greenness(bands: dict[str, np.ndarray]) -> float:
    """Return the share of vegetation: greener than red, and far brighter in near infrared.

    Water whose bands are reversed is bright in what is called near infrared, and not greener.
    """
    nir, seen = bands["nir"], np.maximum(bands["red"], bands["green"])
    bright = (nir - seen) / np.maximum(np.abs(nir) + np.abs(seen), 1e-9) > 0.3
    return float(np.mean(bright & (bands["green"] > bands["red"])))


def is_bluer(bands: Mapping[str | None, np.ndarray]) -> bool:
    """Whether bare soil is bluer than red, so that the two are exchanged.

    Parameters
    ----------
    bands : mapping
        ``"red"``, ``"green"``, ``"blue"`` and ``"nir"`` -> (n,) digital numbers.  White ground
        (clouds, snow) and plants that are bluer than green (haze) tell nothing.
    """
    seen = np.stack([bands[name] for name in ("red", "green", "blue")])
    dull = seen.max(0) < WHITE
    rest = {str(name): values[dull] for name, values in bands.items()}
    if dull.sum() < SOIL:
        return False
    plants = (rest["nir"] - rest["red"]) > PLANTS * np.abs(rest["nir"] + rest["red"])
    if plants.any() and np.median(rest["blue"][plants]) > np.median(rest["green"][plants]):
        return False
    redder = _redness(rest)
    return redder is not None and redder <= 1 - REDDER


def _redness(bands: dict[str, np.ndarray]) -> float | None:
    """Return the share of bare soil that is redder than blue; None where there is too little.

    Bare soil is bright, and a little brighter in near infrared: neither vegetation nor water.
    """
    seen = np.stack([bands[name] for name in ("red", "green", "blue")])
    total, gap = seen.sum(0), bands["nir"] - seen.max(0)
    spread = float(np.subtract(*np.percentile(bands["nir"], [95, 5])))
    soil = (total >= np.percentile(total, 80)) & (gap > 0) & (gap < spread / 4)
    if soil.sum() < SOIL:
        return None
    return float(np.mean(bands["red"][soil] > bands["blue"][soil]))
