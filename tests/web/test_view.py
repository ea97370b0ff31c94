"""The viewer without a browser: tiles are what the files hold, wherever they are cut."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selion import fields
from selion.closerange.run import SOURCE
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.fields import mvt
from selion.store import pmtiles
from selion.store.vectors import touching
from selion.web import server
from selion.web.view import cells, chunks, cut, page, place, rasters, renderings
from selion.web.view import find as record_search
from selion.web.view.describe import archive_box, describe
from selion.web.view.discovery import find
from selion.web.view.photos import drawn, paired
from view_scenes import (
    CORNER,
    UTM,
    frame_of,
    read_tile,
    serving,
    tile_at,
    tile_over,
    write_crops,
    write_map,
    write_raster,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("view") / "map")


@pytest.fixture(scope="module")
def table(scene):
    return chunks.open_parquet([scene / "fields.parquet"])


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "many.parquet"
    frame = frame_of(110)
    fields.write_fields(frame, path)
    return chunks.open_parquet([path]), frame


@pytest.fixture(scope="module")
def served(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELION_CACHE", str(folder / "cache"))
        crops, photos = write_crops(folder / "crops", folder / "photos")
        with serving(scene, crops, photos) as page:
            yield page


def picture(body):
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGBA"))


def units_to_utm(ring, tile):
    import pyproj

    west, _, _, north = tile.box
    points = np.array(ring, float) * tile.edge / mvt.EXTENT * [1, -1] + [west, north]
    return np.column_stack(
        pyproj.Transformer.from_crs(3857, UTM, always_xy=True).transform(*points.T)
    )


class TestPlace:
    @pytest.mark.parametrize(
        "given",
        [
            ("25", "0", "0"),
            ("3", "8", "0"),
            ("-1", "0", "0"),
            ("1", "0", "9" * 30),
            ("1", "٣", "0"),
            ("1e3", "0", "0"),
            ("", "", ""),
        ],
    )
    def test_tiles_that_are_none(self, given):
        with pytest.raises(BadInput, match="no tile"):
            place.read_tile(*given)

    @given(
        st.integers(0, 24).flatmap(
            lambda z: st.tuples(st.just(z), st.integers(0, 2**z - 1), st.integers(0, 2**z - 1))
        )
    )
    def test_children_fill_their_parent(self, zxy):
        z, x, y = zxy
        west, south, east, north = place.WebTile(z, x, y).box
        child = place.WebTile(z + 1, 2 * x + 1, 2 * y + 1).box
        assert np.allclose([child[2], child[1]], [east, south], atol=1e-6)
        assert west < child[0] < east
        assert south < child[3] < north

    def test_degrees_are_proj(self):
        import pyproj

        points = np.array([[12.3, 48.7], [-179.9, -84.9], [0.0, 0.0]])
        theirs = np.column_stack(
            pyproj.Transformer.from_crs("OGC:CRS84", 3857, always_xy=True).transform(*points.T)
        )
        assert np.allclose(place.from_degrees(points), theirs, atol=1e-5)
        assert np.allclose(place.to_degrees((*theirs[1], *theirs[0])), [*points[1], *points[0]])


class TestTiles:
    def test_a_reader_of_others_reads_them(self, table, tmp_path):
        import pyogrio

        tile = tile_over(table.boxes[0])
        (tmp_path / "0.mvt").write_bytes(cut.cut_tile(table, None, 0, tile))
        frame = pyogrio.read_dataframe(tmp_path / "0.mvt")
        ours = read_tile((tmp_path / "0.mvt").read_bytes())["fields"]
        assert len(frame) == len(ours) == 400
        assert frame["confidence"].between(0, 1).all()
        assert sorted(frame["mvt_id"]) == sorted(f["id"] for f in ours)

    def test_outlines_are_those_of_the_file(self, scene, table):
        frame = fields.read_fields(scene / "fields.parquet")
        tile = tile_at(table.boxes[0], 15)
        pixel = tile.edge / 512
        for feature in read_tile(cut.cut_tile(table, None, 0, tile))["fields"]:
            drawn = shapely.union_all(
                [shapely.Polygon(units_to_utm(ring, tile)) for ring in feature["rings"]]
            )
            window = shapely.Polygon(
                units_to_utm([(0, 0), (4096, 0), (4096, 4096), (0, 4096)], tile)
            )
            truth = frame.geometry.iloc[[feature["id"]]].to_crs(UTM).iloc[0]
            if drawn.intersection(window).area < pixel**2:
                continue
            assert (
                drawn.intersection(window).hausdorff_distance(truth.intersection(window))
                < 2 * pixel
            )
            assert feature["properties"]["confidence"] == pytest.approx(
                frame["confidence"][feature["id"]], rel=0.006
            )
            assert feature["properties"]["class"] == frame["class"][feature["id"]]

    @settings(max_examples=25, deadline=None)
    @given(st.integers(11, 17), st.floats(0, 1), st.floats(0, 1))
    def test_every_field_that_touches_is_there_and_no_other(self, table, zoom, x, y):
        box = table.boxes[0]
        at = (box[0] + x * (box[2] - box[0]), box[1] + y * (box[3] - box[1]))
        tile = tile_at((*at, *at), zoom)
        rows = {f["id"] for f in read_tile(cut.cut_tile(table, None, 0, tile)).get("fields", [])}
        chunk = table.chunk(0)
        sure = set(np.flatnonzero(touching(chunk.boxes, tile.box)).tolist())
        large = {r for r in sure if np.diff(chunk.boxes[r][[0, 2]])[0] > tile.edge / 64}
        assert rows <= set(np.flatnonzero(touching(chunk.boxes, cut.widened(tile))).tolist())
        assert {r for r in large if inside(chunk.boxes[r], tile.box)} <= rows

    def test_too_many_fields_leave_the_largest(self, table):
        tile = tile_over(table.boxes[0])
        all_ = read_tile(cut.cut_tile(table, None, 0, tile))["fields"]
        few = read_tile(cut.cut_tile(table, None, 0, tile, most=50))["fields"]
        assert len(all_) == 400
        assert 50 <= len(few) <= 60
        size = {
            f["id"]: (table.chunk(0).boxes[f["id"]][2:] - table.chunk(0).boxes[f["id"]][:2]).prod()
            for f in all_
        }
        assert (
            min(size[f["id"]] for f in few)
            >= max(v for k, v in size.items() if k not in {f["id"] for f in few}) * 0.999
        )

    def test_numbers_of_cells_and_words_of_a_dictionary_are_columns(self, tmp_path):
        """H3's numbers have 60 bits, and pandas writes categories as a dictionary."""
        frame = frame_of(2)
        frame["h3"] = np.arange(4) + 617_700_169_958_293_503
        frame["crop"] = pd.Categorical(["maize", "wheat", "maize", None])
        frame.to_parquet(tmp_path / "cells.parquet", write_covering_bbox=True)
        found = chunks.open_parquet([tmp_path / "cells.parquet"])
        drawn = read_tile(cut.cut_tile(found, None, 0, tile_over(found.boxes[0])))["fields"]
        crops = [one["properties"].get("crop") for one in sorted(drawn, key=lambda one: one["id"])]
        assert crops == ["maize", "wheat", "maize", None]
        assert [one["properties"]["h3"] for one in drawn] == pytest.approx([6.18e17] * 4)

    def test_giant_and_broken_coordinates_do_no_harm(self, tmp_path):
        frame = frame_of(4).to_crs("OGC:CRS84")
        unknown = np.zeros(
            1,
            dtype=[
                ("order", "u1"),
                ("kind", "<u4"),
                ("rings", "<u4"),
                ("points", "<u4"),
                ("xy", "<f8", (4, 2)),
            ],
        )
        unknown["order"], unknown["kind"], unknown["rings"], unknown["points"], unknown["xy"] = (
            1,
            3,
            1,
            4,
            [(0, 0), (np.nan, 1), (1, np.inf), (0, 0)],
        )
        odd = [
            shapely.box(-1e300, -1e300, 1e300, 1e300), unknown.tobytes(), b"\x01\x03no geometry",
            shapely.Polygon(), shapely.Point(12.29, 48.71), shapely.box(-180, -90, 180, 90),
            shapely.Polygon([(12.28, 48.7), (12.3, 48.71), (12.3, 48.7), (12.28, 48.71)]),
        ]  # fmt: skip
        write_loose(tmp_path / "odd.parquet", [*frame.geometry, *odd])
        found = chunks.open_parquet([tmp_path / "odd.parquet"])
        for zoom in (0, 5, 12, 16, 24):
            layers = read_tile(cut.cut_tile(found, None, 0, tile_at((1367500, 6225000) * 2, zoom)))
            for feature in layers.get("fields", []):
                assert all(
                    -200 <= value <= 4300
                    for ring in feature["rings"]
                    for point in ring
                    for value in point
                )
        assert found.record(17)["box"] is None or np.isfinite(found.record(17)["box"]).all()

    @pytest.mark.parametrize("crs", ["EPSG:32701", "EPSG:32760"])
    def test_a_field_across_the_antimeridian_does_not_go_around_the_world(self, tmp_path, crs):
        """Of 1 km2 of Fiji each side has its half, and Africa none."""
        x, y = pyproj.Proj(crs)(180 if crs == "EPSG:32760" else -180, -17)
        field = shapely.box(x - 1000, y - 500, x + 1000, y + 500)
        path = tmp_path / "fiji.parquet"
        geopandas.GeoDataFrame({"id": ["a"]}, geometry=[field], crs=crs).to_parquet(
            path, write_covering_bbox=True
        )
        found = chunks.open_parquet([path])
        _, north = place.from_degrees(np.array([[180.0, -17.0]]))[0]
        row = int((place.EARTH - north) / (2 * place.EARTH) * 2**11)
        area = []
        for column in (2**11 - 1, 2**10, 0):
            tile = place.WebTile(11, column, row)
            drawn = read_tile(cut.cut_tile(found, None, 0, tile) or b"").get("fields", [])
            rings = [shapely.Polygon(ring) for feature in drawn for ring in feature["rings"]]
            tile_box = shapely.box(0, 0, 4096, 4096)
            area.append(
                shapely.union_all(rings).intersection(tile_box).area * (tile.edge / 4096) ** 2
            )
        half = 1e6 / np.cos(np.radians(17)) ** 2
        assert area == pytest.approx([half, 0, half], rel=0.04, abs=1)
        many = cells.gather(found.chunk(0).boxes, {}, 5)
        assert many.keys.tolist() == [17 << 32 | 31], "not in the Gulf of Guinea"

    def test_holes_and_parts_stay(self):
        shape = shapely.MultiPolygon(
            [
                shapely.box(100, 100, 2000, 2000).difference(shapely.box(500, 500, 900, 900)),
                shapely.box(2500, 100, 3000, 600),
            ]
        )
        parts, owner = shapely.get_parts([shape], return_index=True)
        outlines = mvt.flatten(shapely.orient_polygons(parts), owner, 1)
        data = mvt.encode_layer("fields", mvt.TileLayer(outlines, {}, numbers=np.array([7])))
        rings = read_tile(data)["fields"][0]["rings"]
        areas = [
            sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(r, r[1:] + r[:1], strict=True))
            for r in rings
        ]
        assert [a > 0 for a in areas] == [True, False, True], (
            "outer rings turn one way, holes the other"
        )


