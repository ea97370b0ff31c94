"""Searching catalogues that answer, that answer oddly, late, wrongly or not at all: pystac-client
against a real HTTP server.
"""

import json
import pickle
import random
import time
from dataclasses import replace
from datetime import UTC, date, datetime

import pystac
import pytest

from selion.errors import BadInput, NoScenes, SearchFailed
from selion.imagery import catalogue
from selion.imagery.area import read_area
from selion.imagery.items import BrokenItem, scene_from_dict, scene_of, scene_to_dict
from selion.imagery.providers import find_provider
from selion.imagery.scene import Season
from selion.imagery.search import baseline_number, choose_items, find_scenes
from selion.store.retry import RetryPolicy
from stac_items import BANDS, item, square
from stac_server import CONFORMANCE, StacServer, items_of

AREA = read_area("12.2,48.2,12.8,48.8", "farm")
MAY = Season("window_a", date(2024, 5, 1), date(2024, 5, 31))
QUICK = RetryPolicy(connect=2, answer=2, tries=4, backoff=0.01, longest=1.2)
DAYS = [item(time=f"2024-05-{day:02}T10:00:31Z", cloud=3.0 * day) for day in range(1, 31, 2)]


@pytest.fixture(scope="module")
def served():
    with StacServer(DAYS) as server:
        yield server


@pytest.fixture
def server(served):
    served.items, served.page, served.overlap = list(DAYS), 100, 0
    served.conformance = list(CONFORMANCE)
    served.heal()
    served.searches.clear()
    served.asked.clear()
    yield served
    served.heal()


def search(server, area=AREA, season=MAY, cloud=75, retry=QUICK, **more):
    return find_scenes(area, season, find_provider(server.url, **more), cloud, retry=retry)


# what is found


def test_scenes_of_a_season(server):
    outside = [
        item(time="2024-04-30T23:59:59Z"),
        item(time="2024-06-01T00:00:01Z"),
        item("33UVP", box=(13.5, 48, 14, 49)),
    ]
    last = [item(time="2024-05-31T23:59:40Z", platform="b")]
    server.items = [*outside, *DAYS, *last]
    found = search(server)
    assert [scene.time.day for scene in found] == [*range(1, 25, 2), 31]
    assert found.tiles == ("33UUP",)
    assert found.refused == found.older == ()
    scene = found[0]
    assert scene.id == "S2A_33UUP_20240501_0_L2A"
    assert scene.time == datetime(2024, 5, 1, 10, 0, 31, tzinfo=UTC)
    assert (scene.tile, scene.cloud, scene.baseline, scene.orbit, scene.platform) == (
        "33UUP",
        3.0,
        "05.10",
        22,
        "sentinel-2a",
    )
    assert set(scene.hrefs) == set(BANDS)
    assert scene.hrefs["nir"] == f"{server.cogs}/S2A_33UUP_20240501_0_L2A/nir.tif"
    assert scene.provider == server.url
    assert scene.properties["earthsearch:boa_offset_applied"] is True
    assert scene.properties["collection"] == "sentinel-2-l2a"
    assert scene.properties["offsets"] == dict.fromkeys(BANDS[:4], -0.1)
    assert scene.properties["scales"] == dict.fromkeys(BANDS[:4], 0.0001)


def test_what_the_server_is_asked(server):
    search(server, collections=["sentinel-2-l2a"])
    (asked,) = server.searches
    assert asked["collections"] == ["sentinel-2-l2a"]
    assert asked["datetime"] == "2024-05-01T00:00:00Z/2024-05-31T23:59:59Z"
    assert asked["query"] == {"eo:cloud_cover": {"lt": 75}}
    assert asked["limit"] == 100
    server.searches.clear()
    search(server, cloud=100)
    assert "query" not in server.searches[0]


@pytest.mark.parametrize(("page", "overlap"), [(100, 0), (4, 0), (4, 2), (1, 0)])
def test_paging_brings_all_once(server, page, overlap):
    server.page, server.overlap = page, overlap
    assert len(search(server, cloud=100)) == len(DAYS)
    if page == 4:
        assert len(server.searches) > 3


