"""The weights of the benchmarks: PRUE's B3 U-Net as a checkpoint in the published layout and as
selion's folder.

The released weights cannot be shipped with the repository, and a freshly initialised network
answers one class everywhere, which makes every comparison of maps vacuous.  So a seeded random
network takes its batch statistics from the scene, its last layer is solved by least squares for a
gradient's idea of fields, and a few quick steps of training on crops of that scene part the classes
as far as a trained network does; the biases then give the classes the shares of a real map.  It
knows nothing of fields elsewhere: it serves to compare speed, and engines with each other.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import torch

from scene import pair

SHARES = (0.25, 0.50, 0.25)
"""Background, field, boundary: about those of the map that ships with ftw-tools (.21, .55, .25)."""
SEED = 7
STEPS = 120
_CROP = 192
_RIDGE = 1e-3
_SHARPNESS = 6.0
"""Standard deviation, over pixels, of the distance between the two largest logits; softmax then
saturates as in a trained network."""


def random_unet() -> torch.nn.Module:
    """Build smp's U-Net with an EfficientNet-B3 and seeded random weights."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(SEED)
    return smp.Unet("efficientnet-b3", encoder_weights=None, in_channels=8, classes=3).eval()


def scene_tensor() -> tuple[torch.Tensor, np.ndarray]:
    """Return the scene as the network sees it, (1, 8, y, x) float32, and a gradient's idea of its
    classes, (y, x) uint8.
    """
    pixels, _ = pair()
    height, width = (min(size, 768) // 32 * 32 for size in pixels.shape[1:])
    scaled = pixels[:, :height, :width].astype(np.float32) / 3000
    return torch.from_numpy(scaled[None]), _gradient_classes(scaled)


def _gradient_classes(scaled: np.ndarray) -> np.ndarray:
    """Strong edges are boundary, even ground between them is field, the rest (and the least green
    of it) is background.
    """
    smooth = ndi.gaussian_filter(scaled, (0, 1, 1))
    edges = sum(ndi.gaussian_gradient_magnitude(band / band.std(), 1) for band in smooth)
    green = np.maximum(
        (smooth[3] - smooth[0]) / (smooth[3] + smooth[0] + 1e-6),
        (smooth[7] - smooth[4]) / (smooth[7] + smooth[4] + 1e-6),
    )
    classes = np.ones(edges.shape, np.uint8)
    classes[green < np.quantile(green, SHARES[0])] = 0
    classes[edges > np.quantile(edges, 1 - SHARES[2])] = 2
    return classes


def calibrate(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Take the batch statistics of every layer from the scene, in one pass."""
    for norm in _norms(network):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(pixels)
    network.eval()


def _norms(network: torch.nn.Module) -> list[torch.nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def fit_head(network: torch.nn.Module, pixels: torch.Tensor, classes: np.ndarray) -> None:
    """Solve the last convolution by ridge regression of the decoder's features on one-hot classes;
    scale it, and balance its biases.
    """
    head = network.segmentation_head[0]
    captured: list[torch.Tensor] = []
    hook = network.segmentation_head.register_forward_pre_hook(
        lambda _module, inputs: captured.append(inputs[0])
    )
    with torch.no_grad():
        network(pixels)
    hook.remove()
    columns = torch.nn.functional.unfold(captured[0], 3, padding=1)[0].T.double()  # (y * x, 16 * 9)
    mean = columns.mean(0)
    centred = columns - mean
    wanted = torch.nn.functional.one_hot(torch.from_numpy(classes.ravel()).long(), 3).double()
    gram = centred.T @ centred / len(centred)
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    # (144, 3)
    solution = torch.linalg.solve(gram, centred.T @ (wanted - wanted.mean(0)) / len(centred))
    logits = centred @ solution
    top = logits.topk(2, dim=1).values
    scale = _SHARPNESS / float((top[:, 0] - top[:, 1]).std())
    bias = _balance(logits.numpy() * scale)
    with torch.no_grad():
        head.weight.copy_((scale * solution).T.reshape(head.weight.shape))
        head.bias.copy_(torch.from_numpy(bias) - scale * (mean @ solution))


def train(network: torch.nn.Module, pixels: torch.Tensor, classes: np.ndarray, steps: int) -> None:
    """Take a few steps on random crops, flips and turns of the scene."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    draw = np.random.default_rng(SEED)
    network.train()
    for norm in _norms(network):
        norm.momentum = 0.1
    for step in range(steps):
        image, wanted = _crops(pixels[0], torch.from_numpy(classes).long(), draw)
        loss = torch.nn.functional.cross_entropy(network(image), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            print(f"  step {step}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    network.eval()


def _crops(
    pixels: torch.Tensor, classes: torch.Tensor, draw: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (4, 8, 192, 192) pixels and (4, 192, 192) classes."""
    images, wanted = [], []
    for _ in range(4):
        top, left = (int(draw.integers(size - _CROP + 1)) for size in classes.shape)
        turns, flip = int(draw.integers(4)), [-1] if draw.random() < 0.5 else []
        part = (slice(top, top + _CROP), slice(left, left + _CROP))
        images.append(torch.rot90(pixels[:, *part], turns, (-2, -1)).flip(flip))
        wanted.append(torch.rot90(classes[part], turns, (-2, -1)).flip(flip))
    return torch.stack(images), torch.stack(wanted)


def balance_bias(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Give the classes the wanted shares on the scene."""
    with torch.no_grad():
        logits = network(pixels)[0].flatten(1).T.double().numpy()
        network.segmentation_head[0].bias += torch.from_numpy(_balance(logits)).float()


def _balance(logits: np.ndarray) -> np.ndarray:
    """Return biases (class,) that give the argmax of (pixel, class) logits the wanted shares."""
    bias = np.zeros(3)
    for step in range(200):
        shares = np.bincount((logits + bias).argmax(1), minlength=3) / len(logits)
        bias += (np.asarray(SHARES) - shares) * logits.std() / (1 + step / 20)
    return bias


def shares_of(network: torch.nn.Module, pixels: torch.Tensor) -> np.ndarray:
    """Return the share of each class in the argmax."""
    with torch.inference_mode():
        answer = network(pixels).argmax(1).numpy()
    return np.bincount(answer.ravel(), minlength=3) / answer.size


def checkpoint(network: torch.nn.Module) -> dict[str, object]:
    """Return what a Lightning trainer of ftw-tools would have saved: hyper-parameters and a state
    dict with keys ``model.<key>``.
    """
    described = {
        "model": "unet",
        "backbone": "efficientnet-b3",
        "in_channels": 8,
        "num_classes": 3,
        "num_filters": 64,
        "loss": "logcoshdice",
        "class_weights": [0.05, 0.20, 0.75],
        "ignore_index": 3,
        "lr": 1e-3,
        "patience": 100,
        "model_kwargs": {},
    }
    state = {f"model.{key}": value.clone() for key, value in network.state_dict().items()}
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.5.4",
        "hyper_parameters": described,
        "state_dict": state,
    }


def ensure(folder: Path, steps: int) -> tuple[Path, Path]:
    """Return the checkpoint and the model's folder, made once."""
    from selion.models import import_checkpoint

    ckpt, model = folder / f"bench_b3_{steps}.ckpt", folder / f"bench_b3_{steps}"
    if not ckpt.is_file():
        network = random_unet()
        pixels, classes = scene_tensor()
        calibrate(network, pixels)
        fit_head(network, pixels, classes)
        if steps:
            train(network, pixels, classes, steps)
            balance_bias(network, pixels)
        print(
            "shares of background, field, boundary:", shares_of(network, pixels).round(3).tolist()
        )
        part = ckpt.with_suffix(".part")
        torch.save(checkpoint(network), part)
        part.replace(ckpt)
    if not (model / "card.toml").is_file():
        import_checkpoint(ckpt, model, force=True)
    return ckpt, model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS, help="Steps of training.")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print(*ensure(given.folder, given.steps), sep="\n")
