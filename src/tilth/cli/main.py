"""``tilth``: one group, one verb per station of the road."""

from __future__ import annotations

import importlib
import os
import sys

import click

import tilth
from tilth.errors import TilthError

VERBS = {
    "map": ("tilth.cli.mapping", "map_command"),
    "predict": ("tilth.cli.mapping", "predict_command"),
    "fields": ("tilth.cli.mapping", "fields_command"),
    "scenes": ("tilth.cli.imagery", "scenes_command"),
    "composite": ("tilth.cli.imagery", "composite_command"),
    "evaluate": ("tilth.cli.evaluate", "evaluate_command"),
    "crops": ("tilth.cli.crops", "crops_command"),
    "train": ("tilth.cli.train", "train_command"),
    "label": ("tilth.cli.label", "label_group"),
    "models": ("tilth.cli.models", "models_group"),
    "data": ("tilth.cli.data", "data_group"),
    "simulate": ("tilth.cli.simulate", "simulate_command"),
    "demo": ("tilth.cli.simulate", "demo_command"),
    "doctor": ("tilth.cli.doctor", "doctor_command"),
}
SUMMARIES = {
    "map": "Image in, table of fields out.",
    "predict": "Image in, class probabilities out.",
    "fields": "Class probabilities in, table of fields out.",
    "scenes": "Area and year in, the Sentinel-2 scenes that would be used out.",
    "composite": "Area and year in, cloud-free two-season composite out.",
    "evaluate": "Score models on a dataset, or maps against a truth.",
    "crops": "Folder of close-range photographs in, masks, cover and traits out.",
    "train": "Recipe and data in, model out.",
    "label": "Pseudo-labels: by depth or by a model, screened, compared, trained on.",
    "models": "List, show, fetch and import models.",
    "data": "List, fetch, check and make datasets.",
    "simulate": "Write a simulated countryside with its truth.",
    "demo": "Map a simulated scene and score it.",
    "doctor": "Say what this installation can do.",
}


class Verbs(click.Group):
    """Import a verb's module only when that verb is called, so that ``tilth --help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the verbs in the order of the road."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in VERBS])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Offer the nearest verb for one that does not exist."""
        import difflib

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(VERBS)}."
            ctx.fail(f"There is no verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(tilth.__version__, prog_name="tilth")
def cli() -> None:
    """Agricultural segmentation from satellite to close range: imagery in, validated fields out."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of ours are one sentence and exit code 2, others keep their traceback."""
    try:
        cli.main(arguments, prog_name="tilth", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as problem:
        problem.show()
        sys.exit(2)
    except TilthError as problem:
        click.echo(f"Error: {problem}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("\nStopped. Finished blocks are kept: the same command goes on from here.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
