"""What a look finds: the same reflectances in any numbers, bands in any order, or a warning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, UnreadableFile
from selion.grid import whole
from selion.pipeline.opening import JoinedDates
from selion.prediction import judged, look_at, understood
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling

COLOURS = ("red", "green", "blue", "nir")
NAMES = tuple(f"{date}:{colour}" for date in ("window_a", "window_b") for colour in COLOURS)
INPUTS = InputSpec(NAMES, Scaling((3000.0,), (0.0,), (0.0, 3.0)), (5.0, 5.0))


def date(seed):
    """Vegetation, soil and water in digital numbers, by the books: (4, 96, 96) int32."""
    rng = np.random.default_rng(seed)
    kinds = np.array([[300, 600, 250, 4000], [2000, 1500, 1000, 2700], [200, 300, 350, 80]])
    cover = np.kron(rng.choice(3, (12, 12), p=[0.5, 0.4, 0.1]), np.ones((8, 8), int))
    light = rng.normal(1, 0.08, cover.shape)
    return np.round(kinds.T[:, cover] * light + rng.normal(0, 15, (4, 96, 96))).astype(np.int32)


PAIR = np.concatenate([date(1), date(2)])


def raster(values, names=NAMES, metres=10.0):
    grid = GeoBox(values.shape[1:], Affine(metres, 0, 5e5, 0, -metres, 5e6), "EPSG:32633")
    return Raster(values, grid, names)


def shown(source):
    """What a model of two dates gets, and the look."""
    made, look = understood(source, look_at(source), INPUTS)
    return made.read(whole(made.grid)).values, made, look


@pytest.mark.parametrize(
    ("gain", "shift"),
    [
        (1, 0),
        (0.0001, 0),
        (0.01, 0),
        (1, 1000),
        (1, -1000),
        (1, -2000),
        (0.0001, -0.2),
        (0.0001, 0.1),
        (0.0001 / 2.75e-05, 0.2 / 2.75e-05),
    ],
)
def test_numbers_become_digital(gain, shift):
    found, _, look = shown(raster((PAIR * gain + shift).astype(np.float32)))
    np.testing.assert_allclose(found, PAIR, atol=2.0)
    assert not look.warnings
    assert (gain, shift) == (1, 0) or "brought to digital numbers" in " ".join(look.said)


def test_each_date_has_its_own_numbers_and_strays_decide_nothing():
    values = PAIR.astype(np.float64)
    values[:4] /= 10_000
    values[4:] += 1000
    values[:4, 3, 3] = 2.1
    found, *_ = shown(raster(values))
    np.testing.assert_allclose(np.delete(found, 3, axis=1), np.delete(PAIR, 3, axis=1), atol=2.0)


@pytest.mark.parametrize("case", [PAIR / 14, np.clip(PAIR - 1000, 0, None), PAIR // 10, PAIR * 6])
def test_what_cannot_be_known_is_a_warning(case):
    assert shown(raster(np.asarray(case).astype(np.uint16)))[2].warnings


@pytest.mark.parametrize(
    "order", [[2, 1, 0, 3, 6, 5, 4, 7], [0, 4, 1, 5, 2, 6, 3, 7], [3, 0, 1, 2, 7, 4, 5, 6]]
)
def test_bands_without_names_are_known_by_their_values(order):
    _, made, look = shown(raster(PAIR[order], tuple(f"band{k}" for k in range(1, 9))))
    wanted = [f"{1 + k // 4}:{COLOURS[k % 4]}" for k in order]
    assert list(made.bands) == wanted
    assert look.warnings


def test_the_right_image_is_left_alone():
    source = raster(PAIR.astype(np.uint16))
    made, look = understood(source, look_at(source), INPUTS)
    assert made is source
    assert not look.said
    assert not look.warnings + judged(look, INPUTS, chosen=False)


def test_exchanged_names_coarse_pixels_and_bytes_are_told():
    exchanged = raster(PAIR[[3, 1, 2, 0, 7, 5, 6, 4]])
    assert "exchanged" in " ".join(look_at(exchanged).warnings)
    coarse = look_at(raster(PAIR, metres=30.0))
    assert "6.0 times" in " ".join(judged(coarse, INPUTS, chosen=False))
    with pytest.raises(BadInput, match="--gsd 5"):
        judged(look_at(raster(PAIR, metres=100.0)), INPUTS, chosen=False)


def test_numbers_that_stand_for_nothing():
    values = PAIR.astype(np.int16)
    values[:, :, :9] = -9999
    _, made, _ = shown(raster(values))
    np.testing.assert_array_equal(made.read(whole(made.grid)).valid[:, :12].all(0)[8:10], [0, 1])


def scene(kinds, shares, haze=0.0):
    """Covers given by the red, green, blue and near infrared of each: (8, 96, 96) float64."""
    found = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        cover = np.kron(rng.choice(len(kinds), (12, 12), p=shares), np.ones((8, 8), int))
        found.append(np.array(kinds, float).T[:, cover] * rng.normal(1, 0.08, cover.shape))
    return np.concatenate(found) + np.tile(np.array([1, 1.4, 2, 0.5]) * haze, 2)[:, None, None]


SAND, BRIGHT = (4200, 3200, 2200, 4800), (5000, 4000, 3000, 5600)
WATER, DEEP = (200, 300, 350, 80), (60, 90, 150, 20)
JUNGLE, FOREST = (250, 500, 280, 4200), (150, 300, 200, 2200)
FARM = ((300, 600, 250, 4000), (2000, 1500, 1000, 2700))
SNOW, GRASS = (9500, 9600, 9700, 8200), (1800, 1500, 1100, 4500)
ODD = {
    "desert": (scene((SAND, BRIGHT), (0.5, 0.5)), False),
    "forest": (scene((FOREST, JUNGLE), (0.5, 0.5)), False),
    "haze": (scene(FARM, (0.5, 0.5), haze=500), True),
    "dry grass": (scene((GRASS, SAND), (0.6, 0.4)), True),
    "snow": (scene((SNOW, FOREST), (0.9, 0.1)), True),
    "water": (scene((WATER, DEEP), (0.5, 0.5)), True),
    "night": (scene(((3, 2, 1, 2), (8, 6, 4, 7)), (0.7, 0.3)), True),
    "nothing": (np.zeros((8, 96, 96)), True),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [2, 1, 0, 3, 6, 5, 4, 7]])
def test_what_is_not_unmistakable_stays_as_it_is(name, order):
    values, doubtful = ODD[name]
    digits = np.round(values).astype(np.uint16)
    found, made, look = shown(raster(digits))
    np.testing.assert_array_equal(found, digits)
    assert bool(look.warnings) == doubtful
    _, made, look = shown(raster(digits[order], tuple(f"band{k}" for k in range(1, 9))))
    assert look.warnings
    listed = [name.rpartition(":")[2] for name in made.bands[:4]]
    assert listed in ([COLOURS[k] for k in order[:4]], ["band1", "band2", "band3", "band4"])


def test_numbers_for_a_network_or_a_screen_are_no_reflectances():
    scaled = (PAIR - PAIR.mean()) / PAIR.std()
    assert "network" in " ".join(shown(raster(scaled.astype(np.float32)))[2].warnings)
    screen = np.clip(PAIR / 3500, 0, 1).astype(np.float32)
    assert "cut off at 1" in " ".join(shown(raster(screen))[2].warnings)


SCALES = {
    "times 255": (PAIR / 10_000 * 255, "near infrared of"),
    "a third": (PAIR / 3.5, "near infrared of"),
    "radiances": (
        PAIR * np.tile([408, 492, 524, 280], 2)[:, None, None] / 10_000,
        "Dense vegetation has a red of",
    ),
    "above the air": (PAIR + np.tile([300, 500, 1000, 100], 2)[:, None, None], "above the atm"),
    "band by band": (
        (PAIR - PAIR.min((1, 2), keepdims=True)) / np.ptp(PAIR, axis=(1, 2))[:, None, None],
        "band by band",
    ),
}


@pytest.mark.parametrize("name", SCALES)
def test_plants_tell_a_scale_that_numbers_alone_do_not(name):
    values, said = SCALES[name]
    assert said in " ".join(shown(raster(values.astype(np.float32)))[2].warnings)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 3, 2, 1, 4, 7, 6, 5], "called green of window_a is much brighter"),
        ([0, 1, 3, 2, 4, 5, 6, 7], "called blue of window_a is much brighter"),
        ([2, 1, 0, 3, 4, 5, 6, 7], "soil of window_a is bluer"),
        ([0, 1, 2, 3, 6, 5, 4, 7], "soil of window_b is bluer"),
    ],
)
def test_any_two_bands_exchanged_are_told(order, said):
    assert said in " ".join(look_at(raster(PAIR[order])).warnings)


@pytest.mark.parametrize("number", [-1, -99, -10_000])
@pytest.mark.parametrize("first", [0, 4])
def test_a_number_below_0_that_all_bands_of_a_date_have_is_nothing(number, first):
    values = PAIR.astype(np.int16)
    values[first:, :, :40] = number
    _, made, look = shown(raster(values))
    valid = made.read(whole(made.grid)).valid
    assert valid[:, 40:].all()
    assert not valid[:, :40].any()
    assert not look.warnings


def test_gaps_that_run_through_an_image_are_told():
    striped = PAIR.copy()
    striped[:, (np.arange(96)[:, None] + np.arange(96) // 4) % 20 < 4] = 0
    assert "Gaps run through" in " ".join(look_at(raster(striped)).warnings)
    half = PAIR.copy()
    half[:, :, 48:] = 0
    assert not look_at(raster(half)).warnings


@pytest.mark.parametrize("edge", [32, 40, 96])
def test_an_image_that_was_cut_along_a_farm_has_no_gaps(edge):
    """However small: most of the pixels of a small farm are near its border."""
    rows, columns = np.indices((edge, edge)) - (edge - 1) / 2
    cut = np.where(np.hypot(rows, columns) <= edge / 2 - 1, PAIR[:, :edge, :edge], np.nan)
    assert not look_at(raster(cut.astype(np.float32))).warnings


def test_a_turbid_lake_is_no_exchange_of_bands():
    """The Inn's, in a real pair of June: bright in all colours, and black in near infrared."""
    lake = PAIR.copy()
    lake[:4, :, :40] = np.array([1434, 1682, 1406, 160])[:, None, None]
    assert not look_at(raster(lake)).warnings


