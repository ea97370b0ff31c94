"""What a map or a score raster says of the model that made it."""

from __future__ import annotations

import json

from selion import fields, models
from selion.classes import ClassScheme
from selion.fields.finding import as_written
from selion.pipeline.probabilities import RunReport
from selion.raster import Source
from selion.segmenter import Card


def is_like_published(source: Source) -> bool:
    """Say whether a score raster holds published probabilities, written as ours.

    Or those of a network that is shown upsampled windows.
    """
    try:
        said = json.loads(source.tags.get("provenance", "{}"))
        return said.get("product") == "probabilities" or int(said.get("upsampling", 1)) > 1
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False  # somebody else's tag of that name


def as_made(
    source: Source, classes: ClassScheme, options: fields.InstanceOptions
) -> fields.InstanceOptions:
    """Return how objects are found in a score raster: as behind the model that made it.

    A boundary that a language model wrote is hardly smoothed.
    """
    try:
        family = json.loads(source.tags.get("model", "{}"))["architecture"]["family"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return options  # somebody else's tag of that name
    return as_written(options) if family == "language" and classes.boundary else options


def made_by(card: Card, chosen: str = "") -> dict[str, object]:
    """Return what a map says of its model: name, hashes, why it was chosen, how it was asked."""
    asked = getattr(card, "architecture", {}).get("speaking")
    told = {"chosen": chosen, "speaking": asked}
    said = {key: value for key, value in told.items() if value}
    return {"name": card.name, "files": dict(card.files), **said}


def maker_of(source: Source, report: RunReport) -> Card | None:
    """Return the card of the model that made a score raster, if it is on this machine.

    Where it is not, and had a learnt score, objects come out otherwise than from the model itself,
    and that is said.
    """
    try:
        said = json.loads(source.tags.get("model", "{}"))
        name, files = str(said.get("name", "")), dict(said.get("files", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None  # somebody else's tag of that name
    # by name only: a tag is no reason to open a path
    card = {one.name: one for one in models.list_models()}.get(name)
    if card is not None and dict(card.files) == files:
        return card
    if name and fields.CUT in files:
        report.on_note(
            f"These probabilities were made by {name}, whose learnt score of fields is not on this "
            "machine: fields are parted by the watershed instead."
        )
    return None
