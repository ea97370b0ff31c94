"""Maps against a truth from files: extents, columns, calibration, and every bad input of the
referee's list.
"""

import itertools
import tomllib
from dataclasses import replace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import FTW3
from selion.cli.evaluate import evaluate_command
from selion.errors import BadInput, GridMismatch, OutputExists, UnknownName
from selion.evaluation import evaluate_files, score_fields, vectors
from selion.evaluation.files import compare_files
from selion.evaluation.sides import open_side
from selion.grid import whole
from selion.metrics import (
    Correction,
    ScoreOptions,
    object_scores,
    overlap_table,
    regular_grid,
)
from selion.metrics.partition import PREDICTION_KINDS, TRUTH_KINDS
from selion.models.card import ModelCard, read_card, write_card
from selion.segmenter import InputSpec

GRID = GeoBox((96, 96), Affine(10, 0, 600000, 0, -10, 5300000), "EPSG:32633")
QUICK = ScoreOptions(draws=0)


def raster(path, ids, grid=GRID, dtype=np.int32):
    with store.create_cog(path, grid, ("instance",), dtype, nodata=0, overviews="nearest") as sink:
        sink.write(whole(grid), np.asarray(ids, dtype)[None])
    return path


def squares(path, step=160, keep=lambda k: True, crs="EPSG:32633", **columns):
    """Write polygons over the grid, row by row from the upper left, edges ``step`` metres apart."""
    boxes = [
        shapely.box(x, y - step, x + step, y)
        for y in range(5300000, 5299040, -step)
        for x in range(600000, 600960, step)
    ]
    chosen = [k for k in range(len(boxes)) if keep(k)]
    values = {name: [make(k) for k in chosen] for name, make in columns.items()}
    geopandas.GeoDataFrame(values, geometry=[boxes[k] for k in chosen], crs=crs).to_file(path)
    return path


def test_nodata_is_no_object_and_no_mapped_area(tmp_path):
    """Nodata as other programs write it, the largest number: no field, and outside the extent."""
    ids = np.zeros((96, 96), np.uint16)
    ids[:16, :16], ids[:16, 20:40] = 1, 2
    said = np.where(np.arange(96)[:, None] < 60, ids, 0)
    said[70:80, 70:80] = 9
    extent = np.where(np.arange(96)[:, None] < 48, 1, 255) * np.ones((1, 96), int)
    full = np.where(np.arange(96)[:, None] < 48, ids, 65535)
    prediction = raster(tmp_path / "prediction.tif", said)
    for name, values, nodata in (("truth", full, 65535), ("extent", extent, 255)):
        with store.create_cog(
            tmp_path / f"{name}.tif", GRID, ("id",), np.uint16, nodata=nodata
        ) as sink:
            sink.write(whole(GRID), values.astype(np.uint16)[None])
    plain = evaluate_files([prediction], tmp_path / "truth.tif", QUICK).runs[0]
    assert plain.images["truth"].tolist() == [2]
    assert plain.values["object_recall"] == 1
    found = evaluate_files(
        [prediction], tmp_path / "truth.tif", QUICK, extent=tmp_path / "extent.tif"
    ).runs[0]
    assert found.kinds["prediction"]["ignored"] == 1
    assert found.values["object_f1"] == found.values["pixel_iou"] == 1


def test_what_is_found_where_nobody_mapped_is_not_false(tmp_path):
    prediction = squares(tmp_path / "prediction.gpkg")
    truth = squares(tmp_path / "truth.gpkg", keep=lambda k: k < 12)  # the upper third
    area = geopandas.GeoDataFrame(
        geometry=[shapely.box(600000, 5299680, 600960, 5300000)], crs="EPSG:32633"
    )
    area.to_crs("EPSG:4326").to_file(tmp_path / "area.gpkg")
    raster(tmp_path / "area.tif", np.arange(96)[:, None].repeat(96, 1) < 32, dtype=np.uint8)
    raster(tmp_path / "prediction.tif", regular_grid((96, 96), 16))
    for said, extents in (
        (prediction, ["area.gpkg"]),
        (tmp_path / "prediction.tif", ["area.gpkg", "area.tif"]),
    ):
        plain = evaluate_files([said], truth, QUICK).runs[0]
        assert plain.values["object_precision"] == pytest.approx(1 / 3)
        for extent in extents:
            report = evaluate_files([said], truth, QUICK, extent=tmp_path / extent)
            assert report.runs[0].values["object_precision"] == 1
            assert report.runs[0].values["object_recall"] == 1
            assert report.runs[0].values["pixel_iou"] == pytest.approx(1, abs=2e-3)
            assert report.runs[0].kinds["prediction"]["ignored"] == 24
            assert report.settings["mapped area of the truth"] == extent
    with pytest.raises(BadInput, match="as polygons too"):
        evaluate_files([prediction], truth, QUICK, extent=tmp_path / "area.tif")


