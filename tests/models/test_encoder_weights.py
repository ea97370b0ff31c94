"""Published weights of encoders: their layouts, beside other networks; from a file, from an
address; what is refused."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import threading
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from encoder_toys import block_shapes, fill, fingerprint, picture
from selion.errors import BadInput, ChecksumMismatch, UnreadableFile, UnsafeFile
from selion.models import build_network, network
from selion.models.foundation.cards import encoder_cards
from selion.models.foundation.contrastive import (
    ContrastiveEncoder,
    ContrastiveSize,
    read_decur,
    read_softcon,
)
from selion.models.foundation.dinov3 import Dinov3Encoder, Dinov3Size, read_dinov3
from selion.models.foundation.satlas import SatlasEncoder, SatlasSize, read_satlas
from selion.models.foundation.starting import fetch_encoder, fill_encoder, find_weights

SIZE = {"width": 24, "depth": 2, "heads": 2, "seen": 28, "patch": 7}
SOFTCON = {"family": "frozen", "encoder": "softcon", "window": 28, "size": SIZE, "hidden": 8}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def softcon_file(by=0.3):
    """Fill the layout of the authors' file at a tiny size."""
    shapes = {
        "cls_token": (1, 1, 24),
        "pos_embed": (1, 17, 24),
        "mask_token": (1, 24),
        "patch_embed.proj.weight": (24, 13, 7, 7),
        "patch_embed.proj.bias": (24,),
        **block_shapes("blocks.0", 24, scaled=True),
        **block_shapes("blocks.1", 24, scaled=True),
        "norm.weight": (24,),
        "norm.bias": (24,),
    }
    return fill(shapes, by)


def dinov3_file():
    """Fill the layout of Meta's file at a tiny size; biases are zeros as in theirs."""
    shapes = {
        "cls_token": (1, 1, 24),
        "storage_tokens": (1, 4, 24),
        "mask_token": (1, 24),
        "patch_embed.proj.weight": (24, 3, 8, 8),
        "patch_embed.proj.bias": (24,),
        "rope_embed.periods": (3,),
        **block_shapes("blocks.0", 24, scaled=True),
        "blocks.0.attn.qkv.bias_mask": (72,),
        **block_shapes("blocks.1", 24, scaled=True),
        "blocks.1.attn.qkv.bias_mask": (72,),
        "norm.weight": (24,),
        "norm.bias": (24,),
        "local_cls_norm.weight": (24,),
        "local_cls_norm.bias": (24,),
    }
    state = fill(shapes)
    for name, tensor in state.items():
        if name.endswith("qkv.bias"):
            tensor.zero_()
    return state | {"rope_embed.periods": torch.tensor([1.0, 4.65625, 21.5])}


def loaded(encoder, state, name):
    fill_encoder(encoder, state, encoder_cards()[name])
    return encoder.eval()


def test_softcon_answers_as_its_authors_network():
    """Numbers of DINOv2's network as its authors and Galileo's repository (0f0b5b9) have it."""
    encoder = loaded(
        ContrastiveEncoder(ContrastiveSize(**SIZE)), read_softcon(softcon_file()), "softcon"
    )
    expected = [-1.1098952, -1.5371532, -0.4034117, 0.9114327, 1.3191028, -1.0837424]
    expected += [-1.6134607, -0.3148380, 1.0730721, 1.1563691, -0.6258313, 1.9680976, 1.1157785]
    with torch.inference_mode():
        assert fingerprint(encoder(picture(13, 28))) == pytest.approx(expected, abs=1e-4)


def test_dinov3_answers_as_metas_network():
    """Numbers of facebookresearch/dinov3 at 6876159, its periods rounded as in the file."""
    encoder = Dinov3Encoder(Dinov3Size(24, 2, 2, 8, 32))
    loaded(encoder, read_dinov3(dinov3_file()), "dinov3")
    expected = [-0.1371047, 0.6990481, -1.0339597, -1.8825022, 0.7847945, 0.2667270]
    expected += [-0.2605234, 1.2258086, -2.3411639, -0.8122105, 0.0856835, 1.0117118, 1.0036499]
    with torch.inference_mode():
        assert fingerprint(encoder(picture(3, 32))) == pytest.approx(expected, abs=1e-4)


