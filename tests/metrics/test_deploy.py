from dataclasses import dataclass, field

import numpy as np
import pytest

from selion.classes import FTW2, ClassScheme
from selion.errors import BadInput
from selion.grid import Lattice
from selion.metrics import (
    classify,
    consistency_map,
    consistency_sweep,
    corner_consistency,
    lattice_seams,
    object_consistency,
    reordered,
    rescaled,
    resized,
    seam_error,
    sensitivity,
)
from selion.metrics.deploy import SCALINGS, Perturbed, resize, season_groups
from selion.segmenter import InputSpec, Scaling, Segmenter

BANDS = ("planting:red", "planting:nir", "harvest:red", "harvest:nir")


@dataclass(frozen=True)
class Toy:
    """Says field where ``score`` of the scaled window is positive."""

    score: object
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(BANDS, Scaling((3000.0,)), window=64, multiple=16)
    )
    classes: ClassScheme = FTW2

    def __call__(self, views):
        out = []
        for view in views:
            assert view.pixels.shape[1] % 16 == 0
            assert view.pixels.shape[2] % 16 == 0
            yes = (self.score(self.inputs.scaling(view.pixels)) > 0).astype(np.float32)
            out.append(np.stack([1 - yes, yes]))
        return np.stack(out)


_: Segmenter = Toy(lambda x: x[0])
per_pixel = Toy(lambda x: x[0] - 0.5)
# knows the window it stands in, not the scale of the numbers
contrast = Toy(lambda x: x[0] - x[0].mean())
late = Toy(lambda x: x[2] - 0.5)


def scene(seed=0, size=256):
    rng = np.random.default_rng(seed)
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(rng.normal(size=(4, size, size)), (0, 6, 6))
    smooth = (smooth - smooth.mean((1, 2), keepdims=True)) / smooth.std((1, 2), keepdims=True)
    return np.clip(1500 + 400 * smooth + np.linspace(-300, 300, size), 1, None).astype(np.uint16)


def test_a_pixelwise_model_is_consistent_and_a_window_reader_is_not():
    pixels = scene()
    assert corner_consistency(pixels, per_pixel).share == 1
    found = corner_consistency(pixels, contrast)
    assert 0.3 < found.share < 1
    assert found.agree.shape == (128, 128)
    sweep = consistency_sweep(pixels, contrast, (64, 128, 224))
    assert sweep[64] < sweep[128] < sweep[224]


def test_crops_are_192_for_256_and_128_and_the_centre_is_the_centre():
    seen = []

    def spy(x):
        seen.append(x.shape[1:])
        return x[0] - 0.5

    pixels = np.zeros((4, 256, 256), np.uint16)
    pixels[0, 64, 64] = 3000  # the first pixel of the centre
    found = corner_consistency(pixels, Toy(spy))
    assert seen == [(192, 192)] * 4
    assert found.share == 1
    said = [
        classify(Toy(spy), pixels[:, t : t + 192, u : u + 192]).argmax(0)[64 - t, 64 - u]
        for t in (0, 64)
        for u in (0, 64)
    ]
    assert said == [1, 1, 1, 1]
    for wrong in (127, 256, 0):
        with pytest.raises(BadInput, match="square"):
            corner_consistency(pixels, per_pixel, wrong)


def test_order():
    assert season_groups(BANDS) == [[0, 1], [2, 3]]
    assert reordered(Toy(lambda x: x[0], InputSpec(("red", "nir")))) == []
    pixels = scene(1)
    truth = classify(late, pixels).argmax(0).astype(np.uint8)
    either = Toy(lambda x: x[0] + x[2] - 1)
    blind = sensitivity(
        [(pixels, classify(either, pixels).argmax(0).astype(np.uint8))], either, reordered(either)
    )
    assert blind.summary()["sensitivity"] == 0
    fussy = sensitivity([(pixels, truth)], late, reordered(late))
    assert fussy.samples["reference"].iloc[0] == 1
    assert fussy.summary()["sensitivity"] > 0.3
    assert fussy.drop[0] == pytest.approx(fussy.delta[0])


