"""Small commands that do all of their work, of verbs for which the test of options has an answer
ready instead: learning, catalogues and checkpoints.

A command of any other verb is that of ``tests/option_modes.py``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import option_modes
from option_walk import Inputs, Mode

AREA = "{archive}/area.geojson 2024 --provider {archive}/archive/catalog.json"
REAL: Mapping[str, list[Mode]] = {
    "composite": [Mode(f"composite {AREA} -o out.tif"), Mode(f"composite {AREA} -o out.zarr")],
    "train": [Mode("train {learning}/tiny.toml -o out")],
    "label pseudo": [Mode("label pseudo {photos}/photos -m crops-rgb -o out --no-flips")],
    "label selftrain": [
        Mode(
            "label selftrain {learning}/tiny.toml --pseudo {learning}/pseudo --least-quality 0 "
            "-o out"
        )
    ],
    "models import": [Mode("models import {checkpoint} -o out")],
    "models export": [Mode("models export {adapter}/own -o out")],
    "models quantise": [Mode("models quantise {network}/toy {network}/scene.tif -o out")],
    "scenes": [Mode(f"scenes {AREA} -o scenes.json")],
    "run": [Mode("run jobs -q", copies=("jobs",))],
    "sample": [Mode("sample 12,50,12.02,50.02 {maps} -o out")],
    "simulate": [Mode("simulate -o out --size 32")],
    "qgis install": [Mode("qgis install --qgis-profile year", copies=("year",))],
    "evaluate": [Mode("evaluate --pred {prediction}/fields.parquet --truth {truth} -o out")],
    "change": [Mode("change {year} {later} -o out")],
    "history": [Mode("history {year} {later} {last} -o out")],
}


def modes(verb: str) -> list[Mode]:
    """Return the commands of a verb that do its work."""
    return list(REAL.get(verb, option_modes.MODES[verb]))


def jobs(folder: Path, inputs: Inputs) -> Path:
    """Write a plan of two jobs that draw the outlines of probabilities beside it."""
    names = ("first", "second")
    listed = [
        {"name": name, "command": f"selion fields s.tif -o jobs/{name}/fields.parquet -q".split()}
        for name in names
    ]
    for name in names:
        (folder / "jobs" / name).mkdir(parents=True)
    (folder / "jobs.json").write_text(json.dumps(listed))
    shutil.copy(inputs["scores"], folder / "s.tif")
    return folder


def archive(folder: Path, _: Inputs) -> Path:
    """Write a catalogue of two dates a season, and the area that it shows."""
    from selion.simulation.archive import simulate_archive

    made = simulate_archive(
        folder / "archive", seed=3, centre=(13.0, 51.0), tile_px=132, n_dates=2, threads=1
    )
    (folder / "area.geojson").write_text(json.dumps(dict(made.area)))
    return folder


def learning(folder: Path, _: Inputs) -> Path:
    """Write photographs with masks, a recipe that learns from them, and pseudo-labels of others."""
    from PIL import Image

    from selion.classes import CROP
    from selion.labelling import ComputedDepths, DepthOptions, label_photos
    from selion.models.toml import to_toml
    from selion.simulation.landscape import simulate_photo
    from selion.training import recipe as parts
    from selion.training import recipe_table

    for split, seeds in (("train", (0, 6)), ("val", (9,)), ("others", (5, 8))):
        for seed in seeds:
            photo, home = simulate_photo(seed, (64, 96)), folder / "labelled" / split
            for name, values in (
                ("images", np.moveaxis(photo.image.values, 0, -1)),
                ("masks", photo.labels.ids),
            ):
                (home / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(home / name / f"{seed}.png")
    shutil.move(folder / "labelled" / "others", folder / "others")
    depths = {simulate_photo(k, (64, 96)).image.values.tobytes(): k for k in (5, 8)}
    depth = ComputedDepths(
        lambda image: simulate_photo(depths[image.tobytes()], (64, 96)).depth, "truth"
    )
    label_photos(
        folder / "others" / "images", folder / "pseudo", depth, DepthOptions(find_full=False)
    )
    network = {"family": "unet", "encoder": "mobilenet_v2", "encoder_depth": 3}
    recipe = parts.Recipe(
        name="tiny",
        classes=CROP,
        data=parts.Data(str(folder / "labelled"), truth="labels"),
        input=parts.Inputs(window=32),
        model=parts.Model(network | {"decoder_channels": [8, 8, 8]}),
        loss=parts.Loss("ce"),
        augment=parts.Augment(d4=1.0),
        crops=parts.Crops("random", per_epoch=4),
        schedule=parts.Schedule(epochs=2, batch=2, lr=1e-2, per="step"),
        validate=parts.Validate(every=1, method="pixels"),
        hardware=parts.Hardware("cpu", "float32", threads=1, workers=0),
    )
    (folder / "tiny.toml").write_text(to_toml(recipe_table(recipe)), "utf-8")
    return folder


def checkpoint(folder: Path, _: Inputs) -> Path:
    """Write a checkpoint as the published ones are, with numbers of no meaning."""
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(3)
    network = smp.Unet("efficientnet-b3", encoder_weights=None, in_channels=8, classes=3)
    generator = torch.Generator().manual_seed(5)
    for tensor in network.state_dict().values():  # of equal ones the exporter keeps one
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(0.01 * torch.rand(tensor.shape, generator=generator))
    said = {"model": "unet", "backbone": "efficientnet-b3", "in_channels": 8, "num_classes": 3}
    said |= {"num_filters": 64, "loss": "logcoshdice", "class_weights": [0.05, 0.2, 0.75]}
    said |= {"ignore_index": 3, "lr": 1e-3, "patience": 100, "patch_weights": False}
    said |= {"freeze_backbone": False, "freeze_decoder": False, "edge_agreement_loss": False}
    said |= {"model_kwargs": {}, "pixel_weight_scale": None}
    state = {f"model.{key}": tensor for key, tensor in network.state_dict().items()}
    state |= {"criterion.weight": torch.ones(3)}
    torch.save(
        {
            "epoch": 99,
            "global_step": 1,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": state,
            "hyper_parameters": said,
        },
        folder / "network.ckpt",
    )
    return folder / "network.ckpt"


def adapter(folder: Path, _: Inputs) -> Path:
    """Write a tiny language model and an adapter of it, both of random numbers."""
    import peft
    import torch

    from language_toys import CLASSES, PROMPT, pair
    from selion.models import ModelCard, write_card
    from selion.models.card import sha256_of
    from selion.segmenter import InputSpec, Scaling

    model, processor = pair()
    base, own = folder / "base", folder / "own"
    for part in (model, processor):
        part.save_pretrained(base)
    torch.manual_seed(5)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(own)
    processor.save_pretrained(own)
    spec = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, PROMPT.patch, 0.25, 1, 64)
    said = {"family": "language", "prompt": PROMPT.to_dict(), "base": str(base)}
    files = {file.name: sha256_of(file) for file in own.iterdir() if file.suffix != ".toml"}
    card = ModelCard("toy", spec, CLASSES, architecture=said, format="transformers", files=files)
    write_card(card, own / "card.toml")
    return folder


def network(folder: Path, _: Inputs) -> Path:
    """Write a small network of random numbers, exported as any other, and an image for it."""
    import torch

    from selion import store
    from selion.classes import FTW3
    from selion.grid import whole
    from selion.models import ModelCard
    from selion.models.export import export
    from selion.segmenter import InputSpec, Scaling
    from selion.simulation.landscape import simulate

    torch.manual_seed(2)
    layers = [
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 3, 1),
        torch.nn.InstanceNorm2d(3),
    ]
    scaling, window = Scaling((255.0,), (0.0,)), {"window": 64, "overlap": 0.25, "multiple": 32}
    spec = InputSpec(("red", "green", "blue"), scaling, gsd=(2.0, 2.0), **window)
    export(torch.nn.Sequential(*layers), ModelCard("toy", spec, FTW3), folder / "toy")
    picture = simulate(7, (300, 300), 2.0, "europe", bands="rgb").image
    with store.create_cog(folder / "scene.tif", picture.grid, picture.bands, np.uint8) as sink:
        sink.write(whole(picture.grid), picture.values.astype(np.uint8))
    return folder


option_modes.INPUTS.update(
    archive=archive,
    jobs=jobs,
    learning=learning,
    checkpoint=checkpoint,
    adapter=adapter,
    network=network,
)
