"""ViT-Adapter with FADE: each part equals its definition, the counts are the paper's, and the whole
learns, exports and predicts.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.classes import CROP
from selion.errors import BadInput, MissingExtra, UnknownName
from selion.models import ModelCard, build_network, load_model
from selion.segmenter import InputSpec, Scaling, View

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
timm = pytest.importorskip("timm", reason="the extra 'train' is not installed")
from torch.nn import functional as F  # noqa: E402

from selion.models.architectures import check_window, torch_only  # noqa: E402
from selion.models.blank import build_meta  # noqa: E402
from selion.models.export import export  # noqa: E402
from selion.models.vit_adapter.attention import DeformableAttention, attend, centres  # noqa: E402
from selion.models.vit_adapter.backbone import (  # noqa: E402
    Backbone,
    beit_block,
    distance_bias,
    pairs,
    stretch,
    take_unit_colours,
)
from selion.models.vit_adapter.interaction import (  # noqa: E402
    ConvFfn,
    Extractor,
    Injector,
    group_norm,
    to_maps,
    to_tokens,
)

VIT = {
    "encoder": "vit_tiny_patch16_224",
    "img_size": 64,
    "embed_dim": 24,
    "depth": 4,
    "num_heads": 2,
    "hidden": 16,
}
BEIT = VIT | {"encoder": "beit_base_patch16_224"}
DINO = VIT | {"encoder": "vit_small_patch14_reg4_dinov2", "img_size": 56}
QUERIES = VIT | {
    "head": "mask2former",
    "hidden": 32,
    "queries": 5,
    "encoder_layers": 1,
    "decoder_layers": 2,
}
REFERENCE = {
    "family": "vit-adapter",
    "encoder": "beit_large_patch16_224",
    "img_size": 896,
    "head": "mask2former",
    "hidden": 1024,
    "queries": 200,
    "feedforward": 4096,
}
"""What DepthCropSeg++'s 570.59 M parameters are (Table V)."""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(network, seed=0):
    """As after training: what starts at nothing matters, statistics too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(
                ("gamma", "offsets.weight", "weights.weight", "kernels.weight", "bias_table")
            ):
                value.normal_(0, 0.3, generator=generator)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def tiny(**options):
    torch.manual_seed(0)
    return stirred(build_network({"family": "vit-adapter", **VIT, **options}, 3, 2))


def count(module):
    return sum(p.numel() for p in module.parameters())


# Deformable attention -----------------------------------------------------------------------------


def given_places(seed, shapes, heads=2, features=3, queries=7, points=4):
    values = noise(2, sum(r * c for r, c in shapes), heads, features, seed=seed).requires_grad_()
    # also outside
    places = (
        0.5 + 0.5 * noise(2, queries, heads, len(shapes), points, 2, seed=seed + 1)
    ).requires_grad_()
    weights = (
        noise(2, queries, heads, len(shapes), points, seed=seed + 2)
        .flatten(3)
        .softmax(-1)
        .unflatten(-1, (len(shapes), points))
        .requires_grad_()
    )
    return values, places, weights


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3),
)
def test_attention_equals_that_of_transformers_forward_and_backward(seed, shapes):
    theirs = pytest.importorskip(
        "transformers.models.mask2former.modeling_mask2former"
    ).multi_scale_deformable_attention
    found = []
    for function in (
        lambda v, p, w: attend(v, shapes, p, w),
        lambda v, p, w: theirs(v, shapes, p, w),
    ):
        inputs = given_places(seed, shapes)
        answer = function(*inputs)
        (answer * noise(*answer.shape, seed=5)).sum().backward()
        found.append((answer.detach(), *(x.grad for x in inputs)))
    for ours, want in zip(*found, strict=True):
        assert torch.allclose(ours, want, atol=1e-5, rtol=1e-5)


def test_a_place_at_a_cells_centre_reads_that_cell():
    shapes = [(3, 5)]
    values = noise(1, 15, 1, 2)
    places = centres(shapes, values).reshape(1, 15, 1, 1, 1, 2)
    assert torch.allclose(
        attend(values, shapes, places, torch.ones(1, 15, 1, 1, 1)), values[:, :, 0], atol=1e-6
    )


def test_centres_run_row_by_row_in_x_and_y():
    assert centres([(1, 2), (2, 1)], torch.zeros(1)).tolist() == [
        [0.25, 0.5],
        [0.75, 0.5],
        [0.5, 0.25],
        [0.5, 0.75],
    ]


def test_the_ratio_narrows_the_values_only():
    full, half = (DeformableAttention(24, 2, 3, ratio=ratio) for ratio in (1.0, 0.5))
    assert half.values.weight.shape == (12, 24)
    assert half.answer.weight.shape == (24, 12)
    assert half.offsets.weight.shape == full.offsets.weight.shape == (2 * 3 * 4 * 2, 24)
    with pytest.raises(ValueError, match="do not divide among 5 heads"):
        DeformableAttention(24, 5, 3)


def test_attention_starts_at_the_papers_places():
    layer = DeformableAttention(16, 4, 1, 2)
    second = layer.offsets.bias.reshape(4, 2, 2)[:, 1]  # head, point, (x, y)
    assert torch.allclose(second, torch.tensor([[2.0, 0], [0, 2], [-2, 0], [0, -2]]), atol=1e-5)
    assert not layer.offsets.weight.any()
    assert not layer.weights.weight.any()


# Interactions -------------------------------------------------------------------------------------


def test_an_injector_starts_at_nearly_nothing():
    layer = Injector(24, 2, 4, 0.5)
    tokens, pyramid, shapes = noise(1, 6, 24), noise(1, 21, 24, seed=2), [(4, 4), (2, 2), (1, 1)]
    moved = layer(tokens, (2, 3), pyramid, shapes) - tokens
    assert 0 < moved.abs().max() < 1e-5
    with torch.no_grad():
        layer.gamma.fill_(1.0)
    seen = layer.attention(
        layer.query_norm(tokens), centres([(2, 3)], tokens), layer.value_norm(pyramid), shapes
    )
    assert torch.allclose(layer(tokens, (2, 3), pyramid, shapes), tokens + seen)


def test_an_extractor_adds_what_it_sees_and_then_its_feed_forward():
    layer = Extractor(24, 2, 4, 0.5).eval()
    assert layer.ffn.widen.weight.shape == (6, 24)
    tokens, pyramid, shapes = noise(1, 6, 24), noise(1, 21, 24, seed=2), [(4, 4), (2, 2), (1, 1)]
    seen = pyramid + layer.attention(
        layer.query_norm(pyramid), centres(shapes, pyramid), layer.value_norm(tokens), [(2, 3)]
    )
    assert torch.allclose(
        layer(pyramid, shapes, tokens, (2, 3)), seen + layer.ffn(layer.ffn_norm(seen), shapes)
    )


def test_the_feed_forward_convolves_each_level_by_itself():
    layer, shapes = ConvFfn(8, 4), [(4, 6), (2, 3)]
    tokens = noise(1, 30, 8)
    other = tokens.clone()
    other[:, 24:] += 1  # the second level
    assert torch.equal(layer(tokens, shapes)[:, :24], layer(other, shapes)[:, :24])
    other = tokens.clone()
    other[:, 0] += 1
    moved = (layer(tokens, shapes) != layer(other, shapes)).any(-1)[0].nonzero().flatten().tolist()
    assert moved == [0, 1, 6, 7]  # the 3 x 3 around the corner of a map six wide


def test_tokens_and_maps_are_each_others_inverse():
    maps = [noise(2, 3, 4, 5), noise(2, 3, 2, 3)]
    again = to_maps(torch.cat([to_tokens(m) for m in maps], 1), [(4, 5), (2, 3)])
    assert all(torch.equal(a, b) for a, b in zip(maps, again, strict=True))


def test_groups_of_normalisation_divide_any_width():
    assert group_norm(64).num_groups == 4
    assert group_norm(24).num_groups == 1


# Backbones ----------------------------------------------------------------------------------------


def plain(options):
    return {key: value for key, value in options.items() if key not in ("hidden", "encoder")}


@pytest.mark.parametrize("options", [VIT, DINO], ids=["vit", "dinov2"])
@pytest.mark.parametrize("cells", [(4, 4), (3, 5), (6, 5)], ids=str)
def test_tokens_of_any_size_are_timms(options, cells):
    torch.manual_seed(0)
    backbone = Backbone(options["encoder"], 3, **plain(options)).eval()
    model = timm.create_model(
        options["encoder"], num_classes=0, dynamic_img_size=True, **plain(options)
    ).eval()
    model.load_state_dict(backbone.transformer.state_dict(), strict=False)  # all but the last norm
    model.norm = torch.nn.Identity()
    image = noise(2, 3, *(n * backbone.patch for n in cells))
    with torch.inference_mode():
        tokens, grid = backbone.embed(image)
        assert grid == cells
        assert torch.allclose(
            backbone.run(tokens, 0, 4, grid), model.forward_features(image), atol=1e-5
        )


def beit_pair(size):
    torch.manual_seed(0)
    backbone = stirred(Backbone(BEIT["encoder"], 3, init_values=0.5, **plain(BEIT)))
    model = timm.create_model(BEIT["encoder"], num_classes=0, init_values=0.5, **plain(BEIT)).eval()
    model.load_state_dict(backbone.transformer.state_dict(), strict=False)
    if size != (64, 64):
        model.set_input_size(size)
    model.norm = torch.nn.Identity()
    return backbone, model


@pytest.mark.filterwarnings("ignore::UserWarning")  # of timm's own interpolator
@pytest.mark.parametrize(
    ("size", "within"), [((64, 64), 1e-5), ((96, 64), 2e-2), ((48, 80), 2e-2)], ids=str
)
def test_beit_of_any_size_is_timms(size, within):
    """Exactly at its own size; elsewhere up to timm's search for the spread of its table, which
    stops at 1e-6 and above 1.01.
    """
    backbone, model = beit_pair(size)
    image = noise(2, 3, *size)
    with torch.inference_mode():
        tokens, grid = backbone.embed(image)
        ours, theirs = backbone.run(tokens, 0, 4, grid), model.forward_features(image)
        assert (ours - theirs).abs().max() < within * theirs.std()


def test_pairs_of_beit_are_timms():
    from timm.models.beit import gen_relative_position_index

    assert np.array_equal(pairs((3, 4)), gen_relative_position_index((3, 4)).numpy())


@settings(max_examples=25, deadline=None)
@given(old=st.integers(1, 20), new=st.integers(1, 40))
def test_a_stretched_table_keeps_what_is_near(old, new):
    weights = stretch(old, new)
    assert weights.shape == (2 * new - 1, 2 * old - 1)
    assert np.allclose(weights.sum(1), 1, atol=1e-6)  # constant in, constant out
    assert np.allclose(weights, weights[::-1, ::-1], atol=1e-6)
    assert weights[new - 1, old - 1] == 1  # the token itself
    if new <= old:
        assert np.array_equal(weights @ np.arange(-old + 1, old), np.arange(-new + 1, new))
    elif old > 2:
        assert weights[-1, -1] == pytest.approx(1, abs=1e-4)  # the farthest stays the farthest


def test_bias_of_a_smaller_grid_is_that_of_the_same_distances():
    table = noise(7 * 7 + 3, 2)
    large, small = distance_bias(table, (4, 4), (4, 4)), distance_bias(table, (4, 4), (2, 3))
    kept = [0] + [1 + r * 4 + c for r in range(2) for c in range(3)]
    assert torch.allclose(small, large[:, :, kept][:, :, :, kept], atol=1e-6)


def test_a_block_of_beit_learns_its_table_at_another_size():
    backbone = Backbone(BEIT["encoder"], 3, **plain(BEIT))
    block = backbone.transformer.blocks[0]
    beit_block(block, noise(1, 1 + 15, 24), (3, 5)).square().sum().backward()
    assert block.attn.relative_position_bias_table.grad.abs().sum() > 0


def test_weights_for_normalised_colours_take_colours_from_0_to_1():
    layer = torch.nn.Conv2d(3, 5, 4, stride=4)
    colours = torch.rand(1, 3, 8, 8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    want = layer((colours - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    take_unit_colours(layer, mean, std)
    assert torch.allclose(layer(colours), want, atol=1e-5)


@pytest.mark.parametrize(
    "encoder",
    [
        "resnet18",
        "swin_tiny_patch4_window7_224",
        "vit_small_patch16_dinov3",
        "deit_tiny_distilled_patch16_224",
    ],
)
def test_what_is_no_plain_transformer_is_refused(encoder):
    with pytest.raises(BadInput, match="cannot be built for 3 bands"):
        build_meta({"family": "vit-adapter", "encoder": encoder}, 3, 2)


# The whole ----------------------------------------------------------------------------------------


def test_the_reference_has_the_parameters_of_table_v():
    network = build_meta(REFERENCE | {"upsampler": "bilinear"}, 3, 2)
    assert count(network.backbone) == 307_854_848
    assert count(network.head) == 239_501_059
    assert count(network.adapter) == 23_236_800
    assert round(count(network) / 1e6, 3) == 570.593
    from selion.models.vit_adapter.upsample import Carafe, DySample, Fade, Stepwise

    # Table V adds 0.44, 0.35 (here 0.37) and 0.10 M.
    with torch.device("meta"):
        assert [count(Stepwise(kind, 1024)) for kind in (Fade, Carafe, DySample)] == [
            439_758,
            369_900,
            98_400,
        ]


@pytest.mark.parametrize("options", [VIT, BEIT, DINO], ids=["vit", "beit", "dinov2"])
@pytest.mark.parametrize("upsampler", ["fade", "carafe", "dysample", "bilinear"])
def test_any_multiple_of_the_patch_is_answered_and_everything_learns(options, upsampler):
    torch.manual_seed(0)
    architecture = {"family": "vit-adapter", **options, "upsampler": upsampler}
    network = build_network(architecture, 3, 2).train()
    patch = network.backbone.patch
    image = noise(2, 3, 3 * patch, 5 * patch)
    maps = network.adapter(image, network.backbone)
    assert [m.shape[2:] for m in maps] == [
        (-(-3 * patch // k), -(-5 * patch // k)) for k in (4, 8, 16, 32)
    ]
    logits = network(image)
    assert logits.shape == (2, 2, 3 * patch, 5 * patch)
    F.cross_entropy(logits, torch.randint(0, 2, logits.shape[2:]).expand(2, -1, -1)).backward()
    assert not [
        name
        for name, value in network.named_parameters()
        if value.grad is None or not torch.isfinite(value.grad).all()
    ]


@pytest.mark.parametrize(
    "options",
    [VIT, BEIT | {"upsampler": "carafe"}, DINO | {"upsampler": "dysample"}, QUERIES],
    ids=["vit", "beit", "dinov2", "queries"],
)
def test_bfloat16_learns_and_answers_nearly_the_same(options):
    network = tiny(**options)
    image = noise(1, 3, network.backbone.patch * 4, network.backbone.patch * 4)
    want = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(image)
    if "head" not in options:  # Mask2Former's masks are cut at one half, which is a step
        assert (answer.float() - want).abs().mean() < 0.1 * want.std()
    answer.float().square().mean().backward()
    assert all(
        torch.isfinite(value.grad).all() for value in network.parameters() if value.grad is not None
    )


def test_sizes_that_are_no_multiple_are_refused():
    with pytest.raises(BadInput, match=r"16 px wide; \(60, 64\) px was given"):
        tiny()(noise(1, 3, 60, 64))


def test_the_transformers_maps_go_to_the_levels_of_the_paper():
    """Bilinear, by hand: the first map to 1/4, the second to 1/8, the third to 1/16, the fourth to
    1/32.
    """
    network = tiny(upsampler="bilinear")
    adapter = network.adapter
    maps = [noise(1, 24, n, n, seed=n) for n in (16, 8, 4, 2)]
    seen = [noise(1, 24, 4, 4, seed=20 + k) for k in range(4)]
    with torch.inference_mode():
        got = adapter._merge(maps[0], maps[1:], seen)
        moved = [
            F.interpolate(s, scale_factor=f, mode="bilinear", align_corners=False)
            for s, f in zip(seen, (4, 2, 1, 0.5), strict=True)
        ]
        bases = [maps[0] + adapter.up(maps[1]), *maps[1:]]
        for k in range(4):
            assert torch.allclose(got[k], adapter.norms[k](bases[k] + moved[k]), atol=1e-5)


def test_fade_is_placed_three_times_and_guided_by_the_maps_before_addition():
    network = tiny(upsampler="fade")
    adapter = network.adapter
    maps = [noise(1, 24, n, n, seed=n) for n in (16, 8, 4, 2)]
    seen = [noise(1, 24, 4, 4, seed=20 + k) for k in range(4)]
    with torch.inference_mode():
        got = adapter._merge(maps[0], maps[1:], seen)
        finest = maps[0] + adapter.up(maps[1])
        first, second, third = adapter.fuse.ups
        want = finest + second(finest, first(maps[1], seen[0])), maps[1] + third(maps[1], seen[1])
        assert all(torch.allclose(got[k], adapter.norms[k](want[k]), atol=1e-5) for k in range(2))


def test_the_pyramid_reaches_the_transformer_and_the_transformer_the_pyramid():
    network = tiny()
    before = network(noise(1, 3, 64, 64))
    for name in ("adapter.prior.lifts.2.weight", "backbone.transformer.blocks.3.mlp.fc2.weight"):
        value = dict(network.named_parameters())[name]
        kept = value.detach().clone()
        with torch.no_grad():
            value.mul_(2)
        assert (network(noise(1, 3, 64, 64)) - before).abs().max() > 1e-4, name
        with torch.no_grad():
            value.copy_(kept)


def test_recomputing_saves_nothing_but_memory():
    image = noise(2, 3, 64, 64)
    grads = []
    for recompute in (False, True):
        network = tiny(recompute=recompute)
        network(image).square().mean().backward()
        grads.append({name: value.grad for name, value in network.named_parameters()})
    assert all(torch.allclose(grads[0][name], grads[1][name], atol=1e-6) for name in grads[0])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"upsampler": "fad"}, UnknownName, "did you mean 'fade'"),
        ({"head": "uper"}, UnknownName, "no head called 'uper'"),
        ({"norm": "layer"}, UnknownName, "no norm called"),
        ({"queries": 5}, BadInput, "the head 'pixel' has no queries"),
        ({"depth": 3}, BadInput, "wants 4 or more"),
        ({"head": "mask2former", "hidden": 48}, BadInput, "multiple of 32"),
        ({"embed_dim": 26, "deform_heads": 2, "ratio": 0.5}, BadInput, "do not divide"),
        ({"encoder": "vit_tinny_patch16_224"}, UnknownName, "did you mean"),
    ],
)
def test_what_cannot_be_built_gets_a_sentence(change, error, said):
    with pytest.raises(error, match=said):
        build_network({"family": "vit-adapter", **VIT, **change}, 3, 2)


def test_windows_must_be_multiples_of_the_patch():
    architecture = {"family": "vit-adapter", "encoder": "vit_small_patch14_dinov2"}
    check_window(architecture, InputSpec(("r", "g", "b"), window=448, multiple=448))
    with pytest.raises(BadInput, match="multiple of 14 px"):
        check_window(architecture, InputSpec(("r", "g", "b"), window=256, multiple=256))


# Mask2Former's head -------------------------------------------------------------------------------


def test_queries_answer_raw_what_the_set_loss_wants():
    network = tiny(**QUERIES)
    image = noise(2, 3, 64, 48)
    with torch.inference_mode():
        answer = network(image, raw=True)
        assert answer.classes.shape == (2, 5, 3)
        assert answer.masks.shape == (2, 5, 16, 12)
        assert len(answer.auxiliary) == 2
        assert all(layer.masks.shape == answer.masks.shape for layer in answer.auxiliary)
        logits = network(image)
        masks = F.interpolate(
            answer.masks, size=(64, 48), mode="bilinear", align_corners=False
        ).sigmoid()
        evidence = (answer.classes.softmax(2)[:, :, :2, None, None] * masks[:, :, None]).sum(1)
        assert torch.allclose(
            logits.softmax(1), evidence / evidence.sum(1, keepdim=True), atol=1e-4
        )


def test_a_head_per_pixel_has_no_raw_answer():
    with pytest.raises(BadInput, match="take head = 'mask2former'"):
        tiny()(noise(1, 3, 64, 64), raw=True)


def test_only_the_queries_are_kept_from_other_engines():
    assert not torch_only({"family": "vit-adapter", **VIT})
    assert "Mask2Former looks only" in torch_only({"family": "vit-adapter", **QUERIES})


# Export and the socket ----------------------------------------------------------------------------


def card_of(architecture, window):
    return ModelCard(
        "toy.adapter",
        InputSpec(("red", "green", "blue"), Scaling((255.0,)), window=window, multiple=window),
        CROP,
        architecture=architecture,
    )


def photo(height, width):
    return View(
        np.random.default_rng(3).integers(0, 256, (3, height, width), dtype=np.uint8),
        (slice(0, height), slice(0, width)),
    )


@pytest.mark.parametrize(
    "options",
    [BEIT | {"img_size": 48, "upsampler": "carafe"}, DINO | {"upsampler": "dysample"}],
    ids=["beit-carafe-other-size", "dinov2-dysample"],
)
def test_engines_agree(options, tmp_path):
    window = 64 if options["encoder"] != DINO["encoder"] else 56
    architecture = {"family": "vit-adapter", **options}
    torch.manual_seed(0)
    card = export(
        stirred(build_network(architecture, 3, 2)),
        card_of(architecture, window),
        tmp_path / "model",
    )
    views = [photo(window - 9, window - 3), photo(window - 9, window - 3)]
    want, *others = (
        load_model(card.folder, engine, threads=1)(views)
        for engine in ("torch", "openvino", "onnxruntime")
    )
    assert want.shape == (2, 2, window - 9, window - 3)
    assert want.std() > 1e-3
    for other in others:
        assert np.abs(other - want).max() < 1e-4


def test_queries_are_run_by_torch(tmp_path):
    architecture = {"family": "vit-adapter", **QUERIES}
    card = export(tiny(**QUERIES), card_of(architecture, 64), tmp_path / "model", half=False)
    with pytest.raises(MissingExtra, match="only where its last mask"):
        load_model(card.folder, "onnxruntime")
    answer = load_model(card.folder, threads=1)([photo(50, 64)])
    assert answer.shape == (1, 2, 50, 64)
    assert np.allclose(answer.sum(1), 1, atol=1e-5)
