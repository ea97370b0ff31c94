"""Object stores: whole objects, put once, whatever the network does; and journals of finished
blocks on them.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from predict_toys import Toy
from selion.cli import watching
from selion.cli.running import placed
from selion.errors import BadInput, FetchFailed, OutputExists, OutputFailed
from selion.grid import whole
from selion.pipeline.probabilities import RunReport
from selion.prediction import (
    BlockJournal,
    JournalSource,
    PredictOptions,
    StripWork,
    plan,
    run_blocks,
)
from selion.runners import Serial
from selion.runners.processes import Processes
from selion.store import (
    ObjectFolder,
    create_cog,
    far_lease,
    fingerprint,
    identity,
    is_object_url,
    object_store,
    open_raster,
)
from selion.store.far_lease import FarLease, far_busy, far_leased
from selion.store.retry import RetryPolicy
from strip_toys import image

pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from faulty_store import FaultyStore

ROI, SHAPE = (slice(0, 40), slice(64, 100)), (3, 40, 36)


@pytest.fixture(scope="module")
def faulty():
    with FaultyStore() as store:
        yield store


@pytest.fixture
def store(faulty, monkeypatch):
    for name, value in faulty.environment.items():
        monkeypatch.setenv(name, value)
    quick = replace(object_store.RETRY, backoff=0.01, answer=1.0)
    monkeypatch.setattr(object_store, "RETRY", quick)
    monkeypatch.setattr(identity, "RETRY", quick)
    faulty.faults.clear()
    faulty.asked.clear()
    return faulty


@pytest.fixture
def folder(store, request):
    return f"s3://bucket/{request.node.name.partition('[')[0]}"


def test_a_new_store_is_empty_though_another_left_something(tmp_path, monkeypatch):
    for _ in range(2):
        with FaultyStore("left") as store:
            for name, value in store.environment.items():
                monkeypatch.setenv(name, value)
            folder = ObjectFolder("s3://left")
            assert list(folder.names()) == []
            folder.put("a", b"1")
            with FaultyStore("beside"):
                assert list(folder.names()) == ["a"], "one that stands is not wiped by another"


def test_an_object_is_put_once(store, folder):
    place = ObjectFolder(folder)
    assert place.put("a", b"first")
    assert not place.put("a", b"second")
    assert (place.get("a"), place.get("b"), place.has("a"), place.has("b")) == (
        b"first",
        None,
        True,
        False,
    )
    assert place.put("a", b"third", replace=True)
    assert place.put("deep/b", b"12")
    assert place.names() == {"a": 5, "deep/b": 2}
    place.delete("a", "never there")
    assert pickle.loads(pickle.dumps(place)).names() == {"deep/b": 2}
    assert is_object_url("gs://b/x")
    assert not is_object_url("https://b/x")


def test_a_file_is_sent_whole_or_refused(store, folder, tmp_path, monkeypatch):
    file = tmp_path / "map.bin"
    file.write_bytes(bytes(range(256)) * 4096)
    place = ObjectFolder(folder)
    assert place.upload(file, "map.bin") == f"{folder}/map.bin"
    with pytest.raises(OutputExists, match="--force"):
        place.upload(file, "map.bin")
    monkeypatch.setattr(object_store, "WHOLE", 1000)
    with pytest.raises(OutputExists):
        place.upload(file, "map.bin")
    place.upload(file, "map.bin", force=True)
    assert place.get("map.bin") == file.read_bytes()


def test_a_file_whose_acknowledgement_was_lost_is_ours(store, folder, tmp_path):
    """The store has taken it and the answer went: what is there when it is sent again is ours."""
    file = tmp_path / "map.bin"
    file.write_bytes(b"map" * 100)
    store.fault("PUT", "/map.bin", "lost", 1)
    assert ObjectFolder(folder).upload(file, "map.bin") == f"{folder}/map.bin"
    assert store.asked["lost"] == 1
    with pytest.raises(OutputExists):
        ObjectFolder(folder).upload(file, "map.bin")


@pytest.mark.parametrize("kind", ["cut", "short", "503"])
@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_raster_of_which_half_an_answer_came_is_read(store, folder, tmp_path, kind, scheme):
    """GDAL keeps what came, and would fail at it again and again."""
    here = image(40)
    with create_cog(tmp_path / "a.tif", here.grid, here.bands, "uint16", block=128) as sink:
        sink.write(whole(here.grid), here.read(whole(here.grid)).values)
    name = f"{kind}-{scheme}.tif"  # GDAL keeps what it has read of a name
    far = ObjectFolder(folder).upload(tmp_path / "a.tif", name)
    address = far if scheme == "s3" else far.replace("s3://", f"http://{store.host}/")
    store.fault("GET", name, kind, 1)
    source = open_raster(address, retry=RetryPolicy(backoff=0.01))
    assert (source.read(whole(here.grid)).values == here.read(whole(here.grid)).values).all()
    assert store.asked[kind] == 1
    store.fault("GET", name, "503", 2)
    assert fingerprint(address)
    assert store.asked["503"] >= 2


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize("kind", ["cut", "short"])
def test_half_of_the_first_bytes_make_no_other_fingerprint(store, folder, tmp_path, kind, scheme):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 400)
    address = ObjectFolder(folder).upload(path, f"{kind}-{scheme}.bin", force=True)
    if scheme == "http":
        address = address.replace("s3://", f"http://{store.host}/")
    truth = fingerprint(address)
    store.fault("GET", f"{kind}-{scheme}.bin", kind, 2)
    assert fingerprint(address) == truth
    assert store.asked[kind] == 2
    empty = ObjectFolder(folder).upload(Path(os.devnull), "empty", force=True)
    assert len(fingerprint(empty)) == 32


@pytest.mark.parametrize("kind", ["503", "slow", "cut"])
def test_a_read_that_fails_is_made_again(store, folder, kind):
    place = ObjectFolder(folder)
    content = np.random.default_rng(0).bytes(200_000)
    place.put("a", content)
    store.fault("GET", "/a", kind, 2)
    assert place.get("a") == content
    assert store.asked[kind] == 2


@pytest.mark.parametrize("kind", ["503", "slow", "lost"])
def test_a_write_that_fails_is_made_again_and_never_doubled(store, folder, kind):
    place = ObjectFolder(folder)
    place.delete("a")
    store.fault("PUT", "/a", kind, 2)
    ours = place.put("a", b"first")
    assert ours or kind != "503", "whose answer was lost, or came too late, may find his own"
    assert place.get("a") == b"first"
    assert not place.put("a", b"second")


def test_a_store_that_does_not_answer_is_one_sentence(store, folder, monkeypatch):
    monkeypatch.setattr(object_store, "RETRY", replace(object_store.RETRY, tries=2))
    store.fault("GET", "/a", "503", 1000)
    store.fault("PUT", "/a", "503", 1000)
    with pytest.raises(FetchFailed, match="a cannot be read"):
        ObjectFolder(folder).get("a")
    with pytest.raises(OutputFailed, match="credentials"):
        ObjectFolder(folder).put("a", b"1")


def lease_of(folder, *, heard=0.0, **said):
    """Put a lease there as a process elsewhere wrote it, so many seconds ago by all clocks."""
    until = time.time() + 90 - heard
    told = {"token": "t", "where": "elsewhere", "process": [1, "1"], "until": until}
    ObjectFolder(folder).put(".a.tif.lease", json.dumps(told | said).encode(), replace=True)
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["bucket"]
    kept = bucket.keys[f"{folder.removeprefix('s3://bucket/')}/.a.tif.lease"]
    kept.last_modified -= timedelta(seconds=heard)


def test_one_command_at_a_time_writes_an_object(store, folder):
    place = ObjectFolder(folder)
    with placed(f"{folder}/a.tif", None, force=False) as first:
        with (
            pytest.raises(BadInput, match=r"a.tif is being written by another command"),
            placed(f"{folder}/a.tif", None, force=True),
        ):
            raise AssertionError("two write it")
        with (
            placed(f"{folder}/b.tif", None, force=False),
            placed(f"{folder}/a.tif", None, force=True, dry=True),
        ):
            first.out.write_bytes(b"one")
        first.publish(RunReport())
    assert place.names() == {"a.tif": 3}


def sent(folder, key, *, dies=False, force=False):
    """Send an output as the command of a key does."""

    def act(out):
        with placed(out, None, force=force) as place:
            place.out.write_bytes(b"one")
            place.publish(RunReport())
        told = far_lease._read(ObjectFolder(folder).get(".a.tif.lease"))
        assert ("sends" in told) is not force
        if dies:
            raise KeyboardInterrupt

    watching.sending(act, ("map", []), {"out": f"{folder}/a.tif"}, key)


def test_a_command_that_died_before_its_manifest_was_sent_goes_on(store, folder):
    """It said that its own output exists already."""
    place = ObjectFolder(folder)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sent(folder, "this one", dies=True)
        with pytest.raises(OutputExists):
            sent(folder, "another one")
    sent(folder, "this one")
    assert place.names() == {"a.tif": 3}
    with pytest.raises(OutputExists):
        sent(folder, "this one")
    lease_of(folder, heard=130, sends="this one")  # as kill -9 leaves it
    sent(folder, "this one")
    lease_of(folder, sends="this one")
    with pytest.raises(BadInput, match="is being written by another command"):
        sent(folder, "this one")
    lease_of(folder, heard=130)
    with pytest.raises(OutputExists):
        sent(folder, "this one")
    with pytest.raises(KeyboardInterrupt):
        sent(folder, "this one", dies=True, force=True)
    with pytest.raises(OutputExists):  # it may be an older one: what was to be replaced
        sent(folder, "this one")
    assert place.names() == {"a.tif": 3}


def test_whoever_died_here_or_is_late_elsewhere_is_taken_over(store, folder):
    lease_of(folder)
    said = r"the name is free in (8\d|90) s, or once .a.tif.lease beside it is deleted\."
    with pytest.raises(BadInput, match=said):
        FarLease(ObjectFolder(folder), "a.tif").take()
    for dead in (
        {"where": far_lease._where(), "process": [os.getpid(), "1"]},
        {"heard": 130},
        {"process": "nonsense"},
        {"until": None},
    ):
        lease_of(folder, **dead)
        with far_leased(ObjectFolder(folder), "a.tif"):
            pass
    assert ObjectFolder(folder).names() == {}


@pytest.mark.parametrize("wrong", [-86_400.0, 86_400.0])
def test_clocks_of_machines_do_not_decide_who_is_late(store, folder, wrong):
    """A clock that was a day late made a living command count as dead, one that was ahead a dead
    one as alive for a day.
    """
    lease_of(folder, until=time.time() + 90 + wrong)
    with pytest.raises(BadInput, match=r"the name is free in 1[12]\d s"):
        FarLease(ObjectFolder(folder), "a.tif").take()
    lease_of(folder, heard=130, until=time.time() + wrong)
    with far_leased(ObjectFolder(folder), "a.tif"):
        pass
    assert ObjectFolder(folder).names() == {}


@pytest.mark.parametrize("shift", [-86_400.0, 86_400.0])
def test_a_process_that_lives_here_holds_its_lease_whatever_the_clock_is_set_to(
    store, folder, shift, monkeypatch
):
    place, real = ObjectFolder(folder), time.time
    with far_leased(place, "a.tif") as first:
        monkeypatch.setattr(far_lease.time, "time", lambda: real() + shift)
        assert far_busy(place, "a.tif")
        with pytest.raises(BadInput, match="is being written by another command"):
            FarLease(place, "a.tif").take()
        first.check()
    assert not far_busy(place, "a.tif")


def test_a_process_that_nobody_buried_holds_nothing(store, folder):
    """In a container whose first process does not ask how others ended, they stay in the list."""
    dead = subprocess.Popen(["sleep", "60"])
    said = {"where": far_lease._where(), "process": [dead.pid, far_lease._born(dead.pid)]}
    lease_of(folder, **said)
    assert far_busy(ObjectFolder(folder), "a.tif")
    dead.kill()
    for _ in range(200):
        if not far_busy(ObjectFolder(folder), "a.tif"):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("it counts as alive")
    assert dead.wait() == -9


@pytest.mark.parametrize("far", [True, False])
def test_one_command_at_a_time_keeps_its_blocks_in_a_folder(store, folder, far, tmp_path):
    """The second one removed the blocks of the first while that was at work."""
    work = f"{folder}/work" if far else tmp_path / "work"
    with placed(tmp_path / "a.tif", work, force=False):
        with (
            pytest.raises(BadInput, match=r"journal is being written|give another --work"),
            placed(tmp_path / "b.tif", work, force=False),
        ):
            raise AssertionError("two keep their blocks there")
        with (
            placed(tmp_path / "b.tif", work, force=False, dry=True),
            placed(tmp_path / "c.tif", work, force=False, alone=False),
            placed(tmp_path / "d.tif", f"{folder}/other", force=False),
        ):
            pass
    with placed(tmp_path / "b.tif", work, force=False):
        pass
    assert ObjectFolder(folder).names() == {}
    assert far or not work.exists()


def test_of_many_who_find_a_late_one_a_single_one_takes_over(store, folder):
    lease_of(folder, heard=130)
    leases = [FarLease(ObjectFolder(folder), "a.tif") for _ in range(6)]

    def taken(lease):
        try:
            lease.take()
        except BadInput:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        held = [lease for lease, mine in zip(leases, pool.map(taken, leases), strict=True) if mine]
    assert len(held) == 1
    held[0].check()
    lease_of(folder, token="another")
    with pytest.raises(OutputFailed, match=r"took over .* nothing was sent"):
        held[0].check()
    held[0].give_back()
    assert ObjectFolder(folder).has(".a.tif.lease"), "it belongs to another one now"


def test_a_lease_whose_acknowledgement_was_lost_is_ours_and_is_renewed(store, folder, monkeypatch):
    monkeypatch.setattr(far_lease, "RENEW", 0.01)
    store.fault("PUT", ".a.tif.lease", "lost", 2)
    with far_leased(ObjectFolder(folder), "a.tif") as lease:
        first = ObjectFolder(folder).get(lease.name)
        monkeypatch.setattr(far_lease, "LEASE", 500.0)
        for _ in range(200):
            if ObjectFolder(folder).get(lease.name) != first:
                break
            time.sleep(0.01)
        else:
            raise AssertionError("nobody renews it")
        lease.check()
    assert ObjectFolder(folder).names() == {}


def block(seed=0):
    return np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)


def test_a_block_belongs_to_who_came_first(store, folder):
    one, other = (
        BlockJournal(folder, "key"),
        pickle.loads(pickle.dumps(BlockJournal(folder, "key"))),
    )
    assert one.save(ROI, block())
    assert not other.save(ROI, block())
    assert np.array_equal(other.load(ROI, SHAPE), block())
    assert one.finished(lambda roi: SHAPE, [ROI, (slice(40, 80), slice(64, 100))]) == [True, False]
    name = next(name for name in ObjectFolder(folder).names() if name.endswith(".block"))
    content = ObjectFolder(folder).get(name)
    ObjectFolder(folder).put(name, content[: len(content) // 2], replace=True)
    assert one.load(ROI, SHAPE) is None
    assert other.save(ROI, block()), "what is broken is replaced"
    assert one.has(ROI, SHAPE)


def test_a_block_that_broke_on_the_store_is_made_again_by_the_next_run(store, folder):
    decided = plan(image(), Toy(), PredictOptions(block=200))
    job = StripWork(image(), decided, BlockJournal(folder, decided.key), Toy, Toy())
    assert run_blocks(job, Serial()) == ()
    place = ObjectFolder(folder)
    name = min(name for name in place.names() if name.endswith(".block"))
    sound = place.get(name)
    place.put(name, sound[:-9], replace=True)
    with pytest.raises(BadInput, match="run the same command again"):
        JournalSource(job.journal, decided).stored((slice(0, 10), slice(0, 10)))
    assert run_blocks(job, Serial()) == ()
    assert place.get(name) == sound


def test_a_journal_of_another_key_is_cleared(store, folder):
    BlockJournal(folder, "key").save(ROI, block())
    assert not BlockJournal(folder, "other").has(ROI, SHAPE)
    assert set(ObjectFolder(folder).names()) == {"journal.json"}
    journal = BlockJournal(folder, "other")
    journal.save(ROI, block())
    journal.remove()
    assert ObjectFolder(folder).names() == {}


def test_a_run_on_a_store_that_fails_comes_to_the_same_bytes(store, folder, tmp_path):
    decided = plan(image(), Toy(), PredictOptions(block=100))
    here = BlockJournal(tmp_path, decided.key)
    assert run_blocks(StripWork(image(), decided, here, Toy, Toy()), Serial()) == ()
    for method, kind, times in (
        ("PUT", "503", 4),
        ("PUT", "lost", 2),
        ("GET", "503", 3),
        ("GET", "cut", 3),
        ("GET", "slow", 2),
    ):
        store.fault(method, ".block", kind, times)
    there = BlockJournal(folder, decided.key)
    with Processes(2, 1) as run:
        assert run_blocks(StripWork(image(), decided, there, partial(Toy), Toy()), run) == ()
    names = sorted(path.name for path in tmp_path.glob("*.block"))
    assert sorted(name for name in ObjectFolder(folder).names() if name.endswith(".block")) == names
    for name in names:
        assert ObjectFolder(folder).get(name) == (tmp_path / name).read_bytes()
    assert store.asked["503"] >= 4
    assert store.asked["lost"] == 2


@pytest.fixture
def simple(store, folder, monkeypatch):
    """A folder on a store that knows no conditions, as some that speak S3."""
    monkeypatch.setattr(object_store, "_warned", set())
    store.fault("PUT", "/", "simple", 1000)
    return folder


def write_one(folder):
    with placed(f"{folder}/a.tif", None, force=False) as place:
        place.out.write_bytes(b"one")
        place.publish(RunReport())


def test_a_store_without_conditions_is_written_with_a_warning(simple):
    """It was said to check the address and the credentials."""
    with pytest.warns(UserWarning, match="cannot refuse what two commands write at once") as told:
        write_one(simple)
    assert len(told) == 1
    assert ObjectFolder(simple).names() == {"a.tif": 3}
    with pytest.raises(OutputExists), placed(f"{simple}/a.tif", None, force=False):
        raise AssertionError("it is there")


@pytest.mark.filterwarnings("ignore:.*what two commands write at once")
def test_what_lies_on_a_store_without_conditions_is_looked_at_first(simple):
    """So whoever comes a moment later is still told, and a late one is taken over."""
    place = ObjectFolder(simple)
    assert place.put("a", b"1")
    assert not place.put("a", b"2")
    _, about = place.get_range("a", 0, 9)
    assert place.put_over("a", b"3", about)
    assert not place.put_over("a", b"4", about)
    assert place.get("a") == b"3"
    lease_of(simple)
    with (
        pytest.raises(BadInput, match="is being written by another command"),
        far_leased(ObjectFolder(simple), "a.tif"),
    ):
        raise AssertionError("two write it")
    lease_of(simple, heard=130)
    with far_leased(ObjectFolder(simple), "a.tif") as lease:
        lease.check()
    assert not place.has(".a.tif.lease")


class Cutting:
    """A store that sends half of what it holds, so many times."""

    def __init__(self, times):
        self.times, self.held = times, b""

    def put(self, _name, body):
        self.held = body
        return True

    def get(self, _name):
        self.times -= 1
        return self.held[: len(self.held) // 2] if self.times >= 0 else self.held


@pytest.mark.parametrize(("times", "lost"), [(0, False), (2, False), (3, True)])
def test_half_an_answer_is_no_other_command_that_took_over(times, lost):
    lease = FarLease(Cutting(times), "a.tif")
    lease.take()
    if lost:
        with pytest.raises(OutputFailed, match="by another command now"):
            lease.check()
    else:
        lease.check()
