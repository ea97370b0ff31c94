"""Any folder of images and masks, with and without a dataset.toml: pairs, values, splits, and what
is refused.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_folders import field_ids, png, tif
from selion.classes import ALU, CROP, FTW2, FTW3, IGNORE, ClassScheme
from selion.data import load_dataset
from selion.data.patterns import find, partner
from selion.data.splits import assign, hashed_split, split_name
from selion.data.values import to_classes
from selion.errors import BadInput, GridMismatch, UnknownName, UnreadableFile
from selion.labels import Instances, class_labels

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
RNG = np.random.default_rng(0)


def photo(size=(20, 24)):
    return RNG.integers(0, 255, (*size, 3)).astype("uint8")


def plain(root, names=("a", "b"), ids=None):
    ids = field_ids(24) if ids is None else ids
    for name in names:
        tif(
            root / "images" / f"{name}.tif",
            RNG.integers(0, 255, (3, *ids.shape)).astype("uint8"),
            descriptions=("red", "green", "blue"),
        )
        tif(root / "instances" / f"{name}.tif", ids)
        tif(root / "labels" / f"{name}.tif", class_labels(Instances(ids, None or grid_of(ids))).ids)
    return ids


def grid_of(ids):
    from selion.grid import photo_grid

    return photo_grid(ids.shape)


def test_ids_of_any_type_have_no_boundary_along_unknown_ground():
    known = np.arange(12) < 7
    for kind in (np.int32, np.uint32, np.int64):
        ids = np.zeros((9, 12), kind)
        ids[2:7, 2:10] = 5
        made = class_labels(Instances(ids, grid_of(ids)), ignore=~known & (ids >= 0))
        assert made.ids[4].tolist() == [0, 0, 2, 1, 1, 1, 1, *[255] * 5]


def test_images_labels_and_instances_are_paired_by_name(tmp_path):
    ids = plain(tmp_path)
    data = load_dataset(tmp_path)
    assert (data.keys, data.splits, data.groups, data.classes) == (("a", "b"), (), (), FTW3)
    assert (data[0].instances.ids == ids).all()
    assert (data[1].labels.ids == class_labels(Instances(ids, grid_of(ids))).ids).all()
    assert data.name == tmp_path.name


@pytest.mark.parametrize(
    "layout", ["{split}/{group}/{what}", "{what}/{split}/{group}", "{group}/{split}/{what}"]
)
def test_folders_tell_split_and_group(tmp_path, layout):
    for split in ("training", "validation", "test"):
        for group in ("france", "kenya"):
            for what in ("images", "masks"):
                png(
                    tmp_path / layout.format(split=split, group=group, what=what) / "1.png",
                    photo() if what == "images" else np.ones((20, 24), np.uint8),
                )
    data = load_dataset(tmp_path)
    assert len(data) == 6
    assert (data.splits, data.groups) == (("train", "val", "test"), ("france", "kenya"))
    assert len(set(data.keys)) == 6
    assert len(data.select("val", "kenya")) == 1
    with pytest.raises(UnknownName, match="did you mean 'kenya'"):
        data.select(groups=["kenia"])
    with pytest.raises(UnknownName, match="split"):
        data.select("training")


def test_what_has_no_partner_is_listed(tmp_path):
    plain(tmp_path, ("a", "b", "c"))
    (tmp_path / "labels" / "b.tif").unlink()
    (tmp_path / "instances" / "b.tif").unlink()
    (tmp_path / "images" / "c.tif").unlink()
    data = load_dataset(tmp_path)
    assert data.keys == ("a",)
    assert data.problems == (
        "1 images of images have no truth: images/b.tif",
        "2 truths beside images have no image: labels/c.tif, instances/c.tif",
    )


def test_names_may_differ_in_their_tails(tmp_path):
    png(tmp_path / "images" / "p1_rgb.png", photo())
    png(tmp_path / "images" / "p2.png", photo())
    png(tmp_path / "masks" / "p1_mask.png", np.zeros((20, 24), np.uint8))
    png(tmp_path / "masks" / "p2_label.png", np.zeros((20, 24), np.uint8))
    assert load_dataset(tmp_path).keys == ("p1_rgb", "p2")


def test_a_table_of_splits_wins(tmp_path):
    plain(tmp_path, ("a", "b", "c"))
    (tmp_path / "splits.csv").write_text("key,split,group\na,training,x\nb,val,y\n")
    data = load_dataset(tmp_path)
    assert [(e.key, e.split, e.group) for e in data.entries] == [
        ("a", "train", "x"),
        ("b", "val", "y"),
        ("c", "", ""),
    ]
    assert data.problems == ("1 samples stand in no split of splits.csv: c",)


def test_labels_in_other_classes(tmp_path):
    ids = plain(tmp_path)
    assert (load_dataset(tmp_path, classes=FTW2)[0].labels.ids == (ids > 0)).all()
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    wide = load_dataset(tmp_path, boundary=2)[0]
    assert (wide.labels.ids == class_labels(Instances(ids, grid_of(ids)), 2).ids).all()
    with pytest.raises(BadInput, match="cannot be made"):
        load_dataset(tmp_path, classes=ALU)[0]
    with pytest.raises(BadInput, match="0 or more"):
        load_dataset(tmp_path, boundary=-1)


def test_three_classes_become_two_with_the_boundary_in_the_field(tmp_path):
    ids = plain(tmp_path)
    for path in (tmp_path / "instances").iterdir():
        path.unlink()
    assert (load_dataset(tmp_path, classes=FTW2)[0].labels.ids == (ids > 0)).all()


def test_a_declaration_says_what_values_mean(tmp_path):
    png(tmp_path / "images" / "a.jpg", photo())
    mask = np.zeros((20, 24), np.uint8)
    mask[:5], mask[5:9], mask[9] = 255, 7, 128
    png(tmp_path / "masks" / "a.png", mask)
    with pytest.raises(BadInput, match=r"a.png holds the values 7, 128, known are 0 to 2 and 255"):
        load_dataset(tmp_path)[0]
    (tmp_path / "dataset.toml").write_text(
        'name = "mine"\nclasses = "crop"\nlicence = "CC0"\n'
        'values = { 0 = "soil", 1-9 = "crop", 255 = "crop", 128 = "unknown" }\n'
    )
    data = load_dataset(tmp_path)
    assert (data.name, data.licence, data.classes) == ("mine", "CC0", CROP)
    ids = data[0].labels.ids
    assert (ids[:9] == 1).all()
    assert (ids[9] == IGNORE).all()
    assert (ids[10:] == 0).all()


def test_patterns_of_a_declaration(tmp_path):
    for crop in ("maize", "beet"):
        for k in (1, 2):
            png(tmp_path / crop / f"{k:03d}_shot.png", photo())
            png(tmp_path / crop / "truth" / f"{k:03d}.png", np.full((20, 24), k, np.uint8))
    (tmp_path / "dataset.toml").write_text(
        'classes = { names = ["soil", "crop", "weed"], things = ["crop"] }\n[files]\n'
        'image = "{group}/{key}_shot.png"\nlabels = "{group}/truth/{key}.png"\n'
        'split = { by = "group", train = ["maize"], test = ["beet"] }\n'
    )
    data = load_dataset(tmp_path)
    assert data.keys == ("beet/001", "beet/002", "maize/001", "maize/002")
    assert [e.split for e in data.entries] == ["test", "test", "train", "train"]
    assert data.groups == ("beet", "maize")
    assert (data.select("train")[1].labels.ids == 2).all()


def test_wholly_covered_photographs(tmp_path):
    png(tmp_path / "leaf" / "a.jpg", photo())
    (tmp_path / "dataset.toml").write_text(
        'classes = "crop"\nfiles = { image = "{group}/{key}.jpg", fill = "crop" }\n'
    )
    assert (load_dataset(tmp_path)[0].labels.ids == 1).all()
    (tmp_path / "dataset.toml").write_text(
        'classes = "crop"\nfiles = { image = "{group}/{key}.jpg" }\n'
    )
    assert load_dataset(tmp_path)[0].labels is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('clases = "crop"', "did you mean 'classes'"),
        ('classes = "crops"', "did you mean 'crop'"),
        ('files = { image = "{key}.png", lables = "x" }', "did you mean 'labels'"),
        ("files = { labels = 'x' }", "not whole"),
        ("files = 3", "where a table was wanted"),
        ("layout = 'fwt'", "did you mean 'ftw'"),
        ("classes = 4", "wanted is fields-2"),
        ("classes =", "cannot be read as TOML"),
        ('classes = "crop"\nvalues = { all = "crop" }', "wanted is a number"),
        ('classes = "crop"\nvalues = { 0 = "corn" }', "known: crop, soil"),
        ('files = { image = "images/{key}.png", split = { fold = 1 } }', "is not understood"),
        (
            'files = { image = "images/{key}.png", split = { by = "plot" } }',
            "not a part of the image's pattern",
        ),
        ('files = { image = "images/{key:[}.png" }', "cannot be understood"),
        ('files = { image = "images/{key}.png", split = { csv = "no.csv" } }', "is missing"),
    ],
)
def test_bad_declarations_are_one_sentence(tmp_path, text, said):
    png(tmp_path / "images" / "a.png", photo())
    png(tmp_path / "masks" / "a.png", np.zeros((20, 24), np.uint8))
    (tmp_path / "dataset.toml").write_text(text + "\n")
    with pytest.raises((BadInput, UnknownName, UnreadableFile), match=said.replace("(", "\\(")):
        load_dataset(tmp_path)[0]


def test_masks_of_another_size_or_place_are_refused(tmp_path):
    plain(tmp_path, ("a",))
    tif(tmp_path / "labels" / "a.tif", np.zeros((23, 24), np.uint8))
    with pytest.raises(GridMismatch, match="23"):
        load_dataset(tmp_path)[0]
    from affine import Affine

    tif(
        tmp_path / "labels" / "a.tif",
        np.zeros((24, 24), np.uint8),
        transform=Affine(10, 0, 500_300, 0, -10, 5_300_000),
    )
    with pytest.raises(GridMismatch, match="different grids"):
        load_dataset(tmp_path)[0]


def test_interpolated_masks_and_bad_ids_are_refused(tmp_path):
    plain(tmp_path, ("a",))
    tif(tmp_path / "labels" / "a.tif", np.full((24, 24), 0.4, np.float32))
    with pytest.raises(BadInput, match="interpolation"):
        load_dataset(tmp_path)[0]
    tif(tmp_path / "labels" / "a.tif", np.full((24, 24), np.nan, np.float32))
    assert (load_dataset(tmp_path)[0].labels.ids == IGNORE).all()
    tif(tmp_path / "instances" / "a.tif", np.full((24, 24), -4, np.int16))
    with pytest.raises(BadInput, match="not object ids"):
        load_dataset(tmp_path)[0]


def test_nodata_of_a_mask_of_objects_is_no_object(tmp_path):
    ids = plain(tmp_path, ("a",)).astype(np.uint16)
    (tmp_path / "labels" / "a.tif").unlink()
    marked = ids.copy()
    marked[:, :5] = 65535
    tif(tmp_path / "instances" / "a.tif", marked, nodata=65535)
    found = load_dataset(tmp_path)[0].instances.ids
    assert (found[:, :5] == 0).all()
    assert (found[:, 5:] == ids[:, 5:]).all()


@pytest.mark.parametrize(("number", "known"), [(65535, False), (0, True)])
def test_nodata_of_a_mask_of_objects_is_not_background(tmp_path, number, known):
    """Labels that are made of objects: what the file knows nothing of must not be learnt.

    A nodata of 0 is how many programs write their background, and stays that.
    """
    ids = plain(tmp_path, ("a",)).astype(np.uint16)
    (tmp_path / "labels" / "a.tif").unlink()
    marked = ids.copy()
    marked[:, :5] = number
    tif(tmp_path / "instances" / "a.tif", marked, nodata=number)
    for classes in (FTW3, FTW2):
        sample = load_dataset(tmp_path, classes=classes)[0]
        assert (sample.labels.ids[:, :5] == (0 if known else IGNORE)).all()
        assert (sample.labels.ids[:, 5:] != IGNORE).all()
    assert (sample.labels.ids[:, 5:] == (ids[:, 5:] > 0)).all()


def test_a_sample_with_rows_of_two_splits_is_not_learnt(tmp_path):
    """Whatever the order of the rows is: by the lists' rule the later split has it."""
    plain(tmp_path, ("a", "b"))
    rows = "key,split,group\na,test,x\nb,val,z\nb,val,z\na,train,y\n"
    (tmp_path / "splits.csv").write_text(rows)
    data = load_dataset(tmp_path)
    assert [(entry.key, entry.split, entry.group) for entry in data.entries] == [
        ("a", "test", "x"),
        ("b", "val", "z"),
    ]
    assert data.problems == ("a stands in train and in test: it is kept in test only.",)


