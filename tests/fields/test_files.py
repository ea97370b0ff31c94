"""Files: fiboa GeoParquet that the official validator passes, the other formats, and whole or not
at all.
"""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from command_line import run_here
from fields_scenes import blobs, instances
from option_inputs import INPUTS
from option_walk import Inputs
from selion.errors import (
    BadInput,
    GridMismatch,
    OutputExists,
    OutputFailed,
    UnknownName,
    UnreadableFile,
)
from selion.fields import (
    FORMATS,
    FieldOptions,
    Origin,
    check_fiboa,
    find_instances,
    read_fields,
    read_origin,
    to_fields,
    write_fields,
)
from selion.grid import photo_grid
from selion.labels import Instances

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
VALIDATOR = Path(__file__).resolve().parents[3] / "shared" / "tools" / "fiboa" / "fiboa-validate"
ORIGIN = Origin("valley", datetime(2024, 8, 1, 10, 30, tzinfo=UTC), "watershed, depth 0.1")
EMPTY = instances(np.zeros((4, 4)))


@pytest.fixture(scope="module")
def frame():
    import pandas as pd

    ids = blobs(80, 10, 4, 0.3)
    names = np.unique(ids[ids > 0])
    table = pd.DataFrame({"id": names, "class": "field", "score": np.linspace(0.4, 1, len(names))})
    return to_fields(Instances(ids, instances(ids).grid, table))


def changed(path, out, column=None, values=None, **metadata):
    """Rewrite a file with one column or some metadata changed."""
    table = pq.read_table(path)
    meta = dict(table.schema.metadata)
    for key, edit in metadata.items():
        found = json.loads(meta[key.encode()])
        edit(found)
        meta[key.encode()] = json.dumps(found).encode()
    if column:
        at = table.column_names.index(column)
        table = table.set_column(at, table.schema.field(column).with_type(values.type), values)
    pq.write_table(table.replace_schema_metadata(meta), out)
    return out


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_comes_back(frame, ending, tmp_path):
    path = write_fields(frame, tmp_path / f"fields{ending}", ORIGIN)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    assert path.stat().st_size > 1000
    if ending == ".pmtiles":
        assert path.read_bytes()[:7] == b"PMTiles"
        return
    back = read_fields(path)
    assert sorted(back["id"]) == sorted(frame["id"])
    mine, theirs = frame.set_index("id").sort_index(), back.set_index("id").sort_index()
    assert theirs["metrics:area"].to_numpy() == pytest.approx(mine["metrics:area"].to_numpy())
    assert theirs["confidence"].to_numpy() == pytest.approx(mine["confidence"].to_numpy(), rel=1e-6)
    gap = theirs.to_crs(mine.crs).symmetric_difference(mine, align=False).area
    assert gap.max() < 5  # GeoJSON has seven decimals


@pytest.mark.parametrize("ending", [".parquet", ".gpkg", ".fgb", ".geojson"])
def test_no_fields_make_a_proper_file(ending, tmp_path):
    path = write_fields(to_fields(EMPTY), tmp_path / f"none{ending}", ORIGIN)
    back = read_fields(path)
    assert len(back) == 0
    if ending == ".parquet":
        assert check_fiboa(path) == []


def test_the_same_fields_make_the_same_file(frame, tmp_path):
    for ending in (".parquet", ".gpkg", ".fgb", ".geojson"):
        one = write_fields(frame, tmp_path / f"one{ending}", ORIGIN).read_bytes()
        other = write_fields(
            frame.sample(frac=1, random_state=1) if ending == ".parquet" else frame,
            tmp_path / f"other{ending}",
            ORIGIN,
        )
        assert one == other.read_bytes(), ending


def test_geoparquet_is_what_fiboa_asks_for(frame, tmp_path):
    path = write_fields(frame, tmp_path / "fields.parquet", ORIGIN)
    assert check_fiboa(path) == []
    schema = pq.read_schema(path)
    geo, collection = (json.loads(schema.metadata[key]) for key in (b"geo", b"collection"))
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    assert geo["columns"]["geometry"]["crs"]["id"] == {"authority": "OGC", "code": "CRS84"}
    assert collection["determination:datetime"] == "2024-08-01T10:30:00Z"
    assert collection["determination:method"] == "auto-imagery"
    assert not schema.field("id").nullable
    assert schema.field("metrics:area").type == pa.float32()
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert read_origin(path) == ORIGIN
    assert shapely.coverage_is_valid(read_fields(path).geometry.to_numpy())
    keep = read_fields(write_fields(frame, tmp_path / "utm.parquet", crs="keep"))
    assert keep.crs == frame.crs
    assert check_fiboa(tmp_path / "utm.parquet") == []


