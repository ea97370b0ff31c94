"""Which files are meant, and how they come onto one grid."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from change_scenes import GRID, boxes, write_year
from selion.change.grids import Shifted, Warped, on_grid
from selion.change.years import find_years
from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.grid import photo_grid
from selion.raster import Raster

NAMES = ("B", "A")


def raster(grid: GeoBox, values=None, valid=None) -> Raster:
    if values is None:
        values = np.random.default_rng(3).random((2, *grid.shape), np.float32)
    return Raster(values, grid, ("background", "field"), valid)


def moved(by: tuple[float, float], shape=(60, 70)) -> GeoBox:
    """Return a grid that starts ``by`` (y, x) pixels after GRID."""
    return GeoBox(shape, GRID.transform * Affine.translation(by[1], by[0]), GRID.crs)


def test_the_same_grid_is_taken_as_it_is():
    source = raster(GRID)
    assert on_grid(source, GRID, NAMES) == (source, None)


def test_whole_pixels_aside_nothing_is_resampled():
    source = raster(moved((10, 20)))
    found, note = on_grid(source, GRID, NAMES)
    assert isinstance(found, Shifted)
    assert "whole pixels" in note
    assert "%" in note
    part = found.read((slice(5, 30), slice(15, 100)))
    assert np.array_equal(part.values[:, 5:, 5:75], source.values[:, :20, :70])
    assert part.valid[5:, 5:75].all()
    assert part.valid.sum() == 20 * 70
    with pytest.raises(GridMismatch, match="no place in common"):
        on_grid(raster(moved((500, 500))), GRID, NAMES)


@pytest.mark.parametrize("roi", [(slice(0, 120), slice(0, 160)), (slice(33, 71), slice(0, 17))])
def test_half_pixels_aside_it_is_bilinear(roi):
    y, x = np.mgrid[0:140, 0:180]
    plane = (0.001 * y + 0.002 * x)[None].astype(np.float32)
    grid = moved((-10.5, -10.25), plane.shape[1:])
    found, note = on_grid(Raster(np.concatenate([plane, 1 - plane]), grid, ("a", "b")), GRID, NAMES)
    assert isinstance(found, Warped)
    assert "shifted by" in note
    part = found.read(roi)
    rows, columns = np.mgrid[roi]
    assert np.allclose(part.values[0], 0.001 * (rows + 10.5) + 0.002 * (columns + 10.25), atol=1e-4)
    assert part.valid.all()


def test_another_zone_is_resampled_and_holes_stay_holes():
    centre = GRID.transform * (80, 60)
    x, y = Transformer.from_crs(str(GRID.crs), "EPSG:32632", always_xy=True).transform(*centre)
    there = GeoBox((300, 300), Affine(10, 0, x - 1500, 0, -10, y + 1500), "EPSG:32632")
    valid = np.ones(there.shape, bool)
    valid[150, 150] = False
    found, note = on_grid(raster(there, valid=valid), GRID, NAMES)
    assert "EPSG:32632" in note
    assert "bilinear" in note
    seen = found.read((slice(0, 120), slice(0, 160))).valid
    assert not seen[58:62, 78:82].all()
    assert 1 <= (~seen).sum() <= 9
    # a region read alone is the region cut out of the whole
    part = found.read((slice(40, 64), slice(50, 130)))
    assert np.allclose(
        part.values, found.read((slice(0, 120), slice(0, 160))).values[:, 40:64, 50:130], atol=1e-3
    )


def test_a_photograph_is_no_map():
    with pytest.raises(GridMismatch, match="photograph"):
        on_grid(raster(photo_grid((120, 160))), GRID, NAMES)
    with pytest.raises(GridMismatch, match="same size"):
        on_grid(raster(photo_grid((120, 160))), photo_grid((100, 160)), NAMES)


def test_files_are_found(tmp_path):
    ids = boxes((1, 10, 10, 40, 40))
    one, other = write_year(tmp_path / "2023", ids), write_year(tmp_path / "2024", ids)
    assert [year.label for year in find_years([one, other])] == ["2023", "2024"]
    given = [one / "fields.parquet", other / "fields.scores.tif"]
    assert find_years(given) == find_years([one, other])
    assert find_years(
        [f"{one}/fields.scores.tif,{one}/fields.parquet", (given[1], other / "fields.parquet")]
    ) == find_years([one, other])
    assert [year.label for year in find_years([one, one])] == ["2023-1", "2023-2"]
    write_year(tmp_path / "all", ids, name="a b")
    write_year(tmp_path / "all", ids, name="c")
    assert [
        year.label
        for year in find_years([tmp_path / "all" / "a b.parquet", tmp_path / "all" / "c.parquet"])
    ] == ["a-b", "c"]
    with pytest.raises(BadInput, match="several maps"):
        find_years([tmp_path / "all", other])
    (one / "fields.scores.tif").unlink()
    for bad in (one, one / "fields.parquet"):
        with pytest.raises(BadInput, match=r"selion map .*--scores"):
            find_years([bad, other])
    (other / "fields.parquet").unlink()
    with pytest.raises(BadInput, match="selion fields"):
        find_years([other / "fields.scores.tif", other])
    with pytest.raises(UnreadableFile, match="no file or folder"):
        find_years([tmp_path / "2030", other])
    with pytest.raises(BadInput, match="two or more"):
        find_years([other])
