"""Recipes: extends, strict keys, one sentence for each fault, and the published facts of PRUE."""

from __future__ import annotations

import dataclasses
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.classes import FTW3
from selion.errors import BadInput, SelionError, UnknownName, UnreadableFile
from selion.models.toml import to_toml
from selion.training.reading import (
    PACKAGED,
    changed_keys,
    find_recipe,
    list_recipes,
    read_recipe,
    recipe_from,
    recipe_table,
)
from selion.training.recipe import Crops, Recipe, Schedule


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, "utf-8")
    return folder


def test_prue_is_what_its_code_says():
    prue = read_recipe("prue")
    # B before A
    assert prue.input.bands == tuple(
        f"window_{w}:{c}" for w in "ba" for c in ("red", "green", "blue", "nir")
    )
    assert prue.input.divide == (3000.0,)
    assert prue.input.clip is None
    assert (prue.loss.kind, prue.loss.weights) == ("log_cosh_dice", (0.05, 0.2, 0.75))
    assert dict(prue.model.architecture) == {"family": "unet", "encoder": "efficientnet-b7"}
    assert prue.model.pretrained == "imagenet"
    plan = prue.schedule
    assert (plan.lr, plan.floor, plan.shape, plan.per) == (1e-3, 1e-6, "cosine", "epoch")
    assert (plan.epochs, plan.batch, plan.amsgrad, plan.weight_decay, plan.keep) == (
        100,
        32,
        True,
        0.01,
        "last",
    )
    change = prue.augment
    assert (change.divisor.p, change.divisor.range) == (1.0, (1500.0, 4500.0))
    assert (change.rotate.p, change.rotate.degrees, change.rotate.fill) == (0.5, 90.0, "background")
    assert (change.flip_x, change.flip_y) == (0.5, 0.5)
    assert (change.sharpness.p, change.sharpness.range) == (0.5, (0.0, 0.5))
    assert (change.crop.p, change.crop.scale, change.crop.ratio, change.crop.per) == (
        0.5,
        (0.3, 0.9),
        (0.75, 1.33),
        "batch",
    )
    assert (change.swap.p, change.swap.per) == (0.5, "batch")
    assert (prue.seed, prue.window, prue.classes) == (7, 256, FTW3)


def test_the_baseline_has_the_base_augmentations_only():
    base = read_recipe("ftw-v1")
    assert (base.loss.kind, base.loss.weights) == ("ce", (0.04, 0.08, 0.88))
    assert base.augment.divisor.p == base.augment.crop.p == base.augment.swap.p == 0
    assert base.augment.rotate.p == base.augment.sharpness.p == 0.5


def test_every_row_of_table_5_is_a_file_of_three_lines_that_changes_one_thing():
    others = ("frozen-", "probe-", "clay-finetuned")  # of tables 1, 4 and 6
    rows = [
        path
        for path in sorted((PACKAGED / "prue").glob("*.toml"))
        if not path.stem.startswith(others)
    ]
    assert len(rows) + 2 == 49  # with the rows FTW-v1 and PRUE
    parents = {
        name: recipe_table(read_recipe(name)) for name in ("ftw-v1", "prue", "prue/combination-b3")
    }
    for path in rows:
        assert len(path.read_text().splitlines()) == 3, path.name
        table = tomllib.loads(path.read_text())
        mine = recipe_table(read_recipe(f"prue/{path.stem}"))
        changed = {key for key, _, _ in changed_keys(parents[table["extends"]], mine)} - {
            "name",
            "summary",
        }
        rooms = {key.split(".")[0] for key in changed}
        assert mine["name"] == path.stem
        assert len(rooms) == 1 or path.stem == "encoder-b3", (path.name, changed)


