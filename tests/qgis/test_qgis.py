"""The QGIS plugin: command lines, progress and stopping without QGIS; the real QGIS, headless,
where there is one (``make test-qgis``).
"""

from __future__ import annotations

import ast
import configparser
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas
import pyogrio
import pytest
import shapely
from click.testing import CliRunner

from selion import fields, qgis, store
from selion.cli.main import cli
from selion.errors import BadInput, OutputExists, UnknownName, UnreadableFile
from selion.fields import style
from selion.pipeline.demo import write_landscape
from selion.qgis.install import profile_roots
from selion.qgis.selion_provider import command, process
from selion.simulation.landscape import simulate

DRIVER = Path(__file__).parents[1] / "qgis_driver.py"
PROVIDER = qgis.plugin_folder()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    write_landscape(simulate(3, (128, 128), 10.0, "europe"), folder / "s", force=True)
    return folder / "s"


@pytest.fixture
def profile(tmp_path):
    (tmp_path / "profile").mkdir()
    return tmp_path / "profile"


# --- command lines ---


def options_known(words: list[str]) -> None:
    """Every option that the plugin writes is one of the verb's."""
    verb = cli.get_command(None, words[0])
    known = {name for option in verb.params for name in (*option.opts, *option.secondary_opts)}
    assert not {word for word in words if word.startswith("--") and word != "--"} - known


def test_command_lines_are_those_of_the_command_line():
    outlines = {"method": "watershed", "simplify": 5.0, "min-area": 900.0}
    for words in (
        command.map_image("a.tif", "o.gpkg", model="m", fast=True, scores="s.tif", **outlines),
        command.map_area("-1,2,3,4", 2024, "o.gpkg", model="", provider="earth-search", **outlines),
        command.fields("s.tif", "o.gpkg", **outlines),
        command.evaluate("a.gpkg", "b.gpkg", "folder", iou=0.5, reproject=True, extent="e.gpkg"),
        command.change(("a.gpkg", "a.tif"), ("b.gpkg", ""), "folder", rule="paper"),
    ):
        options_known(words)
    assert command.map_image("a.tif", "o.gpkg", model="", fast=False)[-1] == "--no-preview"
    assert command.change(("a.gpkg", "a.tif"), ("b.gpkg", ""), "o")[1:3] == [
        "a.tif,a.gpkg",
        "b.gpkg",
    ]
    assert command.map_area("-1,2,3,4", 2024, "o")[-2:] == ["--", "-1,2,3,4"]


def test_environment_of_the_process_is_not_that_of_qgis():
    given = {
        "PATH": "/bin",
        "PYTHONHOME": "C:/QGIS/python",
        "PYTHONPATH": "x",
        "PROJ_LIB": "y",
        "GDAL_DATA": "z",
        "HTTPS_PROXY": "p",
    }
    assert command.environment(given) == {
        "PATH": "/bin",
        "HTTPS_PROXY": "p",
        "PYTHONIOENCODING": "utf-8",
    }


def test_command_comes_from_setting_then_installation_then_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(command.NoSelion, match="There is no command"):
        command.read_command("", tmp_path)
    (tmp_path / "selion").write_text("#!/bin/sh\n")
    (tmp_path / "selion").chmod(0o755)
    assert command.read_command("", tmp_path) == [str(tmp_path / "selion")]
    (tmp_path / command.FOUND).write_text(
        json.dumps({"command": [sys.executable, "-m", "selion.cli.main"]})
    )
    assert command.read_command("", tmp_path)[1:] == ["-m", "selion.cli.main"]
    assert command.read_command(" /elsewhere/selion ", tmp_path) == ["/elsewhere/selion"]
    (tmp_path / command.FOUND).write_text(json.dumps({"command": ["/gone/python"]}))
    with pytest.raises(command.NoSelion, match="which is gone"):
        command.read_command("", tmp_path)


# --- progress ---


