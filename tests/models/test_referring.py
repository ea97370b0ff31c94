"""LAVT and ReLA: sizes as printed, what the words do, what the loss counts, weights on the way."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from referring_toys import REFERRING  # noqa: E402
from selion.classes import IGNORE  # noqa: E402
from selion.errors import BadInput  # noqa: E402
from selion.models import build_network  # noqa: E402
from selion.models.blank import build_blank, build_meta  # noqa: E402
from selion.models.pixel import fill  # noqa: E402
from selion.models.referring.words import phrase_tokens  # noqa: E402
from selion.training import read_recipe  # noqa: E402
from selion.training.referring import referring_loss  # noqa: E402

NAMES = ["field", "tree"]
REGIONS = {
    "hidden": 32,
    "regions": 4,
    "layers": 2,
    "encoder_layers": 1,
    "heads": 2,
    "feedforward": 32,
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(family, phrases=NAMES, seed=0, **options):
    torch.manual_seed(seed)
    more = REGIONS if family == "gres" else {}
    architecture = {"family": family, "phrases": list(phrases), **REFERRING, **more, **options}
    return build_network(architecture, 3, len(phrases) + 1).eval()


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_those_of_the_papers():
    """A count of either as printed was not at hand; those of Swin-B (88 M) and BERT-base (110 M)
    are, and what is between and behind them is counted by hand from the papers' structure.
    """
    for recipe, decoder in (("magseg/lavt", 20_651_010), ("magseg/gres", None)):
        given = read_recipe(recipe).model.architecture
        network = build_meta(given, 3, 6)
        swin, head = count(network.eyes.swin), 1024 * 1000 + 1000 + 2 * 1024
        assert round((swin + head) / 1e6) == 88
        assert round((count(network.text) + 768 * 768 + 768) / 1e6, 1) == 109.5
        read = sum(4 * (c * c + c) + 2 * (768 * c + c) for c in (128, 256, 512, 1024))
        gates = sum(2 * c * c for c in (128, 256, 512))
        norms = sum(2 * c for c in (128, 256, 512, 1024))
        assert count(network.eyes) - swin == read + gates + norms
        if decoder:
            steps = [(1536, 512), (512, 512), (768, 512), (512, 512), (640, 512), (512, 512)]
            by_hand = sum(9 * a * b + 2 * b for a, b in steps) + 2 * 512 + 2
            assert count(network.decoder) == by_hand == decoder
        else:
            attention, line = 4 * (256 * 256 + 256), 256 * 256 + 256
            think = 2 * 256 * 2048 + 2048 + 256
            layers = 9 * (2 * attention + think + 3 * 512)
            heads = 768 * 256 + attention + 512 + 1 + 512 + 2 * 257 + (line + 2 * 257) + 3 * line
            seen = 200 * 256 + 3 * 256
            assert count(network.decoder) - count(network.decoder.fine) == layers + heads + seen


@pytest.mark.parametrize("family", ["lavt", "gres"])
def test_words_decide_what_is_seen(family):
    """The same phrase has the same answer beside others; another phrase another one; and an image
    among others the answer that it has alone.
    """
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    network = made(family)
    with torch.no_grad():
        both = network(image, raw=True)
        assert both.masks.shape == (2, 2, 2, 16, 16)
        assert torch.allclose(network(image[1:], raw=True).masks, both.masks[1:], atol=1e-5)
        assert not torch.allclose(both.masks[:, 0], both.masks[:, 1], atol=1e-5)
        network.ids, network.mask = network.ids.flip(0), network.mask.flip(0)
        swapped = network(image, raw=True)
    for one, other in zip(both, swapped, strict=True):
        assert one is other is None or torch.allclose(one.flip(1), other, atol=1e-5)


def test_pixels_gather_words_by_hand():
    """One head: what equations 1 to 6 say, in numpy."""
    torch.manual_seed(0)
    from selion.models.referring.eyes import PixelWordAttention

    part = PixelWordAttention(3, 2)
    pixels, words = torch.randn(1, 3, 4), torch.randn(1, 2, 3)
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    with torch.no_grad():
        found = part(pixels, words, mask)[0].numpy()

    def line(layer, values):
        return layer.weight[..., 0].detach().numpy() @ values + layer.bias.detach().numpy()[:, None]

    def even(values):
        return (values - values.mean(1, keepdims=True)) / np.sqrt(
            values.var(1, keepdims=True) + 1e-5
        )

    def gelu(values):
        return torch.nn.functional.gelu(torch.from_numpy(values)).numpy()

    seen, said = pixels[0].numpy(), words[0].numpy()[:, :2]
    near = np.exp(even(line(part.query, seen)).T @ line(part.key, said) / np.sqrt(3))
    near /= near.sum(1, keepdims=True)
    gathered = even(line(part.out, line(part.value, said) @ near.T))
    wanted = gelu(line(part.both, gelu(line(part.vision, seen)) * gathered))
    assert np.allclose(found, wanted, atol=1e-5)


def test_gates_begin_closed_and_then_the_words_go_on():
    network = made("lavt")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not any(
            gate(torch.randn(1, 5, 16 * 2**k)).any() for k, gate in enumerate(network.eyes.gates)
        )
        before = network.answer(image).masks
    network.answer(image).masks.square().sum().backward()
    assert all(gate.last.weight.grad.any() for gate in network.eyes.gates)  # and they learn
    with torch.no_grad():
        for gate in network.eyes.gates:
            for layer in (gate.first, gate.last):
                torch.nn.init.eye_(layer.weight)
        assert not torch.allclose(network.answer(image).masks, before, atol=1e-4)


def test_the_loss_by_hand():
    """Two phrases on 2 x 2 pixels, of which one is not known."""
    from selion.models.referring.network import ReferringAnswer

    truth = torch.tensor([[[1, 0], [IGNORE, 2]]])
    masks = torch.zeros(1, 2, 2, 2, 2)
    masks[0, 0, 1] = 1.0  # the first is said to be everywhere, by a margin of 1
    yes, no, even = np.log1p(np.exp(-1.0)), np.log1p(np.exp(1.0)), np.log(2.0)
    weighed = 1.1 * yes + 2 * 0.9 * no + (1.1 + 2 * 0.9) * even
    wanted = weighed / (2 * (1.1 + 2 * 0.9))
    assert float(referring_loss(ReferringAnswer(masks), truth)) == pytest.approx(wanted, abs=1e-6)
    regions = torch.zeros(1, 2, 2, 1, 1)
    absent = torch.tensor([[[0.0, 0.0], [0.0, 3.0]]])
    gone = np.log1p(np.exp(3.0))  # both are there; the second is said not to be
    whole = referring_loss(ReferringAnswer(masks, regions, absent), truth)
    assert float(whole) == pytest.approx(wanted + 0.1 * even + 0.1 * (even + gone) / 2, abs=1e-6)
    nothing = torch.full_like(truth, IGNORE)
    assert float(referring_loss(ReferringAnswer(masks, regions, absent), nothing)) == 0


def test_what_is_not_there_is_nowhere():
    from selion.models.referring.network import ABSENT

    network = made("gres")
    with torch.no_grad():
        last = network.decoder.absent[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 1.0]))
        logits = network(torch.rand(1, 3, 64, 64))
    assert (logits[:, 0] == 0).all()
    assert (logits[:, 1:] == ABSENT).all()


def test_published_weights_are_taken_from_a_folder(tmp_path):
    from transformers import BertModel, SwinModel

    from selion.models.referring.eyes import ReferringSize

    size = ReferringSize(**REFERRING)
    torch.manual_seed(5)
    BertModel(size.bert()).save_pretrained(tmp_path / "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "tree", "field"]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    swin = SwinModel(size.swin(3))
    swin.save_pretrained(tmp_path / "swin")
    architecture = {"family": "lavt", "phrases": NAMES, **REFERRING}
    network = build_network(architecture, 3, 3, str(tmp_path))
    assert network.ids.tolist() == [[2, 5, 3], [2, 4, 3]]
    ours, theirs = network.eyes.swin.state_dict(), swin.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    split = build_network(architecture | {"phrases": ["tree", "a tree field"]}, 3, 3, str(tmp_path))
    assert split.ids.shape == (2, 5)
    again = build_blank(architecture, 3, 3)  # where no tokenizer is at hand, and words are others
    assert torch.equal(fill(again, split.state_dict(), "it").ids, split.ids)
    with pytest.raises(BadInput, match="of another size"):
        build_network({**architecture, "embed_dim": 32}, 3, 3, str(tmp_path))
    with pytest.raises(BadInput, match="neither a folder swin nor a folder bert"):
        build_network(architecture, 3, 3, str(tmp_path / "swin"))


def test_phrases_that_name_nothing():
    ids, mask = phrase_tokens(["field", "edge of field"], 3, 64)
    assert ids.tolist() == [[1, 3, 2, 0, 0], [1, 4, 5, 3, 2]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    for phrases, said in (
        (["field"], r"phrases = \['field'\] was given for 3 classes"),
        (["field", "field"], "for 3 classes"),
        (["field", " "], "has no word"),
    ):
        with pytest.raises(BadInput, match=said):
            phrase_tokens(phrases, 3, 64)
    with pytest.raises(BadInput, match="vocabulary higher"):
        phrase_tokens(["a b", "c d"], 3, 6)
    with pytest.raises(BadInput, match="square number of regions"):
        made("gres", regions=5)
    with pytest.raises(BadInput, match="four stages"):
        made("lavt", depths=[1, 1])


@pytest.mark.parametrize("family", ["lavt", "gres"])
def test_words_are_learnt(family):
    """Coloured squares; with the names swapped it finds what the other name said."""
    draws = torch.Generator().manual_seed(0)
    colours = torch.tensor([[0.8, 0.7, 0.5], [0.3, 0.8, 0.3], [0.1, 0.2, 0.1]])

    def lesson():
        ids = torch.randint(0, 3, (4, 4, 4), generator=draws)
        ids = ids.repeat_interleave(8, 1).repeat_interleave(8, 2)
        return colours[ids].permute(0, 3, 1, 2), ids

    network = made(family).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(24):
        pixels, ids = lesson()
        optimizer.zero_grad()
        referring_loss(network(pixels, raw=True), ids).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    pixels, ids = lesson()
    network.eval()
    with torch.no_grad():
        right = float((network(pixels).argmax(1) == ids).float().mean())
        network.ids = network.ids.flip(0)
        swapped = float((network(pixels).argmax(1) == ids).float().mean())
    assert right > 0.8, right
    assert swapped < 0.55, swapped
