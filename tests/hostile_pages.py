"""Reports whose every name is markup: of plots, samples, people, models, photographs, districts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import shapely
from PIL import Image

MARK = "\"'></title></p><img src=x onerror=alert(1)><script>alert(2)</script><b onclick=a()>"
FILE = "<img src=x onerror=alert(3)>&lt;b onclick=a()"
"""A name that may be a file's."""
NAMED = "onerror=alert(3)"
"""What is to be read on a page that shows it."""


def write_photo(path: Path) -> None:
    """Write a photograph of plants whose EXIF is markup in every text that it has."""
    chance = np.random.default_rng(0)
    green = chance.random((40, 60, 1)) < 0.4
    colours = np.where(green, (60, 140, 50), (130, 100, 70)).astype(np.uint8)
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298):
        exif[tag] = MARK
    inner = exif.get_ifd(0x8769)
    for tag in (0x9003, 0x9286, 0xA433, 0xA434, 0xA420):
        inner[tag] = MARK
    exif.get_ifd(0x8825)[1] = MARK
    Image.fromarray(colours).resize((360, 240), Image.Resampling.NEAREST).save(path, exif=exif)


def crops(folder: Path) -> Path:
    from selion.closerange import ComputeOptions, measure_folder
    from selion.reports.photographs import write_gallery

    (folder / "in").mkdir(parents=True)
    write_photo(folder / "in" / f"{FILE}.jpg")
    (folder / "in" / f"{FILE}2.jpg").write_bytes(b"\xff\xd8\xff nothing")
    made = measure_folder(
        folder / "in", folder / "run", "colour", compute=ComputeOptions(workers=1)
    )
    return write_gallery(made)


