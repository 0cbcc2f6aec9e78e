"""Numbers by counter: Philox4x32-10, and uniform and normal values made from it.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 4.3 and table 2 (Philox4x32-10). Box and Muller, Ann. Math. Stat. 29 (1958) 610.

A value depends on the key and its own number only. Values are numbered in groups of 1024: value
``v`` is made of word ``(v % 1024) // 256`` of counter ``256 (v // 1024) + v % 256`` and of the
word it is paired with (0 with 1, 2 with 3). Many counters so advance side by side in vector
registers, and each word's values lie in a row.
"""

from __future__ import annotations

import math

import numpy as np

from medsataug.kernels.jit import bits_float, float_bits, inline, kernel
from medsataug.kernels.vectors import wide_vectors

GROUP = 1024  # values made at once: they and their words stay in the first-level cache
ROW = GROUP // 4
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inline
def _round(c0, c1, c2, c3, k0, k1):
    p0, p1 = _M0 * np.uint64(c0), _M1 * np.uint64(c2)
    return (
        np.uint32(np.uint32(p1 >> _HALF) ^ c1 ^ k0),
        np.uint32(p1 & _LOW),
        np.uint32(np.uint32(p0 >> _HALF) ^ c3 ^ k1),
        np.uint32(p0 & _LOW),
        np.uint32((np.uint64(k0) + _W0) & _LOW),
        np.uint32((np.uint64(k1) + _W1) & _LOW),
    )


@inline
def _philox(counter, key):
    """Four uint32 words of a 64-bit counter and key.

    The ten rounds are written out: an inner loop would keep LLVM from vectorising the loop
    over counters.
    """
    c0, c1 = np.uint32(counter & _LOW), np.uint32(counter >> _HALF)
    c2, c3 = np.uint32(0), np.uint32(0)
    k0, k1 = np.uint32(key & _LOW), np.uint32(key >> _HALF)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3, _, _ = _round(c0, c1, c2, c3, k0, k1)
    return c0, c1, c2, c3


@kernel
def philox_words(key, first, out):
    """Fill (n,) uint32 ``out`` with words ``4 first``, ``4 first + 1``, … in the paper's order."""
    for i in range(out.shape[0]):
        w0, w1, w2, w3 = _philox(np.uint64(first) + np.uint64(i // 4), key)
        pair = (w2, w3) if i & 2 else (w0, w1)
        out[i] = np.uint32(pair[1]) if i & 1 else np.uint32(pair[0])


@inline
def _radius(w):
    """Square root of −2 ln((w + ½) / 2³²), of a uint32 word; the greatest is 6.76.

    Mantissa in sqrt(1/2) … sqrt(2), then the odd series of its logarithm in (m − 1)/(m + 1), with
    minimax coefficients (error 1e-9). The division by 2³² is part of the exponent's offset, and
    the factor −2 of the series.
    """
    bits = np.int32(float_bits(np.float32(w) + np.float32(0.5)))
    shifted = np.int32(bits - np.int32(0x4F3504F3))
    exponent = np.int32(shifted >> np.int32(23))
    mantissa = np.int32(np.int32(shifted & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3))
    m = bits_float(np.uint32(mantissa))
    s = (m - np.float32(1)) / (m + np.float32(1))
    z = s * s
    series = np.float32(-2 * 0.298709378)
    series = series * z + np.float32(-2 * 0.39977574)
    series = series * z + np.float32(-2 * 0.666667761)
    series = series * z + np.float32(-4)
    square = np.float32(exponent) * np.float32(-2 * math.log(2)) + s * series
    return np.float32(math.sqrt(max(square, np.float32(0))))


@inline
def _direction(w):
    """Point on the unit circle, evenly spread as the uint32 word is (error < 2e-7).

    Thirty bits are an angle of −π/4 to π/4, whose sine and cosine are minimax polynomials (errors
    2e-9 and 4e-8); the highest bit mirrors the cosine, and the next swaps the two.
    """
    angle = np.int32(np.uint32(w) << np.uint32(2))
    x = np.float32(angle) * np.float32(math.pi / 2**33)
    z = x * x
    sine = np.float32(-0.000194956361)
    sine = sine * z + np.float32(0.00833197866)
    sine = sine * z + np.float32(-0.166666507)
    sine = sine * z * x + x
    cosine = np.float32(-0.0013597823)
    cosine = cosine * z + np.float32(0.0416562946)
    cosine = cosine * z + np.float32(-0.499998948)
    cosine = cosine * z + np.float32(1)
    sign = np.uint32(w) & np.uint32(0x80000000)
    cosine = bits_float(np.uint32(float_bits(cosine) ^ sign))
    swapped = (np.uint32(w) & np.uint32(0x40000000)) != 0
    return (sine if swapped else cosine), (cosine if swapped else sine)


@inline
def _add_group(key, group, std, words, out):
    """Add the normals of one group to (1024,) ``out``; (4, 256) uint32 ``words`` is scratch."""
    wide_vectors()
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    first = np.uint64(group) * np.uint64(ROW)
    for i in range(ROW):
        w0[i], w1[i], w2[i], w3[i] = _philox(first + np.uint64(i), key)
    for k in range(0, 4, 2):
        a, b = words[k], words[k + 1]
        c, d = out[ROW * k : ROW * (k + 1)], out[ROW * (k + 1) : ROW * (k + 2)]
        for i in range(ROW):
            radius = std * _radius(a[i])
            x, y = _direction(b[i])
            c[i] += radius * x
            d[i] += radius * y


@kernel
def add_normal(key, first, std, x):
    """Add ``std`` times the standard normals ``first``, ``first + 1``, … to (n,) float32 ``x``.

    Whole groups are made, whatever is asked: vector code then runs over the same counters in the
    same way, and any split of a range gives the same bytes.
    """
    n = x.shape[0]
    words, scratch = np.empty((4, ROW), np.uint32), np.zeros(GROUP, np.float32)
    for group in range(first // GROUP, -(-(first + n) // GROUP)):
        start = group * GROUP - first
        low, high = max(start, 0), min(start + GROUP, n)
        whole = high - low == GROUP
        part = x[low:high] if whole else scratch
        if not whole:
            for i in range(low, high):
                scratch[i - start] = x[i]
        _add_group(key, group, std, words, part)
        if not whole:
            for i in range(low, high):
                x[i] = scratch[i - start]
