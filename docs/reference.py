"""Write ``docs/cli.md`` and the schema of our columns from the code.

``--check`` fails if a file is not what the code says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from selion.cli.main import VERBS, cli
from selion.cli.shown import ALL
from selion.fields.extension import VERSION, extension_schema

HERE = Path(__file__).parent
SCHEMA = HERE / "fiboa" / "selion-fields" / VERSION / "schema.json"


def help_of(command: click.Command, name: str) -> str:
    """Return the help text of one command at a fixed width, with all of its options."""
    context = click.Context(command, info_name=name, terminal_width=110, max_content_width=110)
    context.meta[ALL] = True
    return command.get_help(context).rstrip()


def children(command: click.Command) -> dict[str, click.Command]:
    """Return the commands of a group, also those that it imports when they are called."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    return {
        **command.commands,
        **{name: command.get_command(context, name) for name in command.list_commands(context)},
    }


def reference() -> str:
    """Return the whole page."""
    parts = [
        (
            "# Command line\n\nGenerated from the code by `python docs/reference.py`; `make docs` "
            "checks it. All options are listed; `selion VERB --help` leaves out the rare ones, "
            "`--help-all` shows them. `selion doctor` says which verbs work on a machine, and what "
            "the others lack.\n\n"
            "## Completion in the shell\n\n"
            "Verbs, options, choices, files and the names of models, recipes, datasets, providers "
            "and editions are completed with the tab key, once this line is in the shell's own "
            "file:\n\n"
            "| shell | file | line |\n|---|---|---|\n"
            '| bash | `~/.bashrc` | `eval "$(_SELION_COMPLETE=bash_source selion)"` |\n'
            '| zsh | `~/.zshrc` | `eval "$(_SELION_COMPLETE=zsh_source selion)"` |\n'
            "| fish | `~/.config/fish/completions/selion.fish` | "
            "`_SELION_COMPLETE=fish_source selion \\| source` |\n"
        ),
        f"```text\n{help_of(cli, 'selion')}\n```\n",
    ]
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        parts.append(f"## selion {verb}\n\n```text\n{help_of(command, f'selion {verb}')}\n```\n")
        for name, child in children(command).items():
            parts.append(
                f"### selion {verb} {name}\n\n```text\n{help_of(child, f'selion {verb} {name}')}\n"
                "```\n"
            )
    return "\n".join(parts)


def main() -> None:
    """Write or check."""
    schema = json.dumps(extension_schema(), indent=1) + "\n"
    for path, text in ((HERE / "cli.md", reference()), (SCHEMA, schema)):
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"docs/{path.relative_to(HERE)} is not what the code says: docs/reference.py")


if __name__ == "__main__":
    main()
