"""Learning from sets of dates: what is absent is marked after all that is done to a window."""

import dataclasses

import numpy as np
import pytest

from selion.errors import BadInput, BandMismatch
from selion.raster import Raster
from selion.training.crops import collate, make_view
from selion.training.draws import Draw
from selion.training.recipe import Absent, Augment, Blur, Crops, Inputs, Model, Recipe, Schedule
from train_toys import sample

COLOURS = ("red", "green", "blue", "nir")
INPUT = Inputs(
    COLOURS,
    (3000.0,),
    (0.0,),
    (0.0, 3.0),
    window=64,
    dates="any",
    optional=("nir",),
    byte_divide=255.0,
)
NET = {"family": "dates", "encoder": "tu-mobilenetv4_conv_small_050"}
RECIPE = Recipe(
    name="sets", input=INPUT, model=Model({**NET, "decoder_channels": [16, 8, 8, 8, 8]})
)
FIRST = Draw(0, 0, 0)


def seen(bands, values=None, **changes):
    one = sample(1, bands=bands)
    if values is not None:
        one = dataclasses.replace(one, image=Raster(values, one.image.grid, bands))
    return make_view(one, dataclasses.replace(RECIPE, **changes), FIRST)[0], one.image.values


def dated(count, colours=COLOURS):
    return tuple(f"d{k}:{name}" for k in range(count) for name in colours)


def test_numbers_bytes_and_what_is_lacking():
    pixels, values = seen(dated(2))
    np.testing.assert_allclose(pixels, values / 3000, atol=1e-6)
    pixels, values = seen(COLOURS[:3])
    np.testing.assert_allclose(pixels[:3], values / 3000, atol=1e-6)
    assert (pixels[3] == -1).all()
    small = np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.uint8)
    pixels, _ = seen(COLOURS, small)
    np.testing.assert_allclose(pixels, small / 255, atol=1e-6)


def test_a_cloud_stays_where_it_is_through_every_turn_and_blur():
    """A hole in the second date, and only there, is absent; beside it numbers stay near theirs."""
    values = np.full((8, 64, 64), 1500, np.float32)
    values[4:, 10:20, 30:50] = np.nan
    pixels, _ = seen(dated(2), values)
    assert (pixels[4:, 10:20, 30:50] == -1).all()
    assert (pixels == -1).sum() == 4 * 200
    turned, _ = seen(
        dated(2),
        values,
        augment=Augment(d4=1.0, blur=Blur(1.0, (1.0, 2.0))),
        crops=Crops(mode="random", size=64),
    )
    assert (turned[:4] == -1).sum() == 0
    gone = turned[4] == -1
    assert 100 < gone.sum() < 320
    np.testing.assert_allclose(turned[turned != -1], 0.5, atol=1e-4)


def test_dates_and_bands_are_taken_away_by_chance():
    counts = {1: 0, 2: 0, 3: 0}
    near = 0
    recipe = dataclasses.replace(RECIPE, augment=Augment(absent=Absent(0.5, 0.5)))
    one = sample(1, bands=dated(3))
    for k in range(60):
        pixels = make_view(one, recipe, Draw(0, 0, k))[0].reshape(3, 4, 64, 64)
        left = (pixels[:, 0] != -1).all((1, 2))
        counts[int(left.sum())] += 1
        kept = (pixels[:, 3] != -1).any((1, 2))
        near += bool(kept.any())
        assert not kept[~left].any()
    assert all(counts.values())
    assert 15 < near < 45


def test_batches_hold_samples_of_unlike_dates():
    views = [make_view(sample(k, bands=dated(k)), RECIPE, FIRST) for k in (1, 3, 2)]
    batch = collate(views)
    assert batch.pixels.shape == (3, 12, 64, 64)
    assert (batch.pixels[0, 4:] == -1).all()
    np.testing.assert_array_equal(batch.pixels[2, :8], views[2][0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(BandMismatch, match="lacks blue"):
        seen(("red", "green", "nir"))
    with pytest.raises(BadInput, match="no order"):
        Recipe(input=INPUT, augment=Augment(swap=dataclasses.replace(Augment().swap, p=0.5)))
    with pytest.raises(BadInput, match="may be missing"):
        Recipe(augment=Augment(absent=Absent(0.1)))
    with pytest.raises(BadInput, match="fixed bands"):
        Inputs(optional=("nir",))


def test_a_run_learns_and_its_model_starts_another(tmp_path):
    """From one and two dates, with and without near infrared; the model maps what it was shown."""
    pytest.importorskip("onnxruntime")
    from selion.models import load_model, read_card
    from selion.prediction import predict
    from selion.training.reading import recipe_from, recipe_table
    from selion.training.run import plan_samples, train_plan

    samples = [
        sample(k, bands=bands)
        for k, bands in enumerate([dated(1), dated(2), COLOURS[:3], dated(2, COLOURS[:3])])
    ]
    recipe = dataclasses.replace(
        RECIPE, schedule=Schedule(epochs=1, batch=2), augment=Augment(absent=Absent(0.2, 0.2))
    )
    assert recipe_from(recipe_table(recipe), "again") == recipe
    made = train_plan(plan_samples(recipe, samples[:2]), tmp_path / "one")
    card = read_card(made.card.folder)
    assert (card.inputs.dates, card.inputs.optional) == ("any", ("nir",))
    assert card.inputs.byte_divide == 255.0
    again = dataclasses.replace(
        recipe, model=dataclasses.replace(recipe.model, start_from=str(tmp_path / "one"))
    )
    second = train_plan(plan_samples(again, samples[2:], samples[:1]), tmp_path / "two")
    assert second.card.started_from[0].name == "sets"
    for engine in ("torch", "onnxruntime"):
        model = load_model(second.card.folder, engine, threads=1)
        for one in samples:
            assert predict(one.image, model).values.shape == (3, 64, 64)
