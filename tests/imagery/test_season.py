"""Seasons: PRUE's Algorithms 1 and 2 in every band of both halves, crop calendars over the whole
area, given dates.
"""

import json
import re
from datetime import date, timedelta

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch, UnknownName, UnreadableFile
from selion.grid import whole
from selion.imagery.area import read_area
from selion.imagery.season import (
    circular_median,
    day_of,
    days_of,
    find_seasons,
    given_seasons,
    parse_season,
)
from selion.store import create_cog

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

PAPER = {  # latitude -> planting, harvest: copied from the paper's Algorithms 1 and 2, case by case
    60: ((91, 151), (244, 304)),
    -60: ((274, 334), (60, 151)),
    45.0001: ((91, 151), (244, 304)),
    -45.0001: ((274, 334), (60, 151)),
    45: ((60, 120), (213, 304)),
    -45: ((244, 334), (32, 120)),
    30: ((60, 120), (213, 304)),
    -30: ((244, 334), (32, 120)),
    20.0001: ((60, 120), (213, 304)),
    -20.0001: ((244, 334), (32, 120)),
    20: ((121, 212), (274, 365)),
    -20: ((305, 365), (91, 181)),
    10: ((121, 212), (274, 365)),
    -10: ((305, 365), (91, 181)),
    5.0001: ((121, 212), (274, 365)),
    -5.0001: ((305, 365), (91, 181)),
    5: ((60, 121), (182, 243)),
    -5: ((60, 121), (182, 243)),
    0.0001: ((60, 121), (182, 243)),
    0: ((60, 121), (182, 243)),
    -0.0001: ((60, 121), (182, 243)),
    90: ((91, 151), (244, 304)),
    -90: ((274, 334), (60, 151)),
}


@pytest.mark.parametrize("latitude", PAPER)
def test_days_of_the_paper(latitude):
    assert days_of(latitude) == PAPER[latitude]


def at(latitude, longitude=10.0):
    return read_area((longitude - 0.1, latitude - 0.1, longitude + 0.1, latitude + 0.1))


@pytest.mark.parametrize(
    ("latitude", "year", "dates"),
    [
        (52, 2023, ("2023-04-01", "2023-05-31", "2023-09-01", "2023-10-31")),
        # day 91 of a leap year is one earlier
        (52, 2024, ("2024-03-31", "2024-05-30", "2024-08-31", "2024-10-30")),
        (35, 2023, ("2023-03-01", "2023-04-30", "2023-08-01", "2023-10-31")),
        (12, 2023, ("2023-05-01", "2023-07-31", "2023-10-01", "2023-12-31")),
        (12, 2024, ("2024-04-30", "2024-07-30", "2024-09-30", "2024-12-30")),
        (0, 2023, ("2023-03-01", "2023-05-01", "2023-07-01", "2023-08-31")),
        (-12, 2023, ("2022-11-01", "2022-12-31", "2023-04-01", "2023-06-30")),
        (-34, 2023, ("2022-09-01", "2022-11-30", "2023-02-01", "2023-04-30")),
        (-34, 2024, ("2023-09-01", "2023-11-30", "2024-02-01", "2024-04-29")),
        (-34, 2025, ("2024-08-31", "2024-11-29", "2025-02-01", "2025-04-30")),
        (-50, 2024, ("2023-10-01", "2023-11-30", "2024-02-29", "2024-05-30")),
    ],
)
def test_dates_of_a_year(latitude, year, dates):
    planting, harvest = find_seasons(at(latitude), year)
    assert (planting.name, harvest.name) == ("window_a", "window_b")
    assert (
        tuple(str(day) for day in (planting.start, planting.end, harvest.start, harvest.end))
        == dates
    )
    assert "latitude rule" in planting.why


