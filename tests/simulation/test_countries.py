"""Countries of small plots and of large farms, and the training scenes made of them."""

import importlib
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from selion.errors import BadInput, UnknownName
from selion.simulation.landscape import COVER, STYLES, field_ids, simulate
from selion.simulation.landscape.styles import style_table

RUNS = Path(__file__).resolve().parents[2] / "runs"


@pytest.fixture(scope="module")
def runs():
    """The scripts that make training scenes."""
    sys.path.insert(0, str(RUNS))
    yield importlib.import_module("scenes"), importlib.import_module("parcels")
    sys.path.remove(str(RUNS))


@pytest.fixture(scope="module")
def hamlets():
    return simulate(11, (384, 384), 2.0, "hamlets")


@pytest.fixture(scope="module")
def delta():
    return simulate(14, (384, 384), 2.0, "delta")


def whole(scene):
    """The areas in hectares of the fields that the image does not cut."""
    ids, table = scene.instances.ids, scene.instances.table
    cut = np.unique(np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]]))
    return table.loc[~table["id"].isin(cut), "area_m2"].to_numpy() / 1e4


def share(scene, name):
    return (scene.cover.ids == COVER.index(name)).mean()


def test_the_first_five_styles_draw_what_they_drew_when_there_were_five():
    drawn, rng = np.random.default_rng([7, 1]), np.random.default_rng([7, 1])
    table = style_table(drawn)
    first = np.array([astuple(style) for style in STYLES.values()])[:5, :21]
    varied = np.exp(rng.normal(0, 0.14, (5, 21)))
    varied[:, 7:13] = 1
    wanted = first * varied
    wanted[:, 2] = first[:, 2] * np.exp(rng.normal(0, 0.06, 5))
    assert np.array_equal(table[:5, :21], wanted)
    # What is drawn afterwards is the same too.
    assert drawn.random() == rng.random()


def test_hamlets_are_villages_of_earth_between_small_plots(hamlets):
    # Medians of real plots in hectares: Uganda .16, India .41, Senegal .43, Vietnam .48.
    assert 0.16 < np.median(whole(hamlets)) < 0.5
    assert share(hamlets, "built") > 0.02
    assert share(hamlets, "bare") > 0.02
    assert 0.4 < share(hamlets, "field") < 0.9


def test_a_delta_has_ponds_and_a_river_that_are_no_fields(delta):
    assert 0.16 < np.median(whole(delta)) < 0.5
    water = delta.cover.ids == COVER.index("water")
    assert water.mean() > 0.03
    assert ndimage.label(water)[1] > 5
    assert not delta.instances.ids[water].any()
    near_infrared = delta.image.values[3]
    assert np.median(near_infrared[water]) < 0.6 * np.median(near_infrared)


def test_estates_are_large_and_strips_between_them_are_no_fields():
    scene = simulate(3, (256, 256), 10.0, "estate")
    area = np.sort(scene.instances.table["area_m2"].to_numpy() / 1e4)
    # Half of the land lies in fields of 20 hectares and more.
    assert area[np.searchsorted(np.cumsum(area), area.sum() / 2)] > 20
    outside = np.pad(scene.instances.ids == 0, 3, mode="edge")
    narrow = outside & ~ndimage.binary_opening(outside, np.ones((5, 5)))
    assert narrow.mean() > 0.03


@pytest.mark.parametrize("style", ["hamlets", "estate"])
def test_fields_alone_are_those_of_the_scene(style):
    scene = simulate(5, (64, 96), 5.0, style)
    assert np.array_equal(field_ids(5, (64, 96), 5.0, style), scene.instances.ids)


def test_fields_alone_refuse_what_a_scene_refuses():
    with pytest.raises(UnknownName, match="estate"):
        field_ids(5, (64, 64), 5.0, "estates")
    with pytest.raises(BadInput, match="8 px"):
        field_ids(5, (4, 64), 5.0, "estate")


