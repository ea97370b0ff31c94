"""Whether a result says what it was made from, and whether that would make it again here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from selion import models
from selion.errors import SelionError, UnreadableFile, counted
from selion.store.beside import usual_name
from selion.store.endpoint import SCHEME
from selion.store.manifest import WHOLE, InputSum, Manifest, named_files, sum_files, sum_input
from selion.store.urls import remote_scheme
from selion.verification.checks import DIFFERS, HOLDS, UNKNOWN, Check, judged

TIMED = (".profile.json", "run.json", "log.jsonl", "seconds.json")
"""Ends of the names of files that say how long a run took."""
EVENTS = "events.out"
ADAPTING = ("crops", "adapt")
"""The verb that learns for some minutes, from masks that a person may draw."""
SEARCHING = (("composite",), ("scenes",), ("plan",))
"""Verbs that ask a catalogue; ``map`` does with ``--year``."""

NAMED = 5
"""Scenes that are named; of more the number."""


def check_provenance(manifest: Manifest) -> Check:
    """Say whether a manifest holds all that a result should say of its making."""
    faults = [
        *([] if manifest.complete else ["Blocks are missing in it: give the same command again."]),
        *([] if _asked(manifest) else ["It does not say by which command it was made."]),
        *([] if manifest.versions.get("selion") else ["It does not say by which version."]),
        *(
            f"Of the input {one.name} nothing but the name is known: {_silent(one)}."
            for one in manifest.inputs
            if not (one.sha256 or one.etag or one.bytes is not None or one.kind == "memory")
        ),
    ]
    names = ", ".join(str(one.get("name")) for one in manifest.models)
    parts = [
        counted(len(manifest.inputs), "input"),
        *([f"model {names}"] if names else []),
        counted(len(manifest.options), "option"),
        f"selion {manifest.versions.get('selion', '')}",
    ]
    return judged("provenance", faults, f"{_asked(manifest)}; {', '.join(parts)}.")


def _asked(manifest: Manifest) -> str:
    """Return the command or the call that made a result."""
    return f"selion {' '.join(manifest.command)}" if manifest.command else manifest.call


def _silent(one: InputSum) -> str:
    return "its server said nothing" if one.kind == "address" else "it could not be read"


def check_repeatable(manifest: Manifest, folder: Path, versions: Mapping[str, str]) -> Check:
    """Say whether the same command would be given the same here: inputs, models, versions.

    A change of an input or a version is no fault of the result, so nothing differs by it; what is
    said is that the same bytes cannot be promised, and why.

    Parameters
    ----------
    manifest : Manifest
    folder : path
        That of the manifest.
    versions : mapping
        Those here.
    """
    why = [
        *(text for one in manifest.inputs for text in _input_faults(one, manifest, folder)),
        *_scene_faults([one.name for one in manifest.inputs if one.kind == "scene"]),
        *(text for one in manifest.models for text in _model_faults(one)),
        *_version_faults(manifest.versions, versions),
        *_search_faults(manifest),
        *_luck_faults(manifest),
    ]
    if manifest.secret:
        why.append("The command had a signature or a password, which is not kept.")
    if why:
        return Check("repeatable", UNKNOWN, ("Other bytes are possible here.", *why))
    sampled = [one.name for one in manifest.inputs if one.sampled]
    more = (f"Only samples of {', '.join(sampled)} were compared.",) if sampled else ()
    said = "Inputs, models and versions are the same here: the command gives the same bytes."
    return Check("repeatable", HOLDS, (said, *more))


def _luck_faults(manifest: Manifest) -> Iterator[str]:
    """Say what a command does otherwise each time, though it is given the same."""
    if manifest.command[:2] == ADAPTING:
        yield "How long it learnt was measured by the clock: as many steps are not promised."
        if "--masks" not in manifest.command:
            yield "A person drew its masks."
    asked = (*manifest.command, *(str(one.get("name")) for one in manifest.models))
    if any(SCHEME in word for word in asked):  # nor is another's server sent pictures and the key
        yield "A server ran its model, which may be another one by now and was not asked."


def _search_faults(manifest: Manifest) -> Iterator[str]:
    """Say that what a catalogue answers may be another today."""
    verb, options = manifest.command[:1], manifest.options
    searched = options.get("provider", options.get("area_options.provider"))
    by_year = "year" in manifest.options and verb in (("map",), ())
    if searched and (verb in SEARCHING or by_year):
        yield f"The scenes were searched in {searched}, which was not asked again."


def _scene_faults(names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        first = ", ".join(names[:NAMED])
        yield f"The files of {first}{more} lie on servers, which were not asked."


def _input_faults(one: InputSum, manifest: Manifest, folder: Path) -> Iterator[str]:
    if one.kind == "scene":  # said together
        return
    if one.kind == "address":
        yield f"The input {one.name} lies on a server, which was not asked."
        return
    if one.kind == "memory":
        yield f"The input {one.name} was in the memory of a program: it cannot be looked at again."
        return
    place = folder / one.path
    made = [folder / name for name in (manifest.result, *manifest.files)]
    try:
        if not (place.is_file() or place.is_dir()):
            yield f"The input {one.name} is not there any more ({place})."
        elif one.kind != ("folder" if place.is_dir() else "file"):
            yield f"The input {one.name} was a {one.kind} and is none any more."
        elif _sum_as(one, place, folder, made) != one.sha256:
            yield f"The input {one.name} is another one than when the result was made."
        elif place.is_file() and named_files(place)[1]:
            yield f"The input {one.name} names files on servers, which were not asked."
    except OSError as error:
        yield f"The input {one.name} cannot be read ({error.strerror})."
    except UnreadableFile as error:
        yield f"The input {one.name} cannot be read: {error}"


def _sum_as(one: InputSum, place: Path, folder: Path, made: Sequence[Path]) -> str:
    """Return the sum of an input, read whole or in samples as it was then."""
    whole = 0 if one.sampled and one.kind == "file" else WHOLE
    return sum_input(place, one.name, folder, made, whole=whole).sha256


def _model_faults(known: Mapping[str, Any]) -> Iterator[str]:
    name = str(known.get("name"))
    try:
        card = models.find_card(name)
    except (SelionError, OSError):
        yield f"The model {name} is not on this machine."
        return
    if dict(card.files) != dict(known.get("files") or {}):
        yield f"The model {name} is another one here: its files have other sums."
        return
    try:
        here = models.load_model(card.folder or name).identity
    except SelionError as error:
        yield f"The model {name} cannot be loaded here: {error}"
        return
    if any(_plain(known.get(key)) != _plain(here.get(key)) for key in ("inputs", "classes")):
        yield f"The model {name} is given its input otherwise here: its card.toml was changed."
    # why it was chosen follows, and decides nothing
    then, now = (str(one.get("engine")).partition(";")[0] for one in (known, here))
    if then != now:
        yield f"The model {name} ran on {then}; here it runs on {now}."


def _plain(value: Any) -> Any:
    """Return a value as it is after it was written and read."""
    return json.loads(json.dumps(value))


def _version_faults(then: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    for name, version in then.items():
        if name == "code":
            if here.get(name) != version and here.get("selion") == then.get("selion"):
                yield "The code of selion is another one, though its version is the same."
        elif (found := here.get(name) or _installed(name)) != version:
            yield f"{name} was {version} and is {found}."


def _installed(name: str) -> str:
    """Return the version of a library that a run used and this process does not, such as torch."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def check_again(manifest: Manifest, folder: Path) -> Check:
    """Run the command into a temporary folder, and compare every byte.

    Parameters
    ----------
    manifest : Manifest
    folder : path
        That of the manifest.
    """
    if manifest.call:
        text = f"It was made by a call of the library, which is not run again: {manifest.call}"
        return Check("again", UNKNOWN, (text,))
    if manifest.secret or not manifest.command:
        return Check("again", UNKNOWN, ("The command is not known whole: it cannot be run.",))
    if luck := tuple(_luck_faults(manifest)):
        return Check("again", UNKNOWN, ("It is not run again.", *luck))
    home = (folder / manifest.where).resolve()
    if not home.is_dir():
        return Check("again", UNKNOWN, (f"{home}, where it was given, is not there.",))
    with tempfile.TemporaryDirectory(prefix="selion-verify-") as place:
        words = list(_words(manifest, folder.resolve(), home, Path(place)))
        run = subprocess.run(  # noqa: S603 - our own command line, words of a manifest
            (sys.executable, "-m", "selion", *words),
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            said = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
            return Check("again", DIFFERS, (f"The command fails here: {said[-1]}",))
        return _compared(manifest, Path(place))


def _words(manifest: Manifest, folder: Path, home: Path, place: Path) -> Iterator[str]:
    """Yield the words of a command that writes elsewhere."""
    made = {folder / name: place / _aside(name) for name in manifest.files}
    out = ["--out", str(place / manifest.result)]
    placed = False
    for word in manifest.command:
        if word == "--" and not placed:
            yield from out
            placed = True
        path = Path(os.path.normpath(home / word)) if word and not remote_scheme(word) else None
        yield str(made[path]) if path in made else word
    if not placed:
        yield from out


def _compared(manifest: Manifest, place: Path) -> Check:
    faults, untold = [], []
    for name, wanted in manifest.files.items():
        timed = name.endswith(TIMED) or EVENTS in name
        found = place / _aside(name)
        if not found.is_file():
            found = place / _aside(usual_name(name, manifest.result))
        if timed:
            untold.append(name)
        elif not found.is_file():
            faults.append(f"The same command does not make {name} here.")
        elif sum_files([found]) != [wanted]:
            faults.append(f"The same command makes another {name} here.")
    more = f"; not compared, because they tell the time: {', '.join(untold)}" if untold else ""
    looked = f"The same command makes the same {len(manifest.files) - len(untold)} files{more}."
    return judged("again", faults, looked)


def _aside(name: str) -> str:
    """Return a place within a folder also for a file that lies outside of the result's."""
    inside = Path(name).parts and ".." not in Path(name).parts and not Path(name).is_absolute()
    return name if inside else f"elsewhere/{Path(name).name}"
