"""A plan over quarterly mosaics: its jobs make the map of one piece, and its bill is theirs."""

from __future__ import annotations

import json

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from click.testing import CliRunner
from pyproj import Transformer

from option_inputs import PROBE
from quarterly_toys import write_network
from selion import country, models
from selion.cli.main import cli
from selion.country import probe
from selion.errors import BadInput
from selion.simulation.published import simulate_published

YEAR = 2023


def told(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Four published tiles and a network in a folder."""
    folder = tmp_path_factory.mktemp("ready")
    copy = simulate_published(folder / "world", "seam", years=(YEAR,), tile=512, overlap_m=40)
    models.import_checkpoint(
        write_network(folder / "n.onnx"), folder / "m", models.find_card("ftw-2e")
    )
    return folder, copy


def planned(world, name, east, north, edge, halo):
    """A plan of an area over the corner where the tiles meet, so many metres to each side."""
    folder, copy = world
    boxes = [tile.grid.boundingbox.bbox for tile in copy.tiles]
    x, y = (sum(box[k] + box[k + 2] for box in boxes) / 2 / len(boxes) for k in (0, 1))
    to_degrees = Transformer.from_crs(copy.tiles[0].epsg, 4326, always_xy=True)
    area = to_degrees.transform_bounds(x - east, y - north, x + east, y + north)
    where = ",".join(map(repr, area))
    common = (where, "--year", YEAR, "--imagery", f"ftw-mosaics@{copy.mosaics}")
    words = ("-o", folder / name, "--edge", edge, "--halo", halo, "--probe", "--probe-km", 0.5)
    with pytest.MonkeyPatch.context() as patch:  # a process of its own is timed elsewhere
        patch.setattr(probe, "startup_seconds", lambda: 3.0)
        done = told("plan", *common, *words)
    assert done.exit_code == 0, done.output
    return folder, common, done


@pytest.fixture(scope="module")
def made(world):
    return planned(world, "plan", 1200, 500, 1.3, 0.3)


@pytest.mark.long
def test_its_jobs_are_the_map_in_one_piece(world, monkeypatch):
    """Where each sees 500 m around its square; with 300 m one field of seventy was decided anew."""
    folder, common, _ = planned(world, "large", 1900, 900, 2.0, 0.5)
    jobs = json.loads((folder / "large" / "jobs.json").read_text())
    assert len(jobs) > 3
    monkeypatch.chdir(folder / "large")
    for job in jobs:
        one = told(*job["command"][1:], "-q")
        assert one.exit_code == 0, one.output
    merged = country.merge_maps([folder / "large"], folder / "maps")
    whole = told("map", *common, "-o", folder / "one.parquet", "-q")
    assert whole.exit_code == 0, whole.output
    rows = gpd.read_parquet(folder / "one.parquet")
    parts = pd.concat([gpd.read_parquet(part.path) for part in merged.parts])
    land = shapely.box(*map(float, common[0].split(",")))
    ours, theirs = (
        gpd.GeoSeries(one.geometry.to_numpy(), crs=4326).intersection(land).to_crs(32632)
        for one in (parts, rows.to_crs(4326))
    )
    ours, theirs = (one[~one.is_empty] for one in (ours, theirs))
    assert len(theirs) > 100
    assert len(ours) == pytest.approx(len(theirs), rel=0.04)
    assert ours.area.sum() == pytest.approx(theirs.area.sum(), rel=0.005)
    assert ours.area.sum() == pytest.approx(ours.union_all().area, rel=1e-6)  # nothing twice
    both = ours.union_all().intersection(theirs.union_all()).area
    assert both > 0.99 * (ours.area.sum() + theirs.area.sum() - both)


def test_its_bill_is_of_what_is_read(made):
    """By hand: what a job reads is its box, by the bytes of a km2 that the probe saw."""
    folder, _, done = made
    told_by = country.read_probe(folder / "plan" / "probe.json")
    assert (told_by.imagery, told_by.scenes, told_by.composing) == ("ftw-mosaics", 0, 0)
    assert 0.01 < told_by.gigabytes_per_km2 * 1e3 < 50  # compressed, at most 64 bands of 10 m
    jobs = json.loads((folder / "plan" / "jobs.json").read_text())
    assert len(jobs) > 1
    for job in jobs:
        words = job["command"]
        assert words[words.index("--imagery") + 1] == f"ftw-mosaics@{folder / 'world'}/ftw-mosaics"
        assert words[words.index("--model") + 1] == "fields-s2-2season"
        assert words[words.index("--crs") + 1] == job["crs"]
        assert job["gigabytes"] == pytest.approx(
            job["composed_km2"] * told_by.gigabytes_per_km2, abs=1e-4
        )
    assert "| imagery | ftw-mosaics |" in done.output
    assert "| scenes | 0 |" in done.output
    assert "the whole pipeline (mosaics that are made already, network, outlines)" in done.output
    assert "Seasons, of each tile" not in done.output
    assert not (folder / "plan" / "seasons.svg").exists()


def test_what_has_no_effect_or_was_measured_otherwise_is_refused(made, tmp_path):
    folder, common, _ = made
    model = ("-m", folder / "m", "-o", tmp_path / "plan")
    scenes = country.write_probe(PROBE, tmp_path / "scenes.json")
    here = ("--probe-file", folder / "plan" / "probe.json")
    for words, why in (
        ((*here, "--mosaic", tmp_path / "x"), "--mosaic"),
        ((*here, "--max-cloud", 20), "mosaics are made already"),
        ((*here, "--season-rule", "latitude"), "looks at all quarters"),
        (("--probe-file", scenes), "was measured on scenes, and the jobs take ftw-mosaics"),
    ):
        done = told("plan", *common, *model, *words)
        assert done.exit_code == 2, done.output
        assert why in done.output
    done = told("plan", *common[:3], "-m", "fields-s2-2season", "-o", tmp_path / "plan", *here)
    assert done.exit_code == 2
    assert "was measured on ftw-mosaics, and the jobs take scenes" in done.output
    done = told("plan", common[0], "--year", 1999, *common[3:], *model, *here)
    assert isinstance(done.exception, BadInput)  # the program makes a sentence and a 2 of it
    assert "has no 1999: it has 2017 to 2025" in str(done.exception)
    assert not (tmp_path / "plan").exists()
