"""Commands that read from, and write to, an object store, while it fails in one way or the other.

Each runs in a forked child, which has cached nothing, against :class:`FaultyStore`.  It comes to
what it comes to with a store that works, or ends in one sentence with nothing half under a visible
name; and the same command given again, to a store that works again, comes to the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import re
import shlex
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio

from chat_toys import chat_server
from fault_runs import in_child, visible
from faulty_store import FaultyStore
from option_inputs import INPUTS, Quick
from option_walk import Inputs
from selion.cli.main import cli
from selion.data.declare import Declaration, Download
from selion.errors import SelionError
from selion.simulation.archive import simulate_archive
from selion.store import ObjectFolder, download, identity, object_store, ranges, retry
from selion.store.manifest import ENDING

COMMANDS = {
    "map from s3": "map s3://bucket/in/image.tif -o out.parquet --no-preview",
    "map from http": "map {near}/image.tif -o out.parquet --no-preview",
    "map to s3": "map {image} -o {far}/out/f.parquet --work {far}/work --no-preview",
    "predict to s3": "predict {image} -o {far}/out/p.tif",
    "data fetch of http": "data fetch toy -o data -q",
    "mosaic of tiles on s3": "composite 12.998,50.998,13.002,51.002 2024 --provider {archive} "
    "--mosaic {far}/mosaic -o out.tif",
    "query of s3": "query 12,50,12.01,50.01 s3://bucket/in/maps -o out.parquet",
}
"""To ``far``, a prefix of the store, or from ``near``, what it holds by plain HTTP."""
GROUPS = ("kenya", "france", "spain")
"""Of the dataset that is fetched, an archive each."""
ARCHIVE = {
    "scenes of http": "scenes 12.998,50.998,13.002,51.002 2024 --provider {near} -o scenes.json",
    "composite of http": "composite 12.998,50.998,13.002,51.002 2024 --provider {near} -o out.tif",
}
"""From an archive behind a STAC API, with its scenes as COGs beside it."""
SERVED = {
    "predict by a served model": "predict {image} --model openai:http://{host}/v1#eyes -o out.tif "
    "--block 256 --no-preview -q"
}
"""With a language model behind a server of chat completions."""
ONCE, EVER = 2, 10**9
KINDS = {
    "503": ("GET PUT HEAD", ONCE),
    "429": ("GET PUT HEAD", ONCE),
    "slow": ("GET PUT HEAD", 1),
    "cut": ("GET", ONCE),
    "short": ("GET", ONCE),
    "lost": ("PUT", ONCE),
    "stale": ("GET", EVER),
    "expired": ("GET PUT HEAD POST DELETE", EVER),
    "vanished": ("GET PUT HEAD POST DELETE", EVER),
    "gone": ("GET PUT HEAD POST DELETE", EVER),
    "killed": ("GET PUT HEAD POST DELETE", 1),
}
"""What fails, and how often."""
ARCHIVE_KINDS = {
    kind: (methods if "POST" in methods else methods.replace("GET", "GET POST"), times)
    for kind, (methods, times) in KINDS.items()
    if kind != "lost"
}
"""Of an archive, to which nothing is written."""
SERVED_KINDS = {
    kind: ("POST", times)
    for kind, (methods, times) in ARCHIVE_KINDS.items()
    if kind != "stale" and "GET" in methods
}
"""Of a server that answers questions."""
MAY_END = ("expired", "vanished", "stale", "gone")
"""After which a command may end in a sentence; after the others it goes on by itself."""
KILLED = -9


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    said: str
    seen: dict[str, str]
    """Files that a person sees, and hashes of them."""
    far: dict[str, bytes]
    """Objects that a person sees."""


class StoreRuns:
    """The commands, on prefixes of one store."""

    commands, kinds, listing, inside = COMMANDS, KINDS, "list-type", "/bucket/in"
    requests: Counter[str]
    """What the last command asked for, by method."""

    def __init__(self, folder: Path, store, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.patch = folder, store, patch
        self.inputs = Inputs(folder / "inputs", INPUTS)
        self.made = 0
        self.client = folder / "client"
        store.kill_who(self.client)
        for name, value in store.environment.items():
            patch.setenv(name, value)
        patch.setenv("SELION_CACHE", str(folder / "cache"))
        for module in (object_store, download, identity, ranges):
            quick = replace(module.RETRY, backoff=0.01, answer=5.0, longest=1.0)
            patch.setattr(module, "RETRY", quick)
        self.image = in_child(self._prepare)

    def _prepare(self) -> str:
        there = ObjectFolder("s3://bucket/in")
        image = Path(self.inputs["image"])
        there.upload(image, "image.tif", force=True)
        for group in GROUPS:
            there.put(f"{group}.zip", archive(group), replace=True)
        maps = Path(self.inputs["maps"])
        for path in sorted(maps.rglob("*.parquet")):
            there.upload(path, f"maps/{path.relative_to(maps).as_posix()}", force=True)
        return str(image)

    def dataset(self) -> Declaration:
        """Return a dataset of three archives, whose MD5s were published."""
        url = f"http://{self.store.host}{self.inside}/{{group}}.zip"
        known = {
            group: hashlib.md5(archive(group), usedforsecurity=False).hexdigest()
            for group in GROUPS
        }
        download = (Download(url, known, into="{group}"),)
        return Declaration("toy", "folder", groups=dict.fromkeys(GROUPS, ""), download=download)

    def archive(self) -> Path:
        """Return a catalogue of scenes on this machine, made when it is first asked for."""
        there = self.folder / "archive"
        if not (there / "catalog.json").exists():
            simulate_archive(there, seed=3, centre=(13.0, 51.0), tile_px=132, n_dates=2)
        return there / "catalog.json"

    def fresh(self) -> tuple[Path, str]:
        """Return an empty folder and an empty prefix."""
        self.made += 1
        here = self.folder / f"{self.made}"
        here.mkdir()
        return here, f"bucket/{self.folder.name}-{self.made}"

    def run(self, words: str, here: Path, prefix: str) -> Ended:
        """Run a command; look at what there is once the store works again."""
        told = in_child(lambda: self._run(words, here, prefix))
        self.store.mend()
        self.requests = self.store.counted()
        code, said = told if isinstance(told, tuple) else (KILLED, told.trouble)
        seen = visible(here)
        if "{far}/mosaic" in words:  # the words of such a run name its own prefix
            told = {name: (here / name).read_bytes() for name in seen if name.endswith(ENDING)}
            seen |= {name: _told(name, body).decode() for name, body in told.items()}
        return Ended(code, said, seen, self._far(prefix))

    def _far(self, prefix: str) -> dict[str, bytes]:
        """Return what lies on the store."""
        return in_child(lambda: _objects(prefix)) if prefix else {}

    def _run(self, words: str, here: Path, prefix: str) -> tuple[int, str]:
        self.client.write_text(str(os.getpid()))
        given = shlex.split(
            words.format(
                far=f"s3://{prefix}",
                near=f"http://{self.store.host}{self.inside}",
                host=self.store.host,
                image=self.image,
                archive=self.archive() if "{archive}" in words else "",
            )
        )
        out, err = io.StringIO(), io.StringIO()
        code, said = 0, ""
        with self.patch.context() as patch:
            patch.chdir(here)
            if "{host}" not in words:
                patch.setattr("selion.pipeline.maps.load_refined", lambda *_a, **_k: Quick())
            patch.setattr("selion.data.fetch.find_dataset", lambda _: self.dataset())
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    cli.main(given, prog_name="selion", standalone_mode=False)
                except SystemExit as ended:
                    code = int(ended.code or 0)
                except (SelionError, click.ClickException) as error:
                    code, said = 2, str(error)
                except Exception as error:  # noqa: BLE001 - it is what is looked for
                    code, said = 1, f"traceback: {type(error).__name__}: {error}"
        return code, said

    def examine(self, name: str, kind: str, places: int = 3) -> tuple[int, list[str]]:
        """Put a command through a kind of fault; return how often, and what went wrong.

        Where faults begin is spread over all requests that the command makes.
        """
        words, (methods, times) = self.commands[name], self.kinds[kind]
        here, prefix = self.fresh()
        self.store.counted()
        truth = self.run(words, here, prefix)
        if truth.code:
            return 0, [f"{name}: {truth.said}"]
        asked = sum(self.requests[method] for method in methods.split())
        wrong = []
        starts = sorted({asked * place // places for place in range(places) if asked})
        for start in starts:
            here, prefix = self.fresh()
            self.store.fault(methods, self.listing if kind == "stale" else "", kind, times, start)
            hurt = self.run(words, here, prefix)
            again = hurt if not hurt.code else self.run(words, here, prefix)
            wrong += [f"{name}, {kind}@{start}: {one}" for one in _wrong(hurt, again, truth, kind)]
        return len(starts), wrong


def archive(group: str) -> bytes:
    """Return the archive of a part of a dataset; the same one each time."""
    body = io.BytesIO()
    noise = random.Random(group)
    with zipfile.ZipFile(body, "w") as made:
        for number in range(3):
            name = zipfile.ZipInfo(f"images/{number}.npy", (2024, 1, 1, 0, 0, 0))
            made.writestr(name, noise.randbytes(400_000))
    return body.getvalue()


def _objects(prefix: str) -> dict[str, bytes]:
    """Return the objects that a person sees."""
    place = ObjectFolder(f"s3://{prefix}")
    shown = [
        name
        for name in place.names()
        if not any(part.startswith((".", "work")) for part in name.split("/"))
    ]
    return {name: _told(name, place.get(name) or b"") for name in shown}


def _told(name: str, body: bytes) -> bytes:
    """Return what of an object is the same in each run: manifests and indices name their prefix."""
    if name.endswith(".gpkg"):
        return b" ".join(sorted(set(re.findall(rb"[0-9A-Z]{5}_window_.\.tif", body))))
    if not name.endswith(ENDING):
        return body
    return json.dumps(json.loads(body)["files"], sort_keys=True).encode()


def _wrong(hurt: Ended, again: Ended, truth: Ended, kind: str) -> list[str]:
    wrong = []
    if hurt.code not in (0, 2) and (hurt.code, hurt.said, kind) != (KILLED, "", "killed"):
        wrong.append(f"exit code {hurt.code}, {hurt.said}")
    if hurt.code and kind not in (*MAY_END, "killed"):
        wrong.append(f"it gives up: {hurt.said}")
    if hurt.code not in (0, KILLED) and len(hurt.said.splitlines()) != 1:
        wrong.append(f"not one sentence: {hurt.said!r}")
    for ended in (hurt, again):
        half = [k for k, v in ended.seen.items() if v != truth.seen.get(k)]
        half += [k for k, v in ended.far.items() if v != truth.far.get(k)]
        wrong += [f"half of {half} is there"] if half else []
    if kind == "killed" and (hurt.seen, hurt.far) == (truth.seen, truth.far):
        return wrong  # nothing was left to be done, or the same is done again
    if again.code or again.seen != truth.seen or again.far.keys() != truth.far.keys():
        wrong.append(f"the same command again: exit code {again.code}, {again.said}")
    return wrong


class ArchiveRuns(StoreRuns):
    """Commands on an archive that is served, which fails."""

    commands, kinds, listing, inside = ARCHIVE, ARCHIVE_KINDS, "/search", ""

    def __init__(self, folder: Path, store, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.patch = folder, store, patch
        self.made, self.image = 0, ""
        self.client = folder / "client"
        store.kill_who(self.client)
        patch.setenv("SELION_CACHE", str(folder / "cache"))
        patch.setattr(retry.RetryPolicy, "pause", lambda *_: 0.01)

    def fresh(self) -> tuple[Path, str]:
        """Return an empty folder, and nothing on a store."""
        return super().fresh()[0], ""


class ServedRuns(ArchiveRuns):
    """Commands whose model is behind a server, which fails."""

    commands, kinds = SERVED, SERVED_KINDS

    def __init__(self, folder: Path, store, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, store, patch)
        self.image = str(folder / "image.tif")
        in_child(self._prepare)

    def _prepare(self) -> str:
        bright = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((64, 64), int))
        values = np.repeat(np.where(bright, 220, 30).astype(np.uint8)[None], 3, 0)
        corner = rasterio.transform.from_origin(5e5, 5e6, 1, 1)
        about = {"width": 512, "height": 512, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
        with rasterio.open(self.image, "w", driver="GTiff", transform=corner, **about) as image:
            image.write(values)
        return self.image


@contextlib.contextmanager
def served_model():
    """Yield a store that fails, and a model behind it."""
    with chat_server() as server, FaultyStore(behind=server.host) as faulty:
        yield faulty


@contextlib.contextmanager
def served_archive(folder: Path):
    """Yield a store that fails, and what of an archive lies behind it."""
    from stac_server import StacServer

    def simulated() -> tuple[list[dict[str, object]], str]:
        there = folder / "archive"
        made = simulate_archive(there, seed=3, centre=(13.0, 51.0), tile_px=132, n_dates=2)
        return list(made.items), str(made.folder)

    items, place = in_child(simulated)  # GDAL's threads would hold what forked children wait for
    with (
        StacServer(items, place) as server,
        FaultyStore(behind=server.host) as faulty,
    ):
        server.cogs = f"http://{faulty.host}/cogs"
        yield faulty
