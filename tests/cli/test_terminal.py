"""What a person sees in a terminal: nothing drawn twice or erased, the path on the last line."""

import re

import pytest

from selion.cli.fitted import fitted
from terminal import Screen, seen

NOTE = (
    "The image's pixels are 10 m on the ground: interpolated up to 5 m (the model was trained on "
    "5 m pixels), from 578 x 379 to 1156 x 758 pixels."
)
VERB = """
import sys, time, click
from selion.cli import options as opt
from selion.cli.progress import reporter
with reporter(quiet=False, as_json=False) as say:
    say.note("The image's pixels are 10 m on the ground: interpolated up to 5 m (the model was "
             "trained on 5 m pixels), from 578 x 379 to 1156 x 758 pixels.")
    for done in range(4):
        say.step("predict", done, 3, f"{done} km2/s")
        time.sleep(0.12)
        if done == 1:
            say.note("A note in between.")
            click.echo("A line in between.", err=True)
    say.step("objects", 1, 2, "[half] " + 30 * "long ")
    click.echo("tile   season")
    say.step("objects", 2, 2, "454")
    opt.print_result("somewhere/fields.parquet", {"fields": 454, "mean_confidence": 0.79},
                     opt.VerbChoice())
"""


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_all_is_there_once_and_the_path_comes_last(columns):
    lines, _, code = seen(["-c", VERB], columns)
    assert code == 0
    assert lines[-3:] == [
        "fields             454",
        "mean confidence    0.79",
        "somewhere/fields.parquet",
    ]
    whole = " ".join(lines)  # lines break between words
    for once in ("A note in between.", "A line in between.", "tile   season", NOTE):
        assert whole.count(once) == 1, once
    bars = [re.sub(r"\s+", " ", re.sub("[━╸╺]+", "-", line)) for line in lines if "━" in line]
    assert [bar.split()[0] for bar in bars] == ["predict", "objects"]
    assert all("- 100%" in bar for bar in bars)
    assert all(len(line) <= columns for line in lines)
    assert lines.index("A line in between.") < lines.index("tile   season")


def test_a_run_that_fails_leaves_its_bar_above_the_sentence():
    broken = VERB.replace("opt.print_result(", 'raise SystemExit("Error: it broke.")\n    (')
    lines, _, code = seen(["-c", broken.replace("2, 2", "1, 2")], 80)
    assert code == 1
    assert lines[-1] == "Error: it broke."
    assert lines[-2].startswith("objects")
    assert " 50%" in lines[-2]


def test_the_path_alone_goes_where_standard_output_goes(tmp_path):
    with (tmp_path / "out.txt").open("wb") as file:
        lines, _, code = seen(["-c", VERB], 80, stdout=file)
    assert code == 0
    assert (tmp_path / "out.txt").read_text() == "tile   season\nsomewhere/fields.parquet\n"
    assert "somewhere/fields.parquet" not in " ".join(lines)
    assert lines[-1] == "mean confidence    0.79"


TABLE = """# Scores

| measure | mine | grid of 82 px (content-free) | one object everywhere (content-free) |
|---|---|---|---|
| merge-and-match IoU, largest (higher is better) | 0.360 ! | 0.199 | 0.001 |
| pixel IoU (higher is better) | 0.836 | 0.564 | 0.564 |

`!` a line of text that is longer stays as it is, as the terminal breaks it by itself.
"""


@pytest.mark.parametrize("columns", [60, 80, 300])
def test_a_table_that_is_too_wide_is_laid_out_anew(columns):
    made = fitted(TABLE, columns)
    lines = made.splitlines()
    assert all(len(line) <= columns for line in lines if not line.startswith("`"))
    assert lines[0] == "# Scores"
    assert sorted(re.findall(r"[\w.!]+", made)) == sorted(re.findall(r"[\w.!]+", TABLE))
    assert (made == TABLE) == (columns == 300)
    row = next(line for line in lines if "0.360" in line)
    assert re.search(r"0\.360 ! .*0\.199 .*0\.001", row)


def test_a_row_without_words_stays_in_a_table_that_is_laid_out_anew():
    """A rule is the second line, whatever stands in others."""
    assert fitted("| | |\n|---|---|\n| a word too long | 1 |\n| - | - |", 14) == (
        "\n-----------  -\na word too   1\nlong\n-            -"
    )
    assert fitted("| | |\n|---|---|", 1) == "\n-  -"


def test_the_screen_of_these_tests_does_as_a_terminal_does():
    screen = Screen(10)
    screen.feed("0123456789ab\r\nx\x1b[31my\x1b[0m\r\x1b[1A\x1b[2Knew\x1b[1B\rz")
    assert screen.text() == ["0123456789", "new", "zy"]
