import json

import geopandas
import numpy as np
import pytest
import shapely

from selion.errors import BadInput
from selion.evaluation.vectors import score_fields
from selion.metrics import (
    MEASURES,
    ImageOptions,
    Report,
    ScoreOptions,
    compare,
    mask_scores,
    regular_grid,
    score_ids,
    summarise,
)
from selion.metrics.report import MARK, group_table, markdown_table

QUICK = ScoreOptions(draws=200)


def truth(seed, size=96, step=24):
    """Fields in squares with a lane between them."""
    ids = regular_grid((size, size), step)
    rng = np.random.default_rng(seed)
    ids = np.where(rng.random(int(ids.max()) + 1)[ids] < 0.15, 0, ids)
    lane = np.arange(size) % step < 2
    ids[lane] = 0
    ids[:, lane] = 0
    return ids


def prediction(ids, seed, loss=0.2):
    """The truth moved by a pixel, with some fields lost."""
    rng = np.random.default_rng(seed)
    kept = np.where(rng.random(int(ids.max()) + 1)[ids] < loss, 0, ids)
    return np.roll(kept, 1, 0)


def images(loss=0.2, seeds=range(6), pixel=(10.0, 10.0)):
    made = []
    for seed in seeds:
        ids = truth(seed)
        said = prediction(ids, seed + 50, loss)
        count = len(np.unique(said[said > 0]))
        made.append(
            score_ids(
                f"chip {seed}",
                ids,
                said,
                group="ab"[seed % 2],
                confidence=np.linspace(0.4, 0.9, count),
                pixel=pixel,
            )
        )
    return made


def baseline(step, seeds=range(6)):
    quick = ImageOptions(distances=False)
    return [
        score_ids(
            f"chip {seed}",
            truth(seed),
            regular_grid((96, 96), step),
            group="ab"[seed % 2],
            pixel=(10.0, 10.0),
            options=quick,
        )
        for seed in seeds
    ]


def test_summary_of_a_perfect_answer():
    perfect = [
        score_ids(
            str(k),
            truth(k),
            truth(k),
            confidence=np.ones(len(np.unique(truth(k))) - 1),
            pixel=(10.0, 10.0),
        )
        for k in range(3)
    ]
    run = summarise("perfect", perfect, QUICK)
    for measure in MEASURES:
        wanted = 1 if measure.better == "high" else 0
        assert run.values[measure.name] == pytest.approx(wanted), measure.name
    assert run.kinds["truth"]["matched"] == sum(run.kinds["truth"].values())
    assert run.intervals["object_f1"].low == 1
    assert run.calibration.ece == 0


def test_summary_pools_counts_and_averages_groups():
    made = images()
    run = summarise("model", made, QUICK)
    rows = run.images
    assert run.values["object_f1"] == pytest.approx(
        2 * rows.tp.sum() / (2 * rows.tp.sum() + rows.fp.sum() + rows.fn.sum())
    )
    assert run.values["pixel_iou"] == pytest.approx(
        rows.area_tp.sum() / rows[["area_tp", "area_fp", "area_fn"]].to_numpy().sum()
    )
    assert 0 < run.values["boundary_distance"] <= 10
    assert set(run.groups) == {"a", "b"}
    assert run.group_means["object_f1"].value == pytest.approx(
        np.mean([g["object_f1"] for g in run.groups.values()])
    )
    assert run.sizes.truth.sum() == rows.truth.sum()
    assert (
        run.intervals["object_f1"].low < run.values["object_f1"] < run.intervals["object_f1"].high
    )


def test_a_mean_of_one_group_has_no_interval():
    """Group b shows nothing and says nothing: it has no F1, and no spread can be told of one."""
    nothing = np.zeros((96, 96), int)
    b = score_ids("b", nothing, nothing, group="b", confidence=np.zeros(0), pixel=(10.0, 10.0))
    heads, rows = group_table(summarise("model", [*images(seeds=[0]), b], QUICK))
    assert not any("nan" in cell for row in rows for cell in row)
    place = heads.index("object_f1")
    assert (rows[1][place], rows[2][place]) == ("-", rows[0][place])


@pytest.mark.parametrize("edge", [10.0, 0.6, 0.3, 9.98, 1 / 3])
def test_half_of_a_union_is_half_whatever_the_pixel_measures(edge):
    """m2 are rounded; whether an object of half a union is a match must not hang on that."""
    ids, said = np.zeros((20, 20), int), np.zeros((20, 20), int)
    for k, (real, found) in enumerate([(2, 1), (4, 2), (10, 5), (14, 7), (1, 2), (5, 10)]):
        ids[3 * k, :real], said[3 * k, :found] = k + 1, k + 1
    made = [score_ids(name, ids, said, pixel=(edge, edge)) for name in "ab"]
    run = summarise("halves", made, QUICK)
    assert run.values["object_f1"] == run.intervals["object_f1"].value == 1
    assert run.values["panoptic_quality"] == 0  # it wants more than a half
    assert run.kinds["truth"]["matched"] == run.sizes["found"].sum() == 12


def test_photographs_are_scored_in_pixels_by_quartile():
    run = summarise("photo", images(pixel=None), QUICK)
    assert all("px" in name for name in run.sizes.index)
    assert run.sizes.truth.sum() == run.images.truth.sum()


