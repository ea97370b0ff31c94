import re

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import selion
from predict_toys import Procedural, Toy, utm_grid
from selion.classes import FTW3
from selion.errors import BadInput, BandMismatch, GridMismatch
from selion.grid import ground_sampling_distance, photo_grid, pixel_metres
from selion.models.card import ModelCard
from selion.models.execution import Execution
from selion.models.graph import GraphSegmenter
from selion.prediction import PredictOptions, Resampled, plan
from selion.prediction.bands import choose_bands
from selion.segmenter import InputSpec


def test_bands_by_name_then_by_number_then_by_place():
    wanted = ("red", "green", "blue")
    assert choose_bands(("Blue", "green", "RED", "nir"), wanted) == ((2, 1, 0), "")
    assert choose_bands(("a", "b", "c", "d"), wanted, (4, "2", "a")) == ((3, 1, 0), "")
    indexes, note = choose_bands(("a", "b", "c"), wanted)
    assert indexes == (0, 1, 2)
    assert "order of the file" in note


@pytest.mark.parametrize(
    ("given", "asked", "words"),
    [
        (("a", "b"), None, "2 bands .* the model wants 3 .*--bands 1,2,3"),
        (("red", "green", "nir", "swir"), None, "4 bands"),
        (("a", "b", "c"), (1, 2), "2 bands were named"),
        (("a", "b", "c"), (1, 2, 4), "no band 4"),
        (("a", "b", "c"), (0, 1, 2), "no band 0"),
        (("a", "b", "c"), ("a", "b", "x"), "no band 'x'"),
    ],
)
def test_bands_that_do_not_fit(given, asked, words):
    with pytest.raises(BandMismatch, match=words):
        choose_bands(given, ("red", "green", "blue"), asked)


def decided(grid=None, options=None, fingerprint="f", **toy):
    return plan(Procedural(grid or utm_grid((300, 200))), Toy(**toy), options, fingerprint)


def test_pixels_as_they_are():
    found = decided()
    assert found.scale is None
    assert found.grid == utm_grid((300, 200))
    assert found.notes == ()
    assert found.lattice.window == 64
    assert len(found.blocks) == 1


@pytest.mark.parametrize(
    ("gsd", "model", "options", "shape", "words"),
    [
        (
            10.0,
            (2.0, 5.0),
            {},
            (600, 400),
            "interpolated up to 5 m .*2 to 5 m.*from 200 x 300 to 400 x 600",
        ),
        (1.0, (2.0, 5.0), {}, (150, 100), "averaged down to 2 m"),
        (3.0, (2.0, 5.0), {}, (300, 200), ""),
        (10.05, (10.0, 10.0), {}, (300, 200), ""),
        (
            3.0,
            (2.0, 5.0),
            {"gsd": 6.0},
            (150, 100),
            "as asked; the model was trained on pixels of 2 to 5 m",
        ),
        (10.0, None, {"gsd": 5.0}, (600, 400), "as asked"),
        (3.0, (2.0, 5.0), {"scale": 2.0}, (600, 400), "factor of 2, as asked"),
        (30.0, (2.0, 5.0), {"scale": 1.0}, (300, 200), ""),
    ],
)
def test_working_grid(gsd, model, options, shape, words):
    found = decided(utm_grid((300, 200), gsd), PredictOptions(**options), gsd=model)
    assert found.grid.shape == shape
    assert len(found.notes) == (1 if words else 0)
    assert np.allclose(
        found.grid.extent.boundingbox.bbox, utm_grid((300, 200), gsd).extent.boundingbox.bbox
    )
    if words:
        assert re.search(words, found.notes[0])
        assert isinstance(found.working(Procedural(utm_grid((300, 200), gsd))), Resampled)


def test_degrees_become_square():
    grid = GeoBox((400, 400), Affine(1e-4, 0, 13.0, 0, -1e-4, 60.0), "EPSG:4326")
    found = decided(grid, gsd=(5.0, 10.0))
    y, x = pixel_metres(found.grid)
    assert abs(y / x - 1) < 0.02
    assert 5 <= ground_sampling_distance(found.grid) <= 10
    assert decided(grid).scale is None  # a model that does not ask for metres gets pixels


def test_no_crs_needs_a_scale():
    with pytest.raises(GridMismatch, match=r"no CRS.*pixels of 2 to 5 m.*--scale 1"):
        decided(photo_grid((300, 200)), gsd=(2.0, 5.0))
    with pytest.raises(GridMismatch, match=r"no CRS.*4 m was asked for"):
        decided(photo_grid((300, 200)), PredictOptions(gsd=4.0))
    assert decided(
        photo_grid((300, 200)), PredictOptions(scale=2.0), gsd=(2.0, 5.0)
    ).grid.shape == (600, 400)
    assert decided(photo_grid((300, 200))).grid.shape == (300, 200)


def test_rotated_grid_is_refused():
    with pytest.raises(GridMismatch, match="rotated"):
        decided(GeoBox((100, 100), Affine(10, 2, 0, 2, -10, 0), "EPSG:32633"))


