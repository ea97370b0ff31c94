"""Cards of the encoders of foundation models: what each eats, how it is fed, where it is had."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from selion.errors import BadInput, UnknownName
from selion.segmenter import InputSpec

DATE = ("red", "green", "blue", "nir")
"""Bands of a date of Fields of The World."""
REFLECTANCE = 10_000.0
"""What scaled numbers are per unit of reflectance.  Named encoders are given reflectance."""
FEED = "prue"
"""Whose way of feeding an encoder, unless another is named: PRUE's code."""
WINDOW = 256
"""Edge in pixels of the chips of Fields of The World."""


@dataclass(frozen=True)
class EncoderFeed:
    """How the bands of a date become those that an encoder wants."""

    take: Mapping[str, str] = field(default_factory=dict)
    """Band -> the band that is put in its place, whatever the date has; "": zeros."""
    fill: Mapping[str, str] = field(default_factory=dict)
    """Band -> what stands in for it where the date lacks it; "": zeros."""
    subtract: tuple[float, ...] = (0.0,)
    """By band, or one for all, in reflectance x 10000."""
    divide: tuple[float, ...] = (1.0,)

    def sources(self, bands: tuple[str, ...], date: tuple[str, ...], encoder: str) -> list[int]:
        """Return where each wanted band is among those of a date; -1: zeros.

        Raises
        ------
        BadInput
            If a band can be had neither from the date nor by what the card says.
        """
        found = []
        for band in bands:
            wanted = self.take.get(band, band)
            while wanted and wanted not in date:
                if wanted not in self.fill:
                    raise BadInput(
                        f"The encoder {encoder!r} wants the band {wanted!r}, and a date has "
                        f"{', '.join(date)}: name bands that hold it."
                    )
                wanted = self.fill[wanted]
            found.append(date.index(wanted) if wanted else -1)
        return found


@dataclass(frozen=True)
class EncoderCard:
    """What is known of an encoder before its weights are opened."""

    name: str
    bands: tuple[str, ...]
    """Those that it wants, in its order."""
    width: int
    """Features of a token."""
    patch: int
    """Edge of a token in pixels of what it is shown."""
    seen: int
    """Edge in pixels of the image that it is shown."""
    feed: Mapping[str, EncoderFeed]
    """``prue``, and ``authors`` where theirs is another."""
    parameters: float
    """Of encoder, fusion and convolutional decoder together, in millions, by the paper."""
    summary: str = ""
    shuffle: int = 0
    """By how much the decoder's pixel shuffle enlarges; 0: by the patch."""
    size: Mapping[str, Any] = field(default_factory=dict)
    """What of the network's size is not its default."""
    file: str = ""
    """Name under which the weights were published."""
    url: str = ""
    """Where they are; empty: they are given after a form is filled in."""
    sha256: str = ""
    """Of that file: its first digits at least, as in its name; empty: none was published."""
    licence: str = ""
    citation: str = ""
    notes: str = ""


@cache
def encoder_cards() -> Mapping[str, EncoderCard]:
    """Return the cards of all encoders by name, in the order of PRUE's Table 1."""
    path = Path(__file__).with_name("encoders.toml")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {entry["name"]: _card(entry, table["shared"]) for entry in table["encoder"]}


def find_encoder(name: str) -> EncoderCard:
    """Return the card of an encoder.

    Raises
    ------
    UnknownName
        If there is none of that name; the nearest is offered.
    """
    if name not in encoder_cards():
        raise UnknownName.among("encoder of a foundation model", name, encoder_cards())
    return encoder_cards()[name]


def check_fed(architecture: Mapping[str, Any], inputs: InputSpec) -> None:
    """Refuse inputs that an encoder with a card would misread; of others nothing is known.

    Parameters
    ----------
    architecture : mapping
        ``encoder``, and ``date`` and ``window`` where they are not the usual ones.
    inputs : InputSpec
        What the network is to be fed.

    Raises
    ------
    BadInput
        If bands are not those of two dates in the order that is said, numbers are not reflectance,
        or windows are of another size.
    """
    name = str(architecture.get("encoder", ""))
    if name not in encoder_cards():
        return
    date = tuple(architecture.get("date", DATE))
    bands = tuple(band.rpartition(":")[2] for band in inputs.bands)
    if bands != 2 * date:
        raise BadInput(
            f"The encoder {name!r} is fed the bands of two dates, {', '.join(date)} of each; given "
            f"are {', '.join(inputs.bands)}: name them in that order, or say "
            "model.architecture.date."
        )
    scaling = inputs.scaling
    if {*scaling.divide} != {REFLECTANCE} or {*scaling.subtract} != {0.0} or scaling.clip:
        raise BadInput(
            f"The encoder {name!r} has a scaling of its own and is fed reflectance, unclipped; "
            f"given is a division by {', '.join(f'{value:g}' for value in scaling.divide)}: set "
            f"input.divide = [{REFLECTANCE:.1f}]."
        )
    window = architecture.get("window", WINDOW)
    if inputs.window != window:
        raise BadInput(
            f"The encoder {name!r} is built for windows of {window} px and {inputs.window} px was "
            "given: set input.window and model.architecture.window alike."
        )


def _card(entry: Mapping[str, Any], shared: Mapping[str, Any]) -> EncoderCard:
    feeds = {name: _feeding(table, shared) for name, table in entry["feed"].items()}
    return EncoderCard(**{**entry, "bands": tuple(entry["bands"]), "feed": feeds})


def _feeding(table: Mapping[str, Any], shared: Mapping[str, Any]) -> EncoderFeed:
    own = {**shared.get(table.get("like", ""), {}), **table}
    own.pop("like", None)
    for key in ("subtract", "divide"):
        own[key] = tuple(own[key])
    return EncoderFeed(**own)
