"""A workbook has the same bytes whenever it is written, and opens."""

import zipfile
from datetime import date
from xml.etree import ElementTree as ET

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


def cells(path, sheet):
    """Cells as the file has them: place -> (value, number format, kind), read by hand."""
    name = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(path) as archive:
        root, styles, texts = (
            ET.fromstring(archive.read(f"xl/{part}.xml"))
            for part in (f"worksheets/{sheet}", "styles", "sharedStrings")
        )
    formats = {one.get("numFmtId"): one.get("formatCode") for one in styles.iter(f"{name}numFmt")}
    used = [formats[one.get("numFmtId")] for one in styles.find(f"{name}cellXfs")]
    shared = [one.findtext(f"{name}t") for one in texts]
    found = {}
    for cell in root.iter(f"{name}c"):
        value, kind = cell.findtext(f"{name}v"), cell.get("t")
        value = shared[int(value)] if kind == "s" else value
        found[cell.get("r")] = (value, used[int(cell.get("s", 0))], kind)
    return found


def test_days_are_days_and_numbers_numbers(tmp_path):
    """Days were texts, which no program sorts or draws along an axis."""
    path = tmp_path / "trial.xlsx"
    days = [date(2024, 2, 29), None, date(1999, 12, 31)]
    rows = [{"plot": f"00{k}", "date": day, "cover": k / 4} for k, day in enumerate(days)]
    more = {"curves": (["first"], [{"first": date(2018, 1, 16)}]), "none": (["date"], [])}
    workbook.write_workbook(path, {"means": (["plot", "date", "cover"], rows), **more})
    seen = cells(path, "sheet1")
    since = date(1899, 12, 30)  # days since then are what the cells of a workbook hold
    assert seen["B2"] == (str((days[0] - since).days), r"yyyy\-mm\-dd", None)
    assert "B3" not in seen
    assert seen["B4"][0] == str((days[2] - since).days)
    assert seen["A2"] == ("000", "GENERAL", "s")
    assert float(seen["C4"][0]) == 0.5
    assert cells(path, "sheet2")["A2"][:2] == (str((date(2018, 1, 16) - since).days), seen["B2"][1])
    again = tmp_path / "again.xlsx"
    workbook.write_workbook(again, {"means": (["plot", "date", "cover"], rows), **more})
    assert again.read_bytes() == path.read_bytes()