def test_a_layer_that_selion_would_not_read_is_refused(tmp_path):
    """Map and truth in one file were both read as its first layer, and agreed wholly."""
    path, square = tmp_path / "a.gpkg", shapely.box(0, 0, 1, 1)
    for name in ("map", "truth"):
        frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[square], crs="EPSG:32633")
        frame.to_file(path, layer=name)

    def layers_of(file):
        return [str(name) for name in pyogrio.list_layers(file)[:, 0]]

    def read(source, filtered=""):
        return command.file_of(source.replace("a.gpkg", str(path)), "It", layers_of, filtered)

    for source in ("a.gpkg", "a.gpkg|layername=map", "a.gpkg|layerid=0"):
        assert read(source) == str(path)
    for source in ("a.gpkg|layername=truth", "a.gpkg|layerid=1"):
        with pytest.raises(
            command.NoFile, match=r"layer truth of a.gpkg, of which selion reads map"
        ):
            read(source)
    for source, filtered in (("a.gpkg|layername=map|subset=n = 2", ""), ("a.gpkg", "n = 2")):
        with pytest.raises(command.NoFile, match="is filtered"):
            read(source, filtered)
    with pytest.raises(command.NoFile, match="is not a file"):
        read("memory?geometry=Polygon")
    frame.to_file(path, layer="fields")
    assert read("a.gpkg|layername=fields") == str(path)
    with pytest.raises(command.NoFile, match="reads fields"):
        read("a.gpkg|layername=map")


def test_bar_only_moves_forward_and_ends_at_100():
    hear = command.Listener().hear
    bar = [
        hear(
            json.dumps({"event": "progress", "stage": s, "done": d, "total": 4, "detail": ""})
        ).percent
        for s, d in (("predict", 0), ("predict", 2))
    ]
    bar += [
        hear('{"event": "progress", "stage": "objects", "done": 1, "total": 1}').percent,
        hear('{"event": "progress", "stage": "predict"}').percent,
    ]
    assert bar == [0, 40, 92, 92]
    done = hear('{"event": "done", "path": "o.gpkg", "fields": 3}')
    assert done.percent == 100
    assert done.done["fields"] == 3


def test_of_an_area_mapping_has_the_second_half():
    area = command.Listener(area=True)
    assert (
        area.hear('{"event": "progress", "stage": "compose", "done": 1, "total": 2}').percent == 27
    )
    assert (
        area.hear('{"event": "progress", "stage": "predict", "done": 1, "total": 2}').percent == 70
    )
    assert (
        command.Listener()
        .hear('{"event": "progress", "stage": "compose", "done": 1, "total": 2}')
        .percent
        == 0
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback",
        "[1, 2]",
        '{"event": "progress", "stage": null, "done": "x"}'[:-9] + "0}",
        "null",
    ],
)
def test_what_is_not_ours_is_no_error(line):
    assert command.Listener().hear(line).done is None


def test_facts_are_lines():
    facts = {
        "event": "done",
        "path": "x",
        "fields": 3,
        "total_ha": 1.23456,
        "none": None,
        "scores": {"map": {"object_f1": 0.5}},
    }
    assert command.summary(facts) == [
        "fields: 3",
        "total ha: 1.235",
        "scores:",
        "    map:",
        "        object f1: 0.5",
    ]


# --- the process ---


def ears(said=None, cancelled=lambda: False):
    return process.Ears((said if said is not None else []).append, lambda _: None, cancelled)


def test_process_hands_on_progress_and_result(scene, tmp_path):
    said, out = [], tmp_path / "o.gpkg"
    words = command.map_image(str(scene / "image.tif"), str(out))
    result = process.run([sys.executable, "-m", "selion.cli.main", *words], ears(said))
    frame = fields.read_fields(out)
    assert result["fields"] == len(frame) > 0
    assert any(s.text.startswith("predict") for s in said)
    bar = [s.percent for s in said if s.percent is not None]
    assert bar == sorted(bar)
    assert bar[-1] == 100
    assert {p.name for p in tmp_path.iterdir()} == {"o.gpkg", "o.gpkg.manifest.json"}


