"""Editions by name, and the tiles that an index lists; places are computed here by pyproj."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyproj import Transformer
from shapely import box
from shapely.geometry import mapping

from faulty_store import FaultyStore
from published_server import PublishedServer
from selion.errors import BadInput, FetchFailed, UnknownName, UnreadableFile
from selion.store import RetryPolicy
from selion.store.ranges import forget
from selion.world import EDITIONS, find_edition, find_tiles
from world_tiles import Planted, write_copy

FLAT = np.zeros((2, 64, 64), np.uint8)


def test_a_name_may_come_with_a_copys_address():
    assert find_edition("ftw-2e") is EDITIONS["ftw-2e"]
    for text, address in (
        ("ftw-2e:fields@http://127.0.0.1:9/ftw-2e/", "http://127.0.0.1:9/ftw-2e"),
        ("ftw-1e@s3://bucket/ftw-1e", "s3://bucket/ftw-1e"),
        ("ftw-mosaics@a folder/copy", "a folder/copy"),
        ("ftw-2e@name@host", "name@host"),
    ):
        edition = find_edition(text)
        assert edition.name == text.partition("@")[0]
        assert edition.address == address
        assert edition.licence == EDITIONS[edition.name].licence


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("ftw-2", UnknownName, "did you mean 'ftw-2e'?"),
        ("ftw-2e:field", UnknownName, "did you mean 'ftw-2e:fields'?"),
        ("wheat", UnknownName, "known: cdse-mosaics, ftw-1e"),
        ("ftw-2e@", BadInput, "names no copy"),
    ],
)
def test_what_is_no_edition_is_one_sentence(given, error, said):
    with pytest.raises(error, match=r"^[^\n]*$") as caught:
        find_edition(given)
    assert said in str(caught.value)


def test_keys_of_an_address_stay_out_of_what_is_written():
    edition = find_edition("ftw-2e@https://me:pass@host.org/ftw-2e?sig=key")
    assert edition.about()["address"] == "https://host.org/ftw-2e"
    # what is asked of the server has them, where they belong
    wanted = "https://me:pass@host.org/ftw-2e/index/raster-lite.parquet?sig=key"
    assert edition.place("index", "raster-lite.parquet") == wanted
    assert find_edition("ftw-2e@a folder?").place("a b", "c#d") == "a folder?/a b/c#d"
    assert find_edition("ftw-2e@s3://bucket/a b").place("c d") == "s3://bucket/a b/c d"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Four tiles in two rows of zone 32, one in zone 33, and one on the antimeridian."""
    tiles = [
        Planted("32TQT_0_0", 32632, 700000, 5300000, FLAT),
        Planted("32TQT_1_0", 32632, 700120, 5300000, FLAT),
        Planted("32TQS_0_0", 32632, 700000, 5299880, FLAT),
        Planted("32TQS_1_0", 32632, 700120, 5299880, FLAT),
        Planted("33TTN_0_0", 32633, 253000, 5300000, FLAT),
        Planted("01KAB_0_0", 32701, 180000, 8000000, np.zeros((2, 800, 8000), np.uint8)),
        Planted("32TQT_0_0", 32632, 700000, 5300000, FLAT, year=2021),
    ]
    return write_copy(tmp_path_factory.mktemp("copy"), tiles)


def degrees(epsg, *bounds):
    return Transformer.from_crs(epsg, 4326, always_xy=True).transform_bounds(*bounds)


def keys(*given):
    return [tile.key for tile in find_tiles(*given)]


def test_a_tile_is_found_where_the_index_says(world):
    name = f"ftw-2e@{world}"
    (found,) = find_tiles(name, degrees(32632, 700020, 5299950, 700060, 5299980), 2020)
    assert found.key == "32TQT_0_0"
    assert (found.epsg, found.year) == (32632, 2020)
    assert found.href == str(world / "raster/2020/zone=32/gzd=32T/32TQT_0_0/32TQT_0_0.tif")
    assert keys(name, degrees(32632, 700100, 5299860, 700140, 5299900), 2020) == [
        "32TQS_0_0",
        "32TQS_1_0",
        "32TQT_0_0",
        "32TQT_1_0",
    ]
    assert keys(name, (0.0, 0.0, 1.0, 1.0), 2020) == []


