"""The calendar that comes with selion: places whose sowing and harvest anybody can look up, its
silence, its form.  The months below were written down from what is published of each place, not
from the table.
"""

import tomllib
from datetime import date
from pathlib import Path

import pytest

import selion.imagery.world_calendar as calendar
from selion.errors import BadInput
from selion.imagery.area import read_area
from selion.imagery.season import days_of, find_seasons
from selion.pipeline.area_options import AreaOptions
from selion.pipeline.searching import seasons_at
from selion.pipeline.tile_records import edition_name, recipe_of

PLACES = {
    # longitude, latitude, crop, months of sowing, months of harvest, which of the two is "main"
    "Ames, Iowa: maize": (-93.6, 42.0, "summer", {4, 5}, {9, 10, 11}, True),
    "Hutchinson, Kansas: wheat": (-97.9, 38.1, "winter", {9, 10}, {6, 7}, True),
    "Sorriso, Mato Grosso: soya": (-55.7, -12.5, "summer", {9, 10, 11}, {1, 2, 3}, True),
    "Pergamino, Pampas: maize, soya": (-60.6, -33.9, "summer", {10, 11, 12}, {3, 4, 5}, True),
    "Pergamino, Pampas: wheat": (-60.6, -33.9, "winter", {6, 7, 8}, {11, 12, 1}, False),
    "Straubing, Bavaria: wheat": (12.6, 48.9, "winter", {9, 10, 11}, {7, 8}, True),
    "Straubing, Bavaria: maize, beet": (12.6, 48.9, "summer", {4, 5}, {9, 10}, False),
    "Kropyvnytskyi, Ukraine: maize": (32.3, 48.5, "summer", {4, 5}, {9, 10}, True),
    "Kropyvnytskyi, Ukraine: wheat": (32.3, 48.5, "winter", {9, 10}, {7, 8}, False),
    "Kostanay, Kazakhstan: spring wheat": (63.6, 53.2, "summer", {5, 6}, {8, 9, 10}, True),
    "Meknes, Morocco: wheat": (-5.5, 33.9, "winter", {11, 12}, {5, 6, 7}, True),
    "Tanta, Nile delta: wheat": (31.0, 30.8, "winter", {10, 11, 12}, {4, 5}, True),
    "Tanta, Nile delta: maize, rice": (31.0, 30.8, "summer", {4, 5, 6}, {8, 9, 10}, False),
    "Kaolack, Senegal: millet": (-16.1, 14.1, "summer", {6, 7}, {10, 11}, True),
    "Bahir Dar, Ethiopia: meher": (37.4, 11.6, "summer", {6, 7}, {10, 11, 12}, True),
    "Choma, Zambia: maize": (27.0, -16.8, "summer", {11, 12}, {4, 5, 6}, True),
    "Ludhiana, Punjab: wheat": (75.9, 30.9, "winter", {10, 11, 12}, {4, 5}, True),
    "Ludhiana, Punjab: rice": (75.9, 30.9, "summer", {6, 7}, {9, 10, 11}, False),
    "Xingtai, North China: wheat": (114.8, 37.1, "winter", {9, 10, 11}, {5, 6}, True),
    "Xingtai, North China: maize": (114.8, 37.1, "summer", {6, 7}, {9, 10}, False),
    "Khon Kaen, Thailand: rice": (102.8, 16.4, "summer", {6, 7, 8}, {11, 12}, True),
    "Wagga Wagga, New South Wales: wheat": (147.4, -35.1, "winter", {4, 5, 6}, {10, 11, 12}, True),
    "Merredin, Western Australia": (118.3, -31.5, "winter", {4, 5, 6}, {10, 11, 12}, True),
}


def tile(longitude, latitude):
    return read_area((longitude - 0.5, latitude - 0.5, longitude + 0.5, latitude + 0.5))


def months(season):
    first, last = season.start, season.end
    return {date.fromordinal(day).month for day in range(first.toordinal(), last.toordinal() + 1)}


@pytest.mark.parametrize("place", PLACES)
def test_places_that_are_known(place):
    longitude, latitude, crop, sown, reaped, main_crop = PLACES[place]
    area = tile(longitude, latitude)
    planting, harvest = find_seasons(area, 2023, "calendar", crop)
    assert months(planting) <= sown, planting.why
    assert months(harvest) <= reaped, harvest.why
    assert planting.end < harvest.start
    assert harvest.start.year == 2023
    same = find_seasons(area, 2023, "calendar")
    assert ([one.start for one in same] == [planting.start, harvest.start]) is main_crop
    assert planting.why.startswith("crop calendar: ")


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(0.0, 0.0), (-65.0, -5.0), (20.0, 25.0), (135.0, 62.0), (-40.0, 72.0), (0.0, -75.0)],
)
def test_where_it_is_silent_the_latitude_decides(longitude, latitude):
    """Ocean, forest, desert, taiga, ice."""
    found = find_seasons(tile(longitude, latitude), 2023, "calendar")
    rule = find_seasons(tile(longitude, latitude), 2023)
    assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in rule]
    assert found[0].why.startswith("selion's crop calendar is silent here: latitude rule at")


