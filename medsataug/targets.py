"""What a loss is given: regions that overlap, and labels of several resolutions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.types import Array, Sample, as_label, is_lazy, read_all

#: A number for all axes, or one for each.
Scale = float | Sequence[float]


def regions(label: Array, listed: Sequence[int | Collection[int]]) -> NDArray[np.uint8]:
    """Say for each region where it is: classes may belong to several, such as tumour and its core.

    Parameters
    ----------
    label : ([Z,] Y, X) integer array
    listed : sequence of label values, or of lists of them

    Returns
    -------
    (R, [Z,] Y, X) uint8
        1 inside a region, else 0.

    Source: region-based training, Isensee et al., "nnU-Net for brain tumor segmentation",
    BrainLes (2020), section 2.2.
    """
    if not listed:
        raise ConfigError("regions: an empty list; give label values, or lists of them")
    out = np.empty((len(listed), *label.shape), np.uint8)
    for into, values in zip(out, listed, strict=True):
        into[...] = np.isin(label, list(values) if isinstance(values, Collection) else values)
    return out


def deep_supervision(
    label: Array | Sample, scales: Sequence[Scale], ndim: int | None = None
) -> list[Array]:
    """Return a label at several resolutions, for a loss at several depths of a network.

    Parameters
    ----------
    label : (…, [Z,] Y, X) array, or Sample
        Class numbers, regions or class probabilities; of a sample its label.
    scales : sequence of numbers, or of one number for each axis
        Part of the voxels, such as ``[1, 0.5, 0.25]`` or ``[[1, 1, 1], [1, 0.5, 0.5]]``.
    ndim : int, optional
        How many of the last axes are spatial; by default as many as the scales name, or all.

    Returns
    -------
    list of arrays
        Of round(n · scale) voxels an axis, each the nearest to its centre.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), methods (deep supervision);
    nearest by centres, as PyTorch's ``nearest-exact``.
    """
    if isinstance(label, Sample):
        if label.label is None:
            raise ConfigError("deep_supervision: the sample has no label")
        stored, ndim = label.label, label.ndim
        label = as_label(read_all(stored)) if is_lazy(stored) else np.asarray(stored)
    parts = [np.asarray(s, np.float64).tolist() for s in scales]  # numbers of any type
    named = [len(s) for s in parts if isinstance(s, list)]
    n = ndim or (named[0] if named else label.ndim)
    if any(k != n for k in named) or n > label.ndim:
        raise ConfigError(
            f"deep_supervision: {list(scales)} for {n} axes; numbers, or lists of {n} expected"
        )
    return [_nearest(label, s if isinstance(s, list) else [s] * n) for s in parts]


def _nearest(label: Array, scale: Sequence[float]) -> Array:
    lead, out = label.ndim - len(scale), label
    for k, part in enumerate(scale, start=lead):
        size = label.shape[k]
        new = round(size * part) if 0 < part <= 1 else 0
        if not 0 < new <= size:
            raise ConfigError(
                f"deep_supervision: {part:g} of {size} voxels; above 0 and at most 1 expected, and "
                "one voxel at least"
            )
        if new < size:
            # In float32, as PyTorch counts.
            at = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(size / new)
            out = out.take(np.minimum(at.astype(np.intp), size - 1), axis=k)
    return out
