"""A folder from photographs to tables: every stage real, runs that stop and go on, folders that
cannot serve, and the command line.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crops_toys import DeadlyWork
from selion.classes import CROP
from selion.cli.main import main
from selion.closerange import (
    ComputeOptions,
    CropOptions,
    measure_folder,
    measure_photo,
    open_model,
    work,
)
from selion.closerange.cover import Cover
from selion.closerange.journal import key_of, open_journal, stamp_of
from selion.closerange.measure import Measured, working_scale
from selion.closerange.model import PhotoModel
from selion.closerange.rule import ColourRule
from selion.closerange.run import FoundComponents
from selion.data.photos import PhotoFile, find_photos
from selion.errors import BadInput, OutputExists, OutputFailed, UnknownName, UnreadableFile
from selion.models import ModelCard, packaged_models
from selion.reports.photographs import write_gallery
from selion.segmenter import InputSpec
from selion.simulation.landscape import simulate_photo

MODEL = "colour"
ONE = ComputeOptions(workers=1)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def photo(path, seed=2, shape=(120, 160), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = simulate_photo(seed, shape).image.values.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(values)).save(path, **options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    photo(root / "one.JPG", 2)
    photo(root / "plot a" / "same.jpg", 3)
    photo(root / "plot b" / "same.png", 5)
    photo(root / "plot b" / "same.jpg", 5)
    (root / "plot b" / "cut.jpg").write_bytes((root / "one.JPG").read_bytes()[:2000])
    (root / "empty.png").write_bytes(b"")
    (root / "plot b" / "scan.jxl").write_bytes(b"\xff\x0a")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return measure_folder(
        folder,
        tmp_path_factory.mktemp("run") / "out",
        MODEL,
        CropOptions(gsd=0.5),
        ONE,
        use=write_gallery,
    )


def files_of(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------ results


def test_everything_is_there_and_what_failed_is_listed(run):
    assert files_of(run.folder) == sorted(
        [".finished.jsonl", "components.csv", "crops.csv", "failed.csv", "index.html", "run.json"]
        + [
            f"masks/{key}.png"
            for key in ("one", "plot a/same", "plot b/same.jpg", "plot b/same.png")
        ]
        + [
            f"{kind}/{key}.jpg"
            for kind in ("overlays", "thumbs")
            for key in ("one", "plot a/same", "plot b/same.jpg", "plot b/same.png")
        ]
    )
    assert [row["file"] for row in read(run.folder / "crops.csv")] == [
        "one.JPG",
        "plot a/same.jpg",
        "plot b/same.jpg",
        "plot b/same.png",
    ]
    failed = read(run.folder / "failed.csv")
    assert [row["file"] for row in failed] == ["empty.png", "plot b/cut.jpg", "plot b/scan.jxl"]
    assert "is empty" in failed[0]["why"]
    assert "truncated" in failed[1]["why"]
    assert "JPEG XL" in failed[2]["why"]
    facts = json.loads((run.folder / "run.json").read_text())
    assert (
        facts["photographs"],
        facts["failed"],
        facts["decided"]["model"]["name"],
        facts["decided"]["gsd"],
    ) == (4, 3, "colour", 0.5)
    assert facts["finished"]


def test_components_of_thousands_of_photographs_are_not_held(tmp_path):
    """20,000 photographs with some hundred plants each would be gigabytes of rows."""
    journal = open_journal(tmp_path / "out", {"model": "toy"})
    kept = []
    tracemalloc.start()
    try:
        for number in range(60):
            path = tmp_path / f"{number}.jpg"
            path.touch()
            photo = PhotoFile(path, path.name, path.stem)
            pieces = [{"file": path.name, "area": k, "x": k + number / 7} for k in range(300)]
            kept.append(journal.add(stamp_of(photo), Measured({"file": path.name}, pieces)))
            if number == 9:
                early = tracemalloc.get_traced_memory()[0]
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 60_000, "50 photographs of 300 components each, as dicts 4 MB"
    rows = FoundComponents(journal, tuple(kept))
    assert len(rows) == 60 * 300
    assert [row["area"] for row in rows] == [*range(300)] * 60
    assert rows[301] == {"file": "1.jpg", "area": 1, "x": 1 + 1 / 7}
    assert rows[-1] == rows[17_900:][-1] == {"file": "59.jpg", "area": 299, "x": 299 + 59 / 7}
    again = open_journal(tmp_path / "out", {"model": "toy"})
    assert [(one.row, one.count) for one in again.finished.values()] == [
        (one.row, one.count) for one in kept
    ]
    assert list(FoundComponents(again, tuple(again.finished.values()))) == list(rows)


def test_the_mask_is_the_rule_and_the_table_is_the_mask(run, folder):
    row = next(row for row in read(run.folder / "crops.csv") if row["file"] == "plot b/same.png")
    with Image.open(run.folder / row["mask"]) as image:
        assert image.mode == "P"
        assert bytes(image.getpalette()[:6]) == bytes.fromhex(
            "".join(CROP.colours).replace("#", "")
        )
        ids = np.asarray(image)
    photograph = np.asarray(Image.open(folder / "plot b" / "same.png")).transpose(2, 0, 1)
    assert np.array_equal(ids, ColourRule().mask(photograph))
    assert float(row["cover"]) == pytest.approx(ids.mean(), rel=1e-5)
    assert int(row["vegetation_px"]) == ids.sum()
    assert float(row["vegetation_cm2"]) == pytest.approx(ids.sum() * 0.0025, rel=1e-5)
    assert float(row["ground_cm2"]) == pytest.approx(ids.size * 0.0025, rel=1e-5)
    assert float(row["cover_low"]) <= float(row["cover"]) <= float(row["cover_high"])
    assert (int(row["width"]), int(row["height"])) == (160, 120)
    pieces = [
        piece for piece in read(run.folder / "components.csv") if piece["file"] == "plot b/same.png"
    ]
    assert len(pieces) == int(row["components"]) > 0
    assert sum(int(piece["area"]) for piece in pieces) == pytest.approx(
        ids.sum() * (1 - float(row["specks"])), abs=1
    )
    assert float(pieces[0]["area_cm2"]) == pytest.approx(int(pieces[0]["area"]) * 0.0025, rel=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (64, 100), (1, 1), (1030, 40)])
@pytest.mark.parametrize("rule", ["colour", "colour-otsu"])
def test_a_rule_looks_at_no_more_than_there_is(tmp_path, monkeypatch, shape, rule):
    """A photograph of 64 pixels was filled up to windows of 1,024."""
    place = photo(tmp_path / "small.png", shape=shape) if min(shape) > 8 else tmp_path / "small.png"
    if min(shape) <= 8:
        Image.fromarray(np.full((*shape, 3), (30, 200, 30), np.uint8)).save(place)
    asked = []
    answer = ColourRule.__call__

    def counting(self, views):
        asked.extend(view.pixels[0].size for view in views)
        return answer(self, views)

    monkeypatch.setattr(ColourRule, "__call__", counting)
    found = measure_photo(PhotoFile(place, "small.png", "small"), open_model(rule), out=None)
    edge = max(shape)
    assert sum(asked) <= max(edge * edge, 2 * 1024 * min(edge, 1024))
    asked.clear()
    wide = CropOptions(window=1024)  # as it was
    again = measure_photo(PhotoFile(place, "small.png", "small"), open_model(rule), wide)
    assert repr(again.row) == repr(found.row)  # nan is itself there
    assert sum(asked) >= 1024 * 1024


def test_cover_is_near_the_truth_of_a_simulated_photograph(run):
    row = next(row for row in read(run.folder / "crops.csv") if row["file"] == "plot b/same.png")
    truth = simulate_photo(5, (120, 160)).labels.ids.mean()
    assert float(row["cover"]) == pytest.approx(truth, abs=0.06)
    assert row["trust"] in ("yes", "no")
    assert (row["trust"] == "no") == bool(row["reasons"])


def test_overlays_show_the_photograph_and_the_outline(run):
    with Image.open(run.folder / "overlays" / "one.jpg") as image:
        assert image.size == (800, 600), "small photographs are enlarged by a whole number"
        yellow = np.asarray(image).astype(int)
    assert ((yellow[..., 0] > 200) & (yellow[..., 1] > 180) & (yellow[..., 2] < 120)).mean() > 0.005
    with Image.open(run.folder / "thumbs" / "one.jpg") as image:
        assert max(image.size) == 360


def test_page_has_every_photograph_the_doubted_first(tmp_path):
    photo(tmp_path / "in" / "a good & sharp #1.jpg", 2)
    Image.fromarray(np.full((80, 80, 3), 3, np.uint8)).save(tmp_path / "in" / "z dark.png")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"\xff\xd8\xffnothing")
    run = measure_folder(tmp_path / "in", tmp_path / "out", MODEL, compute=ONE, use=write_gallery)
    page = (run.folder / "index.html").read_text()
    assert page.index("z dark.png") < page.index("a good &amp; sharp #1.jpg")
    assert "underexposed" in page
    assert "thumbs/a%20good%20%26%20sharp%20%231.jpg" in page
    assert "bad.jpg" in page
    for link in ("crops.csv", "components.csv", "failed.csv"):
        assert f'href="{link}"' in page
    assert "<script" not in page
    assert run.untrusted == 1


def test_odd_sizes_alpha_and_marker(tmp_path):
    source = tmp_path / "in"
    for size in (1, 5, 63):
        photo(source / f"{size}.png", 2, (64, 64))
        with Image.open(source / f"{size}.png") as image:
            image.crop((0, 0, size, size)).save(source / f"{size}.png")
    values = simulate_photo(2, (64, 64)).image.values.transpose(1, 2, 0)
    alpha = np.zeros((64, 64, 1), np.uint8)
    alpha[32:] = 255
    Image.fromarray(np.dstack([values, alpha])).save(source / "alpha.png")
    Image.fromarray(np.dstack([values, alpha * 0])).save(source / "through.png")
    run = measure_folder(source, tmp_path / "out", MODEL, CropOptions(marker=50.0), compute=ONE)
    rows = {row["file"]: row for row in run.rows}
    assert sorted(rows) == ["1.png", "5.png", "63.png", "alpha.png"]
    assert run.failed == [
        ("through.png", "The image holds nothing but nodata: there is nothing to predict.")
    ]
    assert all("too small" in rows[f"{size}.png"]["reasons"] for size in (1, 5, 63))
    ids = np.asarray(Image.open(run.folder / "masks" / "alpha.png"))
    assert (ids[:32] == 255).all()
    assert rows["alpha.png"]["cover"] == pytest.approx((ids[32:] == 1).mean())
    assert run.notes == (
        "In 4 of 4 photographs no marker was found: their sizes are in pixels only.",
    )
    assert "no marker" in rows["alpha.png"]["notes"]


def test_marker_gives_the_scale_and_is_no_ground(tmp_path):
    from closerange.test_marker import place

    values = place(simulate_photo(2, (300, 400)).image.values, 60, (200, 150), 30)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0))).save(tmp_path / "in" / "a.png")
    run = measure_folder(
        tmp_path / "in", tmp_path / "out", MODEL, CropOptions(marker=30.0), compute=ONE
    )
    row = run.rows[0]
    assert row["scale_from"] == "marker"
    assert row["gsd_mm"] == pytest.approx(0.5, rel=0.015)
    ids = np.asarray(Image.open(run.folder / "masks" / "a.png"))
    assert ids[150, 200] == 255
    assert row["ground_cm2"] == pytest.approx((ids != 255).sum() * row["gsd_mm"] ** 2 / 100)
    assert run.components[0]["area_cm2"] == pytest.approx(
        run.components[0]["area"] * row["gsd_mm"] ** 2 / 100
    )


# ------------------------------------------------------------------------------------------- models


class Sides:
    """Three classes by place in the photograph, through windows that overlap."""

    classes = type(CROP)(("soil", "crop", "weed"), ("crop",))
    inputs = InputSpec(("red", "green", "blue"), window=64, overlap=0.25, multiple=1)

    def __call__(self, views):
        scores = np.full((len(views), 3, 64, 64), 0.1, np.float32)
        for k, view in enumerate(views):
            column = np.broadcast_to(np.arange(64) + view.roi[1].start, (64, 64))
            for name, where in enumerate(
                (column < 40, (column >= 40) & (column < 120), column >= 120)
            ):
                scores[k, name][where] = 0.8
        return scores


def fixed(segmenter, name="any"):
    return PhotoModel(name, name, {}, lambda _: segmenter)


def test_more_classes_and_a_second_opinion(tmp_path):
    path = photo(tmp_path / "a.png", 2, (100, 160))
    found = measure_photo(find_photos(path)[0], fixed(Sides()))
    assert found.row["cover"] == pytest.approx(0.75, abs=0.01)
    assert (found.row["cover_crop"], found.row["cover_weed"]) == (
        pytest.approx(0.5, abs=0.01),
        pytest.approx(0.25, abs=0.01),
    )
    assert found.row["rule_cover"] == pytest.approx(
        ColourRule().mask(np.asarray(Image.open(path)).transpose(2, 0, 1)).mean()
    )
    assert "disagrees with the colour rule" in found.row["reasons"]
    assert found.row["trust"] == "no"
    assert set(found.seconds) == {"decode", "predict", "traits", "write"}
    assert [piece["class"] for piece in found.components] == ["crop", "weed"], (
        "a crop that touches a weed is two objects"
    )
    assert [piece["component"] for piece in found.components] == [1, 2]
    crop, weed = found.components
    assert (crop["right"], weed["left"]) == (120, 120)
    assert (crop["touches_edge"], weed["touches_edge"]) == (1, 1)
    assert (found.row["components"], found.row["components_crop"]) == (2, 1)
    assert found.row["components_weed"] == 1
    alone = measure_photo(find_photos(path)[0], fixed(ColourRule()))
    assert {piece["class"] for piece in alone.components} <= {"crop"}
    assert "components_crop" not in alone.row, "one class: its components are the components"
    flipped = measure_photo(find_photos(path)[0], fixed(Sides()), CropOptions(scale=0.5, window=64))
    assert flipped.row["height"] == 100, (
        "whatever the model's scale, masks lie on the photograph's pixels"
    )


class Scaled(Sides):
    inputs = InputSpec(("red", "green", "blue"), gsd=(0.0005, 0.001), window=64, multiple=1)


@pytest.mark.parametrize(
    ("gsd", "scale", "factor", "doubt"),
    [
        (0.7, None, 1.0, ""),
        (0.25, None, 0.5, ""),
        (None, None, 1.0, "scale unknown"),
        (2.0, None, 2.0, "out of the model's scale"),
        (10.0, None, 3.0, "out of the model's scale"),
        (10.0, 8.0, 8.0, "out of the model's scale"),
        (0.25, 1.0, 1.0, "out of the model's scale"),
        (0.25, 0.4, 0.4, ""),
        (None, 0.5, 0.5, ""),
    ],
)
def test_scale_that_a_model_was_trained_on(gsd, scale, factor, doubt):
    found = working_scale(Scaled(), CropOptions(gsd=gsd, scale=scale), gsd)
    assert found[0] == pytest.approx(factor)
    assert doubt in found[1]
    assert bool(doubt) == bool(found[1])
    assert working_scale(Sides(), CropOptions(scale=scale), gsd) == (scale, "")


def test_models_by_name(monkeypatch, tmp_path):
    assert open_model("colour-otsu").fit(simulate_photo(2, (64, 64)).image).chromatic is not None
    with pytest.raises(UnknownName, match="no model called 'crops-rbg'"):
        open_model("crops-rbg")
    with pytest.raises(BadInput, match="takes 8 bands"):
        open_model("fields-s2-2season")
    from selion.closerange.model import default_model

    shipped = [card.name for card in packaged_models() if "crop" in card.classes.names]
    assert shipped == ["crops-rgb", "crops-wide"]
    assert default_model() == ("auto", "")
    cards = [
        ModelCard(name, InputSpec(("red", "green", "blue")), CROP, folder=tmp_path)
        for name in ("crops-rgb", "crops-wide")
    ]
    for there, wanted in ((cards, "auto"), (cards[:1], "crops-rgb"), (cards[1:], "colour")):
        monkeypatch.setattr("selion.models.list_models", lambda found=there: found)
        name, note = default_model()
        assert name == wanted
        assert ("crops-rgb is not installed" in note) == (wanted == "colour")


def test_each_photograph_is_measured_by_who_has_learnt_its_light(tmp_path):
    """The truth are the runs with one model each; what is dark, noisy or warm is made here."""
    scene = simulate_photo(6, (320, 320))
    plain = scene.image.values.astype(np.float64)
    rng = np.random.default_rng(0)
    light = {
        "day": plain,
        "dark": plain * 0.15,
        "noisy": plain + rng.normal(0, 40, plain.shape),
        "warm": plain * np.array([1.3, 1, 0.7])[:, None, None],
    }
    (tmp_path / "photos").mkdir()
    for name, values in light.items():
        shown = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        Image.fromarray(shown.transpose(1, 2, 0)).save(tmp_path / f"photos/{name}.png")
    runs = {
        model: measure_folder(tmp_path / "photos", tmp_path / str(model), model, compute=ONE)
        for model in (None, "crops-rgb", "crops-wide")
    }
    assert runs[None].model == "auto"
    masks = {
        model: {name: (tmp_path / f"{model}/masks/{name}.png").read_bytes() for name in light}
        for model in runs
    }
    assert all(masks["crops-rgb"][name] != masks["crops-wide"][name] for name in light)
    for row in runs[None].rows:
        name = row["file"].removesuffix(".png")
        who = "crops-rgb" if name == "day" else "crops-wide"
        if name != "day":
            assert masks[None][name] == masks[who][name]
        assert ("measured by crops-wide" in row["notes"]) == (who == "crops-wide")
    why = {row["file"]: row["notes"] for row in runs[None].rows}
    # in daylight greenness parts these plants as crops-rgb says, and outlines them better
    assert "outlined by excess green above" in why["day.png"]
    missed = [
        (np.asarray(Image.open(tmp_path / f"{model}/masks/day.png")) != scene.labels.ids).mean()
        for model in (None, "crops-rgb")
    ]
    assert missed[0] < missed[1]
    assert "there 56 to 173" in why["dark.png"]
    assert "noise" in why["noisy.png"]
    assert "red against green" in why["warm.png"]
    assert any(note.startswith("3 of 4 photographs are unlike") for note in runs[None].notes)
    coarse = measure_folder(
        tmp_path / "photos/day.png", tmp_path / "coarse", options=CropOptions(gsd=1.0), compute=ONE
    )
    assert "1 mm a pixel; there up to 0.8" in coarse.rows[0]["notes"]


# ---------------------------------------------------------------------------- stopping and going on


def stamps(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*.png")}


def test_finished_photographs_are_not_done_again(folder, tmp_path):
    out = tmp_path / "out"
    first = measure_folder(folder, out, MODEL, compute=ONE)
    before, table = stamps(out), (out / "crops.csv").read_bytes()
    again = measure_folder(folder, out, MODEL, compute=ONE)
    assert (first.reused, again.reused) == (0, 4)
    assert stamps(out) == before
    assert (out / "crops.csv").read_bytes() == table
    (out / "masks" / "one.png").unlink()
    with (out / ".finished.jsonl").open("a") as file:
        file.write('\n{"stamp": "half a line')
    assert measure_folder(folder, out, MODEL, compute=ONE).reused == 3
    assert (out / "crops.csv").read_bytes() == table


def test_changed_new_and_vanished_photographs(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    photo(source / "a.png", 2)
    photo(source / "b.png", 3)
    cover = {
        row["file"]: row["cover"] for row in measure_folder(source, out, MODEL, compute=ONE).rows
    }
    photo(source / "a.png", 5, (120, 168))
    photo(source / "c.png", 2)
    (source / "b.png").unlink()
    run = measure_folder(source, out, MODEL, compute=ONE)
    assert [row["file"] for row in run.rows] == ["a.png", "c.png"]
    assert run.reused == 0
    assert run.rows[0]["cover"] != cover["a.png"] == run.rows[1]["cover"]
    assert "not in the folder any more" in run.notes[0]
    assert [row["file"] for row in read(out / "crops.csv")] == ["a.png", "c.png"]


def test_another_model_or_option_is_refused_and_forced(folder, tmp_path):
    out = tmp_path / "out"
    measure_folder(folder, out, MODEL, compute=ONE)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(
        OutputExists, match=r"a run with another model colour instead of colour-otsu.*--force"
    ):
        measure_folder(folder, out, "colour-otsu", compute=ONE)
    with pytest.raises(OutputExists, match=r"gsd none instead of 0\.3"):
        measure_folder(folder, out, MODEL, CropOptions(gsd=0.3), compute=ONE)
    run = measure_folder(
        folder, out, MODEL, CropOptions(gsd=0.3, overlays=False), compute=ONE, force=True
    )
    assert run.reused == 0
    assert (out / "mine.txt").read_text() == "keep"
    assert not list((out / "overlays").rglob("*.jpg")), "what the other run wrote is gone"
    assert len(list((out / "masks").rglob("*.png"))) == 4
    assert run.rows[0]["gsd_mm"] == 0.3


def test_folders_that_cannot_serve(folder, tmp_path):
    with pytest.raises(BadInput, match="would lie among the photographs"):
        measure_folder(folder, folder, MODEL)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExists, match="holds no run of selion crops"):
        measure_folder(folder, tmp_path / "full", MODEL)
    for name in ("masks/a.png", "crops.csv", "run.json"):  # of somebody's own, without a run
        top = tmp_path / f"own-{name[0]}"
        own = top / name
        own.parent.mkdir(parents=True)
        own.write_text("{}")
        with pytest.raises(OutputExists, match="--force does not replace it"):
            measure_folder(folder, top, MODEL, compute=ONE, force=True)
        assert own.read_text() == "{}"
        assert [one for one in top.rglob("*") if one.is_file()] == [own]
    done = tmp_path / "done"  # by whom its run.json cannot be read is told to delete it
    measure_folder(folder, done, MODEL, compute=ONE)
    (done / "run.json").write_text("{")
    with pytest.raises(UnreadableFile, match="delete it"):
        measure_folder(folder, done, MODEL, compute=ONE, force=True)
    (done / "run.json").unlink()
    measure_folder(folder, done, MODEL, compute=ONE, force=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputFailed, match="is a file; wanted is a folder"):
        measure_folder(folder, tmp_path / "file", MODEL)
    with pytest.raises(OutputFailed, match="is not a folder"):
        measure_folder(folder, tmp_path / "file" / "out", MODEL)
    (tmp_path / "none").mkdir()
    with pytest.raises(UnreadableFile, match="no photograph"):
        measure_folder(tmp_path / "none", tmp_path / "out", MODEL)
    assert not (tmp_path / "out").exists()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("{")
    with pytest.raises(UnreadableFile, match=r"run\.json cannot be read"):
        measure_folder(folder, tmp_path / "odd", MODEL)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the super-user may write everything"
)
def test_unwritable_output(folder, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputFailed, match="no permission"):
        measure_folder(folder, tmp_path / "locked" / "out", MODEL)
    with pytest.raises(OutputFailed, match="no permission"):
        measure_folder(folder, tmp_path / "locked", MODEL)


def test_disk_that_fails_stops_the_run_and_not_the_photograph(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OutputFailed("no space left")

    monkeypatch.setattr("selion.closerange.overlay.write_mask", full)
    with pytest.raises(OutputFailed, match="no space"):
        measure_folder(folder, tmp_path / "out", MODEL, compute=ONE)


def test_a_gray_photograph_is_a_row_that_is_not_trusted(tmp_path):
    """As one of three equal colours is; a scanner's or night camera's must not end as a refusal."""
    place = tmp_path / "in" / "a.png"
    gray = Image.open(photo(place)).convert("L")
    gray.save(place)
    gray.convert("RGB").save(tmp_path / "in" / "b.png")
    Image.fromarray(np.asarray(gray).astype("uint16") * 257).save(tmp_path / "in" / "c.png")
    done = measure_folder(tmp_path / "in", tmp_path / "out", "crops-rgb", compute=ONE)
    rows = read(done.folder / "crops.csv")
    assert [row["file"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert not done.failed
    assert {row["trust"] for row in rows} == {"no"}
    assert all(row["reasons"].startswith("no colour") for row in rows)
    assert len({(row["cover"], row["reasons"]) for row in rows}) == 1


def test_nothing_could_be_measured(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"")
    with pytest.raises(
        BadInput,
        match=(
            r"None of 1 photographs could be measured \(see .*failed.csv\); the first one: a.jpg: "
            r"a.jpg is empty"
        ),
    ):
        measure_folder(tmp_path / "in", tmp_path / "out", MODEL, use=write_gallery)
    assert len(read(tmp_path / "out" / "failed.csv")) == 1
    assert "a.jpg is empty" in (tmp_path / "out" / "index.html").read_text()


def test_photographs_beside_their_results_are_not_measured_twice(tmp_path):
    photo(tmp_path / "a.png")
    run = measure_folder(tmp_path, tmp_path / "crops", MODEL, compute=ONE)
    again = measure_folder(tmp_path, tmp_path / "crops", MODEL, compute=ONE)
    assert len(run.rows) == len(again.rows) == 1
    assert len(measure_folder(tmp_path, tmp_path / "other", MODEL, compute=ONE).rows) == 1, (
        "results of other runs are no photographs either"
    )
    single = measure_folder(tmp_path / "a.png", tmp_path / "single", MODEL)
    assert single.rows[0]["cover"] == run.rows[0]["cover"]


@pytest.mark.parametrize(
    "bad",
    [
        {"gsd": 0.2, "marker": 50.0},
        {"gsd": 0.0},
        {"marker": -1.0},
        {"scale": float("nan")},
        {"min_area": 0},
    ],
)
def test_options_that_cannot_be(bad):
    with pytest.raises(BadInput):
        CropOptions(**bad)


def test_workers(folder, tmp_path):
    with pytest.raises(BadInput, match="0 workers"):
        measure_folder(folder, tmp_path / "out", MODEL, compute=ComputeOptions(workers=0))
    assert work.choose_workers(None, 1) == 1
    assert work.choose_workers(64, 3) == 3


@pytest.mark.slow
def test_workers_that_cannot_start_are_told(tmp_path):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "b.png")
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from selion.closerange import ComputeOptions, measure_folder\n"
        "folder, out = map(Path, sys.argv[1:])\n"
        f"measure_folder(folder, out, {MODEL!r}, compute=ComputeOptions(2))\n"
    )
    given = [sys.executable, str(script), str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 1
    assert "Worker processes cannot start here" in done.stderr.splitlines()[-1]


def test_a_list_of_an_earlier_version_is_gone_on_with(folder, tmp_path):
    out = tmp_path / "out"
    measure_folder(folder, out, MODEL, compute=ONE)
    lines = (out / ".finished.jsonl").read_text().splitlines()
    (out / ".finished.jsonl").write_text("".join("\n" + line for line in lines[:3]))
    assert measure_folder(folder, out, MODEL, compute=ONE).reused == 3
    assert measure_folder(folder, out, MODEL, compute=ONE).reused == 4


def test_key_is_of_plain_values():
    assert key_of({"a": 1, "b": None}) == key_of({"b": None, "a": 1}) != key_of({"a": 1, "b": 0})


# ---------------------------------------------------------------------------------------- processes


def test_a_photograph_that_kills_its_process_is_told(tmp_path, monkeypatch):
    for k in range(5):
        photo(tmp_path / "in" / f"{k}.png", k, (48, 64))
    photo(tmp_path / "in" / "killer.png", 2, (48, 64))
    monkeypatch.setattr("selion.closerange.run.PhotoWork", DeadlyWork)
    run = measure_folder(
        tmp_path / "in", tmp_path / "out", MODEL, compute=ComputeOptions(workers=2)
    )
    assert [row["file"] for row in run.rows] == [f"{k}.png" for k in range(5)]
    assert run.failed[0][0] == "killer.png"
    assert "ended the process" in run.failed[0][1]


# ------------------------------------------------------------------------------------- command line


def command(*arguments):
    return [sys.executable, "-m", "selion.cli.main", "crops", *map(str, arguments)]


def refusal(capsys, *arguments):
    """Run the command line in this process; return its one sentence."""
    with pytest.raises(SystemExit) as stop:
        main(["crops", *map(str, arguments)])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_command_line_in_two_processes_is_the_same_table(run, folder, tmp_path, capsys):
    out = tmp_path / "out"
    given = command(folder, "-o", out, "-m", MODEL, "--mm-per-pixel", "0.5", "--workers", 2)
    done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    assert "failed: empty.png: empty.png is empty" in done.stderr
    for name in ("crops.csv", "components.csv", "failed.csv"):
        assert (out / name).read_bytes() == (run.folder / name).read_bytes()
    sentence = refusal(capsys, folder, "-o", out, "-m", MODEL, "--marker", 40)
    assert sentence.startswith("Error: ")
    assert "gsd 0.5 instead of none" in sentence


def test_command_line_says_what_it_did(folder, tmp_path, capsys):
    main(
        ["crops", str(folder), "-o", str(tmp_path / "out"), "-m", MODEL, "--workers", "1", "--json"]
    )
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events} == {"progress", "done"}
    assert events[-1]["photographs"] == 4
    assert [failure["file"] for failure in events[-1]["failures"]] == [
        "empty.png",
        "plot b/cut.jpg",
        "plot b/scan.jxl",
    ]
    assert [event["done"] for event in events[:-1]] == list(range(7)), (
        "one step for each photograph"
    )


def test_a_folder_called_photos_is_that_folder(tmp_path, monkeypatch, capsys):
    """And not the verb of the same name: it is what most people call it."""
    photo(tmp_path / "photos" / "a.png", shape=(32, 40))
    monkeypatch.chdir(tmp_path)
    main(["crops", "photos", "-o", "out", "-m", "colour", "-q"])
    assert capsys.readouterr().out.strip() == "out"
    assert len(read(tmp_path / "out" / "crops.csv")) == 1
    (tmp_path / "photos").rename(tmp_path / "plots")
    assert "selion crops FOLDER -o OUT" in refusal(capsys, "photos", "-o", "other")


def test_command_line_prints_a_marker_and_says_what_is_missing(tmp_path, capsys):
    main(["crops", "--print-marker", str(tmp_path / "m.png"), "--marker", "20"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "m.png")
    assert (tmp_path / "m.png").is_file()
    assert "selion crops FOLDER -o OUT" in refusal(capsys, tmp_path)
    assert "exists already" in refusal(capsys, "--print-marker", tmp_path / "m.png")
    assert "no model called 'color': did you mean 'colour'?" in refusal(
        capsys, photo(tmp_path / "in" / "a.png").parent, "-o", tmp_path / "out", "-m", "color"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes to a process group")
def test_ctrl_c_leaves_nothing_half_and_the_same_command_goes_on(tmp_path):
    for k in range(8):
        photo(tmp_path / "in" / f"{k}.png", k % 3, (120, 160))
        with Image.open(tmp_path / "in" / f"{k}.png") as image:
            image.resize((1000, 750)).save(tmp_path / "in" / f"{k}.png", compress_level=1)
    out = tmp_path / "out"
    with subprocess.Popen(
        command(tmp_path / "in", "-o", out, "-m", MODEL, "--workers", 2),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        limit = time.monotonic() + 600
        while (
            not list(out.glob("masks/[0-9]*.png"))
            and time.monotonic() < limit
            and process.poll() is None
        ):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=600)[1].decode()
    assert process.returncode == 130, said
    assert "continues from here" in said
    assert "Traceback" not in said
    assert not [
        name
        for name in files_of(out)
        if Path(name).name.startswith(".") and name != ".finished.jsonl"
    ], "no temporary files"
    assert not (out / "crops.csv").exists()
    for path in out.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (1000, 750)
            image.load()
    finished = len([line for line in (out / ".finished.jsonl").read_text().splitlines() if line])
    run = measure_folder(tmp_path / "in", out, MODEL, compute=ONE)
    assert len(run.rows) == 8
    assert run.reused == finished


def test_what_is_known_of_the_models_that_ship():
    """Their cards name the file, so that a change of it is a wrong checksum."""
    own, wide, both = (open_model(name).known for name in ("crops-rgb", "crops-wide", "auto"))
    assert own is not None and wide is not None and both is not None  # noqa: PT018
    cover = Cover(0.4, 0.4, 0.3, 0.6, 0.1)
    assert own.interval(cover) == cover, "the model's own: of its scale alone is something known"
    assert (own.gsd, own.ranges) == ((0.05, 1.1), {})
    assert wide.photographs == 262
    stretched = both.interval(cover)
    assert stretched.low == pytest.approx(0.4 - 0.281 * (0.02 + 0.1))
    assert stretched.high == pytest.approx(0.4 + 0.281 * (0.02 + 0.2))
    for name in ("crops-rgb", "crops-wide"):
        assert "photographs.json" in open_model(name).key["files"]
