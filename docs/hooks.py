"""What MkDocs makes besides the pages that lie here.

The Python reference, the benchmarks, and the tutorials with what they show.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import api  # MkDocs puts this folder on the path while it loads this file
import notebooks

HERE = Path(__file__).parent
ROOT = HERE.parent
QUICK = "SELION_DOCS_QUICK"
"""Set it to leave the tutorials unexecuted while pages are written."""
OUTSIDE = {
    "../bench/README.md": "bench.md",
    "../PAPERS.md": "papers.md",
    "../README.md": "index.md",
    "bench/README.md": "bench.md",
    "PAPERS.md": "papers.md",
}


def on_config(config: Any) -> Any:
    """Put pages that the navigation does not know yet under 'How to', by name."""
    known = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    how_to: list[Any] = next(part["How to"] for part in config["nav"] if "How to" in part)
    how_to += [
        {_title(path): path.name} for path in sorted(HERE.glob("*.md")) if path.name not in known
    ]
    return config


def _title(path: Path) -> str:
    first = path.read_text("utf-8").lstrip().partition("\n")[0]
    return first.lstrip("# ").replace("`", "")


def on_files(files: Any, *, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages = {
        "api.md": api.page(),
        "bench.md": (ROOT / "bench" / "README.md").read_text("utf-8"),
    }
    pages["papers.md"] = (ROOT / "PAPERS.md").read_text("utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted((HERE / "tutorials").glob("*.py")):
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=tutorial(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links that leave this folder at the page that holds the same text."""
    for outside, inside in OUTSIDE.items():
        markdown = markdown.replace(f"]({outside})", f"]({inside})")
    return markdown


def tutorial(path: Path) -> str:
    """Run a tutorial and return it as a page; with SELION_DOCS_QUICK, without what it shows."""
    notebook = notebooks.read_script(path) if os.environ.get(QUICK) else notebooks.executed(path)
    return notebooks.to_markdown(notebook)
