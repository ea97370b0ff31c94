import contextlib
import io

import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics import Detections, average_precision, overlap_table


def blobs(rng, n, size=48):
    """Random rectangles, later ones over earlier ones."""
    ids = np.zeros((size, size), np.int32)
    for k in range(1, n + 1):
        top, left = rng.integers(0, size - 6, 2)
        height, width = rng.integers(3, 14, 2)
        ids[top : top + height, left : left + width] = k
    return ids


def shaken(rng, ids, n):
    """The truth moved by a pixel or two, some objects lost, some invented."""
    moved = np.roll(ids, tuple(rng.integers(-1, 2, 2)), (0, 1)).copy()
    moved[np.isin(moved, rng.integers(1, n + 1, n // 5))] = 0
    extra = blobs(rng, 3) * (rng.random(ids.shape) < 0.95)
    return np.where(extra > 0, extra + 1000, moved).astype(np.int32)


def images(seed, count=6):
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        n = int(rng.integers(0 if k else 1, 14))
        truth = blobs(rng, n)
        prediction = shaken(rng, truth, max(n, 1))
        ids = np.unique(prediction[prediction > 0])
        # rounded: ties are the hard part
        made.append((truth, prediction, np.round(rng.random(len(ids)), 1)))
    return made


def detections(made):
    return [
        Detections(overlap_table(truth, prediction), scores) for truth, prediction, scores in made
    ]


def coco_result(made, cap, area):
    """The same numbers from pycocotools: precision (threshold, recall) for one class, one size, one
    cap.
    """
    coco = pytest.importorskip(
        "pycocotools.coco", reason="pycocotools is the oracle for average precision"
    )
    from pycocotools import mask as masks
    from pycocotools.cocoeval import COCOeval

    def encode(mask):
        return masks.encode(np.asfortranarray(mask.astype(np.uint8)))

    truths, predictions = [], []
    for image, (truth, prediction, scores) in enumerate(made, 1):
        for i in np.unique(truth[truth > 0]):
            rle = encode(truth == i)
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": 0,
                    "segmentation": rle,
                    "area": float((truth == i).sum()),
                }
            )
        for i, score in zip(np.unique(prediction[prediction > 0]), scores, strict=True):
            predictions.append(
                {
                    "image_id": image,
                    "category_id": 1,
                    "segmentation": encode(prediction == i),
                    "score": float(score),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {
            "images": [{"id": k, "height": 48, "width": 48} for k in range(1, len(made) + 1)],
            "categories": [{"id": 1}],
            "annotations": truths,
            "info": {},
        }
        reference.createIndex()
        judge = COCOeval(reference, reference.loadRes(predictions), "segm")
        judge.params.maxDets = [cap]
        judge.params.areaRng = [list(area)]
        judge.params.areaRngLbl = ["this"]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, 0, 0, 0], judge.eval["recall"][:, 0, 0, 0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("cap", "area"), [(100, (0, 1e10)), (4, (0, 1e10)), (100, (30, 80))])
def test_equal_to_pycocotools(seed, cap, area):
    made = images(seed)
    precision, recall = coco_result(made, cap, area)
    ours = average_precision(detections(made), cap=cap, area=area)
    np.testing.assert_allclose(ours.curves, precision, atol=1e-12)
    np.testing.assert_allclose(ours.recall, recall, atol=1e-12)
    assert ours.ap == pytest.approx(precision.mean())


def test_perfect_is_one_and_nothing_is_zero():
    truth = blobs(np.random.default_rng(2), 9)
    n = len(np.unique(truth)) - 1
    assert average_precision(
        [Detections(overlap_table(truth, truth), np.ones(n))]
    ).ap == pytest.approx(1)
    none = average_precision([Detections(overlap_table(truth, np.zeros_like(truth)), np.zeros(0))])
    assert (none.ap, none.at(0.5)) == (0, 0)
    assert np.isnan(
        average_precision([Detections(overlap_table(np.zeros_like(truth), truth), np.ones(n))]).ap
    )


def test_a_cap_cuts_smallholder_chips_and_says_so():
    truth = np.arange(1, 145, dtype=np.int32).reshape(12, 12).repeat(3, 0).repeat(3, 1)
    image = [Detections(overlap_table(truth, truth), np.linspace(1, 0.1, 144))]
    capped, free = average_precision(image, cap=100), average_precision(image)
    assert capped.cut == 44
    assert capped.recall[0] == pytest.approx(100 / 144)
    assert free.ap == pytest.approx(1)
    assert capped.ap < 0.75
    assert capped.to_dict()["cut"] == 44


def test_bad_input_is_refused():
    table = overlap_table(np.ones((2, 2), int), np.ones((2, 2), int))
    with pytest.raises(BadInput, match="confidences"):
        Detections(table, np.zeros(2))
    with pytest.raises(BadInput, match="thresholds"):
        average_precision([Detections(table, np.ones(1))]).at(0.6123)