def test_the_answer_does_not_depend_on_the_order(server):
    server.items = [
        item(tile, time, number=number)
        for tile in ("33UUP", "33UVP")
        for time, number in ((f"2024-05-{d:02}T10:00:31Z", 0) for d in range(1, 20))
    ]
    first = search(server)
    for seed in range(3):
        random.Random(seed).shuffle(server.items)
        assert search(server).scenes == first.scenes
    assert [(scene.tile, scene.time) for scene in first] == sorted(
        (scene.tile, scene.time) for scene in first
    )


def test_server_that_knows_no_query(server):
    server.conformance = [name for name in CONFORMANCE if "query" not in name]
    found = search(server)
    assert "query" not in server.searches[0]
    assert len(found) == 12
    assert found.cloudy == 3


def test_cloud_limit_is_strict_and_unknown_cloud_stays(server):
    server.items = [
        item(time="2024-05-01T10:00:00Z", cloud=75.0),
        item(time="2024-05-02T10:00:00Z", cloud=74.9),
        item(time="2024-05-03T10:00:00Z"),
    ]
    del server.items[2]["properties"]["eo:cloud_cover"]
    assert [(scene.time.day, scene.cloud) for scene in search(server)] == [(2, 74.9), (3, None)]
    for wrong in (0, -5, 101, float("nan")):
        with pytest.raises(BadInput, match="cloud limit"):
            search(server, cloud=wrong)


def test_footprint_that_only_the_box_touches_is_left_out(server):
    triangle = read_area(
        {"type": "Polygon", "coordinates": [[[12, 48], [13, 48], [12, 49], [12, 48]]]}
    )
    server.items = [
        item(time="2024-05-01T10:00:00Z", box=(12.8, 48.8, 12.9, 48.9)),
        item(time="2024-05-02T10:00:00Z", box=(12.1, 48.1, 12.2, 48.2)),
    ]
    assert [scene.time.day for scene in search(server, triangle)] == [2]


def test_antimeridian(server):
    split = {
        "type": "MultiPolygon",
        "coordinates": [
            square(179, -18, 180, -17)["coordinates"],
            square(-180, -18, -179.5, -17)["coordinates"],
        ],
    }
    jump = {
        "type": "Polygon",
        "coordinates": [[[179.2, -18], [-179.4, -18], [-179.4, -17], [179.2, -17], [179.2, -18]]],
    }
    server.items = [
        item("60KXF", "2024-05-01T22:00:00Z", box=(178.5, -18, 179.4, -17)),
        item("01KAB", "2024-05-02T22:00:00Z", box=(-180, -18, -179.2, -17)),
        {**item("60KYF", "2024-05-03T22:00:00Z"), "geometry": split},
        {**item("60KZF", "2024-05-04T22:00:00Z"), "geometry": jump},
        item("32KXF", "2024-05-05T22:00:00Z", box=(0, -18, 1, -17)),
    ]
    found = search(server, read_area("178.8,-17.8,-179.0,-17.2"))
    assert found.tiles == ("01KAB", "60KXF", "60KYF", "60KZF")
    assert len(server.searches) == 2  # a box on each side
    wrapped = found[3].footprint
    assert wrapped["type"] == "MultiPolygon"  # cut, whatever the catalogue wrote
    assert len(found) == 4  # what both boxes found is there once


def test_country_is_asked_with_few_points(server):
    import numpy as np

    ring = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    reach = 3 + 0.1 * np.sin(300 * ring)
    corners = np.c_[12 + reach * np.cos(ring), 48 + reach * np.sin(ring)]
    country = read_area(
        {"type": "Polygon", "coordinates": [[*corners.tolist(), corners[0].tolist()]]}
    )
    assert len(search(server, country, cloud=100)) == len(DAYS)
    assert len(json.dumps(server.searches[0]["intersects"])) < 20_000


# one pass, several products


