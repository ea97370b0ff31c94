"""Imagery of both years under the outcomes, on the page of a comparison: pixels are looked at."""

import json
import shutil

import geopandas
import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox
from PIL import Image

from change_scenes import GRID, boxes, write_picture, write_year
from command_line import run_here
from report_pages import pictures
from selion import country, fields
from selion.errors import BadInput, UnreadableFile
from selion.grid import whole
from selion.reports import change_imagery, picture
from selion.reports.change_imagery import PALETTE, YearImages, coloured, find_images, named_images

EAST, WEST = (slice(0, 120), slice(80, 160)), (slice(0, 120), slice(0, 80))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Two years: a field that stays, and one that goes; the imagery of the second lies in
    two files."""
    folder = tmp_path_factory.mktemp("imagery")
    both = boxes((1, 20, 20, 50, 50), (2, 20, 100, 60, 140))
    write_year(folder / "2023", both)
    write_year(folder / "2024", np.where(both == 1, 1, 0), year=2024)
    for name, roi in (("east", EAST), ("west", WEST)):
        (folder / "pieces").mkdir(exist_ok=True)
        colour = (900, 100, 100) if name == "east" else (100, 100, 900)
        write_picture(folder / "pieces" / f"{name}.tif", 1, GRID[roi], colour)
    write_picture(folder / "a.tif", 2)
    return folder


def test_the_page_has_both_years_under_the_same_outlines(given, tmp_path):
    done = run_here(
        "change", given / "2023", given / "2024", "-o", tmp_path / "out", "--json",
        "--images", given / "a.tif", "--images", given / "pieces",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = tmp_path / "out" / "report.html"
    found = pictures(page)
    one, two = (
        found[f"Imagery of {year} with the fields coloured by outcome"] for year in ("2023", "2024")
    )
    assert one.shape == two.shape
    factor = one.shape[0] // 120
    # the folder of two rasters is blue in the west and red in the east; the single one is neither
    west, east = two[-5 * factor, 40 * factor], two[-5 * factor, 120 * factor]
    assert west[2] > west[0] + 100
    assert east[0] > east[2] + 100
    # the outline of the field that is gone, in its colour on both
    gone = np.array(list(bytes.fromhex(PALETTE["gone"][1:])))
    for image in (one, two):
        corner = image[18 * factor : 22 * factor, 110 * factor : 130 * factor].astype(int)
        assert (np.abs(corner - gone).sum(-1) < 120).any()
    text = page.read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert 'class="slide"' in text
    assert json.loads(done.stdout.splitlines()[-1])["path"] == str(page)


def test_images_that_tables_name_are_shown_where_all_of_them_are_here(given, tmp_path):
    years = []
    for year, image in (("2023", given / "a.tif"), ("2024", given / "pieces" / "east.tif")):
        shutil.copytree(given / year, tmp_path / year)
        table = next((tmp_path / year).glob("*.parquet"))
        frame = fields.read_fields(table)
        origin = fields.Origin(provenance={"image": str(image)})
        fields.write_fields(frame, table, origin, force=True)
        years.append(table)
    assert named_images(years) == (str(given / "a.tif"), str(given / "pieces" / "east.tif"))
    done = run_here("change", tmp_path / "2023", tmp_path / "2024", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Imagery of 2024 with" in (tmp_path / "out" / "report.html").read_text()
    fields.write_fields(frame, years[1], fields.Origin(provenance={"image": "/gone"}), force=True)
    assert named_images(years) == ()
    assert named_images([given / "a.tif"]) == ()


@pytest.mark.slow
def test_maps_compared_by_their_tables_have_it_too(given, tmp_path):
    for year in ("2023", "2024"):
        country.merge_maps([given / year / "fields.parquet"], tmp_path / year)
    done = run_here(
        "change", tmp_path / "2023", tmp_path / "2024", "-o", tmp_path / "out",
        "--images", given / "a.tif", "--images", given / "pieces",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = pictures(tmp_path / "out" / "report.html")
    two = found["Imagery of 2024 with the fields coloured by outcome"]
    middle = two.shape[0] // 2
    left, right = two[middle, two.shape[1] // 5], two[middle, -two.shape[1] // 12]
    assert left[2] > left[0] + 100
    assert right[0] > right[2] + 100


def test_imagery_of_another_zone_and_of_finer_pixels_lies_where_it_is(tmp_path):
    """A raster whose values are its own longitudes, seen through a coarse grid of another zone."""
    from pyproj import Transformer

    fine = GeoBox.from_bbox((599_000, 5_299_000, 603_000, 5_303_000), "EPSG:32633", resolution=5)
    middle = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True)
    x0, y0 = np.round(middle.transform(601_000, 5_301_000))
    box = (x0 - 1000, y0 - 1000, x0 + 1000, y0 + 1000)
    coarse = GeoBox.from_bbox(box, "EPSG:32632", resolution=40)
    centres = [np.arange(size) + 0.5 for size in fine.shape]
    x = fine.transform.c + fine.transform.a * centres[1]
    y = fine.transform.f + fine.transform.e * centres[0]
    lon, _ = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True).transform(
        *np.meshgrid(x, y)
    )
    low, high = lon.min(), lon.max()
    values = (1000 + 60_000 * (lon - low) / (high - low)).astype(np.uint16)
    path = tmp_path / "lon.tif"
    with change_imagery.store.create_cog(
        path, fine, ("red", "green", "blue"), np.uint16, nodata=0
    ) as sink:
        sink.write(whole(fine), np.stack([values] * 3))
    shown = np.full((*coarse.shape, 3), np.nan)
    for part, roi in change_imagery._pieces(path, coarse):
        shown[roi] = part
    rows, columns = np.nonzero(np.isfinite(shown[..., 0]))
    a = coarse.transform
    there = Transformer.from_crs("EPSG:32632", "OGC:CRS84", always_xy=True)
    want, _ = there.transform(a.c + a.a * (columns + 0.5), a.f + a.e * (rows + 0.5))
    told = low + (shown[rows, columns, 0] - 1000) / 60_000 * (high - low)
    assert len(rows) > 500
    # a coarse pixel is 5e-4 degrees of longitude
    assert np.abs(told - want).max() < 5e-4


def test_what_changed_is_drawn_above_what_stayed():
    square = shapely.box(600_200, 5_299_500, 600_600, 5_299_800)
    frame = geopandas.GeoDataFrame(
        {"change:outcome": ["split", "kept"]}, geometry=[square, square], crs="EPSG:32633"
    )
    fine = picture.zoomed(GRID, 2)
    image = coloured(np.full((*fine.shape, 3), 200, np.uint8), frame, fine)
    assert tuple(image[40, 80]) == tuple(bytes.fromhex(PALETTE["split"][1:]))
    assert (image[5, 5] == 200).all()


def test_imagery_that_cannot_be_shown_is_refused_before_anything_is_compared(given, tmp_path):
    years = "2023", "2024"
    with pytest.raises(BadInput, match="Imagery of 1 year was given for 2"):
        find_images([given / "a.tif"], years)
    with pytest.raises(UnreadableFile, match="no file"):
        find_images([given / "a.tif", given / "none.tif"], years)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no raster"):
        find_images([given / "a.tif", tmp_path / "empty"], years)
    Image.new("RGB", (30, 30)).save(tmp_path / "photo.png")
    with pytest.raises(BadInput, match="no place on the globe"):
        find_images([given / "a.tif", tmp_path / "photo.png"], years)
    for name in ("one", "two"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / "window_a.gti.gpkg").touch()
    with pytest.raises(BadInput, match="several mosaics \\(one, two\\): name one"):
        find_images([given / "a.tif", tmp_path / "both"], years)
    done = run_here(
        "change",
        given / "2023",
        given / "2024",
        "-o",
        tmp_path / "out",
        "--images",
        given / "a.tif",
    )
    assert done.returncode == 2
    assert "--images 2023.tif --images 2024.tif" in done.stderr
    assert not (tmp_path / "out").exists()
    assert YearImages("2023", (given / "a.tif",)).pixel == pytest.approx(10, rel=1e-3)
