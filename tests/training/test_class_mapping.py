"""A boundary network learns from object ids, and from masks that name a boundary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from selion import training
from selion.classes import FTW3, ClassScheme
from selion.labels import class_labels
from selion.models import ModelCard
from selion.models.pixel import TorchSegmenter
from selion.training.class_mapping import placed
from selion.training.crops import make_view
from selion.training.datasets import check_samples
from selion.training.draws import Draw
from selion.training.recipe import Augment, Crops, Data, Loss, Validate
from selion.training.scoring import score_samples
from train_toys import network, recipe, sample

EDGES = ClassScheme(("background", "boundary"), boundary="boundary")


def made(truth="instances"):
    return recipe(
        classes=EDGES,
        data=Data(truth=truth),
        loss=Loss("ce"),
        augment=Augment(),
        crops=Crops("chip", size=64),
        validate=Validate(metric="miou"),
    )


@pytest.mark.parametrize("truth", ["instances", "labels"])
def test_boundaries_are_one_class_and_all_else_the_other(truth):
    given = sample(3)
    _, labels = make_view(given, made(truth), Draw(0, 0, 0))
    assert np.array_equal(labels, class_labels(given.instances).ids == 2)
    shares = check_samples([given], made(truth))
    assert shares == pytest.approx([1 - labels.mean(), labels.mean()])


def test_what_is_not_known_stays_so():
    given = sample(3)
    ids = given.labels.ids.copy()
    ids[:8] = 255
    _, labels = make_view(
        replace(given, labels=replace(given.labels, ids=ids)), made(), Draw(0, 0, 0)
    )
    assert (labels[:8] == 255).all()
    assert set(np.unique(labels[8:])) == {0, 1}


def test_scores_are_those_of_two_classes():
    model = TorchSegmenter(
        ModelCard("edges", made().input.spec(), EDGES), network(classes=2), "cpu"
    )
    scores = score_samples(model, [sample(1), sample(2)], made().validate)
    assert scores.confusion.names == EDGES.names
    lines = [int((class_labels(sample(k).instances).ids == 2).sum()) for k in (1, 2)]
    assert scores.confusion.counts[1].sum() == sum(lines)


def test_other_recipes_still_want_their_own_classes():
    assert placed(FTW3, ClassScheme(("background", "field", "tree"))) == {0: 0, 1: 1}
    packaged = training.read_recipe("epoc", ["data.dataset=somewhere"])
    assert packaged.classes == replace(EDGES, colours=packaged.classes.colours)
