"""Hostile inputs, by format: a few of each reader here, ten thousand with ``make test-fuzz``.

What the long runs found stays below, each as the smallest input that did it.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from safetensors.numpy import save_file

from option_inputs import table_of
from selion import errors, fields, store
from selion.closerange.journal import LINES, PhotoJournal, stamp_of
from selion.closerange.measure import Measured
from selion.country.job_tables import finished_jobs, read_job
from selion.data.photos import PhotoFile
from selion.data.values import read_array
from selion.errors import BadInput, SelionError, UnreadableFile
from selion.grid import whole
from selion.imagery.items import BrokenItem, scene_of
from selion.imagery.providers import find_provider
from selion.models.card import read_card
from selion.models.checkpoint import Checkpoint
from selion.models.language.gguf import GgufFile
from selion.raster import image_gsd
from selion.store.markup import parsed_xml
from selion.store.vectors import decoded, readable_shapes
from selion.training.checkpoint import load_state
from selion.training.reading import read_recipe
from stac_items import item

QUICK = ("array", "journal", "zarr", "stac")
POINT = shapely.to_wkb(shapely.Point(0, 0))
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
ROOT = Path(__file__).parents[2]


PLANTED = """
import ctypes, os, sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from fuzz_pool import MEMORY, Reader, fuzz
from selion.errors import BadInput

def seeds(folder):
    (folder / "a").mkdir()
    (folder / "a" / "x.bin").write_bytes(b"sound" * 9)

def act(place, out):
    if (place / "x.bin").read_bytes() == b"sound" * 9:
        return "sound"
    if what == "beside":
        (out.parent / "beside").write_text("")
    elif what == "elsewhere":
        Path(sys.argv[1], "elsewhere").write_text("")
    return {
        "wrong": lambda: "not sound", "refused": lambda: refuse("so"), "silent": lambda: refuse(""),
        "traceback": lambda: [][0], "crash": lambda: ctypes.string_at(0),
        "exit": lambda: os._exit(0), "hang": lambda: time.sleep(60),
        "memory": lambda: len(bytearray(2 * MEMORY)),
    }.get(what, lambda: "sound")()

def refuse(text):
    raise BadInput(text)

def beside(place, out):
    return act(place, out)

for what in ("right", "wrong", "refused", "silent", "traceback", "crash", "exit", "hang", "memory",
             "beside", "elsewhere"):
    reader = Reader(what, seeds, ("*.bin",), (act,), checked=True)
    counts = fuzz(reader, range(2), 0, Path(sys.argv[1], what), seconds=0.5)
    print(what, *(f"{kind} {many}" for kind, many in counts.kinds.items()))
"""
SEEN = {
    "right": "answer", "silent": "no sentence", "exit": "crash", "beside": "outside",
    "elsewhere": "outside",
}  # fmt: skip
"""What a fault is counted as, where that is not its name."""
linux = pytest.mark.skipif(sys.platform != "linux", reason="children are bounded as Linux can")


def forked(*words):
    """Run what forks in a process of its own."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@linux
def test_a_few_hostile_inputs_of_some_readers(tmp_path):
    told = tmp_path / "rows.json"
    forked("bench/fuzz.py", "--reader", ",".join(QUICK), "--count", "12", "--json", str(told))
    rows = json.loads(told.read_text())
    assert [row["reader"] for row in rows] == list(QUICK)
    for row in rows:
        assert row["answer"] + row["refused"] == 12, row
        assert row["refused"] or row["reader"] == "journal", "nothing was hostile"


@linux
def test_each_fault_is_seen(tmp_path):
    """Readers that do one wrong thing each."""
    for line in forked("-c", PLANTED, str(tmp_path)).splitlines():
        what, _, counted = line.partition(" ")
        assert counted == f"{SEEN.get(what, what)} 2"


def changed(path, act):
    table = pq.read_table(path)
    pq.write_table(act(table), path)
    return path


def with_geometry(table, wkb):
    import pyarrow as pa

    at = table.schema.get_field_index("geometry")
    return table.set_column(at, "geometry", pa.array([wkb] * len(table), pa.binary()))


