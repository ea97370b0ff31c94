"""The peer: ``ftw-tools`` itself where it can be had, else its way of working rebuilt.

``SELION_BENCH_FTW`` names its command (``.../bin/ftw``); without it, this file is run instead.
What is rebuilt, from what its 2.0.0b5 does on a processor: a torch data loader with four workers
that reads 1024 px patches every 896 px from the lower left corner (zeros beyond the edge), division
by 3000, eager float32 torch with batches of two, argmax, 64 px cropped from each patch's inner
sides, one class array for the whole raster, an LZW GeoTIFF of it; then, in a second process,
``rasterio.features.shapes`` over 2048 px windows of the mask without a mask argument, a shapely
polygon from each dictionary, simplified by 15 m on its own, dropped below 500 m2, back to a
dictionary and to a polygon again, written as FlatGeobuf.  (Its default GeoParquet fetches schemas
from the web when it writes; FlatGeobuf works offline and is no slower.)  Its own code is not
copied.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATCH, PADDING, BATCH, WORKERS, STRIDE, SIMPLIFY, LEAST = 1024, 64, 2, 4, 2048, 15.0, 500.0
Corner = tuple[int, int]
"""(top, left) of a patch in pixels; it may pass the raster's edges."""


def real() -> str | None:
    """Return the path of the ``ftw`` command, if the environment names one."""
    given = os.environ.get("SELION_BENCH_FTW")
    if given and not Path(given).is_file():
        raise SystemExit(
            f"SELION_BENCH_FTW is {given}, but there is no such file: give the path of the ftw "
            "command, or unset it."
        )
    return given or None


def steps(raster: Path, checkpoint: Path, folder: Path, *, command: str | None) -> list[list[str]]:
    """Return the two commands, raster to classes and classes to polygons, of the real peer
    (``command``) or of the rebuilt one (None).
    """
    classes, fields = str(folder / "classes.tif"), str(folder / "fields.fgb")
    if command:
        return [
            [
                command,
                "inference",
                "run",
                str(raster),
                "--model",
                str(checkpoint),
                "--out",
                classes,
                "--resize_factor",
                "1",
                "--overwrite",
            ],
            [command, "inference", "polygonize", classes, "--out", fields, "--overwrite"],
        ]
    this = [sys.executable, str(Path(__file__).resolve())]
    return [
        [*this, "run", str(raster), str(checkpoint), classes],
        [*this, "polygonize", classes, fields],
    ]


def own_seconds(output: str) -> float:
    """Return the seconds that a step says it worked, start-up left out (NaN if it says none)."""
    found = re.findall(r"Finished \w+ .* in ([0-9.]+)s", output)
    return float(found[-1]) if found else math.nan


def corners(height: int, width: int) -> list[Corner]:
    """Lattice of patches: from the lower left corner upwards, row by row, the last ones passing the
    edge.
    """
    step = PATCH - 2 * PADDING
    rows, columns = (math.ceil((size - PATCH) / step) + 1 for size in (height, width))
    return [(height - PATCH - i * step, j * step) for i in range(rows) for j in range(columns)]


def patches(raster: Path, places: list[Corner]) -> Any:
    """Return a torch dataset of (8, 1024, 1024) float32 patches, zeros beyond the raster's edge."""
    import numpy as np
    import rasterio
    import torch
    from rasterio.windows import Window

    class Patches(torch.utils.data.Dataset):
        """Reads one patch per item; each worker opens the file once."""

        source: Any = None

        def __len__(self) -> int:
            return len(places)

        def __getitem__(self, index: int) -> Any:
            if self.source is None:
                self.source = rasterio.open(raster)
            top, left = places[index]
            # patches pass the upper and the right edge only
            first, last = max(top, 0), min(left + PATCH, self.source.width)
            pixels = self.source.read(window=Window(left, first, last - left, top + PATCH - first))
            pixels = np.pad(pixels, ((0, 0), (first - top, 0), (0, left + PATCH - last)))
            return torch.from_numpy(pixels.astype("float32")) / 3000

    return Patches()


def network(checkpoint: Path) -> Any:
    """Build smp's network as the checkpoint describes it."""
    import segmentation_models_pytorch as smp
    import torch

    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    described = saved["hyper_parameters"]
    unet = smp.Unet(
        described["backbone"],
        encoder_weights=None,
        in_channels=described["in_channels"],
        classes=described["num_classes"],
    )
    unet.load_state_dict(
        {key.removeprefix("model."): value for key, value in saved["state_dict"].items()}
    )
    return unet.eval()


