"""Plans of tiles: cut, overlap, choice on coarse masks, radiometry, broken scenes, JSON; the bytes
that are not read.
"""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import BadInput, FetchFailed, NoScenes, UnreadableFile
from selion.grid import whole
from selion.imagery import reading
from selion.imagery.area import read_area
from selion.imagery.cut import (
    TilePart,
    covering,
    cut,
    needless,
    overview_grid,
    sampled,
    tile_grid,
    window_of,
)
from selion.imagery.plans import plans_from_json, plans_to_json
from selion.imagery.scene import BANDS, Scene, Season
from selion.imagery.signing import Anonymous
from selion.imagery.tiles import PlanOptions, plan_tiles
from selion.store.retry import RetryPolicy
from stac_server import StacServer

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
SIZE = 600
A = Season("window_a", date(2024, 4, 1), date(2024, 5, 31), "given")
B = Season("window_b", date(2024, 9, 1), date(2024, 10, 31), "given")
SIGNERS = {"simulated": Anonymous()}
OPTIONS = PlanOptions(
    around=120, retry=RetryPolicy(connect=1, answer=1, tries=1, longest=0.01), threads=4
)
LAND = np.random.default_rng(7).random((SIZE // 20, SIZE // 20)).repeat(20, 0).repeat(20, 1)
NOISE = np.random.default_rng(8).integers(0, 60, (4, SIZE, SIZE))


def grid_at(column, crs="EPSG:32633"):
    """Tiles of 6 km that overlap by 1 km."""
    return GeoBox((SIZE, SIZE), Affine(10, 0, 600000 + column * 5000, 0, -10, 5400000), crs)


def reflectance():
    """Vegetation, soil and a pond, x 10000."""
    green = LAND[None] > 0.4
    values = np.where(
        green,
        np.array([400, 600, 300, 3600])[:, None, None],
        np.array([1800, 1400, 1000, 2400])[:, None, None],
    )
    values[:, :100, :100] = np.array([250, 350, 400, 120])[:, None, None]
    return (values + NOISE).astype(np.uint16)


def write(folder, name, grid, clouds, added, broken=None):
    """Write five COGs; ``clouds`` is (y, x) bool at 10 m."""
    numbers = reflectance() + np.uint16(added)
    numbers[:, clouds] = 9000
    half = GeoBox((SIZE // 2, SIZE // 2), grid.transform * Affine.scale(2), grid.crs)
    codes = np.where(LAND > 0.4, 4, 5).astype(np.uint8)
    codes[:100, :100] = 6
    codes[clouds] = 9
    hrefs = {}
    for band, values, place in [
        *((band, numbers[k], grid) for k, band in enumerate(BANDS)),
        ("scl", codes[::2, ::2], half),
    ]:
        path = folder / f"{name}_{band}.tif"
        with store.create_cog(path, place, (band,), values.dtype, nodata=0, block=128) as sink:
            sink.write(whole(place), values[None])
        hrefs[band] = path.name
    if broken:
        content = (folder / hrefs[broken]).read_bytes()
        (folder / hrefs[broken]).write_bytes(content[:40])
    return hrefs


def scene(
    folder, tile, grid, day, clouds, *, added=1000, baseline="05.10", broken=None, **properties
):
    name = f"S2_{tile}_{day:%Y%m%d}"
    hrefs = write(folder, name, grid, clouds, added, broken)
    moment = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    hrefs = {band: str(folder / path) for band, path in hrefs.items()}
    return Scene(
        name,
        tile,
        moment,
        "simulated",
        hrefs,
        {"type": "Polygon", "coordinates": []},
        10.0,
        baseline,
        properties=properties,
    )


def left(share):
    clouds = np.zeros((SIZE, SIZE), bool)
    clouds[:, : int(SIZE * share)] = True
    return clouds


def right(share):
    return left(share)[:, ::-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def scenes(folder):
    """One tile: four dates in spring, one of them all cloud; two in autumn."""
    grid = grid_at(0)
    return [
        scene(folder, "33UXP", grid, date(2024, 4, 5), left(0.6)),
        scene(folder, "33UXP", grid, date(2024, 4, 15), right(0.6)),
        scene(folder, "33UXP", grid, date(2024, 4, 25), left(1)),
        scene(folder, "33UXP", grid, date(2024, 5, 5), left(0.2)),
        scene(folder, "33UXP", grid, date(2024, 9, 5), left(0.5)),
        scene(folder, "33UXP", grid, date(2024, 9, 15), right(0.7)),
    ]


def box(grid, west, south, east, north):
    """An area given in metres from the lower left corner of a tile."""
    from pyproj import Transformer

    x0, y0 = grid.transform.c, grid.transform.f - SIZE * 10
    to = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    ring = [
        to.transform(x0 + x, y0 + y)
        for x, y in ((west, south), (east, south), (east, north), (west, north), (west, south))
    ]
    return read_area({"type": "Polygon", "coordinates": [ring]})


def test_plan_of_one_tile(scenes):
    area = box(grid_at(0), 1000, 1000, 5000, 4000)
    steps = []
    a, b = plan_tiles(
        area, (A, B), scenes, SIGNERS, OPTIONS, on_step=lambda *step: steps.append(step)
    )
    assert (a.tile, a.season, b.season) == ("33UXP", A, B)
    assert [scene.id[-8:] for scene in a.scenes] == ["20240505", "20240405", "20240415"]
    assert len(a.candidates) == 4  # the cloudy one was looked at
    assert {how.offset for how in a.radiometry} == {-1000}
    assert "agree" in a.radiometry[0].why
    assert a.grid == grid_at(0)[a.roi]
    assert all(edge % 6 == 0 for part in a.roi for edge in (part.start, part.stop))
    rows, columns = a.roi
    assert columns.start <= 100 - 12 <= columns.start + 6
    assert columns.stop >= 500 + 12
    assert rows.start <= 200 - 12
    assert rows.stop >= 500 + 12
    assert a.depth.shape == (-(-a.grid.shape[0] * 10 // 20), -(-a.grid.shape[1] * 10 // 20))
    assert len(a.shares) == 6
    assert sum(a.shares) == pytest.approx(1)
    assert a.shares[0] == 0
    assert not a.notes
    assert b.shares[0] == pytest.approx(0.30, abs=0.02)  # columns 180 to 300 of 100 to 500
    assert any("is not seen clearly" in note for note in b.notes)
    assert steps[-1][:3] == ("choose", 6, 6)


def test_a_tile_that_is_seen_everywhere_lacks_nothing_at_its_edge(scenes):
    """Of 600 px in coarse ones of 16 the last ones have their middle beyond the tile, where no
    scene can show anything: they were told as ground that is not seen, 5 % of it here."""
    area = box(grid_at(0), -2000, -2000, 8000, 8000)
    a, _ = plan_tiles(area, (A, B), scenes, SIGNERS, replace(OPTIONS, coarse=160.0))
    assert a.shares[0] == 0
    assert not a.notes
    strip = cut("33UXP", grid_at(0), box(grid_at(0), 5990, 1000, 8000, 2000), coarse=160.0)
    assert strip.inside.any()  # it is there still, for its neighbours to be found


def test_ground_beyond_the_swath_is_not_clear_whatever_is_masked(folder):
    """``--mask 8,9`` does not name class 0: half an orbit was taken for all of the tile, and its
    other half was called seen five times over."""
    grid, dates = grid_at(0), [date(2024, 4, day) for day in (6, 11, 16)]
    given = [scene(folder, "33UXT", grid, day, left(0)) for day in dates]
    for one in given[:2]:  # the earlier ones end in the middle of the tile
        for path in one.hrefs.values():
            source = store.open_raster(path)
            values = source.read(whole(source.grid)).values.copy()
            values[..., values.shape[2] // 2 :] = 0
            with store.create_cog(
                path, source.grid, source.bands, values.dtype, nodata=0, block=128, force=True
            ) as sink:
                sink.write(whole(source.grid), values)
    area = box(grid, 500, 500, 5500, 5500)
    for excluded in (None, frozenset({8, 9}), frozenset()):
        options = replace(OPTIONS, target=1, excluded=excluded)
        plan, _ = plan_tiles(area, (A, B), given, SIGNERS, options)
        assert [one.id[-8:] for one in plan.scenes] == ["20240416"]
        assert plan.shares == (0, 1)
        plan, _ = plan_tiles(area, (A, B), given[:2], SIGNERS, options)
        assert plan.shares[0] == pytest.approx(0.5, abs=0.02)
        assert any("is not seen clearly" in note for note in plan.notes)


def test_plan_goes_through_json(scenes):
    plans = plan_tiles(box(grid_at(0), 1000, 1000, 5000, 4000), (A, B), scenes, SIGNERS, OPTIONS)
    text = plans_to_json(plans)
    again = plans_from_json(text)
    assert plans_to_json(again) == text
    for one, other in zip(plans, again, strict=True):
        assert (one.grid, one.roi, one.scenes, one.radiometry, one.candidates) == (
            other.grid,
            other.roi,
            other.scenes,
            other.radiometry,
            other.candidates,
        )
        assert np.array_equal(one.depth, other.depth)
        assert (one.notes, one.shares, one.season) == (other.notes, other.shares, other.season)
    with pytest.raises(UnreadableFile, match="plan again"):
        plans_from_json(text[:-5])
    with pytest.raises(UnreadableFile, match="version 7"):
        plans_from_json(json.dumps({**json.loads(text), "selion:plans": 7}))
    with pytest.raises(UnreadableFile, match="plan again"):
        plans_from_json("[]")


def test_seasons_by_place_and_the_order_of_scenes_do_not_matter(scenes):
    area = box(grid_at(0), 1000, 1000, 5000, 4000)
    seen = []

    def seasons(longitude, latitude):
        seen.append((longitude, latitude))
        return A, B

    one = plan_tiles(area, seasons, scenes, SIGNERS, OPTIONS)
    other = plan_tiles(
        area, (A, B), [*scenes[::-1], scenes[2]], SIGNERS, replace(OPTIONS, threads=1)
    )
    assert plans_to_json(one) == plans_to_json(other)
    assert all(
        area.boxes[0][0] < lon < area.boxes[0][2] and area.boxes[0][1] < lat < area.boxes[0][3]
        for lon, lat in seen
    )


def test_broken_scenes_are_set_aside_and_said(folder, scenes):
    grid = grid_at(0)
    cut_scl = scene(folder, "33UXP", grid, date(2024, 5, 15), left(0), broken="scl")
    cut_red = scene(folder, "33UXP", grid, date(2024, 5, 20), left(0), broken="red")
    lacking = replace(
        scenes[3],
        id="S2_lacking",
        hrefs={band: href for band, href in scenes[3].hrefs.items() if band != "blue"},
    )
    moved = scene(folder, "33UXP", grid_at(30), date(2024, 5, 25), left(0))
    area = box(grid, 1000, 1000, 5000, 4000)
    plan = plan_tiles(area, (A, B), [*scenes, cut_scl, cut_red, lacking, moved], SIGNERS, OPTIONS)[
        0
    ]
    assert [scene.id[-8:] for scene in plan.scenes] == ["20240505", "20240405", "20240415"]
    for broken, why in (
        (cut_scl, "Band scl"),
        (cut_red, "Band red"),
        (lacking, "no band blue"),
        (moved, "lies elsewhere"),
    ):
        assert any(broken.id in note and why in note for note in plan.notes), plan.notes
    assert len(plan.candidates) == 8


def test_wrong_flag_is_corrected_and_noted(folder):
    wrong = scene(
        folder,
        "33UXQ",
        grid_at(0),
        date(2024, 4, 6),
        left(0),
        added=0,
        collection="sentinel-2-l2a",
        **{"earthsearch:boa_offset_applied": False},
    )
    plan = plan_tiles(box(grid_at(0), 1000, 1000, 5000, 4000), (A, B), [wrong], SIGNERS, OPTIONS)[0]
    assert plan.radiometry[0].offset == 0
    assert any("although" in note for note in plan.notes)


def test_same_place_from_two_providers_agrees(folder, scenes):
    """Earth Search has taken the offset out and says so, the other archive has not: after the
    radiometry both are equal.
    """
    kept = scenes[3]
    gone = scene(
        folder,
        "33UXR",
        grid_at(0),
        date(2024, 5, 5),
        left(0.2),
        added=0,
        collection="sentinel-2-l2a",
        **{"earthsearch:boa_offset_applied": True},
    )
    area = box(grid_at(0), 1500, 1000, 5000, 4000)
    found = []
    for one in (kept, replace(gone, tile="33UXP")):
        plan = plan_tiles(area, (A, B), [one], SIGNERS, OPTIONS)[0]
        source = reading.open_band(one, "nir", Anonymous())
        found.append(plan.radiometry[0](source.read(plan.roi).values))
    clear = found[0] < 7000
    assert clear.mean() > 0.9
    assert np.array_equal(found[0][clear], found[1][clear])
    assert found[0].max() <= 10000


def test_provider_without_signer(scenes):
    with pytest.raises(BadInput, match="without a signer"):
        plan_tiles(box(grid_at(0), 1000, 1000, 5000, 4000), (A, B), scenes, {}, OPTIONS)


def test_nothing_to_plan_from(folder, scenes):
    area = box(grid_at(0), 1000, 1000, 5000, 4000)
    with pytest.raises(NoScenes, match="no scene to plan"):
        plan_tiles(area, (A, B), [], SIGNERS, OPTIONS)
    far = read_area((20, 10, 20.1, 10.1))
    with pytest.raises(NoScenes, match="lies on it"):
        plan_tiles(far, (A, B), scenes[:1], SIGNERS, OPTIONS)
    with pytest.raises(
        NoScenes, match="None of the 1 scenes of tile 33UXP shows the area clearly in window_a"
    ):
        plan_tiles(area, (A, B), [scenes[2]], SIGNERS, OPTIONS)
    gone = [
        replace(
            scenes[0], id="gone", hrefs={band: str(folder / "none.tif") for band in (*BANDS, "scl")}
        )
    ]
    with pytest.raises(
        UnreadableFile,
        match=r"None of the 1 scenes .* can be read; the last one said: Band scl of scene gone",
    ):
        plan_tiles(area, (A, B), gone, SIGNERS, OPTIONS)


def test_dead_server_is_given_up_before_all_are_tried(folder, scenes):
    with StacServer(folder=folder) as server:
        many = [replace(at(scenes[0], server), id=f"S2_{number}") for number in range(40)]
    area = box(grid_at(0), 1000, 1000, 5000, 4000)
    with pytest.raises(FetchFailed, match=r"12 scenes were tried, .* does not answer"):
        plan_tiles(area, (A, B), many, SIGNERS, OPTIONS)


def served(one, number, day, server):
    """A scene of a server with a name and a day of its own."""
    time = datetime.combine(day, one.time.timetz())
    return replace(at(one, server), id=f"S2_{number}", time=time)


def test_most_of_a_season_that_is_not_answered_is_no_season_without_scenes(folder, scenes):
    """Of four of the later season three lie on a server that is dead; of four, two are let go."""
    area = box(grid_at(0), 1000, 1000, 5000, 4000)
    with StacServer(folder=folder) as gone:
        lost = [served(scenes[0], k, date(2024, 9, 5), gone) for k in range(3)]
    with StacServer(folder=folder) as server:
        known = [served(scenes[0], 9 + k, date(2024, 9, 5), server) for k in range(2)]
        early = served(scenes[0], 20, date(2024, 4, 5), server)
        with pytest.raises(
            FetchFailed, match="3 of the 4 scenes of tile 33UXP in window_b were not answered"
        ):
            plan_tiles(area, (A, B), [early, *lost, known[0]], SIGNERS, OPTIONS)
        plans = plan_tiles(area, (A, B), [early, *lost[:2], *known], SIGNERS, OPTIONS)
        assert "Scene S2_0 was left out" in plans[1].notes[0]


def test_a_server_that_went_away_midway_is_told_from_scenes_that_are_gone(
    folder, scenes, monkeypatch
):
    """What is not there (404) is left out, where what was there before still is."""
    area = box(grid_at(0), 1000, 1000, 5000, 4000)
    with StacServer(folder=folder) as server:
        here = served(scenes[0], 1, date(2024, 4, 5), server)
        lost = served(scenes[0], 2, date(2024, 4, 6), server)
        lost = replace(lost, hrefs={band: f"{href}x" for band, href in lost.hrefs.items()})
        plans = plan_tiles(area, (A, B), [here, lost], SIGNERS, OPTIONS)
        assert "it is not there (HTTP 404)" in plans[0].notes[0]
        monkeypatch.setattr("selion.imagery.reading.store.ask_status", lambda *_: 404)
        with pytest.raises(FetchFailed, match="answered for S2_1 before, but does not now"):
            plan_tiles(area, (A, B), [here, lost], SIGNERS, OPTIONS)


def test_season_without_scenes_is_a_note(scenes):
    a, b = plan_tiles(box(grid_at(0), 1000, 1000, 5000, 4000), (A, B), scenes[:4], SIGNERS, OPTIONS)
    assert a.scenes
    assert not b.scenes
    assert b.shares[0] == 1
    assert "no scene in window_b" in b.notes[0]


# two tiles


@pytest.fixture(scope="module")
def neighbours(folder, scenes):
    return [
        scene(folder, "33UYP", grid_at(1), date(2024, 4, 5), left(0.3)),
        scene(folder, "33UYP", grid_at(1), date(2024, 9, 5), left(0)),
    ]


def test_tile_that_adds_nothing_is_left_out(scenes, neighbours):
    alone = box(grid_at(0), 1000, 1000, 5500, 4000)  # 500 m of it lie in the neighbour too
    plans = plan_tiles(alone, (A, B), [*scenes, *neighbours], SIGNERS, OPTIONS)
    assert [plan.tile for plan in plans] == ["33UXP", "33UXP"]
    both = box(grid_at(0), 1000, 1000, 9000, 4000)
    plans = plan_tiles(both, (A, B), [*scenes, *neighbours], SIGNERS, OPTIONS)
    assert [plan.tile for plan in plans] == ["33UXP", "33UXP", "33UYP", "33UYP"]


def test_left_out_tile_comes_back_when_its_neighbour_sees_nothing(scenes, neighbours):
    # in both tiles, and in spring cloud lies on it in the first
    overlap = box(grid_at(0), 5200, 1000, 5800, 4000)
    cloudy = [scenes[2]]
    plans = plan_tiles(overlap, (A, B), [*cloudy, *neighbours], SIGNERS, OPTIONS)
    spring = {plan.tile: plan for plan in plans if plan.season == A}
    assert not spring.get("33UXP") or not spring["33UXP"].scenes
    assert not spring.get("33UYP") or not spring["33UYP"].scenes or spring["33UYP"].shares[0] < 1
    # the other has nothing in autumn
    assert [plan.tile for plan in plans if plan.season == B] == ["33UYP"]


# cuts


def part(tile, grid, area, coarse=20.0):
    made = cut(tile, grid, area, coarse=coarse)
    assert isinstance(made, TilePart)
    return made


def test_needless_is_deterministic_and_keeps_what_others_lean_on():
    area = box(grid_at(0), 5100, 1000, 5900, 4000)
    one, other = part("33UXP", grid_at(0), area), part("33UYP", grid_at(1), area)
    # equal ones: the first by name goes
    assert list(needless([one, other])) == list(needless([other, one])) == ["33UXP"]
    assert "33UYP" in needless([one, other])["33UXP"]
    assert covering(one, [other]) == ["33UYP"]
    twins = [part(name, grid_at(0), area) for name in ("33UXA", "33UXB", "33UXC")]
    assert len(needless(twins)) == 2


def test_needless_across_zones():
    """The same square kilometres in two UTM zones: 15 degrees east lies on the border of 32 and
    33... of 33 and 34 here.
    """
    from pyproj import Transformer

    area = read_area((17.99, 48.0, 18.01, 48.02))
    grids = {}
    for zone in (33, 34):
        x, y = Transformer.from_crs("EPSG:4326", f"EPSG:326{zone}", always_xy=True).transform(
            18.0, 48.01
        )
        grids[zone] = GeoBox(
            (1200, 1200),
            Affine(10, 0, round(x / 10) * 10 - 6000, 0, -10, round(y / 10) * 10 + 6000),
            f"EPSG:326{zone}",
        )
    parts = [part(f"{zone}UXP", grid, area) for zone, grid in grids.items()]
    assert len(needless(parts)) == 1


def test_area_that_misses_a_tile_is_not_cut():
    assert cut("33UXP", grid_at(0), read_area((20, 10, 20.1, 10.1))) is None


def test_coarse_pixels_follow_the_size():
    full = GeoBox((10980, 10980), Affine(10, 0, 600000, 0, -10, 5400000), "EPSG:32633")
    from pyproj import Transformer

    to = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)

    def sized(metres):
        ring = [
            to.transform(650000 + x * metres, 5340000 + y * metres)
            for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
        ]
        return part(
            "33UXP", full, read_area({"type": "Polygon", "coordinates": [ring]}), coarse=None
        )

    found = {metres: sized(metres).coarse for metres in (1000, 4000, 12000, 25000, 45000)}
    assert list(found.values()) == [20, 20, 40, 80, 160]
    everything = part("33UXP", full, read_area((13, 46, 20, 50)), coarse=None)
    assert everything.coarse == 320
    assert everything.roi == (slice(0, 10980), slice(0, 10980))
    # 10980 px are 343.1 coarse ones: the middles of the last row and column lie beyond the tile
    assert everything.inside[:343, :343].all()
    assert everything.inside.sum() == 343**2


def test_tile_grid_of_an_overview():
    full = GeoBox((10980, 10980), Affine(10, 0, 600000, 0, -10, 5400000), "EPSG:32633")
    coarse = 109800 / 343
    assert (
        tile_grid(GeoBox((343, 343), Affine(coarse, 0, 600000, 0, -coarse, 5400000), "EPSG:32633"))
        == full
    )


def test_sampled_takes_the_pixel_under_each_centre():
    grid = GeoBox((10, 10), Affine(20, 0, 0, 0, -20, 200), "EPSG:32633")
    values = np.arange(100, dtype=np.uint8).reshape(10, 10)
    target = GeoBox((3, 3), Affine(40, 0, 60, 0, -40, 100), "EPSG:32633")
    found = sampled(values, grid, target)
    assert found[0, 0] == values[6, 4]  # centre (80, 80): column 4, row (200 - 80) / 20 = 6
    roi = window_of(grid, target)
    assert np.array_equal(sampled(values[roi], grid[roi], target), found)
    outside = GeoBox((3, 3), Affine(40, 0, 5000, 0, -40, 100), "EPSG:32633")
    assert not sampled(values, grid, outside).any()
    assert window_of(grid, outside) is None
    beyond = GeoBox((2, 2), Affine(40, 0, 160, 0, -40, 80), "EPSG:32633")  # half of it lies outside
    assert (sampled(values, grid, beyond)[:, 1] == 0).all()
    assert overview_grid(grid, 40).shape == (5, 5)


# bytes


def at(one, server):
    return replace(
        one,
        hrefs={band: f"{server.cogs}/{href.rsplit('/', 1)[1]}" for band, href in one.hrefs.items()},
    )


def test_bytes_read_before_the_choice(folder, scenes):
    """Choosing on overviews costs a small share of what reading all candidates would."""
    area = box(grid_at(0), 500, 500, 5500, 5500)
    with StacServer(folder=folder) as server:
        plans = plan_tiles(
            area, (A, B), [at(one, server) for one in scenes], SIGNERS, replace(OPTIONS, coarse=80)
        )
        overviews = sum(server.sent.values())
    with StacServer(folder=folder) as server:  # another port: nothing of it is in GDAL's memory
        for one in scenes:
            for band in (*BANDS, "scl"):
                source = reading.open_band(at(one, server), band, Anonymous())
                source.read(whole(source.grid))
        everything = sum(server.sent.values())
    assert [len(plan.scenes) for plan in plans] == [3, 2]
    # at 10980 pixels the overviews are some hundredth of it: see bench/choose.py
    assert 3 * overviews < everything
