"""Mosaics of composites: the truth comes back, no edge is left, and any block equals the whole."""

import json
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.vrt import WarpedVRT

from imagery_sheets import four_tiles, grid_at, truth, write_sheet
from selion.errors import BadInput, BandMismatch, GridMismatch, UnknownName
from selion.grid import photo_grid, tiles, whole
from selion.imagery.mosaic import Mosaic, read_layer
from selion.raster import Source

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
MIDDLE = (12.0, 48.0)
TARGETS = {
    "utm": "EPSG:32633",
    "mercator": "EPSG:3857",
    "equal-area": (
        "+proj=laea +lat_0=48 +lon_0=12 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs +type=crs"
    ),
}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Four tiles in two zones that agree."""
    return four_tiles(tmp_path_factory.mktemp("flat"), gains=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Four tiles in two zones that differ by some percent."""
    return four_tiles(tmp_path_factory.mktemp("uneven"))


@pytest.fixture(scope="module")
def seasons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seasons")
    return [
        *four_tiles(folder, season="window_b", gains=(1, 1.03)),
        *four_tiles(folder, gains=(1, 1.03, 0.98)),
    ]


def read(mosaic):
    return mosaic.read(whole(mosaic.grid))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("resampling", "noise"), [("nearest", 25), ("bilinear", 3), ("cubic", 1)])
def test_the_truth_comes_back(flat, target, resampling, noise):
    grid = grid_at(TARGETS[target], *MIDDLE, (560, 560))
    mosaic = Mosaic(flat, grid, resampling)
    image, known = read(mosaic), truth(grid, MIDDLE)
    assert isinstance(mosaic, Source)
    assert (
        mosaic.bands
        == image.bands
        == tuple(f"window_a:{name}" for name in ("red", "green", "blue", "nir"))
    )
    assert (image.values.dtype, image.valid) == (np.uint16, None)
    off = image.values - known
    assert off.std() < noise
    assert abs(off.mean()) < 0.1
    # a blend of two resampled images is not worse than one of them
    one = read(Mosaic(flat[:1], grid, resampling))
    assert off.std() < 1.1 * (one.values - known)[:, one.valid].std()


@pytest.mark.parametrize("target", TARGETS)
def test_no_edge_is_left(uneven, target):
    grid = grid_at(TARGETS[target], *MIDDLE, (560, 560))
    ratio = read(Mosaic(uneven, grid, "cubic", fade=800)).values / truth(grid, MIDDLE)
    edges = np.zeros(grid.shape, bool)
    for path in uneven:
        edges |= outline(read(Mosaic([path], grid, "cubic")).valid)
    assert edges.sum() > 1000
    for axis in (1, 2):
        step = np.abs(np.diff(ratio, axis=axis))
        on_edge = edges[1:] | edges[:-1] if axis == 1 else edges[:, 1:] | edges[:, :-1]
        assert step[:, on_edge].mean() < 1.05 * step[:, ~on_edge].mean() + 1e-4
        assert step[:, on_edge].max() < 1.3 * step[:, ~on_edge].max()
    # the measure sees an edge where there is one
    hard = read(Mosaic(uneven, grid, "cubic", fade=1e-3)).values / truth(grid, MIDDLE)
    step = np.abs(np.diff(hard, axis=2))
    assert step[:, edges[:, 1:]].max() > 5 * np.abs(np.diff(ratio, axis=2)).max()


def outline(seen):
    """Pixels within two of the border of what is seen."""
    edge = np.zeros(seen.shape, bool)
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            edge |= seen != np.roll(seen, shift, axis)
    edge[:2] = edge[-2:] = edge[:, :2] = edge[:, -2:] = False
    return edge


def test_a_swath_edge_fades_within_its_tile(tmp_path):
    grid = grid_at("EPSG:32633", *MIDDLE, (300, 400))
    values, slanted = truth(grid, MIDDLE), np.add.outer(np.arange(300), np.arange(400)) < 420
    whole_tile = write_sheet(tmp_path / "a.tif", grid, values, tile="A")
    cut_tile = write_sheet(tmp_path / "b.tif", grid, 1.05 * values * slanted, tile="B")
    mosaic = Mosaic([cut_tile, whole_tile], grid, fade=1)
    ratio = read(mosaic).values / values
    step = np.abs(np.diff(ratio[:, 5:-5, 5:-5], axis=2))
    # deep inside, both count alike
    assert ratio[:, 50, 100].mean() == pytest.approx(1.025, abs=1e-3)
    assert ratio[:, 200, 300].mean() == pytest.approx(1, abs=1e-3)
    # 2.5 % over 64 pixels, plus rounding; 2.5 % at once without
    assert step.max() < 0.025 / 20 + 2 * 0.5 / values.min()


