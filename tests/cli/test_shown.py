"""What a verb shows of its options, that a name means the same in all verbs, and former names."""

from __future__ import annotations

import os
import re
from collections import defaultdict

import click
import pytest
from click.testing import CliRunner

from option_walk import commands, options_of
from selion.cli import shown
from selion.cli.main import cli
from selion.errors import BadInput

VERBS = dict(commands())
OUTPUTS = [
    (verb, param.name)
    for verb, command in VERBS.items()
    for param in command.params
    if {"--out", "--work"} & set(param.opts) and not param.is_flag
]
MEANINGS = {
    "--bands": "bands of the image, in the model's order",
    "--batch": "windows given to the network at once",
    "--block": "edge of a block in pixels",
    "--bootstrap": "samples for intervals",
    "--boundary": "how a boundary is drawn inside fields",
    "--boundary-ratio": "width of the band of boundary IoU as a share of the diagonal",
    "--browser": "open the page",
    "--by": "also score by the values of this column",
    "--cell": "size of a partition: characters of its geohash",
    "--classes": "the classes that ids stand for",
    "--codes": "what a code on a label says, {plot} where the plot stands",
    "--collection": "id of the fiboa collection",
    "--consistency": "a raster of how sure windows agree",
    "--count": "how many are drawn",
    "--countries": "only these",
    "--cover": "where objects lie with --refine",
    "--crs": "grid of the result",
    "--data": "what is scored, as the paper's data lies",
    "--dates": "two date ranges",
    "--district-column": "column of the districts' names",
    "--districts": "polygons of districts",
    "--dry-run": "print the plan and stop",
    "--edge": "edge of a job's square in km",
    "--engine": "what runs the network",
    "--fast": "compute in bfloat16",
    "--flips": "average over flips and rotations",
    "--force": "replace what is there",
    "--from": "a published edition",
    "--groups": "only these",
    "--gsd": "metres of a pixel at which one works",
    "--image": "an image",
    "--json": "print JSON",
    "--land-cover": "rasters of land cover",
    "--land-cover-crops": "codes that are crops",
    "--layout": "how files lie in a folder",
    "--licence": "of images and labels, for the card",
    "--max-area": "largest field in m2",
    "--method": "how probabilities become objects",
    "--min-area": "smallest field, or piece of one, in m2",
    "--min-pixels": "smallest plant or leaf in pixels",
    "--model": "a model's name or folder",
    "--mosaic": "folder of the composites of whole tiles",
    "--name-column": "column of the plots' names",
    "--out": "where the result goes",
    "--overlap": "share of a square in common with its neighbour",
    "--overwrite": "replace what is there",
    "--page": "also write a page",
    "--pattern": "how photographs are named",
    "--person": "name recorded with each action",
    "--mm-per-pixel": "millimetres of a pixel of a photograph",
    "--photos": "photographs of the plants",
    "--pixel": "metres of a pixel of images that are made",
    "--plan": "folder of a plan",
    "--port": "port on 127.0.0.1",
    "--preview": "write a picture beside the output",
    "--price": "dollars per core and hour",
    "--prices": "price sheet",
    "--profile": "print the time of each stage",
    "--quick": "a sample and stand-ins, in minutes",
    "--quiet": "print the path alone",
    "--refine": "a model that separates objects",
    "--root": "where a dataset lies that is known by name",
    "--runner": "what runs the blocks",
    "--sam": "a checkpoint that finds an edge at a click",
    "--scale": "resize the image by this factor for the model",
    "--scores": "class probabilities of a map",
    "--seed": "another number gives another draw",
    "--set": "change a value of the recipe",
    "--simplify": "simplify outlines by metres",
    "--size": "edge of a square image in pixels",
    "--split": "only this split",
    "--sure": "least probability of a model's answer that counts as known",
    "--table": "a table of the paper",
    "--test": "share for testing",
    "--threads": "threads of this machine",
    "--tolerance": "pixels by which outlines may differ",
    "--val": "share for validation",
    "--vote": "parameters of --method vote",
    "--truth": "what is right, to compare with",
    "--weights": "a folder of models, called as the rows",
    "--window": "edge of a window in pixels",
    "--work": "folder of finished parts",
    "--workers": "what works at once on this machine or cluster",
    "--year": "the year of the fields",
}
"""What a name means that more than one verb has; each verb's own help says it in its own words."""
SAID = {
    "--gsd": "metres",
    "--pixel": "metres|[Pp]ixel size",
    "--scale": "factor",
    "--refine": "boundary",
    "--workers": "[Ww]orkers|at once",
    "--min-area": r"\(?m2\)?",
    "--max-area": "m2",
    "--edge": "km",
    "--size": "[Ee]dge",
    "--dates": "date ranges",
    "--districts": "[Pp]olygons",
    "--district-column": "[Cc]olumn",
    "--seed": "|Seed|number",
    "--year": "year|Year",
    "--window": "pixels",
    "--profile": "time",
}
"""Words that the help of such an option has to have in each verb, where two were once mixed up."""


