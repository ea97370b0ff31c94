"""DepthCropSeg++'s tables: what is printed, how it is counted, and that stand-ins go the whole
road.
"""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selion.classes import CROP, ORGANS
from selion.errors import BadInput, OutputExists
from selion.grid import photo_grid
from selion.labels import LabelMap
from selion.papers import photo_stand_ins, photographs, read_paper
from selion.papers.photo_stand_ins import PhotoStandInOptions, make_photographs
from selion.papers.photo_tables import (
    MIOU,
    _miou_of,
    _statistics,
    compare_runs,
    write_photo_tables,
)
from selion.papers.photographs import PhotoRequest, as_crop, runs_of, score_photographs
from selion.sample import Sample
from selion.simulation.landscape import PhotoOptions, simulate_photo
from selion.simulation.photographs import PhotographOptions

PAPER = Path("../shared/papers/depthcropseg-plus-plus.txt")
TINY = PhotographOptions(labelled=1, unlabelled=1, test=1, shape=(64, 64))
BRIEF = PhotoStandInOptions(steps=1, batch=2, edge=32, width=32, depth=4)
ROADS = dict(photo_stand_ins.ROADS)
SOME = ("depthcropseg-plus-plus", "supervised", "supervised-2")
"""Stand-ins that are trained in each test run; all of them where time is no matter."""


@pytest.mark.skipif(not PAPER.is_file(), reason="../shared/papers is not here")
def test_every_figure_is_printed_in_the_paper():
    text = PAPER.read_text("utf-8")
    parts = {
        4: text.partition("TABLE IV\n")[2].partition("TABLE V\n")[0],
        6: text.partition("TABLE VI\n")[2].partition("A. Benchmark")[0],
        7: text.partition("TABLE VII\n")[2].partition("On the full-coverage")[0],
    }
    for table in read_paper("depthcropseg").tables:
        figures = [
            value
            for row in table.rows
            for values in ([row.figures] if row.figures else row.countries.values())
            for value in values.values()
        ]
        assert len(figures) == {4: 8, 6: 6, 7: 36}[table.number]
        for value in figures:
            assert f"{value:.2f}" in parts[table.number]


def test_rows_of_the_subsets_stand_in_the_paper_as_here():
    table = read_paper("depthcropseg").table(7)
    row = next(row for row in table.rows if row.label == "DepthCropSeg++")
    assert row.countries["full"] == {"miou": 99.86, "boundary_iou": 47.42}
    assert row.countries["rice"] == {"miou": 86.90, "boundary_iou": 21.35}


def test_the_papers_runs_give_the_t_of_a_pocket_calculator():
    """Pooled variance of 2 + 2 degrees: (.0005333 * 2 + .0010333 * 2) / 4, root of its 2/3."""
    found = _statistics((93.47, 93.43, 93.47), (93.02, 93.01, 93.07))
    assert found["DepthCropSeg++", "mean"] == pytest.approx(93.45667, abs=1e-5)
    assert found["Fully Supervised", "variance"] == pytest.approx(0.00103333, abs=1e-8)
    assert found["difference", "t"] == pytest.approx(18.525, abs=5e-4)
    assert found["difference", "low"] == pytest.approx(0.360, abs=5e-4)
    assert found["difference", "high"] == pytest.approx(0.487, abs=5e-4)


def test_miou_of_summed_counts_by_hand():
    # soil: 6 of 6 + 1 + 1; crop: 2 of 2 + 1 + 1; the second has no soil at all: skipped
    sums = np.array([[6, 1, 0, 1, 2, 0], [0, 0, 0, 0, 3, 1]], float)
    assert _miou_of(sums, ("soil", "crop")) == pytest.approx([(6 / 8 + 2 / 4) / 2, 3 / 4])


def test_whatever_grows_is_crop():
    ids = np.array([[0, 1, 2], [3, 255, 0]], np.uint8)
    sample = Sample("a", None, LabelMap(ids, photo_grid((2, 3)), ORGANS))
    found = as_crop(sample).labels
    assert found.classes == CROP
    assert found.ids.tolist() == [[0, 1, 1], [1, 255, 0]]


def test_canopies_show_no_soil_and_nights_are_dark():
    canopy = simulate_photo(3, (64, 64), PhotoOptions(canopy=True))
    assert canopy.labels.ids.min() == 1
    day, night = (simulate_photo(3, (64, 64), PhotoOptions("blade", light=x)) for x in (1.0, 0.2))
    assert np.array_equal(day.labels.ids, night.labels.ids)
    assert night.image.values.mean() == pytest.approx(0.2 * day.image.values.mean(), rel=0.1)
    with pytest.raises(BadInput, match="share of daylight"):
        PhotoOptions(light=0)


