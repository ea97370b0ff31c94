"""MAgSeg's tables: what is printed, how it is counted, and that what is right scores 1."""

from __future__ import annotations

import csv
import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from landscape_scenes import drawn_instead, scene, told
from selion import metrics
from selion.classes import ALU, FTW3, ClassScheme
from selion.errors import BadInput, OutputExists, UnknownName
from selion.evaluation.answers import Answer, answer, truth_ids
from selion.fields import InstanceOptions, find_instances
from selion.labels import Instances, least_areas
from selion.models import ModelCard
from selion.papers import (
    landscape_answers,
    landscape_cost,
    landscape_stand_ins,
    landscapes,
    read_paper,
)
from selion.papers.landscape_answers import kept_answer, oracle_answer
from selion.papers.landscape_cost import MAGSEG, ModelCost, relative
from selion.papers.landscape_scores import (
    PRIMARY,
    ClassTable,
    blind_edge,
    by_class,
    compare,
    figures,
    image_means,
    objects_of,
    strata,
)
from selion.papers.landscape_stand_ins import EMBEDDED, NAMED, TEXT
from selion.papers.landscape_tables import write_landscape_tables
from selion.papers.landscapes import (
    GRIDS,
    PARTS,
    LandscapeRequest,
    parts_of,
    score_landscapes,
)
from selion.papers.results import FoundModel
from selion.raster import Raster
from selion.reports.reproduction_landscapes import write_landscape_report
from selion.sample import Sample
from selion.segmenter import InputSpec, Scaling
from selion.simulation import holdings
from selion.simulation.holdings import HoldingOptions, simulate_holding

PAPER = Path("../shared/papers/magseg.txt")
SCORER = Path("../shared/tools/scoring/object_scores.py")
CLASSES = ("field", "tree", "cloud", "pond", "well")


@pytest.mark.skipif(not PAPER.is_file(), reason="../shared/papers is not here")
def test_every_figure_is_printed_in_the_paper():
    """In the order of the columns: a row of the paper is a measure, one of ours a system."""
    text = PAPER.read_text("utf-8")
    kept = {"field": "Fields", "tree": "Trees", "cloud": "Clouds", "pond": "Ponds", "well": "Well"}
    words = {"mean_iou": "mean IoU", "median_iou": "median IoU", "fnr": "FNR", "fpr": "FPR"}
    paper = read_paper("magseg")
    for number in (1, 2, 3):
        table = paper.table(number)
        for place in table.rows[0].countries:
            part = text.rpartition(f"| {kept.get(place, place.capitalize())} | mean IoU |")
            part = part if number != 2 else text.partition(f"| {place.capitalize()} | mean IoU |")
            for measure, word in words.items():
                rows = [row for row in table.rows if row.countries]  # what is newer has none
                printed = [row.countries[place][measure] for row in rows]
                line = " | ".join(f"{value:.2f}" for value in printed)
                assert f"| {line} |" in part[1] + part[2], (number, place, word)
    for row in paper.table(5).rows:
        line = " | ".join(f"{row.countries[name]['mean_iou']:.2f}" for name in CLASSES)
        assert f"| {line} |" in text
    times = [row.figures["time"] for row in paper.table(4).rows]
    assert " | ".join(f"{value:.2f}" for value in times) in text


@pytest.fixture(scope="module")
def drawn():
    return scene()


@pytest.fixture(scope="module")
def holding():
    image, labels = simulate_holding(3)
    return Sample("holding", image, labels)


@pytest.mark.parametrize("name", ["drawn", "holding"])
def test_an_oracle_is_right_in_every_class(name, request):
    """By the road that a model goes: windows, blending, objects out of probabilities."""
    sample = request.getfixturevalue(name)
    found = by_class(sample, *oracle_answer(sample), ALU, CLASSES)
    assert tuple(found) == CLASSES
    for kind, one in found.items():
        assert len(one.table.truth_ids) >= (4 if name == "drawn" else 2), kind
        values = figures([one])
        for how in ("mean over images", "all objects"):
            for reading in ("any", "largest"):
                assert values["mean_iou", f"{how}, {reading} overlap"] == 1.0, kind
                assert values["fnr", f"{how}, {reading} overlap"] == 0.0, kind
                assert values["fpr", f"{how}, {reading} overlap"] == 0.0, kind
        assert values["f1 at IoU 0.5", "all objects, one to one"] == 1.0, kind


