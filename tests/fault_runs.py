"""Every verb through every fault, with nothing written per verb: the small commands are those of
``option_modes.MODES``, so the next verb comes for free.

A command runs in a forked child, where an audit hook sees each call that changes a file below its
folder (open for writing, rename, link, mkdir, remove ...; ``os.fsync`` besides).  At one of them
the child is killed, or the call fails once with an error of the operating system; or no file may
become larger than so many bytes, which also reaches what C libraries write.  Then the same command
is given again, and has to come to what a run wrote that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import option_modes
from option_walk import ONCE, Inputs, Mode, Outcome, Walk
from selion.cli.main import system_sentence

CHANGING = {
    "os.rename": 2,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
}
"""Audit events of calls that change files, and how many of their arguments are paths."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ERRORS = ("ENOSPC", "EIO", "EACCES", "EMFILE", "EROFS", "EDQUOT")
LOGS = (".jsonl",)
"""Endings of files that grow line by line: half of them is what they are for."""
TIMED = {"run.json"}
"""Files that say how long a run took and what it found done already."""
PATIENCE = 120.0
"""Seconds after which a child hangs."""


@dataclass(frozen=True)
class Fault:
    """What happens to a run, and when."""

    kind: str
    """"kill", the name of an error, or "size"."""
    at: int
    """Number of the call from 1, or the bytes that a file may have."""

    def __str__(self) -> str:
        return f"{self.kind}@{self.at}"


@dataclass
class Ended:
    """What became of a child."""

    outcome: Outcome | None
    """None if it was killed."""
    calls: list[str] = field(default_factory=list)
    trouble: str = ""
    """A traceback."""


class Child:
    """What is done in a child, before and while the command runs."""

    def __init__(self, here: Path, fault: Fault | None) -> None:
        self.here, self.fault = os.path.realpath(here), fault
        self.calls: list[str] = []
        self.on = False

    def watch(self) -> None:
        sys.addaudithook(self._heard)
        real = os.fsync

        def fsync(handle: int) -> None:
            self._called("fsync", None)
            real(handle)

        os.fsync = fsync

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = args
            changes = flags & WRITES if isinstance(flags, int) else set(mode or "") & set("wax+")
            if changes and isinstance(path, str | bytes | os.PathLike):
                self._at("open", path)
        elif event in CHANGING:
            number = CHANGING[event]
            relative = event != "os.truncate" and args[-1] >= 0
            home = str(Path(f"/proc/self/fd/{args[-1]}").readlink()) if relative else ""
            self._at(event.removeprefix("os."), *(_joined(home, one) for one in args[:number]))

    def _at(self, what: str, *paths: Any) -> None:
        for path in paths:
            with contextlib.suppress(TypeError, ValueError):
                name = os.path.normpath(Path(os.fsdecode(path)).absolute())
                if name.startswith((self.here + os.sep, str(Path.cwd()) + os.sep)):
                    self._called(what, name)
                    return

    def _called(self, what: str, name: str | None) -> None:
        self.calls.append(f"{what} {Path(name).name if name else ''}".strip())
        if self.fault is None or self.fault.kind == "size" or len(self.calls) != self.fault.at:
            return
        if self.fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.fault.kind)
        raise OSError(number, os.strerror(number), *([name] if name else []))


def _joined(home: str, path: Any) -> Any:
    """Return a path that is relative to an open folder."""
    return f"{home}/{os.fsdecode(path)}" if home else path


