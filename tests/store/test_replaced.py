"""By force a folder is replaced that is empty or an older one of its kind, and holds nothing read.

Every other one is refused before anything is done, and is there afterwards byte for byte.
"""

# ruff: noqa: PT012 - what a block leaves behind is what is tested

import shutil
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import BadInput, OutputExists
from selion.store.replaced import FolderKind, check_replaced
from selion.store.witness import Witness, witnessed

KIND = FolderKind("a toy", ("toy.json",), ("parts/", "*.csv"), says="made by toys")
GRID = GeoBox((64, 64), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")


def content(folder: Path) -> dict[str, bytes]:
    return {
        one.relative_to(folder).as_posix(): one.read_bytes()
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    }


def write(folder: Path, force: bool = True, kind: FolderKind | None = KIND) -> None:
    with store.atomic_folder(folder, force, kind) as part:
        (part / "toy.json").write_text("made by toys, again")


def toys(folder: Path, *more: str) -> Path:
    for name in ("toy.json", "parts/1.bin", "a.csv", *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("made by toys")
    return folder


@pytest.mark.parametrize("more", [(), (".DS_Store", "._a.csv", "Thumbs.db", "a.tif.aux.xml")])
def test_an_older_one_of_the_kind_is_replaced(tmp_path, more):
    out = toys(tmp_path / "out", *more)
    with pytest.raises(OutputExists, match="--force"):
        write(out, force=False)
    write(out)
    assert content(out) == {"toy.json": b"made by toys, again"}


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert content(tmp_path / "out") == {"toy.json": b"made by toys, again"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("holiday.jpg",), "selion did not make.*no toy.json"),
        ((".git/HEAD",), "selion did not make"),
        (("a.csv", "parts/1.bin"), "selion did not make"),
        (("toy.json",), "that says 'made by toys'"),
    ],
)
def test_a_folder_of_somebody_else_is_refused(tmp_path, files, said):
    out = tmp_path / "out"
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("precious")
    before = content(tmp_path)
    for do in (
        lambda: write(out),
        lambda: store.check_output(out, True, KIND),
    ):
        with pytest.raises(OutputExists, match=said):
            do()
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "more", ["thesis.txt", "maps/a.parquet", ".git/HEAD", "parts.tif", "b/a.csv"]
)
def test_what_somebody_added_is_named(tmp_path, more):
    out = toys(tmp_path / "out", more)
    before = content(tmp_path)
    with pytest.raises(OutputExists, match=f"holds {more.partition('/')[0]}, which is no part"):
        write(out)
    assert content(tmp_path) == before


def test_without_a_kind_both_have_a_file_of_the_same_name(tmp_path):
    out = toys(tmp_path / "out")
    write(out, kind=None)
    assert content(out) == {"toy.json": b"made by toys, again"}
    shutil.rmtree(out)
    (out / "parts").mkdir(parents=True)
    (out / "holiday.jpg").write_text("precious")
    with pytest.raises(OutputExists, match=r"none of toy\.json"):
        write(out, kind=None)
    assert content(out) == {"holiday.jpg": b"precious"}


def test_what_appears_while_it_is_written_is_kept(tmp_path):
    """Somebody puts his own folder there between the check and the end."""
    with (
        pytest.raises(OutputExists, match="selion did not make"),
        store.atomic_folder(tmp_path / "out", True, KIND) as part,
    ):
        (part / "toy.json").write_text("made by toys")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "holiday.jpg").write_text("precious")
    assert content(tmp_path) == {"out/holiday.jpg": b"precious"}


def test_a_link_is_not_replaced_by_a_folder(tmp_path):
    toys(tmp_path / "disk")
    (tmp_path / "out").symlink_to("disk")
    before = content(tmp_path / "disk")
    for kind in (KIND, None):
        with pytest.raises(OutputExists, match="out is a link to disk"):
            write(tmp_path / "out", kind=kind)
    with pytest.raises(OutputExists, match="is a link"):
        check_replaced(tmp_path / "out", KIND)
    assert (tmp_path / "out").is_symlink()
    assert content(tmp_path / "disk") == before


def test_a_folder_that_is_or_holds_what_is_read_is_refused(tmp_path):
    out = toys(tmp_path / "out")
    (tmp_path / "link.csv").symlink_to(out / "a.csv")
    before = content(out)
    for read in (out, out / "a.csv", out / "parts", tmp_path / "link.csv"):
        with (
            witnessed(Witness(lambda *_: None, reads={read})),
            pytest.raises(BadInput, match="would be lost: write to another folder"),
        ):
            write(out)
    assert content(out) == before
    with witnessed(Witness(lambda *_: None, reads={tmp_path})):
        write(out)


def test_a_zarr_is_known_by_what_ours_holds(tmp_path):
    def cube(path):
        with store.create_cube(path, GRID, ("a",), "uint8", force=True) as sink:
            sink.write((slice(0, 64), slice(0, 64)), np.ones((1, 64, 64), np.uint8))

    cube(tmp_path / "a.zarr")
    cube(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "temperature").mkdir()
    (tmp_path / "a.zarr" / "temperature" / "zarr.json").write_text("years of work")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "holiday.jpg").write_text("precious")
    before = content(tmp_path)
    for name in ("a.zarr", "b.zarr"):
        with pytest.raises(OutputExists, match="does not replace it"):
            cube(tmp_path / name)
        with pytest.raises(OutputExists, match="does not replace it"):
            store.check_output(tmp_path / name, force=True)
    assert content(tmp_path) == before