def test_palettes_and_single_bits_keep_their_numbers(tmp_path):
    mask = (np.arange(480).reshape(20, 24) % 3).astype("uint8")
    png(tmp_path / "images" / "a.png", photo())
    png(tmp_path / "masks" / "a.png", mask, palette=[200, 10, 10, 0, 255, 0, 9, 9, 9])
    assert (load_dataset(tmp_path)[0].labels.ids == mask).all()
    png(tmp_path / "masks" / "a.png", np.where(mask == 1, 255, 0), mode="1")
    assert (load_dataset(tmp_path)[0].labels.ids == (mask == 1)).all()


def test_colours_are_classes_or_objects(tmp_path):
    colours = np.zeros((20, 24, 3), np.uint8)
    colours[:5, :, 0], colours[5:9, :, 1] = 255, 255
    png(tmp_path / "images" / "a.png", photo())
    png(tmp_path / "masks" / "a.png", colours)
    png(tmp_path / "instances" / "a.png", colours)
    (tmp_path / "dataset.toml").write_text(
        'classes = { names = ["soil", "crop", "weed"] }\n'
        'values = { "#000000" = "soil", "#00ff00" = "crop", "#ff0000" = "weed" }\n'
    )
    sample = load_dataset(tmp_path)[0]
    assert sample.labels.ids[[0, 5, 9], 0].tolist() == [2, 1, 0]
    assert len(np.unique(sample.instances.ids)) == 3
    assert sample.instances.ids[19, 0] == 0
    colours[0, 0] = 7
    png(tmp_path / "masks" / "a.png", colours)
    with pytest.raises(BadInput, match="#070707"):
        load_dataset(tmp_path)[0]