def test_reflectances_that_were_clipped_are_not_stretched_band_by_band():
    """Nothing is 0 in all bands, and a cloud 1 in all: so each band reaches from 0 to 1."""
    clipped = (PAIR / 10_000).astype(np.float32)
    clipped[:, 0, 0], clipped[:, 5:7, 5:7] = 0, 1
    assert not shown(raster(clipped))[2].warnings


def test_colours_with_a_number_behind_them_are_dates():
    names = tuple(f"{colour}_{k}" for k in (1, 2) for colour in COLOURS)
    assert look_at(raster(PAIR, names)).bands == tuple(
        f"{k}:{colour}" for k in (1, 2) for colour in COLOURS
    )


def test_very_dark_bytes_are_told():
    dark = (np.clip(PAIR[:3] / 3500, 0, 1) * 31).astype(np.uint8)
    assert "very dark" in " ".join(look_at(raster(dark, COLOURS[:3])).warnings)
    assert "very dark" in " ".join(look_at(raster(dark, ("b1", "b2", "b3"))).warnings)
    assert "very dark" not in " ".join(look_at(raster(dark * 3, COLOURS[:3])).warnings)


def test_a_part_of_a_name_says_its_colour():
    names = ("R_tci8", "G_tci8", "B_tci8", "NIR_dn")
    values = np.concatenate([PAIR[:3] // 20, PAIR[3:4]]).astype(np.uint16)
    look = look_at(raster(values, names))
    assert look.bands == COLOURS
    assert "one scale" in look.kinds[0].doubt


INN = Path(__file__).parents[2] / "../shared/data/satellite/s2_unlabelled/ftw_inn_pair"


CLOUDS = INN.parents[1] / "clouds"


@pytest.mark.skipif(not CLOUDS.exists(), reason="the shared imagery is not here")
@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("ukis_csmask_s2/s2_l1c_6band.tif", [2, 1, 0, 3]),
        *(
            (f"eolearn_slovenia_68dates/s2_l1c_13band_scene{k}.tif", [3, 2, 1, 7])
            for k in (2, 3, 4)
        ),
    ],
)
def test_real_scenes_from_above_the_atmosphere_are_told(path, order):
    with rasterio.open(CLOUDS / path) as file:
        four = file.read()[order]
    names = tuple(f"planting:{colour}" for colour in COLOURS)
    (kind,) = look_at(raster(four, names)).kinds
    assert "above the atmosphere" in kind.doubt


