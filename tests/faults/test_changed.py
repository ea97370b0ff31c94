"""An image that is replaced, cut or removed while it is mapped makes no map."""

import os
import shutil

import pytest
from click.testing import CliRunner

from option_inputs import INPUTS, Quick
from option_walk import Inputs
from selion import store
from selion.cli.main import cli
from selion.errors import BadInput, SelionError
from selion.grid import whole

WORDS = {
    "map": "map a.tif -o out.parquet --scores out.scores.tif --block 64 --no-preview",
    "predict": "predict a.tif -o out.tif --block 64",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image, with another one beside it."""
    path = Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)["image"]
    source = store.open_raster(path)
    values = source.read(whole(source.grid)).values
    other = path.with_name("other.tif")
    with store.create_cog(other, source.grid, source.bands, values.dtype, block=128) as sink:
        sink.write(whole(source.grid), values + 300)
    return path


CHANGES = {
    "replaced": lambda path: shutil.copy(path.with_name(".other"), path),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 3),
    "removed": lambda path: path.unlink(),
}


class Changing(Quick):
    """A model that something happens to its image under, once."""

    def __call__(self, views):
        if CHANGING:
            path, how = CHANGING.pop()
            CHANGES[how](path)
        return super().__call__(views)


CHANGING = []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("verb", WORDS)
def test_nothing_is_made_of_an_image_that_changes(verb, how, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selion.pipeline.maps.load_refined", lambda *_a, **_k: Changing())
    path = tmp_path / "a.tif"
    shutil.copy(image, path)
    shutil.copy(image.with_name("other.tif"), tmp_path / ".other")
    CHANGING.append((path, how))
    done = CliRunner().invoke(cli, WORDS[verb].split())
    assert CHANGING == []
    assert isinstance(done.exception, BadInput if how == "replaced" else SelionError), done.output
    if how == "replaced":
        assert "a.tif was changed while it was being read" in str(done.exception)
    path.with_name(".other").unlink()
    left = [one.name for one in tmp_path.iterdir() if one != path]
    assert [name for name in left if not name.startswith(".")] == []
    if how == "replaced":
        assert left == [], "blocks of two images are kept"
        assert CliRunner().invoke(cli, WORDS[verb].split()).exit_code == 0
        truth = {one.name: one.read_bytes() for one in tmp_path.iterdir() if one != path}
        for name in truth:
            (tmp_path / name).unlink()
        CliRunner().invoke(cli, WORDS[verb].split())
        assert truth == {one.name: one.read_bytes() for one in tmp_path.iterdir() if one != path}
