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
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inline
def _philox(counter, key):
    """Return four words in the low halves of uint64, for a 64-bit counter and key."""
    c0, c1 = counter & _LOW, counter >> _HALF
    c2, c3 = np.uint64(0), np.uint64(0)
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (
            ((p1 >> _HALF) ^ c1 ^ k0) & _LOW,
            p1 & _LOW,
            ((p0 >> _HALF) ^ c3 ^ k1) & _LOW,
            p0 & _LOW,
        )
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def philox_words(key, first, out):
    """Fill (n,) uint32 ``out`` with words ``4 first``, ``4 first + 1``, … in the paper's order."""
    for i in range(out.shape[0]):
        words = _philox(np.uint64(first) + np.uint64(i // 4), key)
        out[i] = np.uint32(words[i % 4])


@inline
def _log(u):
    """Natural logarithm of a positive normal float32, to 2 units in the last place.

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
    """Cosine and sine of the angle 2π w / 2³² by quadrant and Taylor series (error < 1e-7)."""
    quarter = (w + np.uint64(0x20000000)) >> np.uint64(30)
    rest = np.int32(np.uint32(w)) - np.int32(np.uint32((quarter << np.uint64(30)) & _LOW))
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
    odd = (quarter & np.uint64(1)) != np.uint64(0)
    c = sine if odd else cosine
    s = cosine if odd else sine
    c = -c if ((quarter + np.uint64(1)) & np.uint64(2)) != np.uint64(0) else c
    s = -s if (quarter & np.uint64(2)) != np.uint64(0) else s
    return c, s


@inline
def _pair(a, b):
    u = (np.float32(a) + np.float32(0.5)) * np.float32(2.0**-32)
    radius = np.float32(math.sqrt(max(np.float32(-2) * _log(u), np.float32(0))))
    c, s = _turn(b)
    return radius * c, radius * s


@inline
def _normal_group(key, group, out, at):
    """Sixty-four standard normal values of one group, into ``out[at : at + 64]``."""
    for i in range(16):
        w0, w1, w2, w3 = _philox(np.uint64(group) * np.uint64(16) + np.uint64(i), key)
        a, b = _pair(w0, w1)
        c, d = _pair(w2, w3)
        out[at + i] = a
        out[at + 16 + i] = b
        out[at + 32 + i] = c
        out[at + 48 + i] = d


@kernel
def fill_normal(key, first, out):
    """Fill (n,) float32 ``out`` with standard normal values number ``first``, ``first + 1``, …"""
    n = out.shape[0]
    edge = np.empty(GROUP, np.float32)
    at = 0
    while at < n:
        group = (first + at) // GROUP
        skip = (first + at) - group * GROUP
        if skip == 0 and n - at >= GROUP:
            _normal_group(key, group, out, at)
            at += GROUP
        else:
            _normal_group(key, group, edge, 0)
            take = min(GROUP - skip, n - at)
            for i in range(take):
                out[at + i] = edge[skip + i]
            at += take
