"""Published encoders that a run starts from, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence

from selion.models.card import StartingPoint
from selion.models.foundation.cards import EncoderCard, encoder_cards
from selion.training.recipe import Recipe


def published_encoder(recipe: Recipe, start: Sequence[StartingPoint]) -> EncoderCard | None:
    """Return the card of the encoder whose published weights are in a run, if there is one.

    They come with the recipe, or with the model that it starts from.  Only encoders with a card
    say their licence.
    """
    model = recipe.model
    name = str(model.architecture.get("encoder", ""))
    within = model.pretrained or f"encoder {name}" in {point.name for point in start}
    return encoder_cards().get(name) if within else None


def credit(recipe: Recipe, encoder: EncoderCard | None) -> str:
    """Say whose encoder a model holds, where it was had, and whether it was changed."""
    if encoder is None:
        return ""
    changed = ", fine-tuned" if recipe.model.architecture.get("trainable") else ""
    parts = (encoder.citation, encoder.licence, encoder.url)
    return f"encoder {encoder.name}{changed}: {', '.join(filter(None, parts))}"
