"""The law of merging: jobs that are cut from one map give it back, whatever the sizes of fields,
squares and halos, if no field is longer than the halo.
"""

import tempfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from country_partitions import CRS84, write_partitions
from selion.country import merge_maps
from selion.fields.table import geohash
from selion.fields.tidy import measure
from selion.imagery import read_area


def parcels(rng, length, west):
    """Quadrilaterals that meet, some with a notch, none longer than ``length`` metres, on 3 km
    around 50 N; longitude and latitude.
    """
    crs, step = "EPSG:32633", length / 2.2
    there = Transformer.from_crs(CRS84, crs, always_xy=True)
    start = np.array(there.transform(west, 50.0))
    count = int(3000 / step)
    nodes = (
        start
        + (
            np.stack(np.meshgrid(*[np.arange(count + 1)] * 2), axis=-1)
            + rng.uniform(-0.25, 0.25, (count + 1, count + 1, 2))
        )
        * step
    )
    rings = np.stack(
        [nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2
    ).reshape(-1, 4, 2)
    shapes = shapely.polygons(rings[rng.random(len(rings)) < 0.9])
    middle = shapely.get_coordinates(shapely.centroid(shapes))
    notch = shapely.box(
        middle[:, 0] - 0.1 * step, middle[:, 1], middle[:, 0] + 0.1 * step, middle[:, 1] + step
    )
    assert shapely.minimum_bounding_radius(shapes).max() * 2 <= length
    # notched in degrees: in metres, corners on a neighbour's side would leave that side when moved
    shapes, notch = (
        geopandas.GeoSeries(metres, crs=crs).to_crs(CRS84).to_numpy() for metres in (shapes, notch)
    )
    shapes = np.where(rng.random(len(shapes)) < 0.3, shapely.difference(shapes, notch), shapes)
    shapes = shapes[shapely.get_type_id(shapes) == 3]
    flat = geopandas.GeoDataFrame(
        {"class": "field"}, index=range(len(shapes)), geometry=shapes, crs=CRS84
    )
    return flat.assign(
        id=geohash(*shapely.get_coordinates(flat.geometry.representative_point()).T),
        confidence=np.float32(0.9),
    )


# a field that reaches beyond what both jobs were told to look at
@example(seed=615, length=217.0, halo=1.5, edge=1450.09375, west=14.0)
# notches on a side that two fields share
@example(seed=719, length=348.0, halo=1.0, edge=1835.375, west=11.98)
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 999),
    length=st.floats(150, 400),
    halo=st.floats(1.0, 1.6),
    edge=st.floats(1000, 2500),
    west=st.sampled_from([11.98, 14.0]),
)
def test_jobs_cut_from_a_map_give_it_back(seed, length, halo, edge, west):
    rng = np.random.default_rng(seed)
    land = parcels(rng, length, west)
    middle = land.total_bounds.reshape(2, 2).mean(axis=0)
    ring = middle + rng.uniform(0.4, 0.9, (7, 1)) * 0.02 * np.stack(
        [np.cos(turn := np.arange(7) * 2 * np.pi / 7), 0.64 * np.sin(turn)], axis=1
    )
    area = read_area(
        {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}, "country"
    )
    wanted = land[land.intersects(area.geometry)]
    with tempfile.TemporaryDirectory() as folder:
        partitions = write_partitions(
            land, Path(folder), max(edge, 4 * halo * length), halo * length, area=area
        )
        maps = merge_maps(partitions.paths, Path(folder) / "maps")
        found = geopandas.GeoDataFrame(
            geopandas.pd.concat(
                [geopandas.read_parquet(part.path) for part in maps.parts], ignore_index=True
            ),
            crs=CRS84,
        )
    assert len(found) == len(wanted) == found["id"].nunique()
    assert maps.facts["cut"] == maps.facts["scraps"] == 0
    a, b = wanted.geometry.to_numpy(), found.geometry.to_numpy()
    one, other = shapely.STRtree(b).query(shapely.point_on_surface(a), predicate="intersects")
    assert np.array_equal(np.sort(one), np.arange(len(a)))
    assert np.array_equal(np.sort(other), np.arange(len(b)))
    apart = shapely.area(shapely.symmetric_difference(a[one], b[other])) / shapely.area(a[one])
    assert apart.max() < 1e-4
    assert measure(b, CRS84)[0].sum() == pytest.approx(measure(a, CRS84)[0].sum(), rel=1e-6)
