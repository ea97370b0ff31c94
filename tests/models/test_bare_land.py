"""The model of colours that ships leaves lakes and woods out, and sees crops: patches of EuroSAT,
whose kinds of land others named, that no network has learnt from.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import selion

ROOT = Path(__file__).resolve().parents[2]
PATCHES = (
    ROOT.parent / "shared/data/satellite/pretraining/eurosat_rgb_subset/eurosat_rgb_subset.zip"
)


@pytest.mark.skipif(
    not PATCHES.is_file(), reason="../shared/data/satellite/pretraining is not here"
)
def test_a_lake_is_no_field(monkeypatch):
    """The release before called 94 % of open water a field, and 9 % of woods."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    bench = importlib.import_module("bare_land")
    model = selion.load_model("fields-rgb-vhr")
    patches = bench.read_patches(PATCHES, 8)
    share = {
        kind: float(np.mean([bench.called_field(patch, model) for patch in patches[kind]]))
        for kind in ("SeaLake", "Forest", "AnnualCrop")
    }
    assert share["SeaLake"] < 0.5, share
    assert share["Forest"] < 0.15, share
    assert share["AnnualCrop"] > 0.8, share