@pytest.mark.parametrize(
    "head", [b"\1\7\0\0\0", b"\1\6\0\0\0", b"\1\7\0\0\x20", b"\1\xef\3\0\0", b"\0\0\0\0\7"]
)
def test_geometries_nested_without_end_are_refused(head, tmp_path):
    """GEOS reads one within the other until its stack, and with it the process, ends."""
    one = b"\0\0\0\1" if head[0] == 0 else b"\1\0\0\0"
    srid = b"\0\0\0\0" if head[4] == 0x20 else b""
    wkb = (head + srid + one) * 20_000
    with pytest.raises(UnreadableFile, match="nested"):
        decoded(np.array([wkb], object), "x")
    behind_a_point = (head + srid + one[::-1].replace(b"\1", b"\2")[::-1] + POINT) * 20_000
    assert (
        readable_shapes(np.array([wkb, behind_a_point, POINT], object)).tolist()[:2] == [None] * 2
    )
    if head[4] == 7:
        path = changed(table_of(tmp_path, "x", 12.0), lambda table: with_geometry(table, wkb))
        for read in (store.read_polygons, fields.read_fields):
            with pytest.raises(UnreadableFile, match="nested"):
                read(path)


@pytest.mark.parametrize("made", [{}, {"byte_order": 0}, {"include_srid": True}, {"flavor": "iso"}])
@pytest.mark.parametrize("high", [None, 7.0])
def test_honest_multipolygons_are_read(made, high):
    """These metres hold bytes that look like heads of geometries, five for each polygon."""
    boxes = [shapely.box(x, y, x + 64, y + 4) for x in range(500033, 500033 + 6400, 128)
             for y in range(5371 * 1024 + 16, 5381 * 1024, 512)]  # fmt: skip
    held = shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(1, 1), (2, 1), (2, 2)]])
    line = shapely.LineString([(0, 0), (1, 1)])
    many = shapely.GeometryCollection(
        [shapely.MultiPolygon(boxes), held, shapely.Point(1, 2), line]
    )
    many = shapely.set_srid(many if high is None else shapely.force_3d(many, high), 4326)
    wkb = shapely.to_wkb(many, **made)
    assert decoded(np.array([wkb], object), "x")[0].equals(many)
    assert readable_shapes(np.array([wkb], object))[0].equals(many)


def test_two_columns_of_a_name_are_refused(tmp_path):
    def twice(table):
        return table.append_column("geometry", table["geometry"])

    path = changed(table_of(tmp_path, "x", 12.0), twice)
    with pytest.raises(BadInput, match="2 columns called 'geometry'"):
        store.read_polygons(path)


def test_a_changed_line_of_measured_photographs_is_measured_again(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"x")
    file = PhotoFile(photo, "a.jpg", "a")
    journal = PhotoJournal(tmp_path, {})
    journal.begin()
    journal.add(stamp_of(file), Measured({"cover": 0.25}, []))
    path = tmp_path / LINES

    def found():
        again = PhotoJournal(tmp_path, {})
        again.begin()
        return again.find(file)

    assert found().row == {"cover": 0.25}
    path.write_text(path.read_text().replace("0.25", "0.75"))
    assert found() is None
    path.write_text("[" * 100_000 + "\n" + '{"sum": 1}\n[]\n3\n')
    assert found() is None


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "x = " + "[" * 200 + "]" * 200,
        "a." * 300 + "a = 1",
        "[" + "a." * 200_000 + "a]",
        "[" + "'a b' . " * 20_000 + "a]",
        '[x."a \\" b".' + '"a \\" b".' * 20_000 + "a]",
    ],
)
def test_tables_in_tables_in_tables_are_no_recipe_and_no_card(text, tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(text)
    for read in (read_recipe, read_card):
        with pytest.raises(SelionError):
            read(path)


@pytest.mark.parametrize("names", [["../../elsewhere"], ["/etc"], [".."]])
def test_a_plan_names_jobs_of_its_own(names, tmp_path):
    (tmp_path / "jobs.json").write_text(json.dumps([{"name": name} for name in names]))
    with pytest.raises(UnreadableFile, match="lie elsewhere"):
        finished_jobs(tmp_path)


@pytest.mark.parametrize("far", [1e308, -91.5])
def test_a_job_that_answers_for_land_beyond_the_globe_is_no_job(far, tmp_path):
    """GEOS called its outline valid, and then could not reckon with it."""
    ring = [[12, 50], [12.1, 50], [12.1, far], [12, 50]]
    there = {"type": "Polygon", "coordinates": [[[12, 50], [12.1, 50], [12, 50.1], [12, 50]]]}
    core = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": there, "properties": {"core": core}}
    (tmp_path / "area.geojson").write_text(json.dumps(feature))
    with pytest.raises(UnreadableFile, match="beyond the globe"):
        read_job(tmp_path / "area.geojson")


def test_arrays_that_announce_too_much_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    data = (tmp_path / "x.npy").read_bytes()
    for old, new in ((b"(3,), }  ", b"(3**9,)}"), (b"(3,), }            ", b"(999999999999999,)}"),
                     (b"{'descr'", b"((((((((")):  # fmt: skip
        (tmp_path / "x.npy").write_bytes(data.replace(old, new))
        with pytest.raises(BadInput, match="cannot be read as an array"):
            read_array(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"GGUF",
        b"GGUF\3\0\0\0" + b"\xff" * 16,
        b"GGUF\3\0\0\0" + bytes(8) + b"\1" + bytes(7) + b"\xff" * 8,
    ],
)
def test_damaged_gguf_files_are_refused(body, tmp_path):
    (tmp_path / "x.gguf").write_bytes(body)
    with pytest.raises(UnreadableFile):
        GgufFile(tmp_path / "x.gguf")


