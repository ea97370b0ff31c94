import json
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pystac
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion import fields, store
from selion.errors import BadInput, OutputExists, UnknownName, UnreadableFile
from selion.grid import whole
from selion.imagery.providers import find_provider
from selion.imagery.season import days_of
from selion.pipeline.demo import write_outlines
from selion.simulation.archive import (
    BANDS,
    CLEAR,
    FAULTS,
    LAYOUTS,
    ArchiveOptions,
    ArchiveSeason,
    read_archive,
    simulate_archive,
    tiles_of,
)
from selion.simulation.archive.footprint import cut
from selion.simulation.archive.layouts import NUMBERS
from selion.simulation.archive.passes import default_seasons, draw_days, parse_baseline
from selion.simulation.archive.tiling import TileLattice, corner_of, zones_of
from selion.simulation.archive.truths import reflect, write_world
from selion.simulation.archive.world import area_points, equal_area, make_world
from selion.simulation.landscape import simulate

SMALL = {"tile_px": 96, "n_dates": 2}
ONE = {**SMALL, "size_km": 0.3}
"""A single tile, as a rule."""


def read(path):
    source = store.open_raster(path)
    return source.read(whole(source.grid)).values


def files(archive, item):
    folder = (archive.folder / next(iter(item["assets"].values()))["href"]).parent
    return {band: folder / f"{NUMBERS[band]}.tif" for band in (*BANDS, "scl")}


def pixels(archive, item):
    """Digital numbers (4, y, x) and the scene classification spread over them."""
    paths = files(archive, item)
    scl = read(paths["scl"])[0]
    return np.concatenate([read(paths[band]) for band in BANDS]), scl.repeat(2, 0).repeat(2, 1)


def tile_of(archive, item):
    return next(tile for tile in archive.tiles if tile in files(archive, item)["scl"].parts)


def season_of(archive, item):
    day = date.fromisoformat(item["properties"]["datetime"][:10])
    return next(season.name for season in archive.seasons if season.start <= day <= season.end)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return simulate_archive(
        tmp_path_factory.mktemp("a") / "archive",
        seed=3,
        n_dates=4,
        wrong_flags=0.5,
        cirrus=0.1,
        draw=write_outlines,
    )


def test_where_the_classification_says_clear_the_numbers_are_the_truth(archive):
    clear = 0
    for item in archive.items:
        numbers, scl = pixels(archive, item)
        truth = read(archive.truth.tiles[tile_of(archive, item), season_of(archive, item)])
        seen = np.isin(scl, CLEAR)
        np.testing.assert_array_equal(
            numbers[:, seen], truth[:, seen] + archive.offsets[item["id"]]
        )
        clear += seen.sum()
    assert clear > 0.2 * len(archive.items) * 264**2


def test_the_truth_counts_the_clear_views(archive):
    counts = {key: np.zeros(read(path).shape[1:], int) for key, path in archive.truth.clear.items()}
    for item in archive.items:
        counts[tile_of(archive, item), season_of(archive, item)] += np.isin(
            read(files(archive, item)["scl"])[0], CLEAR
        )
    for key, path in archive.truth.clear.items():
        np.testing.assert_array_equal(read(path)[0], counts[key])


def test_a_composite_without_the_classification_is_visibly_wrong(archive):
    tile = next(iter(archive.tiles))
    truth = read(archive.truth.tiles[tile, "window_a"]).astype(int)
    stack, clear = [], []
    for item in archive.items:
        if tile_of(archive, item) == tile and season_of(archive, item) == "window_a":
            numbers, scl = pixels(archive, item)
            stack.append(
                np.where(numbers > 0, numbers.astype(float) - archive.offsets[item["id"]], np.nan)
            )
            clear.append(np.isin(scl, CLEAR))
    stack, clear = np.array(stack), np.array(clear)[:, None]
    naive = np.nanmean(stack, 0)
    assert np.mean(np.abs(naive - truth).max(0) > 500) > 0.2
    covered = clear.any(0)[0]
    masked = np.nanmedian(np.where(clear, stack, np.nan)[:, :, covered], 0)
    assert covered.mean() > 0.4
    np.testing.assert_array_equal(masked, truth[:, covered])


