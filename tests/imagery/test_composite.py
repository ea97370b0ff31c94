from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import (
    BadInput,
    FetchFailed,
    NoScenes,
    OutputExists,
    OutputFailed,
    UnreadableFile,
)
from selion.grid import tiles, whole
from selion.imagery import composite as composite_module
from selion.imagery.composite import COUNT, ComposeOptions, compose, lattice
from selion.imagery.provenance import TAG, read_provenance
from selion.imagery.reading import Unreachable
from selion.imagery.reflectance import Radiometry
from selion.imagery.scene import BANDS, Scene, Season, TilePlan
from selion.imagery.signing import Anonymous
from selion.store import create_cog, open_raster

SEASON = Season("window_a", date(2024, 4, 1), date(2024, 5, 30), "given")
SIGNERS = {"disk": Anonymous()}
EDGE = 174
"""Pixels of the small tile's edge, a multiple of 6."""
SHRUNK = 48
"""Pixels of a block in these tests, so that a small tile has 16 of them."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(composite_module, "BLOCK", SHRUNK)
    monkeypatch.setattr(composite_module, "CELL", 2 * SHRUNK)


def tile_grid(edge=EDGE, crs="EPSG:32633", corner=(300000.0, 5700000.0), gsd=10.0):
    return GeoBox((edge, edge), Affine(gsd, 0, corner[0], 0, -gsd, corner[1]), crs)


def coarse(grid, factor=2):
    a = grid.transform
    return GeoBox(
        (grid.shape[0] // factor, grid.shape[1] // factor),
        Affine(a.a * factor, 0, a.c, 0, a.e * factor, a.f),
        grid.crs,
    )


def save(path, grid, values, dtype):
    with create_cog(path, grid, ("b",), dtype, nodata=0, block=64, force=True) as sink:
        sink.write(whole(grid), values[None].astype(dtype))
    return str(path)


@dataclass
class Archive:
    """A small tile on disk: the ground never changes, clouds do."""

    folder: Path
    grid: GeoBox
    ground: dict[str, np.ndarray]
    """(y, x) reflectance x 10000 of each band."""
    scenes: list[Scene] = field(default_factory=list)
    radiometry: list[Radiometry] = field(default_factory=list)
    clear: list[np.ndarray] = field(default_factory=list)
    """(y, x) bool, at 10 m."""
    seen: list[dict[str, np.ndarray]] = field(default_factory=list)
    """What each scene shows, clouds included."""

    def add(self, scl, *, offset=0, cloud=8000, orbit=22, noise=0, gone=None):
        """Add a scene; ``scl`` is (y, x) at 20 m, ``gone`` (y, x) bool at 10 m is beyond the
        swath.
        """
        number = len(self.scenes)
        name = f"S2_{number:02d}"
        clear = ~np.isin(scl.repeat(2, 0).repeat(2, 1), [0, 1, 3, 7, 8, 9, 10])
        rng = np.random.default_rng(number)
        hrefs = {"scl": save(self.folder / f"{name}_scl.tif", coarse(self.grid), scl, np.uint8)}
        shown = {}
        for band in BANDS:
            shown[band] = np.where(
                clear,
                self.ground[band] + rng.integers(-noise, noise + 1, self.grid.shape),
                cloud + number,
            ).astype(np.uint16)
            numbers = shown[band].astype(int) - offset
            if gone is not None:
                numbers, shown[band] = np.where(gone, 0, numbers), np.where(gone, 0, shown[band])
            hrefs[band] = save(self.folder / f"{name}_{band}.tif", self.grid, numbers, np.uint16)
        time = datetime(2024, 4, 1 + number, 10, 0, tzinfo=UTC)
        self.scenes.append(
            Scene(
                name,
                "33UUP",
                time,
                "disk",
                hrefs,
                {},
                baseline="05.10",
                orbit=orbit,
                platform="sentinel-2a",
            )
        )
        self.radiometry.append(Radiometry(offset, why="for the test"))
        self.clear.append(clear if gone is None else clear & ~gone)
        self.seen.append(shown)

    def plan(self, roi=None, chosen=None):
        roi = roi or whole(self.grid)
        chosen = range(len(self.scenes)) if chosen is None else chosen
        picked = tuple(self.scenes[k] for k in chosen)
        return TilePlan(
            "33UUP",
            SEASON,
            self.grid[roi],
            roi,
            picked,
            tuple(self.radiometry[k] for k in chosen),
            tuple(self.scenes),
        )

    def expected(self, roi=None, chosen=None):
        """Return (band and count, y, x) by NumPy's masked median of the whole stack."""
        roi = roi or whole(self.grid)
        chosen = list(range(len(self.scenes)) if chosen is None else chosen)
        clear = np.stack([self.clear[k][roi] for k in chosen])
        layers = []
        for band in BANDS:
            stack = np.ma.masked_array(
                np.stack([self.seen[k][band][roi] for k in chosen]).astype(float), ~clear
            )
            layers.append(np.floor(np.ma.median(stack, axis=0).filled(0) + 0.5))
        return np.stack([*layers, clear.sum(0)]).astype(np.uint16)