VALIDATE_ALL = """
import io, json, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
script, *paths = sys.argv[1:]
told = []
for path in paths:
    sys.argv = [script, path]
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            runpy.run_path(script, run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = int(ended.code)
    told.append((code, out.getvalue() + error.getvalue()))
print(json.dumps(told))
"""


@pytest.mark.skipif(
    not VALIDATOR.exists(),
    reason="the official fiboa validator is not here (../shared/tools/fiboa)",
)
@pytest.mark.slow
def test_the_official_validator_agrees(frame, tmp_path):
    good = write_fields(frame, tmp_path / "fields.parquet", ORIGIN)
    done = subprocess.run(
        [VALIDATOR, good], capture_output=True, text=True, check=False, timeout=300
    )
    first = done.returncode, done.stdout + done.stderr
    much = frame.assign(confidence=np.float32(1.5), consistency=np.float32(0.5))
    bad = changed(
        good,
        tmp_path / "bad.parquet",
        "metrics:area",
        pa.array(np.full(len(frame), -1, np.float32)),
    )
    others = (
        write_fields(frame, tmp_path / "utm.parquet", crs="keep"),
        write_fields(to_fields(EMPTY), tmp_path / "none.parquet"),
        write_fields(much, tmp_path / "much.parquet", ORIGIN),
        bad,
    )
    # of its environment, which the first call has made: it starts once for all the others
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    python = Path(os.environ.get("FIBOA_VENV") or Path(home) / "fiboa-validate") / "bin" / "python"
    done = subprocess.run(
        [python, "-c", VALIDATE_ALL, VALIDATOR.with_name("validate.py"), *others],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    *valid, (code, said), (worse, _) = first, *json.loads(done.stdout.splitlines()[-1])
    assert len(valid) == 3
    for ended, words in valid:
        assert ended == 0, words
        assert words.startswith("VALID [] [] []"), "each column has a schema"
    assert code == 1
    assert "confidence" in said
    assert "consistency" not in said
    assert worse == 1


def test_the_checker_finds_each_fault(frame, tmp_path):
    good = write_fields(frame, tmp_path / "fields.parquet", ORIGIN)
    n, bad = len(frame), tmp_path / "bad.parquet"

    def faults(*arguments, **metadata):
        return " ".join(check_fiboa(changed(good, bad, *arguments, **metadata)))

    geometries = pq.read_table(good)["geometry"].to_pylist()
    bow = shapely.to_wkb(shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))
    assert "not greater than 0" in faults("metrics:area", pa.array(np.zeros(n, np.float32)))
    assert "metrics:area is double" in faults("metrics:area", pa.array(np.ones(n)))
    assert "greater than 1" in faults("confidence", pa.array(np.full(n, 1.5, np.float32)))
    assert "more than once" in faults("id", pa.array(["a"] * n))
    assert "are empty" in faults("id", pa.array(["", *map(str, range(n - 1))]))
    assert "not valid" in faults("geometry", pa.array([bow, *geometries[1:]]))
    assert "no polygons" in faults(
        "geometry", pa.array([shapely.to_wkb(shapely.Point(0, 0)), *geometries[1:]])
    )
    assert "cannot be read" in faults("geometry", pa.array([b"\x01\x02", *geometries[1:]]))
    clockwise = shapely.to_wkb(
        shapely.orient_polygons(shapely.from_wkb(geometries[0]), exterior_cw=True)
    )
    assert "counter-clockwise" in faults("geometry", pa.array([clockwise, *geometries[1:]]))
    assert "bounds" in faults("geometry", pa.array([*geometries[1:], geometries[0]]))
    assert "has no schemas" in faults(collection=lambda m: m.pop("schemas"))
    assert "lack https://fiboa.org" in faults(
        collection=lambda m: m["schemas"].update(valley=m["schemas"]["valley"][:1])
    )
    assert "'valleys' has no schemas" in faults(collection=lambda m: m.update(collection="valleys"))
    assert "wanted is one of manual" in faults(
        collection=lambda m: m.update({"determination:method": "auto"})
    )
    assert "must be a column" in faults(collection=lambda m: m.update(id="1"))
    assert "version '0.4'" in faults(geo=lambda m: m.update(version="0.4"))
    assert "encoding" in faults(geo=lambda m: m["columns"]["geometry"].update(encoding="point"))
    assert "Geometry types" in faults(
        geo=lambda m: m["columns"]["geometry"].update(geometry_types=["Point"])
    )
    pq.write_table(pq.read_table(good).drop_columns(["bbox", "id"]), bad)
    assert "promises a bbox" in " ".join(check_fiboa(bad))
    assert "Column id is missing" in " ".join(check_fiboa(bad))


