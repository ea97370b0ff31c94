"""Sample: an image with its truth, one of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from selion.labels import Instances, LabelMap
from selion.raster import Source


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One image and what is known of it."""

    key: str
    """Name, unique in its dataset."""
    image: Source
    labels: LabelMap | None = None
    """Classes per pixel, 255 not known; None if there are none."""
    instances: Instances | None = None
    """Objects; None if there are none."""
    group: str = ""
    """Country, species, site: what scores are averaged over."""
    split: str = ""

    @property
    def ignore(self) -> np.ndarray | None:
        """(y, x) bool: pixels whose truth is not known; None if all are."""
        if self.labels is None:
            return None
        unknown = self.labels.ids == 255
        return unknown if unknown.any() else None


@runtime_checkable
class KeyedSamples(Protocol):
    """Samples whose names are known without opening them: a dataset, or several."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the samples, in their order."""
        ...


def known_keys(samples: Sequence[Sample]) -> tuple[str, ...] | None:
    """Return the names of samples if none has to be opened for it, else None."""
    return samples.keys if isinstance(samples, KeyedSamples) else None
