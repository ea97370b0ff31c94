"""What may happen to a result after it was made: moved, renamed, copied, added to, written anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pytest
import shapely

from command_line import run_here
from selion import fields
from selion.errors import UnreadableFile
from selion.store import manifest as manifests
from selion.store.manifest import (
    FileSum,
    Manifest,
    files_below,
    manifest_of,
    read_digest,
    read_manifest,
    sum_files,
    sum_input,
    write_manifest,
)
from selion.store.versions import deciding_versions
from selion.verification import verify
from selion.verification.tables import check_outlines


def sealed(result: Path, *inputs: Path) -> Path:
    """Write the manifest of a result, as a command does."""
    files = sorted(files_below(result))
    names = [path.relative_to(result.parent).as_posix() for path in files]
    made = Manifest(
        result.name,
        ("copy",),
        files=dict(zip(names, sum_files(files), strict=True)),
        inputs=tuple(sum_input(one, one.name, result.parent) for one in inputs),
        versions={"selion": "0"},
    )
    write_manifest(made, manifest_of(result))
    return result


@pytest.fixture
def folder(tmp_path):
    """A result of two files made from one."""
    home = tmp_path / "home"
    (home / "out" / "inner").mkdir(parents=True)
    (home / "in.bin").write_bytes(b"abc")
    (home / "out" / "a.txt").write_text("one\n")
    (home / "out" / "inner" / "b.csv").write_text("x,y\n1,2\n")
    return sealed(home / "out", home / "in.bin")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    return sealed(tmp_path / "a.txt")


def states(path: Path) -> dict[str, str]:
    return {check.name: check.status for check in verify(path).checks}


def said(path: Path) -> str:
    return "\n".join(text for check in verify(path).checks for text in check.said)


def test_a_result_that_was_moved_without_its_inputs_holds(folder, tmp_path):
    for name in ("out", "out.manifest.json"):
        (tmp_path / "moved").mkdir(exist_ok=True)
        shutil.move(folder.parent / name, tmp_path / "moved" / name)
    assert states(tmp_path / "moved" / "out") == {
        "manifest": "holds", "sums": "holds", "provenance": "holds", "repeatable": "not checked"
    }  # fmt: skip
    assert "in.bin is not there any more" in said(tmp_path / "moved" / "out")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_result_that_was_renamed_with_its_manifest_holds(kind, request):
    old = request.getfixturevalue(kind)
    new = old.with_name("new")
    old.rename(new)
    assert not verify(new).holds or "sums" not in states(new)
    manifest_of(old).rename(manifest_of(new))
    for given in (new, manifest_of(new)):
        found = verify(given)
        assert found.holds, found.differences
        assert states(given)["sums"] == "holds"
        assert f"was called {old.name} when" in said(given)


@pytest.mark.parametrize("beside", ["a.preview.png", "a.txt.2.preview.png"])
def test_what_lay_beside_a_result_is_renamed_with_it(tmp_path, beside):
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / beside).write_bytes(b"picture")
    names = ["a.txt", beside]
    sums = sum_files([tmp_path / name for name in names])
    write_manifest(
        Manifest("a.txt", ("copy",), files=dict(zip(names, sums, strict=True))),
        manifest_of(tmp_path / "a.txt"),
    )
    new = tmp_path / "b.txt"
    (tmp_path / "a.txt").rename(new)
    manifest_of(tmp_path / "a.txt").rename(manifest_of(new))
    assert f"{beside} is missing" not in said(new)  # it still has its old name
    moved = (tmp_path / beside).rename(tmp_path / f"b{beside[1:]}")
    assert states(new)["sums"] == "holds"
    moved.write_bytes(b"another")
    assert f"{moved.name} has 7 bytes" in said(new) or f"{moved.name} was changed" in said(new)
    moved.unlink()
    assert f"{beside} is missing" in said(new)


def test_a_file_that_was_renamed_alone_is_known_by_its_bytes(file):
    other = file.rename(file.with_name("b.txt"))
    assert "a.txt.manifest.json knows these bytes" in said(other)
    other.write_text("two\n")
    assert "knows these bytes" not in said(other)


def test_a_link_to_a_result_is_that_result(folder, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(folder)
    assert verify(link).holds
    assert states(link)["sums"] == "holds"


def test_what_a_system_leaves_in_a_folder_is_no_fault_and_a_note_of_ones_own_is_said(folder):
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (folder / "inner" / name).write_text("x")
    assert verify(folder).holds
    (folder / "notes.txt").write_text("x")
    (folder / "a.tif.aux.xml").write_text("x")
    first, second = verify(folder).differences
    assert "out/a.tif.aux.xml does not belong to this result" in first
    assert "Programs that show rasters" in first
    assert "out/notes.txt does not belong to this result: it was put there later." in second


def test_two_results_in_one_folder_do_not_disturb_each_other(folder):
    (folder / "more.txt").write_text("two\n")
    sealed(folder / "more.txt")
    assert verify(folder).holds


def test_line_ends_of_another_system_are_told(folder):
    place = manifest_of(folder)
    place.write_bytes(place.read_bytes().replace(b"\n", b"\r\n"))
    assert "copy it byte by byte" in said(folder)
    assert not verify(folder).holds


def test_a_manifest_of_a_later_selion_is_no_fault_of_the_result(folder, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(manifests, "VERSION", 2)
        sealed(folder)
    assert states(folder)["manifest"] == "not checked"
    assert "by a later selion (manifest 2" in said(folder)
    assert verify(folder).holds


def test_a_manifest_that_was_written_anew_has_another_digest(folder):
    place = manifest_of(folder)
    first = json.loads(place.read_text())["digest"]
    assert f"its digest: {first}" in said(folder)
    (folder / "a.txt").write_text("two\n")
    sealed(folder)  # as who wants to deceive does
    assert verify(folder).holds
    assert read_digest(place) != first


def test_a_library_that_is_there_and_not_in_use_is_not_said_to_be_missing(folder):
    """Whoever verifies a training does not import torch for it."""
    made = read_manifest(manifest_of(folder))
    for used, wanted in (
        ({"pytest": metadata.version("pytest")}, "holds"),
        ({"none-such": "1"}, "not checked"),
    ):
        versions = {**deciding_versions(), **used}
        write_manifest(replace(made, versions=versions), manifest_of(folder))
        assert states(folder)["repeatable"] == wanted
    assert "none-such was 1 and is not installed." in said(folder)


def test_a_table_of_several_years_has_a_map_a_year():
    shapes = [shapely.box(x, 0, x + 10, 10) for x in (0, 10, 0, 10)]
    frame = geopandas.GeoDataFrame(
        {"id": list("abab"), "year": np.int32([2023, 2023, 2024, 2024])},
        geometry=shapes,
        crs="EPSG:32633",
    )
    found = check_outlines(frame, "long")
    assert found.status == "holds"
    assert found.said[0].startswith("4 outlines of 2 years, each looked at alone: none is empty")
    frame.loc[3, "geometry"] = shapely.box(5, 0, 15, 10)
    (text,) = check_outlines(frame, "long").said
    assert text.startswith("2024: 1 pairs overlap")


@pytest.mark.parametrize(
    ("columns", "years"),
    [
        ({"change:outcome": ["kept", "gone", "split", "gone"]}, ["earlier year", "later year"]),
        (
            {
                "first_year": np.int16([1, 1, 1, 1]),
                "last_year": np.int16([2, 1, 2, 1]),
                "years_seen": np.int16([2, 1, 2, 1]),
            },
            ["1", "2"],
        ),
    ],
)
def test_what_is_gone_may_lie_under_what_came(columns, years):
    """`verify` said of honest results of `change` and `history` that their fields overlap."""
    shapes = [shapely.box(x, 0, x + 10, 10) for x in (0, 3, 10, 13)]
    frame = geopandas.GeoDataFrame(
        {"id": list("abcd"), **columns}, geometry=shapes, crs="EPSG:32633"
    )
    found = check_outlines(frame, "changes")
    assert found.status == "holds", found.said
    assert found.said[0].startswith("4 outlines of 2 years, each looked at alone")
    for row, year in ((3, years[0]), (2, years[1])):
        wrong = frame.copy()
        wrong.loc[row, "geometry"] = shapely.box(5, 0, 15, 10)
        (text,) = check_outlines(wrong, "changes").said
        assert text.startswith(f"{year}: 1 pairs overlap")


def test_a_field_that_comes_twice_in_a_year_is_found(tmp_path):
    shapes = [shapely.box(x, 0, x + 10, 10) for x in (0, 10, 20)]
    frame = geopandas.GeoDataFrame(
        {"id": list("aaa"), "year": np.int32([1, 2, 2])}, geometry=shapes, crs="EPSG:32633"
    )
    fields.write_fields(frame, tmp_path / "a.gpkg", fields.Origin("a"))
    assert "1 values of id occur more than once." in said(tmp_path / "a.gpkg")


@pytest.mark.parametrize(("masks", "said"), [(("--masks", "m"), 1), ((), 2)])
def test_what_learns_by_the_clock_is_not_promised_again(folder, monkeypatch, masks, said):
    """Nor is it run again: without masks it would wait for a person."""
    made = read_manifest(manifest_of(folder))
    command = ("crops", "adapt", *masks, "--", "photos")
    write_manifest(replace(made, command=command), manifest_of(folder))
    monkeypatch.setattr("selion.verification.repeat.subprocess.run", None)
    found = {one.name: one for one in verify(folder, again=True).checks}
    for name in ("repeatable", "again"):
        assert found[name].status == "not checked"
        texts = [text for text in found[name].said if "clock" in text or "person" in text]
        assert len(texts) == said, found[name].said


@pytest.mark.parametrize("named", [True, False])
def test_what_a_server_said_is_not_promised_again(folder, monkeypatch, named):
    """Nor is it asked: the address came with the manifest, and the key would go there."""
    address = "openai:http://127.0.0.1:9/v1#eyes"
    made = read_manifest(manifest_of(folder))
    changes = {"command": ("predict", "a.tif", "--model", address)} if named else {}
    changes |= {} if named else {"models": ({"name": address, "files": {}},)}
    write_manifest(replace(made, **changes), manifest_of(folder))
    monkeypatch.setattr("selion.verification.repeat.subprocess.run", None)
    found = {one.name: one for one in verify(folder, again=True).checks}
    for name in ("repeatable", "again"):
        assert found[name].status == "not checked"
        assert any("A server ran its model" in text for text in found[name].said)


def edited(result: Path, *keys: str | int, value: object) -> Path:
    """Change what a manifest says by hand, and give it a digest that holds."""
    place = manifest_of(result)
    table = json.loads(place.read_text())
    del table["digest"]
    inner = table
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    table["digest"] = hashlib.sha256(manifests._text(table)).hexdigest()
    place.write_bytes(manifests._text(table))
    return place


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("result",), ".."),
        (("result",), "/etc"),
        (("result",), "a/b"),
        (("result",), ""),
        (("result",), 5),
        (("result",), "out\0"),
        (("files",), ["out/a.txt"]),
        (("files", "out/a.txt", "bytes"), "x"),
        (("files", "out/a.txt", "bytes"), 10**400),
        (("files", "out/a.txt", "sha256"), None),
        (("files",), {"out/\0": {"bytes": 1, "sha256": "x"}}),
        (("files",), {"a" * 300: {"bytes": 1, "sha256": "x"}}),
        (("inputs", 0, "path"), 5),
        (("inputs", 0, "path"), "a\0"),
        (("inputs", 0, "name"), {}),
        (("inputs",), {}),
        (("models",), ["crops-rgb"]),
        (("models",), [{"name": 5, "files": []}]),
        (("command",), [5]),
        (("command",), "simulate"),
        (("where",), None),
        (("complete",), "no"),
        (("options",), []),
        (("versions",), {"selion": 5}),
        (("version",), []),
    ],
)
def test_what_a_manifest_cannot_say_is_refused_in_a_sentence(folder, keys, value):
    place = edited(folder, *keys, value=value)
    for given in (folder, place):
        found = verify(given)
        assert not found.holds or "later selion" in said(given)
        assert found.path.name in ("out", "out.manifest.json")
    with pytest.raises(UnreadableFile):
        read_manifest(place)


def test_a_manifest_that_leaves_its_result_out_does_not_hold(file):
    edited(file, "files", value={})
    assert states(file)["sums"] == "differs"
    file.unlink()
    assert states(manifest_of(file))["sums"] == "differs"


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/proc/self/mem", "..", "no/such", "http://a/b.toml"]
)
def test_a_model_that_a_manifest_names_is_no_reason_to_read_a_device(folder, name):
    edited(folder, "models", value=[{"name": name, "files": {}}])
    assert f"The model {name} is not on this machine." in said(folder)


def test_a_model_without_files_is_one_that_is_another_here(folder):
    edited(folder, "models", value=[{"name": "crops-rgb", "files": None}])
    assert "The model crops-rgb is another one here" in said(folder)


def test_a_name_in_a_manifest_cannot_write_on_the_screen(folder):
    edited(folder, "command", value=["copy", "\x1b[2K\rholds        sums\nholds  all"])
    (folder / "b\nholds        sums        all as written\x1b[A.txt").write_text("x")
    done = run_here("verify", folder)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    words = {line.split()[0] for line in done.stdout.splitlines()}
    assert words <= {"holds", "differs", "not"}
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("holds")] == [
        "manifest",
        "provenance",
    ]


def test_results_in_results_in_results_are_verified_once(tmp_path):
    top = here = tmp_path / "r0"
    for k in range(1, 12):
        here.mkdir()
        (here / "a.txt").write_text(str(k))
        here /= f"r{k}"
    for place in [*reversed(here.parents)][-11:][::-1]:
        sealed(place)
    found = verify(top)
    assert found.holds, found.differences
    assert sum(check.name == "manifest" for check in found.checks) == 11


def test_links_that_go_round_and_a_pipe_stop_nothing(folder, tmp_path):
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(UnreadableFile):
        verify(tmp_path / "one")
    (folder / "round").symlink_to(folder / "round")
    (folder / "up").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")
    assert verify(folder).holds
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")  # whoever opens it waits
    assert "out/a.txt is missing." in verify(folder).differences


@pytest.mark.parametrize(
    ("result", "files", "word"),
    [
        ("../../etc", ["out/a"], "written by hand"),
        ("out", ["../a"], "lies outside"),
        ("out", ["/etc/passwd"], "lies outside"),
        ("out", ["out", "out/a"], "cannot be put beside"),
    ],
)
def test_a_manifest_on_a_store_puts_nothing_elsewhere(tmp_path, monkeypatch, result, files, word):
    sums = {name: FileSum(1, "0" * 64) for name in files}
    content = Manifest(result, ("copy",), files=sums).to_bytes()
    store = SimpleNamespace(get=lambda name: content if name.endswith(".json") else b"x")
    monkeypatch.setattr("selion.verification.remote.ObjectFolder", lambda _: store)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UnreadableFile, match=word):
        verify("s3://bucket/maps/out")
    assert list(tmp_path.iterdir()) == []
