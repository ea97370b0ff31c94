"""A file that is replaced, cut or removed while a command reads it makes no result of two files."""

import os
import shutil
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from command_line import run_here
from option_inputs import INPUTS, Quick
from option_modes import MODES
from option_walk import Inputs, Walk
from selion import store
from selion.cli.main import cli
from selion.closerange import work
from selion.errors import BadInput, SelionError
from selion.grid import whole
from selion.store.inputs import WatchedInputs

WORDS = {
    "map": "map a.tif -o out.parquet --scores out.scores.tif --block 64 --no-preview",
    "predict": "predict a.tif -o out.tif --block 64",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)


@pytest.fixture(scope="module")
def image(inputs):
    """An image, with another one beside it."""
    path = inputs["image"]
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


READERS = {
    "fields scores -o out.parquet": "scores",
    "query 12,50,12.011,50.001 maps -o out.parquet": "maps",
    "stats maps --districts units -o out.csv": "units",
    "tiles maps -o out.pmtiles --max-zoom 10": "maps",
    "merge table -o out": "table",
    "change year year -o out": "year/fields.parquet",
    "evaluate --pred year/fields.parquet --truth year/fields.parquet -o out": "year/fields.parquet",
    "label trimap photos/masks photos/other -o out": "photos/other",
    "label depth photos/photos -o out --depth photos/depths": "photos/photos",
    "crops photos/photos -o out -m colour --workers 1": "photos/photos",
    "crops trial measured -o out --plots measured/places.gpkg": "measured/places.gpkg",
    "crops plots ortho places -o out -m colour --min-pixels 1": "places",
    "data make image -p polygons -o out --size 32 --block-km 0.3": "polygons",
}
"""Commands, and what they read."""
AREA_FILE = (
    '{"type": "Polygon", "coordinates": [[[12, 50], [12.01, 50], [12.01, 50.01], [12, 50]]]}'
)
QUICK = ("fields", "query", "stats", "label trimap", "crops photos")
"""Verbs that every run of the tests looks at."""
NAMES = {"image": "a.tif", "scores": "s.tif", "table": "t.parquet"} | {
    "units": "u.gpkg", "polygons": "p.gpkg", "maps": "maps", "year": "y",
    "photos": "photos", "measured": "measured",
    "ortho": "ortho.tif", "places": "plots.gpkg",
}  # fmt: skip


def laid(words, inputs, here):
    """Copy what a command names into a folder; return its words, as they name it there."""
    given = []
    for word in words.split():
        name, slash, rest = word.partition("/")
        if name in NAMES:
            there, source = here / NAMES[name], inputs["plots" if name == "places" else name]
            if not there.exists():
                (shutil.copytree if source.is_dir() else shutil.copy)(source, there)
        given.append(f"{NAMES.get(name, name)}{slash}{rest}")
    return given


def file_of(place):
    """The largest file of an input, which a command surely reads."""
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]
    return max(files, key=lambda one: (one.stat().st_size, one.name))


@pytest.fixture
def during(monkeypatch):
    """Let something happen once, after a command has begun and before it has a result."""

    def plan(happens):
        real, waiting = WatchedInputs.check, [happens]

        def check(watched):
            while waiting:
                waiting.pop()()
            real(watched)

        monkeypatch.setattr(WatchedInputs, "check", check)

    return plan


def seen(here, left_out):
    return {
        one.relative_to(here).as_posix(): one.read_bytes()
        for one in here.rglob("*")
        if one.is_file() and not one.name.startswith(".") and one != left_out
    }


def again(path):
    """Give a file a later time of change, with the bytes it has."""
    os.utime(path, (time.time(), time.time() + 5))


WAYS = {"changed": again, "cut": lambda path: os.truncate(path, 3), "removed": os.unlink}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(k, marks=() if words.startswith(QUICK) else pytest.mark.slow)
        for k, words in enumerate(READERS)
    ],
)
def test_no_verb_makes_a_result_of_two_files(number, inputs, tmp_path, monkeypatch, during):
    monkeypatch.chdir(tmp_path)
    words, reads = list(READERS.items())[number]
    given = laid(words, inputs, tmp_path)
    first, slash, rest = reads.partition("/")
    path = file_of(tmp_path / f"{NAMES[first]}{slash}{rest}")
    how = list(WAYS)[number % len(WAYS)]
    before = seen(tmp_path, path)
    content = path.read_bytes()
    during(lambda: WAYS[how](path))
    done = run_here(*given)
    said = "removed" if how == "removed" else "changed"
    assert done.returncode == 2, done
    assert done.stderr.strip().splitlines()[-1] == (
        f"Error: {path.relative_to(tmp_path)} was {said} while it was being read, so nothing was "
        "made of it: give the same command again when it stays as it is."
    )
    parts = ("out/masks/", "out/run.json")  # each photograph's own, known by what it is made from
    left = {name for name in seen(tmp_path, path) if not name.startswith(parts)}
    assert left - before.keys() == set()
    path.write_bytes(content)
    done = run_here(*given)
    assert done.returncode == 0, done.stderr


