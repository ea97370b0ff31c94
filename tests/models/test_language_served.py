"""Models that a server runs: asked, held to the grammar, waited for, and never told a secret."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image
from scipy import ndimage

from chat_toys import chat_server
from command_line import run_here
from selion import prediction
from selion.errors import BadInput, FetchFailed, ServerLost
from selion.grid import photo_grid
from selion.models import load_model
from selion.models.card import write_card
from selion.models.language import decode
from selion.models.language.chat import Prompt
from selion.models.language.rrle import CODECS
from selion.raster import Raster
from selion.runners.work_queue import is_fatal
from selion.store.endpoint import PATIENCE, ChatServer, ModelAddress
from selion.store.retry import RetryPolicy

SECRET = "sk-planted-0123456789"


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.setenv("SELION_ENDPOINT_KEY", SECRET)
    with chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def scene():
    """512 px of bright and dark squares of 64 px, and which are bright."""
    bright = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((64, 64), int)).astype(bool)
    values = np.repeat(np.where(bright, 220, 30).astype(np.uint8)[None], 3, 0)
    return Raster(values, photo_grid((512, 512)), ("red", "green", "blue")), bright


def test_a_served_model_is_a_model(chat, scene):
    image, bright = scene
    found = prediction.predict(image, load_model(chat.name))
    assert np.array_equal(found.values[1] > 0.5, bright)
    assert len(chat.asked) == 4
    path, key, asked = chat.asked[0]
    assert (path, key, asked["model"]) == ("/v1/chat/completions", f"Bearer {SECRET}", "eyes")
    assert asked["temperature"] == 0
    assert asked["grammar"] == asked["structured_outputs"]["grammar"]
    assert 'root ::= "<seg>"' in asked["grammar"]


def test_a_server_without_grammars_is_asked_without(chat, scene):
    chat.status = lambda _, asked: 422 if "grammar" in asked else 200
    chat.echo = True  # as transformers' own server does
    with pytest.warns(UserWarning, match="takes no grammar") as told:
        found = prediction.predict(scene[0], load_model(chat.name))
    said = [str(one.message) for one in told if "grammar" in str(one.message)]
    assert len(said) == 1
    assert SECRET not in said[0]
    assert np.array_equal(found.values[1] > 0.5, scene[1])
    assert sum("grammar" not in asked for _, _, asked in chat.asked) == 4


@pytest.mark.filterwarnings("ignore:.* were cut off before their end")
@pytest.mark.parametrize("said", ["I am sorry, I cannot help with that.", "", "<seg></seg>"])
def test_a_model_that_answers_without_masks_makes_no_map(said, chat, scene, monkeypatch):
    """All classes were alike, so a map of the first one came out, with exit code 0."""
    monkeypatch.setattr(
        ChatServer, "complete", lambda *_: {"choices": [{"message": {"content": said}}]}
    )
    with pytest.raises(BadInput, match="none of them holds a mask"):
        prediction.predict(scene[0], load_model(chat.name))


def test_samples_vote_and_batch_is_how_many_are_under_way(chat, scene):
    from selion.models.language.generation import GenerationOptions, Question
    from selion.models.language.served import ServedGenerator

    model = load_model(chat.name)
    most, now = [0], [0]

    def status(*_):
        with chat.lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.05)
        with chat.lock:
            now[0] -= 1
        return 200

    chat.status = status
    options = GenerationOptions(samples=3, batch=4, grammar="none")
    made = ServedGenerator(
        ChatServer(ModelAddress.parse(chat.name)),
        model.generator.prompt,
        model.classes.names,
        options,
    )
    black = Image.new("RGB", (256, 256))
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}] * 2}]
    answers = made.ask([Question(messages, (black, black))] * 4, [1, 2, 3, 4])
    assert [len(texts) for texts in answers] == [3, 3, 3, 3]
    assert most[0] == 4
    assert len({asked["seed"] for _, _, asked in chat.asked}) == 12
    assert all("grammar" not in asked for _, _, asked in chat.asked)
    mask, misread = decode(answers[0][0], (32, 32), ("others", "field"), CODECS["rrle-compact"])
    assert misread.clean
    assert not mask.any()


def test_busy_servers_are_asked_again_and_dead_ones_named(chat, monkeypatch):
    quick = RetryPolicy(connect=2, answer=0.3, tries=3, backoff=0.01)
    server = ChatServer(ModelAddress.parse(chat.name), quick)
    chat.status = lambda number, _: 503 if number < 3 else 200
    with pytest.raises(FetchFailed, match="answers 503 to eyes"):
        ChatServer(ModelAddress.parse(chat.name), RetryPolicy(tries=1)).complete({"messages": []})
    chat.status = lambda *_: threading.Event().wait(0.6) or 0
    with pytest.raises(FetchFailed, match="gives no answer"):
        server.complete({"messages": []})
    with pytest.raises(FetchFailed, match="check that the server runs"):
        ChatServer(ModelAddress.parse("openai:http://127.0.0.1:9/v1#x"), quick).complete({})
    for status in (401, 404, 503):
        chat.status = lambda *_, status=status: status
        with pytest.raises(ServerLost, match=f"answers {status}"):
            server.complete({"messages": []})
    assert is_fatal(ServerLost("")), "no other block is tried"
    assert not is_fatal(FetchFailed(""))
    assert PATIENCE.answer >= 300


def write_scene(path, image):
    kind = {"driver": "GTiff", "width": 512, "height": 512}
    kind |= {"count": len(image.values), "dtype": image.values.dtype}
    corner = rasterio.transform.from_origin(5e5, 5e6, 1, 1)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=corner, **kind) as out:
        out.write(image.values)
    return path


def test_a_served_model_maps_fields_and_is_evaluated(chat, scene, tmp_path):
    """32 bright squares of 64 m, 4,096 m2 each, which touch at their corners alone."""
    image, bright = scene
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    path = write_scene(folder / "scene.tif", image)
    done = run_here("map", path, "--model", chat.name, "-o", tmp_path / "fields.parquet")
    assert done.returncode == 0, done.stderr
    found = geopandas.read_parquet(tmp_path / "fields.parquet").to_crs("EPSG:32633")
    assert len(found) == bright.sum() // 64**2 == 32
    assert found.area.to_numpy() == pytest.approx(4096, rel=0.1)
    truth = tmp_path / "data" / "instances"
    truth.mkdir()
    ids = ndimage.label(bright)[0].astype(np.uint16)  # by edges
    write_scene(truth / "scene.tif", Raster(ids[None], image.grid, ("id",)))
    asked = ["evaluate", chat.name, tmp_path / "data", "-o", tmp_path / "scores", "--bootstrap", 0]
    done = run_here(*asked)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "scores" / "report.json").read_text())["runs"]
    assert (run["images"][0]["truth"], run["values"]["object_f1"]) == (32, 1.0)
    assert run["values"]["pixel_iou"] == 1.0


def test_no_secret_is_written_anywhere(chat, scene, tmp_path):
    path = write_scene(tmp_path / "scene.tif", scene[0])
    chat.status = lambda number, _: 200 if number < 3 else 401
    asked = ["predict", path, "--model", chat.name, "-o", tmp_path / "out.tif", "--block", "256"]
    refused = run_here(*asked)
    assert refused.returncode == 2, refused.stdout
    assert not list(tmp_path.glob("out.tif*")), "no map with holes is made of a server that is gone"
    assert "SELION_ENDPOINT_KEY" in refused.stderr + refused.stdout
    before = len(chat.asked)
    chat.status = lambda *_: 200
    done = run_here(*asked)
    assert done.returncode == 0, done.stderr
    assert len(chat.asked) - before == 2  # of four: what was answered before is not asked again
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert (tmp_path / "out.tif") in written
    for text in (refused.stdout, refused.stderr, done.stdout, done.stderr):
        assert SECRET not in text
    assert all(SECRET.encode() not in file.read_bytes() for file in written)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai:http://me:word@host/v1#x", "SELION_ENDPOINT_KEY alone"),
        ("openai:ftp://host/v1#x", "wanted is openai:http"),
        ("openai:http://host/v1", "wanted is openai:http"),
        ("openai:http://[host/v1#x", "wanted is openai:http"),
        ("openai:me:word@host/v1#x", "SELION_ENDPOINT_KEY alone"),
    ],
)
def test_addresses_that_are_none(name, said):
    with pytest.raises(BadInput, match=said) as refused:
        load_model(name)
    assert "word" not in str(refused.value).replace("password", "")


HEAD = b"HTTP/1.1 %s\r\nConnection: close\r\n"


@pytest.mark.parametrize("half", [b"Content-Length: 99\r\n\r\n{", b"\r\n{"])
def test_half_an_answer_is_asked_again(half, chat):
    server = ChatServer(ModelAddress.parse(chat.name), RetryPolicy(tries=3, backoff=0.01))
    whole = b'Content-Length: 14\r\n\r\n{"choices": 1}'
    chat.status = lambda number, _: HEAD % b"200 OK" + (half if number < 3 else whole)
    assert server.complete({"messages": []}) == {"choices": 1}
    assert len(chat.asked) == 3


@pytest.mark.parametrize("told", ["[]", "3", "null", '"<seg>f32"', "[[]]"])
def test_an_answer_that_is_no_completion_is_a_sentence(told, chat):
    """A list had no "model", which was a traceback."""
    chat.status = lambda *_: HEAD % b"200 OK" + b"\r\n" + told.encode()
    generator = load_model(chat.name).generator
    with pytest.raises(FetchFailed, match="wanted is a chat completion"):
        generator._said({"messages": [{"content": [{"type": "text", "text": ""}]}]})


def test_what_no_chat_server_answers(chat, monkeypatch):
    """Nesting without an end, a body without an end, words with the key at their cut."""
    server = ChatServer(ModelAddress.parse(chat.name), RetryPolicy(tries=1, answer=2))
    chat.status = lambda *_: HEAD % b"200 OK" + b"\r\n" + b"[" * 200_000
    with pytest.raises(FetchFailed, match="answers no JSON"):
        server.complete({"messages": []})
    monkeypatch.setattr("selion.store.endpoint.LARGEST", 2**12)
    with pytest.raises(FetchFailed, match="without an end"):
        server.complete({"messages": []})
    chat.status = lambda *_: HEAD % b"400 No" + b"\r\n" + b"x" * 290 + SECRET.encode()
    with pytest.raises(BadInput, match="does not take") as refused:
        server.complete({"messages": []})
    assert SECRET[:4] not in str(refused.value)


def test_pictures_and_key_are_for_the_host_that_was_named(chat, tmp_path, monkeypatch):
    """Not for where it sends on to, nor is a password of .netrc for it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    there = chat.name.partition(":")[2].replace("127.0.0.1", "localhost").encode()
    chat.status = lambda *_: HEAD % b"307 Away" + b"Location: " + there + b"\r\n\r\n"
    server = ChatServer(ModelAddress.parse(chat.name), RetryPolicy(tries=1, answer=2))
    with pytest.raises(FetchFailed, match="sends on to another address"):
        server.complete({"messages": []})
    assert [key for _, key, _ in chat.asked] == [f"Bearer {SECRET}"]
    for key in ("sk-\u2026", "sk-\n-x"):
        monkeypatch.setenv("SELION_ENDPOINT_KEY", key)
        with pytest.raises(BadInput, match="holds signs that no key has"):
            server.complete({"messages": []})
    assert len(chat.asked) == 1