def ground(grid, seed=1):
    rng = np.random.default_rng(seed)
    return {band: rng.integers(200, 5000, tuple(grid.shape)) for band in BANDS}


def cloudy(grid, seed, share=0.4):
    """Return an (y, x) classification at 20 m: patches of cloud and shadow over vegetation, soil
    and water.
    """
    rng = np.random.default_rng(seed)
    height, width = grid.shape[0] // 2, grid.shape[1] // 2
    scl = rng.choice([2, 4, 5, 6, 11], (height, width))
    patches = (
        rng.random((height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width]
    )
    scl[patches < share] = rng.choice([3, 7, 8, 9, 10, 1])
    return scl


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Seven cloudy scenes, old and new baselines, two of them partial swaths."""
    grid = tile_grid()
    made = Archive(tmp_path_factory.mktemp("archive"), grid, ground(grid))
    diagonal = np.add.outer(np.arange(EDGE), np.arange(EDGE))
    for number in range(7):
        gone = {2: diagonal < EDGE, 5: diagonal > 1.2 * EDGE}.get(number)
        scl = cloudy(grid, number)
        if gone is not None:
            scl[gone[::2, ::2] & gone[1::2, 1::2]] = 0
        made.add(scl, offset=-1000 if number % 2 else 0, noise=90, gone=gone, orbit=22 + number % 3)
    return made


def read(path):
    return open_raster(path).read(whole(open_raster(path).grid)).values


def test_equals_the_median_of_the_whole_stack(archive, tmp_path):
    path = compose(archive.plan(), tmp_path / "a.tif", signers=SIGNERS)
    source = open_raster(path)
    assert source.bands == (*BANDS, COUNT)
    assert source.dtype == np.uint16
    assert source.nodata == 0
    assert source.grid == archive.grid
    np.testing.assert_array_equal(read(path), archive.expected())
    assert sorted(tmp_path.iterdir()) == [path]


def test_reproduces_the_cloud_free_ground(tmp_path):
    """Without noise the composite is the ground wherever anything was seen; clouds ignored would
    show.
    """
    grid = tile_grid(120)
    made = Archive(tmp_path, grid, ground(grid, 3))
    for number in range(5):
        made.add(cloudy(grid, number, 0.5), offset=-1000)
    values = read(compose(made.plan(), tmp_path / "a.tif", signers=SIGNERS))
    seen = np.any(made.clear, axis=0)
    for band, layer in zip(BANDS, values, strict=False):
        np.testing.assert_array_equal(layer, np.where(seen, made.ground[band], 0))
    assert 0 < (~seen).mean() < 0.1
    naive = read(compose(made.plan(), tmp_path / "b.tif", signers=SIGNERS, excluded={0}))
    wrong = np.abs(naive[0].astype(int) - made.ground["red"]) > 1000
    assert wrong.mean() > 0.2  # clouds in the majority of views


@pytest.mark.parametrize(
    "roi",
    [
        (slice(0, 18), slice(0, 24)),  # smaller than a block
        (slice(30, 150), slice(42, 174)),
        (slice(6, 12), slice(0, 174)),
        (slice(48, 96), slice(96, 144)),  # just one block
    ],
)
def test_a_part_of_the_tile_equals_the_part_of_the_whole(archive, tmp_path, roi):
    path = compose(archive.plan(roi), tmp_path / "a.tif", signers=SIGNERS)
    assert open_raster(path).grid == archive.grid[roi]
    np.testing.assert_array_equal(read(path), archive.expected(roi))


def test_any_number_of_threads_gives_the_same_bytes(archive, tmp_path):
    files = []
    roi = (slice(0, 174), slice(0, 90))
    for readers, ahead in [(1, 0), (3, 1), (12, 5)]:
        path = tmp_path / f"{readers}.tif"
        compose(
            archive.plan(roi),
            path,
            signers=SIGNERS,
            options=ComposeOptions(readers=readers, ahead=ahead),
        )
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    shuffled = archive.plan(roi, chosen=[3, 0, 6, 1, 5, 2, 4])
    np.testing.assert_array_equal(
        read(compose(shuffled, tmp_path / "s.tif", signers=SIGNERS)), archive.expected(roi)
    )


def test_southern_hemisphere(tmp_path):
    grid = tile_grid(120, "EPSG:32736", (600000.0, 7900000.0))
    made = Archive(tmp_path, grid, ground(grid, 3))
    for number in range(3):
        made.add(cloudy(grid, number))
    path = compose(made.plan((slice(12, 120), slice(6, 96))), tmp_path / "a.tif", signers=SIGNERS)
    assert str(open_raster(path).grid.crs) == "EPSG:32736"
    np.testing.assert_array_equal(read(path), made.expected((slice(12, 120), slice(6, 96))))


def test_never_seen_is_nodata_and_counted(tmp_path):
    grid = tile_grid(120)
    made = Archive(tmp_path, grid, ground(grid))
    for number in range(3):
        scl = np.full((60, 60), 4)
        scl[:, :30] = 9
        scl[: 10 * number, 30:] = 8
        made.add(scl)
    path = compose(made.plan(), tmp_path / "a.tif", signers=SIGNERS)
    raster = open_raster(path).read(whole(grid))
    np.testing.assert_array_equal(raster.values[-1], np.sum(made.clear, axis=0))
    assert not raster.values[:, :, :60].any()
    np.testing.assert_array_equal(raster.valid, raster.values[-1] > 0)
    told = read_provenance(path)
    assert told["never_seen_share"] == 0.5
    assert told["views"] == {"0": 7200, "1": 20 * 60, "2": 20 * 60, "3": 80 * 60}


def test_nothing_seen_at_all_is_an_output_that_says_so(tmp_path):
    grid = tile_grid(24)
    made = Archive(tmp_path, grid, ground(grid))
    made.add(np.full((12, 12), 9))
    path = compose(made.plan(), tmp_path / "a.tif", signers=SIGNERS)
    assert not read(path).any()
    assert read_provenance(path)["never_seen_share"] == 1


def test_a_band_without_data_lowers_the_count(tmp_path):
    grid = tile_grid(24)
    made = Archive(tmp_path, grid, ground(grid))
    for _ in range(2):
        made.add(np.full((12, 12), 4))
    for number, band in enumerate(("red", "nir")):
        numbers = made.ground[band].copy()
        numbers[number, :] = 0
        made.scenes[number].hrefs[band] = save(
            tmp_path / f"hole{number}.tif", grid, numbers, np.uint16
        )
    both = made.ground["green"].copy()
    both[5, 5] = 0
    for number in range(2):
        made.scenes[number].hrefs["green"] = save(
            tmp_path / f"green{number}.tif", grid, both, np.uint16
        )
    values = read(compose(made.plan(), tmp_path / "a.tif", signers=SIGNERS))
    assert (values[-1, :2] == 1).all()
    assert (values[-1, 2:].ravel() == 2).sum() == 22 * 24 - 1
    assert not values[:, 5, 5].any()  # seen in three bands only: no pixel of a field
    np.testing.assert_array_equal(np.delete(values[0], 5, 0), np.delete(made.ground["red"], 5, 0))


def test_margin_around_clouds_does_not_depend_on_blocks(archive, tmp_path):
    from selion.imagery.clouds import clear

    path = compose(
        archive.plan(), tmp_path / "a.tif", signers=SIGNERS, options=ComposeOptions(margin=65)
    )
    depth = np.zeros(archive.grid.shape, int)
    for number, scene in enumerate(archive.scenes):
        scl = read(scene.hrefs["scl"])[0]
        depth += clear(scl, margin=65).repeat(2, 0).repeat(2, 1) & archive.clear[number]
    np.testing.assert_array_equal(read(path)[-1], depth)


def test_files_larger_or_smaller_than_the_tile_and_60_m_masks(tmp_path):
    """A scene whose files begin elsewhere is placed by its coordinates; beyond them nothing is
    seen.
    """
    grid = tile_grid(120)
    made = Archive(tmp_path, grid, ground(grid))
    made.add(np.full((60, 60), 4))
    part = grid[24:90, 36:120]
    for band in BANDS:
        made.scenes[0].hrefs[band] = save(
            tmp_path / f"part_{band}.tif", part, made.ground[band][24:90, 36:120], np.uint16
        )
    made.scenes[0].hrefs["scl"] = save(
        tmp_path / "scl60.tif", coarse(grid, 6), np.full((20, 20), 4), np.uint8
    )
    values = read(compose(made.plan(), tmp_path / "a.tif", signers=SIGNERS))
    inside = np.zeros((120, 120), bool)
    inside[24:90, 36:120] = True
    np.testing.assert_array_equal(values[-1], inside)
    np.testing.assert_array_equal(values[2], np.where(inside, made.ground["blue"], 0))


# Scenes that break


def cut(path, keep=0.5):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * keep)])


@pytest.fixture(scope="module")
def whole_scenes(tmp_path_factory):
    grid = tile_grid(120)
    made = Archive(tmp_path_factory.mktemp("frail"), grid, ground(grid, 9))
    for number in range(5):
        made.add(cloudy(grid, 20 + number), noise=80)
    return made


@pytest.fixture
def frail(whole_scenes, tmp_path):
    """Five scenes whose files may be damaged."""
    folder = shutil.copytree(whole_scenes.folder, tmp_path / "archive")
    scenes = [
        replace(
            scene, hrefs={band: str(folder / Path(href).name) for band, href in scene.hrefs.items()}
        )
        for scene in whole_scenes.scenes
    ]
    return replace(whole_scenes, folder=folder, scenes=scenes)


@pytest.mark.parametrize(
    ("band", "keep"), [("nir", 0.5), ("scl", 0.3), ("red", 0.0), ("blue", 0.9)]
)
def test_a_truncated_file_sets_its_scene_aside_everywhere(frail, tmp_path, band, keep):
    cut(frail.scenes[2].hrefs[band], keep)
    path = compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS)
    np.testing.assert_array_equal(read(path), frail.expected(chosen=[0, 1, 3, 4]))
    told = read_provenance(path)
    assert [scene["id"] for scene in told["scenes"]] == ["S2_00", "S2_01", "S2_03", "S2_04"]
    assert [scene["id"] for scene in told["set_aside"]] == ["S2_02"]
    assert band in told["set_aside"][0]["why"]


def test_a_missing_asset_sets_its_scene_aside(frail, tmp_path):
    del frail.scenes[4].hrefs["green"]
    path = compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS)
    np.testing.assert_array_equal(read(path), frail.expected(chosen=[0, 1, 2, 3]))


@pytest.mark.parametrize(
    "other",
    [
        tile_grid(120, "EPSG:32634"),
        tile_grid(120, corner=(300004.0, 5700000.0)),
        tile_grid(60, gsd=20.0),
    ],
)
def test_a_band_of_another_grid_sets_its_scene_aside(frail, tmp_path, other):
    frail.scenes[1].hrefs["red"] = save(
        tmp_path / "other.tif", other, np.full(other.shape, 500), np.uint16
    )
    path = compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS)
    np.testing.assert_array_equal(read(path), frail.expected(chosen=[0, 2, 3, 4]))


class Breaking:
    """Opens bands whose reads fail for some scenes from the given number of reads on."""

    def __init__(self, scenes, after, error=UnreadableFile):
        self.scenes, self.after, self.error, self.reads, self.lock = (
            set(scenes),
            after,
            error,
            0,
            threading.Lock(),
        )

    def __call__(self, scene, band):
        return _Counted(open_raster(scene.hrefs[band]), self, scene.id)

    def gone(self, scene, reads):
        return scene in self.scenes and reads > self.after


class _Counted:
    def __init__(self, source, breaking, scene):
        self.source, self.breaking, self.scene, self.grid, self.dtype = (
            source,
            breaking,
            scene,
            source.grid,
            source.dtype,
        )

    def read(self, roi):
        with self.breaking.lock:
            self.breaking.reads += 1
            reads = self.breaking.reads
        if self.breaking.gone(self.scene, reads):
            message = f"{self.scene} is gone."
            raise self.breaking.error(message)
        return self.source.read(roi)

    def close(self):
        self.source.close()


@pytest.mark.parametrize("after", [0, 7, 23, 40, 61, 90])
def test_when_a_scene_breaks_does_not_matter(frail, tmp_path, after):
    open_band = Breaking(["S2_01", "S2_03"], after)
    path = compose(frail.plan(), tmp_path / "a.tif", signers={}, open_band=open_band)
    told = read_provenance(path)
    gone = {scene["id"] for scene in told["set_aside"]}
    assert gone <= {"S2_01", "S2_03"}
    assert gone or after > 80
    np.testing.assert_array_equal(
        read(path), frail.expected(chosen=[k for k in range(5) if f"S2_{k:02d}" not in gone])
    )
    assert sum(scene["clear_share"] for scene in told["scenes"]) == pytest.approx(
        read(path)[-1].mean(), abs=1e-5
    )


def test_same_bytes_whenever_it_breaks(frail, tmp_path):
    def made(name, after):
        return compose(
            frail.plan(), tmp_path / name, signers={}, open_band=Breaking(["S2_01"], after)
        ).read_bytes()

    assert made("a.tif", 0) == made("b.tif", 11) == made("c.tif", 50)


@pytest.mark.parametrize(
    ("error", "after"), [(Unreachable, 100), (FetchFailed, 125), (Unreachable, 150)]
)
def test_a_dead_archive_is_no_reason_to_set_scenes_aside(frail, tmp_path, error, after):
    """The blocks that were finished are kept, and the next run has all scenes."""
    every = [scene.id for scene in frail.scenes]
    folder = tmp_path / "kept"
    options = ComposeOptions(folder=folder, ahead=1)
    with pytest.raises(FetchFailed, match="scenes of tile 33UUP in window_a cannot be read"):
        compose(
            frail.plan(),
            tmp_path / "a.tif",
            signers={},
            open_band=Breaking(every, after, error),
            options=options,
        )
    assert not (tmp_path / "a.tif").exists()
    finished = len(list(folder.glob("*.block")))
    assert 0 < finished < 9
    assert json.loads((folder / "composite.json").read_text())["lost"] == {}
    path = compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS, options=options)
    np.testing.assert_array_equal(read(path), frail.expected())


def test_most_scenes_are_damaged_for_good(frail, tmp_path):
    """The rest is used all the same: running it again would not help."""
    for number in (0, 2, 3):
        cut(frail.scenes[number].hrefs["green"])
    path = compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS)
    np.testing.assert_array_equal(read(path), frail.expected(chosen=[1, 4]))
    assert len(read_provenance(path)["set_aside"]) == 3


def test_all_scenes_are_damaged(frail, tmp_path):
    for scene in frail.scenes:
        cut(scene.hrefs["red"], 0.2)
    with pytest.raises(FetchFailed, match="cannot be read"):
        compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS)
    assert not (tmp_path / "a.tif").exists()


def test_forgiven_scenes_come_back_into_all_blocks(frail, tmp_path):
    """One scene falls silent, blocks are made without it, then all do: afterwards nothing tells of
    it.
    """
    folder = tmp_path / "kept"

    class Worse(Breaking):
        def gone(self, scene, reads):
            return super().gone(scene, reads) or reads > 120

    with pytest.raises(FetchFailed):
        compose(
            frail.plan(),
            tmp_path / "a.tif",
            signers={},
            open_band=Worse(["S2_00"], 40, Unreachable),
            options=ComposeOptions(folder=folder),
        )
    assert list(folder.glob("*.block"))
    path = compose(
        frail.plan(), tmp_path / "a.tif", signers=SIGNERS, options=ComposeOptions(folder=folder)
    )
    np.testing.assert_array_equal(read(path), frail.expected())


# Interruptions


class Killed(Exception):
    pass


def killer(after):
    def on_step(stage, done, of, note):
        if stage == "composite" and done == after:
            raise Killed

    return on_step


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_killed_composite_goes_on_to_the_same_bytes(frail, tmp_path, after):
    cut(frail.scenes[2].hrefs["nir"])
    straight = compose(frail.plan(), tmp_path / "straight.tif", signers=SIGNERS)
    with pytest.raises(Killed):
        compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS, on_step=killer(after))
    assert not (tmp_path / "a.tif").exists()
    steps = []
    again = compose(
        frail.plan(), tmp_path / "a.tif", signers=SIGNERS, on_step=lambda *step: steps.append(step)
    )
    assert again.read_bytes() == straight.read_bytes()
    # nothing that was finished is made again
    assert steps[0] == ("composite", after, 9, "33UUP window_a")
    assert not list(tmp_path.glob(".a.tif*"))


@pytest.mark.parametrize("harm", [b"", b"short", None])
def test_damaged_blocks_are_made_again(frail, tmp_path, harm):
    folder = tmp_path / "kept"
    with pytest.raises(Killed):
        compose(
            frail.plan(),
            tmp_path / "a.tif",
            signers=SIGNERS,
            on_step=killer(6),
            options=ComposeOptions(folder=folder),
        )
    for block in sorted(folder.glob("*.block"))[:3]:
        content = bytearray(block.read_bytes())
        content[-7] ^= 255
        block.write_bytes(content if harm is None else harm)
    steps = []
    path = compose(
        frail.plan(),
        tmp_path / "a.tif",
        signers=SIGNERS,
        on_step=lambda *step: steps.append(step),
        options=ComposeOptions(folder=folder),
    )
    assert steps[0][1] == 3
    np.testing.assert_array_equal(read(path), frail.expected())


@pytest.mark.parametrize("change", ["scenes", "radiometry", "excluded", "margin", "roi"])
def test_blocks_of_another_plan_are_not_taken(frail, tmp_path, change):
    folder = tmp_path / "kept"
    first, options = frail.plan(), ComposeOptions(folder=folder)
    with pytest.raises(Killed):
        compose(first, tmp_path / "a.tif", signers=SIGNERS, on_step=killer(6), options=options)
    plan, excluded = first, {0, 1, 3, 7, 8, 9, 10}
    if change == "scenes":
        plan = frail.plan(chosen=[0, 1, 2, 3])
    elif change == "radiometry":
        plan = replace(first, radiometry=(Radiometry(-100.0), *first.radiometry[1:]))
    elif change == "excluded":
        excluded = {0, 9}
    elif change == "margin":
        options = replace(options, margin=20)
    else:
        plan = frail.plan((slice(6, 120), slice(0, 120)))
    steps = []
    compose(
        plan,
        tmp_path / "a.tif",
        signers=SIGNERS,
        excluded=excluded,
        options=options,
        on_step=lambda *step: steps.append(step),
    )
    assert steps[0][1] == 0


def test_a_full_disk_keeps_what_is_finished(frail, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    replace_file, full = Path.replace, {"after": 5}

    def runs_full(self, target):
        full["after"] -= self.name.endswith(".part")
        if full["after"] < 0:
            raise OSError(28, os.strerror(28))
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", runs_full)
    with pytest.raises(OutputFailed, match="No space left"):
        compose(
            frail.plan(), tmp_path / "a.tif", signers=SIGNERS, options=ComposeOptions(folder=folder)
        )
    monkeypatch.undo()
    assert len(list(folder.glob("*.block"))) == 4  # and the manifest
    assert not list(folder.glob("*.part"))
    monkeypatch.setattr(composite_module, "BLOCK", SHRUNK)
    monkeypatch.setattr(composite_module, "CELL", 2 * SHRUNK)
    np.testing.assert_array_equal(
        read(
            compose(
                frail.plan(),
                tmp_path / "a.tif",
                signers=SIGNERS,
                options=ComposeOptions(folder=folder),
            )
        ),
        frail.expected(),
    )


def test_an_output_that_is_there_is_not_touched(frail, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"mine")
    with pytest.raises(OutputExists):
        compose(frail.plan(), path, signers=SIGNERS)
    assert path.read_bytes() == b"mine"
    compose(frail.plan(), path, signers=SIGNERS, options=ComposeOptions(force=True))
    np.testing.assert_array_equal(read(path), frail.expected())


def test_no_scenes(frail, tmp_path):
    with pytest.raises(NoScenes, match="33UUP has no scenes for window_a"):
        compose(frail.plan(chosen=[]), tmp_path / "a.tif", signers=SIGNERS)


def test_classes_that_are_none(frail, tmp_path):
    with pytest.raises(BadInput, match="not a class"):
        compose(frail.plan(), tmp_path / "a.tif", signers=SIGNERS, excluded={77})


# Provenance and blocks


def test_provenance_tells_all(archive, tmp_path):
    plan = replace(archive.plan(), notes=("one scene was refused",))
    told = read_provenance(compose(plan, tmp_path / "a.tif", signers=SIGNERS))
    assert told["software"].startswith("selion ")
    assert told["tile"] == "33UUP"
    assert told["season"] == {
        "name": "window_a",
        "start": "2024-04-01",
        "end": "2024-05-30",
        "why": "given",
    }
    assert told["excluded_classes"] == [0, 1, 3, 7, 8, 9, 10]
    assert told["candidates"] == 7
    assert told["notes"] == ["one scene was refused"]
    first = told["scenes"][1]
    assert first["id"] == "S2_01"
    assert first["time"] == "2024-04-02T10:00:00+00:00"
    assert (first["baseline"], first["orbit"], first["platform"]) == ("05.10", 23, "sentinel-2a")
    assert first["radiometry"] == {
        "offset": -1000,
        "scale": 0.0001,
        "why": "for the test",
        "doubt": "",
    }
    assert first["clear_share"] == pytest.approx(archive.clear[1].mean(), abs=1e-6)
    assert sum(told["views"].values()) == EDGE * EDGE
    assert str(tmp_path) not in json.dumps(told)


def test_what_was_not_delivered_is_not_clear_whatever_is_masked(tmp_path):
    """With a mask of clouds alone the half beyond the swath counted as clear."""
    grid = tile_grid(96)
    made = Archive(tmp_path, grid, ground(grid, 3))
    scl = np.full((48, 48), 4)
    scl[:, :24] = 0
    made.add(scl, gone=scl.repeat(2, 0).repeat(2, 1) == 0)
    told = read_provenance(
        compose(made.plan(), tmp_path / "a.tif", signers=SIGNERS, excluded={8, 9})
    )
    assert told["scenes"][0]["clear_share"] == pytest.approx(0.5)


def test_provenance_of_something_else(archive):
    with pytest.raises(UnreadableFile, match=TAG):
        read_provenance(archive.scenes[0].hrefs["red"])


@pytest.mark.parametrize(
    "roi",
    [
        (slice(0, 348), slice(0, 348)),
        (slice(60, 300), slice(90, 348)),
        (slice(6, 12), slice(200, 206)),
    ],
)
def test_lattice_is_the_tiles_own(roi):
    cover = np.zeros((roi[0].stop - roi[0].start, roi[1].stop - roi[1].start), int)
    for block in lattice(roi, 96):
        cover[block] += 1
        assert all(
            (part.start + frame.start) // 96 == (part.stop - 1 + frame.start) // 96
            for part, frame in zip(block, roi, strict=True)
        )
    assert (cover == 1).all()
    assert lattice(whole(tile_grid(348)), 96) == tiles((348, 348), 96)


def test_scenes_without_a_clear_pixel_are_not_read(tmp_path):
    grid = tile_grid(96)
    made = Archive(tmp_path, grid, ground(grid))
    made.add(np.full((48, 48), 4))
    scl = np.full((48, 48), 9)
    scl[25:, 25:] = 4  # clear in the last of four blocks
    made.add(scl)
    asked = []

    class Watched:
        def __init__(self, source, name):
            self.source, self.name, self.grid, self.dtype = source, name, source.grid, source.dtype

        def read(self, roi):
            asked.append((self.name, roi[0].start, roi[1].start))
            return self.source.read(roi)

        def close(self):
            self.source.close()

    path = tmp_path / "a.tif"
    compose(
        made.plan(),
        path,
        signers={},
        open_band=lambda scene, band: Watched(open_raster(scene.hrefs[band]), f"{scene.id} {band}"),
    )
    assert sorted(place for place in asked if place[0].startswith("S2_01")) == [
        ("S2_01 blue", 48, 48),
        ("S2_01 green", 48, 48),
        ("S2_01 nir", 48, 48),
        ("S2_01 red", 48, 48),
        ("S2_01 scl", 0, 0),  # one cell of the classification serves four blocks
    ]
    assert len([place for place in asked if place[0].startswith("S2_00")]) == 17
    shutil.rmtree(tmp_path, ignore_errors=True)


# The oracle


def stac_item(scene, grid):
    """Return the scene as a STAC item, for odc-stac."""
    import pystac

    box = grid.geographic_extent
    item = pystac.Item(
        scene.id,
        box.json,
        list(box.boundingbox.bbox),
        scene.time,
        {"proj:code": str(grid.crs)},
        collection="sentinel-2-l2a",
    )
    for band, href in scene.hrefs.items():
        source = open_raster(href)
        about = {
            "proj:shape": list(source.grid.shape),
            "proj:transform": list(source.grid.transform[:6]),
            "proj:code": str(grid.crs),
        }
        about["raster:bands"] = [{"data_type": str(source.dtype), "nodata": 0}]
        asset = pystac.Asset(
            href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=about
        )
        item.add_asset(band, asset)
    return item


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("roi", [(slice(0, 174), slice(0, 174)), (slice(30, 150), slice(42, 126))])
def test_equals_odc_stac_and_xarray(archive, tmp_path, roi):
    """The same scenes, grid and mask by odc-stac, xarray and dask: the same medians and counts."""
    import odc.stac
    import xarray

    items = [stac_item(scene, archive.grid) for scene in archive.scenes]
    plan = archive.plan(roi)
    cube = odc.stac.load(
        items,
        bands=[*BANDS, "scl"],
        geobox=plan.grid,
        resampling="nearest",
        chunks={"x": 64, "y": 64},
        groupby="id",
    )
    assert dict(cube.sizes) == {"time": 7, "y": plan.grid.shape[0], "x": plan.grid.shape[1]}
    order = [
        {
            scene.time.replace(tzinfo=None): how
            for scene, how in zip(plan.scenes, plan.radiometry, strict=True)
        }[time]
        for time in cube.time.values.astype("datetime64[us]").tolist()
    ]
    offset = xarray.DataArray([how.offset for how in order], dims="time")
    clear = ~cube.scl.isin([0, 1, 3, 7, 8, 9, 10])
    median = (
        (cube[list(BANDS)] + offset)
        .where(clear & (cube[list(BANDS)] > 0))
        .median("time")
        .compute(scheduler="single-threaded")
    )
    values = read(compose(plan, tmp_path / "a.tif", signers=SIGNERS))
    for band, layer in zip(BANDS, values, strict=False):
        np.testing.assert_array_equal(layer, np.floor(np.nan_to_num(median[band].values) + 0.5))
    views = (clear & (cube.red > 0)).sum("time").compute(scheduler="single-threaded").values
    np.testing.assert_array_equal(values[-1], views)


# The simulated archive: items, radiometry and all


def plans_of(archive, base=None):
    """Return one plan per tile and season, all scenes chosen; no choice and no search, which have
    their own tests.
    """
    from selion.imagery.items import scene_of
    from selion.imagery.providers import find_provider
    from selion.imagery.radiometry import decide

    provider = find_provider(
        {"earth-search": "earth-search", "planetary-computer": "planetary-computer"}[
            archive.options.layout
        ]
    )
    scenes = [
        scene_of(item, provider)
        for item in archive.items_at(base or str(archive.folder), broken=False)
    ]
    plans = []
    for tile, grid in archive.tiles.items():
        for season in archive.seasons:
            chosen = tuple(
                s for s in scenes if s.tile == tile and season.start <= s.time.date() <= season.end
            )
            how = tuple(decide(scene, provider) for scene in chosen)
            plans.append(
                TilePlan(
                    tile,
                    Season(season.name, season.start, season.end),
                    grid,
                    whole(grid),
                    chosen,
                    how,
                    chosen,
                )
            )
    return plans, {provider.name: Anonymous()}


@pytest.fixture(scope="module", params=["earth-search", "planetary-computer"])
def simulated(request, tmp_path_factory):
    from selion.simulation.archive import simulate_archive

    south = request.param == "planetary-computer"
    # 30 degrees east: two zones, southern hemisphere
    centre = (30.0, -25.0) if south else (13.0, 51.0)
    return simulate_archive(
        tmp_path_factory.mktemp("simulated") / "archive",
        seed=5,
        centre=centre,
        layout=request.param,
        tile_px=132,
        n_dates=7,
        kept=0.5,
    )


@pytest.fixture(scope="module")
def composed(simulated, tmp_path_factory):
    """The composite of the archive's first tile and season."""
    plans, signers = plans_of(simulated)
    with pytest.MonkeyPatch.context() as patch:  # before those of a single test
        patch.setattr(composite_module, "BLOCK", SHRUNK)
        patch.setattr(composite_module, "CELL", 2 * SHRUNK)
        return compose(plans[0], tmp_path_factory.mktemp("composed") / "a.tif", signers=signers)


def test_composites_of_the_simulated_archive_are_its_truth(simulated, composed, tmp_path):
    """Old and new baselines, partial swaths, clouds: where anything was seen, the composite is the
    ground without clouds.
    """
    plans, signers = plans_of(simulated)
    assert len(plans) == 8  # of four tiles
    assert simulated.options.layout != "planetary-computer" or {
        str(plan.grid.crs) for plan in plans
    } == {"EPSG:32735", "EPSG:32736"}
    seen = []
    for number, plan in enumerate(plans):
        path = tmp_path / f"{plan.tile}_{plan.season.name}.tif"
        values = read(compose(plan, path, signers=signers) if number else composed)
        truth = read(simulated.truth.tiles[plan.tile, plan.season.name])
        np.testing.assert_array_equal(values[:-1], np.where(values[-1] > 0, truth, 0))
        clear = (
            read(simulated.truth.clear[plan.tile, plan.season.name])[0].repeat(2, 0).repeat(2, 1)
        )
        np.testing.assert_array_equal(values[-1], clear)
        seen.append((values[-1] > 0).mean())
    assert min(seen) > 0.7
    assert max(len({scene.baseline for scene in plan.scenes}) for plan in plans) == 2


def test_clouds_and_offsets_ignored_are_visible(simulated, composed, tmp_path):
    """The mask and the radiometry matter: without them the same scenes give another image."""
    plans, signers = plans_of(simulated)
    plan = plans[0]
    truth = read(simulated.truth.tiles[plan.tile, plan.season.name]).astype(int)
    cloudy = read(compose(plan, tmp_path / "cloudy.tif", signers=signers, excluded={0}))
    raw = replace(plan, radiometry=(Radiometry(),) * len(plan.scenes))
    hazy = read(compose(raw, tmp_path / "raw.tif", signers=signers))
    right = read(composed)
    seen = right[-1] > 0
    assert (np.abs(cloudy[:-1] - truth) > 200).any(0)[seen].mean() > 0.02
    assert (np.abs(hazy[:-1] - truth) > 400).any(0)[seen].mean() > 0.2


def test_composite_from_a_server_equals_the_one_from_disk(simulated, composed, tmp_path):
    from stac_server import StacServer

    with StacServer((), simulated.folder) as server:
        plans, signers = plans_of(simulated, server.cogs)
        remote = compose(plans[0], tmp_path / "remote.tif", signers=signers)
    assert remote.read_bytes() == composed.read_bytes()
