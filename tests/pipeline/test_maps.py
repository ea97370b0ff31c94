"""The wholes from Python: one line for the road, and the picture of it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

import selion
from data_folders import SHARED
from fields_scenes import instances
from selion import cores, fields, prediction, store
from selion.classes import FTW3
from selion.errors import BadInput, GridMismatch, ImageWarning, UnreadableFile
from selion.grid import ground_sampling_distance, photo_grid, roi_shape, whole
from selion.labels import default_min_area
from selion.models.refine.segmenter import load_refined
from selion.pipeline import maps
from selion.pipeline import probabilities as scoring
from selion.pipeline.choosing import chosen_model
from selion.pipeline.land_cover import LandCover
from selion.raster import Raster, image_gsd
from selion.reports import picture
from selion.reports.preview import Preview, write_preview
from selion.simulation.landscape import simulate

RGBN = ("red", "green", "blue", "nir")
PAIR = SHARED / "data" / "satellite" / "s2_unlabelled" / "ftw_inn_pair" / "s2_pair_8band.tif"


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


@pytest.fixture(scope="module")
def scores(image, tmp_path_factory):
    job = maps.prepare(image, None, maps.MapOptions())
    return maps.predict_image(job, tmp_path_factory.mktemp("scores") / "scores.tif")


def stations(path, how=None, refiner=None):
    """Map an image as README shows it."""
    source = selion.open_raster(path)
    model = load_refined(chosen_model(None, source).name, refiner)
    probabilities = selion.predict(source, model, options=how)
    return selion.to_fields(selion.find_instances(probabilities, model))


def assert_same_table(one, other):
    assert one.crs == other.crs
    assert one.geometry.to_wkb().tolist() == other.geometry.to_wkb().tolist()
    plain = (pd.DataFrame(frame.drop(columns="geometry")) for frame in (one, other))
    pd.testing.assert_frame_equal(*plain, check_exact=True)


def test_one_line_is_the_four_stations(image, tmp_path):
    frame = selion.map_fields(image, tmp_path / "f.parquet")
    by_hand = stations(image)
    assert_same_table(by_hand, frame)
    assert frame["id"].is_unique
    assert len(frame) > 5
    origin = fields.read_origin(tmp_path / "f.parquet")
    fields.write_fields(by_hand, tmp_path / "g.parquet", origin)
    written = (fields.read_fields(tmp_path / name) for name in ("f.parquet", "g.parquet"))
    assert_same_table(*written)


@pytest.mark.parametrize(
    "chosen", [{}, {"min_area": 0.0}, {"min_area": 6000.0}, {"depth": 0.1}], ids=str
)
@pytest.mark.parametrize("method", fields.METHODS)
def test_options_mean_the_same_in_one_line_and_by_station(image, scores, tmp_path, method, chosen):
    """Also from a score raster, whose tags say what the image's pixels were."""
    objects = fields.InstanceOptions(**chosen)
    model = selion.load_model("fields-s2-2season")
    said = prediction.ScoreSource(store.open_raster(scores))
    found = selion.find_instances(said.read(whole(said.grid)), model, method, objects)
    by_hand = selion.to_fields(found)
    options = maps.MapOptions(method=method, instances=objects)
    _, frame = maps.fields_from_scores(scores, tmp_path / "f.parquet", options)
    assert_same_table(by_hand, frame)
    if "min_area" in chosen:
        options = maps.MapOptions(method=method, min_area=objects.min_area)
        _, frame = maps.fields_from_scores(scores, tmp_path / "g.parquet", options)
        assert_same_table(by_hand, frame)


@pytest.mark.parametrize("gsd", [3.0, 20.0, None], ids=["aerial", "coarse", "photograph"])
def test_one_line_is_the_stations_for_pixels_of_any_size(tmp_path, gsd):
    """Coarse pixels have a smallest field above the area from which basins stand alone.

    A photograph knows no metres.
    """
    scene = simulate(4, (96, 96), gsd or 10.0, "europe", bands="rgb" if gsd == 3.0 else "s2")
    grid = scene.image.grid if gsd else photo_grid((96, 96))
    path = tmp_path / "image.tif"
    with store.create_cog(path, grid, scene.image.bands, scene.image.dtype) as sink:
        sink.write(whole(grid), scene.image.values)
    how = prediction.PredictOptions(scale=None if gsd else 2.0)
    options = maps.MapOptions(predict=how)
    doubtful = pytest.warns(ImageWarning, match="enlarged 4") if gsd == 20 else nullcontext()
    with doubtful:
        frame = selion.map_fields(path, tmp_path / "f.parquet", options=options)
    assert_same_table(stations(path, how), frame)
    assert len(frame)


