"""The catalogue, the downloads and the commands."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import CliRunner

from data_folders import ftw, tif
from selion.cli.data import data_group
from selion.data import catalogue, fetch_dataset, find_dataset, list_datasets, load_dataset
from selion.data.declare import Download
from selion.data.fetch import parts_of, unpack
from selion.errors import (
    BadInput,
    ChecksumMismatch,
    FetchFailed,
    OutputExists,
    OutputFailed,
    UnknownName,
    UnreadableFile,
)

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def test_every_declaration_is_whole():
    names = [made.name for made in list_datasets()]
    wanted = {
        "ftw",
        "ai4boundaries",
        "ai4smallfarms",
        "pastis",
        "alu",
        "cwfid",
        "ews",
        "cvppp",
        "phenobench",
        "phenobench-weeds",
        "vegann",
        "cropandweed",
        "cwd30",
        "deepweeds",
        "gwfss",
    }
    assert wanted | {
        "plant-seedlings",
        "apple-leaf",
        "pdd271",
        "night-rice",
        "night-soybean",
    } <= set(names)
    close = names[names.index("cwfid") :]
    for made in list_datasets():
        assert made.title, made.name
        told = made.checked == "from the paper" or "github " in made.checked
        assert told or made.name not in close, made.name
        assert made.licence, made.name
        assert made.layout in catalogue.layouts()
        assert made.home or "not public" in made.licence, made.name
        assert made.files or made.layout != "files", made.name
        for files in made.files:
            for value in files.values.values():
                assert value == "unknown" or value in made.classes.names
        for download in made.download:
            assert download.url.startswith("https://")


def test_fields_of_the_world_is_whole():
    made = find_dataset("ftw")
    assert len(made.groups) == 25
    assert set(made.presence_only) == {"brazil", "india", "kenya", "rwanda"}
    assert set(made.download[0].md5) == set(made.groups)
    assert all(len(md5) == 32 for md5 in made.download[0].md5.values())
    assert len(parts_of(made)) == 25
    assert parts_of(made, ["kenya", "belgium"])[0].url.endswith("/kenya.zip")
    with pytest.raises(UnknownName, match="did you mean 'belgium'"):
        parts_of(made, ["belgum"])


def test_names_are_helped(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'pastis'"):
        find_dataset("pasti")
    with pytest.raises(UnknownName, match="did you mean 'cwfid'"):
        load_dataset("cwfd")
    with pytest.raises(UnreadableFile, match="selion data fetch ftw -o FOLDER"):
        load_dataset("ftw")
    with pytest.raises(UnreadableFile, match="get it from"):
        load_dataset("ews")
    with pytest.raises(UnreadableFile, match="no folder"):
        load_dataset("ftw", tmp_path / "nowhere")


def test_a_folder_of_the_datasets_name_is_its_root(tmp_path, monkeypatch):
    ftw(tmp_path / "ftw")
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("ftw")) == 3
    assert load_dataset("ftw", groups=["austria"], split="test").keys == ("austria/g3",)


# Downloads


@pytest.fixture
def server(tmp_path):
    """A folder over http, and the addresses that were asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_address[1]}", asked
    http.shutdown()
    thread.join()
    http.server_close()


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return hashlib.md5(path.read_bytes()).hexdigest()


def country_zip(folder, scratch, country, top=""):
    home = ftw(scratch, country)
    files = {
        f"{top}{p.relative_to(home).as_posix()}": p.read_bytes()
        for p in home.rglob("*")
        if p.is_file()
    }
    return zipped(folder / f"{country}.zip", files)


@pytest.fixture
def served_ftw(server, tmp_path, monkeypatch):
    folder, url, asked = server
    md5 = {
        "austria": country_zip(folder, tmp_path / "scratch", "austria"),
        "kenya": country_zip(folder, tmp_path / "scratch", "kenya", top="kenya/"),
    }
    made = replace(
        find_dataset("ftw"),
        groups={"austria": "CC-BY-4.0", "kenya": "GPL"},
        download=(Download(f"{url}/{{group}}.zip", md5=md5, into="{group}"),),
    )
    monkeypatch.setattr(
        "selion.data.fetch.find_dataset", lambda name: made if name == "ftw" else find_dataset(name)
    )
    return folder, asked, made


def test_countries_arrive_checked_and_unpacked(served_ftw, tmp_path):
    _, asked, _ = served_ftw
    steps, notes = [], []
    out = tmp_path / "out"
    paths = fetch_dataset(
        "ftw", out, ["austria", "kenya"], on_step=lambda *s: steps.append(s), on_note=notes.append
    )
    assert paths == [out / "austria", out / "kenya"]
    assert load_dataset("ftw", out).groups == ("austria", "kenya")
    assert {s[0] for s in steps} == {"austria", "kenya"}
    assert notes == []
    assert sorted(p.name for p in out.iterdir()) == ["austria", "kenya"]
    (out / "austria" / "mine.txt").write_text("kept")
    count = len(asked)
    fetch_dataset("ftw", out, ["austria"], on_note=notes.append)
    assert len(asked) == count
    assert "there already" in notes[0]
    assert (out / "austria" / "mine.txt").read_text() == "kept"