def test_the_card_of_a_folder_names_no_server(chat, tmp_path):
    """Whoever made the folder would get the pictures, and the key."""
    write_card(load_model(chat.name).card, tmp_path / "card.toml")
    with pytest.raises(BadInput, match="names a server, which only who asks may do"):
        load_model(tmp_path)
    asked = f"openai:http://127.0.0.1:9/v1#{tmp_path}"
    before = load_model(asked).identity
    write_card(replace(load_model(chat.name).card, files={"w": "1"}), tmp_path / "card.toml")
    assert load_model(asked).identity != before  # trained anew: no run goes on with it
    taught = {"taught": ["others", "tree"], "prompt": Prompt(patch=256, grid=32).to_dict()}
    made = replace(load_model(chat.name).card, architecture={"family": "language", **taught})
    write_card(made, tmp_path / "card.toml")
    with pytest.raises(BadInput, match="was trained to write the classes others, tree"):
        load_model(asked)


def test_thoughts_are_no_answer(chat):
    generator = load_model(chat.name).generator
    for told, said in (
        ("<think><seg>o32</seg></think><seg>f32", "<seg>f32"),
        ("<seg>o32</seg></think><seg>f32", "<seg>f32"),
        (" <think><seg>o32", ""),
        ("<seg>f32", "<seg>f32"),
    ):
        generator.server = SimpleNamespace(
            complete=lambda _, told=told: {"choices": [{"message": {"content": told}}]}
        )
        posted = {"messages": [{"content": [{"type": "text", "text": ""}]}]}
        assert generator._said(posted)[0] == said