def inside(box, other):
    return box[0] > other[0] and box[1] > other[1] and box[2] < other[2] and box[3] < other[3]


def write_loose(path, shapes, ids=None, row_group=None):
    """Write any shapes as GeoParquet without a bbox column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    table = pa.table(
        {
            "id": ids or [str(k) for k in range(len(shapes))],
            "geometry": pa.array(
                [s if isinstance(s, bytes) else shapely.to_wkb(s) for s in shapes], pa.binary()
            ),
        }
    )
    pq.write_table(
        table.replace_schema_metadata({"geo": json.dumps(geo)}),
        path,
        row_group_size=row_group or len(shapes),
    )


class TestFromAfar:
    def test_cells_hold_every_field_once(self, many, tmp_path):
        found, frame = many
        zoom = cells.detail_zoom(found)
        overview = cells.Overview(found, zoom, "k")
        overview.start()
        overview._thread.join(20)
        assert overview.ready
        assert zoom > 5
        for z in range(zoom):
            middle = tile_at(found.boxes[0], z)
            around = [
                place.WebTile(z, x, y)
                for x in range(middle.x - 2, middle.x + 3)
                for y in range(middle.y - 2, middle.y + 3)
                if min(x, y) >= 0
            ]
            features = [
                f["properties"]
                for t in around
                for f in read_tile(cut.cut_tile(found, overview, zoom, t)).get("cells", [])
            ]
            assert sum(f["n"] for f in features) == len(frame)
            mean = sum(f["n"] * f["confidence"] for f in features) / len(frame)
            assert mean == pytest.approx(frame["confidence"].mean(), abs=2e-3)
        again = cells.Overview(found, zoom, "k")
        again.start()
        assert again.ready, "what was gathered is kept"

    def test_before_they_are_gathered_groups_show_as_boxes(self, many):
        found, frame = many
        overview = cells.Overview(found, 9, "none")
        (feature,) = read_tile(cut.cut_tile(found, overview, 9, tile_at(found.boxes[0], 8)))[
            "cells"
        ]
        assert feature["properties"]["n"] == len(frame)
        assert feature["properties"]["rough"] == 1

    @pytest.mark.parametrize("zoom", [3, 12, 19, 24])
    def test_a_file_whose_rows_lie_anyhow_is_cells_at_every_zoom(self, many, zoom, monkeypatch):
        found, frame = many
        monkeypatch.setattr(cut, "MOST_ROWS", 1000)
        overview = cells.Overview(found, 8, "anyhow")
        overview._run()
        layers = read_tile(cut.cut_tile(found, overview, 8, tile_at(found.boxes[0], zoom)))
        assert set(layers) == {"cells"}
        assert 0 < sum(f["properties"]["n"] for f in layers["cells"]) <= len(frame)
        assert all(
            0 <= v <= 4096
            for f in layers["cells"]
            for ring in f["rings"]
            for point in ring
            for v in point
        )

    def test_small_files_need_no_overview(self, table):
        assert cells.detail_zoom(table) == 0


class TestRasters:
    def test_looks(self, scene):
        image = rasters.open_geotiff(scene / "image.tif")
        assert [rendering.label for rendering in image.renderings] == [
            "True colour · window a", "False colour (near infrared) · window a",
            "True colour · window b", "False colour (near infrared) · window b",
        ]  # fmt: skip
        assert [
            rendering.kind for rendering in rasters.open_geotiff(scene / "scores.tif").renderings
        ] == ["share"] * 3
        assert [
            rendering.kind for rendering in rasters.open_geotiff(scene / "instances.tif").renderings
        ] == ["ids"]
        outcome = renderings.RasterHeader(
            ("change",),
            "uint8",
            {"classes": '{"names": ["kept", "gone"], "colours": ["#112233", "#445566"]}'},
            {},
        )
        assert renderings.renderings_of(outcome)[0].words == ("kept", "gone")
        assert (
            renderings.renderings_of(
                renderings.RasterHeader(("a", "b"), "float32", {"classes": "[[["}, {})
            )[0].kind
            == "number"
        )

    def test_nodata_is_clear_and_the_rest_is_not(self, scene):
        raster = rasters.open_geotiff(scene / "image.tif")
        tile = tile_over(raster.box)
        body, kind = raster.tile(raster.renderings[0], tile)
        alpha = picture(body)[..., 3]
        assert kind == "image/png"
        corners = place.projection(UTM)(
            np.array(
                [
                    CORNER,
                    (CORNER[0] + 3200, CORNER[1]),
                    (CORNER[0] + 3200, CORNER[1] - 3200),
                    (CORNER[0], CORNER[1] - 3200),
                ]
            )
        )
        expected = shapely.Polygon(corners).area / tile.edge**2 * (1 - 1600 / 320**2)
        assert (alpha > 0).mean() == pytest.approx(expected, rel=0.15)

    @pytest.mark.parametrize("crs", [UTM, None])
    def test_an_infrared_that_gdal_calls_alpha_hides_nothing(self, tmp_path, crs):
        """Of four bands of bytes GDAL calls the last one alpha: the image was not there at all."""
        values = np.random.default_rng(0).integers(60, 200, (4, 256, 256)).astype(np.uint8)
        values[0, :, 128:] = 250
        path = tmp_path / "naip.tif"
        with rasterio.open(
            path, "w", "GTiff", 256, 256, 4, crs,
            rasterio.transform.from_origin(*CORNER, 10, 10), "uint8",
        ) as dataset:  # fmt: skip
            dataset.write(values)
        raster = rasters.open_geotiff(path)
        colour = raster.renderings[0]
        assert (colour.kind, colour.bands) == ("colour", (1, 2, 3))
        shown = picture(raster.tile(colour, tile_over(raster.box))[0])
        seen = shown[..., 3] > 0 if shown.shape[-1] == 4 else np.ones(shown.shape[:2], bool)
        around_ = raster.box
        tile = tile_over(around_)
        share = (around_[2] - around_[0]) * (around_[3] - around_[1]) / tile.edge**2
        assert seen.mean() == pytest.approx(share, rel=0.1)
        rows, columns = np.nonzero(seen)
        east = shown[rows, columns, 0][columns > columns.mean() + 2]
        assert (east > 200).mean() > 0.95
        assert shown[rows, columns, 0][columns < columns.mean() - 2].mean() < 200

    @pytest.mark.parametrize(("nodata", "seen"), [(0, True), (255, True), (7, False)])
    def test_shadow_in_one_band_of_an_image_without_a_place_is_no_hole(
        self, tmp_path, nodata, seen
    ):
        """As a map has it: 0, and 255 of bytes, say nothing only where all bands hold them."""
        values = np.random.default_rng(0).integers(60, 200, (3, 256, 256)).astype(np.uint8)
        values[2, :, 128:] = nodata
        values[:, :128] = nodata
        path = write_raster(
            tmp_path / "dark.tif", values, ("red", "green", "blue"), nodata=nodata, crs=None
        )
        raster = rasters.open_geotiff(path)
        tile = tile_over(raster.box)
        alpha = picture(raster.tile(raster.renderings[0], tile)[0])[..., 3]
        share = (raster.box[2] - raster.box[0]) * (raster.box[3] - raster.box[1]) / tile.edge**2
        assert (alpha > 0).mean() == pytest.approx(share / (2 if seen else 4), rel=0.25)

    def test_numbers_that_are_none_are_clear(self, tmp_path):
        """Half of the image is beyond the swath, and nobody has said that NaN is no data."""
        values = np.random.default_rng(0).random((3, 256, 256)).astype(np.float32)
        values[:, :, :128] = np.nan
        path = tmp_path / "swath.tif"
        with rasterio.open(
            path, "w", "GTiff", 256, 256, 3, UTM,
            rasterio.transform.from_origin(*CORNER, 10, 10), "float32",
        ) as dataset:  # fmt: skip
            dataset.write(values)
        raster = rasters.open_geotiff(path)
        tile = tile_over(raster.box)
        alpha = picture(raster.tile(raster.renderings[0], tile)[0])[..., 3]
        share = (raster.box[2] - raster.box[0]) * (raster.box[3] - raster.box[1]) / tile.edge**2
        # 18 pixels of the tile, of which one at the border is half of a number that is none
        assert (alpha > 0).mean() == pytest.approx(share / 2, rel=0.2)

    def test_classes_have_the_colours_of_the_files_own_table(self, tmp_path):
        """Land cover counts in tens (WorldCover: cropland 40, water 80), crops up to 254."""
        table = {10: (0, 100, 0), 40: (240, 150, 255), 80: (0, 100, 200), 254: (1, 2, 3)}
        path = tmp_path / "cover.tif"
        with rasterio.open(
            path, "w", "GTiff", 256, 256, 1, UTM, rasterio.transform.from_origin(*CORNER, 10, 10),
            "uint8",
        ) as dataset:  # fmt: skip
            dataset.write(np.repeat(np.array(list(table), np.uint8), 64)[None].repeat(256, 0), 1)
            dataset.write_colormap(1, table)
        raster = rasters.open_geotiff(path)
        shown = picture(raster.tile(raster.renderings[0], tile_over(raster.box))[0])
        seen = {tuple(colour) for colour in shown[shown[..., 3] > 0][:, :3].tolist()}
        assert seen == set(table.values())

    def test_shares_are_opacities(self, scene):
        raster = rasters.open_geotiff(scene / "scores.tif")
        shown = picture(raster.tile(raster.rendering("class2"), tile_at(raster.box, 15))[0])
        assert tuple(shown[..., :3][shown[..., 3] > 200][0]) == (0x5A, 0xC8, 0x5A)
        assert set(np.unique(shown[..., 3][shown[..., 3] > 0])) >= {9, 213}, (
            "10 / 254 and 230 / 254 of 235"
        )

    def test_objects_are_apart(self, scene):
        raster = rasters.open_geotiff(scene / "instances.tif")
        shown = picture(raster.tile(raster.renderings[0], tile_at(raster.box, 14))[0])
        colours = {tuple(c) for c in shown[shown[..., 3] > 0][:, :3]}
        assert len(colours) > 20

    @pytest.mark.parametrize("zoom", [0, 1, 3, 6, 9])
    def test_a_raster_far_smaller_than_the_tile_is_quick(self, scene, zoom):
        raster = rasters.open_geotiff(scene / "image.tif")
        body, _ = raster.tile(raster.renderings[0], tile_at(raster.box, zoom))
        assert (picture(body)[..., 3] > 0).sum() >= 1, (
            "rasterio would read beyond the edge for minutes"
        )

    def test_pixels_lie_where_they_should(self, tmp_path):
        values = np.zeros((1, 256, 256), np.uint8)
        values[0, 100:156, 60:200] = 200
        raster = rasters.open_geotiff(write_raster(tmp_path / "one.tif", values, ("amount",)))
        tile = tile_over(raster.box)
        shown = picture(raster.tile(raster.renderings[0], tile)[0])
        hot = np.argwhere((shown[..., 0] > 200) & (shown[..., 3] > 0))
        west, _, _, north = tile.box
        centre = np.array([west, north]) + (hot.mean(0)[::-1] + 0.5) * tile.edge / 512 * [1, -1]
        corners = place.projection(UTM)(np.array([[300000 + 10 * 130, 5400000 - 10 * 128]]))[0]
        assert np.abs(centre - corners).max() < 2 * tile.edge / 512 + 15

    @pytest.mark.parametrize(
        ("crs", "middle"),
        [("EPSG:32701", -180), ("EPSG:32760", 180)],  # Fiji, as Sentinel-2 has it
    )
    def test_across_the_antimeridian_it_is_as_fine_as_it_is(self, tmp_path, crs, middle):
        """A box as wide as the world told of pixels of 100 km: all was one blur."""
        values = np.repeat(np.array([50, 200], np.uint8), 200)[None].repeat(400, 0)
        x, y = pyproj.Proj(crs)(middle, -17)
        path = tmp_path / "fiji.tif"
        with rasterio.open(
            path, "w", "GTiff", 400, 400, 1, crs,
            rasterio.transform.from_origin(x - 2000, y + 2000, 10, 10), "uint8",
        ) as dataset:  # fmt: skip
            dataset.write(values, 1)
        raster = rasters.open_geotiff(path)
        assert (raster.minzoom, raster.maxzoom) == (0, 14), "10 m"
        _, y = place.from_degrees(np.array([[180.0, -17.0]]))[0]
        row = int((place.EARTH - y) / (2 * place.EARTH) * 2**12)
        for column, colour in ((2**12 - 1, (68, 1, 84)), (0, (253, 231, 37))):
            body, _ = raster.tile(raster.renderings[0], place.WebTile(12, column, row))
            shown = picture(body)
            seen = shown[shown[..., 3] > 0][:, :3]
            assert np.abs(np.median(seen, axis=0) - colour).max() <= 2
            # half of it, 2.1 km of the map, in a tile of 9.8 km
            assert len(np.unique(np.nonzero(shown[..., 3])[1])) == pytest.approx(110, abs=5)

    @pytest.mark.parametrize("first", [0, 150, 200, -300])
    def test_columns_beyond_the_antimeridian_lie_where_they_are(self, tmp_path, first):
        """Climate's grids are of 0 to 360 degrees: all from 180 on was not drawn, or refused."""
        width = 360 if first == 0 else 120
        degrees = first + np.arange(width)
        values = np.where((degrees + 180) % 360 < 180, 50, 200).astype(np.uint8)
        path = tmp_path / "grid.tif"
        with rasterio.open(
            path, "w", "GTiff", width, 40, 1, "EPSG:4326",
            rasterio.transform.from_origin(first, 20, 1, 1), "uint8",
        ) as dataset:  # fmt: skip
            dataset.write(np.repeat(values[None], 40, 0), 1)
        raster = rasters.open_geotiff(path)
        assert raster.pixel == pytest.approx(2 * place.EARTH / 360, rel=1e-6)
        for column, colour in enumerate(((68, 1, 84), (253, 231, 37))):
            shown = picture(raster.tile(raster.renderings[0], place.WebTile(1, column, 0))[0])
            there = (degrees + 180) % 360 // 180 == column
            assert there.any() == bool((shown[..., 3] > 0).any())
            if there.any():
                seen = np.flatnonzero((shown[..., 3] > 0).any(0))
                assert len(seen) == pytest.approx(there.sum() / 180 * 512, abs=4)
                west = ((degrees[there] + 180) % 180).min()
                assert seen[0] == pytest.approx(west / 180 * 512, abs=4)
                if len(np.unique(values)) == 2:
                    middle = shown[shown[..., 3] > 0][:, :3]
                    assert np.abs(np.median(middle, axis=0) - colour).max() <= 2

    def test_without_a_place_pixels_lie_flat(self, tmp_path):
        values = np.arange(200 * 200, dtype=np.uint16).reshape(1, 200, 200)
        raster = rasters.open_geotiff(
            write_raster(tmp_path / "flat.tif", values, ("amount",), crs=None)
        )
        assert raster.crs is None
        assert raster.box == pytest.approx((0, -200 * place.PIXEL, 200 * place.PIXEL, 0))
        near = picture(raster.tile(raster.renderings[0], tile_at(raster.box, 18))[0])
        assert (near[..., 3] > 0).any()
        assert not (near[..., 3] > 0).all()

    def test_brightness_is_judged_from_all_of_it(self, scene):
        raster = rasters.open_geotiff(scene / "image.tif")
        low, high = raster.stretch(raster.renderings[0])[0]
        assert 100 < low < high < 1300


