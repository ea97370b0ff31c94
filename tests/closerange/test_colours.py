"""Colours and light: casts and fall-offs that were put on, and have to come off again."""

import numpy as np
import pytest
from PIL import Image

from selion.closerange import CropOptions, make_correction, measure_photo, open_model
from selion.closerange.colours import CARD, correct, from_linear, to_linear
from selion.closerange.indices import colour_indices
from selion.closerange.rule import ColourRule
from selion.data.photos import find_photos
from selion.errors import BadInput
from selion.simulation.landscape import simulate_photo

CAST = np.array([[0.62, 0.10, 0.02], [0.06, 0.58, 0.05], [0.03, 0.12, 0.42]])
"""A warm light, and a camera whose filters overlap: linear sRGB to linear camera."""
SHAPE = (240, 320)
CORNERS = ((70, 50), (250, 62), (240, 190), (64, 180))


def taken(picture, falloff=(-0.25, -0.10, -0.05), cast=CAST):
    """What the camera makes of (y, x, 3) bytes: cast and fall-off in linear light, 8 bits."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    r2 = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / ((width / 2) ** 2 + (height / 2) ** 2)
    light = to_linear(picture / 255) @ cast.T
    a, b, c = falloff
    light *= (1 + a * r2 + b * r2**2 + c * r2**3)[..., None]
    return np.rint(255 * np.clip(from_linear(light), 0, 1)).astype(np.uint8)


def card_picture():
    """A card seen at a slant: each of its pixels looked up through the four corners by Pillow."""
    tiles = CARD.reshape(4, 6, 3).repeat(20, 0).repeat(20, 1)
    rows = []
    for (x, y), (u, v) in zip(CORNERS, ((0, 0), (120, 0), (120, 80), (0, 80)), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    wanted = [0, 0, 120, 0, 120, 80, 0, 80]
    solved = np.linalg.solve(np.array(rows, float), wanted)
    seen = Image.fromarray(tiles).convert("RGBA")
    seen = seen.transform(SHAPE[::-1], Image.Transform.PERSPECTIVE, tuple(solved))
    picture = Image.new("RGB", SHAPE[::-1], (90, 80, 70))
    picture.paste(seen, (0, 0), seen)
    return np.asarray(picture)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    plants = simulate_photo(11, SHAPE).image.values.transpose(1, 2, 0)
    even = np.full((*SHAPE, 3), 200, np.uint8)
    (folder / "photos").mkdir()
    for name, picture in (("photos/a", plants), ("card", card_picture()), ("flat", even)):
        Image.fromarray(taken(picture)).save(folder / f"{name}.png")
    return folder, plants.transpose(2, 0, 1)


def test_cast_and_fall_off_come_off_within_what_eight_bits_allow(scene):
    """By hand: the camera's rounding loses half a level at most, a quarter on average.  The inverse
    of the cast multiplies linear light by up to 3.0 (its largest row sum of absolute values, that
    of blue) and the corners by 1 / 0.6; sRGB takes about the root 2.4 of that, 1.95.  Half a level
    on average, with the rounding at the end, is 0.75: so the mean error has to be below that.
    """
    folder, wanted = scene
    how = make_correction(folder / "card.png", CORNERS, folder / "flat.png")
    spoilt = np.asarray(Image.open(folder / "photos" / "a.png")).transpose(2, 0, 1)
    assert np.abs(spoilt.astype(int) - wanted).mean() > 15
    mended = correct(spoilt, how)
    assert np.abs(mended.astype(int) - wanted).mean((1, 2)).max() < 0.75
    rule = ColourRule()
    covers = [rule.mask(image).mean() for image in (wanted, spoilt, mended)]
    assert abs(covers[1] - covers[0]) > 0.01
    assert abs(covers[2] - covers[0]) < 0.002
    mask = rule.mask(wanted)
    true, wrong, found = (colour_indices(image, mask) for image in (wanted, spoilt, mended))
    for name in ("gli", "exg", "ngrdi"):
        assert abs(found[name] - true[name]) < 0.01, name
        assert abs(found[name] - true[name]) < abs(wrong[name] - true[name]) / 4, name


def test_the_fall_off_alone_and_from_a_series(scene, tmp_path):
    folder, _ = scene
    one = make_correction(flat=folder / "flat.png")
    assert one.falloff == pytest.approx((-0.25, -0.10, -0.05), abs=0.06)  # they share their work
    assert sum(one.falloff) == pytest.approx(-0.40, abs=0.01)
    assert "60% of the middle's" in one.notes[0]
    random = np.random.default_rng(2)
    for k in range(12):
        even = random.integers(60, 240, (*SHAPE, 1)).repeat(3, 2).astype(np.uint8)
        Image.fromarray(taken(even)).save(tmp_path / f"{k}.png")
    many = make_correction(flat=tmp_path)
    assert sum(many.falloff) == pytest.approx(-0.40, abs=0.03)
    assert "12 photographs" in many.notes[0]
    Image.fromarray(even[:100]).save(tmp_path / "other.png")
    with pytest.raises(BadInput, match="one size"):
        make_correction(flat=tmp_path)


def test_a_row_says_what_was_done_and_a_run_what_decided_it(scene):
    folder, wanted = scene
    how = make_correction(folder / "card.png", CORNERS, folder / "flat.png")
    photo = find_photos(folder / "photos")[0]
    row = measure_photo(photo, open_model("colour"), CropOptions(correction=how)).row
    assert "colours corrected by a card (24 patches" in row["notes"]
    assert "fall-off of light corrected (60%" in row["notes"]
    assert abs(row["cover"] - ColourRule().mask(wanted).mean()) < 0.002
    assert "card" not in measure_photo(photo, open_model("colour")).row["notes"]


@pytest.mark.parametrize(
    ("corners", "said"),
    [
        (None, "0 corners"),
        (CORNERS[:3], "3 corners"),
        (((0, 0), (300, 0), (300, 230), (0, 230)), "no ColorChecker"),
        (CORNERS[::-1], "no ColorChecker"),
        (((70, 50), (900, 62), (240, 190), (64, 180)), "outside of the photograph"),
        (((0, 0), (10, 10), (20, 20), (30, 30)), "on a line"),
    ],
)
def test_corners_that_are_none(scene, corners, said):
    with pytest.raises(BadInput, match=said):
        make_correction(scene[0] / "card.png", corners)


def test_what_is_not_even_is_refused(scene, tmp_path):
    picture = np.zeros((*SHAPE, 3), np.uint8)
    picture[100:140, 140:180] = 250
    Image.fromarray(picture).save(tmp_path / "lamp.png")
    with pytest.raises(BadInput, match="no lens"):
        make_correction(flat=tmp_path / "lamp.png")
    Image.fromarray(np.zeros_like(picture)).save(tmp_path / "cap.png")  # the lens cap was on
    with pytest.raises(BadInput, match="is black in its middle"):
        make_correction(flat=tmp_path / "cap.png")
    Image.fromarray(np.full((*SHAPE, 3), 255, np.uint8)).save(tmp_path / "white.png")
    with pytest.raises(BadInput, match="too dark or too bright"):
        make_correction(tmp_path / "white.png", CORNERS)
    with pytest.raises(BadInput, match="white where it is brightest"):
        make_correction(flat=tmp_path / "white.png")  # even only because it is overexposed
