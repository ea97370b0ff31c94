"""Scores of nodes for the tests of the cut: nothing was learnt, everything was written down."""

from dataclasses import replace

import numpy as np

from selion.fields import InstanceOptions, NodeScore
from selion.fields.node_score import CutSettings
from selion.fields.nodes import FEATURES


def stump(feature, threshold, low, high, *, missing_left=True):
    """One tree of one question."""
    return (feature, threshold, low, high, missing_left)


def score_of_stumps(*stumps, base=0.0, settings=None):
    """Sum of stumps; what is not above the threshold goes left, to ``low``."""
    rows = []
    for k, (feature, threshold, low, high, missing_left) in enumerate(stumps):
        first = 3 * k
        rows += [
            (FEATURES.index(feature), threshold, first + 1, first + 2, missing_left, 0.0),
            (-1, 0.0, 0, 0, 0, low),
            (-1, 0.0, 0, 0, 0, high),
        ]
    kinds = ("i2", "f8", "i4", "i4", "u1", "f8")
    columns = [np.array(c, kind) for c, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    feature, threshold, left, right, missing_left, value = columns
    return NodeScore(
        settings or CutSettings(),
        base,
        np.arange(0, 3 * len(stumps), 3, dtype="i4"),
        feature,
        threshold,
        left,
        right,
        missing_left,
        value,
    )


def random_score(seed=0, trees=60):
    """Stumps over all features, so that whatever differs in one of them changes the map."""
    rng = np.random.default_rng(seed)
    stumps = [
        stump(
            FEATURES[k % len(FEATURES)],
            float(rng.choice([rng.uniform(0, 1), rng.uniform(3, 9)])),
            *map(float, rng.normal(0, 0.08, 2)),
            missing_left=bool(rng.random() < 0.5),
        )
        for k in range(trees)
    ]
    return score_of_stumps(*stumps, base=0.45)


TOY = score_of_stumps(
    stump("strength", 0.25, 0.0, 0.45),
    stump("inner_top", 0.3, 0.35, 0.0),
    stump("field", 0.45, -0.3, 0.1),
)
"""What anybody would write down: a strong border around, none inside, and field."""


def with_score(method, options=None, score=TOY):
    """Options, with a score where the method needs one."""
    options = options or InstanceOptions()
    return replace(options, score=score) if method == "cut" else options