def test_errors_are_the_sentence_of_selion(tmp_path):
    words = command.map_image(str(tmp_path / "none.tif"), str(tmp_path / "o.gpkg"))
    with pytest.raises(process.CommandFailed, match=r"none\.tif") as raised:
        process.run([sys.executable, "-m", "selion.cli.main", *words], ears())
    assert not str(raised.value).startswith("Error")
    with pytest.raises(process.CommandFailed, match="cannot be started"):
        process.run([str(tmp_path / "nothing")], ears())


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print('{"event": "note", "text": "%d"}' % child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="groups of processes are POSIX'")
def test_what_does_not_stop_is_killed_with_its_workers(monkeypatch):
    monkeypatch.setattr(process, "STOP_SIGNALS", ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3)))
    said = []
    with pytest.raises(process.Cancelled):
        process.run([sys.executable, "-c", STUBBORN], ears(said, lambda: bool(said)))
    worker = Path(f"/proc/{said[0].note}/stat")
    deadline = time.monotonic() + 60
    while worker.exists() and worker.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists() or worker.read_text().split()[2] == "Z"


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX'")
def test_a_stopped_map_leaves_only_finished_parts_and_these_are_known(scene, tmp_path, monkeypatch):
    # which schedulers send; SIGINT is pressed in the real QGIS below
    monkeypatch.setattr(process, "STOP_SIGNALS", ((signal.SIGTERM, 60.0),))
    said, out = [], tmp_path / "o.gpkg"
    words = command.map_image(str(scene / "image.tif"), str(out))
    with pytest.raises(process.Cancelled):
        process.run(
            [sys.executable, "-m", "selion.cli.main", *words],
            ears(said, lambda: any(s.text.startswith("predict") for s in said)),
        )
    assert not out.exists()
    assert sorted(tmp_path.iterdir()) == command.leftovers(out)
    command.remove(command.leftovers(out))
    assert not list(tmp_path.iterdir())


def test_leftovers_are_ours_alone(tmp_path):
    names = (
        ".o.gpkg.selion",
        ".0a1b2c3d.o.gpkg",
        ".0a1b2c3d.o.gpkg-journal",
        "o.gpkg",
        ".other.gpkg.selion",
        ".xyzxyzxy.o.gpkg",
        ".0a1b2c3d.no.gpkg",
    )
    for name in names:
        (tmp_path / name).write_text("")
    assert [p.name for p in command.leftovers(tmp_path / "o.gpkg")] == sorted(names[:3])


def test_plugin_imports_neither_selion_nor_numpy():
    for path in PROVIDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not {n.split(".")[0] for n in names if not getattr(node, "level", 0)} & {
                "selion",
                "numpy",
            }, path


# --- installation ---


def test_install_copies_the_plugin_and_notes_this_environment(profile):
    done = CliRunner().invoke(
        cli, ["qgis", "install", "--profile", str(profile)], standalone_mode=False
    )
    assert done.exception is None
    folder = profile / "python" / "plugins" / "selion_provider"
    assert done.stdout.strip() == str(folder)
    assert {p.name for p in PROVIDER.iterdir()} - {"__pycache__"} == {
        p.name for p in folder.iterdir()
    } - {command.FOUND}
    assert command.read_command("", folder)[0] == sys.executable
    assert "hasProcessingProvider=yes" in (folder / "metadata.txt").read_text()
    qgis.install_plugin(profile, [sys.executable])  # again, after an update
    assert command.read_command("", folder) == [sys.executable]


