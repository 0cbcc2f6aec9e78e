"""Maps that only turn, mirror, crop and pad: voxels are copied, never computed."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np

from medsataug.arrays import room_for
from medsataug.maps import Displacement, SpatialMap, signed_permutation
from medsataug.types import Array


def copied(
    spatial: SpatialMap, array: Array, fill: Any, border: str, room: Array | None = None
) -> Array | None:
    """(K, …) ``array`` through a map that moves whole voxels only; None for any other map.

    Values are copied, never computed. Beyond the border stands ``fill``, or what ``border`` says.
    ``room`` is memory for the result, where it fits.
    """
    if any(isinstance(p, Displacement) for p in spatial.parts):
        return None
    found = signed_permutation(spatial.matrix)
    if found is None:
        return None
    axes, signs, offsets = found
    offsets = [o - first for o, first in zip_longest(offsets, spatial.origin, fillvalue=0)]
    inside: list[slice] = [slice(None)] * len(axes)
    takes: list[slice] = []
    whole = True
    for k, n in enumerate(array.shape[1:]):
        m = spatial.out_shape[axes[k]]
        # Output indices whose source lies in 0 … n − 1.
        low, high = (-offsets[k], n - 1 - offsets[k]) if signs[k] > 0 else (
            offsets[k] - n + 1, offsets[k])  # fmt: skip
        start, stop = max(low, 0), max(min(high, m - 1) + 1, max(low, 0))
        whole &= (start, stop) == (0, m)
        inside[axes[k]] = slice(start, stop)
        first = signs[k] * start + offsets[k]
        end = first + signs[k] * (stop - start)
        takes.append(
            slice(first, end if end >= 0 else None, signs[k]) if stop > start else slice(0, 0)
        )
    turned = (0, *(1 + axes.index(a) for a in range(len(axes))))
    if not whole and border != "constant":
        return _bordered(array, axes, signs, offsets, spatial.out_shape, border).transpose(turned)
    part = array[(slice(None), *takes)].transpose(turned)
    out: Array = room_for((len(array), *spatial.out_shape), array.dtype, room)
    if whole:
        out[...] = part
        return out
    fills = np.broadcast_to(fill, (len(array),))
    for into, value, source in zip(out, fills, part, strict=True):
        into[...] = value
        into[tuple(inside)] = source
    return out


def _bordered(
    array: Array,
    axes: list[int],
    signs: list[int],
    offsets: list[int],
    out_shape: tuple[int, ...],
    border: str,
) -> Array:
    indices = [np.arange(len(array))]
    for k, n in enumerate(array.shape[1:]):
        i = signs[k] * np.arange(out_shape[axes[k]]) + offsets[k]
        if border == "edge":
            i = np.clip(i, 0, n - 1)
        else:
            i = i % (2 * n)
            i = np.where(i < n, i, 2 * n - 1 - i)
        indices.append(i)
    return np.asarray(array[np.ix_(*indices)])
