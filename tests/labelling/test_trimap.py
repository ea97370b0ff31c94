"""The trimap: its laws, its files, and that what it makes 255 leaves every loss unchanged."""

from __future__ import annotations

import csv
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from selion.classes import CROP, FTW3, IGNORE
from selion.cli.main import main
from selion.errors import BadInput, GridMismatch, OutputExists, UnreadableFile
from selion.grid import photo_grid
from selion.labelling import agree, measure_agreement, read_labels, write_mask
from selion.labelling.compare import write_trimaps
from selion.labelling.trimap import masks_of, pair_masks, total
from selion.labels import LabelMap

GEO = GeoBox((12, 14), Affine(10, 0, 3e5, 0, -10, 5e6), "EPSG:32633")


def labels(seed, shape=(12, 14), classes=FTW3, grid=None, unknown=0.2):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, len(classes), shape).astype(np.uint8)
    ids[rng.random(shape) < unknown] = IGNORE
    return LabelMap(ids, grid or photo_grid(shape), classes)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(0, 9999), st.floats(0, 1))
def test_laws(one, other, unknown):
    a, b = labels(one, unknown=unknown), labels(other)
    both = agree(a, b)
    assert (agree(a, a).ids == a.ids).all()
    assert (both.ids == agree(b, a).ids).all()
    assert (agree(both, a).ids == both.ids).all()
    kept = both.ids != IGNORE
    assert (both.ids[kept] == a.ids[kept]).all()
    assert (both.ids[kept] == b.ids[kept]).all()
    assert (both.ids[(a.ids == IGNORE) | (b.ids == IGNORE) | (a.ids != b.ids)] == IGNORE).all()


def test_agreement_counts_what_both_know():
    one = LabelMap(np.array([[0, 0, 1, 1, 255, 2]], np.uint8), photo_grid((1, 6)), FTW3)
    other = LabelMap(np.array([[0, 1, 1, 255, 2, 2]], np.uint8), photo_grid((1, 6)), FTW3)
    found = measure_agreement(one, other)
    assert (found.pixels, found.confusion.ignored) == (6, 2)
    assert found.share == pytest.approx(3 / 4)
    assert found.by_class() == {"background": 0.5, "field": 0.5, "boundary": 1.0}
    twice = total([found, found], FTW3)
    assert (twice.pixels, twice.share) == (12, found.share)
    assert np.isnan(total([], FTW3).share)


def test_grids_and_classes_must_agree():
    with pytest.raises(GridMismatch, match="different grids"):
        agree(labels(0), labels(0, (12, 13)))
    with pytest.raises(GridMismatch):
        agree(labels(0, grid=GEO), labels(0))
    with pytest.raises(BadInput, match="bring both to one scheme"):
        agree(labels(0), LabelMap(np.zeros((12, 14), np.uint8), photo_grid((12, 14)), CROP))


@pytest.mark.parametrize(("grid", "ending"), [(GEO, ".tif"), (None, ".png")])
def test_masks_come_back_as_they_were(grid, ending, tmp_path):
    made = labels(3, grid=grid)
    found = read_labels(write_mask(made, tmp_path / f"x{ending}"), FTW3)
    assert (found.ids == made.ids).all()
    assert found.grid == made.grid
    with pytest.raises(BadInput, match="holds the value 2"):
        read_labels(tmp_path / f"x{ending}", CROP)


def test_folders_are_paired_by_name(tmp_path):
    for folder, keys in (("a", ("x", "sub/y", "alone")), ("b/masks", ("x", "sub/y"))):
        for key in keys:
            path = tmp_path / folder / f"{key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(labels(len(folder), classes=CROP), path)
    assert set(pair_masks(tmp_path / "a", tmp_path / "b")) == {"x", "sub/y"}
    for one, other, error in (
        ("a", "b/masks/x.png", BadInput),
        ("a", "none", UnreadableFile),
        ("a/sub", "b/masks/../..", BadInput),
    ):
        with pytest.raises(error):
            pair_masks(tmp_path / one, tmp_path / other)


