"""Functions of the library that leave a manifest beside what they write, as commands do."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from selion.errors import Incomplete
from selion.raster import FileSource, Raster, Source
from selion.store.manifest import InputSum
from selion.store.object_store import is_object_url
from selion.store.sealing import (
    NO_INPUTS,
    UNDECIDING,
    Request,
    send_seal,
    there,
    without_keys,
    write_seal,
)
from selion.store.witness import Witness, is_witnessed, witnessed

P = ParamSpec("P")
T = TypeVar("T")
SILENT = UNDECIDING | {"on_step", "on_note", "use", "report"}
"""Parameters that decide nothing of what is in the files."""
WRITTEN = frozenset(("scores", "consistency"))
"""Options that name what is written, though something may be there before."""
LONGEST = 200
"""Characters of a value that a manifest tells."""


def sealed(name: str, out: str = "out") -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return what lets a function leave a manifest beside what it has written.

    Within a command, or another such function, it leaves none: that one does.  Of several that run
    at once in threads each has its own.

    Parameters
    ----------
    name : str
        How the function is called by its users, such as ``selion.map_fields``.
    out : str
        The parameter that names its output; where that is None nothing is written.
    """

    def sealing(act: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(act)

        @functools.wraps(act)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            given = signature.bind(*args, **kwargs).arguments
            place = given.get(out)
            first = os.environ.get("RANK", "0") == "0"  # of processes that do one run together
            if is_witnessed() or not first or not isinstance(place, str | os.PathLike):
                return act(*args, **kwargs)
            asked = {key: value for key, value in given.items() if key != out}
            run = _SealedCall(name, asked, os.fspath(place))
            with witnessed(run.witness):
                try:
                    done = act(*args, **kwargs)
                except Incomplete:
                    run.seal(complete=False)
                    raise
                run.seal(complete=True)
            return done

        return call

    return sealing


class _SealedCall:
    """One call."""

    def __init__(self, name: str, given: Mapping[str, Any], out: str) -> None:
        self.out = out
        self.places: set[Path] = set()
        asked = {key: value for key, value in given.items() if key not in SILENT}
        said, secret = without_keys(map(_text, asked.values()))
        said = [_cut(text, value) for text, value in zip(said, asked.values(), strict=True)]
        words = ", ".join(f"{key}={text}" for key, text in zip(asked, said, strict=True))
        self.request = Request(
            call=f"{name}({words})",
            secret=secret,
            options=dict(_options("", asked)),
            named=dict(_named("", asked)),
            values=tuple(_values(asked)),
        )
        read = (place for _, place in _named("", asked, NO_INPUTS | SILENT | WRITTEN))
        reads = {place for place in read if isinstance(place, Path)}
        self.witness = Witness(lambda _, place: self.places.add(place), reads=reads)

    def seal(self, *, complete: bool) -> None:
        """Write the manifest."""
        if is_object_url(self.out):
            send_seal(self.out, self.request, self.witness, complete=complete)
            return
        out = Path(self.out).expanduser().absolute()
        # another thread may write into the same folder
        own = [one for one in self.places if one.name.startswith(f"{out.stem}.")]
        own += [one for one in self.places if one in self.request.named.values()]
        write_seal(out, self.request, own, self.witness, complete=complete)


def _text(value: Any) -> str:
    """Return a value as it is told: of options what was changed, of arrays what they are."""
    if isinstance(value, str | os.PathLike):
        return repr(os.fspath(value))
    if is_dataclass(value) and not isinstance(value, type | Raster):
        changed = [
            f"{one.name}={_text(found)}"
            for one in fields(value)
            if one.init and _differs(found := getattr(value, one.name, None), one)
        ]
        return f"{type(value).__name__}({', '.join(changed)})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    plain = value is None or isinstance(value, bool | int | float | dict)
    return repr(value) if plain else f"<{type(value).__name__}>"


def _cut(text: str, value: Any) -> str:
    """Return what is told of a value; half an address has nothing by which keys are found."""
    return text if isinstance(value, str | os.PathLike) else text[:LONGEST]


def _differs(value: Any, one: Any) -> bool:
    default = one.default_factory() if callable(one.default_factory) else one.default
    return _text(value) != _text(default)


def _options(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield all plain values of the arguments, also those of options that were not changed."""
    inner: dict[str, Any] = {}
    if isinstance(value, dict) and not name:
        inner = value
    elif is_dataclass(value) and not isinstance(value, type | Raster):
        inner = {one.name: getattr(value, one.name, None) for one in fields(value)}
    if not inner:
        yield name, _cut(without_keys([_text(value)])[0][0], value)
    for key, one in inner.items():
        if key not in SILENT:
            yield from _options(f"{name}.{key}" if name else key, one)


def _named(
    name: str, value: Any, others: AbstractSet[str] = NO_INPUTS | SILENT
) -> Iterator[tuple[str, Path | str]]:
    """Yield what is named by the arguments, and by the options but ``others``, and is there."""
    if isinstance(value, FileSource):
        value = value.path
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if (place := there(text)) is not None:
            yield text, place
    for key, one in _inner(name, value):
        if key not in others:
            yield from _named(key, one, others)


def _inner(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an argument is made of: the entries of a list, each option by its name."""
    if isinstance(value, list | tuple):
        yield from ((name, one) for one in value)
    elif isinstance(value, dict) and not name:
        yield from value.items()
    elif is_dataclass(value) and not isinstance(value, type | Raster):
        yield from ((one.name, getattr(value, one.name, None)) for one in fields(value))


def _values(given: Mapping[str, Any]) -> Iterator[InputSum]:
    """Yield the arrays and tables among the arguments, by their content."""
    for name, value in given.items():
        parts = [_sum(part) for part in _content(value)]
        if parts:
            digest = hashlib.sha256(b"".join(one for _, one in parts))
            size = sum(one for one, _ in parts)
            yield InputSum(f"{name}: {type(value).__name__}", "memory", size, digest.hexdigest())
        elif isinstance(value, Source) and not isinstance(value, FileSource):
            yield InputSum(f"{name}: {type(value).__name__}", "memory")


def _sum(part: bytes | np.ndarray) -> tuple[int, bytes]:
    """Return the bytes of a part and their SHA-256; an array, which may be large, is not copied."""
    if isinstance(part, bytes):
        return len(part), hashlib.sha256(part).digest()
    digest = hashlib.sha256()
    for piece in part if part.ndim > 1 else (part,):
        digest.update(np.ascontiguousarray(piece).tobytes())
    return part.nbytes, digest.digest()


def _content(value: Any) -> Iterator[bytes | np.ndarray]:
    """Yield the bytes that a value in memory is known by; none of one that has a name."""
    if isinstance(value, FileSource | str | os.PathLike) or value is None:
        return
    if isinstance(value, Raster):
        value = value.values
    elif hasattr(value, "to_wkb"):  # a table of outlines
        shapes = getattr(value, "geometry", None)
        if shapes is not None:
            yield repr(shapes.crs).encode()
            yield b"".join(one or b"" for one in shapes.to_wkb())
        return
    elif isinstance(value, dict):
        try:
            yield json.dumps(value, sort_keys=True, default=str).encode()
        except TypeError:  # keys of several kinds
            yield repr(value).encode()
        return
    elif hasattr(value, "dims"):
        value = np.asarray(value.values)
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode()
        yield value
