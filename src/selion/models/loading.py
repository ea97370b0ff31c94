"""Cards become models: which engine runs one, how it comes here, and who reads its files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import selion.store
from selion.classes import FTW2
from selion.errors import BadInput, MissingExtra, UnknownName, UnreadableFile
from selion.models import graph, pixel, quarterly
from selion.models.card import WEIGHTS, ModelCard, check_files, check_listed, sha256_of
from selion.models.convert import import_lightning
from selion.models.delineate.convert import by_hand, import_graph, refuse_pickle
from selion.models.fingerprint import Verification, compare_answers, known_answers
from selion.models.language import network as language
from selion.models.language.speaking import speaking_card
from selion.models.mask2former.inference import panoptic_options
from selion.models.objects import fetch_checkpoint, load_on_torch, tell_bytes
from selion.models.registry import cache_folder, find_card
from selion.progress import OnStep, silent
from selion.segmenter import InputSpec, LoadedModel
from selion.store.witness import used_model


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to run a card."""

    lacks: Callable[[ModelCard], str]
    """Why it cannot run a card on this machine; empty if it can."""
    load: Callable[..., LoadedModel[Any]]
    """(card, folder, fast=, threads=, reason=) -> LoadedModel."""
    cure: str
    """What brings it."""


def _on_torch(device: str, card: ModelCard, folder: Path, **how: Any) -> LoadedModel[Any]:
    """Load a card on a device of torch: classes per pixel, or objects where it asks for them."""
    if panoptic_options(card.architecture) is None:
        return pixel.load_on(device, card, folder, **how)
    from selion.models.mask2former.segmenter import load_queries

    return load_queries(device, card, folder, **how)


ENGINES: dict[str, Engine] = {
    "cuda": Engine(
        pixel.cuda_lacks,
        partial(_on_torch, "cuda"),
        "an NVIDIA GPU and pip install 'selion[train]'",
    ),
    "mps": Engine(
        pixel.mps_lacks,
        partial(_on_torch, "mps"),
        "an Apple GPU and pip install 'selion[train]'",
    ),
    "openvino": Engine(graph.openvino_lacks, graph.load_openvino, "pip install openvino"),
    "onnxruntime": Engine(
        graph.onnxruntime_lacks, graph.load_onnxruntime, "pip install 'selion[ort]'"
    ),
    "torch": Engine(pixel.torch_lacks, partial(_on_torch, "cpu"), "pip install 'selion[train]'"),
}
"""Name -> engine, the preferred first."""
ON_GPU = ("cuda", "mps")
WHICHEVER = ("auto", "cpu")
"""What names no engine: any, or any that runs on the processor."""


def engines_available() -> list[str]:
    """Return the names of the engines that this machine has, the preferred first."""
    lacking = engines_lacking()
    return [name for name in ENGINES if name not in lacking]


def engines_lacking() -> dict[str, tuple[str, str]]:
    """Return the engines that this machine has not: name -> (what it lacks, what would help)."""
    blank = ModelCard(
        "any", InputSpec(("red",)), FTW2, architecture={"family": "unet"}, files={WEIGHTS: ""}
    )
    lacks = {name: engine.lacks(blank) for name, engine in ENGINES.items()}
    return {name: (lack, ENGINES[name].cure) for name, lack in lacks.items() if lack}


def load_model(
    name: str | Path,
    engine: str = "auto",
    *,
    fast: bool = False,
    threads: int | None = None,
    speaking: Mapping[str, Any] | None = None,
) -> LoadedModel[Any]:
    """Load a model; its files are compared with the card's checksums first.

    Parameters
    ----------
    name : str or path
        A model's name, a folder with a ``card.toml``, or a checkpoint of SAM, SAM 2 or SAM-HQ as
        transformers writes it.
    engine : {"auto", "cpu", "cuda", "mps", "openvino", "onnxruntime", "torch"}
        ``auto`` takes the first one that can run the model here, ``cpu`` the first one that does so
        on the processor.
    fast : bool
        Compute in bfloat16 where processor and engine can; else float32, and ``engine`` of the
        result says why.
    threads : int, optional
        Windows that run at once on a processor; default all cores.
    speaking : mapping, optional
        Of a language model: keys of its card's ``[architecture.speaking]`` and what they are in
        this run (``samples``, ``grammar``, ``scores``, ``precision``).

    Returns
    -------
    LoadedModel
        Its ``engine`` is a sentence that says what was taken and why.  Some models answer with
        objects: ``gives`` says which.

    Raises
    ------
    UnknownName
        If there is no such model or engine.
    UnreadableFile, ChecksumMismatch
        If the weights are not here (it does not download), incomplete or damaged.
    MissingExtra
        If the engine is not installed.
    BadInput
        If selion lists the model but cannot load it, ``threads`` is not positive, or ``speaking``
        is given for a model that does not speak.
    """
    if threads is not None and threads < 1:
        raise BadInput(f"{threads} threads were asked for; wanted is 1 or more.")
    card = speaking_card(find_card(name), speaking or {})
    model: LoadedModel[Any] = _format_of(card).load(card, engine, fast=fast, threads=threads)
    known = {"name": card.name, "files": dict(card.files)}
    used_model(dict(model.identity) | known, card.folder)
    return model