def test_what_is_replaced_leaves_no_mask_of_before(tmp_path):
    """A mask that only the comparison before had was taken for one of this."""
    one, other, out = (tmp_path / name for name in ("a", "b", "out"))
    for folder in (one, other):
        (folder / "sub").mkdir(parents=True)
        for key in ("x", "sub/y"):
            write_mask(labels(1, classes=CROP), folder / f"{key}.png")
    write_trimaps(one, other, out, CROP)
    own = out / "masks" / "own.png"  # somebody else's
    write_mask(labels(2, classes=CROP), own)
    drawn = tmp_path / "drawn" / "masks" / "x.png"  # masks that nobody compared
    drawn.parent.mkdir(parents=True)
    drawn.write_bytes(own.read_bytes())
    with pytest.raises(OutputExists, match=r"x\.png is of another origin and would be lost"):
        write_trimaps(one, other, tmp_path / "drawn", CROP, force=True)
    assert drawn.read_bytes() == own.read_bytes()
    (one / "sub" / "y.png").unlink()
    write_trimaps(one, other, out, CROP, force=True)
    assert set(masks_of(out)) == {"x", "own"}
    # masks that are compared are no results to be replaced, wherever they lie
    write_mask(labels(3, classes=CROP), out / "masks" / "sub" / "y.png")
    write_trimaps(one, out, out, CROP, force=True)
    assert set(masks_of(out)) == {"x", "own", "sub/y"}


def test_a_comparison_that_was_ended_is_done_again(tmp_path):
    """Its own masks, which no table listed yet, were taken for those of somebody else."""
    one, other, out = (tmp_path / name for name in ("a", "b", "out"))
    for folder in (one, other):
        for key in ("x", "y"):
            write_mask(labels(1, classes=CROP), folder / f"{key}.png")
    whole = (other / "y.png").read_bytes()
    (other / "y.png").write_bytes(whole[:40])
    with pytest.raises(UnreadableFile):
        write_trimaps(one, other, out, CROP)
    assert set(masks_of(out)) == {"x"}
    (other / "y.png").write_bytes(whole)
    write_trimaps(one, other, out, CROP, force=True)
    assert set(masks_of(out)) == {"x", "y"}
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("before", "now"), [(".tif", ".png"), (".png", ".tif")])
def test_a_mask_that_has_another_ending_now_is_there_once(before, now, tmp_path):
    """One of a scene with a place lay beside that of a photograph, and was read in its stead."""
    one, other, out = (tmp_path / name for name in ("a", "b", "out"))
    for seed, suffix in ((1, before), (2, now)):
        made = labels(seed, classes=CROP, grid=GEO if suffix == ".tif" else None)
        for folder in (one, other):
            write_mask(made, folder / f"x{suffix}")
        write_trimaps(one, other, out, CROP, force=True)
        for folder in (one, other):
            (folder / f"x{suffix}").unlink()
    assert [path.name for path in (out / "masks").iterdir()] == [f"x{now}"]
    assert (read_labels(masks_of(out)["x"], CROP).ids == made.ids).all()