@settings(max_examples=12, deadline=None)
@given(
    data=st.data(),
    resampling=st.sampled_from(["nearest", "bilinear", "cubic"]),
    target=st.sampled_from(sorted(TARGETS)),
    gsd=st.sampled_from([10, 23.7]),
)
def test_blocks_equal_the_whole(holey, data, resampling, target, gsd):
    size = (int(5300 / gsd), int(5000 / gsd))
    grid = grid_at(TARGETS[target], *MIDDLE, size, pixel=gsd)
    mosaic = Mosaic(holey, grid, resampling, counts=True, fade=700)
    image = read(mosaic)
    for _ in range(4):
        top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
        roi = (
            slice(top, data.draw(st.integers(top + 1, size[0]))),
            slice(left, data.draw(st.integers(left + 1, size[1]))),
        )
        part = mosaic.read(roi)
        assert part.grid == grid[roi]
        assert np.array_equal(part.values, image.values[:, *roi])
        assert np.array_equal(
            np.ones(part.grid.shape, bool) if part.valid is None else part.valid, image.valid[roi]
        )


@pytest.fixture(scope="module")
def holey(tmp_path_factory):
    """Three tiles in two zones with swath edges, holes and single missing pixels."""
    folder = tmp_path_factory.mktemp("holey")
    random_ = np.random.default_rng(3)
    layers = []
    for k, (zone, east, south) in enumerate(
        (("EPSG:32632", -900, -700), ("EPSG:32633", 900, -300), ("EPSG:32633", 100, 900))
    ):
        grid = grid_at(zone, *MIDDLE, (300, 310), east=east, south=south)
        seen = np.add.outer(np.arange(300) * (0.3 + k), np.arange(310)) < 400
        seen[60:150, 120:200] = False
        seen &= random_.random(seen.shape) > 0.002
        counts = np.where(seen, random_.integers(1, 9, seen.shape), 0)
        layers.append(
            write_sheet(
                folder / f"{k}.tif",
                grid,
                random_.integers(1, 4000, (4, 300, 310)) * seen,
                tile=f"T{k}",
                counts=counts,
            )
        )
    return layers


@pytest.mark.parametrize("block", [61, 129])
def test_tilings_and_orders_give_the_same_bytes(seasons, block):
    grid = grid_at("EPSG:3857", *MIDDLE, (260, 300))
    image = read(Mosaic(seasons, grid, "cubic", counts=True))
    shuffled = list(seasons)
    random.Random(block).shuffle(shuffled)
    mosaic = pickle.loads(pickle.dumps(Mosaic(shuffled, grid, "cubic", counts=True)))
    values = np.zeros_like(image.values)
    with ThreadPoolExecutor(3) as pool:
        for roi, part in zip(
            tiles((260, 300), block), pool.map(mosaic.read, tiles((260, 300), block)), strict=True
        ):
            values[:, *roi] = part.values
    assert np.array_equal(values, image.values)


def test_seasons_side_by_side(seasons):
    grid = grid_at("EPSG:32633", *MIDDLE, (500, 500))
    mosaic = Mosaic(seasons, grid, counts=True)
    image = read(mosaic)
    assert mosaic.bands == tuple(
        f"{season}:{name}"
        for season in ("window_a", "window_b")
        for name in ("red", "green", "blue", "nir", "count")
    )
    # window_b was given first
    assert np.array_equal(image.values[5:9], read(Mosaic(seasons[:2], grid)).values)
    assert np.array_equal(image.values[:4], read(Mosaic(seasons[2:], grid)).values)
    both = (image.values[4] > 0) & (image.values[9] > 0)
    assert np.array_equal(image.valid, both)
    assert 0.3 < both.mean() < 0.9
    assert ((image.values[:4] == 0).all(0) == (image.values[4] == 0)).all()
    assert (image.values[:4] == 0).any(0).sum() == (image.values[:4] == 0).all(0).sum()


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_a_tile_on_its_own_grid_is_itself(holey, resampling):
    layer = read_layer(holey[1])
    with rasterio.open(holey[1]) as file:
        values = file.read()
    image = read(Mosaic([holey[1]], layer.grid, resampling, counts=True))
    assert np.array_equal(image.values, values)
    assert np.array_equal(image.valid, values[0] > 0)
    padded = layer.grid.pad(7)
    assert np.array_equal(
        read(Mosaic([holey[1]], padded, resampling, counts=True)).values[:, 7:-7, 7:-7], values
    )


