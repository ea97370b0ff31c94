"""Models that are to be compared, each another: nothing is compared with itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selion.errors import BadInput
from selion.segmenter import LoadedModel, as_model


def load_apart(
    names: Sequence[str],
    engine: str = "auto",
    *,
    threads: int | None = None,
    speaking: Mapping[str, Any] | None = None,
) -> dict[str, LoadedModel[Any]]:
    """Load models that are to be compared with each other.

    Parameters
    ----------
    names : sequence of str
        Of models, or folders.
    engine, threads, speaking
        As :func:`selion.models.load_model`.

    Raises
    ------
    BadInput
        If one is named twice, or two are the very same model: no interval and no p says anything of
        their difference.
    """
    from selion.models import load_model

    refuse_twice(names, "model")
    found = {name: load_model(name, engine, threads=threads, speaking=speaking) for name in names}
    known: list[tuple[str, Mapping[str, Any]]] = []
    for name, model in found.items():
        decides = {k: v for k, v in as_model(model).identity.items() if k != "name"}
        # without a sum of its weights nothing tells whether a model is another
        if not (decides.get("sha256") or decides.get("files")):
            continue
        twin = next((other for other, theirs in known if theirs == decides), None)
        if twin is not None:
            raise BadInput(
                f"{twin} and {name} are the very same model, file by file: a model is compared "
                "with others, not with itself. Omit one of them."
            )
        known.append((name, decides))
    return found


def refuse_twice(names: Sequence[str], what: str) -> None:
    """Refuse a list in which something is named twice.

    Raises
    ------
    BadInput
        With its name.
    """
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise BadInput(
            f"The {what} {twice} is named twice: it is compared with others, not with itself. "
            "Name it once."
        )
