"""Codes on labels: matrices that another library made (segno), drawn into photographs."""

import csv
import json

import geopandas
import numpy as np
import pytest
from PIL import Image, ImageFilter
from shapely.geometry import box

from selion.closerange import TrialOptions, read_trial, write_trial
from selion.closerange.codes import Code, CodedPhoto, find_codes, named_plot, read_codes
from selion.closerange.naming import read_pattern
from selion.closerange.trial_tables import _where_rows
from selion.errors import BadInput
from selion.reports.trial import to_html
from selion.simulation.landscape import simulate_photo

MATRICES = {
    "T7-0031": "1fca7f 105441 17425d 174e5d 17495d 105141 1fd57f 001800 01e662 13394b 00520c "
    "1c1de1 0562f3 001981 1fd23f 1054bb 175987 174247 1743f8 104955 1fcb87",
    "ASSET-9": "1fde7f 104741 175a5d 17415d 17505d 104e41 1fd57f 001600 00cd55 0ab310 0ad29f "
    "0a809a 1af140 001cce 1fc2ad 10549e 17496c 174b44 174d7f 104521 1fce74",
}
"""QR codes of version 1, a row of 21 modules in each number: segno.make(text, error="m")."""


def label(text, module):
    """A printed code with its quiet zone, as an image."""
    rows = [[int(bit) for bit in f"{int(row, 16):021b}"] for row in MATRICES[text].split()]
    dark = np.pad(np.array(rows), 4).repeat(module, 0).repeat(module, 1)
    return Image.fromarray((235 - 205 * dark).astype(np.uint8)).convert("RGBA")