def test_polygons_decide_and_not_their_box(world):
    corners = [degrees(32632, 700000, 5299970, 700030, 5300000)]
    corners.append(degrees(32632, 700240, 5299740, 700270, 5299770))
    both = box(*corners[0]).union(box(*corners[1]))
    assert keys(f"ftw-2e@{world}", mapping(both), 2020) == ["32TQS_1_0", "32TQT_0_0"]
    assert len(keys(f"ftw-2e@{world}", both.bounds, 2020)) == 4


@pytest.mark.parametrize("area", [(179.9, -18.2, -179.9, -18.0), (-179.99, -18.2, -179.9, -18.0)])
def test_over_the_antimeridian(world, area):
    index = pq.read_table(world / "index" / "raster-lite.parquet")
    row = index.filter(np.array(index["tile_key"]) == "01KAB_0_0").to_pylist()[0]
    assert row["xmin"] > row["xmax"]  # as the world's own index has it
    assert keys(f"ftw-2e@{world}", area, 2020) == ["01KAB_0_0"]
    assert keys(f"ftw-2e@{world}", (0.0, -18.2, 1.0, -18.0), 2020) == []


def test_years_that_are_not_there(world):
    with pytest.raises(BadInput, match=r"ftw-2e has no 2016: it has 2017 to 2025\.$"):
        find_tiles(f"ftw-2e@{world}", (0, 0, 1, 1), 2016)
    with pytest.raises(BadInput, match=r"has no 2019: it has 2020, 2021\.$"):
        find_tiles(f"ftw-2e@{world}", (0, 0, 1, 1), 2019)
    with pytest.raises(BadInput, match="holds fields; wanted is one of ftw-2e, ftw-1e"):
        find_tiles(f"ftw-2e:fields@{world}", (0, 0, 1, 1), 2020)


def test_a_copy_without_an_index_is_one_sentence(tmp_path):
    with pytest.raises(UnreadableFile, match=r"^There is no file .*raster-lite\.parquet"):
        find_tiles(f"ftw-2e@{tmp_path}", (0, 0, 1, 1), 2020)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "raster-lite.parquet").write_bytes(b"<html>")
    with pytest.raises(UnreadableFile, match=r"^[^\n]*is no index of ftw-2e[^\n]*$"):
        find_tiles(f"ftw-2e@{tmp_path}", (0, 0, 1, 1), 2020)


INDEX = "/ftw-2e/index/raster-lite.parquet"


def test_the_index_is_got_once_and_again_when_it_changes(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    area = degrees(32632, 700020, 5299950, 700060, 5299980)
    path = tmp_path / INDEX.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes((world / "index" / "raster-lite.parquet").read_bytes())
    with PublishedServer(tmp_path) as server:
        name = f"ftw-2e@{server.url}/ftw-2e"
        server.fault("raster-lite", "503", times=2)
        assert keys(name, area, 2020) == ["32TQT_0_0"]
        sent = server.sent[INDEX]
        assert 0 < sent <= 2 * path.stat().st_size
        assert keys(name, area, 2020) == ["32TQT_0_0"]
        assert server.sent[INDEX] == sent
        pq.write_table(pq.read_table(path).slice(1), path)
        forget(f"{server.url}{INDEX}")
        assert keys(name, area, 2020) == []
    monkeypatch.setattr("selion.store.ranges.RETRY", RetryPolicy(tries=1))
    with pytest.raises(FetchFailed, match=r"^[^\n]*$"):
        find_tiles("ftw-2e@http://127.0.0.1:9/ftw-2e", area, 2020)


def test_an_index_on_s3(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    with FaultyStore() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        from selion.store import ObjectFolder

        folder = ObjectFolder("s3://bucket/listed")
        folder.put(
            "index/raster-lite.parquet", (world / "index" / "raster-lite.parquet").read_bytes()
        )
        store.fault("GET", "raster-lite", "503", 2)
        area = degrees(32632, 700020, 5299950, 700060, 5299980)
        (found,) = find_tiles("ftw-2e@s3://bucket/listed", area, 2020)
        assert found.href == (
            "s3://bucket/listed/raster/2020/zone=32/gzd=32T/32TQT_0_0/32TQT_0_0.tif"
        )
        with pytest.raises(UnreadableFile, match="s3://bucket/other/index"):
            find_tiles("ftw-2e@s3://bucket/other", area, 2020)


def test_the_first_editions_bucket_needs_no_keys(monkeypatch):
    from selion.store.clouds import object_settings

    monkeypatch.delenv("AWS_S3_ENDPOINT", raising=False)
    said = object_settings(EDITIONS["ftw-1e:fields"].place("predictions"))
    assert said == {"region": "us-west-2", "skip_signature": True}