class TestFinding:
    def test_by_id_and_by_row(self, table):
        row = record_search.find_row(table, "field-123")
        assert table.record(row)["id"] == "field-123"
        assert record_search.find_row(table, "nothing") is None
        with pytest.raises(BadInput):
            record_search.find_row(table, "x" * 500)
        with pytest.raises(UnreadableFile, match="no row"):
            table.record(400)

    def test_a_geohash_says_where(self):
        assert record_search.decode("u4pruydqqvj8") == pytest.approx((10.40744, 57.64911), abs=1e-5)
        assert record_search.decode("field-1234") is None

    @settings(max_examples=30)
    @given(st.integers(0, 59))
    def test_any_group(self, tmp_path_factory, row):
        path = tmp_path_factory.getbasetemp() / "groups.parquet"
        if not path.exists():
            write_loose(
                path,
                [shapely.box(k, 0, k + 0.5, 1) for k in range(60)],
                [f"{k * 7919 % 60:03}" for k in range(60)],
                7,
            )
        found = chunks.open_parquet([path])
        assert record_search.find_row(found, f"{row * 7919 % 60:03}") == row
        assert found.record(row)["id"] == f"{row * 7919 % 60:03}"

    def test_formats_agree(self, scene, tmp_path):
        frame = fields.read_fields(scene / "fields.parquet")
        for ending in (".gpkg", ".fgb", ".geojson", ".pmtiles"):
            fields.write_fields(frame, tmp_path / f"f{ending}")
        found = find([tmp_path])
        assert not found.problems
        tiles = [
            read_tile(cut.cut_tile(layer.fields, None, 0, tile_over(layer.fields.boxes[0])))
            for layer in found.fields.values()
        ]
        assert [len(tile["fields"]) for tile in tiles] == [400] * 3
        row = record_search.find_row(found.fields["f0"].fields, "field-9")
        assert found.fields["f0"].fields.record(row)["metrics:area"] == pytest.approx(
            frame["metrics:area"][frame["id"] == "field-9"].iloc[0]
        )

    def test_tiles_of_an_archive_are_those_of_pmtiles(self, scene, tmp_path):
        from pmtiles.reader import MmapSource, Reader

        fields.write_fields(fields.read_fields(scene / "fields.parquet"), tmp_path / "f.pmtiles")
        ours = pmtiles.open_archive(tmp_path / "f.pmtiles")
        with (tmp_path / "f.pmtiles").open("rb") as file:
            theirs = Reader(MmapSource(file))
            for zoom in range(6, 15):
                tile = tile_at(archive_box(ours), zoom)
                data = theirs.get(tile.z, tile.x, tile.y)
                assert ours.tile(tile.z, tile.x, tile.y) == (gzip.decompress(data) if data else b"")
        assert ours.tile(3, 0, 0) == b""

    def test_a_file_that_was_replaced_is_not_mixed_with_what_it_was(self, scene, tmp_path):
        """A click on a field of the former map told the row of that number in the new one."""
        path = tmp_path / "fields.parquet"
        shutil.copy(scene / "fields.parquet", path)
        found = chunks.open_parquet([path])
        wanted = found.record(0)["id"]
        table = pq.read_table(path)
        pq.write_table(table.take(list(reversed(range(len(table))))), path)
        for look in (lambda: found.record(0), lambda: record_search.find_row(found, wanted)):
            with pytest.raises(UnreadableFile, match="replaced"):
                look()
        path = tmp_path / "one.pmtiles"
        layers = {"vector_layers": [{"id": "fields", "fields": {}}]}
        archives = []
        for content in (b"one", b"two"):
            with pmtiles.ArchiveWriter(tmp_path) as tiles:
                tiles.add(0, 0, 0, content)
                tiles.write(path, layers, (-180, -85, 180, 85), (0, 0))
            os.utime(path, (len(archives),) * 2)
            archives.append(pmtiles.open_archive(path))
            assert archives[-1].tile(0, 0, 0) == content
        with pytest.raises(UnreadableFile, match="replaced"):
            archives[0].tile(0, 0, 0)

    def test_parts_of_a_merged_map_are_one_layer(self, scene, tmp_path):
        frame = fields.read_fields(scene / "fields.parquet")
        for k, name in enumerate(("u2a", "u2b")):
            (tmp_path / "country" / f"cell={name}").mkdir(parents=True)
            fields.write_fields(
                frame.iloc[k::2], tmp_path / "country" / f"cell={name}" / "part.parquet"
            )
        found = find([tmp_path / "country"])
        (layer,) = found.fields.values()
        assert sum(p.rows for p in layer.fields.places) == 400
        assert (
            len(
                read_tile(cut.cut_tile(layer.fields, None, 0, tile_over(layer.fields.boxes[0])))[
                    "fields"
                ]
            )
            == 400
        )
        assert layer.fields.record(399)["id"].startswith("field-")

    def test_two_years_have_two_names(self, scene, tmp_path):
        for year in ("2023", "2024"):
            (tmp_path / year).mkdir()
            (tmp_path / year / "fields.parquet").write_bytes(
                (scene / "fields.parquet").read_bytes()
            )
        paths = [tmp_path / year / "fields.parquet" for year in ("2023", "2024")]
        assert list(find(paths).names.values()) == ["2023/fields.parquet", "2024/fields.parquet"]
        assert list(find([tmp_path / "2023", tmp_path / "2024"]).names.values()) == [
            "2023/fields.parquet",
            "2024/fields.parquet",
        ]

    def test_nothing_to_see_is_said(self, tmp_path):
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(BadInput, match="nothing to see"):
            find([tmp_path])
        with pytest.raises(UnreadableFile, match="does not exist"):
            find([tmp_path / "none"])