def photograph(placed, shape=(900, 1200), module=7, tilt=0.4, blur=1.5, noise=4.0, light=0.8):
    """Simulated plants, labels that are tilted and turned among them, then blur, light, noise."""
    part = simulate_photo(3, (300, 400)).image.values.transpose(1, 2, 0)
    tiles = [-(-a // b) for a, b in zip(shape, part.shape[:2], strict=True)]
    picture = Image.fromarray(np.tile(part, (*tiles, 1))[: shape[0], : shape[1]])
    for text, (x, y), turn in placed:
        flat = label(text, module)
        edge = 2 * flat.width
        sheet = Image.new("RGBA", (edge, edge))
        sheet.paste(flat, (edge // 4, edge // 4))
        lean = (1, tilt * 0.3, -tilt * 20, tilt * 0.1, 1, 0, tilt * 6e-4, tilt * 3e-4)
        seen = sheet.transform(sheet.size, Image.Transform.PERSPECTIVE, lean, Image.BICUBIC)
        seen = seen.rotate(turn, Image.BICUBIC)
        picture.paste(seen, (x - edge // 2, y - edge // 2), seen)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(blur)), np.float64)
    random = np.random.default_rng(5).normal(0, noise, soft.shape)
    return np.clip(light * soft + random, 0, 255).astype(np.uint8)


BOTH = [("T7-0031", (330, 300), 17), ("ASSET-9", (850, 580), -140)]


def check_both(picture, reach):
    pytest.importorskip("zxingcpp")
    found = {code.text: code for code in find_codes(picture.transpose(2, 0, 1))}
    assert found.keys() == MATRICES.keys()
    for text, (x, y), _ in BOTH:
        scale = picture.shape[1] / 1200
        assert abs(found[text].x - scale * x) < reach
        assert abs(found[text].y - scale * y) < reach
        assert found[text].kind == "QR Code"


def test_several_codes_that_are_tilted_turned_blurred_and_dark_are_read():
    check_both(photograph(BOTH), 40)


@pytest.mark.slow
def test_codes_are_read_in_a_photograph_of_20_megapixels():
    placed = [(text, (4 * x, 4 * y), turn) for text, (x, y), turn in BOTH]
    check_both(photograph(placed, (3648, 4800), module=16, blur=4.0), 160)


def test_plants_are_no_codes():
    pytest.importorskip("zxingcpp")
    assert find_codes(photograph([], blur=0.0, noise=12.0).transpose(2, 0, 1)) == ()


@pytest.mark.parametrize(
    ("pattern", "known", "text", "plot"),
    [
        ("{plot}", (), "T7-0031", "T7-0031"),
        ("T7-{plot}", (), " T7-0031\n", "0031"),
        ("T7-{plot}", (), "ASSET-9", ""),
        ("https://trial.org/7/{plot}", (), "https://trial.org/7/0031", "0031"),
        ("T7-{plot}", {"0031"}, "T7-0031", "0031"),
        ("T7-{plot}", {"0032"}, "T7-0031", ""),
    ],
)
def test_what_a_code_says_is_a_plot_or_is_none(pattern, known, text, plot):
    assert named_plot(read_pattern(pattern), known, text) == plot


def test_why_a_photograph_has_no_plot():
    one, two, other = (Code(text, "QR Code", 1, 1) for text in ("1", "2", "x"))
    assert CodedPhoto((one, other), ("1", "")).plot == "1"
    assert CodedPhoto((one, one), ("1", "1")).plot == "1"
    assert CodedPhoto((one, two), ("1", "2")).plot == ""
    assert "several plots (1, 2)" in CodedPhoto((one, two), ("1", "2")).why
    assert "no plot ('x')" in CodedPhoto((other,), ("",)).why
    assert CodedPhoto().why == "no code could be read"


def run_of(folder, photos):
    """A run of photographs that lie in a folder, all of one day."""
    source, run = folder / "photos", folder / "run"
    source.mkdir()
    run.mkdir()
    for name, picture in photos.items():
        if isinstance(picture, bytes):
            (source / name).write_bytes(picture)
        else:
            Image.fromarray(picture).save(source / name, quality=90)
    (run / "run.json").write_text(json.dumps({"photographs from": str(source)}), "utf-8")
    rows = [f"{name},2024-05-03,yes,0.4\n" for name in photos]
    (run / "crops.csv").write_text("file,time,trust,cover\n" + "".join(rows), "utf-8")
    return run


def test_photographs_find_their_plots_by_codes_and_the_page_says_which(tmp_path):
    pytest.importorskip("zxingcpp")
    shape = (480, 640)
    here = ("T7-0031", (200, 200), 17)
    there = ("ASSET-9", (480, 330), -70)
    photos = {
        "plot.jpg": photograph([here], shape, module=5, blur=1),
        "both.jpg": photograph([here, there], shape, module=5, blur=1),
        "asset.jpg": photograph([there], shape, module=5, blur=1),
        "none.jpg": photograph([], shape),
        "torn.jpg": b"\xff\xd8\xff torn",
    }
    run = run_of(tmp_path, photos)
    notes = []
    trial = read_trial(run, TrialOptions(codes="T7-{plot}"), on_note=notes.append)
    placed = {photo.row["file"]: (photo.plot, photo.source) for photo in trial.photos}
    assert placed.pop("plot.jpg") == placed.pop("both.jpg") == ("0031", "code")
    assert set(placed.values()) == {("", "")}
    why = {photo.row["file"]: photo.why for photo in trial.photos}
    assert "'ASSET-9'" in why["asset.jpg"]
    assert why["none.jpg"] == "no code could be read"
    assert "torn.jpg cannot be read" in why["torn.jpg"]
    assert notes[0].startswith("3 of 5 photographs")
    (tmp_path / "out").mkdir()
    write_trial(trial, tmp_path / "out")
    with (tmp_path / "out" / "codes.csv").open(encoding="utf-8") as file:
        rows = [(row["file"], row["code"], row["plot"]) for row in csv.DictReader(file)]
    assert ("both.jpg", "ASSET-9", "") in rows
    assert ("both.jpg", "T7-0031", "0031") in rows
    assert ("none.jpg", "", "") in rows
    html = to_html(trial, tmp_path / "out")
    assert "2 of 5 photographs show the code of a plot" in html
    assert html.index("none.jpg") < html.index("plot.jpg")  # what is to be looked at comes first
    frame = geopandas.GeoDataFrame({"plot": ["0032"]}, geometry=[box(0, 0, 1, 1)], crs=4326)
    frame.to_file(tmp_path / "plots.gpkg")
    known = TrialOptions(codes="T7-{plot}", plots=tmp_path / "plots.gpkg")
    with pytest.raises(BadInput, match="None of 5"):
        read_trial(run, known)


def test_what_reads_codes_is_asked_and_told(tmp_path):
    """Without the library that reads codes: another reader, by hand."""
    run = run_of(tmp_path, {"a.jpg": photograph([], (40, 40)), "b.jpg": b"torn"})
    said = []
    found = read_codes(
        tmp_path / "photos", ["a.jpg", "b.jpg"], str.upper, lambda *step: said.append(step),
        lambda _: [Code("x", "QR Code", 3, 4)],
    )  # fmt: skip
    assert found["a.jpg"].plot == "X"
    assert "b.jpg" in found["b.jpg"].why
    assert said[-1] == ("codes", 2, 2, "b.jpg")
    (run / "run.json").unlink()
    with pytest.raises(BadInput, match="leave --codes out"):
        read_trial(run, TrialOptions(codes="{plot}"))


def test_a_label_and_a_name_that_tell_two_plots_are_said(tmp_path, monkeypatch):
    """The code counts, as documented; dates of labels are refused, not read and left out."""
    said = {"T7_0031.png": "0031", "T7_0032.png": "0007", "T7_0033.png": ""}

    def told(_source, files, plot_of, _on_step):
        codes = {name: (Code(said[name], "QR Code", 1, 1),) if said[name] else () for name in files}
        return {
            name: CodedPhoto(codes[name], tuple(plot_of(one.text) for one in codes[name]))
            for name in files
        }

    monkeypatch.setattr("selion.closerange.trial.read_codes", told)
    run = run_of(tmp_path, dict.fromkeys(said, b"unread"))
    notes = []
    options = TrialOptions(codes="{plot}", pattern="T7_{plot}")
    trial = read_trial(run, options, on_note=notes.append)
    placed = {photo.row["file"]: (photo.plot, photo.source) for photo in trial.photos}
    assert placed["T7_0032.png"] == ("0007", "code")
    assert placed["T7_0033.png"] == ("0033", "name")
    assert notes[0].startswith(
        "1 of 3 photographs are told two plots (the first, T7_0032.png: code says 0007, name says "
        "0032)"
    )
    rows = {row["file"]: row["why"] for row in _where_rows(trial)}
    assert rows == {"T7_0031.png": "", "T7_0032.png": "name says 0032", "T7_0033.png": ""}
    with pytest.raises(BadInput, match=r"asks codes for a date, .* put \* in its place"):
        read_trial(run, TrialOptions(codes="T7-{plot}-{date}"))