def trial(folder: Path) -> Path:
    from selion.closerange import TrialOptions, read_trial
    from selion.reports.trial import write_page

    run, rows = folder / "run", []
    (run / "overlays").mkdir(parents=True)
    for k, cover in enumerate((0.02, 0.1, 0.4, 0.7, 0.78)):
        day = date(2024, 3, 1) + timedelta(days=9 * k)
        name = f"{FILE}_{day:%Y%m%d}_1.jpg"
        words = dict.fromkeys(("time", "latitude", "longitude", "thumb", "exg"), "")
        rows.append({
            "file": name, **words, "trust": "no" if k == 2 else "yes", "reasons": MARK,
            "cover": cover, "cover_low": 0, "cover_high": 1, "components": 3,
            "overlay": f"overlays/{name}",
        })  # fmt: skip
        write_photo(run / "overlays" / name)
    with (run / "crops.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = read_trial(run, TrialOptions(pattern="{plot}_{date}_*"))
    return write_page(found, folder, folder)


def plots(folder: Path) -> Path:
    from selion.reports.plots import write_page

    measured = {"cover": 0.4, "cover_low": 0.3, "cover_high": 0.5, "components": 3}
    write_photo(folder / f"{FILE}.jpg")
    row = {"plot": MARK, "trust": "no", "reasons": MARK, "picture": f"{FILE}.jpg", **measured}
    run = SimpleNamespace(
        rows=[row], plots=[SimpleNamespace(outline=shapely.box(0, 0, 1, 1))], image=MARK,
        model=MARK, about=MARK, gsd=0.004, untrusted=1, notes=[MARK],
        options=SimpleNamespace(buffer=0.1),
    )  # fmt: skip
    return write_page(run, folder)


def mapped(folder: Path) -> Path:
    from selion import fields
    from selion.pipeline import maps
    from selion.reports import maps as reported
    from selion.simulation.landscape import simulate

    scene = simulate(3, (48, 64), 10.0, "europe")
    frame = fields.to_fields(scene.instances)
    frame["confidence"] = np.linspace(0.3, 0.99, len(frame))
    frame["class"] = MARK
    details = {"image": MARK, "model": {"name": MARK, "files": {MARK: "0" * 64}}}
    facts = maps.summarise(frame)
    page = folder / f"{FILE}.report.html"
    return reported.write_report(
        scene.image, frame, page, facts=facts, notes=[MARK], details=details
    )


def training(folder: Path) -> Path:
    from report_pages import _recipe
    from selion.reports import training_run

    recipe = _recipe(MARK)
    history = [{"step": 1, "loss": 1.0, "lr": 0.1}, {"step": 2, "loss": 0.5, "lr": 0.1}]
    trained = SimpleNamespace(
        scores=None, history=history, engine=MARK, seconds=1.0, images_per_second=2.0, waited=0.1
    )
    card = SimpleNamespace(training=MARK, licence=MARK, name=MARK)
    plan = SimpleNamespace(recipe=recipe, samples=[1], validation=[])
    run = SimpleNamespace(trained=trained, plan=plan, card=card, beside=None, notes=[MARK])
    object.__setattr__(recipe, "name", MARK)
    page = folder / "report.html"
    page.write_text(training_run.to_html(run), "utf-8")
    return page


def evaluation(folder: Path) -> Path:
    from selion import fields
    from selion.evaluation import evaluate_files
    from selion.reports.evaluation import write_report
    from selion.simulation.landscape import simulate

    truth = fields.to_fields(simulate(3, (48, 64), 10.0, "europe").instances)
    truth["class"], truth["confidence"] = "field", 0.8
    for name in ("truth", FILE):
        fields.write_fields(truth, folder / f"{name}.parquet")
    report = evaluate_files([folder / f"{FILE}.parquet"], folder / "truth.parquet")
    return write_report(report, folder / FILE, force=True)[-1]


def change(folder: Path) -> Path:
    from selion.reports.change_maps import write_map_report

    outcomes = ["kept", "gone", "unknown"]
    counts = {"fields_before": 1, "fields_after": 1, "ha_before": 1.0, "ha_after": 1.0}
    districts = pd.DataFrame({"outcome": outcomes, **counts, "district": MARK})
    made = SimpleNamespace(
        years=(MARK, f"{MARK}2"), summary=pd.DataFrame({"outcome": [MARK], **counts}),
        maps=SimpleNamespace(rows=0), districts=districts, notes=[MARK], folder=folder,
        pixels=None, rule=None,
    )  # fmt: skip
    return write_map_report(made)


def screening(folder: Path) -> Path:
    from screening_scenes import write_scene
    from selion.labelling.decisions import Decision, content_hash
    from selion.reports.screening import write_report

    _, pseudo = write_scene(folder, 2)
    lines = []
    for k, path in enumerate(sorted((pseudo / "masks").rglob("*.png"))):
        key = path.relative_to(pseudo / "masks").with_suffix("").as_posix()
        for person, word in ((MARK[:60], "keep"), ("Ben", "reject")):
            said = Decision(
                f"{word}{k}", f"b{k}", key, word, person, "coarse", 0.2, "2025-06-01T09:30:12Z", "",
                content_hash(path),
            )  # fmt: skip
            lines.append(said.to_line())
    (pseudo / "decisions.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return write_report(pseudo)[1]


def estimate(folder: Path) -> Path:
    from selion.metrics.area_estimation import SampleEstimate
    from selion.reports.survey import to_html

    one = SampleEstimate(0.5, 0.1, 9)
    by_class = {"field": one_class(one), MARK: one_class(one)}
    found = SimpleNamespace(
        by_class=by_class, overall=one, classes=(MARK,), counts=np.ones((1, 2), int),
        matrix=np.full((1, 2), 0.5),
    )  # fmt: skip
    strata = (SimpleNamespace(name=MARK, mapped=0, units=9, drawn=5, district=MARK),)
    options = {"unit": 10.0, "least": 1, "seed": 0}
    design = SimpleNamespace(
        units=9, options=options, crs=MARK, area_km2=1.0, drawn=5, map=MARK, strata=strata
    )
    made = SimpleNamespace(
        whole=found, districts={MARK: found}, design=design, answered=(5,), alike=(True,),
        answers=SimpleNamespace(people=2, agreement=0.9), notes=(MARK,),
        hectares=lambda _district="": 100.0,
    )  # fmt: skip
    page = folder / "index.html"
    page.write_text(to_html(made), "utf-8")
    return page


def one_class(one):
    return SimpleNamespace(area=one, mapped=0.4, users=one, producers=one, f1=one, iou=one)


def sweep(folder: Path) -> Path:
    from selion.reports.sweep import SweepRow, Variant, write_sweep
    from selion.training.scoring import Scores

    rows = [
        SweepRow(
            Variant(f"{MARK}{k}", MARK, (MARK,)), folder / f"{FILE}{k}",
            Scores(("a", "b"), (MARK,) * 2, np.full((2, 6), 0.5 + k / 10)), 1.0,
        )
        for k in range(2)
    ]  # fmt: skip
    return write_sweep(rows, folder)


def history(folder: Path) -> Path:
    from change_scenes import GRID, write_year
    from selion.change import join_years
    from selion.reports.history import write_report

    ids = np.zeros(GRID.shape, np.int32)
    ids[4:20, 4:20], ids[30:50, 30:50] = 1, 2
    years = [write_year(folder / f"{FILE}{year}", ids, year=year) for year in (2023, 2024)]

    def refine(frame, _parts):
        return frame.assign(district=[f"{MARK}{k}" for k in range(len(frame))]), {}

    return write_report(join_years(years, folder / "out", refine=refine))


class Half:
    """A model that says soil on the left and crop on the right."""

    def __init__(self) -> None:
        from selion.classes import CROP
        from selion.segmenter import InputSpec, Scaling

        self.classes = CROP
        self.inputs = InputSpec(
            ("red", "green", "blue"), Scaling((255.0,)), window=32, overlap=0.0, multiple=8
        )

    def __call__(self, views):
        right = np.stack([np.indices(one.pixels.shape[1:])[1] >= 16 for one in views])
        return np.stack([~right, right], 1).astype(np.float32)


def selftraining(folder: Path) -> Path:
    from selion.classes import CROP
    from selion.labelling import (
        ComputedDepths,
        DepthOptions,
        keep_pseudo,
        label_photos,
        plan_selftraining,
    )
    from selion.labelling.selftrain import STAGE_1, STAGE_2, TRIMAP, make_trimaps
    from selion.reports.self_training import to_html
    from selion.reports.training_run import NUMBERS
    from selion.simulation.landscape import simulate_photo
    from selion.training.recipe import Data, Inputs, Recipe

    photos = folder / "photos"
    photos.mkdir(parents=True)
    photo = simulate_photo(5, (64, 96))
    Image.fromarray(np.moveaxis(photo.image.values, 0, -1)).save(photos / f"{FILE}.png")
    depth = ComputedDepths(lambda _: photo.depth, MARK)
    label_photos(photos, folder / "pseudo", depth, DepthOptions(find_full=False))
    recipe = Recipe(name=MARK, classes=CROP, data=Data(), input=Inputs(window=32))
    plan = plan_selftraining(recipe, keep_pseudo(folder / "pseudo", least=0.0))
    make_trimaps(plan, Half(), folder / "run" / TRIMAP)
    for stage in (STAGE_1, STAGE_2):
        (folder / "run" / stage).mkdir(parents=True)
        (folder / "run" / stage / NUMBERS).write_text(json.dumps({"scores": {MARK: 0.5}}))
    page = folder / "report.html"
    page.write_text(to_html(replace(plan, notes=(*plan.notes, MARK)), folder / "run"), "utf-8")
    return page


def adapted(folder: Path) -> Path:
    from selion.classes import CROP
    from selion.closerange.adaptation import LABELS
    from selion.closerange.contest import AFTER, BEFORE
    from selion.reports.adaptation import to_html

    (folder / LABELS / "images").mkdir(parents=True)
    write_photo(folder / LABELS / "images" / f"{FILE}.png")
    truth = np.indices((240, 360))[1] > 180
    ids = truth.astype(np.uint8)
    each = {
        name: SimpleNamespace(
            name=name, title=MARK, miou=0.5, iou=dict.fromkeys(CROP.names, 0.5), cover_error=0.1,
            each=np.array([0.5]), ids=[1 - ids],
        )
        for name in (BEFORE, AFTER)
    }  # fmt: skip
    contest = SimpleNamespace(
        contenders=tuple(each.values()), kept=AFTER, classes=CROP, keys=[FILE], photos=[MARK],
        truths=[ids], sentence=MARK, of=each.get,
    )  # fmt: skip
    done = SimpleNamespace(
        contest=contest, folder=folder, card=SimpleNamespace(training=MARK, licence=MARK),
        adaptation=SimpleNamespace(windows=(), photos=folder / FILE, said=MARK),
    )  # fmt: skip
    page = folder / "index.html"
    page.write_text(to_html(done), "utf-8")
    return page


def series(folder: Path) -> Path:
    from selion.reports.change_series import SHOWN, to_html

    counts = {"fields_before": 1, "fields_after": 1}
    summary = pd.DataFrame([{"outcome": name, **counts} for name in (*SHOWN, MARK)])
    step = SimpleNamespace(
        years=(MARK, FILE), summary=summary, folder=folder / FILE, rule=None, pixels=None
    )
    page = folder / "report.html"
    page.write_text(to_html(SimpleNamespace(steps=[step], folder=folder)), "utf-8")
    return page


def objects(folder: Path) -> Path:
    from selion.metrics.area_estimation import SampleEstimate
    from selion.reports.survey import MEANT, objects_to_html

    shares = dict.fromkeys(MEANT, SampleEstimate(0.5, 0.1, 9))
    strata = (SimpleNamespace(name=MARK, fields=9, hectares=1.0, drawn=5),)
    made = SimpleNamespace(
        design=SimpleNamespace(fields=9, strata=strata), answered=(5,), notes=(MARK,),
        by_number={"all": shares, MARK: shares}, by_area={"all": shares, MARK: shares},
    )  # fmt: skip
    page = folder / "index.html"
    page.write_text(objects_to_html(made), "utf-8")
    return page


def reproduced(write: Callable[[Path], Path], name: str, columns: str) -> Callable[[Path], Path]:
    """A page over tables whose every word is markup."""

    def make(folder: Path) -> Path:
        line = dict.fromkeys(columns.split(), "")
        line |= {key: MARK for key in ("row", "stand_in", "subset", "missing", "by", "stratum")
                 if key in line}  # fmt: skip
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(line))
            writer.writeheader()
            writer.writerow(line)
        return write(folder)

    return make


def photographs_scored(folder: Path) -> Path:
    from selion.reports.reproduction_photographs import write_photo_report

    columns = "row subset measure model ours low high paper paper_recomputed stand_in missing"
    return reproduced(write_photo_report, "table-4.csv", columns)(folder)


def landscapes_scored(folder: Path) -> Path:
    from selion.papers.landscape_tables import STRATA
    from selion.reports.reproduction_landscapes import HEADS, write_landscape_report

    return reproduced(
        lambda where: write_landscape_report(where, [MARK]), STRATA, f"{' '.join(HEADS)} stand_in"
    )(folder)


REPORTS: dict[str, Callable[[Path], Path]] = {
    "map": mapped,
    "train": training,
    "evaluate": evaluation,
    "change": change,
    "crops": crops,
    "trial": trial,
    "plots": plots,
    "screening": screening,
    "selftraining": selftraining,
    "estimate": estimate,
    "sweep": sweep,
    "history": history,
    "adapt": adapted,
    "change over years": series,
    "fields that are right": objects,
    "reproduce depthcropseg": photographs_scored,
    "reproduce magseg": landscapes_scored,
}
