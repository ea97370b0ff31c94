"""Which model maps an image where none is named: by bands, and of a model in two sizes by size."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rasterio.transform import from_origin

import selion
from option_inputs import PROBE
from selion import country, fields, imagery, store
from selion.cli.mapping import map_command
from selion.cli.plan import plan_command
from selion.errors import BandMismatch
from selion.grid import whole
from selion.models import packaged_models, registry, sizes, write_card
from selion.models.registry import packaged_models as shipped
from selion.pipeline import maps
from selion.pipeline.choosing import ImageSize, choose_model, composite_bands
from selion.pipeline.cost import NoiseSource
from selion.prediction import has_bands
from selion.simulation.landscape import simulate

RGB = ("red", "green", "blue")
RGBN = (*RGB, "nir")
WEIGHTS = Path(selion.__file__).parent / "weights"
PAIR = """
[[pair]]
small = "toy-small"
base = "toy-base"
megapixels = {megapixels}
start = {{ small = 0.5, base = 1.0 }}
seconds = {{ small = 2.0, base = 5.0 }}
object_f1 = {{ small = 0.70, base = 0.72 }}
"""


@pytest.fixture
def two_sizes(tmp_path, monkeypatch):
    """Package two sizes of the two-date model, beside the one for colour; the larger from where it
    is said.
    """
    for name in ("toy-small", "toy-base"):
        shutil.copytree(WEIGHTS / "fields-s2-2season", tmp_path / "weights" / name)
        card = tmp_path / "weights" / name / "card.toml"
        text = card.read_text("utf-8").replace('name = "fields-s2-2season"', f'name = "{name}"', 1)
        card.write_text(text, "utf-8")
    shutil.copytree(WEIGHTS / "fields-rgb-vhr", tmp_path / "weights" / "a-first")

    def larger_from(megapixels):
        (tmp_path / "sizes.toml").write_text(PAIR.format(megapixels=megapixels), "utf-8")
        sizes.size_pairs.cache_clear()

    monkeypatch.setattr(registry, "_PACKAGED", tmp_path / "weights")
    monkeypatch.setattr(sizes, "_SIZES", tmp_path / "sizes.toml")
    larger_from(0.036)
    yield larger_from
    sizes.size_pairs.cache_clear()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """96 x 96 pixels of 10 m: 192 x 192 = 36,864 as the models of two dates look at them."""
    scene = simulate(4, (96, 96), 10.0, "europe")
    path = tmp_path_factory.mktemp("choosing") / "image.tif"
    with store.create_cog(path, scene.image.grid, scene.image.bands, np.uint16) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    return path


def test_bands_decide_first(tmp_path, monkeypatch):
    """Of these two models, whatever else is packaged by now."""
    for name in ("fields-rgb-vhr", "fields-s2-2season"):
        shutil.copytree(WEIGHTS / name, tmp_path / name)
    monkeypatch.setattr(registry, "_PACKAGED", tmp_path)
    size = ImageSize(64, 10.0)
    assert choose_model(composite_bands(RGBN), size).name == "fields-s2-2season"
    assert choose_model(RGBN, size).name == "fields-rgb-vhr"
    with pytest.raises(BandMismatch, match="--model"):
        choose_model(("a", "b"), size)


def test_small_below_and_base_from_a_size_on(two_sizes, image):
    source = store.open_raster(image)
    for megapixels, name in ((0.0368, "toy-base"), (0.0369, "toy-small")):
        two_sizes(megapixels)
        choice = choose_model(source.bands, ImageSize.of(source))
        assert choice.name == name
        for word in ("toy-small", "toy-base", "0.037", f"{megapixels:g}", "2.5 times", "0.02"):
            assert word in choice.why
        assert "--model" in choice.why
        assert choice.why.endswith(".")
        assert maps.prepare(image, None, maps.MapOptions()).model.card.name == name
    named = maps.prepare(image, "toy-small", maps.MapOptions())
    assert (named.model.card.name, named.chosen) == ("toy-small", "")
    # a model that does not come in two sizes has nothing to say
    assert choose_model(RGB, ImageSize(1e9, 1.0)).name == "fields-rgb-vhr"
    assert not choose_model(RGB, ImageSize(1e9, 1.0)).why


def test_of_many_dates_all_bands_count(two_sizes, tmp_path):
    """Eight bands are all looked at by either model, four by the one for any dates alone.

    And colour alone by that for colour too: among equals the one in two sizes is taken.
    """
    small = next(card for card in packaged_models() if card.name == "toy-small")
    inputs = replace(small.inputs, bands=RGBN, dates="any", optional=("nir",), any_order=False)
    for name in ("toy-small", "toy-base"):
        card = replace(small, name=name, inputs=inputs)
        write_card(card, tmp_path / "weights" / name / "card.toml")
    shutil.copytree(WEIGHTS / "fields-s2-2season", tmp_path / "weights" / "b-first")
    dated = tuple(f"2024-0{month}-01:{colour}" for month in (4, 6, 8) for colour in RGB)
    for bands in (RGB, RGBN, composite_bands(RGBN), dated):
        assert choose_model(bands, ImageSize(64, 10.0)).name == "toy-small"
        assert choose_model(bands, ImageSize(1e6, 10.0)).name == "toy-base"


def test_size_is_that_at_which_the_network_looks():
    """1.65 to 4.5 m: finer pixels are averaged, coarser ones are parted, photographs stay."""
    card = next(card for card in shipped() if card.name == "fields-rgb-vhr")
    assert ImageSize(1e6, 0.55).megapixels(card) == pytest.approx(1 / 9)
    assert ImageSize(1e6, 3.0).megapixels(card) == pytest.approx(1.0)
    assert ImageSize(1e6, 9.0).megapixels(card) == pytest.approx(4.0)
    assert ImageSize(1e6).megapixels(card) == pytest.approx(1.0)
    assert ImageSize.of_land(25.0, 10.0) == ImageSize(250_000, 10.0)


@pytest.mark.parametrize("first", ["toy-small", "toy-base"])
def test_size_is_that_at_which_the_small_one_looks(first, two_sizes, monkeypatch):
    """10 m at 5 m: 96 x 96 px are 36,864; the base one, at 2.5 m, has 4 times as many."""
    cards = {card.name: card for card in packaged_models()}
    finer = replace(cards["toy-base"].inputs, gsd=(1.25, 5.0), finer=4.0)
    cards["toy-base"] = replace(cards["toy-base"], inputs=finer)
    ordered = sorted(cards.values(), key=lambda card: card.name != first)
    monkeypatch.setattr("selion.models.packaged_models", lambda: ordered)
    for megapixels, name in ((0.0368, "toy-base"), (0.0369, "toy-small")):
        two_sizes(megapixels)
        assert choose_model(composite_bands(RGBN), ImageSize(96 * 96, 10.0)).name == name


def test_map_says_which_and_why(two_sizes, image, tmp_path):
    """In a dry run, while it runs, and in the table."""
    out = tmp_path / "f.parquet"
    for words, name in (((), "toy-base"), (("--model", "toy-small"), "toy-small")):
        done = CliRunner().invoke(
            map_command, [str(image), "-o", str(out), "--dry-run", "--json", *words]
        )
        plan = json.loads(done.stdout.splitlines()[-1])
        assert plan["model"] == name
        assert ("chosen" in plan) == (not words)
    assert (
        "chosen           toy-base was chosen"
        in CliRunner().invoke(map_command, [str(image), "-o", str(out), "--dry-run"]).stdout
    )
    two_sizes(1.0)
    done = CliRunner().invoke(map_command, [str(image), "-o", str(out), "--no-preview"])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("toy-small was chosen") == 1
    noted = fields.read_origin(out).provenance["model"]
    assert noted["name"] == "toy-small"
    assert noted["chosen"].startswith("toy-small was chosen")
    assert noted["chosen"] in done.stderr


def test_jobs_of_a_plan_share_one_model(two_sizes, tmp_path):
    """Chosen for the whole: at 10 m, looked at in 5 m, 25 km2 of a job are a megapixel, all of the
    area are more.
    """
    box = (11.2, 47.3, 11.3, 47.4)
    megapixels = imagery.read_area(box).km2 / 25
    country.write_probe(PROBE, tmp_path / "probe.json")
    words = [",".join(map(str, box)), "--year", "2024", "--edge", "5", "-q"]
    words += ["--probe-file", str(tmp_path / "probe.json")]
    for least, more, name in (
        (megapixels - 0.01, [], "toy-base"),
        (megapixels + 0.01, [], "toy-small"),
        (megapixels + 0.01, ["--model", "toy-base"], "toy-base"),
    ):
        two_sizes(least)
        out = tmp_path / "plan"
        done = CliRunner().invoke(plan_command, [*words, "-o", str(out), "--force", *more])
        assert done.exit_code == 0, done.output
        jobs = json.loads((out / "jobs.json").read_text())
        assert len(jobs) > 1
        for job in jobs:
            read = map_command.make_context("map", list(job["command"][2:])).params
            assert read["model"] == name


def test_times_of_another_model_are_said(two_sizes, tmp_path):
    country.write_probe(PROBE, tmp_path / "probe.json")
    words = ["11.2,47.3,11.3,47.4", "--year", "2024", "--force", "-o", str(tmp_path / "plan")]
    words += ["--probe-file", str(tmp_path / "probe.json")]
    done = CliRunner().invoke(plan_command, words)
    assert "measured with fields-s2-2season, and the jobs take toy-base: measure" in done.stderr
    country.write_probe(replace(PROBE, model="toy-base"), tmp_path / "probe.json")
    done = CliRunner().invoke(plan_command, words)
    assert "measured with" not in done.stderr
    assert "toy-base was chosen" in done.stderr


def test_arithmetic_of_a_pair(two_sizes):
    """Half a second of start and three seconds a megapixel more, for two points of object F1."""
    two_sizes(1.5)
    (pair,) = sizes.size_pairs()
    assert pair.seconds_per_point(0.25) == pytest.approx((0.5 / 0.25 + 3) / 2)
    assert pair.seconds_per_point(100.0) == pytest.approx((0.005 + 3) / 2)
    assert pair.for_size(1.5) is pair.base
    assert pair.for_size(1.499) is pair.small
    assert "1,500 megapixels" in pair.reason(1500.4)


def test_pairs_that_ship_are_there_and_worth_it():
    """The larger one takes what the small one takes and is better.

    From its size on 0.01 of object F1 costs at most three times what it costs on a large image.
    """
    cards = {card.name: card for card in packaged_models()}
    assert sizes.size_pairs()
    for pair in sizes.size_pairs():
        small, base = (cards[name].inputs for name in pair.names)
        assert has_bands(small.bands, base)
        assert pair.base.object_f1 > pair.small.object_f1
        assert pair.base.seconds > pair.small.seconds
        assert pair.seconds_per_point(pair.megapixels) <= 3 * pair.seconds_per_point(1e6)


def test_what_ships_maps_large_images_with_the_base_model():
    """From 0.2 megapixels as the small one looks at them; one date of four bands always."""
    for bands, gsd in ((RGB, 1.65), (composite_bands(RGBN), 5.0)):
        little, large = (choose_model(bands, ImageSize(pixels, gsd)) for pixels in (1.9e5, 2.1e5))
        assert (little.name != "fields-base", large.name) == (True, "fields-base")
        assert "--model fields-base" in little.why
    dated = tuple(f"2024-0{month}-01:{colour}" for month in (4, 6, 8) for colour in RGBN)
    assert choose_model(RGBN, ImageSize(64, 10.0)).name == "fields-base"
    assert choose_model(dated, ImageSize(64, 10.0)).name == "fields-base"


def test_the_choice_does_not_read_a_pixel():
    grid = selion.grid.GeoBox((100_000, 100_000), from_origin(5e5, 5e6, 10, 10), "EPSG:32633")
    noise = NoiseSource(grid, composite_bands(RGBN))
    assert ImageSize.of(noise).pixels == 1e10
