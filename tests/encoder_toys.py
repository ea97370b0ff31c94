"""Weights and images by a formula, so that two programs can make the same ones, and what of an
encoder's answer is compared."""

from __future__ import annotations

import numpy as np
import torch


def fill(shapes, by=0.3):
    """Fill tensors, in the order of their names, with a sine of one running index."""
    made, start = {}, 0
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        count = int(np.prod(shape))
        values = by * np.sin(0.61 * np.arange(start, start + count))
        start += count
        if len(shape) == 1 and name.endswith("weight"):
            values = 1 + values  # of a normalisation
        made[name] = torch.from_numpy(values.astype(np.float32)).reshape(shape)
    return made


def picture(bands, edge, views=2):
    """(view, band, y, x) of cosines of a running index."""
    count = views * bands * edge * edge
    values = np.cos(0.37 * np.arange(count)).astype(np.float32)
    return torch.from_numpy(values).reshape(views, bands, edge, edge)


def fingerprint(answer):
    """Twelve values spread over (view, token, feature), and the mean of the squares."""
    flat = answer.detach().double().flatten()
    spread = flat[torch.linspace(0, len(flat) - 1, 12).long()]
    return [float(value) for value in (*spread, flat.square().mean())]


def block_shapes(prefix, width, *, scaled=False):
    """Names and shapes of a transformer's block as timm and the authors of DINO write them;
    ``scaled``: with the factors of DINOv2 and DINOv3 behind both halves.
    """
    shapes = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
        "mlp.fc2.bias": (width,),
    }
    if scaled:
        shapes |= {"ls1.gamma": (width,), "ls2.gamma": (width,)}
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
