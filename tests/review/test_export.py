"""What comes of a review: the corrected table, labels that hold nothing that nobody decided, and a
model that learns from them.
"""

from __future__ import annotations

import json
import shutil

import geopandas
import numpy as np
import pyarrow.parquet
import pytest
import shapely

from review_scenes import CELL, Hand, across, open_log, write_map
from selion import fields, models, review, training
from selion.cli.main import main
from selion.data import load_dataset
from selion.errors import BadInput, OutputExists, UnreadableFile
from selion.review.finetune import fitted
from selion.review.labels import LabelOptions, known_labels, truths_of
from selion.store import open_raster
from selion.training.datasets import like_start
from train_toys import BANDS, recipe

TINY = {
    "family": "unet",
    "encoder": "tu-test_resnet",
    "encoder_depth": 3,
    "decoder_channels": [8, 8, 8],
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("toy"), 5, 6)


@pytest.fixture
def folder(toy, tmp_path):
    return shutil.copytree(toy, tmp_path / "map")


def where(frame, row, column):
    """Return the position of the field in a row and column of the toy map."""
    placed = frame.to_crs("EPSG:32633").geometry.centroid
    x, y = 300_000 + (4 + (column + 0.5) * CELL) * 10, 5_400_000 - (4 + (row + 0.5) * CELL) * 10
    return int(np.argmin(np.hypot(placed.x - x, placed.y - y)))


def worked(folder):
    """Decide on the left half of the map; return what stands where."""
    log = open_log(folder)
    frame = review.find_map(folder).read()
    ids = {(r, c): str(frame["id"][where(frame, r, c)]) for r in range(5) for c in range(6)}
    hand = Hand(log)
    for r in range(5):
        for c in range(3):
            hand.act("accept", ids[r, c])
    hand.act("reject", ids[1, 1])
    hand.act("unsure", ids[2, 1])
    hand.act("split", ids[3, 0], across(log.state.get(ids[3, 0]).shape, 0.05))
    hand.act("merge", on={name: log.state.get(name).version for name in (ids[0, 0], ids[0, 1])})
    Hand(log, "Ben").act("accept", ids[4, 2])
    return log, ids


def test_the_corrected_table(folder, tmp_path):
    log, ids = worked(folder)
    done = review.export_review(review.find_map(folder), tmp_path / "out", LabelOptions(size=32))
    assert fields.check_fiboa(done.table) == []
    assert fields.check_fiboa(done.rejected) == []
    found, refused = fields.read_fields(done.table), fields.read_fields(done.rejected)
    assert list(refused["id"]) == [ids[1, 1]]
    assert len(found) == 30 - 1 + 1 - 1  # rejected, split, united
    assert found["review:status"].value_counts().to_dict() == {
        "undecided": 15,
        "accepted": 10,
        "corrected": 3,
        "unsure": 1,
    }
    rows = found.set_index("id")
    assert rows.loc[ids[4, 2], "review:person"] == "Ben"
    assert rows.loc[ids[2, 2], "review:person"] == "Ada"
    assert rows["review:time"].notna().sum() == 14
    assert rows["review:person"].isna().sum() == 15
    before = review.find_map(folder).read().set_index("id")
    parts = found[(found["review:status"] == "corrected") & (found["metrics:area"] < 14000)]
    assert len(parts) == 2
    assert parts["metrics:area"].sum() == pytest.approx(
        before.loc[ids[3, 0], "metrics:area"], rel=1e-5
    )
    assert parts["confidence"].tolist() == pytest.approx([before.loc[ids[3, 0], "confidence"]] * 2)
    both = before.loc[[ids[0, 0], ids[0, 1]]]
    large = rows.loc[[name for name in (ids[0, 0], ids[0, 1]) if name in rows.index]].iloc[0]
    assert large["confidence"] == pytest.approx(
        np.average(both["confidence"], weights=both["metrics:area"]), rel=1e-3
    )
    untouched = [ids[r, c] for r in range(5) for c in range(4, 6)]
    assert rows.loc[untouched, "metrics:area"].equals(before.loc[untouched, "metrics:area"])
    # neighbours have the ends of the line too
    assert shapely.coverage_is_valid(found.geometry.to_numpy())
    assert fields.read_origin(done.table).provenance["review"]["people"] == ["Ada", "Ben"]
    assert done.counts == log.state.counts()
    with pytest.raises(OutputExists):
        review.export_review(review.find_map(folder), tmp_path / "out")


