"""What is known of the scenes that a composite was made of, and of the tables that a map was merged
from; a composite of a whole archive is in ``tests/pipeline/test_areas.py``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import option_inputs
from command_line import run_here
from selion.errors import InputChanged
from selion.store.inputs import WatchedInputs
from selion.store.manifest import Manifest, manifest_of, read_manifest, write_manifest
from selion.store.scene_sums import sum_scenes
from selion.store.witness import UsedScene, Witness, used_scene, witnessed
from selion.verification import verify


def unrepeatable(path: Path) -> str:
    return "\n".join(next(one.said for one in verify(path).checks if one.name == "repeatable"))


def scene(tmp_path: Path, **bands: str) -> dict[str, UsedScene]:
    return {"S2A_1": UsedScene(bands, {"time": "2024-05-01", "updated": "2024-06-01"})}


def test_of_very_much_only_samples_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("selion.store.scene_sums.MOST", 10)
    (tmp_path / "b.tif").write_bytes(b"0" * 300_000)
    (one,) = sum_scenes(scene(tmp_path, red=str(tmp_path / "b.tif")), tmp_path)
    assert (one.name, one.bytes, one.sampled, one.path) == ("S2A_1: red", 300_000, True, "b.tif")
    (tmp_path / "a").write_text("x")
    write_manifest(Manifest("a", ("composite",), inputs=(one,)), tmp_path / "a.manifest.json")
    assert "another one" not in unrepeatable(tmp_path / "a")
    (tmp_path / "b.tif").write_bytes(b"1" + b"0" * 299_999)
    assert "S2A_1: red is another one" in unrepeatable(tmp_path / "a")


def test_a_scene_on_servers_is_known_by_what_its_catalogue_said(tmp_path):
    def known(href: str, **more: object):
        bands = {"red": href, "nir": "https://example.org/b.tif"}
        return next(sum_scenes({"S2A_1": UsedScene(bands, more)}, tmp_path))

    one = known("https://me:word@example.org/a.tif?sig=KEY&se=2024", updated="2024-06-01")
    assert (one.name, one.kind, len(one.sha256)) == ("S2A_1", "scene", 64)
    assert one == known("https://example.org/a.tif?sig=OTHER&se=2025", updated="2024-06-01")
    assert one != known("https://example.org/a.tif", updated="2024-06-02")
    assert one != known("https://example.org/c.tif", updated="2024-06-01")
    (tmp_path / "a").write_text("x")
    many = tuple(known("https://example.org/a.tif", updated=k) for k in range(7))
    write_manifest(Manifest("a", ("composite",), inputs=many), tmp_path / "a.manifest.json")
    said = unrepeatable(tmp_path / "a")
    assert "S2A_1 and 2 more lie on servers, which were not asked." in said
    assert not [one for one in verify(tmp_path / "a").differences if "S2A_1" in one]


def test_a_scene_that_is_replaced_while_it_is_read_is_noticed(tmp_path):
    (tmp_path / "b.tif").write_bytes(b"one")
    witness = Witness(lambda *_: None, inputs=WatchedInputs())
    with witnessed(witness):
        used_scene("S2A_1", scene(tmp_path, red=str(tmp_path / "b.tif"))["S2A_1"])
        witness.check_inputs()
        (tmp_path / "b.tif").write_bytes(b"other")
        with pytest.raises(InputChanged, match=r"b\.tif"):
            witness.check_inputs()


def test_the_tables_of_a_merged_plan_are_its_inputs_and_nothing_beside_them(tmp_path):
    plan = option_inputs.plan_year(tmp_path, "plan", 2023)
    done = run_here("merge", plan, "-o", tmp_path / "map", "--quiet")
    assert done.returncode == 0, done.stderr
    (job,) = (plan / "jobs").iterdir()
    known = {one.path: one.sha256 for one in read_manifest(manifest_of(tmp_path / "map")).inputs}
    wanted = [plan / "jobs.json", job / "area.geojson", job / "fields.parquet"]
    assert known == {
        one.relative_to(tmp_path).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in wanted
    }
    (job / "job.log").write_text("what it printed")
    assert "the command gives the same bytes" in unrepeatable(tmp_path / "map")
    content = (job / "fields.parquet").read_bytes()
    (job / "fields.parquet").write_bytes(content + b"x")
    (plan / "jobs.json").unlink()
    said = unrepeatable(tmp_path / "map")
    assert f"plan/jobs/{job.name}/fields.parquet is another one" in said
    assert "plan/jobs.json is not there any more" in said
    assert said.count("The input ") == 2
