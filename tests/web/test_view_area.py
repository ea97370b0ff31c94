"""A piece of an image is mapped from the page.

The piece is the file's own pixels and words, one run at a time, and whatever becomes of it nothing
half-written is left.
"""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from selion.errors import BadInput, OutputFailed
from selion.store.clip import copy_window
from selion.store.leftovers import find_leftovers
from selion.store.scratch import _looked
from selion.web.view.area import AreaMapper, published, window_of
from selion.web.view.discovery import find
from selion.web.view.page import view_page
from view_scenes import UTM, serving, write_map

RUN = """
import json, shutil, sys, time
assert sys.argv[1:6] == ["map", "image.tif", "--out", "fields.parquet", "--json"], sys.argv
open("half", "w").close()
for done in (1, 2):
    said = {"event": "progress", "stage": "predict", "done": done, "total": 4}
    print(json.dumps(said), flush=True)
%s
"""
"""In place of ``selion map``: what it says, then what becomes of it."""
WRITTEN = "shutil.copy({!r}, 'fields.parquet')"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("area") / "map", 4)


def box_of(scene, rows, columns):
    """By rasterio: the degrees in the middle of the corner pixels."""
    with rasterio.open(scene / "image.tif") as image:
        west, north = image.xy(rows[0], columns[0])
        east, south = image.xy(rows[1] - 1, columns[1] - 1)
    return list(transform_bounds(UTM, "EPSG:4326", west, south, east, north))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def mapper(scene, folder, then, **given):
    command = (sys.executable, "-c", RUN % then)
    return AreaMapper(find([scene / "image.tif"]), folder, command=command, **given)


def waited(made, *states):
    end = time.monotonic() + 600
    while made.told()["state"] not in states:
        assert time.monotonic() < end, made.told()
        time.sleep(0.01)
    made._thread.join(60)
    return made.told()


