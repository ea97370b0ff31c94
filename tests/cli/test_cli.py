"""The command line as a user meets it: real runs on small scenes, and every kind of bad input."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from command_line import run_here as selion
from selion import fields, store
from selion.cli.main import going_on, main
from selion.grid import whole
from selion.simulation.landscape import simulate

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(capsys):
    """Run the command line in this process, for what is refused at once."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)

    return run


def write(path, values, *, grid=None, crs="EPSG:32633", gsd=10.0, bands=None, nodata=None):
    grid = grid or GeoBox(values.shape[1:], Affine(gsd, 0, 3e5, 0, -gsd, 5.4e6), crs)
    bands = bands or tuple(f"band{k + 1}" for k in range(len(values)))
    with store.create_cog(path, grid, bands, values.dtype, nodata=nodata, force=True) as sink:
        sink.write(whole(grid), values)
    return path


@pytest.fixture(scope="module")
def scene():
    return simulate(3, (160, 200), 10.0, "europe")


@pytest.fixture(scope="module")
def image(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "image.tif"
    return write(path, scene.image.values, grid=scene.image.grid, bands=scene.image.bands)


@pytest.fixture(scope="module")
def mapped(image, tmp_path_factory):
    out = tmp_path_factory.mktemp("mapped") / "fields.parquet"
    done = selion("map", image, "-o", out, "--scores", out.with_name("scores.tif"))
    assert done.returncode == 0, done.stderr
    return out, done


def refused(done, *words):
    """One sentence, exit code 2, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word.lower() in errors[0].lower(), errors[0]


def test_map_writes_a_valid_table_and_a_preview(mapped):
    out, done = mapped
    assert done.stdout.strip() == str(out)
    assert fields.check_fiboa(out) == []
    frame = fields.read_fields(out)
    assert len(frame) > 10
    assert frame["metrics:area"].min() >= 500
    assert frame["confidence"].between(0, 1).all()
    assert (out.parent / "fields.preview.png").stat().st_size > 10_000
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")], (
        "work folders stay behind"
    )
    assert "fields-s2-2season" in done.stderr, "the model that was taken is named"


def test_map_finds_the_simulated_fields(mapped, scene):
    from selion.pipeline.demo import compare

    frame = fields.read_fields(mapped[0]).to_crs(str(scene.image.grid.crs))
    prediction = store.burn(
        frame.geometry.to_numpy(), range(1, len(frame) + 1), scene.instances.grid
    )
    scores = compare(scene.instances.ids, prediction)
    assert scores["pixel IoU"] > 0.75
    assert scores["object F1"] > 0.4


def test_two_halves_give_the_same_fields_as_the_whole(mapped, image, tmp_path):
    scores, out = tmp_path / "p.tif", tmp_path / "fields.parquet"
    assert selion("predict", image, "-o", scores, "--no-preview").returncode == 0
    assert selion("fields", scores, "-o", out).returncode == 0
    one, other = fields.read_fields(mapped[0]), fields.read_fields(out)
    assert one.geometry.to_wkb().tolist() == other.geometry.to_wkb().tolist()
    assert one["id"].tolist() == other["id"].tolist()
    assert np.array_equal(
        *(
            store.open_raster(path).read(whole(store.open_raster(path).grid)).values
            for path in (scores, mapped[0].with_name("scores.tif"))
        )
    )


def test_result_does_not_depend_on_the_block(mapped, image, tmp_path):
    out = tmp_path / "fields.parquet"
    assert (
        selion("map", image, "-o", out, "--block", 96, "--batch", 3, "--no-preview").returncode == 0
    )
    assert out.read_bytes() == mapped[0].read_bytes()


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson", ".pmtiles"])
def test_fields_in_every_format(mapped, tmp_path, ending):
    out = tmp_path / f"fields{ending}"
    done = selion("fields", mapped[0].with_name("scores.tif"), "-o", out)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 1000


def test_kill_and_go_on(mapped, image, tmp_path):
    """kill -9 at several moments, then the same command: the identical file."""
    out = tmp_path / "fields.parquet"
    command = [
        sys.executable,
        "-m",
        "selion.cli.main",
        "map",
        str(image),
        "-o",
        str(out),
        "--block",
        "128",
        "--no-preview",
    ]
    for moment in (1.5, 2.5, 3.5):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            process.wait()
        if out.exists():
            assert fields.check_fiboa(out) == []
            out.unlink()
    assert selion(*command[3:]).returncode == 0
    assert out.read_bytes() == mapped[0].read_bytes()


def test_ftw_names_are_understood(mapped, image, tmp_path):
    out = tmp_path / "fields.parquet"
    done = selion(
        "map",
        image,
        "--out",
        out,
        "--resize_factor",
        2,
        "--patch_size",
        512,
        "--padding",
        64,
        "--batch_size",
        2,
        "--gpu",
        -1,
        "--save_scores",
        "--overwrite",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fields.scores.tif").exists()
    assert len(fields.read_fields(out)) == len(fields.read_fields(mapped[0])), (
        "2 times 10 m pixels is the model's own working grid; 2 * 64 / 512 its overlap"
    )


def test_dry_run_writes_nothing_and_tells_the_cost(image, tmp_path):
    out = tmp_path / "fields.parquet"
    done = selion("map", image, "-o", out, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = next(
        json.loads(line) for line in done.stdout.splitlines() if json.loads(line)["event"] == "plan"
    )
    assert plan["windows"] >= 1
    assert plan["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_json_lines(image, tmp_path):
    done = selion("map", image, "-o", tmp_path / "f.parquet", "--json", "--no-preview")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events} == {"note", "progress", "done"}
    assert events[-1]["fields"] > 10


def test_existing_output_is_refused_and_force_replaces(image, tmp_path, here):
    out = tmp_path / "fields.parquet"
    out.write_text("mine")
    refused(here("map", image, "-o", out), "exists", "--force")
    assert out.read_text() == "mine"
    assert selion("map", image, "-o", out, "--force", "--no-preview").returncode == 0
    assert fields.check_fiboa(out) == []


def test_missing_file(tmp_path):
    refused(selion("map", tmp_path / "no.tif", "-o", tmp_path / "f.parquet"), "no.tif")


def test_truncated_file(image, tmp_path, here):
    path = tmp_path / "half.tif"
    path.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    refused(here("map", path, "-o", tmp_path / "f.parquet"), "half.tif")
    assert not (tmp_path / "f.parquet").exists()


def test_not_an_image(tmp_path, here):
    path = tmp_path / "text.tif"
    path.write_text("no image")
    refused(here("map", path, "-o", tmp_path / "f.parquet"), "text.tif")


def test_wrong_band_count(tmp_path, here):
    path = write(tmp_path / "five.tif", np.full((5, 64, 64), 500, np.uint16))
    refused(here("map", path, "-o", tmp_path / "f.parquet"), "5 bands")
    refused(here("map", path, "-o", tmp_path / "f.parquet", "--model", "fields-s2-2season"), "band")


def test_no_crs_where_the_model_needs_metres(tmp_path, here):
    grid = GeoBox((64, 64), Affine(1, 0, 0, 0, -1, 0), None)
    path = write(tmp_path / "nocrs.tif", np.full((3, 64, 64), 50, np.uint8), grid=grid)
    refused(here("map", path, "-o", tmp_path / "f.parquet"), "CRS", "scale")


def test_all_nodata(tmp_path, here):
    path = write(tmp_path / "empty.tif", np.zeros((8, 80, 80), np.uint16), nodata=0)
    refused(here("map", path, "-o", tmp_path / "f.parquet"), "nodata")
    assert not (tmp_path / "f.parquet").exists()


def test_smaller_than_a_window(tmp_path, scene):
    path = write(tmp_path / "small.tif", scene.image.values[:, :20, :30])
    done = selion("map", path, "-o", tmp_path / "f.parquet")
    assert done.returncode == 0, done.stderr
    assert "smaller" in done.stderr


def test_rotated_grid(tmp_path, here):
    import rasterio

    path = tmp_path / "rotated.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=64,
        width=64,
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=Affine(9, 3, 3e5, 3, -9, 5.4e6),
    ) as target:
        target.write(np.full((3, 64, 64), 9, np.uint8))
    refused(here("map", path, "-o", tmp_path / "f.parquet"), "rotated")


def test_unknown_model_offers_the_nearest(image, tmp_path, here):
    refused(
        here("map", image, "-o", tmp_path / "f.parquet", "--model", "fields-s2-2seasons"),
        "fields-s2-2season",
    )


def test_unknown_format_is_refused_before_any_work(image, tmp_path, here):
    refused(here("map", image, "-o", tmp_path / "f.shp"), ".shp")


def test_unwritable_output(image, tmp_path, here):
    (tmp_path / "file").write_text("")
    refused(here("map", image, "-o", tmp_path / "file" / "f.parquet"), "f.parquet")


@pytest.mark.parametrize("room", [4_000, 60_000])
def test_full_disk(image, tmp_path, room):
    """No file may grow beyond ``room`` bytes, as on a disk that is full: one sentence, and nothing
    under the final name.
    """
    out = tmp_path / "f.parquet"
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); from "
        "selion.cli.main import main; main()"
    )
    command = [
        sys.executable,
        "-c",
        limited,
        "map",
        str(image),
        "-o",
        str(out),
        "--block",
        "256",
        "--no-preview",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    refused(done, "space")
    assert not out.exists()


def test_unknown_verb_offers_the_nearest():
    done = selion("mapp")
    assert done.returncode == 2
    assert "'map'" in done.stderr


def test_scores_without_classes(image, tmp_path, here):
    refused(here("fields", image, "-o", tmp_path / "f.parquet"), "classes")


def test_ctrl_c_leaves_finished_blocks_and_a_sentence(image, tmp_path):
    out = tmp_path / "f.parquet"
    command = [
        sys.executable,
        "-m",
        "selion.cli.main",
        "map",
        str(image),
        "-o",
        str(out),
        "--block",
        "64",
        "--flips",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 600
        while (
            not list(tmp_path.glob(".f.parquet.selion/scores/*.block"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert "\n  selion " in errors
    assert "continues" in errors
    assert not out.exists()


def test_models_verbs(tmp_path, here):
    listed = selion("models", "list")
    assert listed.returncode == 0
    assert "fields-rgb-vhr" in listed.stdout
    assert "FTW_PRUE_EFNET_B5" in listed.stdout
    shown = selion("models", "show", "fields-rgb-vhr")
    assert "licence" in shown.stdout.lower()
    refused(here("models", "show", "fields-rgb-vrh"), "fields-rgb-vhr")


def test_fetch_without_network(tmp_path):
    done = selion(
        "models",
        "fetch",
        "FTW_PRUE_EFNET_B3",
        SELION_CACHE=str(tmp_path),
        HTTPS_PROXY="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
    )
    refused(done)


def test_doctor():
    found = json.loads(selion("doctor", "--json").stdout)
    assert found["engines"]
    assert found["verbs"]["map"] == {"works": True, "lacks": [], "install": ""}


def test_simulate(tmp_path, here):
    done = selion("simulate", "-o", tmp_path / "s", "--size", 64, "--clouds", 0.3)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "image.tif",
        "instances.tif",
        "labels.tif",
        "cover.tif",
        "scl.tif",
        "truth.parquet",
    }
    refused(here("simulate", "-o", tmp_path / "s", "--size", 64), "--force")
    refused(here("simulate", "-o", tmp_path / "t", "--seed", -1), "x>=0")


def test_evaluate_a_map_against_its_truth(mapped, scene, tmp_path):
    truth = write(
        tmp_path / "truth.tif",
        scene.instances.ids[None].astype(np.int32),
        grid=scene.instances.grid,
        nodata=0,
    )
    done = selion(
        "evaluate",
        "--pred",
        mapped[0],
        "--truth",
        truth,
        "-o",
        tmp_path / "report",
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {
        "report.json",
        "report.md",
        "report.html",
    }
    assert "regular grid" in done.stderr.lower() or "grid" in done.stderr.lower(), (
        "baselines stand beside the score"
    )


def test_evaluate_refuses_options_that_would_do_nothing(mapped, tmp_path):
    done = selion(
        "evaluate", "fields-s2-2season", tmp_path, "--reproject", "-o", tmp_path / "report"
    )
    assert done.returncode == 2
    assert "--reproject" in done.stderr


def test_reference_page_is_what_the_code_says():
    done = subprocess.run(
        [sys.executable, str(REPO / "docs" / "reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "selion"]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("selion, version ")
    assert subprocess.run([*command, "no-verb"], capture_output=True, check=False).returncode == 2


def left(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_name_of_another_format_is_refused_before_the_run(here, image, tmp_path):
    refused(here("predict", image, "-o", tmp_path / "s.png"), "s.png", ".tif")
    asked = ("map", image, "-o", tmp_path / "f.parquet", "--scores", tmp_path / "s.png")
    refused(here(*asked), "s.png", ".tif")
    photo = write(tmp_path / "photo.tif", np.full((3, 64, 64), 9, np.uint8), crs=None, gsd=1.0)
    asked = ("map", photo, "-o", tmp_path / "x.geojson", "-m", "fields-rgb-vhr", "--scale", "1")
    refused(here(*asked), "x.geojson", "no CRS", ".gpkg")
    assert left(tmp_path) == ["photo.tif"], "refused runs leave nothing"


def test_the_demo_refuses_what_it_cannot_read_or_write_in_a_sentence(here, tmp_path):
    refused(here("demo", "-o", tmp_path / "d", "--image", tmp_path / "none.tif"), "does not exist")
    assert left(tmp_path) == []
    if Path("/proc/self").exists():  # a folder in which nobody can make another
        refused(here("demo", "-o", "/proc/x", "--size", "128"), "/proc/x", "another place")


def test_a_query_whose_area_comes_last_says_the_command(capsys, tmp_path):
    for box in ("12,50,12.02,50.02", "-12,50,12.02,50.02"):
        with pytest.raises(SystemExit) as ended:
            main(["query", "maps", box, "-o", str(tmp_path / "x.parquet")])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert f"selion query {box} maps -o {tmp_path / 'x.parquet'}" in said
    assert not list(tmp_path.iterdir())


def test_a_query_beside_the_map_says_where_the_map_is(capsys, mapped, tmp_path):
    box = fields.read_fields(mapped[0]).to_crs("EPSG:4326").total_bounds
    main(["query", "1,1,2,2", str(mapped[0]), "-o", str(tmp_path / "q.parquet")])
    said = capsys.readouterr()
    sentence = said.err.splitlines()[0]
    assert "No field of" in sentence
    assert "1,1,2,2" in sentence
    told = [float(text) for text in sentence.partition("within ")[2].split(" ")[0].split(",")]
    np.testing.assert_allclose(told, box, rtol=1e-3)
    assert said.out.strip().endswith("q.parquet")


def test_nobody_is_told_of_hardware_that_is_not_there(mapped):
    assert "driver" not in mapped[1].stderr
    assert "Apple" not in mapped[1].stderr


def test_warnings_of_what_serves_pages_are_kept_from_people(capsys, monkeypatch):
    import warnings

    from selion.cli import main as entry

    told = []
    monkeypatch.setattr(warnings, "showwarning", lambda *given: told.append(str(given[0])))
    monkeypatch.setattr(sys, "warnoptions", [])
    entry._warn_in_a_sentence()
    for name in ("starlette", "rio_tiler", "geopandas"):
        warnings.showwarning(name, FutureWarning, f"/lib/site-packages/{name}/io.py", 3)
    ours = str(Path(entry.__file__).with_name("x.py"))
    warnings.showwarning("look at this", UserWarning, ours, 3)
    assert told == ["geopandas"]
    assert capsys.readouterr().err == "Warning: look at this\n"
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    warnings.showwarning("starlette", FutureWarning, "/lib/site-packages/starlette/io.py", 3)
    assert told[-1] == "starlette"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("train crops --force -o 'my run'", "train crops -o 'my run' --resume"),
        ("train crops --resume -o run", "train crops --resume -o run"),
        ("label selftrain crops --pseudo a -o b -f", "label selftrain crops --pseudo a -o b"),
        ("crops photos -o out --overwrite", "crops photos -o out"),
        ("crops adapt photos -o mine", "crops adapt photos -o mine"),
        ("map s.tif -o m --force", "map s.tif -o m --force"),
    ],
)
def test_who_stops_a_command_is_told_which_one_goes_on(given, wanted):
    assert going_on(shlex.split(given)) == f"selion {wanted}"
