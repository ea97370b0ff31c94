"""check_dataset: what spoils a dataset, found before it spoils a model."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from selion.classes import IGNORE
from selion.data.catalogue import load_dataset
from selion.data.dataset import Dataset, Entry
from selion.data.declare import FILE
from selion.data.likeness import COMMON, ImageDigest, common_land, digest_image, same_pictures
from selion.data.polarity import Polarity, mostly_negative, polarity
from selion.data.shift import Shift, Surface, common_shift, label_edges, shift_of, surface
from selion.errors import BadInput, SelionError
from selion.grid import Roi, whole
from selion.labels import Instances, LabelMap
from selion.progress import OnStep, silent
from selion.sample import Sample

SURE = 4.0
"""Standard errors from which on a shift of a whole dataset is one."""
SURER = 5.0
"""Standard errors for a single image: there are many of them."""
NAMED = 50
"""Samples that a finding names; its text names one."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How closely to look."""

    shifts: int = 200
    """Images, spread over the dataset, in which labels are laid against the image's edges; 0 for
    none."""
    window: int = 2048
    """Largest edge in pixels of what is looked at of an image: its middle."""
    least_shift: float = 1.0
    """Pixels from which on a common shift is a fault; single images are named from twice that."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or odd."""

    kind: str
    """inverted, shifted, leak, missing, values, grid, unreadable, nan, empty, disagree or
    listing."""
    fault: bool
    """Whether it spoils training or scores; else it is worth a look."""
    text: str
    samples: tuple[str, ...] = ()
    """The first samples that it concerns."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found."""

    name: str
    samples: int
    splits: dict[str, int]
    shares: dict[str, dict[str, float]]
    """Split (and "all") -> class -> share of the pixels; "unknown" is IGNORE."""
    shift: Shift | None
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings that are faults."""
        return tuple(f for f in self.findings if f.fault)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"faults": len(self.faults)}

    def to_text(self) -> str:
        """Lines for people: shares first, then what is wrong."""
        lines = [
            f"{self.name}: {self.samples:,} samples"
            + "".join(f", {name or 'no split'} {count:,}" for name, count in self.splits.items())
        ]
        lines += _share_lines(self.shares)
        if self.shift is not None:
            text = (
                f"labels against image: {self.shift.right:+.1f} px right, {self.shift.down:+.1f} "
                "px down"
            )
            lines.append(
                f"{text} ({self.shift.significance:.1f} standard errors, {self.shift.units} units)"
            )
        lines += [
            f"{'FAULT  ' if f.fault else 'warning'}  {f.kind}: {f.text}" for f in self.findings
        ]
        return "\n".join([*lines, *([] if self.findings else ["Nothing wrong was found."])])


def _share_lines(shares: dict[str, dict[str, float]]) -> list[str]:
    names = list(shares.get("all", {}))
    if not names:
        return []
    width = max(len(name) for name in (*shares, "split"))
    head = f"  {'split':<{width}}" + "".join(f"  {name:>10}" for name in names)
    return [
        head,
        *(
            f"  {split or '-':<{width}}" + "".join(f"  {row[name]:>10.2%}" for name in names)
            for split, row in shares.items()
        ),
    ]


@dataclass(eq=False)
class _SeenSamples:
    """What one walk through the dataset gathers."""

    digests: list[tuple[Entry, ImageDigest]] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    surfaces: list[tuple[str, Surface]] = field(default_factory=list)
    polarities: list[tuple[str, Polarity]] = field(default_factory=list)
    broken: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Kind -> (sample, what is said of it)."""
    values: Counter[int] = field(default_factory=Counter)