def test_a_cut_zip_is_no_checkpoint(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(
        b"PK\3\4"
        + bytes(40)
        + b"PK\6\6"
        + bytes(60)
        + b"PK\6\7"
        + bytes(16)
        + b"PK\5\6"
        + b"\xff" * 18
    )
    with pytest.raises(SelionError):
        Checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\nb\r\nc", "a b c"),
        ("\x1b[2Jgone \x07", "?[2Jgone ?"),
        ("\u202efdp.exe", "?fdp.exe"),
        ("x" * 5000 + " ends", "x" * 300 + "..." + "x" * 100 + " ends"),
    ],
)
def test_a_message_is_one_line_whatever_it_quotes(said, shown):
    assert str(BadInput(said)) == shown
    assert len(str(BadInput("word " * 5000))) <= errors.LONGEST


@pytest.mark.parametrize("far", [1e300, 1e9, 10**400])
def test_footprints_beyond_the_globe_are_refused_at_once(far):
    """They were cut at each turn around the globe, which never came to an end."""
    ring = [[12, 50], [far, 50], [13, 51], [12, 50]]
    made = item() | {"geometry": {"type": "Polygon", "coordinates": [ring]}}
    with pytest.raises(BrokenItem, match="footprint"):
        scene_of(made, find_provider("earth-search"))


@pytest.mark.parametrize("metres", ["1e308", "4.2e7", "0", "-1", "nan", "inf", "x"])
def test_a_pixel_longer_than_the_earth_is_no_pixel(metres):
    source = SimpleNamespace(tags={"image_gsd": metres})
    with pytest.raises(BadInput, match="image_gsd"):
        image_gsd(source)


@pytest.mark.parametrize("encoding", ["x-none", "utf-7", "idna", "cp037"])
def test_xml_in_an_encoding_that_nobody_knows_is_refused(encoding):
    with pytest.raises(UnreadableFile, match="is no XML"):
        parsed_xml(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode(), "x.xml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-16-le"])
def test_entities_are_refused_in_whatever_encoding(encoding):
    """Where the bytes of each letter are two, nothing looked like a declaration."""
    mark = {"utf-16-be": b"\xfe\xff", "utf-16-le": b"\xff\xfe"}.get(encoding, b"")
    text = '<!DOCTYPE a [<!ENTITY e "xx">]><a>&e;</a>'
    with pytest.raises(UnreadableFile, match="defines XML entities"):
        parsed_xml(mark + text.encode(encoding), "x.xml")
    assert parsed_xml(mark + "<a>é</a>".encode(encoding), "x.xml").text == "é"


def cube_saying(path, changes, value=0):
    """Write a cube, and say something else of it."""
    grid = GeoBox((8, 8), Affine(10, 0, 5e5, 0, -10, 5.5e6), "EPSG:32633")
    with store.create_cube(path, grid, ("a",), np.uint8, chunk=8, shard=8) as sink:
        sink.write(whole(grid), np.full((1, 8, 8), value, np.uint8))
    said = json.loads((path / "zarr.json").read_text())
    said["attributes"] |= changes.pop("attributes", {})
    (path / "zarr.json").write_text(json.dumps(said | changes))
    return path


