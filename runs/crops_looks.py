"""What a camera, the light and the season do to photographs: augmented batches, on any device.

Everything is drawn per photograph and computed for the whole batch at once, so that a GPU never
waits.  Photographs are (view, 3, y, x) float32 in 0..1, shares of plant (view, 1, y, x) in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

LEVELS = ((0.6, 4.0, 0.62), (0.32, 0.6, 0.24), (0.17, 0.32, 0.14))
"""Zoom from, zoom to, and the share of a batch; each level averages twice as many pixels."""

CALM = 0.35
"""Share of the photographs in plain light."""


@dataclass
class Batch:
    """Photographs, shares of plant, and where these are known."""

    image: torch.Tensor
    share: torch.Tensor
    known: torch.Tensor

    def __len__(self) -> int:
        return len(self.image)


class Looks:
    """Draws looks from one seeded generator."""

    def __init__(self, seed: int, device: torch.device, size: int = 256) -> None:
        self.device, self.size = device, size
        self.generator = torch.Generator(device)
        self.generator.manual_seed(seed)
        rows = torch.arange(8, dtype=torch.float64)
        basis = torch.cos((2 * rows[None] + 1) * rows[:, None] * math.pi / 16) / 2
        basis[0] /= math.sqrt(2)
        self.basis = basis.float().to(device)
        luma = [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40,
                57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24,
                35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98,
                112, 100, 103, 99]  # fmt: skip
        chroma = torch.full((8, 8), 99.0)
        chroma[:4, :4] = torch.tensor(
            [[17.0, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
        )
        self.tables = torch.stack(
            [torch.tensor(luma, dtype=torch.float32).view(8, 8), chroma, chroma]
        ).to(device)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Uniform numbers."""
        drawn = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * drawn

    def spread(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Numbers whose logarithm is uniform."""
        return torch.exp(self.uniform(math.log(low), math.log(high), *shape))

    def normal(self, *shape: int) -> torch.Tensor:
        """Normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def some(self, share: float, count: int) -> torch.Tensor:
        """1.0 for a share of the batch, (view, 1, 1, 1)."""
        return (self.uniform(0, 1, count, 1, 1, 1) < share).float()

    def window(self, batch: Batch) -> Batch:
        """Cut windows at any zoom, angle, flip, a little stretch and perspective."""
        counts = [round(len(batch) * share) for _, _, share in LEVELS[:-1]]
        counts.append(len(batch) - sum(counts))
        parts, start = [], 0
        stack = torch.cat([batch.image, batch.share, batch.known], 1)
        for level, ((low, high, _), count) in enumerate(zip(LEVELS, counts, strict=True)):
            if count > 0:
                piece = stack[start : start + count]
                if level:
                    piece = F.avg_pool2d(piece, 2**level)
                middle = (max(low, 0.7), min(high, 1.5)) if level == 0 else (low, high)
                zoom = self.spread(low, high, count)
                usual = self.uniform(0, 1, count) < 0.6
                zoom = torch.where(usual, self.spread(*middle, count), zoom) * 2**level
                parts.append(self._sampled(piece, zoom))
            start += count
        cut = torch.cat(parts)
        return Batch(cut[:, :3].clamp(0, 1), cut[:, 3:4].clamp(0, 1), (cut[:, 4:5] > 0.99).float())

    def _sampled(self, piece: torch.Tensor, zoom: torch.Tensor) -> torch.Tensor:
        count, side = len(piece), piece.shape[-1]
        half = self.size / zoom / side
        room = (1 - half).clamp(min=0) + 0.1
        angle = self.uniform(0, 2 * math.pi, count)
        stretch = torch.exp(0.12 * self.normal(count))
        flip = 1 - 2 * (self.uniform(0, 1, count) < 0.5).float()
        cos, sin = torch.cos(angle), torch.sin(angle)
        line = torch.linspace(-1, 1, self.size, device=self.device) * (1 - 1 / self.size)
        v, u = torch.meshgrid(line, line, indexing="ij")
        lean = 0.10 * self.normal(count, 2) * (self.uniform(0, 1, count, 1) < 0.5)
        depth = (1 + lean[:, :1, None] * u + lean[:, 1:, None] * v).clamp(min=0.4)
        u, v = (
            u / depth * flip[:, None, None] * stretch[:, None, None],
            v / depth / stretch[:, None, None],
        )
        half, cos, sin = half[:, None, None], cos[:, None, None], sin[:, None, None]
        x = half * (cos * u - sin * v) + (self.uniform(-1, 1, count) * room)[:, None, None]
        y = half * (sin * u + cos * v) + (self.uniform(-1, 1, count) * room)[:, None, None]
        return F.grid_sample(
            piece, torch.stack([x, y], -1), mode="bilinear", padding_mode="reflection",
            align_corners=False,
        )  # fmt: skip

    def pasted(self, batch: Batch, share: float = 0.3) -> Batch:
        """Paste the plants of some photographs, with a shadow, into others that keep theirs."""
        count = len(batch)
        other = torch.randperm(count, generator=self.generator, device=self.device)
        use = self.some(share, count)
        over = batch.share[other] * batch.known[other] * use
        shift = [int(k) for k in torch.randint(-9, 10, (2,))]
        shadow = F.avg_pool2d(torch.roll(over, shift, (2, 3)), 5, 1, 2)
        below = batch.image * (1 - shadow * self.uniform(0, 0.6, count, 1, 1, 1))
        return Batch(
            over * batch.image[other] + (1 - over) * below,
            over + (1 - over) * batch.share,
            torch.maximum((over > 0.5).float(), batch.known),
        )

    def recoloured(self, batch: Batch) -> Batch:
        """Give plants and ground other colours, each by its own drawn change."""
        count, share = len(batch), batch.share
        plants = self._toned(batch.image, 22, (0.35, 1.35), 0.25)
        ground = self._toned(batch.image, 8, (0.0, 1.35), 0.3)
        straw = torch.tensor([0.80, 0.68, 0.42], device=self.device)[None, :, None, None]
        luma = self.luma(batch.image)
        aged = self.uniform(0, 0.6, count, 1, 1, 1) * self.some(0.08, count)
        plants_on, ground_on = self.some(0.4, count) * share, self.some(0.4, count) * (1 - share)
        image = (
            batch.image + plants_on * (plants - batch.image) + ground_on * (ground - batch.image)
        )
        image = image + share * aged * (straw * luma * 1.4 - image)
        return Batch(image.clamp(0, 1), share, batch.known)

    def _toned(
        self, image: torch.Tensor, degrees: float, saturation: tuple[float, float], value: float
    ) -> torch.Tensor:
        """Turn hues about the grey axis, scale saturation and brightness."""
        count = len(image)
        turn = self.normal(count) * degrees / 180 * math.pi
        cos, sin = torch.cos(turn), torch.sin(turn)
        third, root = 1 / 3, math.sqrt(1 / 3)
        eye = torch.eye(3, device=self.device)
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=self.device) * root
        turned = (
            cos[:, None, None] * eye + (1 - cos)[:, None, None] * third + sin[:, None, None] * cross
        )
        changed = torch.einsum("nij,njyx->niyx", turned, image)
        grey = self.luma(changed)
        changed = grey + (changed - grey) * self.uniform(*saturation, count, 1, 1, 1)
        return (changed * torch.exp(value * self.normal(count, 1, 1, 1))).clamp(0, 1)

    @staticmethod
    def luma(image: torch.Tensor) -> torch.Tensor:
        """(view, 1, y, x) brightness."""
        return 0.299 * image[:, :1] + 0.587 * image[:, 1:2] + 0.114 * image[:, 2:]

    def shaded(self, image: torch.Tensor) -> torch.Tensor:
        """Shadows of things outside, hard or soft, bluish; uneven light; a vignette."""
        count = len(image)
        coarse = self.normal(count, 1, 6, 6)
        field = F.interpolate(coarse, (self.size, self.size), mode="bicubic", align_corners=False)
        hard = self.spread(1, 60, count, 1, 1, 1)
        mask = torch.sigmoid(hard * (field + self.normal(count, 1, 1, 1)))
        dark = self.uniform(0.1, 0.8, count, 1, 1, 1) * self.some(0.35, count)
        tint = torch.tensor([1.0, 0.97, 0.88], device=self.device)[None, :, None, None]
        soft = F.interpolate(
            self.normal(count, 1, 3, 3), (self.size, self.size), mode="bicubic", align_corners=False
        )
        uneven = torch.exp(0.18 * soft * self.some(0.4, count))
        return image * (1 - dark * mask * tint) * uneven

    def exposed(self, image: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Light, white balance, gamma, saturation, haze, night, a camera of near infrared."""
        count = len(image)
        image = image + self.some(0.08, count) * (self.infrared(image, share) - image)
        grey = self.luma(image)
        low = torch.where(self.some(0.06, count) > 0, 0.15, 0.5)
        saturated = low + (1.4 - low) * self.uniform(0, 1, count, 1, 1, 1)
        image = (grey + (image - grey) * saturated).clamp(1e-4, 1)
        image = image ** torch.exp(0.28 * self.normal(count, 1, 1, 1))
        gains = torch.exp(
            0.22 * self.normal(count, 1, 1, 1)
            + (0.05 + 0.11 * self.some(0.35, count)) * self.normal(count, 3, 1, 1)
        )
        night = self.some(0.14, count)
        gains = gains * (1 + night * (self.spread(0.10, 0.5, count, 1, 1, 1) - 1))
        haze = self.uniform(-0.05, 0.10, count, 1, 1, 1) * self.some(0.4, count) * (1 - night)
        return image * gains + haze

    def infrared(self, image: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Show near infrared as green, red as the other two: soil is grey, plants shine."""
        count = len(image)
        red = image[:, :1]
        other = image[:, 1:2]
        mix = self.uniform(0, 0.7, count, 1, 1, 1)
        soil = (red + mix * (other - red)) * self.uniform(0.88, 1.15, count, 1, 1, 1)
        shine = self.uniform(0.05, 0.5, count, 1, 1, 1)
        plant = other * self.uniform(0.8, 1.2, count, 1, 1, 1) + shine
        return torch.cat([red, soil + share * (plant - soil), red], 1)

    def blurred(self, image: torch.Tensor) -> torch.Tensor:
        """Gaussian blur of its own for each of the first two fifths of the batch."""
        count, reach = 2 * len(image) // 5, 7
        if not count:
            return image
        sigma = self.spread(0.4, 2.6, count, 1)
        taps = torch.arange(-reach, reach + 1, device=self.device).float()
        kernel = torch.exp(-(taps**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
        some = image[:count]
        flat = F.pad(some.reshape(1, -1, *some.shape[2:]), (reach,) * 4, mode="reflect")
        flat = F.conv2d(flat, kernel[:, None, None, :], groups=3 * count)
        flat = F.conv2d(flat, kernel[:, None, :, None], groups=3 * count)
        return torch.cat([flat.view_as(some), image[count:]])

    def noisy(self, image: torch.Tensor) -> torch.Tensor:
        """Shot and read noise, partly as clumps of colour."""
        count = len(image)
        size = self.spread(0.003, 0.05, count, 1, 1, 1) * self.some(0.6, count)
        size = size + self.spread(0.04, 0.18, count, 1, 1, 1) * self.some(0.08, count)
        grain = self.normal(*image.shape)
        clumps = 3 * F.avg_pool2d(grain, 3, 1, 1)
        grain = torch.where(self.some(0.35, count) > 0, clumps, grain)
        same = self.some(0.3, count)
        grain = grain * (1 - same) + same * grain[:, :1]
        bright = image.clamp(0, 1)
        shot = torch.where(
            self.some(0.5, count) > 0, torch.sqrt(bright + 0.03), torch.ones_like(bright)
        )
        return image + size * shot * grain

    def compressed(self, image: torch.Tensor) -> torch.Tensor:
        """JPEG of the first third of the batch, with halved colours for half of these."""
        count = len(image) // 3
        if not count:
            return image
        some, rest = image[:count] * 255, image[count:]
        luma = self.luma(some)
        parts = torch.cat([luma, 0.564 * (some[:, 2:] - luma), 0.713 * (some[:, :1] - luma)], 1)
        halved = F.interpolate(F.avg_pool2d(parts[:, 1:], 2), scale_factor=2, mode="nearest")
        parts = torch.cat(
            [parts[:, :1], torch.where(self.some(0.6, count) > 0, halved, parts[:, 1:])], 1
        )
        quality = self.uniform(12, 92, count)
        scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
        table = (self.tables[None] * scale[:, None, None, None]).clamp(min=1)[:, :, None, None]
        side = self.size // 8
        blocks = parts.reshape(count, 3, side, 8, side, 8).permute(0, 1, 2, 4, 3, 5)
        waves = self.basis @ blocks @ self.basis.T
        blocks = self.basis.T @ (torch.round(waves / table) * table) @ self.basis
        luma, blue, red = (
            blocks.permute(0, 1, 2, 4, 3, 5).reshape(count, 3, self.size, self.size).split(1, 1)
        )
        blue, red = luma + blue / 0.564, luma + red / 0.713
        green = (luma - 0.299 * red - 0.114 * blue) / 0.587
        return torch.cat([torch.cat([red, green, blue], 1) / 255, rest])

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """All of it; the photographs come out as 8 bits would hold them, shuffled."""
        order = torch.randperm(len(batch), generator=self.generator, device=self.device)
        batch = self.window(Batch(batch.image[order], batch.share[order], batch.known[order]))
        order = torch.randperm(len(batch), generator=self.generator, device=self.device)
        batch = Batch(batch.image[order], batch.share[order], batch.known[order])
        batch = self.recoloured(self.pasted(batch))
        image = self.exposed(self.shaded(batch.image), batch.share)
        calm = self.some(CALM, len(batch))
        mild = batch.image * torch.exp(
            0.12 * self.normal(len(batch), 1, 1, 1) + 0.03 * self.normal(len(batch), 3, 1, 1)
        )
        image = self.blurred(image + calm * (mild - image))
        order = torch.randperm(len(batch), generator=self.generator, device=self.device)
        image = self.compressed(self.noisy(image).clamp(0, 1)[order]).clamp(0, 1)
        return Batch(torch.round(image * 255) / 255, batch.share[order], batch.known[order])
