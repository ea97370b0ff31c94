"""Windows out of samples: where they lie, what is not known, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.classes import FTW2, FTW3, ClassScheme
from selion.errors import BadInput, BandMismatch, GridMismatch
from selion.labels import LabelMap, class_labels
from selion.raster import Raster
from selion.sample import Sample
from selion.training.crops import cut, make_view, place, takes_objects
from selion.training.datasets import check_samples, fingerprint
from selion.training.draws import Draw
from selion.training.recipe import Augment, Crops, Data, Inputs
from train_toys import BANDS, grid, recipe, sample

PLAIN = Augment()
CHIP = recipe(
    augment=PLAIN,
    crops=Crops("chip"),
    input=Inputs(BANDS, (1.0,), window=64),
    data=Data(truth="labels"),
)


def with_labels(one, ids, classes=FTW3):
    return replace(one, labels=LabelMap(ids, one.image.grid, classes), instances=None)


def test_a_chip_of_the_windows_size_is_taken_as_it_is():
    one = sample(1)
    pixels, labels = make_view(one, CHIP, Draw(1, 0, 0))
    assert np.array_equal(pixels, one.image.values.astype(np.float32))
    assert np.array_equal(labels, one.labels.ids)
    assert labels.dtype == np.int64


def test_bands_are_taken_by_name_in_the_recipes_order():
    one, turned = sample(1), (*BANDS[4:], *BANDS[:4])
    pixels, _ = make_view(
        one, replace(CHIP, input=replace(CHIP.input, bands=turned)), Draw(1, 0, 0)
    )
    assert np.array_equal(pixels[:4], one.image.values[4:].astype(np.float32))
    unnamed = replace(
        one, image=Raster(one.image.values, one.image.grid, tuple(f"band{k}" for k in range(8)))
    )
    assert np.array_equal(
        make_view(unnamed, CHIP, Draw(1, 0, 0))[0], one.image.values.astype(np.float32)
    )


def test_a_larger_image_gives_pieces_of_itself_and_a_smaller_one_is_known_only_where_it_is():
    one = sample(1)
    small = replace(CHIP, input=replace(CHIP.input, window=32))
    corners = set()
    for k in range(20):
        window = cut(one, small, Draw(1, 0, k))
        found = [
            (i, j)
            for i in range(33)
            for j in range(33)
            if np.array_equal(one.image.values[:, i : i + 32, j : j + 32], window.pixels)
        ]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 15
    large = replace(CHIP, input=replace(CHIP.input, window=96))
    window = cut(one, large, Draw(1, 0, 0))
    assert np.array_equal(window.pixels[:, :64, :64], one.image.values)
    assert (window.truth[0, 64:] == -1).all()
    assert (window.truth[0, :64, :64] >= 0).all()


def test_what_is_not_valid_or_not_finite_is_not_known_and_filled_with_the_mean():
    one = sample(1)
    values = one.image.values.astype(np.float32)
    values[2, 10, 10], values[:, 11, 11] = np.nan, np.inf
    valid = np.ones((64, 64), bool)
    valid[20:30] = False
    pixels, labels = make_view(
        replace(one, image=Raster(values, one.image.grid, BANDS, valid)), CHIP, Draw(1, 0, 0)
    )
    known = valid.copy()
    known[10, 10] = known[11, 11] = False
    assert np.array_equal(labels == 255, ~known)
    assert np.isfinite(pixels).all()
    assert pixels[0, 25, 25] == pytest.approx(one.image.values[0][known].mean(), rel=1e-4)
    nothing = replace(one, image=Raster(np.full_like(values, np.nan), one.image.grid, BANDS))
    pixels, labels = make_view(nothing, CHIP, Draw(1, 0, 0))
    assert (labels == 255).all()
    assert (pixels == 0).all()


def test_ignored_labels_stay_ignored_whatever_the_truth_comes_from():
    one = sample(1)
    ids = one.labels.ids.copy()
    ids[:5] = 255
    both = replace(one, labels=LabelMap(ids, one.image.grid, FTW3))
    for truth in ("labels", "instances"):
        _, labels = make_view(both, replace(CHIP, data=Data(truth=truth)), Draw(1, 0, 0))
        assert (labels[:5] == 255).all()
        assert (labels[6:] != 255).all()


def test_boundaries_of_objects_are_drawn_at_the_windows_resolution():
    one = sample(1)
    _, labels = make_view(
        one, replace(CHIP, data=Data(truth="instances", boundary_width=2)), Draw(1, 0, 0)
    )
    assert np.array_equal(labels, class_labels(one.instances, 2).ids)
    fine = replace(
        CHIP, crops=Crops("random", gsd=(5.0, 5.0), turn=False), data=Data(truth="instances")
    )
    _, labels = make_view(one, fine, Draw(1, 0, 3))
    runs = np.diff(np.flatnonzero(np.diff((labels[30] == 2).astype(int))))
    assert 1 in runs  # one pixel of 5 m, where the mask at 10 m would give two


def test_two_classes_have_no_boundary():
    two = replace(
        CHIP, classes=FTW2, data=Data(truth="instances"), loss=replace(CHIP.loss, weights=())
    )
    one = sample(1)
    assert np.array_equal(make_view(one, two, Draw(1, 0, 0))[1], one.instances.ids > 0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(64, 64), (30, 200), (20, 20)]),
    st.sampled_from([None, (5.0, 40.0)]),
)
def test_random_windows_stay_near_the_image_and_keep_their_scale(index, shape, gsd):
    crops = Crops("random", gsd=gsd, stretch=0.2)
    matrix = place(shape, crops, 32, 10.0 if gsd else None, Draw(1, 0, index))
    step = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    assert 1 - 1e-9 <= step <= 1 + 1e-9 if gsd is None else 0.5 <= step <= 4 + 1e-9
    centre = matrix @ [15.5, 15.5, 1]
    for at, extent in zip(centre, shape, strict=True):
        assert -0.1 * 32 * step - 1 <= at <= extent + 0.1 * 32 * step + 1


def test_random_windows_see_pixels_with_their_truth():
    size = 64
    ramp = np.tile(np.arange(size, dtype=np.float32) * 10, (8, size, 1))
    ids = np.tile(np.arange(size, dtype=np.uint8) % 3, (size, 1))
    one = with_labels(replace(sample(1), image=Raster(ramp, grid(size), BANDS)), ids)
    spec = replace(CHIP, crops=Crops("random", size=32, stretch=0.1))
    for k in range(20):
        pixels, labels = make_view(one, spec, Draw(2, 0, k))
        known = labels != 255
        place_ = pixels[0] / 10
        sure = (
            known & (np.abs(place_ - np.round(place_)) < 0.3) & (place_ > 1) & (place_ < size - 2)
        )
        assert sure.sum() > 100
        assert np.array_equal(np.round(place_[sure]) % 3, labels[sure])


def test_coarser_windows_are_averages():
    one = sample(1)
    spec = replace(
        CHIP,
        crops=Crops("random", size=32, gsd=(20.0, 20.0), turn=False),
        input=replace(CHIP.input, window=32),
    )
    pixels, _ = make_view(one, spec, Draw(2, 0, 4))
    values = one.image.values.astype(np.float32)
    folded = values.reshape(8, 32, 2, 32, 2).mean((2, 4))
    assert pixels[:, 8:24, 8:24].std() < values.std()
    assert abs(pixels[0].mean() - folded[0].mean()) < 150
    ones = replace(one, image=Raster(np.full((8, 64, 64), 7.0, np.float32), one.image.grid, BANDS))
    assert make_view(ones, spec, Draw(2, 0, 4))[0] == pytest.approx(7.0)


def test_edge_agreement_leaves_most_pixels_out():
    spec = replace(CHIP, loss=replace(CHIP.loss, edge_agreement=True))
    _, labels = make_view(sample(1), spec, Draw(1, 0, 0))
    assert 0.02 < (labels != 255).mean() < 0.6


def test_what_does_not_fit_is_refused_in_one_sentence():
    one = sample(1)
    wrong = one.labels.ids.copy()
    wrong[3, 3] = 7
    cases = [
        (with_labels(one, wrong), CHIP, BadInput, "the mask holds \\[7\\]"),
        (
            with_labels(one, one.labels.ids, ClassScheme(("background", "field", "tree"))),
            CHIP,
            BadInput,
            "'tree' is one of them",
        ),
        (replace(one, labels=None), CHIP, BadInput, "no labels to learn from"),
        (
            replace(one, instances=None),
            replace(CHIP, data=Data(truth="instances")),
            BadInput,
            "has no instances",
        ),
        (
            replace(
                one, image=Raster(one.image.values[:3], one.image.grid, ("red", "green", "blue"))
            ),
            CHIP,
            BandMismatch,
            "but the recipe wants",
        ),
        (
            Sample("photo", Raster(one.image.values, grid(crs=None), BANDS), one.labels, None),
            replace(CHIP, crops=Crops("chip", gsd=(5.0, 10.0))),
            GridMismatch,
            "has no CRS",
        ),
    ]
    for given_, spec, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            make_view(given_, spec, Draw(1, 0, 0))
        assert "\n" not in str(caught.value)
    smaller = LabelMap(one.labels.ids[:60, :60], one.image.grid[:60, :60], FTW3)
    with pytest.raises(GridMismatch, match="64 x 64 and 60 x 60"):
        make_view(replace(one, labels=smaller, instances=None), CHIP, Draw(1, 0, 0))


def test_objects_are_taken_where_the_classes_are_fields():
    one = sample(1)
    assert takes_objects(one, recipe())
    assert not takes_objects(one, CHIP)
    assert not takes_objects(replace(one, instances=None), recipe())


def test_samples_without_a_class_or_without_truth_are_refused_before_training():
    one = sample(1)
    shares = check_samples([one], recipe(crops=Crops("chip")))
    assert sum(shares) == pytest.approx(1)
    assert shares[2] == pytest.approx((class_labels(one.instances).ids == 2).mean())
    bare = [with_labels(one, (one.labels.ids > 0).astype(np.uint8)) for _ in range(3)]
    with pytest.raises(BadInput, match="class 'boundary' \\(3 samples"):
        check_samples(bare, CHIP)
    blank = with_labels(one, np.full((64, 64), 255, np.uint8))
    with pytest.raises(BadInput, match="None of the 1 training samples"):
        check_samples([blank], CHIP)
    with pytest.raises(BadInput, match="no samples to train on"):
        check_samples([], CHIP)


def test_fingerprints_tell_samples_apart():
    assert fingerprint([1, 2]) == fingerprint([3, 4])  # no names to tell by
    named = type("Named", (list,), {"keys": ("a", "b")})([1, 2])
    assert fingerprint(named) != fingerprint([1, 2])


def test_photographs_are_drawn_at_other_scales():
    crops = Crops("random", zoom=(0.5, 2.0), turn=False)
    steps = [float(place((300, 300), crops, 64, None, Draw(7, 0, k))[0, 0]) for k in range(200)]
    assert 0.5 <= min(steps) < 0.55
    assert 1.8 < max(steps) <= 2.0
    assert 0.8 < np.exp(np.mean(np.log(steps))) < 1.25
    with pytest.raises(BadInput, match=r"crops\.zoom"):
        Crops(zoom=(2.0, 0.5))
    with pytest.raises(BadInput, match=r"crops\.gsd, which says the same"):
        Crops(zoom=(0.5, 2.0), gsd=(1.0, 2.0))
