"""The public rule of quarterly mosaics, rebuilt in float64 from its description, beside ours."""

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from quarterly_toys import BANDS, NODATA, STATED, reflectance, weights, write_network, write_stack
from selion import models, prediction, store
from selion.cli.main import cli
from selion.errors import BandMismatch
from selion.grid import Lattice, photo_grid
from selion.prediction.blend import LatticeWeights
from selion.prediction.filling import QuarterFilled, quarters_of
from selion.raster import Raster

NATIVE, TIMES, STRIDE = 128, 4, 96


def starts(size):
    regular = list(range(0, max(size - NATIVE, 0) + 1, STRIDE))
    return sorted({*regular, max(size - NATIVE, 0)})


def upsample(window):
    """Four times, by numpy's linear interpolation between the centres of the window's pixels."""
    where = (np.arange(NATIVE * TIMES) + 0.5) / TIMES - 0.5
    centres = np.arange(NATIVE)
    wide = np.stack([[np.interp(where, centres, row) for row in band] for band in window])
    return np.stack([np.stack([np.interp(where, centres, c) for c in band.T]).T for band in wide])


def mixed(matrix, planes):
    return np.einsum("oc,cyx->oyx", matrix, planes, optimize=True)


def network(pixels):
    first, bias, last = (values.astype(np.float64) for values in weights())
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)))
    size = pixels.shape[1]
    mid = sum(
        mixed(first[:, :, i, j], padded[:, i : i + size, j : j + size])
        for i in range(3)
        for j in range(3)
    )
    return mixed(last[:, :, 0, 0], np.tanh(mid + bias[:, None, None]))


def rebuilt(values):
    """(class, 4 y, 4 x) float64 probabilities of a stack without holes."""
    _, height, width = values.shape
    beyond = [(0, 0), (0, max(NATIVE - height, 0)), (0, max(NATIVE - width, 0))]
    scaled = np.pad(values.astype(np.float64) / 3000, beyond, mode="edge")
    profile = np.sin(np.pi * np.arange(512) / 511) ** 2
    weight = np.maximum(np.outer(profile, profile), 1e-3)
    total = np.zeros((3, scaled.shape[1] * TIMES, scaled.shape[2] * TIMES))
    weights_sum = np.zeros(total.shape[1:])
    for top in starts(scaled.shape[1]):
        for left in starts(scaled.shape[2]):
            logits = network(upsample(scaled[:, top : top + NATIVE, left : left + NATIVE]))
            shares = np.exp(logits - logits.max(0))
            here = np.s_[top * TIMES : top * TIMES + 512, left * TIMES : left * TIMES + 512]
            total[:, *here] += shares / shares.sum(0) * weight
            weights_sum[here] += weight
    return (total / weights_sum)[:, : height * TIMES, : width * TIMES]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    onnx = write_network(folder / "unet_balanced.onnx")
    models.import_checkpoint(onnx, folder / "imported", models.find_card("ftw-2e"))
    return folder / "imported"


def predicted(tmp_path, model, image):
    out = tmp_path / "scores.tif"
    told = CliRunner().invoke(cli, ["predict", str(image), "-m", str(model), "-o", str(out)])
    assert told.exit_code == 0, told.output
    with rasterio.open(out) as file:
        return file.read(), file.transform, told.output


@pytest.mark.parametrize("shape", [(150, 160), (128, 100)])
def test_it_is_the_public_rule_to_one_step(tmp_path, model, shape):
    values = reflectance(shape)
    image = write_stack(tmp_path / "stack.tif", values)
    found, transform, said = predicted(tmp_path, model, image)
    wanted = rebuilt(values)
    assert (transform.a, transform.e, transform.c, transform.f) == (2.5, -2.5, 600000, 4300020)
    assert found.shape == (3, shape[0] * 4, shape[1] * 4)
    assert np.abs(found.astype(int) - np.rint(wanted * 254).astype(int)).max() <= 1
    published = np.rint(wanted * 255).astype(int)  # what they would write, from ours
    assert np.abs(np.rint(found / 254 * 255).astype(int) - published).max() <= 1
    assert np.ptp(found[1]) > 100  # the random network does say something
    assert "interpolated up" in said


def test_blocks_equal_the_whole(tmp_path, model):
    values = reflectance((160, 240), seed=3)
    values[4:8, 20:90, 60:130] = NODATA
    values[:, 100:110, 5:20] = NODATA
    source = store.open_raster(write_stack(tmp_path / "stack.tif", values))
    loaded = models.load_model(model)
    whole, blocks = (
        prediction.predict(source, loaded, options=prediction.PredictOptions(block=block))
        for block in (2048, 300)
    )
    np.testing.assert_array_equal(whole.values, blocks.values)
    np.testing.assert_array_equal(whole.valid, blocks.valid)


def test_the_tag_says_the_bands_where_names_were_lost(tmp_path, model):
    values = reflectance((128, 128), seed=5)
    named, _, _ = predicted(tmp_path, model, write_stack(tmp_path / "named.tif", values))
    image = write_stack(tmp_path / "tagged.tif", values, described=None, stated=STATED)
    (tmp_path / "scores.tif").unlink()
    tagged, _, _ = predicted(tmp_path, model, image)
    np.testing.assert_array_equal(named, tagged)


def test_order_is_taken_by_name(tmp_path, model):
    values = reflectance((128, 128), seed=6)
    named, _, _ = predicted(tmp_path, model, write_stack(tmp_path / "named.tif", values))
    (tmp_path / "scores.tif").unlink()
    turned = write_stack(tmp_path / "turned.tif", values[::-1], described=BANDS[::-1])
    found, _, _ = predicted(tmp_path, model, turned)
    np.testing.assert_array_equal(named, found)


