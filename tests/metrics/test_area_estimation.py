"""Estimates of a stratified sample beside the figures that Olofsson et al. (2014) print."""

import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics.area_estimation import (
    StratifiedSample,
    allocate,
    area_adjusted,
    mean_over,
    ratio_over,
    required_size,
)

CLASSES = ("deforestation", "gain", "forest", "other")
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
MATRIX = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
"""Table 8 of the paper: rows are the map, columns the reference."""
HECTARE = 0.09
"""Of a Landsat pixel."""


def published() -> tuple[np.ndarray, np.ndarray, StratifiedSample]:
    mapped, reference = (
        np.repeat(side.ravel(), MATRIX.ravel()) for side in np.indices(MATRIX.shape)
    )
    return mapped, reference, StratifiedSample(mapped, PIXELS)


def test_the_published_example() -> None:
    """Section 5.2 of the paper prints these, rounded; its areas leave finite populations out."""
    mapped, reference, sample = published()
    found = area_adjusted(mapped, reference, CLASSES, sample)
    assert (found.counts == MATRIX).all()
    users = [found.by_class[name].users for name in CLASSES]
    assert [round(e.value, 2) for e in users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(e.half_width, 2) for e in users] == [0.07, 0.10, 0.04, 0.02]
    producers = [found.by_class[name].producers for name in CLASSES]
    assert [round(e.value, 2) for e in producers] == [0.75, 0.85, 0.93, 0.96]
    assert [round(producers[k].half_width, 2) for k in (0, 2)] == [0.21, 0.03]
    assert (round(found.overall.value, 2), round(found.overall.half_width, 2)) == (0.95, 0.02)
    hectares = [found.by_class[name].area.scaled(PIXELS.sum() * HECTARE) for name in CLASSES]
    assert hectares[0].value == pytest.approx(21_158, abs=1)
    assert hectares[0].half_width == pytest.approx(6_158, rel=2e-3)
    assert hectares[1].value == pytest.approx(11_686, abs=1)
    assert hectares[1].half_width == pytest.approx(3_756, rel=2e-3)
    assert hectares[2].value == pytest.approx(285_770, abs=1)
    assert hectares[2].half_width == pytest.approx(15_510, rel=2e-3)
    assert hectares[3].value == pytest.approx(581_386, abs=1)
    assert hectares[3].half_width == pytest.approx(16_282, rel=2e-3)
    assert found.matrix.sum() == pytest.approx(1)


def test_the_papers_formulas_written_out() -> None:
    """Equations 5 to 7 and 10 as they stand, without the correction for finite populations."""
    mapped, reference, sample = published()
    n, w = MATRIX.sum(1), PIXELS / PIXELS.sum()
    u = np.diag(MATRIX) / n
    p = w[:, None] * MATRIX / n[:, None]
    found = area_adjusted(mapped, reference, CLASSES, sample)
    assert found.overall.standard_error == pytest.approx(
        np.sqrt(np.sum(w**2 * u * (1 - u) / (n - 1))), rel=1e-3
    )
    for j, name in enumerate(CLASSES):
        whole = PIXELS * MATRIX[:, j] / n  # N_i. n_ij / n_i.
        share = np.diag(p)[j] / p[:, j].sum()
        others = np.arange(4) != j
        q = MATRIX[:, j] / n
        variance = (
            PIXELS[j] ** 2 * (1 - share) ** 2 * u[j] * (1 - u[j]) / (n[j] - 1)
            + share**2 * np.sum((PIXELS**2 * q * (1 - q) / (n - 1))[others])
        ) / whole.sum() ** 2
        assert found.by_class[name].producers.standard_error == pytest.approx(
            np.sqrt(variance), rel=2e-3
        )
        area = np.sqrt(np.sum((w * p[:, j] - p[:, j] ** 2) / (n - 1)))
        assert found.by_class[name].area.standard_error == pytest.approx(area, rel=2e-3)


