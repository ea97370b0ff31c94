"""Recipes and TOML.

``extends``, ``--set``, strict keys and types, and one sentence for each fault.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from selion.classes import ClassScheme
from selion.data.declare import SCHEMES
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.store.plain import toml_table
from selion.training.language_recipe import LanguageRecipe
from selion.training.recipe import Recipe

PACKAGED = Path(__file__).parents[1] / "recipes"
DECIDING = (("loss", "kind"), ("model", "architecture", "family"))
"""Where these are named anew, what was inherited beside them is dropped: the options of another
loss or family would make no sense."""
SHOWN = 3
"""Changed values in the summary of a recipe that has none."""
Table = dict[str, Any]


def list_recipes() -> dict[str, str]:
    """Return the packaged recipes: name -> summary."""
    return {
        _name(path): str(_resolved(path, ()).get("summary", ""))
        for path in sorted(PACKAGED.rglob("*.toml"))
    }


def _name(path: Path) -> str:
    return path.relative_to(PACKAGED).with_suffix("").as_posix()


def find_recipe(name: str | Path, beside: Path | None = None) -> Path:
    """Find a recipe file.

    A path (relative to ``beside`` if given), or the name of a packaged recipe.

    Raises
    ------
    UnknownName
        If there is neither; the nearest packaged name is offered.
    """
    given = Path(name).expanduser()
    places = [beside / given] if beside else [given]
    if not given.is_absolute():
        places.append(PACKAGED / given)
    with contextlib.suppress(OSError, ValueError):  # what no file can be called
        for path in (*places, *(p.with_name(f"{p.name}.toml") for p in places)):
            if path.is_file():
                return path
    raise UnknownName.among("recipe", str(name), list_recipes())


def read_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and those that it extends, and change single values.

    Parameters
    ----------
    name : str or path
        A file, or the name of a packaged recipe (``prue``, ``prue/loss-dice``).
    changes : sequence of str
        ``key=value`` each, the key with dots (``schedule.lr=3e-4``), the value as in TOML; a text
        needs no quotes.

    Raises
    ------
    UnknownName, UnreadableFile
        If there is no such file, or no such key (the nearest is offered).
    BadInput
        If the TOML is not well formed, a value is of another kind, or recipes extend each other in
        a circle.
    """
    path = find_recipe(name)
    table = _resolved(path, ())
    for change in changes:
        table = _merge(table, _change(change), str(path))
    return recipe_from(table, str(path))


def recipe_from(table: Mapping[str, Any], where: str) -> Recipe:
    """Build a recipe from plain values; ``where`` names their origin in messages.

    One with a ``language`` table is a :class:`LanguageRecipe`.
    """
    recipe: Recipe = _build(LanguageRecipe if "language" in table else Recipe, table, where, "")
    return recipe


def recipe_table(recipe: Recipe) -> Table:
    """Return a recipe as plain values for TOML or JSON; :func:`recipe_from` is the inverse."""
    return _plain(recipe)


def changed_keys(
    one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, value in one, value in other) where two tables of plain values differ.

    Keys have dots.
    """
    for key in dict.fromkeys((*one, *other)):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from changed_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b


def _plain(value: Any) -> Any:
    if isinstance(value, ClassScheme):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        found = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {key: item for key, item in found.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _resolved(path: Path, seen: tuple[Path, ...]) -> Table:
    if path.resolve() in seen:
        raise BadInput(
            f"{path} extends itself through {' and '.join(p.name for p in seen)}: take one "
            "'extends' out."
        )
    table = _load(path)
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise BadInput(
            f"{path} says extends = {parent!r}; wanted is the name or the path of one recipe."
        )
    inherited = _resolved(find_recipe(parent, path.parent), (*seen, path.resolve()))
    return _merge(inherited, {"summary": _difference(parent, table), **table}, str(path))


def _difference(parent: str, table: Mapping[str, Any]) -> str:
    """Say what a recipe is that names no summary.

    Another one's would be wrong of it, on its card too.
    """
    leaves = [(key, value) for key, value in _leaves(table, "") if key != "name"]
    shown = (
        ", ".join(f"{key} = {str(value).strip()}" for key, value in leaves[:SHOWN])
        or "another name"
    )
    more = f" and {len(leaves) - SHOWN} more" if len(leaves) > SHOWN else ""
    return (
        f"{Path(parent).with_suffix('').as_posix() if parent.endswith('.toml') else parent} with "
        f"{shown}{more}"
    )


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _load(path: Path) -> Table:
    try:
        return toml_table(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a recipe ({error}): give a TOML file, or one of "
            f"{', '.join(list_recipes())}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is not well formed ({error}): correct the line.") from error


def _change(text: str) -> Table:
    """Read ``key.with.dots=value`` as a nested table."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise BadInput(
            f"The change {text!r} was given; wanted is key=value, for example schedule.lr=3e-4."
        )
    try:
        found: Any = toml_table(f"x = {value.strip()}")["x"]
    except tomllib.TOMLDecodeError:
        found = value.strip()
    for part in reversed(key.strip().split(".")):
        found = {part: found}
    table: Table = found
    return table


