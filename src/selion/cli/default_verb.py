"""A verb that has verbs of its own, and does the usual one when none of them is named."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


class DefaultVerb(click.Group):
    """``selion VERB ARGUMENT`` does the default; the other verbs are called by their names."""

    default = "open"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take what is no verb for an argument of the default one."""
        if args and args[0] not in self.commands:
            args = [self.default, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let the default's options stand before its argument too."""
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the verbs, and what the default takes: a file or folder."""
        return [
            *super().shell_complete(ctx, incomplete),
            CompletionItem(incomplete, type="file"),
        ]