def test_clouds_are_bright_and_shadows_dark(archive):
    bright, dark = [], []
    for item in archive.items:
        numbers, scl = pixels(archive, item)
        truth = read(archive.truth.tiles[tile_of(archive, item), season_of(archive, item)]).astype(
            int
        )
        off = numbers.astype(int) - archive.offsets[item["id"]] - truth
        bright.append(off[:, scl == 9].ravel())
        dark.append(off[:, scl == 3].ravel())
    bright, dark = np.concatenate(bright), np.concatenate(dark)
    assert np.median(bright) > 2500
    assert np.mean(bright > 0) > 0.98
    assert np.median(dark) < -100
    assert np.mean(dark < 0) > 0.9


def test_two_tiles_of_one_pass_agree_where_they_overlap(archive):
    """They lie on one UTM grid here, so pixel by pixel: ground, cloud and swath edge."""
    groups = {}
    for item in archive.items:
        groups.setdefault(item["properties"]["datetime"], []).append(item)
    compared = 0
    for group in groups.values():
        for one, other in pairwise(group):
            a, b = archive.tiles[tile_of(archive, one)], archive.tiles[tile_of(archive, other)]
            down, across = (
                round((a.transform.f - b.transform.f) / 10),
                round((b.transform.c - a.transform.c) / 10),
            )
            left, _ = pixels(archive, one)
            right, _ = pixels(archive, other)
            rows = (
                slice(max(down, 0), min(264, 264 + down)),
                slice(max(-down, 0), min(264, 264 - down)),
            )
            columns = (
                slice(max(across, 0), min(264, 264 + across)),
                slice(max(-across, 0), min(264, 264 - across)),
            )
            here, there = (
                left[:, rows[0], columns[0]].astype(int),
                right[:, rows[1], columns[1]].astype(int),
            )
            np.testing.assert_allclose(here, there, atol=1)
            compared += here.size
    assert compared > 10_000


def test_the_truth_of_the_tiles_is_that_of_the_world(archive):
    world = store.open_raster(archive.truth.seasons["window_a"])
    values = world.read(whole(world.grid)).values.astype(float)
    for tile, grid in archive.tiles.items():
        rows, columns = np.meshgrid(np.arange(5, 259, 9), np.arange(5, 259, 9))
        x, y = grid.transform * (columns + 0.5, rows + 0.5)
        x, y = Transformer.from_crs(str(grid.crs), str(world.grid.crs), always_xy=True).transform(
            x, y
        )
        u, v = ~world.grid.transform * (x, y)
        u, v = u - 0.5, v - 0.5
        c, r = np.floor(u).astype(int), np.floor(v).astype(int)
        s, t = u - c, v - r
        wanted = (1 - t) * ((1 - s) * values[:, r, c] + s * values[:, r, c + 1]) + t * (
            (1 - s) * values[:, r + 1, c] + s * values[:, r + 1, c + 1]
        )
        found = read(archive.truth.tiles[tile, "window_a"])[:, rows, columns]
        np.testing.assert_allclose(found, wanted, atol=0.52)


def test_the_files_are_cogs_with_overviews(archive):
    paths = files(archive, archive.items[0])
    red, scl = store.open_raster(paths["red"]), store.open_raster(paths["scl"])
    assert (red.dtype, scl.dtype) == (np.uint16, np.uint8)
    assert red.nodata == scl.nodata == 0
    assert tuple(store.open_raster(paths["red"], coarse=40).grid.shape) == (66, 66)
    assert scl.grid.transform.a == 20
    assert scl.grid.boundingbox == red.grid.boundingbox
    assert set(np.unique(read(paths["scl"]))) <= set(range(12))


