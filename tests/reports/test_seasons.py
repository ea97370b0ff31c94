"""The picture of a run's seasons: every tile once, in the colour of its days."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from selion import imagery
from selion.country.lattice import cut_area
from selion.country.planning import _square
from selion.pipeline import AreaOptions
from selion.pipeline.tile_seasons import expected_seasons, grouped, reasons
from selion.reports.seasons import coloured, seasons_figure, shades, write_seasons


@pytest.fixture(scope="module")
def tiles():
    """Of a land from 6.4 degrees south to 6.4 north."""
    land = imagery.read_area((31.0, -6.4, 31.2, 6.4), name="land")
    squares = [_square(cell, 100_000.0) for cell in cut_area(land, 100_000.0, 100.0)]
    return expected_seasons(squares, 2024, AreaOptions())


def test_a_land_over_the_equator_has_three_pairs(tiles):
    """By hand from PRUE's table: beyond 5 degrees each half has its own, between them one."""
    assert [days for days, _ in grouped(tiles)] == [
        ("2023-11-01 to 2023-12-31", "2024-03-31 to 2024-06-29"),
        ("2024-02-29 to 2024-04-30", "2024-06-30 to 2024-08-30"),
        ("2024-04-30 to 2024-07-30", "2024-09-30 to 2024-12-30"),
    ]
    for _, ones in grouped(tiles):
        middles = [imagery.middle(one.grid)[1] for one in ones]
        assert (
            all(lat < -5 for lat in middles)
            or all(lat > 5 for lat in middles)
            or (max(map(abs, middles)) <= 5)
        )
    given = imagery.given_seasons("2024-03-01/2024-05-31", "2024-08-01/2024-10-15")
    squares = [("a", (300_000.0, 5_500_000.0), "EPSG:32633")]
    fixed = expected_seasons(squares, 2024, AreaOptions(seasons=given))
    assert fixed[0].seasons == given


def test_a_square_is_its_tile():
    """Tile 33UUP of Sentinel-2 has its upper left corner at 300 km east and 5400 km north."""
    place = imagery.read_area((12.9, 47.9, 12.95, 47.95))
    (square,) = cut_area(place, 100_000.0, 100.0)
    (tile,) = expected_seasons([_square(square, 100_000.0)], 2024, AreaOptions())
    assert tile.grid.boundingbox.bbox == (300_000, 5_290_200, 409_800, 5_400_000)


def test_a_belt_is_named_once_with_the_least_that_it_holds():
    """Tiles on Uganda's edge and within it have the same days: one row, one reason."""
    land = imagery.read_area((30.0, -1.5, 34.0, 3.5), name="Uganda")
    squares = [_square(cell, 100_000.0) for cell in cut_area(land, 100_000.0, 100.0)]
    found = expected_seasons(squares, 2023, AreaOptions(rule="calendar"))
    belt = [one for one in found if "Uganda" in one.seasons[0].why]
    shares = [int(part) for one in belt for part in re.findall(r"holds (\d+)%", one.seasons[0].why)]
    assert len(set(shares)) > 1
    assert reasons(belt) == (
        "crop calendar: Uganda, first season, summer crop "
        f"(at least {min(shares)}% of what is around a tile)"
    )


def test_the_drawing_has_every_tile_in_its_colour(tiles, tmp_path):
    path = write_seasons(tiles, tmp_path / "seasons.svg")
    root = ET.fromstring(path.read_text())
    space = "{http://www.w3.org/2000/svg}"
    groups = root.findall(f"{space}g")
    colours = coloured(tiles)
    assert len(groups) == len(tiles)
    for group, tile in zip(groups, tiles, strict=True):
        assert group.get("fill") == colours[tile.days]
        assert group.find(f"{space}title").text.startswith(tile.name)
    figure = seasons_figure(tiles)
    assert len(re.findall("<polygon", figure)) == len(tiles)
    assert "latitude rule" in figure
    many = shades(30)
    assert len(set(many)) == 30