def test_a_piece_is_the_file_itself(scene, tmp_path):
    """Pixels, band names, scales and tags are those that rasterio finds in the file."""
    path, out = tmp_path / "said.tif", tmp_path / "piece.tif"
    with rasterio.open(scene / "image.tif") as image:
        values, profile, names = image.read(), image.profile, image.descriptions
    with rasterio.open(path, "w", **{**profile, "driver": "GTiff"}) as image:
        image.write(values)
        image.descriptions, image.scales = names, [1e-4] * 8
        image.update_tags(TIFFTAG_DATETIME="2024:05:01 10:00:00", who="us")
        image.update_tags(2, wavelength="560")
        image.update_tags(3, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.665")
    copy_window(path, (slice(30, 171), slice(7, 320)), out)
    with rasterio.open(path) as image, rasterio.open(out) as piece:
        assert (piece.read() == image.read(window=((30, 171), (7, 320)))).all()
        assert piece.transform * (0, 0) == image.transform * (7, 30)
        assert (piece.descriptions, piece.scales) == (names, image.scales)
        assert (piece.nodata, piece.crs, piece.tags(2)) == (0, image.crs, image.tags(2))
        assert piece.tags()["who"] == "us"
        assert piece.tags(3, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.665"}


def test_two_servers_into_one_folder_give_two_numbers(tmp_path):
    """Both had counted before either was done: the map of the second was lost."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fields.parquet").write_text(name)
    with patch.object(Path, "iterdir", lambda _: iter(())):
        made = [published(tmp_path / name, tmp_path) for name in ("one", "two")]
    assert [folder.name for folder in made] == ["area-001", "area-002"]
    assert (made[1] / "fields.parquet").read_text() == "two"


def test_a_box_becomes_its_pixels(scene):
    image = find([scene / "image.tif"]).rasters["r0"]
    rows, columns = window_of(image, box_of(scene, (50, 120), (200, 280)))
    # a box of degrees is turned by 2 degrees against UTM here, and boxes around boxes grow
    grown = np.array([50 - rows.start, rows.stop - 120, 200 - columns.start, columns.stop - 280])
    assert ((grown >= -1) & (grown <= 7)).all(), grown
    whole = box_of(scene, (-2000, 2000), (-2000, 2000))
    assert window_of(image, whole) == (slice(0, 320), slice(0, 320))
    for box in (
        [], [1, 2, 3], ["0", "0", "1", "1"], [3, 2, 1, 4], [0.0, 0.0, float("nan"), 1.0],
        [-70.0, -10.0, -69.0, -9.0], [0.0, -91.0, 1.0, 0.0], box_of(scene, (50, 60), (200, 280)),
        [True, 0, 1, 1],
    ):  # fmt: skip
        with pytest.raises(BadInput):
            window_of(image, box)


def test_a_file_that_runs_northwards_is_cut_at_the_same_place(scene, tmp_path):
    box = box_of(scene, (50, 120), (200, 280))
    with rasterio.open(scene / "image.tif") as image:
        values, form, place = image.read(), image.profile, image.transform
    turned = place * rasterio.Affine.translation(0, 320) * rasterio.Affine.scale(1, -1)
    with rasterio.open(
        tmp_path / "up.tif", "w", **{**form, "driver": "GTiff", "transform": turned}
    ) as image:
        image.write(values[:, ::-1])
    pieces = []
    for path in (scene / "image.tif", tmp_path / "up.tif"):
        image = find([path]).rasters["r0"]
        copy_window(path, window_of(image, box), tmp_path / "piece.tif")
        with rasterio.open(tmp_path / "piece.tif") as piece:
            values = piece.read()
            pieces.append(values if piece.transform.e < 0 else values[:, ::-1])
    assert np.array_equal(*pieces)


def test_a_result_becomes_a_layer(scene, tmp_path):
    made = mapper(scene, tmp_path / "new" / "maps", WRITTEN.format(str(scene / "fields.parquet")))
    box = box_of(scene, (50, 120), (200, 280))
    before = dict(made.found.names)
    for number in (1, 2):
        assert made.start("r0", box)["state"] == "running"
        told = waited(made, "done", "failed")
        assert (told["state"], told["stage"], told["share"]) == ("done", "predict", 0.5), told
        assert told["layer"] == f"f{number - 1}"
        folder = made.folder / f"area-{number:03}"
        assert names_in(made.folder)[-1] == folder.name
        with rasterio.open(folder / "image.tif") as piece:
            assert piece.count == 8
        assert len(geopandas.read_parquet(folder / "fields.parquet")) == 16
    assert set(made.found.names) == {*before, "f0", "f1"}
    assert made.found.fields["f1"].fields.columns["confidence"] == "number"
    with pytest.raises(BadInput, match="no image"):
        made.start("r9", box)


def test_one_at_a_time_stopped_and_failed_leave_nothing(scene, tmp_path):
    box = box_of(scene, (50, 120), (200, 280))
    slow = mapper(scene, tmp_path / "slow", "time.sleep(60)")
    slow.start("r0", box)
    with pytest.raises(BadInput, match="already"):
        slow.start("r0", box)
    end = time.monotonic() + 600
    while slow.told()["share"] is None and time.monotonic() < end:
        time.sleep(0.01)
    process = slow._process
    assert slow.stop()["state"] == "stopped"
    assert process.poll() is not None
    assert names_in(slow.folder) == []
    failing = mapper(scene, tmp_path / "failing", "sys.exit('Error: the bands are odd.')")
    failing.start("r0", box)
    told = waited(failing, "failed")
    assert told["why"] == "the bands are odd."
    assert names_in(failing.folder) == []
    silent = mapper(scene, tmp_path / "silent", "")  # ends well and wrote nothing
    silent.start("r0", box)
    assert waited(silent, "failed")["why"].endswith("said nothing.")


def test_what_a_killed_server_left_goes_with_the_next_start_and_with_clean(scene, tmp_path):
    """An hidden folder stayed for ever: what nobody holds is what a dead process leaves."""
    slow = mapper(scene, tmp_path / "maps", "time.sleep(60)")
    slow.start("r0", box_of(scene, (50, 120), (200, 280)))
    end = time.monotonic() + 600
    while slow.told()["share"] is None and time.monotonic() < end:
        time.sleep(0.01)
    (held,) = slow.folder.iterdir()
    assert (held / "made" / "image.tif").is_file()
    for name in (".selion-00000001", ".selion-00000002"):
        shutil.copytree(held, tmp_path / name)
    (tmp_path / ".selion-00000001").rename(slow.folder / ".selion-00000001")
    _looked.clear()  # the next start is another process
    mapper(scene, slow.folder, "")
    assert list(slow.folder.iterdir()) == [held], "the dead one's is gone, who lives keeps its own"
    (tmp_path / ".selion-00000002").rename(slow.folder / ".selion-00000002")
    found = list(find_leftovers(slow.folder))
    assert [left.path.name for left in found] == [".selion-00000002"]
    assert all(left.remove() for left in found)
    slow.stop()
    assert names_in(slow.folder) == []


def post(served, path, table, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", served.address.port, timeout=120)
    given = {"content-type": "application/json", "x-selion": "1"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    given = {name: value for name, value in given.items() if value}
    connection.request(
        "POST", f"/{served.address.token}/view/{path}", json.dumps(table).encode(), given
    )
    answer = connection.getresponse()
    found = SimpleNamespace(status=answer.status, body=answer.read())
    connection.close()
    return found


def test_only_where_a_folder_was_named_and_only_from_the_page(scene, tmp_path):
    with serving(scene) as served:
        assert served.table("api/layers")["mapping"] is False
        assert served.ask("api/area").status == 404
        assert post(served, "api/area", {"raster": "r0"}).status == 404
    with serving(scene, into=tmp_path / "maps") as served:
        assert served.table("api/layers")["mapping"] is True
        assert served.table("api/area")["images"] == {"r0": "map/image.tif"}
        assert post(served, "api/area", {}, x_selion="").status == 403
        assert post(served, "api/area", {}, origin="http://evil.example").status == 403
        for wrong in (
            {}, {"raster": "r0"}, {"raster": "../x", "box": [0, 0, 1, 1]},
            {"raster": "r0", "box": {"a": 1}}, {"raster": ["r0"], "box": [1]},
        ):  # fmt: skip
            assert post(served, "api/area", wrong).status == 400, wrong
        assert json.loads(post(served, "api/area/stop", {}).body)["state"] == "idle"
        assert names_in(tmp_path / "maps") == []


def test_what_makes_no_sense_is_refused(scene, tmp_path):
    image = [scene / "image.tif"]
    with pytest.raises(BadInput, match="--map-into"):
        view_page(image, model="fields-s2-2season")
    with pytest.raises(BadInput, match="no image"):
        view_page([scene / "fields.parquet"], into=tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFailed, match="another folder"):
        view_page(image, into=tmp_path / "file" / "x")
