"""Every verb through every fault, with nothing written per verb: the small commands are those of
``option_modes.MODES``, so the next verb comes for free.

A command runs in a forked child, where an audit hook sees each call that changes a file below its
folder (open for writing, rename, link, mkdir, remove ...; ``os.fsync`` besides).  At one of them
the child is killed or asked to stop, the call fails once or all do from there on, the clock is set
back or far ahead, the folder of the output goes or gets another name, or an input is cut; or
nobody reads what is printed any more; or no file may become larger than so many bytes, or the
folder is a small disk (tmpfs), which also reach what C libraries write; or two children do the same
at once; or the folder has an odd name, or the output that of a link.  Then the same command is
given again, and has to come to what a run wrote that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import io
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any

import click
import pytest

import option_modes
from option_walk import ONCE, Inputs, Mode, Outcome, Walk
from selion.cli.main import _stop_as_asked, system_sentence

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
SIGNALS = ("INT", "TERM", "HUP")
LASTING = {"full": "ENOSPC", "readonly": "EROFS"}
"""What fails from a call on, until the command ends; on a full disk one may still remove."""
CLOCKS = {"clock": -86_400.0, "ahead": 3650 * 86_400.0}
"""Seconds by which the clock is set, back and ahead."""
MOMENTS = (
    *("kill", "steps", "tidying", *ERRORS, *SIGNALS, *LASTING),
    *("gone", "moved", "input", *CLOCKS, "EXDEV"),
)
"""What happens at one of the calls, or from there on."""
DEADLY = ("kill", "steps", "tidying")
"""What ends the child at a call."""
SCRATCH = re.compile(
    r"lock|lock\.new|made|\.selion-[0-9a-f]{8}|tiles|described\.vrt|.*\.(ovr|msk|aux\.xml)"
)
"""What comes and goes in a scratch folder, and what GDAL asks for that was never there."""
PRINTED = {"pipe": errno.EPIPE, "terminal": errno.EIO}
"""What who prints something is told: nobody reads stdout; the terminal is gone, for stderr too."""
KINDS = (*MOMENTS, "lost", *PRINTED, "random", "size", "tmpfs", "twice", "names", "link")
"""``steps`` are kills before and after each file gets its name, ``tidying`` ones before something
is removed that is no scratch (finished parts, notes), ``random`` ones at a time;
``lost`` is a clock at the beginning of 1970, of the whole run or of the one after a kill."""
SIZES = {"size": (0, 1000, 20_000), "tmpfs": (8, 64, 256)}
"""Bytes that a file may have; KiB of the disk."""
NAMES = (
    "two words",
    'it\'s "quoted"',
    "-dash",
    "caf\u00e9 \u00fc",
    "cafe\u0301 u\u0308",
    "a%20b#c?d=e&f",
    "line\nbreak",
    "n" * 250,
)
"""Of the folder in which a command works."""
MOVED = ".moved"
"""What the folder of a command is called then, at its end."""
LOGS = (".jsonl",)
"""Endings of files that grow line by line: half of them is what they are for."""
TIMED = {"run.json", "job.log", "job.times"}
"""Files that say how long a run took, how often it began, and what it found done already."""
RESUMED = "continue with --resume"
"""What a verb says that wants to be asked before it goes on."""
EVENTS = "events.out."
"""Begin of names of logs that are called by the time."""
PATIENCE = 120.0
"""Seconds after which a child hangs."""


Watch = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """What happens to a run, and when."""

    kind: str
    """One of :data:`KINDS`."""
    at: int
    """Number of the call from 1; of :data:`SIZES` the size, of a name its number from 0; of a time
    thousandths of what a run takes that nobody disturbs."""

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
    modules: list[str] = field(default_factory=list)
    """What it has imported."""
    seconds: float = 0.0
    """How long it took."""


@dataclass(frozen=True)
class Truth:
    """What a run left that nobody disturbed."""

    whole: dict[str, str]
    """What a person sees: names, and hashes of contents."""
    hidden: set[str]
    """Names of hidden files."""


class Child:
    """What is done in a child, before and while the command runs."""

    def __init__(
        self,
        here: Path,
        fault: Fault | None,
        kept: tuple[str, ...] = (),
        read: Path | None = None,
    ) -> None:
        self.kept, self.read = (".cache", *kept), read
        self.here, self.fault = os.path.realpath(here), fault or Fault("", 0)
        self.done = self.across = False
        """Whether it has happened; whether the call is about two folders."""
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
                    self.across = (
                        len({Path(os.fsdecode(one)).absolute().parent for one in paths}) > 1
                    )
                    self._called(what, name)
                    return

    def _called(self, what: str, name: str | None) -> None:
        self.calls.append(f"{what} {Path(name).name if name else ''}".strip())
        kind, due = self.fault.kind, len(self.calls) - self.fault.at
        if kind in MOMENTS and due >= 0 and (due == 0 or kind in (*LASTING, "EXDEV")):
            self._happen(kind, what, name)

    def _happen(self, kind: str, what: str, name: str | None) -> None:
        if kind in DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind in SIGNALS:
            os.kill(os.getpid(), getattr(signal, f"SIG{kind}"))
        elif kind in CLOCKS:
            _set_clock(CLOCKS[kind])
        elif kind == "moved":
            self.on = False
            Path(self.here).rename(self.here + MOVED)
            self.on = True
        elif kind == "input":
            if self.read is not None:
                os.truncate(self.read, self.read.stat().st_size // 2)
        elif kind == "gone":
            self.on = False
            for one in Path(self.here).iterdir():
                if one.name not in self.kept:
                    _take(one)
            self.on = True
        elif kind == "EXDEV":
            if what in ("rename", "link") and self.across and not self.done:
                self.done = True
                _raise(kind, name)
        elif kind != "full" or what not in ("remove", "rmdir"):
            _raise(LASTING.get(kind, kind), name)


def _take(one: Path) -> None:
    """Remove something, though other threads may be writing to it still."""
    for _ in range(20):
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)
        if not one.exists():
            return


def _raise(kind: str, name: str | None) -> None:
    number = getattr(errno, kind)
    raise OSError(number, os.strerror(number), *([name] if name else []))


def _set_clock(seconds: float) -> None:
    """Set the clock so many seconds ahead, as far as Python's code reads it.

    The files get the times of a system whose clock is right, as those of another machine do.
    """
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)
    wrong = _clock(seconds)
    for name, module in list(sys.modules.items()):
        if name.startswith("selion") and vars(module).get("datetime") is datetime:
            module.datetime = wrong  # type: ignore[attr-defined]


def _clock(seconds: float) -> type[datetime]:
    """Return a class like datetime, for which it is another time."""

    class Same(type):
        def __instancecheck__(cls, thing: object) -> bool:
            return isinstance(thing, datetime)

    class Wrong(datetime, metaclass=Same):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return datetime(*args, **kwargs)  # noqa: DTZ001 - as it is asked

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=seconds)

    return Wrong


class Unread(io.StringIO):
    """What is printed while somebody reads it: so many times."""

    def __init__(self, kind: str, times: int) -> None:
        super().__init__()
        self.kind, self.times = kind, times

    def write(self, text: str) -> int:
        self.times -= 1
        if self.times < 0:
            raise OSError(PRINTED[self.kind], os.strerror(PRINTED[self.kind]))
        return super().write(text)


def _streams(fault: Fault) -> tuple[io.StringIO, io.StringIO]:
    out = Unread(fault.kind, fault.at)
    return out, out if fault.kind == "terminal" else io.StringIO()


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
        self.seconds = 0.0
        """What a run takes that nobody disturbs, and that imports nothing."""

    def fresh(self, called: str = "") -> Path:
        """Return a folder with what the command works on beside its output."""
        self.made += 1
        here = self.folder / f"{self.made}" / (called or "home")
        here.mkdir(parents=True)
        for name in self.mode.copies:
            source = Path(self.inputs[name])
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / name)
        return here

    def run(
        self,
        here: Path,
        fault: Fault | None = None,
        watch: Watch | None = None,
        more: str = "",
    ) -> Ended:
        """Run the command in a child, with ``more`` words; ``watch`` looks at the folder."""

        def work() -> Ended:
            patch = pytest.MonkeyPatch()
            patch.setenv("SELION_CACHE", str(here / ".cache"))
            child = Child(here, fault, self.mode.copies, self._read())
            if fault is not None and fault.kind == "size":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, hard))
            _stop_as_asked()
            walk = Walk(self.folder, self.inputs, patch)
            if fault is not None and fault.kind == "lost":
                _set_clock(3600 - time.time())
            if fault is not None and fault.kind in PRINTED:
                walk.streams = lambda: _streams(fault)
            child.watch()
            child.on = True
            began = time.monotonic()
            try:
                outcome = walk.run(self.mode, self.mode.words + more, where=here)
            except BrokenPipeError:  # as main ends
                child.on = False
                return Ended(Outcome(1, ("", ""), (), (), (), "pipe"), child.calls)
            except BaseException as error:  # noqa: BLE001 - it is what is looked for
                child.on = False
                if isinstance(error, KeyboardInterrupt | click.Abort):
                    return Ended(Outcome(130, ("", ""), (), (), (), "stopped"), child.calls)
                said = system_sentence(error) if isinstance(error, OSError) else ""
                if said:
                    return Ended(Outcome(2, ("", said), (), (), (), "system"), child.calls)
                return Ended(None, child.calls, traceback.format_exc())
            child.on = False
            took = time.monotonic() - began
            return Ended(outcome, child.calls, modules=list(sys.modules), seconds=took)

        timed = fault is not None and fault.kind == "random"
        dies = fault.at / 1000 * self.seconds if timed else None
        return in_child(work, dies=dies, watch=watch)

    def _read(self) -> Path | None:
        """Return the largest file that the command is given and does not write to."""
        named = [
            Path(str(self.inputs[name]))
            for _, name, _, _ in Formatter().parse(self.mode.words)
            if name
        ]
        found = [
            path
            for one in named
            if one.exists()
            for path in (one.rglob("*") if one.is_dir() else [one])
            if path.is_file()
        ]
        return max(found, key=lambda path: (path.stat().st_size, path.name), default=None)

    def examine(
        self, faults: Callable[[list[str]], list[Fault]]
    ) -> tuple[dict[str, int], list[str]]:
        """Put a command through faults, chosen by the calls it makes.

        Returns
        -------
        (counts, wrong)
            How many of each kind were tried; a sentence for each that went wrong.
        """
        truth = self.fresh()
        quiet = self.run(truth)
        if quiet.outcome is None or quiet.outcome.code != self.mode.code:
            return {}, [f"selion {self.verb}: {quiet.trouble[-500:] or quiet.outcome}"]
        imported(quiet.modules)
        other = self.fresh()
        self.seconds = self.run(other).seconds
        whole, twice = visible(truth), visible(other)
        self.restless = {
            name
            for name in whole
            if whole[name] != twice.get(name) or name.rpartition("/")[2] in TIMED
        }
        known = Truth(whole, {name for name in files(truth) if name not in whole})
        counts: dict[str, int] = {}
        wrong: list[str] = []
        for fault in faults(quiet.calls):
            counts[fault.kind] = counts.get(fault.kind, 0) + 1
            called = quiet.calls[fault.at - 1] if fault.kind in MOMENTS else "write"
            said = f"selion {self.verb} [{self.number}] {fault} ({called})"
            wrong += [f"{said}: {what}" for what in self._one(fault, called, known)]
        return counts, wrong

    def _one(self, fault: Fault, called: str, truth: Truth) -> list[str]:
        if fault.kind == "link":
            return self._linked(truth)
        here = self.fresh(NAMES[fault.at] if fault.kind == "names" else "")
        try:
            with small_disk(here, fault) as grow:
                before = visible(here)
                seen: set[str] = set()

                def watch() -> None:
                    with contextlib.suppress(OSError):  # it went while it was looked at
                        seen.update(self._half(visible(here), before, truth))

                hurt, *others = self._hurt(here, fault, watch)
                grow()
                astray = _moved_back(here) if fault.kind == "moved" else []
                met = hurt.calls[fault.at - 1 : fault.at]  # threads take turns as they like
                tidying = (met or [called])[0].startswith(
                    ("remove", "rmdir")
                ) and fault.kind in MOMENTS
                tidying |= fault.kind in ("readonly", "moved")
                return [
                    *(f"meanwhile {one}" for one in sorted(seen)),
                    *astray,
                    *(what for one in (hurt, *others) for what in _said_well(one, fault)),
                    *self._half(visible(here), before, truth),
                    *self._again(here, [hurt, *others], truth, fault, tidying=tidying),
                ]
        finally:
            shutil.rmtree(here, ignore_errors=True)

    def _hurt(self, here: Path, fault: Fault, watch: Watch) -> list[Ended]:
        """Run the command with a fault, or two at once."""
        if fault.kind == "lost" and fault.at:
            return [self.run(here, Fault("kill", fault.at))]
        if fault.kind == "input":
            with _kept(self._read()):
                return [self.run(here, fault)]
        if fault.kind != "twice":
            return [self.run(here, fault, watch if fault.kind == "random" else None)]
        with ThreadPoolExecutor(2) as both:
            return list(both.map(lambda _: self.run(here), range(2)))

    def _half(self, seen: dict[str, str], before: dict[str, str], truth: Truth) -> list[str]:
        half = [
            name
            for name, body in seen.items()
            if body not in (truth.whole.get(name), before.get(name))
            and not name.endswith(LOGS)
            and name not in self.restless
        ]
        return [f"half of {half[:3]} is visible"] if half else []

    def _again(
        self, here: Path, hurt: list[Ended], truth: Truth, fault: Fault, *, tidying: bool
    ) -> list[str]:
        """Give the same command again, unless it has succeeded, and look at what there is."""
        code, wrong, gone = self.mode.code, [], fault.kind == "gone"
        clock = replace(fault, at=0) if fault.kind == "lost" and fault.at else None
        succeeded = any(one.outcome is not None and one.outcome.code == code for one in hurt)
        if not succeeded:
            again = self.run(here, clock)
            if again.outcome is not None and RESUMED in "".join(again.outcome.printed):
                again = self.run(here, clock, more=" --resume")
            there = again.outcome is not None and "exists already" in "".join(again.outcome.printed)
            if again.outcome is None or (again.outcome.code != code and not there):
                wrong.append(f"the same command again: {_end(again)}")
        after, whole = visible(here), truth.whole
        differ = [
            name
            for name in after.keys() | whole.keys()
            if after.get(name) != whole.get(name)
            and not (gone and succeeded and name not in after)  # it went after it was there
            and not (name in self.restless and name in after and name in whole)
        ]
        if differ:
            wrong.append(f"in the end {sorted(differ)[:3]} differ ({_end(hurt[0])})")
        left = [name for name in files(here) if name not in after and name not in truth.hidden]
        if left and not (succeeded and tidying):  # what could not be removed then
            wrong.append(f"left behind: {sorted(left)[:3]}")
        return wrong

    def _linked(self, truth: Truth) -> list[str]:
        """A link to nowhere in the place of the output: nothing may come to be at its end."""
        words = self.mode.words.split()
        if "-o" not in words or "/" in words[words.index("-o") + 1]:
            return []
        here = self.fresh()
        link, end = here / words[words.index("-o") + 1], here.parent / "elsewhere"
        link.symlink_to(end)
        ended = self.run(here)
        wrong = _said_well(ended, Fault("link", 0))
        if os.path.lexists(end):
            wrong.append("it wrote where a link leads")
        if not link.is_symlink():
            wrong.append("it replaced a link")
        return wrong


@contextlib.contextmanager
def _kept(path: Path | None) -> Iterator[None]:
    """Put a file's content and its time back in the end."""
    if path is None:
        yield
        return
    before, content = path.stat(), path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _moved_back(here: Path) -> list[str]:
    """Give a folder its name back; nothing may have come to be where it was."""
    moved = Path(str(here) + MOVED)
    if not moved.exists():
        return []
    made = [path for path in here.rglob("*") if path.is_file()] if here.exists() else []
    shutil.rmtree(here, ignore_errors=True)
    moved.rename(here)
    shown = [path.name for path in made if not path.name.startswith(".")]
    return [f"{shown[:3]} came to be where the folder was"] if shown else []