@pytest.mark.skipif(not INN.exists(), reason="the shared imagery is not here")
def test_a_real_pair_in_other_numbers_and_orders():
    with rasterio.open(INN / "s2_pair_8band.tif") as file:
        pair = file.read(window=((0, 200), (0, 200))).astype(np.float64)
    for values in (pair, pair / 10_000, pair + 1000, pair - 2000):
        found, _, look = shown(raster(values.astype(np.float32)))
        np.testing.assert_allclose(found, pair, atol=2.0)
        assert not look.warnings
    for order in ([2, 1, 0, 3, 6, 5, 4, 7], [0, 4, 1, 5, 2, 6, 3, 7]):
        _, made, _ = shown(raster(pair[order], tuple(f"band{k}" for k in range(1, 9))))
        assert list(made.bands) == [f"{1 + k // 4}:{COLOURS[k % 4]}" for k in order]


def test_a_place_that_cannot_be_read_decides_nothing():
    class Torn(Raster):
        def read(self, roi):
            if roi[0].start == 0 or self.bands[0] == "nothing":
                raise UnreadableFile("torn")
            return super().read(roi)

    sound = raster(PAIR)
    torn = Torn(sound.values, sound.grid, sound.bands)
    assert look_at(torn).kinds == look_at(sound).kinds
    with pytest.raises(UnreadableFile, match="torn"):
        look_at(Torn(sound.values, sound.grid, ("nothing", *NAMES[1:])))


@pytest.mark.parametrize(
    ("names", "tag"),
    [
        (("band1", "band2", "band3", "band4"), "665,560,490,842"),
        (("B1", "B2", "B3", "B4"), "665,560,490,835"),  # B4 is no red here
        (("650 nm", "560 nm", "480 nm", "0.86 micrometers"), ""),
        (("S2A_2023_red", "S2A_2023_green", "S2A_2023_blue", "S2A_2023_nir"), ""),
    ],
)
def test_wavelengths_and_parts_of_names_say_what_bands_are(names, tag):
    source = raster(PAIR[:4], names)
    look = look_at(Raster(source.values, source.grid, names, None, {"wavelengths": tag}))
    assert look.bands == COLOURS


def test_days_in_names_are_dates():
    names = tuple(f"2023-0{m}-01_{c}" for m in (4, 8) for c in ("B04", "B03", "B02", "B08"))
    look = look_at(raster(PAIR, names))
    assert look.dates == ("2023-04-01", "2023-08-01")
    assert look.bands[4] == "2023-08-01:red"


def test_a_model_of_colours_is_not_shown_open_water():
    colours = InputSpec(COLOURS[:3], Scaling((3000.0,), (0.0,), (0.0, 3.0)), (5.0, 5.0))
    values = date(1)
    wet = values[3] < values[1]  # as it was made: only water is darker in near infrared
    for numbers in (values, values / 10_000, values + 1000):
        source = raster(numbers.astype(np.float32), COLOURS)
        made, look = understood(source, look_at(source), colours)
        np.testing.assert_array_equal(made.read(whole(made.grid)).valid, ~wet)
        assert "Open water is left out" in " ".join(look.said)
    asked, look = understood(source, look_at(source), colours, water=True)
    assert asked.read(whole(asked.grid)).valid is None
    assert "water" not in " ".join(look.said)
    both, look = understood(source, look_at(source), INPUTS)
    assert both.read(whole(both.grid)).valid is None
    fine = raster(values, COLOURS, metres=1.0)  # an aerial image: ponds are for the model
    assert understood(fine, look_at(fine), colours)[0].read(whole(fine.grid)).valid is None


