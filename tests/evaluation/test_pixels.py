"""Class maps pixel by pixel: every averaging by hand, and the verb."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from command_line import run_here
from selion import metrics
from selion.classes import CROP, IGNORE
from selion.errors import BadInput
from selion.evaluation import evaluate_files
from selion.evaluation.pixels import (
    PixelOptions,
    constant_system,
    evaluate_pixels,
    oracle_system,
    photo_systems,
    rule_system,
    segmenter_system,
)
from selion.grid import photo_grid
from selion.labels import LabelMap
from selion.models import find_card
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec
from selion.simulation.landscape import simulate_photo


def sample(key, ids, group=""):
    ids = np.asarray(ids, np.uint8)
    grid = photo_grid(ids.shape)
    return Sample(
        key,
        Raster(np.zeros((3, *ids.shape), np.uint8), grid, ("red", "green", "blue")),
        LabelMap(ids, grid, CROP),
        None,
        group,
    )


def answers(**found):
    return lambda s: np.asarray(found[s.key], np.uint8)


HALF = sample("half", [[0, 0], [1, 1]], "field")
FULL = sample("full", [[1, 1], [1, 1]], "cover")


def test_every_averaging_by_hand():
    said = answers(half=[[0, 1], [1, 1]], full=[[1, 1], [1, 0]])
    values = (
        evaluate_pixels({"one": said}, [HALF, FULL], CROP, PixelOptions(draws=50))
        .systems[0]
        .values()
    )
    # half: soil 1 / 2, crop 2 / 3; full: soil 0 / 1, crop 3 / 4; together: soil 1 / 3, crop 5 / 7
    assert values["IoU soil"] == pytest.approx(1 / 3)
    assert values["IoU crop"] == pytest.approx(5 / 7)
    half, both = (1 / 2 + 2 / 3) / 2, (1 / 3 + 5 / 7) / 2
    assert values[
        "mIoU of the dataset, absent from truth and prediction: skipped"
    ] == pytest.approx(both)
    assert values["mIoU by image, absent from truth and prediction: skipped"] == pytest.approx(
        (half + 3 / 8) / 2
    )
    assert values["mIoU by image, absent from truth: skipped"] == pytest.approx((half + 3 / 4) / 2)
    assert values["mIoU by image, absent counts 0"] == pytest.approx((half + 3 / 8) / 2)


def test_a_full_cover_under_each_policy():
    """Nothing but crop, and rightly so: the policies differ by half the scale; with one false pixel
    99.86 is possible under one policy only.
    """
    values = (
        evaluate_pixels({"right": constant_system(1)}, [FULL], CROP, PixelOptions(draws=10))
        .systems[0]
        .values()
    )
    assert [
        values[f"mIoU of the dataset, {said}"]
        for said in (
            "absent from truth and prediction: skipped",
            "absent counts 0",
            "absent counts 1",
        )
    ] == [
        1.0,
        0.5,
        1.0,
    ]
    near = sample("full", np.ones((10, 10)))
    off = np.ones((10, 10))
    off[0, 0] = 0
    values = (
        evaluate_pixels({"near": answers(full=off)}, [near], CROP, PixelOptions(draws=10))
        .systems[0]
        .values()
    )
    assert values["mIoU of the dataset, absent from truth: skipped"] == pytest.approx(0.99)
    assert values[
        "mIoU of the dataset, absent from truth and prediction: skipped"
    ] == pytest.approx(0.495)


def test_unknown_pixels_are_counted_and_change_nothing():
    known = sample("half", [[0, IGNORE], [1, 1]])
    report = evaluate_pixels(
        {"a": answers(half=[[0, 0], [1, 1]]), "b": answers(half=[[0, 1], [1, 1]])},
        [known],
        CROP,
        PixelOptions(draws=10),
    )
    assert report.settings["pixels not counted"] == 1
    assert [s.values()["IoU crop"] for s in report.systems] == [1.0, 1.0]
    assert report.differences["a - b"].difference == 0


def test_a_class_that_no_truth_has_is_told():
    """Black and white masks whose white was meant for crop: all that counts is soil, and the
    constant looks perfect.
    """
    found = evaluate_pixels(
        {"soil": constant_system(0)},
        [sample("half", [[0, 255], [0, 255]])],
        CROP,
        PixelOptions(draws=10),
    )
    assert "no pixel of the truth is crop" in str(found.settings["beware"])
    assert (
        "beware"
        not in evaluate_pixels(
            {"soil": constant_system(0)}, [HALF], CROP, PixelOptions(draws=10)
        ).settings
    )


def test_bands_of_boundary_iou_are_chosen():
    truth = np.zeros((40, 40))
    truth[10:30, 10:30] = 1
    prediction = np.zeros((40, 40))
    prediction[11:30, 10:30] = 1
    found = (
        evaluate_pixels(
            {"a": answers(x=prediction)},
            [sample("x", truth)],
            CROP,
            PixelOptions((0.02, 0.1), (1,), 10),
        )
        .systems[0]
        .values()
    )
    one, two, three = (
        found[f"boundary IoU, {band}"]
        for band in ("1 px", "0.02 of the diagonal", "0.1 of the diagonal")
    )
    assert one == two < three < 1  # 0.02 of a diagonal of 57 px is 1 px


def test_groups_stand_apart_and_what_cannot_be_answered_is_left_out():
    def stubborn(s):
        if s.key == "half":
            message = "it is too hard."
            raise BadInput(message)
        return np.ones((2, 2), np.uint8)

    report = evaluate_pixels(
        {"easy": constant_system(1), "stubborn": stubborn},
        [HALF, FULL],
        CROP,
        PixelOptions(draws=10),
    )
    assert report.problems == ("half: it is too hard.",)
    assert [s.keys for s in report.systems] == [("full",), ("full",)]
    table = json.loads(report.to_json())
    assert table["groups"]["cover"]["easy"]["IoU crop"] == 1.0
    assert table["systems"]["easy"]["IoU soil"] is None
    with pytest.raises(BadInput, match="None of 1 samples"):
        evaluate_pixels({"stubborn": stubborn}, [HALF], CROP)


def test_without_draws_there_is_no_interval():
    """One draw was made all the same: an interval of no width, which did not hold the score."""
    said = {"a": answers(half=[[0, 1], [1, 1]], full=[[1, 1], [1, 0]]), "b": constant_system(1)}
    report = evaluate_pixels(said, [HALF, FULL], CROP, PixelOptions(draws=0))
    table = json.loads(report.to_json())
    assert table["intervals"]["a"]["value"] is not None
    assert [table["intervals"]["a"][side] for side in ("low", "high")] == [None, None]
    assert table["differences"]["a - b"]["p_value"] is None
    (row,) = (line for line in report.to_markdown().splitlines() if line.startswith("| a - b"))
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["-", "-"]
    assert "nan" not in report.to_markdown()


def test_a_gray_photograph_has_no_colour_rule():
    gray = Sample(
        "gray", Raster(np.zeros((1, 2, 2), np.uint8), photo_grid((2, 2)), ("gray",)), HALF.labels
    )
    with pytest.raises(BadInput, match="wants red, green and blue; gray has 1 band"):
        evaluate_pixels({"rule": rule_system(lambda image: image[0] > 0)}, [gray], CROP)


def test_sixteen_bits_are_the_same_photograph_to_rules_and_oracles(monkeypatch, tmp_path):
    """Divided by 255, all was white to SAM; Canopeo's least excess, 20 of 255, was none."""
    bytes_ = np.array([[[100]], [[108]], [[98]]], np.uint8)  # 2 G - R - B is 18
    seen = []
    monkeypatch.setattr("selion.models.sam.network.load_prompted", lambda _: None)
    monkeypatch.setattr(
        "selion.models.sam.segmenter.best_of_points",
        lambda _, image, truth: seen.append(image) or SimpleNamespace(mask=truth),
    )
    for values in (bytes_, bytes_.astype(np.uint16) * 257):
        grid = photo_grid((1, 1))
        label = LabelMap(np.ones((1, 1), np.uint8), grid, CROP)
        photo = Sample("one", Raster(values, grid, ("red", "green", "blue")), label)
        assert rule_system(metrics.canopeo)(photo).tolist() == [[0]]
        oracle_system(tmp_path)(photo)
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-6)