def test_another_model_than_the_one_that_was_asked_is_told_of_once(chat):
    generator = load_model(chat.name).generator
    posted = {"messages": [{"content": [{"type": "text", "text": ""}]}]}
    told = {"choices": [{"message": {"content": "<seg>"}}]}
    for name in ("eyes", None, ""):
        generator.server.complete = lambda _, name=name: {**told, "model": name}
        assert generator._said(posted)[0] == "<seg>"
    generator.server.complete = lambda _: {**told, "model": "other-7b"}
    with pytest.warns(UserWarning, match=r"asked for eyes, .* that 'other-7b' gave them") as found:
        assert [generator._said(posted)[0] for _ in range(3)] == ["<seg>"] * 3
    assert len(found) == 1


def told_in_words(content, words):
    """A completion whose words are each half as likely as all else, which is the other letter."""
    half = float(np.log(0.5))
    listed = [
        {
            "token": word,
            "logprob": half,
            "top_logprobs": [{"token": other, "logprob": half} for other in ("o", "f")],
        }
        for word in words
    ]
    return {"choices": [{"message": {"content": content}, "logprobs": {"content": listed}}]}


@pytest.mark.parametrize("content", ["<seg>o3f1\n</seg>", "<seg>o3f1\n</seg>\n"])
@pytest.mark.parametrize("end", ["", "<|im_end|>", "\n"])
def test_the_word_that_ends_an_answer_is_none_of_its_mask(content, end, chat):
    """vLLM names ``<|im_end|>`` among the words: every cell was sure then, without a word."""
    from selion.models.language.generation import GenerationOptions
    from selion.models.language.label_odds import label_scores
    from selion.models.language.rrle import decode_labels
    from selion.models.language.served import ServedGenerator

    address = ModelAddress.parse(chat.name)
    made = ServedGenerator(
        ChatServer(address),
        load_model(chat.name).generator.prompt,
        ("others", "field"),
        GenerationOptions(scores="labels", grammar="none"),
        ("scores",),
    )
    words = ["<seg>", "o", "3", "f", "1", "\n", "</seg>", *([end] if end else [])]
    posted = {"messages": [{"content": [{"type": "text", "text": "?"}]}]}
    made.server = SimpleNamespace(complete=lambda _: told_in_words(content, words), address=address)
    text, spoken = made._said(posted)
    mask, places, _ = decode_labels(text, (1, 4), made.names, CODECS["rrle-compact"])
    assert mask.tolist() == [[0, 0, 0, 1]]
    assert label_scores(text, mask, places, spoken, made.labels) == pytest.approx(0.5)
    # words of another text say nothing of this one; a run that goes well does not end with them
    made.server.complete = lambda _: told_in_words(content, ["seg", "o", "3", "f1"])
    with pytest.warns(UserWarning, match=r"is sure of other words .* than its answer '<seg>o3f1"):
        assert made._said(posted)[1] is None
    # one that wants nothing else and never had it is refused
    made._heard = False
    with pytest.raises(BadInput, match=r"cannot be obeyed: .* is sure of other words"):
        made._said(posted)
