"""Eight-bit graphs: they load like any model, say nearly the same, and their card says how
nearly.
"""

import numpy as np
import pytest
import torch

from command_line import run_here
from selion import store
from selion.classes import FTW3
from selion.errors import BadInput
from selion.grid import whole
from selion.models import ModelCard, build_network, export, find_card, load_model, read_card
from selion.models.quantise import quantise
from selion.pipeline.quantisation import draw_windows, quantise_model
from selion.segmenter import InputSpec, Scaling, View
from selion.simulation.landscape import simulate

RGBN = ("red", "green", "blue", "nir")
WHOLE = (slice(0, 64), slice(0, 64))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "scene.tif"
    picture = simulate(7, (300, 300), 2.0, "europe", bands="rgb").image
    with store.create_cog(path, picture.grid, picture.bands, np.uint8) as sink:
        sink.write(whole(picture.grid), picture.values.astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network of random weights, exported as any other."""
    torch.manual_seed(2)
    layers = [
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 3, 1),
        torch.nn.InstanceNorm2d(3),
    ]
    spec = InputSpec(
        ("red", "green", "blue"),
        Scaling((255.0,), (0.0,)),
        gsd=(2.0, 2.0),
        window=64,
        overlap=0.25,
        multiple=32,
    )
    return export(
        torch.nn.Sequential(*layers),
        ModelCard("toy", spec, FTW3, notes="a toy"),
        tmp_path_factory.mktemp("toy") / "toy",
    ).folder


def test_it_is_written_judged_and_loaded(image, model, tmp_path):
    card, found = quantise_model(model, image, tmp_path / "small", windows=24, least=0.5)
    assert card.name == "toy-int8"
    assert 0.8 < found.worst <= found.agreement < 1
    assert found.windows == 12
    notes = read_card(tmp_path / "small").notes
    assert notes.startswith("a toy; ")
    assert f"{found.agreement:.2%}" in notes
    kept = read_card(tmp_path / "small").scores["int8"]
    assert kept == {
        "agreement": round(found.agreement, 4),
        "worst_window": round(found.worst, 4),
        "windows": 12,
    }
    assert set(card.files) == {"model.onnx"}
    small, plain = load_model(tmp_path / "small", threads=1), load_model(model, threads=1)
    view = draw_windows(store.open_raster(image), plain, 1, seed=3)
    said = small(view)
    np.testing.assert_allclose(said.sum(1), 1, rtol=1e-5)
    assert len(np.unique(said.argmax(1))) > 1
    assert 0.8 < (said.argmax(1) == plain(view).argmax(1)).mean() < 1


def test_the_learnt_score_of_fields_comes_along(image, model, tmp_path):
    """Else the small copy would part fields by another method, and nobody would be told."""
    import shutil
    from dataclasses import replace

    from cut_toys import TOY
    from selion.fields import CUT, InstanceOptions, choose_method
    from selion.models import write_card
    from selion.models.card import sha256_of

    folder = tmp_path / "learnt"
    shutil.copytree(model, folder)
    TOY.save(folder / CUT)
    card = read_card(folder)
    write_card(
        replace(card, files={**card.files, CUT: sha256_of(folder / CUT)}), folder / "card.toml"
    )
    small, _ = quantise_model(folder, image, tmp_path / "small", windows=24, least=0.5)
    assert set(small.files) == {"model.onnx", CUT}
    method, options = choose_method("auto", InstanceOptions(), FTW3, small)
    assert method == "cut"
    assert options.score.settings == TOY.settings


def test_a_graph_that_says_something_else_is_refused(image, model, tmp_path):
    """The toy agrees on 80 to 99 %: below what is wanted nothing is written, and it is said."""
    _, found = quantise_model(model, image, tmp_path / "small", windows=24, least=0.5)
    with pytest.raises(BadInput, match=f"{found.agreement:.2%}.*99.9% of.*--least-agreement"):
        quantise_model(model, image, tmp_path / "other", windows=24, least=0.999)
    assert not (tmp_path / "other").exists()
    with pytest.raises(BadInput, match="least-agreement"):  # and an existing folder is not lost
        quantise_model(model, image, tmp_path / "small", windows=24, least=0.999, force=True)
    assert read_card(tmp_path / "small").name == "toy-int8"


def test_a_network_of_any_number_of_dates_keeps_its_shapes_and_what_is_not_there(tmp_path):
    """Its encoder pads by a width that the graph works out in floats: 8 bits of it are another."""
    torch.manual_seed(4)
    net = {"family": "dates", "encoder": "tu-tf_mobilenetv3_small_minimal_100"}
    net["decoder_channels"] = [16, 8, 8, 8, 8]
    spec = InputSpec(RGBN, Scaling((3000.0,)), window=64, dates="any", optional=("nir",))
    folder = tmp_path / "dates"
    card = export(
        build_network(net, 4, 3), ModelCard("dates", spec, FTW3, architecture=net), folder
    )
    draw = np.random.default_rng(5)
    views = [View(pixels, WHOLE) for pixels in draw.uniform(0, 3000, (16, 8, 64, 64))]
    for view in views[::2]:  # a cloud on one date, no near infrared on the other
        view.pixels[:4, :20, :20], view.pixels[7] = np.nan, np.nan
    small, found = quantise(card, views[:8], views[8:], tmp_path / "small", least=0.0)
    assert 0 <= found.worst <= found.agreement <= 1
    plain, integer = (load_model(one.folder, "onnxruntime", threads=1) for one in (card, small))
    one_date = [View(view.pixels[:4], WHOLE) for view in views]
    for shown in (views, one_date):
        assert np.abs(plain(shown) - integer(shown)).mean() < 0.02


def test_windows_are_drawn_by_the_seed(image, model):
    model, source = load_model(model, threads=1), store.open_raster(image)
    rois = [[view.roi for view in draw_windows(source, model, 5, seed)] for seed in (1, 1, 2)]
    assert rois[0] == rois[1] != rois[2]
    assert len(set(map(str, rois[0]))) == 5


def test_too_little_is_refused_and_nothing_is_left(image, model, tmp_path):
    views = draw_windows(store.open_raster(image), load_model(model, threads=1), 3, 0)
    with pytest.raises(BadInput, match="3 windows to calibrate and 3 to judge"):
        quantise(find_card(model), views, views, tmp_path / "small")
    with pytest.raises(BadInput, match="6 windows were asked for; wanted are 16"):
        quantise_model(model, image, tmp_path / "small", windows=6)
    assert not list(tmp_path.iterdir())


def test_existing_output_is_kept(image, model, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "mine.txt").write_text("mine")
    done = run_here("models", "quantise", model, image, "-o", tmp_path / "small")
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert (tmp_path / "small" / "mine.txt").read_text() == "mine"