def test_newest_processing_of_a_pass(server):
    server.items = [
        item(time="2024-05-01T10:00:31Z", baseline="05.09", number=0),
        item(time="2024-05-01T10:00:32Z", baseline="05.10", number=1),
        item(time="2024-05-01T10:00:31Z", baseline="02.09", number=2),
        item(time="2024-05-06T10:00:31Z", baseline="05.10", number=0, made="2024-05-07T00:00:00Z"),
        item(time="2024-05-06T10:00:31Z", baseline="05.10", number=1, made="2024-08-07T00:00:00Z"),
    ]
    for _ in range(3):
        found = search(server)
        assert [scene.id for scene in found] == [
            "S2A_33UUP_20240501_1_L2A",
            "S2A_33UUP_20240506_1_L2A",
        ]
        assert found.older == (
            "S2A_33UUP_20240501_0_L2A",
            "S2A_33UUP_20240501_2_L2A",
            "S2A_33UUP_20240506_0_L2A",
        )
        server.items.reverse()


def test_time_of_datatake_and_of_granule_are_one_pass(server):
    server.items = [
        item(time="2024-05-01T10:00:31Z", baseline="05.09"),
        item(time="2024-05-01T10:08:59Z", baseline="05.10", number=1),
    ]
    assert [scene.baseline for scene in search(server)] == ["05.10"]


def test_pieces_of_a_pass_both_stay(server):
    north, south = (12, 48.45, 13, 49), (12, 48, 13, 48.5)
    server.items = [
        item(time="2024-05-01T10:00:31Z", box=north, number=0),
        item(time="2024-05-01T10:00:39Z", box=south, number=1),
        item(time="2024-05-01T10:00:31Z", box=north, number=2, baseline="05.00"),
    ]
    found = search(server)
    assert [scene.id.split("_")[3] for scene in found] == ["0", "1"]
    assert found.older == ("S2A_33UUP_20240501_2_L2A",)


def test_two_satellites_and_neighbouring_tiles_are_not_one_pass(server):
    server.items = [
        item(),
        item(platform="c"),
        item("33UVP"),
        item(time="2024-05-01T11:40:31Z", number=1),
    ]
    assert len(search(server)) == 4


def test_preferred_collection_of_earth_search(served, server):
    from dataclasses import replace

    server.items = [
        item(time="2024-05-01T10:00:31Z"),
        item(time="2024-05-01T10:00:31Z", style="c1"),
        item(time="2024-05-06T10:00:31Z"),
        item(time="2024-05-11T10:00:31Z", baseline="05.11"),
        item(time="2024-05-11T10:00:31Z", baseline="05.10", style="c1"),
    ]
    provider = replace(find_provider("earth-search"), url=served.url)
    found = find_scenes(AREA, MAY, provider, retry=QUICK)
    assert [scene.properties["collection"] for scene in found] == [
        "sentinel-2-c1-l2a",
        "sentinel-2-l2a",
        "sentinel-2-l2a",
    ]
    assert server.searches[0]["collections"] == ["sentinel-2-c1-l2a", "sentinel-2-l2a"]
    only = find_scenes(AREA, MAY, provider, retry=QUICK, collections=["sentinel-2-l2a"])
    assert {scene.properties["collection"] for scene in only} == {"sentinel-2-l2a"}


def test_baselines_are_compared_as_numbers():
    assert (
        baseline_number("05.10")
        > baseline_number("05.09")
        > baseline_number("05.00")
        > baseline_number("04.00")
        > baseline_number("02.14")
    )
    assert baseline_number(None) == baseline_number("") == baseline_number("none") == (0, 0)


# what each catalogue calls it


@pytest.mark.parametrize("name", ["earth-search", "planetary-computer", "cdse"])
def test_items_of_the_known_catalogues(name):
    scene = scene_of(item("05QKB", style=name, platform="b"), find_provider(name))
    assert (scene.tile, scene.baseline, scene.orbit, scene.platform, scene.cloud) == (
        "05QKB",
        "05.10",
        22,
        "sentinel-2b",
        5.0,
    )
    assert set(scene.hrefs) == set(BANDS)
    assert scene.properties["offsets"] == (
        {} if name == "planetary-computer" else dict.fromkeys(BANDS[:4], -0.1)
    )
    # The same item without knowing where it is from.
    guessed = scene_of(
        item("05QKB", style=name, platform="b"), find_provider("https://stac.example.org")
    )
    assert (guessed.tile, guessed.hrefs, guessed.baseline, guessed.orbit) == (
        scene.tile,
        scene.hrefs,
        scene.baseline,
        scene.orbit,
    )