def test_exif_turned_photographs_do_not_fit_masks_that_were_not(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    image = Image.fromarray(photo())
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "images" / "a.jpg", exif=exif)
    png(tmp_path / "masks" / "a.png", np.zeros((20, 24), np.uint8))
    with pytest.raises(GridMismatch, match="20 x 24 pixels, its image 24 x 20"):
        load_dataset(tmp_path)[0]


def test_folders_that_are_none(tmp_path):
    with pytest.raises(UnreadableFile, match="No image with truth"):
        load_dataset(tmp_path)
    with pytest.raises(UnknownName, match="no folder"):
        load_dataset(tmp_path / "nothing")
    png(tmp_path / "images" / "a.png", photo())
    with pytest.raises(UnreadableFile, match="1 images of images have no truth"):
        load_dataset(tmp_path)


def test_patterns_find_and_pair(tmp_path):
    for name in (
        "x/1_a.png",
        "x/2_a.png",
        "x/2_b.png",
        "y/deep/1_a.png",
        ".x/1_a.png",
        "x/.1_a.png",
    ):
        png(tmp_path / name, photo())
    found = find(tmp_path, "{folder}/{key:[0-9]+}_a.png")
    assert [dict(f.parts) for f in found] == [
        {"folder": "x", "key": "1"},
        {"folder": "x", "key": "2"},
    ]
    assert partner(tmp_path, "{folder}/{key}_*.png", {"folder": "x", "key": "2"}).name == "2_a.png"
    assert partner(tmp_path, "{folder}/{key}_b.png", {"folder": "x", "key": "1"}) is None
    assert [f.path.name for f in find(tmp_path, "{p:.*/}{key}_a.png")] == [
        "1_a.png",
        "2_a.png",
        "1_a.png",
    ]