def test_window_must_be_a_multiple():
    with pytest.raises(BadInput, match="try 64 or 96"):
        decided(options=PredictOptions(window=70), multiple=32)
    assert decided(options=PredictOptions(window=96, overlap=0.5), multiple=32).lattice.stride == 48


@pytest.mark.parametrize(
    "options",
    [
        {"block": 0},
        {"batch": 0},
        {"gsd": -1.0},
        {"scale": 0.0},
        {"window": -3},
        {"gsd": 1.0, "scale": 2.0},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(BadInput):
        PredictOptions(**options)


def test_small_image_is_told():
    assert "mirrored" in decided(utm_grid((20, 300))).notes[0]


def test_flips_and_context_do_not_mix():
    with pytest.raises(BadInput, match="wider image"):
        decided(options=PredictOptions(flips=True), context=128)


def test_key_knows_what_decides_and_nothing_else():
    key = decided().key
    assert len(key) == 64
    assert decided(options=PredictOptions(block=100)).key == key
    assert decided(options=PredictOptions(window=64, overlap=0.25)).key == key
    others = [
        decided(fingerprint="g"),
        decided(utm_grid((300, 201))),
        decided(utm_grid((300, 200), 5.0)),
        decided(gain=2.0),
        decided(window=32),
        decided(options=PredictOptions(overlap=0.5)),
        decided(options=PredictOptions(flips=True)),
        decided(options=PredictOptions(scale=2.0)),
        decided(options=PredictOptions(bands=(2, 1))),
        decided(options=PredictOptions(batch=8)),
    ]
    assert len({key, *(other.key for other in others)}) == len(others) + 1


def test_key_knows_the_card_the_engine_and_the_version(monkeypatch):
    def key(program="OpenVINO", precision="float32", threads=1, **told):
        card = ModelCard(**{"name": "a", "inputs": Toy().inputs, "classes": FTW3, **told})
        model = GraphSegmenter(card, Toy(), Execution(program, precision, threads))
        return plan(Procedural(utm_grid((300, 200))), model).key

    others = [
        key(name="b"),
        key(sha256="1"),
        key(files={"model.onnx": "2"}),
        key(program="torch"),
        key(precision="bfloat16"),
    ]
    assert key(threads=7) == key()
    keys = {key(), *others}
    monkeypatch.setattr(selion, "__version__", "99")
    assert len(keys | {key()}) == 7


@pytest.mark.parametrize(
    ("native", "shown"),
    [(0.3, 1.25), (1.0, 1.25), (2.0, 1.25), (2.5, 1.5625), (4.0, 2.5), (10.0, 3.7), (None, None)],
)
def test_a_model_that_looks_at_finer_pixels_keeps_to_its_distances(native, shown):
    """1.6 times finer, from 1.25 to 3.7 m: by hand."""
    inputs = InputSpec(("red",), gsd=(1.25, 3.7), finer=1.6)
    assert inputs.working_gsd(native) == (None if shown is None else pytest.approx(shown))


def test_a_map_says_that_pixels_are_shown_finer():
    """Of 4 m at 2.5; with --gsd 5, which is beyond what it was trained on, that too."""
    grid = GeoBox((64, 64), Affine(4, 0, 5e5, 0, -4, 5e6), "EPSG:32631")
    found = decided(grid, gsd=(1.25, 3.7), finer=1.6)
    assert "1.25 to 3.7 m, 1.6 times finer than an image's own" in found.notes[0]
    assert ground_sampling_distance(found.grid) == pytest.approx(2.5, rel=0.02)
    inside = decided(grid, PredictOptions(gsd=3.0), gsd=(1.25, 3.7), finer=1.6)
    assert "expect less" not in inside.notes[0]
    beyond = decided(grid, PredictOptions(gsd=5.0), gsd=(1.25, 3.7), finer=1.6)
    assert "expect less there" in beyond.notes[0]


@pytest.mark.parametrize("wrong", [{"finer": 0.5, "gsd": (1.0, 2.0)}, {"finer": 2.0}])
def test_pixels_finer_than_an_image_want_a_range(wrong):
    with pytest.raises(BadInput, match="finer"):
        InputSpec(("red",), **wrong)


def test_the_pixels_that_a_map_names_are_those_that_a_look_names():
    """In degrees at 39.7 N, where a pixel is .997 m high and 1.001 m wide; the area of the middle
    pixel on the ellipsoid, by pyproj, is the judge.
    """
    from pyproj import Geod

    step = (1.167_3e-05, 8.982e-06)
    grid = GeoBox((1024, 1024), Affine(step[0], 0, -95.43, 0, -step[1], 39.67), "EPSG:4326")
    x, y = -95.43 + 512 * step[0], 39.67 - 512 * step[1]
    xs, ys = [x, x + step[0], x + step[0], x], [y, y, y - step[1], y - step[1]]
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(xs, ys)
    wanted = f"{abs(area) ** 0.5:.3g} m"
    found = decided(grid, gsd=(1.65, 4.5))
    assert f"The image's pixels are {wanted} on the ground" in found.notes[0]
    assert f"{ground_sampling_distance(grid):.3g} m" == wanted
    assert f"{pixel_metres(grid)[0]:.3g} m" != wanted