WALKED = {
    "composite": ("composite area.geojson 2024 -o out.tif", 0,
                  "selion.pipeline.composites.write_composite"),
    "train": ("train --from-review {reviewed} -o out", 2, "selion.reports.training_run.run"),
}  # fmt: skip
"""Verbs whose work is long: words, the mode that they are of, and who does the work."""


@pytest.mark.parametrize("verb", ["composite", pytest.param("train", marks=pytest.mark.slow)])
def test_what_long_work_reads_is_looked_at_too(verb, inputs, tmp_path, monkeypatch):
    words, number, worker = WALKED[verb]
    mode = MODES[verb][number]
    walk = Walk(tmp_path, inputs, monkeypatch)
    here = tmp_path / "here"
    here.mkdir()
    read = here / "area.geojson"
    read.write_text(AREA_FILE)
    if verb == "train":
        shutil.copytree(inputs["reviewed"].parent, here / "year")
        read = here / "year" / inputs["reviewed"].name
        words = words.replace("{reviewed}", f"year/{read.name}")
        read = file_of(read)
    answers = dict(mode.answers)
    usual = answers[worker]

    def work(*args, **kwargs):
        again(read)
        return usual(*args, **kwargs) if callable(usual) else usual

    done = walk.run(replace(mode, answers=answers | {worker: work}), words, where=here)
    assert (done.code, "was changed while it was being read" in done.printed[1]) == (2, True), done
    assert walk.run(mode, f"{words} --force", where=here).code == 0


def test_an_answer_that_is_only_printed_is_taken_back_in_a_sentence(inputs, tmp_path, during):
    given = laid("stats maps --districts units", inputs, tmp_path)
    during(lambda: again(tmp_path / "u.gpkg"))
    done = run_here(*given, cwd=tmp_path)
    assert (done.returncode, "u.gpkg was changed" in done.stderr) == (2, True)


def test_a_measured_photograph_that_is_replaced_is_measured_again(inputs, tmp_path, monkeypatch):
    """What was found in the one is not written down for the other."""
    given = laid("crops photos/photos -o out -m colour --workers 1", inputs, tmp_path)
    one, other = (tmp_path / "photos" / "photos" / f"{k}.png" for k in (0, 1))
    real = work.measure_photo

    def measured(photo, *args, **kwargs):
        found = real(photo, *args, **kwargs)
        if photo.file == "0.png":
            shutil.copy(other, one)
        return found

    monkeypatch.setattr(work, "measure_photo", measured)
    done = run_here(*given, cwd=tmp_path)
    assert "0.png was changed while" in done.stderr
    monkeypatch.setattr(work, "measure_photo", real)
    assert run_here(*given, cwd=tmp_path).returncode == 0
    lines = (tmp_path / "out" / "crops.csv").read_text().splitlines()
    assert lines[1].split(",")[1:8] == lines[2].split(",")[1:8], "0.png is 1.png now"


def test_what_is_no_change_alarms_nobody(inputs, tmp_path, during):
    """Reading, a new photograph, a log that grows, and a file beside."""
    given = laid("crops photos/photos -o photos/photos/out -m colour --workers 1", inputs, tmp_path)
    photos = tmp_path / "photos" / "photos"
    (photos / "run.log").write_text("1")

    def happens():
        state = (photos / "0.png").stat()
        os.utime(photos / "0.png", ns=(0, state.st_mtime_ns))
        shutil.copy(photos / "0.png", photos / "2.png")
        (photos / "run.log").write_text("12345")
        (tmp_path / "photos" / "other.csv").write_text("12345")

    during(happens)
    done = run_here(*given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (photos / "out" / "crops.csv").read_text().splitlines()
    assert len(rows) == 3, "those listed at the start count"


def test_a_verb_may_replace_what_it_reads(inputs, tmp_path):
    """An older result among the inputs, and an output that was given as one."""
    given = laid("label trimap photos/masks photos/other -o photos/masks/t", inputs, tmp_path)
    for more in ((), ("--force",)):
        assert run_here(*given, *more, cwd=tmp_path).returncode == 0


def test_a_folder_that_goes_between_two_photographs_is_said_and_made_again(
    inputs, tmp_path, monkeypatch
):
    """The table of components held those of the second photograph alone."""
    given = laid("crops photos/photos -o out -m colour --workers 1", inputs, tmp_path)
    assert run_here(*given, cwd=tmp_path).returncode == 0
    truth = (tmp_path / "out" / "components.csv").read_bytes()
    shutil.rmtree(tmp_path / "out")
    real = work.measure_photo

    def measured(photo, *args, **kwargs):
        if photo.file == "1.png":
            shutil.rmtree(tmp_path / "out")
        return real(photo, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(work, "measure_photo", measured)
        done = run_here(*given, cwd=tmp_path)
    assert (done.returncode, "something else removed them" in done.stderr) == (2, True)
    assert not (tmp_path / "out" / "components.csv").exists()
    assert run_here(*given, cwd=tmp_path).returncode == 0
    assert (tmp_path / "out" / "components.csv").read_bytes() == truth
