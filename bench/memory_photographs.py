"""Photographs, masks and chips by the thousand, for the verbs that ``memory_of_verbs.py`` measures.

They are tiny, because what is asked is what a run keeps of each one: the list, the journal, the
tables, the page.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from memory_inputs import pattern

TINY = (48, 64)
"""Rows and columns of a photograph."""
PEOPLE = ("Ada", "Ben")
"""Who have decided: the first one on every mask, the second one on every tenth as well."""


def photographs(folder: Path, count: int) -> Path:
    """Write so many tiny photographs: copies of one, each a file of its own."""
    path = folder / f"photographs{count}"
    if not path.exists():
        path.mkdir()
        _copies(path, ".jpg", _jpeg(TINY), count)
    return path


def _jpeg(shape: tuple[int, int]) -> bytes:
    """Draw a photograph."""
    import io

    import numpy as np
    from PIL import Image

    from selion.simulation.landscape import simulate_photo

    drawn = simulate_photo(2, shape).image.values.transpose(1, 2, 0)
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(drawn)).save(held, "JPEG", quality=90)
    return held.getvalue()


def _copies(folder: Path, ending: str, content: bytes, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:05}{ending}").write_bytes(content)


def labelled(folder: Path, count: int) -> Path:
    """Write so many photographs with a depth map and a mask each, other masks beside them, and what
    people have decided: the folders ``photos``, ``depth``, ``pseudo``, ``other`` and ``decided``.
    """
    import io

    import numpy as np
    from PIL import Image

    path = folder / f"labelled{count}"
    if path.exists():
        return path
    ids = np.zeros(TINY, np.uint8)
    ids[10:40, 12:50] = 1
    masks = {"pseudo": ids, "decided": ids, "other": np.roll(ids, 2, 1)}
    _copies(path / "photos", ".jpg", _jpeg(TINY), count)
    near = np.hypot(*(np.indices(TINY) - np.array([[[24]], [[32]]])))
    depth = (220 / (1 + np.exp(near / 2 - 7)) + 20).astype(np.uint8)
    for name, values in {"depth": depth, **masks}.items():
        held = io.BytesIO()
        Image.fromarray(values).save(held, "PNG")
        inner = path / name / "masks" if name in ("pseudo", "decided") else path / name
        _copies(inner, ".png", held.getvalue(), count)
        if name in ("pseudo", "decided"):
            with (path / name / "quality.csv").open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["key", "image", "cover", "quality", "routed", "why"])
                for k in range(count):
                    share = round(1 - k / count, 6)
                    rows.writerow([f"{k:05}", f"../photos/{k:05}.jpg", 0.37, share, "", ""])
    _decide(path / "decided", path / "photos", count)
    return path


def _decide(pseudo: Path, photos: Path, count: int) -> None:
    """Write the decisions on all masks of a folder."""
    from selion.labelling.decisions import Decision, content_hash

    image, mask = content_hash(photos / "00000.jpg"), content_hash(pseudo / "masks" / "00000.png")
    with (pseudo / "decisions.jsonl").open("w", encoding="utf-8") as file:
        for person, name in enumerate(PEOPLE):
            for k in range(0, count, 10 if person else 1):
                about = (pseudo / "masks" / f"{k:05}.png").stat()
                said = Decision(
                    id=f"{name}-{k}", batch=f"{name}-{k // 40}", key=f"{k:05}",
                    decision=("keep", "keep", "reject")[(k // (9 if person else 7)) % 3],
                    person=name, stage="coarse", seconds=0.5, time=f"2026-11-24T{k % 24:02}:00:00Z",
                    image=image, mask=mask, stat=(about.st_size, about.st_mtime_ns),
                )  # fmt: skip
                file.write(said.to_line() + "\n")


def measured(folder: Path, count: int) -> Path:
    """Write so many tiny photographs, all of which a run has measured that was ended before it put
    its tables together: one was, and the others are links to it, to its masks and pictures.
    """
    from selion.closerange import ComputeOptions, measure_folder
    from selion.closerange.journal import LINES, OUTPUTS, _sum

    path = folder / f"measured{count}"
    if path.exists():
        return path
    photos, run = path / "photos", path / "run"
    photos.mkdir(parents=True)
    (photos / "00000.jpg").write_bytes(_jpeg((120, 160)))
    measure_folder(photos, run, "colour", compute=ComputeOptions(workers=1))
    first = json.loads((run / LINES).read_text("utf-8"))
    with (run / LINES).open("a", encoding="utf-8") as file:
        for number in range(1, count):
            line = json.loads(json.dumps(first).replace("00000.", f"{number:05}."))
            line["stamp"] = first["stamp"].replace("00000", f"{number:05}")
            line["sum"] = _sum(line)
            file.write(json.dumps(line) + "\n")
            (photos / f"{number:05}.jpg").hardlink_to(photos / "00000.jpg")
            for name in OUTPUTS:
                if first["row"].get(name):
                    (run / line["row"][name]).hardlink_to(run / first["row"][name])
    for name in ("crops.csv", "components.csv", "failed.csv", "index.html"):
        (run / name).unlink(missing_ok=True)
    (run.with_name("run.manifest.json")).unlink(missing_ok=True)
    return path


def chips(folder: Path, count: int) -> Path:
    """Write a dataset of so many photographs of 64 px: copies of one and its mask."""
    import io

    import numpy as np
    from PIL import Image

    path = folder / f"chips{count}"
    if path.exists():
        return path
    drawn = (pattern(64).argmax(0) > 0).astype(np.uint8)
    for kind, values in (("images", np.stack([drawn * 60 + 40] * 3, -1)), ("masks", drawn)):
        held = io.BytesIO()
        Image.fromarray(values).save(held, "PNG")
        _copies(path / kind, ".png", held.getvalue(), count)
    return path
