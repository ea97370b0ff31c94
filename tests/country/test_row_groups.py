"""Row groups of what is written row by row: none is small where the table has rows for others."""

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from selion import fields
from selion.country.cells import hilbert, steps
from selion.country.row_groups import RowGroupWriter


def written(path, total, at_once, size=None):
    """Write numbers in tables of ``at_once`` rows; return the rows of each group."""
    schema = pa.schema([("number", pa.int64())])
    with RowGroupWriter(path, schema, {}, size) as writer:
        for start in range(0, total, at_once):
            writer.add(pa.table({"number": np.arange(start, min(total, start + at_once))}))
    data = pq.read_metadata(path)
    assert pq.read_table(path)["number"].to_pylist() == list(range(total))
    return [data.row_group(k).num_rows for k in range(data.num_row_groups)]


@pytest.mark.parametrize("at_once", [977, 40_000])
@pytest.mark.parametrize(
    ("total", "groups"),
    [(0, 0), (1, 1), (9_999, 1), (20_479, 1), (30_719, 1), (30_720, 3), (33_588, 3)],
)
def test_small_tables_are_shared_out_evenly(tmp_path, total, groups, at_once):
    sizes = written(tmp_path / "a.parquet", total, at_once)
    assert len(sizes) == groups
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("total", [51_200, 60_000, 61_441, 104_000, 131_071])
def test_larger_tables_have_groups_of_like_size(tmp_path, total):
    sizes = written(tmp_path / "a.parquet", total, 1_313)
    assert min(sizes) >= 10_240
    assert max(sizes) <= 12_288


def test_a_size_is_kept_where_one_is_given(tmp_path):
    assert written(tmp_path / "a.parquet", 20_000, 3_000, 8192) == [8192, 8192, 3616]


@pytest.mark.parametrize(("total", "groups"), [(33_588, 1), (50_000, 1), (50_001, 4), (60_000, 5)])
def test_tables_of_a_map_have_one_group_or_like_ones(tmp_path, total, groups):
    k = np.arange(total)
    shapes = shapely.box(10 + k % 300 * 1e-3, 45 + k // 300 * 1e-3, 10.0005 + k % 300 * 1e-3, 45.2)
    names = {"id": k.astype(str), "class": np.full(total, "field")}
    frame = geopandas.GeoDataFrame(names, geometry=shapes, crs="OGC:CRS84")
    fields.write_fields(frame, tmp_path / "a.parquet")
    data = pq.read_metadata(tmp_path / "a.parquet")
    sizes = [data.row_group(k).num_rows for k in range(data.num_row_groups)]
    assert (sum(sizes), len(sizes)) == (total, groups)
    assert max(sizes) - min(sizes) <= 1


def land_of(path, lon, lat, total):
    """Write the squares of a land in the order of the globe's curve; return them by row group."""
    edge = int(np.sqrt(total))
    row, column = np.divmod(np.arange(edge * edge), edge)
    x, y = lon + column * 2e-3, lat + row * 1.4e-3
    order = np.argsort(hilbert(*steps(x, y)), kind="stable")
    sides = {"xmin": x, "ymin": y, "xmax": x + 2.1e-3, "ymax": y + 1.5e-3}
    box = pa.StructArray.from_arrays([pa.array(v[order]) for v in sides.values()], [*sides])
    table = pa.table({"number": pa.array(order), "bbox": box})
    with RowGroupWriter(path, table.schema, {}) as writer:
        for start in range(0, len(table), 7_000):
            writer.add(table.slice(start, 7_000))
    file = pq.ParquetFile(path)
    parts = [file.read_row_group(k) for k in range(file.num_row_groups)]
    place = np.argsort(order)
    return parts, place


@pytest.mark.parametrize(("lon", "lat"), [(10, 46), (75.9, 30.9), (-93, 42), (-0.1, -0.1)])
@pytest.mark.parametrize("total", [33_588, 60_000, 104_000])
def test_row_groups_are_compact_wherever_the_land_lies(tmp_path, lon, lat, total):
    """A group's box is about its share of the land: pieces of the curve alone reached over .68.

    At 10 E 46 N and in the Punjab a validator of others called the order bad for that.
    """
    parts, place = land_of(tmp_path / "a.parquet", lon, lat, total)
    boxes = []
    for part in parts:
        assert 10_240 <= len(part) <= 12_288
        said = part["bbox"].combine_chunks()
        boxes.append(
            [said.field("xmin"), said.field("ymin"), said.field("xmax"), said.field("ymax")]
        )
        rows = place[part["number"].to_numpy()]
        assert (np.diff(rows) > 0).all()  # in a group rows keep the curve's order
    low = np.array([[min(x.to_pylist()) for x in box[:2]] for box in boxes])
    high = np.array([[max(x.to_pylist()) for x in box[2:]] for box in boxes])
    land = np.prod(high.max(0) - low.min(0))
    assert np.prod(high - low, axis=1).max() / land < 1.15 / len(parts)
    numbers = np.concatenate([part["number"].to_numpy() for part in parts])
    assert sorted(numbers.tolist()) == list(range(len(place)))