def test_bands_are_guessed_by_what_assets_say_of_themselves():
    odd = item()
    names = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}
    odd["assets"] = {
        "overview": {
            "href": "o.tif",
            "eo:bands": [{"common_name": "red"}, {"common_name": "green"}],
        },
        "x-red-20": {
            "href": "r20.tif",
            "gsd": 20,
            "eo:bands": [{"name": "B04", "common_name": "red"}],
        },
        "x-nir08": {"href": "n08.tif", "eo:bands": [{"name": "B8A", "common_name": "nir08"}]},
        **{
            f"x-{band}": {
                "href": f"{band}.tif",
                "gsd": 10,
                "eo:bands": [{"name": name, "common_name": band}],
            }
            for band, name in names.items()
        },
        "x-mask": {"href": "scl.tif", "bands": [{"name": "SCL"}]},
    }
    scene = scene_of(odd, find_provider("https://stac.example.org"))
    assert dict(scene.hrefs) == {**{band: f"{band}.tif" for band in names}, "scl": "scl.tif"}
    new = item()
    new["assets"] = {
        f"a{k}": {"href": f"{band}.tif", "bands": [{"eo:common_name": band}]}
        for k, band in enumerate(names)
    } | {"SCL": {"href": "scl.tif"}}
    assert dict(scene_of(new, find_provider("https://stac.example.org")).hrefs) == dict(scene.hrefs)


@pytest.mark.parametrize(
    ("given", "tile"),
    [
        ({"grid:code": "MGRS-33UUP"}, "33UUP"),
        ({"grid:code": "MGRS-5QKB"}, "05QKB"),
        ({"s2:mgrs_tile": "5QKB"}, "05QKB"),
        (
            {
                "grid:code": None,
                "mgrs:utm_zone": 5,
                "mgrs:latitude_band": "Q",
                "mgrs:grid_square": "KB",
            },
            "05QKB",
        ),
        ({}, "33UUP"),
    ],
)
def test_tiles(given, tile):
    one = item()
    del one["properties"]["grid:code"]
    one["properties"].update(given)
    assert scene_of(one, find_provider("https://stac.example.org")).tile == tile


@pytest.mark.parametrize(
    ("given", "baseline"),
    [
        ("05.09", "05.09"),
        (5.09, "05.09"),
        ("0509", "05.09"),
        ("V02.14", "02.14"),
        (None, "05.10"),
        ("?", "05.10"),
        (5.1, "05.10"),
    ],
)
def test_baseline_texts(given, baseline):
    one = item()
    one["properties"]["s2:processing_baseline"] = given
    assert scene_of(one, find_provider("https://stac.example.org")).baseline == baseline


# broken items


def broken(number, what):
    one = json.loads(json.dumps(item(time=f"2024-05-{number:02}T10:00:31Z", number=number)))
    what(one)
    return one


BREAKS = {
    "no asset for nir": lambda one: one["assets"].pop("nir"),
    "no asset for scl": lambda one: one["assets"]["scl"].pop("href"),
    "no asset for red .there are: none": lambda one: one.pop("assets"),
    "no footprint": lambda one: one.update(geometry=None),
    "footprint cannot be read": lambda one: one.update(
        geometry={"type": "Polygon", "coordinates": [[[1, 2]]]}
    ),
    "has no footprint": lambda one: one.update(
        geometry={"type": "Point", "coordinates": [12.5, 48.5]}
    ),
    "no time": lambda one: one["properties"].update(datetime=None),
    "no time that can be read .'yesterday'": lambda one: one["properties"].update(
        datetime="yesterday"
    ),
    "names no MGRS tile": lambda one: (
        one["properties"].pop("grid:code"),
        one.update(id="product-7"),
    ),
    "no properties": lambda one: one.update(properties=None),
}


@pytest.mark.parametrize("why", BREAKS)
def test_broken_items_say_what_is_missing(why):
    with pytest.raises(BrokenItem, match=why):
        scene_of(broken(7, BREAKS[why]), find_provider("https://stac.example.org"))


