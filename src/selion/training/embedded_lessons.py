"""Teaching a tiny network of the embedding-as-mask family (LISA, GSVA) on samples at hand.

What the recipes ``magseg/lisa`` and ``magseg/gsva`` do, in seconds and from a language model that
was taught before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from selion.errors import BadInput
from selion.grid import whole
from selion.models.card import ModelCard
from selion.models.embedded.convert import save_embedded
from selion.models.embedded.making import VISION
from selion.models.embedded.network import Asking, EmbeddedMasks, fit
from selion.models.language.network import load_pair
from selion.models.language.quiet import quiet
from selion.sample import Sample
from selion.training.language_run import TIMES


def train_tiny_embedded(
    card: ModelCard,
    words: Path,
    samples: Sequence[Sample],
    folder: Path,
    *,
    reject: bool,
    steps: int = 20,
    batch: int = 8,
) -> ModelCard:
    """Join a language model with a tiny Segment Anything of random weights, teach and write both.

    Parameters
    ----------
    card : ModelCard
        Its window, a square, is what is learnt from.
    words : path
        A model of selion that writes masks; its language model is gone on from.
    samples : sequence of Sample
        With labels of the card's classes, none smaller than the window.
    folder : path
        Gets the model, and what its training took.
    reject : bool
        Whether a class may be answered with a token that says that it is not there (GSVA).
    steps, batch : int

    Returns
    -------
    ModelCard
        With the files' checksums.

    Raises
    ------
    BadInput
        If a sample has no labels.
    """
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    with quiet():
        model, processor = load_pair(words, words, torch.float32, card.name)
        sam = SamModel(
            SamConfig(
                vision_config=VISION,
                prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16},
                mask_decoder_config={"hidden_size": 16, "mlp_dim": 128},
            )
        )
        network = EmbeddedMasks(model, processor, sam, card.classes, Asking(reject=reject))
        clock, spent = time.perf_counter(), time.process_time()
        fit(network, windows(samples, card.inputs.window, batch), steps=steps, lr=3e-3, warmup=2)
        took = {
            "samples": steps * batch,
            "seconds": time.perf_counter() - clock,
            "processor_seconds": time.process_time() - spent,
        }
        written = save_embedded(network, card, folder)
    (folder / TIMES).write_text(json.dumps({"supervised": took}) + "\n", "utf-8")
    return written


def windows(
    samples: Sequence[Sample], edge: int, batch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give random windows without end: (view, 3, y, x) from 0 to 1, (view, y, x) class ids."""
    rng = np.random.default_rng(0)
    values = [one.image.read(whole(one.image.grid)).values for one in samples]
    while True:
        pixels, labels = [], []
        for _ in range(batch):
            k = int(rng.integers(len(samples)))
            truth = samples[k].labels
            if truth is None:
                raise BadInput(
                    f"{samples[k].key} has no labels: there is nothing to learn from it."
                )
            top, left = (int(rng.integers(size - edge + 1)) for size in truth.ids.shape)
            here = slice(top, top + edge), slice(left, left + edge)
            pixels.append(values[k][:, *here].astype(np.float32) / 255)
            labels.append(truth.ids[here].astype(np.int64))
        yield torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(labels))
