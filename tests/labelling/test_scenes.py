"""Predictions as labels: on the simulated countryside, what is known is right, and more dates know
more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion import store
from selion.classes import CROP, FTW3, IGNORE, ClassScheme
from selion.errors import BadInput, GridMismatch, OutputExists
from selion.grid import photo_grid, whole
from selion.labelling import (
    ConfidenceOptions,
    SceneOptions,
    keep_pseudo,
    known_labels,
    label_scenes,
    read_labels,
    read_rows,
)
from selion.labelling.confidence import onto
from selion.labelling.scenes import average, label_dates, predicted_labels
from selion.labels import class_labels
from selion.prediction import PredictOptions
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling
from selion.simulation.landscape import simulate


@dataclass(frozen=True)
class Reader:
    """A model for images whose bands are already what it answers, from 0 to 255."""

    classes: ClassScheme = FTW3
    engine: str = "by hand"
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(
            ("red", "green", "blue"), Scaling((255.0,)), window=64, multiple=8
        )
    )

    def __call__(self, views):
        said = (
            np.stack([view.pixels for view in views]).astype(np.float32)[:, : len(self.classes)] + 1
        )
        return said / said.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def country():
    made = simulate(3, (128, 128))
    return made.instances


def date_of(instances, seed, noise):
    """An image that says the classes of the truth, with smooth errors of its own."""
    truth = class_labels(instances).ids
    random = np.random.default_rng(seed)
    said = np.stack([(truth == k) * 1.0 for k in range(3)])
    said += noise * np.stack(
        [ndimage.gaussian_filter(random.standard_normal(truth.shape), 2) * 5 for _ in range(3)]
    )
    said = np.clip(said, 0.02, 1)
    return Raster(
        (255 * said / said.sum(0)).astype(np.uint8), instances.grid, ("red", "green", "blue")
    )


def write(raster, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.create_cog(path, raster.grid, raster.bands, "uint8") as sink:
        sink.write(whole(raster.grid), raster.values)


OPTIONS = SceneOptions(predict=PredictOptions(flips=True))


def test_a_sure_model_gives_the_truth(country):
    found = label_dates([date_of(country, 0, 0.0)], Reader(), OPTIONS)
    truth = class_labels(country).ids
    known = found.ids != IGNORE
    assert known.mean() > 0.85
    assert (found.ids[known] == truth[known]).mean() > 0.97
    assert found.grid == country.grid
    assert set(np.unique(found.ids[known])) == {0, 1, 2}


def test_more_dates_know_more_and_what_is_known_is_right(country):
    dates = [date_of(country, seed, 0.6) for seed in range(6)]
    truth = class_labels(country).ids
    right = []
    for used in (dates[:1], dates):
        found = label_dates(used, Reader(), OPTIONS)
        known = found.ids != IGNORE
        right.append(((found.ids == truth) & known).mean())
        wrong_known = (found.ids[known] != truth[known]).mean()
        everything = (predicted_labels(used[0], Reader())[0].ids != truth).mean()
        assert wrong_known < everything
    assert right[1] > right[0] + 0.05
    with pytest.raises(GridMismatch, match="the first date"):
        label_dates(
            [dates[0], Raster(dates[0].values[:, 1:], country.grid[1:, :], dates[0].bands)],
            Reader(),
            OPTIONS,
        )


def test_dates_are_averaged_over_those_that_see_a_pixel():
    grid = photo_grid((1, 3))
    seen = [np.array([[True, True, False]]), np.array([[True, False, False]])]
    parts = [
        Raster(np.full((2, 1, 3), v, np.float32), grid, CROP.names, s)
        for v, s in zip((0.2, 0.6), seen, strict=True)
    ]
    found = average([*parts, None])
    np.testing.assert_allclose(found.values[0, 0, :2], [0.4, 0.2])
    assert found.valid.tolist() == [[True, True, False]]


def test_without_a_boundary_the_likeliest_class_counts_where_it_is_sure():
    values = np.array([[[0.9, 0.5, 0.15, 0.79]], [[0.1, 0.5, 0.85, 0.21]]], np.float32)
    probabilities = Raster(
        values, photo_grid((1, 4)), CROP.names, np.array([[True, True, True, True]])
    )
    assert known_labels(
        probabilities, CROP, photo_grid((1, 4)), ConfidenceOptions(sure=0.8)
    ).ids.tolist() == [[0, 255, 1, 255]]
    scheme = ClassScheme(("a", "b", "c", "edge"), ("b", "c"), "edge")
    with pytest.raises(BadInput, match="objects with edges want three"):
        known_labels(
            Raster(np.full((4, 8, 8), 0.25, np.float32), photo_grid((8, 8)), scheme.names),
            scheme,
            photo_grid((8, 8)),
        )
    for wrong in ({"sure": 2}, {"unsure": (0.6, 0.3)}, {"width": 0}):
        with pytest.raises(BadInput):
            ConfidenceOptions(**wrong)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_working_grid_goes_back_to_the_images(factor):
    coarse = np.random.default_rng(0).random((2, 6, 9)).astype(np.float32)
    fine = coarse.repeat(factor, 1).repeat(factor, 2)
    np.testing.assert_allclose(onto(fine, (6, 9)), coarse, atol=1e-6)
    assert (onto(fine, (6, 9), smooth=False) == coarse).all()
    assert onto(coarse, (6 * factor, 9 * factor)).shape == fine.shape


def test_a_folder_of_scenes(country, tmp_path):
    for name, seed in (("north/d1", 1), ("north/d2", 2), ("south/d1", 3)):
        write(date_of(country, seed, 0.4), tmp_path / "scenes" / f"{name}.tif")
    (tmp_path / "scenes" / "south" / "bad.tif").write_bytes(b"x")
    options = SceneOptions(predict=PredictOptions(flips=False), dates=True)
    rows = {
        r.key: r for r in label_scenes(tmp_path / "scenes", tmp_path / "out", Reader(), options)
    }
    # dates of one place stand and fall together
    assert rows["south/d1"].routed == rows["south/bad"].routed == "bad"
    (tmp_path / "scenes" / "south" / "bad.tif").unlink()
    rows = {
        r.key: r for r in label_scenes(tmp_path / "scenes", tmp_path / "out", Reader(), options)
    }
    masks = {key: read_labels(tmp_path / "out" / "masks" / f"{key}.tif", FTW3) for key in rows}
    assert set(masks) == {"north/d1", "north/d2", "south/d1"}
    assert (masks["north/d1"].ids == masks["north/d2"].ids).all()
    assert (masks["north/d1"].ids != masks["south/d1"].ids).any()
    assert masks["north/d1"].grid == country.grid
    for key, row in rows.items():
        assert row.quality == pytest.approx((masks[key].ids != IGNORE).mean())
    assert [r.key for r in read_rows(tmp_path / "out" / "quality.csv")] == sorted(rows)
    before = {key: (tmp_path / "out" / "masks" / f"{key}.tif").stat().st_mtime_ns for key in rows}
    label_scenes(tmp_path / "scenes", tmp_path / "out", Reader(), options)
    assert before == {
        key: (tmp_path / "out" / "masks" / f"{key}.tif").stat().st_mtime_ns for key in rows
    }
    with pytest.raises(OutputExists, match=r"\(dates\)"):
        label_scenes(
            tmp_path / "scenes",
            tmp_path / "out",
            Reader(),
            SceneOptions(predict=PredictOptions(flips=False)),
        )


def test_a_scene_of_which_nothing_is_known_has_no_mask(tmp_path):
    grid = GeoBox((64, 64), Affine(10, 0, 3e5, 0, -10, 5e6), "EPSG:32633")
    write(
        Raster(np.full((3, 64, 64), 85, np.uint8), grid, ("red", "green", "blue")),
        tmp_path / "scenes" / "flat.tif",
    )
    (row,) = label_scenes(tmp_path / "scenes", tmp_path / "out", Reader(CROP))
    assert (row.routed, row.quality) == ("none", 0)
    assert "confident in no pixel" in row.why


FINE = Reader(
    inputs=InputSpec(
        ("red", "green", "blue"), Scaling((255.0,)), gsd=(5.0, 5.0), window=64, multiple=8
    )
)
"""Works at 5 m whatever the image's pixels are."""