def test_a_crop_that_a_belt_has_not_is_said():
    planting, _ = find_seasons(tile(-16.1, 14.1), 2023, "calendar", "winter")
    assert planting.why.startswith(
        "crop calendar: Sahel and Sudan savanna, Senegal to Chad has no winter crop: latitude rule"
    )
    assert planting.start.timetuple().tm_yday == days_of(14.1)[0][0]


def test_the_belt_that_holds_most_decides_and_says_how_much():
    """Half a degree of Sindh, half of what is west of it, which no belt holds."""
    planting, _ = find_seasons(read_area("66,25,67,26"), 2023, "calendar")
    assert planting.why == "crop calendar: Sindh, summer crop; the belt holds 50% of what is around"


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ("12.6,45,13.6,46", "Po valley, summer crop; the belt holds 90% of what is around"),
        ("105.6,19.6,106,20", "Red River delta, winter crop"),
    ],
)
def test_a_belt_within_another_has_its_ground_for_itself(box, wanted):
    """A sliver beyond the inner belt's edge does not give the area to the outer one."""
    planting, _ = find_seasons(read_area(box), 2023, "calendar")
    assert planting.why == f"crop calendar: {wanted}"


def test_every_row_is_whole_and_says_its_source():
    told = tomllib.loads(calendar.calendar_file().read_text("utf-8"))
    assert "Licence: Apache-2.0" in calendar.calendar_file().read_text("utf-8")
    assert len({belt.name for belt in calendar.belts()}) == len(told["belt"]) >= 80
    for row, belt in zip(told["belt"], calendar.belts(), strict=True):
        assert row.keys() <= {
            "name", "boxes", "main", "summer", "winter", "source", "page", "secondary",
        }, belt.name  # fmt: skip
        assert belt.main in belt.days, belt.name
        for west, south, east, north in row["boxes"]:
            assert -180 <= west < east <= 180
            assert -60 <= south < north <= 66
        middle = belt.shape.representative_point()
        # no belt lies wholly in earlier ones, where it would never be asked
        assert belt.shape.area > 0.01, belt.name
        for crop in belt.days:
            for year in (2020, 2023):
                area = read_area(
                    (middle.x - 0.01, middle.y - 0.01, middle.x + 0.01, middle.y + 0.01)
                )
                found = calendar.find_belt(area, year, crop)
                if found.belt is not belt:
                    continue
                (sown, done), (begun, ended) = found.days
                assert sown < done < begun < ended, belt.name
                assert begun.year == year
                assert 25 <= (done - sown).days <= 100, belt.name
                assert 25 <= (ended - begun).days <= 100, belt.name
                assert (begun - sown).days <= 366, belt.name


def test_a_page_that_is_not_the_sources_own_is_called_secondary():
    told = tomllib.loads(calendar.calendar_file().read_text("utf-8"))["belt"]
    offices = (".usda.gov/", ".cropwatch.com.cn/", "fao.org/")
    paged = [row for row in told if "page" in row]
    assert len(paged) == 15
    for row in paged:
        own = any(office in f"{row['page']}/" for office in offices)
        assert row.get("secondary", False) is not own, row["name"]
    assert all(row.get("secondary") for row in told if row["source"] == "trade")
    assert not [row["name"] for row in told if "secondary" in row and "page" not in row]


def test_the_mosaic_knows_the_calendar_that_made_it():
    """The same tile by the rule, by the calendar and by its other crop are three editions."""
    options = [
        AreaOptions(),
        AreaOptions(rule="calendar"),
        AreaOptions(rule="calendar", crop="summer"),
    ]
    names = [edition_name(recipe_of(2023, one)) for one in options]
    assert len(set(names)) == 3
    assert seasons_at((75.9, 30.9), 2023, options[1])[0].start == date(2022, 10, 25)
    assert seasons_at((75.9, 30.9), 2023, options[2])[0].start == date(2023, 6, 1)
    with pytest.raises(BadInput, match="so it has no effect"):
        AreaOptions(crop="summer")


def test_editions_of_a_given_calendar_keep_their_name(tmp_path: Path):
    """A mosaic that was made when summer was the default is found again."""
    regions = tmp_path / "r.geojson"
    regions.write_text("{}")
    before = recipe_of(2023, AreaOptions(rule="calendar", calendar=regions, crop="summer"))
    assert recipe_of(2023, AreaOptions(rule="calendar", calendar=regions)) == before
    assert before["seasons"]["crop"] == "summer"
