"""Neighbours share one edge everywhere: no overlap and no gap, in degrees, over tiles and zones.

Told by shapely's own check of coverages, and by cutting each pair of neighbours with each other.
"""

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from country_partitions import CRS84, countryside, write_partitions, write_table
from fields_scenes import soft
from selion import fields
from selion.classes import FTW3
from selion.country import MergeOptions, PublishOptions, merge_maps, noding, publish_maps
from selion.fields import find_instances
from selion.raster import Raster
from selion.simulation.landscape import simulate

CENTIMETRE = 1e-7


def outlines(folder):
    return np.concatenate(
        [
            geopandas.read_parquet(path).geometry.to_numpy()
            for path in sorted(folder.rglob("*.parquet"))
            if "index" not in path.parts
        ]
    )


def overlaps(shapes):
    """Return the areas that pairs of neighbours have in common, those above nothing."""
    i, j = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    i, j = i[i < j], j[i < j]
    shared = shapely.area(shapely.intersection(shapes[i], shapes[j]))
    return shared[shared > 0]


def check(shapes):
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.is_empty(shapely.coverage_invalid_edges(shapes)).all()
    assert len(overlaps(shapes)) == 0


@pytest.fixture(scope="module")
def land():
    return countryside(3, 190)


def test_a_map_of_two_zones_is_a_coverage_without_gaps(land, tmp_path):
    check(land.geometry.to_numpy())
    jobs = write_partitions(land, tmp_path, edge=1000.0, halo=150.0)
    for path in jobs.paths:
        check(geopandas.read_parquet(path).geometry.to_numpy())
    made = merge_maps(jobs.paths, tmp_path / "map")
    assert made.facts["joined"] > 30
    found = outlines(made.folder)
    check(found)
    assert shapely.coverage_is_valid(found, gap_width=CENTIMETRE)
    # the sum of all fields is what they cover together, by another road than pairs
    whole = shapely.area(shapely.union_all(land.geometry.to_numpy()))
    assert shapely.area(found).sum() == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("least", [0, 500])
def test_jobs_that_disagree_leave_a_coverage(land, tmp_path, seed, least):
    def moved(cell, geometry):  # each job draws its outlines a metre or three elsewhere
        turn = seed + sum(map(ord, cell.name))
        return geometry.translate(3e-5 * np.sin(turn), 2e-5 * np.cos(turn))

    jobs = write_partitions(land, tmp_path, edge=1000.0, halo=150.0, moved=moved)
    made = merge_maps(jobs.paths, tmp_path / "map", MergeOptions(min_area=least))
    assert made.facts["joined"] > 30
    check(outlines(made.folder))


@pytest.mark.parametrize("shift", [(0, 0), (4e-5, 1e-5), (-7e-6, 3e-6)])
def test_tables_that_nobody_planned_leave_a_coverage(land, tmp_path, shift):
    west, south, east, north = land.total_bounds
    middle = (west + east) / 2
    one = land[land.intersects(shapely.box(west, south, middle, north))]
    two = land[land.intersects(shapely.box(middle, south, east, north))]
    two = two.set_geometry(two.geometry.translate(*shift), crs=two.crs)
    paths = [write_table(half, tmp_path / f"{k}.parquet") for k, half in enumerate((one, two))]
    check(outlines(merge_maps(paths, tmp_path / "map").folder))


def test_an_edge_goes_through_the_points_of_its_neighbours():
    wide = shapely.box(0, 0, 2, 1)
    left = shapely.box(0, 1, 1 + 1e-10, 2)
    right = shapely.Polygon([(1 + 1e-10, 1), (2, 1), (2, 2), (1 + 1e-10, 2)])
    holed = shapely.Polygon(shapely.box(5, 0, 9, 4).exterior, [shapely.box(6, 1, 8, 3).exterior])
    inner = shapely.Polygon([(6, 1), (7, 1), (8, 1), (8, 3), (6, 3)])
    both = shapely.MultiPolygon([shapely.box(0, -1, 2, 0), shapely.box(6, 4, 7, 5)])
    shapes = np.array([wide, left, right, holed, inner, both], object)
    assert not shapely.coverage_is_valid(shapes)
    found = noding.noded(shapes, shapes)
    assert shapely.coverage_is_valid(found)
    assert [1 + 1e-10, 1.0] in shapely.get_coordinates(found[0]).tolist()
    assert [7.0, 1.0] in shapely.get_coordinates(found[3]).tolist()
    assert [6.0, 4.0] in shapely.get_coordinates(found[3]).tolist()
    assert shapely.get_type_id(found).tolist() == shapely.get_type_id(shapes).tolist()
    assert shapely.area(found) == pytest.approx(shapely.area(shapes))
    assert noding.noded(found, found).tolist() == found.tolist(), "nothing is left to do"


def test_points_that_were_there_stay_and_new_ones_lie_on_the_grid():
    outline = shapely.Polygon([(0.12345678912345, 0), (1, 0), (1, 1), (0.12345678912345, 1)])
    piece = shapely.intersection(outline, shapely.box(0, 0, 0.777777777777777, 2))
    known = noding.kept_points(piece, [outline])
    assert len(known) == 3, "the first point is the last"
    (found,) = noding.settled(np.array([piece], object), [known])
    assert shapely.bounds(found).tolist() == [0.12345678912345, 0, 0.777777778, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edge", "least"), [(700, 2_500), pytest.param(1900, 20_000, marks=pytest.mark.long)]
)
def test_thousands_of_fields_of_probabilities_are_a_coverage(tmp_path, edge, least):
    place = (285_000.0 - 5 * edge, 5_547_000.0)  # two zones meet in its middle
    scene = simulate(5, (edge, edge), style="smallholder", crs="EPSG:32633", origin=place)
    scores = Raster(soft(scene.instances.ids), scene.instances.grid, FTW3.names)
    frame = fields.to_fields(find_instances(scores, FTW3, "watershed"))
    assert len(frame) >= least
    path = fields.write_fields(frame, tmp_path / "fields.parquet")
    written = geopandas.read_parquet(path)
    assert written.crs.equals("EPSG:4326") or written.crs.equals(CRS84)
    check(written.geometry.to_numpy())
    land = written.assign(**{"class": "field"})
    jobs = write_partitions(land, tmp_path, edge=4000.0, halo=500.0)
    assert {cell.crs for cell in jobs.cells} == {"EPSG:32632", "EPSG:32633"}
    made = publish_maps(jobs.paths, tmp_path / "map", PublishOptions(2025))
    assert made.rows >= least
    assert made.facts["joined"] > least / 40
    assert pq.read_metadata(tmp_path / "map" / "index" / "vector.parquet").num_rows == 2
    found = outlines(made.folder)
    check(found)
    assert shapely.coverage_is_valid(found, gap_width=CENTIMETRE)
