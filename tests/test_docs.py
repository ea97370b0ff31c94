"""The pages: every verb has one, the tutorials run, the site is whole and loads nothing from
elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from itertools import pairwise
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


def test_commands_that_go_on_in_the_next_line_do():
    cut = [
        (path.name, number)
        for path in [REPO / "README.md", *DOCS.glob("*.md")]
        for number, (line, after) in enumerate(pairwise(path.read_text("utf-8").split("\n")), 1)
        if line.endswith("\\") and not after.strip()
    ]
    assert not cut


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


def aerial_photograph(folder):
    """Write what an American aerial tile looks like, four bands of bytes without names, and its
    fields.
    """
    import geopandas
    import numpy as np
    import rasterio
    import rasterio.features
    import shapely.geometry

    from selion.simulation.landscape import simulate

    scene = simulate(7, (288, 288), 1.0, "prairie", bands="s2")
    bands = scene.image.values[:4].astype(float)  # red, green, blue, near infrared of one date
    bands = bands / bands.max(axis=(1, 2), keepdims=True).clip(bands[:3].max()) * 250
    grid, ids = scene.image.grid, scene.instances.ids
    path, drawn = folder / "m_4309257_sw_15_1_20230701.tif", folder / "fields.gpkg"
    about = {"crs": "EPSG:26915", "transform": grid.transform}
    with rasterio.open(path, "w", "GTiff", *ids.shape[::-1], 4, dtype="uint8", **about) as file:
        file.write(bands.astype(np.uint8))
    shapes = rasterio.features.shapes(ids.astype(np.int32), ids > 0, transform=grid.transform)
    outlines = [shapely.geometry.shape(shape) for shape, _ in shapes]
    names = [f"f{number}" for number in range(len(outlines))]
    frame = geopandas.GeoDataFrame({"id": names}, geometry=outlines, crs="EPSG:26915")
    frame.to_file(drawn, layer="fields")
    return {"IMAGE": path, "FIELDS": drawn}


def photographs(folder):
    """Write photographs as a camera names them, and their depth maps."""
    import numpy as np
    from PIL import Image

    from selion.simulation.landscape import simulate_photo

    for part in ("photos", "depths"):
        (folder / part).mkdir()
    for seed in range(30, 40):
        made = simulate_photo(seed, (128, 160))
        pixels = np.moveaxis(made.image.values, 0, -1)
        Image.fromarray(pixels).save(folder / "photos" / f"IMG_{seed}.jpg", quality=95)
        depth = (made.depth - made.depth.min()) / np.ptp(made.depth)
        Image.fromarray((depth * 255).astype(np.uint8)).save(folder / "depths" / f"IMG_{seed}.png")
    return {"PHOTOS": folder / "photos", "DEPTHS": folder / "depths"}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # what a kernel's libraries say is not ours
@pytest.mark.parametrize(
    ("stem", "make"),
    [("fields", aerial_photograph), ("landscapes", aerial_photograph), ("crops", photographs)],
)
def test_tutorials_run_on_imagery_of_ones_own(stem, make, tmp_path, monkeypatch):
    for part in ("nbclient", "ipykernel", "torch", "trl"):
        pytest.importorskip(part)
    for name, path in make(tmp_path).items():
        monkeypatch.setenv(f"{notebooks.OWN}{name}", str(path))
    made = notebooks.execute(DOCS / "tutorials" / f"{stem}.py")
    shown = notebooks.to_markdown(made)
    assert shown.count('<div class="shown">') >= 2
    if stem == "fields":
        assert "fields-rgb-vhr" in shown
        assert "object F1" in shown or "object_f1" in shown
    if stem == "crops":
        assert "of the pixels of IMG_30" in shown


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_take_imagery_of_ones_own_from_one_cell(path, monkeypatch):
    cells = notebooks.read_script(path).cells
    (given,) = [k for k, cell in enumerate(cells) if notebooks.OWN in cell.source]
    assert given == 1, "right below what the page is about"
    assert "own" in cells[0].source
    picture = re.findall(r"\]\(\.\./(pictures/[\w.-]+)\)", cells[2].source)
    assert picture
    assert all((DOCS / one).is_file() for one in picture)
    assert "<small>" in cells[2].source, "whose imagery it is"
    simulated = notebooks._digest(path)
    monkeypatch.setenv(f"{notebooks.OWN}IMAGE", "own.tif")
    assert notebooks._digest(path) != simulated, "the pages never show what was run on it"


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