def test_a_map_of_one_place_against_the_truth_of_many_is_not_scored_in_silence(tmp_path):
    """942 polygons of 28 farms and the map of one: an F1 of 0.05 said nothing of the map."""
    whole_, third = squares(tmp_path / "all.gpkg"), tmp_path / "third.gpkg"
    squares(third, keep=lambda k: k < 12)  # the upper third of 36
    beyond = [line for line in evaluate_files([third], whole_, QUICK).problems if "beyond" in line]
    assert beyond == [
        (
            "third: truth: 18 of 36 polygons lie beyond the rectangle around what the map found "
            "and count as missed: if only a part was mapped, name the area of both with --extent."
        )
    ]  # the fourth row of six touches the third
    said = evaluate_files([whole_], third, QUICK).problems
    assert "prediction: 18 of 36 polygons lie beyond the rectangle around the truth" in said[0]
    assert not evaluate_files([third], third, QUICK).problems


def test_a_baseline_of_more_squares_than_are_scored_is_left_out_and_said(tmp_path, monkeypatch):
    """At 30,000 x 30,000 px the grid of small squares had 36 million, and took more than 2 GB."""
    ids = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((16, 16), int))
    grid = GeoBox((64, 64), GRID.affine, GRID.crs)
    path = raster(tmp_path / "ids.tif", ids, grid)
    whole_ = evaluate_files([path], path, QUICK)
    assert [one.name for one in whole_.baselines] == [
        "grid of 16 px", "grid of 4 px", "one object everywhere",
    ]  # fmt: skip
    monkeypatch.setattr("selion.evaluation.files.MOST_SQUARES", 16)
    fewer = evaluate_files([path], path, QUICK)
    assert [one.name for one in fewer.baselines] == ["grid of 16 px", "one object everywhere"]
    said = [line for line in fewer.problems if line not in whole_.problems]
    assert said == [
        (
            "The baseline 'grid of 4 px' was left out: 256 squares are more than the 16 that are "
            "scored."
        )
    ]


def test_truth_outside_its_extent_is_counted(tmp_path):
    truth = geopandas.read_file(squares(tmp_path / "truth.gpkg"))
    found = score_fields(truth, truth, extent=shapely.box(600000, 5299680, 600960, 5300000))
    assert any("24 polygons lie outside the extent" in line for line in found.problems)
    assert object_scores(found.scores.table).tp == 12


def test_scores_by_any_column_of_the_truth(tmp_path):
    truth = squares(tmp_path / "truth.gpkg", crop=lambda k: "maize" if k % 3 == 0 else "wheat")
    prediction = squares(tmp_path / "prediction.gpkg", keep=lambda k: k % 3, crop=lambda k: "wheat")
    burnt = raster(
        tmp_path / "prediction.tif",
        np.where(
            np.isin(regular_grid((96, 96), 16), np.arange(1, 37)[np.arange(36) % 3 > 0]),
            regular_grid((96, 96), 16),
            0,
        ),
    )
    for said in (prediction, burnt):
        table = evaluate_files([said], truth, QUICK, by=("crop",)).runs[0].strata["crop"]
        assert table["recall"].to_dict() == {"maize": 0.0, "wheat": 1.0}
    assert (
        evaluate_files([prediction], truth, QUICK, by=("crop",))
        .runs[0]
        .strata["crop"]
        .loc["wheat", "precision"]
        == 1
    )
    with pytest.raises(UnknownName, match="crop"):
        evaluate_files([prediction], truth, QUICK, by=("crops",))
    with pytest.raises(BadInput, match="is a raster"):
        evaluate_files([prediction], burnt, QUICK, by=("crop",))


