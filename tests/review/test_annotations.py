"""Fields go to COCO and Label Studio and come back: masks against what those tools' own code wrote,
outlines against pycocotools, coordinates to a millionth; what was drawn there becomes actions.
"""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from PIL import Image

from review_scenes import CELL, Hand, open_log, write_map
from selion import review, store
from selion.cli.main import cli
from selion.data import mask_runs as masks
from selion.errors import BadInput, InputChanged, OutputExists, UnknownName, UnreadableFile
from selion.review import exchange
from selion.review.annotations import PixelFrame, picture_at
from selion.review.exchange import FORMS, NAMES, read_annotations

MASK = np.zeros((7, 9), bool)
MASK[2:5, 3:7], MASK[3, 4], MASK[6, 8] = True, False, True
COCO = "g034NM03200;N"  # by pycocotools 2.0.11
BRUSH = bytes.fromhex(  # by label-studio-converter 0.0.59
    "000000fc391bfe5300bfff84c023ff8c027ffc26017fff258047fe"
)


def grey(box):
    left, top, right, bottom = box
    return np.full((bottom - top, right - left, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("toy"), 4, 5)


@pytest.fixture
def files(toy, tmp_path):
    import shutil

    return review.find_map(shutil.copytree(toy, tmp_path / "map"))


def sent(files, form, **given):
    out = files.table.parent / form
    done = review.send_annotations(files, out, form, grey, force=True, **given)
    return done, json.loads(done.table.read_text("utf-8"))


def returned(files, table, **given):
    path = files.table.parent / "back.json"
    path.write_text(json.dumps(table), "utf-8")
    return review.receive_annotations(files, path, "Ada", **given)


def answered(tasks):
    """As Label Studio exports tasks that somebody submitted."""
    made = []
    for task in tasks:
        result = task["predictions"][0]["result"]
        made.append({"id": 1, "data": task["data"], "annotations": [{"result": result}]})
    return made


def test_masks_are_those_of_the_tools():
    assert masks.coco_text(masks.coco_runs(MASK)) == COCO
    assert (masks.read_coco({"size": [7, 9], "counts": COCO}) == MASK).all()
    assert (masks.read_coco({"size": [7, 9], "counts": masks.coco_runs(MASK)}) == MASK).all()
    assert (masks.read_brush(list(BRUSH), (7, 9)) == MASK).all()
    assert (masks.read_brush(masks.brush_stream(MASK), (7, 9)) == MASK).all()


def test_masks_against_pycocotools():
    tool = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(1)
    for shape, share in (((1, 1), 0.5), ((40, 3), 0.02), ((64, 50), 0.5), ((300, 200), 0.999)):
        mask = random.random(shape) < share
        theirs = tool.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert masks.coco_text(masks.coco_runs(mask)) == theirs
        assert (masks.read_coco({"size": list(shape), "counts": theirs}) == mask).all()
        assert (masks.read_brush(masks.brush_stream(mask), shape) == mask).all()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: masks.coco_mask([3, 3], (2, 2)), "damaged"),
        (lambda: masks.read_coco({"size": [2, 2], "counts": "é"}), "damaged"),
        (lambda: masks.read_coco({"size": [2, 2], "counts": [1.5]}), "whole numbers"),
        (lambda: masks.read_coco({"size": [2]}), "lacks"),
        (lambda: masks.read_coco({"size": [1 << 20, 1 << 20], "counts": [1]}), "larger"),
        (lambda: masks.read_brush(list(BRUSH[:-9]), (7, 9)), "cut off"),
        (lambda: masks.read_brush(list(BRUSH), (9, 9)), "wanted are 324"),
        (lambda: masks.read_brush([999], (9, 9)), "bytes"),
    ],
)
def test_damaged_masks(read, message):
    with pytest.raises(BadInput, match=message):
        read()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_as_pycocotools_reads_it(files, capsys):
    tool = pytest.importorskip("pycocotools.coco")
    done, _ = sent(files, "coco")
    seen = tool.COCO(str(done.table))
    capsys.readouterr()
    assert (done.pictures, done.outlines) == (1, 20)
    frame = files.read().to_crs("EPSG:32633").set_index("id")
    for one in seen.loadAnns(seen.getAnnIds()):
        truth = frame.geometry[one["attributes"]["field"]]
        assert one["area"] == pytest.approx(truth.area / 100, rel=1e-6)
        # squares along pixels: their mask is exact
        assert seen.annToMask(one).sum() == pytest.approx(CELL**2, abs=1)
    assert (done.table.parent / "images" / seen.loadImgs([1])[0]["file_name"]).exists()


