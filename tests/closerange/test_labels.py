"""Sheets of labels: printed, photographed from aslant in dim light, and read by our own reader."""

import json
import re

import geopandas
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter
from shapely.geometry import box

from selion.cli.main import cli
from selion.closerange import CodeSheetOptions, write_labels
from selion.closerange.codes import find_codes
from selion.closerange.labels import draw_pages, make_labels
from selion.data.plots import list_plots
from selion.errors import BadInput, UnreadableFile

pytest.importorskip("zxingcpp")
PLOTS = [f"{k:04d}" for k in range(1, 15)]


def pages_of(path):
    """The pages of a PDF as a reader of TIFF shows them: their images are CCITT group 4."""
    found = []
    for head, data in re.findall(
        rb"<<([^<>]*/CCITTFaxDecode.*?)stream\r?\n(.*?)endstream", path.read_bytes(), re.DOTALL
    ):
        width, height = (int(re.search(rb"/%s (\d+)" % k, head)[1]) for k in (b"Width", b"Height"))
        assert b"/K -1" in head
        tags = [(256, 4, width), (257, 4, height), (258, 3, 1), (259, 3, 4), (262, 3, 1)]
        tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
        body = len(tags).to_bytes(2, "little") + b"".join(
            a.to_bytes(2, "little") + b.to_bytes(2, "little") + (1).to_bytes(4, "little")
            + c.to_bytes(4, "little") for a, b, c in tags
        ) + bytes(4)  # fmt: skip
        where = path.with_suffix(f".{len(found)}.tif")
        start = 8 + len(data) + len(data) % 2
        text = b"II*\0" + start.to_bytes(4, "little") + data + bytes(len(data) % 2) + body
        where.write_bytes(text)
        found.append(Image.open(where).convert("L"))
    return found


def photographed(page, width=760, light=0.35, blur=1.2, noise=4.0):
    """A page on brown soil, seen from aslant, turned, in dim light, out of focus, with noise."""
    height = round(width * page.height / page.width)
    paper = page.convert("L").resize((width, height), Image.Resampling.BOX)
    soil = Image.new("L", (width + 400, height + 400), 90)
    soil.paste(paper.point(lambda v: 25 + v * 210 // 255), (200, 200))
    lean = (1.06, 0.10, -120, 0.03, 1.08, -90, 4e-5, 9e-5)
    seen = soil.transform(soil.size, Image.Transform.PERSPECTIVE, lean, Image.BICUBIC, fillcolor=90)
    seen = seen.rotate(11, Image.BICUBIC, fillcolor=90).filter(ImageFilter.GaussianBlur(blur))
    values = np.asarray(seen, np.float64) * light
    grain = np.random.default_rng(3).normal(0, noise, (3, *values.shape))
    return np.clip(values + grain, 0, 255).astype(np.uint8)


def test_a_sheet_is_read_back_from_a_photograph_of_it(tmp_path):
    sheet = write_labels(PLOTS, tmp_path / "l.pdf", CodeSheetOptions("T7-{plot}"))
    pages = pages_of(sheet.path)
    assert (sheet.labels, sheet.pages, len(pages)) == (14, 2, 2)
    assert pages[0].size == (2480, 3508)  # A4 at 300 an inch
    read = [code.text for page in pages for code in find_codes(photographed(page))]
    assert sorted(read) == [f"T7-{plot}" for plot in PLOTS]
    assert sheet.module == pytest.approx(40 / 29, abs=0.09)


def test_codes_are_as_fine_as_said_and_read_at_three_pixels_a_module():
    """A label of 25 mm, photographed at a third of its module a pixel."""
    options = CodeSheetOptions(size=25.0, paper="letter")
    labels = make_labels(PLOTS, options)
    (page,) = draw_pages(labels, options)
    module = 25 / len(labels[0].modules)
    width = round(215.9 / (module / 3))
    read = {code.text for code in find_codes(photographed(page, width, 0.6, 0.6))}
    assert read == set(PLOTS)


def test_equal_plots_give_equal_bytes_and_text_stands_beside_the_code(tmp_path):
    one = write_labels(["7", "Süd 8"], tmp_path / "a.pdf").path.read_bytes()
    assert write_labels(["7", "Süd 8"], tmp_path / "b.pdf").path.read_bytes() == one
    options = CodeSheetOptions()
    named, bare = (np.asarray(next(draw_pages(make_labels([n], options), options))) for n in "7.")
    beside = (slice(130, 560), slice(600, 1100))  # right of the code: a 7 is taller than a dot
    assert (~named[beside]).sum() > 4 * (~bare[beside]).sum() > 0
    (code,) = find_codes(np.stack(3 * [pages_of(tmp_path / "a.pdf")[0]])[:, :, 1200:])
    assert code.text == "Süd 8"


def test_plots_come_from_polygons_and_tables_in_their_order(tmp_path):
    frame = geopandas.GeoDataFrame(
        {"plot_id": ["9", "10", "2"]}, geometry=3 * [box(0, 0, 1, 1)], crs=4326
    )
    frame.to_file(tmp_path / "p.gpkg")
    assert list_plots(tmp_path / "p.gpkg") == ["9", "10", "2"]
    (tmp_path / "p.csv").write_text("Plot;kind\n0012;a\n 0003 ;b\n", "utf-8")
    assert list_plots(tmp_path / "p.csv") == ["0012", "0003"]
    assert list_plots(tmp_path / "p.csv", "kind") == ["a", "b"]
    for text, why in [
        ("Plot\n1\n1\n", "Two plots"), ("a,b\n1,2\n", "no column of names"), ("plot\n", "no plots"),
        ("plot,b\n1,2\n,3\n", "Row 3"), ("", "no plots"),
    ]:  # fmt: skip
        (tmp_path / "p.csv").write_text(text, "utf-8")
        with pytest.raises(BadInput, match=why):
            list_plots(tmp_path / "p.csv")
    with pytest.raises(UnreadableFile):
        list_plots(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("plots", "options", "why"),
    [
        (["a"], {"codes": "T*{plot}"}, "leaves open"),
        (["a"], {"codes": "{plot}_{date}"}, "leaves open"),
        (["a"], {"codes": "T7"}, "no part says"),
        (["a/b"], {}, "would not be read as plot"),
        (["a", "b\nc"], {}, "would not be read as plot"),
        (["a", "b", "a"], {}, "Two plots"),
        (["x" * 130], {}, "130 characters"),
        ([], {}, "no plots"),
        (["a"], {"size": 5.0}, "5 mm"),
        (["a"], {"paper": "a9"}, "'a9'"),
    ],
)
def test_what_could_not_be_read_back_is_not_printed(tmp_path, plots, options, why):
    with pytest.raises(BadInput, match=why):
        write_labels(plots, tmp_path / "l.pdf", CodeSheetOptions(**options))
    assert not list(tmp_path.iterdir())


def test_the_command_says_how_coarse_a_photograph_may_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("plot\n1\n2\n", "utf-8")
    words = ["crops", "codes", "p.csv", "-o", "l.pdf", "--json"]
    told = json.loads(CliRunner().invoke(cli, words).stdout.splitlines()[-1])
    assert told["labels"] == 2
    assert told["read_up_to_mm_per_pixel"] == pytest.approx(told["module_mm"] / 3, abs=0.01)
    again = CliRunner().invoke(cli, [*words[:4], "l.png"])
    assert isinstance(again.exception, BadInput)