def test_footprint_and_cloud_cover_tell_what_the_pixels_show(archive):
    partial = 0
    for item in archive.items:
        _, scl = pixels(archive, item)
        grid = archive.tiles[tile_of(archive, item)]
        to_utm = Transformer.from_crs("EPSG:4326", str(grid.crs), always_xy=True)
        outline = shapely.transform(
            shapely.geometry.shape(item["geometry"]),
            lambda xy, t=to_utm: np.stack(t.transform(*xy.T), 1),
        )
        share = outline.area / (264 * 10) ** 2
        assert share == pytest.approx(np.mean(scl > 0), abs=0.03)
        partial += share < 0.9
        seen = scl > 0
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(
            100 * np.isin(scl, (8, 9, 10))[seen].mean(), abs=1e-3
        )
        assert item["bbox"] == pytest.approx(
            shapely.geometry.shape(item["geometry"]).bounds, abs=1e-6
        )
    assert partial >= 3


def test_fields_of_the_truth(archive):
    frame = fields.read_fields(archive.truth.fields)
    ids = read(archive.truth.instances)[0]
    assert len(frame) == ids.max() > 20
    assert frame["metrics:area"].sum() == pytest.approx((ids > 0).sum() * 100, rel=0.002)
    assert read(archive.truth.cover).shape[1:] == ids.shape


def test_an_archive_is_read_again(archive):
    again = read_archive(archive.folder)
    assert again.items == archive.items
    for name in (
        "options",
        "seasons",
        "tiles",
        "world",
        "truth",
        "bbox",
        "offsets",
        "broken",
        "centre",
        "collection",
    ):
        assert getattr(again, name) == getattr(archive, name), name
    assert json.loads(json.dumps(again.area)) == json.loads(json.dumps(archive.area))
    at = archive.items_at("https://example.org/cogs/")
    assert (
        at[0]["assets"]["red"]["href"]
        == f"https://example.org/cogs/{archive.items[0]['assets']['red']['href']}"
    )


def test_no_archive_is_a_sentence(tmp_path):
    with pytest.raises(UnreadableFile, match="holds no simulated archive"):
        read_archive(tmp_path)


# the items of each provider


def test_earth_search_flags(archive):
    """Half of the new items are said wrongly, to both sides; pixels, not flags, decide the
    offset.
    """
    new = [
        item for item in archive.items if item["properties"]["s2:processing_baseline"] == "05.11"
    ]
    old = [
        item for item in archive.items if item["properties"]["s2:processing_baseline"] == "03.01"
    ]
    assert new
    assert old
    assert all(
        archive.offsets[item["id"]] == 0
        and item["properties"]["earthsearch:boa_offset_applied"] is False
        for item in old
    )
    honest = [
        item["properties"]["earthsearch:boa_offset_applied"] is (archive.offsets[item["id"]] == 0)
        for item in new
    ]
    assert 0 < sum(honest) < len(new)
    assert {
        archive.offsets[item["id"]] for item, said in zip(new, honest, strict=True) if not said
    } == {0, 1000}
    assert {item["assets"]["red"]["raster:bands"][0]["offset"] for item in new} == {-0.1}


@pytest.fixture(scope="module", params=LAYOUTS)
def provided(request, tmp_path_factory):
    return simulate_archive(
        tmp_path_factory.mktemp("p") / "archive", seed=5, layout=request.param, orbits=1, **ONE
    )


def test_items_are_read_as_the_provider_s(provided):
    from selion.imagery.items import scene_of
    from selion.imagery.radiometry import decide

    provider = find_provider(provided.options.layout.removesuffix("-c1"))
    assert provided.collection in provider.collections
    for item in provided.items:
        scene = scene_of(item, provider)
        assert scene.tile == tile_of(provided, item)
        assert scene.baseline in provided.options.baselines
        assert scene.orbit == 22
        assert scene.time.date().isoformat() == item["properties"]["datetime"][:10]
        assert scene.hrefs["scl"].endswith("SCL.tif")
        assert decide(scene, provider).offset == -provided.offsets[item["id"]]


def test_numbers_hold_the_offset_of_their_baseline(provided):
    wanted = 0 if provided.options.layout == "earth-search" else 1000
    for item in provided.items:
        said = item["properties"]
        new = parse_baseline(said.get("s2:processing_baseline") or said["processing:version"]) >= (
            4,
            0,
        )
        assert provided.offsets[item["id"]] == wanted * new