class FaultRuns:
    """The commands of one mode, in children."""

    def __init__(self, verb: str, number: int, mode: Mode, folder: Path, inputs: Inputs) -> None:
        self.verb, self.number = verb, number
        self.mode = replace(
            mode,
            answers={name: made for name, made in mode.answers.items() if made is not ONCE},
            watched={name: made for name, made in mode.watched.items() if made is not None},
        )
        self.folder, self.inputs = folder, inputs
        self.made = 0
        self.restless: set[str] = set()
        """Files that are another one in each run, faults or not."""

    def fresh(self) -> Path:
        """Return a folder with what the command works on beside its output."""
        self.made += 1
        here = self.folder / f"{self.made}"
        here.mkdir(parents=True)
        for name in self.mode.copies:
            source = Path(self.inputs[name])
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / name)
        return here

    def run(self, here: Path, fault: Fault | None = None) -> Ended:
        """Run the command in a child."""

        def work() -> Ended:
            patch = pytest.MonkeyPatch()
            patch.setenv("SELION_CACHE", str(here / ".cache"))
            child = Child(here, fault)
            if fault is not None and fault.kind == "size":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, hard))
            child.watch()
            child.on = True
            try:
                outcome = Walk(self.folder, self.inputs, patch).run(
                    self.mode, self.mode.words, where=here
                )
            except BaseException as error:  # noqa: BLE001 - it is what is looked for
                child.on = False
                said = system_sentence(error) if isinstance(error, OSError) else ""
                if said:
                    return Ended(Outcome(2, ("", said), (), (), (), "system"), child.calls)
                return Ended(None, child.calls, traceback.format_exc())
            child.on = False
            return Ended(outcome, child.calls)

        return in_child(work)

    def examine(self, faults: Callable[[int], list[Fault]]) -> tuple[dict[str, int], list[str]]:
        """Put a command through faults, chosen by how many calls it makes.

        Returns
        -------
        (counts, wrong)
            How many of each kind were tried; a sentence for each that went wrong.
        """
        truth = self.fresh()
        quiet = self.run(truth)
        if quiet.outcome is None or quiet.outcome.code != self.mode.code:
            return {}, [f"selion {self.verb}: {quiet.trouble[-500:] or quiet.outcome}"]
        other = self.fresh()
        self.run(other)
        whole, twice = visible(truth), visible(other)
        self.restless = {
            name
            for name in whole
            if whole[name] != twice.get(name) or name.rpartition("/")[2] in TIMED
        }
        hidden = {name for name in files(truth) if name not in whole}
        counts: dict[str, int] = {}
        wrong: list[str] = []
        for fault in faults(len(quiet.calls)):
            counts[fault.kind] = counts.get(fault.kind, 0) + 1
            called = quiet.calls[fault.at - 1] if fault.kind != "size" else "write"
            said = f"selion {self.verb} [{self.number}] {fault} ({called})"
            wrong += [f"{said}: {what}" for what in self._one(fault, called, quiet, whole, hidden)]
        return counts, wrong

    def _one(
        self, fault: Fault, called: str, quiet: Ended, whole: dict[str, str], hidden: set[str]
    ) -> list[str]:
        here = self.fresh()
        before = visible(here)
        hurt = self.run(here, fault)
        wrong = _said_well(hurt, fault)
        seen = visible(here)
        succeeded = hurt.outcome is not None and hurt.outcome.code == self.mode.code
        half = [
            name
            for name, body in seen.items()
            if body not in (whole.get(name), before.get(name))
            and not name.endswith(LOGS)
            and name not in self.restless
        ]
        if half:
            wrong.append(f"half of {half[:3]} is visible")
        if not succeeded:
            again = self.run(here)
            assert quiet.outcome is not None
            there = again.outcome is not None and "exists already" in "".join(again.outcome.printed)
            if again.outcome is None or (again.outcome.code != self.mode.code and not there):
                wrong.append(f"the same command again: {_end(again)}")
        after = visible(here)
        differ = [
            name
            for name in after.keys() | whole.keys()
            if after.get(name) != whole.get(name)
            and not (name in self.restless and name in after and name in whole)
        ]
        if differ:
            wrong.append(f"in the end {sorted(differ)[:3]} differ")
        left = [name for name in files(here) if name not in after and name not in hidden]
        tidying = succeeded and fault.kind != "size" and called.startswith(("remove", "rmdir"))
        if left and not tidying:
            wrong.append(f"left behind: {sorted(left)[:3]}")
        shutil.rmtree(here, ignore_errors=True)
        return wrong


