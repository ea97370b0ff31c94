"""Whether fine-tuned weights replace what they started from, and at which scale they are learnt."""

from __future__ import annotations

import time
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import selion
from selion import store
from selion.errors import BadInput, UnknownName
from selion.grid import whole
from selion.models import read_card, write_card
from selion.training import loop, read_recipe
from selion.training.datasets import at_scale_of_start, like_start
from selion.training.recipe import Data, Hardware, Model, Schedule, Validate
from selion.training.run import plan_samples
from selion.training.scoring import Scores, surely_better
from train_toys import card, grid, network, recipe, sample


def scores(*rows):
    """Of chips: objects found, wrong and missed."""
    counts = np.array([[*row, 90, 5, 5] for row in rows], float)
    return Scores(tuple(map(str, range(len(rows)))), ("",) * len(rows), counts)


@pytest.mark.parametrize(
    ("start", "new", "sure"),
    [
        # 20 objects on four chips, F1 0.75 and 0.80: sqrt(0.5 x 0.775 x 0.225 / 20) = 0.066
        ([(4, 1, 1), (4, 1, 1), (4, 2, 1), (3, 1, 2)], [(4, 1, 1)] * 4, False),
        # F1 0.40 and 0.80 on the same: sqrt(0.5 x 0.6 x 0.4 / 20) = 0.077
        ([(2, 3, 3)] * 4, [(4, 1, 1)] * 4, True),
        # 2,000 objects, 0.75 and 0.80, on each chip alike: the error is 0.0066
        ([(75, 25, 25)] * 20, [(80, 20, 20)] * 20, True),
        # the same sums, but one chip makes all the gain
        ([(75, 25, 25)] * 20, [(75, 25, 25)] * 19 + [(175, -75, -75)], False),
        ([(4, 1, 1)] * 4, [(4, 1, 1)] * 4, False),
        ([(4, 1, 1)] * 4, [(2, 3, 3)] * 4, False),
        # one object found instead of none, and two instead of one
        ([(0, 1, 1)], [(1, 0, 0)], False),
        ([(1, 1, 1)] * 2, [(2, 0, 0)] * 2, False),
        # one chip says nothing of its own spread: 0.60 and 0.80 of 5 objects
        ([(3, 2, 2)], [(4, 1, 1)], False),
    ],
)
def test_a_gain_that_luck_could_give_does_not_replace_the_start(start, new, sure):
    assert surely_better(scores(*new), scores(*start)) is sure


@pytest.mark.parametrize(("chips", "sure"), [(1, False), (2, False), (3, True)])
def test_pixels_of_one_or_two_chips_are_sure_of_nothing(chips, sure):
    """One pixel more in 10,000, on each chip alike: no chip says how far others would differ."""
    start, new = (replace(scores(*[(4, 1, 1)] * chips), metric="pixel_iou") for _ in range(2))
    new.counts[:, 3:] = (91, 4, 4)
    assert surely_better(new, start) is sure


@pytest.mark.parametrize(
    ("metres", "working", "changes"),
    [
        (1.0, 1.65, ()),
        (3.0, (), ()),
        (10.0, 4.5, ()),
        (0.1, None, ()),
        (1.0, None, ("model.keep_start=0.5",)),
        (1.0, None, ("input.bands=['red','green','nir']",)),
        (1.0, None, ("crops.gsd=[2.0, 2.0]",)),
    ],
)
def test_own_polygons_are_learnt_at_the_scale_at_which_the_start_maps(
    metres, working, changes, tmp_path
):
    place = grid(32, metres)
    with store.create_cog(tmp_path / "i.tif", place, ("red", "green", "blue"), np.uint8) as sink:
        sink.write(whole(place), np.zeros((3, 32, 32), np.uint8))
    said = read_recipe(
        "own-polygons", [f"data.image={tmp_path / 'i.tif'}", "data.polygons=p.gpkg", *changes]
    )
    made = at_scale_of_start(said)
    if working is None:
        assert made == said
        return
    assert made.crops.gsd == ((working, working) if working else None)
    assert made.input.gsd == (1.65, 4.5)


