"""Images and polygons: masks that are exact, blocks that equal the whole, chips that never touch a
chip of another split.
"""

import pickle

import geopandas
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy import ndimage

from data_folders import SHARED, tif
from selion import store
from selion.classes import ALU, FTW2, FTW3, IGNORE
from selion.data import Burning, burn_fields, load_dataset, load_polygons, make_dataset
from selion.data.burning import outlines_of, read_outlines
from selion.data.place import Land, footprint
from selion.data.polygons import Chips, Labelled
from selion.errors import BadInput, GridMismatch, OutputExists, UnknownName, UnreadableFile
from selion.grid import photo_grid, whole
from selion.labels import class_labels
from selion.training.crops import filled

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
GRID = GeoBox((96, 96), Affine(10, 0, 500_000, 0, -10, 5_300_000), "EPSG:32633")
SATELLITE = SHARED / "data" / "satellite"
NAIP = SATELLITE / "vhr_naip_usa"
ESTONIA = SATELLITE / "s2_fields" / "estonia_t35vme_west"
USA = SATELLITE / "polygons" / "usa_cultionet_1km_grids_2022"


def frame_of(shapes, crs="EPSG:32633", **columns):
    return geopandas.GeoDataFrame(columns or {"a": range(len(shapes))}, geometry=shapes, crs=crs)


def random_fields(seed, count=12):
    rng = np.random.default_rng(seed)
    centres = rng.uniform((500_000, 5_299_040), (500_960, 5_300_000), (count, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(centres)))
    return frame_of(
        list(shapely.intersection(cells, shapely.box(499_900, 5_298_900, 501_100, 5_300_100)))[
            : count - 3
        ]
    )


def touched(shape, grid):
    return (
        rasterio.features.rasterize(
            [(shape, 1)], out_shape=tuple(grid.shape), transform=grid.transform, all_touched=True
        )
        > 0
    )


def test_a_pixel_belongs_to_the_field_that_holds_its_centre():
    outlines = outlines_of(random_fields(0), GRID)
    labels, instances = burn_fields(outlines, GRID)
    x, y = np.meshgrid(500_000 + 10 * (np.arange(96) + 0.5), 5_300_000 - 10 * (np.arange(96) + 0.5))
    for identity, shape in zip(outlines.frame["id"], outlines.frame.geometry, strict=True):
        assert (shapely.contains_xy(shape, x, y) == (instances.ids == identity)).all()
    assert (labels.ids == class_labels(instances).ids).all()
    assert ((labels.ids > 0) == (instances.ids > 0)).all()


def test_two_classes_and_widths():
    outlines = outlines_of(random_fields(1), GRID)
    two, instances = burn_fields(outlines, GRID, classes=FTW2)
    assert (two.ids == (instances.ids > 0)).all()
    assert two.classes is FTW2
    by_metres = burn_fields(outlines, GRID, Burning(metres=28))[0]
    assert (by_metres.ids == burn_fields(outlines, GRID, Burning(width=3))[0].ids).all()
    assert (
        burn_fields(outlines, GRID, Burning(metres=1))[0].ids
        == burn_fields(outlines, GRID, Burning(width=1))[0].ids
    ).all()
    assert not (burn_fields(outlines, GRID, Burning(width=0))[0].ids == 2).any()
    with pytest.raises(UnknownName, match="class scheme for polygons"):
        burn_fields(outlines, GRID, classes=ALU)


