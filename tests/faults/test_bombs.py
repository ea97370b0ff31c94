"""Small files that come to more than a memory holds: refused in a sentence before they are read."""

import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuzz_pool import Refused, run_verb
from option_inputs import table_of
from resident import growth_below
from selion import country, fields, store
from selion.country import lookup, pyramid
from selion.country.job_tables import open_job_tables
from selion.errors import BadInput, UnreadableFile
from selion.store import parquet_pages
from selion.store.table_room import check_held

MB = 10**6


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """One field, and what a table of fields says of itself."""
    return pq.read_table(table_of(tmp_path_factory.mktemp("table"), "x", 12.0)).slice(0, 1)


def written(table, path, geometry, **options):
    """Write a table whose geometry is another column."""
    columns = {name: table[name] for name in table.column_names} | {"geometry": geometry}
    about = {name: text for name, text in table.schema.metadata.items() if b"ARROW" not in name}
    made = pa.table(columns)
    with pq.ParquetWriter(
        path, made.schema, compression="zstd", store_schema=False, write_statistics=["id"],
        dictionary_pagesize_limit=2**30, **options,
    ) as writer:  # fmt: skip
        writer.add_key_value_metadata(
            {name.decode(): text.decode() for name, text in about.items()}
        )
        writer.write_table(made, row_group_size=2**30)
    return path


def page(row, path):
    """One outline of 30 MB of zeros."""
    return written(row, path, pa.array([bytes(30 * MB)], pa.binary()), use_dictionary=False)


def dictionary(row, path):
    """An outline of 4 MB, which 100,000 rows name: 400 GB."""
    rows = row.take(np.zeros(100_000, np.int64))
    long = pa.array([row["geometry"][0].as_py() + bytes(4 * MB)], pa.binary())
    named = pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), long)
    return written(rows, path, named)


def prefixes(row, path):
    """An outline of 3 MB, with which 100 rows begin, and more do in a few bytes each."""
    rows = row.take(np.zeros(100, np.int64))
    long = pa.array([row["geometry"][0].as_py() + bytes(3 * MB)], pa.binary())
    alike = {"use_dictionary": False, "column_encoding": {"geometry": "DELTA_BYTE_ARRAY"}}
    return written(rows, path, pa.chunked_array([long] * 100), **alike)


def run(row, path):
    """A row that repeats 200,000 times."""
    rows = row.take(np.zeros(200_000, np.int64))
    return written(rows, path, rows["geometry"])


