"""Which files of published fields are read for an area, as the index of an edition says."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from published_tables import write_index
from selion.errors import UnreadableFile
from selion.imagery import read_area
from selion.world.editions import wanted_edition
from selion.world.fields import _files

BOXES = {"01": (-180.0, -20.0, -174.0, 10.0), "60": (174.0, -20.0, -179.9, 10.0)}
"""Of two zones on both sides of the antimeridian; fields of the western one reach over it."""
BOX = ("xmin", "ymin", "xmax", "ymax")
FIJI = {"60": (179.0, -18.0, 179.5, -17.0), "01": (-177.0, -18.0, -176.5, -17.0)}


def read_of(folder, box):
    edition = wanted_edition(f"ftw-2e:fields@{folder}", "fields")
    return [place.name for place in _files(edition, read_area(box), 2024)]


@pytest.mark.parametrize("layout", ["one column of boxes", "a column a side"])
def test_files_are_found_on_both_sides_of_the_antimeridian(tmp_path, layout):
    """A box from 174 to -179.9 held nothing, and a column of boxes was a traceback."""
    index = tmp_path / "index" / "vector.parquet"
    write_index(index, [(2024, zone, "h", "s", 1, 1, box) for zone, box in BOXES.items()])
    if layout == "a column a side":
        table = pq.read_table(index)
        sides = {name: table["bbox"].combine_chunks().field(name) for name in BOX}
        pq.write_table(pa.table({"year": table["year"], "zone": table["zone"], **sides}), index)
    for zone, box in FIJI.items():
        assert read_of(tmp_path, box) == [f"utm{zone}.parquet"]
    assert read_of(tmp_path, (-179.95, -18.0, -179.92, -17.0)) == ["utm01.parquet", "utm60.parquet"]
    assert read_of(tmp_path, (11.0, 47.0, 11.1, 47.1)) == []


def test_an_index_without_boxes_is_one_sentence(tmp_path):
    index = tmp_path / "index" / "vector.parquet"
    index.parent.mkdir()
    pq.write_table(pa.table({"year": [2024], "zone": ["01"]}), index)
    with pytest.raises(UnreadableFile, match=r"^[^\n]*is no index of ftw-2e:fields[^\n]*xmin"):
        read_of(tmp_path, FIJI["01"])
