"""Write what packaged models answer on a synthetic chip into their cards, as torch computes it.

    python runs/fingerprint_weights.py src/selion/weights/*

``export_weights.py`` writes it with the rest of a new model; this is for cards that are there.  The
rest of a card stays as it stands, to the byte.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from selion.models.card import CARD, check_files, read_card
from selion.models.export import answer_of
from selion.models.fingerprint import fingerprint_of
from selion.models.pixel import load_network
from selion.models.toml import to_toml

MARK = "\n[fingerprint]\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args().folders:
        card = read_card(folder)
        network = load_network(card, check_files(card))
        found = fingerprint_of(card, partial(answer_of, network))
        before = (folder / CARD).read_text("utf-8").partition(MARK)[0]
        text = f"{before.rstrip()}\n\n{to_toml({'fingerprint': found})}"
        (folder / CARD).write_text(text, "utf-8", newline="\n")
        print(f"{folder}: {len(found)} classes")


if __name__ == "__main__":
    main()
