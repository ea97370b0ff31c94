import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics import Report, score_ids, stratify, summarise
from selion.metrics.image import ImageScores
from selion.metrics.overlap import table_from_pairs
from selion.metrics.summary import ScoreOptions


def image(key, hits, truth_labels, prediction_labels=None, misses=0):
    """Make an image whose first objects are found exactly and whose other ones are missed, and
    ``misses`` false alarms.
    """
    n = len(truth_labels)
    found = np.arange(hits)
    table = table_from_pairs(
        (np.arange(1, n + 1), np.full(n, 4.0)),
        (np.arange(1, hits + misses + 1), np.full(hits + misses, 4.0)),
        (found, found, np.full(hits, 4.0)),
    )
    said = None if prediction_labels is None else np.array(prediction_labels, object)
    return ImageScores(
        key,
        "",
        table,
        (4.0 * hits, 4.0 * misses, 4.0 * (n - hits)),
        100.0,
        labels={"crop": (np.array(truth_labels, object), said)},
    )


def test_by_a_column_of_texts():
    table = stratify(
        [image("a", 2, ["wheat", "maize", "wheat"]), image("b", 1, ["wheat", None])], "crop"
    )
    assert table.index.tolist() == ["maize", "wheat", "(none)"]
    assert table["truth"].tolist() == [1, 3, 1]
    assert table["found"].tolist() == [1, 2, 0]
    assert table["recall"].tolist() == pytest.approx([1, 2 / 3, 0])
    assert table["mean_iou"].iloc[0] == 1
    assert table["precision"].isna().all()


def test_precision_where_guesses_have_the_column():
    table = stratify(
        [image("a", 1, ["wheat", "maize"], ["wheat", "wheat", "rye"], misses=2)], "crop"
    )
    assert table["precision"].dropna().to_dict() == {"wheat": 0.5, "rye": 0.0}
    assert table.loc["rye", "truth"] == 0


def test_many_numbers_are_cut_at_quartiles_and_counts_add_up():
    table = stratify([image("a", 20, list(np.arange(40.0)))], "crop")
    assert len(table) == 4
    assert table["truth"].sum() == 40
    assert table["recall"].tolist() == pytest.approx([1, 1, 0, 0], abs=0.1)
    assert stratify([image("a", 1, [10, 2, 2])], "crop").index.tolist() == ["2", "10"]


def test_a_whole_number_is_one_value_whether_its_column_lacks_one_or_not():
    # GeoPandas makes floats of a column of whole numbers in which one is missing
    given = image("a", 3, [5, 5, 7], np.array([5.0, np.nan, 7.0]))
    other = image("b", 1, np.array([7.0, np.nan], np.float32))
    table = stratify([given, other], "crop")
    assert table.index.tolist() == ["5", "7", "(none)"]
    assert table["truth"].tolist() == [2, 2, 1]
    assert table["prediction"].tolist() == [1, 1, 1]
    assert table["precision"].tolist() == [1, 1, 1]
    assert stratify([image("a", 1, [0.5, 1.0])], "crop").index.tolist() == ["0.5", "1"]


def test_strata_are_in_the_report_and_a_missing_column_is_said():
    images = [image("a", 2, ["wheat", "maize", "wheat"])]
    run = summarise("run", images, ScoreOptions(draws=0))
    assert "| wheat" in Report("t", (run,)).to_markdown()
    assert Report("t", (run,)).to_dict()["runs"][0]["strata"]["crop"][1]["crop"] == "wheat"
    with pytest.raises(BadInput, match="no column"):
        stratify([score_ids("x", np.eye(3, dtype=int), np.eye(3, dtype=int))], "crop")
    empty = stratify([image("a", 0, [])], "crop")
    assert len(empty) == 0


def test_quarters_of_long_numbers_are_told_apart():
    """Days as numbers (20240501) were all '2.02405e+07 to 2.02405e+07', one row of four."""
    days = [20240501 + k for k in range(16)]
    table = stratify([image("a", 8, days)], "crop")
    assert table["truth"].tolist() == [4, 4, 4, 4]
    assert table["found"].tolist() == [4, 4, 0, 0]
    bounds = np.quantile(days, [0, 0.25, 0.5, 0.75, 1])
    read = [[float(end) for end in name.split(" to ")] for name in table.index]
    assert [low for low, _ in read] == pytest.approx(bounds[:-1].tolist(), abs=0.5)
    assert [high for _, high in read] == pytest.approx(bounds[1:].tolist(), abs=0.5)


def test_a_column_of_lists_is_read_as_texts():
    """GeoParquet gives an array a row: its truth value was asked for, with a traceback."""
    lists = np.empty(3, object)
    lists[:] = [np.array(["wheat", "rye"]), np.array(["rye"]), None]
    given = image("a", 2, ["x", "y", "z"])
    given.labels["crop"] = (lists, None)
    table = stratify([given], "crop")
    assert table.index.tolist() == ["['rye']", "['wheat' 'rye']", "(none)"]
    assert table["truth"].tolist() == [1, 1, 1]