def test_pystac_reads_the_static_catalogue(provided):
    catalogue = pystac.Catalog.from_file(str(provided.catalogue))
    (collection,) = catalogue.get_children()
    assert collection.id == provided.collection
    found = {item.id: item for item in catalogue.get_items(recursive=True)}
    assert set(found) == {item["id"] for item in provided.items}
    item = next(iter(found.values()))
    asset = item.assets[LAYOUTS[provided.options.layout].assets["red"]]
    assert (
        store.open_raster(asset.get_absolute_href()).grid
        == provided.tiles[
            tile_of(provided, item.to_dict(include_self_link=False, transform_hrefs=False))
        ]
    )
    start, end = collection.extent.temporal.intervals[0]
    assert start == min(i.datetime for i in found.values())
    assert end == max(i.datetime for i in found.values())


@pytest.mark.parametrize("layout", ["earth-search-c1", "cdse"])
def test_declared_offsets_can_be_wrong_where_there_is_no_flag(tmp_path, layout):
    made = simulate_archive(
        tmp_path / "a",
        seed=1,
        layout=layout,
        wrong_flags=1.0,
        baselines=("05.11",),
        orbits=1,
        **ONE,
    )
    pairs = set()
    for item in made.items:
        asset = item["assets"][LAYOUTS[layout].assets["red"]]
        declared = (
            asset["raster:offset"] if layout == "cdse" else asset["raster:bands"][0]["offset"]
        )
        pairs.add((declared, made.offsets[item["id"]]))
    assert pairs == {(-0.1, 0), (0.0, 1000)}


def test_earth_search_can_keep_and_say_so(tmp_path):
    made = simulate_archive(tmp_path / "a", seed=1, kept=1.0, baselines=("05.11",), orbits=1, **ONE)
    assert set(made.offsets.values()) == {1000}
    assert {item["properties"]["earthsearch:boa_offset_applied"] for item in made.items} == {False}


# tiles


@pytest.mark.parametrize(
    ("longitude", "latitude", "name", "epsg", "left", "top"),
    [
        # geotransform of S2A_39QTA_20230628_0_L2A on Earth Search
        (48.68, 18.48, "39QTA", 32639, 199980, 2100000),
        (4.9, 52.37, "31UFU", 32631, 600000, 5900040),
        (-48.1, -1.4, "22MHD", 32722, None, None),  # footprint of S2B_22MHD_20230912_0_L2A
        # geotransform of a product of 2021-06-27 over 32632
        (11.0, 46.5, "32TPS", 32632, 600000, 5200020),
    ],
)
def test_tiles_of_the_real_size_are_the_real_ones(longitude, latitude, name, epsg, left, top):
    (tile,) = tiles_of(TileLattice(10980, 10.0), np.array([longitude]), np.array([latitude]))
    assert (tile.name, tile.epsg) == (name, epsg)
    if left is not None:
        assert (tile.grid.transform.c, tile.grid.transform.f) == (left, top)


def test_a_real_tile_of_the_far_south():
    """S2B_MSIL2A_20191228T210519_R071_T01CCV lies at 300000, 2000020 in EPSG:32701."""
    tile = TileLattice(10980, 10.0).tile((1, False, 3, -81))
    assert (tile.name, tile.epsg, tile.grid.transform.c, tile.grid.transform.f) == (
        "01CCV",
        32701,
        300000,
        2000020,
    )


@given(st.floats(-179.9, 179.9), st.floats(-78, 82), st.sampled_from([96, 264, 1024, 10980]))
@settings(max_examples=25, deadline=None)
def test_tiles_cover_the_area_and_overlap_by_a_tenth(longitude, latitude, size):
    lattice = TileLattice(size, 10.0)
    points = area_points(
        (longitude, latitude), (1.3 * lattice.edge, 1.3 * lattice.edge), lattice.edge / 6
    )
    tiles = tiles_of(lattice, *points)
    inside = np.zeros(len(points[0]), int)
    for tile in tiles:
        box = tile.grid.boundingbox
        x, y = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(*points)
        inside += (x >= box.left) & (x <= box.right) & (y >= box.bottom) & (y <= box.top)
    assert inside.min() >= 1
    assert len({tile.name for tile in tiles}) == len(tiles)
    assert 0.05 < 1 - lattice.step / lattice.edge < 0.15


