"""SAM, SAM 2 and SAM-HQ of transformers behind one interface.

Look at an image once, then ask with points.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from selion.errors import BadInput, UnreadableFile
from selion.models.sam.convert import Feeding, Kind, read_feeding, read_kind, weight_files

KNOWN = 6.9
"""Logit of a pixel of a mask that is given to the network: a probability of 0.999, as Text4Seg has
it (arXiv 2410.09855)."""


@dataclass(frozen=True, eq=False, slots=True)
class EncodedImage:
    """An image as the encoder of the network gives it."""

    memory: dict[str, Any]
    """What the network is given instead of the image."""
    shape: tuple[int, int]
    """(y, x) of the image."""
    fed: tuple[int, int]
    """(y, x) that it takes of the network's square."""


class Prompted:
    """A network that answers points with masks.

    Parameters
    ----------
    model : torch.nn.Module
        Of transformers.
    kind : Kind
    feeding : Feeding
    device : str
    fast : bool
        bfloat16 instead of float32.
    """

    def __init__(
        self, model: Any, kind: Kind, feeding: Feeding, device: str = "cpu", *, fast: bool = False
    ) -> None:
        self.model, self.kind, self.device, self.fast = model.to(device).eval(), kind, device, fast
        size = model.config.prompt_encoder_config.image_size
        self.edge = int(size if isinstance(size, int) else size[0])
        """Edge in pixels of the square that the network is given."""
        self._mean, self._deviation = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (feeding.mean, feeding.deviation)
        )

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode an image.

        Parameters
        ----------
        image : (3, y, x) float32 ndarray
            Red, green and blue from 0 to 1.

        Raises
        ------
        BadInput
            If it has not three bands.
        """
        if image.ndim != 3 or image.shape[0] != 3 or not image.size:
            raise BadInput(
                f"Pixels of shape {image.shape} were given; wanted is an image of three bands "
                "(red, green, blue)."
            )
        fed = self._fed(image.shape[1], image.shape[2])
        with self._computing():
            seen = self.model.get_image_embeddings(self.square(image))
        memory = {"image_embeddings": seen}
        if self.kind.family == "sam_hq":
            memory = {"image_embeddings": seen[0], "intermediate_embeddings": seen[1]}
        return EncodedImage(memory, (image.shape[1], image.shape[2]), fed)

    def square(self, image: np.ndarray) -> torch.Tensor:
        """Return (1, 3, edge, edge).

        An image as the network is fed with it, resized, normalised, and padded with zeros.
        """
        fed = self._fed(image.shape[1], image.shape[2])
        pixels = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(self.device)
        small = F.interpolate(
            pixels[None], fed, mode="bilinear", align_corners=False, antialias=True
        )
        return F.pad(
            (small - self._mean) / self._deviation, (0, self.edge - fed[1], 0, self.edge - fed[0])
        )

    def ask(
        self,
        encoded: EncodedImage,
        points: np.ndarray,
        labels: np.ndarray,
        *,
        several: bool = True,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ask for masks.

        Parameters
        ----------
        encoded : EncodedImage
        points : (prompt, point, 2) float ndarray
            x and y in pixels of the image.
        labels : (prompt, point) int ndarray
            1: on the object; 0: not on it.
        several : bool
            Several masks for each prompt (whole, part, part of a part), because one point does not
            say which is meant; else one.
        mask : (1, h, w) float tensor, optional
            Logits of what is known of the object already, as :meth:`coarse` or an earlier answer
            gives them; for a single prompt.

        Returns
        -------
        (prompt, mask, h, w) float tensor
            Logits, smaller than the image: see :meth:`enlarge`.
        (prompt, mask) float tensor
            The intersection over union that the network expects of each.

        Raises
        ------
        BadInput
            If there is no point, or one outside the image.
        """
        check_points(points, encoded.shape)
        scale = np.array([encoded.fed[1] / encoded.shape[1], encoded.fed[0] / encoded.shape[0]])
        with self._computing():
            answer = self.model(
                **encoded.memory,
                input_points=torch.from_numpy((points * scale).astype(np.float32))[None].to(
                    self.device
                ),
                input_labels=torch.from_numpy(np.asarray(labels, np.int64))[None].to(self.device),
                multimask_output=several,
                **({} if mask is None else {"input_masks": mask[None]}),
            )
        masks, quality = answer.pred_masks[0].float(), answer.iou_scores[0].float()
        # its masks come sorted, and only to the best belongs the high-quality token that all were
        # given
        if self.kind.family == "sam_hq":
            masks, quality = masks[:, :1], quality[:, :1]
        return masks, quality

    def coarse(self, encoded: EncodedImage, mask: np.ndarray) -> torch.Tensor:
        """Return a mask of the image as the network takes one beside points.

        Parameters
        ----------
        encoded : EncodedImage
        mask : (y, x) bool ndarray

        Returns
        -------
        (1, h, w) float32 tensor
            Logits of plus and minus :data:`KNOWN`, a quarter of the network's square; 0 where the
            square holds no image.
        """
        config = self.model.config.prompt_encoder_config
        side = 4 * self.edge // int(config.patch_size)
        fed = tuple(max(1, round(length * side / self.edge)) for length in encoded.fed)
        signs = torch.from_numpy(np.where(mask, np.float32(KNOWN), np.float32(-KNOWN))).to(
            self.device
        )
        small = F.interpolate(
            signs[None, None], fed, mode="bilinear", align_corners=False, antialias=True
        )
        return F.pad(small, (0, side - fed[1], 0, side - fed[0]))[0]

    def enlarge(self, encoded: EncodedImage, logits: torch.Tensor) -> torch.Tensor:
        """Bring (n, h, w) logits to the (n, y, x) of the image."""
        square = F.interpolate(
            logits[:, None], (self.edge, self.edge), mode="bilinear", align_corners=False
        )
        return F.interpolate(
            square[..., : encoded.fed[0], : encoded.fed[1]],
            encoded.shape,
            mode="bilinear",
            align_corners=False,
        )[:, 0]

    def _fed(self, height: int, width: int) -> tuple[int, int]:
        """Return the (y, x) at which an image is shown."""
        if self.kind.stretch:
            return self.edge, self.edge
        scale = self.edge / max(height, width)
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def _computing(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.fast and self.device != "mps":
            stack.enter_context(torch.autocast(self.device, torch.bfloat16))
        return stack


def check_points(points: np.ndarray, shape: tuple[int, int]) -> None:
    """Refuse prompts that are no points of an image.

    Parameters
    ----------
    points : (prompt, point, 2) float ndarray
    shape : (y, x)

    Raises
    ------
    BadInput
        If there is none, or one lies outside.
    """
    if points.ndim != 3 or points.shape[2] != 2 or not points.size:
        raise BadInput(
            f"Prompts of shape {points.shape} were given; wanted is (prompt, point, 2), with x and "
            "y of at least one point."
        )
    inside = (points >= 0).all(2) & (points[..., 0] <= shape[1]) & (points[..., 1] <= shape[0])
    if not inside.all():
        x, y = points[~inside][0]
        raise BadInput(
            f"The prompt x = {x:g}, y = {y:g} lies outside the image of {shape[1]} x {shape[0]} "
            "pixels: give points of the image, in its pixels."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars, and from warning of what is meant.

    That SAM 2.1 is published as a model of videos.
    """
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def load_prompted(folder: str | Path, device: str = "cpu", *, fast: bool = False) -> Prompted:
    """Load a checkpoint as transformers writes it.

    ``config.json``, its image processor's file, and weights in safetensors.

    Parameters
    ----------
    folder : path
    device : {"cpu", "cuda", "mps"}
    fast : bool
        bfloat16 instead of float32.

    Raises
    ------
    UnreadableFile
        If a file is missing or cannot be read.
    BadInput
        If it is a model of another type, or its weights do not fit its configuration.
    """
    import transformers
    from safetensors import SafetensorError

    folder = Path(folder).expanduser()
    kind, feeding = read_kind(folder), read_feeding(folder)
    weight_files(folder)
    try:
        with _quiet():
            model, told = getattr(transformers, kind.network).from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UnreadableFile(
            f"The checkpoint in {folder} cannot be read ({str(error).strip().splitlines()[0]}): "
            "fetch it again."
        ) from error
    if told["missing_keys"]:
        raise BadInput(
            f"The weights in {folder} lack {len(told['missing_keys'])} tensors "
            f"({min(told['missing_keys'])}, ...): fetch the checkpoint again."
        )
    return Prompted(model, kind, feeding, device, fast=fast)
