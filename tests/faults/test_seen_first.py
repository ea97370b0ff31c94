"""What a person saw first, as the commands were given: a traceback, or an answer that was none.

Each defect that the list of reliability.md tells of has a test; those of parts are in the files
that it names.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from fuzz_pool import Refused, run_verb
from option_inputs import Quick, table_of
from selion.pipeline import maps


def image(path, pixel, crs, corner=(500_000, 5_500_000)):
    values = np.random.default_rng(0).integers(0, 3000, (4, 64, 64)).astype(np.uint16)
    place = rasterio.transform.from_origin(*corner, pixel, pixel)
    about = {"driver": "GTiff", "width": 64, "height": 64, "count": 4, "dtype": "uint16"}
    with rasterio.open(path, "w", **about, crs=crs, transform=place) as file:
        file.write(values)
    return path


def refused(folder, said, *words):
    """Give a command that ends in one sentence and leaves nothing that one sees."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(Refused, match=said):
        run_verb([str(word) for word in words])
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("pixel", "crs", "said"),
    [(10.0, "EPSG:4326", "in degrees"), (1e-9, "EPSG:32633", "geotransform is wrong")],
)
def test_an_image_whose_place_is_wrong_is_not_mapped(pixel, crs, said, tmp_path, monkeypatch):
    """Metres that are called degrees, a common mistake, were a NaN made an integer."""
    monkeypatch.setattr(maps, "load_refined", lambda *_a, **_k: Quick())
    path = image(tmp_path / "image.tif", pixel, crs)
    refused(tmp_path, said, "map", path, "-o", tmp_path / "f.parquet", "--bands", "1,2,3,4")


@pytest.mark.parametrize(
    "words",
    [
        "review status {table}",
        "review export {table} -o {here}/out",
        "data make {image} -p {table} -o {here}/out --size 32 --block-km 0.3",
        "evaluate --pred {table} --truth {table}",
        "stats {table} --by {table} -o {here}/out.csv",
    ],
)
def test_a_parquet_with_a_damaged_page_is_named(words, tmp_path):
    """It was Arrow's own error: corrupt snappy compressed data."""
    table = table_of(tmp_path / "map", "x", 12.0)
    body = bytearray(table.read_bytes())
    body[60:200] = bytes(value ^ 0x5A for value in body[60:200])
    table.write_bytes(body)
    picture = image(tmp_path / "image.tif", 1e-4, "EPSG:4326", (12.0, 50.006))
    given = words.format(table=table, here=tmp_path, image=picture).split()
    refused(tmp_path, r"x\.parquet cannot be read", *given)


def test_a_dry_run_of_more_windows_than_anybody_draws(tmp_path):
    """It announced 2e20 windows, with exit code 0."""
    import selion

    recipe = Path(selion.__file__).parent / "recipes" / "crops-rgb.toml"
    text = recipe.read_text("utf-8")
    assert "per_epoch = " in text
    changed = re.sub("per_epoch = .*", f"per_epoch = {4 * 10**18}", text)
    (tmp_path / "many.toml").write_text(changed, "utf-8")
    refused(tmp_path, "per_epoch", "train", tmp_path / "many.toml", "--dry-run")


def test_each_defect_of_the_list_has_a_test_that_is_there():
    tests = Path(__file__).parents[1]
    page = (tests.parent / "docs" / "reliability.md").read_text("utf-8")
    table = page.partition("<!-- table of defects -->")[2].partition("<!-- end of the table of")[0]
    rows = table.strip().splitlines()[2:]
    assert len(rows) >= 24
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            assert f"def {name}(" in (tests / file).read_text("utf-8"), row
