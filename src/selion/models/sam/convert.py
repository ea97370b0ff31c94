"""A folder with a published checkpoint.

What kind of model it holds, what it is fed, and that nothing in it is executed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selion.classes import FTW2
from selion.errors import BadInput, UnreadableFile
from selion.models.card import CARD, WEIGHTS, ModelCard, sha256_of
from selion.segmenter import InputSpec, Scaling

CONFIG = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Where transformers writes what an image is fed as: the first until 4, the second from 5 on."""
FORMAT = "sam"
"""What a card's ``format`` says of such a folder."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One model type of transformers that answers points with masks."""

    network: str
    """The class of transformers."""
    stretch: bool
    """Whether an image is stretched to the square that the network wants; else its longer side is
    fitted, and the rest padded."""
    family: str
    """What a card's architecture says."""


KINDS = {
    "sam": Kind("SamModel", stretch=False, family="sam"),
    "sam_hq": Kind("SamHQModel", stretch=False, family="sam_hq"),
    "sam2": Kind("Sam2Model", stretch=True, family="sam2"),
    # as SAM 2.1 is published; its memory of earlier frames is left out
    "sam2_video": Kind("Sam2Model", stretch=True, family="sam2"),
}
"""``model_type`` of a checkpoint -> what it is."""


@dataclass(frozen=True, slots=True)
class Feeding:
    """How pixels from 0 to 1 become what the network was trained on."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


def is_checkpoint(folder: Path) -> bool:
    """Say whether a folder looks like a checkpoint of transformers without a card of selion."""
    return folder.is_dir() and (folder / CONFIG).is_file() and not (folder / CARD).is_file()


def read_kind(folder: Path) -> Kind:
    """Tell which model a folder holds.

    Raises
    ------
    UnreadableFile
        If there is no readable ``config.json``.
    BadInput
        If it is a model of another type.
    """
    given = _read_json(folder, CONFIG).get("model_type")
    if given not in KINDS:
        raise BadInput(
            f"{folder} holds a model of the type {given!r}; wanted is one of {', '.join(KINDS)}: "
            "give a folder of SAM, SAM 2 or SAM-HQ."
        )
    return KINDS[str(given)]


def read_feeding(folder: Path) -> Feeding:
    """Read mean and deviation of the checkpoint's image processor.

    Raises
    ------
    UnreadableFile
        If the folder has none, or it does not say them.
    """
    for name in PROCESSORS:
        if (folder / name).is_file():
            said = _read_json(folder, name)
            said = said.get("image_processor", said)
            if (
                isinstance(said, dict)
                and len(said.get("image_mean") or ()) == len(said.get("image_std") or ()) == 3
            ):
                return Feeding(
                    tuple(map(float, said["image_mean"])),  # type: ignore[arg-type]
                    tuple(map(float, said["image_std"])),  # type: ignore[arg-type]
                )
    raise UnreadableFile(
        f"{folder} has no {PROCESSORS[0]} with image_mean and image_std, so what its model is fed "
        "is not known: copy it from where the model came from."
    )


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        table = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder / name} cannot be read ({error}): give a folder that holds a checkpoint as "
            "transformers writes it."
        ) from error
    return table if isinstance(table, dict) else {}


def edge(folder: Path) -> int:
    """Return the edge in pixels of the square that the network of a folder looks at."""
    vision = _read_json(folder, CONFIG).get("vision_config") or {}
    size = (
        vision.get("image_size") or (vision.get("backbone_config") or {}).get("image_size") or 1024
    )
    return int(size[0] if isinstance(size, list) else size)


def checkpoint_card(folder: Path) -> ModelCard:
    """Describe a folder that has no card.

    RGB in bytes (other numbers are stretched to them), windows as large as the network looks at,
    everything is a field.

    Raises
    ------
    UnreadableFile, BadInput
        As :func:`read_kind` and :func:`weight_files`.
    """
    kind = read_kind(folder)
    return ModelCard(
        name=folder.resolve().name,
        inputs=InputSpec(
            ("red", "green", "blue"),
            Scaling((255.0,), (0.0,), (0.0, 1.0)),
            window=edge(folder),
            multiple=1,
            stretch=(1.0, 99.0),
        ),
        classes=FTW2,
        summary="A checkpoint without a card, zero-shot",
        architecture={"family": kind.family},
        files={path.name: sha256_of(path) for path in weight_files(folder)},
        format=FORMAT,
        licence="licence not stated: ask who published it",
        folder=folder,
    )


def weight_files(folder: Path) -> list[Path]:
    """Return the weights of a checkpoint.

    Raises
    ------
    UnreadableFile
        If there are none in safetensors; pickles are never opened.
    """
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickles = sorted(
            path.name for ending in ("*.bin", "*.pt", "*.pth") for path in folder.glob(ending)
        )
        held = (
            (
                f"holds pickled weights only ({', '.join(pickles)}), which would have to be "
                "executed to be read"
            )
            if pickles
            else "holds no weights"
        )
        raise UnreadableFile(f"{folder} {held}: wanted is {WEIGHTS}.")
    return found
