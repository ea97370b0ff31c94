"""What a run would load is named with its licence, before anything is loaded."""

from __future__ import annotations

from selion.models import packaged_models
from selion.models.foundation.cards import encoder_cards
from selion.training.start import start_notes


def test_a_model_is_named_with_licence_and_scores():
    card = packaged_models()[0]
    (note,) = start_notes(card.name, {"family": "unet"})
    assert card.name in note
    assert card.licence in note
    assert all(name in note for name, value in card.scores.items() if isinstance(value, float))


def test_an_encoder_is_named_with_its_licence():
    for name, card in encoder_cards().items():
        (note,) = start_notes("", {"family": "frozen", "encoder": name})
        assert card.licence in note
    assert start_notes("", {"family": "unet", "encoder": "mobilenet_v2"}) == []
