"""Open a page that people work on, ask it for itself and for what it shows first, and end it.

    python bench/open_page.py review fields.parquet
    python bench/open_page.py screen photographs masks

``memory_of_verbs.py`` measures this command with all its processes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request

PERSON = "Bench"
KINDS = {
    "review": (
        ("review", "{0}", "--no-map"),
        ("", f"api/queue?person={PERSON}&size=6&after=0"),
    ),
    "screen": (
        ("label", "screen", "{0}", "{1}"),
        ("", "api/state", f"api/sheet?person={PERSON}&size=40&after=0",
         f"api/sheet?person={PERSON}&size=40&after=40", f"api/fine?person={PERSON}&size=8&after=0"),
    ),
}  # fmt: skip
"""Its command, and what is asked below its address."""


def main() -> None:
    """Say how many bytes came; the command's own sentence and exit code where it did not open."""
    words, asked = KINDS[sys.argv[1]]
    given = [word.format(*sys.argv[2:]) for word in words]
    child = subprocess.Popen(
        [sys.executable, "-m", "selion", *given, "--no-browser", "--person", PERSON],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for line in child.stdout:
        said += line
        if found := re.search(r"Open (http\S+)", line):
            break
    else:
        print(said)
        raise SystemExit(child.wait())
    for name in asked:
        with urllib.request.urlopen(found[1] + name, timeout=600) as answer:
            print(f"{name or 'page'}: {len(answer.read()):,} bytes")
    child.terminate()
    child.wait()


if __name__ == "__main__":
    main()