def _load_graph(
    card: ModelCard, engine: str, *, fast: bool, threads: int | None
) -> LoadedModel[Any]:
    """Load what selion itself writes, by the first engine that can run it."""
    folder = check_files(card)
    chosen, why = _choose(card, engine)
    return ENGINES[chosen].load(card, folder, fast=fast, threads=threads, reason=why)


def _load_quarterly(
    card: ModelCard, engine: str, *, fast: bool, threads: int | None
) -> LoadedModel[np.ndarray]:
    if card.folder is None:
        raise UnreadableFile(
            f"The weights of {card.name} are not on this machine: {quarterly.by_hand(card)}."
        )
    return _load_graph(card, engine, fast=fast, threads=threads)


def _load_language(
    card: ModelCard, engine: str, *, fast: bool, threads: int | None
) -> LoadedModel[np.ndarray]:
    return language.load(card, None, engine, fast=fast, threads=threads)


def _load_served(
    card: ModelCard, engine: str, *, fast: bool, threads: int | None
) -> LoadedModel[np.ndarray]:
    from selion.models.language.served import load_served

    if engine not in WHICHEVER or fast or threads:
        raise BadInput(f"{card.name} runs on its server: leave --engine, --fast and --threads out.")
    return load_served(card)


def _choose(card: ModelCard, engine: str) -> tuple[str, str]:
    """Return the engine's name and the reason, as the end of a sentence."""
    if engine not in WHICHEVER:
        if engine not in ENGINES:
            raise UnknownName.among("engine", engine, [*WHICHEVER, *ENGINES])
        lack = ENGINES[engine].lacks(card)
        if lack:
            raise MissingExtra(
                f"The engine {engine} cannot run {card.name}: {lack}; it needs "
                f"{ENGINES[engine].cure}, or choose another engine."
            )
        return engine, "; as asked for"
    lacking: list[tuple[str, str]] = []
    for name, candidate in ENGINES.items():
        if engine == "cpu" and name in ON_GPU:
            continue
        lack = candidate.lacks(card)
        if not lack:
            worth = [pair for pair in lacking if pair[1] not in (pixel.NO_NVIDIA, pixel.NO_APPLE)]
            return name, f"; {_listed(worth)}" if worth else ""
        lacking.append((name, lack))
    raise MissingExtra(
        f"No engine can run {card.name}: {_listed(lacking)}; {ENGINES['openvino'].cure} brings "
        "the fastest one for processors."
    )


