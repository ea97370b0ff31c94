"""Several datasets in one run: shares, settings of their own, reproducible draws, exact resumption;
and truth on a finer grid than the image.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selion import store
from selion import training as train
from selion.data import load_dataset
from selion.data.polygons import Labelled, load_polygons
from selion.errors import BadInput, GridMismatch, UnknownName
from selion.grid import whole
from selion.labels import Instances
from selion.models.toml import to_toml
from selion.raster import Raster
from selion.sample import Sample
from selion.training import loop
from selion.training.checkpoint import check_same
from selion.training.crops import make_view
from selion.training.datasets import check_samples, fingerprint, open_samples
from selion.training.draws import Draw
from selion.training.loader import Feed, read_ahead
from selion.training.mixture import Mixture, whole_counts
from selion.training.reading import recipe_from, recipe_table
from selion.training.recipe import Augment, Crops, Hardware, Inputs, Recipe, Schedule, Validate
from selion.training.sources import Data, DatasetShare
from train_toys import BANDS, card, grid, network, recipe, sample


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def write(path, values, place, bands):
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.create_cog(path, place, bands, values.dtype) as sink:
        sink.write(whole(place), values)


def folder(root, seeds, split="train", bands=BANDS, factor=1):
    for seed in seeds:
        one = sample(seed)
        write(
            root / split / "images" / f"chip{seed}.tif",
            one.image.values * factor,
            one.image.grid,
            bands,
        )
        write(
            root / split / "instances" / f"chip{seed}.tif",
            one.instances.ids[None],
            one.image.grid,
            ("id",),
        )
    return root


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    root = tmp_path_factory.mktemp("mix")
    folder(root / "near", (0, 1, 2))
    folder(root / "near", (10,), "val")
    folder(root / "far", (3, 4), factor=2, bands=tuple(f"b{k}" for k in range(8)))
    folder(root / "far", (11,), "val", factor=2, bands=tuple(f"b{k}" for k in range(8)))
    return root


def mixed(chips, **parts):
    far = DatasetShare(
        0.25, str(chips / "far"), bands=tuple(f"b{k}" for k in range(8)), divide=(6000.0,)
    )
    return recipe(
        **{
            "data": Data(str(chips / "near"), mix=(far,)),
            "crops": Crops("random", per_epoch=12),
            "augment": Augment(d4=0.5),
        }
        | parts
    )


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(0, 500))
@settings(max_examples=60, deadline=None)
def test_shares_become_whole_windows(shares, length):
    counts = whole_counts(shares, length)
    assert counts.sum() == length
    assert (np.abs(counts - np.array(shares) / sum(shares) * length) < 1 + 1e-6).all()


def test_every_epoch_has_each_part_by_its_share_and_each_sample_as_often(chips):
    made = mixed(chips)
    training, validation = open_samples(made)
    assert isinstance(training, Mixture)
    assert training.shares == (0.75, 0.25)
    assert training.keys == (
        "near/train/chip0",
        "near/train/chip1",
        "near/train/chip2",
        "far/train/chip3",
        "far/train/chip4",
    )
    assert [training[k].key for k in range(5)] == list(training.keys)
    assert [s.key for s in validation] == ["val/chip10"]
    epochs = [training.order(7, epoch, 12) for epoch in range(3)]
    for order in epochs:
        assert np.bincount(order, minlength=5).tolist()[:3] == [3, 3, 3]
        assert sorted(np.bincount(order, minlength=5)[3:]) == [1, 2]
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(training.order(7, 2, 12), epochs[2])
    assert not np.array_equal(training.order(8, 2, 12), epochs[2])


def test_parts_are_read_by_their_own_bands_and_numbers(chips):
    """The far chips hold the same world in numbers twice as large, under other names: after scaling
    nobody can tell.
    """
    made = mixed(
        chips,
        augment=Augment(),
        crops=Crops("chip", per_epoch=4),
        input=Inputs(BANDS, (3000.0,), window=64),
    )
    training, _ = open_samples(made)
    pixels, _ = make_view(training[3], training.recipes[1], Draw(7, 0, 0))
    assert pixels == pytest.approx(sample(3).image.values / 3000, rel=1e-6)
    feed = Feed(training, made)
    for index in (0, 4):
        assert np.array_equal(
            feed.view(index, Draw(7, 0, 1))[0],
            make_view(training[index], training.recipes[training.part_of(index)], Draw(7, 0, 1))[0],
        )
    shares = check_samples(training, made)
    assert sum(shares) == pytest.approx(1)


def test_workers_batches_and_resumption_change_nothing(chips, tmp_path):
    made = mixed(
        chips,
        schedule=Schedule(epochs=3, batch=4, lr=3e-3, per="step"),
        hardware=Hardware("cpu", "float32", threads=1, workers=0, save_every=0),
    )
    training, validation = open_samples(made)
    threads = replace(made, hardware=replace(made.hardware, workers=2))
    places = [(epoch, k) for epoch in range(2) for k in range(3)]
    for one, two in zip(
        read_ahead(Feed(training, made), places),
        read_ahead(Feed(training, threads), places),
        strict=True,
    ):
        assert np.array_equal(one.pixels, two.pixels)
        assert np.array_equal(one.labels, two.labels)

    def fit(place, **options):
        return loop.fit(
            network(), training, made, card(made), place, validation=validation, **options
        )

    class Killed(Exception):
        pass

    def listen(stage, done, _total, _detail):
        if stage == "train" and done == 5:
            raise Killed

    made = replace(made, validate=Validate(every=1, metric="miou"))
    whole_run = fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "cut", on_step=listen)
    again = fit(tmp_path / "cut", resume=True)
    assert all(
        torch.equal(again.weights[name], tensor) for name, tensor in whole_run.weights.items()
    )
    assert np.isfinite(whole_run.history[-1]["val/loss"])


def test_without_a_main_dataset_shares_are_brought_to_one_and_all_alike_are_validated_on(chips):
    parts = (
        DatasetShare(0.5, str(chips / "near")),
        DatasetShare(0.25, str(chips / "near"), train_split="val"),
    )
    training, validation = open_samples(recipe(data=Data(mix=parts)))
    assert training.shares == pytest.approx((2 / 3, 1 / 3))
    assert len(validation) == 2
    other = DatasetShare(
        0.5, str(chips / "far"), bands=tuple(f"b{k}" for k in range(8)), divide=(6000.0,)
    )
    _, validation = open_samples(recipe(data=Data(mix=(*parts[:1], other))))
    assert [s.key for s in validation] == ["near/val/chip10"]


def test_recipes_with_mixtures_are_written_and_read(chips, tmp_path):
    made = mixed(chips)
    assert recipe_from(tomllib.loads(to_toml(recipe_table(made))), "x") == made
    text = (
        'extends = "own-polygons"\n[data]\nimage = "a.tif"\npolygons = "b.gpkg"\n[[data.mix]]\n'
        f'share = 0.5\ndataset = "{chips / "near"}"\ngsd = [8, 12]\n'
    )
    (tmp_path / "m.toml").write_text(text)
    assert train.read_recipe(tmp_path / "m.toml").data.mix[0].gsd == (8.0, 12.0)
    for line, words in (
        ('share = 1.5\ndataset = "x"', r"data\.mix\.share = 1\.5"),
        ("share = 0.5", r"a dataset, or an image"),
        ('share = 1\ndataset = "x"', r"leave something to data\.dataset"),
        ('dataset = "x"', r"share"),
    ):
        (tmp_path / "bad.toml").write_text(f'[data]\ndataset = "y"\n[[data.mix]]\n{line}\n')
        with pytest.raises(BadInput, match=words):
            train.read_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text(
        '[data]\ndataset = "y"\n[[data.mix]]\nshare = 0.5\ndatset = "x"\n'
    )
    with pytest.raises(UnknownName, match=r"did you mean 'data\.mix\.dataset'"):
        train.read_recipe(tmp_path / "bad.toml")
    with pytest.raises(BadInput, match="names 2 bands"):
        open_samples(
            recipe(
                data=Data(
                    str(chips / "near"),
                    mix=(DatasetShare(0.5, str(chips / "far"), bands=("a", "b")),),
                )
            )
        )


def test_a_mixture_trains_from_the_command_line(chips, tmp_path):
    from selion.cli.main import main

    tiny = {
        "family": "unet",
        "encoder": "tu-test_resnet",
        "encoder_depth": 3,
        "decoder_channels": [8, 8, 8],
    }
    made = mixed(chips, schedule=Schedule(epochs=1, batch=4), validate=Validate(every=1))
    table = recipe_table(made)
    table["model"]["architecture"] = tiny
    (tmp_path / "mix.toml").write_text(to_toml(table), "utf-8")
    main(["train", str(tmp_path / "mix.toml"), "--dry-run", "-q"])
    main(["train", str(tmp_path / "mix.toml"), "-o", str(tmp_path / "out"), "-q"])
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["training_samples"] == 5
    assert facts["validation_samples"] == 1
    assert "75% near + 25% far" in (tmp_path / "out" / "model" / "card.toml").read_text()
    main(["train", str(tmp_path / "mix.toml"), "-o", str(tmp_path / "out"), "--resume", "-q"])


def finer(seed=0, fold=2, size=32, gsd=10.0):
    """An image of ``size`` px at 10 m with its truth at 5 m: what the truth knows, the image shows
    as means.
    """
    ids = np.zeros((size * fold, size * fold), np.int32)
    step = ids.shape[0] // 4
    for k, (i, j) in enumerate(np.ndindex(4, 4), 1):
        ids[i * step + 1 : (i + 1) * step - 1, j * step + 1 : (j + 1) * step - 1] = k
    bright = np.random.default_rng(seed).uniform(800, 3000, (8, 17))
    fine = bright[:, ids] * (ids > 0) + 300 * (ids == 0)
    place = grid(size, gsd)
    values = fine.reshape(8, size, fold, size, fold).mean((2, 4)).astype(np.float32)
    return Sample(
        f"fine{seed}", Raster(values, place, BANDS), None, Instances(ids, place.zoom_out(1 / fold))
    )


def test_truth_on_a_finer_grid_decides_where_windows_are_cut():
    made = recipe(
        crops=Crops("chip"),
        augment=Augment(),
        input=Inputs(BANDS, (1.0,), window=64),
        data=Data(truth="instances"),
    )
    one = finer()
    pixels, labels = make_view(one, made, Draw(1, 0, 0))
    assert pixels.shape == (8, 64, 64)
    assert np.array_equal(labels > 0, one.instances.ids > 0)
    flat = replace(
        one,
        image=replace(
            one.image, values=np.broadcast_to(np.arange(32, dtype=np.float32), (8, 32, 32)).copy()
        ),
    )
    ramp, _ = make_view(flat, made, Draw(1, 0, 0))
    # the same places, to half a fine pixel
    assert ramp[0, 5, 2:-2] == pytest.approx((np.arange(64) + 0.5)[2:-2] / 2 - 0.5, abs=1e-5)


@pytest.mark.parametrize("mode", ["chip", "random"])
def test_finer_windows_are_those_of_an_image_that_was_brought_to_the_truths_grid(mode):
    """Cutting on the finer grid beside enlarging the image first, by the formula of bilinear
    interpolation at pixel centres.
    """
    made = recipe(
        crops=Crops(mode, gsd=(5.0, 5.0), turn=False),
        augment=Augment(),
        input=Inputs(BANDS, (1.0,), window=32),
        data=Data(truth="instances"),
    )
    one = finer(3)
    big = torch.nn.functional.interpolate(
        torch.from_numpy(one.image.values)[None],
        scale_factor=2,
        mode="bilinear",
        align_corners=False,
    )[0].numpy()
    other = replace(one, image=Raster(big, one.instances.grid, BANDS))
    for k in range(6):
        a, b = (make_view(given_, made, Draw(5, 0, k)) for given_ in (one, other))
        assert np.array_equal(a[1], b[1])
        inner = (slice(None), slice(3, -3), slice(3, -3))
        assert np.abs(a[0][inner] - b[0][inner]).mean() < 0.06 * np.abs(b[0][inner]).mean()


def test_unseen_pixels_are_unknown_on_the_finer_grid_too():
    made = recipe(
        crops=Crops("chip"),
        augment=Augment(),
        input=Inputs(BANDS, (1.0,), window=64),
        data=Data(truth="instances"),
    )
    one = finer(1)
    valid = np.ones((32, 32), bool)
    valid[4:8, 10:12] = False
    _, labels = make_view(replace(one, image=replace(one.image, valid=valid)), made, Draw(1, 0, 0))
    assert np.array_equal(labels == 255, ~np.kron(valid, np.ones((2, 2), bool)))


def test_truth_that_is_no_multiple_is_refused():
    one = finer(1)
    odd = replace(one, instances=Instances(np.ones((48, 48), np.int32), grid(48)))
    with pytest.raises(GridMismatch, match="32 x 32 and 48 x 48"):
        make_view(odd, recipe(data=Data(truth="instances")), Draw(1, 0, 0))


def test_a_folder_says_that_its_truth_is_finer_and_trains_end_to_end(tmp_path):
    from selion.reports import training_run as trained

    for split, seeds in (("train", (0, 1)), ("val", (2,))):
        for seed in seeds:
            one = finer(seed)
            write(
                tmp_path / "d" / split / "images" / f"s{seed}.tif",
                one.image.values,
                one.image.grid,
                BANDS,
            )
            write(
                tmp_path / "d" / split / "instances" / f"s{seed}.tif",
                one.instances.ids[None],
                one.instances.grid,
                ("id",),
            )
    with pytest.raises(GridMismatch):
        load_dataset(tmp_path / "d")[0]
    (tmp_path / "d" / "dataset.toml").write_text('name = "fine"\n[settings]\nfiner = 2\n')
    data = load_dataset(tmp_path / "d")
    assert data[0].instances.ids.shape == (64, 64)
    assert data[0].labels.ids.shape == (64, 64)
    tiny = {
        "family": "unet",
        "encoder": "tu-test_resnet",
        "encoder_depth": 3,
        "decoder_channels": [8, 8, 8],
    }
    made = recipe(
        data=Data(str(tmp_path / "d"), truth="instances"),
        input=Inputs(BANDS, (3000.0,), gsd=(5.0, 5.0), window=32),
        crops=Crops("random", per_epoch=8),
        schedule=Schedule(epochs=1, batch=4),
        validate=Validate(every=1, metric="object_f1"),
    )
    made = replace(made, model=replace(made.model, architecture=tiny))
    result = trained.run(train.plan_training(made), tmp_path / "out")
    assert result.trained.scores.keys == ("val/s2",)
    assert np.isfinite(result.trained.scores.pixel_iou)
    # Edited labels of validation are other data, too: they choose the weights that are kept.
    mask = tmp_path / "d" / "val" / "instances" / "s2.tif"
    edited = np.where(one.instances.ids == 1, 2, one.instances.ids)[None]
    assert (edited[0] != one.instances.ids).any()
    mask.unlink()
    write(mask, edited, one.instances.grid, ("id",))
    with pytest.raises(BadInput, match="other samples or labels"):
        trained.run(train.plan_training(made), tmp_path / "out", resume=True)
    (tmp_path / "d" / "dataset.toml").write_text('name = "fine"\n[settings]\nfiner = 0\n')
    with pytest.raises(BadInput, match="whole number from 1"):
        load_dataset(tmp_path / "d")


def test_labels_that_were_edited_in_place_are_other_labels(tmp_path):
    made = mixed(tmp_path, data=Data(str(folder(tmp_path / "near", (0, 1)))))
    training, _ = open_samples(made)
    before, facts = fingerprint(training), {"recipe": recipe_table(made)}
    assert fingerprint(open_samples(made)[0]) == before
    one = sample(1)
    edited = one.instances.ids.copy()
    edited[edited == 1] = 2
    mask = tmp_path / "near" / "train" / "instances" / "chip1.tif"
    mask.unlink()
    write(mask, edited[None], one.image.grid, ("id",))
    now = {**facts, "data": fingerprint(open_samples(made)[0])}
    with pytest.raises(BadInput, match="other samples or labels"):
        check_same({**facts, "data": before}, now, tmp_path / "state")
    # what a former version wrote says nothing of labels
    check_same({**facts, "data": before.partition(", labels")[0]}, now, tmp_path / "state")
    # nor, then, of what validates
    judged = {**facts, "data": fingerprint(open_samples(made)[0], training)}
    assert judged["data"] == f"{now['data']}, validated by {now['data']}"
    for former in (judged["data"], now["data"], now["data"].partition(", labels")[0]):
        check_same({**facts, "data": former}, judged, tmp_path / "state")


def test_polygons_that_were_edited_in_place_are_other_labels_and_looked_at_are_not(tmp_path):
    one = sample(0)
    write(tmp_path / "image.tif", one.image.values, one.image.grid, BANDS)
    box = shapely.box(300_040, 5_399_500, 300_400, 5_399_900)
    other = shapely.box(300_040, 5_399_500, 300_300, 5_399_900)
    said = []
    for shape, title in ((box, "a"), (box, "b"), (other, "a")):
        frame = gpd.GeoDataFrame({"class": ["field"]}, geometry=[shape], crs="EPSG:32633")
        frame.to_file(tmp_path / "own.gpkg", metadata={"TITLE": title})
        said.append(
            fingerprint(load_polygons([tmp_path / "image.tif"], Labelled(tmp_path / "own.gpkg")))
        )
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_a_plain_recipe_is_no_mixture():
    assert Recipe().data.mix == ()
