"""Tiny folders in the layouts of the public datasets, for the tests of the room ``data``."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"
UTM = Affine(10, 0, 500_000, 0, -10, 5_300_000)


def tif(path, values, crs="EPSG:32633", transform=UTM, nodata=None, descriptions=()):
    """Write (y, x) or (band, y, x) values."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[1],
        width=values.shape[2],
        count=len(values),
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
    ) as file:
        file.write(values)
        for k, text in enumerate(descriptions, 1):
            file.set_band_description(k, text)
    return path


def png(path, values, mode=None, palette=None):
    """Write a photograph (JPEG by its ending) or a mask; whole numbers other than uint16 become
    bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    image = Image.fromarray(
        values if values.dtype in (np.uint8, np.uint16) else values.astype(np.uint8)
    )
    if palette is not None:
        image.putpalette(palette)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def field_ids(size=32):
    """Four fields and a strip of nothing."""
    ids = np.zeros((size, size), np.int32)
    half = size // 2
    ids[1 : half - 1, 1 : half - 1] = 1
    ids[1 : half - 1, half:-1] = 2
    ids[half + 2 : -1, 1:half] = 3
    ids[half + 2 : -1, half:-1] = 4
    return ids


def masks_of(ids):
    """Masks as Fields of The World has them: the line belongs to nobody, and is class 2 of
    three.
    """
    from scipy import ndimage

    line = (ndimage.maximum_filter(ids, 3) != ndimage.minimum_filter(ids, 3)) & (ids > 0)
    return (
        np.where(line, 2, ids > 0).astype(np.uint8),
        ((ids > 0) & ~line).astype(np.uint8),
        np.where(line, 0, ids).astype(np.int32),
    )


def ftw(
    root,
    country="austria",
    chips=(("g1", "train"), ("g2", "val"), ("g3", "test")),
    presence_only=False,
    size=32,
    without_image=(),
    seed=0,
):
    """Fields of The World: one country."""
    rng = np.random.default_rng(seed)
    home = root / country
    three, two, instance = masks_of(field_ids(size))
    for k, (aoi, _) in enumerate(chips):
        place = Affine(10, 0, 500_000, 0, -10, 5_300_000 - 10 * k * size)
        for window in ("window_a", "window_b"):
            if aoi not in without_image:
                tif(
                    home / "s2_images" / window / f"{aoi}.tif",
                    rng.integers(200, 4000, (4, size, size)).astype("uint16"),
                    transform=place,
                )
        masks = home / "label_masks"
        tif(
            masks / "semantic_3class" / f"{aoi}.tif",
            np.where((three == 0) & presence_only, 3, three).astype("uint8"),
            transform=place,
            nodata=0,
        )
        tif(masks / "semantic_2class" / f"{aoi}.tif", two, transform=place, nodata=0)
        tif(masks / "instance" / f"{aoi}.tif", instance, transform=place)
    pd.DataFrame({"aoi_id": [c[0] for c in chips], "split": [c[1] for c in chips]}).to_parquet(
        home / f"chips_{country}.parquet"
    )
    return home


def pastis(root, patches=((10000, 1), (10001, 4), (10002, 5)), size=16, seed=0):
    rng = np.random.default_rng(seed)
    dates = {
        "0": 20180920,
        "1": 20190401,
        "2": 20190420,
        "3": 20190510,
        "4": 20190710,
        "5": 20190820,
    }
    features = []
    for key, fold in patches:
        series = rng.integers(0, 3000, (len(dates), 10, size, size)).astype("int16")
        ids = field_ids(size)
        crop = np.choose(ids, [0, 2, 3, 1, 19]).astype("uint8")  # the fourth parcel is void
        for folder, name, array in (
            ("DATA_S2", "S2", series),
            ("ANNOTATIONS", "TARGET", np.stack([crop] * 3)),
            ("INSTANCE_ANNOTATIONS", "INSTANCES", ids),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            np.save(root / folder / f"{name}_{key}.npy", array)
        properties = {"ID_PATCH": key, "Fold": fold, "TILE": "T31TFM", "dates-S2": dates}
        features.append({"type": "Feature", "properties": properties, "geometry": None})
    (root / "metadata.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    return root
