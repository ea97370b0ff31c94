"""What is imported is declared, and what a hint tells to install exists."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest

from architecture import ROOT, our_tree

DISTRIBUTIONS = {
    "PIL": "pillow",
    "cc3d": "connected-components-3d",
    "odc": "odc-geo",
    "skimage": "scikit-image",
    "zxingcpp": "zxing-cpp",
}
"""Modules whose distribution has another name."""
WITH_QGIS = {"qgis", "processing", "osgeo"}
"""Modules that come with QGIS, in whose Python the plugin runs."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TEXTS = ("src/**/*.py", "src/**/*.toml", "docs/**/*.md", "docs/**/*.py", "*.md", "Makefile")


def names(requirements: list[str]) -> set[str]:
    """Names of distributions, as the index compares them."""
    return {
        re.split(r"[\s\[<>=!~;]", line)[0].lower().replace("_", "-").replace(".", "-")
        for line in requirements
    }


def distribution(module: str) -> str:
    return DISTRIBUTIONS.get(module, module).lower().replace("_", "-")


def undeclared(imported: set[str], declared: set[str]) -> list[str]:
    """Return modules that nothing declared brings."""
    return sorted(module for module in imported if distribution(module) not in declared)


def test_every_library_that_is_imported_is_declared():
    imported = {one.target for one in our_tree().libraries if one.kind != "types"}
    lines = [line for extra in EXTRAS.values() for line in extra]
    declared = names([*PROJECT["dependencies"], *lines])
    assert undeclared(imported - WITH_QGIS - sys.stdlib_module_names, declared) == []


def test_an_undeclared_library_is_found():
    declared = names(["numpy>=2.0", "Pillow"])
    assert undeclared({"numpy", "PIL", "numcodecs"}, declared) == ["numcodecs"]


def required() -> list[tuple[str, str, str]]:
    """Every ``require(module, extra)``: place, module, extra."""
    found = []
    for source in our_tree().sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("require"):
                values = [one.value for one in node.args if isinstance(one, ast.Constant)]
                if len(values) == 2:
                    found.append((f"{source.name}:{node.lineno}", *values))
    return found


def test_what_is_asked_for_is_in_its_extra():
    asked = required()
    assert len(asked) > 50
    wrong = [
        f"{place} asks extra {extra!r} for {module}"
        for place, module, extra in asked
        if distribution(module.partition(".")[0]) not in names(EXTRAS.get(extra, []))
    ]
    assert wrong == []


def hints(text: str) -> set[str]:
    """Extras that a text tells to install."""
    found = re.findall(r"selion\[([A-Za-z0-9_,\- ]+)\]", text)
    return {extra.strip() for extras in found for extra in extras.split(",")}


def test_hints_are_read():
    assert hints("pip install 'selion[web,train]' 'selion[none]'") == {"web", "train", "none"}


@pytest.mark.parametrize("pattern", TEXTS)
def test_every_hint_names_an_extra_that_exists(pattern):
    wrong = [
        f"{path.relative_to(ROOT)}: {extra}"
        for path in sorted(ROOT.glob(pattern))
        for extra in sorted(hints(path.read_text(encoding="utf-8")) - set(EXTRAS))
    ]
    assert wrong == []
