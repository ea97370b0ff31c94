"""`selion models fetch prue-b3`: a server on this machine plays the page of the release."""

import contextlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from click.testing import CliRunner

import selion.store
from selion.cli.main import cli
from selion.errors import ChecksumMismatch, FetchFailed, UnreadableFile
from selion.models import aliases, fetch_model, find_card, list_models, registry, verify_model
from selion.store import download

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="the extra 'train' is not installed"
)
PAGE = b"<!DOCTYPE html><html><body>Sign in to go on</body></html>"


class Release:
    """What the server has, and how it misbehaves."""

    def __init__(self, content):
        self.content = content
        self.tag = '"1"'
        self.cut = None
        """The next answer ends after so many bytes."""
        self.says = 0
        """Bytes that an answer promises beyond what it has."""
        self.page = False
        self.status = 200
        self.wrong_piece = False
        self.asked = []
        """Range and If-Range of each request for the file."""


class Handler(BaseHTTPRequestHandler):
    """Answers with the release's file, in ranges."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        """Answer one request."""
        release = self.server.release
        if self.path.startswith("/latest/"):  # as release pages do
            self.send_response(302)
            self.send_header("Location", self.path.replace("/latest/", "/v3/"))
            self.end_headers()
            return
        asked = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        release.asked.append(asked)
        if release.status != 200:
            self.send_error(release.status)
            return
        if release.page:
            self.answer(200, PAGE, len(PAGE), {"Content-Type": "text/html; charset=utf-8"})
            return
        whole = release.content
        start = int(asked[0].removeprefix("bytes=").rstrip("-") or 0)
        if asked[1] and asked[1] != release.tag:
            start = 0
        headers = {"ETag": release.tag} if release.tag else {}
        if start:
            said = start - 1 if release.wrong_piece else start
            headers["Content-Range"] = f"bytes {said}-{len(whole) - 1}/{len(whole)}"
        part = whole[start:]
        sent, release.cut = part[: release.cut], None
        self.answer(206 if start else 200, sent, len(part) + release.says, headers)

    def answer(self, status, content, length, headers):
        """Send what there is."""
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(content)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network in the published layout."""
    widths = [8, 8, 8, 8, 8]
    network = smp.Unet(
        "mobilenet_v2", encoder_weights=None, decoder_channels=widths, in_channels=8, classes=3
    )
    said = {"model": "unet", "backbone": "mobilenet_v2", "in_channels": 8, "num_classes": 3}
    saved = {
        "hyper_parameters": {**said, "model_kwargs": {"decoder_channels": widths}},
        "state_dict": {f"model.{name}": one for name, one in network.state_dict().items()},
    }
    path = tmp_path_factory.mktemp("release") / "prue.ckpt"
    torch.save(saved, path)
    return path.read_bytes()


@pytest.fixture
def release(monkeypatch, tmp_path, checkpoint):
    """The release that ``prue-b3`` is fetched from, and an empty cache."""
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "RETRY", replace(download.RETRY, backoff=0.01))
    made = Release(checkpoint)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.release = made
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}/latest/prue.ckpt"
        known = tuple(
            replace(card, url=made.url) if card.name == "FTW_PRUE_EFNET_B3" else card
            for card in registry._registry()
        )
        monkeypatch.setattr(registry, "_registry", lambda: known)
        yield made
        server.shutdown()


def test_short_names_are_names_of_the_registry():
    names = {card.name for card in list_models()}
    assert set(aliases().values()) <= names
    assert not set(aliases()) & names
    assert len(set(aliases().values())) == len(aliases())
    assert find_card("prue-b3").name == "FTW_PRUE_EFNET_B3"
    assert find_card("prue-b7-ccby").licence == "CC-BY-4.0"
    listed = CliRunner().invoke(cli, ["models", "list"]).output
    row = next(line for line in listed.splitlines() if line.startswith("FTW_PRUE_EFNET_B5 "))
    assert row.split()[1] == "prue-b5"


@pytest.mark.filterwarnings("ignore:.*no checksum was published")
def test_one_command_downloads_checks_and_converts(release, tmp_path):
    steps = []
    card = fetch_model("prue-b3", on_step=lambda *step: steps.append(step))
    assert card.name == "FTW_PRUE_EFNET_B3"
    assert card.folder == tmp_path / "cache" / "models" / card.name
    size = len(release.content)
    assert ("download", size, size) == steps[-3][:3]
    assert [step[:3] for step in steps[-2:]] == [("convert", 0, 1), ("convert", 1, 1)]
    # the conversion is torch's export here; the engine finds the answers that torch gave
    assert verify_model("prue-b3").difference < 1e-4
    assert fetch_model("prue-b3") == card
    assert release.asked == [("", "")]
    release.content = release.content[:1000]  # another one now, and the card knows the first
    with pytest.raises(ChecksumMismatch):
        fetch_model("prue-b3", force=True)
    assert verify_model("prue-b3").card == card  # the former one is there


