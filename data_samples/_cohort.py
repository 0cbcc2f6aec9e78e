"""Twenty small volumes of a bent structure with a head and a body, to train a network on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _shapes import (
    SEED,
    FloatArray,
    Points,
    axes_mm,
    blend,
    ellipsoid,
    save_nifti,
    smooth_noise,
    tube,
)
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

COUNT = 20
HEAD, BODY = 1, 2
#: Signal of the structure above its surroundings, in units of `CONTRAST`.
SIGNAL = {"usual": (0.8, 1.1), "weak": (0.5, 0.65), "inverted": (-0.9, -0.6)}
TISSUE, CONTRAST = 100, 45


def local(points: Points, rng: np.random.Generator) -> tuple[Points, float]:
    """Return coordinates (mm) in a frame that is moved, tilted and scaled, and its scale."""
    tilt = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True)
    centre, scale = rng.uniform(-2.5, 2.5, 3), rng.uniform(1.1, 1.4)
    shifted = np.stack(np.broadcast_arrays(*points), -1) - centre
    x, y, z = np.moveaxis(shifted @ tilt.as_matrix() / scale, -1, 0).astype(np.float32)
    return (x, y, z), scale


def structure(points: Points, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return the signed distance to the structure, and to the plane that parts head and body."""
    sideways, upwards = rng.uniform(1, 5), rng.uniform(0, 6)
    thick, length = rng.uniform(0.85, 1.2), rng.uniform(0.85, 1.15)
    body = tube(
        points,
        [
            (0, 5, 0, 4.0 * thick),
            (0.2 * sideways, 0, 0.1 * upwards, 3.3 * thick),
            (0.6 * sideways, -6 * length, 0.4 * upwards, 2.9 * thick),
            (1.5 * sideways, -12 * length, upwards, 1.9 * thick),
        ],
    )
    x, z = rng.uniform(-1, 1, 2)
    a, b, c = rng.uniform((4.2, 4.8, 3.8), (5.8, 6.4, 5.2))
    whole = blend(ellipsoid(points, (x, 7, z), (a, b, c)), body, 0.8)
    return whole, points[1] - rng.uniform(1.8, 2.8) + rng.uniform(-0.3, 0.3) * points[2]


def neighbours(
    points: Points, whole: FloatArray, rng: np.random.Generator
) -> list[tuple[FloatArray, bool]]:
    """Return signed distances to what lies near, and whether it looks like the structure."""
    a, b, c = rng.uniform(3.5, 5.5, 3)
    front = ellipsoid(points, tuple(rng.uniform((-3, 15, -1), (3, 18, 4))), (a, b, c))
    side = 1 if rng.random() < 0.5 else -1
    channel = tube(
        points,
        [(6 * side, 9, 4, 2.2), (8 * side, 0, 5, 1.8), (9 * side, -13, 8, 2.6)],
    )
    found = [(front, True), (channel, False)]
    for _ in range(rng.integers(3, 6)):
        way = rng.standard_normal(3)
        start = way / np.linalg.norm(way) * rng.uniform(9, 14)
        end = start + rng.uniform(-9, 9, 3)
        radii = rng.uniform(1.8, 4, 2)
        found.append((tube(points, [(*start, radii[0]), (*end, radii[1])]), rng.random() < 0.7))
    return [(np.maximum(near, rng.uniform(1, 2) - whole), like) for near, like in found]


def make_case(number: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw image and label, (X, Y, Z), of one case."""
    rng = np.random.default_rng([SEED, 4, number])
    shape = tuple(int(n) for n in rng.integers((30, 38, 30), (35, 43, 35)))
    grid = axes_mm(shape, (1, 1, 1))
    points, scale = local(grid, rng)
    whole, border = structure(points, rng)
    whole = whole * scale + 0.35 * smooth_noise(rng, shape, 2)
    label = np.where(whole < 0, np.where(border > 0, HEAD, BODY), 0).astype(np.uint8)

    kind = "inverted" if number % 10 == 3 else "weak" if number % 5 == 1 else "usual"
    signal, blur = rng.uniform(*SIGNAL[kind]), rng.uniform(0.4, 0.9)

    def inside(distance: FloatArray) -> FloatArray:
        return 1 / (1 + np.exp(np.clip(distance / blur, -30, 30)))

    tissue = 0.22 * smooth_noise(rng, shape, 4) + 0.08 * smooth_noise(rng, shape, 1)
    for near, like in neighbours(points, whole / scale, rng):
        level = signal * rng.uniform(0.75, 1.2) if like else -signal * rng.uniform(0.5, 0.9)
        tissue += (level - tissue) * inside(near * scale)
    tissue += (signal + 0.25 * tissue - tissue) * inside(whole)

    x, y, z = (axis / 20 for axis in grid)
    slope = rng.uniform(-0.15, 0.15, 4)
    bias = np.exp(slope[0] * x + slope[1] * y + slope[2] * z + slope[3] * (x * x - y * y))
    noise = rng.uniform(3, 6) * rng.standard_normal((2, *shape), dtype=np.float32)
    received = (TISSUE + CONTRAST * tissue) * bias * rng.uniform(0.7, 1.4)
    observed = np.hypot(received + noise[0], noise[1])
    return np.rint(observed).astype(np.int16), label


def make_cohort(folder: Path) -> None:
    """Write images and labels, in folders of their own under the same names."""
    for number in range(COUNT):
        image, label = make_case(number)
        affine = np.eye(4)
        affine[:3, 3] = -(np.array(image.shape) - 1) / 2
        save_nifti(folder / "images" / f"case_{number:02}.nii.gz", image, affine)
        save_nifti(folder / "labels" / f"case_{number:02}.nii.gz", label, affine)
