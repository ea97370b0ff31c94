"""Bands over HTTP: few bytes, expiring signatures, busy, dead and lying servers, many threads."""

import pickle
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import BandMismatch, UnreadableFile
from selion.grid import whole
from selion.imagery import reading
from selion.imagery.reading import open_band
from selion.imagery.scene import Scene
from selion.imagery.signing import Anonymous, SasSigner
from selion.store.retry import RetryPolicy
from stac_server import StacServer

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
GRID = GeoBox((1098, 1098), Affine(20, 0, 300000, 0, -20, 5000040), "EPSG:32633")
RNG = np.random.default_rng(0)
CODES = RNG.integers(1, 12, (1, 1098, 1098)).astype("uint8")
QUICK = RetryPolicy(connect=2, answer=1.0, tries=1, longest=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cogs")
    with store.create_cog(folder / "SCL.tif", GRID, ("scl",), "uint8", nodata=0, block=128) as sink:
        sink.write(whole(GRID), CODES)
    content = (folder / "SCL.tif").read_bytes()
    (folder / "cut.tif").write_bytes(content[: len(content) * 2 // 3])
    (folder / "text.tif").write_text("<html>sorry</html>")
    return folder


@pytest.fixture
def server(folder):
    with StacServer(folder=folder) as server:
        yield server


def scene(root, **hrefs):
    hrefs = {"scl": f"{root}/SCL.tif", **{band: f"{root}/{name}" for band, name in hrefs.items()}}
    return Scene(
        "S2A_33UUP_20240502",
        "33UUP",
        datetime(2024, 5, 2, 10, tzinfo=UTC),
        "simulated",
        hrefs,
        {"type": "Polygon", "coordinates": []},
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(reading, "PAUSE", 0.01)


def test_band_is_read_by_ranges(server):
    source = open_band(scene(server.cogs), "scl", Anonymous())
    assert (source.grid, source.bands, source.dtype, source.nodata) == (GRID, ("scl",), np.uint8, 0)
    roi = slice(500, 620), slice(1000, 1098)
    found = source.read(roi)
    assert np.array_equal(found.values, CODES[:, *roi])
    assert found.grid == GRID[roi]
    assert server.sent["/cogs/SCL.tif"] < 250_000 < (CODES.size * 2) // 3


def test_local_files_need_no_signer(folder):
    source = open_band(scene(folder), "scl", Anonymous())
    assert np.array_equal(source.read(whole(GRID)).values, CODES)


@pytest.mark.parametrize(
    ("coarse", "size"),
    [(20, 1098), (39, 1098), (40, 549), (80, 274), (160, 137), (161, 137), (320, 68), (5000, 68)],
)
def test_coarse_takes_the_smallest_overview_that_is_fine_enough(folder, coarse, size):
    found = store.open_raster(folder / "SCL.tif", coarse=coarse)
    assert found.grid.shape == (size, size)
    assert np.allclose(found.grid.extent.boundingbox.bbox, GRID.extent.boundingbox.bbox)
    pixels = found.read(whole(found.grid)).values
    # nearest: each pixel of the overview is one of those that it covers
    place = (np.arange(size) * 1098 / size).astype(int)
    near = np.stack(
        [
            CODES[0][np.ix_(place + dy, place + dx)]
            for dy in range(-(-1098 // size))
            for dx in range(-(-1098 // size))
            if max(dy, dx) + place[-1] < 1098
        ]
    )
    assert (near == pixels[0]).any(0).mean() > 0.95


def test_coarse_reads_a_fraction_of_the_bytes(server):
    source = open_band(scene(server.cogs), "scl", Anonymous(), coarse=160)
    source.read(whole(source.grid))
    few = server.sent["/cogs/SCL.tif"]
    server.sent.clear()
    source = open_band(scene(server.cogs + "/."), "scl", Anonymous())
    source.read(whole(source.grid))
    assert few * 5 < server.sent["/cogs/SCL.tif"]


def test_coarse_source_survives_pickling(server):
    source = pickle.loads(
        pickle.dumps(open_band(scene(server.cogs), "scl", Anonymous(), coarse=80))
    )
    again = open_band(scene(server.cogs), "scl", Anonymous(), coarse=80)
    assert source.grid == again.grid != GRID
    assert np.array_equal(
        source.read(whole(source.grid)).values, again.read(whole(source.grid)).values
    )


# signatures


class CountingSigner:
    """Signs by itself, and counts."""

    def __init__(self, server, lifetimes):
        self.server, self.lifetimes = server, list(lifetimes)
        self.calls = Counter()
        self.address = None

    def __call__(self, href):
        self.calls["signed"] += 1
        return self._next(href) if "?" not in href else href

    def renew(self, href):
        self.calls["renewed"] += 1
        return self._next(href)

    def _next(self, href):
        lifetime = self.lifetimes.pop(0) if len(self.lifetimes) > 1 else self.lifetimes[0]
        return self.server.sign(href.partition("?")[0], lifetime)


def test_signature_that_ran_out_in_the_middle_is_renewed(folder):
    with StacServer(folder=folder, signed=True) as server:
        signer = CountingSigner(server, [0.6, 60])
        source = open_band(scene(server.cogs), "scl", signer, retry=QUICK)
        top = slice(0, 100), slice(0, 100)
        assert np.array_equal(source.read(top).values, CODES[:, *top])
        time.sleep(0.7)
        roi = slice(900, 1098), slice(0, 1098)
        assert np.array_equal(source.read(roi).values, CODES[:, *roi])
        assert signer.calls["renewed"] == 1


def test_many_threads_renew_once(folder):
    with StacServer(folder=folder, signed=True) as server:
        signer = CountingSigner(server, [0.6, 60])
        source = open_band(scene(server.cogs), "scl", signer, retry=QUICK)
        time.sleep(0.7)
        rois = [
            (slice(y, y + 90), slice(x, x + 90))
            for y in range(0, 1000, 250)
            for x in range(0, 1000, 250)
        ]
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(source.read, rois))
        assert all(
            np.array_equal(part.values, CODES[:, *roi])
            for part, roi in zip(found, rois, strict=True)
        )
        assert signer.calls["renewed"] == 1


def test_tokens_of_an_archive(folder):
    # it promises more than it keeps
    with StacServer(folder=folder, signed=True, lifetime=1.0, reported=3600) as server:
        signer = SasSigner(f"{server.url}/api/sas/v1/token", hosts=(server.host,))
        source = open_band(scene(server.cogs), "scl", signer, retry=QUICK)
        time.sleep(1.1)
        server.lifetime = 3600
        roi = slice(900, 1098), slice(0, 1098)
        assert np.array_equal(source.read(roi).values, CODES[:, *roi])
        assert (
            server.asked["/api/sas/v1/token/127/cogs"]
            + sum(n for path, n in server.asked.items() if "token" in path)
            >= 2
        )


def test_refused_without_cure_is_said_without_the_signature(folder):
    with StacServer(folder=folder, signed=True) as server:
        for signer in (CountingSigner(server, [-5]), Anonymous()):
            with pytest.raises(
                UnreadableFile, match=r"Band scl of scene S2A_33UUP_20240502 .*refuses.*403"
            ) as caught:
                open_band(scene(server.cogs), "scl", signer, retry=QUICK)
            assert "sig=" not in str(caught.value)
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__


def test_store_hides_signatures_too(folder):
    with StacServer(folder=folder, signed=True) as server:
        with pytest.raises(UnreadableFile, match=r"SCL\.tif") as caught:
            store.open_raster(f"{server.cogs}/SCL.tif?sig=0.1&se=secret")
        assert "sig" not in str(caught.value)
        assert "secret" not in str(caught.value)


# servers


def test_refusal_is_not_remembered(server):
    """GDAL keeps failures by name for the life of the process; a server that was busy for a moment
    must not stay so.
    """
    server.inject("/cogs/SCL.tif", times=None, status=503)
    with pytest.raises(UnreadableFile, match=r"too busy \(HTTP 503\)"):
        open_band(scene(server.cogs), "scl", Anonymous(), retry=QUICK)
    server.heal()
    source = open_band(scene(server.cogs), "scl", Anonymous(), retry=QUICK)
    roi = slice(900, 1098), slice(0, 1098)
    assert np.array_equal(source.read(roi).values, CODES[:, *roi])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(server, status, monkeypatch):
    source = open_band(scene(server.cogs), "scl", Anonymous(), retry=QUICK)
    server.inject("/cogs/SCL.tif", times=2, status=status)
    roi = slice(500, 700), slice(300, 400)
    assert np.array_equal(source.read(roi).values, CODES[:, *roi])


def test_answer_that_breaks_off_is_asked_for_again(server):
    source = open_band(scene(server.cogs), "scl", Anonymous(), retry=QUICK)
    server.inject("/cogs/SCL.tif", times=1, cut=700)
    roi = slice(700, 900), slice(300, 400)
    assert np.array_equal(source.read(roi).values, CODES[:, *roi])


def test_slow_server_is_given_up(server):
    source = open_band(scene(server.cogs), "scl", Anonymous(), retry=QUICK)
    server.inject("/cogs/SCL.tif", times=None, delay=4)
    with pytest.raises(UnreadableFile, match="does not answer"):
        source.read((slice(700, 900), slice(300, 400)))


def test_dead_server_is_said_at_once(folder):
    with StacServer(folder=folder) as server:
        source = open_band(scene(server.cogs), "scl", Anonymous(), retry=QUICK)
    with pytest.raises(UnreadableFile, match=r"Band scl of scene .* does not answer"):
        source.read((slice(700, 900), slice(300, 400)))


def test_broken_files_are_named(server, folder):
    broken = scene(server.cogs, red="cut.tif", green="none.tif", blue="text.tif")
    source = open_band(broken, "red", Anonymous(), retry=QUICK)  # the head is whole
    with pytest.raises(UnreadableFile, match=r"Band red of scene S2A_33UUP_20240502 .*truncated"):
        source.read(whole(GRID))
    with pytest.raises(UnreadableFile, match=r"Band green .* not there \(HTTP 404\)"):
        open_band(broken, "green", Anonymous(), retry=QUICK)
    with pytest.raises(UnreadableFile, match=r"Band blue .* truncated, damaged or no raster"):
        open_band(broken, "blue", Anonymous(), retry=QUICK)
    with pytest.raises(BandMismatch, match=r"no band nir \(it has blue, green, red, scl\)"):
        open_band(broken, "nir", Anonymous())
    local = scene(folder, red="cut.tif", green="none.tif")
    with pytest.raises(UnreadableFile, match=r"Band red of scene S2A_33UUP_20240502: .*truncated"):
        open_band(local, "red", Anonymous()).read(whole(GRID))
    with pytest.raises(UnreadableFile, match=r"Band green of scene .*none\.tif does not exist"):
        open_band(local, "green", Anonymous())


def test_object_store_without_keys_says_so(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UnreadableFile, match="credentials"):
        open_band(scene("s3://eodata/S2"), "scl", Anonymous())


def test_shown():
    assert store.shown("https://a.example/b.tif?sig=1#2") == "https://a.example/b.tif"
    assert store.shown("odd?name#1.tif") == "odd?name#1.tif"
