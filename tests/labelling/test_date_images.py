"""Images that a model of any number of dates labelled are found again as it saw them."""

import numpy as np
import pytest

from selion import store
from selion.errors import BandMismatch
from selion.labelling.selection import open_image
from selion.prediction.bands_of_dates import MISSING, choose_dates
from selion.segmenter import InputSpec
from train_toys import grid

COLOURS = ("red", "green", "blue", "nir")
INPUTS = InputSpec(COLOURS, dates="any", optional=("nir",))


def written(path, bands):
    values = np.zeros((len(bands), 64, 64), np.uint16)
    with store.create_cog(path, grid(), bands, np.uint16) as sink:
        sink.write(np.s_[0:64, 0:64], values)
    return path


@pytest.mark.parametrize(
    ("bands", "asked", "dates"),
    [
        (("B02", "B03", "B04"), None, [(2, 1, 0, MISSING)]),
        (("w", "x", "y", "z"), None, [(0, 1, 2, 3)]),
        # what --bands left out stays out, whatever it is called
        (COLOURS * 2, [5, 6, 7], [(4, 5, 6, MISSING)]),
        (COLOURS * 2, None, [(0, 1, 2, 3), (4, 5, 6, 7)]),
    ],
)
def test_bands_are_called_as_the_model_saw_them(tmp_path, bands, asked, dates):
    source = open_image(written(tmp_path / "i.tif", bands), COLOURS, asked, ("nir",))
    assert choose_dates(source.bands, INPUTS).dates == tuple(dates)


def test_a_file_that_changed_is_refused(tmp_path):
    with pytest.raises(BandMismatch, match="lacks blue"):
        open_image(written(tmp_path / "i.tif", ("red", "green", "nir")), COLOURS, None, ("nir",))
