"""Slow and obvious references: one voxel at a time, in float64, straight from the definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CONSTANT, EDGE, REFLECT = 0, 1, 2


def tap(src: NDArray, index: Sequence[int], mode: int, fill: float) -> float:
    """Value at an integer index of any size, by the border rule."""
    inside = []
    for i, n in zip(index, src.shape, strict=True):
        if mode == CONSTANT and not 0 <= i < n:
            return fill
        if mode == EDGE:
            i = min(max(i, 0), n - 1)
        while mode == REFLECT and not 0 <= i < n:
            i = -1 - i if i < 0 else 2 * n - 1 - i
        inside.append(i)
    return src[tuple(inside)]


def corners(position: Sequence[float]) -> list[tuple[tuple[int, ...], float]]:
    """The 2ᴺ neighbours of a position, and their linear weights."""
    low = [math.floor(p) for p in position]
    found = []
    for up in itertools.product((0, 1), repeat=len(low)):
        index = tuple(i + u for i, u in zip(low, up, strict=True))
        weight = math.prod(1 - abs(p - i) for p, i in zip(position, index, strict=True))
        found.append((index, weight))
    return found


def linear(src: NDArray, position: Sequence[float], mode: int, fill: float) -> float:
    """Linear interpolation; NaN and weightless taps are left out, NaN below half the weight."""
    total = weight = 0.0
    for index, w in corners(position):
        v = float(tap(src, index, mode, fill))
        if w > 0 and not math.isnan(v):
            total += w * v
            weight += w
    return total / weight if weight >= 0.5 else math.nan


def masked(
    src: NDArray,
    valid: NDArray,
    position: Sequence[float],
    mode: int,
    fill: float,
    fill_weight: float,
) -> tuple[float, float]:
    """Σ w v m / Σ w m (``fill`` below one half), and Σ w m."""
    total = weight = 0.0
    for index, w in corners(position):
        v = float(tap(src, index, mode, fill))
        m = float(tap(valid, index, mode, fill_weight))
        if w * m > 0 and not math.isnan(v):
            total += w * m * v
            weight += w * m
    return (total / weight if weight >= 0.5 else fill), weight


def keys(distance: float) -> float:
    """Keys' kernel with a = −1/2 (Keys 1981, equation 15)."""
    d = abs(distance)
    if d < 1:
        return 1.5 * d**3 - 2.5 * d**2 + 1
    return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def cubic(src: NDArray, position: Sequence[float], mode: int, fill: float) -> float:
    """Keys cubic clamped to its taps; linear where one of them is not finite."""
    low = [math.floor(p) for p in position]
    total, values = 0.0, []
    for offsets in itertools.product((-1, 0, 1, 2), repeat=len(low)):
        index = [i + o for i, o in zip(low, offsets, strict=True)]
        v = float(tap(src, index, mode, fill))
        values.append(v)
        total += v * math.prod(keys(p - i) for p, i in zip(position, index, strict=True))
    if not np.isfinite(values).all():
        return linear(src, position, mode, fill)
    return min(max(total, min(values)), max(values))


def vote(src: NDArray, positions: Sequence[Sequence[float]], mode: int, fill: int) -> int:
    """Argmax of the interpolated one-hot summed over ``positions``; the smallest wins a tie."""
    votes = ballot(src, positions, mode, fill)
    most = max(votes.values())
    return min(label for label, v in votes.items() if v > most - 1e-9)


def ballot(
    src: NDArray, positions: Sequence[Sequence[float]], mode: int, fill: int
) -> dict[int, float]:
    """Votes of each label."""
    votes: dict[int, float] = {}
    for position in positions:
        for index, w in corners(position):
            label = int(tap(src, index, mode, fill))
            votes[label] = votes.get(label, 0.0) + w
    return votes


def nearest(src: NDArray, position: Sequence[float], mode: int, fill: int) -> int:
    """Nearest voxel; halves go up."""
    return int(tap(src, [math.floor(p + 0.5) for p in position], mode, fill))


def b_spline(u: float) -> float:
    """Centred cubic B-spline."""
    a = abs(u)
    if a < 1:
        return 2 / 3 - a**2 + a**3 / 2
    return (2 - a) ** 3 / 6 if a < 2 else 0.0


def displacement(
    controls: NDArray, origin: Sequence[float], spacing: Sequence[float], point: Sequence[float]
) -> NDArray[np.float64]:
    """Spline displacement at a point: every control of the lattice times its basis function.

    Control j of an axis sits at lattice coordinate j − 1; beyond the lattice the edge goes on.
    """
    n = len(controls)
    u = [
        min(max((point[k] - origin[k]) / spacing[k], 0), controls.shape[k + 1] - 3)
        for k in range(n)
    ]
    total = np.zeros(n)
    for index in np.ndindex(controls.shape[1:]):
        w = math.prod(b_spline(u[k] - (index[k] - 1)) for k in range(n))
        total += w * controls[(slice(None), *index)]
    return total


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 (Salmon et al. 2011, section 4.3), 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def normal(key: int, number: int) -> float:
    """Standard normal value of a number: Box–Muller on two words of its Philox counter."""
    group, within = divmod(number, 64)
    row, lane = divmod(within, 16)
    counter = 16 * group + lane
    words = philox([counter % 2**32, counter >> 32, 0, 0], [key % 2**32, key >> 32])
    u = (words[row & 2] + 0.5) / 2**32
    angle = 2 * math.pi * words[(row & 2) + 1] / 2**32
    radius = math.sqrt(-2 * math.log(u))
    return radius * (math.sin(angle) if row & 1 else math.cos(angle))


def shrinking_mean(src: NDArray, positions: Sequence[Sequence[float]], mode: int, fill: float):
    """Mean of the linear values at the sub-positions of one output voxel, valid ones only."""
    values = [linear(src, p, mode, fill) for p in positions]
    good = [v for v in values if not math.isnan(v)]
    return sum(good) / len(good) if 2 * len(good) >= len(values) else math.nan