@pytest.mark.parametrize("ending", [".parquet", ".gpkg", ".fgb", ".geojson"])
def test_a_bbox_in_degrees_cuts_out(frame, ending, tmp_path):
    path = write_fields(
        frame, tmp_path / f"f{ending}", crs="keep" if ending == ".parquet" else None
    )
    lonlat = frame.to_crs("OGC:CRS84")
    x0, y0, x1, y1 = lonlat.total_bounds
    box = (x0, y0, x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0))
    found = set(read_fields(path, bbox=box)["id"])
    sure = set(lonlat["id"][lonlat.within(shapely.box(*box))])
    assert sure <= found
    assert 0 < len(found) < 0.4 * len(frame)


@pytest.mark.parametrize("boxes", ["geometry_bbox", None])
def test_a_bbox_cuts_out_of_parquet_as_gdal_writes_it(frame, boxes, tmp_path):
    """GDAL 3.9 and QGIS call the boxes geometry_bbox, others write none."""
    whole = pq.read_table(write_fields(frame, tmp_path / "f.parquet"))
    metadata = dict(whole.schema.metadata)
    geo = json.loads(metadata[b"geo"])
    about = geo["columns"]["geometry"]
    sides = about.pop("covering")["bbox"]
    table = whole.drop_columns(["bbox"])
    if boxes:
        about["covering"] = {"bbox": {side: [boxes, side] for side in sides}}
        table = table.append_column(boxes, whole["bbox"])
    metadata[b"geo"] = json.dumps(geo).encode()
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "gdal.parquet")
    x0, y0, x1, y1 = frame.to_crs("OGC:CRS84").total_bounds
    box = (x0, y0, x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0))
    found = read_fields(tmp_path / "gdal.parquet", bbox=box)
    assert list(found["id"]) == list(read_fields(tmp_path / "f.parquet", bbox=box)["id"])
    assert boxes not in found, "a column of places is not one of fields"


def test_a_geopackage_brings_its_style(frame, tmp_path):
    import sqlite3
    from contextlib import closing

    path = write_fields(frame, tmp_path / "f.gpkg")
    with closing(sqlite3.connect(path)) as base:
        (style,) = base.execute(
            "SELECT styleQML FROM layer_styles WHERE f_table_name = 'fields'"
        ).fetchone()
        (column,) = base.execute("SELECT column_name FROM gpkg_geometry_columns").fetchone()
        (named,) = base.execute("SELECT f_geometry_column FROM layer_styles").fetchone()
    assert "outline_color" in style
    assert column == named


def test_photographs_have_no_crs(tmp_path):
    photo = to_fields(
        Instances(np.array([[1, 1, 0, 2]], np.int32), photo_grid((1, 4))), FieldOptions(simplify=0)
    )
    path = write_fields(photo, tmp_path / "photo.parquet")
    back = read_fields(path)
    assert back.crs is None
    assert back["metrics:area"].tolist() == [2, 1]
    assert check_fiboa(path) == []
    with pytest.raises(GridMismatch, match="no CRS"):
        write_fields(photo, tmp_path / "photo.geojson")
    with pytest.raises(GridMismatch, match="no CRS"):
        write_fields(photo, tmp_path / "photo2.parquet", crs="EPSG:4326")


