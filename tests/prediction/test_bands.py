"""Which band goes into which channel, told from all the names that bands come with.

The wanted indexes are written by hand.
"""

from dataclasses import replace

import pytest

from predict_toys import Procedural, Toy, utm_grid
from selion.errors import BandMismatch
from selion.models import find_card, list_models
from selion.prediction import plan
from selion.prediction.bands import choose_bands

COLOURS = ("red", "green", "blue", "nir")
NUMBERS = ("B02", "B03", "B04", "B08")
A_B = (*(f"window_a:{name}" for name in COLOURS), *(f"window_b:{name}" for name in COLOURS))
HARVEST_FIRST = (
    *(f"harvest:{name}" for name in COLOURS),
    *(f"planting:{name}" for name in COLOURS),
)


@pytest.mark.parametrize(
    ("given", "wanted", "indexes"),
    [
        # one date
        (("B02", "B03", "B04", "B08"), COLOURS, (2, 1, 0, 3)),
        (("b8", "b4", "b3", "b2"), COLOURS, (1, 2, 3, 0)),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), COLOURS, (2, 1, 0, 3)),
        (("R", "G", "B", "NIR"), COLOURS, (0, 1, 2, 3)),
        (("NIR", "Red", "Green"), ("red", "green", "nir"), (1, 2, 0)),
        (("blue", "green", "red", "near infrared"), COLOURS, (2, 1, 0, 3)),
        (("red", "green", "blue", "nir08"), COLOURS, (0, 1, 2, 3)),
        (("B04 (665 nm)", "B03 (560 nm)", "B02 (490 nm)"), ("red", "green", "blue"), (0, 1, 2)),
        # dates by their names, in whatever order
        (A_B, HARVEST_FIRST, (4, 5, 6, 7, 0, 1, 2, 3)),
        (HARVEST_FIRST, A_B, (4, 5, 6, 7, 0, 1, 2, 3)),
        (
            tuple(
                f"{date}_{b}"
                for date in ("window_b", "window_a")
                for b in ("B02", "B03", "B04", "B08")
            ),
            A_B,
            (6, 5, 4, 7, 2, 1, 0, 3),
        ),
        (
            tuple(f"{date}:{b}" for b in COLOURS for date in ("planting", "harvest")),
            A_B,
            (0, 2, 4, 6, 1, 3, 5, 7),
        ),
        (
            tuple(
                f"{b}_{date}"
                for date in ("Planting", "Harvest")
                for b in ("red", "green", "blue", "nir")
            ),
            HARVEST_FIRST,
            (4, 5, 6, 7, 0, 1, 2, 3),
        ),
        # one of two dates, by name
        (A_B, tuple(f"harvest:{name}" for name in COLOURS), (4, 5, 6, 7)),
    ],
)
def test_bands_are_known_by_what_they_mean(given, wanted, indexes):
    assert choose_bands(given, wanted) == (indexes, "")


@pytest.mark.parametrize(
    "names",
    [
        NUMBERS * 2,
        tuple(f"{day}:{b}" for day in ("2024-04-11", "2024-08-30") for b in NUMBERS),
    ],
)
def test_two_dates_that_nobody_named(names):
    indexes, note = choose_bands(names, A_B, any_order=True)
    assert indexes == (2, 1, 0, 3, 6, 5, 4, 7)
    assert "order" in note
    with pytest.raises(BandMismatch, match=r"which of its two dates .*--bands 3,2,1,4,7,6,5,8"):
        choose_bands(names, A_B)
    with pytest.raises(BandMismatch, match="--bands 7,6,5,8,3,2,1,4"):
        choose_bands(names, HARVEST_FIRST)


def test_interleaved_dates_that_nobody_named():
    names = ("B02", "B02", "B03", "B03", "B04", "B04", "B08", "B08")
    assert choose_bands(names, A_B, any_order=True)[0] == (4, 2, 0, 6, 5, 3, 1, 7)


def test_bands_without_any_name_are_refused_where_the_order_of_dates_matters():
    names = tuple(f"band{k}" for k in range(1, 9))
    assert choose_bands(names, A_B, any_order=True)[0] == tuple(range(8))
    with pytest.raises(BandMismatch, match="--bands 1,2,3,4,5,6,7,8"):
        choose_bands(names, A_B)


def test_a_model_of_one_date_takes_the_first_of_two_and_says_so():
    indexes, note = choose_bands(("B04", "B03", "B02") * 2, ("red", "green", "blue"))
    assert indexes == (0, 1, 2)
    assert "2 dates" in note


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("red", "green", "blue"), ("red", "green", "nir")),  # not by position: blue is no nir
        (("B02", "B03", "B04", "B11"), COLOURS),
        (("window_a:red", "window_a:green"), ("window_b:red", "window_b:green")),
        (("B04", "B03", "B02", "B08", "B04", "B03", "B02", "B11"), A_B),
        (("B08", "B04", "B03"), ("red", "green", "blue")),
    ],
)
def test_names_that_contradict_the_model_are_refused(given, wanted):
    with pytest.raises(BandMismatch, match="lacks"):
        choose_bands(given, wanted, any_order=True)


def test_landsats_names_are_read_together():
    # SR_B1..B4 of Landsat 5 and 7 would be blue to near infrared, SR_B2..B5 are so on 8 and 9
    assert choose_bands(("SR_B1", "SR_B2", "SR_B3", "SR_B4"), COLOURS)[0] == (2, 1, 0, 3)
    assert choose_bands(("SR_B5", "SR_B4", "SR_B3", "SR_B2"), COLOURS)[0] == (1, 2, 3, 0)


def test_a_model_that_begins_with_the_harvest_is_told_otherwise():
    names = tuple(f"band{k}" for k in range(1, 9))
    with pytest.raises(BandMismatch, match="--bands 5,6,7,8,1,2,3,4 if the first is the planting"):
        choose_bands(names, HARVEST_FIRST)


class Either(Toy):
    """A toy that does not mind the order of its dates."""

    @property
    def inputs(self):
        return replace(super().inputs, any_order=True)


def test_a_plan_asks_the_model_whether_the_order_of_dates_matters():
    source = Procedural(utm_grid((64, 64)), bands=NUMBERS * 2)
    found = plan(source, Either(bands=A_B), None, "f")
    assert found.bands == (2, 1, 0, 3, 6, 5, 4, 7)
    assert any("any order" in note for note in found.notes)
    with pytest.raises(BandMismatch, match="--bands 3,2,1,4,7,6,5,8"):
        plan(source, Toy(bands=A_B), None, "f")


@pytest.mark.parametrize(
    ("name", "minds"), [("FTW_PRUE_EFNET_B3", False), ("fields-s2-2season", False)]
)
def test_cards_say_whether_the_order_of_dates_matters(name, minds):
    assert find_card(name).inputs.any_order is not minds


def test_legacy_cards_mind():
    cards = [card for card in list_models() if "order of the two seasons: harvest" in card.notes]
    assert cards
    assert not any(card.inputs.any_order for card in cards)


def test_bands_that_are_called_as_those_that_are_used_are_told():
    """Of sixteen bands, two images one after the other, the first eight were taken silently."""
    indexes, note = choose_bands((*A_B, *A_B), A_B)
    assert indexes == tuple(range(8))
    assert "8 bands more" in note
    assert "9,10,11,12,13,14,15,16" in note
    assert choose_bands((*A_B, "B12", "x"), A_B) == (tuple(range(8)), "")