@pytest.mark.parametrize("form", FORMS)
def test_coordinates_come_back_to_a_millionth(files, form):
    done, _ = sent(files, form, size=24)  # so that most fields lie on two or four pictures
    grid = store.open_raster(files.image).grid
    frame = files.read()
    given = json.loads(done.table.read_text("utf-8"))
    done.table.write_text(json.dumps(answered(given) if form != "coco" else given))
    pictures = read_annotations(done.table, PixelFrame(grid, frame.crs))
    assert sum(len(one.outlines) for one in pictures) == done.outlines > 20
    parts = {}
    for picture in pictures:
        for outline in picture.outlines:
            # by hand: 10 m pixels from the corner of the scene
            x, y = shapely.get_coordinates(outline.shape).T
            metres = np.column_stack(
                [300_000 + 10 * (x + picture.left), 5_400_000 - 10 * (y + picture.top)]
            )
            parts.setdefault(outline.field, []).append(shapely.Polygon(metres))
    placed = frame.to_crs("EPSG:32633").set_index("id").geometry
    for name, found in parts.items():
        whole = shapely.union_all(found, grid_size=1e-6)
        assert shapely.hausdorff_distance(whole, placed[name]) < 2e-6
    lattice = PixelFrame(grid, frame.crs)
    back = lattice.to_map(lattice.to_pixels(frame.geometry.to_numpy()))
    away = shapely.hausdorff_distance(back, frame.geometry.to_numpy())
    assert away.max() * 111_320 < 1e-6  # metres


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_comes_back_as_it_went_is_accepted_once(files, form, masked):
    _, table = sent(files, form, size=30, masks=masked)
    table = table if form == "coco" else answered(table)
    tried = returned(files, table, try_only=True)
    assert open_log(files.table.parent).state.count == 0
    done = returned(files, table)
    assert done == tried
    assert done.counts == {"accepted": 20, "reshaped": 0, "rejected": 0, "added": 0, "same": 0}
    again = returned(files, table)
    assert (again.counts["accepted"], again.counts["same"], again.problems) == (0, 20, ())
    log = open_log(files.table.parent)
    assert log.state.count == 1  # one line, one undo
    assert Hand(log).act("undo").done
    assert log.state.counts()["accepted"] == 0


