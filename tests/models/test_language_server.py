"""A real server of language models, ``transformers serve``, answers a map."""

from __future__ import annotations

import socket
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

for needed in ("transformers", "trl", "peft", "datasets", "fastapi", "openai", "uvicorn"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from language_toys import CLASSES, PROMPT, recipe, still  # noqa: E402
from selion import prediction  # noqa: E402
from selion.grid import photo_grid  # noqa: E402
from selion.labels import LabelMap  # noqa: E402
from selion.models import load_model  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.sample import Sample  # noqa: E402
from selion.training.language_recipe import Sft  # noqa: E402
from selion.training.language_run import plan_talks, train_language  # noqa: E402

EDGE = 32


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


def picture(value):
    values = np.full((3, EDGE, EDGE), value, np.uint8)
    return Raster(values, photo_grid((EDGE, EDGE)), ("red", "green", "blue"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model that says field of what is bright, and tree of what is dark."""
    lessons = [
        Sample(f"{k}", picture(90 + 100 * k), LabelMap(np.full((EDGE, EDGE), 2 - k, np.uint8),
               photo_grid((EDGE, EDGE)), CLASSES))
        for k in range(2)
    ]  # fmt: skip
    prompt = replace(PROMPT, grid=2, codec="rrle-compact", sight=0.0)
    made = recipe(sft=Sft(40, 4, 1, lr=5e-3))
    language = replace(made.language, tiny="qwen2_5_vl", prompt=prompt, context=EDGE)
    folder = tmp_path_factory.mktemp("served") / "run"
    train_language(plan_talks(replace(made, language=language), lessons), folder)
    return folder / "model"


@pytest.fixture
def address(model):
    """The library's own server, as its command starts it, in a thread of this process."""
    from transformers.cli.serve import Serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Serve(
        str(model), host="127.0.0.1", port=port, device="cpu", dtype="float32", non_blocking=True
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill_server()


def test_a_server_answers_the_map_that_the_folder_does(model, address):
    here = load_model(str(model), "torch", threads=1)
    here.generator.options = replace(here.generator.options, grammar="none")
    served = load_model(f"openai:{address}#{model}")
    for value, label in ((190, 1), (90, 2)):
        mine, theirs = (prediction.predict(picture(value), one) for one in (here, served))
        assert np.array_equal(mine.values, theirs.values)
        assert (theirs.values.argmax(0) == label).mean() > 0.9
