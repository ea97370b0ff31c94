"""The Python reference: signatures and docstrings of what ``import selion`` offers, as a page."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any, Protocol

MORE = (
    ("selion.fields", "check_fiboa"),
    ("selion.fields", "read_fields"),
    ("selion.fields", "write_fields"),
    ("selion.evaluation", "evaluate_files"),
    ("selion.reports.change", "write_report"),
    ("selion.reports.notebook", "show_fields"),
)
"""What goes with the public names."""
UNDERLINE = re.compile(r"\n(\w[\w ]*)\n-{3,}\n")


def page() -> str:
    """Return the whole page."""
    import selion

    parts = [
        (
            "# Python\n\nGenerated from the code. Everything is imported when it is first used: "
            "`import selion` takes a fraction of a second.\n"
        )
    ]
    parts += [
        entry(f"selion.{name}", getattr(selion, name))
        for name in sorted(selion.__all__, key=str.lower)
        if not name.startswith("__")
    ]
    parts.append("## What they go with\n")
    parts += [
        entry(f"{module}.{name}", getattr(importlib.import_module(module), name))
        for module, name in MORE
    ]
    return "\n".join(parts)


def entry(name: str, thing: Any) -> str:
    """Return heading, signature and text of one name."""
    text = inspect.getdoc(thing) or ""
    return (
        f"### {name}\n\n```python\n{unquoted(signature(name.rpartition('.')[2], thing))}\n```\n\n"
        f"{prose(text)}\n"
    )


def unquoted(text: str) -> str:
    """Write annotations as they are in the code: Python keeps them as texts."""
    return re.sub(r"(: |-> )'([^'\n]*)'", r"\1\2", text)


def signature(name: str, thing: Any) -> str:
    """Return the signature, one parameter a line where it is long.

    What nobody calls, a protocol or an error, is its name.
    """
    if inspect.isclass(thing) and (Protocol in thing.__bases__ or issubclass(thing, Exception)):
        return f"class {name}"
    found = inspect.signature(thing)
    line = f"{'class ' if inspect.isclass(thing) else ''}{name}{found}".replace(
        " -> None", "" if inspect.isclass(thing) else " -> None"
    )
    if len(line) <= 100:
        return line
    inner = "".join(f"    {part},\n" for part in _parameters(found))
    back = (
        ""
        if found.return_annotation in (inspect.Signature.empty, None) or inspect.isclass(thing)
        else f" -> {found.return_annotation}"
    )
    return f"{'class ' if inspect.isclass(thing) else ''}{name}(\n{inner}){back}"


def _parameters(found: inspect.Signature) -> list[str]:
    words, keyword = [], False
    for parameter in found.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword:
            words.append("*")
            keyword = True
        words.append(re.sub(r"<factory>|<function .*>|<object object.*>", "...", str(parameter)))
    return words


def prose(text: str) -> str:
    """Turn a docstring in numpy's style into Markdown."""
    parts = UNDERLINE.split(f"\n{text}\n")
    lines = [_inline(parts[0].strip())]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        lines.append(f"**{title}**\n\n{_items(body)}")
    return "\n\n".join(lines) + "\n"


def _items(body: str) -> str:
    """Turn ``name : type`` and its indented text into a list; plain text stays."""
    if not re.search(r"^\S.*\n    \S", body, re.MULTILINE) and " : " not in body:
        return _inline(body.strip())
    items = []
    for line in body.strip("\n").splitlines():
        if line and not line.startswith(" "):
            name, sign, kind = line.partition(" : ")
            items.append(f"- `{name}`" + (f" ({kind})" if sign else ""))
        elif line.strip():
            items.append(f"  {line.strip()}")
    return _inline("\n".join(items))


def _inline(text: str) -> str:
    """Turn the marks of reStructuredText within a line into Markdown's."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)
