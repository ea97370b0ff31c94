"""The printed figures, against each other and by hand."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from selion.cli.reproduce import reproduce_group
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.models.card import CARD
from selion.papers import read_paper
from selion.papers.finding import find_weights
from selion.training.reading import list_recipes

PAPER = read_paper("prue")


def test_rows_of_each_table():
    counted = {table.number: len(table.rows) for table in PAPER.tables}
    assert counted == {1: 19, 2: 9, 4: 11, 5: 49, 6: 5}


@pytest.mark.parametrize(
    ("number", "model", "measure", "printed"),
    [
        (1, "mask2former", "object_precision", 0.62),
        (1, "frozen-clay", "parameters_m", 363.8),
        (1, "prue-b7", "throughput_km2_s", 306.94),
        (2, "ftw-v1", "scale_f1", 0.15),
        (2, "loss-log-cosh-dice", "order_iou", 0.13),
        (4, "probe-terrafm", "ap50_95", 0.02),
        (5, "ftw-v1", "scale_iou", 0.08),
        (5, "loss-tversky-ce", "agreement", 0.92),
        (5, "encoder-mit-b5", "brightness_f1", 0.02),
    ],
)
def test_figures_read_off_the_page(number, model, measure, printed):
    table = PAPER.table(number)
    assert next(r for r in table.rows if r.model.key == model).figures[measure] == printed


def test_what_is_not_printed_is_not_there():
    galileo = next(r for r in PAPER.table(1).rows if r.model.key == "frozen-galileo")
    assert "throughput_km2_s" not in galileo.figures


@pytest.mark.parametrize(
    ("model", "iou", "f1"), [("ftw-v1", 0.692, 0.384), ("prue-b7", 0.758, 0.475)]
)
def test_countries_of_table_6_average_to_the_other_tables(model, iou, f1):
    row = next(r for r in PAPER.table(6).rows if r.model.key == model)
    assert tuple(row.countries) == PAPER.countries
    assert len(row.countries) == 21
    mean = [sum(c[m] for c in row.countries.values()) / 21 for m in ("pixel_iou", "object_f1")]
    assert mean == pytest.approx([iou, f1], abs=5e-4)
    printed = next(r for r in PAPER.table(1).rows if r.model.key == model).figures
    assert abs(mean[0] - printed["pixel_iou"]) < 0.01
    assert abs(mean[1] - printed["object_f1"]) < 0.01


def test_table_1_knows_the_countries_of_the_same_models():
    rows = {row.model.key: row for row in PAPER.table(1).rows}
    assert rows["mask2former"].countries["denmark"] == {"pixel_iou": 0.57, "object_f1": 0.24}
    assert not rows["frozen-galileo"].countries
    assert [t.number for t in PAPER.tables if t.by_country] == [6]
    # Tables 2 and 5 print a baseline that was trained once more: .68 and .39
    assert not any(row.countries for row in PAPER.table(2).rows)


def test_no_presence_only_country_is_averaged():
    assert not {"brazil", "india", "kenya", "rwanda"} & set(PAPER.countries)
    assert "portugal" in PAPER.countries


def test_recipes_of_the_ablations_exist():
    known = set(list_recipes())
    wanted = {row.model.recipe for number in (2, 5) for row in PAPER.table(number).rows}
    assert wanted <= known


def test_unknown_tables_and_papers_are_refused():
    with pytest.raises(UnknownName, match="no table of PRUE called '7'"):
        PAPER.table(7)
    with pytest.raises(UnknownName, match="no paper called 'proo'"):
        read_paper("proo")


def card(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / CARD).write_text(
        f'name = "{name}"\n[inputs]\nbands = ["red"]\n[classes]\nnames = ["background", "field"]\n'
        'things = ["field"]\n'
    )
    return folder


def test_weights_are_found_by_folder_run_or_card(tmp_path):
    ours = PAPER.table(5).models
    named = card(tmp_path / "PRUE-B7", "whatever")
    run = card(tmp_path / "runs" / "encoder-b5" / "model", "a run")
    nested = card(tmp_path / "prue" / "loss-dice" / "model", "another")
    by_card = card(tmp_path / "x", "FTW_v1_3_Class_FULL")
    card(tmp_path / "unknown", "something else")
    found = find_weights(ours.values(), tmp_path)
    assert {key: one.path for key, one in found.items()} == {
        "prue-b7": named,
        "encoder-b5": run,
        "loss-dice": nested,
        "ftw-v1": by_card,
    }


def test_two_folders_of_one_name_are_refused(tmp_path):
    card(tmp_path / "prue-b7", "a")
    card(tmp_path / "runs" / "prue-b7", "b")
    with pytest.raises(BadInput, match=r"runs/prue-b7 are weights of prue-b7"):
        find_weights(PAPER.table(1).models.values(), tmp_path)
    with pytest.raises(UnreadableFile, match="no folder"):
        find_weights(PAPER.table(1).models.values(), tmp_path / "no")


def test_a_folder_stands_for_one_row_of_all_tables(tmp_path):
    """The card decides, beyond the table that is asked for too."""
    first, fifth = (PAPER.table(number).models.values() for number in (1, 5))
    by_card = card(tmp_path / "x", "loss-dice")
    assert find_weights(fifth, tmp_path)["loss-dice"].path == by_card
    both = card(tmp_path / "prue-b7", "loss-dice")
    for models in (first, fifth):
        with pytest.raises(BadInput, match=r"prue-b7, and its card\.toml as those of loss-dice"):
            find_weights(models, tmp_path)
    both.rename(tmp_path / "y")
    with pytest.raises(BadInput, match=r"x and \S+y are weights of loss-dice"):
        find_weights(fifth, tmp_path)
    (tmp_path / "y" / CARD).unlink()
    published = card(tmp_path / "FTW_PRUE_EFNET_B7", "PRUE")
    assert find_weights(first, tmp_path)["prue-b7"].path == published
    card(tmp_path / "prue-b7", "mine")
    with pytest.raises(BadInput, match=r"FTW_PRUE_EFNET_B7 and .* are weights of prue-b7"):
        find_weights(first, tmp_path)


def test_the_command_lists_rows(tmp_path):
    card(tmp_path / "prue-b7", "a")
    said = CliRunner().invoke(
        reproduce_group,
        ["prue", "--table", "1", "--weights", str(tmp_path)],
        catch_exceptions=False,
    )
    assert str(tmp_path / "prue-b7") in said.output
    assert "selion models fetch FTW_v1_3_Class_FULL" in said.output
    assert said.output.count("\n") == 20
