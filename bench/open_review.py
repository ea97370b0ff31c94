"""Open a review, ask it for its page and its first fields, and end it.

    python bench/open_review.py open fields.parquet

``memory_of_verbs.py`` measures this command with all its processes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request

FIRST = "api/queue?person=Bench&size=6&after=0"


def main() -> None:
    """Say how many fields came; the review's own sentence and exit code where it did not open."""
    words = ("review", sys.argv[2], "--no-browser", "--no-map", "--person", "Bench")
    child = subprocess.Popen(
        [sys.executable, "-m", "selion", *words],
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
    for name in ("", FIRST):
        with urllib.request.urlopen(found[1] + name, timeout=600) as answer:
            print(f"{name or 'page'}: {len(answer.read()):,} bytes")
    child.terminate()
    child.wait()


if __name__ == "__main__":
    main()
