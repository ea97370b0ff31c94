"""The command: what is missing is said, a stopped run goes on, altered scores are made again."""

import csv
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ftw_chips import BANDS, SIZE, TEST, Formula, write_sample
from selion import papers
from selion.cli.reproduce import reproduce_group
from selion.errors import BadInput, OutputExists, UnknownName
from selion.grid import whole
from selion.metrics import Interval
from selion.papers import figures, request
from selion.papers import speed as speeds
from selion.papers.finding import find_weights
from selion.papers.keeping import model_identity
from selion.papers.results import holds
from selion.papers.robustness import CountryChanges
from selion.segmenter import InputSpec, PlainCard, Scaling, as_model
from selion.training.run import converted_alike

PAPER = papers.read_paper("prue")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("ftw"))


class Counted:
    """Loads formulas and counts how often they are asked."""

    def __init__(self):
        self.model = Formula()
        self.views = 0

    def __call__(self, path, engine="auto", *, fast=False, threads=None):
        asked = self

        class Watched(type(self.model)):
            def __call__(self, views):
                asked.views += len(views)
                return super().__call__(views)

        Watched.__qualname__ = "Watched"
        return as_model(Watched(self.model.b, self.model.a))


@pytest.fixture
def asked(monkeypatch):
    counted = Counted()
    monkeypatch.setattr("selion.papers.run.load_model", counted)
    return counted


MODELS = {"ftw-v1": papers.FoundModel("ftw-v1")}


def reproduce(sample, out, number=6, *, on_step=None, **options):
    data = papers.open_chips(PAPER, sample)
    return papers.reproduce_table(
        PAPER.table(number),
        data,
        MODELS,
        out,
        papers.ReproduceOptions(draws=50, **options),
        **({"on_step": on_step} if on_step else {}),
    )


def test_an_interrupted_run_goes_on(sample, tmp_path, asked):
    whole = papers.to_markdown(reproduce(sample, tmp_path / "whole"))
    every = asked.views
    asked.views = 0

    def stop(stage, done, total, detail=""):
        if stage == "ftw-v1-vietnam":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(sample, tmp_path / "out", on_step=stop)
    before = asked.views
    assert papers.to_markdown(reproduce(sample, tmp_path / "out")) == whole
    assert 0 < before < every
    assert asked.views == every
    reproduce(sample, tmp_path / "out", 1)  # shares the scores of another table
    assert asked.views == every


def test_altered_models_chips_and_options_are_scored_again(sample, tmp_path, asked):
    copied = write_sample(tmp_path / "ftw")
    reproduce(copied, tmp_path / "out")
    every = asked.views
    reproduce(copied, tmp_path / "out", published=True)
    assert asked.views > every
    asked.views = 0
    asked.model = Formula(0.9)
    reproduce(copied, tmp_path / "out")
    assert asked.views == every
    chip = next((copied / "austria" / "label_masks" / "semantic_2class").iterdir())
    os.utime(chip, (1, 1))
    asked.views = 0
    reproduce(copied, tmp_path / "out")
    assert 0 < asked.views < every


def carded(folder, files=None):
    """Return a formula that has a card in a folder."""

    class Carded(type(as_model(Formula()))):
        card = PlainCard("sam", files=files or {}, folder=folder)

    return Carded(Formula())


