"""Split rules: which sample is for training, and which must never be seen there.

A rule is a table of the declaration:

* ``{}``: the part ``{split}`` of the image's pattern, translated (``validation`` is ``val``), else
  "".
* ``{csv = "table.csv", key = "Name", split = "TVT-split1", separator = ";"}``: a table; ``group``
  may name a column too.  A sample with rows of two splits stays in the later one, as below.
* ``{lists = "train_test_split.yaml"}``: a file of named lists of numbers or keys.  A sample that
  stands in two lists stays in the later of train, val, test: what was to be tested on must not be
  learnt.
* ``{files = {train = "train.txt", test = "test.txt"}}``: a list of keys or paths for each.
* ``{by = "plot", val = 0.15, test = 0.15}``: all samples with the same part go together, by a hash
  of its text: the same everywhere, always.
* ``{by = "fold", train = ["1", "2", "3"], val = ["4"], test = ["5"]}``: by the part's value.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selion.data.dataset import SPLIT_NAMES, SPLITS
from selion.errors import BadInput, UnreadableFile

Rule = Mapping[str, Any]


def split_name(text: str) -> str:
    """Translate a publisher's name of a split; what is no such name stays as it is."""
    return SPLIT_NAMES.get(text.strip().lower(), text.strip())


def hashed_split(text: str, val: float, test: float, seed: int = 0) -> str:
    """Choose a split by a hash of a name: it never changes, whatever else is in the dataset.

    Parameters
    ----------
    text : str
        Plot, session, block of land: what must not be parted.
    val, test : float
        Shares of the validation and the test split, 0 to 1.
    seed : int
        Another seed draws another lot.
    """
    if not (0 <= val <= 1 and 0 <= test <= 1 and val + test <= 1):
        raise BadInput(
            f"Shares of {val} for validation and {test} for testing were asked for; wanted are "
            "numbers from 0 to 1 that leave something for training."
        )
    digest = hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()
    lot = int.from_bytes(digest, "big") / 2**64
    return "test" if lot < test else "val" if lot < test + val else "train"


def assign(
    root: Path, rule: Rule, keys: Sequence[str], parts: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[str], list[str]]:
    """Apply a rule.

    Parameters
    ----------
    root : path
        The dataset's folder.
    rule : mapping
        See the module.
    keys, parts : sequences
        Of the samples: their names, and the parts of their file names.

    Returns
    -------
    splits, groups : list of str
        One per sample; groups are "" unless the rule's table knows them.
    problems : list of str
        Samples in two splits, samples that the rule does not know.

    Raises
    ------
    UnreadableFile
        If the rule's file is missing.
    BadInput
        If the rule is not understood.
    """
    empty = [""] * len(keys)
    if not rule:
        return [split_name(p.get("split", "")) for p in parts], empty, []
    if "csv" in rule:
        return _from_csv(root, rule, keys)
    if "lists" in rule or "files" in rule:
        return _from_lists(_lists(root, rule), keys)
    if "by" in rule:
        return [_by_part(rule, key, p) for key, p in zip(keys, parts, strict=True)], empty, []
    raise BadInput(
        f"The split rule {dict(rule)} is not understood; wanted is one with csv, lists, files or "
        "by."
    )


def _by_part(rule: Rule, key: str, parts: Mapping[str, str]) -> str:
    name = str(rule["by"])
    value = key if name == "key" else parts.get(name)
    if value is None:
        raise BadInput(
            f"The split rule goes by {name!r}, which is not a part of the image's pattern: its "
            f"parts are {', '.join(parts)}."
        )
    if "train" in rule:
        return next((split for split in SPLITS if value in rule.get(split, ())), "")
    return hashed_split(
        value, float(rule.get("val", 0.0)), float(rule.get("test", 0.0)), int(rule.get("seed", 0))
    )


