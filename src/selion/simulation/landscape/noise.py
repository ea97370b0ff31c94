"""Randomness with a place.

Hashes of integers, and periodic noise textures that are sampled anywhere.

A texture is made once per seed by filtering white noise in the Fourier domain, so that one bilinear
lookup gives a whole fractal sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

SIZE = 512
"""Edge of a texture in texels; a power of two, so that wrapping is a bit mask."""
_MASK = SIZE - 1
_HASH, _NUMBER, _CELL = "u8(u8, i8)", "f8(u8, i8)", "u8(u8, i8, i8)"
# Given, because numba else compiles one more copy for every literal salt: half the time of the
# first simulation.


@dataclass(frozen=True, eq=False, slots=True)
class Textures:
    """Three periodic noise textures of zero mean and unit standard deviation.

    They are (512, 512) float32 each.
    """

    smooth: np.ndarray
    """Only long waves (64 texels and more): warps, valleys, illumination."""
    rough: np.ndarray
    """Fractal, amplitude ~ 1/f**1.7: wood edges, soil patches, clouds."""
    grain: np.ndarray
    """Short waves (4 to 16 texels): canopy and crop texture."""


def make_textures(rng: np.random.Generator) -> Textures:
    """Draw the textures of one landscape."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]) * SIZE
    frequency[0, 0] = 1.0
    smooth = np.where(frequency <= 8, 1.0 / frequency**1.2, 0.0)
    rough = np.where(frequency >= 3, frequency**-1.7, 0.0)
    grain = np.exp(-(np.log(frequency / 64) ** 2) / 0.9)
    return Textures(*(_filtered(rng, gain) for gain in (smooth, rough, grain)))


def _filtered(rng: np.random.Generator, gain: np.ndarray) -> np.ndarray:
    gain = gain.copy()
    gain[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * gain, s=(SIZE, SIZE))
    return (field / field.std()).astype(np.float32)


# Compiled, as the rest of this file: called several times per fine pixel.  The texture's edge is a
# power of two, so that masking repeats it.
@njit(nogil=True, cache=True, error_model="numpy")
def sample(texture: np.ndarray, x: float, y: float) -> float:
    """Look up a texture at (x, y) texels, bilinear and periodic."""
    fx = np.floor(x)
    fy = np.floor(y)
    tx = np.float32(x - fx)
    ty = np.float32(y - fy)
    # Unsigned indices spare the compiled code the test for negative ones.
    i = np.uintp(int(fy) & _MASK)
    j = np.uintp(int(fx) & _MASK)
    i1 = np.uintp((int(fy) + 1) & _MASK)
    j1 = np.uintp((int(fx) + 1) & _MASK)
    top = texture[i, j] + tx * (texture[i, j1] - texture[i, j])
    bottom = texture[i1, j] + tx * (texture[i1, j1] - texture[i1, j])
    return top + ty * (bottom - top)


# Wraps around at 64 bits on purpose.  A hash and no generator: a number depends on its place and
# not on what was drawn before it.
@njit(_HASH, nogil=True, cache=True, error_model="numpy")
def mix(key: np.uint64, salt: int) -> np.uint64:
    """Hash a key with a small integer.

    The finaliser of splitmix64 (Steele et al. 2014, doi:10.1145/2714064.2660195).
    """
    z = key + np.uint64(0x9E3779B97F4A7C15) * np.uint64(salt + 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# 53 bits, as many as a float64 holds.
@njit(_NUMBER, nogil=True, cache=True, error_model="numpy")
def uniform(key: np.uint64, salt: int) -> float:
    """Return a number in [0, 1) that depends on nothing but key and salt."""
    return np.float64(mix(key, salt) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


# A sum of four and no Box-Muller: no logarithm per pixel, and the tails are bounded.
@njit(_NUMBER, nogil=True, cache=True, error_model="numpy")
def normal(key: np.uint64, salt: int) -> float:
    """Return a standard normal number from key and salt.

    Irwin-Hall of four, its tails clipped at 3.46.
    """
    total = 0.0
    for k in range(4):
        total += uniform(key, salt * 4 + 1000 + k)
    return (total - 2.0) * 1.7320508


# 24 bits of each index: a negative one becomes a salt that is not, and lattices repeat only after
# 16.7 million cells.
@njit(_CELL, nogil=True, cache=True, error_model="numpy")
def cell_key(salt: np.uint64, i: int, j: int) -> np.uint64:
    """Key of a cell of a lattice."""
    return mix(mix(salt, (i & 0xFFFFFF) + 7), (j & 0xFFFFFF) + 11)
