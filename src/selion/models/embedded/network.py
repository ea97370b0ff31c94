"""LISA, LISAt and GSVA as one network.

A vision-language model says ``<seg>`` for each class, and its hidden state there prompts Segment
Anything's decoder.

Notes
-----
From LISA (Lai et al., CVPR 2024, arXiv 2308.00692): the token ``<seg>``, the projection of its last
hidden state by two layers, SAM's image encoder frozen and its mask decoder trained, LoRA on the
queries and values of the language tower (r = 8, alpha = 16), text 1 + BCE 2 + Dice 0.5.  LISAt
(Quenum et al., 2025) is the same network for remote sensing with another vision-language model:
give that one.  From GSVA (Xia et al., CVPR 2024, arXiv 2312.10103): one ``<seg>`` for each class
asked for in one answer, and the token ``[REJ]`` for a class that is not there.  Numbers are those
of LISA's published code; LISAt is called the same because it says that it follows LISA.

Where this departs: the answer's form is fixed ("field: <seg>, tree: <seg>"), so it is scored by the
network and not sampled; the classes' masks and a background of logit 0 are brought together by a
softmax, as a Segmenter's probabilities sum to one; windows are squares that are stretched to SAM's
edge and not padded; there is no mixture with question answering or referring data.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput

SEG, REJ = "<seg>", "[REJ]"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What Segment Anything's images are normalised with."""
REJECTED = -1e4
"""Logit of a class that is not there."""
LORA_TARGETS = r".*(language_model|text_model).*\.(q_proj|v_proj)"


@dataclass(frozen=True, slots=True)
class Asking:
    """How the network is asked."""

    instruction: str = "Please segment the image: {classes}."
    reject: bool = False
    """GSVA: a class may be answered with ``[REJ]``; otherwise each gets a mask, which may be empty
    (LISA)."""
    lora: int = 0
    """Rank of an adapter on the language tower; LISA has 8.  0: none."""

    def __post_init__(self) -> None:
        if "{classes}" not in self.instruction or self.lora < 0:
            raise BadInput(
                f"{self} was given; wanted is an instruction with {{classes}} and a rank of 0 or "
                "more."
            )


@dataclass(frozen=True, eq=False, slots=True)
class EmbeddedAnswer:
    """What the network says of a batch."""

    masks: Tensor
    """(view, asked, h, w) logits, smaller than the image."""
    words: Tensor
    """(view, token, vocabulary) logits of the answer's tokens."""
    said: Tensor
    """(view, token) int64 tokens of the answer."""
    rejected: Tensor | None = None
    """(view, asked) bool, whose class the answer says is not there; None without ``[REJ]``."""


