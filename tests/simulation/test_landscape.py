"""The simulated countryside: it repeats itself, it tells the truth, and it looks like the real
one.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from selion.classes import CROP, FTW3
from selion.errors import BadInput, UnknownName
from selion.labels import class_labels
from selion.simulation.landscape import COVER, STYLES, simulate, simulate_photo
from selion.simulation.landscape.change import compare_years, next_plan
from selion.simulation.landscape.cover import SUBS, survey
from selion.simulation.landscape.features import M_TREE
from selion.simulation.landscape.noise import make_textures, uniform
from selion.simulation.landscape.scene import _make_world
from selion.simulation.landscape.season import uniforms
from selion.simulation.landscape.truth import label_equal

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "satellite"
# Quartiles of real parcels in hectares that each style must lie near, see the table in styles.py:
# Vietnam and India; France, Catalonia, Finland and Estonia; US grids of 1 km (cultionet); Ireland.
REAL_QUARTILES = {
    "smallholder": (0.20, 0.38, 0.68),
    "europe": (0.62, 1.6, 3.1),
    "prairie": (1.26, 2.95, 8.5),
    "bocage": (1.46, 2.67, 4.45),
}


@pytest.fixture(scope="module")
def europe():
    return simulate(7, (256, 256), 10.0, "europe", clouds=0.2, years=2)


@pytest.fixture(scope="module")
def aerial():
    return simulate(4, (256, 256), 1.0, "mixed", bands="rgb")


def scenes():
    return [simulate(seed, (256, 256), 10.0, "europe") for seed in range(20, 26)]


@pytest.mark.parametrize("bands", ["s2", "rgb"])
def test_the_same_seed_gives_the_same_bytes(bands):
    one, two = (simulate(3, (96, 80), 5.0, bands=bands, clouds=0.1) for _ in range(2))
    assert one.image.values.tobytes() == two.image.values.tobytes()
    assert one.instances.ids.tobytes() == two.instances.ids.tobytes()
    assert one.scl.values.tobytes() == two.scl.values.tobytes()
    other = simulate(4, (96, 80), 5.0, bands=bands)
    assert (other.image.values != one.image.values).mean() > 0.5


def test_the_same_place_at_another_resolution():
    coarse, fine = simulate(11, (64, 64), 10.0, "europe"), simulate(11, (128, 128), 5.0, "europe")
    reduced = fine.cover.ids.reshape(64, 2, 64, 2).transpose(0, 2, 1, 3).reshape(64, 64, 4)
    agree = (reduced == coarse.cover.ids[..., None]).any(-1).mean()
    assert agree > 0.93


def test_shapes_types_and_names(europe, aerial):
    assert europe.image.values.shape == (8, 256, 256)
    assert europe.image.values.dtype == np.uint16
    assert europe.image.bands[:4] == (
        "window_a:red",
        "window_a:green",
        "window_a:blue",
        "window_a:nir",
    )
    assert (
        europe.image.grid
        == europe.labels.grid
        == europe.instances.grid
        == europe.cover.grid
        == europe.scl.grid
    )
    assert str(europe.image.grid.crs) == "EPSG:32633"
    assert europe.image.values.min() >= 1
    assert aerial.image.values.dtype == np.uint8
    assert aerial.image.bands == ("red", "green", "blue")
    assert aerial.scl is None
    assert aerial.next_year is None
    assert len(europe.dates) == 2
    assert len(aerial.dates) == 1


def test_labels_are_those_of_the_instances(europe, aerial):
    for scene in (europe, aerial, europe.next_year):
        assert scene.labels.classes == FTW3
        assert np.array_equal(scene.labels.ids, class_labels(scene.instances).ids)


def test_cover_is_field_exactly_where_there_is_an_instance(europe, aerial):
    for scene in (europe, aerial):
        assert scene.cover.classes == COVER
        assert np.array_equal(scene.cover.ids == COVER.index("field"), scene.instances.ids > 0)
        assert len(np.unique(scene.cover.ids)) >= 3


def test_every_field_is_one_piece_and_not_too_small(europe, aerial):
    for scene, smallest in ((europe, 4), (aerial, 300)):
        ids = scene.instances.ids
        sizes = np.bincount(ids.ravel())[1:]
        assert sizes.min() >= smallest
        assert len(sizes) == len(scene.instances.table)
        for field, box in enumerate(ndimage.find_objects(ids), start=1):
            assert ndimage.label(ids[box] == field)[1] == 1


def test_the_table_tells_area_style_and_crop(europe):
    table = europe.instances.table
    sizes = np.bincount(europe.instances.ids.ravel())[1:]
    assert np.array_equal(table["id"], np.arange(1, len(sizes) + 1))
    assert np.allclose(table["area_m2"], sizes * 100.0)
    assert set(table["style"]) == {"europe"}
    assert table["crop"].nunique() >= 5


def test_changes_agree_with_the_id_rasters(europe):
    before, after = europe.instances.ids, europe.next_year.instances.ids
    changes = europe.changes
    assert set(changes["before"]) - {0} == set(np.unique(before)) - {0}
    assert set(changes["after"]) - {0} == set(np.unique(after)) - {0}
    assert {"same", "merged", "split", "gone", "new"} <= set(changes["change"])
    assert (changes["change"] == "same").mean() > 0.6
    for row in changes[changes["change"] == "same"].head(20).itertuples():
        one, two = before == row.before, after == row.after
        assert (one & two).sum() > 0.6 * (one | two).sum()
    for row in changes[changes["change"] == "gone"].itertuples():
        taken = after[before == row.before]
        counts = np.bincount(taken[taken > 0]) if (taken > 0).any() else np.zeros(1)
        assert 3 * counts.max() < len(taken)
    merged = changes[changes["change"] == "merged"].groupby("after")["before"].count()
    assert (merged >= 2).all()


def test_the_halves_of_a_parted_field_keep_its_wood():
    world = _make_world(7, (256, 256), 10.0, "europe")
    later = dataclasses.replace(world, tree=next_plan(world.tree))
    before, after = (survey(one, (512, 512), 5.0) for one in (world, later))
    halves = (np.abs(after.keys) - 1) // SUBS >= len(world.tree.leaves)
    assert halves.sum() > 1000
    wooded = before.materials[halves] == M_TREE
    assert wooded.any()
    assert np.array_equal(after.materials[halves] == M_TREE, wooded)


def test_compare_years_on_a_drawn_example():
    before = np.array([[1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3], [4, 4, 4, 4, 0, 0]])
    after = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [2, 2, 3, 3, 4, 4]])
    found = {(r.before, r.after): r.change for r in compare_years(before, after).itertuples()}
    assert found == {
        (1, 1): "merged",
        (2, 1): "merged",
        (4, 2): "split",
        (4, 3): "split",
        (3, 0): "gone",
        (0, 4): "new",
    }


def test_clouds_are_bright_and_marked():
    clear, cloudy = simulate(5, (256, 256), clouds=0.0), simulate(5, (256, 256), clouds=0.3)
    scl = cloudy.scl.values[0]
    assert cloudy.scl.bands == ("window_a:scl", "window_b:scl")
    assert clear.scl is None
    cloud = np.isin(scl, (8, 9))
    assert 0.2 < cloud.mean() < 0.42
    assert set(np.unique(scl)) <= {3, 4, 5, 6, 7, 8, 9, 10}
    blue = cloudy.image.values[2].astype(float)
    assert np.median(blue[scl == 9]) > 3000
    assert np.median(blue[scl == 9]) > 3 * np.median(blue[np.isin(scl, (4, 5))])
    nir = cloudy.image.values[3].astype(float)
    assert np.median(nir[scl == 3]) < 0.8 * np.median(nir[np.isin(scl, (4, 5))])
    assert np.array_equal(clear.instances.ids, cloudy.instances.ids)


def test_neighbours_differ_more_than_the_inside_of_fields(europe):
    labels, ids = europe.labels.ids, europe.instances.ids
    clear = np.isin(europe.scl.values[0], (4, 5, 7))
    nir = europe.image.values[3].astype(float)
    inner = (labels == 1) & clear
    counts = np.bincount(ids[inner], minlength=ids.max() + 1).clip(1)
    mean = np.bincount(ids[inner], nir[inner], minlength=ids.max() + 1) / counts
    within = np.sqrt(((nir[inner] - mean[ids[inner]]) ** 2).mean())
    between = mean[counts > 9].std()
    assert between > 2 * within
    assert within > 20


@pytest.mark.slow
@pytest.mark.parametrize("style", list(REAL_QUARTILES))
def test_parcel_sizes_lie_near_the_real_ones(style):
    gsd, size = (5.0, 256) if style == "smallholder" else (10.0, 384)
    areas = []
    for seed in range(30, 34):
        scene = simulate(seed, (size, size), gsd, style)
        ids = scene.instances.ids
        cut = np.unique(np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]]))
        table = scene.instances.table
        areas.append(table.loc[~table["id"].isin(cut), "area_m2"].to_numpy() / 1e4)
    quartiles = np.percentile(np.concatenate(areas), [25, 50, 75])
    ratio = quartiles / np.array(REAL_QUARTILES[style])
    assert (ratio > 0.6).all(), quartiles
    assert (ratio < 1.7).all(), quartiles


def test_share_of_fields_and_spectra_are_those_of_real_scenes():
    # Two dates over the Inn valley (Fields of The World test pair): medians 800/900/600/3300 and
    # 400/560/280/2770, NDVI medians .60 and .77.
    found = scenes()
    shares = [(s.instances.ids > 0).mean() for s in found]
    assert 0.35 < np.mean(shares) < 0.8
    pixels = np.concatenate([s.image.values.reshape(2, 4, -1) for s in found]).astype(float)
    medians = np.median(pixels, axis=2).mean(0)
    assert (medians > (300, 450, 220, 2300)).all(), medians
    assert (medians < (1250, 1250, 850, 4000)).all(), medians
    ndvi = (pixels[:, 3] - pixels[:, 0]) / (pixels[:, 3] + pixels[:, 0])
    low, middle, high = np.percentile(ndvi, [10, 50, 95])
    assert 0.1 < low < 0.45
    assert 0.45 < middle < 0.8
    assert 0.82 < high < 0.94
    bright = np.percentile(pixels, 99, axis=2).mean(0)
    assert (bright > (1300, 1300, 900, 4300)).all(), bright
    assert (bright < (2900, 2700, 2200, 6800)).all(), bright


@pytest.mark.skipif(
    not (SHARED / "vhr_naip_usa").exists(), reason="the shared NAIP chips are not here"
)
def test_aerial_tones_are_those_of_naip():
    import rasterio

    chips = sorted((SHARED / "vhr_naip_usa" / "images").glob("*.tif"))[::5]
    real = []
    for chip in chips:
        with rasterio.open(chip) as source:
            real.append(np.median(source.read().reshape(3, -1), axis=1))
    real = np.array(real)
    made = np.array(
        [
            np.median(
                simulate(s, (128, 128), 2.0, "prairie", bands="rgb").image.values.reshape(3, -1),
                axis=1,
            )
            for s in range(10)
        ]
    )
    assert (made.mean(0) > real.min(0) - 15).all(), made.mean(0)
    assert (made.mean(0) < real.max(0) + 15).all(), made.mean(0)


@pytest.mark.parametrize("style", [*STYLES, "mixed"])
def test_every_style_has_fields(style):
    scene = simulate(2, (128, 128), 10.0, style)
    assert len(scene.instances.table) > 3
    assert (scene.instances.ids > 0).mean() > 0.1
    assert set(scene.instances.table["style"]) <= ({style} if style != "mixed" else set(STYLES))


def test_pivots_are_round():
    ids = simulate(1, (512, 512), 10.0, "pivots").instances.ids
    fill = []
    for field, box in enumerate(ndimage.find_objects(ids), start=1):
        shape = ids[box].shape
        if min(shape) > 40 and max(shape) < 1.1 * min(shape):
            fill.append((ids[box] == field).mean())
    # A circle fills pi / 4 of its box.
    assert np.isclose(fill, np.pi / 4, atol=0.03).any()


def test_speed_is_bounded():
    simulate(1, (64, 64))
    start = time.process_time()
    simulate(2, (512, 512), 10.0, "europe")
    assert time.process_time() - start < 15


@pytest.mark.parametrize(
    ("kwargs", "error", "word"),
    [
        ({"style": "eurpoe"}, UnknownName, "europe"),
        ({"bands": "s1"}, UnknownName, "s2"),
        ({"shape": (4, 100)}, BadInput, "8 px"),
        ({"clouds": 1.5}, BadInput, "0 to 1"),
        ({"gsd": 0.0}, BadInput, "0.1 to 60"),
        ({"years": 3}, BadInput, "1 or 2"),
    ],
)
def test_what_makes_no_sense_is_refused(kwargs, error, word):
    with pytest.raises(error, match=word):
        simulate(1, **{"shape": (32, 32), **kwargs})


def test_days_that_are_given_are_those_of_both_years():
    scene = simulate(3, (48, 48), days=(120, 200), years=2)
    assert scene.dates == scene.next_year.dates == (120, 200)
    assert scene.next_year.image.bands[::4] == ("day120:red", "day200:red")


def test_days_may_be_given():
    """Each date is named by its day, and a place with other days is the same place."""
    days = (112.0, 168.4, 240.0)
    scene = simulate(3, (64, 64), 10.0, "europe", days=days, clouds=0.2)
    assert scene.dates == days
    assert scene.image.bands[::4] == ("day112:red", "day168:red", "day240:red")
    assert scene.image.values.shape == (12, 64, 64)
    assert scene.scl is not None
    assert scene.scl.bands == ("day112:scl", "day168:scl", "day240:scl")
    one = simulate(3, (64, 64), 10.0, "europe", days=days[:1])
    np.testing.assert_array_equal(one.instances.ids, scene.instances.ids)
    for wrong, bands in (((), "s2"), ((0,), "s2"), ((100, 100.2), "s2"), ((100,), "rgb")):
        with pytest.raises(BadInput, match=r"[Dd]ays"):
            simulate(3, (64, 64), bands=bands, days=wrong)


def test_landscapes_cannot_be_changed(aerial):
    with pytest.raises(dataclasses.FrozenInstanceError):
        aerial.seed = 1


def test_photo_knows_its_depth():
    for seed in range(6):
        photo = simulate_photo(seed, (120, 160))
        plants = photo.labels.ids == CROP.index("crop")
        assert photo.image.grid.crs is None
        assert photo.image.values.dtype == np.uint8
        assert photo.labels.classes == CROP
        assert np.array_equal(plants, photo.instances.ids > 0)
        assert 0.005 < plants.mean() < 0.9
        assert photo.depth[plants].mean() > photo.depth[~plants].mean() + 0.1
        assert photo.depth.min() >= 0
        assert photo.depth.max() == pytest.approx(1)
        red, green, _ = photo.image.values.astype(float)
        assert (green - red)[plants].mean() > 15 + (green - red)[~plants].mean()
        assert len(photo.instances.table) == photo.instances.ids.max()
    assert (
        simulate_photo(3, (64, 64)).image.values.tobytes()
        == simulate_photo(3, (64, 64)).image.values.tobytes()
    )
    with pytest.raises(BadInput, match="32"):
        simulate_photo(1, (16, 100))


def test_label_equal_matches_scipy_per_key():
    keys = np.random.default_rng(1).integers(0, 3, (40, 37)).astype(np.int32)
    ids, key_of = label_equal(keys, 1)
    expected = sum(ndimage.label(keys == k)[1] for k in (1, 2))
    assert ids.max() == expected
    assert np.array_equal(key_of[ids], keys)
    kept, _ = label_equal(keys, 5)
    assert np.bincount(kept.ravel())[1:].min() >= 5


def test_hashes_agree_and_are_even():
    keys = np.random.default_rng(0).integers(1, 2**62, 5000).astype(np.uint64)
    drawn = uniforms(keys, 17)
    assert np.array_equal(drawn[:50], [uniform(k, 17) for k in keys[:50]])
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] / 500 - 1).max() < 0.2


def test_textures_are_normed_and_periodic():
    textures = make_textures(np.random.default_rng(2))
    for texture in (textures.smooth, textures.rough, textures.grain):
        assert abs(texture.mean()) < 1e-3
        assert texture.std() == pytest.approx(1, abs=1e-3)
        seam = np.abs(texture[0] - texture[-1]).mean()
        assert seam < 1.5 * np.abs(np.diff(texture, axis=0)).mean()
