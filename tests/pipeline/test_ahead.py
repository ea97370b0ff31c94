"""Objects that are begun beside the network are those that are found when all scores are there."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import selion
from selion import fields, prediction, store
from selion.cli.main import cli
from selion.errors import OutputFailed
from selion.fields import instancemap
from selion.grid import whole
from selion.pipeline import ahead, maps
from selion.segmenter import on_gpu
from selion.simulation.landscape import simulate

EDGE, BLOCK = 192, 128


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    scene = simulate(6, (EDGE, EDGE), 10.0, "europe")
    path = tmp_path_factory.mktemp("ahead") / "image.tif"
    with store.create_cog(path, scene.image.grid, scene.image.bands, np.uint16) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    return path


@pytest.fixture
def cuts(monkeypatch):
    """Small blocks of objects, and how often each was cut, ahead and altogether."""
    monkeypatch.setattr(maps, "OBJECT_BLOCK", 64)
    monkeypatch.setattr(ahead, "usable_cores", lambda: 3)
    seen = {"ahead": Counter(), "all": Counter()}
    before = instancemap.BlockCutter.ahead
    cut = instancemap.BlockCutter._cut

    def cut_ahead(self, roi):
        seen["ahead"][roi[0].start, roi[1].start] += 1
        before(self, roi)

    def every(self, roi):
        seen["all"][roi[0].start, roi[1].start] += 1
        return cut(self, roi)

    monkeypatch.setattr(instancemap.BlockCutter, "ahead", cut_ahead)
    monkeypatch.setattr(instancemap.BlockCutter, "_cut", every)
    return seen


def mapped(image, out, **chosen):
    options = maps.MapOptions(predict=prediction.PredictOptions(block=BLOCK), **chosen)
    selion.map_fields(image, out, "fields-s2-2season", options)
    return hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize("method", ["cut", "watershed", "components"])
def test_same_bytes_with_and_without(image, tmp_path, cuts, method):
    """A network that fills all cores leaves none to overlap: objects are found when all is scored.

    A network on a GPU leaves them all.
    """
    after = mapped(image, tmp_path / "one" / "f.parquet", method=method, threads=3)
    assert not cuts["ahead"]
    assert len(cuts["all"]) == 36
    beside = mapped(image, tmp_path / "two" / "f.parquet", method=method, threads=2)
    assert cuts["ahead"], "nothing was cut beside the network"
    assert after == beside
    # each block was cut once by each run
    assert set(cuts["all"].values()) == {2}
    before = cuts["ahead"].total()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "on_gpu", lambda engine: "OpenVINO" in engine)
        assert mapped(image, tmp_path / "gpu" / "f.parquet", method=method, threads=3) == after
    assert cuts["ahead"].total() > before


@pytest.mark.parametrize(
    ("engine", "gpu"),
    [
        ("OpenVINO 2026.4.1 on AMD EPYC, 2 threads, float32", False),
        ("torch 2.9 on cuda:0, bfloat16", True),
        ("torch 2.9 on mps", True),
        ("torch 2.9 on cpu; CUDA is not there", False),
    ],
)
def test_engines_that_leave_the_processor_alone(engine, gpu):
    assert on_gpu(engine) is gpu


def test_only_blocks_whose_surroundings_are_scored_are_cut(image, tmp_path, cuts, monkeypatch):
    """Whatever is cut ahead reads finished blocks only: a block that is not there is an error."""
    read = prediction.JournalSource.stored
    asked = []

    def stored(self, roi):
        for number in self.plan.blocks_of(roi):
            block = self.plan.blocks[number]
            assert self.journal.has(block, prediction.shape_of(self.plan, block))
        asked.append(roi)
        return read(self, roi)

    monkeypatch.setattr(prediction.JournalSource, "stored", stored)
    mapped(image, tmp_path / "f.parquet", threads=2)
    assert asked
    assert cuts["ahead"]


def test_what_was_scored_by_an_interrupted_run_is_known(image, tmp_path, cuts, monkeypatch):
    """A run that ends in its second half, and the same command again: the bytes of one run."""
    whole_run = mapped(image, tmp_path / "whole" / "f.parquet", threads=2)
    out = tmp_path / "again" / "f.parquet"
    save, done = prediction.BlockJournal.save, []

    def stops(self, roi, values):
        if len(done) == 6:
            raise KeyboardInterrupt
        done.append(roi)
        save(self, roi, values)

    with monkeypatch.context() as patch:
        patch.setattr(prediction.BlockJournal, "save", stops)
        with pytest.raises(KeyboardInterrupt):
            mapped(image, out, threads=2)
    cuts["ahead"].clear()
    assert mapped(image, out, threads=2) == whole_run
    # what lies among scores of before cannot wait for scores that come no more
    assert (done[0][0].start, done[0][1].start) == (0, 0)
    assert (0, 0) in cuts["ahead"]


def test_an_error_ahead_is_told_when_objects_are_found(image, tmp_path, cuts, monkeypatch):
    """What fails beside the network is done again, and succeeds or tells it then."""
    failed = []

    def fails(self, roi):
        failed.append(roi)
        raise OSError("beside the network")

    usual = mapped(image, tmp_path / "usual" / "f.parquet", threads=3)
    monkeypatch.setattr(instancemap.BlockCutter, "ahead", fails)
    assert mapped(image, tmp_path / "f.parquet", threads=2) == usual
    assert failed


def test_methods_that_are_not_cut_block_by_block_begin_nothing(image, tmp_path, cuts):
    mapped(image, tmp_path / "f.parquet", method="vote", threads=2)
    assert not cuts["all"]
    model = selion.load_model("fields-s2-2season")
    source = store.open_raster(image)
    assert fields.begin_instances(source, model, tmp_path / "w", "vote") is None


def test_profile_says_what_nothing_hides(image, tmp_path):
    out = tmp_path / "f.parquet"
    words = ["map", str(image), "-o", str(out), "--profile", "--model", "fields-s2-2season"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "f.parquet.profile.json").read_text())
    assert 0 < told["after_scores"] < told["seconds"]
    assert "when all scores were there" in done.output


def test_scores_that_are_written_beside_the_objects_are_the_same_and_tell_what_fails(
    image, tmp_path, monkeypatch
):
    """Two threads write them while objects are found; a full disk is told, and no table is left."""
    sums = []
    for name, threads in (("one", 1), ("two", 2)):
        out, scores = tmp_path / name / "f.parquet", tmp_path / name / "s.tif"
        mapped(image, out, threads=threads, scores=scores)
        sums.append(hashlib.sha256(scores.read_bytes()).hexdigest())
    assert sums[0] == sums[1]

    def full(*_, **__):
        raise OutputFailed("s.tif was not written (disk full): free some disk space.")

    monkeypatch.setattr(ahead, "write_scores", full)
    out = tmp_path / "full" / "f.parquet"
    with pytest.raises(OutputFailed, match="disk full"):
        mapped(image, out, threads=2, scores=tmp_path / "full" / "s.tif")
    assert not out.exists()