def test_whole_numbers_and_yes_or_no_stay_so_beside_a_new_field(tmp_path):
    """A field that somebody drew has no value of the map's own columns; the others keep theirs."""
    parcel = 2**53 + 1  # which no float holds
    frame = geopandas.GeoDataFrame(
        {"id": ["a", "b"], "parcel": [parcel, 7], "watered": [True, False]},
        geometry=[shapely.box(0, 0, 0.01, 0.01), shapely.box(0.01, 0, 0.02, 0.01)],
        crs=4326,
    )
    frame.to_parquet(tmp_path / "fields.parquet")
    files = review.find_map(tmp_path / "fields.parquet")
    hand = Hand(review.ReviewLog(files.log, review.ReviewedMap.of(files.read()), "fields"))
    hand.act("accept", "a")
    hand.act("add", points=[(0.03, 0), (0.04, 0), (0.04, 0.01), (0.03, 0.01)])
    table = review.export_review(files, tmp_path / "out", labels=False).table
    # pandas would read numbers of which one is missing as floats
    rows = pyarrow.parquet.read_table(table).drop_columns("geometry").to_pylist()
    assert {row["review:status"]: (row["parcel"], row["watered"]) for row in rows} == {
        "accepted": (parcel, True), "undecided": (7, False), "added": (None, None)
    }  # fmt: skip


def test_ids_that_are_numbers_come_back_beside_new_ones(tmp_path):
    """Of polygons of one's own; the page took every decision, and none could be written."""
    squares = [shapely.box(0.01 * k, 0, 0.01 * (k + 1), 0.01) for k in range(3)]
    frame = geopandas.GeoDataFrame({"id": [5, 7, 9]}, geometry=squares, crs=4326)
    frame.to_file(tmp_path / "own.gpkg")
    files = review.find_map(tmp_path / "own.gpkg")
    log = review.ReviewLog(files.log, review.ReviewedMap.of(files.read()), "own")
    hand = Hand(log)
    hand.act("accept", "5")
    hand.act("split", "7", across(log.state.get("7").shape))
    hand.act("reject", "9")
    done = review.export_review(files, tmp_path / "out", labels=False)
    statuses = fields.read_fields(done.table).set_index("id")["review:status"]
    assert len(statuses) == 3
    assert statuses["5"] == "accepted"
    assert statuses["7"] == "corrected"
    assert fields.read_fields(done.rejected)["id"].tolist() == ["9"]


def test_what_was_decided_stays_when_the_corrected_map_is_reviewed_again(tmp_path):
    squares = [shapely.box(0.01 * k, 0, 0.01 * (k + 1), 0.01) for k in range(4)]
    frame = geopandas.GeoDataFrame({"id": list("abcd")}, geometry=squares, crs=4326)
    frame.to_parquet(tmp_path / "fields.parquet")
    place = tmp_path / "fields.parquet"
    for person, acts in (
        ("Ada", {"a": "accept", "b": "accept"}),
        ("Ben", {"b": "unsure", "c": "accept"}),
    ):
        files = review.find_map(place)
        log = review.ReviewLog(files.log, review.ReviewedMap.of(files.read()), "fields")
        hand = Hand(log, person)
        for name, word in acts.items():
            hand.act(word, name)
        done = review.export_review(files, tmp_path / person, labels=False)
        place = done.table
    hand.act("accept", "a")
    hand.act("undo", undo="Ben-0003")
    place = review.export_review(files, tmp_path / "last", labels=False).table
    said = fields.read_fields(place).set_index("id")
    assert said["review:status"].to_dict() == {
        "a": "accepted", "b": "unsure", "c": "accepted", "d": "undecided",
    }  # fmt: skip
    assert said["review:person"].to_dict() | {"d": ""} == {
        "a": "Ada",
        "b": "Ben",
        "c": "Ben",
        "d": "",
    }
    assert said["review:time"].notna().tolist() == [True, True, True, False]
    assert said.loc["a", "review:time"] < said.loc["c", "review:time"]
    told = fields.read_origin(place).provenance["review"]
    assert (told["people"], told["decided"], told["undecided"]) == (["Ada", "Ben"], 2, 1)