def test_one_line_is_the_stations_behind_a_refiner(image, tmp_path):
    """Its objects are cut without asking for the class, whoever asks for them."""
    options = maps.MapOptions(refiner="own")
    frame = selion.map_fields(image, tmp_path / "f.parquet", options=options)
    assert_same_table(stations(image, refiner="own"), frame)
    assert len(frame) > 5


@pytest.mark.skipif(not PAIR.is_file(), reason="the real pair of the Inn valley is not here")
def test_one_line_is_the_stations_on_a_real_pair(tmp_path):
    kept = maps.MapOptions(work=tmp_path / "work")  # its scores, for other objects
    frame = selion.map_fields(PAIR, tmp_path / "f.parquet", options=kept)
    assert_same_table(stations(PAIR), frame)
    assert len(frame) > 400
    plain = replace(kept, method="watershed")
    parted = selion.map_fields(PAIR, tmp_path / "g.parquet", options=plain)
    assert len(parted) > len(frame)  # what is small and doubtful is chosen less often
    alone = maps.MapOptions(method="watershed")
    small = selion.map_fields(PAIR, tmp_path / "h.parquet", "fields-s2-2season", alone)
    assert len(small) > 500


def test_smallest_field_of_an_outline_is_that_of_its_objects():
    ids = np.zeros((40, 40), np.int32)
    ids[2:6, 2:7], ids[10:30, 10:30] = 1, 2  # 2000 and 40,000 m2
    objects = replace(instances(ids), min_area=2100.0)
    assert len(selion.to_fields(objects)) == 1
    assert len(selion.to_fields(objects, fields.FieldOptions(min_area=0))) == 2
    assert len(selion.to_fields(replace(objects, min_area=0.0))) == 2
    assert objects.read((slice(0, 9), slice(0, 9))).min_area == 2100
    with pytest.raises(BadInput, match="2100"):
        selion.to_fields(objects, fields.FieldOptions(max_area=1000))


def test_more_fields_than_memory_holds_are_refused_before_they_are_drawn(
    scores, tmp_path, monkeypatch
):
    monkeypatch.setattr(cores, "SMALL", 0)
    monkeypatch.setattr(cores, "usable_memory", lambda: 1000)
    monkeypatch.setattr("selion.store.announced.check_memory", lambda *_: None)  # of its blocks
    with pytest.raises(BadInput, match=r"Drawing \d+ fields into one table takes about .*plan"):
        maps.fields_from_scores(scores, tmp_path / "fields.parquet", maps.MapOptions())
    assert not (tmp_path / "fields.parquet").exists()


def test_land_cover_is_refused_for_a_photograph_before_the_work(tmp_path, monkeypatch):
    """It was refused when all fields were there."""
    monkeypatch.setattr(maps, "work_folder", None)
    monkeypatch.setattr(maps, "_to_table", None)
    options = maps.MapOptions(land_cover=LandCover((tmp_path / "c.tif",), frozenset({40})))
    scores = Raster(np.zeros((3, 96, 96), np.float32), photo_grid((96, 96)), FTW3.names)
    job = SimpleNamespace(plan=scores, model=SimpleNamespace(gives="classes"))
    with pytest.raises(GridMismatch, match="leave --land-cover out"):
        maps.map_image(job, tmp_path / "fields.parquet", options)
    with pytest.raises(GridMismatch, match="leave --land-cover out"):
        maps.map_scores(scores, FTW3, tmp_path / "x.fgb", replace(options, work=tmp_path))