def test_lists_and_leaks_of_lists(tmp_path):
    (tmp_path / "lists.yaml").write_text("train: [2, 28, 3]\ntest: [1, 28]\nval:\n  - 4\n")
    splits, _, problems = assign(
        tmp_path, {"lists": "lists.yaml"}, ["001", "002", "003", "004", "028", "029"], [{}] * 6
    )
    assert splits == ["test", "train", "train", "val", "test", ""]
    assert problems == [
        "028 stands in train and in test: it is kept in test only.",
        "1 samples stand in no split of the lists of splits: 029",
    ]
    (tmp_path / "t.txt").write_text("a/1.png\nb/2.png\n")
    assert assign(tmp_path, {"files": {"training": "t.txt"}}, ["a/1", "b/2", "b/3"], [{}] * 3)[
        0
    ] == ["train", "train", ""]


@given(st.text(min_size=1, max_size=20), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 5))
def test_a_lot_never_changes_and_more_share_never_takes_away(text, val, test, seed):
    once = hashed_split(text, val, test, seed)
    assert once == hashed_split(text, val, test, seed)
    if once == "test":
        assert hashed_split(text, val, min(test + 0.1, 1 - val), seed) == "test"


def test_lots_have_their_shares():
    drawn = [hashed_split(str(k), 0.15, 0.25) for k in range(20_000)]
    assert drawn.count("val") / 20_000 == pytest.approx(0.15, abs=0.01)
    assert drawn.count("test") / 20_000 == pytest.approx(0.25, abs=0.01)
    assert hashed_split("plot 7", 0.15, 0.15) == hashed_split("plot 7", 0.15, 0.15)
    with pytest.raises(BadInput, match="leave something"):
        hashed_split("x", 0.9, 0.2)
    assert [split_name(s) for s in ("Training", "validate", "VAL ", "testing", "fold3")] == [
        "train",
        "val",
        "val",
        "test",
        "fold3",
    ]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.integers(1, 254))