def test_what_is_small_of_its_class_is_not_counted_on_either_side(drawn):
    """A pond of 400 m2 counts, a field of 400 m2 does not, wherever it stands."""
    assert least_areas(ALU, None, 0.5)["well"] == 5  # 20 pixels of 0.25 m2
    assert least_areas(ALU, 500.0, 0.5)["well"] == 500
    assert least_areas(replace(ALU, least_area=()), None, 0.5)["well"] == 500
    pond = drawn.labels.ids == ALU.index("pond")
    asfield = replace(drawn.labels, ids=np.where(pond, 1, 0).astype(np.uint8))
    sample = replace(drawn, labels=asfield)
    said = Answer(pond.astype(np.int32), classes=asfield.ids)
    assert len(by_class(sample, said, ALU, ALU, ["field"])["field"].table.truth_ids) == 0
    said = Answer(pond.astype(np.int32), classes=drawn.labels.ids)
    found = by_class(drawn, said, ALU, ALU, ["pond", "field"])
    assert len(found["pond"].table.prediction_ids) == 4
    assert len(found["field"].table.prediction_ids) == 0


def test_maps_keep_wells_and_drop_small_fields(drawn):
    shares = np.arange(len(ALU))[:, None, None] == drawn.labels.ids[None]
    probs = Raster(shares.astype(np.float32), drawn.image.grid, ALU.names)
    counts = find_instances(probs, ALU, "watershed").table["class"].value_counts()
    assert dict(counts) == {"field": 4, "pond": 4, "well": 4, "tree": 4}
    given = find_instances(probs, ALU, "watershed", InstanceOptions(min_area=500.0))
    assert set(given.table["class"]) == {"field"}


@pytest.mark.parametrize("least", [(1.0,), (1.0, -1.0, 0, 0, 0, 0)])
def test_least_areas_that_make_no_sense(least):
    with pytest.raises(BadInput, match="Least areas"):
        replace(ALU, least_area=least)
    assert ClassScheme.from_dict(ALU.to_dict()) == ALU
    assert "least_area" not in replace(ALU, least_area=()).to_dict()


def table_of(truth, said, unit=1.0, key="x", group=""):
    return ClassTable(key, group, metrics.overlap_table(truth, said), unit)


def test_half_of_a_union_is_no_match_of_panoptic_quality():
    """By hand: IoUs of 1 and of exactly a half; F1 counts both, Kirillov's quality the first."""
    truth, said = np.zeros((4, 20), np.int32), np.zeros((4, 20), np.int32)
    truth[0], said[0] = 1, 1
    truth[2], said[2, :10] = 2, 2
    found = figures([table_of(truth, said)])
    assert found["f1 at IoU 0.5", "all objects, one to one"] == 1.0
    assert found["panoptic quality", "all objects, one to one"] == 0.5  # 1 / (1 + 1/2 + 1/2)


def test_merge_and_match_by_acres():
    """Truths of 3000 m2 and 9000 m2 (.74 and 2.2 acres); the second is found as two halves."""
    truth, ids = np.zeros((200, 200), np.int32), np.zeros((200, 200), np.int32)
    truth[:30, :100], truth[100:190, :100] = 1, 2
    ids[100:145, :100], ids[145:190, :100] = 1, 2
    one, blind = table_of(truth, ids), table_of(truth, np.zeros_like(truth))
    rows = strata(objects_of([one], [blind]))
    assert [(r["by"], r["stratum"], r["objects"], r["mean_iou"], r["missed"]) for r in rows] == [
        ("acres", "0 to 1", 1, 0.0, 100.0),
        ("acres", "2 to 3", 1, 1.0, 0.0),
    ]
    photograph = objects_of([replace(one, unit=0.0)], [blind])
    assert strata(photograph.assign(climate="V"), ["climate"])[0]["stratum"] == "V"


