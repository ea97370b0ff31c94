"""How the weights of Delineate Anything come here: published as pickles, taken as ONNX only."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from selion.errors import UnreadableFile, UnsafeFile
from selion.models.card import CARD, GRAPH, ModelCard, sha256_of, write_card
from selion.store import atomic_folder


def by_hand(card: ModelCard) -> str:
    """Say how weights come here that are published as a pickle, which selion does not open."""
    size = card.architecture.get("size", card.inputs.window)
    return (
        f"download {card.url}, turn it into ONNX where you trust it ('yolo export model=FILE.pt "
        f"format=onnx imgsz={size}'), and run 'selion models import FILE.onnx --like {card.name} "
        "-o FOLDER'."
    )


def refuse_pickle(card: ModelCard, _folder: Path, **_: object) -> ModelCard:
    """Refuse (UnsafeFile) to download weights that would have to be executed to be read."""
    raise UnsafeFile(
        f"{card.name} ({card.licence}) is published as a pickle, which selion does not open: "
        f"{by_hand(card)}"
    )


def import_graph(
    path: str | Path,
    out: str | Path,
    card: ModelCard,
    *,
    half: bool = False,  # noqa: ARG001  # its numbers are kept
    force: bool = False,
) -> ModelCard:
    """Make a model's folder out of a detector that was exported to ONNX.

    Raises
    ------
    UnsafeFile
        If it is a pickle.
    UnreadableFile
        If it is not there.
    OutputExists, OutputFailed
        If the folder is there and ``force`` is not given, or it cannot be written.
    """
    path, folder = Path(path), Path(out).expanduser()
    if path.suffix != ".onnx":
        raise UnsafeFile(
            f"{path} would have to be executed to be read: turn it into ONNX where you trust it "
            f"('yolo export model={path.name} format=onnx')."
        )
    if not path.is_file():
        raise UnreadableFile(
            f"There is no file {path}: give the ONNX file that 'yolo export' wrote."
        )
    with atomic_folder(folder, force) as part:
        shutil.copyfile(path, part / GRAPH)
        sha256 = sha256_of(part / GRAPH)
        card = replace(card, files={GRAPH: sha256}, sha256=sha256)
        write_card(card, part / CARD)
    return replace(card, folder=folder)
