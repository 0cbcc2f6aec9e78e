"""Median of a square or cubic window by networks of exchanges, a run of voxels at a time.

A network is a fixed list of "lesser one here, greater one there" for pairs of wires; a wire is a
row of memory, so that each exchange is two vector instructions and nothing branches. The values
of a window that lie in one column (same x) are sorted once and serve all windows that hold it;
the columns of a window are then merged, as far as the median depends on it. Of the 127 exchanges
that the median of 27 values takes, 81 are left.

Source: Batcher, "Sorting networks and their applications", AFIPS 32 (1968) 307; Huang et al.,
IEEE TASSP 27 (1979) 13, for the columns that windows share.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from medsataug.kernels.box import reflected
from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.pointwise import any_nan

#: Voxels of a run: its wires stay in the first-level cache.
RUN = 256

Exchanges = list[tuple[int, int]]


def _merge(a: list[int], b: list[int], network: Exchanges) -> list[int]:
    """Merge sorted wires, odd and even ones apart; returns them in order."""
    if not a or not b:
        return a + b
    if len(a) == len(b) == 1:
        network.append((a[0], b[0]))
        return a + b
    ahead, behind = _merge(a[::2], b[::2], network), _merge(a[1::2], b[1::2], network)
    out = ahead[:1]
    for low, high in zip(behind, ahead[1:], strict=False):
        network.append((low, high))
        out += [low, high]
    return out + behind[len(ahead) - 1 :] + ahead[len(behind) + 1 :]


def _sort(wires: list[int], network: Exchanges) -> list[int]:
    if len(wires) < 2:
        return wires
    half = len(wires) // 2
    return _merge(_sort(wires[:half], network), _sort(wires[half:], network), network)


@lru_cache
def networks(size: int, column: int) -> tuple[Any, Any, int]:
    """Exchanges for windows of ``size`` columns of ``column`` values.

    Returns
    -------
    sorting : (K, 2) array
        Wires of one column.
    merging : (M, 2) array
        Wires of all columns, column by column.
    wanted : int
        The wire that then holds the median.
    """
    sorting: Exchanges = []
    merging: Exchanges = []
    order = _sort(list(range(column)), sorting)
    merged: list[int] = []
    for k in range(size):
        merged = _merge(merged, [k * column + w for w in order], merging)
    wanted = merged[len(merged) // 2]
    needed, kept = {wanted}, []
    for a, b in reversed(merging):
        if a in needed or b in needed:
            kept.append((a, b))
            needed |= {a, b}
    pairs = [np.array(n, np.int64).reshape(-1, 2) for n in (sorting, kept[::-1])]
    return pairs[0], pairs[1], wanted


@inline
def _exchange(a, b):
    for i in range(a.shape[0]):
        u, v = a[i], b[i]
        a[i] = v if v < u else u
        b[i] = u if v < u else v


@inline
def _load(row, first, out):
    """Copy ``row`` from ``first`` on, which may lie before it, and reflect it beyond its ends."""
    n = row.shape[0]
    low, high = max(0, -first), min(out.shape[0], n - first)
    out[low:high] = row[first + low : first + high]
    for i in range(low):
        out[i] = row[reflected(first + i, n)]
    for i in range(high, out.shape[0]):
        out[i] = row[reflected(first + i, n)]


@inline
def _mark(values, gaps):
    """Set (n,) ``gaps`` where a value is NaN."""
    for i in range(values.shape[0]):
        gaps[i] = gaps[i] | (values[i] != values[i])


@kernel
def _valid_only(source, size, depth, z, y, x, gaps, window, out):
    """Replace (n,) ``out`` from ``x`` on where NaN is in the window: the median of the rest.

    It is the mean of the two in the middle where they are even, and NaN where the voxel is.
    ``gaps`` (n + size − 1,) are the columns that hold NaN.
    """
    nz, ny, nx = source.shape
    for i in range(out.shape[0]):
        if source[z, y, x + i] != source[z, y, x + i]:
            out[i] = np.nan
        elif np.any(gaps[i : i + size]):
            count = 0
            for c in range(window.shape[0]):
                v = source[
                    reflected(z + c // (size * size) - depth // 2, nz),
                    reflected(y + c // size % size - size // 2, ny),
                    reflected(x + i + c % size - size // 2, nx),
                ]
                at = count
                if v == v:
                    while at > 0 and window[at - 1] > v:
                        window[at] = window[at - 1]
                        at -= 1
                    window[at] = v
                    count += 1
            out[i] = (window[(count - 1) // 2] + window[count // 2]) * np.float32(0.5)


@kernel
def _box(source, size, depth, sorting, merging, wanted, z, y, out):
    """Fill ``out``; ``depth`` is the window's number of slices."""
    nz, ny, nx = source.shape
    column, half = depth * size, size // 2
    run = min(RUN, nx)
    columns = np.empty((column, run + 2 * half), np.float32)
    wires = np.empty((size * column, run), np.float32)
    window, gaps = np.empty(size * column, np.float32), np.empty(run + 2 * half, np.bool_)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for x in range(0, nx, run):
                n = min(run, nx - x)
                m, found = n + 2 * half, False
                gaps[:] = False
                for c in range(column):
                    row = source[
                        reflected(z + i + c // size - depth // 2, nz),
                        reflected(y + j + c % size - half, ny),
                    ]
                    _load(row, x - half, columns[c, :m])
                    if any_nan(columns[c, :m]):
                        _mark(columns[c, :m], gaps)
                        found = True
                for k in range(sorting.shape[0]):
                    _exchange(columns[sorting[k, 0], :m], columns[sorting[k, 1], :m])
                for k in range(size):
                    for c in range(column):
                        wires[k * column + c, :n] = columns[c, k : k + n]
                for k in range(merging.shape[0]):
                    _exchange(wires[merging[k, 0], :n], wires[merging[k, 1], :n])
                into = out[i, j, x : x + n]
                into[:] = wires[wanted, :n]
                if found:
                    _valid_only(source, size, depth, z + i, y + j, x, gaps, window, into)


def median(source: Any, p: Any, z: int, y: int, out: Any) -> None:
    """Median of windows of ``p[0]`` voxels, within slices where ``p[1]`` or there is one only."""
    size = int(p[0])
    depth = 1 if p[1] or source.shape[0] == 1 else size
    _box(source, size, depth, *networks(size, depth * size), z, y, out)