class Bright:
    """Calls bright pixels crop."""

    inputs = InputSpec(("red", "green", "blue"), window=32, multiple=1)
    classes = CROP

    def __call__(self, views):
        crop = np.stack([view.pixels[1] > 100 for view in views]).astype(np.float32)
        return np.stack([1 - crop, crop], 1)


def test_a_segmenter_goes_down_the_ordinary_road():
    ids = np.zeros((50, 70), np.uint8)
    ids[10:30, 20:60] = 1
    grid = photo_grid(ids.shape)
    photo = Sample(
        "p",
        Raster(np.stack([ids * 0, ids * 200, ids * 0]), grid, ("red", "green", "blue")),
        LabelMap(ids, grid, CROP),
    )
    report = evaluate_pixels(
        {"bright": segmenter_system(Bright(), CROP)}, [photo], CROP, PixelOptions(draws=10)
    )
    assert report.systems[0].values()["IoU crop"] == 1.0


def test_the_verb_compares_colour_rules(tmp_path):
    for k in range(3):
        photo = simulate_photo(k, (96, 128))
        for name, values in (
            ("images", np.moveaxis(photo.image.values, 0, -1)),
            ("labels", photo.labels.ids),
        ):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / "set" / name / f"p{k}.png")
    command = [
        "evaluate",
        "--pixels",
        tmp_path / "set",
        "-o",
        tmp_path / "out",
        "--boundary-px",
        2,
    ]
    ended = run_here(*command, COLUMNS="200")
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "out" / "pixels.json").read_text())
    rule, nothing = (
        found["systems"][name]["mIoU of the dataset, absent from truth and prediction: skipped"]
        for name in ("excess green + Otsu", "soil everywhere")
    )
    assert rule > 0.5
    assert nothing < rule
    again = run_here(*command)
    assert again.returncode == 2
    assert "pixels.json" in again.stderr