def test_labels_hold_nothing_that_nobody_decided(folder, tmp_path):
    _, _ids = worked(folder)
    done = review.export_review(
        review.find_map(folder), tmp_path / "out", LabelOptions(size=24, val=0.25, around=6)
    )
    data = load_dataset(tmp_path / "out" / "labels")
    assert set(data.splits) == {"train", "val"}
    assert not data.problems
    assert 0.15 < done.labels.shares["unknown"] < 0.7
    files = review.find_map(folder)
    frame = review.corrected(files.read(), review.replay(files.read(), files.log))
    grid = open_raster(files.image).grid
    truths = truths_of(frame, grid)
    labels, objects = known_labels(
        truths, grid, (slice(0, grid.shape[0]), slice(0, grid.shape[1])), LabelOptions(around=6)
    )

    def cell(row, column):
        return labels.ids[
            4 + row * CELL : 4 + (row + 1) * CELL, 4 + column * CELL : 4 + (column + 1) * CELL
        ]

    assert (cell(1, 4) == 255).all()  # undecided
    assert (cell(2, 1) == 255).all()  # unsure
    assert (cell(1, 1) == 0).all()  # rejected: background
    assert set(np.unique(cell(4, 1))) == {1, 2}
    # united with its neighbour: no boundary between them but at the ends
    assert set(np.unique(cell(0, 0)[:, -1])) == {1, 2}
    assert (cell(0, 0)[4:8, -1] == 1).all()
    assert (cell(3, 0)[4:8, 6] == 2).any()  # split
    assert (labels.ids[4 + 2 * CELL : 4 + 3 * CELL, 0] == 0).all()  # beside decided fields
    assert (labels.ids[:, -1] == 255).all()  # beside undecided ones
    assert (objects.ids[labels.ids == 255] == 0).all()
    for sample in data:
        y, x = (int(part) for part in sample.key.split("_")[1:])
        height, width = sample.labels.ids.shape
        assert np.array_equal(sample.labels.ids, labels.ids[y : y + height, x : x + width])


def test_labels_want_an_image_and_a_decision(folder, tmp_path):
    with pytest.raises(BadInput, match="has been decided yet"):
        review.export_review(review.find_map(folder), tmp_path / "a")
    worked(folder)
    (folder / "image.tif").unlink()
    done = review.export_review(review.find_map(folder), tmp_path / "b")
    assert done.labels is None
    assert "no image" in done.notes[0]
    with pytest.raises(UnreadableFile, match="There is no file"):
        review.find_map(folder, folder / "none.tif")
    with pytest.raises(UnreadableFile, match="no map"):
        review.find_map(folder / "nothing")
    (folder / "more.parquet").touch()
    (folder / "fields.parquet").rename(folder / "ours.parquet")
    with pytest.raises(UnreadableFile, match="several tables"):
        review.find_map(folder)


