"""The pages: every verb has one, the tutorials run, the site is whole and loads nothing from
elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import selion
from selion.cli.main import VERBS

REPO = Path(__file__).resolve().parents[1]
DOCS = REPO / "docs"
sys.path.insert(0, str(DOCS))
import api  # noqa: E402
import notebooks  # noqa: E402

TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
MAKERS = ("docs/pictures.py", "docs/world_picture.py", "runs/gallery.py", "runs/cut_pictures.py")


def test_every_verb_is_explained_outside_the_reference():
    pages = "\n".join(
        path.read_text("utf-8") for path in DOCS.glob("*.md") if path.name != "cli.md"
    )
    assert not [verb for verb in VERBS if f"selion {verb}" not in pages]


def test_python_reference_has_every_public_name_and_its_sections():
    page = api.page()
    for name in selion.__all__:
        assert f"### selion.{name}\n" in page or name == "__version__"
    assert "**Raises**" in page
    assert "- `year` (int, optional)" in page
    assert ":func:" not in page
    assert "0x" not in page
    assert "``" not in re.sub(r"```.*?```", "", page, flags=re.DOTALL)


def test_docstrings_become_markdown():
    text = (
        "Do it.\n\nParameters\n----------\na : int\n    What :func:`~selion.x` takes.\n"
        "b, c : str\n\nReturns\n-------\nstr\n    ``x``.\n"
    )
    shown = api.prose(text)
    assert "- `a` (int)\n  What `selion.x` takes." in shown
    assert "- `b, c` (str)" in shown
    assert "**Returns**\n\n- `str`\n  `x`." in shown


def test_scripts_become_notebooks(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    (tmp_path / "a.py").write_text(
        "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1  # %% no cell\n\n# %%\nx\n"
    )
    made = notebooks.read_script(tmp_path / "a.py")
    assert [(c.cell_type, c.source) for c in made.cells] == [
        ("markdown", "# Title\n\ntext"),
        ("code", "x = 1  # %% no cell"),
        ("code", "x"),
    ]
    made.cells[1]["outputs"] = [
        nbformat.v4.new_output("stream", text=f"{tempfile.gettempdir()}/tmpx1_y/out.tif")
    ]
    assert "```text\nwork/out.tif\n```" in notebooks.to_markdown(made), (
        "no folder of the machine that built the pages"
    )
    assert notebooks.to_markdown(made).startswith("# Title\n\ntext\n\n```python\nx = 1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what a kernel's libraries say is not ours
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_run(path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if path.stem != "fields":
        pytest.importorskip("torch")
    if path.stem == "landscapes":
        pytest.importorskip("trl")
    made = notebooks.executed(path)  # make docs has run it, if this is make check
    shown = notebooks.to_markdown(made)
    assert shown.count('<div class="shown">') >= 3
    assert "Traceback" not in shown


def test_tutorials_hold_no_outputs():
    assert len(TUTORIALS) == 3
    assert not list((DOCS / "tutorials").rglob("*.ipynb"))
    for path in TUTORIALS:
        assert "base64" not in path.read_text("utf-8")


@pytest.mark.slow
def test_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip(
        "material", reason="mkdocs-material is not installed: pip install 'selion[docs]'"
    )
    own = {"SELION_DOCS_QUICK": "1", "NO_MKDOCS_2_WARNING": "1"}
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "--strict",
        "-d",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(
        words, cwd=REPO, capture_output=True, text=True, env={**os.environ, **own}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {"index.html", "api.html", "numbers.html", "cli.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(
            r'<(?:script|img|iframe|source|video)[^>]*?\ssrc="([^"]+)"', text
        ) + re.findall(r'<link[^>]*?\shref="([^"]+)"', text)
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page.name


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_a_page_names_are_there(page):
    """And so are the functions that stand behind a file's name."""
    text = " ".join((REPO / page).read_text("utf-8").split())
    named = re.findall(r"`([\w./]+\.(?:py|toml|yml|svg|txt|md))(?:: (\w+))?`", text)
    assert named
    for path, function in named:
        if "NAME" in path or "FAMILY" in path:
            continue
        found = [place / path for place in (REPO, REPO / "src", REPO / "src/selion", DOCS)]
        found = [place for place in found if place.is_file()]
        assert found, path
        assert not function or f"def {function}(" in found[0].read_text("utf-8"), (path, function)


def test_every_how_to_page_shows_what_comes_out():
    """A picture with words for those who do not see it, small, and made by one of the scripts."""
    nav = (
        (REPO / "mkdocs.yml").read_text("utf-8").partition("How to:")[2].partition("Reference:")[0]
    )
    pages = re.findall(r": (\w[\w-]*\.md)", nav)
    assert len(pages) >= 20
    shown = {
        page: re.findall(r"!\[([^\]]+)\]\(pictures/([\w-]+\.webp)\)", text)
        for page in [*pages, "weights.md", "gallery.md", "index.md"]
        for text in [(DOCS / page).read_text("utf-8")]
    }
    assert not [page for page in pages if not shown[page]]
    assert min(len(words) for found in shown.values() for words, _ in found) >= 15
    files = {path.name: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    index = re.findall(r"pictures/([\w-]+\.webp)", (DOCS / "index.md").read_text("utf-8"))
    named = {name for found in shown.values() for _, name in found} | set(index)
    assert named == set(files)
    assert max(files.values()) <= 120_000
    assert sum(files.values()) <= 1_600_000
    made = "".join((REPO / name).read_text("utf-8") for name in MAKERS)
    for name in files:
        drawn = re.sub(r"^page-|-phone$", "", name.removesuffix(".webp"))
        assert f"def {drawn}(" in made or f'"{drawn}"' in made, name