def test_radiometry():
    pixels = scene(2)
    truth = classify(per_pixel, pixels).argmax(0).astype(np.uint8)
    found = sensitivity([(pixels, truth)], per_pixel, rescaled(per_pixel))
    assert found.conditions == tuple(name for name, _, _ in SCALINGS)
    assert found.summary()["divisor x 10/3"] == 0
    assert found.summary()["sensitivity"] > 0.2
    steady = sensitivity(
        [(pixels, classify(contrast, pixels).argmax(0).astype(np.uint8))],
        contrast,
        rescaled(contrast)[:4],
    )
    assert steady.summary()["sensitivity"] < 0.02
    shifted = rescaled(per_pixel)[4].before(pixels)
    np.testing.assert_allclose(shifted, pixels + 1000.0)


def test_scale():
    pixels = scene(3)
    truth = classify(per_pixel, pixels).argmax(0).astype(np.uint8)
    found = sensitivity([(pixels, truth)], per_pixel, resized(per_pixel))
    assert found.summary()["scale x 2"] > 0.97
    assert found.summary()["scale x 0.5"] > 0.9
    assert resized(per_pixel, (0.5,))[0].classes is FTW2
    assert resize(pixels, (100, 80)).shape == (4, 100, 80)
    np.testing.assert_allclose(resize(np.full((1, 9, 9), 7.0), (4, 20)), 7)
    np.testing.assert_allclose(resize(pixels, (256, 256)), pixels, rtol=1e-6)


def test_perturbed_is_a_segmenter_for_whole_views():
    pixels = scene(4)[:, :50, :70]
    assert classify(per_pixel, pixels).shape == (2, 50, 70)
    doubled = Perturbed("twice", per_pixel, lambda p: p * 2.0)
    assert classify(doubled, pixels).argmax(0).mean() > classify(per_pixel, pixels).argmax(0).mean()
    with pytest.raises(BadInput, match="conditions"):
        sensitivity([(pixels, np.zeros((50, 70), np.uint8))], per_pixel, [])


def test_seam_error():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (64, 64))
    assert seam_error(labels, [16, 32, 48], [16, 32, 48]) == pytest.approx(1, abs=0.15)
    checks = (np.arange(64)[:, None] // 16 + np.arange(64)[None] // 16) % 2
    assert seam_error(checks, [16, 32, 48], [16, 32, 48]) == np.inf
    assert np.isnan(seam_error(np.zeros((9, 9), int), [3], [3]))
    smooth = np.zeros((64, 64), int)
    smooth[:, 10:20] = 1
    stepped = smooth.copy()
    stepped[32:] = np.roll(smooth, 3, 1)[32:]
    assert seam_error(stepped, [32], []) > seam_error(
        smooth | (rng.random((64, 64)) < 0.001), [32], []
    )


def test_seams_of_a_lattice():
    assert lattice_seams(Lattice((100, 64), 64, 0.25)) == ([36, 64], [])


def test_consistency_map_flags_what_depends_on_the_window():
    pixels = scene(5, 150)[:, :140]
    assert (consistency_map(pixels, per_pixel) == 1).all()
    found = consistency_map(pixels, contrast)
    assert found.shape == (140, 150)
    assert found.min() >= 0.5
    assert 0.02 < (found < 1).mean() < 0.9
    clear = np.abs(pixels[0].astype(float) - 1500) > 800
    assert found[clear].mean() > found[~clear].mean()
    ids = np.zeros((140, 150), int)
    ids[:50], ids[60:] = 3, 9
    keys, values = object_consistency(ids, found)
    assert keys.tolist() == [3, 9]
    assert values[0] == pytest.approx(found[:50].mean())
    with pytest.raises(BadInput, match="multiple"):
        consistency_map(pixels, per_pixel, window=50)