def test_broken_items_are_set_aside(server):
    def tame(text):  # the server itself reads dates
        return text not in (
            "no time that can be read .'yesterday'",
            "no properties",
            "footprint cannot be read",
        )

    server.items += [
        broken(k, what) for k, (why, what) in enumerate(BREAKS.items(), 1) if tame(why)
    ]
    found = search(server)
    assert len(found) == 12
    assert len(found.refused) == 7
    assert all(one.id and one.why for one in found.refused)
    assert "it names no MGRS tile" in {one.why for one in found.refused}


def test_wholly_odd_items_do_not_stop_a_search():
    items = [
        {},
        {"id": 7, "properties": {}},
        {"id": "x", "properties": {"datetime": "2024-05-01T00:00:00Z"}, "assets": {"red": None}},
        *DAYS[:2],
    ]
    found = choose_items(items, AREA, MAY, find_provider("https://stac.example.org"), 75)
    assert len(found) == 2
    assert len(found.refused) == 3


# nothing to use


def test_year_without_scenes(server):
    with pytest.raises(NoScenes) as caught:
        search(server, season=Season("window_b", date(2019, 9, 1), date(2019, 10, 1)))
    text = str(caught.value)
    for part in (
        "farm",
        "12.20,48.20,12.80,48.80",
        "window_b 2019-09-01 to 2019-10-01",
        "75 %",
        "nor any cloudier",
        server.url,
    ):
        assert part in text
    with pytest.raises(NoScenes, match="2015"):
        search(server, season=Season("window_a", date(2012, 5, 1), date(2012, 6, 1)))
    with pytest.raises(NoScenes, match="future; take an earlier year"):
        search(server, season=Season("window_a", date(2150, 5, 1), date(2150, 6, 1)))


def test_area_in_the_sea(server):
    with pytest.raises(NoScenes, match="on land"):
        search(server, read_area("-40,30,-39,31", "sea"))


def test_no_scene_below_the_cloud_limit(server):
    with pytest.raises(
        NoScenes, match=r"less than 2 % cloud, but 15 cloudier: raise the limit \(--max-cloud 20\)"
    ):
        search(server, cloud=2)
    assert len(server.searches) == 2  # once more, for the clouds
    server.conformance = [name for name in CONFORMANCE if "query" not in name]
    with pytest.raises(NoScenes, match="but 15 cloudier"):
        search(server, cloud=2)


def test_only_broken_items(server):
    server.items = [broken(3, BREAKS["no asset for nir"])]
    with pytest.raises(NoScenes, match=r"1 are broken|1 is broken"):
        search(server)


# servers


def test_busy_server_is_asked_again_when_it_says(server):
    server.inject("/search", times=2, status=429, retry_after=1)
    began = time.monotonic()
    assert len(search(server)) == 12
    assert time.monotonic() - began >= 2
    assert server.asked["/search"] == 3


def test_retry_after_is_bounded_and_may_be_nonsense(server):
    began = time.monotonic()
    for said in (86400, "tomorrow", "0.5"):
        server.inject("/search", times=1, status=429, retry_after=said)
        assert len(search(server)) == 12
    assert time.monotonic() - began < 600  # a day was said


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_faults_that_pass(server, status):
    server.inject("/search", times=2, status=status)
    server.inject("/", times=1, status=status)
    assert len(search(server)) == 12


def test_fault_on_a_later_page(server):
    server.page = 5
    assert len(search(server)) == 12
    server.inject("/search", times=1, cut=40)
    server.inject("/search", times=1, status=500)
    assert len(search(server)) == 12
    server.inject("/search", times=None, cut=40)
    with pytest.raises(SearchFailed, match="does not answer"):
        search(server)


def test_half_an_answer_that_is_said_to_be_whole_is_asked_for_again(server):
    for path in ("/search", "/"):
        server.inject(path, times=2, body='{"type": "FeatureCollection", "features": [{"ty')
    assert len(search(server)) == 12
    server.inject("/search", times=None, body='{"type": "FeatureCollection", "feat')
    with pytest.raises(SearchFailed, match="no STAC catalogue"):
        search(server)