def test_north_and_south_of_the_equator_are_one_lattice(tmp_path):
    north, south = (
        grid_at(zone, 13.0, 0.0, (200, 200), south=metres)
        for zone, metres in (("EPSG:32633", -500), ("EPSG:32733", 500))
    )
    layers = [
        write_sheet(tmp_path / f"{k}.tif", grid, truth(grid, (13.0, 0.0)), tile=str(k))
        for k, grid in enumerate((north, south))
    ]
    for zone in ("EPSG:32633", "EPSG:32733"):
        grid = grid_at(zone, 13.0, 0.0, (300, 200))
        mosaic = Mosaic(layers, grid, "cubic")
        # 10 000 km are a whole number of pixels
        assert all(at.shift is not None for at in mosaic.placements)
        image = read(mosaic)
        assert image.valid is None
        assert np.abs(image.values - truth(grid, (13.0, 0.0))).max() <= 0.51


@pytest.mark.parametrize(
    "crs",
    [
        "EPSG:32660",
        "EPSG:32601",
        "EPSG:3857",
        "EPSG:4326",
        "+proj=laea +lat_0=10 +lon_0=180 +datum=WGS84 +units=m +type=crs",
    ],
)
def test_over_the_antimeridian(tmp_path, crs):
    middle = (180.0, 10.0)
    layers = []
    for k, (zone, east) in enumerate((("EPSG:32660", -700), ("EPSG:32601", 700))):
        grid = grid_at(zone, *middle, (250, 250), east=east)
        layers.append(write_sheet(tmp_path / f"{k}.tif", grid, truth(grid, middle), tile=str(k)))
    degrees = crs == "EPSG:4326"
    # x goes on beyond 180 degrees
    grid = grid_at(crs, 179.9999999, 10.0, (200, 330), pixel=9e-5 if degrees else 10)
    image = read(Mosaic(layers, grid, "cubic"))
    assert image.valid is None
    off = image.values - truth(grid, middle)
    assert off.std() < 1
    assert np.abs(off).max() < 8


@pytest.mark.parametrize("resampling", ["bilinear", "cubic"])
def test_gdal_says_the_same(flat, resampling):
    grid = grid_at("EPSG:3857", *MIDDLE, (200, 200), east=-2000, south=-2000)
    ours = read(Mosaic(flat[:1], grid, resampling))
    with rasterio.open(flat[0]) as file:
        how = rasterio.enums.Resampling[resampling]
        with WarpedVRT(
            file,
            crs="EPSG:3857",
            transform=grid.transform,
            width=200,
            height=200,
            resampling=how,
            tolerance=0.001,
        ) as warped:
            theirs = warped.read([1, 2, 3, 4]).astype(float)
    off = ours.values - theirs
    assert ours.valid is None
    assert abs(off.mean()) < 0.01
    assert np.abs(off).max() <= 1
    assert (off == 0).mean() > 0.95


def test_coarse_pixels_are_means(tmp_path):
    grid = grid_at("EPSG:32633", *MIDDLE, (240, 240), pixel=10)
    noise = np.random.default_rng(0).integers(500, 1500, (4, 240, 240))
    path = write_sheet(tmp_path / "a.tif", grid, noise)
    coarse = grid_at("EPSG:32633", *MIDDLE, (16, 16), pixel=120)
    for resampling in ("bilinear", "cubic"):
        image = read(Mosaic([path], coarse, resampling))
        assert abs(image.values.mean() - 1000) < 5
        assert image.values.std() < 40  # 289 of a single pixel
    assert read(Mosaic([path], coarse, "nearest")).values.std() > 200


