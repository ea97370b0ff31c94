"""Walks the options of a verb: each one given changes what comes of the command, or is refused.

A verb has modes (``selion map`` of an image, of an area, from a published map), and each mode a
small command.  Every option is added to every mode's command with another value than it has there.
What came of it is looked at from outside: exit code, what was printed, what was written, and
what was asked of the library where a mode replaces a costly call by an answer.  It has to differ,
or the command has to end with exit code 2 and a sentence that names the option.  What differs from
run to run anyhow would prove nothing, so each command runs twice first, and has to repeat itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pkgutil
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from selion.cli.main import VERBS, cli
from selion.errors import SelionError
from selion.store.manifest import ENDING

UNSEEN = {
    "threads": "results do not depend on how many threads there are",
    "workers": "results do not depend on how many workers there are",
    "runner": "results do not depend on who does the blocks",
    "block": "results do not depend on the size of blocks",
    "batch": "results do not depend on how many windows are done at once",
    "engine": "engines agree to rounding",
    "gpu": "an engine in ftw's words",
    "mps_mode": "an engine in ftw's words",
    "fast": "agrees to rounding",
    "work": "finished parts are kept there, which is seen by the run after an interrupted one",
    "keep_archives": "only after a download",
    "device": "devices agree to rounding",
    "browser": "opens a window of another program",
}
"""Options that by their nature change nothing that is printed or written, and why: of these it is
enough that what is asked of the library changes, also where it is answered in full."""
TIMES = (
    (re.compile(r'("(?:seconds|wall|minutes|changed|elapsed)": )[\d.e+-]+'), r"\1<time>"),
    (re.compile(r"\b\d+(\.\d+)? ?(s|ms|minutes|km2/s)\b"), "<time>"),
    (re.compile(r"^(.*seconds\w*\s+)[\d.]+$", re.MULTILINE), r"\1<time>"),
    (
        re.compile(r"(?:19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00| UTC)?"),
        "<time>",
    ),
    (re.compile(r" at 0x[0-9a-f]+"), ""),
)
"""What is another in each run."""
TEXTS = {".json", ".jsonl", ".md", ".html", ".csv", ".toml", ".txt", ".sh", ".qml", ".geojson"}


class AskedOtherwise(Exception):
    """The library was asked for something else than the first time; the answer is not needed."""


class Once:
    """Instead of an answer: the function does its work, once for the same arguments."""


ONCE = Once()


@dataclass(frozen=True)
class Mode:
    """One small command of a verb."""

    words: str
    """After ``selion``; {names} are those of :class:`Inputs`."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """Costly functions of the library and what they answer with: a value, or a function of their
    arguments.  What they were asked counts as what comes of the command."""
    watched: Mapping[str, Any] = field(default_factory=dict)
    """Functions whose arguments are noted, which counts for UNSEEN only; they do their work, or
    another function does it."""
    copies: tuple[str, ...] = ()
    """Inputs that the command writes into or beside: copied under these names into its folder."""
    skip: tuple[str, ...] = ()
    """Options that make another mode of it."""
    code: int = 0
    """Exit code of the command as it stands."""


@dataclass(frozen=True)
class Given:
    """Another value of an option, and the words without which it makes no sense."""

    value: str | None
    words: str = ""
    only: bool = False
    """Whether its help says that it acts only with such words; alone it is not tried then."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command."""

    code: int
    printed: tuple[str, str]
    written: tuple[tuple[str, str], ...]
    """Names and contents of files; manifests hold all options anyhow, so they prove nothing."""
    asked: tuple[str, ...]
    watched: tuple[str, ...]
    error: str = ""
    """Who refused: "usage" is the command line, "library" the library."""

    @property
    def seen(self) -> tuple[object, ...]:
        return self.code, self.printed, self.written, self.asked


class Inputs(dict):
    """What commands work on, each made when it is first wanted."""

    def __init__(self, folder: Path, makers: Mapping[str, Callable[[Path, Inputs], Any]]) -> None:
        super().__init__()
        self.folder, self.makers = folder, makers

    def __missing__(self, name: str) -> Any:
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        self[name] = self.makers[name](place, self)
        return self[name]