def run(raster: Path, checkpoint: Path, out: Path) -> None:
    """Raster to classes."""
    import numpy as np
    import rasterio
    import torch

    began = time.time()
    unet = network(checkpoint)
    with rasterio.open(raster) as source:
        profile, (height, width) = source.profile, source.shape
    places = corners(height, width)
    loader = torch.utils.data.DataLoader(
        patches(raster, places), batch_size=BATCH, num_workers=WORKERS
    )
    classes = np.zeros((1, height, width), np.uint8)
    done = 0
    for images in loader:
        filled = torch.nan_to_num(images)
        with torch.inference_mode():
            answer = unet(filled).argmax(axis=1).unsqueeze(1)
            answer = (
                torch.nn.functional.interpolate(answer.float(), size=(PATCH, PATCH), mode="nearest")
                .int()
                .numpy()
            )
        for k, patch in enumerate(answer):
            _place(classes, patch, places[done + k])
        done += len(answer)
    profile.update(
        driver="GTiff",
        count=1,
        dtype="uint8",
        compress="lzw",
        predictor=2,
        blockxsize=512,
        blockysize=512,
        tiled=True,
        interleave="pixel",
        nodata=0,
    )
    with rasterio.open(out, "w", **profile) as sink:
        sink.write(classes[0], 1)
    print(f"Finished inference and saved output to {out} in {time.time() - began:.2f}s")


def _place(classes: Any, patch: Any, corner: Corner) -> None:
    """Write a patch's middle into the class array: 64 px less on each side that is not the raster's
    own edge.
    """
    bounds = []
    for start, size in zip(corner, classes.shape[1:], strict=True):
        first = 0 if start <= 0 else start + PADDING
        last = size if start + PATCH >= size else start + PATCH - PADDING
        bounds.append((first, last))
    (top, bottom), (left, right) = bounds
    classes[:, top:bottom, left:right] = patch[
        :, top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]
    ]


def polygons(mask: Any, transform: Any) -> Iterator[dict[str, Any]]:
    """Field polygons of a (y, x) uint8 mask as plain dictionaries, window by window; a field on a
    window's edge is cut there.
    """
    import rasterio.features
    import shapely.geometry
    from rasterio.windows import Window
    from rasterio.windows import transform as moved

    for top in range(0, mask.shape[0], STRIDE):
        for left in range(0, mask.shape[1], STRIDE):
            window = mask[top : top + STRIDE, left : left + STRIDE]
            for geometry, value in rasterio.features.shapes(
                window, transform=moved(Window(left, top, STRIDE, STRIDE), transform)
            ):
                if value != 1:
                    continue
                polygon = shapely.geometry.shape(geometry).simplify(SIMPLIFY)
                if polygon.area >= LEAST:
                    yield {
                        "geometry": shapely.geometry.mapping(polygon),
                        "area": polygon.area,
                        "perimeter": polygon.length,
                    }


def polygonize(classes: Path, out: Path) -> None:
    """Classes to polygons."""
    import geopandas
    import rasterio
    import shapely.geometry

    began = time.time()
    with rasterio.open(classes) as source:
        mask, transform, crs = (source.read(1) == 1).astype("uint8"), source.transform, source.crs
    rows = list(polygons(mask, transform))
    data = [
        {
            "geometry": shapely.geometry.shape(row["geometry"]),
            "id": str(k),
            "metrics:area": row["area"],
            "metrics:perimeter": row["perimeter"],
        }
        for k, row in enumerate(rows, 1)
    ]
    geopandas.GeoDataFrame(data, geometry="geometry", crs=crs).to_file(out, driver="FlatGeobuf")
    print(f"Finished polygonizing output at {out} in {time.time() - began:.2f}s")


def main() -> None:
    """Run one of the rebuilt steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("run")
    for name in ("raster", "checkpoint", "out"):
        first.add_argument(name, type=Path)
    second = verbs.add_parser("polygonize")
    for name in ("classes", "out"):
        second.add_argument(name, type=Path)
    given = vars(parser.parse_args())
    {"run": run, "polygonize": polygonize}[given.pop("verb")](**given)


if __name__ == "__main__":
    main()
