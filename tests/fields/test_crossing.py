"""Tables that hold the same outlines over and over are refused before they are compared."""

import time

import geopandas
import numpy as np
import pytest
import shapely

from selion import country
from selion.cli.main import main
from selion.country import change_maps, piles
from selion.errors import BadInput
from selion.evaluation.vectors import score_fields
from selion.fields.crossing import DEPTH, check_crossing, crossing_depth


def squares(count, copies=1, gap=0.1):
    """Unit squares in rows, each ``copies`` times."""
    k = np.arange(count)
    side = int(np.ceil(np.sqrt(count)))
    x, y = k % side, k // side
    return np.tile(shapely.box(x, y, x + 1 - gap, y + 1 - gap), copies)


def every_pair(one, other):
    """Share of ground of every pair, without an index: the truth in small."""
    shared = shapely.area(shapely.intersection(one[:, None], other[None]))
    return (shared > 0).sum() / max(len(one), len(other))


def test_the_estimate_is_the_count_of_all_pairs():
    rng = np.random.default_rng(5)
    corner = rng.uniform(0, 8, (2, 600, 2))
    one, other = (shapely.box(*c.T, *(c + rng.uniform(3, 5, c.shape)).T) for c in corner)
    truth = every_pair(one, other)
    assert truth > DEPTH
    assert crossing_depth(one, other) == pytest.approx(truth, rel=0.05)
    assert crossing_depth(one, other) == crossing_depth(one, other)


@pytest.mark.parametrize("copies", [1, 3, 20])
def test_honest_tables_are_taken(copies):
    both = squares(6000, copies)
    check_crossing(both, both, "two tables")


def test_slanted_strips_share_their_boxes_and_nothing_else():
    k = np.arange(3000)
    ends = np.stack([k * 0.02, -k * 0.02, k * 0.02 + 40, -k * 0.02 + 40], 1).reshape(-1, 2, 2)
    strips = shapely.buffer(shapely.linestrings(ends), 0.012, cap_style="flat")
    assert len(shapely.STRtree(strips).query(strips)[0]) / len(strips) > 10 * DEPTH
    check_crossing(strips, strips, "strips")


def test_few_outlines_may_lie_on_one_another_as_they_like():
    rings = shapely.buffer(shapely.points(np.zeros((300, 2))), np.arange(1, 301.0))
    check_crossing(rings, rings, "rings")


def test_copies_are_refused_by_their_number():
    many = squares(60, 905)
    begun = time.process_time()
    with pytest.raises(BadInput, match=r"the maps lie on some 9\d\d others each, and at most 25"):
        check_crossing(many, many, "the maps")
    assert time.process_time() - begun < 10


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Two years in which sixty fields are there 150 times, as tables and as maps."""
    folder = tmp_path_factory.mktemp("hostile")
    for year, moved in (("2023", 0.0), ("2024", 1e-4)):
        shapes = shapely.transform(squares(60, 150), lambda xy: xy * 0.002 + [10, 45])
        shapes = shapely.transform(shapes, lambda xy, by=moved: xy + np.array([by, 0]))
        frame = geopandas.GeoDataFrame(
            {"id": np.arange(len(shapes)).astype(str)}, geometry=shapes, crs="OGC:CRS84"
        )
        frame.to_parquet(folder / f"{year}.parquet")
        country.merge_maps([folder / f"{year}.parquet"], folder / year)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["change", "--tables", "2023", "2024", "-o", "out"],
        ["merge", "2023.parquet", "2024.parquet", "-o", "out"],
        ["evaluate", "--truth", "2023.parquet", "--pred", "2024.parquet", "-o", "out"],
    ],
)
def test_verbs_say_so_in_one_sentence_and_write_nothing(hostile, monkeypatch, capsys, command):
    monkeypatch.chdir(hostile)
    monkeypatch.setattr("sys.argv", ["selion", *command])
    held = sorted(path.name for path in hostile.iterdir())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(said) == 1
    assert "at most 25 are compared" in said[0]
    assert sorted(path.name for path in hostile.iterdir()) == held


def test_scores_of_honest_copies_are_those_of_all_pairs():
    shapes = squares(20, 3)
    frame = geopandas.GeoDataFrame(geometry=shapes)
    table = score_fields(frame, frame).scores.table
    assert len(table.shared) == every_pair(shapes, shapes) * len(shapes)


def test_copies_in_the_last_cell_are_refused_before_the_first_is_compared(tmp_path, monkeypatch):
    """Three good cells, and one further along the curve whose fields are there 150 times."""
    compared, looked = [], []
    cell, pile = change_maps._compare_cell, piles.check_piles
    monkeypatch.setattr(
        change_maps,
        "_compare_cell",
        lambda run, *cells: compared.append(cells) or cell(run, *cells),
    )
    monkeypatch.setattr(
        piles, "check_piles", lambda sides, box: looked.append(box) or pile(sides, box)
    )
    for year in ("2023", "2024"):
        good = [
            shapely.transform(squares(60), lambda xy, east=east: xy * 0.002 + [east, 45])
            for east in (10.0, 10.4, 10.8)
        ]
        bad = shapely.transform(squares(60, 150), lambda xy: xy * 0.002 + [11.2, 45])
        for name, shapes in (("good", np.concatenate(good)), ("bad", np.concatenate([*good, bad]))):
            frame = geopandas.GeoDataFrame(
                {"id": np.arange(len(shapes)).astype(str)}, geometry=shapes, crs="OGC:CRS84"
            )
            frame.to_parquet(tmp_path / f"{name}-{year}.parquet")
            country.merge_maps([tmp_path / f"{name}-{year}.parquet"], tmp_path / f"{name}-{year}")
    with pytest.raises(BadInput, match="at most 25 are compared"):
        country.compare_maps(tmp_path / "bad-2023", tmp_path / "bad-2024", tmp_path / "out")
    assert not compared
    assert len(looked) == 1
    assert not (tmp_path / "out").exists()
    country.compare_maps(tmp_path / "good-2023", tmp_path / "good-2024", tmp_path / "out")
    assert len(compared) == 3
    assert len(looked) == 1  # a map that holds its ground once costs no look
