"""Which offset belongs to a scene, so that it is applied, and not twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from selion.imagery.providers import Provider
from selion.imagery.reflectance import QUANTIFICATION, Radiometry
from selion.imagery.scene import BANDS, Scene
from selion.imagery.sensors import find_sensor

ADDED = 1000
"""What ESA adds to every digital number since processing baseline 04.00 (``BOA_ADD_OFFSET`` is its
negative; the same in all bands so far)."""
FIRST_ADDED = (4, 0)
SINCE = datetime(2022, 1, 25, tzinfo=UTC)
"""Day of baseline 04.00: it decides only where a catalogue names no baseline."""
TO_SUBTRACT = -float(ADDED)


def decide(scene: Scene, provider: Provider | None = None) -> Radiometry:
    """Decide from what the catalogue says which offset a scene wants.

    Parameters
    ----------
    scene : Scene
        ``baseline``, and of ``properties``: ``collection``, ``offsets`` (band -> reflectance offset
        that the catalogue declares), and the flag that the offset has been subtracted.
    provider : Provider, optional
        What is known of its collections; without it the scene alone decides.

    Returns
    -------
    Radiometry
        Preliminary: let :func:`check_dark` have a look at the pixels.

    Notes
    -----
    A sensor with fixed numbers has those (:mod:`selion.imagery.sensors`).  Sentinel-2, in this
    order:

    1. A flag that says "subtracted" is believed, and a declared offset of -0.1 beside it is not:
       Earth Search keeps declaring the original one (Element84/earth-search#9, #66).
    2. Before baseline 04.00 nothing was added, whatever is declared.
    3. Collections that are known to keep ESA's numbers (Planetary Computer, CDSE, Earth Search's
       ``sentinel-2-c1-l2a``): -1000 from 04.00 on.
    4. A flag that says "not subtracted": -1000, in doubt, for that flag is wrong on many items of
       2022 to 2025 (earth-search#66, #71; cirrus-earth-search#33).
    5. No flag: what is declared, else the rule of the baseline, else the date.
    """
    sensor = find_sensor(scene.sensor)
    if sensor.scale is not None:
        return Radiometry(
            sensor.offset / sensor.scale, sensor.scale, f"so {sensor.title} is delivered"
        )
    said = _Said(
        scene, provider, parse_baseline(scene.baseline), _flag(scene, provider), *_declared(scene)
    )
    return (
        _by_what_is_gone(said) or _by_what_is_kept(said) or _by_declaration(said) or _by_date(scene)
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What a catalogue says of a scene's offset."""

    scene: Scene
    provider: Provider | None
    baseline: tuple[int, int] | None
    applied: bool | None
    """Whether it was subtracted; None if that is not said."""
    declared: float | None
    """In digital numbers."""
    uneven: str
    """A doubt: the bands' offsets differ."""

    @property
    def adds(self) -> str:
        """What the baseline means, if it is told."""
        return f"processing baseline {self.scene.baseline} adds {ADDED}" if self.baseline else ""

    @property
    def collection(self) -> str:
        """What the catalogue calls the kind of product."""
        return str(self.scene.properties.get("collection"))

    @property
    def kind(self) -> str | None:
        """What is known of the collection: ``kept``, ``flag`` or nothing."""
        return self.provider.offset.get(self.collection) if self.provider else None

    @property
    def untrusted(self) -> str:
        """The doubt that hangs on the flag of some collections."""
        return (
            "that flag is known to be wrong on some items"
            if self.kind == "flag" or self.provider is None
            else ""
        )


def _by_what_is_gone(said: _Said) -> Radiometry | None:
    if said.applied:
        return Radiometry(
            0.0,
            why="the catalogue says that the offset has been subtracted already",
            doubt=said.untrusted,
        )
    if said.baseline is not None and said.baseline < FIRST_ADDED:
        odd = (
            "the catalogue declares an offset, but such a baseline has none"
            if said.declared and said.kind != "flag"
            else ""
        )
        return Radiometry(
            0.0, why=f"processing baseline {said.scene.baseline} adds nothing", doubt=odd
        )
    return None


def _by_what_is_kept(said: _Said) -> Radiometry | None:
    if said.baseline is None:
        return None
    if said.kind == "kept":
        odd = "the catalogue declares that nothing was added" if said.declared == 0 else ""
        why = (
            f"{said.adds}, and {said.scene.provider} ({said.collection}) delivers the numbers as "
            "they are"
        )
        return Radiometry(TO_SUBTRACT, why=why, doubt=odd or said.uneven)
    if said.applied is False:
        return Radiometry(
            TO_SUBTRACT,
            why=f"{said.adds}, and the catalogue says that it has not been subtracted",
            doubt=said.untrusted,
        )
    return None


def _by_declaration(said: _Said) -> Radiometry | None:
    if said.declared is not None:
        odd = (
            f"{said.adds}, but the catalogue declares no offset"
            if said.declared == 0 and said.adds
            else said.uneven
        )
        return Radiometry(
            said.declared, why=f"the catalogue declares an offset of {said.declared:.0f}", doubt=odd
        )
    if said.baseline is not None:
        return Radiometry(
            TO_SUBTRACT, why=said.adds, doubt="whether the catalogue took it out again is not known"
        )
    return None


def parse_baseline(text: str | None) -> tuple[int, int] | None:
    """Return a processing baseline as numbers, or None if there is none.

    Examples
    --------
    >>> [parse_baseline(text) for text in ("05.09", "N0400", "5.1", None)]
    [(5, 9), (4, 0), (5, 10), None]
    """
    found = (
        re.fullmatch(r"[Nn]?(\d{1,2}?)(?:\.(\d{1,2})|(\d{2}))?", str(text).strip())
        if text is not None
        else None
    )
    if found is None:
        return None
    minor = found.group(2)
    return int(found.group(1)), int(minor.ljust(2, "0") if minor else found.group(3) or 0)


def _flag(scene: Scene, provider: Provider | None) -> bool | None:
    """Return whether the catalogue says that the offset was subtracted; None if it does not say."""
    names = (
        provider.properties.get("offset_applied", ())
        if provider
        else ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
    )
    for name in names:
        said = scene.properties.get(name)
        if isinstance(said, bool):
            return said
        if isinstance(said, str) and said.lower() in ("true", "false"):
            return said.lower() == "true"
    return None


def _declared(scene: Scene) -> tuple[float | None, str]:
    """Return the declared offset in digital numbers, and a doubt if bands differ."""
    offsets = scene.properties.get("offsets")
    if not isinstance(offsets, Mapping):
        return None, ""
    found = {
        band: float(offsets[band]) / QUANTIFICATION
        for band in BANDS
        if band in offsets and isinstance(offsets[band], int | float)
    }
    if not found:
        return None, ""
    values = sorted(set(np.round(list(found.values())).tolist()))
    return values[0], "" if len(
        values
    ) == 1 else f"the catalogue declares different offsets for the bands ({found})"


def _by_date(scene: Scene) -> Radiometry:
    moment = scene.time if scene.time.tzinfo else scene.time.replace(tzinfo=UTC)
    late = moment >= SINCE
    doubt = "older scenes are also delivered reprocessed" if not late else "that is a guess"
    when = "since" if late else "before"
    why = (
        f"the catalogue names no processing baseline; acquired {when} 25 January 2022, the day of "
        "baseline 04.00"
    )
    return Radiometry(TO_SUBTRACT if late else 0.0, why=why, doubt=doubt)


# The pixels' own word


FEW = 100
"""Clear pixels below which nothing is concluded."""
FEW_OF_KIND = 50
"""Pixels of dense vegetation, or of water, below which these say nothing."""
DENSE = 2000
"""Near infrared minus red, in digital numbers, of dense vegetation: a difference does not know of
the offset."""
BELOW = 750
"""With the offset in them, digital numbers below this are reflectances below -0.025, which only a
bad correction of the atmosphere gives, and rarely."""
SHARE_BELOW = 0.02
"""Share of clear pixels below :data:`BELOW` from which nothing can have been added."""
LEAST_BELOW = 20
"""Pixels; so many must be darker, whatever their share."""
SOME_BELOW = 0.002
"""Share below :data:`BELOW` from which a witness for the offset is contradicted."""
BETWEEN = (700, 900)
"""Dense vegetation and water reflect 0 to 0.07 in the darker of red and blue (water: red and near
infrared): without the offset their 10th percentile lies below the first number, with it above the
second."""
BRIGHTEST = 1700
"""Above this it is neither, with the offset or without: bright ground that only looks like it."""


def check_dark(
    values: Mapping[str, np.ndarray],
    decision: Radiometry,
    clear: np.ndarray | None = None,
    water: np.ndarray | None = None,
) -> Radiometry:
    """Let the darkest pixels of a scene confirm or correct a decision.

    Parameters
    ----------
    values : mapping of str to (y, x) integer ndarray
        Digital numbers of ``red``, ``nir`` and, if it is there, ``blue``, as they are in the files,
        from overviews; 0 = no data.
    decision : Radiometry
        What the catalogue's words led to.
    clear : (y, x) bool ndarray, optional
        Pixels that are no cloud; all by default.
    water : (y, x) bool ndarray, optional
        Pixels that the scene classification calls water.

    Returns
    -------
    Radiometry
        The decision, corrected where the pixels contradict it clearly, with ``why`` saying what
        they showed.  ``doubt`` is emptied when they confirm it, and says so when they cannot tell.

    Notes
    -----
    Three witnesses, none of which needs to know the offset to be found:

    * The share of pixels darker than 750.  Half of a green landscape is, and hardly anything can be
      if 1000 was added (a -1000 would make them less than black: the offset would be subtracted
      twice).
    * Dense vegetation, found by near infrared minus red, which absorbs red and blue.
    * Water, found by the scene classification.  Alone it does not correct an offset of 0: sun glint
      can lift it as much.

    A desert, a snow field or a salt flat has none of these; then the catalogue's word stays.
    """
    looked = [values[band] for band in ("red", "nir", "blue") if band in values]
    seen = np.logical_and.reduce([numbers > 0 for numbers in looked])
    if clear is not None:
        seen &= clear
    red, nir, *rest = (numbers[seen].astype(np.float64) for numbers in looked)
    blue = rest[0] if rest else red
    if red.size < FEW:
        return _undecided(decision, f"only {red.size} clear pixels to check it by")
    dark = np.minimum(red, blue) < BELOW
    below = float(dark.mean()) if dark.sum() >= LEAST_BELOW else 0.0
    dense = nir - red >= DENSE
    green = _dark_end(np.minimum(red, blue), dense)
    wet = _dark_end(np.minimum(red, nir), water[seen]) if water is not None else None
    return _heard(decision, below, green, wet)


def _dark_end(darkest: np.ndarray, of: np.ndarray) -> float | None:
    """Return the 10th percentile of some pixels, or None if they are too few."""
    return (
        float(np.quantile(darkest[of], 0.1))
        if of.sum() >= max(FEW_OF_KIND, 0.002 * of.size)
        else None
    )


def _heard(
    decision: Radiometry, below: float, green: float | None, wet: float | None
) -> Radiometry:
    """Weigh the witnesses; water is asked only where no vegetation speaks."""
    name, dark = ("dense vegetation", green) if _speaks(green) else ("water", wet)
    gone = (
        [f"{below:.0%} of the clear pixels are darker than {BELOW}"] if below >= SHARE_BELOW else []
    )
    held = ""
    if _speaks(dark):
        says = f"{name} goes down to {dark:.0f}"
        gone += [says] if dark < BETWEEN[0] else []  # type: ignore[operator]
        held = f"{says} only" if dark > BETWEEN[1] else ""  # type: ignore[operator]
    if held and below >= SOME_BELOW:
        return _undecided(
            decision, f"the pixels disagree ({held}, but {below:.1%} are darker than {BELOW})"
        )
    if gone:
        return _corrected(decision, 0.0, " and ".join(gone))
    if held and name == "water" and decision.offset == 0:
        return _undecided(decision, f"{held}, which may be sun glint")
    if held:
        return _corrected(decision, TO_SUBTRACT, held)
    return _undecided(decision, "there are no dark pixels to check it by")


def _speaks(dark: float | None) -> bool:
    """Say whether a witness is there, and is what it looks like."""
    return dark is not None and (dark < BETWEEN[0] or BETWEEN[1] < dark < BRIGHTEST)


def _corrected(decision: Radiometry, offset: float, shown: str) -> Radiometry:
    if decision.offset == offset:
        return replace(decision, why=f"{decision.why}; the pixels agree ({shown})", doubt="")
    why = (
        f"the pixels show that {'nothing is' if offset == 0 else f'{ADDED} is still'} added "
        f"({shown}), although {decision.why}"
    )
    return replace(
        decision, offset=offset, why=why, doubt="the catalogue and the pixels contradict each other"
    )


def _undecided(decision: Radiometry, reason: str) -> Radiometry:
    doubt = f"{decision.doubt}; {reason}" if decision.doubt else reason
    return replace(decision, doubt=doubt)
