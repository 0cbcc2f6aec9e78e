"""Numbers by counter: Philox4x32-10, and uniform and normal values made from it.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 4.3 and table 2 (Philox4x32-10). Box and Muller, Ann. Math. Stat. 29 (1958) 610.

A value depends on the key and its own number only. Values are numbered in groups of 64: value
``v`` is word ``(v % 64) // 16`` of counter ``16 (v // 64) + v % 16``, so that sixteen counters
advance side by side in vector registers.
"""

from __future__ import annotations

import math

import numpy as np

from medsataug.kernels.jit import bits_float, float_bits, inline, kernel

GROUP = 64
BATCH = 16  # groups made at once; they stay in the first-level cache
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
def _log(u):
    """Natural logarithm of a positive normal float32, to 2.5 units in the last place.

    Mantissa in [sqrt(1/2), sqrt(2)), then the odd series in s = (m − 1)/(m + 1).
    """
    bits = float_bits(u)
    shifted = np.int32(bits) - np.int32(0x3F3504F3)
    exponent = shifted >> np.int32(23)
    mantissa = bits_float(np.uint32((shifted & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3)))
    s = (mantissa - np.float32(1)) / (mantissa + np.float32(1))
    z = s * s
    series = np.float32(2 / 9)
    series = series * z + np.float32(2 / 7)
    series = series * z + np.float32(2 / 5)
    series = series * z + np.float32(2 / 3)
    series = series * z + np.float32(2)
    return np.float32(exponent) * np.float32(math.log(2)) + s * series


@inline
def _turn(w):
    """Cosine and sine of the angle 2π w / 2³² by quadrant and Taylor series (error < 4e-7)."""
    turned = np.uint32((np.uint64(w) + np.uint64(0x20000000)) & _LOW)
    quarter = turned >> np.uint32(30)
    rest = np.int32(turned & np.uint32(0x3FFFFFFF)) - np.int32(0x20000000)
    x = np.float32(rest) * np.float32(2 * math.pi / 2**32)
    z = x * x
    sine = np.float32(-1 / 5040)
    sine = sine * z + np.float32(1 / 120)
    sine = sine * z + np.float32(-1 / 6)
    sine = sine * z * x + x
    cosine = np.float32(1 / 40320)
    cosine = cosine * z + np.float32(-1 / 720)
    cosine = cosine * z + np.float32(1 / 24)
    cosine = cosine * z + np.float32(-1 / 2)
    cosine = cosine * z + np.float32(1)
    odd = (quarter & np.uint32(1)) != 0
    c = sine if odd else cosine
    s = cosine if odd else sine
    c = -c if ((quarter + np.uint32(1)) & np.uint32(2)) != 0 else c
    s = -s if (quarter & np.uint32(2)) != 0 else s
    return c, s


@inline
def _pair(a, b):
    u = (np.float32(a) + np.float32(0.5)) * np.float32(2.0**-32)
    radius = np.float32(math.sqrt(max(np.float32(-2) * _log(u), np.float32(0))))
    c, s = _turn(b)
    return radius * c, radius * s


@inline
def _normals(key, counter, words, normals):
    """Make normal values of consecutive counters: (4, n) uint32 ``words``, (4, n) ``normals``."""
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for i in range(w0.shape[0]):
        w0[i], w1[i], w2[i], w3[i] = _philox(counter + np.uint64(i), key)
    for k in range(0, 4, 2):
        a, b, c, d = words[k], words[k + 1], normals[k], normals[k + 1]
        for i in range(a.shape[0]):
            c[i], d[i] = _pair(a[i], b[i])


@kernel
def fill_normal(key, first, out):
    """Fill (n,) float32 ``out`` with standard normals number ``first``, ``first + 1``, … .

    Whole batches of groups are made, whatever is asked: vector code then runs over the same
    counters in the same way, and any split of a range gives the same bytes.
    """
    n = out.shape[0]
    words = np.empty((4, 16 * BATCH), np.uint32)
    normals = np.empty((4, 16 * BATCH), np.float32)
    batch = first // (GROUP * BATCH)
    while batch * GROUP * BATCH < first + n:
        _normals(key, np.uint64(batch * BATCH * 16), words, normals)
        for g in range(BATCH):
            for k in range(4):
                at = (batch * BATCH + g) * GROUP + 16 * k - first
                run = normals[k, 16 * g : 16 * g + 16]
                if at >= 0 and at + 16 <= n:
                    out[at : at + 16] = run
                else:
                    for i in range(max(0, -at), min(16, n - at)):
                        out[at + i] = run[i]
        batch += 1
