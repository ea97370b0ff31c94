"""The card of a model and what refines it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selion.models.card import ModelCard
from selion.segmenter import LoadedModel


def card_of(model: LoadedModel[Any]) -> ModelCard:
    """Return a model's card; one is made for a model that has none."""
    card = model.card
    return (
        card if isinstance(card, ModelCard) else ModelCard(card.name, model.inputs, model.classes)
    )


def pair_card(base: LoadedModel[Any], refiner: LoadedModel[Any] | None, name: str) -> ModelCard:
    """Describe a pair.

    What was said of the base alone (scores, calibration) does not hold for it.

    Parameters
    ----------
    base : LoadedModel
    refiner : LoadedModel, optional
        None: the base refines itself.
    name : str
        What the refiner is called.
    """
    own = card_of(base)
    cards = {"base": own}
    if refiner is not None and isinstance(refiner.card, ModelCard):
        cards["refiner"] = refiner.card
    licences = dict.fromkeys(card.licence or "licence not stated" for card in cards.values())
    return replace(
        own,
        name=f"{own.name} refined by {name}",
        licence="; ".join(licences),
        files={
            f"{part}: {file}": sha256
            for part, card in cards.items()
            for file, sha256 in card.files.items()
        },
        scores={},
        calibration={},
    )