def check_dataset(
    given: Dataset | str | os.PathLike[str],
    options: CheckOptions | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    on_step: OnStep = silent,
) -> CheckReport:
    """Look for what spoils a dataset.

    Masks the wrong way round, labels shifted against the image, the same image or land in two
    splits, images without masks, masks with unknown values, image and mask of different size or
    grid, NaN and empty images, masks that contradict the objects, classes that do not occur.

    Parameters
    ----------
    given : Dataset, name or folder
        As :func:`selion.data.load_dataset` takes it.
    options : CheckOptions, optional
    root : path, optional
        Where a dataset of the catalogue lies.
    on_step : callable, optional
        Progress.

    Returns
    -------
    CheckReport
        ``faults`` is empty if nothing spoils it.

    Raises
    ------
    UnknownName, UnreadableFile
        If the dataset is not there at all; what is wrong with single samples is reported, not
        raised.
    """
    options = options or CheckOptions()
    dataset = given if isinstance(given, Dataset) else load_dataset(given, root)
    chosen = (
        set(
            np.linspace(0, len(dataset) - 1, min(options.shifts, len(dataset)))
            .round()
            .astype(int)
            .tolist()
        )
        if len(dataset)
        else set()
    )
    seen = _SeenSamples()
    for k, entry in enumerate(dataset.entries):
        _look(entry, dataset, seen, options, shifts=k in chosen)
        on_step("samples", k + 1, len(dataset))
    shift = common_shift([s for _, s in seen.surfaces])
    findings = (
        *_listing(dataset),
        *_broken(seen),
        *_inverted(seen),
        *_shifted(seen, shift, options),
        *_leaks(seen),
        *_classes(dataset, seen),
    )
    splits = dict(Counter(entry.split for entry in dataset.entries))
    ordered = {name: splits[name] for name in sorted(splits, key=(*dataset.splits, "").index)}
    return CheckReport(
        dataset.name,
        len(dataset),
        ordered,
        _shares(dataset, seen),
        shift,
        tuple(sorted(findings, key=lambda f: not f.fault)),
    )


def _look(
    entry: Entry, dataset: Dataset, seen: _SeenSamples, options: CheckOptions, *, shifts: bool
) -> None:
    """Open one sample and gather what it says; what cannot be opened is noted."""
    try:
        sample = entry.open()
        roi = _middle(whole(sample.image.grid), options.window)
        image = sample.image.read(roi)
    except (SelionError, OSError) as error:
        seen.broken[_kind(error)].append((entry.key, str(error)))
        return
    values, valid = image.values, image.valid
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        seen.broken["nan"].append(
            (entry.key, f"{(~np.isfinite(values)).any(0).mean():.1%} of the pixels")
        )
    if valid is not None and not valid.any():
        seen.broken["empty"].append((entry.key, "nothing but nodata"))
        return
    seen.digests.append((entry, digest_image(values, image.grid)))
    _count(sample, dataset, entry.split, seen)
    labels, instances = _truth_at(sample, roi)
    seen.polarities.append((entry.key, polarity(labels, instances, values, image.bands)))
    if shifts and (labels is not None or instances is not None):
        found = surface(values, label_edges(labels, instances), valid)
        if found is not None:
            seen.surfaces.append((entry.key, found))


