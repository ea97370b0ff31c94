"""What a card that ships says of its model's scores is what the page of weights says."""

from pathlib import Path

import pytest

from selion.models import load_model

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
COLUMNS = {"object_f1": 2, "precision": 3, "recall": 4, "pixel_iou": 5}


def rows():
    """First cell (repeated where it is empty) and second cell -> the cells of a row of scores."""
    text = PAGE.read_text().partition("## Scores")[2].partition("Printed by")[0]
    found, data = {}, ""
    for line in text.splitlines():
        cells = [cell.strip(" *`") for cell in line.strip("|").split("|")]
        if len(cells) == 7:
            data = cells[0] or data
            found[data.split("(")[0].strip(), cells[1].split("`")[0]] = cells
    return found


@pytest.mark.parametrize(
    ("model", "section", "data"),
    [
        ("fields-base", "naip_7_unseen_chips", "NAIP, 7 unseen chips"),
        ("fields-base", "estonia_s2_rgb_3_dates", "Estonia, Sentinel-2 true colour, 3 dates"),
        ("fields-base", "estonia_s2_two_dates", "Estonia, Sentinel-2, two dates"),
        ("fields-rgb-vhr", "naip_7_unseen_chips", "NAIP, 7 unseen chips"),
        ("fields-rgb-vhr", "estonia_s2_rgb_3_dates", "Estonia, Sentinel-2 true colour, 3 dates"),
        ("fields-s2-2season", "estonia_s2_two_dates", "Estonia, Sentinel-2, two dates"),
    ],
)
def test_cards_say_what_the_page_says(model, section, data):
    said, page = load_model(model).card.scores[section], rows()
    ours = page[data, model]
    assert {name: f"{said[name]:.3f}" for name in COLUMNS} == {
        name: ours[column] for name, column in COLUMNS.items()
    }
    way = "--method watershed"
    other = page[data, f"{model} {way}" if model == "fields-base" else way]
    assert f"{said['watershed_object_f1']:.3f}" == other[COLUMNS["object_f1"]]