@pytest.mark.parametrize("centre", [(13.0, 51.0), (-62.0, -30.0), (100.2, 14.9)])
def test_without_a_size_the_area_lies_on_four_tiles(centre):
    lattice = TileLattice(264, 10.0)
    corner = corner_of(lattice, centre)
    assert np.allclose(corner, centre, atol=0.03)
    assert (
        len(tiles_of(lattice, *area_points(corner, (1.1 * lattice.edge,) * 2, lattice.edge / 6)))
        == 4
    )


@given(st.floats(-180, 180), st.integers(1, 60))
def test_zones(longitude, zone):
    assert zones_of(np.array([-180 + 6 * (zone - 1) + 0.001]))[0] == zone
    assert 1 <= zones_of(np.array([longitude]))[0] <= 60


# places


def check_truth(made):
    """The law of all archives, on the first and the last item."""
    for item in (made.sound[0], made.sound[-1]):
        numbers, scl = pixels(made, item)
        seen = np.isin(scl, CLEAR)
        truth = read(made.truth.tiles[tile_of(made, item), season_of(made, item)])
        assert seen.any()
        np.testing.assert_array_equal(numbers[:, seen], truth[:, seen] + made.offsets[item["id"]])


def agreement(made, one, other):
    """Largest-scale agreement of two tiles of different zones: correlation of their near infrared
    at the same places.
    """
    a, b = made.tiles[one], made.tiles[other]
    rows, columns = (
        index.ravel() for index in np.meshgrid(np.arange(96), np.arange(96), indexing="ij")
    )
    x, y = a.transform * (columns + 0.5, rows + 0.5)
    u, v = ~b.transform * tuple(
        np.array(Transformer.from_crs(str(a.crs), str(b.crs), always_xy=True).transform(x, y))
    )
    u, v = np.floor(u).astype(int), np.floor(v).astype(int)
    inside = (u >= 0) & (u < 96) & (v >= 0) & (v < 96)
    left, right = (
        read(made.truth.tiles[one, "window_a"])[3],
        read(made.truth.tiles[other, "window_a"])[3],
    )
    return inside.sum(), np.corrcoef(
        left[rows[inside], columns[inside]], right[v[inside], u[inside]]
    )[0, 1]


def test_two_zones(tmp_path):
    made = simulate_archive(tmp_path / "a", seed=2, centre=(12.0, 50.0), clouds=(0.1, 0.2), **SMALL)
    assert {tile[:2] for tile in made.tiles} == {"32", "33"}
    assert made.centre[0] == 12.0
    pairs = [
        agreement(made, one, other)
        for one in made.tiles
        for other in made.tiles
        if one[:2] == "32" and other[:2] == "33"
    ]
    shared = [(count, alike) for count, alike in pairs if count > 300]
    assert shared
    assert all(alike > 0.9 for _, alike in shared)
    check_truth(made)


def test_the_equator(tmp_path):
    made = simulate_archive(
        tmp_path / "a", seed=2, centre=(21.0, 0.001), clouds=(0.1, 0.2), **SMALL
    )
    assert {str(grid.crs) for grid in made.tiles.values()} == {"EPSG:32634", "EPSG:32734"}
    assert {tile[2] for tile in made.tiles} == {"N", "M"}
    north, south = (next(tile for tile in made.tiles if tile[2] == band) for band in "NM")
    counts = [agreement(made, north, tile) for tile in made.tiles if tile[2] == "M"]
    assert max(counts)[0] > 300
    assert max(counts)[1] > 0.95
    assert made.tiles[north].boundingbox.bottom < 0 < made.tiles[south].boundingbox.top
    assert [season.start.month for season in made.seasons] == [3, 7]
    check_truth(made)


