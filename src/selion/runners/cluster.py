"""Ray: one that is started on this machine, or a cluster that is there.

The only module that knows Ray.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selion.cores import usable_cores
from selion.errors import BadInput, MissingExtra
from selion.extras import require
from selion.runners.options import SCHEME, RunnerOptions
from selion.runners.work_queue import FAULTS, TRIES, Done, Job, Runner, WorkQueue
from selion.runners.worker import limit_threads, portable, unpacked

STORE = 128 * 2**20
"""Bytes of Ray's object store on this machine: what goes through it is small."""
AHEAD = 2
"""Blocks that are given out for each one that there is room for, so that no worker waits for the
next."""
CLIENT = 10001
"""Port of Ray Client, by which a machine that is no node of the cluster may speak to it; at any
other port the cluster's own address is meant."""
ANSWER = 10.0
"""Seconds that an address may take to answer."""
FRAME = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""A frame of HTTP/2: no content, kind 4 (SETTINGS), no flags, stream 0."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray reports its use to its makers unless it is told not to
    # a machine whose cable is cut sends no farewell: without these milliseconds Ray waits for its
    # answers for seven minutes
    "RAY_grpc_client_keepalive_time_ms": "20000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}
"""What Ray is told by its environment, as far as the user has not."""
AUTO, ADDRESS = "auto", "RAY_ADDRESS"
"""What stands for the cluster that the environment names, and where Ray tells it to a job."""
PLACE = re.compile(r"[^/\s]+:\d+")
LOOK = 5.0
"""Seconds after which the cluster is asked again how large it is."""
PATIENCE = 30.0
"""Seconds for which there may be no node that a block fits on before it is said: an autoscaler may
be starting one."""


def far(payload: bytes, threads: int, folder: str, block: Any) -> tuple[Any, BaseException | None]:
    """Do a block in a worker of Ray; return (result, error)."""
    limit_threads(threads)
    # a machine that does not have the driver's folder has none of the files that are named from
    # there either
    with contextlib.suppress(OSError):
        os.chdir(folder)
    try:
        return unpacked(payload)(block), None
    except FAULTS as error:
        return None, portable(error)