def test_install_does_not_overwrite_what_is_not_ours(profile, tmp_path):
    other = profile / "python" / "plugins" / "selion_provider"
    other.mkdir(parents=True)
    (other / "mine.py").write_text("")
    with pytest.raises(OutputExists, match="--force"):
        qgis.install_plugin(profile)
    assert (other / "mine.py").exists()
    with pytest.raises(OutputExists, match="selion did not make"):
        qgis.install_plugin(profile, force=True)
    assert [one.name for one in other.iterdir()] == ["mine.py"]
    shutil.rmtree(other)
    shutil.copytree(qgis.plugin_folder(), other)  # as QGIS installs it from a zip
    with pytest.raises(OutputExists, match="--force"):
        qgis.install_plugin(profile)
    qgis.install_plugin(profile, force=True)
    assert (other / "selion.json").is_file()
    with pytest.raises(UnreadableFile, match="Open Active Profile Folder"):
        qgis.install_plugin(tmp_path / "nowhere")


def test_the_zip_keeps_the_rules_of_the_repository(tmp_path):
    """As its validator has them: one folder, LICENSE, metadata, addresses, nothing compiled."""
    links = {name: f"https://code.example.org/{name}" for name in ("repository", "tracker")}
    words = [word for name, value in links.items() for word in (f"--{name}", value)]
    words += ["--homepage", "https://example.org/", "--email", "us@fields.org", "--portable"]
    given = ["qgis", "package", "-o", str(tmp_path / "p.zip"), *words]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 0, done.output
    assert "needs" not in done.output
    with zipfile.ZipFile(tmp_path / "p.zip") as made:
        assert made.testzip() is None
        names = made.namelist()
        texts = {name: made.read(name) for name in names}
    assert {name.split("/")[0] for name in names} == {"selion_provider"}
    assert not [name for name in names if ".." in name or ".pyc" in name or "__pycache__" in name]
    files = {name.partition("/")[2] for name in names}
    assert {"__init__.py", "metadata.txt", "LICENSE", "icon.svg"} <= files
    assert command.FOUND not in files  # no path of this machine
    assert str(Path.home()).encode() not in b"".join(texts.values())
    root = Path(__file__).parents[2]
    assert texts["selion_provider/LICENSE"] == (root / "LICENSE").read_bytes()
    parser = configparser.ConfigParser()  # with interpolation, as there
    parser.optionxform = str
    parser.read_string(texts["selion_provider/metadata.txt"].decode())
    found = dict(parser["general"])
    for name in ("name", "description", "version", "qgisMinimumVersion", "author", "about"):
        assert found[name].strip(), name
    assert {name: found[name] for name in links} == links
    assert (found["homepage"], found["email"]) == ("https://example.org/", "us@fields.org")
    assert "/" not in found["author"]
    assert sum(map(len, texts.values())) < 25_000_000
    again = qgis.package_plugin(
        tmp_path / "q.zip",
        qgis.Links(**links, homepage="https://example.org/", email="us@fields.org"),
        portable=True,
    )
    assert again.path.read_bytes() == (tmp_path / "p.zip").read_bytes()


def test_a_zip_for_this_machine_says_what_publishing_lacks(tmp_path):
    done = CliRunner().invoke(cli, ["qgis", "package", "-o", str(tmp_path / "p.zip")])
    assert "it needs: email, tracker, repository, homepage, --portable" in done.output
    with zipfile.ZipFile(tmp_path / "p.zip") as made:
        made.extractall(tmp_path / "there")
    assert command.read_command("", tmp_path / "there" / "selion_provider")[0] == sys.executable
    with pytest.raises(OutputExists):
        qgis.package_plugin(tmp_path / "p.zip")
    with pytest.raises(BadInput, match=r"\.zip"):
        qgis.package_plugin(tmp_path / "p.tar")
    with pytest.raises(BadInput, match="https"):
        qgis.Links(tracker="bugs")
    with pytest.raises(BadInput, match="email"):
        qgis.Links(email="nobody")


def test_profile_is_the_default_of_the_newest_version(tmp_path, monkeypatch):
    monkeypatch.delenv("QGIS_CUSTOM_CONFIG_PATH", raising=False)
    for name in ("XDG_DATA_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UnreadableFile, match="--qgis-profile"):
        qgis.find_profile()
    for root in reversed(profile_roots()):
        (root / "default").mkdir(parents=True)
        assert qgis.find_profile() == root / "default"
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path / "own"))
    assert profile_roots() == [tmp_path / "own" / "profiles"]


