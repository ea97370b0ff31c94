"""References between docstrings: every ``selion...`` that one names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "selion"
REFERENCE = re.compile(r":(?:func|class|mod|data|meth|attr|exc):`[~!]?selion((?:\.\w+)*)`")
DEFINES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def references() -> list[tuple[str, str]]:
    """List (file, reference without ``selion.``) of all docstrings."""
    return [
        (str(path.relative_to(PACKAGE)), name.removeprefix("."))
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in REFERENCE.findall(path.read_text(encoding="utf-8"))
    ]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def attached(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """List the names that ``lazy.attach`` gives to a package."""
    if not isinstance(node.value, ast.Call) or ast.unparse(node.value.func) != "lazy.attach":
        return []
    return [text.value for text in ast.walk(node.value) if isinstance(text, ast.Constant)]


def bound(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return the names that statements of a module or of a class bind."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, DEFINES):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= dict.fromkeys(attached(node), node)
            found |= {
                name.id: node
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
    return found


def resolves(reference: str, package: Path = PACKAGE) -> bool:
    """Say whether a module, or what one of them defines, has this name."""
    place, rest = package, [part for part in reference.split(".") if part]
    while rest and (place / rest[0]).is_dir():
        place, rest = place / rest[0], rest[1:]
    files = [place / "__init__.py", place / "__init__.pyi"]
    if rest and (place / f"{rest[0]}.py").is_file():
        files, rest = [place / f"{rest[0]}.py"], rest[1:]
    if not rest:
        return files[0].is_file()
    names = {
        name: node
        for file in files
        if file.is_file()
        for name, node in bound(tree(file).body).items()
    }
    for part in rest[:-1]:
        node = names.get(part)
        if not isinstance(node, ast.ClassDef):
            return False
        names = bound(node.body)
    return rest[-1] in names


def test_every_reference_of_a_docstring_resolves():
    found = references()
    assert len(found) > 100
    assert [pair for pair in found if not resolves(pair[1])] == []


@pytest.mark.parametrize(
    ("reference", "there"),
    [
        ("store", True),
        ("store.atomic_write", True),
        ("store.atomic.atomic_write", True),
        ("segmenter.InputSpec.bands", True),
        ("store.whole_file", False),
        ("nothing", False),
        ("segmenter.InputSpec.nothing", False),
    ],
)
def test_a_reference_resolves_if_its_target_is_there(reference, there):
    assert resolves(reference) is there
