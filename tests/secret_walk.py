"""Every verb with secrets in all that it is given, with nothing written per verb: the small
commands are those of ``option_modes.MODES``, so the next verb comes for free.

Each file of a command is given as a signed address, one after the other, and each option that takes
a value is given one.  The environment and the files of credentials hold the rest.  Then all that
was written, said, warned, logged or shown in the list of processes is looked through.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import logging
import shlex
import shutil
import sys
import threading
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

import option_modes
from option_walk import ONCE, Inputs, Mode, _answering, _replace, commands, options_of
from selion.cli import main as command_line

MARK = "qUoKkA"
"""How all planted values begin; the number behind it says which."""
ADDRESS = {
    "password": ("http://me:{0}@{host}/{path}", 1),
    "password without a name": ("http://:{0}@{host}/{path}", 2),
    "token for a name": ("http://{0}@{host}/{path}", 3),
    "SAS": ("http://{host}/{path}?sv=2024-01-01&se=2030-01-01&sig={0}%3D", 4),
    "signature of S3": ("http://{host}/{path}?X-Amz-Credential=a&X-Amz-Signature={0}", 5),
    "fragment": ("http://{host}/{path}#access_token={0}", 6),
    "GDAL's name": ("/vsicurl/http://me:{0}@{host}/{path}?sig={0}", 7),
    "GDAL's options": ("/vsicurl?token={0}&url=http://{host}/{path}", 8),
    "served model": ("openai:http://me:{0}@{host}/v1?key={0}#{path}", 25),
}
"""Forms of an address with a secret in it."""
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": 9,
    "AWS_SECRET_ACCESS_KEY": 10,
    "AWS_SESSION_TOKEN": 11,
    "AZURE_STORAGE_ACCESS_KEY": 12,
    "AZURE_STORAGE_SAS_TOKEN": 13,
    "GS_SECRET_ACCESS_KEY": 14,
    "GDAL_HTTP_USERPWD": 15,
    "GDAL_HTTP_BEARER": 16,
    "GDAL_HTTP_HEADERS": 17,
    "PC_SDK_SUBSCRIPTION_KEY": 18,
    "HF_TOKEN": 19,
    "OPENAI_API_KEY": 20,
    "SELION_ENDPOINT_KEY": 24,
}
FILES = {
    "GDAL_HTTP_HEADER_FILE": ("Authorization: Bearer {0}\n", 21),
    "NETRC": ("machine 127.0.0.1 login me password {0}\n", 22),
    "AWS_SHARED_CREDENTIALS_FILE": ("[default]\naws_secret_access_key = {0}\n", 23),
}


def mark(number: int) -> str:
    """Return a planted value."""
    return f"{MARK}{number:02d}x7Qz"


def disguises() -> tuple[bytes, ...]:
    """Return how a planted value begins: as it is, and in base64 wherever it may stand there."""
    plain = MARK.encode()
    shifted = [base64.b64encode(b"\0" * k + plain)[(4 if k else 0) :] for k in range(3)]
    return (plain, plain.lower(), *(each.rstrip(b"=")[:-1] for each in shifted))


DISGUISES = disguises()


def plant(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put secrets in the environment and into files that it names."""
    for name, number in ENVIRONMENT.items():
        patch.setenv(name, f"me:{mark(number)}" if "USERPWD" in name else mark(number))
    patch.setenv("GDAL_HTTP_HEADERS", f"X-Key: {mark(17)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (text, number) in FILES.items():
        (folder / name).write_text(text.format(mark(number)))
        (folder / name).chmod(0o600)
        patch.setenv(name, str(folder / name))


def address(form: str, host: str, path: str) -> str:
    """Return an address with a secret in it."""
    text, number = ADDRESS[form]
    return text.format(mark(number), host=host, path=path)


def in_text(body: bytes) -> bool:
    """Say whether a secret is in it."""
    return any(each in body for each in DISGUISES)


def bodies(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, and what lies packed in it."""
    body = path.read_bytes()
    yield path.name.encode()
    yield body
    if body[:4] == b"PAR1":
        import pyarrow.parquet as pq

        with contextlib.suppress(Exception):
            table = pq.read_table(path)
            yield str(table.schema.metadata).encode()
            yield repr(table.to_pydict()).encode()
    elif body[:4] == b"PK\3\4":
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as packed:
            yield from (packed.read(name) for name in packed.namelist())
    elif body[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError):
            yield gzip.decompress(body)


def in_files(folder: Path) -> list[str]:
    """Return the files below a folder that hold a secret, hidden ones too."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(map(in_text, bodies(path)))
    ]


@dataclass
class Watched:
    """What came of a command."""

    code: int
    said: str
    trouble: str = ""
    leaks: list[str] = field(default_factory=list)


class Processes(threading.Thread):
    """Looks again and again what the list of processes shows of our children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    body = entry.read_bytes()
                    if in_text(body):
                        self.seen.add(body.replace(b"\0", b" ").decode("utf-8", "replace")[:200])


class SecretWalk:
    """Commands of verbs, each in a folder of its own, with a host that serves their inputs."""

    def __init__(self, folder: Path, inputs: Inputs, host: str, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.inputs, self.host, self.patch = folder, inputs, host, patch
        self.runs = 0
        plant(patch, folder / "credentials")

    def examine(self, verb: str, forms: tuple[str, ...] = tuple(ADDRESS)) -> tuple[int, list[str]]:
        """Give a verb secrets; return how many commands that were, and where any were seen."""
        command = dict(commands())[verb]
        before, wrong = self.runs, []
        for mode in option_modes.MODES[verb]:
            words = shlex.split(mode.words.format_map(self.inputs))
            for form in forms:
                for given in [*self._addressed(words, form), *self._added(words, command, form)]:
                    found = self.run(mode, given)
                    wrong += [f"selion {shlex.join(given)}\n        {one}" for one in found.leaks]
        return self.runs - before, wrong

    def _addressed(self, words: list[str], form: str) -> Iterator[list[str]]:
        """Each file that is given, as an address."""
        yield words
        for place, word in enumerate(words):
            if word.startswith(str(self.inputs.folder)):
                path = Path(word).relative_to(self.inputs.folder).as_posix()
                yield [*words[:place], address(form, self.host, path), *words[place + 1 :]]

    def _added(self, words: list[str], command: click.Command, form: str) -> Iterator[list[str]]:
        """Each option that takes a value, with an address."""
        for option in options_of(command):
            if option.is_flag or option.count:
                continue
            given = [address(form, self.host, "image/image.tif")] * max(option.nargs, 1)
            kept = list(words)
            for name in option.opts:
                while name in kept:
                    at = kept.index(name)
                    del kept[at : at + 1 + len(given)]
            yield [*kept, option.opts[0], *given]

    def run(self, mode: Mode, words: list[str]) -> Watched:
        """Run a command as a person does, and look at all that came of it."""
        self.runs += 1
        here = self.folder / "runs" / str(self.runs)
        (here / "work").mkdir(parents=True)
        for name in mode.copies:
            source = Path(self.inputs[name])
            (shutil.copytree if source.is_dir() else shutil.copy)(source, here / "work" / name)
        logged, processes = io.StringIO(), Processes()
        handler = logging.StreamHandler(logged)
        ours = logging.getLogger("selion")
        ours.addHandler(handler)
        processes.start()
        with self.patch.context() as patch:
            patch.chdir(here / "work")
            patch.setenv("SELION_CACHE", str(here / "cache"))
            patch.setattr(command_line, "_stop_as_asked", lambda: None)
            for name, answer in mode.answers.items():
                if answer is not ONCE:
                    _replace(patch, name, _answering(name, answer, []))
            done = _said_by(lambda: command_line.main(words))
        processes.over.set()
        ours.removeHandler(handler)
        if in_text((done.said + logged.getvalue()).encode()):
            done.leaks += [
                f"said: {line.strip()[:300]}"
                for line in (done.said + logged.getvalue()).splitlines()
                if in_text(line.encode())
            ][:2]
        done.leaks += [f"in a file: {name}" for name in in_files(here)]
        done.leaks += [f"in the list of processes: {one}" for one in sorted(processes.seen)]
        shutil.rmtree(here)
        return done


def _said_by(work: Callable[[], object]) -> Watched:
    """Do something, and keep all that it says."""
    said = io.StringIO()
    show, hook = warnings.showwarning, sys.excepthook
    code, trouble = 0, ""
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        try:
            work()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException as error:  # noqa: BLE001 - what it says is what is looked at
            code, trouble = 1, traceback.format_exc()
            sys.excepthook(type(error), error, error.__traceback__)
    warnings.showwarning, sys.excepthook = show, hook
    return Watched(code, said.getvalue(), trouble)