def test_another_archive_than_the_publisher_says_is_refused(served_ftw, tmp_path):
    folder, _, _ = served_ftw
    zipped(folder / "austria.zip", {"chips_austria.parquet": b"other"})
    with pytest.raises(ChecksumMismatch, match="md5"):
        fetch_dataset("ftw", tmp_path / "out", ["austria"])
    assert not (tmp_path / "out" / "austria").exists()
    assert not list((tmp_path / "out").rglob("*.zip"))
    (folder / "kenya.zip").unlink()
    with pytest.raises(FetchFailed, match="404"):
        fetch_dataset("ftw", tmp_path / "out", ["kenya"])


def test_archives_are_kept_on_request_and_the_rest_goes_beside_what_is_there(
    server, tmp_path, monkeypatch
):
    folder, url, _ = server
    md5 = zipped(
        folder / "master.zip",
        {"dataset-master/images/001_image.png": b"x", "dataset-master/README.md": b"y"},
    )
    made = replace(
        find_dataset("cwfid"),
        download=(
            Download(f"{url}/master.zip", md5=md5, into="."),
            Download(f"{url}/list.csv", into=""),
        ),
    )
    (folder / "list.csv").write_text("a,b\n")
    monkeypatch.setattr("selion.data.fetch.find_dataset", lambda _: made)
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    notes = []
    fetch_dataset("cwfid", out, keep_archives=True, on_note=notes.append)
    assert (out / "images" / "001_image.png").read_bytes() == b"x"
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "list.csv").is_file()
    assert (out / ".downloads" / "master.zip").is_file()
    assert notes == ["The publisher gives no checksum for list.csv: it is taken as it arrives."]
    notes.clear()
    fetch_dataset("cwfid", out, on_note=notes.append)
    assert len(notes) == 2
    with pytest.raises(BadInput, match="comes as a whole"):
        fetch_dataset("cwfid", out, ["austria"])


def test_files_that_a_table_lists_arrive_one_by_one(server, tmp_path, monkeypatch):
    folder, url, asked = server
    rows = ["file_id,split,image_url,mask_url"]
    for key in ("AT_1", "FR_2"):
        for what in ("image", "mask"):
            (folder / f"{key}_{what}.tif").write_bytes(b"x")
        rows.append(f"{key},train,{url}/{key}_image.tif,{url}/{key}_mask.tif")
    (folder / "list.csv").write_text("\n".join([*rows, "SE_3,NA,NA,NA"]) + "\n")
    download = Download(
        f"{url}/list.csv",
        into="s2",
        columns={"image_url": "s2/images/{group}", "mask_url": "s2/masks/{group}"},
    )
    monkeypatch.setattr(
        "selion.data.fetch.find_dataset",
        lambda _: replace(find_dataset("ai4boundaries"), download=(download,)),
    )
    out, steps = tmp_path / "out", []
    paths = fetch_dataset("ai4boundaries", out, ["fr"], on_step=lambda *s: steps.append(s))
    assert paths == [
        out / "s2" / "list.csv",
        out / "s2" / "images" / "FR",
        out / "s2" / "masks" / "FR",
    ]
    assert (out / "s2" / "images" / "FR" / "FR_2_image.tif").read_bytes() == b"x"
    assert not (out / "s2" / "images" / "AT").exists()
    assert ("files", 2, 2) in steps
    count = len(asked)
    fetch_dataset("ai4boundaries", out)
    assert len(asked) == count + 2
    assert len(list(out.rglob("*.tif"))) == 4