class TestPage:
    def test_layers(self, served):
        told = served.table("api/layers")
        assert len(told["rasters"]) == 8
        assert [c["column"] for c in told["fields"][0]["colourings"]] == [
            "confidence",
            "metrics:area",
            "class",
        ]
        assert told["albums"][0]["count"] == 3
        assert not told["problems"]
        assert told["bounds"][0] == pytest.approx(12.28, abs=0.02)

    def test_everything_is_answered(self, served):
        told = served.table("api/layers")
        box = (
            *place.from_degrees(np.array([told["bounds"][:2]]))[0],
            *place.from_degrees(np.array([told["bounds"][2:]]))[0],
        )
        tile = tile_at(box, 13)
        for layer in [*told["rasters"], *told["fields"]]:
            answer = served.ask(layer["tiles"].format(z=tile.z, x=tile.x, y=tile.y))
            assert (answer.status, len(answer.body) > 100) == (200, True), layer["id"]
        record = served.table("api/record/f0/17")
        assert record["columns"]["class"] in ("field", "pond")
        assert served.table(f"api/find/f0?id={record['columns']['id']}")["row"] == 17
        assert served.table("api/find/f0?id=nobody") == {"row": None}
        assert served.table("api/values/f0?column=class")["values"] == ["field", "pond"]
        assert served.table("api/state") == {}
        assert served.ask("maplibre-gl.js").status == 200

    def test_photographs_with_masks_and_traits(self, served):
        listed = served.table("api/photos/p0")
        assert [p["name"] for p in listed["photos"]] == ["leaf0.jpg", "leaf1.jpg", "leaf2.jpg"]
        about = served.table("api/photo/p0/1")
        assert about["mask"]
        assert about["bare"]
        assert about["columns"]["width"] == "160"
        shade = picture(served.ask("photo/p0/1/shade").body)
        assert shade.shape == (120, 160, 4)
        assert (shade[..., 3] == 0).mean() == pytest.approx(
            float(about["columns"]["cover"]), abs=0.02
        )
        assert served.ask("photo/p0/1/thumb").headers["content-type"] == "image/jpeg"
        assert served.ask("api/photos/p0?after=2").status == 200
        first, *_ = served.table("api/photos/p0?order=cover")["photos"]
        assert float(first["cover"]) == max(float(p["cover"]) for p in listed["photos"])
        assert served.table("api/pairs/p0/p0")["pairs"][2]["difference"] == 0

    def test_what_may_be_loaded(self, served):
        policy = served.ask("").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert "unsafe" not in policy
        assert (
            served.ask("api/layers")
            .headers["content-security-policy"]
            .startswith("default-src 'none'")
        )

    @pytest.mark.parametrize(
        "path",
        [
            "fields/f0/25/0/0", "fields/f0/3/9/0", "fields/f0/3/-1/0", "fields/f9/3/0/0",
            "fields/f0/nan/0/0", "raster/r0/nothing/3/0/0", "raster/../r0/3/0/0",
            "raster/r9/true/3/0/0", "api/record/f0/99999999999999999999", "api/record/f0/-1",
            "api/record/f0/1e5", "api/record/f0/400", "api/values/f0?column=geometry",
            "api/photos/p7", "api/photos/p0?after=-4", "photo/p0/99/photo", "photo/p0/0/mask",
            "api/find/f0", "fields/f0/3/%D9%A3/0", "api/photos/p0?order=best",
            "api/pairs/p0/p9", "api/pairs/p0/p0?order=worst",
        ],
    )  # fmt: skip
    def test_bad_requests_get_one_sentence(self, served, path):
        answer = served.ask(path)
        assert answer.status in (400, 404)
        assert len(answer.body) < 400
        assert b"Traceback" not in answer.body
        assert b"/tmp" not in answer.body

    def test_static_files_load_nothing_from_elsewhere(self, served):
        for name in page.STATIC:
            text = (server.STATIC / name).read_text()
            assert not re.search(
                (
                    r"https?:(?!//www\.w3\.org/2000/svg)|@import|innerHTML|eval\(|\son\w+=\"|"
                    r"\sstyle=\""
                ),
                text,
            ), name
            assert (
                served.ask("" if name == "view.html" else name).body
                == (server.STATIC / name).read_bytes()
            )

    @pytest.mark.parametrize(
        "path",
        [
            "../../etc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "..%2f..%2fetc%2fpasswd",
            "photo/p0/..%2f..%2f0/photo",
            "static/view.html",
            "//etc/passwd",
            "view.py",
        ],
    )
    def test_no_path_is_ever_a_file(self, served, path):
        assert served.ask(path).status in (400, 404)

    def test_others_are_not_answered(self, served):
        assert served.ask("api/layers", {"Host": "evil.example"}).status == 421
        assert served.ask("api/layers", {"Origin": "http://evil.example"}).status == 403
        assert served.ask("api/layers", {"Sec-Fetch-Site": "cross-site"}).status == 403
        assert served.ask("", whole="/view/api/layers").status == 403
        assert served.ask("", whole=f"/{'0' * 32}/view/api/layers").status == 403