class EmbeddedMasks(nn.Module):
    """The network.

    Parameters
    ----------
    vlm : PreTrainedModel
        A model of ``AutoModelForImageTextToText`` whose images always take the same number of
        tokens for windows of one size.
    processor : ProcessorMixin
        Its processor; ``<seg>`` and ``[REJ]`` are added to its tokenizer.
    sam : SamModel
        Its image encoder, its decoder, and of its prompt encoder what stands for no mask.
    classes : ClassScheme
        All but the first are asked for.
    asking : Asking
    """

    mean: Tensor
    deviation: Tensor
    reloads_frozen = True
    """What does not learn comes with the two models again: checkpoints do without it."""

    def __init__(
        self, vlm: Any, processor: Any, sam: Any, classes: ClassScheme, asking: Asking = Asking()
    ) -> None:
        super().__init__()
        self.processor, self.classes, self.asking = processor, classes, asking
        tokenizer = processor.tokenizer
        tokenizer.add_tokens([SEG, REJ], special_tokens=True)
        if len(tokenizer) > vlm.get_input_embeddings().weight.shape[0]:
            vlm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        width = int(vlm.get_input_embeddings().weight.shape[1])
        self.vlm = _with_lora(vlm, asking.lora)
        self.sam = sam
        self.project = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, sam.config.prompt_encoder_config.hidden_size),
        )
        self.seg, self.rej = (int(tokenizer.convert_tokens_to_ids(token)) for token in (SEG, REJ))
        self.answer, self.slots = self._template()
        self.edge = int(sam.config.vision_config.image_size)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the classes that are asked for."""
        return self.classes.names[1:]

    def forward(
        self, images: Tensor, raw: bool = False, truth: Tensor | None = None
    ) -> Tensor | EmbeddedAnswer:
        """(view, 3, y, x) from 0 to 1 -> (view, class, y, x) logits.

        With ``raw`` the answer itself, for :func:`embedded_loss`; it rejects the classes that
        ``truth``, (view, y, x) class ids, does not have.
        """
        if not raw:
            return self.logits(images)
        absent = None
        if self.asking.reject and truth is not None:
            absent = _there(truth, len(self.asked)).sum((2, 3)) == 0
        return self.answered(images, absent)

    def answered(self, images: Tensor, rejected: Tensor | None = None) -> EmbeddedAnswer:
        """Answer about (view, 3, y, x) images from 0 to 1.

        ``rejected``, (view, asked) bool, says which classes the answer rejects.
        """
        inputs, start = self._inputs(images, rejected)
        seen = self.vlm(**inputs, output_hidden_states=True, use_cache=False)
        places = torch.tensor([start + k for k in self.slots], device=images.device)
        # (view, asked, width of a prompt)
        prompts = self.project(seen.hidden_states[-1][:, places].float())
        return EmbeddedAnswer(
            self._masks(images, prompts),
            seen.logits[:, start - 1 : -1].float(),
            inputs["input_ids"][:, start:],
            rejected,
        )

    @torch.no_grad()
    def rejections(self, images: Tensor) -> Tensor | None:
        """Decide class by class, each knowing the ones before it, which classes are not there.

        (view, asked) bool, or None without ``[REJ]``.
        """
        if not self.asking.reject:
            return None
        rejected = torch.zeros(
            (len(images), len(self.asked)), dtype=torch.bool, device=images.device
        )
        for k, slot in enumerate(self.slots):
            inputs, start = self._inputs(images, rejected)
            words = self.vlm(**inputs, use_cache=False).logits[:, start + slot - 1]
            rejected[:, k] = words[:, self.rej] > words[:, self.seg]
        return rejected

    def logits(self, images: Tensor) -> Tensor:
        """Return (view, class, y, x) logits; the background's are 0."""
        rejected = self.rejections(images)
        masks = F.interpolate(
            self.answered(images, rejected).masks,
            images.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        if rejected is not None:
            masks = masks.masked_fill(rejected[:, :, None, None], REJECTED)
        return torch.cat([torch.zeros_like(masks[:, :1]), masks], 1)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return (view, class, y, x) probabilities."""
        return self.logits(images).softmax(1)

    def _template(self) -> tuple[list[int], list[int]]:
        """Return the tokens of an answer that rejects nothing.

        With them come the places of ``<seg>`` in it.
        """
        tokenizer = self.processor.tokenizer
        text = ", ".join(f"{name}: {SEG}" for name in self.asked)
        answer = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        slots = [k for k, token in enumerate(answer) if token == self.seg]
        if len(slots) != len(self.asked):
            raise BadInput(
                f"The tokenizer makes {len(slots)} tokens {SEG} of {text!r}; wanted are "
                f"{len(self.asked)}: take another tokenizer."
            )
        return answer, slots

    def _inputs(self, images: Tensor, rejected: Tensor | None) -> tuple[dict[str, Any], int]:
        """Return the inputs of the language model, and where the answer begins."""
        inputs = self._question(images)
        start = int(inputs["input_ids"].shape[1])
        said = torch.tensor([self.answer], device=images.device).repeat(len(images), 1)
        if rejected is not None:
            places = torch.tensor(self.slots, device=images.device)
            said[:, places] = torch.where(rejected, self.rej, self.seg)
        shape = inputs["input_ids"].shape
        for name, value in inputs.items():
            if value.shape == shape:
                fill = (
                    said
                    if name == "input_ids"
                    else torch.full_like(said, int(name == "attention_mask"))
                )
                inputs[name] = torch.cat([value, fill.to(value.dtype)], 1)
        return inputs, start

    def _question(self, images: Tensor) -> dict[str, Any]:
        from PIL import Image

        bytes_of = (
            (images.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        )
        text = self.asking.instruction.format(classes=", ".join(self.asked))
        asked = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": Image.fromarray(np.ascontiguousarray(one))},
                        {"type": "text", "text": text},
                    ],
                }
            ]
            for one in bytes_of
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # processors speak of their own options here
            inputs = self.processor.apply_chat_template(
                asked,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        kind = self.vlm.dtype
        return {
            name: value.to(images.device, dtype=kind if value.is_floating_point() else None)
            for name, value in inputs.items()
        }

    def _masks(self, images: Tensor, prompts: Tensor) -> Tensor:
        """Let Segment Anything's decoder answer (view, asked, width) prompts.

        (view, asked, h, w) logits.
        """
        square = F.interpolate(images, (self.edge, self.edge), mode="bilinear", align_corners=False)
        memory = self.sam.vision_encoder((square - self.mean) / self.deviation).last_hidden_state
        places = self.sam.get_image_wide_positional_embeddings().expand(len(images), -1, -1, -1)
        nothing = self.sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(
            len(images), -1, *memory.shape[-2:]
        )
        masks, _ = self.sam.mask_decoder(
            image_embeddings=memory,
            image_positional_embeddings=places,
            sparse_prompt_embeddings=prompts[:, :, None],
            dense_prompt_embeddings=nothing,
            multimask_output=False,
        )
        return masks[:, :, 0]

    def freeze(self) -> None:
        """Let learn what learns in LISA.

        The adapter, the word embeddings and the head of the language model, the projection and the
        mask decoder.
        """
        for name, parameter in self.named_parameters():
            learns = name.startswith(("project.", "sam.mask_decoder.")) or "lora_" in name
            parameter.requires_grad_(
                learns or any(part in name for part in ("embed_tokens", "lm_head"))
            )
        self.rest()

    def rest(self) -> None:
        """Take what no answer hears out of what learns.

        Segment Anything's own prompts and its guess at its own IoU: processes that share a run wait
        for every gradient.
        """
        for name, parameter in self.sam.named_parameters():
            heard = name == "prompt_encoder.no_mask_embed.weight"
            if ("prompt_encoder" in name and not heard) or "iou_prediction_head" in name:
                parameter.requires_grad_(requires_grad=False)


def _with_lora(vlm: Any, rank: int) -> Any:
    if not rank:
        return vlm
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks the library by an old name
        return get_peft_model(
            vlm,
            # LISA's numbers: alpha 16 with rank 8, dropout 0.05
            LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=LORA_TARGETS),
        )


def _there(truth: Tensor, asked: int) -> Tensor:
    """(view, y, x) class ids -> (view, asked, y, x) float, 1 where the class is."""
    return torch.stack([truth == k for k in range(1, asked + 1)], 1).float()


def embedded_loss(
    answer: EmbeddedAnswer, truth: Tensor, text: float = 1.0, bce: float = 2.0, dice: float = 0.5
) -> Tensor:
    """Compare a network's answer with the truth.

    Parameters
    ----------
    answer : EmbeddedAnswer
        Given with this truth, so that it rejects what is not there.
    truth : (view, y, x) int64 tensor
        Class ids; 255 is not known and counts nowhere.
    text, bce, dice : float
        Weights of the three losses; LISA's.

    Returns
    -------
    scalar tensor
        Text cross-entropy over the answer's tokens, and over the masks of the classes that are
        there (of all classes, without ``[REJ]``) the means of binary cross-entropy and Dice, each
        mask weighing alike.

    Notes
    -----
    LISA, its training objective; weights as in its published code.  Its Dice divides by 1000 and
    adds 1e-6 for half precision; here 1 pixel is added instead.
    """
    goal = _there(truth, answer.masks.shape[1])
    known = (truth != IGNORE)[:, None].float()
    logits = F.interpolate(
        answer.masks.float(), truth.shape[-2:], mode="bilinear", align_corners=False
    )
    entropy = (F.binary_cross_entropy_with_logits(logits, goal, reduction="none") * known).sum(
        (2, 3)
    ) / known.sum((2, 3)).clamp(min=1)
    p = logits.sigmoid() * known
    missed = 1 - (2 * (p * goal).sum((2, 3)) + 1) / (p.sum((2, 3)) + goal.sum((2, 3)) + 1)
    counted = (
        (known.sum((2, 3)) > 0).expand_as(entropy).float()
        if answer.rejected is None
        else (~answer.rejected).float()
    )
    many = counted.sum().clamp(min=1)
    words = F.cross_entropy(answer.words.flatten(0, 1), answer.said.flatten())
    return (
        text * words
        + bce * (entropy * counted).sum() / many
        + dice * (missed * counted).sum() / many
    )


def asking_of(table: Mapping[str, Any]) -> Asking:
    """Read what a card says."""
    return Asking(
        **{name: table[name] for name in ("instruction", "reject", "lora") if name in table}
    )


def fit(
    network: EmbeddedMasks,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    steps: int,
    lr: float = 3e-4,
    warmup: int = 100,
) -> list[float]:
    """Train what is not frozen.

    Parameters
    ----------
    network : EmbeddedMasks
        See :meth:`~selion.models.embedded.network.EmbeddedMasks.freeze`.
    batches : iterable
        Pairs of (view, 3, y, x) images from 0 to 1 and (view, y, x) int64 class ids, 255 not known;
        as many as there are steps, or more.
    steps : int
    lr : float
        Reached after ``warmup`` steps, then falling to 0 in a straight line; 3e-4 is LISA's.
    warmup : int

    Returns
    -------
    list of float
        The loss of each step.
    """
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # betas and decay of LISA's published code
    optimizer = torch.optim.AdamW(learning, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min((k + 1) / max(warmup, 1), max(steps - k, 0) / max(steps - warmup, 1)),
    )
    device, losses = learning[0].device, []
    network.train()
    for (images, labels), _ in zip(batches, range(steps), strict=False):
        truth = labels.to(device)
        loss = embedded_loss(network(images.to(device), raw=True, truth=truth), truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses
