"""Digital numbers to reflectance: baselines, flags of all providers, wrong flags, the darkest
pixels, real scenes.
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from selion.errors import BadInput
from selion.grid import whole
from selion.imagery.providers import find_provider
from selion.imagery.radiometry import check_dark, decide, parse_baseline
from selion.imagery.reflectance import Radiometry
from selion.imagery.scene import Scene
from selion.store import open_raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
SATELLITE = Path(__file__).resolve().parents[3] / "shared" / "data" / "satellite"
EARTH, PLANETARY, CDSE = (
    find_provider(name) for name in ("earth-search", "planetary-computer", "cdse")
)
APPLIED = "earthsearch:boa_offset_applied"


def scene(provider, baseline, collection="sentinel-2-l2a", year=2024, offset=None, **properties):
    offsets = {} if offset is None else dict.fromkeys(("red", "green", "blue", "nir"), offset)
    more = {"collection": collection, "offsets": offsets, **properties}
    name = provider.name if provider else "elsewhere"
    return Scene(
        "S2",
        "33UUP",
        datetime(year, 5, 1, tzinfo=UTC),
        name,
        {},
        {},
        baseline=baseline,
        properties=more,
    )


# conversion


@given(
    arrays(np.uint16, array_shapes(max_dims=3), elements=st.integers(0, 65535)),
    st.sampled_from([0, -1000, -500, 300]),
)
def test_conversion(numbers, offset):
    found = Radiometry(offset)(numbers)
    assert found.dtype == np.uint16
    assert np.array_equal(found == 0, numbers == 0)  # no data stays, and nothing else becomes it
    expected = np.clip(numbers.astype(int) + offset, 1, 65535)
    assert np.array_equal(found[numbers > 0], expected[numbers > 0])


@given(
    arrays(np.int32, 20, elements=st.integers(-5, 100000)),
    st.sampled_from([0.0001, 0.00005, 0.0002]),
)
def test_conversion_of_other_types_and_scales(numbers, scale):
    found = Radiometry(-1000, scale)(numbers)
    expected = np.where(
        numbers > 0, np.clip((numbers.astype(float) - 1000) * scale * 10000, 1, 65535), 0
    )
    assert np.abs(found - expected).max() <= 0.5 + 1e-9


def test_reflectances_are_refused():
    with pytest.raises(BadInput, match="float32"):
        Radiometry()(np.zeros(3, np.float32))


# what the catalogue says


@pytest.mark.parametrize(
    ("provider", "given", "offset", "why", "doubt"),
    [
        (EARTH, {"baseline": "02.14", APPLIED: False}, 0, "02.14 adds nothing", ""),
        # what Earth Search declares there is known to be noise
        (EARTH, {"baseline": "02.14", "offset": -0.1}, 0, "adds nothing", ""),
        (
            EARTH,
            {"baseline": "05.09", APPLIED: True, "offset": -0.1},
            0,
            "subtracted already",
            "known to be wrong",
        ),
        (
            EARTH,
            {"baseline": "05.11", APPLIED: False, "offset": -0.1},
            -1000,
            "has not been subtracted",
            "known to be wrong",
        ),
        (
            EARTH,
            {"baseline": "05.10", "collection": "sentinel-2-c1-l2a", "offset": -0.1},
            -1000,
            "delivers the numbers as they are",
            "",
        ),
        # reprocessed
        (
            EARTH,
            {"baseline": "05.00", "collection": "sentinel-2-c1-l2a", "year": 2018},
            -1000,
            "delivers the numbers as they are",
            "",
        ),
        (PLANETARY, {"baseline": "04.00"}, -1000, "04.00 adds 1000, and planetary-computer", ""),
        (PLANETARY, {"baseline": "05.09", "year": 2019}, -1000, "as they are", ""),
        (PLANETARY, {"baseline": "03.01"}, 0, "adds nothing", ""),
        (
            PLANETARY,
            {"baseline": None, "year": 2023},
            -1000,
            "names no processing baseline",
            "guess",
        ),
        (
            PLANETARY,
            {"baseline": None, "year": 2020},
            0,
            "names no processing baseline",
            "reprocessed",
        ),
        (CDSE, {"baseline": "05.11", "offset": -0.1}, -1000, "cdse", ""),
        (
            CDSE,
            {"baseline": "05.11", "offset": 0},
            -1000,
            "cdse",
            "declares that nothing was added",
        ),
        (
            CDSE,
            {"baseline": "02.07", "offset": -0.1},
            0,
            "adds nothing",
            "such a baseline has none",
        ),
        (None, {"baseline": "05.09", "offset": -0.1}, -1000, "declares an offset of -1000", ""),
        (
            None,
            {"baseline": "05.09", "offset": 0},
            0,
            "declares an offset of 0",
            "05.09 adds 1000, but",
        ),
        (None, {"baseline": "05.09"}, -1000, "05.09 adds 1000", "not known"),
        (
            None,
            {"baseline": "05.09", APPLIED: "true"},
            0,
            "subtracted already",
            "known to be wrong",
        ),
        (
            None,
            {"baseline": "05.09", "sentinel:boa_offset_applied": True},
            0,
            "subtracted already",
            "",
        ),
        (None, {"baseline": "garbage", "offset": -0.1}, -1000, "declares", ""),
    ],
)
def test_decide(provider, given, offset, why, doubt):
    found = decide(scene(provider, **given), provider)
    assert found.offset == offset
    assert why in found.why
    assert (doubt in found.doubt) if doubt else not found.doubt or provider is None


def test_bands_with_different_offsets_are_doubted():
    odd = scene(None, "05.09", offset=-0.1)
    odd.properties["offsets"]["nir"] = -0.2
    assert "different offsets" in decide(odd).doubt


@given(st.integers(0, 12), st.integers(0, 99))
def test_baselines(major, minor):
    assert (
        parse_baseline(f"{major:02}.{minor:02}")
        == parse_baseline(f"N{major:02}{minor:02}")
        == parse_baseline(f" {major}.{minor:02} ")
        == (major, minor)
    )


def test_baselines_that_are_none():
    assert [parse_baseline(text) for text in ("", "x", "2024-01-01", None, "05.09.1")] == [None] * 5
    assert parse_baseline("4") == (4, 0)


# what the pixels say

RNG = np.random.default_rng(0)


def landscape(green=0.6, water=0.02, size=120):
    """Reflectance x 10000 of red, blue and nir, and where water is."""
    kind = RNG.random((size, size))
    lush, wet = kind < green, kind > 1 - water
    values = {
        "red": np.where(lush, RNG.normal(380, 90, kind.shape), RNG.normal(1900, 400, kind.shape)),
        "blue": np.where(lush, RNG.normal(280, 70, kind.shape), RNG.normal(1150, 200, kind.shape)),
        "nir": np.where(lush, RNG.normal(3600, 400, kind.shape), RNG.normal(2700, 400, kind.shape)),
    }
    for band, dark in (("red", 200), ("blue", 300), ("nir", 90)):
        values[band][wet] = dark
    return {band: np.maximum(layer, 20) for band, layer in values.items()}, wet


def numbers(values, added):
    return {band: (layer + added).astype(np.uint16) for band, layer in values.items()}


@pytest.mark.parametrize("added", [0, 1000])
@pytest.mark.parametrize("flag", [0, -1000])
@pytest.mark.parametrize(
    "kind",
    [{}, {"green": 0.05, "water": 0}, {"green": 0, "water": 0.1}, {"green": 0.9, "water": 0}],
)
def test_pixels_confirm_or_correct(added, flag, kind):
    values, wet = landscape(**kind)
    found = check_dark(numbers(values, added), Radiometry(flag, why="the flag says so"), water=wet)
    if kind == {"green": 0, "water": 0.1} and (flag, added) == (0, 1000):  # glint could do that too
        assert found.offset == 0
        assert "sun glint" in found.doubt
        return
    assert found.offset == -added
    assert (
        found.why.startswith("the flag says so; the pixels agree")
        if flag == -added
        else "although the flag says so" in found.why
    )
    assert bool(found.doubt) == (flag != -added)


@pytest.mark.parametrize("flag", [0, -1000])
@pytest.mark.parametrize("added", [0, 1000])
@pytest.mark.parametrize("kind", ["desert", "snow", "salt"])
def test_where_nothing_is_dark_the_flag_stays(kind, added, flag):
    level = {"desert": (3300, 1500, 4000), "snow": (8500, 9000, 8000), "salt": (5500, 5000, 5800)}[
        kind
    ]
    values = {
        band: RNG.normal(middle, 150, (100, 100))
        for band, middle in zip(("red", "blue", "nir"), level, strict=True)
    }
    found = check_dark(
        numbers(values, added),
        Radiometry(flag, why="flag", doubt="old"),
        water=np.zeros((100, 100), bool),
    )
    assert found.offset == flag
    assert found.doubt == "old; there are no dark pixels to check it by"


def test_clouds_and_borders_are_not_looked_at():
    values, wet = landscape()
    dark = numbers(values, 1000)
    clear = RNG.random((120, 120)) < 0.5
    for band in dark:
        dark[band][~clear] = 40  # shadow, if it were looked at
    assert check_dark(dark, Radiometry(0, why="flag"), clear=clear, water=wet).offset == -1000
    for band in dark:
        dark[band][~clear] = 0
    assert check_dark(dark, Radiometry(0, why="flag"), water=wet).offset == -1000
    assert (
        "only 0 clear pixels"
        in check_dark(dark, Radiometry(-1000), clear=np.zeros_like(clear)).doubt
    )


def test_contradicting_witnesses_change_nothing():
    values, wet = landscape(green=0.5, water=0)
    odd = numbers(values, 1000)
    for band in odd:
        odd[band][:12] = 300  # a block of another processing
    found = check_dark(odd, Radiometry(0, why="flag"), water=wet)
    assert found.offset == 0
    assert "disagree" in found.doubt


def test_two_providers_agree_whatever_their_flags_say():
    values, wet = landscape()
    truth = Radiometry(0)(numbers(values, 0)["red"])
    for provider, baseline, collection, added, said in (
        (PLANETARY, "05.09", "sentinel-2-l2a", 1000, {}),
        (EARTH, "05.09", "sentinel-2-l2a", 0, {APPLIED: True}),
        (EARTH, "05.09", "sentinel-2-l2a", 0, {APPLIED: False}),  # wrong
        (EARTH, "05.09", "sentinel-2-l2a", 1000, {APPLIED: True}),  # wrong
        (EARTH, "05.09", "sentinel-2-c1-l2a", 1000, {}),
        (CDSE, None, "sentinel-2-l2a", 1000, {}),
        (PLANETARY, "03.00", "sentinel-2-l2a", 0, {}),
    ):
        raw = numbers(values, added)
        how = check_dark(
            raw, decide(scene(provider, baseline, collection, **said), provider), water=wet
        )
        assert np.array_equal(how(raw["red"]), truth), (provider.name, said)


# real scenes


def read(path):
    source = open_raster(path)
    return source.read(whole(source.grid)).values


@pytest.mark.skipif(
    not (SATELLITE / "s2_unlabelled" / "ftw_inn_pair").is_dir(),
    reason="shared/data/satellite is not there",
)
@pytest.mark.parametrize("window", [0, 4])
def test_real_pair_of_the_inn_valley(window):
    """Numbers without the offset; with 1000 added it is what another provider sends."""
    bands = read(SATELLITE / "s2_unlabelled" / "ftw_inn_pair" / "s2_pair_8band.tif")[
        window : window + 4
    ]
    for added in (0, 1000):
        raw = {
            band: np.where(bands[k] > 0, bands[k] + np.uint16(added), 0)
            for band, k in (("red", 0), ("blue", 2), ("nir", 3))
        }
        for flag in (0, -1000):
            assert check_dark(raw, Radiometry(flag)).offset == -added
            coarse = {band: layer[::16, ::16] for band, layer in raw.items()}
            assert check_dark(coarse, Radiometry(flag)).offset == -added


@pytest.mark.skipif(
    not (SATELLITE / "clouds" / "s2_l2a_29RKH_overview").is_dir(),
    reason="shared/data/satellite/clouds is not there",
)
def test_real_desert_cannot_tell():
    """29RKH, Sahara, baseline before 04.00: the darkest of a million pixels is 951, so that nothing
    may be concluded.
    """
    folder = SATELLITE / "clouds" / "s2_l2a_29RKH_overview"
    codes = read(folder / "SCL.tif")[0].repeat(2, 0).repeat(2, 1)
    raw = {"red": read(folder / "B04.tif")[0], "nir": read(folder / "B08.tif")[0]}
    for added in (0, 1000):
        for flag in (0, -1000):
            there = {band: layer + np.uint16(added) for band, layer in raw.items()}
            found = check_dark(
                there, Radiometry(flag, why="flag"), np.isin(codes, (2, 4, 5, 6, 11)), codes == 6
            )
            assert found.offset == flag
            assert "no dark pixels" in found.doubt
