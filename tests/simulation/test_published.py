"""The copy of the published editions: layouts as their pages tell them, read with rasterio, pyarrow
and zarr; the planted truth lies in it, and so do the defects of the release.
"""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import zarr
from rasterio.features import rasterize

from published_server import PublishedServer, published_s3
from selion.change import OUTCOMES
from selion.errors import BadInput, OutputExists
from selion.simulation.published import SCENES, simulate_published

YEARS = (2018, 2019, 2024, 2025)
SMALL = {"tile": 256, "overlap_m": 20}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seam") / "world"
    return simulate_published(folder, "seam", years=YEARS, **SMALL)


def scene(folder, name, **changes):
    return simulate_published(
        folder / name, name, **({"years": (2025,), "mosaics": ()} | SMALL | changes)
    )


def tiles(copy, year):
    return sorted((copy.address / "raster" / str(year)).rglob("*.tif"))


def zone_files(copy, year):
    return sorted((copy.address / "vector" / str(year)).rglob("*.parquet"))


def read_zones(copy, year):
    """The polygons of a year in metres, all zones together, in a plane round the area."""
    tables = [gpd.read_parquet(path) for path in zone_files(copy, year)]
    return pd.concat(tables, ignore_index=True).to_crs(plane(copy))


def read_truth(copy, year):
    return gpd.read_parquet(copy.truth[year]).to_crs(plane(copy))


def plane(copy):
    west, south, east, north = copy.area
    return f"+proj=laea +lat_0={(south + north) / 2} +lon_0={(west + east) / 2} +datum=WGS84"


# ---- probabilities


def test_a_tile_is_a_cog_as_released(world):
    for path in tiles(world, 2025):
        key = path.stem
        assert path.parts[-4:] == (f"zone={key[:2]}", f"gzd={key[:3]}", key, f"{key}.tif")
        with rasterio.open(path) as tile:
            assert tile.dtypes == ("uint8", "uint8")
            assert tile.descriptions == ("field", "boundary")
            assert tile.nodatavals == (None, None)
            assert tile.scales == pytest.approx((1 / 255, 1 / 255))
            assert tile.compression.name == "zstd"
            assert tile.overviews(1) == [4, 8, 16, 32, 64]  # 10 to 160 m, and none of 5 m
            assert tile.transform[:2] == (2.5, 0)
            assert tile.shape == (256, 256)
            tags = tile.tags()
            assert tile.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            values = tile.read().astype(int)
            coarse = tile.read(out_shape=(2, 64, 64)).astype(int)
        names = {"model", "quantization", "zstd_level", "tile_key", "source_items"}
        assert names <= set(tags)
        assert "classes" not in tags
        assert tags["tile_key"] == key
        assert f"Sentinel-2_mosaic_2025_Q1_{key}" in tags["source_items"]
        assert values.sum(0).max() <= 256  # with the background they make one; two roundings
        mean = values.reshape(2, 64, 4, 64, 4).mean((2, 4))
        assert np.abs(coarse - mean).max() <= 0.5


def test_an_item_and_a_thumbnail_lie_beside_it(world):
    for path in tiles(world, 2024):
        item = json.loads(path.with_suffix(".json").read_text("utf-8"))
        with rasterio.open(path) as tile:
            assert item["properties"]["proj:code"] == tile.crs.to_string()
            assert item["properties"]["proj:transform"] == list(tile.transform[:6])
            assert item["properties"]["proj:shape"] == list(tile.shape)
        data = item["assets"]["data"]
        assert data["href"] == f"./{path.name}"
        assert data["file:size"] == path.stat().st_size
        assert [band["name"] for band in data["bands"]] == ["field", "boundary"]
        assert item["properties"]["ftw:tile_key"] == path.stem == item["id"]
        with rasterio.open(path.with_suffix(".thumb.png")) as thumb:
            assert (thumb.count, thumb.width) == (1, 32)


def test_neighbours_overlap_and_do_not_agree_to_the_bit(world):
    parts = {}
    for key in ("32UPU_0_0", "32UQU_0_0"):
        path = next(path for path in tiles(world, 2025) if path.stem == key)
        with rasterio.open(path) as tile:
            parts[key] = tile.bounds, tile.read(1).astype(int)
    (west, left), (east, right) = parts["32UPU_0_0"], parts["32UQU_0_0"]
    common = round((west.right - east.left) / 2.5)
    assert west.right - east.left == 20
    one, two = left[:, -common:], right[:, :common]
    assert (one != two).mean() > 0.5
    assert np.abs(one - two).mean() < 40
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.75


