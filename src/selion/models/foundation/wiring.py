"""Where the network of each named encoder is: looked up by name, imported when it is built.

A network's module has three things.

* A frozen dataclass of sizes, whose defaults are the published network's.  It has ``width``,
  ``patch`` (edge of a token in pixels) and ``seen`` (edge in pixels of what is shown) among its
  fields; a test makes it tiny.
* A ``torch.nn.Module`` that takes such a size, and turns (view, band, y, x), the bands of the
  encoder's card filled and normalised at ``seen`` pixels, into (view, token, feature), row by row
  and without class tokens.  Constants are persistent buffers: they are stored with the weights, as
  the exported graph points there.
* A reader that turns the names and tensors of the published file into the module's own.  The file's
  nested tables are flattened with dots (``state_dict.model.encoder.x``).  Buffers that it leaves
  out stay as the module made them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput
from selion.models.card import options_of
from selion.models.foundation.cards import EncoderCard

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Wiring:
    """Where a network is, by name."""

    module: str
    """In this package."""
    network: str
    size: str
    reader: str


WIRING = {
    "clay": Wiring("clay", "ClayEncoder", "ClaySize", "read_clay"),
    "galileo": Wiring("galileo", "GalileoEncoder", "GalileoSize", "read_galileo"),
    "dinov3": Wiring("dinov3", "Dinov3Encoder", "Dinov3Size", "read_dinov3"),
    "terramind": Wiring("terramind", "TerraMindEncoder", "TerraMindSize", "read_terramind"),
    "prithvi": Wiring("prithvi", "PrithviEncoder", "PrithviSize", "read_prithvi"),
    "terrafm": Wiring("terrafm", "TerraFmEncoder", "TerraFmSize", "read_terrafm"),
    "croma": Wiring("croma", "CromaEncoder", "CromaSize", "read_croma"),
    "softcon": Wiring("contrastive", "ContrastiveEncoder", "ContrastiveSize", "read_softcon"),
    "decur": Wiring("contrastive", "ContrastiveEncoder", "ContrastiveSize", "read_decur"),
    "dofa": Wiring("dofa", "DofaEncoder", "DofaSize", "read_dofa"),
    "satlas": Wiring("satlas", "SatlasEncoder", "SatlasSize", "read_satlas"),
}
"""Encoder -> where its network is."""

_COUNTS = (
    *("width", "depth", "depths", "heads", "patch", "seen"),
    *("bands", "reach", "steps", "learnt", "trained"),
)
"""Sizes that count something, wherever a network has them."""
_MONTHS = 12


def make_encoder(card: EncoderCard, size: Mapping[str, Any]) -> tuple[torch.nn.Module, Any]:
    """Build an encoder with random weights; return it with its size.

    Parameters
    ----------
    card : EncoderCard
    size : mapping
        What is to be other than the published size.

    Raises
    ------
    UnknownName
        If a size is not known; the nearest is offered.
    BadInput
        If no network has such a size.
    """
    wiring = WIRING[card.name]
    kind = _find(wiring.module, wiring.size)
    made = options_of(kind, {**card.size, **size}, f"size of the encoder {card.name!r}")
    _check_size(card.name, made)
    return _find(wiring.module, wiring.network)(made), made


def _check_size(name: str, size: Any) -> None:
    """Refuse sizes that no network has."""

    def refuse(key: str, wanted: str) -> None:
        raise BadInput(
            f"The size {key} = {getattr(size, key)!r} was given for the encoder {name!r}; wanted "
            f"is {wanted}."
        )

    for key in _COUNTS:
        value = getattr(size, key, 1)
        if not all(map(_is_count, value if isinstance(value, list | tuple) else (value,))):
            refuse(key, "a whole number of at least 1, or such numbers")
    if size.seen % size.patch:
        refuse("seen", f"a multiple of the patch of {size.patch} px")
    if isinstance(size.heads, int) and size.width % size.heads:
        refuse("width", f"a multiple of the {size.heads} heads")
    month = getattr(size, "month", 0)
    if not (isinstance(month, int) and not isinstance(month, bool) and 0 <= month < _MONTHS):
        refuse("month", f"a whole number from 0 (January) to {_MONTHS - 1}")


def check_count(key: str, value: Any, whose: str, least: int = 1) -> None:
    """Refuse (BadInput) what is no whole number of at least ``least``."""
    if not _is_count(value, least):
        raise BadInput(
            f"{key} = {value!r} was given for {whose}; wanted is a whole number of at least "
            f"{least}."
        )


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def find_reader(
    name: str,
) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return the reader of an encoder's published file."""
    wiring = WIRING[name]
    return _find(wiring.module, wiring.reader)


def _find(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"selion.models.foundation.{module}"), name)
