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
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from selion.errors import UnknownName
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
    """
    wiring = WIRING[card.name]
    kind = _find(wiring.module, wiring.size)
    known = [field.name for field in fields(kind)]
    for key in size:
        if key not in known:
            raise UnknownName.among(f"size of the encoder {card.name!r}", key, known)
    made = kind(**{**card.size, **size})
    return _find(wiring.module, wiring.network)(made), made


def find_reader(
    name: str,
) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return the reader of an encoder's published file."""
    wiring = WIRING[name]
    return _find(wiring.module, wiring.reader)


def _find(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"selion.models.foundation.{module}"), name)
