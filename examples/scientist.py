"""First hour of a scientist: a published checkpoint is imported, looked at, run and scored.

python examples/scientist.py [CHECKPOINT IMAGE] [-o FOLDER] [--like NAME]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hour import Hour, arguments
from selion.grid import whole
from selion.simulation.landscape import simulate
from selion.store import create_cog

BACKBONE = "efficientnet-b3"
"""Of the smallest published PRUE models."""


def main(given: Sequence[str] | None = None) -> None:
    """Import, show, map and score; without a checkpoint, random weights in the published layout."""
    parser = arguments(main.__doc__ or "", "hour-scientist")
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("--like", default="FTW_PRUE_EFNET_B3_CCBY", help="Whose card it takes.")
    parser.add_argument("--backbone", default=BACKBONE, help="Of the random weights.")
    parser.add_argument("--edge", type=int, default=256, help="Pixels of what is simulated.")
    asked = parser.parse_args(given)
    checkpoint = None if asked.checkpoint is None else asked.checkpoint.resolve()
    image = None if asked.image is None else asked.image.resolve()
    with Hour(asked.out, pages=asked.pages) as hour:
        if checkpoint is None:
            checkpoint = write_checkpoint(Path("last.ckpt"), asked.backbone)
        truth = None
        if image is None:
            image, truth = write_pair(asked.edge)
        hour.run("models", "list")
        hour.run("models", "import", checkpoint, "-o", "imported", "--like", asked.like)
        hour.run("models", "show", "imported")
        hour.run("look", image)
        hour.run("predict", image, "--model", "imported", "-o", "scores.tif")
        hour.run("fields", "scores.tif", "-o", "theirs.parquet")
        hour.run("map", image, "-o", "ours.parquet", shows=["ours.preview.png"])
        if truth is not None:
            hour.run(
                *("evaluate", "--pred", "theirs.parquet", "--pred", "ours.parquet"),
                *("--truth", truth, "--reproject", "-o", "evaluation"),
                shows=["evaluation/report.html"],
            )


def write_checkpoint(path: Path, backbone: str) -> Path:
    """Write a Lightning checkpoint as ftw-tools does, its weights drawn by lot."""
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(3)
    network = smp.Unet(backbone, encoder_weights=None, in_channels=8, classes=3)
    settings: dict[str, Any] = {"model": "unet", "backbone": backbone, "model_kwargs": {}}
    settings |= {"in_channels": 8, "num_classes": 3, "num_filters": 64, "loss": "logcoshdice"}
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"hyper_parameters": settings, "state_dict": state, "epoch": 99}, path)
    return path


def write_pair(edge: int) -> tuple[Path, Path]:
    """Write two simulated Sentinel-2 dates as one image, and the outlines of its fields."""
    from selion.fields import to_fields, write_fields

    scene = simulate(4, (edge, edge), 10.0, "europe")
    image = Path("pair.tif")
    with create_cog(image, scene.image.grid, scene.image.bands, "uint16", force=True) as sink:
        sink.write(whole(scene.image.grid), scene.image.values.astype("uint16"))
    return image, write_fields(to_fields(scene.instances), Path("truth.gpkg"), force=True)


if __name__ == "__main__":
    main()