@pytest.mark.filterwarnings("ignore:.*no checksum was published")
def test_what_cannot_be_read_is_not_kept(release, tmp_path):
    whole, release.content = release.content, release.content[:1000]
    with pytest.raises(UnreadableFile, match="not a whole checkpoint"):
        fetch_model("prue-b3")
    assert find_card("prue-b3").folder is None
    assert not list((tmp_path / "cache").glob("*.ckpt"))
    release.content = whole
    assert fetch_model("prue-b3").folder is not None


@pytest.mark.filterwarnings("ignore:.*no checksum was published")
def test_the_command_line_says_where_it_is(release):
    done = CliRunner().invoke(cli, ["models", "fetch", "prue-b3"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith("FTW_PRUE_EFNET_B3")
    assert "download: 100%" in done.stderr
    assert "convert: 100%" in done.stderr
    again = CliRunner().invoke(cli, ["models", "fetch", "prue-b3", "--quiet"])
    assert (again.stdout, again.stderr) == (done.stdout, "")
    assert len(release.asked) == 1


def fetched(release):
    return selion.store.fetch(release.url, "").read_bytes()


def test_a_cut_connection_goes_on_where_it_was(release):
    release.cut = 5000
    assert fetched(release) == release.content
    assert release.asked == [("", ""), ("bytes=5000-", '"1"')]


def test_the_next_call_goes_on_too(release, tmp_path, monkeypatch):
    """As after an interruption: what has come stays."""
    monkeypatch.setattr(download, "PIECE", 4096)

    def stop(have, _total):
        if have >= 8192:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        selion.store.fetch(release.url, "", progress=stop)
    assert [
        path.suffix for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")
    ] == []
    assert fetched(release) == release.content
    assert release.asked[1] == ("bytes=8192-", '"1"')
    assert len(list((tmp_path / "cache").iterdir())) == 1  # no piece is left


@pytest.mark.parametrize("tag", ['"2"', ""])
def test_pieces_of_two_versions_are_never_put_together(release, tag):
    """The file is replaced between two tries, and there is no checksum to tell."""
    release.tag = '"1"' if tag else ""
    release.cut = 5000
    before = release.content
    release.asked = Changing(release, tag, bytes(reversed(before)))
    assert fetched(release) == bytes(reversed(before))


class Changing(list):
    """Replaces the release's file after the first request."""

    def __init__(self, release, tag, content):
        super().__init__()
        self.release, self.tag, self.content = release, tag, content

    def append(self, asked):
        """Note a request."""
        if len(self) == 1:
            self.release.tag, self.release.content = self.tag, self.content
        super().append(asked)


def test_a_piece_that_begins_elsewhere_is_not_taken(release):
    release.cut, release.wrong_piece = 5000, True
    assert fetched(release) == release.content


def test_a_wrong_length_is_a_sentence(release):
    release.says = 10
    with pytest.raises(FetchFailed, match=r"bytes\): check the network and run it again"):
        fetched(release)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"page": True}, "answered with a web page instead of the file: open it in a browser"),
        ({"status": 404}, "the server says 404 .*; check the address"),
        ({"status": 503}, "503"),
    ],
)
def test_what_is_no_file_is_one_sentence_and_leaves_nothing(release, tmp_path, change, sentence):
    vars(release).update(change)
    with pytest.raises(FetchFailed, match=sentence):
        fetch_model("prue-b3")
    assert not any((tmp_path / "cache").iterdir())
    assert find_card("prue-b3").folder is None


def test_offline_is_one_sentence(monkeypatch, tmp_path):
    """Nobody listens at the address."""
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "RETRY", replace(download.RETRY, backoff=0.01))
    known = [replace(find_card("prue-b3"), url="http://127.0.0.1:9/prue.ckpt")]
    monkeypatch.setattr(registry, "_registry", lambda: tuple(known))
    with pytest.raises(
        FetchFailed, match=r"check the network and run it again, or put the file"
    ) as e:
        fetch_model("prue-b3")
    assert "\n" not in str(e.value)


def test_again_keeps_the_former_file_until_the_new_one_is_whole(release):
    first = selion.store.fetch(release.url, "")
    before = release.content
    assert fetched(release) == before
    assert len(release.asked) == 1
    release.content, release.status = np.random.default_rng(1).bytes(3000), 404
    with pytest.raises(FetchFailed):
        selion.store.fetch(release.url, "", again=True)
    assert first.read_bytes() == before
    release.status = 200
    assert selion.store.fetch(release.url, "", again=True) == first
    assert first.read_bytes() == release.content