def test_a_composite_is_believed_and_not_the_other_date_beside_it():
    """Its haze of 1000 stays; the reflectances of the second file are converted."""
    hazy = replace(raster(PAIR[:4] + 1000, COLOURS), tags={"SELION_COMPOSITE": "{}"})
    assert understood(hazy, look_at(hazy), INPUTS)[0] is hazy
    colours = InputSpec(COLOURS[:3], Scaling((255.0,)), (1.65, 4.5))
    values = understood(hazy, look_at(hazy), colours)[0].read(whole(hazy.grid)).values
    assert values[:3].max() <= 255 < hazy.values[:3].min()  # bytes, as of any other image
    other = raster((PAIR[4:] / 10_000).astype(np.float32), COLOURS)
    values, _, look = shown(JoinedDates(hazy, (other,), NAMES))
    np.testing.assert_allclose(values[:4], PAIR[:4] + 1000, atol=0.5)
    np.testing.assert_allclose(values[4:], PAIR[4:], atol=0.5)
    assert any("reflectances from 0 to 1" in text for text in look.said)


@pytest.mark.parametrize("taken", [(1, 2, 3), ("R_tci8", "G_tci8", "B_tci8"), (3, 2, 1)])
def test_bytes_beside_an_infrared_in_digital_numbers_stay_bytes_where_bands_are_chosen(taken):
    """The infrared decided how the colours were stretched: all of them became nearly black."""
    dn = date(1)
    values = np.concatenate([np.clip(dn[:3] / 14, 0, 255).round(), dn[3:]]).astype(np.uint16)
    image = raster(values, ("R_tci8", "G_tci8", "B_tci8", "NIR_dn"))
    colours = InputSpec(("red", "green", "blue"), Scaling((255.0,)), (1.65, 4.5))
    look = replace(look_at(image), bands=image.bands)
    made, told = understood(image, look, colours, water=True, taken=taken)
    got = made.read(whole(made.grid)).values
    assert np.array_equal(got[:3], values[:3])
    assert not any("stretched" in text for text in told.said + told.warnings)


def test_a_picture_of_sixteen_bits_is_shown_as_bytes_to_a_model_of_bytes_and_reflectances():
    """All of it was brighter than white: 8 fields were left of 22."""
    either = InputSpec(
        COLOURS,
        Scaling((3000.0,), (0.0,), (0.0, 3.0)),
        (1.65, 5.0),
        dates="any",
        optional=("nir",),
        byte_divide=255.0,
    )
    picture = np.clip(date(1)[:3] / 14, 0, 255).astype(np.uint16)
    words = raster(picture * np.uint16(257), COLOURS[:3])
    made, told = understood(words, look_at(words), either)
    fed = made.read(whole(made.grid)).values / 3000
    np.testing.assert_allclose(fed, picture / 255, atol=1e-6)
    assert any("bytes times 257" in text for text in told.said)
    assert not told.warnings
    others = raster(picture * np.uint16(250) + np.uint16(90), COLOURS[:3])
    made, told = understood(others, look_at(others), either)
    fed = made.read(whole(made.grid)).values / 3000
    low, high = np.percentile(others.values, [1, 99])
    np.testing.assert_allclose(fed, np.clip((others.values - low) / (high - low), 0, 1), atol=0.02)
    assert any("stretched" in text for text in told.warnings)
    plain = raster(date(1)[:3].astype(np.uint16), COLOURS[:3])
    assert understood(plain, look_at(plain), either)[0] is plain


def test_land_below_bright_clouds_stays_digital_for_a_model_of_bytes_and_reflectances():
    """A sixteenth of clouds brighter than a reflectance of 1.6 made the land nearly black."""
    either = replace(
        INPUTS, bands=COLOURS, dates="any", optional=("nir",), byte_divide=255.0, gsd=(1.65, 5.0)
    )
    values = date(1).astype(np.uint16)
    values[:, :6] = 17_000
    cloudy = raster(values, COLOURS)
    made, told = understood(cloudy, look_at(cloudy), either)
    got = made.read(whole(made.grid)).values
    assert np.array_equal(got, values)
    assert not any("stretched" in text for text in told.said + told.warnings)