@pytest.mark.parametrize("code", [{"x": "EPSG:32633"}, "EPSG:32633EPSG:32633", 5, [1], True])
def test_a_cube_in_a_system_that_is_none(code, tmp_path):
    path = cube_saying(tmp_path / "x.zarr", {"attributes": {"proj:code": code, "proj:wkt2": code}})
    with pytest.raises(UnreadableFile, match="which is none"):
        store.open_raster(path)


@pytest.mark.parametrize(
    "shape", [[1, 10**400, 8], [1, 8, 2**62], [10**12, 8, 8], [1, 2**31 + 1, 8]]
)
def test_a_cube_that_announces_too_much(shape, tmp_path):
    """The names of a million million bands were made, one after the other."""
    path = cube_saying(tmp_path / "x.zarr", {"shape": shape, "attributes": {"bands": None}})
    with pytest.raises(UnreadableFile, match=r"more than any image|cannot be opened as a Zarr"):
        store.open_raster(path)


def test_a_chunk_that_memory_cannot_hold(tmp_path):
    edge = 2**30
    chunks = {"name": "regular", "configuration": {"chunk_shape": [1, edge, edge]}}
    path = cube_saying(
        tmp_path / "x.zarr", {"shape": [1, edge, edge], "chunk_grid": chunks, "codecs": [BYTES]}
    )
    with pytest.raises(BadInput, match=r"and reading one takes about 1152921504\.6 GB of memory"):
        store.open_raster(path)


def test_a_shard_of_empty_chunks_is_a_sentence(tmp_path):
    path = cube_saying(tmp_path / "x.zarr", {})
    text = (path / "zarr.json").read_text()
    said = json.loads(text)
    said["codecs"][0]["configuration"]["chunk_shape"] = [1, 0, 8]
    (path / "zarr.json").write_text(json.dumps(said))
    with pytest.raises(UnreadableFile, match="cannot be opened as a Zarr"):
        store.open_raster(path)


def test_a_system_whose_name_is_no_text_is_a_sentence(tmp_path):
    """The citation of a GeoTIFF's system in Latin-1; as old programs write it."""
    path = tmp_path / "x.tif"
    wkt = 'LOCAL_CS["Grundst\u00fcck",UNIT["metre",1]]'
    place = Affine(10, 0, 0, 0, -10, 0)
    shape = {"width": 8, "height": 8, "count": 1, "dtype": "uint8", "transform": place}
    with rasterio.open(path, "w", driver="GTiff", crs=wkt, **shape) as made:
        made.write(np.zeros((1, 8, 8), np.uint8))
    found = path.read_bytes()
    assert "\u00fc".encode() in found
    path.write_bytes(found.replace("\u00fc".encode(), b"\xfc\xfc"))
    with pytest.raises(UnreadableFile, match="cannot be opened as a raster"):
        store.open_raster(path)


def read_whole(path):
    source = store.open_raster(path)
    return source.read(whole(source.grid))


def test_a_name_in_a_vrt_longer_than_any_file_is_a_sentence(tmp_path):
    path = tmp_path / "x.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="1">{"a" * 5000}</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(UnreadableFile):
        read_whole(path)


def test_a_product_zipped_for_a_program_of_the_future_is_a_sentence(tmp_path):
    path = tmp_path / "S2A_MSIL2A_20230803T101031_N0509_R022_T32TQT.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x.SAFE/MTD_MSIL2A.xml", "<a/>")
    found = bytearray(path.read_bytes())
    found[found.index(b"PK\x01\x02") + 6] = 227  # the version that is needed to read it, in tenths
    path.write_bytes(found)
    with pytest.raises(UnreadableFile, match="cannot be read as an archive"):
        store.open_raster(path)


@pytest.mark.parametrize(
    "inner", [{"codecs": [{"name": "crc32c"}, BYTES]}, {"chunk_shape": [1, 8, 0]}]
)
def test_a_cube_whose_shards_are_none_is_a_sentence(inner, tmp_path):
    path = cube_saying(tmp_path / "x.zarr", {}, value=7)
    said = json.loads((path / "zarr.json").read_text())
    said["codecs"][0]["configuration"] |= inner
    (path / "zarr.json").write_text(json.dumps(said))
    with pytest.raises(UnreadableFile):
        read_whole(path)


@pytest.mark.parametrize("said", ["1e9", "[]", "null", "[" * 100_000])
def test_a_checkpoint_that_says_no_facts_of_itself_is_a_sentence(said, tmp_path):
    path = tmp_path / "state.safetensors"
    save_file({"a": np.ones(2, np.float32)}, path, {"selion": said})
    with pytest.raises(UnreadableFile, match="start the run in another folder"):
        load_state(path)