def _from_csv(
    root: Path, rule: Rule, keys: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    path = _partner_file(root, str(rule["csv"]))
    rows = read_table(path, str(rule.get("separator", "")))
    columns = [str(rule.get("key", "key")), str(rule.get("split", "split"))]
    missing = [name for name in columns if rows and name not in rows[0]]
    if missing:
        raise BadInput(f"{path} has no column {missing[0]!r}; it has {', '.join(rows[0])}.")
    group = str(rule.get("group", "group"))
    known: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        words = split_name(row[columns[1]]), row.get(group, "") or ""
        known.setdefault(_stem(row[columns[0]]), []).append(words)
    listed = [known.get(_stem(key)) or known.get(_stem(key.rpartition("/")[2])) for key in keys]
    found, problems = [], []
    for key, said in zip(keys, listed, strict=True):
        mine = _in_splits({split for split, _ in said or ()})
        if len(mine) > 1:
            problems.append(_stands_twice(key, mine))
        kept = [one for one in said or () if not mine or one[0] == mine[-1]]
        found.append(kept[-1] if kept else None)
    problems += _unknown(keys, [f is not None for f in found], path.name)
    return [f[0] if f else "" for f in found], [f[1] if f else "" for f in found], problems


def read_table(path: Path, separator: str = "") -> list[dict[str, str]]:
    """Read a table of texts; the separator is found out if it is not given.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a table ({error}): check the file."
        ) from error
    head = text.partition("\n")[0]
    mark = separator or max(",;\t", key=head.count)
    return [
        {key: value or "" for key, value in row.items() if key}
        for row in csv.DictReader(text.splitlines(), delimiter=mark)
    ]


def _partner_file(root: Path, name: str) -> Path:
    found = sorted(root.glob(name)) if "*" in name else [root / name]
    if not found or not found[0].is_file():
        raise UnreadableFile(
            f"{root / name} is missing, which says how the dataset is split: copy it there."
        )
    return found[0]


def _lists(root: Path, rule: Rule) -> dict[str, set[str]]:
    if "files" in rule:
        return {
            split_name(str(s)): {
                _stem(t) for t in _text(_partner_file(root, str(n))).split("\n") if t.strip()
            }
            for s, n in rule["files"].items()
        }
    text = _text(_partner_file(root, str(rule["lists"])))
    found = {}
    for match in re.finditer(
        r"^(\w+)\s*:\s*(?:\[([^\]]*)\]|((?:\s*^\s*-\s*\S+\s*$)+))", text, re.MULTILINE
    ):
        names = (
            re.split(r"[,\s]+", match[2])
            if match[2] is not None
            else re.findall(r"-\s*(\S+)", match[3])
        )
        found[split_name(match[1])] = {_stem(name.strip("'\"")) for name in names if name}
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a list of samples ({error}): check the file."
        ) from error


def _from_lists(
    lists: Mapping[str, set[str]], keys: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    found, problems = [], []
    for key in keys:
        names = {_stem(key), _stem(key.rpartition("/")[2])}
        mine = _in_splits({split for split, listed in lists.items() if names & listed})
        if len(mine) > 1:
            problems.append(_stands_twice(key, mine))
        found.append(mine[-1] if mine else "")
    return (
        found,
        [""] * len(keys),
        [*problems, *_unknown(keys, [bool(f) for f in found], "the lists of splits")],
    )


def _in_splits(names: set[str]) -> list[str]:
    """Return those of some names that are splits: the last is that in which a sample stays."""
    return [split for split in SPLITS if split in names]


def _stands_twice(key: str, splits: Sequence[str]) -> str:
    return f"{key} stands in {' and in '.join(splits)}: it is kept in {splits[-1]} only."


def _unknown(keys: Sequence[str], known: Sequence[bool], where: str) -> list[str]:
    lost = [key for key, is_known in zip(keys, known, strict=True) if not is_known]
    return (
        [
            (
                f"{len(lost)} samples stand in no split of {where}: "
                f"{', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}"
            )
        ]
        if lost
        else []
    )


def _stem(name: str) -> str:
    """Make names comparable.

    No folder path before the last two, no ending of an image, no zeros in front of numbers.
    """
    name = re.sub(r"\.(png|jpe?g|tiff?|npy|bmp)$", "", name.strip(), flags=re.IGNORECASE)
    return str(int(name)) if name.isdecimal() else name


def write_splits(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write ``splits.csv`` of a dataset that is being made: key, split, group and image."""
    with (folder / "splits.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "split", "group", "image"))
        writer.writerows(rows)