def test_the_date_line(tmp_path):
    made = simulate_archive(
        tmp_path / "a", seed=2, centre=(180.0, 68.0), clouds=(0.1, 0.2), **SMALL
    )
    assert {tile[:2] for tile in made.tiles} == {"60", "01"}
    west, _, east, _ = made.bbox
    assert 179 < west <= 180
    assert -180 <= east < -179
    assert made.area["type"] == "MultiPolygon"
    crossing = [item for item in made.items if item["geometry"]["type"] == "MultiPolygon"]
    assert crossing
    assert all(item["bbox"][0] > item["bbox"][2] for item in crossing)
    for item in made.items:
        shape = shapely.geometry.shape(item["geometry"])
        assert shape.is_valid
        assert shape.bounds[0] >= -180
        assert shape.bounds[2] <= 180
        assert shape.area < 0.1
    assert {item["properties"]["datetime"][11:13] for item in made.items} == {"22"}
    check_truth(made)


def test_southern_seasons_cross_new_year(tmp_path):
    seasons = (
        ArchiveSeason("window_a", date(2023, 12, 10), date(2024, 1, 20)),
        ArchiveSeason("window_b", date(2024, 3, 2), date(2024, 4, 10)),
    )
    made = simulate_archive(
        tmp_path / "a",
        seed=2,
        centre=(-62.0, -34.0),
        seasons=seasons,
        clouds=(0.1, 0.2),
        orbits=1,
        **{**ONE, "n_dates": 3},
    )
    times = sorted(item["properties"]["datetime"] for item in made.items)
    assert times[0].startswith("2023-12")
    assert any(time.startswith("2024-01") for time in times)
    assert {str(grid.crs) for grid in made.tiles.values()} == {"EPSG:32720"}
    assert made.seasons == seasons
    check_truth(made)


@pytest.mark.parametrize("latitude", [60.0, 45.0, 30.0, 12.0, 2.0, -2.0, -12.0, -30.0, -50.0])
def test_default_seasons_lie_in_the_windows_of_the_latitude_rule(latitude):
    seasons = default_seasons(latitude, 2024)
    for season, (first, last) in zip(seasons, days_of(latitude), strict=True):
        assert first <= season.start.timetuple().tm_yday <= season.end.timetuple().tm_yday <= last
        assert season.start.year == season.end.year
    assert seasons[0].end < seasons[1].start
    assert seasons[1].end.year == 2024


# options


