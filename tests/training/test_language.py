"""Conversations, rewards, recipes; supervised fine-tuning and learning by reward with tiny
models.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

for needed in ("transformers", "tokenizers", "trl", "peft", "datasets"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

from language_toys import CLASSES, PROMPT, SIZE, pair, recipe, sample, still  # noqa: E402
from selion import prediction  # noqa: E402
from selion.classes import ALU, FTW2, IGNORE, ClassScheme  # noqa: E402
from selion.cli.main import cli  # noqa: E402
from selion.errors import BadInput, BandMismatch, OutputExists, UnknownName  # noqa: E402
from selion.evaluation.answers import as_on_maps  # noqa: E402
from selion.grid import photo_grid  # noqa: E402
from selion.labels import Instances, LabelMap  # noqa: E402
from selion.metrics import mean_dice  # noqa: E402
from selion.models import load_model, read_card, write_card  # noqa: E402
from selion.models.language.chat import picture  # noqa: E402
from selion.models.language.rrle import CODECS, decode  # noqa: E402
from selion.models.toml import to_toml  # noqa: E402
from selion.raster import Raster  # noqa: E402
from selion.reports import sweep  # noqa: E402
from selion.sample import Sample  # noqa: E402
from selion.training import grpo as by_reward  # noqa: E402
from selion.training import (  # noqa: E402
    inspect_language,
    language_run,
    list_recipes,
    read_recipe,
    sft,
)
from selion.training.conversations import (  # noqa: E402
    Talks,
    read_known,
    simulated,
    true_classes,
    turned,
    turned_roi,
)
from selion.training.grpo import check_gate, make_watch  # noqa: E402
from selion.training.inspect_language import inspect  # noqa: E402
from selion.training.language_recipe import (  # noqa: E402
    COUNTRYSIDE,
    Draws,
    Grpo,
    LanguageRecipe,
    Lora,
    Sft,
    Simulated,
)
from selion.training.language_run import (  # noqa: E402
    REWARDED,
    TRAINING,
    VALIDATION,
    forecast,
    plan_language,
    plan_talks,
    train_language,
)
from selion.training.plan import SampleOrigin  # noqa: E402
from selion.training.reading import recipe_table  # noqa: E402
from selion.training.reward import constants, dice_reward, validity_reward  # noqa: E402
from selion.training.sft import find_tokenizer, lora_config, make_pair, shared_arguments  # noqa: E402
from selion.training.whole import LEARNT, keep_samples  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with still():
        yield
    torch.set_num_threads(before)


SAMPLES = [sample(k) for k in range(3)]


def test_an_answer_says_what_its_pictures_show():
    talks = Talks(SAMPLES, recipe(), 40)
    for k in range(40):
        talk = talks[k]
        top, left, bottom, right = talk.place.box
        context, patch = (np.asarray(image) for image in talk.images)
        assert np.array_equal(context[top:bottom, left:right], patch)
        read, misread = decode(talk.answer, (4, 4), CLASSES.names)
        assert misread.clean
        assert np.array_equal(read, talk.truth)
        assert f"rows {top}, columns {left}" in talk.question[0]["content"][3]["text"]
        green = patch.reshape(4, 4, 4, 4, 3).mean((1, 3))[..., 1]
        assert np.array_equal(green > 210, np.zeros((4, 4), bool) | (green > 210))
        assert np.array_equal(talk.truth == 2, green < 100)
    assert np.array_equal(talks[3].truth, Talks(SAMPLES, recipe(), 40)[3].truth)
    assert len({talks[k].answer for k in range(40)}) > 20
    assert any(talks[k].answer != Talks(SAMPLES, recipe(), 40, 1)[k].answer for k in range(5))


def test_lessons_in_which_the_patch_is_hidden():
    shown = Talks(SAMPLES, recipe(), 60)
    mixed, never = (
        Talks(SAMPLES, recipe(), 60, hidden=0.5),
        Talks(SAMPLES, recipe(), 60, hidden=1.0),
    )
    blank = [np.ptp(np.asarray(mixed[k].images[1])) == 0 for k in range(60)]
    assert 15 < sum(blank) < 45
    assert all((np.asarray(never[k].images[1]) == 128).all() for k in range(5))
    for k in range(10):  # nothing else is different: the same question, the same answer
        assert (mixed[k].answer, mixed[k].question, mixed[k].images[0]) == (
            shown[k].answer,
            shown[k].question,
            shown[k].images[0],
        )
    made = recipe()
    plan = plan_talks(replace(made, draws=replace(made.draws, hidden=0.5)), SAMPLES, [sample(9)])
    assert [plan.talks(kind).hidden for kind in (TRAINING, VALIDATION, REWARDED)] == [0.5, 0.0, 0.0]
    with pytest.raises(BadInput, match=r"draws\.hidden"):
        replace(made, draws=replace(made.draws, hidden=1.5))
    unsaid = replace(made.language, prompt=replace(made.language.prompt, coordinates=False))
    with pytest.raises(BadInput, match=r"draws\.hidden.*coordinates"):
        replace(made, language=unsaid, draws=replace(made.draws, hidden=0.5))
    with pytest.raises(BadInput, match=r"'fi\|eld' holds"):
        replace(made, classes=ClassScheme(("others", "fi|eld"), ("fi|eld",)))


def test_turns_keep_regions_with_their_pixels():
    values = np.arange(3 * 5 * 9).reshape(3, 5, 9)
    roi = (slice(1, 4), slice(2, 8))
    for turn in range(8):
        assert np.array_equal(
            turned(values, turn)[:, *turned_roi(roi, (5, 9), turn)], turned(values[:, *roi], turn)
        )


def test_draws_are_balanced_as_wished():
    made = recipe(draws=Draws(least_classes=3, most_share=0.5, step=8))
    for k in range(20):
        counts = np.bincount(Talks(SAMPLES, made, 20)[k].truth.ravel(), minlength=3)
        assert (counts > 0).all()
        assert counts.max() <= 8


def test_patches_that_are_not_known_are_not_taught():
    hidden = SAMPLES[0].labels.ids.copy()
    hidden[:, :40] = IGNORE
    part = replace(SAMPLES[0], labels=LabelMap(hidden, SAMPLES[0].labels.grid, CLASSES))
    talks = Talks([part], recipe(draws=Draws(step=8, turn=False)), 10)
    assert all(talks[k].place.box[1] >= 40 for k in range(10))
    with pytest.raises(BadInput, match="no patch was found whose classes are all known"):
        Talks(
            [
                replace(
                    part, labels=LabelMap(np.full_like(hidden, IGNORE), part.labels.grid, CLASSES)
                )
            ],
            recipe(),
            1,
        )[0]


@pytest.mark.parametrize("hole", [0.0, -9999.0, np.nan])
def test_holes_of_an_image_are_shown_as_maps_show_them(hole):
    """As the mean of what is there: they were black in lessons, and NaN was whatever came out."""
    image = SAMPLES[0].image
    values = image.values.astype(np.float32)
    values[:, :32] = 120.0
    values[:, 32:48], values[:, 48:] = 200.0, hole
    valid = None if np.isnan(hole) else np.indices((64, 64))[0] < 48
    part = replace(SAMPLES[0], image=Raster(values, image.grid, image.bands, valid))
    known = read_known(part, recipe())
    mean = round((120 * 32 + 200 * 16) / 48)
    assert known.pixels[:, :32].min() == known.pixels[:, :32].max() == 120
    assert known.pixels[:, 48:].min() == known.pixels[:, 48:].max() == mean
    assert np.array_equal(known.ids == IGNORE, np.indices((64, 64))[0] >= 48)
    talk = Talks([part], recipe(draws=Draws(step=8, turn=False)), 1)[0]
    seen = []

    class Spy:
        inputs, classes = recipe().spec(), CLASSES

        def __call__(self, views):
            seen.extend(views)
            return np.full((len(views), 3, 16, 16), 1 / 3, np.float32)

    prediction.predict(part.image, Spy())
    shown = picture(seen[0].context.values, recipe().spec().scaling)
    assert np.array_equal(np.asarray(shown), np.asarray(talk.images[0]))


def test_lessons_show_the_numbers_that_maps_show():
    """Chips of 16 bits were white in every lesson, and stretched to bytes on every map."""
    grid = GeoBox((64, 64), from_origin(5e5, 5e6, 0.5, 0.5), "EPSG:32633")
    chips = []
    for one in (sample(k) for k in range(2)):
        values = one.image.values.astype(np.uint16) * 10 + 300
        image = Raster(values, grid, one.image.bands)
        chips.append(Sample(one.key, image, replace(one.labels, grid=grid)))
    plan = plan_talks(recipe(), chips[:1], chips[1:])
    assert any("were stretched to bytes" in note for note in plan.notes)
    assert "were stretched to bytes" in plan.card.training
    shown = [np.asarray(plan.talks(kind)[0].images[0]) for kind in (TRAINING, VALIDATION)]
    assert all((part == 255).mean() < 0.1 and np.ptp(part) > 200 for part in shown)
    mapped, _ = as_on_maps(chips, SimpleNamespace(inputs=plan.card.inputs))
    for part, one in zip((plan.samples, plan.validation), mapped, strict=True):
        known = read_known(part[0], plan.recipe)
        whole = one.image.read((slice(0, 64), slice(0, 64)))
        wanted = np.asarray(picture(whole.values, plan.card.inputs.scaling))
        assert np.array_equal(np.moveaxis(known.pixels, 0, -1), wanted)


def test_truth_comes_from_masks_or_objects():
    ids = np.zeros((64, 64), np.int32)
    ids[8:20, 8:30] = 1
    grid = photo_grid((64, 64))
    outlined = Sample("o", SAMPLES[0].image, None, Instances(ids, grid))
    assert np.array_equal(true_classes(outlined, recipe(classes=FTW2)), (ids > 0).astype(np.uint8))
    assert np.array_equal(true_classes(outlined, recipe(classes=ALU)), (ids > 0).astype(np.uint8))
    with pytest.raises(BadInput, match="objects but no classes"):
        true_classes(outlined, recipe(classes=ClassScheme(("soil", "crop"))))
    with pytest.raises(BadInput, match="'tree', which is not among the recipe's others, field"):
        true_classes(SAMPLES[0], recipe(classes=ClassScheme(("others", "field"))))
    with pytest.raises(BadInput, match="neither masks nor objects"):
        true_classes(replace(SAMPLES[0], labels=None), recipe())
    with pytest.raises(BandMismatch, match="the recipe wants"):
        Talks(
            [replace(SAMPLES[0], image=Raster(np.zeros((1, 64, 64), np.uint8), grid, ("grey",)))],
            recipe(),
            1,
        )[0]
    with pytest.raises(BadInput, match="wanted is at least a patch of 16"):
        Talks([sample(1, 8)], recipe(), 1)[0]


def test_the_simulated_countryside_has_five_classes():
    training, validation = simulated(Simulated(scenes=1, validation=1, edge=96, gsd=4.0))
    assert training[0].labels.classes == COUNTRYSIDE
    assert training[0].labels.ids.max() < 5
    assert training[0].image.bands == ("red", "green", "blue")
    assert not np.array_equal(training[0].labels.ids, validation[0].labels.ids)


def test_rewards_are_the_score_itself():
    truth = SAMPLES[0].labels.ids[:16:4, :16:4]
    answer = PROMPT.answer(truth, CLASSES.names)
    wrong = PROMPT.answer((truth + 1) % 3, CLASSES.names)
    spoken = [
        answer,
        [{"role": "assistant", "content": wrong}],
        [{"role": "assistant", "content": [{"type": "text", "text": "I cannot"}]}],
        "",
    ]
    for over in ("union", "truth", "foreground", "paper", "all"):
        found = dice_reward(PROMPT, CLASSES, over)(
            completions=spoken, truth=[truth.tolist()] * 4, prompts=None
        )
        assert found[:2] == [
            1.0,
            mean_dice(truth, ((truth + 1) % 3).astype(np.uint8), CLASSES, over),
        ]
        assert found[2] == found[3] == mean_dice(truth, np.full_like(truth, IGNORE), CLASSES, over)
    assert validity_reward(PROMPT, CLASSES)(completions=spoken) == [1.0, 1.0, 0.0, 0.0]


def test_a_single_patch_is_not_shuffled_with_itself(monkeypatch):
    """What it had with "other" images was its own: a model that sees looked blind."""
    asked = []

    def answers(_generator, questions, _recipe, seeds):
        asked.extend(questions)
        assert list(seeds) == [0] * 4
        return [np.zeros((4, 4), np.uint8)] * 4, [True] * 4

    monkeypatch.setattr(inspect_language, "make_generator", lambda *_: None)
    monkeypatch.setattr(inspect_language, "answers", answers)
    inspect(None, None, Talks(SAMPLES, recipe(), 1), recipe())
    own, both, patch, whole = ([np.asarray(image) for image in one.images] for one in asked)
    same = [
        [np.array_equal(a, b) for a, b in zip(own, o, strict=True)] for o in (both, patch, whole)
    ]
    assert same == [[False, False], [True, False], [False, True]]


def test_the_papers_reward_pays_for_saying_one_thing():
    rng = np.random.default_rng(0)
    truths = [(rng.random((8, 8)) < 0.1).astype(np.uint8) for _ in range(20)]
    paid, fair = constants(truths, COUNTRYSIDE, "all"), constants(truths, COUNTRYSIDE)
    assert paid["others"] > 0.75 > fair["others"]
    assert set(fair) == {*COUNTRYSIDE.names, "nothing"}


def test_the_gate_and_the_alarm():
    standing = inspect(*pair(), Talks(SAMPLES, recipe(), 2, 1), recipe())
    assert standing.valid == 0
    assert "beside it: always" in standing.lines()[0]
    with pytest.raises(BadInput, match=r"Only 0% .* rewards begin at 95%"):
        check_gate(standing, 0.95)
    watch, control, state = (
        make_watch(0.5),
        type("Control", (), {"should_training_stop": False})(),
        type("State", (), {"global_step": 5})(),
    )
    arguments = type("Arguments", (), {"logging_steps": 5})()
    for share in (0.2,) * 5 + (0.9,) * 5:
        watch.on_log(arguments, state, control, {"reward": 0.4, "frac_reward_zero_std": share})
    assert control.should_training_stop
    assert "In 55% of the groups" in watch.alarmed
    assert len(watch.history) == 10


def test_recipes_of_language_models():
    found = {
        name: read_recipe(name)
        for name in list_recipes()
        if name.startswith("magseg") and "/" not in name
    }
    assert {"magseg", "magseg-fast", "magseg-paper", "magseg-tiny"} <= set(found)
    assert all(isinstance(made, LanguageRecipe) for made in found.values())
    assert found["magseg"].sft.batch * found["magseg"].sft.accumulate == 128
    assert found["magseg-paper"].grpo.over == "paper"
    assert not found["magseg-paper"].language.prompt.coordinates
    assert found["magseg-paper"].spec().overlap == 0
    # section 3.1: crops are uniform, whatever they hold; the ablation is of the paper's own form
    assert found["magseg-paper"].draws.least_classes == 1
    for row in ("sft-4b", "sft-12b", "grpo-4b", "grpo-12b"):
        ablation = read_recipe(f"magseg/{row}")
        assert ablation.draws == found["magseg-paper"].draws
        assert ablation.language.prompt == found["magseg-paper"].language.prompt
        assert ablation.grpo.over == "paper"
        assert ablation.overlap == 0
        assert bool(ablation.grpo.steps) == row.startswith("grpo")
    assert found["magseg-fast"].language.prompt.grid == 32
    assert (
        found["magseg-context"].language.prompt.shown,
        found["magseg-context"].draws.hidden,
    ) == ("grey", 0.5)
    with pytest.raises(UnknownName, match=r"did you mean 'language.prompt.codec'"):
        read_recipe("magseg", ["language.prompt.codek=rrle"])
    with pytest.raises(BadInput, match=r"one of base, start_from and tiny"):
        read_recipe("magseg-tiny", ["language.base=somewhere"])
    with pytest.raises(BadInput, match="at least the patch"):
        read_recipe("magseg-tiny", ["language.context=16"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "data.dataset=my-chips",
            r"simulate\.scenes = 24 was given; wanted is 0 where data\.dataset",
        ),
        ("inspect.patches=0", r"inspect\.patches = 0"),
        ("inspect.samples=0", r"inspect\.samples = 0"),
        ("grpo.temperature=0", r"grpo\.temperature = 0"),
        ("hardware.threads=-1", r"hardware\.threads = -1"),
        ("seed=-1", r"seed = -1 was given; wanted is 0 or more"),
        ("simulate.seed=-1", r"simulate\.seed = -1"),
        ("simulate.validation=-1", r"simulate\.validation = -1"),
        ("overlap=25", r"overlap = 25\.0 was given; wanted is a number from 0 to 0\.75"),
        ("divide=[0]", r"divide = \[0\.0\] was given; wanted is numbers other than 0"),
        ("sft.lr=nan", r"sft\.lr = nan was given; wanted is a number above 0"),
        ("sft.lr=-1e-4", r"sft\.lr = -0\.0001"),
        ("sft.warmup=-1", r"sft\.warmup = -1\.0 was given; wanted is a share from 0 up to 1"),
        ("sft.warmup=nan", r"sft\.warmup = nan"),
        ("sft.clip=-1", r"sft\.clip = -1"),
        ("sft.weight_decay=-1", r"sft\.weight_decay = -1"),
        ("grpo.lr=0", r"grpo\.lr = 0"),
        ("grpo.warmup=1.5", r"grpo\.warmup = 1\.5"),
        ("grpo.beta=-1", r"grpo\.beta = -1"),
        ("grpo.beta=nan", r"grpo\.beta = nan"),
        ("grpo.epsilon=0", r"grpo\.epsilon = 0"),
        ("grpo.smooth=-1", r"grpo\.smooth = -1"),
        ("grpo.validity=-1", r"grpo\.validity = -1"),
        ("grpo.temperature=inf", r"grpo\.temperature = inf"),
        ("language.lora.alpha=0", r"language\.lora\.alpha = 0"),
        (
            "language.lora.targets='*q_proj'",
            r"language\.lora\.targets = '\*q_proj' was given; wanted is a regular expression",
        ),
        ("bands=[]", r"bands = \[\] was given; wanted is three bands"),
        ("bands=['red','green','blue','nir']", r"bands = .*'nir'\] was given; wanted is three"),
        (
            'data.mix=[{share=0.5, dataset="a"}, {share=0.5, dataset="b"}]',
            r"data\.mix = '2 datasets' was given; wanted is none where a language model learns",
        ),
    ],
)
def test_what_a_recipe_says_is_obeyed_or_refused_before_anything_is_learnt(change, said):
    """Own chips beside simulated scenes were not looked at; a mixture was a traceback, and so were
    no patches to inspect, after hours.  A seed of -1 was a traceback too, a warm-up below 0 one
    once all was loaded; an overlap in percent gave a model that no map could be made with.
    """
    with pytest.raises(BadInput, match=said):
        read_recipe("magseg-tiny", [change])
    own = read_recipe("magseg-tiny", ["data.dataset=my-chips", "simulate.scenes=0"])
    assert own.data.dataset == "my-chips"


def test_adapters_lie_on_the_language_tower_only():
    import peft

    for family in ("gemma3", "qwen2_5_vl"):
        model, _ = pair(family)
        adapted = peft.get_peft_model(model, lora_config(model, Lora(r=2, alpha=4)))
        names = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
        assert names
        assert not [name for name in names if "vision" in name or "visual" in name]
    with pytest.raises(BadInput, match="fits no layer"):
        lora_config(model, Lora(targets="nothing.*"))
    assert lora_config(model, Lora(r=0)) is None


def test_answers_are_cut_where_right_ones_end(monkeypatch):
    """99 answers of 10 letters and one of 100: a token each, the 99th percentile by hand."""

    class Letters:
        tokenizer = type("T", (), {"encode": lambda _s, text, **_: list(text)})()

    answers = ["x" * 10] * 99 + ["x" * 100]
    talks = [type("Talk", (), {"answer": text})() for text in answers]
    assert by_reward._room(Letters, talks) == int(1.1 * (10 + 0.01 * 90)) + 4
    spec = Grpo(prompts=4, answers=8, micro=2, accumulate=3)
    assert by_reward.batches(spec) == {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 48,
        "steps_per_generation": 16,
        "num_generations": 8,
    }
    with pytest.raises(BadInput, match=r"grpo\.micro.*divisor of prompts \* answers = 32"):
        replace(spec, micro=5)


def test_a_step_by_reward_is_the_same_in_small_parts_and_held_to_the_grammar(tmp_path, monkeypatch):
    """A model of random weights, all of whose answers are masks; 4 answers at once, or 2 and 2."""
    spoken = []
    real = by_reward.validity_reward
    monkeypatch.setattr(
        by_reward,
        "validity_reward",
        lambda *a: lambda **k: spoken.extend(k["completions"]) or real(*a)(**k),
    )
    monkeypatch.setattr(by_reward, "_room", lambda *_: 90)
    after = []
    for micro in (0, 2):
        spec = Grpo(steps=1, prompts=1, answers=4, micro=micro, lr=1e-2, grammar=True)
        made = recipe(grpo=replace(spec, mask_truncated=False, beta=0.0, warmup=0.0))
        model, processor = pair()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        found = by_reward.reinforce(
            model, processor, Talks(SAMPLES, made, 1), made, tmp_path / str(micro)
        )
        assert "generate" not in vars(model)
        after.append({name: value.cpu() for name, value in found.model.state_dict().items()})
        assert any(not torch.equal(before[name], value) for name, value in after[-1].items())
    assert len(spoken) == 8
    assert real(PROMPT, CLASSES)(completions=spoken) == [1.0] * 8
    assert spoken[:4] == spoken[4:]
    assert all(torch.allclose(one, after[1][name], atol=1e-4) for name, one in after[0].items())


def test_from_words_to_rewards_and_back_into_the_socket(tmp_path):
    made = recipe(grpo=Grpo(steps=2, prompts=1, answers=2, gate=0.0, lr=1e-4, save_every=1))
    plan = plan_talks(made, SAMPLES, [sample(9)], SampleOrigin("toys", "CC0"))
    result = train_language(plan, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "recipe.toml", "model", "supervised", "sft-checkpoints", "grpo-checkpoints",
        "standing.json", "rewards.json", "times.json",
    }  # fmt: skip
    took = json.loads((tmp_path / "run" / "times.json").read_text())
    assert {name: stage["samples"] for name, stage in took.items()} == {
        "supervised": 4,
        "by_reward": 2,
    }
    assert all(stage["processor_seconds"] > 0 for stage in took.values())
    assert result.supervised is not None
    assert result.reinforced is not None
    assert any("By reward: Mean Dice" in note for note in result.notes)
    assert set(json.loads((tmp_path / "run" / "standing.json").read_text())) == {
        "supervised",
        "by_reward",
    }
    card = read_card(tmp_path / "run" / "model")
    assert card.licence == "CC0"
    assert card.scores["validation"]["patches"] == 2
    model = load_model(tmp_path / "run" / "model", "torch", threads=1)
    assert model.generator.grammar.names == CLASSES.names
    with pytest.raises(OutputExists, match="--resume"):
        train_language(plan, tmp_path / "run")
    with pytest.raises(BadInput, match="another recipe: seed was 7 and is now 8"):
        train_language(replace(plan, recipe=replace(made, seed=8)), tmp_path / "run", resume=True)


def test_a_run_goes_on_with_its_own_labels_alone(tmp_path, monkeypatch):
    """Edited in place, they were others after the resumption."""
    keep = partial(keep_samples, tmp_path / "checkpoints", SAMPLES, [sample(9)])
    keep(resume=True)  # of a former version, which noted nothing
    keep(resume=True)
    assert ", validated by 1 samples " in (tmp_path / "checkpoints" / LEARNT).read_text()
    with pytest.raises(BadInput, match="begun with other samples or labels"):
        keep_samples(tmp_path / "checkpoints", SAMPLES, SAMPLES, resume=True)
    said = "selion.training.datasets.fingerprint"
    monkeypatch.setattr(said, lambda *_: "2 samples a, labels b")
    with pytest.raises(BadInput, match="begun with other samples or labels"):
        keep(resume=True)
    keep(resume=False)
    keep(resume=True)
    # the last version noted no more than that, and goes on; other labels of validation do not
    monkeypatch.setattr(
        said, lambda *_: "2 samples a, labels b, validated by 1 samples c, labels d"
    )
    keep(resume=True)
    monkeypatch.setattr(
        said, lambda *_: "2 samples a, labels b, validated by 1 samples c, labels e"
    )
    with pytest.raises(BadInput, match="begun with other samples or labels"):
        keep(resume=True)


def test_a_run_of_before_a_setting_existed_goes_on(tmp_path):
    """What it does not say is as it is by default; another value is another recipe."""
    made = read_recipe("magseg-tiny")
    text = to_toml(recipe_table(made))
    assert "zoom = 0" in text
    (tmp_path / "recipe.toml").write_text(text.replace("zoom = 0\n", ""))
    language_run._check_same(tmp_path / "recipe.toml", made)
    other = replace(made.language, prompt=replace(made.language.prompt, zoom=448))
    with pytest.raises(BadInput, match="zoom was 0 and is now 448"):
        language_run._check_same(tmp_path / "recipe.toml", replace(made, language=other))


def test_adapters_are_trained_and_loaded_on_their_base(tmp_path):
    model, processor = pair()
    base = tmp_path / "base"
    model.save_pretrained(base)
    processor.save_pretrained(base)
    made = recipe()
    language = replace(made.language, tiny="", base=str(base), lora=Lora(r=2, alpha=4))
    made = replace(
        made, language=language, grpo=Grpo(steps=1, prompts=1, answers=2, gate=0.0, lr=1e-3)
    )
    train_language(plan_talks(made, SAMPLES, [sample(9)]), tmp_path / "run")
    folder = tmp_path / "run" / "model"
    assert (folder / "adapter_model.safetensors").is_file()
    assert not (folder / "model.safetensors").exists()
    card = read_card(folder)
    assert card.architecture["base"] == str(base)
    loaded = load_model(folder, "torch")
    scores = loaded([view_of(SAMPLES[0])])
    assert scores.shape == (1, 3, 16, 16)
    write_card(replace(card, classes=ClassScheme(("others", "road", "tree"))), folder / "card.toml")
    with pytest.raises(BadInput, match="take an adapter for these classes"):
        load_model(folder)
    other = replace(made, language=replace(language, base="", start_from=str(folder)))
    with pytest.raises(
        BadInput,
        match="was trained for the classes others, road, tree, the recipe has others, field, tree",
    ):
        make_pair(other, Talks(SAMPLES, other, 1))


def test_the_tokenizer_is_looked_at_before_anything_is_learnt(tmp_path):
    model, processor = pair()
    processor.tokenizer.eos_token = None
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    made = recipe()
    made = replace(made, language=replace(made.language, tiny="", base=str(tmp_path / "base")))
    plan = plan_talks(made, SAMPLES, [sample(9)])
    tokens = [line for line in forecast(plan) if line.startswith("Tokens of an answer")]
    assert [line.partition(":")[0][21:] for line in tokens] == [
        f"patches of {patch} px in {grid} rows"
        for patch, grid in ((16, 4), (16, 2), (32, 4), (32, 2))
    ]
    assert all(f"{name} " in line for name in CODECS for line in tokens)
    assert find_tokenizer(recipe()) is None
    with pytest.raises(BadInput, match="no token that ends an answer"):
        train_language(plan, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def view_of(sample):
    from selion.segmenter import View

    return View(sample.image.values[:, :16, :16], (slice(0, 16), slice(0, 16)))


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    made = recipe(sft=Sft(steps=4, batch=2, accumulate=1, lr=1e-3, save_every=2))
    plan = plan_talks(made, SAMPLES, [sample(9)])
    whole = train_language(plan, tmp_path / "whole")

    stopped = []

    def stop(stage, done, total, detail):
        stopped.append(done)
        raise KeyboardInterrupt

    monkeypatch.setattr(
        sft, "shared_arguments", lambda *given: {**shared_arguments(*given), "logging_steps": 3}
    )
    with pytest.raises(KeyboardInterrupt):
        train_language(plan, tmp_path / "part", on_step=stop)
    assert stopped == [3]
    assert (tmp_path / "part" / "sft-checkpoints" / "checkpoint-2").is_dir()
    assert not (tmp_path / "part" / "model").exists()
    train_language(plan, tmp_path / "part", resume=True)
    one, other = (weights(tmp_path / name / "model") for name in ("whole", "part"))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert whole.card.files.keys() == read_card(tmp_path / "part" / "model").files.keys()


def test_what_a_stage_takes_is_of_one_process(monkeypatch):
    """Table 4 of MAgSeg had a quarter of the seconds for a question where four processes learnt."""
    monkeypatch.setattr(language_run, "count_processes", lambda: 4)
    took = {}
    with language_run._clock(took, "supervised", 4 * 96):
        pass
    assert took["supervised"]["samples"] == 96


def test_a_run_that_begins_anew_keeps_no_figures_of_the_former(tmp_path):
    """Curves of rewards stood beside a model without; times, in Table 4, were another run's."""
    names = ("standing.json", "times.json", "rewards.json")
    for name in ("recipe.toml", *names):
        (tmp_path / name).write_text("{}")
    with pytest.raises(OutputExists):
        language_run._prepare(tmp_path, recipe(), resume=False, force=False)
    assert all((tmp_path / name).exists() for name in names)
    language_run._prepare(tmp_path, recipe(), resume=False, force=True)
    assert not any((tmp_path / name).exists() for name in names)
    assert (tmp_path / "recipe.toml").stat().st_size > 2


