"""A result that can be trusted: what its run made is known, and every change of it is found."""

from __future__ import annotations

import errno
import hashlib
import json
import ntpath
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import click
import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from click.testing import CliRunner

from selion import fields
from selion.cli.begun import guarded
from selion.cli.main import cli, main
from selion.errors import UnreadableFile
from selion.fields.topology import examine_topology
from selion.store import atomic_folder, manifest, sealing, write_text
from selion.store.leftovers import find_leftovers
from selion.store.manifest import (
    FileSum,
    Manifest,
    is_manifest,
    manifest_of,
    read_manifest,
    write_manifest,
)
from selion.verification import verify
from selion.verification.sums import check_sums


def run(*words: object, code: int = 0) -> str:
    found = CliRunner().invoke(cli, [str(word) for word in words])
    assert found.exit_code == code, found.output
    return found.output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A result of a real verb: rasters and a table in a folder."""
    home = tmp_path_factory.mktemp("made")
    run("simulate", "-o", home / "scene", "--size", 48, "--pixel", 10)
    return home / "scene"


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made.parent, tmp_path / "home")
    return tmp_path / "home" / made.name


def test_a_manifest_has_the_sum_of_every_file(made):
    manifest = read_manifest(manifest_of(made))
    wanted = {
        f"{made.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made.iterdir()
    }
    assert {name: one.sha256 for name, one in manifest.files.items()} == wanted
    assert manifest.command == ("simulate", "--size", "48", "--pixel", "10")
    assert manifest.options["seed"] == "1"
    assert {"selion", "code", "python", "numpy", "gdal", "machine"} <= manifest.versions.keys()


def test_what_nobody_touched_holds(made):
    found = verify(made)
    assert found.holds
    assert [check.name for check in found.checks if check.status == "holds"] == [
        *("manifest", "sums", "topology", "fiboa", "agreement", "provenance", "repeatable")
    ]
    assert run("verify", made).count("\n") >= 6


def test_what_somebody_removes_just_now_gets_no_manifest(tmp_path, monkeypatch):
    out = tmp_path / "scene"

    def gone(where, *_):
        shutil.rmtree(out)
        return {}

    monkeypatch.setattr("selion.store.sealing.files_of", gone)
    run("simulate", "-o", out, "--size", 32, "--pixel", 10)
    assert not manifest_of(out).exists()


def test_an_address_that_is_only_written_down_is_not_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("selion.store.sealing.sum_address", lambda url, _: asked.append(url))
    links = [f"--{name}=https://code.example.org/{name}" for name in ("repository", "tracker")]
    run("qgis", "package", "-o", tmp_path / "p.zip", "--portable", "--email", "a@b.org", *links)
    assert (asked, manifest_of(tmp_path / "p.zip").exists()) == ([], True)


def flipped(path: Path, offset: int) -> bytes:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << (offset % 8)
    return bytes(content)


def test_a_flipped_bit_anywhere_is_found(copied):
    manifest = read_manifest(manifest_of(copied))
    draw = np.random.default_rng(1)
    for name in manifest.files:
        path = copied.parent / name
        whole, size = path.read_bytes(), path.stat().st_size
        ends = {0, 1, 2, 7, 8, size // 2, size - 9, size - 8, size - 5, size - 1}
        for offset in ends | set(draw.integers(0, size, 12).tolist()):
            path.write_bytes(flipped(path, offset))
            assert check_sums(manifest, copied.parent).said[0].startswith(f"{name} was changed")
            path.write_bytes(whole)
    assert verify(copied).holds


def test_a_flipped_bit_of_the_manifest_is_found(copied):
    place = manifest_of(copied)
    whole = place.read_bytes()
    for offset in [*range(0, len(whole), 41), len(whole) - 1]:
        place.write_bytes(flipped(place, offset))
        with pytest.raises(UnreadableFile, match="manifest"):
            read_manifest(place)
    found = verify(copied).checks
    assert next(check for check in found if check.name == "manifest").status == "differs"


def test_a_file_too_many_or_too_few_is_found(copied):
    (copied / "more.txt").write_text("x")
    (copied / "labels.tif").unlink()
    said = "\n".join(verify(copied).differences)
    assert "scene/labels.tif is missing" in said
    assert "scene/more.txt does not belong" in said
    with pytest.raises(SystemExit) as ended:  # as a shell sees it
        main(["verify", str(copied)])
    assert ended.value.code == 1
    assert json.loads(run("verify", copied, "--json", code=1))["holds"] is False


def test_a_result_that_is_not_there(tmp_path):
    found = CliRunner().invoke(cli, ["verify", str(tmp_path / "none.parquet")])
    assert "There is no result" in str(found.exception)


def squares(*corners: tuple[float, float]) -> geopandas.GeoDataFrame:
    shapes = [shapely.box(x, y, x + 10, y + 10) for x, y in corners]
    return geopandas.GeoDataFrame(
        {"id": [f"f{k}" for k in range(len(shapes))]}, geometry=shapes, crs="EPSG:32633"
    )


def test_overlaps_are_measured():
    frame = squares((0, 0), (10, 0), (17, 0), (40, 0), (40, 0))
    found = examine_topology(frame)
    assert found.largest == pytest.approx(100.0)  # one on another; 3 m x 10 m are shared besides
    assert found.overlaps == ("f3 and f4 (100.0)", "f1 and f2 (30.0)")
    assert len(examine_topology(frame, 31.0).overlaps) == 1
    assert examine_topology(squares((0, 0), (10, 0))).overlaps == ()


def test_overlaps_in_degrees_are_measured_on_the_ground():
    side = 10 / 111_195  # degrees of ten metres along a meridian of a sphere
    wide = side / np.cos(np.deg2rad(60))
    shapes = [shapely.box(x, 60, x + wide, 60 + side) for x in (10.0, 10.0 + wide / 2)]
    frame = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=shapes, crs="EPSG:4326")
    assert examine_topology(frame).largest == pytest.approx(50.0, rel=1e-3)


def test_overlaps_in_mercator_are_measured_on_the_ground():
    """At 60 degrees its metres are half metres: 0.5 m2 were told as 2."""
    x, y = 1_113_194.91, 8_399_737.89  # 10 E, 60 N
    shapes = [shapely.box(x, y, x + 200, y + 200), shapely.box(x + 199.99, y, x + 400, y + 200)]
    frame = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=shapes, crs="EPSG:3857")
    found = examine_topology(frame, 0.1)
    assert found.largest == pytest.approx(0.5, rel=5e-3)
    assert not examine_topology(frame).overlaps
    odd = frame.set_crs('LOCAL_CS["site", UNIT["metre", 1]]', allow_override=True)
    assert examine_topology(odd).largest == pytest.approx(2.0, rel=1e-3)


def test_broken_and_empty_outlines_are_named():
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    frame = geopandas.GeoDataFrame(
        {"id": ["bow", "none"]}, geometry=[bow, shapely.Polygon()], crs="EPSG:32633"
    )
    said = " ".join(examine_topology(frame).faults())
    assert "1 are not valid: bow (Self-intersection" in said
    assert "1 have no geometry: none" in said


def test_a_part_of_a_result_names_the_whole(made):
    said = next(c for c in verify(made / "truth.parquet").checks if c.name == "manifest")
    assert said.status == "not checked"
    assert f"selion verify {made}" in said.said[0]


def test_a_table_of_an_older_version_is_verified_as_far_as_that_goes(tmp_path):
    frame = squares((0, 0), (5, 0)).assign(**{"metrics:area": np.float32(100)})
    fields.write_fields(frame, tmp_path / "old.parquet", fields.Origin("old"))
    found = {check.name: check.status for check in verify(tmp_path / "old.parquet").checks}
    assert found["manifest"] == "not checked"
    assert found["topology"] == "differs"
    assert found["fiboa"] == "holds"


@click.command()
@click.argument("maps", nargs=-1)
@click.option("-o", "--out", type=click.Path(path_type=Path))
@click.option("--beside", type=click.Path(path_type=Path))
@click.option("--workers", type=int)
@click.option("-f", "--force", is_flag=True)
def copy(maps, out, beside, workers, force):
    """Write what somebody gave."""
    if out.suffix:
        write_text(out, "one", force)
        write_text(out.with_name(f"{out.stem}.report.html"), "two", force=True)
    else:
        with atomic_folder(out, force) as folder:
            (folder / "log.jsonl").write_text("{}\n")
    if beside:
        write_text(beside, "three", force=True)


def copying(*words: object, code: int = 0) -> None:
    found = CliRunner().invoke(guarded(copy, "copy"), [str(word) for word in words])
    assert found.exit_code == code, found.output


def test_all_files_of_a_result_are_known_whatever_the_verb(tmp_path):
    (tmp_path / "else").mkdir()
    copying("-o", tmp_path / "r" / "a.txt", "--beside", tmp_path / "else" / "b.txt")
    manifest = read_manifest(tmp_path / "r" / "a.txt.manifest.json")
    assert set(manifest.files) == {"a.txt", "a.report.html", "../else/b.txt"}


def test_inputs_are_known_by_their_content_and_secrets_are_hidden(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.bin").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    copying("-o", "a.txt", "2024=in/x.bin", "in", "http://me:word@127.0.0.1:9/x?sig=KEY")
    text = Path("a.txt.manifest.json").read_text()
    assert "KEY" not in text
    assert "word" not in text
    manifest = read_manifest(Path("a.txt.manifest.json"))
    found = {one.name: one for one in manifest.inputs}
    assert found["2024=in/x.bin"].sha256 == hashlib.sha256(b"abc").hexdigest()
    assert found["in"].kind == "folder"
    assert manifest.secret
    differs = verify("a.txt").differences
    assert any("its server said nothing" in text for text in differs)


def test_who_did_the_work_is_not_in_a_manifest(tmp_path):
    for name, more in (("one", []), ("two", ["--workers", 3, "--force"])):
        copying("-o", tmp_path / name / "a.txt", *more)
    one, two = (tmp_path / name / "a.txt.manifest.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_changed_input_and_another_version_are_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.bin").write_bytes(b"abc")
    copying("-o", "a.txt", "x.bin")
    assert {c.name: c.status for c in verify("a.txt").checks}["repeatable"] == "holds"
    Path("x.bin").write_bytes(b"abd")
    monkeypatch.setattr("selion.__version__", "9")
    monkeypatch.setattr("selion.store.versions._fixed", lambda: {"selion": "9"})
    found = verify("a.txt")
    said = next(check for check in found.checks if check.name == "repeatable")
    assert found.holds
    assert said.status == "not checked"
    assert any("x.bin is another one" in text for text in said.said)
    assert any("selion was 0.1.0 and is 9" in text for text in said.said)


def test_a_run_that_was_stopped_is_not_taken_for_a_result(tmp_path):
    copying("-o", tmp_path / "a.txt")
    (tmp_path / ".a.txt.begun").write_text("0" * 64 + "\n")
    assert any(
        "give the same command again" in text for text in verify(tmp_path / "a.txt").differences
    )


def test_a_file_of_somebody_else_is_not_replaced(tmp_path):
    mine = tmp_path / "a.txt.manifest.json"
    mine.write_text("mine")
    copying("-o", tmp_path / "a.txt")
    assert mine.read_text() == "mine"


def test_again_runs_the_command_and_compares_the_bytes(made, monkeypatch):
    def here(words, *, cwd, **_):
        monkeypatch.chdir(cwd)
        found = CliRunner().invoke(cli, list(words[3:]))
        return SimpleNamespace(returncode=found.exit_code, stderr=found.output)

    monkeypatch.setattr("selion.verification.repeat.subprocess.run", here)
    found = next(check for check in verify(made, again=True).checks if check.name == "again")
    assert found.status == "holds", found


def test_the_manifest_of_a_result_that_is_gone_is_a_leftover(tmp_path):
    copying("-o", tmp_path / "a.txt")
    assert not list(find_leftovers(tmp_path))
    for name in ("a.txt", "a.report.html"):
        (tmp_path / name).unlink()
    assert [left.kind for left in find_leftovers(tmp_path)] == ["manifest"]


def test_a_name_may_be_as_long_as_names_may(tmp_path):
    copying("-o", tmp_path / ("n" * 240 + ".txt"))
    assert verify(tmp_path / ("n" * 240 + ".txt")).holds


def test_a_report_of_another_run_and_a_wrong_area_are_found(tmp_path):
    frame = squares((0, 0), (10, 0)).assign(**{"metrics:area": np.float32([100.0, 300.0])})
    fields.write_fields(frame, tmp_path / "f.gpkg", fields.Origin("f"))
    row = '<tr><th scope="row">fields</th><td class="n">3</td></tr>'
    (tmp_path / "f.report.html").write_text(f"<table>{row}</table>")
    (tmp_path / "f.preview.png").write_bytes(b"no picture")
    said = "\n".join(verify(tmp_path / "f.gpkg").differences)
    assert "1 areas are not those of their outlines" in said
    assert "tells of 3 fields, the table has 2" in said
    assert "f.preview.png cannot be read" in said


def test_what_is_no_file_in_an_input_folder_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in", "a.bin").write_bytes(b"abc")
    Path("in", "to_nowhere").symlink_to("nowhere")
    os.mkfifo("in/pipe")  # whoever opens it waits
    copying("-o", "a.txt", "in", "in/pipe")
    (one,) = read_manifest(Path("a.txt.manifest.json")).inputs
    assert (one.name, one.bytes) == ("in", 3)
    assert {c.name: c.status for c in verify("a.txt").checks}["repeatable"] == "holds"


def test_an_input_that_cannot_be_read_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.bin").write_bytes(b"abc")
    usual = manifest.sum_file

    def refused(path):
        if path.name == "x.bin":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(manifest, "sum_file", refused)
    copying("-o", "a.txt", "x.bin")
    said = next(check for check in verify("a.txt").checks if check.name == "provenance").said
    assert "Of the input x.bin nothing but the name is known: it could not be read." in said


def test_the_manifest_of_very_many_files_is_known_again(tmp_path):
    files = {f"a/{k}": FileSum(1, "0" * 64) for k in range(12_000)}
    write_manifest(Manifest("a", ("copy",), files=files), tmp_path / "a.manifest.json")
    assert (tmp_path / "a.manifest.json").stat().st_size > 2**20
    assert is_manifest(tmp_path / "a.manifest.json")


def test_a_name_may_be_no_text(tmp_path):
    out = tmp_path / os.fsdecode(b"f\xfc.txt")
    copying("-o", out)
    assert verify(out).holds


def test_a_result_on_another_drive_has_a_manifest(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="mount"):  # what Windows says of two drives
        ntpath.relpath("D:\\a", "C:\\b")

    def other_drive(path, start):
        raise ValueError(f"path is on mount {path!r}, start on mount {start!r}")

    monkeypatch.chdir(tmp_path)
    Path("x.bin").write_bytes(b"abc")
    Path("else").mkdir()
    monkeypatch.setattr("selion.store.manifest.os.path.relpath", other_drive)
    copying("-o", "a.txt", "x.bin")
    (one,) = read_manifest(Path("a.txt.manifest.json")).inputs
    assert one.path == (tmp_path / "x.bin").as_posix()
    assert verify("a.txt").holds


def test_a_result_in_the_folder_it_was_made_from_is_no_input_of_itself(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.bin").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path / "in")
    copying("-o", "../in/a.txt", tmp_path / "in")
    assert read_manifest(Path("a.txt.manifest.json")).inputs[0].bytes == 3
    first = Path("a.txt.manifest.json").read_bytes()
    assert {c.name: c.status for c in verify("a.txt").checks}["repeatable"] == "holds"
    copying("-o", "../in/a.txt", "--force", tmp_path / "in")
    assert Path("a.txt.manifest.json").read_bytes() == first
    Path("y.bin").write_bytes(b"d")
    assert {c.name: c.status for c in verify("a.txt").checks}["repeatable"] == "not checked"


@pytest.mark.parametrize("moment", ["sum_files", "write_manifest"])
def test_what_goes_while_its_manifest_is_written_has_none(tmp_path, monkeypatch, moment):
    usual = getattr(sealing, moment)

    def gone(*given):
        for path in tmp_path.glob("a.*"):
            path.unlink()
        return usual(*given)

    monkeypatch.setattr(sealing, moment, gone)
    found = CliRunner().invoke(guarded(copy, "copy"), ["-o", str(tmp_path / "a.txt")])
    assert found.exit_code == 0 or "something else removed it" in str(found.exception)
    assert not list(tmp_path.glob("*.manifest.json"))


def test_a_result_of_which_half_was_removed_meanwhile_has_no_manifest(tmp_path):
    @click.command()
    @click.option("-o", "--out", type=click.Path(path_type=Path))
    @click.option("-f", "--force", is_flag=True)
    @click.option("--gone", is_flag=True)
    def parts(out, force, gone):
        write_text(out / ".work" / "kept", "0", force)
        (out / ".work" / "kept").unlink()  # its own
        write_text(out / "one", "1", force)
        if gone:
            shutil.rmtree(out)
        write_text(out / "two", "2", force)

    for name in ("whole", "half"):
        words = ["-o", str(tmp_path / name), *["--gone"] * (name == "half")]
        assert CliRunner().invoke(guarded(parts, "parts"), words).exit_code == 0
    assert [path.name for path in tmp_path.glob("*.json")] == ["whole.manifest.json"]


def test_a_word_that_names_a_column_is_no_folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("id").mkdir()
    run("query", "0,0,90,90", made / "truth.parquet", "-o", "q.parquet", "--columns", "id")
    names = [one.name for one in read_manifest(Path("q.parquet.manifest.json")).inputs]
    assert names == [str(made / "truth.parquet")]


def test_a_mosaic_of_which_a_file_was_changed_is_another_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8"}
    with rasterio.open("part.tif", "w", crs="EPSG:32633", **profile) as made:
        made.write(np.full((1, 8, 8), 7, "uint8"))
    rasterio.shutil.copy("part.tif", "all.vrt", driver="VRT")
    copying("-o", "a.txt", "all.vrt")
    assert {c.name: c.status for c in verify("a.txt").checks}["repeatable"] == "holds"
    with rasterio.open("part.tif", "r+") as made:
        made.write(np.full((1, 8, 8), 9, "uint8"))
    said = next(check for check in verify("a.txt").checks if check.name == "repeatable").said
    assert any("all.vrt is another one" in text for text in said)
