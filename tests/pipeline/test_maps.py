"""The wholes from Python: one line for the road, and the picture of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import selion
from selion import fields, prediction, store
from selion.classes import FTW3
from selion.errors import BadInput, BandMismatch, UnreadableFile
from selion.grid import roi_shape, whole
from selion.pipeline import maps
from selion.pipeline import probabilities as scoring
from selion.raster import Raster
from selion.reports import picture
from selion.reports.preview import Preview, write_preview
from selion.simulation.landscape import simulate


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    scene = simulate(4, (96, 96), 10.0, "europe")
    path = tmp_path_factory.mktemp("maps") / "image.tif"
    with store.create_cog(
        path,
        scene.image.grid,
        scene.image.bands,
        np.uint16,
        tags={"datetime": "2024-08-17T10:20:00+00:00"},
    ) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    return path


def test_one_line_is_the_four_stations(image, tmp_path):
    frame = selion.map_fields(image, tmp_path / "f.parquet", options=maps.MapOptions(min_area=500))
    model = selion.load_model("fields-s2-2season")
    probabilities = selion.predict(selion.open_raster(image), model)
    by_hand = selion.to_fields(
        selion.find_instances(probabilities, model.classes), fields.FieldOptions(min_area=0)
    )
    assert frame.geometry.to_wkb().tolist() == by_hand.geometry.to_wkb().tolist()
    assert frame["id"].is_unique


def test_time_of_the_image_becomes_the_time_of_determination(image, tmp_path):
    selion.map_fields(image, tmp_path / "f.parquet")
    assert (
        fields.read_origin(tmp_path / "f.parquet").to_dict()["determination:datetime"]
        == "2024-08-17T10:20:00Z"
    )
    with pytest.raises(BadInput, match="ISO 8601"):
        selion.map_fields(
            image, tmp_path / "g.parquet", options=maps.MapOptions(datetime="yesterday")
        )


def test_smallest_field_is_what_the_image_can_show():
    assert maps.least_area(maps.MapOptions(), 1.0) == 500
    assert maps.least_area(maps.MapOptions(), 10.0) == 2000
    assert maps.least_area(maps.MapOptions(min_area=0), 10.0) == 0
    assert maps.least_area(maps.MapOptions(), None) == 500


def test_choice_of_the_model_by_bands(image):
    assert maps.choose_model(store.open_raster(image)) == "fields-s2-2season"
    grid = store.open_raster(image).grid[:8, :8]
    assert (
        maps.choose_model(Raster(np.zeros((4, 8, 8)), grid, ("red", "green", "blue", "nir")))
        == "fields-rgb-vhr"
    )
    with pytest.raises(BandMismatch, match="--model"):
        maps.choose_model(Raster(np.zeros((2, 8, 8)), grid, ("a", "b")))


def test_journal_reads_back_what_was_predicted(image, tmp_path):
    job = maps.prepare(image, None, maps.MapOptions(predict=prediction.PredictOptions(block=64)))
    journal = prediction.BlockJournal(tmp_path / "scores", job.plan.key)

    class Nowhere:
        def write(self, roi, values):
            pass

    prediction.run_plan(job.source, job.model, job.plan, sink=Nowhere(), journal=journal)
    direct = prediction.run_plan(job.source, job.model, job.plan)
    source = prediction.JournalSource(journal, job.plan)
    roi = (slice(30, 150), slice(50, 190))
    assert np.array_equal(source.read(roi).values, direct.read(roi).values)
    assert len(job.plan.blocks) > 4, "the region crosses blocks"


def test_fast_says_what_it_changes(image):
    job = maps.prepare(image, None, maps.MapOptions(fast=True))
    assert "of the pixels" in maps.compare_precision(job)


def test_picture_shows_outlines_where_the_fields_are(image, tmp_path):
    frame = selion.map_fields(image, tmp_path / "f.parquet")
    source = store.open_raster(image)
    plain, step = picture.thumbnail(source)
    drawn = picture.draw_outlines(plain, frame, source.grid, step)
    changed = (plain != drawn).any(-1)
    burnt = store.burn(frame.geometry.to_numpy(), range(1, len(frame) + 1), source.grid)
    inner = np.zeros_like(changed)
    inner[1:-1, 1:-1] = True
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            inner &= np.roll(burnt, shift, axis) == burnt
    assert 0.02 < changed.mean() < 0.5
    assert changed[inner & (burnt > 0)].mean() < 0.1
    assert (drawn[changed] == picture.COLOURS["fields"]).all()


def test_preview_of_a_small_image_is_enlarged(image, tmp_path):
    from PIL import Image

    frame = selion.map_fields(image, tmp_path / "f.parquet")
    path = write_preview(store.open_raster(image), frame, tmp_path / "p.png")
    with Image.open(path) as shown:
        assert shown.size == (192, 192)


def test_summary_of_nothing(image):
    nothing = np.zeros((3, 9, 9), np.float32)
    nothing[0] = 1
    found = selion.find_instances(
        Raster(nothing, store.open_raster(image).grid[:9, :9], FTW3.names), FTW3
    )
    assert maps.summarise(selion.to_fields(found)) == {
        "fields": 0,
        "total_ha": None,
        "median_ha": None,
        "mean_confidence": None,
    }


def test_the_preview_of_a_map_is_that_of_its_table(image, tmp_path):
    job = maps.prepare(image, None, maps.MapOptions())
    path, frame = maps.map_image(
        job, tmp_path / "f.parquet", maps.MapOptions(), watcher=Preview(tmp_path / "f.preview.png")
    )
    assert (tmp_path / "f.preview.png").read_bytes() == write_preview(
        store.open_raster(image), frame, tmp_path / "p.png"
    ).read_bytes()
    assert path.is_file()


def test_an_image_that_cannot_be_shown_costs_no_map_and_leaves_no_old_preview(
    image, tmp_path, monkeypatch
):
    def broken(_source):
        raise UnreadableFile("the tile is torn")

    monkeypatch.setattr(picture.Glimpse, "picture", broken)
    old, said = tmp_path / "f.preview.png", []
    old.write_bytes(b"of an older map")
    job = maps.prepare(image, None, maps.MapOptions())
    path, frame = maps.map_image(
        job,
        tmp_path / "f.parquet",
        maps.MapOptions(),
        watcher=Preview(old),
        report=scoring.RunReport(on_note=said.append),
    )
    assert path.is_file()
    assert len(frame)
    assert said == ["There is no preview: the tile is torn"]
    assert not old.exists()


class Counted:
    """A source that counts the pixels that are read."""

    def __init__(self, source):
        self.source, self.grid, self.bands, self.dtype, self.tags, self.pixels = (
            source,
            source.grid,
            source.bands,
            source.dtype,
            source.tags,
            0,
        )

    def read(self, roi):
        self.pixels += roi_shape(roi)[0] * roi_shape(roi)[1]
        return self.source.read(roi)


def test_a_preview_costs_no_reading(image, tmp_path):
    job = maps.prepare(image, None, maps.MapOptions())
    counts = []
    for watcher in (None, Preview(tmp_path / "f.preview.png")):
        source = Counted(job.source)
        maps.map_image(
            replace(job, source=source),
            tmp_path / "f.parquet",
            maps.MapOptions(),
            watcher=watcher,
            force=True,
        )
        counts.append(source.pixels)
    assert counts[0] == counts[1] > 0


def test_a_glimpse_is_the_thumbnail_whoever_read_how_much(image):
    source = store.open_raster(image)
    glimpse = picture.Glimpse(source, longest=40)
    for roi in ((slice(3, 50), slice(0, 31)), (slice(40, 96), slice(7, 96))):
        assert np.array_equal(glimpse.read(roi).values, source.read(roi).values)
    shown, step = glimpse.picture()
    plain, same = picture.thumbnail(source, longest=40)
    assert step == same == 3
    assert np.array_equal(shown, plain)


def test_a_work_folder_that_was_given_stays(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    for keep in (kept, None):
        with pytest.raises(BadInput), scoring.work_folder(tmp_path / "f.parquet", keep):
            raise BadInput("before anything was finished")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
