"""Files of one band each, as products are delivered: which band of which date each one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selion.prediction.band_meanings import read_parts
from selion.prediction.band_names import DATES, BandName, read_names
from selion.raster import Source


@dataclass(frozen=True)
class BandFiles:
    """Files in the order of their dates, and what the band of each is called."""

    order: tuple[int, ...]
    """Indexes of the files."""
    names: tuple[str, ...]
    """In that order: ``red``, or ``window_a:red`` where there are two dates."""
    said: str
    """A sentence."""


def band_files(
    paths: Sequence[Path | str], sources: Sequence[Source], days: Sequence[str]
) -> BandFiles | None:
    """Return how files of one band each are bands of dates; None where they are not.

    Parameters
    ----------
    paths : sequence
        ``T33UVP_20230420T100559_B04_10m.jp2``, ``LC09_..._SR_B5.TIF``, ``red.tif``.
    sources : sequence of Source
        The files, opened.
    days : sequence of str
        When each was taken, as 2023-04-20; empty where nobody says.

    Returns
    -------
    BandFiles or None
        None unless each file has one band, each name says which, and each date has each band once.
    """
    if len(paths) < 2 or any(len(source.bands) != 1 for source in sources):
        return None
    colours = _colours([Path(path).stem for path in paths])
    keys = list(zip(days, colours, strict=True))
    if not all(colours) or len(set(keys)) < len(keys) or len(set(colours)) == 1:
        return None
    dates = sorted(set(days))
    labels = dict(zip(dates, DATES if len(dates) == len(DATES) else dates, strict=True))
    order = sorted(range(len(paths)), key=lambda k: (dates.index(days[k]), k))
    names = tuple(
        f"{labels[days[k]]}:{colours[k]}" if len(dates) > 1 else str(colours[k]) for k in order
    )
    listed = ", ".join(
        f"{Path(paths[k]).name} is {name}" for k, name in zip(order, names, strict=True)
    )
    when = f"{len(dates)} dates ({', '.join(dates)})" if len(dates) > 1 else "one date"
    return BandFiles(tuple(order), names, f"{len(paths)} files are the bands of {when}: {listed}.")


def _colours(stems: list[str]) -> list[str | None]:
    """Return the colour, or another band's own name, that each stem says; None: it says nothing."""
    for read in (read_names, read_parts):
        found: tuple[BandName, ...] = read(stems)
        if all(name.colour for name in found):
            return [name.colour for name in found]
    return [None] * len(stems)