def test_what_a_network_refuses_is_said_in_words():
    """Sentences of the libraries named hosts, ports and classes, cut off after 200 characters."""
    unknown = OSError("HTTPSConnectionPool(host='x', port=443): NameResolutionError(...)")
    assert catalogue._short(unknown) == "its name is not found, as without a network"
    assert catalogue._short(OSError("Connection refused")) == "no connection can be made"
    assert catalogue._short(ValueError("no JSON")) == "no JSON"


def test_slow_server(server):
    hasty = RetryPolicy(connect=0.3, answer=0.3, tries=3, backoff=0.01)
    server.inject("/search", times=1, delay=2.5)
    assert len(search(server, retry=replace(hasty, connect=2, answer=2))) == 12
    asked = server.asked["/search"]
    server.inject("/search", times=None, delay=0.8)
    with pytest.raises(SearchFailed, match=rf"{server.url} does not answer .*timed out"):
        search(server, retry=hasty)
    assert server.asked["/search"] - asked <= 3


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (500, "answers 500 after 4 tries"),
        (429, "429 after 4 tries: it asks for fewer requests"),
        (403, "answers 403: it wants an account"),
        (404, "404: check"),
    ],
)
def test_server_that_stays_broken(server, status, says):
    server.inject("/search", times=None, status=status)
    with pytest.raises(SearchFailed, match=says) as caught:
        search(server)
    assert server.url in str(caught.value)
    assert server.asked["/search"] == (4 if status in (500, 429) else 1)


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome to the hotel</html>",
        "[]",
        "{}",
        '"text"',
        "null",
        '{"type": "Point"}',
        '{"conformsTo": 7}',
    ],
)
def test_what_is_no_catalogue(server, body):
    server.inject("/", times=None, body=body)
    with pytest.raises(SearchFailed, match=r"no STAC catalogue|cannot be searched") as caught:
        search(server)
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    "body", ["<html>Sorry</html>", "[]", '{"features": 7}', '{"features": [7]}']
)
def test_pages_that_are_none(server, body):
    server.inject("/search", times=None, body=body)
    with pytest.raises(SearchFailed, match="no STAC catalogue"):
        search(server)


def test_api_without_search(server):
    server.conformance = [CONFORMANCE[0]]
    with pytest.raises(SearchFailed, match="cannot be searched"):
        search(server)


def test_paging_that_never_ends(server):
    page = {
        "type": "FeatureCollection",
        "features": [DAYS[0]],
        "links": [{"rel": "next", "href": f"{server.url}/search", "method": "POST", "body": {}}],
    }
    server.inject("/search", times=None, body=json.dumps(page))
    with pytest.raises(SearchFailed, match="same page again"):
        search(server)


def test_dead_server():
    with StacServer(DAYS) as dead:
        url = dead.url
    with pytest.raises(SearchFailed, match=rf"{url} does not answer .*check the address"):
        find_scenes(AREA, MAY, find_provider(url), retry=QUICK)
    with pytest.raises(SearchFailed, match="no-such-host"):
        find_scenes(AREA, MAY, find_provider("http://no-such-host.invalid/stac"), retry=QUICK)


# static catalogues


@pytest.fixture
def folder(tmp_path):
    root = pystac.Catalog("root", "simulated")
    for name, extent in (("sentinel-2-l2a", "2024"), ("old", "2017")):
        times = [
            [datetime(int(extent), 1, 1, tzinfo=UTC), datetime(int(extent), 12, 31, tzinfo=UTC)]
        ]
        about = pystac.Extent(
            pystac.SpatialExtent([[12, 48, 13, 49]]), pystac.TemporalExtent(times)
        )
        collection = pystac.Collection(name, name, about)
        root.add_child(collection)
        for one in DAYS if name != "old" else []:
            collection.add_item(pystac.Item.from_dict({**one, "collection": name}))
    root.normalize_and_save(str(tmp_path / "catalogue"), pystac.CatalogType.SELF_CONTAINED)
    return tmp_path / "catalogue"


def test_static_catalogue_on_disk(folder):
    for given in (
        folder,
        folder / "catalog.json",
        str(folder / "sentinel-2-l2a" / "collection.json"),
    ):
        found = find_scenes(AREA, MAY, find_provider(given), retry=QUICK)
        assert len(found) == 12
        assert found[0].hrefs["red"] == str(
            folder
            / "sentinel-2-l2a"
            / "S2A_33UUP_20240501_0_L2A"
            / "S2A_33UUP_20240501_0_L2A"
            / "red.tif"
        )


