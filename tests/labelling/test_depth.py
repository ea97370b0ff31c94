"""``selion label depth``: a folder of photographs in, masks and a table out; gone on with after a
break; bad input in one sentence.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import rasterio
from PIL import Image

from selion.classes import CROP
from selion.cli.main import main
from selion.data.photos import find_photos, read_photo
from selion.data.values import read_mask
from selion.errors import BadInput, GridMismatch, OutputExists, OutputFailed, UnreadableFile
from selion.labelling import (
    ComputedDepths,
    DepthFolder,
    DepthOptions,
    label_photos,
    read_labels,
    read_rows,
)
from selion.labelling.depths import fit_shape, fit_with_holes, read_depth
from selion.simulation.landscape import simulate_photo


def save(values, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.moveaxis(values, 0, -1) if values.ndim == 3 else values).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photographs with depth in every format, and some that cannot be used."""
    root = tmp_path_factory.mktemp("photos")
    photos = {
        name: simulate_photo(seed, (96, 128))
        for name, seed in (("a/p0", 0), ("p1", 5), ("p2", 10), ("p3", 15))
    }
    for name, photo in photos.items():
        save(photo.image.values, root / "photos" / f"{name}.png")
    sixteen = (photos["p1"].depth * 65535).astype(np.uint16)
    (root / "depth" / "a").mkdir(parents=True)
    np.save(root / "depth" / "a" / "p0.npy", photos["a/p0"].depth)
    save(sixteen, root / "depth" / "p1.png")
    Image.fromarray(photos["p2"].depth).save(root / "depth" / "p2.tif")
    save(np.full((96, 128), 9, np.uint8), root / "depth" / "p3.png")
    (root / "photos" / "empty.jpg").write_bytes(b"")
    save(photos["p1"].image.values[:, :60, :60], root / "photos" / "cut.png")
    save(sixteen, root / "depth" / "cut.png")
    save(sixteen, root / "depth" / "empty.png")
    return root, photos


def run(root, out, **options):
    return {
        row.key: row
        for row in label_photos(root / "photos", out, DepthFolder(root / "depth"), **options)
    }


def test_masks_are_ids_and_the_table_says_how_good_they_are(made, tmp_path):
    root, photos = made
    steps = []
    rows = run(root, tmp_path / "pseudo", on_step=lambda *step: steps.append(step))
    assert [step[1:3] for step in steps] == [(k, 6) for k in range(7)]
    for key in ("a/p0", "p1", "p2"):
        path = tmp_path / "pseudo" / "masks" / f"{key}.png"
        with Image.open(path) as image:
            assert image.mode == "P"
        ids = read_mask(path)[0]
        assert set(np.unique(ids)) == {0, 1}
        truth = photos[key].labels.ids
        assert (ids == truth).mean() > 0.97
        assert read_labels(path, CROP).ids.dtype == np.uint8
        assert rows[key].cover == pytest.approx(ids.mean())
        assert rows[key].quality > 0.3
        assert (tmp_path / "pseudo" / rows[key].image).resolve() == (
            root / "photos" / f"{key}.png"
        ).resolve()
    assert (rows["p3"].routed, rows["p3"].why) == ("none", "the depth map is constant")
    assert rows["cut"].routed == rows["empty"].routed == "bad"
    assert "differ in shape" in rows["cut"].why
    assert not (tmp_path / "pseudo" / "masks" / "cut.png").exists()
    again = {row.key: row for row in read_rows(tmp_path / "pseudo" / "quality.csv")}
    assert again["p1"].k == pytest.approx(rows["p1"].k, rel=1e-5)
    assert np.isnan(again["p3"].cover)


