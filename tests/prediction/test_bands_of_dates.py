"""Which bands are which date: indexes written by hand, and refusals that say what to do."""

import pytest

from selion.errors import BandMismatch
from selion.prediction import has_bands
from selion.prediction.bands_of_dates import MISSING, choose_dates, counts_as_dates
from selion.segmenter import InputSpec

COLOURS = ("red", "green", "blue", "nir")
INPUTS = InputSpec(COLOURS, dates="any", optional=("nir",))
NO = MISSING


def dated(dates, colours=COLOURS):
    return tuple(f"{date}:{name}" for date in dates for name in colours)


@pytest.mark.parametrize(
    ("given", "dates"),
    [
        (("red", "green", "blue"), [(0, 1, 2, NO)]),
        (("B02", "B03", "B04", "B08"), [(2, 1, 0, 3)]),
        (("R", "G", "B"), [(0, 1, 2, NO)]),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), [(2, 1, 0, 3)]),
        # other bands are left alone
        (("coastal", "blue", "green", "red", "nir", "swir16"), [(3, 2, 1, 4)]),
        (dated(("window_a", "window_b")), [(0, 1, 2, 3), (4, 5, 6, 7)]),
        (dated(("harvest", "planting"), COLOURS[:3]), [(0, 1, 2, NO), (3, 4, 5, NO)]),
        (
            dated(("2024-05-01", "2024-06-03", "2024-07-20", "2024-08-02", "2024-09-09")),
            [tuple(range(4 * k, 4 * k + 4)) for k in range(5)],
        ),
        # twelve bands are three dates with near infrared, or four without: their names tell
        (dated("abcd", COLOURS[:3]), [(3 * k, 3 * k + 1, 3 * k + 2, NO) for k in range(4)]),
        # colours that come again: date after date, and interleaved
        (COLOURS * 3, [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]),
        (("r", "r", "g", "g", "b", "b"), [(0, 2, 4, NO), (1, 3, 5, NO)]),
        # one date with near infrared, one without
        (
            (*dated(["window_a"]), *dated(["window_b"], COLOURS[:3])),
            [(0, 1, 2, 3), (4, 5, 6, NO)],
        ),
        (("red", "green", "blue", *dated(["harvest"])), [(0, 1, 2, NO), (3, 4, 5, 6)]),
    ],
)
def test_names_tell_dates(given, dates):
    assert choose_dates(given, INPUTS).dates == tuple(dates)
    assert has_bands(given, INPUTS)


@pytest.mark.parametrize(
    ("count", "dates"),
    [(3, [(0, 1, 2, NO)]), (4, [(0, 1, 2, 3)]), (8, [(0, 1, 2, 3), (4, 5, 6, 7)])],
)
def test_bands_without_names_are_taken_by_position_and_that_is_said(count, dates):
    given = tuple(f"band_{k}" for k in range(count))
    found = choose_dates(given, INPUTS)
    assert found.dates == tuple(dates)
    assert "in the order of the file, as" in found.note
    assert counts_as_dates(count, INPUTS)
    assert not has_bands(given, INPUTS)


def test_what_is_looked_at_is_said():
    def note(given):
        return choose_dates(given, INPUTS).note

    assert note(COLOURS) == ""
    assert note(COLOURS[:3]) == "The image has no nir: the model goes by red, green, blue."
    two = dated(("window_a", "window_b"))
    assert note(two) == "The model looks at the 2 dates of the image together."
    assert note(two[:7]).endswith("together, 1 of them without nir.")
    assert note(dated("abc", COLOURS[:3])).endswith("together, all of them without nir.")
    # a TIFF whose photometric says red, green, blue, and nothing of the other five
    silent = note((*COLOURS[:3], *(f"band_{k}" for k in range(4, 9))))
    assert "Bands 4, 5, 6, 7, 8 of the image do not say what they are and are left out" in silent
    assert "Band 4 of the image does not say what it is" in note((*COLOURS[:3], "band_4"))


@pytest.mark.parametrize(
    ("asked", "dates"),
    [
        ((3, 2, 1), [(2, 1, 0, NO)]),
        ((3, 2, 1, 4), [(2, 1, 0, 3)]),
        (("c", "2", "a", 8), [(2, 1, 0, 7)]),
        ((1, 2, 3, 5, 6, 7), [(0, 1, 2, NO), (4, 5, 6, NO)]),
        (tuple(range(1, 9)), [(0, 1, 2, 3), (4, 5, 6, 7)]),
    ],
)
def test_bands_may_be_named_date_after_date(asked, dates):
    assert choose_dates(tuple("abcdefgh"), INPUTS, asked).dates == tuple(dates)


@pytest.mark.parametrize(
    ("given", "asked", "sentence"),
    [
        (tuple("uvwxyz"), None, r"6 bands \(u, v.* do not say what they are.*2024-05-01:red"),
        (("red", "green", "nir"), None, r"lacks blue; the model wants .*nir may be missing\)"),
        (dated(["a", "b"])[:6], None, r"lacks blue of the date window_b"),
        ((*dated(["june"]), "june:red"), None, r"red of the date june twice"),
        (COLOURS, (1, 2), "2 bands were named"),
        (COLOURS, (1, 2, 3, 4, 1), "5 bands were named"),
        (COLOURS, (1, 2, 9), "no band 9"),
        (COLOURS, (1, 2, 0), "no band 0"),
        (("pan",), None, r"1 bands \(pan\)"),
    ],
)
def test_what_cannot_be_understood_is_refused(given, asked, sentence):
    with pytest.raises(BandMismatch, match=sentence):
        choose_dates(given, INPUTS, asked)
    if asked is None:
        assert not has_bands(given, INPUTS)