def test_a_sweep_over_a_language_model_is_refused(tmp_path):
    """It was a traceback."""
    chosen = sweep.variants("magseg-tiny", ["sft.lr=1e-3,2e-3"])
    with pytest.raises(BadInput, match="magseg-tiny trains a language model, and a sweep"):
        sweep.run_sweep(chosen, (), tmp_path)


def weights(folder: Path):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_on_the_command_line(tmp_path):
    small = [
        "--set",
        "simulate.scenes=1",
        "--set",
        "simulate.validation=1",
        "--set",
        "simulate.edge=128",
        "--set",
        "sft.steps=1",
        "--set",
        "sft.batch=2",
    ]
    dry = CliRunner().invoke(cli, ["train", "magseg-tiny", *small, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "1 steps of 2 conversations" in dry.output
    assert "Nothing was written." in dry.output
    folder = tmp_path / "run"
    tiny = [
        *small,
        "--set",
        "inspect.patches=1",
        "--set",
        "language.size.layers=1",
        "--set",
        "language.size.hidden=32",
    ]
    done = CliRunner().invoke(cli, ["train", "magseg-tiny", *tiny, "-o", str(folder), "--quiet"])
    assert done.exit_code == 0, done.output
    assert done.output.strip().endswith("model")
    again = CliRunner().invoke(cli, ["train", "magseg-tiny", *tiny, "-o", str(folder), "--quiet"])
    assert again.exit_code == 1


def test_warnings_of_ours_are_one_sentence(capsys, monkeypatch):
    from selion.cli import main as module

    others = []
    monkeypatch.setattr(warnings, "showwarning", lambda *given: others.append(given))
    module._warn_in_a_sentence()
    warnings.showwarning("The tokenizer splits ' *'.", UserWarning, sft.__file__, 3)
    assert capsys.readouterr().err == "Warning: The tokenizer splits ' *'.\n"
    warnings.showwarning("theirs", UserWarning, torch.__file__, 3)
    warnings.showwarning("ours, of another kind", DeprecationWarning, sft.__file__, 3)
    assert [str(given[0]) for given in others] == ["theirs", "ours, of another kind"]


def test_plans_say_what_is_missing():
    with pytest.raises(BadInput, match="no samples to train on"):
        plan_talks(recipe(), [])
    with pytest.raises(BadInput, match="names no data"):
        plan_language(recipe())
    made = recipe()
    nameless = replace(made, language=replace(made.language, tiny=""))
    with pytest.raises(BadInput, match="names no model"):
        make_pair(nameless, Talks(SAMPLES, made, 1))
    assert SIZE.tokens == 16