def _said_well(hurt: Ended, fault: Fault) -> list[str]:
    if hurt.trouble:
        return [f"traceback: {hurt.trouble.strip().splitlines()[-1][:300]}"]
    if hurt.outcome is None:
        return [] if fault.kind == "kill" else ["it died"]
    if hurt.outcome.code not in (0, 1, 2, 3):
        return [f"exit code {hurt.outcome.code}"]
    return []


def _end(ended: Ended) -> str:
    if ended.outcome is None:
        return (ended.trouble.strip().splitlines() or ["killed"])[-1][:300]
    return f"exit code {ended.outcome.code}, {ended.outcome.printed[1].strip()[-250:]}"


def files(here: Path) -> dict[str, Path]:
    """Return all files below a folder but those of the cache."""
    return {
        path.relative_to(here).as_posix(): path
        for path in here.rglob("*")
        if path.is_file() and path.relative_to(here).parts[0] != ".cache"
    }


def visible(here: Path) -> dict[str, str]:
    """Return what a person sees: names, and hashes of contents without what differs by itself."""
    from option_walk import _cleaner, _written

    shown = {name for name in files(here) if not any(p.startswith(".") for p in name.split("/"))}
    clean = _cleaner({str(here): "<here>"})
    return {name: body for name, body in _written(here, clean) if name in shown}


def in_child(work: Callable[[], Any]) -> Any:
    """Do something in a forked child; what it returns comes back, or that it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        try:
            answer = pickle.dumps(work())
        except BaseException:  # noqa: BLE001 - a child must not go on as its parent
            answer = pickle.dumps(Ended(None, [], traceback.format_exc()))
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2
        )
        with os.fdopen(writing, "wb") as out:
            out.write(answer)
        os._exit(0)
    os.close(writing)
    timer = time.monotonic() + PATIENCE
    answer = b""
    os.set_blocking(reading, False)
    while time.monotonic() < timer:
        try:
            piece = os.read(reading, 1 << 20)
        except BlockingIOError:
            time.sleep(0.005)
            continue
        if not piece:
            break
        answer += piece
    else:
        os.killpg(child, signal.SIGKILL)
    os.close(reading)
    os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if not answer:
        late = time.monotonic() >= timer
        return Ended(None, [], f"it hangs: {PATIENCE:.0f} s" if late else "")
    return pickle.loads(answer)


def ready_inputs(folder: Path, words: str, copies: tuple[str, ...]) -> Inputs:
    """Make what a command works on in a child, so that this process starts no threads."""

    def make() -> dict[str, Any]:
        inputs = Inputs(folder, option_modes.INPUTS)
        words.format_map(inputs)
        for name in copies:
            inputs[name]
        return {name: str(value) for name, value in inputs.items()}

    made = in_child(make)
    if isinstance(made, Ended):
        raise RuntimeError(made.trouble)  # noqa: TRY004 - it is no type that is wrong
    inputs = Inputs(folder, option_modes.INPUTS)
    inputs.update(made)
    return inputs


def spread(calls: int, kinds: tuple[str, ...], most: int, start: int = 0) -> list[Fault]:
    """Choose faults evenly over the calls of a command, each kind at its own places."""
    chosen = []
    for number, kind in enumerate(kinds):
        if kind == "size":
            chosen += [Fault("size", size) for size in (0, 1000, 20_000)[: max(most, 1)]]
            continue
        step = max(calls / most, 1.0)
        first = 1 + (start + number) % max(int(step), 1)
        places = sorted({min(int(first + k * step), calls) for k in range(min(most, calls))})
        chosen += [Fault(kind, place) for place in places if place >= 1]
    return chosen