def test_a_model_is_not_compared_with_itself(tmp_path):
    """Under its name twice, or as a copy of its folder under another name."""
    copied = shutil.copytree(find_card("crops-rgb").folder, tmp_path / "mine")
    for names in (("crops-rgb", "crops-rgb"), ("crops-rgb", "crops-wide", str(copied))):
        with pytest.raises(BadInput, match=r"crops-rgb .*not with itself"):
            photo_systems(names, CROP)
    assert "crops-wide" in photo_systems(("crops-rgb", "crops-wide"), CROP)


def test_a_map_is_not_compared_with_itself(tmp_path):
    with pytest.raises(BadInput, match=r"map .*a\.tif is named twice"):
        evaluate_files([tmp_path / "a.tif", str(tmp_path / "a.tif")], tmp_path / "truth.tif")


def test_oracles_of_one_name_are_two_and_one_is_not_two(tmp_path, monkeypatch):
    monkeypatch.setattr("selion.evaluation.pixels.oracle_system", str)
    one, other = tmp_path / "a" / "sam", tmp_path / "b" / "sam"
    found = photo_systems((), CROP, oracles=(one, other, tmp_path / "hq"))
    named = {name: answer for name, answer in found.items() if "points" in name}
    assert list(named.values()) == [str(one), str(other), str(tmp_path / "hq")]
    assert "hq (points from the truth)" in named
    with pytest.raises(BadInput, match=r"oracle .*sam is named twice"):
        photo_systems((), CROP, oracles=(one, tmp_path / "b" / ".." / "a" / "sam"))