def made(out, roads):
    """All three tables, by stand-ins that learn next to nothing."""
    make_photographs(out / "sample", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_stand_ins, "PhotographOptions", lambda: TINY)
        patch.setattr(photo_stand_ins, "PhotoStandInOptions", lambda: BRIEF)
        patch.setattr(photo_stand_ins, "ROADS", roads)
        # a network of one step says nothing that is sure, or good
        patch.setattr(photo_stand_ins, "keep_pseudo", kept_whatever)
        request = PhotoRequest((4, 6, 7), out, quick=True, draws=20, force=True)
        scores = score_photographs(request)
        write_photo_tables(scores, request)
    return out, request, scores


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    roads = {key: ROADS[key] for key in SOME}
    roads[SOME[0]] = replace(roads[SOME[0]], stages=1)
    return made(tmp_path_factory.mktemp("depthcropseg"), roads)


def kept_whatever(pseudo):
    from selion.labelling import keep_pseudo

    return keep_pseudo(pseudo, least=-1.0)


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_are_scored_or_say_what_they_lack(quick):
    out, _, scores = quick
    lines = read(out / "table-4.csv")
    primary = {one["model"]: one for one in lines if one["measure"] == "miou"}
    assert list(primary) == [row.model.key for row in scores.tables[0].rows] + ["oracle"]
    for key, one in primary.items():
        assert bool(one["ours"]) is (key in (*SOME, "oracle")), one
        assert one["stand_in"].startswith("stand-in, ") is (key in SOME)
        assert one["missing"].startswith("no weights here: ") is (key not in (*SOME, "oracle"))
    assert "'selion models fetch sam-hq-vit-huge'" in primary["hq-sam"]["missing"]
    assert primary["supervised"]["paper"] == "92.75"
    assert {one["subset"] for one in read(out / "table-7.csv")} == {
        *("beet", "full", "rape", "rice", "soybean", "wheat")
    }


def test_the_oracle_scores_one_in_every_averaging_that_allows_it(quick):
    for number in (4, 7):
        for one in read(quick[0] / f"table-{number}.csv"):
            if one["model"] != "oracle" or not one["ours"]:
                continue
            # a canopy has no soil: where that counts as 0, the truth itself reaches a half
            best = {
                ("full", "mIoU of the dataset, absent counts 0"): 50,
                ("full", "mIoU by image, absent counts 0"): 50,
                ("all", "mIoU by image, absent counts 0"): (5 * 100 + 50) / 6,
            }.get((one["subset"], one["measure"]), 100)
            assert float(one["ours"]) == pytest.approx(best, abs=1e-6), one


def test_figures_are_those_of_the_masks_that_are_kept(quick):
    """Counted again from the PNGs with numpy alone."""
    out, _, _ = quick
    folder = next((out / "answers").glob(f"supervised-{'[0-9a-f]' * 16}"))
    both, either = np.zeros(2), np.zeros(2)
    for truth_path in (out / "sample" / "masks" / "test").rglob("*.png"):
        found = next(folder.rglob(f"{truth_path.stem}.png"))
        truth, said = (np.asarray(Image.open(path)) for path in (truth_path, found))
        for k in (0, 1):
            both[k] += ((truth == k) & (said == k)).sum()
            either[k] += ((truth == k) | (said == k)).sum()
    ours = next(
        float(one["ours"])
        for one in read(out / "table-4.csv")
        if (one["model"], one["measure"]) == ("supervised", "miou")
    )
    known = either > 0
    assert ours == pytest.approx(100 * (both[known] / either[known]).mean(), abs=1e-5)


def test_too_few_runs_and_the_same_weights_twice_are_refused(quick):
    out, _, scores = quick
    lines = {(one["row"], one["measure"]): one for one in read(out / "table-6.csv")}
    found = lines["difference", "t"]
    assert found["paper"] == "19.2590"
    assert float(found["paper_recomputed"]) == pytest.approx(18.525, abs=5e-4)
    assert not found["ours"]
    assert found["missing"].startswith("1 of the runs depthcropseg-plus-plus, ")
    twins = replace(scores, same={"supervised-2": "supervised"}, report=both_runs(scores.report))
    assert "the very same weights" in compare_runs(twins, scores.tables[1])[1]


