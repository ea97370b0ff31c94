"""Folders of masks compared: trimaps with a table of what was agreed."""

from __future__ import annotations

import json
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from pathlib import Path

from selion import store
from selion.classes import ClassScheme
from selion.errors import OutputExists
from selion.labelling.manifest import MASKS
from selion.labelling.masks import ENDINGS, ending, read_labels, write_mask
from selion.labelling.trimap import (
    AGREEMENT,
    TrimapAgreement,
    agree,
    masks_of,
    measure_agreement,
    pair_masks,
    read_agreement,
    total,
    write_agreement,
)
from selion.progress import OnStep, silent
from selion.store.atomic import explained, replace_bytes

BEGUN = ".agreement.begun"
"""Lists the masks of a comparison that is not finished, which may be written again."""


def write_trimaps(
    one: Path,
    other: Path,
    out: Path,
    classes: ClassScheme,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> tuple[TrimapAgreement, tuple[str, ...]]:
    """Write what two masks, or the masks of two folders, agree on.

    Parameters
    ----------
    one, other : path
        Two files, or two folders; masks are paired by their place and name.
    out : path
        Gets ``masks/<key>.png`` (``.tif`` for what has a place) and ``agreement.csv``.
    classes : ClassScheme
        What the ids mean.
    force : bool
        Replace what is there.
    on_step : callable, optional
        (stage, done, total, detail).

    Returns
    -------
    TrimapAgreement
        Over all masks.
    notes : tuple of str
        Masks without a partner.

    Raises
    ------
    BadInput, UnreadableFile, GridMismatch
        If masks cannot be read or paired, hold other values, or lie on different grids.
    OutputExists, OutputFailed
        As for every output.
    """
    pairs = pair_masks(one, other)
    store.check_output(out / AGREEMENT, force)
    if any(store.files_below(out / MASKS)) and not force:
        raise OutputExists(
            f"{out} holds masks already: choose another folder, or replace them with --force."
        )
    before = _listed(out)
    compared = {key for path in (one, other) for key in _inside(path, out)}
    _check_foreign(out, set(pairs) - {*before, *compared, *_begun(out)})
    _clear(out, before, keep={*pairs, *compared})
    found: dict[str, TrimapAgreement] = {}
    for done, (key, (first, second)) in enumerate(pairs.items()):
        on_step("compare", done, len(pairs), key)
        labels, others = read_labels(first, classes), read_labels(second, classes)
        kept = agree(labels, others)
        if not found:  # a first pair that cannot be read leaves nothing
            _begin(out, pairs)
        written = write_mask(kept, out / MASKS / f"{key}{ending(kept)}", force=True)
        if key in before:
            _remove(out, key, but={path.resolve() for path in (first, second, written)})
        found[key] = measure_agreement(labels, others)
    write_agreement(found, classes.names, out / AGREEMENT)
    (out / BEGUN).unlink(missing_ok=True)
    return total(found, classes), _alone(one, other, len(pairs))


def _check_foreign(out: Path, new: AbstractSet[str]) -> None:
    """Refuse (OutputExists) to replace masks that no earlier comparison wrote."""
    there = masks_of(out) if (out / MASKS).is_dir() else {}
    if foreign := sorted(new & there.keys()):
        raise OutputExists(
            f"{there[foreign[0]]} is of another origin and would be lost, so --force does not "
            "replace it: choose another folder, or move it away."
        )


def _begun(out: Path) -> Collection[str]:
    """Return the masks of a comparison that was ended before it had written its table."""
    try:
        return set(json.loads((out / BEGUN).read_text("utf-8")))
    except (OSError, ValueError, RecursionError):
        return ()


def _begin(out: Path, keys: Collection[str]) -> None:
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        replace_bytes(out / BEGUN, json.dumps(sorted(keys)).encode())


def _inside(given: Path, out: Path) -> Collection[str]:
    """Return the masks among those that are compared which lie where the results go."""
    same = given.is_dir() and given.resolve() in (out.resolve(), (out / MASKS).resolve())
    return masks_of(given) if same else ()


def _listed(out: Path) -> Collection[str]:
    """Return the masks of an earlier comparison, as its table lists them."""
    if not (out / AGREEMENT).is_file():
        return ()
    return {row.get("key") or "" for row in read_agreement(out / AGREEMENT)}


def _clear(out: Path, before: Collection[str], keep: Collection[str]) -> None:
    """Remove the masks of an earlier comparison that this one has not, and nothing else."""
    for key in before:
        if key not in keep:
            _remove(out, key)


def _remove(out: Path, key: str, but: Collection[Path] = ()) -> None:
    """Remove a mask, also where it had a place and has none now, or the other way round."""
    for suffix in ENDINGS:
        path = out / MASKS / f"{key}{suffix}"
        place = path.resolve()
        if place not in but and place.is_relative_to((out / MASKS).resolve()):
            path.unlink(missing_ok=True)


def _alone(one: Path, other: Path, paired: int) -> tuple[str, ...]:
    if one.is_file():
        return ()
    counts = [(path, len(masks_of(path)) - paired) for path in (one, other)]
    return tuple(
        f"{count:,} masks of {path} have no partner and were left out."
        for path, count in counts
        if count
    )