def _listed(lacking: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {lack}" for name, lack in lacking)


def fetch_model(name: str, *, force: bool = False, on_step: OnStep = silent) -> ModelCard:
    """Download a model of the registry and import it into the cache folder.

    What is there already is not fetched again, and an interrupted download goes on.

    Where no checksum was published, a warning says the one that was found: keep it, and compare.

    Parameters
    ----------
    name : str
        Long or short (``prue-b3``).
    force : bool
        Fetch it again; the former one stays until the new one is whole.
    on_step : OnStep
        Told the bytes so far and in all, then that the checkpoint is converted.

    Returns
    -------
    ModelCard

    Raises
    ------
    UnknownName
        If there is no such model.
    FetchFailed, ChecksumMismatch
        If the download did not arrive whole, or is not what the card says.
    MissingExtra
        If the network is one that only torch can make the graph of, and it is missing.
    UnsafeFile, UnreadableFile, BadInput
        See :func:`import_checkpoint`.
    """
    card = find_card(name)
    return _format_of(card).fetch(card, cache_folder() / card.name, force=force, on_step=on_step)


def verify_model(name: str | Path, engine: str = "auto") -> Verification:
    """Compare a model's files with its card's checksums, and its answers with those of its card.

    Parameters
    ----------
    name : str or path
        See :func:`load_model`.
    engine : str
        See :func:`load_model`.

    Returns
    -------
    Verification
        How near the answers are, and what computed them.

    Raises
    ------
    ChecksumMismatch
        If a file was changed.
    BadInput
        If the answers differ by more than :data:`selion.models.fingerprint.TOLERANCE`, or the card
        keeps none.
    UnknownName, UnreadableFile, MissingExtra
        See :func:`load_model`.
    """
    card = find_card(name)
    if not card.fingerprint and card.folder is not None:
        check_listed(card, card.folder)
        known_answers(card)
    model = load_model(name, engine)
    return compare_answers(card, model, model.engine)


def _fetch_lightning(
    card: ModelCard, folder: Path, *, force: bool, on_step: OnStep = silent
) -> ModelCard:
    """Download a checkpoint and import it."""
    if card.folder is not None and not (force and card.url):
        check_files(card)
        return card
    checkpoint = selion.store.fetch(
        card.url, card.sha256, progress=partial(tell_bytes, on_step, card.name), again=force
    )
    on_step("convert", 0, 1, card.name)
    if not card.sha256:
        found = sha256_of(checkpoint)
        warnings.warn(
            (
                f"{card.url}: no checksum was published, so it could not be checked; what came has "
                f"sha256 {found}."
            ),
            stacklevel=3,
        )
        card = replace(card, sha256=found)
    try:
        imported = import_lightning(checkpoint, folder, card, force=True)
    except UnreadableFile:
        checkpoint.unlink()  # the next call is to fetch it again
        raise
    on_step("convert", 1, 1, card.name)
    return imported


def _fetch_as_it_is(
    card: ModelCard,
    folder: Path,
    *,
    force: bool,
    on_step: OnStep = silent,
    download: Callable[..., ModelCard] = fetch_checkpoint,
) -> ModelCard:
    """Download files that are used as they were published."""
    if card.folder is not None and not (force and card.url):
        check_listed(card, card.folder)
        return card
    return download(card, folder, on_step=on_step)


def _not_loaded(card: ModelCard, *_: Any, **__: Any) -> Any:
    raise BadInput(
        f"{card.name} ({card.licence}) is listed, but selion does not load {card.format} "
        "weights: choose another model with 'selion models list'."
    )


def import_checkpoint(
    path: str | Path,
    out: str | Path | None = None,
    card: ModelCard | None = None,
    *,
    half: bool = False,
    force: bool = False,
) -> ModelCard:
    """Turn a published checkpoint into a model folder, as the card's format wants it.

    Parameters
    ----------
    path : path
        For a card of Delineate Anything or of quarterly mosaics its ONNX graph, else a Lightning
        checkpoint in the layout of Fields of The World.
    out : path, optional
        The folder to write; by default that of fetched models, where the card's name finds it.
    card : ModelCard, optional
        What is known about the model, see :func:`selion.models.convert.import_lightning`.
    half : bool
        Store float16; by default the published numbers are kept.
    force : bool
        Replace an existing folder.

    Raises
    ------
    UnsafeFile, UnreadableFile, BadInput, UnknownName, OutputExists, OutputFailed
        See :func:`selion.models.convert.import_lightning` and
        :func:`selion.models.delineate.convert.import_graph`, and
        :func:`selion.models.quarterly.import_quarterly`.
    """
    known = None if card is None else FORMATS.get(card.format)
    out = cache_folder() / (Path(path).stem if card is None else card.name) if out is None else out
    return (known or LIGHTNING).convert(path, out, card, half=half, force=force)


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """What is done with files of one kind."""

    load: Callable[..., LoadedModel[Any]] = _not_loaded
    """(card, engine, fast=, threads=) -> LoadedModel."""
    fetch: Callable[..., ModelCard] = _not_loaded
    """(card, folder, force=, on_step=) -> ModelCard."""
    convert: Callable[..., ModelCard] = import_lightning
    """(path, folder, card, half=, force=) -> ModelCard."""


LIGHTNING = WeightFormat(_load_graph, _fetch_lightning)
FORMATS: Mapping[str, WeightFormat] = {
    "selion": LIGHTNING,
    "lightning": LIGHTNING,
    "transformers": WeightFormat(_load_language),
    "openai": WeightFormat(_load_served),
    "sam": WeightFormat(
        partial(load_on_torch, "selion.models.sam.segmenter", "load_sam"), _fetch_as_it_is
    ),
    "embedded": WeightFormat(
        partial(load_on_torch, "selion.models.embedded.segmenter", "load_embedded"),
        _fetch_as_it_is,
    ),
    "ultralytics": WeightFormat(
        partial(load_on_torch, "selion.models.delineate.segmenter", "load_delineate", cure=by_hand),
        partial(_fetch_as_it_is, download=refuse_pickle),
        import_graph,
    ),
    "quarterly": WeightFormat(
        _load_quarterly,
        partial(_fetch_as_it_is, download=quarterly.not_downloaded),
        quarterly.import_quarterly,
    ),
}
"""A card's format -> who loads, fetches and imports such files.

Modules that need torch, or are under AGPL-3.0 (ultralytics), are imported when a model is loaded.
"""


def _format_of(card: ModelCard) -> WeightFormat:
    return FORMATS.get(card.format) or WeightFormat()
