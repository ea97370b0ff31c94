"""Write the graphs without weights that published checkpoints are imported with where there is no
torch: ``src/selion/models/skeletons``.

    python runs/graph_skeletons.py
"""

from __future__ import annotations

import gzip

from selion.models.skeleton import FOLDER
from selion.models.skeleton_making import make_skeleton

ENCODERS = ("efficientnet-b3", "efficientnet-b5", "efficientnet-b7")
"""Of the U-Nets in ``registry.toml``."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for encoder in ENCODERS:
        content = make_skeleton({"family": "unet", "encoder": encoder})
        path = FOLDER / f"unet-{encoder}.onnx.gz"
        path.write_bytes(gzip.compress(content, 9, mtime=0))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
