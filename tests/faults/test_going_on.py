"""The same command goes on after a kill at any place, and a run that never was leaves nothing."""

import os
import shutil
import signal
import sys
from pathlib import Path

import click
import pytest

from fault_runs import in_child
from selion import store, training
from selion.cli import begun
from selion.errors import BadInput, OutputExists, OutputFailed
from selion.store import lock
from selion.training import loop, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked")


def make(folder, act):
    """Return a small command, guarded as all are."""

    @click.command("small")
    @click.option("--out", type=click.Path(path_type=Path))
    @click.option("--force", is_flag=True)
    @click.option("--resume", is_flag=True)
    @click.option("--size", type=int, default=1)
    def command(**values):
        act(**values)

    if "resume" not in folder.name:
        command.params = [param for param in command.params if param.name != "resume"]
    return begun.guarded(command, "small")


def call(command, *words):
    command.main([*map(str, words)], standalone_mode=False)


def test_only_the_same_command_may_replace_what_it_left(tmp_path):
    out = tmp_path / "out.txt"

    def act(out, force, size):
        store.write_text(out, str(size), force=force)
        if size == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    command = make(tmp_path / "plain", act)
    in_child(lambda: call(command, "--out", out, "--size", 2))
    assert out.read_text() == "2"
    with pytest.raises(OutputExists):
        call(command, "--out", out, "--size", 3)
    seen = []
    again = make(
        tmp_path / "plain", lambda **given: seen.append(given) or act(**given | {"size": 4})
    )
    call(again, "--out", out, "--size", 2)
    assert [given["force"] for given in seen] == [False, True]
    assert out.read_text() == "4"
    assert {path.name for path in tmp_path.iterdir()} == {"out.txt", "out.txt.manifest.json"}
    with pytest.raises(OutputExists):
        call(again, "--out", out, "--size", 2)


def test_a_note_that_somebody_removed_meanwhile_is_one_of_the_same_command_again(tmp_path):
    out = tmp_path / "out"

    def act(out, force, size):
        store.write_text(out / "a", "x", force=True)
        if size == 2:
            shutil.rmtree(out)
            (tmp_path / ".out.begun").unlink()
            store.write_text(out / "b", "y", force=True)
            raise OutputFailed("a is gone")

    with pytest.raises(OutputFailed):
        call(make(tmp_path / "p", act), "--out", out, "--size", 2)
    ending = make(tmp_path / "p", lambda **given: act(**given | {"size": 1}))
    call(ending, "--out", out, "--size", 2)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.manifest.json"}


def killed_after(act):
    """Return what a process does that writes its outputs and dies before it has tidied up."""

    def work(**given):
        act(**given)
        os.kill(os.getpid(), signal.SIGKILL)

    return work


def write_folder(out, force, size):
    with store.atomic_folder(out, force) as made:
        (made / "points.csv").write_text("a,b\n" * size)
        (made / "more").mkdir()
        (made / "more" / "map.txt").write_text("map")


def test_what_somebody_wrote_into_the_output_of_a_killed_run_is_not_replaced(tmp_path):
    out = tmp_path / "sample"
    in_child(lambda: call(make(tmp_path / "p", killed_after(write_folder)), "--out", out))
    assert (tmp_path / ".sample.begun").exists()
    (out / "points.csv").write_text("my answers")
    with pytest.raises(OutputExists):
        call(make(tmp_path / "p", write_folder), "--out", out)
    assert (out / "points.csv").read_text() == "my answers"


def test_an_untouched_folder_of_a_killed_run_is_replaced(tmp_path):
    out = tmp_path / "sample"
    in_child(lambda: call(make(tmp_path / "p", killed_after(write_folder)), "--out", out))
    call(make(tmp_path / "p", write_folder), "--out", out)
    assert {path.name for path in tmp_path.iterdir()} == {"sample", "sample.manifest.json"}


def test_a_file_that_was_put_there_after_a_kill_is_not_replaced(tmp_path):
    out = tmp_path / "sample"
    dying = make(tmp_path / "p", lambda **_: os.kill(os.getpid(), signal.SIGKILL))
    in_child(lambda: call(dying, "--out", out))
    out.mkdir()
    (out / "points.csv").write_text("precious")
    with pytest.raises(OutputExists):
        call(make(tmp_path / "p", write_folder), "--out", out)
    assert (out / "points.csv").read_text() == "precious"


def test_a_second_output_of_somebody_else_is_not_replaced(tmp_path):
    out, other = tmp_path / "out.txt", tmp_path / "out.scores.txt"

    def act(out, force, size):
        store.write_text(out, str(size), force=force)
        store.write_text(other, str(size), force=force)

    in_child(lambda: call(make(tmp_path / "p", killed_after(act)), "--out", out))
    other.write_text("precious")
    with pytest.raises(OutputExists):
        call(make(tmp_path / "p", act), "--out", out)
    assert other.read_text() == "precious"


def test_a_forced_run_that_fails_forces_none_after_it(tmp_path):
    out = tmp_path / "out.txt"
    out.write_text("mine")

    def fail(**_):
        raise BadInput("there is no such file")

    with pytest.raises(BadInput):
        call(make(tmp_path / "p", fail), "--out", out, "--force")
    with pytest.raises(OutputExists):
        call(
            make(tmp_path / "p", lambda out, force, size: store.write_text(out, "x", force)),
            "--out",
            out,
        )
    assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize(
    ("name", "stays"), [(".out.merge/part", False), ("out/part", True), ("scores", True)]
)
def test_a_note_stays_only_where_a_failed_run_left_something_to_see(tmp_path, name, stays):
    def fail(**_):
        store.write_text(tmp_path / name, "x")
        if not stays:
            (tmp_path / name).unlink()
        raise BadInput("no")

    with pytest.raises(BadInput):
        call(make(tmp_path / "plain", fail), "--out", tmp_path / "out")
    assert (tmp_path / ".out.begun").exists() == stays