@given(st.floats(-89, 89), st.integers(2016, 2060))
def test_planting_comes_before_its_harvest(latitude, year):
    planting, harvest = find_seasons(read_area((10, latitude, 10.1, latitude + 0.1)), year)
    assert planting.start <= planting.end < harvest.start <= harvest.end
    assert harvest.start.year == harvest.end.year == year
    assert (harvest.end - planting.start).days < 366
    assert planting.start.year in ((year,) if latitude > 0 else (year, year - 1))


def test_area_over_a_change_of_the_rule_is_said():
    planting, _ = find_seasons(read_area("10,44,11,47"), 2024)
    assert "reaches from 44.0 to 47.0" in planting.why
    assert planting.why.startswith("latitude rule at 45.5 N (high latitudes)")
    equator, _ = find_seasons(read_area("10,-9,11,1"), 2024)
    assert "its middle decides" in equator.why
    assert equator.start == date(2024, 2, 29)  # the middle is at 4 S
    assert "reaches" not in find_seasons(at(50), 2024)[0].why


def test_date_line():
    planting, _ = find_seasons(read_area("179,-18,-179,-16"), 2024)
    assert planting.start == date(2023, 11, 1)


@pytest.mark.parametrize("year", [2014, 0, 1900, 99999])
def test_years_before_the_satellites(year):
    with pytest.raises(BadInput, match=f"The year {year} was given; wanted is one from 2015"):
        find_seasons(at(50), year)


def test_days_go_on_over_new_year():
    assert day_of(2024, 366) == date(2024, 12, 31)
    assert day_of(2023, 366) == date(2024, 1, 1)
    assert day_of(2024, -13) == date(2023, 12, 18)


# the crop calendar

CELLS = GeoBox((286, 720), Affine(0.5, 0, -180, 0, -0.5, 84.5), "EPSG:4326")


def write_calendar(folder, sign="_", **layers):
    folder.mkdir(exist_ok=True)
    for name, values in layers.items():
        path = folder / (
            f"{name.replace('_', sign)}{'' if sign == '_' else '-3x3-v2-cog'}.tif"
            f"{'f' if sign == '-' else ''}"
        )
        with create_cog(path, CELLS, ("day",), "int16", nodata=0, block=128, force=True) as sink:
            sink.write(whole(CELLS), values[None].astype("int16"))
    return folder


