"""One model, whatever a user has: one date or many, clouds, bytes, blocks, runners, eight bits."""

import numpy as np
import pytest
from click.testing import CliRunner

from selion import evaluation, store
from selion.classes import FTW3
from selion.cli.main import cli
from selion.errors import BandMismatch
from selion.grid import whole
from selion.labels import Instances, class_labels
from selion.models import ModelCard, export, load_model
from selion.pipeline import maps
from selion.pipeline.quantisation import quantise_model
from selion.prediction import PredictOptions
from selion.raster import Raster
from selion.runners import RunnerOptions
from selion.sample import Sample
from selion.segmenter import InputSpec, Scaling
from selion.simulation.landscape import simulate

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'ort' is not installed")
from selion.models.architectures import build  # noqa: E402

COLOURS = ("red", "green", "blue", "nir")
NET = {
    "family": "dates",
    "encoder": "tu-mobilenetv4_conv_small_050",
    "decoder_channels": [16, 8, 8, 8, 8],
}
INPUTS = InputSpec(
    COLOURS,
    Scaling((3000.0,), clip=(0.0, 3.0)),
    gsd=(1.65, 5.0),
    window=64,
    dates="any",
    optional=("nir",),
    byte_divide=255.0,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(5)
    network = build(NET, 4, 3)
    with torch.inference_mode():
        network.train()(torch.rand(2, 8, 64, 64))
    folder = tmp_path_factory.mktemp("model") / "sets"
    return export(network, ModelCard("sets", INPUTS, FTW3, architecture=NET), folder).folder


@pytest.fixture(scope="module")
def place():
    return simulate(8, (90, 110), 10.0, "europe", days=(120, 160, 220), clouds=0.3)


def written(folder, name, raster, nodata=0):
    path = folder / f"{name}.tif"
    with store.create_cog(path, raster.grid, raster.bands, raster.dtype, nodata=nodata) as sink:
        sink.write(whole(raster.grid), raster.values)
    return path


@pytest.fixture(scope="module")
def cloudy(place, tmp_path_factory):
    """Three dates of four bands; under its clouds a date is cut out."""
    values = place.image.values.copy()
    under = np.isin(place.scl.values, (3, 8, 9, 10))
    for date, gone in enumerate(under):
        values[4 * date : 4 * date + 4, gone] = 0
    assert (under.any(0) & ~under.all(0)).mean() > 0.2
    raster = Raster(values, place.image.grid, place.image.bands)
    return written(tmp_path_factory.mktemp("images"), "cloudy", raster), under


def scores(image, model, folder, name, **options):
    predict = {k: options.pop(k) for k in ("bands", "block", "flips") if k in options}
    chosen = maps.MapOptions(
        predict=PredictOptions(**predict), engine="onnxruntime", threads=1, **options
    )
    job = maps.prepare(image, model, chosen)
    path = maps.predict_image(job, folder / f"{name}.tif", chosen, force=True)
    source = store.open_raster(path)
    return source.read(whole(source.grid)), job


def test_only_where_no_date_is_there_is_there_no_answer(cloudy, model, tmp_path):
    path, under = cloudy
    found, job = scores(path, model, tmp_path, "all")
    lost = under.all(0).repeat(2, 0).repeat(2, 1)
    known = np.ones(lost.shape, bool) if found.valid is None else found.valid
    assert abs(int((~known).sum()) - int(lost.sum())) <= 0.3 * max(int(lost.sum()), 40)
    assert known.mean() > (~under.any(0)).mean() + 0.2
    assert "The model looks at the 3 dates of the image together." in job.notes
    assert any("taken as digital: divided by 3000" in note for note in job.notes)


def test_blocks_and_runners_give_the_same_bytes(cloudy, model, tmp_path):
    path, _ = cloudy
    one, _ = scores(path, model, tmp_path, "whole")
    for name, options in (
        ("blocks", {"block": 96}),
        ("processes", {"block": 96, "runner": RunnerOptions("processes", workers=2)}),
    ):
        other, _ = scores(path, model, tmp_path, name, **options)
        np.testing.assert_array_equal(other.values, one.values)


def test_bands_and_dates_may_be_left_out_and_that_changes_the_answer(cloudy, model, tmp_path):
    path, _ = cloudy
    said = {}
    for name, bands in (
        ("rgb", (1, 2, 3)),
        ("rgbn", (1, 2, 3, 4)),
        ("two", tuple(range(1, 9))),
        ("turned", (5, 6, 7, 8, 1, 2, 3, 4)),
        ("all", None),
    ):
        said[name] = scores(path, model, tmp_path, name, bands=bands)[0].values
    names = list(said)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            apart = np.abs(said[one] - said[other]).max()
            if {one, other} == {"two", "turned"}:
                assert apart <= 2 / 254  # the order of dates says nothing; a step of rounding may
            else:
                assert apart > 0.05, (one, other)


def test_map_says_what_it_took_and_refuses_what_it_cannot_know(place, model, tmp_path):
    six = Raster(place.image.values[:6], place.image.grid, tuple("uvwxyz"))
    command = ["map", "-m", str(model), "-o", str(tmp_path / "f.parquet"), "--force"]
    refused = CliRunner().invoke(cli, [*command, str(written(tmp_path, "six", six))])
    assert isinstance(refused.exception, BandMismatch)
    assert "6 bands (u, v, w, x, y, z), which do not say what" in str(refused.exception)
    small = (place.image.values[:3] // 20).clip(1, 255).astype(np.uint8)
    photo = written(tmp_path, "photo", Raster(small, place.image.grid, COLOURS[:3]))
    done = CliRunner().invoke(cli, [*command, str(photo)])
    assert done.exit_code == 0, done.output
    assert "The image has no nir: the model goes by red, green, blue." in done.output
    assert "(uint8) are taken as bytes: divided by 255." in done.output


def test_eight_bits_and_the_fast_engine_take_sets_too(cloudy, model, tmp_path):
    path, _ = cloudy
    card, found = quantise_model(model, path, tmp_path / "small", windows=16)
    assert card.inputs == INPUTS
    assert found.agreement > 0.5
    job = maps.prepare(path, model, maps.MapOptions(engine="torch", fast=True, threads=1))
    assert "bfloat16" in job.model.engine
    assert "changes the class of" in maps.compare_precision(job)


def test_deployment_scores_of_a_set(place, model):
    image = place.image
    values = image.values.copy()
    values[4:8, :30] = 0
    instances = Instances(place.instances.ids, image.grid, place.instances.table)
    sample = Sample(
        "one", Raster(values, image.grid, image.bands), class_labels(instances), instances
    )
    loaded = load_model(model, "onnxruntime", threads=1)
    found = evaluation.deployment_scores(
        loaded, [sample], size=128, centre=64, families=("radiometry",)
    )
    assert 0 < found["consistency"] <= 1
    assert set(found["radiometry"]) >= {"sensitivity"}
    assert 0 <= found["radiometry"]["sensitivity"] < 1