def commands(
    group: click.Group = cli, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Yield every verb and every verb of a verb."""
    context = click.Context(group)
    for name in VERBS if group is cli else group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


def options_of(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


class Walk:
    """The commands of one verb, run in folders of their own."""

    def __init__(self, folder: Path, inputs: Inputs, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.inputs, self.patch = folder, inputs, patch
        self.runs = 0
        self.streams: Callable[[], tuple[io.StringIO, io.StringIO]] = lambda: (
            io.StringIO(),
            io.StringIO(),
        )
        """What stdout and stderr of a command are."""
        self.answered: dict[tuple[str, str], tuple[str, Any]] = {}

    def run(self, mode: Mode, words: str, *, where: Path | None = None) -> Outcome:
        """Run a command, in a new folder or where another one has run."""
        self.runs += 1
        here = where or self.folder / str(self.runs)
        here.mkdir(parents=True, exist_ok=True)
        for name in mode.copies if where is None else ():
            source = Path(self.inputs[name])
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / name)
        clean = _cleaner({str(here): "<here>", str(self.inputs.folder): "<inputs>"})
        asked: list[str] = []
        watched: list[str] = []
        out, err = self.streams()
        with self.patch.context() as patch:
            patch.chdir(here)
            for name, answer in mode.answers.items():
                key = (mode.words, name)
                once = answer is ONCE
                make = self._once(key, asked, clean) if once else _answering(name, answer, asked)
                _replace(patch, name, make)
            for name, instead in mode.watched.items():
                _replace(patch, name, _noting(name, instead, watched))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code, error, kind = _invoke(shlex.split(words.format_map(self.inputs)))
        return Outcome(
            code,
            (clean(out.getvalue()), clean(err.getvalue() + error)),
            tuple(one for one in _written(here, clean) if not one[0].endswith(ENDING)),
            tuple(map(clean, asked)),
            tuple(map(clean, watched)),
            kind,
        )

    def _once(
        self, key: tuple[str, str], asked: list[str], clean: Callable[[str], str]
    ) -> Callable[[Any], Any]:
        def make(real: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                said = clean(_call(key[1], args, kwargs))
                asked.append(said)
                if key not in self.answered:
                    self.answered[key] = said, real(*args, **kwargs)
                first, answer = self.answered[key]
                if first != said:
                    raise AskedOtherwise
                return answer

            return call

        return make

    def examine(
        self, mode: Mode, command: click.Command, others: Mapping[str, Given | str]
    ) -> tuple[dict[str, str], list[str]]:
        """Return what each option does in a mode, and the sentences of what is wrong."""
        verdicts: dict[str, str] = {}
        wrong: list[str] = []
        base = self._repeated(mode, mode.words, wrong)
        if base is None:
            return verdicts, wrong
        known = {mode.words: base}
        for option in options_of(command):
            name = str(option.name)
            given = others.get(name)
            given = Given(given) if isinstance(given, str) else given
            alone = given is None or not given.words or name == "force"
            tried = [""] if alone else [given.words] if given.only else ["", given.words]
            if name in mode.skip:
                continue
            if (
                option.is_flag
                and not option.secondary_opts
                and option.opts[0] in mode.words.split()
            ):
                verdicts[name] = "works"
                continue  # it is what makes the mode
            for more in tried:
                words = f"{mode.words} {more}".strip()
                before = known[words] = known.get(words) or self.run(mode, words)
                try:
                    added = _added(option, given.value if given else None, words)
                except LookupError as unknown:
                    wrong.append(str(unknown))
                    break
                after = self.run(mode, f"{_without(option, words)} {added}")
                if before.code != mode.code:  # these words are not for this mode, or lack others
                    if after.code == mode.code:
                        verdicts[name] = "works"
                    continue
                verdict = _verdict(option, before, after)
                if verdict == "ignored" and name == "force":
                    verdict = self._forced(mode, mode.words, given.words if given else "", added)
                verdicts[name] = "works" if "works" in (verdict, verdicts.get(name)) else verdict
                if verdict not in ("works", "refused"):
                    wrong.append(f"selion {words}   with   {added}: {verdict}. {_end(after)}")
        return verdicts, wrong

    def _repeated(self, mode: Mode, words: str, wrong: list[str]) -> Outcome | None:
        if ONCE in mode.answers.values():
            self.run(mode, words)  # what is done once is done and said here
        one, other = self.run(mode, words), self.run(mode, words)
        if one.code != mode.code:
            wrong.append(f"selion {words}: exit code {one.code}. {_end(one)}")
            return None
        if one != other:
            parts = [
                f"{f.name}: {getattr(one, f.name)!r} then {getattr(other, f.name)!r}"
                for f in fields(one)
                if getattr(one, f.name) != getattr(other, f.name)
            ]
            wrong.append(f"selion {words}: is not the same twice: {parts}")
            return None
        return one

    def _forced(self, mode: Mode, words: str, more: str, added: str) -> str:
        """See whether a second run that is refused, or does nothing, works with --force."""
        here = self.folder / f"{self.runs}-again"
        for name in mode.copies:
            source = Path(self.inputs[name])
            here.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / name)
        self.run(mode, words, where=here)
        again = self.run(mode, f"{words} {more}", where=here)
        forced = self.run(mode, f"{words} {more} {added}", where=here)
        return "works" if again.seen != forced.seen else "ignored"


def _invoke(arguments: list[str]) -> tuple[int, str, str]:
    """Run the command line as ``main`` does, but for what ``main`` changes in this process."""
    try:
        cli.main(arguments, prog_name="selion", standalone_mode=False)
    except SystemExit as ended:
        return int(ended.code or 0), "", ""
    except click.ClickException as problem:
        return 2, problem.format_message(), "usage"
    except SelionError as problem:
        return 2, str(problem), "library"
    except AskedOtherwise:
        return 0, "", ""
    return 0, "", ""


def _end(outcome: Outcome) -> str:
    return outcome.printed[1].strip().rpartition("\n")[2][-300:]


def _verdict(option: click.Option, before: Outcome, after: Outcome) -> str:
    if after.code == 2 and before.code != 2:
        names = {name.strip("-") for name in (*option.opts, *option.secondary_opts)}
        named = bool(names & set(re.findall(r"\w[\w-]*", after.printed[1])))
        if named or after.error == "usage":
            return "refused" if named else "refused with a sentence that does not name it"
        return "works"  # the library saw it, and says what is wrong with that value here
    if after.seen != before.seen:
        return "works"
    if option.name in UNSEEN and after.watched != before.watched:
        return "works"
    return "ignored"


def _added(option: click.Option, given: str | None, words: str) -> str:
    """Return an option with another value than it has in these words."""
    name = option.opts[0]
    there = shlex.split(words)
    if option.is_flag:
        if not option.secondary_opts:
            return name
        on = option.default and not set(option.secondary_opts) & set(there)
        return option.secondary_opts[0] if on else name
    if given is not None:
        return f"{name} {given}"
    value = there[there.index(name) + 1] if name in there else option.default
    if isinstance(option.type, click.Choice):
        return f"{name} {next(one for one in option.type.choices if one != value)}"
    if isinstance(option.type, click.IntRange | click.FloatRange):
        low, high = option.type.min, option.type.max
        step = 1 if isinstance(option.type, click.IntRange) else 0.25
        start = float(value) if isinstance(value, int | float | str) else low or 0
        for candidate in (start + step, start - step, (start + (low or 0)) / 2):
            fits = (low is None or candidate > low) and (high is None or candidate < high)
            if fits and candidate != start:
                whole = isinstance(option.type, click.IntRange)
                return f"{name} {int(candidate) if whole else candidate}"
    message = f"no other value is known for {name}: add it to OTHERS in option_modes.py"
    raise LookupError(message)


def _without(option: click.Option, words: str) -> str:
    """Take an option out of a command, before it comes again with another value."""
    there, kept = words.split(), []
    names = {*option.opts, *option.secondary_opts}
    skip = 0
    for word in there:
        if skip:
            skip -= 1
        elif word in names and not option.multiple:
            skip = 0 if option.is_flag else option.nargs
        else:
            kept.append(word)
    return " ".join(kept)


def _replace(patch: pytest.MonkeyPatch, name: str, make: Callable[[Any], Any]) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        home: Any = import_module(module)
    except ModuleNotFoundError:  # a method
        home = pkgutil.resolve_name(module)
    patch.setattr(home, attribute, make(getattr(home, attribute)))


def _answering(name: str, answer: Any, asked: list[str]) -> Callable[[Any], Any]:
    def make(_: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            asked.append(_call(name, args, kwargs))
            return answer(*args, **kwargs) if callable(answer) else answer

        return call

    return make


def _noting(name: str, instead: Any, watched: list[str]) -> Callable[[Any], Any]:
    def make(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            watched.append(_call(name, args, kwargs))
            return (instead or real)(*args, **kwargs)

        return call

    return make


def _call(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    given = [*map(_said, args), *(f"{key}={_said(value)}" for key, value in sorted(kwargs.items()))]
    return f"{name}({', '.join(given)})"


def _said(value: Any) -> str:  # noqa: PLR0911  # one kind of value a line
    """Say what a value is, all the way down."""
    if is_dataclass(value) and not isinstance(value, type):
        inner = [f"{f.name}={_said(getattr(value, f.name, None))}" for f in fields(value) if f.repr]
        return f"{type(value).__name__}({', '.join(inner)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_said(k)}: {_said(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_said, value)))}}}"
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()[:12]
    if hasattr(value, "func"):  # a partial function
        return f"{_said(value.func)}{_said(value.args)}{_said(value.keywords)}"
    if isinstance(value, str | int | float | Path | None):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__name__)


def _cleaner(places: Mapping[str, str]) -> Callable[[str], str]:
    def clean(text: str) -> str:
        for place, name in places.items():
            text = text.replace(os.path.realpath(place), name).replace(place, name)
        for pattern, with_ in TIMES:
            text = pattern.sub(with_, text)
        return text

    return clean


def _written(here: Path, clean: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for path in sorted(here.rglob("*")):
        if path.is_file():
            body = path.read_bytes()
            if path.suffix in TEXTS:
                body = clean(body.decode("utf-8", "replace")).encode()
            yield str(path.relative_to(here)), hashlib.sha256(body).hexdigest()[:12]
