"""What is known of a model from photographs with masks that it had not seen.

How wide its interval of cover has to be to hold the truth, and what those photographs looked like.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from selion.closerange.cover import Cover
from selion.errors import BadInput, UnreadableFile, counted

FILE = "photographs.json"
"""Beside a model's card, and named by it."""
TAIL = 0.05
"""What the interval may miss on either side: it is a 90 % interval."""
FLOOR = 0.02
"""Cover by which a model's own interval is widened on either side before it is stretched: where it
has no doubt at all there would be nothing to stretch."""
LEAST = math.ceil(1 / TAIL) - 1
"""Photographs below which no order statistic bounds a tail of that size."""
_WORDS = {
    "brightness": ("brightness", "{:.0f}"),
    "red_green": ("red against green", "{:+.2f} stops"),
    "blue_green": ("blue against green", "{:+.2f} stops"),
    "noise": ("noise", "{:.1%}"),
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a model does on photographs that it had not seen."""

    below: float
    """The lower half of the model's own interval, with :attr:`floor`, is stretched by this."""
    above: float
    """The upper half likewise."""
    floor: float = FLOOR
    photographs: int = 0
    """On how many it was fitted."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """What they looked like: lowest and highest of what
    :func:`selion.closerange.quality.appearance` measures."""
    gsd: tuple[float, float] | None = None
    """Finest and coarsest millimetres a pixel at which the model keeps its accuracy; None: not
    known."""

    def interval(self, cover: Cover) -> Cover:
        """Return the cover with an interval that holds the truth nine times in ten."""
        low = cover.cover - self.below * (self.floor + cover.cover - cover.low)
        high = cover.cover + self.above * (self.floor + cover.high - cover.cover)
        if math.isnan(cover.cover):
            return cover
        return replace(cover, low=max(0.0, low), high=min(1.0, high))

    def unlike(self, looks: Mapping[str, float]) -> str:
        """Say in what a photograph is unlike those the model was measured on; empty: in nothing."""
        found = strange_looks(looks, self.ranges)
        return f"unlike the photographs it was measured on ({', '.join(found)})" if found else ""


def strange_looks(
    looks: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]
) -> list[str]:
    """Say each look that lies outside of its range, and the range."""
    found = []
    for name, (low, high) in ranges.items():
        value = looks.get(name, math.nan)
        if name in _WORDS and (value < low or value > high):
            words, form = _WORDS[name]
            here, least, most = (form.format(number) for number in (value, low, high))
            found.append(f"{words} {here}; there {least} to {most}")
    return found


def score_of(cover: Cover, truth: float, floor: float = FLOOR) -> float:
    """Return by how much an interval has to be stretched to reach the truth.

    Negative where the truth lies below the cover.
    """
    if truth >= cover.cover:
        return (truth - cover.cover) / (floor + cover.high - cover.cover)
    return -(cover.cover - truth) / (floor + cover.cover - cover.low)


def fit_interval(
    covers: Sequence[Cover],
    truths: Sequence[float],
    sources: Sequence[str] | None = None,
    *,
    floor: float = FLOOR,
    base: Calibration | None = None,
) -> Calibration:
    """Fit a calibration on photographs with masks that the model has not seen.

    Parameters
    ----------
    covers : sequence of Cover
        The model's own, see :func:`selion.closerange.cover.measure_cover`.
    truths : sequence of float
        Cover of the masks, 0 to 1.
    sources : sequence of str, optional
        Where each comes from (trial, camera, crop); the source that needs the widest interval then
        decides.
    floor : float
        See :attr:`Calibration.floor`.
    base : Calibration, optional
        What was known before.  Fewer than 19 photographs can only widen it.

    Returns
    -------
    Calibration

    Raises
    ------
    BadInput
        If there are fewer than 19 photographs and nothing was known before.

    Notes
    -----
    Split conformal prediction with a score for each side: Lei et al., "Distribution-free predictive
    inference for regression", Journal of the American Statistical Association 113, 2018; the order
    statistic ceil((n + 1) (1 - tail)) of the scores bounds a tail for exchangeable photographs
    whatever their distribution.  With sources, each is bounded by itself (Vovk, Gammerman and
    Shafer, "Algorithmic learning in a random world", 2005, 4.5: Mondrian predictors) and the widest
    is taken, so that what was fitted holds for each.  A new source is exchangeable with none of
    them: what holds there is measured by leaving each source out, not proven.
    """
    if len(covers) < LEAST and base is None:
        raise BadInput(
            f"{len(covers)} photographs with masks were given to calibrate on; wanted are {LEAST} "
            "or more, for fewer leave 5 % on either side to chance."
        )
    floor = base.floor if base is not None else floor
    scores = np.array([score_of(c, t, floor) for c, t in zip(covers, truths, strict=True)])
    if len(covers) < LEAST and base is not None:
        return replace(
            base,
            above=float(max(base.above, scores.max(initial=0))),
            below=float(max(base.below, -scores.min(initial=0))),
            photographs=base.photographs + len(covers),
        )
    which = np.zeros(len(scores), int)
    if sources is not None:
        which = np.unique(np.array(sources), return_inverse=True)[1]
    apart = [scores[which == source] for source in range(which.max() + 1)]
    return replace(
        base or Calibration(0.0, 0.0, floor),
        below=max(0.0, *(_quantile(-own) for own in apart)),
        above=max(0.0, *(_quantile(own) for own in apart)),
        photographs=len(scores),
    )


def fit_over_sources(
    covers: Sequence[Cover],
    truths: Sequence[float],
    sources: Sequence[str],
    *,
    floor: float = FLOOR,
) -> Calibration:
    """Fit a calibration for photographs of a source that is none of those at hand.

    Parameters
    ----------
    covers, truths, floor
        See :func:`fit_interval`.
    sources : sequence of str
        Where each comes from (trial, camera, crop).

    Returns
    -------
    Calibration
        Stretched alike on either side.

    Raises
    ------
    BadInput
        If there are fewer than two sources.

    Notes
    -----
    Photographs of one source are not exchangeable with those of another, sources are.  Each source
    therefore weighs the same, however many photographs it has, and the quantile is that of the
    mean of their distribution functions: "pooling CDFs" of Dunn, Wasserman and Ramdas,
    "Distribution-free prediction sets for two-layer hierarchical models", Journal of the American
    Statistical Association 118, 2023 (section 3.1; see also Lee, Barber and Willett,
    "Distribution-free inference with hierarchical data", 2023, whose weight of 1 / (sources + 1)
    for the source to come would hold for few sources too, but too often: of fifteen in 0.96).  The
    score takes both sides together, as which side a source errs on tells nothing of another:
    wheat is found too much, rosettes too little.
    """
    names, which, sizes = np.unique(np.array(sources), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise BadInput(
            f"Photographs of {counted(len(names), 'source')} were given to fit an interval for "
            "others on; wanted are two or more."
        )
    scores = np.abs([score_of(c, t, floor) for c, t in zip(covers, truths, strict=True)])
    order = np.argsort(scores)
    share = np.cumsum(1 / (len(names) * sizes[which[order]]))
    place = int(np.searchsorted(share, 1 - 2 * TAIL - 1e-9))
    stretch = float(scores[order[min(place, len(order) - 1)]])
    return Calibration(stretch, stretch, floor, len(scores))


def _quantile(scores: np.ndarray) -> float:
    """Return the order statistic that bounds the tail; the largest score where there is none."""
    rank = min(math.ceil((len(scores) + 1) * (1 - TAIL)), len(scores))
    return float(np.sort(scores)[rank - 1])


def read_calibration(folder: Path) -> Calibration | None:
    """Read what lies beside a model's card; None: nothing does.

    Raises
    ------
    UnreadableFile
        If the file is not one that :func:`write_calibration` wrote.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text("utf-8"))
        ranges = {name: _two(value) for name, value in table.pop("ranges").items()}
        gsd = table.pop("gsd")
        numbers = {name: _number(name, table.pop(name)) for name in ("below", "above", "floor")}
        photographs = int(_number("photographs", table.pop("photographs")))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise UnreadableFile(
            f"{path} is not what 'runs/crops_calibrate.py' writes ({error}): write it again."
        ) from error
    return Calibration(
        **numbers, photographs=photographs, ranges=ranges, gsd=None if gsd is None else _two(gsd)
    )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r} and not a number")
    return float(value)


def _two(value: list[float]) -> tuple[float, float]:
    low, high = value
    return _number("low", low), _number("high", high)


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write what :func:`read_calibration` reads."""
    path.write_text(json.dumps(asdict(calibration), indent=1) + "\n", "utf-8", newline="\n")