def run(*arguments):
    return CliRunner().invoke(evaluate_command, [*map(str, arguments), "-q"])


def test_a_fitted_calibration_goes_onto_a_card_and_back(tmp_path):
    truth = squares(tmp_path / "truth.gpkg", keep=lambda k: k % 2)
    prediction = squares(
        tmp_path / "prediction.gpkg", confidence=lambda k: 0.9 + 0.05 * (k % 2) - 0.002 * k
    )
    arguments = ("--pred", prediction, "--truth", truth, "-o", tmp_path / "out")
    done = run(*arguments, "--fit-calibration", tmp_path / "calibration.toml")
    assert done.exit_code == 0, done.output
    table = tomllib.loads((tmp_path / "calibration.toml").read_text())["calibration"]
    assert table["objects"] == 36
    correction = Correction.from_dict(table)
    assert correction(np.array([0.9])) < 0.9
    card = ModelCard("toy", InputSpec(("red",)), FTW3, calibration=table)
    write_card(card, tmp_path / "card.toml")
    again = read_card(tmp_path / "card.toml")
    assert again == card
    assert Correction.from_dict(again.calibration) == correction
    assert "calibration" not in replace(card, calibration={}).to_dict()
    edited = tomllib.loads((tmp_path / "card.toml").read_text()) | {
        "calibration": {"slope": "steep"}
    }
    del edited["decides"]  # the file's own checksum
    with pytest.raises(BadInput, match="a number"):
        ModelCard.from_dict(edited)
    bare = squares(tmp_path / "bare.gpkg")
    refused = run(
        "--pred",
        bare,
        "--truth",
        truth,
        "-o",
        tmp_path / "other",
        "--fit-calibration",
        tmp_path / "no.toml",
    ).exception
    assert isinstance(refused, BadInput)
    assert not (tmp_path / "no.toml").exists()


def test_a_calibration_of_several_is_refused_before_any_is_scored(tmp_path):
    """All was scored, a report was written, and then it was refused: the files are not opened."""
    for name in ("one", "two", "truth"):
        (tmp_path / f"{name}.gpkg").touch()
    refused = run(
        "--pred",
        tmp_path / "one.gpkg",
        "--pred",
        tmp_path / "two.gpkg",
        "--truth",
        tmp_path / "truth.gpkg",
        "-o",
        tmp_path / "out",
        "--fit-calibration",
        tmp_path / "no.toml",
    )
    assert refused.exit_code == 2
    assert "2 runs are scored" in refused.output


def test_a_report_that_is_there_is_refused_before_anything_is_scored(tmp_path):
    """All models ran, and then their report was not written: the files are not opened."""
    (tmp_path / "evaluation").mkdir()
    for name in ("one.gpkg", "truth.gpkg", "evaluation/report.html"):
        (tmp_path / name).touch()
    words = ("--pred", tmp_path / "one.gpkg", "--truth", tmp_path / "truth.gpkg")
    refused = run(*words, "-o", tmp_path / "evaluation").exception
    assert isinstance(refused, OutputExists)
    assert "report.html" in str(refused)


def test_other_crs_is_said_and_reprojection_is_offered(tmp_path):
    truth = squares(tmp_path / "truth.gpkg")
    geopandas.read_file(truth).to_crs("EPSG:4326").to_file(tmp_path / "lonlat.gpkg")
    ids = raster(tmp_path / "ids.tif", regular_grid((96, 96), 16))
    lonlat = tmp_path / "lonlat.gpkg"
    with pytest.raises(GridMismatch, match="--reproject"):
        evaluate_files([lonlat], truth, QUICK)
    assert evaluate_files([lonlat], truth, QUICK, reproject=True).runs[0].values["object_f1"] == 1
    for said, real in ((lonlat, ids), (ids, lonlat)):
        report = evaluate_files([said], real, QUICK)
        assert report.runs[0].values["object_f1"] == 1
        assert any("from EPSG:4326 to the raster's EPSG:32633" in line for line in report.problems)
    moved = raster(
        tmp_path / "moved.tif",
        regular_grid((96, 96), 16),
        GeoBox((96, 96), Affine(10, 0, 600005, 0, -10, 5300000), "EPSG:32633"),
    )
    with pytest.raises(GridMismatch, match="grid"):
        evaluate_files([moved], ids, QUICK)
    photo = raster(
        tmp_path / "photo.tif",
        regular_grid((96, 96), 16),
        GeoBox((96, 96), Affine.identity(), None),
    )
    with pytest.raises(GridMismatch, match="CRS"):
        evaluate_files([truth], photo, QUICK)