# --- styles ---


def test_the_plugin_has_the_styles_of_files():
    for name, text in style.field_styles().items():
        assert (PROVIDER / f"{name}.qml").read_text() == text


def test_styles_are_well_formed_and_cover_every_number():
    for text in style.field_styles().values():
        tree = ET.fromstring(text)
        symbols = {s.get("name") for s in tree.iter("symbol")}
        assert {r.get("symbol") for r in (*tree.iter("range"), *tree.iter("category"))} <= symbols
        bounds = [(float(r.get("lower")), float(r.get("upper"))) for r in tree.iter("range")]
        assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))


def test_style_lies_beside_a_file(tmp_path, scene):
    table = tmp_path / "f.parquet"
    table.write_bytes((scene / "truth.parquet").read_bytes())
    assert qgis.write_style(table, "size").read_text() == style.field_styles()["size"]
    with pytest.raises(OutputExists):
        qgis.write_style(table)
    with pytest.raises(UnknownName, match="confidence"):
        qgis.write_style(table, "confidance", force=True)
    with pytest.raises(BadInput, match="no probabilities"):
        qgis.write_style(scene / "image.tif")
    assert not (scene / "image.qml").exists()


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet"])
def test_a_style_by_what_a_table_lacks_is_refused_and_units_are_its_own(tmp_path, ending):
    """QGIS draws nothing of what is coloured by a column that is not there."""

    def styled(columns, name, crs="EPSG:32633"):
        frame = geopandas.GeoDataFrame(columns, geometry=[shapely.box(0, 0, 90, 90)], crs=crs)
        path = tmp_path / f"t{ending}"
        frame.to_parquet(path) if ending == ".parquet" else frame.to_file(path)
        return qgis.write_style(path, name, force=True).read_text()

    for name, column in (("confidence", "confidence"), ("size", "metrics:area")):
        with pytest.raises(BadInput, match=f"no column '{column}'"):
            styled({"id": ["a"]}, name)
    assert "<renderer" in styled({"id": ["a"]}, "fields")
    assert 'attr="confidence"' in styled({"confidence": [0.5]}, "confidence")
    assert "attr='\"score\" / 100'" in styled({"score": [50]}, "confidence")  # of 0 to 100
    assert "2 to 5 ha" in styled({"metrics:area": [8100.0]}, "size")
    if ending == ".parquet":  # GeoJSON is always in degrees, and GDAL warns of the other
        told = styled({"metrics:area": [8100.0]}, "size", None)
        assert "1,000 to 10,000 px" in told
        assert " ha" not in told


def test_style_of_the_plugin_is_that_of_the_package():
    from selion.classes import FTW3
    from selion.prediction import NODATA

    assert (PROVIDER / "scores.qml").read_text() == style.scores_style(
        FTW3.names, "field", NODATA - 1
    )


# --- the real QGIS ---


def qgis_python() -> str | None:
    """A Python that has QGIS, or None."""
    for name in (os.environ.get("SELION_QGIS_PYTHON"), "/usr/bin/python3"):
        if name and Path(name).exists():
            done = subprocess.run(
                [name, "-c", "import qgis.core"],
                capture_output=True,
                env=command.environment(),
                timeout=60,
                check=False,
            )
            if done.returncode == 0:
                return name
    return None


def drive(tmp_path: Path, steps: list[dict]) -> dict:
    python = qgis_python()
    if python is None:
        pytest.skip(
            "no QGIS here: 'make test-qgis' installs it where it can, or name its Python in "
            "SELION_QGIS_PYTHON"
        )
    for name in ("profile", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    plugins = qgis.install_plugin(tmp_path / "profile").parent
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    own = {
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "config"),
    }
    words = [
        python,
        str(DRIVER),
        str(plugins),
        str(tmp_path / "steps.json"),
        str(tmp_path / "answers.json"),
    ]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env={**command.environment(), **own},
        timeout=300,
        check=False,
    )
    assert (tmp_path / "answers.json").exists(), done.stdout + done.stderr
    return json.loads((tmp_path / "answers.json").read_text())


