"""A refiner behind any model: what touches is parted, where objects lie stays the model's word, and
blocks do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predict_toys import utm_grid
from selion import fields, metrics, prediction, store
from selion.classes import FTW2, FTW3, ClassScheme
from selion.errors import BadInput, UnknownName
from selion.fields.instances import find_by_class
from selion.grid import photo_grid
from selion.labels import Instances, class_labels
from selion.models.refine.segmenter import Refined, merge_boundary, refined_classes
from selion.raster import Raster
from selion.segmenter import InputSpec, PlainCard, PlainModel, Scaling, View, as_model
from selion.simulation.landscape import simulate

EDGES = ClassScheme(("background", "boundary"), boundary="boundary")
ALL = ClassScheme(("others", "field", "tree", "pond"), ("field", "pond"))
PLAIN = fields.InstanceOptions(min_area=0, join_area=0, smoothing=0, max_hole=0)


@dataclass
class Painted:
    """A model whose answer is its input: the bands are the probabilities of its classes."""

    classes: ClassScheme
    window: int = 64
    overlap: float = 0.25
    multiple: int = 1
    bands: tuple[str, ...] = ()
    gsd: tuple[float, float] | None = None
    context: int | None = None
    fixed: bool = False

    @property
    def inputs(self):
        return InputSpec(
            self.bands or self.classes.names,
            gsd=self.gsd,
            window=self.window,
            overlap=self.overlap,
            multiple=self.multiple,
            context=self.context,
        )

    def __call__(self, views):
        if self.fixed:
            assert {view.pixels.shape[1:] for view in views} == {(self.window, self.window)}
        if self.context:
            assert all(
                view.context.bands == self.inputs.bands and view.context_roi is not None
                for view in views
            )
        return np.stack([view.pixels for view in views]).astype(np.float32)


def painted(*rasters):
    """Several probability rasters as the bands of one image."""
    values = np.concatenate([r.values for r in rasters])
    return Raster(
        values.astype(np.float32), rasters[0].grid, tuple(name for r in rasters for name in r.bands)
    )


def country(shape=(192, 192)):
    """A countryside; probabilities of a model that sees fields but not where one ends, and of one
    that sees outlines.
    """
    scene = simulate(5, shape, 5.0, "smallholder", bands="rgb")
    truth = class_labels(scene.instances).ids
    inside = np.where(truth > 0, 0.9, 0.1)
    line = np.where(truth == 2, 0.9, 0.1)
    base = Raster(np.stack([1 - inside, inside]), scene.image.grid, ("base:ground", "base:field"))
    edges = Raster(np.stack([1 - line, line]), scene.image.grid, ("edge:no", "edge:yes"))
    return scene, painted(base, edges)


BASE = Painted(FTW2, bands=("base:ground", "base:field"))
EDGE = Painted(EDGES, bands=("edge:no", "edge:yes"))


def object_f1(truth, predicted):
    image = metrics.score_ids("", truth, predicted, options=metrics.ImageOptions(distances=False))
    return metrics.object_scores(image.table).f1


def test_touching_fields_are_parted():
    scene, image = country()
    pair = Refined(BASE, EDGE)
    alone = fields.find_instances(prediction.predict(image, BASE), FTW2, "components", PLAIN)
    refined = fields.find_basins(
        prediction.predict(image, pair), pair.classes, "watershed", replace(PLAIN, smoothing=5.0)
    )
    before, after = (
        object_f1(scene.instances.ids, predicted.ids) for predicted in (alone, refined)
    )
    assert after > before + 0.4
    assert after > 0.7
    assert set(refined.table["class"]) == {"field"}


@pytest.mark.parametrize("cover", ["mask", "all"])
def test_blocks_give_the_same(tmp_path, cover):
    _, image = country()
    pair = Refined(BASE, EDGE)
    probs = prediction.predict(image, pair)
    options = replace(PLAIN, smoothing=5.0, min_area=300)
    whole = fields.find_basins(probs, pair.classes, "watershed", options, cover)
    for size in (64, 80):
        parts = fields.map_basins(
            probs, pair.classes, tmp_path / str(size), "watershed", options, cover=cover, block=size
        )
        ids = parts.read((slice(0, 192), slice(0, 192))).ids
        assert np.array_equal(ids, whole.ids)
        assert parts.table.equals(whole.table)
        again = store.open_instances(tmp_path / str(size))
        assert np.array_equal(again.read((slice(0, 192), slice(0, 192))).ids, whole.ids)
    assert len(whole.table) > 10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_probabilities_stay_probabilities(seed, bounded, own):
    rng = np.random.default_rng(seed)
    classes = FTW3 if bounded or own else ALL
    said = (
        rng.dirichlet(np.full(len(classes), 0.3), (2, 5, 4))
        .transpose(0, 3, 1, 2)
        .astype(np.float32)
    )
    said[0, :, 0, 0] = np.eye(len(classes))[-1]  # one pixel is sure of the last class
    edge = None if own else rng.random((2, 5, 4)).astype(np.float32)
    out = merge_boundary(said, classes, edge)
    wanted = refined_classes(classes)
    assert out.shape == (2, len(wanted), 5, 4)
    assert np.allclose(out.sum(1), 1, atol=1e-5)
    assert out.min() >= 0
    mass = sum(
        said[:, classes.index(name)]
        for name in (*classes.things, *([classes.boundary] if classes.boundary else []))
    )
    after = sum(out[:, wanted.index(name)] for name in (*wanted.things, wanted.boundary))
    assert np.allclose(mass, after, atol=1e-5)  # where objects lie is the model's word
    if edge is not None:
        assert np.allclose(
            out[:, wanted.index(wanted.boundary)] + out[:, wanted.index("outline")], edge, atol=1e-5
        )


def test_the_majority_decides_the_class_of_a_basin():
    """Two basins of six columns: the left one mostly field with some pond, the right one mostly
    tree, which is no thing.
    """
    said = np.zeros((4, 6, 12), np.float32)
    said[1, :, :6], said[3, :, :2], said[1, :, :2] = 1, 1, 0
    said[2, :, 6:], said[1, :, 6:8], said[2, :, 6:8] = 1, 1, 0
    edge = np.zeros((1, 6, 12), np.float32)
    edge[:, :, 5:7] = 0.9
    pair = refined_classes(ALL)
    probs = Raster(merge_boundary(said[None], ALL, edge)[0], photo_grid((6, 12)), pair.names)
    objects = fields.find_basins(probs, pair, "watershed", PLAIN, "all")
    assert objects.table["class"].tolist() == ["field"]
    assert (objects.ids[:, :5] == 1).all()
    assert (objects.ids[:, 7:] == 0).all()
    plain = find_by_class(probs, pair, "watershed", PLAIN)
    assert fields.find_instances(probs, pair, "watershed", PLAIN, "all").table.equals(objects.table)
    # without the vote there are three
    assert sorted(plain.table["class"]) == ["field", "field", "pond"]


def test_cover_all_mends_a_coarse_mask():
    """Blocks of 8 px say where fields are; the outline is exact."""
    truth = np.zeros((48, 48), np.int32)
    truth[5:29, 6:23], truth[5:29, 23:43] = 1, 2
    lines = (class_labels(Instances(truth, photo_grid(truth.shape))).ids == 2).astype(np.float32)
    share = (truth > 0).reshape(6, 8, 6, 8).mean((1, 3)) > 0.5
    inside = np.kron(np.where(share, 0.9, 0.1), np.ones((8, 8)))
    classes = refined_classes(FTW2)
    merged = merge_boundary(
        np.stack([1 - inside, inside])[None].astype(np.float32), FTW2, lines[None] * 0.95
    )
    probs = Raster(merged[0], photo_grid(truth.shape), classes.names)
    ious = {}
    for cover in ("mask", "all"):
        image = metrics.score_ids(
            "",
            truth,
            fields.find_basins(probs, classes, "watershed", PLAIN, cover).ids,
            options=metrics.ImageOptions(distances=False),
        )
        ious[cover] = metrics.merged_scores(image.table).mean_iou
    assert ious["all"] > ious["mask"] + 0.05


def test_each_model_sees_windows_of_its_own():
    _, image = country((130, 150))
    small = Painted(FTW2, window=16, overlap=0.5, bands=BASE.bands, context=64, fixed=True)
    pair = Refined(small, EDGE)
    assert pair.inputs.window == 64
    assert pair.inputs.context == 64
    direct = prediction.predict(image, Refined(BASE, EDGE))
    parted = prediction.predict(image, pair)
    assert np.abs(parted.values - direct.values).max() <= 1.01 / 254


def test_own_boundary_needs_no_refiner():
    pair = Refined(Painted(FTW3))
    assert pair.classes.names == ("background", "field", "boundary", "outline")
    assert fields.is_refined(pair.classes)
    assert not fields.is_refined(FTW3)


def test_points_of_a_coarse_mask_prompt_segment_anything(tmp_path):
    """Text4Seg's refinement: every part is asked for once, inside itself, and what the decoder says
    takes the mask's place.
    """
    tiny_sam = pytest.importorskip("tiny_sam")
    from selion.models import load_model
    from selion.models.refine.segmenter import PointRefined, refine, refine_with_points

    sam = load_model(tiny_sam.save("sam", tmp_path), "torch")
    labels = np.zeros((40, 48), int)
    labels[4:20, 4:20], labels[24:36, 4:20], labels[8:30, 28:44] = 1, 1, 3
    image = np.random.default_rng(0).random((3, 40, 48)).astype(np.float32)
    asked = []

    class Listening:
        encode, enlarge, coarse = sam.network.encode, sam.network.enlarge, sam.network.coarse

        def ask(self, encoded, points, given, *, several, mask):
            asked.append((points[0].astype(int), given[0], mask))
            return sam.network.ask(encoded, points, given, several=several, mask=mask)

    found = refine_with_points(Listening(), image, labels, ALL, points=3)
    parts, rounds = [labels == 1, labels == 1, labels == 3], 3
    parts[0], parts[1] = (
        parts[0] & (np.arange(40)[:, None] < 22),
        parts[1] & (np.arange(40)[:, None] > 22),
    )
    assert len(asked) == rounds * len(parts)
    for k, (points, labels_of, mask) in enumerate(asked):
        part = parts[k // rounds]
        assert [bool(part[y, x]) for x, y in points] == [bool(one) for one in labels_of]
        assert sorted(labels_of) == [0, 0, 0, 1, 1, 1]
        # the coarse mask itself: its own cells are sure, others are sure not, the rest of the
        # square is not known
        if k % rounds == 0:
            scale = mask.shape[-1] / max(part.shape)
            rows, columns = (np.arange(length) + 0.5 for length in part.shape)
            near = mask[0][
                np.ix_((rows * scale).astype(int), (columns * scale).astype(int))
            ].numpy()
            assert near[part].mean() > 3 > -3 > near[~part].mean()
            assert not mask[0, round(part.shape[0] * scale) :].any()
        else:  # then its own answer
            assert np.array_equal(
                mask,
                sam.network.ask(
                    sam.network.encode(image),
                    asked[k - 1][0][None],
                    asked[k - 1][1][None],
                    several=False,
                    mask=asked[k - 1][2],
                )[0][0],
            )
    assert np.allclose(found.sum(0), 1, atol=1e-5)
    assert found[2].max() < 1e-3  # a class that was not said is not asked for
    again = refine_with_points(sam.network, image, labels, ALL, points=3)
    assert np.array_equal(found, again)
    base = Painted(ALL, bands=sam.inputs.bands)
    pair = refine(as_model(base), tmp_path, "torch")
    assert isinstance(pair, PointRefined)
    with pytest.raises(BadInput, match="take another refiner"):
        PointRefined(as_model(replace(base, bands=("nir",))), sam)


@dataclass
class Speaking:
    """A model of colours with a scaling of its own, and how it is asked."""

    inputs: InputSpec
    options: str = ""
    classes = FTW2
    gives = "probabilities"
    engine = ""
    card = PlainCard("speaking")

    @property
    def identity(self):
        return {"type": "Speaking", "engine": ""} | (
            {"options": self.options} if self.options else {}
        )

    def __call__(self, views):
        return np.stack([np.zeros((2, *view.pixels.shape[1:]), np.float32) for view in views])


COLOURS = ("red", "green", "blue")
CHECKPOINT = Speaking(InputSpec(COLOURS, Scaling((255.0,), (0.0,), (0.0, 1.0)), stretch=(1, 99)))


@pytest.mark.parametrize(
    ("scaling", "pixels"),
    [
        (Scaling((3000.0,), (0.0,), (0.0, 1.0)), [600.0, 1500.0, 9000.0]),  # digital numbers
        (Scaling((3000.0,), (1000.0,), (0.0, 1.0)), [1600.0, 2500.0, 9000.0]),
        (Scaling((3000.0,)), [600.0, 1500.0, 9000.0]),
        (Scaling((1.0,), (0.0,), (0.0, 1.0)), [0.2, 0.5, 3.0]),  # reflectances
        (Scaling((255.0,)), [51.0, 127.5, 255.0]),
        (Scaling((58.0,), (123.0,)), [51.0, 127.5, 255.0]),  # bytes, around their mean
    ],
)
def test_segment_anything_is_shown_the_picture_that_the_model_sees(monkeypatch, scaling, pixels):
    """Its checkpoint takes bytes: digital numbers divided by 255 would all be white."""
    from selion.models.refine import segmenter

    seen = []

    def look(_, image, labels, classes, **__):
        seen.append(image)
        return np.zeros((len(classes), *labels.shape), np.float32)

    monkeypatch.setattr(segmenter, "refine_with_points", look)
    checkpoint = replace(CHECKPOINT)
    checkpoint.network = None
    pair = segmenter.PointRefined(Speaking(InputSpec(COLOURS, scaling)), checkpoint)
    values = np.broadcast_to(np.array(pixels, np.float32), (3, 4, 3))
    pair([View(values, (slice(0, 4), slice(0, 3)))])
    np.testing.assert_allclose(seen[0][0, 0], [0.2, 0.5, 1.0], rtol=1e-5)


def test_how_a_model_behind_points_is_asked_names_its_run():
    from selion.models.refine.segmenter import PointRefined

    spec = InputSpec(COLOURS, Scaling((255.0,)))
    one, other, again = (
        PointRefined(Speaking(spec, said), CHECKPOINT).identity
        for said in ("samples=1", "samples=5", "samples=1")
    )
    assert one == again != other


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="none of them is a boundary: name a refiner"):
        Refined(BASE)
    with pytest.raises(BadInput, match="selion train epoc"):
        Refined(BASE, Painted(FTW2))
    with pytest.raises(BadInput, match="returns objects"):
        Refined(PlainModel(Painted(FTW2), "objects"), EDGE)
    with pytest.raises(BadInput, match="only a class without objects can be split"):
        Refined(EDGE, EDGE)
    with pytest.raises(BadInput, match="no image suits both"):
        Refined(replace(BASE, gsd=(0.5, 1.0)), replace(EDGE, gsd=(5.0, 10.0)))
    with pytest.raises(BadInput, match="'outline'"):
        refined_classes(ClassScheme(("a", "outline"), ("a",)))
    with pytest.raises(UnknownName, match="cover"):
        fields.find_basins(
            Raster(np.zeros((3, 8, 8), np.float32), utm_grid((8, 8)), FTW3.names),
            FTW3,
            cover="some",
        )


def test_the_whole_road(tmp_path):
    """The packaged model behind itself: table and score raster, and the second half from the raster
    gives the same fields.
    """
    from selion import models, store
    from selion.grid import whole
    from selion.pipeline import maps

    scene = simulate(5, (96, 96), 3.0, "smallholder", bands="rgb")
    with store.create_cog(
        tmp_path / "image.tif", scene.image.grid, scene.image.bands, np.uint8
    ) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    name = "fields-rgb-vhr"
    options = maps.MapOptions(refiner=name, min_area=0)
    job = maps.prepare(tmp_path / "image.tif", name, options)
    assert (
        job.plan.key
        != maps.prepare(tmp_path / "image.tif", name, replace(options, refiner="own")).plan.key
    )
    wanted = replace(options, scores=tmp_path / "scores.tif")
    _, table = maps.map_image(job, tmp_path / "a.parquet", wanted)
    _, again = maps.fields_from_scores(tmp_path / "scores.tif", tmp_path / "b.parquet", options)
    assert job.model.card.name == "fields-rgb-vhr refined by fields-rgb-vhr"
    assert len(table) == len(again) > 3
    assert np.allclose(table.area, again.area)
    assert models.find_card(name).classes.names == ("background", "field", "boundary")
    assert prediction.score_classes(store.open_raster(tmp_path / "scores.tif"), "").names == (
        "background",
        "field",
        "boundary",
        "outline",
    )


def test_a_call_of_a_pair_keeps_several_threads_at_work():
    """It is asked one call at a time, because it remembers the last wider image."""
    assert Refined(BASE, EDGE).batch == 4
    assert Refined(BASE, EDGE).at_once == 0


@pytest.mark.parametrize(("window", "common"), [(16, 64), (32, 48), (64, 64), (64, 32)])
def test_windows_that_a_model_behind_a_refiner_sees_are_counted(window, common):
    seen = []

    class Counted(Painted):
        def __call__(self, views):
            seen.extend(views)
            return super().__call__(views)

    base = Counted(FTW2, window=window, bands=BASE.bands)
    refined = Refined(base, replace(EDGE, window=common))
    edge = refined.inputs.window
    pixels = np.full((4, edge, edge), 0.5, np.float32)
    refined([View(pixels, (slice(0, edge), slice(0, edge)))] * 2)
    assert len(seen) == refined.asked(2)