def test_empty_truth_and_empty_prediction_are_said(tmp_path):
    nothing, full = (
        raster(tmp_path / "nothing.tif", np.zeros((96, 96))),
        raster(tmp_path / "full.tif", regular_grid((96, 96), 16)),
    )
    truthless = evaluate_files([full], nothing, QUICK).runs[0]
    assert truthless.values["object_precision"] == 0
    assert np.isnan(truthless.values["object_recall"])
    assert any("no true object" in note for note in truthless.notes)
    silent = evaluate_files([nothing], full, QUICK).runs[0]
    assert silent.values["object_recall"] == 0
    assert np.isnan(silent.values["object_precision"])
    assert any("no predicted object" in note for note in silent.notes)
    both = evaluate_files([nothing], nothing, QUICK)
    assert np.isnan(both.runs[0].values["object_f1"])
    assert "NaN" not in both.to_json()


def test_nothing_known_at_all(tmp_path):
    full, none = (
        raster(tmp_path / "full.tif", regular_grid((96, 96), 16)),
        raster(tmp_path / "none.tif", np.zeros((96, 96)), dtype=np.uint8),
    )
    report = evaluate_files([full], full, QUICK, extent=none)
    assert np.isnan(report.runs[0].values["object_f1"])
    assert any("no known pixel" in note for note in report.runs[0].notes)
    assert report.runs[0].kinds["prediction"]["ignored"] == 36


def test_an_outline_with_a_spike_has_distances_as_without_it():
    """Repaired it was a polygon and a line together, of which nothing has an outline."""
    spike = shapely.Polygon([(0, 0), (10, 0), (10, 5), (20, 5), (10, 5), (10, 10), (0, 10)])
    shapes = [[spike, shapely.box(30, 0, 40, 10)], [shapely.box(2, 0, 12, 10)]]
    there = np.array([5e5, 5e6])
    sides = [
        geopandas.GeoDataFrame(
            geometry=shapely.transform(np.array(side), lambda xy: xy + there), crs=32633
        )
        for side in (*shapes, [shapely.box(0, 0, 10, 10), shapes[0][1]])
    ]
    odd = score_fields(sides[0], sides[1], step=1.0)
    plain = score_fields(sides[2], sides[1], step=1.0)
    found = odd.scores.distances.iloc[0], plain.scores.distances.iloc[0]
    # one more corner, where the spike was, moves the points a little
    assert found[0].to_dict() == pytest.approx(found[1].to_dict(), rel=0.01)
    assert found[0]["hausdorff_95"] == pytest.approx(2, abs=0.01)
    assert odd.sides[0].geometry.area.tolist() == pytest.approx([100, 100], rel=2e-3)
    assert "1 invalid polygons were repaired" in odd.problems[0]


def test_bad_polygons_are_repaired_dropped_and_counted_on_a_grid_too(tmp_path):
    bow = shapely.Polygon(
        [(600000, 5300000), (600320, 5299680), (600320, 5300000), (600000, 5299680)]
    )
    shapes = [
        bow,
        shapely.Point(600000, 5300000),
        shapely.box(600100, 5299700, 600400, 5299990),
        shapely.box(600500, 5299700, 600800, 5299990),
    ]
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32633").to_file(
        tmp_path / "truth.geojson", driver="GeoJSON"
    )
    ids = raster(tmp_path / "ids.tif", regular_grid((96, 96), 16))
    report = evaluate_files([ids], tmp_path / "truth.geojson", QUICK)
    for expected in (
        "1 invalid polygons were repaired",
        "1 rows without an area",
        "1 pairs of polygons overlap; the later one stands",
    ):
        assert any(expected in line for line in report.problems), report.problems
    tiny = geopandas.GeoDataFrame(
        geometry=[shapely.box(600001, 5299991, 600003, 5299993), shapes[3]], crs="EPSG:32633"
    )
    tiny.to_file(tmp_path / "tiny.gpkg")
    assert any(
        "1 of 2 polygons hold no pixel centre" in line
        for line in evaluate_files([ids], tmp_path / "tiny.gpkg", QUICK).problems
    )