def test_every_value_is_mapped_or_refused(values, edge):
    classes = ClassScheme(("a", "b"))
    mask = np.array([[values]], np.uint8)
    said = {f"0-{edge - 1}": "a", str(edge): "unknown", f"{edge + 1}-255": "b"}
    ids = to_classes(mask, said, classes, "m")
    assert ids.tolist() == [[0 if v < edge else IGNORE if v == edge else 1 for v in values]]
    del said[str(edge)]
    if edge in values:
        with pytest.raises(BadInput, match=str(edge)):
            to_classes(mask, said, classes, "m")
    else:
        assert (to_classes(mask, said, classes, "m") == ids).all()


def test_of_two_masks_of_an_image_the_one_of_its_name_counts_and_the_other_is_told(tmp_path):
    """That whose name comes last in the alphabet counted, and nothing was said."""
    ids = plain(tmp_path, ("a", "b"))
    tif(tmp_path / "labels" / "a_mask.tif", np.zeros(ids.shape, "uint8"))
    found = load_dataset(tmp_path)
    (sample,) = (sample for sample in found if sample.key == "a")
    assert (sample.labels.ids == class_labels(Instances(ids, grid_of(ids))).ids).all()
    (said,) = (line for line in found.problems if "has another" in line)
    assert said.startswith("1 truths beside images are of an image that has another")
    assert "labels/a_mask.tif" in said