def test_columns_that_are_given_anyhow_and_one_that_nothing_has(tmp_path):
    """``--by group`` took the groups away, ``--by acres`` the sizes; a slip did nothing at all."""
    ids = np.ones((60, 60), np.int32)
    one, blind = table_of(ids, ids, group="india"), table_of(ids, np.zeros_like(ids))
    plain = strata(objects_of([one], [blind]))
    assert [(row["by"], row["stratum"]) for row in plain] == [
        ("acres", "0 to 1"),
        ("group", "india"),
    ]
    asked = replace(one, labels={name: np.array([""], object) for name in ("group", "acres")})
    assert strata(objects_of([asked], [blind]), ["group", "acres"]) == plain
    with pytest.raises(UnknownName, match="column to give fields by called 'climat'"):
        scored(tmp_path, (1, 4), by=("climat",))
    with pytest.raises(UnknownName, match="column to give fields by called 'id'"):
        scored(tmp_path, (1,), by=("id",))  # it is what columns are looked up by
    assert not list(tmp_path.rglob("*.npz"))
    # a table of parameters has no strata, so that no column is amiss there
    assert list(scored(tmp_path, (4,), by=("climate",))[1].tables) == [4]


def test_means_over_images_are_not_those_of_all_objects():
    """One image of one object that is found, one of three that are not: 1/2, and pooled 1/4."""
    whole, three = np.ones((9, 9), np.int32), np.kron(np.diag([1, 2, 3]), np.ones((3, 3), int))
    tables = [
        table_of(whole, whole),
        table_of(three.astype(np.int32), np.zeros((9, 9), np.int32)),
    ]
    assert image_means([one.table for one in tables]) == {
        "mean_iou": 0.5,
        "median_iou": 0.5,
        "fnr": 50.0,
        "fpr": 0.0,
    }
    assert figures(tables)["mean_iou", "all objects, any overlap"] == 0.25


def test_a_blind_grid_scores_nothing_beyond_itself(drawn):
    """Merge-and-match pays it; what is beyond a grid of its own size is 0, in every stratum."""
    said = metrics.regular_grid(drawn.labels.ids.shape, 64)
    one = compare(drawn, said, "field", ALU)
    edge = blind_edge([one])
    assert edge == 64
    blind = compare(drawn, metrics.regular_grid(drawn.labels.ids.shape, edge), "field", ALU)
    values = figures([one], [blind])
    assert values["mean_iou", PRIMARY] > 0.4
    assert values["mean_iou beyond it", PRIMARY] == 0.0
    assert {row["beyond"] for row in strata(objects_of([one], [blind]))} == {0.0}
    assert values["f1 at IoU 0.75", "all objects, one to one"] == 0.0


@pytest.mark.skipif(not SCORER.is_file(), reason="../shared/tools/scoring is not here")
def test_one_to_one_is_what_another_scorer_says(holding):
    """The scorer shares no line with the project: F1 of fields that were moved and cut."""
    spec = importlib.util.spec_from_file_location("object_scores", SCORER)
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    truth = compare(holding, np.zeros((384, 384), np.int32), "field", ALU)
    ids = np.where(holding.labels.ids == 1, metrics.regular_grid((384, 384), 150), 0)
    ids = np.roll(ids, 9, 1).astype(np.int32)
    one = compare(holding, ids, "field", replace(ALU, least_area=()))
    real = landscape_truth(holding)
    assert len(truth.table.truth_ids) <= real.max()
    theirs = scorer.scores(real, ids, np.ones(real.shape, bool))
    ours = figures([one])["f1 at IoU 0.5", "all objects, one to one"]
    assert theirs["f1"] == pytest.approx(ours, abs=1e-9)


def landscape_truth(sample):
    from scipy import ndimage

    return ndimage.label(sample.labels.ids == 1)[0]


def test_objects_with_classes_of_their_own_are_taken_before_labels(drawn):
    ids = np.zeros(drawn.labels.ids.shape, np.int32)
    ids[:20, :20], ids[40:60, :20] = 1, 2
    import pandas as pd

    table = pd.DataFrame({"id": [1, 2], "class": ["tree", "tree"], "climate": ["I", "II"]})
    sample = replace(drawn, instances=Instances(ids, drawn.image.grid, table))
    found = compare(sample, np.zeros_like(ids), "tree", ALU, ["climate"])
    assert found.labels["climate"].tolist() == ["I", "II"]
    assert len(compare(sample, np.zeros_like(ids), "well", ALU).table.truth_ids) == 4