def test_two_systems_of_the_same_weights_are_refused(quick):
    """A run of one system that is a run of the other, and two that are a third's."""
    scores = quick[2]
    one, other = (list(runs_of(scores.tables[1], group)) for group in ("one", "other"))
    system = scores.report.systems[0]
    runs = tuple(replace(system, name=name) for name in (one[0], other[0], other[1]))
    report = replace(scores.report, systems=runs)
    for same in ({other[0]: one[0]}, {other[0]: "supervised", other[1]: "supervised"}):
        said = compare_runs(replace(scores, same=same, report=report), scores.tables[1])[1]
        assert "the very same weights" in said, same


def both_runs(report):
    """The report with a second run of the first system."""
    one = next(s for s in report.systems if s.name == SOME[0])
    return replace(report, systems=(*report.systems, replace(one, name=f"{SOME[0]}-2")))


def test_the_same_command_goes_on_and_trains_nothing_again(quick, monkeypatch):
    out, _, _ = quick
    with pytest.raises(OutputExists):
        score_photographs(PhotoRequest((7,), out, quick=True))
    monkeypatch.setattr(photo_stand_ins, "train_plan", None)
    monkeypatch.setattr(photographs, "segmenter_system", lambda *_a: None)
    before = (out / "table-7.csv").read_bytes()
    roads = {key: ROADS[key] for key in SOME}
    roads[SOME[0]] = replace(roads[SOME[0]], stages=1)
    made(out, roads)
    assert (out / "table-7.csv").read_bytes() == before


def test_runs_of_other_seeds_are_compared(quick):
    """Two runs each: the means' distance by the root of half the sum of variances (by hand)."""
    report = both_runs(quick[2].report)
    worse = next(s for s in report.systems if s.name == "supervised")
    runs = [*report.systems[:-1], replace(worse, name=f"{SOME[0]}-2")]
    scores = replace(quick[2], report=replace(report, systems=tuple(runs)), same={})
    found, why = compare_runs(scores, scores.tables[1])
    assert why == ""
    by_name = {s.name: 100 * s.values()[MIOU] for s in runs}
    one = [by_name[SOME[0]], by_name[f"{SOME[0]}-2"]]
    other = [by_name["supervised"], by_name["supervised-2"]]
    gap = np.mean(one) - np.mean(other)
    error = math.sqrt((np.var(one, ddof=1) + np.var(other, ddof=1)) / 2)
    assert found["difference", "mean"] == pytest.approx(gap)
    assert found["difference", "t"] == pytest.approx(gap / error)
    rows = {s.name: s.by_image() for s in runs}
    mine = (rows[SOME[0]] + rows[f"{SOME[0]}-2"] - rows["supervised"] - rows["supervised-2"]) / 2
    assert found["difference over photographs, paired bootstrap", "mean"] == pytest.approx(
        100 * np.nanmean(mine)
    )


def test_prompted_networks_are_asked_with_points(quick, tmp_path):
    pytest.importorskip("transformers", reason="the extra 'train' is not installed")
    import tiny_sam

    tiny_sam.save("sam", tmp_path / "weights" / "sam")
    request = PhotoRequest(
        (7,), tmp_path / "out", quick[0] / "sample", weights=tmp_path / "weights"
    )
    write_photo_tables(score_photographs(request), request)
    lines = [one for one in read(tmp_path / "out" / "table-7.csv") if one["model"] == "sam"]
    assert {one["subset"] for one in lines} > {"soybean", "rice", "full"}
    assert all(one["ours"] for one in lines if one["measure"] == "miou")
    with pytest.raises(BadInput, match="give --data"):
        score_photographs(PhotoRequest((4,), tmp_path / "none"))


def test_every_row_but_prompted_networks_has_a_road():
    paper = read_paper("depthcropseg")
    keys = {key for table in paper.tables for key in table.models}
    assert keys - ROADS.keys() == {"sam", "hq-sam"}
    said = [road.said for road in ROADS.values()]
    assert len(set(said)) == len(said)


def test_the_recipe_of_the_papers_network_has_its_parameters_and_its_steps():
    """Table V: 570.59 M and 0.44 M for FADE; 80,000 steps, 1,500 of them warm-up."""
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    from selion.models import build_network
    from selion.training import read_recipe

    recipe = read_recipe("depthcropseg")
    with torch.device("meta"):
        network = build_network(recipe.model.architecture, 3, 2)
    assert sum(p.numel() for p in network.parameters()) == 570_592_707 + 439_758
    schedule = recipe.schedule
    steps = schedule.epochs * recipe.crops.per_epoch // schedule.batch // schedule.accumulate
    assert (steps, steps * schedule.warmup) == (80_000, 1_500)