def imported(modules: list[str]) -> None:
    """Import what a child has imported, so that the next ones need not: most of a small run."""
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                import_module(name)


@contextlib.contextmanager
def small_disk(here: Path, fault: Fault) -> Iterator[Callable[[], None]]:
    """Let a folder be a small disk, if that is the fault; it grows when asked."""
    if fault.kind != "tmpfs":
        yield lambda: None
        return
    kept = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    room = sum(map(len, kept.values())) // 1024 + 8 * len(kept) + fault.at
    _mount("-t", "tmpfs", "-o", f"size={room}k", "none", str(here))
    try:
        for path, body in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        yield lambda: _mount("-o", "remount,size=1g", str(here))
    finally:
        subprocess.run(["umount", "-l", str(here)], check=False, capture_output=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Say whether this process may have a small disk."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with small_disk(folder, Fault("tmpfs", 8)):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _said_well(hurt: Ended, fault: Fault) -> list[str]:
    if hurt.trouble:
        return [f"traceback: {hurt.trouble.strip().splitlines()[-1][:300]}"]
    if hurt.outcome is None:
        return [] if fault.kind in (*DEADLY, "random", "lost") else ["it died"]
    if hurt.outcome.code not in (0, 1, 2, 3) + (130,) * (fault.kind in SIGNALS):
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
        if path.is_file()
        and path.relative_to(here).parts[0] != ".cache"
        and not path.name.startswith(EVENTS)
    }