def test_dinov3_of_timm_is_read_and_one_with_biases_is_refused():
    import timm

    other = timm.create_model(
        "vit_large_patch16_dinov3",
        num_classes=0,
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=2,
    ).eval()
    encoder = loaded(
        Dinov3Encoder(Dinov3Size(24, 2, 2, 8, 32)), read_dinov3(other.state_dict()), "dinov3"
    )
    with torch.inference_mode():
        image = picture(3, 32)
        assert torch.equal(encoder(image), other.forward_features(image)[:, 5:])
    state = dinov3_file()
    state["blocks.1.attn.qkv.bias"][3] = 1
    with pytest.raises(BadInput, match=r"blocks\.1\.attn\.qkv\.bias of the file is not zero"):
        read_dinov3(state)


def test_decur_answers_as_the_network_that_prue_ran():
    import timm

    other = timm.create_model("vit_small_patch16_224").eval()
    other.patch_embed.proj = torch.nn.Conv2d(13, 384, 16, 16)
    card = encoder_cards()["decur"]
    encoder = ContrastiveEncoder(ContrastiveSize(**card.size))
    loaded(encoder, read_decur(other.state_dict()), "decur")
    with torch.inference_mode():
        image = picture(13, 224, 1)
        expected = other.forward_features(image)[:, 1:]
        assert torch.allclose(encoder(image), expected, atol=1e-5)


def test_satlas_answers_as_torchvisions_network_at_its_published_size():
    from torchvision.models import swin_v2_t

    other = swin_v2_t().eval()
    other.features[0][0] = torch.nn.Conv2d(9, 96, 4, 4)
    plain = other.state_dict()  # torchgeo's file
    state = {f"backbone.backbone.{name}": tensor for name, tensor in plain.items()}
    state |= {"intermediates.0.fpn.inner_blocks.0.0.weight": torch.zeros(1)}
    assert read_satlas(state).keys() == read_satlas(plain).keys()
    encoder = loaded(SatlasEncoder(SatlasSize(seen=128)), read_satlas(state), "satlas")
    with torch.inference_mode():
        image = picture(9, 128, 1)
        last = other.features(image).permute(0, 3, 1, 2)  # (view, feature, y, x)
        assert torch.equal(encoder(image), last.flatten(2).transpose(1, 2))


def start(weights):
    torch.manual_seed(0)
    return build_network(SOFTCON, 8, 3, str(weights)).eval()


def test_weights_come_from_a_file_or_a_folder_and_the_head_stays_its_own(tmp_path):
    card = encoder_cards()["softcon"]
    torch.save(softcon_file(), tmp_path / card.file)
    save_file(softcon_file(), tmp_path / "mine.safetensors")
    torch.manual_seed(0)
    random = build_network(SOFTCON, 8, 3).eval()
    image = torch.rand(1, 8, 28, 28)
    with torch.inference_mode():
        first = start(tmp_path)(image)
        assert torch.equal(first, start(tmp_path / card.file)(image))
        assert torch.equal(first, start(tmp_path / "mine.safetensors")(image))
        assert not torch.allclose(first, random(image))
    for mine, other in zip(
        start(tmp_path).head.parameters(), random.head.parameters(), strict=True
    ):
        assert torch.equal(mine, other)


