"""Addresses with a key in them are taken only where they are used and forgotten.

Where a word is written into a result, a plan or a name, or only a path of this machine makes sense,
they are refused.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import click

from selion.errors import without_secrets
from selion.store.urls import check_utf8

ADDRESSES = frozenset(
    (
        "area", "basemap", "elevation", "folder", "image", "labelled", "land_cover",
        "maps", "orthomosaic", "provider", "root", "runner", "scores", "years",
    )
)  # fmt: skip
"""Parameters of words that may be addresses to read from."""
WRITTEN = frozenset(("out", "work"))
"""Parameters of what is written: tables say its name, and Arrow and JSON know UTF-8 alone."""
KEPT = frozenset(("plan",))
"""Verbs that write down what they are given."""


def private(command: click.Command, verb: str) -> click.Command:
    """Return a command, or a group with all of its commands, that refuses such addresses.

    Parameters
    ----------
    command : Command
        Its parameters get types that look at what is given.
    verb : str
        Its name.
    """
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            private(inner, verb)
    for param in command.params:
        kind = type(param.type)
        if kind is click.Path:
            local = copy.copy(param.type)
            local.__class__ = LocalPath
            param.type = local
        elif kind is click.types.StringParamType and (verb in KEPT or param.name not in ADDRESSES):
            param.type = PlainWord()
    return command


class LocalPath(click.Path):
    """A path of this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an address, of which a path would become folders called like its parts.

        And a place of results that tables cannot name.
        """
        text = os.fspath(value)
        if "://" in text or text.startswith(("/vsicurl", "/vsis3", "/vsigs", "/vsiaz")):
            self.fail(
                f"{without_secrets(text)} is an address; here a path of this machine is wanted "
                "(what is read can be downloaded first, and a result copied afterwards).",
                param,
                ctx,
            )
        if param is not None and param.name in WRITTEN:
            check_utf8(text)
        return super().convert(value, param, ctx)


class PlainWord(click.types.StringParamType):
    """A name or a value."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an address with a signature or a password, which would be written down."""
        plain = without_secrets(value) if isinstance(value, str) else value
        if plain != value and ("://" in value or value.startswith("/vsi")):
            self.fail(
                f"{plain} was given with a signature or password in it, which would be written "
                "down: give it without, and keys in the environment (AWS_ACCESS_KEY_ID, ...).",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)
