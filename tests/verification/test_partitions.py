"""A merged map: tables beside one another that no single table can tell to be wrong."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
import shapely

from command_line import run_here
from selion import fields
from selion.store.manifest import (
    InputSum,
    Manifest,
    manifest_of,
    read_manifest,
    write_manifest,
)
from selion.store.vectors import file_box
from selion.verification import partitions, verify
from selion.verification.run import _maps

SIDE = 10 / 111_195  # degrees of ten metres along a meridian of a sphere


@pytest.fixture
def write(tmp_path):
    """Write a merged map of two tables of squares side by side; return its folder."""

    def made(right=(0, 1), ids="cd", outcomes=None, **said):
        folder, cells = tmp_path / "maps", {}
        for cell, columns, names in (("u0a", (-2, -1), "ab"), ("u0b", right, ids)):
            shapes = [shapely.box(k * SIDE, 0, (k + 1) * SIDE, SIDE) for k in columns]
            area, around = fields.measure(np.array(shapes), "OGC:CRS84")
            frame = geopandas.GeoDataFrame(
                {"id": list(names), "metrics:area": np.float32(area)},
                geometry=shapes,
                crs="OGC:CRS84",
            ).assign(**{"metrics:perimeter": np.float32(around)})
            if outcomes is not None:
                frame["change:outcome"] = [outcomes[name] for name in names]
            path = folder / f"cell={cell}" / "part.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            fields.write_fields(frame, path, fields.Origin("maps"), force=True)
            cells[cell] = {"rows": 2, "bbox": list(file_box(path))} | said.get(cell, {})
        index = {"kind": "selion maps 1", "rows": said.get("rows", 4), "cells": cells}
        (folder / "_selion.json").write_text(json.dumps(index))
        return folder

    return made


def test_a_sound_map_holds(write):
    found = verify(write())
    assert found.holds, found.differences
    said = [check.said[0] for check in found.checks if check.where == "maps"]
    near = "none is in two, none shares more than 1 m2 with one of another table."
    assert said == [
        "2 tables, as _selion.json says.",
        f"2 fields near other tables: {near}",
    ]


def test_what_is_gone_in_one_table_may_lie_under_what_came_in_another(write):
    """As in what `change` writes of merged maps."""
    outcomes = {"a": "kept", "b": "gone", "c": "appeared", "d": "kept"}
    folder = write(right=(-0.5, 1), outcomes=outcomes)
    assert verify(folder).holds
    (said,) = verify(write(right=(-0.5, 1), outcomes=outcomes | {"c": "gone"})).differences
    assert said.startswith("maps: 1 pairs overlap by more than 1 m2")


def test_fields_of_two_tables_that_lie_on_one_another_are_found(write):
    folder = write(right=(-0.5, 1))
    (said,) = verify(folder).differences
    assert said.startswith("maps: 1 pairs overlap by more than 1 m2 (px2 of a photograph): b and c")
    assert "50.0)" in said
    assert verify(folder, tolerance=60).holds


def test_a_field_that_is_in_two_tables_is_found(write):
    said = verify(write(right=(-1, 1), ids="bd")).differences
    assert [text.partition(":")[2][:30] for text in said] == [
        " 1 pairs overlap by more than ",
        " 1 id in two tables, the first",
    ]


def test_an_index_that_tells_otherwise_is_found(write):
    box = {"bbox": [0.0, 0.0, 1.0, 1.0]}
    folder = write(u0a={"rows": 3}, u0b=box, rows=9)
    (folder / "cell=u0c").mkdir()
    (folder / "cell=u0b").rename(folder / "cell=u0d")
    said = " ".join(verify(folder).differences)
    for wanted in (
        "tells of a table u0b",
        "does not tell of the table u0d",
        "tells of 3 fields in cell=u0a/part.parquet, which has 2",
        "tells of 9 fields, and of others table by table",
    ):
        assert wanted in said


def test_an_index_that_is_none_and_a_table_that_is_broken_are_said(write):
    folder = write()
    (folder / "_selion.json").write_text("{}")
    assert "maps: The map cannot be read: 'cells'" in verify(folder).differences
    (folder / "cell=u0a" / "part.parquet").write_bytes(b"PAR1")
    assert any("The map cannot be read" in text for text in verify(folder).differences)


def test_more_than_is_looked_at_is_said(write, monkeypatch):
    monkeypatch.setattr(partitions, "MOST", 1)
    found = [check for check in verify(write()).checks if check.where == "maps"]
    assert found[-1].status == "not checked"
    assert found[-1].said[0].startswith("2 fields lie near other tables, more than are looked at")


def test_tiles_are_held_against_the_map_of_many_tables(write):
    folder = write()
    tiles = folder.with_name("maps.pmtiles")
    tiles.write_bytes(b"x")
    made = Manifest(
        tiles.name, ("tiles", "maps"), inputs=(InputSum("maps", "folder", path="maps"),)
    )
    write_manifest(made, manifest_of(tiles))
    ((name, box),) = _maps(made, tiles.parent)
    assert name == "maps"
    assert box == pytest.approx((-2 * SIDE, 0, 2 * SIDE, SIDE))


def test_tiles_of_a_map_hold_and_are_compared_with_all_of_its_tables(write):
    tables = sorted(write().glob("*/part.parquet"))
    folder = tables[0].parents[2] / "merged"
    for words in (
        ("merge", *tables, "-o", folder, "--least-remnant", 0),
        ("tiles", folder, "-o", folder.parent / "t.pmtiles", "--max-zoom", 9),
    ):
        done = run_here(*words, "--quiet")
        assert done.returncode == 0, done.stderr
    known = read_manifest(manifest_of(folder.parent / "t.pmtiles"))
    assert len([one for one in known.inputs if one.path.endswith(".parquet")]) == 2
    ((name, box),) = _maps(known, folder.parent)
    assert name == str(folder)
    assert box == pytest.approx((-2 * SIDE, 0, 2 * SIDE, SIDE))
    found = verify(folder.parent / "t.pmtiles")
    assert found.holds, found.differences
    next(folder.glob("*/part.parquet")).unlink()
    assert list(_maps(known, folder.parent)) == []


def test_tiles_of_tables_that_were_named_in_two_ways_are_looked_at(write):
    tables = sorted(write().glob("*/part.parquet"))
    home = tables[0].parents[2]
    places = [path.relative_to(home).as_posix() for path in tables]
    names = (str(tables[0]), places[1])  # one from the root, one from here
    inputs = tuple(InputSum(n, "file", path=p) for n, p in zip(names, places, strict=True))
    ((name, box),) = _maps(Manifest("t.pmtiles", inputs=inputs), home)
    assert name == str(tables[0])
    assert box == pytest.approx((-2 * SIDE, 0, 2 * SIDE, SIDE))
