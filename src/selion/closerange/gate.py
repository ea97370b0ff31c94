"""Who answers for a photograph.

A model, another one in light that the first has not learnt, or a colour rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import overload

import numpy as np

from selion.closerange.calibration import strange_looks
from selion.closerange.cut import cut_out, find_cut
from selion.closerange.rule import ColourRule, excess_green, otsu_rule
from selion.grid import photo_grid
from selion.raster import Raster
from selion.segmenter import View

LOST = 0.10
"""Share of pixels with a probability between 0.25 and 0.75 at which a model is lost."""
APART = 0.5
"""Difference of the mean 2 g - r - b of the two sides of Otsu's threshold at which greenness alone
parts plants from soil."""
SHARED = 0.9
"""Share of what the rule calls plants that the model must call plants as well."""
ENOUGH = 1_000_000
"""Pixels that are looked at, roughly."""
LEARNT: Mapping[str, tuple[float, float]] = {
    "brightness": (55.8, 172.7),
    "red_green": (-0.29, 0.233),
    "blue_green": (-0.83, 0.004),
    "noise": (0.0, 0.045),
}
"""What photographs look like that ``crops-rgb`` has learnt from, as
:func:`selion.closerange.quality.appearance` measures it: of 96 of wheat and of 71 of chilli the
ranges between the 2nd and the 98th percentile, joined.  Nothing was chosen by a score."""
COARSE = 0.8, 2.2
"""Millimetres a pixel that are coarser than ``crops-rgb`` has learnt: the wheat has 0.55, and shown
at half and at a quarter of its size (1.1, 2.2) costs it 0.03 to 0.05 and 0.13 to 0.17 of mIoU.
Beyond the second nobody has learnt anything, and the first goes on answering."""
INSTEAD = (
    "measured by excess green with Otsu's threshold, as the model is unsure and greenness alone "
    "parts plants from soil"
)
ALIKE = 0.5
"""Intersection over union of the plants of two models from which on their mean answers.  Of 0, 0.3,
0.4, 0.5, 0.6 and 0.7 those of 0.3 to 0.5 were best over all sources of ``bench/sources.py``, which
the choice has seen."""
LARGE = 6_000_000
"""Pixels from which on ``crops-wide`` is asked first, and shown a photograph at half its size: it
then costs half of what ``crops-rgb`` does, which is spared where greenness confirms it."""
INTERVAL = 0.281, 0.281
"""What the lower and the upper half of the interval of cover are stretched by where photographs are
measured by this page and not by ``crops-wide`` alone; see
:class:`selion.closerange.calibration.Calibration`.  Fitted by ``runs/crops_interval.py`` on 193
photographs of fifteen sources that weigh the same; with each source left out it held the truth in
0.92 of 248, with all that look alike left out in 0.91."""
SECOND = "answered by crops-rgb and crops-wide together"
INSTEAD_OF_FIRST = "answered by crops-wide, as crops-rgb takes other things for plants"
CUT = "outlined by excess green above {:.2f}, which parts plants from soil as the model says"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is made of a model's answer; decided on a whole image, done pixel by pixel."""

    rule: float | None = None
    """The 2 g - r - b above which are plants, whatever the model says."""
    cut: float | None = None
    """The same where the model says so too: its outline alone is moved, see
    :func:`selion.closerange.cut.cut_out`."""

    @property
    def note(self) -> str:
        """What a user is told."""
        if self.rule is not None:
            return INSTEAD
        return "" if self.cut is None else CUT.format(self.cut)

    def answer(self, image: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return (class, y, x) float32: what is said in the end of a (3, y, x) uint8 image."""
        if self.rule is not None:
            whole = View(image, (slice(0, image.shape[1]), slice(0, image.shape[2])))
            answer: np.ndarray = ColourRule(chromatic=self.rule)([whole])[0]
            return answer
        return scores if self.cut is None else cut_out(image, scores, self.cut)


AS_SAID = Ruling()
"""The model's answer stands."""


def answer_of(
    image: np.ndarray,
    scores: np.ndarray,
    valid: np.ndarray | None = None,
    second: Callable[[], np.ndarray] | None = None,
    *,
    first_stands: bool = False,
) -> tuple[np.ndarray, str]:
    """Return what is said of a photograph in the end, and a note where it is not the model's own.

    Parameters
    ----------
    image, scores, valid
        See :func:`judge`.
    second : callable, optional
        Asks another model; called where no colour confirms the first.
    first_stands : bool
        Where the two see other plants, the first answers alone and not the second.

    Returns
    -------
    (class, y, x) float32 ndarray
        What :func:`judge` makes of the model's answer; where it makes nothing of it and there is
        another model, the same of what both say together (:func:`join`).
    str
    """
    ruling = judge(image, scores, valid, alone=second is None)
    if ruling is None and second is not None:
        other = second()
        together = alike(scores, other, valid)
        pair = (other, scores) if first_stands else (scores, other)
        scores = join(*pair, together=together)
        ruling = judge(image, scores, valid)
        return ruling.answer(image, scores), said_of(ruling, together=together)
    ruling = ruling or AS_SAID
    return ruling.answer(image, scores), ruling.note


@overload
def judge(image: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None) -> Ruling: ...
@overload
def judge(
    image: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None, *, alone: bool
) -> Ruling | None: ...
def judge(
    image: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None, *, alone: bool = True
) -> Ruling | None:
    """Say what is to be made of a model's answer.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    scores : (class, y, x) float32 ndarray
        What the model said.
    valid : (y, x) bool ndarray, optional
        Pixels that count.
    alone : bool
        Whether there is nobody else to ask.

    Returns
    -------
    Ruling or None
        A rule where the model is lost (:func:`find_rule`) and nobody else can be asked; outlines by
        colour where colour parts plants from soil (:func:`selion.closerange.cut.find_cut`); else
        the model's own, or None if there is another to ask.
    """
    rule = find_rule(image, scores, valid) if alone else None
    if rule is not None:
        return Ruling(rule=rule)
    cut = find_cut(image, scores, valid)
    return Ruling(cut=cut) if alone or cut is not None else None


def said_of(ruling: Ruling, *, together: bool) -> str:
    """Return the note where two models were asked."""
    if ruling.rule is not None:
        return ruling.note
    who = SECOND if together else INSTEAD_OF_FIRST
    return "; ".join(said for said in (who, ruling.note) if said)


def alike(first: np.ndarray, second: np.ndarray, valid: np.ndarray | None = None) -> bool:
    """Say whether the plants of two models overlap by :data:`ALIKE` and more.

    Parameters
    ----------
    first, second : (2, y, x) float32 ndarray
        What each said of soil and plants.
    valid : (y, x) bool ndarray, optional
        Pixels that count.
    """
    ours, theirs = first[1] > first[0], second[1] > second[0]
    if valid is not None:
        ours, theirs = ours & valid, theirs & valid
    union = np.count_nonzero(ours | theirs)
    return bool(not union or np.count_nonzero(ours & theirs) >= ALIKE * union)


def join(first: np.ndarray, second: np.ndarray, *, together: bool) -> np.ndarray:
    """Return the mean of what two models say, or the second where they see other plants.

    It is written over the second, as a photograph of 20 megapixels has 160 MB of each.
    """
    if together:
        np.add(first, second, out=second)
        second *= np.float32(0.5)
    return second


def unlearnt(looks: Mapping[str, float], gsd: float | None = None) -> str:
    """Say in what a photograph is unlike those that ``crops-rgb`` has learnt from.

    Parameters
    ----------
    looks : mapping
        See :func:`selion.closerange.quality.appearance`.
    gsd : float, optional
        Millimetres a pixel, where they are known.

    Returns
    -------
    str
        Empty: in nothing.
    """
    coarse, far = COARSE
    if gsd is not None and gsd > far:
        return ""
    found = strange_looks(looks, LEARNT)
    if gsd is not None and gsd > coarse:
        found.append(f"{gsd:.3g} mm a pixel; there up to {coarse:g}")
    return ", ".join(found)


def find_rule(
    image: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None
) -> float | None:
    """Return Otsu's threshold of excess green where that rule is to answer.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    scores : (class, y, x) float32 ndarray
        What the model said.
    valid : (y, x) bool ndarray, optional
        Pixels that count.

    Returns
    -------
    float or None
        Of 2 g - r - b; None where the model's answer stands.

    Notes
    -----
    Made for cameras that show near infrared as green (CWFID: grey soil, plants that shine), where a
    model of true colours finds the plants, and half of the soil with them.  There 2 g - r - b of
    plants and soil differ by 0.60 to 0.76 in every tenth photograph, and the model is unsure of 12
    to 30 % of the pixels; in 28 photographs of wheat, carrots and simulated plants they differ by
    at most 0.45.  The limits lie between, so on true colours the rule does not answer.  With
    ``crops-rgb``, for which no limit was set, it answers in 20 of 20 such photographs and in none
    of 71 of wheat and 71 of chilli.
    """
    if len(scores) != 2:
        return None
    count = image[0].size if valid is None else int(np.count_nonzero(valid))
    step = max(1, int(np.sqrt(image[0].size / ENOUGH)))
    thin = slice(None, None, step)
    known = slice(None) if valid is None else valid[thin, thin]
    sure = np.abs(scores[1, thin, thin][known] - 0.5) > 0.25
    if not count or not sure.size or sure.mean() > 1 - LOST:
        return None
    rule = otsu_rule(Raster(image, photo_grid(image.shape[1:]), ("red", "green", "blue"), valid))
    index = excess_green(image[:, thin, thin])[known]
    green = index > np.float32(rule.chromatic or 0.0)
    if not 0 < np.count_nonzero(green) < green.size:
        return None
    apart = float(index[green].mean() - index[~green].mean())
    shared = float((scores[1, thin, thin][known] > 0.5)[green].mean())
    if apart < APART or shared < SHARED:
        return None
    return rule.chromatic