def _truth_at(sample: Sample, roi: Roi) -> tuple[LabelMap | None, Instances | None]:
    """Cut the truth of a region of the image; a finer one is taken at the middles of its pixels."""
    grid, labels, instances = sample.image.grid, sample.labels, sample.instances
    truth = labels if labels is not None else instances
    fold = 1 if truth is None else truth.ids.shape[0] // max(int(grid.shape[0]), 1)
    if fold > 1:
        middles = np.s_[fold // 2 :: fold, fold // 2 :: fold]
        if labels is not None:
            labels = LabelMap(labels.ids[middles], grid, labels.classes)
        if instances is not None:
            instances = Instances(instances.ids[middles], grid)
    return (
        None if labels is None else labels.read(roi),
        None if instances is None else instances.read(roi),
    )


def _middle(roi: Roi, size: int) -> Roi:
    rows, columns = (
        slice(max((p.stop - size) // 2, 0), max((p.stop - size) // 2, 0) + min(size, p.stop))
        for p in roi
    )
    return rows, columns


def _kind(error: Exception) -> str:
    from selion.errors import GridMismatch, UnreadableFile

    if isinstance(error, GridMismatch):
        return "grid"
    return (
        "values"
        if isinstance(error, BadInput) and not isinstance(error, UnreadableFile)
        else "unreadable"
    )


def _count(sample: Sample, dataset: Dataset, split: str, seen: _SeenSamples) -> None:
    if sample.labels is None:
        return
    found = np.bincount(sample.labels.ids.ravel(), minlength=256)
    seen.values.update({int(k): int(found[k]) for k in np.flatnonzero(found)})
    for name, k in (
        *((name, k) for k, name in enumerate(dataset.classes.names)),
        ("unknown", IGNORE),
    ):
        seen.counts[split][name] += int(found[k])


def _shares(dataset: Dataset, seen: _SeenSamples) -> dict[str, dict[str, float]]:
    names = (*dataset.classes.names, "unknown")
    sums = {
        split: seen.counts[split] for split in sorted(seen.counts, key=(*dataset.splits, "").index)
    }
    total: Counter[str] = Counter()
    for counts in sums.values():
        total.update(counts)
    table = {**(sums if len(sums) > 1 else {}), **({"all": total} if sums else {})}
    return {
        split: {name: counts[name] / max(sum(counts.values()), 1) for name in names}
        for split, counts in table.items()
    }


def _listing(dataset: Dataset) -> list[Finding]:
    """Repeat what was found while listing; what has no partner is a fault."""
    lost = ("no truth", "no image", "lack ", "no mask", "neither")
    return [
        Finding(
            "missing" if any(word in text for word in lost) else "listing",
            any(word in text for word in lost),
            text,
        )
        for text in dataset.problems
    ]


def _broken(seen: _SeenSamples) -> list[Finding]:
    said = {
        "values": "masks hold values that nothing is known of",
        "grid": "masks do not fit their images",
        "unreadable": "samples cannot be read",
        "nan": "images hold NaN or infinite numbers",
        "empty": "images hold nothing but nodata",
    }
    return [
        Finding(
            kind,
            kind != "nan",
            f"{len(cases):,} {said[kind]}; {cases[0][0]}: {cases[0][1]}",
            tuple(key for key, _ in cases[:NAMED]),
        )
        for kind, cases in seen.broken.items()
    ]


def _inverted(seen: _SeenSamples) -> list[Finding]:
    findings = []
    green = [(key, p.greener) for key, p in seen.polarities if p.greener is not None]
    if mostly_negative([v for _, v in green]):
        wrong = [key for key, v in green if v < 0]
        mean = float(np.mean([v for _, v in green]))
        text = (
            f"plants are less green than soil in {len(wrong)} of {len(green)} images (excess green "
            f"{mean:+.2f} on average): the masks are the wrong way round."
        )
        findings.append(Finding("inverted", True, text, tuple(wrong[:NAMED])))
    lines = [(key, p.exchanged) for key, p in seen.polarities if p.exchanged is not None]
    wrong = [key for key, is_wrong in lines if is_wrong]
    if len(wrong) >= 2 and len(wrong) > 0.4 * len(lines):
        text = (
            f"boundaries lie along background, not along field, in {len(wrong)} of {len(lines)} "
            "masks: field and background are exchanged."
        )
        findings.append(Finding("inverted", True, text, tuple(wrong[:NAMED])))
    apart = [(key, p.disagree) for key, p in seen.polarities if p.disagree is not None]
    turned = [key for key, v in apart if v > 0.5]
    differ = [key for key, v in apart if 0.05 < v <= 0.5]
    if turned:
        text = (
            f"mask and objects say the opposite of each other in {len(turned)} of {len(apart)} "
            "samples: one of them is the wrong way round."
        )
        findings.append(Finding("inverted", True, text, tuple(turned[:NAMED])))
    if differ:
        text = (
            "mask and objects contradict each other in more than 5 % of the pixels of "
            f"{len(differ)} of {len(apart)} samples."
        )
        findings.append(Finding("disagree", False, text, tuple(differ[:NAMED])))
    return findings


def _shifted(seen: _SeenSamples, shift: Shift | None, options: CheckOptions) -> list[Finding]:
    if (
        shift is not None
        and shift.pixels >= options.least_shift - 0.25
        and shift.significance >= SURE
    ):
        text = (
            f"labels lie beside the image's edges: they fit best {_moved(shift)} "
            f"({shift.significance:.1f} standard errors over {shift.units} units)."
        )
        return [Finding("shifted", True, text)]
    alone = [
        (key, found)
        for key, one in seen.surfaces
        if (found := shift_of(one))
        and found.pixels >= 2 * options.least_shift
        and found.significance >= SURER
    ]
    if not alone:
        return []
    key, worst = max(alone, key=lambda case: case[1].significance)
    text = (
        f"labels of {len(alone)} of {len(seen.surfaces)} images lie beside the image's edges, but "
        f"not all in one direction; {key} fits best {_moved(worst)}."
    )
    return [Finding("shifted", False, text, tuple(key for key, _ in alone[:NAMED]))]


def _moved(shift: Shift) -> str:
    across = f"{abs(shift.right):.1f} px further {'right' if shift.right > 0 else 'left'}"
    along = f"{abs(shift.down):.1f} px further {'down' if shift.down > 0 else 'up'}"
    return f"{across} and {along}"


def _leaks(seen: _SeenSamples) -> list[Finding]:
    by_split: dict[str, list[tuple[Entry, ImageDigest]]] = defaultdict(list)
    for entry, image in seen.digests:
        by_split[entry.split].append((entry, image))
    findings = _twice(seen.digests)
    for one, other in combinations(sorted(by_split.keys() - {""}), 2):
        findings += _between((one, by_split[one]), (other, by_split[other]))
    return findings


def _twice(digests: Sequence[tuple[Entry, ImageDigest]]) -> list[Finding]:
    """Find images with the same pixels."""
    by_digest: dict[str, list[Entry]] = defaultdict(list)
    for entry, image in digests:
        by_digest[image.digest].append(entry)
    same = [entries for entries in by_digest.values() if len(entries) > 1]
    across = [entries for entries in same if len({e.split for e in entries}) > 1]
    within = [entries for entries in same if len({e.split for e in entries}) == 1]
    return [
        Finding(
            kind,
            fault,
            f"{len(groups):,} images stand {where}: {' = '.join(e.key for e in groups[0])}",
            tuple(g[0].key for g in groups[:NAMED]),
        )
        for kind, fault, groups, where in (
            ("leak", True, across, "in two splits with the same pixels"),
            ("listing", False, within, "twice in one split"),
        )
        if groups
    ]


def _between(
    one: tuple[str, Sequence[tuple[Entry, ImageDigest]]],
    other: tuple[str, Sequence[tuple[Entry, ImageDigest]]],
) -> list[Finding]:
    """Find what two splits have in common, beside the same pixels."""
    (name, mine), (their_name, theirs) = one, other
    names = f"{name} and {their_name}"
    pictures = [np.stack([image.thumb for _, image in side]) for side in (mine, theirs)]
    alike = [
        (i, j, c)
        for i, j, c in same_pictures(*pictures)
        if mine[i][1].digest != theirs[j][1].digest and mine[i][1].thumb.any()
    ]
    land = common_land([image for _, image in mine], [image for _, image in theirs])
    over, beside = [p for p in land if p[2] > COMMON], [p for p in land if p[2] <= COMMON]
    cases = (
        (alike, True, "pairs of images of {} show nearly the same picture"),
        (over, True, "pairs of images of {} show common land"),
        (
            beside,
            False,
            "pairs of images of {} lie beside each other; what crosses their edge is seen in both",
        ),
    )
    return [
        Finding(
            "leak",
            fault,
            (
                f"{len(pairs):,} {text.format(names)}: {mine[pairs[0][0]][0].key} and "
                f"{theirs[pairs[0][1]][0].key}"
            )
            + (f" ({max(p[2] for p in pairs):.0%} at most)" if fault else ""),
            tuple(mine[i][0].key for i, _, _ in pairs[:NAMED]),
        )
        for pairs, fault, text in cases
        if pairs
    ]


def _classes(dataset: Dataset, seen: _SeenSamples) -> list[Finding]:
    """Say which classes never occur, and where 255 may have been meant as a class."""
    if not seen.values:
        return []
    absent = [name for k, name in enumerate(dataset.classes.names) if not seen.values[k]]
    if absent == list(dataset.classes.names[1:]) and seen.values[IGNORE]:
        where = (dataset.folder or Path()) / FILE
        cure = (
            f"if it means a class, say so in {where} (classes = ..., values = {{ 0 = ..., 255 = "
            "... })."
        )
        text = f"masks hold only 0 and 255, and 255 means 'not known' here: {cure}"
        return [Finding("values", True, text)]
    found = [Finding("empty", False, f"no pixel is {' or '.join(absent)}.")] if absent else []
    if not any(seen.values[k] for k in range(len(dataset.classes))):
        found = [Finding("empty", True, "no pixel of any mask is known.")]
    return found