@pytest.mark.parametrize("files", [{}, {"model.onnx": "0" * 64}])
def test_files_without_checksums_count_by_what_they_are(tmp_path, files):
    """A card that lists some files says nothing of the others, nor of itself."""
    for name in ("card.toml", "model.onnx", "model.safetensors", "parts/one.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"one")
    model = carded(tmp_path, files)
    before = model_identity(model)
    assert before == model_identity(model)
    for name in ("card.toml", "model.safetensors", "parts/one.bin"):
        about = (tmp_path / name).stat()
        (tmp_path / name).write_bytes(b"two")
        os.utime(tmp_path / name, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert model_identity(model) != before, name
        before = model_identity(model)
    (tmp_path / "fresh").write_bytes(b"")
    assert model_identity(model) != before
    before = model_identity(model)
    (tmp_path / "model.onnx").write_bytes(b"two")
    assert (model_identity(model) == before) == bool(files)  # its checksum is compared on loading


def test_altered_files_are_swept_and_timed_again(sample, tmp_path, monkeypatch):
    """Figure 6 and the speeds know a model by the same."""
    folder, asked = tmp_path / "sam", []
    folder.mkdir()
    (folder / "card.toml").write_bytes(b"")
    for name in ("run", "figures"):
        monkeypatch.setattr(f"selion.papers.{name}.load_model", lambda *_, **__: carded(folder))
    speed = speeds.ModelSpeed(1.0, 1.0, 1, 1, 1)
    monkeypatch.setattr(speeds, "measure_throughput", lambda *_: asked.append("speed") or speed)
    swept = lambda *_, **__: asked.append("sweep") or {"32": 1.0}  # noqa: E731
    monkeypatch.setattr(figures, "_sweep", swept)
    chips = papers.open_chips(PAPER, sample, ["austria"]).chips
    found = {"ftw-v1": papers.FoundModel(folder)}
    for content, times in ((b"one", 1), (b"one", 1), (b"other", 2)):
        if (folder / "weights").is_file() is False or content != b"one":
            (folder / "weights").write_bytes(content)
        figures.sweep_overlaps(found, chips, tmp_path)
        speeds.measure_table({"ftw-v1": None}, found, chips, tmp_path)
        assert (asked.count("sweep"), asked.count("speed")) == (times, times)


def test_kept_scores_that_are_torn_are_made_again(sample, tmp_path, asked):
    whole = papers.to_markdown(reproduce(sample, tmp_path / "out"))
    every, asked.views = asked.views, 0
    for path in (tmp_path / "out" / "scores").iterdir():
        path.write_text(path.read_text()[:40])
    assert papers.to_markdown(reproduce(sample, tmp_path / "out")) == whole
    assert asked.views == every


def test_what_is_missing_is_said(sample, tmp_path, asked):
    said = "\n".join(reproduce(sample, tmp_path / "out").problems)
    assert "PRUE: no weights here: 'selion models fetch FTW_PRUE_EFNET_B7' or 'selion" in said
    assert "over 21 countries, and these are over 2; not scored are belgium, cambodia" in said
    assert "kenya: only some fields are labelled; left out of all means" in said


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("number", [2, 6], ids=["with agreement", "without"])
def test_what_is_said_of_presence_only_countries_is_what_was_done(
    sample, tmp_path, asked, published, number
):
    """The published code takes agreement over the chips of all countries: kenya's too."""
    found = reproduce(sample, tmp_path / "out", number, published=published)
    means = next(row.means for row in found.rows if row.means)
    said, how = "\n".join(found.problems), "\n".join(found.settings["as in the paper"])
    assert means["object_f1"].n == 2
    assert "kenya: only some fields are labelled; left out of " in said
    if published and number == 2:
        assert means["agreement"].n == sum(TEST.values())
        assert "left out of all means but that of agreement" in said
        assert "left out of all means but that of agreement" in how
        assert "that of agreement over chips" in how
        assert "are left out." not in how
    else:
        assert "left out of all means, as in the paper" in said
        assert "Countries of which only some fields are labelled are left out." in how
        assert means.get("agreement", means["object_f1"]).n == 2


def test_a_model_that_cannot_be_fed_leaves_the_others(sample, tmp_path, monkeypatch):
    def load(path, engine="auto", *, fast=False, threads=None):
        wanted = InputSpec(("red", "swir"))
        return as_model(Formula() if path == "ftw-v1" else Formula(inputs=wanted))

    monkeypatch.setattr("selion.papers.run.load_model", load)
    models = MODELS | {"prue-b7": papers.FoundModel("prue-b7")}
    data = papers.open_chips(PAPER, sample, ["austria"])
    found = papers.reproduce_table(PAPER.table(6), data, models, tmp_path)
    rows = {row.row.model.key: row for row in found.rows}
    assert rows["ftw-v1"].means["pixel_iou"].n == 1
    assert "swir" in rows["prue-b7"].missing
    assert rows["prue-b7"].missing in "\n".join(found.problems)


def test_a_model_of_bytes_sees_the_chips_as_bytes(sample, tmp_path, monkeypatch):
    """Chips of 16 bits were divided by 255, so that all was white; its training had seen bytes."""
    seen = {}

    class Bytes(Formula):
        def __call__(self, views):
            numbers = seen.setdefault(self.inputs.scaling.divide[0], [])
            numbers.append(max(float(view.pixels.max()) for view in views))
            return super().__call__(views)

    def load(path, engine="auto", *, fast=False, threads=None):
        divisor = 255.0 if path == "bytes" else 3000.0
        return as_model(Bytes(inputs=InputSpec(BANDS, Scaling((divisor,)), window=SIZE)))

    monkeypatch.setattr("selion.papers.run.load_model", load)
    models = MODELS | {"prue-b7": papers.FoundModel("bytes")}
    data = papers.open_chips(PAPER, sample, ["austria"])
    found = papers.reproduce_table(PAPER.table(6), data, models, tmp_path)
    assert max(seen[255.0]) <= 255
    assert max(seen[3000.0]) > 255, "the published networks divide what is stored"
    assert any(text.startswith("For prue-b7: ") for text in found.problems)
    assert not any(text.startswith("For ftw-v1: ") for text in found.problems)
    training = papers.open_chips(PAPER, sample, ["austria"]).chips
    trained, _, _ = converted_alike(training, (), load("bytes").inputs)
    numbers = [one.image.read(whole(one.image.grid)).values.max() for one in trained]
    assert max(seen[255.0]) == max(numbers)


def test_a_chip_that_cannot_be_read_is_named_and_its_score_not_kept(tmp_path, asked):
    damaged = write_sample(tmp_path / "ftw")
    chip = min((damaged / "austria" / "s2_images" / "window_b").iterdir())
    whole, content = reproduce(damaged, tmp_path / "out"), chip.read_bytes()
    chip.write_bytes(content[: len(content) // 2])
    part = reproduce(damaged, tmp_path / "out")
    assert any(
        "ftw-v1-austria: 1 of 3 chips left out: austria/g0_00000_1" in t for t in part.problems
    )
    assert part.rows[0].countries["austria"] != whole.rows[0].countries["austria"]
    assert part.rows[0].countries["vietnam"] == whole.rows[0].countries["vietnam"]
    chip.write_bytes(content)
    again = reproduce(damaged, tmp_path / "out")
    assert again.rows[0].countries == whole.rows[0].countries
    assert not any("left out: austria" in text for text in again.problems)


def test_a_sample_without_two_class_masks_says_so(tmp_path):
    bare = write_sample(tmp_path / "ftw")
    for folder in bare.glob("*/label_masks/semantic_2class"):
        for path in folder.iterdir():
            path.unlink()
    with pytest.raises(BadInput, match=r"two-class mask .* chips lack masks"):
        papers.open_chips(PAPER, bare)


def test_countries_that_cannot_be_averaged_are_refused(sample):
    with pytest.raises(BadInput, match="complete labels"):
        papers.open_chips(PAPER, sample, ["kenya"])
    with pytest.raises(UnknownName, match="austria"):
        papers.open_chips(PAPER, sample, ["austira"])
    data = papers.open_chips(PAPER, sample, ["austria"])
    assert data.chips.groups == ("austria",)
    assert not any("kenya" in text for text in data.problems)


def test_a_chip_without_fields_does_not_dilute_a_change():
    """One chip loses half of its field, IoU 1 to 0.5; on the other there is nothing at all."""
    counts = np.zeros((2, 2, 6), int)
    counts[0] = [[100, 0, 0, 1, 0, 0], [50, 0, 50, 0, 1, 1]]
    changes = CountryChanges(("a", "b"), {"scale": ("twice",)}, counts, np.ones(2))
    own = changes.values(published=False)
    assert (own["scale_iou"], own["scale_f1"]) == (0.5, 1.0)
    assert changes.values(published=True)["scale_iou"] == 0.5
    empty = CountryChanges(("b",), {"scale": ("twice",)}, counts[1:], np.ones(1))
    assert np.isnan(empty.values(published=False)["scale_iou"])


def test_an_interval_holds_what_rounds_into_it():
    mean = Interval(0.5, 0.4, 0.6, 3, "normal")
    assert [holds(mean, value) for value in (0.39, 0.395, 0.6, 0.606)] == [False, True, True, False]
    assert holds(Interval(0.5, np.nan, np.nan, 1, "normal"), 0.5) is None


def test_a_row_of_ones_own(sample, tmp_path, monkeypatch):
    """With the packaged model, by the command, and from beginning to end; its speed in brief."""
    options = speeds.SpeedOptions
    monkeypatch.setattr(
        request, "SpeedOptions", lambda **given: options(**given | {"seconds": 0.01})
    )
    out = tmp_path / "out"
    given = ["--data", str(sample), "-c", "austria", "--bootstrap", "20", "-o", str(out)]
    line = ["prue", "--table", "1", "-m", "fields-s2-2season", *given]
    said = CliRunner().invoke(reproduce_group, line, catch_exceptions=False)
    assert said.output.endswith(f"{out / 'table-1.csv'}\n{out / 'report.html'}\n")
    with (out / "table-1.csv").open(encoding="utf-8", newline="") as file:
        found = {(r["row"], r["country"], r["measure"]): r for r in csv.DictReader(file)}
    mine = found["fields-s2-2season", "mean", "pixel_iou"]
    assert 0 <= float(mine["ours"]) <= 1
    assert mine["paper"] == mine["holds_paper"] == ""
    parameters = found["fields-s2-2season", "mean", "parameters_m"]
    assert float(parameters["ours"]) == pytest.approx(learnt("fields-s2-2season") / 1e6)
    assert found["PRUE (ours)", "mean", "pixel_iou"]["paper"] == "0.76"
    assert "models fetch" in found["PRUE (ours)", "mean", "pixel_iou"]["missing"]
    with pytest.raises(OutputExists, match=r"table-1"):
        CliRunner().invoke(reproduce_group, line, catch_exceptions=False)
    again = CliRunner().invoke(
        reproduce_group, [*line, "--force", "--json"], catch_exceptions=False
    )
    assert json.loads(again.output.splitlines()[-1]) == {
        "event": "done",
        "path": str(out / "report.html"),
    }


def learnt(name):
    """Count by the library that wrote the file."""
    from safetensors import safe_open

    from selion.models import find_card

    with safe_open(find_card(name).folder / "model.safetensors", "np") as file:
        return sum(
            np.prod(file.get_slice(key).get_shape())
            for key in file.keys()  # noqa: SIM118  # it is no mapping
            if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
        )


def test_a_row_of_ones_own_that_is_there_already(tmp_path):
    folder = tmp_path / "prue-b7"
    folder.mkdir()
    (folder / "card.toml").write_text(
        'name = "prue-b7"\n[inputs]\nbands = ["red"]\n[classes]\nnames = ["background", "field"]\n'
    )
    assert find_weights(PAPER.table(1).models.values(), tmp_path)["prue-b7"].path == folder
    with pytest.raises(BadInput, match="has a row called prue-b7 already"):
        papers.with_own(PAPER.table(1), [str(folder)])


@pytest.mark.parametrize("option", [["--as-published"], ["-o", "x"], ["-c", "austria"]])
def test_options_that_would_change_nothing_are_refused(option):
    said = CliRunner().invoke(reproduce_group, ["prue", "--table", "1", *option])
    assert said.exit_code == 2
    assert "has no effect without --data" in said.output
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        *(
            (f"--table 3 --maps m --data d {option}", f"{option.split()[0]} has no effect on")
            for option in ("--as-published", "--bootstrap 9", "--model m")
        ),
        *(
            (f"--table 3 --maps m {option}", "Table 3 without --data, on whose chips the speed")
            for option in ("-c a", "--engine torch", "--threads 1", "--weights w", "--prices p")
        ),
        ("--figure 6 --data d --bootstrap 9", "--bootstrap has no effect on --figure 6: it is for"),
        ("--figure 7 --quick --model m", "--model has no effect on --figure 7"),
        ("--table 1 --data d --census c", "--census has no effect on --table 1: it is for --tab"),
        ("--table 1 --data d -c ''", "--countries '' names no country"),
        ("--data d -c austria -c ,", "--countries ',' names no country"),
        ("--maps m", "--maps is for Table 3, and what else is asked for wants --data"),
        ("--figure 6", "Figures are made of scores"),
    ],
)
def test_options_without_effect_are_refused_by_name(line, said, tmp_path):
    out = tmp_path / "out"
    found = CliRunner().invoke(reproduce_group, ["prue", *shlex.split(line), "-o", str(out)])
    assert found.exit_code == 2
    assert said in found.output
    assert not out.exists()


def test_a_blank_after_a_comma_is_no_part_of_a_name(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("selion.papers.request.reproduce", lambda _, it, **__: asked.append(it))
    for text in ("austria, denmark", " austria,denmark,austria,"):
        line = ["prue", "--quick", "-o", str(tmp_path), "-c", text]
        CliRunner().invoke(reproduce_group, line)
    assert [it.countries for it in asked] == [("austria", "denmark")] * 2
