"""One simulated archive, offered in three ways: as files, by the simulated API and by the real one.
A user finds the same scenes in all.
"""

from dataclasses import replace
from datetime import date
from pathlib import PurePosixPath

import pytest
from pystac_client import Client

from pgstac_server import PgStac, missing
from selion import store
from selion.grid import whole
from selion.imagery.area import read_area
from selion.imagery.providers import find_provider
from selion.imagery.scene import Season
from selion.imagery.search import find_scenes
from selion.simulation.archive import simulate_archive
from selion.store.retry import RetryPolicy
from stac_server import StacServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all there"),
]

QUICK = RetryPolicy(connect=5, answer=30, tries=3, backoff=0.1)
DATELINE = {"seed": 8, "centre": (180.0, 66.0), "layout": "cdse", "tile_px": 48, "n_dates": 3}
ZONES = {
    "seed": 7,
    "centre": (12.0, 50.0),
    "layout": "earth-search",
    "tile_px": 48,
    "n_dates": 3,
    "faults": ("missing-asset", "truncated"),
}


@pytest.fixture(scope="module", params=[ZONES, DATELINE], ids=["zones", "dateline"])
def offered(request, tmp_path_factory):
    """Archive, and by name where it is offered."""
    archive = simulate_archive(tmp_path_factory.mktemp("archive") / "archive", **request.param)
    with (
        StacServer(archive.items, archive.folder, page=5) as simulated,
        PgStac(archive.items_at(simulated.cogs)) as real,
    ):
        yield (
            archive,
            {"files": str(archive.catalogue), "simulated": simulated.url, "real": real.url},
        )


def told(scene):
    """All that a scene tells, whoever serves it: hrefs by their last parts."""
    hrefs = {band: PurePosixPath(href).parts[-3:] for band, href in scene.hrefs.items()}
    return (
        scene.id,
        scene.tile,
        scene.time,
        scene.cloud,
        scene.baseline,
        scene.orbit,
        scene.platform,
        hrefs,
    )


@pytest.mark.parametrize("cloud", [40, 100])
def test_the_same_scenes_from_all_three(offered, cloud):
    archive, places = offered
    area = read_area(dict(archive.area))
    for wanted in archive.seasons:
        season = Season(wanted.name, wanted.start, wanted.end)
        results = {
            name: find_scenes(
                area, season, replace(find_provider(place), name="any"), cloud, retry=QUICK
            )
            for name, place in places.items()
        }
        found = {name: [told(scene) for scene in result] for name, result in results.items()}
        assert found["files"] == found["simulated"] == found["real"]
        assert {refused.id for refused in results["real"].refused} == {
            refused.id for refused in results["files"].refused
        }
        sound = {
            item["id"]
            for item in archive.items
            if archive.broken.get(item["id"]) != "missing-asset"
        }
        if cloud == 100:
            assert {scene[0] for scene in found["real"]} == {
                name for name in sound if _in(archive, name, wanted)
            }
            assert {scene[1] for scene in found["real"]} == set(archive.tiles)


def _in(archive, name, season):
    item = next(item for item in archive.items if item["id"] == name)
    return season.start <= date.fromisoformat(item["properties"]["datetime"][:10]) <= season.end


def test_plain_pystac_client_finds_pages_and_reads(offered):
    """Box, days, cloud cover and paging with a client that knows nothing of selion, and a COG
    through HTTP at the end.
    """
    archive, places = offered
    west, south, east, north = archive.bbox
    boxes = (
        [(west, south, east, north)]
        if west < east
        else [(west, south, 180, north), (-180, south, east, north)]
    )
    season = archive.seasons[0]
    days = f"{season.start}/{season.end}"
    found = {}
    for box in boxes:
        query = {"eo:cloud_cover": {"lt": 50}}
        search = Client.open(places["real"]).search(
            collections=[archive.collection], bbox=box, datetime=days, query=query, limit=3
        )
        pages = [page.items for page in search.pages()]
        assert len(pages) > 1
        found |= {item.id: item for page in pages for item in page}
    wanted = {
        item["id"]
        for item in archive.items
        if item["properties"]["eo:cloud_cover"] < 50 and _in(archive, item["id"], season)
    }
    assert set(found) == wanted
    item = next(item for name, item in found.items() if name not in archive.broken)
    asset = item.assets["red"] if "red" in item.assets else item.assets["B04_10m"]
    source = store.open_raster(asset.href)
    assert source.grid in archive.tiles.values()
    assert source.read(whole(source.grid)).values.any()
