"""Depth Anything V2.

Relative inverse depth of a photograph (larger is nearer), through transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput, FetchFailed, UnknownName, UnreadableFile, UnsafeFile
from selion.extras import require
from selion.models.hub import ask_hub

if TYPE_CHECKING:
    from torch import Tensor

EDGE, PATCH = 518, 14
"""Shorter side in pixels that the network is fed, and the multiple that both sides must be: those
of its training."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet."""
DISTANT = ("glpn", "zoedepth")
"""Kinds of networks, by their config, whose numbers are metres to what is seen: larger is farther.
Those of Depth Anything say it themselves."""
NEAREST = 1e-3
"""Metres: what is nearer is no photograph's."""
KIND = "depth_anything"
"""The releases in their configs."""
FILES = ("config.json", "model.safetensors")
"""Of a published checkpoint, what is needed."""


@dataclass(frozen=True, slots=True)
class Release:
    """A published checkpoint."""

    address: str
    """On the Hugging Face hub."""
    licence: str
    free: bool
    """Whether everybody may use it for everything."""
    width: int
    """Of its encoder, by which a local copy is recognised."""


RELEASES: Mapping[str, Release] = {
    "small": Release("depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0", True, 384),
    "base": Release("depth-anything/Depth-Anything-V2-Base-hf", "CC-BY-NC-4.0", False, 768),
    "large": Release("depth-anything/Depth-Anything-V2-Large-hf", "CC-BY-NC-4.0", False, 1024),
}
"""Yang et al., "Depth Anything V2", NeurIPS 2024."""


@dataclass(frozen=True, eq=False)
class DepthNetwork:
    """A network that is loaded."""

    network: Any
    """``transformers`` DepthAnythingForDepthEstimation, or another of its depth networks."""
    name: str
    edge: int = EDGE
    """Shorter side in pixels that it is fed; larger is finer and slower."""
    multiple: int = PATCH
    device: str = "cpu"
    distance: bool = False
    """Whether its numbers are distances, whose inverses are then taken."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Estimate depth.

        Parameters
        ----------
        image : (3, y, x) uint8 ndarray
            Red, green, blue.

        Returns
        -------
        (y, x) float32 ndarray
            Relative inverse depth on the photograph's own pixels; larger is nearer.

        Raises
        ------
        BadInput
            If it is not (3, y, x) uint8.
        """
        torch = require("torch", "train")
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
            raise BadInput(
                f"An image of shape {image.shape} and type {image.dtype} was given; wanted is (3, "
                "y, x) uint8: red, green, blue."
            )
        with torch.inference_mode():
            pixels = prepare(image, self.edge, self.multiple).to(self.device)  # (1, 3, y, x)
            depth = self.network(pixel_values=pixels).predicted_depth.float()  # (1, y, x)
            if self.distance:
                depth = 1 / depth.clamp(min=NEAREST)
            full = torch.nn.functional.interpolate(
                depth[:, None], image.shape[1:], mode="bilinear", align_corners=False
            )
        found: np.ndarray = full[0, 0].cpu().numpy()
        return found


def fed_shape(shape: tuple[int, int], edge: int = EDGE, multiple: int = PATCH) -> tuple[int, int]:
    """Return the (y, x) size that a photograph is fed at.

    The shorter side has ``edge`` px, the aspect stays, both are multiples.

    Examples
    --------
    >>> fed_shape((480, 640))
    (518, 686)
    """
    scale = edge / min(shape)
    rows, columns = (max(multiple, round(side * scale / multiple) * multiple) for side in shape)
    return rows, columns


def prepare(image: np.ndarray, edge: int = EDGE, multiple: int = PATCH) -> Tensor:
    """Resize a (3, y, x) uint8 photograph and bring it to the scale of ImageNet.

    (1, 3, y, x) float32.
    """
    torch = require("torch", "train")
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None].float()
    shape = fed_shape((image.shape[1], image.shape[2]), edge, multiple)
    resized = (
        torch.nn.functional.interpolate(
            pixels, shape, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 255)
        / 255
    )
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    found: Tensor = (resized - mean) / std
    return found


