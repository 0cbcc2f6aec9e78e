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
    group, within = divmod(number, 1024)
    row, lane = divmod(within, 256)
    counter = 256 * group + lane
    words = philox([counter % 2**32, counter >> 32, 0, 0], [key % 2**32, key >> 32])
    u = (words[row & 2] + 0.5) / 2**32
    turn = words[(row & 2) + 1]
    angle = ((turn % 2**30 + 2**29) % 2**30 - 2**29) * math.pi / 2**31
    cosine, sine = (-1) ** (turn >> 31) * math.cos(angle), math.sin(angle)
    radius = math.sqrt(-2 * math.log(u))
    return radius * (sine if row & 1 != turn >> 30 & 1 else cosine)


def shrinking_mean(src: NDArray, positions: Sequence[Sequence[float]], mode: int, fill: float):
    """Mean of the linear values at the sub-positions of one output voxel, valid ones only."""
    values = [linear(src, p, mode, fill) for p in positions]
    good = [v for v in values if not math.isnan(v)]
    return sum(good) / len(good) if 2 * len(good) >= len(values) else math.nan


def gaussian_matrix(n: int, sigma: float, half_widths: float = 3.9) -> NDArray[np.float64]:
    """(n, n) matrix of a Gaussian blur along an axis with a half-sample symmetric border."""
    reach = max(0, math.ceil(half_widths * sigma - 0.5))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / max(sigma, 1e-9)) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((n, n))
    for i in range(n):
        for offset, w in zip(offsets, weights, strict=True):
            j = i + offset
            while not 0 <= j < n:
                j = -1 - j if j < 0 else 2 * n - 1 - j
            matrix[i, j] += w
    return matrix


def coarse_matrix(n: int, m: int, mean: bool) -> NDArray[np.float64]:
    """(n, n) matrix that goes down to ``m`` voxels along an axis and up again."""
    down, up = np.zeros((m, n)), np.zeros((n, m))
    for j in range(m):
        if mean:
            for i in range(n):
                down[j, i] = max(0.0, min(i + 1, (j + 1) * n / m) - max(i, j * n / m)) * m / n
        else:
            down[j, math.floor((j + 0.5) * n / m)] = 1
    for i in range(n):
        at = min(max((i + 0.5) * m / n - 0.5, 0), m - 1)
        low = min(math.floor(at), m - 2) if m > 1 else 0
        up[i, low] += 1 - (at - low)
        if m > 1:
            up[i, low + 1] += at - low
    return up @ down


def normalised(src: NDArray, matrices: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Σ w v m / Σ w m along all axes; a voxel without valid neighbours, or invalid, stays."""
    valid = ~np.isnan(src)
    sums, weights = np.where(valid, src, 0).astype(np.float64), valid.astype(np.float64)
    for axis, matrix in enumerate(matrices):
        sums = np.moveaxis(np.tensordot(matrix, sums, (1, axis)), 0, axis)
        weights = np.moveaxis(np.tensordot(matrix, weights, (1, axis)), 0, axis)
    enough = valid & (weights > 1e-6)
    return np.where(enough, sums / np.where(enough, weights, 1), src)


def median(src: NDArray, window: Sequence[int]) -> NDArray[np.float64]:
    """Median of the valid voxels of a window; an invalid voxel stays."""
    out = np.full(src.shape, np.nan)
    reach = [range(-(w // 2), w // 2 + 1) for w in window]
    for index in np.ndindex(src.shape):
        if not math.isnan(src[index]):
            near = [
                float(tap(src, [i + o for i, o in zip(index, offset, strict=True)], REFLECT, 0))
                for offset in itertools.product(*reach)
            ]
            out[index] = np.median([v for v in near if not math.isnan(v)])
    return out
