"""Tiny folders of photographs and masks, and a server for them: in this process, or in one that can
be killed.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from selion.web import server
from selion.web.screening import screening_page


def write_scene(folder: Path, count: int, seed: int = 0, edge: int = 40) -> tuple[Path, Path]:
    """Write photographs, palette masks and their table of quality; return the two folders."""
    random = np.random.default_rng(seed)
    photos, pseudo = folder / "photos", folder / "pseudo"
    rows = []
    for k in range(count):
        key = f"plot{k % 3}/img_{k:05}"
        ids = (
            (random.random((edge // 8, edge // 8)) < 0.4).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        )
        colours = np.where(ids[..., None] == 1, (60, 140, 50), (130, 100, 70)) + random.integers(
            -20, 20, (*ids.shape, 3)
        )
        for path in (photos / f"{key}.jpg", pseudo / "masks" / f"{key}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(
            photos / f"{key}.jpg", quality=80
        )
        write_mask(pseudo / "masks" / f"{key}.png", ids)
        rows.append(
            [key, f"../photos/{key}.jpg", ids.mean(), round(1 - k / max(count, 1), 6), "", ""]
        )
    with (pseudo / "quality.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["key", "image", "cover", "quality", "routed", "why"], *rows])
    return photos, pseudo


def write_mask(path: Path, ids: np.ndarray) -> None:
    """Write a palette PNG as the labelling room does."""
    image = Image.frombytes("P", ids.shape[::-1], ids.astype(np.uint8).tobytes())
    # a shorter palette would be saved with fewer bits, and 255 be lost
    image.putpalette([138, 102, 66, 60, 180, 75] + [128] * 762)
    image.save(path)


@dataclass
class Asked:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def table(self):
        return json.loads(self.body)


@dataclass
class Served:
    """A page that can be asked, with headers as honest or forged as the test likes."""

    address: server.Address
    screening: object

    def ask(
        self,
        path: str,
        body: object = None,
        headers: dict[str, str | None] | None = None,
        method: str | None = None,
        whole: str | None = None,
    ) -> Asked:
        """Ask below the page, or for a ``whole`` path; a header that is None is left out."""
        given: dict[str, str | None] = {"Host": f"127.0.0.1:{self.address.port}"}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            given |= {"content-type": "application/json", "x-selion": "1"}
        given |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=120)
        try:
            connection.putrequest(
                method or ("POST" if data is not None else "GET"),
                whole or f"/{self.address.token}/screen/{path}",
                skip_host=True,
            )
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if (
                data is not None
                and "content-length" not in given
                and "transfer-encoding" not in given
            ):
                connection.putheader("content-length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return Asked(
                answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
            )
        finally:
            connection.close()

    def sheet(self, person: str = "Ada", **query) -> dict:
        return self.ask(
            "api/sheet?"
            + "&".join(
                f"{k}={v}"
                for k, v in {
                    "person": person,
                    "size": 24,
                    "order": "best",
                    "after": 0,
                    **query,
                }.items()
            )
        ).table

    def commit(
        self, batch: str, items, words=(), person="Ada", stage="coarse", seconds=2.0
    ) -> Asked:
        """Reject all but what ``words`` says by id."""
        said = dict(words)
        body = [
            {
                "id": item["id"],
                "version": item["version"],
                "decision": said.get(item["id"], "reject"),
            }
            for item in items
        ]
        return self.ask(
            "api/commit",
            {"batch": batch, "person": person, "pass": stage, "seconds": seconds, "items": body},
        )


@contextmanager
def serving(photos: Path, pseudo: Path, **options):
    """Serve from a thread of this process."""
    page, screening = screening_page(photos, pseudo, **options)
    opened, address, _ = server.listen(pseudo)
    running = server.make_server(server.make_app([page], address))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        yield Served(address, screening)
    finally:
        running.should_exit = True
        thread.join(10)
        screening.hashes.__self__.close()
        opened.close()


COMMAND = (
    "import sys; from selion.cli.screen import screen_command; screen_command.main(sys.argv[1:])"
)


class Process:
    """``selion label screen`` in a process of its own."""

    def __init__(self, photos: Path, pseudo: Path, *options: str) -> None:
        self.command = [
            sys.executable,
            "-c",
            COMMAND,
            str(photos),
            str(pseudo),
            "--no-browser",
            *options,
        ]
        self.start()

    def start(self) -> None:
        self.said: list[str] = []
        self.child = subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for line in self.child.stdout:
            self.said.append(line)
            if "Open http" in line:
                self.url = re.search(r"http\S+", line)[0]
                return
        raise AssertionError("".join(self.said))

    def kill(self) -> None:
        """SIGKILL: nothing can be finished."""
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()

    def again(self, pause: float = 0.0) -> None:
        self.kill()
        time.sleep(pause)
        self.start()
