"""Coordinates as people write them, names of their own file, pictures of a field, a background."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from selion.errors import BadInput, UnreadableFile
from selion.web.view.background import read_background
from selion.web.view.page import view_page
from selion.web.view.places import find_places, read_coordinates, read_places
from view_scenes import frame_of, serving, write_map


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("48.29, 13.14", (48.29, 13.14)),
        ("48.29 13.14", (48.29, 13.14)),
        ("-33.5,-70.25", (-33.5, -70.25)),
        ("\u221233.5 \u221270.25", (-33.5, -70.25)),
        ("48,29; 13,14", (48.29, 13.14)),
        ("48,29 13,14", (48.29, 13.14)),
        ("48, 13", (48, 13)),
        ("48.29N 13.14E", (48.29, 13.14)),
        ("13.14 E, 48.29 N", (48.29, 13.14)),
        ("N48.29 E13.14", (48.29, 13.14)),
        ("33.5S 70.25W", (-33.5, -70.25)),
        ("48°17'24\"N 13°8'24\"E", (48.29, 13.14)),
        ("48°17\u203224\u2033 N, 13°8\u203224\u2033 W", (48.29, -13.14)),
        ("48° 17.4' N 13° 8.4' E", (48.29, 13.14)),
        ("geo:48.29,13.14", (48.29, 13.14)),
        ("https://maps.example.org/place/@48.29,13.14,12z", (48.29, 13.14)),
        ("https://map.example.org/#map=12/48.29/13.14", (48.29, 13.14)),
    ],
)
def test_coordinates(text, wanted):
    found = read_coordinates(text)
    assert (found.lat, found.lon) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["u296dzgtp0h5", "field-12", "Ott 3", "12", "1 2 3", "a, b"])
def test_no_coordinates(text):
    assert read_coordinates(text) is None


@pytest.mark.parametrize("text", ["100, 13", "13, 200", "91N 3E"])
def test_coordinates_off_the_map(text):
    with pytest.raises(BadInput, match="lies on no map"):
        read_coordinates(text)


@pytest.mark.parametrize("text", ["48.29N 13.14O", "O13.14 N48.29", "48°17\u2032 N, 13°8\u2032 o"])
def test_the_letter_o_is_east_or_west(text):
    """Ost in Linz, oeste in Burgos: a place in Austria was looked for in the Atlantic."""
    with pytest.raises(BadInput, match="write E or W"):
        read_coordinates(text)


def test_own_names(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(
        "Name;Lat;Lon\nÖd;48,3;13,1\nNodes;48;13\nbroken;x;y\nOd im Tal;47;12\n", "utf-8"
    )
    known = read_places(path)
    found = find_places("od", known)
    assert [each.name for each in found] == ["Od im Tal", "Öd", "Nodes"]
    assert (found[1].lat, found[1].lon) == (48.3, 13.1)
    (tmp_path / "names.geojson").write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": '
        '{"name": "farm"}, "geometry": {"type": "Point", "coordinates": [13, 48]}}]}'
    )
    assert read_places(tmp_path / "names.geojson")[0].lat == 48


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [("n.csv", "a,b\n1,2\n", BadInput), ("n.csv", "", BadInput), ("n.xyz", "", BadInput),
     ("n.geojson", "{", UnreadableFile), ("n.geojson", '{"features": [3]}', UnreadableFile)],
)  # fmt: skip
def test_files_of_no_names(tmp_path, name, text, error):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=r"lat|CSV"):
        read_places(tmp_path / name)


@pytest.mark.parametrize(
    "url",
    ["tiles.example.org/{z}/{x}/{y}.png", "https://tiles.example.org/{z}/{x}.png", "ftp://a/{z}{x}{y}",
     "https://a b/{z}/{x}/{y}", "https://u:p@tiles.example.org/{z}/{x}/{y}", "https://a;script-src/{z}/{x}/{y}",
     "https://[/{z}/{x}/{y}", ""],
)  # fmt: skip
def test_no_background(url):
    with pytest.raises(BadInput, match="address of tiles"):
        read_background(url)


def test_a_background_is_all_that_the_policy_adds(tmp_path):
    scene = write_map(tmp_path / "map", side=4)
    bare, with_tiles = (
        view_page([scene], basemap=url)[0].policy
        for url in (None, "https://tiles.example.org/{z}/{x}/{y}.png")
    )
    assert "example" not in bare
    assert with_tiles.replace(" https://tiles.example.org", "") == bare
    assert "unsafe-inline" not in with_tiles


def test_a_picture_of_a_field_holds_it_at_both_dates(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    with serving(write_map(tmp_path / "map", side=8)) as page:
        pictures = []
        for date in ("windowa", "windowb"):
            answer = page.ask(f"chip/f0/20/r0/true{date}")
            assert answer.status == 200
            pictures.append(np.asarray(Image.open(io.BytesIO(answer.body))).astype(int))
        assert pictures[0].shape == (224, 224, 3)
        yellow = (pictures[0][..., 0] > 180) & (pictures[0][..., 2] < 110)
        rows, columns = np.nonzero(yellow)
        # the outline fills 1 of 1.6 of the picture, in its middle
        assert abs(np.ptp(columns) / 224 - 1 / 1.6) < 0.06
        assert abs(columns.mean() - 112) < 6 > abs(rows.mean() - 112)
        assert page.ask("chip/f0/9999/r0/truewindowa").status == 400
        assert page.ask("chip/f0/1/r9/truewindowa").status == 400
        assert page.ask("chip/f0/1/r0/nothing").status == 400
        middle = frame_of(8).to_crs(4326).geometry[20].centroid
        told = page.table(f"api/place?wanted={middle.y:.6f},{middle.x:.6f}")["places"][0]
        assert told["lat"] == pytest.approx(middle.y, abs=1e-5)
