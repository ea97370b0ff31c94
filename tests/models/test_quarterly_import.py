"""Networks of quarterly mosaics come as ONNX: what is taken, and what is refused."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from quarterly_toys import BANDS, write_network
from selion import models
from selion.cli.main import cli
from selion.errors import BadInput, OutputExists, UnreadableFile, UnsafeFile
from selion.grid import photo_grid, whole
from selion.models.card import sha256_of
from selion.models.onnx_file import read_onnx
from selion.segmenter import View


def imported(path, out, **options):
    return models.import_checkpoint(path, out, models.find_card("ftw-2e"), **options)


def test_without_a_folder_it_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    onnx = write_network(tmp_path / "unet_balanced.onnx")
    told = CliRunner().invoke(cli, ["models", "import", str(onnx), "--like", "ftw-2e"])
    assert told.exit_code == 0, told.output
    card = models.find_card("ftw-2e")
    assert str(card.folder) == told.stdout.strip()
    assert (
        "Weights are those of unet_balanced.onnx, of which nobody checked where they come from; "
        "name, bands, scaling, licence and training data are those of ftw-2e" in told.stderr
    )
    assert card.inputs.bands == BANDS
    assert card.inputs.gsd == (2.5, 2.5)
    assert card.sha256 == card.files["model.onnx"] == sha256_of(onnx)
    assert models.load_model("ftw-2e").card.name == "ftw-2e"
    again = CliRunner().invoke(cli, ["models", "import", str(onnx), "--like", "ftw-2e"])
    assert isinstance(again.exception, OutputExists)
    again = CliRunner().invoke(cli, ["models", "import", str(onnx), "--like", "ftw-2e", "-f"])
    assert again.exit_code == 0, again.output
    rows = CliRunner().invoke(cli, ["models", "list"]).output.splitlines()
    assert "fetched" in next(row for row in rows if row.startswith("ftw-2e "))


def test_before_that_it_says_how_it_comes_here(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UnreadableFile, match=r"selion models import FILE\.onnx --like ftw-2e"):
        models.load_model("ftw-2e")
    with pytest.raises(BadInput, match=r"no address to fetch from.*--like ftw-2e"):
        models.fetch_model("ftw-2e")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": 8}, r"input 'input' of \(any, 8, 512, 512\) float32.*16 bands"),
        ({"classes": 2}, r"output 'logits' of \(any, 2, 512, 512\) float32.*3 classes"),
        ({"window": 256}, r"\(any, 16, 256, 256\)"),
        ({"views": 8}, r"\(8, 16, 512, 512\).*open number of views"),
        ({"softmax": True}, "probabilities.*wanted are logits"),
    ],
)
def test_other_networks_are_refused(tmp_path, changes, words):
    onnx = write_network(tmp_path / "other.onnx", **changes)
    with pytest.raises(BadInput, match=words):
        imported(onnx, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("changes", [{"views": 1}, {"window": "size"}])
def test_one_view_or_open_sizes_are_taken(tmp_path, changes):
    assert imported(write_network(tmp_path / "n.onnx", **changes), tmp_path / "model").folder


def test_windows_of_another_size_than_the_graphs_are_refused(tmp_path):
    card = imported(write_network(tmp_path / "n.onnx"), tmp_path / "fixed")
    assert card.inputs.multiple == 512
    open_ = imported(write_network(tmp_path / "o.onnx", window="size"), tmp_path / "open")
    assert open_.inputs.multiple == 32
    pixels = np.zeros((16, 1024, 1024), np.float32)
    view = View(pixels, whole(photo_grid((1024, 1024))))
    model = models.load_model(tmp_path / "fixed", "onnxruntime")
    with pytest.raises(BadInput, match="does not take windows of 1024 x 1024 pixels"):
        model([view])
    assert models.load_model(tmp_path / "open", "onnxruntime")([view]).shape == (1, 3, 1024, 1024)


def test_external_data_is_refused(tmp_path):
    onnx = write_network(
        tmp_path / "parts.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    with pytest.raises(UnsafeFile, match="weights in other files"):
        imported(onnx, tmp_path / "model")


def test_what_is_no_onnx_is_refused(tmp_path):
    onnx = write_network(tmp_path / "whole.onnx")
    for name, content in (
        ("cut.onnx", onnx.read_bytes()[:-300]),
        ("empty.onnx", b""),
        ("text.onnx", b"<html>not found</html>" * 20),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableFile, match="not a whole ONNX file"):
            imported(tmp_path / name, tmp_path / "model")
    shutil.copy(onnx, tmp_path / "model.ckpt")
    with pytest.raises(UnsafeFile, match="no ONNX file by its name"):
        imported(tmp_path / "model.ckpt", tmp_path / "model")
    with pytest.raises(UnreadableFile, match="cannot be read"):
        imported(tmp_path / "missing.onnx", tmp_path / "model")
    with pytest.raises(BadInput, match="--half"):
        imported(onnx, tmp_path / "model", half=True)
    imported(onnx, tmp_path / "model")
    with pytest.raises(OutputExists):
        imported(onnx, tmp_path / "model")


def test_the_reader_sees_what_onnx_sees(tmp_path):
    facts = read_onnx(write_network(tmp_path / "n.onnx"))
    assert [(p.name, p.kind, p.shape) for p in facts.inputs] == [("input", 1, (None, 16, 512, 512))]
    assert [(p.name, p.kind, p.shape) for p in facts.outputs] == [
        ("logits", 1, (None, 3, 512, 512))
    ]
    assert facts.last == ("Conv",)
