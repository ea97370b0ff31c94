"""Verbs that are started without standard streams, as some schedulers start them."""

import os
import subprocess
import sys

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from selion import fields
from selion.fields.table import geohash

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell that closes them")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    square = shapely.box(12.0, 50.0, 12.003, 50.002)
    frame = geopandas.GeoDataFrame(
        {"id": geohash(np.array([12.001]), np.array([50.001]))}, geometry=[square], crs=4326
    )
    frame = frame.assign(**{"metrics:area": 47_000.0, "confidence": 0.5})
    return fields.write_fields(frame, tmp_path_factory.mktemp("own") / "own.parquet")


@pytest.mark.parametrize("closed", [">&- 2>&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_merge_without_streams_is_whole_and_ends_well(table, tmp_path, closed):
    command = f'"{sys.executable}" -m selion merge "{table}" -o maps {closed}'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(next((tmp_path / "maps").glob("cell=*/*.parquet"))).num_rows == 1


def test_without_streams_a_refusal_keeps_its_exit_code(tmp_path):
    command = f'"{sys.executable}" -m selion stats none.parquet >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 2


def test_what_is_printed_without_streams_goes_into_no_file(tmp_path):
    """The first file that is opened would get the number of the standard output."""
    code = (
        "import os; from selion.cli.main import _open_streams; _open_streams()\n"
        "file = open('data', 'w'); os.write(1, b'x'); os.write(2, b'y'); print('z'); file.close()"
    )
    command = f'"{sys.executable}" -c "{code}" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "data").read_bytes() == b""