def test_strata_that_are_not_the_map() -> None:
    """By hand: two strata of 60 and 40 units, five and four of them looked at."""
    sample = StratifiedSample(np.array([0] * 5 + [1] * 4), np.array([60, 40]))
    y = np.array([1, 0, 1, 0, 0, 1, 1, 1, 0], float)
    x = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0], float)
    assert mean_over(y, sample).value == pytest.approx(0.6 * 2 / 5 + 0.4 * 3 / 4)
    # spreads with n - 1: .3 and .25; 1 - 5/60, 1 - 4/40
    variance = 0.36 * (55 / 60) * 0.3 / 5 + 0.16 * 0.9 * 0.25 / 4
    assert mean_over(y, sample).standard_error == pytest.approx(np.sqrt(variance))
    ratio = (0.6 * 0.4 + 0.4 * 0.75) / (0.6 * 0.8 + 0.4 * 0.75)
    found = ratio_over(y, x, sample)
    assert found.value == pytest.approx(ratio)
    spreads = [np.var(y[s] - ratio * x[s], ddof=1) for s in (slice(0, 5), slice(5, 9))]
    variance = (0.36 * (55 / 60) * spreads[0] / 5 + 0.16 * 0.9 * spreads[1] / 4) / (
        0.6 * 0.8 + 0.4 * 0.75
    ) ** 2
    assert found.standard_error == pytest.approx(np.sqrt(variance))


def test_intervals_hold_the_truth() -> None:
    """Of 400 drawn samples of one known country, 95 % hold its true area and accuracies."""
    rng = np.random.default_rng(0)
    n = 200_000
    truth = rng.random(n) < 0.3
    sure = np.clip(rng.normal(np.where(truth, 0.7, 0.35), 0.2), 0, 1)
    mapped = sure > 0.5
    stratum = np.digitize(sure, [0.3, 0.5, 0.7])
    sizes = np.bincount(stratum)
    members = [np.flatnonzero(stratum == k) for k in range(len(sizes))]
    wanted = {
        "area": truth.mean(),
        "users": (mapped & truth).sum() / mapped.sum(),
        "producers": (mapped & truth).sum() / truth.sum(),
        "iou": (mapped & truth).sum() / (mapped | truth).sum(),
    }
    held = dict.fromkeys(wanted, 0)
    for _ in range(400):
        rows = np.concatenate([rng.choice(m, 75, replace=False) for m in members])
        sample = StratifiedSample(stratum[rows], sizes)
        found = area_adjusted(mapped[rows].astype(int), truth[rows].astype(int), "ab", sample)
        for name, value in wanted.items():
            estimate = getattr(found.by_class["b"], name)
            held[name] += abs(estimate.value - value) <= estimate.half_width
    # 95 % of 400 is 380, with a standard deviation of 4.4
    assert all(362 <= count <= 396 for count in held.values()), held


def test_sizes() -> None:
    assert required_size(0.9, 0.01) == 900
    assert allocate([900, 90, 10], 100, 1).tolist() == [90, 9, 1]
    assert allocate([9_000, 900, 100], 100, 20).tolist() == [60, 20, 20]
    assert allocate([9_000, 900, 5], 100, 20).tolist() == [75, 20, 5]
    assert allocate([3, 2], 100, 20).tolist() == [3, 2]
    assert allocate([1, 1, 1], 3, 0).sum() == 3
    with pytest.raises(BadInput, match="too few for 3 strata"):
        allocate([9_000, 900, 100], 50, 20)


def test_a_stratum_of_one_unit_is_known_when_it_was_looked_at() -> None:
    """By hand: half of ten in nine of ten parts, and the one that there is; it adds no variance."""
    y = np.array([1, 0, 1, 0, 1], float)
    sample = StratifiedSample(np.array([0, 0, 0, 0, 1]), np.array([9, 1]))
    found = mean_over(y, sample)
    assert found.value == pytest.approx(0.9 * 0.5 + 0.1)
    assert found.standard_error == pytest.approx(0.9 * np.sqrt((1 - 4 / 9) * (1 / 3) / 4))
    with pytest.raises(BadInput, match="fewer than two"):
        StratifiedSample(np.array([0, 0, 1]), np.array([9, 2]))
    with pytest.raises(BadInput, match="fewer than two"):
        StratifiedSample(np.array([0, 0]), np.array([9, 1]))


def test_what_cannot_be_said() -> None:
    with pytest.raises(BadInput, match="fewer than two"):
        StratifiedSample(np.array([0, 0, 1]), np.array([10, 10]))
    with pytest.raises(BadInput, match="not larger"):
        StratifiedSample(np.array([0, 0, 0]), np.array([2]))
    sample = StratifiedSample(np.zeros(4, int), np.array([10]))
    assert np.isnan(ratio_over(np.zeros(4), np.zeros(4), sample).value)
    assert mean_over(np.ones(4), sample).interval().high == 1