@pytest.mark.parametrize(
    ("metres", "width"),
    [(1.0, 3), (0.6, 3), (2.5, 2), (4.0, 1), (10.0, 1), (0.1, 1)],
)
def test_boundaries_are_as_wide_as_those_that_the_start_was_taught(metres, width, tmp_path):
    """Of 4.4 m in pixels of 1.65, 1.65, 2.5, 4 and 4.5 m; 0.1 m shows what the start cannot see."""
    with store.create_cog(
        tmp_path / "i.tif", grid(32, metres), ("red", "green", "blue"), np.uint8
    ) as sink:
        sink.write(whole(grid(32, metres)), np.zeros((3, 32, 32), np.uint8))
    given = [f"data.image={tmp_path / 'i.tif'}", "data.polygons=p.gpkg"]
    made = like_start(at_scale_of_start(read_recipe("own-polygons", given)))
    assert made.data.boundary_width == width
    assert made.model.batch_norm == "frozen"
    asked = read_recipe("own-polygons", [*given, "data.boundary_width=5"])
    assert like_start(asked).data.boundary_width == 5


def test_a_card_says_how_wide_its_boundaries_were_taught(tmp_path):
    """So that what starts from it teaches the same: two pixels of 10 m, of 4 m, none."""
    spec = recipe(data=Data(boundary_width=2))
    assert plan_samples(spec, [sample(1)]).card.boundary == 20.0
    drawn = replace(spec, crops=replace(spec.crops, gsd=(2.0, 8.0)))
    made = plan_samples(drawn, [sample(1)]).card
    assert made.boundary == 8.0
    write_card(made, tmp_path / "card.toml")
    assert read_card(tmp_path / "card.toml").boundary == 8.0
    masks = replace(spec, data=replace(spec.data, truth="labels"))
    assert plan_samples(masks, [sample(1)]).card.boundary is None
    assert "boundary" not in plan_samples(masks, [sample(1)]).card.to_dict()
    said = (tmp_path / "card.toml").read_text().replace("boundary = 8.0", "boundary = -1.0")
    (tmp_path / "card.toml").write_text(said)
    with pytest.raises(BadInput, match=r"boundary = -1.0; wanted is a number above 0"):
        read_card(tmp_path / "card.toml")


def test_statistics_of_another_first_layer_are_not_kept():
    bands = ["input.bands=['red','green','blue','nir']", "input.divide=[10000.0]"]
    assert like_start(read_recipe("own-polygons", bands)).model.batch_norm == "live"


@pytest.mark.parametrize("name", ["fields-rgb-vhr", "fields-s2-2season"])
def test_a_recipe_without_a_network_has_that_of_its_start(name):
    said = read_recipe("own-polygons", [f"model.start_from={name}"])
    assert not said.model.architecture
    made = like_start(said)
    card = (Path(selion.__file__).parent / "weights" / name / "card.toml").read_text("utf-8")
    assert made.model.architecture == tomllib.loads(card)["architecture"]
    asked = like_start(replace(said, model=replace(said.model, architecture={"family": "unet"})))
    assert asked.model.architecture == {"family": "unet"}
    wider = like_start(read_recipe("own-polygons", ["model.architecture.encoder='resnet18'"]))
    assert wider.model.architecture["encoder"] == "resnet18"
    assert wider.model.architecture["family"] == "unet"


def test_a_recipe_without_a_network_and_without_a_start_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"names no family, and model.start_from no model"):
        like_start(read_recipe("own-polygons", ["model.start_from="]))
    with pytest.raises(UnknownName, match="fields-rgb-vhr"):
        like_start(read_recipe("own-polygons", ["model.start_from=fields-rgb-vrh"]))