def test_a_stack_that_does_not_say_its_bands_is_refused(tmp_path, model):
    image = write_stack(tmp_path / "silent.tif", reflectance((64, 64)), described=None)
    out = tmp_path / "scores.tif"
    told = CliRunner().invoke(cli, ["predict", str(image), "-m", str(model), "-o", str(out)])
    assert isinstance(told.exception, BandMismatch)
    assert "does not say which of its 16 bands" in str(told.exception)
    assert "Q1_B04" in str(told.exception)
    assert f"input_bands='{STATED}'" in str(told.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("described", "stated", "words"),
    [
        (BANDS, "Q1,Q2,Q3,Q4 x B02,B03,B04,B08", "correct the one that is wrong"),
        (None, "Q1,Q2 x B04,B03,B02,B08", "names 8 bands, but the image has 16"),
        (None, "Q4,Q5,Q6,Q7 x B04,B03,B02,B08", "does not say which"),
    ],
)
def test_names_and_tags_that_do_not_agree(tmp_path, model, described, stated, words):
    image = write_stack(
        tmp_path / "i.tif", reflectance((32, 32)), described=described, stated=stated
    )
    with pytest.raises(BandMismatch, match=words):
        prediction.plan(store.open_raster(image), models.load_model(model))


def filled_by_hand(values):
    """The three steps, pixel by pixel."""
    out, valid = values.astype(int).copy(), np.ones(values.shape[1:], bool)
    for k, y, x in np.argwhere(values == NODATA):
        square = values[k, max(y - 15, 0) : y + 16, max(x - 15, 0) : x + 16].astype(float)
        near = square[square != NODATA]
        others = values[k % 4 :: 4, y, x].astype(float)
        others = others[others != NODATA]
        if near.size / 961 >= 0.3:
            out[k, y, x] = np.rint(near.mean())
        elif others.size:
            out[k, y, x] = np.rint(others.mean())
        else:
            valid[y, x] = False
    return out, valid


def test_holes_are_filled_from_around_and_from_other_quarters(tmp_path):
    values = reflectance((60, 70), seed=8)
    values[0, 10:14, 10:14] = NODATA  # small: from around
    values[4:8, 5:55, 20:65] = NODATA  # large: from other quarters in its middle
    values[:, 0:50, 30:70] = NODATA  # never seen
    source = store.open_raster(write_stack(tmp_path / "stack.tif", values))
    filled = QuarterFilled(source, source.nodatas, quarters_of(source.bands))
    whole = filled.read(np.s_[0:60, 0:70])
    wanted, valid = filled_by_hand(values)
    np.testing.assert_array_equal(whole.valid, valid)
    assert not valid.all()
    np.testing.assert_array_equal(whole.values[:, valid], wanted[:, valid])
    assert whole.values.dtype == np.int16
    part = filled.read(np.s_[7:31, 22:61])
    np.testing.assert_array_equal(part.values, whole.values[:, 7:31, 22:61])
    np.testing.assert_array_equal(part.valid, whole.valid[7:31, 22:61])


def test_holes_of_bands_that_only_a_tag_names_are_filled_from_other_quarters(tmp_path, model):
    values = reflectance((64, 64), seed=10)
    values[4:8] = NODATA  # one quarter saw nothing: only the others can stand for it
    named, _, _ = predicted(tmp_path, model, write_stack(tmp_path / "named.tif", values))
    image = write_stack(tmp_path / "tagged.tif", values, described=None, stated=STATED)
    (tmp_path / "scores.tif").unlink()
    tagged, _, _ = predicted(tmp_path, model, image)
    assert (named != 255).all()
    np.testing.assert_array_equal(named, tagged)


def test_floats_are_filled_too():
    values = reflectance((40, 40), seed=9).astype(np.float32)
    values[0:4, 10:12, 5:30] = np.nan
    source = Raster(values, photo_grid((40, 40)), BANDS)
    filled = QuarterFilled(source, (None,) * 16, quarters_of(BANDS)).read(np.s_[0:40, 0:40])
    assert np.isfinite(filled.values).all()
    assert filled.valid.all()
    np.testing.assert_array_equal(filled.values[4:], values[4:])


def test_hann_weights_sum_to_one_and_know_no_block():
    lattice = Lattice((512 + 384 + 40, 512), 512, 0.25, 4)
    kept = LatticeWeights(lattice, "hann")
    total = np.zeros(lattice.shape)
    for row in range(len(lattice.starts[0])):
        total[lattice.window_roi(row, 0)] += kept.of(row, 0)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    small = LatticeWeights(Lattice((100, 600), 512, 0.25, 4), "hann")
    np.testing.assert_allclose(small.of(0, 0)[:, :64], 1, atol=1e-6)
    assert small.of(0, 0).shape == (100, 512)


def test_windows_start_on_whole_pixels_of_the_image():
    lattice = Lattice((2000, 2404), 512, 0.3, 4)
    assert all(start % 4 == 0 for line in lattice.starts for start in line)


def test_the_card_says_it_and_old_cards_stay_as_they_are(tmp_path):
    card = models.find_card("ftw-2e")
    models.write_card(card, tmp_path / "card.toml")
    assert models.read_card(tmp_path / "card.toml").inputs == card.inputs
    shown = models.describe(card)["window"]
    assert shown == (
        "512 px, overlap 25%, upsampled 4 times (bilinear), hann blending, missing numbers filled "
        "by quarters"
    )
    for old in models.packaged_models():
        assert not {"upsampling", "blend", "fill", "named"} & set(old.to_dict()["inputs"])
    assert json.dumps(card.to_dict()["inputs"], default=str).count("upsampling") == 1