def visible(here: Path) -> dict[str, str]:
    """Return what a person sees: names, and hashes of contents without what differs by itself."""
    from option_walk import _cleaner, _written

    shown = {name for name in files(here) if not any(p.startswith(".") for p in name.split("/"))}
    clean = _cleaner({str(here): "<here>"})
    return {name: body for name, body in _written(here, clean) if name in shown}


def in_child(
    work: Callable[[], Any], *, dies: float | None = None, watch: Watch | None = None
) -> Any:
    """Do something in a forked child; what it returns comes back, or that it was killed.

    ``dies`` are seconds after which it is; ``watch`` is called again and again meanwhile.  Of one
    that hangs comes back where its threads were.
    """
    reading, writing = os.pipe()
    stacks = os.memfd_create("stacks")
    child = os.fork()
    if not child:
        os.close(reading)
        faulthandler.register(signal.SIGUSR1, file=stacks)
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
    began = time.monotonic()
    patience = PATIENCE * min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1), 8)
    timer = began + patience  # of the clock, which says little on a busy machine
    answer = b""
    os.set_blocking(reading, False)
    while time.monotonic() < timer:
        if dies is not None and time.monotonic() - began >= dies:
            os.kill(child, signal.SIGKILL)
            dies = None
        try:
            piece = os.read(reading, 1 << 20)
        except BlockingIOError:
            if watch is not None:
                watch()
            time.sleep(0.005)
            continue
        if not piece:
            break
        answer += piece
    else:
        os.kill(child, signal.SIGUSR1)
        time.sleep(1)
        os.killpg(child, signal.SIGKILL)
    os.close(reading)
    os.waitpid(child, 0)
    with os.fdopen(stacks, "r+b") as told:
        where = os.pread(told.fileno(), 1 << 16, 0).decode("utf-8", "replace")
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if not answer:
        late = time.monotonic() >= timer
        return Ended(None, [], f"{where}it hangs: {patience:.0f} s" if late else "")
    try:
        return pickle.loads(answer)
    except (pickle.UnpicklingError, EOFError):  # killed while it answered: all of its work is done
        return Ended(None)


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