def test_the_command_line(tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        write_mask(labels(seed, grid=GEO), tmp_path / name / "field.tif")
    write_mask(labels(1), tmp_path / "a" / "more.png")
    arguments = [
        "label",
        "trimap",
        str(tmp_path / "a"),
        str(tmp_path / "b"),
        "-o",
        str(tmp_path / "out"),
        "--classes",
        "fields-3",
    ]
    main(arguments)
    said = capsys.readouterr()
    assert "1 masks of" in said.err
    assert "Agreed:" in said.err
    kept = read_labels(tmp_path / "out" / "masks" / "field.tif", FTW3)
    assert (kept.ids == agree(labels(1, grid=GEO), labels(2, grid=GEO)).ids).all()
    assert kept.grid == GEO
    with (tmp_path / "out" / "agreement.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["agreed"]) == pytest.approx(
        measure_agreement(labels(1), labels(2)).share, abs=1e-6
    )
    for change, words in (
        (arguments, "exists already"),
        ([*arguments[:-1], "crop", "-f"], "holds the value"),
        ([*arguments[:-1], "field-3", "-f"], "did you mean 'fields-3'"),
    ):
        with pytest.raises(SystemExit):
            main(change)
        assert words in capsys.readouterr().err


torch = pytest.importorskip("torch")
from selion.training.criterion import RAW, make_loss  # noqa: E402
from selion.training.losses import LOSSES  # noqa: E402
from selion.training.recipe import Loss  # noqa: E402


def answer(kind, seed, shape):
    """What a network for this loss answers, with every number that belongs to a pixel in tensors of
    (..., y, x).
    """
    make = torch.Generator().manual_seed(seed)
    height, width = shape

    def draw(*sizes):
        return torch.randn(*sizes, generator=make, dtype=torch.float64).requires_grad_()

    if kind == "sets":
        from selion.models.mask2former.network import SetAnswer

        return SetAnswer(draw(1, 6, 4), draw(1, 6, height, width))
    if kind == "decode":
        return {
            "extent": draw(1, 3, height, width),
            "boundary": draw(1, 1, height, width),
            "distance": draw(1, 1, height, width),
        }
    if kind == "referring":  # of two phrases, at the truth's own resolution
        from selion.models.referring.network import ReferringAnswer

        return ReferringAnswer(draw(1, 2, 2, height, width), draw(1, 2, 2, 4, 4), draw(1, 2, 2))
    if kind == "embedded":  # of three classes, in five tokens
        from selion.models.embedded.network import EmbeddedAnswer

        said = torch.randint(0, 7, (1, 5), generator=make)
        return EmbeddedAnswer(draw(1, 3, height, width), draw(1, 5, 7), said)
    return draw(1, 3, height, width)


def pixel_parts(said):
    """Return the tensors of an answer that have pixels."""
    if isinstance(said, dict):
        return list(said.values())
    return [said] if isinstance(said, torch.Tensor) else [said.masks]


@pytest.mark.parametrize("kind", sorted({*LOSSES, *RAW}))
def test_what_a_trimap_erases_leaves_every_loss_unchanged(kind):
    kept = agree(labels(1, (16, 16), unknown=0), labels(1, (16, 16), unknown=0.3))
    gone = torch.from_numpy(kept.ids == IGNORE)
    truth = torch.from_numpy(kept.ids.astype(np.int64))[None]
    options = {"points": 0} if kind == "sets" else {}
    loss = make_loss(Loss(kind, options=options), FTW3)
    said = answer(kind, 0, (16, 16))
    before = loss(said, truth)
    before.backward()
    assert float(before.detach()) != 0
    for part in pixel_parts(said):
        assert part.grad.abs().max() > 0
        assert part.grad[..., gone].abs().max() == 0
    with torch.no_grad():
        for part in pixel_parts(said):
            part[..., gone] = 1e3
    assert float(loss(said, truth).detach()) == float(before.detach())


def zeros_png(path, edge, bands):
    """A black PNG of any size, whose pixels nobody holds: a file a thousandth of what it shows."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    row, rows = bytes(1 + edge * bands), next(n for n in range(100, 0, -1) if edge % n == 0)
    packer = zlib.compressobj(1, wbits=-15)
    many = packer.compress(row * rows) + packer.flush(zlib.Z_FULL_FLUSH)  # may stand any often
    summed = (edge * len(row)) % 65521 << 16 | 1  # Adler's sum of that many zeros
    packed = b"\x78\x01" + many * (edge // rows) + b"\x03\x00" + struct.pack(">I", summed)
    head = struct.pack(">IIBBBBB", edge, edge, 8, 2 if bands == 3 else 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
    return path


STATUS = Path("/proc/self/status")
PEAK = """
import sys
from pathlib import Path
from selion.cli.main import main
code = 0
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
status = Path("/proc/self/status").read_text()  # getrusage counts the parent in
print("peak", int(status.split("VmHWM:")[1].split()[0]) // 1024, file=sys.stderr)
sys.exit(code)
"""


def peak_of(*words, cwd):
    """Run a command in a process of its own; return how it ended and its peak in MB."""
    words = (sys.executable, "-c", PEAK, *map(str, words))
    done = subprocess.run(words, check=False, cwd=cwd, capture_output=True, text=True)
    return done, int(done.stderr.rsplit("peak", 1)[1])


@pytest.mark.skipif(not STATUS.is_file(), reason="the peak of a process stands in /proc of Linux")
@pytest.mark.parametrize("bands", [1, 3])
def test_a_mask_of_more_pixels_than_a_photograph_has_is_refused_by_its_head(bands, tmp_path):
    """A PNG of 1.8 MB ended well, at a peak of 14.2 GB."""
    zeros_png(tmp_path / "a.png", 25_000, bands)
    done, peak = peak_of("label", "trimap", "a.png", "a.png", "-o", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "25,000 x 25,000 pixels, 625 megapixels; a mask has at most 179" in done.stderr
    assert peak < 500, peak
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not STATUS.is_file(), reason="the peak of a process stands in /proc of Linux")
@pytest.mark.long
def test_the_largest_mask_takes_some_bytes_a_pixel(tmp_path):
    zeros_png(tmp_path / "a.png", 13_300, 1)
    done, peak = peak_of("label", "trimap", "a.png", "a.png", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "masks" / "a.png").is_file()
    assert peak < 2000, peak
