"""Composites by runners: the same bytes as from one process, also where the tiles lie on an object
store.
"""

from __future__ import annotations

import hashlib

import pytest

from selion import imagery, store
from selion.errors import FetchFailed
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
