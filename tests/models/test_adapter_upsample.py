"""FADE, CARAFE, DySample: equal to their textbook definitions on odd, non-square inputs, with the
papers' counts, without the unfolded tensor.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("timm", reason="the extra 'train' is not installed")
from torch.nn import functional as F  # noqa: E402

from selion.models.vit_adapter.upsample import (  # noqa: E402
    Carafe,
    DySample,
    Fade,
    Resized,
    Stepwise,
    added,
    reassemble,
    resize,
)

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 7))
SLOW = settings(max_examples=20, deadline=None)


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(layer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in layer.parameters():
            value.normal_(0, 0.3, generator=generator)
    return layer


def nearest(features, times=2):
    return features.repeat_interleave(times, 2).repeat_interleave(times, 3)


def unfolded(features, kernels):
    """The textbook: 25 neighbours of each cell as one tensor, upsampled by nearest neighbour,
    weighted by (view, 25, 2 y, 2 x) kernels.
    """
    views, channels, rows, columns = features.shape
    neighbours = F.unfold(features, 5, padding=2).reshape(views, channels * 25, rows, columns)
    neighbours = nearest(neighbours).reshape(views, channels, 25, 2 * rows, 2 * columns)
    return (neighbours * kernels[:, None]).sum(2)


def textbook_fade(fade, guide, features):
    """Sections 3.3 and 3.4 word by word: everything at the high resolution, the decoder's part by
    nearest upsampling of its own convolution.
    """
    of_encoder = F.conv2d(fade.encoder(guide), fade.kernels.weight, fade.kernels.bias, padding=1)
    of_decoder = F.conv2d(fade.decoder(features), fade.kernels.weight, fade.kernels.bias, padding=1)
    kernels = (of_encoder + nearest(of_decoder)).softmax(1)
    gate = nearest(fade.gate(features)).sigmoid()
    return gate * guide + (1 - gate) * unfolded(features, kernels)


@SLOW
@given(size=SIZES, seed=st.integers(0, 1000))
def test_fade_equals_its_definition_and_so_do_its_gradients(size, seed):
    fade = stirred(Fade(5), seed)
    grads = []
    for function in (fade, lambda en, de: textbook_fade(fade, en, de)):
        fade.zero_grad()
        guide, features = (
            noise(2, 5, 2 * size[0], 2 * size[1], seed=seed).requires_grad_(),
            noise(2, 5, *size, seed=seed + 1).requires_grad_(),
        )
        answer = function(guide, features)
        (answer * noise(*answer.shape, seed=7)).sum().backward()
        grads.append(
            [
                answer.detach(),
                guide.grad,
                features.grad,
                *(p.grad.clone() for p in fade.parameters()),
            ]
        )
    for ours, want in zip(*grads, strict=True):
        assert torch.allclose(ours, want, atol=1e-4, rtol=1e-4)


def test_without_gradients_the_answer_is_the_same():
    fade, guide, features = stirred(Fade(7)), noise(1, 7, 6, 10), noise(1, 7, 3, 5, seed=2)
    with torch.no_grad():
        alone = fade(guide, features)
    assert torch.allclose(alone, fade(guide, features), atol=1e-6)
    assert torch.allclose(alone, textbook_fade(fade, guide, features), atol=1e-5)


@SLOW
@given(size=SIZES, odd=st.tuples(st.booleans(), st.booleans()))
def test_a_guide_of_odd_size_lacks_the_last_row_or_column_only(size, odd):
    """The cell below pixel (y, x) is (y // 2, x // 2): only the two pixels next to what is missing
    may see it, through the 3 x 3 convolution.
    """
    fade = stirred(Fade(5))
    guide, features = noise(1, 5, 2 * size[0], 2 * size[1]), noise(1, 5, *size, seed=2)
    cut = guide[:, :, : 2 * size[0] - odd[0], : 2 * size[1] - odd[1]]
    with torch.inference_mode():
        whole, part = fade(guide, features), fade(cut, features)
    assert part.shape == cut.shape
    rows, columns = (n - (1 if o else 0) for n, o in zip(cut.shape[2:], odd, strict=True))
    assert torch.allclose(part[:, :, :rows, :columns], whole[:, :, :rows, :columns], atol=1e-5)


@SLOW
@given(size=SIZES, seed=st.integers(0, 1000))
def test_carafe_equals_its_definition(size, seed):
    carafe = stirred(Carafe(5), seed)
    features = noise(2, 5, *size, seed=seed)
    with torch.inference_mode():
        # (view, 25, 2 y, 2 x)
        kernels = F.pixel_shuffle(carafe.kernels(carafe.compress(features)), 2).softmax(1)
        assert torch.allclose(
            carafe(noise(2, 9, 2 * size[0], 2 * size[1]), features),
            unfolded(features, kernels),
            atol=1e-5,
        )


@SLOW
@given(size=SIZES)
def test_dysample_without_offsets_is_bilinear(size):
    layer = DySample(8)
    with torch.no_grad():
        layer.offsets.weight.zero_()
    features = noise(2, 8, *size)
    answer = layer(noise(2, 1, 2 * size[0], 2 * size[1]), features)
    assert torch.allclose(
        answer,
        F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False),
        atol=1e-5,
    )


def test_an_offset_of_dysample_moves_one_group_of_one_pixel():
    layer = DySample(8)
    with torch.no_grad():
        layer.offsets.weight.zero_()
        layer.offsets.bias.zero_()
        # x, second group, lower left pixel: one cell to the right
        layer.offsets.bias.view(2, 4, 4)[0, 1, 2] = 4.0
    features = noise(1, 8, 4, 5)
    guide = torch.zeros(1, 1, 8, 10)
    with torch.inference_mode():
        answer = layer(guide, features)
        plain = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        moved = F.pad(plain, (0, 2, 0, 0), mode="replicate")[..., 2:]
    want = plain.clone()
    want[:, 2:4, 1::2, 0:-2:2] = moved[:, 2:4, 1::2, 0:-2:2]
    assert torch.allclose(answer[..., :-2], want[..., :-2], atol=1e-5)


@pytest.mark.parametrize("layer", [Fade, Carafe], ids=["fade", "carafe"])
def test_even_weights_average_constants_away_from_the_border(layer):
    features = torch.ones(1, 4, 7, 8)
    answer = layer(4)(torch.ones(1, 4, 14, 16), features)
    # constant in, constant out
    assert torch.allclose(answer[..., 4:-4, 4:-4], torch.ones(()), atol=1e-5)


def test_counts_of_three_at_1024_channels():
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in Stepwise(kind, 1024).parameters())
            for kind in (Fade, Carafe, DySample)
        ]
    assert counts == [439_758, 369_900, 98_400]
    assert not list(Resized(1024).parameters())


def test_one_kernel_picks_one_neighbour():
    """Tap 7 of the 5 x 5, row by row, is one row up and at the same column."""
    kernels = torch.zeros(1, 25, 4, 4, 6)
    kernels[:, 7] = 1
    features = noise(1, 3, 4, 6)
    want = nearest(F.pad(features, (0, 0, 1, 0))[:, :, :4])
    assert torch.equal(reassemble(features, kernels), want)


def test_memory_does_not_hold_25_times_the_features():
    """What autograd keeps for the backward pass of the reassembly: the features and the kernels,
    not their products.
    """
    features, kernels = (
        noise(1, 64, 16, 16).requires_grad_(),
        noise(1, 25, 4, 16, 16, seed=2).requires_grad_(),
    )
    kept: dict[int, int] = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answer = reassemble(features, kernels)
    unfold = 25 * answer.numel() * 4
    assert sum(kept.values()) < unfold / 8
    answer.sum().backward()
    assert torch.isfinite(features.grad).all()


def test_recomputed_upsamplers_learn_the_same():
    grads = []
    for recompute in (False, True):
        layer = stirred(Stepwise(Fade, 4, recompute=recompute))
        finest, finer = layer(
            noise(1, 4, 8, 12),
            noise(1, 4, 4, 6, seed=2),
            noise(1, 4, 2, 3, seed=3),
            noise(1, 4, 2, 3, seed=4),
        )
        (finest.square().sum() + finer.square().sum()).backward()
        grads.append([p.grad for p in layer.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*grads, strict=True))


def test_dysample_wants_channels_that_divide():
    with pytest.raises(ValueError, match="do not divide into 4 groups"):
        DySample(6)


def test_adding_is_resizing_and_adding():
    onto, features = noise(1, 2, 5, 7), noise(1, 2, 3, 4, seed=2)
    assert torch.equal(added(features, onto), onto + resize(features, onto))
