"""Package what `crops_fit.py` trained: weights, graph, card and fingerprint of `crops-wide`.

    python runs/crops_export.py checkpoints/crops_fit/crops.npz src/selion/weights

`crops_calibrate.py` adds the interval of cover.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from selion.models import export, load_model, read_card
from selion.models.network import build_network

CARD = Path(__file__).parent / "cards" / "crops-wide.toml"


def main() -> None:
    """Package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("answers", type=Path, help="crops.npz")
    parser.add_argument("out", type=Path, help="folder of packaged weights")
    args = parser.parse_args()
    card = read_card(CARD)
    with np.load(args.answers) as data:
        scores = json.loads(str(data["scores"]))
        state = {
            name.removeprefix("plots/"): torch.from_numpy(
                data[name].astype(np.float32) if data[name].dtype == np.float16 else data[name]
            )
            for name in data.files
            if name.startswith("plots/")
        }
    found = {
        "left_out": {
            name.replace(" ", "_"): round(scores[name]["miou"], 4)
            for name in scores
            if name.startswith("trial")
        },
        "validation": {name: round(scores["plots"][name], 4) for name in ("miou", "iou_crop")},
    }
    network = build_network(card.architecture, len(card.inputs.bands), len(card.classes))
    network.load_state_dict(state, strict=True)
    card = export(network, replace(card, scores=found), args.out / card.name, force=True)
    size = sum(path.stat().st_size for path in card.folder.iterdir())
    print(f"{card.folder}: {size / 1e6:.2f} MB; loads with {load_model(card.folder).engine}")


if __name__ == "__main__":
    main()
