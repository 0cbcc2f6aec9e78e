"""The arrays that every tool is given: asymmetric, seeded, of realistic content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# What every tool is asked to draw from (README.md pairs the parameters).
DEGREES = 15.0
SCALE = (0.9, 1.1)
LATTICE = 32  # voxels between elastic control points
MAGNITUDE = 5.0  # largest elastic displacement, voxels


@dataclass(frozen=True)
class Workload:
    """One joint warp: `image` (C, [Z,] Y, X) and `label` ([Z,] Y, X) to spatial `out_shape`."""

    name: str
    image: np.ndarray
    label: np.ndarray
    out_shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return self.label.ndim

    @property
    def axes(self) -> str:
        return "CZYX"[:1] + "ZYX"[-self.ndim :]

    @property
    def nbytes(self) -> int:
        """Bytes of input and output together: the least that any tool must hold."""
        share = np.prod(self.out_shape) / self.label.size
        return int((self.image.nbytes + self.label.nbytes) * (1 + share))


def _texture(rng: np.random.Generator, shape: tuple[int, ...], coarse: int) -> np.ndarray:
    """A smooth random field in about [−1, 1], `coarse` voxels a bump."""
    small = rng.standard_normal([n // coarse + 4 for n in shape]).astype(np.float32)
    grown = ndimage.zoom(small, coarse, order=1)
    return grown[tuple(slice(0, n) for n in shape)]


def volume(shape: tuple[int, ...] = (240, 240, 155), patch: int = 128) -> Workload:
    """Four MRI-like float32 channels with a nested three-class lesion: BraTS's shape.

    The label's surface is irregular but its classes are compact, as in the real data, since the
    cost of an argmax label depends on how many voxels lie on a boundary.
    """
    rng = np.random.default_rng(0)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    centre = [n * f for n, f in zip(shape, (0.55, 0.45, 0.5), strict=True)]
    radius = np.sqrt(
        sum(((g - c) / (0.3 * n)) ** 2 for g, c, n in zip(grid, centre, shape, strict=True))
    ) + 0.15 * _texture(rng, shape, 12)
    label = np.digitize(-radius, [-0.9, -0.6, -0.35]).astype(np.uint8)
    image = np.empty((4, *shape), np.float32)
    for channel in image:
        channel[...] = 400 + 200 * label.astype(np.float32) + 80 * _texture(rng, shape, 9)
        channel += 20 * rng.standard_normal(shape, dtype=np.float32)
    name = f"4 × {'×'.join(map(str, shape))} float32 → {patch}³ + label"
    return Workload(name, image, label, (patch,) * 3)


def raster(size: int, bands: int, dtype: str = "float32") -> Workload:
    """A scene of `bands` × size² with a nine-class land cover of patches some 30 pixels wide."""
    rng = np.random.default_rng(bands)
    fields = np.stack([_texture(rng, (size, size), 24) for _ in range(9)])
    label = fields.argmax(0).astype(np.uint8)
    level = rng.uniform(300, 3000, (bands, 9)).astype(np.float32)
    image = level[:, label] + 60 * rng.standard_normal((bands, size, size), dtype=np.float32)
    image = np.clip(image, 0, 10_000).astype(dtype)
    return Workload(f"{bands} × {size}² {dtype} + label", image, label, (size, size))