def test_the_line_of_fields_of_the_world():
    """Every pixel that an outline touches is boundary, on both sides, and belongs to nobody."""
    outlines = outlines_of(random_fields(2), GRID)
    labels, instances = burn_fields(outlines, GRID, Burning(boundary="line"))
    line = np.logical_or.reduce(
        [touched(shape.boundary, GRID) for shape in outlines.frame.geometry]
    )
    filled, _ = burn_fields(outlines, GRID, Burning(width=0))
    assert ((labels.ids == 2) == line).all()
    assert ((labels.ids == 1) == ((filled.ids == 1) & ~line)).all()
    assert ((instances.ids > 0) == (labels.ids == 1)).all()
    two, _ = burn_fields(outlines, GRID, Burning(boundary="line"), FTW2)
    assert ((two.ids == 1) == (labels.ids == 1)).all()
    thick, _ = burn_fields(outlines, GRID, Burning(boundary="line", width=3))
    assert ndimage.binary_dilation(line)[thick.ids == 2].mean() > 0.8
    assert ((thick.ids == 2) >= line).all()


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 80),
    st.integers(0, 80),
    st.sampled_from(["inside", "line"]),
    st.integers(1, 3),
)
def test_a_piece_equals_the_same_piece_of_the_whole(seed, top, left, boundary, width):
    outlines = outlines_of(random_fields(seed, 9), GRID)
    roi = slice(top, min(top + 24, 96)), slice(left, min(left + 24, 96))
    burning = Burning(width=width, boundary=boundary)
    for piece, all_of_it in zip(
        burn_fields(outlines, GRID, burning, roi=roi),
        burn_fields(outlines, GRID, burning),
        strict=True,
    ):
        assert (piece.ids == all_of_it.ids[roi]).all()
        assert piece.grid == GRID[roi]


def test_outside_the_mapped_area_nothing_is_known():
    frame = random_fields(3)
    area = geopandas.GeoSeries([shapely.box(500_200, 5_299_300, 500_700, 5_299_800)], crs=frame.crs)
    labels, instances = burn_fields(outlines_of(frame, GRID, area), GRID)
    inside = store.burn(list(area), [1], GRID) > 0
    assert ((labels.ids == IGNORE) == ~inside).all()
    assert not instances.ids[~inside].any()
    free, _ = burn_fields(outlines_of(frame, GRID), GRID)
    differ = inside & (labels.ids != free.ids)
    blank = ndimage.binary_dilation(~inside & (free.ids == 0), np.ones((3, 3)))
    assert (labels.ids[differ] == 1).all()
    assert blank[differ].all(), (
        "a field that meets land of which nothing is known has no boundary there, and nothing "
        "else changes"
    )


def test_fields_that_were_cut_off_at_the_area_have_no_boundary_there():
    area = geopandas.GeoSeries(
        [shapely.box(500_200, 5_299_300, 500_700, 5_299_800)], crs="EPSG:32633"
    )
    labels, _ = burn_fields(
        outlines_of(frame_of([shapely.box(500_300, 5_299_400, 500_700, 5_299_700)]), GRID, area),
        GRID,
    )
    row = labels.ids[45]  # through the field, from west to east
    assert row[20:30].tolist() == [0] * 10
    assert row[30:70].tolist() == [2] + [1] * 39
    assert (row[70:] == IGNORE).all()


def test_broken_parted_empty_and_overlapping_polygons():
    bow = shapely.Polygon(
        [(500_100, 5_299_900), (500_300, 5_299_700), (500_300, 5_299_900), (500_100, 5_299_700)]
    )
    parts = shapely.MultiPolygon(
        [
            shapely.box(500_400, 5_299_700, 500_500, 5_299_900),
            shapely.box(500_600, 5_299_700, 500_700, 5_299_900),
        ]
    )
    large, small = (
        shapely.box(500_100, 5_299_100, 500_500, 5_299_500),
        shapely.box(500_200, 5_299_200, 500_300, 5_299_300),
    )
    frame = frame_of(
        [
            bow,
            parts,
            small,
            large,
            shapely.Polygon(),
            None,
            shapely.Point(500_300, 5_299_600).buffer(0.2),
        ]
    )
    outlines = outlines_of(frame, GRID)
    assert not shapely.is_valid(bow)
    assert shapely.is_valid(outlines.frame.geometry.to_numpy()).all()
    assert outlines.notes == (
        "1 polygons are not valid and were repaired.",
        "3 rows hold no area and were left out.",
        "2 polygons have several parts, each of which is a field of its own.",
        "1 pairs of fields overlap; the smaller stands.",
    )
    _, instances = burn_fields(outlines, GRID)
    assert len(np.unique(instances.ids)) == 7
    within = store.burn([small], [1], GRID) > 0
    assert len(np.unique(instances.ids[within])) == 1
    assert instances.ids[within].min() > 0