def test_a_run_without_a_model_lends_its_network(tmp_path):
    """One that was interrupted holds a state and its recipe."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_bytes(b"")
    (tmp_path / "run" / "recipe.toml").write_text(
        'name = "x"\n[model.architecture]\nfamily = "unet"\nencoder = "resnet34"\n'
    )
    made = like_start(read_recipe("own-polygons", [f"model.start_from={tmp_path / 'run'}"]))
    assert made.model.architecture == {"family": "unet", "encoder": "resnet34"}


def statistics(made):
    return {name: value for name, value in made.items() if "running" in name}


@pytest.mark.parametrize(("kind", "kept"), [("frozen", True), ("live", False)])
def test_batch_statistics_stay_those_of_the_start(kind, kept):
    spec = recipe(model=Model(batch_norm=kind))
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    after = loop.fit(net, [sample(k) for k in range(2)], spec, card(spec)).weights
    same = [torch.equal(before[name], value) for name, value in statistics(after).items()]
    assert len(same) == 2
    assert all(same) == kept
    assert not torch.equal(before["0.weight"], after["0.weight"])


def look(f1, epoch=1):
    return {"step": epoch, "epoch": epoch, "val/loss": 1.0, "val/object_f1": f1}


@pytest.mark.parametrize(
    ("found", "patience", "stale"),
    [
        ([0.5, 0.4, 0.4], 2, True),
        ([0.5, 0.5, 0.5], 2, True),
        ([0.5, 0.4, 0.6], 2, False),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.4], 0, False),
        ([], 1, False),
    ],
)
def test_a_run_ends_when_validations_find_nothing_better(found, patience, stale):
    spec = recipe(schedule=Schedule(patience=patience))
    log = [{"step": 1, "epoch": 1, "loss": 1.0}, *map(look, found)]
    assert loop.is_stale(log, spec) is stale


def test_a_run_that_is_stopped_goes_on_for_the_time_that_is_left(tmp_path, monkeypatch):
    """Of 1.2 s half is used when it is stopped; steps of 0.1 s."""
    real, steps, now = loop._one_step, [], [0.0]

    def slow(run, *rest):
        if len(steps) == 6:
            steps.append("stopped")
            raise KeyboardInterrupt
        steps.append(run.step)
        now[0] += 0.1
        return real(run, *rest)

    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "_one_step", slow)
    spec = recipe(
        schedule=Schedule(epochs=500, batch=2), hardware=Hardware("cpu", "float32", threads=1)
    )
    begin = partial(loop.fit, samples=[sample(k) for k in range(2)], recipe=spec, card=card(spec))
    with pytest.raises(KeyboardInterrupt):
        begin(network(), folder=tmp_path, limit=1.2)
    made = begin(network(1), folder=tmp_path, limit=1.2, resume=True)
    assert made.spent == pytest.approx(1.2, abs=0.11)
    assert 0.3 < made.spent - made.seconds < 0.7  # what was kept of before
    assert 11 <= made.steps <= 13
    again = begin(network(1), folder=tmp_path, limit=1.2, resume=True)
    assert again.steps == made.steps


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_ends_by_itself_is_that_of_more_epochs_too(tmp_path, workers):
    """A rate of nearly nothing finds nothing better: the first validation and two more."""
    ended = []
    for epochs in (8, 20):
        spec = recipe(
            schedule=Schedule(
                epochs=epochs, batch=4, lr=1e-9, floor=0.0, shape="constant", per="step",
                keep="best", patience=2,
            ),
            validate=Validate(every=1),
            hardware=Hardware("cpu", "float32", threads=1, workers=workers),
        )  # fmt: skip
        samples, folder = [sample(k) for k in range(2)], tmp_path / str(epochs)
        ended.append(loop.fit(network(), samples, spec, card(spec), folder, validation=[sample(5)]))
        assert ended[-1].history[-1]["epoch"] == 3
        again = loop.fit(
            network(1), samples, spec, card(spec), folder, validation=[sample(5)], resume=True
        )
        assert again.history[-1]["epoch"] == 3  # nothing is left to do
        assert torch.equal(again.weights["0.weight"], ended[-1].weights["0.weight"])
    for name, value in ended[0].weights.items():
        assert torch.equal(value, ended[1].weights[name])
