"""Adapting a model: what is chosen and kept aside by hand, the whole road with a tiny network."""

import json
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from selion import models
from selion.classes import CROP
from selion.cli.main import cli
from selion.closerange import adapting
from selion.closerange.adaptation import (
    AdaptOptions,
    LabelWindow,
    begin_adaptation,
    declare_labels,
    mask_path,
    set_aside,
    window_name,
)
from selion.closerange.calibration import read_calibration
from selion.closerange.contest import Contender, Contest
from selion.closerange.given_masks import find_masks
from selion.closerange.informative import (
    PhotoLook,
    PhotoSurvey,
    choose_photos,
    look_at,
    survey_photos,
    time_left,
    windows_of,
)
from selion.closerange.measure import CropOptions, measure_photo
from selion.closerange.model import open_model
from selion.closerange.rule import ColourRule
from selion.data import load_dataset
from selion.data.photos import distinct, find_photos
from selion.data.values import read_mask
from selion.errors import BadInput, OutputExists, UnreadableFile
from selion.metrics import confusion
from selion.models import ModelCard, build_network
from selion.models.card import write_card
from selion.models.export import export
from selion.segmenter import InputSpec, Scaling
from selion.training import loop

SOIL, PLANT = (60, 120, 50), (150, 40, 60)
"""Green soil and red plants: what no colour rule can know."""


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def draw(seed, size=48):
    """A mask of one disc, and its photograph."""
    rng = np.random.default_rng(seed)
    row, column, reach = *rng.integers(12, size - 12, 2), rng.integers(6, 12)
    y, x = np.indices((size, size))
    ids = (np.hypot(y - row, x - column) < reach).astype(np.uint8)
    return ids, np.where(ids[..., None], PLANT, SOIL) + rng.integers(0, 12, (size, size, 3))


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Photographs with masks by plot and date, and a network that knows nothing."""
    folder = tmp_path_factory.mktemp("adapt")
    for k in range(6):
        ids, photo = draw(k)
        name = f"p{k // 2}_2024050{k + 1}"
        save(folder / "photos" / f"{name}.png", photo)
        save(folder / "masks" / f"{name}_mask.png", ids * 255)
    net = {"family": "fcn", "filters": 4}
    inputs = InputSpec(
        ("red", "green", "blue"), Scaling((255.0,), (0.0,), (0.0, 1.0)), window=32, multiple=1
    )
    card = ModelCard("blank", inputs, CROP, architecture=net, licence="CC0-1.0")
    export(build_network(net, 3, 2), card, folder / "blank")
    return folder


def look(key, worth, *features):
    return PhotoLook(key, (0, 0), (0, 0, 1, 1), worth, 0.0, features)


def test_windows_of_a_large_photograph():
    assert windows_of((1500, 1200)) == [(0, 0, 1500, 1200)]
    found = windows_of((3648, 5472))  # 3 x 5 of 1,024: 576 and 352 pixels are left
    assert len(found) == 15
    assert found[0] == (96, 35, 1120, 1059)
    assert found[-1] == (96 + 2 * 192 + 2048, 317 + 4096, 3552, 5437)  # 4.5 x 70.4 is 316.8
    assert windows_of((400, 2048)) == [(0, 0, 400, 1024), (0, 1024, 400, 2048)]


def test_near_duplicates_are_not_chosen_together():
    # nine photographs of one place, in much doubt, and three that are unlike them and each other
    looks = [look(f"same{k}", 0.9 + k / 100, 0.001 * k, 0.0) for k in range(9)]
    looks += [look("a", 0.1, 5.0, 0.0), look("b", 0.2, 0.0, 5.0), look("c", 0.3, 5.0, 5.0)]
    chosen = choose_photos(looks, 4)
    assert looks[chosen[0]].key == "same8"
    assert {looks[k].key for k in chosen[1:]} == {"a", "b", "c"}
    assert sorted(choose_photos(looks, 50)) == list(range(12))
    # of two that are equally far, the one in doubt
    doubted = choose_photos([look("m", 0.9, 0.0), look("x", 0.1, 1.0), look("y", 0.2, -1.0)], 2)
    assert doubted == [0, 2]


def test_what_is_kept_aside_parts_no_plot():
    files = [f"p{k % 4}_{k}.jpg" for k in range(16)]
    aside, groups, said = set_aside(files, AdaptOptions(pattern="{plot}_*"))
    assert len(aside) == 4
    learnt = {group for k, group in enumerate(groups) if k not in aside}
    assert learnt.isdisjoint(groups[k] for k in aside)
    assert "whole plots" in said
    assert (aside, groups, said) == set_aside(files, AdaptOptions(pattern="{plot}_*"))
    assert "whole dates" in set_aside([f"x_2024050{k}.jpg" for k in range(1, 9)], AdaptOptions())[2]
    assert "by lot" in set_aside(files, AdaptOptions())[2]
    plots = ["p1", "p1", "p2", "p2", "p3", "p3"]
    options = AdaptOptions(pattern="{plot}_*")
    for seed in range(6):  # of what was drawn so far: whole plots still, though keys tell none
        aside, groups, said = set_aside(list("abcdef"), replace(options, seed=seed), plots)
        assert len({plots[k] for k in aside}) * 2 == len(aside)
        assert "whole plots" in said
    nearly = set_aside(list("abc"), options, ["p1", "p1", "p1"])[2]
    assert "as one plot holds nearly all of them" in nearly
    with pytest.raises(BadInput, match="2 or more"):
        set_aside(files[:1], AdaptOptions())
    with pytest.raises(BadInput, match="fits none"):
        set_aside(files, AdaptOptions(pattern="q{plot}"))


def test_masks_find_their_photographs(tmp_path, trial):
    photos = find_photos(trial / "photos")
    found = find_masks(trial / "masks", photos, CROP)
    assert sorted(found.reads) == sorted(photo.key for photo in photos)
    ids = found.reads["p0_20240501"](_grid(48))
    assert (ids == draw(0)[0]).all()
    assert "255 is read as crop" in found.notes[0]
    save(tmp_path / "m" / "deep" / "p0_20240501.png", draw(0)[0])
    save(tmp_path / "m" / "none.png", draw(0)[0])
    less = find_masks(tmp_path / "m", photos, CROP)
    assert list(less.reads) == ["p0_20240501"]
    assert less.notes == (
        "1 masks have no photograph of the same name, or several, and are left out.",
    )
    save(tmp_path / "m" / "p0_20240501_mask.png", draw(0)[0])
    with pytest.raises(BadInput, match="both called"):
        find_masks(tmp_path / "m", photos, CROP)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="No mask"):
        find_masks(tmp_path / "empty", photos, CROP)
    with pytest.raises(UnreadableFile, match="no folder"):
        find_masks(tmp_path / "nothing", photos, CROP)


def test_a_mask_of_another_folder_is_not_taken(tmp_path):
    """Cameras begin to count anew: ``day2/IMG_2`` is another photograph than ``day1/IMG_2``."""
    for name in ("day1/IMG_1", "day1/IMG_2", "day2/IMG_1"):
        save(tmp_path / "photos" / f"{name}.png", draw(0)[1])
    photos = find_photos(tmp_path / "photos")
    for name in ("day1/IMG_1", "day2/IMG_2", "day2/IMG_2_mask", "day2/masks/IMG_2"):
        save(tmp_path / "m" / f"{name}.png", draw(0)[0])
    assert list(find_masks(tmp_path / "m", photos, CROP).reads) == ["day1/IMG_1"]
    save(tmp_path / "m" / "by_ada" / "IMG_2.png", draw(0)[0])  # a folder of no photographs
    found = find_masks(tmp_path / "m", photos, CROP)
    assert set(found.reads) == {"day1/IMG_1", "day1/IMG_2"}


def test_one_photograph_under_two_names_is_learnt_from_or_compared_on(tmp_path):
    for k in range(6):
        ids, pixels = draw(k)
        for name in (f"a{k}", f"z{k}") if k < 4 else (f"a{k}",):  # z: copies under another name
            save(tmp_path / "photos" / f"{name}.png", pixels)
            save(tmp_path / "masks" / f"{name}.png", ids)
    same_size = (tmp_path / "photos" / "a0.png").read_bytes()
    (tmp_path / "photos" / "b.png").write_bytes(same_size[:-1] + b"!")  # another file, not a copy
    said = []
    where = tmp_path / "photos", tmp_path / "out", tmp_path / "masks"
    begun = adapting.prepare_given(*where, AdaptOptions(kept=0.5), on_note=said.append)
    assert [one.key for one in begun.windows] == [f"a{k}" for k in range(6)]
    assert "4 photographs are copies of others under other names (z0.png is a0.png ...)" in said[0]
    copies = find_photos(tmp_path / "photos")
    assert [one.key for one in distinct(copies)[0]] == [*(f"a{k}" for k in range(6)), "b"]
    again = adapting.prepare_given(*where, AdaptOptions(kept=0.5))  # goes on, nothing "came since"
    assert again.windows == begun.windows


def test_what_a_photograph_leaves_transparent_is_not_learnt(tmp_path):
    """The black under it was taught as soil, as masks have 0 there."""
    for k in range(2):
        ids, photo = draw(k)
        alpha = np.full((48, 48, 1), 255)
        alpha[:6] = 0
        save(tmp_path / "photos" / f"{k}.png", np.dstack([photo, alpha]))
        save(tmp_path / "masks" / f"{k}.png", ids)
    where = tmp_path / "photos", tmp_path / "out", tmp_path / "masks"
    begun = adapting.prepare_given(*where, AdaptOptions(kept=0.5))
    for window in begun.windows:
        cut = read_mask(mask_path(begun, window))[0]
        assert (cut[:6] == 255).all()
        assert (cut[6:] == draw(int(window.key))[0][6:]).all()
    again = adapting.prepare_given(*where, AdaptOptions(kept=0.5))  # goes on, nothing "changed"
    assert again.windows == begun.windows


def test_masks_beside_their_photographs(tmp_path):
    for k in range(2):
        save(tmp_path / f"q{k}.png", draw(k)[1])
        save(tmp_path / f"q{k}_mask.png", draw(k)[0] * 255)
    found = find_masks(tmp_path, find_photos(tmp_path), CROP)
    assert sorted(found.reads) == ["q0", "q1"]
    assert (found.reads["q1"](_grid(48)) == draw(1)[0]).all()


def test_no_two_photographs_share_a_window():
    keys = ["a/b", "a__b", "a_/b", "a/_b", "a___b", "a/b/c", "a__b/c", "a/b__c"]
    assert len({window_name(key, (0, 0, 1, 1), whole=True) for key in keys}) == len(keys)
    assert window_name("a/b", (3, 4, 9, 9), whole=False) == "a__b@3-4"


def _grid(size):
    from selion.grid import photo_grid

    return photo_grid((size, size))


def test_photographs_are_looked_at_once(tmp_path, trial):
    photos = find_photos(trial / "photos")
    save(tmp_path / "broken.png", draw(0)[1])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    broken = replace(photos[0], path=tmp_path / "broken.png", file="broken.png", key="broken")
    looks, failed = survey_photos([*photos, broken], ColourRule(), _survey(tmp_path))
    assert failed == ["broken.png"]
    assert [one.key for one in looks] == [photo.key for photo in photos]
    assert looks[0].apart == 0  # a rule does not differ from itself
    again = _survey(tmp_path)
    assert again.looks == {one.key: one for one in looks}
    assert PhotoSurvey(tmp_path / "looks.jsonl", "another").looks == {}
    assert look_at(photos[0], ColourRule()) == looks[0]


def _survey(folder):
    return PhotoSurvey(folder / "looks.jsonl", "rule")


def contender(name, *answers, truth):
    found = tuple(confusion(t, a, CROP) for t, a in zip(truth, answers, strict=True))
    return Contender(name, name, found, answers)


def test_the_better_one_is_kept():
    truth = [np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8)]
    half = [np.array([[0, 1, 1, 1]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8)]
    # by hand: half has soil 4 of 6 and crop 2 of 4; the truth has all
    before, after = (
        contender("before", *half, truth=truth),
        contender("after", *truth, truth=truth),
    )
    assert before.miou == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert before.cover_error == pytest.approx(0.25)
    assert after.miou == 1
    shown = Contest(("a", "b"), CROP, (before, after), tuple(truth), ("a", "b"))
    assert shown.kept == "after"
    assert "0.583 before and 1.000 after (difference +0.417" in shown.sentence
    # two photographs favour the same model with a chance of 1 in 2 where none is better
    assert "too few photographs to tell that from luck" in shown.sentence
    six = replace(shown, keys=tuple("abcdef"), photos=tuple("abcdef"), truths=tuple(truth * 3))
    many = contender("before", *half * 3, truth=truth * 3)
    many = many, contender("after", *truth * 3, truth=truth * 3)
    assert "luck" not in replace(six, contenders=many).sentence
    worse = replace(before, name="after"), replace(after, name="before")
    assert replace(shown, contenders=worse).kept == "before"
    assert "is kept as it was" in replace(shown, contenders=worse).sentence
    # masks that are the start's own answer say nothing of what it has wrong
    assert "almost to the pixel" not in shown.sentence
    told = replace(shown, contenders=worse).sentence
    assert "Of 2 masks there 2 are the answer of after almost to the pixel" in told
    mixed = contender("before", truth[0], half[1], truth=truth)
    told = replace(shown, contenders=(mixed, after)).sentence
    assert "Of 2 masks there 1 is the answer of before almost to the pixel" in told
    rule = replace(after, name="colour-otsu", title="The rule")
    rivals = (replace(before, name="after"), rule)
    assert "The rule is better still (1.000)" in replace(shown, contenders=rivals).sentence


def test_the_whole_road(trial, tmp_path, monkeypatch):
    monkeypatch.setattr(adapting, "BATCHES", 2)
    out = tmp_path / "mine"
    words = ["crops", "adapt", str(trial / "photos"), "-o", str(out), "--minutes", "0.001"]
    words += ["--masks", str(trial / "masks"), "-m", str(trial / "blank"), "--pattern", "{plot}_*"]
    words += ["--mm-per-pixel", "0.5"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    numbers = json.loads((out / "comparison.json").read_text("utf-8"))
    kept = numbers["contenders"][numbers["kept"]]
    assert kept["miou"] == max(numbers["contenders"][n]["miou"] for n in ("before", "after"))
    assert set(numbers["contenders"]) == {"before", "after", "colour", "colour-otsu"}
    assert "2 of 6 photographs are kept aside" in done.output
    table = json.loads((out / "adapt.json").read_text("utf-8"))
    assert len({one["group"] for one in table["windows"] if one["aside"]}) == 1
    card = models.read_card(out)
    assert card.scores["kept aside"]["miou"] == pytest.approx(kept["miou"])
    assert ("learnt from" in card.notes) is (numbers["kept"] == "after")
    known = read_calibration(out)
    assert (known is not None) is (numbers["kept"] == "after")
    assert models.load_model(out).classes.names == CROP.names
    assert "photographs kept aside" in (out / "index.html").read_text("utf-8")
    # the same command finds it finished; another one is refused; the folder holds no photographs
    again = CliRunner().invoke(cli, words)
    assert "The training is finished." in again.output
    assert models.read_card(out) == card
    other = CliRunner().invoke(cli, [*words, "--seed", "4"])
    assert other.exit_code != 0
    assert "other seed" in str(other.exception)
    with pytest.raises(UnreadableFile, match="no photograph"):
        find_photos(tmp_path)


def test_the_minutes_are_held_where_steps_are_slower_than_measured(trial, tmp_path, monkeypatch):
    """Ten times as long was trained on a machine that others loaded after it was measured."""
    monkeypatch.setattr(adapting, "probe", lambda _plan: 1000.0)
    real, now, rates = loop._one_step, [0.0], []

    def slow(run, *rest):
        loss = real(run, *rest)
        rates.append(run.state.optimizer.param_groups[-1]["lr"])
        now[0] += 0.1
        return loss

    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "_one_step", slow)
    out = tmp_path / "mine"
    words = ["crops", "adapt", str(trial / "photos"), "-o", str(out), "--minutes", "0.03"]
    words += ["--masks", str(trial / "masks"), "-m", str(trial / "blank")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert 17 <= len(rates) <= 19  # of 0.1 s, in 1.8 s
    assert "and was ended there, as --minutes 0.03 says" in done.output
    # the learning rate came down to where a run ends, not to where its epochs stood
    assert rates[-1] < 0.2 * max(rates)
    steps = len(rates)
    assert "The training is finished." in CliRunner().invoke(cli, words).output
    assert len(rates) == steps


def test_what_cannot_be_adapted(trial, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(OutputExists, match="something else"):
        begin_adaptation(trial / "photos", tmp_path / "full", None, AdaptOptions(), force=True)
    for words, said in (
        (["-m", "colour"], "cannot learn"),
        (["-m", "fields-s2-2season"], "cannot be adapted"),
        (["--classes", "cropp"], "wanted is one of"),
    ):
        command = ["crops", "adapt", str(trial / "photos"), "-o", str(tmp_path / "x"), *words]
        done = CliRunner().invoke(cli, [*command, "--masks", str(trial / "masks")])
        assert said in done.output + str(done.exception)
        assert not (tmp_path / "x").exists()


def test_photographs_of_another_scale_are_flagged(trial, tmp_path):
    options = AdaptOptions(gsd=0.5)
    begun = begin_adaptation(tmp_path, tmp_path / "o", None, options)
    shutil.copytree(trial / "blank", tmp_path / "m")
    made = adapting._with_scale(begun, models.read_card(tmp_path / "m"), tmp_path / "m")
    write_card(made, tmp_path / "m" / "card.toml")
    model = open_model(str(tmp_path / "m"))
    assert model.known.gsd == (0.3, 0.75)  # 0.6 to 1.5 times 0.5 mm
    photo = find_photos(trial / "photos")[0]
    said = [measure_photo(photo, model, CropOptions(gsd=gsd)).row for gsd in (0.5, 2.0)]
    assert ["out of the model's scale" in row["reasons"] for row in said] == [False, True]
    plain = measure_photo(photo, open_model(str(trial / "blank"))).row
    assert (plain["cover_low"], plain["cover_high"]) == pytest.approx(
        (said[0]["cover_low"], said[0]["cover_high"])
    )
    assert "gsd" not in begin_adaptation(tmp_path, tmp_path / "p", None, AdaptOptions()).asked


def test_time_is_said_before_it_passes():
    assert time_left(0.5, 100) == ""
    assert "other 5,000 photographs takes about 67 minutes, at 0.8 s" in time_left(0.8, 5000)
    assert "2.0 hours" in time_left(1.44, 5000)


def test_windows_without_a_mask_taught_nothing(tmp_path):
    begun = begin_adaptation(tmp_path, tmp_path / "o", None, AdaptOptions())
    names = ("drawn", "left")
    windows = tuple(LabelWindow(one, one, (0, 0, 4, 4), aside=False) for one in names)
    begun = replace(begun, windows=windows)
    save(mask_path(begun, windows[0]), np.zeros((4, 4)))
    assert "learnt from 1 window " in adapting.scale_of(begun)


def test_masks_that_changed_since_are_not_passed_over(tmp_path):
    for k in range(3):
        save(tmp_path / "photos" / f"q{k}.png", draw(k)[1])
    for k in range(2):
        save(tmp_path / "masks" / f"q{k}.png", draw(k)[0])

    def begin():
        where = tmp_path / "photos", tmp_path / "out", tmp_path / "masks"
        return adapting.prepare_given(*where, AdaptOptions())

    assert [one.key for one in begin().windows] == ["q0", "q1"]
    assert begin().windows  # the same again goes on
    save(tmp_path / "masks" / "q2.png", draw(2)[0])
    with pytest.raises(OutputExists, match="other masks: q2 changed or came since"):
        begin()
    (tmp_path / "masks" / "q2.png").unlink()
    save(tmp_path / "masks" / "q1.png", 1 - draw(1)[0])
    with pytest.raises(OutputExists, match="other masks: q1"):
        begin()


def test_labels_of_a_licence_with_any_letter_are_a_data_set(tmp_path):
    """Emoji were written as JSON writes them, in two halves, which TOML does not know."""
    begun = SimpleNamespace(
        folder=tmp_path / "Äcker🌾",
        labels=tmp_path / "labels",
        options=SimpleNamespace(licence="für alle 🌾"),
    )
    Image.new("L", (8, 8)).save(_made(begun.labels / "masks") / "a.png")
    Image.new("RGB", (8, 8)).save(_made(begun.labels / "images") / "a.png")
    declare_labels(begun, [SimpleNamespace(name="a", aside=False, group="")], CROP)
    made = load_dataset(begun.labels)
    assert (made.name, made.licence, len(made)) == ("Äcker🌾", "für alle 🌾", 1)


def _made(folder):
    folder.mkdir(parents=True)
    return folder
