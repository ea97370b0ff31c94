"""Composites by runners: the same bytes as from one process, also where the tiles lie on an object
store.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import imagery, store
from selion.errors import FetchFailed
from selion.grid import whole
from selion.imagery.provenance import composite_tags
from selion.imagery.reflectance import Radiometry
from selion.imagery.scene import BANDS, Scene, Season, TilePlan
from selion.imagery.views import ClearRule
from selion.pipeline import areas, composites
from selion.runners import Serial
from selion.runners.processes import Processes
from selion.simulation.archive import simulate_archive


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    archive = simulate_archive(
        tmp_path_factory.mktemp("archive") / "archive",
        seed=3,
        centre=(13.0, 51.0),
        tile_px=132,
        n_dates=2,
    )
    area = imagery.read_area(dict(archive.area), name="valley")
    return areas.survey_area(area, 2024, areas.AreaOptions(provider=str(archive.catalogue)))


def plan_of(*names):
    """A plan of 16 by 16 pixels of some scenes."""
    grid = GeoBox((16, 16), Affine(10, 0, 600_000, 0, -10, 5_400_000), "EPSG:32633")
    season = Season("window_a", date(2024, 4, 1), date(2024, 5, 31), "given")
    taken = datetime(2024, 5, 1, 10, tzinfo=UTC)
    scenes = tuple(Scene(name, "33UXP", taken, "simulated", {}, {}) for name in names)
    return TilePlan(
        "33UXP", season, grid, whole(grid), scenes, tuple(Radiometry() for _ in names), scenes
    )


def test_a_composite_of_other_scenes_is_not_taken_up(tmp_path):
    """A survey that was deleted and made anew found those of the former one under their names."""
    plan, work = plan_of("a", "b"), composites.TileWork("simulated", frozenset({0}), tmp_path)
    path = tmp_path / work.name(plan)
    assert not work.made(plan)
    lost = {"b": "its server was silent"}
    tags = composite_tags(plan, ClearRule(frozenset({0})), lost, {"a": 256}, [0, 256])
    with store.create_cog(path, plan.grid, (*BANDS, "count"), np.uint16, tags=tags) as sink:
        sink.write(whole(plan.grid), np.ones((5, 16, 16), np.uint16))
    assert work.made(plan)
    assert not work.made(plan_of("a", "c"))
    assert not work.made(plan_of("a"))
    later = replace(plan.season, end=date(2024, 6, 30))
    assert not work.made(replace(plan, season=later))
    path.write_bytes(b"cut off")
    assert not work.made(plan)


def test_a_composite_of_other_scenes_on_an_object_store_is_not_taken_up(monkeypatch):
    """A prefix that outlives its survey, as one of another machine: its composites were taken by
    their names, whatever scenes they were of.
    """
    pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
    from faulty_store import FaultyStore

    made = []

    def compose(_work, plan, path, _on_step):
        made.append([scene.id for scene in plan.scenes])
        tags = composite_tags(plan, ClearRule(frozenset({0})), {}, {}, [0, 256])
        with store.create_cog(path, plan.grid, (*BANDS, "count"), np.uint16, tags=tags) as sink:
            sink.write(whole(plan.grid), np.ones((5, 16, 16), np.uint16))

    monkeypatch.setattr(composites.TileWork, "_compose", compose)
    with FaultyStore() as faulty:
        for name, value in faulty.environment.items():
            monkeypatch.setenv(name, value)
        work = composites.TileWork("simulated", frozenset({0}), "s3://bucket/other-scenes")
        for names in (("a", "b"), ("a", "b"), ("a", "c")):
            plan = plan_of(*names)
            if not work.made(plan):
                work(plan)
            told = imagery.read_provenance(work.place(plan))["scenes"]
            assert tuple(scene["id"] for scene in told) == names
    assert made == [["a", "b"], ["a", "c"]]


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def alone(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    composites.write_composite(survey, folder / "v.zarr", tiles=folder / "tiles")
    return folder


def test_processes_make_the_same_tiles_and_the_same_mosaic(survey, alone, tmp_path):
    with Processes(2, 1) as run:
        made = composites.write_composite(
            survey, tmp_path / "v.zarr", tiles=tmp_path / "tiles", runner=run
        )
    assert made.count == len(list((alone / "tiles").glob("*.tif")))
    assert {
        name: sha for name, sha in contents(tmp_path / "tiles").items() if name.endswith(".tif")
    } == {name: sha for name, sha in contents(alone / "tiles").items() if name.endswith(".tif")}
    ours, theirs = store.open_raster(tmp_path / "v.zarr"), store.open_raster(alone / "v.zarr")
    roi = (slice(0, ours.grid.shape[0]), slice(0, ours.grid.shape[1]))
    assert (ours.read(roi).values == theirs.read(roi).values).all()
    assert ours.read(roi).values.any()


def test_tiles_go_to_an_object_store_and_are_found_there_again(survey, alone, monkeypatch):
    pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
    from faulty_store import FaultyStore

    with FaultyStore() as faulty:
        for name, value in faulty.environment.items():
            monkeypatch.setenv(name, value)
        far = "s3://bucket/composites"  # the stand-in keeps what other tests of this process put
        faulty.fault("PUT", ".tif", "503", 2)
        made = composites.compose_tiles(survey, far)
        place = store.ObjectFolder(far)
        names = sorted(path.name for path in (alone / "tiles").glob("*.tif"))
        assert sorted(place.names()) == names
        assert all(place.get(name) == (alone / "tiles" / name).read_bytes() for name in names)
        assert len(made.paths) == len(names)
        monkeypatch.setattr(imagery, "compose", None)
        again = composites.compose_tiles(survey, far, runner=Serial())
        assert again.paths == made.paths
        assert [str(path).rpartition("/")[2] for path in again.paths] == [
            f"{plan.tile}_{plan.season.name}.tif" for plan in survey.plans if plan.scenes
        ]


def test_one_tile_whose_archive_is_silent_does_not_stop_the_others(survey, tmp_path, monkeypatch):
    compose, silent = imagery.compose, survey.plans[0]

    def sometimes(plan, path, **options):
        if plan is silent:
            raise FetchFailed("The archive is silent.")
        return compose(plan, path, **options)

    monkeypatch.setattr(imagery, "compose", sometimes)
    with pytest.raises(FetchFailed, match="silent"):
        composites.compose_tiles(survey, tmp_path)
    wanted = [plan for plan in survey.plans if plan.scenes]
    assert len(list(tmp_path.glob("*.tif"))) == len(wanted) - 1