@pytest.fixture(scope="module")
def bombs(row, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    return {
        make.__name__: make(row, folder / f"{make.__name__}.parquet")
        for make in (page, dictionary, prefixes, run)
    }


@pytest.mark.parametrize("kind", ["page", "dictionary", "prefixes", "run"])
def test_a_parquet_file_that_comes_to_far_more_than_it_has(kind, bombs, tmp_path, monkeypatch):
    """The first ended Python itself where memory was short, the second took 400 GB."""
    monkeypatch.setattr(parquet_pages, "LEAST", 20 * MB)
    path = bombs[kind]
    assert path.stat().st_size < 200_000
    with growth_below(100_000):
        for words in (
            ["query", "12,50,12.1,50.1", str(path), "-o", str(tmp_path / "q.parquet")],
            ["tiles", str(path), "-o", str(tmp_path / "q.pmtiles")],
            ["merge", str(path), "-o", str(tmp_path / "m")],
            ["stats", str(path), "--districts", str(path), "-o", str(tmp_path / "s.csv")],
            ["review", "status", str(path)],
        ):
            with pytest.raises(Refused, match=r"bytes for the [\d,]+ rows of row group 0.* GB"):
                run_verb(words)
    assert [one.name for one in tmp_path.iterdir() if not one.name.startswith(".")] == []


@pytest.mark.parametrize("packed", ["NONE", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_pages_come_to_is_counted_as_arrow_counts_it(packed, version, tmp_path, monkeypatch):
    """Texts of a dictionary by the longest one, and numbers; with and without a dictionary."""
    monkeypatch.setattr(parquet_pages, "LEAST", 1000)
    count, path = 5000, tmp_path / "x.parquet"
    texts = ["a" * (k % 7 + 1) for k in range(count)]
    table = pa.table({"t": texts, "u": texts, "n": np.arange(count, dtype=np.float64)})
    pq.write_table(
        table, path, compression=packed, data_page_version=version,
        use_dictionary=["t"], data_page_size=2000, row_group_size=count,
    )  # fmt: skip
    ((_, seen),) = parquet_pages.row_group_sizes(path, pq.read_metadata(path))
    least = count * (7 + 4) + sum(map(len, texts)) + 4 * count + 8 * count
    assert least <= seen <= least + 4.2 * count  # pages of texts hold their lengths too


@pytest.mark.parametrize("packed", ["NONE", "ZSTD"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_texts_that_begin_alike_are_counted_as_arrow_makes_them(packed, version, tmp_path):
    """The writer of parquet-java packs texts so; some of them are missing here."""
    chance, path = np.random.default_rng(0), tmp_path / "x.parquet"
    texts = ["a" * k if k % 11 else None for k in chance.integers(0, 300, 5000)]
    lists = [[one, "b"] for one in texts]
    table = pa.table({"t": texts, "l": lists})
    pq.write_table(
        table, path, compression=packed, data_page_version=version, use_dictionary=False,
        column_encoding={"t": "DELTA_BYTE_ARRAY", "l.list.element": "DELTA_BYTE_ARRAY"},
        data_page_size=20_000, row_group_size=5000,
    )  # fmt: skip
    ((_, seen),) = parquet_pages.row_group_sizes(path, pq.read_metadata(path))
    held = 2 * sum(len(one or "") for one in texts) + 5000 + 15_000 * 4
    assert held <= seen <= held + 4 * path.stat().st_size + 400_000
    assert pq.read_table(path).equals(table)


def test_what_is_packed_well_is_read_where_memory_holds_it(row, tmp_path, monkeypatch):
    """A regular grid comes to fifty times its bytes, which is no bomb."""
    rows = row.take(np.zeros(50_000, np.int64))
    path = written(rows, tmp_path / "x.parquet", rows["geometry"])
    ((held, comes_to),) = parquet_pages.row_group_sizes(path, pq.read_metadata(path))
    monkeypatch.setattr(parquet_pages, "LEAST", 1 * MB)
    monkeypatch.setattr(parquet_pages, "RATIO", comes_to // held + 1)
    assert len(store.read_polygons(path)) == 50_000
    monkeypatch.setattr("selion.cores.SMALL", 0)
    monkeypatch.setattr("selion.cores.usable_memory", lambda: comes_to - 1)
    with pytest.raises(BadInput, match=r"packs a row group \d+ times, and reading it takes"):
        store.read_polygons(path)


def test_an_honest_table_of_one_class_and_many_rows_is_read(row, tmp_path):
    """Columns that hold one value a million times are packed well, and are no bombs."""
    count = 50_000
    rows = row.take(np.zeros(count, np.int64))
    chance = np.random.default_rng(0).integers(0, 255, (count, 93), np.uint8)
    shapes = pa.array([one.tobytes() for one in chance], pa.binary())
    path = written(rows, tmp_path / "x.parquet", shapes)
    assert store.parquet.parquet_metadata(path).num_rows == count


def test_a_field_of_more_corners_than_any_has_is_named(row, tmp_path, monkeypatch):
    """Ten million took 2.4 GB in query, tiles and merge, and more than 2 in change and review."""
    path = tmp_path / "x.parquet"
    pq.write_table(row, path)
    monkeypatch.setattr("selion.store.table_room.MOST_CORNERS", 3)
    name = row["id"][0].as_py()
    said = rf"the field {name} of some 5 corners, and at most 3 are taken"
    maps = lookup.open_maps(path)
    for read in (
        lambda: lookup.query(maps, (12, 50, 12.1, 50.1)),
        lambda: pyramid.write_tiles(maps, tmp_path / "x.pmtiles"),
        lambda: list(open_job_tables([path])[0].batches()),
        lambda: fields.read_fields(path),
        lambda: country.compare_maps(path, path, tmp_path / "change"),
    ):
        with pytest.raises(BadInput, match=said):
            read()
    monkeypatch.setattr("selion.store.table_room.MOST_CORNERS", 5)
    check_held(row, "x")
    assert len(fields.read_fields(path)) == 1


def test_a_district_has_as_many_corners_as_it_likes(row, tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    pq.write_table(row, path)
    monkeypatch.setattr("selion.store.table_room.MOST_CORNERS", 3)
    assert len(country.read_units(path, "id").names) == 1


KML = (
    '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><Polygon><outerBoundaryIs>'
    "<LinearRing><coordinates>12,50 12.01,50 12.01,50.01 12,50</coordinates></LinearRing>"
    "</outerBoundaryIs></Polygon></Placemark>{}</Document></kml>"
)


def test_an_archive_of_a_table_that_grows_without_measure(tmp_path):
    """A KMZ of 2 MB with 2 GB of blanks took all of them, twice."""
    for name, blanks in (("sound", 10**6), ("bomb", 20 * MB)):
        with zipfile.ZipFile(tmp_path / f"{name}.kmz", "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("doc.kml", KML.format(" " * blanks))
    assert len(store.read_polygons(tmp_path / "sound.kmz")) == 1
    with pytest.raises(UnreadableFile, match=r"bytes of doc\.kml become 20,000,"):
        store.read_polygons(tmp_path / "bomb.kmz")
    packed = tmp_path / "S2B_MSIL2A_20240601T101559_N0510_R065_T33UUS_20240601T120000.SAFE.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{packed.stem}/MTD_MSIL2A.xml", " " * 20 * MB)
    with pytest.raises(UnreadableFile, match=r"MTD_MSIL2A\.xml.* become 20,000,000"):
        store.open_raster(packed)


@pytest.mark.parametrize("outlines", [pa.nulls(2), pa.array([1.0, 2.0]), pa.array([1, 2])])
def test_a_column_of_outlines_that_are_none_is_left_to_who_decodes_them(outlines):
    check_held(pa.table({"id": ["a", "b"], "geometry": outlines}), "x")


@pytest.mark.parametrize(
    ("raw", "kind"), [(pa.binary(), pa.string()), (pa.large_binary(), pa.large_string())]
)
def test_a_text_that_is_none_is_a_sentence(raw, kind):
    texts = pa.array([b"maize", b"ma\x8fze"], raw).view(kind)
    row = pa.table({"class": texts, "geometry": pa.array([b"", b""])})
    with pytest.raises(UnreadableFile, match="x holds a text in column 'class' that is none"):
        check_held(row, "x")


def varint(number):
    """A whole number as Thrift's compact protocol has it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def announce(path, told, held):
    """Let the foot of a table say that it holds other rows, in all of its places."""
    data = path.read_bytes()
    size = int.from_bytes(data[-8:-4], "little")
    foot, was = data[-8 - size : -8], b"\x16" + varint(2 * held)  # a field of 64 bits, zigzag
    assert foot.count(was) > 10
    foot = foot.replace(was, b"\x16" + varint(2 * told))
    path.write_bytes(data[: -8 - size] + foot + len(foot).to_bytes(4, "little") + b"PAR1")


@pytest.mark.parametrize("told", [10**9, 3])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_table_that_announces_other_rows_than_it_holds_is_damaged(version, told, row, tmp_path):
    """A billion announced, 54,321 held: stats, query, tiles and merge made a map of these."""
    held = 54_321
    rows = row.take(np.zeros(held, np.int64))
    some = pa.array([None if k % 3 else "x" for k in range(held)])
    many = pa.array([["a"] * (k % 3) for k in range(held)], pa.list_(pa.string()))
    rows = rows.append_column("some", some).append_column("many", many)
    path = tmp_path / "x.parquet"
    pq.write_table(rows, path, data_page_version=version)
    assert store.parquet.parquet_metadata(path).num_rows == held
    announce(path, told, held)
    with pytest.raises(UnreadableFile, match=f"announces {told:,} rows .* and holds 54,321"):
        lookup.open_maps(path)
    out = tmp_path / "q.parquet"
    with pytest.raises(Refused):
        run_verb(["query", "12,50,13,51", str(path), "-o", str(out)])
    assert not out.exists()