def test_polygons_in_another_crs_fall_on_the_same_pixels(tmp_path):
    frame = random_fields(4)
    frame.to_file(tmp_path / "utm.gpkg")
    frame.to_crs("EPSG:3857").to_file(tmp_path / "mercator.gpkg")
    frame.to_crs("EPSG:4326").to_file(tmp_path / "degrees.geojson")
    frame.to_crs("EPSG:4326").to_parquet(tmp_path / "degrees.parquet")
    wanted = burn_fields(read_outlines(tmp_path / "utm.gpkg", GRID), GRID)[1].ids
    for name in ("mercator.gpkg", "degrees.geojson", "degrees.parquet"):
        found = burn_fields(read_outlines(tmp_path / name, GRID), GRID)[1].ids
        assert ((found > 0) == (wanted > 0)).mean() > 0.999
        assert len(np.unique(found)) == len(np.unique(wanted))


def test_photographs_take_polygons_in_pixels():
    grid = photo_grid((20, 20))
    _, instances = burn_fields(
        outlines_of(frame_of([shapely.box(2, 3, 8, 9)], crs=None), grid), grid
    )
    assert (instances.ids == (np.pad(np.ones((6, 6), int), ((3, 11), (2, 12))))).all()
    with pytest.raises(GridMismatch, match="no CRS: give its width in pixels"):
        burn_fields(
            outlines_of(frame_of([shapely.box(2, 3, 8, 9)], crs=None), grid),
            grid,
            Burning(metres=5),
        )
    with pytest.raises(BadInput, match="inside or line"):
        Burning(boundary="both")


def test_one_with_and_one_without_a_place(tmp_path):
    frame_of([shapely.box(2, 3, 8, 9)], crs=None).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(GridMismatch, match="the polygons have no CRS"):
        read_outlines(tmp_path / "p.parquet", GRID)


def test_rows_are_chosen_by_value(tmp_path):
    frame = random_fields(5)
    frame.assign(klass=[1.0] * 4 + [0.0] * (len(frame) - 4)).to_file(tmp_path / "p.gpkg")
    assert len(read_outlines(tmp_path / "p.gpkg", GRID, keep=("klass", "1")).frame) == 4
    with pytest.raises(UnknownName, match="did you mean 'klass'"):
        read_outlines(tmp_path / "p.gpkg", GRID, keep=("class", "1"))
    # codes of ten digits are numbers with a point where one row has none; six digits fitted no row
    codes = [3301010100.0] * 3 + [3301020200.0] * (len(frame) - 4) + [np.nan]
    frame.assign(code=codes).to_file(tmp_path / "c.gpkg")
    assert len(read_outlines(tmp_path / "c.gpkg", GRID, keep=("code", "3301010100")).frame) == 3


# Splits by place


def chip(x, y, size, crs="EPSG:32633", gsd=10.0):
    return GeoBox((size, size), Affine(gsd, 0, x, 0, -gsd, y), crs)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(166_000, 833_000),
    st.floats(100_000, 8_900_000),
    st.floats(-4000, 4000),
    st.floats(-4000, 4000),
    st.integers(0, 9),
)
def test_pieces_of_two_splits_never_touch(x, y, right, down, seed):
    land = Land(block_km=3, val=0.3, test=0.3, seed=seed)
    one, other = chip(x, y, 64), chip(x + right, y + down, 64)
    splits = land.split_of(one), land.split_of(other)
    if None not in splits and splits[0] != splits[1]:
        assert abs(right) > 640 or abs(down) > 640
        a, b = footprint(one, 0), footprint(other, 0)
        assert a[0] > b[2] or b[0] > a[2] or a[1] > b[3] or b[1] > a[3]


def test_the_same_land_is_in_one_split_whatever_the_image():
    land = Land(block_km=20, val=0.3, test=0.3)
    utm = chip(500_000, 5_300_000, 64)
    west, south, east, north = footprint(utm, 0)
    degrees = GeoBox(
        (50, 60), Affine((east - west) / 60, 0, west, 0, -(north - south) / 50, north), "EPSG:4326"
    )
    assert land.split_of(utm) == land.split_of(degrees) is not None


def test_blocks_are_about_square_on_the_ground():
    for latitude in (-60, 0.1, 45, 68):
        land = Land(block_km=10)
        columns = {c for _, c in land.blocks(10, latitude, 15, latitude)}
        km = 5 * 111.32 * np.cos(np.radians(latitude))
        assert km / len(columns) == pytest.approx(10, rel=0.12)
    with pytest.raises(BadInput, match="km were asked for"):
        Land(block_km=0)
    with pytest.raises(GridMismatch, match="photographs are split by their names"):
        footprint(photo_grid((4, 4)))