def test_labels_lie_on_the_grid_that_the_model_works_on_where_it_is_finer(country):
    scene = date_of(country, 0, 0.0)
    found = label_dates([scene], FINE, OPTIONS)
    assert found.grid == country.grid.zoom_out(0.5)
    edges = {
        finer: label_dates([scene], FINE, SceneOptions(finer=finer)) for finer in (True, False)
    }
    assert edges[False].grid == country.grid
    share = {finer: (labels.ids == 2).mean() for finer, labels in edges.items()}
    assert share[True] < 0.75 * share[False]  # half the width, on the same outlines
    photo = Raster(scene.values, photo_grid((128, 128)), scene.bands)
    assert label_dates(
        [photo], FINE, SceneOptions(predict=PredictOptions(scale=2.0))
    ).ids.shape == (128, 128)
    assert predicted_labels(scene, FINE, grid=found.grid)[0].grid == found.grid


def test_a_student_sees_the_bands_that_the_teacher_saw(country, tmp_path):
    scene = date_of(country, 0, 0.0)
    # blue, green, red, infrared
    image = Raster(
        np.concatenate([scene.values[::-1], scene.values[:1] * 0 + 7]),
        scene.grid,
        ("B02", "red", "B04", "B08"),
    )
    write(image, tmp_path / "scenes" / "d.tif")
    asked = SceneOptions(predict=PredictOptions(bands=(3, "red", 1)))
    (row,) = label_scenes(tmp_path / "scenes", tmp_path / "out", FINE, asked)
    (entry,) = keep_pseudo(tmp_path / "out", least=0.0).entries
    sample = entry.open()
    assert sample.image.bands == ("blue", "green", "red", "B08")
    np.testing.assert_array_equal(sample.image.read(whole(scene.grid)).values[2::-1], scene.values)
    assert sample.labels.grid == scene.grid.zoom_out(0.5)
    assert row.quality == pytest.approx((sample.labels.ids != IGNORE).mean())
    strange = Raster(scene.values[:, :, :120], scene.grid[:, :120], scene.bands)
    (tmp_path / "scenes" / "d.tif").unlink()
    write(
        Raster(np.concatenate([strange.values, strange.values[:1]]), strange.grid, image.bands),
        tmp_path / "scenes" / "d.tif",
    )
    with pytest.raises(GridMismatch, match=r"its mask d\.tif"):
        entry.open()


