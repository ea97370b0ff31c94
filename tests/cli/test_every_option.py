"""No option is accepted and ignored: all options of all verbs are tried, in each of their modes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import option_modes
from option_walk import Inputs, Walk, commands, options_of

VERBS = dict(commands())
SOURCES = sorted((Path(__file__).resolve().parents[2] / "src").rglob("*.py"))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("inputs"), option_modes.INPUTS)


def test_every_verb_has_a_mode():
    lacking = VERBS.keys() - option_modes.MODES.keys()
    assert not lacking, f"add a small command of {sorted(lacking)} to MODES in option_modes.py"
    assert option_modes.MODES.keys() <= VERBS.keys(), "a verb that is no more"


def test_others_are_of_options_that_are_there():
    for verb, others in option_modes.OTHERS.items():
        known = {option.name for option in options_of(VERBS[verb])}
        assert others.keys() <= known, verb


@pytest.mark.parametrize("verb", VERBS)
def test_options_work_or_are_refused(verb, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    command, walk = VERBS[verb], Walk(tmp_path, inputs, monkeypatch)
    wrong, working = [], set()
    for mode in option_modes.MODES[verb]:
        verdicts, found = walk.examine(mode, command, option_modes.OTHERS.get(verb, {}))
        wrong += found
        working |= {name for name, verdict in verdicts.items() if verdict == "works"}
    exempt = option_modes.EXEMPT.get(verb, {})
    never = {option.name for option in options_of(command)} - working - exempt.keys()
    if never:
        wrong.append(f"refused in every mode, so add a mode in which they work: {sorted(never)}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_fields_of_choices_are_read():
    """A net below: what an options class holds is read by somebody, each field by its name."""
    texts = [path.read_text("utf-8") for path in SOURCES]
    read = {name for text in texts for name in re.findall(r"\.(\w+)", text)}
    held = {
        f"{node.name}.{line.target.id}"
        for text in texts
        if re.search(r"^class \w+(Options|Choice)\b", text, re.MULTILINE)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Options", "Choice"))
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    assert len(held) > 150
    assert {name for name in held if name.partition(".")[2] not in read} == set()
