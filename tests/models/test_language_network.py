"""Language models in the socket: grammar over tokens, the shared prefix, votes, cards, faults."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")

from language_toys import CLASSES, PROMPT, accepts, pair, sample, still  # noqa: E402
from selion import prediction  # noqa: E402
from selion.classes import ClassScheme  # noqa: E402
from selion.errors import BadInput, MissingExtra, UnknownName, UnreadableFile  # noqa: E402
from selion.grid import photo_grid, whole  # noqa: E402
from selion.models import ModelCard, load_model, read_card, write_card  # noqa: E402
from selion.models.card import sha256_of  # noqa: E402
from selion.models.execution import Execution  # noqa: E402
from selion.models.language.chat import Prompt  # noqa: E402
from selion.models.language.generation import GenerationOptions, Question, TextGenerator  # noqa: E402
from selion.models.language.grammar import (  # noqa: E402
    Grammar,
    MaskGrammar,
    TokenGrammar,
    check_tokenizer,
    is_done,
    spell,
)
from selion.models.language.network import LanguageSegmenter  # noqa: E402
from selion.models.language.rrle import CODECS, count_tokens, decode, encode  # noqa: E402
from selion.models.refine.segmenter import Refined  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.segmenter import InputSpec, Scaling, View, as_model  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy():
    return pair()


def card(prompt: Prompt = PROMPT, context: int | None = 64, **architecture) -> ModelCard:
    spec = InputSpec(
        ("red", "green", "blue"), Scaling((255.0,)), None, prompt.patch, 0.25, 1, context
    )
    return ModelCard(
        "toy",
        spec,
        CLASSES,
        architecture={"family": "language", "prompt": prompt.to_dict(), **architecture},
        format="transformers",
        licence="CC0",
    )


def segmenter(toy, prompt: Prompt = PROMPT, **speaking) -> LanguageSegmenter:
    return LanguageSegmenter(
        card(prompt),
        TextGenerator(*toy, prompt, CLASSES.names, GenerationOptions(**speaking)),
        Execution("toy"),
    )


def views(count: int, edge: int = 64) -> list[View]:
    image = sample(3, edge).image
    context = Raster(image.values.astype(np.float32), image.grid, image.bands)
    rois = [(slice(8 * k, 8 * k + 16), slice(16, 32)) for k in range(count)]
    return [View(context.values[:, *roi], roi, context, whole(context.grid)) for roi in rois]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_random_model_writes_100_of_100_masks(toy, codec):
    model, processor = toy
    tokenizer = processor.tokenizer
    grammar = Grammar(codec, CLASSES.names, (4, 4))
    tokens = TokenGrammar(grammar, tokenizer)
    ids = torch.tensor([tokenizer.encode("Segment")] * 100)
    # a mask of boxes may say an object again, and then another is the longest text
    room = (len(grammar.longest()) + 20) * (6 if codec.boxes else 1)
    torch.manual_seed(0)
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        max_new_tokens=room,
        logits_processor=[MaskGrammar(tokens)],
    )
    texts = tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
    assert (
        sum(
            accepts(grammar, text) and decode(text, (4, 4), CLASSES.names, codec)[1].clean
            for text in texts
        )
        == 100
    )
    # without a box a mask is whole at once, and a random model often ends there
    assert len(set(texts)) > (20 if codec.boxes else 50)


def test_every_path_through_the_tokens_is_a_path_through_the_grammar(toy):
    tokenizer = toy[1].tokenizer
    grammar = Grammar(CODECS["rrle"], CLASSES.names, (3, 12))
    tokens, rng = TokenGrammar(grammar, tokenizer), np.random.default_rng(0)
    for _ in range(20):
        state, written = grammar.start, []
        while True:
            token = int(rng.choice(sorted(tokens.tokens(state))))
            if token in tokens.ends:
                break
            written.append(token)
            state = tokens.after(state, token)
        assert accepts(grammar, tokenizer.decode(written))
    assert tokens.after(grammar.start, tokenizer.encode("field")[0]) is None


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_one_word_is_judged_as_the_list_of_all_that_may_come(toy, codec, monkeypatch):
    tokenizer = toy[1].tokenizer
    grammar = Grammar(codec, CLASSES.names, (3, 12))
    tokens, rng = TokenGrammar(grammar, tokenizer), np.random.default_rng(1)
    state, only = grammar.start, 0
    while not is_done(state):
        listed = tokens.listed(state)
        assert listed == [k for k in range(len(tokenizer)) if tokens.after(state, k) is not None]
        assert tokens.forced(state) == (listed[0] if len(listed) == 1 else None)
        only += len(listed) == 1
        state = tokens.after(state, int(rng.choice(listed)))
    assert tokens.listed(state) == list(tokens.ends)
    assert only
    likely = spell(tokenizer, grammar.alphabet)
    monkeypatch.setattr("selion.models.language.grammar._likely", lambda *_: [])
    assert spell(tokenizer, grammar.alphabet) == likely  # some words looked at, or all of them


def test_tokenizers_that_cannot_write_masks(toy):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    grammar = Grammar(CODECS["rrle"], ("others", "Field"), (2, 2))
    assert check_tokenizer(toy[1].tokenizer, grammar) == ()
    words = {
        text: k
        for k, text in enumerate(
            ["[UNK]", *"<seg>/", "a", "</s>", " ", "\n", "|", "*", "others", "field", *"0123456789"]
        )
    }
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    with pytest.raises(BadInput, match="The tokenizer changes masks"):
        check_tokenizer(
            PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", eos_token="</s>"),
            grammar,
        )
    with pytest.raises(BadInput, match="no token for 'é' alone"):
        check_tokenizer(toy[1].tokenizer, Grammar(CODECS["rrle"], ("others", "blé"), (2, 2)))
    plain = pair()[1].tokenizer
    plain.eos_token = None
    with pytest.raises(BadInput, match="no token that ends"):
        check_tokenizer(plain, grammar)


def test_separators_that_cost_more_than_a_token_are_said(toy):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {
        char: k for k, char in enumerate(["</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    raw = Tokenizer(models.BPE(alphabet, []))
    raw.pre_tokenizer, raw.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    letters = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")
    assert (
        "splits ' *' (2 tokens)"
        in check_tokenizer(letters, Grammar(CODECS["rrle"], CLASSES.names, (2, 2)))[0]
    )
    mask = np.kron(np.eye(4, dtype=np.uint8), np.ones((16, 16), np.uint8))
    tokens = {
        name: count_tokens(letters, [mask, mask[:32]], CLASSES.names, codec)
        for name, codec in CODECS.items()
    }
    assert tokens["rrle"] > tokens["rrle-compact"] > tokens["rrle-delta"]
    assert tokens["rrle"] == [len(encode(m, CLASSES.names)) for m in (mask, mask[:32])]


@pytest.mark.parametrize("margin", [0, 4])
def test_the_shared_prefix_gives_the_same_answers(toy, margin):
    prompt = replace(PROMPT, margin=margin)
    shared, alone = segmenter(toy, prompt, batch=3), segmenter(toy, prompt, batch=3, share=False)
    asked = views(6)
    prefix = shared.generator.prefix(shared.questions(asked)[0])
    assert prefix is not None
    assert len(prefix.ids) > 16
    assert np.array_equal(shared(asked), alone(asked))
    kept = shared._prefix[1]
    shared(asked[:2])
    assert shared._prefix[1] is kept
    shared.rest()
    assert shared._prefix is None


def test_prefill_behind_the_prefix_has_the_same_logits(toy):
    shared = segmenter(toy)
    questions = shared.questions(views(5))
    prefix = shared.generator.prefix(questions[0])
    behind = shared.generator.first_logits(shared.generator.behind([questions[4]], prefix))
    wholly = shared.generator.first_logits(shared.generator.together([questions[4]]))
    assert torch.allclose(behind, wholly, atol=1e-4)
    assert not torch.allclose(
        behind, shared.generator.first_logits(shared.generator.together([questions[0]])), atol=1e-4
    )


@pytest.mark.parametrize("family", ["qwen2_5_vl", "idefics3", "smolvlm"])
def test_another_family_shares_its_prefix_too(family, monkeypatch):
    from transformers.models.smolvlm import processing_smolvlm

    # for videos, of which there are none here
    monkeypatch.setattr(processing_smolvlm, "num2words", str, raising=False)
    other = pair(family)
    shared, alone = segmenter(other, batch=2), segmenter(other, share=False)
    questions = shared.questions(views(4))
    prefix = shared.generator.prefix(questions[0])
    assert prefix is not None
    behind = shared.generator.first_logits(shared.generator.behind([questions[3]], prefix))
    assert torch.allclose(
        behind, shared.generator.first_logits(shared.generator.together([questions[3]])), atol=1e-4
    )
    assert np.array_equal(shared(views(4)), alone(views(4)))


def test_a_processor_that_wants_a_package_of_its_own(monkeypatch):
    from transformers.models.smolvlm import processing_smolvlm

    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(
        MissingExtra, match=r"SmolVLMProcessor wants a package that is not installed .*num2words"
    ):
        pair("smolvlm")


def test_a_cache_that_cannot_be_gone_on_from_is_not(toy, monkeypatch):
    made = segmenter(toy)
    whole_scores = segmenter(toy, share=False)(views(2))
    monkeypatch.setattr(
        TextGenerator, "_places", lambda *_: (_ for _ in ()).throw(ValueError("other places"))
    )
    assert np.array_equal(made(views(2)), whole_scores)
    assert made._prefix[1] is None
    monkeypatch.undo()
    monkeypatch.setattr(
        TextGenerator, "first_logits", lambda self, inputs: torch.arange(4.0)[None] * len(inputs)
    )
    assert segmenter(toy).generator.prefix(made.questions(views(1))[0]) is None


def test_votes_become_probabilities(toy):
    several = segmenter(toy, samples=5, temperature=1.5)(views(2))
    assert np.allclose(several.sum(1), 1, atol=1e-6)
    assert set(np.unique((several * 5).round(3)).tolist()) <= set(range(6))
    assert 0.2 < several.max(1).mean() < 1
    again = segmenter(toy, samples=5, temperature=1.5)
    state = torch.get_rng_state()
    assert np.array_equal(again(views(2)), several)
    assert torch.equal(torch.get_rng_state(), state)
    one = segmenter(toy)(views(2))
    assert set(np.unique(one).tolist()) == {0.0, 1.0}


def test_what_cannot_be_read_is_not_known(toy):
    made = segmenter(toy, grammar="none")
    with pytest.warns(UserWarning, match="2 of 2 answers were cut off"):
        scores = made(views(2))
    assert np.allclose(scores, 1 / 3)
    assert all(found.truncated for found in made.misread)
    assert np.allclose(
        made._votes(["<seg>tree *4\n cow *4\n field *4\n field *4\n</seg>"])[:, 4, 0], 1 / 3
    )


def asked(card, **speaking):
    """A card whose model is asked otherwise."""
    return replace(card, architecture={**card.architecture, "speaking": speaking})


def folder(toy, path, **changes):
    for part in toy:
        part.save_pretrained(path)
    files = {file.name: sha256_of(file) for file in path.iterdir()}
    write_card(replace(card(), files=files, **changes), path / "card.toml")
    return path


def test_the_same_sentence_as_with_any_other_model(toy, tmp_path):
    model = load_model(folder(toy, tmp_path / "m"), "torch", threads=1)
    assert model.card.name == "toy"
    assert "CPU, float32" in model.engine
    image = sample(5, 40).image
    other = LanguageSegmenter(asked(model.card, samples=2), model.generator, model.execution)
    assert prediction.plan(image, model).key != prediction.plan(image, other).key
    found = prediction.predict(image, model)
    assert found.bands == CLASSES.names
    assert np.allclose(found.values.sum(0), 1, atol=0.02)
    again = prediction.predict(image, model, options=prediction.PredictOptions(block=16))
    assert np.array_equal(found.values, again.values)
    price = model.price(10)
    assert price.questions == 10
    assert price.tokens_written % 10 == 0
    assert price.tokens_read > price.tokens_written


def test_larger_images_are_seen_in_parts_and_that_is_said(toy):
    model = segmenter(toy)
    seen = []

    class Spy:
        inputs, classes = model.inputs, model.classes

        def __call__(self, views):
            seen.extend(views)
            return np.full((len(views), 3, 16, 16), 1 / 3, np.float32)

    image = Raster(
        np.full((3, 100, 150), 90, np.uint8), photo_grid((100, 150)), ("red", "green", "blue")
    )
    plan = prediction.plan(image, Spy())
    assert any(
        "larger than the model's input: each window is given with 64 px of context" in note
        for note in plan.notes
    )
    prediction.predict(image, Spy())
    assert {view.context.values.shape for view in seen} == {(3, 64, 64)}
    for view in seen:
        rows, columns = view.context_roi
        assert rows.start <= view.roi[0].start
        assert view.roi[1].stop <= columns.stop
    assert len({id(view.context) for view in seen}) <= 15 < len(seen)
    small = prediction.plan(
        Raster(np.zeros((3, 60, 60), np.uint8), photo_grid((60, 60)), ("red", "green", "blue")),
        Spy(),
    )
    assert not any("larger than" in note for note in small.notes)


def test_faults_of_cards_and_files_are_one_sentence_each(toy, tmp_path, monkeypatch):
    good = folder(toy, tmp_path / "good")
    with pytest.raises(BadInput, match="the engine openvino cannot run"):
        load_model(good, "openvino")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingExtra, match="torch sees no such device"):
        load_model(good, "cuda")
    found = read_card(good)
    write_card(
        replace(found, architecture={**found.architecture, "taught": ["others", "road"]}),
        good / "card.toml",
    )
    with pytest.raises(
        BadInput,
        match="trained to write the classes others, road, but its card has others, field, tree",
    ):
        load_model(good)
    names = ["others", "fi|eld", "tree"]
    write_card(
        replace(
            found,
            classes=ClassScheme(tuple(names)),
            architecture={**found.architecture, "taught": names},
        ),
        good / "card.toml",
    )
    with pytest.raises(BadInput, match=r"'fi\|eld' holds '\|'"):
        load_model(good)
    write_card(
        replace(
            found, architecture={**found.architecture, "prompt": {**PROMPT.to_dict(), "patch": 32}}
        ),
        good / "card.toml",
    )
    with pytest.raises(BadInput, match="window of 16 px, but its model answers for patches of 32"):
        load_model(good)
    write_card(
        replace(found, architecture={**found.architecture, "speaking": {"samples": 0}}),
        good / "card.toml",
    )
    with pytest.raises(BadInput, match="0 samples"):
        load_model(good)
    write_card(
        replace(found, architecture={**found.architecture, "speaking": {"sampels": 3}}),
        good / "card.toml",
    )
    with pytest.raises(BadInput, match="sampels was given; a language model knows samples"):
        load_model(good)
    write_card(asked(found, samples="3"), good / "card.toml")
    with pytest.raises(BadInput, match="samples = '3' was given"):
        load_model(good)
    write_card(
        replace(found, architecture={**found.architecture, "base": str(tmp_path / "nowhere")}),
        good / "card.toml",
    )
    with pytest.raises(UnreadableFile, match="cannot be loaded from"):
        load_model(good)
    write_card(asked(found, grammar="tilt"), good / "card.toml")
    with pytest.raises(UnknownName, match="grammar engine"):
        load_model(good)
    write_card(asked(found, sample=3), good / "card.toml")
    with pytest.raises(BadInput, match="samples, temperature"):
        load_model(good)


@pytest.mark.parametrize("engine", ["selion", "none"])
def test_the_tokenizer_is_looked_at_whatever_the_grammar(toy, tmp_path, engine):
    path = folder(toy, tmp_path / "m")
    write_card(
        replace(
            read_card(path), architecture={**card().architecture, "speaking": {"grammar": engine}}
        ),
        path / "card.toml",
    )
    settings = json.loads((path / "tokenizer.json").read_text("utf-8"))
    settings["normalizer"] = {"type": "Lowercase"}
    settings["added_tokens"] = [
        token for token in settings["added_tokens"] if token["content"] != "<seg>"
    ]
    names = ["others", "Field", "tree"]
    made = replace(
        read_card(path),
        classes=ClassScheme(tuple(names)),
        architecture={**read_card(path).architecture, "taught": names},
    )
    (path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    write_card(
        replace(made, files={**made.files, "tokenizer.json": sha256_of(path / "tokenizer.json")}),
        path / "card.toml",
    )
    with pytest.raises(BadInput, match="The tokenizer changes masks"):
        load_model(path)


def test_a_tokenizer_that_splits_the_separators_is_said_when_it_is_loaded(
    toy, tmp_path, monkeypatch
):
    from selion.models.language import generation

    path = folder(toy, tmp_path / "m")
    monkeypatch.setattr(
        generation,
        "check_tokenizer",
        lambda *_: (
            "The tokenizer splits ' *' (2 tokens): the codec rrle-compact needs fewer tokens.",
        ),
    )
    with pytest.warns(UserWarning, match="The tokenizer splits"):
        load_model(path)


def test_a_model_without_vision(toy, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    path = folder(toy, tmp_path / "m")
    blind = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    blind.save_pretrained(tmp_path / "blind")
    write_card(
        replace(
            read_card(path), architecture={**card().architecture, "base": str(tmp_path / "blind")}
        ),
        path / "card.toml",
    )
    with pytest.raises(BadInput, match=r"toy \(llama\) has no vision"):
        load_model(path)


def test_patches_of_another_size_and_calls_without_context(toy):
    model = segmenter(toy)
    with pytest.raises(BadInput, match="patches of 16 px; 20 x 20 were given"):
        model([View(np.zeros((3, 20, 20), np.float32), (slice(0, 20), slice(0, 20)))])
    alone = model([View(np.zeros((3, 16, 16), np.float32), (slice(0, 16), slice(0, 16)))])
    assert alone.shape == (1, 3, 16, 16)


def test_questions_are_answered_in_their_order(toy):
    generator = segmenter(toy, batch=2, samples=1).generator
    questions = segmenter(toy).questions(views(5))
    assert [
        answer for question in questions for answer in generator.ask([question])
    ] == generator.ask(questions)
    assert isinstance(questions[0], Question)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert generator.room >= len(
            generator.processor.tokenizer.encode(generator.grammar.longest())
        )


@pytest.mark.parametrize("codec", ["rrle", "rrle-compact"])
def test_another_engine_keeps_to_the_grammar_too(codec):
    pytest.importorskip("xgrammar", reason="the extra 'grammar' is not installed")
    prompt = replace(PROMPT, codec=codec)
    made = segmenter(pair(prompt=prompt), prompt, samples=4, grammar="xgrammar", batch=8)
    made(views(2))
    assert len(made.misread) == 8
    assert all(found.clean for found in made.misread)


def test_an_engine_that_is_not_installed(toy, monkeypatch):
    monkeypatch.setattr("selion.extras.available", lambda module: module != "xgrammar")
    with pytest.raises(MissingExtra, match=r"pip install 'selion\[grammar\]'"):
        segmenter(toy, grammar="xgrammar")(views(1))


def test_a_dry_run_tells_the_tokens_of_a_model_behind_a_refiner(toy, monkeypatch, capsys):
    """The model that writes was not recognised, and its price left out."""
    from selion.cli.map_run import print_plan

    class Edges:
        classes = ClassScheme(("background", "boundary"), boundary="boundary")
        inputs = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, 64, 0.25, 1)

        def __call__(self, views):
            raise AssertionError("nothing is asked")

    base = segmenter(toy)
    refined = Refined(base, as_model(Edges()))
    cost = SimpleNamespace(windows=3, blocks=1, gigabytes_read=0.0, seconds=2.0)
    monkeypatch.setattr(prediction, "estimate", lambda *_: cost)
    plan = SimpleNamespace(grid=photo_grid((64, 64)))
    job = SimpleNamespace(
        source=None, model=refined, plan=plan, image="a.tif", chosen=None, notes=()
    )
    print_plan(job, None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    places = 1 + -(-(64 - 16) // 12)  # windows of 16 px, a quarter in common
    wanted = base.price(3 * places**2)
    assert told["questions"] == 3 * places**2
    assert told["tokens_written"] == wanted.tokens_written > 0