def test_the_planted_fields_lie_in_the_tiles(world):
    """Counted with rasterio's own burning in the tile's CRS, and nothing of the simulation's."""
    for year in (2019, 2024):
        truth = gpd.read_parquet(world.truth[year])
        hits = []
        for path in tiles(world, year):
            with rasterio.open(path) as tile:
                field, boundary = tile.read() / 255
                shapes = truth.to_crs(tile.crs)
                inner = shapes.geometry.buffer(-7.5)
                for shape, missed in zip(inner, truth.missed, strict=True):
                    if shape.is_empty:
                        continue
                    inside = rasterize([shape], tile.shape, transform=tile.transform) == 1
                    if inside.sum() > 50:
                        hits.append((missed, np.median(field[inside])))
                shown = [(one, 1) for one in shapes.geometry[~truth.missed].boundary]
                lines = rasterize(shown, tile.shape, transform=tile.transform, all_touched=True)
            assert boundary[lines == 1].mean() > 0.4
            assert boundary[lines == 1].mean() > 4 * boundary[lines == 0].mean()
        missed, medians = np.array(hits).T
        assert (medians[missed == 0] > 0.5).all()
        assert (medians[missed == 1] < 0.2).all()
        assert (missed == 1).any() == (year == 2024)


# ---- indexes


def test_the_lite_index_says_where_tiles_are(world):
    table = pq.read_table(world.address / "index" / "raster-lite.parquet")
    kinds = {"year": pa.int16(), "tile_key": pa.string(), "epsg": pa.int32()}
    kinds |= dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), pa.float32())
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == kinds
    assert table.num_rows == 4 * len(YEARS)
    for row in table.to_pylist():
        key = row["tile_key"]
        place = f"raster/{row['year']}/zone={key[:2]}/gzd={key[:3]}/{key}/{key}.tif"
        with rasterio.open(world.address / place) as tile:
            assert tile.crs.to_epsg() == row["epsg"]
            bounds = rasterio.warp.transform_bounds(tile.crs, "EPSG:4326", *tile.bounds)
        found = [row[side] for side in ("xmin", "ymin", "xmax", "ymax")]
        # rounded outward, and not by much
        assert (np.array(found[:2]) <= bounds[:2]).all()
        assert (np.array(found[2:]) >= bounds[2:]).all()
        assert found == pytest.approx(bounds, abs=2e-5)


def test_the_full_index_has_addresses_and_shares(world):
    path = world.address / "index" / "raster.parquet"
    table = gpd.read_parquet(path)
    wanted = "year tile_key epsg href s3_href size_bytes field_frac boundary_frac cropland_frac"
    assert list(table.columns) == [*wanted.split(), "xmin", "ymin", "xmax", "ymax", "geometry"]
    for row in table.itertuples():
        head, _, place = row.href.partition("/raster/")
        assert head == "https://data.source.coop/ftw/global-data-2e"
        tile = world.address / "raster" / place
        assert tile.stat().st_size == row.size_bytes
        assert row.s3_href.startswith("s3://us-west-2.opendata.source.coop/ftw/global-data-2e/")
        assert 0.01 <= row.cropland_frac <= 1
        assert 0.1 < row.field_frac < 1
        assert row.geometry.bounds == (row.xmin, row.ymin, row.xmax, row.ymax)


def test_the_vector_index_counts_its_files(world):
    table = gpd.read_parquet(world.address / "index" / "vector.parquet")
    assert list(table.columns) == [
        "year", "zone", "href", "s3_href", "size_bytes", "n_parcels", "area_km2",
        "xmin", "ymin", "xmax", "ymax", "geometry",
    ]  # fmt: skip
    assert list(table.year) == list(YEARS)
    for row in table.itertuples():
        path = world.address / f"vector/{row.year}/zone={row.zone:02}/utm{row.zone:02}.parquet"
        parcels = gpd.read_parquet(path)
        assert (len(parcels), path.stat().st_size) == (row.n_parcels, row.size_bytes)
        assert parcels.total_bounds == pytest.approx([row.xmin, row.ymin, row.xmax, row.ymax])
        area = parcels.to_crs(32632).area.sum() / 1e6
        assert area == pytest.approx(row.area_km2, rel=1e-4)


