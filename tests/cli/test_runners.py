"""Runners on the command line: the same bytes, what is missing is told, outputs on object
stores.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import rasterio

from selion import fields, store
from selion.cli.main import main
from selion.errors import Incomplete, UnreadableFile
from selion.grid import whole
from selion.simulation.landscape import simulate


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    scene = simulate(4, (224, 224), 10.0, "europe")
    path = tmp_path_factory.mktemp("runners") / "image.tif"
    with store.create_cog(path, scene.image.grid, scene.image.bands, np.uint16, block=32) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    return path


def run(capsys, *arguments):
    """Return exit code, standard output and standard error."""
    code = 0
    try:
        main([str(one) for one in arguments])
    except SystemExit as stop:
        code = stop.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


COMMON = (
    "--block",
    "64",
    "--window",
    "64",
    "--batch",
    "1",
    "--scale",
    "1",
    "--no-preview",
    "--collection",
    "c",
)


@pytest.fixture(scope="module")
def alone(image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    main(
        [
            "map",
            str(image),
            "-o",
            str(folder / "f.parquet"),
            "--scores",
            str(folder / "s.tif"),
            "-q",
            *COMMON,
        ]
    )
    return folder


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_processes_give_the_same_bytes_and_a_profile(image, alone, tmp_path, capsys):
    code, out, err = run(
        capsys,
        "map",
        image,
        "-o",
        tmp_path / "f.parquet",
        "--scores",
        tmp_path / "s.tif",
        "--runner",
        "processes",
        "--workers",
        "2",
        "--profile",
        *COMMON,
    )
    assert code == 0, err
    assert out.strip() == str(tmp_path / "f.parquet")
    assert sha(tmp_path / "f.parquet") == sha(alone / "f.parquet")
    assert sha(tmp_path / "s.tif") == sha(alone / "s.tif")
    stages = json.loads((tmp_path / "f.parquet.profile.json").read_text())["stages"]
    assert {"read", "network", "blend", "write", "instances", "polygons", "table"} <= set(stages)
    assert all(seconds > 0 for seconds in stages.values())
    assert "network" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "f.parquet",
        "f.parquet.manifest.json",
        "f.parquet.profile.json",
        "s.tif",
    ], "nothing else is left"


def test_a_corrupt_image_gives_the_rest_and_says_so(image, alone, tmp_path, capsys):
    sound = image.read_bytes()
    broken = tmp_path / "image.tif"
    with rasterio.open(image) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_6_6", "TIFF", 1))
    broken.write_bytes(sound[:offset] + b"\xff" * 64 + sound[offset + 64 :])
    out = tmp_path / "s.tif"
    code, said, err = run(capsys, "predict", broken, "-o", out, *COMMON[:-2])
    assert code == 3, err
    assert said.strip() == str(out)
    assert "Incomplete: " in err
    missing = json.loads((tmp_path / "s.tif.aside.json").read_text())["missing"]
    assert 0 < len(missing) <= 4, "the broken tile's block, and those whose windows reach it"
    assert all(
        one["rows"][0] >= 128 and one["columns"][0] >= 128 and one["tries"] == 3 and one["bounds"]
        for one in missing
    )
    values = store.open_raster(out).read((slice(0, 224), slice(0, 224))).values
    hole = values[:, 192:, 192:]
    assert (hole == 255).all()
    whole_map = store.open_raster(alone / "s.tif").read((slice(0, 224), slice(0, 224))).values
    assert np.array_equal(values[:, :128, :128], whole_map[:, :128, :128])
    broken.write_bytes(sound)
    code, said, err = run(capsys, "predict", broken, "-o", out, *COMMON[:-2])
    assert code == 0, err
    assert not (tmp_path / "s.tif.aside.json").exists()
    assert np.array_equal(
        store.open_raster(out).read((slice(0, 224), slice(0, 224))).values, whole_map
    )
    code, said, err = run(capsys, "predict", broken, "-o", out, *COMMON[:-2])
    assert code == 2
    assert "--force" in err, "a complete output is not replaced"


def test_python_is_told_by_an_error(image, tmp_path, monkeypatch):
    from selion import prediction
    from selion.pipeline import maps, probabilities

    monkeypatch.setattr(
        prediction,
        "run_blocks",
        lambda *_, **__: (prediction.FailedBlock((slice(0, 64), slice(0, 64)), "broken", 3),),
    )
    job = maps.prepare(image, None, maps.MapOptions())
    monkeypatch.setattr(probabilities, "write_scores", lambda *_, **__: None)
    monkeypatch.setattr(maps, "write_scores", lambda *_, **__: None)
    with pytest.raises(Incomplete, match="1 of its blocks"):
        maps.predict_image(job, tmp_path / "s.tif")


def test_wrong_runner_is_refused(image, tmp_path, capsys):
    code, _, err = run(capsys, "map", image, "-o", tmp_path / "f.parquet", "--runner", "spark")
    assert code == 2
    assert "no runner called 'spark'" in err


def test_a_run_that_did_not_begin_leaves_nothing(image, tmp_path, capsys):
    pytest.importorskip("ray", reason="Ray is not installed (extra 'cluster')")
    code, _, err = run(
        capsys, "map", image, "-o", tmp_path / "f.parquet", "--runner", "ray://127.0.0.1:1", *COMMON
    )
    assert code == 2
    assert "no Ray cluster" in err
    assert not list(tmp_path.iterdir())


def test_a_quiet_profile_is_only_written(image, tmp_path, capsys):
    code, out, err = run(
        capsys, "predict", image, "-o", tmp_path / "s.tif", "-q", "--profile", *COMMON[:-2]
    )
    assert (code, out.strip(), err) == (0, str(tmp_path / "s.tif"), "")
    assert json.loads((tmp_path / "s.tif.profile.json").read_text())["stages"]["network"] > 0


def test_a_cube_on_an_object_store_is_refused_before_anybody_is_asked(capsys, monkeypatch):
    monkeypatch.setattr(store.ObjectFolder, "has", None)
    code, _, err = run(capsys, "composite", "13,51,13.1,51.1", "2024", "-o", "s3://bucket/x.zarr")
    assert code == 2
    assert "ends in .tif" in err


@pytest.mark.parametrize("option", ["-o", "--work"])
def test_an_address_without_a_bucket_is_refused(image, tmp_path, capsys, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "map", image, "-o", "f.parquet", option, "s3://")
    assert code == 2
    assert "names no bucket" in err
    assert not list(tmp_path.iterdir())


def test_output_on_an_object_store(image, alone, monkeypatch, capsys):
    pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
    from faulty_store import FaultyStore

    with FaultyStore() as faulty:
        for name, value in faulty.environment.items():
            monkeypatch.setenv(name, value)
        faulty.fault("PUT", ".block", "503", 2)
        target = "s3://bucket/maps/f.parquet"
        code, out, err = run(capsys, "map", image, "-o", target, *COMMON)
        assert code == 0, err
        assert out.strip() == target
        folder = store.ObjectFolder("s3://bucket/maps")
        assert folder.get("f.parquet") == (alone / "f.parquet").read_bytes()
        left = ["f.parquet", "f.parquet.manifest.json"]
        assert list(folder.names()) == left, "the journal went when all was there"
        code, _, err = run(capsys, "map", image, "-o", target, *COMMON)
        assert code == 2
        assert "exists already" in err
        code, out, err = run(
            capsys,
            "predict",
            image,
            "-o",
            "s3://bucket/s.tif",
            "--work",
            "s3://bucket/work",
            *COMMON[:-2],
        )
        assert code == 0, err
        assert any(
            name.startswith("journal/scores/")
            for name in store.ObjectFolder("s3://bucket/work").names()
        ), "what was asked for stays"
        assert store.ObjectFolder("s3://bucket").get("s.tif") == (alone / "s.tif").read_bytes()
        code, out, err = run(
            capsys,
            "fields",
            "s3://bucket/s.tif",
            "-o",
            "s3://bucket/again.parquet",
            "--collection",
            "c",
            "--no-preview",
        )
        assert code == 0, err
    assert len(fields.read_fields(alone / "f.parquet"))


def test_what_cannot_be_compared_stops_no_prediction(image, tmp_path, capsys, monkeypatch):
    from selion.pipeline import maps

    def broken(_job):
        raise UnreadableFile("the tile is torn")

    monkeypatch.setattr(maps, "compare_precision", broken)
    code, out, err = run(capsys, "predict", image, "-o", tmp_path / "s.tif", "--fast", *COMMON[:-2])
    assert (code, out.strip()) == (0, str(tmp_path / "s.tif")), err
    assert "--fast was not compared with float32: the tile is torn" in err


def test_an_image_for_the_preview_that_is_not_there_is_said_before_the_work(
    alone, tmp_path, capsys
):
    code, _, err = run(
        capsys,
        "fields",
        alone / "s.tif",
        "-o",
        tmp_path / "f.parquet",
        "--image",
        tmp_path / "none.tif",
    )
    assert code == 2
    assert "none.tif" in err
    assert not list(tmp_path.iterdir())