def test_zeros_do_not_bleed_and_cubic_does_not_overshoot(tmp_path):
    grid = grid_at("EPSG:32632", *MIDDLE, (120, 120))
    values = np.full((4, 120, 120), 3000)
    values[:, :, 60:] = 2  # a shore: Catmull-Rom would go below zero here
    values[:, 40:50, 20:90] = 0
    path = write_sheet(tmp_path / "a.tif", grid, values)
    target = grid_at("EPSG:32633", *MIDDLE, (160, 160))
    shoreless = write_sheet(tmp_path / "b.tif", grid, np.where(values > 0, 3000, 0))
    assert set(np.unique(read(Mosaic([shoreless], target)).values)) == {0, 3000}
    for resampling in ("nearest", "bilinear", "cubic"):
        image = read(Mosaic([path], target, resampling))
        seen = image.values[0] > 0
        assert np.array_equal(seen, image.valid)
        assert image.values[:, seen].min() >= 1
        assert image.values[:, seen].max() <= 3250
        if resampling != "cubic":
            assert set(np.unique(image.values[:, seen])) <= set(range(2, 3001))


def test_far_away_and_beside(flat):
    far = Mosaic(flat, grid_at("EPSG:32633", 17.0, 40.0, (50, 50)))
    image = read(far)
    assert not image.values.any()
    assert not image.valid.any()
    assert far.touching(whole(far.grid)) == []
    other_side = Mosaic(flat, grid_at("EPSG:3857", -150.0, -40.0, (50, 50)))
    assert not read(other_side).valid.any()


def test_a_country_is_lazy(flat):
    grid = grid_at("EPSG:3857", *MIDDLE, (400_000, 300_000))
    mosaic = Mosaic(flat, grid)
    part = mosaic.read((slice(200_000, 200_020), slice(150_000, 150_030)))
    assert part.valid is None
    assert mosaic.touching((slice(0, 2048), slice(0, 2048))) == []
    assert np.abs(part.values - truth(part.grid, MIDDLE)).max() < 30


def test_what_is_said_about_it(seasons):
    grid = grid_at("EPSG:32633", *MIDDLE, (100, 100))
    mosaic = Mosaic(seasons, grid)
    told = json.loads(mosaic.tags["SELION_MOSAIC"])
    assert mosaic.tags["datetime"] == "2024-05-12T10:00:00+00:00"
    assert [(layer["tile"], layer["season"]) for layer in told["sheets"]] == [
        (f"T{k}", s) for s, n in (("window_a", 3), ("window_b", 2)) for k in range(n)
    ]
    assert told["sheets"][1]["last"] == "2024-05-11T10:00:00+00:00"
    assert told["sheets"][1]["composite"]["scenes"][0]["id"] == "S2_T1"
    assert told["software"].startswith("selion ")
    corner = read_layer(seasons[1]).grid.boundingbox
    assert [corner.left, corner.top] in told["sheets"][1]["outline"]
    assert Mosaic(seasons[::-1], grid).key == mosaic.key
    assert (
        len(
            {
                mosaic.key,
                Mosaic(seasons, grid, "cubic").key,
                Mosaic(seasons[1:], grid).key,
                Mosaic(seasons, grid[1:, :]).key,
            }
        )
        == 4
    )


def test_refusals(flat, tmp_path):
    grid = grid_at("EPSG:32633", *MIDDLE, (50, 50))
    with pytest.raises(UnknownName, match="did you mean 'bilinear'"):
        Mosaic(flat, grid, "bilinar")
    with pytest.raises(BadInput, match="one or more"):
        Mosaic([], grid)
    with pytest.raises(GridMismatch, match="no CRS"):
        Mosaic(flat, photo_grid((5, 5)))
    with pytest.raises(GridMismatch, match="not inside"):
        Mosaic(flat, grid).read((slice(0, 51), slice(0, 5)))
    from selion.store import create_cog

    with create_cog(
        tmp_path / "plain.tif", grid, ("red", "green", "blue", "nir"), np.uint16, nodata=0
    ) as sink:
        sink.write(whole(grid), np.ones((4, 50, 50), np.uint16))
    with pytest.raises(BadInput, match="of which season"):
        read_layer(tmp_path / "plain.tif")
    assert read_layer(tmp_path / "plain.tif", season="window_b").tile == "plain"
    with create_cog(tmp_path / "short.tif", grid, ("red", "green"), np.uint16, nodata=0):
        pass
    with pytest.raises(BandMismatch, match="wanted are red, green, blue, nir"):
        read_layer(tmp_path / "short.tif", season="window_a")
    with pytest.raises(BandMismatch, match="no count of views"):
        read(Mosaic([read_layer(tmp_path / "plain.tif", season="window_a")], grid, counts=True))
