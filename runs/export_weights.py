"""Turn a training checkpoint into a packaged model: weights, graph and card in
``src/selion/weights/NAME``.

    python runs/export_weights.py checkpoints/vhr/last.pt runs/cards/fields-rgb-vhr.toml \
        src/selion/weights

The card is a ``card.toml`` without ``files``; its architecture says what to build.  The checkpoint
holds, under ``mean``, the state of torch's
``AveragedModel``: the averaged weights with batch statistics of their own, which are what we ship.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from fit import fed_plainly, is_fed, plain_names, without_depths
from selion.models import export, load_model, read_card
from selion.models.architectures import build

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def averaged_state(path: Path, key: str, statistics: str) -> dict[str, torch.Tensor]:
    """State dict of the averaged weights, with the batch statistics of another state of the
    checkpoint.

    ``module.`` and the count of averages are AveragedModel's own, ``network.`` is fit.Feed's, whose
    scaling the weights take in.
    Its averaged *statistics* are not to be trusted after a short run: an average with decay 0.998
    still holds 0.998**2400 = 0.8 % of the variance 1 that batch norm starts with, and where the
    true variance is 0.005 that is more than the truth; the network then answers one class.
    """
    if path.suffix == ".safetensors":  # of fields_fit.py: averaged and settled already
        return {name: value.float() for name, value in load_file(path).items()}
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    state, live = (without_depths(plain_names(checkpoint[k])) for k in (key, statistics))
    state = {
        name: live[name] if name.endswith(STATISTICS) else tensor for name, tensor in state.items()
    }
    return fed_plainly(state) if is_fed(checkpoint[key]) else state


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("card", type=Path, help="card.toml without files")
    parser.add_argument(
        "out",
        type=Path,
        help="folder of packaged weights; the model gets a folder of its name in it",
    )
    parser.add_argument("--key", default="mean", help="where the state dict lies in the checkpoint")
    parser.add_argument(
        "--statistics",
        help="which state the batch statistics are taken from; default: the same as the weights",
    )
    parser.add_argument("--scores", type=Path, help="JSON with the scores to write into the card")
    parser.add_argument("--full", action="store_true", help="store float32 instead of float16")
    parser.add_argument(
        "--small",
        action="store_true",
        help="store the largest tensors as int8 with a scale per output channel",
    )
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args()
    card = read_card(args.card)
    if args.scores:
        card = replace(card, scores=json.loads(args.scores.read_text()))
    network = build(card.architecture, len(card.inputs.bands), len(card.classes))
    network.load_state_dict(
        averaged_state(args.checkpoint, args.key, args.statistics or args.key), strict=True
    )
    card = export(
        network, card, args.out / card.name, half=not args.full, small=args.small, force=args.force
    )
    size = sum(path.stat().st_size for path in card.folder.iterdir())
    print(f"{card.folder}: {size / 1e6:.2f} MB; loads with {load_model(card.folder).engine}")


if __name__ == "__main__":
    main()