def cell(longitude, latitude):
    return int((84.5 - latitude) // 0.5), int((longitude + 180) // 0.5)


def layer(value=0, **cells):
    values = np.full(CELLS.shape, value)
    for (longitude, latitude), day in cells.pop("at", {}).items():
        values[cell(longitude, latitude)] = day
    return values


def test_calendar_of_summer_and_winter_crops(tmp_path):
    folder = write_calendar(
        tmp_path / "c", sc_sos=layer(121), sc_eos=layer(274), wc_sos=layer(280), wc_eos=layer(200)
    )
    planting, harvest = find_seasons(at(50), 2023, "calendar", calendar=folder)
    assert (planting.start, planting.end) == (date(2023, 4, 17), date(2023, 5, 15))
    assert (harvest.start, harvest.end) == (date(2023, 9, 17), date(2023, 10, 15))
    assert (
        planting.why
        == "calendar of summer crops: sown about day 121, harvested about day 274, 14 days around"
    )
    planting, harvest = find_seasons(at(50), 2023, "calendar", "winter", folder)
    # sown in the year before
    assert (planting.start, harvest.start) == (date(2022, 9, 23), date(2023, 7, 5))


def test_files_as_ftw_tools_names_them(tmp_path):
    folder = write_calendar(tmp_path / "c", "-", sc_sos=layer(121), sc_eos=layer(274))
    assert find_seasons(at(50), 2023, "calendar", calendar=str(folder))[0].start == date(
        2023, 4, 17
    )


def test_calendar_in_the_south_and_over_new_year(tmp_path):
    folder = write_calendar(tmp_path / "c", sc_sos=layer(300), sc_eos=layer(10))
    planting, harvest = find_seasons(at(-30), 2024, "calendar", calendar=folder)
    assert (planting.start, planting.end) == (date(2023, 10, 13), date(2023, 11, 10))
    assert (harvest.start, harvest.end) == (date(2023, 12, 27), date(2024, 1, 24))


def test_whole_area_is_read_and_not_its_first_row(tmp_path):
    """The defect of ftw-tools: rows of 278 above rows of 271."""
    rows = layer()
    top, _ = cell(-59.5, -33.25)
    rows[top, :] = 278
    rows[top + 1 : top + 4, :] = 271
    folder = write_calendar(tmp_path / "c", sc_sos=rows, sc_eos=layer(80))
    area = read_area("-60,-35,-59,-33")
    assert area.boxes[0][3] == -33
    planting, _ = find_seasons(area, 2024, "calendar", calendar=folder)
    assert "sown about day 271" in planting.why
    assert planting.start == day_of(2023, 271 - 14)
    assert (
        "sown about day 278"
        in find_seasons(read_area("-60,-33.6,-59,-33"), 2024, "calendar", calendar=folder)[0].why
    )


def test_cells_count_by_the_area_in_them(tmp_path):
    days = layer(at={(10.25, 50.25): 100, (10.75, 50.25): 140})
    folder = write_calendar(tmp_path / "c", sc_sos=days, sc_eos=layer(250))
    assert (
        "day 100"
        in find_seasons(read_area("10.1,50.1,10.6,50.4"), 2024, "calendar", calendar=folder)[0].why
    )
    assert (
        "day 140"
        in find_seasons(read_area("10.4,50.1,10.9,50.4"), 2024, "calendar", calendar=folder)[0].why
    )
    triangle = read_area(
        {
            "type": "Polygon",
            "coordinates": [[[10.05, 50.01], [10.95, 50.2], [10.95, 50.49], [10.05, 50.01]]],
        }
    )
    assert "day 140" in find_seasons(triangle, 2024, "calendar", calendar=folder)[0].why
    small = find_seasons(read_area("10.01,50.01,10.02,50.02"), 2024, "calendar", calendar=folder)
    assert "day 100" in small[0].why


def test_days_around_new_year_have_a_median_and_no_mean(tmp_path):
    days = layer(at={(10.25, 50.25): 360, (10.75, 50.25): 364, (11.25, 50.25): 5})
    folder = write_calendar(tmp_path / "c", sc_sos=days, sc_eos=layer(150))
    planting, _ = find_seasons(read_area("10,50,11.5,50.5"), 2024, "calendar", calendar=folder)
    assert "sown about day 364" in planting.why
    assert planting.start == day_of(2023, 350)


def test_calendar_without_data_falls_back_and_says_so(tmp_path):
    folder = write_calendar(
        tmp_path / "c",
        sc_sos=layer(at={(10.25, 50.25): 100}),
        sc_eos=layer(at={(10.25, 50.25): 250}),
    )
    for area in (at(30), read_area("10,-70,11,-69"), at(84)):  # nodata, and beyond the raster
        planting, harvest = find_seasons(area, 2024, "calendar", calendar=folder)
        assert planting.why.startswith(
            "the calendar of summer crops has no data here: latitude rule at"
        )
        assert (planting.start, harvest.end) == (
            find_seasons(area, 2024)[0].start,
            find_seasons(area, 2024)[1].end,
        )
    some, _ = find_seasons(read_area("10,50,11,50.5"), 2024, "calendar", calendar=folder)
    assert "sown about day 100" in some.why
    assert "covers 50% of the area" in some.why


def test_calendar_across_the_antimeridian(tmp_path):
    days = layer(at={(179.75, -17.25): 300, (-179.75, -17.25): 310, (-179.25, -17.25): 310})
    folder = write_calendar(tmp_path / "c", sc_sos=days, sc_eos=layer(100))
    assert (
        "sown about day 310"
        in find_seasons(read_area("179.5,-17.5,-179,-17"), 2024, "calendar", calendar=folder)[0].why
    )
    assert (
        "sown about day 300"
        in find_seasons(read_area("179.5,-17.5,-179.9,-17"), 2024, "calendar", calendar=folder)[
            0
        ].why
    )


@pytest.mark.parametrize(
    "box", ["10,50,11.5,50.5", "-3,50,2,51", "179,-17.5,-179,-17", "-60,-35,-59,-33"]
)
def test_calendar_from_0_to_360_degrees(tmp_path, box):
    random = np.random.default_rng(5)
    layers = {name: random.integers(1, 366, CELLS.shape) for name in ("sc_sos", "sc_eos")}
    folder = write_calendar(tmp_path / "c", **layers)
    wrapped = GeoBox(CELLS.shape, Affine(0.5, 0, 0, 0, -0.5, 84.5), "EPSG:4326")
    (tmp_path / "w").mkdir()
    for name, values in layers.items():
        with create_cog(
            tmp_path / "w" / f"{name}.tif", wrapped, ("day",), "int16", nodata=0
        ) as sink:
            sink.write(whole(wrapped), np.roll(values, 360, axis=1)[None].astype("int16"))
    area = read_area(box)
    assert find_seasons(area, 2024, "calendar", calendar=tmp_path / "w") == find_seasons(
        area, 2024, "calendar", calendar=folder
    )


def test_calendar_that_is_missing_or_wrong(tmp_path):
    with pytest.raises(BadInput, match="none does not exist"):
        find_seasons(at(50), 2024, "calendar", calendar=tmp_path / "none")
    folder = write_calendar(tmp_path / "c", sc_sos=layer(121), sc_eos=layer(274))
    with pytest.raises(BadInput, match=r"holds no wc_sos\*\.tif"):
        find_seasons(at(50), 2024, "calendar", "winter", folder)
    with pytest.raises(UnknownName, match="calendar"):
        find_seasons(at(50), 2024, "calender")
    with pytest.raises(UnknownName, match="winter"):
        find_seasons(at(50), 2024, "calendar", "wintr", folder)
    grid = GeoBox((4, 4), Affine(50000, 0, 0, 0, -50000, 5e6), "EPSG:3857")
    with create_cog(folder / "wc_sos.tif", grid, ("day",), "int16", nodata=0) as sink:
        sink.write(whole(grid), np.ones((1, 4, 4), "int16"))
    with pytest.raises(GridMismatch, match="longitude and latitude"):
        find_seasons(at(50), 2024, "calendar", "winter", folder)


@given(
    st.lists(st.tuples(st.integers(1, 365), st.integers(1, 5)), min_size=1, max_size=9),
    st.integers(0, 364),
)
def test_circular_median_turns_with_the_year(days, turn):
    values, weights = np.array(days).T
    median = circular_median(values, weights.astype(float))

    def cost(day, all_days):
        apart = np.abs(all_days - day) % 365
        return (np.minimum(apart, 365 - apart) * weights).sum()

    assert median in values
    assert cost(median, values) == min(cost(day, values) for day in values)
    turned = (values - 1 + turn) % 365 + 1
    assert cost(circular_median(turned, weights.astype(float)), turned) == cost(median, values)


def test_median_is_no_mean():
    assert circular_median(np.array([100, 101, 200]), np.ones(3)) == 101
    assert circular_median(np.array([100, 300]), np.array([1.0, 2.0])) == 300
    assert circular_median(np.array([7]), np.ones(1)) == 7


# given


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-01/2024-05-31",
        " 2024-03-01 / 2024-05-31 ",
        "2024-03-01..2024-05-31",
        "2024-03-01,2024-05-31",
    ],
)
def test_given_dates(text):
    season = parse_season(text, "window_a")
    assert (season.name, season.start, season.end, season.why) == (
        "window_a",
        date(2024, 3, 1),
        date(2024, 5, 31),
        "given",
    )