def test_bad_outputs_and_inputs_are_explained(frame, tmp_path):
    with pytest.raises(UnknownName, match=r"did you mean '\.parquet'"):
        write_fields(frame, tmp_path / "f.parket")
    with pytest.raises(UnknownName, match="no ending"):
        write_fields(frame, tmp_path / "fields")
    with pytest.raises(GridMismatch, match="longitude and latitude"):
        write_fields(frame, tmp_path / "f.geojson", crs="EPSG:32632")
    with pytest.raises(BadInput, match="PMTiles cannot be empty"):
        write_fields(to_fields(EMPTY), tmp_path / "f.pmtiles")
    path = write_fields(frame, tmp_path / "f.parquet")
    with pytest.raises(OutputExists):
        write_fields(frame, path)
    write_fields(frame.iloc[:3], path, force=True)
    assert len(read_fields(path)) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["f.parquet"]
    with pytest.raises(UnreadableFile, match="no file"):
        read_fields(tmp_path / "g.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableFile, match="cannot be read as Parquet"):
        read_fields(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UnreadableFile, match="without proper GeoParquet"):
        check_fiboa(path)
    (tmp_path / "f.gpkg").write_text("no")
    with pytest.raises(UnreadableFile, match="cannot be read as fields"):
        read_fields(tmp_path / "f.gpkg")
    with pytest.raises(BadInput, match="auto-operation"):
        Origin(method="guess")


@pytest.mark.parametrize("ending", [".fgb", ".geojson", ".gpkg", ".pmtiles"])
def test_what_gdal_cannot_write_is_one_sentence_and_leaves_nothing(
    frame, ending, tmp_path, monkeypatch
):
    import pyogrio

    def full(_frame, path, **_):
        Path(path).write_bytes(b"half")
        raise pyogrio.errors.FeatureError(f"cannot add to {path}")

    monkeypatch.setattr(pyogrio, "write_dataframe", full)
    path = tmp_path / f"f{ending}"
    with pytest.raises(
        OutputFailed, match=f"was not written .GDAL says: cannot add to {path}"
    ) as caught:
        write_fields(frame, path)
    assert "space left" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_probabilities_become_a_checked_file(tmp_path):
    from fields_scenes import raster, soft
    from selion.classes import FTW3

    found = find_instances(raster(soft(blobs(100, 14, 6, 0.3))), FTW3)
    frame = to_fields(found)
    assert len(frame) == len(found.table) > 20
    assert frame["metrics:area"].sum() == pytest.approx(found.table["area"].sum(), rel=0.01)
    path = write_fields(frame, tmp_path / "f.parquet", ORIGIN)
    assert check_fiboa(path) == []
    assert os.listdir(tmp_path) == ["f.parquet"]  # noqa: PTH208


def test_times_by_field_and_provenance(tmp_path):
    """What differs by field is a column and not said again for the whole file; what it was made
    from travels along.
    """
    import geopandas
    import pandas as pd

    frame = geopandas.GeoDataFrame(
        {
            "id": ["a", "b"],
            "determination:datetime": pd.to_datetime(
                ["2024-05-01T10:00:00Z", "2024-06-01T10:00:00Z"], utc=True
            ),
        },
        geometry=[shapely.box(0, 0, 1e-4, 1e-4), shapely.box(1e-3, 0, 1.1e-3, 1e-4)],
        crs="OGC:CRS84",
    )
    origin = Origin(
        "x",
        datetime(2024, 6, 1, tzinfo=UTC),
        provenance={"scenes": [{"id": "S2A", "baseline": "05.09"}]},
    )
    path = write_fields(frame, tmp_path / "f.parquet", origin)
    collection = json.loads(pq.read_schema(path).metadata[b"collection"])
    assert "determination:datetime" not in collection
    assert Origin.from_dict(collection).provenance == origin.provenance
    back = read_fields(path).set_index("id")["determination:datetime"]
    assert back["b"] == pd.Timestamp("2024-06-01T10:00:00Z")
    assert check_fiboa(path) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"b\xff.parquet", r"b\xff.parquet' is no name in UTF-8"),
        (b"b\xff.gpkg", r"b\xff.gpkg' is no name in UTF-8"),
        (b"d\xff/b.fgb", "is no name in UTF-8"),
        (b"b\nc.gpkg", "line break or a tab"),
        (b"b\tc.fgb", "line break or a tab"),
        (b"b\rc.geojson", "line break or a tab"),
        (b"d\n/c.pmtiles", "line break or a tab"),
    ],
)
def test_names_that_the_writers_cannot_open_are_refused_before_the_run(name, said, tmp_path):
    """The first ended in a traceback after the whole run, the others blamed the disk."""
    inputs = Inputs(tmp_path / "inputs", INPUTS)
    place = tmp_path / "out"
    place.mkdir()
    words = ("fields", inputs["scores"], "-o", os.fsdecode(name))
    done = run_here(*words, cwd=place)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "%" not in done.stderr  # no progress: nothing was begun
    assert list(place.iterdir()) == []