def test_a_photograph_is_reviewed_in_pixels(tmp_path):
    folder = write_map(tmp_path / "photo", 2, 2, crs=None)
    log = open_log(folder)
    hand, name = Hand(log), log.mapped.ids[0]
    assert hand.act("split", name, across(log.state.get(name).shape, 0.1)).done
    done = review.export_review(review.find_map(folder), tmp_path / "out", LabelOptions(size=16))
    found = fields.read_fields(done.table)
    assert found.crs is None
    assert len(found) == 5
    assert len(load_dataset(tmp_path / "out" / "labels"))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A network of a few thousand weights that made the toy map, it is said."""
    from safetensors.torch import save_file

    from selion.models.card import with_files, write_card

    folder = tmp_path_factory.mktemp("tiny")
    from selion.training.run import make_network, plan_samples
    from train_toys import sample

    spec = recipe(model=training.recipe.Model(TINY))
    network, _ = make_network(spec)
    card = plan_samples(spec, [sample(0)]).card
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()},
        folder / "model.safetensors",
    )
    (folder / "model.onnx").write_bytes(b"the graph is not asked for")
    write_card(with_files(card, folder, ("model.onnx", "model.safetensors")), folder / "card.toml")
    return folder


@pytest.mark.slow
def test_a_model_learns_from_a_review(folder, tmp_path, tiny_model, capsys):
    worked(folder)
    steps = [
        "schedule.epochs=1",
        "schedule.batch=2",
        "hardware.threads=1",
        "hardware.workers=0",
        "hardware.precision=float32",
        "validate.method=components",
    ]
    given = [part for step in steps for part in ("--set", step)]
    asked = [
        "train",
        "--from-review",
        str(folder),
        "-m",
        str(tiny_model),
        "-o",
        str(tmp_path / "run"),
        *given,
    ]
    main([*asked, "--dry-run"])
    assert "Nothing was written." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()  # nor is it in the way of the run itself
    main([*asked, "-q"])
    card = models.read_card(tmp_path / "run" / "model")
    assert card.inputs.bands == BANDS
    assert card.inputs == models.read_card(tiny_model).inputs
    assert card.name == "toy-reviewed"
    assert (tmp_path / "run" / "report.html").is_file()
    assert fields.check_fiboa(tmp_path / "run" / "review" / "fields.parquet") == []
    assert "tensors start from" not in capsys.readouterr().err
    spec = training.read_recipe(tmp_path / "run" / "recipe.toml")
    assert spec.model.start_from == str(tiny_model)
    assert spec.data.dataset.endswith("review/labels")
    before, after = (
        models.load_model(place, "torch").network.state_dict()
        for place in (tiny_model, tmp_path / "run" / "model")
    )
    moved = [
        float((after[name].float() - tensor.float()).abs().max())
        for name, tensor in before.items()
        if tensor.ndim > 1
    ]
    assert max(moved) > 0  # it learned
    # and went on from there: random weights would differ by far more
    assert np.median(moved) < 0.05


def test_what_a_review_recipe_takes_from_the_model(tiny_model, tmp_path):
    card = models.read_card(tiny_model)
    made = fitted(training.read_recipe("review"), card, (), tmp_path, 10.0)
    assert (made.input.bands, made.classes.names, made.model.architecture["encoder"]) == (
        BANDS,
        card.classes.names,
        "tu-test_resnet",
    )
    assert (made.window, made.crops.gsd) == (32, None)
    packaged = fitted(
        training.read_recipe("review"), models.find_card("fields-s2-2season"), (), tmp_path, 10.0
    )
    assert (packaged.window, packaged.crops.gsd, packaged.input.window) == (256, (5.0, 5.0), 512)
    assert packaged.schedule.lr == 5e-5
    assert packaged.model.batch_norm == "frozen"
    assert like_start(packaged, 10.0).data.boundary_width == 1  # 4.4 m in pixels of 5 m
    ours = fitted(
        training.read_recipe("review", ["crops.size=64"]), card, ["crops.size=64"], tmp_path, 10.0
    )
    assert ours.window == 64
    # how near to the start it stays is the recipe's to say, and the model's own name the start
    for changes, kept in (([], "auto"), (["model.keep_start=0.5"], 0.5)):
        near = fitted(training.read_recipe("review", changes), card, changes, tmp_path, 10.0)
        assert (near.model.keep_start, near.model.start_from) == (kept, str(card.folder))
    with pytest.raises(BadInput, match="cannot be trained on fields"):
        fitted(training.read_recipe("review"), models.find_card("crops-rgb"), (), tmp_path)


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_status_and_export_on_the_command_line(folder, tmp_path, capsys):
    assert "which is not known here" in refused(
        capsys, "train", "--from-review", folder, "-o", tmp_path / "run"
    )
    worked(folder)
    main(["review", "status", str(folder)])
    said = capsys.readouterr().out
    assert (
        "14 of 30 fields decided: 15 undecided, 10 accepted, 1 rejected, 3 corrected, 1 unsure."
        in said
    )
    assert "Ben: 1 actions in 0.0 minutes (1 accept)" in said
    main(["review", "status", str(folder), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["rejected"] == 1
    assert facts["skipped"] == 0
    main(
        [
            "review",
            "export",
            str(folder / "fields.parquet"),
            "-o",
            str(tmp_path / "out"),
            "--size",
            "32",
            "--val",
            "0",
        ]
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "fields.parquet")
    assert load_dataset(tmp_path / "out" / "labels").splits == ("train",)
    assert "--force" in refused(capsys, "review", "export", folder, "-o", tmp_path / "out")
    main(["review", "export", str(folder), "-o", str(tmp_path / "out"), "-f", "--no-labels"])
    assert "no map" in refused(capsys, "review", tmp_path / "nothing")