def test_every_row_has_a_road_or_says_what_it_lacks():
    paper = read_paper("magseg")
    wanted = parts_of(paper, (1, 2, 3, 4, 5))
    assert wanted.keys() - TEXT.keys() - EMBEDDED.keys() - NAMED.keys() == {"sam", "epoc"}
    assert all("/" not in key for key in PARTS)
    for key in TEXT.keys() | NAMED.keys():
        assert wanted[key].recipe.startswith("magseg/")
    assert wanted["gres"].remedy == "'selion train magseg/gres'"


def test_what_is_newer_than_the_paper_has_our_figures_alone(quick):
    """Text4Seg++ came after MAgSeg: a row to be trained and scored, with nothing printed beside."""
    from selion.training import read_recipe

    recipe = read_recipe("magseg/text4seg-boxes")
    prompt = recipe.language.prompt
    assert (prompt.codec, prompt.grid, prompt.patch) == ("boxes", 64, recipe.language.context)
    assert landscape_stand_ins.WHOLE["text4seg-boxes"] == prompt.codec
    for number in (1, 2):
        rows = read_paper("magseg").table(number).rows
        [row] = [one for one in rows if one.model.key == "text4seg-boxes"]
        assert row.label == "Text4Seg++ (not in the paper)"
        assert not row.figures
        assert not row.countries
    said = [row for row in read(quick[0] / "table-1.csv") if row["model"] == "text4seg-boxes"]
    assert {row["class"] for row in said} == set(CLASSES)
    assert {row["paper"] for row in said} == {""}


def test_times_are_multiples_of_magseg():
    costs = {"lisa": ModelCost(2_000_000_000, 0.5, 4.0), MAGSEG: ModelCost(1_000_000_000, 0.0, 1.0)}
    assert relative(costs, list(costs)) == {"lisa": 2.0, MAGSEG: 1.0}
    assert relative({"lisa": costs["lisa"]}, ["lisa"]) == {}


def test_parameters_in_4_bits_are_counted_as_what_they_stand_for():
    """Two of them lie in a byte: a base in 4 bits had half its parameters, and twice its time."""

    def kept(numbers, shape=None):
        packed = None if shape is None else SimpleNamespace(shape=shape)
        return SimpleNamespace(numel=lambda: numbers, quant_state=packed)

    held = [kept(32, (8, 8)), kept(10), SimpleNamespace(numel=lambda: 3)]
    language = SimpleNamespace(parameters=lambda: iter(held))
    model = SimpleNamespace(generator=SimpleNamespace(model=language))
    assert landscape_cost._parameters(model) == (64 + 10 + 3, 0.0)


