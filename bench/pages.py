"""Pages under siege: a server with 1,000 idle and 200 slow connections while a person goes on, a
body of a gigabyte, and each route in every spelling of a way out.

    python bench/pages.py --idle 1000 --slow 200 --json rows.json

The server is ``selion review`` of a small map in a process of its own.  The person asks for the
page, the next field, pictures of it and the counts, on a new connection each time.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from table import Row, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import review_scenes
from every_route import Servers, spellings

SECTION = "Pages under siege"
GIGABYTE = 2**30


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--asks", type=int, default=60)
    parser.add_argument("--spellings", type=int, default=0, help="each so-manieth; 0: none")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (given.idle + given.slow) + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, wanted), hard), hard))
    with tempfile.TemporaryDirectory(prefix="selion-pages-") as work:
        os.environ["SELION_CACHE"] = f"{work}/cache"
        rows = [*besieged(Path(work), given), *(spelled(Path(work), given.spellings))]
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit} ({row.note})")
    if given.json:
        save(rows, given.json)
    sys.exit(any(row.reached is False for row in rows))


def besieged(work: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Time what a person asks, alone and among other connections; then send a gigabyte."""
    process = review_scenes.ReviewProcess(review_scenes.write_map(work / "map"))
    place = urlsplit(process.url)
    try:
        alone = asked(place, given.asks)
        yield row("alone", alone, None)
        with crowd(place, given.idle, given.slow) as held:
            among = asked(place, given.asks)
            note = f"{held()} of {given.idle + given.slow} connections were held"
            yield row(f"among {given.idle} idle and {given.slow} slow", among, 300, note)
        taken, status = gigabyte(place, length=True)
        yield Row(SECTION, "body that says 1 GB: bytes taken", taken, "", 2**20, True, status)
        taken, status = gigabyte(place, length=False)
        yield Row(SECTION, "body without a length: bytes taken", taken, "", 2**23, True, status)
        yield row("afterwards", asked(place, given.asks), 300)
    finally:
        process.kill()


def row(when: str, seconds: list[float], goal: float | None, note: str = "") -> Row:
    """Return the slowest of twenty answers, in milliseconds."""
    slow = sorted(seconds)[int(0.95 * len(seconds))]
    more = f"median {1000 * statistics.median(seconds):.0f} ms, worst {1000 * max(seconds):.0f} ms"
    what = f"an answer {when}, 95 of 100"
    return Row(SECTION, what, 1000 * slow, "ms", goal, True, f"{more}; {note}" if note else more)


def asked(place: SplitResult, times: int) -> list[float]:
    """Ask for what a page asks for, on new connections."""
    walls = []
    for number in range(times):
        west = 10 * (number % 20)
        wanted = (
            "",
            "api/state",
            "api/queue?person=Ada&size=1",
            f"chip/colour1/{west}_0_{west + 80}_80.png",
        )
        began = time.perf_counter()
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        connection.request("GET", place.path + wanted[number % 4])
        answer = connection.getresponse()
        answer.read()
        connection.close()
        walls.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{wanted[number % 4]}: status {answer.status}")
    return walls


@contextlib.contextmanager
def crowd(place: SplitResult, idle: int, slow: int) -> Iterator[Callable[[], int]]:
    """Hold connections that say nothing, and others that say a letter every half second."""
    where = (place.hostname, place.port)
    lines = [socket.create_connection(where, 30) for _ in range(idle + slow)]
    over = threading.Event()
    text = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nX: ".encode() + b"a" * 9000

    def drip() -> None:
        at = 0
        while not over.wait(0.5):
            for line in lines[idle:]:
                with contextlib.suppress(OSError):
                    line.send(text[at : at + 1])
            at += 1

    dripping = threading.Thread(target=drip)
    dripping.start()
    time.sleep(2)
    try:
        yield lambda: sum(alive(line) for line in lines)
    finally:
        over.set()
        dripping.join()
        for line in lines:
            line.close()


def alive(line: socket.socket) -> bool:
    """Whether the server holds a connection still."""
    line.setblocking(False)
    try:
        return line.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def gigabyte(place: SplitResult, *, length: bool) -> tuple[int, str]:
    """Send a gigabyte until it is refused; return the bytes that went out, and the answer."""
    line = socket.create_connection((place.hostname, place.port), 30)
    how = f"Content-Length: {GIGABYTE}" if length else "Transfer-Encoding: chunked"
    head = (
        f"POST {place.path}api/act HTTP/1.1\r\nHost: {place.netloc}\r\n{how}\r\n"
        "Content-Type: application/json\r\nX-Selion: 1\r\n\r\n"
    )
    line.sendall(head.encode())
    line.settimeout(0.2)
    sent, answer = 0, b""
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while sent < GIGABYTE:
        try:
            answer = line.recv(100)
            break
        except TimeoutError:
            pass
        try:
            line.sendall(piece[7:-2] if length else piece)
        except OSError:
            break
        sent += 65536
    line.close()
    return sent, answer.partition(b"\r\n")[0].decode("latin-1") or "closed"


def spelled(work: Path, step: int) -> Iterator[Row]:
    """Ask every route in every so-manieth spelling."""
    if not step:
        return
    servers = Servers(work / "servers")
    tried, wrong, routes = 0, [], 0
    for number, (path, route) in enumerate(servers.routes()):
        routes += 1
        for spelling in spellings()[number % step :: step]:
            for method, address, body in servers.requests(path, route, spelling):
                tried += 1
                said = servers.wrong(*servers.ask(method, address, body))
                wrong += [f"{method} {address}: {said}"] * bool(said)
    servers.close()
    print(json.dumps(wrong, indent=1) if wrong else "", end="")
    note = f"{tried} requests, {routes} routes, {len(spellings())} spellings"
    yield Row(SECTION, "ways out", len(wrong), "", 0, True, note)


if __name__ == "__main__":
    main()
