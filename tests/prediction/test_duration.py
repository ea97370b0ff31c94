import time

import pytest

from predict_toys import Constant, Procedural, Toy, utm_grid
from selion.prediction import PredictOptions, estimate, plan, predict
from selion.segmenter import PlainModel


class Slow(Constant):
    pause = 0.005
    calls = 0

    def __call__(self, views):
        self.calls += 1
        time.sleep(self.pause * len(views))
        return super().__call__(views)


def test_counts_are_the_plans():
    source, model = Procedural(utm_grid((1000, 800))), Toy()
    found = plan(source, model, PredictOptions(block=256))
    guess = estimate(source, model, found)
    assert guess.windows == len(found.lattice)
    assert guess.blocks == len(found.blocks) == 16
    assert guess.share_seen == 1
    assert len(model.calls) == 4  # three groups, and one to warm up
    source.pixels_read = 0
    predict(source, model, options=PredictOptions(block=256))
    assert guess.gigabytes_read == pytest.approx(source.pixels_read * 2 * 2 / 1e9)


def test_seconds_are_near_the_truth(monkeypatch):
    """By a clock that goes on while the model sleeps and at no other time."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.append(clock.pop() + seconds))
    source, model = Procedural(utm_grid((600, 600))), Slow()
    found = plan(source, model)
    guess = estimate(source, model, found)
    begin = time.perf_counter()
    predict(source, model)
    truth = time.perf_counter() - begin
    assert truth / 1.5 < guess.seconds < 1.5 * truth


def test_nodata_and_tiny_images():
    source, model = Procedural(utm_grid((300, 300)), holes=-1), Toy()
    guess = estimate(source, model, plan(source, model))
    assert guess.share_seen == 0
    assert not model.calls
    assert guess.seconds > 0
    source = Procedural(utm_grid((3, 3)))
    assert estimate(source, model, plan(source, model)).windows == 1


def test_resampled_gigabytes_are_the_sources():
    source, model = Procedural(utm_grid((400, 400))), Toy()
    guess = estimate(source, model, plan(source, model, PredictOptions(scale=2.0)))
    assert 1.0 <= guess.gigabytes_read / (400 * 400 * 2 * 2 / 1e9) < 1.2


def test_calls_at_once_are_timed_at_once():
    source, model = Procedural(utm_grid((800, 800))), PlainModel(Slow(), at_once=9)
    model.segmenter.pause = 0.02  # much beside what a busy machine needs to wake nine threads
    guess = estimate(source, model, plan(source, model))
    begin = time.perf_counter()
    predict(source, model)
    truth = time.perf_counter() - begin
    assert guess.seconds < 3 * truth, "one call after the other would take nine times as long"