def spread(calls: list[str], kinds: tuple[str, ...], most: int, start: int = 0) -> list[Fault]:
    """Choose faults evenly over the calls of a command, each kind at its own places."""
    chosen = []
    for number, kind in enumerate(kinds):
        if kind == "random":
            times = random.Random(start)
            chosen += [Fault(kind, times.randint(0, 1100)) for _ in range(most)]
        elif kind in SIZES:
            chosen += [Fault(kind, size) for size in SIZES[kind][: max(most, 1)]]
        elif kind == "names":
            chosen += [Fault(kind, one) for one in range(len(NAMES))[: 2 * most]]
        elif kind in ("twice", "link"):
            chosen.append(Fault(kind, 0))
        elif kind in PRINTED:
            chosen += [Fault(kind, times) for times in range(most)]
        else:
            places = range(kind != "lost", len(calls) + 1)
            if kind == "steps":
                named = [n for n in places if calls[n - 1].startswith(("rename", "link"))]
                places = sorted({n for k in named for n in (k, k + 1) if n <= len(calls)})
            if kind == "tidying":
                places = [n for n in places if _tidies(calls[n - 1])]
            many = 2 * most if kind == "tidying" else most
            chosen += [Fault(kind, place) for place in _evenly(places, many, start + number)]
    return chosen


def _tidies(call: str) -> bool:
    """Say whether a call removes something that is none of a scratch folder's own."""
    what, _, name = call.partition(" ")
    return what in ("remove", "rmdir") and not SCRATCH.fullmatch(name)


def _evenly(places: Sequence[int], most: int, start: int) -> list[int]:
    step = max(len(places) / most, 1.0)
    first = start % max(int(step), 1)
    picked = {min(int(first + k * step), len(places) - 1) for k in range(min(most, len(places)))}
    return [places[one] for one in sorted(picked)]
