"""No form of a file that points elsewhere makes any reader ask anybody, or open another file; the
table of all of them: ``python bench/pointing.py``.
"""

import pytest
import rasterio

import pointing_forms as forms
from counting_host import counting_host
from opened_files import opened_in


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    forms.image(folder / "a.tif", forms.SECRET)
    with counting_host(folder) as served:
        served.far = tmp_path_factory.mktemp("far") / "secret.tif"
        forms.image(served.far, forms.SECRET)
        yield served


@pytest.mark.parametrize("form", forms.RASTERS)
def test_images_reach_nothing_else(form, host, tmp_path):
    examine(forms.RASTERS[form], forms.RASTER_READERS, host, tmp_path)


@pytest.mark.parametrize("form", forms.TABLES)
def test_tables_reach_nothing_else(form, host, tmp_path):
    examine(forms.TABLES[form], forms.TABLE_READERS, host, tmp_path)


def examine(form, readers, host, folder):
    name, make = form
    make(folder / name, host.url, host.far)
    host.asked.clear()
    for reader, read in readers.items():
        with opened_in(host.far.parent) as opened:
            _, answer = forms.outcome(read, folder / name)
            assert opened() == [], reader
        assert not forms.shows(answer), reader
        assert host.asked == [], reader


def test_a_file_that_a_library_opens_is_noticed(host):
    with opened_in(host.far.parent) as opened:
        host.far.stat()
        assert opened() == []
        with rasterio.open(host.far):
            pass
        assert opened() == ["secret.tif"]
