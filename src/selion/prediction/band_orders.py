"""Which bands are which where nothing says so: common orders, weighed by the values themselves."""

from __future__ import annotations

import numpy as np

ORDERS = {
    3: (("red", "green", "blue"), ("blue", "green", "red")),
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
CLEAR = 0.15
"""By so much another order has to fit better than the usual one."""
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


def fit_of(order: tuple[str, ...], sample: np.ndarray) -> float:
    """Say how well an order fits a sample of (band, n) numbers; the mean over its dates.

    Vegetation reflects the near infrared, which goes its own way; the visible bands go together;
    soils are redder than blue; and bands of one date go together more than those of two.
    """
    dates: dict[str, dict[str, np.ndarray]] = {}
    for name, values in zip(order, sample, strict=True):
        date, _, colour = name.rpartition(":")
        dates.setdefault(date, {})[_COLOUR.get(colour, colour)] = values
    return float(np.mean([_fit(bands) for bands in dates.values()]))


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
    """Return the order that fits best, and whether it is clearly another than the usual one.

    Empty where so many bands have no common order.
    """
    orders = orders_of(len(sample))
    if not orders or sample.shape[1] < 100:
        return (), False
    fits = [fit_of(order, sample) for order in orders]
    best = int(np.argmax(fits))
    if best == 0 or fits[best] - fits[0] < CLEAR:
        return orders[0], False
    return orders[best], True