# ---- polygons


def test_a_zone_file_has_the_nine_columns(world):
    (path,) = zone_files(world, 2025)
    assert path.parts[-3:] == ("2025", "zone=32", "utm32.parquet")
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    box = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
    assert list(zip(schema.names, schema.types, strict=True)) == [
        ("id", pa.string()),
        ("collection", pa.string()),
        ("geometry", pa.binary()),
        ("bbox", box),
        ("metrics:area", pa.float32()),
        ("metrics:perimeter", pa.float32()),
        ("score", pa.uint8()),
        ("determination:datetime", pa.timestamp("ms", tz="UTC")),
        ("determination:method", pa.string()),
    ]
    about = file.metadata
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    assert len(groups) > 2
    assert max(group.num_rows for group in groups) <= 16384
    codecs = {group.column(k).compression for group in groups for k in range(about.num_columns)}
    assert codecs == {"ZSTD"}
    geo = json.loads(schema.metadata[b"geo"])["columns"]["geometry"]
    assert geo["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert geo["covering"] == {
        "bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}
    }
    collection = json.loads(schema.metadata[b"collection"])
    assert collection["collection"] == "ftw-s2-2025"
    assert any(
        "fiboa.org/specification/v0.3.0" in one for one in collection["schemas"]["ftw-s2-2025"]
    )
    table = file.read().to_pandas()
    assert table["id"].is_unique
    assert table["score"].between(0, 100).all()
    assert set(table["determination:datetime"]) == {pd.Timestamp("2025-01-01", tz="UTC")}


def test_rows_follow_a_curve_so_that_groups_are_small(world):
    (path,) = zone_files(world, 2025)
    file = pq.ParquetFile(path)
    whole = shapely.box(*gpd.read_parquet(path).total_bounds).area
    boxes = []
    for k in range(file.num_row_groups):
        sides = file.read_row_group(k, ["bbox"])["bbox"].combine_chunks()
        low = [sides.field(side).to_numpy().min() for side in ("xmin", "ymin")]
        high = [sides.field(side).to_numpy().max() for side in ("xmax", "ymax")]
        boxes.append(shapely.box(*low, *high).area)
    assert np.median(boxes) < 0.6 * whole


def test_areas_are_those_of_the_outlines(world):
    (path,) = zone_files(world, 2025)
    table = gpd.read_parquet(path)
    inside = table.to_crs(32632)
    assert table["metrics:area"].to_numpy() == pytest.approx(inside.area.to_numpy(), rel=1e-4)
    assert table["metrics:perimeter"].to_numpy() == pytest.approx(
        inside.length.to_numpy(), rel=1e-4
    )
    assert inside.area.between(900, 5e6).all()
    assert inside.is_valid.all()


# ---- defects of the release, and the truth that shows them


def halves(copy, year=2025):
    """How many published polygons share at least a tenth of a wide field, and how much each."""
    published, truth = read_zones(copy, year), read_truth(copy, year)
    rows = []
    for wide in truth[truth.seam != ""].itertuples():
        shares = published.intersection(wide.geometry).area / wide.geometry.area
        rows.append((wide.seam, sorted(shares[shares > 0.1])))
    return rows


def test_a_wide_field_across_a_seam_is_published_twice(world):
    found = halves(world)
    assert [name for name, _ in found].count("seam") == 2
    for name, shares in found:
        if name == "seam":
            assert len(shares) == 2
            assert sum(shares) > 1.02  # the halves overlap
    published = read_zones(world, 2025)
    tree = published.sindex.query(published.geometry, predicate="overlaps")
    twice = sum(
        published.geometry[a].intersection(published.geometry[b]).area > 1000
        for a, b in tree.T
        if a < b
    )
    assert twice >= 2


def test_a_small_field_across_a_seam_is_published_once(world):
    published, truth = read_zones(world, 2025), read_truth(world, 2025)
    with rasterio.open(tiles(world, 2025)[0]) as tile:
        seam = shapely.box(*tile.bounds)
    line = gpd.GeoSeries([seam], crs=32632).to_crs(plane(world)).iloc[0].boundary
    once = 0
    for one in truth[(truth.seam == "") & truth.looked].itertuples():
        if one.geometry.buffer(-20).intersects(line):
            shares = published.intersection(one.geometry).area / one.geometry.area
            once += (shares > 0.9).sum() == 1
    assert once >= 2


