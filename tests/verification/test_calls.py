"""What a call of the library wrote can be verified, and what lies on an object store too."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import click
import geopandas
import numpy as np
import obstore
import pytest
import shapely
from click.testing import CliRunner

import selion
from selion import change, closerange, country, world
from selion.cli.begun import guarded
from selion.cli.main import cli
from selion.cli.running import Anywhere
from selion.errors import Incomplete, UnreadableFile
from selion.store import ObjectFolder, write_text
from selion.store.calls import sealed
from selion.store.manifest import InputSum, manifest_of, read_manifest
from selion.store.witness import used_model
from selion.verification import verify


@dataclass(frozen=True)
class Cut:
    """Options within options."""

    depth: float = 0.5
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """Options."""

    cut: Cut = field(default_factory=Cut)
    work: str = "kept"


@sealed("lib.copy")
def copy(image, out=None, options=None, *, force=False, on_step=None):
    """Write what was given, and something beside it."""
    if out is not None:
        write_text(Path(out), "one", force)
        write_text(Path(out).with_suffix(".report.html"), "two", force=True)
    if isinstance(image, str) and image == "half":
        raise Incomplete("A block is missing.", "done")


@sealed("lib.both", "folder")
def both(image, folder):
    """Call another one that has its own output."""
    copy(image, Path(folder) / "a.txt")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.bin").write_bytes(b"abc")
    Path("kept").mkdir()


def states(place: object) -> dict[str, str]:
    return {check.name: check.status for check in verify(place).checks}


def test_the_functions_that_write_leave_a_manifest():
    functions = [selion.map_fields, selion.composite, selion.compare_years, selion.train]
    functions += [closerange.measure_folder, closerange.measure_plots, country.merge_maps]
    functions += [country.publish_maps, country.compare_maps, world.write_history]
    functions.append(change.join_years)
    assert all(hasattr(one, "__wrapped__") for one in functions)


def test_a_call_says_what_it_was_given(tmp_path):
    copy("in.bin", out=tmp_path / "a.txt", options=Drawn(Cut(0.7)), force=True)
    made = read_manifest(tmp_path / "a.txt.manifest.json")
    assert made.call == "lib.copy(image='in.bin', options=Drawn(cut=Cut(depth=0.7)))"
    assert set(made.files) == {"a.txt", "a.report.html"}
    assert [(one.name, one.path, one.bytes) for one in made.inputs] == [("in.bin", "in.bin", 3)]
    assert made.options["options.cut.depth"] == "0.7"
    assert "options.work" not in made.options
    wanted = dict.fromkeys(("manifest", "sums", "provenance", "repeatable"), "holds")
    assert states("a.txt") == wanted
    Path("a.report.html").write_text("x")
    assert verify("a.txt").differences[0].startswith("a.report.html has 1 bytes")


def test_a_model_that_a_run_makes_and_tries_decides_nothing(tmp_path):
    """quantise judges what it has made before that has its name."""

    @sealed("lib.make")
    def make(out):
        for place in (None, Path("kept").absolute(), tmp_path / ".scratch" / "model"):
            used_model({"name": str(place)}, place)
        write_text(Path(out), "one", force=True)

    make("a.txt")
    names = [one["name"] for one in read_manifest(Path("a.txt.manifest.json")).models]
    assert names == ["None", str(Path("kept").absolute())]


def test_what_wrote_nothing_has_none_and_what_is_called_within_neither():
    copy("in.bin")
    assert not list(Path().glob("*.json"))
    both("in.bin", Path("out"))
    assert [path.name for path in Path().rglob("*.json")] == ["out.manifest.json"]


def test_a_command_seals_what_the_library_wrote_for_it():
    @click.command()
    @click.argument("image")
    @click.option("-o", "--out", type=click.Path(path_type=Path))
    @click.option("-f", "--force", is_flag=True)
    def verb(image, out, force):
        copy(image, out, force=force)

    assert CliRunner().invoke(guarded(verb, "verb"), ["in.bin", "-o", "a.txt"]).exit_code == 0
    made = read_manifest(Path("a.txt.manifest.json"))
    assert (made.command, made.call) == (("verb", "--", "in.bin"), "")


def test_a_call_that_left_blocks_out_is_not_complete():
    with pytest.raises(Incomplete):
        copy("half", "a.txt")
    assert not read_manifest(Path("a.txt.manifest.json")).complete


def test_keys_are_not_told(monkeypatch):
    monkeypatch.setattr("selion.store.sealing.sum_address", lambda _, name: name)
    monkeypatch.setattr("selion.store.sealing._inputs", lambda *_: ())
    copy("https://me:word@a.example/x.tif?sig=KEY", "a.txt", Drawn(Cut(places=("s3://a?t=KEY",))))
    text = Path("a.txt.manifest.json").read_text()
    assert "KEY" not in text
    assert "word" not in text
    assert read_manifest(Path("a.txt.manifest.json")).secret


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12).reshape(3, 4),
        geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326"),
        {"type": "Point", "coordinates": [1, 2]},
    ],
)
def test_what_was_in_memory_is_known_by_its_content(value):
    copy(value, "a.txt")
    first = read_manifest(Path("a.txt.manifest.json")).inputs[0]
    assert (first.kind, len(first.sha256)) == ("memory", 64)
    assert states("a.txt")["repeatable"] == "not checked"
    assert verify("a.txt").holds
    other = np.arange(1, 13).reshape(3, 4) if isinstance(value, np.ndarray) else value
    copy(other, "b.txt")
    second = read_manifest(Path("b.txt.manifest.json")).inputs[0]
    assert (second.sha256 == first.sha256) == (other is value)


def test_two_threads_have_a_manifest_each():
    begun, ready = threading.Barrier(2, timeout=120), threading.Barrier(2, timeout=120)

    @sealed("lib.slow")
    def slow(out):
        begun.wait()
        write_text(Path(out), out)
        ready.wait()

    runs = [threading.Thread(target=slow, args=(name,)) for name in ("a.txt", "b.txt")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    files = [set(read_manifest(manifest_of(Path(name))).files) for name in ("a.txt", "b.txt")]
    assert files == [{"a.txt"}, {"b.txt"}]


@pytest.fixture
def stored(monkeypatch):
    """An object store in memory; names are those within the one prefix that is used."""
    memory = obstore.store.MemoryStore()
    monkeypatch.setattr(ObjectFolder, "_store", property(lambda _: memory))
    return memory


@click.command()
@click.argument("image")
@click.option("-o", "--out", type=Anywhere())
@click.option("-f", "--force", is_flag=True)
def send(image, out, force):
    """Make files here and send them, as verbs do."""
    folder, _, name = out.rpartition("/")
    for part, text in ((name, "one"), (f"{name}.report.html", "two")):
        Path("kept", part).write_text(text)
        ObjectFolder(folder).upload(Path("kept", part), part, force=force)


def sent(code: int = 0) -> None:
    found = CliRunner().invoke(guarded(send, "send"), ["in.bin", "-o", "s3://b/maps/a.txt"])
    assert found.exit_code == code, found.output


def test_a_result_on_an_object_store_has_a_manifest_there(stored, tmp_path):
    sent()
    names = {one["path"] for batch in obstore.list(stored) for one in batch}
    assert names == {"a.txt", "a.txt.report.html", "a.txt.manifest.json"}
    place = tmp_path / "read.manifest.json"
    place.write_bytes(bytes(obstore.get(stored, "a.txt.manifest.json").bytes()))
    made = read_manifest(place)
    assert made.command == ("send", "--", "in.bin")
    assert made.inputs[0].path == str(tmp_path / "in.bin")
    for address in ("s3://b/maps/a.txt", "s3://b/maps/a.txt.manifest.json"):
        found = verify(address)
        assert found.holds
        assert {check.name for check in found.checks if check.status == "holds"} >= {"sums"}
    assert CliRunner().invoke(cli, ["verify", "s3://b/maps/a.txt"]).exit_code == 0
    obstore.put(stored, "a.txt", b"onE")
    assert CliRunner().invoke(cli, ["verify", "s3://b/maps/a.txt"]).exit_code == 1
    obstore.delete(stored, "a.txt.report.html")
    assert verify("s3://b/maps/a.txt").differences[0] == "a.txt.report.html is missing."


def test_a_call_sends_its_manifest_too(stored):
    @sealed("lib.send")
    def send_it(out):
        ObjectFolder("s3://b/maps").upload(Path("in.bin"), "a.txt")

    send_it(out="s3://b/maps/a.txt")
    assert verify("s3://b/maps/a.txt").holds


def test_a_manifest_on_a_server_cannot_write_elsewhere(stored):
    sent()
    content = bytes(obstore.get(stored, "a.txt.manifest.json").bytes())
    Path("m.manifest.json").write_bytes(content)
    from dataclasses import replace

    made = read_manifest(Path("m.manifest.json"))
    bad = replace(made, files={"../../x": made.files["a.txt"]})
    obstore.put(stored, "a.txt.manifest.json", bad.to_bytes())
    with pytest.raises(UnreadableFile, match="outside of the result"):
        verify("s3://b/maps/a.txt")


def test_what_is_not_on_a_store_is_said(stored):
    with pytest.raises(UnreadableFile, match=r"There is no none\.txt\.manifest\.json beside"):
        verify("s3://b/maps/none.txt")


def test_what_a_notebook_holds_may_be_given(tmp_path):
    """A table with a row without outline, GeoJSON with keys that are numbers, all by content."""
    rows = geopandas.GeoDataFrame({"a": [1, 2]}, geometry=[shapely.Point(0, 0), None], crs=4326)
    for k, value in enumerate([rows, rows.geometry, {"a": {1: 2, "b": 3}}]):
        copy(value, tmp_path / f"{k}.txt")
        (made,) = read_manifest(tmp_path / f"{k}.txt.manifest.json").inputs
        assert made.kind == "memory"


def test_an_array_is_known_by_its_values_and_not_copied_for_that(tmp_path):
    whole = np.zeros((64, 256, 256), np.float32)
    whole[3, 5, 7] = 1
    tracemalloc.start()
    copy(np.moveaxis(np.moveaxis(whole, 0, -1), -1, 0), tmp_path / "a.txt")
    turned = np.moveaxis(whole, 0, -1)
    copy(turned, tmp_path / "b.txt")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < whole.nbytes / 2
    for name, value in {"a": whole, "b": turned}.items():
        (made,) = read_manifest(tmp_path / f"{name}.txt.manifest.json").inputs
        parts = f"{value.dtype} {value.shape}".encode(), value.tobytes()
        sums = b"".join(hashlib.sha256(part).digest() for part in parts)
        assert (made.bytes, made.sha256) == (sum(map(len, parts)), hashlib.sha256(sums).hexdigest())


def test_a_password_among_many_addresses_is_told_nowhere(tmp_path, monkeypatch):
    """Also where the text ends within it, as a long one is cut."""
    monkeypatch.setattr(
        "selion.store.sealing.sum_address", lambda _, name: InputSum(name, "address")
    )
    address = "https://me:pw123456@127.0.0.1/{}/b.tif?X-Amz-Credential=KEY&X-Amz-Signature=SIG"
    for far in range(92, 112, 3):
        copy([address.format("x" * far)] * 3, tmp_path / "a.txt", force=True)
        text = (tmp_path / "a.txt.manifest.json").read_text()
        assert not [one for one in ("me:", "pw1", "SIG", "KEY") if one in text], text


def test_a_folder_that_goes_while_a_call_runs_takes_nothing_from_its_result(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    @sealed("lib.gone")
    def gone(out):
        write_text(out, "one")
        here.rmdir()

    gone(tmp_path / "a.txt")
    monkeypatch.chdir(tmp_path)
    assert read_manifest(tmp_path / "a.txt.manifest.json").where == ""