def test_given_seasons():
    planting, harvest = given_seasons("2023-11-01/2023-12-31", "2024-03-01/2024-05-01")
    assert (planting.name, harvest.name) == ("window_a", "window_b")
    assert planting.end < harvest.start
    assert parse_season("2024-02-29/2024-02-29", "window_b").start == date(2024, 2, 29)
    with pytest.raises(BadInput, match="does not begin before harvest"):
        given_seasons("2024-03-01/2024-05-01", "2024-03-01/2024-06-01")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2024-03-01", "two days like"),
        ("spring", "two days like"),
        ("", "two days like"),
        ("2024-03-01/2024-02-31", "day"),
        ("2024/03/01", "two days like"),
        ("2024-05-31/2024-03-01", "the earlier one first"),
        ("2022-03-01/2024-03-01", "no more than a year"),
        ("2012-03-01/2012-05-01", "from 2015 on"),
    ],
)
def test_given_dates_that_are_none(text, says):
    with pytest.raises(BadInput, match=says):
        parse_season(text, "window_a")


@given(st.dates(date(2015, 1, 1), date(2100, 1, 1)), st.integers(0, 365))
def test_any_two_days_in_order_are_read(start, days):
    season = parse_season(f"{start}/{start + timedelta(days=days)}", "window_b")
    assert (season.end - season.start).days == days