def test_a_truth_in_degrees_needs_no_warning_of_another_library(tmp_path, recwarn):
    """Ratios of areas are the same in degrees: nothing is said about them."""
    grid = GeoBox((96, 96), Affine(1e-4, 0, -90.0, 0, -1e-4, 42.0), "EPSG:4326")
    ids = raster(tmp_path / "ids.tif", regular_grid((96, 96), 48), grid)
    edges = [-90.0, -90.0 + 48e-4, -90.0 + 96e-4]
    boxes = [
        shapely.box(west, south - 48e-4, east, south)
        for west, east in itertools.pairwise(edges)
        for south in (42.0, 42.0 - 48e-4)
    ]
    geopandas.GeoDataFrame(geometry=boxes, crs="EPSG:4326").to_file(tmp_path / "four.gpkg")
    report = evaluate_files([tmp_path / "four.gpkg"], ids, QUICK)
    assert report.runs[0].values["object_f1"] == 1
    assert "| outline distance in m (lower is better)" in report.to_markdown()
    assert not [str(one.message) for one in recwarn if "geographic" in str(one.message)]


def test_values_that_are_no_ids_are_refused(tmp_path):
    scores = raster(
        tmp_path / "scores.tif", np.random.default_rng(0).random((96, 96)), dtype=np.float32
    )
    ids = raster(tmp_path / "ids.tif", regular_grid((96, 96), 16))
    with pytest.raises(BadInput, match="object ids"):
        evaluate_files([scores], ids, QUICK)


def test_ids_with_gaps_and_in_any_order_are_the_same_map(tmp_path):
    ids = regular_grid((96, 96), 16)
    other = np.random.default_rng(1).permutation(10_000)[ids] + 1
    one, two = raster(tmp_path / "one.tif", ids), raster(tmp_path / "two.tif", other)
    assert evaluate_files([two], one, QUICK).runs[0].values["panoptic_quality"] == 1


def test_what_became_of_each_object_is_drawn_where_it_lies(tmp_path):
    """Truth: four squares.  The map: the first as it is, the next two as one, the fourth not; one
    more where nothing is.
    """
    truth, said = np.zeros((2, 40, 60), np.int32)
    truth[2:12, 2:12], truth[2:12, 20:30], truth[2:12, 30:40], truth[20:30, 2:12] = 1, 2, 3, 4
    said[2:12, 2:12], said[2:15, 20:40], said[20:30, 40:50] = 9, 7, 5
    grid = GeoBox((40, 60), GRID.transform, GRID.crs)
    paths = [raster(tmp_path / f"{n}.tif", ids, grid) for n, ids in enumerate((truth, said))]
    (found,) = compare_files([paths[1]], paths[0], QUICK).outcomes
    kinds = {
        "truth": {1: "matched", 2: "merged", 3: "merged", 4: "missed"},
        "prediction": {9: "matched", 7: "merger", 5: "false"},
    }
    for side, names, ids in (
        ("truth", TRUTH_KINDS, truth),
        ("prediction", PREDICTION_KINDS, said),
    ):
        wanted = np.zeros(ids.shape, int)
        for key, kind in kinds[side].items():
            wanted[ids == key] = 1 + names.index(kind)
        assert (getattr(found, side).kinds == wanted).all()
        assert (getattr(found, side).ids == ids).all()


def test_a_picture_of_a_large_map_is_every_nth_pixel_of_it(tmp_path, monkeypatch):
    """Of rasters read in blocks, and of polygons that are burnt onto the small grid alone."""
    from selion.evaluation import outcomes

    monkeypatch.setattr(outcomes, "BLOCK", 40)
    ids = regular_grid((96, 96), 13).astype(np.int64)
    source = open_side(raster(tmp_path / "a.tif", ids), GRID, "truth")
    polygons = open_side(squares(tmp_path / "b.gpkg", step=130), GRID, "truth")
    table = overlap_table(ids, ids)
    found = outcomes.picture_outcomes("a", source, polygons, table, longest=14)  # every 7th
    assert (found.truth.ids == ids[::7, ::7]).all()
    assert (found.prediction.ids == polygons.read(whole(GRID)).ids[::7, ::7]).all()
    assert found.truth.ids.shape == (14, 14)