def test_static_catalogue_by_address(folder):
    with StacServer([], folder) as server:
        found = find_scenes(AREA, MAY, find_provider(f"{server.cogs}/catalog.json"), retry=QUICK)
        assert len(found) == 12
        assert (
            found[0]
            .hrefs["red"]
            .startswith(f"{server.cogs}/sentinel-2-l2a/S2A_33UUP_20240501_0_L2A/")
        )
        assert server.asked["/cogs/sentinel-2-l2a/collection.json"] == 1
        server.inject("/cogs/sentinel-2-l2a/collection.json", times=1, status=503)
        assert (
            len(find_scenes(AREA, MAY, find_provider(f"{server.cogs}/catalog.json"), retry=QUICK))
            == 12
        )
        server.inject("/cogs/sentinel-2-l2a", times=None, status=404)
        with pytest.raises(SearchFailed, match="answers 404"):
            find_scenes(AREA, MAY, find_provider(f"{server.cogs}/catalog.json"), retry=QUICK)


def test_static_catalogue_skips_what_cannot_fit(folder):
    (folder / "old" / "collection.json").write_text(
        (folder / "old" / "collection.json")
        .read_text()
        .replace('"links": [', '"links": [{"rel": "item", "href": "./none.json"},')
    )
    assert len(find_scenes(AREA, MAY, find_provider(folder), retry=QUICK)) == 12
    with pytest.raises(SearchFailed, match=r"none\.json"):
        find_scenes(
            AREA,
            Season("window_a", date(2017, 5, 1), date(2017, 6, 1)),
            find_provider(folder),
            retry=QUICK,
        )


def test_static_catalogue_that_links_in_circles(folder):
    path = folder / "sentinel-2-l2a" / "collection.json"
    path.write_text(
        path.read_text().replace(
            '"links": [', '"links": [{"rel": "child", "href": "../catalog.json"},'
        )
    )
    assert len(find_scenes(AREA, MAY, find_provider(folder), retry=QUICK)) == 12


def test_folder_of_items_and_collection_of_features(tmp_path):
    (tmp_path / "items").mkdir()
    for one in DAYS:
        plain = json.loads(json.dumps(one))
        for band, asset in plain["assets"].items():
            asset["href"] = f"../cogs/{one['id']}-{band}.tif"
        (tmp_path / "items" / f"{one['id']}.json").write_text(json.dumps(plain))
    found = find_scenes(AREA, MAY, find_provider(tmp_path), retry=QUICK)
    assert len(found) == 12
    assert found[0].hrefs["red"] == str(tmp_path / "cogs" / "S2A_33UUP_20240501_0_L2A-red.tif")
    (tmp_path / "all.json").write_text(json.dumps({"type": "FeatureCollection", "features": DAYS}))
    assert len(find_scenes(AREA, MAY, find_provider(tmp_path / "all.json"), retry=QUICK)) == 12
    with StacServer(items_of(tmp_path), tmp_path) as server:
        assert (
            find_scenes(AREA, MAY, find_provider(server.url), retry=QUICK)[0].hrefs["red"]
            == f"{server.cogs}/cogs/S2A_33UUP_20240501_0_L2A-red.tif"
        )
    (tmp_path / "items" / "z.json").write_text("{broken")
    with pytest.raises(SearchFailed, match="no STAC catalogue"):
        find_scenes(AREA, MAY, find_provider(tmp_path), retry=QUICK)


# scenes are kept


def test_scenes_go_to_json_and_back(server):
    server.items.append(
        {
            **item("60KZF", "2024-05-04T22:00:00.123456Z", box=(12.3, 48.3, 12.4, 48.4)),
            "collection": None,
        }
    )
    found = search(server)
    again = [scene_from_dict(json.loads(json.dumps(scene_to_dict(scene)))) for scene in found]
    assert tuple(again) == found.scenes
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(BadInput, match="search anew"):
        scene_from_dict({"id": "x"})
    with pytest.raises(BadInput, match="search anew"):
        scene_from_dict({**scene_to_dict(found[0]), "more": 1})
