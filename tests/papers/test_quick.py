"""Stand-ins and the sample: what they are, that they are kept, and that they say what they are."""

import tomllib
from pathlib import Path

import pytest

from selion.data import load_dataset
from selion.errors import BadInput, OutputExists, UnknownName
from selion.metrics import Interval
from selion.models import load_model
from selion.papers import read_paper
from selion.papers.printed import PaperModel
from selion.papers.quick import StandInOptions, make_sample, make_stand_ins, stand_in_recipe
from selion.papers.request import PaperRequest, reproduce
from selion.papers.results import FoundModel, RowScores
from selion.papers.writing import _cell
from selion.simulation.chips import ChipOptions

SMALL = ChipOptions(("austria", "kenya"), (2, 0, 1), 96)
BRIEF = StandInOptions(steps=1, batch=2, edge=32, chips=1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make_sample(tmp_path_factory.mktemp("quick") / "sample", SMALL)


def test_the_sample_is_taken_again_and_never_replaced(sample):
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    assert make_sample(sample, SMALL) == sample
    assert {path: path.stat().st_mtime_ns for path in sample.rglob("*")} == before
    with pytest.raises(OutputExists, match="another sample"):
        make_sample(sample, ChipOptions(("austria",), (1, 0, 1), 96))


def test_rows_keep_loss_augmentations_and_rate_and_not_their_network():
    models = read_paper().table(5).models
    for key, recipe in (("loss-dice", "prue/loss-dice"), ("lr-0.03", "prue/lr-3e-2")):
        model = models.get(key) or PaperModel(key, recipe=recipe)
        made, said = stand_in_recipe(model, StandInOptions())
        table = tomllib.loads((Path("src/selion/recipes") / f"{recipe}.toml").read_text())
        if "loss" in table:
            assert made.loss.kind == table["loss"]["kind"]
        if "schedule.lr" in table or "schedule" in table:
            assert made.schedule.lr == table["schedule"]["lr"]
        assert made.model.architecture["encoder"] == "mobilenet_v2"
        assert "augmentations of this row" in said
    plain, said = stand_in_recipe(PaperModel("sam"), StandInOptions())
    assert (plain.loss.kind, plain.augment.divisor.p) == ("ce", 0.0)
    assert said.startswith("stand-in, not the paper's model")
    assert "recipe ftw-v1" in said
    prue = stand_in_recipe(PaperModel("prue", recipe="prue"), BRIEF)[0]
    assert prue.augment.divisor.p == 1.0
    same = [
        stand_in_recipe(PaperModel(key, recipe=f"prue/{key}"), BRIEF)[0].name
        for key in ("encoder-b4", "encoder-mit-b2", "architecture-fcsiam", "loss-dice", "lr-1e-2")
    ]
    assert len(set(same[:3])) == 1  # they differ in their network alone
    assert len(set(same)) == 3


def test_every_row_of_every_table_has_a_stand_in():
    for table in read_paper().tables:
        for model in table.models.values():
            recipe, said = stand_in_recipe(model, BRIEF)
            assert recipe.name.startswith("stand-in-")
            assert said.startswith("stand-in, ")


def test_stand_ins_are_trained_once_and_again_on_other_chips(sample, tmp_path):
    model = PaperModel("loss-dice", recipe="prue/loss-dice")
    found = make_stand_ins([model], sample, tmp_path, BRIEF)["loss-dice"]
    weights = found.path / "model.safetensors"
    first = (weights.read_bytes(), weights.stat().st_mtime_ns)
    card = load_model(found.path).card
    assert card.summary.startswith("stand-in, not the paper's model")
    assert "Kerner" in card.attribution
    make_stand_ins([model], sample, tmp_path, BRIEF)
    assert weights.stat().st_mtime_ns == first[1]
    chip = load_dataset(sample).select("train", "austria").entries[0].files[0]
    kept = chip.read_bytes()
    chip.write_bytes(kept + b"\0")
    make_stand_ins([model], sample, tmp_path, BRIEF)
    assert weights.stat().st_mtime_ns != first[1]
    chip.write_bytes(kept)
    assert weights.read_bytes() == first[0]  # a byte behind the image's end: the same pixels


def test_without_a_training_chip_the_cure_is_told(tmp_path):
    data = make_sample(tmp_path / "sample", ChipOptions(("kenya",), (1, 0, 0), 32))
    with pytest.raises(BadInput, match="no training chip with complete labels"):
        make_stand_ins([PaperModel("sam")], data, tmp_path / "stand-ins", BRIEF)
    for wrong in ({"steps": 0}, {"edge": 48}, {"chips": 0}):
        with pytest.raises(BadInput, match="multiple of 32"):
            StandInOptions(**wrong)


def test_a_country_that_is_not_in_the_sample_is_refused_at_once(tmp_path):
    request = PaperRequest((1,), (), tmp_path / "out", quick=True, countries=("portugal",))
    with pytest.raises(UnknownName, match="portugal"):
        reproduce(read_paper(), request)
    assert not (tmp_path / "out").exists()


def test_a_stand_in_is_not_held_against_the_paper():
    """Whether its interval holds the figure of another model says nothing."""
    row = read_paper().table(1).rows[0]
    mean = Interval(0.7, 0.6, 0.8, 5, "")
    for stand_in, shown in (("", "0.700 ± 0.100 (0.70 =)"), ("a toy", "0.700 ± 0.100 (0.70)")):
        found = FoundModel(Path("x"), stand_in)
        scores = RowScores(row, found, means={"pixel_iou": mean})
        assert _cell(scores, "pixel_iou") == shown