class Counting:
    def __init__(self, photos, stop=99):
        self.calls, self.stop, self.photos = 0, stop, photos

    def __call__(self, image):
        self.calls += 1
        if self.calls > self.stop:
            raise KeyboardInterrupt
        return next(
            p.depth
            for p in self.photos.values()
            if p.image.values.shape == image.shape and (p.image.values == image).all()
        )


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been_stopped(made, tmp_path):
    _, photos = made
    folder = tmp_path / "photos"
    for name, photo in photos.items():
        save(photo.image.values, folder / f"{name}.png")
    whole = Counting(photos)
    label_photos(folder, tmp_path / "whole", ComputedDepths(whole, "toy"))
    assert whole.calls == 4
    with pytest.raises(KeyboardInterrupt):
        label_photos(folder, tmp_path / "parts", ComputedDepths(Counting(photos, 2), "toy"))
    log = tmp_path / "parts" / "done.jsonl"
    log.write_text(log.read_text() + '\n{"row": {"key": "p2"')  # what a kill leaves
    rest = Counting(photos)
    label_photos(folder, tmp_path / "parts", ComputedDepths(rest, "toy"))
    assert rest.calls == 2
    for name in (*(f"masks/{key}.png" for key in photos), "quality.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    save(photos["p1"].image.values, folder / "p2.png")  # another photograph of the same name
    (tmp_path / "parts" / "masks" / "p3.png").unlink()
    third = Counting(photos)
    label_photos(folder, tmp_path / "parts", ComputedDepths(third, "toy"))
    assert third.calls == 2
    with pytest.raises(OutputExists, match=r"other settings \(depths\)"):
        label_photos(folder, tmp_path / "parts", ComputedDepths(third, "other"))
    shutil.copytree(tmp_path / "parts" / "masks", tmp_path / "strange" / "masks")
    before = (tmp_path / "strange" / "masks" / "p1.png").read_bytes()
    for force in (False, True):
        with pytest.raises(OutputExists, match="another origin"):
            label_photos(folder, tmp_path / "strange", ComputedDepths(third, "toy"), force=force)
    assert (tmp_path / "strange" / "masks" / "p1.png").read_bytes() == before


def test_a_run_whose_masks_somebody_removed_does_not_end_well(made, tmp_path):
    """It did, with the rows of the photographs that came after alone."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(made[0], whole)

    def removed(stage, done, total, detail):
        if stage == "label" and done == 1:
            shutil.rmtree(out)

    with pytest.raises(OutputFailed, match=r"of this run are gone .* Give the same command again"):
        run(made[0], out, on_step=removed)
    run(made[0], out)
    for name in ("quality.csv", "settings.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    for path in (whole / "masks").rglob("*.png"):
        assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_full_coverage_is_all_ones_by_pattern_or_by_colours(made, tmp_path):
    root, _ = made
    leaf = np.stack([np.full((40, 50), v, np.uint8) for v in (60, 140, 50)])
    save(leaf, tmp_path / "photos" / "leaf.png")
    save(simulate_photo(0, (40, 50)).image.values, tmp_path / "photos" / "said" / "x.png")
    rows = {
        r.key: r
        for r in label_photos(
            tmp_path / "photos",
            tmp_path / "out",
            ComputedDepths(lambda i: i[0], "toy"),
            DepthOptions(full=("said/*",)),
        )
    }
    assert {key: row.routed for key, row in rows.items()} == {"leaf": "full", "said/x": "full"}
    assert "by its colours" in rows["leaf"].why
    assert "said/*" in rows["said/x"].why
    for key in rows:
        assert (read_mask(tmp_path / "out" / "masks" / f"{key}.png") == 1).all()
    off = label_photos(
        tmp_path / "photos",
        tmp_path / "off",
        ComputedDepths(lambda i: i[0], "toy"),
        DepthOptions(find_full=False),
    )
    assert off[0].routed == "none"
    assert root.exists()


def test_names_that_two_photographs_share_keep_their_endings(tmp_path):
    for name in ("x.png", "x.jpg", "y.png", ".hidden.png"):
        save(np.zeros((3, 8, 8), np.uint8), tmp_path / name)
    assert [p.key for p in find_photos(tmp_path)] == ["x.jpg", "x.png", "y"]
    save(np.zeros((3, 8, 8), np.uint8), tmp_path / "x.jpg.png")
    rows = label_photos(
        tmp_path, tmp_path / "out", ComputedDepths(lambda i: i[0], "toy"), DepthOptions(full=("*",))
    )
    assert (
        len({row.key for row in rows}) == len(list((tmp_path / "out" / "masks").iterdir())) == 4
    ), "no mask is written over another"


def test_results_within_the_photographs_are_none_of_them(tmp_path):
    save(simulate_photo(0, (40, 50)).image.values, tmp_path / "p.png")
    given = (ComputedDepths(lambda i: i[0], "toy"), DepthOptions(full=("*",)))
    # the second time there are masks, the third time those of another run, and then both
    for out in ("out", "out", "other", "."):
        assert [row.key for row in label_photos(tmp_path, tmp_path / out, *given)] == ["p"]
    assert [row.key for row in label_photos(tmp_path, tmp_path, *given)] == ["p"]


def test_grey_and_deep_photographs_come_as_eight_bit_colours(tmp_path):
    save(np.arange(64, dtype=np.uint8).reshape(8, 8), tmp_path / "grey.png")
    save((np.arange(64).reshape(8, 8) * 64).astype(np.uint16), tmp_path / "twelve.png")
    assert read_photo(tmp_path / "grey.png", gray=True).image.values.shape == (3, 8, 8)
    assert read_photo(tmp_path / "twelve.png", gray=True).image.values.max() == round(
        63 * 64 / 4095 * 255
    ), "12 bits of a camera are not nearly black"


def test_what_a_photograph_leaves_transparent_is_not_known(tmp_path):
    photo = simulate_photo(0, (96, 128))
    alpha = np.full((96, 128), 255, np.uint8)
    alpha[:, :30] = 0
    save(np.concatenate([photo.image.values, alpha[None]]), tmp_path / "photos" / "p.png")
    (row,) = label_photos(
        tmp_path / "photos", tmp_path / "out", ComputedDepths(lambda _: photo.depth, "truth")
    )
    ids = read_mask(tmp_path / "out" / "masks" / "p.png")[0]
    assert (ids[:, :30] == 255).all()
    assert set(np.unique(ids[:, 30:])) == {0, 1}
    assert row.cover == pytest.approx((ids[:, 30:] == 1).mean())
    (full,) = label_photos(
        tmp_path / "photos",
        tmp_path / "full",
        ComputedDepths(lambda _: photo.depth, "truth"),
        DepthOptions(full=("*",)),
    )
    assert set(np.unique(read_mask(tmp_path / "full" / "masks" / "p.png"))) == {1, 255}
    assert full.cover == 1


def height_map(values, path):
    """A TIFF of heights as surveys write it: -9999 is where there is none."""
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1,
        dtype="float32", nodata=-9999,
    ) as file:  # fmt: skip
        file.write(values.astype("float32"), 1)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("ending", [".npy", ".tif"])
def test_the_edge_of_what_is_seen_is_no_step_of_depth(tmp_path, ending):
    """The mask of what is seen is the one of the same photograph without transparent corners."""
    photo = simulate_photo(0, (96, 128))
    y, x = np.indices(photo.depth.shape)
    seen = (y + x >= 50) & (y - x <= 60)
    whole = (photo.image.values, photo.depth)
    cut = (photo.image.values * seen, np.where(seen, photo.depth, -9999))
    for name, (colours, depth) in (("whole", whole), ("cut", cut)):
        alpha = 255 * (seen | (name == "whole"))
        save(
            np.concatenate([colours, alpha[None]]).astype("uint8"),
            tmp_path / "photos" / f"{name}.png",
        )
        (tmp_path / "depth").mkdir(exist_ok=True)
        place = tmp_path / "depth" / f"{name}{ending}"
        np.save(place, depth) if ending == ".npy" else height_map(depth, place)
    run(tmp_path, tmp_path / "out")
    first, second = (
        read_mask(tmp_path / "out" / "masks" / f"{name}.png")[0] for name in ("whole", "cut")
    )
    assert (second[~seen] == 255).all()
    assert (first == second)[seen].mean() > 0.99
    save(photo.image.values, tmp_path / "photos" / "cut.png")  # a hole in what it shows
    row = run(tmp_path, tmp_path / "new")["cut"]
    assert (row.routed, "not finite" in row.why) == ("bad", True)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_coarser_map_without_data_in_the_corners_is_taken(tmp_path):
    """Its holes end a part of a pixel beside what the photograph leaves transparent."""
    photo = simulate_photo(0, (96, 128))
    y, x = np.indices(photo.depth.shape)
    seen = (y + x >= 50) & (y - x <= 60)
    coarse = photo.depth.reshape(24, 4, 32, 4).mean((1, 3))
    known = seen.reshape(24, 4, 32, 4).all((1, 3))
    alpha = (255 * seen)[None]
    save(np.concatenate([photo.image.values, alpha]).astype("uint8"), tmp_path / "photos" / "a.png")
    (tmp_path / "depth").mkdir()
    height_map(np.where(known, coarse, -9999), tmp_path / "depth" / "a.tif")
    assert run(tmp_path, tmp_path / "out")["a"].routed != "bad"
    told = read_mask(tmp_path / "out" / "masks" / "a.png")
    (tmp_path / "depth" / "a.tif").unlink()  # a file that does not say what it calls no data
    np.save(tmp_path / "depth" / "a.npy", np.where(known, coarse, -9999))
    assert run(tmp_path, tmp_path / "again")["a"].routed != "bad"
    assert (read_mask(tmp_path / "again" / "masks" / "a.png") == told).all()
    plain = fit_with_holes(np.arange(12.0, dtype="f4").reshape(3, 4), (6, 8), "x")
    assert np.isfinite(plain).all()


def test_depth_maps_of_photographs_that_share_a_name(tmp_path):
    for k, name in enumerate(("x.png", "x.jpg", "y.jpg.jpg")):
        save(np.zeros((3, 8, 8), np.uint8), tmp_path / "photos" / name)
        save(
            np.full((8, 8), k, np.uint8),
            tmp_path / "depth" / f"{name if name[0] == 'x' else 'y.jpg'}.png",
        )
    depths, image = DepthFolder(tmp_path / "depth"), np.zeros((3, 8, 8), np.uint8)
    assert {
        photo.path.name: int(depths(photo, image).max())
        for photo in find_photos(tmp_path / "photos")
    } == {"x.png": 0, "x.jpg": 1, "y.jpg.jpg": 2}


def test_a_depth_map_is_that_of_one_photograph(tmp_path):
    """Two cameras count from one: the second one's photograph took the map of the first one's."""
    photo = simulate_photo(0, (96, 128))
    for name in ("a/IMG_1.png", "b/IMG_1.png", "b/IMG_2.png"):
        save(photo.image.values, tmp_path / "photos" / name)
    for name in ("a/IMG_1", "IMG_2"):  # the last is the only one of its name: it may lie elsewhere
        (tmp_path / "depth" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "depth" / f"{name}.npy", photo.depth)
    rows = run(tmp_path, tmp_path / "out")
    assert [row.routed for row in rows.values()] == ["", "bad", ""]
    assert "b/IMG_1.png has no depth map of its own" in rows["b/IMG_1"].why
    (tmp_path / "depth" / "a" / "IMG_1.npy").rename(tmp_path / "depth" / "IMG_1.npy")
    assert [row.routed for row in run(tmp_path, tmp_path / "new").values()] == ["bad", "bad", ""]


def test_depth_of_another_size_is_resampled_and_of_another_frame_refused():
    ramp = np.linspace(0, 1, 40)[None].repeat(20, 0).astype(np.float32)
    found = fit_shape(ramp, (40, 80), "x")
    assert found.shape == (40, 80)
    assert np.abs(found[0] - (np.arange(80) / 2 - 0.25).clip(0, 39) / 39).max() < 1e-5
    for wrong in ((80, 40), (20, 41)):
        with pytest.raises(GridMismatch, match="not turned, not cut"):
            fit_shape(ramp, wrong, "x")


def test_depth_folders_that_cannot_serve(made, tmp_path):
    root, _ = made
    with pytest.raises(UnreadableFile, match="no folder of depth maps"):
        DepthFolder(tmp_path / "none")
    with pytest.raises(BadInput, match="holds no depth map"):
        DepthFolder(tmp_path)
    save(
        np.random.default_rng(0).integers(0, 255, (3, 9, 9), dtype=np.uint8),
        tmp_path / "coloured.png",
    )
    with pytest.raises(BadInput, match="has lost its numbers"):
        read_depth(tmp_path / "coloured.png")
    photo = find_photos(root / "photos")[-1]
    image = np.zeros((3, 96, 128), np.uint8)
    near, far = (DepthFolder(root / "depth", distance) for distance in (False, True))
    numbers, distances = near(photo, image), far(photo, image)
    np.testing.assert_array_equal(numbers[numbers > 0], -distances[numbers > 0])


def test_where_a_camera_measured_nothing_is_not_what_is_nearest(tmp_path):
    photo = simulate_photo(0, (96, 128))
    metres = 2 - photo.depth
    metres[40:60, 50:80] = 0  # as RGB-D cameras write it
    save(photo.image.values, tmp_path / "photos" / "a.png")
    (tmp_path / "depth").mkdir()
    np.save(tmp_path / "depth" / "a.npy", metres)
    (one,) = find_photos(tmp_path / "photos")
    found = DepthFolder(tmp_path / "depth", distance=True)(one, photo.image.values)
    assert np.isnan(found[41:59, 51:79]).all()
    np.testing.assert_array_equal(found[metres > 0], -metres[metres > 0])


def test_nought_is_what_is_nearest_where_distances_were_stretched_to_begin_there(tmp_path):
    """Stretched to bytes, as depth is mostly stored: that of each photograph begins at 0."""
    photo = simulate_photo(0, (96, 128))
    near = photo.depth.max()
    stretched = np.rint(255 * (near - photo.depth) / np.ptp(photo.depth)).astype(np.uint8)
    stretched[:9, :9] = 0  # a leaf as near as any
    save(photo.image.values, tmp_path / "photos" / "a.png")
    (tmp_path / "depth").mkdir()
    Image.fromarray(stretched).save(tmp_path / "depth" / "a.png")
    (one,) = find_photos(tmp_path / "photos")
    found = DepthFolder(tmp_path / "depth", distance=True)(one, photo.image.values)
    np.testing.assert_array_equal(found, -stretched.astype(np.float32))


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_command_line(made, tmp_path, capsys):
    root, _ = made
    out = tmp_path / "pseudo"
    main(
        [
            "label",
            "depth",
            str(root / "photos"),
            "-o",
            str(out),
            "--depth",
            str(root / "depth"),
            "--keep-depth",
            "--edges-by-depth",
        ]
    )
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "quality.csv")
    assert (
        "6 photographs: 3 masks from depth, 0 all crop, 1 without a step, 2 not read." in said.err
    )
    assert "No mask: p3: the depth map is constant" in said.err
    kept = read_depth(out / "depth" / "p1.png")
    assert (kept.min(), kept.max()) == (0, 65535)
    arguments = ("label", "depth", root / "photos", "--depth", root / "depth", "-o")
    assert "other settings (keep_depth, refine)" in refused(capsys, *arguments, out)
    assert "no photograph" in refused(
        capsys,
        "label",
        "depth",
        root / "depth" / "a",
        "--depth",
        root / "depth",
        "-o",
        tmp_path / "x",
    )
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refused(capsys, *arguments, tmp_path / "file" / "x")
    assert "no depth network or folder called 'smal'" in refused(
        capsys, "label", "depth", root / "photos", "-m", "smal", "-o", tmp_path / "x"
    )
    main(["label", "--help"])
    shown = capsys.readouterr().out
    assert all(
        f"  {name} " in shown for name in ("depth", "screen", "pseudo", "trimap", "selftrain")
    )