def test_a_line_break_in_the_name_of_a_parquet_file_is_fine(frame, tmp_path):
    path = write_fields(frame, tmp_path / "b\nc.parquet")
    assert len(read_fields(path)) == len(frame)
    assert pq.read_table(path).num_rows == len(frame)


def over_the_antimeridian():
    """Two fields of Fiji as they come from a raster in UTM: 240 m over 180 degrees, 100 m beside.

    The middle of the first lies a pixel west of the antimeridian.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

    x, y = Transformer.from_crs("OGC:CRS84", "EPSG:32701", always_xy=True).transform(180.0, -16.8)
    corner = Affine(10, 0, round(x, -1) - 330, 0, -10, round(y, -1) + 160)
    ids = np.zeros((32, 64), np.int32)
    ids[4:28, 20:44], ids[4:28, 50:60] = 1, 2
    return to_fields(Instances(ids, GeoBox(ids.shape, corner, "EPSG:32701")))


@pytest.mark.parametrize(
    ("ending", "crs"),
    [(".parquet", None), (".geojson", None), (".gpkg", "EPSG:4326"), (".fgb", "EPSG:3857")],
)
def test_a_field_over_the_antimeridian_does_not_go_around_the_globe(ending, crs, tmp_path):
    """GeoParquet had one of 5.8 ha as a ring of 9,291 km2 from -180 to 180 degrees."""
    from pyproj import Geod

    path = write_fields(over_the_antimeridian(), tmp_path / f"fiji{ending}", crs=crs)
    back = read_fields(path).to_crs("OGC:CRS84").explode(ignore_index=True)
    west, _, east, _ = back.bounds.T.to_numpy()
    assert (east - west).max() < 0.003
    assert (180 - np.maximum(np.abs(west), np.abs(east))).max() < 0.004
    ground = [abs(Geod(ellps="WGS84").geometry_area_perimeter(one)[0]) for one in back.geometry]
    sides = sorted(zip(np.sign((west + east).round(6)), ground, strict=True))
    # 24 rows of 10 m, scale 1.00086 here: 11 columns of the first lie east of 180 degrees
    assert [side for side, _ in sides] == [-1, -1, 1]
    parts = np.array([sides[0][1], sides[1][1], sides[2][1]]) / 240 * 1.00086**2
    assert parts == pytest.approx([100, 110, 130], abs=6)
    assert parts[1:].sum() == pytest.approx(240, rel=0.004)
    if ending == ".parquet":
        assert check_fiboa(path) == []


def test_what_ends_at_the_antimeridian_or_goes_around_is_left_alone(tmp_path):
    """A box to 180 degrees, one whose grid runs on to 181, and a map of the world."""
    import geopandas

    shapes = [
        shapely.box(179, 0, 180, 1),
        shapely.box(180.5, 0, 181, 1),
        shapely.box(-180, 2, 180, 3),
    ]
    frame = geopandas.GeoDataFrame({"id": ["a", "b", "c"]}, geometry=shapes, crs="EPSG:4326")
    back = read_fields(write_fields(frame, tmp_path / "three.parquet")).set_index("id")
    assert back.loc["a"].geometry.equals(shapes[0])
    assert back.loc["b"].geometry.equals(shapely.box(-179.5, 0, -179, 1))
    assert back.loc["c"].geometry.equals(shapes[2])
