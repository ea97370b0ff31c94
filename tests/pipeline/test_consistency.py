"""Consistency of a map: the passes by hand, blocks and runners, the column, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize
from shapely import box

from option_inputs import Quick, QuickObjects
from selion import prediction, store
from selion.errors import BadInput, OutputExists
from selion.grid import Lattice, whole
from selion.pipeline import maps
from selion.pipeline.consistency import added_cost, with_consistency
from selion.prediction.consistency import agreement
from selion.runners import RunnerOptions
from selion.simulation.landscape import simulate

WINDOW = 64


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    scene = simulate(4, (75, 90), 10.0, "europe")
    path = tmp_path_factory.mktemp("consistency") / "image.tif"
    values = scene.image.values.copy()
    values[:, :10, :10] = 0  # no data
    with store.create_cog(path, scene.image.grid, scene.image.bands, np.uint16, nodata=0) as sink:
        sink.write(whole(scene.image.grid), values)
    return path


def options(**more):
    return maps.MapOptions(
        predict=prediction.PredictOptions(window=WINDOW, batch=1, block=64), **more
    )


@pytest.fixture(scope="module")
def mapped(image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mapped")
    how = options(consistency=folder / "c.tif", work=folder / "work")
    job = maps.prepare(image, None, how)
    _, frame = maps.map_image(job, folder / "f.parquet", how)
    return job, folder, frame


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.nodata, file.tags()


@pytest.mark.parametrize("size", [40, 64, 65, 150, 300])
@pytest.mark.parametrize("shift", [0, 24])
def test_shifted_windows_cover_the_grid(size, shift):
    lattice = Lattice((size, size), 64, 0.25, shift=(shift, shift))
    starts = lattice.starts[0]
    seen = np.zeros(max(size, 64), bool)
    for start in starts:
        seen[start : start + 64] = True
    assert seen.all()
    assert starts == tuple(sorted(set(starts)))
    if size == 300 and shift:
        assert starts == (0, 24, 72, 120, 168, 216, 236)


def test_agreement_is_the_share_of_pairs_that_agree():
    rng = np.random.default_rng(3)
    stored = rng.integers(0, 254, (4, 3, 30, 30), np.uint8)
    said = stored.argmax(1)
    counts = np.stack([(said == k).sum(0) for k in range(3)])
    fleiss = ((counts**2).sum(0) - 4) / 12  # the formula of Fleiss (1971), n = 4
    np.testing.assert_array_equal(agreement(list(stored)), np.rint(254 * fleiss))
    everywhere = (counts == 4).any(0).mean()  # PRUE, equation 1
    assert (agreement(list(stored)) == 254).mean() == everywhere


def test_passes_are_mirrored_predictions_with_shifted_windows(image, mapped):
    """By hand: each pass as an ordinary prediction of an image that was turned before."""
    job, folder, _ = mapped
    model, working = job.model, job.plan.working(job.source)
    part = working.read(whole(working.grid))
    valid = part.valid if part.valid is not None else np.ones(part.values.shape[1:], bool)
    stride = 48
    turns = [lambda a: a, lambda a: a[..., ::-1], lambda a: a[..., ::-1, :]]
    turns.append(lambda a: a[..., ::-1, ::-1])
    said = []
    for (down, right), turn in zip([(0, 0), (0, 1), (1, 0), (1, 1)], turns, strict=True):
        shift = (stride // 2 * down, stride // 2 * right)
        lattice = Lattice(valid.shape, WINDOW, 0.25, shift=shift)
        weights = prediction.blend.LatticeWeights(lattice)
        total = np.zeros((3, *valid.shape), np.float32)
        for row, column in lattice.touching(whole(working.grid)):
            roi = lattice.window_roi(row, column)
            pixels = part.values[list(job.plan.bands)][:, *roi].astype(np.float32)
            prediction.fill_unknown(pixels, valid[roi])
            view = prediction.windows.View(np.ascontiguousarray(turn(pixels)), roi)
            total[:, *roi] += turn(model([view])[0]) * weights.of(row, column)
        said.append(prediction.quantise(total, valid))
    found, nodata, tags = read(folder / "c.tif")
    np.testing.assert_array_equal(found, agreement(said))
    assert (nodata, (found == 255).sum()) == (255, 400)  # 10 x 10 pixels of the image, doubled
    assert 0 < (found < 254).mean() < 0.9
    assert len(json.loads(tags["consistency"])["passes"]) == 4


@pytest.mark.parametrize(
    "how", ["blocks", "resumed", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_the_raster_is_the_same_whoever_makes_it(image, mapped, tmp_path, how, monkeypatch):
    job, folder, frame = mapped
    out = tmp_path / "f.parquet"
    given = options(consistency=tmp_path / "c.tif")
    if how == "blocks":
        given = replace(given, predict=replace(given.predict, block=2048))
    if how == "processes":
        given = replace(given, runner=RunnerOptions("processes", workers=1))
    job = maps.prepare(image, None, given)
    if how == "resumed":
        with monkeypatch.context() as broken:
            broken.setattr(maps, "write_consistency", lambda *_a, **_k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                maps.map_image(job, out, given)
        monkeypatch.setattr(prediction.block, "segment", lambda *_a: 1 / 0)  # nothing is asked
    _, again = maps.map_image(job, out, given)
    one, other = (path / "c.tif" for path in (folder, tmp_path))
    np.testing.assert_array_equal(read(one)[0], read(other)[0])
    np.testing.assert_array_equal(frame["consistency"], again["consistency"])


def test_fields_get_the_mean_of_their_pixels(mapped):
    _, folder, frame = mapped
    with rasterio.open(folder / "c.tif") as file:
        stored, transform = file.read(1), file.transform
    wanted = []
    for shape in frame.geometry:
        pixels = stored[rasterize([shape], stored.shape, transform=transform) == 1]
        wanted.append(pixels[pixels != 255].mean() / 254)
    np.testing.assert_allclose(frame["consistency"], wanted, atol=1e-6)
    table = geopandas.read_parquet(folder / "f.parquet")
    assert table["consistency"].dtype == np.float32
    assert sorted(table["consistency"]) == sorted(frame["consistency"])
    assert maps.summarise(table)["mean_consistency"] == pytest.approx(np.mean(wanted), abs=1e-4)
    assert "mean_consistency" not in maps.summarise(table.drop(columns="consistency"))


def test_small_fields_and_no_data(mapped):
    job, folder, frame = mapped
    how = options(work=folder / "work")
    passes = prediction.consistency_passes(job.plan, job.model)
    names = ["scores", "consistency-1", "consistency-2", "consistency-3"]
    found = prediction.ConsistencySource(
        tuple(
            prediction.JournalSource(prediction.BlockJournal(how.work / name, plan.key), plan)
            for name, plan in zip(names, passes, strict=True)
        )
    )
    left, top = job.plan.grid.transform * (0, 0)
    x, y = job.plan.grid.transform * (50, 50)  # the corner of a pixel, which no centre is near
    tiny = geopandas.GeoDataFrame(
        geometry=[box(x + 1, y - 2, x + 2, y - 1), box(left, top - 50, left + 50, top)],
        crs=frame.crs,
    )
    stored, *_ = read(folder / "c.tif")
    got = with_consistency(tiny, found)["consistency"].tolist()
    assert got[0] == pytest.approx(stored[50, 50] / 254)
    assert np.isnan(got[1])
    assert with_consistency(tiny.iloc[:0], found)["consistency"].tolist() == []


def test_the_map_itself_is_the_first_pass_and_costs_nothing(mapped):
    job, _, _ = mapped
    cost = added_cost(job.source, job.model, job.plan)
    first, *more = prediction.consistency_passes(job.plan, job.model)
    assert first.key == job.plan.key
    assert cost.windows == sum(len(plan.lattice) for plan in more)
    flipped = replace(job.plan, flips=True, decided={**job.plan.decided, "flips": True})
    keys = [plan.key for plan in prediction.consistency_passes(flipped, job.model)]
    assert keys == [first.key, *(plan.key for plan in more)]
    assert len({job.plan.key, flipped.key, *keys}) == 5


def test_what_has_no_consistency_is_refused(mapped, tmp_path):
    job, folder, _ = mapped
    with pytest.raises(BadInput, match="--consistency has no effect, because quick returns obj"):
        maps.refuse_unused(QuickObjects(), options(consistency=tmp_path / "c.tif"))
    wide = replace(job.plan, context=512)
    with pytest.raises(BadInput, match="wider image, which is not mirrored"):
        prediction.consistency_passes(wide, Quick())
    for name, error, said in (
        ("c.png", BadInput, "ends in .tif"),
        ("s.tif", BadInput, "both to be written"),
        (folder / "c.tif", OutputExists, "c.tif"),
    ):
        how = options(consistency=tmp_path / name, scores=tmp_path / "s.tif")
        with pytest.raises(error, match=said):
            maps.map_image(job, tmp_path / "f.parquet", how)
    assert list(tmp_path.iterdir()) == []