@pytest.mark.slow
def test_real_qgis_runs_stops_and_draws(scene, tmp_path):
    image, at = str(scene / "image.tif"), lambda name: str(tmp_path / name)
    fields.write_fields(fields.read_fields(scene / "truth.parquet"), tmp_path / "truth.gpkg")
    found = drive(
        tmp_path,
        [
            {
                "run": "selion:mapimage",
                "given": {"IMAGE": image, "OUTPUT": at("o.gpkg"), "SCORES": at("s.tif")},
            },
            {"draw": at("o.gpkg")},
            {
                "run": "selion:fields",
                "given": {"SCORES": at("s.tif"), "MIN_AREA": 20000, "OUTPUT": at("large.gpkg")},
            },
            {
                "run": "selion:mapimage",
                "given": {"IMAGE": image, "OUTPUT": at("stopped/x.gpkg")},
                "cancel_at": "predict",
            },
            {
                "run": "selion:mapimage",
                "given": {"IMAGE": image, "MODEL": "nonsense", "OUTPUT": at("wrong/y.gpkg")},
            },
        ],
    )
    mapped, drawn, large, stopped, wrong = found["steps"]
    assert {
        "selion:mapimage",
        "selion:maparea",
        "selion:fields",
        "selion:evaluate",
        "selion:change",
    } == set(found["algorithms"])
    assert (
        mapped["results"]["FIELDS"]
        == drawn["features"]
        == len(fields.read_fields(tmp_path / "o.gpkg"))
        > 0
    )
    assert mapped["bar"] == sorted(mapped["bar"])
    assert mapped["bar"][-1] == 100
    assert (drawn["renderer"], drawn["line"], drawn["styles"]) == (
        "singleSymbol",
        "#ffd500",
        ["confidence", "fields", "size"],
    )
    assert store.open_raster(tmp_path / "s.tif").bands == ("background", "field", "boundary")
    assert 0 < large["results"]["FIELDS"] < mapped["results"]["FIELDS"]
    assert stopped["results"] == {}
    assert stopped["stopped_after"] < 60
    assert wrong["error"].startswith("There is no model called 'nonsense'")
    for folder in ("stopped", "wrong"):
        assert not list((tmp_path / folder).iterdir()), "nothing half-written is left"


@pytest.mark.slow
def test_real_qgis_reads_every_style(scene, tmp_path):
    frame = fields.read_fields(scene / "truth.parquet")
    # a GeoPackage would draw with the style within it
    fields.write_fields(frame.assign(confidence=0.85), tmp_path / "t.fgb")
    frame[["geometry"]].to_file(tmp_path / "bare.fgb")
    texts = style.field_styles()
    for name, text in texts.items():
        (tmp_path / f"{name}.qml").write_text(text)
    answers = drive(
        tmp_path,
        [
            *({"restyle": [str(tmp_path / "t.fgb"), str(tmp_path / f"{n}.qml")]} for n in texts),
            {"menu": [str(tmp_path / "t.fgb"), str(tmp_path / "bare.fgb")]},
        ],
    )["steps"]
    *answers, menu = answers
    assert menu["menu"] == ["Colour by confidence", "Colour by size", "Outlines only"]
    assert menu["looks"] == ["graduatedSymbol", "graduatedSymbol", "singleSymbol"]
    assert menu["refused"] == ["bare has no column 'confidence', which this style shows."]
    assert menu["left"] == 0
    assert [a["good"] for a in answers] == [True] * 3
    assert [a["renderer"] for a in answers] == [
        "singleSymbol",
        "graduatedSymbol",
        "graduatedSymbol",
    ]
    assert answers[2]["legend"][1] == "0.5 to 2 ha"