def test_nested_tables_are_flattened(tmp_path):
    from selion.models.foundation.starting import read_tensors

    torch.save({"epoch": 3, "state_dict": {"a": torch.zeros(2)}}, tmp_path / "x.pth")
    with pytest.raises(BadInput, match=r"patch_embed\.proj\.weight"):
        read_tensors(tmp_path / "x.pth", encoder_cards()["softcon"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("norm.bias"), r"lacks transformer\.norm\.bias; wanted is B13"),
        (lambda state: state.update(more=torch.zeros(1)), r"more than the network: transformer\."),
        (
            lambda state: state.update(pos_embed=torch.zeros(1, 5, 24)),
            r"other shapes of transformer\.pos_embed",
        ),
    ],
)
def test_another_network_is_refused_in_one_sentence(change, said, tmp_path):
    state = softcon_file()
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(BadInput, match=said):
        start(tmp_path / "other.pth")


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_files_that_are_no_weights_are_refused(tmp_path):
    card = encoder_cards()["softcon"]
    with pytest.raises(UnreadableFile, match=r"is not there.*published as B13_vits14_softcon\.pth"):
        start(tmp_path)
    with pytest.raises(UnreadableFile, match="nothing"):
        find_weights(card, tmp_path / "nothing")
    torch.save(softcon_file() | {"evil": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UnsafeFile):
        start(tmp_path / "evil.pth")
    assert not os.path.exists("evil")  # noqa: PTH110
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UnsafeFile, match="bare pickle"):
        start(tmp_path / "bare.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    with pytest.raises(UnreadableFile, match="safetensors"):
        start(tmp_path / "cut.safetensors")
    torch.save(softcon_file(), tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    with pytest.raises(UnreadableFile, match="truncated"):
        start(tmp_path / "half.pth")
    with pytest.raises(BadInput, match="'published'"):
        start("imagenet")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve a folder; the card's address points there, and the cache is empty."""

    class Quiet(SimpleHTTPRequestHandler):
        asked = 0

        def log_message(self, *_):
            Quiet.asked += 1

    (tmp_path / "www").mkdir()
    torch.save(softcon_file(), tmp_path / "www" / "weights.pth")
    digest = hashlib.sha256((tmp_path / "www" / "weights.pth").read_bytes()).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    url = f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
    yield replace(encoder_cards()["softcon"], url=url, sha256=digest, size=SIZE), Quiet
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("digits", [8, 64])
def test_weights_come_from_their_address_once_and_are_kept_as_safetensors(
    served, digits, monkeypatch, tmp_path
):
    card, asked = served
    card = replace(card, sha256=card.sha256[:digits])
    monkeypatch.setattr(network, "find_encoder", lambda _: card)
    first = start("published")
    before = asked.asked
    assert before >= 1
    again = start("published")
    assert asked.asked == before
    kept = [path.name for path in (tmp_path / "cache" / "encoders").iterdir()]
    assert kept == [f"softcon-{card.sha256[:12]}.safetensors"]
    image = torch.rand(1, 8, 28, 28)
    with torch.inference_mode():
        assert torch.equal(first(image), again(image))
        assert torch.equal(first(image), start(tmp_path / "www" / "weights.pth")(image))


@pytest.mark.parametrize("digits", [8, 64])
def test_a_wrong_checksum_is_refused_and_nothing_is_kept(served, digits, tmp_path):
    card, _ = served
    with pytest.raises(ChecksumMismatch):
        fetch_encoder(replace(card, sha256=("0" * digits)))
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []


def kept_files(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("digits", "change", "kind", "said"),
    [
        (0, lambda state: state.pop("norm.bias"), BadInput, "lacks transformer"),
        (8, lambda state: state.pop("patch_embed.proj.weight"), BadInput, "patch_embed"),
        (8, lambda state: state["norm.bias"].fill_(float("nan")), BadInput, "not a number"),
        (8, lambda state: state.update(evil=Evil()), UnsafeFile, "code to be run"),
    ],
)
def test_what_arrives_is_checked_before_it_is_kept_and_the_right_file_heals(
    served, tmp_path, monkeypatch, digits, change, kind, said
):
    card, _ = served
    state = softcon_file()
    change(state)
    place = tmp_path / "www" / "weights.pth"
    right = place.read_bytes()
    torch.save(state, place)
    card = replace(card, sha256=hashlib.sha256(place.read_bytes()).hexdigest()[:digits])
    monkeypatch.setattr(network, "find_encoder", lambda _: card)
    put = tmp_path / "cache" / "encoders" / "weights.pth"
    context = pytest.warns(UserWarning, match="no checksum") if digits == 0 else nullcontext()
    with context, pytest.raises(kind, match=said) as caught:
        start("published")
    assert str(put) in str(caught.value)
    assert kept_files(tmp_path) == []
    put.write_bytes(right)  # by hand
    card = replace(card, sha256=hashlib.sha256(right).hexdigest()[:8])
    place.unlink()
    assert torch.isfinite(start("published").encoder.transformer.pos_embed).all()


def test_a_wrong_file_put_in_the_cache_is_not_kept_and_a_spoilt_kept_one_heals(
    served, tmp_path, monkeypatch
):
    card, _ = served
    monkeypatch.setattr(network, "find_encoder", lambda _: card)
    put = tmp_path / "cache" / "encoders" / "weights.pth"
    put.parent.mkdir(parents=True)
    card = replace(card, sha256=card.sha256[:8])
    put.write_bytes(b"other")
    with pytest.raises(ChecksumMismatch, match=re.escape(str(put))):
        start("published")
    assert kept_files(tmp_path) == []
    kept = fetch_encoder(card)
    right = kept.read_bytes()
    save_file({"transformer.norm.bias": torch.zeros(24)}, kept)  # kept by an earlier version
    start("published")
    assert kept.read_bytes() == right
    kept.write_bytes(right[:100])
    start("published")
    assert kept.read_bytes() == right


def test_a_network_of_another_size_leaves_the_kept_file(served, monkeypatch):
    card, _ = served
    card = replace(card, size=SIZE)
    monkeypatch.setattr(network, "find_encoder", lambda _: card)
    kept = fetch_encoder(card)
    with pytest.raises(BadInput, match="lacks") as caught:
        build_network(SOFTCON | {"size": SIZE | {"depth": 3}}, 8, 3, "published")
    assert str(kept) in str(caught.value)
    assert kept.is_file()


def test_where_no_checksum_is_known_the_one_found_is_said(served):
    card, _ = served
    with pytest.warns(UserWarning, match=f"no checksum was published.*{card.sha256}"):
        fetch_encoder(replace(card, sha256=""))


@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    state = softcon_file()
    state["blocks.1.mlp.fc1.weight"][3, 4] = value
    torch.save(state, tmp_path / "spoilt.pth")
    said = r"spoilt\.pth.*not a number or infinite.*transformer\.blocks\.1\.mlp\.fc1\.weight"
    with pytest.raises(BadInput, match=said):
        start(tmp_path / "spoilt.pth")


def test_a_named_file_is_compared_with_the_published_checksum(tmp_path, monkeypatch, recwarn):
    place = tmp_path / "B13_vits14_softcon.pth"
    torch.save(softcon_file(), place)
    found = hashlib.sha256(place.read_bytes()).hexdigest()
    card = replace(encoder_cards()["softcon"], sha256=found[:8])
    monkeypatch.setattr(network, "find_encoder", lambda _: card)
    start(place)
    assert not recwarn.list
    card = replace(card, sha256="eadcf0ff")
    with pytest.warns(UserWarning, match=f"{found}.*begins with eadcf0ff"):
        start(tmp_path)
    assert encoder_cards()["dinov3"].sha256 == "eadcf0ff"


def test_what_has_no_address_is_said():
    with pytest.raises(BadInput, match=r"no public address.*name the file"):
        fetch_encoder(encoder_cards()["dinov3"])


@pytest.mark.parametrize("trainable", [False, True])
def test_a_run_teaches_the_head_and_the_card_names_the_licence(tmp_path, trainable):
    """From a recipe to a folder: the encoder of the file, unless it is fine-tuned."""
    from safetensors.torch import load_file

    import train_toys
    from selion.models.card import read_card
    from selion.training.recipe import Augment, Crops, Inputs, Model, Schedule
    from selion.training.run import plan_samples, train_plan

    torch.save(softcon_file(), tmp_path / "softcon.pth")
    recipe = train_toys.recipe(
        input=Inputs(train_toys.BANDS, (10_000.0,), window=28, multiple=28),
        model=Model(SOFTCON | {"trainable": trainable}, str(tmp_path / "softcon.pth")),
        augment=Augment(),
        crops=Crops("random", per_epoch=4),
        schedule=Schedule(epochs=1, batch=2),
    )
    plan = plan_samples(recipe, [train_toys.sample(0), train_toys.sample(1)])
    assert plan.card.licence == "CC-BY-4.0 (encoder softcon)"
    credit = plan.card.attribution
    changed = ", fine-tuned" if trainable else ""
    assert credit.startswith(f"encoder softcon{changed}: Wang et al., Multi-Label Guided Soft")
    assert ", CC-BY-4.0, https://" in credit
    named = replace(recipe, attribution="Fields: A. Farmer, CC-BY-4.0")
    both = plan_samples(named, plan.samples).card.attribution
    assert both == f"Fields: A. Farmer, CC-BY-4.0; {credit}"
    assert any("encoder softcon, licence CC-BY-4.0" in note for note in plan.notes)
    made = train_plan(plan, tmp_path / "run").card
    assert read_card(made.folder).attribution == credit
    tuned = replace(recipe, model=Model(SOFTCON, "", str(tmp_path / "run")))
    assert "Wang et al." in plan_samples(tuned, plan.samples).card.attribution
    random = replace(recipe, model=Model(SOFTCON))
    assert plan_samples(random, plan.samples).card.attribution == ""
    assert [(one.name, one.licence) for one in made.started_from] == [
        ("encoder softcon", "CC-BY-4.0")
    ]
    stored = load_file(made.folder / "model.safetensors")
    published = read_softcon(softcon_file())
    same = [
        torch.equal(stored[f"encoder.{name}"].float(), tensor.half().float())
        for name, tensor in published.items()
        if tensor.ndim > 1
    ]
    assert all(same) is not trainable
    assert stored["feed.subtract"].dtype == torch.float32


def test_batches_of_one_are_refused_before_anything_is_loaded(tmp_path):
    import train_toys
    from selion.training.recipe import Crops, Inputs, Model, Schedule
    from selion.training.run import plan_samples, plan_training

    recipe = train_toys.recipe(
        input=Inputs(train_toys.BANDS, (10_000.0,), window=28, multiple=28),
        model=Model(SOFTCON, str(tmp_path / "nothing.pth")),
        schedule=Schedule(batch=1, accumulate=2),
    )
    with pytest.raises(BadInput, match=r"schedule\.batch = 1 was given.*at least 2"):
        plan_training(recipe)  # it names no data either
    with pytest.raises(BadInput, match=r"schedule\.batch"):
        plan_samples(recipe, [train_toys.sample(0)])
    alone = replace(recipe, schedule=Schedule(batch=8), crops=Crops())
    with pytest.raises(BadInput, match=r"one window an epoch.*crops\.per_epoch"):
        plan_samples(alone, [train_toys.sample(0)])
    linear = {key: value for key, value in SOFTCON.items() if key != "hidden"} | {"head": "linear"}
    plan_samples(replace(alone, model=Model(linear)), [train_toys.sample(0)])
    plan_samples(replace(recipe, model=Model(linear)), [train_toys.sample(0)])


def test_one_value_a_channel_is_refused_in_a_sentence(tmp_path):
    """A U-Net whose last level is one pixel, a batch of one window: torch's own words are none."""
    import train_toys
    from selion.training.recipe import Inputs, Model, Schedule
    from selion.training.run import plan_samples, train_plan

    recipe = train_toys.recipe(
        input=Inputs(train_toys.BANDS, (10_000.0,), window=32),
        model=Model({"family": "unet", "encoder": "resnet18", "decoder_channels": [8] * 5}),
        schedule=Schedule(epochs=1, batch=1),
    )
    with pytest.raises(BadInput, match=r"1 window of 32 x 32 px.*schedule\.batch.*input\.window"):
        train_plan(plan_samples(recipe, [train_toys.sample(0)]), tmp_path / "run")


def test_a_timm_without_dinov3_is_said(monkeypatch):
    import timm

    monkeypatch.setattr(timm, "is_model", lambda _: False)
    with pytest.raises(BadInput, match="has no DINOv3: install a newer one"):
        Dinov3Encoder(Dinov3Size(24, 2, 2, 8, 32))