def load_depth(
    name: str = "small", *, edge: int = EDGE, device: str = "cpu"
) -> tuple[DepthNetwork, tuple[str, ...]]:
    """Load a depth network.

    Parameters
    ----------
    name : str
        "small", "base" or "large" (downloaded once by transformers), or the folder of a
        transformers checkpoint; of one that tells distances the inverse is taken.
    edge : int
        Shorter side in pixels that it is fed.
    device : str
        As torch calls it.

    Returns
    -------
    DepthNetwork
    notes : tuple of str
        What the user must know of its licence.

    Raises
    ------
    UnknownName
        If there is no such release or folder.
    UnreadableFile, UnsafeFile
        If the folder holds no depth network, or only weights that are pickled.
    FetchFailed
        If it cannot be downloaded.
    MissingExtra
        If transformers or torch are not installed.
    """
    if edge < PATCH:
        raise BadInput(
            f"A photograph of {edge} px was to be fed to the depth network; wanted are {PATCH} or "
            f"more, {EDGE} as it was trained."
        )
    folder = Path(name).expanduser()
    if name in RELEASES:
        network = _load(RELEASES[name].address)
    elif folder.is_dir():
        _check_folder(folder)
        network = _load(str(folder))
    else:
        raise UnknownName.among("depth network or folder", name, RELEASES)
    multiple = int(
        getattr(getattr(network.config, "backbone_config", None), "patch_size", PATCH) or PATCH
    )
    distance = tells_distance(network.config)
    shown = RELEASES[name].address if name in RELEASES else folder.resolve().name
    shown = f"{shown}, inverse distances" if distance else shown
    loaded = DepthNetwork(network.eval().to(device), shown, edge, multiple, device, distance)
    return loaded, licence_notes(name, network)


def tells_distance(config: Any) -> bool:
    """Say whether a network tells distances, by its config, instead of relative inverse depths."""
    kind = str(getattr(config, "depth_estimation_type", "relative"))
    return kind == "metric" or getattr(config, "model_type", "") in DISTANT


def licence_notes(name: str, network: Any) -> tuple[str, ...]:
    """Say what the licence forbids.

    Of a release by its name.  A folder may hold a copy of one, or the user's own network of the
    same size, which nothing in it tells apart: the note says what holds of a copy.
    """
    width = int(getattr(getattr(network.config, "backbone_config", None), "hidden_size", 0) or 0)
    kind = getattr(network.config, "model_type", KIND)
    alike = (r for r in RELEASES.values() if r.width == width and kind == KIND)
    release = RELEASES.get(name) or next(alike, None)
    if release is None or release.free:
        return ()
    which = release.address.rpartition("/")[2].removesuffix("-hf")
    if name not in RELEASES:
        of_copies = (
            f"{Path(name).name} has the size of {which}, which is licensed {release.licence}: if "
            "it is a copy of it, or was trained from it, masks made with it, and models trained "
            "on them, are not for commercial use."
        )
        return (of_copies,)
    return (
        (
            f"{which} is licensed {release.licence}: masks made with it, and models trained on "
            "them, are not for commercial use. Small is Apache-2.0."
        ),
    )


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UnreadableFile(
            f"{folder} holds no config.json: give the folder of a transformers checkpoint of Depth "
            "Anything V2."
        )
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")):
            raise UnsafeFile(
                f"{folder} holds pickled weights, which could run code: convert them to "
                "safetensors first."
            )
        raise UnreadableFile(f"{folder} holds no model.safetensors: download the whole checkpoint.")


def _load(source: str) -> Any:
    transformers = require("transformers", "train")
    require("torch", "train")
    try:
        folder = source if Path(source).is_dir() else _fetched(source)
        return transformers.AutoModelForDepthEstimation.from_pretrained(
            folder, use_safetensors=True
        )
    except json.JSONDecodeError as error:
        raise UnreadableFile(
            f"{source} has a config.json that cannot be read ({error}): download the checkpoint "
            "again."
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise _explained(source, error) from error


def _fetched(address: str) -> str:
    """Return the folder of a published checkpoint.

    That of the cache, else from the hub, if that answers at all.

    Transformers, given the address itself, asks a dead network for minutes, and even where all that
    it needs is in the cache.
    """
    import huggingface_hub

    kept = [huggingface_hub.try_to_load_from_cache(address, name) for name in FILES]
    if all(isinstance(path, str) for path in kept):
        return str(Path(str(kept[0])).parent)
    ask_hub()
    return str(huggingface_hub.snapshot_download(address, allow_patterns=list(FILES)))


def _explained(source: str, error: Exception) -> FetchFailed | UnreadableFile:
    first = (
        str(error).strip().splitlines()[0].rstrip(".")[:200]
        if str(error).strip()
        else type(error).__name__
    )
    if Path(source).is_dir():
        return UnreadableFile(
            f"{source} cannot be loaded as a depth network ({first}): give a transformers "
            "checkpoint of Depth Anything V2."
        )
    return FetchFailed(
        f"{source} cannot be downloaded ({first}): download it elsewhere and give its folder, or "
        "give depth maps of your own."
    )
