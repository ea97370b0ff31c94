import numpy as np
import pytest

from predict_toys import Procedural, Toy, utm_grid
from selion.errors import BadInput
from selion.prediction import predict
from selion.prediction.value_range import check_numbers
from selion.raster import Raster
from selion.segmenter import Scaling

DIGITAL, BYTE = Scaling((3000.0,)), Scaling((255.0,))


def image(low, high, dtype, valid=None):
    values = np.random.default_rng(0).uniform(low, high, (2, 70, 70)).astype(dtype)
    return Raster(values, utm_grid((70, 70)), ("red", "green"), valid)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "scaling"),
    [
        (200, 6000, "uint16", DIGITAL),
        (20, 300, "uint16", DIGITAL),  # water and shadow
        (0, 16000, "uint16", DIGITAL),  # snow
        (10, 250, "uint8", BYTE),
        (100, 2047, "uint16", BYTE),  # eleven bits may be meant
        (0, 0.4, "float32", Scaling((0.25, 0.2), (0.1, 0.1))),
        (0, 60000, "uint16", Scaling()),
    ],
)
def test_numbers_that_may_be_meant(low, high, dtype, scaling):
    assert check_numbers(image(low, high, dtype), (0, 1), scaling)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "scaling"),
    [
        (0, 0.6, "float32", DIGITAL),
        (10, 250, "uint8", DIGITAL),
        (3000, 20000, "uint16", BYTE),
        (500, 6000, "uint16", Scaling((0.25,), (0.1,))),
    ],
)
def test_numbers_that_cannot_be_meant(low, high, dtype, scaling):
    with pytest.raises(BadInput, match="not on the scale"):
        check_numbers(image(low, high, dtype), (0, 1), scaling)


def test_nodata_is_not_judged():
    assert not check_numbers(image(0, 0.6, "float32", np.zeros((70, 70), bool)), (0, 1), DIGITAL)
    holes = image(500, 3000, "float32")
    holes.values[:, ::2] = np.nan
    assert check_numbers(holes, (0, 1), DIGITAL)


def test_predict_asks_before_the_model_works():
    model = Toy()
    with pytest.raises(BadInput, match="not on the scale"):
        predict(Procedural(utm_grid((100, 100)), dtype=np.dtype(np.uint8)), model)
    assert not model.calls
