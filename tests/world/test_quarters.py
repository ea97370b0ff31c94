"""Seasons become quarters: days are counted one by one."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selion import models
from selion.errors import BadInput, BandMismatch
from selion.imagery import Season, find_seasons, read_area
from selion.segmenter import InputSpec
from selion.world.quarters import Quarter, check_published, choose_quarters, quarter_of


def seasons(lon, lat, year=2023):
    return find_seasons(read_area((lon, lat, lon + 0.1, lat + 0.1)), year)


@given(st.dates(date(2017, 1, 1), date(2025, 1, 1)), st.integers(0, 200))
def test_the_quarter_holds_most_days(start, length):
    end = start + timedelta(days=length)
    days = [start + timedelta(days=k) for k in range(length + 1)]
    counted = [(day.year, (day.month - 1) // 3 + 1) for day in days]
    most = max(counted.count(one) for one in set(counted))
    first = min(one for one in counted if counted.count(one) == most)
    found = quarter_of(Season("window_a", start, end))
    assert (found.year, found.number) == first


def test_quarters_have_their_days():
    assert Quarter(2024, 1).end == date(2024, 3, 31)
    assert Quarter(2024, 4).next == Quarter(2025, 1)
    assert str(Quarter(2024, 4)) == "Q4 2024"
    assert Quarter(2024, 4).end == date(2024, 12, 31)


def test_two_dates_in_the_north_and_in_the_south():
    card = models.find_card("fields-s2-2season")
    north = choose_quarters(card.inputs, card.name, 2023, seasons(-121.0, 38.3))
    # 1 March to 30 April: 31 of 61 days in the first quarter; August to October: 61 of 92
    assert set(north.places) == {
        (Quarter(year, number), kind)
        for year, number in ((2023, 1), (2023, 3))
        for kind in ("B04", "B03", "B02", "B08")
    }
    south = choose_quarters(card.inputs, card.name, 2023, seasons(148.0, -34.0))
    # 1 September to 30 November of the year before: 61 of 91 days in its last quarter
    assert south.quarters == (Quarter(2022, 4), Quarter(2023, 1))
    planting = dict(zip(south.bands, south.places, strict=True))["window_a:nir"]
    assert planting == (Quarter(2022, 4), "B08")
    assert any("planting season" in note and "Q4 2022" in note for note in south.notes)
    with pytest.raises(BadInput, match="Q4 2022 is wanted, but x has 2023 to 2025"):
        check_published(south, (2023, 2024, 2025), "x")


def test_any_number_of_dates_gets_both_seasons():
    inputs = InputSpec(("red", "green", "blue", "nir"), dates="any", optional=("nir",))
    found = choose_quarters(inputs, "sets", 2023, seasons(-121.0, 38.3))
    assert found.bands[::4] == ("window_a:red", "window_b:red")
    assert found.places[0] == (Quarter(2023, 1), "B04")
    assert found.places[7] == (Quarter(2023, 3), "B08")
    assert not any("one date" in note for note in found.notes)


def test_one_date_is_the_harvest_and_that_is_said():
    found = choose_quarters(InputSpec(("red", "green", "blue")), "rgb", 2023, seasons(-121.0, 38.3))
    assert found.places == tuple((Quarter(2023, 3), kind) for kind in ("B04", "B03", "B02"))
    assert found.kinds == ("B04", "B03", "B02")
    assert "the model looks at one date" in found.notes[0]


def test_a_model_of_quarters_gets_them_all_in_its_order():
    card = models.find_card("ftw-2e")
    found = choose_quarters(card.inputs, card.name, 2020, ())
    assert [f"{quarter.name}_{kind}" for quarter, kind in found.places] == list(card.inputs.bands)
    assert {quarter.year for quarter, _ in found.places} == {2020}
    assert found.notes == ()


def test_dates_that_fall_together_are_said():
    near = (
        Season("window_a", date(2023, 4, 1), date(2023, 5, 1)),
        Season("window_b", date(2023, 6, 1), date(2023, 6, 20)),
    )
    card = models.find_card("fields-s2-2season")
    found = choose_quarters(card.inputs, card.name, 2023, near)
    assert found.quarters == (Quarter(2023, 2),)
    assert "same image twice" in found.notes[-1]


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        (("red", "green", "B11"), "wants the band B11; quarterly mosaics have red, green, blue"),
        (("Q1_B04", "Q2_B05"), "wants the band Q2_B05"),
        (("first:red", "second:red"), "wants images of first, second"),
        (("elevation",), "wants the band elevation"),
    ],
)
def test_bands_that_are_not_there_are_refused_by_name(bands, words):
    with pytest.raises(BandMismatch, match=words):
        choose_quarters(InputSpec(bands), "m", 2023, seasons(-121.0, 38.3))