def scored(out, tables, **changes):
    """Tables of drawn scenes, without stand-ins, and without the U-Net's seconds."""
    small = HoldingOptions((1, 1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holdings, "simulate_holding", drawn_instead)
        patch.setattr(landscape_stand_ins, "HoldingOptions", lambda: small)
        patch.setattr(landscape_stand_ins, "make_landscape_stand_ins", lambda *_a, **_k: {})
        patch.setattr(landscapes, "load_refined", lambda name, *_a, **_k: told(name))
        request = LandscapeRequest(tables, out, quick=True, **changes)
        return request, score_landscapes(request)


def truth_or_oracle(model, sample, options):
    if model.card.name == "oracle":
        return answer(model, sample, options)
    return Answer(truth_ids(sample))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("magseg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landscape_answers, "answer", truth_or_oracle)
        request, scores = scored(out, (1, 2, 3, 4, 5))
    write_landscape_tables(scores, request)
    write_landscape_report(out, scores.notes)
    return out, request, scores


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_name_what_is_missing_and_the_truth_scores_one(quick):
    out, _, scores = quick
    assert scores.classes == CLASSES
    for number in (1, 2, 3, 5):
        lines = read(out / f"table-{number}.csv")
        right = [
            one
            for one in lines
            if one["model"] == "oracle" and (one["measure"], one["how"]) == ("mean_iou", PRIMARY)
        ]
        places = {"": 1} if number in (1, 5) else {"cambodia": 1, "vietnam": 1}
        assert len(right) == (5 if number in (1, 5) else len(places))
        assert all(float(one["ours"]) == 1 for one in right), right
        lavt = [one for one in lines if one["model"] in ("lavt", "grpo-12b")]
        assert all(one["missing"].startswith("no weights here") for one in lavt)
        assert all(one["paper"] for one in lavt)
        blind = [
            float(one["ours"])
            for one in lines
            if one["model"] == f"grid-{GRIDS[0]}" and one["measure"] == "mean_iou beyond it"
        ]
        assert blind
        assert all(value == 0 for value in blind if math.isfinite(value))
    costs = read(out / "table-4.csv")
    assert {one["row"] for one in costs} == {"LISA", "GSVA", "GRES", "MAgSeg (4B)"}
    assert [one["paper"] for one in costs if one["measure"] == "time"] == [
        *("1.271", "1.534", "1.353", "1.000")
    ]
    strata_of = {(one["row"], one["by"]) for one in read(out / "strata.csv")}
    assert ("every pixel right", "acres") in strata_of
    page = (out / "report.html").read_text("utf-8")
    assert page.count("MAgSeg (12B)") > 5
    assert "[0.59]" in page
    assert "of sample, split test" in page


def test_the_same_command_asks_nothing_again(quick, monkeypatch):
    out, request, scores = quick
    with pytest.raises(OutputExists):
        score_landscapes(request)
    monkeypatch.setattr(landscape_answers, "answer", None)
    monkeypatch.setattr(landscapes, "oracle_answer", lambda _s: (Answer(None), ClassScheme("ab")))
    again = scored(out, (1,), force=True)[1].tables[1][1]
    before = scores.tables[1][1]
    known = [(row.row.label, str(figures(row.tables["field"]))) for row in again if row.found]
    assert known == [
        (row.row.label, str(figures(row.tables["field"]))) for row in before if row.found
    ]
    assert known[0][0] == "U-Net (fields-rgb-vhr)"
    (out / "runs" / "cambodia").mkdir(parents=True)
    request, foreign = scored(out, (1, 2, 3), weights=out / "runs", force=True)
    note = (
        f"{out / 'runs'} has no folder called vietnam: what Table 2 takes for models that were "
        "trained there are the weights of Table 3."
    )
    assert foreign.notes == (*scores.notes, note)
    with pytest.raises(BadInput, match="give --data"):
        score_landscapes(LandscapeRequest((1,), out / "none"))


def test_systems_see_the_numbers_that_maps_show(tmp_path, monkeypatch):
    """Images of 16 bits were white to every system, where ``evaluate`` and maps stretch them."""
    sample, seen = scene(), []
    ramp = (300 + 7 * np.indices(sample.image.values.shape).sum(0)).astype(np.uint16)
    sample = replace(sample, image=replace(sample.image, values=ramp))
    card = ModelCard("m", InputSpec(sample.image.bands, Scaling((255.0,)), window=384), ALU)

    def said(model, one, _options):
        seen.append(model.inputs.scaling(one.image.read((slice(0, 384), slice(0, 384))).values))
        return Answer(truth_ids(sample))

    monkeypatch.setattr(landscape_answers, "answer", said)
    monkeypatch.setattr(
        landscapes, "load_refined", lambda *_a, **_k: landscape_answers._Oracle(card)
    )
    work = object.__new__(landscapes._Scoring)
    work.request, work.on_step, work.notes = LandscapeRequest((1,), tmp_path), print, ()
    work.samples = lambda _place: ([sample], SimpleNamespace(entries=(), keys=("drawn",)))
    row = read_paper("magseg").table(1).rows[0]
    work._scored(landscapes.PartedModel(FoundModel(tmp_path)), row, "")
    (picture,) = seen
    assert picture.min() < 0.1
    assert picture.max() > 0.9
    assert 0.3 < picture.mean() < 0.7
    assert any("LAVT: The image's numbers (uint16) were stretched" in note for note in work.notes)


@pytest.mark.parametrize(("gsd", "error"), [(None, 31), ((0.5, 1.0), 31), ((1.5, 4.0), None)])
def test_seams_lie_where_windows_end(gsd, error):
    """Windows of 32 px in 64, stripes of 16: 64 of 128 places at seams change, else 128 of 7936.

    Of a model that works on pixels of another size the same number was said.
    """
    classes = np.tile(np.repeat([0, 1, 0, 1], 16).astype(np.uint8), (64, 1))
    grid = GeoBox((64, 64), from_origin(5e5, 5e6, 1.0, 1.0), "EPSG:32633")
    spec = InputSpec(("red",), Scaling(), gsd, 32, 0.0)
    found = landscape_answers.seam_of(spec, Answer(np.zeros((64, 64)), classes=classes), grid)
    assert found == pytest.approx(error) if error else math.isnan(found)


def test_folders_of_own_models_may_have_a_plus_in_their_names(tmp_path):
    for name in ("a", "a+b", "c"):
        (tmp_path / name).mkdir()
    here = f"{tmp_path}/"
    for text, pair in {
        "unet": ("unet", ""),
        "unet+own": ("unet", "own"),
        f"{here}a": (f"{here}a", ""),
        f"{here}a+b": (f"{here}a+b", ""),
        f"{here}a+own": (f"{here}a", "own"),
        f"{here}a+b+{here}c": (f"{here}a+b", f"{here}c"),
        f"{here}c+{here}a+b": (f"{here}c", f"{here}a+b"),
    }.items():
        assert landscapes.named_pair(text) == pair


def test_each_image_has_its_own_answer(tmp_path, monkeypatch):
    """Of images that are called "plot 1" and "plot-1" the second had the answer about the first."""
    asked = []

    def said(_model, sample, _options):
        asked.append(sample.key)
        return Answer(np.full((2, 2), len(asked)))

    monkeypatch.setattr(landscape_answers, "answer", said)
    keys = ["plot 1", "plot-1", "plot/1", "plot(1", "plot)1", "\udcff"]
    found = [
        [int(kept_answer(told("m"), replace(scene(), key=key), tmp_path).ids[0, 0]) for key in keys]
        for _ in range(2)
    ]
    assert found == [[1, 2, 3, 4, 5, 6]] * 2
    assert asked == keys


@pytest.mark.filterwarnings("ignore:.*cut off before their end")  # four steps teach no end
@pytest.mark.long  # `quick` above goes the tables' road, training's tests the models'
def test_stand_ins_go_the_whole_road(tmp_path, monkeypatch):
    """Text as mask, by reward, embedding as mask, and a network of boundaries behind them, which
    starts from a model of other classes; each after a step or two.
    """
    pytest.importorskip("trl", reason="the extra 'language' is not installed")
    small = HoldingOptions((1, 1, 1))
    monkeypatch.setattr(holdings, "PLACES", {"india": holdings.PLACES["india"]})
    monkeypatch.setattr(landscape_stand_ins, "HoldingOptions", lambda: small)
    monkeypatch.setattr(landscape_stand_ins, "LESSONS", 4)
    monkeypatch.setattr(landscape_stand_ins, "REWARDED", 1)
    monkeypatch.setattr(landscape_stand_ins, "WINDOWS", 16)
    request = LandscapeRequest((1, 4, 5), tmp_path, quick=True)
    scores = score_landscapes(request)
    write_landscape_tables(scores, request)
    lacking = {row.row.model.key for row in scores.tables[1][1] if row.missing}
    assert lacking == {"text4seg-r"}
    assert not any(row.missing for row in scores.tables[5][1])
    costs = [one for one in read(tmp_path / "table-4.csv") if one["measure"] == "overhead"]
    assert [bool(one["ours"]) for one in costs] == [True, True, False, True]
    timed = [one for one in read(tmp_path / "table-4.csv") if one["measure"] == "time"]
    assert all(float(one["ours"]) > 0 for one in timed)


def test_a_country_of_fields_alone_teaches_networks_that_read_names(tmp_path, monkeypatch):
    """Outside India the truth has no trees, clouds, ponds or wells, as in the paper."""
    pytest.importorskip("transformers", reason="the extra 'language' is not installed")
    monkeypatch.setattr(holdings, "PLACES", {"cambodia": holdings.PLACES["cambodia"]})
    planned = []

    def noted(plan, *_, **__):
        planned.append(plan.recipe)

    monkeypatch.setattr(landscape_stand_ins, "train_plan", noted)
    sample = landscape_stand_ins.make_holdings(tmp_path / "sample", HoldingOptions((1, 1, 1)))
    found = landscape_stand_ins.make_landscape_stand_ins(
        ["lavt", "gres"], sample, "cambodia", tmp_path / "stand-ins"
    )
    assert list(found) == ["lavt", "gres"]
    assert [recipe.classes.names for recipe in planned] == [FTW3.names] * 2
