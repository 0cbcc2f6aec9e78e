"""Signed distances, smooth noise and the NIfTI writer that the sample phantoms share."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

FloatArray = NDArray[np.float32]
Points = tuple[FloatArray, FloatArray, FloatArray]
Triple = tuple[float, float, float]

SEED = 20240611


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> FloatArray:
    """Return zero-mean, unit-variance Gaussian noise smoothed with ``sigma`` (in samples)."""
    noise = ndi.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def axes_mm(shape: tuple[int, int, int], step: Triple) -> Points:
    """Return broadcastable centred coordinates, in millimetres, of a regular grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, step, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)


def ellipsoid(points: Points, centre: Triple, radii: Triple) -> FloatArray:
    """Return the approximate signed distance to an ellipsoid, negative inside."""
    scaled = [(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
    k0 = np.sqrt(sum(s * s for s in scaled))
    k1 = np.sqrt(sum((s / r) ** 2 for s, r in zip(scaled, radii, strict=True)))
    return k0 * (k0 - 1) / (k1 + 1e-6)


def tube(points: Points, nodes: list[tuple[float, float, float, float]]) -> FloatArray:
    """Return the signed distance to a polyline of ``(x, y, z, radius)`` nodes, negative inside."""
    best = np.float32(np.inf)
    for start, end in pairwise(nodes):
        axis = [e - s for s, e in zip(start[:3], end[:3], strict=True)]
        offset = [p - s for p, s in zip(points, start[:3], strict=True)]
        along = sum(o * a for o, a in zip(offset, axis, strict=True)) / sum(a * a for a in axis)
        along = np.clip(along, 0, 1)
        gap = sum((o - along * a) ** 2 for o, a in zip(offset, axis, strict=True))
        best = np.minimum(best, np.sqrt(gap) - (start[3] + along * (end[3] - start[3])))
    return best


def blend(a: FloatArray, b: FloatArray, width: float) -> FloatArray:
    """Return the smooth union of two signed distances."""
    return -width * np.logaddexp(-a / width, -b / width)


def save_nifti(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a gzipped NIfTI-1 file with equal qform and sform and reproducible bytes."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=1)
    image.set_sform(image.get_qform(), code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))
