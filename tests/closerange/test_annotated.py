"""Masks that were drawn in other tools: pixels counted by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from selion.classes import CROP, CROP_WEED
from selion.closerange.given_masks import find_masks
from selion.data.mask_runs import brush_stream
from selion.data.photos import find_photos
from selion.errors import BadInput
from selion.grid import photo_grid

SHAPE = (20, 30)
BOX = [2, 3, 8, 3, 8, 7, 2, 7]  # columns 2 to 7, rows 3 to 6: 24 pixels
RUNS = [20 * 10 + 5, 4, 20 * 19 + 11]  # down column 10, rows 5 to 8


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "plot1").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "plot1/c.jpg"):
        Image.fromarray(np.full((*SHAPE, 3), 90, np.uint8)).save(folder / name)
    return find_photos(folder)


def coco(tmp_path, annotations, names=("a.jpg", "b.png", "plot1/c.jpg"), size=SHAPE):
    images = [
        {"id": k, "file_name": name, "height": size[0], "width": size[1]}
        for k, name in enumerate(names)
    ]
    labels = ["wheat", "weed", "ignore", "soil"]
    table = {
        "images": images,
        "categories": [{"id": k, "name": name} for k, name in enumerate(labels)],
        "annotations": annotations,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(table))
    return path


def drawn(image, segmentation, category=0):
    return {"image_id": image, "category_id": category, "segmentation": segmentation}


def test_coco(tmp_path, photos):
    hole = [4, 4, 6, 4, 6, 6, 4, 6]  # four pixels in the middle of the box
    path = coco(
        tmp_path,
        [
            drawn(0, [BOX]),
            drawn(0, {"size": list(SHAPE), "counts": RUNS}, 1),
            drawn(0, [hole], 2),
            drawn(2, [BOX, [20, 0, 30, 0, 30, 1, 20, 1]]),
            {"image_id": 0, "category_id": 0, "bbox": [0, 0, 3, 3]},
        ],
    )
    found = find_masks(path, photos, CROP)
    assert sorted(found.reads) == ["a", "plot1/c"]
    ids = found.reads["a"](photo_grid(SHAPE))
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[3:7, 2:8] = 1
    wanted[5:9, 10] = 1
    wanted[4:6, 4:6] = 255
    assert (ids == wanted).all()
    assert found.reads["plot1/c"](photo_grid(SHAPE)).sum() == 24 + 10
    said = " ".join(found.notes)
    assert "1 box without" in said
    assert "1 photograph on which nothing was drawn" in said
    assert "weed, wheat are read as crop" in said


def label_studio(tmp_path, image, regions, **more):
    made = [
        {"original_height": SHAPE[0], "original_width": SHAPE[1], "value": value}
        for value in regions
    ]
    tasks = [
        {"data": {"image": image}, "annotations": [{"result": made, **more}]},
        {"data": {"image": "b.png"}, "annotations": [{"result": [], "was_cancelled": False}]},
        {"data": {"image": "plot1/c.jpg"}, "annotations": []},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    return path


@pytest.mark.parametrize(
    "image",
    ["/data/upload/3/0123abcd-a.jpg", "/data/local-files/?d=photos%2Fa.jpg", "http://here/a.jpg"],
)
def test_label_studio(tmp_path, photos, image):
    points = [[100 * x / 30, 100 * y / 20] for x, y in np.reshape(BOX, (-1, 2)).tolist()]
    brush = np.zeros(SHAPE, bool)
    brush[10:12] = True
    path = label_studio(
        tmp_path,
        image,
        [
            {"points": points, "polygonlabels": ["Crop"]},
            {"rle": brush_stream(brush), "brushlabels": ["weed"]},
        ],
    )
    found = find_masks(path, photos, CROP_WEED)
    assert sorted(found.reads) == ["a", "b"]
    ids = found.reads["a"](photo_grid(SHAPE))
    assert ((ids == 1).sum(), (ids == 2).sum()) == (24, 60)
    assert not found.reads["b"](photo_grid(SHAPE)).any()  # finished, and nothing grows there
    assert "1 photograph that nobody has finished" in " ".join(found.notes)


def test_what_label_studio_has_of_another_folder_is_not_taken(tmp_path):
    """The file's bare name was tried as well; the numbers of projects are no folders of ours."""
    for name in ("3/IMG_1", "4/IMG_2"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        Image.new("RGB", SHAPE[::-1]).save(tmp_path / "photos" / f"{name}.jpg")
    photos = find_photos(tmp_path / "photos")
    region = {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["crop"]}
    other = label_studio(tmp_path, "/data/local-files/?d=photos%2F4%2FIMG_1.jpg", [region])
    with pytest.raises(BadInput, match="called as one of yours"):
        find_masks(other, photos, CROP)
    sent = label_studio(tmp_path, "/data/upload/4/0123abcd-IMG_1.jpg", [region])
    assert list(find_masks(sent, photos, CROP).reads) == ["3/IMG_1"]


def test_photographs_that_differ_in_their_ending_alone_keep_what_is_theirs(tmp_path):
    """What was drawn on a.jpg was learnt from as the truth of a.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "b.jpg"):
        Image.fromarray(np.full((*SHAPE, 3), 90, np.uint8)).save(folder / name)
    photos = find_photos(folder)
    for names, keys in (
        (["a.jpg"], ["a.jpg"]),
        (["images/a.jpg"], ["a.jpg"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["JPEGImages\\b.jpg"], ["b"]),  # as tools on Windows write it
    ):
        path = coco(tmp_path, [drawn(k, [BOX]) for k in range(len(names))], names)
        assert sorted(find_masks(path, photos, CROP).reads) == keys
    sent = label_studio(tmp_path, "/data/upload/1/0123abcd-a.jpg", [])
    assert sorted(find_masks(sent, photos, CROP).reads) == ["a.jpg", "b"]
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "b.png", "a.jpg.png"):
        Image.fromarray(np.zeros(SHAPE, np.uint8)).save(masks / name)
    found = find_masks(masks, photos, CROP)
    assert sorted(found.reads) == ["a.jpg", "b"]  # a.png may be the mask of either
    assert found.files["a.jpg"].name == "a.jpg.png"
    assert "1 masks have no photograph of the same name, or several" in " ".join(found.notes)


def test_what_does_not_fit_is_refused(tmp_path, photos):
    with pytest.raises(BadInput, match="label 'wheat'; the model has soil, crop, weed"):
        find_masks(coco(tmp_path, [drawn(0, [BOX])]), photos, CROP_WEED)
    with pytest.raises(BadInput, match=r"called as one of yours: it names other\.jpg"):
        find_masks(coco(tmp_path, [drawn(0, [BOX])], ["other.jpg"]), photos, CROP)
    small = find_masks(coco(tmp_path, [drawn(0, [BOX])], size=(10, 15)), photos, CROP)
    with pytest.raises(BadInput, match="a has 30 x 20 pixels; what was drawn is for one of 15"):
        small.reads["a"](photo_grid(SHAPE))
    for text, said in (
        ("{}", "neither COCO"),
        ("[{}]", "neither COCO"),
        ('{"images": [{}], "annotations": []}', "export it again"),
        ("[", "no JSON"),
        (json.dumps([{"annotations": [{"result": []}]}]), "export it again"),
        (json.dumps([{"annotations": [{"result": []}], "data": {"id": 5}}]), "no photograph"),
        (json.dumps([{"annotations": [{"result": []}], "data": {"image": ""}}]), "one of yours"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(BadInput, match=said):
            find_masks(tmp_path / "bad.json", photos, CROP)
    for bad in ([[1, 2]], [[1, 2, 3]], [[0, 0, 1, 1, 1e9, 2]]):
        with pytest.raises(BadInput):
            find_masks(coco(tmp_path, [drawn(0, bad)]), photos, CROP)