def scene(tmp_path, size=160):
    rng = np.random.default_rng(0)
    transform = Affine(10, 0, 500_000, 0, -10, 5_300_000)
    values = rng.integers(1, 3000, (4, size, size)).astype("uint16")
    values[:, :10] = 0
    tif(
        tmp_path / "in" / "scene.tif",
        values,
        transform=transform,
        nodata=0,
        descriptions=("red", "green", "blue", "nir"),
    )
    squares = [
        shapely.box(
            500_000 + 200 * k, 5_300_000 - 200 * j - 170, 500_170 + 200 * k, 5_300_000 - 200 * j
        )
        for k in range(8)
        for j in range(8)
    ]
    frame_of(squares, klass=[k % 2 for k in range(64)]).to_file(tmp_path / "in" / "fields.gpkg")
    return tmp_path / "in" / "scene.tif", Labelled(tmp_path / "in" / "fields.gpkg", complete=True)


def test_a_dataset_is_read_lazily_or_written_and_says_the_same(tmp_path):
    image, labelled = scene(tmp_path)
    chips = Chips(32, land=Land(block_km=0.6, val=0.2, test=0.2, seed=8))
    lazy = load_polygons([image], labelled, chips)
    made = make_dataset([image], labelled, tmp_path / "out", chips, licence="CC0-1.0", group="here")
    data = load_dataset(tmp_path / "out")
    assert (data.name, data.licence, data.groups, data.classes) == (
        "out",
        "CC0-1.0",
        ("here",),
        FTW3,
    )
    assert data.keys == tuple(sorted(lazy.keys))
    assert len(data.splits) > 1
    assert made.counts == {split: len(data.select(split)) for split in data.splits}
    assert any("lie in two splits" in note for note in made.notes)
    by_key = dict(zip(lazy.keys, lazy.entries, strict=True))
    for sample in data:
        one = by_key[sample.key].open()
        assert (sample.split, sample.image.bands) == (one.split, ("red", "green", "blue", "nir"))
        raster, same = (
            sample.image.read(whole(sample.image.grid)),
            one.image.read(whole(one.image.grid)),
        )
        assert (raster.values == same.values).all()
        unseen = np.zeros(raster.grid.shape, bool) if same.valid is None else ~same.valid
        assert (sample.labels.ids == np.where(unseen, IGNORE, one.labels.ids)).all()
        assert (sample.instances.ids == one.instances.ids).all()
    total = sum((s.labels.ids == 1).sum() for s in data)
    assert made.shares["field"] == pytest.approx(total / sum(s.labels.ids.size for s in data))
    assert sum(made.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["float32", "uint16", "int16", "uint8", "alpha", "nan", "zero"])
def test_chips_say_where_their_image_saw_nothing(tmp_path, kind):
    """What stands for nothing was a number like any other in chips: -9999 was learnt from."""
    values = np.random.default_rng(0).integers(1, 200, (3, 64, 64)).astype("int32")
    values[0, 40, 40] = 0  # dark, and seen
    missing = {"float32": -9999, "uint16": 65535, "int16": -32768, "nan": np.nan, "zero": 0}
    marker, hole = missing.get(kind), np.zeros((64, 64), bool)
    hole[:, :20] = True
    typed = values.astype({"nan": "float32", "zero": "float32", "alpha": "uint8"}.get(kind, kind))
    typed[:, hole] = 0 if marker is None else marker
    if kind == "alpha":
        typed = np.concatenate([typed, np.where(hole, 0, 255).astype("uint8")[None]])
    path = tmp_path / "in" / "scene.tif"
    tif(path, typed, nodata=0 if kind == "uint8" else marker)
    with rasterio.open(path, "r+") as file:
        red = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
        file.colorinterp = red[: file.count]
    frame_of([shapely.box(500_000, 5_299_400, 500_600, 5_300_000)]).to_file(tmp_path / "p.gpkg")
    chips = Chips(64, land=Land(val=0, test=0))
    labelled = Labelled(tmp_path / "p.gpkg", complete=True)
    make_dataset([path], labelled, tmp_path / "out", chips)
    (sample,) = load_dataset(tmp_path / "out")
    seen = sample.image.read(whole(sample.image.grid))
    assert (seen.valid == ~hole).all()
    assert (seen.values[:, ~hole] == values[:, ~hole]).all()
    assert (sample.labels.ids == IGNORE).sum() == hole.sum()
    pixels, known = filled(seen, [0, 1, 2])
    assert (known == ~hole).all()
    means = values[:, ~hole].mean(1)
    assert (np.abs(pixels[:, hole] - means[:, None]) < 1e-3).all()  # as on maps