def test_links_out_of_a_folder_are_not_followed(scene, tmp_path):
    given, outside = tmp_path / "given", tmp_path / "outside"
    given.mkdir()
    outside.mkdir()
    (outside / "secret.parquet").write_bytes((scene / "fields.parquet").read_bytes())
    (given / "mine.parquet").write_bytes((scene / "fields.parquet").read_bytes())
    (given / "link.parquet").symlink_to(outside / "secret.parquet")
    (given / "deep").symlink_to(outside)
    (given / "cell=a").symlink_to(outside)
    (given / "loop").symlink_to(given)
    found = find([given / "mine.parquet"])
    assert len(found.fields) == 1
    (given / "cell=a").unlink()
    assert list(find([given]).names.values()) == ["given/mine.parquet"]
    assert len(find([given / "link.parquet"]).fields) == 1, "what is named itself is given"


def test_a_table_of_crops_points_nowhere_else(tmp_path):
    crops, _ = write_crops(tmp_path / "crops", tmp_path / "photos")
    (tmp_path / "secret.png").write_bytes((crops / "masks" / "leaf0.png").read_bytes())
    text = (
        (crops / "crops.csv")
        .read_text()
        .replace("masks/leaf0.png", "../secret.png")
        .replace("overlays/leaf1.jpg", str(tmp_path / "secret.png"))
    )
    (crops / "crops.csv").write_text(text)
    album = find([crops]).albums["p0"]
    assert album.photos[0].mask is None
    assert album.photos[1].picture is None
    assert album.photos[2].mask is not None
    assert not album.photos[2].bare, "the photographs' folder was not given"


