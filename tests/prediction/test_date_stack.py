"""Images as sets of dates: what one date lacks, numbers of two kinds, and blocks."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from predict_toys import utm_grid
from selion.classes import FTW3
from selion.data.stacked import BandSubset, Cut, stack
from selion.errors import BadInput
from selion.pipeline.opening import JoinedDates
from selion.prediction import PredictOptions, WindowCache, plan, predict, predict_block
from selion.prediction.declared_numbers import Declared, LeftAside
from selion.prediction.look_understood import Understood
from selion.prediction.windows import cut_window
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling
from selion.store.valid import valid_pixels

COLOURS = ("red", "green", "blue", "nir")
TWO = tuple(f"{date}:{name}" for date in ("window_a", "window_b") for name in COLOURS)
NAN = np.nan


@dataclass
class Sets:
    """Answers by what is there, whichever date it is of, and by the place in the window."""

    window: int = 64
    gsd: tuple[float, float] | None = None
    byte_divide: float | None = 255.0
    seen: list = field(default_factory=list, repr=False)
    classes = FTW3

    @property
    def inputs(self):
        return InputSpec(
            COLOURS,
            Scaling((3000.0,), clip=(0.0, 3.0)),
            self.gsd,
            self.window,
            dates="any",
            optional=("nir",),
            byte_divide=self.byte_divide,
        )

    def __call__(self, views):
        return np.stack([self._one(view) for view in views])

    def _one(self, view):
        self.seen.append(view.pixels.copy())
        scaled = self.inputs.scaling_of(len(view.pixels))(view.pixels).reshape(-1, 4, 64, 64)
        there = np.isfinite(scaled)
        mean = np.where(there, scaled, 0).sum(0) / np.maximum(there.sum(0), 1)
        ramp = np.linspace(0, 1, 64, dtype=np.float32)
        power = np.exp(np.stack([mean[0] + ramp, mean[3] * ramp[:, None], mean[1] - mean[2]]))
        return (power / power.sum(0)).astype(np.float32)


def image(bands, shape=(40, 50), low=300, high=5000, dtype="uint16", seed=0, valid=None):
    values = np.random.default_rng(seed).integers(low, high, (len(bands), *shape)).astype(dtype)
    return Raster(values, utm_grid(shape), bands, valid)


@dataclass
class Holed:
    """A raster with a number that stands for nothing, band by band, as files have it."""

    raster: Raster
    nodatas: tuple

    def __getattr__(self, name):
        return getattr(self.raster, name)

    def read(self, roi):
        part = self.raster.read(roi)
        return Raster(
            part.values, part.grid, part.bands, valid_pixels(part.values, part.bands, self.nodatas)
        )


def shown(source, model=None, **options):
    """What the model sees of a source of one window, cut to it; and where that is valid."""
    decided = plan(source, model or Sets(), PredictOptions(**options))
    working = decided.working(source)
    roi = decided.lattice_roi(0, 0)
    window = cut_window(working.read(roi), roi, (0, 0), decided)
    rows, columns = (slice(0, size) for size in window.valid.shape)
    return window.view.pixels[:, rows, columns], window.valid, decided


def test_two_dates_lie_one_after_the_other_and_a_band_that_lacks_is_nan():
    source = image((*TWO[:4], *TWO[4:7]))
    pixels, valid, decided = shown(source)
    np.testing.assert_array_equal(pixels[:7], source.values)
    assert np.isnan(pixels[7]).all()
    assert valid.all()
    assert decided.bands == tuple(range(8))
    assert decided.notes[0].endswith("1 of them without nir.")
    # interleaved, in another order of colours: the same numbers at the same places
    order = [1, 5, 0, 4, 2, 6, 3]
    turned = Raster(source.values[order], source.grid, tuple(source.bands[k] for k in order))
    other = shown(turned)[0]
    np.testing.assert_array_equal(
        np.sort(pixels.reshape(2, 4, -1), 0), np.sort(other.reshape(2, 4, -1), 0)
    )


def test_nodata_of_one_date_is_missing_from_that_date_alone():
    source = image(TWO)
    source.values[4:, 3:9, 5:8] = 0  # nothing in the second date
    source.values[:, 20:, 30:] = 0  # and nothing in either
    source.values[1, 0, 0] = 0  # a shadow: one band alone says nothing of the date
    pixels, valid, _ = shown(Holed(source, (0.0,) * 8))
    np.testing.assert_array_equal(pixels[:4, :20], source.values[:4, :20])
    assert np.isnan(pixels[4:, 3:9, 5:8]).all()
    assert np.isfinite(pixels[:4]).all()
    assert not valid[20:, 30:].any()
    assert valid[:20].all()
    assert valid[:, :30].all()
    # where no date is there, each band has the mean of what is
    known = np.ones((40, 50), bool)
    known[20:, 30:] = False
    known[3:9, 5:8] = False
    assert pixels[5, 30, 40] == pytest.approx(source.values[5][known].mean(), rel=1e-6)


def test_numbers_that_are_not_finite_are_missing_from_their_date_or_alone():
    values = image(TWO).values.astype(np.float32)
    values[0, 2, 2] = NAN  # red of the first date: that date is gone there
    values[7, 5, 5] = NAN  # near infrared of the second: it alone
    pixels, valid, _ = shown(Raster(values, utm_grid((40, 50)), TWO))
    assert np.isnan(pixels[:4, 2, 2]).all()
    assert np.isfinite(pixels[4:, 2, 2]).all()
    assert np.isnan(pixels[7, 5, 5])
    assert np.isfinite(pixels[:7, 5, 5]).all()
    assert valid.all()
    assert np.isnan(pixels).sum() == 5


def test_a_mask_that_no_band_explains_hides_every_date():
    mask = np.ones((40, 50), bool)
    mask[:4] = False
    pixels, valid, _ = shown(image(TWO, valid=mask))
    np.testing.assert_array_equal(valid, mask)
    assert np.isfinite(pixels).all()  # filled by the mean, as ever


def test_one_date_that_is_missing_everywhere_is_nan_and_no_error():
    source = image(TWO)
    source.values[:4] = 0
    pixels, valid, _ = shown(Holed(source, (0.0,) * 8))
    assert np.isnan(pixels[:4]).all()
    assert valid.all()


@pytest.mark.parametrize(
    ("low", "high", "dtype", "nir", "gains", "sentence"),
    [
        (0, 256, "uint8", None, 3000 / 255, "(uint8) are taken as bytes: divided by 255."),
        (200, 4000, "uint16", None, 1, "(uint16) are taken as digital: divided by 3000."),
        (0, 256, "uint16", None, 3000 / 255, "(uint16) are taken as bytes: divided by 255."),
        (200, 4000, "float32", None, 1, "(float32) are taken as digital: divided by 3000."),
        # true colour in bytes beside near infrared as it was measured
        (0, 256, "uint16", 4000, 3000 / 255, "nir as digital numbers: divided by 3000."),
        # near infrared over water is small, and the colours tell
        (300, 900, "uint16", 200, 1, "taken as digital"),
    ],
)
def test_numbers_are_of_one_of_two_kinds_and_that_is_said(low, high, dtype, nir, gains, sentence):
    source = image(COLOURS, low=low, high=high, dtype=dtype)
    if nir:
        source.values[3] = np.random.default_rng(1).integers(100, nir, (40, 50))
    pixels, _, decided = shown(source)
    np.testing.assert_allclose(pixels[:3], source.values[:3] * gains, rtol=1e-6)
    near = 1 if nir else gains
    np.testing.assert_allclose(pixels[3], source.values[3] * near, rtol=1e-6)
    assert any(sentence in note for note in decided.notes)


def test_numbers_of_neither_kind_are_refused():
    source = image(COLOURS, low=0, high=5000, dtype="float32")
    with pytest.raises(BadInput, match="multiply reflectances by 10000"):
        plan(Raster(source.values / 1e4, source.grid, COLOURS), Sets())
    with pytest.raises(BadInput, match="choose a model for bytes"):
        plan(image(COLOURS, high=256, low=0, dtype="uint8"), Sets(byte_divide=None))
    with pytest.raises(BadInput, match="not on the scale"):
        predict(image(COLOURS, low=80000, high=90000, dtype="float32", shape=(64, 64)), Sets())


def test_numbers_are_looked_for_where_something_is_seen():
    """All but a corner is nothing: the places on the lattice reach it."""
    source = image(COLOURS, shape=(700, 900))
    source.values[:, :600] = 0
    source.values[:, :, :700] = 0
    assert plan(Holed(source, (0.0,) * 4), Sets()).dates.gains == (1, 1, 1, 1)
    source.values[:] = 0  # nothing at all: the number type is what is known
    assert plan(Holed(source, (0.0,) * 4), Sets()).dates.gains == (1, 1, 1, 1)


@pytest.mark.parametrize("gsd", [None, (5.0, 5.0), (25.0, 25.0)])
def test_blocks_equal_the_whole_and_dates_are_resampled_by_themselves(gsd):
    source = image(TWO, shape=(150, 210))
    rng = np.random.default_rng(5)
    for date in (0, 1):
        for _ in range(6):
            y, x = rng.integers(0, 140), rng.integers(0, 190)
            source.values[4 * date : 4 * date + 4, y : y + 25, x : x + 30] = 0
    holed = Holed(source, (0.0,) * 8)
    model = Sets(gsd=gsd)
    decided = plan(holed, model, PredictOptions(block=64))
    whole = tuple(slice(0, size) for size in decided.lattice.shape)
    scores, valid = predict_block(holed, model, decided, whole)
    cache = WindowCache(decided)
    for roi in decided.blocks:
        part, known = predict_block(holed, model, decided, roi, cache)
        np.testing.assert_array_equal(part, scores[:, *roi])
        np.testing.assert_array_equal(known, valid[roi])
    assert 0 < valid.mean() < 1 or gsd is None
    # a date by itself is resampled to the same numbers as beside another
    first = Holed(Raster(source.values[:4], source.grid, COLOURS), (0.0,) * 4)
    alone = plan(first, model).working(first).read(whole).values
    np.testing.assert_array_equal(decided.working(holed).read(whole).values[:4], alone)


def test_what_is_decided_is_part_of_the_key():
    source = image(TWO)
    keys = {
        plan(source, Sets()).key,
        plan(source, Sets(), PredictOptions(bands=(1, 2, 3, 4))).key,
        plan(source, Sets(), PredictOptions(bands=(5, 6, 7, 8))).key,
        plan(source, Sets(), PredictOptions(bands=(1, 2, 3))).key,
        plan(source, Sets(byte_divide=None)).key,
        plan(Raster(source.values // 20, source.grid, TWO), Sets()).key,
    }
    assert len(keys) == 6


def test_flips_turn_what_is_missing_too():
    source = image(TWO, shape=(64, 64))
    source.values[4:, :10, :10] = 0
    holed = Holed(source, (0.0,) * 8)
    plain, turned = Sets(), Sets()
    predict(holed, plain)
    predict(holed, turned, options=PredictOptions(flips=True))
    assert {int(np.isnan(one).sum()) for one in turned.seen} == {400}
    assert len(turned.seen) == 8 * len(plain.seen)


def two_dates(dtype="uint16", nothing=0, **numbers):
    """An image of two dates of which each lacks what the other has, and both lack a corner."""
    source = image(TWO, dtype=dtype, **numbers)
    source.values[4:, 3:9, 5:8] = nothing
    source.values[:4, 12:15, 20:30] = nothing
    source.values[:, 20:, 30:] = nothing
    return Holed(source, (nothing,) * 8)


def parts_of(source):
    """The same as an image for each date."""
    return [
        Holed(
            Raster(source.raster.values[k : k + 4], source.grid, COLOURS), source.nodatas[k : k + 4]
        )
        for k in (0, 4)
    ]


def joined(source):
    first, *others = parts_of(source)
    return JoinedDates(first, tuple(others), TWO)


@pytest.mark.parametrize(
    "made",
    [
        joined,
        lambda source: stack(parts_of(source), TWO),
        lambda source: BandSubset(source, tuple(range(8)), TWO),
        lambda source: Cut(source, np.s_[0:40, 0:50]),
        lambda source: LeftAside(source, "a doubt"),
        lambda source: Understood(source, TWO, (1.0,) * 8, (0.0,) * 8),
        # dates that no name tells: colours that come again
        lambda source: BandSubset(source, tuple(range(8)), COLOURS * 2),
    ],
)
@pytest.mark.parametrize(("dtype", "nothing"), [("uint16", 0), ("int16", -9999)])
def test_a_date_is_missing_alone_whatever_the_image_was_made_of(made, dtype, nothing):
    source = two_dates(dtype, nothing)
    wanted, known, _ = shown(source)
    assert np.isnan(wanted).any()
    assert (~known).sum() == 20 * 20
    found, valid, _ = shown(made(source))
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(found, wanted)


def test_a_date_that_a_mask_alone_hides_is_missing_alone():
    """An image with alpha beside others hid its ground in all of them."""
    source = two_dates()
    wanted, known, _ = shown(source)
    parts = []
    for part in parts_of(source):
        seen = part.raster.values.any(0)
        values = np.where(seen, part.raster.values, 7777).astype(np.uint16)
        parts.append(Raster(values, part.raster.grid, COLOURS, seen))
    found, valid, _ = shown(JoinedDates(parts[0], (parts[1],), TWO, (True, True)))
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", [Understood, Declared])
def test_a_date_is_missing_alone_where_numbers_are_converted(kind):
    """Landsat's numbers, of which 0 stands for nothing and becomes -2000."""
    source = two_dates(low=9000, high=30_000)
    gains, shifts = (0.275,) * 8, (-2000.0,) * 8
    given = {"names": TWO} if kind is Understood else {}
    wanted, known, _ = shown(source)
    found, valid, _ = shown(kind(source, gains=gains, shifts=shifts, **given))
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    there = np.isfinite(wanted) & known
    np.testing.assert_allclose(found[there], wanted[there] * 0.275 - 2000, rtol=1e-5, atol=1e-3)


def test_a_filler_is_missing_from_its_date_alone():
    """What stands for nothing though the file does not say so."""
    source = two_dates()
    wanted, known, _ = shown(source)
    made = Understood(
        source.raster, TWO, (1.0,) * 8, (0.0,) * 8, (0.0,), of_date=(0,) * 4 + (1,) * 4
    )
    found, valid, _ = shown(made)
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(found, wanted)
