"""Which weights stand for which row: those of a folder first, then those that were fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.models import find_card
from selion.models.card import CARD, read_card
from selion.models.sam.convert import is_checkpoint
from selion.papers.printed import Paper, PaperModel, read_paper
from selion.papers.results import FoundModel

DEPTH = 3
"""Folders below the given one in which models are looked for: ``prue/encoder-b5/model``."""
OWN = "model"
"""The folder that a training run exports its model to; the run's own name stands above it."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model's folder and what it is called, in small letters."""

    folder: Path
    names: tuple[str, ...]
    """Of the folder, the last one first."""
    card: str = ""
    """The name on its card."""


def find_weights(
    models: Iterable[PaperModel], folder: Path | None = None, paper: Paper | None = None
) -> dict[str, FoundModel]:
    """Find the weights of a paper's models.

    Parameters
    ----------
    models : iterable of PaperModel
        Each is looked for under its key, its published names, and its recipe.
    folder : path, optional
        Models, each a folder with a ``card.toml`` (as ``selion models import``, ``selion train``
        and ``selion models fetch`` write it) or a checkpoint of SAM; at most :data:`DEPTH` deep.  A
        folder stands for one model alone, of all tables: the one that its card names, else the one
        that the folder is called as.
    paper : Paper, optional
        Whose models folders may stand for; PRUE without it.

    Returns
    -------
    dict
        Key -> what was found; a model that is not there is left out.  What lies in ``folder`` comes
        before what ``selion models fetch`` brought.

    Raises
    ------
    UnreadableFile
        If there is no such folder.
    BadInput
        If a folder is called as one model and its card as another, or two folders stand for one.
    """
    wanted = list(models)
    known = {
        model.key: model
        for table in (paper or read_paper()).tables
        for model in table.models.values()
    }
    keys = {
        name.lower(): model.key
        for model in (known | {model.key: model for model in wanted}).values()
        for name in model.known_as
    }
    here = {} if folder is None else _by_model(_candidates(Path(folder)), keys)
    found = {}
    for model in wanted:
        mine = here.get(model.key) or _fetched(model)
        if mine is not None:
            found[model.key] = FoundModel(mine)
    return found


def _candidates(root: Path) -> list[_Candidate]:
    if not root.is_dir():
        raise UnreadableFile(
            f"There is no folder {root} of weights: give the folder in which models lie, each in a "
            f"folder with a {CARD}."
        )
    found = []
    for depth in range(1, DEPTH + 1):
        for folder in sorted(p for p in root.glob("*/" * depth) if p.is_dir()):
            parts = [part.lower() for part in folder.relative_to(root).parts]
            named = parts[:-1] if len(parts) > 1 and parts[-1] == OWN else parts
            names = (named[-1], "/".join(named))
            if (folder / CARD).is_file():
                found.append(_Candidate(folder, names, _card_name(folder)))
            elif is_checkpoint(folder):
                found.append(_Candidate(folder, names))
    return found


def _card_name(folder: Path) -> str:
    return read_card(folder / CARD).name.lower()


def _by_model(candidates: list[_Candidate], keys: Mapping[str, str]) -> dict[str, Path]:
    """Return key of a model -> the folder that stands for it."""
    found: dict[str, Path] = {}
    for one in candidates:
        key = _stands_for(one, keys)
        if key in found:
            raise BadInput(
                f"Both {found[key]} and {one.folder} are weights of {key}, and a row has one "
                "model: keep one of them in the folder of weights."
            )
        if key is not None:
            found[key] = one.folder
    return found


def _stands_for(one: _Candidate, keys: Mapping[str, str]) -> str | None:
    """Return the key of the one model that a folder stands for."""
    card = keys.get(one.card)
    folder = next((keys[name] for name in one.names if name in keys), None)
    if card is not None and folder is not None and card != folder:
        raise BadInput(
            f"{one.folder} is called as the weights of {folder}, and its {CARD} as those of {card} "
            f"({one.card}): rename the folder, or mend the name on the card."
        )
    return card or folder


def _fetched(model: PaperModel) -> Path | None:
    for name in model.names:
        try:
            card = find_card(name)
        except UnknownName:
            continue
        if card.folder is not None:
            return card.folder
    return None