def test_photographs_in_an_order_and_two_runs_side_by_side(tmp_path):
    """By hand: the doubted first, then wide bands; runs that differ most; what one lacks."""
    rows = {
        "one": ["a,yes,0.5,0.45,0.55", "b,no,0.2,0.2,0.2", "c,yes,0.9,0.5,0.95", "d,yes,,,"],
        "two": ["c,yes,0.1,0,1", "a,yes,0.45,0.4,0.5", "x,yes,0.4,0.4,0.4", "d,yes,0.1,0,1"],
    }
    for run, lines in rows.items():
        write_crops(tmp_path / run, tmp_path / f"{run}-photos", 1)
        table = ["file,trust,cover,cover_low,cover_high,width,height,overlay"]
        table += [f"{line},160,120,overlays/leaf0.jpg" for line in lines]
        (tmp_path / run / "crops.csv").write_text("\n".join(table))
    found = find([tmp_path / "one", tmp_path / "two"])
    one, two = found.albums.values()
    for order, names in (("doubt", "bcad"), ("cover", "cabd"), ("name", "abcd")):
        assert "".join(p["name"] for p in one.listed(0, order=order)) == names
    assert [p["index"] for p in one.listed(1, 2, "doubt")] == [2, 0]
    told = paired(one, two, 0)
    assert [(p["one"]["name"], p["difference"]) for p in told["pairs"]] == [
        ("d", None), ("c", 0.8), ("a", 0.05),
    ]  # fmt: skip
    assert [p["other"]["index"] for p in told["pairs"]] == [3, 0, 1]
    assert (told["count"], told["alone"]) == (3, [1, 1])
    assert [p["one"]["name"] for p in paired(one, two, 1, 1, "cover")["pairs"]] == ["a"]
    for wrong in ("best", ""):
        with pytest.raises(UnknownName):
            one.listed(0, order=wrong)
    assert [album["label"] for album in describe(found)["albums"]] == ["one", "two"]
    assert drawn(one.photos[0], "tile")[1] == "image/jpeg"


