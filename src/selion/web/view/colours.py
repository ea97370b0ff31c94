"""Which bands of an image are red, green, blue and near infrared, date by date.

As for a map (:mod:`selion.prediction.band_meanings`, :mod:`selion.prediction.band_orders`): names
say it best, wavelengths next; where neither says anything, the order that files of so many bands
mostly have, or the one that the values speak for.  A picture may guess where a map may not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from selion.prediction.band_meanings import RGB, DateColours, by_date, readings
from selion.prediction.band_names import read_names, with_dates
from selion.prediction.band_orders import likely_order

GUESSED = "from the order and the values of the bands, as their names do not say"
ORDERED = "from bands 1, 2 and 3, as their names do not say which are red, green and blue"

Glimpse = Callable[[], np.ndarray]
"""Read some pixels of all bands: (band, pixel) float."""


def find_colours(names: Sequence[str], glimpse: Glimpse | None = None) -> tuple[DateColours, ...]:
    """Find the bands of each date.

    Parameters
    ----------
    names : sequence of str
        Of the bands.
    glimpse : callable, optional
        Called only where names and wavelengths say nothing; without it the usual order counts.

    Returns
    -------
    tuple of DateColours
        Those with red, green and blue at least; none where there are fewer than three bands.
    """
    for meant in readings(names):
        found = by_date(with_dates(meant))
        if found:
            return found
    return by_order(len(names), glimpse) if len(names) >= len(RGB) else ()


def by_order(count: int, glimpse: Glimpse | None) -> tuple[DateColours, ...]:
    """Take the order that files of so many bands mostly have, and let the values correct it."""
    seen = glimpse() if glimpse is not None and count > len(RGB) else np.zeros((count, 0))
    order = likely_order(seen)
    note = GUESSED if order and count > len(RGB) else ORDERED
    found = by_date(with_dates(read_names(order or RGB)))
    return tuple(DateColours(date.date, date.bands, note) for date in found)
