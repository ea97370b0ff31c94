"""Judges many hostile inputs of one reader in forked children with bounded memory and time.

A child has everything imported, makes its inputs itself, and judges one after the other; when it
dies or hangs, the input that it was at is the culprit, and another child goes on behind it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_mutators import Mutator, mutated
from selion.errors import SelionError

MEMORY = 1536 * 2**20
"""Bytes that a child may take beyond what its libraries take."""
SECONDS = 20.0
"""Of a processor, or a quarter of those of the clock, for one input."""
BATCH = 250
"""Inputs of a child."""
LONGEST = 4100
"""Characters of a sentence."""


class Refused(Exception):
    """It ended with a sentence and exit code 2."""


@dataclass(frozen=True)
class Reader:
    """What reads a kind of input."""

    name: str
    seeds: Callable[[Path], None]
    """Write sound inputs: a folder each."""
    targets: tuple[str, ...]
    """Patterns of the files that are changed."""
    judges: Sequence[Callable[[Path, Path], Any]]
    """Read the input in a folder, with another one for what is written; return what was read."""
    checked: bool = False
    """Whether a checksum tells what is sound: every answer must be that of a seed."""
    change: Mutator | None = None
    """How a file is changed; None: as its ending says."""


@dataclass
class Counts:
    """What came of the inputs."""

    kinds: Counter[str] = field(default_factory=Counter)
    found: dict[str, list[int]] = field(default_factory=dict)
    """By what went wrong where: the numbers of the inputs."""

    def add(self, number: int, kind: str, key: str) -> None:
        self.kinds[kind] += 1
        if kind not in ("answer", "refused"):
            self.found.setdefault(f"{kind}: {key}", []).append(number)


def run_verb(words: Sequence[str]) -> bytes:
    """Give a command as a user does; raise what a user must not see."""
    from selion.cli.main import main

    said, wrong = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        try:
            main(list(words))
        except SystemExit as stop:
            code = stop.code or 0
    if code == 0:
        return said.getvalue().encode("utf-8", "replace")
    sentence = wrong.getvalue().strip().rpartition("Error: ")[2]
    if code not in (2, 3) or "\n" in sentence or not sentence or len(sentence) > LONGEST:
        raise AssertionError(f"exit {code} and no sentence: {wrong.getvalue()[-300:]!r}")
    raise Refused(sentence)


def make_input(reader: Reader, seeds: Path, number: int, seed: int, place: Path) -> random.Random:
    """Write the input of a number; the same number is the same input."""
    chance = random.Random(f"{reader.name}:{seed}:{number}")
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(chance.choice(sorted(seeds.iterdir())), place)
    files = sorted({path for pattern in reader.targets for path in place.rglob(pattern)})
    files = [path for path in files if path.is_file()]
    for _ in range(1 if chance.random() < 0.9 else 2):
        mutated(chance.choice(files), chance, reader.change)
    return chance


def judge(
    reader: Reader, act: Callable[[Path, Path], Any], place: Path, out: Path
) -> tuple[str, Any]:
    """Return a kind (answer, refused, or what went wrong) and what is to be said of it."""
    try:
        answer = act(place, out)
    except Refused as error:
        return "refused", str(error)
    except SelionError as error:
        sound = "\n" not in str(error) and 0 < len(str(error)) < LONGEST
        return ("refused" if sound else "no sentence"), str(error)[:LONGEST]
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is counted
        return ("memory" if isinstance(error, MemoryError) else "traceback"), _where(error)
    return "answer", answer


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}selion{os.sep}" in frame.filename]
    last = ours[-1] if ours else frames[-1]
    said = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {last.name}"
    return said if ours and not isinstance(error, AssertionError) else f"{said}: {error}"[:400]


class Watch:
    """Notes what Python opens for writing, deletes, starts or connects to, outside of a folder."""

    def __init__(self, inside: Path) -> None:
        self.inside, self.seen, self.on = str(inside), [], False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on:
            return
        code = event == "pickle.find_class" and given[0] in ("os", "posix", "subprocess")
        if code or event in ("os.system", "os.exec", "os.posix_spawn"):
            self.seen.append(f"{event} {given[:2]!r:.80}")
        elif event == "open" and len(given) > 2 and isinstance(given[2], int):
            if given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._look(event, given[0])
        elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink"):
            self._look(event, given[0])

    def _look(self, event: str, name: Any) -> None:
        if isinstance(name, str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(name))  # noqa: PTH100 - links are not followed
            if not path.startswith((self.inside, "/dev/null", "/dev/shm/", "/proc/self")) and (
                "__pycache__" not in path
            ):
                self.seen.append(f"{event} {path}")


def _child(
    reader: Reader, seeds: Path, numbers: Sequence[int], seed: int, pipe: int, place: Path
) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.dup2(quiet, 1)
    with Path("/proc/self/status").open(encoding="ascii") as status:
        held = next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    place.mkdir(exist_ok=True)
    os.environ["SELION_CACHE"] = str(place / "cache")
    tempfile.tempdir = str(place)
    os.chdir(place)
    watch = Watch(place)
    sound = answers_of(reader, seeds, place) if reader.checked else set()
    for number in numbers:
        chance = make_input(reader, seeds, number, seed, place / "input")
        out = place / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        before = _files(place)
        act = chance.choice(list(reader.judges))
        os.write(pipe, f"{json.dumps([number])}\n".encode())
        watch.on, watch.seen = True, []
        kind, said = judge(reader, act, place / "input", out)
        watch.on = False
        beside = _files(place) - before
        if watch.seen or beside:
            kind, said = "outside", f"{watch.seen[:2]} {sorted(beside)[:2]}"
        elif kind == "answer" and reader.checked and repr(said) not in sound:
            kind, said = "wrong", repr(said)[:200]
        for left in beside:
            (place / left).unlink(missing_ok=True)
        key = str(said)[:400] if kind not in ("answer", "refused") else ""
        os.write(pipe, f"{json.dumps([number, kind, key])}\n".encode())


def _files(place: Path) -> set[str]:
    """Return the files beside an input, but for what may be written."""
    found = {path.relative_to(place) for path in place.rglob("*") if not path.is_dir()}
    return {str(path) for path in found if not {"out", "cache"} & {*path.parts}}


def answers_of(reader: Reader, seeds: Path, place: Path) -> set[str]:
    """Return what is read of the sound inputs, which must all be read."""
    found = set()
    for seed in sorted(seeds.iterdir()):
        kinds: set[str] = set()
        for number, act in enumerate(reader.judges):
            copy, out = place / "sound", place / f"sound-{number}"
            for folder in (copy, out):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(seed, copy)
            out.mkdir()
            kind, said = judge(reader, act, copy, out)
            kinds.add(kind)
            assert kind in ("answer", "refused"), (reader.name, seed.name, act.__name__, kind, said)
            found.add(repr(said))
            shutil.rmtree(copy)
            shutil.rmtree(out)
        assert "answer" in kinds, (reader.name, seed.name, said)
    return found


def warmed(reader: Reader, seeds: Path, place: Path) -> None:
    """Import here what the reader needs, without starting its threads here.

    A child writes the sound inputs, reads them, and says what it had to import.
    """
    hear, tell = os.pipe()
    process = os.fork()
    if not process:
        code = 1
        try:
            os.close(hear)
            place.mkdir(parents=True, exist_ok=True)
            seeds.mkdir(parents=True, exist_ok=True)
            os.environ["SELION_CACHE"] = str(place / "cache")
            os.chdir(place)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.seeds(seeds)
                answers_of(reader, seeds, place)
            names = [name for name in sys.modules if not name.startswith(("test_", "_pytest"))]
            with os.fdopen(tell, "w") as pipe:
                json.dump(names, pipe)
            code = 0
        except BaseException:  # noqa: BLE001 - the parent says that it failed
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(hear) as pipe:
        text = pipe.read()
    if os.waitpid(process, 0)[1]:
        raise RuntimeError(f"the sound inputs of {reader.name} are not read")
    for name in json.loads(text):
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            __import__(name)


def _worked(process: int) -> float:
    """Return the seconds that a processor was at work for a child."""
    with contextlib.suppress(OSError):
        told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _lines(pipe: int, seconds: float, process: int) -> Iterator[list[Any] | None]:
    """Yield what a child says; None when it works, or waits, for too long without a word.

    On a busy machine the clock says little, so it counts to a quarter.
    """
    left = b""
    began, worked = time.monotonic() + 20, _worked(process)
    while True:
        ready, _, _ = select.select([pipe], [], [], seconds / 4)
        if not ready:
            waited = (time.monotonic() - began) / 4
            if max(waited, _worked(process) - worked) < seconds:
                continue
            yield None
            return
        piece = os.read(pipe, 65536)
        if not piece:
            return
        *whole, left = (left + piece).split(b"\n")
        for line in whole:
            yield json.loads(line)
        began, worked = time.monotonic(), _worked(process)


def fuzz(
    reader: Reader, numbers: Sequence[int], seed: int, folder: Path,
    on_batch: Callable[[Counts], None] = lambda _: None, seconds: float = SECONDS,
) -> Counts:  # fmt: skip
    """Judge the inputs of these numbers."""
    seeds, place = folder / "seeds" / reader.name, folder / "place"
    if not seeds.exists():
        warmed(reader, seeds, place)
    counts, at = Counts(), 0
    while at < len(numbers):
        at += _batch(reader, seeds, numbers[at : at + BATCH], seed, place, counts, seconds)
        on_batch(counts)
    return counts


def _batch(
    reader: Reader, seeds: Path, numbers: Sequence[int], seed: int, place: Path, counts: Counts,
    seconds: float,
) -> int:  # fmt: skip
    """Judge a few inputs in one child; return how many it came to."""
    hear, tell = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.close(hear)
            _child(reader, seeds, numbers, seed, tell, place)
        except BaseException:  # noqa: BLE001 - it is the harness that failed
            failed = json.dumps([-1, "harness", traceback.format_exc()[-900:]])
            os.write(tell, f"{failed}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(tell)
    done, open_, fault = 0, False, ("crash", "")
    for line in _lines(hear, seconds, process):
        if line is None:
            fault = ("hang", f"more than {seconds:g} s")
            os.kill(process, signal.SIGKILL)
            break
        if line[0] < 0:
            fault = ("harness", line[2])
        elif len(line) == 1:
            open_ = True
        else:
            counts.add(*line)
            done, open_ = done + 1, False
    os.close(hear)
    ended = os.waitpid(process, 0)[1]
    if done == len(numbers):
        return done
    if fault == ("crash", ""):
        fault = ("crash", f"signal {os.WTERMSIG(ended)}" if os.WIFSIGNALED(ended) else "it ended")
    if not open_:  # it was at the making of an input
        fault = ("harness", fault[1])
    counts.add(numbers[done], *fault)
    return done + 1