def test_equal_seeds_give_equal_bytes(tmp_path):
    options = ArchiveOptions(
        seed=9, tile_px=48, n_dates=1, size_km=0.3, noise=0.01, haze=50, faults=("missing-file",)
    )
    one, two = (simulate_archive(tmp_path / name, options) for name in "ab")
    other = simulate_archive(tmp_path / "c", options, seed=10)
    assert one.items == two.items != other.items
    names = sorted(path.relative_to(one.folder) for path in one.folder.rglob("*.tif"))
    assert names == sorted(path.relative_to(two.folder) for path in two.folder.rglob("*.tif"))
    assert all(
        (one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names
    )


def test_gain_haze_and_noise_change_the_clear_pixels_a_little(tmp_path):
    made = simulate_archive(
        tmp_path / "a",
        seed=4,
        tile_px=96,
        n_dates=3,
        gain=0.03,
        orbit_gain=0.1,
        noise=0.01,
        haze=100,
        clouds=(0, 0.1),
    )
    ratios = {}
    for item in made.items:
        numbers, scl = pixels(made, item)
        truth = read(made.truth.tiles[tile_of(made, item), season_of(made, item)]).astype(float)
        seen = np.isin(scl, CLEAR) & (truth[3] > 1000)
        ratio = (numbers[3, seen].astype(float) - made.offsets[item["id"]]) / truth[3, seen]
        assert 0.002 < ratio.std() < 0.05
        ratios.setdefault(item["properties"]["datetime"], []).append(np.median(ratio))
    means = [np.mean(values) for values in ratios.values()]
    assert 0.02 < np.ptp(means) < 0.4
    assert max(np.ptp(values) for values in ratios.values()) < 0.02


def test_snow_is_flagged_and_hides_the_ground(tmp_path):
    made = simulate_archive(tmp_path / "a", seed=4, snow=0.5, orbits=1, clouds=(0.1, 0.1), **ONE)
    first = made.items[0]["properties"]["datetime"]
    found = 0
    for item in made.items:
        numbers, scl = pixels(made, item)
        if item["properties"]["datetime"] == first:
            found += (scl == 11).sum()
            assert np.median(numbers[0, scl == 11]) > 7000 if (scl == 11).sum() > 20 else True
    assert found > 0.1 * len(made.tiles) * 96**2


def test_dates_that_are_given(tmp_path):
    days = {"window_a": (date(2024, 5, 1), date(2024, 5, 3)), "window_b": (date(2024, 8, 9),)}
    seasons = (
        ArchiveSeason("window_a", date(2024, 5, 1), date(2024, 5, 31)),
        ArchiveSeason("window_b", date(2024, 8, 1), date(2024, 8, 31)),
    )
    made = simulate_archive(
        tmp_path / "a", seed=4, dates=days, seasons=seasons, size_km=0.3, tile_px=96, orbits=1
    )
    assert {item["properties"]["datetime"][:10] for item in made.items} == {
        "2024-05-01",
        "2024-05-03",
        "2024-08-09",
    }
    assert {
        datetime.fromisoformat(item["properties"]["datetime"]).astimezone(UTC).hour
        for item in made.items
    } == {9}
    assert read_archive(made.folder).options == made.options


def test_a_world_beyond_the_patch_is_mirrored(tmp_path):
    made = simulate_archive(
        tmp_path / "a",
        seed=4,
        patch_px=64,
        orbits=1,
        clouds=(0.1, 0.1),
        draw=write_outlines,
        **SMALL,
    )
    assert made.truth.fields is None
    ids = read(made.truth.instances)[0]
    assert min(ids.shape) > 130
    copies = [
        set(np.unique(ids[64 * r : 64 * r + 64, 64 * c : 64 * c + 64])) - {0}
        for r in range(2)
        for c in range(2)
    ]
    assert all(copies)
    assert not any(copies[i] & copies[j] for i in range(4) for j in range(i))
    values = read(made.truth.seasons["window_b"])
    np.testing.assert_array_equal(values[:, :64], values[:, 127:63:-1])
    check_truth(made)


@given(st.integers(1, 50), st.integers(0, 500))
def test_reflection(size, index):
    found = reflect(np.array([index, index + 2 * size, 2 * size - 1 - index % (2 * size)]), size)
    assert (found == found[0]).all()
    assert 0 <= found[0] < size
    assert reflect(np.array([index]), size)[0] == index or index >= size


@given(st.floats(-180, 180), st.floats(-70, 70), st.floats(0.01, 3))
@settings(deadline=None)
def test_outlines_are_cut_at_the_antimeridian(longitude, latitude, size):
    ring = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * size / 2 + (
        longitude,
        latitude,
    )
    wrapped = np.stack([(ring[:, 0] + 180) % 360 - 180, ring[:, 1]], 1)
    geometry, box = cut(wrapped)
    shape = shapely.geometry.shape(geometry)
    assert shape.is_valid
    assert shape.area == pytest.approx(size**2, rel=1e-3)
    assert -180 <= shape.bounds[0] <= shape.bounds[2] <= 180
    assert (box[0] > box[2]) == (geometry["type"] == "MultiPolygon")


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_days_differ_and_lie_in_the_season(count, seed):
    season = ArchiveSeason("window_a", date(2023, 12, 20), date(2024, 1, 8))
    days = draw_days(season, count, np.random.default_rng(seed))
    assert len(set(days)) == count
    assert list(days) == sorted(days)
    assert season.start <= days[0]
    assert days[-1] <= season.end


# faults


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    return simulate_archive(
        tmp_path_factory.mktemp("b") / "archive", seed=6, faults=tuple(FAULTS), orbits=1, **ONE
    )


def fault(archive, name):
    return next(item for item in archive.items if archive.broken.get(item["id"]) == name)


def test_each_fault_breaks_one_more_item(broken):
    assert sorted(broken.broken.values()) == sorted(FAULTS)
    assert len(broken.items) == len(broken.sound) + len(FAULTS)
    assert len({item["id"] for item in broken.items}) == len(broken.items)
    assert len(broken.items_at("x", broken=False)) == len(broken.sound)
    check_truth(broken)


def test_the_faults_are_as_they_say(broken):
    assert "nir" not in fault(broken, "missing-asset")["assets"]
    assert not (broken.folder / fault(broken, "missing-file")["assets"]["green"]["href"]).exists()
    with pytest.raises(UnreadableFile):
        read(broken.folder / fault(broken, "truncated")["assets"]["red"]["href"])
    item = fault(broken, "wrong-grid")
    grid = store.open_raster(broken.folder / item["assets"]["red"]["href"]).grid
    shift = (grid.transform.c - broken.tiles[tile_of(broken, item)].transform.c) / 10
    assert grid.crs == broken.tiles[tile_of(broken, item)].crs
    assert shift % 1 == 0.5
    item = fault(broken, "wrong-zone")
    assert (
        store.open_raster(broken.folder / item["assets"]["nir"]["href"]).grid.crs
        != broken.tiles[tile_of(broken, item)].crs
    )
    item = fault(broken, "all-cloud")
    assert (read(broken.folder / item["assets"]["scl"]["href"]) == 9).all()
    assert item["properties"]["eo:cloud_cover"] == 12
    assert fault(broken, "no-datetime")["properties"]["datetime"] is None
    assert fault(broken, "no-cloud-cover")["properties"]["eo:cloud_cover"] is None
    assert fault(broken, "no-geometry")["geometry"] is None


# bad input


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layout": "earthsearch"}, UnknownName, "did you mean 'earth-search'"),
        ({"faults": ("truncate",)}, UnknownName, "did you mean 'truncated'"),
        ({"layout": "planetary-computer", "wrong_flags": 0.5}, BadInput, "which has none"),
        ({"clouds": (0.6, 0.2)}, BadInput, "0 to 1"),
        ({"centre": (0, 89)}, BadInput, "UTM"),
        ({"tile_px": 97}, BadInput, "even"),
        ({"orbits": 4}, BadInput, "1 to 3"),
        ({"size_km": -1}, BadInput, "above 0"),
        ({"n_dates": 60}, BadInput, "one per day"),
        ({"baselines": ("5",)}, BadInput, "05.11"),
        ({"size_km": 60.0, "tile_px": 48}, BadInput, "two of one name"),
        ({"dates": {"window_a": (date(2024, 5, 1),) * 2}}, BadInput, "twice"),
        ({"n_dates": 28, "faults": ("truncated",)}, BadInput, "days without"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        simulate_archive(
            tmp_path / "a", **{"tile_px": 48, "n_dates": 1, "size_km": 0.2, "orbits": 1, **changes}
        )
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_replaced_by_force_only(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "precious").write_text("x")
    with pytest.raises(OutputExists):
        simulate_archive(tmp_path / "a", tile_px=48, n_dates=1, size_km=0.2)
    with pytest.raises(OutputExists, match="selion did not make"):
        simulate_archive(tmp_path / "a", tile_px=48, n_dates=1, size_km=0.2, force=True)
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["precious"]
    (tmp_path / "a" / "precious").unlink()
    for number in range(2):
        archive = simulate_archive(
            tmp_path / "a", tile_px=48, n_dates=1, size_km=0.2, seed=number, force=True
        )
        assert read_archive(tmp_path / "a").options.seed == archive.options.seed == number


def test_a_year_later_is_the_same_countryside_with_planted_changes(tmp_path):
    grid = GeoBox((72, 96), Affine(10, 0, -480, 0, -10, 360), equal_area((12.0, 50.0)))
    first, later = (
        make_world(grid, ArchiveOptions(seed=3, changed=changed)) for changed in (False, True)
    )
    origin = grid.transform * (0, 0)
    scene = simulate(3, (72, 96), 10.0, "europe", crs=str(grid.crs), origin=origin, years=2)
    assert (first.landscape.image.values == scene.image.values).all()
    assert (later.landscape.image.values == scene.next_year.image.values).all()
    assert first.changes is None
    write_world(tmp_path, later, ("window_a", "window_b"), ArchiveOptions(seed=3))
    table = pd.read_csv(tmp_path / "changes.csv")
    pd.testing.assert_frame_equal(table, scene.changes, check_dtype=False)
