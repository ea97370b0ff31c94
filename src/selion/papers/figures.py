"""Figures 6 and 7 of PRUE as numbers: agreement against overlap, and against the object F1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selion import metrics
from selion.data.dataset import Dataset
from selion.errors import BadInput
from selion.evaluation.deployment import as_classes
from selion.metrics.deploy import CENTRES
from selion.models import load_model
from selion.papers.answering import AS_IT_IS, chip_pixels, shown_chips
from selion.papers.keeping import KeptScores, keep_key, model_identity
from selion.papers.results import FoundModel, TableScores
from selion.progress import OnStep, silent
from selion.store import write_csv

FIGURE_MODELS = ("ftw-v1", "prue-b7")
"""The models of both figures."""
PRINTED_R2 = {"ftw-v1": 0.48, "prue-b7": 0.30}
"""Figure 7, as printed."""
SWEEP_COLUMNS = ("model", "stand_in", "country", "overlap_px", "consistency", "chips")
POINT_COLUMNS = ("model", "stand_in", "country", "consistency", "object_f1", "r2", "paper_r2")
"""Of ``figure-6.csv`` and ``figure-7.csv``."""


def sweep_overlaps(
    models: Mapping[str, FoundModel],
    chips: Dataset,
    out: Path,
    *,
    published: bool = False,
    engine: str = "auto",
    threads: int | None = None,
    on_step: OnStep = silent,
) -> Path:
    """Measure agreement for several overlaps in every country, and write ``figure-6.csv``.

    Parameters
    ----------
    models : mapping
        Key -> weights.
    chips : Dataset
        Of all countries, those of which only some fields are labelled too: no truth is needed.
    out : path
        Gets the table; finished (model, country) pairs are kept there, as for tables.
    published : bool
        Whether chips are fed at their own pixels, as in the public code, instead of on the model's
        grid.

    Notes
    -----
    PRUE, Figure 6: the mean over a country's chips of equation 1, whose overlap is swept; overlaps
    that a chip is too small for are left out.
    """
    if not len(chips):
        raise BadInput("Figure 6 wants chips, and there are none: give the data set's folder.")
    kept, lines = KeptScores(out), []
    for key, found in models.items():
        model = load_model(found.path, engine, threads=threads)
        for country in chips.groups:
            part, _ = shown_chips(chips.select(groups=country), model)
            digest = keep_key(model_identity(model), part, part="sweep", published=published)
            name = f"{key}-{country}-sweep"
            there = kept.read(name, digest)
            if there is None:
                shares = _sweep(model, part, published=published, name=name, on_step=on_step)
                there = {"shares": shares}
                kept.write(name, digest, there)
            on_step(name, len(part), len(part))
            lines += [
                (key, found.stand_in, country, int(overlap), f"{share:.6f}", len(part))
                for overlap, share in there["shares"].items()
            ]
    write_csv(out / "figure-6.csv", SWEEP_COLUMNS, lines)
    return out / "figure-6.csv"


def _sweep(
    model: Any, chips: Dataset, *, published: bool, name: str, on_step: OnStep
) -> dict[str, float]:
    asked = as_classes(model)
    found: dict[int, list[float]] = {}
    for k, sample in enumerate(chips):
        on_step(name, k, len(chips))
        pixels = chip_pixels(asked, sample, AS_IT_IS if published else None)
        size = min(pixels.shape[1:]) // 2 * 2
        square = pixels[:, :size, :size]
        swept = metrics.consistency_sweep(square, asked, [c for c in CENTRES if c < size])
        for overlap, share in swept.items():
            found.setdefault(overlap, []).append(share)
    return {str(overlap): float(np.mean(shares)) for overlap, shares in sorted(found.items())}


def compare_consistency(tables: Iterable[TableScores], out: Path) -> Path:
    """Lay agreement beside the object F1 of every country, and write ``figure-7.csv``.

    Parameters
    ----------
    tables : iterable of TableScores
        Of which some measured the agreement of the figure's models.
    out : path
        Gets the table.

    Raises
    ------
    BadInput
        If none did.

    Notes
    -----
    PRUE, Figure 7: R2 is that of a straight line through the countries.
    """
    lines: dict[tuple[str, str], tuple[object, ...]] = {}
    for table in tables:
        for row in table.rows:
            key = row.row.model.key
            points = {
                name: (values["agreement"], values["object_f1"])
                for name, values in row.countries.items()
                if "agreement" in values
            }
            if key in FIGURE_MODELS and points:
                r2 = squared_correlation(points.values())
                said = "" if row.found is None else row.found.stand_in
                for name, (share, f1) in points.items():
                    numbers = (f"{share:.6f}", f"{f1:.6f}", "" if r2 is None else f"{r2:.6f}")
                    lines[key, name] = (key, said, name, *numbers, PRINTED_R2[key])
    if not lines:
        raise BadInput(
            f"Figure 7 wants the agreement of {' or '.join(FIGURE_MODELS)}, and neither was "
            "scored: give their weights, or --quick."
        )
    write_csv(out / "figure-7.csv", POINT_COLUMNS, lines.values())
    return out / "figure-7.csv"


def squared_correlation(points: Iterable[Sequence[float]]) -> float | None:
    """Return R2 of a straight line through (x, y) points.

    None for fewer than three known points, or where one of the two never changes.
    """
    known = np.array([pair for pair in points if np.isfinite(pair).all()], float).reshape(-1, 2)
    if len(known) < 3 or (np.ptp(known, axis=0) == 0).any():
        return None
    return float(np.corrcoef(known.T)[0, 1] ** 2)