def test_what_was_drawn_there_becomes_actions(files):
    """A border that moved, a field that is gone, a new one, one that lost its name, by hand."""
    _, table = sent(files, "coco")
    rings = [np.reshape(one["segmentation"][0], (-1, 2)) for one in table["annotations"]]
    at = {tuple((ring.min(0) // CELL).astype(int)): k for k, ring in enumerate(rings)}
    left, right, gone, lost = (table["annotations"][at[0, row]] for row in range(4))
    right = table["annotations"][at[1, 0]]
    names = {one["attributes"]["field"] for one in (left, right)}
    # three pixels of the second column's field go to the first's
    left["segmentation"] = [[4, 4, 19, 4, 19, 16, 4, 16]]
    right["segmentation"] = [[19, 4, 28, 4, 28, 16, 19, 16]]
    table["annotations"].remove(gone)
    lost["attributes"] = {}
    ring = [64, 0, 67, 0, 67, 9, 64, 9]
    drawn = {"id": 999, "image_id": 1, "category_id": 1, "segmentation": [ring]}
    table["annotations"].append(drawn)
    done = returned(files, table)
    assert done.problems == ()
    assert done.counts == {"accepted": 17, "reshaped": 2, "rejected": 1, "added": 1, "same": 0}
    state = open_log(files.table.parent).state
    found = geopandas.GeoSeries(
        {name: state.get(name).shape for name in names}, crs=files.read().crs
    ).to_crs("EPSG:32633")
    assert sorted(round(shape.area / 100) for shape in found) == [9 * 12, 15 * 12]
    assert found.iloc[0].intersection(found.iloc[1]).area < 1e-3
    assert state.status(lost_name(files, lost)) == "accepted"
    exported = review.corrected(files.read(), state)
    assert set(exported["review:person"].dropna()) == {"Ada"}
    again = returned(files, table)  # the tool's file, once more; then with more work in it
    assert again.counts | {"same": 0} == dict.fromkeys(again.counts, 0)
    assert again.problems == ()
    drawn["segmentation"] = [[64, 0, 67, 0, 67, 12, 64, 12]]
    left["segmentation"] = [[4, 4, 18, 4, 18, 16, 4, 16]]
    more = returned(files, table)
    assert (more.counts["reshaped"], more.counts["added"], more.problems) == (2, 0, ())


def test_an_import_that_was_stopped_goes_on_to_the_same_log(toy, tmp_path, monkeypatch):
    """After each of its entries: the same names of actions and of new fields."""
    import shutil

    def made(name, stop):
        files = review.find_map(shutil.copytree(toy, tmp_path / name))
        _, table = sent(files, "coco")
        table["annotations"].pop()
        for left in (64, 66):
            ring = [left, 0, left + 1, 0, left + 1, 9, left, 9]
            table["annotations"].append(
                {"id": 900 + left, "image_id": 1, "category_id": 1, "segmentation": [ring]}
            )
        act, entries = review.ReviewLog.act, []

        def acting(log, action):
            if len(entries) == stop:
                raise KeyboardInterrupt
            entries.append(action)
            return act(log, action)

        with monkeypatch.context() as patch:
            patch.setattr(review.ReviewLog, "act", acting)
            if stop is None:
                returned(files, table)
            else:
                with pytest.raises(KeyboardInterrupt):
                    returned(files, table)
        if stop is not None:
            returned(files, table)
        state = open_log(files.table.parent).state
        return list(state.applied), sorted(map(str, state.changed))

    whole = made("whole", None)
    assert len(whole[0]) >= 4
    for stop in range(len(whole[0])):
        assert made(f"parts{stop}", stop) == whole


def lost_name(files, annotation):
    x, y = np.reshape(annotation["segmentation"][0], (-1, 2)).mean(0)
    point = shapely.Point(300_000 + 10 * x, 5_400_000 - 10 * y)
    placed = files.read().to_crs("EPSG:32633")
    return placed["id"][placed.contains(point)].item()


def test_a_field_with_a_hole_goes_as_a_mask_and_stays_as_it_is(files):
    log = open_log(files.table.parent)
    name = log.mapped.ids[7]
    ring = shapely.get_coordinates(log.state.get(name).shape)[:-1]
    hole = ring.mean(0) + (ring - ring.mean(0)) * 0.5
    points = np.concatenate([ring, hole]).tolist()
    sizes = ((len(ring), len(hole)),)
    assert Hand(log).act("reshape", name, points, rings=sizes).done
    shape = log.state.get(name).shape
    _, table = sent(files, "coco")
    one = next(a for a in table["annotations"] if a["attributes"]["field"] == name)
    assert isinstance(one["segmentation"], dict)
    assert one["area"] == pytest.approx(CELL**2 * 0.75, rel=0.06)
    _, tasks = sent(files, "label-studio")
    kinds = {region["id"]: region["type"] for region in tasks[0]["predictions"][0]["result"]}
    assert kinds[name] == "brushlabels"
    assert set(kinds.values()) == {"brushlabels", "polygonlabels"}
    for back in (table, answered(tasks)):
        returned(files, back)
        assert open_log(files.table.parent).state.get(name).shape.equals(shape)


def test_pictures_that_nobody_answered_say_nothing(files):
    _, tasks = sent(files, "label-studio", size=30)
    table = answered(tasks)
    table[0]["annotations"] = []
    table[1]["annotations"][0]["was_cancelled"] = True
    table[2]["annotations"][0]["result"] = []
    done = returned(files, table)
    assert done.pictures == len(tasks) - 3
    assert done.counts["rejected"] == 0
    assert done.counts["accepted"] < 20
    _, table = sent(files, "coco", size=30)
    kept = [image["id"] for image in table["images"]][2:]
    table["annotations"] = [one for one in table["annotations"] if one["image_id"] in kept]
    assert returned(files, table, accept=False).counts["rejected"] == 0


def test_names_say_where_pictures_lie():
    place = picture_at("/data/upload/7/3f2a-fields_x00030_y00060.png?d=1", (26, 26), (68, 90))
    assert place.box == (30, 60, 56, 86)
    assert picture_at("C:\\a\\my.jpg", (68, 90), (68, 90)).box == (0, 0, 68, 90)
    for name, size, message in (
        ("my.jpg", (30, 30), "does not say where"),
        ("a_x00060_y00000.png", (30, 30), "beyond"),
    ):
        with pytest.raises(BadInput, match=message):
            picture_at(name, size, (68, 90))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("{}", "neither"),
        ("[]", "neither"),
        ("[1]", "neither"),
        ('[{"data": {}}]', "Label Studio"),
        ('{"images": [{}], "annotations": []}', "no COCO"),
        ('{"images": [], "annotations": [{"image_id": 1}]}', "names picture 1"),
    ],
)
def test_what_is_no_file_of_a_tool(files, text, message):
    path = files.table.parent / "x.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        review.receive_annotations(files, path, "Ada")


def test_refusals(files, tmp_path):
    with pytest.raises(UnknownName, match="coco"):
        review.send_annotations(files, tmp_path / "o", "voc", grey)
    with pytest.raises(BadInput, match="16 or more"):
        review.send_annotations(files, tmp_path / "o", "coco", grey, size=3)
    with pytest.raises(UnreadableFile):
        review.receive_annotations(files, tmp_path / "none.json", "Ada")
    sent(files, "coco")
    with pytest.raises(OutputExists):
        review.send_annotations(files, files.table.parent / "coco", "coco", grey)
    (files.table.parent / "image.tif").unlink()
    bare = review.find_map(files.table)
    with pytest.raises(BadInput, match="--image"):
        review.send_annotations(bare, tmp_path / "o", "coco", grey)
    assert set(NAMES) == set(FORMS)


def test_the_command_line_there_and_back(files):
    """Pictures are in the image's own pixels, also large ones; nothing is written by a try."""
    folder, out = files.table.parent, files.table.parent / "out"
    given = ["review", "annotations", str(folder), "-o", str(out), "--size", "40"]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 0, done.output
    table = json.loads((out / "instances.json").read_text())
    for one in table["images"]:
        with Image.open(out / "images" / one["file_name"]) as picture:
            assert picture.size == (one["width"], one["height"])
    assert sum(one["width"] * one["height"] for one in table["images"]) == 68 * 56
    back = ["review", "import", str(folder), str(out / "instances.json"), "--person", "Ada"]
    tried = CliRunner().invoke(cli, [*back, "--dry-run"])
    assert "nothing is written" in tried.output
    assert "20 accepted" in tried.output
    left = CliRunner().invoke(cli, [*back, "--leave"])
    assert "0 accepted" in left.output
    assert open_log(folder).state.count == 0
    assert "20 accepted" in CliRunner().invoke(cli, back).output
    assert open_log(folder).state.counts()["accepted"] == 20


def test_what_others_did_meanwhile_stands(files):
    """Bob works after the pictures were made; Ada's file is as it went, but for one that he saw."""
    _, table = sent(files, "coco", size=30)
    log = open_log(files.table.parent)
    bob, ids = Hand(log, "Bob"), [str(name) for name in log.mapped.ids]
    ring = shapely.get_coordinates(log.state.get(ids[0]).shape)[:-1]
    middle = ring.mean(0)
    assert bob.act("reshape", ids[0], (middle + 0.8 * (ring - middle)).tolist()).done
    assert bob.act("reject", ids[1]).done
    assert bob.act("accept", ids[2]).done
    (free,) = PixelFrame(store.open_raster(files.image).grid, files.read().crs).to_map(
        [shapely.box(0.5, 17, 3, 27)]
    )
    assert bob.act("add", "", shapely.get_coordinates(free)[:-1].tolist()).done
    before = {name: log.state.get(name) for name in (*ids[:3], *log.state.changed)}
    assert len(before) == 4
    table["annotations"] = [
        one for one in table["annotations"] if one["attributes"]["field"] != ids[2]
    ]
    tried = returned(files, table, try_only=True)
    done = returned(files, table)
    assert done == tried
    assert done.counts == {"accepted": 17, "reshaped": 0, "rejected": 0, "added": 0, "same": 2}
    assert len(done.problems) == 1
    assert "Bob" in done.problems[0]
    assert ids[2] in done.problems[0]
    state = open_log(files.table.parent).state
    assert {name: state.get(name) for name in before} == before


def test_only_fields_are_taken(files):
    _, table = sent(files, "coco")
    table["categories"].append({"id": 2, "name": "tree"})
    pond = {"image_id": 1, "category_id": 2, "segmentation": [[64, 0, 67, 0, 67, 9, 64, 9]]}
    table["annotations"].append({"id": 99, **pond})
    done = returned(files, table, try_only=True)
    assert done.counts["added"] == 0
    assert "1 outline of 'tree'" in done.problems[0]
    table["categories"] = [{"id": 1, "name": "crop"}, {"id": 2, "name": "tree"}]
    with pytest.raises(BadInput, match=r"'crop', 'tree': which.*'field'"):
        returned(files, table)
    table["categories"], table["annotations"] = [{"id": 2, "name": "parcel"}], [{"id": 9, **pond}]
    done = returned(files, table, try_only=True)
    assert done.counts["added"] == 1
    assert "'parcel'" in done.problems[0]
    _, tasks = sent(files, "label-studio")
    tasks = answered(tasks)
    tasks[0]["annotations"][0]["result"][3]["value"]["polygonlabels"] = ["tree"]
    assert "1 outline of 'tree'" in returned(files, tasks, try_only=True).problems[0]


def test_empty_pictures_are_said(files):
    _, table = sent(files, "coco", size=30)
    one = table["images"][0]
    table["annotations"] = [a for a in table["annotations"] if a["image_id"] != one["id"]]
    (problem,) = returned(files, table, try_only=True).problems
    assert "1 picture without any outline" in problem
    assert one["file_name"] in problem


def test_what_is_drawn_over_the_rim_ends_there(files):
    _, table = sent(files, "coco")
    width, height = table["images"][0]["width"], table["images"][0]["height"]
    ring = [width - 3, 0, 1e6, 0, 1e6, height, width - 3, height]
    beside = [1e6, 0, 2e6, 0, 2e6, 9]
    drawn = {"image_id": 1, "category_id": 1}
    table["annotations"] += [{"segmentation": [ring], **drawn}, {"segmentation": [beside], **drawn}]
    done = returned(files, table)
    assert done.counts["added"] == 1
    assert "beside its picture" in done.problems[0]
    (name,) = set(open_log(files.table.parent).state.changed) - set(files.read()["id"])
    made = geopandas.GeoSeries(
        [open_log(files.table.parent).state.get(name).shape], crs=files.read().crs
    )
    assert made.to_crs("EPSG:32633").area.item() == pytest.approx(300 * height, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"segmentation": {"size": "whole", "counts": [1 << 62] * 4 + ["all"]}}, "damaged"),
        ({"segmentation": {"size": "whole", "counts": [10**40]}}, "damaged"),
        ({"segmentation": [[0, 0, 1e300, 0, 1e300, 1e300]]}, "far beyond"),
        ({"segmentation": [[0, 0, 10**400, 0, 1, 1]]}, "no COCO"),
        ({"segmentation": [[0, 0, None, 0, 1, 1]]}, "no COCO|points is none"),
        ({"segmentation": [[0, 0, 1, 0, 1]]}, "no COCO"),
        ({"segmentation": [[0, 0, 1, 0]]}, "three or more"),
        ({"image_id": 7}, "names picture 7"),
        ({"images": 2}, "twice"),
        ({"width": 1e999}, "no COCO"),
    ],
)
def test_hostile_tables(files, given, message):
    _, table = sent(files, "coco")
    image, one = table["images"][0], table["annotations"][0]
    if given.pop("images", 0):
        table["images"].append(dict(image))
    image["width"] = given.pop("width", image["width"])
    one |= given
    if isinstance(one["segmentation"], dict):
        size = [image["height"], image["width"]]
        runs = [size[0] * size[1] if n == "all" else n for n in one["segmentation"]["counts"]]
        one["segmentation"] = {"size": size, "counts": runs}
    with pytest.raises(BadInput, match=message):
        returned(files, table)
    assert open_log(files.table.parent).state.count == 0


def test_what_crosses_itself_is_put_right(files):
    _, table = sent(files, "coco")
    bow = [64, 0, 67, 9, 67, 0, 64, 9]
    table["annotations"].append({"image_id": 1, "category_id": 1, "segmentation": [bow]})
    done = returned(files, table)
    assert (done.counts["added"], done.problems) == (1, ())


def test_a_file_that_becomes_another_one_while_it_is_read_is_not_taken(files, monkeypatch):
    """The lines of the log were called by what it held later, so they came twice."""
    done, _ = sent(files, "coco")

    def reading(path, frame):
        found = read_annotations(path, frame)
        path.write_text(path.read_text() + " ")
        return found

    monkeypatch.setattr(exchange, "read_annotations", reading)
    with pytest.raises(InputChanged, match="was changed while it was being read"):
        review.receive_annotations(files, done.table, "Ada")
    assert open_log(files.table.parent).state.count == 0