def test_photographs_of_objects_that_hardly_differ_have_size_classes_of_their_own():
    ids = np.zeros((8, 110), int)
    for k, size in enumerate((100, 101, 101, 102)):  # quartiles 100.75, 101 and 101.25
        ids[2 * k, :size] = k + 1
    run = summarise("alike", [score_ids("a", ids, ids)], QUICK)
    assert run.sizes.index.tolist() == [
        "0.00 to 100.75 px",
        "100.75 to 101.00 px",
        "101.00 to 101.25 px",
        "101.25 to inf px",
    ]
    assert run.sizes.truth.tolist() == [1, 0, 2, 1]
    assert "101.25 to inf px" in Report("t", (run,)).to_markdown()


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ((10, 10 + 1e-12, 10 + 2e-12, 10 + 3e-12), ["0 to 100 px", "100 to inf px"]),
        (
            (1e-4, 2e-4, 3e-4, 4e-4, 5e-4),  # of an image whose edge is 1
            ["0.0000 to 0.0020 px", "0.0020 to 0.0030 px", "0.0030 to 0.0040 px",
             "0.0040 to inf px"],
        ),
    ],
)  # fmt: skip
def test_polygons_without_a_place_have_size_classes_of_their_own(widths, said):
    shapes = [shapely.box(20 * k, 0, 20 * k + width, 10) for k, width in enumerate(widths)]
    frame = geopandas.GeoDataFrame(geometry=shapes)
    run = summarise("alike", [score_fields(frame, frame, step=1.0).scores], QUICK)
    assert run.sizes.index.tolist() == said
    assert run.sizes.truth.sum() == len(widths)
    assert said[-1] in Report("t", (run,)).to_markdown()


def test_what_a_content_free_answer_wins_is_marked():
    run = summarise("model", images(loss=0.5), QUICK)
    grids = [summarise(f"grid of {s} px", baseline(s), QUICK, content_free=True) for s in (24, 6)]
    report = Report("test", (run,), tuple(grids))
    won = report.won_by_content_free(run)
    assert won["merged_fnr"] in ("grid of 24 px", "grid of 6 px")
    assert "merged_iou_any" in won
    assert "ap50" not in won
    text = report.to_markdown()
    assert "content-free" in text
    line = next(row for row in text.splitlines() if row.startswith("| merge-and-match IoU, any"))
    assert MARK in line
    assert MARK not in next(row for row in text.splitlines() if row.startswith("| AP50 "))
    seeing = Report("test", (run,), (summarise("watershed", baseline(6), QUICK),))
    assert seeing.won_by_content_free(run) == {}


def test_report_is_strict_json_and_says_what_is_missing():
    empty = score_ids(
        "empty", np.zeros((20, 20), int), np.zeros((20, 20), int), group="a", pixel=(1.0, 1.0)
    )
    blind = score_ids("blind", truth(1), np.zeros((96, 96), int), group="b", pixel=(1.0, 1.0))
    hidden = score_ids(
        "hidden",
        np.zeros((9, 9), int),
        np.ones((9, 9), int),
        ignore=np.ones((9, 9), bool),
        pixel=(1.0, 1.0),
    )
    run = summarise("model", [empty, blind, hidden], QUICK)
    assert any("no true object" in note and "empty" in note for note in run.notes)
    assert any("no predicted object" in note and "blind" in note for note in run.notes)
    assert any("no known pixel" in note and "hidden" in note for note in run.notes)
    found = json.loads(Report("t", (run,), problems=("x: no partner",)).to_json())
    assert found["runs"][0]["values"]["object_precision"] is None
    assert found["problems"] == ["x: no partner"]
    assert found["measures"][0]["source"]
    with pytest.raises(BadInput, match="no image"):
        summarise("nothing", [])


def test_runs_are_compared_on_the_same_images():
    good, poor = summarise("good", images(0.1), QUICK), summarise("poor", images(0.6), QUICK)
    found = compare(good, poor)
    assert found["object_f1"].difference > 0.2
    assert found["object_f1"].low > 0
    assert (
        "good - poor" in Report("t", (good, poor), comparisons={"good - poor": found}).to_markdown()
    )
    with pytest.raises(BadInput, match="different images"):
        compare(good, summarise("less", images(0.1, range(3)), QUICK))


def test_masks_without_objects():
    square = np.zeros((30, 30), bool)
    square[5:25, 5:25] = True
    run = summarise(
        "crop",
        [mask_scores("a", square, np.roll(square, 1, 0)), mask_scores("b", square, square)],
        QUICK,
    )
    assert run.values["pixel_iou"] == pytest.approx((380 + 400) / (420 + 400))
    assert 0.6 < run.values["boundary_iou"] < 1


def test_markdown_table_lines_up():
    lines = markdown_table(["a", "long header"], [["wide cell", "1"]]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_cutting_a_map_into_images_at_lanes_changes_nothing():
    whole, said = truth(3), prediction(truth(3), 9)
    said[np.arange(96) % 24 < 2] = 0
    quick = ImageOptions(distances=False)
    one = summarise("one", [score_ids("all", whole, said, pixel=(1.0, 1.0), options=quick)], QUICK)
    parts = [
        score_ids(f"{t}", whole[t : t + 48], said[t : t + 48], pixel=(1.0, 1.0), options=quick)
        for t in (0, 48)
    ]
    cut = summarise("cut", parts, QUICK)
    for name in (
        "pixel_iou",
        "object_f1",
        "panoptic_quality",
        "over_segmentation",
        "merged_iou_any",
    ):
        assert one.values[name] == pytest.approx(cut.values[name]), name