def test_photographs_of_one_name_are_those_that_were_measured(tmp_path):
    """Of two days whose cameras counted alike, and of one that lies in a folder of the run."""
    given = []
    for day in ("one", "two"):
        crops, photos = write_crops(tmp_path / day, tmp_path / f"{day}-photos", 1)
        (crops / "run.json").write_text(json.dumps({SOURCE: str(photos.resolve())}))
        given += [crops, photos]
    both = find([given[0], given[2], given[1], given[3]]).albums.values()
    assert [album.photos[0].picture for album in both] == [
        (photos / "leaf0.jpg").resolve() for photos in given[1::2]
    ]
    for kind in ("overlays", "thumbs"):
        for name in ("leaf0.jpg", "late/leaf0.jpg"):
            (crops / kind / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / "leaf0.jpg", crops / kind / name)
    table = crops / "crops.csv"
    table.write_text(table.read_text().replace("leaf0", "late/leaf0"))
    (album,) = find([crops]).albums.values()
    assert album.photos[0].tile == (crops / "thumbs" / "late" / "leaf0.jpg").resolve()


def test_photographs_beside_a_map_and_beside_their_own_crops(tmp_path):
    crops, photos = write_crops(tmp_path / "crops", tmp_path / "photos")
    names = ["leaf0.jpg", "leaf1.jpg", "leaf2.jpg"]
    assert [[p.name for p in album.photos] for album in find([crops, photos]).albums.values()] == [
        names
    ], "once each"
    scene = write_map(tmp_path / "map", 2)
    (scene / "preview.png").write_bytes(b"a picture of the map is no photograph")
    found = find([scene, photos])
    assert [[p.name for p in album.photos] for album in found.albums.values()] == [names]
    assert found.problems == []
    (photos / "torn.jpg").write_bytes(b"x")
    assert find([scene, photos]).problems == [
        "torn.jpg cannot be read as a photograph: copy it again."
    ]
    assert not find([scene]).albums