# a calendar of regions


def _regions(tmp_path, *rows):
    """Write regions: (west, south, east, north), properties."""
    features = [
        {
            "type": "Feature",
            "properties": said,
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]],
            },
        }
        for (w, s, e, n), said in rows
    ]
    path = tmp_path / "seasons.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


KHARIF = {"name": "Punjab, kharif", "planting": "06-01/07-15", "harvest": "09-15/11-15"}
RABI = {"planting": "11-01/12-15", "harvest": "03-15/04-30"}


def _days(seasons):
    return [f"{day}" for season in seasons for day in (season.start, season.end)]


def test_a_region_says_its_days_and_elsewhere_the_latitude(tmp_path):
    path = _regions(tmp_path, ((74, 29, 77, 32), KHARIF), ((77, 29, 80, 32), RABI))
    west, east, beyond = (
        find_seasons(at(30.5, x), 2024, "calendar", calendar=path) for x in (75, 78, 81)
    )
    assert _days(west) == ["2024-06-01", "2024-07-15", "2024-09-15", "2024-11-15"]
    assert west[0].why == "seasons.geojson: Punjab, kharif"
    # sown the year before: the year is that of the harvest
    assert _days(east) == ["2023-11-01", "2023-12-15", "2024-03-15", "2024-04-30"]
    assert _days(beyond) == _days(find_seasons(at(30.5, 81), 2024))
    assert "seasons.geojson has no region here: latitude rule" in beyond[0].why


def test_the_region_that_holds_most_decides_and_a_crop_chooses(tmp_path):
    over_new_year = {"planting": "10-01/11-30", "harvest": "12-20/01-15", "crop": "winter"}
    path = _regions(tmp_path, ((9, 39, 10.05, 41), KHARIF), ((10.05, 39, 11, 41), over_new_year))
    summer = find_seasons(at(40), 2024, "calendar", calendar=path)
    assert "holds 75%" in summer[0].why
    assert _days(summer)[0] == "2024-06-01"
    winter = find_seasons(at(40, 10.5), 2023, "calendar", "winter", path)
    assert _days(winter) == ["2023-10-01", "2023-11-30", "2023-12-20", "2024-01-15"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({**KHARIF, "planting": "June"}, "The planting 'June' was given for Punjab, kharif"),
        ({**KHARIF, "harvest": "02-30/03-15"}, "The harvest '02-30/03-15'"),
        ({"planting": "06-01/07-15"}, "The harvest None was given for region 1"),
        ({**KHARIF, "crop": "maize"}, "wanted is summer or winter"),
    ],
)
def test_a_region_that_says_no_days_is_refused(tmp_path, said, problem):
    path = _regions(tmp_path, ((9, 39, 11, 41), said))
    with pytest.raises(BadInput, match=re.escape(problem)):
        find_seasons(at(40), 2024, "calendar", calendar=path)


