"""Every command of docs/reproduce.md is run: on a tiny sample, with a formula for all networks."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from landscape_scenes import drawn_instead, told
from selion.classes import CROP, FTW3, ClassScheme
from selion.cli.main import cli
from selion.data import load_dataset
from selion.papers import (
    landscape_stand_ins,
    landscapes,
    photo_stand_ins,
    photographs,
    quick,
    request,
)
from selion.papers.landscape_stand_ins import make_holdings
from selion.papers.results import FoundModel
from selion.papers.speed import SpeedOptions
from selion.segmenter import InputSpec, Scaling, as_model
from selion.simulation import holdings
from selion.simulation.chips import ChipOptions, write_chips
from selion.simulation.holdings import HoldingOptions
from selion.simulation.photographs import PhotographOptions, write_photographs

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "reproduce.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]
VERBS = [line for line in COMMANDS if line.startswith("selion ")]
SCRIPTS = [line for line in COMMANDS if line.startswith("python runs/")]
SMALL = ChipOptions(("austria", "denmark", "kenya"), (1, 0, 1), 64)
PHOTOS = PhotographOptions(labelled=1, unlabelled=1, test=1, shape=(64, 64))
HOLDINGS = HoldingOptions((1, 1, 1))
SAID = "stand-in, not the paper's model: a test's"


TWO_DATES = InputSpec(
    tuple(f"window_{w}:{c}" for w in "ba" for c in ("red", "green", "blue", "nir")),
    Scaling((3000.0,)),
    window=64,
    multiple=1,
)
COLOURS = InputSpec(("red", "green", "blue"), Scaling((255.0,)), window=64, multiple=1)
CARD = """name = "{}"
[inputs]
bands = ["red"]
[classes]
names = ["background", "field"]
things = ["field"]
"""


@dataclass(frozen=True)
class Greenness:
    """Fields where the later date is greener than half of all pixels; borders where it changes."""

    inputs: InputSpec = TWO_DATES
    classes: ClassScheme = FTW3

    def __call__(self, views):
        """Return (view, class, y, x) float32."""
        found = []
        for view in views:
            red, nir = view.pixels[0].astype(np.float32), view.pixels[3].astype(np.float32)
            green = (nir - red) / (nir + red + 1)
            field = np.clip(green - np.median(green) + 0.4, 0, 1)
            edge = np.clip(np.hypot(*np.gradient(green)) * 4, 0, 1)
            shares = np.stack([1 - field, field, edge])
            found.append(shares / shares.sum(0))
        return np.stack(found).astype(np.float32)


@dataclass(frozen=True)
class Greens:
    """Crop where green is more than red."""

    inputs: InputSpec = COLOURS
    classes: ClassScheme = CROP

    def __call__(self, views):
        """Return (view, class, y, x) float32."""
        crop = np.stack([view.pixels[1] > view.pixels[0] for view in views])
        return np.stack([~crop, crop], 1).astype(np.float32)


def load_greens(path, engine="auto", *, threads=None):
    assert Path(path, "card.toml").is_file()
    return as_model(Greens())


def load(path, engine="auto", *, fast=False, threads=None):
    """Give the formula for any folder."""
    assert Path(path, "card.toml").is_file()
    return as_model(Greenness())


def made(folder, name):
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text(CARD.format(name))
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what the page's commands name."""
    desk = tmp_path_factory.mktemp("desk")
    write_chips(desk / "ftw", SMALL)
    write_photographs(desk / "photos", PHOTOS)
    for name in ("weights/ftw-v1", "weights/prue-b7", "my-model", "my-crops"):
        made(desk / name, Path(name).name)
    chips = load_dataset(desk / "ftw").select("test", ("austria", "denmark"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick, "load_model", load)
        quick.make_maps(FoundModel(desk / "my-model"), chips, desk / "maps")
    (desk / "maps" / "austria.parquet").rename(desk / "maps" / "rwanda-2023.parquet")
    (desk / "maps" / "austria.geojson").rename(desk / "maps" / "rwanda.geojson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holdings, "simulate_holding", drawn_instead)
        make_holdings(desk / "images", HOLDINGS)
    made(desk / "RUNS" / "sft-4b", "sft-4b")
    made(desk / "RUNS" / "vietnam" / "grpo-4b", "grpo-4b")
    (desk / "census.csv").write_text("country,fields,area_ha\nrwanda,50,20.5\ndenmark,9,\n")
    return desk


@pytest.fixture
def tiny(monkeypatch, desk):
    """Make what takes long short; what is trained is tested beside this."""

    def stand_ins(models, data, folder, **_):
        one = folder / "one" if (folder / "one").is_dir() else made(folder / "one", "one")
        return {model.key: FoundModel(one, SAID) for model in models}

    def landscape_models(keys, sample, trained, folder, **_):
        one = made(folder / trained, "one")
        return {key: FoundModel(one, SAID) for key in keys if key in landscape_stand_ins.TEXT}

    for name in ("run", "figures", "quick", "landscape_cost"):
        monkeypatch.setattr(f"selion.papers.{name}.load_model", load)
    monkeypatch.setattr(photographs, "load_model", load_greens)
    monkeypatch.setattr(photo_stand_ins, "PhotographOptions", lambda: PHOTOS)
    monkeypatch.setattr(photo_stand_ins, "make_photo_stand_ins", stand_ins)
    monkeypatch.setattr(quick, "SAMPLE", SMALL)
    monkeypatch.setattr(holdings, "simulate_holding", drawn_instead)
    monkeypatch.setattr(landscape_stand_ins, "HoldingOptions", lambda: HOLDINGS)
    monkeypatch.setattr(landscape_stand_ins, "make_landscape_stand_ins", landscape_models)
    monkeypatch.setattr(landscapes, "load_refined", lambda name, *_a, **_k: told(name))
    monkeypatch.setattr(request, "make_stand_ins", stand_ins)
    monkeypatch.setattr(
        request, "SpeedOptions", lambda **given: SpeedOptions(**given | {"seconds": 0.01})
    )
    monkeypatch.chdir(desk)


def run(line):
    found = CliRunner().invoke(cli, shlex.split(line)[1:])
    assert found.exit_code == 0, f"{line}: {found.output}"
    return found


def rows(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_has_commands_for_every_table_and_figure():
    text = "\n".join(VERBS)
    assert {f"--table {n}" for n in range(1, 7)} <= set(re.findall(r"--table \d", text))
    assert {"--figure 6", "--figure 7"} <= set(re.findall(r"--figure \d", text))
    assert set(COMMANDS) == {*VERBS, *SCRIPTS}


@pytest.mark.parametrize("line", VERBS)
def test_verbs_of_the_page_run(line, tiny, desk):
    run(line)
    out = re.search(r"-o (\S+)", line)
    if out:
        page = (desk / out[1] / "report.html").read_text("utf-8")
        assert "<table>" in page or "<svg" in page
        assert ("not the paper" in page) == ("--quick" in line)


@pytest.mark.parametrize("line", SCRIPTS)
def test_scripts_of_the_page_know_their_options(line, monkeypatch, capsys):
    script, *words = shlex.split(line)[1:]
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPO / script), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert [word for word in words if word.startswith("-") and word not in said] == []


def test_quick_makes_every_table_and_names_stand_ins(tiny, desk):
    out = desk / "quick"
    if not out.is_dir():  # the page's first command made it, where that ran before
        run("selion reproduce prue --quick -o quick")
    for number in (1, 2, 4, 5, 6):
        lines = rows(out / f"table-{number}.csv")
        scored = {line["row"] for line in lines if line["ours"]}
        assert scored == {line["row"] for line in lines}, number
        assert {line["stand_in"] for line in lines} == {SAID}
    assert {line["stand_in"] for line in rows(out / "figure-6.csv")} == {SAID}
    assert {line["country"] for line in rows(out / "figure-6.csv")} == {
        "austria", "denmark", "kenya",
    }  # fmt: skip
    assert {line["country"] for line in rows(out / "figure-7.csv")} == {"austria", "denmark"}
    assert all(SAID in line["note"] for line in rows(out / "table-3.csv") if line["map"])
    page = (out / "report.html").read_text("utf-8")
    for number in range(1, 7):
        assert f"Table {number}: " in page
    assert page.count("<svg") == 2
    assert "Throughput" in page
    assert page.count("(stand-in)") > 60


def test_finished_work_is_taken_again_and_outputs_are_not_replaced(tiny, desk):
    line = "selion reproduce prue --table 3 --figure 6 --figure 7 --quick -q -o again"
    run(line)
    first = {path.name: path.read_bytes() for path in (desk / "again").iterdir() if path.is_file()}
    refused = CliRunner().invoke(cli, shlex.split(line)[1:])
    assert refused.exit_code != 0
    assert "table-3.csv" in str(refused.exception or refused.output)
    run(f"{line} --force")
    again = {path.name: path.read_bytes() for path in (desk / "again").iterdir() if path.is_file()}
    assert again == first  # speeds too: a time is measured once


def test_a_census_is_laid_beside_maps(tiny, desk):
    run("selion reproduce prue --table 3 --maps maps --census census.csv -q -o census")
    maps = {line["country"]: line for line in rows(desk / "census" / "table-3.csv") if line["map"]}
    census = rows(desk / "census" / "census.csv")
    assert [(line["country"], line["measure"], line["census"]) for line in census] == [
        ("rwanda", "fields", "50"), ("denmark", "fields", "9"), ("rwanda", "area_ha", "20.5"),
    ]  # fmt: skip
    assert float(census[0]["ours"]) == round(float(maps["rwanda"]["fields_m"]) * 1e6)
    assert {line["r2"] for line in census} == {""}  # two points are no line
    outline = json.loads((desk / "maps" / "rwanda.geojson").read_text("utf-8"))
    assert outline["features"][0]["geometry"]["type"] == "Polygon"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--table 1 --quick --census census.csv", "it is for --table 3"),
        ("--table 3 --census census.csv", "add --maps"),
        ("--table 3 --data sample --census census.csv", "add --maps"),
        ("--table 3 --maps weights", "No map lies in"),
        ("--table 3 --maps maps --census maps/rwanda.geojson", "country"),
        ("--figure 6 --countries austria", "--data"),
    ],
)
def test_what_cannot_be_made_is_refused(line, said, tiny):
    found = CliRunner().invoke(cli, shlex.split(f"reproduce prue -o refused {line}"))
    assert found.exit_code != 0
    assert said in f"{found.exception} {found.output}"
    if "add --maps" in said:  # before anything is scored or written
        assert not Path("refused").exists()