def _merge(
    old: Mapping[str, Any], new: Mapping[str, Any], where: str, path: tuple[str, ...] = ()
) -> Table:
    """Lay a table over another; tables are merged, all else is replaced."""
    merged = dict(old)
    for key, value in new.items():
        here = (*path, key)
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = (
                dict(value)
                if _starts_anew(before, value, here)
                else _merge(before, value, where, here)
            )
        else:
            merged[key] = value
    return merged


def _starts_anew(
    before: Mapping[str, Any], value: Mapping[str, Any], path: tuple[str, ...]
) -> bool:
    return any(
        path == decider[:-1]
        and decider[-1] in value
        and value[decider[-1]] != before.get(decider[-1])
        for decider in DECIDING
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _build(kind: type, table: Mapping[str, Any], where: str, prefix: str) -> Any:
    """Build a frozen dataclass from a table: known keys only, each of its type."""
    hints = _hints(kind)
    values = {}
    for key, value in table.items():
        if key not in hints:
            raise _unknown_key(where, prefix, key, hints)
        try:
            values[key] = _take(hints[key], value, where, f"{prefix}{key}")
        except TypeError as error:
            raise BadInput(f"{where} says {prefix}{key} = {value!r}; wanted is {error}.") from error
    try:
        return kind(**values)
    except BadInput as error:
        text = str(error)
        raise type(error)(text if text.startswith(where) else f"{where}: {text}") from error


def _unknown_key(where: str, prefix: str, key: str, known: Mapping[str, Any]) -> UnknownName:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {prefix + near[0]!r}?" if near else f"known here: {', '.join(known)}."
    return UnknownName(f"{where} has no use for the key {prefix + key!r}: {hint}")


def _take(hint: Any, value: Any, where: str, key: str) -> Any:
    """Read one value by its type hint; TypeError says what was wanted."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is ClassScheme:
        return _scheme(value, where)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), _table(value), where, f"{key}.")
    if origin in (typing.Union, types.UnionType):
        return _either([a for a in arguments if a is not type(None)], value, where, key)
    if origin is Literal:
        return _choice(arguments, value)
    if origin is tuple:
        return _several(arguments, value, where, key)
    return _table(value) if origin is not None else _single(hint, value)


def _either(kinds: list[Any], value: Any, where: str, key: str) -> Any:
    """Read a value of the first kind, or one of the words that may stand for it."""
    words = [word for kind in kinds[1:] for word in typing.get_args(kind)]
    if value in words:
        return value
    try:
        return _take(kinds[0], value, where, key)
    except TypeError as error:
        raise TypeError(" or ".join([str(error), *map(repr, words)])) from error


def _several(arguments: tuple[Any, ...], value: Any, where: str, key: str) -> tuple[Any, ...]:
    fixed = arguments[-1] is not Ellipsis
    if not isinstance(value, list | tuple) or (fixed and len(value) != len(arguments)):
        raise TypeError(f"a list of {len(arguments)} values" if fixed else "a list")
    kinds = arguments if fixed else [arguments[0]] * len(value)
    return tuple(_take(kind, item, where, key) for kind, item in zip(kinds, value, strict=True))


def _choice(known: tuple[Any, ...], value: Any) -> Any:
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise TypeError(f"one of {', '.join(repr(k) for k in known)}{hint}")


def _single(kind: type, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(
            {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[kind]
        )
    return value


def _table(value: Any) -> Table:
    if not isinstance(value, Mapping):
        raise TypeError("a table")
    return dict(value)


LISTS = ("names", "things", "colours", "least_area")
"""Keys of a class scheme that hold one value for each class, or some."""


def _scheme(value: Any, where: str) -> ClassScheme:
    if isinstance(value, str):
        if value not in SCHEMES:
            raise UnknownName.among("class scheme", value, SCHEMES)
        return SCHEMES[value]
    table = _table(value)
    for key in table:
        if key not in (*LISTS, "boundary"):
            raise _unknown_key(where, "classes.", key, dict.fromkeys((*LISTS, "boundary")))
    if not all(isinstance(table.get(k, []), list) for k in LISTS) or "names" not in table:
        raise TypeError("a scheme's name, or a table with the list 'names'")
    return ClassScheme.from_dict(table)
