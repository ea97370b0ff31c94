"""``--force`` replaces what the same command once wrote, and nothing else: no folder of somebody's
own, and no file or folder that the command reads.
"""

import json
import shutil

import pytest

from command_line import run_here
from option_inputs import INPUTS
from option_walk import Inputs
from selion.models import find_card

AREA = "12,50,12.02,50.02"
BOX = {"type": "Polygon", "coordinates": [[[12, 50], [12.02, 50], [12.02, 50.02], [12, 50]]]}
FOLDERS = {
    "merge {table} -o mine": {"_selion.json"},
    "change {maps} {maps} -o mine": {"change.json", "maps/_selion.json"},
    "change {plan_year} {plan_later} -o mine": {"change.json", "maps/_selion.json"},
    f"sample {AREA} {{maps}} -o mine --count 40 --least-count 2": {"design.json", "points.csv"},
    f"sample {AREA} {{maps}} -o mine --count 6 --least-count 2 --objects": {"design.json"},
    "crops plots {ortho} {plots} -o mine -m colour": {"plots.csv", "run.json"},
    "crops trial {measured} -o mine --pattern {{plot}}_{{date}}_*": {"means.csv"},
    "review annotations {reviewed} -o mine": {"instances.json"},
    "review annotations {reviewed} -o mine --form label-studio": {"tasks.json"},
    "data make {image} --polygons {polygons} -o mine --size 64": {"dataset.toml", "splits.csv"},
    f"plan {AREA} --year 2024 --probe-file {{probe}} -o mine -m fields-base": {"plan.json"},
}
"""A command that writes a folder -> some of what is in it."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)


def content(folder):
    return {
        one.relative_to(folder).as_posix(): one.read_bytes()
        for one in sorted(folder.rglob("*"))
        if one.is_file() and not one.name.startswith(".")
    }


def forced(words, inputs, here, *more):
    words = words.format_map(inputs).replace("{{", "{").replace("}}", "}")
    return run_here(*words.split(), *more, "--force", cwd=here)


@pytest.mark.parametrize("words", FOLDERS)
def test_only_what_the_command_wrote_is_replaced(words, inputs, tmp_path):
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    for name in ("holiday.jpg", "images/a.jpg", "run.log"):
        (mine / name).write_text("precious")
    before = content(tmp_path)
    done = forced(words, inputs, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "mine is a folder that selion did not make" in done.stderr
    assert content(tmp_path) == before
    shutil.rmtree(mine)
    for _ in range(2):
        done = forced(words, inputs, tmp_path)
        assert done.returncode == 0, done.stderr
        assert FOLDERS[words] <= set(content(mine))
    (mine / "notes.odt").write_text("precious")
    before = content(mine)
    done = forced(words, inputs, tmp_path)
    assert (done.returncode, content(mine)) == (2, before)
    assert "mine holds notes.odt, which is no part of" in done.stderr


def test_a_plan_is_made_anew_with_its_own_probe(inputs, tmp_path):
    words = f"plan {AREA} --year 2024 -o mine -m fields-base --probe-file "
    for probe in ("{probe}", "mine/probe.json"):
        done = forced(words + probe, inputs, tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "probe.json").is_file()


def test_the_jobs_of_a_plan_are_merged_into_it_again(inputs, tmp_path):
    shutil.copytree(inputs["plan"], tmp_path / "plan")
    for _ in range(2):
        done = forced("merge plan -o plan/maps", inputs, tmp_path)
        assert done.returncode == 0, done.stderr


def test_the_folder_one_is_in_is_named(inputs, tmp_path):
    done = forced("merge {table} -o .", inputs, tmp_path)
    assert (done.returncode, "give its folder's name" in done.stderr) == (2, True)


def test_a_model_of_the_registry_is_no_folder_that_is_called_like_it(tmp_path):
    (tmp_path / "ftw-v1").mkdir()
    shutil.copy(find_card("fields-base").folder / "card.toml", tmp_path / "ftw-v1")
    (tmp_path / "a.ckpt").write_text("none")
    for like, said in (("ftw-v1", "not a whole checkpoint"), ("./ftw-v1", "would be lost")):
        words = ("models", "import", "a.ckpt", "--like", like, "-o", "ftw-v1", "--force")
        done = run_here(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


READ = {
    "map {image} -o new.parquet -m fields-base --scores {image}": "image",
    "map {image} -o new.parquet -m fields-base --consistency {image}": "image",
    "predict {image} -o {image} -m fields-base": "image",
    "predict link -o {image} -m fields-base": "image",
    "fields {scores} -o {cover} --land-cover {cover} --land-cover-crops 40": "cover",
    "query 12,50,12.011,50.001 {table} -o {table}": "table",
    "query 12,50,12.011,50.001 {maps} -o {maps}/cell=u2b/part.parquet": "maps",
    "query box.json {maps} -o box.json": "maps",
    "stats {maps} --districts {units} -o {maps}/_selion.json": "maps",
    "scenes box.json 2024 -o box.json": "maps",
    "merge {table} -o ../here": "table",
    "merge {maps}/cell=u2b/part.parquet -o {maps}": "maps",
    "merge {plan} -o {plan}": "plan",
    "merge {plan} -o {plan}/jobs": "plan",
    "crops plots {ortho} {plots} -o ../here -m colour": "ortho",
    "crops trial {measured} -o {measured} --pattern {{plot}}_{{date}}_*": "measured",
    "review annotations {reviewed} -o {reviewed}": "reviewed",
    "review export {reviewed} -o {reviewed}": "reviewed",
    "data make {image} --polygons {polygons} -o ../here --size 64": "polygons",
    "sample box.json {maps} -o ../here": "maps",
    "demo -o demo --size 128 --image demo/scene/image.tif": "image",
    "models quantise ./model {image} -o model": "image",
    "models export ./model -o model": "image",
}
"""A command that would write over what it reads -> which of its inputs lies in its folder."""


@pytest.mark.parametrize("words", READ)
def test_what_is_read_is_never_replaced(words, inputs, tmp_path):
    here = tmp_path / "work" / "here"
    source = inputs[READ[words]]
    copied = here / source.name
    if source.is_dir():
        shutil.copytree(source, copied)
    else:
        here.mkdir(parents=True)
        shutil.copy(source, copied)
    (here / "box.json").write_text(json.dumps(BOX))
    (here / "link").symlink_to(copied.name)
    (here / "demo" / "scene").mkdir(parents=True)
    shutil.copy(inputs["image"], here / "demo" / "scene" / "image.tif")
    (here / "model").mkdir()
    shutil.copy(find_card("fields-base").folder / "card.toml", here / "model")
    before = content(tmp_path)
    given = {name: inputs[name] for name in INPUTS if f"{{{name}}}" in words}
    done = forced(words, given | {READ[words]: copied.name}, here)
    assert done.returncode == 2, done.stdout
    assert "would be lost: write to another" in done.stderr
    assert content(tmp_path) == before