def test_the_verb_takes_bands_and_fails_where_nothing_is_labelled(
    country, tmp_path, monkeypatch, capsys
):
    from selion import models
    from selion.cli.main import main

    monkeypatch.setattr(models, "load_model", lambda _name, _engine: FINE)
    scene = date_of(country, 0, 0.0)
    for day in ("d1", "d2"):
        write(
            Raster(scene.values[[0, 1, 2, 2]], scene.grid, ("P", "G", "Q", "N")),
            tmp_path / "scenes" / f"{day}.tif",
        )
    words = [
        "label",
        "pseudo",
        str(tmp_path / "scenes"),
        "-m",
        "fine",
        "--average-dates",
        "--no-flips",
    ]
    with pytest.raises(SystemExit) as left:
        main([*words, "-o", str(tmp_path / "none")])
    assert left.value.code != 0
    said = capsys.readouterr().err
    assert "None of the 2 images got labels; d1: The image has 4 bands (P, G, Q, N)" in said
    assert said.count("--bands 1,2,3") == 1
    main([*words, "--bands", "1,G, 3", "-o", str(tmp_path / "out")])
    assert [row.has_mask for row in read_rows(tmp_path / "out" / "quality.csv")] == [True, True]
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (settings["bands"], settings["predict"]["bands"]) == (
        ["red", "green", "blue"],
        [1, "G", 3],
    )