def test_every_encoder_has_its_rows_of_tables_1_and_4():
    from selion.models.architectures import check_window
    from selion.models.foundation.cards import encoder_cards

    assert len(encoder_cards()) == 11
    for name in encoder_cards():
        frozen, probe = read_recipe(f"prue/frozen-{name}"), read_recipe(f"prue/probe-{name}")
        assert frozen.model.architecture == {"family": "frozen", "encoder": name}
        assert probe.model.architecture == {**frozen.model.architecture, "head": "linear"}
        assert frozen.model.pretrained == probe.model.pretrained == "published"
        check_window(frozen.model.architecture, frozen.input.spec())
        assert (frozen.name, probe.name) == (f"frozen-{name}", f"probe-{name}")
    # the code's configuration: no augmentation, 30 epochs, 16 x 2, the best by objects is kept
    frozen = read_recipe("prue/frozen-clay")
    assert (frozen.loss.kind, frozen.loss.weights) == ("ce", (0.04, 0.08, 0.88))
    change = frozen.augment
    assert not any((change.flip_x, change.flip_y, change.rotate.p, change.sharpness.p))
    assert not any((change.divisor.p, change.crop.p, change.swap.p, change.d4))
    plan = frozen.schedule
    assert (plan.epochs, plan.batch, plan.accumulate, plan.lr) == (30, 16, 2, 1e-3)
    assert (plan.amsgrad, plan.weight_decay, plan.keep) == (True, 0.01, "best")
    assert frozen.data.validation_groups == ()
    assert (plan.period, plan.floor) == (100, 1e-6)  # a cosine that the run ends before
    tuned = read_recipe("prue/clay-finetuned")
    assert tuned.model.architecture == {**frozen.model.architecture, "trainable": True}
    assert dataclasses.replace(tuned.schedule, lr=plan.lr) == plan
    for lr in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3):  # the sweep of supplement B
        assert read_recipe("prue/clay-finetuned", [f"schedule.lr={lr}"]).schedule.lr == lr


def test_a_recipe_is_not_called_what_another_one_is(tmp_path):
    """What extends a recipe and names no summary is said by what it changes: on lists, reports and
    cards.
    """
    assert list_recipes()["prue/loss-focal"] == "ftw-v1 with loss.kind = focal"
    assert all(list_recipes().values())
    assert len(set(list_recipes().values())) == len(list_recipes())
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'extends = "prue"\nname = "mine"\nschedule = { epochs = 2, lr = 1e-4, batch = 4, clip = '
        "1.0 }\n"
    )
    assert (
        read_recipe(mine).summary
        == "prue with schedule.epochs = 2, schedule.lr = 0.0001, schedule.batch = 4 and 1 more"
    )
    mine.write_text('extends = "prue"\nsummary = "My own"\n')
    assert read_recipe(mine).summary == "My own"


NAMES = list(list_recipes())


@pytest.mark.parametrize("name", NAMES)
def test_packaged_recipes_survive_toml(name):
    recipe = read_recipe(name)
    assert recipe_from(tomllib.loads(to_toml(recipe_table(recipe))), "again") == recipe


def networks():
    """Recipes of language models have tests of their own."""
    return [recipe for name in NAMES if isinstance(recipe := read_recipe(name), Recipe)]


def test_losses_of_packaged_recipes_exist():
    from selion.training.criterion import make_loss

    recipes = networks()
    assert recipes
    for recipe in recipes:
        make_loss(recipe.loss)


def test_networks_of_packaged_recipes_exist():
    from selion.models.architectures import FAMILIES
    from selion.training.datasets import like_start

    found = [like_start(recipe).model.architecture for recipe in networks()]
    assert {architecture["family"] for architecture in found} <= set(FAMILIES)


def test_extends_is_relative_to_the_file_and_values_are_laid_over(tmp_path):
    (tmp_path / "deep").mkdir()
    write(tmp_path, a='name = "a"\n[schedule]\nlr = 0.1\nepochs = 3\n')
    write(tmp_path / "deep", b='extends = "../a.toml"\n[schedule]\nlr = 0.2\n')
    recipe = read_recipe(
        tmp_path / "deep" / "b.toml",
        ["seed=5", "augment.rotate.fill=background", "data.groups=['x', 'y']"],
    )
    assert (recipe.name, recipe.schedule.lr, recipe.schedule.epochs, recipe.seed) == (
        "a",
        0.2,
        3,
        5,
    )
    assert (recipe.augment.rotate.fill, recipe.data.groups) == ("background", ("x", "y"))