@pytest.mark.parametrize("name", ["zones", "equator"])
def test_borders_of_zones_and_hemispheres_double_fields(name, tmp_path):
    copy = scene(tmp_path, name)
    for _, shares in halves(copy):
        assert len(shares) == 2
        assert sum(shares) > 1
    assert len(zone_files(copy, 2025)) == (2 if name == "zones" else 1)


def test_the_exception_of_band_v_is_forgotten(tmp_path):
    """Zone 32 reaches to 3 degrees there, and everything between 3 and 6 is dropped."""
    copy = scene(tmp_path, "norway")
    (path,) = zone_files(copy, 2025)
    assert path.name == "utm31.parquet"
    assert {tile.epsg for tile in copy.tiles} == {32631, 32632}
    published, truth = read_zones(copy, 2025), read_truth(copy, 2025)
    east = truth[truth.to_crs(4326).bounds.minx > 3.003]
    assert len(east) > 10
    assert published.intersection(east.union_all()).area.sum() == pytest.approx(0, abs=2000)
    with rasterio.open(next(path for path in tiles(copy, 2025) if path.stem[:2] == "32")) as tile:
        assert (tile.read(1) > 128).mean() > 0.4  # the probabilities have them


def test_a_strip_belongs_to_nobody(tmp_path):
    copy = scene(tmp_path, "strip", tile=512, overlap_m=80)
    bounds = []
    for path in tiles(copy, 2025):
        with rasterio.open(path) as tile:
            bounds.append(tile.bounds)
    north, south = sorted(bounds, key=lambda one: -one.top)
    assert north.bottom == south.top  # pixels abut
    strip = shapely.box(north.left, north.bottom, north.right, north.bottom + 80)
    truth = gpd.read_parquet(copy.truth[2025]).to_crs(32759)
    published = gpd.read_parquet(zone_files(copy, 2025)[0]).to_crs(32759)
    lost = []
    for one in truth[(truth.seam == "") & truth.looked].itertuples():
        part = one.geometry.intersection(shapely.box(*north))
        if part.area > 2000 and part.centroid.within(strip.buffer(-4)):
            lost.append(published.intersection(part).area.max() / part.area)
    assert len(lost) >= 2
    assert max(lost) < 0.1
    for _, shares in halves(copy):
        assert len(shares) == 2


def test_no_tile_is_listed_outside_the_gate(world):
    west, _, east, _ = world.area
    lite = pq.read_table(world.address / "index" / "raster-lite.parquet").to_pandas()
    assert east > lite.xmax.max() + 1e-3  # the area reaches where nobody looked
    assert west > lite.xmin.min()
    truth = gpd.read_parquet(world.truth[2025])
    beyond = truth[truth.bounds.minx > lite.xmax.max()]
    assert len(beyond) > 0
    assert not beyond.looked.any()


# ---- what becomes of fields


def test_the_lineage_is_that_of_the_outlines(world):
    """Each planted outcome is found again from areas of intersection alone."""
    table = pd.read_csv(world.lineage)
    assert list(table.columns) == ["year_from", "year_to", "from", "to", "outcome"]
    assert set(table.outcome) <= set(OUTCOMES)
    assert {"kept", "split", "merged", "appeared", "gone"} == set(table.outcome)
    for (one, two), rows in table.groupby(["year_from", "year_to"]):
        before = read_truth(world, one).set_index("field").geometry
        after = read_truth(world, two).set_index("field").geometry
        assert set(rows["from"].dropna()) == set(before.index)
        assert set(rows["to"].dropna()) == set(after.index)
        if 2024 in (one, two):
            assert set(rows.outcome) == {"kept"}
        for row in rows.itertuples():
            if row.outcome == "gone":
                assert after.intersection(before[row._3]).area.sum() < 1
            elif row.outcome == "appeared":
                assert before.intersection(after[row.to]).area.sum() < 1
            else:
                old, new = before[row._3], after[row.to]
                common = old.intersection(new).area
                ratio = {"kept": 1.0, "split": new.area / old.area, "merged": old.area / new.area}
                assert common / max(old.area, new.area) == pytest.approx(
                    ratio[row.outcome], abs=1e-6
                )


