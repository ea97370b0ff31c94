"""Plans from a simulated archive: all catalogues' layouts, wrong flags, faults, two UTM zones; the
truth is known.
"""

import numpy as np
import pytest

from selion.grid import whole
from selion.imagery.area import read_area
from selion.imagery.providers import find_provider
from selion.imagery.reading import open_band
from selion.imagery.scene import Season
from selion.imagery.search import find_scenes
from selion.imagery.signing import Anonymous
from selion.imagery.tiles import PlanOptions, plan_tiles
from selion.simulation.archive import simulate_archive
from selion.store import open_raster

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")]
FAULTS = ("missing-file", "truncated", "wrong-grid", "wrong-zone")


def planned(archive, **options):
    provider = find_provider(archive.catalogue)
    area = read_area(archive.area)
    seasons = tuple(Season(season.name, season.start, season.end) for season in archive.seasons)
    scenes = [scene for season in seasons for scene in find_scenes(area, season, provider)]
    wishes = PlanOptions(around=100, threads=2, **options)
    return plan_tiles(
        area,
        seasons,
        scenes,
        {provider.name: Anonymous()},
        wishes,
        providers={provider.name: provider},
    )


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    """Two UTM zones; flags that lie, files that are broken."""
    folder = tmp_path_factory.mktemp("flawed") / "archive"
    return simulate_archive(
        folder,
        seed=3,
        centre=(12.0, 51.0),
        n_dates=4,
        clouds=(0.1, 0.4),
        kept=0.3,
        wrong_flags=0.5,
        faults=FAULTS,
    )


@pytest.fixture(scope="module")
def plans(flawed):
    return planned(flawed)


def test_wrong_flags_are_seen_by_the_pixels(flawed, plans):
    assert {plan.grid.crs.epsg for plan in plans} == {32632, 32633}
    checked = [
        (scene, how)
        for plan in plans
        for scene, how in zip(plan.scenes, plan.radiometry, strict=True)
    ]
    assert len(checked) > 10
    told = [(scene, how) for scene, how in checked if "clear pixels to check" not in how.doubt]
    assert len(told) > 0.8 * len(checked)
    assert [how.offset for _, how in told] == [-flawed.offsets[scene.id] for scene, _ in told]
    assert any("although" in how.why for _, how in checked)
    assert any("although" in note for plan in plans for note in plan.notes)


def test_reflectance_is_the_truth_where_it_is_clear(flawed, plans):
    for plan in plans:
        truth = open_raster(flawed.truth.tiles[plan.tile, plan.season.name]).read(plan.roi).values
        for scene, how in zip(plan.scenes[:2], plan.radiometry, strict=False):
            scl = open_band(scene, "scl", Anonymous())
            clear = (
                np.isin(scl.read(whole(scl.grid)).values[0], (2, 4, 5, 6))
                .repeat(2, 0)
                .repeat(2, 1)[plan.roi]
            )
            if flawed.broken.get(scene.id) == "truncated":
                continue
            for band, expected in zip(("red", "green", "blue", "nir"), truth, strict=True):
                found = how(open_band(scene, band, Anonymous()).read(plan.roi).values[0])
                assert np.array_equal(found[clear], np.maximum(expected, 1)[clear])


def test_broken_scenes_are_named_or_left_to_the_composite(flawed, plans):
    notes = " ".join(note for plan in plans for note in plan.notes)
    chosen = {scene.id for plan in plans for scene in plan.scenes}
    seen = {scene.id for plan in plans for scene in plan.candidates}
    for name, fault in flawed.broken.items():
        # its head and overviews may be whole: only reading it all shows that, and the composite
        # sets it aside then
        if fault == "truncated":
            continue
        assert name not in chosen
        assert name in notes or name not in seen or fault == "missing-file", (name, fault)


def test_depth_is_the_truth(flawed):
    for plan in planned(flawed, coarse=20.0, limit=30, target=30):
        every = open_raster(flawed.truth.clear[plan.tile, plan.season.name])
        expected = every.read(whole(every.grid)).values[0][
            tuple(slice(part.start // 2, -(-part.stop // 2)) for part in plan.roi)
        ]
        assert plan.depth.shape == expected.shape
        sound = [scene for scene in plan.candidates if scene.id not in flawed.broken]
        broken_taken = [scene for scene in plan.scenes if scene.id in flawed.broken]
        if not broken_taken and len(plan.scenes) == len(sound):
            assert np.array_equal(plan.depth, expected)


@pytest.mark.parametrize("layout", ["earth-search-c1", "planetary-computer", "cdse"])
def test_layouts(tmp_path, layout):
    archive = simulate_archive(
        tmp_path / "archive",
        seed=3,
        n_dates=2,
        layout=layout,
        wrong_flags=0.5 if layout != "planetary-computer" else 0,
    )
    plans = planned(archive)
    checked = [
        (scene, how)
        for plan in plans
        for scene, how in zip(plan.scenes, plan.radiometry, strict=True)
    ]
    told = [(scene, how) for scene, how in checked if "clear pixels to check" not in how.doubt]
    # hardly anything is left of some scenes between the clouds
    assert len(told) > 0.8 * len(checked)
    assert [how.offset for _, how in told] == [-archive.offsets[scene.id] for scene, _ in told]


def test_orbits_of_different_brightness_are_brought_together(tmp_path):
    """Reflectance over truth, scene by scene: apart by the orbits' gains without balance, nearly
    one value with it.
    """
    archive = simulate_archive(
        tmp_path / "a",
        seed=5,
        centre=(13.0, 51.0),
        size_km=1.5,
        n_dates=6,
        clouds=(0.0, 0.2),
        orbit_gain=0.05,
    )
    spread = {}
    for balance in (False, True):
        plan = planned(archive, balance=balance)[0]
        truth = (
            open_raster(archive.truth.tiles[plan.tile, plan.season.name]).read(plan.roi).values[0]
        )
        ratios = []
        for scene, how in zip(plan.scenes, plan.radiometry, strict=True):
            scl = open_band(scene, "scl", Anonymous())
            clear = (
                np.isin(scl.read(whole(scl.grid)).values[0], (4, 5))
                .repeat(2, 0)
                .repeat(2, 1)[plan.roi]
            )
            found = how(open_band(scene, "red", Anonymous()).read(plan.roi).values[0])
            if clear.sum() > 500:
                ratios.append(np.median(found[clear] / truth[clear]))
        spread[balance] = np.ptp(ratios)
    assert spread[False] > 0.04
    assert spread[True] < 0.015
