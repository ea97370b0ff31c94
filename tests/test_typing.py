"""What the README, the pages and a client write is what a strict type checker accepts."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PAGES = (REPO / "README.md", *sorted((REPO / "docs").glob("*.md")))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STRICT = (
    "disallow-any-generics, disallow-subclassing-any, disallow-untyped-calls, "
    "disallow-untyped-defs, disallow-incomplete-defs, check-untyped-defs, "
    "disallow-untyped-decorators, warn-return-any, no-implicit-reexport, strict-equality, "
    "extra-checks"
)
"""mypy's ``--strict`` for one file: given so, the package is checked with its own settings, whose
results ``make types`` has left in the cache."""


def write_program(folder, name, text):
    path = folder / f"{name}.py"
    path.write_text(f"# mypy: {STRICT}\n{text}")
    return str(path)


def check(paths, cwd=REPO):
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *paths],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def programs(folder):
    """Write every block of every page as a program, the examples and the client."""
    found = []
    for page in PAGES:
        for number, block in enumerate(BLOCK.findall(page.read_text("utf-8"))):
            name = f"{page.stem.replace('-', '_').lower()}_{number}"
            found.append(write_program(folder, name, block))
    others = (REPO / "tests" / "typed_client.py", *sorted((REPO / "examples").glob("*.py")))
    found += [write_program(folder, path.stem, path.read_text("utf-8")) for path in others]
    return found


def public_names():
    """Return (package, name) for what each selion package offers."""
    source = REPO / "src"
    packages = sorted(path.parent for path in (source / "selion").rglob("__init__.py"))
    found = []
    for package in packages:
        full = ".".join(package.relative_to(source).parts)
        found += [(full, name) for name in getattr(importlib.import_module(full), "__all__", ())]
    return found


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy says, in one run, of the pages, a wrong program, and the type of every name."""
    pytest.importorskip("mypy", reason="mypy is not installed: pip install 'selion[dev]'")
    folder = tmp_path_factory.mktemp("programs")
    wrong = write_program(
        folder, "wrong", "import selion\n\nselion.map_fields(1, 2, yaer=2024)\nselion.predict()\n"
    )
    names = public_names()
    imports = sorted({f"import {package}" for package, _ in names})
    shown = [f"reveal_type({package}.{name})" for package, name in names]
    text = "\n".join(
        ["from typing import Any", *imports, "lost: Any = None", "reveal_type(lost)", *shown, ""]
    )
    paths = programs(folder)
    assert len(paths) > 10
    done = check([*paths, wrong, write_program(folder, "revealed", text)])
    return done.stdout.splitlines() + done.stderr.splitlines()


@pytest.mark.slow
def test_pages_and_a_client_are_typed(said):
    refused = [line for line in said if "wrong.py" in line]
    assert any('"map_fields"' in line for line in refused), "a wrong program passes"
    assert any('"predict"' in line for line in refused), "a wrong program passes"
    assert not [line for line in said if ": error:" in line and line not in refused]


@pytest.mark.slow
def test_no_public_name_is_any_to_a_client(said):
    names = ["lost", *(f"{package}.{name}" for package, name in public_names())]
    types = [line.partition("Revealed type is ")[2] for line in said if "revealed.py" in line]
    assert len(types) == len(names) > 200
    assert [name for name, kind in zip(names, types, strict=True) if kind == '"Any"'] == ["lost"]


def test_the_package_says_that_it_is_typed():
    assert (REPO / "src" / "selion" / "py.typed").is_file()
    settings = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert settings["disallow_untyped_defs"]
