"""What others take from probabilities to labels: run by ``outlines.py``, in any Python.

    python bench/outlines_peer.py FOLDER

Reads ``peer.npy`` ((2, y, x) uint8 field and boundary), prints processor seconds as JSON, and
leaves ``peer_labels.npy`` if ftw-fbp is there.  Selion is not imported.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def time_watershed(field: np.ndarray, boundary: np.ndarray) -> float:
    """Return the seconds of scikit-image's watershed from the maxima of 1 - boundary."""
    from scipy import ndimage
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    began = time.process_time()
    surface = 1 - boundary / np.float32(255)
    ground = field.astype(int) + boundary > 127
    seeds, _ = ndimage.label(h_maxima(surface * ground, 0.01) & ground)
    watershed(-surface, seeds, mask=ground, watershed_line=True)
    return time.process_time() - began


def time_reference(field: np.ndarray, boundary: np.ndarray, folder: Path) -> float:
    """Return the seconds of ftw-fbp's windows with the setting of the second edition."""
    from fbp import FTW_2E, run_windowed

    small = (slice(0, 64), slice(0, 64))
    for part in (small, np.s_[:, :]):  # the first compiles
        began = time.process_time()
        f, b = field[part].astype(np.float32) / 255, boundary[part].astype(np.float32) / 255
        shares = np.stack([np.clip(1 - f - b, 0, 1), f, b]).astype(np.float16)  # as published
        labels = run_windowed(FTW_2E, shares.argmax(0).astype(np.uint8), shares, pixel_area_m2=6.25)
    np.save(folder / "peer_labels.npy", labels)
    return time.process_time() - began


def main() -> None:
    """Print what each took."""
    folder = Path(sys.argv[1])
    field, boundary = np.load(folder / "peer.npy")
    found = {}
    if find_spec("fbp") is not None:
        found["fbp"] = time_reference(field, boundary, folder)
    if find_spec("skimage") is not None:
        found["watershed"] = time_watershed(field, boundary)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