def test_the_page_shows_it_for_all_kinds_of_sides(tmp_path):
    squares(tmp_path / "truth.gpkg", keep=lambda k: k < 12)
    squares(tmp_path / "map.gpkg")
    raster(tmp_path / "map.tif", regular_grid((96, 96), 16))
    for said in ("map.gpkg", "map.tif"):
        out = tmp_path / said.replace(".", "-")
        given = ["--pred", str(tmp_path / said), "--truth", str(tmp_path / "truth.gpkg")]
        done = CliRunner().invoke(evaluate_command, [*given, "-o", str(out)])
        assert done.exit_code == 0, done.output
        html = (out / "report.html").read_text()
        assert "Right and wrong: map" in html
        assert html.count("data:image/jpeg") == 2


def test_outlines_are_measured_some_matches_at_a_time(monkeypatch):
    """A square beside itself, k m further east: half its outline lies k m off at most."""
    west = np.arange(50) * 500.0
    off = np.arange(50) / 10.0
    truth = geopandas.GeoSeries(shapely.box(west, 0.0, west + 100, 100.0), crs=32633)
    said = geopandas.GeoSeries(shapely.box(west + off, 0.0, west + off + 100, 100.0), crs=32633)
    table = vectors.overlap_of(truth, said, None)
    whole = vectors.outline_distances(truth, said, table, 5.0)
    assert whole["hausdorff_95"].to_numpy() == pytest.approx(off)
    points, measured = [], vectors._point_distances

    def counted(one, other, step):
        found = measured(one, other, step)
        points.append(len(found))
        return found

    monkeypatch.setattr(vectors, "_point_distances", counted)
    monkeypatch.setattr(vectors, "MATCHES", 7)
    pd.testing.assert_frame_equal(vectors.outline_distances(truth, said, table, 5.0), whole)
    assert len(points) == 2 * 8
    assert max(points) <= 7 * 81
    elsewhere = said.translate(1e6)
    nothing = vectors.overlap_of(truth, elsewhere, None)
    empty = vectors.outline_distances(truth, elsewhere, nothing, 5.0)
    assert list(empty.columns) == list(whole.columns)
    assert len(empty) == 0


def test_an_image_is_no_truth_and_maps_of_elsewhere_are_refused(tmp_path):
    with store.create_cog(tmp_path / "image.tif", GRID, tuple("rgb"), np.uint8) as sink:
        sink.write(whole(GRID), np.zeros((3, 96, 96), np.uint8))
    with pytest.raises(BadInput, match="has 3 bands"):
        open_side(tmp_path / "image.tif", GRID, "truth")
    far = squares(tmp_path / "far.gpkg", crs="EPSG:32632")
    with pytest.raises(GridMismatch, match="lie beside the raster: their box is"):
        open_side(far, GRID, "prediction")
    assert len(open_side(squares(tmp_path / "near.gpkg"), GRID, "prediction").frame) == 36


def test_distances_between_outlines_are_those_of_the_ground_on_both_sides_of_the_antimeridian():
    """Squares of 200 m, each found 20 m further east: half its outline lies 20 m off at most.

    The middle of longitudes -180 and 180 is 0, and metres at 34 degrees from its antipode are not
    those of the ground: 68 m for 21, and 7 for 11.
    """
    east = 819_000.0 + 500 * np.arange(8)  # in zone 60, 180 degrees is among them
    truth = shapely.box(east, 8_120_000.0, east + 200, 8_120_200.0)
    said = shapely.box(east + 20, 8_120_000.0, east + 220, 8_120_200.0)
    sides = [geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32760") for shapes in (truth, said)]
    middles = sides[0].to_crs("OGC:CRS84").representative_point().x
    assert middles.max() > 179
    assert middles.min() < -179
    found = score_fields(*sides, step=5.0).scores
    assert len(found.distances) == 8
    assert found.distances["hausdorff_95"].to_numpy() == pytest.approx(20, rel=0.01)
    degrees = [side[::7].to_crs("OGC:CRS84") for side in sides]
    there = score_fields(*degrees, step=5.0).scores.distances["hausdorff_95"]
    assert there.to_numpy() == pytest.approx(20, rel=0.01)
