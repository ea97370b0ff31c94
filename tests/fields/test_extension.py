"""The schema of our own columns: in the language of Vecorel, in each table, and as a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapely import box

from selion.fields import COLUMNS, Origin, extension_schema, write_fields
from selion.fields.extension import DESCRIBED, EXTENSION, VERSION, custom_schema

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = ROOT.parent / "shared" / "tools" / "fiboa" / "schemas" / "sdl.json"
TABLE = geopandas.GeoDataFrame(
    {
        "id": ["u28tpe50sb9d"],
        "confidence": np.float32([0.9]),
        "consistency": np.float32([np.nan]),
        "owner": ["Ada"],
        "metrics:area": np.float32([100.0]),
    },
    geometry=[box(11.0, 48.0, 11.001, 48.001)],
    crs=4326,
)


def test_each_of_our_columns_is_described_with_its_bounds():
    for column in COLUMNS:
        assert (column.name in DESCRIBED) != (column.name in EXTENSION)
        if column.name in EXTENSION:
            said = EXTENSION[column.name]
            assert said["type"] == column.kind
            assert said.get("maximum") == column.upto


def test_the_published_file_is_what_tables_carry():
    path = ROOT / "docs" / "fiboa" / "selion-fields" / VERSION / "schema.json"
    assert json.loads(path.read_text("utf-8")) == extension_schema(), (
        "write it again: python docs/reference.py"
    )


@pytest.mark.skipif(not LANGUAGE.exists(), reason="Vecorel's schema language is not here")
def test_it_is_in_the_language_of_vecorel():
    jsonschema = pytest.importorskip("jsonschema")
    language = json.loads(LANGUAGE.read_text("utf-8"))
    # its own pattern for "$schema" and the like matches nothing
    jsonschema.validate(extension_schema(), language)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**extension_schema(), "properties": {"a": {"type": "text"}}}, language)


def test_a_table_says_what_its_columns_are(tmp_path):
    path = write_fields(TABLE, tmp_path / "fields.parquet", Origin("valley"))
    said = json.loads(pq.read_schema(path).metadata[b"collection"])
    custom = said["schemas:custom"]
    assert custom["properties"] == {
        "confidence": EXTENSION["confidence"],
        "consistency": EXTENSION["consistency"],
        "owner": {"type": "string"},
    }
    assert custom["collection"] == dict.fromkeys(custom["properties"], False)
    assert re.fullmatch(r"https://vecorel\.org/sdl/v[\d.]+/schema\.json", custom["$schema"])


def test_types_have_the_words_of_vecorel():
    kinds = {
        "a": (pa.bool_(), "boolean"),
        "b": (pa.int16(), "int16"),
        "c": (pa.float64(), "double"),
        "d": (pa.timestamp("ms", tz="UTC"), "date-time"),
        "e": (pa.dictionary(pa.int32(), pa.string()), "string"),
        "f": (pa.timestamp("ns"), None),
        "g": (pa.list_(pa.int8()), None),
        "confidence": (pa.float64(), "double"),  # not as ours: nothing of ours is said of it
        "metrics:area": (pa.float32(), None),
    }
    found = custom_schema([pa.field(name, kind) for name, (kind, _) in kinds.items()])
    wanted = {name: {"type": word} for name, (_, word) in kinds.items() if word}
    assert found["properties"] == wanted
    assert custom_schema([pa.field("id", pa.string())]) == {}