def long_names():
    found = defaultdict(dict)
    for verb, command in VERBS.items():
        for option in options_of(command):
            for name in option.opts:
                if name.startswith("--") and not option.hidden:
                    found[name][verb] = option
    return found


def test_a_name_means_the_same_in_all_verbs():
    found = long_names()
    for name, words in SAID.items():
        for verb, option in found[name].items():
            assert re.search(words, option.help or ""), f"{name} of {verb}: {option.help}"
    many = {
        name
        for name, verbs in found.items()
        if len({option.help for option in verbs.values()}) > 1 and "_" not in name
    }
    assert many - MEANINGS.keys() == set(), "say what it means, or give it another name"


def test_a_former_name_is_never_a_name_and_leads_to_one():
    for verb, names in shown.FORMER.items():
        known = {name for option in options_of(VERBS[verb]) for name in option.opts}
        assert names.keys() & known == set(), verb
        assert set(names.values()) <= known, verb


@pytest.mark.parametrize("verb", shown.FORMER)
def test_former_names_work_and_say_the_new_one(verb):
    for old, new in shown.FORMER[verb].items():
        done = CliRunner().invoke(cli, [*verb.split(), f"{old}=", "--help"])
        assert f"{old} is called {new} in" in done.output
        assert "the old name still works" in done.output


def test_a_former_name_has_its_value(tmp_path):
    out = tmp_path / "s"
    done = CliRunner().invoke(cli, ["simulate", "-o", str(out), "--gsd", "61", "--size", "32"])
    assert done.exit_code == 2
    assert "'--pixel'" in done.output
    assert "61" in done.output


@pytest.mark.parametrize("verb", VERBS)
def test_all_options_are_in_the_long_help_and_common_ones_in_the_short(verb):
    VERBS[verb]._help_option = None  # click keeps that of a test which called the verb by itself
    texts = [CliRunner().invoke(cli, [*verb.split(), word]).output for word in ("-h", "--help-all")]
    listed = [option for option in options_of(VERBS[verb]) if not option.hidden]
    short, long = texts if len(listed) > shown.FEW and "--help-all" in texts[0] else texts[:1] * 2
    for option in listed:
        name = next(one for one in option.opts if one.startswith("--") and "_" not in one)
        assert re.search(rf"(^|\s|/){name}\b", long, re.MULTILINE), name
        assert option.name in shown.hidden_names(VERBS[verb]) or name in short, name
        if option.required:
            assert name in short, "what is required is always shown"
    left = len(shown.hidden_names(VERBS[verb]))
    assert (f"{left} more options" in short) == bool(left)


def test_the_help_of_map_fits_a_screen_and_has_its_five_groups():
    text = CliRunner().invoke(cli, ["map", "-h"], env={"COLUMNS": "80"}).output
    headings = [line for line in text.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)]
    assert headings == ["Input:", "Model:", "Objects:", "Output:", "Running:", "Help:"]
    assert len(text.splitlines()) <= 75
    assert "More:" not in CliRunner().invoke(cli, ["map", "--help-all"]).output


def test_the_table_of_groups_names_each_parameter_that_is_rare():
    grouped = set(" ".join(shown.GROUPS.values()).split())
    known = {option.name for command in VERBS.values() for option in options_of(command)}
    for heading, names in shown.RARE.items():
        assert set(names.split()) <= grouped & known, (heading, set(names.split()) - known)


def test_click_itself_is_left_alone():
    assert "partial" not in repr(click.Command.format_options)


@pytest.mark.parametrize(("verb", "name"), OUTPUTS)
def test_results_have_names_in_utf8(verb, name):
    """Each of these ended in a traceback of Arrow or JSON, `map` after its whole run."""
    command = VERBS[verb]
    param = next(one for one in command.params if one.name == name)
    with pytest.raises(BadInput, match=r"out\\xff.x' is no name in UTF-8"):
        param.type_cast_value(click.Context(command), os.fsdecode(b"out\xff.x"))
