"""Checkpoints of a run.

Everything that its next step depends on, in one safetensors file that is whole or not there.

Nothing is pickled.  All random numbers follow from the recipe's seed and the place in the run, so
there is no generator's state to keep; learning rates follow from the schedule and the place.  What
is left is tensors and a few numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from selion import store
from selion.errors import BadInput, OutputFailed, UnreadableFile
from selion.store.former import value_of
from selion.training.reading import changed_keys, recipe_from, recipe_table

if TYPE_CHECKING:
    import torch

STATE, BEST = "state.safetensors", "best.safetensors"
"""Files in a run's folder: the last state, and the weights with the best validation score."""
LABELS = ", labels "
"""Stands before the hash of the labels, in what is said of the data."""
VALIDATED = ", validated by "
"""Stands before what is said of the samples that validate."""
FREE = ("name", "summary", "licence", "attribution", "hardware")
"""What may change between a run and its resumption: nothing that is learnt depends on it (precision
and device aside)."""
_KINDS = {
    "torch.float32": "F32",
    "torch.float64": "F64",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
}
_KINDS |= {"torch.uint8": "U8", "torch.bool": "BOOL"}


def save_state(
    path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], last: str = ""
) -> None:
    """Write tensors and facts under their final name only when they are whole on the disk.

    What was there before stays until then.

    Parameters
    ----------
    path : path
    tensors : mapping
    facts : mapping
        Plain values for JSON.
    last : str
        What the checkpoint that is there already is of, for the message.

    Raises
    ------
    OutputFailed
        If there is no space or no permission; the sentence says what survives.
    """
    try:
        with store.atomic_write(path, force=True) as temporary, temporary.open("wb") as stream:
            _write(stream, tensors, json.dumps(facts))
    except OutputFailed as error:
        kept = (
            f" The last good checkpoint{last} is still there: go on from it with --resume."
            if path.exists()
            else ""
        )
        raise OutputFailed(f"{error}{kept}") from error


def _write(stream: BinaryIO, tensors: Mapping[str, torch.Tensor], facts: str) -> None:
    """Write the safetensors format by pieces.

    Its own writer would hold a second copy of all tensors, and hides the system's errors.
    """
    header: dict[str, Any] = {"__metadata__": {"selion": facts}}
    place = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _KINDS[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        stream.write(memoryview(_bytes(tensor)))


def _bytes(tensor: torch.Tensor) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`save_state` wrote.

    Raises
    ------
    UnreadableFile
        If it is missing or not one of ours.
    """
    if not path.is_file():
        raise UnreadableFile(f"There is no checkpoint at {path}: start the run without --resume.")
    with _opened(path) as (found, facts):
        return {name: found.get_tensor(name) for name in found.keys()}, facts  # noqa: SIM118  # no mapping


def load_facts(path: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself, without its weights; raises UnreadableFile."""
    with _opened(path) as (_, facts):
        return facts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a checkpoint; give its file, and what it says of itself."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as found:
            facts = json.loads(value_of(found.metadata() or {}, "selion", path) or "")
            if not isinstance(facts, dict):
                raise UnreadableFile(
                    f"{path} says of itself {str(facts)[:40]!r}, and wanted is a table of facts: "
                    "start the run in another folder."
                )
            yield found, facts
    except (SafetensorError, OSError, json.JSONDecodeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a checkpoint ({error}): start the run in another folder."
        ) from error


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with a recipe or data that are not those of the checkpoint.

    Parameters
    ----------
    saved, now : mapping
        ``recipe`` (plain values) and ``data`` (a fingerprint).

    Raises
    ------
    BadInput
        If something differs that what is learnt depends on; the message names the first keys.
    """
    # what this version added since has its default
    before = recipe_table(recipe_from(saved["recipe"], str(path)))
    one, other = (
        {k: v for k, v in table.items() if k not in FREE} for table in (before, now["recipe"])
    )
    changed = [
        f"{key} was {was!r} and is now {will!r}" for key, was, will in changed_keys(one, other)
    ]
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        raise BadInput(
            f"{path} was made with another recipe: {'; '.join(changed[:3])}{more}. Resume with the "
            "old recipe, or start in another folder."
        )
    if not is_same_data(saved["data"], now["data"]):
        raise BadInput(
            f"{path} was made with other samples or labels ({saved['data']}, now {now['data']}): "
            "resume with the same data, or start in another folder."
        )


def is_same_data(was: str, now: str) -> bool:
    """Whether what was noted of a run's data is what is said of it now.

    Former versions said nothing of the samples that validate, and before that of the labels.
    """
    samples = now.partition(VALIDATED)[0]
    return was in (now, samples, samples.partition(LABELS)[0])