def test_a_dataset_may_be_called_as_people_write(tmp_path):
    """Emoji were written as JSON writes them, in two halves, which TOML does not know."""
    image, labelled = scene(tmp_path)
    chips = Chips(32, land=Land(block_km=0.6, val=0.2, test=0.2, seed=8))
    make_dataset([image], labelled, tmp_path / "Äcker🌾", chips, licence="für alle 🌾")
    made = load_dataset(tmp_path / "Äcker🌾")
    assert (made.name, made.licence) == ("Äcker🌾", "für alle 🌾")


def test_chips_off_the_lattice_fill_what_the_lattice_leaves(tmp_path):
    """They overlap no other chip, lie in one split each, and those of two splits stay apart."""
    image, labelled = scene(tmp_path)
    off = 0
    for seed in range(4):
        data = load_polygons(
            [image], labelled, Chips(24, land=Land(0.5, 0.3, 0.3, seed), fallback=False)
        )
        places = [tuple(map(int, key.split("_")[1:])) for key in data.keys]
        lattice = {*range(0, 136, 24), 136}
        off += sum(top not in lattice or left not in lattice for top, left in places)
        for k, (top, left) in enumerate(places):
            for j, (other_top, other_left) in enumerate(places[:k]):
                apart = max(abs(top - other_top), abs(left - other_left))
                # the last chips of a lattice are moved back over their neighbours
                edge = 136 in (top, left, other_top, other_left)
                assert apart >= 24 or (edge and data.entries[k].split == data.entries[j].split)
                assert apart > 24 or data.entries[k].split == data.entries[j].split
    assert off > 0


def test_chips_without_labels_are_left_out_on_request(tmp_path):
    image, labelled = scene(tmp_path)
    frame_of([shapely.box(500_000, 5_299_500, 500_300, 5_300_000)]).to_file(tmp_path / "area.gpkg")
    whole_area = load_polygons([image], labelled, Chips(32))
    within = load_polygons([image], Labelled(labelled.polygons, tmp_path / "area.gpkg"), Chips(32))
    assert 0 < len(within) < len(whole_area)
    assert any("hold no label" in p for p in within.problems)
    assert (within[0].labels.ids == IGNORE).sum() < within[0].labels.ids.size
    one = frame_of([shapely.box(500_000, 5_299_900, 500_100, 5_300_000)])
    one.to_file(tmp_path / "one.gpkg")
    assert (
        len(
            load_polygons(
                [image], Labelled(tmp_path / "one.gpkg", complete=True), Chips(32, empty=False)
            )
        )
        == 1
    )


def test_whole_images_and_images_of_one_name(tmp_path):
    image, labelled = scene(tmp_path)
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scene.tif").write_bytes(image.read_bytes())
    data = load_polygons([tmp_path / "x" / "scene.tif", tmp_path / "y" / "scene.tif"], labelled)
    assert data.keys == ("x-scene", "y-scene")
    assert data[0].labels.ids.shape == (160, 160)
    assert data.splits == ()


def test_two_seasons_are_one_image(tmp_path):
    image, labelled = scene(tmp_path)
    other = tif(
        tmp_path / "in" / "summer.tif",
        np.full((2, 160, 160), 7, np.uint16),
        descriptions=("red", "nir"),
    )
    data = load_polygons(
        [f"window_a={image},window_b={other}"], labelled, Chips(64, land=Land(val=0, test=0))
    )
    sample = pickle.loads(pickle.dumps(data))[4]
    assert sample.image.bands == (
        "window_a:red",
        "window_a:green",
        "window_a:blue",
        "window_a:nir",
        "window_b:red",
        "window_b:nir",
    )
    raster = sample.image.read(whole(sample.image.grid))
    assert (raster.values[4:] == 7).all()
    assert data.entries[0].files[:2] == (image, other)
    tif(other, np.full((2, 150, 160), 7, np.uint16))
    with pytest.raises(GridMismatch, match="different grids"):
        load_polygons([f"window_a={image},window_b={other}"], labelled)
    with pytest.raises(BadInput, match="name=path"):
        load_polygons([f"window_a={image},,"], labelled)


