"""What a shell offers for an argument or option: files, and names of models, recipes, datasets.

By the names of the parameters, once for all verbs; choices and verbs are offered by click itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import click
from click.shell_completion import CompletionItem

FILES = (
    "image area maps scores out work tables photos years polygons given map_ folder "
    "images checkpoint dataset models pseudo one other sample paths land_cover truth "
    "extent refiner model weights by districts"
)
"""Parameters that may be files or folders."""


def _models() -> Iterable[str]:
    from selion import models

    return [*(card.name for card in models.list_models()), *models.aliases()]


def _recipes() -> Iterable[str]:
    from selion.training import list_recipes

    return list_recipes()


def _datasets() -> Iterable[str]:
    from selion.data.catalogue import list_datasets

    return [declared.name for declared in list_datasets()]


def _providers() -> Iterable[str]:
    from selion.imagery.providers import known_providers

    return known_providers()


def _editions() -> Iterable[str]:
    from selion import world

    return list(world.EDITIONS)


NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "model": _models,
    "models": _models,
    "refiner": _models,
    "recipe": _recipes,
    "dataset": _datasets,
    "provider": _providers,
    "edition": _editions,
}
"""Parameter -> the names that it takes, found when a shell asks."""
OF_VERBS = {
    "models fetch": {"name": _models},
    "models show": {"name": _models},
    "models verify": {"name": _models},
    "data fetch": {"name": _datasets},
    "data show": {"name": _datasets},
}
"""Verb -> the same for parameters that others have with another meaning."""


def completed(command: click.Command, path: str) -> click.Command:
    """Return a command that tells a shell what its parameters may be."""
    own = OF_VERBS.get(path, {})
    for param in command.params:
        name = str(param.name)
        names = own.get(name) or NAMES.get(name)
        if not isinstance(param.shell_complete, partial) and (names or name in FILES.split()):
            param.shell_complete = partial(  # type: ignore[method-assign]
                _offered, names, param.shell_complete, files=name in FILES.split()
            )
    return command


def _offered(
    names: Callable[[], Iterable[str]] | None,
    usual: Callable[[click.Context, str], list[CompletionItem]],
    ctx: click.Context,
    incomplete: str,
    *,
    files: bool,
) -> list[CompletionItem]:
    """Offer names that begin so, what click knows, and files."""
    known = [] if names is None else sorted(set(names()))
    items: list[Any] = [CompletionItem(one) for one in known if one.startswith(incomplete)]
    items += usual(ctx, incomplete)
    if files and not any(item.type in ("file", "dir") for item in items):
        items.append(CompletionItem(incomplete, type="file"))
    return items