def test_another_loss_or_family_does_not_inherit_options(tmp_path):
    write(
        tmp_path,
        a=(
            'loss = { kind = "ce", weights = [1, 2, 3] }\n[model.architecture]\nfamily = "unet"\n'
            'encoder = "resnet18"\nencoder_depth = 3\n'
        ),
    )
    write(
        tmp_path,
        b='extends = "a"\nloss.kind = "dice"\nmodel.architecture.family = "fcn"\n',
        c='extends = "a"\nmodel.architecture.encoder = "mit_b0"\n',
    )
    other = read_recipe(tmp_path / "b.toml")
    assert other.loss.weights == ()
    assert dict(other.model.architecture) == {"family": "fcn"}
    same = read_recipe(tmp_path / "c.toml")
    assert same.loss.weights == (1.0, 2.0, 3.0)
    assert dict(same.model.architecture) == {
        "family": "unet",
        "encoder": "mit_b0",
        "encoder_depth": 3,
    }


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("schedul = 1", UnknownName, "did you mean 'schedule'"),
        ("[schedule]\nepoch = 3", UnknownName, "did you mean 'schedule.epochs'"),
        ("[augment.rotate]\ndegree = 3", UnknownName, "did you mean 'augment.rotate.degrees'"),
        ("[schedule]\nepochs = 3.5", BadInput, "schedule.epochs = 3.5; wanted is a whole number"),
        ("[schedule]\nepochs = true", BadInput, "wanted is a whole number"),
        ("[schedule]\nlr = 'fast'", BadInput, "schedule.lr = 'fast'; wanted is a number"),
        ("[schedule]\nlr = 0", BadInput, "schedule.lr = 0.0 was given; wanted is a number above 0"),
        ("[schedule]\nlr = 1e-7", BadInput, "schedule.floor"),
        ("[schedule]\nshape = 'cosin'", BadInput, "did you mean 'cosine'"),
        ("[augment.crop]\nscale = [0.9, 0.3]", BadInput, "augment.crop.scale"),
        ("[augment.crop]\nscale = [0.9]", BadInput, "wanted is a list of 2 values"),
        ("[augment.swap]\np = 0.5", BadInput, "bands have no two halves"),
        (
            "[augment]\nd4 = 2",
            BadInput,
            "augment.d4 = 2.0 was given; wanted is a number from 0 to 1",
        ),
        ("[input]\nwindow = 100", BadInput, "a multiple of 32 px"),
        ("[input]\ndivide = [1, 2]", BadInput, "one for each of the 3 bands"),
        ("loss = 'dice'", BadInput, "loss = 'dice'; wanted is a table"),
        ("[loss]\nweights = [1, 2]", BadInput, "one number for each of the 3 classes"),
        ("classes = 'fields'", UnknownName, "did you mean 'fields-"),
        ("[classes]\nname = ['a', 'b']", UnknownName, "did you mean 'classes.names'"),
        ("extends = 'pru'", UnknownName, "did you mean 'prue'"),
        ("extends = ['prue']", BadInput, "one recipe"),
        ("name = ", BadInput, "not well formed"),
    ],
)
def test_faults_are_one_sentence_with_file_key_given_and_wanted(tmp_path, text, kind, words):
    write(tmp_path, bad=text)
    with pytest.raises(kind) as caught:
        read_recipe(tmp_path / "bad.toml")
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert "bad.toml" in message or "extends" in text or "classes" in text


def test_a_circle_is_refused(tmp_path):
    write(tmp_path, a='extends = "b"', b='extends = "a"')
    with pytest.raises(BadInput, match="extends itself"):
        read_recipe(tmp_path / "a.toml")


def test_missing_and_misspelt_recipes(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'prue/loss-dice'"):
        read_recipe("prue/los-dice")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableFile):
        read_recipe(tmp_path / "x.toml")
    assert find_recipe("prue/lr-1e-4").name == "lr-1e-4.toml"


@pytest.mark.parametrize(
    "change", ["schedule.lr", "=3", "nothing.there=3", "schedule=3", "schedule.lr.more=1"]
)
def test_changes_that_make_no_sense_are_refused(change):
    with pytest.raises(SelionError):
        read_recipe("prue", [change])


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Schedule,
        epochs=st.integers(1, 999),
        lr=st.floats(1e-5, 1.0),
        warmup=st.floats(0, 0.5),
        shape=st.sampled_from(["constant", "cosine", "one-cycle"]),
        amsgrad=st.booleans(),
    ),
    st.sampled_from([None, (1.0, 2.0)]),
)
def test_tables_are_inverse_to_recipes(schedule, gsd):
    recipe = dataclasses.replace(Recipe(), schedule=schedule, crops=Crops(gsd=gsd))
    assert recipe_from(tomllib.loads(to_toml(recipe_table(recipe))), "x") == recipe
    assert not list(changed_keys(recipe_table(recipe), recipe_table(recipe)))