def test_outputs_are_whole_and_others_folders_are_never_replaced(tmp_path):
    image, labelled = scene(tmp_path)
    chips = Chips(64, land=Land(val=0, test=0))
    make_dataset([image], labelled, tmp_path / "out", chips)
    with pytest.raises(OutputExists):
        make_dataset([image], labelled, tmp_path / "out", chips)
    make_dataset(
        [image], labelled, tmp_path / "out", Chips(80, land=Land(val=0, test=0)), force=True
    )
    assert len(load_dataset(tmp_path / "out")) == 4
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExists, match="selion did not make"):
        make_dataset([image], labelled, mine, chips, force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    drawn = tmp_path / "drawn"  # by hand, and declared so
    (drawn / "images").mkdir(parents=True)
    (drawn / "images" / "1.tif").write_text("years of work")
    (drawn / "dataset.toml").write_text('name = "mine"\nclasses = { field = 1 }\n')
    with pytest.raises(OutputExists, match="that says 'Made by selion'"):
        make_dataset([image], labelled, drawn, chips, force=True)
    assert (drawn / "images" / "1.tif").read_text() == "years of work"
    with pytest.raises(UnreadableFile):
        make_dataset([image], Labelled(tmp_path / "nothing.gpkg"), tmp_path / "failed", chips)
    assert not (tmp_path / "failed").exists()
    with pytest.raises(BadInput, match="No image"):
        load_polygons([], labelled)


def test_empty_splits_and_images_without_polygons_are_said(tmp_path):
    image, _ = scene(tmp_path)
    frame_of([shapely.box(0, 0, 100, 100)]).to_file(tmp_path / "elsewhere.gpkg")
    elsewhere, chips = tmp_path / "elsewhere.gpkg", Chips(64, land=Land(2000), fallback=False)
    with pytest.raises(UnreadableFile, match="nothing is known of it and it was left out"):
        load_polygons([image], Labelled(elsewhere), chips)
    data = load_polygons([image], Labelled(elsewhere, complete=True), chips)
    (said,) = (line for line in data.problems if "all of it is background." in line)
    assert said.startswith("scene: no polygon lies on it (the polygons lie at 0.00 N")
    frame_of([shapely.box(500_100, 5_299_000, 500_900, 5_299_900).boundary] * 2).to_file(
        tmp_path / "lines.gpkg"
    )
    fields = image.with_name("fields.gpkg")
    for lines in (
        Labelled(tmp_path / "lines.gpkg", complete=True),  # all was background
        Labelled(fields, area=tmp_path / "lines.gpkg"),  # all but a line was not known
    ):
        with pytest.raises(BadInput, match=r"lines\.gpkg holds no polygon here but LineString"):
            load_polygons([image], lines, chips)
    assert any("left val and test empty" in p or "empty" in p for p in data.problems)


# Real data


@pytest.mark.skipif(
    not NAIP.is_dir(),
    reason="the real aerial chips are not here (shared/data/satellite/vhr_naip_usa)",
)
def test_real_aerial_chips_burn_to_the_shipped_instances():
    images = sorted((NAIP / "images").glob("*.tif"))[:6]
    for path, sample in zip(
        images, load_polygons(images, Labelled(NAIP / "fields.parquet", complete=True)), strict=True
    ):
        shipped = store.open_raster(NAIP / "instances" / path.name)
        ids = shipped.read(whole(shipped.grid)).values[0]
        assert ((sample.instances.ids > 0) != (ids > 0)).mean() < 0.001
        assert abs(len(np.unique(sample.instances.ids)) - len(np.unique(ids))) <= 1


@pytest.mark.skipif(
    not ESTONIA.is_dir(), reason="the Estonian tile is not here (shared/data/satellite/s2_fields)"
)
def test_three_dates_of_the_estonian_tile_fall_into_the_same_splits():
    data = load_polygons(
        sorted(ESTONIA.glob("s2_*.tif")),
        Labelled(ESTONIA / "fields.parquet", complete=True),
        Chips(64, land=Land(block_km=1, val=0.3, test=0.3)),
    )
    place = {}
    for entry in data.entries:
        place.setdefault(entry.key[-11:], set()).add(entry.split)
    assert len(place) > 3
    assert all(len(splits) == 1 for splits in place.values())
    sample = load_polygons(
        sorted(ESTONIA.glob("s2_*.tif"))[:1], Labelled(ESTONIA / "fields.parquet", complete=True)
    )[0]
    shipped = store.open_raster(ESTONIA / "instances.tif")
    ids = shipped.read(whole(shipped.grid)).values[0]
    both = (sample.instances.ids > 0) & (ids > 0)
    assert both.sum() / ((sample.instances.ids > 0) | (ids > 0)).sum() > 0.97


@pytest.mark.skipif(
    not USA.is_dir(), reason="the real parcels are not here (shared/data/satellite/polygons)"
)
def test_real_parcels_with_broken_geometries_and_a_mapped_area():
    frame, cells = (
        geopandas.read_parquet(USA / "fields.parquet"),
        geopandas.read_parquet(USA / "grids.parquet"),
    )
    broken = (~frame.geometry.is_valid).mean()
    assert 0.05 < broken < 0.15
    cell = cells.geometry.iloc[10]
    west, south, east, north = shapely.buffer(cell, 200 if frame.crs.is_projected else 0.002).bounds
    step = 5 if frame.crs.is_projected else 5e-5
    shape = (int((north - south) / step), int((east - west) / step))
    grid = GeoBox(shape, Affine(step, 0, west, 0, -step, north), frame.crs.to_string())
    outlines = read_outlines(USA / "fields.parquet", grid, area=USA / "grids.parquet")
    labels, instances = burn_fields(outlines, grid)
    inside = store.burn([cell], [1], grid) > 0
    assert (labels.ids[inside] != IGNORE).all()
    assert (labels.ids == IGNORE).mean() > 0.1
    assert (instances.ids[labels.ids == IGNORE] == 0).all()
    truth = shapely.union_all(shapely.make_valid(frame.geometry.to_numpy())).intersection(cell).area
    assert (instances.ids[inside] > 0).sum() * step**2 == pytest.approx(truth, rel=0.02)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_what_people_exchange_or_place_elsewhere_is_said_in_their_words(tmp_path):
    """Image for polygons, a folder for a file, polygons of another place or without a CRS."""
    folder = tmp_path / "Äcker Süd"
    folder.mkdir()
    image = tif(folder / "farm.tif", np.ones((96, 96), np.uint8), GRID.crs, GRID.transform)
    away = frame_of([shapely.box(600_000, 5_199_000, 600_400, 5_199_400)])
    away.to_file(tmp_path / "away.gpkg")
    away.to_crs(4326).to_file(tmp_path / "away.geojson")
    away.set_crs(None, allow_override=True).to_file(tmp_path / "bare.gpkg")
    with pytest.raises(BadInput, match=r"polygons lie at 46\.94 N 16\.32 E, the image at 47\.85 N"):
        load_polygons([image], Labelled(tmp_path / "away.gpkg"), Chips(32))
    here = frame_of([shapely.box(500_100, 5_299_500, 500_400, 5_299_800)])
    here.set_crs(4326, allow_override=True).to_file(tmp_path / "metres.geojson")
    with pytest.raises(BadInput, match=r"begin at 500100, 5299500, which are no degrees"):
        load_polygons([image], Labelled(tmp_path / "metres.geojson"), Chips(32))
    with pytest.raises(GridMismatch, match="the polygons have no CRS, and the image one"):
        load_polygons([image], Labelled(tmp_path / "bare.gpkg"), Chips(32))
    with pytest.raises(UnreadableFile, match="holds outlines and is no image"):
        load_polygons([tmp_path / "away.geojson"], Labelled(tmp_path / "away.gpkg"), Chips(32))
    with pytest.raises(UnreadableFile, match=r"of 1 images \(farm\.tif .*\*\.tif gives all"):
        store.open_raster(folder)