@dataclass(frozen=True)
class Cluster:
    """A Ray that this process is connected to."""

    ray: Any
    """The module."""
    most: int | None
    """Workers that may be used; None: all that there is room for."""
    threads: int
    """Cores that each block takes."""
    place: str
    head: tuple[str, int] | None = None
    """Where the head of the cluster listens, for drivers that are on it; None: elsewhere."""

    @property
    def workers(self) -> int:
        """Blocks that there is room for at present."""
        return self._room if self.most is None else min(self._room, self.most)

    @property
    def _room(self) -> int:
        free = self._asked(self.ray.cluster_resources)
        return max(int(free.get("CPU", 1) // self.threads), 1)

    @property
    def _places(self) -> int:
        """Blocks that may be given out: those that wait begin wherever cores are free."""
        ahead = AHEAD * self._room
        return ahead if self.most is None else min(ahead, self.most)

    def __call__(
        self, function: Callable[[Any], Any], blocks: Iterable[Any], *, tries: int = TRIES
    ) -> Iterator[Done]:
        """Do all blocks; those of a node that is lost are done by the others."""
        remote = self.ray.remote(num_cpus=self.threads, max_retries=0)(far)
        payload, queue, folder = pickle.dumps(function), WorkQueue(blocks, tries), str(Path.cwd())
        flying: dict[Any, Job] = {}
        places, looked = self._places, time.monotonic()
        fitted: float | None = looked
        try:
            while True:
                if time.monotonic() - looked > LOOK:
                    self._check_head()
                    places, looked = self._places, time.monotonic()
                    fitted = self._check_nodes(fitted)
                while len(flying) < places and (job := queue.take()) is not None:
                    flying[remote.remote(payload, self.threads, folder, job.block)] = job
                if not flying and queue.over:
                    return
                full = len(flying) >= places  # what may be tried again waits for a place
                yield from self._landed(flying, queue, LOOK if full else queue.waiting)
        except ConnectionError as lost:
            flying.clear()
            raise BadInput(
                f"The connection to the cluster was lost ({_first_line(lost)}): run the same "
                "command again when it is there, finished blocks are kept."
            ) from lost
        finally:
            for reference in flying:
                self.ray.cancel(reference, force=True)

    def _check_nodes(self, fitted: float | None) -> float | None:
        """Say, once, that no node has the cores that a block takes; Ray waits for one in silence.

        Parameters
        ----------
        fitted : float, optional
            When one had (monotonic); None: it was said.

        Returns
        -------
        float, optional
            The same, as it is now.
        """
        if fitted is None:
            return None
        nodes = [node for node in self._asked(self.ray.nodes) if node["Alive"]]
        most = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
        if most >= self.threads:
            return time.monotonic()
        if time.monotonic() - fitted < PATIENCE:
            return fitted
        warnings.warn(
            f"Each block takes {self.threads} cores of one node, and the largest node of the "
            f"cluster has {most:g}: nothing is done until a larger one comes; if none will, stop "
            "this and give fewer --threads.",
            stacklevel=2,
        )
        return None

    def _asked(self, question: Callable[[], Any]) -> Any:
        """Ask what only the head knows, and whether it is there while it does not answer.

        Ray waits for a head that is gone in the middle of a question until it ends the process.

        Raises
        ------
        ConnectionError
            If the head is gone.
        """
        answer: Future[Any] = Future()

        def ask() -> None:
            try:
                answer.set_result(question())
            except (OSError, RuntimeError, self.ray.exceptions.RayError) as error:
                answer.set_exception(error)
            finally:
                answer.cancel()  # does nothing to what is there

        # of its own and a daemon: one that waits for a head that is gone must not hold the end up
        threading.Thread(target=ask, daemon=True).start()
        while True:
            try:
                return answer.result(LOOK)
            except TimeoutError:
                if answer.done():
                    raise
                self._check_head()

    def _check_head(self) -> None:
        """See whether the head of the cluster listens still.

        Ray itself ends a driver without a head after a minute, whatever it is doing.

        Raises
        ------
        ConnectionError
            If it does not, twice.
        """
        if self.head is None:
            return
        for last in (False, True):
            try:
                socket.create_connection(self.head, timeout=ANSWER).close()
            except OSError as error:
                if last:
                    where = "{}:{}".format(*self.head)
                    raise ConnectionError(f"its head, {where}, does not answer") from error
                time.sleep(1.0)
            else:
                return

    def _landed(
        self, flying: dict[Any, Job], queue: WorkQueue, waiting: float | None
    ) -> Iterator[Done]:
        """Wait for a block or more, or until one may be tried again."""
        seconds = LOOK if waiting is None else waiting
        if not flying:
            time.sleep(seconds)
            return
        ready, _ = self.ray.wait(list(flying), num_returns=1, timeout=seconds)
        for reference in ready:
            job = flying.pop(reference)
            result, error = self._answer(reference)
            done = queue.done(job, result) if error is None else queue.failed(job, error)
            if done is not None:
                yield done

    def _answer(self, reference: Any) -> tuple[Any, BaseException | None]:
        """Return (result, error).

        That a worker or a node is gone is an error of the block, which is then tried again.
        """
        try:
            result, error = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as bug:
            return None, RuntimeError(
                f"A worker of the cluster met a bug in the program ({_first_line(bug.cause)})."
            )
        except self.ray.exceptions.RayError as lost:
            return None, RuntimeError(
                f"A worker of the cluster was lost in the middle of a block ({_first_line(lost)})."
            )
        return result, error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]


@contextmanager
def open_cluster(options: RunnerOptions) -> Iterator[Cluster]:
    """Connect to Ray, or start one here; what was started here ends with the block.

    Raises
    ------
    MissingExtra
        If Ray is not installed.
    BadInput
        If there is no cluster at the address, or a user's own connection leads elsewhere.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    options = _located(options)
    local = options.name == "ray"
    if local:
        # tokens are for clusters that others can reach; this one listens on this machine only
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray = require("ray", "cluster")
    mine = not ray.is_initialized()
    threads = options.share if local else options.threads or 1
    place = "machine" if local else "cluster"
    if not mine:
        yield Cluster(ray, options.workers, threads, place)
        return
    with _silenced():
        _connect(ray, options, threads)
        most = None if local else options.workers  # one that is started here has no more cores
        try:
            yield Cluster(ray, most, threads, place, _head(options))
        finally:
            ray.shutdown()


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep off standard output what Ray prints there of each node that is lost, a page of it.

    Ray has no setting for that; standard output belongs to the command.  The blocks of a lost node
    are done again, and what goes wrong for good is said by this package.
    """
    from ray._private import worker

    usual = getattr(worker, "print_to_stdstream", None)
    if usual is None:  # another version of Ray, in which it has another name
        yield
        return
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = usual


def _head(options: RunnerOptions) -> tuple[str, int] | None:
    """Return where the head of a cluster listens; None for Ray Client, which tells itself."""
    host, _, port = options.name.removeprefix(SCHEME).rpartition(":")
    return None if options.name == "ray" or int(port) == CLIENT else (host, int(port))


def _located(options: RunnerOptions) -> RunnerOptions:
    """Return the options with the cluster's address in the place of ``auto``.

    Raises
    ------
    BadInput
        If the environment does not say it.
    """
    if options.name != f"{SCHEME}{AUTO}":
        return options
    said = os.environ.get(ADDRESS, "").removeprefix(SCHEME)
    if not PLACE.fullmatch(said):
        told = f"is {said}" if said else "is not set"
        raise BadInput(
            f"--runner ray://auto takes the cluster's HOST:PORT from {ADDRESS}, which {told} here: "
            "give --runner ray://HOST:PORT, or submit the command with 'ray job submit', which "
            "sets it."
        )
    return replace(options, name=f"{SCHEME}{said}")


def _connect(ray: Any, options: RunnerOptions, threads: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if options.name == "ray":
        _start(ray, (options.workers or max(usable_cores() // threads, 1)) * threads, quiet)
        return
    address = options.name.removeprefix(SCHEME)
    host, _, port = address.rpartition(":")
    try:
        _knock(host, int(port))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Ray warns of is said by its error too
            if int(port) == CLIENT:
                _dial(ray, options.name, quiet)
            else:
                ray.init(address=address, **quiet)
    except ImportError as error:
        if int(port) != CLIENT:
            raise
        raise MissingExtra(
            "Port 10001 means Ray Client, whose gRPC is not installed: pip install 'ray[client]'."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"There is no Ray cluster at {address} that this machine can use "
            f"({_first_line(error)}): give the address that 'ray start --head' prints, on a "
            f"machine of the cluster, or HOST:{CLIENT}, where Ray Client listens, from outside."
        ) from error


def _dial(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    """Connect through Ray Client.

    Its server starts a process for each client, and one that dies as it starts (a busy machine, a
    port taken in between) is refused by the server and never tried again: so that has two more
    chances here, each with a port of its own.  Ray believes itself in client mode after a failure
    until it is told otherwise, and would send all that this process asks of a cluster later to a
    client that is not there.
    """
    for last in (False, False, True):
        try:
            ray.init(address=address, **quiet)
        except BaseException as error:
            ray.util.client.ray.disconnect()
            if last or not isinstance(error, ConnectionError):
                raise
        else:
            return


def _knock(host: str, port: int) -> None:
    """Look whether gRPC is spoken at an address.

    It answers an empty HTTP/2 SETTINGS frame with its own (RFC 9113, 3.4).

    Ray itself waits for minutes, and then ends the process.

    Raises
    ------
    OSError
        If not.
    """
    with socket.create_connection((host, port), timeout=ANSWER) as line:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return  # behind TLS anything may be
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + FRAME)
        with line.makefile("rb") as answer:
            head = answer.read(4)
        if head[3:] != FRAME[3:4]:
            raise OSError("what listens there is not Ray")


def _start(ray: Any, cores: int, quiet: dict[str, Any]) -> None:
    """Start Ray on this machine.

    It gives itself 30 seconds, which a busy machine may not have, so it gets a second chance.
    """
    for last in (False, True):
        try:
            ray.init(
                address="local",
                num_cpus=cores,
                object_store_memory=STORE,
                include_dashboard=False,
                **quiet,
            )
        except Exception as error:  # Ray raises a bare Exception when it did not start in time
            ray.shutdown()
            if last:
                raise BadInput(
                    f"Ray did not start on this machine ({_first_line(error)}): try again when it "
                    "is less busy, or use --runner processes."
                ) from error
        else:
            return


_: type[Runner] = Cluster
