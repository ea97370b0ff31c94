"""A workbook has the same bytes whenever it is written, and opens."""

import zipfile

import pyogrio
import pytest

from selion.store import workbook


def test_no_part_of_a_workbook_knows_when_it_was_written(tmp_path):
    path = tmp_path / "trial.xlsx"
    sheets = {
        "means": (["plot", "cover"], [{"plot": "ä & <1>", "cover": 0.25}, {"plot": "b"}]),
        "curves": (["n"], [{"n": 3}]),
    }
    workbook.write_workbook(path, sheets)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist()[0] == "[Content_Types].xml"
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert b"created" not in text
    found = pyogrio.read_dataframe(path, layer="means")
    assert found["plot"].tolist() == ["ä & <1>", "b"]
    assert found["cover"].tolist() == pytest.approx([0.25, float("nan")], nan_ok=True)
    assert pyogrio.read_info(path, layer="curves")["fields"].tolist() == ["n"]