def test_a_field_keeps_its_number_and_a_published_id_does_not(world):
    one, two = (gpd.read_parquet(world.truth[year]).set_index("field") for year in (2018, 2025))
    both = one.index.intersection(two.index)
    assert len(both) > 50
    assert (one.geometry[both].to_wkb() == two.geometry[both].to_wkb()).all()
    first, last = (gpd.read_parquet(zone_files(world, year)[0]) for year in (2018, 2025))
    joined = first.merge(last, on="id", suffixes=("", "_later"))
    assert len(joined) > 20
    same = gpd.GeoSeries(joined.geometry).intersects(gpd.GeoSeries(joined.geometry_later))
    assert same.mean() < 0.2


def test_a_score_is_no_probability_of_being_a_field(world):
    """Rough land is published too, with scores that say more than holds."""
    published, truth = read_zones(world, 2025), read_truth(world, 2025).union_all()
    real = published.intersection(truth).area > 0.5 * published.area
    assert 0.85 < real.mean() < 1
    low = published.score < 75
    assert real[low].mean() < real[~low].mean()


# ---- first edition and mosaics


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_the_first_edition_is_a_cube_in_degrees(world):
    cube = zarr.open_group(world.first / "predictions" / "zarr" / "alpha" / "global.zarr", mode="r")
    values = cube["variables"]
    assert values.metadata.dimension_names == ("time", "band", "y", "x")
    assert values.dtype == np.float32
    assert np.isnan(values.fill_value)
    assert values.shards is not None
    assert list(cube["band"][:]) == ["non_field_background", "field", "field_boundaries"]
    assert list(cube["time"][:]) == [0, 366]
    assert cube["time"].attrs["units"] == "days since 2024-01-01"
    x, y = cube["x"][:], cube["y"][:]
    assert np.diff(x) == pytest.approx(8.983119e-5)
    assert np.diff(y) == pytest.approx(-8.983119e-5)
    columns = (x + 180) / 8.983119e-5 - 0.5
    assert columns == pytest.approx(np.round(columns), abs=1e-4)  # on the global grid
    read = values[:]
    known = ~np.isnan(read[0, 0])
    assert 0.5 < known.mean() < 1
    assert read[:, :, known].sum(1) == pytest.approx(1, abs=1e-5)
    truth = gpd.read_parquet(world.truth[2025])
    shapes = truth.to_crs(plane(world)).buffer(-10).to_crs(4326)
    at = rasterio.Affine(*cube.attrs["spatial:transform"])
    inside = rasterize(shapes[~shapes.is_empty], read.shape[2:], transform=at) == 1
    assert np.median(read[1, 1][inside & known]) > 0.6


def test_the_first_edition_has_two_sets_of_polygons(world):
    vectors = world.first / "predictions" / "vectors" / "alpha"
    raw = sorted((vectors / "results").glob("part-*.snappy.parquet"))
    assert len(raw) == 2
    table = pq.read_table(raw[0])
    assert table.column_names == ["geometry", "time", "label", "bbox"]
    labels = set(table["label"].to_pylist())
    assert labels == {"field", "field_boundaries", "non_field_background"}
    admin = sorted(vectors.glob("results-by-admin-conf/admin:country_code=DE/*.parquet"))
    assert [path.name for path in admin] == ["DE_BW.parquet", "DE_BY.parquet"]
    tables = [gpd.read_parquet(path) for path in admin]
    for one in tables:
        assert one["confidence"].dropna().between(0, 100).all()
        assert one["confidence"].isna().any()
        assert set(one["determination:datetime"].dt.year) == {2024, 2025}
        assert one["id"].duplicated().any()
    both = tables[0].geometry.to_wkb().isin(tables[1].geometry.to_wkb())
    assert both.any()  # fields on the border lie in both
    told = json.loads(pq.read_schema(admin[1]).metadata[b"geo"])["columns"]["geometry"]["bbox"]
    assert not shapely.box(*told).intersects(shapely.box(*tables[1].total_bounds))