def test_weather_leaves_the_ground_and_makes_fields_uneven_and_alike(runs):
    scenes, _ = runs
    rng = np.random.default_rng(0)
    ids = np.repeat(np.repeat(np.array([[1, 2], [0, 3]]), 40, 0), 40, 1)
    image = (np.array([5000, 1000, 2000, 4500])[ids] + rng.normal(0, 20, (8, 80, 80))).astype(
        np.uint16
    )
    made = scenes.weather(image, ids, 1.0, np.random.default_rng(4))
    assert np.array_equal(made[:, ids == 0], image[:, ids == 0])
    # The first number that is drawn says how much of a difference is kept.
    kept = np.exp(np.random.default_rng(4).uniform(np.log(0.25), 0))
    step = [float(x[0, 3:37, 43:77].mean() - x[0, 3:37, 3:37].mean()) for x in (image, made)]
    assert step[1] == pytest.approx(kept * step[0], rel=0.02)
    for field in (1, 2, 3):
        inner = ndimage.binary_erosion(ids == field, iterations=3)
        assert made[0, inner].std() > 2 * image[0, inner].std()
    # Where two fields touch there is a line, where a field ends on the ground there is none.
    lines = np.abs(made[0, :40, 39] - made[0, :40, 30:37].mean(1)), made[0, 41:79, 40]
    assert lines[0].mean() > 0.15 * made[0].std()
    assert abs(lines[1].mean() - made[0, 41:79, 44:76].mean()) < 0.1 * made[0].std()
    assert np.array_equal(made, scenes.weather(image, ids, 1.0, np.random.default_rng(4)))


def test_weather_takes_a_scene_without_fields_and_ids_twice_as_fine(runs):
    scenes, _ = runs
    image = np.full((8, 16, 16), 700, np.uint16)
    assert np.array_equal(
        scenes.weather(image, np.zeros((32, 32), np.int32), 10.0, np.random.default_rng(1)), image
    )


def test_a_painted_parcel_shows_the_inside_of_one_field(runs):
    _, parcels = runs
    texture = np.ones((8, 60, 60), np.float32)
    texture[:, :, 30:] = -1
    depth = np.zeros((60, 60), np.float32)
    depth[1:-1, 1:29] = ndimage.distance_transform_edt(np.pad(np.ones((56, 26)), 1))
    depth[:, 30:] = depth[:, :30]
    palette = parcels.Palette(np.zeros((1, 8)), texture, depth, texture)
    ids = np.arange(1, 17).reshape(4, 4).repeat(10, 0).repeat(10, 1)
    laid = parcels.lay_texture(ids, palette, np.random.default_rng(2))
    found = [np.unique(laid[:, ids == k]) for k in range(1, 17)]
    assert all(len(values) == 1 for values in found)
    assert {float(values[0]) for values in found} == {-1.0, 1.0}


def test_the_command_writes_scenes_and_keeps_those_that_are_there(runs, tmp_path, monkeypatch):
    scenes, _ = runs
    monkeypatch.setattr(scenes, "GRIDS", {"s2": (64, 10.0), "vhr": (128, 2.0)})
    ids = np.repeat(np.repeat(np.arange(1, 17).reshape(4, 4), 8, 0), 8, 1).astype(np.uint16)
    np.savez(tmp_path / "ids.npz", ids_5m=ids[None], ids_2m=ids[None])
    command = ["scenes.py", str(tmp_path / "out"), "--kinds", "s2=1", "vhr=1", "parcels=2"]
    command += ["--workers", "1", "--parcels", str(tmp_path / "ids.npz")]
    monkeypatch.setattr(sys, "argv", command)
    scenes.main()
    shapes = {}
    for path in sorted((tmp_path / "out").glob("*.npz")):
        with np.load(path) as scene:
            assert scene["image"].dtype == np.uint16
            assert scene["ids"].dtype == np.int32
            shapes[path.stem] = (
                scene["image"].shape,
                scene["ids"].shape,
                float(scene["gsd"]),
                str(scene["style"]),
            )
    assert shapes == {
        "s2_000": ((8, 64, 64), (128, 128), 10.0, "europe"),
        "vhr_000": ((8, 128, 128), (128, 128), 2.0, "hamlets"),
        "parcels_000": ((8, 16, 16), (32, 32), 10.0, "parcels"),
        "parcels_001": ((8, 32, 32), (32, 32), 2.0, "parcels"),
    }
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npz")}
    scenes.main()
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npz")}


@pytest.mark.parametrize(
    ("kinds", "word"), [(["s3=2"], "no kind"), (["parcels=2"], "needs --parcels")]
)
def test_the_command_refuses_what_it_cannot_do(runs, tmp_path, monkeypatch, capsys, kinds, word):
    scenes, _ = runs
    monkeypatch.setattr(sys, "argv", ["scenes.py", str(tmp_path), "--kinds", *kinds])
    with pytest.raises(SystemExit) as refused:
        scenes.main()
    assert refused.value.code == 2
    assert word in capsys.readouterr().err
