"""Makes every report page once, from runs as small as they can be."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from change_scenes import boxes, write_picture, write_year
from selion.classes import CROP
from selion.simulation.landscape import simulate, simulate_photo

TINY = {
    "family": "unet",
    "encoder": "tu-test_resnet",
    "encoder_depth": 3,
    "decoder_channels": [8, 8, 8],
}
SIZE = (64, 96)


def pictures(path):
    """The pictures of the sliders of a page, as arrays, by what they are of."""
    found = {}
    for source, alternative in re.findall(
        r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]*)"', path.read_text()
    ):
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
        found.setdefault(alternative, image)
    return found


def save(photo, root: Path, key: str, *, mask: bool = True) -> None:
    for folder, values in (
        ("images", np.moveaxis(photo.image.values, 0, -1)),
        ("masks", photo.labels.ids),
    ):
        if folder == "images" or mask:
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{key}.png")


def map_page(folder: Path) -> Path:
    from selion import fields
    from selion.pipeline import maps
    from selion.reports import maps as mapped

    scene = simulate(3, (96, 128), 10.0, "europe")
    frame = fields.to_fields(scene.instances)
    frame["confidence"] = np.linspace(0.3, 0.99, len(frame))
    notes = ("Model toy (Apache-2.0).", "The image's pixels are 10 m on the ground.")
    details = {
        "image": "a/very/long/name/" * 12 + "image.tif",
        "model": {"name": "toy", "files": {"model.onnx": "0" * 64}},
    }
    return mapped.write_report(
        scene.image,
        frame,
        folder / "map.report.html",
        facts=maps.summarise(frame),
        notes=notes,
        details=details,
    )


def evaluation_page(folder: Path) -> Path:
    from selion import fields
    from selion.evaluation import evaluate_files
    from selion.reports.evaluation import write_report

    scene = simulate(3, (96, 128), 10.0, "europe")
    truth = fields.to_fields(scene.instances)
    prediction = truth.iloc[: 2 * len(truth) // 3].copy()
    prediction["geometry"] = prediction.geometry.buffer(-8)
    prediction["confidence"] = np.linspace(0.2, 1, len(prediction))
    for name, frame in (("truth", truth), ("prediction", prediction)):
        fields.write_fields(frame, folder / f"{name}.gpkg", force=True)
    report = evaluate_files(
        [folder / "prediction.gpkg", folder / "truth.gpkg"], folder / "truth.gpkg"
    )
    return write_report(report, folder / "evaluation", force=True)[-1]


def training_page(folder: Path) -> Path:
    from selion import training
    from selion.reports import training_run

    return (
        training_run.run(
            training.plan_training(_recipe(_photos(folder))), folder / "training", force=True
        ).card.folder.parent
        / "report.html"
    )


def _photos(folder: Path) -> Path:
    for split, seeds in (("train", (0, 6)), ("val", (9, 10))):
        for seed in seeds:
            save(simulate_photo(seed, SIZE), folder / "labelled" / split, f"{split}{seed}")
    return folder / "labelled"


def _recipe(dataset: Path | str):
    from selion.training.recipe import (
        Augment,
        Crops,
        Data,
        Hardware,
        Inputs,
        Loss,
        Model,
        Recipe,
        Schedule,
        Validate,
    )

    return Recipe(
        name="tiny-crops",
        classes=CROP,
        data=Data(str(dataset), truth="labels"),
        input=Inputs(window=32),
        model=Model(TINY),
        loss=Loss("ce"),
        augment=Augment(d4=1.0),
        crops=Crops("random", per_epoch=4),
        schedule=Schedule(epochs=2, batch=2, lr=1e-2, per="step"),
        validate=Validate(every=1, method="pixels"),
        hardware=Hardware("cpu", "float32", threads=1, workers=0),
    )


def sweep_page(folder: Path) -> Path:
    from selion.reports import sweep

    spec = _recipe(_photos(folder))
    from selion import training
    from selion.models.toml import to_toml

    (folder / "r.toml").write_text(
        to_toml(training.recipe_table(replace(spec, schedule=replace(spec.schedule, epochs=1)))),
        "utf-8",
    )
    rows = sweep.run_sweep(
        sweep.variants(str(folder / "r.toml"), ["schedule.lr=1e-3,1e-2"]),
        (),
        folder / "sweep",
        force=True,
    )
    return sweep.write_sweep(rows, folder / "sweep")


def selftraining_page(folder: Path) -> Path:
    from selion.labelling import (
        ComputedDepths,
        DepthOptions,
        keep_pseudo,
        label_photos,
        plan_selftraining,
    )
    from selion.reports import self_training

    photos = {f"p{seed}": simulate_photo(seed, SIZE) for seed in (5, 8)}
    for key, photo in photos.items():
        save(photo, folder / "photos", key, mask=False)
    depth = {photo.image.values.tobytes(): photo.depth for photo in photos.values()}
    label_photos(
        folder / "photos" / "images",
        folder / "pseudo",
        ComputedDepths(lambda image: depth[image.tobytes()], "truth"),
        DepthOptions(find_full=False),
    )
    spec = replace(_recipe(_photos(folder)), schedule=replace(_recipe("").schedule, epochs=1))
    self_training.run(
        plan_selftraining(spec, keep_pseudo(folder / "pseudo", least=0.0)),
        folder / "selftraining",
        force=True,
    )
    return folder / "selftraining" / "report.html"


def crops_page(folder: Path) -> Path:
    from selion.closerange import measure_folder
    from selion.reports.photographs import write_gallery

    for seed in (1, 2, 3):
        save(simulate_photo(seed, (320, 400)), folder / "close", f"photo{seed}", mask=False)
    (folder / "close" / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return write_gallery(measure_folder(folder / "close" / "images", folder / "crops", "colour"))


def screening_page(folder: Path) -> Path:
    from screening_scenes import write_scene
    from selion.labelling.decisions import Decision, content_hash
    from selion.reports.screening import write_report

    _, pseudo = write_scene(folder / "screening", 12)
    lines = []
    for k, path in enumerate(sorted((pseudo / "masks").rglob("*.png"))):
        key = path.relative_to(pseudo / "masks").with_suffix("").as_posix()
        for person in ("Ada", "Ben"):
            word = "keep" if k % 2 or person == "Ada" else "reject"
            said = Decision(
                f"{person}{k}",
                f"b{k}",
                key,
                word,
                person,
                "coarse",
                0.2,
                "2025-06-01T09:30:12Z",
                "",
                content_hash(path),
            )
            lines.append(said.to_line())
    (pseudo / "decisions.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return write_report(pseudo)[1]


def change_page(folder: Path) -> Path:
    import selion
    from selion.reports.change import write_report

    one, two = (
        boxes((1, 10, 10, 40, 40), (2, 10, 45, 40, 75), (3, 50, 10, 80, 25)),
        boxes((1, 10, 10, 40, 40), (2, 10, 45, 40, 60), (3, 10, 60, 40, 75)),
    )
    given = [write_year(folder / "2023", one), write_year(folder / "2024", two, year=2024)]
    images = [write_picture(folder / f"{year}.tif", year) for year in (2023, 2024)]
    return write_report(selion.compare_years(given, folder / "change"), images=images)


def history_page(folder: Path) -> Path:
    from history_scenes import plant, write_years
    from selion.change import join_years
    from selion.reports.history import write_report

    given = write_years(plant(), folder / "maps")
    return write_report(join_years(given, folder / "history"))


PAGES: dict[str, Callable[[Path], Path]] = {
    "map": map_page,
    "evaluation": evaluation_page,
    "training": training_page,
    "selftraining": selftraining_page,
    "sweep": sweep_page,
    "crops": crops_page,
    "screening": screening_page,
    "change": change_page,
    "history": history_page,
}
LEARNT = {"training", "selftraining", "sweep"}
"""Pages that want torch."""
