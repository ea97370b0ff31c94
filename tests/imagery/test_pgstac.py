"""The simulated STAC API against the real one: the same searches bring the same scenes from
both.
"""

from dataclasses import replace
from datetime import date

import pytest
import requests
from pystac_client import Client

from pgstac_server import PgStac, missing
from selion.errors import NoScenes, SearchFailed
from selion.imagery.area import read_area
from selion.imagery.providers import find_provider
from selion.imagery.scene import Season
from selion.imagery.search import find_scenes
from selion.store.retry import RetryPolicy
from stac_items import item
from stac_server import StacServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all there"),
]

QUICK = RetryPolicy(connect=5, answer=20, tries=3, backoff=0.1)
SPRING, AUTUMN = (
    Season("window_a", date(2024, 4, 1), date(2024, 5, 31)),
    Season("window_b", date(2024, 9, 1), date(2024, 10, 31)),
)
ITEMS = [
    *(
        item(time=f"2024-{month:02}-{day:02}T10:00:31Z", cloud=(37 * day) % 101)
        for month in (4, 5, 9)
        for day in range(1, 30, 2)
    ),
    *(
        item(
            "33UVP", f"2024-05-{day:02}T10:00:31Z", box=(13, 48, 14, 49), style="planetary-computer"
        )
        for day in range(1, 30, 5)
    ),
    *(
        item("32UPU", f"2024-05-{day:02}T10:00:31Z", box=(11, 47.5, 12.1, 48.5), style="c1")
        for day in range(1, 30, 5)
    ),
    item("60KXF", "2024-05-01T22:00:00Z", box=(178.9, -18, 180, -17)),
    item("01KAB", "2024-05-02T22:00:00Z", box=(-180, -18, -179.2, -17)),
    item(time="2024-05-01T10:00:31Z", baseline="02.09", number=7),
    item(time="2024-05-31T23:59:30Z", number=8),
    item(time="2024-06-01T00:00:00Z", number=9),
]
for one in ITEMS:  # whoever serves them, the addresses are the same
    for name, asset in one["assets"].items():
        asset["href"] = f"https://example.org/{one['id']}/{name}.tif"


@pytest.fixture(scope="module")
def both():
    with PgStac(ITEMS) as real, StacServer(ITEMS, page=20) as simulated:
        yield real, simulated


AREAS = {
    "box": "12.2,48.2,12.8,48.8",
    "over three tiles": "11.5,48.1,13.5,48.4",
    "triangle": {
        "type": "Polygon",
        "coordinates": [[[12.5, 48.5], [13.9, 48.9], [13.9, 48.5], [12.5, 48.5]]],
    },
    "antimeridian": "179.5,-17.8,-179.5,-17.2",
}


@pytest.mark.parametrize("cloud", [30, 75, 100])
@pytest.mark.parametrize("name", AREAS)
@pytest.mark.parametrize("season", [SPRING, AUTUMN], ids=lambda season: season.name)
def test_same_scenes_from_both(both, name, season, cloud):
    found = []
    for server in both:
        provider = replace(find_provider(server.url), name="either")
        try:
            found.append(find_scenes(read_area(AREAS[name]), season, provider, cloud, retry=QUICK))
        except NoScenes as error:
            found.append(str(error))
    assert found[0] == found[1]
    if season is SPRING:
        assert len(found[0]) > 1


def test_the_provider_table_works_on_a_real_api(both):
    provider = replace(find_provider("earth-search"), url=both[0].url)
    found = find_scenes(read_area("11.5,48.1,12.9,48.4"), SPRING, provider, retry=QUICK)
    assert {scene.properties["collection"] for scene in found} == {
        "sentinel-2-c1-l2a",
        "sentinel-2-l2a",
    }
    assert found.older == ("S2A_33UUP_20240501_7_L2A",)


def test_the_simulated_api_says_no_more_than_the_real_one(both):
    real, simulated = (requests.get(server.url, timeout=20).json() for server in both)
    assert set(simulated["conformsTo"]) <= set(real["conformsTo"])
    links = [
        {(link["rel"], link.get("method")) for link in landing["links"]}
        for landing in (real, simulated)
    ]
    assert {("search", "GET"), ("search", "POST"), ("self", None), ("root", None)} <= links[1]
    assert {("search", "GET"), ("search", "POST")} <= links[0]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_pystac_client_sees_the_same(both, method):
    answers = []
    for server in both:
        search = Client.open(server.url).search(
            method=method,
            bbox=[11.5, 48.1, 13.5, 48.4],
            datetime="2024-05-01/2024-05-20",
            query={"eo:cloud_cover": {"lt": 75}},
            limit=7,
        )
        answers.append(sorted((found.collection_id, found.id) for found in search.items()))
    assert answers[0] == answers[1]
    assert len(answers[0]) > 7


def test_dead_database(both):
    with pytest.raises(SearchFailed, match="answers 404"):
        find_scenes(
            read_area(AREAS["box"]), SPRING, find_provider(f"{both[0].url}/nowhere"), retry=QUICK
        )