def test_a_crop_without_effect_and_files_of_no_regions_are_refused(tmp_path):
    path = _regions(tmp_path, ((9, 39, 11, 41), KHARIF))
    with pytest.raises(BadInput, match=r"no region of .* says its crop, so it has no effect"):
        find_seasons(at(40), 2024, "calendar", "winter", path)
    path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(BadInput, match="holds no regions"):
        find_seasons(at(40), 2024, "calendar", calendar=path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableFile, match="cannot be read"):
        find_seasons(at(40), 2024, "calendar", calendar=path)


# the zones of WorldCereal


def zone(number, box, **days):
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"aez_id": number, **days}, "geometry": shape}


@pytest.fixture
def zones(tmp_path):
    """Zones as ESA WorldCereal publishes them; days as its own repository calls them, in one."""
    told = [
        zone(1, (0, 40, 10, 60), **{
            "tc-maize-main_sos": 121, "tc-maize-main_eos": 274,
            "tc-wintercereals_sos": 290, "tc-wintercereals_eos": 201,
        }),
        zone(2, (10, 40, 20, 60), **{
            "tc-maize-main_sos": 0, "tc-maize-main_eos": 0,
            "tc-wintercereals_sos": 280, "tc-wintercereals_eos": 190,
        }),
        zone(3, (20, -40, 30, -20), m1sos_avg=300, m1eos_avg=5, wwsos_avg=None, wweos_avg=None),
    ]  # fmt: skip
    path = tmp_path / "WorldCereal_AEZ.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    return path


@pytest.mark.parametrize(
    ("box", "crop", "planting", "harvest"),
    [  # day +- 14 by hand: 121 of 2023 is 1 May, 274 is 1 October, 290 of 2022 is 17 October ...
        ("5,50,5.1,50.1", "summer", ("2023-04-17", "2023-05-15"), ("2023-09-17", "2023-10-15")),
        ("5,50,5.1,50.1", "winter", ("2022-10-03", "2022-10-31"), ("2023-07-06", "2023-08-03")),
        ("25,-30,25.1,-29.9", "summer", ("2022-10-13", "2022-11-10"), ("2022-12-22", "2023-01-19")),
    ],
)
def test_zones_of_worldcereal_are_a_calendar(zones, box, crop, planting, harvest):
    found = find_seasons(read_area(box), 2023, "calendar", crop, zones)
    assert [(one.start.isoformat(), one.end.isoformat()) for one in found] == [planting, harvest]
    assert found[0].why.endswith(
        f"zone {1 if crop == 'winter' or box[0] == '5' else 3}, {crop} crops"
    )


def test_where_a_zone_does_not_grow_a_crop_the_latitude_decides(zones):
    for box, crop in (("15,50,15.1,50.1", "summer"), ("25,-30,25.1,-29.9", "winter")):
        found = find_seasons(read_area(box), 2023, "calendar", crop, zones)
        by_rule = find_seasons(read_area(box), 2023)
        assert [(one.start, one.end) for one in found] == [(o.start, o.end) for o in by_rule]
        assert "has no region here: latitude rule" in found[0].why


@pytest.mark.parametrize("day", [-1, 367, "1", float("nan"), True])
def test_days_of_zones_that_are_none_are_one_sentence(zones, day):
    told = json.loads(zones.read_text())
    told["features"][0]["properties"]["tc-maize-main_sos"] = day
    zones.write_text(json.dumps(told))
    with pytest.raises(BadInput, match="wanted are days of the year, 1 to 366"):
        find_seasons(read_area("5,50,5.1,50.1"), 2023, "calendar", "summer", zones)
