"""Labels at positions: the argmax of the linearly interpolated one-hot.

``src`` is flat memory that holds every corner; ``at`` (n,) says where in it the voxel below each
position lies, ``frac`` (N, n) the fraction, ``steps`` (z, y, x) the distance to the next voxel,
which along x is 1. The vote looks at the 4 or 8 corner labels only, so its cost does not depend
on the number of classes. Fractions are rounded to 2⁻¹⁸ voxel and votes counted in integers: sums
are exact, the order of adding cannot matter, and a mirrored image votes the same. The smallest
label wins a tie.

``owner`` says how many sub-positions make one output voxel (1 unless the map shrinks): the
one-hots of all of them are summed before the argmax.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.vectors import alike_4, alike_8


@inline
def unit_of(owner):
    """Votes along one axis; the cube of it times ``owner`` stays within int64."""
    if owner > 1 << 20:
        return np.int64(1 << 10)
    return np.int64(1 << 18) if owner <= 256 else np.int64(1 << 14)


@inline
def _upper(f, unit):
    """Votes of the upper neighbour: the fraction in units, so that f and 1 − f sum to one."""
    return np.int64(np.rint(np.float64(f) * unit))


@inline
def _add(label, weight, seen, sums, count):
    """Add votes for a label; return how many labels were seen."""
    for s in range(count):
        if seen[s] == label:
            sums[s] += weight
            return count
    seen[count] = label
    sums[count] = weight
    return count + 1


@inline
def winner(seen, sums, count):
    """Label with most votes, the smallest of equals."""
    best, weight = seen[0], sums[0]
    for s in range(1, count):
        if sums[s] > weight or (sums[s] == weight and seen[s] < best):
            best, weight = seen[s], sums[s]
    return best


@inline
def ballot(src, o, steps, frac, j, unit, seen, sums, count):
    """Add the votes of the corners of position ``j``; return how many labels were seen."""
    axes = frac.shape[0]
    fz = _upper(frac[0, j], unit) if axes == 3 else np.int64(0)
    fy, fx = _upper(frac[axes - 2, j], unit), _upper(frac[axes - 1, j], unit)
    for a in range(axes - 1):
        wz = fz if a else (unit - fz if axes == 3 else np.int64(1))
        for b in range(2):
            wy = wz * (fy if b else unit - fy)
            for c in range(2):
                w = wy * (fx if c else unit - fx)
                if w > 0:
                    count = _add(
                        src[o + a * steps[0] + b * steps[1] + c * steps[2]], w, seen, sums, count
                    )
    return count


@inline
def _of_two(src, o, steps, fz, fy, fx, unit, other):
    """Whether the label at ``o`` beats ``other`` where each corner bears one of the two.

    The votes of all corners are unit³, so that one sum decides: 1 it wins, 0 it does not, −1
    where a third label takes part.
    """
    first, sure = src[o], True
    votes = np.int64(0)
    for a in range(2):
        wz = fz if a else unit - fz
        for b in range(2):
            wy = wz * (fy if b else unit - fy)
            for c in range(2):
                v = src[o + a * steps[0] + b * steps[1] + c * steps[2]]
                votes += wy * (fx if c else unit - fx) if v == first else np.int64(0)
                sure &= (v == first) | (v == other)
    rest = unit * unit * unit - votes
    wins = votes > rest or (votes == rest and first < other)
    return (np.int64(1) if wins else np.int64(0)) if sure else np.int64(-1)


@kernel
def vote_3d(src, at, frac, steps, owner, out):
    """Vote of eight corners; ``owner`` positions make one voxel of (n / owner,) ``out``.

    Where all eight corners bear one label, which is nearly everywhere, nothing is counted.
    """
    dz, dy, _ = steps
    seen, sums = np.empty(8 * owner, src.dtype), np.empty(8 * owner, np.int64)
    unit = unit_of(owner)
    for j in range(out.shape[0]):
        if owner == 1:
            i = np.int64(at[j])
            v = src[i]
            if alike_8(src, i, dz, dy):
                out[j] = v
                continue
            other = v
            for k in range(8):
                u = src[i + (k & 1) + (dy if k & 2 else 0) + (dz if k & 4 else 0)]
                other = u if other == v else other
            fz, fy, fx = (
                _upper(frac[0, j], unit),
                _upper(frac[1, j], unit),
                _upper(frac[2, j], unit),
            )
            wins = _of_two(src, i, steps, fz, fy, fx, unit, other)
            if wins >= 0:
                out[j] = v if wins == 1 else other
                continue
        count = 0
        for k in range(j * owner, (j + 1) * owner):
            count = ballot(src, np.int64(at[k]), steps, frac, k, unit, seen, sums, count)
        out[j] = winner(seen, sums, count)


@inline
def _of_four(a, b, c, d, wa, wb, wc, wd):
    """Label with most votes of four corners, the smallest of equals; without any memory."""
    zero = np.int64(0)
    ab, ac, ad, bc, bd, cd = a == b, a == c, a == d, b == c, b == d, c == d
    best, most = a, wa + (wb if ab else zero) + (wc if ac else zero) + (wd if ad else zero)
    votes = wb + (wa if ab else zero) + (wc if bc else zero) + (wd if bd else zero)
    if votes > most or (votes == most and b < best):
        best, most = b, votes
    votes = wc + (wa if ac else zero) + (wb if bc else zero) + (wd if cd else zero)
    if votes > most or (votes == most and c < best):
        best, most = c, votes
    votes = wd + (wa if ad else zero) + (wb if bd else zero) + (wc if cd else zero)
    if votes > most or (votes == most and d < best):
        best = d
    return best


@kernel
def vote_2d(src, at, frac, steps, owner, out):
    """`vote_3d` in a plane: four corners."""
    dy = steps[1]
    seen, sums = np.empty(4 * owner, src.dtype), np.empty(4 * owner, np.int64)
    unit = unit_of(owner)
    for j in range(out.shape[0]):
        if owner == 1:
            i = np.int64(at[j])
            if alike_4(src, i, 0, dy):
                out[j] = src[i]
                continue
            a, b, c, d = src[i], src[i + 1], src[i + dy], src[i + dy + 1]
            fy, fx = _upper(frac[0, j], unit), _upper(frac[1, j], unit)
            gy, gx = unit - fy, unit - fx
            out[j] = _of_four(a, b, c, d, gy * gx, gy * fx, fy * gx, fy * fx)
            continue
        count = 0
        for k in range(j * owner, (j + 1) * owner):
            count = ballot(src, np.int64(at[k]), steps, frac, k, unit, seen, sums, count)
        out[j] = winner(seen, sums, count)