def test_mosaics_are_quarters_of_bands(world):
    manifests = sorted((world.mosaics / "manifest").glob("*.parquet"))
    assert [path.name for path in manifests] == [f"manifest_2025_Q{k}.parquet" for k in range(1, 5)]
    rows = pq.read_table(manifests[0]).to_pylist()
    assert len(rows) == 4 * 4
    for row in rows:
        place = row["destination_key"].partition("/")[2]
        with rasterio.open(world.mosaics / place) as band:
            assert (band.dtypes, band.nodata) == (("int16",), -32768)
            assert band.res == (10, 10)
            assert band.scales == (1,)
            assert (band.read(1) == -32768).any()
            at = band.transform
        assert Path(place).parts[:2] == ("2025", "Q1")
    key = rows[-1]["item_id"].partition("Q1_")[2]
    path = next(path for path in tiles(world, 2025) if path.stem == key)
    with rasterio.open(path) as tile:
        assert (tile.transform.c, tile.transform.f) == (at.c, at.f)
        numbers = tile.read(1, out_shape=(64, 64))
    bands = {}
    for name in ("B04", "B08"):
        with rasterio.open(world.mosaics / "2025" / "Q3" / key / f"{name}.tif") as band:
            bands[name] = band.read(1).astype(float)
    index = (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"])
    assert np.ptp(index[numbers > 180]) > 0.4  # fields green at different times


# ---- all of it


def test_equal_seeds_give_equal_bytes(tmp_path):
    one, two = (scene(tmp_path / name, "plain", mosaics=(2025,), tile=128) for name in "ab")
    other = scene(tmp_path / "c", "plain", mosaics=(2025,), tile=128, seed=1)

    def content(copy):
        return {
            path.relative_to(copy.folder): path.read_bytes()
            for path in sorted(copy.folder.rglob("*"))
            if path.is_file()
        }

    assert content(one) == content(two)
    assert content(one) != content(other)
    with pytest.raises(OutputExists):
        scene(tmp_path / "a", "plain", tile=128)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scene": "moon"},
        {"years": (2025, 2024)},
        {"years": ()},
        {"tile": 100},
        {"overlap_m": 30},
        {"tile": 128, "overlap_m": 80},
    ],
)
def test_what_makes_no_sense_is_refused(wrong, tmp_path):
    with pytest.raises(BadInput):
        simulate_published(tmp_path / "x", **({"scene": "seam"} | wrong))
    assert list(tmp_path.iterdir()) == []


def test_scenes_are_named():
    assert set(SCENES) == {"plain", "seam", "zones", "equator", "norway", "strip"}


# ---- the servers of the tests


def test_a_server_counts_ranges_and_fails_when_told(world):
    import requests

    with PublishedServer(world.folder) as server:
        path = "/ftw-2e/index/raster-lite.parquet"
        whole = (world.folder / path.lstrip("/")).read_bytes()
        part = requests.get(server.url + path, headers={"Range": "bytes=4-11"}, timeout=60)
        assert (part.status_code, part.content) == (206, whole[4:12])
        assert part.headers["Content-Range"] == f"bytes 4-11/{len(whole)}"
        tail = requests.get(server.url + path, headers={"Range": "bytes=-4"}, timeout=60)
        assert tail.content == b"PAR1"
        assert (server.total, server.requests, server.sent[path]) == (12, 2, 12)
        head = requests.head(server.url + path, timeout=60)
        assert int(head.headers["Content-Length"]) == len(whole)
        server.forget()
        server.fault("raster-lite", "503")
        server.fault("raster-lite", "cut")
        assert requests.get(server.url + path, timeout=60).status_code == 503
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(server.url + path, timeout=60)
        assert requests.get(server.url + path, timeout=60).content == whole
        assert requests.get(f"{server.url}/ftw-2e/index", timeout=60).status_code == 404
        assert requests.get(f"{server.url}/../secret", timeout=60).status_code == 404


def test_a_bucket_holds_the_copy(world, monkeypatch):
    pytest.importorskip("moto")
    import obstore

    with published_s3(world.address / "index", "ftw-2e/index/") as store:
        bucket = obstore.store.S3Store(
            store.bucket,
            endpoint=f"http://{store.host}",
            access_key_id="key",
            secret_access_key="secret",
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        content = obstore.get(bucket, "ftw-2e/index/vector.parquet").bytes()
        assert bytes(content) == (world.address / "index" / "vector.parquet").read_bytes()