def test_what_no_program_can_fetch_says_where_it_is():
    with pytest.raises(
        BadInput, match=r"ai4smallfarms cannot be fetched by a program: get it from https://doi.org"
    ):
        fetch_dataset("ai4smallfarms", "anywhere")


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    zipped(tmp_path / "bad.zip", {"good.txt": b"1", name: b"2"})
    with pytest.raises(UnreadableFile, match="leads out of the folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "sub" / "target")
    assert not (tmp_path / "sub" / "target").exists()
    assert not list(tmp_path.rglob("out.txt"))


def test_links_and_damage_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnreadableFile, match="is a link"):
        unpack(tmp_path / "link.zip", tmp_path / "target")
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UnreadableFile, match="is a link"):
        unpack(tmp_path / "link.tar", tmp_path / "target")
    zipped(tmp_path / "whole.zip", {"a.bin": np.random.default_rng(0).bytes(20_000)})
    content = bytearray((tmp_path / "whole.zip").read_bytes())
    content[5_000] ^= 255
    (tmp_path / "broken.zip").write_bytes(content)
    for name in ("broken.zip", "none.zip"):
        (tmp_path / "none.zip").write_bytes(b"<html>not found</html>")
        with pytest.raises(UnreadableFile, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_tars_single_tops_and_what_is_there_already(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name in ("top/images/1.txt", "top/2.txt"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert (tmp_path / "out" / "images" / "1.txt").read_text() == "abc"
    with pytest.raises(OutputExists):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    with pytest.raises(OutputExists):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", into_existing=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["2.txt", "images"]


def test_no_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    zipped(tmp_path / "a.zip", {"a.bin": b"0" * 1000})
    monkeypatch.setattr(
        "selion.data.fetch.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})()
    )
    with pytest.raises(OutputFailed, match="are free"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Commands


def run(*arguments):
    return CliRunner().invoke(data_group, [str(a) for a in arguments], catch_exceptions=True)


def test_list_and_show():
    listed = run("list")
    assert listed.exit_code == 0
    assert "CC-BY-SA-4.0" in listed.output
    rows = json.loads(run("list", "--json").output)
    assert {row["name"] for row in rows} == {made.name for made in list_datasets()}
    shown = run("show", "ftw")
    assert "kenya (GPL-2.0-or-later)" in shown.output
    assert json.loads(run("show", "ews", "--json").output)["licence"] == "CC-BY-SA-4.0"
    assert isinstance(run("show", "ewss").exception, UnknownName)


def test_fetch_takes_several_countries_in_either_way(served_ftw, tmp_path):
    for k, given in enumerate(
        (
            ("-c", "austria", "-c", "kenya"),
            ("--countries", "austria,kenya"),
            ("--groups", "Austria, kenya"),
        )
    ):
        found = run("fetch", "ftw", "-o", tmp_path / str(k), "-q", *given)
        assert found.exit_code == 0, found.exception
        assert found.output.split() == [str(tmp_path / str(k) / c) for c in ("austria", "kenya")]
    told = run("fetch", "ftw", "-o", tmp_path / "0", "--json", "-c", "austria")
    lines = [json.loads(line) for line in told.output.splitlines()]
    assert lines[-1] == {"event": "result", "path": str(tmp_path / "0" / "austria")}
    assert lines[0]["event"] == "note"


def test_make_then_check_then_load(tmp_path):
    rng = np.random.default_rng(0)
    tif(
        tmp_path / "scene.tif",
        rng.integers(1, 3000, (4, 96, 96)).astype("uint16"),
        descriptions=("red", "green", "blue", "nir"),
    )
    squares = [
        shapely.box(
            500_000 + 160 * k, 5_300_000 - 160 * j - 130, 500_130 + 160 * k, 5_300_000 - 160 * j
        )
        for k in range(8)
        for j in range(8)
    ]
    frame = geopandas.GeoDataFrame(
        {"klass": [k % 2 for k in range(64)]}, geometry=squares, crs="EPSG:32633"
    )
    frame.to_file(tmp_path / "fields.gpkg")
    base = (
        "make",
        tmp_path / "scene.tif",
        "-p",
        tmp_path / "fields.gpkg",
        "--size",
        32,
        "--block-km",
        0.6,
        "--val",
        0.2,
        "--test",
        0.2,
        "-q",
    )
    made = run(
        *base,
        "-o",
        tmp_path / "out",
        "--licence",
        "CC0-1.0",
        "--where",
        "klass=1",
        "--boundary",
        "20m",
    )
    assert made.exit_code == 0, made.exception
    assert made.output.strip() == str(tmp_path / "out")
    data = load_dataset(tmp_path / "out")
    assert data.licence == "CC0-1.0"
    assert len(data) > 1
    told = run(*base, "-o", tmp_path / "all", "--json")
    summary = json.loads(told.stdout)
    assert sum(summary["counts"].values()) == len(load_dataset(tmp_path / "all"))
    assert summary["shares"]["field"] > 0.2
    assert run("check", tmp_path / "out", "-q", "--shifts", 0).exit_code == 0
    for wrong, said in (
        (("--where", "klass"), "COLUMN=VALUE"),
        (("--boundary", "wide"), "neither pixels"),
        (("--boundary", "xm"), "neither pixels"),
    ):
        failed = run(*base, "-o", tmp_path / "no", *wrong)
        assert failed.exit_code == 2
        assert said in failed.output
    assert isinstance(run(*base, "-o", tmp_path / "out").exception, OutputExists)
    assert (
        run(
            *base, "-o", tmp_path / "out", "--force", "--boundary-as", "line", "--classes", "2"
        ).exit_code
        == 0
    )
    assert load_dataset(tmp_path / "out").classes.names == ("background", "field")