def test_lines_that_cannot_move_so_far_are_refused_before_the_work(tmp_path, monkeypatch):
    """Pixels of 10 m allow 5 to 100 m, which was said when all objects had been drawn."""
    monkeypatch.setattr(maps, "_to_table", None)
    options = maps.MapOptions(outlines=fields.FieldOptions(regularise=4.0), work=tmp_path)
    grid = GeoBox((96, 96), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    source = Raster(np.zeros((3, 96, 96), np.float32), grid, FTW3.names)
    with pytest.raises(BadInput, match="half a pixel to ten"):
        maps.map_scores(source, FTW3, tmp_path / "x.fgb", options)
    monkeypatch.setattr(maps, "work_folder", None)
    job = SimpleNamespace(plan=source, model=SimpleNamespace(gives="classes"))
    with pytest.raises(BadInput, match="half a pixel to ten"):
        maps.map_image(job, tmp_path / "fields.parquet", options)


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


def test_smallest_field_is_what_the_image_can_show(scores):
    assert default_min_area(1.0) == 500
    assert default_min_area(10.0) == 2000
    assert default_min_area(None) == 500
    source = store.open_raster(scores)
    for probabilities in (source, prediction.ScoreSource(source)):
        assert image_gsd(probabilities) == pytest.approx(10, rel=1e-2)
        assert ground_sampling_distance(probabilities.grid) == pytest.approx(5, rel=1e-2)
        assert image_gsd(probabilities.read((slice(0, 8), slice(0, 8)))) == image_gsd(source)


@pytest.mark.skipif(not PAIR.is_file(), reason="the real Inn pair is not here")
@pytest.mark.parametrize(
    ("order", "names"),
    [
        ((3, 2, 1, 4, 7, 6, 5, 8), ("B02", "B03", "B04", "B08") * 2),
        ((3, 7, 2, 6, 1, 5, 4, 8), ("B02", "B02", "B03", "B03", "B04", "B04", "B08", "B08")),
        ((5, 6, 7, 8, 1, 2, 3, 4), [f"{d}:{b}" for d in ("harvest", "planting") for b in RGBN]),
        ((4, 1, 2, 3, 8, 5, 6, 7), [f"{d}_{b}" for d in "ab" for b in ("B8", "B4", "B3", "B2")]),
    ],
)
def test_a_real_pair_in_another_order_is_the_same_pair(tmp_path, order, names):
    with rasterio.open(PAIR) as dataset:
        profile = dataset.profile | {"height": 160, "width": 160}
        pixels = dataset.read(window=((200, 360), (200, 360)))
        texts = dataset.descriptions
    probabilities = []
    for name, bands, said in (("as_it_is", range(1, 9), texts), ("other", order, names)):
        path = tmp_path / f"{name}.tif"
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(pixels[[k - 1 for k in bands]])
            dataset.descriptions = tuple(said)
        job = maps.prepare(path, None, maps.MapOptions())
        out = maps.predict_image(job, tmp_path / f"{name}.scores.tif")
        with rasterio.open(out) as dataset:
            probabilities.append(dataset.read())
    assert np.array_equal(*probabilities)


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


def without_score(folder):
    """The packaged model as it was before it had a learnt score."""
    import shutil

    from selion.models import find_card, write_card
    from selion.models.card import with_files

    card = find_card("fields-s2-2season")
    shutil.copytree(card.folder, folder)
    (folder / fields.CUT).unlink()
    write_card(with_files(card, folder, ("model.onnx", "model.safetensors")), folder / "card.toml")
    return folder


def test_a_map_is_cut_by_the_learnt_score_where_its_model_has_one(image, tmp_path):
    def mapped(name, model=None, **chosen):
        options = maps.MapOptions(**chosen)
        return selion.map_fields(image, tmp_path / f"{name}.parquet", model, options=options)

    usual, cut = mapped("usual"), mapped("cut", method="cut")
    watershed = mapped("watershed", method="watershed")
    assert_same_table(usual, cut)
    assert len(usual) != len(watershed) or not usual.geometry.equals(watershed.geometry)
    assert ", cut, selion" in fields.read_origin(tmp_path / "usual.parquet").details
    assert ", watershed, selion" in fields.read_origin(tmp_path / "watershed.parquet").details
    plain = without_score(tmp_path / "plain")
    assert_same_table(mapped("plain", plain), watershed)
    with pytest.raises(BadInput, match="has no learnt score of fields"):
        mapped("refused", plain, method="cut")
    assert not (tmp_path / "refused.parquet").exists()
    # behind a refiner the probabilities are others than the score was learnt on
    refined = mapped("refined", refiner="own")
    assert_same_table(refined, mapped("refined_watershed", refiner="own", method="watershed"))


def test_a_score_raster_is_cut_by_the_score_of_the_model_that_made_it(image, tmp_path):
    job = maps.prepare(image, None, maps.MapOptions())
    known = maps.predict_image(job, tmp_path / "known.tif")
    plain = maps.MapOptions(method="watershed")
    _, cut = maps.fields_from_scores(known, tmp_path / "cut.parquet", maps.MapOptions())
    _, flat = maps.fields_from_scores(known, tmp_path / "flat.parquet", plain)
    assert ", selion" in fields.read_origin(tmp_path / "cut.parquet").details
    assert fields.read_origin(tmp_path / "cut.parquet").details.startswith("cut")
    assert len(cut) != len(flat) or not cut.geometry.equals(flat.geometry)

    # a model of that name with other weights, or none: said, and the watershed
    job = maps.prepare(image, without_score(tmp_path / "plain"), maps.MapOptions())
    other = maps.predict_image(job, tmp_path / "other.tif")
    notes = []
    report = scoring.RunReport(on_note=notes.append)
    _, found = maps.fields_from_scores(
        other, tmp_path / "other.parquet", maps.MapOptions(), report=report
    )
    assert_same_table(found, flat)
    assert not notes, "it never had a score"


@pytest.mark.parametrize("tag", ["U-Net", "[1, 2]", '{"name": "x", "files": 3}', "null"])
def test_a_tag_of_somebody_else_is_no_model(image, tmp_path, tag):
    job = maps.prepare(image, None, maps.MapOptions())
    path = maps.predict_image(job, tmp_path / "scores.tif")
    source = store.open_raster(path)
    with store.create_cog(
        tmp_path / "other.tif",
        source.grid,
        source.bands,
        source.dtype,
        nodata=source.nodata,
        tags=dict(source.tags) | {"model": tag},
    ) as sink:
        sink.write(whole(source.grid), source.read(whole(source.grid)).values)
    _, found = maps.fields_from_scores(
        tmp_path / "other.tif", tmp_path / "f.parquet", maps.MapOptions()
    )
    plain = maps.MapOptions(method="watershed")
    _, wanted = maps.fields_from_scores(path, tmp_path / "g.parquet", plain)
    assert_same_table(found, wanted)


def test_a_score_raster_of_a_model_that_is_not_here_says_so(image, tmp_path, monkeypatch):
    job = maps.prepare(image, None, maps.MapOptions())
    path = maps.predict_image(job, tmp_path / "scores.tif")
    monkeypatch.setattr("selion.models.list_models", list)
    notes = []
    report = scoring.RunReport(on_note=notes.append)
    maps.fields_from_scores(path, tmp_path / "f.parquet", maps.MapOptions(), report=report)
    assert any("fields-s2-2season" in note and "watershed" in note for note in notes)
    with pytest.raises(BadInput, match="learnt score"):
        maps.fields_from_scores(path, tmp_path / "g.parquet", maps.MapOptions(method="cut"))
    assert not (tmp_path / "g.parquet").exists()


def test_bands_that_are_chosen_keep_their_bytes_beside_other_numbers(tmp_path):
    """As `map --bands 1,2,3` opens them: the infrared's numbers stretched the colours to black."""
    rng = np.random.default_rng(3)
    colours = rng.integers(20, 200, (3, 64, 64)).astype(np.uint16)
    infrared = rng.integers(1500, 5000, (1, 64, 64)).astype(np.uint16)
    path = tmp_path / "beside.tif"
    values = np.concatenate([colours, infrared])
    profile = {"driver": "GTiff", "count": 4, "height": 64, "width": 64, "dtype": "uint16"}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", **profile, **place) as image:
        image.write(values)
        image.descriptions = ("R_tci8", "G_tci8", "B_tci8", "NIR_dn")
    options = maps.MapOptions(predict=prediction.PredictOptions(bands=(1, 2, 3)))
    job = maps.prepare(path, "fields-rgb-vhr", options)
    seen = job.source.read(whole(job.source.grid)).values[list(job.plan.bands)]
    np.testing.assert_array_equal(seen, colours)
    assert not any("stretched" in note for note in job.notes)
