import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry

from selion.errors import GridMismatch
from selion.metrics import object_scores, overlap_table, prue_means, prue_scores
from selion.metrics.protocol import PRUE_DIFFERENCES


def patches(seed, size=64, classes=3):
    """Smooth random label maps, so that there are objects with holes, diagonal touches and single
    pixels.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(classes, size, size)), (0, 2, 2))
    labels = field.argmax(0).astype(np.uint8)
    return np.where(
        rng.random((size, size)) < 0.02, rng.integers(0, classes, (size, size)), labels
    ).astype(np.uint8)


def by_polygons(truth, prediction, iou):
    """Counts by polygon geometry, the way of the peers: every component a polygon, the first
    prediction above the threshold wins.
    """

    def polygons(mask):
        return [
            shapely.geometry.shape(geometry)
            for geometry, value in rasterio.features.shapes(mask)
            if value == 1
        ]

    real, said = polygons(truth), polygons(prediction)
    used = set()
    hits = 0
    for one in real:
        for j, other in enumerate(said):
            common = one.intersection(other).area if one.intersects(other) else 0
            if common and common / one.union(other).area > iou:
                used.add(j)
                hits += 1
                break
    return hits, len(said) - len(used), len(real) - hits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("iou", [0.5, 0.7])
def test_objects_equal_polygon_matching(seed, iou):
    truth = patches(seed)
    prediction = truth.copy()
    prediction[10:40, 10:40] = patches(seed + 100)[10:40, 10:40]
    scores = prue_scores(truth, prediction, iou).objects
    assert (scores.tp, scores.fp, scores.fn) == by_polygons(
        (truth == 1).astype(np.uint8), (prediction == 1).astype(np.uint8), iou
    )
    assert scores.tp > 0


@pytest.mark.slow  # importing torch and torchmetrics takes its time
def test_pixels_equal_torchmetrics():
    metrics = pytest.importorskip(
        "torchmetrics", reason="torchmetrics is the oracle for pixel scores"
    )
    import torch

    truth, prediction = patches(1, classes=2), patches(2, classes=2)
    truth[:9, :9] = 255
    ours = prue_scores(truth, prediction).to_dict()
    real, said = (
        torch.from_numpy(truth.astype(np.int64)),
        torch.from_numpy(prediction.astype(np.int64)),
    )
    for name, judge in (
        ("pixel_iou", "JaccardIndex"),
        ("pixel_precision", "Precision"),
        ("pixel_recall", "Recall"),
    ):
        theirs = getattr(metrics, judge)(
            task="multiclass", average="none", num_classes=2, ignore_index=255
        )(said, real)
        assert ours[name] == pytest.approx(float(theirs[1]), abs=1e-6)


def test_what_the_protocol_does_otherwise():
    ids = np.zeros((8, 8), int)
    ids[:4], ids[4:] = 1, 2  # two fields that touch
    labels = (ids > 0).astype(np.uint8)
    theirs = prue_scores(labels, labels).objects
    ours = object_scores(overlap_table(ids, ids))
    assert (theirs.tp, ours.tp) == (1, 2)
    unknown = np.full((8, 8), 255, np.uint8)
    assert prue_scores(unknown, labels).objects.fp == 1
    assert np.isnan(prue_scores(unknown, labels).to_dict()["object_f1"])
    half = np.zeros((1, 4), np.uint8)
    half[0, :2] = 1
    # IoU of exactly one half
    assert prue_scores(half, np.array([[1, 0, 0, 0]], np.uint8)).objects.tp == 0
    assert len(PRUE_DIFFERENCES) >= 5


def test_countries_are_pooled_then_averaged():
    a, b = np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    b[0, 0] = 1
    countries, means = prue_means(
        [("x", prue_scores(a, a)), ("x", prue_scores(a, b)), ("y", prue_scores(b, b))]
    )
    assert countries["x"]["pixel_iou"] == pytest.approx(17 / 32)
    assert countries["x"]["object_f1"] == pytest.approx(0.5)
    assert means["pixel_iou"].value == pytest.approx((17 / 32 + 1) / 2)
    assert means["object_f1"].n == 2


def test_shapes_must_agree():
    with pytest.raises(GridMismatch):
        prue_scores(np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8))
