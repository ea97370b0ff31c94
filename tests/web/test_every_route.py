"""No spelling of a path leads any route of any server out, or breaks it; all of them with
``python bench/pages.py``.
"""

import pytest

from every_route import Servers, spellings


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SELION_CACHE", str(tmp_path_factory.mktemp("cache")))
    made = Servers(tmp_path_factory.mktemp("servers"))
    yield made
    made.close()
    patch.undo()


def test_there_are_enough_of_both(servers):
    routes = [path for path, _ in servers.routes()]
    assert len(spellings()) == len(set(spellings())) >= 500
    assert len(routes) > 50
    for page in ("view", "review", "screen"):
        assert sum(path.startswith(f"/{page}/") for path in routes) > 8
    assert {"/watch/state", "/watch/squares"} <= set(routes)


def test_no_spelling_leads_any_route_out(servers):
    """Each route gets other spellings than its neighbours: a few of all of them."""
    wrong, tried, all_of_them = [], 0, spellings()
    for number, (path, route) in enumerate(servers.routes()):
        for spelling in all_of_them[number % 97 :: 97]:
            for method, asked, body in servers.requests(path, route, spelling):
                tried += 1
                said = servers.wrong(*servers.ask(method, asked, body))
                wrong += [f"{method} {asked}: {said}"] * bool(said)
    assert tried > 700
    assert wrong == []


def test_a_planted_way_out_would_be_seen(servers):
    (servers.folder / "secret.txt").read_bytes()
    servers.watching = True
    (servers.folder / "secret.txt").read_bytes()
    servers.watching = False
    assert servers.wrong(200, b"").startswith("opens")
    assert servers.wrong(500, b"") == "status 500"