def test_who_reads_json_knows_that_it_may_be_nested_without_end():
    """Python's reader ends with its stack, which is no ValueError."""
    import ast

    wrong = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text("utf-8")
        for block in ast.walk(ast.parse(text)) if "json.loads" in text else ():
            if not isinstance(block, ast.Try):
                continue
            reads = [
                call
                for part in block.body
                for call in ast.walk(part)
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "json.loads"
            ]
            caught = " ".join(ast.unparse(one.type) for one in block.handlers if one.type)
            plain = any("dumps" in ast.unparse(call) for call in reads)
            known = ("RecursionError", "RuntimeError", "Exception", "DAMAGED", "FAULTS")
            if (
                reads
                and not plain
                and "ValueError" in caught
                and not any(k in caught for k in known)
            ):
                wrong.append(f"{path.name}:{block.lineno}")
    assert wrong == []


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (("cells", "u2", "bbox"), [0, 0, "1", 1]),
        (("cells", "u2", "bbox"), [0, 0, 1e300, 1]),
        (("cells", "u2", "bbox"), [0, 0, 1]),
        (("cells", "u2", "rows"), None),
        (("cells", "u2", "area_m2"), float("nan")),
        (("cells", "u2", "bytes"), 10**400),
        (("cells", "../u2"), {"rows": 1, "bbox": [0, 0, 1, 1], "bytes": 1, "area_m2": 1}),
        (("cells",), []),
        (("facts",), 3),
    ],
)
def test_an_index_of_a_map_whose_numbers_are_none(at, what, tmp_path):
    """Tables of numbers that were texts, and a partition that lay elsewhere."""
    from selion.country.partitions import KIND, open_maps

    cell = {"rows": 1, "bbox": [12.0, 50.0, 12.1, 50.1], "bytes": 9, "area_m2": 1.0}
    table = {"kind": KIND, "level": 2, "rows": 1, "cells": {"u2": cell}, "facts": {}}
    (tmp_path / "_selion.json").write_text(json.dumps(table))
    assert open_maps(tmp_path).rows == 1
    holder = table
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = what
    (tmp_path / "_selion.json").write_text(json.dumps(table))
    with pytest.raises(UnreadableFile, match="merge again"):
        open_maps(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"scenes": "4"}, {"bytes_per_block": {}}, {"spread": []}, {"place": [12, 50, 1]},
     {"km2_per_second": 0}, {"drawing": -1}, {"cores": None}, {"model": 3}, {"scenes": 10**400}],
)  # fmt: skip
def test_a_probe_whose_numbers_are_none(changed, tmp_path):
    from option_inputs import PROBE
    from selion.country.probe import read_probe, write_probe

    path = write_probe(PROBE, tmp_path / "probe.json")
    assert read_probe(path) == PROBE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(UnreadableFile, match="not a probe of selion"):
        read_probe(path)


def test_a_table_of_photographs_with_more_columns_than_its_head(tmp_path):
    from selion.closerange import TrialOptions, read_trial

    (tmp_path / "crops.csv").write_text("file,cover\na.jpg,0.5,0.6\n")
    with pytest.raises(UnreadableFile, match="more columns"):
        read_trial(tmp_path, TrialOptions(pattern="{plot}"))


@pytest.mark.parametrize(
    ("corner", "pixel", "said"),
    [((5e5, 5.5e6), 10.0, "in degrees"), ((12.0, 50.0), 1e-14, "geotransform is wrong"),
     ((float("nan"), 50.0), 1e-4, "in degrees")],
)  # fmt: skip
def test_an_image_that_lies_nowhere_is_a_sentence(corner, pixel, said, tmp_path):
    """Metres that are called degrees were a NaN made an integer."""
    from selion.grid import check_place

    transform = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    with pytest.raises(errors.GridMismatch, match=said):
        check_place(GeoBox((64, 64), transform, "EPSG:4326"))


def test_a_recipe_of_more_windows_than_anybody_draws_is_a_sentence():
    """A dry run told of 2e20 windows, with exit code 0."""
    from selion.training.recipe import Crops

    with pytest.raises(BadInput, match="at most 1,000,000,000"):
        Crops("random", per_epoch=2 * 10**20)
