"""Providers: the known ones are data that hangs together; any other is an address or a path."""

import pickle

import pytest

from selion.errors import BadInput, UnknownName
from selion.imagery.providers import DEFAULT, find_provider, known_providers
from selion.imagery.signing import SIGNERS
from stac_items import BANDS


@pytest.mark.parametrize("name", known_providers())
def test_known_providers_are_complete(name):
    provider = find_provider(name)
    assert provider.name == name
    assert provider.known
    assert provider.url.startswith("https://")
    assert set(provider.assets) == set(BANDS)
    assert {"tile", "baseline", "cloud", "orbit"} <= set(provider.properties)
    assert all(
        isinstance(names, tuple) and names
        for names in (*provider.assets.values(), *provider.properties.values())
    )
    assert set(provider.offset) == set(provider.collections)
    assert set(provider.offset.values()) <= {"kept", "flag"}
    assert "flag" not in provider.offset.values() or provider.properties["offset_applied"]
    assert provider.signing in SIGNERS
    assert bool(provider.sas and provider.signed_hosts) == (provider.signing == "sas")
    assert bool(provider.s3_endpoint) == (provider.signing == "s3")
    assert pickle.loads(pickle.dumps(provider)) == provider


def test_names_and_aliases():
    assert find_provider().name == DEFAULT == "earth-search"
    assert find_provider("EarthSearch").name == "earth-search"
    assert find_provider(" mspc ").name == find_provider("pc").name == "planetary-computer"
    assert find_provider("copernicus").name == "cdse"
    every = [alias for name in known_providers() for alias in (name, find_provider(name).title)]
    assert len(set(every)) == len(every)


def test_address_of_a_known_provider_is_that_provider():
    for name in known_providers():
        for ending in ("", "/"):
            assert find_provider(find_provider(name).url + ending) == find_provider(name)


def test_addresses():
    provider = find_provider("https://stac.example.org/v1/")
    assert provider.name == provider.url == "https://stac.example.org/v1"
    assert not provider.known
    assert provider.collections == ()
    assert provider.offset == {}
    assert provider.signing == "none"
    assert (
        find_provider("http://localhost:8080/catalog.json").url
        == "http://localhost:8080/catalog.json"
    )
    assert find_provider("cdse", collections=["sentinel-2-l1c"]).collections == ("sentinel-2-l1c",)


def test_guessed_names_hold_all_known_ones():
    guessed = find_provider("https://stac.example.org")
    for name in known_providers():
        provider = find_provider(name)
        for what in (*BANDS,):
            assert set(provider.assets[what]) <= set(guessed.assets[what])
        for what in provider.properties:
            assert set(provider.properties[what]) <= set(guessed.properties[what])


def test_paths(tmp_path):
    (tmp_path / "catalog.json").write_text("{}")
    for given in (tmp_path, tmp_path / "catalog.json", str(tmp_path)):
        assert find_provider(given).url == str(tmp_path / "catalog.json")
    inner = tmp_path / "inner"
    (inner / "items").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"holds no catalog\.json"):
        find_provider(inner)
    (inner / "items" / "a.json").write_text("{}")
    assert find_provider(inner).url == str(inner / "items")
    (inner / "collection.json").write_text("{}")
    assert find_provider(inner).url == str(inner / "collection.json")


@pytest.mark.parametrize(
    ("given", "near"),
    [("earth-serch", "earth-search"), ("planetary", "planetary-computer"), ("cds", "cdse")],
)
def test_unknown_names_offer_the_nearest(given, near):
    with pytest.raises(UnknownName, match=near):
        find_provider(given)


def test_what_is_neither_name_nor_address():
    with pytest.raises(UnknownName, match="known: cdse, earth-search, planetary-computer"):
        find_provider("zzzzzz")
    with pytest.raises(BadInput, match=r"none\.json does not exist"):
        find_provider("none.json")
    with pytest.raises(BadInput, match=r"does not exist: .*earth-search"):
        find_provider("no/such/catalogue")
    with pytest.raises(BadInput, match="not an address"):
        find_provider("https://")
    with pytest.raises(UnknownName):
        find_provider("")
    with pytest.raises(BadInput, match="ftp"):
        find_provider("ftp://example.org/catalog.json")
    assert find_provider("HTTPS://Stac.example.org/v1").url == "HTTPS://Stac.example.org/v1"
