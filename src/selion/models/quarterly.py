"""Networks of quarterly mosaics, published as ONNX: the second edition of Fields of The World."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from selion.errors import BadInput, UnsafeFile
from selion.models.assembly import with_graph_answers
from selion.models.card import CARD, GRAPH, ModelCard, with_files, write_card
from selion.models.onnx_file import FLOAT, OnnxFacts, Port, read_onnx
from selion.store import atomic_folder

QUARTERLY = "quarterly"
"""The card's format."""


def by_hand(card: ModelCard) -> str:
    """Say how the weights come here, which their makers release apart."""
    return (
        f"get the ONNX file of {card.name} from its makers and run 'selion models import FILE.onnx "
        f"--like {card.name}'"
    )


def not_downloaded(card: ModelCard, _folder: Path, **_: object) -> ModelCard:
    """Refuse (BadInput) to download weights that have no address."""
    raise BadInput(f"{card.name} ({card.licence}) has no address to fetch from: {by_hand(card)}.")


def import_quarterly(
    path: str | Path,
    out: str | Path,
    card: ModelCard,
    *,
    half: bool = False,
    force: bool = False,
) -> ModelCard:
    """Make a model's folder out of an ONNX file whose card is known; its numbers are kept.

    Nothing of the file is run.

    Parameters
    ----------
    path : path
        One ONNX file, without external data: one input (view, band, y, x) float32, one output
        (view, class, y, x) float32 logits, as many bands and classes as the card has.
    out : path
        The folder to write.
    card : ModelCard
        What it eats and answers.
    half : bool
        Refused: the file is kept as it is.
    force : bool
        Replace an existing folder.

    Raises
    ------
    UnsafeFile
        If weights lie in other files, or it is no ONNX file by its name.
    UnreadableFile
        If it cannot be read as ONNX.
    BadInput
        If its inputs or outputs are not the card's.
    OutputExists, OutputFailed
        If the folder is there and ``force`` is not given, or it cannot be written.
    """
    path, folder = Path(path), Path(out).expanduser()
    if half:
        raise BadInput("--half was given, but an ONNX file is kept as it is: leave it out.")
    if path.suffix.lower() != ".onnx":
        raise UnsafeFile(
            f"{path} is no ONNX file by its name, and other formats would have to be executed to "
            f"be read: {by_hand(card)}."
        )
    facts = read_onnx(path)
    check_ports(facts, card, path)
    if None not in facts.inputs[0].shape[2:]:  # a graph for one size of window
        card = replace(card, inputs=replace(card.inputs, multiple=card.inputs.window))
    with atomic_folder(folder, force) as part:
        shutil.copyfile(path, part / GRAPH)
        card = with_files(card, part, (GRAPH,))
        card = replace(card, format=QUARTERLY, sha256=card.files[GRAPH])
        card = with_graph_answers(card, part)
        write_card(card, part / CARD)
    return replace(card, folder=folder)


def check_ports(facts: OnnxFacts, card: ModelCard, path: Path) -> None:
    """Refuse (BadInput) a graph that does not take the card's bands and answer its classes."""
    spec = card.inputs
    wanted = (
        f"{card.name} has one input of {len(spec.bands)} bands and one output of "
        f"{len(card.classes)} classes, (view, band or class, {spec.window}, {spec.window}) float32"
    )
    for what, ports, channels in (
        ("input", facts.inputs, len(spec.bands)),
        ("output", facts.outputs, len(card.classes)),
    ):
        if len(ports) != 1:
            raise BadInput(f"{path} has {len(ports)} {what}s, but {wanted}: give that model.")
        if not _fits(ports[0], channels, spec.window):
            shown = ", ".join("any" if n is None else str(n) for n in ports[0].shape)
            kind = "float32" if ports[0].kind == FLOAT else f"ONNX type {ports[0].kind}"
            raise BadInput(
                f"{path} has an {what} {ports[0].name!r} of ({shown}) {kind}, but {wanted}: give "
                "that model, or export it with an open number of views."
            )
    if "Softmax" in facts.last:
        raise BadInput(
            f"{path} answers probabilities (its last step is a Softmax), but wanted are logits: "
            "export it without."
        )


def _fits(port: Port, channels: int, window: int) -> bool:
    if port.kind != FLOAT or len(port.shape) != 4:
        return False
    views, found, height, width = port.shape
    return views in (None, 1) and found == channels and {height, width} <= {None, window}
