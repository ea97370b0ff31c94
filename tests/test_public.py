"""The public functions can be read: real parameters, each with a type and a sentence."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import selion

FUNCTIONS = sorted(name for name in selion.__all__ if inspect.isfunction(getattr(selion, name)))
FREE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def test_the_verbs_are_functions():
    assert {"compare_years", "composite", "evaluate", "map_fields", "predict", "train"} <= set(
        FUNCTIONS
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_says_what_is_wanted(name):
    found = inspect.signature(getattr(selion, name))
    assert len(found.parameters) <= 10
    assert found.return_annotation not in (inspect.Signature.empty, "Any")
    for parameter in found.parameters.values():
        assert parameter.kind not in FREE, f"{name}: {parameter}"
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter}"
        if name != "load_ipython_extension":  # IPython's own type, which selion does not need
            assert parameter.annotation != "Any", f"{name}: {parameter}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_names_every_parameter(name):
    function = getattr(selion, name)
    text = inspect.getdoc(function)
    _, _, listed = text.partition("Parameters\n----------\n")
    for parameter in inspect.signature(function).parameters:
        assert any(
            parameter in line.partition(" : ")[0].replace(",", " ").split()
            for line in listed.splitlines()
        ), f"{name}: nothing is said of {parameter}"


def test_help_shows_the_parameters():
    code = "import selion; help(selion.map_fields)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    image = "image: 'AreaLike | Source | ImageArray | Sequence[Path | str | Source]'"
    wanted = f"map_fields({image}, out: 'Path | str | None' = None"
    assert wanted in shown.stdout
    assert "area_options: 'AreaOptions | None' = None" in shown.stdout
