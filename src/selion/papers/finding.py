"""Which weights stand for which row: those of a folder first, then those that were fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.models import find_card
from selion.models.card import CARD, read_card
from selion.models.sam.convert import is_checkpoint
from selion.papers.printed import PaperModel
from selion.papers.results import FoundModel

DEPTH = 3
"""Folders below the given one in which models are looked for: ``prue/encoder-b5/model``."""
OWN = "model"
"""The folder that a training run exports its model to; the run's own name stands above it."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model's folder and the names that it answers to, in small letters."""

    folder: Path
    names: frozenset[str]


def find_weights(models: Iterable[PaperModel], folder: Path | None = None) -> dict[str, FoundModel]:
    """Find the weights of a paper's models.

    Parameters
    ----------
    models : iterable of PaperModel
        Each is looked for under its key, its published names, and its recipe.
    folder : path, optional
        Models, each a folder with a ``card.toml`` (as ``selion models import``, ``selion train``
        and ``selion models fetch`` write it) or a checkpoint of SAM; at most :data:`DEPTH` deep.  A
        model is recognised by its folder's name or by the name on its card.

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
        If two folders answer to one name.
    """
    here = [] if folder is None else _candidates(Path(folder))
    found = {}
    for model in models:
        mine = _chosen(model, here) or _fetched(model)
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
            names = {named[-1], "/".join(named)}
            if (folder / CARD).is_file():
                found.append(_Candidate(folder, frozenset({*names, _card_name(folder)})))
            elif is_checkpoint(folder):
                found.append(_Candidate(folder, frozenset(names)))
    return found


def _card_name(folder: Path) -> str:
    return read_card(folder / CARD).name.lower()


def _chosen(model: PaperModel, candidates: list[_Candidate]) -> Path | None:
    """Return the folder that answers to the first of a model's names that any answers to."""
    for name in model.known_as:
        mine = [one.folder for one in candidates if name.lower() in one.names]
        if len(mine) > 1:
            raise BadInput(
                f"Both {mine[0]} and {mine[1]} are called {name}: keep one of them in the folder "
                "of weights."
            )
        if mine:
            return mine[0]
    return None


def _fetched(model: PaperModel) -> Path | None:
    for name in model.names:
        try:
            card = find_card(name)
        except UnknownName:
            continue
        if card.folder is not None:
            return card.folder
    return None
