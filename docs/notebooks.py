"""Tutorials: percent scripts that become notebooks, are run, and become pages.

No output is kept in the repository, so none can go stale.

python docs/notebooks.py FOLDER     # writes executed notebooks there

SELION_TUTORIAL_IMAGE=scene.tif (also ..._FIELDS, ..._PHOTOS, ..._DEPTHS) before it runs them on
imagery of one's own, in place of simulated.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).with_name("tutorials")
ROOT = TUTORIALS.parents[1]
EXECUTED = ROOT / ".executed"
"""Executed notebooks, each named by what it was made from: the pages and the tests run a tutorial
once between them."""
LIMIT = 300
"""Seconds a cell may take."""
CELL = "# %%"
OWN = "SELION_TUTORIAL_"
"""How the variables begin that name imagery of one's own."""
WORK = re.compile(re.escape(tempfile.gettempdir()) + r"[/\\]tmp\w+[/\\]")
"""The temporary folder of a tutorial, which is ``work`` in its code and another one each time that
the pages are built."""


def read_script(path: Path) -> Any:
    """Return the notebook of a script.

    Its cells begin with ``# %%``, or with ``# %% [markdown]`` for text.
    """
    import nbformat

    cells = []
    for part in f"\n{path.read_text('utf-8')}".split(f"\n{CELL}")[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()]
            cells.append(nbformat.v4.new_markdown_cell("\n".join(lines)))
        else:
            cells.append(nbformat.v4.new_code_cell(body.strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat's own are drawn by lot
    return nbformat.v4.new_notebook(cells=cells)


def execute(path: Path) -> Any:
    """Run a script as a notebook and return it with its outputs.

    The kernel speaks through files of its own folder where the system can: a port that was free
    when it was drawn can be another program's a moment later, and then the kernel is dead.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = read_script(path)
    with tempfile.TemporaryDirectory() as folder:
        files = {"transport": "ipc", "ip": f"{folder}/kernel"} if os.name == "posix" else {}
        config = Config({"KernelManager": files})
        NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", config=config).execute()
    return notebook


def executed(path: Path, folder: Path = EXECUTED) -> Any:
    """Return what :func:`execute` gives, from ``folder`` where this very code was run already.

    The name of the file is the digest of the script, of the package and of the pinned versions.
    """
    import nbformat

    made = folder / f"{path.stem}-{_digest(path)}.ipynb"
    if not made.is_file():
        notebook = execute(path)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{path.stem}-*.ipynb"):
            old.unlink(missing_ok=True)
        part = made.with_suffix(".part")
        nbformat.write(notebook, part)
        part.replace(made)
    return nbformat.read(made, as_version=4)


def _digest(path: Path) -> str:
    """Return what decides what a script shows: itself, its imagery, the package, the versions."""
    found = hashlib.sha256(sys.version.encode())
    own = sorted((name, value) for name, value in os.environ.items() if name.startswith(OWN))
    found.update(repr(own).encode())
    package = (ROOT / "src" / "selion").rglob("*")
    used = [p for p in package if p.is_file() and "__pycache__" not in p.parts]
    for file in (path, ROOT / "constraints.txt", *sorted(used)):
        found.update(f"{file.relative_to(ROOT)}\n".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:20]


def to_markdown(notebook: Any) -> str:
    """Return a page: text as it is, code fenced, what a cell shows below it."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += [WORK.sub("work/", text) for text in map(_shown, cell.outputs) if text]
    return "\n\n".join(parts) + "\n"


def _shown(output: Any) -> str:
    """Return one output: HTML where there is some, else text.

    Progress and warnings on standard error are left out.
    """
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    if "text/html" in data:
        html = " ".join(line.strip() for line in data["text/html"].splitlines())
        return f'<div class="shown">{html}</div>'
    if "image/png" in data:
        return (
            '<img alt="What the cell shows" '
            f'src="data:image/png;base64,{data["image/png"].strip()}">'
        )
    return (
        f"```text\n{textwrap.shorten(data['text/plain'], 2000, placeholder=' ...')}\n```"
        if "text/plain" in data
        else ""
    )


def main() -> None:
    """Write the executed notebooks."""
    import nbformat

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(TUTORIALS.glob("*.py")):
        nbformat.write(execute(path), folder / f"{path.stem}.ipynb")


if __name__ == "__main__":
    main()