def test_a_folder_that_was_filled_aside_and_moved_is_gone_on_from_after_an_error(tmp_path):
    """As `history` does: its files get their names all at once, and then its page fails."""
    out = tmp_path / "out"

    def act(out, force, size):
        store.check_output(out / "table", force)
        store.write_text(out / ".work" / "table", "x")
        (out / ".work" / "table").replace(out / "table")
        (out / ".work").rmdir()
        if size == 2:
            raise BadInput("no page")

    with pytest.raises(BadInput):
        call(make(tmp_path / "plain", act), "--out", out, "--size", 2)
    again = make(tmp_path / "plain", lambda **given: act(**given | {"size": 1}))
    call(again, "--out", out, "--size", 2)
    assert (out / "table").read_text() == "x"
    assert not (tmp_path / ".out.begun").exists()


def test_work_folders_in_an_output_are_no_one_elses(tmp_path):
    """Several files of one folder, one after the other, with work beside them."""
    out = tmp_path / "out"

    def act(out, force, size):
        names = [out / name for name in "ab"]
        for name in names:
            store.check_output(name, force)
        (out / ".work").mkdir(parents=True, exist_ok=True)
        (out / ".work" / "ids").write_text("half")
        for name in names:
            store.write_text(name, "x", force)
            if size == 2:
                (out / ".selion-0123abcd" / "made").mkdir(parents=True)
                (out / ".selion-0123abcd" / "made" / "b").write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)

    in_child(lambda: call(make(tmp_path / "p", act), "--out", out, "--size", 2))
    finishing = make(tmp_path / "p", lambda **given: act(**given | {"size": 1}))
    call(finishing, "--out", out, "--size", 2)
    assert (out / "b").read_text() == "x"


@pytest.mark.skipif(not lock.LOCKS, reason="no file locks")
def test_one_of_two_that_write_the_same_output_wins_and_the_other_says_so(tmp_path, monkeypatch):
    """Also from another folder, and with other options."""
    out, said = tmp_path / "deep" / "out.txt", []

    def slow(out, force, size):
        if not said:
            for _ in range(2):
                monkeypatch.chdir(out.parent)
                with pytest.raises(BadInput, match="being written by another command") as other:
                    call(make(tmp_path / "p", slow), "--out", out.name, "--size", len(said))
                said.append(other)
            assert (out.parent / ".out.txt.begun").exists()
        store.write_text(out, "x", force=force)

    call(make(tmp_path / "p", slow), "--out", out)
    assert out.read_text() == "x"
    assert {path.name for path in out.parent.iterdir()} == {"out.txt", "out.txt.manifest.json"}
    with pytest.raises(OutputExists):
        call(make(tmp_path / "p", slow), "--out", out)
    assert {path.name for path in out.parent.iterdir()} == {"out.txt", "out.txt.manifest.json"}


def test_what_appears_while_a_command_runs_is_never_replaced(tmp_path):
    out = tmp_path / "out.txt"

    def slow(out, force, size):
        with store.atomic_write(out, force) as made:
            made.write_text("selion")
            if not out.exists():
                out.write_text("mine")

    for _ in range(2):
        with pytest.raises(OutputExists):
            call(make(tmp_path / "p", slow), "--out", out)
        assert out.read_text() == "mine"


@pytest.mark.parametrize("error", [BadInput("no"), OutputFailed("full"), KeyboardInterrupt()])
def test_who_is_refused_leaves_nothing(tmp_path, error):
    def act(**_):
        raise error

    with pytest.raises((type(error), click.Abort)):
        call(make(tmp_path / "plain", act), "--out", tmp_path / "deep" / "er" / "out.txt")
    assert not list(tmp_path.iterdir())


def test_resume_begins_where_the_same_command_was_killed_before_it_did_anything(tmp_path):
    out, seen = tmp_path / "run", []

    def act(**given):
        seen.append(given["resume"])
        if given["resume"]:
            raise BadInput("holds no run to resume")

    command = make(tmp_path / "resume", act)
    with pytest.raises(BadInput):
        call(command, "--out", out, "--resume")
    dying = make(tmp_path / "resume", lambda **_: os.kill(os.getpid(), signal.SIGKILL))
    in_child(lambda: call(dying, "--out", out))
    assert [path.name for path in tmp_path.iterdir()] == [".run.begun"]
    call(command, "--out", out, "--resume")
    assert seen == [True, True, False]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_full_disk_leaves_no_run_that_looks_like_one(tmp_path, monkeypatch, checkpoint):
    recipe = training.read_recipe(min(training.list_recipes()))
    plan = run.TrainingPlan(recipe, (), (), None, ())
    folder = tmp_path / "run"

    def fit(*_args, **_kwargs):
        (folder / "log.jsonl").write_text("{}")
        (folder / "events.out.tfevents.1.selion").write_text("")
        if checkpoint:
            (folder / run.STATE).write_text("whole")
        raise OutputFailed("no space left")

    monkeypatch.setattr(loop, "fit", fit)
    for name in ("make_network", "fingerprint"):
        monkeypatch.setattr(run, name, lambda *_: (None, ""))
    monkeypatch.setattr(run, "keep_start", lambda *_: None)
    with pytest.raises(OutputFailed):
        run.train_plan(plan, folder)
    assert folder.exists() == checkpoint
    assert not checkpoint or (folder / "recipe.toml").exists()
